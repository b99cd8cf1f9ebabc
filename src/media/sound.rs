//! The sound beside a stream that is recorded. It never stands in the way of the pictures: what came is kept here for as long as pictures
//! before it may still be written, and the muxer takes what belongs beside each fragment. Sound that falls silent or changes is a reason
//! for another muxer run, not for a stop. G.711 becomes AAC in a pipeline of its own, fed by a thread of its own.

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

/// A frame of sound as it is recorded.
#[derive(Clone, Debug)]
pub(super) struct TimedSound {
    pub(super) unit: AudioUnit,
    /// When it begins on the run's timeline, in nanoseconds.
    pub(super) at_ns: i64,
}

impl TimedSound {
    fn end_ns(&self) -> i64 {
        let ticks = i64::from(self.unit.ticks);
        self.at_ns.saturating_add(ticks * 1_000_000_000 / i64::from(self.unit.format.rate.max(1)))
    }
}

/// The sound of one session.
#[derive(Clone, Debug)]
pub struct Sound(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    codec: AudioCodec,
    zero: Zero,
    kept: Mutex<Kept>,
    placing: Mutex<Option<(u32, Pace)>>,
    /// To the thread that has G.711 transcoded; `None` if there is none, or nothing more is wanted.
    transcoding: Mutex<Option<Sender<TimedSound>>>,
    /// Bytes on their way to that thread.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Kept {
    format: Option<Arc<AudioFormat>>,
    /// Counts runs of sound: unbroken, and with the same parameters. A muxer run holds one.
    run: u32,
    run_from_ns: i64,
    /// Where the last that came ends.
    until_ns: i64,
    /// With the run that each is of.
    frames: VecDeque<(u32, TimedSound)>,
    /// How many came before the first of them.
    gone: usize,
    bytes: usize,
    /// What ends before this is not asked for any more.
    from_ns: i64,
}

/// How far a muxer run has taken a run of sound.
#[derive(Debug)]
pub(super) struct SoundReader {
    sound: Sound,
    run: u32,
    /// How many frames came up to the last one that was taken.
    taken: usize,
}

impl SoundReader {
    /// Takes the frames that begin before `until_ns`, in their order.
    pub(super) fn take_until(&mut self, until_ns: i64) -> Vec<TimedSound> {
        let kept = self.sound.kept();
        let new = kept.frames.iter().skip(self.taken.saturating_sub(kept.gone));
        let due = new.take_while(|(run, frame)| *run <= self.run && frame.at_ns < until_ns);
        let due: Vec<&(u32, TimedSound)> = due.collect();
        self.taken = self.taken.max(kept.gone) + due.len();
        due.into_iter().filter(|(run, _)| *run == self.run).map(|(_, frame)| frame.clone()).collect()
    }

    /// Whether all sound that begins before `at_ns` has come, or none will.
    pub(super) fn has_all_until(&self, at_ns: i64) -> bool {
        let kept = self.sound.kept();
        kept.run != self.run || kept.until_ns >= at_ns
    }

    /// The format of the run; `None` if it is over.
    pub(super) fn format(&self) -> Option<Arc<AudioFormat>> {
        let kept = self.sound.kept();
        kept.format.clone().filter(|_| kept.run == self.run)
    }
}

impl Sound {
    /// The sound of a session whose timeline begins at `zero`. `None` if its thread cannot be started: pictures go on without.
    pub fn start(texts: Texts, owner: &str, codec: AudioCodec, zero: Zero) -> Option<Self> {
        let sound = Self(Arc::new(Shared {
            codec,
            zero,
            kept: Mutex::default(),
            placing: Mutex::default(),
            transcoding: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }));
        if codec.stored() == codec {
            return Some(sound);
        }
        let (queue, frames) = channel();
        *sound.transcoding() = Some(queue);
        let (keeper, owner) = (sound.clone(), owner.to_owned());
        let work = move || {
            if let Err(error) = keeper.transcode(&frames, &texts, &owner) {
                tracing::warn!(camera.id = owner, "the sound failed, the pictures go on: {}", Chain(&error));
            }
        };
        thread::Builder::new().name("sound".into()).spawn(work).ok().map(|_| sound)
    }

    /// Takes sound in the thread of its source. What the transcoder cannot keep up with is dropped.
    pub fn take(&self, unit: AudioUnit) {
        let at_ns = {
            let mut placing = self.0.placing.lock().unwrap_or_else(PoisonError::into_inner);
            let rate = unit.format.rate.max(1);
            let pace = match &mut *placing {
                Some((of, pace)) if *of == rate => pace,
                placing => &mut placing.insert((rate, Pace::new(rate))).1,
            };
            pace.place(unit.rtp_time, self.0.zero.arrival_ns(unit.arrived));
            pace.pull()
        };
        let frame = TimedSound { unit, at_ns };
        if self.0.codec.stored() == self.0.codec {
            return self.kept().note(frame);
        }
        let bytes = frame.unit.data.len();
        if let Some(queue) = &*self.transcoding()
            && self.0.waiting.load(Relaxed) + bytes <= KEPT_BYTES
        {
            self.0.waiting.fetch_add(bytes, Relaxed);
            // A thread that ended has said why.
            let _ = queue.send(frame);
        }
    }

    /// Ends the transcoding once it has seen to what waits.
    pub(super) fn close(&self) {
        *self.transcoding() = None;
    }

    fn transcode(&self, frames: &Receiver<TimedSound>, texts: &Texts, owner: &str) -> Result<(), Error> {
        let transcoder = Transcoder::start(self, texts, owner)?;
        for frame in frames {
            self.0.waiting.fetch_sub(frame.unit.data.len(), Relaxed);
            transcoder.push(frame)?;
        }
        Ok(())
    }

    /// What it is in a segment.
    pub fn stored(&self) -> AudioCodec {
        self.0.codec.stored()
    }

    /// The run of sound that a muxer run could hold which has pictures until `at_ns`. `None` while there is none, or it has
    /// fallen silent.
    pub(super) fn run(&self, at_ns: i64) -> Option<u32> {
        let kept = self.kept();
        if at_ns - kept.until_ns > SILENT_NS {
            return None;
        }
        let steady = kept.run == 1 || kept.until_ns - kept.run_from_ns >= STEADY_NS;
        (kept.format.is_some() && steady).then_some(kept.run)
    }

    /// Pictures from here on may still be asked for.
    pub(super) fn keep_from(&self, at_ns: i64) {
        self.kept().from_ns = at_ns;
    }

    /// Reads a run of sound, from what is kept of it on.
    pub(super) fn reader(&self, run: u32) -> SoundReader {
        SoundReader { sound: self.clone(), run, taken: 0 }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transcoding(&self) -> MutexGuard<'_, Option<Sender<TimedSound>>> {
        self.0.transcoding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn note(&mut self, mut frame: TimedSound) {
        // Encoders reckon some times themselves, and meet the next packet a little late.
        if let Some((_, last)) = self.frames.back()
            && frame.at_ns <= last.at_ns
        {
            frame.at_ns = last.at_ns + 1000;
        }
        let same = |before: &Arc<AudioFormat>| {
            Arc::ptr_eq(before, &frame.unit.format) || *before == frame.unit.format
        };
        if !self.format.as_ref().is_some_and(same) || frame.at_ns - self.until_ns > SILENT_NS {
            self.run += 1;
            self.run_from_ns = frame.at_ns;
            self.format = Some(frame.unit.format.clone());
        }
        self.until_ns = self.until_ns.max(frame.end_ns());
        self.bytes += frame.unit.data.len();
        self.frames.push_back((self.run, frame));
        while self.bytes > KEPT_BYTES
            || self.frames.get(1).is_some_and(|(_, next)| next.at_ns <= self.from_ns)
        {
            let Some((_, oldest)) = self.frames.pop_front() else { return };
            self.gone += 1;
            self.bytes -= oldest.unit.data.len();
        }
    }
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
        let mut format: Option<Arc<AudioFormat>> = None;
        let callbacks = AppSinkCallbacks::builder().new_sample(move |output| {
            let sample = output.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let new = sample.caps().and_then(units::aac_format);
            if format.as_deref() != new.as_ref() {
                format = new.map(Arc::new);
            }
            if let (Some(buffer), Some(format)) = (sample.buffer_owned(), &format)
                && let Some(frame) = units::timed_sound(buffer, format)
            {
                keeper.kept().note(frame);
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

    fn push(&self, TimedSound { unit, at_ns }: TimedSound) -> Result<(), Error> {
        let caps = units::audio_caps(&unit.format);
        if self.input.caps().as_ref() != Some(&caps) {
            self.input.set_caps(Some(&caps));
        }
        let pushed = self.input.push_buffer(units::audio_buffer(&unit, at_ns));
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
