//! A session with its driver and a camera, both in memory.

use std::time::{Duration, Instant};

use super::{
    framing::HELD_BACK_MAX,
    input::{Cuts, debug_length},
    units::{check_picture, check_sound},
};
use crate::{
    base::Secret,
    model::{
        status::{StreamError, StreamErrorKind},
        unit::Damage,
    },
    rtsp::{
        message::{HEAD_MAX, StartLine, parse_head},
        session::{Output, Session, SessionSettings},
    },
};

pub(super) const HOST: &str = "192.0.2.7";
/// Longest request: a URI and the parts of a challenge that the camera wants to see again.
const REQUEST_MAX: usize = 4 * HEAD_MAX;

/// A session, and what was counted of it.
pub(super) struct Rig {
    pub(super) session: Session,
    pub(super) now: Instant,
    allow_basic: bool,
    tls: bool,
    /// Bytes of the connection that were not used yet.
    left: Vec<u8>,
    /// Requests that the camera has not answered, by method and CSeq.
    pub(super) requests: Vec<(String, String)>,
    /// Bytes and calls that went in.
    bytes: usize,
    calls: usize,
    outputs: usize,
    /// Bytes of pictures and sound that came out.
    size: usize,
    /// Length of the last picture, and whether it was damaged.
    pub(super) last: Option<(usize, bool)>,
    pub(super) connections: usize,
    pub(super) playing: bool,
    /// Whether the next connection, or the next ports, cannot be opened.
    pub(super) is_closed: bool,
    pub(super) over: bool,
    damage: Damage,
    packets: u64,
}

impl Rig {
    pub(super) fn new(settings: SessionSettings) -> Self {
        let now = Instant::now();
        let (allow_basic, tls) = (settings.allow_basic, settings.url.tls());
        let mut rig = Self {
            session: Session::new(settings, now),
            now,
            allow_basic,
            tls,
            left: Vec::new(),
            requests: Vec::new(),
            bytes: 0,
            calls: 0,
            outputs: 0,
            size: 0,
            last: None,
            connections: 0,
            playing: false,
            is_closed: false,
            over: false,
            damage: Damage::default(),
            packets: 0,
        };
        rig.poll();
        rig
    }

    /// The camera sends bytes, which arrive in cuts.
    pub(super) fn feed(&mut self, bytes: &[u8], mut cuts: Cuts) {
        let mut rest = bytes;
        self.bytes += bytes.len();
        while !rest.is_empty() {
            let connections = self.connections;
            let (read, after) = rest.split_at(cuts.next(rest.len()));
            rest = after;
            self.left.extend_from_slice(read);
            let used = self.session.input(&self.left, self.now);
            assert!(used <= self.left.len());
            self.left.drain(..used);
            assert!(self.left.len() <= HELD_BACK_MAX, "{} bytes wait", self.left.len());
            self.session.flush(self.now);
            self.poll();
            if self.connections != connections {
                // The rest was sent into a connection that is closed.
                return;
            }
        }
    }

    pub(super) fn datagram(&mut self, track: usize, is_rtcp: bool, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.session.datagram(track, is_rtcp, bytes, self.now);
        self.session.flush(self.now);
        self.poll();
    }

    pub(super) fn disconnect(&mut self, error: Option<&str>) {
        self.session.disconnected(self.now, error);
        self.left.clear();
        self.poll();
    }

    pub(super) fn stop(&mut self) {
        self.session.stop(self.now);
        self.over = true;
        self.poll();
    }

    /// Lets time pass, and calls for what is due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.session.next_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.session.timeout(self.now);
            self.poll();
            let next = self.session.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "what is due is done");
        }
        self.now = end;
    }

    /// What is held has a bound, and everything ends.
    pub(super) fn finish(mut self) {
        let held = debug_length(&self.session);
        assert!(held <= 32 * self.bytes + (96 << 10), "{held} for {} bytes", self.bytes);
        self.stop();
        assert_eq!(self.session.next_timeout(), None);
    }

    fn poll(&mut self) {
        self.calls += 1;
        while let Some(output) = self.session.poll() {
            self.outputs += 1;
            self.take(output);
        }
        assert!(self.outputs <= 8 * self.calls + self.bytes, "{} outputs", self.outputs);
        assert!(self.size <= 2 * self.bytes + 1024, "{} bytes of {}", self.size, self.bytes);
        let (damage, packets) = (self.session.damage(), self.session.facts().packets);
        assert!(damage.damaged_units >= self.damage.damaged_units);
        assert!(damage.lost_packets >= self.damage.lost_packets);
        assert!(damage.resyncs >= self.damage.resyncs && damage.resyncs <= self.bytes as u64);
        assert!(packets >= self.packets);
        (self.damage, self.packets) = (damage, packets);
        assert!(self.session.last_sign_of_life().is_none_or(|at| at <= self.now));
    }

    fn take(&mut self, output: Output) {
        let is_farewell = matches!(&output, Output::Send(bytes) if bytes.starts_with(b"TEARDOWN "));
        let is_unit = matches!(output, Output::Video(_) | Output::Audio(_));
        assert!(!self.over || is_farewell || is_unit, "{output:?} after the end");
        match output {
            Output::Connect { host, tls, .. } => {
                assert_eq!((host.as_str(), tls), (HOST, self.tls), "another host");
                self.connections += 1;
                assert!(self.connections <= 8, "connects for ever");
                self.left.clear();
                self.requests.clear();
                if !self.is_closed {
                    self.session.connected(self.now);
                }
                self.refuse();
            }
            Output::OpenPorts { .. } if self.is_closed => self.refuse(),
            Output::OpenPorts { track } => {
                let port = 5000 + 2 * u16::try_from(track).expect("few tracks");
                self.session.udp_ports(track, port, self.now);
            }
            Output::Send(bytes) => self.sent(&bytes),
            Output::SendDatagram { track, port, bytes, .. } => {
                assert!(track < 2 && port > 0 && bytes.len() <= 64);
            }
            Output::Described(description) => {
                assert_eq!((description.url.host(), description.url.tls()), (HOST, self.tls));
                assert!(description.audio_offered.len() <= 16);
            }
            Output::Playing => self.playing = true,
            Output::Video(picture) => {
                self.size += picture.data.len();
                self.last = Some((picture.data.len(), picture.damaged));
                check_picture(&picture, self.now);
            }
            Output::Audio(sound) => {
                self.size += sound.data.len();
                check_sound(&sound, self.now);
            }
            Output::Ended => self.over = true,
            Output::Failed(error) => {
                let error = StreamError::from(error);
                assert!(!error.detail.is_empty() && !error.detail.contains(char::is_control));
                assert!(error.detail.chars().count() <= 400, "{} is too long to be shown", error.detail);
                self.over = true;
            }
        }
    }

    fn refuse(&mut self) {
        if std::mem::take(&mut self.is_closed) {
            self.session.connect_failed(StreamError::new(StreamErrorKind::Refused, "nothing listens there"));
        }
    }

    /// Takes what goes to the camera: a frame of RTCP, a request, or an answer.
    fn sent(&mut self, bytes: &[u8]) {
        if let [b'$', _, high, low, packet @ ..] = bytes {
            assert_eq!(usize::from(u16::from_be_bytes([*high, *low])), packet.len());
            return;
        }
        assert!(bytes.len() <= REQUEST_MAX && bytes.ends_with(b"\r\n\r\n"));
        let (start, headers) = parse_head(bytes).expect("what we write can be read");
        let lines: Vec<&[u8]> = bytes[..bytes.len() - 4].split(|byte| *byte == b'\n').collect();
        assert!(lines.len() <= 9, "{} lines", lines.len());
        for line in &lines[1..] {
            let known: [&[u8]; 9] = [
                b"CSeq: ",
                b"User-Agent: ",
                b"Session: ",
                b"Authorization: ",
                b"Accept: ",
                b"Transport: ",
                b"Range: ",
                b"Require: ",
                b"Rate-Control: ",
            ];
            assert!(known.iter().any(|name| line.starts_with(name)), "{}", String::from_utf8_lossy(line));
        }
        let cseq = headers.get("cseq").expect("each message has its number").into_owned();
        if let StartLine::Request { method, .. } = start {
            let log_in = headers.get("authorization").unwrap_or_default();
            assert!(self.allow_basic || self.tls || !log_in.starts_with("Basic"), "a password in clear");
            self.requests.push((method, cseq));
        }
    }
}

/// Settings of a session with the camera at [`HOST`].
pub(super) fn settings(flags: u8) -> SessionSettings {
    use crate::{
        base::WallUs,
        model::{address::StreamUrl, camera::Transport, timeline::Range},
    };
    let scheme = if flags & 0x40 == 0 { "rtsp" } else { "rtsps" };
    let log_in = flags & 0x20 != 0;
    SessionSettings {
        url: StreamUrl::parse(&format!("{scheme}://{HOST}/live")).expect("a good URL"),
        username: log_in.then(|| "admin".to_owned()),
        password: log_in.then(|| Secret::new("12345")),
        allow_basic: flags & 0x80 != 0,
        avoid_sha256: false,
        transport: [Transport::Tcp, Transport::Tcp, Transport::Udp, Transport::Auto][usize::from(flags & 3)],
        audio: flags & 4 != 0,
        replay: (flags & 8 != 0)
            .then_some(Range { from: WallUs(1_795_168_800_000_000), to: WallUs(1_795_168_900_000_000) }),
        user_agent: "Test/1".to_owned(),
        avoid_keep_alives: Vec::new(),
        answer_within: Duration::from_secs(10),
    }
}
