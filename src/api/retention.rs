//! Holds, and what retention does.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use utoipa::IntoParams;

use super::{
    App, created,
    error::ApiError,
    input::{self, CameraPath, FromQuery, HoldPath, Params, Query},
    types::{
        ErrorBody, Int,
        retention::{Hold, HoldList, HoldRequest, Retention},
    },
    unbroken,
};
use crate::model::copies::Place;

/// Protect the footage of a time range from every deletion: what there is, what is being recorded, and what comes.
///
/// Each segment that the range touches is kept whole.
#[utoipa::path(post, path = "/api/v1/cameras/{id}/holds", tag = "retention", operation_id = "add_hold",
    params(CameraPath), request_body = HoldRequest,
    responses(
        (status = 201, body = Hold, headers(("Location" = String, description = "Where the hold is deleted"))),
        (status = 400, body = ErrorBody, description = "bad_id, bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 409, body = ErrorBody, description = "too_many_holds: 1000 of one camera"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 503, body = ErrorBody, description = "database_away, stopping")))]
pub(super) async fn add(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    input::Json(body): input::Json<HoldRequest>,
) -> Result<Response, ApiError> {
    let hold = body.of(id)?;
    let keeps = unbroken(async move { app.watchkeeper.add_hold(hold).await }).await?;
    let location = format!("/api/v1/cameras/{}/holds/{}", keeps.hold.hold.camera, keeps.hold.id);
    Ok(created(&location, Hold::from(&keeps)))
}

/// Holds of one camera, oldest range first, with the bytes that each keeps. Also of a camera that was deleted.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/holds", tag = "retention", operation_id = "list_camera_holds",
    params(CameraPath),
    responses(
        (status = 200, body = HoldList),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn of_camera(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
) -> Result<Json<HoldList>, ApiError> {
    Ok(Json(HoldList::from(&*app.watchkeeper.holds(Some(&id)).await?)))
}

/// Holds of all cameras, with the bytes that each keeps.
#[utoipa::path(get, path = "/api/v1/holds", tag = "retention", operation_id = "list_holds",
    responses(
        (status = 200, body = HoldList),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn all(State(app): State<App>) -> Result<Json<HoldList>, ApiError> {
    Ok(Json(HoldList::from(&*app.watchkeeper.holds(None).await?)))
}

/// End a hold. What it alone protected may be deleted from now on.
#[utoipa::path(delete, path = "/api/v1/cameras/{id}/holds/{hold}", tag = "retention", operation_id = "remove_hold",
    params(HoldPath),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_hold"),
        (status = 503, body = ErrorBody, description = "database_away, stopping")))]
pub(super) async fn remove(
    State(app): State<App>,
    HoldPath { id, hold }: HoldPath,
) -> Result<StatusCode, ApiError> {
    unbroken(async move { app.watchkeeper.remove_hold(&id, hold).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How much is shown.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RetentionAsked {
    /// So many of the segments that go next.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 20)]
    limit: u32,
    /// Of which volume: `primary` or `mirror`.
    #[param(value_type = Option<String>, default = "primary", pattern = "^(primary|mirror)$")]
    volume: Place,
}

impl FromQuery for RetentionAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        let limit = query.int::<1, 1000>("limit")?.map_or(20, Int::get);
        Ok(Self { limit, volume: query.place("volume")?.unwrap_or(Place::Primary) })
    }
}

/// What is stored and how far back it will reach, which segments go next, and which limits cannot be met. Deletes
/// nothing.
#[utoipa::path(get, path = "/api/v1/retention", tag = "retention", operation_id = "retention", params(RetentionAsked),
    responses(
        (status = 200, body = Retention),
        (status = 400, body = ErrorBody, description = "bad_query"),
        (status = 404, body = ErrorBody, description = "no_mirror"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn retention(
    State(app): State<App>,
    Params(RetentionAsked { limit, volume }): Params<RetentionAsked>,
) -> Result<Json<Retention>, ApiError> {
    Ok(Json(Retention::from(&app.watchkeeper.retention(volume, limit).await?)))
}
