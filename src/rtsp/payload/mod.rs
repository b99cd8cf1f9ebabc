//! RTP payload formats: packets in order in, pictures and frames of sound out.

mod aac;
mod g711;
mod h264;
mod h265;
mod markers;
mod nal;
mod opus;
mod picture;
mod start_code;

use std::time::Instant;

use super::{packet::ReplayHeader, reorder::Continuity, rtcp::SenderClock, track::TrackOutput};

pub(super) use aac::Aac;
pub(super) use g711::G711;
pub(super) use opus::Opus;
pub(super) use picture::PictureBuilder;

/// One packet of a track, in sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// RTP timestamp.
    pub(super) time: u32,
    pub(super) marker: bool,
    pub(super) arrived: Instant,
    pub(super) continuity: Continuity,
    pub(super) replay: Option<ReplayHeader>,
    pub(super) payload: &'a [u8],
}

/// Where pictures go.
#[derive(Debug)]
pub(super) struct Outlet<'a> {
    /// Gives pictures their time, unless they have it from the ONVIF replay header.
    pub(super) clock: Option<&'a SenderClock>,
    pub(super) out: &'a mut Vec<TrackOutput>,
}
