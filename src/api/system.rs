//! The service itself: how it is, for people, for supervisors and for Prometheus.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{
    App,
    error::ApiError,
    input::PlacePath,
    metrics,
    types::{
        ErrorBody,
        system::{Accepted, Health, Ready, System},
    },
    unbroken,
};
use crate::base::WallUs;

/// Version, volume and totals.
#[utoipa::path(get, path = "/api/v1/system", tag = "system", operation_id = "system",
    responses((status = 200, body = System)))]
pub(super) async fn system(State(app): State<App>) -> Json<System> {
    Json(System::at(&app.watchkeeper.system(), WallUs::now()))
}

/// Take what lies at a volume's path for that volume: a new disk, or one that belonged to another installation. Only a
/// volume that is away because of its identity can be accepted; it is marked, and written to from then on.
#[utoipa::path(post, path = "/api/v1/volumes/{volume}/accept", tag = "system", operation_id = "accept_volume",
    params(PlacePath),
    responses(
        (status = 200, body = Accepted),
        (status = 404, body = ErrorBody, description = "no_mirror, not_found"),
        (status = 409, body = ErrorBody, description = "volume_there: it is the right one already"),
        (status = 503, body = ErrorBody, description = "volume_away")))]
pub(super) async fn accept(
    State(app): State<App>,
    PlacePath { volume }: PlacePath,
) -> Result<Json<Accepted>, ApiError> {
    let accepted = unbroken(async move { app.watchkeeper.accept_volume(volume).await }).await?;
    Ok(Json(Accepted::from(&accepted)))
}

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "system", operation_id = "healthz",
    responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the service does what it is for: database, volume, share of cameras recording.
#[utoipa::path(get, path = "/readyz", tag = "system", operation_id = "readyz",
    responses((status = 200, body = Ready), (status = 503, body = Ready, description = "a check failed")))]
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let ready = Ready::from(app.watchkeeper.ready().await);
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ready)).into_response()
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "system", operation_id = "metrics",
    responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let page = metrics::page(
        &app.watchkeeper.cameras(),
        &app.watchkeeper.coverage_now(),
        &app.watchkeeper.samplers(),
        &app.watchkeeper.system(),
        WallUs::now(),
    );
    ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], page).into_response()
}
