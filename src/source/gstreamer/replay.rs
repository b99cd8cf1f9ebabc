//! What rtspsrc needs for a replay by ONVIF: a seek to absolute times, and a time for every packet.

use std::sync::{Mutex, PoisonError};

use gstreamer::{self as gst, prelude::*};

use super::NTP_EPOCH_US;
use crate::{
    base::WallUs,
    media::{Error, text},
    model::{pipeline::Purpose, timeline::Range},
};

/// Gives each packet of a picture the time of its first. `rtponvifparse` takes it from the extension, which need not stand on the
/// others (ONVIF Streaming Specification, 6.3); those keep times of rtspsrc, which count from the asked range as if the first picture
/// were of its begin, or none; and a picture in several packets has the time of a later one.
fn carry_times(packets: &gst::Pad) {
    let last = Mutex::new(None);
    packets.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(packet) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if has_extension(packet) {
            *last = packet.pts();
        } else if last.is_some() {
            packet.make_mut().set_pts(*last);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Whether an RTP packet has the replay header extension: the bit for one, and its profile after the sources that contributed
/// (RFC 3550, 5.3.1; ONVIF Streaming Specification, 6.3).
fn has_extension(packet: &gst::BufferRef) -> bool {
    let mut first = [0];
    let mut profile = [0; 2];
    let read = packet.copy_to_slice(0, &mut first).is_ok()
        && packet.copy_to_slice(12 + 4 * usize::from(first[0] & 0x0f), &mut profile).is_ok();
    read && first[0] & 0x10 != 0 && profile == [0xab, 0xac]
}

/// Has rtspsrc ask for this range, on the camera's clock, as fast as it goes (ONVIF Streaming Specification, 6.4 and 6.5). To be
/// called before the pipeline plays.
pub(super) fn seek(pipeline: &gst::Pipeline, purpose: Purpose, range: Range) -> Result<(), Error> {
    let src = text::named(pipeline, purpose, "src")?;
    text::set(&src, "onvif-mode", "true")?;
    text::set(&src, "onvif-rate-control", "false")?;
    let depay = text::named(pipeline, purpose, "depay")?;
    carry_times(&depay.static_pad("sink").ok_or(Error::Refused("find the pad of the RTP packets"))?);
    src.set_state(gst::State::Ready).map_err(|_| Error::Refused("get the source ready"))?;
    let since_1900 =
        |at: WallUs| gst::ClockTime::from_useconds(u64::try_from(at.0 + NTP_EPOCH_US).unwrap_or_default());
    let event = gst::event::Seek::new(
        1.0,
        gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
        gst::SeekType::Set,
        since_1900(range.from),
        gst::SeekType::Set,
        since_1900(range.to),
    );
    if src.send_event(event) { Ok(()) } else { Err(Error::Refused("ask for a range of the recording")) }
}
