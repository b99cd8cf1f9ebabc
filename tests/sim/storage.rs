//! A camera's own storage: it keeps every frame that it captured, also while nobody was connected or the link was cut.
//!
//! [`Card`] says what it still holds and how it behaves when it is asked; [`super::onvif`] and [`super::replay`] are the
//! doors to it. Nothing is stored: [`Feed::past`] makes each frame again from its number, with the same stamp inside.
//! Like a real camera it holds whole groups of pictures only. What it says of absolute time is said in its own clock,
//! which may be wrong; the capture times in frames, and those that a test gives, are true.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use tokio::sync::watch;

use super::camera::Login;
use super::feed::Feed;

const US_PER_S: i64 = 1_000_000;
/// From 1900, where NTP begins, to 1970.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;

/// What a camera with storage holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Storage {
    /// All that it captured.
    Everything,
    /// Only these frames, by number, as far as they are whole groups of pictures.
    Only(Vec<Range<u64>>),
    /// Nothing.
    Nothing,
}

/// How it answers SOAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Soap {
    /// Well.
    #[default]
    Well,
    /// This HTTP status, without a body.
    Status(u16),
    /// The fault `ter:ActionNotSupported` to everything.
    Fault,
    /// A well-formed answer of 100 MB.
    Huge,
    /// An answer whose entities would grow to gigabytes.
    Bombs,
    /// Reads and never answers.
    Never,
}

/// How its replay server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Rtsp {
    /// Well.
    #[default]
    Well,
    /// This status to DESCRIBE.
    Status(u16),
    /// Reads and never answers.
    Never,
}

/// What it sends when a range is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sends {
    /// That range, from the keyframe at or before its start.
    #[default]
    Asked,
    /// That range, under times which are so much earlier (later, if negative): as seen from outside, other footage.
    Earlier {
        /// Seconds.
        seconds: i64,
    },
    /// Live video, under the times of now, without end.
    Now,
    /// That range and on from there without end.
    Endless,
    /// That range, with each second group of pictures before the one that it follows.
    Disordered,
    /// That range, with each group of pictures but the first and last twice: 0 1 0 1 2 1 2 3 2 …
    Overlapping,
}

/// How many RTSP sessions it bears, live and replay together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sessions {
    /// Any number.
    #[default]
    Any,
    /// One: a second gets 453 to SETUP.
    One,
    /// One: for a second the first is closed.
    Newest,
}

/// Where the replay header extension stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Headers {
    /// On every packet.
    #[default]
    EveryPacket,
    /// Only where it must: on the first packet of each frame, and on the last where a flag belongs there.
    FirstPacket,
}

/// When a vendor's stream tells the time of its frames in a sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tells {
    /// After the first frame, and each second.
    #[default]
    After,
    /// Before the first frame, and each second. GStreamer does not hear a report before it has seen a frame.
    Before,
    /// Never.
    Never,
}

/// What a vendor's stream does after its last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ends {
    /// RTCP BYE.
    #[default]
    Bye,
    /// Nothing.
    Silent,
    /// Closes the connection.
    Closes,
}

/// How a camera with storage behaves. The default is as one would wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Modes {
    /// SOAP answers.
    pub soap: Soap,
    /// RTSP answers.
    pub rtsp: Rtsp,
    /// What comes.
    pub sends: Sends,
    /// Never faster than real time, whatever `Rate-Control` says.
    pub real_time_only: bool,
    /// Resets the connection after so many frames.
    pub dies_after: Option<u64>,
    /// How many at once.
    pub sessions: Sessions,
    /// Replay header extension.
    pub headers: Headers,
    /// A vendor's URL is played as fast as TCP takes it, instead of in real time.
    pub vendor_is_fast: bool,
    /// Sender reports of a vendor's URL.
    pub vendor_tells: Tells,
    /// End of a vendor's URL.
    pub vendor_ends: Ends,
    /// Where it holds nothing of a range, PLAY is answered well and nothing comes, instead of 457.
    pub empty_is_silent: bool,
    /// The port that `GetReplayUri` names instead of the true one: that of a [`super::link::Link`].
    pub replay_port_said: Option<u16>,
}

/// A range that somebody asked for. Times are microseconds since 1970 in the camera's clock, as they were asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Address of the PLAY request's session: that of DESCRIBE.
    pub url: String,
    /// Start.
    pub from_us: u64,
    /// End, if there was one.
    pub to_us: Option<u64>,
    /// Whether real time was declined with `Rate-Control: no`.
    pub fast: bool,
    /// Whether `Require: onvif-replay` was there.
    pub required: bool,
}

/// Ends the live sessions of a camera.
pub(crate) type CloseLive = Box<dyn Fn() + Send + Sync>;

struct State {
    kept: Storage,
    /// Frames that are gone, by number.
    forgotten: Vec<Range<u64>>,
    modes: Modes,
    asked: Vec<Asked>,
    operations: Vec<String>,
    sessions: HashSet<u64>,
    max_sessions: usize,
    sessions_begun: u64,
}

/// The storage of a running camera.
pub(crate) struct Card {
    /// What is recorded: the main stream.
    pub(super) feed: Arc<Feed>,
    /// All streams that can be seen live.
    live: Vec<Arc<Feed>>,
    close_live: CloseLive,
    login: Arc<Mutex<Option<Login>>>,
    /// How far its clock is off.
    clock_off_s: AtomicI64,
    state: Mutex<State>,
    /// The replay session that is the only one allowed; 0 while all are.
    reign: watch::Sender<u64>,
    soap_bytes: AtomicU64,
}

impl Card {
    /// A card for what `live[0]` captures.
    pub(super) fn new(
        kept: Storage,
        live: Vec<Arc<Feed>>,
        login: Arc<Mutex<Option<Login>>>,
        close_live: CloseLive,
    ) -> Card {
        Card {
            feed: live[0].clone(),
            live,
            close_live,
            login,
            clock_off_s: AtomicI64::new(0),
            state: Mutex::new(State {
                kept,
                forgotten: Vec::new(),
                modes: Modes::default(),
                asked: Vec::new(),
                operations: Vec::new(),
                sessions: HashSet::new(),
                max_sessions: 0,
                sessions_begun: 0,
            }),
            reign: watch::Sender::new(0),
            soap_bytes: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it holds from now on, of the past and of what comes. What was forgotten stays so.
    pub(crate) fn hold(&self, kept: Storage) {
        self.state().kept = kept;
    }

    /// Loses what was captured in a range of true times, microseconds since 1970 UTC, with the groups of pictures around.
    pub(crate) fn forget(&self, captured_us: Range<u64>) {
        let number =
            |us: u64| self.feed.number_at(us.saturating_sub(1)) + u64::from(us > self.feed.capture_us(0));
        self.forget_frames(number(captured_us.start)..number(captured_us.end));
    }

    /// Loses frames by their numbers, with the groups of pictures around.
    pub(crate) fn forget_frames(&self, numbers: Range<u64>) {
        self.state().forgotten.push(numbers);
    }

    /// Changes how it behaves, for requests and frames from now on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Modes)) {
        change(&mut self.state().modes);
    }

    /// How it behaves now.
    pub(crate) fn modes(&self) -> Modes {
        self.state().modes
    }

    /// Replay sessions now, from SETUP to TEARDOWN or the end of the connection.
    pub(crate) fn replay_sessions(&self) -> usize {
        self.state().sessions.len()
    }

    /// The most that ever were at once.
    pub(crate) fn max_replay_sessions(&self) -> usize {
        self.state().max_sessions
    }

    /// What was asked for with PLAY so far, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Names of the SOAP operations that were asked for so far, in order, refused ones included.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.state().operations.clone()
    }

    /// Bytes of SOAP answers' bodies that were taken from us so far.
    pub(crate) fn soap_bytes(&self) -> u64 {
        self.soap_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn count_soap_bytes(&self, bytes: usize) {
        self.soap_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn note_asked(&self, asked: Asked) {
        self.state().asked.push(asked);
    }

    pub(super) fn note_operation(&self, name: &str) {
        self.state().operations.push(name.to_owned());
    }

    pub(super) fn set_clock_off(&self, seconds: i64) {
        self.clock_off_s.store(seconds, Ordering::Relaxed);
    }

    /// The credentials it wants now.
    pub(super) fn login(&self) -> Option<Login> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A true time in the camera's clock.
    pub(crate) fn said_us(&self, true_us: u64) -> u64 {
        true_us.saturating_add_signed(self.clock_off_s.load(Ordering::Relaxed) * US_PER_S)
    }

    /// What the camera's clock says, as a true time.
    pub(crate) fn true_us(&self, said_us: u64) -> u64 {
        said_us.saturating_add_signed(-self.clock_off_s.load(Ordering::Relaxed) * US_PER_S)
    }

    /// The time of the camera's clock.
    pub(crate) fn clock_us(&self) -> u64 {
        self.said_us(self.feed.now_us())
    }

    /// True capture times of the first and the last frame that it holds.
    pub(super) fn held_us(&self) -> Option<(u64, u64)> {
        let parts = self.plan(0, u64::MAX);
        let (first, last) = (parts.first()?.start, parts.last()?.end - 1);
        Some((self.feed.capture_us(first), self.feed.capture_us(last)))
    }

    /// What it holds of a range of true times, as units in the order of sending: one range for each group of pictures,
    /// from that which is under way at `from_us` to the frame at `to_us` or before.
    pub(super) fn plan(&self, from_us: u64, to_us: u64) -> Vec<Range<u64>> {
        let feed = &self.feed;
        let present = feed.next_number();
        let (mut at, mut parts) = (feed.number_at(from_us), Vec::new());
        while at < present {
            let group = feed.group(at);
            if feed.capture_us(group.start) > to_us {
                break;
            }
            let mut end = group.end.min(present);
            // Before a unit up to which all that is shown earlier was sent, and nothing else.
            let cut = |sent: &u64| feed.is_settled(*sent) && feed.capture_us(*sent) > to_us;
            if feed.capture_us(end) > to_us {
                end = (group.start..end).find(cut).unwrap_or(end);
            }
            if self.holds(&group) {
                parts.push(group.start..end);
            }
            at = group.end;
        }
        parts
    }

    fn holds(&self, group: &Range<u64>) -> bool {
        let state = self.state();
        let kept = match &state.kept {
            Storage::Everything => true,
            Storage::Only(ranges) => ranges.iter().any(|r| r.start <= group.start && group.end <= r.end),
            Storage::Nothing => false,
        };
        kept && !state.forgotten.iter().any(|gone| gone.start < group.end && group.start < gone.end)
    }

    /// Whether a live session may be set up now; makes room for it if that is the camera's way.
    pub(super) fn admits_live(&self) -> bool {
        let (modes, replays) = (self.modes(), self.replay_sessions());
        match modes.sessions {
            Sessions::Any => true,
            Sessions::One => replays == 0 && self.live_sessions() == 0,
            Sessions::Newest => {
                self.reign.send_replace(u64::MAX);
                true
            }
        }
    }

    /// Begins a replay session; `None` if there may be none.
    pub(super) fn begin_session(self: &Arc<Card>) -> Option<Session> {
        let sessions = self.modes().sessions;
        if sessions == Sessions::One && self.replay_sessions() + self.live_sessions() > 0 {
            return None;
        }
        let id = {
            let mut state = self.state();
            state.sessions_begun += 1;
            let id = state.sessions_begun;
            state.sessions.insert(id);
            state.max_sessions = state.max_sessions.max(state.sessions.len());
            id
        };
        self.reign.send_replace(if sessions == Sessions::Newest { id } else { 0 });
        if sessions == Sessions::Newest && self.live_sessions() > 0 {
            (self.close_live)();
        }
        Some(Session { card: self.clone(), id, reign: self.reign.subscribe() })
    }

    fn live_sessions(&self) -> usize {
        self.live.iter().map(|feed| feed.sessions()).sum()
    }
}

/// A replay session, as long as it lives.
pub(super) struct Session {
    card: Arc<Card>,
    /// Counts from 1.
    pub(super) id: u64,
    reign: watch::Receiver<u64>,
}

impl Session {
    /// Returns when the camera ends this session for the sake of another.
    pub(super) async fn ousted(&mut self) {
        let id = self.id;
        if self.reign.wait_for(|reign| *reign != 0 && *reign != id).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.card.state().sessions.remove(&self.id);
    }
}

/// A time as a number of NTP: seconds since 1900 and their fraction, 32 bits each.
pub(super) fn ntp(us: u64) -> u64 {
    let (seconds, us) = (us.cast_signed().div_euclid(US_PER_S), us % US_PER_S.cast_unsigned());
    // Up, so that cutting off digits gives the same microsecond again.
    ((seconds + NTP_TO_UNIX_S).cast_unsigned() << 32) | (us << 32).div_ceil(US_PER_S.cast_unsigned())
}

/// `20260102T030405.678Z`, also without fraction; microseconds since 1970.
pub(super) fn parse_clock(text: &str) -> Option<u64> {
    let text = text.trim().strip_suffix(['Z', 'z'])?;
    let time = NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S%.f").ok()?;
    u64::try_from(time.and_utc().timestamp_micros()).ok()
}

/// The opposite.
pub(super) fn clock_text(us: u64) -> String {
    time(us).format("%Y%m%dT%H%M%S%.6fZ").to_string()
}

/// `2026-01-02T03:04:05.678Z`.
pub(super) fn xml_time(us: u64) -> String {
    time(us).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A time as chrono has it.
pub(super) fn time(us: u64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us.cast_signed()).unwrap_or_default()
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How long a frame of `feed` lasts.
pub(super) fn frame_time(feed: &Feed) -> Duration {
    Duration::from_secs(1) / u32::try_from(feed.fps()).unwrap_or(1)
}
