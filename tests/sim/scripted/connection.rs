//! One RTSP connection of a scripted camera: requests, answers, and when what is due goes out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::super::talk::{Incoming, Message};
use super::answer::Answer;
use super::description::{Description, QUERY, control};
use super::media::Media;
use super::quirk::{KeepAlive, Quirk};
use super::transport::{Asked, Datagrams, Transport};
use super::{Request, Shared};

const REALM: &str = "IP Camera";
const METHODS: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN";
/// Where an endless head ends after all, for the sake of the machine.
const ENDLESS_HEAD_BYTES: usize = 300_000_000;

/// Serves a connection until it ends.
pub(super) async fn talk(stream: TcpStream, shared: Arc<Shared>) {
    let number = {
        let mut seen = shared.seen();
        seen.connections += 1;
        seen.open += 1;
        seen.most_open = seen.most_open.max(seen.open);
        seen.connections
    };
    // A connection that breaks is the other side's right.
    drop(Connection::serve(stream, shared.clone(), number).await);
    shared.seen().open -= 1;
}

struct Connection {
    shared: Arc<Shared>,
    /// Counts from 1.
    number: usize,
    writer: OwnedWriteHalf,
    /// Session id.
    session: String,
    /// Transports of the tracks that were set up: 0 is the video.
    tracks: Vec<(usize, Transport)>,
    media: Option<Media>,
    /// When the last request came that keeps the session alive.
    counted: Instant,
    peer: IpAddr,
    /// The camera's own address as the client knows it.
    local: SocketAddr,
}

impl Connection {
    async fn serve(stream: TcpStream, shared: Arc<Shared>, number: usize) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (peer, local) = (stream.peer_addr()?.ip(), stream.local_addr()?);
        let (reader, writer) = stream.into_split();
        let mut incoming = Incoming::new(reader);
        let mut connection = Connection {
            shared,
            number,
            writer,
            session: session_id(),
            tracks: Vec::new(),
            media: None,
            counted: Instant::now(),
            peer,
            local,
        };
        loop {
            let due = connection.media.as_ref().map(|media| media.due().min(connection.ends_at()));
            let something_is_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = incoming.next() => {
                    let Some(message) = message? else { return Ok(()) };
                    if !connection.handle(&message).await? {
                        return Ok(());
                    }
                }
                () = something_is_due => {
                    if connection.ends_at() <= Instant::now() {
                        return Ok(());
                    }
                    let Some(media) = &mut connection.media else { continue };
                    if !media.send(&mut connection.writer, &connection.tracks).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// When the session ends unless a request comes.
    fn ends_at(&self) -> Instant {
        self.counted + Duration::from_secs(self.shared.spec.session_timeout_s.into())
    }

    fn keep_alive(&self) -> Option<KeepAlive> {
        self.shared.spec.quirks.iter().find_map(|quirk| match quirk {
            Quirk::KeepAlive(kind) => Some(*kind),
            _ => None,
        })
    }

    /// The nonce that is good now.
    fn nonce(&self) -> String {
        let mut number = u64::from(self.shared.at.port()) << 32;
        for quirk in &self.shared.spec.quirks {
            match quirk {
                Quirk::NewNonceEvery(period) => {
                    number += (self.shared.epoch.elapsed().as_millis() / period.as_millis()) as u64;
                }
                Quirk::NonceForOneRequest => number += self.shared.seen().nonces,
                _ => (),
            }
        }
        format!("{number:032x}")
    }

    /// False if the connection is to be closed.
    async fn handle(&mut self, message: &Message) -> std::io::Result<bool> {
        let admitted = self.admits(message);
        let answer = match message.method.starts_with("RTSP/") {
            true => None,
            false => self.answer(message, admitted),
        };
        if self.counts(message, admitted) {
            self.counted = Instant::now();
        }
        let answered = answer.as_ref().map_or("", Answer::code);
        self.shared.seen().requests.push(Request {
            connection: self.number,
            at: Instant::now(),
            method: message.method.clone(),
            url: message.url.clone(),
            authorization: message.header("authorization").map(str::to_owned),
            answered,
        });
        let Some(answer) = answer else { return Ok(true) };
        if let ("DESCRIBE" | "SETUP" | "PLAY", Some(delay)) = (&*message.method, self.slow_answers()) {
            tokio::time::sleep(delay).await;
        }
        if message.method == "DESCRIBE" && answered == "200" && self.shared.has(&Quirk::EndlessHead) {
            self.write_endless_head().await?;
            return Ok(false);
        }
        let cseq = message.header("cseq").unwrap_or("0");
        self.writer.write_all(&answer.bytes(&message.method, cseq, &self.shared.spec.quirks)).await?;
        if answer.closes {
            self.writer.shutdown().await?;
            return Ok(false);
        }
        if message.method == "PLAY" && answered == "200" && self.media.is_none() {
            self.shared.seen().plays.push(self.number);
            let tracks: Vec<usize> = self.tracks.iter().map(|(track, _)| *track).collect();
            self.media = Some(Media::new(self.shared.clone(), self.number, &tracks));
        }
        Ok(true)
    }

    fn slow_answers(&self) -> Option<Duration> {
        self.shared.spec.quirks.iter().find_map(|quirk| match quirk {
            Quirk::SlowAnswers(delay) => Some(*delay),
            _ => None,
        })
    }

    async fn write_endless_head(&mut self) -> std::io::Result<()> {
        self.writer.write_all(b"RTSP/1.0 200 OK\r\n").await?;
        let line = [&b"X-Endless: "[..], &[b'a'; 1000], b"\r\n"].concat().repeat(16);
        let mut written = 0;
        while written < ENDLESS_HEAD_BYTES {
            self.writer.write_all(&line).await?;
            written += line.len();
        }
        Ok(())
    }

    fn admits(&self, message: &Message) -> bool {
        match &self.shared.spec.login {
            _ if self.challenges_with_basic() => false,
            Some(login) => login.admits(message, REALM, &self.nonce()),
            None => true,
        }
    }

    fn challenges_with_basic(&self) -> bool {
        self.number.is_multiple_of(2) && self.shared.has(&Quirk::BasicOnEvenConnections)
    }

    /// Whether a request keeps the session alive.
    fn counts(&self, message: &Message, admitted: bool) -> bool {
        let method = message.method.as_str();
        let begins = matches!(method, "DESCRIBE" | "SETUP" | "PLAY");
        match self.keep_alive() {
            _ if method.starts_with("RTSP/") => false,
            Some(KeepAlive::OptionsOnly) => begins || method == "OPTIONS",
            Some(KeepAlive::Unlisted) => begins || method == "GET_PARAMETER",
            Some(KeepAlive::SetParameterOnly) => begins || matches!(method, "OPTIONS" | "SET_PARAMETER"),
            Some(KeepAlive::OnlyAuthorised) => admitted,
            _ => true,
        }
    }

    /// `None`: none is given.
    fn answer(&mut self, message: &Message, admitted: bool) -> Option<Answer> {
        if message.method != "OPTIONS" && !admitted {
            return Some(self.challenge(message));
        }
        if message.method != "OPTIONS" && self.shared.has(&Quirk::NonceForOneRequest) {
            self.shared.seen().nonces += 1;
        }
        if self.shared.has(&Quirk::SessionIdChanges) {
            self.session = session_id();
        } else if matches!(&*message.method, "PLAY" | "GET_PARAMETER" | "SET_PARAMETER")
            && message.header("session").is_none_or(|id| id.split(';').next() != Some(&self.session))
        {
            return Some(Answer::new("454 Session Not Found"));
        }
        if matches!(&*message.method, "SETUP" | "PLAY")
            && self.shared.has(&Quirk::ControlsWithQuery)
            && !message.url.contains(QUERY)
        {
            return Some(Answer::new("404 Not Found"));
        }
        let session = format!("Session: {}", self.session);
        Some(match message.method.as_str() {
            "OPTIONS" if self.shared.has(&Quirk::OptionsNotImplemented) => Answer::new("501 Not Implemented"),
            "OPTIONS" => Answer::new("200 OK").with(format!("Public: {}", self.public())),
            "DESCRIBE" => self.describe(),
            "SETUP" => self.set_up(message),
            "PLAY" if self.tracks.is_empty() => Answer::new("455 Method Not Valid in This State"),
            "PLAY" if self.shared.has(&Quirk::RangeEnds) => {
                let info =
                    format!("RTP-Info: url=rtsp://{}{}/trackID=1", self.shared.at, self.shared.spec.path);
                Answer::new("200 OK").with(session).with("Range: npt=0.000-5.000").with(info)
            }
            "PLAY" => Answer::new("200 OK").with(session).with("Range: npt=now-"),
            "TEARDOWN" => Answer { closes: true, ..Answer::new("200 OK") },
            "GET_PARAMETER" | "SET_PARAMETER" => return self.parameter(message, session),
            _ => Answer::new("501 Not Implemented"),
        })
    }

    fn challenge(&self, message: &Message) -> Answer {
        let closes = [Quirk::ClosesWith401, Quirk::SaysConnectionClose];
        let mut answer = Answer::new("401 Unauthorized");
        answer.closes = closes.iter().any(|quirk| self.shared.has(quirk));
        if self.challenges_with_basic() {
            return answer.with(format!("WWW-Authenticate: Basic realm=\"{REALM}\""));
        }
        let stale = message.header("authorization").is_some() && self.shared.has(&Quirk::NonceForOneRequest);
        for challenge in
            self.shared.spec.login.iter().flat_map(|login| login.challenges(REALM, &self.nonce(), stale))
        {
            answer = answer.with(challenge);
        }
        if self.shared.has(&Quirk::SaysConnectionClose) {
            answer = answer.with("Connection: close");
        }
        answer
    }

    fn public(&self) -> String {
        match self.keep_alive() {
            Some(KeepAlive::OptionsOnly | KeepAlive::Unlisted) => METHODS.to_owned(),
            Some(KeepAlive::SetParameterOnly) => format!("{METHODS}, SET_PARAMETER"),
            _ => format!("{METHODS}, GET_PARAMETER"),
        }
    }

    fn parameter(&self, message: &Message, session: String) -> Option<Answer> {
        let (is_get, has_body) = (message.method == "GET_PARAMETER", !message.body.is_empty());
        Some(match self.keep_alive() {
            Some(KeepAlive::NeverAnswered) if is_get => return None,
            Some(KeepAlive::OptionsOnly | KeepAlive::SetParameterOnly) if is_get => {
                Answer::new("405 Method Not Allowed")
            }
            Some(KeepAlive::OptionsOnly) => Answer::new("405 Method Not Allowed"),
            Some(KeepAlive::NotFound) => Answer::new("454 Session Not Found"),
            Some(KeepAlive::NotImplemented) => Answer::new("501 Not Implemented"),
            Some(KeepAlive::ClosesForBody) if has_body => {
                Answer { closes: true, ..Answer::new("400 Bad Request") }
            }
            Some(KeepAlive::BodyNotUnderstood) if has_body => Answer::new("451 Parameter Not Understood"),
            _ => Answer::new("200 OK").with(session),
        })
    }

    fn describe(&self) -> Answer {
        for quirk in &self.shared.spec.quirks {
            if let Quirk::RedirectsTo(location) = quirk {
                return Answer::new("302 Found").with(format!("Location: {location}"));
            }
        }
        let said = Description::new(&self.shared.spec, &self.shared.pictures, self.local);
        let mut answer = Answer::new("200 OK");
        if let Some(base) = said.content_base {
            answer = answer.with(format!("Content-Base: {base}"));
        }
        Answer { body: said.body, ..answer.with("Content-Type: application/sdp") }
    }

    fn set_up(&mut self, message: &Message) -> Answer {
        let Some(track) = self.track(&message.url) else { return Answer::new("404 Not Found") };
        let quirks = &self.shared.spec.quirks;
        let Some(asked) = message.header("transport").and_then(|header| Asked::parse(header, quirks)) else {
            return Answer::new("461 Unsupported Transport");
        };
        let (transport, said) = match asked {
            Asked::Interleaved(channel) => {
                let mut channel = channel;
                let mut said =
                    format!("RTP/AVP/TCP;unicast;interleaved={channel}-{};ssrc=00001234", channel + 1);
                for quirk in quirks {
                    match quirk {
                        Quirk::Channels(first) => {
                            channel = first + 2 * track as u8;
                            said = format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel + 1);
                        }
                        Quirk::NoChannels => said = "RTP/AVP/TCP;unicast".to_owned(),
                        Quirk::OddSsrc => said = said.replace("ssrc=00001234", "ssrc=4317f"),
                        _ => (),
                    }
                }
                (Transport::Interleaved { channel }, said)
            }
            Asked::Ports(rtp, rtcp) => {
                let Ok(sockets) = Datagrams::bind(self.local.ip(), self.peer, (rtp, rtcp)) else {
                    return Answer::new("500 Internal Server Error");
                };
                let port = sockets.port().unwrap_or_default();
                let mut said =
                    format!("RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={port}-{}", port + 1);
                for quirk in quirks {
                    if let Quirk::SourceElsewhere(at) = quirk {
                        let (ip, port) = (at.ip(), at.port());
                        said = format!(
                            "RTP/AVP;unicast;destination={ip};source={ip};client_port={rtp}-{rtcp};server_port={port}-{}",
                            port + 1
                        );
                    }
                }
                (Transport::Datagrams(sockets), said)
            }
        };
        self.tracks.push((track, transport));
        let session = format!("Session: {};timeout={}", self.session, self.shared.spec.session_timeout_s);
        Answer::new("200 OK").with(session).with(format!("Transport: {said}"))
    }

    /// The track that a URL means: 0 is the video.
    fn track(&self, url: &str) -> Option<usize> {
        if self.shared.has(&Quirk::NoControl) {
            return url.contains(&self.shared.spec.path).then_some(0);
        }
        (0..=self.shared.spec.sound.len()).find(|track| url.contains(&control(*track)))
    }
}

fn session_id() -> String {
    rand::random_range(10_000_000..100_000_000_u32).to_string()
}
