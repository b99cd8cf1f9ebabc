//! The log for the operator.

use serde_json::json;
use sqlx::{FromRow, SqliteConnection};

use super::{
    Error, Store,
    error::{BadValue, Doing as _, values},
};
use crate::{
    base::{CameraId, WallUs},
    model::event::{Event, Kind, NewEvent, Severity},
};

/// Which part of the log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPage<'a> {
    /// Only this camera's.
    pub camera: Option<&'a CameraId>,
    /// Only those that matter so much or more.
    pub severity: Severity,
    /// Only those with a smaller id.
    pub before: Option<i64>,
    /// Only those with a greater id.
    pub after: Option<i64>,
    /// At most so many, the newest.
    pub limit: u32,
}

const APPEND: &str = "
    insert into event (at_us, camera_id, kind, severity, detail, sight) values (?1, ?2, ?3, ?4, ?5, ?6)
    returning id";

const NEWEST: &str = "
    select id, at_us, camera_id, kind, severity, detail, sight
      from event where id < ?1 and id > ?2 order by id desc limit ?3";

const NEWEST_OF_CAMERA: &str = "
    select id, at_us, camera_id, kind, severity, detail, sight
      from event where camera_id = ?4 and id < ?1 and id > ?2 order by id desc limit ?3";

// The index is named, because the way by the rowid looks as good to SQLite and reads all that is `info` in between.
const GRAVE: &str = "
    select id, at_us, camera_id, kind, severity, detail, sight
      from event indexed by event_grave
     where severity <> 'info' and severity in (?4, 'error') and id < ?1 and id > ?2 order by id desc limit ?3";

const GRAVE_OF_CAMERA: &str = "
    select id, at_us, camera_id, kind, severity, detail, sight
      from event indexed by event_grave_by_camera
     where severity <> 'info' and severity in (?4, 'error') and camera_id = ?5 and id < ?1 and id > ?2
     order by id desc limit ?3";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[APPEND, NEWEST, NEWEST_OF_CAMERA, GRAVE, GRAVE_OF_CAMERA];

impl Store {
    /// Appends to the log in one transaction: all of it or, with an error, nothing. The ids, in order.
    pub async fn append_events(&self, events: &[NewEvent]) -> Result<Vec<i64>, Error> {
        let what = "append to the event log";
        let mut db = self.begin(what).await?;
        let ids = append(&mut db, events).await.doing(what)?;
        db.commit().await.doing(what)?;
        Ok(ids)
    }

    /// A part of the log, newest first.
    pub async fn events(&self, page: EventPage<'_>) -> Result<Vec<Event>, Error> {
        let what = "read the event log";
        let EventPage { camera, severity, before, after, limit } = page;
        let grave = severity != Severity::Info;
        let statement = match (grave, camera) {
            (false, None) => NEWEST,
            (false, Some(_)) => NEWEST_OF_CAMERA,
            (true, None) => GRAVE,
            (true, Some(_)) => GRAVE_OF_CAMERA,
        };
        let mut query =
            sqlx::query_as(statement).bind(before.unwrap_or(i64::MAX)).bind(after.unwrap_or(0)).bind(limit);
        if grave {
            query = query.bind(severity.word());
        }
        if let Some(camera) = camera {
            query = query.bind(camera.as_str());
        }
        let rows: Vec<Row> = query.fetch_all(&self.readers).await.doing(what)?;
        values(what, rows)
    }
}

/// Appends within a transaction.
pub(super) async fn append(db: &mut SqliteConnection, events: &[NewEvent]) -> sqlx::Result<Vec<i64>> {
    let mut ids = Vec::with_capacity(events.len());
    for NewEvent { at, camera, kind, severity, detail, sight } in events {
        let id = sqlx::query_scalar(APPEND)
            .bind(at.0)
            .bind(camera.as_ref().map(CameraId::as_str))
            .bind(kind.word())
            .bind(severity.word())
            .bind(detail)
            .bind(sight.as_deref().map(|sight| json!(sight).to_string()))
            .fetch_one(&mut *db)
            .await?;
        ids.push(id);
    }
    Ok(ids)
}

#[derive(FromRow)]
struct Row {
    id: i64,
    at_us: i64,
    camera_id: Option<String>,
    kind: String,
    severity: String,
    detail: String,
    sight: Option<String>,
}

impl TryFrom<Row> for Event {
    type Error = BadValue;

    fn try_from(row: Row) -> Result<Self, BadValue> {
        let bad = |column, value: &str| BadValue { column, value: value.to_owned() };
        let sight = |text: String| serde_json::from_str(&text).map_err(|_| bad("event.sight", &text));
        let camera = row.camera_id.map(|id| id.parse().map_err(|_| bad("event.camera_id", &id)));
        Ok(Self {
            id: row.id,
            event: NewEvent {
                at: WallUs(row.at_us),
                camera: camera.transpose()?,
                kind: Kind::from_word(&row.kind).ok_or_else(|| bad("event.kind", &row.kind))?,
                severity: Severity::from_word(&row.severity)
                    .ok_or_else(|| bad("event.severity", &row.severity))?,
                detail: row.detail,
                sight: row.sight.map(sight).transpose()?,
            },
        })
    }
}
