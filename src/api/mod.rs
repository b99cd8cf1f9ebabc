//! The HTTP API, the dashboard's files, and the connections they go over. Handlers call [`Watchkeeper`] and see
//! neither rows nor elements; `docs/http-api.md` is the contract.

mod activity;
mod ai;
mod assets;
mod cameras;
mod coverage;
mod error;
mod events;
mod exports;
mod frames;
mod guard;
mod input;
mod live;
mod metrics;
mod range;
mod recordings;
mod retention;
mod scrub;
mod serve;
mod system;
#[cfg(test)]
mod tests;
mod types;
mod workers;
mod zones;

use std::sync::Arc;

use axum::{
    Json, Router,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::run::Watchkeeper;
use error::{ApiError, Code};

pub use serve::{is_loopback, serve};

/// What the operator decides about the API.
#[derive(Clone, Debug, Default)]
pub struct ApiSettings {
    /// Host names by which the service may be called besides `localhost` and the loopback addresses; without ports.
    pub allowed_hosts: Vec<String>,
}

/// What handlers share.
#[derive(Clone, Debug)]
struct App {
    watchkeeper: Watchkeeper,
    viewers: Arc<Semaphore>,
    /// Bounds WebSockets of pictures.
    readers: Arc<Semaphore>,
    /// Tells this process from the one before, where numbers begin anew.
    process: u32,
}

/// Does `work` to its end even if the client goes away meanwhile, upon which hyper drops the handler: a change must
/// not stop between the database and the camera.
async fn unbroken<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        // Nobody cancels it, so it panicked; `guard` answers.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The answer to a request that made something: it, and where it is.
fn created(location: &str, body: impl Serialize) -> Response {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Every call of the API. The paths stand at the handlers; the test `every_route_is_in_the_page` compares them with
/// the table in `docs/http-api.md`.
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(cameras::list, cameras::add)) //                 /api/v1/cameras
        .routes(routes!(cameras::one, cameras::change, cameras::remove)) // …/{id}
        .routes(routes!(cameras::probe_saved)) //                        …/{id}/probe
        .routes(routes!(cameras::trigger)) //                            …/{id}/trigger
        .routes(routes!(cameras::snapshot)) //                           …/{id}/snapshot.jpg
        .routes(routes!(cameras::pipeline)) //                           …/{id}/pipeline
        .routes(routes!(cameras::pipeline_dot)) //                       …/{id}/pipeline.dot
        .routes(routes!(recordings::segments)) //                        …/{id}/segments
        .routes(routes!(recordings::timeline)) //                        …/{id}/timeline
        .routes(routes!(coverage::gaps_of_camera)) //                    …/{id}/gaps
        .routes(routes!(coverage::retry)) //                             …/{id}/gaps/{gap_id}/retry
        .routes(routes!(coverage::give_up)) //                           …/{id}/gaps/{gap_id}/give_up
        .routes(routes!(coverage::refill)) //                            …/{id}/refill
        .routes(routes!(coverage::coverage)) //                          …/{id}/coverage
        .routes(routes!(activity::activity)) //                          …/{id}/activity
        .routes(routes!(retention::of_camera, retention::add)) //        …/{id}/holds
        .routes(routes!(retention::remove)) //                           …/{id}/holds/{hold}
        .routes(routes!(retention::all)) //                              /api/v1/holds
        .routes(routes!(retention::retention)) //                        /api/v1/retention
        .routes(routes!(frames::frame)) //                               …/{id}/frame
        .routes(routes!(frames::frames)) //                              …/{id}/frames
        .routes(routes!(zones::list, zones::add)) //                     …/{id}/zones
        .routes(routes!(zones::one, zones::change, zones::remove)) //    …/{id}/zones/{zone_id}
        .routes(routes!(workers::detections)) //                         …/{id}/detections
        .routes(routes!(workers::counts)) //                             …/{id}/detections/counts
        .routes(routes!(ai::tasks, ai::add)) //                          /api/v1/ai/tasks
        .routes(routes!(ai::one, ai::change, ai::remove)) //             …/{task_id}
        .routes(routes!(ai::samplers)) //                                /api/v1/ai/samplers
        .routes(routes!(workers::leases, workers::lease)) //             /api/v1/ai/leases
        .routes(routes!(workers::give_back)) //                          …/{lease}
        .routes(routes!(workers::post)) //                               /api/v1/ai/detections
        .routes(routes!(exports::add)) //                                …/{id}/exports
        .routes(routes!(exports::list)) //                               /api/v1/exports
        .routes(routes!(exports::one, exports::cancel)) //               …/{export_id}
        .routes(routes!(exports::file)) //                               …/{export_id}/file
        .routes(routes!(exports::manifest)) //                           …/{export_id}/manifest
        .routes(routes!(coverage::gaps)) //                              /api/v1/gaps
        .routes(routes!(cameras::probe)) //                              /api/v1/probe
        .route("/api/v1/segments/{segment_id}", get(recordings::segment_or_file)) // also ….mp4
        .routes(routes!(events::list)) //                                /api/v1/events
        .routes(routes!(system::system)) //                              /api/v1/system
        .routes(routes!(system::accept)) //                              /api/v1/volumes/{volume}/accept
        .routes(routes!(scrub::scrub, scrub::begin)) //                  /api/v1/scrub
        .routes(routes!(live::live)) //                                  /api/v1/live
        .routes(routes!(system::healthz)) //                             /healthz
        .routes(routes!(system::readyz)) //                              /readyz
        .routes(routes!(system::metrics)) //                             /metrics
}

/// What the API document says besides the calls. The two resources that share a route are named here.
#[derive(OpenApi)]
#[openapi(
    info(title = "Watchkeeper", description = "Records IP cameras. docs/http-api.md is the overview."),
    paths(recordings::segment, recordings::segment_file),
    components(schemas(types::system::Snapshot, types::system::CameraRemoved, types::events::Event)),
    tags(
        (name = "cameras", description = "Cameras, their pictures and their pipelines"),
        (name = "recordings", description = "Segments, recorded time and files"),
        (name = "retention", description = "What is kept, and for how long"),
        (name = "exports", description = "Clips of any length as one file"),
        (name = "ai", description = "Pictures for programs that look at them"),
        (name = "system", description = "The service itself, its log and its changes")
    )
)]
struct Document;

/// The API document (OpenAPI 3.1), generated from the code; `docs/openapi.json` is a copy.
pub fn openapi() -> String {
    let mut text = api().into_openapi().to_pretty_json().expect("a document of ours is JSON");
    text.push('\n');
    text
}

/// Everything that is served: the API, its document, and the dashboard.
pub fn router(watchkeeper: Watchkeeper, settings: ApiSettings) -> Router {
    let app = App {
        watchkeeper,
        viewers: Arc::new(Semaphore::new(live::VIEWERS)),
        readers: Arc::new(Semaphore::new(frames::READERS)),
        process: rand::random(),
    };
    let (calls, _) = api().split_for_parts();
    surrounded(calls.with_state(app).merge(files()), &settings)
}

/// What is the same for every client and needs no running service.
fn files() -> Router {
    let document = openapi();
    let json = [(header::CONTENT_TYPE, "application/json")];
    Router::new()
        .route("/", get(assets::index))
        .route("/favicon.ico", get(assets::favicon))
        .route("/assets/{file}", get(assets::asset))
        .route("/api/v1/openapi.json", get(async move || (json, document.clone())))
        .merge(browser())
}

/// `/api/docs`: swagger-ui. It styles itself from JavaScript, so it needs a policy of its own.
fn browser() -> Router {
    let ui = SwaggerUi::new("/api/docs").config(
        // Without `none` the page would show the document to a validator on the internet.
        Config::from("/api/v1/openapi.json").validator_url("none"),
    );
    Router::from(ui).layer(middleware::map_response(async |mut response: Response| {
        if response.status() == StatusCode::NOT_FOUND {
            return ApiError::not_found().into_response();
        }
        let policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }))
}

/// Puts around `router` what every answer needs: refusals as JSON, checks of host and origin, common headers.
fn surrounded(router: Router, settings: &ApiSettings) -> Router {
    let hosts = guard::Hosts::new(&settings.allowed_hosts);
    router
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::MethodNotAllowed, "this path has no such method")
                .hint("the `Allow` header lists those it has")
        })
        .layer(middleware::from_fn_with_state(hosts, guard::guard))
}
