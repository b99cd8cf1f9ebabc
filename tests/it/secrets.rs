//! A password goes to the camera and nowhere else; and who has it can reproduce by hand what runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::json;

use crate::{
    outside::{
        STOPS_WITHIN, assert_without, cli, closed_segments, get, path_of, prove, record, recordings, send,
    },
    process::{Process, pause},
    sim::{
        camera::{CameraSpec, Channel, Login, SimCamera},
        frames,
    },
    wait::PATIENCE,
};

/// Stands as it is in a shell, a URL, JSON and launch syntax, so it is found however it was written.
const SECRET: &str = "sesame-Zq7kPw";
/// With characters that mean something in each of them.
const NASTY: &str = "sesame-Zq7kPw open'the\"door& \\! $x%41";

fn locked(name: &str, password: &str) -> CameraSpec {
    let login = Login { user: "admin".into(), password: password.into() };
    CameraSpec { login: Some(login), ..CameraSpec::new(name) }
}

/// Every file below `dir`.
fn all_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(all_files(&path)) } else { files.push(path) }
    }
    files
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|part| part == secret.as_bytes())
}

#[test]
fn a_password_is_in_no_answer_log_event_graph_command_line_or_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("watchkeeper.toml"), "log = \"trace\"\n").unwrap();
    let process = Process::start(dir.path());
    let camera = record(&process, locked("front", NASTY), 2);
    // Another way in: within the URL. And one that the camera refuses.
    let other = SimCamera::start(locked("yard", SECRET)).unwrap();
    let url = other.url(Channel::Main).replace("rtsp://", &format!("rtsp://admin:{SECRET}@"));
    process.post("/api/v1/cameras", &json!({ "id": "yard", "main_url": url }));
    let wrong = json!({
        "id": "wrong", "main_url": other.url(Channel::Main), "username": "admin", "password": format!("{SECRET}-x"),
    });
    process.post("/api/v1/cameras", &wrong);
    process.until("the refusal", &path_of("wrong"), |seen| seen["status"]["reason"] == "unauthorised");
    process.until("the yard", &path_of("yard"), |seen| seen["status"]["state"] == "recording");
    closed_segments(&process, "front", 1);

    for path in [
        "/api/v1/cameras",
        "/api/v1/cameras/front",
        "/api/v1/cameras/front/pipeline",
        "/api/v1/cameras/front/pipeline.dot",
        "/api/v1/cameras/yard/pipeline.dot",
        "/api/v1/cameras/wrong/pipeline",
        "/api/v1/cameras/front/segments",
        "/api/v1/events?limit=1000",
        "/api/v1/system",
        "/readyz",
        "/metrics",
    ] {
        let answer = get(&process, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_without(SECRET, path, &answer.text());
    }
    let graph = get(&process, "/api/v1/cameras/front/pipeline.dot").text();
    assert!(graph.starts_with("digraph") && graph.contains("GstSplitMuxSink"), "{graph}");
    let gate = SimCamera::start(locked("gate", SECRET)).unwrap();
    let given = json!({
        "id": "gate", "main_url": gate.url(Channel::Main), "username": "admin", "password": SECRET, "source": "rtspsrc",
    });
    process.post("/api/v1/cameras", &given);
    process.until("rtspsrc", &path_of("gate"), |seen| seen["status"]["state"] == "recording");
    let graph = get(&process, "/api/v1/cameras/gate/pipeline.dot").text();
    assert!(graph.starts_with("digraph") && graph.contains("GstRTSPSrc"), "{graph}");
    assert_without(SECRET, "the graph", &graph);
    for id in ["front", "yard", "wrong"] {
        let probed = send(&process, "POST", &format!("/api/v1/cameras/{id}/probe"), "{}");
        assert_eq!(probed.status, 200);
        assert_without(SECRET, "a probe", &probed.text());
    }
    for args in [
        &["camera", "show", "front"][..],
        &["camera", "export"],
        &["pipeline", "show", "front"],
        &["pipeline", "dot", "yard"],
        &["events"],
        &["doctor"],
    ] {
        let output = cli(dir.path(), &process.url, "", args);
        assert_without(SECRET, &format!("{args:?}"), &String::from_utf8_lossy(&output.stdout));
        assert_without(SECRET, &format!("{args:?}"), &String::from_utf8_lossy(&output.stderr));
    }
    for what in ["cmdline", "environ"] {
        let seen = fs::read(format!("/proc/{}/{what}", process.pid())).unwrap();
        assert!(!holds(&seen, SECRET), "{what}");
    }
    assert!(process.log().contains("DEBUG"), "the log was to tell everything\n{}", process.log());
    let looked_at = |dir: &Path| {
        let files = all_files(dir);
        for file in &files {
            assert!(!holds(&fs::read(file).unwrap_or_default(), SECRET), "in {}", file.display());
        }
        files
    };
    looked_at(dir.path());
    process.stop(STOPS_WITHIN);
    let files = looked_at(dir.path());
    for name in ["watchkeeper.db", "secret.key", "log"] {
        assert!(files.iter().any(|file| file.ends_with(name)), "{name} is not among {files:?}");
    }
    prove(dir.path(), &camera);
    prove(dir.path(), &other);
}

/// A shell with a line that ends by itself on SIGINT; killed if it does not.
struct Line(Child);

impl Line {
    fn start(dir: &Path, line: &str) -> Self {
        let log = fs::File::create(dir.join("gst-launch.log")).unwrap();
        let child = Command::new("sh")
            .args(["-c", &format!("exec {line}")])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }

    /// Waits for the first frames in the file, and ends the line in order.
    fn until_recorded(mut self, dir: &Path) -> PathBuf {
        let file = dir.join("segment-00000.mp4");
        let said = || fs::read_to_string(dir.join("gst-launch.log")).unwrap();
        let deadline = Instant::now() + PATIENCE;
        // A header, and a fragment or two of half a second.
        while fs::metadata(&file).map_or(0, |found| found.len()) < 60_000 {
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}\n{}", said());
            pause(50);
        }
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end\n{}", said());
            pause(50);
        }
        file
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_printed_pipeline_runs_by_hand_once_the_password_is_typed_in() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let plain = record(&process, locked("plain", SECRET), 60);
    let nasty = record(&process, locked("nasty", NASTY), 60);
    let shown = |args: &[&str]| {
        let output = cli(dir.path(), &process.url, "", args);
        assert!(
            output.status.success(),
            "{args:?} {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let line = shown(&["pipeline", "show", "plain"]);
    assert!(line.starts_with("gst-launch-1.0 ") && line.contains("***"), "{line}");
    assert_without(SECRET, "the line", &line);
    let typed_in = line.replace("***", SECRET);
    let api = process.get("/api/v1/cameras/plain/pipeline");
    assert!(line.contains(api["launch"].as_str().unwrap()), "{line}\n{api}");

    for (camera, line) in [(&plain, typed_in), (&nasty, shown(&["pipeline", "show", "nasty", "--reveal"]))] {
        let work = tempfile::tempdir().unwrap();
        let file = Line::start(work.path(), line.trim_end()).until_recorded(work.path());
        let probe = frames::probe(&file).unwrap();
        assert!(probe.frames >= 10, "{}: {probe:?}", camera.name());
    }
    process.stop(STOPS_WITHIN);
    for camera in [&plain, &nasty] {
        prove(dir.path(), camera);
        assert_eq!(recordings(dir.path(), camera.name()).len(), 1);
    }
}
