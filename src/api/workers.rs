//! Programs that look at pictures: their leases, and what they find.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use utoipa::IntoParams;

use super::{
    App,
    error::ApiError,
    input::{self, CameraPath, FromQuery, Params, Query, bad_query},
    recordings::{TIMELINE_MAX_US, window},
    types::{
        ErrorBody, Int, Time,
        ai::AiTask,
        workers::{
            DetectionCounts, DetectionList, DetectionsPost, DetectionsTaken, Lease, LeaseRequest, WorkerList,
        },
    },
};
use crate::model::timeline::Range;

/// Largest post of detections, in bytes: a thousand with all that they may have are less.
const POST_MAX: usize = 4 << 20;
/// Most counts in one answer.
const COUNTS_MAX: i64 = 5_000;

/// Lease tasks to a worker, or renew its lease: what it has it keeps, and gets of the rest what nobody has. Two workers never
/// have the same task.
///
/// Leases are not kept over a restart of the service: a worker that is told `not_leased` asks again.
#[utoipa::path(post, path = "/api/v1/ai/leases", tag = "ai", operation_id = "lease_ai_tasks",
    request_body = LeaseRequest,
    responses(
        (status = 200, body = Lease),
        (status = 400, body = ErrorBody, description = "bad_json, bad_field, unknown_field"),
        (status = 409, body = ErrorBody, description = "worker_exists: another program of this name has a lease"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 429, body = ErrorBody, description = "too_many workers at once (1000)")))]
pub(super) async fn lease(
    State(app): State<App>,
    input::Json(body): input::Json<LeaseRequest>,
) -> Result<Json<Lease>, ApiError> {
    let asked = body.into();
    let (lease, expires_at) = app.watchkeeper.lease(&asked)?;
    let tasks = app.watchkeeper.ai_tasks().into_iter().filter(|(task, _)| lease.tasks.contains(&task.id));
    Ok(Json(Lease {
        worker: asked.worker,
        lease: lease.token,
        expires_at: Time::from(expires_at),
        tasks: tasks.map(AiTask::from).collect(),
    }))
}

/// Who works on what.
#[utoipa::path(get, path = "/api/v1/ai/leases", tag = "ai", operation_id = "list_leases",
    responses((status = 200, body = WorkerList)))]
pub(super) async fn leases(State(app): State<App>) -> Json<WorkerList> {
    Json(WorkerList { workers: app.watchkeeper.leases().into_iter().map(Into::into).collect() })
}

/// Give a lease back before it ends, so that others get its tasks at once.
#[utoipa::path(delete, path = "/api/v1/ai/leases/{lease}", tag = "ai", operation_id = "give_back_lease",
    params(("lease" = String, Path, description = "`lease` of the answer to `POST /api/v1/ai/leases`")),
    responses(
        (status = 204),
        (status = 404, body = ErrorBody, description = "no_lease")))]
pub(super) async fn give_back(
    State(app): State<App>,
    Path(lease): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.watchkeeper.give_back_lease(&lease)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Post what was found in a frame. What one task found in one frame is kept once, however often it is posted.
///
/// Zones of the camera see what has a `track_id`: the log tells who enters, leaves, stays or crosses.
#[utoipa::path(post, path = "/api/v1/ai/detections", tag = "ai", operation_id = "post_detections",
    request_body = DetectionsPost,
    responses(
        (status = 200, body = DetectionsTaken),
        (status = 400, body = ErrorBody, description = "bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_task, no_camera, no_frame: it was not given out lately"),
        (status = 409, body = ErrorBody, description = "not_leased: the lease has ended, or the task is another's"),
        (status = 413, body = ErrorBody, description = "too_large: more than 4 MiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 429, body = ErrorBody, description = "too_many: they come faster than they can be stored"),
        (status = 503, body = ErrorBody, description = "database_away, stopping")))]
pub(super) async fn post(
    State(app): State<App>,
    input::Json(body): input::Json<DetectionsPost, POST_MAX>,
) -> Result<Json<DetectionsTaken>, ApiError> {
    let new = app.watchkeeper.post_detections(body.into()).await?;
    Ok(Json(DetectionsTaken { new }))
}

/// Which detections.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DetectionsAsked {
    /// Of frames from this time on. [a day before `to`]
    #[param(value_type = Option<String>, format = DateTime)]
    from: crate::base::WallUs,
    /// Of frames before this time. [now]
    #[param(value_type = Option<String>, format = DateTime)]
    to: crate::base::WallUs,
    /// No more frames than so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
}

impl FromQuery for DetectionsAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        let Range { from, to } = window(query.time("from")?, query.time("to")?, i64::MAX)?;
        Ok(Self { from, to, limit: query.int::<1, 1000>("limit")?.map_or(100, Int::get) })
    }
}

/// Frames of a camera in which something was found, newest first.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/detections", tag = "ai", operation_id = "list_detections",
    params(CameraPath, DetectionsAsked),
    responses(
        (status = 200, body = DetectionList),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn detections(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(DetectionsAsked { from, to, limit }): Params<DetectionsAsked>,
) -> Result<Json<DetectionList>, ApiError> {
    let frames = app.watchkeeper.detections(&id, Range { from, to }, limit).await?;
    Ok(Json(DetectionList { frames: frames.into_iter().map(Into::into).collect() }))
}

/// Which counts.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CountsAsked {
    /// From this time on. [a day before `to`]
    #[param(value_type = Option<String>, format = DateTime)]
    from: crate::base::WallUs,
    /// Until this time; no more than 31 days and 5000 counts. [now]
    #[param(value_type = Option<String>, format = DateTime)]
    to: crate::base::WallUs,
    /// One count for so many seconds.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 86400, default = 60)]
    step_seconds: u32,
}

impl FromQuery for CountsAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        let Range { from, to } = window(query.time("from")?, query.time("to")?, TIMELINE_MAX_US)?;
        let step_seconds = query.int::<1, 86_400>("step_seconds")?.map_or(60, Int::get);
        if (to.0 - from.0) / (i64::from(step_seconds) * 1_000_000) > COUNTS_MAX {
            return Err(bad_query(
                "step_seconds",
                &format!("makes more than {COUNTS_MAX} counts; take more seconds"),
            ));
        }
        Ok(Self { from, to, step_seconds })
    }
}

/// In how many frames of a camera something was found, for each minute, or however long is asked.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/detections/counts", tag = "ai", operation_id = "count_detections",
    params(CameraPath, CountsAsked),
    responses(
        (status = 200, body = DetectionCounts),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn counts(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(CountsAsked { from, to, step_seconds }): Params<CountsAsked>,
) -> Result<Json<DetectionCounts>, ApiError> {
    let step = Duration::from_secs(step_seconds.into());
    let counts = app.watchkeeper.detection_counts(&id, Range { from, to }, step).await?;
    Ok(Json(DetectionCounts { from: Time::from(from), to: Time::from(to), step_seconds, counts }))
}
