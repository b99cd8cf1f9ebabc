//! Which files are there.

use std::collections::{BinaryHeap, VecDeque};

use rustix::fs::{AtFlags, Dir, FileType};

use super::{Error, failed, volume::Volume};
use crate::{
    base::{CameraId, WallUs},
    model::{naming, reconcile::FoundFile},
};

/// So many names are held at once. A directory that has more is read again for the next ones.
const NAMES: usize = 1 << 15;

/// Lists the segments in the cameras' directories in the order of their paths, some at a time: what it holds does not
/// grow with the history. It reads directories only, and no inode of a file begun before `sizes_since`: with a year of
/// footage on a cold disk that is the difference between seconds and many minutes. Follows no symbolic link and leaves
/// everything else alone. A directory that cannot be read is an error and not an empty one: its segments would be
/// taken for lost.
#[derive(Debug)]
pub struct Listing {
    volume: Volume,
    sizes_since: WallUs,
    /// Directories still to be read, in the order of the paths in them.
    cameras: VecDeque<String>,
    /// The last name that was handed out of the first of them.
    after: String,
    names: usize,
}

impl Listing {
    /// Begins a list.
    pub fn new(volume: &Volume, sizes_since: WallUs) -> Result<Self, Error> {
        let mut cameras = Vec::new();
        each_name(volume, volume.fd()?, "", |name, _| {
            if name.parse::<CameraId>().is_ok() {
                cameras.push(name.to_owned());
            }
        })?;
        // The slash counts: `a-b/…` stands before `a/…`.
        cameras.sort_by_key(|camera| format!("{camera}/"));
        let (volume, cameras) = (volume.clone(), cameras.into());
        Ok(Self { volume, sizes_since, cameras, after: String::new(), names: NAMES })
    }

    /// The same, with so many names at a time.
    #[cfg(test)]
    pub(crate) fn by(mut self, names: usize) -> Self {
        self.names = names;
        self
    }

    /// The next files; `None` after the last.
    pub fn page(&mut self) -> Result<Option<Vec<FoundFile>>, Error> {
        while let Some(camera) = self.cameras.front().cloned() {
            let names = self.names_after(&camera)?;
            match names.last() {
                Some(last) if names.len() == self.names => self.after.clone_from(last),
                _ => {
                    self.cameras.pop_front();
                    self.after.clear();
                }
            }
            if !names.is_empty() {
                return names
                    .into_iter()
                    .map(|name| self.found(&camera, &name))
                    .collect::<Result<_, _>>()
                    .map(Some);
            }
        }
        Ok(None)
    }

    /// How many segments there are, of those begun before `before`.
    pub fn count(&self, before: WallUs) -> Result<u64, Error> {
        let mut count = 0;
        for camera in &self.cameras {
            self.each_segment(camera, |name| {
                count += u64::from(naming::start_of(name).is_some_and(|start| start < before));
            })?;
        }
        Ok(count)
    }

    /// The first names of a camera after the last one, in order.
    fn names_after(&self, camera: &str) -> Result<Vec<String>, Error> {
        let mut first: BinaryHeap<String> = BinaryHeap::new();
        self.each_segment(camera, |name| {
            let full = first.len() == self.names;
            if name <= self.after.as_str() || (full && first.peek().is_some_and(|last| name > last.as_str()))
            {
                return;
            }
            if full {
                first.pop();
            }
            first.push(name.to_owned());
        })?;
        Ok(first.into_sorted_vec())
    }

    /// Every file of a camera whose name is one of ours.
    fn each_segment(&self, camera: &str, mut tell: impl FnMut(&str)) -> Result<(), Error> {
        let Some(dir) = self.volume.open_dir(camera)? else { return Ok(()) };
        each_name(&self.volume, &dir, camera, |name, kind| {
            if naming::start_of(name).is_none() {
                return;
            }
            let kind = match kind {
                // File systems that do not say it in the directory.
                FileType::Unknown => match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(_) => kind,
                },
                kind => kind,
            };
            if kind == FileType::RegularFile {
                tell(name);
            }
        })
    }

    fn found(&self, camera: &str, name: &str) -> Result<FoundFile, Error> {
        let path = format!("{camera}/{name}");
        if naming::start_of(name).is_none_or(|start| start < self.sizes_since) {
            return Ok(FoundFile { path, bytes: None });
        }
        match self.volume.open_segment_file(&path) {
            Ok(open) => Ok(FoundFile { path, bytes: Some(open.bytes) }),
            // It went away meanwhile, and whoever looks for it will see.
            Err(Error::NotFound { .. } | Error::Refused { .. }) => Ok(FoundFile { path, bytes: None }),
            Err(error) => Err(error),
        }
    }
}

/// The names in a directory that are UTF-8; ours all are.
fn each_name(
    volume: &Volume,
    dir: impl std::os::fd::AsFd,
    name: &str,
    mut tell: impl FnMut(&str, FileType),
) -> Result<(), Error> {
    let unreadable = |source| failed("list the directory", volume.root().join(name), source);
    let entries = Dir::read_from(dir).map_err(unreadable)?;
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        if let Ok(name) = entry.file_name().to_str() {
            tell(name, entry.file_type());
        }
    }
    Ok(())
}
