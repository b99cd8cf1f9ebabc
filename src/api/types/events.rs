//! The log for the operator.

use serde::Serialize;
use utoipa::ToSchema;

use super::{DirectionWord, KindWord, ProfileWord, SeverityWord, Time, Word, rounded};
use crate::{
    base::mask,
    model::{
        ai::zone,
        event::{self, NewEvent},
    },
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
    /// What was seen, if it happened in a zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sight: Option<Sight>,
}

/// What was seen in a zone.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Sight {
    zone_id: i64,
    zone: String,
    task_id: i64,
    /// The program's name for what it follows.
    track_id: String,
    label: String,
    confidence: f64,
    /// Which way a line was crossed; `forward` is from its left to its right, looking along it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    direction: Option<DirectionWord>,
    /// The number of the frame in which it was seen, and of which stream.
    frame: u64,
    profile: ProfileWord,
    /// The segment that holds the same frame, or the same moment if the other stream is recorded, and how far into it; null
    /// if nothing is.
    #[schema(required)]
    segment_id: Option<i64>,
    #[schema(required)]
    offset_us: Option<i64>,
}

impl From<&zone::Sight> for Sight {
    fn from(sight: &zone::Sight) -> Self {
        let zone::Sight { zone, name, task, track, label, confidence, direction, frame, profile, recorded } =
            sight;
        Self {
            zone_id: *zone,
            zone: name.clone(),
            task_id: *task,
            track_id: track.clone(),
            label: label.clone(),
            confidence: rounded(*confidence),
            direction: direction.map(Word),
            frame: *frame,
            profile: Word(*profile),
            segment_id: recorded.map(|(segment, _)| segment),
            offset_us: recorded.map(|(_, offset)| offset),
        }
    }
}

impl From<&event::Event> for Event {
    fn from(event: &event::Event) -> Self {
        let event::Event { id, event } = event;
        let NewEvent { at, camera, kind, severity, detail, sight } = event;
        Self {
            id: *id,
            at: Time(*at),
            camera_id: camera.as_ref().map(ToString::to_string),
            kind: Word(*kind),
            severity: Word(*severity),
            detail: mask::urls(detail),
            sight: sight.as_deref().map(Sight::from),
        }
    }
}

/// A part of the log, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EventList {
    pub(crate) events: Vec<Event>,
}
