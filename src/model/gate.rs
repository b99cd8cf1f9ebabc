//! The gate before a recording: what of a stream goes on to the disk, and what is kept in memory meanwhile.
//!
//! Whole GOPs are kept, because a recording begins with a keyframe. While nothing is recorded, the gate keeps as many as
//! the pre-roll asks for; when recording begins they go first. It ends at a keyframe, and that keyframe is the first
//! that is kept for the next time: nothing is lost or doubled between two recordings.

use std::collections::VecDeque;

/// A keyframe this much before the limit is due: frames jitter by fractions of a millisecond, and a segment must not
/// become a GOP longer for that. In nanoseconds.
const CUT_TOLERANCE_NS: i64 = 20_000_000;

/// What is wanted of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Keep the last so many nanoseconds.
    Keep {
        /// Pre-roll.
        pre_roll_ns: i64,
    },
    /// Record, from the keyframe at or before this time of the timeline, or from the oldest there is.
    Record {
        /// Where.
        from_ns: i64,
    },
    /// Record everything.
    #[default]
    All,
}

/// What the gate needs to know at each frame.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What is wanted.
    pub wish: Wish,
    /// Length of a segment; it is cut at the first keyframe at or after this.
    pub segment_ns: i64,
    /// Number of the present set of tracks: at the keyframe where it is another, the recording begins anew.
    pub tracks: u32,
    /// Whether recording may begin: what tracks there are is known.
    pub settled: bool,
    /// Whether a cut is wanted at the next keyframe, whatever the limit says.
    pub cut: bool,
    /// So many bytes may be kept.
    pub bytes_max: usize,
}

/// A frame at the gate.
#[derive(Clone, Debug)]
pub struct Frame<T> {
    /// Whether it is a keyframe.
    pub key: bool,
    /// When it is to be shown, in nanoseconds of the timeline.
    pub at_ns: i64,
    /// Its size in bytes.
    pub bytes: usize,
    /// Number of its parameters: at the keyframe where it is another, a segment begins.
    pub parameters: u32,
    /// Whatever it carries.
    pub unit: T,
}

/// What comes out of the gate, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// A recording begins; the next frame is a keyframe.
    Begin,
    /// A segment ends and another begins with the next frame, a keyframe.
    Cut,
    /// A frame of the recording.
    Pass(T),
    /// The recording is over.
    End,
}

/// The gate of one session.
#[derive(Debug)]
pub struct Gate<T> {
    /// Begins with a keyframe unless something is being recorded.
    frames: VecDeque<Frame<T>>,
    bytes: usize,
    open: Option<Open>,
    short: bool,
}

/// Of the recording under way.
#[derive(Clone, Copy, Debug)]
struct Open {
    tracks: u32,
    parameters: u32,
    /// Where its present segment began.
    began_ns: i64,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self { frames: VecDeque::new(), bytes: 0, open: None, short: false }
    }
}

impl<T> Gate<T> {
    /// Takes the next frame, in the order of decoding, and gives what goes on now. A cut that was wanted is made if any of
    /// the steps is [`Step::Cut`] or [`Step::Begin`].
    pub fn take(&mut self, frame: Frame<T>, rules: &Rules, out: &mut Vec<Step<T>>) {
        // Most sessions begin in mid-GOP, and nothing can be decoded before a keyframe.
        if self.open.is_none() && self.frames.is_empty() && !frame.key {
            return;
        }
        self.bytes += frame.bytes;
        self.frames.push_back(frame);
        self.proceed(rules, out);
    }

    /// Gives out what can go on now: the wish may have changed since the last frame.
    pub fn proceed(&mut self, rules: &Rules, out: &mut Vec<Step<T>>) {
        let record = !matches!(rules.wish, Wish::Keep { .. });
        let mut cut = rules.cut;
        if self.open.is_none() && record && rules.settled && !self.frames.is_empty() {
            if let Wish::Record { from_ns } = rules.wish {
                self.forget_before(from_ns);
            }
            self.begin(rules, out);
            cut = false;
        }
        while let (Some(open), Some(front)) = (&mut self.open, self.frames.front()) {
            let Frame { key, at_ns, parameters, .. } = *front;
            if key && !record {
                self.open = None;
                out.push(Step::End);
                break;
            }
            if key && open.tracks != rules.tracks {
                out.push(Step::End);
                self.begin(rules, out);
                cut = false;
            } else if key && at_ns != open.began_ns {
                let due = at_ns + CUT_TOLERANCE_NS >= open.began_ns + rules.segment_ns;
                if due || cut || open.parameters != parameters {
                    (open.began_ns, open.parameters) = (at_ns, parameters);
                    out.push(Step::Cut);
                    cut = false;
                }
            }
            if let Some(frame) = self.frames.pop_front() {
                self.bytes -= frame.bytes;
                out.push(Step::Pass(frame.unit));
            }
        }
        self.trim(rules);
    }

    /// Nothing more comes: gives out everything that is to be recorded, and ends the recording.
    pub fn finish(&mut self, rules: &Rules, out: &mut Vec<Step<T>>) {
        self.proceed(&Rules { settled: true, ..*rules }, out);
        if self.open.take().is_some() {
            out.push(Step::End);
        }
    }

    /// When the oldest frame that is kept is shown.
    pub fn oldest_ns(&self) -> Option<i64> {
        self.frames.front().map(|frame| frame.at_ns)
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How far back the kept frames reach, in nanoseconds.
    pub fn reach_ns(&self) -> i64 {
        let ends = self.frames.front().zip(self.frames.back());
        ends.map_or(0, |(first, last)| last.at_ns - first.at_ns)
    }

    /// Whether the bytes allowed did not suffice for the pre-roll the last time that something had to go.
    pub fn is_short(&self) -> bool {
        self.short
    }

    fn begin(&mut self, rules: &Rules, out: &mut Vec<Step<T>>) {
        if let Some(&Frame { at_ns, parameters, .. }) = self.frames.front() {
            self.open = Some(Open { tracks: rules.tracks, parameters, began_ns: at_ns });
            out.push(Step::Begin);
        }
    }

    /// Forgets the GOPs that end before `at_ns`.
    fn forget_before(&mut self, at_ns: i64) {
        while let Some(next) = self.next_keyframe()
            && self.frames[next].at_ns <= at_ns
        {
            self.forget(next);
        }
    }

    fn trim(&mut self, rules: &Rules) {
        if self.open.is_some() {
            return;
        }
        if let (Wish::Keep { pre_roll_ns }, Some(last)) = (rules.wish, self.frames.back()) {
            let oldest_ns = last.at_ns - pre_roll_ns;
            self.forget_before(oldest_ns);
            self.short &= self.reach_ns() < pre_roll_ns;
        }
        while self.bytes > rules.bytes_max {
            self.short = true;
            self.forget(self.next_keyframe().unwrap_or(self.frames.len()));
        }
    }

    /// Where the second GOP begins.
    fn next_keyframe(&self) -> Option<usize> {
        self.frames.iter().skip(1).position(|frame| frame.key).map(|at| at + 1)
    }

    fn forget(&mut self, count: usize) {
        self.bytes -= self.frames.drain(..count).map(|frame| frame.bytes).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    fn rules(wish: Wish) -> Rules {
        let segment_ns = 60 * SECOND;
        Rules { wish, segment_ns, tracks: 0, settled: true, cut: false, bytes_max: usize::MAX }
    }

    fn frame(n: i64, gop: i64) -> Frame<i64> {
        Frame { key: n % gop == 0, at_ns: n * SECOND, bytes: 100, parameters: 0, unit: n }
    }

    /// One frame a second, `gop` of them a GOP; what comes out of each.
    fn run(gate: &mut Gate<i64>, frames: std::ops::Range<i64>, gop: i64, rules: Rules) -> Vec<Step<i64>> {
        let mut out = Vec::new();
        frames.for_each(|n| gate.take(frame(n, gop), &rules, &mut out));
        out
    }

    fn passed(steps: &[Step<i64>]) -> Vec<i64> {
        steps.iter().filter_map(|step| if let Step::Pass(n) = step { Some(*n) } else { None }).collect()
    }

    #[test]
    fn a_trigger_gives_the_pre_roll_from_its_keyframe_on_and_the_end_is_at_a_keyframe() {
        let mut gate = Gate::default();
        let keep = rules(Wish::Keep { pre_roll_ns: 10 * SECOND });
        assert_eq!(run(&mut gate, 1..50, 4, keep), []);
        // The keyframe at or before 49 - 10 is 36.
        assert_eq!(gate.reach_ns(), 13 * SECOND);
        let steps = run(&mut gate, 50..52, 4, rules(Wish::Record { from_ns: 40 * SECOND }));
        assert_eq!(steps[0], Step::Begin);
        assert_eq!(passed(&steps), (40..52).collect::<Vec<_>>());
        let steps = run(&mut gate, 52..55, 4, rules(Wish::All));
        assert_eq!(passed(&steps), [52, 53, 54]);
        let steps = run(&mut gate, 55..58, 4, keep);
        assert_eq!(steps, [Step::Pass(55), Step::End]);
        // The next trigger goes on where this one ended.
        let steps = run(&mut gate, 58..60, 4, rules(Wish::Record { from_ns: 0 }));
        assert_eq!(passed(&steps), [56, 57, 58, 59]);
    }

    #[test]
    fn segments_are_cut_where_they_are_due_or_changed() {
        let mut gate = Gate::default();
        let mut all = Rules { segment_ns: 8 * SECOND, ..rules(Wish::All) };
        let cuts = |steps: &[Step<i64>]| {
            let mut at = Vec::new();
            for pair in steps.windows(2) {
                if let (Step::Cut | Step::Begin, Step::Pass(n)) = (&pair[0], &pair[1]) {
                    at.push(*n);
                }
            }
            at
        };
        assert_eq!(cuts(&run(&mut gate, 2..30, 4, all)), [4, 12, 20, 28]);
        all.cut = true;
        assert_eq!(cuts(&run(&mut gate, 30..33, 4, all)), [32]);
        all.cut = false;
        let mut out = Vec::new();
        gate.take(Frame { parameters: 1, ..frame(33, 4) }, &all, &mut out);
        gate.take(Frame { parameters: 1, ..frame(36, 4) }, &all, &mut out);
        assert_eq!(cuts(&out), [36]);
        all.tracks = 1;
        gate.take(Frame { parameters: 1, ..frame(40, 4) }, &all, &mut out);
        assert_eq!(out[out.len() - 3..], [Step::End, Step::Begin, Step::Pass(40)]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_it_is_said() {
        let mut gate = Gate::default();
        let keep = Rules { bytes_max: 1000, ..rules(Wish::Keep { pre_roll_ns: 20 * SECOND }) };
        run(&mut gate, 0..40, 4, keep);
        assert!(gate.bytes() <= 1000 && gate.is_short());
        // A GOP that is larger than what is allowed is not kept at all.
        run(&mut gate, 40..60, 1000, keep);
        assert!(gate.bytes() <= 1000);
        let enough = Rules { bytes_max: 10_000, ..keep };
        run(&mut gate, 60..100, 4, enough);
        assert!(!gate.is_short());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_between_the_first_and_the_last_of_a_recording(
            wishes in proptest::collection::vec((0i64..30, any::<bool>(), any::<bool>(), 0u32..2), 1..20),
            gop in 1i64..9) {
            let mut gate = Gate::default();
            let (mut n, mut out) = (0, Vec::new());
            for (count, record, settled, tracks) in wishes {
                let wish = if record { Wish::Record { from_ns: (n - 5) * SECOND } }
                    else { Wish::Keep { pre_roll_ns: 5 * SECOND } };
                let rules = Rules { settled, tracks, segment_ns: 7 * SECOND, ..rules(wish) };
                for _ in 0..count {
                    gate.take(frame(n, gop), &rules, &mut out);
                    n += 1;
                }
            }
            gate.finish(&rules(Wish::Keep { pre_roll_ns: 0 }), &mut out);
            let numbers = passed(&out);
            prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
            let (mut open, mut expected) = (false, None);
            for step in out {
                match step {
                    Step::Begin => { prop_assert!(!open); open = true; expected = None; }
                    Step::Cut => prop_assert!(open),
                    Step::End => { prop_assert!(open); open = false; }
                    Step::Pass(n) => {
                        prop_assert!(open);
                        prop_assert!(expected.map_or(n % gop == 0, |expected| expected == n));
                        expected = Some(n + 1);
                    }
                }
            }
            prop_assert!(!open);
        }
    }
}
