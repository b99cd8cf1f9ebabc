//! What a camera recorded itself: asked for by its absolute times, placed by the times that its packets or its sender reports
//! tell, and no faster than is good for the live recordings beside it.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::recorder::Placing;
use crate::{
    base::WallUs,
    model::{
        pace::VIDEO_RATE,
        refill::placing::{Placed, Placer, Verdict},
        timeline::Range,
        unit::AccessUnit,
    },
};

/// Sender reports that tell of a time this far from the asked one tell of something else.
const PLAUSIBLE_US: i64 = 120_000_000;
/// The longest pause at once: a stop waits for it.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Whose times a replay's frames have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Each packet says when its picture was taken (ONVIF Streaming Specification, 6.3).
    Packets,
    /// Sender reports say it; and where there are none, the first frame is of this time, on the camera's clock.
    Reports(WallUs),
}

/// How far a camera's clock is ahead of the times of its footage, in microseconds: of the footage before what is missing, and of
/// that after it. Each run is anchored on its own, and what comes has to fit between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Before.
    pub before_us: i64,
    /// After.
    pub after_us: i64,
}

impl Ahead {
    /// The same range on the camera's clock.
    pub fn asked(self, range: Range) -> Range {
        Range { from: range.from.plus_us(self.before_us), to: range.to.plus_us(self.after_us) }
    }

    /// A time of the camera's clock on that of its footage: from the one to the other in equal steps.
    fn wall(self, range: Range, camera: WallUs) -> WallUs {
        let asked = self.asked(range);
        let long_us = (asked.to.0 - asked.from.0).max(1);
        let into_us = (camera.0 - asked.from.0).clamp(0, long_us);
        let more_us = i128::from(self.after_us - self.before_us) * i128::from(into_us) / i128::from(long_us);
        camera.plus_us(-(self.before_us + i64::try_from(more_us).unwrap_or_default()))
    }
}

/// Places the frames of a replay, and holds it back.
pub struct Replaying {
    times: Times,
    range: Range,
    ahead: Ahead,
    bytes_per_second: u64,
    inside: Mutex<Inside>,
    done: AtomicBool,
    /// Told once, when nothing that follows is wanted.
    on_done: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug)]
struct Inside {
    placer: Placer,
    /// The last RTP time, and what it is without wraps.
    rtp: Option<(u32, i64)>,
    /// What makes a stream time the camera's time, in microseconds.
    offset_us: Option<i64>,
    /// What the sender reports tell, if that is another time than was asked for.
    elsewhere: Option<WallUs>,
    began: Option<Instant>,
    bytes: u64,
}

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Its frames.
    pub placed: Placed,
    /// Bytes that came.
    pub bytes: u64,
    /// The time that it told of, on the camera's clock, where that is not what was asked for.
    pub elsewhere: Option<WallUs>,
}

impl std::fmt::Debug for Replaying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replaying").field("times", &self.times).finish_non_exhaustive()
    }
}

impl Replaying {
    /// For what is missing in `range`, on the host's clock, of a camera whose clock is ahead of it. `on_done` is called from a
    /// streaming thread and must only tell somebody.
    pub fn new(
        range: Range,
        times: Times,
        ahead: Ahead,
        bytes_per_second: u64,
        on_done: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let inside = Inside {
            placer: Placer::new(range),
            rtp: None,
            offset_us: None,
            elsewhere: None,
            began: None,
            bytes: 0,
        };
        Self {
            times,
            range,
            ahead,
            bytes_per_second: bytes_per_second.max(1),
            inside: Mutex::new(inside),
            done: AtomicBool::new(false),
            on_done: Box::new(on_done),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came so far.
    pub fn replayed(&self) -> Replayed {
        let inside = self.lock();
        Replayed { placed: inside.placer.placed(), bytes: inside.bytes, elsewhere: inside.elsewhere }
    }
}

impl Inside {
    /// The RTP time of a frame in microseconds, wraps counted; that of the frame before where it has none.
    fn stream_us(&mut self, unit: &AccessUnit) -> i64 {
        let ticks = match (self.rtp, unit.rtp_time) {
            (None, rtp) => i64::from(rtp.unwrap_or_default()),
            (Some((_, ticks)), None) => ticks,
            (Some((last, ticks)), Some(rtp)) => ticks + i64::from(rtp.wrapping_sub(last).cast_signed()),
        };
        let last = unit.rtp_time.or(self.rtp.map(|(last, _)| last)).unwrap_or_default();
        self.rtp = Some((last, ticks));
        ticks.saturating_mul(1_000_000) / i64::from(VIDEO_RATE)
    }
}

impl Placing for Replaying {
    fn pause(&self, bytes: usize) -> Duration {
        let mut inside = self.lock();
        inside.bytes += bytes as u64;
        let began = *inside.began.get_or_insert_with(Instant::now);
        let due = Duration::from_secs_f64(inside.bytes as f64 / self.bytes_per_second as f64);
        if self.done.load(Relaxed) {
            Duration::ZERO
        } else {
            due.saturating_sub(began.elapsed()).min(PAUSE_MAX)
        }
    }

    fn learn(&self, unit: &AccessUnit) -> bool {
        let Times::Reports(asked) = self.times else { return true };
        let mut inside = self.lock();
        if inside.offset_us.is_none()
            && let Some(camera) = unit.camera_time
        {
            // Frames before it have waited, and are placed by their distance from it.
            let us = inside.stream_us(unit);
            if (camera.0 - asked.0).abs() > PLAUSIBLE_US {
                inside.elsewhere = Some(camera);
            }
            inside.offset_us = Some(camera.0 - us);
        }
        inside.offset_us.is_some()
    }

    fn place(&self, unit: &AccessUnit) -> (WallUs, Verdict) {
        let mut inside = self.lock();
        let camera = match (self.times, unit.camera_time) {
            (Times::Packets, Some(camera)) => camera,
            (Times::Packets, None) => return (WallUs(0), Verdict::Leave),
            (Times::Reports(asked), _) => {
                let us = inside.stream_us(unit);
                let offset_us = *inside.offset_us.get_or_insert(asked.0 - us);
                WallUs(us + offset_us)
            }
        };
        let (at, verdict) = inside.placer.place(self.ahead.wall(self.range, camera), unit.key);
        drop(inside);
        if verdict == Verdict::Done && !self.done.swap(true, Relaxed) {
            (self.on_done)();
        }
        (at, verdict)
    }
}
