//! Recordings: which there are, when something was recorded, and the files themselves.

use std::io::SeekFrom;

use axum::{
    Json,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;

use super::{
    App,
    error::{ApiError, Code},
    input::{CameraPath, FromQuery, Params, Query, SegmentPath, bad_query},
    range::{self, Part},
    types::{
        Binary, ErrorBody, Int,
        recordings::{Segment, SegmentList, Timeline},
    },
};
use crate::{
    base::WallUs,
    model::{
        segment::{self, SegmentState},
        timeline::Range,
    },
    run::SegmentQuery,
};

const DAY_US: i64 = 86_400_000_000;
/// Longest stretch that a timeline covers: a month, with a day to spare for time zones.
pub(super) const TIMELINE_MAX_US: i64 = 32 * DAY_US;
/// The end of the year 9999: `to` when none is given.
const LATEST: WallUs = WallUs(253_402_300_799_999_999);
/// Files are read in blocks of this size.
const BLOCK_BYTES: usize = 64 * 1024;

/// Which segments.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SegmentsAsked {
    /// Segments that end after this time. [the beginning]
    #[param(value_type = Option<String>, format = DateTime)]
    from: WallUs,
    /// Segments that begin before this time. [no end]
    #[param(value_type = Option<String>, format = DateTime)]
    to: WallUs,
    /// `next` of the page before.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// No more than so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 200)]
    limit: u32,
}

impl FromQuery for SegmentsAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        let asked = Self {
            from: query.time("from")?.unwrap_or(WallUs(0)),
            to: query.time("to")?.unwrap_or(LATEST),
            after: query.id("after")?,
            limit: query.int::<1, 1000>("limit")?.map_or(200, Int::get),
        };
        in_order(asked.from, asked.to)?;
        Ok(asked)
    }
}

fn in_order(from: WallUs, to: WallUs) -> Result<(), ApiError> {
    if from < to { Ok(()) } else { Err(bad_query("to", "must be later than `from`")) }
}

/// Segments that touch a stretch of time, oldest first. Also those of a camera that was deleted.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/segments", tag = "recordings", operation_id = "list_segments",
    params(CameraPath, SegmentsAsked),
    responses(
        (status = 200, body = SegmentList),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn segments(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(asked): Params<SegmentsAsked>,
) -> Result<Json<SegmentList>, ApiError> {
    let SegmentsAsked { from, to, after, limit } = asked;
    let query = SegmentQuery { range: Range { from, to }, after, limit };
    Ok(Json(SegmentList::from(&app.watchkeeper.segments(&id, query).await?)))
}

/// Which stretch of a timeline.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TimelineAsked {
    /// Where it begins. [a day before `to`]
    #[param(value_type = Option<String>, format = DateTime)]
    from: WallUs,
    /// Where it ends, at most 32 days later. [now]
    #[param(value_type = Option<String>, format = DateTime)]
    to: WallUs,
}

impl FromQuery for TimelineAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        let Range { from, to } = window(query.time("from")?, query.time("to")?, TIMELINE_MAX_US)?;
        Ok(Self { from, to })
    }
}

/// `from` and `to` of a query, by default the last day; `max_us` long at most.
pub(super) fn window(from: Option<WallUs>, to: Option<WallUs>, max_us: i64) -> Result<Range, ApiError> {
    let to = to.unwrap_or_else(WallUs::now);
    let from = from.unwrap_or_else(|| to.plus_us(-DAY_US));
    in_order(from, to)?;
    if to.0.saturating_sub(from.0) > max_us {
        return Err(bad_query("from", "must be at most 32 days before `to`"));
    }
    Ok(Range { from, to })
}

/// Recorded time, neighbours joined.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/timeline", tag = "recordings", operation_id = "timeline",
    params(CameraPath, TimelineAsked),
    responses(
        (status = 200, body = Timeline),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn timeline(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(TimelineAsked { from, to }): Params<TimelineAsked>,
) -> Result<Json<Timeline>, ApiError> {
    Ok(Json(app.watchkeeper.timeline(&id, Range { from, to }).await?.into()))
}

/// `/api/v1/segments/{segment_id}` and `/api/v1/segments/{segment_id}.mp4`: one path segment, two resources.
pub(super) async fn segment_or_file(
    State(app): State<App>,
    SegmentPath { id, file }: SegmentPath,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !file {
        return segment(app, id).await.map(|segment| segment.into_response());
    }
    let FileAsked { download } = Query::parse(query.as_deref().unwrap_or_default())?;
    segment_file(app, id, download, &method, &headers).await
}

/// One segment.
#[utoipa::path(get, path = "/api/v1/segments/{segment_id}", tag = "recordings", operation_id = "get_segment",
    params(("segment_id" = i64, Path, minimum = 0)),
    responses(
        (status = 200, body = Segment),
        (status = 400, body = ErrorBody, description = "bad_id"),
        (status = 404, body = ErrorBody, description = "no_segment"),
        (status = 503, body = ErrorBody, description = "database_away")))]
pub(super) async fn segment(app: App, id: i64) -> Result<Json<Segment>, ApiError> {
    Ok(Json(Segment::from(&app.watchkeeper.segment(id).await?)))
}

/// How a file is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FileAsked {
    /// `1`: to be saved, not shown.
    #[param(required = false, default = false)]
    download: bool,
}

impl FromQuery for FileAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        Ok(Self { download: query.flag("download")? })
    }
}

/// A segment's file. Of an open segment, what is whole at this moment. One byte range is served; several are
/// answered with the whole file.
#[utoipa::path(get, path = "/api/v1/segments/{segment_id}.mp4", tag = "recordings", operation_id = "get_segment_file",
    params(("segment_id" = i64, Path, minimum = 0), FileAsked,
        ("Range" = Option<String>, Header, description = "one range of bytes, such as `bytes=0-1023`"),
        ("If-Range" = Option<String>, Header, description = "`ETag` or `Last-Modified` that `Range` is meant for"),
        ("If-None-Match" = Option<String>, Header, description = "`ETag` of the file at hand")),
    responses(
        (status = 200, content_type = "video/mp4", body = Binary, headers(("ETag" = String))),
        (status = 206, content_type = "video/mp4", body = Binary, headers(("Content-Range" = String))),
        (status = 304, description = "the file is still the same"),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query"),
        (status = 404, body = ErrorBody, description = "no_segment: also when its file is gone"),
        (status = 416, body = ErrorBody, description = "bad_range", headers(("Content-Range" = String))),
        (status = 503, body = ErrorBody, description = "database_away, volume_away")))]
pub(super) async fn segment_file(
    app: App,
    id: i64,
    download: bool,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (segment, file, length) = app.watchkeeper.segment_file(id).await?;
    answer(&segment, file, length, download, method, headers).await
}

/// The answer for a file of which `length` bytes may be read.
pub(super) async fn answer(
    segment: &segment::Segment,
    file: std::fs::File,
    length: u64,
    download: bool,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let state = segment.facts.state;
    // Length and state are in the tag because the file grows until it is closed, and closing may change it.
    let etag = format!("\"{}-{length}-{}\"", segment.id, state.word());
    let modified = (state != SegmentState::Open).then(|| http_date(segment.facts.end())).flatten();
    // A growing file must not be put together from parts of different age by a cache.
    let caching = if state == SegmentState::Open { "no-store" } else { "no-cache" };
    let mut out = HeaderMap::new();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            out.insert(name, value);
        }
    };
    set(header::ETAG, &etag);
    set(header::CACHE_CONTROL, caching);
    set(header::ACCEPT_RANGES, "bytes");
    // A browser shows a bare video in a page of its own, which may load nothing else.
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'");
    if let Some(modified) = &modified {
        set(header::LAST_MODIFIED, modified);
    }
    if range::is_known(headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, out).into_response());
    }
    // RFC 9110 defines Range for GET only.
    let part = match *method {
        Method::GET => range::asked(headers, length, &etag, modified.as_deref()),
        _ => Part::Whole,
    };
    let (status, first, count) = match part {
        Part::Whole => (StatusCode::OK, 0, length),
        Part::Bytes { first, last } => {
            set(header::CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Part::Unsatisfiable => {
            let error = ApiError::new(Code::BadRange, format!("the file has {length} bytes at this moment"));
            let range = HeaderValue::from_str(&format!("bytes */{length}"));
            return Err(match range {
                Ok(range) => error.header(header::CONTENT_RANGE, range),
                Err(_) => error,
            });
        }
    };
    let disposition = if download { "attachment" } else { "inline" };
    set(header::CONTENT_TYPE, "video/mp4");
    set(header::CONTENT_LENGTH, &count.to_string());
    set(
        header::CONTENT_DISPOSITION,
        &format!("{disposition}; filename=\"{}\"", file_name(&segment.facts.path)),
    );
    if *method == Method::HEAD {
        return Ok((status, out).into_response());
    }
    let mut file = File::from_std(file);
    if first > 0 {
        file.seek(SeekFrom::Start(first)).await.map_err(|error| {
            tracing::error!(%error, segment.id = segment.id, "cannot seek in a segment's file");
            ApiError::internal()
        })?;
    }
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(count), BLOCK_BYTES));
    Ok((status, out, body).into_response())
}

/// A name to save the file under: camera and time. Whatever could end the header's quotes becomes `_`.
fn file_name(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    path.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

/// `Fri, 20 Nov 2026 10:00:00 GMT`; none for a time to come, which RFC 9110 forbids.
fn http_date(at: WallUs) -> Option<String> {
    (at <= WallUs::now()).then(|| at.utc().format("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::tests::{bytes_of, segment},
        model::segment::SegmentState,
    };
    use std::io::Write as _;

    const LENGTH: usize = 200_000;

    fn content() -> Vec<u8> {
        (0..LENGTH).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    async fn get(method: Method, state: SegmentState, given: &[(HeaderName, &str)]) -> Response {
        let mut file = tempfile::tempfile().unwrap();
        // More is on disk than may be read: the fragment that is being written.
        file.write_all(&[content(), vec![0xff; 5000]].concat()).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let headers = given.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let answer = answer(&segment(7, state), file, LENGTH as u64, false, &method, &headers).await;
        answer.unwrap_or_else(|error| error.into_response())
    }

    fn header_of(response: &Response, name: HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn the_whole_file_ends_where_it_may_be_read() {
        let response = get(Method::GET, SegmentState::Open, &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header_of(&response, header::CONTENT_LENGTH), "200000");
        assert_eq!(header_of(&response, header::CONTENT_TYPE), "video/mp4");
        assert_eq!(header_of(&response, header::ACCEPT_RANGES), "bytes");
        assert_eq!(header_of(&response, header::CACHE_CONTROL), "no-store");
        assert_eq!(header_of(&response, header::LAST_MODIFIED), "");
        assert_eq!(
            header_of(&response, header::CONTENT_DISPOSITION),
            "inline; filename=\"front_20261120_100000.mp4\""
        );
        assert_eq!(bytes_of(response).await, content());
    }

    #[tokio::test]
    async fn a_range_is_a_part_and_a_range_beyond_the_end_is_refused() {
        let response = get(Method::GET, SegmentState::Closed, &[(header::RANGE, "bytes=70000-139999")]).await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(header_of(&response, header::CONTENT_RANGE), "bytes 70000-139999/200000");
        assert_eq!(header_of(&response, header::CONTENT_LENGTH), "70000");
        assert_eq!(header_of(&response, header::LAST_MODIFIED), "Thu, 20 Nov 2025 10:01:00 GMT");
        assert_eq!(bytes_of(response).await, content()[70_000..140_000]);

        let response = get(Method::GET, SegmentState::Closed, &[(header::RANGE, "bytes=-3")]).await;
        assert_eq!(bytes_of(response).await, content()[LENGTH - 3..]);

        let response = get(Method::GET, SegmentState::Closed, &[(header::RANGE, "bytes=200000-")]).await;
        assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(header_of(&response, header::CONTENT_RANGE), "bytes */200000");
    }

    #[tokio::test]
    async fn head_tells_the_length_and_a_known_tag_is_not_sent_again() {
        let response = get(Method::HEAD, SegmentState::Closed, &[(header::RANGE, "bytes=0-9")]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header_of(&response, header::CONTENT_LENGTH), "200000");
        let etag = header_of(&response, header::ETAG).to_owned();
        assert_eq!(bytes_of(response).await, b"");

        let response = get(Method::GET, SegmentState::Closed, &[(header::IF_NONE_MATCH, &etag)]).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        // The same length, but still open: another tag.
        let response = get(Method::GET, SegmentState::Open, &[(header::IF_NONE_MATCH, &etag)]).await;
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[test]
    fn stretches_are_bounded() {
        let timeline = |query: &str| Query::parse::<TimelineAsked>(query);
        assert!(timeline("").is_ok());
        assert!(timeline("from=2026-10-01T00:00:00Z&to=2026-11-02T00:00:00Z").is_ok());
        for (query, field) in [
            ("from=2026-10-01T00:00:00Z&to=2026-11-02T00:00:00.000001Z", "from"),
            ("from=2026-10-02T00:00:00Z&to=2026-10-01T00:00:00Z", "to"),
            ("from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", "from"),
        ] {
            assert_eq!(timeline(query).unwrap_err().field.as_deref(), Some(field), "{query}");
        }
        assert!(Query::parse::<SegmentsAsked>("").is_ok());
        assert!(Query::parse::<SegmentsAsked>("to=1969-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn a_file_name_cannot_leave_its_quotes() {
        assert_eq!(file_name("front/2026\".mp4\r\n"), "front_2026_.mp4__");
    }
}
