//! Holds. The triggers of the schema count them in the rows of the segments that they touch.

use sqlx::FromRow;

use super::{
    Error, Store,
    error::{BadValue, Doing as _, values},
    segments::{size, word},
};
use crate::{
    base::{CameraId, WallUs},
    model::{
        hold::{HOLDS_MAX, Hold, HoldKeeps, NewHold},
        timeline::Range,
    },
};

const ADD: &str = "
    insert into hold (camera_id, from_us, to_us, reason, created_us)
    select ?1, ?2, ?3, ?4, ?5 where (select count(*) from hold where camera_id = ?1) < ?6
    returning id";

const REMOVE: &str = "delete from hold where id = ?1 and camera_id = ?2";

const COUNT: &str = "select count(*) from hold where camera_id = ?1";

const HOLDS: &str = "
    select id, camera_id, from_us, to_us, reason, created_us
      from hold where camera_id = ?1 order by from_us, id";

const HOLDS_OF_ALL: &str = "
    select id, camera_id, from_us, to_us, reason, created_us from hold order by camera_id, from_us, id";

const KEEPS: &str = "
    select count(*), coalesce(sum(bytes), 0)
      from segment
     where camera_id = ?1 and start_us < ?3 and end_us > ?2 and state not in ('lost', 'deleting')
       and start_us >= coalesce((select min(start_us) from (select start_us from segment
                                  where camera_id = ?1 and start_us <= ?2
                                  order by start_us desc limit 8)), ?2)";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[ADD, REMOVE, COUNT, HOLDS, HOLDS_OF_ALL, KEEPS];

impl Store {
    /// Adds a hold. From then on no segment that it touches is chosen for deletion. [`Error::TooMany`] if the camera has
    /// as many as it may.
    pub async fn add_hold(&self, hold: &NewHold, created: WallUs) -> Result<Hold, Error> {
        let what = "add a hold";
        let NewHold { camera, range, reason } = hold;
        let id: Option<i64> = sqlx::query_scalar(ADD)
            .bind(camera.as_str())
            .bind(range.from.0)
            .bind(range.to.0)
            .bind(reason)
            .bind(created.0)
            .bind(HOLDS_MAX)
            .fetch_optional(self.writer(what).await?)
            .await
            .doing(what)?;
        let id = id.ok_or(Error::TooMany { what: "holds", most: HOLDS_MAX })?;
        Ok(Hold { id, hold: hold.clone(), created })
    }

    /// Removes a hold of this camera. [`Error::NotFound`] if it has none of this id.
    pub async fn remove_hold(&self, camera: &CameraId, id: i64) -> Result<(), Error> {
        let what = "remove a hold";
        let done = sqlx::query(REMOVE)
            .bind(id)
            .bind(camera.as_str())
            .execute(self.writer(what).await?)
            .await
            .doing(what)?;
        if done.rows_affected() == 1 {
            Ok(())
        } else {
            Err(Error::NotFound { what: "hold", id: id.to_string() })
        }
    }

    /// How many holds a camera has.
    pub async fn count_holds(&self, camera: &CameraId) -> Result<u64, Error> {
        let what = "count holds";
        let count: i64 =
            sqlx::query_scalar(COUNT).bind(camera.as_str()).fetch_one(&self.readers).await.doing(what)?;
        size("count", count).doing(what)
    }

    /// Holds of a camera, or of all, with what each keeps: reads the rows of all segments that are held.
    pub async fn holds(&self, camera: Option<&CameraId>) -> Result<Vec<HoldKeeps>, Error> {
        let what = "list holds";
        let rows: Vec<Row> = match camera {
            Some(camera) => sqlx::query_as(HOLDS).bind(camera.as_str()),
            None => sqlx::query_as(HOLDS_OF_ALL),
        }
        .fetch_all(&self.readers)
        .await
        .doing(what)?;
        let mut holds = Vec::with_capacity(rows.len());
        for hold in values::<Row, Hold>(what, rows)? {
            holds.push(self.keeps(hold).await?);
        }
        Ok(holds)
    }

    /// What a hold keeps on disk now.
    pub async fn keeps(&self, hold: Hold) -> Result<HoldKeeps, Error> {
        let what = "add up what is held";
        let NewHold { camera, range, .. } = &hold.hold;
        let (segments, bytes): (i64, i64) = sqlx::query_as(KEEPS)
            .bind(camera.as_str())
            .bind(range.from.0)
            .bind(range.to.0)
            .fetch_one(&self.readers)
            .await
            .doing(what)?;
        let (segments, bytes) = (size("count", segments).doing(what)?, size("sum", bytes).doing(what)?);
        Ok(HoldKeeps { hold, segments, bytes })
    }
}

#[derive(FromRow)]
struct Row {
    id: i64,
    camera_id: String,
    from_us: i64,
    to_us: i64,
    reason: String,
    created_us: i64,
}

impl TryFrom<Row> for Hold {
    type Error = BadValue;

    fn try_from(row: Row) -> Result<Self, BadValue> {
        let Row { id, camera_id, from_us, to_us, reason, created_us } = row;
        let camera = word("hold.camera_id", &camera_id, |id| id.parse().ok())?;
        let range = Range { from: WallUs(from_us), to: WallUs(to_us) };
        Ok(Self { id, hold: NewHold { camera, range, reason }, created: WallUs(created_us) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::copies::Place;
    use crate::store::tests::{Rig, facts, id, seconds};

    #[tokio::test]
    async fn holds_are_listed_with_what_they_keep_and_are_bounded() {
        let rig = Rig::new().await;
        let rows = [facts("front", 0, 10), facts("front", 10, 20), facts("yard", 0, 10)];
        rig.store.record(&rows.map(|facts| (Place::Primary, facts))).await.unwrap();
        let hold = |camera: &str, from, to| NewHold {
            camera: id(camera),
            range: seconds(from, to),
            reason: "theft".into(),
        };
        let first = rig.store.add_hold(&hold("front", 9, 11), WallUs(7)).await.unwrap();
        let second = rig.store.add_hold(&hold("yard", 10, 20), WallUs(8)).await.unwrap();
        let keeps =
            |hold: &Hold, segments| HoldKeeps { hold: hold.clone(), segments, bytes: segments * 1_000 };
        assert_eq!(rig.store.holds(None).await.unwrap(), [keeps(&first, 2), keeps(&second, 0)]);
        assert_eq!(rig.store.holds(Some(&id("yard"))).await.unwrap(), [keeps(&second, 0)]);
        let other = rig.store.remove_hold(&id("front"), second.id).await;
        assert!(matches!(other, Err(Error::NotFound { what: "hold", .. })), "another camera's");
        rig.store.remove_hold(&id("front"), first.id).await.unwrap();
        assert_eq!(rig.store.count_holds(&id("front")).await.unwrap(), 0);
        for n in 0..i64::from(HOLDS_MAX) {
            rig.store.add_hold(&hold("front", n, n + 1), WallUs(9)).await.unwrap();
        }
        let full = rig.store.add_hold(&hold("front", 0, 1), WallUs(9)).await;
        assert!(matches!(full, Err(Error::TooMany { .. })));
        assert!(rig.store.add_hold(&hold("yard", 0, 1), WallUs(9)).await.is_ok());
    }
}
