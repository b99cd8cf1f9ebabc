//! How the mirror is, and what may be copied from one volume to the other.

use std::time::Duration;

use super::{
    camera::words,
    retention::{Limits, Room},
};
use crate::base::WallUs;

/// What waits longer to be written is behind.
const BEHIND: Duration = Duration::from_secs(3);
/// And is well again below this, so that it does not flicker.
const CAUGHT_UP: Duration = Duration::from_secs(1);
/// A write that takes so long hangs.
const HANGS: Duration = Duration::from_secs(15);
const HOUR_US: i64 = 3_600_000_000;

/// How the mirror is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirrorState {
    /// It has what it should.
    #[default]
    Ok,
    /// It takes what comes, later than it should.
    Behind,
    /// It does not take what comes.
    Degraded,
    /// It takes what comes, and what it lacks is being copied.
    Resyncing,
}

words!(MirrorState { Ok = "ok", Behind = "behind", Degraded = "degraded", Resyncing = "resyncing" });

/// How it is now. `failing`: it refuses what is written, or is not there; `lag`: for how long what is being written waits;
/// `due`: so many segments it lacks.
pub fn mirror_state(before: MirrorState, failing: bool, lag: Duration, due: u64) -> MirrorState {
    let behind = if before == MirrorState::Behind { CAUGHT_UP } else { BEHIND };
    if failing || lag >= HANGS {
        MirrorState::Degraded
    } else if lag >= behind {
        MirrorState::Behind
    } else if due > 0 {
        MirrorState::Resyncing
    } else {
        MirrorState::Ok
    }
}

/// A segment that might be copied to a volume.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Size of its file.
    pub bytes: u64,
    /// The end of its last frame.
    pub end: WallUs,
    /// Whether it is newer than the oldest of its camera that the volume has.
    pub newer: bool,
}

/// What a volume has.
#[derive(Clone, Copy, Debug)]
pub struct Having {
    /// How much of it is to stay free.
    pub room: Room,
    /// How much is free.
    pub free_bytes: u64,
    /// No more bytes in all.
    pub max_bytes: Option<u64>,
    /// What it has in all.
    pub all_bytes: u64,
    /// What it has of this camera.
    pub camera_bytes: u64,
    /// What the camera may keep.
    pub limits: Limits,
    /// Now.
    pub now: WallUs,
}

/// Whether retention would let the segment stay for a while, so that it is worth copying. For one that is newer than what
/// the volume has, older ones make room; one that is older needs room that nobody else will soon need, or it would come
/// and go for ever.
pub fn is_admitted(offer: Offer, having: Having) -> bool {
    let Having { room, free_bytes, max_bytes, all_bytes, camera_bytes, limits, now } = having;
    let left = free_bytes.saturating_sub(offer.bytes);
    let fits = if offer.newer { left >= room.floor } else { left >= room.floor + 2 * room.headroom };
    let within =
        |limit: Option<u64>, has: u64| offer.newer || limit.is_none_or(|limit| has + offer.bytes <= limit);
    let young =
        limits.retention_hours.is_none_or(|hours| offer.end > now.plus_us(-i64::from(hours) * HOUR_US));
    fits && young && within(max_bytes, all_bytes) && within(limits.quota_bytes, camera_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_behind_until_it_has_caught_up_and_degraded_when_it_hangs() {
        use MirrorState::{Behind, Degraded, Ok, Resyncing};
        let s = Duration::from_secs;
        assert_eq!(mirror_state(Ok, false, s(2), 0), Ok);
        assert_eq!(mirror_state(Ok, false, s(4), 9), Behind);
        assert_eq!(mirror_state(Behind, false, s(2), 9), Behind);
        assert_eq!(mirror_state(Behind, false, s(0), 9), Resyncing);
        assert_eq!(mirror_state(Resyncing, false, s(0), 0), Ok);
        assert_eq!(mirror_state(Behind, false, s(15), 0), Degraded);
        assert_eq!(mirror_state(Ok, true, s(0), 0), Degraded);
    }

    #[test]
    fn what_would_go_again_at_once_is_not_copied() {
        let room = Room { floor: 100, headroom: 20 };
        let limits = Limits { retention_hours: Some(1), quota_bytes: Some(500) };
        let now = WallUs(10 * HOUR_US);
        let having = Having {
            room,
            free_bytes: 200,
            max_bytes: Some(1_000),
            all_bytes: 900,
            camera_bytes: 450,
            limits,
            now,
        };
        let offer = Offer { bytes: 40, end: now, newer: false };
        assert!(is_admitted(offer, having));
        for (worse, newer_too) in [
            (Having { free_bytes: 170, ..having }, true),
            (Having { free_bytes: 120, ..having }, false),
            (Having { all_bytes: 970, ..having }, true),
            (Having { camera_bytes: 470, ..having }, true),
            (Having { now: WallUs(12 * HOUR_US), ..having }, false),
        ] {
            assert!(!is_admitted(offer, worse), "{worse:?}");
            assert_eq!(is_admitted(Offer { newer: true, ..offer }, worse), newer_too, "{worse:?}");
        }
    }
}
