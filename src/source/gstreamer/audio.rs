//! The sound beside the pictures of an rtspsrc: the chain of the text for its codec, and what leaves it as units.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use gstreamer::{self as gst, prelude::*};
use gstreamer_app::{AppSink, AppSinkCallbacks};

use super::rtp_times::rtp_time;
use crate::{
    media::{
        Error,
        text::{self, Texts},
        units,
    },
    model::{
        pipeline::Purpose,
        segment::AudioCodec,
        source::UnitSink,
        unit::{AudioFormat, AudioUnit},
    },
};

/// Ticks per second of RTP times where nothing else is said (RFC 3551, 6).
const DEFAULT_RATE: u32 = 8000;

/// Elements of the sound, to tell their errors from those of the pictures.
#[derive(Clone, Debug)]
pub(super) struct Sound(Vec<glib::WeakRef<gst::Element>>);

impl Sound {
    /// Puts what the text for `codec` does with sound beside the pictures of `pipeline`, which `src` feeds.
    pub(super) fn beside(
        pipeline: &gst::Pipeline,
        texts: &Texts,
        codec: AudioCodec,
        src: &gst::Element,
        sink: Arc<dyn UnitSink>,
    ) -> Result<Self, Error> {
        let purpose = Purpose::Audio(codec);
        let text = texts.pipeline(purpose, &[])?;
        let first = text::named(&text, purpose, "sound")?;
        // G.711 is decoded behind the seam.
        let last = if codec.stored() == codec { "track" } else { "audiodepay" };
        let mut chain = text::chain(&text, purpose, &first, last)?;
        let refused = |_| Error::Refused("put the sound beside the pictures");
        chain.iter().try_for_each(|element| text.remove(element)).map_err(refused)?;
        let out = AppSink::builder().sync(false).async_(false).enable_last_sample(false).build();
        chain.push(out.clone().upcast());
        pipeline.add_many(&chain).map_err(refused)?;
        gst::Element::link_many(&chain).map_err(refused)?;
        let entry = first.static_pad("sink").ok_or(Error::Refused("find the pad of the sound"))?;
        let rate = stamp(&entry);
        src.connect_pad_added(move |_, pad| {
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            let media = caps.structure(0).and_then(|structure| structure.get::<String>("media").ok());
            if media.as_deref() == Some("audio")
                && let Err(error) = pad.link(&entry)
            {
                tracing::warn!("the sound cannot be linked: {error}");
            }
        });
        let format: Mutex<Option<Arc<AudioFormat>>> = Mutex::default();
        let callbacks = AppSinkCallbacks::builder().new_sample(move |out| {
            let sample = out.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let known = sample.caps().and_then(|caps| audio_format(caps, codec));
            if let (Some(buffer), Some(known)) = (sample.buffer_owned(), known) {
                let rate = rate.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(DEFAULT_RATE);
                let mut format = format.lock().unwrap_or_else(PoisonError::into_inner);
                let format = match &mut *format {
                    Some(format) if **format == known => format.clone(),
                    other => other.insert(Arc::new(known)).clone(),
                };
                let ticks = |time: gst::ClockTime| time.nseconds() * u64::from(rate) / 1_000_000_000;
                let rtp_time = buffer.pts().map(|pts| rounded_ticks(pts, rate) as u32);
                let length = buffer.duration().map_or(0, |length| u32::try_from(ticks(length)).unwrap_or(0));
                if let Ok(data) = buffer.into_mapped_buffer_readable() {
                    let data = bytes::Bytes::from_owner(data);
                    sink.audio(AudioUnit { data, rtp_time, ticks: length, arrived: Instant::now(), format });
                }
            }
            Ok(gst::FlowSuccess::Ok)
        });
        out.set_callbacks(callbacks.build());
        Ok(Self(chain.iter().map(gst::Element::downgrade).collect()))
    }

    /// Whether a message of the bus comes from the sound.
    pub(super) fn owns(&self, message: &gst::MessageRef) -> bool {
        let from = message.src();
        self.0.iter().any(|element| {
            let element = element.upgrade();
            element.is_some_and(|element| from == Some(element.upcast_ref()))
        })
    }
}

/// Nearest tick to a time in nanoseconds.
fn rounded_ticks(time: gst::ClockTime, rate: u32) -> u64 {
    let ticks = u128::from(time.nseconds()) * u128::from(rate);
    u64::try_from((ticks + 500_000_000) / 1_000_000_000).unwrap_or_default()
}

fn audio_format(caps: &gst::CapsRef, codec: AudioCodec) -> Option<AudioFormat> {
    let structure = caps.structure(0)?;
    let number = |field| structure.get::<i32>(field).ok().and_then(|n| u32::try_from(n).ok());
    Some(AudioFormat {
        codec,
        rate: number("rate").unwrap_or(48_000),
        channels: number("channels").and_then(|n| u8::try_from(n).ok()).unwrap_or(1),
        configuration: units::codec_data(structure).unwrap_or_default(),
    })
}

/// Gives the packets that enter `pad` their RTP time as PTS, wraps counted, so that it is known behind depayloader and parser. The
/// rate of the RTP clock is known once caps came.
fn stamp(pad: &gst::Pad) -> Arc<Mutex<Option<u32>>> {
    let rate = Arc::new(Mutex::new(None));
    let known = rate.clone();
    let mut last: Option<(u32, u64)> = None;
    let state = Mutex::new(move |info: &mut gst::PadProbeInfo| {
        let of = *known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stamp = |packet: &mut gst::BufferRef| {
            let Some(rtp) = rtp_time(packet) else { return };
            let ticks = match last {
                None => u64::from(rtp) + (1 << 32),
                Some((before, ticks)) => {
                    ticks.saturating_add_signed(i64::from(rtp.wrapping_sub(before).cast_signed()))
                }
            };
            last = Some((rtp, ticks));
            let ns = u128::from(ticks) * 1_000_000_000 / u128::from(of.unwrap_or(DEFAULT_RATE).max(1));
            packet.set_pts(u64::try_from(ns).ok().map(gst::ClockTime::from_nseconds));
            packet.set_dts(gst::ClockTime::NONE);
        };
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(packet)) => stamp(packet.make_mut()),
            Some(gst::PadProbeData::BufferList(packets)) => {
                packets.make_mut().foreach_mut(|mut packet, _| {
                    stamp(packet.make_mut());
                    std::ops::ControlFlow::Continue(Some(packet))
                });
            }
            Some(gst::PadProbeData::Event(event)) => {
                if let gst::EventView::Caps(caps) = event.view() {
                    let rate = caps.caps().structure(0).and_then(|s| s.get::<i32>("clock-rate").ok());
                    *known.lock().unwrap_or_else(PoisonError::into_inner) =
                        rate.and_then(|rate| u32::try_from(rate).ok());
                }
            }
            _ => {}
        }
    });
    let types =
        gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(types, move |_, info| {
        (*state.lock().unwrap_or_else(PoisonError::into_inner))(info);
        gst::PadProbeReturn::Ok
    });
    rate
}
