//! Cameras: list, add, change, forget; look at their streams, their pictures and their pipelines.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{
    App, created,
    error::ApiError,
    input::{self, CameraPath},
    range,
    types::{
        Binary, ErrorBody,
        cameras::{Camera, CameraChange, CameraList, NewCamera, ProbeRequest, TriggerAnswer, TriggerRequest},
        probe::{PipelineLine, ProbeReport},
    },
    unbroken,
};
use crate::{base::mask, model, run};

/// Every camera with its state.
#[utoipa::path(get, path = "/api/v1/cameras", tag = "cameras", operation_id = "list_cameras",
    responses((status = 200, body = CameraList)))]
pub(super) async fn list(State(app): State<App>) -> Json<CameraList> {
    Json(CameraList { cameras: app.watchkeeper.cameras().iter().map(Into::into).collect() })
}

/// Add a camera. Recording starts at once.
#[utoipa::path(post, path = "/api/v1/cameras", tag = "cameras", operation_id = "add_camera", request_body = NewCamera,
    responses(
        (status = 201, body = Camera, headers(("Location" = String, description = "Where the camera is"))),
        (status = 400, body = ErrorBody, description = "bad_json, bad_field, unknown_field"),
        (status = 409, body = ErrorBody, description = "camera_exists"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn add(
    State(app): State<App>,
    input::Json(body): input::Json<NewCamera>,
) -> Result<Response, ApiError> {
    let (id, given) = body.into();
    let location = format!("/api/v1/cameras/{id}");
    let camera = unbroken(async move { app.watchkeeper.add_camera(id, given).await }).await?;
    Ok(created(&location, Camera::from(&camera)))
}

/// One camera.
#[utoipa::path(get, path = "/api/v1/cameras/{id}", tag = "cameras", operation_id = "get_camera", params(CameraPath),
    responses(
        (status = 200, body = Camera),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera")))]
pub(super) async fn one(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
) -> Result<Json<Camera>, ApiError> {
    Ok(Json(Camera::from(&app.watchkeeper.camera(&id)?)))
}

/// Change the fields given. Interrupts only what they touch.
#[utoipa::path(patch, path = "/api/v1/cameras/{id}", tag = "cameras", operation_id = "change_camera",
    params(CameraPath), request_body = CameraChange,
    responses(
        (status = 200, body = Camera),
        (status = 400, body = ErrorBody, description = "bad_id, bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn change(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    input::Json(body): input::Json<CameraChange>,
) -> Result<Json<Camera>, ApiError> {
    let changed = unbroken(async move { app.watchkeeper.change_camera(&id, body.into()).await });
    Ok(Json(Camera::from(&changed.await?)))
}

/// Forget a camera. Its segments stay on disk and in the index. One that has holds stays.
#[utoipa::path(delete, path = "/api/v1/cameras/{id}", tag = "cameras", operation_id = "delete_camera",
    params(CameraPath),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 409, body = ErrorBody, description = "camera_held"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn remove(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
) -> Result<StatusCode, ApiError> {
    unbroken(async move { app.watchkeeper.delete_camera(&id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a camera sends. Looks at the open session if there is one. Takes up to some 15 s.
#[utoipa::path(post, path = "/api/v1/cameras/{id}/probe", tag = "cameras", operation_id = "probe_camera",
    params(CameraPath),
    responses(
        (status = 200, body = ProbeReport, description = "also when nothing was found: then `ok` is false"),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 429, body = ErrorBody, description = "too_many probes at once")))]
pub(super) async fn probe_saved(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
) -> Result<Json<ProbeReport>, ApiError> {
    let told = unbroken(async move { app.watchkeeper.probe_camera(&id).await });
    Ok(Json(ProbeReport::from(&told.await?)))
}

/// What a camera sends that is not saved, or one with changes that are not saved.
///
/// When the `id` is a known camera's and no password is given, its stored password is used, but only if the URL has the
/// host, port and scheme of one of that camera's streams.
#[utoipa::path(post, path = "/api/v1/probe", tag = "cameras", operation_id = "probe", request_body = ProbeRequest,
    responses(
        (status = 200, body = ProbeReport, description = "also when nothing was found: then `ok` is false"),
        (status = 400, body = ErrorBody, description = "bad_json, bad_field, unknown_field"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 429, body = ErrorBody, description = "too_many probes at once")))]
pub(super) async fn probe(
    State(app): State<App>,
    input::Json(body): input::Json<ProbeRequest>,
) -> Result<Json<ProbeReport>, ApiError> {
    let of = body.stored_password_of();
    let camera = model::Camera::try_from(body).map_err(run::Error::from)?;
    let told = unbroken(async move { app.watchkeeper.probe(camera, of.as_ref()).await });
    Ok(Json(ProbeReport::from(&told.await?)))
}

/// Have an event camera record for a while. A trigger while a window runs only prolongs it.
#[utoipa::path(post, path = "/api/v1/cameras/{id}/trigger", tag = "cameras", operation_id = "trigger_camera",
    params(CameraPath), request_body = TriggerRequest,
    responses(
        (status = 200, body = TriggerAnswer),
        (status = 400, body = ErrorBody, description = "bad_id, bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 409, body = ErrorBody, description = "not_event_capable, disabled, outside_schedule"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 503, body = ErrorBody, description = "stopping")))]
pub(super) async fn trigger(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    input::Json(body): input::Json<TriggerRequest>,
) -> Result<Json<TriggerAnswer>, ApiError> {
    Ok(Json(app.watchkeeper.trigger(&id, body.into()).await?.into()))
}

/// The last keyframe as a picture, decoded on demand.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/snapshot.jpg", tag = "cameras", operation_id = "snapshot",
    params(CameraPath, ("If-None-Match" = Option<String>, Header, description = "`ETag` of the picture at hand")),
    responses(
        (status = 200, content_type = "image/jpeg", body = Binary, headers(("ETag" = String))),
        (status = 304, description = "the picture is still the same"),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera, no_picture")))]
pub(super) async fn snapshot(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // Picture numbers begin anew with the service, hence the part that only this process has.
    let etag = |number: u64| format!("\"{id}-{number}-{:08x}\"", app.process);
    if let Some(number) = app.watchkeeper.snapshot_number(&id)?
        && range::is_known(&headers, &etag(number))
    {
        // Nothing is decoded for a client that has the picture.
        return Ok(tagged(StatusCode::NOT_MODIFIED, &etag(number), Body::empty()));
    }
    let picture = app.watchkeeper.snapshot(&id).await?;
    let mut response = tagged(StatusCode::OK, &etag(picture.number), picture.jpeg.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    Ok(response)
}

fn tagged(status: StatusCode, etag: &str, body: Body) -> Response {
    let caching = [(header::ETAG, etag), (header::CACHE_CONTROL, "no-cache")];
    (status, caching, body).into_response()
}

/// A line for `gst-launch-1.0` that reproduces what runs for a camera; secrets as `***`.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/pipeline", tag = "cameras", operation_id = "pipeline_line",
    params(CameraPath),
    responses(
        (status = 200, body = PipelineLine),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera")))]
pub(super) async fn pipeline(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
) -> Result<Json<PipelineLine>, ApiError> {
    let launch = mask::urls(&app.watchkeeper.pipeline_line(&id)?);
    let source = app.watchkeeper.camera(&id)?.status.source.map(Into::into);
    Ok(Json(PipelineLine { launch, source }))
}

/// The live graph of a camera, without secrets.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/pipeline.dot", tag = "cameras", operation_id = "pipeline_dot",
    params(CameraPath),
    responses(
        (status = 200, content_type = "text/vnd.graphviz", body = String),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 409, body = ErrorBody, description = "not_running")))]
pub(super) async fn pipeline_dot(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
) -> Result<Response, ApiError> {
    let dot = mask::urls(&app.watchkeeper.pipeline_dot(&id)?);
    Ok(([(header::CONTENT_TYPE, "text/vnd.graphviz; charset=utf-8")], dot).into_response())
}
