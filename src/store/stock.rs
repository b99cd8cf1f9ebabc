//! Room that the database has in stock, for the moment when its disk is full to the last byte: footage can be deleted only
//! after rows have said so, and footage and database often lie on the same disk.
//!
//! While the service runs, the stock is inside the database's files: the write-ahead log is made twice as long as it gets
//! between two checkpoints (SQLite overwrites it and never shortens it), and as much is free in the database itself. In
//! between, when the log is gone, a file keeps the place. Nothing of this helps on file systems that never overwrite.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sqlx::AssertSqlSafe;

use super::{Error, Store, error::Doing as _};

/// A checkpoint comes when the log has 1000 pages of 4 KiB.
const BYTES: u32 = 8 << 20;

/// The file that keeps the place.
fn place(database: &Path) -> PathBuf {
    database.with_extension("reserve")
}

/// Gives the kept place up, so that the database beside it can be opened.
pub fn release(database: &Path) {
    let path = place(database);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("cannot give up `{}`: {error}", path.display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// Whether there is so much room that a stock is no burden.
fn is_roomy(database: &Path) -> bool {
    let dir = database.parent().unwrap_or(Path::new("."));
    rustix::fs::statvfs(dir)
        .is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= 8 * u64::from(BYTES))
}

/// Keeps the place.
fn keep(database: &Path) {
    let path = place(database);
    let kept = fs::File::create(&path).and_then(|file| {
        let bytes = u64::from(2 * BYTES);
        Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
    });
    if let Err(error) = kept {
        tracing::warn!("no room is kept for the database in `{}`: {error}", path.display());
        release(database);
    }
}

impl Store {
    /// Fills the stock; once after each opening. Nothing is done on a disk with little room.
    pub async fn stock_up(&self) -> Result<(), Error> {
        let what = "keep room for the database";
        if !is_roomy(&self.file.path) {
            return Ok(());
        }
        // Two transactions: pages that are freed in the one that filled them never reach the log. Not among the statements
        // that are checked for their plans: the table is there in between only.
        let fill =
            format!("create table stock (filler blob) strict; insert into stock values (zeroblob({BYTES}))");
        for statements in ["drop table if exists stock", &fill, "drop table stock"] {
            let mut db = self.begin(what).await?;
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *db).await.doing(what)?;
            db.commit().await.doing(what)?;
        }
        keep(&self.file.path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::copies::Place;
    use crate::store::tests::{Rig, facts};

    #[tokio::test]
    async fn rows_cost_no_room_that_is_not_there_already() {
        let rig = Rig::new().await;
        rig.store.stock_up().await.unwrap();
        let sizes = || {
            let path = rig.path();
            let size = |end: &str| fs::metadata(format!("{}{end}", path.display())).unwrap().len();
            (size(""), size("-wal"))
        };
        let before = sizes();
        assert!(before.1 >= u64::from(BYTES), "{before:?}");
        // Many checkpoints long.
        for n in 0..400 {
            let rows: Vec<_> =
                (0..20).map(|k| (Place::Primary, facts("front", n * 100 + k, n * 100 + k + 1))).collect();
            let ids = rig.store.record(&rows).await.unwrap();
            rig.store.doom(Place::Primary, &ids).await.unwrap();
            rig.store.remove_doomed(Place::Primary, &ids, false).await.unwrap();
        }
        assert_eq!(sizes(), before);
    }

    #[test]
    fn the_place_is_kept_and_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("x.db");
        release(&database);
        keep(&database);
        assert_eq!(fs::metadata(dir.path().join("x.reserve")).unwrap().len(), u64::from(2 * BYTES));
        release(&database);
        assert!(!dir.path().join("x.reserve").exists());
    }
}
