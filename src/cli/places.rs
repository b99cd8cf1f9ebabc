//! Directories and files that the service needs: do they exist, may we write, how much room is there, on what kind of
//! file system do they lie?

use std::{
    ffi::OsString,
    fmt, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{self, Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
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

/// A disk that does not answer is not waited for longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// More symbolic links in one path than the system follows.
const LINKS_MAX: usize = 40;

/// What `ask` says, if it does in time. A disk or a server that hangs holds for ever whoever looks at it; here that is a
/// thread that nobody needs.
fn in_time<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(ask()));
    told.recv_timeout(ANSWERS_WITHIN).ok()
}

/// How a directory lies to another from which it should be apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Both are one.
    Same,
    /// It is below the other.
    Inside,
    /// The other is below it.
    Around,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "is",
            Self::Inside => "lies inside",
            Self::Around => "contains",
        })
    }
}

/// How `dir` lies to `other`, as far as they exist; `None` if they are apart.
pub(super) fn overlap(dir: &Path, other: &Path) -> Option<Overlap> {
    let link = |path: &Path| fs::read_link(path).ok();
    let both = (dir.to_owned(), other.to_owned());
    let (dir, other) = in_time(move || (resolved(&both.0, link), resolved(&both.1, link)))
        // Then the names alone say it.
        .unwrap_or_else(|| (resolved(dir, |_| None), resolved(other, |_| None)));
    match (dir.starts_with(&other), other.starts_with(&dir)) {
        (true, true) => Some(Overlap::Same),
        (true, false) => Some(Overlap::Inside),
        (false, true) => Some(Overlap::Around),
        (false, false) => None,
    }
}

/// The path from the root on, without `..` and without the links that `link` knows. Unlike the system's own way to ask
/// for it, it takes names that do not exist yet.
fn resolved(path: &Path, link: impl Fn(&Path) -> Option<PathBuf>) -> PathBuf {
    let parts = |path: &Path| -> Vec<OsString> {
        path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
    };
    // The next one last.
    let mut left = parts(&path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let (mut found, mut links) = (PathBuf::new(), 0);
    while let Some(part) = left.pop() {
        if part == ".." {
            found.pop();
            continue;
        }
        found.push(&part);
        if let Some(target) = link(&found).filter(|_| links < LINKS_MAX) {
            found.pop();
            // From the root on, if it says so: the first part is the root then, and replaces what was found.
            left.extend(parts(&target));
            links += 1;
        }
    }
    found
}

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
        finding.level(Level::Problem).remedy("make room: when nothing is left, nothing more is kept here")
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

/// The directory of the mirror, and whether it lies on a disk of its own.
pub(super) fn mirror(path: &Path, recordings: &Path) -> Vec<Finding> {
    const NAME: &str = "mirror";
    let (asked, beside) = (path.to_owned(), recordings.to_owned());
    let looked = in_time(move || {
        let device = |path: &Path| fs::metadata(nearest(path)?).ok().map(|found| found.dev());
        let one = device(&asked).is_some_and(|mirror| device(&beside) == Some(mirror));
        (directory(NAME, &asked, false), one)
    });
    let Some((found, one)) = looked else {
        let within = ANSWERS_WITHIN.as_secs();
        let detail = format!("`{}` does not answer within {within} s", path.display());
        return vec![
            Finding::new(NAME, Level::Problem, detail)
                .remedy("check the disk, or the server that it is mounted from"),
        ];
    };
    let shared = Finding::new(
        NAME,
        Level::Warning,
        "the mirror lies on the same file system as the recordings: one dead disk takes both",
    );
    [found].into_iter().chain(one.then(|| shared.remedy("put it on another disk"))).collect()
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
    fn directories_are_apart_or_not_whatever_their_names_say() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        for (name, target) in [
            ("to-b", "a/b".into()),
            ("to-nothing", "a/not-yet".into()),
            ("round", "round".into()),
            ("up", at("a/..")),
            ("twice", "to-b".into()),
        ] {
            std::os::unix::fs::symlink::<PathBuf, _>(target, at(name)).unwrap();
        }
        for (one, other, how) in [
            ("a", "a", Some(Overlap::Same)),
            ("a/./b/..", "a/", Some(Overlap::Same)),
            ("no/../a/b", "a", Some(Overlap::Inside)),
            ("no/x", "no", Some(Overlap::Inside)),
            ("no", "no/x/y", Some(Overlap::Around)),
            ("no", "nobody", None),
            ("a/b", "a/bc", None),
            ("to-b", "a/b", Some(Overlap::Same)),
            ("to-b/x", "a", Some(Overlap::Inside)),
            // The link's own directory is not its target's.
            ("to-b/..", "a", Some(Overlap::Same)),
            ("no/../to-b/../c", "a/c", Some(Overlap::Same)),
            ("to-nothing", "a/not-yet", Some(Overlap::Same)),
            ("up/a", "a/b", Some(Overlap::Around)),
            ("twice", "a", Some(Overlap::Inside)),
            ("round", "a", None),
        ] {
            assert_eq!(overlap(&at(one), &at(other)), how, "{one}, {other}");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(overlap(Path::new("x/y"), &here.join("x")), Some(Overlap::Inside));
        assert_eq!(overlap(&here, Path::new(".")), Some(Overlap::Same));
        assert_eq!(overlap(&here.join(".."), Path::new("x")), Some(Overlap::Around));
        assert_eq!(overlap(Path::new("/.."), Path::new("/")), Some(Overlap::Same));
    }

    #[test]
    fn a_mirror_on_the_same_disk_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let found = mirror(&dir.path().join("not/yet"), &dir.path().join("recordings"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].detail.contains("will be made") && found[1].level == Level::Warning, "{found:?}");
        assert!(found[1].detail.contains("same file system") && found[1].remedy.is_some(), "{found:?}");
        // Of another file system than any directory for temporary files.
        let apart = mirror(Path::new("/proc"), dir.path());
        assert!(!apart.iter().any(|found| found.detail.contains("same file system")), "{apart:?}");
    }

    #[test]
    fn what_does_not_answer_is_not_waited_for() {
        assert_eq!(in_time(|| 7), Some(7));
        let (_nobody, silence) = mpsc::channel::<()>();
        assert_eq!(in_time(move || silence.recv()), None);
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
