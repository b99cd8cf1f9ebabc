//! A sampler: pictures of a stream for programs that look at them. It takes references to frames of the session that is open
//! anyway, decodes those that it needs in a small pipeline of its own, and keeps the latest as a JPEG.
//!
//! Nothing of it can reach the recording: frames go into a queue of memory and not into a pad, one that is full makes the
//! sampler wait for a keyframe, and an error ends its own pipeline alone.

mod decoders;
mod held;

#[cfg(test)]
mod tests;

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
    units,
};
use crate::{
    base::{WallUs, error::Chain as Causes},
    model::{
        ai::{
            budget::Mfps,
            decoding::{Mode, Picker, Unit, mode},
        },
        pipeline::Purpose,
        segment::Codec,
        unit::VideoFormat,
    },
};
use held::Held;

pub use decoders::Decoders;

/// So many frames wait for the decoder; then it waits for a keyframe.
const QUEUE: u64 = 50;
/// What moves is seen a second late; pictures are given from so long before on.
const LEAD_US: i64 = 2_000_000;
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
    /// Whether something moves in the scene; `None` while that cannot be told.
    pub active: Option<bool>,
    /// How far keyframes are apart, once that is known.
    pub keyframes: Option<Duration>,
    /// The element that decodes, once there is one.
    pub decoder: Option<String>,
    /// Why its pipeline ended, until another begins.
    pub error: Option<String>,
}

/// A sampler. It looks at a stream once it is added to its lookers.
#[derive(Debug)]
pub struct Sampler {
    texts: Texts,
    decoders: Decoders,
    owner: String,
    inside: Mutex<Inside>,
    latest: watch::Sender<Option<Arc<Sample>>>,
}

#[derive(Debug)]
struct Inside {
    asked: Asked,
    picker: Picker,
    chain: Option<Chain>,
    /// Hardware decoders that failed; they are not tried again.
    refused: Vec<&'static str>,
    held: Held,
    /// So many frames of the present group of pictures came to the decoder at once.
    at_once: u64,
    /// What came last, and how long frames are apart.
    format: Option<Arc<VideoFormat>>,
    keyframe: Option<WallUs>,
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
    /// Of the frames that it decodes.
    format: Arc<VideoFormat>,
    /// What time 0 of the pipeline is.
    zero: WallUs,
    /// The hardware decoder in it, if it is one, and whether a picture came out.
    hardware: Option<&'static str>,
    works: bool,
    /// Frames that went in.
    fed: u64,
}

/// What is wanted of a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Pictures, in thousandths a second.
    pub rate: Mfps,
    /// How wide they are at most.
    pub width: u32,
    /// Whether keyframes suffice while nothing moves.
    pub adaptive: bool,
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

fn scaled_caps(width: u32) -> String {
    format!("video/x-raw, format=I420, width=[1,{width}], pixel-aspect-ratio=1/1")
}

impl Sampler {
    /// One of `owner`, for log lines, that gives what is asked for.
    pub fn new(texts: Texts, decoders: Decoders, owner: String, asked: Asked) -> Arc<Self> {
        let inside = Inside {
            asked,
            picker: Picker::default(),
            chain: None,
            refused: Vec::new(),
            held: Held::default(),
            at_once: 0,
            format: None,
            keyframe: None,
            frame: None,
            // Numbers go on where those of a sampler before it ended: no stream has more pictures in a second.
            number: u64::try_from(WallUs::now().0 / 1_000_000).unwrap_or_default() * 64,
            given: VecDeque::new(),
            entered: None,
            sampling: Sampling::default(),
        };
        let (inside, latest) = (Mutex::new(inside), watch::Sender::new(None));
        Arc::new(Self { texts, decoders, owner, inside, latest })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest picture, and those to come.
    pub fn pictures(&self) -> watch::Receiver<Option<Arc<Sample>>> {
        self.latest.subscribe()
    }

    /// From now on this. Nothing stops for it.
    pub fn set(&self, asked: Asked) -> Result<(), Error> {
        let scaled = {
            let mut inside = self.lock();
            let before = std::mem::replace(&mut inside.asked, asked);
            inside.chain.as_ref().filter(|_| before.width != asked.width).map(|chain| chain.scaled.clone())
        };
        match scaled {
            Some(scaled) => text::set(&scaled, "caps", &scaled_caps(asked.width)),
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
        let Some(format) = &inside.format else { return false };
        let other = |chain: &Chain| chain.format.codec != format.codec || inside.has_refused(chain);
        inside.chain.as_ref().is_none_or(other) || inside.sampling.error.is_some()
    }

    /// Makes the pipeline that decodes, in place of one that failed: with the first hardware decoder that may be used and has
    /// not failed, or else with the one of the text. Blocks for milliseconds.
    pub fn begin(self: &Arc<Self>) -> Result<(), Error> {
        let (format, width, refused) = {
            let inside = self.lock();
            (inside.format.clone(), inside.asked.width, inside.refused.clone())
        };
        let Some(format) = format else { return Ok(()) };
        let mut of_hardware = None;
        for name in self.decoders.of(format.codec).filter(|name| !refused.contains(name)) {
            match self.chain(format.clone(), width, Some(name)) {
                Ok(chain) => {
                    of_hardware = Some(chain);
                    break;
                }
                Err(error) => self.lock().refuse(&self.owner, name, &Causes(&error).to_string()),
            }
        }
        let chain = match of_hardware {
            Some(chain) => chain,
            None => self.chain(format, width, None)?,
        };
        let before = {
            let mut inside = self.lock();
            inside.picker = Picker::default();
            inside.picker.broke();
            inside.held.clear();
            inside.sampling.error = None;
            inside.sampling.decoder = Some(chain.decoder());
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

    fn chain(
        self: &Arc<Self>,
        format: Arc<VideoFormat>,
        width: u32,
        hardware: Option<&'static str>,
    ) -> Result<Chain, Error> {
        let purpose = Purpose::Sample(format.codec);
        let pipeline = self.texts.pipeline(purpose, &[])?;
        if let Some(name) = hardware {
            decoders::put(&pipeline, purpose, name)?;
        }
        // The text takes its stream from a camera and writes files, so that it runs by hand. Here both ends are memory.
        for end in ["camera", "depay", "out"] {
            let end = text::named(&pipeline, purpose, end)?;
            pipeline.remove(&end).map_err(|_| Error::Refused("take an end off the sampler's pipeline"))?;
        }
        let [parser, decoder, scaled, jpeg] = ["units", "decoder", "scaled", "jpeg"];
        let scaled = text::named(&pipeline, purpose, scaled)?;
        text::set(&scaled, "caps", &scaled_caps(width))?;
        let input = AppSrc::builder()
            .caps(&units::video_caps(&format))
            .format(gst::Format::Time)
            .is_live(true)
            .build();
        let output = AppSink::builder().sync(false).async_(false).max_buffers(1).drop(true).build();
        pipeline
            .add_many([input.upcast_ref::<gst::Element>(), output.upcast_ref()])
            .map_err(|_| Error::Refused("put memory at the ends of the sampler's pipeline"))?;
        let (first, last) =
            (text::named(&pipeline, purpose, parser)?, text::named(&pipeline, purpose, jpeg)?);
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
                match hardware {
                    Some(name) => sampler.lock().refuse(&sampler.owner, name, &text),
                    None => {
                        tracing::warn!(
                            camera.id = sampler.owner,
                            "the sampler failed, recording goes on: {text}"
                        );
                        sampler.lock().sampling.error = Some(text);
                    }
                }
            }
            gst::BusSyncReply::Drop
        });
        // Made first, so that one that does not start is taken down.
        let chain = Chain { pipeline, input, scaled, format, zero, hardware, works: false, fed: 0 };
        match chain.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(chain),
            Err(_) => Err(Error::Refused("start the sampler's pipeline")),
        }
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
            inside.decoded(zero);
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
            let source = inside.format.as_ref().map(|format| (format.width, format.height));
            (inside.number, source.unwrap_or_default())
        };
        self.latest.send_replace(Some(Arc::new(Sample { number, at, jpeg, size, source })));
    }
}

/// In the streaming thread of the recording: looks at the frame, and puts a reference into the queue.
impl Look for Sampler {
    fn pass(&self, passing: &Passing<'_>) {
        let Passing { unit, at, active } = *passing;
        let (key, format) = (unit.key, &unit.format);
        let mut inside = self.lock();
        inside.seen(key, at);
        inside.sampling.active = active;
        if inside.format.as_ref() != Some(format) {
            inside.format = Some(format.clone());
        }
        let mode = mode(inside.asked.rate, inside.sampling.keyframes);
        let saves = inside.asked.adaptive && active == Some(false) && mode == Mode::All;
        let (interval, frame) = (inside.interval_us(), inside.frame_us());
        let Some(chain) = &inside.chain else { return };
        if chain.format.codec != format.codec || inside.sampling.error.is_some() || inside.has_refused(chain)
        {
            return;
        }
        let reference = key || format.codec != Codec::H264 || is_referred_to(&unit.data);
        // The frame's memory is shared; what is its own here is its times.
        let us = u64::try_from(at.0 - chain.zero.0).unwrap_or_default();
        inside.format_is(format, key);
        if !saves {
            inside.catch_up(at, key, mode);
        }
        let mode = if saves { Mode::Keyframes } else { mode };
        let decodes = inside.picker.decodes(Unit { key, reference, at_us: at.0 }, mode, interval, frame);
        let holds = saves && reference;
        if !decodes && !holds {
            return;
        }
        let mut unit = units::video_buffer(unit);
        unit.make_mut().set_pts(gst::ClockTime::from_useconds(us));
        if holds {
            inside.held.add(key, unit.clone());
        }
        if decodes {
            inside.feed(&self.owner, unit);
        }
    }
}

impl Chain {
    /// The name of the element that decodes.
    fn decoder(&self) -> String {
        let factory = self.pipeline.by_name("decoder").and_then(|decoder| decoder.factory());
        factory.map(|factory| factory.name().to_string()).unwrap_or_default()
    }
}

impl Inside {
    fn interval_us(&self) -> i64 {
        1_000_000_000 / i64::from(self.asked.rate.max(1))
    }

    /// Whether the decoder in it failed.
    fn has_refused(&self, chain: &Chain) -> bool {
        chain.hardware.is_some_and(|name| self.refused.contains(&name))
    }

    /// A hardware decoder failed; the next pipeline is made without it.
    fn refuse(&mut self, owner: &str, name: &'static str, why: &str) {
        if !self.refused.contains(&name) {
            tracing::warn!(camera.id = owner, "`{name}` does not decode, another decoder does: {why}");
            self.refused.push(name);
        }
    }

    /// What the frames that come are encoded in; what is held is decoded with its own parameters or not at all.
    fn format_is(&mut self, format: &Arc<VideoFormat>, key: bool) {
        if let Some(chain) = self.chain.as_mut().filter(|chain| chain.format != *format) {
            chain.format = format.clone();
            chain.input.set_caps(Some(&units::video_caps(format)));
            self.held.clear();
        }
        if key {
            self.at_once = 0;
        }
    }

    /// Gives the decoder what the group of pictures had so far, because something moves; a keyframe begins another.
    fn catch_up(&mut self, at: WallUs, key: bool, mode: Mode) {
        if let Some(chain) = self.chain.as_ref().filter(|_| !key && !self.held.is_empty()) {
            self.picker.resume(mode, at.0 - LEAD_US);
            for unit in self.held.take() {
                self.at_once += 1;
                let _ = chain.input.push_buffer(unit);
            }
        }
        self.held.clear();
    }

    fn feed(&mut self, owner: &str, unit: gst::Buffer) {
        let Some(chain) = &mut self.chain else { return };
        chain.fed += 1;
        let silent = chain.hardware.filter(|_| !chain.works && chain.fed > QUEUE);
        if chain.input.current_level_buffers() < QUEUE + self.at_once {
            let _ = chain.input.push_buffer(unit);
        } else {
            self.picker.broke();
            self.sampling.dropped += 1;
        }
        if let Some(name) = silent {
            self.refuse(owner, name, "it takes frames and gives no picture");
        }
    }

    fn frame_us(&self) -> i64 {
        self.frame.map_or(FRAME_US, |(_, apart)| apart)
    }

    fn seen(&mut self, key: bool, at: WallUs) {
        if key {
            let apart = self.keyframe.replace(at).and_then(|before| u64::try_from(at.0 - before.0).ok());
            self.sampling.keyframes = apart.map(Duration::from_micros);
        }
        let apart = self.frame.map_or(FRAME_US, |(before, _)| (at.0 - before.0).abs());
        // A gap is no frame interval.
        self.frame = Some((at, apart.clamp(1_000, 1_000_000)));
    }

    /// A picture came out of the pipeline whose time 0 is `zero`.
    fn decoded(&mut self, zero: WallUs) {
        self.sampling.decoded += 1;
        if let Some(chain) = self.chain.as_mut().filter(|chain| chain.zero == zero) {
            chain.works = true;
        }
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

/// Whether other frames refer to this one: `nal_ref_idc` of its first slice (H.264, 7.4.1).
fn is_referred_to(mut data: &[u8]) -> bool {
    while let Some((length, after)) = data.split_first_chunk::<4>() {
        let Some(header) = after.first() else { return true };
        if (1..=5).contains(&(header & 31)) {
            return header >> 5 & 3 != 0;
        }
        data = after.get(u32::from_be_bytes(*length) as usize..).unwrap_or_default();
    }
    true
}
