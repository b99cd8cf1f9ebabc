//! What programs found in frames, and what it meant.

use serde_json::json;
use sqlx::FromRow;

use super::{
    Error, Store,
    error::{BadValue, Doing as _, values},
    events,
    segments::word,
};
use crate::{
    base::{CameraId, WallUs},
    model::{Profile, ai::detection::FrameFound, event::NewEvent, timeline::Range},
};

/// So many frames with detections are kept, of all cameras together; the oldest go.
const FRAMES_MAX: i64 = 2_000_000;
/// So many rows are removed in one statement.
const PRUNE: u32 = 2_000;

const ADD: &str = "
    insert into detection (camera_id, task_id, frame, profile, at_us, segment_id, offset_us, found)
    select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 where exists (select 1 from camera where id = ?1)
    on conflict do nothing";

const OF_CAMERA: &str = "
    select camera_id, task_id, frame, profile, at_us, segment_id, offset_us, found
      from detection where camera_id = ?1 and at_us >= ?2 and at_us < ?3 order by at_us desc limit ?4";

const COUNTS: &str = "
    select (at_us - ?2) / ?4, count(*) from detection where camera_id = ?1 and at_us >= ?2 and at_us < ?3 group by 1";

const PRUNE_OLD: &str = "
    delete from detection
     where id in (select id from detection
                   where camera_id = ?1 and at_us < (select min(start_us) from segment where camera_id = ?1)
                   order by at_us limit ?2)";

const PRUNE_MANY: &str = "
    delete from detection
     where id in (select id from detection where id <= (select max(id) from detection) - ?1 order by id limit ?2)";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[ADD, OF_CAMERA, COUNTS, PRUNE_OLD, PRUNE_MANY];

impl Store {
    /// Adds what was found in frames, in one transaction. For each frame that was not there, `means` is asked what it means,
    /// and that is logged in the same transaction. Whether each was new, and the log's entries with their ids.
    pub async fn add_detections(
        &self,
        frames: &[FrameFound],
        mut means: impl FnMut(&FrameFound) -> Vec<NewEvent> + Send,
    ) -> Result<(Vec<bool>, Vec<(i64, NewEvent)>), Error> {
        let what = "add detections";
        let mut db = self.begin(what).await?;
        let (mut new, mut logged) = (Vec::with_capacity(frames.len()), Vec::new());
        for frame in frames {
            let FrameFound { camera, task, frame: number, profile, at, recorded, found } = frame;
            let done = sqlx::query(ADD)
                .bind(camera.as_str())
                .bind(task)
                .bind(i64::try_from(*number).unwrap_or(i64::MAX))
                .bind(profile.word())
                .bind(at.0)
                .bind(recorded.map(|(segment, _)| segment))
                .bind(recorded.map(|(_, offset)| offset))
                .bind(json!(found).to_string())
                .execute(&mut *db)
                .await
                .doing(what)?;
            new.push(done.rows_affected() == 1);
            if done.rows_affected() == 1 {
                let events = means(frame);
                let ids = events::append(&mut db, &events).await.doing(what)?;
                logged.extend(ids.into_iter().zip(events));
            }
        }
        db.commit().await.doing(what)?;
        Ok((new, logged))
    }

    /// What was found on a camera's picture in this range, newest first.
    pub async fn detections(
        &self,
        camera: &CameraId,
        range: Range,
        limit: u32,
    ) -> Result<Vec<FrameFound>, Error> {
        let what = "list detections";
        let rows: Vec<Row> = sqlx::query_as(OF_CAMERA)
            .bind(camera.as_str())
            .bind(range.from.0)
            .bind(range.to.0)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .doing(what)?;
        values(what, rows)
    }

    /// In how many frames something was found, for each `step_us` of this range in which there were any: which, counted from
    /// 0, and how many.
    pub async fn detection_counts(
        &self,
        camera: &CameraId,
        range: Range,
        step_us: i64,
    ) -> Result<Vec<(i64, i64)>, Error> {
        let what = "count detections";
        sqlx::query_as(COUNTS)
            .bind(camera.as_str())
            .bind(range.from.0)
            .bind(range.to.0)
            .bind(step_us.max(1))
            .fetch_all(&self.readers)
            .await
            .doing(what)
    }

    /// Forgets some of what was found before the oldest footage of this camera, and some of what is more than may be kept.
    pub async fn prune_detections(&self, camera: &CameraId) -> Result<(), Error> {
        let what = "forget old detections";
        let mut db = self.begin(what).await?;
        sqlx::query(PRUNE_OLD).bind(camera.as_str()).bind(PRUNE).execute(&mut *db).await.doing(what)?;
        sqlx::query(PRUNE_MANY).bind(FRAMES_MAX).bind(PRUNE).execute(&mut *db).await.doing(what)?;
        db.commit().await.doing(what)
    }
}

#[derive(FromRow)]
struct Row {
    camera_id: String,
    task_id: i64,
    frame: i64,
    profile: String,
    at_us: i64,
    segment_id: Option<i64>,
    offset_us: Option<i64>,
    found: String,
}

impl TryFrom<Row> for FrameFound {
    type Error = BadValue;

    fn try_from(row: Row) -> Result<Self, BadValue> {
        let Row { camera_id, task_id, frame, profile, at_us, segment_id, offset_us, found } = row;
        Ok(Self {
            camera: word("detection.camera_id", &camera_id, |id| id.parse().ok())?,
            task: task_id,
            frame: frame.unsigned_abs(),
            profile: word("detection.profile", &profile, Profile::from_word)?,
            at: WallUs(at_us),
            recorded: segment_id.zip(offset_us),
            found: word("detection.found", &found, |text| serde_json::from_str(text).ok())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            ai::detection::Detection,
            copies::Place,
            event::{Kind, Severity},
        },
        store::{
            EventPage,
            tests::{Rig, camera, facts, id, seconds},
        },
    };

    fn frame(second: i64, task: i64) -> FrameFound {
        let (label, track_id) = ("person".to_owned(), Some("7".to_owned()));
        let found =
            Detection { label, confidence: 0.5, area: [0.1, 0.2, 0.3, 0.4], track_id, attributes: None };
        let at = WallUs(second * 1_000_000);
        FrameFound {
            camera: id("front"),
            task,
            frame: second.unsigned_abs(),
            profile: Profile::Sub,
            at,
            recorded: (second > 1).then_some((7, second)),
            found: vec![found],
        }
    }

    #[tokio::test]
    async fn a_frame_is_kept_once_with_what_it_means_and_goes_with_its_footage() {
        let rig = Rig::new().await;
        let store = &rig.store;
        store.insert_camera(&rig.vault, &camera("front"), WallUs(0)).await.unwrap();
        let means = |frame: &FrameFound| {
            let detail = frame.frame.to_string();
            vec![NewEvent::new(frame.at, Some(frame.camera.clone()), Kind::ZoneEnter, Severity::Info, detail)]
        };
        let frames = [frame(1, 1), frame(2, 1), frame(2, 2), frame(1, 1)];
        let (new, logged) = store.add_detections(&frames, means).await.unwrap();
        assert_eq!((new, logged.len()), (vec![true, true, true, false], 3));
        let (new, logged) = store.add_detections(&frames, means).await.unwrap();
        assert_eq!((new, logged.len()), (vec![false; 4], 0));
        let page = EventPage { camera: None, severity: Severity::Info, before: None, after: None, limit: 9 };
        assert_eq!(store.events(page).await.unwrap().len(), 3);
        let list = async |from, to| store.detections(&id("front"), seconds(from, to), 10).await.unwrap();
        assert_eq!(list(0, 2).await, [frame(1, 1)]);
        assert_eq!(list(0, 3).await.len(), 3);
        let counts = store.detection_counts(&id("front"), seconds(0, 10), 2_000_000).await.unwrap();
        assert_eq!(counts, [(0, 1), (1, 2)]);
        // Without footage there is nothing to be older than.
        store.prune_detections(&id("front")).await.unwrap();
        assert_eq!(list(0, 3).await.len(), 3);
        store.record(&[(Place::Primary, facts("front", 2, 10))]).await.unwrap();
        store.prune_detections(&id("front")).await.unwrap();
        assert_eq!(list(0, 3).await.len(), 2);
    }
}
