//! One media stream of a session: RTP and RTCP packets in, access units or frames of sound out.

use std::time::Instant;

use crate::model::{
    segment::{AudioCodec, Codec},
    unit::{AccessUnit, AudioUnit, Damage},
};

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackCodec {
    /// Pictures.
    Video(Codec),
    /// Sound.
    Audio(AudioCodec),
}

/// How packets of a track arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In order, inside the RTSP connection: a missing sequence number is a lost packet at once.
    Stream,
    /// As datagrams, which may overtake each other by up to 100 ms.
    Datagrams,
}

/// A track as its session description declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackSetup {
    /// What it carries.
    pub codec: TrackCodec,
    /// RTP payload type; packets of other types are ignored.
    pub payload_type: u8,
    /// Ticks per second of the RTP timestamps.
    pub clock_rate: u32,
    /// Channels of sound, as `a=rtpmap` says; 1 where it says nothing.
    pub channels: u8,
    /// Parameters of `a=fmtp` in order, names in lower case, values as sent.
    pub fmtp: Vec<(String, String)>,
    /// How packets arrive.
    pub delivery: Delivery,
    /// Whether each picture's time is that of the ONVIF replay header extension (ONVIF Streaming Specification, 6.3).
    pub replay: bool,
}

/// What a track makes of packets.
#[derive(Debug)]
pub enum TrackOutput {
    /// A picture.
    Video(AccessUnit),
    /// Sound.
    Audio(AudioUnit),
    /// The camera said that nothing more follows (RTCP BYE, or the end bit of a replay).
    End,
}

/// The receiving side of one media stream.
#[derive(Debug)]
pub struct Track {}

/// A track that cannot be received, in one sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnusableTrack(pub String);

impl Track {
    /// A track that has received nothing yet.
    ///
    /// # Errors
    /// If its parameters make no stream, a clock rate of 0 for example.
    pub fn new(_setup: TrackSetup) -> Result<Self, UnusableTrack> {
        Ok(Self {})
    }

    /// Takes one RTP packet that arrived at `now`.
    pub fn rtp(&mut self, _packet: &[u8], _now: Instant, _out: &mut Vec<TrackOutput>) {}

    /// Takes one RTCP packet, compound or not.
    pub fn rtcp(&mut self, _packet: &[u8], _now: Instant, _out: &mut Vec<TrackOutput>) {}

    /// All packets of one read were taken: delivers a picture that is complete.
    pub fn flush(&mut self, _now: Instant, _out: &mut Vec<TrackOutput>) {}

    /// When [`Self::flush`] is wanted although no packet came: a packet that was waited for is lost by then, or a picture is
    /// taken for complete.
    pub fn next_flush(&self) -> Option<Instant> {
        None
    }

    /// Nothing more follows: delivers what is complete.
    pub fn finish(&mut self, _now: Instant, _out: &mut Vec<TrackOutput>) {}

    /// A receiver report (RFC 3550, 6.4.2) to be sent now; `None` before the first packet.
    pub fn receiver_report(&mut self, _now: Instant) -> Option<Vec<u8>> {
        None
    }

    /// When the last sender report came.
    pub fn last_report(&self) -> Option<Instant> {
        None
    }

    /// What arrived broken so far; `resyncs` is always 0 here.
    pub fn damage(&self) -> Damage {
        Damage::default()
    }
}
