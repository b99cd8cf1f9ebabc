//! Which volume is which: the identity file on each, and what this installation remembers of its paths.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{Error, failed};
use crate::model::volume::Identity;

/// Its name, at the root of each volume.
pub const IDENTITY_FILE: &str = "watchkeeper-volume.json";
/// No identity file is longer.
const LONGEST: u64 = 4096;
/// Where the installation remembers its volumes, in the data directory.
const FILE: &str = "installation.json";
const WHAT: &str = "A volume of Watchkeeper's footage. Without this file nothing is written here.";

#[derive(Serialize, Deserialize)]
struct Text {
    what: String,
    installation: String,
    volume: String,
}

/// Reads the identity of the volume whose root is `dir`; `None` if it has none.
pub(super) fn read(dir: &OwnedFd, root: &Path) -> Result<Option<Identity>, Error> {
    let at = || root.join(IDENTITY_FILE);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, IDENTITY_FILE, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(source) => return Err(failed("read", at(), source)),
    };
    let text =
        io::read_to_string(io::Read::take(file, LONGEST)).map_err(|source| failed("read", at(), source))?;
    let Text { installation, volume, .. } =
        serde_json::from_str(&text).map_err(|bad| failed("understand", at(), io::Error::from(bad)))?;
    Ok(Some(Identity { installation, volume }))
}

/// Whether there is an identity file at all: asked before each new file.
pub(super) fn is_there(dir: &OwnedFd) -> Result<bool, Errno> {
    match rustix::fs::statat(dir, IDENTITY_FILE, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the identity of a volume, over one that was there.
pub(super) fn write(dir: &OwnedFd, root: &Path, identity: &Identity) -> Result<(), Error> {
    let Identity { installation, volume } = identity.clone();
    let text = serde_json::json!(Text { what: WHAT.to_owned(), installation, volume });
    let part = format!(".{IDENTITY_FILE}.part");
    let done = || -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(dir, &*part, flags, Mode::from_raw_mode(0o644))?);
        writeln!(file, "{text:#}")?;
        file.sync_all()?;
        rustix::fs::renameat(dir, &*part, dir, IDENTITY_FILE)?;
        Ok(rustix::fs::fsync(dir)?)
    };
    done().map_err(|source| failed("mark the volume", root, source))
}

/// What this installation is, and which volume it had at each path.
#[derive(Debug)]
pub struct Installation {
    file: PathBuf,
    known: Mutex<Remembered>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Remembered {
    installation: String,
    /// Ids by the paths of their roots.
    volumes: BTreeMap<PathBuf, String>,
}

impl Installation {
    /// Reads what `data_dir` remembers, or begins a new installation there.
    pub fn load(data_dir: &Path) -> Result<Self, Error> {
        let file = data_dir.join(FILE);
        let known = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|bad| failed("understand", &file, io::Error::from(bad)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Remembered { installation: new_id(), volumes: BTreeMap::new() }
            }
            Err(source) => return Err(failed("read", &file, source)),
        };
        Ok(Self { file, known: Mutex::new(known) })
    }

    /// What `data_dir` remembers, if it remembers anything.
    pub fn known(data_dir: &Path) -> Result<Option<Self>, Error> {
        if data_dir.join(FILE).exists() { Self::load(data_dir).map(Some) } else { Ok(None) }
    }

    /// Its id.
    pub(super) fn id(&self) -> String {
        self.lock().installation.clone()
    }

    /// The volume that was at this root.
    pub(super) fn volume_at(&self, root: &Path) -> Option<String> {
        self.lock().volumes.get(root).cloned()
    }

    /// Remembers it, on disk before anywhere else.
    pub(super) fn remember(&self, root: &Path, volume: &str) -> Result<(), Error> {
        let mut known = self.lock();
        if known.volumes.get(root).is_some_and(|before| before == volume) {
            return Ok(());
        }
        let mut new = known.clone();
        new.volumes.insert(root.to_owned(), volume.to_owned());
        let part = self.file.with_extension("part");
        let done = || -> io::Result<()> {
            let mut file = File::create(&part)?;
            writeln!(file, "{:#}", serde_json::json!(new))?;
            file.sync_all()?;
            fs::rename(&part, &self.file)
        };
        done().map_err(|source| failed("write", &self.file, source))?;
        *known = new;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A random one.
pub(super) fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
