//! Bytes flip on either disk: each is found, and made what was recorded from the other volume, by the service and by
//! `check --deep --repair` without it.
//!
//! `FLIPS` says how many bytes [50]; `scripts/scrub-trial` flips 1,000 and prints the figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Instant,
};

use serde_json::Value;

use crate::{
    outside::{STOPS_WITHIN, closed_segments, events, path_of, record},
    process::{Process, command},
    recovery::Database,
    sim::camera::CameraSpec,
};

const VOLUMES: [&str; 2] = ["recordings", "mirror"];
const CAMERAS: [&str; 2] = ["front", "yard"];

fn start(dir: &Path) -> Process {
    let mirror = dir.join("mirror");
    let quick = Path::new("1000000000");
    let variables = [("WATCHKEEPER_MIRROR_DIR", &*mirror), ("WATCHKEEPER_SCRUB_BYTES_PER_SECOND", quick)];
    Process::start_with(dir, &variables)
}

fn check(dir: &Path, options: &[&str]) -> Output {
    let mut check = command(dir, "127.0.0.1:1");
    check.env("WATCHKEEPER_MIRROR_DIR", dir.join("mirror")).arg("check").args(options).output().unwrap()
}

/// What rows say that both volumes have whole: path and hash.
fn whole(dir: &Path) -> BTreeMap<String, String> {
    let copies = Database::open(dir).copies().into_iter();
    copies
        .filter(|copy| copy.primary == "whole" && copy.mirror == "whole")
        .map(|copy| (copy.path, copy.hash))
        .collect()
}

/// The hash of a file, by another program where there is one.
fn hash_of(file: &Path) -> String {
    match Command::new("b3sum").arg("--no-names").arg(file).output() {
        Ok(done) if done.status.success() => String::from_utf8(done.stdout).unwrap().trim().to_owned(),
        _ => blake3::hash(&fs::read(file).unwrap()).to_hex().to_string(),
    }
}

/// Fails unless each of these files is what its row says, on both volumes.
fn assert_sound(dir: &Path, segments: &BTreeMap<String, String>) {
    for (path, right) in segments {
        for volume in VOLUMES {
            let file = dir.join(volume).join(path);
            assert_eq!(hash_of(&file), *right, "{}", file.display());
        }
    }
}

/// Flips bytes at random places of random segments, of each on one volume only. The files that were hit, by their paths
/// below either root.
fn flip(dir: &Path, segments: &BTreeMap<String, String>, flips: usize) -> BTreeMap<String, PathBuf> {
    let on: Vec<(&String, PathBuf)> =
        segments.keys().map(|path| (path, dir.join(VOLUMES[rand::random_range(0..2)]).join(path))).collect();
    let mut places = BTreeSet::new();
    while places.len() < flips {
        let n = rand::random_range(0..on.len());
        let bytes = fs::metadata(&on[n].1).unwrap().len() as usize;
        places.insert((n, rand::random_range(0..bytes)));
    }
    let mut hit = BTreeMap::new();
    for (n, at) in places {
        let (path, file) = &on[n];
        let mut bytes = fs::read(file).unwrap();
        bytes[at] ^= rand::random_range(1..=255u8);
        fs::write(file, bytes).unwrap();
        hit.insert((*path).clone(), file.clone());
    }
    hit
}

#[test]
fn every_flipped_byte_on_either_disk_is_found_and_healed_from_the_other() {
    let flips: usize = env::var("FLIPS").map_or(50, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let process = start(dir);
    let cameras = CAMERAS.map(|name| record(&process, CameraSpec::new(name), 2));
    // In steps, none of which takes longer than is waited for.
    for count in (5..=5 + flips / 50).step_by(5) {
        CAMERAS.iter().for_each(|name| drop(closed_segments(&process, name, count)));
    }
    process.stop(STOPS_WITHIN);

    let before = whole(dir);
    assert!(before.len() >= 10, "{before:?}");
    assert_sound(dir, &before);
    let hit = flip(dir, &before, flips);

    // By the service, while it records.
    let process = start(dir);
    let began = Instant::now();
    assert_eq!(process.post("/api/v1/scrub", &Value::Null)["running"], true);
    let ended = process.until("the scrub to end", "/api/v1/scrub", |scrub| scrub["running"] == false);
    let took = began.elapsed();
    assert_eq!(ended["damaged_copies"], hit.len(), "{ended:#}\n{}", process.log());
    assert_eq!(ended["last_damaged_copies"], hit.len());
    assert_eq!(ended["skipped_copies"], 0);
    for name in CAMERAS {
        process.until("all copies to be whole", &format!("{}/segments?limit=1000", path_of(name)), |seen| {
            let all = seen["segments"].as_array().unwrap().iter();
            let mut known = all.filter(|segment| before.contains_key(segment["file"].as_str().unwrap()));
            known.all(|segment| {
                segment["copies"]["primary"] == "whole" && segment["copies"]["mirror"] == "whole"
            })
        });
    }
    let healed = began.elapsed();
    // When the pass ended, some may have been made whole already; the rest when all were.
    process.until("all to be told of", "/api/v1/events?limit=1000", |log| {
        let told = log["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "segment_healed");
        let count =
            |event: &Value| event["detail"].as_str().unwrap().split(' ').next().unwrap().parse::<usize>();
        told.map(|event| count(event).unwrap()).sum::<usize>() == hit.len()
    });
    let told = events(&process).iter().filter(|event| event["kind"] == "segment_damaged").count();
    assert_eq!(told, hit.len().min(21));
    process.until_recording();
    let beside = check(dir, &["--deep"]);
    assert_eq!(beside.status.code(), Some(0), "{}", String::from_utf8_lossy(&beside.stdout));
    process.stop(STOPS_WITHIN);
    assert_sound(dir, &whole(dir));
    let after = whole(dir);
    assert!(before.iter().all(|(path, hash)| after.get(path) == Some(hash)));
    println!(
        "{flips} bytes in {} of {} files: found in {:.1} s ({} bytes read), all healed in {:.1} s",
        hit.len(),
        2 * before.len(),
        took.as_secs_f64(),
        ended["checked_bytes"],
        healed.as_secs_f64()
    );
    drop(cameras);

    // And by hand.
    let segments = whole(dir);
    let hit = flip(dir, &segments, flips);
    assert_eq!(check(dir, &["--deep"]).status.code(), Some(1));
    let began = Instant::now();
    let repaired = check(dir, &["--deep", "--repair", "--json"]);
    let took = began.elapsed();
    let report: Value = serde_json::from_slice(&repaired.stdout).unwrap();
    assert_eq!((repaired.status.code(), &report["healed"]), (Some(0), &hit.len().into()), "{report:#}");
    let well = check(dir, &["--deep"]);
    assert_eq!(well.status.code(), Some(0), "{}", String::from_utf8_lossy(&well.stdout));
    assert_eq!(whole(dir), segments);
    assert_sound(dir, &segments);
    println!(
        "{flips} bytes in {} files: found and healed by check in {:.1} s",
        hit.len(),
        took.as_secs_f64()
    );
}
