//! The mirror while all is well: the same bytes under the same names, through kills too; what is recorded for it alone; what
//! is read from it when the primary's file is gone; and what it lets go by its own limits.
//!
//! `MIRROR_SECS` says how long the good case records [6]; `scripts/mirror-trial` runs longer.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use watchkeeper::base::WallUs;

use crate::{
    outside::{STOPS_WITHIN, closed_segments, events, frames_more, get, path_of, prove, recordings, send},
    process::{Process, pause},
    recovery::Small,
    rig::{self, prove_parts},
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        frames,
        stamp::Stamp,
    },
    volumes::{
        Disk, SEGMENT_SECONDS, all_whole_are, cameras, complete, copies, memory_mib, same_files, segments,
        start, until_equal, until_mirror, within,
    },
    wait::PATIENCE,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// What both volumes should have is there within this after the end of what kept it away. What ended in the last 10 s may
/// be on its way and is not copied.
const HEALS_WITHIN: Duration = PATIENCE;

fn time(value: &Value) -> WallUs {
    WallUs::parse(value.as_str().unwrap()).unwrap()
}

#[test]
fn the_mirror_has_the_same_bytes_under_the_same_names_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let seconds: u64 = std::env::var("MIRROR_SECS").map_or(6, |text| text.parse().unwrap());
    let process = start(dir.path(), &[]);
    let sims = cameras(&process);
    let (before, _) = memory_mib(&process);
    let (end, mut compared) = (Instant::now() + Duration::from_secs(seconds), 0);
    while Instant::now() < end || compared < 8 {
        compared = compared.max(all_whole_are(dir.path()));
        assert!(Instant::now() < end + HEALS_WITHIN, "{}", process.log());
        pause(500);
    }
    // Nothing waits to be copied, which would take longer than 10 s: it came there as it came to the primary.
    let took = until_equal(&process, dir.path(), &NAMES, Duration::from_millis(9_500));
    let (after, most) = memory_mib(&process);
    println!(
        "{seconds} s: {compared} copies compared while recording, equal within {took:?}, {before} to {after} MiB \
         ({most} at most)"
    );
    assert_eq!(process.get("/api/v1/system")["mirror"]["state"], "ok");
    process.stop(STOPS_WITHIN);
    same_files(dir.path(), &NAMES);
    for sim in &sims {
        // And so is every frame on the mirror, whose files are the same.
        prove(dir.path(), sim);
    }
    assert!(all_whole_are(dir.path()) > compared);

    let process = start(dir.path(), &[]);
    process.until_recording();
    // In the middle of a segment of each volume.
    until_under_way(&process, "a");
    process.kill();
    let process = start(dir.path(), &[]);
    let took = until_equal(&process, dir.path(), &NAMES, HEALS_WITHIN);
    println!("after a kill equal within {took:?}");
    process.until_recording();
    process.stop(STOPS_WITHIN);
    same_files(dir.path(), &NAMES);
    prove_parts(&recordings(dir.path(), "a"));
}

/// Waits until a segment has begun and has not yet come near to its end.
fn until_under_way(process: &Process, camera: &str) {
    let path = format!("{}/segments?limit=1000", path_of(camera));
    process.until("a segment to be under way", &path, |seen| {
        let newest = seen["segments"].as_array().unwrap().last().unwrap();
        newest["state"] == "open" && newest["frames"].as_u64().unwrap() < 30
    });
}

fn trigger(process: &Process, camera: &str, seconds: u32) {
    process.post(
        &format!("{}/trigger", path_of(camera)),
        &json!({ "reason": "the gate", "post_roll_seconds": seconds }),
    );
}

#[test]
fn a_continuous_mirror_has_what_came_before_a_trigger_and_the_primary_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::make(dir.path(), "mirror", 64) else { return };
    let process = start(dir.path(), &[]);
    let sim = SimCamera::start(CameraSpec::new("gate")).unwrap();
    process.post(
        "/api/v1/cameras",
        &json!({
            "id": "gate", "main_url": sim.url(Channel::Main), "segment_seconds": SEGMENT_SECONDS, "record_mode": "event",
            "mirror_mode": "continuous", "pre_roll_seconds": 3,
        }),
    );
    let idle = |process: &Process| {
        process.until("the camera to wait", &path_of("gate"), |seen| seen["status"]["state"] == "idle");
    };
    idle(&process);
    closed_segments(&process, "gate", 4);
    for segment in segments(&process, "gate") {
        assert_eq!(copies(&segment).0, "unwanted", "{segment:#}");
    }
    assert!(rig::files(&dir.path().join("recordings/gate")).is_empty());

    let triggered = WallUs::now();
    trigger(&process, "gate", 4);
    let look = || {
        let all = segments(&process, "gate");
        let wanted: Vec<&Value> = all
            .iter()
            .filter(|segment| time(&segment["end"]) > triggered.plus_us(-3_000_000))
            .filter(|segment| time(&segment["start"]) < triggered.plus_us(3_000_000))
            .collect();
        let there = wanted.len() >= 3 && wanted.iter().all(|segment| copies(segment) == ("whole", "whole"));
        if there { Ok(time(&wanted[0]["start"])) } else { Err(format!("{wanted:#?}")) }
    };
    let (first, took) = within(&process, "event on both volumes", HEALS_WITHIN, look);
    assert!(first <= triggered.plus_us(-2_900_000), "{} of {}", first.rfc3339(), triggered.rfc3339());
    println!("an event is on both volumes, with what came before it, {took:?} after the trigger");
    idle(&process);
    closed_segments(&process, "gate", segments(&process, "gate").len() + 1);
    let all = segments(&process, "gate");
    assert_eq!(copies(&all[0]).0, "unwanted");
    assert_eq!(copies(all.last().unwrap()).0, "unwanted", "{all:#?}");
    all_whole_are(dir.path());
    let covered = process.get(&format!(
        "/api/v1/cameras/gate/coverage?from={}",
        time(&all[0]["start"]).plus_us(500_000).rfc3339()
    ));
    assert!(covered["missing_s"].as_f64().unwrap() < 0.1, "{covered:#}");

    // Without it, what came before is kept in memory.
    disk.unmount_lazily();
    until_mirror(&process, &["degraded"], PATIENCE);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        pause(100);
    }
    idle(&process);
    let triggered = WallUs::now();
    trigger(&process, "gate", 2);
    let look = || {
        let all = segments(&process, "gate");
        let mut new = all.iter().filter(|segment| time(&segment["end"]) > triggered.plus_us(-3_000_000));
        let first = new.find(|segment| copies(segment).0 != "unwanted");
        match first.filter(|first| time(&first["start"]) <= triggered.plus_us(-2_900_000)) {
            Some(_) if time(&all.last().unwrap()["end"]) > triggered => Ok(()),
            _ => Err(format!("{first:#?}, triggered at {}", triggered.rfc3339())),
        }
    };
    within(&process, "footage of the trigger", HEALS_WITHIN, look);
    assert_eq!(fs::read_dir(&disk.at).unwrap().count(), 0, "written to where the mirror is not mounted");
    disk.mount();
    idle(&process);
    until_mirror(&process, &["ok", "resyncing"], HEALS_WITHIN);
    // That a recording ended, and with it the only sink of the pipeline, was no loss of the camera.
    let lost: Vec<_> =
        events(&process).into_iter().filter(|event| event["kind"] == "camera_offline").collect();
    assert!(lost.is_empty(), "{lost:#?}");
    process.stop(STOPS_WITHIN);
    all_whole_are(dir.path());
    // Twice the same, once on each volume or on both: nothing lies over anything.
    let mirrored = rig::files(&dir.path().join("mirror/gate"));
    prove_parts(&mirrored);
    let seen: Vec<Stamp> = frames::frames_in_all(&mirrored).unwrap();
    assert!(seen.windows(2).all(|two| two[0].number < two[1].number));
}

#[test]
fn what_the_primary_lost_is_read_from_the_mirror() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path(), &[]);
    let sim = SimCamera::start(CameraSpec::new("front")).unwrap();
    process.post(
        "/api/v1/cameras",
        &json!({ "id": "front", "main_url": sim.url(Channel::Main), "segment_seconds": SEGMENT_SECONDS }),
    );
    let closed = closed_segments(&process, "front", 4);
    until_equal(&process, dir.path(), &["front"], HEALS_WITHIN);
    let lost = &closed[1];
    let file = |volume: &str| dir.path().join(volume).join(lost["file"].as_str().unwrap());
    fs::remove_file(file("recordings")).unwrap();
    let url = lost["url"].as_str().unwrap();
    let body = get(&process, url).body;
    assert!(body == fs::read(file("mirror")).unwrap());
    let asked = json!({ "from": closed[0]["start"], "to": closed[2]["end"] }).to_string();
    let made = send(&process, "POST", "/api/v1/cameras/front/exports", &asked);
    assert_eq!(made.status, 201, "{}", made.text());
    let clip = dir.path().join("clip.mp4");
    fs::write(&clip, get(&process, made.json()["file_url"].as_str().unwrap()).body).unwrap();
    frames::decodes_clean(&clip).unwrap();
    let manifest = get(&process, made.json()["manifest_url"].as_str().unwrap()).json();
    let read: Vec<(&str, &str)> = manifest["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| (segment["path"].as_str().unwrap(), segment["copy"].as_str().unwrap()))
        .collect();
    let name = |segment: &Value| segment["file"].as_str().unwrap().to_owned();
    let expected = [(name(&closed[0]), "primary"), (name(lost), "mirror"), (name(&closed[2]), "primary")];
    assert_eq!(read.len(), 3, "{manifest:#}");
    for ((path, copy), (expected, place)) in read.iter().zip(&expected) {
        assert_eq!((*path, copy), (expected.as_str(), place), "{manifest:#}");
    }
    let frames: u64 = closed[..3].iter().map(|segment| segment["frames"].as_u64().unwrap()).sum();
    assert_eq!(frames::frames_in(&clip).unwrap().len() as u64, frames);
    // All of it, under the recorder: what is not there any more is seen, and comes back. Between two segments nobody would
    // have a file open that is gone; that it was the middle is not known until it is seen.
    let told = || events(&process).iter().any(|event| event["kind"] == "recorder_error");
    let noticed = (0..5).any(|_| {
        until_under_way(&process, "front");
        fs::remove_dir_all(dir.path().join("recordings/front")).unwrap();
        frames_more(&process, "front", 3 * 25 * u64::from(SEGMENT_SECONDS));
        told()
    });
    assert!(noticed, "nobody noticed that the directory was deleted: {}", process.log());
    until_equal(&process, dir.path(), &["front"], HEALS_WITHIN);
    process.stop(STOPS_WITHIN);
    same_files(dir.path(), &["front"]);
}

#[test]
fn a_small_mirror_lets_its_oldest_go_and_the_primary_keeps_all() {
    let dir = tempfile::tempdir().unwrap();
    if Disk::make(dir.path(), "tried", 16).is_none() {
        return;
    }
    let _volume = Small::mount(dir.path().join("mirror"), 30);
    let mirror = dir.path().join("mirror");
    let process = start(dir.path(), &[("WATCHKEEPER_MIRROR_MIN_FREE_BYTES", Path::new("15000000"))]);
    let sims = cameras(&process);
    let first = closed_segments(&process, "a", 1).remove(0);
    let body = json!({ "from": first["start"], "to": first["end"], "reason": "evidence" });
    process.post("/api/v1/cameras/a/holds", &body);
    let mut least = u64::MAX;
    let look = || {
        let stat = rustix::fs::statvfs(&mirror).unwrap();
        least = least.min(stat.f_bavail * stat.f_frsize);
        let of_a = segments(&process, "a");
        let pruned = of_a.iter().filter(|segment| copies(segment).1 == "pruned").count();
        if pruned >= 4 { Ok(of_a) } else { Err(format!("{pruned} pruned of {}", of_a.len())) }
    };
    let (of_a, took) = within(&process, "mirror that lets go", PATIENCE, look);
    println!("4 pruned after {took:?}; least free {least} of 15000000");
    assert!(least >= 15_000_000, "{least} bytes were free");
    assert_eq!(copies(&of_a[0]), ("whole", "whole"), "it is held");
    // The oldest first: what is left is what is newest.
    let left: Vec<bool> = of_a[1..].iter().map(|segment| copies(segment).1 != "pruned").collect();
    assert!(left.is_sorted(), "{of_a:#?}");
    for name in NAMES {
        for segment in segments(&process, name) {
            let (primary, on_mirror) = copies(&segment);
            assert!(primary == "whole" || primary == "open", "{segment:#}");
            let file = segment["file"].as_str().unwrap();
            assert!(dir.path().join("recordings").join(file).exists(), "{segment:#}");
            assert!(on_mirror != "pruned" || !mirror.join(file).exists(), "{segment:#}");
        }
    }
    assert_eq!(process.get("/api/v1/system")["mirror"]["state"], "ok");
    process.stop(STOPS_WITHIN);
    all_whole_are(dir.path());
    complete(dir.path(), "recordings", &sims[0]);
}
