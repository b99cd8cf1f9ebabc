//! Segments.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use serde_json::json;
use sqlx::{FromRow, SqliteExecutor};

use super::{
    Error, PerPlace, Store,
    error::{BadValue, Doing as _, values},
};
use crate::{
    base::{CameraId, WallUs},
    model::{
        Profile,
        copies::{Copies, CopyState, Place},
        reconcile::KnownRow,
        segment::{
            AudioCodec, Codec, Extent, Hash, Segment, SegmentFacts, SegmentHead, SegmentState, Source,
        },
        timeline::Range,
    },
};

// By path, so that a row that was written without anybody hearing of it is not written twice. A row of that path that
// began at another time, or is lost, is that of another file, which is gone. Of one recording, each volume tells of its
// own copy; the row says the most that any has, and which of them have all of it.
macro_rules! record {
    ($of:literal, $other:literal) => {
        concat!(
            "insert into segment (camera_id, profile, path, start_us, end_us, frames, bytes, codec, width, height, source,
                                  audio, hash, on_", $of, ", on_", $other, ", state)
             select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                    value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, unhex(value ->> 12),
                    value ->> 13, value ->> 14,
                    case value ->> 13 when 'whole' then 'closed' when 'absent' then 'lost' else value ->> 13 end
               from json_each(?1) where true
             on conflict (path) do update
                set camera_id = excluded.camera_id, profile = excluded.profile, start_us = excluded.start_us,
                    codec = excluded.codec, width = excluded.width, height = excluded.height,
                    source = excluded.source, audio = excluded.audio,
                    end_us = iif(start_us = excluded.start_us and state <> 'lost',
                                 max(end_us, excluded.end_us), excluded.end_us),
                    frames = iif(start_us = excluded.start_us and state <> 'lost',
                                 max(frames, excluded.frames), excluded.frames),
                    bytes = iif(start_us = excluded.start_us and state <> 'lost',
                                max(bytes, excluded.bytes), excluded.bytes),
                    hash = iif(start_us = excluded.start_us and state <> 'lost' and excluded.bytes <= bytes,
                               coalesce(hash, iif(excluded.bytes = bytes, excluded.hash, null)), excluded.hash),
                    activity = iif(start_us = excluded.start_us and state <> 'lost', activity, null),
                    on_", $of, " = case
                        when on_", $of, " = 'deleting' then 'deleting'
                        when start_us = excluded.start_us and state <> 'lost' and excluded.on_", $of, " = 'whole'
                             and (excluded.bytes < bytes or (excluded.bytes = bytes and hash <> excluded.hash))
                            then 'suspect'
                        else excluded.on_", $of, " end,
                    on_", $other, " = case
                        when not (start_us = excluded.start_us and state <> 'lost') then excluded.on_", $other, "
                        when on_", $other, " = 'whole' and excluded.bytes > bytes then 'suspect'
                        else on_", $other, " end
             returning path, id"
        )
    };
}
const RECORD: PerPlace =
    PerPlace { primary: record!("primary", "mirror"), mirror: record!("mirror", "primary") };

// A file that contradicts the hash it was closed with is not what was recorded; the hash stays, to tell so. The other
// copy is compared with it, or copied from it, by the resync; and it with the other, if that is whole already: then it
// is that which says how long the segment is.
macro_rules! finish {
    ($of:literal, $other:literal) => {
        concat!(
            "update segment
                set end_us = iif(on_", $other, " = 'whole', end_us, start_us + ?2),
                    frames = iif(on_", $other, " = 'whole', frames, ?3),
                    bytes = iif(on_", $other, " = 'whole', bytes, ?4),
                    on_", $of, " = iif('suspect' = on_", $of, " or 'whole' = on_", $other, "
                                       or (hash is not null and (frames, bytes) <> (?3, ?4)), 'suspect', 'whole'),
                    on_", $other, " = iif(on_", $other, " = 'open', 'suspect', on_", $other, ")
              where id = ?1 and on_", $of, " <> 'deleting'"
        )
    };
}
const FINISH: PerPlace =
    PerPlace { primary: finish!("primary", "mirror"), mirror: finish!("mirror", "primary") };

macro_rules! mark {
    ($of:literal) => {
        concat!("update segment set on_", $of, " = ?2 where id = ?1 and on_", $of, " <> 'deleting'")
    };
}
const MARK: PerPlace = PerPlace { primary: mark!("primary"), mirror: mark!("mirror") };

const FOOTAGE: &str = "select camera_id, start_us, end_us, state from segment where id = ?1";

const SET_HASH: &str = "update segment set hash = ?2 where id = ?1 and hash is null";

// Both volumes tell of a segment's end; what was seen of it is the same.
const SET_ACTIVITY: &str = "update segment set activity = ?2 where id = ?1 and activity is null";

// As `TOUCHING` without those whose file is gone.
const ACTIVITY: &str = "
    select profile, state, start_us, end_us, activity
      from segment
     where camera_id = ?1 and end_us > ?2 and start_us < ?3 and state not in ('lost', 'deleting')
       and start_us >= coalesce((select min(start_us) from (select start_us from segment
                                  where camera_id = ?1 and start_us <= ?2
                                  order by start_us desc limit 8)), ?2)
     order by start_us";

const GET: &str = "
    select id, camera_id, profile, path, start_us, end_us, frames, bytes, codec, width, height, source, state, audio,
           hash, holds, on_primary, on_mirror
      from segment where id = ?1";

// A camera's segments do not overlap, as a rule: the one before `from` may reach into the range. Eight of them are
// looked at, because a clock that was set back, or a change from main to sub, can lay some over each other.
const TOUCHING: &str = "
    select id, camera_id, profile, path, start_us, end_us, frames, bytes, codec, width, height, source, state, audio,
           hash, holds, on_primary, on_mirror
      from segment
     where camera_id = ?1 and end_us > ?2 and start_us < ?3 and state <> 'deleting'
       and start_us >= max(?4, coalesce((select min(start_us) from (select start_us from segment
                                          where camera_id = ?1 and start_us <= ?2
                                          order by start_us desc limit 8)), ?2))
       and (start_us > ?4 or id > ?5)
     order by start_us, id limit ?6";

const RANGES: &str = "
    select start_us, end_us
      from segment
     where camera_id = ?1 and end_us > ?2 and start_us < ?3 and state not in ('lost', 'deleting')
       and start_us >= coalesce((select min(start_us) from (select start_us from segment
                                  where camera_id = ?1 and start_us <= ?2
                                  order by start_us desc limit 8)), ?2)
     order by start_us";

const OPEN: &str = "
    select id, camera_id, profile, path, start_us, end_us, frames, bytes, codec, width, height, source, state, audio,
           hash, holds, on_primary, on_mirror
      from segment indexed by segment_open where 'open' in (on_primary, on_mirror) and id > 0 order by id";

// `state` is what it would be without the other volume.
macro_rules! known {
    ($of:literal, $other:literal) => {
        concat!(
            "select id, path, frames, bytes, hash, on_",
            $other,
            " as other,
                    case on_",
            $of,
            " when 'whole' then 'closed' when 'absent' then 'lost' when 'pruned' then 'lost'
                                      when 'unwanted' then 'lost' else on_",
            $of,
            " end as state
               from segment where path > ?1 and path <= ?2 order by path limit ?3"
        )
    };
}
const KNOWN: PerPlace =
    PerPlace { primary: known!("primary", "mirror"), mirror: known!("mirror", "primary") };

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] =
    &[FOOTAGE, SET_HASH, SET_ACTIVITY, ACTIVITY, GET, TOUCHING, RANGES, OPEN];
#[cfg(test)]
pub(super) const PER_PLACE: &[PerPlace] = &[RECORD, FINISH, MARK, KNOWN];

/// A row as `RECORD` takes it.
fn row(facts: &SegmentFacts) -> serde_json::Value {
    let SegmentFacts { head, path, extent, state, hash } = facts;
    let SegmentHead { camera, profile, start, codec, width, height, audio, source, only_mirror } = head;
    let other = if *only_mirror { CopyState::Unwanted } else { CopyState::Absent };
    json!([
        camera.as_str(),
        profile.word(),
        path,
        start.0,
        facts.end().0,
        number(extent.frames),
        number(extent.bytes),
        codec.word(),
        width,
        height,
        source.word(),
        audio.map(AudioCodec::word),
        hash.as_ref().map(Hash::to_string),
        state.copy().word(),
        other.word(),
    ])
}

/// Records what is at a volume, in one statement: each is a turn of two threads. The paths of the rows and their ids.
async fn record_at<'a>(
    db: impl SqliteExecutor<'_>,
    place: Place,
    facts: impl Iterator<Item = &'a SegmentFacts>,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows: Vec<_> = facts.map(row).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let rows = serde_json::Value::Array(rows).to_string();
    sqlx::query_as(RECORD.at(place)).bind(rows).fetch_all(db).await
}

fn in_order(facts: &[(Place, SegmentFacts)], ids: &HashMap<String, i64>) -> Result<Vec<i64>, sqlx::Error> {
    let ids = facts.iter().map(|(_, facts)| ids.get(&facts.path).copied());
    ids.collect::<Option<Vec<i64>>>().ok_or(sqlx::Error::RowNotFound)
}

impl Store {
    /// Writes what is on a volume now, in one transaction: all of it or, with an error, none; none, too, if nobody waits for it any
    /// more. The ids, in the order of `facts`.
    pub async fn record(&self, facts: &[(Place, SegmentFacts)]) -> Result<Vec<i64>, Error> {
        self.record_in_transaction(facts, &[]).await
    }

    /// The same, with the activity of those that have one, each by its place in `facts`. It may be written even if nobody waits for it
    /// any more.
    pub async fn record_watched(
        &self,
        facts: &[(Place, SegmentFacts)],
        activity: &[(usize, Vec<u8>)],
    ) -> Result<Vec<i64>, Error> {
        let Some((place, _)) = facts.first() else { return Ok(Vec::new()) };
        if !activity.is_empty() || facts.iter().any(|(other, _)| other != place) {
            return self.record_in_transaction(facts, activity).await;
        }
        // Most of the time, once a second: one statement is a transaction by itself.
        let what = "record segments";
        let rows = facts.iter().map(|(_, facts)| facts);
        let ids = record_at(self.writer_of_files(what).await?, *place, rows).await.doing(what)?;
        in_order(facts, &ids.into_iter().collect()).doing(what)
    }

    async fn record_in_transaction(
        &self,
        facts: &[(Place, SegmentFacts)],
        activity: &[(usize, Vec<u8>)],
    ) -> Result<Vec<i64>, Error> {
        let what = "record segments";
        if facts.is_empty() {
            return Ok(Vec::new());
        }
        let mut ids: HashMap<String, i64> = HashMap::with_capacity(facts.len());
        let of = |place: Place| facts.iter().filter(move |(at, _)| *at == place).map(|(_, facts)| facts);
        let mut db = self.begin(what).await?;
        for place in Place::ALL {
            ids.extend(record_at(&mut *db, *place, of(*place)).await.doing(what)?);
        }
        let ids = in_order(facts, &ids).doing(what)?;
        for (n, levels) in activity {
            sqlx::query(SET_ACTIVITY).bind(ids[*n]).bind(levels).execute(&mut *db).await.doing(what)?;
        }
        db.commit().await.doing(what)?;
        Ok(ids)
    }

    /// Closes a row with what its file at `place` was measured to hold; as suspect, if that contradicts the row's hash.
    /// [`Error::NotFound`] if there is none of this id, or it is being deleted.
    pub async fn finish(&self, place: Place, id: i64, extent: Extent) -> Result<(), Error> {
        let what = "finish a segment";
        let done = sqlx::query(FINISH.at(place))
            .bind(id)
            .bind(extent.duration_us)
            .bind(number(extent.frames))
            .bind(number(extent.bytes))
            .execute(self.writer(what).await?)
            .await
            .doing(what)?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(none(id)) }
    }

    /// Changes what is said of these rows' copies at `place`, in one transaction, and gives those that are `lost` by it,
    /// because no volume has a file any more, with the footage that they speak of. Rows that are gone, or going, since
    /// retention deletes them, are passed over.
    pub async fn mark(
        &self,
        place: Place,
        ids: &[i64],
        copy: CopyState,
    ) -> Result<Vec<(i64, CameraId, Range)>, Error> {
        let what = "mark segments";
        let mut lost = Vec::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(lost);
        }
        let mut db = self.begin(what).await?;
        for id in ids {
            let done =
                sqlx::query(MARK.at(place)).bind(id).bind(copy.word()).execute(&mut *db).await.doing(what)?;
            if done.rows_affected() == 1
                && let Some((camera, range)) = lost_footage(&mut db, *id, what).await?
            {
                lost.push((*id, camera, range));
            }
        }
        db.commit().await.doing(what)?;
        Ok(lost)
    }

    /// Gives rows that have none the hash of their file, in one transaction. One that is there is never replaced.
    pub async fn set_hashes(&self, hashes: &[(i64, Hash)]) -> Result<(), Error> {
        let what = "store hashes";
        if hashes.is_empty() {
            return Ok(());
        }
        let mut db = self.begin(what).await?;
        for (id, hash) in hashes {
            sqlx::query(SET_HASH).bind(id).bind(&hash.0[..]).execute(&mut *db).await.doing(what)?;
        }
        db.commit().await.doing(what)
    }

    /// One segment. [`Error::NotFound`] if there is none of this id.
    pub async fn segment(&self, id: i64) -> Result<Segment, Error> {
        let what = "read a segment";
        let row: Option<Row> =
            sqlx::query_as(GET).bind(id).fetch_optional(&self.readers).await.doing(what)?;
        Segment::try_from(row.ok_or_else(|| none(id))?).doing(what)
    }

    /// At most `limit` segments of `camera` that touch `range`, lost ones too, oldest first. `after` is the id of the
    /// last one that the caller has; [`Error::NotFound`] if there is none of that id.
    pub async fn segments_touching(
        &self,
        camera: &CameraId,
        range: Range,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Segment>, Error> {
        let what = "list segments";
        let (from_start, from_id) = match after {
            Some(id) => (self.segment(id).await?.facts.head.start.0, id),
            None => (i64::MIN, 0),
        };
        let rows: Vec<Row> = sqlx::query_as(TOUCHING)
            .bind(camera.as_str())
            .bind(range.from.0)
            .bind(range.to.0)
            .bind(from_start)
            .bind(from_id)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .doing(what)?;
        values(what, rows)
    }

    /// Recorded stretches of `camera` that touch `range`, in order of their start, neither cut nor joined; without
    /// those whose file is gone.
    pub async fn ranges(&self, camera: &CameraId, range: Range) -> Result<Vec<Range>, Error> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(RANGES)
            .bind(camera.as_str())
            .bind(range.from.0)
            .bind(range.to.0)
            .fetch_all(&self.readers)
            .await
            .doing("read a timeline")?;
        Ok(rows.into_iter().map(|(from, to)| Range { from: WallUs(from), to: WallUs(to) }).collect())
    }

    /// What was seen to move in the recorded stretches of `camera` that touch `range`, in order of their start: given to
    /// `each` one by one, because a month may have a million.
    pub async fn activity(
        &self,
        camera: &CameraId,
        range: Range,
        mut each: impl FnMut(Watched),
    ) -> Result<(), Error> {
        let what = "read activity";
        let mut rows = sqlx::query_as::<_, (String, String, i64, i64, Option<Vec<u8>>)>(ACTIVITY)
            .bind(camera.as_str())
            .bind(range.from.0)
            .bind(range.to.0)
            .fetch(&self.readers);
        while let Some((profile, state, from, to, levels)) = rows.try_next().await.doing(what)? {
            let profile = word("segment.profile", &profile, Profile::from_word).doing(what)?;
            let range = Range { from: WallUs(from), to: WallUs(to) };
            each(Watched { range, profile, open: state == SegmentState::Open.word(), levels });
        }
        Ok(())
    }

    /// Rows of which a copy is open: being written, or left so by a killed process.
    pub async fn open_rows(&self) -> Result<Vec<Segment>, Error> {
        let what = "list open segments";
        let rows: Vec<Row> = sqlx::query_as(OPEN).fetch_all(&self.readers).await.doing(what)?;
        values(what, rows)
    }

    /// A page of all rows, in the order of their paths, with their copies at `place`: at most `limit` after `after` (empty
    /// for the first page) and up to `upto` (`None`: the end).
    pub async fn known_rows(
        &self,
        place: Place,
        after: &str,
        upto: Option<&str>,
        limit: u32,
    ) -> Result<Vec<KnownRow>, Error> {
        let what = "list known segments";
        let rows: Vec<Known> = sqlx::query_as(KNOWN.at(place))
            .bind(after)
            // Greater than every path.
            .bind(upto.unwrap_or("\u{10ffff}"))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .doing(what)?;
        rows.into_iter().map(KnownRow::try_from).collect::<Result<_, BadValue>>().doing(what)
    }
}

/// What a row speaks of, if no volume has a file of it any more.
pub(super) async fn lost_footage(
    db: &mut sqlx::SqliteConnection,
    id: i64,
    what: &'static str,
) -> Result<Option<(CameraId, Range)>, Error> {
    let (camera, from, to, state): (String, i64, i64, String) =
        sqlx::query_as(FOOTAGE).bind(id).fetch_one(db).await.doing(what)?;
    if state != SegmentState::Lost.word() {
        return Ok(None);
    }
    let camera = word("segment.camera_id", &camera, |id| id.parse().ok()).doing(what)?;
    Ok(Some((camera, Range { from: WallUs(from), to: WallUs(to) })))
}

fn none(id: i64) -> Error {
    Error::NotFound { what: "segment", id: id.to_string() }
}

/// SQLite's numbers have a sign; nothing we count comes near it.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn size(column: &'static str, value: i64) -> Result<u64, BadValue> {
    u64::try_from(value).map_err(|_| BadValue { column, value: value.to_string() })
}

pub(super) fn word<T>(
    column: &'static str,
    word: &str,
    known: impl Fn(&str) -> Option<T>,
) -> Result<T, BadValue> {
    known(word).ok_or_else(|| BadValue { column, value: word.to_owned() })
}

pub(super) fn hash(bytes: Vec<u8>) -> Result<Hash, BadValue> {
    let of = |bytes: Vec<u8>| BadValue { column: "segment.hash", value: format!("{} bytes", bytes.len()) };
    bytes.try_into().map(Hash).map_err(of)
}

/// What the index knows of the activity of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// When it is of.
    pub range: Range,
    /// Which of the camera's streams.
    pub profile: Profile,
    /// Whether it still grows; its activity is written at its end.
    pub open: bool,
    /// One level for each UTC second from that of its start on ([`crate::model::ai::activity`]); `None`: nobody knows.
    pub levels: Option<Vec<u8>>,
}

#[derive(FromRow)]
struct Known {
    id: i64,
    path: String,
    frames: i64,
    bytes: i64,
    state: String,
    other: String,
    hash: Option<Vec<u8>>,
}

impl TryFrom<Known> for KnownRow {
    type Error = BadValue;

    fn try_from(row: Known) -> Result<Self, BadValue> {
        Ok(Self {
            id: row.id,
            path: row.path,
            frames: size("segment.frames", row.frames)?,
            bytes: size("segment.bytes", row.bytes)?,
            state: word("segment.state", &row.state, SegmentState::from_word)?,
            other: word("segment.copy", &row.other, CopyState::from_word)?,
            hash: row.hash.map(hash).transpose()?,
        })
    }
}

#[derive(FromRow)]
struct Row {
    id: i64,
    camera_id: String,
    profile: String,
    path: String,
    start_us: i64,
    end_us: i64,
    frames: i64,
    bytes: i64,
    codec: String,
    width: u32,
    height: u32,
    source: String,
    state: String,
    audio: Option<String>,
    hash: Option<Vec<u8>>,
    holds: u32,
    on_primary: String,
    on_mirror: String,
}

impl TryFrom<Row> for Segment {
    type Error = BadValue;

    fn try_from(row: Row) -> Result<Self, BadValue> {
        let copy = |word: &str| self::word("segment.copy", word, CopyState::from_word);
        let copies = Copies { primary: copy(&row.on_primary)?, mirror: copy(&row.on_mirror)? };
        Ok(Self {
            id: row.id,
            copies,
            holds: row.holds,
            facts: SegmentFacts {
                head: SegmentHead {
                    camera: word("segment.camera_id", &row.camera_id, |id| id.parse().ok())?,
                    profile: word("segment.profile", &row.profile, Profile::from_word)?,
                    start: WallUs(row.start_us),
                    codec: word("segment.codec", &row.codec, Codec::from_word)?,
                    width: row.width,
                    height: row.height,
                    audio: row
                        .audio
                        .map(|audio| word("segment.audio", &audio, AudioCodec::from_word))
                        .transpose()?,
                    source: word("segment.source", &row.source, Source::from_word)?,
                    only_mirror: copies.primary == CopyState::Unwanted,
                },
                path: row.path,
                extent: Extent {
                    frames: size("segment.frames", row.frames)?,
                    bytes: size("segment.bytes", row.bytes)?,
                    duration_us: row.end_us.saturating_sub(row.start_us),
                },
                state: word("segment.state", &row.state, SegmentState::from_word)?,
                hash: row.hash.map(hash).transpose()?,
            },
        })
    }
}
