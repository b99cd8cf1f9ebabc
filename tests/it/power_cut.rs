//! The power goes at random moments: at most two seconds of video are lost, no row that anybody was shown, and the next
//! start needs no hands.
//!
//! Recordings and database are on an ext4 of their own, which the shutdown ioctl cuts off in the middle of whatever it
//! does, without writing its log. `POWER_CUTS` says how often [2]; `scripts/power-cut` runs 20 and prints the figures.
//! Needs root, loop devices and a kernel with that ioctl: without, the short form says so and is skipped.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use watchkeeper::base::WallUs;

use crate::{
    outside::{STOPS_WITHIN, path_of, record},
    process::{Process, command, pause},
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        footage::{Encoding, Source},
        frames, proof,
    },
};

const FPS: f64 = 25.0;
/// Of video, for each camera.
const LOST_AT_MOST: f64 = 2.0;
/// `_IOR('X', 125, u32)` with 2: no more writes, and the log is not written either. Python, because Rust's standard
/// library has no ioctl.
const CUT: &str = "import fcntl, os, struct, sys, time\n\
                   at = os.open(sys.argv[1], os.O_RDONLY)\n\
                   print(time.time_ns() // 1000)\n\
                   fcntl.ioctl(at, 0x8004587d, struct.pack('I', 2))";

/// An ext4 in a file.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn make(dir: &Path) -> Result<Self, String> {
        let disk = Self { image: dir.join("image"), at: dir.join("disk") };
        fs::create_dir(&disk.at).unwrap();
        fs::File::create(&disk.image).unwrap().set_len(1 << 30).unwrap();
        does(Command::new("mkfs.ext4").arg("-q").arg(&disk.image))?;
        disk.mount()?;
        // Tried out before anything depends on it.
        disk.cut().and_then(|_| disk.unmount()).and_then(|()| disk.mount())?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        does(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at)).map(drop)
    }

    fn unmount(&self) -> Result<(), String> {
        does(Command::new("umount").arg(&self.at)).map(drop)
    }

    /// When that was, in microseconds since 1970.
    fn cut(&self) -> Result<u64, String> {
        let said = does(Command::new("python3").args(["-c", CUT]).arg(&self.at))?;
        said.trim().parse().map_err(|error| format!("{said}: {error}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

/// What it says on its standard output.
fn does(command: &mut Command) -> Result<String, String> {
    let done = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = || format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    if done.status.success() { Ok(String::from_utf8_lossy(&done.stdout).into()) } else { Err(said()) }
}

/// What the API has shown.
#[derive(Default)]
struct Shown {
    /// By its URL.
    segments: BTreeMap<String, Value>,
    events: BTreeMap<i64, Value>,
}

impl Shown {
    fn look(&mut self, process: &Process, cameras: &[SimCamera]) {
        for camera in cameras {
            let mut page = process.get(&format!("{}/segments?limit=1000", path_of(camera.name())));
            let Value::Array(segments) = page["segments"].take() else { panic!("{page}") };
            for segment in segments {
                self.segments.insert(segment["url"].as_str().unwrap().to_owned(), segment);
            }
        }
        let mut log = process.get("/api/v1/events?limit=100");
        let Value::Array(events) = log["events"].take() else { panic!("{log}") };
        self.events.extend(events.into_iter().map(|event| (event["id"].as_i64().unwrap(), event)));
    }
}

/// Numbers of the frames that the index says are on disk in segments begun since `since`, and how many files are torn.
fn frames_of(process: &Process, dir: &Path, camera: &str, since: &str) -> (Vec<u64>, usize) {
    let page = process.get(&format!("{}/segments?limit=1000&from={since}", path_of(camera)));
    let (mut numbers, mut torn) = (Vec::new(), 0);
    for segment in page["segments"].as_array().unwrap() {
        if segment["state"] != "closed" || segment["start"].as_str().unwrap() < since {
            continue;
        }
        let bytes = fs::read(dir.join("recordings").join(segment["file"].as_str().unwrap())).unwrap();
        let whole = segment["bytes"].as_u64().unwrap() as usize;
        torn += usize::from(bytes.len() > whole);
        let copy = tempfile::NamedTempFile::new().unwrap();
        fs::write(copy.path(), &bytes[..whole]).unwrap();
        let frames = frames::frames_in(copy.path()).unwrap().into_iter();
        let of_file: Vec<u64> = frames.map(|frame| frame.number).collect();
        proof::prove_contiguous(&of_file).unwrap_or_else(|wrong| panic!("{camera}: {wrong} in {segment:#}"));
        assert!(numbers.last().is_none_or(|last| *last < of_file[0]), "{camera} goes back in {segment:#}");
        numbers.extend(of_file);
    }
    (numbers, torn)
}

#[test]
fn a_power_cut_costs_two_seconds_of_video_and_no_row_that_was_shown() {
    let asked = env::var("POWER_CUTS").ok();
    let cuts: usize = asked.as_ref().map_or(2, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let disk = match Disk::make(dir.path()) {
        Ok(disk) => disk,
        Err(why) => {
            assert!(asked.is_none(), "no power can be cut here: {why}");
            // Not through the macro, whose text a passing test keeps to itself.
            writeln!(std::io::stderr(), "SKIPPED: no power can be cut here: {why}").unwrap();
            return;
        }
    };
    let at = disk.at.as_path();
    let mut since = WallUs::now().rfc3339();
    let mut process = Process::start(at);
    let cameras: Vec<SimCamera> = [("gop1", 25), ("gop2", 50), ("gop4", 100)]
        .into_iter()
        .map(|(name, gop_frames)| {
            let main = Encoding { gop_frames, ..Encoding::small(Source::Cars) };
            record(&process, CameraSpec { main, ..CameraSpec::new(name) }, 5)
        })
        .collect();
    let (mut lost, mut rows, mut events, mut torn) = (Vec::new(), 0, 0, 0);
    for cut in 0..cuts {
        process.until_recording();
        let (mut shown, end) =
            (Shown::default(), Instant::now() + Duration::from_millis(rand::random_range(7_000..14_000)));
        while Instant::now() < end {
            shown.look(&process, &cameras);
            pause(100);
        }
        let cut_us = disk.cut().unwrap();
        let last_before = |camera: &SimCamera| {
            let sent = camera.sent(Channel::Main);
            sent.iter().rev().find(|frame| frame.capture_us <= cut_us).unwrap().number
        };
        let sent: Vec<u64> = cameras.iter().map(last_before).collect();
        process.kill();
        disk.unmount().unwrap();
        disk.mount().unwrap();

        let run = std::mem::replace(&mut since, WallUs::now().rfc3339());
        process = Process::start(at);
        process.until_recording();
        for (url, before) in &shown.segments {
            let after = process.get(url.trim_end_matches(".mp4"));
            let what = format!("cut {cut}: shown was {before:#}, and is {after:#}");
            assert!(after["bytes"].as_u64() >= before["bytes"].as_u64(), "{what}");
            assert_eq!((&after["file"], &after["start"]), (&before["file"], &before["start"]), "{what}");
            if before["state"] == "closed" {
                assert_eq!(after, *before, "cut {cut}");
            } else {
                assert_eq!(after["state"], "closed", "{what}");
            }
        }
        let mut again = Shown::default();
        again.look(&process, &cameras);
        for (id, event) in &shown.events {
            assert_eq!(again.events.get(id), Some(event), "cut {cut}: an event is gone");
        }
        (rows, events) = (rows + shown.segments.len(), events + shown.events.len());
        for (camera, last_sent) in cameras.iter().zip(sent) {
            let (numbers, n) = frames_of(&process, at, camera.name(), &run);
            // The end of a segment, and of the one before it if that was just closed.
            let kept = numbers.iter().filter(|number| **number <= last_sent).count() as u64;
            lost.push((last_sent + 1 - numbers[0] - kept) as f64 / FPS);
            torn += n;
        }
        let listen = process.url.trim_start_matches("http://").to_owned();
        let checked = command(at, &listen).args(["check", "--deep"]).output().unwrap();
        assert!(checked.status.success(), "cut {cut}: {}", String::from_utf8_lossy(&checked.stdout));
    }
    process.stop(STOPS_WITHIN);
    let checked = command(at, "127.0.0.1:1").args(["check", "--deep"]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    lost.sort_by(f64::total_cmp);
    let most = lost[lost.len() - 1];
    println!(
        "{cuts} cuts, {} cameras: seconds of video lost: median {:.2}, most {most:.2}; torn files {torn}; \
         rows shown before and there after {rows}, events {events}",
        cameras.len(),
        lost[lost.len() / 2],
    );
    assert!(most <= LOST_AT_MOST, "{lost:?}");
}
