//! Exports: a clip is exactly what was recorded in its range, whatever happened in it, and proves so itself; and nothing
//! that clients do to exports costs the service anything.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use watchkeeper::base::WallUs;

use crate::{
    outside::{Answer, STOPS_WITHIN, ask, cli, closed_segments, frames_more, get, path_of, record, send},
    process::{Process, command, pause},
    sim::{
        audio::{Audio, Mode},
        camera::{CameraSpec, SimCamera},
        footage::{Encoding, Source},
        frames,
        link::{Link, Wire},
        nal::Codec,
        sound::Voice,
    },
    wait::PATIENCE,
};

fn time(value: &Value) -> WallUs {
    WallUs::parse(value.as_str().unwrap()).unwrap()
}

/// A recorded frame: its number, the hash of its bits, when it was shown, and whether it is a keyframe.
#[derive(Debug)]
struct Picture {
    number: u64,
    hash: String,
    at: WallUs,
    key: bool,
}

/// What the files of these segments hold, in the order of the files.
fn recorded(dir: &Path, segments: &[Value]) -> Vec<Picture> {
    let mut all = Vec::new();
    for segment in segments {
        let file = dir.join("recordings").join(segment["file"].as_str().unwrap());
        let found = frames::ffprobe(&file, "v:0", &["-show_entries", "packet=pts_time,flags"]).unwrap();
        let packets = found["packets"].as_array().unwrap();
        let pictures = frames::pictures_in(&file).unwrap();
        assert_eq!(packets.len(), pictures.len());
        let pts = |packet: &Value| packet["pts_time"].as_str().unwrap().parse::<f64>().unwrap();
        let zero = pts(&packets[0]);
        all.extend(pictures.into_iter().zip(packets).map(|((number, hash), packet)| Picture {
            number,
            hash,
            at: time(&segment["start"]).plus_us(((pts(packet) - zero) * 1e6).round() as i64),
            key: packet["flags"].as_str().unwrap().contains('K'),
        }));
    }
    all
}

/// What a clip of these times must hold: from the last keyframe that is shown at its begin, to its last picture.
fn wanted(all: &[Picture], from: WallUs, to: WallUs) -> Vec<(u64, String)> {
    let first = all.iter().rposition(|picture| picture.key && picture.at <= from).unwrap_or(0);
    let last = all.iter().rposition(|picture| picture.at < to).unwrap();
    all[first..=last].iter().map(|picture| (picture.number, picture.hash.clone())).collect()
}

/// Fails unless `clip` holds exactly what was recorded from `from` to `to`, shows each frame at its time, for as long as
/// it should, and decodes without a message.
fn assert_exact(clip: &Path, all: &[Picture], from: WallUs, to: WallUs) {
    assert_eq!(frames::pictures_in(clip).unwrap(), wanted(all, from, to));
    frames::decodes_clean(clip).unwrap();
    let seconds = (to.0 - from.0) as f64 / 1e6;
    let probe = frames::probe(clip).unwrap();
    assert!((probe.duration_s - seconds).abs() < 0.001, "{} s of {seconds} s", probe.duration_s);
    let shown = frames::ffprobe(clip, "v:0", &["-show_entries", "frame=pts_time"]).unwrap();
    let shown: Vec<f64> = shown["frames"]
        .as_array()
        .unwrap()
        .iter()
        .map(|frame| frame["pts_time"].as_str().unwrap().parse().unwrap())
        .collect();
    let mut times: Vec<f64> = all
        .iter()
        .filter(|picture| from <= picture.at && picture.at < to)
        .map(|picture| (picture.at.0 - from.0) as f64 / 1e6)
        .collect();
    times.sort_by(f64::total_cmp);
    assert_eq!(shown.len(), times.len());
    for (shown, time) in shown.iter().zip(&times) {
        // To the frame where segments meet; else to the tick.
        assert!((shown - time).abs() < 0.04, "shown at {shown} s, recorded at {time} s");
    }
}

fn hash_of(file: &Path) -> String {
    blake3::hash(&fs::read(file).unwrap()).to_string()
}

/// Runs `watchkeeper export`, and gives what it printed.
fn exported(dir: &Path, process: &Process, camera: &str, from: WallUs, to: WallUs, file: &str) -> PathBuf {
    let (from, to) = (from.rfc3339(), to.rfc3339());
    let done = cli(dir, &process.url, "", &["export", camera, "--from", &from, "--to", &to, "-o", file]);
    assert!(done.status.success(), "{}\n{}", String::from_utf8_lossy(&done.stderr), process.log());
    let file = dir.join(file);
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(said.trim(), format!("{}  {}", hash_of(&file), file.file_name().unwrap().display()));
    file
}

fn manifest_of(file: &Path) -> Value {
    let mut name = file.as_os_str().to_owned();
    name.push(".json");
    serde_json::from_slice(&fs::read(name).unwrap()).unwrap()
}

/// The manifest's hashes are those of the files, as anybody can compute them.
fn assert_proves(dir: &Path, file: &Path) -> Value {
    let manifest = manifest_of(file);
    assert_eq!(manifest["file"]["blake3"], hash_of(file));
    assert_eq!(manifest["file"]["bytes"], fs::metadata(file).unwrap().len());
    for segment in manifest["segments"].as_array().unwrap() {
        let path = dir.join("recordings").join(segment["path"].as_str().unwrap());
        assert_eq!((&segment["blake3"], &segment["left_out"]), (&json!(hash_of(&path)), &Value::Null));
    }
    manifest
}

/// What Chromium makes of a file.
fn in_chromium(file: &Path, places: &[f64]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/play.mjs");
    let output =
        Command::new("node").arg(script).arg(file).args(places.iter().map(f64::to_string)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_clip_over_gaps_and_new_parameters_is_exact_and_proves_itself() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = SimCamera::start(CameraSpec::new("front")).unwrap();
    let link = Link::start(camera.port()).unwrap();
    let given = json!({ "id": "front", "main_url": link.url("main"), "segment_seconds": 3 });
    process.post("/api/v1/cameras", &given);
    let state =
        |state: &str| process.until(state, &path_of("front"), |seen| seen["status"]["state"] == state);
    let outage = || {
        link.set(Wire::Cut);
        state("offline");
        link.set(Wire::Whole);
        state("recording");
    };
    state("recording");
    frames_more(&process, "front", 100);
    outage();
    frames_more(&process, "front", 60);
    camera.set_encoding(Encoding { width: 320, height: 180, ..Encoding::small(Source::People) }).unwrap();
    frames_more(&process, "front", 120);
    outage();
    frames_more(&process, "front", 120);
    process.stop(STOPS_WITHIN);
    let process = Process::start(dir.path());
    let segments = closed_segments(&process, "front", 5);
    let all = recorded(dir.path(), &segments);
    let (first, last) = (&segments[0], &segments[segments.len() - 1]);

    // In the middle of a GOP, and of a frame.
    let (from, to) = (time(&first["start"]).plus_us(1_310_000), time(&last["end"]).plus_us(-290_000));
    let file = exported(dir.path(), &process, "front", from, to, "clip.mp4");
    assert_exact(&file, &all, from, to);
    let manifest = assert_proves(dir.path(), &file);
    assert_eq!((time(&manifest["start"]), time(&manifest["end"])), (from, to));
    let data_from = time(&manifest["file"]["data_from"]);
    assert!(data_from < from && from.0 - data_from.0 <= 1_000_000, "{data_from:?} {from:?}");
    let gaps = manifest["gaps"].as_array().unwrap();
    let causes: Vec<&Value> = gaps.iter().map(|gap| &gap["cause"]).collect();
    assert_eq!(causes, ["camera_offline", "camera_offline"], "{gaps:#?}");

    // Chromium plays all of it, gaps and both sizes, and finds its way in both directions.
    let seconds = (to.0 - from.0) as f64 / 1e6;
    let into = |at: &Value| (time(at).0 - from.0) as f64 / 1e6;
    let places = [
        seconds - 1.0,
        into(&gaps[0]["from"]) + 0.5,
        into(&gaps[1]["from"]) - 0.5,
        0.5,
        into(&gaps[1]["to"]) + 0.5,
    ];
    let seen = in_chromium(&file, &places);
    println!("{seconds} s in Chromium: {seen}");
    let widths: Vec<u64> =
        seen["sought"].as_array().unwrap().iter().map(|place| place[1].as_u64().unwrap()).collect();
    assert_eq!(widths, [320, 640, 320, 640, 320]);
    assert!((seen["duration"].as_f64().unwrap() - seconds).abs() < 0.05, "{seen}");
    let drawn: Vec<f64> =
        seen["frames"].as_array().unwrap().iter().map(|frame| frame[0].as_f64().unwrap()).collect();
    assert!(drawn.is_sorted() && *drawn.last().unwrap() > seconds - 1.0, "{seen}");
    let standing =
        |gap: &Value| drawn.iter().any(|at| into(&gap["from"]) + 0.1 < *at && *at < into(&gap["to"]) - 0.1);
    assert!(!gaps.iter().any(standing), "pictures in a gap: {seen}");

    // A range that lies between two keyframes, and one that is of gaps and footage.
    for (n, (from, to)) in
        [(from, from.plus_us(200_000)), (time(&gaps[0]["from"]).plus_us(300_000), to)].into_iter().enumerate()
    {
        let file = exported(dir.path(), &process, "front", from, to, &format!("{n}.mp4"));
        let start = time(&manifest_of(&file)["start"]);
        assert!(start >= from && (n == 1) == (start > from));
        assert_exact(&file, &all, start, to);
    }
    process.stop(STOPS_WITHIN);
}
