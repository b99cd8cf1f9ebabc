//! Which disk is where when the service starts: one that is not there is not written to and costs no footage, another's is
//! refused until the operator accepts it, and a new one gets everything from the other volume.
//!
//! Needs root and loop devices: without, a test says so and is skipped.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{
    outside::{STOPS_WITHIN, ask, closed_segments, frames_more, get, path_of},
    process::Process,
    recovery::until_event,
    rig::prove_parts,
    sim::camera::{CameraSpec, Channel, SimCamera},
    volumes::{
        Disk, SEGMENT_SECONDS, all_whole_are, copies, same_files, segments, start, until_equal, until_mirror,
        within,
    },
    wait::PATIENCE,
};

const HEALS_WITHIN: Duration = PATIENCE;

fn accept(process: &Process, volume: &str) -> crate::outside::Answer {
    ask(process, "POST", &format!("/api/v1/volumes/{volume}/accept"), &[], None)
}

fn record(process: &Process, name: &str) -> SimCamera {
    let sim = SimCamera::start(CameraSpec::new(name)).unwrap();
    process.post(
        "/api/v1/cameras",
        &json!({ "id": name, "main_url": sim.url(Channel::Main), "segment_seconds": SEGMENT_SECONDS }),
    );
    process.until_recording();
    sim
}

/// Names in a directory, without what mkfs makes.
fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lost+found").collect()
}

/// Waits until a segment is closed that this volume has not, and the other has.
fn until_only_on(process: &Process, there: &str) -> Value {
    let wanted = if there == "mirror" { ("absent", "whole") } else { ("whole", "absent") };
    let look = || {
        let found = segments(process, "front").into_iter().rev().find(|segment| copies(segment) == wanted);
        found.ok_or_else(|| "none".to_owned())
    };
    let (segment, _) = within(process, &format!("segment on the {there} alone"), PATIENCE, look);
    assert_eq!(get(process, segment["url"].as_str().unwrap()).status, 200);
    segment
}

#[test]
fn a_disk_that_is_not_there_is_never_written_to_and_a_new_one_gets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let Some(primary) = Disk::make(dir, "recordings", 64) else { return };
    let Some(mirror) = Disk::make(dir, "mirror", 64) else { return };
    let process = start(dir, &[]);
    let _sim = record(&process, "front");
    closed_segments(&process, "front", 2);
    for volume in ["primary", "mirror"] {
        let refused = accept(&process, volume);
        assert_eq!((refused.status, refused.error().0.as_str()), (409, "volume_there"), "{}", refused.text());
    }
    process.stop(STOPS_WITHIN);

    mirror.unmount_lazily();
    let process = start(dir, &[]);
    until_mirror(&process, &["degraded"], PATIENCE);
    let seen = process.get("/api/v1/system")["mirror"].take();
    assert!(seen["detail"].as_str().unwrap().contains("watchkeeper volume accept"), "{seen:#}");
    until_event(&process, "mirror_degraded");
    until_only_on(&process, "primary");
    assert_eq!(names(&mirror.at), [""; 0]);
    mirror.mount();
    until_equal(&process, dir, &["front"], HEALS_WITHIN);
    until_mirror(&process, &["ok"], HEALS_WITHIN);
    process.stop(STOPS_WITHIN);
    same_files(dir, &["front"]);

    primary.unmount_lazily();
    let process = start(dir, &[]);
    process.until_recording();
    until_event(&process, "recorder_error");
    let seen = process.get("/api/v1/system")["volume"].take();
    assert_eq!(seen["state"], "away", "{seen:#}");
    let status = process.get(&path_of("front"))["status"].take();
    assert!(status["detail"].as_str().unwrap().contains("mirror alone"), "{status:#}");
    until_only_on(&process, "mirror");
    // What was recorded before is read from the mirror, too.
    let oldest = segments(&process, "front").remove(0);
    assert_eq!(get(&process, oldest["url"].as_str().unwrap()).status, 200, "{oldest:#}");
    assert_eq!(names(&primary.at), [""; 0]);
    primary.mount();
    until_equal(&process, dir, &["front"], HEALS_WITHIN);
    process.until("the primary to be well", "/api/v1/system", |seen| seen["volume"]["state"] == "ok");
    process.stop(STOPS_WITHIN);
    same_files(dir, &["front"]);

    primary.unmount_lazily();
    primary.format();
    primary.mount();
    let process = start(dir, &[]);
    process.until_recording();
    until_only_on(&process, "mirror");
    assert_eq!(names(&primary.at), [""; 0], "written to before it was accepted");
    let accepted = accept(&process, "primary");
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    frames_more(&process, "front", 50);
    until_equal(&process, dir, &["front"], HEALS_WITHIN);
    process.until("the primary to be well", "/api/v1/system", |seen| seen["volume"]["state"] == "ok");
    assert_eq!(accept(&process, "primary").status, 409);
    process.stop(STOPS_WITHIN);
    same_files(dir, &["front"]);
    all_whole_are(dir);
    prove_parts(&crate::outside::recordings(dir, "front"));
}

#[test]
fn the_volume_of_another_installation_is_refused_until_it_is_accepted() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let process = start(theirs.path(), &[]);
    let _theirs = record(&process, "back");
    closed_segments(&process, "back", 1);
    process.stop(STOPS_WITHIN);
    let dir = ours.path();
    let moved =
        Command::new("mv").arg(theirs.path().join("mirror")).arg(dir.join("mirror")).status().unwrap();
    assert!(moved.success());
    let before = names(&dir.join("mirror"));

    let process = start(dir, &[]);
    let _ours = record(&process, "front");
    until_mirror(&process, &["degraded"], PATIENCE);
    let seen = process.get("/api/v1/system")["mirror"].take();
    let detail = seen["detail"].as_str().unwrap();
    assert!(
        detail.contains("another installation") && detail.contains("watchkeeper volume accept"),
        "{seen:#}"
    );
    until_only_on(&process, "primary");
    assert_eq!(names(&dir.join("mirror")), before);
    let accepted = accept(&process, "mirror");
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    let again = accept(&process, "mirror");
    assert_eq!((again.status, again.error().0.as_str()), (409, "volume_there"), "{}", again.text());
    until_equal(&process, dir, &["front"], HEALS_WITHIN);
    process.stop(STOPS_WITHIN);
    same_files(dir, &["front"]);
    all_whole_are(dir);
}
