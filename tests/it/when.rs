//! Schedules and triggers on running cameras: they take effect at their time, and on their camera only.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watchkeeper::{
    base::WallUs,
    model::{
        camera::CameraPatch,
        demand::{Mode, Trigger, Window, WindowChange},
        event::Kind,
        schedule::Row,
        segment::SegmentState,
        status::{CameraStatus, Shown},
    },
};

use crate::{
    outside::{STOPS_WITHIN, ask, cli, events, path_of, record, send},
    process::Process,
    rig::{Rig, id},
    sim::{
        camera::{CameraSpec, Channel},
        footage::{Encoding, Source},
        frames,
        stamp::Stamp,
    },
    wait,
};

const MINUTE: i64 = 60_000_000;
const SECOND: i64 = 1_000_000;

/// Each day from one whole minute to another, in UTC.
fn daily(from: WallUs, to: WallUs) -> Row {
    let clock = |at: WallUs| at.rfc3339()[11..16].to_owned();
    Row { weekdays: (0..7).collect(), start: clock(from), end: clock(to), enabled: true }
}

fn scheduled(rows: Vec<Row>) -> CameraPatch {
    CameraPatch {
        record_mode: Some(Mode::Scheduled),
        schedule: Some(rows),
        time_zone: Some(Some("UTC".into())),
        ..CameraPatch::default()
    }
}

fn mode(mode: Mode) -> CameraPatch {
    CameraPatch { record_mode: Some(mode), ..CameraPatch::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_opens_and_closes_within_a_second_and_nothing_else_is_touched() {
    let names = ["always", "closes", "kept", "opens"];
    let rig = Rig::recording(names.map(CameraSpec::new)).await;
    // The next whole minute that leaves time to get ready.
    let edge = WallUs((WallUs::now().0 + 12 * SECOND) / MINUTE * MINUTE + MINUTE);
    let (before, after) = (edge.plus_us(-60 * MINUTE), edge.plus_us(60 * MINUTE));
    let now = edge.plus_us(-MINUTE);
    for (name, rows) in [
        ("closes", vec![daily(before, edge)]),
        ("opens", vec![daily(edge, after)]),
        ("kept", vec![daily(now.plus_us(-MINUTE), edge), daily(edge, after), daily(before, edge)]),
    ] {
        rig.service.change_camera(&id(name), scheduled(rows)).await.unwrap();
    }
    let idle =
        |status: &CameraStatus| (status.shown, status.reason) == (Shown::Idle, Some("outside_schedule"));
    let opens = rig.until("opens", "idle", idle).await;
    assert_eq!(opens.until, Some(edge));
    rig.frames_more("closes", 10).await;

    let patience = Duration::from_secs(90);
    let closed = async {
        wait::within(patience, "the window's end", || rig.status("closes"), idle).await;
        WallUs::now()
    };
    let opened = async {
        wait::within(patience, "the window's begin", || rig.status("opens"), |status| !idle(status)).await;
        WallUs::now()
    };
    let (closed, opened) = tokio::join!(closed, opened);
    for at in [closed, opened] {
        assert!((edge..edge.plus_us(SECOND)).contains(&at), "{} for {}", at.rfc3339(), edge.rfc3339());
    }
    rig.until("opens", "recording", |status| status.shown == Shown::Recording).await;
    for name in ["always", "kept", "opens"] {
        rig.frames_more(name, 50).await;
    }
    for name in ["always", "kept"] {
        assert_eq!(rig.scene(name).camera.max_sessions(Channel::Main), 1);
        assert_eq!(rig.status(name).reconnects, 0);
    }
    let lost = rig.events().await.iter().filter(|event| event.event.kind == Kind::CameraOffline).count();
    assert_eq!(lost, 0, "what is not wanted is not lost");
    rig.stop().await;
    for name in ["always", "kept"] {
        rig.prove(name);
    }
    for name in ["closes", "opens"] {
        rig.prove_parts(name);
    }
    let end = rig.segments("closes").await.last().unwrap().facts.end();
    let around = (end.0 - edge.0).abs();
    assert!(around < SECOND, "recorded until {}, {} is the edge", end.rfc3339(), edge.rfc3339());
    let segments = rig.segments("opens").await;
    let near = edge.plus_us(-2 * SECOND);
    let start = segments.iter().map(|segment| segment.facts.head.start).find(|start| *start > near).unwrap();
    // The session was open before, so it begins with the keyframe at or before the edge; one comes each second.
    let late = start.0 - edge.0;
    assert!((-3 * SECOND / 2..SECOND / 3).contains(&late), "recorded from {}", start.rfc3339());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_that_changes_nothing_touches_nothing() {
    let rig = Rig::recording([CameraSpec::new("front")]).await;
    let now = WallUs::now();
    let around = daily(now.plus_us(-120 * MINUTE), now.plus_us(120 * MINUTE));
    for patch in [
        scheduled(vec![around.clone()]),
        scheduled(vec![around.clone(), daily(now, now)]),
        mode(Mode::Continuous),
        CameraPatch { pre_roll_seconds: Some(0), post_roll_seconds: Some(5), ..mode(Mode::Scheduled) },
    ] {
        rig.service.change_camera(&id("front"), patch).await.unwrap();
        rig.frames_more("front", 30).await;
    }
    assert_eq!(rig.scene("front").camera.max_sessions(Channel::Main), 1);
    assert_eq!(rig.status("front").reconnects, 0);
    rig.stop().await;
    rig.prove("front");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_triggers_is_one_window_and_one_entry() {
    let rig = Rig::recording([CameraSpec::new("always"), CameraSpec::new("event")]).await;
    rig.service.change_camera(&id("event"), mode(Mode::Event)).await.unwrap();
    let armed = |status: &CameraStatus| (status.shown, status.reason) == (Shown::Idle, Some("armed"));
    rig.until("event", "armed", armed).await;
    let trigger = async |reason: &str, post_roll_seconds| {
        let trigger = Trigger { reason: reason.to_owned(), post_roll_seconds };
        rig.service.trigger(&id("event"), trigger).await.unwrap()
    };
    let first = trigger("gate rtsp://u:hunter2@h/", Some(20)).await;
    assert_eq!(first.change, WindowChange::Opened);
    let (began, kept) = (Instant::now(), Window { end: first.end, change: WindowChange::Kept });
    for _ in 0..3000 {
        assert_eq!(trigger("storm", Some(3)).await, kept);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "3000 triggers took {took:?}");
    rig.until("event", "recording", |status| status.shown == Shown::Recording).await;
    assert_eq!(rig.status("event").window_end, Some(first.end));
    let longer = trigger("once more", Some(21)).await;
    assert_eq!((longer.change, longer.end > first.end), (WindowChange::Extended, true));
    rig.until("event", "armed again", armed).await;
    let late = WallUs::now().0 - longer.end.0;
    assert!((0..SECOND).contains(&late), "{late} us after its end");
    assert_eq!(rig.status("event").window_end, None);
    assert_eq!(trigger("again", Some(1)).await.change, WindowChange::Opened);
    rig.until("event", "armed at last", armed).await;
    let logged = rig.events().await.into_iter().filter(|event| event.event.kind == Kind::Trigger);
    let logged: Vec<String> = logged.map(|event| event.event.detail).collect();
    assert_eq!(logged, ["gate rtsp://***@h/", "again"]);
    rig.stop().await;
    rig.prove("always");
}

#[test]
fn a_trigger_is_answered_or_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let _camera = record(&process, CameraSpec::new("front"), 2);
    let front = path_of("front");
    let set =
        |body: Value| assert_eq!(send(&process, "PATCH", &front, &body.to_string()).status, 200, "{body}");
    let trigger = |body: &str| send(&process, "POST", &format!("{front}/trigger"), body);
    let refused = |body: &str| {
        let answer = trigger(body);
        (answer.status, answer.error().0, answer.error().1)
    };
    let word = |code: &str, field: &str| (409, code.to_owned(), field.to_owned());
    let ok = r#"{"reason": "door"}"#;

    // A row that is wrong is named, and nothing of the change is done.
    let row = |end: &str| json!({"weekdays": [0], "start": "08:00", "end": end});
    let wrong = json!({"record_mode": "event", "schedule": [row("09:00"), row("9:00")]});
    let answer = send(&process, "PATCH", &front, &wrong.to_string());
    assert_eq!((answer.status, answer.error()), (400, ("bad_field".into(), "schedule[1].end".into())));
    let seen = process.get(&front);
    assert_eq!((&seen["record_mode"], &seen["schedule"]), (&json!("continuous"), &json!([])));

    assert_eq!(refused(ok), word("not_event_capable", ""));
    set(json!({"record_mode": "event", "record_enabled": false}));
    assert_eq!(refused(ok), word("disabled", ""));
    set(json!({"record_mode": "scheduled_event", "record_enabled": true}));
    assert_eq!(refused(ok), word("outside_schedule", ""));
    let seen = process.get(&front);
    assert_eq!((&seen["status"]["state"], &seen["status"]["until"]), (&json!("idle"), &Value::Null));
    assert!(seen["status"]["detail"].as_str().unwrap().contains("no window"), "{seen}");
    set(json!({"record_mode": "event", "event_idle_session": false}));
    process.until("the camera to wait", &front, |seen| seen["status"]["reason"] == "waits_for_trigger");
    for (body, status, code, field) in [
        ("{}", 400, "bad_field", "reason"),
        (r#"{"reason": ""}"#, 400, "bad_field", "reason"),
        (r#"{"reason": "a\u0000b"}"#, 400, "bad_field", "reason"),
        (&format!(r#"{{"reason": "{}"}}"#, "x".repeat(257)), 400, "bad_field", "reason"),
        (r#"{"reason": "x", "post_roll_seconds": 3601}"#, 400, "bad_field", "post_roll_seconds"),
        (r#"{"reason": "x", "post_roll_seconds": null}"#, 400, "bad_field", "post_roll_seconds"),
        (r#"{"reason": "x", "post_roll": 3}"#, 400, "unknown_field", "post_roll"),
    ] {
        assert_eq!(refused(body), (status, code.to_owned(), field.to_owned()), "{body}");
    }
    let nobody = send(&process, "POST", &format!("{}/trigger", path_of("nobody")), ok);
    assert_eq!((nobody.status, nobody.error().0), (404, "no_camera".to_owned()));
    assert_eq!(ask(&process, "GET", &format!("{front}/trigger"), &[], None).status, 405);

    set(json!({"post_roll_seconds": 7}));
    let before = WallUs::now();
    let answer = trigger(ok).json();
    let end = WallUs::parse(answer["window_end"].as_str().unwrap()).unwrap();
    assert!((before.plus_us(7 * SECOND)..WallUs::now().plus_us(7 * SECOND)).contains(&end), "{answer}");
    assert_eq!((&answer["opened"], &answer["extended"]), (&json!(true), &json!(false)));
    process.until("the camera to record", &front, |seen| seen["status"]["state"] == "recording");
    assert_eq!(process.get(&front)["status"]["window_end"], answer["window_end"]);
    let line = cli(dir.path(), &process.url, "", &["camera", "trigger", "front", "--post-roll", "9"]);
    assert!(
        line.status.success() && String::from_utf8_lossy(&line.stdout).contains("is to be recorded until"),
        "{line:?}"
    );
    process.until("the window's end", &front, |seen| seen["status"]["reason"] == "waits_for_trigger");
    assert!(WallUs::now() >= end.plus_us(SECOND), "the second trigger prolonged it");
    let line = cli(dir.path(), &process.url, "", &["camera", "trigger", "front", "--reason", ""]);
    assert!(String::from_utf8_lossy(&line.stderr).contains("--reason: is empty"), "{line:?}");
    let kinds: Vec<Value> = events(&process).into_iter().filter(|event| event["kind"] == "trigger").collect();
    assert_eq!((kinds.len(), &kinds[0]["detail"]), (1, &json!("door")));
    process.stop(STOPS_WITHIN);
}

/// Four seconds between keyframes, ten before the trigger and six after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_gives_one_clip_with_what_came_before_it() {
    let main = Encoding { gop_frames: 100, ..Encoding::small(Source::People) };
    let rig = Rig::recording([CameraSpec { main, ..CameraSpec::new("gate") }]).await;
    let patch = CameraPatch {
        pre_roll_seconds: Some(10),
        post_roll_seconds: Some(6),
        segment_seconds: Some(60),
        ..mode(Mode::Event)
    };
    rig.service.change_camera(&id("gate"), patch).await.unwrap();
    let ready = Duration::from_secs(10);
    rig.until("gate", "armed", |status| status.reason == Some("armed")).await;
    let before = rig.files("gate").len();
    let full = |status: &CameraStatus| status.observed.pre_roll.is_some_and(|reach| reach >= ready);
    wait::within(wait::PATIENCE, "the pre-roll", || rig.status("gate"), full).await;
    assert_eq!(rig.files("gate").len(), before, "nothing is written while it waits");

    let (triggered, asked) = (WallUs::now(), Instant::now());
    let trigger = Trigger { reason: "the gate".to_owned(), post_roll_seconds: None };
    let window = rig.service.trigger(&id("gate"), trigger).await.unwrap();
    assert!((window.end.0 - triggered.0 - 6 * SECOND).abs() < SECOND / 10);
    let listed = async || {
        let segments = rig.segments("gate").await;
        segments.into_iter().find(|segment| segment.facts.end() > triggered.plus_us(-SECOND))
    };
    let mut clip = None;
    while clip.is_none() {
        assert!(asked.elapsed() < Duration::from_secs(1), "the clip is not listed");
        clip = listed().await;
    }
    let early = clip.unwrap();
    assert_eq!(early.facts.state, SegmentState::Open);
    rig.until("gate", "armed again", |status| status.reason == Some("armed")).await;
    let closing = Instant::now();
    let closed = loop {
        let clip = listed().await.unwrap();
        if clip.facts.state == SegmentState::Closed {
            break clip;
        }
        assert!(closing.elapsed() < wait::PATIENCE, "the clip stays open");
    };
    assert!(closed.facts.extent.frames > early.facts.extent.frames, "it grows");
    rig.stop().await;

    let files = rig.files("gate");
    assert_eq!(files.len(), before + 1);
    let numbers = frames::frames_in(files.last().unwrap()).unwrap();
    assert!(numbers.windows(2).all(|pair| pair[1].number == pair[0].number + 1), "a frame is missing");
    assert_eq!(numbers[0].number % 100, 0, "it begins with a keyframe");
    let of = |at: &Stamp| i64::try_from(at.capture_us).unwrap() - triggered.0;
    let (from, to) = (of(&numbers[0]), of(numbers.last().unwrap()));
    // What is captured now arrives a quarter of a second later.
    assert!((-14_500_000..=-10 * SECOND + 100_000).contains(&from), "from {from} us on");
    assert!((5_500_000..=10 * SECOND).contains(&to), "until {to} us");
    frames::decodes_clean(files.last().unwrap()).unwrap();
}
