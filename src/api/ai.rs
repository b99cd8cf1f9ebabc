//! What programs that look at pictures are to look at, and what samples for them.

use axum::{Json, extract::State, http::StatusCode, response::Response};

use super::{
    App, created,
    error::ApiError,
    input::{self, TaskPath},
    types::{
        ErrorBody,
        ai::{AiTask, AiTaskList, NewTask, SamplerList, TaskPatch},
    },
    unbroken,
};
use crate::run;

/// Every task, with what samples for it.
#[utoipa::path(get, path = "/api/v1/ai/tasks", tag = "ai", operation_id = "list_ai_tasks",
    responses((status = 200, body = AiTaskList)))]
pub(super) async fn tasks(State(app): State<App>) -> Json<AiTaskList> {
    Json(AiTaskList { tasks: app.watchkeeper.ai_tasks().into_iter().map(AiTask::from).collect() })
}

/// Add a task: its stream is sampled from now on, on the session that is open for it, if there is one.
#[utoipa::path(post, path = "/api/v1/ai/tasks", tag = "ai", operation_id = "add_ai_task", request_body = NewTask,
    responses(
        (status = 201, body = AiTask, headers(("Location" = String, description = "Where the task is"))),
        (status = 400, body = ErrorBody, description = "bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 409, body = ErrorBody, description = "too_many_tasks: 1000"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 503, body = ErrorBody, description = "database_away, stopping")))]
pub(super) async fn add(
    State(app): State<App>,
    input::Json(body): input::Json<NewTask>,
) -> Result<Response, ApiError> {
    let task = body.task().map_err(run::Error::from)?;
    let added = unbroken(async move { app.watchkeeper.add_ai_task(task).await }).await?;
    Ok(created(&format!("/api/v1/ai/tasks/{}", added.0.id), AiTask::from(added)))
}

/// One task.
#[utoipa::path(get, path = "/api/v1/ai/tasks/{task_id}", tag = "ai", operation_id = "get_ai_task", params(TaskPath),
    responses(
        (status = 200, body = AiTask),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_task")))]
pub(super) async fn one(
    State(app): State<App>,
    TaskPath { task_id }: TaskPath,
) -> Result<Json<AiTask>, ApiError> {
    Ok(Json(app.watchkeeper.ai_task(task_id)?.into()))
}

/// Change a task. The rate and the size of what samples for it change while it runs; nothing else notices.
#[utoipa::path(patch, path = "/api/v1/ai/tasks/{task_id}", tag = "ai", operation_id = "change_ai_task",
    params(TaskPath), request_body = TaskPatch,
    responses(
        (status = 200, body = AiTask),
        (status = 400, body = ErrorBody, description = "bad_id, bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_task, no_camera"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 503, body = ErrorBody, description = "database_away, stopping")))]
pub(super) async fn change(
    State(app): State<App>,
    TaskPath { task_id }: TaskPath,
    input::Json(body): input::Json<TaskPatch>,
) -> Result<Json<AiTask>, ApiError> {
    let task = body.on(app.watchkeeper.ai_task(task_id)?.0).map_err(run::Error::from)?;
    Ok(Json(unbroken(async move { app.watchkeeper.change_ai_task(task).await }).await?.into()))
}

/// Remove a task.
#[utoipa::path(delete, path = "/api/v1/ai/tasks/{task_id}", tag = "ai", operation_id = "remove_ai_task",
    params(TaskPath),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_task"),
        (status = 503, body = ErrorBody, description = "database_away, stopping")))]
pub(super) async fn remove(
    State(app): State<App>,
    TaskPath { task_id }: TaskPath,
) -> Result<StatusCode, ApiError> {
    unbroken(async move { app.watchkeeper.remove_ai_task(task_id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Every stream that is sampled, or would be if the budget left something for it.
#[utoipa::path(get, path = "/api/v1/ai/samplers", tag = "ai", operation_id = "list_samplers",
    responses((status = 200, body = SamplerList)))]
pub(super) async fn samplers(State(app): State<App>) -> Json<SamplerList> {
    Json(SamplerList { samplers: app.watchkeeper.samplers().into_iter().map(Into::into).collect() })
}
