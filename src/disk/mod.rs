//! Files on the media volume: the one writer thread, reading back below the root only, and what recovery needs to
//! know of a file. Knows no database and no GStreamer.

mod boxes;
mod clip;
mod copy;
mod facts;
mod file;
mod hash;
mod health;
mod identity;
mod measure;
mod remove;
mod scan;
mod sync;
mod volume;
mod volumes;
mod writer;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

pub use boxes::BadBoxes;
pub use clip::{ClipError, Source, Stopped, Written, write_clip};
pub use copy::{copy, probe};
pub use facts::{Facts, SegmentKey};
pub use hash::{hash, hash_paced};
pub use health::Health;
pub use identity::{IDENTITY_FILE, Installation};
pub use measure::{Measured, measure};
pub use remove::{Gone, remove};
pub use scan::Listing;
pub use volume::{OpenFile, Space, Volume};
pub use volumes::{Targets, Volumes};
pub use writer::{Limits, VolumeWriter};

/// Why something on the volume could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file: its row is lost.
    #[error("there is no `{path}`")]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The volume is not there, or not the right one.
    #[error("the volume `{path}` is away: {why}")]
    Away {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file is not what was recorded.
    #[error("`{path}` is not what was recorded")]
    Altered {
        /// The file.
        path: PathBuf,
    },
    /// Somebody asked to stop.
    #[error("`{path}` was left in the middle")]
    Stopped {
        /// The file.
        path: PathBuf,
    },
    /// The path is no plain path below the root, leads through a symbolic link, or names no regular file.
    #[error("`{path}` is not a plain file below the volume's root")]
    Refused {
        /// What was asked for.
        path: PathBuf,
    },
    /// The file is one of ours, but it ends before its first whole fragment.
    #[error("`{path}` holds no whole fragment")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is not one that a recorder wrote.
    #[error("`{path}` is no segment: {why}")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// A file disappeared while it was being written.
    #[error("`{path}` was removed while it was recorded")]
    Removed {
        /// The file.
        path: PathBuf,
    },
    /// What the muxer made is no fragmented MP4.
    #[error("cannot follow the boxes of `{path}`")]
    Boxes {
        /// The file.
        path: PathBuf,
        /// Where it went wrong.
        source: BadBoxes,
    },
    /// The system refused: full, read-only, failing, gone.
    #[error("cannot {what} `{path}`")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Wraps a system error with what was being done to what.
fn failed(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Error {
    Error::Io { what, path: path.into(), source: source.into() }
}
