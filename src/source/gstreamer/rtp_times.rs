//! RTP timestamps of pictures that rtspsrc delivers: its buffers carry running times alone.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use gstreamer::{self as gst, prelude::*};

/// RTP times of the access units that are passing, by their PTS: all packets of a picture share both.
#[derive(Clone, Debug, Default)]
pub(super) struct RtpTimes(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    by_pts: VecDeque<(gst::ClockTime, u32)>,
    last: Option<u32>,
}

/// Pictures between the depayloader and the recorder: one or two, and a few more for luck.
const RTP_TIMES: usize = 32;
/// Where the timestamp stands in an RTP header (RFC 3550, 5.1), in bytes.
const RTP_TIME_AT: usize = 4;

impl RtpTimes {
    /// The RTP time of the access unit with this PTS. Under load rtspsrc lets packets through without one; such a
    /// picture has the time of the packet that was last, because the depayloader gives a picture on with its last
    /// packet, in the same thread.
    pub(super) fn of(&self, pts: Option<gst::ClockTime>) -> Option<u32> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match pts {
            Some(pts) => noted.by_pts.iter().rev().find(|(of, _)| *of == pts).map(|(_, rtp)| *rtp),
            None => noted.last,
        }
    }

    pub(super) fn note(&self, packet: &gst::BufferRef) {
        let Some(rtp) = rtp_time(packet) else { return };
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.last.replace(rtp) == Some(rtp) && noted.by_pts.back().map(|(pts, _)| *pts) == packet.pts() {
            return;
        }
        if let Some(pts) = packet.pts() {
            noted.by_pts.push_back((pts, rtp));
            if noted.by_pts.len() > RTP_TIMES {
                noted.by_pts.pop_front();
            }
        }
    }
}

/// The timestamp of an RTP packet.
pub(super) fn rtp_time(packet: &gst::BufferRef) -> Option<u32> {
    let mut time = [0; 4];
    packet.copy_to_slice(RTP_TIME_AT, &mut time).ok()?;
    Some(u32::from_be_bytes(time))
}

/// Notes the RTP time of every packet that passes `pad`.
pub(super) fn watch(pad: &gst::Pad) -> RtpTimes {
    let times = RtpTimes::default();
    let noted = times.clone();
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(types, move |_, info| {
        match &info.data {
            Some(gst::PadProbeData::Buffer(packet)) => noted.note(packet),
            Some(gst::PadProbeData::BufferList(packets)) => {
                packets.iter().for_each(|packet| noted.note(packet))
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    times
}
