//! The control connection of one stream: describes it, sets its tracks up, plays it, keeps it alive (RFC 2326).
//!
//! ```text
//! Connecting ──► Dialogue: OPTIONS, DESCRIBE, (ports, SETUP) for each track, PLAY ──► Playing ──► Over
//!      ▲              │  closed with its 401; redirected; TCP in place of UDP            │
//!      └──────────────┴──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The driver owns sockets and clock. It calls a method for whatever happens, then takes outputs from [`Session::poll`] until there
//! are none, and calls [`Session::timeout`] at [`Session::next_timeout`].

mod control;
mod dialogue;
mod keep_alive;
mod log_in;
mod playing;
mod select;
#[cfg(test)]
mod tests;
mod transport;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::keep_alive::KeepAliveMethod;
use self::{control::Controls, keep_alive::KeepAlive, log_in::LogIn};
use super::{
    framing::{Framer, Piece},
    message::Message,
    track::{Delivery, Track, TrackOutput, TrackSetup},
};
use crate::{
    base::{Secret, mask},
    model::{
        address::StreamUrl,
        camera::Transport,
        segment::{AudioCodec, Codec},
        status::{StreamError, StreamErrorKind},
        timeline::Range,
        unit::{AccessUnit, AudioUnit, Damage},
    },
};

/// Silence after which a description is taken for complete although its announced length is not reached.
const BODY_QUIET: Duration = Duration::from_secs(1);
/// Bytes before the first message after which the other side is no RTSP server.
const STRAY_MAX: u64 = 4096;
/// Session timeout where the camera names none (RFC 2326, 12.37).
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// How soon after a keep-alive the connection has to end for the keep-alive to be the reason.
const FATAL_WITHIN: Duration = Duration::from_secs(2);
/// Longest text of a camera that is shown, in characters.
const QUOTE_MAX: usize = 100;

/// What a session is opened with.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// The stream.
    pub url: StreamUrl,
    /// Account on the camera.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Whether the password may go in clear (Basic) without TLS.
    pub allow_basic: bool,
    /// Whether MD5 is preferred to SHA-256, because the camera refused the latter.
    pub avoid_sha256: bool,
    /// What carries RTP. Through TLS it is always TCP.
    pub transport: Transport,
    /// Whether sound is received if there is any.
    pub audio: bool,
    /// The range of the camera's own recording that is wanted, on the camera's clock, in place of the live stream (ONVIF Streaming
    /// Specification, 6).
    pub replay: Option<Range>,
    /// Value of `User-Agent`.
    pub user_agent: String,
    /// Keep-alives on which the camera closed earlier sessions ([`SessionFacts::fatal_keep_alive`]).
    pub avoid_keep_alives: Vec<KeepAliveMethod>,
    /// How long each answer is waited for before the stream plays.
    pub answer_within: Duration,
}

/// What the driver has to do, or has got.
#[derive(Debug)]
pub enum Output {
    /// Connect, after closing the connection and the ports that are open. Answered by [`Session::connected`] or
    /// [`Session::connect_failed`].
    Connect {
        /// Host name or IP address.
        host: String,
        /// TCP port.
        port: u16,
        /// Whether through TLS.
        tls: bool,
    },
    /// Bind an even UDP port and the next one. Answered by [`Session::udp_ports`] or [`Session::connect_failed`].
    OpenPorts {
        /// Number of the track.
        track: usize,
    },
    /// Write these bytes to the connection.
    Send(Vec<u8>),
    /// Send a datagram to the host of the connection, from the track's RTP or RTCP port.
    SendDatagram {
        /// Number of the track.
        track: usize,
        /// Whether it goes between the RTCP ports.
        is_rtcp: bool,
        /// The camera's port.
        port: u16,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// The camera described the stream. Comes again if it described another one on a later connection.
    Described(Description),
    /// The camera agreed to play. Units may have come before.
    Playing,
    /// A picture.
    Video(AccessUnit),
    /// Sound.
    Audio(AudioUnit),
    /// The camera ended the stream. Nothing more follows.
    Ended,
    /// There is no stream. Nothing more follows.
    Failed(SessionError),
}

/// What the camera says of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Where the stream is, after a redirect.
    pub url: StreamUrl,
    /// Encoding of the pictures.
    pub codec: Codec,
    /// Encoding of the first audio stream that can be recorded.
    pub audio: Option<AudioCodec>,
    /// Encoding names of its audio streams in capitals, back channels left out.
    pub audio_offered: Vec<String>,
    /// Whether the camera asked for a password.
    pub log_in: bool,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// As the kind says.
    #[error("{}", .0.detail)]
    Stream(StreamError),
    /// The user name or the password is wrong. They were sent once.
    #[error("{}", .error.detail)]
    Refused {
        /// Of the kind [`StreamErrorKind::Unauthorised`].
        error: StreamError,
        /// Whether the camera may only have failed at SHA-256: another session with `avoid_sha256` tells.
        try_md5: bool,
    },
    /// What this receiver cannot do, and GStreamer's may, in one sentence.
    #[error("{0}")]
    Unsupported(String),
}

impl From<StreamError> for SessionError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl From<SessionError> for StreamError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Stream(error) | SessionError::Refused { error, .. } => error,
            SessionError::Unsupported(detail) => Self::new(StreamErrorKind::Protocol, detail),
        }
    }
}

/// What is shown of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// How pictures arrive.
    pub delivery: Delivery,
    /// `Server` header of the camera, shortened, without secrets.
    pub server: Option<String>,
    /// How long the session lives without a keep-alive.
    pub timeout: Duration,
    /// Method of the last keep-alive.
    pub keep_alive: Option<KeepAliveMethod>,
    /// Keep-alive on which the camera closed the connection without an answer.
    pub fatal_keep_alive: Option<KeepAliveMethod>,
    /// RTP packets received, of all tracks.
    pub packets: u64,
}

/// One track that is or will be set up.
#[derive(Debug)]
struct SessionTrack {
    setup: TrackSetup,
    track: Track,
    /// Request URI of its SETUP.
    uri: String,
    /// The driver's RTP port.
    client_port: Option<u16>,
    /// The camera's RTP and RTCP ports.
    server_ports: Option<(u16, u16)>,
}

/// How far the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Dialogue,
    /// Ports for the track of this number are being opened.
    OpeningPorts(usize),
    Playing,
    Over,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Options,
    Describe,
    Setup(usize),
    /// With the session URI of this number.
    Play(usize),
    KeepAlive(KeepAliveMethod),
}

impl Purpose {
    fn method(self) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::Describe => "DESCRIBE",
            Self::Setup(_) => "SETUP",
            Self::Play(_) => "PLAY",
            Self::KeepAlive(method) => method.name(),
        }
    }
}

/// A request that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    cseq: u32,
    purpose: Purpose,
    deadline: Instant,
    /// Whether it carries credentials.
    authorised: bool,
}

/// One stream of a camera, from connecting to its end.
#[derive(Debug)]
pub struct Session {
    settings: SessionSettings,
    url: StreamUrl,
    delivery: Delivery,
    outputs: VecDeque<Output>,
    phase: Phase,
    /// First request of the next connection.
    first: Purpose,
    framer: Framer,
    pending: Option<Pending>,
    /// Requests whose answers are no longer waited for, oldest first.
    given_up: VecDeque<u32>,
    cseq: u32,
    log_in: LogIn,
    /// Whether this connection was answered with 401.
    challenged: bool,
    /// Whether the camera was connected again because it closed with its 401.
    reconnected: bool,
    redirected: bool,
    controls: Option<Controls>,
    /// Which session URI the camera plays.
    session_uri: usize,
    tracks: Vec<SessionTrack>,
    session_id: Option<String>,
    session_timeout: Duration,
    keep_alive: KeepAlive,
    fatal_keep_alive: Option<KeepAliveMethod>,
    description: Option<Description>,
    server: Option<String>,
    last_input: Instant,
    last_answer: Option<Instant>,
    /// When datagrams are given up in favour of TCP.
    fall_back_at: Option<Instant>,
    report_at: Option<Instant>,
    /// Whether a packet came on this connection.
    received: bool,
    packets: u64,
    /// Of connections before this one.
    past_damage: Damage,
    units: Vec<TrackOutput>,
}

impl Session {
    /// A session whose first output is a connection to the camera.
    pub fn new(settings: SessionSettings, now: Instant) -> Self {
        let udp = settings.transport != Transport::Tcp && !settings.url.tls();
        let udp = udp && !settings.url.as_str().starts_with("rtspt:");
        let mut session = Self {
            url: settings.url.clone(),
            settings,
            delivery: if udp { Delivery::Datagrams } else { Delivery::Stream },
            outputs: VecDeque::new(),
            phase: Phase::Connecting,
            first: Purpose::Options,
            framer: Framer::default(),
            pending: None,
            given_up: VecDeque::new(),
            cseq: 0,
            log_in: LogIn::default(),
            challenged: false,
            reconnected: false,
            redirected: false,
            controls: None,
            session_uri: 0,
            tracks: Vec::new(),
            session_id: None,
            session_timeout: SESSION_TIMEOUT,
            keep_alive: KeepAlive::default(),
            fatal_keep_alive: None,
            description: None,
            server: None,
            last_input: now,
            last_answer: None,
            fall_back_at: None,
            report_at: None,
            received: false,
            packets: 0,
            past_damage: Damage::default(),
            units: Vec::new(),
        };
        for method in session.settings.avoid_keep_alives.clone() {
            session.keep_alive.avoid(method);
        }
        session.connect(Purpose::Options);
        session
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The connection is open.
    pub fn connected(&mut self, now: Instant) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Dialogue;
            self.last_input = now;
            self.send(self.first, now);
        }
    }

    /// The connection or the ports could not be opened.
    pub fn connect_failed(&mut self, error: StreamError) {
        if matches!(self.phase, Phase::Connecting | Phase::OpeningPorts(_)) {
            self.fail(error);
        }
    }

    /// Takes bytes of the connection and gives how many were used. The rest has to be given again, with more behind it. After
    /// [`Output::Connect`] nothing is left.
    pub fn input(&mut self, bytes: &[u8], now: Instant) -> usize {
        self.last_input = now;
        let mut at = 0;
        while at < bytes.len() {
            if matches!(self.phase, Phase::Connecting | Phase::Over) {
                return bytes.len();
            }
            let (used, piece) = self.framer.next(&bytes[at..]);
            at += used;
            match piece {
                Some(Piece::Rtp { track, packet }) => self.packet(track, packet, false, now),
                Some(Piece::Rtcp { track, packet }) => self.packet(track, packet, true, now),
                Some(Piece::Message(message)) => self.message(message, now),
                Some(Piece::Oversized) if self.phase != Phase::Playing => {
                    let detail = "the camera announces an answer of absurd size";
                    self.fail(StreamError::new(StreamErrorKind::Protocol, detail));
                }
                Some(Piece::Oversized) => {}
                None => break,
            }
        }
        if self.framer.only_stray() && self.framer.stray() > STRAY_MAX {
            self.fail(not_rtsp());
        }
        if matches!(self.phase, Phase::Connecting | Phase::Over) { bytes.len() } else { at }
    }

    /// All that could be read was given.
    pub fn flush(&mut self, now: Instant) {
        if self.phase != Phase::Over {
            self.for_each_track(now, |track, units| track.flush(now, units));
        }
    }

    /// The connection ended: in an orderly way, or with an error.
    pub fn disconnected(&mut self, now: Instant, error: Option<&str>) {
        if self.phase == Phase::Over {
            return;
        }
        self.finish_body(now);
        if let Some(Pending { purpose: Purpose::KeepAlive(method), deadline, .. }) = self.pending
            && now + self.keep_alive.answer_within() < deadline + FATAL_WITHIN
        {
            self.fatal_keep_alive = Some(method);
        }
        match self.phase {
            Phase::Connecting | Phase::Over => {}
            Phase::Playing if self.settings.replay.is_some() && error.is_none() => self.end(now),
            Phase::Playing => self.fail_when_finished(broken("the camera closed the connection", error), now),
            Phase::Dialogue | Phase::OpeningPorts(_) => self.disconnected_early(error),
        }
    }

    /// The ports of a track are open: `rtp_port`, which is even, and the next.
    pub fn udp_ports(&mut self, track: usize, rtp_port: u16, now: Instant) {
        if self.phase == Phase::OpeningPorts(track)
            && let Some(opened) = self.tracks.get_mut(track)
        {
            opened.client_port = Some(rtp_port);
            self.phase = Phase::Dialogue;
            self.send(Purpose::Setup(track), now);
        }
    }

    /// A datagram came from the camera's host to a port of a track.
    pub fn datagram(&mut self, track: usize, is_rtcp: bool, bytes: &[u8], now: Instant) {
        if !matches!(self.phase, Phase::Connecting | Phase::Over) && track < self.tracks.len() {
            self.packet(track, bytes, is_rtcp, now);
        }
    }

    /// Ends the session: delivers what is complete, and tells the camera.
    pub fn stop(&mut self, now: Instant) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.finish(now);
            self.tear_down();
        }
    }

    /// What arrived broken so far.
    pub fn damage(&self) -> Damage {
        let mut sum = self.past_damage;
        for damage in self.tracks.iter().map(|track| track.track.damage()) {
            sum.damaged_units += damage.damaged_units;
            sum.lost_packets += damage.lost_packets;
        }
        sum.resyncs += self.framer.resyncs();
        sum
    }

    /// When the camera last showed that it lives, whether or not pictures come: a keep-alive answered with success, or a sender
    /// report.
    pub fn last_sign_of_life(&self) -> Option<Instant> {
        let reports = self.tracks.iter().filter_map(|track| track.track.last_report());
        reports.chain(self.last_answer).max()
    }

    /// What is shown of the session.
    pub fn facts(&self) -> SessionFacts {
        SessionFacts {
            delivery: self.tracks.first().map_or(self.delivery, |track| track.setup.delivery),
            server: self.server.clone(),
            timeout: self.session_timeout,
            keep_alive: self.keep_alive.last(),
            fatal_keep_alive: self.fatal_keep_alive,
            packets: self.packets,
        }
    }

    /// Begins with another connection, whose first request is `first`.
    fn connect(&mut self, first: Purpose) {
        self.past_damage = self.damage();
        self.tracks.clear();
        self.framer = Framer::default();
        self.pending = None;
        self.given_up.clear();
        (self.challenged, self.received) = (false, false);
        self.session_id = None;
        self.keep_alive.stop();
        (self.fall_back_at, self.report_at) = (None, None);
        self.first = first;
        self.phase = Phase::Connecting;
        let (host, port, tls) = (self.url.host().to_owned(), self.url.port(), self.url.tls());
        self.outputs.push_back(Output::Connect { host, port, tls });
    }

    fn fail(&mut self, error: impl Into<SessionError>) {
        if self.phase != Phase::Over {
            // The camera is to be free for the next session.
            self.tear_down();
            self.phase = Phase::Over;
            self.outputs.push_back(Output::Failed(error.into()));
        }
    }

    /// Takes a body for complete whose end did not come.
    fn finish_body(&mut self, now: Instant) {
        if let Some(message) = self.framer.finish_body() {
            self.message(message, now);
        }
    }

    fn message(&mut self, message: Message, now: Instant) {
        use super::message::StartLine::{Answer, Request};
        match &message.start {
            Request { method, .. } => self.request(method, &message.headers, now),
            Answer { status, reason } => self.answer(*status, reason, &message, now),
        }
    }
}

/// What a camera said, as it can be shown: bounded, on one line, without passwords.
fn quote(text: &str) -> String {
    let masked = mask::urls(text);
    let shown = masked.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = shown.take(QUOTE_MAX).collect();
    if masked.chars().nth(QUOTE_MAX).is_some() {
        out.push('…');
    }
    out
}

fn not_rtsp() -> StreamError {
    StreamError::new(StreamErrorKind::Protocol, "what answers there does not speak RTSP")
}

fn broken(closed: &str, error: Option<&str>) -> StreamError {
    let detail = error.map(|error| format!("the camera broke the connection: {}", quote(error)));
    StreamError::new(StreamErrorKind::Ended, detail.unwrap_or_else(|| closed.to_owned()))
}
