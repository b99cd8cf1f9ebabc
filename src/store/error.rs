//! Errors by what the caller does next.

use std::path::PathBuf;

use crate::base::CameraId;

/// What the database said.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Locked, full, failing, damaged or gone: keep what was to be written, and try again later.
    #[error("the database is away: cannot {what}")]
    Away {
        /// What was to be done.
        what: &'static str,
        /// What it said.
        source: Cause,
    },
    /// There is already a camera of this id: choose another.
    #[error("there is already a camera `{0}`")]
    Exists(CameraId),
    /// There is nothing of this id.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// There are as many as there may be: remove some.
    #[error("there are {most} {what} already, which is the most; remove some first")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// So many there may be.
        most: u32,
    },
    /// There is no database to read.
    #[error("there is no database at `{path}`; `watchkeeper serve` makes it")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A newer program has used this database.
    #[error(
        "the database `{path}` is of version {found}, and this program knows versions up to {known}; start the newer \
         program, or restore a backup that is as old as this one"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// It can be read only after `serve` brought it up to date.
    #[error(
        "the database `{path}` is of version {found}, older than this program's {known}; start `watchkeeper serve` \
         once to bring it up to date"
    )]
    Outdated {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The one that this program reads.
        known: i64,
    },
    /// Another program's database, or one that somebody changed by hand.
    #[error("`{path}` is not a database of this program; move it away, or name another one")]
    Foreign {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        source: Cause,
    },
    /// A bug: the statement or the row makes no sense.
    #[error("the database cannot {what}")]
    Bug {
        /// What was to be done.
        what: &'static str,
        /// What it said.
        source: Cause,
    },
}

/// A row that no version of this program wrote.
#[derive(Debug, thiserror::Error)]
#[error("the column `{column}` holds `{value}`")]
pub(super) struct BadValue {
    pub(super) column: &'static str,
    pub(super) value: String,
}

/// The database's file was taken away under our hands.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{path}` was deleted or replaced while it was in use; `watchkeeper camera export` still has the cameras, and after a \
     restart the index is made again from the recordings"
)]
pub(super) struct Gone {
    pub(super) path: PathBuf,
}

/// The file holds something else than a database, or a broken one.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}; stop the service, move `watchkeeper.db` away together with its `-wal` and `-shm`, and start again: the index is \
     made anew from the recordings, and cameras come back from a backup or with `camera import`"
)]
struct Damaged(Cause);

/// Adds what was being done to an error of the database.
pub(super) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for sqlx::Result<T> {
    fn doing(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|error| sort(what, error))
    }
}

impl<T> Doing<T> for Result<T, BadValue> {
    fn doing(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|bad| Error::Bug { what, source: bad.into() })
    }
}

/// Makes values of rows.
pub(super) fn values<R, T>(what: &'static str, rows: Vec<R>) -> Result<Vec<T>, Error>
where
    T: TryFrom<R, Error = BadValue>,
{
    rows.into_iter().map(T::try_from).collect::<Result<_, BadValue>>().doing(what)
}

/// The low byte of SQLite's result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(error) = error else { return None };
    error.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff)
}

/// Whether an error tells of the state that the database is in, and not of the statement.
pub(super) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOLFS, NOTADB.
        sqlx::Error::Database(_) => matches!(code(error), Some(5..=11 | 13..=15 | 22 | 26)),
        _ => false,
    }
}

pub(super) fn sort(what: &'static str, error: sqlx::Error) -> Error {
    let away = is_away(&error);
    // CORRUPT, NOTADB.
    let damaged = matches!(code(&error), Some(11 | 26));
    // sqlx repeats the database's text in its own; only the former is worth showing.
    let source: Cause = match error {
        sqlx::Error::Database(error) => error.into_error(),
        other => other.into(),
    };
    let source = if damaged { Damaged(source).into() } else { source };
    if away { Error::Away { what, source } } else { Error::Bug { what, source } }
}
