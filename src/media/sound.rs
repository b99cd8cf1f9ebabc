//! The sound beside a stream that is recorded. It has threads of its own and never stands in the way of the pictures:
//! what came is kept here for as long as pictures before it may still be written, and goes into whichever stretch of the
//! recording asks for it. Sound that falls silent or changes is a reason for another stretch, not for a stop.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Instant,
};

use gstreamer::{self as gst, prelude::*};
use gstreamer_app::{AppSink, AppSinkCallbacks};

use super::{
    Error,
    text::{self, Texts},
};
use crate::model::{pace::Pace, pipeline::Purpose, segment::AudioCodec};

/// Where the timeline of a run begins: decoding times stand a little before the times of showing.
pub(super) const ZERO_NS: i64 = 10_000_000_000;
/// Sound that is this much behind the pictures has fallen silent.
const SILENT_NS: i64 = 1_500_000_000;
/// Sound that came back must have come for so long before it is recorded again: each change begins a segment.
const STEADY_NS: i64 = 1_000_000_000;
/// So much sound is kept at most, in bytes: four minutes of 128 kbit/s.
const KEPT_BYTES: usize = 4 << 20;
/// Longer than any chain of a text.
const CHAIN_MAX: usize = 16;

/// The zero of a run's timeline, which pictures and sound share: when the first of either came.
#[derive(Clone, Debug, Default)]
pub struct Zero(Arc<OnceLock<Instant>>);

impl Zero {
    /// The time of arrival on the run's timeline, in nanoseconds.
    pub(super) fn arrival_ns(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(*self.0.get_or_init(|| now));
        i64::try_from(passed.as_nanos()).map_or(i64::MAX, |passed| passed.saturating_add(ZERO_NS))
    }
}

/// The sound of one session.
#[derive(Clone, Debug)]
pub struct Sound(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    codec: AudioCodec,
    chain: Vec<glib::WeakRef<gst::Element>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    caps: Option<gst::Caps>,
    /// Counts runs of sound: unbroken, and with the same parameters. A stretch holds one.
    run: u32,
    run_from_ns: i64,
    /// Where the last that came ends.
    until_ns: i64,
    buffers: VecDeque<gst::Buffer>,
    /// How many came before the first of them.
    gone: usize,
    bytes: usize,
    /// What ends before this is not asked for any more.
    from_ns: i64,
    entry: Option<Entry>,
}

/// Where sound goes.
#[derive(Debug)]
struct Entry {
    pad: gst::Pad,
    run: u32,
    /// What begins before this is not wanted.
    from_ns: i64,
    /// How many came until the last one that went.
    went: usize,
}

impl Sound {
    /// Puts what the text for `codec` does with sound beside the stream of `pipeline`, which `src` feeds.
    pub fn beside(
        pipeline: &gst::Pipeline,
        texts: &Texts,
        codec: AudioCodec,
        src: &gst::Element,
        zero: Zero,
    ) -> Result<Self, Error> {
        let purpose = Purpose::Audio(codec);
        let text = texts.pipeline(purpose, &[])?;
        let (first, last) = (text::named(&text, purpose, "sound")?, text::named(&text, purpose, "track")?);
        let mut chain = vec![first.clone()];
        while let Some(end) = chain.last().filter(|end| **end != last && chain.len() < CHAIN_MAX) {
            let next = end.static_pad("src").and_then(|pad| pad.peer()).and_then(|pad| pad.parent_element());
            chain.push(next.ok_or(Error::Refused("follow the text of the sound from `sound` to `track`"))?);
        }
        let refused = |_| Error::Refused("put the sound beside the pictures");
        chain.iter().try_for_each(|element| text.remove(element)).map_err(refused)?;
        let out = AppSink::builder().sync(false).async_(false).enable_last_sample(false).build();
        chain.push(out.clone().upcast());
        pipeline.add_many(&chain).map_err(refused)?;
        gst::Element::link_many(&chain).map_err(refused)?;
        let entry = first.static_pad("sink").ok_or(Error::Refused("find the pad of the sound"))?;
        retime(&entry, zero);
        src.connect_pad_added(move |_, pad| {
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            let media = caps.structure(0).and_then(|structure| structure.get::<String>("media").ok());
            if media.as_deref() == Some("audio")
                && let Err(error) = pad.link(&entry)
            {
                tracing::warn!("the sound cannot be linked: {error}");
            }
        });
        let sound = Self(Arc::new(Shared {
            codec,
            chain: chain.iter().map(gst::Element::downgrade).collect(),
            kept: Mutex::default(),
        }));
        let takes = sound.clone();
        let callbacks = AppSinkCallbacks::builder().new_sample(move |out| {
            let sample = out.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) {
                takes.take(buffer, caps);
            }
            Ok(gst::FlowSuccess::Ok)
        });
        out.set_callbacks(callbacks.build());
        Ok(sound)
    }

    /// Whether a message of the bus comes from the sound.
    pub fn owns(&self, message: &gst::MessageRef) -> bool {
        let from = message.src();
        self.0.chain.iter().any(|element| {
            let element = element.upgrade();
            element.is_some_and(|element| from == Some(element.upcast_ref()))
        })
    }

    /// What it is in a segment.
    pub fn stored(&self) -> AudioCodec {
        self.0.codec.stored()
    }

    /// The run of sound that a stretch could hold which has pictures until `at_ns`. `None` while there is none, or it has
    /// fallen silent; a stretch that waits for it is told so.
    pub(super) fn run(&self, at_ns: i64) -> Option<u32> {
        let mut kept = self.kept();
        if at_ns - kept.until_ns > SILENT_NS {
            if let Some(entry) = kept.entry.take() {
                end(entry.pad);
            }
            return None;
        }
        let steady = kept.run == 1 || kept.until_ns - kept.run_from_ns >= STEADY_NS;
        (kept.caps.is_some() && steady).then_some(kept.run)
    }

    /// Pictures from here on may still be asked for.
    pub(super) fn keep_from(&self, at_ns: i64) {
        self.kept().from_ns = at_ns;
    }

    /// Lets the sound from `from_ns` on into `pad`, as long as it is of this run.
    pub(super) fn begin(&self, pad: &gst::Pad, name: &str, run: u32, from_ns: i64) {
        let mut kept = self.kept();
        let Some(caps) = kept.caps.clone().filter(|_| kept.run == run) else {
            drop(kept);
            return end(pad.clone());
        };
        let timeline = gst::FormattedSegment::<gst::ClockTime>::new();
        pad.send_event(gst::event::StreamStart::new(name));
        pad.send_event(gst::event::Caps::new(&caps));
        pad.send_event(gst::event::Segment::new(&timeline));
        kept.entry = Some(Entry { pad: pad.clone(), run, from_ns, went: 0 });
    }

    /// Lets no more into `pad`.
    pub(super) fn stop(&self, pad: &gst::Pad) {
        let mut kept = self.kept();
        if kept.entry.as_ref().is_some_and(|entry| entry.pad == *pad) {
            kept.entry = None;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In the thread of the sound, which may wait for the pictures.
    fn take(&self, buffer: gst::Buffer, caps: gst::Caps) {
        let (pad, ready) = {
            let mut kept = self.kept();
            kept.note(buffer, caps);
            let Kept { entry, buffers, run, gone, .. } = &mut *kept;
            let Some(entry) = entry.as_mut().filter(|entry| entry.run == *run) else { return };
            let ready: Vec<gst::Buffer> = buffers
                .iter()
                .skip(entry.went.saturating_sub(*gone))
                .filter(|buffer| begins(buffer) >= entry.from_ns)
                .cloned()
                .collect();
            entry.went = *gone + buffers.len();
            (entry.pad.clone(), ready)
        };
        for buffer in ready {
            if pad.chain(buffer).is_err() {
                return self.stop(&pad);
            }
        }
    }
}

impl Kept {
    fn note(&mut self, mut buffer: gst::Buffer, caps: gst::Caps) {
        // Parsers reckon some times themselves, and meet the next packet a little late.
        if let Some(last) = self.buffers.back().and_then(|last| last.pts())
            && buffer.pts().is_none_or(|pts| pts <= last)
        {
            buffer.make_mut().set_pts(last + gst::ClockTime::from_useconds(1));
        }
        let begins_ns = begins(&buffer);
        let ends_ns = begins_ns + buffer.duration().map_or(0, ns);
        let changed = self.caps.as_ref() != Some(&caps);
        if changed || begins_ns - self.until_ns > SILENT_NS {
            self.run += 1;
            self.run_from_ns = begins_ns;
            self.caps = Some(caps);
            self.gone += self.buffers.len();
            self.buffers.clear();
            self.bytes = 0;
        }
        self.until_ns = self.until_ns.max(ends_ns);
        self.bytes += buffer.size();
        self.buffers.push_back(buffer);
        while self.bytes > KEPT_BYTES
            || self.buffers.len() > 1 && self.buffers.get(1).is_some_and(|next| begins(next) <= self.from_ns)
        {
            let Some(oldest) = self.buffers.pop_front() else { return };
            self.gone += 1;
            self.bytes -= oldest.size();
        }
    }
}

fn begins(buffer: &gst::Buffer) -> i64 {
    buffer.pts().map_or(0, ns)
}

fn ns(time: gst::ClockTime) -> i64 {
    i64::try_from(time.nseconds()).unwrap_or(i64::MAX)
}

/// Ends a track. On a thread, because the sound's own may be inside, waiting for the pictures, and the caller's may be
/// the one that it waits for.
fn end(pad: gst::Pad) {
    let ending = thread::Builder::new().name("sound end".into());
    let _ = ending.spawn(move || pad.send_event(gst::event::Eos::new()));
}

/// Puts the packets that enter `pad` onto the run's timeline, before anything reckons with their times.
fn retime(pad: &gst::Pad, zero: Zero) {
    let mut pace: Option<Pace> = None;
    let state = Mutex::new(move |info: &mut gst::PadProbeInfo| {
        let mut place = |packet: &mut gst::BufferRef| {
            let arrival_ns = zero.arrival_ns(Instant::now());
            let (Some(pace), Some(time)) = (&mut pace, super::source::rtp_time(packet)) else { return };
            pace.place(Some(time), arrival_ns);
            let placed = u64::try_from(pace.pull()).unwrap_or_default();
            packet.set_pts(gst::ClockTime::from_nseconds(placed));
            packet.set_dts(gst::ClockTime::NONE);
        };
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(packet)) => place(packet.make_mut()),
            Some(gst::PadProbeData::BufferList(packets)) => {
                packets.make_mut().foreach_mut(|mut packet, _| {
                    place(packet.make_mut());
                    std::ops::ControlFlow::Continue(Some(packet))
                });
            }
            Some(gst::PadProbeData::Event(event)) => {
                if let gst::EventView::Caps(caps) = event.view() {
                    let rate = caps.caps().structure(0).and_then(|s| s.get::<i32>("clock-rate").ok());
                    pace = rate.and_then(|rate| u32::try_from(rate).ok()).map(Pace::new);
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
}
