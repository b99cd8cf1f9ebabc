//! Pictures for programs that look at them: at the rate and size that was asked for, of the right moment, on the sessions that
//! are open anyway, and never at the cost of a recorded frame. `SAMPLING_SECS` says how long each rate is measured:
//! `scripts/sampling-trial`.

use std::{fs, process::Command, time::Instant};

use serde_json::{Value, json};
use watchkeeper::base::WallUs;

use crate::{
    outside::{Answer, STOPS_WITHIN, ask, events, frames_more, get, path_of, prove, record, send},
    process::Process,
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        footage::{Encoding, Source},
        frames,
    },
    wait::PATIENCE,
};

const FRAME_US: i64 = 40_000;
/// Of pictures that are compared.
const SMALL: (usize, usize) = (64, 36);

pub(crate) fn task(process: &Process, body: &Value) -> Value {
    process.post("/api/v1/ai/tasks", body)
}

pub(crate) fn change(process: &Process, task: &Value, body: Value) -> Value {
    let answer = send(process, "PATCH", &format!("/api/v1/ai/tasks/{}", task["id"]), &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The next picture after `after`.
pub(crate) fn next(process: &Process, camera: &str, profile: &str, after: u64) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let path = format!("{}/frame?profile={profile}&after={after}&wait=10", path_of(camera));
        let answer = get(process, &path);
        if answer.status == 200 {
            return answer;
        }
        assert!(matches!(answer.status, 204 | 409) && Instant::now() < deadline, "{}", answer.text());
    }
}

pub(crate) fn number(answer: &Answer) -> u64 {
    answer.header("x-frame-number").parse().unwrap()
}

/// Pictures of a stream over so many seconds of its own time: how many a second. Each must be given to us, unless `fps` is so
/// many that one may be over before we ask for it.
pub(crate) fn rate(process: &Process, camera: &str, profile: &str, fps: f64, seconds: f64) -> f64 {
    let first = next(process, camera, profile, 0);
    let at = |answer: &Answer| WallUs::parse(answer.header("x-frame-captured-at")).unwrap().0;
    let (first_number, from) = (number(&first), at(&first));
    let (mut last, mut to) = (first, from);
    while ((to - from) as f64) < seconds * 1e6 {
        let answer = next(process, camera, profile, number(&last));
        let is_next = number(&answer) == number(&last) + 1;
        assert!(is_next || fps > 2.0, "a picture was passed over");
        to = at(&answer);
        last = answer;
    }
    (number(&last) - first_number) as f64 * 1e6 / (to - from) as f64
}

/// Small grey pictures of a file.
fn grey(input: &std::path::Path) -> Vec<Vec<u8>> {
    let (width, height) = SMALL;
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(input)
        .args(["-vf", &format!("scale={width}:{height},format=gray"), "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout.chunks_exact(width * height).map(<[u8]>::to_vec).collect()
}

fn differ(one: &[u8], other: &[u8]) -> u64 {
    one.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
}

fn cameras(process: &Process) -> Vec<SimCamera> {
    let main = Encoding { gop_frames: 25, ..Encoding::small(Source::Cars) };
    let sub = Some(Encoding { width: 160, height: 90, gop_frames: 25, ..Encoding::small(Source::People) });
    let camera = |name: &str| {
        let camera = record(process, CameraSpec { main, sub, ..CameraSpec::new(name) }, 4);
        let patch = json!({ "sub_url": camera.url(Channel::Sub) }).to_string();
        assert_eq!(send(process, "PATCH", &path_of(name), &patch).status, 200);
        camera
    };
    ["front", "yard"].map(camera).into()
}

#[test]
fn pictures_come_at_their_rate_from_the_right_moment_and_cost_no_recorded_frame() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let cameras = cameras(&process);
    let main = task(
        &process,
        &json!({ "camera_id": "front", "type": "people", "profile": "main", "fps": 5, "width": 320 }),
    );
    let sub = task(&process, &json!({ "camera_id": "front", "type": "motion", "fps": 2 }));

    // A picture says when it was taken and where it is recorded, and the file holds the same there.
    let mut picture = next(&process, "front", "main", 0);
    let deadline = Instant::now() + PATIENCE;
    let (file, place, stamp) = loop {
        // It says so only of what has its row, which on a slow machine may still be on its way; when a segment has just ended,
        // that of the one before is there.
        assert!(Instant::now() < deadline, "no picture is where it says; last {:?}", picture.headers);
        let figure = |name: &str| picture.header(name).parse::<i64>().ok();
        if let (Some(segment), Some(offset_us)) = (figure("x-frame-segment"), figure("x-frame-offset-us")) {
            let row = process.until("the segment to close", &format!("/api/v1/segments/{segment}"), |row| {
                row["state"] == "closed"
            });
            let file = dir.path().join("recordings").join(row["file"].as_str().unwrap());
            let place = usize::try_from((offset_us + FRAME_US / 2) / FRAME_US).unwrap();
            if let Some(stamp) = frames::frames_in(&file).unwrap().get(place) {
                break (file, place, *stamp);
            }
        }
        picture = next(&process, "front", "main", number(&picture));
    };
    let jpeg = dir.path().join("picture.jpg");
    fs::write(&jpeg, &picture.body).unwrap();
    let info = frames::ffprobe(&jpeg, "v:0", &["-show_entries", "stream=width,height"]).unwrap();
    let size = (&info["streams"][0]["width"], &info["streams"][0]["height"]);
    assert_eq!((size.0.as_u64(), size.1.as_u64()), (Some(320), Some(180)), "{info:#}");
    assert_eq!(picture.header("x-frame-size"), "320x180");
    let at = WallUs::parse(picture.header("x-frame-captured-at")).unwrap();
    let late_us = at.0 - i64::try_from(stamp.capture_us).unwrap();
    assert!((-FRAME_US..=4 * FRAME_US).contains(&late_us), "its time is {late_us} us off");
    let (small, of_file) = (&grey(&jpeg)[0], grey(&file));
    let least = of_file.iter().map(|frame| differ(small, frame)).min().unwrap();
    let there = differ(small, &of_file[place]);
    assert!(there <= least + least / 10 + 500, "another frame of the file is more like it: {there}, {least}");

    // The rate is kept, whatever must be decoded for it, and changes while it runs; that of the other stream stays.
    let long: Option<f64> = std::env::var("SAMPLING_SECS").ok().map(|text| text.parse().unwrap());
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| rate(&process, "front", "sub", 2.0, 8.0));
        for (fps, seconds) in [(5.0, 4.0), (1.0, 6.0), (2.0, 4.0), (15.0, 3.0), (0.2, 10.0)] {
            let changed = change(&process, &main, json!({ "fps": fps }));
            assert_eq!(changed["fps"], fps);
            process.until("the grant", "/api/v1/ai/samplers", |seen| {
                seen["samplers"].as_array().unwrap().iter().any(|of| of["granted_fps"] == fps)
            });
            // What was under way before.
            next(&process, "front", "main", number(&next(&process, "front", "main", 0)) + 1);
            let measured = rate(&process, "front", "main", fps, long.unwrap_or(seconds));
            assert!((measured - fps).abs() <= fps * 0.1, "{measured} in place of {fps}");
            // What is shown is of the last 20 s.
            if long.is_some_and(|seconds| seconds > 30.0) {
                let shown =
                    process.get("/api/v1/ai/samplers")["samplers"][0]["measured_fps"].as_f64().unwrap();
                assert!((shown - fps).abs() <= fps * 0.1, "{shown} is shown in place of {fps}");
                println!("granted {fps}, delivered {measured:.3}, shown {shown:.3} a second");
            }
        }
        let measured = beside.join().unwrap();
        assert!((measured - 2.0).abs() <= 0.25, "{measured} in place of 2");
    });

    // The other stream has a session of its own, for as long as somebody needs it, and only one.
    let front = &cameras[0];
    assert_eq!((front.max_sessions(Channel::Main), front.max_sessions(Channel::Sub)), (1, 1));
    assert_eq!(send(&process, "DELETE", &format!("/api/v1/ai/tasks/{}", sub["id"]), "").status, 204);
    process
        .until("one sampler", "/api/v1/ai/samplers", |seen| seen["samplers"].as_array().unwrap().len() == 1);
    let deadline = Instant::now() + PATIENCE;
    while front.sessions(Channel::Sub) > 0 {
        assert!(Instant::now() < deadline, "the session of the sub stream stays");
        crate::process::pause(50);
    }
    assert_eq!(get(&process, &format!("{}/frame?profile=sub", path_of("front"))).error().0, "not_sampled");

    // The same picture is not sent twice.
    let picture = next(&process, "front", "main", 0);
    let etag = picture.header("etag").to_owned();
    let again = ask(
        &process,
        "GET",
        &format!("{}/frame?profile=main", path_of("front")),
        &[("if-none-match", &etag)],
        None,
    );
    assert!(again.status == 304 || again.header("etag") != etag, "{}", again.status);

    process.stop(STOPS_WITHIN);
    for camera in &cameras {
        prove(dir.path(), camera);
    }
}

#[test]
fn what_the_budget_has_not_is_shed_and_comes_back_and_a_camera_that_is_away_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let limit = std::path::Path::new("3");
    let process = Process::start_with(dir.path(), &[("WATCHKEEPER_AI_MAX_TOTAL_FPS", limit)]);
    let cameras = cameras(&process);
    let [first, _] = ["front", "yard"].map(|camera| {
        task(
            &process,
            &json!({ "camera_id": camera, "type": "x", "profile": "main", "fps": 5, "width": 160 }),
        )
    });
    let granted = |seen: &Value| -> Vec<f64> {
        seen["samplers"].as_array().unwrap().iter().map(|of| of["granted_fps"].as_f64().unwrap()).collect()
    };
    process.until("what is left", "/api/v1/ai/samplers", |seen| granted(seen) == [2.5, 0.5]);
    // Two more streams, which matter more.
    let more: Vec<Value> = (0..2)
        .flat_map(|_| ["front", "yard"])
        .map(|camera| task(&process, &json!({ "camera_id": camera, "type": "y", "fps": 2, "priority": 5 })))
        .collect();
    // front main, front sub, yard main, yard sub: the sub streams go first.
    process.until("who comes first", "/api/v1/ai/samplers", |seen| granted(seen) == [0.5, 1.5, 0.5, 0.5]);
    change(&process, &first, json!({ "fps": 0.2 }));
    for task in &more {
        assert_eq!(send(&process, "DELETE", &format!("/api/v1/ai/tasks/{}", task["id"]), "").status, 204);
    }
    process.until("the rest", "/api/v1/ai/samplers", |seen| granted(seen) == [0.2, 2.8]);
    process.until("pictures", "/api/v1/ai/samplers", |seen| {
        seen["samplers"].as_array().unwrap().iter().all(|of| of["state"] == "sampling")
    });

    cameras[1].kill().unwrap();
    process.until("the loss", "/api/v1/ai/samplers", |seen| seen["samplers"][1]["state"] == "offline");
    cameras[1].revive().unwrap();
    process.until("the return", "/api/v1/ai/samplers", |seen| seen["samplers"][1]["state"] == "sampling");
    assert!(events(&process).iter().all(|event| event["kind"] != "sampler_offline"));

    // A kill forgets no task, and a camera takes its tasks with it.
    process.kill();
    let process = Process::start_with(dir.path(), &[("WATCHKEEPER_AI_MAX_TOTAL_FPS", limit)]);
    process.until("the tasks", "/api/v1/ai/samplers", |seen| granted(seen) == [0.2, 2.8]);
    assert_eq!(send(&process, "DELETE", &path_of("yard"), "").status, 204);
    process.until("one task", "/api/v1/ai/tasks", |seen| seen["tasks"].as_array().unwrap().len() == 1);
    frames_more(&process, "front", 25);

    for (body, status, code, field) in [
        (r#"{"camera_id": "front", "type": "x", "fps": 0}"#, 400, "bad_field", "fps"),
        (r#"{"camera_id": "front", "type": "x", "fps": 31}"#, 400, "bad_field", "fps"),
        (r#"{"camera_id": "front", "type": "x", "width": 100}"#, 400, "bad_field", "width"),
        (r#"{"camera_id": "front", "type": "x", "width": 4000}"#, 400, "bad_field", "width"),
        (r#"{"camera_id": "front", "type": " "}"#, 400, "bad_field", "type"),
        (r#"{"camera_id": "front", "type": "x", "profile": "third"}"#, 400, "bad_field", "profile"),
        (r#"{"camera_id": "front", "type": "x", "config": [1]}"#, 400, "bad_field", "config"),
        (r#"{"camera_id": "front", "type": "x", "speed": 1}"#, 400, "unknown_field", "speed"),
        (r#"{"camera_id": "front"}"#, 400, "bad_field", "type"),
        (r#"{"camera_id": "nobody", "type": "x"}"#, 404, "no_camera", ""),
    ] {
        let answer = send(&process, "POST", "/api/v1/ai/tasks", body);
        let error = answer.error();
        assert_eq!((answer.status, error.0.as_str(), error.1.as_str()), (status, code, field), "{body}");
    }
    for (path, status, code) in [
        ("/api/v1/ai/tasks/99", 404, "no_task"),
        ("/api/v1/ai/tasks/x", 400, "bad_id"),
        ("/api/v1/cameras/front/frame?profile=third", 400, "bad_query"),
        ("/api/v1/cameras/front/frame?wait=31", 400, "bad_query"),
        ("/api/v1/cameras/nobody/frame", 404, "no_camera"),
    ] {
        let answer = get(&process, path);
        assert_eq!((answer.status, answer.error().0.as_str()), (status, code), "{path}");
    }
    process.stop(STOPS_WITHIN);
}
