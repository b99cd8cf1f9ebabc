//! Zones of a camera's picture.

use axum::{Json, extract::State, http::StatusCode, response::Response};

use super::{
    App, created,
    error::ApiError,
    input::{self, CameraPath, ZonePath},
    types::{
        ErrorBody,
        zones::{Zone, ZoneList, ZoneRequest},
    },
    unbroken,
};
use crate::{model::ai::zone, run};

/// The zones of a camera.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/zones", tag = "ai", operation_id = "list_zones", params(CameraPath),
    responses(
        (status = 200, body = ZoneList),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera")))]
pub(super) async fn list(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
) -> Result<Json<ZoneList>, ApiError> {
    Ok(Json(ZoneList { zones: app.watchkeeper.zones(&id)?.into_iter().map(Zone::from).collect() }))
}

/// Add a zone: from now on the log tells who enters, leaves, stays or crosses, and an event camera is triggered by it.
///
/// A detection stands where its box meets the ground: at the middle of its lower edge.
#[utoipa::path(post, path = "/api/v1/cameras/{id}/zones", tag = "ai", operation_id = "add_zone", params(CameraPath),
    request_body = ZoneRequest,
    responses(
        (status = 201, body = Zone, headers(("Location" = String, description = "Where the zone is"))),
        (status = 400, body = ErrorBody, description = "bad_id, bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 409, body = ErrorBody, description = "too_many_zones: 64 of one camera"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 503, body = ErrorBody, description = "database_away, stopping")))]
pub(super) async fn add(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    input::Json(body): input::Json<ZoneRequest>,
) -> Result<Response, ApiError> {
    let zone = body.of(id).map_err(run::Error::from)?;
    let added = unbroken(async move { app.watchkeeper.add_zone(zone).await }).await?;
    let location = format!("/api/v1/cameras/{}/zones/{}", added.zone.camera, added.id);
    Ok(created(&location, Zone::from(added)))
}

/// One zone.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/zones/{zone_id}", tag = "ai", operation_id = "get_zone",
    params(ZonePath),
    responses(
        (status = 200, body = Zone),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera, no_zone")))]
pub(super) async fn one(
    State(app): State<App>,
    ZonePath { id, zone_id }: ZonePath,
) -> Result<Json<Zone>, ApiError> {
    Ok(Json(app.watchkeeper.zone(&id, zone_id)?.into()))
}

/// Replace a zone. Whoever is in it comes anew.
#[utoipa::path(put, path = "/api/v1/cameras/{id}/zones/{zone_id}", tag = "ai", operation_id = "change_zone",
    params(ZonePath), request_body = ZoneRequest,
    responses(
        (status = 200, body = Zone),
        (status = 400, body = ErrorBody, description = "bad_id, bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_camera, no_zone"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 503, body = ErrorBody, description = "database_away, stopping")))]
pub(super) async fn change(
    State(app): State<App>,
    ZonePath { id, zone_id }: ZonePath,
    input::Json(body): input::Json<ZoneRequest>,
) -> Result<Json<Zone>, ApiError> {
    let zone = zone::Zone { id: zone_id, zone: body.of(id).map_err(run::Error::from)? };
    Ok(Json(unbroken(async move { app.watchkeeper.change_zone(zone).await }).await?.into()))
}

/// Remove a zone. Its events stay in the log.
#[utoipa::path(delete, path = "/api/v1/cameras/{id}/zones/{zone_id}", tag = "ai", operation_id = "remove_zone",
    params(ZonePath),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera, no_zone"),
        (status = 503, body = ErrorBody, description = "database_away, stopping")))]
pub(super) async fn remove(
    State(app): State<App>,
    ZonePath { id, zone_id }: ZonePath,
) -> Result<StatusCode, ApiError> {
    unbroken(async move { app.watchkeeper.remove_zone(&id, zone_id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
