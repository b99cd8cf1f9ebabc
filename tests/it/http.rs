//! The HTTP API of the built program, as a player, a dashboard and a monitor use it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    sync::mpsc,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    outside::{STOPS_WITHIN, ask, closed_segments, frames_more, get, path_of, prove, record, send},
    process::Process,
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        frames,
        link::{Link, Wire},
    },
    wait::PATIENCE,
};

fn listed(process: &Process, query: &str) -> (Vec<Value>, Option<i64>) {
    let mut page = process.get(&format!("/api/v1/cameras/front/segments?{query}"));
    let Value::Array(segments) = page["segments"].take() else { panic!("{page}") };
    (segments, page["next"].as_i64())
}

fn word<'a>(segment: &'a Value, name: &str) -> &'a str {
    segment[name].as_str().unwrap()
}

#[test]
fn recordings_are_listed_by_time_and_served_in_any_part() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let _camera = record(&process, CameraSpec::new("front"), 2);
    let closed = closed_segments(&process, "front", 5);
    // A segment may begin a little before the end of the one before it, by what the timeline was pulled.
    let end = word(&closed[4], "start");
    let ids = |segments: &[Value]| -> Vec<i64> {
        segments.iter().map(|segment| segment["id"].as_i64().unwrap()).collect()
    };

    // Pages, laid together, are the whole, whatever their size.
    for limit in [1, 2, 3] {
        let (mut all, mut query) = (Vec::new(), format!("to={end}&limit={limit}"));
        loop {
            let (page, next) = listed(&process, &query);
            assert!(page.len() <= limit);
            all.extend(page);
            let Some(next) = next else { break };
            query = format!("to={end}&limit={limit}&after={next}");
        }
        assert_eq!(ids(&all), ids(&closed[..4]), "limit {limit}");
    }
    // A range touches what it overlaps, not what it only borders on.
    let (start, stop) = (word(&closed[1], "start"), word(&closed[2], "start"));
    let (touched, _) = listed(&process, &format!("from={start}&to={stop}"));
    assert_eq!(ids(&touched).last(), Some(&ids(&closed)[1]), "{touched:#?}");
    let (before, _) = listed(&process, "to=2001-01-01T00:00:00Z");
    assert_eq!(before, Vec::<Value>::new());

    let (segment, file) = (&closed[0], dir.path().join("recordings").join(word(&closed[0], "file")));
    let (url, whole) = (word(segment, "url"), fs::read(file).unwrap());
    let length = whole.len();
    assert_eq!(segment["bytes"], length);
    let ranged = |range: &str| ask(&process, "GET", url, &[("range", range)], None);
    for (range, first, last) in [
        ("bytes=0-99".to_owned(), 0, 99),
        (format!("bytes=-{}", 1000), length - 1000, length - 1),
        (format!("bytes={}-", length / 2), length / 2, length - 1),
        (format!("bytes=1000-{}", length * 2), 1000, length - 1),
    ] {
        let answer = ranged(&range);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/{length}"));
        assert!(answer.body == whole[first..=last], "{range}: other bytes");
    }
    let beyond = ranged(&format!("bytes={length}-"));
    assert_eq!((beyond.status, beyond.header("content-range")), (416, format!("bytes */{length}").as_str()));
    assert_eq!(beyond.error().0, "bad_range");
    let all = get(&process, url);
    assert_eq!((all.status, all.header("content-type")), (200, "video/mp4"));
    assert!(all.body == whole);
    let tag = all.header("etag");
    assert_eq!(ask(&process, "GET", url, &[("if-none-match", tag)], None).status, 304);
    let head = ask(&process, "HEAD", url, &[], None);
    assert_eq!((head.status, head.header("content-length")), (200, length.to_string().as_str()));
    let saved = get(&process, &format!("{url}?download=1"));
    assert!(saved.header("content-disposition").starts_with("attachment"), "{:?}", saved.headers);
    process.stop(STOPS_WITHIN);
}

#[test]
fn an_open_segment_grows_and_plays_as_far_as_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = record(&process, CameraSpec::new("front"), 60);
    let mut seen: Vec<u64> = Vec::new();
    for n in 0..3 {
        frames_more(&process, "front", 40);
        let (segments, _) = listed(&process, "");
        assert_eq!(segments.len(), 1, "{segments:#?}");
        assert_eq!(segments[0]["state"], "open");
        let newest = camera.last_sent(Channel::Main).unwrap().number;
        let answer = get(&process, word(&segments[0], "url"));
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        let file = dir.path().join(format!("served-{n}.mp4"));
        fs::write(&file, &answer.body).unwrap();
        frames::decodes_clean(&file).unwrap();
        let numbers: Vec<u64> =
            frames::frames_in(&file).unwrap().into_iter().map(|frame| frame.number).collect();
        assert!(numbers.len() > seen.len() && numbers.starts_with(&seen), "{} frames", numbers.len());
        // Fragments of half a second, rows twice a second, and a slow machine.
        let late = newest.saturating_sub(*numbers.last().unwrap());
        assert!(late <= 75, "served up to {:?} of {newest}", numbers.last());
        seen = numbers;
    }
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &camera);
}

#[test]
fn a_snapshot_is_the_picture_of_the_camera_and_is_sent_once() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = record(&process, CameraSpec::new("front"), 60);
    let path = "/api/v1/cameras/front/snapshot.jpg";
    let picture = get(&process, path);
    assert_eq!((picture.status, picture.header("content-type")), (200, "image/jpeg"));
    let file = dir.path().join("snapshot.jpg");
    fs::write(&file, &picture.body).unwrap();
    frames::decodes_clean(&file).unwrap();
    let probe = frames::probe(&file).unwrap();
    assert_eq!((probe.codec.as_str(), probe.width, probe.height), ("mjpeg", 640, 360));
    // The camera falls silent, so that the picture stays what it is for as long as a slow machine needs.
    camera.freeze();
    let deadline = Instant::now() + PATIENCE;
    let (tag, again) = loop {
        let tag = get(&process, path).header("etag").to_owned();
        let again = ask(&process, "GET", path, &[("if-none-match", &tag)], None);
        // Until what was under way when it fell silent has come, there may be a newer one.
        if again.header("etag") == tag {
            break (tag, again);
        }
        assert!(Instant::now() < deadline, "{tag} becomes {}", again.header("etag"));
    };
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()));
    camera.thaw();
    let number: u64 = tag.rsplit('-').nth(1).unwrap().parse().unwrap();
    process.until("a new keyframe", &path_of("front"), |seen| {
        seen["status"]["picture"].as_u64().is_some_and(|newest| newest > number)
    });
    let newer = ask(&process, "GET", path, &[("if-none-match", &tag)], None);
    assert!(newer.status == 200 && newer.header("etag") != tag && newer.body != picture.body);
    process.stop(STOPS_WITHIN);
}

/// Server-sent events, as they come.
fn live(process: &Process) -> mpsc::Receiver<(String, Value)> {
    let answer = ureq::get(format!("{}/api/v1/live", process.url)).call().unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (tell, told) = mpsc::channel();
    // Ends with the process.
    std::thread::spawn(move || {
        let (mut name, mut data) = (String::new(), String::new());
        for line in BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok) {
            if let Some(given) = line.strip_prefix("event:") {
                given.trim().clone_into(&mut name);
            } else if let Some(given) = line.strip_prefix("data:") {
                data.push_str(given);
            } else if line.is_empty() && !data.is_empty() {
                let event = (std::mem::take(&mut name), serde_json::from_str(&data).unwrap());
                data.clear();
                if tell.send(event).is_err() {
                    return;
                }
            }
        }
    });
    told
}

/// An event's name, and what its data is like.
type Wanted<'a> = (&'a str, &'a dyn Fn(&Value) -> bool);

/// Takes events until each of these has come, in whatever order, and gives them in the order asked for.
fn until_told<const N: usize>(told: &mpsc::Receiver<(String, Value)>, wanted: [Wanted; N]) -> [Value; N] {
    let (deadline, mut found, mut seen) = (Instant::now() + PATIENCE, [const { None }; N], Vec::new());
    while found.iter().any(Option::is_none) {
        let rest = deadline.saturating_duration_since(Instant::now());
        let (kind, data) = told.recv_timeout(rest).unwrap_or_else(|_| panic!("{found:#?} after {seen:#?}"));
        for (found, (name, is)) in found.iter_mut().zip(&wanted) {
            if found.is_none() && *name == kind && is(&data) {
                *found = Some(data.clone());
            }
        }
        seen.push((kind, data));
    }
    found.map(Option::unwrap)
}

#[test]
fn the_live_stream_tells_of_a_cut_camera_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = SimCamera::start(CameraSpec::new("front")).unwrap();
    let link = Link::start(camera.port()).unwrap();
    process.post("/api/v1/cameras", &json!({ "id": "front", "main_url": link.url("main") }));
    process.until_recording();

    let told = live(&process);
    let (first, snapshot) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(first, "snapshot");
    assert_eq!(snapshot["cameras"][0]["status"]["state"], "recording");
    assert_eq!(snapshot["system"]["volume"]["state"], "ok");
    let is = |name: &'static str, word: &'static str| move |data: &Value| data[name] == word;
    let shows = |state: &'static str| move |camera: &Value| camera["status"]["state"] == state;

    link.set(Wire::Cut);
    let [lost, closed, event] = until_told(
        &told,
        [
            ("camera", &shows("offline")),
            ("segment", &is("state", "closed")),
            ("event", &is("kind", "camera_offline")),
        ],
    );
    assert_eq!((&lost["id"], &closed["camera_id"]), (&json!("front"), &json!("front")));
    assert_eq!((&event["camera_id"], &event["severity"]), (&json!("front"), &json!("warning")));
    link.set(Wire::Whole);
    let [_, opened, _] = until_told(
        &told,
        [
            ("camera", &shows("recording")),
            ("segment", &is("state", "open")),
            ("event", &is("kind", "camera_online")),
        ],
    );
    assert_ne!(opened["id"], closed["id"]);
    assert_eq!(ask(&process, "DELETE", &path_of("front"), &[], None).status, 204);
    until_told(&told, [("camera_removed", &is("id", "front"))]);
    // An open stream does not hold up the stop.
    process.stop(STOPS_WITHIN);
}

/// The samples of a page in Prometheus' text format, by name with labels.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            let bare = name.split('{').next().unwrap();
            assert!(
                page.contains(&format!("# TYPE {bare} ")) && page.contains(&format!("# HELP {bare} ")),
                "{line}"
            );
            let shape = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(bare.starts_with("watchkeeper_") && bare.chars().all(shape), "{line}");
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line:?}")))
        })
        .collect()
}

#[test]
fn health_readiness_and_metrics_tell_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = record(&process, CameraSpec::new("front"), 60);
    assert_eq!(process.get("/healthz"), json!({ "status": "ok" }));
    let ready = process.get("/readyz");
    assert_eq!(ready["ready"], true, "{ready:#}");
    let checks: Vec<&str> =
        ready["checks"].as_array().unwrap().iter().map(|check| word(check, "name")).collect();
    assert_eq!(checks, ["database", "volume", "cameras"]);

    let page = || samples(&get(&process, "/metrics").text());
    let before = page();
    frames_more(&process, "front", 50);
    let after = page();
    let of = |page: &BTreeMap<String, f64>, name: &str| {
        let found =
            page.iter().find(|(sample, _)| sample.starts_with(name) && sample.contains("camera=\"front\""));
        *found.unwrap_or_else(|| panic!("no {name} in {page:#?}")).1
    };
    for counter in ["watchkeeper_camera_frames_total", "watchkeeper_camera_received_bytes_total"] {
        let grown = of(&after, counter) - of(&before, counter);
        assert!(grown >= 40.0, "{counter} grew by {grown}");
    }
    for (name, value) in &before {
        let counts = name.split('{').next().unwrap().ends_with("_total");
        assert!(!counts || after[name] >= *value, "{name} went back");
    }

    camera.kill().unwrap();
    process.until("the loss", &path_of("front"), |seen| seen["status"]["state"] == "offline");
    let away = get(&process, "/readyz");
    assert_eq!((away.status, &away.json()["ready"]), (503, &json!(false)), "{}", away.text());
    assert_eq!(process.get("/healthz"), json!({ "status": "ok" }));
    process.stop(STOPS_WITHIN);
}

#[test]
fn a_probe_of_a_recorded_camera_looks_at_the_open_session() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = record(&process, CameraSpec::new("front"), 60);
    let saved = send(&process, "POST", "/api/v1/cameras/front/probe", "{}").json();
    // The same stream again, as a form asks before it saves.
    let given = json!({ "main_url": camera.url(Channel::Main) });
    let unsaved = process.post("/api/v1/probe", &given);
    for report in [saved, unsaved] {
        assert_eq!(report["ok"], true, "{report:#}");
        assert_eq!((&report["codec"], &report["b_frames"]), (&json!("h264"), &json!(false)));
        assert_eq!((&report["width"], &report["height"]), (&json!(640), &json!(360)));
        let near = |name: &str, wanted: f64, by: f64| {
            let measured = report[name].as_f64().unwrap_or(f64::NAN);
            assert!((measured - wanted).abs() <= by, "{name} is {measured}");
        };
        near("fps_measured", 25.0, 2.5);
        near("keyframe_interval_s", 1.0, 0.1);
        near("bit_rate_bps", 500_000.0, 350_000.0);
        assert!(word(&report, "thumbnail").starts_with("data:image/jpeg;base64,"));
    }
    assert_eq!(camera.max_sessions(Channel::Main), 1);
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &camera);
}
