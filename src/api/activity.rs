//! How much moved.

use axum::{Json, extract::State};
use utoipa::IntoParams;

use super::{
    App,
    error::ApiError,
    input::{CameraPath, FromQuery, Params, Query},
    recordings::{TIMELINE_MAX_US, window},
    types::{ErrorBody, activity::Activity},
};
use crate::{base::WallUs, model::timeline::Range};

/// Which stretch of time.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ActivityAsked {
    /// Where it begins. [a day before `to`]
    #[param(value_type = Option<String>, format = DateTime)]
    from: WallUs,
    /// Where it ends, at most 32 days later. [now]
    #[param(value_type = Option<String>, format = DateTime)]
    to: WallUs,
}

impl FromQuery for ActivityAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        let Range { from, to } = window(query.time("from")?, query.time("to")?, TIMELINE_MAX_US)?;
        Ok(Self { from, to })
    }
}

/// How much moved in a stretch of time, as far as it is recorded: read from the sizes of the encoded frames while they came,
/// so that nothing is decoded for it. Also of a camera that was deleted.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/activity", tag = "recordings", operation_id = "activity",
    params(CameraPath, ActivityAsked),
    responses(
        (status = 200, body = Activity),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn activity(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(ActivityAsked { from, to }): Params<ActivityAsked>,
) -> Result<Json<Activity>, ApiError> {
    let summary = app.watchkeeper.activity(&id, Range { from, to }).await?;
    Ok(Json(Activity::new(id.to_string(), summary)))
}
