//! Cameras that speak RTSP well and send what no camera should: recording goes on wherever frames come, memory stays
//! bounded, what is said of them is clear, and a camera beside them loses nothing.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use watchkeeper::base::WallUs;

use crate::{
    outside::{STOPS_WITHIN, events, frames_more, path_of, prove, recordings},
    process::{Process, pause},
    sim::{
        audio::{Audio, Mode},
        camera::{CameraSpec, Channel, SimCamera},
        footage::{Encoding, Source},
        frames,
        misbehave::{Misbehaviour, Peer},
        nal::Codec,
        sound::Voice,
    },
    wait::PATIENCE,
};

/// What one camera that misbehaves may cost in memory above what is normal, in KiB.
const MEMORY_KIB: u64 = 64 * 1024;
/// And while a huge frame goes through: its packets with their heads, and twice the whole, once for each step in
/// `rtph264depay`.
const HUGE_KIB: u64 = 96 * 1024;
const HUGE_BYTES: usize = 20_000_000;
/// A camera with a keyframe each minute sends so many frames a second, and another so many that claims to send 25.
const FEW_FPS: u32 = 12;

/// A keyframe comes so seldom, in seconds. That there is none is said after 30.
const SPARSE_S: u32 = 50;
/// Few files, because each is decoded.
const SEGMENT_SECONDS: u32 = 15;

/// The most memory the process had since [`forget_peak`], in KiB.
pub(crate) fn peak_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Counts the most memory from now on (proc(5), `clear_refs`).
pub(crate) fn forget_peak(process: &Process) {
    fs::write(format!("/proc/{}/clear_refs", process.pid()), "5").unwrap();
}

/// Does harm, waits until so many more frames of `camera` came, and gives what memory rose by meanwhile, in KiB.
fn cost_kib(process: &Process, camera: &str, frames: u64, harm: impl FnOnce()) -> u64 {
    forget_peak(process);
    let before = peak_kib(process);
    harm();
    frames_more(process, camera, frames);
    let cost = peak_kib(process) - before;
    println!("{camera}: {cost} KiB");
    cost
}

fn state(process: &Process, camera: &str) -> Value {
    process.get(&path_of(camera))["status"].clone()
}

/// The status of a camera, once it is an error.
fn until_error(url: &str) -> Value {
    let began = Instant::now();
    loop {
        let mut seen: Value = ureq::get(url).call().unwrap().body_mut().read_json().unwrap();
        if seen["status"]["state"] == "error" {
            return seen["status"].take();
        }
        assert!(began.elapsed() < PATIENCE, "no error: {seen:#}");
        pause(200);
    }
}

fn small(codec: Codec) -> Encoding {
    Encoding { codec, ..Encoding::small(Source::Cars) }
}

/// A camera is asked to be recorded, and not waited for.
fn add(process: &Process, spec: CameraSpec) -> SimCamera {
    let camera = SimCamera::start(spec).unwrap();
    add_at(process, camera.name(), &camera.url(Channel::Main));
    camera
}

fn add_at(process: &Process, name: &str, url: &str) {
    let given =
        json!({ "id": name, "main_url": url, "segment_seconds": SEGMENT_SECONDS, "record_audio": true });
    process.post("/api/v1/cameras", &given);
}

fn few(gop_frames: u32, claimed_fps: Option<u32>) -> Encoding {
    Encoding { fps: FEW_FPS, gop_frames, kbit: 300, claimed_fps, ..Encoding::small(Source::Cars) }
}

#[test]
fn streams_that_no_camera_should_send_are_recorded_as_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let spec = |name: &str, main: Encoding, voice: Option<Voice>| CameraSpec {
        main,
        audio: voice.map(|voice| Audio { voice, mode: Mode::Steady, first: false }),
        ..CameraSpec::new(name)
    };
    let plain =
        |name: &str, codec: Codec, voice: Option<Voice>| add(&process, spec(name, small(codec), voice));
    let aac = Voice::Aac { hz: 16_000 };
    let front = plain("front", Codec::H264, None);
    let huge = [plain("huge", Codec::H264, None), plain("huge-sound", Codec::H265, Some(Voice::Pcma))];
    let empty = [plain("empty", Codec::H264, None), plain("empty-h265", Codec::H265, None)];
    let equal = plain("equal", Codec::H264, None);
    let corrupt = [
        plain("corrupt", Codec::H264, None),
        plain("corrupt-h265", Codec::H265, None),
        plain("corrupt-aac", Codec::H264, Some(aac)),
        plain("corrupt-pcmu", Codec::H264, Some(Voice::Pcmu)),
    ];
    let liar = add(&process, spec("liar", few(2 * FEW_FPS, Some(25)), None));
    let changes = plain("changes", Codec::H264, Some(aac));
    let among = SimCamera::start(CameraSpec::new("among")).unwrap();
    let many = Peer::start(Misbehaviour::ManyStreams { camera_port: among.port() }).unwrap();
    add_at(&process, "among", &many.url_of("main"));
    process.until_recording();
    // Its first keyframe is over when somebody comes, and the next is far away.
    let sparse = SimCamera::start(spec("sparse", few(SPARSE_S * FEW_FPS, None), None)).unwrap();
    while sparse.next_number(Channel::Main) < 2 {
        pause(10);
    }
    let without_keyframe = WallUs::now();
    add_at(&process, "sparse", &sparse.url(Channel::Main));
    // Connecting a dozen cameras at once on a busy machine may take a second attempt; what counts is from here on.
    let all_record = without_keyframe.rfc3339();
    let reconnects = |name: &str| state(&process, name)["reconnects"].clone();
    let healthy = empty.iter().chain(&huge).chain([&front, &equal, &liar, &among, &changes]);
    let before: Vec<_> = healthy.map(|camera| (camera, reconnects(camera.name()))).collect();
    process.until("the wait for a keyframe", &path_of("sparse"), |seen| {
        let waits = &seen["status"];
        waits["state"] == "connecting"
            && waits["detail"].as_str().is_some_and(|detail| detail.contains("next keyframe"))
    });

    let url = format!("{}{}", process.url, path_of("sparse"));
    // Beside all that follows, which may take longer.
    let said = std::thread::spawn(move || until_error(&url));

    frames_more(&process, "front", 50);
    forget_peak(&process);
    let normal = peak_kib(&process);
    for camera in &huge {
        let cost = cost_kib(&process, camera.name(), 50, || camera.send_huge_frame(HUGE_BYTES));
        assert!(cost <= HUGE_KIB, "{}: a huge frame costs {cost} KiB", camera.name());
    }
    changes.set_audio(Mode::Changes { after: Duration::ZERO, hz: 32_000 }).unwrap();
    empty.iter().for_each(|camera| camera.set_empty_units(true));
    equal.set_equal_timestamps(true);
    let corrupted = process.get(&path_of("corrupt"))["status"]["frames"].as_u64().unwrap();
    corrupt.iter().for_each(|camera| camera.corrupt(5));
    // Longer than the huge frames are kept as last keyframes.
    frames_more(&process, "front", 50);
    forget_peak(&process);
    frames_more(&process, "front", 300);
    let cost = peak_kib(&process) - normal;
    assert!(cost <= MEMORY_KIB, "all of them cost {cost} KiB");
    for (camera, reconnects) in before {
        let (name, status) = (camera.name(), state(&process, camera.name()));
        assert_eq!(
            (&status["state"], &status["reconnects"]),
            (&"recording".into(), &reconnects),
            "{name} {status:#}\n{}",
            process.log()
        );
    }
    let came = process.get(&path_of("corrupt"))["status"]["frames"].as_u64().unwrap() - corrupted;
    assert!(came >= 250, "of a stream with damage {came} frames came");
    equal.set_equal_timestamps(false);

    let said = said.join().unwrap();
    let took_us = WallUs::parse(said["since"].as_str().unwrap()).unwrap().0 - without_keyframe.0;
    assert!((29_000_000..40_000_000).contains(&took_us), "said after {took_us} us: {said:#}");
    assert_eq!(said["reason"], "no_keyframe", "{said:#}");
    assert!(said["detail"].as_str().unwrap().contains("keyframe interval"), "{said:#}");
    process.until("the keyframe", &path_of("sparse"), |seen| seen["status"]["state"] == "recording");
    frames_more(&process, "sparse", 40);
    process.until("the gap and its cause", "/api/v1/cameras/sparse/gaps", |seen| {
        seen["gaps"][0]["cause"] == "no_keyframe" && seen["gaps"][0]["state"] == "closed"
    });
    // Beside the wait for the first keyframe nothing is missing anywhere, and nobody was away.
    let log = events(&process);
    let damaged = |camera: &Value| camera.as_str().is_some_and(|id| id.starts_with("corrupt"));
    let other = |event: &&Value| {
        let camera = &event["camera_id"];
        let early = event["at"].as_str().unwrap() < all_record.as_str();
        event["kind"] != "recording_gap" && !camera.is_null() && !damaged(camera) && !early
    };
    assert!(log.iter().find(other).is_none(), "{log:#?}");
    let gaps = process.get("/api/v1/gaps?limit=100");
    let later = |gap: &&Value| gap["from"].as_str().unwrap() >= all_record.as_str();
    let gaps = gaps["gaps"].as_array().unwrap().iter().filter(|gap| !damaged(&gap["camera_id"]));
    for gap in gaps.filter(|gap| gap["camera_id"] == "sparse" || later(gap)) {
        let cause = if gap["camera_id"] == "sparse" { "no_keyframe" } else { "operator" };
        assert_eq!(gap["cause"], cause, "{gap:#}");
    }
    process.stop(STOPS_WITHIN);

    let exact: Vec<&SimCamera> =
        empty.iter().chain(&huge).chain([&front, &sparse, &equal, &liar, &among]).collect();
    let dir = dir.path();
    // Two at a time: each file is decoded.
    std::thread::scope(|scope| {
        for half in exact.chunks(exact.len().div_ceil(2)) {
            scope.spawn(move || {
                for camera in half {
                    prove(dir, camera);
                    assert_eq!(camera.max_sessions(Channel::Main), 1);
                }
            });
        }
    });
    assert!(largest(dir, "huge") > HUGE_BYTES as u64 && largest(dir, "huge-sound") > HUGE_BYTES as u64);
    // AAC in RTP does not say that it changed, so the sound is then what the camera made of it; the pictures are whole.
    let since_us = u64::try_from(without_keyframe.0).unwrap();
    let sent = changes.sent(Channel::Main).iter().filter(|frame| frame.capture_us >= since_us).count() as u64;
    let (kept, _) = extent(dir, "changes");
    assert!(kept + 40 >= sent, "changes: {kept} frames of {sent}");
    for camera in &corrupt {
        let (kept, _) = extent(dir, camera.name());
        let sent = camera.sent(Channel::Main).len();
        println!("{}: {kept} frames kept of {sent}", camera.name());
        assert!(kept * 10 >= sent as u64 * 8, "{}: {kept} frames of {sent}", camera.name());
    }
    // Time is what passed, whatever the parameter sets say and even if the camera says nothing: to a frame in each file,
    // whose last has the length that the camera claims.
    for (name, fps) in [("liar", FEW_FPS), ("equal", 25)] {
        let (frames, seconds) = extent(dir, name);
        let off = seconds - frames as f64 / f64::from(fps);
        let files = recordings(dir, name).len();
        println!("{name}: {frames} frames in {files} files are {seconds} s");
        assert!(off.abs() <= files as f64 / f64::from(fps), "{name}: {frames} frames are {seconds} s");
    }
}

/// Size of the largest file.
fn largest(dir: &Path, camera: &str) -> u64 {
    recordings(dir, camera).iter().map(|file| file.metadata().unwrap().len()).max().unwrap()
}

/// Frames and seconds of all files.
fn extent(dir: &Path, camera: &str) -> (u64, f64) {
    let probes = recordings(dir, camera).into_iter().map(|file| frames::probe(&file).unwrap());
    probes.fold((0, 0.0), |(frames, seconds), probe| (frames + probe.frames, seconds + probe.duration_s))
}
