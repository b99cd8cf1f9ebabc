//! Gaps, and what became of a stretch of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CauseWord, RefillStateWord, Time, Word};
use crate::{
    base::{WallUs, mask},
    model::{
        self,
        camera::BadField,
        coverage::{Fate, Part, Sums},
        ledger::{Absence, Stretch},
        refill::queue::RefillState,
        timeline::Range,
    },
    run::{self, GapTold, Watchkeeper},
};

/// Fetched segments closer to each other than this, in microseconds, are one range: a segment's end is known to a frame.
const JOIN_US: i64 = 100_000;

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
    /// How it stands with fetching it from the camera's own storage; absent if that is not to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refill: Option<Refill>,
}

/// How it stands with fetching a gap from the camera's own storage.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Refill {
    state: RefillStateWord,
    /// So often it was tried.
    attempts: u32,
    /// Why the last attempt did not bring all.
    #[schema(required)]
    reason: Option<String>,
    /// While it is being fetched: up to where.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    upto: Option<Time>,
}

impl Gap {
    /// `None` of what was not wanted, which is no gap.
    fn new(gap: &model::ledger::Gap, now: WallUs, covered: bool) -> Option<Self> {
        let model::ledger::Gap { id, camera, stretch: Stretch { from, to, absence }, tried: _ } = gap;
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
            refill: None,
        })
    }

    /// One, with how it stands with fetching it.
    pub(crate) fn now(gap: &model::ledger::Gap, of: &Watchkeeper, now: WallUs) -> Option<Self> {
        let refill = of.refill_state(gap).map(|state| Refill {
            state: Word(state),
            attempts: gap.tried.attempts,
            reason: of.refill_reason(gap).as_deref().map(mask::urls),
            upto: of.filling_of(gap).and_then(|filling| filling.upto).map(Time),
        });
        Some(Self { refill, ..Self::new(gap, now, false)? })
    }

    /// What the live stream says of it.
    pub(crate) fn told(told: &GapTold, of: &Watchkeeper, now: WallUs) -> Option<Self> {
        match told {
            GapTold::Now(gap) => Self::now(gap, of, now),
            GapTold::Covered(gap) => Self::new(gap, now, true),
        }
    }
}

/// A time range of which what is missing is to be fetched now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefillRequest {
    /// Where it begins; RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    from: String,
    /// Where it ends.
    #[schema(value_type = String, format = DateTime)]
    to: String,
}

impl RefillRequest {
    /// The range.
    pub(crate) fn range(&self) -> Result<Range, run::Error> {
        let time = |field: &'static str, text: &str| {
            let wrong = || BadField::new(field, "must be an RFC 3339 time such as 2026-11-20T10:00:00Z");
            WallUs::parse(text).ok_or_else(wrong)
        };
        let range = Range { from: time("from", &self.from)?, to: time("to", &self.to)? };
        if range.from >= range.to {
            return Err(BadField::new("to", "must be after `from`").into());
        }
        Ok(range)
    }
}

/// Gaps that are to be fetched now, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RefillAsked {
    pub(crate) gaps: Vec<Gap>,
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
    pub(crate) fn new(page: &run::GapPage, of: &Watchkeeper, now: WallUs) -> Self {
        let run::GapPage { gaps, next } = page;
        Self { gaps: gaps.iter().filter_map(|gap| Gap::now(gap, of, now)).collect(), next: *next }
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
    /// Of what is missing: how it stands with fetching it from the camera's own storage. Of footage: `filled`, if it came from
    /// there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refill: Option<RefillStateWord>,
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
    /// `states`: ranges that were fetched, or are to be.
    pub(crate) fn new(
        camera: String,
        window: Range,
        parts: &[Part],
        states: &[(Range, RefillState)],
    ) -> Self {
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
            ranges: parts.iter().flat_map(|part| CoverageRange::of(part, states)).collect(),
        }
    }
}

impl CoverageRange {
    /// A part, cut where it begins or ends to be fetched.
    pub(crate) fn of(Part { range, fate }: &Part, states: &[(Range, RefillState)]) -> Vec<Self> {
        let (state, cause) = match fate {
            Fate::Recorded => (CoverageState::Recorded, None),
            Fate::Absent(Absence::NotWanted) => (CoverageState::NotWanted, None),
            Fate::Absent(Absence::Missing(cause)) => (CoverageState::Missing, Some(Word(*cause))),
            Fate::Unknown => (CoverageState::Unknown, None),
        };
        let concerns = |of: RefillState| match state {
            CoverageState::Recorded => of == RefillState::Filled,
            CoverageState::Missing => of != RefillState::Filled,
            CoverageState::NotWanted | CoverageState::Unknown => false,
        };
        let new = |from, to, refill: Option<RefillState>| Self {
            from: Time(from),
            to: Time(to),
            state,
            cause,
            refill: refill.map(Word),
        };
        let mut within: Vec<_> = states
            .iter()
            .filter(|(of, state)| concerns(*state) && of.from < range.to && of.to > range.from)
            .map(|(of, state)| (of.from.max(range.from), of.to.min(range.to), *state))
            .collect();
        within.sort_by_key(|(from, ..)| *from);
        let (mut ranges, mut at): (Vec<Self>, WallUs) = (Vec::new(), range.from);
        for (from, to, state) in within {
            match ranges.last_mut() {
                // One segment after the other.
                Some(last) if last.refill == Some(Word(state)) && from.0 - last.to.0.0 < JOIN_US => {
                    last.to = Time(last.to.0.max(to));
                }
                _ => {
                    if from > at {
                        ranges.push(new(at, from, None));
                    }
                    ranges.push(new(from.max(at), to, Some(state)));
                }
            }
            at = at.max(to);
        }
        if at < range.to {
            ranges.push(new(at, range.to, None));
        }
        ranges
    }
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "exact to the microsecond for 285 years")]
fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
