//! One fragment: `moof` with the sample tables of each track, and `mdat` with the samples.

use bytes::{Bytes, BytesMut};

use super::{
    boxes::{BoxWriter, HEADER_BYTES, length_u32},
    header::{AUDIO_TRACK, VIDEO_TRACK},
};
use crate::model::segment::Extent;

/// `tfhd`: data offsets count from the begin of the `moof` (ISO/IEC 14496-12, 8.8.7.1).
const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
/// `tfhd`: the flags of samples are given once for all.
const DEFAULT_SAMPLE_FLAGS: u32 = 0x20;
/// `trun` (8.8.8.1): which fields are there.
const DATA_OFFSET: u32 = 0x1;
const SAMPLE_DURATION: u32 = 0x100;
const SAMPLE_SIZE: u32 = 0x200;
const SAMPLE_FLAGS: u32 = 0x400;
const COMPOSITION_OFFSETS: u32 = 0x800;
/// Flags of a sample (8.8.3.1): it depends on no other (`sample_depends_on` = 2).
const SYNC_SAMPLE: u32 = 2 << 24;
/// It depends on others (`sample_depends_on` = 1), and decoding cannot begin there (`sample_is_non_sync_sample`).
const NON_SYNC_SAMPLE: u32 = 1 << 24 | 1 << 16;

/// A video sample in ticks of the video track.
#[derive(Clone, Debug)]
pub(super) struct TimedVideo {
    pub(super) data: Bytes,
    pub(super) key: bool,
    pub(super) decode: u64,
    /// Presentation time less decode time.
    pub(super) offset: i32,
    pub(super) duration: u32,
}

/// An audio sample in ticks of the audio track.
#[derive(Clone, Debug)]
pub(super) struct TimedAudio {
    pub(super) data: Bytes,
    pub(super) start: u64,
    pub(super) duration: u32,
}

/// A complete `moof` and `mdat`, and the facts of the video in it.
///
/// Times are in ticks of [`VIDEO_TIMESCALE`](super::VIDEO_TIMESCALE) since the first video sample of the file.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The `moof` and the header of the `mdat`.
    pub header: Bytes,
    /// The content of the `mdat`: the data of the samples as it was pushed, all video samples before all audio samples.
    pub samples: Vec<Bytes>,
    /// Offset of the fragment in the file, in bytes.
    pub offset: u64,
    /// Length of the fragment in bytes: `header` and `samples`.
    pub bytes: u64,
    /// Number of video samples; 0 in a fragment that holds audio alone.
    pub frames: u32,
    /// Number of keyframes among them.
    pub keyframes: u32,
    /// Whether the first video sample is a keyframe.
    pub starts_with_keyframe: bool,
    /// Decode time of the first video sample; without video, the end of the video so far.
    pub decode_start: u64,
    /// `decode_start` and the durations of all its video samples.
    pub decode_end: u64,
    /// Extent of the file up to and including this fragment, the same as a reader counts from the boxes. The difference to the
    /// `duration_us` of the fragment before is the time that this one adds.
    pub extent: Extent,
}

impl Fragment {
    /// All bytes in order, for a vectored write.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.header).chain(&self.samples)
    }

    /// All bytes in one piece. Copies the samples.
    pub fn concat(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(usize::try_from(self.bytes).unwrap_or(0));
        self.chunks().for_each(|chunk| all.extend_from_slice(chunk));
        all.freeze()
    }
}

/// Sum of the lengths of samples in bytes.
fn data_bytes<'a>(data: impl Iterator<Item = &'a Bytes>) -> u32 {
    data.fold(0, |sum, data| sum.saturating_add(length_u32(data.len())))
}

/// The `moof` with the number `sequence`, and the header of the `mdat` that follows. Together the samples have less than 2 GiB, the
/// range of a data offset: the limits of [`Fragmenter`](super::Fragmenter) are far below.
pub(super) fn write_header(sequence: u32, video: &[TimedVideo], audio: &[TimedAudio]) -> Bytes {
    let mut out = BoxWriter::default();
    let (mut video_offset_at, mut audio_offset_at) = (None, None);
    out.nested(b"moof", |out| {
        out.full(b"mfhd", 0, 0, |out| out.u32(sequence));
        if let Some(first) = video.first() {
            out.nested(b"traf", |out| {
                out.full(b"tfhd", 0, DEFAULT_BASE_IS_MOOF, |out| out.u32(VIDEO_TRACK));
                out.full(b"tfdt", 1, 0, |out| out.u64(first.decode));
                video_offset_at = Some(video_run(out, video));
            });
        }
        if let Some(first) = audio.first() {
            out.nested(b"traf", |out| {
                out.full(b"tfhd", 0, DEFAULT_BASE_IS_MOOF | DEFAULT_SAMPLE_FLAGS, |out| {
                    out.u32(AUDIO_TRACK);
                    out.u32(SYNC_SAMPLE);
                });
                out.full(b"tfdt", 1, 0, |out| out.u64(first.start));
                audio_offset_at = Some(audio_run(out, audio));
            });
        }
    });
    let video_bytes = data_bytes(video.iter().map(|sample| &sample.data));
    let audio_bytes = data_bytes(audio.iter().map(|sample| &sample.data));
    let data_at = length_u32(out.position()).saturating_add(HEADER_BYTES);
    if let Some(position) = video_offset_at {
        out.patch_u32(position, data_at);
    }
    if let Some(position) = audio_offset_at {
        out.patch_u32(position, data_at.saturating_add(video_bytes));
    }
    out.u32(HEADER_BYTES.saturating_add(video_bytes).saturating_add(audio_bytes));
    out.bytes(b"mdat");
    out.into_bytes().into()
}

/// `trun` of the video (8.8.8). Returns the position of its data offset. Composition offsets are written only if a sample has one,
/// and with a sign (version 1) only if one is negative.
fn video_run(out: &mut BoxWriter, samples: &[TimedVideo]) -> usize {
    let has_offsets = samples.iter().any(|sample| sample.offset != 0);
    let has_negative = samples.iter().any(|sample| sample.offset < 0);
    let flags = DATA_OFFSET | SAMPLE_DURATION | SAMPLE_SIZE | SAMPLE_FLAGS;
    let flags = if has_offsets { flags | COMPOSITION_OFFSETS } else { flags };
    let mut offset_at = 0;
    out.full(b"trun", u8::from(has_negative), flags, |out| {
        out.u32(length_u32(samples.len()));
        offset_at = out.position();
        out.u32(0);
        for sample in samples {
            out.u32(sample.duration);
            out.u32(length_u32(sample.data.len()));
            out.u32(if sample.key { SYNC_SAMPLE } else { NON_SYNC_SAMPLE });
            if has_offsets {
                out.i32(sample.offset);
            }
        }
    });
    offset_at
}

/// `trun` of the audio. Returns the position of its data offset.
fn audio_run(out: &mut BoxWriter, samples: &[TimedAudio]) -> usize {
    let mut offset_at = 0;
    out.full(b"trun", 0, DATA_OFFSET | SAMPLE_DURATION | SAMPLE_SIZE, |out| {
        out.u32(length_u32(samples.len()));
        offset_at = out.position();
        out.u32(0);
        for sample in samples {
            out.u32(sample.duration);
            out.u32(length_u32(sample.data.len()));
        }
    });
    offset_at
}
