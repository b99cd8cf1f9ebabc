//! Time without footage, and when the service was last alive.

use std::collections::BTreeMap;

use sqlx::{FromRow, SqliteConnection};

use super::{
    Error, Store,
    error::{BadValue, Doing as _, values},
    events,
};
use crate::{
    base::{CameraId, WallUs},
    model::{
        coverage::without,
        event::NewEvent,
        ledger::{Absence, Gap, Stretch},
        refill::queue::Tried,
        timeline::Range,
    },
};

/// What is to be written of one camera.
#[derive(Clone, Debug, PartialEq)]
pub struct GapChanges {
    /// Whose.
    pub camera: CameraId,
    /// Stretches as they are now, with the ids of the rows that they have.
    pub rows: Vec<(Option<i64>, Stretch)>,
    /// Rows of stretches that are none any more.
    pub gone: Vec<i64>,
    /// Footage that turned up in what was written before.
    pub footage: Vec<Range>,
    /// What the log says of it: written together, so that a kill leaves neither without the other.
    pub events: Vec<NewEvent>,
}

impl GapChanges {
    /// None of this camera.
    pub fn of(camera: &CameraId) -> Self {
        Self { camera: camera.clone(), rows: vec![], gone: vec![], footage: vec![], events: vec![] }
    }
}

/// What was written of one camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GapsWritten {
    /// The ids of the rows, in their order.
    pub ids: Vec<i64>,
    /// The ids of the events.
    pub events: Vec<i64>,
    /// Rows in which footage turned up, which of their time it took, and what is left of each.
    pub covered: Vec<(Gap, Range, Vec<Gap>)>,
}

/// Where a camera's account stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Where its footage ends.
    pub footage_to: Option<WallUs>,
    /// Where the last of its stretches without footage that are over ends.
    pub absent_to: Option<WallUs>,
    /// The one that goes on.
    pub open: Option<Gap>,
}

/// When the service lived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When an account of gaps was begun.
    pub since: WallUs,
    /// When it was last known to be alive.
    pub at: WallUs,
}

/// Which gaps are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapPage<'a> {
    /// Only this camera's; of all cameras that are there, if there is none.
    pub camera: Option<&'a CameraId>,
    /// They touch this range.
    pub range: Range,
    /// They last so long or more, in microseconds.
    pub least_us: i64,
    /// Those that are open have lasted until now.
    pub now: WallUs,
    /// Only those that come after this one.
    pub after: Option<i64>,
    /// At most so many, the newest.
    pub limit: u32,
}

const ADD: &str = "
    insert into gap (camera_id, from_us, to_us, cause) values (?1, ?2, ?3, ?4) returning id";

const CHANGE: &str = "update gap set from_us = ?2, to_us = ?3, cause = ?4 where id = ?1";

const REMOVE: &str = "delete from gap where id = ?1";

const INHERIT: &str = "
    insert into gap_try (gap_id, attempts, reason, next_us)
    select ?1, attempts, reason, next_us from gap_try where gap_id = ?2
    on conflict (gap_id) do nothing";

const TRIED: &str = "
    insert into gap_try (gap_id, attempts, reason, next_us) select id, ?2, ?3, ?4 from gap where id = ?1
    on conflict (gap_id) do update
       set attempts = excluded.attempts, reason = excluded.reason, next_us = excluded.next_us";

const OF_ID: &str = "select id, camera_id, from_us, to_us, cause from gap where id = ?1";

// One search by the key for each gap of a list.
const TRIES: &str = "
    select gap_id, attempts, reason, next_us
      from gap_try where gap_id in (select value from json_each(?1))";

// A camera's stretches do not overlap, as a rule; see `TOUCHING` in segments.rs.
const IN_RANGE: &str = "
    select id, camera_id, from_us, to_us, cause
      from gap
     where camera_id = ?1 and from_us < ?3 and (to_us > ?2 or to_us is null)
       and from_us >= coalesce((select min(from_us) from (select from_us from gap
                                 where camera_id = ?1 and from_us <= ?2
                                 order by from_us desc limit 8)), ?2)
     order by from_us, id";

const START: &str = "select from_us from gap where id = ?1";

const GAPS: &str = "
    select id, camera_id, from_us, to_us, cause
      from gap
     where camera_id = ?1 and from_us < ?3 and (to_us > ?2 or to_us is null)
       and from_us >= coalesce((select min(from_us) from (select from_us from gap
                                 where camera_id = ?1 and from_us <= ?2
                                 order by from_us desc limit 8)), ?2)
       and cause <> 'not_wanted' and coalesce(to_us, ?5) - from_us >= ?4 and (from_us, id) < (?6, ?7)
     order by from_us desc, id desc limit ?8";

const GAPS_OF_ALL: &str = "
    select gap.id, gap.camera_id, gap.from_us, gap.to_us, gap.cause
      from camera cross join gap on gap.camera_id = camera.id
     where ?1 is null and gap.from_us < ?3 and (gap.to_us > ?2 or gap.to_us is null)
       and gap.from_us >= coalesce((select min(from_us) from (select from_us from gap as other
                                     where other.camera_id = camera.id and other.from_us <= ?2
                                     order by other.from_us desc limit 8)), ?2)
       and gap.cause <> 'not_wanted' and coalesce(gap.to_us, ?5) - gap.from_us >= ?4
       and (gap.from_us, gap.id) < (?6, ?7)
     order by gap.from_us desc, gap.id desc limit ?8";

const ENDS: &str = "
    select (select max(end_us) from (select * from (select end_us from segment
             where camera_id = ?1 and state <> 'lost' order by start_us desc limit 8)
             union all select gone_us from gone where camera_id = ?1)),
           (select max(to_us) from (select to_us from gap
             where camera_id = ?1 order by from_us desc limit 8))";

const OPEN: &str = "
    select id, camera_id, from_us, to_us, cause
      from gap where camera_id = ?1 and to_us is null order by from_us desc limit 1";

const LIVE: &str = "
    insert into life (id, since_us, at_us) values (1, ?1, ?1)
    on conflict (id) do update set at_us = max(at_us, excluded.at_us)";

const LIFE: &str = "select since_us, at_us from life";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    ADD,
    CHANGE,
    REMOVE,
    INHERIT,
    TRIED,
    TRIES,
    OF_ID,
    IN_RANGE,
    START,
    GAPS,
    GAPS_OF_ALL,
    ENDS,
    OPEN,
    LIVE,
    LIFE,
];

impl Store {
    /// Writes stretches without footage, and when the service was `alive`, in one transaction: all of it or, with an
    /// error, nothing. What was written, in the order of `changes`.
    pub async fn write_gaps(
        &self,
        changes: &[GapChanges],
        alive: Option<WallUs>,
    ) -> Result<Vec<GapsWritten>, Error> {
        let what = "write gaps";
        let mut db = self.begin(what).await?;
        let mut written = Vec::with_capacity(changes.len());
        for GapChanges { camera, rows, gone, footage, events } in changes {
            let events = events::append(&mut db, events).await.doing(what)?;
            let mut done = GapsWritten { events, ..GapsWritten::default() };
            for id in gone {
                sqlx::query(REMOVE).bind(id).execute(&mut *db).await.doing(what)?;
            }
            for (id, stretch) in rows {
                done.ids.push(put(&mut db, camera, *id, stretch).await.doing(what)?);
            }
            for range in footage {
                done.covered.extend(cover(&mut db, camera, *range).await?);
            }
            written.push(done);
        }
        if let Some(alive) = alive {
            sqlx::query(LIVE).bind(alive.0).execute(&mut *db).await.doing(what)?;
        }
        db.commit().await.doing(what)?;
        Ok(written)
    }

    /// When the service lived; `None` before it ever wrote that.
    pub async fn life(&self) -> Result<Option<Life>, Error> {
        let row: Option<(i64, i64)> =
            sqlx::query_as(LIFE).fetch_optional(&self.readers).await.doing("read when the service lived")?;
        Ok(row.map(|(since, at)| Life { since: WallUs(since), at: WallUs(at) }))
    }

    /// Where a camera's account stands.
    pub async fn account(&self, camera: &CameraId) -> Result<Account, Error> {
        let what = "read a camera's account";
        let (footage, absent): (Option<i64>, Option<i64>) =
            sqlx::query_as(ENDS).bind(camera.as_str()).fetch_one(&self.readers).await.doing(what)?;
        let open: Option<Row> =
            sqlx::query_as(OPEN).bind(camera.as_str()).fetch_optional(&self.readers).await.doing(what)?;
        let open = open.map(Gap::try_from).transpose().doing(what)?;
        Ok(Account { footage_to: footage.map(WallUs), absent_to: absent.map(WallUs), open })
    }

    /// Stretches without footage of `camera` that touch `range`, those that were not wanted too, oldest first.
    pub async fn stretches(&self, camera: &CameraId, range: Range) -> Result<Vec<Gap>, Error> {
        let what = "read gaps";
        let mut db = self.readers.acquire().await.doing(what)?;
        in_range(&mut db, camera, range).await
    }

    /// One gap.
    pub async fn gap(&self, id: i64) -> Result<Option<Gap>, Error> {
        let what = "read a gap";
        let row: Option<Row> =
            sqlx::query_as(OF_ID).bind(id).fetch_optional(&self.readers).await.doing(what)?;
        let mut gaps = Vec::from_iter(row.map(Gap::try_from).transpose().doing(what)?);
        self.add_tries(&mut gaps).await?;
        Ok(gaps.pop())
    }

    /// Adds what was tried to close them: lists do not have it by themselves.
    async fn add_tries(&self, gaps: &mut [Gap]) -> Result<(), Error> {
        let what = "read attempts at gaps";
        let ids: Vec<String> = gaps.iter().map(|gap| gap.id.to_string()).collect();
        let tries: Vec<(i64, u32, Option<String>, i64)> = sqlx::query_as(TRIES)
            .bind(format!("[{}]", ids.join(",")))
            .fetch_all(&self.readers)
            .await
            .doing(what)?;
        let mut tries: BTreeMap<i64, Tried> = tries
            .into_iter()
            .map(|(id, attempts, reason, next)| (id, Tried { attempts, reason, next: WallUs(next) }))
            .collect();
        gaps.iter_mut().for_each(|gap| gap.tried = tries.remove(&gap.id).unwrap_or_default());
        Ok(())
    }

    /// Notes what was tried to close gaps.
    pub async fn tried(&self, gaps: &[i64], tried: &Tried) -> Result<(), Error> {
        let what = "note an attempt at a gap";
        let mut db = self.begin(what).await?;
        for id in gaps {
            let query = sqlx::query(TRIED).bind(id).bind(tried.attempts).bind(tried.reason.as_deref());
            let query = query.bind(tried.next.0);
            query.execute(&mut *db).await.doing(what)?;
        }
        db.commit().await.doing(what)
    }

    /// Gaps with what was tried to close them, newest first; [`Error::NotFound`] if there is none of the id that they come after.
    pub async fn gaps(&self, page: GapPage<'_>) -> Result<Vec<Gap>, Error> {
        let what = "list gaps";
        let GapPage { camera, range, least_us, now, after, limit } = page;
        let after = match after {
            None => (i64::MAX, i64::MAX),
            Some(id) => {
                let start: Option<i64> =
                    sqlx::query_scalar(START).bind(id).fetch_optional(&self.readers).await.doing(what)?;
                (start.ok_or_else(|| Error::NotFound { what: "gap", id: id.to_string() })?, id)
            }
        };
        let rows: Vec<Row> = sqlx::query_as(if camera.is_some() { GAPS } else { GAPS_OF_ALL })
            .bind(camera.map(CameraId::as_str))
            .bind(range.from.0)
            .bind(range.to.0)
            .bind(least_us)
            .bind(now.0)
            .bind(after.0)
            .bind(after.1)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .doing(what)?;
        let mut gaps = values(what, rows)?;
        self.add_tries(&mut gaps).await?;
        Ok(gaps)
    }
}

async fn put(
    db: &mut SqliteConnection,
    camera: &CameraId,
    id: Option<i64>,
    Stretch { from, to, absence }: &Stretch,
) -> sqlx::Result<i64> {
    let to = to.map(|to| to.0);
    if let Some(id) = id {
        let changed = sqlx::query(CHANGE).bind(id).bind(from.0).bind(to).bind(absence.word());
        if changed.execute(&mut *db).await?.rows_affected() == 1 {
            return Ok(id);
        }
    }
    sqlx::query_scalar(ADD)
        .bind(camera.as_str())
        .bind(from.0)
        .bind(to)
        .bind(absence.word())
        .fetch_one(db)
        .await
}

/// Takes the time of footage out of the rows.
async fn cover(
    db: &mut SqliteConnection,
    camera: &CameraId,
    footage: Range,
) -> Result<Vec<(Gap, Range, Vec<Gap>)>, Error> {
    let what = "put footage into gaps";
    let mut covered = Vec::new();
    for gap in in_range(db, camera, footage).await? {
        let mut left = Vec::new();
        // The first part keeps the row.
        let mut row = Some(gap.id);
        for stretch in without(gap.stretch, footage) {
            let id = put(db, camera, row.take(), &stretch).await.doing(what)?;
            if id != gap.id {
                sqlx::query(INHERIT).bind(id).bind(gap.id).execute(&mut *db).await.doing(what)?;
            }
            left.push(Gap { id, camera: camera.clone(), stretch, tried: gap.tried.clone() });
        }
        if let Some(id) = row {
            sqlx::query(REMOVE).bind(id).execute(&mut *db).await.doing(what)?;
        }
        let to = gap.stretch.to.map_or(footage.to, |to| to.min(footage.to));
        covered.push((gap.clone(), Range { from: gap.stretch.from.max(footage.from), to }, left));
    }
    Ok(covered)
}

async fn in_range(db: &mut SqliteConnection, camera: &CameraId, range: Range) -> Result<Vec<Gap>, Error> {
    let what = "read gaps";
    let rows: Vec<Row> = sqlx::query_as(IN_RANGE)
        .bind(camera.as_str())
        .bind(range.from.0)
        .bind(range.to.0)
        .fetch_all(db)
        .await
        .doing(what)?;
    values(what, rows)
}

#[derive(FromRow)]
struct Row {
    id: i64,
    camera_id: String,
    from_us: i64,
    to_us: Option<i64>,
    cause: String,
}

impl TryFrom<Row> for Gap {
    type Error = BadValue;

    fn try_from(row: Row) -> Result<Self, BadValue> {
        let bad = |column, value: &str| BadValue { column, value: value.to_owned() };
        Ok(Self {
            id: row.id,
            camera: row.camera_id.parse().map_err(|_| bad("gap.camera_id", &row.camera_id))?,
            stretch: Stretch {
                from: WallUs(row.from_us),
                to: row.to_us.map(WallUs),
                absence: Absence::from_word(&row.cause).ok_or_else(|| bad("gap.cause", &row.cause))?,
            },
            tried: Tried::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::ledger::Cause,
        store::tests::{Rig, id, seconds},
    };

    const OFFLINE: Absence = Absence::Missing(Cause::CameraOffline);

    fn stretch(from: i64, to: impl Into<Option<i64>>, absence: Absence) -> Stretch {
        let us = |second| WallUs(second * 1_000_000);
        Stretch { from: us(from), to: to.into().map(us), absence }
    }

    /// Adds these, and gives their ids.
    async fn add(rig: &Rig, camera: &str, stretches: &[Stretch]) -> Vec<i64> {
        let rows = stretches.iter().map(|stretch| (None, *stretch)).collect();
        let changes = GapChanges { rows, ..GapChanges::of(&id(camera)) };
        rig.store.write_gaps(&[changes], Some(WallUs(9))).await.unwrap().remove(0).ids
    }

    fn page(camera: Option<&CameraId>) -> GapPage<'_> {
        let (range, now) = (seconds(0, 1_000), WallUs(100_000_000));
        GapPage { camera, range, least_us: 0, now, after: None, limit: 100 }
    }

    async fn known(rig: &Rig, camera: &str) -> Vec<Stretch> {
        let gaps = rig.store.stretches(&id(camera), seconds(0, 1_000)).await.unwrap();
        gaps.into_iter().map(|gap| gap.stretch).collect()
    }

    #[tokio::test]
    async fn a_gap_opens_grows_closes_and_may_turn_out_to_be_none() {
        let rig = Rig::new().await;
        let open = stretch(10, None, OFFLINE);
        let [row] = add(&rig, "front", &[open]).await.try_into().unwrap();
        let account = rig.store.account(&id("front")).await.unwrap();
        assert_eq!(
            account.open,
            Some(Gap { id: row, camera: id("front"), stretch: open, tried: Tried::default() })
        );
        let closed = stretch(11, 20, Absence::Missing(Cause::Stalled));
        let change = |rows, gone| GapChanges { rows, gone, ..GapChanges::of(&id("front")) };
        let two = change(vec![(Some(row), closed), (None, stretch(20, None, OFFLINE))], vec![]);
        let ids = rig.store.write_gaps(&[two], None).await.unwrap().remove(0).ids;
        assert_eq!(ids[0], row);
        rig.store.write_gaps(&[change(vec![], vec![ids[1]])], Some(WallUs(4))).await.unwrap();
        assert_eq!(known(&rig, "front").await, [closed]);
        let account = rig.store.account(&id("front")).await.unwrap();
        assert_eq!((account.open, account.absent_to), (None, Some(WallUs(20_000_000))));
        assert_eq!(rig.store.life().await.unwrap(), Some(Life { since: WallUs(9), at: WallUs(9) }));
    }

    #[tokio::test]
    async fn footage_that_turns_up_shortens_splits_and_removes() {
        let rig = Rig::new().await;
        let rows = [stretch(0, 10, OFFLINE), stretch(10, 20, OFFLINE), stretch(30, 40, OFFLINE)];
        let ids = add(&rig, "front", &rows).await;
        add(&rig, "yard", &[stretch(0, 90, OFFLINE)]).await;
        let footage = vec![seconds(5, 20), seconds(32, 33)];
        let changes = GapChanges { footage, ..GapChanges::of(&id("front")) };
        let written = rig.store.write_gaps(&[changes], None).await.unwrap().remove(0);
        let left = [stretch(0, 5, OFFLINE), stretch(30, 32, OFFLINE), stretch(33, 40, OFFLINE)];
        assert_eq!(known(&rig, "front").await, left);
        assert_eq!(known(&rig, "yard").await, [stretch(0, 90, OFFLINE)]);
        let told: Vec<(i64, usize)> =
            written.covered.iter().map(|(gap, _, left)| (gap.id, left.len())).collect();
        assert_eq!(told, [(ids[0], 1), (ids[1], 0), (ids[2], 2)]);
    }

    #[tokio::test]
    async fn gaps_are_listed_newest_first_page_by_page_without_what_was_not_wanted() {
        let rig = Rig::new().await;
        for camera in ["front", "yard"] {
            let camera = crate::store::tests::camera(camera);
            rig.insert(&camera).await;
        }
        let not_wanted = stretch(40, 50, Absence::NotWanted);
        add(&rig, "front", &[stretch(0, 30, OFFLINE), not_wanted, stretch(60, None, OFFLINE)]).await;
        add(&rig, "yard", &[stretch(31, 32, OFFLINE)]).await;
        add(&rig, "gone", &[stretch(31, 39, OFFLINE)]).await;
        let starts = async |page: GapPage<'_>| -> Vec<i64> {
            let gaps = rig.store.gaps(page).await.unwrap();
            gaps.iter().map(|gap| gap.stretch.from.0 / 1_000_000).collect()
        };
        let (front, gone) = (id("front"), id("gone"));
        assert_eq!(starts(page(Some(&front))).await, [60, 0]);
        assert_eq!(starts(page(Some(&gone))).await, [31], "also of a camera that is gone");
        assert_eq!(starts(page(None)).await, [60, 31, 0]);
        assert_eq!(starts(GapPage { range: seconds(20, 60), ..page(None) }).await, [31, 0]);
        assert_eq!(starts(GapPage { least_us: 2_000_000, ..page(None) }).await, [60, 0]);
        let first = rig.store.gaps(GapPage { limit: 1, ..page(None) }).await.unwrap().remove(0);
        assert_eq!(starts(GapPage { after: Some(first.id), ..page(None) }).await, [31, 0]);
        let unknown = rig.store.gaps(GapPage { after: Some(99), ..page(None) }).await;
        assert!(matches!(unknown, Err(Error::NotFound { what: "gap", .. })));
    }

    #[tokio::test]
    async fn what_is_left_of_a_gap_keeps_what_was_tried_and_what_is_gone_leaves_nothing() {
        let rig = Rig::new().await;
        let [whole] = add(&rig, "front", &[stretch(10, 20, OFFLINE)]).await.try_into().unwrap();
        let tried = Tried { attempts: 2, reason: Some("busy".into()), next: WallUs(7) };
        rig.store.tried(&[whole, 99], &tried).await.unwrap();
        assert_eq!(rig.store.gap(whole).await.unwrap().unwrap().tried, tried);
        assert_eq!(rig.store.gap(99).await.unwrap(), None);
        let found = |range| GapChanges { footage: vec![range], ..GapChanges::of(&id("front")) };
        rig.store.write_gaps(&[found(seconds(13, 16))], None).await.unwrap();
        let page = GapPage {
            camera: Some(&id("front")),
            range: seconds(0, 100),
            least_us: 0,
            now: WallUs(0),
            after: None,
            limit: 10,
        };
        let left = rig.store.gaps(page).await.unwrap();
        assert_eq!(left.len(), 2);
        assert!(left.iter().all(|gap| gap.tried == tried), "{left:#?}");
        rig.store.write_gaps(&[found(seconds(0, 100))], None).await.unwrap();
        let rows: i64 =
            sqlx::query_scalar("select count(*) from gap_try").fetch_one(&rig.store.writer).await.unwrap();
        assert_eq!(rows, 0);
    }

    #[tokio::test]
    async fn a_day_is_read_from_the_index_alone_and_a_page_without_sorting() {
        let rig = Rig::new().await;
        let fill = "
            with recursive n (i) as (select 0 union all select i + 1 from n where i < 49999)
            insert into gap (camera_id, from_us, to_us, cause)
            select iif(i % 2, 'front', 'yard'), i / 2 * 60000000, i / 2 * 60000000 + 9000000, 'stalled' from n";
        sqlx::query(fill).execute(&rig.store.writer).await.unwrap();
        sqlx::query("analyze").execute(&rig.store.writer).await.unwrap();
        let day = seconds(86_400, 2 * 86_400);
        assert_eq!(rig.store.stretches(&id("front"), day).await.unwrap().len(), 1_440);
        for statement in [IN_RANGE, GAPS] {
            let plan = crate::store::statements::plan(&rig.store.readers, statement).await;
            let searches: Vec<&String> = plan.iter().filter(|step| step.starts_with("SEARCH gap")).collect();
            assert!(
                searches.len() == 2 && searches.iter().all(|step| step.contains("COVERING")),
                "{plan:#?}"
            );
            assert!(plan.iter().any(|step| step.contains("from_us>? AND from_us<?")), "{plan:#?}");
            // Ids order only what begins at the same moment.
            assert!(!plan.iter().any(|step| step == "USE TEMP B-TREE FOR ORDER BY"), "{plan:#?}");
        }
    }
}
