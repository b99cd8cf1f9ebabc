//! Asks a camera for what it recorded, over ONVIF Profile G: which services it has, which recording is the stream's, and the
//! address that replays it. SOAP 1.2 over HTTP, with the digest of WS-Security. Blocks: belongs on a thread of its own.
//!
//! Whatever an answer says, nothing but the camera's own host is talked to, and what it sends is bounded.

use std::{io::Read as _, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use roxmltree::{Document, Node};
use sha1::{Digest as _, Sha1};

use crate::{
    base::{Secret, WallUs},
    model::address::{BadAddress, StreamUrl, bracketed},
};

/// An answer comes within this.
const WITHIN: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes: a recorder with hundreds of recordings sends some hundred KB.
const ANSWER_MAX: u64 = 2 << 20;

const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
const RECORDING: &str = "http://www.onvif.org/ver10/recording/wsdl";
const REPLAY: &str = "http://www.onvif.org/ver10/replay/wsdl";
const SCHEMA: &str = "http://www.onvif.org/ver10/schema";
const ENVELOPE: &str = "http://www.w3.org/2003/05/soap-envelope";

/// Why a camera gave no replay.
#[derive(Debug, thiserror::Error)]
pub enum OnvifError {
    /// It does not answer.
    #[error("the ONVIF service does not answer: {0}")]
    Silent(String),
    /// It does not accept the account.
    #[error("the ONVIF service does not accept the user name or password")]
    Unauthorised,
    /// It answers with a fault.
    #[error("the ONVIF service refuses: {0}")]
    Fault(String),
    /// Its answer makes no sense.
    #[error("the ONVIF service answers what is no answer: {0}")]
    Odd(String),
    /// It has no storage, or offers none.
    #[error("the camera offers no {0} over ONVIF")]
    Without(&'static str),
    /// Its replay is nowhere.
    #[error("the camera names no usable address of its replay")]
    Address(#[from] BadAddress),
}

/// How a camera's ONVIF services are reached.
#[derive(Clone, Debug)]
pub struct Device {
    /// Host name or IP address.
    pub host: String,
    /// TCP port of the device service.
    pub port: u16,
    /// Account, if it needs one.
    pub login: Option<(String, Secret)>,
    /// Which of its recordings, from 1, if it has several.
    pub channel: u16,
}

/// What a camera offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The address that replays its recording.
    pub url: StreamUrl,
    /// How far its clock is ahead of the host's, to the second, in microseconds.
    pub ahead_us: i64,
}

impl Device {
    /// The address that replays what it recorded.
    pub fn offer(&self) -> Result<Offer, OnvifError> {
        let ahead_us = self.clock()?;
        let services = self.services(ahead_us)?;
        let path = |namespace, what| {
            let found = services.iter().find(|(of, _)| of == namespace);
            found.map(|(_, path)| path.as_str()).ok_or(OnvifError::Without(what))
        };
        let (recording, replay) = (path(RECORDING, "recording service")?, path(REPLAY, "replay service")?);
        let token = self.recording(recording, ahead_us)?;
        let ask = format!(
            "<GetReplayUri xmlns=\"{REPLAY}\"><StreamSetup>\
             <Stream xmlns=\"{SCHEMA}\">RTP-Unicast</Stream>\
             <Transport xmlns=\"{SCHEMA}\"><Protocol>RTSP</Protocol></Transport>\
             </StreamSetup><RecordingToken>{}</RecordingToken></GetReplayUri>",
            escaped(&token)
        );
        let answer = self.ask(replay, &ask, Some(ahead_us))?;
        let uri = first_text(&answer, "Uri")?.ok_or(OnvifError::Without("address of its replay"))?;
        Ok(Offer { url: self.own(&uri)?, ahead_us })
    }

    /// An address on the camera's own host, whatever host it names: behind a router it knows only its inner one, and the
    /// password is for no other.
    fn own(&self, uri: &str) -> Result<StreamUrl, BadAddress> {
        let named = StreamUrl::parse(uri.trim())?;
        let rest = uri.trim().split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find(['/', '?']).map_or("/", |at| &rest[at..]);
        let scheme = if named.tls() { "rtsps" } else { "rtsp" };
        StreamUrl::parse(&format!("{scheme}://{}:{}{path}", bracketed(&self.host), named.port()))
    }

    /// How far its clock is ahead: it tells that to anybody (ONVIF Core Specification, 8.2.3).
    fn clock(&self) -> Result<i64, OnvifError> {
        let answer = self.ask("/onvif/device_service", &call("GetSystemDateAndTime"), None)?;
        let document = parse(&answer)?;
        let utc = document.descendants().find(|node| node.has_tag_name((SCHEMA, "UTCDateTime")));
        let number = |name: &str| -> Option<u32> {
            let node = utc?.descendants().find(|node| node.has_tag_name((SCHEMA, name)))?;
            node.text()?.trim().parse().ok()
        };
        let time = || -> Option<WallUs> {
            let (year, month, day) = (number("Year")?, number("Month")?, number("Day")?);
            let (hour, minute, second) = (number("Hour")?, number("Minute")?, number("Second")?);
            WallUs::parse(&format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
        };
        let camera = time().ok_or_else(|| OnvifError::Odd("it tells no time".to_owned()))?;
        Ok(camera.0 - WallUs::now().0)
    }

    /// Its services, by namespace, with their paths.
    fn services(&self, ahead_us: i64) -> Result<Vec<(String, String)>, OnvifError> {
        let ask = format!(
            "<GetServices xmlns=\"{DEVICE}\"><IncludeCapability>false</IncludeCapability></GetServices>"
        );
        let answer = self.ask("/onvif/device_service", &ask, Some(ahead_us))?;
        let document = parse(&answer)?;
        let services = document.descendants().filter(|node| node.has_tag_name((DEVICE, "Service")));
        let read = |service: Node<'_, '_>| {
            let text = |name| {
                let node = service.children().find(|node| node.has_tag_name((DEVICE, name)))?;
                Some(node.text()?.trim().to_owned())
            };
            let address = text("XAddr")?;
            let (_, rest) = address.split_once("://")?;
            Some((text("Namespace")?, rest.find('/').map_or("/", |at| &rest[at..]).to_owned()))
        };
        Ok(services.filter_map(read).collect())
    }

    /// The token of the recording that has the channel's pictures.
    fn recording(&self, path: &str, ahead_us: i64) -> Result<String, OnvifError> {
        let answer = self.ask(path, &format!("<GetRecordings xmlns=\"{RECORDING}\"/>"), Some(ahead_us))?;
        let document = parse(&answer)?;
        let has_video = |item: &Node<'_, '_>| {
            let types = item.descendants().filter(|node| node.tag_name().name() == "TrackType");
            types.filter_map(|node| node.text()).any(|text| text.trim() == "Video")
        };
        let items = document.descendants().filter(|node| node.tag_name().name() == "RecordingItem");
        let with_video: Vec<_> = items.filter(has_video).collect();
        let chosen = with_video.get(usize::from(self.channel.max(1)) - 1).or(with_video.first());
        let token = chosen.and_then(|item| {
            let node = item.children().find(|node| node.tag_name().name() == "RecordingToken")?;
            Some(node.text()?.trim().to_owned())
        });
        token.ok_or(OnvifError::Without("recording"))
    }

    /// Asks a service; with `ahead_us`, as the account, on the camera's clock.
    fn ask(&self, path: &str, body: &str, ahead_us: Option<i64>) -> Result<String, OnvifError> {
        let header = ahead_us.zip(self.login.as_ref()).map(|(ahead_us, (user, password))| {
            let created = WallUs::now().plus_us(ahead_us).utc().format("%Y-%m-%dT%H:%M:%SZ").to_string();
            security(user, password, &rand::random::<[u8; 16]>(), &created)
        });
        let envelope = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><s:Envelope xmlns:s=\"{ENVELOPE}\"><s:Header>{}</s:Header>\
             <s:Body>{body}</s:Body></s:Envelope>",
            header.unwrap_or_default()
        );
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(WITHIN))
            .build()
            .new_agent();
        let url = format!("http://{}:{}{path}", bracketed(&self.host), self.port);
        let sent =
            agent.post(&url).header("content-type", "application/soap+xml; charset=utf-8").send(&envelope);
        let mut answer = sent.map_err(|error| OnvifError::Silent(error.to_string()))?;
        let status = answer.status().as_u16();
        let mut text = String::new();
        let read = answer.body_mut().as_reader().take(ANSWER_MAX + 1).read_to_string(&mut text);
        read.map_err(|error| OnvifError::Silent(error.to_string()))?;
        if text.len() as u64 > ANSWER_MAX {
            return Err(OnvifError::Odd(format!("it has more than {ANSWER_MAX} bytes")));
        }
        if status == 401 {
            return Err(OnvifError::Unauthorised);
        }
        match parse(&text) {
            Ok(document) => match fault(&document) {
                Some(why) if why.contains("NotAuthorized") => Err(OnvifError::Unauthorised),
                Some(why) => Err(OnvifError::Fault(why)),
                None if status == 200 => Ok(text),
                None => Err(OnvifError::Odd(format!("HTTP {status}"))),
            },
            Err(_) if status != 200 => Err(OnvifError::Odd(format!("HTTP {status}"))),
            Err(error) => Err(error),
        }
    }
}

fn call(name: &str) -> String {
    format!("<{name} xmlns=\"{DEVICE}\"/>")
}

/// Entities of the document's own are refused by the parser, and so is whatever makes them grow.
fn parse(text: &str) -> Result<Document<'_>, OnvifError> {
    Document::parse(text).map_err(|error| OnvifError::Odd(error.to_string()))
}

fn fault(document: &Document<'_>) -> Option<String> {
    let fault = document.descendants().find(|node| node.has_tag_name((ENVELOPE, "Fault")))?;
    let texts = fault.descendants().filter(|node| ["Value", "Text"].contains(&node.tag_name().name()));
    let words: Vec<&str> = texts.filter_map(|node| node.text()).map(str::trim).collect();
    Some(words.join(", ").chars().take(200).collect())
}

fn first_text(answer: &str, name: &str) -> Result<Option<String>, OnvifError> {
    let document = parse(answer)?;
    let found = document.descendants().find(|node| node.tag_name().name() == name);
    Ok(found.and_then(|node| Some(node.text()?.trim().to_owned())))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The header of WS-Security UsernameToken Profile 1.0: Base64(SHA-1(nonce + created + password)).
fn security(user: &str, password: &Secret, nonce: &[u8], created: &str) -> String {
    let digest = Sha1::new()
        .chain_update(nonce)
        .chain_update(created.as_bytes())
        .chain_update(password.reveal().as_bytes())
        .finalize();
    let oasis = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss";
    format!(
        "<Security xmlns=\"{oasis}-wssecurity-secext-1.0.xsd\" s:mustUnderstand=\"1\"><UsernameToken>\
         <Username>{}</Username>\
         <Password Type=\"{oasis}-username-token-profile-1.0#PasswordDigest\">{}</Password>\
         <Nonce EncodingType=\"{oasis}-soap-message-security-1.0#Base64Binary\">{}</Nonce>\
         <Created xmlns=\"{oasis}-wssecurity-utility-1.0.xsd\">{created}</Created>\
         </UsernameToken></Security>",
        escaped(user),
        BASE64_STANDARD.encode(digest),
        BASE64_STANDARD.encode(nonce),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_specification() {
        // The example of the ONVIF Application Programmer's Guide, 6.1.1.3.
        let nonce = BASE64_STANDARD.decode("LKqI6G/AikKCQrN0zqZFlg==").unwrap();
        let header = security("user", &Secret::new("userpassword"), &nonce, "2010-09-16T07:50:45Z");
        assert!(header.contains(">tuOSpGlFlIXsozq4HFNeeGeFLEI=</Password>"), "{header}");
    }

    #[test]
    fn an_address_is_always_the_cameras_own() {
        let device = Device { host: "192.0.2.7".into(), port: 80, login: None, channel: 1 };
        for (given, expected) in [
            ("rtsp://10.0.0.5:8554/replay?x=1", "rtsp://192.0.2.7:8554/replay?x=1"),
            ("rtsp://evil.example/replay", "rtsp://192.0.2.7:554/replay"),
        ] {
            assert_eq!(StreamUrl::parse(expected).unwrap(), device.own(given).unwrap());
        }
        assert!(device.own("http://192.0.2.7/x").is_err());
    }

    #[test]
    fn entities_are_refused() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>";
        assert!(matches!(parse(bomb), Err(OnvifError::Odd(_))));
    }
}
