//! One recording without a break: a splitmuxsink of its own, from its first keyframe to its end.
//!
//! splitmuxsink sees one buffer for all frames that are handed over at once: each buffer costs it several turns of two threads, and the
//! frames in it are for the muxer alone. The buffer looks like a keyframe whose time is the first decoding time, so that splitmuxsink
//! holds back no GOP; at a keyframe that is due, the cut is asked for before the buffer that begins with it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use gstreamer::{self as gst, prelude::*};

use super::{
    Shared, clock_time, lock,
    muxer::SegmentMuxer,
    segments::{InFlight, MuxFrame, Segments},
};
use crate::{
    base::error::Chain,
    media::units,
    model::{
        reorder::Decoding,
        segment::Codec,
        unit::{AccessUnit, VideoFormat},
    },
};

/// A run that is over has so long to write its end before its element is taken away.
const END_WITHIN: Duration = Duration::from_secs(10);
/// The last frame of a file is taken to last as long as the one before it, and no longer than this, in nanoseconds.
const LAST_FRAME_MAX_NS: i64 = 2_000_000_000;
/// A run begins when all of the one before it is written, or after so long.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(1);
/// Between attempts to begin a run, if they fail: a camera may send nothing but keyframes.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A frame and its time on the run's timeline.
#[derive(Clone, Debug)]
pub(super) struct TimedUnit {
    pub(super) unit: AccessUnit,
    /// When it is shown, in nanoseconds.
    pub(super) at_ns: i64,
}

/// The tracks of a muxer run. If any of these change, a new run begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tracks {
    /// How many frames the stream reorders.
    pub(super) depth: usize,
    /// How many runs failed.
    pub(super) failures: u32,
    /// The run of sound that goes with it.
    pub(super) sound: Option<u32>,
}

/// An order to the thread of the record branch.
#[derive(Debug)]
pub(super) enum Order {
    /// Begin a run of frames about so many nanoseconds apart.
    Begin(Tracks, i64),
    /// The next frame begins a segment.
    Cut,
    /// Record a frame.
    Frame(TimedUnit),
    /// End the run.
    End,
}

impl Order {
    /// Bytes of the frame in it.
    pub(super) fn bytes(&self) -> usize {
        if let Self::Frame(timed) = self { timed.unit.data.len() } else { 0 }
    }
}

/// Carries out orders. A failure costs the run and is told to the intake through `Shared::failures`.
#[derive(Debug)]
pub(super) struct MuxerControl {
    shared: Arc<Shared>,
    pipeline: Option<RecordPipeline>,
    run: Option<MuxerRun>,
    /// A run is to begin with the next frame, which tells the codec.
    pending_begin: Option<(Tracks, i64)>,
    /// A segment is to begin with the next frame.
    pending_cut: bool,
    failed_at: Option<Instant>,
}

/// The pipeline of one codec.
#[derive(Debug)]
struct RecordPipeline {
    codec: Codec,
    pipeline: gst::Pipeline,
    /// Never plays: each run gets an element like it.
    pattern: gst::Element,
}

impl MuxerControl {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pipeline: None, run: None, pending_begin: None, pending_cut: false, failed_at: None }
    }

    pub(super) fn carry_out(&mut self, order: Order) {
        match order {
            Order::Begin(tracks, interval_ns) => {
                self.end();
                self.pending_begin = Some((tracks, interval_ns));
                // Of the run before, if the queue refused the frame that it was for.
                self.pending_cut = false;
            }
            Order::Cut => self.pending_cut = true,
            Order::Frame(unit) => {
                if let Some((tracks, interval_ns)) = self.pending_begin.take() {
                    self.begin(unit.unit.format.codec, &tracks, interval_ns);
                }
                let cut = std::mem::take(&mut self.pending_cut);
                let taken = self.run.as_mut().map(|run| run.take(unit, cut));
                if taken != Some(true) {
                    self.shared.dropped.fetch_add(1, Relaxed);
                }
                if taken == Some(false) {
                    self.fail("the record branch does not take a frame");
                }
            }
            Order::End => self.end(),
        }
    }

    /// Lets all frames in that were taken.
    pub(super) fn hand_over(&mut self) {
        if self.run.as_mut().is_some_and(|run| !run.hand_over()) {
            self.fail("the record branch does not take frames");
        }
    }

    /// Has everything written that came so far.
    pub(super) fn flush(&self) {
        if let Some(run) = &self.run {
            run.segments.flush();
        }
    }

    fn begin(&mut self, codec: Codec, tracks: &Tracks, interval_ns: i64) {
        if self.failed_at.is_some_and(|at| at.elapsed() < AGAIN_AFTER) {
            // Asks for another at the next keyframe.
            self.shared.failures.fetch_add(1, Relaxed);
            return;
        }
        let before = lock(&self.shared.open).last().cloned();
        if before.is_some_and(|in_flight| !in_flight.is_empty_by(Instant::now() + FOLLOWS_WITHIN)) {
            tracing::warn!(camera.id = %self.shared.settings.camera, "a segment begins before the last one has ended");
        }
        let decoding = Decoding::new(tracks.depth, interval_ns);
        if self.pipeline.as_ref().is_none_or(|made| made.codec != codec) {
            self.pipeline = match self.shared.pipeline(codec) {
                Ok((pipeline, pattern)) => Some(RecordPipeline { codec, pipeline, pattern }),
                Err(error) => return self.fail(&Chain(&error).to_string()),
            };
        }
        self.run = self
            .pipeline
            .as_ref()
            .and_then(|made| MuxerRun::begin(made, self.shared.clone(), decoding, interval_ns, tracks.sound));
        if self.run.is_none() {
            self.fail("the record branch cannot be made");
        }
    }

    fn fail(&mut self, what: &str) {
        tracing::error!(camera.id = %self.shared.settings.camera, "{what}; another run begins with a keyframe");
        self.failed_at = Some(Instant::now());
        self.shared.failures.fetch_add(1, Relaxed);
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut run) = self.run.take() {
            run.hand_over();
            run.end();
        }
    }
}

#[derive(Debug)]
struct MuxerRun {
    splitmuxsink: gst::Element,
    entry: gst::Pad,
    segments: Arc<Segments>,
    decoding: Decoding,
    format: Option<Arc<VideoFormat>>,
    /// Decoding time of the last frame, and how long it is taken to last.
    last_ns: Option<i64>,
    interval_ns: i64,
    /// What is to be handed over.
    batch: Vec<MuxFrame>,
}

impl MuxerRun {
    fn begin(
        RecordPipeline { pipeline, pattern, .. }: &RecordPipeline,
        shared: Arc<Shared>,
        decoding: Decoding,
        interval_ns: i64,
        sound_run: Option<u32>,
    ) -> Option<Self> {
        let splitmuxsink = element_like(pattern)?;
        let in_flight = Arc::new(InFlight::default());
        let sound = shared.sound.get().zip(sound_run).map(|(sound, run)| sound.reader(run));
        let segments = Arc::new(Segments::new(shared.clone(), in_flight.clone(), sound));
        set_up(&splitmuxsink, &segments);
        pipeline.add(&splitmuxsink).ok()?;
        let begun = (|| {
            let entry = splitmuxsink.request_pad_simple("video")?;
            splitmuxsink.sync_state_with_parent().ok()?;
            let name = shared.settings.camera.as_str();
            entry.send_event(gst::event::StreamStart::new(name)).then_some(entry)
        })();
        let Some(entry) = begun else {
            let _ = splitmuxsink.set_state(gst::State::Null);
            let _ = pipeline.remove(&splitmuxsink);
            return None;
        };
        let mut open = lock(&shared.open);
        // Of those that are over nothing else is left.
        open.retain(|in_flight| Arc::strong_count(in_flight) > 1);
        open.push(in_flight);
        drop(open);
        Some(Self {
            splitmuxsink,
            entry,
            segments,
            decoding,
            format: None,
            last_ns: None,
            interval_ns,
            batch: Vec::new(),
        })
    }

    /// Takes a frame; `false` if the branch does not take those before it.
    fn take(&mut self, TimedUnit { unit, at_ns }: TimedUnit, cut: bool) -> bool {
        let decoded_ns = self.decoding.time(at_ns);
        if let Some(last_ns) = self.last_ns.replace(decoded_ns) {
            self.interval_ns = (decoded_ns - last_ns).clamp(0, LAST_FRAME_MAX_NS);
        }
        if cut {
            if !self.hand_over() {
                return false;
            }
            self.splitmuxsink.emit_by_name::<()>("split-at-running-time", &[&clock_time(decoded_ns)]);
        }
        // A format belongs to a segment: one that changes inside it waits for the next.
        if (cut || self.format.is_none()) && self.format.as_ref() != Some(&unit.format) {
            self.entry.send_event(gst::event::Caps::new(&units::video_caps(&unit.format)));
            if self.format.replace(unit.format.clone()).is_none() {
                let timeline = gst::FormattedSegment::<gst::ClockTime>::new();
                self.entry.send_event(gst::event::Segment::new(&timeline));
            }
        }
        let (data, key, length_ns) = (unit.data, unit.key, self.interval_ns);
        self.batch.push(MuxFrame { data, key, decoded_ns, shown_ns: at_ns, length_ns });
        true
    }

    /// Lets the frames in that were taken; `false` if the branch does not take them.
    fn hand_over(&mut self) -> bool {
        let (Some(first), Some(last)) = (self.batch.first(), self.batch.last()) else { return true };
        let (from_ns, last_ns) = (first.decoded_ns, last.decoded_ns);
        let number = self.segments.queue_batch(std::mem::take(&mut self.batch));
        // splitmuxsink keeps a keyframe until the next one comes: a buffer without frames follows, so that none wait.
        let taken = [from_ns, last_ns + 1].into_iter().all(|at_ns| {
            let mut buffer = gst::Buffer::from_slice([0]);
            {
                let buffer = buffer.make_mut();
                buffer.set_pts(clock_time(at_ns));
                buffer.set_dts(clock_time(at_ns));
                buffer.set_offset(number);
            }
            self.entry.chain(buffer).is_ok()
        });
        if !taken {
            self.segments.abandon();
        }
        taken
    }

    /// Lets the last segment end, and takes the element away when it has.
    fn end(self) {
        self.segments.end_with_run();
        self.entry.send_event(gst::event::Eos::new());
        let Self { splitmuxsink, segments, .. } = self;
        let taking = thread::Builder::new().name("segment end".into());
        // Without a thread the element stays until the session ends.
        let _ = taking.spawn(move || {
            if !segments.in_flight().is_empty_by(Instant::now() + END_WITHIN) {
                tracing::warn!("a segment did not end in time; it keeps what was muxed");
                segments.abandon();
            }
            let pipeline = splitmuxsink.parent().and_then(|parent| parent.downcast::<gst::Bin>().ok());
            splitmuxsink.set_locked_state(true);
            let _ = splitmuxsink.set_state(gst::State::Null);
            let _ = pipeline.map(|pipeline| pipeline.remove(&splitmuxsink));
        });
    }
}

/// An element like `pattern`.
fn element_like(pattern: &gst::Element) -> Option<gst::Element> {
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

/// Prepares a splitmuxsink, before it has a muxer, to give its muxers their output and to write nowhere itself.
fn set_up(splitmuxsink: &gst::Element, segments: &Arc<Segments>) {
    let segments = segments.clone();
    splitmuxsink.connect("muxer-added", false, move |values| {
        let muxer = values.get(1)?.get::<SegmentMuxer>().ok()?;
        muxer.set_segments(&segments);
        None
    });
    splitmuxsink.connect("sink-added", false, |values| {
        // Only the end of a segment comes here, and no frame that its state change could wait for.
        values.get(1)?.get::<gst::Element>().ok()?.set_property("async", false);
        None
    });
    // There is no file here to name.
    splitmuxsink.connect("format-location-full", false, |_| Some(None::<String>.to_value()));
}
