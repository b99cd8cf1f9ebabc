//! A segment: one recorded MP4 file, and what is known of it while it grows.

use std::fmt;

use bytes::Bytes;

use super::{
    camera::{Profile, words},
    copies::{Copies, CopyState},
    stream::StreamId,
};
use crate::base::{CameraId, WallUs};

/// Encoding of the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// H.264, stored as `avc1`.
    H264,
    /// H.265, stored as `hvc1`: Apple's players take nothing else.
    H265,
}

words!(Codec { H264 = "h264", H265 = "h265" });

impl Codec {
    /// Encoding name in RTP (RFC 6184, RFC 7798).
    pub fn rtp_name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::H265 => "H265",
        }
    }
}

/// Encoding of the sound that a camera sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    /// AAC (RFC 3640), recorded as it is.
    Aac,
    /// Opus (RFC 7587), recorded as it is.
    Opus,
    /// G.711 A-law. An MP4 file cannot hold it in a way that browsers play, so it is recorded as AAC.
    Pcma,
    /// G.711 µ-law; as A-law.
    Pcmu,
}

words!(AudioCodec { Aac = "aac", Opus = "opus", Pcma = "pcma", Pcmu = "pcmu" });

impl AudioCodec {
    /// Encoding name in RTP.
    pub fn rtp_name(self) -> &'static str {
        match self {
            Self::Aac => "MPEG4-GENERIC",
            Self::Opus => "OPUS",
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
        }
    }

    /// What it is in a segment.
    pub fn stored(self) -> Self {
        if self == Self::Opus { Self::Opus } else { Self::Aac }
    }
}

/// Where a segment's footage came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The camera's live stream.
    Live,
    /// The camera's own storage, fetched afterwards.
    Refill,
}

words!(Source { Live = "live", Refill = "refill" });

/// How far a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// It is being written.
    Open,
    /// It is whole.
    Closed,
    /// It was not surely put on the medium (a sync failed), or it is not what was recorded any more.
    Suspect,
    /// The index knows it, but its file is gone.
    Lost,
    /// Its file is being deleted, or is deleted already: not to be taken in again, and its row follows.
    Deleting,
}

words!(SegmentState {
    Open = "open",
    Closed = "closed",
    Suspect = "suspect",
    Lost = "lost",
    Deleting = "deleting",
});

/// What is known of a segment when its first frame arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Whose it is.
    pub camera: CameraId,
    /// Which of the camera's streams.
    pub profile: Profile,
    /// UTC time of the first frame.
    pub start: WallUs,
    /// Encoding of the pictures.
    pub codec: Codec,
    /// Size of the picture in pixels.
    pub width: u32,
    /// Size of the picture in pixels.
    pub height: u32,
    /// Encoding of the sound in the file, if there is any.
    pub audio: Option<AudioCodec>,
    /// Where the footage came from.
    pub source: Source,
    /// Whether it is for the mirror alone: recorded outside its schedule and triggers (`mirror_mode = continuous`).
    pub only_mirror: bool,
}

impl SegmentHead {
    /// The stream that it is of.
    pub fn stream(&self) -> StreamId {
        StreamId { camera: self.camera.clone(), profile: self.profile, source: self.source }
    }
}

/// How much of a segment is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Frames in whole fragments.
    pub frames: u64,
    /// Bytes of the file up to the end of the last whole fragment (or of the file, once it is closed).
    pub bytes: u64,
    /// Time from the first frame to the end of the last one.
    pub duration_us: i64,
}

/// BLAKE3 of a file, from its first byte to its last. Prints itself as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A row of the index before it has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// What it began with.
    pub head: SegmentHead,
    /// Path below each volume's root; unique.
    pub path: String,
    /// How much of it is on disk.
    pub extent: Extent,
    /// How far it is.
    pub state: SegmentState,
    /// Hash of the file; `None` while it grows, and for one that nobody hashed while it was written.
    pub hash: Option<Hash>,
}

impl SegmentState {
    /// What a volume has of a segment that its writer says is so.
    pub fn copy(self) -> CopyState {
        match self {
            Self::Open => CopyState::Open,
            Self::Closed => CopyState::Whole,
            Self::Suspect => CopyState::Suspect,
            Self::Lost => CopyState::Absent,
            Self::Deleting => CopyState::Deleting,
        }
    }
}

impl SegmentFacts {
    /// When its last frame ends.
    pub fn end(&self) -> WallUs {
        self.head.start.plus_us(self.extent.duration_us)
    }
}

/// A row of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its id; grows in the order in which rows were written.
    pub id: i64,
    /// What it says.
    pub facts: SegmentFacts,
    /// What each volume has of it.
    pub copies: Copies,
    /// So many holds protect it.
    pub holds: u32,
}

/// Bytes that a file gets at once: whole boxes up to the end of an `mdat`. The first of a file begin with its header.
#[derive(Clone, Debug)]
pub struct SegmentBytes {
    /// The bytes, in the order of the file; shared, not copied.
    pub chunks: Vec<Bytes>,
    /// What the file holds once they are written.
    pub extent: Extent,
}

impl SegmentBytes {
    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }
}

/// Where a recorder puts its segments. Called from streaming threads, so nothing here may block or do I/O: the
/// bytes are handed on by reference to whoever writes them.
pub trait SegmentSink: Send + Sync + std::fmt::Debug {
    /// A segment begins.
    fn open(&self, head: SegmentHead) -> Box<dyn SegmentWrite>;
}

/// One open segment. Dropping it ends the segment with what was written.
pub trait SegmentWrite: Send {
    /// What follows in the file. An error means that nothing more of this segment will be kept, and that the recorder
    /// should begin a new one at the next keyframe.
    fn write(&mut self, bytes: SegmentBytes) -> Result<Next, SinkRefused>;
}

/// What the recorder is to do after bytes were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Go,
    /// Go on, and begin another segment at the next keyframe: not every volume has this one that should, or one has it
    /// that need not. Said once.
    Cut,
}

/// No volume takes more of this segment: it failed, or it is too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no volume takes more of this segment")]
pub struct SinkRefused;
