//! The record branch: splitmuxsink, made to let every frame go at once, to cut where we say, and to write nowhere itself.
//!
//! - `intake` takes every frame from the source, puts it onto the run's timeline, and asks the gate what is recorded;
//! - `mux_queue` hands what is recorded to the thread of the branch, half a second at a time;
//! - `muxer_run` is one recording without a break: a splitmuxsink that is given frame after frame, and told to cut;
//! - `muxer` is the muxer inside it, an element of our own; `segments` makes the fragments of its frames and of the sound
//!   beside them, and hands them to the volumes. Nothing here does I/O.
//!
//! See ARCHITECTURE.md, "The record branch".

mod intake;
mod mux_queue;
mod muxer;
mod muxer_run;
mod segments;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gstreamer::{self as gst, prelude::*};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Error, bus, gstlog,
    sound::{Sound, ZERO_NS, Zero},
    text::{self, Texts},
};
use crate::{
    base::{CameraId, WallUs},
    model::{
        Profile,
        ai::activity::Activity,
        anchor::{Anchor, Jump},
        pipeline::Purpose,
        refill::placing::Verdict,
        segment::{AudioCodec, Codec, SegmentSink},
        unit::{AccessUnit, AudioUnit},
    },
};
use intake::FrameIntake;
use segments::InFlight;

/// What a recording is for.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// Whose segments.
    pub camera: CameraId,
    /// Of which stream.
    pub profile: Profile,
    /// Length of a segment in seconds; may change while it runs.
    pub segment_seconds: Arc<AtomicU32>,
    /// What is to be recorded; may change while it runs.
    pub want: Arc<Want>,
    /// Where pre-roll is kept.
    pub memory: Memory,
    /// Where the footage of the runs before ends, and of this one.
    pub reached: Arc<Reached>,
    /// Takes the jumps of the host's clock that the recording followed.
    pub jumps: UnboundedSender<Jump>,
    /// Who else looks at every frame.
    pub lookers: Lookers,
    /// How much moves, over all sessions of the stream.
    pub activity: Arc<Mutex<Activity>>,
    /// Where frames belong that are no live ones; `None`: they are.
    pub placing: Option<Arc<dyn Placing>>,
}

/// Where the frames of a replay belong.
pub trait Placing: Send + Sync + std::fmt::Debug {
    /// A frame came. Whether it is known by now where frames belong; until then, they wait.
    fn learn(&self, unit: &AccessUnit) -> bool;

    /// When a frame was taken, on the clock that segments are recorded by, and what becomes of it.
    fn place(&self, unit: &AccessUnit) -> (WallUs, Verdict);

    /// How long the source is to wait before it reads on, after so many bytes more.
    fn pause(&self, bytes: usize) -> Duration;
}

/// A frame that passes by, recorded or not.
#[derive(Debug)]
pub struct Passing<'a> {
    /// The access unit.
    pub unit: &'a AccessUnit,
    /// Its time, on the clock that segments are recorded by.
    pub at: WallUs,
    /// Whether something moves; `None` while that cannot be told.
    pub active: Option<bool>,
}

/// Looks at every frame of a stream in the thread of its source: takes references and returns at once.
pub trait Look: Send + Sync + std::fmt::Debug {
    /// A frame.
    fn pass(&self, passing: &Passing<'_>);
}

/// Those who look at a stream; they stay when its session is opened anew. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lookers(Arc<Mutex<Vec<Arc<dyn Look>>>>);

impl Lookers {
    /// From the next frame on it looks, too.
    pub fn add(&self, looker: Arc<dyn Look>) {
        lock(&self.0).push(looker);
    }

    /// From the next frame on it does not.
    pub fn remove(&self, looker: &Arc<dyn Look>) {
        lock(&self.0).retain(|other| !Arc::ptr_eq(other, looker));
    }

    /// Whether both are the same stream's.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn are_any(&self) -> bool {
        !lock(&self.0).is_empty()
    }

    fn pass(&self, passing: &Passing<'_>) {
        lock(&self.0).iter().for_each(|looker| looker.pass(passing));
    }
}

/// Where a camera's footage ends, in UTC, and how its clock stood to it, over all its runs.
#[derive(Debug, Default)]
pub struct Reached {
    end: AtomicI64,
    runs: AtomicU64,
    clocks: Mutex<VecDeque<RunClock>>,
}

/// How far a camera's clock was ahead of a stretch of footage. Each run is anchored anew, some milliseconds beside the one before,
/// and pulled towards the host's clock as it goes.
#[derive(Clone, Copy, Debug)]
struct RunClock {
    run: u64,
    from: WallUs,
    upto: WallUs,
    ahead_us: i64,
}

/// So many stretches are remembered: a day of a clock that is 50 millionths off, and minutes of one that is a lie.
const CLOCKS: usize = 4096;
/// Within a stretch, the clock stays this near, in microseconds.
const CLOCK_STEP_US: i64 = 2_000;
/// And it is known this far from the stretch.
const CLOCK_NEAR_US: i64 = 5_000_000;

impl Reached {
    /// Footage goes until here.
    pub fn new(end: WallUs) -> Self {
        Self { end: AtomicI64::new(end.0), ..Self::default() }
    }

    /// How far the camera's clock is ahead of what is recorded now, in microseconds.
    pub fn ahead_us(&self) -> Option<i64> {
        let run = self.runs.load(Relaxed).checked_sub(1)?;
        lock(&self.clocks).back().filter(|clock| clock.run == run).map(|clock| clock.ahead_us)
    }

    /// How far it was ahead of the footage that ended at `end`.
    pub fn ahead_before_us(&self, end: WallUs) -> Option<i64> {
        let ended = |of: &&RunClock| of.from <= end && end < of.upto.plus_us(CLOCK_NEAR_US);
        lock(&self.clocks).iter().rev().find(ended).map(|clock| clock.ahead_us)
    }

    /// How far it was ahead of the footage that began at `begin`.
    pub fn ahead_after_us(&self, begin: WallUs) -> Option<i64> {
        let began = |of: &&RunClock| of.from.plus_us(-CLOCK_NEAR_US) < begin && begin <= of.upto;
        lock(&self.clocks).iter().find(began).map(|clock| clock.ahead_us)
    }

    fn set(&self, end: WallUs) {
        self.end.store(end.0, Relaxed);
    }

    fn get(&self) -> Option<WallUs> {
        Some(WallUs(self.end.load(Relaxed))).filter(|end| end.0 > 0)
    }

    fn note_clock(&self, clock: RunClock) {
        let mut clocks = lock(&self.clocks);
        match clocks.back_mut().filter(|last| last.run == clock.run) {
            Some(last) if (last.ahead_us - clock.ahead_us).abs() < CLOCK_STEP_US => last.upto = clock.upto,
            Some(last) => {
                let from = last.upto;
                clocks.push_back(RunClock { from, ..clock });
            }
            None => clocks.push_back(clock),
        }
        if clocks.len() > CLOCKS {
            clocks.pop_front();
        }
    }
}

/// What is to be recorded of a session.
#[derive(Debug, Default)]
pub struct Want(Mutex<Wanted>);

/// One value of [`Want`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Everything.
    #[default]
    All,
    /// From the keyframe at or before this time on.
    From(WallUs),
    /// Nothing; so much is kept in memory.
    Keep(Duration),
}

impl Want {
    /// Says what is to be recorded from the next frame on.
    pub fn set(&self, wanted: Wanted) {
        *lock(&self.0) = wanted;
    }

    fn get(&self) -> Wanted {
        *lock(&self.0)
    }
}

/// Bytes that all cameras may keep in memory together, and what is in use of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory {
    most: usize,
    used: Arc<AtomicUsize>,
}

/// One camera never keeps more than this: a minute at 6 Mbit/s.
const CAMERA_BYTES: usize = 48 << 20;
/// A frame must fit whatever the others keep, or recording could not begin.
const LEAST_BYTES: usize = 2 << 20;

impl Default for Memory {
    /// 256 MiB for all cameras.
    fn default() -> Self {
        Self { most: 256 << 20, used: Arc::default() }
    }
}

impl Memory {
    /// What a camera may keep that keeps `own` now.
    fn share(&self, own: usize) -> usize {
        let others = self.used.load(Relaxed).saturating_sub(own);
        self.most.saturating_sub(others).clamp(LEAST_BYTES, CAMERA_BYTES)
    }

    fn changed(&self, from: usize, to: usize) {
        self.used.fetch_add(to.wrapping_sub(from), Relaxed);
    }
}

/// The record branch of one session.
#[derive(Debug)]
pub struct Recorder {
    intake: Mutex<FrameIntake>,
    shared: Arc<Shared>,
}

/// Figures for the state that is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded {
    /// Segments begun.
    pub segments: u64,
    /// Frames that came and were not recorded although they were wanted: the volume refused their segment, or the branch
    /// failed.
    pub dropped_frames: u64,
    /// How often the branch failed and was made anew.
    pub failures: u32,
    /// How far back the frames kept in memory reach.
    pub pre_roll: Duration,
    /// Whether memory does not suffice for the pre-roll that is wanted.
    pub pre_roll_short: bool,
}

struct Shared {
    texts: Texts,
    settings: RecordSettings,
    sink: Arc<dyn SegmentSink>,
    /// Set when the source announces sound that is to be recorded.
    sound: OnceLock<Sound>,
    /// The pipelines of this session, one for each codec that it had.
    pipelines: Mutex<Vec<gst::Pipeline>>,
    /// The volume refused bytes: begin a new segment at the next keyframe.
    cut_now: AtomicBool,
    segments: AtomicU64,
    dropped: AtomicU64,
    /// Its number among the camera's.
    run: u64,
    pre_roll_ms: AtomicU64,
    pre_roll_short: AtomicBool,
    /// How many muxer runs failed; each is followed by another.
    failures: AtomicU32,
    zero: Zero,
    /// Set with the first frame.
    anchor: Mutex<Option<Anchor>>,
    /// The time of the first frame of a replay.
    placed: Mutex<Option<WallUs>>,
    /// Of the muxer runs that have not ended yet.
    open: Mutex<Vec<Arc<InFlight>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Recorder {
    /// The record branch of a session that begins. Its pipeline is made when the first frame tells the codec.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn new(texts: Texts, settings: RecordSettings, sink: Arc<dyn SegmentSink>) -> Result<Self, Error> {
        let run = settings.reached.runs.fetch_add(1, Relaxed);
        let shared = Arc::new(Shared {
            run,
            texts,
            settings,
            sink,
            sound: OnceLock::new(),
            pipelines: Mutex::default(),
            cut_now: AtomicBool::new(false),
            segments: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            pre_roll_ms: AtomicU64::new(0),
            pre_roll_short: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            zero: Zero::default(),
            anchor: Mutex::new(None),
            placed: Mutex::new(None),
            open: Mutex::default(),
        });
        let intake = Mutex::new(FrameIntake::new(shared.clone())?);
        Ok(Self { intake, shared })
    }

    /// Takes a picture, in the thread of its source. Gives the time after which the source should read on.
    pub fn video(&self, unit: AccessUnit) -> Duration {
        lock(&self.intake).frame(unit)
    }

    /// Whether somebody looks at the pictures as they come.
    pub fn is_watched(&self) -> bool {
        self.shared.settings.lookers.are_any()
    }

    /// Sound of this encoding is to come, and to be recorded with the pictures.
    pub fn expect_sound(&self, codec: AudioCodec) {
        let shared = &self.shared;
        let (owner, zero) = (shared.settings.camera.as_str(), shared.zero.clone());
        if shared.sound.get().is_none()
            && let Some(sound) = Sound::start(shared.texts.clone(), owner, codec, zero)
        {
            // Another one was set meanwhile: one is enough.
            let _ = shared.sound.set(sound);
        }
    }

    /// Takes sound, in the thread of its source.
    pub fn audio(&self, unit: AudioUnit) {
        if let Some(sound) = self.shared.sound.get() {
            sound.take(unit);
        }
    }

    /// Figures so far.
    pub fn recorded(&self) -> Recorded {
        let shared = &self.shared;
        Recorded {
            segments: shared.segments.load(Relaxed),
            dropped_frames: shared.dropped.load(Relaxed),
            failures: shared.failures.load(Relaxed),
            pre_roll: Duration::from_millis(shared.pre_roll_ms.load(Relaxed)),
            pre_roll_short: shared.pre_roll_short.load(Relaxed),
        }
    }

    /// The pipelines of the branch, for the graph that is shown.
    pub fn pipelines(&self) -> Vec<gst::Pipeline> {
        lock(&self.shared.pipelines).clone()
    }

    /// Finishes the open segment. Blocks, at most until `deadline`; `false` if it was still open then.
    pub fn finish(&self, deadline: Instant) -> bool {
        // Not under the lock: the thread of the source, which serves other cameras as well, may bring a frame meanwhile.
        let queue = lock(&self.intake).finish();
        let carried_out = queue.is_none_or(|queue| queue.finish(deadline));
        let open = std::mem::take(&mut *lock(&self.shared.open));
        carried_out && open.iter().all(|in_flight| in_flight.is_empty_by(deadline))
    }

    /// Stops the pipelines; what was not finished keeps what was muxed. Blocks for as long as that takes.
    pub fn stop(&self) {
        if let Some(sound) = self.shared.sound.get() {
            sound.close();
        }
        let pipelines = std::mem::take(&mut *lock(&self.shared.pipelines));
        for pipeline in pipelines {
            if pipeline.set_state(gst::State::Null).is_err() {
                tracing::error!("a record pipeline did not stop");
            }
            if let Some(bus) = pipeline.bus() {
                bus.unset_sync_handler();
            }
            gstlog::disown(&pipeline);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// The pipeline that the text for this codec makes, playing, without elements, and the text's `segments`, after which each
    /// recording's splitmuxsink is made.
    fn pipeline(self: &Arc<Self>, codec: Codec) -> Result<(gst::Pipeline, gst::Element), Error> {
        let replay = self.settings.placing.is_some();
        let purpose = if replay { Purpose::Replay(codec) } else { Purpose::Record(codec) };
        let text = self.texts.pipeline(purpose, &[])?;
        let pattern = text::named(&text, purpose, "segments")?;
        text.remove(&pattern).map_err(|_| Error::Refused("take the record branch out of its text"))?;
        let muxer = muxer::factory().ok_or(Error::Refused("make the muxer known"))?;
        pattern.set_property("muxer-properties", None::<gst::Structure>);
        for (property, value) in [
            ("muxer-factory", muxer),
            ("sink-factory", "fakesink"),
            ("max-size-time", "0"),
            ("max-size-bytes", "0"),
        ] {
            text::set(&pattern, property, value)?;
        }
        let pipeline = gst::Pipeline::new();
        gstlog::own(&pipeline, self.settings.camera.as_str());
        let bus = pipeline.bus().ok_or(Error::Refused("find the pipeline's bus"))?;
        let of = Arc::downgrade(self);
        bus.set_sync_handler(move |_, message| {
            if let (Some(shared), Some(error)) = (of.upgrade(), bus::loss(message)) {
                shared.failed(&error.detail);
            }
            gst::BusSyncReply::Drop
        });
        // No sink here waits for a clock, so latency means nothing. GStreamer's own handler sends an event for it while it holds the
        // state locks of the sinks: a deadlock, if splitmuxsink is about to change files.
        pipeline.connect("do-latency", false, |_| Some(true.to_value()));
        pipeline.set_state(gst::State::Playing).map_err(|_| Error::Refused("start the record pipeline"))?;
        lock(&self.pipelines).push(pipeline.clone());
        Ok((pipeline, pattern))
    }

    /// The present muxer run has failed; another begins with the next keyframe.
    fn failed(&self, why: &str) {
        tracing::error!(camera.id = %self.settings.camera, "the record branch failed: {why}");
        self.failures.fetch_add(1, Relaxed);
    }

    /// UTC time of a time of this run.
    fn wall(&self, at_ns: i64) -> WallUs {
        let us = at_ns / 1000;
        if let Some(first) = *lock(&self.placed) {
            return first.plus_us(us - ZERO_NS / 1000);
        }
        let mut anchor = lock(&self.anchor);
        let reached = self.settings.reached.get();
        // A frame may be handed over some time after it came.
        let came = || WallUs::now().plus_us(us - self.zero.arrival_ns(Instant::now()) / 1000);
        anchor.get_or_insert_with(|| Anchor::new(came(), us, reached)).wall(us)
    }

    /// UTC time of the first frame of a segment.
    fn begins(&self, at_ns: i64) -> WallUs {
        if self.settings.placing.is_some() {
            return self.wall(at_ns);
        }
        let at_us = self.zero.arrival_ns(Instant::now()) / 1000;
        let jump =
            lock(&self.anchor).as_mut().and_then(|anchor| anchor.look(WallUs::now(), at_us, at_ns / 1000));
        if let Some(jump) = jump {
            // Nobody listening any more is fine: the session is being closed.
            let _ = self.settings.jumps.send(jump);
        }
        self.wall(at_ns)
    }

    /// The time of this run that a UTC time stands for.
    fn timeline(&self, wall: WallUs) -> i64 {
        (wall.0 - self.wall(0).0).saturating_mul(1000)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clock_time(ns: i64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(ns.try_into().unwrap_or_default())
}
