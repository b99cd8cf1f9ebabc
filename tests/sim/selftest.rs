//! The simulated cameras keep their promises, as seen by ffmpeg. A proof is worth what its camera is worth.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::camera::{CameraSpec, Channel, Login, SimCamera};
use super::footage::{Encoding, Source};
use super::frames::{decodes_clean, frames_in, played, probe};
use super::link::{Link, Wire};
use super::misbehave::{Misbehaviour, Peer};
use super::proof::{Proof, prove_contiguous, prove_sent};

const DEADLINE: Duration = Duration::from_secs(60);
/// Ending a session takes ffmpeg milliseconds.
const HANGS_AFTER: Duration = Duration::from_secs(8);
/// Without this ffmpeg looks at five seconds of a stream before it does anything.
pub(super) const QUICK: [&str; 2] = ["-analyzeduration", "1000000"];

/// Waits until something that only polling can tell is true.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in {DEADLINE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// An ffmpeg that records a stream without touching it.
pub(super) struct Recording {
    ffmpeg: Child,
    pub(super) path: PathBuf,
}

impl Recording {
    pub(super) fn start(url: &str, path: PathBuf) -> Recording {
        Recording::start_over("tcp", url, path)
    }

    /// The same with another transport.
    pub(super) fn start_over(transport: &str, url: &str, path: PathBuf) -> Recording {
        let ffmpeg = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-rtsp_transport", transport])
            .args(QUICK)
            .args(["-i", url, "-c", "copy"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Recording { ffmpeg, path }
    }

    /// Whether ffmpeg went by itself. On a busy machine it may not know the times of the first frames, and then Matroska
    /// does not take them.
    pub(super) fn ended(&mut self) -> bool {
        self.ffmpeg.try_wait().unwrap().is_some()
    }

    /// Ends the recording as a person would, and gives the frame numbers in it.
    pub(super) fn stop(mut self) -> Vec<u64> {
        let path = self.path.clone();
        self.quit();
        numbers(&path)
    }

    /// Ends the recording as a person would.
    pub(super) fn quit(&mut self) {
        let path = self.path.clone();
        until("something is recorded", || path.metadata().is_ok_and(|found| found.len() > 0) || self.ended());
        // The pipe is closed if ffmpeg went already, which some tests want.
        drop(self.ffmpeg.stdin.take().unwrap().write_all(b"q"));
        // The file is whole before the session is ended, in which ffmpeg 5.1 hangs at times; it is killed then.
        let deadline = Instant::now() + HANGS_AFTER;
        while !self.ended() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        drop(self.ffmpeg.kill());
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // It is gone already in a test that went well.
        drop(self.ffmpeg.kill());
        drop(self.ffmpeg.wait());
    }
}

fn numbers(path: &Path) -> Vec<u64> {
    frames_in(path).unwrap().iter().map(|stamp| stamp.number).collect()
}

pub(super) fn sent(camera: &SimCamera) -> Vec<u64> {
    camera.sent(Channel::Main).iter().map(|sent| sent.number).collect()
}

/// Waits until so many more frames have become due.
pub(super) fn let_pass(camera: &SimCamera, frames: u64) {
    let then = camera.next_number(Channel::Main) + frames;
    until("frames pass", || camera.next_number(Channel::Main) >= then);
}

pub(super) fn playing(camera: &SimCamera) {
    until("a session plays", || camera.sessions(Channel::Main) > 0);
}

fn camera() -> SimCamera {
    SimCamera::start(CameraSpec::new("test")).unwrap()
}

/// Whether ffprobe can open an address, and if not what it says. Now and then ffprobe itself waits for ever at the end
/// of a session, so it has 20 s, and one that was ended so is asked again.
pub(super) fn opens(url: &str) -> Result<(), String> {
    opens_over("tcp", url)
}

/// The same with another transport.
pub(super) fn opens_over(transport: &str, url: &str) -> Result<(), String> {
    let mut said = Err("not asked".to_owned());
    for _ in 0..3 {
        said = opens_once(transport, url);
        if !said.as_ref().is_err_and(String::is_empty) {
            break;
        }
    }
    said
}

/// The same, asked once.
pub(super) fn opens_once(transport: &str, url: &str) -> Result<(), String> {
    let output = Command::new("timeout")
        .args(["20", "ffprobe", "-v", "error", "-rtsp_transport", transport])
        .args(QUICK)
        .arg(url)
        .output()
        .unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn a_recording_holds_every_frame_once() {
    let files = tempfile::tempdir().unwrap();
    let spec = CameraSpec { sub: Some(Encoding::small(Source::People)), ..CameraSpec::new("test") };
    let camera = SimCamera::start(spec).unwrap();
    let main = Recording::start(&camera.url(Channel::Main), files.path().join("main.mp4"));
    let sub = Recording::start(&camera.url(Channel::Sub), files.path().join("sub.mp4"));
    playing(&camera);
    until("the other stream plays too", || camera.sessions(Channel::Sub) == 1);
    let_pass(&camera, 100);
    let (path, sub_path) = (main.path.clone(), sub.path.clone());
    let recorded = main.stop();
    let Proof { first, last, .. } = prove_contiguous(&recorded).unwrap();
    assert!(last - first > 70, "only {first} to {last}");
    assert_eq!(prove_sent(&sent(&camera), &recorded).unwrap().last, last);
    prove_contiguous(&sub.stop()).unwrap();
    decodes_clean(&sub_path).unwrap();
    let stamps = played(&path).unwrap();
    assert_eq!(stamps, frames_in(&path).unwrap());
    // Without its first frame it does not play alone, and cut off in the middle of one it does not play at all.
    let headless = files.path().join("headless.mp4");
    let cut = ["-c", "copy", "-copyinkf", "-bsf:v", "noise=drop=lt(n\\,1)"];
    let done =
        Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&path).args(cut).arg(&headless).status();
    assert!(done.unwrap().success());
    assert!(format!("{:#}", played(&headless).unwrap_err()).contains("begin with a keyframe"));
    let half = files.path().join("half.mp4");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    assert!(played(&half).is_err());

    let probe = probe(&path).unwrap();
    assert_eq!((probe.width, probe.height, probe.codec.as_str()), (640, 360, "h264"));
    assert!(probe.first_frame_is_key);
    assert_eq!(probe.frames, recorded.len() as u64);
    // Capture times are those of the numbers: this is what a recording's wall clock can be compared with.
    let (from, to) = (stamps[0], stamps[stamps.len() - 1]);
    assert_eq!(to.capture_us - from.capture_us, (to.number - from.number) * 40_000);

    until("the sessions end", || camera.sessions(Channel::Main) + camera.sessions(Channel::Sub) == 0);
    until("the connections end", || camera.connections() == 0);
    assert_eq!((camera.max_sessions(Channel::Main), camera.max_sessions(Channel::Sub)), (1, 1));
}

#[test]
fn a_wrong_password_is_refused_and_a_new_one_counts_at_once() {
    let login = Login { user: "admin".into(), password: "one".into() };
    let camera = SimCamera::start(CameraSpec { login: Some(login), ..CameraSpec::new("test") }).unwrap();
    let with = |password: &str| opens(&format!("rtsp://admin:{password}@127.0.0.1:{}/main", camera.port()));
    with("one").unwrap();
    assert!(with("two").unwrap_err().contains("401"));
    assert!(opens(&camera.url(Channel::Main)).unwrap_err().contains("401"));
    camera.set_password("two").unwrap();
    with("two").unwrap();
    assert!(with("one").unwrap_err().contains("401"));
}

#[test]
fn a_frozen_camera_keeps_its_connection_and_skips_what_it_did_not_send() {
    let files = tempfile::tempdir().unwrap();
    let camera = camera();
    let recording = Recording::start(&camera.url(Channel::Main), files.path().join("main.mp4"));
    playing(&camera);
    let_pass(&camera, 50);
    camera.freeze();
    let before = camera.last_sent(Channel::Main).unwrap().number;
    let_pass(&camera, 30);
    assert_eq!(camera.last_sent(Channel::Main).unwrap().number, before);
    assert_eq!(camera.sessions(Channel::Main), 1);
    camera.thaw();
    let_pass(&camera, 40);
    let recorded = recording.stop();
    prove_sent(&sent(&camera), &recorded).unwrap();
    let after = recorded[recorded.iter().position(|number| *number == before).unwrap() + 1];
    assert!(after >= before + 30, "{before} then {after}");
}

#[test]
fn a_killed_camera_comes_back_on_its_port_and_counts_on() {
    let files = tempfile::tempdir().unwrap();
    let camera = camera();
    let url = camera.url(Channel::Main);
    let mut recording = Recording::start(&url, files.path().join("before.mp4"));
    playing(&camera);
    let_pass(&camera, 60);
    camera.kill().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", camera.port())).is_err());
    until("ffmpeg sees the end", || recording.ended());
    assert_eq!(camera.sessions(Channel::Main), 0);
    let before = recording.stop();
    prove_contiguous(&before).unwrap();

    camera.revive().unwrap();
    let recording = Recording::start(&url, files.path().join("after.mp4"));
    playing(&camera);
    let_pass(&camera, 60);
    let after = recording.stop();
    prove_contiguous(&after).unwrap();
    assert!(after[0] > before[before.len() - 1]);
    assert!(prove_contiguous(&[before, after].concat()).unwrap_err().contains("missing"));
}

#[test]
fn a_link_can_be_silenced_slowed_and_cut() {
    let files = tempfile::tempdir().unwrap();
    let camera = camera();
    let link = Link::start(camera.port()).unwrap();
    let mut recording = Recording::start(&link.url("main"), files.path().join("main.mp4"));
    playing(&camera);
    let_pass(&camera, 50);
    link.set(Wire::Silent);
    let_pass(&camera, 50);
    assert!(!recording.ended());
    assert_eq!(camera.sessions(Channel::Main), 1);
    link.set(Wire::Whole);
    let_pass(&camera, 25);
    link.set(Wire::Slow { bytes_per_s: 400_000 });
    let_pass(&camera, 50);
    // Cut between two frames: ffmpeg would write half of one, perhaps without any picture in it.
    camera.freeze();
    let_pass(&camera, 25);
    link.set(Wire::Cut);
    until("ffmpeg sees the end", || recording.ended());
    until("the camera sees the end", || camera.connections() == 0);
    assert!(TcpStream::connect(("127.0.0.1", link.port())).is_err());
    assert_eq!(link.connections(), 1);
    let recorded = recording.stop();
    let Proof { first, last, .. } = prove_contiguous(&recorded).unwrap();
    assert!(last - first > 100, "held frames arrive late, but they arrive: {first} to {last}");

    link.set(Wire::Whole);
    camera.thaw();
    opens(&link.url("main")).unwrap();
    assert!(link.connections() >= 2);
}

#[test]
fn a_reset_link_resets_its_connections() {
    let camera = camera();
    let link = Link::start(camera.port()).unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", link.port())).unwrap();
    until("the camera is reached", || camera.connections() == 1);
    link.set(Wire::Reset);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn another_encoding_comes_in_band_and_loses_no_number() {
    let files = tempfile::tempdir().unwrap();
    let camera = camera();
    let recording = Recording::start(&camera.url(Channel::Main), files.path().join("main.ts"));
    playing(&camera);
    let_pass(&camera, 50);
    let bigger = Encoding { width: 768, height: 432, gop_frames: 50, ..Encoding::small(Source::Cars) };
    camera.set_encoding(bigger).unwrap();
    let_pass(&camera, 110);
    let path = recording.path.clone();
    prove_contiguous(&recording.stop()).unwrap();
    decodes_clean(&path).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=width", "-of", "csv=p=0"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let widths: Vec<_> = text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty()).collect();
    let changed = widths.iter().position(|width| *width == "768").unwrap();
    assert!(widths[..changed].iter().all(|width| *width == "640") && changed > 0);
    assert!(widths[changed..].iter().all(|width| *width == "768"));
}

#[test]
fn timestamps_jump_while_frames_go_on() {
    let camera = camera();
    let mut ffprobe = Command::new("ffprobe")
        .args(["-v", "error", "-rtsp_transport", "tcp", "-read_intervals", "%+#150"])
        .args(["-show_entries", "packet=pts", "-of", "csv=p=0", &camera.url(Channel::Main)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    playing(&camera);
    // ffprobe analyses before it plays on, and what it read then counts as well: jump in the middle of its 150.
    let_pass(&camera, 50);
    camera.jump_timestamps(100_000);
    let mut text = String::new();
    ffprobe.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    ffprobe.wait().unwrap();
    let times: Vec<i64> = text.split([',', '\n']).filter_map(|word| word.trim().parse().ok()).collect();
    let steps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let jumps: Vec<_> = steps.iter().filter(|step| (**step - 3600).abs() > 90).collect();
    assert_eq!(jumps.len(), 1, "{steps:?}");
    assert!((*jumps[0] - 9_003_600).abs() <= 90, "{jumps:?}");
}

#[test]
fn clients_may_come_and_go_at_any_moment() {
    let camera = camera();
    for _ in 0..3 {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let mut client = TcpStream::connect(("127.0.0.1", camera.port())).unwrap();
                let url = camera.url(Channel::Main);
                write!(client, "DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n").unwrap();
                client
            })
            .collect();
        until("they are there", || camera.connections() == 4);
        drop(clients);
        until("they are gone", || camera.connections() == 0);
    }
    opens(&camera.url(Channel::Main)).unwrap();
}

fn ask(peer: &Peer, request: &str) -> String {
    let mut client = TcpStream::connect(("127.0.0.1", peer.port())).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    write!(client, "{request} {} RTSP/1.0\r\nCSeq: 7\r\n\r\n", peer.url()).unwrap();
    let mut answer = vec![0; 4096];
    let read = client.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[test]
fn peers_misbehave_as_told() {
    let start = |misbehaviour| Peer::start(misbehaviour).unwrap();
    let silent = start(Misbehaviour::NeverAnswers);
    assert_eq!(ask(&silent, "OPTIONS"), "");
    assert_eq!((silent.connections(), silent.requests()), (1, 1));
    assert_eq!(ask(&start(Misbehaviour::Dribbles), "OPTIONS"), "R");
    assert_eq!(ask(&start(Misbehaviour::ClosesOnAccept), "OPTIONS"), "");
    assert!(!ask(&start(Misbehaviour::Garbage), "OPTIONS").starts_with("RTSP"));
    let endless = start(Misbehaviour::RedirectsToItself);
    assert!(ask(&endless, "OPTIONS").contains(&format!("Location: {}\r\n", endless.url())));
    let elsewhere = start(Misbehaviour::RedirectsTo("rtsp://127.0.0.2:1/x".into()));
    assert!(ask(&elsewhere, "DESCRIBE").contains("Location: rtsp://127.0.0.2:1/x\r\n"));
    let missing = ask(&start(Misbehaviour::NotFound), "DESCRIBE");
    assert!(missing.starts_with("RTSP/1.0 404 ") && missing.contains("CSeq: 7\r\n"));
    assert!(ask(&start(Misbehaviour::Unauthorised), "DESCRIBE").contains("Digest realm"));
    assert!(ask(&start(Misbehaviour::OnlyBasic), "DESCRIBE").contains("Basic realm"));
    assert!(ask(&start(Misbehaviour::UnknownCodec), "DESCRIBE").contains("X-WEIRD"));
    let huge = start(Misbehaviour::EndlessBody);
    assert!(ask(&huge, "DESCRIBE").contains("Content-Length: 2000000000"));
    assert!(huge.body_bytes() < 100_000_000);
}

#[test]
fn a_peer_can_lead_to_a_camera_on_its_own_port() {
    let camera = camera();
    let peer = Peer::start(Misbehaviour::RedirectsToItsMain { camera_port: camera.port() }).unwrap();
    opens(&peer.url()).unwrap();
    assert_eq!(camera.max_sessions(Channel::Main), 1);
}

fn threads_and_descriptors() -> (usize, usize) {
    let count = |directory| std::fs::read_dir(directory).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// Alone in a process of its own, as other tests have threads too.
#[test]
fn a_dropped_camera_leaves_no_thread_and_no_descriptor() {
    const ALONE: &str = "WATCHKEEPER_SIM_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "sim::selftest::a_dropped_camera_leaves_no_thread_and_no_descriptor";
        let output = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("1 passed"),
            "this test has another name now"
        );
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let once = || {
        let camera = camera();
        let link = Link::start(camera.port()).unwrap();
        opens(&link.url("main")).unwrap();
        let recording = Recording::start(&camera.url(Channel::Main), files.path().join("main.mp4"));
        playing(&camera);
        camera.kill().unwrap();
        camera.revive().unwrap();
        drop(recording);
        opens(&camera.url(Channel::Main)).unwrap();
    };
    // GLib keeps idle threads of its pools for 15 s; that is no leak, but it cannot be told from one.
    gstreamer::glib::ThreadPool::set_max_unused_threads(Some(0));
    once();
    let before = threads_and_descriptors();
    for _ in 0..5 {
        once();
    }
    until("threads and descriptors are what they were", || {
        let (threads, descriptors) = threads_and_descriptors();
        threads <= before.0 && descriptors <= before.1
    });
}

#[test]
fn a_frozen_camera_can_be_switched_off_while_a_client_waits_for_its_first_frame() {
    let camera = camera();
    camera.freeze();
    let mut client = TcpStream::connect(("127.0.0.1", camera.port())).unwrap();
    write!(client, "DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\n\r\n", camera.url(Channel::Main)).unwrap();
    until("the client is there", || camera.connections() == 1);
    camera.kill().unwrap();
    camera.revive().unwrap();
    camera.thaw();
    opens(&camera.url(Channel::Main)).unwrap();
}
