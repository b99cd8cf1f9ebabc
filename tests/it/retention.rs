//! Footage leaves in order, what is held never does, and whatever ends the process leaves neither a row nor a file behind.
//!
//! Recordings lie on a small file system of their own. Needs root: without, a test says so and is skipped. `RETENTION_SECS`
//! [20] and `RETENTION_MB` [96] make a long trial of the first test: `scripts/retention-trial`.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    outside::{STOPS_WITHIN, closed_segments, events, frames_more, get, path_of, record, recordings, send},
    process::{Process, command, pause},
    recovery::{Small, check_is_content, until_event},
    rig::{plays_alone, prove_parts},
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        footage::{Encoding, Source},
    },
};

const MIB: u64 = 1 << 20;
/// Causes of gaps that have nothing to do with what is on disk: a camera was added, or sent nothing for a while, which the
/// simulated ones do on a machine that has far too much to do.
const NOT_OURS: [&str; 2] = ["operator", "stalled"];

/// Size of a volume that is to become full.
fn size_mb() -> u64 {
    std::env::var("RETENTION_MB").map_or(96, |text| text.parse().unwrap())
}

/// Of which 5 % stay free.
fn floor() -> u64 {
    size_mb() * MIB / 20
}

/// A volume of so many MiB below `dir`; `None`, with the reason said, where none can be mounted.
fn volume(dir: &Path, mb: u64) -> Option<Small> {
    let tried = dir.join("tried");
    fs::create_dir(&tried).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&tried).output();
    if !mounted.as_ref().is_ok_and(|done| done.status.success()) {
        // Not through the macro, whose text a passing test keeps to itself.
        writeln!(std::io::stderr(), "SKIPPED: no file system can be mounted here: {mounted:?}").unwrap();
        return None;
    }
    Command::new("umount").arg(&tried).status().unwrap();
    Some(Small::mount(dir.join("recordings"), mb))
}

/// Half of a volume is somebody else's from the beginning, so that it becomes full soon: what is kept free depends on how
/// large it is. A long trial has all of it.
fn is_half_taken(dir: &Path) {
    if std::env::var("RETENTION_MB").is_err() {
        fs::write(dir.join("recordings/others"), vec![0; (size_mb() * MIB / 2) as usize]).unwrap();
    }
}

/// Segments of 2 s with much in them, so that a volume fills soon.
fn cameras(process: &Process) -> Vec<SimCamera> {
    let cameras: Vec<SimCamera> = [("a", 6_000), ("b", 6_000), ("c", 3_000), ("d", 3_000)]
        .into_iter()
        .map(|(name, kbit)| {
            let main = Encoding { kbit, gop_frames: 25, ..Encoding::small(Source::Cars) };
            SimCamera::start(CameraSpec { main, ..CameraSpec::new(name) }).unwrap()
        })
        .collect();
    for camera in &cameras {
        let url = camera.url(Channel::Main);
        process
            .post("/api/v1/cameras", &json!({ "id": camera.name(), "main_url": url, "segment_seconds": 2 }));
    }
    process.until_recording();
    cameras
}

fn free(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir.join("recordings")).unwrap();
    stat.f_bavail * stat.f_frsize
}

fn retention(process: &Process) -> Value {
    process.get("/api/v1/retention?limit=5")
}

/// A hold of everything of a camera from a while ago until tomorrow.
fn hold(process: &Process, camera: &str) -> Value {
    let at = |seconds: i64| watchkeeper::base::WallUs::now().plus_us(seconds * 1_000_000).rfc3339();
    let body = json!({ "from": at(-3_600), "to": at(86_400), "reason": "evidence" });
    process.post(&format!("{}/holds", path_of(camera)), &body)
}

/// Waits until so many segments were deleted since the service started.
fn until_deleted(process: &Process, count: u64) -> Value {
    process.until("deletions", "/api/v1/retention", |seen| seen["deleted_segments"].as_u64() >= Some(count))
}

/// After a stop: what the index has is on disk, and nothing else.
fn nothing_dangles(dir: &Path, cameras: &[&str]) {
    check_is_content(dir);
    for camera in cameras {
        let hidden = fs::read_dir(dir.join("recordings").join(camera)).unwrap();
        let strange: Vec<_> = hidden
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(strange.is_empty(), "{camera}: {strange:?}");
    }
}

#[test]
fn a_small_volume_keeps_its_floor_takes_turns_and_never_lets_held_footage_go() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_volume) = volume(dir.path(), size_mb()) else { return };
    is_half_taken(dir.path());
    let seconds: u64 = std::env::var("RETENTION_SECS").map_or(20, |text| text.parse().unwrap());
    let process = Process::start(dir.path());
    let cameras = cameras(&process);
    // One range around the first segment, in the past by now.
    let segments = closed_segments(&process, "a", 1);
    let held = segments[0]["file"].as_str().unwrap();
    let body = json!({ "from": segments[0]["start"], "to": segments[0]["end"], "reason": "evidence" });
    let made = process.post("/api/v1/cameras/a/holds", &body);
    assert!(made["segments"].as_u64() >= Some(1), "{made:#}");

    let (mut least, mut seen) = (u64::MAX, BTreeSet::new());
    // Two megabytes a second fill it.
    let full_by = Instant::now() + Duration::from_secs(30 + size_mb());
    while retention(&process)["deleted_segments"] == 0 {
        assert!(Instant::now() < full_by, "nothing is deleted\n{}", process.log());
        pause(200);
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        least = least.min(free(dir.path()));
        for camera in ["a", "b", "c", "d"] {
            let page = process.get(&format!("{}/segments?limit=1000", path_of(camera)));
            let segments = page["segments"].as_array().unwrap();
            seen.extend(segments.iter().map(|segment| segment["file"].as_str().unwrap().to_owned()));
            // The oldest first: what is left is without a hole but for what is held.
            let left: Vec<&str> = segments
                .iter()
                .map(|segment| segment["file"].as_str().unwrap())
                .filter(|file| *file != held)
                .collect();
            let mut newest: Vec<&String> = seen.iter().filter(|file| file.starts_with(camera)).collect();
            newest.retain(|file| **file != held);
            let kept = &newest[newest.len().saturating_sub(left.len())..];
            assert_eq!(left, kept, "{camera}: what went was not the oldest");
        }
        pause(200);
    }
    let now = retention(&process);
    println!("least free {} KiB, floor {} KiB; {now:#}", least / 1024, floor() / 1024);
    assert!(least >= floor(), "{least} bytes were free");
    assert!(now["deleted_segments"].as_u64() >= Some(20), "{now:#}");
    // The two that bring twice as much do not crowd out the others: all have about the same.
    let bytes: Vec<u64> =
        now["cameras"].as_array().unwrap().iter().map(|stored| stored["bytes"].as_u64().unwrap()).collect();
    let (most, few) = (*bytes.iter().max().unwrap(), *bytes.iter().min().unwrap());
    assert!(bytes.len() == 4 && most - few <= 4 * MIB, "unfair: {bytes:?}");
    for name in ["a", "b", "c", "d"] {
        frames_more(&process, name, 25);
        let gaps = process.get(&format!("{}/gaps", path_of(name)));
        let causes: BTreeSet<&str> =
            gaps["gaps"].as_array().unwrap().iter().map(|gap| gap["cause"].as_str().unwrap()).collect();
        let all_known = causes.iter().all(|cause| NOT_OURS.contains(cause));
        assert!(all_known, "deleted footage became a gap: {gaps:#}");
    }
    let log = events(&process);
    for kind in ["recorder_error", "retention_shortage", "disk_pressure", "segment_lost"] {
        assert!(log.iter().all(|event| event["kind"] != kind), "{kind}: {log:#?}");
    }
    assert!(!process.log().contains("No space left"), "a pipeline met the end of the disk");
    process.stop(STOPS_WITHIN);
    assert!(dir.path().join("recordings").join(held).exists(), "{held} was held");
    nothing_dangles(dir.path(), &["a", "b", "c", "d"]);
    for camera in &cameras {
        assert_eq!(camera.max_sessions(Channel::Main), 1);
        plays_alone(&recordings(dir.path(), camera.name()));
    }
}

#[test]
fn someone_elses_files_cost_the_oldest_footage_and_five_seconds_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let Some(volume) = volume(dir.path(), size_mb()) else { return };
    let process = Process::start(dir.path());
    let cameras = cameras(&process);
    closed_segments(&process, "a", 6);
    let filled = watchkeeper::base::WallUs::now().rfc3339();
    volume.fill();
    until_deleted(&process, 1);
    until_event(&process, "disk_pressure");
    let before: BTreeSet<_> = recordings(dir.path(), "a").into_iter().collect();
    process.until_recording();
    for camera in &cameras {
        frames_more(&process, camera.name(), 75);
    }
    let again = recordings(dir.path(), "a");
    assert!(again.iter().any(|file| !before.contains(file)), "nothing new on disk");
    for camera in &cameras {
        let gaps = process.get(&format!("{}/gaps", path_of(camera.name())));
        // Until it was recorded, a camera may have been waited for.
        let later = |gap: &&Value| gap["to"].is_null() || gap["to"].as_str().unwrap() > filled.as_str();
        for gap in gaps["gaps"].as_array().unwrap().iter().filter(later) {
            // Over before anybody looked, it is a disk that did not keep all.
            let cause = gap["cause"].as_str().unwrap();
            assert!(["operator", "disk_full", "disk_error"].contains(&cause), "{gap:#}");
            assert!(gap["duration_s"].as_f64().unwrap() <= 5.0 && gap["state"] == "closed", "{gap:#}");
        }
    }
    process.stop(STOPS_WITHIN);
    nothing_dangles(dir.path(), &["a", "b", "c", "d"]);
    for camera in &cameras {
        prove_parts(&recordings(dir.path(), camera.name()));
    }
}

#[test]
fn when_only_held_footage_is_left_recording_stops_and_goes_on_when_the_hold_ends() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_volume) = volume(dir.path(), size_mb()) else { return };
    is_half_taken(dir.path());
    let process = Process::start(dir.path());
    let cameras = cameras(&process);
    let holds: Vec<Value> = cameras.iter().map(|camera| hold(&process, camera.name())).collect();
    let said = until_event(&process, "retention_shortage");
    assert!(said.contains("recording stops") && said.contains("holds"), "{said}");
    let seen = process.until("the error", &path_of("a"), |seen| seen["status"]["state"] == "error");
    assert!(seen["status"]["detail"].as_str().unwrap().contains("remove holds"), "{seen:#}");
    let now = retention(&process);
    assert_eq!((now["deleted_segments"].as_u64(), now["stopped"].is_string()), (Some(0), true), "{now:#}");
    assert!(free(dir.path()) >= floor(), "{} bytes are free", free(dir.path()));
    let listed = process.get("/api/v1/holds");
    let held: u64 =
        listed["holds"].as_array().unwrap().iter().map(|hold| hold["bytes"].as_u64().unwrap()).sum();
    assert_eq!(held, now["stored_bytes"].as_u64().unwrap(), "{listed:#}");
    process.until("the gap", "/api/v1/cameras/b/gaps", |seen| {
        seen["gaps"].as_array().unwrap().iter().any(|gap| gap["cause"] == "disk_full")
    });
    // A kill and a start change nothing of that.
    process.kill();
    let process = Process::start(dir.path());
    process.until("the stop", "/api/v1/retention", |seen| seen["stopped"].is_string());
    assert_eq!(retention(&process)["deleted_segments"], 0);
    let refused = send(&process, "DELETE", &path_of("a"), "");
    assert_eq!((refused.status, refused.error().0.as_str()), (409, "camera_held"), "{}", refused.text());
    for (camera, hold) in cameras.iter().zip(&holds) {
        let path = format!("{}/holds/{}", path_of(camera.name()), hold["id"]);
        assert_eq!(send(&process, "DELETE", &path, "").status, 204);
    }
    until_deleted(&process, 1);
    process.until_recording();
    process.until("the end of the gap", "/api/v1/cameras/b/gaps", |seen| {
        let gaps = seen["gaps"].as_array().unwrap();
        gaps.iter().any(|gap| gap["cause"] == "disk_full") && gaps.iter().all(|gap| gap["state"] == "closed")
    });
    process.stop(STOPS_WITHIN);
    nothing_dangles(dir.path(), &["a", "b", "c", "d"]);
}

#[test]
fn a_kill_while_much_is_deleted_leaves_no_row_without_a_file_and_no_file_without_a_row() {
    let dir = tempfile::tempdir().unwrap();
    // Only quotas are to delete: what is held must not fill it, however long this takes.
    let Some(_volume) = volume(dir.path(), 1000) else { return };
    let kills: usize = std::env::var("KILLS").map_or(5, |text| text.parse().unwrap());
    let process = Process::start(dir.path());
    let cameras = cameras(&process);
    let kept = hold(&process, "d");
    closed_segments(&process, "a", 4);
    drop(process);
    let mut deleted = 0;
    for kill in 0..kills {
        let process = Process::start(dir.path());
        process.until_recording();
        // Much is to go at once: all but the newest.
        for camera in ["a", "b", "c"] {
            let least = json!({ "quota_bytes": 1_000_000 }).to_string();
            assert_eq!(send(&process, "PATCH", &path_of(camera), &least).status, 200);
        }
        pause(rand::random_range(0..400));
        deleted += retention(&process)["deleted_segments"].as_u64().unwrap();
        process.kill();
        let process = Process::start(dir.path());
        for camera in ["a", "b", "c"] {
            let none = json!({ "quota_bytes": null }).to_string();
            assert_eq!(send(&process, "PATCH", &path_of(camera), &none).status, 200);
        }
        closed_segments(&process, "a", 3);
        let checked =
            command(dir.path(), process.url.trim_start_matches("http://")).arg("check").output().unwrap();
        assert!(checked.status.success(), "kill {kill}: {}", String::from_utf8_lossy(&checked.stdout));
        let lost = events(&process).into_iter().filter(|event| event["kind"] == "segment_lost").count();
        assert_eq!(lost, 0, "kill {kill}: what was deleted is called lost");
        process.kill();
    }
    let process = Process::start(dir.path());
    process.until_recording();
    let holds = process.get("/api/v1/holds");
    assert_eq!(holds["holds"][0]["id"], kept["id"], "{holds:#}");
    let gaps = process.get("/api/v1/cameras/a/gaps");
    let causes: BTreeSet<&str> =
        gaps["gaps"].as_array().unwrap().iter().map(|gap| gap["cause"].as_str().unwrap()).collect();
    let all_known = causes.iter().all(|cause| *cause == "service_down" || NOT_OURS.contains(cause));
    assert!(all_known, "{gaps:#}");
    process.stop(STOPS_WITHIN);
    println!("{kills} kills, {deleted} segments deleted before them");
    nothing_dangles(dir.path(), &["a", "b", "c", "d"]);
    drop(cameras);
}

#[test]
fn a_camera_keeps_its_quota_and_other_limits_are_said_in_clear_words() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let main = Encoding { kbit: 6_000, gop_frames: 25, ..Encoding::small(Source::Cars) };
    let _front = record(&process, CameraSpec { main, ..CameraSpec::new("front") }, 2);
    closed_segments(&process, "front", 4);
    assert_eq!(send(&process, "PATCH", &path_of("front"), r#"{"quota_bytes": 3000000}"#).status, 200);
    until_deleted(&process, 1);
    let now = process.until("the quota", "/api/v1/retention", |seen| {
        seen["cameras"][0]["bytes"].as_u64().unwrap() <= 3_000_000 + 2 * MIB
    });
    assert!(now["cameras"][0]["forecast_days"].as_f64().unwrap() < 1.0, "{now:#}");

    let time = |text: &str| format!(r#"{{"from": "2026-11-20T10:00:00Z", "to": "{text}", "reason": "x"}}"#);
    for (path, body, status, code, field) in [
        ("front", time("2026-11-20T09:00:00Z"), 400, "bad_field", "to"),
        ("front", time("2026-11-20T10:00:00Z"), 400, "bad_field", "to"),
        ("front", time("2028-11-20T10:00:00Z"), 400, "bad_field", "to"),
        ("front", time("tomorrow"), 400, "bad_field", "to"),
        (
            "front",
            time("2026-11-20T11:00:00Z").replace("\"x\"", &format!("\"{}\"", "x".repeat(300))),
            400,
            "bad_field",
            "reason",
        ),
        ("front", time("2026-11-20T11:00:00Z").replace("\"x\"", "\" \""), 400, "bad_field", "reason"),
        ("front", time("2026-11-20T11:00:00Z").replace("reason", "why"), 400, "unknown_field", "why"),
        ("front", "{}".to_owned(), 400, "bad_field", "from"),
        ("nobody", time("2026-11-20T11:00:00Z"), 404, "no_camera", ""),
        ("NoSlug", time("2026-11-20T11:00:00Z"), 400, "bad_id", "id"),
    ] {
        let answer = send(&process, "POST", &format!("{}/holds", path_of(path)), &body);
        let (said, at) = answer.error();
        assert_eq!((answer.status, &*said, &*at), (status, code, field), "{body}: {}", answer.text());
    }
    for (method, path, status, code) in [
        ("DELETE", "/api/v1/cameras/front/holds/99", 404, "no_hold"),
        ("DELETE", "/api/v1/cameras/front/holds/x", 400, "bad_id"),
        ("GET", "/api/v1/retention?limit=0", 400, "bad_query"),
    ] {
        let answer = send(&process, method, path, "");
        assert_eq!((answer.status, answer.error().0.as_str()), (status, code), "{method} {path}");
    }
    for bad in [
        r#"{"quota_bytes": 0}"#,
        r#"{"quota_bytes": 999999}"#,
        r#"{"retention_hours": 0}"#,
        r#"{"retention_hours": -1}"#,
    ] {
        let answer = send(&process, "PATCH", &path_of("front"), bad);
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (400, "bad_field"),
            "{bad}: {}",
            answer.text()
        );
    }
    assert_eq!(get(&process, "/api/v1/holds").json(), json!({ "holds": [] }));
    process.stop(STOPS_WITHIN);
}

#[test]
fn a_database_on_the_same_full_volume_does_not_keep_footage_from_going() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("all");
    if volume(dir.path(), size_mb()).is_none() {
        return;
    }
    // The database takes room in stock only where there are 64 MiB.
    let disk = Small::mount(at.clone(), 96);
    let process = Process::start(&at);
    let cameras = cameras(&process);
    closed_segments(&process, "a", 5);
    disk.fill();
    until_deleted(&process, 1);
    process.until_recording();
    frames_more(&process, "a", 100);
    process.until("rows", "/api/v1/system", |seen| seen["database"]["state"] == "ok");
    for camera in &cameras {
        let gaps = process.get(&format!("{}/gaps", path_of(camera.name())));
        for gap in gaps["gaps"].as_array().unwrap() {
            assert!(gap["duration_s"].as_f64().unwrap() <= 5.0, "{gap:#}");
        }
    }
    process.stop(STOPS_WITHIN);
    nothing_dangles(&at, &["a", "b", "c", "d"]);
}
