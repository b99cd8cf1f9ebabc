//! A database that is locked, full, damaged or deleted under the service: recording goes on to the frame, what became of
//! the rows is said, and they follow.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    bad_streams::{forget_peak, peak_kib},
    outside::{
        STOPS_WITHIN, closed_segments, events, frames_more, get, path_of, prove, record, recordings, send,
    },
    process::{Process, command},
    recovery::{Database, Small, check_is_content},
    rig::prove_parts,
    sim::camera::{CameraSpec, Channel, SimCamera},
};

/// So long another process holds the database.
const LOCKED: Duration = Duration::from_secs(12);
/// Over HTTP, as fast as it goes.
const STORM: usize = 1000;
const CLIENTS: usize = 8;
const MEMORY_KIB: u64 = 64 * 1024;

fn until_database(process: &Process, state: &str) -> Value {
    process.until(&format!("the database to be {state}"), "/api/v1/system", |seen| {
        seen["database"]["state"] == state && (state == "away" || seen["database"]["pending_rows"] == 0)
    })
}

/// An armed camera with short windows.
fn armed(process: &Process) -> SimCamera {
    let camera = SimCamera::start(CameraSpec::new("gate")).unwrap();
    let given = json!({
        "id": "gate", "main_url": camera.url(Channel::Main), "record_mode": "event", "pre_roll_seconds": 2,
        "post_roll_seconds": 3,
    });
    process.post("/api/v1/cameras", &given);
    process.until("the armed camera", &path_of("gate"), |seen| seen["status"]["reason"] == "armed");
    frames_more(process, "gate", 75);
    camera
}

fn trigger(process: &Process) -> Value {
    let answer = send(process, "POST", "/api/v1/cameras/gate/trigger", "{\"reason\": \"storm\"}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn triggers(process: &Process) -> usize {
    events(process).iter().filter(|event| event["kind"] == "trigger").count()
}

#[test]
fn a_database_locked_by_another_process_delays_rows_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let front = record(&process, CameraSpec::new("front"), 2);
    let _gate = armed(&process);
    forget_peak(&process);
    let before = peak_kib(&process);
    let mut database = Database::open(dir.path());
    database.run("begin exclusive");
    let locked = Instant::now();
    until_database(&process, "away");
    trigger(&process);
    let files = recordings(dir.path(), "front").len();
    // And segments begin and end meanwhile.
    while locked.elapsed() < LOCKED || recordings(dir.path(), "front").len() < files + 4 {
        frames_more(&process, "front", 25);
    }
    assert_eq!(recordings(dir.path(), "gate").len(), 1, "what was triggered is on disk");
    database.run("rollback");
    drop(database);
    until_database(&process, "ok");
    closed_segments(&process, "gate", 1);
    closed_segments(&process, "front", files + 4);
    process.until("the event", "/api/v1/events?limit=1000", |seen| {
        seen["events"].as_array().unwrap().iter().any(|event| event["kind"] == "trigger")
    });
    let gaps = process.get("/api/v1/cameras/front/gaps");
    assert!(gaps["gaps"].as_array().unwrap().iter().all(|gap| gap["cause"] == "operator"), "{gaps:#}");
    assert!(peak_kib(&process) - before <= MEMORY_KIB);
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &front);
    prove_parts(&recordings(dir.path(), "gate"));
    check_is_content(dir.path());
}

#[test]
fn a_storm_of_triggers_is_one_window_and_one_event() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let front = record(&process, CameraSpec::new("front"), 2);
    let gate = armed(&process);
    forget_peak(&process);
    let (before, began) = (peak_kib(&process), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| (0..STORM / CLIENTS).for_each(|_| drop(trigger(&process))));
        }
    });
    println!("{STORM} triggers in {:?}", began.elapsed());
    closed_segments(&process, "gate", 1);
    assert_eq!((triggers(&process), recordings(dir.path(), "gate").len()), (1, 1));
    let grown = peak_kib(&process) - before;
    assert!(grown <= 16 * 1024, "memory grew by {grown} KiB");
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &front);
    prove(dir.path(), &gate);
}

#[test]
fn a_database_without_room_is_said_and_the_rows_follow() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Small::mount(dir.path().join("data"), 16);
    let process = Process::start(dir.path());
    let front = record(&process, CameraSpec::new("front"), 2);
    disk.fill();
    let seen = until_database(&process, "away");
    assert!(seen["database"]["detail"].as_str().unwrap().contains("full"), "{seen:#}");
    frames_more(&process, "front", 100);
    assert_eq!(process.get(&path_of("front"))["status"]["state"], "recording");
    disk.free();
    until_database(&process, "ok");
    closed_segments(&process, "front", 2);
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &front);
    check_is_content(dir.path());
}

/// A file and what SQLite puts beside it, gone.
fn remove_database(dir: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.join(format!("data/watchkeeper.db{end}")));
    }
}

#[test]
fn a_deleted_database_is_said_and_the_next_start_makes_the_index_again() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let front = record(&process, CameraSpec::new("front"), 2);
    remove_database(dir.path());
    let seen = until_database(&process, "away");
    let said = seen["database"]["detail"].as_str().unwrap();
    assert!(said.contains("deleted") && said.contains("restart"), "{said}");
    assert_eq!(get(&process, "/readyz").status, 503);
    let refused = send(&process, "PATCH", &path_of("front"), "{\"name\": \"x\"}");
    assert_eq!((refused.status, refused.error().0.as_str()), (503, "database_away"), "{}", refused.text());
    frames_more(&process, "front", 100);
    assert_eq!(process.get(&path_of("front"))["status"]["state"], "recording");
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &front);

    let files = recordings(dir.path(), "front").len();
    let process = Process::start(dir.path());
    closed_segments(&process, "front", files);
    process.stop(STOPS_WITHIN);
    check_is_content(dir.path());
}

#[test]
fn garbage_in_place_of_the_database_stops_no_recording_and_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data/watchkeeper.db");
    let process = Process::start(dir.path());
    let front = record(&process, CameraSpec::new("front"), 2);
    process.stop(STOPS_WITHIN);
    // Folded into the file by the stop, so that little is left beside it.
    let process = Process::start(dir.path());
    process.until_recording();
    fs::write(&path, "no database ".repeat(10_000)).unwrap();
    frames_more(&process, "front", 150);
    assert_eq!(process.get(&path_of("front"))["status"]["state"], "recording");
    println!("{:#}", process.get("/api/v1/system")["database"]);
    process.stop(STOPS_WITHIN);
    front.kill().unwrap();
    prove_parts(&recordings(dir.path(), "front"));

    remove_database(dir.path());
    fs::write(&path, "no database ".repeat(10_000)).unwrap();
    for args in [&["serve"][..], &["check", "--repair"]] {
        let refused = command(dir.path(), "127.0.0.1:0").args(args).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{args:?} with garbage");
        assert!(
            said.contains("move `watchkeeper.db` away") && !said.contains("panicked"),
            "{args:?}: {said}"
        );
    }
    fs::rename(&path, dir.path().join("away")).unwrap();
    let repaired = command(dir.path(), "127.0.0.1:0").args(["check", "--repair"]).output().unwrap();
    assert!(repaired.status.success(), "{}", String::from_utf8_lossy(&repaired.stdout));
    check_is_content(dir.path());
}
