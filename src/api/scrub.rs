//! The verification of hashes in the background.

use axum::{Json, extract::State, http::StatusCode};

use super::{
    App,
    error::ApiError,
    types::{ErrorBody, scrub::Scrub},
};

/// How far closed segments were read again and compared with their hashes, and what was found.
#[utoipa::path(get, path = "/api/v1/scrub", tag = "system", operation_id = "scrub",
    responses((status = 200, body = Scrub)))]
pub(super) async fn scrub(State(app): State<App>) -> Json<Scrub> {
    Json(Scrub::from(&app.watchkeeper.scrub()))
}

/// Begin to read all closed segments again, on every volume that has them.
#[utoipa::path(post, path = "/api/v1/scrub", tag = "system", operation_id = "begin_scrub",
    responses(
        (status = 202, body = Scrub),
        (status = 409, body = ErrorBody,
         description = "scrub_running; scrub_off: scrub_bytes_per_second is 0 in the configuration"),
        (status = 503, body = ErrorBody, description = "stopping")))]
pub(super) async fn begin(State(app): State<App>) -> Result<(StatusCode, Json<Scrub>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(Scrub::from(&app.watchkeeper.begin_scrub()?))))
}
