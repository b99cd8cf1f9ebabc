//! The host's clock is set while cameras are recorded: no frame is lost, no footage lies over other footage, no file is
//! written over, and the account says what the clock passed over.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    outside::{STOPS_WITHIN, events, frames_more, get, path_of, record, recordings},
    process::Process,
    recovery::rows,
    rig::plays_alone,
    sim::{
        camera::{CameraSpec, Channel},
        proof,
    },
};

pub(crate) const SEGMENT_SECONDS: u32 = 2;
/// Frames of 25 a second that cover more than a segment, which may be a GOP longer.
pub(crate) const A_SEGMENT: u64 = 80;

/// A library that sets the clock of a process by what a file says.
pub(crate) fn shim(dir: &Path) -> std::path::PathBuf {
    let (source, library) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clock_shim.c"), dir.join("clock_shim.so"));
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status()
        .unwrap();
    assert!(built.success());
    library
}

fn us(value: &Value, field: &str) -> i64 {
    watchkeeper::base::WallUs::parse(value[field].as_str().unwrap()).unwrap().0
}

#[test]
fn a_clock_that_is_set_costs_no_frame_and_lays_nothing_over_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (library, step) = (shim(dir.path()), dir.path().join("step"));
    let set = |seconds: i64| fs::write(&step, seconds.to_string()).unwrap();
    set(0);
    let process = Process::start_with(dir.path(), &[("LD_PRELOAD", &library), ("CLOCK_STEP_FILE", &step)]);
    let camera = record(&process, CameraSpec::new("front"), SEGMENT_SECONDS);
    frames_more(&process, "front", A_SEGMENT);
    // An hour on, half of it back, and then a year on and back.
    set(3600);
    frames_more(&process, "front", 2 * A_SEGMENT);
    set(1800);
    frames_more(&process, "front", 2 * A_SEGMENT);
    let segments = |process: &Process| {
        let listed =
            get(process, "/api/v1/cameras/front/segments?from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z");
        listed.json()["segments"].as_array().unwrap().clone()
    };
    let stepped = segments(&process).len();
    set(365 * 86_400);
    frames_more(&process, "front", 2 * A_SEGMENT);
    set(0);
    frames_more(&process, "front", A_SEGMENT);

    let told = events(&process);
    let steps: Vec<&str> = told
        .iter()
        .filter(|event| event["kind"] == "clock_step")
        .map(|event| event["detail"].as_str().unwrap())
        .collect();
    for word in ["forward by 3600", "back by 1800"] {
        assert!(steps.iter().any(|step| step.contains(word)), "{word}: {steps:?}");
    }
    let gaps = get(
        &process,
        &format!("{}/gaps?min_seconds=1&from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z", path_of("front")),
    );
    let gaps = gaps.json()["gaps"].as_array().unwrap().clone();
    let clock: Vec<i64> = gaps
        .iter()
        .filter(|gap| gap["cause"] == "clock")
        .map(|gap| us(gap, "to") - us(gap, "from"))
        .collect();
    assert!(clock.iter().any(|length| (length - 3_600_000_000).abs() < 2_000_000), "{gaps:#?}");
    // The first second is from the camera's addition to its first keyframe.
    let others = gaps.iter().filter(|gap| gap["cause"] != "clock").count();
    assert!(others <= 1, "something else is missing: {gaps:#?}");

    let mut listed = segments(&process);
    assert!(listed.len() > stepped);
    listed.sort_by_key(|segment| segment["id"].as_i64());
    let year = 365 * 86_400_000_000;
    for pair in listed.windows(2) {
        if us(&pair[0], "start") - us(&pair[1], "start") > year / 2 {
            continue;
        }
        let hole = us(&pair[1], "start") - us(&pair[0], "end");
        assert!(hole > -50_000, "footage lies over footage: {hole} us in {pair:#?}");
    }
    process.stop(STOPS_WITHIN);

    let files = recordings(dir.path(), "front");
    // One more segment may have begun after the list was asked for.
    let rows = rows(dir.path());
    let unlisted = listed.iter().filter(|segment| !rows.contains_key(segment["file"].as_str().unwrap()));
    assert_eq!((files.len(), unlisted.count()), (rows.len(), 0));
    let mut recorded = plays_alone(&files).concat();
    recorded.sort_unstable();
    let sent: Vec<u64> = camera.sent(Channel::Main).iter().map(|sent| sent.number).collect();
    proof::prove_sent(&sent, &recorded).unwrap();
}
