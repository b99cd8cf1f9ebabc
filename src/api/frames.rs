//! Pictures for programs that look at them: the latest, or each as it comes.

use std::time::Duration;

use axum::{
    Extension,
    body::Body,
    extract::{
        State,
        ws::{
            CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use utoipa::{IntoParams, ToSchema};

use super::{
    App,
    error::{ApiError, Code},
    input::{CameraPath, FromQuery, Params, Query, bad_query},
    range,
    serve::Closing,
    types::{Binary, ErrorBody, Int, ProfileWord, Time, Word},
};
use crate::{
    base::{CameraId, WallUs},
    model::Profile,
    run::{Frame, Watchkeeper},
};

/// WebSockets at once.
pub(super) const READERS: usize = 64;
/// A reader that takes nothing of a picture for so long is gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// So long a WebSocket waits for a stream to be sampled again, and for a picture before it asks whether the reader is there.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between looks at a stream that is not sampled.
const AGAIN: Duration = Duration::from_secs(1);

/// Which pictures are wanted.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamAsked {
    /// Of which stream: `main` or `sub`. Of the main one where the camera has no other.
    #[param(value_type = Option<String>, default = "sub", pattern = "^(main|sub)$")]
    profile: Option<Profile>,
    /// Of the stream that this task looks at, in place of `profile`.
    #[param(minimum = 0)]
    task: Option<i64>,
}

impl FromQuery for StreamAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        let asked = Self { profile: query.profile("profile")?, task: query.id("task")? };
        match asked {
            Self { profile: Some(_), task: Some(_) } => {
                Err(bad_query("task", "says already which stream it is; leave out `profile`"))
            }
            _ => Ok(asked),
        }
    }
}

impl StreamAsked {
    fn profile(self, of: &Watchkeeper, camera: &CameraId) -> Result<Profile, ApiError> {
        match self.task {
            Some(task) => Ok(of.profile_of(camera, task)?),
            None => Ok(self.profile.unwrap_or(Profile::Sub)),
        }
    }
}

/// Which picture is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FrameAsked {
    #[param(ignore)]
    stream: StreamAsked,
    /// Only one with a greater number.
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<u64>,
    /// Wait so many seconds for it.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 30, default = 0)]
    wait: Duration,
}

impl FromQuery for FrameAsked {
    fn read(query: &mut Query) -> Result<Self, ApiError> {
        Ok(Self {
            stream: StreamAsked::read(query)?,
            after: query.id("after")?.map(i64::unsigned_abs),
            wait: Duration::from_secs(query.int::<0, 30>("wait")?.map_or(0, Int::get).into()),
        })
    }
}

/// What is told of a picture.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct FrameHead {
    camera_id: String,
    profile: ProfileWord,
    /// Grows with each picture of the stream; detections name it.
    number: u64,
    /// On the clock that segments are recorded by.
    captured_at: Time,
    age_ms: i64,
    width: u32,
    height: u32,
    /// Size of the camera's picture.
    source_width: u32,
    source_height: u32,
    /// The segment that holds the same frame, or the same moment if the other stream is recorded, and how far into it; null
    /// if nothing is.
    #[schema(required)]
    segment_id: Option<i64>,
    #[schema(required)]
    offset_us: Option<i64>,
    /// Of the picture that follows.
    bytes: usize,
}

impl FrameHead {
    fn of(camera: &CameraId, profile: Profile, Frame { sample, recorded }: &Frame) -> Self {
        Self {
            camera_id: camera.to_string(),
            profile: Word::from(profile),
            number: sample.number,
            captured_at: Time::from(sample.at),
            age_ms: (WallUs::now().0 - sample.at.0).max(0) / 1000,
            width: sample.size.0,
            height: sample.size.1,
            source_width: sample.source.0,
            source_height: sample.source.1,
            segment_id: recorded.map(|(segment, _)| segment),
            offset_us: recorded.map(|(_, offset)| offset),
            bytes: sample.jpeg.len(),
        }
    }
}

/// The latest picture of a stream that a task asks for, as JPEG. With `after` and `wait` the answer comes with the next
/// picture. The headers tell when it was taken, and where the same frame is recorded, or the
/// same moment if the other stream is.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/frame", tag = "ai", operation_id = "frame",
    params(CameraPath, StreamAsked, FrameAsked, ("If-None-Match" = Option<String>, Header, description = "`ETag` of the picture at hand")),
    responses(
        (status = 200, content_type = "image/jpeg", body = Binary, headers(
            ("ETag" = String),
            ("X-Frame-Number" = i64, description = "grows with each picture of the stream; detections name it"),
            ("X-Frame-Captured-At" = String, description = "RFC 3339, UTC, microseconds, on the clock that segments are recorded by"),
            ("X-Frame-Age-Ms" = i64),
            ("X-Frame-Size" = String, description = "of the picture, such as 1280x720"),
            ("X-Frame-Source-Size" = String, description = "of the camera's picture"),
            ("X-Frame-Segment" = i64, description = "the segment that holds the frame; absent if it is not recorded"),
            ("X-Frame-Offset-Us" = i64, description = "how far into it"))),
        (status = 204, description = "no newer picture came in time"),
        (status = 304, description = "the picture is still the same"),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query, bad_field: the task is another camera's"),
        (status = 404, body = ErrorBody, description = "no_camera, no_task"),
        (status = 409, body = ErrorBody, description = "not_sampled: no task asks for it, or the budget is used up")))]
pub(super) async fn frame(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(FrameAsked { stream, after, wait }): Params<FrameAsked>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let profile = stream.profile(&app.watchkeeper, &id)?;
    let Some(frame) = app.watchkeeper.frame(&id, profile, after, wait).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let etag = format!("\"{id}-{}-{:08x}\"", frame.sample.number, app.process);
    let known = range::is_known(&headers, &etag);
    let (status, body) = if known {
        (StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        (StatusCode::OK, frame.sample.jpeg.clone().into())
    };
    let mut response = (status, [(header::CACHE_CONTROL, "no-cache")], body).into_response();
    let head = FrameHead::of(&id, profile, &frame);
    let mut told = vec![
        ("x-frame-number", head.number.to_string()),
        ("x-frame-captured-at", frame.sample.at.rfc3339()),
        ("x-frame-age-ms", head.age_ms.to_string()),
        ("x-frame-size", format!("{}x{}", head.width, head.height)),
        ("x-frame-source-size", format!("{}x{}", head.source_width, head.source_height)),
    ];
    if let Some((segment, offset_us)) = frame.recorded {
        told.push(("x-frame-segment", segment.to_string()));
        told.push(("x-frame-offset-us", offset_us.to_string()));
    }
    let headers = response.headers_mut();
    for (name, value) in told {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    if !known {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    }
    Ok(response)
}

/// Each picture of a stream as it comes, over a WebSocket: a text message with what is told of the picture (`FrameHead`),
/// then a binary one with the JPEG. Whoever reads slowly misses pictures and gets the latest; whoever takes nothing for 10 s
/// is dropped.
#[utoipa::path(get, path = "/api/v1/cameras/{id}/frames", tag = "ai", operation_id = "frames",
    params(CameraPath, StreamAsked),
    responses(
        (status = 101, description = "the WebSocket begins"),
        (status = 400, body = ErrorBody, description = "bad_id, bad_query, bad_field: the task is another camera's"),
        (status = 404, body = ErrorBody, description = "no_camera, no_task"),
        (status = 409, body = ErrorBody, description = "not_sampled: no task asks for it, or the budget is used up"),
        (status = 426, body = ErrorBody, description = "upgrade_needed: this is no WebSocket request"),
        (status = 429, body = ErrorBody, description = "too_many WebSockets at once (64)")))]
pub(super) async fn frames(
    State(app): State<App>,
    CameraPath { id }: CameraPath,
    Params(asked): Params<StreamAsked>,
    closing: Option<Extension<Closing>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let profile = asked.profile(&app.watchkeeper, &id)?;
    // Whether it is sampled at all.
    app.watchkeeper.frame(&id, profile, None, Duration::ZERO).await?;
    let upgrade = upgrade.map_err(|_| {
        ApiError::new(Code::UpgradeNeeded, "pictures come over a WebSocket here")
            .hint("`GET /api/v1/cameras/{id}/frame` gives one without")
    })?;
    let permit = app.readers.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(Code::TooMany, format!("{READERS} WebSockets are open already"))
            .header(header::RETRY_AFTER, 10_u16)
    })?;
    let closing = closing.map(|Extension(closing)| closing).unwrap_or_default();
    let reader = Reader { watchkeeper: app.watchkeeper, camera: id, profile, _permit: permit };
    Ok(upgrade.on_upgrade(async move |mut socket| {
        let reason = tokio::select! {
            reason = reader.send(&mut socket) => reason,
            () = closing.0.cancelled() => Some("the service stops"),
        };
        if let Some(reason) = reason {
            let frame = CloseFrame { code: close_code::AWAY, reason: reason.into() };
            let _ = timeout(TAKEN_WITHIN, socket.send(Message::Close(Some(frame)))).await;
        }
    }))
}

/// Who gets pictures over a WebSocket.
struct Reader {
    watchkeeper: Watchkeeper,
    camera: CameraId,
    profile: Profile,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// Sends pictures until the reader is gone (`None`) or there will be no more: why.
    async fn send(&self, socket: &mut WebSocket) -> Option<&'static str> {
        let (mut last, mut missing) = (None, Duration::ZERO);
        loop {
            let next = self.watchkeeper.frame(&self.camera, self.profile, last, PATIENCE);
            let next = tokio::select! {
                next = next => next,
                // Whatever a reader says, it is only heard so that its end is.
                said = socket.recv() => match said {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return None,
                },
            };
            let messages = match next {
                Ok(Some(frame)) => {
                    last = Some(frame.sample.number);
                    let head = FrameHead::of(&self.camera, self.profile, &frame);
                    let head = serde_json::to_string(&head).unwrap_or_default();
                    vec![Message::Text(head.into()), Message::Binary(frame.sample.jpeg.clone())]
                }
                // A reader that vanished without a word fails on this.
                Ok(None) => vec![Message::Ping(Default::default())],
                Err(_) if missing < PATIENCE => {
                    missing += AGAIN;
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(_) => return Some("the stream is not sampled any more"),
            };
            missing = Duration::ZERO;
            for message in messages {
                match timeout(TAKEN_WITHIN, socket.send(message)).await {
                    Ok(Ok(())) => {}
                    _ => return None,
                }
            }
        }
    }
}
