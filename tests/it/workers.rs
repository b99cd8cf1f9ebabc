//! Programs that look at pictures: leases, pictures as they come, detections that are kept once, and zones that make an event
//! camera record.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, protocol::frame::coding::CloseCode, stream::MaybeTlsStream};
use watchkeeper::base::WallUs;

use crate::{
    outside::{Answer, STOPS_WITHIN, events, frames_more, get, path_of, prove, record, send},
    process::{Process, pause},
    sim::{
        camera::{CameraSpec, SimCamera},
        frames,
    },
    wait::PATIENCE,
};

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

fn task(process: &Process, camera: &str, kind: &str) -> i64 {
    let body = json!({ "camera_id": camera, "type": kind, "profile": "main", "fps": 5, "width": 320 });
    process.post("/api/v1/ai/tasks", &body)["id"].as_i64().unwrap()
}

fn lease(process: &Process, body: &Value) -> Answer {
    send(process, "POST", "/api/v1/ai/leases", &body.to_string())
}

fn tasks_of(lease: &Value) -> Vec<i64> {
    lease["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_i64().unwrap()).collect()
}

/// Opens the stream of pictures of a camera, once it is sampled.
fn socket(process: &Process, camera: &str) -> Socket {
    let url = format!("{}{}/frames?profile=main", process.url.replace("http", "ws"), path_of(camera));
    let deadline = Instant::now() + PATIENCE;
    loop {
        match tungstenite::connect(&url) {
            Ok((socket, _)) => return socket,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        pause(100);
    }
}

/// The next picture, and what is told of it.
fn picture(socket: &mut Socket) -> (Value, Vec<u8>) {
    let mut head = Value::Null;
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => head = serde_json::from_str(&text).unwrap(),
            Message::Binary(jpeg) => {
                assert_eq!(head["bytes"], jpeg.len());
                return (head, jpeg.to_vec());
            }
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Someone who stands there.
fn person(x: f64, y: f64) -> Value {
    json!({ "label": "person", "confidence": 0.9, "box": [x - 0.05, y - 0.2, 0.1, 0.2], "track_id": "7" })
}

fn post(process: &Process, lease: &str, task: i64, frame: &Value, found: Value) -> Answer {
    let body =
        json!({ "lease": lease, "camera_id": "front", "task_id": task, "frame": frame, "detections": found });
    send(process, "POST", "/api/v1/ai/detections", &body.to_string())
}

#[test]
fn who_crosses_a_line_is_told_once_and_an_event_camera_records_it_with_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let frames_dir = dir.path().join("frames");
    let process = Process::start_with(dir.path(), &[("WATCHKEEPER_FRAMES_DIR", &frames_dir)]);
    let _camera = record(&process, CameraSpec::new("front"), 60);
    let event = json!({ "record_mode": "event", "pre_roll_seconds": 4, "post_roll_seconds": 3 }).to_string();
    assert_eq!(send(&process, "PATCH", &path_of("front"), &event).status, 200);
    process.until("readiness", &path_of("front"), |seen| seen["status"]["reason"] == "armed");
    let task = task(&process, "front", "people");
    let zone = |name: &str, kind: &str, points: Value| {
        let body = json!({ "name": name, "kind": kind, "points": points, "labels": ["person"] });
        process.post(&format!("{}/zones", path_of("front")), &body)
    };
    // Along the middle, from left to right: who comes down crosses it forward.
    zone("gate", "line", json!([[0.1, 0.5], [0.9, 0.5]]));
    zone("porch", "region", json!([[0.3, 0.6], [0.7, 0.6], [0.7, 0.99], [0.3, 0.99]]));
    let lease = lease(&process, &json!({ "worker": "w1", "types": ["people"] })).json();
    assert_eq!(tasks_of(&lease), [task]);
    let token = lease["lease"].as_str().unwrap().to_owned();
    // With pre-roll in memory, the footage of the crossing is there before it.
    frames_more(&process, "front", 100);

    let mut socket = socket(&process, "front");
    let mut walked = Vec::new();
    for y in [0.3, 0.4, 0.45, 0.55, 0.65, 0.7, 0.75] {
        let (head, jpeg) = picture(&mut socket);
        assert_eq!((&head["camera_id"], &head["profile"]), (&json!("front"), &json!("main")));
        assert_eq!((&head["width"], &jpeg[..2]), (&json!(320), &[0xff, 0xd8][..]));
        let number = &head["number"];
        assert!(
            walked.last().is_none_or(|(before, _): &(u64, String)| number.as_u64() > Some(*before)),
            "{head}"
        );
        // A car that goes the same way is no person.
        let car =
            json!({ "label": "car", "confidence": 0.9, "box": [0.4, y - 0.2, 0.1, 0.2], "track_id": "8" });
        let found = json!([person(0.5, y), car]);
        assert_eq!(post(&process, &token, task, number, found.clone()).json(), json!({ "new": true }));
        assert_eq!(post(&process, &token, task, number, found).json(), json!({ "new": false }), "again");
        walked.push((number.as_u64().unwrap(), head["captured_at"].as_str().unwrap().to_owned()));
    }
    let told = || -> Vec<Value> {
        let zones = ["zone_enter", "zone_exit", "zone_dwell", "line_cross"];
        events(&process)
            .into_iter()
            .filter(|event| zones.contains(&event["kind"].as_str().unwrap()))
            .collect()
    };
    let kinds: Vec<_> = told().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect();
    // Both need a second look.
    assert_eq!(kinds, ["line_cross", "zone_enter"]);
    let cross = &told()[0];
    assert_eq!((&cross["camera_id"], &cross["at"]), (&json!("front"), &json!(walked[4].1)));
    let sight = &cross["sight"];
    assert_eq!((&sight["direction"], &sight["zone"]), (&json!("forward"), &json!("gate")));
    assert_eq!((&sight["frame"], &sight["track_id"]), (&json!(walked[4].0), &json!("7")));
    let listed = process.get(&format!("{}/detections", path_of("front")));
    assert_eq!(listed["frames"].as_array().unwrap().len(), walked.len(), "each is kept once");
    let counts = process.get(&format!("{}/detections/counts?step_seconds=86400", path_of("front")));
    assert_eq!(counts["counts"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>(), 7);

    // The camera records, and the file holds the crossing with what came before it.
    let recorded = |seen: &Value| {
        let mut crossings =
            seen["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "line_cross");
        crossings.find_map(|event| event["sight"]["segment_id"].as_i64())
    };
    let log = "/api/v1/events?limit=1000";
    let id = recorded(&process.until("the recorded crossing", log, |seen| recorded(seen).is_some())).unwrap();
    let clip = process.until("the end of the clip", &format!("/api/v1/segments/{id}"), |segment| {
        segment["state"] == "closed"
    });
    let time = |value: &Value| WallUs::parse(value.as_str().unwrap()).unwrap();
    let crossed = time(&cross["at"]);
    let (start, end) = (time(&clip["start"]), time(&clip["end"]));
    assert!(start.plus_us(2_000_000) < crossed && crossed < end, "{clip} for {cross}");
    let sight = &told()[0]["sight"];
    let place = (&sight["segment_id"], sight["offset_us"].as_i64());
    assert_eq!(place, (&clip["id"], Some(crossed.0 - start.0)), "{sight}");
    let file = dir.path().join("recordings").join(clip["file"].as_str().unwrap());
    frames::decodes_clean(&file).unwrap();
    let triggers = events(&process).into_iter().filter(|event| event["kind"] == "trigger");
    let reasons: Vec<String> = triggers.map(|event| event["detail"].as_str().unwrap().to_owned()).collect();
    assert_eq!(reasons, ["line_cross gate: person 7, forward"], "one window, one entry");

    // The latest picture is a file as well, until nobody needs it.
    let latest = frames_dir.join("front/latest_main.jpg");
    assert_eq!(frames::codec_of(&latest, "v:0").unwrap().as_deref(), Some("mjpeg"));
    assert_eq!(send(&process, "DELETE", &format!("/api/v1/ai/tasks/{task}"), "").status, 204);
    let deadline = Instant::now() + PATIENCE;
    while latest.exists() {
        assert!(Instant::now() < deadline, "{} stays", latest.display());
        pause(50);
    }
    let answer = post(&process, &token, task, &json!(walked[0].0), json!([]));
    assert_eq!((answer.status, answer.error().0.as_str()), (404, "no_task"));
    process.stop(STOPS_WITHIN);
}

#[test]
fn tasks_move_from_a_dead_worker_and_nothing_wrong_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let cameras: Vec<SimCamera> =
        ["front", "yard"].map(|name| record(&process, CameraSpec::new(name), 4)).into();
    let tasks: Vec<i64> =
        (0..20).map(|n| task(&process, ["front", "yard"][n % 2], &format!("t{}", n % 4))).collect();
    // Before it is asked for, so that it ends no earlier than 15 s after this.
    let began = Instant::now();
    let dead = lease(&process, &json!({ "worker": "dead", "max_tasks": 10, "ttl_seconds": 15 })).json();
    assert_eq!(tasks_of(&dead), tasks[..10]);
    // Longer than all that is asked below takes.
    let mut alive = lease(&process, &json!({ "worker": "alive", "ttl_seconds": 120 })).json();
    assert_eq!(tasks_of(&alive), tasks[10..]);
    let token = alive["lease"].as_str().unwrap().to_owned();
    let workers = process.get("/api/v1/ai/leases");
    assert_eq!(workers["workers"][0]["task_ids"], json!(tasks[10..]));
    assert!(!workers.to_string().contains(&token), "whoever reads this is not the worker");

    // A reader that never reads costs nobody a picture.
    let _deaf = socket(&process, "front");
    let mut reader = socket(&process, "front");
    let (head, _) = picture(&mut reader);
    for (body, status, code, field) in [
        (json!({ "worker": "alive" }), 409, "worker_exists", "worker"),
        (json!({ "worker": " " }), 400, "bad_field", "worker"),
        (json!({ "worker": "x", "ttl_seconds": 14 }), 400, "bad_field", "ttl_seconds"),
        (json!({ "worker": "x", "ttl_seconds": 301 }), 400, "bad_field", "ttl_seconds"),
        (json!({ "worker": "x", "speed": 1 }), 400, "unknown_field", "speed"),
        (json!({}), 400, "bad_field", "worker"),
    ] {
        let answer = lease(&process, &body);
        let (is, of) = answer.error();
        assert_eq!((answer.status, is.as_str(), of.as_str()), (status, code, field), "{body}");
    }
    let bad = |what: &str, value: Value| {
        let mut found = person(0.5, 0.5);
        found[what] = value;
        json!([person(0.5, 0.5), found])
    };
    let (mine, number) = (tasks[10], &head["number"]);
    let yesterday = json!(number.as_u64().unwrap() - 86_400 * 64);
    for (lease, task, frame, found, status, code, field) in [
        ("nobody", mine, number, json!([]), 409, "not_leased", "lease"),
        (&*token, tasks[0], number, json!([]), 409, "not_leased", "lease"),
        (&*token, tasks[11], number, json!([]), 400, "bad_field", "camera_id"),
        (&*token, 99, number, json!([]), 404, "no_task", ""),
        (&*token, mine, &yesterday, json!([]), 404, "no_frame", "frame"),
        (&*token, mine, &json!(-1), json!([]), 400, "bad_field", "frame"),
        (
            &*token,
            mine,
            number,
            bad("box", json!([0.9, 0.1, 0.2, 0.1])),
            400,
            "bad_field",
            "detections[1].box",
        ),
        (&*token, mine, number, bad("confidence", json!(2)), 400, "bad_field", "detections[1].confidence"),
        (&*token, mine, number, bad("label", json!("")), 400, "bad_field", "detections[1].label"),
        (&*token, mine, number, bad("speed", json!(1)), 400, "unknown_field", "detections[1].speed"),
        (&*token, mine, number, vec![person(0.5, 0.5); 1001].into(), 400, "bad_field", "detections"),
        (&*token, mine, number, vec![person(0.5, 0.5); 100_000].into(), 413, "too_large", ""),
    ] {
        let answer = post(&process, lease, task, frame, found);
        let (is, of) = answer.error();
        assert_eq!((answer.status, is.as_str(), of.as_str()), (status, code, field), "{}", answer.text());
    }
    let zone = |points: Value| json!({ "name": "z", "kind": "region", "points": points });
    let square = json!([[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]);
    for (change, field) in [
        (json!({ "points": [[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]] }), "points"),
        (json!({ "points": [[0.1, 0.1], [1.2, 0.9], [0.9, 0.1]] }), "points"),
        (json!({ "points": [[0.1, 0.1], [0.2, 0.9]] }), "points"),
        (json!({ "kind": "line" }), "points"),
        (json!({ "kind": "circle" }), "kind"),
        (json!({ "name": "" }), "name"),
        (json!({ "min_confidence": 1.5 }), "min_confidence"),
        (json!({ "confirm_frames": 0 }), "confirm_frames"),
        (json!({ "dwell_seconds": 0 }), "dwell_seconds"),
    ] {
        let mut body = zone(square.clone());
        change.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        let answer = send(&process, "POST", &format!("{}/zones", path_of("front")), &body.to_string());
        assert_eq!((answer.status, answer.error().1.as_str()), (400, field), "{body}: {}", answer.text());
    }
    for (path, status, code) in [
        ("/api/v1/cameras/nobody/zones", 404, "no_camera"),
        ("/api/v1/cameras/front/zones/99", 404, "no_zone"),
        ("/api/v1/cameras/front/zones/x", 400, "bad_id"),
        ("/api/v1/cameras/front/frames?profile=main", 426, "upgrade_needed"),
        ("/api/v1/cameras/front/frames?profile=main&task=1", 400, "bad_query"),
        ("/api/v1/cameras/front/frame?task=99", 404, "no_task"),
        ("/api/v1/cameras/nobody/detections", 404, "no_camera"),
        ("/api/v1/cameras/front/detections/counts?step_seconds=1", 400, "bad_query"),
    ] {
        let answer = get(&process, path);
        assert_eq!((answer.status, answer.error().0.as_str()), (status, code), "{path}: {}", answer.text());
    }

    // Within its time, what the dead one had is the other's. Nobody else's clock is asked.
    while tasks_of(&alive).len() < 20 {
        assert!(began.elapsed() < PATIENCE, "{alive}");
        alive = lease(&process, &json!({ "worker": "alive", "lease": token, "ttl_seconds": 120 })).json();
        let still = began.elapsed() < Duration::from_secs(14);
        assert!(!still || tasks_of(&alive) == tasks[10..], "a task has two workers");
        // Pictures come all the while.
        picture(&mut reader);
    }
    assert_eq!(tasks_of(&alive), tasks);
    let late = post(&process, dead["lease"].as_str().unwrap(), tasks[0], number, json!([person(0.5, 0.5)]));
    assert_eq!((late.status, late.error().0.as_str()), (409, "not_leased"));
    assert_eq!(send(&process, "DELETE", &format!("/api/v1/ai/leases/{token}"), "").status, 204);
    assert_eq!(send(&process, "DELETE", &format!("/api/v1/ai/leases/{token}"), "").error().0, "no_lease");
    process.stop(STOPS_WITHIN);
    let said = loop {
        if let Message::Close(said) = reader.read().unwrap() {
            break said.unwrap();
        }
    };
    assert_eq!((said.code, said.reason.as_str()), (CloseCode::Away, "the service stops"));
    for camera in &cameras {
        prove(dir.path(), camera);
    }
}
