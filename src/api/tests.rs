//! The API without a running service: its document, its surroundings, and refusals over real connections. What
//! needs a running service is in `tests/it`. Also the values that the tests of the other files begin with.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use futures_util::stream;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tower::ServiceExt as _;

use super::{
    ApiSettings,
    error::{ApiError, Code},
    files, input, recordings,
    serve::{Limits, serve_within},
    surrounded,
    types::cameras::NewCamera,
};
use crate::{
    base::WallUs,
    model::{
        Camera, Profile,
        camera::CameraPatch,
        copies::Copies,
        event::Kind,
        schedule::Zone,
        segment::{Codec, Extent, Hash, Segment, SegmentFacts, SegmentHead, SegmentState, Source},
        source::SourceKind,
        status::{CameraStatus, Observed, Shown},
        unit::Damage,
    },
    run::{CameraNow, System, VolumeNow},
};

const START: WallUs = WallUs(1_763_632_800_000_000);

pub(super) fn camera_now(id: &str) -> CameraNow {
    let given = CameraPatch {
        main_url: Some(Some("rtsp://u:hunter2@192.0.2.7/x".to_owned())),
        ..CameraPatch::default()
    };
    let observed = Observed {
        video: Some((Codec::H264, 1280, 720)),
        fps: Some(25.0),
        bit_rate_bps: Some(2_000_000),
        keyframe_interval: Some(Duration::from_secs(2)),
        frames: 1234,
        bytes: 987_654,
        segments: 3,
        dropped_frames: 0,
        clock_ahead_us: None,
        pre_roll: None,
        picture: Some(17),
        damage: Damage { damaged_units: 12, resyncs: 1, lost_packets: 3 },
    };
    let status = CameraStatus {
        shown: Shown::Recording,
        reason: None,
        detail: None,
        since: START,
        last_frame_at: Some(START),
        until: None,
        window_end: None,
        next_attempt_at: None,
        reconnects: 0,
        last_error: Some("rtsp://u:hunter2@192.0.2.7/x did not answer".to_owned()),
        source: Some(SourceKind::Rtspsrc),
        source_fallback: Some("rtsp://u:hunter2@192.0.2.7/x asks for a log-in that is not known".to_owned()),
        observed,
    };
    CameraNow {
        camera: Camera::new(id.parse().unwrap(), given).unwrap(),
        created_at: START,
        found: None,
        status,
    }
}

pub(super) fn system() -> System {
    System {
        started_at: WallUs(1_795_168_800_500_000),
        zone: Zone::Europe__Berlin,
        abandoned_pipelines: 0,
        volume: VolumeNow {
            path: "/var/lib/watchkeeper/recordings".into(),
            total_bytes: 2_000_000_000_000,
            free_bytes: 1_000_000_000_000,
            error: None,
        },
        mirror: None,
        pending_rows: 0,
        database_error: None,
    }
}

pub(super) fn segment(id: i64, state: SegmentState) -> Segment {
    let head = SegmentHead {
        camera: "front".parse().unwrap(),
        profile: Profile::Main,
        start: START,
        codec: Codec::H264,
        width: 1280,
        height: 720,
        audio: None,
        source: Source::Live,
        only_mirror: false,
    };
    let extent = Extent { frames: 1500, bytes: 200_000, duration_us: 60_000_000 };
    let path = "front/20261120_100000.mp4".into();
    let hash = (state == SegmentState::Closed).then_some(Hash([0xa5; 32]));
    let copies = Copies::on_primary(state.copy());
    Segment { id, facts: SegmentFacts { head, path, extent, state, hash }, copies, holds: 0 }
}

pub(super) async fn bytes_of(response: Response) -> Vec<u8> {
    to_bytes(response.into_body(), 10_000_000).await.unwrap().to_vec()
}

pub(super) async fn body_of(response: Response) -> Value {
    serde_json::from_slice(&bytes_of(response).await).unwrap()
}

/// The surroundings with handlers that need no service.
fn small() -> Router {
    let endless = || stream::repeat_with(|| Ok::<_, std::io::Error>("tick\n")).take_while_open();
    let router = Router::new()
        .route("/api/v1/cameras", post(async |input::Json(_): input::Json<NewCamera>| StatusCode::CREATED))
        .route("/api/v1/cameras/{id}", get(async |path: input::CameraPath| path.id.to_string()))
        .route("/api/v1/segments/{id}", get(async |path: input::SegmentPath| format!("{path:?}")))
        .route(
            "/api/v1/file",
            get(async |method: Method, headers: HeaderMap| a_file(&method, &headers).await),
        )
        .route("/api/v1/panic", get(async || -> StatusCode { panic!("rtsp://u:hunter2@h/x") }))
        .route("/api/v1/endless", get(async move || Body::from_stream(endless())));
    surrounded(router.merge(files()), &ApiSettings::default())
}

/// A segment's file of 200,000 bytes.
async fn a_file(method: &Method, headers: &HeaderMap) -> Result<Response, ApiError> {
    let file = tempfile::tempfile().unwrap();
    file.set_len(200_000).unwrap();
    recordings::answer(&segment(7, SegmentState::Closed), file, 200_000, true, method, headers).await
}

/// A body that never ends by itself but does not spin.
trait TakeWhileOpen: Sized {
    fn take_while_open(self) -> impl stream::Stream<Item = Result<&'static str, std::io::Error>> + Send;
}

impl<S: stream::Stream<Item = Result<&'static str, std::io::Error>> + Send> TakeWhileOpen for S {
    fn take_while_open(self) -> impl stream::Stream<Item = Result<&'static str, std::io::Error>> + Send {
        use futures_util::StreamExt as _;
        self.then(async |item| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            item
        })
    }
}

async fn ask(method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:8080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    small().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn code_at(method: Method, path: &str) -> (u16, String) {
    let response = ask(method, path, &[]).await;
    let status = response.status().as_u16();
    (status, body_of(response).await["error"]["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn no_id_is_more_than_a_bad_id() {
    let long = format!("/api/v1/cameras/{}", "x".repeat(64));
    let huge = format!("/api/v1/cameras/{}", "x".repeat(20_000));
    for path in [
        "/api/v1/cameras/..",
        "/api/v1/cameras/%2e%2e%2f",
        "/api/v1/cameras/%2e%2e%2fetc%2fpasswd",
        "/api/v1/cameras/Front",
        "/api/v1/cameras/a%00b",
        "/api/v1/cameras/%ff",
        "/api/v1/cameras/a%20b",
        &long,
        &huge,
        "/api/v1/segments/x",
        "/api/v1/segments/.mp4",
        "/api/v1/segments/-1",
        "/api/v1/segments/+1",
        "/api/v1/segments/1.mp4.mp4",
        "/api/v1/segments/9223372036854775808",
        "/api/v1/segments/%ff.mp4",
    ] {
        assert_eq!(code_at(Method::GET, path).await, (400, "bad_id".into()), "{path}");
    }
    for (path, expected) in [
        ("/api/v1/segments/42", "SegmentPath { id: 42, file: false }"),
        ("/api/v1/segments/42.mp4", "SegmentPath { id: 42, file: true }"),
        ("/api/v1/cameras/front", "front"),
    ] {
        assert_eq!(bytes_of(ask(Method::GET, path, &[]).await).await, expected.as_bytes());
    }
}

#[tokio::test]
async fn wrong_paths_and_methods_are_json_too() {
    for path in ["/api/v1/nothing", "/api", "/api/v1/cameras/../../etc/passwd", "/nothing", "/assets/none.js"]
    {
        assert_eq!(code_at(Method::GET, path).await, (404, "not_found".into()), "{path}");
    }
    assert_eq!(code_at(Method::GET, "/api/docs/none.js").await, (404, "not_found".into()));
    let response = ask(Method::PUT, "/api/v1/cameras", &[]).await;
    assert_eq!(response.headers()[header::ALLOW], "POST");
    assert_eq!(code_at(Method::PUT, "/api/v1/cameras").await, (405, "method_not_allowed".into()));
}

#[tokio::test]
async fn a_panic_is_an_internal_error_without_details() {
    let response = ask(Method::GET, "/api/v1/panic", &[]).await;
    assert_eq!(response.status(), 500);
    let text = String::from_utf8(bytes_of(response).await).unwrap();
    assert!(text.contains("\"internal\"") && !text.contains("hunter2") && !text.contains("panic"), "{text}");
}

#[tokio::test]
async fn strangers_are_refused_before_anything_else() {
    let foreign = [("origin", "https://evil.example"), ("content-type", "application/json")];
    let response = ask(Method::POST, "/api/v1/cameras", &foreign).await;
    assert_eq!(response.status(), 403);
    assert_eq!(body_of(response).await["error"]["code"], "bad_origin");
    let request = Request::get("/").header(header::HOST, "evil.example").body(Body::empty()).unwrap();
    let response = small().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn every_answer_has_its_headers() {
    for path in ["/", "/api/docs/", "/api/v1/openapi.json", "/api/v1/nothing", "/favicon.ico"] {
        let response = ask(Method::GET, path, &[]).await;
        for name in ["x-content-type-options", "referrer-policy", "cross-origin-resource-policy"] {
            assert!(response.headers().contains_key(name), "{path} {name}");
        }
    }
    let policy =
        |response: Response| response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let docs = ask(Method::GET, "/api/docs/", &[]).await;
    assert_eq!(docs.status(), 200);
    assert!(policy(docs).contains("style-src 'self' 'unsafe-inline'"));
    assert!(policy(ask(Method::GET, "/api/v1/openapi.json", &[]).await).starts_with("default-src 'none'"));
}

#[test]
fn no_shape_shows_a_password() {
    let camera = super::types::cameras::Camera::from(&camera_now("front"));
    let json = serde_json::to_string(&camera).unwrap();
    assert!(!json.contains("hunter2"), "{json}");
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["has_password"], true);
    assert_eq!(value["main_url"], "rtsp://192.0.2.7/x");
    assert_eq!(value["created_at"], "2025-11-20T10:00:00.000000Z");
    assert_eq!(value["status"]["state"], "recording");
    assert_eq!(value["status"]["reason"], Value::Null);
    assert_eq!(value["status"]["last_error"], "rtsp://***@192.0.2.7/x did not answer");
    let segment = super::types::recordings::Segment::from(&segment(42, SegmentState::Open));
    let value = serde_json::to_value(&segment).unwrap();
    assert_eq!(value["duration_s"], 60.0);
    assert_eq!(value["end"], "2025-11-20T10:01:00.000000Z");
    assert_eq!(value["url"], "/api/v1/segments/42.mp4");
}

#[test]
fn the_document_in_docs_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let document = super::openapi();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == document, "docs/openapi.json is out of date; run this test with UPDATE=1");
}

const PAGE: &str = include_str!("../../docs/http-api.md");

#[test]
fn every_route_is_in_the_page_and_in_the_document() {
    let in_page: BTreeSet<(String, String)> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .filter_map(|(call, _)| call.split_once(' '))
        .map(|(method, path)| {
            let path = path.split('?').next().unwrap_or_default();
            (method.to_lowercase(), path.to_owned())
        })
        .collect();
    let document: Value = serde_json::from_str(&super::openapi()).unwrap();
    let in_document: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    assert_eq!(in_page, in_document);
}

#[test]
fn every_code_is_in_the_page() {
    let table = PAGE.split("## Error codes").nth(1).unwrap();
    let listed: BTreeSet<(u16, String)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .filter_map(|(status, codes)| Some((status.parse().ok()?, codes)))
        .flat_map(|(status, codes)| {
            let words = codes.split('`').skip(1).step_by(2);
            words
                .filter(|word| word.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'))
                .map(move |word| (status, word.to_owned()))
        })
        .collect();
    let ours: BTreeSet<(u16, String)> = Code::ALL
        .iter()
        .map(|code| code.parts())
        .map(|(status, word)| (status.as_u16(), word.to_owned()))
        .collect();
    assert_eq!(listed, ours);
}

#[test]
fn every_event_kind_is_in_the_page() {
    let part = PAGE.split("## Event kinds").nth(1).unwrap().split("## ").next().unwrap();
    let listed: Vec<&str> = part
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(kind, _)| kind)
        .collect();
    let ours: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
    assert_eq!(listed, ours);
}

/// `small` behind `serve`.
struct Served {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        Self::start_within(Limits::USUAL).await
    }

    async fn start_within(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve_within(limits, listener, small(), async {
            let _ = stopped.await;
        }));
        Self { addr, stop: Some(stop), task }
    }

    async fn connect(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    async fn stop(&mut self) -> Duration {
        let start = Instant::now();
        self.stop.take().unwrap().send(()).unwrap();
        timeout(Duration::from_secs(5), &mut self.task).await.expect("serve ends").unwrap();
        start.elapsed()
    }
}

const POST: &str = "POST /api/v1/cameras HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

async fn all_of(mut stream: impl AsyncRead + Unpin) -> String {
    let mut all = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await.expect("an end").unwrap();
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_still_reads_why_not() {
    let mut served = Served::start().await;
    // With a length, which is refused before a byte of the body is read; and in chunks, without one.
    for chunked in [false, true] {
        let how = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 10000000" };
        let stream = served.connect(&format!("{POST}{how}\r\n\r\n")).await;
        let (reading, mut writing) = stream.into_split();
        // Like most clients it writes all before it reads a byte.
        for _ in 0..100 {
            if chunked {
                writing.write_all(b"186a0\r\n").await.unwrap();
            }
            writing.write_all(&[b' '; 100_000]).await.unwrap();
            if chunked {
                writing.write_all(b"\r\n").await.unwrap();
            }
        }
        if chunked {
            writing.write_all(b"0\r\n\r\n").await.unwrap();
        }
        drop(writing);
        let answer = all_of(reading).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("\"too_large\""), "{answer}");
    }
    // Refused for another reason, with the body still on its way.
    let foreign = POST.replace("Host: localhost", "Host: evil.example");
    let mut stream = served.connect(&format!("{foreign}Content-Length: 10000000\r\n\r\n")).await;
    stream.write_all(&vec![b' '; 10_000_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = all_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("bad_host"), "{answer}");
    assert!(served.stop().await < Duration::from_secs(1));
}

#[tokio::test]
async fn bodies_are_judged_by_type_then_size_then_content() {
    let mut served = Served::start().await;
    let post = async |kind: &str, body: &str| {
        let head = POST.replace("application/json", kind);
        let length = body.len();
        let request = format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        all_of(served.connect(&request).await).await
    };
    for (kind, body, status, code) in [
        ("application/json; charset=utf-8", r#"{"id": "a", "main_url": "rtsp://h/x"}"#, "201", ""),
        ("text/plain", "{}", "415", "not_json"),
        ("application/x-www-form-urlencoded", "id=a", "415", "not_json"),
        ("application/json", "{", "400", "bad_json"),
        ("application/json", "{\"id\": \"\u{1}\"}", "400", "bad_json"),
        ("application/json", r#"{"id": "a", "nmae": 1}"#, "400", "unknown_field"),
        ("application/json", r#"{"id": "a", "rtsp_port": 70000}"#, "400", "bad_field"),
    ] {
        let answer = post(kind, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {answer}");
        assert!(answer.contains(code), "{body}: {answer}");
    }
    served.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_answers_but_not_for_ever() {
    let mut idle = Served::start().await;
    let quiet = TcpStream::connect(idle.addr).await.unwrap();
    assert!(idle.stop().await < Duration::from_secs(1));
    drop(quiet);

    let mut busy = Served::start().await;
    let head = "GET /api/v1/endless HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = busy.connect(head).await;
    let mut some = [0; 400];
    stream.read_exact(&mut some).await.unwrap();
    let took = busy.stop().await;
    assert!((Duration::from_millis(1900)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_head_has_the_length_of_the_file_and_no_body() {
    let mut served = Served::start().await;
    let ask = async |head: &str| {
        all_of(served.connect(&format!("{head}Host: localhost\r\nConnection: close\r\n\r\n")).await).await
    };
    let answer = ask("HEAD /api/v1/file HTTP/1.1\r\n").await;
    assert!(answer.contains("content-length: 200000\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = ask("GET /api/v1/file HTTP/1.1\r\nRange: bytes=5-14\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 206 ") && answer.ends_with("\r\n\r\n\0\0\0\0\0\0\0\0\0\0"),
        "{answer:?}"
    );
    assert!(
        answer.contains("content-length: 10\r\n") && answer.contains("attachment; filename="),
        "{answer:?}"
    );
    let answer = ask("GET /api/v1/file HTTP/1.1\r\n").await;
    assert!(answer.len() > 200_000);
    served.stop().await;
}

#[tokio::test]
async fn who_is_slow_loses_the_connection() {
    let limits = Limits {
        connections: 2,
        header_within: Duration::from_millis(300),
        stuck_for: Duration::from_millis(300),
        ..Limits::USUAL
    };
    let mut served = Served::start_within(limits).await;
    let start = Instant::now();
    // One never ends its header, one never says anything: both places are taken.
    let slow = served.connect("GET / HTTP/1.1\r\nHost: local").await;
    let silent = served.connect("").await;
    // The third waits for a place, and gets it when they are thrown out.
    let third = served.connect("GET /api/v1/cameras/front HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(all_of(slow).await, "");
    assert_eq!(all_of(silent).await, "");
    assert!(all_of(third).await.ends_with("front"));
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&start.elapsed()));

    served.stop().await;

    // One asks for much and takes nothing. It holds the only place until it is thrown out.
    let limits = Limits { connections: 1, linger: Duration::from_millis(100), ..limits };
    let mut served = Served::start_within(limits).await;
    let pipelined = "GET /api/v1/file HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let stuck = served.connect(&pipelined).await;
    let next = served.connect("GET /api/v1/cameras/front HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(all_of(next).await.ends_with("front"));
    drop(stuck);
    served.stop().await;
}

#[test]
fn only_loopback_is_loopback() {
    let is = |text: &str| super::is_loopback(&text.parse().unwrap());
    assert!(is("127.0.0.1:80") && is("127.1.2.3:80") && is("[::1]:80") && is("[::ffff:127.0.0.1]:80"));
    assert!(!is("0.0.0.0:80") && !is("[::]:80") && !is("192.0.2.7:80"));
}
