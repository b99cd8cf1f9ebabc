//! One stream of a camera: which frame is due when, and to whom it goes.
//!
//! The frame number never waits for anybody: it goes on while nobody is connected, while the camera is frozen and
//! while its server is gone, as time does. [`super::camera`] calls [`Feed::send_next`] when [`Feed::due`] has come.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::footage::Footage;
use super::stamp::Stamp;

const NS_PER_S: u64 = 1_000_000_000;
/// A client that does not read makes its camera hold so much; frames after that are lost to it, and not noted.
const HELD_AT_MOST_BYTES: u64 = 64 << 20;
/// RTP time of H.264 counts in 90 kHz.
const RTP_TICKS_PER_MS: i64 = 90;

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

/// A session: address of the server's client object, session id.
type Viewer = (usize, String);

/// One stream; each client has a media of its own, and all show the same frames.
pub(crate) struct Feed {
    name: String,
    epoch: Epoch,
    fps: u64,
    journal: Journal,
    rtp_offset: Arc<AtomicU32>,
    state: Mutex<State>,
}

struct State {
    footage: Arc<Footage>,
    next_footage: Option<Arc<Footage>>,
    number: u64,
    frozen: bool,
    outlets: Vec<Outlet>,
    sent: Vec<Sent>,
    viewers: HashSet<Viewer>,
    max_viewers: usize,
}

/// A media of the server that wants our frames.
struct Outlet {
    source: glib::WeakRef<AppSrc>,
    /// Number and running time of the first frame it got.
    first: Option<(u64, gst::ClockTime)>,
    /// What its caps say.
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
            rtp_offset: Arc::default(),
            state: Mutex::new(State {
                footage,
                next_footage: None,
                number: 0,
                frozen: false,
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

    /// When the next frame is to be sent.
    pub(crate) fn due(&self) -> Instant {
        self.epoch.start + self.since_start(self.state().number)
    }

    fn since_start(&self, number: u64) -> Duration {
        Duration::from_nanos(number * NS_PER_S / self.fps)
    }

    /// Sends the next frame to all who are connected, and notes it if there was one.
    pub(crate) fn send_next(&self) {
        let mut state = self.state();
        let number = state.number;
        state.number += 1;
        if let Some(footage) = state.next_footage.take_if(|footage| footage.unit(number).key) {
            state.footage = footage;
        }
        if state.frozen || state.outlets.is_empty() {
            return;
        }
        let since_start_us = u64::try_from(self.since_start(number).as_micros()).expect("not that long");
        let capture_us = self.epoch.start_us + since_start_us;
        let footage = state.footage.clone();
        let buffer = stamped(&footage, Stamp { number, capture_us });
        state.outlets.retain(|outlet| outlet.source.upgrade().is_some());
        let mut taken = false;
        for outlet in &mut state.outlets {
            taken |= outlet.push(&footage, number, buffer.clone());
        }
        if taken {
            let sessions = state.viewers.len();
            self.note(&mut state, Sent { number, capture_us, sessions });
        }
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
    pub(crate) fn add_outlet(&self, source: &AppSrc, payloader: &gst::Element) {
        source.set_format(gst::Format::Time);
        source.set_is_live(true);
        source.set_max_bytes(HELD_AT_MOST_BYTES);
        // Unlimited: else the sinks complain about a live source that cannot wait for them.
        source.set_latency(gst::ClockTime::ZERO, gst::ClockTime::NONE);
        if let Some(pad) = payloader.static_pad("src") {
            let offset = self.rtp_offset.clone();
            pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
                shift_rtp_time(info, offset.load(Ordering::Relaxed));
                gst::PadProbeReturn::Ok
            });
        }
        self.state().outlets.push(Outlet { source: source.downgrade(), first: None, shown: None });
    }

    /// Fails every media that still waits for its first frame: that is an error to the client who asked for it.
    pub(crate) fn fail_waiting(&self) {
        let state = self.state();
        for source in state.outlets.iter().filter(|o| o.first.is_none()).filter_map(|o| o.source.upgrade()) {
            gst::element_error!(source, gst::CoreError::Failed, ("the camera was switched off"));
        }
    }

    /// Sends nothing until `false` is given; the numbers go on.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.state().frozen = frozen;
    }

    /// Shows other footage from its next keyframe on. It must have the same frame rate.
    pub(crate) fn set_footage(&self, footage: Arc<Footage>) {
        assert_eq!(
            u64::from(footage.encoding.fps),
            self.fps,
            "frame numbers are times: the rate cannot change"
        );
        self.state().next_footage = Some(footage);
    }

    /// Moves RTP time for all frames from now on.
    pub(crate) fn jump_timestamps(&self, by_ms: i64) {
        // RTP time has 32 bits and wraps, so cutting off the rest is the arithmetic that is wanted.
        let ticks = by_ms.wrapping_mul(RTP_TICKS_PER_MS) as u32;
        self.rtp_offset.fetch_add(ticks, Ordering::Relaxed);
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

    /// The number of the next frame.
    pub(crate) fn next_number(&self) -> u64 {
        self.state().number
    }

    /// All that was sent so far, if the journal is in memory.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }
}

impl Outlet {
    /// False if this media does not take frames: not running yet, or not any more.
    fn push(&mut self, footage: &Arc<Footage>, number: u64, mut buffer: gst::Buffer) -> bool {
        let Some(source) = self.source.upgrade() else { return false };
        let Some(now) = source.current_running_time() else { return false };
        if source.current_level_bytes() > HELD_AT_MOST_BYTES {
            return false;
        }
        let (first, first_time) = *self.first.get_or_insert((number, now));
        let frame = gst::ClockTime::SECOND / u64::from(footage.encoding.fps);
        let late = (number - first) * NS_PER_S / u64::from(footage.encoding.fps);
        if !self.shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, footage)) {
            source.set_caps(Some(&footage.caps));
            self.shown = Some(footage.clone());
        }
        let writable = buffer.make_mut();
        writable.set_pts(first_time + gst::ClockTime::from_nseconds(late));
        writable.set_duration(frame);
        source.push_buffer(buffer).is_ok()
    }
}

/// The picture of a frame with its stamp before the first slice. The footage itself is referred to, not copied.
fn stamped(footage: &Footage, stamp: Stamp) -> gst::Buffer {
    let unit = footage.unit(stamp.number);
    let mut buffer = gst::Buffer::new();
    let writable = buffer.make_mut();
    if let Some(head) = &unit.head {
        writable.append_memory(head.clone());
    }
    writable.append_memory(gst::Memory::from_slice(super::footage::with_length(&stamp.to_nal())));
    writable.append_memory(unit.body.clone());
    if !unit.key {
        writable.set_flags(gst::BufferFlags::DELTA_UNIT);
    }
    buffer
}

/// Adds to the RTP time of all packets in `info`. All packets of a frame come in one list, so none is torn.
fn shift_rtp_time(info: &mut gst::PadProbeInfo<'_>, ticks: u32) {
    if ticks == 0 {
        return;
    }
    match info.data.as_mut() {
        Some(gst::PadProbeData::Buffer(packet)) => shift_packet(packet.make_mut(), ticks),
        Some(gst::PadProbeData::BufferList(packets)) => {
            packets.make_mut().foreach_mut(|mut packet, _| {
                shift_packet(packet.make_mut(), ticks);
                std::ops::ControlFlow::Continue(Some(packet))
            });
        }
        _ => (),
    }
}

fn shift_packet(packet: &mut gst::BufferRef, ticks: u32) {
    // The payloader puts the RTP header into a memory of its own; the time stands in its bytes 4 to 7.
    let Ok(header) = packet.peek_memory_mut(0) else { return };
    let Ok(mut bytes) = header.map_writable() else { return };
    if let Some(time) = bytes.get_mut(4..8).and_then(|bytes| <&mut [u8; 4]>::try_from(bytes).ok()) {
        *time = u32::from_be_bytes(*time).wrapping_add(ticks).to_be_bytes();
    }
}
