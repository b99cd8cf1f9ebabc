//! Takes every frame in the thread of its source, puts it onto the run's timeline and lets the gate decide what is recorded. What the
//! gate lets through goes to the thread of the record branch, so that nothing of that branch can hold up the source.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    Passing, Placing, RunClock, Shared, Wanted, lock,
    mux_queue::MuxQueue,
    muxer_run::{MuxerControl, Order, TimedUnit, Tracks},
};
use crate::{
    base::WallUs,
    media::{Error, sound::ZERO_NS},
    model::{
        gate::{Frame, Gate, Rules, Step, Wish},
        pace::{Pace, VIDEO_RATE},
        refill::placing::Verdict,
        reorder::Depth,
        unit::{AccessUnit, VideoFormat},
    },
    mp4,
};

/// After so many frames, or so long after the first keyframe, it is known how deep the stream reorders.
const FRAMES_TO_SETTLE: u32 = 5;
const SETTLE_WITHIN: Duration = Duration::from_millis(300);
/// Recording waits so long for sound that the camera announced; what comes later begins another muxer run.
const SOUND_WITHIN: Duration = Duration::from_millis(700);
/// So many frames of a replay wait until it is known where they belong, and so many bytes: sender reports come every five
/// seconds or so (RFC 3550, 6.2).
const HELD_MAX: usize = 400;
const HELD_BYTES_MAX: usize = 32 << 20;
/// The camera's clock is looked at with one of so many frames, and wherever the timeline left it.
const CLOCK_EVERY: u32 = 16;
/// RTP times that went on by so much more or less than the run did have jumped.
const RTP_JUMP_US: i64 = 1_000_000;
/// Frames are handed over so much at a time, in nanoseconds: what a fragment holds.
const BATCH_NS: i64 = mp4::FRAGMENT_NS;
/// The frames of the first second of a segment are handed over one by one, so that it is soon on the disk and listed.
const YOUNG_NS: i64 = 1_000_000_000;
/// Sound is kept so much longer than pictures, because orders may wait.
const SOUND_MARGIN_NS: i64 = 2_000_000_000;

/// The source's side of the record branch.
#[derive(Debug)]
pub(super) struct FrameIntake {
    shared: Arc<Shared>,
    pace: Pace,
    /// The RTP time of the first frame that has one, and when it was.
    begun: Option<(u32, WallUs)>,
    depth: Depth,
    /// The least distance between frames so far.
    interval_ns: Option<i64>,
    last_ns: Option<i64>,
    gate: Gate<TimedUnit>,
    format: Option<Arc<VideoFormat>>,
    parameters: u32,
    tracks: Tracks,
    tracks_number: u32,
    first_keyframe: Option<Instant>,
    /// Since the first keyframe.
    pub(super) frames: u32,
    steps: Vec<Step<TimedUnit>>,
    /// Frames of a replay that wait until it is known where they belong.
    held: Vec<AccessUnit>,
    /// `None` once it is finished.
    queue: Option<MuxQueue>,
    /// The queue refused a frame: those after it cannot be decoded before the next keyframe.
    waits_for_keyframe: bool,
    /// When the segment began that is recorded, and when frames were handed over last, on the run's timeline.
    segment_from_ns: Option<i64>,
    handed_over_ns: i64,
}

impl FrameIntake {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, Error> {
        Ok(Self {
            queue: Some(MuxQueue::start(MuxerControl::new(shared.clone()))?),
            waits_for_keyframe: false,
            segment_from_ns: None,
            handed_over_ns: 0,
            shared,
            pace: Pace::default(),
            begun: None,
            depth: Depth::default(),
            interval_ns: None,
            last_ns: None,
            gate: Gate::default(),
            format: None,
            parameters: 0,
            tracks: Tracks::default(),
            tracks_number: 0,
            first_keyframe: None,
            frames: 0,
            steps: Vec::new(),
            held: Vec::new(),
        })
    }

    /// Takes the next frame; gives the time after which the source should read on.
    pub(super) fn frame(&mut self, unit: AccessUnit) -> Duration {
        let Some(placing) = self.shared.settings.placing.clone() else {
            self.take(unit, None);
            return Duration::ZERO;
        };
        let pause = placing.pause(unit.data.len());
        let known = placing.learn(&unit);
        self.held.push(unit);
        let bytes: usize = self.held.iter().map(|held| held.data.len()).sum();
        if known || self.held.len() >= HELD_MAX || bytes >= HELD_BYTES_MAX {
            self.replay(&*placing);
        }
        pause
    }

    /// Takes the frames of a replay that waited.
    fn replay(&mut self, placing: &dyn Placing) {
        for unit in std::mem::take(&mut self.held) {
            match placing.place(&unit) {
                (at, Verdict::Take) => self.take(unit, Some(at)),
                (at, Verdict::TakeAnew) => {
                    // Another muxer run begins with it.
                    self.tracks_number += 1;
                    self.depth.forget();
                    self.take(unit, Some(at));
                }
                (_, Verdict::Leave | Verdict::Done) => {}
            }
        }
    }

    /// Counts changes of the decoder configuration; a repetition of the same one is no change.
    fn note_format(&mut self, format: &Arc<VideoFormat>) {
        let same = |before: &Arc<VideoFormat>| Arc::ptr_eq(before, format) || before == format;
        if self.format.as_ref().is_some_and(same) {
            return;
        }
        self.parameters += u32::from(self.format.is_some());
        self.format = Some(format.clone());
    }

    /// Takes a frame: a live one, or one of a replay that was taken `at` this time.
    fn take(&mut self, unit: AccessUnit, at: Option<WallUs>) {
        let (key, now) = (unit.key, unit.arrived);
        if self.queue.is_none() {
            return;
        }
        self.note_format(&unit.format);
        if self.first_keyframe.is_none() && !key {
            return;
        }
        let since = now - *self.first_keyframe.get_or_insert(now);
        self.frames = self.frames.saturating_add(1);

        let at_ns = match at {
            None => self.place(&unit),
            Some(at) => {
                let first = *lock(&self.shared.placed).get_or_insert(at);
                ZERO_NS + (at.0 - first.0) * 1000
            }
        };
        let bytes = unit.data.len();
        if self.frames == 1 {
            // It is the anchor of the run, recorded or not.
            self.shared.wall(at_ns);
        }
        if at.is_none() {
            self.look_at_clock(&unit, at_ns);
        }
        self.show(&unit, at_ns);
        if let Some(last) = self.last_ns.replace(at_ns) {
            let distance = (at_ns - last).abs();
            self.interval_ns = Some(self.interval_ns.map_or(distance, |least| least.min(distance)));
        }

        self.observe(at_ns);
        let sounds =
            self.shared.sound.get().is_none() || self.tracks.sound.is_some() || since >= SOUND_WITHIN;
        let settled = sounds && (self.frames >= FRAMES_TO_SETTLE || since >= SETTLE_WITHIN);
        let unit = TimedUnit { unit, at_ns };
        let frame = Frame { key, at_ns, bytes, parameters: self.parameters, unit };
        let rules = self.rules(settled);
        let kept = self.gate.bytes();
        self.gate.take(frame, &rules, &mut self.steps);
        self.shared.settings.memory.changed(kept, self.gate.bytes());
        self.go_on();
        if let Some(sound) = self.shared.sound.get() {
            sound.keep_from(self.gate.oldest_ns().unwrap_or(at_ns) - SOUND_MARGIN_NS);
        }
        self.shared.pre_roll_ms.store(u64::try_from(self.gate.reach_ns() / 1_000_000).unwrap_or(0), Relaxed);
        self.shared.pre_roll_short.store(self.gate.is_short(), Relaxed);
    }

    /// Notes how far the camera's clock is ahead. Its sender report comes after its first frames; how it stood to those is what
    /// counts for what is missing before them.
    fn look_at_clock(&mut self, unit: &AccessUnit, at_ns: i64) {
        let due = self.frames.is_multiple_of(CLOCK_EVERY) || self.pace.has_shifted();
        if !due && self.begun.is_some() {
            return;
        }
        let at = self.shared.wall(at_ns);
        let rtp = unit.rtp_time;
        self.begun = self.begun.or(rtp.map(|rtp| (rtp, at)));
        if !due {
            return;
        }
        let Some(camera) = unit.camera_time else { return };
        let (run, reached) = (self.shared.run, &self.shared.settings.reached);
        let clock =
            |at: WallUs, camera: WallUs| RunClock { run, from: at, upto: at, ahead_us: camera.0 - at.0 };
        if let (None, Some((first, began)), Some(now)) = (reached.ahead_us(), self.begun, rtp) {
            let passed_us =
                i64::from(now.wrapping_sub(first).cast_signed()) * 1_000_000 / i64::from(VIDEO_RATE);
            // RTP times that jumped meanwhile say nothing.
            if (at.0 - began.0 - passed_us).abs() < RTP_JUMP_US {
                reached.note_clock(clock(began, camera.plus_us(-passed_us)));
            }
        }
        reached.note_clock(clock(at, camera));
    }

    /// Shows a frame to those who look at all of them, recorded or not.
    fn show(&self, unit: &AccessUnit, at_ns: i64) {
        let (at, settings) = (self.shared.wall(at_ns), &self.shared.settings);
        let active = lock(&settings.activity).see(at.0, unit.key, unit.data.len());
        settings.lookers.pass(&Passing { unit, at, active });
    }

    /// Notes what a recording that begins now would have to know of the stream.
    fn observe(&mut self, at_ns: i64) {
        let tracks = Tracks {
            depth: self.depth.see(at_ns),
            failures: self.shared.failures.load(Relaxed),
            sound: self.shared.sound.get().and_then(|sound| sound.run(at_ns)),
        };
        if self.tracks != tracks {
            self.tracks = tracks;
            self.tracks_number += 1;
        }
    }

    /// Gives out what is still to be recorded, and takes no more frames. The queue that is left has to be finished.
    pub(super) fn finish(&mut self) -> Option<MuxQueue> {
        if let Some(placing) = self.shared.settings.placing.clone() {
            self.replay(&*placing);
        }
        let (rules, kept) = (self.rules(true), self.gate.bytes());
        self.gate.finish(&rules, &mut self.steps);
        self.shared.settings.memory.changed(kept, self.gate.bytes());
        self.go_on();
        self.queue.take()
    }

    /// Where on the timeline a frame is to be shown.
    fn place(&mut self, unit: &AccessUnit) -> i64 {
        let arrival_ns = self.shared.zero.arrival_ns(unit.arrived);
        let placed = self.pace.place(unit.rtp_time, arrival_ns);
        if unit.key { self.pace.pull() } else { placed }
    }

    fn rules(&self, settled: bool) -> Rules {
        let shared = &self.shared;
        let wish = match shared.settings.want.get() {
            Wanted::All => Wish::All,
            Wanted::From(from) => Wish::Record { from_ns: shared.timeline(from) },
            Wanted::Keep(length) => {
                Wish::Keep { pre_roll_ns: i64::try_from(length.as_nanos()).unwrap_or(i64::MAX) }
            }
        };
        Rules {
            wish,
            segment_ns: i64::from(shared.settings.segment_seconds.load(Relaxed)) * 1_000_000_000,
            tracks: self.tracks_number,
            settled,
            cut: shared.cut_now.load(Relaxed),
            bytes_max: shared.settings.memory.share(self.gate.bytes()),
        }
    }

    fn go_on(&mut self) {
        for step in self.steps.drain(..) {
            if matches!(step, Step::Begin | Step::Cut) {
                self.shared.cut_now.store(false, Relaxed);
                self.segment_from_ns = None;
            }
            let (order, at_once) = match step {
                Step::Begin => {
                    (Order::Begin(self.tracks.clone(), self.interval_ns.unwrap_or_default()), false)
                }
                Step::Cut => (Order::Cut, false),
                Step::Pass(unit) if self.waits_for_keyframe && !unit.unit.key => {
                    self.shared.dropped.fetch_add(1, Relaxed);
                    continue;
                }
                Step::Pass(unit) => {
                    self.waits_for_keyframe = false;
                    let at_ns = unit.at_ns;
                    let end_ns = at_ns.saturating_add(self.interval_ns.unwrap_or_default());
                    let end = self.shared.wall(end_ns);
                    self.shared.settings.reached.set(end);
                    let from_ns = *self.segment_from_ns.get_or_insert(at_ns);
                    let is_young = (at_ns - from_ns).abs() < YOUNG_NS;
                    let at_once = is_young || (at_ns - self.handed_over_ns).abs() >= BATCH_NS;
                    if at_once {
                        self.handed_over_ns = at_ns;
                    }
                    (Order::Frame(unit), at_once)
                }
                Step::End => (Order::End, true),
            };
            if !self.queue.as_ref().is_none_or(|queue| queue.push(order, at_once)) {
                self.waits_for_keyframe = true;
                self.shared.dropped.fetch_add(1, Relaxed);
                self.shared.failures.fetch_add(1, Relaxed);
            }
        }
    }
}

impl Drop for FrameIntake {
    fn drop(&mut self) {
        self.shared.settings.memory.changed(self.gate.bytes(), 0);
    }
}
