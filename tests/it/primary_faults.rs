//! What befalls the primary while four cameras are recorded and a mirror works: recording goes on on the mirror, it is told,
//! and what the primary missed comes back to it.
//!
//! Needs root and loop devices: without, a test says so and is skipped.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use watchkeeper::base::WallUs;

use crate::{
    mirror_faults::{delete_all, fill},
    outside::{STOPS_WITHIN, events, frames_more, get, path_of},
    process::Process,
    sim::frames,
    volumes::{
        Disk, Shim, all_whole_are, cameras, complete, copies, hold, same_files, segments, start, until_equal,
        until_mirror, until_well, within,
    },
    wait::PATIENCE,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// A fault is told within this, and leaves no longer gap.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
const GAP_AT_MOST_S: f64 = 5.0;
const HEALS_WITHIN: Duration = PATIENCE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    OneSync,
    Full,
    ReadOnly,
    Unmounted,
    Deleted,
}

const FAULTS: [Fault; 5] = [Fault::OneSync, Fault::Full, Fault::ReadOnly, Fault::Unmounted, Fault::Deleted];

/// A segment begun since `since` that the mirror alone has, which is served and plays.
fn plays_from_the_mirror(process: &Process, dir: &Path, since: WallUs) {
    let look = || {
        let all = segments(process, "a").into_iter();
        let mut since =
            all.filter(|segment| WallUs::parse(segment["start"].as_str().unwrap()).unwrap() > since);
        since.find(|segment| copies(segment) == ("absent", "whole")).ok_or("none".to_owned())
    };
    let (segment, _) = within(process, "segment on the mirror alone", PATIENCE, look);
    let answer = get(process, segment["url"].as_str().unwrap());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let file = dir.join("served.mp4");
    fs::write(&file, answer.body).unwrap();
    frames::decodes_clean(&file).unwrap();
    assert_eq!(frames::probe(&file).unwrap().frames, segment["frames"].as_u64().unwrap());
}

fn until_mirror_alone(process: &Process) -> Duration {
    let look = || {
        let seen = process.get(&path_of("a"))["status"].take();
        let alone = seen["detail"].as_str().is_some_and(|detail| detail.contains("mirror alone"));
        if alone && seen["state"] == "recording" { Ok(()) } else { Err(format!("{seen:#}")) }
    };
    within(process, "state that tells of the mirror", PATIENCE, look).1
}

#[test]
fn while_the_primary_fails_recording_goes_on_on_the_mirror_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::make(dir.path(), "recordings", 512) else { return };
    let shim = Shim::make(dir.path(), &disk.at);
    let process = start(dir.path(), &shim.variables());
    let sims = cameras(&process);
    let began = WallUs::now();
    hold(&process, &NAMES);
    frames_more(&process, "a", 75);
    let told = |kind: &str| events(&process).iter().filter(|event| event["kind"] == kind).count();
    for fault in FAULTS {
        until_well(&process, &NAMES, HEALS_WITHIN);
        let (errors, since) = (told("recorder_error"), WallUs::now());
        let until_told = || {
            let (at, most) = (Instant::now(), TOLD_WITHIN);
            let look = || if told("recorder_error") > errors { Ok(()) } else { Err("none".to_owned()) };
            within(&process, "event", most, look);
            at.elapsed()
        };
        let during = || {
            let heard = until_told();
            let shown = until_mirror_alone(&process);
            plays_from_the_mirror(&process, dir.path(), since);
            (heard, shown)
        };
        let seen = match fault {
            Fault::OneSync => {
                shim.say("fail");
                within(&process, "failed sync", TOLD_WITHIN, || {
                    shim.is_over().then_some(()).ok_or(String::new())
                });
                (until_told(), Duration::ZERO)
            }
            Fault::Full => {
                fill(&disk.at);
                let seen = during();
                fs::remove_file(disk.at.join("filler")).unwrap();
                seen
            }
            Fault::ReadOnly => {
                disk.abort();
                let seen = during();
                disk.mount_again();
                seen
            }
            Fault::Unmounted => {
                disk.unmount_lazily();
                let seen = during();
                assert_eq!(fs::read_dir(&disk.at).unwrap().count(), 0);
                disk.mount();
                seen
            }
            // Made again at once.
            Fault::Deleted => {
                delete_all(&disk.at);
                (until_told(), Duration::ZERO)
            }
        };
        println!("{fault:?}: told within {:.1?}, shown within {:.1?}", seen.0, seen.1);
    }
    let took = until_equal(&process, dir.path(), &NAMES, HEALS_WITHIN);
    println!("equal after {took:.1?}");
    until_mirror(&process, &["ok"], HEALS_WITHIN);
    process.until("the primary to be well", "/api/v1/system", |seen| seen["volume"]["state"] == "ok");
    let gaps: Vec<Value> = NAMES
        .iter()
        .flat_map(|name| {
            let path = format!("{}/gaps?limit=100&from={}", path_of(name), began.rfc3339());
            process.get(&path)["gaps"].as_array().unwrap().clone()
        })
        .filter(|gap| gap["cause"] != "operator")
        .collect();
    let longest = gaps.iter().map(|gap| gap["duration_s"].as_f64().unwrap()).fold(0.0, f64::max);
    println!("{} gaps, the longest {longest:.2} s", gaps.len());
    assert!(longest <= GAP_AT_MOST_S, "{gaps:#?}");
    process.stop(STOPS_WITHIN);
    all_whole_are(dir.path());
    same_files(dir.path(), &NAMES);
    for sim in &sims[..2] {
        // The mirror was well all the time, and has it all.
        complete(dir.path(), "mirror", sim);
    }
}
