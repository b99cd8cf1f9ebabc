//! The ONVIF services of a camera with storage: SOAP 1.2 over HTTP, as much of Profile G as a client needs that wants to
//! fetch a recording.
//!
//! Stricter than many cameras: an operation must be asked of its own service and in its own namespace, and with a login
//! everything but the time of day wants a fresh `UsernameToken` with a digest.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Datelike, Timelike};
use gstreamer::glib::{Checksum, ChecksumType};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::background::{Background, serve};
use super::replay::{RECORDING, REPLAY_PATH, TRACK};
use super::storage::{Card, Soap, time, xml_time};
use super::talk::{Incoming, Message};

const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
/// Prefix, path and namespace of each service, and its version.
const SERVICES: [(&str, &str, &str, (u32, u32)); 4] = [
    ("tds", "/onvif/device_service", "http://www.onvif.org/ver10/device/wsdl", (20, 12)),
    ("trc", "/onvif/recording_service", "http://www.onvif.org/ver10/recording/wsdl", (2, 60)),
    ("tse", "/onvif/search_service", "http://www.onvif.org/ver10/search/wsdl", (2, 60)),
    ("trp", "/onvif/replay_service", "http://www.onvif.org/ver10/replay/wsdl", (2, 60)),
];
/// How far `Created` may be from the camera's clock.
const FRESH_US: u64 = 5_000_000;
const HUGE_BYTES: usize = 100 << 20;
const CHUNK_BYTES: usize = 64 * 1024;

/// Opens the services. `replay` is where the replay server listens.
///
/// # Errors
/// If the system gives no thread.
pub(super) fn open(
    listener: TcpListener,
    replay: SocketAddr,
    card: &Arc<Card>,
) -> anyhow::Result<Background> {
    let at = listener.local_addr()?;
    let desk = Arc::new(Desk { card: card.clone(), at, replay, seen: Mutex::default() });
    serve(&format!("sim-onvif-{}", at.port()), listener, move |stream| talk(stream, desk.clone()))
}

struct Desk {
    card: Arc<Card>,
    at: SocketAddr,
    replay: SocketAddr,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    nonces: HashSet<String>,
    searches: u32,
    /// Searches whose results were not fetched yet.
    open: HashSet<String>,
}

/// A fault: its subcode in the namespace of ONVIF's errors, and words.
struct Fault(&'static str, &'static str);

const NOT_AUTHORISED: Fault = Fault("NotAuthorized", "Sender not Authorized");
const UNSUPPORTED: Fault = Fault("ActionNotSupported", "Optional Action Not Implemented");
const NO_TOKEN: Fault = Fault("InvalidArgVal", "Invalid Token");
const NOT_WELL_FORMED: Fault = Fault("WellFormed", "Well-formed Error");

async fn talk(mut stream: TcpStream, desk: Arc<Desk>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut incoming = Incoming::new(reader);
    while let Some(message) = incoming.next().await? {
        let host = message.header("host").map_or_else(|| desk.at.to_string(), str::to_owned);
        let (status, mut body) = match desk.card.modes().soap {
            Soap::Never => {
                desk.answer(&message, &host);
                continue;
            }
            Soap::Status(status) => (format!("{status} Refused"), String::new()),
            Soap::Fault => ("400 Bad Request".to_owned(), fault(&UNSUPPORTED)),
            Soap::Bombs => ("200 OK".to_owned(), bombs()),
            Soap::Well | Soap::Huge => desk.answer(&message, &host),
        };
        let huge = desk.card.modes().soap == Soap::Huge;
        let end =
            if huge { body.split_off(body.find("</env:Body>").unwrap_or(body.len())) } else { String::new() };
        let filler = if huge { HUGE_BYTES } else { 0 };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/soap+xml; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            body.len() + filler + end.len()
        );
        writer.write_all(head.as_bytes()).await?;
        let spaces = vec![b' '; CHUNK_BYTES];
        let fillers = std::iter::repeat_n(spaces.as_slice(), filler / CHUNK_BYTES);
        for part in std::iter::once(body.as_bytes()).chain(fillers).chain([end.as_bytes()]) {
            writer.write_all(part).await?;
            desk.card.count_soap_bytes(part.len());
        }
        if message.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            break;
        }
    }
    Ok(())
}

impl Desk {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Status and body for a request.
    fn answer(&self, message: &Message, host: &str) -> (String, String) {
        let service = SERVICES.iter().find(|(_, path, ..)| *path == message.path());
        let (Some((prefix, _, namespace, _)), "POST") = (service, message.method.as_str()) else {
            return ("404 Not Found".to_owned(), String::new());
        };
        let xml = String::from_utf8_lossy(&message.body);
        match self.perform(prefix, namespace, &xml, host) {
            Ok(body) => ("200 OK".to_owned(), envelope(&body)),
            Err(wrong) => ("400 Bad Request".to_owned(), fault(&wrong)),
        }
    }

    fn perform(&self, prefix: &str, namespace: &str, xml: &str, host: &str) -> Result<String, Fault> {
        let operation = element(xml, "Body").and_then(first_name).ok_or(NOT_WELL_FORMED)?;
        self.card.note_operation(operation);
        if !xml.contains(SOAP) || !xml.contains(namespace) {
            return Err(NOT_WELL_FORMED);
        }
        if operation != "GetSystemDateAndTime" && !self.is_authorised(xml) {
            return Err(NOT_AUTHORISED);
        }
        let token_is_known = || {
            let known = element(xml, "RecordingToken").is_some_and(|token| token.trim() == RECORDING);
            if known { Ok(()) } else { Err(NO_TOKEN) }
        };
        let content = match (prefix, operation) {
            ("tds", "GetSystemDateAndTime") => self.date_and_time(),
            ("tds", "GetDeviceInformation") => device_information(),
            ("tds", "GetServices") => services(host),
            ("tds", "GetCapabilities") => capabilities(host),
            ("trc", "GetRecordings") => recordings(),
            ("tse", "GetRecordingSummary") => self.summary(),
            ("tse", "FindRecordings") => {
                let mut seen = self.seen();
                seen.searches += 1;
                let token = format!("SearchToken_{}", seen.searches);
                seen.open.insert(token.clone());
                format!("<tse:SearchToken>{token}</tse:SearchToken>")
            }
            ("tse", "GetRecordingSearchResults") => self.search_results(xml)?,
            ("tse", "GetRecordingInformation") => {
                token_is_known()?;
                self.information()
                    .ok_or(NO_TOKEN)?
                    .replace("tt:RecordingInformation>", "tse:RecordingInformation>")
            }
            ("tse", "EndSearch") => {
                let now = xml_time(self.card.clock_us());
                format!("<tse:Endpoint>{now}</tse:Endpoint>")
            }
            ("trp", "GetReplayUri") => {
                token_is_known()?;
                let port = self.card.modes().replay_port_said.unwrap_or(self.replay.port());
                format!("<trp:Uri>rtsp://{}:{port}{REPLAY_PATH}{RECORDING}</trp:Uri>", self.replay.ip())
            }
            _ => return Err(UNSUPPORTED),
        };
        Ok(format!("<{prefix}:{operation}Response>{content}</{prefix}:{operation}Response>"))
    }

    /// WS-Security `UsernameToken` 1.0: `Base64(SHA-1(nonce + created + password))`, fresh and never seen before.
    fn is_authorised(&self, xml: &str) -> bool {
        let Some(login) = self.card.login() else { return true };
        let value = |name| element(xml, name).map(str::trim);
        let (Some(user), Some(digest), Some(nonce), Some(created)) =
            (value("Username"), value("Password"), value("Nonce"), value("Created"))
        else {
            return false;
        };
        let (Ok(raw), Ok(at)) = (BASE64.decode(nonce), DateTime::parse_from_rfc3339(created)) else {
            return false;
        };
        let fresh = at.timestamp_micros().cast_unsigned().abs_diff(self.card.clock_us()) <= FRESH_US;
        let right = BASE64.encode(sha1(&[&raw, created.as_bytes(), login.password.as_bytes()].concat()));
        fresh
            && user == login.user
            && xml.contains("#PasswordDigest")
            && digest == right
            && self.seen().nonces.insert(nonce.to_owned())
    }

    fn date_and_time(&self) -> String {
        let now = time(self.card.clock_us());
        format!(
            "<tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>\
             <tt:DaylightSavings>false</tt:DaylightSavings><tt:TimeZone><tt:TZ>UTC0</tt:TZ></tt:TimeZone>\
             <tt:UTCDateTime><tt:Time><tt:Hour>{}</tt:Hour><tt:Minute>{}</tt:Minute><tt:Second>{}</tt:Second></tt:Time>\
             <tt:Date><tt:Year>{}</tt:Year><tt:Month>{}</tt:Month><tt:Day>{}</tt:Day></tt:Date></tt:UTCDateTime>\
             </tds:SystemDateAndTime>",
            now.hour(),
            now.minute(),
            now.second(),
            now.year(),
            now.month(),
            now.day()
        )
    }

    /// First and last time of what it holds, in its own clock.
    fn held(&self) -> Option<(String, String)> {
        let said = |us| xml_time(self.card.said_us(us));
        self.card.held_us().map(|(first, last)| (said(first), said(last)))
    }

    fn summary(&self) -> String {
        let now = xml_time(self.card.clock_us());
        let (number, (from, until)) = self.held().map_or((0, (now.clone(), now)), |held| (1, held));
        format!(
            "<tse:Summary><tt:DataFrom>{from}</tt:DataFrom><tt:DataUntil>{until}</tt:DataUntil>\
             <tt:NumberRecordings>{number}</tt:NumberRecordings></tse:Summary>"
        )
    }

    /// Each result is given once, as the specification wants it.
    fn search_results(&self, xml: &str) -> Result<String, Fault> {
        let token = element(xml, "SearchToken").map_or("", str::trim);
        let number = token.strip_prefix("SearchToken_").and_then(|number| number.parse::<u32>().ok());
        let mut seen = self.seen();
        if number.is_none_or(|number| number == 0 || number > seen.searches) {
            return Err(NO_TOKEN);
        }
        let results =
            if seen.open.remove(token) { self.information().unwrap_or_default() } else { String::new() };
        Ok(format!("<tse:ResultList><tt:SearchState>Completed</tt:SearchState>{results}</tse:ResultList>"))
    }

    fn information(&self) -> Option<String> {
        let (from, until) = self.held()?;
        Some(format!(
            "<tt:RecordingInformation><tt:RecordingToken>{RECORDING}</tt:RecordingToken>{SOURCE}\
             <tt:EarliestRecording>{from}</tt:EarliestRecording><tt:LatestRecording>{until}</tt:LatestRecording>\
             <tt:Content>Main stream</tt:Content><tt:Track><tt:TrackToken>{TRACK}</tt:TrackToken>\
             <tt:TrackType>Video</tt:TrackType><tt:Description/><tt:DataFrom>{from}</tt:DataFrom>\
             <tt:DataTo>{until}</tt:DataTo></tt:Track><tt:RecordingStatus>Recording</tt:RecordingStatus>\
             </tt:RecordingInformation>"
        ))
    }
}

const SOURCE: &str = "<tt:Source><tt:SourceId>http://localhost/sourceID</tt:SourceId><tt:Name>CameraName</tt:Name>\
    <tt:Location>LocationDescription</tt:Location><tt:Description>SourceDescription</tt:Description>\
    <tt:Address>http://localhost/address</tt:Address></tt:Source>";

fn device_information() -> String {
    "<tds:Manufacturer>Sim</tds:Manufacturer><tds:Model>Storage</tds:Model>\
     <tds:FirmwareVersion>1.0</tds:FirmwareVersion><tds:SerialNumber>1</tds:SerialNumber>\
     <tds:HardwareId>1</tds:HardwareId>"
        .to_owned()
}

fn services(host: &str) -> String {
    let service = |(_, path, namespace, (major, minor)): &(&str, &str, &str, (u32, u32))| {
        format!(
            "<tds:Service><tds:Namespace>{namespace}</tds:Namespace><tds:XAddr>http://{host}{path}</tds:XAddr>\
             <tds:Version><tt:Major>{major}</tt:Major><tt:Minor>{minor}</tt:Minor></tds:Version></tds:Service>"
        )
    };
    SERVICES.iter().map(service).collect()
}

fn capabilities(host: &str) -> String {
    let address = |index: usize| format!("<tt:XAddr>http://{host}{}</tt:XAddr>", SERVICES[index].1);
    format!(
        "<tds:Capabilities><tt:Device>{}</tt:Device><tt:Extension>\
         <tt:Recording>{}<tt:ReceiverSource>false</tt:ReceiverSource><tt:MediaProfileSource>true</tt:MediaProfileSource>\
         <tt:DynamicRecordings>false</tt:DynamicRecordings><tt:DynamicTracks>false</tt:DynamicTracks>\
         <tt:MaxStringLength>64</tt:MaxStringLength></tt:Recording>\
         <tt:Search>{}<tt:MetadataSearch>false</tt:MetadataSearch></tt:Search>\
         <tt:Replay>{}</tt:Replay></tt:Extension></tds:Capabilities>",
        address(0),
        address(1),
        address(2),
        address(3)
    )
}

fn recordings() -> String {
    format!(
        "<trc:RecordingItem><tt:RecordingToken>{RECORDING}</tt:RecordingToken><tt:Configuration>{SOURCE}\
         <tt:Content>Main stream</tt:Content><tt:MaximumRetentionTime>PT0S</tt:MaximumRetentionTime>\
         </tt:Configuration><tt:Tracks><tt:Track><tt:TrackToken>{TRACK}</tt:TrackToken><tt:Configuration>\
         <tt:TrackType>Video</tt:TrackType><tt:Description/></tt:Configuration></tt:Track></tt:Tracks>\
         </trc:RecordingItem>"
    )
}

fn envelope(body: &str) -> String {
    let mut spaces = String::new();
    for (prefix, _, namespace, _) in SERVICES {
        spaces += &format!(" xmlns:{prefix}=\"{namespace}\"");
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<env:Envelope xmlns:env=\"{SOAP}\"{spaces} \
         xmlns:tt=\"http://www.onvif.org/ver10/schema\" xmlns:ter=\"http://www.onvif.org/ver10/error\">\
         <env:Body>{body}</env:Body></env:Envelope>"
    )
}

fn fault(Fault(subcode, reason): &Fault) -> String {
    envelope(&format!(
        "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>ter:{subcode}</env:Value>\
         </env:Subcode></env:Code><env:Reason><env:Text xml:lang=\"en\">{reason}</env:Text></env:Reason></env:Fault>"
    ))
}

/// Ten entities of ten each, nine deep.
fn bombs() -> String {
    let mut entities = "<!ENTITY b0 \"ha\">".to_owned();
    for depth in 1..10 {
        entities += &format!("<!ENTITY b{depth} \"{}\">", format!("&b{};", depth - 1).repeat(10));
    }
    let answer = envelope("<tds:GetSystemDateAndTimeResponse>&b9;</tds:GetSystemDateAndTimeResponse>");
    answer.replacen("?>\n", &format!("?>\n<!DOCTYPE env:Envelope [{entities}]>\n"), 1)
}

/// What stands in the first element of that local name, whatever its prefix.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = xml;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        let tag = &rest[..rest.find(['>', '/', ' ', '\t', '\r', '\n'])?];
        if tag.rsplit(':').next() == Some(name) {
            let (opening, content) = rest.split_once('>')?;
            if opening.ends_with('/') {
                return Some("");
            }
            return Some(&content[..content.find(&format!("</{tag}"))?]);
        }
    }
}

/// Local name of the first element.
fn first_name(xml: &str) -> Option<&str> {
    let tag = &xml[xml.find('<')? + 1..];
    tag[..tag.find(['>', '/', ' ', '\t', '\r', '\n'])?].rsplit(':').next()
}

pub(super) fn sha1(bytes: &[u8]) -> Vec<u8> {
    let mut sum = Checksum::new(ChecksumType::Sha1).expect("GLib knows SHA-1");
    sum.update(bytes);
    sum.digest()
}
