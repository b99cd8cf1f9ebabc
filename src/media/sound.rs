//! The sound beside a stream that is recorded. It has a thread of its own and never stands in the way of the pictures: what came is
//! kept here for as long as pictures before it may still be written, and goes into whichever stretch of the recording asks for it.
//! Sound that falls silent or changes is a reason for another stretch, not for a stop. G.711 becomes AAC in a pipeline of its own.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Instant,
};

use gstreamer::{self as gst, prelude::*};
use gstreamer_app::{AppSink, AppSinkCallbacks, AppSrc};

use super::{
    Error, bus, gstlog,
    text::{self, Texts},
    units,
};
use crate::{
    base::error::Chain,
    model::{
        pace::Pace,
        pipeline::Purpose,
        segment::AudioCodec,
        unit::{AudioFormat, AudioUnit},
    },
};

/// Where the timeline of a run begins: decoding times stand a little before the times of showing.
pub(super) const ZERO_NS: i64 = 10_000_000_000;
/// Sound that is this much behind the pictures has fallen silent.
const SILENT_NS: i64 = 1_500_000_000;
/// Sound that came back must have come for so long before it is recorded again: each change begins a segment.
const STEADY_NS: i64 = 1_000_000_000;
/// So much sound is kept at most, in bytes: four minutes of 128 kbit/s.
const KEPT_BYTES: usize = 4 << 20;

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
    kept: Mutex<Kept>,
    /// To the thread; `None` once nothing more is wanted.
    queue: Mutex<Option<Sender<AudioUnit>>>,
    /// Bytes in that queue.
    waiting: AtomicUsize,
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
    /// Starts the thread of the sound of a session whose timeline begins at `zero`. `None` if that fails: pictures go on without.
    pub fn start(texts: Texts, owner: &str, codec: AudioCodec, zero: Zero) -> Option<Self> {
        let (queue, units) = channel();
        let sound = Self(Arc::new(Shared {
            codec,
            kept: Mutex::default(),
            queue: Mutex::new(Some(queue)),
            waiting: AtomicUsize::new(0),
        }));
        let (keeper, owner) = (sound.clone(), owner.to_owned());
        let work = move || {
            if let Err(error) = keeper.work(&units, &texts, &owner, &zero) {
                tracing::warn!(camera.id = owner, "the sound failed, the pictures go on: {}", Chain(&error));
            }
        };
        thread::Builder::new().name("sound".into()).spawn(work).ok().map(|_| sound)
    }

    /// Takes sound in the thread of its source. What the thread cannot keep up with is dropped.
    pub fn take(&self, unit: AudioUnit) {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = unit.data.len();
        if let Some(queue) = &*queue
            && self.0.waiting.load(Relaxed) + bytes <= KEPT_BYTES
        {
            self.0.waiting.fetch_add(bytes, Relaxed);
            // A thread that ended has said why.
            let _ = queue.send(unit);
        }
    }

    /// Ends the thread once it has seen to what waits.
    pub(super) fn close(&self) {
        *self.0.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn work(
        &self,
        units: &Receiver<AudioUnit>,
        texts: &Texts,
        owner: &str,
        zero: &Zero,
    ) -> Result<(), Error> {
        let mut pace: Option<(u32, Pace)> = None;
        let mut format: Option<(Arc<AudioFormat>, gst::Caps)> = None;
        let mut transcoder: Option<Transcoder> = None;
        for unit in units {
            self.0.waiting.fetch_sub(unit.data.len(), Relaxed);
            let rate = unit.format.rate.max(1);
            if pace.as_ref().is_none_or(|(of, _)| *of != rate) {
                pace = Some((rate, Pace::new(rate)));
            }
            let caps = match &format {
                Some((known, caps)) if Arc::ptr_eq(known, &unit.format) => caps.clone(),
                _ => {
                    let caps = units::audio_caps(&unit.format);
                    format = Some((unit.format.clone(), caps.clone()));
                    caps
                }
            };
            let Some((_, pace)) = &mut pace else { continue };
            pace.place(unit.rtp_time, zero.arrival_ns(unit.arrived));
            let at = gst::ClockTime::from_nseconds(u64::try_from(pace.pull()).unwrap_or_default());
            let mut buffer = gst::Buffer::from_slice(unit.data);
            {
                let buffer = buffer.make_mut();
                buffer.set_pts(at);
                let length_ns = u64::from(unit.ticks) * 1_000_000_000 / u64::from(rate);
                buffer.set_duration((length_ns > 0).then(|| gst::ClockTime::from_nseconds(length_ns)));
            }
            if self.0.codec.stored() == self.0.codec {
                self.keep(buffer, caps);
                continue;
            }
            let transcoder = match &mut transcoder {
                Some(transcoder) => transcoder,
                None => transcoder.insert(Transcoder::start(self, texts, owner)?),
            };
            transcoder.push(buffer, &caps)?;
        }
        Ok(())
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
        self.kept().entry.take_if(|entry| entry.pad == *pad);
    }

    /// Ends the track that is open: pictures that wait for its sound go on.
    pub(super) fn release(&self) {
        if let Some(entry) = self.kept().entry.take() {
            end(entry.pad);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In the thread of the sound or of its transcoder, which may wait for the pictures.
    fn keep(&self, buffer: gst::Buffer, caps: gst::Caps) {
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

/// Makes G.711 into AAC: what the text for the codec has between its depayloader and `track`.
#[derive(Debug)]
struct Transcoder {
    pipeline: gst::Pipeline,
    input: AppSrc,
}

impl Transcoder {
    fn start(sound: &Sound, texts: &Texts, owner: &str) -> Result<Self, Error> {
        let purpose = Purpose::Audio(sound.0.codec);
        let text = texts.pipeline(purpose, &[])?;
        let depay = text::named(&text, purpose, "audiodepay")?;
        let mut chain = text::chain(&text, purpose, &depay, "track")?;
        chain.remove(0);
        let refused = |_| Error::Refused("make the pipeline that turns G.711 into AAC");
        chain.iter().try_for_each(|element| text.remove(element)).map_err(refused)?;
        let input = AppSrc::builder().format(gst::Format::Time).is_live(true).build();
        let output = AppSink::builder().sync(false).async_(false).enable_last_sample(false).build();
        chain.insert(0, input.clone().upcast());
        chain.push(output.clone().upcast());
        let pipeline = gst::Pipeline::new();
        pipeline.add_many(&chain).map_err(refused)?;
        gst::Element::link_many(&chain).map_err(refused)?;
        let keeper = sound.clone();
        let callbacks = AppSinkCallbacks::builder().new_sample(move |output| {
            let sample = output.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) {
                keeper.keep(buffer, caps);
            }
            Ok(gst::FlowSuccess::Ok)
        });
        output.set_callbacks(callbacks.build());
        gstlog::own(&pipeline, owner);
        let of = owner.to_owned();
        let bus = pipeline.bus().ok_or(Error::Refused("find the pipeline's bus"))?;
        bus.set_sync_handler(move |_, message| {
            if let Some(error) = bus::loss(message) {
                tracing::warn!(camera.id = of, "the sound failed, the pictures go on: {}", error.detail);
            }
            gst::BusSyncReply::Drop
        });
        let transcoder = Self { pipeline, input };
        let playing = transcoder.pipeline.set_state(gst::State::Playing);
        playing.map(|_| transcoder).map_err(|_| Error::Refused("start the pipeline that makes AAC"))
    }

    fn push(&self, buffer: gst::Buffer, caps: &gst::Caps) -> Result<(), Error> {
        if self.input.caps().as_ref() != Some(caps) {
            self.input.set_caps(Some(caps));
        }
        let pushed = self.input.push_buffer(buffer);
        pushed.map(drop).map_err(|_| Error::Refused("feed the pipeline that makes AAC"))
    }
}

impl Drop for Transcoder {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::error!("the pipeline that makes AAC did not stop");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        gstlog::disown(&self.pipeline);
    }
}
