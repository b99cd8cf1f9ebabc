//! Copying a segment from one volume to the other, and trying whether a volume takes anything at all.

use std::{
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::{
    Error, failed, hash,
    volume::{self, Volume},
};
use crate::{
    base::CameraId,
    model::{naming, segment::Hash},
};

const BLOCK_BYTES: usize = 1 << 20;
/// What a volume must take to count as writable: a fragment of a camera with much in it.
const PROBE_BYTES: usize = 1 << 20;
const PROBE: &str = ".watchkeeper-probe";

/// Copies the segment `path` from one volume to the other, under the same name, and reads it back there: what is `Ok` is
/// on the medium, under its name, and has this hash. With a `right` hash, a source that is something else is
/// [`Error::Altered`], and nothing changes. A file of that name that is already there, and no copy, is moved aside to the
/// next free name if `replace` is not set. `go_on` hears of each block and says whether to go on.
pub fn copy(
    from: &Volume,
    to: &Volume,
    path: &str,
    right: Option<Hash>,
    replace: bool,
    mut go_on: impl FnMut(u64) -> bool,
) -> Result<Hash, Error> {
    let refused = || Error::Refused { path: path.into() };
    let (camera, name) = path.split_once('/').ok_or_else(refused)?;
    let id: CameraId = camera.parse().map_err(|_| refused())?;
    let mut source = from.open_segment_file(path)?.file;
    let (dir, dir_is_new) = to.camera_dir(&id)?;
    let part = format!(".{name}.copy");
    let copied = write(&mut source, &dir, &part, path, to, right, &mut go_on);
    let named = copied.and_then(|hash| {
        if !replace {
            aside(&dir, &id, name, to)?;
        }
        rustix::fs::renameat(&dir, &*part, &dir, name)
            .and_then(|()| rustix::fs::fsync(&dir))
            .map_err(|source| failed("name", to.root().join(path), source))?;
        if dir_is_new {
            rustix::fs::fsync(to.fd()?).map_err(|source| failed("sync the directory", to.root(), source))?;
        }
        Ok(hash)
    });
    let copied = named.inspect_err(|_| {
        // Ours. If this fails too, a hidden file stays, and the next attempt takes it over.
        let _ = rustix::fs::unlinkat(&dir, &*part, AtFlags::empty());
    })?;
    if hash(to, path)? == copied { Ok(copied) } else { Err(Error::Altered { path: to.root().join(path) }) }
}

fn write(
    source: &mut std::fs::File,
    dir: &OwnedFd,
    part: &str,
    path: &str,
    to: &Volume,
    right: Option<Hash>,
    go_on: &mut impl FnMut(u64) -> bool,
) -> Result<Hash, Error> {
    let cannot = |what, source| failed(what, to.root().join(path), source);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(dir, part, flags, Mode::from_raw_mode(0o640));
    let mut file = std::fs::File::from(made.map_err(|error| cannot("make", error.into()))?);
    let (mut hasher, mut block) = (blake3::Hasher::new(), vec![0; BLOCK_BYTES]);
    loop {
        let read = match source.read(&mut block) {
            Ok(0) => break,
            Ok(read) => &block[..read],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(failed("read", path, source)),
        };
        hasher.update(read);
        file.write_all(read).map_err(|error| cannot("write", error))?;
        if !go_on(read.len() as u64) {
            return Err(Error::Stopped { path: path.into() });
        }
    }
    let hash = Hash(*hasher.finalize().as_bytes());
    if right.is_some_and(|right| right != hash) {
        return Err(Error::Altered { path: path.into() });
    }
    file.sync_all().map_err(|error| cannot("sync", error))?;
    Ok(hash)
}

/// Moves a file that is in the way, and that no row calls a copy, to the next free name of its second.
fn aside(dir: &OwnedFd, camera: &CameraId, name: &str, to: &Volume) -> Result<(), Error> {
    let Some(start) = naming::start_of(name) else { return Err(Error::Refused { path: name.into() }) };
    if rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(());
    }
    for copy in 1..1000 {
        match volume::move_new(dir, name, &naming::file_name(start, copy)) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::EXIST) => {}
            Err(source) => {
                return Err(failed("move aside", to.root().join(camera.as_str()).join(name), source));
            }
        }
    }
    Err(failed("move aside", to.root().join(camera.as_str()).join(name), rustix::io::Errno::EXIST))
}

/// Writes a megabyte, syncs it and takes it away again. Blocks as long as the file system does.
pub fn probe(volume: &Volume) -> Result<(), Error> {
    let dir = volume.fd()?;
    let done = || -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file =
            std::fs::File::from(rustix::fs::openat(&dir, PROBE, flags, Mode::from_raw_mode(0o640))?);
        file.write_all(&vec![0x5a; PROBE_BYTES])?;
        file.sync_all()
    };
    let tried = done();
    let _ = rustix::fs::unlinkat(&dir, PROBE, AtFlags::empty());
    tried.map_err(|source| failed("write to", volume.root(), source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_copy_is_verified_replaces_only_what_it_may_and_leaves_nothing_when_it_fails() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["a", "b"].map(|name| Volume::open(&dir.path().join(name)).unwrap());
        let path = "front/20260101_000000.mp4";
        fs::create_dir(from.root().join("front")).unwrap();
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        fs::write(from.root().join(path), &bytes).unwrap();
        let right = Hash(*blake3::hash(&bytes).as_bytes());
        let names = || {
            let mut names: Vec<_> = fs::read_dir(to.root().join("front"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };

        let wrong = copy(&from, &to, path, Some(Hash([1; 32])), false, |_| true);
        assert!(matches!(wrong, Err(Error::Altered { .. })), "{wrong:?}");
        let mut seen = 0;
        let stopped = copy(&from, &to, path, Some(right), false, |bytes| {
            seen += bytes;
            seen < 2_000_000
        });
        assert!(matches!(stopped, Err(Error::Stopped { .. })), "{stopped:?}");
        assert!(names().is_empty(), "{:?}", names());

        fs::write(to.root().join(path), "somebody's").unwrap();
        assert_eq!(copy(&from, &to, path, Some(right), false, |_| true).unwrap(), right);
        assert_eq!(names(), ["20260101_000000.mp4", "20260101_000000_1.mp4"]);
        assert_eq!(fs::read(to.root().join(path)).unwrap(), bytes);
        assert_eq!(fs::read(to.root().join("front/20260101_000000_1.mp4")).unwrap(), b"somebody's");
        fs::write(to.root().join(path), "torn").unwrap();
        assert_eq!(copy(&from, &to, path, None, true, |_| true).unwrap(), right);
        assert_eq!(names().len(), 2);
        for bad in ["../x/20260101_000000.mp4", "front/../20260101_000000.mp4", "20260101_000000.mp4"] {
            assert!(copy(&from, &to, bad, None, false, |_| true).is_err(), "{bad}");
        }
        probe(&to).unwrap();
        assert!(!to.root().join(PROBE).exists());
    }
}
