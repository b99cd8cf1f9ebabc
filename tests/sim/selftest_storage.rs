//! A camera with storage answers SOAP as it should, and as it was ordered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::camera::{CameraSpec, Login, SimCamera};
use super::harm::Reports;
use super::onvif::{element, sha1};
use super::selftest::let_pass;
use super::storage::{Soap, Storage, clock_text, ntp, parse_clock, xml_time};

const DEVICE: (&str, &str) = ("/onvif/device_service", "http://www.onvif.org/ver10/device/wsdl");
const RECORDING: (&str, &str) = ("/onvif/recording_service", "http://www.onvif.org/ver10/recording/wsdl");
const SEARCH: (&str, &str) = ("/onvif/search_service", "http://www.onvif.org/ver10/search/wsdl");
const REPLAY: (&str, &str) = ("/onvif/replay_service", "http://www.onvif.org/ver10/replay/wsdl");

fn storing() -> SimCamera {
    SimCamera::start(CameraSpec { storage: Some(Storage::Everything), ..CameraSpec::new("test") }).unwrap()
}

/// The text of an operation's request; `header` and `content` as XML.
fn envelope(namespace: &str, operation: &str, header: &str, content: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Header>{header}</s:Header><s:Body>\
         <{operation} xmlns=\"{namespace}\">{content}</{operation}></s:Body></s:Envelope>"
    )
}

/// A security header as ONVIF wants it.
fn token(user: &str, password: &str, nonce: &[u8], created: &str) -> String {
    let digest = BASE64.encode(sha1(&[nonce, created.as_bytes(), password.as_bytes()].concat()));
    let nonce = BASE64.encode(nonce);
    let security = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss";
    format!(
        "<Security xmlns=\"{security}-wssecurity-secext-1.0.xsd\"><UsernameToken><Username>{user}</Username>\
         <Password Type=\"{security}-username-token-profile-1.0#PasswordDigest\">{digest}</Password>\
         <Nonce>{nonce}</Nonce><Created xmlns=\"{security}-wssecurity-utility-1.0.xsd\">{created}</Created>\
         </UsernameToken></Security>"
    )
}

/// Sends a request and gives the connection, so that the answer can be read in parts.
fn send(camera: &SimCamera, path: &str, body: &str) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", camera.onvif_port())).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Type: application/soap+xml\r\n\
         Content-Length: {}\r\n\r\n{body}",
        camera.onvif_port(),
        body.len()
    );
    client.write_all(request.as_bytes()).unwrap();
    client
}

/// What a camera answers.
fn ask(camera: &SimCamera, service: (&str, &str), operation: &str, header: &str, content: &str) -> String {
    let mut answer = String::new();
    let body = envelope(service.1, operation, header, content);
    send(camera, service.0, &body).read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_recording_is_found_and_its_replay_named() {
    let camera = storing();
    let_pass(&camera, 60);
    let ask = |service, operation, content| ask(&camera, service, operation, "", content);
    let said = ask(DEVICE, "GetServices", "");
    for (path, namespace) in [DEVICE, RECORDING, SEARCH, REPLAY] {
        let service = format!(
            "<tds:Namespace>{namespace}</tds:Namespace><tds:XAddr>http://127.0.0.1:{}{path}</tds:XAddr>",
            camera.onvif_port()
        );
        assert!(said.contains(&service), "{said}");
        assert!(ask(DEVICE, "GetCapabilities", "").contains(path));
    }
    assert!(ask(DEVICE, "GetDeviceInformation", "").contains("<tds:SerialNumber>"));
    let said = ask(RECORDING, "GetRecordings", "");
    let recording = element(&said, "RecordingToken").unwrap();

    let said = ask(SEARCH, "FindRecordings", "<Scope/><KeepAliveTime>PT10S</KeepAliveTime>");
    let search = format!("<SearchToken>{}</SearchToken>", element(&said, "SearchToken").unwrap());
    let said = ask(SEARCH, "GetRecordingSearchResults", &search);
    assert_eq!(element(&said, "SearchState"), Some("Completed"));
    assert_eq!(element(&said, "RecordingToken"), Some(recording));
    let first = xml_time(camera.storage().feed.capture_us(0));
    assert_eq!(element(&said, "EarliestRecording"), Some(first.as_str()));
    assert!(element(&said, "LatestRecording").unwrap() > first.as_str());
    assert_eq!(element(&said, "TrackType"), Some("Video"));
    // Each result is given once.
    assert_eq!(element(&ask(SEARCH, "GetRecordingSearchResults", &search), "RecordingInformation"), None);
    assert_eq!(element(&ask(SEARCH, "GetRecordingSummary", ""), "NumberRecordings"), Some("1"));

    let token = format!("<StreamSetup/><RecordingToken>{recording}</RecordingToken>");
    let said = ask(REPLAY, "GetReplayUri", &token);
    assert_eq!(element(&said, "Uri"), Some(camera.replay_url().as_str()));
    assert!(ask(REPLAY, "GetReplayUri", "<RecordingToken>x</RecordingToken>").contains("ter:InvalidArgVal"));
    assert!(ask(DEVICE, "GetReplayUri", &token).contains("ter:ActionNotSupported"), "of another service");

    camera.storage().set(|modes| modes.replay_port_said = Some(1));
    assert_eq!(
        element(&ask(REPLAY, "GetReplayUri", &token), "Uri").unwrap().split('/').nth(2),
        Some("127.0.0.1:1")
    );

    camera.storage().forget_frames(0..25);
    let second = xml_time(camera.storage().feed.capture_us(25));
    assert_eq!(element(&ask(SEARCH, "GetRecordingSummary", ""), "DataFrom"), Some(second.as_str()));
    camera.storage().hold(Storage::Nothing);
    assert_eq!(element(&ask(SEARCH, "GetRecordingSummary", ""), "NumberRecordings"), Some("0"));
    let operations = camera.storage().operations();
    assert_eq!((operations[0].as_str(), operations.len()), ("GetServices", 17));
}

#[test]
fn a_token_is_taken_once_while_fresh_by_the_cameras_own_clock() {
    let login = Login { user: "admin".into(), password: "one".into() };
    let reports = Reports::Off { seconds: -7200 };
    let storage = Some(Storage::Everything);
    let camera =
        SimCamera::start(CameraSpec { login: Some(login), reports, storage, ..CameraSpec::new("test") })
            .unwrap();
    let card = camera.storage();
    let said = ask(&camera, DEVICE, "GetSystemDateAndTime", "", "");
    let hour: u32 = element(&said, "Hour").unwrap().parse().unwrap();
    let true_hour: u32 = xml_time(card.feed.now_us())[11..13].parse().unwrap();
    // The hour may have turned in between.
    assert!([22, 23].contains(&((24 + hour - true_hour) % 24)), "{hour} {true_hour}");

    let with = |user: &str, password: &str, nonce: &[u8], at_us: u64| {
        let header = token(user, password, nonce, &xml_time(at_us));
        let said = ask(&camera, DEVICE, "GetDeviceInformation", &header, "");
        assert!(said.contains("SerialNumber") || said.contains("ter:NotAuthorized"), "{said}");
        said.contains("SerialNumber")
    };
    assert!(with("admin", "one", b"1", card.clock_us()));
    assert!(!with("admin", "one", b"1", card.clock_us()), "a nonce twice");
    assert!(!with("admin", "two", b"2", card.clock_us()));
    assert!(!with("guest", "one", b"3", card.clock_us()));
    assert!(!with("admin", "one", b"4", card.feed.now_us()), "by the true clock");
    assert!(!with("admin", "one", b"5", card.clock_us() - 10_000_000), "stale");
    assert!(ask(&camera, DEVICE, "GetDeviceInformation", "", "").starts_with("HTTP/1.1 400 "));
    camera.set_password("two").unwrap();
    assert!(with("admin", "two", b"6", card.clock_us()));
}

#[test]
fn what_is_wrong_with_soap_is_what_was_ordered() {
    let camera = storing();
    let card = camera.storage();
    let ask = |soap| {
        card.set(|modes| modes.soap = soap);
        ask(&camera, DEVICE, "GetSystemDateAndTime", "", "")
    };
    assert!(ask(Soap::Fault).contains("ter:ActionNotSupported"));
    assert!(ask(Soap::Status(503)).starts_with("HTTP/1.1 503 "));
    let bombs = ask(Soap::Bombs);
    assert!(bombs.contains("<!ENTITY b9 ") && bombs.contains("&b9;") && bombs.len() < 10_000);
    let before = card.soap_bytes();
    let huge = ask(Soap::Huge);
    assert!(huge.len() > 100_000_000 && huge.ends_with("</env:Envelope>"), "{}", huge.len());
    assert!(card.soap_bytes() - before > 100_000_000);

    card.set(|modes| modes.soap = Soap::Never);
    let mut client = send(&camera, DEVICE.0, &envelope(DEVICE.1, "GetSystemDateAndTime", "", ""));
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(client.read(&mut [0]).is_err());
    camera.kill().unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn times_read_back_as_they_were_written() {
    for us in [0, 1, 999_999, 1_796_000_000_000_001, 1_796_000_000_123_456] {
        assert_eq!(parse_clock(&clock_text(us)), Some(us));
        // As a client does that cuts off digits.
        let (seconds, fraction) = (ntp(us) >> 32, ntp(us) & 0xffff_ffff);
        assert_eq!((seconds - 2_208_988_800) * 1_000_000 + ((fraction * 1_000_000) >> 32), us);
    }
    assert_eq!(parse_clock("19700101T000001Z"), Some(1_000_000));
    assert_eq!(parse_clock("19700101T000001.5Z"), Some(1_500_000));
    assert_eq!(parse_clock("19700101T000001"), None);
}
