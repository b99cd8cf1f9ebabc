//! Zones of the cameras' pictures.

use serde_json::json;
use sqlx::{FromRow, Sqlite, query::Query, sqlite::SqliteArguments};

use super::{
    Error, Store,
    error::{BadValue, Doing as _, values},
    segments::word,
};
use crate::{
    base::CameraId,
    model::ai::zone::{NewZone, Point, Shape, ZONES_MAX, Zone, ZoneKind},
};

const ADD: &str = "
    insert into zone (camera_id, name, kind, points, labels, min_confidence, confirm_frames, dwell_seconds)
    select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 where (select count(*) from zone where camera_id = ?1) < ?9
    returning id";

const CHANGE: &str = "
    update zone
       set name = ?2, kind = ?3, points = ?4, labels = ?5, min_confidence = ?6, confirm_frames = ?7, dwell_seconds = ?8
     where camera_id = ?1 and id = ?9";

const REMOVE: &str = "delete from zone where camera_id = ?1 and id = ?2";

const ZONES: &str = "
    select id, camera_id, name, kind, points, labels, min_confidence, confirm_frames, dwell_seconds
      from zone order by id";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[ADD, CHANGE, REMOVE, ZONES];

/// The parameters that both statements have.
fn bound(statement: &'static str, zone: &NewZone) -> Query<'static, Sqlite, SqliteArguments> {
    let NewZone { camera, name, shape, labels, least_confidence, confirm, dwell_seconds } = zone;
    let points: Vec<[f64; 2]> = shape.points().iter().map(|point| [point.x, point.y]).collect();
    sqlx::query(statement)
        .bind(camera.to_string())
        .bind(name.clone())
        .bind(shape.kind().word())
        .bind(json!(points).to_string())
        .bind(json!(labels).to_string())
        .bind(*least_confidence)
        .bind(*confirm)
        .bind(*dwell_seconds)
}

impl Store {
    /// Adds a zone of a camera that is there. [`Error::TooMany`] if it has as many as it may.
    pub async fn add_zone(&self, zone: &NewZone) -> Result<i64, Error> {
        let what = "add a zone";
        let added =
            bound(ADD, zone).bind(ZONES_MAX).fetch_optional(self.writer(what).await?).await.doing(what)?;
        let row = added.ok_or(Error::TooMany { what: "zones", most: ZONES_MAX })?;
        sqlx::Row::try_get(&row, 0).doing(what)
    }

    /// Changes a zone of this camera. [`Error::NotFound`] if it has none of its id.
    pub async fn change_zone(&self, Zone { id, zone }: &Zone) -> Result<(), Error> {
        let what = "change a zone";
        let done = bound(CHANGE, zone).bind(id).execute(self.writer(what).await?).await.doing(what)?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(none(*id)) }
    }

    /// Removes a zone of this camera. [`Error::NotFound`] if it has none of this id.
    pub async fn remove_zone(&self, camera: &CameraId, id: i64) -> Result<(), Error> {
        let what = "remove a zone";
        let query = sqlx::query(REMOVE).bind(camera.as_str()).bind(id);
        let done = query.execute(self.writer(what).await?).await.doing(what)?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(none(id)) }
    }

    /// Every zone, by id.
    pub async fn zones(&self) -> Result<Vec<Zone>, Error> {
        let what = "list zones";
        let rows: Vec<Row> = sqlx::query_as(ZONES).fetch_all(&self.readers).await.doing(what)?;
        values(what, rows)
    }
}

fn none(id: i64) -> Error {
    Error::NotFound { what: "zone", id: id.to_string() }
}

#[derive(FromRow)]
struct Row {
    id: i64,
    camera_id: String,
    name: String,
    kind: String,
    points: String,
    labels: String,
    min_confidence: f64,
    confirm_frames: u32,
    dwell_seconds: Option<u32>,
}

impl TryFrom<Row> for Zone {
    type Error = BadValue;

    fn try_from(row: Row) -> Result<Self, BadValue> {
        let Row { id, camera_id, name, kind, points, labels, min_confidence, confirm_frames, dwell_seconds } =
            row;
        let kind = word("zone.kind", &kind, ZoneKind::from_word)?;
        let shape = |text: &str| {
            let points: Vec<[f64; 2]> = serde_json::from_str(text).ok()?;
            Shape::new(kind, points.into_iter().map(|[x, y]| Point { x, y }).collect()).ok()
        };
        let zone = NewZone {
            camera: word("zone.camera_id", &camera_id, |id| id.parse().ok())?,
            name,
            shape: word("zone.points", &points, shape)?,
            labels: word("zone.labels", &labels, |text| serde_json::from_str(text).ok())?,
            least_confidence: min_confidence,
            confirm: confirm_frames,
            dwell_seconds,
        };
        Ok(Self { id, zone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::WallUs,
        store::tests::{Rig, camera, id},
    };

    #[tokio::test]
    async fn zones_are_kept_and_go_with_their_camera() {
        let rig = Rig::new().await;
        let store = &rig.store;
        for name in ["front", "yard"] {
            store.insert_camera(&rig.vault, &camera(name), WallUs(0)).await.unwrap();
        }
        let points = [(0.1, 0.2), (0.9, 0.2), (0.5, 0.8)].map(|(x, y)| Point { x, y }).to_vec();
        let region = NewZone {
            camera: id("front"),
            name: "gate".into(),
            shape: Shape::Region(points.clone()),
            labels: vec!["person".into()],
            least_confidence: 0.25,
            confirm: 3,
            dwell_seconds: Some(30),
        };
        let line =
            NewZone { shape: Shape::Line(points[0], points[1]), dwell_seconds: None, ..region.clone() };
        let first = store.add_zone(&region).await.unwrap();
        let second = store.add_zone(&NewZone { camera: id("yard"), ..line.clone() }).await.unwrap();
        let changed = Zone { id: first, zone: NewZone { name: "door".into(), ..line.clone() } };
        store.change_zone(&changed).await.unwrap();
        let other = Zone { id: second, zone: NewZone { camera: id("yard"), ..line.clone() } };
        assert_eq!(store.zones().await.unwrap(), [changed.clone(), other.clone()]);
        let gone = |result| matches!(result, Err(Error::NotFound { what: "zone", .. }));
        assert!(gone(store.remove_zone(&id("front"), second).await), "another camera's");
        assert!(gone(store.change_zone(&Zone { id: second, ..changed.clone() }).await), "another camera's");
        for _ in 1..ZONES_MAX {
            store.add_zone(&region).await.unwrap();
        }
        assert!(matches!(store.add_zone(&region).await, Err(Error::TooMany { .. })));
        store.remove_zone(&id("front"), first).await.unwrap();
        assert!(store.add_zone(&region).await.unwrap() > first, "an id is never used twice");
        store.delete_camera(&id("front")).await.unwrap();
        assert_eq!(store.zones().await.unwrap(), [other]);
    }
}
