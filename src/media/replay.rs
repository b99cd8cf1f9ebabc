//! What a camera recorded itself: asked for by its absolute times, placed by the times that its packets or its sender reports
//! tell, and no faster than is good for the live recordings beside it.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gstreamer::{self as gst, prelude::*};

use super::{
    Error,
    recorder::Placing,
    tap::{NTP_EPOCH_US, camera_time},
    text,
};
use crate::{
    base::WallUs,
    model::{
        pipeline::Purpose,
        refill::placing::{Placed, Placer, Verdict},
        timeline::Range,
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
    /// What makes a PTS the camera's time, in microseconds.
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
        let inside =
            Inside { placer: Placer::new(range), offset_us: None, elsewhere: None, began: None, bytes: 0 };
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

    /// A pause, if more came than should have by now.
    fn hold_back(&self, bytes: usize) {
        let pause = {
            let mut inside = self.lock();
            inside.bytes += bytes as u64;
            let began = *inside.began.get_or_insert_with(Instant::now);
            let due = Duration::from_secs_f64(inside.bytes as f64 / self.bytes_per_second as f64);
            due.saturating_sub(began.elapsed())
        };
        if !pause.is_zero() && !self.done.load(Relaxed) {
            std::thread::park_timeout(pause.min(PAUSE_MAX));
        }
    }
}

fn pts_us(unit: &gst::BufferRef) -> Option<i64> {
    unit.pts().and_then(|pts| i64::try_from(pts.useconds()).ok())
}

impl Placing for Replaying {
    fn learn(&self, unit: &gst::BufferRef) -> bool {
        self.hold_back(unit.size());
        let Times::Reports(asked) = self.times else { return true };
        let mut inside = self.lock();
        if inside.offset_us.is_none()
            && let (Some(camera), Some(pts)) = (camera_time(unit), pts_us(unit))
        {
            if (camera.0 - asked.0).abs() > PLAUSIBLE_US {
                inside.elsewhere = Some(camera);
            }
            inside.offset_us = Some(camera.0 - pts);
        }
        inside.offset_us.is_some()
    }

    fn place(&self, unit: &gst::BufferRef, key: bool) -> (WallUs, Verdict) {
        let Some(pts) = pts_us(unit) else { return (WallUs(0), Verdict::Leave) };
        let mut inside = self.lock();
        let offset_us = match self.times {
            // From 1900, where NTP begins.
            Times::Packets => -NTP_EPOCH_US,
            Times::Reports(asked) => *inside.offset_us.get_or_insert(asked.0 - pts),
        };
        let at = self.ahead.wall(self.range, WallUs(pts + offset_us));
        let (at, verdict) = inside.placer.place(at, key);
        drop(inside);
        if verdict == Verdict::Done && !self.done.swap(true, Relaxed) {
            (self.on_done)();
        }
        (at, verdict)
    }
}

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
