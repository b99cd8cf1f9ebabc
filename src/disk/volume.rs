//! The volume: a directory below which everything happens, opened only while it is the right one.

use std::{
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::{Error, Installation, failed, identity};
use crate::{
    base::{CameraId, error::Chain},
    model::volume::{self, Identity, Known, Refusal, Verdict},
};

/// Footage is for its owner and group only.
const DIR_MODE: Mode = Mode::from_raw_mode(0o750);
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// A directory that holds recordings. It is opened once and everything is opened relative to it, so a symbolic link below
/// it, or one put in its place later, leads nowhere. One that is guarded is opened only while it is the volume that it
/// should be ([`Volume::attach`]), and away until then. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Volume(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    guard: Option<Guard>,
    state: RwLock<State>,
}

#[derive(Debug)]
struct Guard {
    installation: Arc<Installation>,
    /// Root of the other volume in use.
    other: Option<PathBuf>,
}

#[derive(Debug)]
struct State {
    /// Or why it is away.
    opened: Result<Opened, String>,
    /// File system on which it was last.
    device: Option<u64>,
    /// How often it came: after it was away, in another place, with nothing in it, or with less than there was.
    arrivals: u64,
}

#[derive(Clone, Debug)]
struct Opened {
    fd: Arc<OwnedFd>,
    /// Device and inode.
    place: (u64, u64),
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    /// Bytes that may still be written (without what is reserved for root).
    pub free_bytes: u64,
}

/// A segment's file, opened for reading.
#[derive(Debug)]
pub struct OpenFile {
    /// The file, at its beginning.
    pub file: File,
    /// Its length in bytes when it was opened; it may be growing.
    pub bytes: u64,
}

impl Volume {
    /// Opens the directory `root`, whatever lies there, and makes it if it is missing.
    pub fn open(root: &Path) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(|source| failed("make the directory", root, source))?;
        Self::open_existing(root)
    }

    /// Opens the directory `root`, whatever lies there.
    pub fn open_existing(root: &Path) -> Result<Self, Error> {
        let opened = open_root(root)?;
        let state = State { device: Some(opened.place.0), opened: Ok(opened), arrivals: 1 };
        Ok(Self(Arc::new(Inner { root: root.to_owned(), guard: None, state: RwLock::new(state) })))
    }

    /// A volume of this installation, which is away until it is attached. `other` is the root of the other one in use.
    pub fn guarded(root: &Path, other: Option<&Path>, installation: Arc<Installation>) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let other = other.map(|other| std::path::absolute(other).unwrap_or_else(|_| other.to_owned()));
        let state = State { opened: Err("nobody looked at it yet".to_owned()), device: None, arrivals: 0 };
        let guard = Some(Guard { installation, other });
        Self(Arc::new(Inner { root, guard, state: RwLock::new(state) }))
    }

    /// Looks whether the right volume is there, and opens it; a path at which there never was one becomes one. After an
    /// error it is away. Blocks as long as the file system does.
    pub fn attach(&self) -> Result<(), Error> {
        self.look(false)
    }

    /// Makes what lies at the path the volume that should be there, whatever it was: the operator said so.
    pub fn accept(&self) -> Result<(), Error> {
        self.look(true)
    }

    /// Looks whether the right volume is there, and changes nothing: for who reads it, or repairs while no service runs. What
    /// lies at a path at which there never was one is taken as it is.
    pub fn examine(&self) -> Result<(), Error> {
        let Some(guard) = &self.0.guard else { return Ok(()) };
        let opened = open_root(self.root())?;
        let found = identity::read(&opened.fd, self.root())?;
        match self.verdict(guard, Some(opened.place.0), found.as_ref()) {
            Verdict::Refuse(why) => Err(Error::Away { path: self.root().to_owned(), why: why.to_string() }),
            Verdict::Use | Verdict::Mark(_) => Ok(()),
        }
    }

    fn look(&self, accept: bool) -> Result<(), Error> {
        let Some(guard) = &self.0.guard else { return Ok(()) };
        match self.find(guard, accept) {
            Ok((opened, marked)) => {
                let mut state = self.state_mut();
                let same = state.opened.as_ref().is_ok_and(|now| now.place == opened.place);
                state.arrivals += u64::from(marked || !same);
                if !same {
                    state.device = Some(opened.place.0);
                    state.opened = Ok(opened);
                }
                Ok(())
            }
            Err(error) => {
                self.state_mut().opened = Err(match &error {
                    Error::Away { why, .. } => why.clone(),
                    other => Chain(other).to_string(),
                });
                Err(error)
            }
        }
    }

    /// The volume, and whether it was marked only now, so that nothing is on it that was.
    fn find(&self, guard: &Guard, accept: bool) -> Result<(Opened, bool), Error> {
        let (root, installation) = (self.root(), &guard.installation);
        let opened = match open_root(root) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
            opened => Some(opened?),
        };
        let found = match &opened {
            Some(opened) => identity::read(&opened.fd, root)?,
            None => None,
        };
        let there = match &opened {
            Some(opened) => Some(opened.place.0),
            None => root.ancestors().find_map(|dir| fs::metadata(dir).ok()).map(|found| found.dev()),
        };
        let verdict = if accept { Verdict::Mark(None) } else { self.verdict(guard, there, found.as_ref()) };
        let volume = match (verdict, found) {
            (Verdict::Refuse(why), _) => {
                return Err(Error::Away { path: root.to_owned(), why: why.to_string() });
            }
            (Verdict::Use, Some(found)) => {
                installation.remember(root, &found.volume)?;
                let opened = opened.ok_or_else(|| failed("open the directory", root, Errno::NOENT))?;
                return Ok((opened, false));
            }
            (Verdict::Use, None) => None,
            (Verdict::Mark(volume), _) => volume,
        };
        let opened = match opened {
            Some(opened) => opened,
            None => {
                fs::create_dir_all(root).map_err(|source| failed("make the directory", root, source))?;
                open_root(root)?
            }
        };
        let volume = volume.unwrap_or_else(identity::new_id);
        identity::write(
            &opened.fd,
            root,
            &Identity { installation: installation.id(), volume: volume.clone() },
        )?;
        installation.remember(root, &volume)?;
        Ok((opened, true))
    }

    /// What to do with what was found there, on this device.
    fn verdict(&self, guard: &Guard, there: Option<u64>, found: Option<&Identity>) -> Verdict {
        let installation = &guard.installation;
        let (id, known) = (installation.id(), installation.volume_at(self.root()));
        let other = guard.other.as_deref().and_then(|other| installation.volume_at(other));
        let device = self.state().device;
        let known = Known {
            installation: &id,
            volume: known.as_deref(),
            other: other.as_deref(),
            same_file_system: device.is_some() && there == device,
        };
        volume::decide(known, found)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// How often it came. What was on it before is to be looked for each time.
    pub fn arrivals(&self) -> u64 {
        self.state().arrivals
    }

    /// Somebody takes files away: the others are to be looked for, too.
    pub(super) fn lost_files(&self) {
        self.state_mut().arrivals += 1;
    }

    /// The device on which it lies; `None` while it is away.
    pub fn device(&self) -> Option<u64> {
        self.state().opened.as_ref().ok().map(|opened| opened.place.0)
    }

    /// Why it is away, if it is.
    pub fn away(&self) -> Option<String> {
        self.state().opened.as_ref().err().cloned()
    }

    /// How much room there is. Blocks as long as the file system does.
    pub fn space(&self) -> Result<Space, Error> {
        let stat = rustix::fs::fstatvfs(self.fd()?)
            .map_err(|source| failed("ask for the free space of", self.root(), source))?;
        Ok(Space {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    /// Opens a segment's file for reading: a regular file below the root, reached through no symbolic link.
    pub fn open_segment_file(&self, path: &str) -> Result<OpenFile, Error> {
        let refused = || Error::Refused { path: path.into() };
        // By the text and not by `Path::components`, which passes over `a//b` and `a/.`: one file has one path.
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refused());
        }
        let fd = open_below(&*self.fd()?, path).map_err(|error| match error {
            Errno::NOENT => Error::NotFound { path: path.into() },
            Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NXIO | Errno::NAMETOOLONG | Errno::INVAL => {
                refused()
            }
            source => failed("open", path, source),
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(|source| failed("look at", path, source))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refused());
        }
        Ok(OpenFile { file: fd.into(), bytes: u64::try_from(stat.st_size).unwrap_or(0) })
    }

    pub(super) fn fd(&self) -> Result<Arc<OwnedFd>, Error> {
        match &self.state().opened {
            Ok(opened) => Ok(opened.fd.clone()),
            Err(why) => Err(Error::Away { path: self.root().to_owned(), why: why.clone() }),
        }
    }

    /// Opens a directory below the root for listing; `None` if there is none of that name, or it is no directory.
    pub(super) fn open_dir(&self, name: &str) -> Result<Option<OwnedFd>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(self.fd()?, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(source) => Err(failed("open the directory", self.root().join(name), source)),
        }
    }

    /// The camera's directory, made if it is missing; and whether it was. Asked before each new file, so whether the volume
    /// is still what it was is looked at here.
    pub(super) fn camera_dir(&self, camera: &CameraId) -> Result<(OwnedFd, bool), Error> {
        let (name, root) = (camera.as_str(), self.fd()?);
        if self.0.guard.is_some()
            && !identity::is_there(&root).map_err(|source| failed("look at", self.root(), source))?
        {
            return Err(Error::Away { path: self.root().to_owned(), why: Refusal::NotMounted.to_string() });
        }
        let made = match rustix::fs::mkdirat(&root, name, DIR_MODE) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(source) => return Err(failed("make the directory", self.root().join(name), source)),
        };
        match self.open_dir(name)? {
            Some(fd) => Ok((fd, made)),
            None => Err(failed("open the directory", self.root().join(name), Errno::NOTDIR)),
        }
    }
}

fn open_root(root: &Path) -> Result<Opened, Error> {
    // Not O_PATH: its entries are to be synced and listed.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(root, flags, Mode::empty()).and_then(|fd| {
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Opened { fd: Arc::new(fd), place: (stat.st_dev, stat.st_ino) })
    });
    opened.map_err(|source| failed("open the directory", root, source))
}

/// Makes a file that does not exist yet, for writing.
pub(super) fn create_new(dir: &OwnedFd, name: &str) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, FILE_MODE).map(File::from)
}

/// Moves a file to a name that does not exist yet: `EEXIST` if it does. Never overwrites.
pub(super) fn move_new(dir: &OwnedFd, from: &str, to: &str) -> Result<(), Errno> {
    match rustix::fs::renameat_with(dir, from, dir, to, rustix::fs::RenameFlags::NOREPLACE) {
        // Network file systems mostly, which know links but not this flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_new(dir, from, to),
        done => done,
    }
}

fn link_new(dir: &OwnedFd, from: &str, to: &str) -> Result<(), Errno> {
    rustix::fs::linkat(dir, from, dir, to, AtFlags::empty())?;
    // Both names lead to the same file now; if the hidden one stays, it costs nothing but its entry.
    let _ = rustix::fs::unlinkat(dir, from, AtFlags::empty());
    Ok(())
}

/// NONBLOCK, because opening a FIFO for reading would wait for its writer.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

fn open_below(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, READ, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => walk_below(root, path),
        // The kernel asks for another try when a rename raced with it; the walk does not care.
        Err(Errno::AGAIN) => walk_below(root, path),
        opened => opened,
    }
}

fn walk_below(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let Some((dirs, name)) = path.rsplit_once('/') else {
        return rustix::fs::openat(root, path, READ, Mode::empty());
    };
    let mut at: Option<OwnedFd> = None;
    for dir in dirs.split('/') {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = Some(rustix::fs::openat(at.as_ref().unwrap_or(root), dir, flags, Mode::empty())?);
    }
    rustix::fs::openat(at.as_ref().unwrap_or(root), name, READ, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn volume() -> (tempfile::TempDir, Volume) {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(&dir.path().join("media")).unwrap();
        (dir, volume)
    }

    #[test]
    fn nothing_outside_and_no_link_is_opened() {
        let (dir, volume) = volume();
        let root = volume.root().to_owned();
        fs::write(dir.path().join("secret"), "x").unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/1.mp4"), "12345").unwrap();
        symlink("1.mp4", root.join("a/link.mp4")).unwrap();
        symlink("a", root.join("linked")).unwrap();
        symlink(dir.path().join("secret"), root.join("a/out.mp4")).unwrap();
        rustix::fs::mknodat(volume.fd().unwrap(), "a/fifo", FileType::Fifo, FILE_MODE, 0).unwrap();

        assert_eq!(volume.open_segment_file("a/1.mp4").unwrap().bytes, 5);
        for bad in [
            "",
            ".",
            "/",
            "a",
            "a/",
            "a/b",
            "a/./1.mp4",
            "a//1.mp4",
            "../secret",
            "a/../../secret",
            "a/../a/1.mp4",
            "/etc/passwd",
            "a/link.mp4",
            "linked/1.mp4",
            "a/out.mp4",
            "a/fifo",
            "a/1.mp4/",
            "a/1.mp4/x",
            "a/\0",
        ] {
            let answer = volume.open_segment_file(bad);
            assert!(matches!(answer, Err(Error::Refused { .. })), "{bad:?}: {answer:?}");
        }
        assert!(matches!(volume.open_segment_file("a/2.mp4"), Err(Error::NotFound { .. })));
        assert!(matches!(volume.open_segment_file("c/2.mp4"), Err(Error::NotFound { .. })));
    }

    #[test]
    fn the_walk_for_old_kernels_follows_no_link_either() {
        let (_dir, volume) = volume();
        let root = volume.root().to_owned();
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/1.mp4"), "x").unwrap();
        symlink("1.mp4", root.join("a/link.mp4")).unwrap();
        symlink("a", root.join("linked")).unwrap();
        assert!(walk_below(&volume.fd().unwrap(), "a/1.mp4").is_ok());
        assert_eq!(walk_below(&volume.fd().unwrap(), "a/link.mp4").unwrap_err(), Errno::LOOP);
        assert_eq!(walk_below(&volume.fd().unwrap(), "linked/1.mp4").unwrap_err(), Errno::NOTDIR);
    }

    #[test]
    fn a_move_never_overwrites() {
        let (_dir, volume) = volume();
        for mover in [move_new, link_new] {
            let (fd, _) = volume.camera_dir(&"a".parse().unwrap()).unwrap();
            fs::write(volume.root().join("a/old"), "old").unwrap();
            fs::write(volume.root().join("a/new"), "new").unwrap();
            assert_eq!(mover(&fd, "new", "old").unwrap_err(), Errno::EXIST);
            mover(&fd, "new", "free").unwrap();
            assert_eq!(fs::read(volume.root().join("a/old")).unwrap(), b"old");
            assert_eq!(fs::read(volume.root().join("a/free")).unwrap(), b"new");
            assert!(!volume.root().join("a/new").exists());
            fs::remove_file(volume.root().join("a/free")).unwrap();
        }
    }

    #[test]
    fn there_is_space() {
        let (_dir, volume) = volume();
        let space = volume.space().unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
    }
}
