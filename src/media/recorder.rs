//! The record branch: splitmuxsink, made to let every frame go at once, cut where we say, and write nowhere itself.
//!
//! Three probes do it (see ARCHITECTURE.md, "The record branch"):
//! - *before* splitmuxsink every frame is dressed up as a keyframe, so that no GOP is held back; at a keyframe that
//!   is due, the cut is asked for before the frame goes on;
//! - *at the muxer* the frames get their true flags back, and the first of them opens the segment;
//! - *behind the muxer* stands an `appsink`, which cannot seek: the muxer only appends, and the same bytes go to
//!   whoever keeps them. Nothing here does I/O.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use gstreamer::{self as gst, prelude::*};
use gstreamer_app::{AppSink, AppSinkCallbacks};

use super::{Error, source::RtpTimes, text};
use crate::{
    base::{CameraId, WallUs},
    model::{
        Profile,
        pace::Pace,
        pipeline::Purpose,
        segment::{Codec, SegmentHead, SegmentSink, SegmentWrite, Source},
    },
};

/// Carries "this is no keyframe" through splitmuxsink; nothing between the two probes reads or sets it.
const WAS_DELTA: gst::BufferFlags = gst::BufferFlags::NON_DROPPABLE;

/// A keyframe this much before the limit is due: frames jitter by fractions of a millisecond, and a segment must not
/// become a GOP longer for that.
const CUT_TOLERANCE: gst::ClockTime = gst::ClockTime::from_mseconds(20);

/// What a recording is for.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// Whose segments.
    pub camera: CameraId,
    /// Of which stream.
    pub profile: Profile,
    /// Length of a segment in seconds; may change while it runs.
    pub segment_seconds: Arc<AtomicU32>,
}

/// The record branch of one session.
#[derive(Debug)]
pub struct Recorder {
    entry: gst::Pad,
    shared: Arc<Shared>,
}

/// Counters for the state that is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded {
    /// Segments begun.
    pub segments: u64,
    /// Frames that came and were not recorded: the volume refused their segment.
    pub dropped_frames: u64,
}

struct Shared {
    settings: RecordSettings,
    sink: Arc<dyn SegmentSink>,
    /// What is inside the branch, and a bell for when a segment ends.
    inside: (Mutex<Inside>, Condvar),
    /// The volume refused bytes: begin a new segment at the next keyframe.
    cut_now: AtomicBool,
    segments: AtomicU64,
    dropped: AtomicU64,
    /// Wall-clock time of running time zero of this run, set once: times come from the stream from there on.
    anchor: Mutex<Option<WallUs>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a stop has to wait for.
#[derive(Default)]
struct Inside {
    /// Segments that are open.
    segments: usize,
    /// Frames on their way to a muxer. At a cut one segment may have ended before the first frame of the next has
    /// come so far.
    frames: usize,
}

impl Inside {
    fn is_empty(&self) -> bool {
        self.segments + self.frames == 0
    }
}

/// One segment, between its muxer and its appsink.
struct Current {
    shared: Arc<Shared>,
    write: Option<Box<dyn SegmentWrite>>,
    refused: bool,
}

impl Drop for Current {
    fn drop(&mut self) {
        if self.write.take().is_some() {
            self.shared.ended();
        }
    }
}

/// The segment of one muxer, from its first frame to its end.
type Slot = Arc<Mutex<Option<Current>>>;

/// The slots of the muxers that are alive, by their addresses: splitmuxsink tells of a muxer before, after or twice
/// for its sink, so the sink looks for its muxer when the first bytes come.
type Slots = Arc<Mutex<HashMap<usize, Slot>>>;

impl Recorder {
    /// Takes the record branch of `pipeline` in hand, before it plays.
    pub fn new(
        pipeline: &gst::Pipeline,
        purpose: Purpose,
        settings: RecordSettings,
        sink: Arc<dyn SegmentSink>,
        rtp_times: RtpTimes,
    ) -> Result<Self, Error> {
        let segments = text::named(pipeline, purpose, "segments")?;
        let entry = segments
            .sink_pads()
            .into_iter()
            .next()
            .ok_or(Error::Refused("find the pad of the record branch"))?;
        let feed = entry.peer().ok_or(Error::Refused("find what feeds the record branch"))?;
        for (property, value) in
            [("sink-factory", "appsink"), ("max-size-time", "0"), ("max-size-bytes", "0")]
        {
            text::set(&segments, property, value)?;
        }
        let shared = Arc::new(Shared {
            settings,
            sink,
            inside: (Mutex::default(), Condvar::new()),
            cut_now: AtomicBool::new(false),
            segments: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            anchor: Mutex::new(None),
        });

        let slots = Slots::default();
        let (known, owner) = (slots.clone(), shared.clone());
        let on_muxer = move |muxer: &gst::Element| {
            if let Entry::Vacant(place) = lock(&known).entry(muxer.as_ptr() as usize) {
                watch_muxer(muxer, place.insert(Slot::default()).clone(), owner.clone());
            }
        };
        // The text links the branch, and so makes the first muxer before anybody could listen for it.
        if let Some(bin) = segments.downcast_ref::<gst::Bin>() {
            let is_muxer =
                |element: &gst::Element| element.factory().is_some_and(|made| made.name() == "mp4mux");
            bin.iterate_elements().into_iter().flatten().filter(is_muxer).for_each(|muxer| on_muxer(&muxer));
        }
        segments.connect("muxer-added", false, move |values| {
            on_muxer(&values.get(1)?.get::<gst::Element>().ok()?);
            None
        });
        segments.connect("sink-added", false, move |values| {
            take_over(&values.get(1)?.get::<AppSink>().ok()?, slots.clone());
            None
        });
        // There is no file here to name; without an answer splitmuxsink would ask the appsink for a `location`.
        segments.connect("format-location-full", false, |_| Some(None::<String>.to_value()));

        watch_feed(&feed, segments.downgrade(), shared.clone(), rtp_times);
        let counted = shared.clone();
        entry.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            lock(&counted.inside.0).frames += 1;
            gst::PadProbeReturn::Ok
        });
        Ok(Self { entry, shared })
    }

    /// Counters so far.
    pub fn recorded(&self) -> Recorded {
        Recorded {
            segments: self.shared.segments.load(Relaxed),
            dropped_frames: self.shared.dropped.load(Relaxed),
        }
    }

    /// Finishes the open segment. Blocks, at most until `deadline`; `false` if it was still open then.
    pub fn finish(&self, deadline: Instant) -> bool {
        self.entry.send_event(gst::event::Eos::new());
        let (inside, ended) = &self.shared.inside;
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let (inside, _) = ended
            .wait_timeout_while(lock(inside), left, |inside| !inside.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        inside.is_empty()
    }
}

impl Shared {
    fn ended(&self) {
        let (inside, ended) = &self.inside;
        lock(inside).segments -= 1;
        ended.notify_all();
    }

    /// UTC time of a running time of this run.
    fn wall(&self, running: gst::ClockTime) -> WallUs {
        let us = i64::try_from(running.useconds()).unwrap_or(i64::MAX);
        lock(&self.anchor).get_or_insert_with(|| WallUs::now().plus_us(-us)).plus_us(us)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The probe before splitmuxsink: drops up to the first keyframe, puts frames onto an even
/// timeline, asks for cuts, hides what is no keyframe.
///
/// Parameters are held back until a keyframe begins a segment with them, and [`watch_muxer`] lets each muxer have only
/// its first. mp4mux 1.22 compares new caps with its old ones in the streaming thread while its own thread may be
/// freeing those: what it reads then is freed memory.
fn watch_feed(
    feed: &gst::Pad,
    segments: glib::WeakRef<gst::Element>,
    shared: Arc<Shared>,
    rtp_times: RtpTimes,
) {
    let mut pace = Pace::default();
    let mut run: Option<(gst::ClockTime, Instant)> = None;
    let mut timeline = gst::FormattedSegment::<gst::ClockTime>::new();
    let mut codec_data: Option<gst::Buffer> = None;
    let mut changed = false;
    let mut began: Option<gst::ClockTime> = None;
    let mut held: Vec<gst::Event> = Vec::new();
    let state = Mutex::new(move |feed: &gst::Pad, info: &mut gst::PadProbeInfo| -> gst::PadProbeReturn {
        match &mut info.data {
            Some(gst::PadProbeData::Event(event)) => {
                match event.view() {
                    gst::EventView::Segment(event) => {
                        if let Some(segment) = event.segment().downcast_ref::<gst::ClockTime>() {
                            timeline = segment.clone();
                        }
                    }
                    gst::EventView::Caps(event) => {
                        let new =
                            event.caps().structure(0).and_then(|s| s.get::<gst::Buffer>("codec_data").ok());
                        // A muxer that is given other parameters in mid-file writes a file that nobody can read.
                        changed |= codec_data.is_some() && !same_bytes(codec_data.as_ref(), new.as_ref());
                        codec_data = new;
                    }
                    _ => {}
                }
                // In their order, which is part of the rules of pads.
                let hold = match event.type_() {
                    gst::EventType::Caps => true,
                    gst::EventType::Segment | gst::EventType::Tag => began.is_none(),
                    _ => false,
                };
                if !hold {
                    return gst::PadProbeReturn::Ok;
                }
                match held.iter_mut().find(|other| other.type_() == event.type_()) {
                    Some(before) => before.clone_from(event),
                    None => held.push(event.clone()),
                }
                gst::PadProbeReturn::Handled
            }
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let delta = buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
                // Before its first keyframe a stream cannot be decoded; most sessions begin in mid-GOP.
                if delta && began.is_none() {
                    return gst::PadProbeReturn::Drop;
                }
                let rtp = rtp_times.of(buffer.pts());
                // What the jitter buffer makes of a camera's jumps is not to be relied on; the time that passed is.
                let arrival_ns = match (rtp, buffer.pts()) {
                    (None, Some(pts)) => pts.nseconds(),
                    (_, first) => {
                        let (zero, at) = *run.get_or_insert((first.unwrap_or_default(), Instant::now()));
                        zero.nseconds().saturating_add(u64::try_from(at.elapsed().as_nanos()).unwrap_or(0))
                    }
                };
                let mut placed = clock_time(pace.place(rtp, i64::try_from(arrival_ns).unwrap_or(i64::MAX)));
                let limit =
                    gst::ClockTime::from_seconds(shared.settings.segment_seconds.load(Relaxed).into());
                let due = began.is_none_or(|began| placed + CUT_TOLERANCE >= began + limit);
                // Any cut is the one that the volume wanted.
                let begins = !delta && (shared.cut_now.swap(false, Relaxed) || due || changed);
                if begins {
                    placed = clock_time(pace.pull());
                }
                let Some(running) = timeline.to_running_time(placed) else {
                    shared.dropped.fetch_add(1, Relaxed);
                    return gst::PadProbeReturn::Drop;
                };
                if begins {
                    changed = false;
                    if began.replace(placed).is_some()
                        && let Some(segments) = segments.upgrade()
                    {
                        segments.emit_by_name::<()>("split-at-running-time", &[&running]);
                    }
                    let entry = feed.peer();
                    for event in held.drain(..) {
                        let _ = entry.as_ref().is_some_and(|entry| entry.send_event(event));
                    }
                }
                let buffer = buffer.make_mut();
                buffer.set_pts(placed);
                buffer.set_dts(placed);
                if delta {
                    buffer.unset_flags(gst::BufferFlags::DELTA_UNIT);
                    buffer.set_flags(WAS_DELTA);
                } else {
                    buffer.unset_flags(WAS_DELTA);
                }
                gst::PadProbeReturn::Ok
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    feed.add_probe(types, move |feed, info| (*lock(&state))(feed, info));
}

fn clock_time(ns: i64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(ns.try_into().unwrap_or_default())
}

fn same_bytes(a: Option<&gst::Buffer>, b: Option<&gst::Buffer>) -> bool {
    let map = |buffer: Option<&gst::Buffer>| {
        buffer.and_then(|buffer| buffer.map_readable().ok().map(|m| m.to_vec()))
    };
    map(a) == map(b)
}

/// The probe at the muxer: true flags again, and the first frame opens the segment.
fn watch_muxer(muxer: &gst::Element, slot: Slot, shared: Arc<Shared>) {
    let watch = move |pad: &gst::Pad| {
        let (slot, shared) = (slot.clone(), shared.clone());
        let mut timeline = gst::FormattedSegment::<gst::ClockTime>::new();
        let mut size = None;
        let state = Mutex::new(move |pad: &gst::Pad, info: &mut gst::PadProbeInfo| match &mut info.data {
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Segment(event) => {
                    if let Some(segment) = event.segment().downcast_ref::<gst::ClockTime>() {
                        timeline = segment.clone();
                    }
                    gst::PadProbeReturn::Ok
                }
                // See `watch_feed`. What comes after the first is a repetition, or meant for the next muxer.
                gst::EventView::Caps(_) if size.is_some() => gst::PadProbeReturn::Handled,
                gst::EventView::Caps(event) => {
                    if let Some(structure) = event.caps().structure(0) {
                        let side =
                            |field| structure.get::<i32>(field).ok().and_then(|n| u32::try_from(n).ok());
                        size = Some((side("width").unwrap_or(0), side("height").unwrap_or(0)));
                    }
                    gst::PadProbeReturn::Ok
                }
                _ => gst::PadProbeReturn::Ok,
            },
            Some(gst::PadProbeData::Buffer(buffer)) => {
                if buffer.flags().contains(WAS_DELTA) {
                    let buffer = buffer.make_mut();
                    buffer.unset_flags(WAS_DELTA);
                    buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
                }
                let mut slot = lock(&slot);
                if slot.is_none() {
                    let running =
                        buffer.pts().and_then(|pts| timeline.to_running_time(pts)).unwrap_or_default();
                    let head = shared.head(running, size.unwrap_or_default());
                    describe(pad, &head);
                    *slot = Some(Current::open(&shared, head));
                }
                // After its segment is counted, so that there is no moment without either.
                let mut inside = lock(&shared.inside.0);
                inside.frames = inside.frames.saturating_sub(1);
                drop(inside);
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

impl Shared {
    fn head(&self, running: gst::ClockTime, (width, height): (u32, u32)) -> SegmentHead {
        SegmentHead {
            camera: self.settings.camera.clone(),
            profile: self.settings.profile,
            start: self.wall(running),
            codec: Codec::H264,
            width,
            height,
            source: Source::Live,
        }
    }
}

impl Current {
    fn open(shared: &Arc<Shared>, head: SegmentHead) -> Self {
        shared.segments.fetch_add(1, Relaxed);
        lock(&shared.inside.0).segments += 1;
        Self { shared: shared.clone(), write: Some(shared.sink.open(head)), refused: false }
    }

    fn write(&mut self, bytes: Bytes) {
        let Some(write) = &mut self.write else { return };
        if write.write(bytes).is_err() && !self.refused {
            self.refused = true;
            self.shared.cut_now.store(true, Relaxed);
        }
    }

    fn close(mut self) {
        if let Some(write) = self.write.take() {
            write.close();
            self.shared.ended();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashMap, process::Command};

    type Kept = Arc<Mutex<HashMap<usize, (SegmentHead, Vec<u8>, bool)>>>;

    /// Keeps each segment's bytes in memory; refuses those of segments called so.
    #[derive(Debug, Default)]
    struct Shelf(Kept, Vec<usize>);

    struct Item(Kept, usize, bool);

    impl SegmentSink for Shelf {
        fn open(&self, head: SegmentHead) -> Box<dyn SegmentWrite> {
            let mut shelf = lock(&self.0);
            let n = shelf.len();
            shelf.insert(n, (head, Vec::new(), false));
            Box::new(Item(self.0.clone(), n, self.1.contains(&n)))
        }
    }

    impl SegmentWrite for Item {
        fn write(&mut self, bytes: Bytes) -> Result<(), crate::model::segment::SinkRefused> {
            if self.2 {
                return Err(crate::model::segment::SinkRefused);
            }
            lock(&self.0).get_mut(&self.1).unwrap().1.extend_from_slice(&bytes);
            Ok(())
        }

        fn close(self: Box<Self>) {
            lock(&self.0).get_mut(&self.1).unwrap().2 = true;
        }
    }

    fn ffprobe(file: &std::path::Path) -> serde_json::Value {
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-of", "json", "-count_packets", "-show_streams", "-show_format"])
            .arg(file)
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn segments_begin_with_keyframes_lose_nothing_and_say_what_they_are() {
        gst::init().unwrap();
        let pipeline = gst::parse::launch(
            "videotestsrc num-buffers=500 is-live=false pattern=ball ! video/x-raw,width=320,height=240,framerate=50/1
             ! x264enc key-int-max=50 bframes=0 speed-preset=ultrafast ! h264parse name=units
             ! video/x-h264,stream-format=avc,alignment=au ! identity sync=false ! tee name=split
             split. ! splitmuxsink name=segments async-finalize=true muxer-factory=mp4mux
               muxer-properties=\"properties,fragment-duration=(uint)500,trak-timescale=(uint)90000\"",
        )
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
        let shelf = Shelf::default();
        let kept = shelf.0.clone();
        let settings = RecordSettings {
            camera: "front".parse().unwrap(),
            profile: Profile::Main,
            segment_seconds: Arc::new(AtomicU32::new(2)),
        };
        let recorder =
            Recorder::new(&pipeline, Purpose::RecordH264, settings, Arc::new(shelf), RtpTimes::default())
                .unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        let units = pipeline.by_name("units").unwrap().static_pad("src").unwrap();
        units.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
                ended.send(()).unwrap();
            }
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        end.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(recorder.finish(Instant::now() + Duration::from_secs(5)));
        pipeline.set_state(gst::State::Null).unwrap();

        let kept = lock(&kept);
        assert_eq!(kept.len(), 5);
        let dir = tempfile::tempdir().unwrap();
        let mut start = None;
        for n in 0..kept.len() {
            let (head, bytes, closed) = &kept[&n];
            assert!(closed);
            assert_eq!((head.width, head.height), (320, 240));
            if let Some(before) = start.replace(head.start) {
                assert_eq!(head.start.0 - before.0, 2_000_000);
            }
            let file = dir.path().join(format!("{n}.mp4"));
            std::fs::write(&file, bytes).unwrap();
            let probe = ffprobe(&file);
            assert_eq!(probe["streams"][0]["nb_read_packets"], "100");
            assert_eq!(probe["streams"][0]["codec_tag_string"], "avc1");
            assert_eq!(
                probe["format"]["tags"]["comment"],
                format!("watchkeeper camera=front profile=main source=live start_us={}", head.start.0)
            );
            let keys = Command::new("ffprobe")
                .args(["-v", "error", "-of", "csv=p=0", "-show_entries", "packet=flags"])
                .arg(&file)
                .output()
                .unwrap();
            let keys = String::from_utf8(keys.stdout).unwrap();
            let at: Vec<usize> = keys
                .lines()
                .enumerate()
                .filter(|(_, flags)| flags.starts_with('K'))
                .map(|(n, _)| n)
                .collect();
            assert_eq!(at, [0, 50]);
        }
    }

    const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

    /// Access units of a small picture, the first of them a keyframe, and their caps.
    fn encoded(width: u32, frames: u32) -> (gst::Caps, Vec<gst::Buffer>) {
        gst::init().unwrap();
        let text = format!(
            "videotestsrc num-buffers={frames} ! video/x-raw,width={width},height=120,framerate=25/1
             ! x264enc key-int-max={frames} bframes=0 speed-preset=ultrafast ! h264parse
             ! video/x-h264,stream-format=avc,alignment=au ! appsink name=out sync=false"
        );
        let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let samples: Vec<gst::Sample> = std::iter::from_fn(|| out.pull_sample().ok()).collect();
        pipeline.set_state(gst::State::Null).unwrap();
        let units: Vec<gst::Buffer> = samples.iter().map(|sample| sample.buffer_owned().unwrap()).collect();
        assert_eq!(units.len(), frames as usize);
        (samples[0].caps_owned().unwrap(), units)
    }

    /// A recorder fed by hand, and what it kept.
    struct Bench {
        pipeline: gst::Pipeline,
        input: gstreamer_app::AppSrc,
        recorder: Recorder,
        kept: Kept,
        pushed: u64,
        /// Frames that are inside the record branch.
        entered: Arc<AtomicU64>,
    }

    impl Bench {
        fn new(segment_seconds: u32) -> Self {
            Self::on(Shelf::default(), segment_seconds)
        }

        fn on(shelf: Shelf, segment_seconds: u32) -> Self {
            gst::init().unwrap();
            let pipeline = gst::parse::launch(
                "appsrc name=in format=time ! tee name=split
                 split. ! splitmuxsink name=segments async-finalize=true muxer-factory=mp4mux
                   muxer-properties=\"properties,fragment-duration=(uint)500,trak-timescale=(uint)90000\"",
            )
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
            let input = pipeline.by_name("in").unwrap().downcast::<gstreamer_app::AppSrc>().unwrap();
            let kept = shelf.0.clone();
            let settings = RecordSettings {
                camera: "front".parse().unwrap(),
                profile: Profile::Main,
                segment_seconds: Arc::new(AtomicU32::new(segment_seconds)),
            };
            let recorder =
                Recorder::new(&pipeline, Purpose::RecordH264, settings, Arc::new(shelf), RtpTimes::default())
                    .unwrap();
            let entered = Arc::new(AtomicU64::new(0));
            let count = entered.clone();
            recorder.entry.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                count.fetch_add(1, Relaxed);
                gst::PadProbeReturn::Ok
            });
            pipeline.set_state(gst::State::Playing).unwrap();
            Self { pipeline, input, recorder, kept, pushed: 0, entered }
        }

        fn push(&mut self, unit: &gst::Buffer) {
            let at = FRAME * self.pushed;
            self.push_at(unit, Some(at));
        }

        fn push_at(&mut self, unit: &gst::Buffer, at: Option<gst::ClockTime>) {
            let mut unit = unit.copy();
            unit.make_mut().set_pts(at);
            unit.make_mut().set_dts(at);
            self.pushed += 1;
            self.input.push_buffer(unit).unwrap();
        }

        fn push_all(&mut self, (caps, units): &(gst::Caps, Vec<gst::Buffer>)) {
            self.input.set_caps(Some(caps));
            units.iter().for_each(|unit| self.push(unit));
        }

        /// Waits until everything pushed has gone into the record branch.
        fn taken(&self) {
            let deadline = Instant::now() + Duration::from_secs(20);
            while self.entered.load(Relaxed) < self.pushed {
                assert!(Instant::now() < deadline, "the recorder takes no more");
                std::thread::yield_now();
            }
        }

        /// Stops it; the frames of each segment.
        fn end(&self) -> Vec<u32> {
            assert!(self.recorder.finish(Instant::now() + Duration::from_secs(20)));
            self.pipeline.set_state(gst::State::Null).unwrap();
            let kept = lock(&self.kept);
            (0..kept.len()).map(|n| frames(&kept[&n].1)).collect()
        }
    }

    /// Counts the samples of all fragments of a file.
    fn frames(file: &[u8]) -> u32 {
        let counts = file.windows(12).filter(|bytes| bytes.starts_with(b"trun"));
        counts.map(|bytes| u32::from_be_bytes(bytes[8..].try_into().unwrap())).sum()
    }

    static COMPLAINTS: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn many_changes_of_the_picture_are_a_segment_each() {
        let pictures = [encoded(160, 5), encoded(176, 5)];
        let mut bench = Bench::new(3600);
        glib::log_set_default_handler(|domain, level, text| {
            glib::log_default_handler(domain, level, Some(text));
            COMPLAINTS.fetch_add(u64::from(text.contains("gst_value_compare")), Relaxed);
        });
        for n in 0..200 {
            bench.push_all(&pictures[n % 2]);
        }
        bench.taken();
        assert_eq!(bench.end(), vec![5; 200]);
        assert_eq!(COMPLAINTS.load(Relaxed), 0, "freed memory was read");
        let dir = tempfile::tempdir().unwrap();
        for n in (0..200).step_by(25) {
            let file = dir.path().join(format!("{n}.mp4"));
            std::fs::write(&file, &lock(&bench.kept)[&n].1).unwrap();
            let probe = ffprobe(&file);
            assert_eq!(probe["streams"][0]["nb_read_packets"], "5");
            assert_eq!(probe["streams"][0]["width"], [160, 176][n % 2]);
        }
    }

    #[test]
    fn parameters_that_change_before_the_first_keyframe_cut_nothing() {
        let (small, large) = (encoded(160, 5), encoded(176, 5));
        let mut bench = Bench::new(3600);
        bench.push_all(&(small.0.clone(), small.1[1..].to_vec()));
        bench.push_all(&(large.0.clone(), large.1[1..].to_vec()));
        bench.pushed = 0;
        for _ in 0..3 {
            bench.push_all(&small);
        }
        bench.taken();
        assert_eq!(bench.end(), [15]);
        assert_eq!(bench.recorder.recorded().dropped_frames, 0);
    }

    #[test]
    fn a_stop_at_a_cut_keeps_the_last_frame() {
        let picture = encoded(160, 5);
        for _ in 0..50 {
            let mut bench = Bench::new(0);
            bench.push_all(&picture);
            bench.push(&picture.1[0]);
            bench.taken();
            assert_eq!(bench.end(), [5, 1]);
        }
    }

    #[test]
    fn frames_without_a_time_are_kept() {
        let picture = encoded(160, 5);
        let mut bench = Bench::new(3600);
        bench.push_all(&picture);
        picture.1.iter().for_each(|unit| bench.push_at(unit, None));
        bench.push_all(&picture);
        bench.taken();
        assert_eq!(bench.end(), [15]);
    }

    #[test]
    fn a_refused_segment_is_followed_by_one_that_is_kept() {
        // With 50 frames a second fragment is made, and refused, before the second keyframe; that is due anyway.
        let picture = encoded(160, 50);
        for (segment_seconds, expected) in [(3600, vec![0, 0, 100]), (2, vec![0, 0, 50, 50])] {
            let mut bench = Bench::on(Shelf(Kept::default(), vec![0, 1]), segment_seconds);
            for n in 1..5 {
                bench.push_all(&picture);
                bench.taken();
                // The keyframe that follows comes after the refusal.
                let deadline = Instant::now() + Duration::from_secs(20);
                while n < 3 && !bench.recorder.shared.cut_now.load(Relaxed) {
                    assert!(Instant::now() < deadline, "segment {n} is not refused");
                    std::thread::yield_now();
                }
            }
            assert_eq!(bench.end(), expected);
        }
    }
}
