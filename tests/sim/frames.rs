//! What is in a recorded file, as tools see it that are not ours: ffmpeg and ffprobe.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;

use super::nal::{Codec, Kind, NalUnits};
use super::stamp::Stamp;

/// Decodes everything. In the file's own ticks: counted in frames, two that lie between two frames of the count become one.
const DECODE: [&str; 5] = ["-enc_time_base:v", "-1", "-f", "null", "-"];
/// Says on standard error what the first packet of the video is, with `F=` if it is no keyframe.
const FIRST_PACKET: [&str; 10] =
    ["-map", "0:v:0", "-c", "copy", "-copyinkf", "-frames:v", "1", "-f", "framecrc", "pipe:2"];
/// What describes the video of a recorded file stands within so many bytes of its begin.
const HEAD_BYTES: u64 = 4096;

/// The stamps of all frames of a file, in file order: with B-frames that is the order of decoding, which is the order
/// in which a camera sent them (`SimCamera::sent`). See [`timeline_in`] for the order of display.
///
/// # Errors
/// If ffmpeg cannot read the file or complains, or a frame has no stamp or more than one.
pub(crate) fn frames_in(path: &Path) -> anyhow::Result<Vec<Stamp>> {
    stream_of(path, &[], stamps_in)
}

/// [`frames_in`] of these files, one after the other, all of which one ffmpeg reads: far sooner than one for each.
///
/// # Errors
/// As [`frames_in`].
pub(crate) fn frames_in_all(files: &[PathBuf]) -> anyhow::Result<Vec<Stamp>> {
    let codec = video_of(files.first().context("no files")?)?;
    let mut list = tempfile::NamedTempFile::new()?;
    for file in files {
        ensure!(video_of(file)? == codec, "`{}` is in another codec than the first", file.display());
        writeln!(list, "file '{}'", std::path::absolute(file)?.display())?;
    }
    let options = ["-f", "concat", "-safe", "0"];
    let (stamps, complaints) = run(codec, list.path(), &options, &[], stamps_in)?;
    ensure!(complaints.is_empty(), "ffmpeg on {} files: {complaints}", files.len());
    Ok(stamps)
}

/// [`frames_in`] of a file that also decodes without a message, its sound as well, and begins with a keyframe. Starting a
/// tool takes longer than reading a short file with it, so one does it all.
///
/// # Errors
/// As [`frames_in`], or if the file does not play alone.
pub(crate) fn played(path: &Path) -> anyhow::Result<Vec<Stamp>> {
    let beside = [&DECODE[..], &FIRST_PACKET].concat();
    let (stamps, said) = run(video_of(path)?, path, &[], &beside, stamps_in)?;
    let (packets, complaints): (Vec<&str>, Vec<&str>) = said
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .partition(|line| line.starts_with("0, "));
    let file = path.display();
    ensure!(complaints.is_empty(), "ffmpeg on `{file}`: {}", complaints.join("\n"));
    ensure!(packets.len() == 1, "the first packet of `{file}`: {said}");
    ensure!(!packets[0].contains("F="), "`{file}` does not begin with a keyframe: {}", packets[0]);
    Ok(stamps)
}

/// The numbers of the pictures of a file that may be damaged or without keyframes, in file order; a picture whose stamp is
/// damaged has none.
///
/// # Errors
/// If ffmpeg cannot read the file.
pub(crate) fn numbers_in_damaged(path: &Path) -> anyhow::Result<Vec<u64>> {
    let (numbers, _) = run_with(video_of(path)?, path, &[], &["-copyinkf"], &[], |codec, stream| {
        let (mut numbers, mut stamp) = (Vec::new(), None);
        for unit in NalUnits::new(stream) {
            let unit = unit?;
            stamp = Stamp::from_nal(codec, &unit).or(stamp);
            if codec.begins_picture(&unit) {
                numbers.extend(stamp.take().map(|stamp| stamp.number));
            }
        }
        Ok(numbers)
    })?;
    Ok(numbers)
}

/// Every frame of a file, those that an edit list hides too, by number: a hash of all its NAL units but parameter sets.
///
/// # Errors
/// As [`frames_in`].
pub(crate) fn pictures_in(path: &Path) -> anyhow::Result<Vec<(u64, String)>> {
    stream_of(path, &["-ignore_editlist", "1"], |codec, stream| {
        let mut pictures: Vec<(u64, blake3::Hasher)> = Vec::new();
        // What stands before a picture's slices belongs to it, its stamp and what comes before that alike.
        let mut before = Vec::new();
        for unit in NalUnits::new(stream) {
            let unit = unit?;
            if let Some(stamp) = Stamp::from_nal(codec, &unit) {
                pictures.push((stamp.number, blake3::Hasher::new()));
            }
            match codec.kind(&unit) {
                Kind::Vps | Kind::Sps | Kind::Pps => {}
                Kind::Slice | Kind::Idr => {
                    let (_, hasher) = pictures.last_mut().context("a picture without a stamp")?;
                    hasher.update(&std::mem::take(&mut before)).update(&unit);
                }
                Kind::Sei | Kind::Other => before.extend_from_slice(&unit),
            }
        }
        Ok(pictures.into_iter().map(|(number, hasher)| (number, hasher.finalize().to_string())).collect())
    })
}

/// What `read` makes of the video of a file as a byte stream.
fn stream_of<T>(
    path: &Path,
    options: &[&str],
    read: impl FnOnce(Codec, BufReader<ChildStdout>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (found, complaints) = run(video_of(path)?, path, options, &[], read)?;
    ensure!(complaints.is_empty(), "ffmpeg on `{}`: {complaints}", path.display());
    Ok(found)
}

/// As [`stream_of`], and what ffmpeg said. `beside` is what the same ffmpeg does with the file, too.
fn run<T>(
    codec: Codec,
    path: &Path,
    options: &[&str],
    beside: &[&str],
    read: impl FnOnce(Codec, BufReader<ChildStdout>) -> anyhow::Result<T>,
) -> anyhow::Result<(T, String)> {
    run_with(codec, path, options, &[], beside, read)
}

/// The same with options of the output.
fn run_with<T>(
    codec: Codec,
    path: &Path,
    options: &[&str],
    output: &[&str],
    beside: &[&str],
    read: impl FnOnce(Codec, BufReader<ChildStdout>) -> anyhow::Result<T>,
) -> anyhow::Result<(T, String)> {
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-threads", "1"])
        .args(options)
        .arg("-i")
        .arg(path)
        // ffmpeg's raw formats count in frames: times that lie between two would come out as equal ones now and then.
        .args(["-map", "0:v:0", "-c", "copy", "-bsf:v", &format!("{}_mp4toannexb,setts=ts=N", codec.word())])
        .args(output)
        .args(["-f", codec.word(), "-"])
        .args(beside)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ffmpeg")?;
    let stream = ffmpeg.stdout.take().context("no pipe from ffmpeg")?;
    let mut errors = ffmpeg.stderr.take().context("no pipe from ffmpeg")?;
    // Read aside: a full pipe of complaints would stop ffmpeg.
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text)
    });
    let found = read(codec, BufReader::new(stream));
    let status = ffmpeg.wait()?;
    let complaints = complaints.join().map_err(|_| anyhow!("the reader of ffmpeg's errors panicked"))??;
    let complaints = complaints.trim();
    let file = path.display();
    ensure!(status.success(), "ffmpeg on `{file}` ({status}): {complaints}");
    let found = found.with_context(|| format!("in `{file}`: {complaints}"))?;
    Ok((found, complaints.to_owned()))
}

fn stamps_in(codec: Codec, stream: BufReader<ChildStdout>) -> anyhow::Result<Vec<Stamp>> {
    let mut stamps = Vec::new();
    let mut stamp = None;
    for unit in NalUnits::new(stream) {
        let unit = unit?;
        if let Some(found) = Stamp::from_nal(codec, &unit) {
            ensure!(stamp.replace(found).is_none(), "two stamps for frame {} of the file", stamps.len());
        }
        if codec.begins_picture(&unit) {
            stamps.push(
                stamp.take().with_context(|| format!("frame {} of the file has no stamp", stamps.len()))?,
            );
        }
    }
    ensure!(stamp.is_none(), "a stamp without a frame at the end");
    Ok(stamps)
}

/// A frame of a file with its place in the file's time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Timed {
    /// What the frame itself says.
    pub stamp: Stamp,
    /// When it is shown, in seconds.
    pub pts_s: f64,
}

/// The frames of a file in the order of display. With B-frames that differs from the order in the file, and only a
/// file whose times are right has the numbers in order.
///
/// # Errors
/// As [`frames_in`], or if a frame has no time.
pub(crate) fn timeline_in(path: &Path) -> anyhow::Result<Vec<Timed>> {
    let stamps = frames_in(path)?;
    let packets = ffprobe(path, "v:0", &["-show_entries", "packet=pts_time"])?;
    let packets = packets["packets"].as_array().context("no packets from ffprobe")?;
    ensure!(packets.len() == stamps.len(), "{} packets and {} stamps", packets.len(), stamps.len());
    let mut timed = Vec::new();
    for (stamp, packet) in stamps.into_iter().zip(packets) {
        let pts =
            packet["pts_time"].as_str().with_context(|| format!("frame {} has no time", stamp.number))?;
        timed.push(Timed { stamp, pts_s: pts.parse()? });
    }
    timed.sort_by(|a, b| a.pts_s.total_cmp(&b.pts_s));
    Ok(timed)
}

/// The codec of the numbered video of a file. A wrong answer would be told by ffmpeg, so that the head of an MP4 is enough.
fn video_of(path: &Path) -> anyhow::Result<Codec> {
    let mut head = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    let has = |name: &[u8; 4]| head.windows(4).any(|four| four == name);
    match (has(b"avcC"), has(b"hvcC")) {
        (true, false) => return Ok(Codec::H264),
        (false, true) => return Ok(Codec::H265),
        _ => {}
    }
    match codec_of(path, "v:0")?.as_deref() {
        Some("h264") => Ok(Codec::H264),
        Some("hevc") => Ok(Codec::H265),
        other => bail!("`{}` has no video with numbers but {other:?}", path.display()),
    }
}

/// ffmpeg's name for the codec of a stream: `v:0` or `a:0`. `None` if there is no such stream.
///
/// # Errors
/// If ffprobe cannot read the file.
pub(crate) fn codec_of(path: &Path, stream: &str) -> anyhow::Result<Option<String>> {
    let found = ffprobe(path, stream, &["-show_entries", "stream=codec_name"])?;
    Ok(found["streams"][0]["codec_name"].as_str().map(str::to_owned))
}

/// Decodes all of a file with ffmpeg.
///
/// # Errors
/// What ffmpeg complained about.
pub(crate) fn decodes_clean(path: &Path) -> Result<(), String> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-threads", "1", "-i"])
        .arg(path)
        .args(DECODE)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run ffmpeg: {error}"))?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && complaints.trim().is_empty() {
        return Ok(());
    }
    Err(format!("`{}` ({}): {}", path.display(), output.status, complaints.trim()))
}

/// What ffprobe says about the video in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Probe {
    /// Pixels, at the start of the file.
    pub width: u32,
    /// Pixels, at the start of the file.
    pub height: u32,
    /// `h264`, `hevc` …
    pub codec: String,
    /// `avc1`, `avc3` …
    pub codec_tag: String,
    /// Counted by reading the whole file.
    pub frames: u64,
    /// Of the whole file, seconds.
    pub duration_s: f64,
    /// Whether it can be played from its beginning.
    pub first_frame_is_key: bool,
}

/// Asks ffprobe.
///
/// # Errors
/// If ffprobe cannot read the file or finds no video in it.
pub(crate) fn probe(path: &Path) -> anyhow::Result<Probe> {
    let fields =
        "stream=width,height,codec_name,codec_tag_string,nb_read_packets:format=duration:packet=flags";
    let whole = ffprobe(path, "v:0", &["-count_packets", "-show_entries", fields])?;
    let stream = &whole["streams"][0];
    let text = |value: &Value, name: &str| {
        value[name].as_str().map(str::to_owned).with_context(|| format!("no {name} from ffprobe"))
    };
    let number = |name: &str| {
        let number = stream[name].as_u64().and_then(|number| u32::try_from(number).ok());
        number.with_context(|| format!("no {name} from ffprobe"))
    };
    Ok(Probe {
        width: number("width")?,
        height: number("height")?,
        codec: text(stream, "codec_name")?,
        codec_tag: text(stream, "codec_tag_string")?,
        frames: text(stream, "nb_read_packets")?.parse()?,
        duration_s: text(&whole["format"], "duration")?.parse()?,
        first_frame_is_key: text(&whole["packets"][0], "flags")?.contains('K'),
    })
}

/// What ffprobe says of a stream of a file: `v:0` or `a:0`.
pub(crate) fn ffprobe(path: &Path, stream: &str, what: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", stream, "-of", "json"])
        .args(what)
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .context("cannot run ffprobe")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ffprobe on `{}`: {}", path.display(), complaints.trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}
