//! Tasks of programs that look at pictures.

use sqlx::{FromRow, Sqlite, query::Query, sqlite::SqliteArguments};

use super::{
    Error, Store,
    error::{BadValue, Doing as _, values},
    segments::word,
};
use crate::model::{
    Profile,
    ai::task::{NewTask, TASKS_MAX, Task},
};

const ADD: &str = "
    insert into ai_task (camera_id, kind, profile, rate, width, config, enabled, priority, adaptive)
    select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 where (select count(*) from ai_task) < ?10
    returning id";

const CHANGE: &str = "
    update ai_task
       set camera_id = ?1, kind = ?2, profile = ?3, rate = ?4, width = ?5, config = ?6, enabled = ?7, priority = ?8, adaptive = ?9
     where id = ?10";

const REMOVE: &str = "delete from ai_task where id = ?1";

const TASKS: &str = "
    select id, camera_id, kind, profile, rate, width, config, enabled, priority, adaptive
      from ai_task order by id";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[ADD, CHANGE, REMOVE, TASKS];

/// The parameters that both statements have.
fn bound(statement: &'static str, task: &NewTask) -> Query<'static, Sqlite, SqliteArguments> {
    let NewTask { camera, kind, profile, rate, width, config, enabled, priority, adaptive } = task;
    sqlx::query(statement)
        .bind(camera.to_string())
        .bind(kind.clone())
        .bind(profile.word())
        .bind(*rate)
        .bind(*width)
        .bind(config.clone())
        .bind(*enabled)
        .bind(*priority)
        .bind(*adaptive)
}

impl Store {
    /// Adds a task of a camera that is there. [`Error::TooMany`] if there are as many as there may be.
    pub async fn add_task(&self, task: &NewTask) -> Result<i64, Error> {
        let what = "add a task";
        let added =
            bound(ADD, task).bind(TASKS_MAX).fetch_optional(self.writer(what).await?).await.doing(what)?;
        let row = added.ok_or(Error::TooMany { what: "tasks", most: TASKS_MAX })?;
        sqlx::Row::try_get(&row, 0).doing(what)
    }

    /// Changes a task. [`Error::NotFound`] if there is none of its id.
    pub async fn change_task(&self, Task { id, task }: &Task) -> Result<(), Error> {
        let what = "change a task";
        let done = bound(CHANGE, task).bind(id).execute(self.writer(what).await?).await.doing(what)?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(none(*id)) }
    }

    /// Removes a task. [`Error::NotFound`] if there is none of this id.
    pub async fn remove_task(&self, id: i64) -> Result<(), Error> {
        let what = "remove a task";
        let done = sqlx::query(REMOVE).bind(id).execute(self.writer(what).await?).await.doing(what)?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(none(id)) }
    }

    /// Every task, by id.
    pub async fn tasks(&self) -> Result<Vec<Task>, Error> {
        let what = "list tasks";
        let rows: Vec<Row> = sqlx::query_as(TASKS).fetch_all(&self.readers).await.doing(what)?;
        values(what, rows)
    }
}

fn none(id: i64) -> Error {
    Error::NotFound { what: "task", id: id.to_string() }
}

#[derive(FromRow)]
struct Row {
    id: i64,
    camera_id: String,
    kind: String,
    profile: String,
    rate: u32,
    width: u32,
    config: String,
    enabled: bool,
    priority: i32,
    adaptive: bool,
}

impl TryFrom<Row> for Task {
    type Error = BadValue;

    fn try_from(row: Row) -> Result<Self, BadValue> {
        let Row { id, camera_id, kind, profile, rate, width, config, enabled, priority, adaptive } = row;
        let camera = word("ai_task.camera_id", &camera_id, |id| id.parse().ok())?;
        let profile = word("ai_task.profile", &profile, Profile::from_word)?;
        let task = NewTask { camera, kind, profile, rate, width, config, enabled, priority, adaptive };
        Ok(Self { id, task })
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
    async fn tasks_are_kept_and_go_with_their_camera() {
        let rig = Rig::new().await;
        let store = &rig.store;
        store.insert_camera(&rig.vault, &camera("front"), WallUs(0)).await.unwrap();
        let task = NewTask {
            camera: id("front"),
            kind: "people".into(),
            profile: Profile::Sub,
            rate: 2_500,
            width: 640,
            config: r#"{"a": 1}"#.into(),
            enabled: true,
            priority: -3,
            adaptive: true,
        };
        let first = store.add_task(&task).await.unwrap();
        let second = store.add_task(&NewTask { enabled: false, ..task.clone() }).await.unwrap();
        let changed = Task { id: first, task: NewTask { rate: 100, ..task.clone() } };
        store.change_task(&changed).await.unwrap();
        let kept = Task { id: second, task: NewTask { enabled: false, ..task.clone() } };
        assert_eq!(store.tasks().await.unwrap(), [changed.clone(), kept.clone()]);
        store.remove_task(first).await.unwrap();
        let gone = |result| matches!(result, Err(Error::NotFound { what: "task", .. }));
        assert!(gone(store.remove_task(first).await) && gone(store.change_task(&changed).await));
        assert!(store.add_task(&task).await.unwrap() > second, "an id is never used twice");
        store.delete_camera(&id("front")).await.unwrap();
        assert_eq!(store.tasks().await.unwrap(), []);
        assert!(store.add_task(&task).await.is_err(), "of a camera that is not there");
    }
}
