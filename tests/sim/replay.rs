//! The RTSP server of a camera's storage: ONVIF replay at `/replay/…`, and a vendor's URLs with start and end.
//!
//! Apart from the server of the live streams, as in cameras that have a port of its own for it. RTSP 1.0, TCP only. A
//! frame goes out when its time has come, or as fast as the other side reads.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gstreamer::glib::{Checksum, ChecksumType};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;

use super::background::{Background, serve};
use super::feed::VIDEO_TICKS_PER_S;
use super::nal::{Codec, Kind};
use super::rtp::{Extension, Flags, Stream, units};
use super::storage::{
    Asked, Card, Ends, Rtsp, Sends, Session, Tells, clock_text, frame_time, hex, parse_clock,
};
use super::talk::{Incoming, Message};

/// Path of the recording's replay.
pub(super) const REPLAY_PATH: &str = "/replay/";
/// The recording of the main stream, and its track.
pub(super) const RECORDING: &str = "OnvifRecordingToken_1";
pub(super) const TRACK: &str = "VIDEO001";
const VENDOR_PATH: &str = "/Streaming/tracks/101";
const METHODS: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN";
const REALM: &str = "sim";
/// How often is looked for a frame that is not captured yet.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const REPORT_EVERY_US: u64 = 1_000_000;

/// Opens the server.
///
/// # Errors
/// If the system gives no thread.
pub(super) fn open(listener: TcpListener, card: &Arc<Card>) -> anyhow::Result<Background> {
    let (card, at) = (card.clone(), listener.local_addr()?);
    serve(&format!("sim-replay-{}", at.port()), listener, move |stream| talk(stream, card.clone(), at))
}

/// The address of a vendor's URL for a range; times are in the camera's clock, microseconds since 1970.
pub(super) fn vendor_url(at: SocketAddr, from_us: u64, to_us: u64) -> String {
    let text = |us: u64| super::storage::time(us).format("%Y%m%dT%H%M%SZ").to_string();
    format!("rtsp://{at}{VENDOR_PATH}?starttime={}&endtime={}", text(from_us), text(to_us))
}

/// The address of the ONVIF replay.
pub(super) fn replay_url(at: SocketAddr) -> String {
    format!("rtsp://{at}{REPLAY_PATH}{RECORDING}")
}

/// How a conversation ends.
enum End {
    /// As TCP connections end.
    Closed,
    /// With RST.
    Reset,
}

async fn talk(mut stream: TcpStream, card: Arc<Card>, at: SocketAddr) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.split();
    let mut talk = Talk {
        card,
        at,
        writer,
        nonce: hex(&rand::random::<[u8; 16]>()),
        wanted: None,
        session: None,
        stream: None,
        channel: 0,
        playing: None,
    };
    if let End::Reset = talk.run(Incoming::new(reader)).await? {
        stream.set_zero_linger()?;
    }
    Ok(())
}

/// What an address asks for.
#[derive(Debug, Clone)]
struct Wanted {
    url: String,
    kind: Kinds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Onvif,
    Vendor { from_us: u64, to_us: Option<u64> },
}

impl Wanted {
    /// # Errors
    /// The status for an address that is none of ours.
    fn parse(message: &Message) -> Result<Wanted, &'static str> {
        let (path, query) = message.path().split_once('?').unwrap_or((message.path(), ""));
        let path = path.split("/trackID=").next().unwrap_or(path).trim_end_matches('/');
        let query = query.split("/trackID=").next().unwrap_or(query);
        let value = |wanted: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| parse_clock(value))
        };
        let kind = if path.strip_prefix(REPLAY_PATH) == Some(RECORDING) {
            Kinds::Onvif
        } else if path.eq_ignore_ascii_case(VENDOR_PATH) {
            match (value("starttime"), value("endtime")) {
                (Some(Some(from_us)), None) => Kinds::Vendor { from_us, to_us: None },
                (Some(Some(from_us)), Some(Some(to_us))) => Kinds::Vendor { from_us, to_us: Some(to_us) },
                _ => return Err("400 Bad Request"),
            }
        } else {
            return Err("404 Not Found");
        };
        Ok(Wanted { url: message.url.clone(), kind })
    }
}

/// What is being sent.
struct Playing {
    kind: Kinds,
    /// Units still to be sent.
    parts: VecDeque<Range<u64>>,
    /// From which unit on it goes on with what comes, when those are sent.
    follow: Option<u64>,
    /// In real time, since then.
    begun: Option<Instant>,
    earlier_us: i64,
    /// Holes are flagged.
    honest: bool,
    after_hole: bool,
    frames: u64,
    /// Time of the last sender report.
    told_us: Option<u64>,
}

impl Playing {
    fn next(&self) -> Option<u64> {
        self.parts.front().map(|part| part.start).or(self.follow)
    }

    /// Goes on behind the next unit; the flags of that.
    fn advance(&mut self) -> Flags {
        let mut flags = Flags { discontinuity: std::mem::take(&mut self.after_hole), ..Flags::default() };
        let Some(part) = self.parts.front_mut() else {
            self.follow = self.follow.map(|sent| sent + 1);
            return flags;
        };
        part.start += 1;
        if part.is_empty() {
            let end = part.end;
            self.parts.pop_front();
            flags.terminal = self.next().is_none();
            let hole = self.next().is_some_and(|next| next != end);
            flags.end = (hole && self.honest) || flags.terminal;
            self.after_hole = hole && self.honest;
        }
        flags
    }

    /// Returns when the next frame may go.
    async fn due(&self, card: &Card) {
        let Some(sent) = self.next() else { return std::future::pending().await };
        if let Some(begun) = self.begun {
            let media = frame_time(&card.feed) * u32::try_from(self.frames).unwrap_or(u32::MAX);
            tokio::time::sleep_until((begun + media).into()).await;
        }
        while card.feed.next_number() <= sent {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// One connection.
struct Talk<'a> {
    card: Arc<Card>,
    at: SocketAddr,
    writer: WriteHalf<'a>,
    nonce: String,
    wanted: Option<Wanted>,
    session: Option<Session>,
    /// Set up, with the counters that last as long as the session.
    stream: Option<Stream>,
    channel: u8,
    playing: Option<Playing>,
}

impl Talk<'_> {
    async fn run<R>(&mut self, mut incoming: Incoming<R>) -> std::io::Result<End>
    where
        R: tokio::io::AsyncRead + Unpin,
    {
        loop {
            let frame_is_due = async {
                match &self.playing {
                    Some(playing) => playing.due(&self.card).await,
                    None => std::future::pending().await,
                }
            };
            let ousted = async {
                match &mut self.session {
                    Some(session) => session.ousted().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = incoming.next() => {
                    let Some(message) = message? else { return Ok(End::Closed) };
                    if self.card.modes().rtsp != Rtsp::Never {
                        let answer = self.answer(&message);
                        self.writer.write_all(answer.as_bytes()).await?;
                    }
                }
                () = ousted => return Ok(End::Closed),
                () = frame_is_due => if let Some(end) = self.send().await? { return Ok(end) },
            }
        }
    }

    /// Sends the next frame, and what belongs round it.
    async fn send(&mut self) -> std::io::Result<Option<End>> {
        let modes = self.card.modes();
        let (Some(playing), Some(stream)) = (&mut self.playing, &mut self.stream) else { return Ok(None) };
        let frame = playing.next().and_then(|sent| self.card.feed.past(sent)).expect("it is due");
        let said_us = self.card.said_us(frame.stamp.capture_us.saturating_add_signed(-playing.earlier_us));
        let flags = playing.advance();
        let vendor = playing.kind != Kinds::Onvif;
        let tell = vendor
            && modes.vendor_tells != Tells::Never
            && playing.told_us.is_none_or(|told| said_us.abs_diff(told) >= REPORT_EVERY_US);
        let mut bytes = Vec::new();
        if tell && modes.vendor_tells == Tells::Before {
            bytes.extend(stream.report(said_us));
        }
        bytes.extend(stream.frame(&frame, said_us, flags));
        if tell {
            playing.told_us = Some(said_us);
            if modes.vendor_tells == Tells::After {
                bytes.extend(stream.report(said_us));
            }
        }
        if vendor && flags.terminal && modes.vendor_ends == Ends::Bye {
            bytes.extend(stream.bye());
        }
        playing.frames += 1;
        let dies = modes.dies_after.is_some_and(|frames| playing.frames >= frames);
        self.writer.write_all(&bytes).await?;
        Ok(match () {
            () if dies => Some(End::Reset),
            () if vendor && flags.terminal && modes.vendor_ends == Ends::Closes => Some(End::Closed),
            () => None,
        })
    }

    fn answer(&mut self, message: &Message) -> String {
        let answered = match message.method.as_str() {
            _ if unknown_requirement(message) => Err(format!(
                "551 Option not supported\r\nUnsupported: {}",
                message.header("require").unwrap_or("")
            )),
            "OPTIONS" => Ok((format!("Public: {METHODS}\r\n"), String::new())),
            _ if !self.is_authorised(message) => Err(format!(
                "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{}\"",
                self.nonce
            )),
            "DESCRIBE" => self.describe(message),
            "SETUP" => self.set_up(message),
            "PLAY" => self.play(message),
            "PAUSE" => {
                self.playing = None;
                self.in_session()
            }
            "GET_PARAMETER" | "SET_PARAMETER" => self.in_session(),
            "TEARDOWN" => {
                self.playing = None;
                self.stream = None;
                self.session = None;
                Ok(Default::default())
            }
            _ => Err("501 Not Implemented".to_owned()),
        };
        let cseq = message.header("cseq").unwrap_or("0");
        match answered {
            Ok((headers, body)) => format!(
                "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            Err(status) => format!("RTSP/1.0 {status}\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n"),
        }
    }

    /// RFC 2617 without `qop`, which is what cameras do.
    fn is_authorised(&self, message: &Message) -> bool {
        let Some(login) = self.card.login() else { return true };
        let said = message.header("authorization").and_then(|value| value.strip_prefix("Digest "));
        let Some(said) = said else { return false };
        let value = |wanted: &str| {
            let mut pairs = said.split(',').filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.trim_matches('"'))
        };
        let uri = value("uri").unwrap_or_default();
        let who = md5(&format!("{}:{REALM}:{}", login.user, login.password));
        let what = md5(&format!("{}:{uri}", message.method));
        let right = md5(&format!("{who}:{}:{what}", self.nonce));
        value("username") == Some(&login.user)
            && value("nonce") == Some(&self.nonce)
            && value("response") == Some(&right)
    }

    fn in_session(&self) -> Answer {
        let session = self.session.as_ref().ok_or("454 Session Not Found")?;
        Ok((format!("Session: {:08x};timeout=60\r\n", session.id), String::new()))
    }

    fn describe(&mut self, message: &Message) -> Answer {
        if let Rtsp::Status(status) = self.card.modes().rtsp {
            return Err(format!("{status} Refused"));
        }
        let wanted = Wanted::parse(message)?;
        let footage = self.card.feed.footage();
        let mut sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {}\r\ns=replay\r\nt=0 0\r\na=control:{}\r\n",
            self.at.ip(),
            wanted.url
        );
        if let (Kinds::Onvif, Some((first, last))) = (wanted.kind, self.card.held_us()) {
            let (first, last) = (self.card.said_us(first), self.card.said_us(last));
            sdp += &format!("a=range:clock={}-{}\r\n", clock_text(first), clock_text(last));
        }
        let head = footage.units[0].head.as_ref().expect("a keyframe has parameters before it");
        let head = head.map_readable().expect("memory of our own");
        let format = match footage.encoding.codec {
            codec @ Codec::H264 => {
                let parameters: Vec<_> = units(&head)
                    .into_iter()
                    .filter(|unit| matches!(codec.kind(unit), Kind::Sps | Kind::Pps))
                    .collect();
                format!(
                    "a=rtpmap:96 H264/{VIDEO_TICKS_PER_S}\r\na=fmtp:96 packetization-mode=1;profile-level-id={};\
                     sprop-parameter-sets={}\r\n",
                    hex(&parameters[0][1..4]),
                    parameters.iter().map(|unit| BASE64.encode(unit)).collect::<Vec<_>>().join(",")
                )
            }
            // Parameters come in band.
            Codec::H265 => format!("a=rtpmap:96 H265/{VIDEO_TICKS_PER_S}\r\n"),
        };
        // Absolute: an address with a query has no good place for a path behind it.
        let (path, query) = wanted.url.split_once('?').unwrap_or((&wanted.url, ""));
        let mark = if query.is_empty() { "" } else { "?" };
        sdp += &format!(
            "m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\n{format}a=x-onvif-track:{TRACK}\r\n\
             a=control:{path}/trackID=1{mark}{query}\r\n"
        );
        let headers = format!("Content-Type: application/sdp\r\nContent-Base: {}\r\n", wanted.url);
        self.wanted = Some(wanted);
        Ok((headers, sdp))
    }

    fn set_up(&mut self, message: &Message) -> Answer {
        if self.wanted.is_none() {
            self.wanted = Some(Wanted::parse(message)?);
        }
        let transport = message.header("transport").unwrap_or_default();
        let offers = transport.split(',').map(|offer| offer.split(';').collect::<Vec<_>>());
        let offer = offers.into_iter().find(|offer| offer[0].trim() == "RTP/AVP/TCP");
        let offer = offer.ok_or("461 Unsupported Transport")?;
        let channels = offer.iter().find_map(|word| word.strip_prefix("interleaved="));
        let channel =
            channels.and_then(|channels| channels.split('-').next()?.parse::<u8>().ok()).unwrap_or(0);
        self.channel = channel.min(u8::MAX - 1);
        if self.session.is_none() {
            self.session = Some(self.card.begin_session().ok_or("453 Not Enough Bandwidth")?);
        }
        let extension = self.wanted.as_ref().is_some_and(|wanted| wanted.kind == Kinds::Onvif);
        let extension = extension.then(|| Extension { headers: self.card.modes().headers, cseq: 0 });
        self.stream = Some(Stream::new(self.card.feed.footage().encoding.codec, self.channel, extension));
        let (mut headers, body) = self.in_session()?;
        headers +=
            &format!("Transport: RTP/AVP/TCP;unicast;interleaved={}-{}\r\n", self.channel, self.channel + 1);
        Ok((headers, body))
    }

    fn play(&mut self, message: &Message) -> Answer {
        let (mut headers, body) = self.in_session()?;
        let (Some(wanted), Some(stream)) = (&self.wanted, &mut self.stream) else {
            return Err("455 Method Not Valid in This State".to_owned());
        };
        let fast = message.header("rate-control").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        let range = match wanted.kind {
            Kinds::Vendor { from_us, to_us } => (from_us, to_us),
            Kinds::Onvif => match message.header("range").and_then(|range| range.strip_prefix("clock=")) {
                Some(range) => parse_range(range).ok_or("457 Invalid Range")?,
                None => (self.card.said_us(self.card.held_us().map_or(0, |(first, _)| first)), None),
            },
        };
        let (from_us, to_us) = range;
        self.card.note_asked(Asked {
            url: wanted.url.clone(),
            from_us,
            to_us,
            fast,
            required: message.header("require").is_some(),
        });
        let modes = self.card.modes();
        let (from, to) = (self.card.true_us(from_us), to_us.map_or(u64::MAX, |to| self.card.true_us(to)));
        let parts = match modes.sends {
            Sends::Now => Vec::new(),
            Sends::Disordered => {
                self.card.plan(from, to).chunks(2).flat_map(|two| two.iter().rev().cloned()).collect()
            }
            Sends::Overlapping => overlapping(&self.card.plan(from, to)),
            _ => self.card.plan(from, to),
        };
        let follow = match modes.sends {
            Sends::Now => Some(self.card.feed.group(self.card.feed.next_number()).start),
            Sends::Endless => parts.last().map(|last| last.end),
            _ => None,
        };
        let earlier_us = match modes.sends {
            Sends::Earlier { seconds } => seconds.wrapping_mul(1_000_000),
            _ => 0,
        };
        let first = parts.first().map(|part| part.start).or(follow);
        let Some(first) = first else {
            self.playing = None;
            return if modes.empty_is_silent {
                Ok((headers, body))
            } else {
                Err("457 Invalid Range".to_owned())
            };
        };
        let slow = match wanted.kind {
            Kinds::Onvif => !fast,
            Kinds::Vendor { .. } => !modes.vendor_is_fast,
        };
        stream.play(message.header("cseq").and_then(|cseq| cseq.parse::<u32>().ok()).unwrap_or(0) as u8);
        let said_us = self.card.said_us(self.card.feed.capture_us(first).saturating_add_signed(-earlier_us));
        headers += &format!(
            "RTP-Info: url={};seq={};rtptime={}\r\n",
            wanted.url,
            stream.sequence,
            stream.rtp_time(said_us)
        );
        if wanted.kind == Kinds::Onvif {
            let to = to_us.map_or(String::new(), clock_text);
            headers += &format!("Range: clock={}-{to}\r\n", clock_text(said_us));
        }
        self.playing = Some(Playing {
            kind: wanted.kind,
            parts: parts.into(),
            follow,
            begun: (slow || modes.real_time_only).then(Instant::now),
            earlier_us,
            honest: !matches!(modes.sends, Sends::Disordered | Sends::Overlapping),
            after_hole: false,
            frames: 0,
            told_us: None,
        });
        Ok((headers, body))
    }
}

/// Headers as whole lines and a body, or a status with headers but for the last line's end.
type Answer = Result<(String, String), String>;

fn unknown_requirement(message: &Message) -> bool {
    message.header("require").is_some_and(|needs| needs.split(',').any(|need| need.trim() != "onvif-replay"))
}

/// `20260102T030405.678Z-20260102T030505Z`; the end may be missing.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (from, to) = text.split(';').next()?.split_once('-')?;
    let from = parse_clock(from)?;
    let to = if to.trim().is_empty() { None } else { Some(parse_clock(to)?) };
    to.is_none_or(|to| to >= from).then_some((from, to))
}

/// Groups 0 1 2 3 as 0 1 0 1 2 1 2 3 2 3: each pair of neighbours, then on from the first of the next pair.
fn overlapping(parts: &[Range<u64>]) -> Vec<Range<u64>> {
    if parts.len() < 2 {
        return parts.to_vec();
    }
    parts.windows(2).flat_map(|pair| pair.iter().cloned()).collect()
}

fn md5(text: &str) -> String {
    let mut sum = Checksum::new(ChecksumType::Md5).expect("GLib knows MD5");
    sum.update(text.as_bytes());
    sum.string().expect("a sum of something")
}
