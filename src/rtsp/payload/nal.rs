//! NAL units of H.264 (ITU-T H.264, 7.3.1 and 7.3.3) and H.265 (ITU-T H.265, 7.3.1 and 7.3.6): their kinds, and the start of slice
//! headers.

use crate::{
    model::segment::Codec,
    rtsp::parameters::{Bits, ParameterSets, SetKind, SliceLayout},
};

/// So many bytes of a NAL unit are enough for [`classify`].
pub(super) const HEAD_BYTES: usize = 32;

/// What a NAL unit is to the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NalKind {
    Slice(Slice),
    ParameterSet(SetKind),
    /// Supplemental enhancement information of the picture that follows.
    Sei,
    /// Belongs to the picture that follows.
    Prefix,
    /// Belongs to the picture before.
    Suffix,
    /// Not part of a stream: reserved for packets, or unspecified.
    Ignored,
    /// Cannot be read.
    Broken,
}

/// The start of a slice header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// Whether the slice is the first of its picture.
    pub(super) first: bool,
    /// Whether the picture is IDR (H.264) or IRAP (H.265).
    pub(super) random_access: bool,
    /// Whether the slice is predicted from no other picture. H.264 only.
    pub(super) intra: bool,
    /// Identifier of the picture parameter set.
    pub(super) pps: Option<u8>,
    /// Address of its first block; 0 if that cannot be read.
    pub(super) address: u32,
    /// H.264: the field, if the picture is one.
    pub(super) field: Option<Field>,
}

/// One field of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    frame_num: u32,
    bottom: bool,
}

impl Field {
    /// Whether two fields are one frame.
    pub(super) fn completes(self, first: Self) -> bool {
        self.frame_num == first.frame_num && self.bottom != first.bottom
    }
}

/// Whether a byte after a start code may begin a NAL unit. Some cameras send data of their own without emulation
/// prevention: there a start code is content.
pub(super) fn may_begin(codec: Codec, byte: u8) -> bool {
    match codec {
        Codec::H264 => byte & 0x80 == 0 && matches!(byte & 0x1f, 1 | 5..=9),
        Codec::H265 => byte & 0x81 == 0 && matches!(byte >> 1, 0..=9 | 16..=21 | 32..=35 | 39 | 40),
    }
}

/// Kind of a NAL unit, by its first bytes.
pub(super) fn classify(codec: Codec, nal: &[u8], sets: &ParameterSets) -> NalKind {
    match (codec, nal) {
        (Codec::H264, &[header, ref rest @ ..]) => h264(header, rest, sets),
        (Codec::H265, &[header, layer, ref rest @ ..]) => h265(header, layer, rest, sets),
        _ => NalKind::Broken,
    }
}

fn h264(header: u8, rest: &[u8], sets: &ParameterSets) -> NalKind {
    if header & 0x80 != 0 {
        return NalKind::Broken;
    }
    match header & 0x1f {
        kind @ (1 | 2 | 5) => h264_slice(kind == 5, rest, sets).map_or(NalKind::Broken, NalKind::Slice),
        6 => NalKind::Sei,
        7 => NalKind::ParameterSet(SetKind::Sequence),
        8 => NalKind::ParameterSet(SetKind::Picture),
        9 | 13..=18 => NalKind::Prefix,
        24..=29 => NalKind::Broken,
        0 | 30 | 31 => NalKind::Ignored,
        _ => NalKind::Suffix,
    }
}

fn h264_slice(random_access: bool, rest: &[u8], sets: &ParameterSets) -> Option<Slice> {
    let mut bits = Bits::of_nal(rest);
    let address = bits.ue()?;
    let kind = bits.ue_max(9)?;
    let pps = u8::try_from(bits.ue_max(255)?).ok()?;
    let field = sets.slice_layout(pps).and_then(|layout| field(&mut bits, layout));
    let intra = matches!(kind % 5, 2 | 4);
    Some(Slice { first: address == 0, random_access, intra, pps: Some(pps), address, field })
}

fn field(bits: &mut Bits<'_>, layout: SliceLayout<'_>) -> Option<Field> {
    if !layout.sps.interlaced {
        return None;
    }
    if layout.sps.separate_planes {
        bits.skip(2)?;
    }
    let frame_num = bits.u(layout.sps.frame_num_bits)?;
    if !bits.flag()? {
        return None;
    }
    Some(Field { frame_num, bottom: bits.flag()? })
}

fn h265(header: u8, layer: u8, rest: &[u8], sets: &ParameterSets) -> NalKind {
    // Neither the forbidden bit nor temporal_id_plus1 = 0 exists in a stream.
    if header & 0x80 != 0 || layer & 7 == 0 {
        return NalKind::Broken;
    }
    let base_layer = header & 1 == 0 && layer >> 3 == 0;
    match header >> 1 {
        kind @ (0..=9 | 16..=21) if base_layer => {
            h265_slice((16..=21).contains(&kind), rest, sets).map_or(NalKind::Broken, NalKind::Slice)
        }
        32 if base_layer => NalKind::ParameterSet(SetKind::Video),
        33 if base_layer => NalKind::ParameterSet(SetKind::Sequence),
        34 if base_layer => NalKind::ParameterSet(SetKind::Picture),
        39 => NalKind::Sei,
        32..=35 | 41..=44 => NalKind::Prefix,
        48..=50 => NalKind::Broken,
        51..=63 => NalKind::Ignored,
        _ => NalKind::Suffix,
    }
}

fn h265_slice(random_access: bool, rest: &[u8], sets: &ParameterSets) -> Option<Slice> {
    let mut bits = Bits::of_nal(rest);
    let first = bits.flag()?;
    if random_access {
        bits.flag()?;
    }
    let pps = u8::try_from(bits.ue_max(63)?).ok()?;
    let address = sets.slice_layout(pps).filter(|_| !first).and_then(|layout| {
        if layout.dependent_slices {
            bits.flag()?;
        }
        bits.u(layout.sps.address_bits)
    });
    let address = address.unwrap_or(0);
    Some(Slice { first, random_access, intra: false, pps: Some(pps), address, field: None })
}

/// Whether an H.264 SEI NAL unit holds a recovery point (ITU-T H.264, D.1.8).
pub(super) fn has_recovery_point(nal: &[u8]) -> bool {
    const RECOVERY_POINT: u32 = 6;
    let mut bits = Bits::of_nal(nal.get(1..).unwrap_or(&[]));
    let number = |bits: &mut Bits<'_>| {
        let mut value = 0u32;
        loop {
            let byte = bits.u(8)?;
            value = value.saturating_add(byte);
            if byte != 0xff {
                return Some(value);
            }
        }
    };
    while let Some((kind, size)) = number(&mut bits).zip(number(&mut bits)) {
        if kind == RECOVERY_POINT && size > 0 {
            return true;
        }
        if bits.skip(size.saturating_mul(8)).is_none() {
            return false;
        }
    }
    false
}
