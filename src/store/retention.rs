//! What is stored of each camera, what of it may go, and what is going: deletion in two steps, so that a kill between
//! any two leaves a row that says what was begun.

use sqlx::FromRow;

use super::{
    Error, PerPlace, Store,
    error::{BadValue, Doing as _, values},
    segments::{lost_footage, size, word},
};
use crate::{
    base::{CameraId, WallUs},
    model::{
        copies::Place,
        retention::{Candidate, Limits},
        timeline::Range,
    },
};

/// One camera's footage on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Whose; also of one that was deleted.
    pub camera: CameraId,
    /// What it may keep.
    pub limits: Limits,
    /// So many segments, open ones too.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of those that are held.
    pub held_bytes: u64,
}

/// A row whose file is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// The row.
    pub id: i64,
    /// Its file.
    pub path: String,
    /// The file's size, as the row says.
    pub bytes: u64,
}

/// What came of a camera lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lately {
    /// Bytes of the segments begun since then.
    pub bytes: u64,
    /// When the first of them began.
    pub since: Option<WallUs>,
    /// When the oldest footage of all begins.
    pub oldest: Option<WallUs>,
}

const STORED: &str = "
    select stored.camera_id, stored.segments, stored.bytes, stored.held_bytes,
           camera.retention_hours, camera.quota_bytes
      from stored left join camera on camera.id = stored.camera_id
     where stored.place = ?1 and stored.segments > 0 order by stored.camera_id";

macro_rules! leaving {
    ($of:literal) => {
        concat!(
            "select id, start_us, end_us, bytes from segment indexed by segment_leaving_",
            $of,
            "
              where camera_id = ?1 and holds = 0 and on_",
            $of,
            " in ('whole', 'suspect')
              order by start_us, id limit ?2"
        )
    };
}
const LEAVING: PerPlace = PerPlace { primary: leaving!("primary"), mirror: leaving!("mirror") };

// Asks once more: a hold may have come since it was chosen.
macro_rules! doom {
    ($of:literal) => {
        concat!(
            "update segment set on_",
            $of,
            " = 'deleting'
              where id = ?1 and holds = 0 and on_",
            $of,
            " in ('whole', 'suspect')
             returning id, path, bytes"
        )
    };
}
const DOOM: PerPlace = PerPlace { primary: doom!("primary"), mirror: doom!("mirror") };

macro_rules! doomed {
    ($of:literal) => {
        concat!(
            "select id, path, bytes from segment indexed by segment_deleting
              where 'deleting' in (on_primary, on_mirror) and id > 0 and on_",
            $of,
            " = 'deleting' order by id limit ?1"
        )
    };
}
const DOOMED: PerPlace = PerPlace { primary: doomed!("primary"), mirror: doomed!("mirror") };

macro_rules! pruned {
    ($of:literal) => {
        concat!("update segment set on_", $of, " = 'pruned' where id = ?1 and on_", $of, " = 'deleting'")
    };
}
const PRUNED: PerPlace = PerPlace { primary: pruned!("primary"), mirror: pruned!("mirror") };

// What no volume has any more, because one of them let it go. Where no mirror is in use, what one had does not count: its
// files are taken in again when it comes back.
const REMOVE: &str = "
    delete from segment
     where id = ?1 and 'pruned' in (on_primary, on_mirror) and (state = 'lost' or (?2 and on_primary = 'pruned'))";

macro_rules! lose {
    ($of:literal) => {
        concat!("update segment set on_", $of, " = 'absent' where id = ?1 and on_", $of, " = 'deleting'")
    };
}
const LOSE: PerPlace = PerPlace { primary: lose!("primary"), mirror: lose!("mirror") };

const LATELY: &str = "
    select coalesce((select sum(bytes) from segment
                      where camera_id = ?1 and start_us >= ?2 and state not in ('lost', 'deleting')), 0) as bytes,
           (select min(start_us) from segment
             where camera_id = ?1 and start_us >= ?2 and state not in ('lost', 'deleting')) as since_us,
           (select start_us from segment
             where camera_id = ?1 and state not in ('lost', 'deleting') order by start_us limit 1) as oldest_us";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[STORED, REMOVE, LATELY];
#[cfg(test)]
pub(super) const PER_PLACE: &[PerPlace] = &[LEAVING, DOOM, DOOMED, PRUNED, LOSE];

impl Store {
    /// What `place` has of each camera, by id. Reads sums: it costs the same however much is stored.
    pub async fn stored(&self, place: Place) -> Result<Vec<Stored>, Error> {
        let what = "read what is stored";
        let rows: Vec<StoredRow> =
            sqlx::query_as(STORED).bind(place.word()).fetch_all(&self.readers).await.doing(what)?;
        values(what, rows)
    }

    /// The oldest segments of `camera` that may go from `place`: closed and not held; at most `limit`.
    pub async fn leaving(
        &self,
        place: Place,
        camera: &CameraId,
        limit: u32,
    ) -> Result<Vec<Candidate>, Error> {
        let what = "list what may be deleted";
        let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(LEAVING.at(place))
            .bind(camera.as_str())
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .doing(what)?;
        let candidate = |(id, start, end, bytes)| {
            let bytes = size("segment.bytes", bytes)?;
            Ok(Candidate { id, start: WallUs(start), end: WallUs(end), bytes })
        };
        rows.into_iter().map(candidate).collect::<Result<_, BadValue>>().doing(what)
    }

    /// First step of a deletion: says of these rows that their files at `place` go, in one transaction. Those that are held by now,
    /// or gone, are passed over; the others are given.
    pub async fn doom(&self, place: Place, ids: &[i64]) -> Result<Vec<Doomed>, Error> {
        let what = "mark what is deleted";
        let mut db = self.begin(what).await?;
        let mut doomed = Vec::with_capacity(ids.len());
        for id in ids {
            let row: Option<DoomedRow> =
                sqlx::query_as(DOOM.at(place)).bind(id).fetch_optional(&mut *db).await.doing(what)?;
            doomed.extend(row.map(Doomed::try_from).transpose().doing(what)?);
        }
        db.commit().await.doing(what)?;
        Ok(doomed)
    }

    /// Rows whose deletion at `place` was begun and not ended; at most `limit`.
    pub async fn doomed(&self, place: Place, limit: u32) -> Result<Vec<Doomed>, Error> {
        let what = "list what is being deleted";
        let rows: Vec<DoomedRow> =
            sqlx::query_as(DOOMED.at(place)).bind(limit).fetch_all(&self.readers).await.doing(what)?;
        values(what, rows)
    }

    /// Last step of a deletion, when no file is left at `place` that a power cut could bring back: the rows go, unless the
    /// other volume has a copy. `alone`: there is no other in use.
    pub async fn remove_doomed(&self, place: Place, ids: &[i64], alone: bool) -> Result<(), Error> {
        let what = "remove the rows of what was deleted";
        if ids.is_empty() {
            return Ok(());
        }
        let mut db = self.begin(what).await?;
        for id in ids {
            sqlx::query(PRUNED.at(place)).bind(id).execute(&mut *db).await.doing(what)?;
            sqlx::query(REMOVE).bind(id).bind(alone).execute(&mut *db).await.doing(what)?;
        }
        db.commit().await.doing(what)
    }

    /// Says of rows whose file was not at `place` to be deleted that it is not there, and gives what footage is lost by
    /// it.
    pub async fn lose_doomed(&self, place: Place, ids: &[i64]) -> Result<Vec<(CameraId, Range)>, Error> {
        let what = "mark what is lost";
        let mut lost = Vec::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(lost);
        }
        let mut db = self.begin(what).await?;
        for id in ids {
            let done = sqlx::query(LOSE.at(place)).bind(id).execute(&mut *db).await.doing(what)?;
            if done.rows_affected() == 1 {
                lost.extend(lost_footage(&mut db, *id, what).await?);
            }
        }
        db.commit().await.doing(what)?;
        Ok(lost)
    }

    /// What came of a camera since `since`, and how far back it reaches.
    pub async fn lately(&self, camera: &CameraId, since: WallUs) -> Result<Lately, Error> {
        let what = "read what was recorded lately";
        let (bytes, since, oldest): (i64, Option<i64>, Option<i64>) = sqlx::query_as(LATELY)
            .bind(camera.as_str())
            .bind(since.0)
            .fetch_one(&self.readers)
            .await
            .doing(what)?;
        let bytes = size("segment.bytes", bytes).doing(what)?;
        Ok(Lately { bytes, since: since.map(WallUs), oldest: oldest.map(WallUs) })
    }
}

/// Limits from a camera's columns.
pub(super) fn limits(hours: Option<i64>, quota: Option<i64>) -> Result<Limits, BadValue> {
    let bad = |hours: i64| BadValue { column: "camera.retention_hours", value: hours.to_string() };
    Ok(Limits {
        retention_hours: hours.map(|hours| u32::try_from(hours).map_err(|_| bad(hours))).transpose()?,
        quota_bytes: quota.map(|quota| size("camera.quota_bytes", quota)).transpose()?,
    })
}

#[derive(FromRow)]
struct StoredRow {
    camera_id: String,
    segments: i64,
    bytes: i64,
    held_bytes: i64,
    retention_hours: Option<i64>,
    quota_bytes: Option<i64>,
}

impl TryFrom<StoredRow> for Stored {
    type Error = BadValue;

    fn try_from(row: StoredRow) -> Result<Self, BadValue> {
        Ok(Self {
            camera: word("stored.camera_id", &row.camera_id, |id| id.parse().ok())?,
            limits: limits(row.retention_hours, row.quota_bytes)?,
            segments: size("stored.segments", row.segments)?,
            bytes: size("stored.bytes", row.bytes)?,
            held_bytes: size("stored.held_bytes", row.held_bytes)?,
        })
    }
}

#[derive(FromRow)]
struct DoomedRow {
    id: i64,
    path: String,
    bytes: i64,
}

impl TryFrom<DoomedRow> for Doomed {
    type Error = BadValue;

    fn try_from(DoomedRow { id, path, bytes }: DoomedRow) -> Result<Self, BadValue> {
        Ok(Self { id, path, bytes: size("segment.bytes", bytes)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            copies::CopyState,
            hold::NewHold,
            segment::{SegmentFacts, SegmentState},
        },
        store::tests::{Rig, facts, id, seconds},
    };
    use proptest::prelude::*;

    async fn one(rig: &Rig, camera: &str) -> Option<(u64, u64, u64)> {
        let stored = rig.store.stored(Place::Primary).await.unwrap();
        let found = stored.into_iter().find(|stored| stored.camera == id(camera));
        found.map(|Stored { segments, bytes, held_bytes, .. }| (segments, bytes, held_bytes))
    }

    fn hold(camera: &str, from: i64, to: i64) -> NewHold {
        NewHold { camera: id(camera), range: seconds(from, to), reason: "x".into() }
    }

    #[tokio::test]
    async fn a_deletion_has_two_steps_and_a_hold_comes_between_in_time() {
        let rig = Rig::new().await;
        let store = &rig.store;
        let rows: Vec<_> = (0..4).map(|n| (Place::Primary, facts("front", n * 10, n * 10 + 10))).collect();
        let ids = store.record(&rows).await.unwrap();
        let open = SegmentFacts { state: SegmentState::Open, hash: None, ..facts("front", 40, 45) };
        store.record(&[(Place::Primary, open)]).await.unwrap();
        let leaving = store.leaving(Place::Primary, &id("front"), 10).await.unwrap();
        assert_eq!(leaving.iter().map(|candidate| candidate.id).collect::<Vec<_>>(), ids);
        assert_eq!(store.leaving(Place::Primary, &id("front"), 2).await.unwrap(), leaving[..2]);

        store.add_hold(&hold("front", 5, 12), WallUs(1)).await.unwrap();
        let doomed = store.doom(Place::Primary, &ids[..3]).await.unwrap();
        assert_eq!(doomed.iter().map(|doomed| doomed.id).collect::<Vec<_>>(), ids[2..3], "two are held");
        assert_eq!(one(&rig, "front").await, Some((4, 4_000, 2_000)));
        assert_eq!(store.doomed(Place::Primary, 10).await.unwrap(), doomed);
        // Nobody sees it any more, and nobody takes it back.
        assert!(store.segments_touching(&id("front"), seconds(20, 30), None, 9).await.unwrap().is_empty());
        assert!(store.ranges(&id("front"), seconds(20, 30)).await.unwrap().is_empty());
        assert_eq!(store.mark(Place::Primary, &ids[2..3], CopyState::Absent).await.unwrap(), []);
        assert!(store.finish(Place::Primary, ids[2], Default::default()).await.is_err());
        assert_eq!(store.doom(Place::Primary, &ids[2..3]).await.unwrap(), []);
        store.remove_doomed(Place::Primary, &ids, false).await.unwrap();
        assert_eq!(store.doomed(Place::Primary, 10).await.unwrap(), []);
        assert!(store.segment(ids[0]).await.is_ok() && store.segment(ids[3]).await.is_ok());
        assert!(matches!(store.segment(ids[2]).await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn footage_that_was_deleted_was_there() {
        let rig = Rig::new().await;
        let ids = rig.store.record(&[(Place::Primary, facts("front", 0, 10))]).await.unwrap();
        rig.store.doom(Place::Primary, &ids).await.unwrap();
        rig.store.remove_doomed(Place::Primary, &ids, false).await.unwrap();
        assert_eq!(one(&rig, "front").await, None);
        let account = rig.store.account(&id("front")).await.unwrap();
        assert_eq!(account.footage_to, Some(WallUs(10_000_000)));
    }

    #[tokio::test]
    async fn the_last_day_tells_the_pace() {
        let rig = Rig::new().await;
        let lost = SegmentFacts { state: SegmentState::Lost, ..facts("front", 30, 40) };
        let rows = [facts("front", 0, 10), facts("front", 20, 30), lost];
        rig.store.record(&rows.map(|facts| (Place::Primary, facts))).await.unwrap();
        let lately = rig.store.lately(&id("front"), WallUs(10_000_000)).await.unwrap();
        let at = |second: i64| Some(WallUs(second * 1_000_000));
        assert_eq!(lately, Lately { bytes: 1_000, since: at(20), oldest: at(0) });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn sums_and_holds_are_kept_whatever_happens(steps in proptest::collection::vec(
            (0u8..7, 0usize..2, 0i64..40, 1i64..12, 0usize..4), 1..60)) {
            use SegmentState::{Closed, Lost, Open, Suspect};
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let rig = Rig::new().await;
                let store = &rig.store;
                let mut holds: Vec<(i64, &str, i64, i64)> = Vec::new();
                for (what, camera, from, length, state) in steps {
                    let camera = ["front", "yard"][camera];
                    let state = [Open, Closed, Suspect, Lost][state];
                    match what {
                        0..3 => {
                            let facts = SegmentFacts { state, ..facts(camera, from, from + length) };
                            store.record(&[(Place::Primary, facts)]).await.unwrap();
                        }
                        3 => {
                            let hold = hold(camera, from, from + length);
                            let id = store.add_hold(&hold, WallUs(1)).await.unwrap().id;
                            holds.push((id, camera, from, from + length));
                        }
                        4 if !holds.is_empty() => {
                            let (id, camera, ..) = holds.remove(from as usize % holds.len());
                            store.remove_hold(&camera.parse().unwrap(), id).await.unwrap();
                        }
                        5 => {
                            let leaving = store.leaving(Place::Primary, &id(camera), 2).await.unwrap();
                            let ids: Vec<i64> = leaving.iter().map(|candidate| candidate.id).collect();
                            store.doom(Place::Primary, &ids).await.unwrap();
                        }
                        _ => {
                            let ids: Vec<i64> = store.doomed(Place::Primary, 9).await.unwrap().iter().map(|row| row.id).collect();
                            store.remove_doomed(Place::Primary, &ids, false).await.unwrap();
                        }
                    }
                    for camera in ["front", "yard"] {
                        let all = store.segments_touching(&id(camera), seconds(-9, 99), None, 999).await.unwrap();
                        let mut sums = (0, 0, 0);
                        for segment in all {
                            let (from, to) = (segment.facts.head.start.0, segment.facts.end().0);
                            let touched = holds.iter().filter(|(_, of, a, b)| {
                                *of == camera && a * 1_000_000 < to && b * 1_000_000 > from
                            });
                            let count = touched.count() as u32;
                            assert_eq!(segment.holds, count, "{segment:?} {holds:?}");
                            if segment.facts.state != Lost {
                                let bytes = segment.facts.extent.bytes;
                                let held = if count > 0 { bytes } else { 0 };
                                sums = (sums.0 + 1, sums.1 + bytes, sums.2 + held);
                            }
                        }
                        assert_eq!(one(&rig, camera).await.unwrap_or_default(), sums);
                    }
                }
            });
        }
    }
}
