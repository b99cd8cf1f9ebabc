//! RTSP servers that are neither ours nor GStreamer's: VLC, Perl's `RTSP::Server` and Python's `aio-rtsp-toolkit`. Each
//! streams footage of `tests/media`, and what is recorded decodes to the same pictures.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use watchkeeper::model::{
    camera::{CameraPatch, Transport},
    status::Shown,
};

use crate::{
    cameras::Via,
    process::pause,
    rig::{Rig, id},
    sim::{frames, nal::Codec},
    wait::PATIENCE,
};

use Transport::{Auto, Tcp, Udp};

/// Pictures that are recorded of each stream: 8 s.
const FRAMES: u64 = 200;
/// Seconds until the clips repeat: longer than a test runs, so that no server has to begin anew.
const CLIP_SECONDS: u32 = 240;
/// B-frames are shown before the picture that comes before them in the stream, so that at the end of a recording a
/// picture may be there and up to three that are shown before it are not.
const REORDERED_AT_MOST: usize = 4;
/// Uid and gid of `nobody`: VLC refuses to run as root.
const NOBODY: &str = "65534";
/// With its dependencies, as in `pip freeze`.
const PYTHON_PACKAGES: [&str; 3] = ["aio-rtsp-toolkit==0.1.4", "aio_sockets==0.1.4", "av==18.1.0"];

/// Footage for a server to stream, in a directory that anybody may read and write.
struct Clip {
    dir: TempDir,
    codec: Codec,
    has_b_frames: bool,
    /// Hashes of the decoded pictures in the order of display.
    pictures: Vec<String>,
}

impl Clip {
    /// Encodes ten seconds of traffic with sound, 320x180 at 25 fps with a keyframe each second, and repeats them.
    fn new(codec: Codec, has_b_frames: bool) -> Clip {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let cars = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media/car-detection.mp4");
        let once = dir.path().join("once.mp4");
        let gop = format!("keyint=25:min-keyint=25:scenecut=0:bframes={}", if has_b_frames { 2 } else { 0 });
        let (encoder, params, gop) = match codec {
            Codec::H264 => ("libx264", "-x264-params", format!("{gop}:open-gop=0")),
            Codec::H265 => ("libx265", "-x265-params", format!("{gop}:open-gop=0:log-level=error")),
        };
        let filter = "fps=25,scale=320:180,noise=alls=12:allf=t,format=yuv420p";
        ffmpeg(|ffmpeg| {
            ffmpeg.arg("-i").arg(&cars).args(["-t", "10", "-vf", filter, "-c:a", "copy", "-c:v", encoder]);
            ffmpeg.args(["-preset", "ultrafast", "-b:v", "200k", params, &gop]).arg(&once)
        });
        ffmpeg(|ffmpeg| {
            ffmpeg.args(["-stream_loop", "-1", "-i"]).arg(&once);
            ffmpeg.args(["-c", "copy", "-t", &CLIP_SECONDS.to_string()]).arg(dir.path().join("clip.mp4"))
        });
        let pictures = decoded(&dir.path().join("clip.mp4"));
        let same = pictures.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(same, 0, "a lost picture would not be noticed");
        Clip { dir, codec, has_b_frames, pictures }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("clip.mp4")
    }
}

fn ffmpeg(arguments: impl FnOnce(&mut Command) -> &mut Command) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y"]).stdin(Stdio::null());
    let output = arguments(&mut command).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaints}");
    output.stdout
}

/// Hashes of the decoded pictures of a file in the order of display.
fn decoded(file: &Path) -> Vec<String> {
    let table = ffmpeg(|ffmpeg| {
        ffmpeg.args(["-threads", "1", "-i"]).arg(file);
        ffmpeg.args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-"])
    });
    let table = String::from_utf8(table).unwrap();
    let pictures = table.lines().filter(|line| !line.starts_with('#'));
    pictures.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// A server that streams a clip. Dropping it kills its processes.
struct Server<'a> {
    clip: &'a Clip,
    url: String,
    processes: Vec<Child>,
}

impl<'a> Server<'a> {
    /// VLC. It has no interleaved transport.
    fn vlc(clip: &'a Clip) -> Server<'a> {
        let has_vlc = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .any(|directory| directory.join("vlc").is_file());
        assert!(
            has_vlc,
            "VLC is missing: install the packages vlc-bin and vlc-plugin-base (scripts/test does)"
        );
        let url = format!("rtsp://127.0.0.1:{}/clip", free_port());
        let mut vlc = if rustix::process::geteuid().is_root() {
            let mut setpriv = Command::new("setpriv");
            setpriv.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "vlc"]);
            setpriv
        } else {
            Command::new("vlc")
        };
        let dir = clip.dir.path();
        vlc.args(["-I", "dummy", "--no-dbus", "--aout", "dummy", "--loop"])
            .arg(clip.path())
            .args(["--sout-keep", "--sout", &format!("#rtp{{sdp={url}}}")])
            .current_dir(dir)
            .envs(["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"].map(|name| (name, dir)));
        let processes = vec![start(clip, vlc)];
        Server { clip, url, processes }.described()
    }

    /// Perl's `RTSP::Server`, which passes on what ffmpeg sends to it. It has no interleaved transport.
    fn perl(clip: &'a Clip) -> Server<'a> {
        let mut module = Command::new("perl");
        let found = module.args(["-MRTSP::Server", "-e", "1"]).stderr(Stdio::null()).status();
        assert!(
            found.is_ok_and(|status| status.success()),
            "the Perl module RTSP::Server is missing: install the package librtsp-server-perl (scripts/test does)"
        );
        let (client_port, source_port) = (free_port(), free_port());
        // Below those that the system gives away.
        let first_rtp_port = 20_000 + free_port() % 10_000 / 2 * 2;
        let program = format!(
            "my $server = RTSP::Server->new(
                client_listen_address => '127.0.0.1', client_listen_port => {client_port},
                source_listen_address => '127.0.0.1', source_listen_port => {source_port},
                rtp_start_port => {first_rtp_port});
            $server->listen;
            AnyEvent->condvar->recv;"
        );
        let mut perl = Command::new("perl");
        perl.args(["-MAnyEvent", "-MRTSP::Server", "-e", &program]);
        let url = format!("rtsp://127.0.0.1:{client_port}/clip");
        let mut server = Server { clip, url, processes: vec![start(clip, perl)] };
        server.until("it takes sources", |_| TcpStream::connect(("127.0.0.1", source_port)).is_ok());
        let mut source = Command::new("ffmpeg");
        source.args(["-nostdin", "-v", "error", "-re", "-i"]).arg(clip.path());
        source.args(["-c", "copy", "-f", "rtsp", &format!("rtsp://127.0.0.1:{source_port}/clip")]);
        server.processes.push(start(clip, source));
        server.described()
    }

    /// Python's `aio-rtsp-toolkit`. It has interleaved transport alone.
    fn python(clip: &'a Clip) -> Server<'a> {
        let port = free_port();
        let mut python = Command::new(python_with_packages());
        // It puts a picture into its queue once more if that takes longer than so many seconds (0.05 without this).
        let program = "import asyncio, sys\n\
                       from aio_rtsp_toolkit import server, server_streaming\n\
                       server_streaming.QUEUE_PUT_POLL_INTERVAL = 600\n\
                       asyncio.run(server.serve('.', host='127.0.0.1', port=int(sys.argv[1])))";
        python.args(["-c", program, &port.to_string()]).current_dir(clip.dir.path());
        let url = format!("rtsp://127.0.0.1:{port}/clip.mp4?play_count=0");
        let processes = vec![start(clip, python)];
        Server { clip, url, processes }.described()
    }

    /// Waits until the server describes the clip with its sound.
    fn described(mut self) -> Server<'a> {
        let url = self.url.clone();
        self.until("the clip to be described", |_| {
            let description = describe(&url).unwrap_or_default();
            description.contains("m=video") && description.contains("m=audio")
        });
        self
    }

    fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(self) {
            let ended = self.processes.iter_mut().find_map(|process| process.try_wait().unwrap());
            let log = || fs::read_to_string(self.clip.dir.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the server ended with {ended:?}\n{}", log());
            assert!(Instant::now() < deadline, "still waiting for {what}\n{}", log());
            pause(50);
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn start(clip: &Clip, mut command: Command) -> Child {
    let log = File::options().create(true).append(true).open(clip.dir.path().join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a server answers to DESCRIBE; `None` if nothing listens or it answers nothing.
fn describe(url: &str) -> Option<String> {
    let host = url.strip_prefix("rtsp://")?.split('/').next()?;
    let mut connection = TcpStream::connect(host).ok()?;
    connection.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    write!(connection, "DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n").ok()?;
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    // Until it is silent.
    while let Ok(count @ 1..) = connection.read(&mut bytes) {
        answer.extend_from_slice(&bytes[..count]);
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// The interpreter of a virtual environment with [`PYTHON_PACKAGES`], made on first use.
fn python_with_packages() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    fs::create_dir_all(&target).unwrap();
    let lock = File::create(target.join("servers-venv.lock")).unwrap();
    lock.lock().unwrap();
    let venv = target.join("servers-venv");
    let (python, installed) = (venv.join("bin/python"), venv.join("installed"));
    let packages = PYTHON_PACKAGES.join("\n");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == packages) {
        return python;
    }
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; python3-venv is needed"));
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {complaints}; python3-venv and {packages} are needed");
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(&python).args(pip).args(PYTHON_PACKAGES));
    // Written last, so that an installation that was cut short is made again.
    fs::write(&installed, &packages).unwrap();
    python
}

/// A camera that a server plays.
struct Stream<'a> {
    name: &'static str,
    server: &'a Server<'a>,
    transport: Transport,
    via: Via,
}

impl Stream<'_> {
    fn patch(&self) -> CameraPatch {
        let mut patch = CameraPatch {
            main_url: Some(Some(self.server.url.clone())),
            transport: Some(self.transport),
            record_audio: Some(true),
            segment_seconds: Some(4),
            ..CameraPatch::default()
        };
        self.via.apply(&mut patch);
        patch
    }

    /// Every file decodes without a message; ffprobe counts the pictures of the clip from some keyframe on, none missing and
    /// none twice; and there is sound.
    fn judge(&self, files: &[PathBuf]) -> Result<(), String> {
        let of = |wrong: anyhow::Error| format!("{wrong:#}");
        let clip = self.server.clip;
        let codec = match clip.codec {
            Codec::H264 => "h264",
            Codec::H265 => "hevc",
        };
        let (mut pictures, mut counted) = (Vec::new(), 0);
        for file in files {
            frames::decodes_clean(file)?;
            let probe = frames::probe(file).map_err(of)?;
            if !probe.first_frame_is_key || probe.codec != codec {
                return Err(format!("{probe:?}"));
            }
            counted += probe.frames;
            pictures.extend(decoded(file));
        }
        if counted < FRAMES || pictures.len() as u64 != counted {
            return Err(format!("{counted} pictures, {} decode", pictures.len()));
        }
        if clip.has_b_frames {
            pictures.truncate(pictures.len() - REORDERED_AT_MOST);
        }
        let begin = clip.pictures.iter().position(|picture| *picture == pictures[0]).unwrap_or(0);
        let right =
            pictures.iter().zip(&clip.pictures[begin..]).take_while(|(one, other)| one == other).count();
        if right < pictures.len() {
            return Err(format!(
                "{right} of {counted} pictures follow each other as in the clip, from {begin} on"
            ));
        }
        let last = files.last().ok_or("no files")?;
        match frames::codec_of(last, "a:0").map_err(of)?.as_deref() {
            Some("aac") => Ok(()),
            other => Err(format!("sound: {other:?}")),
        }
    }
}

/// Records all streams at once, and judges what is on the disk then.
async fn record(streams: &[Stream<'_>]) {
    let rig = Rig::new().await;
    for stream in streams {
        rig.service.add_camera(id(stream.name), stream.patch()).await.unwrap();
    }
    for stream in streams {
        rig.until(stream.name, "frames", |status| status.observed.frames >= FRAMES + 10).await;
    }
    let states: Vec<_> = streams.iter().map(|stream| rig.status(stream.name)).collect();
    rig.stop().await;
    let mut wrong = Vec::new();
    for (stream, status) in streams.iter().zip(states) {
        if (status.shown, status.reconnects) != (Shown::Recording, 0) {
            wrong.push(format!("{}: {status:?}", stream.name));
        }
        let judged = stream.judge(&rig.files(stream.name));
        wrong.extend(judged.err().map(|why| format!("{}: {why}", stream.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn vlc_is_recorded_over_datagrams() {
    let (h264, h265) = (Clip::new(Codec::H264, false), Clip::new(Codec::H265, false));
    let b_frames = Clip::new(Codec::H264, true);
    let [h264, h265, b_frames] = [&h264, &h265, &b_frames].map(Server::vlc);
    let stream = |name, server, transport, via| Stream { name, server, transport, via };
    record(&[
        stream("udp", &h264, Udp, Via::Native),
        stream("auto", &h264, Auto, Via::Native),
        stream("h265", &h265, Udp, Via::Native),
        stream("b-frames", &b_frames, Udp, Via::Native),
        stream("udp-rtspsrc", &h264, Udp, Via::Rtspsrc),
        stream("auto-rtspsrc", &h264, Auto, Via::Rtspsrc),
        stream("h265-rtspsrc", &h265, Udp, Via::Rtspsrc),
    ])
    .await;
}

/// Over rtspsrc the state says "unsupported codec".
#[tokio::test(flavor = "multi_thread")]
async fn the_state_says_that_vlc_refuses_tcp_and_which_setting_helps() {
    let clip = Clip::new(Codec::H264, false);
    let server = Server::vlc(&clip);
    let rig = Rig::new().await;
    let stream = Stream { name: "front", server: &server, transport: Tcp, via: Via::Native };
    rig.service.add_camera(id("front"), stream.patch()).await.unwrap();
    let status = rig.until("front", "the refusal", |status| status.detail.is_some()).await;
    let detail = status.detail.unwrap();
    assert!(detail.contains("TCP") && detail.contains("transport") && detail.contains("udp"), "{detail}");
    assert_eq!((status.shown, status.reason), (Shown::Offline, Some("transport_refused")), "{detail}");
    rig.service
        .change_camera(&id("front"), CameraPatch { transport: Some(Auto), ..CameraPatch::default() })
        .await
        .unwrap();
    rig.until("front", "recording", |status| status.shown == Shown::Recording).await;
    rig.stop().await;
}

/// It sends no `Content-Base`; rtspsrc then leaves the last part of the URL out of the tracks' URLs, and waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_perl_is_recorded_over_datagrams() {
    let clip = Clip::new(Codec::H264, false);
    let server = Server::perl(&clip);
    let stream = |name, transport| Stream { name, server: &server, transport, via: Via::Native };
    record(&[stream("udp", Udp), stream("auto", Auto)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_python_is_recorded_over_tcp() {
    let (h264, h265) = (Clip::new(Codec::H264, false), Clip::new(Codec::H265, false));
    let [h264, h265] = [&h264, &h265].map(Server::python);
    let stream = |name, server, transport, via| Stream { name, server, transport, via };
    record(&[
        stream("tcp", &h264, Tcp, Via::Native),
        stream("auto", &h264, Auto, Via::Native),
        stream("h265", &h265, Tcp, Via::Native),
        stream("tcp-rtspsrc", &h264, Tcp, Via::Rtspsrc),
        stream("h265-rtspsrc", &h265, Tcp, Via::Rtspsrc),
    ])
    .await;
}
