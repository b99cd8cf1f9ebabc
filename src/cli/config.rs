//! The configuration: what must be known before the database is open. Everything about cameras is in the database.

use std::{
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    model::retention::{BYTES_LEAST, BYTES_MAX},
    run::{Settings, StorageLimits},
};

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["watchkeeper.toml", "/etc/watchkeeper/watchkeeper.toml"];

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
    /// No more bytes of footage than so many, of all cameras together.
    pub max_bytes: Option<u64>,
    /// So many bytes of the recordings' volume stay free.
    pub min_free_bytes: Option<u64>,
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
            max_bytes: None,
            min_free_bytes: None,
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
    #[error("max_bytes: {0} is not {BYTES_LEAST} to {BYTES_MAX}; leave it out for no limit")]
    MaxBytes(u64),
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
        if let Some(bad) = config.max_bytes.filter(|bytes| !(BYTES_LEAST..=BYTES_MAX).contains(bytes)) {
            return Err(ConfigError::MaxBytes(bad));
        }
        Ok(config)
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
                "LISTEN" => {
                    self.listen = value.parse().map_err(|_| wrong(format!("`{value}` is no address:port")))?
                }
                "ALLOWED_HOSTS" => {
                    self.allowed_hosts = value.split(',').map(|host| host.trim().to_owned()).collect()
                }
                "MAX_BYTES" => self.max_bytes = Some(bytes(&value).map_err(wrong)?),
                "MIN_FREE_BYTES" => self.min_free_bytes = Some(bytes(&value).map_err(wrong)?),
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
            storage: StorageLimits { max_bytes: self.max_bytes, min_free_bytes: self.min_free_bytes },
        }
    }
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
            "listen",
            "allowed_hosts",
            "log",
            "pipelines_dir",
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
    fn only_loopback_is_listened_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.toml");
        fs::write(&path, "listen = \"0.0.0.0:8080\"").unwrap();
        assert!(matches!(Config::load(Some(&path)), Err(ConfigError::Listen(_))));
    }
}
