//! The footage in `tests/media`, encoded as a camera would: H.264 or H.265, keyframes at an exact distance, and B-frames
//! only where they are asked for.
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

use super::nal::{Codec, Kind, NalUnits, unprotect, with_length};

/// A loop is at least this long, so that a picture is recognisably moving.
const LOOP_AT_LEAST_S: u32 = 10;

/// What the camera looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// `car-detection.mp4`: traffic.
    Cars,
    /// `one-by-one-person-detection.mp4`: people walking past.
    People,
    /// The first picture of that, for ever: nothing moves, not even noise.
    Still,
}

impl Source {
    fn file(self) -> &'static str {
        match self {
            Source::Cars => "car-detection.mp4",
            Source::People | Source::Still => "one-by-one-person-detection.mp4",
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
    /// Language of the bitstream.
    pub codec: Codec,
    /// Two B-frames between the others, one of which is referred to by the other in H.264 (a pyramid). Groups of pictures
    /// stay closed: no picture is shown before a keyframe and sent after it.
    pub b_frames: bool,
    /// Frames per second that the parameter sets and the caps claim, where that is a lie.
    pub claimed_fps: Option<u32>,
}

impl Encoding {
    /// A small picture, cheap to decode, with a keyframe each second: what most tests want.
    pub(crate) fn small(source: Source) -> Encoding {
        Encoding {
            source,
            width: 640,
            height: 360,
            fps: 25,
            gop_frames: 25,
            kbit: 500,
            codec: Codec::H264,
            b_frames: false,
            claimed_fps: None,
        }
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
        let Encoding { source, width, height, fps, gop_frames, kbit, codec, b_frames, claimed_fps } = self;
        let b_frames = if b_frames { "-b" } else { "" };
        let claims = claimed_fps.map_or(String::new(), |fps| format!("-says{fps}"));
        let end = codec.word();
        format!("{source:?}-{width}x{height}-{fps}fps-gop{gop_frames}-{kbit}k{b_frames}{claims}-1.{end}")
    }

    /// The encoded file in the cache. Of several processes one encodes and the others wait for it.
    pub(super) fn cached(self) -> anyhow::Result<PathBuf> {
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
            if self.b_frames {
                fs::rename(order_of(&unfinished), order_of(&path))
                    .context("cannot put the order in place")?;
            }
            fs::rename(&unfinished, &path).context("cannot put the encoded footage in place")?;
        }
        Ok(path)
    }

    /// Writes the bitstream and, with B-frames, beside it a list of its frames with their times.
    fn encode_to(self, path: &Path) -> anyhow::Result<()> {
        let Encoding { source, width, height, fps, gop_frames, kbit, codec, b_frames, claimed_fps } = self;
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media").join(source.file());
        // A little noise, as of a sensor: without it the scaled-up footage stays far below the wanted bit rate.
        let seen = match source {
            Source::Cars | Source::People => "noise=alls=6:allf=t",
            Source::Still => "trim=end_frame=1,tpad=stop_mode=clone:stop_duration=120",
        };
        let filter = format!("scale={width}:{height},{seen},fps={fps},format=yuv420p");
        let b_frames = if b_frames { "bframes=2:b-adapt=0:b-pyramid" } else { "bframes=0:b-pyramid" };
        let exact =
            format!("keyint={gop_frames}:min-keyint={gop_frames}:scenecut=0:open-gop=0:aud=0:{b_frames}");
        // The parameter sets of either rate control.
        let alike = if source == Source::Still { ":stitchable=1" } else { "" };
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y", "-stream_loop", "-1", "-i"]).arg(&media).args([
            "-map",
            "0:v",
            "-vf",
            &filter,
            "-frames:v",
            &self.loop_frames().to_string(),
        ]);
        if source == Source::Still {
            // To reach a bit rate it would be made ever finer, and larger.
            ffmpeg.args(["-qp", "28"]);
        } else {
            ffmpeg
                .args(["-b:v", &format!("{kbit}k"), "-maxrate", &format!("{kbit}k")])
                .args(["-bufsize", &format!("{}k", kbit * 2)]);
        }
        match codec {
            Codec::H264 => ffmpeg
                .args(["-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency"])
                .args(["-profile:v", "main", "-x264-params"])
                .arg(format!("{exact}=normal:sliced-threads=0{alike}")),
            Codec::H265 => ffmpeg
                .args(["-c:v", "libx265", "-preset", "ultrafast", "-x265-params"])
                .arg(format!("{exact}=1:repeat-headers=1:info=0:log-level=error")),
        };
        if let Some(claimed) = claimed_fps {
            // H.264 counts fields.
            let (filter, rate) = match codec {
                Codec::H264 => ("h264_metadata", 2 * claimed),
                Codec::H265 => ("hevc_metadata", claimed),
            };
            ffmpeg.args(["-bsf:v", &format!("{filter}=tick_rate={rate}")]);
        }
        if self.b_frames {
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (stream, order) = (name(path), name(&order_of(path)));
            let both = format!("[f={}]{stream}|[f=framecrc]{order}", codec.word());
            ffmpeg.current_dir(cache_directory()).args(["-f", "tee", &both]);
        } else {
            ffmpeg.args(["-f", codec.word()]).arg(path);
        }
        let output = ffmpeg.stdin(Stdio::null()).output().context("cannot run ffmpeg")?;
        ensure!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// For each frame, in the order of decoding, which one it is in the order of display.
    pub(super) fn order(self, path: &Path) -> anyhow::Result<Vec<u64>> {
        if !self.b_frames {
            return Ok((0..u64::from(self.loop_frames())).collect());
        }
        let list = fs::read_to_string(order_of(path)).context("no list of the frames' times")?;
        let time = |line: &str| line.split(',').nth(2)?.trim().parse::<i64>().ok();
        let times: Vec<i64> = list.lines().filter(|line| !line.starts_with('#')).filter_map(time).collect();
        let mut shown = times.clone();
        shown.sort_unstable();
        let place = |time| shown.binary_search(time).map(|place| place as u64).map_err(|_| ());
        times.iter().map(place).collect::<Result<_, ()>>().map_err(|()| anyhow::anyhow!("a time went away"))
    }
}

/// The list of frames with their times beside a bitstream.
fn order_of(path: &Path) -> PathBuf {
    path.with_added_extension("order")
}

pub(super) fn cache_directory() -> PathBuf {
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
    /// Which frame of the loop it shows. Without B-frames this counts like the units do.
    pub shown: u64,
    /// All frames of the loop that are shown before this one were decoded before it, and only those.
    pub settled: bool,
    /// What stands before the first slice; `None` for most frames.
    pub head: Option<gst::Memory>,
    /// The slices.
    pub body: gst::Memory,
}

/// Encoded footage in memory. Buffers refer to it and never copy it.
#[derive(Debug)]
pub(crate) struct Footage {
    /// In the order of decoding; the first is a keyframe, and so is the one after the last.
    pub units: Vec<AccessUnit>,
    /// How many frames an encoder is behind its sensor: it must see a frame before it can code the B-frames before it.
    pub delay: u64,
    /// `video/x-h264` or `video/x-h265` with size, rate and parameter sets.
    pub caps: gst::Caps,
    /// How it was encoded.
    pub encoding: Encoding,
}

impl Footage {
    /// The unit that is sent as number `sent`, and the number of the frame that it shows: the footage repeats for ever.
    pub(crate) fn unit(&self, sent: u64) -> (&AccessUnit, u64) {
        let index = sent % self.units.len() as u64;
        let unit = &self.units[usize::try_from(index).expect("an index into a Vec")];
        (unit, sent - index + unit.shown)
    }

    fn load(encoding: Encoding) -> anyhow::Result<Footage> {
        gst::init().context("GStreamer does not start")?;
        let (path, codec) = (encoding.cached()?, encoding.codec);
        let order = encoding.order(&path)?;
        let (mut units, mut head, mut parameters) = (Vec::new(), Vec::new(), Parameters::default());
        let mut highest = None;
        for unit in NalUnits::new(BufReader::new(File::open(path)?)) {
            let unit = unit?;
            match codec.kind(&unit) {
                kind @ (Kind::Slice | Kind::Idr) => {
                    ensure!(codec.begins_picture(&unit), "a picture in several slices");
                    let head = std::mem::take(&mut head);
                    let index = units.len();
                    let shown = *order.get(index).context("more frames than times")?;
                    let settled = highest.map_or(0, |highest| highest + 1) == index as u64;
                    highest = highest.max(Some(shown));
                    units.push(AccessUnit {
                        key: kind == Kind::Idr,
                        shown,
                        settled,
                        head: (!head.is_empty()).then(|| gst::Memory::from_slice(head)),
                        body: gst::Memory::from_slice(with_length(&unit)),
                    });
                    continue;
                }
                Kind::Vps if parameters.vps.is_empty() => parameters.vps.clone_from(&unit),
                Kind::Sps if parameters.sps.is_empty() => parameters.sps.clone_from(&unit),
                Kind::Pps if parameters.pps.is_empty() => parameters.pps.clone_from(&unit),
                _ => (),
            }
            head.extend(with_length(&unit));
        }
        ensure!(units.len() == encoding.loop_frames() as usize, "{} frames", units.len());
        for (index, unit) in (0..).zip(&units) {
            let wanted = index % encoding.gop_frames == 0;
            if unit.key != wanted || (unit.key && (unit.head.is_none() || !unit.settled)) {
                bail!("frame {index} is no keyframe, or one at the wrong place");
            }
        }
        let delay =
            (0..).zip(&units).map(|(index, unit)| unit.shown.saturating_sub(index)).max().unwrap_or(0);
        let (media, format, record) = match codec {
            Codec::H264 => ("video/x-h264", "avc", parameters.avc()?),
            Codec::H265 => ("video/x-h265", "hvc1", parameters.hevc()?),
        };
        let fps = encoding.claimed_fps.unwrap_or(encoding.fps);
        let caps = gst::Caps::builder(media)
            .field("stream-format", format)
            .field("alignment", "au")
            .field("codec_data", gst::Buffer::from_slice(record))
            .field("width", i32::try_from(encoding.width)?)
            .field("height", i32::try_from(encoding.height)?)
            .field("framerate", gst::Fraction::new(i32::try_from(fps)?, 1))
            .build();
        Ok(Footage { units, delay, caps, encoding })
    }
}

/// The first parameter sets. With them in the caps the payloader knows them even if a client comes mid-GOP.
#[derive(Default)]
struct Parameters {
    vps: Vec<u8>,
    sps: Vec<u8>,
    pps: Vec<u8>,
}

impl Parameters {
    /// `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1).
    fn avc(&self) -> anyhow::Result<Vec<u8>> {
        let Parameters { sps, pps, .. } = self;
        ensure!(sps.len() > 3 && !pps.is_empty(), "no parameter sets");
        let mut record = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
        record.extend(u16::try_from(sps.len())?.to_be_bytes());
        record.extend(sps);
        record.push(1);
        record.extend(u16::try_from(pps.len())?.to_be_bytes());
        record.extend(pps);
        Ok(record)
    }

    /// `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 8.3.3.1) of 8-bit 4:2:0 video.
    fn hevc(&self) -> anyhow::Result<Vec<u8>> {
        let sps = unprotect(&self.sps);
        // Header, then a byte of ids, then profile, tier and level.
        let profile = sps.get(3..15).context("no parameter sets")?;
        let mut record = vec![1];
        record.extend(profile);
        record.extend([0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x0f, 3]);
        for (kind, nal) in [(32, &self.vps), (33, &self.sps), (34, &self.pps)] {
            ensure!(!nal.is_empty(), "no parameter set {kind}");
            // Complete: no others come in band. One of each.
            record.extend([0x80 | kind, 0, 1]);
            record.extend(u16::try_from(nal.len())?.to_be_bytes());
            record.extend(nal);
        }
        Ok(record)
    }
}
