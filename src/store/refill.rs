//! How cameras give their recordings away, and what came of it.

use super::{
    Error, Store,
    error::{BadValue, Doing as _},
};
use crate::{
    base::{CameraId, WallUs},
    model::{
        refill::way::{Known, Method},
        timeline::Range,
    },
};

const SAVE: &str = "
    insert into refill_way (camera_id, method, detail, at_us) select id, ?2, ?3, ?4 from camera where id = ?1
    on conflict (camera_id) do update
       set method = excluded.method, detail = excluded.detail, at_us = excluded.at_us";

const FORGET: &str = "delete from refill_way where camera_id = ?1";

const WAYS: &str = "
    select camera.id, refill_way.method, refill_way.detail, refill_way.at_us
      from camera join refill_way on refill_way.camera_id = camera.id";

const REFILLED: &str = "
    select start_us, end_us from segment indexed by segment_refilled
     where camera_id = ?1 and source = 'refill' and start_us < ?3 and end_us > ?2
       and state not in ('lost', 'deleting')
     order by start_us";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[SAVE, FORGET, WAYS, REFILLED];

impl Store {
    /// Notes how a camera gives its recordings away, or that this is not known any more.
    pub async fn save_refill_way(&self, camera: &CameraId, found: Option<&Known>) -> Result<(), Error> {
        let what = "note how a camera replays";
        let mut db = self.begin(what).await?;
        match found {
            Some(Known { method, detail, at }) => {
                let query = sqlx::query(SAVE).bind(camera.as_str()).bind(method.map(Method::word));
                query.bind(detail).bind(at.0).execute(&mut *db).await.doing(what)?;
            }
            None => {
                sqlx::query(FORGET).bind(camera.as_str()).execute(&mut *db).await.doing(what)?;
            }
        }
        db.commit().await.doing(what)
    }

    /// How cameras give their recordings away, of those of which it is known.
    pub async fn refill_ways(&self) -> Result<Vec<(CameraId, Known)>, Error> {
        let what = "read how cameras replay";
        let rows: Vec<(String, Option<String>, String, i64)> =
            sqlx::query_as(WAYS).fetch_all(&self.readers).await.doing(what)?;
        let read = |(camera, method, detail, at): (String, Option<String>, String, i64)| {
            let bad = |column, value: &str| BadValue { column, value: value.to_owned() };
            let id = camera.parse().map_err(|_| bad("refill_way.camera_id", &camera))?;
            let method = method
                .map(|word| Method::from_word(&word).ok_or_else(|| bad("refill_way.method", &word)))
                .transpose()?;
            Ok::<_, BadValue>((id, Known { method, detail, at: WallUs(at) }))
        };
        rows.into_iter().map(read).collect::<Result<_, _>>().doing(what)
    }

    /// What of `camera` came from its own storage and touches `range`, in order of its start, neither cut nor joined.
    pub async fn refilled(&self, camera: &CameraId, range: Range) -> Result<Vec<Range>, Error> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(REFILLED)
            .bind(camera.as_str())
            .bind(range.from.0)
            .bind(range.to.0)
            .fetch_all(&self.readers)
            .await
            .doing("read what was fetched")?;
        Ok(rows.into_iter().map(|(from, to)| Range { from: WallUs(from), to: WallUs(to) }).collect())
    }
}
