//! Which files are there.

use rustix::{
    fs::{AtFlags, Dir, FileType},
    io::Errno,
};

use super::{Error, failed, volume::Volume};
use crate::{base::CameraId, model::reconcile::FoundFile};

/// Lists every `*.mp4` in the cameras' directories, in no particular order. Follows no symbolic link and leaves
/// everything else alone. A directory that cannot be read is an error and not an empty one: its segments would be
/// taken for lost.
pub fn scan(volume: &Volume) -> Result<Vec<FoundFile>, Error> {
    let mut files = Vec::new();
    for camera in names(volume, volume.fd(), "")? {
        if camera.parse::<CameraId>().is_err() {
            continue;
        }
        let Some(dir) = volume.open_dir(&camera)? else { continue };
        for name in names(volume, &dir, &camera)? {
            if !name.ends_with(".mp4") || name.starts_with('.') {
                continue;
            }
            let path = format!("{camera}/{name}");
            match rustix::fs::statat(&dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    files.push(FoundFile { path, bytes: u64::try_from(stat.st_size).unwrap_or(0) });
                }
                // No file, or it went away meanwhile.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(source) => return Err(failed("look at", volume.root().join(path), source)),
            }
        }
    }
    Ok(files)
}

/// The names in a directory that are UTF-8; ours all are.
fn names(volume: &Volume, dir: impl std::os::fd::AsFd, name: &str) -> Result<Vec<String>, Error> {
    let unreadable = |source| failed("list the directory", volume.root().join(name), source);
    let entries = Dir::read_from(dir).map_err(unreadable)?;
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(unreadable)?.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn two_levels_and_no_links() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        for path in ["a/1.mp4", "a/.2.mp4.part", "a/.3.mp4", "a/x.txt", "a/b/4.mp4", "Caps/5.mp4", "6.mp4"] {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), "123").unwrap();
        }
        fs::create_dir(dir.path().join("a/dir.mp4")).unwrap();
        symlink("1.mp4", dir.path().join("a/link.mp4")).unwrap();
        symlink("a", dir.path().join("linked")).unwrap();
        assert_eq!(scan(&volume).unwrap(), [FoundFile { path: "a/1.mp4".into(), bytes: 3 }]);
    }
}
