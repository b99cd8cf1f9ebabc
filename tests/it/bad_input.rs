//! Cameras that misbehave and requests that are wrong: a clear answer each, nothing changed by it, no secret in it,
//! and no other camera loses a frame.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use watchkeeper::base::WallUs;

use crate::{
    outside::{
        Answer, STOPS_WITHIN, ask, assert_without, events, frames_more, get, path_of, prove, record, send,
    },
    process::{Process, pause},
    sim::{
        camera::{CameraSpec, Channel, Login, SimCamera},
        misbehave::{Misbehaviour, Peer},
    },
};

const SECRET: &str = "Zq7-open-sesame";
/// The connect deadline, and time for a busy machine to say so.
const SAID_WITHIN: Duration = Duration::from_secs(15 + 3);
/// What a camera that announces 2 GB may cost us in memory, with everything else that goes on, in KiB.
const MEMORY_KIB: u64 = 64 * 1024;
/// And what of it is taken from the network, at all attempts together.
const BODY_TAKEN_BYTES: u64 = 32 << 20;

/// A peer, the reason that is shown for it, and a part of the sentence.
struct Case {
    name: &'static str,
    peer: Peer,
    reason: &'static str,
    detail: &'static str,
}

fn cases(elsewhere: &Peer) -> Vec<Case> {
    use Misbehaviour::*;
    let elsewhere = RedirectsTo(elsewhere.url());
    [
        ("never-answers", NeverAnswers, "silent", "does not answer"),
        ("dribbles", Dribbles, "silent", "does not answer"),
        ("to-itself", RedirectsToItself, "redirected", "redirects to"),
        ("elsewhere", elsewhere, "redirected", "redirects to"),
        ("not-found", NotFound, "no_such_stream", "no stream at this URL"),
        ("unauthorised", Unauthorised, "unauthorised", "refuses the user name and password"),
        ("unknown-codec", UnknownCodec, "unsupported_codec", "X-WEIRD"),
        ("endless-body", EndlessBody, "protocol", "absurd size"),
        ("closes", ClosesOnAccept, "ended", "the connection"),
        ("garbage", Garbage, "protocol", "does not speak RTSP"),
    ]
    .map(|(name, misbehaviour, reason, detail)| Case {
        name,
        peer: Peer::start(misbehaviour).unwrap(),
        reason,
        detail,
    })
    .into()
}

/// A port on which nothing listens and that nobody else gets meanwhile.
fn refusing() -> (tokio::net::TcpSocket, String) {
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("rtsp://{}/stream", held.local_addr().unwrap());
    (held, url)
}

fn other_host() -> Peer {
    Peer::start_on("127.0.0.2".parse().unwrap(), Misbehaviour::NotFound).unwrap()
}

/// The most memory the process ever had, in KiB.
fn peak_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// At most so many connections in so long: two for each attempt (0, 1, 3, 7, 15, 30 s … less a quarter), a knock
/// each second, and a few for luck.
fn connections_in(time: Duration) -> usize {
    let attempts =
        (time.as_secs_f64() / 0.75 + 1.0).log2().ceil() as usize + 1 + time.as_secs() as usize / 22;
    2 * attempts + time.as_secs() as usize + 3
}

fn wait_for_reason(process: &Process, name: &str, reason: &str) -> Value {
    let seen = process.until(&format!("{name} to be {reason}"), &path_of(name), |camera| {
        !matches!(camera["status"]["state"].as_str(), Some("connecting"))
    });
    seen["status"].clone()
}

#[test]
fn misbehaving_cameras_are_told_apart_and_cost_no_other_camera_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let healthy =
        [record(&process, CameraSpec::new("front"), 4), record(&process, CameraSpec::new("yard"), 4)];
    // A redirect on the same host leads to a camera like any other.
    let behind = SimCamera::start(CameraSpec::new("redirected")).unwrap();
    let sends_on = Peer::start(Misbehaviour::RedirectsToItsMain { camera_port: behind.port() }).unwrap();
    process.post("/api/v1/cameras", &json!({ "id": "redirected", "main_url": sends_on.url() }));
    process.until("the redirect to be followed", &path_of("redirected"), |camera| {
        camera["status"]["state"] == "recording"
    });
    let memory_before = peak_kib(&process);
    let trap = other_host();
    let cases = cases(&trap);
    let (_held, refusing) = refusing();
    let add = |name: &str, url: &str| {
        let given = json!({ "id": name, "main_url": url, "username": "admin", "password": SECRET });
        process.post("/api/v1/cameras", &given);
        (Instant::now(), WallUs::now())
    };
    let since_refused = add("refuses", &refusing);
    let added: Vec<(Instant, WallUs)> = cases.iter().map(|case| add(case.name, &case.peer.url())).collect();

    let refused = wait_for_reason(&process, "refuses", "refused");
    assert_eq!(
        (&refused["state"], &refused["reason"]),
        (&json!("offline"), &json!("refused")),
        "{refused:#}"
    );
    assert!(refused["detail"].as_str().unwrap().contains("nothing listens at 127.0.0.1"), "{refused:#}");
    for Case { name, reason, detail, .. } in &cases {
        let status = wait_for_reason(&process, name, reason);
        assert_eq!(
            (&status["state"], &status["reason"]),
            (&json!("offline"), &json!(reason)),
            "{name} {status:#}"
        );
        assert!(status["detail"].as_str().unwrap().contains(detail), "{name} {status:#}");
    }

    // Long enough for what tries too often to show.
    frames_more(&process, "front", 300);
    for (Case { name, peer, .. }, (since, _)) in cases.iter().zip(&added) {
        let (connections, bound) = (peer.connections(), connections_in(since.elapsed()));
        assert!((1..=bound).contains(&connections), "{name}: {connections} connections, {bound} are enough");
        assert!(peer.requests() <= 2 * connections, "{name}: {} requests", peer.requests());
        assert!(peer.body_bytes() <= BODY_TAKEN_BYTES, "{name}: {} bytes taken", peer.body_bytes());
        assert_without(SECRET, "a request", &peer.heads().join("\n"));
    }
    let unauthorised = cases.iter().find(|case| case.name == "unauthorised").unwrap();
    assert!(unauthorised.peer.connections() <= 3, "{} log-ins", unauthorised.peer.connections());
    assert_eq!(trap.connections(), 0, "another host was connected to");
    let grown = peak_kib(&process) - memory_before;
    assert!(grown <= MEMORY_KIB, "memory grew by {grown} KiB");

    let log = events(&process);
    let all_added = added.iter().chain([&since_refused]).map(|(_, at)| at.0);
    for (name, added_us) in cases.iter().map(|case| case.name).chain(["refuses"]).zip(all_added) {
        let told: Vec<&Value> = log.iter().filter(|event| event["camera_id"] == name).collect();
        assert_eq!(told.len(), 1, "{name}: {log:#?}");
        let said_us = WallUs::parse(told[0]["at"].as_str().unwrap()).unwrap().0 - added_us;
        assert!(said_us <= SAID_WITHIN.as_micros() as i64, "{name} was said only after {said_us} us");
    }
    let all = get(&process, "/api/v1/cameras");
    for camera in all.json()["cameras"].as_array().unwrap() {
        let well = ["front", "yard", "redirected"].contains(&camera["id"].as_str().unwrap());
        assert_eq!(camera["status"]["state"] == "recording", well, "{camera:#}");
        assert!(!well || camera["status"]["reconnects"] == 0, "{camera:#}");
    }
    for (what, text) in [
        ("the API", all.text()),
        ("the event log", format!("{log:?}")),
        ("the metrics", get(&process, "/metrics").text()),
        ("the log", process.log()),
    ] {
        assert_without(SECRET, what, &text);
    }
    process.stop(STOPS_WITHIN);
    for camera in healthy.iter().chain([&behind]) {
        prove(dir.path(), camera);
    }
    assert_eq!(behind.max_sessions(Channel::Main), 1);
}

#[test]
fn a_probe_of_a_misbehaving_camera_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let trap = other_host();
    let cases = cases(&trap);
    let (_held, refusing) = refusing();
    let mut waiting: Vec<(&str, String, &str)> =
        cases.iter().map(|case| (case.name, case.peer.url(), case.reason)).collect();
    waiting.push(("refuses", refusing, "refused"));
    waiting.reverse();
    let waiting = Mutex::new(waiting);
    // Four at once are allowed.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((name, url, reason)) = waiting.lock().unwrap().pop() else { return };
                    let began = Instant::now();
                    let given = json!({ "main_url": url, "username": "admin", "password": SECRET });
                    let answer = send(&process, "POST", "/api/v1/probe", &given.to_string());
                    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
                    let report = answer.json();
                    assert_eq!((&report["ok"], &report["reason"]), (&json!(false), &json!(reason)), "{name}");
                    assert!(
                        report["detail"].as_str().is_some_and(|text| text.len() > 20),
                        "{name} {report:#}"
                    );
                    assert_without(SECRET, name, &answer.text());
                    assert!(began.elapsed() <= SAID_WITHIN, "{name} took {:?}", began.elapsed());
                }
            });
        }
    });
    for Case { name, peer, .. } in &cases {
        assert!(peer.connections() <= 2, "{name}: {} connections for one probe", peer.connections());
    }
    assert_eq!(trap.connections(), 0, "another host was connected to");
    assert_without(SECRET, "the log", &process.log());
    process.stop(STOPS_WITHIN);
}

/// Method, path, body; then status, code and field of the answer.
type Wrong = (&'static str, &'static str, String, (u16, &'static str, &'static str));

fn wrong_requests() -> Vec<Wrong> {
    let add = |given: Value| {
        let mut camera = json!({ "id": "new", "main_url": "rtsp://127.0.0.1:9/x", "password": SECRET });
        camera.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        camera.to_string()
    };
    let url = |url: &str, field: &'static str| -> Wrong {
        let body = add(json!({ field: url }));
        ("POST", "/api/v1/cameras", body, (400, "bad_field", field))
    };
    let patch = |given: Value, field: &'static str| -> Wrong {
        ("PATCH", "/api/v1/cameras/front", given.to_string(), (400, "bad_field", field))
    };
    let front = "/api/v1/cameras/front";
    let mut all = vec![
        url("rtsp://127.0.0.1/a\"b", "main_url"),
        url("rtsp://127.0.0.1/a'b", "main_url"),
        url("rtsp://127.0.0.1/x ! filesink location=/tmp/watchkeeper-injected", "main_url"),
        url("rtsp://127.0.0.1/a b", "main_url"),
        url("rtsp://127.0.0.1/a\r\nEvil: yes", "main_url"),
        url("rtsp://127.0.0.1/\u{0}", "main_url"),
        url("rtsp://127.0.0.1/\u{1b}[2J", "sub_url"),
        url("http://127.0.0.1/x", "main_url"),
        url("file:///etc/passwd", "main_url"),
        url("rtsp://", "main_url"),
        url("stream1", "sub_url"),
        url(&format!("rtsp://127.0.0.1/{}", "a".repeat(3000)), "main_url"),
        url("a b", "address"),
        url("no-such-vendor", "vendor"),
        patch(json!({ "rtsp_port": "554" }), "rtsp_port"),
        patch(json!({ "rtsp_port": 0 }), "rtsp_port"),
        patch(json!({ "rtsp_port": 65_536 }), "rtsp_port"),
        patch(json!({ "channel": -1 }), "channel"),
        patch(json!({ "record_enabled": "no" }), "record_enabled"),
        patch(json!({ "record_enabled": null }), "record_enabled"),
        patch(json!({ "name": ["x"] }), "name"),
        patch(json!({ "password": { "text": SECRET } }), "password"),
        patch(json!({ "main_url": "http://127.0.0.1/x" }), "main_url"),
        patch(json!({ "segment_seconds": 2.5 }), "segment_seconds"),
        patch(json!({ "source": "gstreamer" }), "source"),
        patch(json!({ "connect_seconds": 4 }), "connect_seconds"),
        patch(json!({ "connect_seconds": 61 }), "connect_seconds"),
        ("PATCH", front, json!({ "id": "other" }).to_string(), (400, "unknown_field", "id")),
        ("PATCH", front, json!({ "status": {} }).to_string(), (400, "unknown_field", "status")),
        ("POST", "/api/v1/cameras", add(json!({ "pasword": "x" })), (400, "unknown_field", "pasword")),
        (
            "POST",
            "/api/v1/probe",
            json!({ "main_url": "ftp://h/x" }).to_string(),
            (400, "bad_field", "main_url"),
        ),
        (
            "POST",
            "/api/v1/cameras",
            add(json!({ "id": "front", "username": "admin" })),
            (409, "camera_exists", "id"),
        ),
        ("POST", "/api/v1/cameras", format!("{{\"password\": \"{SECRET}"), (400, "bad_json", "")),
        ("POST", "/api/v1/cameras", String::new(), (400, "bad_json", "")),
        ("POST", "/api/v1/cameras", "[".repeat(30_000), (400, "bad_json", "")),
        ("GET", "/api/v1/cameras/front/segments?limit=0", String::new(), (400, "bad_query", "limit")),
        ("GET", "/api/v1/cameras/front/segments?from=yesterday", String::new(), (400, "bad_query", "from")),
        ("GET", "/api/v1/cameras/front/segments?form=x", String::new(), (400, "bad_query", "form")),
        ("GET", "/api/v1/segments/..%2f..%2fetc%2fpasswd.mp4", String::new(), (400, "bad_id", "id")),
        ("GET", "/api/v1/segments/999999.mp4", String::new(), (404, "no_segment", "")),
        ("GET", "/api/v1/cameras/nobody", String::new(), (404, "no_camera", "")),
        ("DELETE", "/api/v1/cameras/nobody", String::new(), (404, "no_camera", "")),
        ("PUT", front, "{}".to_owned(), (405, "method_not_allowed", "")),
        ("GET", "/api/v1/cameras/../../../etc/passwd", String::new(), (404, "not_found", "")),
    ];
    all.extend(["%2e%2e%2f", "..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "front%00", "FRONT", "%ff"].map(
        |id| -> Wrong {
            let path: &'static str = Box::leak(format!("/api/v1/cameras/{id}").into_boxed_str());
            ("GET", path, String::new(), (400, "bad_id", "id"))
        },
    ));
    all.extend(["../", "../../x", "a/b", "", "-a", "A", "a\u{0}", "ä"].map(|id| -> Wrong {
        ("POST", "/api/v1/cameras", add(json!({ "id": id })), (400, "bad_field", "id"))
    }));
    all
}

#[test]
fn wrong_requests_are_refused_by_name_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let login = Login { user: "admin".into(), password: SECRET.into() };
    let camera = record(&process, CameraSpec { login: Some(login), ..CameraSpec::new("front") }, 4);
    let settings = |process: &Process| {
        let mut all = process.get("/api/v1/cameras");
        all["cameras"].as_array_mut().unwrap().iter_mut().for_each(|camera| camera["status"] = Value::Null);
        all
    };
    let before = settings(&process);
    let refused = |what: &str, answer: &Answer, (status, code, field): (u16, &str, &str)| {
        let text = answer.text();
        assert_eq!(answer.status, status, "{what}: {text}");
        assert_eq!(answer.error(), (code.to_owned(), field.to_owned()), "{what}: {text}");
        assert!(
            answer.json()["error"]["message"].as_str().is_some_and(|text| text.len() > 5),
            "{what}: {text}"
        );
        assert_without(SECRET, what, &text);
        assert!(text.len() < 3000, "{what}: {text}");
    };
    for (method, path, body, expected) in wrong_requests() {
        let what: String = format!("{method} {path} {body}").chars().take(300).collect();
        let answer = match method {
            "GET" | "DELETE" => ask(&process, method, path, &[], None),
            _ => send(&process, method, path, &body),
        };
        refused(&what, &answer, expected);
    }
    let plain = ask(&process, "POST", "/api/v1/cameras", &[("content-type", "text/plain")], Some(b"{}"));
    refused("text/plain", &plain, (415, "not_json", ""));
    let foreign = [("content-type", "application/json"), ("origin", "https://evil.example")];
    refused(
        "another site",
        &ask(&process, "POST", "/api/v1/cameras", &foreign, Some(b"{}")),
        (403, "bad_origin", ""),
    );
    refused(
        "another name",
        &ask(&process, "GET", "/", &[("host", "evil.example")], None),
        (403, "bad_host", ""),
    );
    let huge = format!("{{\"name\": \"{}\"}}", "a".repeat(10 << 20));
    refused("10 MB", &send(&process, "PATCH", "/api/v1/cameras/front", &huge), (413, "too_large", ""));
    let said = ten_megabytes_of_unknown_length(&process);
    assert!(said.starts_with("HTTP/1.1 413 ") && said.contains("\"too_large\""), "{said}");

    assert_eq!(settings(&process), before);
    assert!(!std::path::Path::new("/tmp/watchkeeper-injected").exists());
    assert_without(SECRET, "the log", &process.log());
    frames_more(&process, "front", 30);
    assert_eq!(process.get(&path_of("front"))["status"]["reconnects"], 0);
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &camera);
}

/// Sends 10 MB in chunks without saying so before, and only then reads: what a simple client does.
fn ten_megabytes_of_unknown_length(process: &Process) -> String {
    let host = process.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST /api/v1/cameras HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    for n in 0..160 {
        stream.write_all(&chunk).unwrap_or_else(|error| panic!("chunk {n}: {error}"));
        pause(1);
    }
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}
