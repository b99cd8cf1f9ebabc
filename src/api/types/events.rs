//! The log for the operator.

use serde::Serialize;
use utoipa::ToSchema;

use super::{KindWord, SeverityWord, Time, Word};
use crate::{
    base::mask,
    model::event::{self, NewEvent},
};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Event {
    /// Its place in the log; grows.
    id: i64,
    at: Time,
    /// Whose it is, if it is a camera's.
    #[schema(required)]
    camera_id: Option<String>,
    kind: KindWord,
    severity: SeverityWord,
    /// For people.
    detail: String,
}

impl From<&event::Event> for Event {
    fn from(event: &event::Event) -> Self {
        let event::Event { id, event } = event;
        let NewEvent { at, camera, kind, severity, detail } = event;
        Self {
            id: *id,
            at: Time(*at),
            camera_id: camera.as_ref().map(ToString::to_string),
            kind: Word(*kind),
            severity: Word(*severity),
            detail: mask::urls(detail),
        }
    }
}

/// A part of the log, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EventList {
    pub(crate) events: Vec<Event>,
}
