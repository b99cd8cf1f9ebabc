//! What passes by: counts, rates and the last keyframe, read from a probe on the access units. The probe only
//! counts and keeps references; others look when they want to know.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gstreamer::{self as gst, prelude::*};

use crate::{base::WallUs, model::segment::Codec};

/// The camera's clock is looked at with every so manieth frame.
const CLOCK_EVERY: u64 = 16;
/// From 1900, where NTP begins, to 1970, in microseconds.
pub(super) const NTP_EPOCH_US: i64 = 2_208_988_800_000_000;
/// Rates are measured over about so long.
const WINDOW: Duration = Duration::from_secs(4);

/// The last keyframe, as it came.
#[derive(Clone, Debug)]
pub struct Keyframe {
    /// Counts keyframes from 1.
    pub number: u64,
    /// What it is encoded in.
    pub caps: gst::Caps,
    /// The access unit.
    pub unit: gst::Buffer,
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
    caps: Option<gst::Caps>,
    last_pts: Option<gst::ClockTime>,
    keyframe_at: Option<Instant>,
    window: Option<(Instant, u64, u64)>,
}

/// The camera's own time of a frame: rtspsrc attaches it once sender reports have come, in nanoseconds of NTP
/// (RFC 3550, 6.4.1), to all frames but those that a parser put together.
pub(super) fn camera_time(buffer: &gst::BufferRef) -> Option<WallUs> {
    let metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    let ntp = metas
        .into_iter()
        .find(|meta| meta.reference().structure(0).is_some_and(|of| of.name() == "timestamp/x-ntp"))?;
    let us = i64::try_from(ntp.timestamp().useconds()).ok()?;
    Some(WallUs(us - NTP_EPOCH_US))
}

impl Seen {
    /// Time between frames, as measured; zero before that is known.
    pub fn interval(&self) -> Duration {
        self.fps.filter(|fps| *fps > 0.0).map_or(Duration::ZERO, |fps| Duration::from_secs_f64(1.0 / fps))
    }

    fn frame(&mut self, buffer: &gst::BufferRef, now: Instant) {
        self.frames += 1;
        self.bytes += buffer.size() as u64;
        self.first.get_or_insert(now);
        self.last = Some(now);
        if let (Some(last), Some(pts)) = (self.last_pts, buffer.pts()) {
            self.b_frames |= pts < last;
        }
        self.last_pts = buffer.pts();
        if self.frames.is_multiple_of(CLOCK_EVERY)
            && let Some(camera) = camera_time(buffer)
        {
            self.clock_ahead_us = Some(camera.0 - WallUs::now().0);
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

    fn keyframe(&mut self, unit: &gst::Buffer, now: Instant) {
        self.keyframe_interval = self.keyframe_at.map(|before| now - before);
        self.keyframe_at = Some(now);
        self.first_keyframe.get_or_insert(now);
        if let Some(caps) = &self.caps {
            let number = self.keyframe.as_ref().map_or(0, |last| last.number) + 1;
            self.keyframe = Some(Keyframe { number, caps: caps.clone(), unit: unit.clone() });
        }
    }

    fn caps(&mut self, caps: &gst::CapsRef) {
        self.caps = Some(caps.to_owned());
        let Some(structure) = caps.structure(0) else { return };
        let size = |field| structure.get::<i32>(field).ok().and_then(|n| u32::try_from(n).ok());
        let codec = if structure.name() == "video/x-h265" { Codec::H265 } else { Codec::H264 };
        if let (Some(width), Some(height)) = (size("width"), size("height")) {
            self.video = Some((codec, width, height));
        }
        self.fps_declared = structure
            .get::<gst::Fraction>("framerate")
            .ok()
            .filter(|rate| rate.numer() > 0)
            .map(|rate| f64::from(rate.numer()) / f64::from(rate.denom()));
    }
}

/// The probe's side and the readers' side of [`Seen`].
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Mutex<Seen>>);

impl Tap {
    /// Watches the access units that leave `pad`.
    pub fn on(pad: &gst::Pad) -> Self {
        let tap = Self::default();
        let watch = tap.clone();
        let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(types, move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => {
                    let now = Instant::now();
                    let mut seen = watch.lock();
                    seen.frame(buffer, now);
                    if !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
                        seen.keyframe(buffer, now);
                    }
                }
                Some(gst::PadProbeData::Event(event)) => {
                    if let gst::EventView::Caps(caps) = event.view() {
                        watch.lock().caps(caps.caps());
                    }
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
        tap
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
