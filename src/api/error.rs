//! The one error body, and the one place where a failed use case becomes HTTP.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::types::{ErrorBody, ErrorDetail};
use crate::{
    base::{error::Chain, mask},
    model::{clip, demand::Refusal},
    run,
};

/// Every code that a client can meet. `docs/http-api.md` lists them, and a test compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    BadJson,
    BadField,
    UnknownField,
    BadQuery,
    BadId,
    BadHost,
    BadOrigin,
    NoCamera,
    NoSegment,
    NoHold,
    NoPicture,
    NoFootage,
    NoExport,
    NoMirror,
    NoTask,
    NoGap,
    NoZone,
    NoLease,
    NoFrame,
    NotFound,
    MethodNotAllowed,
    TooSlow,
    CameraExists,
    CameraHeld,
    TooManyHolds,
    NotRunning,
    NotEventCapable,
    Disabled,
    OutsideSchedule,
    CodecChanges,
    ExportRunning,
    VolumeThere,
    TooManyTasks,
    TooManyZones,
    NotSampled,
    WorkerExists,
    NotLeased,
    NotFetchable,
    RefillOff,
    ScrubRunning,
    ScrubOff,
    TooLarge,
    NotJson,
    UpgradeNeeded,
    BadRange,
    TooMany,
    Internal,
    DatabaseAway,
    VolumeAway,
    Stopping,
}

impl Code {
    #[cfg(test)]
    pub(super) const ALL: &[Self] = &[
        Self::BadJson,
        Self::BadField,
        Self::UnknownField,
        Self::BadQuery,
        Self::BadId,
        Self::BadHost,
        Self::BadOrigin,
        Self::NoCamera,
        Self::NoSegment,
        Self::NoHold,
        Self::NoPicture,
        Self::NoFootage,
        Self::NoExport,
        Self::NoMirror,
        Self::NoTask,
        Self::NoGap,
        Self::NoZone,
        Self::NoLease,
        Self::NoFrame,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooSlow,
        Self::CameraExists,
        Self::CameraHeld,
        Self::TooManyHolds,
        Self::NotRunning,
        Self::NotEventCapable,
        Self::Disabled,
        Self::OutsideSchedule,
        Self::CodecChanges,
        Self::ExportRunning,
        Self::VolumeThere,
        Self::TooManyTasks,
        Self::TooManyZones,
        Self::NotSampled,
        Self::WorkerExists,
        Self::NotLeased,
        Self::NotFetchable,
        Self::RefillOff,
        Self::ScrubRunning,
        Self::ScrubOff,
        Self::TooLarge,
        Self::NotJson,
        Self::UpgradeNeeded,
        Self::BadRange,
        Self::TooMany,
        Self::Internal,
        Self::DatabaseAway,
        Self::VolumeAway,
        Self::Stopping,
    ];

    /// Status and word.
    pub(super) fn parts(self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadJson => (S::BAD_REQUEST, "bad_json"),
            Self::BadField => (S::BAD_REQUEST, "bad_field"),
            Self::UnknownField => (S::BAD_REQUEST, "unknown_field"),
            Self::BadQuery => (S::BAD_REQUEST, "bad_query"),
            Self::BadId => (S::BAD_REQUEST, "bad_id"),
            Self::BadHost => (S::FORBIDDEN, "bad_host"),
            Self::BadOrigin => (S::FORBIDDEN, "bad_origin"),
            Self::NoCamera => (S::NOT_FOUND, "no_camera"),
            Self::NoSegment => (S::NOT_FOUND, "no_segment"),
            Self::NoHold => (S::NOT_FOUND, "no_hold"),
            Self::NoPicture => (S::NOT_FOUND, "no_picture"),
            Self::NoFootage => (S::NOT_FOUND, "no_footage"),
            Self::NoExport => (S::NOT_FOUND, "no_export"),
            Self::NoMirror => (S::NOT_FOUND, "no_mirror"),
            Self::NoTask => (S::NOT_FOUND, "no_task"),
            Self::NoGap => (S::NOT_FOUND, "no_gap"),
            Self::NoZone => (S::NOT_FOUND, "no_zone"),
            Self::NoLease => (S::NOT_FOUND, "no_lease"),
            Self::NoFrame => (S::NOT_FOUND, "no_frame"),
            Self::NotFound => (S::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::TooSlow => (S::REQUEST_TIMEOUT, "too_slow"),
            Self::CameraExists => (S::CONFLICT, "camera_exists"),
            Self::CameraHeld => (S::CONFLICT, "camera_held"),
            Self::TooManyHolds => (S::CONFLICT, "too_many_holds"),
            Self::NotRunning => (S::CONFLICT, "not_running"),
            Self::NotEventCapable => (S::CONFLICT, "not_event_capable"),
            Self::Disabled => (S::CONFLICT, "disabled"),
            Self::OutsideSchedule => (S::CONFLICT, "outside_schedule"),
            Self::CodecChanges => (S::CONFLICT, "codec_changes"),
            Self::ExportRunning => (S::CONFLICT, "export_running"),
            Self::VolumeThere => (S::CONFLICT, "volume_there"),
            Self::TooManyTasks => (S::CONFLICT, "too_many_tasks"),
            Self::TooManyZones => (S::CONFLICT, "too_many_zones"),
            Self::NotSampled => (S::CONFLICT, "not_sampled"),
            Self::WorkerExists => (S::CONFLICT, "worker_exists"),
            Self::NotLeased => (S::CONFLICT, "not_leased"),
            Self::NotFetchable => (S::CONFLICT, "not_fetchable"),
            Self::RefillOff => (S::CONFLICT, "refill_off"),
            Self::ScrubRunning => (S::CONFLICT, "scrub_running"),
            Self::ScrubOff => (S::CONFLICT, "scrub_off"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too_large"),
            Self::NotJson => (S::UNSUPPORTED_MEDIA_TYPE, "not_json"),
            Self::UpgradeNeeded => (S::UPGRADE_REQUIRED, "upgrade_needed"),
            Self::BadRange => (S::RANGE_NOT_SATISFIABLE, "bad_range"),
            Self::TooMany => (S::TOO_MANY_REQUESTS, "too_many"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal"),
            Self::DatabaseAway => (S::SERVICE_UNAVAILABLE, "database_away"),
            Self::VolumeAway => (S::SERVICE_UNAVAILABLE, "volume_away"),
            Self::Stopping => (S::SERVICE_UNAVAILABLE, "stopping"),
        }
    }
}

/// A refusal or a failure, as the client sees it.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) field: Option<String>,
    hint: Option<&'static str>,
    /// Boxed to keep the error small.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// Longest message that leaves, in characters: what a client sent is quoted, but not echoed by the page.
const MESSAGE_MAX: usize = 600;

impl ApiError {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None, hint: None, header: None }
    }

    pub(super) fn field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    pub(super) fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    pub(super) fn header(self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        Self { header: Some(Box::new((name, value.into()))), ..self }
    }

    /// A bug on our side. What it was stands in the log and nowhere else.
    pub(super) fn internal() -> Self {
        Self::new(Code::Internal, "something went wrong inside the service")
            .hint("the service's log says what; please report it")
    }

    /// A path that leads nowhere.
    pub(super) fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing at this path").hint("/api/docs lists every call")
    }
}

impl From<run::Error> for ApiError {
    fn from(error: run::Error) -> Self {
        use run::Error as E;
        let message = error.to_string();
        let retry = |error: Self, seconds: u16| error.header(header::RETRY_AFTER, seconds);
        match error {
            E::NoCamera(_) => {
                Self::new(Code::NoCamera, message).hint("`GET /api/v1/cameras` lists the cameras")
            }
            E::Taken(_) => Self::new(Code::CameraExists, message)
                .field("id")
                .hint("choose another id, or change the camera with PATCH"),
            E::BadField(bad) => Self::new(Code::BadField, message).field(bad.field),
            E::NoSegment(_) => Self::new(Code::NoSegment, message),
            E::NoPicture(_) => Self::new(Code::NoPicture, message)
                .hint("wait for the first keyframe; the camera's status says whether frames come"),
            E::NotRunning(_) => Self::new(Code::NotRunning, message)
                .hint("the camera's status says why; there is a graph only while it is connected"),
            E::TriggerRefused { why, .. } => {
                let (code, hint) = match why {
                    Refusal::NotEventCapable(_) => {
                        (Code::NotEventCapable, "set record_mode to `event` or `scheduled_event`")
                    }
                    Refusal::Disabled => (Code::Disabled, "set record_enabled to true"),
                    Refusal::OutsideSchedule(_) => {
                        (Code::OutsideSchedule, "with the record_mode `event` triggers are taken at any time")
                    }
                };
                Self::new(code, message).hint(hint)
            }
            E::NoHold { .. } => Self::new(Code::NoHold, message).hint("`GET /api/v1/holds` lists the holds"),
            E::Held { .. } => Self::new(Code::CameraHeld, message).hint(
                "`GET /api/v1/cameras/{id}/holds` lists them; to stop recording set record_enabled to false",
            ),
            E::TooManyHolds { .. } => {
                Self::new(Code::TooManyHolds, message).hint("remove some, or make one that covers several")
            }
            E::NoClip(clip::Refused::NoFootage { .. }) => Self::new(Code::NoFootage, message).hint(
                "`GET /api/v1/cameras/{id}/coverage` tells when there is footage, and why there is none",
            ),
            E::NoClip(clip::Refused::CodecChanges { .. }) => Self::new(Code::CodecChanges, message)
                .hint("export what is before that time and what is after it"),
            E::NoExport(_) => Self::new(Code::NoExport, message)
                .hint("exports are forgotten after an hour, and when the service ends; make it again"),
            E::ExportRunning(_) => Self::new(Code::ExportRunning, message)
                .hint("wait for it, or make another export of the same range"),
            E::TooManyExports(_) => retry(Self::new(Code::TooMany, message), 10)
                .hint("wait for one to end, or cancel one with DELETE /api/v1/exports/{id}"),
            E::NoMirror => Self::new(Code::NoMirror, message),
            E::VolumeThere(_) => Self::new(Code::VolumeThere, message)
                .hint("only a volume that is away because of its identity can be accepted"),
            E::NoTask(_) => Self::new(Code::NoTask, message).hint("`GET /api/v1/ai/tasks` lists the tasks"),
            E::TooManyTasks(_) => Self::new(Code::TooManyTasks, message).hint("remove some"),
            E::NotSampled { .. } => Self::new(Code::NotSampled, message)
                .hint("add a task for it; `GET /api/v1/ai/samplers` says what the budget leaves"),
            E::NoGap { .. } => {
                Self::new(Code::NoGap, message).hint("`GET /api/v1/cameras/{id}/gaps` lists the gaps")
            }
            E::NotFetchable(_) => Self::new(Code::NotFetchable, message)
                .hint("set refill_enabled of the camera; gaps are fetched once they have ended"),
            E::RefillOff(_) => Self::new(Code::RefillOff, message).hint("set refill_enabled of the camera"),
            E::NoZone { .. } => {
                Self::new(Code::NoZone, message).hint("`GET /api/v1/cameras/{id}/zones` lists the zones")
            }
            E::TooManyZones { .. } => Self::new(Code::TooManyZones, message).hint("remove some"),
            E::WorkerExists(_) => Self::new(Code::WorkerExists, message)
                .field("worker")
                .hint("give each program a name of its own; to renew a lease send its `lease`"),
            E::NoLease => Self::new(Code::NoLease, message),
            E::NotLeased(_) => Self::new(Code::NotLeased, message)
                .field("lease")
                .hint("renew the lease with `POST /api/v1/ai/leases` before it ends, and work on the tasks it answers with"),
            E::NoFrame { .. } => Self::new(Code::NoFrame, message)
                .field("frame")
                .hint("post the number that came with the picture, within minutes"),
            E::TooManyWorkers | E::TooManyPosts => retry(Self::new(Code::TooMany, message), 3),
            E::ScrubRunning => Self::new(Code::ScrubRunning, message)
                .hint("`GET /api/v1/scrub` says how far it is; wait for its end"),
            E::ScrubOff => Self::new(Code::ScrubOff, message)
                .hint("set scrub_bytes_per_second in the configuration, and restart the service"),
            E::Busy => retry(Self::new(Code::TooMany, message), 3),
            E::Stopping => retry(Self::new(Code::Stopping, message), 5),
            E::DatabaseAway(ref source) => {
                tracing::warn!(error = %Chain(source.as_ref()), "a request needs the database, which is away");
                retry(Self::new(Code::DatabaseAway, message), 5)
                    .hint("recording goes on; `/readyz` says what is wrong with the database")
            }
            E::VolumeAway(ref source) => {
                tracing::warn!(error = %Chain(source.as_ref()), "a request needs the volume, which is away");
                retry(Self::new(Code::VolumeAway, message), 5)
                    .hint("is the disk mounted? `/readyz` says what is wrong with it")
            }
            E::Media(_) | E::Internal(_) => {
                tracing::error!(error = %Chain(&error), "a request failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { code, message, field, hint, header } = self;
        let (status, word) = code.parts();
        let masked = mask::urls(&message);
        let message = match masked.char_indices().nth(MESSAGE_MAX) {
            Some((end, _)) => format!("{}…", &masked[..end]),
            None => masked,
        };
        let body = ErrorBody {
            error: ErrorDetail {
                code: word.to_owned(),
                message,
                field: field.map(|field| mask::urls(&field)),
                hint: hint.map(str::to_owned),
            },
        };
        let mut response = (status, Json(body)).into_response();
        if let Some((name, value)) = header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::body_of;

    #[tokio::test]
    async fn each_failure_has_its_status_and_only_bugs_hide_their_text() {
        let id = || "front".parse().unwrap();
        let away = || anyhow::anyhow!("disk I/O error at /var/lib/x");
        let cases = [
            (run::Error::NoCamera(id()), 404, "no_camera", "there is no camera `front`"),
            (run::Error::Taken(id()), 409, "camera_exists", "there is already a camera `front`"),
            (run::Error::NoSegment(7), 404, "no_segment", "there is no segment 7"),
            (run::Error::NoPicture(id()), 404, "no_picture", "no picture came from `front` yet"),
            (run::Error::NotRunning(id()), 409, "not_running", "the camera `front` has no open session"),
            (run::Error::DatabaseAway(away()), 503, "database_away", "the database cannot be used now"),
            (run::Error::VolumeAway(away()), 503, "volume_away", "the volume cannot be read now"),
            (
                run::Error::Internal("secret sauce"),
                500,
                "internal",
                "something went wrong inside the service",
            ),
        ];
        for (error, status, code, message) in cases {
            let response = ApiError::from(error).into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().contains_key("retry-after"), status == 503);
            let body = body_of(response).await;
            assert_eq!(body["error"]["code"], code);
            assert_eq!(body["error"]["message"], message);
        }
    }

    #[tokio::test]
    async fn no_message_holds_a_password_or_a_page_of_echo() {
        let error = ApiError::new(Code::BadField, format!("main_url: rtsp://u:p@h/x {}", "y".repeat(5000)));
        let body = body_of(error.field("main_url").into_response()).await;
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("main_url: rtsp://***@h/x yy"), "{message}");
        assert!(message.chars().count() <= MESSAGE_MAX + 1);
        assert_eq!(body["error"]["field"], "main_url");
        assert!(body["error"].get("hint").is_none());
    }
}
