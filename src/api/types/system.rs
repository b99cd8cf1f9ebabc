//! The service itself, and what the live stream says first.

use serde::Serialize;
use utoipa::ToSchema;

use super::{MirrorStateWord, Time, Word, cameras::Camera};
use crate::{
    base::{WallUs, mask},
    run::{self, DueSum},
};

/// Whether something we need can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Usable {
    /// It can.
    Ok,
    /// It cannot; `detail` says why.
    Away,
}

impl Usable {
    fn unless(error: Option<&String>) -> Self {
        if error.is_some() { Self::Away } else { Self::Ok }
    }
}

/// How the service is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct System {
    version: String,
    started_at: Time,
    /// The service's clock.
    now: Time,
    /// IANA name of the time zone of schedules that name none.
    time_zone: String,
    /// Pipelines that did not stop in time and still hang.
    abandoned_pipelines: u64,
    volume: Volume,
    /// Null if none is configured.
    #[schema(required)]
    mirror: Option<Mirror>,
    database: Database,
}

/// The second volume, which holds the same bytes again.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct Mirror {
    path: String,
    state: MirrorStateWord,
    since: Time,
    total_bytes: u64,
    free_bytes: u64,
    /// What waits to be written to it.
    queued_bytes: u64,
    /// So many segments of the primary it lacks.
    due_segments: u64,
    /// Their bytes.
    due_bytes: u64,
    #[schema(required)]
    detail: Option<String>,
}

/// The volume of the recordings.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct Volume {
    path: String,
    state: Usable,
    total_bytes: u64,
    free_bytes: u64,
    /// So many segments that the mirror has are to be copied back to it.
    due_segments: u64,
    /// Their bytes.
    due_bytes: u64,
    #[schema(required)]
    detail: Option<String>,
}

impl Volume {
    fn of(volume: &run::VolumeNow, due: DueSum) -> Self {
        let run::VolumeNow { path, total_bytes, free_bytes, error } = volume;
        Self {
            path: path.display().to_string(),
            state: Usable::unless(error.as_ref()),
            total_bytes: *total_bytes,
            free_bytes: *free_bytes,
            due_segments: due.segments,
            due_bytes: due.bytes,
            detail: error.as_deref().map(mask::urls),
        }
    }
}

impl Mirror {
    fn of((volume, now): &(run::VolumeNow, run::MirrorNow)) -> Self {
        let run::VolumeNow { path, total_bytes, free_bytes, error: _ } = volume;
        let run::MirrorNow { state, since, detail, due, primary_due: _, queued_bytes } = now;
        Self {
            path: path.display().to_string(),
            state: Word(*state),
            since: Time(*since),
            total_bytes: *total_bytes,
            free_bytes: *free_bytes,
            queued_bytes: *queued_bytes,
            due_segments: due.segments,
            due_bytes: due.bytes,
            detail: detail.as_deref().map(mask::urls),
        }
    }
}

/// A volume after it was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// Where it is.
    path: String,
}

impl From<&run::VolumeNow> for Accepted {
    fn from(volume: &run::VolumeNow) -> Self {
        Self { path: volume.path.display().to_string() }
    }
}

/// The index.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct Database {
    state: Usable,
    /// Facts and events that wait to be written.
    pending_rows: u64,
    #[schema(required)]
    detail: Option<String>,
}

impl System {
    /// `system` as it was at `now`.
    pub(crate) fn at(system: &run::System, now: WallUs) -> Self {
        let run::System {
            started_at,
            zone,
            abandoned_pipelines,
            volume,
            mirror,
            pending_rows,
            database_error,
        } = system;
        let primary_due = mirror.as_ref().map(|(_, now)| now.primary_due).unwrap_or_default();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Time(*started_at),
            now: Time(now),
            time_zone: zone.name().to_owned(),
            abandoned_pipelines: *abandoned_pipelines,
            volume: Volume::of(volume, primary_due),
            mirror: mirror.as_ref().map(Mirror::of),
            database: Database {
                state: Usable::unless(database_error.as_ref()),
                pending_rows: *pending_rows,
                detail: database_error.as_deref().map(mask::urls),
            },
        }
    }
}

/// `/healthz`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    pub(crate) status: &'static str,
}

/// `/readyz`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Whether every check is well.
    pub(crate) ready: bool,
    checks: Vec<Check>,
}

/// One line of `/readyz`.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Check {
    name: String,
    ok: bool,
    detail: String,
}

impl From<Vec<run::Check>> for Ready {
    fn from(checks: Vec<run::Check>) -> Self {
        let shown = |run::Check { name, ok, detail }| Check {
            name: String::from(name),
            ok,
            detail: mask::urls(&detail),
        };
        Self { ready: checks.iter().all(|check| check.ok), checks: checks.into_iter().map(shown).collect() }
    }
}

/// The first message of the live stream, and what a client that fell behind gets.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Snapshot {
    pub(crate) cameras: Vec<Camera>,
    pub(crate) system: System,
}

/// `camera_removed` of the live stream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CameraRemoved {
    pub(crate) id: String,
}
