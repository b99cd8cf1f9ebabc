//! What one volume lacks of what the other has, and what is read again to see whether it is still what was recorded.

use sqlx::FromRow;

use super::{
    Error, PerPlace, Store,
    error::{BadValue, Doing as _, values},
    retention::limits,
    segments::{hash, size, word},
};
use crate::{
    base::{CameraId, WallUs},
    model::{
        copies::{Copies, CopyState, Place},
        retention::Limits,
        segment::Hash,
    },
};

/// Due segments are counted up to so many.
const COUNTED: i64 = 100_000;

/// A segment that one volume has and the other lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its row.
    pub id: i64,
    /// Whose it is.
    pub camera: CameraId,
    /// Its file on both volumes.
    pub path: String,
    /// Its first frame.
    pub start: WallUs,
    /// The end of its last frame.
    pub end: WallUs,
    /// Size of the file.
    pub bytes: u64,
    /// What the file must be, if that is known.
    pub hash: Option<Hash>,
    /// Whether there is a file where it is due, which may be whole after all.
    pub there: bool,
}

/// How much is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueSum {
    /// So many segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A segment that is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Its row.
    pub id: i64,
    /// Its file on both volumes.
    pub path: String,
    /// Size of the file.
    pub bytes: u64,
    /// What the file must be.
    pub hash: Hash,
    /// What each volume has.
    pub copies: Copies,
}

// What a mirror let go for want of room is copied again when there is room; what a primary let go is not.
const DUE: PerPlace = PerPlace {
    primary: "
        select id, camera_id, path, start_us, end_us, bytes, hash, on_primary as state
          from segment indexed by segment_due_primary
         where camera_id = ?1 and on_primary in ('absent', 'suspect') and on_mirror = 'whole' and start_us < ?2
         order by start_us desc limit ?3",
    mirror: "
        select id, camera_id, path, start_us, end_us, bytes, hash, on_mirror as state
          from segment indexed by segment_due_mirror
         where camera_id = ?1 and on_mirror in ('absent', 'suspect', 'pruned') and on_primary = 'whole'
           and start_us < ?2
         order by start_us desc limit ?3",
};

// Without what was let go: that is no debt.
const DUE_SUM: PerPlace = PerPlace {
    primary: "
        select count(*), coalesce(sum(bytes), 0)
          from (select bytes from segment indexed by segment_due_primary
                 where camera_id = ?1 and on_primary in ('absent', 'suspect') and on_mirror = 'whole' and end_us < ?3
                 limit ?2)",
    mirror: "
        select count(*), coalesce(sum(bytes), 0)
          from (select bytes from segment indexed by segment_due_mirror
                 where camera_id = ?1 and on_mirror in ('absent', 'suspect', 'pruned') and on_primary = 'whole'
                   and on_mirror <> 'pruned' and end_us < ?3 limit ?2)",
};

macro_rules! copied {
    ($of:literal, $other:literal) => {
        concat!(
            "update segment set on_",
            $of,
            " = 'whole', hash = coalesce(hash, ?2)
              where id = ?1 and on_",
            $of,
            " in ('absent', 'suspect', 'pruned') and on_",
            $other,
            " = 'whole'"
        )
    };
}
const COPIED: PerPlace =
    PerPlace { primary: copied!("primary", "mirror"), mirror: copied!("mirror", "primary") };

// A copy that a killed process was writing, of a segment that the other volume has whole.
macro_rules! unended {
    ($of:literal) => {
        concat!(
            "update segment set on_",
            $of,
            " = 'suspect'
              where 'open' in (on_primary, on_mirror) and id between 1 and ?1 and on_",
            $of,
            " = 'open' and state <> 'open' and id <= ?1"
        )
    };
}
const UNENDED: PerPlace = PerPlace { primary: unended!("primary"), mirror: unended!("mirror") };

// Of a camera that is to have no mirror nothing is copied to it; and what only the mirror has of one that is gone is
// copied back.
const CAMERAS: PerPlace = PerPlace {
    primary: "
        select stored.camera_id, camera.retention_hours, camera.quota_bytes
          from stored left join camera on camera.id = stored.camera_id
         where stored.place = 'mirror' and stored.segments > 0",
    mirror: "select id, retention_hours, quota_bytes from camera where mirror_enabled = 1",
};

const SCRUBBED: &str = "
    select id, path, bytes, hash, on_primary, on_mirror
      from segment where id > ?1 and state = 'closed' and hash is not null order by id limit ?2";

const WANT_ON_PRIMARY: &str = "
    update segment set on_primary = 'absent'
     where camera_id = ?1 and start_us > ?2 - 7200000000 and end_us > ?2 and on_primary = 'unwanted'";

const LAST_ID: &str = "select coalesce(max(id), 0) from segment";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[SCRUBBED, WANT_ON_PRIMARY, LAST_ID];
#[cfg(test)]
pub(super) const PER_PLACE: &[PerPlace] = &[DUE, DUE_SUM, COPIED, UNENDED, CAMERAS];

impl Store {
    /// The cameras whose footage `place` should have if the other volume has it, and what they may keep.
    pub async fn copied_cameras(&self, place: Place) -> Result<Vec<(CameraId, Limits)>, Error> {
        let what = "list the cameras of a mirror";
        let rows: Vec<(String, Option<i64>, Option<i64>)> =
            sqlx::query_as(CAMERAS.at(place)).fetch_all(&self.readers).await.doing(what)?;
        let camera = |(id, hours, quota): (String, Option<i64>, Option<i64>)| {
            Ok((word("camera.id", &id, |id| id.parse().ok())?, limits(hours, quota)?))
        };
        rows.into_iter().map(camera).collect::<Result<_, BadValue>>().doing(what)
    }

    /// The newest segments of `camera` begun before `before` that `place` lacks and the other volume has; at most `limit`.
    pub async fn due(
        &self,
        place: Place,
        camera: &CameraId,
        before: WallUs,
        limit: u32,
    ) -> Result<Vec<Due>, Error> {
        let what = "list what is to be copied";
        let rows: Vec<DueRow> = sqlx::query_as(DUE.at(place))
            .bind(camera.as_str())
            .bind(before.0)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .doing(what)?;
        values(what, rows)
    }

    /// How much that ended before `before` `place` lacks of `camera` and the other volume has; counted up to a hundred
    /// thousand.
    pub async fn due_sum(&self, place: Place, camera: &CameraId, before: WallUs) -> Result<DueSum, Error> {
        let what = "add up what is to be copied";
        let (segments, bytes): (i64, i64) = sqlx::query_as(DUE_SUM.at(place))
            .bind(camera.as_str())
            .bind(COUNTED)
            .bind(before.0)
            .fetch_one(&self.readers)
            .await
            .doing(what)?;
        Ok(DueSum { segments: size("count", segments).doing(what)?, bytes: size("sum", bytes).doing(what)? })
    }

    /// A copy at `place` is what the other volume has. Whether the row still wanted it; if not, the file is nobody's.
    pub async fn copied(&self, place: Place, id: i64, hash: Option<Hash>) -> Result<bool, Error> {
        let what = "note a copy";
        let done = sqlx::query(COPIED.at(place))
            .bind(id)
            .bind(hash.as_ref().map(|hash| &hash.0[..]))
            .execute(self.writer(what).await?)
            .await
            .doing(what)?;
        Ok(done.rows_affected() == 1)
    }

    /// Copies that a killed process was writing while the other volume had all of the segment, up to the row `upto`: they
    /// are to be compared.
    pub async fn end_copies(&self, upto: i64) -> Result<(), Error> {
        let what = "end copies";
        let mut db = self.begin(what).await?;
        for place in Place::ALL {
            sqlx::query(UNENDED.at(*place)).bind(upto).execute(&mut *db).await.doing(what)?;
        }
        db.commit().await.doing(what)
    }

    /// The next segments after the row `after` that have a hash to be compared with; at most `limit`.
    pub async fn to_scrub(&self, after: i64, limit: u32) -> Result<Vec<Scrubbed>, Error> {
        let what = "list what is to be read again";
        let rows: Vec<ScrubRow> =
            sqlx::query_as(SCRUBBED).bind(after).bind(limit).fetch_all(&self.readers).await.doing(what)?;
        values(what, rows)
    }

    /// The greatest id of a segment.
    pub async fn last_segment(&self) -> Result<i64, Error> {
        sqlx::query_scalar(LAST_ID).fetch_one(&self.readers).await.doing("look for the last segment")
    }

    /// Footage of `camera` that ends after `from` and was recorded for the mirror alone is wanted on the primary, too. Looks
    /// back two hours: no segment is longer.
    pub async fn want_on_primary(&self, camera: &CameraId, from: WallUs) -> Result<u64, Error> {
        let what = "want footage on the primary";
        let done = sqlx::query(WANT_ON_PRIMARY)
            .bind(camera.as_str())
            .bind(from.0)
            .execute(self.writer(what).await?)
            .await
            .doing(what)?;
        Ok(done.rows_affected())
    }
}

#[derive(FromRow)]
struct DueRow {
    id: i64,
    camera_id: String,
    path: String,
    start_us: i64,
    end_us: i64,
    bytes: i64,
    hash: Option<Vec<u8>>,
    state: String,
}

impl TryFrom<DueRow> for Due {
    type Error = BadValue;

    fn try_from(row: DueRow) -> Result<Self, BadValue> {
        Ok(Self {
            id: row.id,
            camera: word("segment.camera_id", &row.camera_id, |id| id.parse().ok())?,
            path: row.path,
            start: WallUs(row.start_us),
            end: WallUs(row.end_us),
            bytes: size("segment.bytes", row.bytes)?,
            hash: row.hash.map(hash).transpose()?,
            there: word("segment.copy", &row.state, CopyState::from_word)?.is_there(),
        })
    }
}

#[derive(FromRow)]
struct ScrubRow {
    id: i64,
    path: String,
    bytes: i64,
    hash: Vec<u8>,
    on_primary: String,
    on_mirror: String,
}

impl TryFrom<ScrubRow> for Scrubbed {
    type Error = BadValue;

    fn try_from(row: ScrubRow) -> Result<Self, BadValue> {
        let copy = |word: &str| self::word("segment.copy", word, CopyState::from_word);
        Ok(Self {
            id: row.id,
            path: row.path,
            bytes: size("segment.bytes", row.bytes)?,
            hash: hash(row.hash)?,
            copies: Copies { primary: copy(&row.on_primary)?, mirror: copy(&row.on_mirror)? },
        })
    }
}
