//! Two volumes, and what can befall them: disks that a test makes, freezes, breaks and takes away, a system that is slow or
//! fails one sync, and a comparison that asks nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use watchkeeper::base::WallUs;

use crate::{
    outside::path_of,
    process::{Process, pause},
    recovery::Database,
    rig,
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        footage::{Encoding, Source},
        frames, proof,
    },
    wait::PATIENCE,
};

/// Segments of 2 s of each camera here.
pub(crate) const SEGMENT_SECONDS: u32 = 2;
/// And more than the frames of one.
const FRAMES_OF_A_SEGMENT: u64 = 75;

fn does(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = || format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    if done.status.success() { Ok(()) } else { Err(said()) }
}

/// An ext4 on a loop device of its own.
pub(crate) struct Disk {
    device: String,
    pub(crate) at: PathBuf,
}

impl Disk {
    /// `None`, with the reason said, where none can be made.
    pub(crate) fn make(dir: &Path, name: &str, mib: u64) -> Option<Self> {
        match Self::try_make(dir, name, mib) {
            Ok(disk) => Some(disk),
            Err(why) => {
                // Not through the macro, whose text a passing test keeps to itself.
                writeln!(std::io::stderr(), "SKIPPED: no file system can be made here: {why}").unwrap();
                None
            }
        }
    }

    fn try_make(dir: &Path, name: &str, mib: u64) -> Result<Self, String> {
        let (image, at) = (dir.join(format!("{name}.image")), dir.join(name));
        fs::create_dir(&at).unwrap();
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        does(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&image).output();
        let made = made.map_err(|error| error.to_string())?;
        let device = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        if !made.status.success() || device.is_empty() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        let disk = Self { device, at };
        does(Command::new("mount").arg(&disk.device).arg(&disk.at))?;
        Ok(disk)
    }

    /// Always the same device: who still has files open on it sees the same file system.
    pub(crate) fn mount(&self) {
        does(Command::new("mount").arg(&self.device).arg(&self.at)).unwrap();
    }

    /// As an unplugged disk looks to everybody who does not have it open.
    pub(crate) fn unmount_lazily(&self) {
        does(Command::new("umount").arg("-l").arg(&self.at)).unwrap();
    }

    /// Everything waits that writes to it, until what is given is dropped.
    pub(crate) fn freeze(&self) -> Frozen {
        does(Command::new("fsfreeze").arg("-f").arg(&self.at)).unwrap();
        Frozen(self.at.clone())
    }

    /// As after an error of the disk: it is read-only and stays so until it is mounted again.
    pub(crate) fn abort(&self) {
        does(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.at)).unwrap();
    }

    /// Nothing is on it any more.
    pub(crate) fn format(&self) {
        does(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&self.device)).unwrap();
    }

    /// What the operator does about that.
    pub(crate) fn mount_again(&self) {
        self.unmount_lazily();
        let deadline = Instant::now() + PATIENCE;
        // As long as somebody has a file of the old one open, the new one is the old one.
        loop {
            let _ = Command::new("e2fsck").arg("-fp").arg(&self.device).output();
            self.mount();
            if fs::write(self.at.join(".tried"), "x").is_ok() {
                fs::remove_file(self.at.join(".tried")).unwrap();
                return;
            }
            self.unmount_lazily();
            assert!(Instant::now() < deadline, "somebody keeps the broken file system");
            pause(200);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for command in [
            Command::new("fsfreeze").arg("-u").arg(&self.at),
            Command::new("umount").arg("-l").arg(&self.at),
            Command::new("losetup").arg("-d").arg(&self.device),
        ] {
            let _ = command.output();
        }
    }
}

/// Thaws when dropped. To be made after the process whose threads it holds, so that a test that fails can end that.
pub(crate) struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).output();
    }
}

/// What the system does to writes below a directory of a process that is started with [`Shim::variables`].
pub(crate) struct Shim {
    library: PathBuf,
    below: PathBuf,
    says: PathBuf,
}

impl Shim {
    pub(crate) fn make(dir: &Path, below: &Path) -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fault_shim.c");
        let library = dir.join("fault_shim.so");
        let mut built = Command::new("cc");
        does(built.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl")).unwrap();
        Self { library, below: below.to_owned(), says: dir.join("fault") }
    }

    pub(crate) fn variables(&self) -> [(&'static str, &Path); 3] {
        [("LD_PRELOAD", &self.library), ("FAULT_BELOW", &self.below), ("FAULT_FILE", &self.says)]
    }

    /// `slow MS` or `fail`.
    pub(crate) fn say(&self, what: &str) {
        let part = self.says.with_extension("part");
        fs::write(&part, what).unwrap();
        fs::rename(part, &self.says).unwrap();
    }

    /// Whether nothing is to befall anything any more, because it has.
    pub(crate) fn is_over(&self) -> bool {
        !self.says.exists()
    }

    pub(crate) fn end(&self) {
        fs::remove_file(&self.says).unwrap();
    }
}

/// Starts the program with a mirror at `dir/mirror`.
pub(crate) fn start(dir: &Path, more: &[(&str, &Path)]) -> Process {
    let mirror = dir.join("mirror");
    let mut variables: Vec<(&str, &Path)> = vec![("WATCHKEEPER_MIRROR_DIR", &mirror)];
    variables.extend(more);
    Process::start_with(dir, &variables)
}

/// Four cameras, `a` with much more in its picture than the others.
pub(crate) fn cameras(process: &Process) -> Vec<SimCamera> {
    let cameras: Vec<SimCamera> = [("a", 4_000), ("b", 500), ("c", 500), ("d", 500)]
        .into_iter()
        .map(|(name, kbit)| {
            let main = Encoding { kbit, ..Encoding::small(Source::Cars) };
            SimCamera::start(CameraSpec { main, ..CameraSpec::new(name) }).unwrap()
        })
        .collect();
    for camera in &cameras {
        let url = camera.url(Channel::Main);
        let given = serde_json::json!({
            "id": camera.name(), "main_url": url, "segment_seconds": SEGMENT_SECONDS,
        });
        process.post("/api/v1/cameras", &given);
    }
    process.until_recording();
    cameras
}

/// Holds everything of these cameras, so that nothing makes room.
pub(crate) fn hold(process: &Process, names: &[&str]) {
    let at = |seconds: i64| WallUs::now().plus_us(seconds * 1_000_000).rfc3339();
    for name in names {
        let body = serde_json::json!({ "from": at(-3_600), "to": at(86_400), "reason": "evidence" });
        process.post(&format!("{}/holds", path_of(name)), &body);
    }
}

pub(crate) fn segments(process: &Process, camera: &str) -> Vec<Value> {
    let mut page = process.get(&format!("{}/segments?limit=1000", path_of(camera)));
    let Value::Array(segments) = page["segments"].take() else { panic!("{page}") };
    segments
}

pub(crate) fn copies(segment: &Value) -> (&str, &str) {
    let of = |place: &str| segment["copies"][place].as_str().unwrap();
    (of("primary"), of("mirror"))
}

/// Waits at most so long until `is` gives something, and says how long that was.
#[track_caller]
pub(crate) fn within<T>(
    process: &Process,
    what: &str,
    most: Duration,
    mut is: impl FnMut() -> Result<T, String>,
) -> (T, Duration) {
    let began = Instant::now();
    loop {
        match is() {
            Ok(value) => return (value, began.elapsed()),
            Err(seen) => {
                assert!(
                    began.elapsed() < most,
                    "no {what} within {most:?}; last saw {seen}\n{}",
                    process.log()
                );
            }
        }
        pause(50);
    }
}

/// Waits until the mirror is in one of these states.
#[track_caller]
pub(crate) fn until_mirror(process: &Process, states: &[&str], most: Duration) -> Duration {
    let look = || {
        let seen = process.get("/api/v1/system")["mirror"].take();
        if states.contains(&seen["state"].as_str().unwrap()) { Ok(()) } else { Err(format!("{seen:#}")) }
    };
    within(process, &format!("mirror that is {states:?}"), most, look).1
}

/// Waits until both volumes take what comes, and each camera has begun a segment since: what is begun from now on is written
/// to both, and what was begun before is to be copied.
#[track_caller]
pub(crate) fn until_well(process: &Process, names: &[&str], most: Duration) {
    within(process, "volumes that are well", most, || {
        let seen = process.get("/api/v1/system");
        let word = |volume: &str| seen[volume]["state"].as_str().unwrap().to_owned();
        let well = word("volume") == "ok" && ["ok", "resyncing"].contains(&&*word("mirror"));
        if well { Ok(()) } else { Err(format!("{seen:#}")) }
    });
    let frames = |name: &str| process.get(&path_of(name))["status"]["frames"].as_u64().unwrap();
    let goals: Vec<u64> = names.iter().map(|name| frames(name) + FRAMES_OF_A_SEGMENT).collect();
    within(process, "more frames of each", most, || {
        let late = names.iter().zip(&goals).filter(|(name, goal)| frames(name) < **goal).count();
        if late == 0 { Ok(()) } else { Err(format!("{late} are late")) }
    });
}

/// Waits until both volumes have all of every segment that is closed by now, and compares their files.
#[track_caller]
pub(crate) fn until_equal(process: &Process, dir: &Path, names: &[&str], most: Duration) -> Duration {
    let began = Instant::now();
    until_well(process, names, most);
    let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
    for name in names {
        let newest = segments(process, name).last().map(|last| last["id"].as_i64().unwrap());
        wanted.insert((*name).to_owned(), newest.unwrap_or(0));
    }
    let look = || {
        let mut due = Vec::new();
        for (name, newest) in &wanted {
            let of_camera = segments(process, name).into_iter();
            due.extend(
                of_camera
                    .filter(|segment| segment["id"].as_i64().unwrap() <= *newest)
                    // What somebody deletes is seen when the service looks at the volume next, and so is still called whole now.
                    .filter(|segment| {
                        let path = segment["file"].as_str().unwrap();
                        let there =
                            ["recordings", "mirror"].map(|volume| dir.join(volume).join(path).exists());
                        copies(segment) != ("whole", "whole") || there != [true, true]
                    })
                    .map(|segment| format!("{} {} {}", segment["file"], segment["state"], segment["copies"])),
            );
        }
        if due.is_empty() { Ok(()) } else { Err(format!("{due:#?}")) }
    };
    within(process, "equal volumes", most, look);
    assert!(all_whole_are(dir) > 0);
    began.elapsed()
}

/// What the index calls whole has the hash of its row, computed here, and is the same on both volumes. How many files that
/// are.
#[track_caller]
pub(crate) fn all_whole_are(dir: &Path) -> usize {
    let mut looked = 0;
    for (path, on_primary, on_mirror, hash) in Database::open(dir).all_copies() {
        let (mut found, right) =
            (Vec::new(), hash.map(|hash| hash.iter().map(|b| format!("{b:02x}")).collect::<String>()));
        for (state, volume) in [(on_primary, "recordings"), (on_mirror, "mirror")] {
            if state != "whole" {
                continue;
            }
            let file = dir.join(volume).join(&path);
            let bytes =
                fs::read(&file).unwrap_or_else(|error| panic!("{} is called whole: {error}", file.display()));
            found.push(blake3::hash(&bytes).to_hex().to_string());
            looked += 1;
        }
        let all: BTreeSet<&String> = found.iter().chain(&right).collect();
        assert!(all.len() <= 1, "{path} is called whole: row {right:?}, files {found:?}");
    }
    looked
}

/// After a stop: both volumes have the same files, the same bytes in each.
#[track_caller]
pub(crate) fn same_files(dir: &Path, names: &[&str]) {
    for name in names {
        let of = |volume: &str| -> BTreeMap<String, Vec<u8>> {
            let files = rig::files(&dir.join(volume).join(name));
            let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
            files.iter().map(|file| (name(file), fs::read(file).unwrap())).collect()
        };
        let (primary, mirror) = (of("recordings"), of("mirror"));
        let (on_primary, on_mirror): (BTreeSet<_>, BTreeSet<_>) =
            (primary.keys().collect(), mirror.keys().collect());
        let differ: Vec<_> = on_primary.symmetric_difference(&on_mirror).collect();
        assert!(differ.is_empty(), "{name}: only on one volume: {differ:?}");
        assert!(!primary.is_empty());
        for (file, bytes) in &primary {
            assert!(
                *bytes == mirror[file],
                "{name}/{file}: {} and {} bytes",
                bytes.len(),
                mirror[file].len()
            );
        }
    }
}

/// As [`rig::prove`], of the files on one of the volumes, without playing each of them.
#[track_caller]
pub(crate) fn complete(dir: &Path, volume: &str, sim: &SimCamera) {
    let files = rig::files(&dir.join(volume).join(sim.name()));
    let recorded: Vec<u64> =
        frames::frames_in_all(&files).unwrap().into_iter().map(|frame| frame.number).collect();
    let sent: Vec<u64> = sim.sent(Channel::Main).iter().map(|sent| sent.number).collect();
    let proved = proof::prove_sent(&sent, &recorded);
    proved.unwrap_or_else(|wrong| panic!("{} on the {volume}: {wrong}", sim.name()));
}

/// Resident and most ever resident memory in MiB.
pub(crate) fn memory_mib(process: &Process) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let of = |word: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(word)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}
