//! Gaps, and what became of a stretch of time.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{CauseWord, Time, Word};
use crate::{
    base::WallUs,
    model::{
        self,
        coverage::{Fate, Part, Sums},
        ledger::{Absence, Stretch},
        timeline::Range,
    },
    run::{self, GapTold},
};

/// How a gap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GapState {
    /// It goes on.
    Open,
    /// Footage, or another cause, follows.
    Closed,
    /// It is none: footage turned up. Only in `GET /api/v1/live`, and for the last time.
    Covered,
}

/// A stretch of time in which wanted footage is missing for one cause.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Gap {
    id: i64,
    camera_id: String,
    state: GapState,
    cause: CauseWord,
    /// Where the footage before it ends, or its cause began.
    from: Time,
    /// Where footage begins again, or another cause. Null while it goes on.
    #[schema(required)]
    to: Option<Time>,
    /// Of one that goes on: so far.
    duration_s: f64,
}

impl Gap {
    /// `None` of what was not wanted, which is no gap.
    fn new(gap: &model::ledger::Gap, now: WallUs, covered: bool) -> Option<Self> {
        let model::ledger::Gap { id, camera, stretch: Stretch { from, to, absence } } = gap;
        let state = match to {
            _ if covered => GapState::Covered,
            Some(_) => GapState::Closed,
            None => GapState::Open,
        };
        let Absence::Missing(cause) = absence else { return None };
        Some(Self {
            id: *id,
            camera_id: camera.to_string(),
            state,
            cause: Word(*cause),
            from: Time(*from),
            to: to.map(Time),
            duration_s: seconds(to.unwrap_or(now).0 - from.0),
        })
    }

    /// What the live stream says of it.
    pub(crate) fn told(told: &GapTold, now: WallUs) -> Option<Self> {
        Self::new(told.gap(), now, matches!(told, GapTold::Covered(_)))
    }
}

/// Gaps, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GapList {
    gaps: Vec<Gap>,
    /// `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<i64>,
}

impl GapList {
    pub(crate) fn new(page: &run::GapPage, now: WallUs) -> Self {
        let run::GapPage { gaps, next } = page;
        Self { gaps: gaps.iter().filter_map(|gap| Gap::new(gap, now, false)).collect(), next: *next }
    }
}

/// What became of a part of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CoverageState {
    /// There is footage.
    Recorded,
    /// There should be footage.
    Missing,
    /// Nobody wanted footage.
    NotWanted,
    /// There is no footage any more, or nobody kept account then.
    Unknown,
}

/// A part of a stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct CoverageRange {
    from: Time,
    to: Time,
    state: CoverageState,
    /// Why it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cause: Option<CauseWord>,
}

/// What became of a stretch of time: ranges without a hole between them, and their sums.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Coverage {
    camera_id: String,
    from: Time,
    /// Up to here something is known; of a camera that is recorded, the end of the last fragment on disk.
    to: Time,
    recorded_s: f64,
    missing_s: f64,
    not_wanted_s: f64,
    unknown_s: f64,
    /// `missing_s` by cause.
    missing_by_cause_s: BTreeMap<String, f64>,
    /// Recorded part of the wanted time; null if none was wanted.
    #[schema(required)]
    percent: Option<f64>,
    ranges: Vec<CoverageRange>,
}

impl Coverage {
    pub(crate) fn new(camera: String, window: Range, parts: &[Part]) -> Self {
        let sums = Sums::of(parts);
        let percent = sums.percent();
        let Sums { recorded_us, missing_us, not_wanted_us, unknown_us } = sums;
        Self {
            camera_id: camera,
            from: Time(window.from),
            to: Time(parts.last().map_or(window.from, |last| last.range.to)),
            recorded_s: seconds(recorded_us),
            missing_s: seconds(missing_us.values().sum()),
            not_wanted_s: seconds(not_wanted_us),
            unknown_s: seconds(unknown_us),
            missing_by_cause_s: missing_us
                .into_iter()
                .map(|(cause, us)| (cause.word().to_owned(), seconds(us)))
                .collect(),
            percent,
            ranges: parts.iter().map(CoverageRange::from).collect(),
        }
    }
}

impl From<&Part> for CoverageRange {
    fn from(part: &Part) -> Self {
        let Part { range: Range { from, to }, fate } = part;
        let (state, cause) = match fate {
            Fate::Recorded => (CoverageState::Recorded, None),
            Fate::Absent(Absence::NotWanted) => (CoverageState::NotWanted, None),
            Fate::Absent(Absence::Missing(cause)) => (CoverageState::Missing, Some(Word(*cause))),
            Fate::Unknown => (CoverageState::Unknown, None),
        };
        Self { from: Time(*from), to: Time(*to), state, cause }
    }
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "exact to the microsecond for 285 years")]
fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
