//! Gaps, and what became of a day.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use utoipa::IntoParams;

use super::{
    App,
    error::ApiError,
    input::{self, CameraPath, FromQuery, GapPath, Params, Query, bad_query},
    recordings::{TIMELINE_MAX_US, window},
    types::{
        ErrorBody, Int,
        coverage::{Coverage, Gap, GapList, RefillAsked, RefillRequest},
    },
    unbroken,
};
use crate::{
    base::{CameraId, WallUs, time::day_begins},
    model::timeline::Range,
    run::GapQuery,
};

/// Which gaps.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GapsAsked {
    /// Gaps that end after this time. [a day before `to`]
    #[param(value_type = Option<String>, format = DateTime)]
    from: WallUs,
    /// Gaps that begin before this time. [now]
    #[param(value_type = Option<String>, format = DateTime)]
    to: WallUs,
    /// Those that last so long or more; shorter ones count in sums all the same.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 86400, default = 1)]
    min_seconds: u32,
    /// `next` of the page before.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// No more than so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 200)]
    limit: u32,
}

impl FromQuery for GapsAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        let Range { from, to } = window(query.time("from")?, query.time("to")?, i64::MAX)?;
        Ok(Self {
            from,
            to,
            min_seconds: query.int::<0, 86_400>("min_seconds")?.map_or(1, Int::get),
            after: query.id("after")?,
            limit: query.int::<1, 1000>("limit")?.map_or(200, Int::get),
        })
    }
}

async fn list(app: App, camera: Option<CameraId>, asked: GapsAsked) -> Result<Json<GapList>, ApiError> {
    let GapsAsked { from, to, min_seconds, after, limit } = asked;
    let least_us = i64::from(min_seconds) * 1_000_000;
    let query = GapQuery { camera, range: Range { from, to }, least_us, after, limit };
    let page = app.watchkeeper.gaps(query).await?;
    Ok(Json(GapList::new(&page, &app.watchkeeper, WallUs::now())))
}

/// Gaps of all cameras that are there, newest first.
#[utoipa::path(get, path = "/api/v1/gaps", tag = "recordings", operation_id = "list_gaps",
    params(GapsAsked),
    responses(
        (status = 200, body = GapList),
        (status = 400, body = ErrorBody, description = "bad_query, bad_field (`after`)"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn gaps(
    State(app): State<App>,
    Params(asked): Params<GapsAsked>,
) -> Result<Json<GapList>, ApiError> {
    list(app, None, asked).await
}

/// Gaps of one camera, newest first. Also of a camera that was deleted.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/gaps", tag = "recordings", operation_id = "list_camera_gaps",
    params(CameraPath, GapsAsked),
    responses(
        (status = 200, body = GapList),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query, bad_field (`after`)"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn gaps_of_camera(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(asked): Params<GapsAsked>,
) -> Result<Json<GapList>, ApiError> {
    list(app, Some(id), asked).await
}

/// Which stretch of time: a day, or from and to.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CoverageAsked {
    /// A day, as in 2026-11-20; instead of `from` and `to`.
    #[param(value_type = Option<String>, format = Date)]
    day: Option<NaiveDate>,
    /// Where that day is, as in Europe/Berlin (IANA). [UTC]
    #[param(value_type = Option<String>)]
    tz: Option<Tz>,
    /// Where it begins. [a day before `to`]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallUs>,
    /// Where it ends, at most 32 days later. [now]
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallUs>,
}

impl FromQuery for CoverageAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        Ok(Self {
            day: query.date("day")?,
            tz: query.zone("tz")?,
            from: query.time("from")?,
            to: query.time("to")?,
        })
    }
}

impl CoverageAsked {
    fn window(self) -> Result<Range, ApiError> {
        let Self { day, tz, from, to } = self;
        let Some(day) = day else {
            return match tz {
                Some(_) => Err(bad_query("tz", "is the zone of a `day`, and there is none")),
                None => window(from, to, TIMELINE_MAX_US),
            };
        };
        if from.or(to).is_some() {
            return Err(bad_query("day", "is given besides `from` or `to`; give one of the two"));
        }
        let zone = tz.unwrap_or(Tz::UTC);
        Ok(Range { from: day_begins(day, &zone), to: day_begins(day + Days::new(1), &zone) })
    }
}

/// Have a gap fetched from the camera's own storage again, whatever was tried before.
#[utoipa::path(post, path = "/api/v1/cameras/{id}/gaps/{gap_id}/retry", tag = "recordings", operation_id = "retry_gap",
    params(GapPath),
    responses(
        (status = 202, body = Gap),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera, no_gap"),
        (status = 409, body = ErrorBody, description = "not_fetchable: it goes on, is too short or too old, or the camera's refill_enabled is false"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn retry(
    State(app): State<App>,
    GapPath { id, gap_id }: GapPath,
) -> Result<(StatusCode, Json<Gap>), ApiError> {
    let gap = unbroken({
        let app = app.clone();
        async move { app.watchkeeper.retry_gap(&id, gap_id).await }
    })
    .await?;
    let gap = Gap::now(&gap, &app.watchkeeper, WallUs::now()).ok_or_else(ApiError::internal)?;
    Ok((StatusCode::ACCEPTED, Json(gap)))
}

/// Have a gap not fetched any more, unless somebody asks for it again. One that is being fetched is, to its end.
#[utoipa::path(post, path = "/api/v1/cameras/{id}/gaps/{gap_id}/give_up", tag = "recordings", operation_id = "give_up_gap",
    params(GapPath),
    responses(
        (status = 200, body = Gap),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_camera, no_gap"),
        (status = 409, body = ErrorBody, description = "not_fetchable: it is not to be fetched anyway"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn give_up(
    State(app): State<App>,
    GapPath { id, gap_id }: GapPath,
) -> Result<Json<Gap>, ApiError> {
    let gap = unbroken({
        let app = app.clone();
        async move { app.watchkeeper.give_up_gap(&id, gap_id).await }
    })
    .await?;
    Gap::now(&gap, &app.watchkeeper, WallUs::now()).map(Json).ok_or_else(ApiError::internal)
}

/// Have all gaps that touch a range fetched from the camera's own storage now, before all others, whatever was tried before and
/// however old they are.
#[utoipa::path(post, path = "/api/v1/cameras/{id}/refill", tag = "recordings", operation_id = "refill",
    params(CameraPath), request_body = RefillRequest,
    responses(
        (status = 202, body = RefillAsked, description = "the gaps, at most 200; none, if nothing of the range is to be fetched"),
        (status = 400, body = ErrorBody, description = "bad_id, bad_json, bad_field, unknown_field"),
        (status = 404, body = ErrorBody, description = "no_camera"),
        (status = 409, body = ErrorBody, description = "refill_off: the camera's refill_enabled is false"),
        (status = 413, body = ErrorBody, description = "too_large: more than 64 KiB"),
        (status = 415, body = ErrorBody, description = "not_json"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn refill(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    input::Json(body): input::Json<RefillRequest>,
) -> Result<(StatusCode, Json<RefillAsked>), ApiError> {
    let range = body.range()?;
    let gaps = unbroken({
        let app = app.clone();
        async move { app.watchkeeper.refill_range(&id, range).await }
    })
    .await?;
    let now = WallUs::now();
    let gaps = gaps.iter().filter_map(|gap| Gap::now(gap, &app.watchkeeper, now)).collect();
    Ok((StatusCode::ACCEPTED, Json(RefillAsked { gaps })))
}

/// What became of a stretch of time: recorded, missing with its cause, not wanted. Sums are exact to a frame.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/coverage", tag = "recordings", operation_id = "coverage",
    params(CameraPath, CoverageAsked),
    responses(
        (status = 200, body = Coverage),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn coverage(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(asked): Params<CoverageAsked>,
) -> Result<Json<Coverage>, ApiError> {
    let window = asked.window()?;
    let parts = app.watchkeeper.coverage(&id, window).await?;
    let states = app.watchkeeper.refill_states(&id, window).await?;
    Ok(Json(Coverage::new(id.to_string(), window, &parts, &states)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Range, String> {
        let asked = Query::parse::<CoverageAsked>(query).and_then(CoverageAsked::window);
        asked.map_err(|error| error.message)
    }

    #[test]
    fn a_day_is_as_long_as_it_is_there() {
        let hours = |query: &str| {
            let Range { from, to } = asked(query).unwrap();
            (from.rfc3339()[..13].to_owned(), (to.0 - from.0) / 3_600_000_000)
        };
        assert_eq!(hours("day=2026-11-20"), ("2026-11-20T00".to_owned(), 24));
        assert_eq!(hours("day=2026-03-29&tz=Europe/Berlin"), ("2026-03-28T23".to_owned(), 23));
        assert_eq!(hours("day=2026-10-25&tz=Europe%2FBerlin"), ("2026-10-24T22".to_owned(), 25));
        // It begins at one o'clock.
        assert_eq!(hours("day=2018-11-04&tz=America/Sao_Paulo"), ("2018-11-04T03".to_owned(), 23));
        let range = "from=2026-11-20T10:00:00Z&to=2026-11-20T12:00:00Z";
        assert_eq!(hours(range), ("2026-11-20T10".to_owned(), 2));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (query, named) in [
            ("day=20.11.2026", "day: "),
            ("day=2026-02-30", "day: "),
            ("day=2026-11-20&tz=Berlin", "tz: "),
            ("tz=Europe/Berlin", "tz: "),
            ("day=2026-11-20&from=2026-11-20T10:00:00Z", "day: "),
            ("from=2026-01-01T00:00:00Z&to=2026-11-20T10:00:00Z", "from: "),
            ("day=9999999-12-31", "day: "),
        ] {
            let said = asked(query).unwrap_err();
            assert!(said.starts_with(named), "{query}: {said}");
        }
    }
}
