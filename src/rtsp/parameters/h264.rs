//! H.264 parameter sets (ITU-T H.264, 7.3.2): the fields that size, frame rate, slices and `avcC` need.

use super::{Sps, bits::Bits, frame_rate};

/// Profiles whose sequence parameter sets say the chroma format and bit depths (ITU-T H.264, 7.3.2.1.1).
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// Value of `aspect_ratio_idc` that is followed by the ratio.
const EXTENDED_ASPECT_RATIO: u32 = 255;

/// Identifier of a sequence parameter set.
pub(crate) fn sps_id(nal: &[u8]) -> Option<u8> {
    Bits::of_nal(nal.get(4..)?).ue_max(31).and_then(|id| u8::try_from(id).ok())
}

/// Identifiers of a picture parameter set: its own, and that of its sequence parameter set.
pub(crate) fn pps_ids(nal: &[u8]) -> Option<(u8, u8)> {
    let mut bits = Bits::of_nal(nal.get(1..)?);
    let id = bits.ue_max(255)?;
    let sps = bits.ue_max(31)?;
    Some((u8::try_from(id).ok()?, u8::try_from(sps).ok()?))
}

/// Reads a sequence parameter set, with its NAL unit header.
pub(crate) fn sps(nal: &[u8]) -> Option<Sps> {
    let mut bits = Bits::of_nal(nal.get(1..)?);
    let mut sps = Sps { chroma_format: 1, bit_depth_luma: 8, bit_depth_chroma: 8, ..Sps::default() };
    for byte in &mut sps.profile_tier_level[..3] {
        *byte = bits.byte()?;
    }
    let profile = sps.profile_tier_level[0];
    bits.ue_max(31)?;
    if HIGH_PROFILES.contains(&profile) {
        sps.chroma_format = u8::try_from(bits.ue_max(3)?).ok()?;
        sps.separate_planes = sps.chroma_format == 3 && bits.flag()?;
        sps.bit_depth_luma = 8 + u8::try_from(bits.ue_max(6)?).ok()?;
        sps.bit_depth_chroma = 8 + u8::try_from(bits.ue_max(6)?).ok()?;
        bits.flag()?;
        if bits.flag()? {
            scaling_lists(&mut bits, if sps.chroma_format == 3 { 12 } else { 8 })?;
        }
    }
    sps.frame_num_bits = 4 + bits.ue_max(12)?;
    match bits.ue_max(2)? {
        0 => drop(bits.ue_max(12)?),
        1 => {
            bits.flag()?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue_max(255)? {
                bits.se()?;
            }
        }
        _ => {}
    }
    bits.ue()?;
    bits.flag()?;
    let columns = bits.ue_max(1 << 16)? + 1;
    let rows = bits.ue_max(1 << 16)? + 1;
    sps.interlaced = !bits.flag()?;
    let fields = 1 + u32::from(sps.interlaced);
    if sps.interlaced {
        bits.flag()?;
    }
    bits.flag()?;
    (sps.width, sps.height) = (16 * columns, 16 * rows * fields);
    if bits.flag()? {
        let mut edges = [0; 4];
        for edge in &mut edges {
            *edge = bits.ue_max(1 << 16)?;
        }
        let planes = if sps.separate_planes { 0 } else { sps.chroma_format };
        let (unit_x, unit_y) = super::chroma_sampling(planes);
        sps.crop(edges, unit_x, unit_y * fields);
    }
    // Some cameras write a VUI that breaks off: the size is good all the same.
    sps.fps = vui_frame_rate(&mut bits);
    Some(sps)
}

fn scaling_lists(bits: &mut Bits<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8, 8);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

fn vui_frame_rate(bits: &mut Bits<'_>) -> Option<f64> {
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
    if !bits.flag()? {
        return None;
    }
    // A tick is the time of a field.
    let (ticks, scale) = (bits.u(32)?, bits.u(32)?);
    frame_rate(u64::from(scale), 2 * u64::from(ticks))
}
