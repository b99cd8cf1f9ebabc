//! The command line of the built program against a running service, and against what it left on disk.

use std::{fs, os::unix::fs::FileExt as _, path::Path, process::Output, time::Instant};

use serde_json::{Value, json};

use crate::{
    outside::{
        STOPS_WITHIN, assert_without, cli, closed_segments, frames_more, path_of, prove, record, recordings,
    },
    process::{Process, command, pause},
    sim::camera::{CameraSpec, Channel, Login, SimCamera},
    wait::PATIENCE,
};

const SECRET: &str = "Zq7-open-sesame";
/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// The command line for the data below a directory and the service at a URL.
#[derive(Clone, Copy)]
struct Line<'a> {
    dir: &'a Path,
    url: &'a str,
}

impl Line<'_> {
    /// Exit code, standard output, standard error.
    fn run(self, input: &str, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = cli(self.dir, self.url, input, args);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (said, told) = (text(stdout), text(stderr));
        let code = status.code().unwrap_or_else(|| panic!("{args:?}: {status}\n{told}"));
        assert_without(SECRET, &format!("{args:?}"), &format!("{said}{told}"));
        (code, said, told)
    }

    /// Does it, and says this.
    fn does(self, args: &[&str]) -> String {
        let (code, said, told) = self.run("", args);
        assert_eq!(code, 0, "{args:?}: {told}{said}");
        said
    }

    /// Does it, and says this as JSON.
    fn json(self, args: &[&str]) -> Value {
        serde_json::from_str(&self.does(&[args, &["--json"]].concat())).unwrap()
    }

    /// Fails with this code, and tells why and what to do.
    fn fails(self, code: i32, args: &[&str]) -> String {
        let (failed, said, told) = self.run("", args);
        assert_eq!(failed, code, "{args:?}: {told}{said}");
        assert!(said.is_empty(), "{args:?}: {said}");
        told
    }
}

fn locked() -> SimCamera {
    let login = Login { user: "admin".into(), password: SECRET.into() };
    SimCamera::start(CameraSpec { login: Some(login), ..CameraSpec::new("front") }).unwrap()
}

/// What is set of a camera, without what is found.
fn without_status(mut camera: Value) -> Value {
    for found in ["status", "created_at", "refill_found"] {
        camera[found] = Value::Null;
    }
    camera
}

#[test]
fn a_camera_is_added_shown_changed_moved_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let line = Line { dir: dir.path(), url: &process.url };
    let camera = locked();
    let url = camera.url(Channel::Main);
    let add = ["camera", "add", "front", "--url", &url, "--username", "admin", "--password-stdin"];
    let (code, said, told) = line.run(&format!("{SECRET}\n"), &add);
    assert_eq!(code, 0, "{said}{told}");
    process.until_recording();
    let probe = line.json(&["camera", "probe", "front"]);
    assert_eq!((&probe["ok"], &probe["width"]), (&json!(true), &json!(640)), "{probe:#}");

    let all = line.does(&["camera", "list"]);
    assert!(all.contains("front") && all.contains("recording") && all.contains("640x360"), "{all}");
    assert_eq!(line.json(&["camera", "list"])["cameras"][0]["id"], "front");
    let changed = line.json(&["camera", "set", "front", "--name", "Front door", "--segment-seconds", "120"]);
    assert_eq!((&changed["name"], &changed["segment_seconds"]), (&json!("Front door"), &json!(120)));
    let shown = line.does(&["camera", "show", "front"]);
    assert!(shown.contains("Front door") && shown.contains("120 s"), "{shown}");
    let before = without_status(line.json(&["camera", "show", "front"]));
    assert_eq!((&before["has_password"], &before["main_url"]), (&json!(true), &json!(url)));

    // Out, and in again elsewhere: only the password has to be given anew.
    line.does(&["camera", "export", "cameras.toml"]);
    let exported = fs::read_to_string(dir.path().join("cameras.toml")).unwrap();
    assert_eq!(line.does(&["camera", "export"]), exported);
    assert_without(SECRET, "the export", &exported);
    let nothing = line.json(&["camera", "import", "cameras.toml"]);
    assert_eq!(nothing["cameras"][0]["action"], "unchanged");
    assert!(line.fails(2, &["camera", "remove", "front"]).contains("--yes"));
    line.does(&["camera", "remove", "front", "--yes"]);
    assert_eq!(line.json(&["camera", "list"])["cameras"], json!([]));
    let with_password = format!("{exported}password = \"{SECRET}\"\n");
    fs::write(dir.path().join("cameras.toml"), with_password).unwrap();
    let planned = line.json(&["camera", "import", "cameras.toml", "--dry-run"]);
    assert_eq!(planned["cameras"][0]["action"], "add");
    assert_eq!(line.json(&["camera", "list"])["cameras"], json!([]), "a dry run changed something");
    line.does(&["camera", "import", "cameras.toml"]);
    assert_eq!(without_status(line.json(&["camera", "show", "front"])), before);
    process.until_recording();

    line.does(&["camera", "set", "front", "--disable"]);
    process.until("the end", &path_of("front"), |seen| seen["status"]["state"] == "disabled");
    process.stop(STOPS_WITHIN);
    assert_eq!(camera.max_sessions(Channel::Main), 1);
}

#[test]
fn a_new_name_costs_no_frame() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let line = Line { dir: dir.path(), url: &process.url };
    let camera = record(&process, CameraSpec::new("front"), 60);
    for name in ["Front door", "Tür \"vorn\"; $(x)", "-"] {
        frames_more(&process, "front", 20);
        line.does(&["camera", "set", "front", &format!("--name={name}")]);
        assert_eq!(line.json(&["camera", "show", "front"])["name"], name);
    }
    frames_more(&process, "front", 20);
    let status = line.json(&["camera", "show", "front"])["status"].take();
    assert_eq!((&status["state"], &status["reconnects"]), (&json!("recording"), &json!(0)));
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &camera);
    // Not even a new file.
    assert_eq!(recordings(dir.path(), "front").len(), 1);
    assert_eq!(camera.max_sessions(Channel::Main), 1);
}

#[test]
fn what_was_recorded_and_what_happened_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let line = Line { dir: dir.path(), url: &process.url };
    let _camera = record(&process, CameraSpec::new("front"), 2);
    let closed = closed_segments(&process, "front", 2);
    let segments = line.json(&["segments", "front"]);
    assert_eq!(segments["segments"][0], closed[0]);
    let table = line.does(&["segments", "front", "--from", "-10m"]);
    assert!(table.contains(closed[1]["file"].as_str().unwrap()), "{table}");
    let one = line.json(&["segments", "front", "--limit", "1"]);
    assert_eq!((one["segments"].as_array().unwrap().len(), &one["more"]), (1, &json!(true)));

    let events = line.json(&["events"]);
    assert_eq!(events["events"][0]["kind"], "service_started");
    assert!(line.does(&["events"]).contains("service_started"));
    assert_eq!(line.json(&["events", "--camera", "nobody"])["events"], json!([]));

    let texts = line.json(&["pipeline", "list"]);
    let files: Vec<&str> =
        texts["pipelines"].as_array().unwrap().iter().map(|text| text["file"].as_str().unwrap()).collect();
    assert!(files.contains(&"record-h264.launch") && files.contains(&"audio-opus.launch"), "{files:?}");
    assert!(line.does(&["pipeline", "show", "front"]).starts_with("gst-launch-1.0 -e rtspsrc "));
    let shown = line.json(&["pipeline", "show", "front"]);
    assert!(shown["launch"].is_string() && shown["source"].is_string(), "{shown}");
    assert!(line.does(&["pipeline", "dot", "front"]).starts_with("digraph "));
    line.does(&["pipeline", "check"]);
    let texts = dir.path().join("texts");
    fs::create_dir(&texts).unwrap();
    fs::write(texts.join("record-h264.launch"), "fakesrc name=src ! ! fakesink").unwrap();
    let (code, said, _) = line.run("", &["pipeline", "check", "--pipelines", "texts"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("record-h264"), "{said}");
    let racy = "rtspsrc name=src src. ! application/x-rtp,media=video ! rtph264depay name=depay ! fakesink";
    fs::write(texts.join("record-h264.launch"), racy).unwrap();
    let (code, said, _) = line.run("", &["pipeline", "check", "--pipelines", "texts"]);
    assert!(code == 1 && said.contains("through caps"), "{said}");

    let doctor = line.json(&["doctor"]);
    assert_eq!(doctor["ok"], true, "{doctor:#}");
    let found =
        |name: &str| doctor["findings"].as_array().unwrap().iter().any(|finding| finding["name"] == name);
    assert!(
        ["gstreamer elements", "data", "recordings", "key file", "clock"].into_iter().all(found),
        "{doctor:#}"
    );
    process.stop(STOPS_WITHIN);
}

#[test]
fn the_volumes_are_listed_and_a_new_disk_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let mirror = dir.path().join("mirror");
    let start = || Process::start_with(dir.path(), &[("WATCHKEEPER_MIRROR_DIR", &mirror)]);
    let process = start();
    let line = Line { dir: dir.path(), url: &process.url };
    let _camera = record(&process, CameraSpec::new("front"), 2);
    closed_segments(&process, "front", 1);
    let table = line.does(&["segments", "front"]);
    assert!(table.contains("COPIES") && table.contains("both"), "{table}");
    process.until("the mirror's copy", "/api/v1/retention?volume=mirror", |seen| {
        seen["stored_bytes"].as_u64().is_some_and(|bytes| bytes > 0)
    });
    let kept = line.json(&["retention", "--volume", "mirror"]);
    assert_eq!(kept["cameras"][0]["camera_id"], "front", "{kept:#}");
    let told = line.fails(1, &["volume", "accept", "mirror"]);
    assert!(told.contains("the right volume") && told.contains("watchkeeper volume list"), "{told}");
    assert_eq!(line.run("", &["volume", "accept"]).0, 2);
    process.stop(STOPS_WITHIN);

    // Another disk is mounted in its place.
    fs::remove_dir_all(&mirror).unwrap();
    fs::create_dir(&mirror).unwrap();
    let process = start();
    let line = Line { dir: dir.path(), url: &process.url };
    let away = process
        .until("the mirror to be seen", "/api/v1/system", |seen| seen["mirror"]["state"] == "degraded");
    let listed = line.does(&["volume", "list"]);
    assert!(listed.contains("degraded") && listed.contains("volume accept"), "{listed}");
    assert_eq!(line.json(&["volume", "list"])["mirror"]["path"], away["mirror"]["path"]);
    let done = line.does(&["volume", "accept", "mirror"]);
    assert!(done.contains("is the mirror now"), "{done}");
    process.until("the mirror to be well", "/api/v1/system", |seen| seen["mirror"]["state"] == "ok");
    process.stop(STOPS_WITHIN);

    let process = Process::start(dir.path());
    let line = Line { dir: dir.path(), url: &process.url };
    assert!(!line.does(&["segments", "front"]).contains("COPIES"));
    assert!(line.json(&["volume", "list"])["mirror"].is_null());
    for args in [&["volume", "accept", "mirror"][..], &["retention", "--volume", "mirror"]] {
        assert!(line.fails(1, args).contains("mirror_dir"), "{args:?}");
    }
    process.stop(STOPS_WITHIN);
}

#[test]
fn a_command_that_fails_says_how_by_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let line = Line { dir: dir.path(), url: &process.url };
    for (args, said) in [
        (&["camera", "show", "nobody"][..], "camera list"),
        (&["camera", "add", "front", "--url", "http://127.0.0.1/x"], "--url: the scheme `http`"),
        (&["camera", "add", "front", "--vendor", "hikvision"], "--address"),
        (&["pipeline", "dot", "nobody"], "nobody"),
        (&["pipeline", "show", "nobody", "--reveal"], "nobody"),
        (&["camera", "import", "no-such-file.toml"], "no-such-file.toml"),
        (&["check", "--repair"], "the service is running"),
    ] {
        let told = line.fails(1, args);
        assert!(told.starts_with("watchkeeper: ") && told.contains(said), "{args:?}: {told}");
    }
    for args in [
        &["camera", "add", "../x", "--url", "rtsp://127.0.0.1/x"][..],
        &["camera", "add", "UPPER", "--url", "rtsp://127.0.0.1/x"],
        &["camera", "set", "front"],
        &["camera", "set", "front", "--rtsp-port", "70000"],
        &["camera", "set", "front", "--password", "x"],
        &["segments", "front", "--from", "noon"],
        &["events", "--limit", "0"],
        &["sing"],
        &[],
    ] {
        let (code, said, told) = line.run("", args);
        assert_eq!(code, 2, "{args:?}: {said}{told}");
        assert!(!told.is_empty(), "{args:?}");
    }
    let away = Line { url: NOWHERE, ..line };
    for args in [&["camera", "list"][..], &["segments", "front"], &["events"], &["pipeline", "show", "front"]]
    {
        let told = away.fails(3, args);
        assert!(told.contains("no service answers at") && told.contains("hint: "), "{told}");
    }
    assert!(line.does(&["--help"]).contains("Exit codes"));
    assert!(line.does(&["--version"]).starts_with("watchkeeper "));
    assert!(line.does(&["completions", "bash"]).contains("watchkeeper"));
    process.stop(STOPS_WITHIN);
}

#[test]
fn check_finds_what_is_missing_or_cut_and_is_content_with_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let line = Line { dir: dir.path(), url: NOWHERE };
    let camera = record(&process, CameraSpec::new("front"), 2);
    closed_segments(&process, "front", 3);
    let finds = |args: &[&str], kind: &str, file: &Path| {
        let (code, said, _) = line.run("", &[&["check", "--json"], args].concat());
        let report: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, &report["ok"]), (1, &json!(false)), "{kind}: {report:#}");
        let findings = report["findings"].as_array().unwrap();
        assert_eq!(findings.len(), 1, "{kind}: {report:#}");
        assert_eq!(findings[0]["kind"], kind, "{report:#}");
        assert!(file.ends_with(findings[0]["path"].as_str().unwrap()), "{report:#}");
    };
    // What is closed is looked at while the service records, too.
    let deep = line.json(&["check", "--deep"]);
    let read = deep["measured_files"].as_u64().unwrap();
    assert!(deep["running"] == true && deep["ok"] == true && read >= 3, "{deep:#}");
    assert_eq!(deep["without_hash"], 0, "{deep:#}");
    let first = recordings(dir.path(), "front").remove(0);
    let flip = || {
        let file = fs::File::options().read(true).write(true).open(&first).unwrap();
        let (mut byte, middle) = ([0], file.metadata().unwrap().len() / 2);
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], middle).unwrap();
    };
    flip();
    finds(&["--deep"], "altered", &first);
    line.does(&["check"]);
    process.stop(STOPS_WITHIN);
    finds(&["--deep", "--repair"], "altered", &first);
    finds(&[], "suspect", &first);
    flip();
    assert_eq!(line.json(&["check", "--deep", "--repair"])["findings"][0]["kind"], "cleared");
    prove(dir.path(), &camera);
    let fine = line.json(&["check", "--deep"]);
    let files = recordings(dir.path(), "front");
    assert_eq!((&fine["ok"], &fine["measured_files"]), (&json!(true), &json!(files.len())), "{fine:#}");
    assert_eq!((&fine["findings"], &fine["without_hash"]), (&json!([]), &json!(0)));

    let whole = fs::read(&files[1]).unwrap();
    fs::write(&files[1], &whole[..whole.len() - 1000]).unwrap();
    finds(&[], "altered", &files[1]);
    fs::write(&files[1], &whole).unwrap();
    line.does(&["check"]);
    let away = dir.path().join("away");
    fs::rename(&files[0], &away).unwrap();
    finds(&[], "lost", &files[0]);
    let (code, said, told) = line.run("", &["check"]);
    assert_eq!(code, 1);
    assert!(said.contains("not on disk") && told.contains("hint: "), "{said}{told}");
    fs::rename(&away, &files[0]).unwrap();
    fs::write(files[0].with_file_name("notes.txt"), "mine").unwrap();
    line.does(&["check"]);

    // A repair deletes nothing, and believes no file that contradicts its hash.
    fs::write(&files[1], &whole[..whole.len() - 1000]).unwrap();
    fs::rename(&files[0], &away).unwrap();
    let (_, said, _) = line.run("", &["check", "--repair", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["repaired"], true, "{said}");
    finds(&[], "suspect", &files[1]);
    assert_eq!(recordings(dir.path(), "front"), files[1..]);
}

#[test]
fn a_service_that_cannot_be_right_does_not_start_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let refused = |config: &str, listen: Option<&str>| {
        fs::write(dir.path().join("wrong.toml"), config).unwrap();
        let mut serve = command(dir.path(), "127.0.0.1:0");
        serve.args(["--config", "wrong.toml", "serve"]).env_remove("WATCHKEEPER_LISTEN");
        if let Some(listen) = listen {
            serve.env("WATCHKEEPER_LISTEN", listen);
        }
        let log = fs::File::create(dir.path().join("refused")).unwrap();
        let mut child = serve.stderr(log).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it serves with {config} {listen:?}");
            }
            pause(20);
        };
        assert_eq!(status.code(), Some(1), "{config} {listen:?}");
        fs::read_to_string(dir.path().join("refused")).unwrap()
    };
    for (config, listen, said) in [
        ("listen_adr = \"127.0.0.1:8080\"", None, "listen_adr"),
        ("[cameras]\nfront = 1", None, "cameras"),
        ("listen = 8080", None, "listen"),
        ("listen = \"0.0.0.0:8080\"", None, "0.0.0.0:8080 is not a loopback address"),
        ("", Some("0.0.0.0:0"), "0.0.0.0:0 is not a loopback address"),
        ("", Some("[::]:0"), "[::]:0 is not a loopback address"),
        ("", Some("here"), "WATCHKEEPER_LISTEN"),
        // The other service has the data, and goes on.
        ("", Some("127.0.0.1:0"), "another watchkeeper uses"),
    ] {
        let told = refused(config, listen);
        assert!(told.contains(said), "{config} {listen:?}: {told}");
    }
    assert_eq!(process.get("/healthz"), json!({ "status": "ok" }));
    process.stop(STOPS_WITHIN);
}
