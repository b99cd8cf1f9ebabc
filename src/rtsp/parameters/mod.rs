//! Parameter sets of a video stream: kept by identifier, and made into the format that applies to a picture.
//!
//! Own code for both codecs on one bit reader: H.265 needs it anyway, and cameras whose VUI breaks off must keep their size.

mod bits;
mod h264;
mod h265;
mod record;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

pub(super) use bits::Bits;

use crate::model::{segment::Codec, unit::VideoFormat};

/// A longer parameter set is not taken.
const MAX_SET_BYTES: usize = 8 << 10;
/// Picture sizes that are taken, in pixels per side.
const SIDE: std::ops::RangeInclusive<u32> = 16..=16_384;
/// A declared frame rate above this is a mistake.
const MAX_FPS: f64 = 1000.0;

/// Kind of a parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetKind {
    Video,
    Sequence,
    Picture,
}

/// A sequence parameter set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sps {
    vps_id: u8,
    width: u32,
    height: u32,
    fps: Option<f64>,
    chroma_format: u8,
    bit_depth_luma: u8,
    bit_depth_chroma: u8,
    /// H.264: `profile_idc`, the constraint flags and `level_idc`. H.265: the general part of `profile_tier_level`.
    profile_tier_level: [u8; 12],
    /// H.265.
    temporal_layers: u8,
    /// H.265.
    temporal_nesting: bool,
    /// H.264: whether pictures may be fields.
    pub(super) interlaced: bool,
    /// H.264: length of `frame_num` in slice headers.
    pub(super) frame_num_bits: u32,
    /// Whether the three planes are coded separately, and slices say which.
    pub(super) separate_planes: bool,
    /// H.265: length of `slice_segment_address`.
    pub(super) address_bits: u32,
}

impl Sps {
    /// Cuts the cropping rectangle: left, right, top, bottom, in units. One that leaves nothing is ignored.
    fn crop(&mut self, [left, right, top, bottom]: [u32; 4], unit_x: u32, unit_y: u32) {
        let (x, y) = ((left + right) * unit_x, (top + bottom) * unit_y);
        if x < self.width && y < self.height {
            (self.width, self.height) = (self.width - x, self.height - y);
        }
    }
}

/// Pixels per chroma sample in both directions (`SubWidthC`, `SubHeightC`).
fn chroma_sampling(chroma_format: u8) -> (u32, u32) {
    match chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    }
}

/// Frames per second, unless it is no sensible number.
fn frame_rate(scale: u64, ticks: u64) -> Option<f64> {
    let fps = scale as f64 / ticks as f64;
    (fps > 0.0 && fps <= MAX_FPS).then_some(fps)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Content {
    Video { fps: Option<f64> },
    Sequence(Sps),
    Picture { sps: u8, dependent_slices: bool },
}

/// A parameter set that was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ParameterSet {
    pub(super) kind: SetKind,
    pub(super) id: u8,
    /// NAL unit without trailing zeros.
    pub(super) bytes: Bytes,
    content: Content,
}

/// How the slices of a picture are to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct SliceLayout<'a> {
    pub(super) sps: &'a Sps,
    pub(super) dependent_slices: bool,
}

/// The parameter sets of a stream.
#[derive(Debug)]
pub(super) struct ParameterSets {
    codec: Codec,
    video: BTreeMap<u8, ParameterSet>,
    sequence: BTreeMap<u8, ParameterSet>,
    picture: BTreeMap<u8, ParameterSet>,
    /// Whether a set changed since `format` was made.
    changed: bool,
    /// Identifier of the sequence parameter set of `format`.
    active: Option<u8>,
    format: Option<Arc<VideoFormat>>,
}

impl ParameterSets {
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            video: BTreeMap::new(),
            sequence: BTreeMap::new(),
            picture: BTreeMap::new(),
            changed: false,
            active: None,
            format: None,
        }
    }

    /// Identifier of a parameter set, from its NAL unit.
    pub(super) fn id(&self, kind: SetKind, nal: &[u8]) -> Option<u8> {
        match (self.codec, kind) {
            (Codec::H264, SetKind::Video) => None,
            (Codec::H264, SetKind::Sequence) => h264::sps_id(nal),
            (Codec::H264, SetKind::Picture) => h264::pps_ids(nal).map(|(id, _)| id),
            (Codec::H265, SetKind::Video) => h265::vps_id(nal),
            (Codec::H265, SetKind::Sequence) => h265::sps_id(nal),
            (Codec::H265, SetKind::Picture) => h265::pps(nal).map(|pps| pps.id),
        }
    }

    /// Bytes of the parameter set that applies now.
    pub(super) fn get(&self, kind: SetKind, id: u8) -> Option<&Bytes> {
        let sets = match kind {
            SetKind::Video => &self.video,
            SetKind::Sequence => &self.sequence,
            SetKind::Picture => &self.picture,
        };
        sets.get(&id).map(|set| &set.bytes)
    }

    /// Reads a parameter set, without taking it. `None` if it is unusable.
    pub(super) fn read(&self, kind: SetKind, nal: &[u8]) -> Option<ParameterSet> {
        if nal.len() > MAX_SET_BYTES {
            return None;
        }
        let id = self.id(kind, nal)?;
        let content = match (self.codec, kind) {
            (Codec::H264, SetKind::Video) => return None,
            (Codec::H264, SetKind::Sequence) => Content::Sequence(h264::sps(nal)?),
            (Codec::H264, SetKind::Picture) => {
                Content::Picture { sps: h264::pps_ids(nal)?.1, dependent_slices: false }
            }
            (Codec::H265, SetKind::Video) => Content::Video { fps: h265::vps(nal)?.fps },
            (Codec::H265, SetKind::Sequence) => Content::Sequence(h265::sps(nal)?),
            (Codec::H265, SetKind::Picture) => {
                let pps = h265::pps(nal)?;
                Content::Picture { sps: pps.sps, dependent_slices: pps.dependent_slices }
            }
        };
        if let Content::Sequence(sps) = &content
            && !(SIDE.contains(&sps.width) && SIDE.contains(&sps.height))
        {
            return None;
        }
        Some(ParameterSet { kind, id, bytes: Bytes::copy_from_slice(nal), content })
    }

    /// Takes a parameter set in place of the one with its identifier.
    pub(super) fn insert(&mut self, set: ParameterSet) {
        let sets = match set.kind {
            SetKind::Video => &mut self.video,
            SetKind::Sequence => &mut self.sequence,
            SetKind::Picture => &mut self.picture,
        };
        sets.insert(set.id, set);
        self.changed = true;
    }

    /// How slices are to be read that refer to the picture parameter set `pps`.
    pub(super) fn slice_layout(&self, pps: u8) -> Option<SliceLayout<'_>> {
        let Content::Picture { sps, dependent_slices } = self.picture.get(&pps)?.content else { return None };
        Some(SliceLayout { sps: self.sps(sps)?, dependent_slices })
    }

    fn sps(&self, id: u8) -> Option<&Sps> {
        match &self.sequence.get(&id)?.content {
            Content::Sequence(sps) => Some(sps),
            _ => None,
        }
    }

    /// The format of a picture whose slices refer to the picture parameter set `pps`. Where that does not exist, the
    /// sequence parameter set of the picture before is taken. `None` until there is a set of each kind.
    pub(super) fn format(&mut self, pps: Option<u8>) -> Option<Arc<VideoFormat>> {
        let named = pps.and_then(|pps| self.picture.get(&pps)).and_then(|pps| match pps.content {
            Content::Picture { sps, .. } => Some(sps),
            _ => None,
        });
        let known = |id: &u8| self.sequence.contains_key(id);
        let active =
            named.filter(known).or(self.active.filter(known)).or(self.sequence.keys().next().copied())?;
        if !self.changed && self.active == Some(active) {
            return self.format.clone();
        }
        let made = self.make(active)?;
        self.changed = false;
        self.active = Some(active);
        if self.format.as_deref() != Some(&made) {
            self.format = Some(Arc::new(made));
        }
        self.format.clone()
    }

    fn make(&self, active: u8) -> Option<VideoFormat> {
        let sps_bytes = &self.sequence.get(&active)?.bytes;
        let sps = self.sps(active)?;
        let of_active =
            |set: &&ParameterSet| matches!(set.content, Content::Picture { sps, .. } if sps == active);
        let mut pps: Vec<&[u8]> = self.picture.values().filter(of_active).map(|set| &*set.bytes).collect();
        if pps.is_empty() {
            pps = self.picture.values().map(|set| &*set.bytes).collect();
        }
        if pps.is_empty() {
            return None;
        }
        let mut fps_declared = sps.fps;
        let configuration = match self.codec {
            Codec::H264 => record::avc(sps, sps_bytes, &pps),
            Codec::H265 => {
                let vps = self.video.get(&sps.vps_id).or(self.video.values().next())?;
                if let Content::Video { fps } = vps.content {
                    fps_declared = fps_declared.or(fps);
                }
                record::hevc(sps, &vps.bytes, sps_bytes, &pps)
            }
        };
        let (width, height) = (sps.width, sps.height);
        Some(VideoFormat {
            codec: self.codec,
            configuration: configuration.into(),
            width,
            height,
            fps_declared,
        })
    }
}

#[cfg(test)]
mod tests;
