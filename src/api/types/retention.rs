//! Holds, and what retention does.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LimitWord, Time, Word, rounded};
use crate::{
    base::{CameraId, WallUs, mask},
    model::{
        camera::BadField,
        hold::{self, HoldKeeps, NewHold},
        retention::{Candidate, Limits, Shortage as Short, Victim},
        timeline::Range,
    },
    run,
};

/// A time range to protect.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldRequest {
    /// Where it begins; RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    from: String,
    /// Where it ends, at most 366 days later; may lie in the future.
    #[schema(value_type = String, format = DateTime)]
    to: String,
    /// What for, for people.
    #[schema(min_length = 1, max_length = 256)]
    reason: String,
}

impl HoldRequest {
    /// The hold of this camera that is asked for.
    pub(crate) fn of(self, camera: CameraId) -> Result<NewHold, run::Error> {
        let Self { from, to, reason } = self;
        let time = |field: &'static str, text: &str| {
            let wrong = || BadField::new(field, "must be an RFC 3339 time such as 2026-11-20T10:00:00Z");
            WallUs::parse(text).ok_or_else(wrong)
        };
        Ok(NewHold { camera, range: Range { from: time("from", &from)?, to: time("to", &to)? }, reason })
    }
}

/// A time range of which nothing is deleted.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Hold {
    id: i64,
    camera_id: String,
    from: Time,
    to: Time,
    reason: String,
    created_at: Time,
    /// Segments on disk that it keeps now.
    segments: u64,
    /// Their bytes; those that several holds touch count for each.
    bytes: u64,
}

impl From<&HoldKeeps> for Hold {
    fn from(keeps: &HoldKeeps) -> Self {
        let HoldKeeps { hold: hold::Hold { id, hold, created }, segments, bytes } = keeps;
        let NewHold { camera, range: Range { from, to }, reason } = hold;
        Self {
            id: *id,
            camera_id: camera.to_string(),
            from: Time(*from),
            to: Time(*to),
            reason: mask::urls(reason),
            created_at: Time(*created),
            segments: *segments,
            bytes: *bytes,
        }
    }
}

/// Holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct HoldList {
    holds: Vec<Hold>,
}

impl From<&[HoldKeeps]> for HoldList {
    fn from(holds: &[HoldKeeps]) -> Self {
        Self { holds: holds.iter().map(Hold::from).collect() }
    }
}

/// How retention stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Retention {
    /// Limit of all footage; null: none.
    #[schema(required)]
    max_bytes: Option<u64>,
    /// What stays free of the volume.
    min_free_bytes: u64,
    /// What is free of it.
    free_bytes: u64,
    /// Bytes of all footage.
    stored_bytes: u64,
    /// Segments deleted since the service started.
    deleted_segments: u64,
    /// Their bytes.
    deleted_bytes: u64,
    /// Why recording stands still, if it does for lack of room.
    #[schema(required)]
    stopped: Option<String>,
    /// Limits that cannot be met.
    shortages: Vec<Shortage>,
    /// Each camera that has footage, by id; deleted ones too.
    cameras: Vec<Stored>,
    /// What goes next, in order.
    next: Vec<Next>,
}

/// What a camera has.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Stored {
    camera_id: String,
    #[schema(required)]
    retention_hours: Option<u32>,
    #[schema(required)]
    quota_bytes: Option<u64>,
    segments: u64,
    bytes: u64,
    /// Bytes of segments that are held.
    held_bytes: u64,
    /// Where its oldest footage begins.
    #[schema(required)]
    oldest: Option<Time>,
    /// What a day of it takes, from the last day.
    bytes_per_day: u64,
    /// How many days it will reach back when the volume is full and all goes on as it does; null if nothing was recorded
    /// in the last day.
    #[schema(required)]
    forecast_days: Option<f64>,
}

/// A segment that goes before others.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Next {
    segment_id: i64,
    camera_id: String,
    start: Time,
    end: Time,
    bytes: u64,
    /// The limit by which it goes now; null: it goes when room is needed.
    #[schema(required)]
    limit: Option<LimitWord>,
}

/// A limit that cannot be met.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Shortage {
    /// Whose limit; null: of all.
    #[schema(required)]
    camera_id: Option<String>,
    limit: LimitWord,
    /// By so many bytes.
    bytes: u64,
    /// Whether holds alone are more than the limit.
    by_holds: bool,
}

impl From<&run::RetentionNow> for Retention {
    fn from(now: &run::RetentionNow) -> Self {
        let run::RetentionNow { max_bytes, min_free_bytes, free_bytes, stored_bytes, cameras, next, keeper } =
            now;
        let run::KeeperNow { deleted_segments, deleted_bytes, shortages, stopped } = keeper;
        Self {
            max_bytes: *max_bytes,
            min_free_bytes: *min_free_bytes,
            free_bytes: *free_bytes,
            stored_bytes: *stored_bytes,
            deleted_segments: *deleted_segments,
            deleted_bytes: *deleted_bytes,
            stopped: stopped.clone(),
            shortages: shortages.iter().map(Shortage::from).collect(),
            cameras: cameras.iter().map(Stored::from).collect(),
            next: next.iter().map(Next::from).collect(),
        }
    }
}

impl From<&run::CameraStored> for Stored {
    fn from(stored: &run::CameraStored) -> Self {
        let run::CameraStored {
            camera,
            limits: Limits { retention_hours, quota_bytes },
            segments,
            bytes,
            held_bytes,
            oldest,
            bytes_per_day,
            forecast_days,
        } = stored;
        Self {
            camera_id: camera.to_string(),
            retention_hours: *retention_hours,
            quota_bytes: *quota_bytes,
            segments: *segments,
            bytes: *bytes,
            held_bytes: *held_bytes,
            oldest: oldest.map(Time),
            bytes_per_day: *bytes_per_day,
            forecast_days: forecast_days.map(rounded),
        }
    }
}

impl From<&run::Next> for Next {
    fn from(next: &run::Next) -> Self {
        let run::Next { victim: Victim { camera, segment, limit }, due } = next;
        let Candidate { id, start, end, bytes } = segment;
        Self {
            segment_id: *id,
            camera_id: camera.to_string(),
            start: Time(*start),
            end: Time(*end),
            bytes: *bytes,
            limit: due.then_some(Word(*limit)),
        }
    }
}

impl From<&Short> for Shortage {
    fn from(short: &Short) -> Self {
        let Short { camera, limit, bytes, by_holds } = short;
        Self {
            camera_id: camera.as_ref().map(ToString::to_string),
            limit: Word(*limit),
            bytes: *bytes,
            by_holds: *by_holds,
        }
    }
}
