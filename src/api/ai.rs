//! Pictures for programs that look at them: tasks, samplers, and the latest frame.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use utoipa::IntoParams;

use super::{
    App,
    error::ApiError,
    input::{self, CameraPath, FromQuery, Params, Query, TaskPath},
    range,
    types::{
        Binary, ErrorBody, Int,
        ai::{AiTask, AiTaskList, NewTask, SamplerList, TaskPatch},
    },
    unbroken,
};
use crate::{
    base::WallUs,
    model::Profile,
    run::{self, Frame},
};

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
    let location = format!("/api/v1/ai/tasks/{}", added.0.id);
    let mut response = (StatusCode::CREATED, Json(AiTask::from(added))).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
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

/// Which picture is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FrameAsked {
    /// Of which stream: `main` or `sub`. Of the main one where the camera has no other.
    #[param(value_type = Option<String>, default = "sub", pattern = "^(main|sub)$")]
    profile: Profile,
    /// Only one with a greater number.
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<u64>,
    /// Wait so many seconds for it.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 30, default = 0)]
    wait: Duration,
}

impl FromQuery for FrameAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        Ok(Self {
            profile: query.profile("profile")?.unwrap_or(Profile::Sub),
            after: query.id("after")?.and_then(|after| u64::try_from(after).ok()),
            wait: Duration::from_secs(query.int::<0, 30>("wait")?.map_or(0, Int::get).into()),
        })
    }
}

/// The latest picture of a stream that a task asks for, as JPEG. With `after` and `wait` the answer comes with the next
/// picture. The headers tell when it was taken, and where the same frame is recorded.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/frame", tag = "ai", operation_id = "frame",
    params(CameraPath, FrameAsked, ("If-None-Match" = Option<String>, Header, description = "`ETag` of the picture at hand")),
    responses(
        (status = 200, content_type = "image/jpeg", body = Binary, headers(
            ("ETag" = String),
            ("X-Frame-Number" = i64, description = "grows with each picture of the stream"),
            ("X-Frame-Captured-At" = String, description = "RFC 3339, UTC, microseconds, on the clock that segments are recorded by"),
            ("X-Frame-Age-Ms" = i64),
            ("X-Frame-Size" = String, description = "of the picture, such as 1280x720"),
            ("X-Frame-Source-Size" = String, description = "of the camera's picture"),
            ("X-Frame-Segment" = i64, description = "the segment that holds the frame; absent if it is not recorded"),
            ("X-Frame-Offset-Us" = i64, description = "how far into it"))),
        (status = 204, description = "no newer picture came in time"),
        (status = 304, description = "the picture is still the same"),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 409, body = ErrorBody, description = "not_sampled: no task asks for it, or the budget is used up")))]
pub(super) async fn frame(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(FrameAsked { profile, after, wait }): Params<FrameAsked>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some(Frame { sample, recorded }) = app.watchkeeper.frame(&id, profile, after, wait).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let etag = format!("\"{id}-{}-{:08x}\"", sample.number, app.process);
    let known = range::is_known(&headers, &etag);
    let (status, body) = if known {
        (StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        (StatusCode::OK, sample.jpeg.clone().into())
    };
    let mut response = (status, [(header::CACHE_CONTROL, "no-cache")], body).into_response();
    let size = |(width, height): (u32, u32)| format!("{width}x{height}");
    let age_ms = (WallUs::now().0 - sample.at.0).max(0) / 1000;
    let mut told = vec![
        ("x-frame-number", sample.number.to_string()),
        ("x-frame-captured-at", sample.at.rfc3339()),
        ("x-frame-age-ms", age_ms.to_string()),
        ("x-frame-size", size(sample.size)),
        ("x-frame-source-size", size(sample.source)),
    ];
    if let Some((segment, offset_us)) = recorded {
        told.push(("x-frame-segment", segment.to_string()));
        told.push(("x-frame-offset-us", offset_us.to_string()));
    }
    let headers = response.headers_mut();
    for (name, value) in told {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    if !known {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    }
    Ok(response)
}
