//! A bad day in small: afterwards the ledger adds up to the day, to a frame, and each cause is right.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use watchkeeper::{
    base::WallUs,
    model::{
        coverage::{self, Fate, Part, Sums},
        ledger::{Absence, Cause},
        timeline::Range,
    },
    store::Store,
};

use crate::{
    clock::{A_SEGMENT, SEGMENT_SECONDS, shim},
    outside::{STOPS_WITHIN, frames_more, get, path_of, record, recordings, send},
    process::{Process, pause},
    recovery::Database,
    rig::id,
    sim::{
        camera::{CameraSpec, Channel, Login, SimCamera},
        frames,
        link::{Link, Wire},
    },
};

/// Frames come 25 times a second.
const FRAME_US: i64 = 40_000;
const SECOND_US: i64 = 1_000_000;

/// A camera behind a cable, and the service that records it.
struct Day {
    dir: tempfile::TempDir,
    camera: SimCamera,
    link: Link,
}

impl Day {
    /// Waits until the camera is in a state, and stays with it for a while.
    fn until(process: &Process, state: &str, stay_ms: u64) {
        process.until(state, &path_of("front"), |seen| seen["status"]["state"] == state);
        pause(stay_ms);
    }

    /// Waits until it is recorded again, for some seconds.
    fn records(process: &Process) {
        Self::until(process, "recording", 0);
        frames_more(process, "front", 60);
    }

    fn change(process: &Process, body: &Value) {
        let answer = send(process, "PATCH", &path_of("front"), &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn cut(&self, process: &Process, stay_ms: u64) {
        self.link.set(Wire::Cut);
        Self::until(process, "offline", stay_ms);
    }

    fn mend(&self, process: &Process) {
        self.link.set(Wire::Whole);
        Self::records(process);
    }
}

/// What the index knows of a camera, up to the end of its footage.
fn account(dir: &Path, camera: &str, from: WallUs) -> Vec<Part> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open_read_only(&dir.join("data/watchkeeper.db")).await.unwrap();
        let all = Range { from, to: WallUs(i64::MAX) };
        let footage = store.ranges(&id(camera), all).await.unwrap();
        let gaps = store.stretches(&id(camera), all).await.unwrap();
        store.close().await;
        let stretches: Vec<_> = gaps.into_iter().map(|gap| gap.stretch).collect();
        let end = footage.iter().map(|range| range.to).max().unwrap();
        coverage::parts(&footage, &stretches, Range { from, to: end }, end)
    })
}

fn long(part: &Part) -> i64 {
    part.range.to.0 - part.range.from.0
}

/// The words for what was not recorded for a second or more, in order.
fn absences(parts: &[Part]) -> Vec<&'static str> {
    let word = |part: &Part| match part.fate {
        Fate::Absent(absence) if long(part) >= SECOND_US => Some(absence.word()),
        _ => None,
    };
    parts.iter().filter_map(word).collect()
}

/// The causes of a list of gaps, oldest first.
fn words(list: &Value) -> Vec<&str> {
    list["gaps"].as_array().unwrap().iter().rev().map(|gap| gap["cause"].as_str().unwrap()).collect()
}

/// Recorded time is frames, to one for each unbroken part.
fn assert_frames(dir: &Path, camera: &str, parts: &[Part]) {
    let files = recordings(dir, camera);
    let frames: u64 = files.iter().map(|file| frames::probe(file).unwrap().frames).sum();
    let runs = parts.iter().filter(|part| part.fate == Fate::Recorded).count();
    let (recorded, frames_us) = (Sums::of(parts).recorded_us, i64::try_from(frames).unwrap() * FRAME_US);
    let off = (recorded - frames_us).abs();
    println!("{camera}: {frames} frames, {runs} runs, recorded time is off by {off} µs");
    assert!(
        off <= FRAME_US * i64::try_from(runs).unwrap(),
        "{recorded} µs for {frames_us} µs of frames\n{parts:#?}"
    );
}

fn created(process: &Process, camera: &str) -> WallUs {
    WallUs::parse(process.get(&path_of(camera))["created_at"].as_str().unwrap()).unwrap()
}

#[test]
fn a_bad_day_adds_up_and_each_cause_is_right() {
    let login = Login { user: "admin".into(), password: "right-one".into() };
    let camera = SimCamera::start(CameraSpec { login: Some(login), ..CameraSpec::new("front") }).unwrap();
    let link = Link::start(camera.port()).unwrap();
    let day = Day { dir: tempfile::tempdir().unwrap(), camera, link };
    let dir = day.dir.path();
    let (library, step) = (shim(dir), dir.join("step"));
    fs::write(&step, "0").unwrap();
    let start = || Process::start_with(dir, &[("LD_PRELOAD", &library), ("CLOCK_STEP_FILE", &step)]);
    let mut process = start();
    let _yard = record(&process, CameraSpec::new("yard"), SEGMENT_SECONDS);
    let given = json!({
        "id": "front", "main_url": day.link.url("main"), "segment_seconds": SEGMENT_SECONDS,
        "username": "admin", "password": "right-one",
    });
    process.post("/api/v1/cameras", &given);
    let began = created(&process, "front");
    Day::records(&process);

    day.cut(&process, 2_000);
    let open = process.until("the open gap", "/api/v1/gaps", |seen| seen["gaps"][0]["state"] == "open");
    assert_eq!((&open["gaps"][0]["cause"], &open["gaps"][0]["to"]), (&json!("camera_offline"), &Value::Null));
    assert!(
        get(&process, "/metrics")
            .text()
            .contains("watchkeeper_camera_open_gap_seconds{camera=\"front\",cause=\"camera_offline\"}")
    );
    day.mend(&process);

    day.camera.freeze();
    Day::until(&process, "stalled", 500);
    day.camera.thaw();
    Day::records(&process);

    Day::change(&process, &json!({ "password": "wrong-one" }));
    process.until("the refusal", &path_of("front"), |seen| seen["status"]["reason"] == "unauthorised");
    pause(1_500);
    Day::change(&process, &json!({ "password": "right-one" }));
    Day::records(&process);

    Day::change(&process, &json!({ "record_enabled": false }));
    Day::until(&process, "disabled", 2_000);
    Day::change(&process, &json!({ "record_enabled": true }));
    Day::records(&process);

    // An outage that begins and ends while nothing can be written.
    let mut database = Database::open(dir);
    database.run("begin immediate");
    let locked = Instant::now();
    day.cut(&process, 2_000);
    day.mend(&process);
    assert!(locked.elapsed() >= Duration::from_secs(4));
    database.run("rollback");
    drop(database);
    process.until("the gap of the locked database", "/api/v1/cameras/front/gaps", |seen| {
        let gaps = seen["gaps"].as_array().unwrap();
        gaps.iter().filter(|gap| gap["cause"] == "camera_offline" && gap["state"] == "closed").count() == 2
    });

    process.kill();
    pause(1_500);
    process = start();
    Day::records(&process);

    // Killed in the middle of an outage that goes on.
    day.cut(&process, 2_000);
    process.until("the open gap", "/api/v1/gaps", |seen| seen["gaps"][0]["state"] == "open");
    process.kill();
    pause(1_500);
    process = start();
    Day::until(&process, "offline", 2_000);
    day.mend(&process);

    // Ten minutes that never were; the recordings follow where a segment begins.
    fs::write(&step, "600").unwrap();
    frames_more(&process, "front", 2 * A_SEGMENT);
    frames_more(&process, "yard", A_SEGMENT);

    let listed = |camera: &str| {
        process.until("the last gap to close", &format!("{}/gaps?limit=100", path_of(camera)), |seen| {
            seen["gaps"].as_array().is_some_and(|gaps| gaps.iter().all(|gap| gap["state"] == "closed"))
        })
    };
    let (front, yard) = (listed("front"), listed("yard"));
    let covered = process.get(&format!("/api/v1/cameras/front/coverage?from={}", began.rfc3339()));
    let metrics = get(&process, "/metrics").text();
    // An event for each that is listed.
    process.until("the events", "/api/v1/events?limit=1000", |seen| {
        let log = seen["events"].as_array().unwrap();
        log.iter().filter(|event| event["kind"] == "recording_gap").count()
            == words(&front).len() + words(&yard).len()
    });
    process.stop(STOPS_WITHIN);

    let parts = account(dir, "front", began);
    let expected = [
        "camera_offline",
        "stalled",
        "auth",
        "not_wanted",
        "camera_offline",
        "service_down",
        "camera_offline",
        "service_down",
        "camera_offline",
        "clock",
    ];
    let found: Vec<_> = absences(&parts).into_iter().filter(|word| *word != "operator").collect();
    assert_eq!(found, expected, "{parts:#?}");
    let sums = Sums::of(&parts);
    assert_eq!(sums.unknown_us, 0, "{parts:#?}");
    assert_frames(dir, "front", &parts);
    assert!((sums.missing_us[&Cause::Clock] - 600 * SECOND_US).abs() < SECOND_US / 2, "{parts:#?}");
    // Enabled again, it had to be connected to: that is nobody's fault, and not what nobody wanted.
    let after = parts.iter().position(|part| part.fate == Fate::Absent(Absence::NotWanted)).unwrap() + 1;
    assert!(matches!(parts[after].fate, Fate::Absent(absence) if absence.word() == "operator"), "{parts:#?}");
    assert!(long(&parts[after]) < 10 * SECOND_US);

    let yard_parts = account(dir, "yard", WallUs(parts[1].range.from.0));
    assert_eq!(absences(&yard_parts), ["service_down", "service_down", "clock"], "{yard_parts:#?}");
    assert_frames(dir, "yard", &account(dir, "yard", WallUs(0))[1..]);

    // What is listed and counted is the same.
    let of_front: Vec<_> = absences(&parts).into_iter().filter(|word| *word != "not_wanted").collect();
    assert_eq!(words(&front), of_front);
    let seconds = |name: &str| covered[name].as_f64().unwrap();
    let missing: i64 = sums.missing_us.values().sum();
    assert!((seconds("missing_s") * 1e6 - missing as f64).abs() < 1.0, "{covered:#}\n{sums:#?}");
    assert!((seconds("not_wanted_s") * 1e6 - sums.not_wanted_us as f64).abs() < 1.0);
    let line = metrics
        .lines()
        .find(|line| line.contains("coverage_percent{camera=\"front\",day=\"today\"}"))
        .unwrap();
    let percent: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    // The day may have turned in between.
    let turned = began.utc().date_naive() != parts.last().unwrap().range.to.utc().date_naive();
    assert!(turned || (percent - covered["percent"].as_f64().unwrap()).abs() < 1.0, "{line}\n{covered:#}");
    assert_eq!(day.camera.max_sessions(Channel::Main), 1);
}
