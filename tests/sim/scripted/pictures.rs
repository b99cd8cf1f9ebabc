//! Encoded pictures as lists of NAL units, from the footage that the other simulated cameras show and from encodings
//! that they do not have: several slices, no IDR.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, ensure};

use super::super::footage::{Encoding, Source, cache_directory};
use super::super::nal::{Codec, Kind, NalUnits};

/// Frames per second of the encodings made here.
const FPS: u32 = 25;
/// Pictures from one point of entry to the next in the encodings made here.
const GROUP: u64 = 25;
/// The same with rolling refresh.
const ROLLING_GROUP: u64 = 50;
/// So long that the one IDR picture at their beginning does not come again in a test.
const WITHOUT_IDR_FRAMES: u32 = 1500;
const SLICED_FRAMES: u32 = 250;

/// What a scripted camera shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Clip {
    /// As the other simulated cameras do.
    Plain(Encoding),
    /// Four slices in each picture.
    Sliced(Codec),
    /// C18, H.264: I pictures with a recovery point, open groups with B-frames; one IDR picture, before anybody connects.
    OpenGroups {
        /// Whether the recovery points are said in SEI.
        sei: bool,
    },
    /// C18, H.264: the picture is refreshed column by column.
    RollingRefresh {
        /// Whether the recovery points are said in SEI.
        sei: bool,
        /// Whether parameter sets come in band.
        parameters: bool,
    },
}

/// One encoded picture.
#[derive(Debug)]
pub(super) struct Picture {
    /// A session may begin here.
    pub entry: bool,
    /// Which frame of the clip it shows; with B-frames that is not the order of sending.
    pub shown: u64,
    /// NAL units without start code.
    pub units: Vec<Vec<u8>>,
    /// The first of them that is a slice.
    pub first_slice: usize,
}

/// A clip in memory; it repeats for ever.
#[derive(Debug)]
pub(super) struct Pictures {
    pub codec: Codec,
    pub fps: u32,
    /// In the order of decoding.
    pub all: Vec<Picture>,
    /// The first of each kind: VPS, SPS, PPS.
    pub parameter_sets: Vec<Vec<u8>>,
    /// Pictures from one point of entry to the next.
    pub group: u64,
}

impl Pictures {
    /// The clip, of which all cameras share one copy; it is encoded on first use on this machine.
    pub(super) fn load(clip: Clip) -> anyhow::Result<Arc<Pictures>> {
        static LOADED: Mutex<Option<HashMap<Clip, Weak<Pictures>>>> = Mutex::new(None);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = loaded.get_or_insert_default();
        if let Some(pictures) = loaded.get(&clip).and_then(Weak::upgrade) {
            return Ok(pictures);
        }
        let pictures = Arc::new(Pictures::read_clip(clip)?);
        loaded.insert(clip, Arc::downgrade(&pictures));
        Ok(pictures)
    }

    /// A copy of its own, with other parameter sets.
    pub(super) fn with_parameter_sets(
        clip: Clip,
        alter: impl Fn(Codec, u32, Vec<u8>) -> Vec<u8>,
    ) -> anyhow::Result<Arc<Pictures>> {
        let mut pictures = Pictures::read_clip(clip)?;
        let (codec, fps) = (pictures.codec, pictures.fps);
        let units = pictures.all.iter_mut().flat_map(|picture| &mut picture.units);
        for unit in units.chain(&mut pictures.parameter_sets) {
            if matches!(codec.kind(unit), Kind::Vps | Kind::Sps | Kind::Pps) {
                *unit = alter(codec, fps, std::mem::take(unit));
            }
        }
        Ok(Arc::new(pictures))
    }

    fn read_clip(clip: Clip) -> anyhow::Result<Pictures> {
        let (path, order, codec, fps, group) = match clip {
            Clip::Plain(encoding) => {
                let path = encoding.cached()?;
                let order = encoding.order(&path)?;
                (path, order, encoding.codec, encoding.fps, u64::from(encoding.gop_frames))
            }
            Clip::Sliced(codec) => {
                let recipe = match codec {
                    Codec::H264 => "keyint=25:min-keyint=25:scenecut=0:bframes=0:sliced-threads=0:slices=4",
                    Codec::H265 => {
                        "keyint=25:min-keyint=25:scenecut=0:bframes=0:open-gop=0:repeat-headers=1:info=0:slices=4:log-level=error"
                    }
                };
                encode("sliced", codec, "640x480", SLICED_FRAMES, recipe)?
            }
            Clip::OpenGroups { .. } => {
                let recipe =
                    "keyint=25:min-keyint=25:scenecut=0:open-gop=1:bframes=2:b-adapt=0:b-pyramid=none";
                encode("open", Codec::H264, "320x180", WITHOUT_IDR_FRAMES, recipe)?
            }
            Clip::RollingRefresh { .. } => {
                let recipe = "keyint=50:intra-refresh=1:scenecut=0:bframes=0";
                let encoded = encode("rolling", Codec::H264, "320x180", WITHOUT_IDR_FRAMES, recipe)?;
                (encoded.0, encoded.1, Codec::H264, FPS, ROLLING_GROUP)
            }
        };
        let stripped: &[Kind] = match clip {
            Clip::OpenGroups { sei: false } | Clip::RollingRefresh { sei: false, parameters: true } => {
                &[Kind::Sei]
            }
            Clip::RollingRefresh { parameters: false, .. } => &[Kind::Sei, Kind::Sps, Kind::Pps],
            _ => &[],
        };
        let mut pictures = Pictures { codec, fps, all: Vec::new(), parameter_sets: Vec::new(), group };
        pictures.read(&path, &order, stripped)?;
        if matches!(clip, Clip::OpenGroups { .. } | Clip::RollingRefresh { .. }) {
            for (index, picture) in (0..).zip(&mut pictures.all) {
                picture.entry = index % group == 0 && index > 0;
            }
        }
        Ok(pictures)
    }

    fn read(&mut self, path: &Path, order: &[u64], stripped: &[Kind]) -> anyhow::Result<()> {
        let (codec, mut units, mut sliced) = (self.codec, Vec::<Vec<u8>>::new(), false);
        for unit in NalUnits::new(BufReader::new(File::open(path)?)) {
            let unit = unit?;
            let kind = codec.kind(&unit);
            let is_slice = matches!(kind, Kind::Slice | Kind::Idr);
            if sliced && (!is_slice || codec.begins_picture(&unit)) {
                self.push(std::mem::take(&mut units), order)?;
            }
            sliced = is_slice;
            if matches!(kind, Kind::Vps | Kind::Sps | Kind::Pps)
                && !self.parameter_sets.iter().any(|known| codec.kind(known) == kind)
            {
                self.parameter_sets.push(unit.clone());
            }
            if !stripped.contains(&kind) {
                units.push(unit);
            }
        }
        self.push(units, order)?;
        ensure!(self.all.len() == order.len(), "{} pictures and {} times", self.all.len(), order.len());
        Ok(())
    }

    fn push(&mut self, units: Vec<Vec<u8>>, order: &[u64]) -> anyhow::Result<()> {
        let kinds: Vec<Kind> = units.iter().map(|unit| self.codec.kind(unit)).collect();
        let first_slice = kinds.iter().position(|kind| matches!(kind, Kind::Slice | Kind::Idr));
        let shown = *order.get(self.all.len()).context("more pictures than times")?;
        self.all.push(Picture {
            entry: kinds.contains(&Kind::Idr),
            shown,
            first_slice: first_slice.context("no slice")?,
            units,
        });
        Ok(())
    }

    /// The picture that is sent as number `sent`, and the number of the frame that it shows.
    pub(super) fn at(&self, sent: u64) -> (&Picture, u64) {
        let index = sent % self.all.len() as u64;
        let picture = &self.all[usize::try_from(index).expect("an index into a Vec")];
        (picture, sent - index + picture.shown)
    }

    /// The first parameter set of a kind.
    pub(super) fn parameter_set(&self, kind: Kind) -> &[u8] {
        self.parameter_sets.iter().find(|unit| self.codec.kind(unit) == kind).map_or(&[], Vec::as_slice)
    }
}

type Encoded = (std::path::PathBuf, Vec<u64>, Codec, u32, u64);

/// Encodes a test picture with these parameters of the encoder, once for each machine.
fn encode(name: &str, codec: Codec, size: &str, frames: u32, recipe: &str) -> anyhow::Result<Encoded> {
    let directory = cache_directory();
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("scripted-{name}-{size}-{frames}-1.{}", codec.word()));
    let order_path = path.with_added_extension("order");
    let lock = File::create(path.with_extension("lock"))?;
    lock.lock().context("cannot lock the cache")?;
    if !path.exists() {
        let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
        let (encoder, parameters) = match codec {
            Codec::H264 => ("libx264", "-x264-params"),
            Codec::H265 => ("libx265", "-x265-params"),
        };
        let of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let outputs = format!("[f={}]{}|[f=framecrc]{}", codec.word(), of(&unfinished), of(&order_path));
        let output = Command::new("ffmpeg")
            .current_dir(&directory)
            .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i"])
            .arg(format!("testsrc2=size={size}:rate={FPS}"))
            .args(["-map", "0:v", "-frames:v", &frames.to_string(), "-pix_fmt", "yuv420p", "-b:v", "300k"])
            .args(["-c:v", encoder, "-preset", "ultrafast", parameters, recipe, "-f", "tee", &outputs])
            .stdin(Stdio::null())
            .output()
            .context("cannot run ffmpeg")?;
        ensure!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr).trim());
        fs::rename(&unfinished, &path)?;
    }
    let list = fs::read_to_string(&order_path).context("no list of the frames' times")?;
    let time = |line: &str| line.split(',').nth(2)?.trim().parse::<i64>().ok();
    let times: Vec<i64> = list.lines().filter(|line| !line.starts_with('#')).filter_map(time).collect();
    let mut shown = times.clone();
    shown.sort_unstable();
    let place = |time: &i64| shown.binary_search(time).map(|place| place as u64).ok();
    let order = times.iter().map(place).collect::<Option<Vec<u64>>>().context("a time went away")?;
    Ok((path, order, codec, FPS, GROUP))
}

impl Clip {
    /// A small picture in H.264 or H.265.
    pub(crate) fn small(codec: Codec) -> Clip {
        let small = Encoding::small(Source::Cars);
        Clip::Plain(Encoding { width: 320, height: 180, kbit: 200, codec, ..small })
    }
}
