//! From segments to ranges of recorded time.

use crate::base::WallUs;

/// Holes shorter than this are closed on a strip: neighbouring segments of one run meet to within a frame or two.
pub const JOIN_US: i64 = 1_000_000;

/// A stretch of time, `from` included, `to` not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where it begins.
    pub from: WallUs,
    /// Where it ends.
    pub to: WallUs,
}

/// Joins recorded stretches, given in order of their start, and cuts them to `window`.
pub fn joined(stretches: impl IntoIterator<Item = Range>, window: Range) -> Vec<Range> {
    let mut out: Vec<Range> = Vec::new();
    for Range { from, to } in stretches {
        let (from, to) = (from.max(window.from), to.min(window.to));
        match out.last_mut() {
            _ if to <= from => {}
            Some(last) if from.0 - last.to.0 < JOIN_US => last.to = last.to.max(to),
            _ => out.push(Range { from, to }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(from: i64, to: i64) -> Range {
        Range { from: WallUs(from * 100_000), to: WallUs(to * 100_000) }
    }

    #[test]
    fn neighbours_join_and_holes_stay() {
        let parts = [range(-5, 10), range(11, 20), range(40, 50), range(55, 99)];
        assert_eq!(joined(parts, range(0, 60)), [range(0, 20), range(40, 60)]);
        assert_eq!(joined([range(0, 10)], range(20, 30)), []);
    }

    proptest! {
        #[test]
        fn ranges_are_ordered_apart_and_inside(starts in proptest::collection::vec((0i64..500, 0i64..80), 0..40),
                                               end in 1i64..600) {
            let mut parts: Vec<Range> = starts.iter().map(|(from, len)| range(*from, from + len)).collect();
            parts.sort_by_key(|part| part.from);
            let window = range(0, end);
            let ranges = joined(parts.iter().copied(), window);
            prop_assert!(ranges.iter().all(|r| r.from < r.to && r.from >= window.from && r.to <= window.to));
            prop_assert!(ranges.windows(2).all(|pair| pair[1].from.0 - pair[0].to.0 >= JOIN_US));
            for part in parts.iter().filter(|part| part.from < part.to && part.from < window.to) {
                prop_assert!(ranges.iter().any(|r| r.from <= part.from && part.to.min(window.to) <= r.to));
            }
        }
    }
}
