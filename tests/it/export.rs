//! Exports: a clip is exactly what was recorded in its range, whatever happened in it, and proves so itself; and nothing
//! that clients do to exports costs the service anything.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use watchkeeper::base::WallUs;

use crate::{
    outside::{
        STOPS_WITHIN, ask, cli, closed_segments, frames_more, get, path_of, prove, record, recordings, send,
    },
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

/// When the pieces of sound of a file are heard, in seconds.
fn heard(file: &Path) -> Vec<f64> {
    let found = frames::ffprobe(file, "a:0", &["-show_entries", "packet=pts_time"]).unwrap();
    let packets = found["packets"].as_array().unwrap().iter();
    packets.map(|packet| packet["pts_time"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn reordered_pictures_and_sound_keep_their_times_over_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let kinds =
        [("h264-aac", Codec::H264, Voice::Aac { hz: 16_000 }), ("h265-opus", Codec::H265, Voice::Opus)];
    let cameras: Vec<(SimCamera, Link)> = kinds
        .into_iter()
        .map(|(name, codec, voice)| {
            let main = Encoding { codec, b_frames: true, gop_frames: 24, ..Encoding::small(Source::Cars) };
            let audio = Some(Audio { voice, mode: Mode::Steady, first: false });
            let camera = SimCamera::start(CameraSpec { main, audio, ..CameraSpec::new(name) }).unwrap();
            let link = Link::start(camera.port()).unwrap();
            process.post(
                "/api/v1/cameras",
                &json!({
                    "id": name, "main_url": link.url("main"), "segment_seconds": 4, "record_audio": true,
                }),
            );
            (camera, link)
        })
        .collect();
    process.until_recording();
    for (camera, link) in &cameras {
        frames_more(&process, camera.name(), 150);
        link.set(Wire::Cut);
        process.until("the outage", &path_of(camera.name()), |seen| seen["status"]["state"] == "offline");
        link.set(Wire::Whole);
    }
    process.until_recording();
    cameras.iter().for_each(|(camera, _)| frames_more(&process, camera.name(), 200));
    process.stop(STOPS_WITHIN);
    let process = Process::start(dir.path());
    for (camera, _) in &cameras {
        let name = camera.name();
        let segments = closed_segments(&process, name, 3);
        let all = recorded(dir.path(), &segments);
        let (first, last) = (&segments[0], &segments[segments.len() - 1]);
        let (from, to) = (time(&first["start"]).plus_us(1_510_000), time(&last["end"]).plus_us(-390_000));
        let file = exported(dir.path(), &process, name, from, to, &format!("{name}.mp4"));
        assert_exact(&file, &all, from, to);
        let manifest = assert_proves(dir.path(), &file);
        assert_eq!(manifest["gaps"][0]["cause"], "camera_offline", "{manifest:#}");
        // Every piece of sound is where it was recorded; one before the begin is there for the decoder.
        let (sound, seconds) = (heard(&file), (to.0 - from.0) as f64 / 1e6);
        let recorded = segments.iter().flat_map(|segment| {
            let start = (time(&segment["start"]).0 - from.0) as f64 / 1e6;
            let file = dir.path().join("recordings").join(segment["file"].as_str().unwrap());
            heard(&file).into_iter().map(move |at| start + at).collect::<Vec<_>>()
        });
        let recorded: Vec<f64> = recorded.filter(|at| (0.0..seconds).contains(at)).collect();
        assert!(sound[0] < 0.0 && recorded.len() > 200, "{sound:?}");
        for at in &recorded {
            assert!(
                sound.iter().any(|heard| (heard - at).abs() < 0.001),
                "{name}: none at {at} s of {sound:?}"
            );
        }
        // Where there is none, silence stands, so that players do not close the gap up.
        let longest = sound.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        assert!(longest < 0.1, "{name}: {longest} s without sound");
        // Chromium has no decoder for H.265 of its own.
        if name == "h264-aac" {
            let seen = in_chromium(&file, &[seconds - 1.0, 0.5]);
            assert!((seen["duration"].as_f64().unwrap() - seconds).abs() < 0.05, "{seen}");
        }
    }
    process.stop(STOPS_WITHIN);
}

/// Makes an export, and gives what is answered.
fn prepared(process: &Process, camera: &str, from: WallUs, to: WallUs) -> Value {
    let asked = json!({ "from": from.rfc3339(), "to": to.rfc3339() }).to_string();
    let answer = send(process, "POST", &format!("{}/exports", path_of(camera)), &asked);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("location"), format!("/api/v1/exports/{}", answer.json()["id"]));
    answer.json()
}

/// A client that asks for a file and has read the answer's first bytes.
fn taking(process: &Process, export: &Value) -> TcpStream {
    let host = process.url.trim_start_matches("http://");
    let mut client = TcpStream::connect(host).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = export["file_url"].as_str().unwrap();
    write!(client, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut first = [0; 64];
    client.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&first));
    client
}

/// Memory of a process now, in MiB: its own, for its share of what others map, too, grows when they end.
fn memory(process: &Process) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Copies of the segment at `?1`, one before the other.
const FILL: &str = "
    with recursive n (i) as (select 1 union all select i + 1 from n where i < ?2)
    insert into segment (camera_id, profile, path, start_us, end_us, frames, bytes, codec, width, height, source, state)
    select camera_id, profile,
           'old/' || strftime('%Y%m%d_%H%M%S.mp4', (start_us - i * (end_us - start_us)) / 1000000, 'unixepoch'),
           start_us - i * (end_us - start_us), start_us - (i - 1) * (end_us - start_us), frames, bytes, codec, width,
           height, source, state
      from segment, n where path = ?1";

/// An hour of this is some hundreds of megabytes: far more than what anybody may keep in memory.
const SHORT_KBIT: u32 = 900;

/// An hour of a camera `old`, made of one segment of so many kbit/s under many names; and when it is.
fn an_hour(dir: &Path, kbit: u32) -> (WallUs, WallUs) {
    let process = Process::start(dir);
    let main = Encoding { width: 1280, height: 720, kbit, ..Encoding::small(Source::Cars) };
    let camera = record(&process, CameraSpec { main, ..CameraSpec::new("old") }, 60);
    frames_more(&process, "old", 250);
    assert_eq!(ask(&process, "DELETE", &path_of("old"), &[], None).status, 204);
    let segment = closed_segments(&process, "old", 1).remove(0);
    process.stop(STOPS_WITHIN);
    drop(camera);
    let (start, end) = (time(&segment["start"]), time(&segment["end"]));
    let (path, length) = (segment["file"].as_str().unwrap(), end.0 - start.0);
    let count = 3_600_000_000 / length;
    for n in 1..=count {
        let name = start.plus_us(-n * length).utc().format("old/%Y%m%d_%H%M%S.mp4").to_string();
        fs::hard_link(dir.join("recordings").join(path), dir.join("recordings").join(name)).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(dir.join("data/watchkeeper.db"));
        let mut database = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(FILL).bind(path).bind(count).execute(&mut database).await.unwrap();
    });
    (start.plus_us(-count * length), end)
}

#[test]
fn an_hour_is_exported_with_flat_memory_and_nobody_can_hold_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = an_hour(dir.path(), SHORT_KBIT);
    let process = Process::start(dir.path());
    let yard = record(&process, CameraSpec::new("yard"), 4);

    // Clients that stop reading hold a bounded buffer, and their places for a bounded time.
    let before = memory(&process);
    let exports: Vec<Value> = (0..5).map(|_| prepared(&process, "old", from, to)).collect();
    let mut stuck: Vec<TcpStream> = exports[..4].iter().map(|export| taking(&process, export)).collect();
    let path = |export: &Value| format!("/api/v1/exports/{}", export["id"]);
    let file = |export: &Value| get(&process, export["file_url"].as_str().unwrap());
    let refused = file(&exports[4]);
    assert_eq!((refused.status, refused.error().0.as_str()), (429, "too_many"));
    assert!(!refused.header("retry-after").is_empty());
    let failed = |export: &Value, why: &str| {
        let seen = process.until(why, &path(export), |seen| seen["state"] == "failed");
        assert_eq!(seen["detail"], why);
    };
    // One goes away: its place is free at once, but not for a second client of the same export.
    drop(stuck.remove(0));
    failed(&exports[0], "the client went away");
    assert_eq!(file(&exports[1]).error().0, "export_running");
    // One is cancelled, and its client learns that the file is not whole.
    assert_eq!(ask(&process, "DELETE", &path(&exports[1]), &[], None).status, 204);
    assert_eq!(get(&process, &path(&exports[1])).error().0, "no_export");
    let mut rest = Vec::new();
    let _ = stuck.remove(0).read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20 && !rest.ends_with(b"0\r\n\r\n"), "{} bytes", rest.len());
    let held = memory(&process) - before;
    println!("{held:.1} MiB more with two stuck clients");
    assert!(held < 24.0);

    // Beside them one comes to the end, and nothing is kept in memory but a few bytes for each frame.
    let export = prepared(&process, "old", from, to);
    let (began, before) = (Instant::now(), memory(&process));
    let url = format!("{}{}", process.url, export["file_url"].as_str().unwrap());
    let mut body = ureq::get(url).call().unwrap().into_body().into_reader();
    let (mut hasher, mut bytes, mut held, mut block) =
        (blake3::Hasher::new(), 0, Vec::new(), vec![0; 1 << 20]);
    let mut first = None;
    loop {
        let read = body.read(&mut block).unwrap();
        first.get_or_insert_with(|| began.elapsed());
        if read == 0 {
            break;
        }
        hasher.update(&block[..read]);
        bytes += read as u64;
        if bytes / (40 << 20) > held.len() as u64 {
            held.push(memory(&process));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let peak = held.iter().copied().fold(0.0, f64::max);
    println!(
        "{bytes} bytes in {seconds:.1} s, {:.0} MB/s; the first after {:?}; memory {before:.1}, then {held:.1?} MiB",
        bytes as f64 / 1e6 / seconds,
        first.unwrap()
    );
    // The buffers at once, and from then on only what the index of 90,000 frames needs.
    assert!(held.len() >= 8 && peak - before < 24.0 && peak - held[0] < 6.0, "{before} {held:?}");
    // It is made while it is taken.
    assert!(first.unwrap().as_secs_f64() < (seconds / 3.0).max(1.0), "{first:?} of {seconds} s");
    let manifest = process.get(export["manifest_url"].as_str().unwrap());
    assert_eq!(manifest["file"]["blake3"], hasher.finalize().to_string());
    assert_eq!((&manifest["file"]["bytes"], &manifest["gaps"]), (&json!(bytes), &json!([])));
    assert!((manifest["file"]["duration_s"].as_f64().unwrap() - (to.0 - from.0) as f64 / 1e6).abs() < 0.001);

    // And that time is a minute.
    failed(&exports[2], "the client took nothing for a minute");
    failed(&exports[3], "the client took nothing for a minute");
    // What failed can be taken again, and two exports of the same are the same but for the time of making.
    drop(taking(&process, &exports[2]));
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &yard);
}

#[test]
fn the_command_line_leaves_a_whole_file_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = an_hour(dir.path(), SHORT_KBIT);
    let process = Process::start(dir.path());
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let left = || -> Vec<String> {
        let names =
            fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    };
    let (from_text, to_text) = (from.rfc3339(), to.rfc3339());
    let start = || {
        command(&out, process.url.trim_start_matches("http://"))
            .args(["export", "old", "--from", &from_text, "--to", &to_text, "-o", "clip.mp4"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    // Until some of the file has come.
    let grows = |child: &mut Child| {
        let (part, deadline) = (out.join("clip.mp4.part"), Instant::now() + PATIENCE);
        while fs::metadata(&part).map_or(0, |part| part.len()) < 10 << 20 {
            assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "{:?}", left());
            pause(5);
        }
    };
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = start();
        grows(&mut child);
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(left(), Vec::<String>::new());
        process.until("the export to end", "/api/v1/exports", |seen| seen["exports"][0]["state"] == "failed");
    }
    // The service is killed in the middle: nothing is left either.
    let mut child = start();
    grows(&mut child);
    process.kill();
    assert_eq!((child.wait().unwrap().code(), left()), (Some(1), Vec::new()));

    // Nothing is overwritten, and what is whole has its manifest. What is taken away below was there when the service looked.
    let process = Process::start_compared(dir.path());
    let to = from.plus_us(60_000_000);
    for name in ["there.mp4", "other.mp4.json"] {
        fs::write(dir.path().join(name), "x").unwrap();
        let args = [
            "export",
            "old",
            "--from",
            &from_text,
            "--to",
            &to.rfc3339(),
            "-o",
            name.trim_end_matches(".json"),
        ];
        let done = cli(dir.path(), &process.url, "", &args);
        assert_eq!(done.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&done.stderr).contains("is there already"));
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"x");
    }
    // A segment that is gone, one that is none and half of one are left out, and that is said; the rest plays on.
    let name =
        |at: WallUs| dir.path().join("recordings").join(at.utc().format("old/%Y%m%d_%H%M%S.mp4").to_string());
    let segments = process.get(&format!("{}/segments?limit=5", path_of("old")))["segments"].clone();
    fs::remove_file(name(time(&segments[1]["start"]))).unwrap();
    fs::remove_file(name(time(&segments[2]["start"]))).unwrap();
    fs::write(name(time(&segments[2]["start"])), "not a segment").unwrap();
    let half = name(time(&segments[3]["start"]));
    let whole = fs::read(&half).unwrap();
    fs::remove_file(&half).unwrap();
    fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let file = exported(dir.path(), &process, "old", from, time(&segments[4]["end"]), "holes.mp4");
    let manifest = manifest_of(&file);
    let left_out: Vec<bool> = manifest["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| segment["left_out"].is_string())
        .collect();
    assert_eq!(left_out, [false, true, true, true, false], "{manifest:#}");
    frames::decodes_clean(&file).unwrap();
    let seconds = (time(&segments[4]["end"]).0 - from.0) as f64 / 1e6;
    assert!((frames::probe(&file).unwrap().duration_s - seconds).abs() < 0.001);
    assert_eq!(process.get("/api/v1/exports")["exports"], json!([]), "the command line cleans up");
    process.stop(STOPS_WITHIN);
}

#[test]
fn bad_input_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let _camera = record(&process, CameraSpec::new("front"), 2);
    let segments = closed_segments(&process, "front", 2);
    let (from, to) = (segments[0]["start"].as_str().unwrap(), segments[1]["end"].as_str().unwrap());
    let day_later = time(&segments[0]["start"]).plus_us(86_400_000_001).rfc3339();
    let path = format!("{}/exports", path_of("front"));
    let nobody = format!("{}/exports", path_of("nobody"));
    let ours = |extra: &str| format!(r#"{{"from": "{from}", "to": "{to}"{extra}}}"#);
    let range = |from: &str, to: &str| format!(r#"{{"from": "{from}", "to": "{to}"}}"#);
    for (path, body, status, code, field) in [
        (&path, range(to, from), 400, "bad_field", "to"),
        (&path, range(from, from), 400, "bad_field", "to"),
        (&path, range(from, &day_later), 400, "bad_field", "to"),
        (&path, range("yesterday", to), 400, "bad_field", "from"),
        (&path, format!(r#"{{"from": "{from}"}}"#), 400, "bad_field", "to"),
        (&path, ours(r#", "format": "avi""#), 400, "bad_field", "format"),
        (&path, ours(r#", "fromat": "mp4""#), 400, "unknown_field", "fromat"),
        (&path, "[]".to_owned(), 400, "bad_json", ""),
        (&path, range("2001-01-01T00:00:00Z", "2001-01-01T01:00:00Z"), 404, "no_footage", ""),
        (&path, range("2101-01-01T00:00:00Z", "2101-01-01T01:00:00Z"), 404, "no_footage", ""),
        (&nobody, ours(""), 404, "no_camera", ""),
    ] {
        let answer = send(&process, "POST", path, &body);
        let error = answer.error();
        assert_eq!(
            (answer.status, error.0.as_str(), error.1.as_str()),
            (status, code, field),
            "{body}: {}",
            answer.text()
        );
    }
    for (id, status, code) in
        [("1", 404, "no_export"), ("x", 400, "bad_id"), ("-1", 400, "bad_id"), ("4294967296", 400, "bad_id")]
    {
        for end in ["", "/file", "/manifest"] {
            let answer = get(&process, &format!("/api/v1/exports/{id}{end}"));
            assert_eq!((answer.status, answer.error().0.as_str()), (status, code), "{id}{end}");
        }
    }
    assert_eq!(process.get("/api/v1/exports")["exports"], json!([]));
    // So many are known at once; a HEAD takes none.
    for n in 0..33 {
        let answer = send(&process, "POST", &path, &ours(r#", "format": "mp4""#));
        assert_eq!(answer.status, if n < 32 { 201 } else { 429 }, "{n}: {}", answer.text());
    }
    let url = process.get("/api/v1/exports")["exports"][0]["file_url"].as_str().unwrap().to_owned();
    let head = ask(&process, "HEAD", &url, &[], None);
    assert_eq!((head.status, head.header("content-type")), (200, "video/mp4"));
    assert!(
        process.get("/api/v1/exports")["exports"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["state"] == "ready")
    );
    process.stop(STOPS_WITHIN);
}

#[test]
fn a_growing_segment_is_exported_as_far_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = record(&process, CameraSpec::new("front"), 60);
    frames_more(&process, "front", 75);
    let now = WallUs::now();
    let export = prepared(&process, "front", now.plus_us(-60_000_000), now.plus_us(3_600_000_000));
    // What comes after the export was asked for is not in it.
    frames_more(&process, "front", 50);
    let file = dir.path().join("clip.mp4");
    fs::write(&file, get(&process, export["file_url"].as_str().unwrap()).body).unwrap();
    frames::decodes_clean(&file).unwrap();
    let numbers: Vec<u64> =
        frames::pictures_in(&file).unwrap().into_iter().map(|(number, _)| number).collect();
    let (start, end) = (time(&export["start"]), time(&export["end"]));
    assert!(end < now.plus_us(1_000_000) && numbers.is_sorted() && numbers.len() > 25);
    let seconds = (end.0 - start.0) as f64 / 1e6;
    let (shown, wanted) = (frames::probe(&file).unwrap().duration_s, numbers.len() as f64 / 25.0);
    assert!((shown - seconds).abs() < 0.001 && (shown - wanted).abs() < 0.05, "{shown} {seconds} {wanted}");
    let manifest = process.get(export["manifest_url"].as_str().unwrap());
    assert_eq!(
        (&manifest["segments"][0]["state"], &manifest["segments"][0]["blake3"]),
        (&json!("open"), &Value::Null)
    );
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &camera);
}

#[test]
#[ignore = "a measurement: scripts/export-speed"]
fn export_beside_cp() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = an_hour(dir.path(), 4000);
    let copies = dir.path().join("copies");
    fs::create_dir(&copies).unwrap();
    // Every name a file of its own, so that both read as much as there is.
    let files = recordings(dir.path(), "old");
    let of = files.last().unwrap();
    for file in &files[..files.len() - 1] {
        fs::remove_file(file).unwrap();
        fs::copy(of, file).unwrap();
    }
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let process = Process::start(dir.path());
    let timed = |what: &str, round: u32, work: &dyn Fn()| {
        assert!(Command::new("sync").status().unwrap().success());
        // As root: nothing of it is in memory any more. Otherwise both read from memory.
        let dropped = fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
        let began = Instant::now();
        work();
        let rate = bytes as f64 / 1e6 / began.elapsed().as_secs_f64();
        println!(
            "{what} {round}: {rate:.0} MB/s of {} MB, {}",
            bytes / 1_000_000,
            if dropped { "cold" } else { "warm" }
        );
    };
    for round in 1..=3 {
        timed("cp and sync", round, &|| {
            assert!(Command::new("cp").args(&files).arg(&copies).status().unwrap().success());
            assert!(Command::new("sync").arg("-f").arg(&copies).status().unwrap().success());
        });
        fs::remove_dir_all(&copies).unwrap();
        fs::create_dir(&copies).unwrap();
        timed("watchkeeper export", round, &|| {
            let (from, to) = (from.rfc3339(), to.rfc3339());
            let done = cli(
                dir.path(),
                &process.url,
                "",
                &["export", "old", "--from", &from, "--to", &to, "-o", "hour.mp4"],
            );
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        });
        fs::remove_file(dir.path().join("hour.mp4")).unwrap();
        fs::remove_file(dir.path().join("hour.mp4.json")).unwrap();
    }
    process.stop(STOPS_WITHIN);
}
