//! The built program as others meet it: whatever HTTP answers, refusals too, its command line, and a simulated camera
//! that it records.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use ureq::http::{HeaderMap, Request};

use crate::{
    process::{Process, command},
    rig,
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        proof::Proof,
    },
};

/// An order to stop is obeyed within this.
pub(crate) const STOPS_WITHIN: Duration = Duration::from_secs(8);
/// Bodies that tests download.
const BODY_MAX: u64 = 256 << 20;

/// What HTTP answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The error's code and field.
    pub(crate) fn error(&self) -> (String, String) {
        let error = &self.json()["error"];
        let word = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (word("code"), word("field"))
    }
}

/// Asks with any method and headers, and gives whatever is answered.
pub(crate) fn ask(
    process: &Process,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Answer {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let mut request = Request::builder().method(method).uri(format!("{}{path}", process.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answered = match body {
        Some(body) => agent.run(request.body(body.to_vec()).unwrap()),
        None => agent.run(request.body(()).unwrap()),
    };
    let mut answer = answered.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", process.log()));
    let body = answer.body_mut().with_config().limit(BODY_MAX).read_to_vec().unwrap();
    Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body }
}

/// `GET`.
pub(crate) fn get(process: &Process, path: &str) -> Answer {
    ask(process, "GET", path, &[], None)
}

/// A JSON body, as it stands, with any method.
pub(crate) fn send(process: &Process, method: &str, path: &str, body: &str) -> Answer {
    ask(process, method, path, &[("content-type", "application/json")], Some(body.as_bytes()))
}

/// Starts a camera and has it recorded in segments of so many seconds.
pub(crate) fn record(process: &Process, spec: CameraSpec, segment_seconds: u32) -> SimCamera {
    let camera = SimCamera::start(spec).unwrap();
    let mut given = json!({
        "id": camera.name(), "main_url": camera.url(Channel::Main), "segment_seconds": segment_seconds,
    });
    if let Some(login) = camera.login() {
        given["username"] = login.user.into();
        given["password"] = login.password.into();
    }
    process.post("/api/v1/cameras", &given);
    process.until("the camera to record", &path_of(camera.name()), |seen| {
        seen["status"]["state"] == "recording"
    });
    camera
}

pub(crate) fn path_of(camera: &str) -> String {
    format!("/api/v1/cameras/{camera}")
}

/// Waits until so many more frames of a camera have come.
pub(crate) fn frames_more(process: &Process, camera: &str, count: u64) {
    let frames = |seen: &Value| seen["status"]["frames"].as_u64().unwrap();
    let before = frames(&process.get(&path_of(camera)));
    process.until("more frames", &path_of(camera), |seen| frames(seen) >= before + count);
}

/// Waits until a camera has so many closed segments, and gives them, oldest first.
pub(crate) fn closed_segments(process: &Process, camera: &str, count: usize) -> Vec<Value> {
    let closed = |seen: &Value| -> Vec<Value> {
        let all = seen["segments"].as_array().unwrap().iter();
        all.filter(|segment| segment["state"] == "closed").cloned().collect()
    };
    let path = format!("{}/segments?limit=1000", path_of(camera));
    closed(&process.until("closed segments", &path, |seen| closed(seen).len() >= count))
}

/// The whole event log, oldest first.
pub(crate) fn events(process: &Process) -> Vec<Value> {
    let mut answer = process.get("/api/v1/events?limit=1000");
    let Value::Array(mut events) = answer["events"].take() else { panic!("{answer}") };
    events.reverse();
    events
}

pub(crate) fn recordings(dir: &Path, camera: &str) -> Vec<PathBuf> {
    rig::files(&dir.join("recordings").join(camera))
}

/// After a stop: every frame that the camera sent is in its files exactly once, and every file plays alone.
pub(crate) fn prove(dir: &Path, camera: &SimCamera) -> Proof {
    rig::prove(camera, &recordings(dir, camera.name()))
}

/// Runs the program's command line against a service at `url`, with `input` as its standard input.
pub(crate) fn cli(dir: &Path, url: &str, input: &str, args: &[&str]) -> Output {
    let mut child = command(dir, url.trim_start_matches("http://"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Who does not read it closes it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// Fails if `secret` stands in `text`, and says where.
#[track_caller]
pub(crate) fn assert_without(secret: &str, what: &str, text: &str) {
    if let Some(at) = text.find(secret) {
        let mut start = at.saturating_sub(200);
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        panic!("{what} holds a secret after: {}", &text[start..at]);
    }
}
