//! How well adaptive sampling tells what moves, on real footage, and what it saves: `scripts/adaptive-trial`.
//!
//! The footage is encoded as a camera does that spends what a picture needs, and passes a sampler by some times as fast as it
//! was taken. What moves is decided by an independent reader, ffmpeg, which decodes all of it: a frame moves if some pixels of
//! its small grey picture differ from the frame before.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use gstreamer::{self as gst, prelude::*};
use gstreamer_app::AppSink;
use watchkeeper::{
    base::WallUs,
    media::{
        recorder::{Look as _, Passing},
        sampler::{Asked, Decoders, Sampler},
        text::Texts,
        units,
    },
    model::{ai::activity::Activity, unit::AccessUnit},
};

/// The size of pictures that are compared, by how much a pixel must differ, and how many of them.
const SMALL: (usize, usize) = (192, 108);
const DIFFERS: u8 = 20;
const PIXELS: usize = 60;
/// A second is still if no frame within so many seconds moves.
const APART_S: i64 = 3;
/// So many times as fast as the footage was taken.
const FASTER: f64 = 5.0;
/// The footage is shown so often; the first time is for learning.
const SHOWN: usize = 2;
/// What the sampler is asked for.
const FPS: u32 = 5;

/// A frame of the footage.
struct Frame {
    unit: AccessUnit,
    at_us: i64,
    moves: bool,
}

struct Footage {
    frames: Vec<Frame>,
    length_us: i64,
}

fn ffmpeg(args: &[&str]) -> Vec<u8> {
    let out = Command::new("ffmpeg").args(["-nostdin", "-v", "error"]).args(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// A keyframe every two seconds, and as many bits as each picture needs, with `noise` as of a sensor.
fn encode(dir: &Path, file: &str, fps: &str, gop: u32, noise: u32) -> PathBuf {
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media").join(file);
    let to = dir.join(format!("{noise}-{file}"));
    let params = format!("keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0");
    let filter = format!("noise=alls={noise}:allf=t,fps={fps},format=yuv420p");
    ffmpeg(&[
        "-y",
        "-i",
        media.to_str().unwrap(),
        "-map",
        "0:v",
        "-vf",
        &filter,
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "25",
        "-x264-params",
        &params,
        to.to_str().unwrap(),
    ]);
    to
}

fn load(file: &Path) -> Footage {
    gst::init().unwrap();
    let text = "filesrc name=file ! qtdemux ! h264parse ! video/x-h264,stream-format=avc,alignment=au
                ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", file);
    let out = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let samples: Vec<_> = std::iter::from_fn(|| out.pull_sample().ok()).collect();
    pipeline.set_state(gst::State::Null).unwrap();

    let (width, height) = SMALL;
    let grey = format!("scale={width}:{height}:flags=area,format=gray");
    let grey = ffmpeg(&[
        "-i",
        file.to_str().unwrap(),
        "-vf",
        &grey,
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-",
    ]);
    let pictures: Vec<&[u8]> = grey.chunks_exact(width * height).collect();
    assert_eq!(pictures.len(), samples.len(), "ffmpeg and GStreamer count the same frames");
    let format = Arc::new(units::video_format(samples[0].caps().unwrap()).unwrap());
    let frames: Vec<Frame> = samples
        .iter()
        .enumerate()
        .map(|(n, sample)| {
            let buffer = sample.buffer_owned().unwrap();
            let before = pictures[n.saturating_sub(1)];
            let differ = pictures[n].iter().zip(before).filter(|(a, b)| a.abs_diff(**b) > DIFFERS).count();
            Frame {
                at_us: i64::try_from(buffer.pts().unwrap().useconds()).unwrap(),
                moves: differ >= PIXELS,
                unit: units::access_unit(buffer, &format, None, None, Instant::now()).unwrap(),
            }
        })
        .collect();
    let interval = frames[1].at_us - frames[0].at_us;
    let length_us = frames.last().unwrap().at_us - frames[0].at_us + interval;
    Footage { frames, length_us }
}

/// Time that this process spent on a processor.
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

struct Run {
    /// Times of all pictures, from the begin of the footage's second showing on.
    pictures: Vec<i64>,
    decoded: u64,
    processor: Duration,
}

/// Shows the footage to a sampler.
fn run(footage: &Footage, adaptive: bool) -> Run {
    let asked = Asked { rate: FPS * 1_000, width: 640, adaptive };
    let sampler = Sampler::new(Texts::new(None), Decoders::default(), "trial".to_owned(), asked);
    let mut pictures = sampler.pictures();
    let taken = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut times, mut last) = (Vec::new(), None);
        while runtime.block_on(pictures.changed()).is_ok() {
            let sample = pictures.borrow_and_update().clone().unwrap();
            let (number, at) = (sample.number, sample.at.0);
            // Only the latest can be had. Those that were passed over lie evenly between their neighbours.
            let (number_before, at_before) = last.replace((number, at)).unwrap_or((number - 1, at));
            let steps = (number - number_before) as i64;
            times.extend((1..=steps).map(|n| at_before + (at - at_before) * n / steps));
        }
        times
    });
    let mut activity = Activity::default();
    let zero = 1_800_000_000_000_000;
    let (mut before, mut began_decoded) = (processor(), 0);
    let began = Instant::now();
    for shown in 0..SHOWN {
        if shown == 1 {
            (before, began_decoded) = (processor(), sampler.sampling().decoded);
        }
        for frame in &footage.frames {
            let us = shown as i64 * footage.length_us + frame.at_us - footage.frames[0].at_us;
            let due = Duration::from_secs_f64(us as f64 / 1e6 / FASTER);
            while let Some(early) = due.checked_sub(began.elapsed()) {
                thread::park_timeout(early);
            }
            let at = WallUs(zero + us);
            let active = activity.see(at.0, frame.unit.key, frame.unit.data.len());
            sampler.pass(&Passing { unit: &frame.unit, at, active });
            if sampler.is_due() {
                sampler.begin().unwrap();
            }
        }
    }
    let (processor, sampling) = (processor() - before, sampler.sampling());
    assert_eq!(sampling.dropped, 0, "the machine is too slow for this");
    sampler.end();
    drop(Arc::into_inner(sampler));
    let from = zero + footage.length_us;
    let pictures = taken.join().unwrap().into_iter().filter(|at| *at >= from).map(|at| at - from).collect();
    Run { pictures, decoded: sampling.decoded - began_decoded, processor }
}

#[test]
#[ignore = "a measurement: scripts/adaptive-trial"]
fn adaptive_sampling_on_real_footage() {
    let dir = tempfile::tempdir().unwrap();
    for (file, fps, gop, noise) in [
        ("one-by-one-person-detection.mp4", "10", 20, 6),
        ("car-detection.mp4", "25/2", 25, 6),
        ("one-by-one-person-detection.mp4", "10", 20, 0),
        ("car-detection.mp4", "25/2", 25, 0),
    ] {
        let footage = load(&encode(dir.path(), file, fps, gop, noise));
        let frames: Vec<(i64, bool)> = (0..SHOWN as i64 - 1)
            .flat_map(|shown| {
                let first = footage.frames[0].at_us;
                let at = move |frame: &Frame| shown * footage.length_us + frame.at_us - first;
                footage.frames.iter().map(move |frame| (at(frame), frame.moves))
            })
            .collect();
        let moving: Vec<i64> = frames.iter().filter(|(_, moves)| *moves).map(|(at, _)| *at).collect();
        let seconds = footage.length_us * (SHOWN as i64 - 1) / 1_000_000;
        // What begins or ends within a few seconds is neither.
        let still: Vec<i64> = (0..seconds)
            .filter(|second| {
                let near = |at: &i64| (at / 1_000_000 - second).abs() <= APART_S;
                !moving.iter().any(near)
            })
            .collect();
        let [full, adaptive] = [false, true].map(|adaptive| run(&footage, adaptive));
        let interval = 1_000_000 / i64::from(FPS);
        let covered = |at: &&i64| adaptive.pictures.iter().any(|picture| (picture - **at).abs() <= interval);
        let in_second =
            |second: &i64| adaptive.pictures.iter().filter(|at| **at / 1_000_000 == *second).count();
        let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        println!(
            "{file}, noise {noise}: {} frames in {seconds} s, {} move ({:.0} %); \
             of those {:.1} % were sampled at the full rate; \
             of {} still seconds {:.0} % had keyframes alone; \
             {} of {} pictures, {} of {} frames decoded, processor {:.2} s in place of {:.2} s",
            frames.len(),
            moving.len(),
            share(moving.len(), frames.len()),
            share(moving.iter().filter(covered).count(), moving.len()),
            still.len(),
            share(still.iter().filter(|second| in_second(second) <= 1).count(), still.len()),
            adaptive.pictures.len(),
            full.pictures.len(),
            adaptive.decoded,
            full.decoded,
            adaptive.processor.as_secs_f64(),
            full.processor.as_secs_f64(),
        );
    }
}
