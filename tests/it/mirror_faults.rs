//! What befalls a volume while four cameras are recorded. The mirror's failures cost the primary no frame, hold up no stop
//! and no end of the service, and are over when the mirror is back; while the primary fails, recording goes on on the
//! mirror.
//!
//! Needs root and loop devices: without, a test says so and is skipped. `MIRROR_SECS` says how long each fault of the mirror
//! lasts at least; `scripts/mirror-trial` lets them last longer than it takes to see them.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    outside::{STOPS_WITHIN, events, frames_more, path_of, recordings, send},
    process::{Process, pause},
    rig::plays_alone,
    volumes::{
        Disk, Shim, all_whole_are, cameras, complete, hold, memory_mib, same_files, segments, start,
        until_equal, until_mirror, until_well, within,
    },
    wait::PATIENCE,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// That the mirror is not well is seen within this.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// A camera stops within this.
const CAMERA_STOPS_WITHIN: Duration = Duration::from_secs(5);
/// After a fault of the mirror it has everything within this. What ended in the last 10 s is not copied yet.
const HEALS_WITHIN: Duration = PATIENCE;
/// And the process has grown by no more than so many MiB.
const GROWS_BY_MIB: u64 = 200;

/// A fault of the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Deleted,
    ReadOnly,
    Full,
    Slow,
    Frozen,
    Unmounted,
}

const FAULTS: [Fault; 6] =
    [Fault::Deleted, Fault::ReadOnly, Fault::Full, Fault::Slow, Fault::Unmounted, Fault::Frozen];

/// Takes all the room there is below `dir`, and more when some comes.
pub(crate) fn fill(dir: &Path) {
    let mut file = fs::File::options().create(true).append(true).open(dir.join("filler")).unwrap();
    for bytes in [1 << 20, 4096, 512] {
        let block = vec![0; bytes];
        while file.write_all(&block).is_ok() {}
    }
}

/// All that is in it, whoever goes on writing there.
pub(crate) fn delete_all(dir: &Path) {
    let done = || fs::read_dir(dir).is_ok_and(|entries| entries.count() == 0);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        if done() {
            return;
        }
        assert!(Instant::now() < deadline);
    }
}

/// Stops one camera, and how long it took until its last segment was closed.
fn stop_camera(process: &Process, camera: &str) -> Duration {
    let began = Instant::now();
    let answer = send(process, "PATCH", &path_of(camera), &json!({ "record_enabled": false }).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let look = || {
        let status = process.get(&path_of(camera))["status"].take();
        let open = segments(process, camera).into_iter().filter(|segment| segment["state"] == "open").count();
        if status["state"] == "disabled" && open == 0 {
            Ok(())
        } else {
            Err(format!("{open} open, {status:#}"))
        }
    };
    within(process, "stop of a camera", CAMERA_STOPS_WITHIN, look);
    began.elapsed()
}

fn start_camera(process: &Process, camera: &str) {
    let answer = send(process, "PATCH", &path_of(camera), &json!({ "record_enabled": true }).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    process.until("the camera to record", &path_of(camera), |seen| seen["status"]["state"] == "recording");
}

/// How many events of these kinds there are.
fn told(process: &Process, kinds: &[&str]) -> usize {
    events(process).iter().filter(|event| kinds.contains(&event["kind"].as_str().unwrap())).count()
}

struct Scene {
    mirror: Disk,
    shim: Shim,
    /// So long each fault lasts at least, and all is waited for before the next.
    asked: Option<Duration>,
}

impl Scene {
    fn make(dir: &Path) -> Option<Self> {
        let mirror = Disk::make(dir, "mirror", 512)?;
        let shim = Shim::make(dir, &mirror.at);
        let asked = std::env::var("MIRROR_SECS").ok().map(|text| Duration::from_secs(text.parse().unwrap()));
        Some(Self { mirror, shim, asked })
    }

    fn at(&self) -> &Path {
        &self.mirror.at
    }

    /// Brings the fault about, lets `during` happen, and ends it.
    fn befall<T>(&self, fault: Fault, during: impl FnOnce() -> T) -> T {
        match fault {
            Fault::Deleted => {
                delete_all(self.at());
                during()
            }
            Fault::ReadOnly => {
                self.mirror.abort();
                let seen = during();
                self.mirror.mount_again();
                seen
            }
            Fault::Full => {
                fill(self.at());
                let seen = during();
                fs::remove_file(self.at().join("filler")).unwrap();
                seen
            }
            Fault::Slow => {
                self.shim.say("slow 700");
                let seen = during();
                self.shim.end();
                seen
            }
            Fault::Unmounted => {
                self.mirror.unmount_lazily();
                let seen = during();
                let below: Vec<_> = fs::read_dir(self.at()).unwrap().collect();
                assert!(below.is_empty(), "written to where the mirror is not mounted: {below:?}");
                self.mirror.mount();
                seen
            }
            Fault::Frozen => {
                let _frozen = self.mirror.freeze();
                during()
            }
        }
    }
}

/// Words that say that the mirror is not well.
const UNWELL: [&str; 2] = ["degraded", "behind"];

#[test]
fn no_fault_of_the_mirror_costs_the_primary_a_frame_and_each_is_mended_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let Some(scene) = Scene::make(dir.path()) else { return };
    let process = start(dir.path(), &scene.shim.variables());
    let sims = cameras(&process);
    hold(&process, &NAMES);
    frames_more(&process, "a", 50);
    let (before, _) = memory_mib(&process);
    for fault in FAULTS {
        let before_it = told(&process, &["mirror_degraded", "mirror_behind"]);
        let began = Instant::now();
        let (seen, stopped) = scene.befall(fault, || {
            let seen = if fault == Fault::Deleted {
                // It is made again at once; that it was gone is all that there is to see.
                Duration::ZERO
            } else {
                until_mirror(&process, &UNWELL, TOLD_WITHIN)
            };
            let stopped = stop_camera(&process, "d");
            start_camera(&process, "d");
            while scene.asked.is_some_and(|lasts| began.elapsed() < lasts) {
                frames_more(&process, "a", 25);
            }
            if fault == Fault::Frozen {
                until_mirror(&process, &["degraded"], TOLD_WITHIN);
            }
            (seen, stopped)
        });
        let mended = Instant::now();
        if scene.asked.is_some() {
            until_equal(&process, dir.path(), &NAMES, HEALS_WITHIN);
        } else {
            until_well(&process, &NAMES, HEALS_WITHIN);
        }
        let said = within(&process, "event", TOLD_WITHIN, || {
            let now = told(&process, &["mirror_degraded", "mirror_behind"]);
            if now > before_it { Ok(now - before_it) } else { Err(now.to_string()) }
        });
        println!(
            "{fault:?}: seen after {seen:.1?}, a camera stopped in {stopped:.1?}, well {:.1?} after it, {} events, \
             {:?} MiB now and at most (before: {before})",
            mended.elapsed(),
            said.0,
            memory_mib(&process),
        );
    }
    let took = until_equal(&process, dir.path(), &NAMES, HEALS_WITHIN);
    until_mirror(&process, &["ok"], HEALS_WITHIN);
    println!("equal after {took:.1?}");
    let (_, most) = memory_mib(&process);
    assert!(most <= before + GROWS_BY_MIB, "{before} MiB became {most} MiB");
    for sim in &sims[..3] {
        let status = process.get(&path_of(sim.name()))["status"].take();
        assert_eq!((&status["state"], &status["reconnects"]), (&json!("recording"), &json!(0)), "{status:#}");
    }
    process.stop(STOPS_WITHIN);
    all_whole_are(dir.path());
    same_files(dir.path(), &NAMES);
    for sim in &sims[..2] {
        complete(dir.path(), "recordings", sim);
    }
}

/// SIGTERM, and how long it takes until the port is closed and another service may have the data.
fn lets_go(process: &Process, dir: &Path) -> Duration {
    let (began, listen) = (Instant::now(), process.url.trim_start_matches("http://").to_owned());
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let held = || fs::File::open(dir.join("data/lock")).unwrap().try_lock().is_err();
    while TcpStream::connect(&listen).is_ok() || held() {
        assert!(began.elapsed() < STOPS_WITHIN, "it does not let go\n{}", process.log());
        pause(20);
    }
    began.elapsed()
}

#[test]
fn no_fault_of_the_mirror_holds_up_the_end_of_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let Some(scene) = Scene::make(dir.path()) else { return };
    let mut process = start(dir.path(), &scene.shim.variables());
    let sims = cameras(&process);
    for fault in FAULTS.into_iter().filter(|fault| *fault != Fault::Deleted) {
        process.until_recording();
        frames_more(&process, "a", 30);
        process = scene.befall(fault, || {
            until_mirror(&process, &UNWELL, TOLD_WITHIN);
            let began = Instant::now();
            if fault == Fault::Frozen {
                let closed = lets_go(&process, dir.path());
                // The kernel keeps the thread that hangs, and with it the process, but nobody needs to wait for that.
                let next = start(dir.path(), &scene.shim.variables());
                next.until_recording();
                println!(
                    "{fault:?}: closed in {closed:.1?}; recorded again {:.1?} after the order",
                    began.elapsed()
                );
                frames_more(&next, "a", 50);
                // The old one can end only when the disk lets go.
                std::thread::scope(|scope| {
                    let thawed = scope.spawn(|| {
                        pause(500);
                        Command::new("fsfreeze").arg("-u").arg(scene.at()).output()
                    });
                    drop(process);
                    thawed.join().unwrap().unwrap();
                });
                return next;
            }
            process.stop(STOPS_WITHIN);
            println!("{fault:?}: stopped in {:.1?}", began.elapsed());
            start(dir.path(), &scene.shim.variables())
        });
    }
    process.until_recording();
    until_equal(&process, dir.path(), &NAMES, HEALS_WITHIN);
    process.stop(STOPS_WITHIN);
    all_whole_are(dir.path());
    for sim in &sims {
        plays_alone(&recordings(dir.path(), sim.name())[..3]);
    }
}
