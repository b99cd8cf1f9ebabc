//! Where a run's timeline stands in UTC, while the host's clock may be set at any moment.
//!
//! A run is anchored to the host's clock when it begins. Within it, time is the camera's, so a step of the host's clock
//! neither cuts the recording nor lays footage over footage. Where a segment begins, the anchor is looked at again: a
//! clock that was set forward is followed there, and what lies between was never, which is told; a clock that was set
//! back, or is only steered, is approached slowly. A run never begins before the end of the one before. Only footage that
//! is more than a day ahead was dated by a clock that was wrong, and is not waited for.

use super::pace;
use crate::base::WallUs;

/// Nearer than this is near enough: segments then meet exactly.
const NEAR_US: i64 = 5_000;
/// A clock that is this much ahead was set; less is steering.
const STEP_US: i64 = 1_000_000;
/// Footage that is further in the future than this was dated by a wrong clock.
const WRONG_US: i64 = 24 * 3_600_000_000;

/// The anchor of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// UTC of the timeline's zero.
    zero: WallUs,
    /// Where on the timeline it was looked at last, in microseconds.
    looked_us: i64,
}

/// Time that the host's clock passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// What it would be without it.
    pub from: WallUs,
    /// What it is.
    pub to: WallUs,
}

impl Anchor {
    /// For a run whose first frame came at `now`, which is `at_us` of its timeline. `reached` is where the footage before
    /// ends.
    pub fn new(now: WallUs, at_us: i64, reached: Option<WallUs>) -> Self {
        let begin = reached.filter(|reached| *reached > now && reached.0 - now.0 <= WRONG_US).unwrap_or(now);
        Self { zero: begin.plus_us(-at_us), looked_us: at_us }
    }

    /// UTC of a time of the timeline, in microseconds.
    pub fn wall(&self, at_us: i64) -> WallUs {
        self.zero.plus_us(at_us)
    }

    /// A segment begins at `begins_us`; it is `now`, and the timeline has come to `at_us`.
    pub fn look(&mut self, now: WallUs, at_us: i64, begins_us: i64) -> Option<Jump> {
        let ahead_us = now.0 - self.wall(at_us).0;
        let passed_us = at_us - std::mem::replace(&mut self.looked_us, at_us);
        let from = self.wall(begins_us);
        if ahead_us < -WRONG_US {
            self.zero = self.zero.plus_us(ahead_us);
            return None;
        }
        if ahead_us < STEP_US {
            let most_us = pace::slew(passed_us.max(0));
            let near = ahead_us.abs() < NEAR_US;
            self.zero = self.zero.plus_us(if near { 0 } else { ahead_us.clamp(-most_us, most_us) });
            return None;
        }
        self.zero = self.zero.plus_us(ahead_us);
        Some(Jump { from, to: self.wall(begins_us) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;
    const NOON: WallUs = WallUs(1_800_000_000 * SECOND);

    #[test]
    fn a_clock_set_forward_is_followed_where_a_segment_begins() {
        let mut anchor = Anchor::new(NOON, 10 * SECOND, None);
        assert_eq!(anchor.wall(70 * SECOND), NOON.plus_us(60 * SECOND));
        let jump = anchor.look(NOON.plus_us(3660 * SECOND), 70 * SECOND, 70 * SECOND).unwrap();
        assert_eq!((jump.from, jump.to), (NOON.plus_us(60 * SECOND), NOON.plus_us(3660 * SECOND)));
        assert_eq!(anchor.wall(71 * SECOND), NOON.plus_us(3661 * SECOND));
        assert_eq!(anchor.look(NOON.plus_us(3720 * SECOND), 130 * SECOND, 130 * SECOND), None);
    }

    #[test]
    fn a_clock_set_back_lays_nothing_over_what_there_is() {
        let mut anchor = Anchor::new(NOON, 0, None);
        let (mut at, mut end) = (0, NOON);
        for _ in 0..600 {
            at += 60 * SECOND;
            assert_eq!(anchor.look(NOON.plus_us(at - 3600 * SECOND), at, at), None);
            // A fraction of a frame each minute.
            assert!(anchor.wall(at).0 >= end.0 + 60 * SECOND - 30_000);
            end = anchor.wall(at);
        }
        assert!(anchor.wall(at).0 - (NOON.0 + at) <= -17 * SECOND, "it approaches");
        assert_eq!(anchor.look(NOON.plus_us(at - 2 * WRONG_US), at, at), None);
        assert_eq!(anchor.wall(at), NOON.plus_us(at - 2 * WRONG_US), "more than a day was a mistake");
        let next = Anchor::new(NOON.plus_us(at - 3600 * SECOND), 0, Some(end));
        assert_eq!(next.wall(0), end, "the next run begins where this one ended");
        let wrong = Anchor::new(NOON, 0, Some(NOON.plus_us(365 * WRONG_US)));
        assert_eq!(wrong.wall(0), NOON, "a year ahead was a mistake");
    }

    proptest! {
        #[test]
        fn segments_stay_in_order_whatever_the_clock_does(steps in proptest::collection::vec(
            (-40_000_000_000i64..40_000_000_000, 2i64..120), 1..50)) {
            let mut anchor = Anchor::new(NOON, 0, None);
            let (mut at, mut last) = (0, anchor.wall(0));
            for (off, length) in steps {
                at += length * SECOND;
                let jump = anchor.look(NOON.plus_us(at + off), at, at);
                let start = anchor.wall(at);
                prop_assert!(start.0 - last.0 >= length * SECOND - pace::slew(length * SECOND));
                prop_assert!(jump.is_none_or(|jump| jump.from < jump.to && jump.to == start));
                last = start;
            }
        }
    }
}
