//! Decoding times for streams whose frames come in another order than they are shown (B-frames). RTP carries only the
//! time of showing (RFC 6184, 5.1); an MP4 file needs both.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// Deepest reordering that H.264 and H.265 allow (H.264 A.3.1 `MaxDpbFrames`, H.265 A.4.2 `MaxDpbSize`), in frames.
const DEEPEST: usize = 16;
/// Least distance between decoding times, in nanoseconds: one tick of the file's clock is 11 µs.
const LEAST_NS: i64 = 100_000;

/// Finds out how deep a stream reorders: how many frames at most come before one that is shown before them.
#[derive(Clone, Debug, Default)]
pub struct Depth {
    seen: VecDeque<i64>,
    depth: usize,
}

impl Depth {
    /// Notes the next frame in the order of coming; gives the depth so far.
    pub fn see(&mut self, shown_ns: i64) -> usize {
        let before = self.seen.iter().filter(|other| **other > shown_ns).count();
        self.depth = self.depth.max(before);
        if self.seen.len() == DEEPEST {
            self.seen.pop_front();
        }
        self.seen.push_back(shown_ns);
        self.depth
    }

    /// What is to come is not shown before what came: the stream's timeline jumped.
    pub fn forget(&mut self) {
        self.seen.clear();
    }
}

/// Gives decoding times: the times of showing, sorted, each so many frames late that none is after its own showing.
#[derive(Clone, Debug)]
pub struct Decoding {
    depth: usize,
    waiting: BinaryHeap<Reverse<i64>>,
    last_ns: Option<i64>,
    interval_ns: i64,
}

impl Decoding {
    /// For a stream that reorders `depth` deep, with about `interval_ns` between its frames.
    pub fn new(depth: usize, interval_ns: i64) -> Self {
        Self { depth: depth.min(DEEPEST), waiting: BinaryHeap::new(), last_ns: None, interval_ns }
    }

    /// The decoding time of the next frame in the order of coming: always later than the one before.
    pub fn time(&mut self, shown_ns: i64) -> i64 {
        self.waiting.push(Reverse(shown_ns));
        let at_ns = if self.waiting.len() > self.depth {
            self.waiting.pop().map_or(shown_ns, |Reverse(at)| at)
        } else {
            // The first few have nothing before them to be late by.
            let early = i64::try_from(self.depth + 1 - self.waiting.len()).unwrap_or(0);
            self.waiting.peek().map_or(shown_ns, |Reverse(first)| *first) - early * self.interval_ns
        };
        let at_ns = self.last_ns.map_or(at_ns, |last| at_ns.max(last + LEAST_NS));
        self.last_ns = Some(at_ns);
        at_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME_NS: i64 = 40_000_000;

    #[test]
    fn pyramids_and_plain_streams_are_told_apart() {
        let order = |frames: &[i64]| {
            let mut depth = Depth::default();
            frames.iter().map(|n| depth.see(n * FRAME_NS)).max()
        };
        assert_eq!(order(&[0, 1, 2, 3]), Some(0));
        assert_eq!(order(&[0, 3, 1, 2, 6, 4, 5]), Some(1));
        assert_eq!(order(&[0, 4, 2, 1, 3, 8, 6, 5, 7]), Some(2));
    }

    #[test]
    fn without_reordering_both_times_are_one() {
        let mut decoding = Decoding::new(0, FRAME_NS);
        assert!((0..100).all(|n| decoding.time(n * FRAME_NS) == n * FRAME_NS));
    }

    #[test]
    fn no_frame_is_decoded_after_it_is_shown() {
        let order = [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11];
        let mut decoding = Decoding::new(2, FRAME_NS);
        let times: Vec<i64> = order.iter().map(|n| decoding.time(n * FRAME_NS)).collect();
        assert!(times.iter().zip(order).all(|(at, n)| *at <= n * FRAME_NS), "{times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == FRAME_NS), "{times:?}");
    }

    proptest! {
        #[test]
        fn whatever_comes_time_goes_on(times in proptest::collection::vec(0i64..1_000_000_000, 1..200), depth in 0usize..40) {
            let mut decoding = Decoding::new(depth, FRAME_NS);
            let times: Vec<i64> = times.into_iter().map(|at| decoding.time(at)).collect();
            prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
