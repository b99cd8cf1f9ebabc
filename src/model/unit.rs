//! What a source of a stream hands on: whole pictures and whole frames of sound, with their format and times. Nothing
//! behind a source knows RTSP, RTP or GStreamer's pads.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::segment::{AudioCodec, Codec};
use crate::base::WallUs;

/// The format of a video stream. A stream whose parameter sets change gets another one; a repetition of the same parameter
/// sets keeps the same `Arc`.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoFormat {
    /// Encoding.
    pub codec: Codec,
    /// Decoder configuration record: `avcC` or `hvcC` without the box header (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1). Lengths of
    /// NAL units have four bytes.
    pub configuration: Bytes,
    /// Width of the shown picture in pixels.
    pub width: u32,
    /// Height of the shown picture in pixels.
    pub height: u32,
    /// Frames per second that the sequence parameter set declares.
    pub fps_declared: Option<f64>,
}

/// One coded picture.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// Its NAL units in decoding order, each after its length (four bytes, big-endian). Parameter sets that are part of `format`
    /// are left out.
    pub data: Bytes,
    /// Whether decoding can begin here.
    pub key: bool,
    /// RTP timestamp as sent, at 90 kHz (RFC 6184, RFC 7798). `None` if the source did not learn it.
    pub rtp_time: Option<u32>,
    /// The camera's wall clock at capture: from RTCP sender reports, or from the ONVIF replay header.
    pub camera_time: Option<WallUs>,
    /// When its last byte was read.
    pub arrived: Instant,
    /// The format that applies to it.
    pub format: Arc<VideoFormat>,
    /// Whether part of it is known to be missing or broken.
    pub damaged: bool,
}

/// The format of an audio stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioFormat {
    /// Encoding.
    pub codec: AudioCodec,
    /// Samples per second, and ticks per second of the RTP timestamps.
    pub rate: u32,
    /// Channels.
    pub channels: u8,
    /// AAC: the AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1). Empty for others.
    pub configuration: Bytes,
}

/// One frame of AAC, one packet of Opus, or the samples of one packet of G.711.
#[derive(Clone, Debug)]
pub struct AudioUnit {
    /// The encoded bytes.
    pub data: Bytes,
    /// RTP timestamp of its first sample, at [`AudioFormat::rate`].
    pub rtp_time: Option<u32>,
    /// Its length in ticks of [`AudioFormat::rate`]; 0 if that is not known.
    pub ticks: u32,
    /// When its last byte was read.
    pub arrived: Instant,
    /// The format that applies to it.
    pub format: Arc<AudioFormat>,
}

/// What arrived broken in a session so far. Each count costs at most the frames up to the next keyframe, never the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Access units with a missing or unreadable part.
    pub damaged_units: u64,
    /// How often the start of the next message was searched for in the byte stream.
    pub resyncs: u64,
    /// RTP packets that never arrived, by their sequence numbers.
    pub lost_packets: u64,
}

impl std::ops::AddAssign for Damage {
    fn add_assign(&mut self, other: Self) {
        self.damaged_units += other.damaged_units;
        self.resyncs += other.resyncs;
        self.lost_packets += other.lost_packets;
    }
}
