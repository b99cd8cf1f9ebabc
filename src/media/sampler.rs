//! A sampler: pictures of a stream for programs that look at them. It takes references to frames of the session that is open
//! anyway, decodes those that it needs in a small pipeline of its own, and keeps the latest as a JPEG.
//!
//! Nothing of it can reach the recording: frames go into a queue of memory and not into a pad, one that is full makes the
//! sampler wait for a keyframe, and an error ends its own pipeline alone.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gstreamer::{self as gst, prelude::*};
use gstreamer_app::{AppSink, AppSinkCallbacks, AppSrc};
use tokio::sync::watch;

use super::{
    Error, gstlog,
    recorder::{Look, Passing},
    text::{self, Texts},
};
use crate::{
    base::WallUs,
    model::{
        ai::{
            budget::Mfps,
            decoding::{Picker, Unit, mode},
        },
        pipeline::Purpose,
        segment::Codec,
    },
};

/// So many frames wait for the decoder; then it waits for a keyframe.
const QUEUE: u64 = 50;
/// The rate is measured over so long.
const WINDOW: Duration = Duration::from_secs(20);
/// Times inside the pipeline begin so long before its first frame, so that they can go back a little.
const BEFORE_US: i64 = 3_600_000_000;
/// Before two frames came, they are taken to come so often.
const FRAME_US: i64 = 40_000;

/// A picture.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Counts the pictures of this stream, over all its pipelines.
    pub number: u64,
    /// When it was taken, on the clock that segments are recorded by.
    pub at: WallUs,
    /// It.
    pub jpeg: Bytes,
    /// Its size in pixels.
    pub size: (u32, u32),
    /// Size of the camera's picture in pixels.
    pub source: (u32, u32),
}

/// How a sampler does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Pictures in the last seconds, in thousandths a second.
    pub measured: Mfps,
    /// What decoding takes for each frame that is decoded.
    pub decode: Duration,
    /// Frames decoded.
    pub decoded: u64,
    /// Frames that were left out because the decoder was too slow.
    pub dropped: u64,
    /// Why its pipeline ended, until another begins.
    pub error: Option<String>,
}

/// A sampler. It looks at a stream once it is added to its lookers.
#[derive(Debug)]
pub struct Sampler {
    texts: Texts,
    owner: String,
    inside: Mutex<Inside>,
    latest: watch::Sender<Option<Arc<Sample>>>,
}

#[derive(Debug)]
struct Inside {
    rate: Mfps,
    width: u32,
    picker: Picker,
    chain: Option<Chain>,
    /// What came last, and how long keyframes and frames are apart.
    caps: Option<gst::Caps>,
    keyframe: Option<(WallUs, Option<Duration>)>,
    frame: Option<(WallUs, i64)>,
    number: u64,
    /// When the last pictures came.
    given: VecDeque<Instant>,
    entered: Option<Instant>,
    sampling: Sampling,
}

/// What decodes.
#[derive(Debug)]
struct Chain {
    pipeline: gst::Pipeline,
    input: AppSrc,
    scaled: gst::Element,
    codec: Codec,
    caps: gst::Caps,
    /// What time 0 of the pipeline is.
    zero: WallUs,
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        gstlog::disown(&self.pipeline);
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::error!("a sampler's pipeline did not stop");
        }
    }
}

fn codec_of(caps: &gst::Caps) -> Codec {
    let h265 = caps.structure(0).is_some_and(|structure| structure.name() == "video/x-h265");
    if h265 { Codec::H265 } else { Codec::H264 }
}

fn scaled_caps(width: u32) -> String {
    format!("video/x-raw, format=I420, width=[1,{width}], pixel-aspect-ratio=1/1")
}

impl Sampler {
    /// One of `owner`, for log lines, that gives so many pictures of that width.
    pub fn new(texts: Texts, owner: String, rate: Mfps, width: u32) -> Arc<Self> {
        let inside = Inside {
            rate,
            width,
            picker: Picker::default(),
            chain: None,
            caps: None,
            keyframe: None,
            frame: None,
            // Numbers go on where those of a sampler before it ended: no stream has more pictures in a second.
            number: u64::try_from(WallUs::now().0 / 1_000_000).unwrap_or_default() * 64,
            given: VecDeque::new(),
            entered: None,
            sampling: Sampling::default(),
        };
        Arc::new(Self { texts, owner, inside: Mutex::new(inside), latest: watch::Sender::new(None) })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest picture, and those to come.
    pub fn pictures(&self) -> watch::Receiver<Option<Arc<Sample>>> {
        self.latest.subscribe()
    }

    /// From now on so many of that width. Nothing stops for it.
    pub fn set(&self, rate: Mfps, width: u32) -> Result<(), Error> {
        let scaled = {
            let mut inside = self.lock();
            inside.rate = rate;
            (inside.width != width).then(|| {
                inside.width = width;
                inside.chain.as_ref().map(|chain| chain.scaled.clone())
            })
        };
        match scaled.flatten() {
            Some(scaled) => text::set(&scaled, "caps", &scaled_caps(width)),
            None => Ok(()),
        }
    }

    /// How it does.
    pub fn sampling(&self) -> Sampling {
        let mut inside = self.lock();
        inside.measure(Instant::now());
        inside.sampling.clone()
    }

    /// Whether frames came that nothing decodes: [`Sampler::begin`] is due.
    pub fn is_due(&self) -> bool {
        let inside = self.lock();
        let Some(caps) = &inside.caps else { return false };
        inside.chain.as_ref().is_none_or(|chain| chain.codec != codec_of(caps))
            || inside.sampling.error.is_some()
    }

    /// Makes the pipeline that decodes, in place of one that failed. Blocks for milliseconds.
    pub fn begin(self: &Arc<Self>) -> Result<(), Error> {
        let (caps, width) = {
            let inside = self.lock();
            (inside.caps.clone(), inside.width)
        };
        let Some(caps) = caps else { return Ok(()) };
        let chain = self.chain(caps, width)?;
        let before = {
            let mut inside = self.lock();
            inside.picker = Picker::default();
            inside.picker.broke();
            inside.sampling.error = None;
            inside.chain.replace(chain)
        };
        drop(before);
        Ok(())
    }

    /// Ends the pipeline; the latest picture stays. Blocks for milliseconds.
    pub fn end(&self) {
        let chain = self.lock().chain.take();
        drop(chain);
    }

    fn chain(self: &Arc<Self>, caps: gst::Caps, width: u32) -> Result<Chain, Error> {
        let codec = codec_of(&caps);
        let purpose = Purpose::Sample(codec);
        let pipeline = self.texts.pipeline(purpose, &[])?;
        // The text takes its stream from a camera and writes files, so that it runs by hand. Here both ends are memory.
        for end in ["camera", "depay", "out"] {
            let end = text::named(&pipeline, purpose, end)?;
            pipeline.remove(&end).map_err(|_| Error::Refused("take an end off the sampler's pipeline"))?;
        }
        let [units, decoder, scaled, jpeg] = ["units", "decoder", "scaled", "jpeg"];
        let scaled = text::named(&pipeline, purpose, scaled)?;
        text::set(&scaled, "caps", &scaled_caps(width))?;
        let input = AppSrc::builder().caps(&caps).format(gst::Format::Time).is_live(true).build();
        let output = AppSink::builder().sync(false).async_(false).max_buffers(1).drop(true).build();
        pipeline
            .add_many([input.upcast_ref::<gst::Element>(), output.upcast_ref()])
            .map_err(|_| Error::Refused("put memory at the ends of the sampler's pipeline"))?;
        let (first, last) = (text::named(&pipeline, purpose, units)?, text::named(&pipeline, purpose, jpeg)?);
        input
            .link(&first)
            .and_then(|()| last.link(&output))
            .map_err(|_| Error::Refused("link the sampler's pipeline"))?;
        let zero = self.lock().frame.map_or_else(WallUs::now, |(at, _)| at).plus_us(-BEFORE_US);
        self.watch(&text::named(&pipeline, purpose, decoder)?, zero)?;
        self.take(&output, zero);
        gstlog::own(&pipeline, &self.owner);
        let bus = pipeline.bus().ok_or(Error::Refused("find the pipeline's bus"))?;
        let of = Arc::downgrade(self);
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(error) = message.view()
                && let Some(sampler) = of.upgrade()
            {
                let text = error.error().to_string();
                tracing::warn!(camera.id = sampler.owner, "the sampler failed, recording goes on: {text}");
                sampler.lock().sampling.error = Some(text);
            }
            gst::BusSyncReply::Drop
        });
        pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| Error::Refused("start the sampler's pipeline"))?;
        Ok(Chain { pipeline, input, scaled, codec, caps, zero })
    }

    /// Measures what decoding takes, and lets go on what is due.
    fn watch(self: &Arc<Self>, decoder: &gst::Element, zero: WallUs) -> Result<(), Error> {
        let pad = |name| decoder.static_pad(name).ok_or(Error::Refused("find the decoder's pads"));
        let of = Arc::downgrade(self);
        pad("sink")?.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if let Some(sampler) = of.upgrade() {
                sampler.lock().entered = Some(Instant::now());
            }
            gst::PadProbeReturn::Ok
        });
        let of = Arc::downgrade(self);
        pad("src")?.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let (Some(sampler), Some(buffer)) = (of.upgrade(), info.buffer()) else {
                return gst::PadProbeReturn::Drop;
            };
            let mut inside = sampler.lock();
            inside.decoded();
            let at = wall(zero, buffer.pts());
            let (interval, frame) = (inside.interval_us(), inside.frame_us());
            let gives = inside.picker.gives(at.0, interval, frame);
            if gives { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Drop }
        });
        Ok(())
    }

    fn take(self: &Arc<Self>, output: &AppSink, zero: WallUs) {
        let of = Arc::downgrade(self);
        let callbacks = AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let (Some(sampler), Some(buffer)) = (of.upgrade(), sample.buffer_owned()) {
                let at = wall(zero, buffer.pts());
                let size = sample.caps().map(size_of).unwrap_or_default();
                if let Ok(jpeg) = buffer.into_mapped_buffer_readable() {
                    sampler.give(Bytes::from_owner(jpeg), at, size);
                }
            }
            Ok(gst::FlowSuccess::Ok)
        });
        output.set_callbacks(callbacks.build());
    }

    fn give(&self, jpeg: Bytes, at: WallUs, size: (u32, u32)) {
        let (number, source) = {
            let mut inside = self.lock();
            let now = Instant::now();
            inside.given.push_back(now);
            inside.measure(now);
            inside.number += 1;
            (inside.number, inside.caps.as_ref().map(|caps| size_of(caps)).unwrap_or_default())
        };
        self.latest.send_replace(Some(Arc::new(Sample { number, at, jpeg, size, source })));
    }
}

/// In the streaming thread of the recording: looks at the frame, and puts a reference into the queue.
impl Look for Sampler {
    fn pass(&self, passing: &Passing<'_>) {
        let Passing { unit, caps, key, at } = *passing;
        let mut inside = self.lock();
        inside.seen(key, at);
        if inside.caps.as_ref() != Some(caps) {
            inside.caps = Some(caps.clone());
        }
        let keyframes = inside.keyframe.and_then(|(_, interval)| interval);
        let mode = mode(inside.rate, keyframes);
        let (interval, frame) = (inside.interval_us(), inside.frame_us());
        let Inside { chain: Some(chain), picker, sampling, .. } = &mut *inside else { return };
        if chain.codec != codec_of(caps) || sampling.error.is_some() {
            return;
        }
        let reference = key || chain.codec != Codec::H264 || is_referred_to(unit);
        if !picker.decodes(Unit { key, reference, at_us: at.0 }, mode, interval, frame) {
            return;
        }
        if chain.input.current_level_buffers() >= QUEUE {
            picker.broke();
            sampling.dropped += 1;
            return;
        }
        if chain.caps != *caps {
            chain.caps = caps.clone();
            chain.input.set_caps(Some(caps));
        }
        // The frame's memory is shared; what is its own here is its times.
        let mut unit = unit.copy();
        let unit_ref = unit.make_mut();
        let us = u64::try_from(at.0 - chain.zero.0).unwrap_or_default();
        unit_ref.set_pts(gst::ClockTime::from_useconds(us));
        unit_ref.set_dts(gst::ClockTime::NONE);
        let _ = chain.input.push_buffer(unit);
    }
}

impl Inside {
    fn interval_us(&self) -> i64 {
        1_000_000_000 / i64::from(self.rate.max(1))
    }

    fn frame_us(&self) -> i64 {
        self.frame.map_or(FRAME_US, |(_, apart)| apart)
    }

    fn seen(&mut self, key: bool, at: WallUs) {
        if key {
            let apart = self.keyframe.and_then(|(before, _)| u64::try_from(at.0 - before.0).ok());
            self.keyframe = Some((at, apart.map(Duration::from_micros)));
        }
        let apart = self.frame.map_or(FRAME_US, |(before, _)| (at.0 - before.0).abs());
        // A gap is no frame interval.
        self.frame = Some((at, apart.clamp(1_000, 1_000_000)));
    }

    fn decoded(&mut self) {
        self.sampling.decoded += 1;
        if let Some(entered) = self.entered.take() {
            let took = entered.elapsed();
            let before = self.sampling.decode;
            self.sampling.decode = if before.is_zero() { took } else { (before * 15 + took) / 16 };
        }
    }

    /// Pictures between the first and the last of the window, by the time between them.
    fn measure(&mut self, now: Instant) {
        while self.given.front().is_some_and(|at| now - *at > WINDOW) {
            self.given.pop_front();
        }
        let apart = self.given.front().zip(self.given.back()).map(|(first, last)| *last - *first);
        self.sampling.measured = match apart {
            Some(apart) if !apart.is_zero() => {
                let pictures = (self.given.len() - 1) as f64;
                (pictures * 1000.0 / apart.as_secs_f64()).round() as Mfps
            }
            _ => 0,
        };
    }
}

fn wall(zero: WallUs, pts: Option<gst::ClockTime>) -> WallUs {
    zero.plus_us(pts.and_then(|pts| i64::try_from(pts.useconds()).ok()).unwrap_or_default())
}

fn size_of(caps: &gst::CapsRef) -> (u32, u32) {
    let side = |field| {
        let side = caps.structure(0).and_then(|structure| structure.get::<i32>(field).ok());
        side.and_then(|side| u32::try_from(side).ok()).unwrap_or_default()
    };
    (side("width"), side("height"))
}

/// Whether other frames refer to this one: `nal_ref_idc` of its first slice (H.264, 7.4.1). NAL units have four bytes of
/// length before them, as the parser makes them.
fn is_referred_to(unit: &gst::Buffer) -> bool {
    let Ok(bytes) = unit.map_readable() else { return true };
    let mut rest = bytes.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Some(header) = after.first() else { return true };
        if (1..=5).contains(&(header & 31)) {
            return header >> 5 & 3 != 0;
        }
        rest = after.get(u32::from_be_bytes(*length) as usize..).unwrap_or_default();
    }
    true
}
