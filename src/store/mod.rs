//! The index: all SQL, and nothing else. One process writes the database; the command line may read it meanwhile.
//!
//! Nothing here is on the way of footage to the disk: whoever writes rows waits here and not there, and a database that
//! is [`Error::Away`] only means that rows follow later.

mod ai;
mod cameras;
mod copies;
mod detections;
mod error;
mod events;
mod gaps;
mod holds;
mod refill;
mod retention;
mod scrub;
mod segments;
pub mod stock;
mod zones;

#[cfg(test)]
mod statements;

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use cameras::{Password, StoredCamera};
pub use copies::{Due, DueSum, Scrubbed};
pub use error::{Cause, Error};
pub use events::EventPage;
pub use gaps::{Account, GapChanges, GapPage, GapsWritten, Life};
pub use retention::{Doomed, Lately, Stored};
pub use scrub::{Mended, ScrubPass};
pub use segments::Watched;

use crate::model::copies::Place;
use error::{Doing as _, Gone};

/// So long a statement waits for another process's lock before the database counts as away.
const BUSY: Duration = Duration::from_secs(2);
/// So long a caller waits for a connection: for one statement that waits for a lock, and a margin.
const ACQUIRE: Duration = Duration::from_secs(4);
const READERS: u32 = 3;

/// A statement for each volume; they differ in names of columns.
#[derive(Clone, Copy)]
struct PerPlace {
    primary: &'static str,
    mirror: &'static str,
}

impl PerPlace {
    fn at(self, place: Place) -> &'static str {
        match place {
            Place::Primary => self.primary,
            Place::Mirror => self.mirror,
        }
    }
}

/// Cargo does not notice a *new* file in `migrations/`: touch this one after adding it.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// A file that had its name so long ago may have lost it, even for rows that can be made again.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    /// One connection: SQLite has one writer at a time, and waiting in line here is fair and has no timeouts.
    writer: SqlitePool,
    readers: SqlitePool,
    file: Arc<OpenFile>,
}

/// The file that the connections have open.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    /// When the path was last looked at, and they were still these.
    seen: Mutex<Instant>,
}

impl OpenFile {
    async fn at(path: &Path) -> std::io::Result<Self> {
        let found = tokio::fs::metadata(path).await?;
        let identity = (found.dev(), found.ino());
        Ok(Self { path: path.to_owned(), identity, seen: Mutex::new(Instant::now()) })
    }

    fn seen(&self) -> MutexGuard<'_, Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Opens the database `path`, makes it if it is missing, and brings it up to date. Its directory must exist.
    ///
    /// [`Error::Newer`] if a newer program has used it, [`Error::Foreign`] if it is somebody else's, [`Error::Away`] if
    /// it cannot be used now.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let options = options(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let writer = pool(1, options.clone()).await.doing("open the database")?;
        MIGRATIONS.run(&writer).await.map_err(|error| not_migrated(path, error))?;
        let readers = pool(READERS, options.pragma("query_only", "on")).await.doing("open the database")?;
        let file = OpenFile::at(path).await.map_err(sqlx::Error::from).doing("open the database")?;
        Ok(Self { writer, readers, file: Arc::new(file) })
    }

    /// Opens the database `path` for reading, while another process may be writing it. Whatever writes fails.
    ///
    /// [`Error::Missing`] if there is none, [`Error::Newer`] or [`Error::Outdated`] if it is not of this program's
    /// version.
    pub async fn open_read_only(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Err(Error::Missing { path: path.to_owned() });
        }
        let readers = pool(READERS, options(path).read_only(true)).await.doing("open the database")?;
        let found: Option<i64> = sqlx::query_scalar(VERSION)
            .fetch_one(&readers)
            .await
            .or_else(|error| if is_missing_table(&error) { Ok(None) } else { Err(error) })
            .doing("read the database's version")?;
        let (found, known) = (found.unwrap_or(0), known_version());
        match found.cmp(&known) {
            std::cmp::Ordering::Less => Err(Error::Outdated { path: path.to_owned(), found, known }),
            std::cmp::Ordering::Greater => Err(Error::Newer { path: path.to_owned(), found, known }),
            std::cmp::Ordering::Equal => {
                let file = OpenFile::at(path).await.map_err(sqlx::Error::from).doing("open the database")?;
                Ok(Self { writer: readers.clone(), readers, file: Arc::new(file) })
            }
        }
    }

    /// Ends all connections; the last one folds the write-ahead log into the database file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Begins to write. IMMEDIATE, so that another process's lock is met here, once, and not in the middle.
    async fn begin(&self, what: &'static str) -> Result<Transaction<'static, Sqlite>, Error> {
        let db = self.writer(what).await?;
        match db.begin_with("begin immediate").await {
            // A full disk makes SQLite roll back by itself, which sqlx does not notice: the connection is of no use any more.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                db.acquire().await.doing(what)?.close().await.doing(what)?;
                db.begin_with("begin immediate").await.doing(what)
            }
            begun => begun.doing(what),
        }
    }

    /// The connection to write with, if the file still has its name: SQLite would go on writing into one that was deleted,
    /// and nobody would ever see the rows.
    async fn writer(&self, what: &'static str) -> Result<&SqlitePool, Error> {
        let OpenFile { path, identity, .. } = &*self.file;
        match OpenFile::at(path).await {
            Ok(found) if found.identity == *identity => {
                *self.file.seen() = Instant::now();
                Ok(&self.writer)
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(sqlx::Error::from(error)).doing(what)
            }
            _ => Err(Error::Away { what, source: Gone { path: path.clone() }.into() }),
        }
    }

    /// The same for rows that can be made again from the files: the name may have been looked at some seconds ago.
    async fn writer_of_files(&self, what: &'static str) -> Result<&SqlitePool, Error> {
        if self.file.seen().elapsed() < SEEN_WITHIN {
            return Ok(&self.writer);
        }
        self.writer(what).await
    }
}

const VERSION: &str = "select max(version) from _sqlx_migrations";

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        // FULL: in WAL mode, NORMAL loses every row since the last checkpoint when the power goes.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
}

async fn pool(connections: u32, options: SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        // A connection to a file does not go stale, and the test costs a round trip to its thread.
        .test_before_acquire(false)
        .connect_with(options)
        .await
}

fn known_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.message().starts_with("no such table"))
}

fn not_migrated(path: &Path, error: MigrateError) -> Error {
    let path = path.to_owned();
    match error {
        MigrateError::VersionMissing(found) => Error::Newer { path, found, known: known_version() },
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)
            if error::is_away(&source) =>
        {
            error::sort("bring the database up to date", source)
        }
        other => Error::Foreign { path, source: other.into() },
    }
}

#[cfg(test)]
mod tests;
