//! Sessions against scripted cameras: what each kind of camera does, and what becomes of it.

mod dialogues;
mod log_ins;
mod transports;
mod upkeep;

use std::time::{Duration, Instant};

use base64::Engine as _;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::rtsp::message::{Headers, StartLine, parse_head};

const URL: &str = "rtsp://192.0.2.7/live";
const PUBLIC: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER";
/// With parameter sets of 1920x1080 at 25 fps.
const VIDEO: &str = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAKNoB4AiflwEQAAADABAAAAMDIPGDKg==,aM4PyA==\r\n\
    a=control:trackID=1\r\n";
const AUDIO: &str = "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:trackID=2\r\n";

/// A request as the camera reads it.
struct Req {
    method: String,
    uri: String,
    headers: Headers,
    /// Number of its connection, from 1.
    connection: usize,
}

impl Req {
    fn header(&self, name: &str) -> String {
        self.headers.get(name).unwrap_or_default().into_owned()
    }

    fn has(&self, name: &str) -> bool {
        self.headers.get(name).is_some()
    }
}

/// What a camera does about a request.
struct Reply {
    bytes: Vec<u8>,
    closes: bool,
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, closes: false }
    }
}

fn close_after(bytes: Vec<u8>) -> Reply {
    Reply { bytes, closes: true }
}

/// An answer with this status, these header lines and this body.
fn answer(req: &Req, status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut lines = vec![format!("RTSP/1.0 {status}"), format!("CSeq: {}", req.header("cseq"))];
    lines.extend(headers.iter().map(|line| (*line).to_owned()));
    if !body.is_empty() {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes()
}

/// What a camera answers that does everything right, with this description.
fn described(req: &Req, media: &str) -> Vec<u8> {
    match req.method.as_str() {
        "OPTIONS" => answer(req, "200 OK", &[&format!("Public: {PUBLIC}")], ""),
        "DESCRIBE" => {
            let sdp = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=cam\r\nt=0 0\r\na=control:*\r\n{media}");
            answer(
                req,
                "200 OK",
                &["Content-Base: rtsp://192.0.2.7/live/", "Content-Type: application/sdp"],
                &sdp,
            )
        }
        "SETUP" if req.header("transport").contains("interleaved") => {
            let transport = format!("Transport: {};ssrc=00001234", req.header("transport"));
            answer(req, "200 OK", &["Session: 12345678;timeout=60", &transport], "")
        }
        "SETUP" => {
            let transport = format!("Transport: {};server_port=6000-6001", req.header("transport"));
            answer(req, "200 OK", &["Session: 12345678", &transport], "")
        }
        "PLAY" => {
            let frames: Vec<u8> = (0..5).flat_map(|n| video(0, n)).collect();
            [answer(req, "200 OK", &["Session: 12345678", "Range: npt=now-"], ""), frames].concat()
        }
        _ => answer(req, "200 OK", &["Session: 12345678"], ""),
    }
}

fn usual(req: &Req) -> Vec<u8> {
    described(req, VIDEO)
}

/// An interleaved frame with a small picture.
fn video(channel: u8, sequence: u16) -> Vec<u8> {
    let mut frame = vec![b'$', channel, 0, 40, 0x80, 0x80 | 96];
    frame.extend_from_slice(&sequence.to_be_bytes());
    frame.extend_from_slice(&(u32::from(sequence) * 3600).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0x12, 0x34, 0x65]);
    frame.resize(44, 0xa5);
    frame
}

fn settings() -> SessionSettings {
    SessionSettings {
        url: StreamUrl::parse(URL).unwrap(),
        username: None,
        password: None,
        allow_basic: false,
        avoid_sha256: false,
        transport: Transport::Tcp,
        audio: false,
        replay: None,
        user_agent: "Test/1".to_owned(),
        avoid_keep_alives: Vec::new(),
        answer_within: Duration::from_secs(10),
    }
}

fn with_login(password: &str) -> SessionSettings {
    SessionSettings {
        username: Some("admin".to_owned()),
        password: Some(Secret::new(password)),
        ..settings()
    }
}

/// A session, its driver and its camera.
struct Rig<C> {
    session: Session,
    camera: C,
    now: Instant,
    connections: usize,
    open: bool,
    left: Vec<u8>,
    /// Requests and answers that the camera got, in one line each.
    asked: Vec<String>,
    /// Ports and datagrams.
    datagrams: Vec<String>,
    descriptions: Vec<Description>,
    /// Pictures that came.
    pictures: usize,
    playing: bool,
    ended: bool,
    failure: Option<SessionError>,
}

impl<C: FnMut(&Req) -> Reply> Rig<C> {
    /// Runs a session until nothing happens without time passing.
    fn run(settings: SessionSettings, camera: C) -> Self {
        let now = Instant::now();
        let mut rig = Self {
            session: Session::new(settings, now),
            camera,
            now,
            connections: 0,
            open: false,
            left: Vec::new(),
            asked: Vec::new(),
            datagrams: Vec::new(),
            descriptions: Vec::new(),
            pictures: 0,
            playing: false,
            ended: false,
            failure: None,
        };
        rig.drive();
        rig
    }

    fn drive(&mut self) {
        while let Some(output) = self.session.poll() {
            assert!(self.failure.is_none() && !self.ended, "nothing follows the end, but {output:?}");
            match output {
                Output::Connect { host, port, tls } => {
                    assert_eq!((host.as_str(), port, tls), ("192.0.2.7", self.session.url.port(), false));
                    self.connections += 1;
                    self.open = true;
                    self.left.clear();
                    self.session.connected(self.now);
                }
                Output::OpenPorts { track } => {
                    self.datagrams.push(format!("ports {track}"));
                    self.session.udp_ports(track, 5000 + 2 * track as u16, self.now);
                }
                Output::Send(bytes) if self.open => self.take(&bytes),
                Output::Send(_) => {}
                Output::SendDatagram { track, is_rtcp, port, bytes } => {
                    let kind = if is_rtcp { "rtcp" } else { "rtp" };
                    self.datagrams.push(format!("{kind} {track} to {port}, {} bytes", bytes.len()));
                }
                Output::Described(description) => self.descriptions.push(description),
                Output::Playing => self.playing = true,
                Output::Video(_) => self.pictures += 1,
                Output::Audio(_) => {}
                Output::Ended => self.ended = true,
                Output::Failed(error) => self.failure = Some(error),
            }
        }
    }

    /// The camera takes what the session sends.
    fn take(&mut self, bytes: &[u8]) {
        if bytes.first() == Some(&b'$') {
            self.asked.push(format!("frame {}", bytes[1]));
            return;
        }
        let (start, headers) = parse_head(bytes).unwrap();
        let (method, uri) = match start {
            StartLine::Request { method, uri } => (method, uri),
            StartLine::Answer { status, .. } => {
                self.asked.push(format!("{status} to {}", headers.get("cseq").unwrap()));
                return;
            }
        };
        let req = Req { method, uri, headers, connection: self.connections };
        let log_in = if req.has("authorization") { " with log-in" } else { "" };
        self.asked.push(format!("{} {}{log_in}", req.method, req.uri));
        let reply = (self.camera)(&req);
        self.feed(&reply.bytes);
        if reply.closes && self.open {
            self.open = false;
            self.session.disconnected(self.now, None);
        }
    }

    /// The camera sends bytes.
    fn feed(&mut self, bytes: &[u8]) {
        self.left.extend_from_slice(bytes);
        let used = self.session.input(&self.left, self.now);
        self.left.drain(..used);
        self.session.flush(self.now);
    }

    /// Time passes; whatever is due is done.
    fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.drive();
        while let Some(due) = self.session.next_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.session.timeout(self.now);
            self.drive();
            let next = self.session.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "what is due was done");
        }
        self.now = end;
    }

    /// Methods of the requests, in order.
    fn methods(&self) -> Vec<&str> {
        let asked = self.asked.iter().filter(|line| !line.starts_with("frame"));
        asked.map(|line| line.split(' ').next().unwrap()).collect()
    }

    /// How often credentials were sent.
    fn log_ins(&self) -> usize {
        self.asked.iter().filter(|line| line.ends_with("with log-in")).count()
    }

    fn error(&self) -> (StreamErrorKind, String) {
        let error = StreamError::from(self.failure.clone().expect("the session failed"));
        (error.kind, error.detail)
    }

    #[track_caller]
    fn assert_plays(&self) {
        assert!(self.playing && self.failure.is_none(), "{:?} after {:?}", self.failure, self.asked);
        // The last picture may wait for its end.
        assert!(self.session.facts().packets == 5 && self.pictures >= 4, "{} pictures", self.pictures);
    }
}

/// Whether a request carries the right answer to a Digest challenge without qop.
fn authorised(req: &Req, password: &str, nonce: &str) -> bool {
    let header = req.header("authorization");
    let value = |name: &str| {
        let from = header.find(&format!("{name}=")).map(|at| at + name.len() + 1);
        from.map(|from| header[from..].trim_start_matches('"').split(['"', ',']).next().unwrap().to_owned())
    };
    let hash = |text: String| match value("algorithm").as_deref() {
        Some("SHA-256") => hex(&Sha256::digest(text)),
        _ => hex(&Md5::digest(text)),
    };
    let ha1 = hash(format!("admin:cam:{password}"));
    let ha2 = hash(format!("{}:{}", req.method, value("uri").unwrap_or_default()));
    let wanted = hash(format!("{ha1}:{nonce}:{ha2}"));
    header.starts_with("Digest ")
        && value("nonce").as_deref() == Some(nonce)
        && value("uri").as_deref() == Some(&req.uri)
        && value("response") == Some(wanted)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Clear text of a Basic log-in.
fn basic(req: &Req) -> Option<String> {
    let header = req.header("authorization");
    let decoded = base64::engine::general_purpose::STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
    String::from_utf8(decoded).ok()
}
