//! Exports: clips as files, made while they are taken.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use super::{
    App, created,
    error::ApiError,
    input::{self, CameraPath, ExportPath},
    types::{
        Binary, ErrorBody,
        exports::{Export, ExportList, Manifest, NewExport},
    },
};
use crate::{model::clip, run::ExportFile};

/// Prepare a clip. Its file is made while it is taken from `file_url`; nothing is stored.
#[utoipa::path(post, path = "/api/v1/cameras/{id}/exports", tag = "exports", operation_id = "add_export",
    params(CameraPath), request_body = NewExport,
    responses(
        (status = 201, body = Export, headers(("Location" = String, description = "Where the export is"))),
        (status = 400, body = ErrorBody, description = "bad_id, bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_camera, no_footage"),
        (status = 409, body = ErrorBody, description = "codec_changes: H.264 and H.265 in one range"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 429, body = ErrorBody, description = "too_many: more than 32 exports"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn add(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    input::Json(asked): input::Json<NewExport>,
) -> Result<Response, ApiError> {
    let job = app.watchkeeper.add_export(&id, asked.from, asked.to).await?;
    Ok(created(&format!("/api/v1/exports/{}", job.id), Export::from(&*job)))
}

/// Every export that is known, newest first.
#[utoipa::path(get, path = "/api/v1/exports", tag = "exports", operation_id = "list_exports",
    responses((status = 200, body = ExportList)))]
pub(super) async fn list(State(app): State<App>) -> Json<ExportList> {
    Json(ExportList { exports: app.watchkeeper.exports().iter().map(|job| Export::from(&**job)).collect() })
}

/// One export, and how far it is.
#[utoipa::path(get, path = "/api/v1/exports/{export_id}", tag = "exports", operation_id = "get_export",
    params(ExportPath),
    responses(
        (status = 200, body = Export),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_export")))]
pub(super) async fn one(
    State(app): State<App>,
    ExportPath { id }: ExportPath,
) -> Result<Json<Export>, ApiError> {
    Ok(Json(Export::from(&*app.watchkeeper.export(id)?)))
}

/// Cancel an export and forget it. A file that is being taken breaks off.
#[utoipa::path(delete, path = "/api/v1/exports/{export_id}", tag = "exports", operation_id = "cancel_export",
    params(ExportPath),
    responses(
        (status = 204),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_export")))]
pub(super) async fn cancel(
    State(app): State<App>,
    ExportPath { id }: ExportPath,
) -> Result<StatusCode, ApiError> {
    app.watchkeeper.cancel_export(id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is in the file, and how to prove it. Complete once the file was taken to its end.
#[utoipa::path(get, path = "/api/v1/exports/{export_id}/manifest", tag = "exports", operation_id = "export_manifest",
    params(ExportPath),
    responses(
        (status = 200, body = Manifest),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_export")))]
pub(super) async fn manifest(
    State(app): State<App>,
    ExportPath { id }: ExportPath,
) -> Result<Json<Manifest>, ApiError> {
    Ok(Json(Manifest::from(&*app.watchkeeper.export(id)?)))
}

/// The file: one MP4, made as it is taken, so its length is not known before. A connection that ends without the last
/// chunk means that the file is not whole. At most four are taken at once; a client has a minute for each half megabyte.
#[utoipa::path(get, path = "/api/v1/exports/{export_id}/file", tag = "exports", operation_id = "export_file",
    params(ExportPath),
    responses(
        (status = 200, content_type = "video/mp4", body = Binary),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_export"),
        (status = 409, body = ErrorBody, description = "export_running: it is being taken already"),
        (status = 429, body = ErrorBody, description = "too_many: four are being taken")))]
pub(super) async fn file(
    State(app): State<App>,
    ExportPath { id }: ExportPath,
    method: Method,
) -> Result<Response, ApiError> {
    let job = app.watchkeeper.export(id)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    let name = clip::file_name(&job.camera, job.plan.footage);
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    if method == Method::HEAD {
        return Ok((headers, ()).into_response());
    }
    let blocks = stream::unfold(app.watchkeeper.export_file(id)?, async |mut file: ExportFile| {
        let block = file.next().await?;
        Some((block, file))
    });
    Ok((headers, Body::from_stream(blocks)).into_response())
}
