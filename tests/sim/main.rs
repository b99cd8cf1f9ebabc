//! Simulated cameras by hand, and proofs about what was recorded of them.
//!
//! `cargo run --example sim -- --help`

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

#[path = "mod.rs"]
mod sim;

use sim::camera::{CameraSpec, Channel, Login, SimCamera};
use sim::feed::Journal;
use sim::footage::{Encoding, Source};
use sim::frames::frames_in;
use sim::proof::{Tally, prove_sent};

const SUB_SIZE: (u32, u32) = (640, 360);
const SUB_KBIT: u32 = 300;

/// Simulated IP cameras: H.264 over RTSP at /main (also /cam) and /sub, every frame numbered.
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
    /// Prints the frame numbers found in files; fails if one is missing or doubled between the first and the last.
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
    /// Ask for this user (Digest).
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// And this password.
    #[arg(long, requires = "user")]
    password: Option<String>,
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

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        None => run(&cli.cameras),
        Some(Command::Frames { files }) => frames(&files),
        Some(Command::Prove { log, camera, files }) => prove(&log, &camera, &files),
    }
}

fn run(options: &Cameras) -> anyhow::Result<ExitCode> {
    let journal = match &options.log {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Journal::File(Arc::new(Mutex::new(
                file.with_context(|| format!("cannot open `{}`", path.display()))?,
            )))
        }
        None => Journal::Off,
    };
    let mut cameras = Vec::new();
    for index in 0..options.cameras {
        cameras.push(SimCamera::start(spec(options, index, journal.clone())?)?);
    }
    for camera in &cameras {
        let (main, sub) = (camera.url(Channel::Main), camera.url(Channel::Sub));
        if options.json {
            let (user, password) = camera.login().map(|login| (login.user, login.password)).unzip();
            let name = camera.name();
            println!(
                "{}",
                json!({ "name": name, "main_url": main, "sub_url": sub, "user": user, "password": password })
            );
        } else {
            println!("{} {main} {sub}", camera.name());
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

fn spec(options: &Cameras, index: u16, journal: Journal) -> anyhow::Result<CameraSpec> {
    let gop_frames = |fps: u32| ((options.gop * f64::from(fps)).round() as u32).max(1);
    let (width, height) = options.size;
    let source = if index.is_multiple_of(2) { Source::Cars } else { Source::People };
    let fps = options.fps;
    let main = Encoding { source, width, height, fps, gop_frames: gop_frames(fps), kbit: options.kbit };
    let fps = (fps / 2).max(1);
    let (width, height) = SUB_SIZE;
    let sub = Encoding { source, width, height, fps, gop_frames: gop_frames(fps), kbit: SUB_KBIT };
    let login = options.user.clone().zip(options.password.clone());
    let port = match options.base_port {
        0 => 0,
        base => base.checked_add(index).context("no port numbers left")?,
    };
    Ok(CameraSpec {
        name: format!("cam{}", index + 1),
        main,
        sub: Some(sub),
        login: login.map(|(user, password)| Login { user, password }),
        address: options.address,
        port,
        journal,
    })
}

fn frames(files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for file in files {
        let numbers = numbers_in(file)?;
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
