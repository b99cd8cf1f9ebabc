//! Each text below `pipelines/` runs under gst-launch-1.0 as it stands, through `scripts/launch`, against a camera.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{
    process::pause,
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        frames,
    },
};

/// The camera that the texts name.
const CAMERA: &str = "rtsp://127.0.0.1:8554/";
const ENDS_WITHIN: Duration = crate::wait::PATIENCE;

/// A text that runs in a directory of its own. Dropping it kills it.
struct Run {
    child: Child,
    dir: tempfile::TempDir,
}

impl Run {
    /// Runs the text of this name against `camera`: only the port in it is another one.
    fn start(name: &str, camera: &SimCamera) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(root.join("pipelines").join(name)).unwrap();
        assert_eq!(text.matches(CAMERA).count(), 1, "{name} names the camera once");
        let copy = dir.path().join(name);
        fs::write(&copy, text.replace(CAMERA, &format!("rtsp://127.0.0.1:{}/", camera.port()))).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(root.join("scripts/launch"))
            .arg(copy)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap()
    }

    /// Waits while it runs.
    fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + ENDS_WITHIN;
        while !is(self) {
            let ended = self.child.try_wait().unwrap();
            let fine = ended.is_none() && Instant::now() < deadline;
            assert!(fine, "waiting for {what}: {ended:?}\n{}", self.said());
            pause(50);
        }
    }

    /// What Ctrl-C sends.
    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + ENDS_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end\n{}", self.said());
            pause(50);
        }
    }

    /// Ends well, and nothing went wrong meanwhile.
    fn ends_well(&mut self) {
        let status = self.end();
        let said = self.said();
        assert!(status.success() && !said.contains("ERROR") && !said.contains("WARNING"), "{status}\n{said}");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn camera() -> SimCamera {
    SimCamera::start(CameraSpec::new("camera")).unwrap()
}

/// Frames that the camera sends before a text is stopped.
fn send(camera: &SimCamera, count: u64) -> impl Fn(&Run) -> bool {
    let from = camera.next_number(Channel::Main);
    move |_| camera.next_number(Channel::Main) >= from + count
}

#[test]
fn the_recording_by_hand_plays_and_holds_what_came() {
    let camera = camera();
    let mut run = Run::start("record-h264.launch", &camera);
    run.until("the session", |_| camera.sessions(Channel::Main) == 1);
    run.until("three seconds of frames", send(&camera, 75));
    run.interrupt();
    run.ends_well();
    let segment = run.file("segment-00000.mp4");
    let probe = frames::probe(&segment).unwrap();
    assert_eq!((probe.codec.as_str(), probe.width, probe.height), ("h264", 640, 360));
    assert!(probe.frames >= 50, "{probe:?}");
    // Times are as they came over the network; ffmpeg's own rounding of them is not what is asked here.
    let played = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-xerror", "-i"])
        .arg(&segment)
        .args(["-fps_mode", "passthrough", "-enc_time_base", "1:90000", "-f", "null", "-"])
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&played.stderr);
    assert!(played.status.success() && complaints.is_empty(), "{complaints}");
}

#[test]
fn the_snapshot_by_hand_ends_by_itself_with_a_picture() {
    let camera = camera();
    let mut run = Run::start("snapshot-h264.launch", &camera);
    run.ends_well();
    let picture = run.file("snapshot.jpg");
    frames::decodes_clean(&picture).unwrap();
    let probe = frames::probe(&picture).unwrap();
    assert_eq!((probe.codec.as_str(), probe.width, probe.height, probe.frames), ("mjpeg", 640, 360, 1));
}

#[test]
fn the_probe_by_hand_runs_until_it_is_stopped() {
    let camera = camera();
    let mut run = Run::start("probe-h264.launch", &camera);
    run.until("the session", |_| camera.sessions(Channel::Main) == 1);
    run.until("two seconds of frames", send(&camera, 50));
    run.interrupt();
    run.ends_well();
}
