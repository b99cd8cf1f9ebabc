//! What a session has received so far: counts, rates and the last keyframe. Readers poll it; nothing is computed for them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    base::WallUs,
    model::{pace::VIDEO_RATE, segment::Codec, unit::AccessUnit},
};

/// The camera's clock is compared with the host's at every frame of this count.
const CLOCK_EVERY: u64 = 16;
/// Rates are measured over about this time.
const WINDOW: Duration = Duration::from_secs(4);
/// Frames are read late by no more than this, if the network and the machine do what they should.
const MAX_READ_DELAY: Duration = Duration::from_millis(400);
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
    keyframe_at: Option<FrameTime>,
    window: Option<(FrameTime, u64, u64)>,
}

/// When a frame was taken, by both clocks.
#[derive(Clone, Copy, Debug)]
struct FrameTime {
    arrived: Instant,
    rtp: Option<u32>,
}

impl FrameTime {
    fn of(unit: &AccessUnit) -> Self {
        Self { arrived: unit.arrived, rtp: unit.rtp_time }
    }

    /// The time from `before` until now by the camera's clock, which knows nothing of how often and how late its packets are read; by
    /// ours, if the camera's is far from it.
    fn elapsed_since(self, before: Self) -> Duration {
        let passed = self.arrived.saturating_duration_since(before.arrived);
        let ticks = self.rtp.zip(before.rtp).map(|(now, before)| now.wrapping_sub(before));
        let by_camera = ticks.map(|ticks| Duration::from_secs(ticks.into()) / VIDEO_RATE);
        let is_likely = |by_camera: &Duration| {
            // A clock that stands still tells nothing.
            !by_camera.is_zero() && by_camera.abs_diff(passed) <= MAX_READ_DELAY
        };
        by_camera.filter(is_likely).unwrap_or(passed)
    }
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
        let (now, frame_time) = (unit.arrived, FrameTime::of(unit));
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
        let (since, frames, bytes) = *self.window.get_or_insert((frame_time, self.frames, self.bytes));
        // The RTP times of B-frames are not those of their coming.
        let passed = if self.b_frames { now - since.arrived } else { frame_time.elapsed_since(since) };
        if passed >= WINDOW {
            let seconds = passed.as_secs_f64();
            self.fps = Some((self.frames - frames) as f64 / seconds);
            self.bit_rate_bps = Some(((self.bytes - bytes) as f64 * 8.0 / seconds) as u64);
            self.window = Some((frame_time, self.frames, self.bytes));
        }
    }

    fn keyframe(&mut self, unit: &AccessUnit) {
        let now = FrameTime::of(unit);
        self.keyframe_interval = self.keyframe_at.replace(now).map(|before| now.elapsed_since(before));
        self.first_keyframe.get_or_insert(now.arrived);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::unit::VideoFormat;

    const FRAME: Duration = Duration::from_millis(40);

    /// What is seen of ten seconds at 25 frames a second, a keyframe each second: `read_at` says when a frame is read that was sent
    /// then, and `rtp` its time stamp.
    fn seen(read_at: impl Fn(Duration) -> Duration, rtp: impl Fn(u32) -> Option<u32>) -> Seen {
        let (tap, began) = (Tap::default(), Instant::now());
        let format = Arc::new(VideoFormat {
            codec: Codec::H264,
            configuration: Default::default(),
            width: 640,
            height: 360,
            fps_declared: None,
        });
        for number in 0..250 {
            tap.video(&AccessUnit {
                data: vec![0; 1000].into(),
                key: number % 25 == 0,
                rtp_time: rtp(number),
                camera_time: None,
                arrived: began + read_at(FRAME * number),
                format: format.clone(),
                damaged: false,
            });
        }
        tap.seen()
    }

    fn is_near(seen: &Seen, fps: f64, keyframes: f64, by: f64) {
        let measured = (seen.fps.unwrap(), seen.keyframe_interval.unwrap().as_secs_f64());
        assert!((measured.0 - fps).abs() <= fps * by && (measured.1 - keyframes).abs() <= by, "{measured:?}");
    }

    #[test]
    fn rates_are_measured_by_the_cameras_clock() {
        let steady = |number: u32| Some((u32::MAX - 100_000).wrapping_add(number * 3600));
        // Four at a time, and each third time much later.
        let late = |at: Duration| {
            let turn = at.as_millis() / 160;
            Duration::from_millis(
                u64::try_from(turn * 160 + if turn.is_multiple_of(3) { 390 } else { 160 }).unwrap(),
            )
        };
        is_near(&seen(late, steady), 25.0, 1.0, 1e-6);
        // Of a camera that has no clock, or one that stands still or runs at half the speed, ours is taken.
        let on_time = |at: Duration| at;
        is_near(&seen(on_time, |_| None), 25.0, 1.0, 1e-6);
        is_near(&seen(on_time, |_| Some(7)), 25.0, 1.0, 1e-6);
        is_near(&seen(on_time, |number| Some(number * 1800)), 25.0, 1.0, 1e-6);
    }
}
