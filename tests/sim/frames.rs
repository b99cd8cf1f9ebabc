//! What is in a recorded file, as tools see it that are not ours: ffmpeg and ffprobe.

use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, ensure};
use serde_json::Value;

use super::nal::{self, NalUnits};
use super::stamp::Stamp;

/// The stamps of all frames of a file, in file order.
///
/// # Errors
/// If ffmpeg cannot read the file or complains, or a frame has no stamp or more than one.
pub(crate) fn frames_in(path: &Path) -> anyhow::Result<Vec<Stamp>> {
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:v:0", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", "-"])
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
    let stamps = stamps_in(BufReader::new(stream));
    let status = ffmpeg.wait()?;
    let complaints = complaints.join().map_err(|_| anyhow!("the reader of ffmpeg's errors panicked"))??;
    let complaints = complaints.trim();
    let file = path.display();
    ensure!(status.success() && complaints.is_empty(), "ffmpeg on `{file}` ({status}): {complaints}");
    stamps.with_context(|| format!("in `{file}`"))
}

fn stamps_in(stream: impl Read) -> anyhow::Result<Vec<Stamp>> {
    let mut stamps = Vec::new();
    let mut stamp = None;
    for unit in NalUnits::new(stream) {
        let unit = unit?;
        if let Some(found) = Stamp::from_nal(&unit) {
            ensure!(stamp.replace(found).is_none(), "two stamps for frame {} of the file", stamps.len());
        }
        if nal::begins_picture(&unit) {
            stamps.push(
                stamp.take().with_context(|| format!("frame {} of the file has no stamp", stamps.len()))?,
            );
        }
    }
    ensure!(stamp.is_none(), "a stamp without a frame at the end");
    Ok(stamps)
}

/// Decodes all of a file with ffmpeg.
///
/// # Errors
/// What ffmpeg complained about.
pub(crate) fn decodes_clean(path: &Path) -> Result<(), String> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-threads", "1", "-i"])
        .arg(path)
        .args(["-f", "null", "-"])
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
    let fields = "stream=width,height,codec_name,codec_tag_string,nb_read_packets:format=duration";
    let whole = ffprobe(path, &["-count_packets", "-show_entries", fields])?;
    let first = ffprobe(path, &["-read_intervals", "%+#1", "-show_entries", "packet=flags"])?;
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
        first_frame_is_key: text(&first["packets"][0], "flags")?.contains('K'),
    })
}

fn ffprobe(path: &Path, what: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-of", "json"])
        .args(what)
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .context("cannot run ffprobe")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ffprobe on `{}`: {}", path.display(), complaints.trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}
