//! The log for the operator.

use axum::{Json, extract::State};
use utoipa::IntoParams;

use super::{
    App,
    error::ApiError,
    input::{FromQuery, Params, Query},
    types::{ErrorBody, Int, SeverityWord, events::EventList},
};
use crate::{base::CameraId, model::event::Severity, run::EventQuery};

/// Which part of the log.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsAsked {
    /// Only this camera's.
    #[param(value_type = Option<String>, max_length = 63)]
    camera: Option<CameraId>,
    /// Only those that matter so much or more: `warning` lists errors too.
    #[param(value_type = Option<SeverityWord>, default = "info")]
    severity: Severity,
    /// Only with a greater id.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Only with a smaller id.
    #[param(minimum = 0)]
    before: Option<i64>,
    /// No more than so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
}

impl FromQuery for EventsAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        Ok(Self {
            camera: query.camera("camera")?,
            severity: query.severity("severity")?.unwrap_or_default(),
            after: query.id("after")?,
            before: query.id("before")?,
            limit: query.int::<1, 1000>("limit")?.map_or(100, Int::get),
        })
    }
}

/// The event log, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "system", operation_id = "list_events", params(EventsAsked),
    responses(
        (status = 200, body = EventList),
        (status = 400, body = ErrorBody, description = "bad_query"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn list(
    State(app): State<App>,
    Params(asked): Params<EventsAsked>,
) -> Result<Json<EventList>, ApiError> {
    let EventsAsked { camera, severity, after, before, limit } = asked;
    let query = EventQuery { camera, severity, after, before, limit };
    let events = app.watchkeeper.events(query).await?;
    Ok(Json(EventList { events: events.iter().map(Into::into).collect() }))
}
