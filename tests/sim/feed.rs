//! One stream of a camera: which frame is due when, and to whom it goes.
//!
//! The frame number never waits for anybody: it goes on while nobody is connected, while the camera is frozen and
//! while its server is gone, as time does. [`super::camera`] calls [`Feed::send_next`] when [`Feed::due`] has come.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::footage::Footage;
use super::harm::Harm;
use super::nal::with_length;
use super::stamp::Stamp;

pub(crate) const NS_PER_S: u64 = 1_000_000_000;
/// A client that does not read makes its camera hold so much; frames after that are lost to it, and not noted.
const HELD_AT_MOST_BYTES: u64 = 64 << 20;
/// RTP time of video counts in 90 kHz.
pub(crate) const VIDEO_TICKS_PER_S: u32 = 90_000;

/// A frame that was handed to at least one media, so that somebody was connected or connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Frame number.
    pub number: u64,
    /// Capture time, microseconds since 1970 UTC.
    pub capture_us: u64,
    /// Sessions that were playing this stream then. 0 while the only client is still between DESCRIBE and PLAY: it
    /// gets such frames nevertheless, when it plays.
    pub sessions: usize,
}

/// Where a camera notes what it sent.
#[derive(Debug, Clone, Default)]
pub(crate) enum Journal {
    /// For `sent()`; grows by 24 bytes a frame.
    #[default]
    Memory,
    /// A line `camera number capture_us` per frame of the main stream (`camera/sub` for the other).
    File(Arc<Mutex<File>>),
    /// Nowhere.
    Off,
}

/// When frames were captured: an origin on both clocks, so that a step of the wall clock changes no pace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    /// Capture of frame 0.
    pub start: Instant,
    /// The same in microseconds since 1970 UTC.
    pub start_us: u64,
}

impl Epoch {
    /// A capture time in microseconds since 1970 UTC.
    pub(crate) fn capture_us(&self, since_start: Duration) -> u64 {
        self.start_us + u64::try_from(since_start.as_micros()).expect("not that long")
    }
}

/// What the streams of one media have in common: where in its running time frame 0 was captured, in nanoseconds. It may
/// lie before the beginning. All PTS, and with them RTP times and sender reports, are capture times counted from there, so
/// the streams of a media agree as exactly as their clocks can say.
#[derive(Debug, Default)]
pub(crate) struct Origin(OnceLock<i64>);

impl Origin {
    /// The PTS of what was captured then. `None` while the media does not run, or if that was before it ran.
    pub(crate) fn pts(
        &self,
        source: &AppSrc,
        epoch: &Epoch,
        since_start: Duration,
    ) -> Option<gst::ClockTime> {
        // A pipeline that begins to run gives its elements the clock first and their base time after it. Whoever asks
        // in between hears of a running time that began with the machine, and what is stamped with it is due in hours.
        source.base_time().filter(|base| !base.is_zero())?;
        let now = source.current_running_time()?;
        let ns = |time: Duration| i64::try_from(time.as_nanos()).expect("not that long");
        let origin = *self.0.get_or_init(|| now.nseconds() as i64 - ns(epoch.start.elapsed()));
        u64::try_from(origin + ns(since_start)).ok().map(gst::ClockTime::from_nseconds)
    }
}

/// Something that has to be sent when its time has come.
pub(crate) trait Paced: Send + Sync {
    /// When the next is due.
    fn due(&self) -> Instant;
    /// Sends it.
    fn send_next(&self);
}

/// A session: address of the server's client object, session id.
type Viewer = (usize, String);

/// One stream; each client has a media of its own, and all show the same frames.
pub(crate) struct Feed {
    name: String,
    epoch: Epoch,
    fps: u64,
    journal: Journal,
    /// What is wrong with it.
    pub(crate) harm: Arc<Harm>,
    state: Mutex<State>,
}

struct State {
    footage: Arc<Footage>,
    next_footage: Option<Arc<Footage>>,
    /// All footage so far, each with the unit from which on it was shown: the past can be made again from it.
    shown: Vec<(u64, Arc<Footage>)>,
    /// The next unit, in the order of sending.
    next: u64,
    frozen: bool,
    /// Bytes of filler to send with the next frame.
    filler: usize,
    outlets: Vec<Outlet>,
    sent: Vec<Sent>,
    viewers: HashSet<Viewer>,
    max_viewers: usize,
}

/// A frame of the past, as it was or would have been sent.
pub(crate) struct Past {
    /// Number and capture time, which are also inside.
    pub stamp: Stamp,
    /// Whether it can be decoded without any other.
    pub key: bool,
    /// NAL units behind their lengths in four bytes.
    pub buffer: gst::Buffer,
}

impl State {
    /// What was shown at a unit, and the unit at which that ended, if it did.
    fn shown_at(&self, sent: u64) -> (u64, &Arc<Footage>, Option<u64>) {
        let after = self.shown.partition_point(|(from, _)| *from <= sent).max(1);
        let (from, footage) = &self.shown[after - 1];
        (*from, footage, self.shown.get(after).map(|(from, _)| *from))
    }
}

/// A media of the server that wants our frames.
struct Outlet {
    source: glib::WeakRef<AppSrc>,
    origin: Arc<Origin>,
    /// What its caps say; none before its first frame.
    shown: Option<Arc<Footage>>,
}

impl Feed {
    /// A stream at frame 0, captured at `epoch`. `name` is what the journal calls it.
    pub(crate) fn new(name: String, epoch: Epoch, footage: Arc<Footage>, journal: Journal) -> Feed {
        Feed {
            name,
            epoch,
            fps: u64::from(footage.encoding.fps),
            journal,
            harm: Arc::default(),
            state: Mutex::new(State {
                shown: vec![(0, footage.clone())],
                footage,
                next_footage: None,
                next: 0,
                frozen: false,
                filler: 0,
                outlets: Vec::new(),
                sent: Vec::new(),
                viewers: HashSet::new(),
                max_viewers: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_start(&self, frames: u64) -> Duration {
        Duration::from_nanos(frames * NS_PER_S / self.fps)
    }

    fn note(&self, state: &mut State, sent: Sent) {
        match &self.journal {
            Journal::Memory => state.sent.push(sent),
            Journal::File(file) => {
                let line = format!("{} {} {}\n", self.name, sent.number, sent.capture_us);
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all(line.as_bytes()).expect("a proof is worth nothing with holes in the journal");
            }
            Journal::Off => (),
        }
    }

    /// Connects a media that was just built: its source gets our frames from now on.
    pub(crate) fn add_outlet(&self, source: &AppSrc, payloader: &gst::Element, origin: Arc<Origin>) {
        prepare(source);
        let mut state = self.state();
        self.harm.attach(payloader, Some(state.footage.encoding.codec));
        state.outlets.push(Outlet { source: source.downgrade(), origin, shown: None });
    }

    /// Fails every media that still waits for its first frame: that is an error to the client who asked for it.
    pub(crate) fn fail_waiting(&self) {
        let state = self.state();
        for source in state.outlets.iter().filter(|o| o.shown.is_none()).filter_map(|o| o.source.upgrade()) {
            gst::element_error!(source, gst::CoreError::Failed, ("the camera was switched off"));
        }
    }

    /// Sends nothing until `false` is given; the numbers go on.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.state().frozen = frozen;
    }

    /// Appends so many bytes that say nothing to the next frame.
    pub(crate) fn fill_next(&self, bytes: usize) {
        self.state().filler = bytes;
    }

    /// Shows other footage from its next keyframe on. It must have the same frame rate and codec.
    pub(crate) fn set_footage(&self, footage: Arc<Footage>) {
        assert_eq!(
            u64::from(footage.encoding.fps),
            self.fps,
            "frame numbers are times: the rate cannot change"
        );
        self.state().next_footage = Some(footage);
    }

    /// A session began to play.
    pub(crate) fn viewer_came(&self, client: usize, session: String) {
        let mut state = self.state();
        state.viewers.insert((client, session));
        state.max_viewers = state.max_viewers.max(state.viewers.len());
    }

    /// Sessions of a client ended: one of them, or all.
    pub(crate) fn viewer_went(&self, client: usize, session: Option<&str>) {
        let mut state = self.state();
        state.viewers.retain(|(c, s)| *c != client || session.is_some_and(|session| session != s));
    }

    /// Sessions playing now.
    pub(crate) fn sessions(&self) -> usize {
        self.state().viewers.len()
    }

    /// The most that ever played at once.
    pub(crate) fn max_sessions(&self) -> usize {
        self.state().max_viewers
    }

    /// How many frames were due so far; without B-frames that is the number of the next one.
    pub(crate) fn next_number(&self) -> u64 {
        self.state().next
    }

    /// A unit of the past by its place in the order of sending; `None` if it was not captured yet.
    pub(crate) fn past(&self, sent: u64) -> Option<Past> {
        let state = self.state();
        let footage = (sent < state.next).then(|| state.shown_at(sent).1.clone())?;
        drop(state);
        let (unit, number) = footage.unit(sent);
        let stamp = Stamp { number, capture_us: self.capture_us(number) };
        Some(Past { stamp, key: unit.key, buffer: stamped(&footage, sent, stamp) })
    }

    /// The group of pictures that a unit belongs to, also if it is not captured to its end yet.
    pub(crate) fn group(&self, sent: u64) -> Range<u64> {
        let state = self.state();
        let (from, footage, until) = state.shown_at(sent);
        let frames = u64::from(footage.encoding.gop_frames);
        let start = sent - sent % frames;
        start.max(from)..until.map_or(start + frames, |until| until.min(start + frames))
    }

    /// Whether all frames up to this unit, and only those, are shown before it is: a cut before it loses nothing.
    pub(crate) fn is_settled(&self, sent: u64) -> bool {
        self.state().shown_at(sent).1.unit(sent).0.settled
    }

    /// What is shown now.
    pub(crate) fn footage(&self) -> Arc<Footage> {
        self.state().footage.clone()
    }

    /// Capture time of a frame, microseconds since 1970 UTC.
    pub(crate) fn capture_us(&self, number: u64) -> u64 {
        self.epoch.capture_us(self.since_start(number))
    }

    /// The last frame that was captured at this time or before, were the camera to run so long. 0 before all.
    pub(crate) fn number_at(&self, capture_us: u64) -> u64 {
        let since_us = capture_us.saturating_sub(self.epoch.start_us);
        // Capture times are cut to whole microseconds, so the frame after may lie in the same one.
        let about = since_us * self.fps / 1_000_000;
        if self.capture_us(about + 1) <= capture_us { about + 1 } else { about }
    }

    /// When a unit is sent, or was.
    pub(crate) fn due_at(&self, sent: u64) -> Instant {
        self.epoch.start + self.since_start(sent + self.state().footage.delay)
    }

    /// The time by the camera's own clock, were it right: microseconds since 1970 UTC.
    pub(crate) fn now_us(&self) -> u64 {
        self.epoch.capture_us(self.epoch.start.elapsed())
    }

    /// Frames per second.
    pub(crate) fn fps(&self) -> u64 {
        self.fps
    }

    /// All that was sent so far, if the journal is in memory.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }
}

impl Paced for Feed {
    fn due(&self) -> Instant {
        let state = self.state();
        self.epoch.start + self.since_start(state.next + state.footage.delay)
    }

    /// Sends the next frame to all who are connected, and notes it if there was one.
    fn send_next(&self) {
        let mut state = self.state();
        let sent = state.next;
        state.next += 1;
        // With B-frames a group of pictures that was begun has to be shown to its end.
        if state.footage.unit(sent).0.settled
            && let Some(footage) = state.next_footage.take_if(|footage| footage.unit(sent).0.key)
        {
            state.shown.push((sent, footage.clone()));
            state.footage = footage;
        }
        if state.frozen || state.outlets.is_empty() {
            return;
        }
        let footage = state.footage.clone();
        let (_, number) = footage.unit(sent);
        let since_start = self.since_start(number);
        let capture_us = self.epoch.capture_us(since_start);
        let mut buffer = stamped(&footage, sent, Stamp { number, capture_us });
        let filler = std::mem::take(&mut state.filler);
        if filler > 0 {
            let filler = with_length(&footage.encoding.codec.filler(filler));
            buffer.make_mut().append_memory(gst::Memory::from_slice(filler));
        }
        state.outlets.retain(|outlet| outlet.source.upgrade().is_some());
        let mut taken = false;
        for outlet in &mut state.outlets {
            taken |= outlet.push(&footage, &self.epoch, since_start, buffer.clone());
        }
        if taken {
            let sessions = state.viewers.len();
            self.note(&mut state, Sent { number, capture_us, sessions });
        }
    }
}

impl Outlet {
    /// False if this media does not take frames: not running yet, or not any more.
    fn push(
        &mut self,
        footage: &Arc<Footage>,
        epoch: &Epoch,
        since_start: Duration,
        mut buffer: gst::Buffer,
    ) -> bool {
        let Some(source) = self.source.upgrade() else { return false };
        let Some(pts) = self.origin.pts(&source, epoch, since_start) else { return false };
        if source.current_level_bytes() > HELD_AT_MOST_BYTES {
            return false;
        }
        if !self.shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, footage)) {
            source.set_caps(Some(&footage.caps));
            self.shown = Some(footage.clone());
        }
        let writable = buffer.make_mut();
        writable.set_pts(pts);
        writable.set_duration(gst::ClockTime::SECOND / u64::from(footage.encoding.fps));
        source.push_buffer(buffer).is_ok()
    }
}

/// Makes a source of a new media ready for live data with our times.
pub(crate) fn prepare(source: &AppSrc) {
    source.set_format(gst::Format::Time);
    source.set_is_live(true);
    source.set_max_bytes(HELD_AT_MOST_BYTES);
    // Unlimited: else the sinks complain about a live source that cannot wait for them.
    source.set_latency(gst::ClockTime::ZERO, gst::ClockTime::NONE);
}

/// The picture that is sent as number `sent`, with its stamp before the first slice. The footage itself is referred to,
/// not copied.
fn stamped(footage: &Footage, sent: u64, stamp: Stamp) -> gst::Buffer {
    let (unit, _) = footage.unit(sent);
    let mut buffer = gst::Buffer::new();
    let writable = buffer.make_mut();
    if let Some(head) = &unit.head {
        writable.append_memory(head.clone());
    }
    let stamp = with_length(&stamp.to_nal(footage.encoding.codec));
    writable.append_memory(gst::Memory::from_slice(stamp));
    writable.append_memory(unit.body.clone());
    if !unit.key {
        writable.set_flags(gst::BufferFlags::DELTA_UNIT);
    }
    buffer
}
