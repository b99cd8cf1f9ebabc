//! The footage in `tests/media`, encoded as a camera would: no B-frames, keyframes at an exact distance.
//!
//! Encoded once by ffmpeg and kept in `target/sim-cache` (or `WATCHKEEPER_SIM_CACHE`), because an encoder per
//! camera would leave no CPU for the program under test.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, bail, ensure};
use gstreamer as gst;

use super::nal::{self, NalUnits};

/// A loop is at least this long, so that a picture is recognisably moving.
const LOOP_AT_LEAST_S: u32 = 10;

/// What the camera looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// `car-detection.mp4`: traffic.
    Cars,
    /// `one-by-one-person-detection.mp4`: people walking past.
    People,
}

impl Source {
    fn file(self) -> &'static str {
        match self {
            Source::Cars => "car-detection.mp4",
            Source::People => "one-by-one-person-detection.mp4",
        }
    }
}

/// How a camera encodes. Equal encodings share one copy in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Encoding {
    /// What is seen.
    pub source: Source,
    /// Pixels; even.
    pub width: u32,
    /// Pixels; even.
    pub height: u32,
    /// Frames per second.
    pub fps: u32,
    /// Frames from one keyframe to the next.
    pub gop_frames: u32,
    /// Kilobits (1000 bits) per second on average.
    pub kbit: u32,
}

impl Encoding {
    /// A small picture, cheap to decode, with a keyframe each second: what most tests want.
    pub(crate) fn small(source: Source) -> Encoding {
        Encoding { source, width: 640, height: 360, fps: 25, gop_frames: 25, kbit: 500 }
    }

    /// The encoded footage, encoding it first if this was never done on this machine (some seconds).
    ///
    /// # Errors
    /// If ffmpeg is missing or refuses, or the cache directory cannot be written.
    pub(crate) fn footage(self) -> anyhow::Result<Arc<Footage>> {
        static LOADED: Mutex<Option<HashMap<Encoding, Weak<Footage>>>> = Mutex::new(None);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = loaded.get_or_insert_default();
        if let Some(footage) = loaded.get(&self).and_then(Weak::upgrade) {
            return Ok(footage);
        }
        let footage = Arc::new(Footage::load(self).with_context(|| format!("footage as {self:?}"))?);
        loaded.insert(self, Arc::downgrade(&footage));
        Ok(footage)
    }

    /// Frames until the footage repeats: whole groups of pictures, at least two.
    fn loop_frames(self) -> u32 {
        (LOOP_AT_LEAST_S * self.fps).div_ceil(self.gop_frames).max(2) * self.gop_frames
    }

    /// Every parameter, so that another encoding is another file. The number at the end is that of the recipe.
    fn file_name(self) -> String {
        let Encoding { source, width, height, fps, gop_frames, kbit } = self;
        format!("{source:?}-{width}x{height}-{fps}fps-gop{gop_frames}-{kbit}k-1.h264")
    }

    /// The encoded file in the cache. Of several processes one encodes and the others wait for it.
    fn cached(self) -> anyhow::Result<PathBuf> {
        let directory = cache_directory();
        fs::create_dir_all(&directory).with_context(|| format!("cannot create `{}`", directory.display()))?;
        let path = directory.join(self.file_name());
        if path.exists() {
            return Ok(path);
        }
        let lock =
            File::create(path.with_extension("lock")).context("cannot create the cache's lock file")?;
        lock.lock().context("cannot lock the cache")?;
        if !path.exists() {
            let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
            self.encode_to(&unfinished)?;
            fs::rename(&unfinished, &path).context("cannot put the encoded footage in place")?;
        }
        Ok(path)
    }

    fn encode_to(self, path: &Path) -> anyhow::Result<()> {
        let Encoding { source, width, height, fps, gop_frames, kbit } = self;
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media").join(source.file());
        // A little noise, as of a sensor: without it the scaled-up footage stays far below the wanted bit rate.
        let filter = format!("scale={width}:{height},noise=alls=6:allf=t,fps={fps},format=yuv420p");
        let exact = format!(
            "keyint={gop_frames}:min-keyint={gop_frames}:scenecut=0:bframes=0:open-gop=0:sliced-threads=0:aud=0"
        );
        let output = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y", "-stream_loop", "-1", "-i"])
            .arg(&media)
            .args(["-an", "-vf", &filter, "-frames:v", &self.loop_frames().to_string()])
            .args(["-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency", "-profile:v", "main"])
            .args(["-b:v", &format!("{kbit}k"), "-maxrate", &format!("{kbit}k")])
            .args(["-bufsize", &format!("{}k", kbit * 2), "-x264-params", &exact, "-f", "h264"])
            .arg(path)
            .stdin(Stdio::null())
            .output()
            .context("cannot run ffmpeg")?;
        ensure!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}

fn cache_directory() -> PathBuf {
    match std::env::var_os("WATCHKEEPER_SIM_CACHE") {
        Some(directory) => directory.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sim-cache"),
    }
}

/// One encoded picture, in NAL units behind four-byte lengths, so that nobody has to look for start codes again.
#[derive(Debug)]
pub(crate) struct AccessUnit {
    /// Decodable without any other: parameter sets and an IDR picture.
    pub key: bool,
    /// What stands before the first slice; `None` for most frames.
    pub head: Option<gst::Memory>,
    /// The slices.
    pub body: gst::Memory,
}

/// Encoded footage in memory. Buffers refer to it and never copy it.
#[derive(Debug)]
pub(crate) struct Footage {
    /// In order; the first is a keyframe, and so is the one after the last.
    pub units: Vec<AccessUnit>,
    /// `video/x-h264` with size, rate and parameter sets.
    pub caps: gst::Caps,
    /// How it was encoded.
    pub encoding: Encoding,
}

impl Footage {
    /// The picture of frame `number`: the footage repeats for ever.
    pub(crate) fn unit(&self, number: u64) -> &AccessUnit {
        let index = number % self.units.len() as u64;
        &self.units[usize::try_from(index).expect("an index into a Vec")]
    }

    fn load(encoding: Encoding) -> anyhow::Result<Footage> {
        gst::init().context("GStreamer does not start")?;
        let file = File::open(encoding.cached()?)?;
        let (mut units, mut head, mut sps, mut pps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for unit in NalUnits::new(BufReader::new(file)) {
            let unit = unit?;
            match nal::kind(&unit) {
                nal::SLICE | nal::IDR => {
                    ensure!(nal::begins_picture(&unit), "a picture in several slices");
                    let head = std::mem::take(&mut head);
                    units.push(AccessUnit {
                        key: nal::kind(&unit) == nal::IDR,
                        head: (!head.is_empty()).then(|| gst::Memory::from_slice(head)),
                        body: gst::Memory::from_slice(with_length(&unit)),
                    });
                    continue;
                }
                nal::SPS if sps.is_empty() => sps.clone_from(&unit),
                nal::PPS if pps.is_empty() => pps.clone_from(&unit),
                _ => (),
            }
            head.extend(with_length(&unit));
        }
        ensure!(units.len() == encoding.loop_frames() as usize, "{} frames", units.len());
        for (index, unit) in (0..).zip(&units) {
            if unit.key != (index % encoding.gop_frames == 0) || (unit.key && unit.head.is_none()) {
                bail!("frame {index} is no keyframe, or one at the wrong place");
            }
        }
        let caps = gst::Caps::builder("video/x-h264")
            .field("stream-format", "avc")
            .field("alignment", "au")
            .field("codec_data", gst::Buffer::from_slice(decoder_configuration(&sps, &pps)?))
            .field("width", i32::try_from(encoding.width)?)
            .field("height", i32::try_from(encoding.height)?)
            .field("framerate", gst::Fraction::new(i32::try_from(encoding.fps)?, 1))
            .build();
        Ok(Footage { units, caps, encoding })
    }
}

/// A NAL unit behind its length in four bytes.
pub(crate) fn with_length(nal: &[u8]) -> Vec<u8> {
    let length = u32::try_from(nal.len()).expect("a NAL unit is far below 4 GiB");
    [&length.to_be_bytes(), nal].concat()
}

/// `AVCDecoderConfigurationRecord`: with it the payloader knows the parameter sets even if a client comes mid-GOP.
fn decoder_configuration(sps: &[u8], pps: &[u8]) -> anyhow::Result<Vec<u8>> {
    ensure!(sps.len() > 3 && !pps.is_empty(), "no parameter sets");
    let mut record = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    record.extend(u16::try_from(sps.len())?.to_be_bytes());
    record.extend(sps);
    record.push(1);
    record.extend(u16::try_from(pps.len())?.to_be_bytes());
    record.extend(pps);
    Ok(record)
}
