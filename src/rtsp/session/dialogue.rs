//! From the first request to the answer to PLAY.

use std::time::{Duration, Instant};

use super::{
    Controls, Description, KeepAliveMethod, LogIn, Output, Pending, Phase, Purpose, Session, SessionError,
    SessionTrack, broken, control::request_uri, log_in::Verdict, not_rtsp, playing::REPORT_EVERY, quote,
    select, transport,
};
use crate::{
    base::Secret,
    model::{
        camera::Transport,
        status::{StreamError, StreamErrorKind},
        timeline::Range,
    },
    rtsp::{
        auth::{Credentials, parse_challenges},
        message::{Headers, Message, write_answer, write_request},
        sdp,
        track::{Delivery, Track},
    },
};

/// How long the answer to OPTIONS is waited for: the stream can be opened without it.
const OPTIONS_WITHIN: Duration = Duration::from_secs(3);
/// How long datagrams are waited for before TCP is tried.
const DATAGRAMS_WITHIN: Duration = Duration::from_secs(5);
/// Bounds of a session's timeout.
const TIMEOUT_MIN: u64 = 5;
const TIMEOUT_MAX: u64 = 3600;
/// Longest session id that is taken, in bytes.
const SESSION_ID_MAX: usize = 256;
/// Requests without an answer that are remembered.
const GIVEN_UP_MAX: usize = 16;
/// RTP packet and RTCP receiver report that open a way for datagrams through firewalls: empty, of no source.
const PUNCH_RTP: [u8; 12] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const PUNCH_RTCP: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 0];
/// Feature tag of requests for a recording (ONVIF Streaming Specification, 6.2).
const REPLAY: &[u8] = b"onvif-replay";

impl Session {
    /// Sends a request; its answer is waited for.
    pub(super) fn send(&mut self, purpose: Purpose, now: Instant) {
        self.cseq = self.cseq.wrapping_add(1);
        let uri = self.uri(purpose);
        let mut headers: Vec<(&str, Vec<u8>)> = vec![
            ("CSeq", self.cseq.to_string().into_bytes()),
            ("User-Agent", self.settings.user_agent.clone().into_bytes()),
        ];
        if let Some(id) = &self.session_id {
            headers.push(("Session", id.clone().into_bytes()));
        }
        let authorization = self.authorization(purpose.method(), &uri);
        let authorised = authorization.is_some();
        headers.extend(authorization.map(|value| ("Authorization", value)));
        match purpose {
            Purpose::Describe => headers.push(("Accept", b"application/sdp".to_vec())),
            Purpose::Setup(track) => headers.push(("Transport", self.offer(track).header().into_bytes())),
            Purpose::Play(_) => headers.push(("Range", range(self.settings.replay).into_bytes())),
            Purpose::Options | Purpose::KeepAlive(_) => {}
        }
        if self.settings.replay.is_some() {
            if !matches!(purpose, Purpose::Options | Purpose::KeepAlive(_)) {
                headers.push(("Require", REPLAY.to_vec()));
            }
            if matches!(purpose, Purpose::Play(_)) {
                headers.push(("Rate-Control", b"no".to_vec()));
            }
        }
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        self.outputs.push_back(Output::Send(write_request(purpose.method(), &uri, &headers)));
        let within = match purpose {
            Purpose::Options => OPTIONS_WITHIN.min(self.settings.answer_within),
            Purpose::KeepAlive(_) => self.keep_alive.answer_within(),
            _ => self.settings.answer_within,
        };
        self.pending = Some(Pending { cseq: self.cseq, purpose, deadline: now + within, authorised });
    }

    fn uri(&self, purpose: Purpose) -> String {
        let session = |number: usize| {
            self.controls.as_ref().and_then(|controls| controls.session().get(number)).cloned()
        };
        let uri = match purpose {
            Purpose::Options | Purpose::Describe => None,
            Purpose::Setup(track) => self.tracks.get(track).map(|track| track.uri.clone()),
            Purpose::Play(number) => session(number),
            Purpose::KeepAlive(_) => session(self.session_uri),
        };
        uri.unwrap_or_else(|| request_uri(&self.url))
    }

    fn offer(&self, track: usize) -> transport::Offer {
        match self.tracks.get(track).and_then(|track| track.client_port) {
            Some(port) => transport::Offer::Ports(port),
            None => transport::Offer::Interleaved(asked_channels(track).0),
        }
    }

    fn authorization(&mut self, method: &str, uri: &str) -> Option<Vec<u8>> {
        let empty = Secret::new("");
        let username = self.settings.username.as_deref()?;
        let password = self.settings.password.as_ref().unwrap_or(&empty);
        self.log_in.authorization(Credentials { username, password }, method, uri)
    }

    /// Tells the camera that the session is over.
    pub(super) fn tear_down(&mut self) {
        let Some(id) = self.session_id.take() else { return };
        self.cseq = self.cseq.wrapping_add(1);
        let uri = self.uri(Purpose::Play(self.session_uri));
        let authorization = self.authorization("TEARDOWN", &uri);
        let cseq = self.cseq.to_string();
        let mut headers: Vec<(&str, &[u8])> = vec![
            ("CSeq", cseq.as_bytes()),
            ("User-Agent", self.settings.user_agent.as_bytes()),
            ("Session", id.as_bytes()),
        ];
        headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
        self.outputs.push_back(Output::Send(write_request("TEARDOWN", &uri, &headers)));
    }

    /// Takes a request of the camera's own.
    pub(super) fn request(&mut self, method: &str, headers: &Headers, now: Instant) {
        let ends = matches!(method, "TEARDOWN" | "REDIRECT");
        let known = ends || matches!(method, "OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER");
        let (status, reason) = if known { (200, "OK") } else { (501, "Not Implemented") };
        let cseq = headers.all("cseq").next().unwrap_or(b"0");
        let mut answer: Vec<(&str, &[u8])> = vec![("CSeq", cseq)];
        if let Some(id) = &self.session_id {
            answer.push(("Session", id.as_bytes()));
        }
        self.outputs.push_back(Output::Send(write_answer(status, reason, &answer)));
        match self.phase {
            _ if !ends => {}
            Phase::Playing => self.end(now),
            _ => self.fail(StreamError::new(
                StreamErrorKind::Ended,
                "the camera ended the session before it played",
            )),
        }
    }

    /// Takes an answer, if it is that of the request that waits for one.
    pub(super) fn answer(&mut self, status: u16, reason: &str, message: &Message, now: Instant) {
        let headers = &message.headers;
        if let Some(public) = headers.get("public") {
            self.keep_alive.learn(&public);
        }
        if self.server.is_none() {
            self.server = headers.get("server").map(|server| quote(&server));
        }
        // An answer that names no request, or one that never was, is taken; one that names a request given up is late.
        let named = headers.get("cseq").and_then(|cseq| cseq.trim().parse::<u32>().ok());
        let pending = self.pending.filter(|pending| named == Some(pending.cseq));
        let late = pending.is_none() && named.is_some_and(|cseq| self.given_up.contains(&cseq));
        let Some(pending) = pending.or(self.pending).filter(|_| !late && status >= 200) else {
            return;
        };
        if pending.purpose == Purpose::Describe
            && status < 300
            && message.body.is_empty()
            && headers.get("public").is_some()
        {
            // A late answer to OPTIONS that does not name its request.
            return;
        }
        self.pending = None;
        if status == 401 {
            self.challenged(pending, headers, now);
            return;
        }
        if pending.authorised && status != 403 {
            self.log_in.accept();
        }
        match pending.purpose {
            Purpose::Options => self.send(Purpose::Describe, now),
            Purpose::Describe => self.described(status, reason, message, now),
            Purpose::Setup(track) => self.set_up(track, status, reason, headers, now),
            Purpose::Play(number) => self.play(number, status, reason, headers, now),
            Purpose::KeepAlive(method) if status < 300 => {
                self.keep_alive.accept(method);
                self.last_answer = Some(now);
            }
            Purpose::KeepAlive(method) => self.keep_alive.refuse(method, now),
        }
    }

    /// A request was answered with 401.
    fn challenged(&mut self, pending: Pending, headers: &Headers, now: Instant) {
        self.challenged = true;
        let verdict = if self.settings.username.is_none() {
            Err(StreamError::new(
                StreamErrorKind::Unauthorised,
                "the camera asks for a user name and password, and none is set",
            )
            .into())
        } else {
            let challenges = parse_challenges(headers.all("www-authenticate"));
            let clear_text = self.url.tls() || self.settings.allow_basic;
            let cnonce = format!("{:016x}", rand::random::<u64>());
            let avoid_sha256 = self.settings.avoid_sha256;
            match self.log_in.challenged(&challenges, pending.authorised, clear_text, avoid_sha256, cnonce) {
                Verdict::Again => Ok(()),
                Verdict::Refused { try_md5 } => Err(refused(try_md5)),
                Verdict::ClearText => Err(StreamError::new(
                    StreamErrorKind::BasicRefused,
                    "the camera takes the password only in clear (Basic); it was not sent",
                )
                .into()),
                Verdict::Unknown(name) => {
                    let name = if name.is_empty() { "it names none".to_owned() } else { quote(&name) };
                    let detail = format!("the camera asks for a log-in we do not know: {name}");
                    Err(StreamError::new(StreamErrorKind::Unauthorised, detail).into())
                }
            }
        };
        let closes =
            headers.get("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"));
        match (verdict, pending.purpose) {
            (Ok(()), Purpose::KeepAlive(_)) => self.send(pending.purpose, now),
            (Ok(()), _) if closes && !self.reconnected => self.reconnect(pending.purpose),
            (Ok(()), purpose) => self.send(purpose, now),
            (Err(_), Purpose::KeepAlive(method)) => self.keep_alive.refuse(method, now),
            // DESCRIBE tells whether a log-in is needed.
            (Err(error), Purpose::Options) if !matches!(error, SessionError::Refused { .. }) => {
                self.send(Purpose::Describe, now);
            }
            (Err(error), _) => self.fail(error),
        }
    }

    /// Connects again after a camera closed the connection with its 401; the first request has the credentials.
    fn reconnect(&mut self, purpose: Purpose) {
        self.reconnected = true;
        self.connect(if purpose == Purpose::Options { purpose } else { Purpose::Describe });
    }

    fn described(&mut self, status: u16, reason: &str, message: &Message, now: Instant) {
        match status {
            200..=299 if message.body.is_empty() => {
                let detail = "the camera answers DESCRIBE without a description of the stream";
                self.fail(StreamError::new(StreamErrorKind::Protocol, detail));
            }
            200..=299 => self.choose_tracks(message, now),
            300..=399 => {
                let location = message.headers.get("location").unwrap_or_default();
                match self.url.redirected(&location).filter(|_| !self.redirected) {
                    Some(url) => {
                        self.redirected = true;
                        self.url = url;
                        // Another server may ask otherwise.
                        self.log_in = LogIn::default();
                        self.connect(Purpose::Describe);
                    }
                    None => self.fail(redirected(&location)),
                }
            }
            _ => self.fail(refusal(status, reason, Purpose::Describe)),
        }
    }

    fn choose_tracks(&mut self, message: &Message, now: Instant) {
        let description = sdp::parse(&message.body);
        let selected = match select::select(&description, self.delivery, self.settings.replay.is_some()) {
            Ok(selected) => selected,
            Err(error) => return self.fail(error),
        };
        let controls = Controls::new(&self.url, &message.headers, description.control.as_deref());
        let video_uri = controls.media(selected.video.control.as_deref());
        let described = Description {
            url: self.url.clone(),
            codec: selected.codec,
            audio: selected.audio.as_ref().map(|(codec, _)| *codec),
            audio_offered: selected.audio_offered,
            log_in: self.log_in.active(),
        };
        if self.description.as_ref() != Some(&described) {
            self.description = Some(described.clone());
            self.outputs.push_back(Output::Described(described));
        }
        let audio = selected.audio.filter(|_| self.settings.audio).map(|(_, stream)| stream);
        let mut streams = vec![(video_uri.clone(), selected.video)];
        // Without a URI of its own a second track cannot be told from the first.
        let audio = audio.map(|stream| (controls.media(stream.control.as_deref()), stream));
        streams.extend(audio.filter(|(uri, _)| *uri != video_uri));
        self.controls = Some(controls);
        self.session_uri = 0;
        for (uri, select::Stream { setup, .. }) in streams {
            let track = match Track::new(setup.clone()) {
                Ok(track) => track,
                Err(reason) => return self.fail(SessionError::Unsupported(reason.to_string())),
            };
            self.tracks.push(SessionTrack { setup, track, uri, client_port: None, server_ports: None });
        }
        self.set_up_next(0, now);
    }

    /// Sets up the track of this number; plays when there is none.
    fn set_up_next(&mut self, track: usize, now: Instant) {
        match self.tracks.get(track) {
            None => self.send(Purpose::Play(0), now),
            Some(next) if next.setup.delivery == Delivery::Datagrams => {
                self.phase = Phase::OpeningPorts(track);
                self.outputs.push_back(Output::OpenPorts { track });
            }
            Some(_) => self.send(Purpose::Setup(track), now),
        }
    }

    fn set_up(&mut self, number: usize, status: u16, reason: &str, headers: &Headers, now: Instant) {
        let Some(track) = self.tracks.get_mut(number) else { return };
        if status >= 300 {
            return self.set_up_refused(number, status, reason, now);
        }
        let reply = transport::parse(&headers.get("transport").unwrap_or_default());
        if track.setup.delivery == Delivery::Datagrams && reply.over_tcp {
            // Asked for datagrams, and answered with the connection.
            track.setup.delivery = Delivery::Stream;
            if let Ok(other) = Track::new(track.setup.clone()) {
                track.track = other;
            }
        }
        match track.setup.delivery {
            Delivery::Stream => {
                let channels = reply.channels.unwrap_or_else(|| asked_channels(number));
                self.framer.set_route(number, channels, track.setup.payload_type);
            }
            Delivery::Datagrams => {
                track.server_ports = reply.ports;
                if let Some((rtp, rtcp)) = reply.ports {
                    let datagram =
                        |is_rtcp, port, bytes| Output::SendDatagram { track: number, is_rtcp, port, bytes };
                    self.outputs.push_back(datagram(false, rtp, PUNCH_RTP.to_vec()));
                    self.outputs.push_back(datagram(true, rtcp, PUNCH_RTCP.to_vec()));
                }
            }
        }
        self.take_session(headers);
        self.set_up_next(number + 1, now);
    }

    fn set_up_refused(&mut self, number: usize, status: u16, reason: &str, now: Instant) {
        let of_transport = !matches!(status, 300..=399 | 403 | 404 | 410 | 453 | 454);
        if number > 0 {
            // The pictures are worth having without their sound.
            self.tracks.truncate(number);
            self.set_up_next(number, now);
        } else if self.delivery == Delivery::Datagrams
            && self.settings.transport == Transport::Auto
            && of_transport
        {
            self.fall_back();
        } else if status == 461 {
            let kind = match self.delivery {
                Delivery::Stream => "TCP",
                Delivery::Datagrams => "UDP",
            };
            let detail = format!("the camera refuses to send over {kind} ({status} {})", quote(reason));
            self.fail(StreamError::new(StreamErrorKind::TransportRefused, detail));
        } else {
            self.fail(refusal(status, reason, Purpose::Setup(number)));
        }
    }

    /// Opens the stream anew over TCP.
    pub(super) fn fall_back(&mut self) {
        self.tear_down();
        self.delivery = Delivery::Stream;
        self.connect(Purpose::Describe);
    }

    /// Takes the session's id and timeout. A later answer with another id changes nothing.
    fn take_session(&mut self, headers: &Headers) {
        let Some(session) = headers.get("session") else { return };
        let mut parts = session.split(';').map(str::trim);
        let id = parts.next().unwrap_or_default();
        if self.session_id.is_none() && !id.is_empty() && id.len() <= SESSION_ID_MAX {
            self.session_id = Some(id.to_owned());
        }
        let timeout =
            parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim() == "timeout");
        let digits = |value: &str| value.trim().chars().take_while(char::is_ascii_digit).collect::<String>();
        if let Some(seconds) = timeout.and_then(|(_, value)| digits(value).parse::<u64>().ok()) {
            self.session_timeout = Duration::from_secs(seconds.clamp(TIMEOUT_MIN, TIMEOUT_MAX));
        }
    }

    fn play(&mut self, number: usize, status: u16, reason: &str, headers: &Headers, now: Instant) {
        if status >= 300 {
            // A camera that does not know the session under this URI may know it under another.
            let other = self.controls.as_ref().is_some_and(|controls| controls.session().len() > number + 1);
            if other && matches!(status, 400 | 404 | 451 | 454 | 455 | 459 | 460) {
                return self.send(Purpose::Play(number + 1), now);
            }
            return self.fail(refusal(status, reason, Purpose::Play(number)));
        }
        self.take_session(headers);
        self.session_uri = number;
        self.phase = Phase::Playing;
        self.keep_alive.start(self.session_timeout, now);
        self.report_at = Some(now + REPORT_EVERY);
        let datagrams = self.tracks.first().is_some_and(|track| track.setup.delivery == Delivery::Datagrams);
        if datagrams && self.settings.transport == Transport::Auto && !self.received {
            self.fall_back_at = Some(now + DATAGRAMS_WITHIN);
        }
        self.outputs.push_back(Output::Playing);
    }

    /// An answer did not come in time.
    pub(super) fn unanswered(&mut self, pending: Pending, now: Instant) {
        self.pending = None;
        if self.given_up.len() == GIVEN_UP_MAX {
            self.given_up.pop_front();
        }
        self.given_up.push_back(pending.cseq);
        match pending.purpose {
            Purpose::KeepAlive(method) => self.keep_alive.give_up(method, now),
            _ if self.framer.only_stray() => self.fail(not_rtsp()),
            Purpose::Options => self.send(Purpose::Describe, now),
            purpose => {
                let method = purpose.method();
                let detail = format!("the camera accepts the connection but does not answer {method}");
                self.fail(StreamError::new(StreamErrorKind::Silent, detail));
            }
        }
    }

    /// The connection ended before the stream played.
    pub(super) fn disconnected_early(&mut self, error: Option<&str>) {
        let pending = self.pending.take();
        let purpose = pending.map(|pending| pending.purpose);
        // Closed with its 401, while the log-in was under way.
        let after_401 =
            self.challenged && !self.log_in.accepted() && pending.is_some_and(|pending| pending.authorised);
        if let Some(purpose) = purpose.filter(|_| after_401 && !self.reconnected) {
            self.reconnect(purpose);
        } else if purpose == Some(Purpose::Options) && !self.framer.only_stray() && !self.challenged {
            // A camera that does not take OPTIONS.
            self.keep_alive.avoid(KeepAliveMethod::Options);
            self.connect(Purpose::Describe);
        } else if self.framer.only_stray() {
            self.fail(not_rtsp());
        } else {
            self.fail(broken("the camera closed the connection instead of answering", error));
        }
    }
}

/// The channels that a track is asked to use.
fn asked_channels(track: usize) -> (u8, u8) {
    let rtp = u8::try_from(2 * track).unwrap_or(u8::MAX - 1);
    (rtp, rtp + 1)
}

/// The range that is asked for: what is live, or times of a recording (RFC 2326, 3.7).
fn range(replay: Option<Range>) -> String {
    let Some(Range { from, to }) = replay else { return "npt=0.000-".to_owned() };
    // To the millisecond, and not less than what is wanted.
    let clock = |at: crate::base::WallUs| at.utc().format("%Y%m%dT%H%M%S%.3fZ").to_string();
    format!("clock={}-{}", clock(from), clock(to.plus_us(999)))
}

fn refused(try_md5: bool) -> SessionError {
    let detail = "the camera refuses the user name and password";
    SessionError::Refused { error: StreamError::new(StreamErrorKind::Unauthorised, detail), try_md5 }
}

fn redirected(location: &str) -> SessionError {
    let location = quote(location);
    let detail = format!("the camera redirects to \"{location}\"; one redirect on the same host is followed");
    StreamError::new(StreamErrorKind::Redirected, detail).into()
}

fn refusal(status: u16, reason: &str, purpose: Purpose) -> SessionError {
    match status {
        403 => {
            StreamError::new(StreamErrorKind::Forbidden, "the camera does not let this user see the stream")
                .into()
        }
        401 => refused(false),
        404 | 410 | 454 => {
            StreamError::new(StreamErrorKind::NoSuchStream, "the camera has no stream at this URL").into()
        }
        _ => {
            let kind = if status < 400 { StreamErrorKind::Redirected } else { StreamErrorKind::Protocol };
            let detail = format!("the camera answers {} with {status} {}", purpose.method(), quote(reason));
            StreamError::new(kind, detail.trim_end()).into()
        }
    }
}
