//! The service itself: how it is, for people, for supervisors and for Prometheus.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{
    App, metrics,
    types::system::{Health, Ready, System},
};
use crate::base::WallUs;

/// Version, volume and totals.
#[utoipa::path(get, path = "/api/v1/system", tag = "system", operation_id = "system",
    responses((status = 200, body = System)))]
pub(super) async fn system(State(app): State<App>) -> Json<System> {
    Json(System::at(&app.watchkeeper.system(), WallUs::now()))
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
        &app.watchkeeper.system(),
        WallUs::now(),
    );
    ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], page).into_response()
}
