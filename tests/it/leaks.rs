//! Connecting and losing cameras, again and again, costs nothing that stays.
//!
//! `CYCLES` says how often [16]; `scripts/cycle-loop` runs 500.

use std::{env, fs};

use serde_json::json;

use crate::{
    process::{Process, pause},
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        link::{Link, Wire},
    },
};

/// Cameras that are lost and found side by side.
const CAMERAS: usize = 8;
/// First rounds warm up caches, pools and the allocator; what they take is not a leak.
const WARM_UP: usize = 8;
/// So long a cable stays cut: a knock at the door has failed by then, so that the return is noticed at once and the
/// backoff for a camera that comes and goes does not make a cycle half a minute long.
const AWAY_MS: u64 = 3_500;
/// Resident memory may have grown by this much, in KiB.
const GROWTH_KIB: i64 = 2048;

#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    resident_kib: i64,
}

fn held(pid: u32) -> Held {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap()
    };
    Held {
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
        threads: usize::try_from(field("Threads:")).unwrap(),
        resident_kib: field("VmRSS:"),
    }
}

#[test]
fn losing_and_finding_cameras_leaves_nothing_behind() {
    let cycles: usize = env::var("CYCLES").map_or(16, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let cameras: Vec<(SimCamera, Link)> = (0..CAMERAS)
        .map(|n| {
            let camera = SimCamera::start(CameraSpec::new(format!("cam{n}"))).unwrap();
            let link = Link::start(camera.port()).unwrap();
            process.post("/api/v1/cameras", &json!({ "id": camera.name(), "main_url": link.url("main") }));
            (camera, link)
        })
        .collect();
    let all = |what: &str, state: &str| {
        process.until(what, "/api/v1/cameras", |seen| {
            seen["cameras"].as_array().unwrap().iter().all(|camera| camera["status"]["state"] == state)
        });
    };
    let round = || {
        all("all cameras to record", "recording");
        cameras.iter().for_each(|(_, link)| link.set(Wire::Cut));
        all("all cameras to be lost", "offline");
        pause(AWAY_MS);
        cameras.iter().for_each(|(_, link)| link.set(Wire::Whole));
    };
    (0..WARM_UP.div_ceil(CAMERAS) + 1).for_each(|_| round());
    all("all cameras to record", "recording");
    let before = held(process.pid());
    for n in 0..cycles.div_ceil(CAMERAS) {
        round();
        if n % 10 == 9 {
            println!("after {} cycles: {:?}", (n + 1) * CAMERAS, held(process.pid()));
        }
    }
    all("all cameras to record", "recording");
    let after = held(process.pid());
    println!("{cycles} cycles: before {before:?}, after {after:?}");
    let rounds = cycles.div_ceil(CAMERAS);
    // Which thread of a pool lives at the moment of the count is chance; one lost in each cycle would be many.
    assert!(after.descriptors <= before.descriptors + 4, "{before:?} {after:?}");
    assert!(after.threads <= before.threads + 4, "{before:?} {after:?}");
    // A few rounds are too short to tell memory that is kept for reuse from memory that is lost.
    if rounds >= 20 {
        assert!(after.resident_kib - before.resident_kib <= GROWTH_KIB, "{before:?} {after:?}");
    }
    for (camera, _) in &cameras {
        assert_eq!(camera.max_sessions(Channel::Main), 1);
    }
    process.stop(std::time::Duration::from_secs(8));
}
