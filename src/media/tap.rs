//! What a session has received so far: counts, rates and the last keyframe. Readers poll it; nothing is computed for them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    base::WallUs,
    model::{segment::Codec, unit::AccessUnit},
};

/// The camera's clock is compared with the host's at every frame of this count.
const CLOCK_EVERY: u64 = 16;
/// Rates are measured over about this time.
const WINDOW: Duration = Duration::from_secs(4);
/// Cameras begin a session with the frames that they held back; rates are measured after them.
const BURST: Duration = Duration::from_millis(500);

/// The last keyframe, as it came.
#[derive(Clone, Debug)]
pub struct Keyframe {
    /// Counts keyframes from 1.
    pub number: u64,
    /// The access unit.
    pub unit: AccessUnit,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Access units.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first came.
    pub first: Option<Instant>,
    /// When the last came.
    pub last: Option<Instant>,
    /// Codec, width and height.
    pub video: Option<(Codec, u32, u32)>,
    /// Frames a second that the stream declares.
    pub fps_declared: Option<f64>,
    /// Frames a second, over the last seconds.
    pub fps: Option<f64>,
    /// Bits a second, over the last seconds.
    pub bit_rate_bps: Option<u64>,
    /// When the first keyframe came.
    pub first_keyframe: Option<Instant>,
    /// Between the last two keyframes.
    pub keyframe_interval: Option<Duration>,
    /// How far the camera's clock is ahead of the host's, in microseconds, from its RTCP sender reports. What it takes a
    /// frame to come counts against it.
    pub clock_ahead_us: Option<i64>,
    /// Whether presentation times ever went back, which only B-frames make.
    pub b_frames: bool,
    /// The last keyframe.
    pub keyframe: Option<Keyframe>,
    last_rtp: Option<u32>,
    keyframe_at: Option<Instant>,
    window: Option<(Instant, u64, u64)>,
}

/// RTP times that go back by at most this much are out of their order of display; further back, the camera's clock jumped. In ticks of
/// 90 kHz: 1 s.
const REORDER_TICKS: u32 = 90_000;

impl Seen {
    /// Time between frames, as measured; zero before that is known.
    pub fn interval(&self) -> Duration {
        self.fps.filter(|fps| *fps > 0.0).map_or(Duration::ZERO, |fps| Duration::from_secs_f64(1.0 / fps))
    }

    fn frame(&mut self, unit: &AccessUnit) {
        let now = unit.arrived;
        self.frames += 1;
        self.bytes += unit.data.len() as u64;
        let first = *self.first.get_or_insert(now);
        self.last = Some(now);
        if let (Some(last), Some(rtp)) = (self.last_rtp, unit.rtp_time) {
            self.b_frames |= (1..=REORDER_TICKS).contains(&last.wrapping_sub(rtp));
        }
        self.last_rtp = unit.rtp_time;
        if self.video.is_none() || unit.key {
            self.video = Some((unit.format.codec, unit.format.width, unit.format.height));
            self.fps_declared = unit.format.fps_declared;
        }
        if self.frames.is_multiple_of(CLOCK_EVERY)
            && let Some(camera) = unit.camera_time
        {
            self.clock_ahead_us = Some(camera.0 - WallUs::now().minus(now.elapsed()).0);
        }
        if now - first < BURST {
            return;
        }
        let (since, frames, bytes) = *self.window.get_or_insert((now, self.frames, self.bytes));
        let passed = now - since;
        if passed >= WINDOW {
            let seconds = passed.as_secs_f64();
            self.fps = Some((self.frames - frames) as f64 / seconds);
            self.bit_rate_bps = Some(((self.bytes - bytes) as f64 * 8.0 / seconds) as u64);
            self.window = Some((now, self.frames, self.bytes));
        }
    }

    fn keyframe(&mut self, unit: &AccessUnit) {
        let now = unit.arrived;
        self.keyframe_interval = self.keyframe_at.map(|before| now - before);
        self.keyframe_at = Some(now);
        self.first_keyframe.get_or_insert(now);
        let number = self.keyframe.as_ref().map_or(0, |last| last.number) + 1;
        self.keyframe = Some(Keyframe { number, unit: unit.clone() });
    }
}

/// The receiving side and the readers' side of [`Seen`].
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Mutex<Seen>>);

impl Tap {
    /// Counts a frame.
    pub fn video(&self, unit: &AccessUnit) {
        let mut seen = self.lock();
        seen.frame(unit);
        if unit.key {
            seen.keyframe(unit);
        }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
