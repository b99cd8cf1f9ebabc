//! Simulated cameras by hand, and proofs about what was recorded of them.
//!
//! `cargo run --example sim -- --help`

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

mod receive;
#[path = "mod.rs"]
mod sim;

use sim::audio::{Audio, Mode};
use sim::camera::{CameraSpec, Channel, Login, SimCamera};
use sim::feed::Journal;
use sim::footage::{Encoding, Source};
use sim::frames::{frames_in, timeline_in};
use sim::harm::Reports;
use sim::nal::Codec;
use sim::proof::{Tally, prove_sent};
use sim::scripted::login::LoginOffer;
use sim::scripted::tracks::{SoundCodec, SoundTrack};
use sim::scripted::{Clip, ETHERNET_PAYLOAD_BYTES, ScriptedCamera, ScriptedSpec};
use sim::server::{Asks, Udp};
use sim::sound::Voice;
use sim::storage::Storage;
use sim::tls::Certificate;

const SUB_SIZE: (u32, u32) = (640, 360);
const SUB_KBIT: u32 = 300;
/// Samples per second of AAC, unless it changes.
const AAC_HZ: u32 = 16_000;
const HUGE_EVERY: Duration = Duration::from_secs(30);

/// Simulated IP cameras: video and sound over RTSP at /main (also /cam) and /sub, every frame numbered.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    cameras: Cameras,
}

#[derive(Subcommand)]
enum Command {
    /// Runs cameras with RTSP and RTP by hand, for measurements.
    Scripted(Scripted),
    /// Receives streams and counts what comes, without recording it; prints a line of JSON for each at the end and at
    /// SIGUSR1.
    Receive(receive::Receive),
    /// Prints the frame numbers found in files, in the order of display; fails if one is missing or doubled between the
    /// first and the last.
    Frames {
        /// MP4 files in order of time.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Proves that each frame sent between the first and the last recorded one is in the files once and in order.
    Prove {
        /// What `--log` wrote.
        #[arg(long)]
        log: PathBuf,
        /// Name of the camera in the log.
        #[arg(long)]
        camera: String,
        /// MP4 files in order of time.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Cameras with RTSP and RTP by hand, which cost little themselves: one stream each.
#[derive(Args)]
struct Scripted {
    /// How many.
    #[arg(long, default_value_t = 1)]
    cameras: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Port of the first camera; the others follow. 0 for any free ones.
    #[arg(long, default_value_t = 8554)]
    base_port: u16,
    /// Frames per second.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: u32,
    /// Pixels.
    #[arg(long, default_value = "1280x720", value_parser = size)]
    size: (u32, u32),
    /// Seconds from one keyframe to the next.
    #[arg(long, default_value_t = 2.0)]
    gop: f64,
    /// Kilobits per second.
    #[arg(long, default_value_t = 2000)]
    kbit: u32,
    /// h264 or h265.
    #[arg(long, default_value = "h264", value_parser = codec)]
    codec: Codec,
    /// Two B-frames between the others.
    #[arg(long)]
    b_frames: bool,
    /// A tone of 1 kHz: aac, opus, pcma or pcmu.
    #[arg(long, value_parser = voice)]
    audio: Option<Voice>,
    /// Spread the packets of a picture over its time, as real cameras do; else they come at once.
    #[arg(long)]
    paced: bool,
    /// Ask for this user.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// And this password, by Digest with MD5.
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// Print each camera as a line of JSON.
    #[arg(long)]
    json: bool,
    /// Append a line `camera number capture_us` per frame sent.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[derive(Args)]
struct Cameras {
    /// How many.
    #[arg(long, default_value_t = 1)]
    cameras: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Port of the first camera; the others follow. 0 for any free ones.
    #[arg(long, default_value_t = 8554)]
    base_port: u16,
    /// Frames per second.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: u32,
    /// Pixels of the main stream.
    #[arg(long, default_value = "1280x720", value_parser = size)]
    size: (u32, u32),
    /// Seconds from one keyframe to the next.
    #[arg(long, default_value_t = 2.0)]
    gop: f64,
    /// Kilobits per second of the main stream.
    #[arg(long, default_value_t = 2000)]
    kbit: u32,
    /// h264 or h265.
    #[arg(long, default_value = "h264", value_parser = codec)]
    codec: Codec,
    /// Two B-frames between the others, in the main stream.
    #[arg(long)]
    b_frames: bool,
    /// Frames per second that the main stream claims to have.
    #[arg(long, value_name = "FPS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    claims_fps: Option<u32>,
    /// A tone of 1 kHz with the main stream: aac, opus, pcma or pcmu.
    #[arg(long, value_parser = voice)]
    audio: Option<Voice>,
    /// steady, never, dies:SECONDS, returns:DIES:RETURNS or changes:SECONDS:HZ (AAC only).
    #[arg(long, default_value = "steady", requires = "audio", value_parser = mode)]
    audio_mode: Mode,
    /// The audio's media line comes before the video's.
    #[arg(long, requires = "audio")]
    audio_first: bool,
    /// What sender reports say of the time: true, missing, or by how many seconds they are off.
    #[arg(long, default_value = "true", allow_hyphen_values = true, value_parser = reports)]
    reports: Reports,
    /// What is wrong with the packets, more than once if need be: equal-times, empty-units (NAL units without a byte),
    /// corrupt:PERCENT, huge:BYTES (a frame so large every 30 s).
    #[arg(long, value_parser = harm)]
    harm: Vec<Wrong>,
    /// Ask for this user.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// And this password.
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// In which way: digest, basic or both.
    #[arg(long, default_value = "digest", requires = "user", value_parser = asks)]
    asks: Asks,
    /// What becomes of clients that want datagrams: works, refused or lost.
    #[arg(long, default_value = "works", value_parser = udp)]
    udp: Udp,
    /// rtsps with a certificate that is made now.
    #[arg(long)]
    tls: bool,
    /// Give each storage of its own, with ONVIF (Profile G) and replay on further ports.
    #[arg(long)]
    storage: bool,
    /// Print each camera as a line of JSON.
    #[arg(long)]
    json: bool,
    /// Append a line `camera number capture_us` per frame sent while somebody is connected.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parsed =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    match parsed {
        Some((width, height)) if width > 0 && height > 0 && width % 2 == 0 && height % 2 == 0 => {
            Ok((width, height))
        }
        _ => Err("want WIDTHxHEIGHT, both even".to_owned()),
    }
}

/// Something wrong with the packets.
#[derive(Clone, Copy)]
enum Wrong {
    EqualTimes,
    EmptyUnits,
    Corrupt { percent: u32 },
    Huge { bytes: usize },
}

fn codec(text: &str) -> Result<Codec, String> {
    match text {
        "h264" => Ok(Codec::H264),
        "h265" => Ok(Codec::H265),
        _ => Err("want h264 or h265".to_owned()),
    }
}

fn voice(text: &str) -> Result<Voice, String> {
    match text {
        "aac" => Ok(Voice::Aac { hz: AAC_HZ }),
        "opus" => Ok(Voice::Opus),
        "pcma" => Ok(Voice::Pcma),
        "pcmu" => Ok(Voice::Pcmu),
        _ => Err("want aac, opus, pcma or pcmu".to_owned()),
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    let words: Vec<_> = text.split(':').collect();
    let seconds =
        |text: &str| text.parse().map(Duration::from_secs).map_err(|_| format!("no number: {text}"));
    match words[..] {
        ["steady"] => Ok(Mode::Steady),
        ["never"] => Ok(Mode::Never),
        ["dies", after] => Ok(Mode::Dies { after: seconds(after)? }),
        ["returns", dies, after] => Ok(Mode::Returns { dies: seconds(dies)?, after: seconds(after)? }),
        ["changes", after, hz] => {
            let hz = hz.parse().map_err(|_| format!("no number: {hz}"))?;
            Ok(Mode::Changes { after: seconds(after)?, hz })
        }
        _ => Err("want steady, never, dies:S, returns:S:S or changes:S:HZ".to_owned()),
    }
}

fn reports(text: &str) -> Result<Reports, String> {
    match text {
        "true" => Ok(Reports::True),
        "missing" => Ok(Reports::Missing),
        _ => match text.parse() {
            Ok(seconds) => Ok(Reports::Off { seconds }),
            Err(_) => Err("want true, missing or a number of seconds".to_owned()),
        },
    }
}

fn asks(text: &str) -> Result<Asks, String> {
    match text {
        "digest" => Ok(Asks::Digest),
        "basic" => Ok(Asks::Basic),
        "both" => Ok(Asks::Both),
        _ => Err("want digest, basic or both".to_owned()),
    }
}

fn udp(text: &str) -> Result<Udp, String> {
    match text {
        "works" => Ok(Udp::Works),
        "refused" => Ok(Udp::Refused),
        "lost" => Ok(Udp::Lost),
        _ => Err("want works, refused or lost".to_owned()),
    }
}

fn harm(text: &str) -> Result<Wrong, String> {
    let (word, number) = text.split_once(':').unwrap_or((text, ""));
    let number = number.parse::<u32>();
    match (word, number) {
        ("equal-times", _) => Ok(Wrong::EqualTimes),
        ("empty-units", _) => Ok(Wrong::EmptyUnits),
        ("corrupt", Ok(percent @ 0..=100)) => Ok(Wrong::Corrupt { percent }),
        ("huge", Ok(bytes)) => Ok(Wrong::Huge { bytes: bytes as usize }),
        _ => Err("want equal-times, empty-units, corrupt:PERCENT or huge:BYTES".to_owned()),
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        None => run(&cli.cameras),
        Some(Command::Scripted(options)) => run_scripted(&options),
        Some(Command::Receive(options)) => receive::run(options),
        Some(Command::Frames { files }) => frames(&files),
        Some(Command::Prove { log, camera, files }) => prove(&log, &camera, &files),
    }
}

/// A journal in this file.
fn journal(log: Option<&Path>) -> anyhow::Result<Journal> {
    let Some(path) = log else { return Ok(Journal::Off) };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot open `{}`", path.display()))?;
    Ok(Journal::File(Arc::new(Mutex::new(file))))
}

fn run_scripted(options: &Scripted) -> anyhow::Result<ExitCode> {
    let journal = journal(options.log.as_deref())?;
    let mut specs = Vec::new();
    for index in 0..options.cameras {
        let (width, height) = options.size;
        let encoding = Encoding {
            source: if index.is_multiple_of(2) { Source::Cars } else { Source::People },
            width,
            height,
            fps: options.fps,
            gop_frames: ((options.gop * f64::from(options.fps)).round() as u32).max(1),
            kbit: options.kbit,
            codec: options.codec,
            b_frames: options.b_frames,
            claimed_fps: None,
        };
        let sound = options.audio.map(|voice| match voice {
            Voice::Aac { hz } => SoundCodec::Aac { hz },
            Voice::Opus => SoundCodec::Opus,
            Voice::Pcma => SoundCodec::Pcma { hz: 8000 },
            Voice::Pcmu => SoundCodec::Pcmu { hz: 8000 },
        });
        let login = options.user.as_ref().zip(options.password.as_ref());
        specs.push(ScriptedSpec {
            clip: Clip::Plain(encoding),
            sound: sound.map(SoundTrack::new).into_iter().collect(),
            login: login.map(|(user, password)| LoginOffer::md5(user, password)),
            paced: options.paced,
            payload_bytes: ETHERNET_PAYLOAD_BYTES,
            address: options.address,
            port: match options.base_port {
                0 => 0,
                base => base.checked_add(index).context("no port numbers left")?,
            },
            journal: journal.clone(),
            ..ScriptedSpec::new(format!("cam{}", index + 1))
        });
    }
    let cameras = ScriptedCamera::start_all(specs)?;
    for camera in &cameras {
        let (name, url) = (camera.name(), camera.url());
        if options.json {
            let (user, password) = (&options.user, &options.password);
            println!(
                "{}",
                json!({ "name": name, "main_url": url, "sub_url": null, "user": user, "password": password })
            );
        } else {
            println!("{name} {url}");
        }
    }
    println!("ready");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn run(options: &Cameras) -> anyhow::Result<ExitCode> {
    let journal = journal(options.log.as_deref())?;
    let mut cameras = Vec::new();
    for index in 0..options.cameras {
        cameras.push(SimCamera::start(spec(options, index, journal.clone())?)?);
    }
    for camera in &cameras {
        for wrong in &options.harm {
            match *wrong {
                Wrong::EqualTimes => camera.set_equal_timestamps(true),
                Wrong::EmptyUnits => camera.set_empty_units(true),
                Wrong::Corrupt { percent } => camera.corrupt(percent),
                Wrong::Huge { .. } => (),
            }
        }
        let (main, sub) = (camera.url(Channel::Main), camera.url(Channel::Sub));
        if options.json {
            let (user, password) = camera.login().map(|login| (login.user, login.password)).unzip();
            let name = camera.name();
            let (onvif_port, replay) =
                options.storage.then(|| (camera.onvif_port(), camera.replay_url())).unzip();
            println!(
                "{}",
                json!({
                    "name": name, "main_url": main, "sub_url": sub, "user": user, "password": password,
                    "onvif_port": onvif_port, "replay_url": replay,
                })
            );
        } else if options.storage {
            println!("{} {main} {sub} onvif:{} {}", camera.name(), camera.onvif_port(), camera.replay_url());
        } else {
            println!("{} {main} {sub}", camera.name());
        }
    }
    println!("ready");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut huge = tokio::time::interval(HUGE_EVERY);
        loop {
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => return interrupted,
                _ = terminate.recv() => return Ok(()),
                _ = huge.tick() => {
                    for wrong in &options.harm {
                        if let Wrong::Huge { bytes } = *wrong {
                            cameras.iter().for_each(|camera| camera.send_huge_frame(bytes));
                        }
                    }
                }
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn spec(options: &Cameras, index: u16, journal: Journal) -> anyhow::Result<CameraSpec> {
    let gop_frames = |fps: u32| ((options.gop * f64::from(fps)).round() as u32).max(1);
    let (width, height) = options.size;
    let source = if index.is_multiple_of(2) { Source::Cars } else { Source::People };
    let fps = options.fps;
    let main = Encoding {
        source,
        width,
        height,
        fps,
        gop_frames: gop_frames(fps),
        kbit: options.kbit,
        codec: options.codec,
        b_frames: options.b_frames,
        claimed_fps: options.claims_fps,
    };
    let fps = (fps / 2).max(1);
    let (width, height) = SUB_SIZE;
    let gop_frames = gop_frames(fps);
    let sub = Encoding {
        width,
        height,
        fps,
        gop_frames,
        kbit: SUB_KBIT,
        b_frames: false,
        claimed_fps: None,
        ..main
    };
    let login = options.user.clone().zip(options.password.clone());
    let port = match options.base_port {
        0 => 0,
        base => base.checked_add(index).context("no port numbers left")?,
    };
    Ok(CameraSpec {
        name: format!("cam{}", index + 1),
        main,
        sub: Some(sub),
        audio: options.audio.map(|voice| Audio {
            voice,
            mode: options.audio_mode,
            first: options.audio_first,
        }),
        reports: options.reports,
        asks: options.asks,
        udp: options.udp,
        storage: options.storage.then_some(Storage::Everything),
        certificate: options.tls.then(Certificate::new).transpose()?,
        login: login.map(|(user, password)| Login { user, password }),
        address: options.address,
        port,
        journal,
    })
}

fn frames(files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for file in files {
        let numbers: Vec<u64> = timeline_in(file)?.iter().map(|frame| frame.stamp.number).collect();
        match Tally::contiguous(&numbers) {
            Some(tally) => println!("{}: {tally}", file.display()),
            None => println!("{}: no frames", file.display()),
        }
        all.extend(numbers);
    }
    let Some(tally) = Tally::contiguous(&all) else { bail!("no frames in {} files", files.len()) };
    println!("all: {tally}");
    Ok(if tally.is_exact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn prove(log: &Path, camera: &str, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let sent = sent_by(log, camera).with_context(|| format!("in `{}`", log.display()))?;
    let mut recorded = Vec::new();
    for file in files {
        recorded.extend(numbers_in(file)?);
    }
    match prove_sent(&sent, &recorded) {
        Ok(proof) => {
            println!(
                "exact: frames {} to {} ({} files); sent before: {}, sent after (tail): {}",
                proof.first,
                proof.last,
                files.len(),
                proof.head,
                proof.tail
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(reason) => {
            println!("not exact: {reason}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn numbers_in(file: &Path) -> anyhow::Result<Vec<u64>> {
    Ok(frames_in(file)?.iter().map(|stamp| stamp.number).collect())
}

/// Numbers that the log has for a camera.
fn sent_by(log: &Path, camera: &str) -> anyhow::Result<Vec<u64>> {
    let mut sent = Vec::new();
    for line in BufReader::new(File::open(log)?).lines() {
        let line = line?;
        let mut words = line.split(' ');
        if words.next() == Some(camera) {
            let number = words.next().and_then(|word| word.parse().ok());
            sent.push(number.with_context(|| format!("no number in the line `{line}`"))?);
        }
    }
    Ok(sent)
}
