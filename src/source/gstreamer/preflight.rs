//! One bounded RTSP question before a pipeline is started.
//!
//! rtspsrc cannot tell "refused" from "no such name", follows redirects to anywhere and for ever, and reserves as
//! much memory as a camera announces. So we ask first, with a bound on time, bytes and redirects, and give rtspsrc an
//! address that answers as it should. The connection is closed before rtspsrc opens its own; no session is set up.

use std::io;

use http_auth::{PasswordClient, PasswordParams};
use rtsp_types::{
    Message, Method, ParseError, Request, Response, StatusCode, Version,
    headers::{ACCEPT, AUTHORIZATION, CSEQ, LOCATION, USER_AGENT, WWW_AUTHENTICATE},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::tls::TlsPipe;
use crate::{
    base::{Secret, mask},
    model::{
        address::StreamUrl,
        pipeline::SourceSettings,
        segment::{AudioCodec, Codec},
        source::{Description, SourceKind},
        status::{StreamError, StreamErrorKind},
    },
    source::connect::connect,
};

/// Longest answer that is read. Session descriptions of cameras have one or two kilobytes.
const ANSWER_MAX: usize = 256 * 1024;
const AGENT: &str = concat!("Watchkeeper/", env!("CARGO_PKG_VERSION"));

/// What a camera says of a stream, and what rtspsrc needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// For everybody.
    pub description: Description,
    /// Whether it asked for a password, in a way that keeps it secret or is allowed nevertheless.
    pub log_in: bool,
    /// The absolute URL of the session-level `a=control`, if there is one (RFC 2326, C.1.1). It often differs from the URL that was
    /// asked for: by a slash (Hikvision), a port or a query (Axis), or the host (behind NAT). rtspsrc takes it for its own location,
    /// which is no redirect.
    pub session_control: Option<String>,
}

impl Described {
    /// What opens the stream that was described, and nothing else: rtspsrc answers any challenge with what it has, so it
    /// has a password only if one was asked for as it should be; and it talks to this certificate only.
    pub fn settle(&self, settings: &mut SourceSettings) {
        settings.url = self.description.url.clone();
        settings.tls_fingerprint = self.description.fingerprint.clone();
        if !self.log_in {
            (settings.username, settings.password) = (None, None);
        }
    }
}

/// Asks the camera to describe the stream. A stream that we could not record is a [`StreamError`] already here.
pub async fn describe(settings: &SourceSettings) -> Result<Described, StreamError> {
    let silent = lost(StreamErrorKind::Silent, "the camera accepts the connection but does not answer");
    timeout(settings.answer_within(), describe_unbounded(settings)).await.unwrap_or(Err(silent))
}

async fn describe_unbounded(settings: &SourceSettings) -> Result<Described, StreamError> {
    let mut url = settings.url.clone();
    let mut redirected = false;
    let mut log_in = false;
    let mut asker = Asker::connect(&url, settings).await?;
    loop {
        let mut answer = asker.ask(Method::Describe, &url, None).await?;
        if answer.status() == StatusCode::Unauthorized {
            let authorization = authorize(settings, &url, &answer)?;
            log_in = true;
            answer = asker.ask(Method::Describe, &url, Some(authorization)).await?;
        }
        let status = u16::from(answer.status());
        match status {
            200 => {
                let description = String::from_utf8_lossy(answer.body());
                let (video, audio) = encodings(&description);
                let known = |name: &String| Codec::ALL.iter().copied().find(|codec| codec.rtp_name() == name);
                let Some(codec) = video.iter().find_map(known) else {
                    let offers = if video.is_empty() { "no video".to_owned() } else { video.join(", ") };
                    let text = format!("the stream offers {offers}; only H.264 and H.265 can be recorded");
                    return Err(lost(StreamErrorKind::UnsupportedCodec, &text));
                };
                let session_control = session_control(&description);
                let known =
                    |name: &String| AudioCodec::ALL.iter().copied().find(|codec| codec.rtp_name() == name);
                let description = Description {
                    url,
                    codec,
                    audio: audio.iter().find_map(known).filter(|_| settings.audio),
                    audio_offered: audio,
                    fingerprint: asker.fingerprint(),
                    source: SourceKind::Rtspsrc,
                    fallback: None,
                };
                return Ok(Described { description, log_in, session_control });
            }
            300..=399 => {
                let location = answer.header(&LOCATION).map(|value| value.as_str()).unwrap_or_default();
                let next = url.redirected(location).filter(|_| !redirected).ok_or_else(|| {
                    let text = format!(
                        "the camera redirects to {location:?}; one redirect on the same host is followed"
                    );
                    lost(StreamErrorKind::Redirected, &text)
                })?;
                redirected = true;
                asker = Asker::connect(&next, settings).await?;
                url = next;
            }
            403 => {
                let text = "the camera does not let this user see the stream";
                return Err(lost(StreamErrorKind::Forbidden, text));
            }
            401 => {
                return Err(lost(
                    StreamErrorKind::Unauthorised,
                    "the camera refuses the user name and password",
                ));
            }
            404 | 410 | 454 => {
                return Err(lost(StreamErrorKind::NoSuchStream, "the camera has no stream at this URL"));
            }
            _ => {
                let reason = answer.reason_phrase();
                return Err(lost(
                    StreamErrorKind::Protocol,
                    &format!("the camera answers {status} {reason}"),
                ));
            }
        }
    }
}

fn lost(loss: StreamErrorKind, detail: &str) -> StreamError {
    StreamError { kind: loss, detail: mask::urls(detail) }
}

fn authorize(
    settings: &SourceSettings,
    url: &StreamUrl,
    answer: &Response<Vec<u8>>,
) -> Result<String, StreamError> {
    let refused = |detail: &str| lost(StreamErrorKind::Unauthorised, detail);
    let Some(username) = &settings.username else {
        return Err(refused("the camera asks for a user name and password, and none is set"));
    };
    let mut builder = PasswordClient::builder();
    for (_, value) in answer.headers().filter(|(name, _)| **name == WWW_AUTHENTICATE) {
        builder = builder.challenges(value.as_str());
    }
    let mut client = builder
        .build()
        .map_err(|error| refused(&format!("the camera asks for a log-in we do not know: {error}")))?;
    if matches!(client, PasswordClient::Basic(_)) && !url.tls() && !settings.allow_basic {
        return Err(lost(
            StreamErrorKind::BasicRefused,
            "the camera takes the password only in clear (Basic); it was not sent",
        ));
    }
    let password = settings.password.as_ref().map(Secret::reveal).unwrap_or_default();
    let params = PasswordParams { username, password, uri: url.as_str(), method: "DESCRIBE", body: None };
    client
        .respond(&params)
        .map_err(|error| refused(&format!("the camera asks for a log-in we do not know: {error}")))
}

/// Video and audio encodings of a session description. Cameras' descriptions are often not quite right, so only the
/// two kinds of line that matter are read (RFC 8866: `m=`, `a=rtpmap:`; static types from RFC 3551).
fn encodings(description: &str) -> (Vec<String>, Vec<String>) {
    let (mut video, mut audio) = (Vec::new(), Vec::new());
    let mut section: Option<&mut Vec<String>> = None;
    for line in description.lines().map(str::trim) {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split_whitespace();
            section = match words.next() {
                Some("video") => Some(&mut video),
                Some("audio") => Some(&mut audio),
                _ => None,
            };
            let named = match words.nth(2) {
                Some("0") => "PCMU",
                Some("8") => "PCMA",
                Some("26") => "JPEG",
                _ => continue,
            };
            section.iter_mut().for_each(|names| names.push(named.to_owned()));
        } else if let Some(map) = line.strip_prefix("a=rtpmap:")
            && let Some(names) = &mut section
            && let Some(name) = map.split_whitespace().nth(1).and_then(|format| format.split('/').next())
        {
            let name = name.to_ascii_uppercase();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    (video, audio)
}

/// The absolute URL among the `a=control` lines before the first `m=` line, found as rtspsrc finds it.
fn session_control(description: &str) -> Option<String> {
    let session = description.lines().map(str::trim).take_while(|line| !line.starts_with("m="));
    let mut controls = session.filter_map(|line| line.strip_prefix("a=control:"));
    controls.find(|control| control.starts_with("rtsp://")).map(str::to_owned)
}

/// What carries questions and answers.
enum Wire {
    Plain(TcpStream),
    Tls(TlsPipe),
}

impl Wire {
    /// Writes, and reads what comes next; nothing at the end.
    async fn exchange(&mut self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(stream) => {
                stream.write_all(&bytes).await?;
                let mut read = Vec::new();
                stream.read_buf(&mut read).await?;
                Ok(read)
            }
            Self::Tls(pipe) => pipe.exchange(bytes).await,
        }
    }
}

/// A connection that asks one thing after the other.
struct Asker {
    wire: Wire,
    asked: u32,
}

impl Asker {
    async fn connect(url: &StreamUrl, settings: &SourceSettings) -> Result<Self, StreamError> {
        let stream = connect(url.host(), url.port()).await?;
        let wire = if url.tls() {
            let stream =
                stream.into_std().map_err(|error| lost(StreamErrorKind::Internal, &error.to_string()))?;
            Wire::Tls(TlsPipe::open(stream, settings.tls_fingerprint.clone()).await?)
        } else {
            Wire::Plain(stream)
        };
        Ok(Self { wire, asked: 0 })
    }

    fn fingerprint(&self) -> Option<String> {
        match &self.wire {
            Wire::Plain(_) => None,
            Wire::Tls(pipe) => Some(pipe.fingerprint.clone()),
        }
    }

    async fn ask(
        &mut self,
        method: Method,
        url: &StreamUrl,
        authorization: Option<String>,
    ) -> Result<Response<Vec<u8>>, StreamError> {
        let ended = |error: io::Error| {
            lost(StreamErrorKind::Ended, &format!("the camera broke the connection: {error}"))
        };
        self.asked += 1;
        let uri = url
            .as_str()
            .parse()
            .map_err(|_| lost(StreamErrorKind::Internal, "the URL does not parse twice"))?;
        let mut request = Request::builder(method, Version::V1_0)
            .request_uri::<rtsp_types::Url>(uri)
            .header(CSEQ, self.asked.to_string())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/sdp");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut bytes = Vec::new();
        request
            .empty()
            .write(&mut bytes)
            .map_err(|error| lost(StreamErrorKind::Internal, &format!("cannot write a request: {error}")))?;
        let mut answer = self.wire.exchange(bytes).await.map_err(ended)?;
        let mut over = answer.is_empty();
        loop {
            match Message::<Vec<u8>>::parse(&answer) {
                Ok((Message::Response(response), _)) => return Ok(response),
                // Requests and data of the camera's own are not for us.
                Ok((_, consumed)) => {
                    answer.drain(..consumed);
                    continue;
                }
                Err(ParseError::Incomplete(missing)) => {
                    if answer.len() + missing.map_or(1, |n| n.get()) > ANSWER_MAX {
                        return Err(lost(
                            StreamErrorKind::Protocol,
                            "the camera announces an answer of absurd size",
                        ));
                    }
                }
                Err(ParseError::Error) => {
                    return Err(lost(StreamErrorKind::Protocol, "what answers there does not speak RTSP"));
                }
            }
            if over {
                return Err(lost(
                    StreamErrorKind::Ended,
                    "the camera closed the connection instead of answering",
                ));
            }
            let more = self.wire.exchange(Vec::new()).await.map_err(ended)?;
            over = more.is_empty();
            answer.extend(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read_as_cameras_write_them() {
        let text = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 h264/90000\r\nm=audio 0 RTP/AVP 8\r\n\
                    m=audio 0 RTP/AVP 97\na=rtpmap:97 MPEG4-GENERIC/16000\nm=application 0 RTP/AVP 107\n\
                    a=rtpmap:107 vnd.onvif.metadata/90000";
        let (video, audio) = encodings(text);
        assert_eq!(video, ["H264"]);
        assert_eq!(audio, ["PCMA", "MPEG4-GENERIC"]);
        assert_eq!(encodings("m=video 0 RTP/AVP 26\n"), (vec!["JPEG".to_owned()], vec![]));
        assert_eq!(encodings("\u{0}garbage"), (vec![], vec![]));
        let text = "v=0\r\na=control:*\r\na=control:rtsp://192.0.2.7/101/\r\nm=video 0 RTP/AVP 96\r\na=control:rtsp://192.0.2.7/1";
        assert_eq!(session_control(text).as_deref(), Some("rtsp://192.0.2.7/101/"));
        assert_eq!(session_control("m=video 0 RTP/AVP 96\na=control:rtsp://192.0.2.7/1"), None);
    }
}
