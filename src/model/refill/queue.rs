//! Which gaps are to be fetched, and what became of those that were.

use crate::{
    base::WallUs,
    model::{
        camera::words,
        ledger::{Absence, Cause, Gap},
    },
};

/// Nothing shorter is fetched: a camera answers in whole GOPs, and what is left at a gap's begin is less than one.
pub const LEAST_US: i64 = 1_000_000;

/// How it stands with a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefillState {
    /// It waits for its turn.
    Pending,
    /// It is being fetched.
    Filling,
    /// It was tried as often as it may be.
    Failed,
    /// It is none any more: there is footage from the camera's own storage.
    Filled,
}

words!(RefillState { Pending = "pending", Filling = "filling", Failed = "failed", Filled = "filled" });

/// What was tried of a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// So often.
    pub attempts: u32,
    /// Why the last attempt did not bring all.
    pub reason: Option<String>,
    /// Not again before this.
    pub next: WallUs,
}

/// Whether the camera may have what is missing: what lies between it and the disk was not the disk, nor the operator.
pub fn is_fetchable(cause: Cause) -> bool {
    match cause {
        Cause::CameraOffline | Cause::Stalled | Cause::Auth | Cause::NoKeyframe | Cause::ServiceDown => true,
        Cause::DiskFull | Cause::DiskError | Cause::Clock | Cause::Operator => false,
    }
}

/// How it stands with a gap; `None`, if it is not to be fetched at all: it goes on, is too short or too old, or the camera
/// cannot have it. `least_us` is what a camera of long GOPs cannot answer with; it is tried `most` times.
pub fn state(gap: &Gap, oldest: WallUs, least_us: i64, most: u32) -> Option<RefillState> {
    let (Absence::Missing(cause), Some(to)) = (gap.stretch.absence, gap.stretch.to) else { return None };
    let length_us = to.0 - gap.stretch.from.0;
    if !is_fetchable(cause) || length_us < least_us.max(LEAST_US) || gap.stretch.from < oldest {
        return None;
    }
    Some(if gap.tried.attempts < most { RefillState::Pending } else { RefillState::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ledger::Stretch;

    #[test]
    fn only_what_a_camera_may_have_is_fetched_and_not_for_ever() {
        let gap = |cause, from: i64, to: Option<i64>| Gap {
            id: 1,
            camera: "front".parse().unwrap(),
            stretch: Stretch {
                from: WallUs(from * 1_000_000),
                to: to.map(|to| WallUs(to * 1_000_000)),
                absence: Absence::Missing(cause),
            },
            tried: Tried::default(),
        };
        let of = |gap: &Gap, attempts| {
            let tried = Tried { attempts, ..Tried::default() };
            state(&Gap { tried, ..gap.clone() }, WallUs(100_000_000), 0, 3)
        };
        let offline = gap(Cause::CameraOffline, 200, Some(300));
        assert_eq!(of(&offline, 0), Some(RefillState::Pending));
        assert_eq!(of(&offline, 2), Some(RefillState::Pending));
        assert_eq!(of(&offline, 3), Some(RefillState::Failed));
        assert_eq!(of(&gap(Cause::CameraOffline, 200, None), 0), None, "it goes on");
        let short = gap(Cause::CameraOffline, 200, Some(201));
        assert_eq!(state(&short, WallUs(0), 1_040_000, 3), None, "too short");
        assert_eq!(of(&gap(Cause::CameraOffline, 99, Some(300)), 0), None, "too old");
        assert_eq!(of(&gap(Cause::DiskFull, 200, Some(300)), 0), None);
        assert_eq!(of(&gap(Cause::Operator, 200, Some(300)), 0), None);
    }
}
