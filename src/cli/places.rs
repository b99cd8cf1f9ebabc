//! Directories and files that the service needs: do they exist, may we write, how much room is there, on what kind of
//! file system do they lie?

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::fs::{Access, access, statfs, statvfs};

use super::{
    doctor::{Finding, Level},
    table::bytes,
};

/// Recording goes on for minutes only.
const ALMOST_FULL: u64 = 256 << 20;
/// An hour of one camera or so.
const LITTLE: u64 = 5 << 30;

/// The user id of a directory's owner, if that is somebody else. Files that we made there would keep the owner out.
pub(super) fn other_owner(dir: &Path) -> Option<u32> {
    let owner = fs::metadata(dir).ok()?.uid();
    (owner != rustix::process::geteuid().as_raw()).then_some(owner)
}

/// The nearest directory at or above `path` that exists.
fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors()
        .map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir })
        .find(|dir| dir.exists())
}

/// File systems by the numbers of `statfs(2)`.
fn file_system(magic: u64) -> (&'static str, bool) {
    match magic {
        0xef53 => ("ext4", false),
        0x9123_683e => ("btrfs", false),
        0x5846_5342 => ("xfs", false),
        0x2fc1_2fc1 => ("zfs", false),
        0xf2f5_2010 => ("f2fs", false),
        0x0102_1994 => ("tmpfs", false),
        0x794c_7630 => ("overlay", false),
        0x4d44 => ("vfat", false),
        0x2011_bab0 => ("exfat", false),
        0x6969 => ("nfs", true),
        0x517b => ("smb", true),
        0xff53_4d42 => ("cifs", true),
        0xfe53_4d42 => ("smb2", true),
        0x0102_1997 => ("9p", true),
        0x00c3_6400 => ("ceph", true),
        0x5346_414f => ("afs", true),
        0x6573_5546 => ("fuse", true),
        _ => ("unknown", false),
    }
}

/// A directory in which the service writes. `database`: SQLite lies in it.
pub(super) fn directory(name: &'static str, path: &Path, database: bool) -> Finding {
    let shown = path.display();
    let Some(there) = nearest(path) else {
        return Finding::new(name, Level::Problem, format!("`{shown}` cannot be reached"))
            .remedy("set it to another directory in the configuration");
    };
    if !there.is_dir() {
        return Finding::new(name, Level::Problem, format!("`{}` is no directory", there.display()))
            .remedy("set it to another directory in the configuration");
    }
    if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let uid = rustix::process::geteuid().as_raw();
        return Finding::new(
            name,
            Level::Problem,
            format!("`{}` cannot be written by the user {uid}", there.display()),
        )
        .remedy("run this as the user of the service, or give that user the directory");
    }
    let (total, free) = match statvfs(there) {
        Ok(stat) => {
            (stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize))
        }
        Err(error) => {
            return Finding::new(name, Level::Problem, format!("`{shown}`: free space: {error}"))
                .remedy("check the disk");
        }
    };
    let magic = statfs(there).map(|stat| u64::try_from(stat.f_type).unwrap_or(0) & 0xffff_ffff).unwrap_or(0);
    let (kind, network) = file_system(magic);
    let coming = if there == path { "" } else { "; it will be made when the service starts" };
    let detail =
        format!("`{shown}` can be written; {} of {} free, on {kind}{coming}", bytes(free), bytes(total));
    let finding = Finding::new(name, Level::Ok, detail);
    if free < ALMOST_FULL {
        finding.level(Level::Problem).remedy("make room: recording stops when nothing is left")
    } else if network && database {
        finding.level(Level::Warning).remedy(
            "keep the database on a local disk (data_dir); SQLite is not safe on network file systems",
        )
    } else if kind == "tmpfs" {
        finding
            .level(Level::Warning)
            .remedy("it is in memory and gone after a restart; use a directory on a disk")
    } else if kind == "vfat" {
        finding
            .level(Level::Warning)
            .remedy("its files end at 4 GiB and its directories break at a power cut; use ext4")
    } else if free < LITTLE.min(total / 20) {
        finding.level(Level::Warning).remedy("make room before it is full")
    } else {
        finding
    }
}

/// The key that seals the passwords.
pub(super) fn key_file(path: &Path) -> Finding {
    const NAME: &str = "key file";
    let shown = path.display();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::new(NAME, Level::Ok, format!("`{shown}` will be made when the service starts"));
        }
        Err(error) => {
            return Finding::new(NAME, Level::Problem, format!("`{shown}`: {error}"))
                .remedy("run this as the user of the service");
        }
    };
    let mode = found.permissions().mode() & 0o777;
    if found.len() != 32 && found.is_file() {
        return Finding::new(NAME, Level::Problem, format!("`{shown}` holds no key of 32 bytes"))
            .remedy("restore it from a backup; or remove it, and set the cameras' passwords again");
    }
    if mode & 0o077 != 0 {
        return Finding::new(
            NAME,
            Level::Problem,
            format!("`{shown}` can be used by others (mode {mode:o})"),
        )
        .remedy(format!("chmod 600 '{shown}'"));
    }
    if access(path, Access::READ_OK).is_err() {
        return Finding::new(NAME, Level::Problem, format!("`{shown}` cannot be read"))
            .remedy("run this as the user of the service");
    }
    Finding::new(NAME, Level::Ok, format!("`{shown}` is for its owner only"))
}

/// Where GStreamer keeps what it knows of its plugins.
pub(super) fn registry(dir: &Path) -> Finding {
    const NAME: &str = "gstreamer registry";
    let there = nearest(dir);
    match there.filter(|there| access(*there, Access::WRITE_OK | Access::EXEC_OK).is_ok()) {
        Some(_) => Finding::new(NAME, Level::Ok, format!("`{}` can be written", dir.display())),
        None => Finding::new(NAME, Level::Warning, format!("`{}` cannot be written", dir.display()))
            .remedy("every start looks at all plugins anew; set GST_REGISTRY to a file that can be written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_is_fine_and_a_file_in_its_place_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let coming = directory("data", &dir.path().join("a/b"), false);
        assert!(coming.detail.contains("will be made"), "{coming:?}");
        assert_ne!(coming.level, Level::Problem);
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(directory("data", &dir.path().join("file/x"), true).level, Level::Problem);
        assert_eq!(nearest(Path::new("not-there-yet")).unwrap(), Path::new("."));
        assert_eq!(other_owner(dir.path()), None);
    }

    #[test]
    fn a_key_for_others_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        assert_eq!(key_file(&path).level, Level::Ok);
        fs::write(&path, [7; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = key_file(&path);
        assert_eq!(open.level, Level::Problem);
        assert!(open.remedy.unwrap().starts_with("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(key_file(&path).level, Level::Ok);
        fs::write(&path, "short").unwrap();
        assert_eq!(key_file(&path).level, Level::Problem);
    }

    #[test]
    fn network_file_systems_are_known() {
        assert_eq!(file_system(0x6969), ("nfs", true));
        assert_eq!(file_system(0xff53_4d42), ("cifs", true));
        assert_eq!(file_system(0xef53), ("ext4", false));
    }
}
