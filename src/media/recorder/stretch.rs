//! One recording without a break: a splitmuxsink of its own, from its first keyframe to its end.
//!
//! *Before splitmuxsink* every frame is dressed up as a keyframe whose time is the decoding time, so that no GOP is held
//! back; at a keyframe that is due, the cut is asked for before the frame goes on. *At the muxer* the frames get their
//! true flags and times back, and the first of them opens the segment.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gstreamer::{self as gst, prelude::*};
use gstreamer_app::{AppSink, AppSinkCallbacks};

use super::{Inside, Shared, clock_time, lock};
use crate::{
    base::error::Chain,
    media::{sound::Sound, units},
    model::{
        reorder::Decoding,
        segment::{AudioCodec, Codec, Next, SegmentHead, SegmentWrite, SinkRefused, Source},
        unit::{AccessUnit, VideoFormat},
    },
};

/// Carries "this is no keyframe" through splitmuxsink; nothing between the two places reads or sets it.
const WAS_DELTA: gst::BufferFlags = gst::BufferFlags::NON_DROPPABLE;
/// A stretch that is over has so long to write its end before its element is taken away.
const END_WITHIN: Duration = Duration::from_secs(10);
/// The last frame of a file is taken to last as long as the one before it, and no longer than this, in nanoseconds.
const LAST_FRAME_MAX_NS: i64 = 2_000_000_000;
/// Between attempts to begin a stretch, if they fail: a camera may send nothing but keyframes.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A frame and its time on the run's timeline.
#[derive(Clone, Debug)]
pub(super) struct TimedUnit {
    pub(super) unit: AccessUnit,
    /// When it is shown, in nanoseconds.
    pub(super) at_ns: i64,
}

/// What a stretch must know of the stream at its begin; another value asks for another stretch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tracks {
    /// How deep the stream reorders.
    pub(super) depth: usize,
    /// How many stretches failed.
    pub(super) failures: u32,
    /// The run of sound that goes with it.
    pub(super) sound: Option<u32>,
}

/// What the branch is to do, in this order.
#[derive(Debug)]
pub(super) enum Order {
    /// Begin a stretch of frames about so many nanoseconds apart.
    Begin(Tracks, i64),
    /// The next frame begins a segment.
    Cut,
    Pass(TimedUnit),
    End,
}

impl Order {
    /// What it holds in memory.
    pub(super) fn bytes(&self) -> usize {
        if let Self::Pass(timed) = self { timed.unit.data.len() } else { 0 }
    }
}

/// Carries out orders. A failure costs the stretch and is told to the intake through `Shared::failures`.
#[derive(Debug)]
pub(super) struct Branch {
    shared: Arc<Shared>,
    pipeline: Option<RecordPipeline>,
    stretch: Option<Stretch>,
    /// A stretch is to begin with the next frame, which tells the codec.
    due: Option<(Tracks, i64)>,
    cut: bool,
    failed_at: Option<Instant>,
}

/// The pipeline of one codec.
#[derive(Debug)]
struct RecordPipeline {
    codec: Codec,
    pipeline: gst::Pipeline,
    /// Never plays: each stretch gets an element like it.
    pattern: gst::Element,
}

impl Branch {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pipeline: None, stretch: None, due: None, cut: false, failed_at: None }
    }

    pub(super) fn order(&mut self, order: Order) {
        match order {
            Order::Begin(tracks, interval_ns) => {
                self.end();
                self.due = Some((tracks, interval_ns));
            }
            Order::Cut => self.cut = true,
            Order::Pass(unit) => {
                if let Some((tracks, interval_ns)) = self.due.take() {
                    self.begin(unit.unit.format.codec, &tracks, interval_ns);
                }
                let cut = std::mem::take(&mut self.cut);
                let passed = self.stretch.as_mut().map(|stretch| stretch.pass(unit, cut));
                if passed != Some(true) {
                    self.shared.dropped.fetch_add(1, Relaxed);
                }
                if passed == Some(false) {
                    self.fail("the record branch does not take a frame");
                }
            }
            Order::End => self.end(),
        }
    }

    fn begin(&mut self, codec: Codec, tracks: &Tracks, interval_ns: i64) {
        if self.failed_at.is_some_and(|at| at.elapsed() < AGAIN_AFTER) {
            // Asks for another at the next keyframe.
            self.shared.failures.fetch_add(1, Relaxed);
            return;
        }
        let decoding = Decoding::new(tracks.depth, interval_ns);
        if self.pipeline.as_ref().is_none_or(|made| made.codec != codec) {
            self.pipeline = match self.shared.pipeline(codec) {
                Ok((pipeline, pattern)) => Some(RecordPipeline { codec, pipeline, pattern }),
                Err(error) => return self.fail(&Chain(&error).to_string()),
            };
        }
        self.stretch = self
            .pipeline
            .as_ref()
            .and_then(|made| Stretch::begin(made, self.shared.clone(), decoding, interval_ns, tracks.sound));
        if self.stretch.is_none() {
            self.fail("the record branch cannot be made");
        }
    }

    fn fail(&mut self, what: &str) {
        tracing::error!(camera.id = %self.shared.settings.camera, "{what}; another begins with a keyframe");
        self.failed_at = Some(Instant::now());
        self.shared.failures.fetch_add(1, Relaxed);
        self.end();
    }

    fn end(&mut self) {
        if let Some(stretch) = self.stretch.take() {
            stretch.end();
        }
    }
}

#[derive(Debug)]
struct Stretch {
    segments: gst::Element,
    entry: gst::Pad,
    inside: Arc<Inside>,
    decoding: Decoding,
    format: Option<Arc<VideoFormat>>,
    /// Decoding time of the last frame, and how long it is taken to last.
    last_ns: Option<i64>,
    interval_ns: i64,
    track: Option<Track>,
}

/// The sound of a stretch.
#[derive(Debug)]
struct Track {
    sound: Sound,
    run: u32,
    entry: gst::Pad,
}

impl Stretch {
    fn begin(
        RecordPipeline { pipeline, pattern, .. }: &RecordPipeline,
        shared: Arc<Shared>,
        decoding: Decoding,
        interval_ns: i64,
        run: Option<u32>,
    ) -> Option<Self> {
        let segments = another(pattern)?;
        let inside = Arc::new(Inside::default());
        let sound = shared.sound.get().cloned().zip(run);
        listen(&segments, &shared, &inside, sound.as_ref().map(|(sound, _)| sound.stored()));
        pipeline.add(&segments).ok()?;
        let begun = (|| {
            let entry = segments.request_pad_simple("video")?;
            let counted = inside.clone();
            entry.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                counted.change(|held| held.frames += 1);
                gst::PadProbeReturn::Ok
            });
            let track = match sound {
                Some((sound, run)) => {
                    Some(Track { sound, run, entry: segments.request_pad_simple("audio_%u")? })
                }
                None => None,
            };
            segments.sync_state_with_parent().ok()?;
            let name = shared.settings.camera.as_str();
            let started = entry.send_event(gst::event::StreamStart::new(name));
            started.then_some((entry, track))
        })();
        let Some((entry, track)) = begun else {
            let _ = segments.set_state(gst::State::Null);
            let _ = pipeline.remove(&segments);
            return None;
        };
        let mut open = lock(&shared.open);
        // Of those that are over nothing else is left.
        open.retain(|inside| Arc::strong_count(inside) > 1);
        open.push(inside.clone());
        drop(open);
        Some(Self { segments, entry, inside, decoding, format: None, last_ns: None, interval_ns, track })
    }

    /// Lets a frame in; `false` if the branch does not take it.
    fn pass(&mut self, TimedUnit { unit, at_ns }: TimedUnit, cut: bool) -> bool {
        let decoded_ns = self.decoding.time(at_ns);
        let (shown, decoded) = (clock_time(at_ns), clock_time(decoded_ns));
        if let Some(last_ns) = self.last_ns.replace(decoded_ns) {
            self.interval_ns = (decoded_ns - last_ns).clamp(0, LAST_FRAME_MAX_NS);
        }
        if cut {
            self.segments.emit_by_name::<()>("split-at-running-time", &[&decoded]);
        }
        if (cut || self.format.is_none()) && self.format.as_ref() != Some(&unit.format) {
            // mp4mux 1.22 compares new caps with its old ones in this thread while its own thread may be freeing those, so
            // caps go in only where a segment begins, and each muxer sees only its first (see `watch_muxer`).
            self.entry.send_event(gst::event::Caps::new(&units::video_caps(&unit.format)));
            if self.format.replace(unit.format.clone()).is_none() {
                let timeline = gst::FormattedSegment::<gst::ClockTime>::new();
                self.entry.send_event(gst::event::Segment::new(&timeline));
                if let Some(Track { sound, run, entry }) = &self.track {
                    sound.begin(entry, "sound", *run, at_ns);
                }
            }
        }
        let mut buffer = units::video_buffer(&unit);
        {
            let buffer = buffer.make_mut();
            buffer.set_offset(shown.nseconds());
            buffer.set_pts(decoded);
            buffer.set_dts(decoded);
            // Counts for the last frame of a file alone.
            buffer.set_duration(clock_time(self.interval_ns));
            buffer.unset_flags(gst::BufferFlags::DELTA_UNIT);
            if !unit.key {
                buffer.set_flags(WAS_DELTA);
            }
        }
        self.entry.chain(buffer).is_ok()
    }

    /// Lets the last segment end, and takes the element away when it has.
    fn end(self) {
        // The pictures first: sound that waits for them is let go by that.
        self.entry.send_event(gst::event::Eos::new());
        if let Some(Track { sound, entry, .. }) = &self.track {
            sound.stop(entry);
            entry.send_event(gst::event::Eos::new());
        }
        let Self { segments, inside, .. } = self;
        let taking = thread::Builder::new().name("segment end".into());
        // Without a thread the element stays until the session ends.
        let _ = taking.spawn(move || {
            if !inside.empty_by(Instant::now() + END_WITHIN) {
                tracing::warn!("a segment did not end in time; it keeps its whole fragments");
            }
            let pipeline = segments.parent().and_then(|parent| parent.downcast::<gst::Bin>().ok());
            segments.set_locked_state(true);
            let _ = segments.set_state(gst::State::Null);
            let _ = pipeline.map(|pipeline| pipeline.remove(&segments));
        });
    }
}

/// An element like `pattern`.
fn another(pattern: &gst::Element) -> Option<gst::Element> {
    let element = pattern.factory()?.create().build().ok()?;
    for property in pattern.list_properties() {
        let set = glib::ParamFlags::READWRITE;
        if !property.flags().contains(set) || ["name", "parent"].contains(&property.name()) {
            continue;
        }
        let value = pattern.property_value(property.name());
        let is_object = value.type_().is_a(glib::Type::OBJECT);
        if !is_object || value.get::<Option<glib::Object>>().is_ok_and(|object| object.is_some()) {
            element.set_property_from_value(property.name(), &value);
        }
    }
    Some(element)
}

/// One segment, between its muxer and its appsink.
struct Current {
    shared: Arc<Shared>,
    inside: Arc<Inside>,
    write: Option<Box<dyn SegmentWrite>>,
    refused: bool,
}

/// The segment of one muxer, from its first frame to its end.
type Slot = Arc<Mutex<Option<Current>>>;

/// The slots of the muxers that are alive, by their addresses: splitmuxsink tells of a muxer before, after or twice
/// for its sink, so the sink looks for its muxer when the first bytes come.
type Slots = Arc<Mutex<HashMap<usize, Slot>>>;

/// Takes the muxers and sinks of a splitmuxsink in hand, before it has any.
fn listen(segments: &gst::Element, shared: &Arc<Shared>, inside: &Arc<Inside>, audio: Option<AudioCodec>) {
    let slots = Slots::default();
    let (known, owner, inside) = (slots.clone(), shared.clone(), inside.clone());
    segments.connect("muxer-added", false, move |values| {
        let muxer = values.get(1)?.get::<gst::Element>().ok()?;
        if let Entry::Vacant(place) = lock(&known).entry(muxer.as_ptr() as usize) {
            watch_muxer(&muxer, place.insert(Slot::default()).clone(), owner.clone(), inside.clone(), audio);
        }
        None
    });
    segments.connect("sink-added", false, move |values| {
        take_over(&values.get(1)?.get::<AppSink>().ok()?, slots.clone());
        None
    });
    // There is no file here to name; without an answer splitmuxsink would ask the appsink for a `location`.
    segments.connect("format-location-full", false, |_| Some(None::<String>.to_value()));
}

/// True flags and times again, and the first frame opens the segment.
fn watch_muxer(
    muxer: &gst::Element,
    slot: Slot,
    shared: Arc<Shared>,
    inside: Arc<Inside>,
    audio: Option<AudioCodec>,
) {
    let watch = move |pad: &gst::Pad| {
        if pad.name().starts_with("audio") {
            return;
        }
        let (slot, shared, inside) = (slot.clone(), shared.clone(), inside.clone());
        let mut format: Option<VideoFormat> = None;
        let state = Mutex::new(move |pad: &gst::Pad, info: &mut gst::PadProbeInfo| match &mut info.data {
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                // See `Stretch::pass`. What comes after the first is a repetition, or meant for the next muxer.
                gst::EventView::Caps(_) if format.is_some() => gst::PadProbeReturn::Handled,
                gst::EventView::Caps(event) => {
                    format = units::video_format(event.caps());
                    gst::PadProbeReturn::Ok
                }
                _ => gst::PadProbeReturn::Ok,
            },
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let shown_ns = buffer.offset();
                let buffer = buffer.make_mut();
                buffer.set_pts(gst::ClockTime::from_nseconds(shown_ns));
                if buffer.flags().contains(WAS_DELTA) {
                    buffer.unset_flags(WAS_DELTA);
                    buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
                }
                let mut slot = lock(&slot);
                if let (None, Some(format)) = (slot.as_ref(), &format) {
                    let at_ns = i64::try_from(shown_ns).unwrap_or_default();
                    let head = head(&shared, at_ns, format, audio);
                    describe(pad, &head);
                    *slot = Some(Current::open(&shared, &inside, head));
                }
                // After its segment is counted, so that there is no moment without either.
                inside.change(|held| held.frames = held.frames.saturating_sub(1));
                if slot.as_ref().is_some_and(|current| current.refused) {
                    shared.dropped.fetch_add(1, Relaxed);
                }
                gst::PadProbeReturn::Ok
            }
            _ => gst::PadProbeReturn::Ok,
        });
        let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(types, move |pad, info| (*lock(&state))(pad, info));
    };
    muxer.sink_pads().iter().for_each(&watch);
    muxer.connect_pad_added(move |_, pad| {
        if pad.direction() == gst::PadDirection::Sink {
            watch(pad);
        }
    });
}

fn head(shared: &Shared, at_ns: i64, format: &VideoFormat, audio: Option<AudioCodec>) -> SegmentHead {
    SegmentHead {
        camera: shared.settings.camera.clone(),
        profile: shared.settings.profile,
        start: shared.begins(at_ns),
        codec: format.codec,
        width: format.width,
        height: format.height,
        audio,
        source: if shared.settings.placing.is_some() { Source::Refill } else { Source::Live },
        only_mirror: false,
    }
}

/// Writes into the file's header what the file is, so that the index can be made again from the files alone: the
/// name tells the start only to the second.
fn describe(pad: &gst::Pad, head: &SegmentHead) {
    let Some(tags) = pad.parent_element().and_then(|muxer| muxer.dynamic_cast::<gst::TagSetter>().ok())
    else {
        return;
    };
    let text = format!(
        "watchkeeper camera={} profile={} source={} start_us={}",
        head.camera,
        head.profile.word(),
        head.source.word(),
        head.start.0
    );
    tags.add_tag::<gst::tags::Comment>(&text.as_str(), gst::TagMergeMode::Replace);
}

impl Current {
    fn open(shared: &Arc<Shared>, inside: &Arc<Inside>, head: SegmentHead) -> Self {
        shared.segments.fetch_add(1, Relaxed);
        inside.change(|held| held.segments += 1);
        let write = Some(shared.sink.open(head));
        Self { shared: shared.clone(), inside: inside.clone(), write, refused: false }
    }

    fn write(&mut self, bytes: Bytes) {
        let Some(write) = &mut self.write else { return };
        let cut = match write.write(bytes) {
            Ok(next) => next == Next::Cut,
            Err(SinkRefused) => !std::mem::replace(&mut self.refused, true),
        };
        if cut {
            self.shared.cut_now.store(true, Relaxed);
        }
    }

    fn close(mut self) {
        if let Some(write) = self.write.take() {
            write.close();
            self.inside.change(|held| held.segments -= 1);
        }
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if self.write.take().is_some() {
            self.inside.change(|held| held.segments -= 1);
        }
    }
}

/// The appsink of one segment: hands its bytes on by reference.
fn take_over(sink: &AppSink, slots: Slots) {
    sink.set_property("sync", false);
    sink.set_property("async", false);
    sink.set_property("enable-last-sample", false);
    let ending = slots.clone();
    let callbacks = AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let slot = muxer_of(sink).and_then(|muxer| lock(&slots).get(&muxer).cloned());
            if let Some(bytes) =
                sample.buffer_owned().and_then(|buffer| buffer.into_mapped_buffer_readable().ok())
                && let Some(slot) = slot
                && let Some(current) = lock(&slot).as_mut()
            {
                current.write(Bytes::from_owner(bytes));
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |sink| {
            let slot = muxer_of(sink).and_then(|muxer| lock(&ending).remove(&muxer));
            if let Some(current) = slot.and_then(|slot| lock(&slot).take()) {
                current.close();
            }
        })
        .build();
    sink.set_callbacks(callbacks);
}

fn muxer_of(sink: &AppSink) -> Option<usize> {
    Some(sink.static_pad("sink")?.peer()?.parent_element()?.as_ptr() as usize)
}
