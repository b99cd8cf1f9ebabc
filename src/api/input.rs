//! What comes in: bodies, ids and queries. Every refusal names the field or the parameter; none is a 5xx.

use std::{collections::HashMap, time::Duration};

use axum::{
    RequestPartsExt as _,
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use bytes::BytesMut;
use chrono::{Datelike as _, NaiveDate};
use chrono_tz::Tz;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::{
    error::{ApiError, Code},
    types::Int,
};
use crate::{
    base::{CameraId, WallUs},
    model::{Profile, copies::Place, event::Severity},
};

/// Largest body that is read, in bytes.
pub(super) const BODY_MAX: usize = 64 * 1024;

/// Within this a body must be here.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// A JSON body of `MAX` bytes at most.
#[derive(Debug)]
pub(super) struct Json<T, const MAX: usize = BODY_MAX>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned, const MAX: usize> FromRequest<S> for Json<T, MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(ApiError::new(Code::NotJson, "the body must be JSON")
                .hint("send it with `Content-Type: application/json`"));
        }
        let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if declared.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > MAX as u64) {
            return Err(too_large(MAX));
        }
        let body = timeout(BODY_WITHIN, read(body, MAX)).await.map_err(|_| {
            ApiError::new(Code::TooSlow, "the body did not come within 10 s")
                .header(header::CONNECTION, HeaderValue::from_static("close"))
        })??;
        parse(&body).map(Self)
    }
}

/// `application/json`, or a type built on it, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn too_large(most: usize) -> ApiError {
    // The rest of the body is still on its way; `serve` reads on for a moment after the answer, or the client's
    // system would throw the answer away on the reset that unread data causes.
    ApiError::new(Code::TooLarge, format!("the body has more than {most} bytes"))
        .header(header::CONNECTION, HeaderValue::from_static("close"))
}

async fn read(body: Body, most: usize) -> Result<BytesMut, ApiError> {
    let mut all = BytesMut::new();
    let mut stream = body.into_data_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| ApiError::new(Code::BadJson, "the body broke off"))?;
        if all.len() + part.len() > most {
            return Err(too_large(most));
        }
        all.extend_from_slice(&part);
    }
    Ok(all)
}

/// Reads a JSON object as a `T`.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // serde takes an array for a struct, by position; nobody means that.
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => return Err(bad_json("the body is empty").hint("send a JSON object")),
        Some(b'{') => {}
        Some(_) => return Err(bad_json("the body is no JSON object")),
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        refused(&path, &error.into_inner())
    })?;
    json.end().map_err(bad_json)?;
    Ok(value)
}

fn bad_json(what: impl ToString) -> ApiError {
    ApiError::new(Code::BadJson, what.to_string())
}

/// serde's error as ours. Its texts are part of what serde promises as little as any, so the tests below hold them.
fn refused(path: &str, error: &serde_json::Error) -> ApiError {
    if error.classify() != Category::Data {
        return bad_json(error).hint("the body is no valid JSON");
    }
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    // The path ends with the field if that is there, and else with the object that it is missing from.
    let full = |field: &str| {
        let shown: String = field.chars().take(64).collect();
        match path.strip_suffix(field).unwrap_or(path).trim_end_matches('.') {
            "" => shown,
            object => format!("{object}.{shown}"),
        }
    };
    if let Some(rest) = text.strip_prefix("unknown field `") {
        // From the right, for the name is the client's and may itself look like this.
        let (name, known) = rest.rsplit_once("`, expected ").unwrap_or((rest, "another"));
        let field = full(name);
        return ApiError::new(Code::UnknownField, format!("there is no field `{field}`; expected {known}"))
            .field(field);
    }
    for (prefix, what) in [("missing field `", "is missing"), ("duplicate field `", "is given twice")] {
        if let Some(field) = text.strip_prefix(prefix).and_then(|rest| rest.split('`').next()) {
            let field = full(field);
            return ApiError::new(Code::BadField, format!("{field}: {what}")).field(field);
        }
    }
    ApiError::new(Code::BadField, format!("{path}: {text}")).field(path)
}

/// The camera in a path.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct CameraPath {
    /// The camera's id.
    #[param(value_type = String, max_length = 63, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
    pub(super) id: CameraId,
}

impl<S: Send + Sync> FromRequestParts<S> for CameraPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = segment_of_path(parts).await?;
        let id = text.parse().map_err(|bad: crate::base::ids::BadCameraId| bad_id(bad))?;
        Ok(Self { id })
    }
}

/// A task in a path.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TaskPath {
    /// The task's id.
    #[param(minimum = 0)]
    pub(super) task_id: i64,
}

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = segment_of_path(parts).await?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let task_id = text.parse().ok().filter(|_| plain);
        let task_id = task_id
            .ok_or_else(|| bad_id("a task's id is a whole number, as `GET /api/v1/ai/tasks` lists them"))?;
        Ok(Self { task_id })
    }
}

/// The camera and its gap in a path.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct GapPath {
    /// The camera's id.
    #[param(value_type = String, max_length = 63, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
    pub(super) id: CameraId,
    /// The gap's id.
    #[param(minimum = 0)]
    pub(super) gap_id: i64,
}

impl<S: Send + Sync> FromRequestParts<S> for GapPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let (id, gap_id) = camera_and_number(parts, "gap", "`GET /api/v1/cameras/{id}/gaps`").await?;
        Ok(Self { id, gap_id })
    }
}

/// The camera and its zone in a path.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ZonePath {
    /// The camera's id.
    #[param(value_type = String, max_length = 63, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
    pub(super) id: CameraId,
    /// The zone's id.
    #[param(minimum = 0)]
    pub(super) zone_id: i64,
}

impl<S: Send + Sync> FromRequestParts<S> for ZonePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let (id, zone_id) = camera_and_number(parts, "zone", "`GET /api/v1/cameras/{id}/zones`").await?;
        Ok(Self { id, zone_id })
    }
}

/// A volume in a path.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct PlacePath {
    /// `primary` or `mirror`.
    #[param(value_type = String, pattern = "^(primary|mirror)$")]
    pub(super) volume: Place,
}

impl<S: Send + Sync> FromRequestParts<S> for PlacePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let taken = parts.extract::<Path<String>>().await;
        let volume = taken.ok().and_then(|Path(word)| Place::from_word(&word));
        let volume = volume.ok_or_else(|| {
            ApiError::new(Code::NotFound, "there is no such volume").hint("a volume is `primary` or `mirror`")
        })?;
        Ok(Self { volume })
    }
}

/// The camera and its hold in a path.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct HoldPath {
    /// The camera's id.
    #[param(value_type = String, max_length = 63, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
    pub(super) id: CameraId,
    /// The hold's id.
    #[param(minimum = 0)]
    pub(super) hold: i64,
}

impl<S: Send + Sync> FromRequestParts<S> for HoldPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let (id, hold) = camera_and_number(parts, "hold", "`GET /api/v1/holds`").await?;
        Ok(Self { id, hold })
    }
}

/// The segment in a path, and whether its file is asked for. Both stand in one path segment (`42`, `42.mp4`), which
/// the router cannot take apart.
#[derive(Debug, PartialEq)]
pub(super) struct SegmentPath {
    pub(super) id: i64,
    pub(super) file: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for SegmentPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = segment_of_path(parts).await?;
        let (digits, file) = match text.strip_suffix(".mp4") {
            Some(stem) => (stem, true),
            None => (text.as_str(), false),
        };
        // `parse` alone would take `+7` too.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let id = digits.parse().ok().filter(|_| plain);
        let id =
            id.ok_or_else(|| bad_id("a segment's id is a whole number, as in `/api/v1/segments/42.mp4`"))?;
        Ok(Self { id, file })
    }
}

/// The export in a path.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ExportPath {
    /// The export's id.
    #[param(rename = "export_id")]
    pub(super) id: u32,
}

impl<S: Send + Sync> FromRequestParts<S> for ExportPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = segment_of_path(parts).await?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let id = text.parse().ok().filter(|_| plain);
        Ok(Self { id: id.ok_or_else(|| bad_id("an export's id is a whole number below 2^32"))? })
    }
}

/// A camera's id, and the number of a `thing` of it.
async fn camera_and_number(parts: &mut Parts, thing: &str, lists: &str) -> Result<(CameraId, i64), ApiError> {
    let taken = parts.extract::<Path<(String, String)>>().await;
    let Path((camera, number)) = taken.map_err(|_| bad_id("the id is no UTF-8"))?;
    let id = camera.parse().map_err(|bad: crate::base::ids::BadCameraId| bad_id(bad))?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| plain);
    let number = number.ok_or_else(|| {
        let message = format!("a {thing}'s id is a whole number, as {lists} lists them");
        ApiError::new(Code::BadId, message).field(thing)
    })?;
    Ok((id, number))
}

fn bad_id(what: impl ToString) -> ApiError {
    ApiError::new(Code::BadId, what.to_string()).field("id")
}

async fn segment_of_path(parts: &mut Parts) -> Result<String, ApiError> {
    // Fails when the percent-decoded text is no UTF-8.
    let Path(text) = parts.extract::<Path<String>>().await.map_err(|_| bad_id("the id is no UTF-8"))?;
    Ok(text)
}

/// What a query string is read into.
pub(super) trait FromQuery: Sized {
    /// Takes its parameters out of `query`. What is left is refused.
    fn read(query: &mut Query) -> Result<Self, ApiError>;
}

/// A query string, read.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: FromQuery> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// A query string whose parameters are taken out one by one.
#[derive(Debug)]
pub(super) struct Query(HashMap<String, String>);

impl Query {
    /// Reads a whole query string.
    pub(super) fn parse<T: FromQuery>(text: &str) -> Result<T, ApiError> {
        let mut query = Self(HashMap::new());
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let name: String = name.chars().take(64).collect();
            if query.0.contains_key(&name) {
                return Err(bad_query(&name, "is given twice"));
            }
            query.0.insert(name, value.into_owned());
        }
        let value = T::read(&mut query)?;
        match query.0.keys().min() {
            None => Ok(value),
            Some(name) => Err(bad_query(name, "is no parameter of this call")),
        }
    }

    fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
        what: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        read(&text).map(Some).ok_or_else(|| bad_query(name, &format!("must be {what}")))
    }

    pub(super) fn time(&mut self, name: &str) -> Result<Option<WallUs>, ApiError> {
        // The `+` of an offset means a blank in a query; people forget to write it as %2B, and it cannot be
        // mistaken for anything else.
        self.take(
            name,
            |text| WallUs::parse(text).or_else(|| WallUs::parse(&text.replace(' ', "+"))),
            "an RFC 3339 time such as 2026-11-20T10:00:00Z",
        )
    }

    pub(super) fn id(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        self.take(
            name,
            |text| text.parse().ok().filter(|id| *id >= 0),
            "an id, a whole number that is not negative",
        )
    }

    pub(super) fn int<const MIN: u32, const MAX: u32>(
        &mut self,
        name: &str,
    ) -> Result<Option<Int<MIN, MAX>>, ApiError> {
        self.take(name, Int::read, &format!("a whole number from {MIN} to {MAX}"))
    }

    pub(super) fn camera(&mut self, name: &str) -> Result<Option<CameraId>, ApiError> {
        self.take(name, |text| text.parse().ok(), "a camera's id, as `GET /api/v1/cameras` lists them")
    }

    pub(super) fn date(&mut self, name: &str) -> Result<Option<NaiveDate>, ApiError> {
        let read =
            |text: &str| text.parse().ok().filter(|day: &NaiveDate| (1970..=9999).contains(&day.year()));
        self.take(name, read, "a day such as 2026-11-20")
    }

    pub(super) fn zone(&mut self, name: &str) -> Result<Option<Tz>, ApiError> {
        self.take(name, |text| text.parse().ok(), "the name of a time zone, such as Europe/Berlin or UTC")
    }

    pub(super) fn severity(&mut self, name: &str) -> Result<Option<Severity>, ApiError> {
        self.take(name, Severity::from_word, "info, warning or error")
    }

    pub(super) fn profile(&mut self, name: &str) -> Result<Option<Profile>, ApiError> {
        self.take(name, Profile::from_word, "main or sub")
    }

    pub(super) fn place(&mut self, name: &str) -> Result<Option<Place>, ApiError> {
        self.take(name, Place::from_word, "primary or mirror")
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        let read = |text: &str| match text {
            "1" | "true" | "" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        };
        Ok(self.take(name, read, "1 or 0")?.unwrap_or(false))
    }
}

/// A parameter that cannot be taken.
pub(super) fn bad_query(name: &str, what: &str) -> ApiError {
    ApiError::new(Code::BadQuery, format!("{name}: {what}")).field(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::cameras::{CameraChange, NewCamera};
    use proptest::prelude::*;

    fn refusal(body: &str) -> (Code, String, String) {
        let error = parse::<NewCamera>(body.as_bytes()).unwrap_err();
        (error.code, error.field.unwrap_or_default(), error.message)
    }

    #[test]
    fn a_refused_body_names_its_field() {
        for (body, code, field, words) in [
            ("", Code::BadJson, "", "empty"),
            ("[]", Code::BadJson, "", "no JSON object"),
            ("null", Code::BadJson, "", "no JSON object"),
            ("{", Code::BadJson, "", "EOF"),
            (r#"{"id": "a"} x"#, Code::BadJson, "", "trailing"),
            (r#"{"id": "a", "rtsp_port": 1e999}"#, Code::BadJson, "", "out of range"),
            (
                r#"{"id": "a", "nmae": 1}"#,
                Code::UnknownField,
                "nmae",
                "there is no field `nmae`; expected one of",
            ),
            (r#"{"name": "a"}"#, Code::BadField, "id", "id: is missing"),
            (r#"{"id": "a", "name": "x", "name": "y"}"#, Code::BadField, "name", "name: is given twice"),
            (r#"{"id": "A"}"#, Code::BadField, "id", "id: a camera id has 1 to 63"),
            (r#"{"id": 7}"#, Code::BadField, "id", "id: invalid type: integer `7`"),
            (r#"{"id": "a", "rtsp_port": "554"}"#, Code::BadField, "rtsp_port", "from 1 to 65535"),
            (r#"{"id": "a", "password": 12345}"#, Code::BadField, "password", "password: is not a string"),
            (r#"{"id": "a", "segment_seconds": -1}"#, Code::BadField, "segment_seconds", "integer `-1`"),
            (
                r#"{"id": "a", "source": "gstreamer"}"#,
                Code::BadField,
                "source",
                "none of auto, native, rtspsrc",
            ),
            (r#"{"id": "a", "source": true}"#, Code::BadField, "source", "boolean `true`"),
            (r#"{"id": "a", "connect_seconds": 4}"#, Code::BadField, "connect_seconds", "from 5 to 60"),
            (r#"{"id": "a", "connect_seconds": 61}"#, Code::BadField, "connect_seconds", "from 5 to 60"),
            (r#"{"id": "a", "connect_seconds": null}"#, Code::BadField, "connect_seconds", "null"),
            (r#"{"id": "a", "pre_roll_seconds": 61}"#, Code::BadField, "pre_roll_seconds", "from 0 to 60"),
            (
                r#"{"id": "a", "mirror_mode": "always"}"#,
                Code::BadField,
                "mirror_mode",
                "none of recorded, cont",
            ),
            (r#"{"id": "a", "mirror_enabled": null}"#, Code::BadField, "mirror_enabled", "null"),
            (r#"{"id": "a", "schedule": null}"#, Code::BadField, "schedule", "null"),
            (r#"{"id": "a", "schedule": [7]}"#, Code::BadField, "schedule[0]", "integer `7`"),
            (
                r#"{"id": "a", "schedule": [{"weekdays": [0, 7], "start": "", "end": ""}]}"#,
                Code::BadField,
                "schedule[0].weekdays[1]",
                "from 0 to 6",
            ),
            (
                r#"{"id": "a", "schedule": [{"weekdays": [0], "end": "08:00"}]}"#,
                Code::BadField,
                "schedule[0].start",
                "schedule[0].start: is missing",
            ),
            (
                r#"{"id": "a", "schedule": [{"weekdays": [0], "day": 1}]}"#,
                Code::UnknownField,
                "schedule[0].day",
                "there is no field `schedule[0].day`; expected one of",
            ),
        ] {
            let (found, name, message) = refusal(body);
            assert_eq!((found, name.as_str()), (code, field), "{body}: {message}");
            assert!(message.contains(words), "{body}: {message}");
            assert!(!message.contains(" at line 1") || code == Code::BadJson, "{message}");
        }
    }

    #[test]
    fn a_deep_body_is_refused_and_not_recursed_into() {
        let deep = format!(r#"{{"id": {}1"#, "[".repeat(50_000));
        assert!(parse::<NewCamera>(deep.as_bytes()).is_err());
    }

    #[derive(Debug, PartialEq)]
    struct Asked {
        from: Option<WallUs>,
        after: Option<i64>,
        limit: Option<u32>,
        download: bool,
        severity: Option<Severity>,
    }

    impl FromQuery for Asked {
        fn read(query: &mut Query) -> Result<Self, ApiError> {
            Ok(Self {
                from: query.time("from")?,
                after: query.id("after")?,
                limit: query.int::<1, 1000>("limit")?.map(Int::get),
                download: query.flag("download")?,
                severity: query.severity("severity")?,
            })
        }
    }

    #[test]
    fn a_refused_query_names_its_parameter() {
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=x", "limit"),
            ("limit=", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("after=-1", "after"),
            ("after=9223372036854775808", "after"),
            ("from=yesterday", "from"),
            ("from=2026-13-01T00:00:00Z", "from"),
            ("limit=1&limit=2", "limit"),
            ("lim=1", "lim"),
            ("download=maybe", "download"),
            ("severity=loud", "severity"),
        ] {
            let error = Query::parse::<Asked>(query).unwrap_err();
            assert_eq!((error.code, error.field.as_deref()), (Code::BadQuery, Some(field)), "{query}");
            assert!(error.message.starts_with(&format!("{field}: ")), "{}", error.message);
        }
        let ok = Query::parse::<Asked>(
            "from=2026-11-20T11:00:00%2B01:00&after=7&limit=1000&download=1&severity=error",
        );
        let expected = Asked {
            from: WallUs::parse("2026-11-20T10:00:00Z"),
            after: Some(7),
            limit: Some(1000),
            download: true,
            severity: Some(Severity::Error),
        };
        assert_eq!(ok.unwrap(), expected);
        let plus = Query::parse::<Asked>("from=2026-11-20T11:00:00+01:00").unwrap();
        assert_eq!(plus.from, expected.from);
    }

    proptest! {
        #[test]
        fn whatever_comes_gets_an_answer(body in proptest::collection::vec(any::<u8>(), 0..200), query in "\\PC{0,80}") {
            let _ = parse::<CameraChange>(&body);
            let _ = Query::parse::<Asked>(&query);
        }
    }
}
