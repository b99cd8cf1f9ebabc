//! One segment's file while it is written.

use std::{
    fs::File,
    io::{self, IoSlice, Write as _},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use rustix::{fs::AtFlags, io::Errno};

use super::{
    Error, failed,
    volume::{self, Volume},
};
use crate::{
    base::{CameraId, WallUs},
    model::{naming, segment::Hash},
};

/// So many files of one camera may begin in the same second.
const COPIES: u32 = 10_000;
/// So many pieces the kernel takes in one write.
const PIECES: usize = 1024;

/// The name of a segment, the same on both volumes. It is chosen when the segment begins, in memory; a volume that has a
/// file of that name from before chooses the next, and the other volume follows.
#[derive(Debug)]
pub(super) struct SharedName(Mutex<String>);

impl SharedName {
    pub(super) fn new(path: String) -> Self {
        Self(Mutex::new(path))
    }

    pub(super) fn is(&self, path: &str) -> bool {
        *self.lock() == path
    }

    fn get(&self) -> String {
        self.lock().clone()
    }

    /// Another, unless somebody else has changed it meanwhile.
    fn change(&self, from: &str, to: &str) {
        let mut name = self.lock();
        if *name == from {
            to.clone_into(&mut name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open file that holds whole fragments only.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) file: Arc<File>,
    /// Path below the root.
    pub(super) path: String,
    /// When it got its name.
    pub(super) created: Instant,
    /// Length of what is whole.
    bytes: u64,
    name: Arc<SharedName>,
    /// Of all that was written; `None` once there is more in the file than is known. Two KiB, hence the box.
    hasher: Option<Box<blake3::Hasher>>,
}

/// What came into being with a new file, for syncing.
pub(super) struct Created {
    pub(super) file: SegmentFile,
    /// The directory that the file is in.
    pub(super) dir: OwnedFd,
    /// Whether that directory is new too.
    pub(super) dir_is_new: bool,
}

impl SegmentFile {
    /// Writes the beginning of a file, up to and including its first fragment, under a hidden name, and only then
    /// gives it its name: nobody ever sees a segment that does not play. Nothing is overwritten.
    pub(super) fn create(
        volume: &Volume,
        camera: &CameraId,
        start: WallUs,
        chunks: &[Bytes],
        shared: Arc<SharedName>,
    ) -> Result<Created, Error> {
        let (dir, dir_is_new) = volume.camera_dir(camera)?;
        let (part, file) = hidden(volume, &dir, camera, start)?;
        let named = write_all(&file, chunks)
            .map_err(|source| failed("write", at(volume, camera, &part), source))
            .and_then(|()| name(volume, &dir, camera, start, &part, &shared));
        let path = named.inspect_err(|_| {
            // Ours, and without a whole fragment: nothing is lost. If this fails too, a hidden file stays.
            let _ = rustix::fs::unlinkat(&dir, part.as_str(), AtFlags::empty());
        })?;
        let (file, created) = (Arc::new(file), Instant::now());
        let hasher = Some(Box::default());
        let mut file = Self { file, path, created, bytes: 0, name: shared, hasher };
        file.wrote(chunks);
        Ok(Created { file, dir, dir_is_new })
    }

    /// Hash of the file as it is now.
    pub(super) fn hash(&self) -> Option<Hash> {
        self.hasher.as_ref().map(|hasher| Hash(*hasher.finalize().as_bytes()))
    }

    fn wrote(&mut self, chunks: &[Bytes]) {
        self.bytes += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        if let Some(hasher) = &mut self.hasher {
            for chunk in chunks {
                hasher.update(chunk);
            }
        }
    }

    /// Appends a whole fragment, or nothing.
    pub(super) fn append(&mut self, volume: &Volume, chunks: &[Bytes]) -> Result<(), Error> {
        self.follow(volume)?;
        let path = || volume.root().join(&self.path);
        // Writing to a file that has no name any more works, and would claim footage that nobody can find.
        match rustix::fs::fstat(&*self.file) {
            Ok(stat) if stat.st_nlink == 0 => return Err(Error::Removed { path: path() }),
            Ok(_) => {}
            Err(source) => return Err(failed("look at", path(), source)),
        }
        if let Err(source) = write_all(&self.file, chunks) {
            if let Err(error) = rustix::fs::ftruncate(&*self.file, self.bytes) {
                // The next start measures the file up to its last whole fragment.
                tracing::warn!(segment.path = self.path, %error, "a torn fragment stays at the end of a segment");
                self.hasher = None;
            }
            return Err(failed("write", path(), source));
        }
        self.wrote(chunks);
        Ok(())
    }
}

impl SegmentFile {
    /// Takes the name that the other volume had to choose.
    fn follow(&mut self, volume: &Volume) -> Result<(), Error> {
        let name = self.name.get();
        if name == self.path {
            return Ok(());
        }
        let split = |path: &str| path.split_once('/').map(|(dir, name)| (dir.to_owned(), name.to_owned()));
        let (Some((camera, from)), Some((_, to))) = (split(&self.path), split(&name)) else { return Ok(()) };
        let path = || volume.root().join(&self.path);
        let dir =
            volume.open_dir(&camera)?.ok_or_else(|| failed("open the directory of", path(), Errno::NOENT))?;
        volume::move_new(&dir, &from, &to).map_err(|source| failed("rename", path(), source))?;
        self.path = name;
        Ok(())
    }
}

fn at(volume: &Volume, camera: &CameraId, name: &str) -> PathBuf {
    volume.root().join(camera.as_str()).join(name)
}

/// A new file under a hidden name. One that a killed process left is not touched.
fn hidden(volume: &Volume, dir: &OwnedFd, camera: &CameraId, start: WallUs) -> Result<(String, File), Error> {
    for copy in 0..COPIES {
        let part = format!(".{}.part", naming::file_name(start, copy));
        match volume::create_new(dir, &part) {
            Ok(file) => return Ok((part, file)),
            Err(Errno::EXIST) => {}
            Err(source) => return Err(failed("make", at(volume, camera, &part), source)),
        }
    }
    Err(failed("make a file in", at(volume, camera, ""), Errno::EXIST))
}

/// Gives the hidden file its name, or the first free one of its second; the path below the root.
fn name(
    volume: &Volume,
    dir: &OwnedFd,
    camera: &CameraId,
    start: WallUs,
    part: &str,
    shared: &SharedName,
) -> Result<String, Error> {
    let wanted = shared.get();
    let next = (0..COPIES).map(|copy| naming::relative_path(camera, start, copy));
    for path in std::iter::once(wanted.clone()).chain(next) {
        let Some((_, name)) = path.split_once('/') else { continue };
        match volume::move_new(dir, part, name) {
            Ok(()) => {
                shared.change(&wanted, &path);
                return Ok(path);
            }
            Err(Errno::EXIST) => {}
            Err(source) => return Err(failed("name", at(volume, camera, part), source)),
        }
    }
    Err(failed("find a name for", at(volume, camera, part), Errno::EXIST))
}

/// Writes everything, in one call of the system wherever it takes it in one, so that a kill tears nothing.
fn write_all(mut file: &File, chunks: &[Bytes]) -> io::Result<()> {
    for group in chunks.chunks(PIECES) {
        let mut pieces: Vec<IoSlice<'_>> = group.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut left = pieces.as_mut_slice();
        // Leading empty pieces would make a write of 0 bytes look like a full disk.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
