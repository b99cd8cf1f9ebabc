//! Where the frames of a replay belong, and which of them are taken: those of the missing time alone, each once, from keyframe
//! to keyframe. Whatever a camera sends, nothing lies over live footage.

use crate::{base::WallUs, model::timeline::Range};

/// Frames further apart than this have a hole between them: the recording begins anew after it.
const HOLE_US: i64 = 1_000_000;
/// Before two frames came, they are taken to come so often.
const FRAME_US: i64 = 40_000;
/// And never less often than this, when it is judged on which side of a border one lies.
const FRAME_MAX_US: i64 = 100_000;
/// The last frame ends so long before the range does: what a file says of its length is the interval before it, and intervals differ
/// by what a camera's times are rounded to.
const MARGIN_US: i64 = 1_000;
/// A range begins in the middle of a GOP, whose begin comes as well: GOPs are not longer than this.
const GOP_MAX_US: i64 = 15_000_000;
/// More frames than so many in a row that are not of the asked time: the camera sends something else.
pub const STRAY_MAX: u32 = 2_000;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is recorded.
    Take,
    /// It is recorded, and begins a recording of its own: something is missing before it.
    TakeAnew,
    /// It is not wanted.
    Leave,
    /// It is not wanted, and neither is what follows.
    Done,
}

/// What came so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Frames that were taken.
    pub taken: u64,
    /// The time of the first frame that came, on the host's clock, taken or not.
    pub first: Option<WallUs>,
    /// The time up to which frames were taken.
    pub upto: Option<WallUs>,
}

impl Placed {
    /// What came in place of what was asked for, if nothing was taken: the time of the first frame, if that is neither of this
    /// range nor of what a camera sends along with it.
    pub fn elsewhere(&self, range: Range) -> Option<WallUs> {
        let near = range.from.plus_us(-GOP_MAX_US)..=range.to.plus_us(HOLE_US);
        self.first.filter(|first| !near.contains(first))
    }
}

/// Places the frames of one replay, in the order of coming.
#[derive(Clone, Debug)]
pub struct Placer {
    range: Range,
    placed: Placed,
    /// The latest frame that was taken, and the last keyframe.
    latest: Option<WallUs>,
    key: Option<WallUs>,
    /// Nothing can be decoded before the next keyframe.
    waiting: bool,
    frame_us: i64,
    stray: u32,
}

impl Placer {
    /// For the time that is missing.
    pub fn new(range: Range) -> Self {
        Self {
            range,
            placed: Placed::default(),
            latest: None,
            key: None,
            waiting: true,
            frame_us: FRAME_US,
            stray: 0,
        }
    }

    /// What came so far.
    pub fn placed(&self) -> Placed {
        self.placed
    }

    /// A frame that was taken by the camera at `at`, on the host's clock. When it is recorded to have been, and what becomes of
    /// it: clocks agree to some milliseconds only, so what lies over a border by less than half a frame is moved to it.
    pub fn place(&mut self, at: WallUs, key: bool) -> (WallUs, Verdict) {
        let verdict = self.judge(at, key);
        let last = self.range.to.plus_us(-self.frame_us - MARGIN_US).max(self.range.from);
        (at.clamp(self.range.from, last), verdict)
    }

    /// The interval that this frame has in the file. One frame that is late is not moved as far as frames are that come seldom.
    fn interval_us(&self, at: WallUs) -> i64 {
        match self.latest {
            Some(latest) if !self.waiting && (1..=HOLE_US).contains(&(at.0 - latest.0)) => {
                (at.0 - latest.0).min(FRAME_MAX_US)
            }
            _ => self.frame_us,
        }
    }

    fn judge(&mut self, at: WallUs, key: bool) -> Verdict {
        self.placed.first.get_or_insert(at);
        let interval_us = self.interval_us(at);
        let half_us = interval_us / 2;
        if at.plus_us(half_us) > self.range.to {
            // A camera that sends the present in place of the past goes on for ever.
            return self.strayed(at >= self.range.to.plus_us(HOLE_US) || self.placed.taken > 0);
        }
        if at.plus_us(half_us) < self.range.from {
            return self.strayed(false);
        }
        let latest = self.latest;
        if key {
            if latest.is_some_and(|latest| at <= latest) {
                return self.strayed(false);
            }
            self.key = Some(at);
        } else {
            // Frames that are shown before others that came before them still lie after their keyframe.
            let after_key = self.key.is_some_and(|key| at > key);
            if !self.waiting && !after_key {
                return self.strayed(false);
            }
            self.waiting |= latest.is_some_and(|latest| at.0 - latest.0 > HOLE_US);
            if self.waiting {
                return Verdict::Leave;
            }
        }
        self.stray = 0;
        let anew = key && (self.waiting || latest.is_some_and(|latest| at.0 - latest.0 > HOLE_US));
        self.frame_us = interval_us;
        self.waiting = false;
        self.latest = Some(latest.map_or(at, |latest| latest.max(at)));
        self.placed.taken += 1;
        self.placed.upto = self.latest.map(|latest| latest.plus_us(self.frame_us));
        if anew && self.placed.taken > 1 { Verdict::TakeAnew } else { Verdict::Take }
    }

    /// A frame is left out, and with it all up to the next keyframe.
    fn strayed(&mut self, is_the_end: bool) -> Verdict {
        self.waiting = true;
        self.stray += 1;
        if is_the_end || self.stray > STRAY_MAX { Verdict::Done } else { Verdict::Leave }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn ms(ms: i64) -> WallUs {
        WallUs(ms * 1_000)
    }

    fn missing(from: i64, to: i64) -> Placer {
        Placer::new(Range { from: ms(from), to: ms(to) })
    }

    /// 25 frames a second, a keyframe each second; those in this range of frame numbers.
    fn run(placer: &mut Placer, frames: std::ops::Range<i64>) -> Vec<Verdict> {
        frames.map(|n| placer.place(ms(n * 40), n % 25 == 0).1).collect()
    }

    #[test]
    fn what_is_missing_is_taken_from_its_first_keyframe_on_and_nothing_else() {
        // From the middle of a GOP to the middle of another.
        let mut placer = missing(1_400, 4_600);
        let verdicts = run(&mut placer, 25..200);
        let taken: Vec<i64> =
            (25..).zip(&verdicts).filter(|(_, of)| **of == Verdict::Take).map(|(n, _)| n).collect();
        assert_eq!(taken, (50..115).collect::<Vec<_>>());
        assert_eq!(verdicts[115 - 25], Verdict::Done);
        let Placed { taken, first, upto } = placer.placed();
        assert_eq!((taken, first, upto), (65, Some(ms(1_000)), Some(ms(4_600))));
    }

    #[test]
    fn after_a_hole_the_recording_begins_anew_with_a_keyframe() {
        let mut placer = missing(0, 20_000);
        run(&mut placer, 0..60);
        let after = run(&mut placer, 160..200);
        assert_eq!(after[..15], [Verdict::Leave; 15]);
        assert_eq!(after[15..17], [Verdict::TakeAnew, Verdict::Take]);
    }

    #[test]
    fn another_time_than_asked_is_given_up() {
        let (hour, mut past) = (3_600_000, missing(3_700_000, 3_800_000));
        let verdicts = run(&mut past, 0..3_000);
        assert_eq!(verdicts.iter().position(|of| *of == Verdict::Done), Some(STRAY_MAX as usize));
        assert_eq!(past.placed().taken, 0);
        let mut present = missing(1_000, 2_000);
        assert_eq!(present.place(ms(hour), true).1, Verdict::Done);
        assert_eq!(present.placed().taken, 0);
    }

    #[test]
    fn reordered_frames_are_taken_and_frames_that_come_twice_are_not() {
        let mut placer = missing(0, 10_000);
        // I P B B P B B, by their times of showing.
        let shown =
            [(0, true), (120, false), (40, false), (80, false), (240, false), (160, false), (200, false)];
        for (at, key) in shown {
            assert_eq!(placer.place(ms(at), key).1, Verdict::Take, "{at}");
        }
        assert_eq!(placer.place(ms(0), true).1, Verdict::Leave, "again");
        assert_eq!(placer.place(ms(40), false).1, Verdict::Leave);
        assert_eq!(placer.place(ms(280), true).1, Verdict::TakeAnew);
    }

    #[test]
    fn a_frame_at_the_border_moves_by_less_than_half_its_interval_however_unevenly_frames_come() {
        for (before, last) in [(40, 120), (120, 40), (33, 66), (20, 90), (100, 20), (40, 900), (500, 40)] {
            for at in 9_000..10_200 {
                let mut placer = missing(0, 10_000);
                placer.place(ms(at - last - before), true);
                placer.place(ms(at - last), false);
                let (placed, verdict) = placer.place(ms(at), false);
                if verdict != Verdict::Take {
                    assert!(at + FRAME_MAX_US / 2_000 > 10_000, "{at} is inside, {before} {last}");
                    continue;
                }
                let half_us = (last * 1_000).min(FRAME_MAX_US) / 2;
                assert!(
                    (placed.0 - at * 1_000).abs() <= half_us + MARGIN_US,
                    "{at} {before} {last}: {placed:?}"
                );
                assert!(placed.0 + 2 * half_us < 10_000_000, "{at} {before} {last}: {placed:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_lies_outside_or_twice(frames in vec((0i64..400, any::<bool>()), 0..400)) {
            let mut placer = missing(2_000, 12_000);
            let (mut keys, mut begun) = (Vec::new(), false);
            for (n, key) in frames {
                let at = ms(n * 40);
                match placer.place(at, key) {
                    (placed, Verdict::Take | Verdict::TakeAnew) => {
                        prop_assert!(placed >= ms(2_000) && placed < ms(12_000), "{placed:?}");
                        prop_assert!((placed.0 - at.0).abs() <= FRAME_MAX_US / 2);
                        prop_assert!(begun || key, "it begins with a keyframe");
                        begun = true;
                        if key {
                            prop_assert!(keys.last().is_none_or(|last| *last < at));
                            keys.push(at);
                        }
                    }
                    (_, Verdict::Leave) => {}
                    (_, Verdict::Done) => break,
                }
            }
        }
    }
}
