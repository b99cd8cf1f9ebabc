//! How far the background verification of hashes is, and what it found.

use sqlx::FromRow;

use super::{
    Error, Store,
    error::{BadValue, Doing as _},
    segments::{lost_footage, number, size},
};
use crate::{
    base::{CameraId, WallUs},
    model::{
        copies::{CopyState, Place},
        timeline::Range,
    },
};

/// A pass, and what is known of those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubPass {
    /// When it began; `None` if there is none under way.
    pub began: Option<WallUs>,
    /// Segments up to this row were read.
    pub after: i64,
    /// With this row it ends.
    pub upto: i64,
    /// Copies that were read.
    pub checked: u64,
    /// Their bytes.
    pub checked_bytes: u64,
    /// Copies that were passed over, because their volume was away or failing.
    pub skipped: u64,
    /// Copies that were not what was recorded.
    pub damaged: u64,
    /// Copies that there were when it began.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the next one begins by itself.
    pub next: WallUs,
    /// When the last one ended.
    pub ended: Option<WallUs>,
    /// What that one found damaged.
    pub ended_damaged: u64,
}

/// What became of the copies that were found damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Since the last time that this was asked, so many were made whole.
    pub healed: u64,
    /// So many are still to be made whole from the other volume.
    pub waiting: u64,
}

const PASS: &str = "
    select began_us, after_id, upto_id, checked, checked_bytes, skipped, damaged, copies, bytes, next_us, ended_us,
           ended_damaged
      from scrub where id = 1";

const SAVE: &str = "
    update scrub
       set began_us = ?1, after_id = ?2, upto_id = ?3, checked = ?4, checked_bytes = ?5, skipped = ?6, damaged = ?7,
           copies = ?8, bytes = ?9, next_us = ?10, ended_us = ?11, ended_damaged = ?12
     where id = 1";

// A copy that is being deleted, or was, is not damaged.
const ON_PRIMARY: &str = "update segment set on_primary = ?2 where id = ?1 and on_primary = 'whole'";
const ON_MIRROR: &str = "update segment set on_mirror = ?2 where id = ?1 and on_mirror = 'whole'";

const FOUND: &str = "insert into scrub_found (segment_id, place) values (?1, ?2) on conflict do nothing";

const HEALED: &str = "
    delete from scrub_found
     where 'whole' = (select iif(place = 'primary', on_primary, on_mirror) from segment where id = segment_id)";

const LET_GO: &str = "
    delete from scrub_found
     where (select iif(place = 'primary', on_primary, on_mirror) from segment where id = segment_id)
           not in ('suspect', 'absent')";

const WAITING: &str = "
    select count(*) from scrub_found
     where 'whole' = (select iif(place = 'primary', on_mirror, on_primary) from segment where id = segment_id)";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[PASS, SAVE, ON_PRIMARY, ON_MIRROR, FOUND, HEALED, LET_GO, WAITING];

impl Store {
    /// Where the verification is.
    pub async fn scrub_pass(&self) -> Result<ScrubPass, Error> {
        let what = "read how far the scrub is";
        let row: PassRow = sqlx::query_as(PASS).fetch_one(&self.readers).await.doing(what)?;
        ScrubPass::try_from(row).doing(what)
    }

    /// Remembers it.
    pub async fn save_scrub_pass(&self, pass: &ScrubPass) -> Result<(), Error> {
        let what = "note how far the scrub is";
        sqlx::query(SAVE)
            .bind(pass.began.map(|at| at.0))
            .bind(pass.after)
            .bind(pass.upto)
            .bind(number(pass.checked))
            .bind(number(pass.checked_bytes))
            .bind(number(pass.skipped))
            .bind(number(pass.damaged))
            .bind(number(pass.copies))
            .bind(number(pass.bytes))
            .bind(pass.next.0)
            .bind(pass.ended.map(|at| at.0))
            .bind(pass.ended.map(|_| number(pass.ended_damaged)))
            .execute(self.writer(what).await?)
            .await
            .doing(what)?;
        Ok(())
    }

    /// A copy at `place` that the row calls whole is `Suspect` or `Absent`. `None` if the row does not call it so any more:
    /// then nothing changes. Otherwise the footage that is lost by it, if no volume has a file of it.
    pub async fn found_damaged(
        &self,
        place: Place,
        id: i64,
        copy: CopyState,
    ) -> Result<Option<Option<(CameraId, Range)>>, Error> {
        let what = "note a damaged copy";
        let mut db = self.begin(what).await?;
        let mark = match place {
            Place::Primary => ON_PRIMARY,
            Place::Mirror => ON_MIRROR,
        };
        let marked = sqlx::query(mark).bind(id).bind(copy.word()).execute(&mut *db).await.doing(what)?;
        if marked.rows_affected() == 0 {
            return Ok(None);
        }
        sqlx::query(FOUND).bind(id).bind(place.word()).execute(&mut *db).await.doing(what)?;
        let lost = lost_footage(&mut db, id, what).await?;
        db.commit().await.doing(what)?;
        Ok(Some(lost))
    }

    /// What became of what was found; what is whole again, or was let go, is forgotten by it.
    pub async fn scrub_mended(&self) -> Result<Mended, Error> {
        let what = "look what became of damaged copies";
        let mut db = self.begin(what).await?;
        let healed = sqlx::query(HEALED).execute(&mut *db).await.doing(what)?.rows_affected();
        sqlx::query(LET_GO).execute(&mut *db).await.doing(what)?;
        let waiting: i64 = sqlx::query_scalar(WAITING).fetch_one(&mut *db).await.doing(what)?;
        db.commit().await.doing(what)?;
        Ok(Mended { healed, waiting: size("count", waiting).doing(what)? })
    }
}

#[derive(FromRow)]
struct PassRow {
    began_us: Option<i64>,
    after_id: i64,
    upto_id: i64,
    checked: i64,
    checked_bytes: i64,
    skipped: i64,
    damaged: i64,
    copies: i64,
    bytes: i64,
    next_us: i64,
    ended_us: Option<i64>,
    ended_damaged: Option<i64>,
}

impl TryFrom<PassRow> for ScrubPass {
    type Error = BadValue;

    fn try_from(row: PassRow) -> Result<Self, BadValue> {
        Ok(Self {
            began: row.began_us.map(WallUs),
            after: row.after_id,
            upto: row.upto_id,
            checked: size("scrub.checked", row.checked)?,
            checked_bytes: size("scrub.checked_bytes", row.checked_bytes)?,
            skipped: size("scrub.skipped", row.skipped)?,
            damaged: size("scrub.damaged", row.damaged)?,
            copies: size("scrub.copies", row.copies)?,
            bytes: size("scrub.bytes", row.bytes)?,
            next: WallUs(row.next_us),
            ended: row.ended_us.map(WallUs),
            ended_damaged: size("scrub.ended_damaged", row.ended_damaged.unwrap_or(0))?,
        })
    }
}
