//! H.265 parameter sets (ITU-T H.265, 7.3.2): the fields that size, frame rate, slices and `hvcC` need.

use super::{Sps, bits::Bits, frame_rate};

/// Length of a NAL unit's header.
const HEADER: usize = 2;
/// Value of `aspect_ratio_idc` that is followed by the ratio.
const EXTENDED_ASPECT_RATIO: u32 = 255;

/// A video parameter set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Vps {
    pub(crate) fps: Option<f64>,
}

/// A picture parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PpsHead {
    pub(crate) id: u8,
    pub(crate) sps: u8,
    pub(crate) dependent_slices: bool,
}

/// Identifier of a video parameter set.
pub(crate) fn vps_id(nal: &[u8]) -> Option<u8> {
    nal.get(HEADER).map(|byte| byte >> 4)
}

/// Identifier of a sequence parameter set.
pub(crate) fn sps_id(nal: &[u8]) -> Option<u8> {
    sps_start(&mut Bits::of_nal(nal.get(HEADER..)?)).map(|(_, id)| id)
}

/// The start of a picture parameter set.
pub(crate) fn pps(nal: &[u8]) -> Option<PpsHead> {
    let mut bits = Bits::of_nal(nal.get(HEADER..)?);
    let id = u8::try_from(bits.ue_max(63)?).ok()?;
    let sps = u8::try_from(bits.ue_max(15)?).ok()?;
    Some(PpsHead { id, sps, dependent_slices: bits.flag()? })
}

/// Reads a video parameter set, with its NAL unit header.
pub(crate) fn vps(nal: &[u8]) -> Option<Vps> {
    let mut bits = Bits::of_nal(nal.get(HEADER..)?);
    bits.skip(12)?;
    let sub_layers = bits.u(3)?;
    bits.skip(17)?;
    profile_tier_level(&mut bits, sub_layers)?;
    Some(Vps { fps: vps_frame_rate(&mut bits, sub_layers) })
}

fn vps_frame_rate(bits: &mut Bits<'_>, sub_layers: u32) -> Option<f64> {
    ordering_info(bits, sub_layers)?;
    let layers = bits.u(6)? + 1;
    for _ in 0..bits.ue_max(1023)? {
        bits.skip(layers)?;
    }
    timing(bits)
}

/// `…_timing_info_present_flag` and what follows it: a tick is the time of a picture.
fn timing(bits: &mut Bits<'_>) -> Option<f64> {
    if !bits.flag()? {
        return None;
    }
    let (ticks, scale) = (bits.u(32)?, bits.u(32)?);
    frame_rate(u64::from(scale), u64::from(ticks))
}

/// Up to the identifier of a sequence parameter set.
fn sps_start(bits: &mut Bits<'_>) -> Option<(Sps, u8)> {
    let vps_id = u8::try_from(bits.u(4)?).ok()?;
    let sub_layers = bits.u(3)?;
    let temporal_nesting = bits.flag()?;
    let profile_tier_level = profile_tier_level(bits, sub_layers)?;
    let id = u8::try_from(bits.ue_max(15)?).ok()?;
    let temporal_layers = u8::try_from(sub_layers + 1).ok()?;
    Some((Sps { vps_id, temporal_layers, temporal_nesting, profile_tier_level, ..Sps::default() }, id))
}

/// Reads a sequence parameter set, with its NAL unit header.
pub(crate) fn sps(nal: &[u8]) -> Option<Sps> {
    let mut bits = Bits::of_nal(nal.get(HEADER..)?);
    let (mut sps, _) = sps_start(&mut bits)?;
    sps.chroma_format = u8::try_from(bits.ue_max(3)?).ok()?;
    sps.separate_planes = sps.chroma_format == 3 && bits.flag()?;
    let (width, height) = (bits.ue_max(1 << 16)?, bits.ue_max(1 << 16)?);
    (sps.width, sps.height) = (width, height);
    if bits.flag()? {
        let mut edges = [0; 4];
        for edge in &mut edges {
            *edge = bits.ue_max(1 << 16)?;
        }
        let (unit_x, unit_y) = super::chroma_sampling(sps.chroma_format);
        sps.crop(edges, unit_x, unit_y);
    }
    sps.bit_depth_luma = 8 + u8::try_from(bits.ue_max(8)?).ok()?;
    sps.bit_depth_chroma = 8 + u8::try_from(bits.ue_max(8)?).ok()?;
    let order_bits = 4 + bits.ue_max(12)?;
    ordering_info(&mut bits, u32::from(sps.temporal_layers) - 1)?;
    let smallest_block = 3 + bits.ue_max(3)?;
    let block = smallest_block + bits.ue_max(3)?;
    let blocks = u64::from(width.div_ceil(1 << block)) * u64::from(height.div_ceil(1 << block));
    sps.address_bits = u64::BITS - blocks.saturating_sub(1).leading_zeros();
    // Some cameras write a VUI that breaks off: the size is good all the same.
    sps.fps = vui_frame_rate(&mut bits, order_bits);
    Some(sps)
}

/// `profile_tier_level` (7.3.3): its first twelve bytes, those of `hvcC`.
fn profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Option<[u8; 12]> {
    let mut general = [0; 12];
    for byte in &mut general {
        *byte = bits.byte()?;
    }
    let mut present = [(false, false); 8];
    for flags in present.iter_mut().take(sub_layers as usize) {
        *flags = (bits.flag()?, bits.flag()?);
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers))?;
    }
    for (profile, level) in present {
        bits.skip(88 * u32::from(profile) + 8 * u32::from(level))?;
    }
    Some(general)
}

/// `…_sub_layer_ordering_info_present_flag` and what follows it.
fn ordering_info(bits: &mut Bits<'_>, sub_layers: u32) -> Option<()> {
    let layers = if bits.flag()? { sub_layers + 1 } else { 1 };
    for _ in 0..3 * layers {
        bits.ue()?;
    }
    Some(())
}

/// From after the block sizes to the frame rate.
fn vui_frame_rate(bits: &mut Bits<'_>, order_bits: u32) -> Option<f64> {
    for _ in 0..4 {
        bits.ue()?;
    }
    if bits.flag()? && bits.flag()? {
        scaling_lists(bits)?;
    }
    bits.skip(2)?;
    if bits.flag()? {
        bits.skip(8)?;
        bits.ue()?;
        bits.ue()?;
        bits.flag()?;
    }
    reference_picture_sets(bits)?;
    if bits.flag()? {
        for _ in 0..bits.ue_max(32)? {
            bits.skip(order_bits + 1)?;
        }
    }
    bits.skip(2)?;
    if !bits.flag()? {
        return None;
    }
    if bits.flag()? && bits.u(8)? == EXTENDED_ASPECT_RATIO {
        bits.skip(32)?;
    }
    if bits.flag()? {
        bits.flag()?;
    }
    if bits.flag()? {
        bits.skip(4)?;
        if bits.flag()? {
            bits.skip(24)?;
        }
    }
    if bits.flag()? {
        bits.ue()?;
        bits.ue()?;
    }
    bits.skip(3)?;
    if bits.flag()? {
        for _ in 0..4 {
            bits.ue()?;
        }
    }
    timing(bits)
}

/// `scaling_list_data` (7.3.4).
fn scaling_lists(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.flag()? {
                bits.ue()?;
                continue;
            }
            if size > 1 {
                bits.se()?;
            }
            for _ in 0..64.min(1 << (4 + 2 * size)) {
                bits.se()?;
            }
        }
    }
    Some(())
}

/// All `st_ref_pic_set` (7.3.7) of a sequence parameter set.
fn reference_picture_sets(bits: &mut Bits<'_>) -> Option<()> {
    let sets = bits.ue_max(64)?;
    let mut pictures = 0u32;
    for set in 0..sets {
        if set > 0 && bits.flag()? {
            bits.flag()?;
            bits.ue()?;
            let mut kept = 0;
            for _ in 0..=pictures {
                let used = bits.flag()?;
                kept += u32::from(used || bits.flag()?);
            }
            pictures = kept;
        } else {
            let (before, after) = (bits.ue_max(16)?, bits.ue_max(16)?);
            pictures = before + after;
            for _ in 0..pictures {
                bits.ue()?;
                bits.flag()?;
            }
        }
        // A decoded picture buffer holds 16 pictures.
        if pictures > 32 {
            return None;
        }
    }
    Some(())
}
