//! Deleting segments' files.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{AtFlags, FileType},
    io::Errno,
};

use super::{Error, Volume, failed};
use crate::{base::CameraId, model::naming};

/// What became of a file that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It is deleted.
    Now,
    /// No such file was there.
    Before,
}

/// Deletes these files, then syncs their directories: what is `Ok` does not come back after a power cut. Only regular
/// files in a camera's directory that have a segment's name; no symbolic link is followed, and none is deleted.
pub fn remove(volume: &Volume, paths: &[&str]) -> Vec<Result<Gone, Error>> {
    let mut dirs: BTreeMap<&str, Option<OwnedFd>> = BTreeMap::new();
    let mut outcomes: Vec<Result<Gone, Error>> =
        paths.iter().map(|path| unlink(volume, path, &mut dirs)).collect();
    for (camera, dir) in dirs {
        let Some(Err(source)) = dir.map(rustix::fs::fsync) else { continue };
        let of_dir = paths.iter().map(|path| path.split('/').next() == Some(camera));
        for (outcome, _) in outcomes.iter_mut().zip(of_dir).filter(|(_, of_dir)| *of_dir) {
            *outcome = Err(failed("sync the directory", volume.root().join(camera), source));
        }
    }
    outcomes
}

fn unlink<'a>(
    volume: &Volume,
    path: &'a str,
    dirs: &mut BTreeMap<&'a str, Option<OwnedFd>>,
) -> Result<Gone, Error> {
    let refused = || Error::Refused { path: path.into() };
    let ours = |(camera, name): &(&str, &str)| {
        camera.parse::<CameraId>().is_ok() && naming::start_of(name).is_some()
    };
    let (camera, name) = path.split_once('/').filter(ours).ok_or_else(refused)?;
    let dir = match dirs.entry(camera) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(volume.open_dir(camera)?),
    };
    let Some(dir) = dir else { return Ok(Gone::Before) };
    let failed = |what, source| failed(what, volume.root().join(path), source);
    match rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Gone::Before),
        Err(source) => return Err(failed("look at", source)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
        Ok(_) => return Err(refused()),
    }
    // Unlinks a name in this directory, and whatever has it: it never follows a link.
    match rustix::fs::unlinkat(&*dir, name, AtFlags::empty()) {
        Ok(()) => Ok(Gone::Now),
        Err(Errno::NOENT) => Ok(Gone::Before),
        Err(source) => Err(failed("delete", source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn only_segments_below_the_root_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(&dir.path().join("media")).unwrap();
        let root = volume.root();
        let name = "20260101_000000.mp4";
        for place in ["a", "b", "a/c"] {
            fs::create_dir_all(root.join(place)).unwrap();
            fs::write(root.join(place).join(name), "x").unwrap();
        }
        fs::write(dir.path().join(name), "x").unwrap();
        fs::write(root.join("a/notes.txt"), "x").unwrap();
        fs::create_dir(root.join("a/20260101_000100.mp4")).unwrap();
        symlink(root.join("b").join(name), root.join("a/20260101_000200.mp4")).unwrap();
        symlink("b", root.join("linked")).unwrap();
        let refused = [
            format!("../{name}"),
            format!("a/../b/{name}"),
            format!("a/c/{name}"),
            format!("/a/{name}"),
            "a/notes.txt".into(),
            "a/20260101_000100.mp4".into(),
            "a/20260101_000200.mp4".into(),
            "a".into(),
            String::new(),
        ];
        let paths: Vec<&str> = refused.iter().map(String::as_str).collect();
        for (path, outcome) in paths.iter().zip(remove(&volume, &paths)) {
            assert!(matches!(outcome, Err(Error::Refused { .. })), "{path}: {outcome:?}");
        }
        let [there, again, link, nowhere] = [
            format!("a/{name}"),
            "a/20260101_000300.mp4".into(),
            format!("linked/{name}"),
            format!("gone/{name}"),
        ];
        let outcomes = remove(&volume, &[&there, &again, &link, &nowhere]);
        let outcomes: Vec<Gone> = outcomes.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes, [Gone::Now, Gone::Before, Gone::Before, Gone::Before]);
        assert!(!root.join(&there).exists());
        for left in [root.join("b").join(name), root.join("a/c").join(name), dir.path().join(name)] {
            assert!(left.exists(), "{}", left.display());
        }
        assert!(root.join("a/20260101_000200.mp4").is_symlink());
    }
}
