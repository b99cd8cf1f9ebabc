//! The configuration: what must be known before the database is open. Everything about cameras is in the database.

use std::{
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::places;
use crate::{
    model::{
        retention::{BYTES_LEAST, BYTES_MAX},
        source::SourceChoice,
    },
    run::{AiLimits, MirrorSettings, RefillLimits, Settings, StorageLimits},
};

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["watchkeeper.toml", "/etc/watchkeeper/watchkeeper.toml"];

/// A quarter of what a disk writes in a row: recording is not to notice that a copy is made beside it.
const RESYNC: u64 = 32 << 20;
/// A day reads 720 GB again.
const SCRUB: u64 = 8 << 20;

/// The whole configuration; `watchkeeper.toml` in the repository documents each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of the database, the key file and the lock.
    pub data_dir: PathBuf,
    /// Directory of the recordings; `recordings` below `data_dir` unless set.
    pub recordings_dir: Option<PathBuf>,
    /// Address and port of the API and the dashboard; loopback only until there are accounts.
    pub listen: SocketAddr,
    /// Host names that a reverse proxy may use for the service, beside those of loopback.
    pub allowed_hosts: Vec<String>,
    /// What is logged, in the syntax of `tracing_subscriber`'s `EnvFilter`.
    pub log: String,
    /// Directory whose `*.launch` files replace the built-in pipeline texts.
    pub pipelines_dir: Option<PathBuf>,
    /// Which implementation receives cameras whose `source` is not set.
    #[serde(deserialize_with = "source_of_file")]
    pub source: SourceChoice,
    /// No more bytes of footage than so many, of all cameras together.
    pub max_bytes: Option<u64>,
    /// So many bytes of the recordings' volume stay free.
    pub min_free_bytes: Option<u64>,
    /// Directory of the second copy; none unless set.
    pub mirror_dir: Option<PathBuf>,
    /// No more bytes of footage on the mirror than so many.
    pub mirror_max_bytes: Option<u64>,
    /// So many bytes of the mirror's volume stay free.
    pub mirror_min_free_bytes: Option<u64>,
    /// How fast what is missing on one volume is copied from the other.
    pub resync_bytes_per_second: u64,
    /// How fast closed segments are read again and compared with their hashes; 0 is never.
    pub scrub_bytes_per_second: u64,
    /// So many pictures a second for programs that look at them, of all cameras together.
    pub ai_max_total_fps: u32,
    /// So many megapixels are decoded for them in a second.
    pub ai_max_decode_mpps: Option<u32>,
    /// How often, in seconds, gaps are looked for that cameras may have recorded themselves.
    pub refill_interval_seconds: u32,
    /// Gaps that began so many hours ago are not fetched any more.
    pub refill_max_gap_hours: u32,
    /// A gap is given up after so many attempts.
    pub refill_max_attempts: u32,
    /// A replay takes no more than so many bytes a second.
    pub refill_bytes_per_second: u64,
    /// So many cameras at once.
    pub refill_parallel: u32,
    /// Directory of the latest picture of each sampled stream; none unless set.
    pub frames_dir: Option<PathBuf>,
    /// Whether decoders of the machine's hardware may be used for them.
    pub ai_hardware_decoders: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            recordings_dir: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allowed_hosts: Vec::new(),
            log: "info".to_owned(),
            pipelines_dir: None,
            source: SourceChoice::Auto,
            max_bytes: None,
            min_free_bytes: None,
            mirror_dir: None,
            mirror_max_bytes: None,
            mirror_min_free_bytes: None,
            resync_bytes_per_second: RESYNC,
            scrub_bytes_per_second: SCRUB,
            ai_max_total_fps: 40,
            ai_max_decode_mpps: None,
            refill_interval_seconds: 300,
            refill_max_gap_hours: 24,
            refill_max_attempts: 3,
            refill_bytes_per_second: 4 << 20,
            refill_parallel: 2,
            frames_dir: None,
            ai_hardware_decoders: false,
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not right; the text names the key and the line.
    #[error("the configuration `{path}` is not right")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong where.
        source: Box<toml::de::Error>,
    },
    /// A variable is not right.
    #[error("the variable `{name}` is not right: {why}")]
    Variable {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Nobody could tell who asks.
    #[error(
        "listen: {0} is not a loopback address; until there are accounts, put a reverse proxy in front of 127.0.0.1"
    )]
    Listen(SocketAddr),
    /// It would keep nothing.
    #[error("{key}: {bytes} is not {BYTES_LEAST} to {BYTES_MAX}; leave it out for no limit")]
    MaxBytes {
        /// Which of those that are such a limit.
        key: &'static str,
        /// What it says.
        bytes: u64,
    },
    /// It would be the directory that the program was started in.
    #[error("mirror_dir: is empty; set it to a directory on another disk, or leave it out for no mirror")]
    NoMirrorDir,
    /// Both copies would have the same names in the same place.
    #[error(
        "mirror_dir: `{mirror}` {how} the directory of the recordings, `{recordings}`; set it to one on another disk, or \
         leave it out for no mirror"
    )]
    MirrorDir {
        /// What the key says.
        mirror: PathBuf,
        /// How it lies to the recordings.
        how: places::Overlap,
        /// Where they are.
        recordings: PathBuf,
    },
    /// Nothing would come.
    #[error("refill_bytes_per_second: 0 fetches nothing; set it to 1 or more, or leave it out")]
    RefillRate,
    /// None would be asked, or all at once.
    #[error("refill_parallel: {0} is not 1 to 16")]
    RefillParallel(u32),
    /// No gap would be fetched, or a camera asked for one for weeks.
    #[error("refill_max_attempts: {0} is not 1 to 100")]
    RefillAttempts(u32),
    /// Cameras would be asked without end.
    #[error("refill_interval_seconds: {0} is less than 10")]
    RefillInterval(u32),
    /// It would be the directory that the program was started in.
    #[error("frames_dir: is empty; set it to a directory, or leave it out for no pictures as files")]
    NoFramesDir,
    /// Pictures would lie among recordings.
    #[error("frames_dir: `{frames}` {how} a directory of recordings, `{of}`; set it to one of its own")]
    FramesDir {
        /// What the key says.
        frames: PathBuf,
        /// How it lies to the recordings.
        how: places::Overlap,
        /// Where they are.
        of: PathBuf,
    },
    /// What is missing would be missing for ever.
    #[error(
        "resync_bytes_per_second: 0 never copies what is missing; set it to 1 or more, or leave it out for {RESYNC}"
    )]
    Resync,
}

impl Config {
    /// Reads the file, if there is one, and then the `WATCHKEEPER_*` variables, which win.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let found = PLACES.iter().map(Path::new).find(|path| path.exists());
        let mut config = match named.or(found) {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        config.apply(env::vars())?;
        if !config.listen.ip().is_loopback() {
            return Err(ConfigError::Listen(config.listen));
        }
        for (key, limit) in [("max_bytes", config.max_bytes), ("mirror_max_bytes", config.mirror_max_bytes)] {
            if let Some(bytes) = limit.filter(|bytes| !(BYTES_LEAST..=BYTES_MAX).contains(bytes)) {
                return Err(ConfigError::MaxBytes { key, bytes });
            }
        }
        if config.refill_interval_seconds < 10 {
            return Err(ConfigError::RefillInterval(config.refill_interval_seconds));
        }
        if !(1..=100).contains(&config.refill_max_attempts) {
            return Err(ConfigError::RefillAttempts(config.refill_max_attempts));
        }
        if !(1..=16).contains(&config.refill_parallel) {
            return Err(ConfigError::RefillParallel(config.refill_parallel));
        }
        if config.refill_bytes_per_second == 0 {
            return Err(ConfigError::RefillRate);
        }
        if config.resync_bytes_per_second == 0 {
            return Err(ConfigError::Resync);
        }
        config.check_mirror_dir()?;
        config.check_frames_dir()?;
        Ok(config)
    }

    fn check_mirror_dir(&self) -> Result<(), ConfigError> {
        let Some(mirror) = &self.mirror_dir else { return Ok(()) };
        if mirror.as_os_str().is_empty() {
            return Err(ConfigError::NoMirrorDir);
        }
        let recordings = self.settings().recordings_dir;
        match places::overlap(mirror, &recordings) {
            Some(how) => Err(ConfigError::MirrorDir { mirror: mirror.clone(), how, recordings }),
            None => Ok(()),
        }
    }

    fn check_frames_dir(&self) -> Result<(), ConfigError> {
        let Some(frames) = &self.frames_dir else { return Ok(()) };
        let recordings = self.settings().recordings_dir;
        let taken = [Some(&recordings), self.mirror_dir.as_ref()];
        match taken.into_iter().flatten().find_map(|dir| Some((places::overlap(frames, dir)?, dir))) {
            _ if frames.as_os_str().is_empty() => Err(ConfigError::NoFramesDir),
            Some((how, of)) => Err(ConfigError::FramesDir { frames: frames.clone(), how, of: of.clone() }),
            None => Ok(()),
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::File { path: path.to_owned(), source: Box::new(source) })
    }

    fn apply(&mut self, variables: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
        for (name, value) in variables {
            let Some(key) = name.strip_prefix("WATCHKEEPER_") else { continue };
            let wrong = |why: String| ConfigError::Variable { name: name.clone(), why };
            match key {
                "DATA_DIR" => self.data_dir = value.into(),
                "RECORDINGS_DIR" => self.recordings_dir = Some(value.into()),
                "PIPELINES_DIR" => self.pipelines_dir = Some(value.into()),
                "SOURCE" => self.source = source(&value).map_err(wrong)?,
                "LISTEN" => {
                    self.listen = value.parse().map_err(|_| wrong(format!("`{value}` is no address:port")))?
                }
                "ALLOWED_HOSTS" => {
                    self.allowed_hosts = value.split(',').map(|host| host.trim().to_owned()).collect()
                }
                "MAX_BYTES" => self.max_bytes = Some(bytes(&value).map_err(wrong)?),
                "MIN_FREE_BYTES" => self.min_free_bytes = Some(bytes(&value).map_err(wrong)?),
                "MIRROR_DIR" => self.mirror_dir = Some(value.into()),
                "MIRROR_MAX_BYTES" => self.mirror_max_bytes = Some(bytes(&value).map_err(wrong)?),
                "MIRROR_MIN_FREE_BYTES" => self.mirror_min_free_bytes = Some(bytes(&value).map_err(wrong)?),
                "RESYNC_BYTES_PER_SECOND" => self.resync_bytes_per_second = bytes(&value).map_err(wrong)?,
                "SCRUB_BYTES_PER_SECOND" => self.scrub_bytes_per_second = bytes(&value).map_err(wrong)?,
                "AI_MAX_TOTAL_FPS" => self.ai_max_total_fps = number(&value).map_err(wrong)?,
                "AI_MAX_DECODE_MPPS" => self.ai_max_decode_mpps = Some(number(&value).map_err(wrong)?),
                "REFILL_INTERVAL_SECONDS" => self.refill_interval_seconds = number(&value).map_err(wrong)?,
                "REFILL_MAX_GAP_HOURS" => self.refill_max_gap_hours = number(&value).map_err(wrong)?,
                "REFILL_MAX_ATTEMPTS" => self.refill_max_attempts = number(&value).map_err(wrong)?,
                "REFILL_BYTES_PER_SECOND" => self.refill_bytes_per_second = bytes(&value).map_err(wrong)?,
                "REFILL_PARALLEL" => self.refill_parallel = number(&value).map_err(wrong)?,
                "FRAMES_DIR" => self.frames_dir = Some(value.into()),
                "AI_HARDWARE_DECODERS" => {
                    self.ai_hardware_decoders =
                        value.parse().map_err(|_| wrong(format!("`{value}` is neither true nor false")))?
                }
                "LOG" => self.log = value,
                // Read by clap.
                "CONFIG" | "SERVER" => {}
                _ => return Err(wrong("there is no such setting".to_owned())),
            }
        }
        Ok(())
    }

    /// What the service needs of it.
    pub fn settings(&self) -> Settings {
        Settings {
            data_dir: self.data_dir.clone(),
            recordings_dir: self.recordings_dir.clone().unwrap_or_else(|| self.data_dir.join("recordings")),
            pipelines_dir: self.pipelines_dir.clone(),
            source: self.source,
            storage: StorageLimits { max_bytes: self.max_bytes, min_free_bytes: self.min_free_bytes },
            mirror: self.mirror_dir.clone().map(|dir| MirrorSettings {
                dir,
                storage: StorageLimits {
                    max_bytes: self.mirror_max_bytes,
                    min_free_bytes: self.mirror_min_free_bytes,
                },
            }),
            resync_bytes_per_second: self.resync_bytes_per_second,
            scrub_bytes_per_second: self.scrub_bytes_per_second,
            refill: RefillLimits {
                interval: Duration::from_secs(self.refill_interval_seconds.into()),
                max_gap: Duration::from_secs(u64::from(self.refill_max_gap_hours) * 3600),
                max_attempts: self.refill_max_attempts,
                bytes_per_second: self.refill_bytes_per_second,
                parallel: self.refill_parallel as usize,
            },
            frames_dir: self.frames_dir.clone(),
            ai: AiLimits {
                rate: self.ai_max_total_fps.saturating_mul(1_000),
                pixels: self.ai_max_decode_mpps.map(|mpps| u64::from(mpps) * 1_000_000),
                hardware: self.ai_hardware_decoders,
            },
        }
    }
}

fn number(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("`{value}` is no whole number"))
}

fn source(word: &str) -> Result<SourceChoice, String> {
    let words: Vec<&str> = SourceChoice::ALL.iter().map(|source| source.word()).collect();
    SourceChoice::from_word(word).ok_or_else(|| format!("`{word}` is none of {}", words.join(", ")))
}

fn source_of_file<'de, D: Deserializer<'de>>(from: D) -> Result<SourceChoice, D::Error> {
    source(&String::deserialize(from)?).map_err(|why| D::Error::custom(format!("source: {why}")))
}

fn bytes(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("`{value}` is no whole number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_documents_every_key_and_holds_the_defaults() {
        let text = include_str!("../../watchkeeper.toml");
        assert_eq!(toml::from_str::<Config>(text).unwrap(), Config::default());
        let keys = [
            "data_dir",
            "recordings_dir",
            "max_bytes",
            "min_free_bytes",
            "mirror_dir",
            "mirror_max_bytes",
            "mirror_min_free_bytes",
            "resync_bytes_per_second",
            "scrub_bytes_per_second",
            "ai_max_total_fps",
            "ai_max_decode_mpps",
            "refill_interval_seconds",
            "refill_max_gap_hours",
            "refill_max_attempts",
            "refill_bytes_per_second",
            "refill_parallel",
            "frames_dir",
            "ai_hardware_decoders",
            "listen",
            "allowed_hosts",
            "log",
            "pipelines_dir",
            "source",
        ];
        for key in keys {
            let stands = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} ="));
            assert!(text.lines().any(stands), "{key}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.toml");
        fs::write(&path, "listen_adr = \"127.0.0.1:1\"").unwrap();
        let error = Config::load(Some(&path)).unwrap_err();
        let text = crate::base::error::Chain(&error).to_string();
        assert!(text.contains("listen_adr"), "{text}");
        let mut config = Config::default();
        let set = |name: &str| [(name.to_owned(), "x".to_owned())].into_iter();
        let error = config.apply(set("WATCHKEEPER_LISTNE")).unwrap_err();
        assert!(error.to_string().contains("WATCHKEEPER_LISTNE"));
        assert!(config.apply(set("WATCHKEEPER_LISTEN")).is_err());
        assert!(config.apply(set("WATCHKEEPER_MAX_BYTES")).is_err());
        assert_eq!(config.max_bytes, None);
        for fine in ["OTHER", "WATCHKEEPER_CONFIG", "WATCHKEEPER_SERVER"] {
            assert!(config.apply(set(fine)).is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_limit_that_would_keep_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.toml");
        fs::write(&path, "max_bytes = 0").unwrap();
        assert!(Config::load(Some(&path)).unwrap_err().to_string().starts_with("max_bytes: 0 is not"));
        fs::write(&path, "max_bytes = 2_000_000_000_000\nmin_free_bytes = 0").unwrap();
        let bytes = Config::load(Some(&path)).unwrap().settings().storage;
        assert_eq!(bytes, StorageLimits { max_bytes: Some(2_000_000_000_000), min_free_bytes: Some(0) });
    }

    #[test]
    fn a_mirror_has_limits_and_rates_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.toml");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            Config::load(Some(&path)).map(|config| config.settings()).map_err(|error| error.to_string())
        };
        let none = load("mirror_max_bytes = 1_000_000").unwrap();
        assert!(none.mirror.is_none());
        assert_eq!((none.resync_bytes_per_second, none.scrub_bytes_per_second), (33_554_432, 8_388_608));
        for bad in ["0", "999_999", "9_007_199_254_740_992"] {
            let error = load(&format!("mirror_max_bytes = {bad}")).unwrap_err();
            let said = format!("mirror_max_bytes: {} is not", bad.replace('_', ""));
            assert!(error.starts_with(&said) && error.ends_with("leave it out for no limit"), "{error}");
        }
        let error = load("resync_bytes_per_second = 0").unwrap_err();
        assert!(error.starts_with("resync_bytes_per_second: 0 never"), "{error}");
        let all = load(&format!(
            "mirror_dir = {:?}\nmirror_max_bytes = 1_000_000\nmirror_min_free_bytes = 0\n\
             resync_bytes_per_second = 1\nscrub_bytes_per_second = 0",
            dir.path().join("mirror")
        ))
        .unwrap();
        let mirror = all.mirror.unwrap();
        assert_eq!(mirror.dir, dir.path().join("mirror"));
        assert_eq!(mirror.storage, StorageLimits { max_bytes: Some(1_000_000), min_free_bytes: Some(0) });
        assert_eq!(all.storage, StorageLimits::default());
        assert_eq!((all.resync_bytes_per_second, all.scrub_bytes_per_second), (1, 0));
    }

    #[test]
    fn refill_has_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.toml");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            Config::load(Some(&path))
                .map(|config| config.settings().refill)
                .map_err(|error| error.to_string())
        };
        assert_eq!(load(""), Ok(RefillLimits::default()));
        let key = "refill_";
        for (name, bad, said) in [
            ("interval_seconds", "9", "9 is less than 10"),
            ("max_attempts", "0", "0 "),
            ("max_attempts", "101", "101 is not 1 to 100"),
            ("bytes_per_second", "0", "0 "),
            ("parallel", "0", "0 "),
            ("parallel", "17", "17 is not 1 to 16"),
        ] {
            let error = load(&format!("{key}{name} = {bad}")).unwrap_err();
            assert!(error.starts_with(&format!("{key}{name}: {said}")), "{error}");
        }
        let mut config = Config::default();
        for (name, value) in [
            ("INTERVAL_SECONDS", "10"),
            ("MAX_GAP_HOURS", "48"),
            ("MAX_ATTEMPTS", "5"),
            ("BYTES_PER_SECOND", "1000"),
            ("PARALLEL", "16"),
        ] {
            let mut set = |value: &str| {
                config.apply([(format!("WATCHKEEPER_REFILL_{name}"), value.to_owned())].into_iter())
            };
            assert!(set(value).is_ok(), "{name}");
            assert!(set("x").unwrap_err().to_string().contains(name));
        }
        let expected = RefillLimits {
            interval: Duration::from_secs(10),
            max_gap: Duration::from_secs(48 * 3600),
            max_attempts: 5,
            bytes_per_second: 1000,
            parallel: 16,
        };
        assert_eq!(config.settings().refill, expected);
    }

    #[test]
    fn the_mirrors_keys_are_variables_too() {
        let mut config = Config::default();
        let mut set =
            |name: &str, value: &str| config.apply([(name.to_owned(), value.to_owned())].into_iter());
        for (name, value) in [
            ("WATCHKEEPER_MIRROR_DIR", "/srv/mirror"),
            ("WATCHKEEPER_MIRROR_MAX_BYTES", "1000000"),
            ("WATCHKEEPER_MIRROR_MIN_FREE_BYTES", "0"),
            ("WATCHKEEPER_RESYNC_BYTES_PER_SECOND", "7"),
            ("WATCHKEEPER_SCRUB_BYTES_PER_SECOND", "0"),
        ] {
            assert!(set(name, value).is_ok(), "{name}");
            let text = set(name, "fast").err().map(|error| error.to_string());
            assert!(name.ends_with("_DIR") || text.is_some_and(|text| text.contains(name)), "{name}");
        }
        let expected = Config {
            mirror_dir: Some("fast".into()),
            mirror_max_bytes: Some(1_000_000),
            mirror_min_free_bytes: Some(0),
            resync_bytes_per_second: 7,
            scrub_bytes_per_second: 0,
            ..Config::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn a_mirror_that_is_not_apart_from_the_recordings_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, recordings) = (dir.path().join("w.toml"), dir.path().join("recordings"));
        let load = |mirror: &Path| {
            fs::write(&path, format!("recordings_dir = {recordings:?}\nmirror_dir = {mirror:?}")).unwrap();
            Config::load(Some(&path)).map_err(|error| error.to_string())
        };
        let error = load(&recordings.join("mirror")).unwrap_err();
        let said = format!("mirror_dir: `{}` lies inside", recordings.join("mirror").display());
        assert!(error.starts_with(&said) && error.contains(&*recordings.to_string_lossy()), "{error}");
        assert!(error.ends_with("set it to one on another disk, or leave it out for no mirror"), "{error}");
        assert!(load(&recordings).unwrap_err().contains("` is the directory of the recordings"));
        assert!(load(dir.path()).unwrap_err().contains("` contains the directory of the recordings"));
        assert!(load(Path::new("")).unwrap_err().starts_with("mirror_dir: is empty"));
        assert!(load(&dir.path().join("recordings-mirror")).is_ok());
        assert!(!recordings.exists(), "a check makes nothing");
        let frames = |frames: &Path| {
            fs::write(&path, format!("recordings_dir = {recordings:?}\nframes_dir = {frames:?}")).unwrap();
            Config::load(Some(&path)).map_err(|error| error.to_string())
        };
        let error = frames(&recordings.join("frames")).unwrap_err();
        assert!(error.starts_with("frames_dir: `") && error.ends_with("set it to one of its own"), "{error}");
        assert!(frames(Path::new("")).unwrap_err().starts_with("frames_dir: is empty"));
        assert!(frames(&dir.path().join("frames")).is_ok());
        // Below the data directory, where the recordings are, too, unless they are told to be elsewhere.
        fs::write(&path, "mirror_dir = \"data\"").unwrap();
        assert!(matches!(Config::load(Some(&path)), Err(ConfigError::MirrorDir { .. })));
        fs::write(&path, "mirror_dir = \"data/mirror\"").unwrap();
        assert!(Config::load(Some(&path)).is_ok());
    }

    #[test]
    fn the_source_is_one_of_three_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.toml");
        fs::write(&path, "source = \"rtspsrc\"").unwrap();
        let mut config = Config::load(Some(&path)).unwrap();
        assert_eq!(config.settings().source, SourceChoice::Rtspsrc);
        let mut set =
            |word: &str| config.apply([("WATCHKEEPER_SOURCE".to_owned(), word.to_owned())].into_iter());
        assert!(set("native").is_ok());
        let error = set("gstreamer").unwrap_err().to_string();
        assert!(error.contains("WATCHKEEPER_SOURCE") && error.contains("auto, native, rtspsrc"), "{error}");
        assert_eq!(config.settings().source, SourceChoice::Native);
        fs::write(&path, "source = \"Native\"").unwrap();
        let error = Config::load(Some(&path)).unwrap_err();
        let text = crate::base::error::Chain(&error).to_string();
        assert!(text.contains("source: `Native` is none of auto, native, rtspsrc"), "{text}");
    }

    #[test]
    fn only_loopback_is_listened_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.toml");
        fs::write(&path, "listen = \"0.0.0.0:8080\"").unwrap();
        assert!(matches!(Config::load(Some(&path)), Err(ConfigError::Listen(_))));
    }
}
