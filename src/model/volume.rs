//! Whether what lies at a path is the volume that should: a disk that is not mounted leaves an empty directory in its
//! place, and footage written there would fill the system's disk and be hidden when the disk comes back.
//!
//! Each volume carries a file that says whose it is and which; the installation remembers which one it had at each path.

use std::fmt;

/// What the identity file of a volume says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is.
    pub installation: String,
    /// Which it is.
    pub volume: String,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// This installation.
    pub installation: &'a str,
    /// The volume that was here.
    pub volume: Option<&'a str>,
    /// The volume at the other path that is in use.
    pub other: Option<&'a str>,
    /// The directory, or what is left of its path, lies on the same file system on which the volume was found since the
    /// process runs: somebody deleted it, and nothing was unmounted.
    pub same_file_system: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one.
    Use,
    /// Mark it as this volume; `None`: as a new one.
    Mark(Option<String>),
    /// Leave it alone.
    Refuse(Refusal),
}

/// Why a volume is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There was a volume, and here is none.
    NotMounted,
    /// It belongs to another installation.
    Foreign,
    /// It is another volume of this installation.
    Other,
    /// It says that it is the other volume in use: a copy of that disk, or the two are swapped.
    Twin,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever decides on a path does not know which of the two volumes it is for.
        let accept = "`watchkeeper volume accept primary` (or `mirror`, if it is that)";
        match self {
            Self::NotMounted => {
                write!(
                    f,
                    "its identity file is missing; mount the disk, or, if this is a new one, say {accept}"
                )
            }
            Self::Foreign => {
                write!(
                    f,
                    "it belongs to another installation; choose another directory, or take it over: {accept}"
                )
            }
            Self::Other => write!(
                f,
                "another volume of this installation lies here; mount the right disk, or keep this one: {accept}"
            ),
            Self::Twin => write!(
                f,
                "it carries the identity of the other volume; are the two mounted in each other's place? If it is a \
                 copy, say {accept}"
            ),
        }
    }
}

/// Decides on the volume at a path, of which `found` was read; `None` if there is no identity file.
pub fn decide(known: Known<'_>, found: Option<&Identity>) -> Verdict {
    let Some(found) = found else {
        return match known.volume {
            None => Verdict::Mark(None),
            Some(volume) if known.same_file_system => Verdict::Mark(Some(volume.to_owned())),
            Some(_) => Verdict::Refuse(Refusal::NotMounted),
        };
    };
    if found.installation != known.installation {
        return Verdict::Refuse(Refusal::Foreign);
    }
    match known.volume {
        _ if known.other == Some(&found.volume) => Verdict::Refuse(Refusal::Twin),
        Some(volume) if volume != found.volume => Verdict::Refuse(Refusal::Other),
        // One that was moved here is as good.
        _ => Verdict::Use,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_disk_is_written_to() {
        let mine = |volume: &str| Identity { installation: "i".into(), volume: volume.into() };
        let known = |volume: Option<&'static str>, same| Known {
            installation: "i",
            volume,
            other: Some("m"),
            same_file_system: same,
        };
        let refuse = Verdict::Refuse;
        assert_eq!(decide(known(None, false), None), Verdict::Mark(None));
        assert_eq!(decide(known(Some("p"), false), None), refuse(Refusal::NotMounted));
        assert_eq!(decide(known(Some("p"), true), None), Verdict::Mark(Some("p".into())));
        assert_eq!(decide(known(Some("p"), false), Some(&mine("p"))), Verdict::Use);
        assert_eq!(decide(known(None, false), Some(&mine("p"))), Verdict::Use);
        assert_eq!(decide(known(Some("p"), true), Some(&mine("x"))), refuse(Refusal::Other));
        assert_eq!(decide(known(Some("p"), true), Some(&mine("m"))), refuse(Refusal::Twin));
        assert_eq!(decide(known(None, false), Some(&mine("m"))), refuse(Refusal::Twin));
        let foreign = Identity { installation: "j".into(), volume: "p".into() };
        assert_eq!(decide(known(Some("p"), true), Some(&foreign)), refuse(Refusal::Foreign));
    }
}
