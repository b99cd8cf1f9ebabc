//! How much moves in a scene, read from the sizes of its encoded frames: nothing is decoded for it.
//!
//! What an encoder spends on a frame that refers to others is what changed since them. So the level of a second is
//!
//! > `40 · log2(mean size of the frames of the last group of pictures / quiet size)`, within 0..=254,
//!
//! in which keyframes do not count. All of a group (of 1 to 4 s) is looked at, because frames grow with their distance from the
//! keyframe. The *quiet size* is the least that the stream took for three seconds of ten in the last minute and a half. So 40
//! is twice as much as in the quietest time, and a stream of another size or bit rate is measured rightly after ninety seconds
//! at the latest. A stream of keyframes alone is measured by them, four times as finely, for there each holds the whole picture.
//!
//! The scene is *active* from a level of [`ACTIVE`] on, or twice of that by which quiet time itself varies, if that is more; it
//! is *quiet* after [`HOLD_S`] seconds below [`QUIET`] (or 1.2 times of that). It is neither for the first [`WARM_UP_S`]
//! seconds, and while the encoder spends the same on everything (constant bit rate): its sizes tell nothing then. Times may jump
//! or be missing: what counts is seconds that had frames.

use crate::model::timeline::Range;

/// A level that says that nothing is known.
pub const UNKNOWN: u8 = 255;
/// From this level on, something moves.
pub const ACTIVE: f32 = 12.0;
/// Below this level, nothing does.
pub const QUIET: f32 = 8.0;
/// So many seconds below [`QUIET`] end what was active.
pub const HOLD_S: u32 = 5;
/// So many seconds are measured before anything is said.
pub const WARM_UP_S: u32 = 20;

const LEVEL_MAX: f32 = 254.0;
const PER_DOUBLING: f32 = 40.0;
/// Of keyframes: a picture in which much moves is hardly larger than one in which nothing does.
const PER_DOUBLING_KEYS: f32 = 160.0;
/// How many times that by which quiet time varies is movement, and how many times is not.
const MOVES: f32 = 2.0;
const RESTS: f32 = 1.2;
/// After so many keyframes in a row the stream is one of keyframes alone.
const KEYS_IN_ROW: u8 = 4;
/// With B-frames, what is shown earlier comes later; frames of a second come so many seconds late at most.
const LATE_S: i64 = 2;
/// Longest group of pictures that is looked at as one, in seconds.
const GROUP_MAX_S: usize = 4;
/// Seconds of a part of the window, and how many of them may be lower than what is taken for quiet: some frames that the
/// camera left empty are no quiet scene.
const PART_S: usize = 10;
const LOWER: usize = 2;
/// Parts that the quiet size is found in.
const PARTS: usize = 9;
/// An encoder whose parts differ by less than this level spends the same on everything …
const STEADY: f32 = 6.0;
/// … if what refers to others is no smaller than so many halvings of a keyframe; a still scene is steady, too.
const STEADY_LEAST: f32 = -3.0;
/// Seconds that are remembered: more than the longest segment has.
const REMEMBERED_S: usize = 4_096;

/// What is measured of a stream: its present state, and the levels of the last hour. Takes constant memory.
#[derive(Debug, Default)]
pub struct Activity {
    meter: Meter,
    /// The second that is going on, and what came in it.
    second: Option<i64>,
    came: Came,
    track: Track,
}

/// Frames of a second.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    keys: Sum,
    others: Sum,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    bytes: u64,
    frames: u32,
}

impl Sum {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.frames += 1;
    }

    fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, frames: self.frames + other.frames }
    }

    /// Logarithm of the mean size.
    fn log(self) -> Option<f32> {
        (self.frames > 0).then(|| (self.bytes.max(1) as f32 / self.frames as f32).log2())
    }
}

impl Activity {
    /// A frame that is shown at `at_us` (UTC) came. Whether something moves; `None` while that cannot be told.
    pub fn see(&mut self, at_us: i64, key: bool, bytes: usize) -> Option<bool> {
        let second = second_of(at_us);
        match self.second {
            Some(now) if second > now || second < now - LATE_S => {
                let level = self.meter.take(self.came);
                self.track.set(now, level);
                (self.second, self.came) = (Some(second), Came::default());
                if (second - now).abs() > LATE_S {
                    // There is no group of pictures over a gap.
                    (self.meter.keyframe_us, self.meter.before) = (None, Default::default());
                }
            }
            Some(_) => {}
            None => self.second = Some(second),
        }
        if key {
            self.came.keys.add(bytes);
            self.meter.keyframe(at_us);
        } else {
            self.came.others.add(bytes);
            self.meter.keys_in_row = 0;
        }
        self.meter.state()
    }

    /// Whether something moves; `None` while that cannot be told.
    pub fn state(&self) -> Option<bool> {
        self.meter.state()
    }

    /// Levels of the seconds that `from_us..to_us` touches, as they are kept with a segment; `None` if none is known.
    pub fn stored(&self, from_us: i64, to_us: i64) -> Option<Vec<u8>> {
        let last = second_of(to_us.max(from_us + 1) - 1);
        let going_on =
            |second| Some(self.meter.level(self.came) as u8).filter(|_| self.second == Some(second));
        let level = |second| going_on(second).or_else(|| self.track.get(second)).unwrap_or(UNKNOWN);
        let first = second_of(from_us).max(last - REMEMBERED_S as i64 * 2);
        let levels: Vec<u8> = (first..=last).map(level).collect();
        levels.iter().any(|level| *level != UNKNOWN).then_some(levels)
    }
}

fn second_of(us: i64) -> i64 {
    us.div_euclid(1_000_000)
}

/// From seconds to levels.
#[derive(Debug, Default)]
struct Meter {
    keys_in_row: u8,
    keyframe_us: Option<i64>,
    /// Seconds of a group of pictures.
    group_s: usize,
    of_keys: bool,
    /// The last whole seconds, the newest first.
    before: [Sum; GROUP_MAX_S],
    quiet: Quiet,
    /// Logarithm of the size of keyframes, as it is on average.
    key: Option<f32>,
    last: f32,
    measured_s: u32,
    active: bool,
    /// For so many seconds nothing has moved.
    calm_s: u32,
}

impl Meter {
    fn keyframe(&mut self, at_us: i64) {
        self.keys_in_row = self.keys_in_row.saturating_add(1);
        let apart = self.keyframe_us.replace(at_us).map(|before| at_us - before);
        if let Some(apart) = apart.filter(|apart| *apart > 0) {
            self.group_s = usize::try_from((apart + 500_000) / 1_000_000).unwrap_or(GROUP_MAX_S);
        }
    }

    /// Logarithm of the size of what is measured, by level, up to and with this second.
    fn size(&self, came: Came) -> Option<f32> {
        if self.of_keys {
            return came.keys.log().map(|size| size * PER_DOUBLING_KEYS);
        }
        let before = &self.before[..self.group_s.clamp(1, GROUP_MAX_S) - 1];
        let size = before.iter().fold(came.others, |sum, before| sum.and(*before)).log();
        size.filter(|_| came.others.frames > 0).map(|size| size * PER_DOUBLING)
    }

    /// The level of a second; of one without a frame to measure, that of the one before.
    fn level(&self, came: Came) -> f32 {
        let above = self.size(came).zip(self.quiet.size()).map(|(size, quiet)| size - quiet);
        above.map_or(self.last, |above| above.clamp(0.0, LEVEL_MAX))
    }

    /// Takes a whole second in.
    fn take(&mut self, came: Came) -> u8 {
        let of_keys = self.keys_in_row >= KEYS_IN_ROW;
        if of_keys != self.of_keys {
            let Self { keys_in_row, keyframe_us, group_s, .. } = *self;
            *self = Self { keys_in_row, keyframe_us, group_s, of_keys, ..Self::default() };
        }
        if let Some(key) = came.keys.log() {
            self.key = Some(self.key.map_or(key, |before| before + (key - before) / 4.0));
        }
        if let Some(size) = self.size(came) {
            self.quiet.take(size);
            self.measured_s = self.measured_s.saturating_add(1);
            self.last = self.level(came);
            let varies = self.quiet.varies();
            let (moves, rests) = (ACTIVE.max(MOVES * varies), QUIET.max(RESTS * varies));
            self.calm_s = if self.last < rests { self.calm_s.saturating_add(1) } else { 0 };
            self.active = self.last >= moves || (self.active && self.calm_s < HOLD_S);
        }
        if came.others.frames > 0 {
            self.before.rotate_right(1);
            self.before[0] = came.others;
        }
        self.last as u8
    }

    fn state(&self) -> Option<bool> {
        (self.measured_s >= WARM_UP_S && !self.is_blind()).then_some(self.active)
    }

    /// Whether the encoder spends the same on everything.
    fn is_blind(&self) -> bool {
        let large = self
            .quiet
            .size()
            .zip(self.key)
            .is_some_and(|(quiet, key)| quiet / PER_DOUBLING - key > STEADY_LEAST);
        !self.of_keys && large && self.quiet.spread().is_some_and(|spread| spread < STEADY)
    }
}

/// Finds the quiet size: the least of the last parts.
#[derive(Debug, Default)]
struct Quiet {
    /// Logarithms of the sizes of the part that is going on, by level.
    part: [f32; PART_S],
    filled: usize,
    parts: [Part; PARTS],
    known: usize,
    next: usize,
}

/// What is known of ten seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    low: f32,
    middle: f32,
    mean: f32,
}

impl Quiet {
    fn take(&mut self, size: f32) {
        self.part[self.filled] = size;
        self.filled += 1;
        if let Some(low) = self.low().filter(|_| self.filled == PART_S) {
            self.part.sort_unstable_by(f32::total_cmp);
            let (middle, mean) = (self.part[PART_S / 2], self.part.iter().sum::<f32>() / PART_S as f32);
            self.parts[self.next] = Part { low, middle, mean };
            self.next = (self.next + 1) % PARTS;
            self.known = (self.known + 1).min(PARTS);
            self.filled = 0;
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts[..self.known].iter()
    }

    /// What is low in the part that is going on.
    fn low(&self) -> Option<f32> {
        let mut part = self.part;
        let part = &mut part[..self.filled];
        (part.len() > LOWER).then(|| *part.select_nth_unstable_by(LOWER, f32::total_cmp).1)
    }

    /// Logarithm of the quiet size, by level, once there is one.
    fn size(&self) -> Option<f32> {
        self.parts().map(|part| part.low).chain(self.low()).min_by(f32::total_cmp)
    }

    /// By what level quiet time varies.
    fn varies(&self) -> f32 {
        self.parts().map(|part| part.middle - part.low).min_by(f32::total_cmp).unwrap_or_default()
    }

    /// By what level parts differ, once there are two.
    fn spread(&self) -> Option<f32> {
        let means = || self.parts().map(|part| part.mean);
        let (least, most) = (means().min_by(f32::total_cmp)?, means().max_by(f32::total_cmp)?);
        (self.known > 1).then_some(most - least)
    }
}

/// The levels of the last seconds.
#[derive(Debug, Default)]
struct Track {
    /// That of a second stands at its number, modulo [`REMEMBERED_S`]. Empty until the first.
    levels: Vec<u8>,
    /// The newest second, and how many before it (and with it) are known.
    newest: i64,
    known: usize,
}

impl Track {
    fn place(second: i64) -> usize {
        second.rem_euclid(REMEMBERED_S as i64) as usize
    }

    fn set(&mut self, second: i64, level: u8) {
        self.levels.resize(REMEMBERED_S, UNKNOWN);
        let ahead = second - self.newest;
        if ahead > 0 && ahead < REMEMBERED_S as i64 && self.known > 0 {
            (self.newest + 1..second).for_each(|missing| self.levels[Self::place(missing)] = UNKNOWN);
            self.known = (self.known + ahead as usize).min(REMEMBERED_S);
        } else if ahead <= 0 {
            // The clock was set back: what was there from then on is of another time.
            self.known = (self.known as i64 + ahead).max(1) as usize;
        } else {
            self.known = 1;
        }
        self.newest = second;
        self.levels[Self::place(second)] = level;
    }

    fn get(&self, second: i64) -> Option<u8> {
        let age = self.newest.checked_sub(second).filter(|age| *age >= 0 && *age < self.known as i64)?;
        debug_assert!(age < REMEMBERED_S as i64);
        self.levels.get(Self::place(second)).copied()
    }
}

/// The activity of a stretch of time in few values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The first second.
    pub from_s: i64,
    /// Seconds that a value stands for; the last may stand for fewer.
    pub seconds_per_value: i64,
    /// The greatest level of each; `None`: nothing is known.
    pub values: Vec<Option<u8>>,
}

impl Summary {
    /// Of `window`, which is widened to whole seconds, in at most `most` values.
    pub fn new(window: Range, most: usize) -> Self {
        let from_s = second_of(window.from.0);
        let seconds = (second_of(window.to.0.saturating_sub(1)) + 1 - from_s).max(1);
        let seconds_per_value = (seconds as u64).div_ceil(most.max(1) as u64).max(1) as i64;
        let count = (seconds as u64).div_ceil(seconds_per_value as u64) as usize;
        Self { from_s, seconds_per_value, values: vec![None; count] }
    }

    /// Takes in the levels of a segment that begins at `start_us`.
    pub fn add(&mut self, start_us: i64, levels: &[u8]) {
        for (second, level) in (second_of(start_us)..).zip(levels) {
            let place = (second - self.from_s).div_euclid(self.seconds_per_value);
            let value = usize::try_from(place).ok().and_then(|place| self.values.get_mut(place));
            if let Some(value) = value.filter(|_| *level != UNKNOWN) {
                *value = (*value).max(Some(*level));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::WallUs;
    use proptest::{collection::vec, prelude::*};

    const FRAME_US: i64 = 40_000;

    /// A stream at 25 frames a second.
    #[derive(Default)]
    struct Stream {
        activity: Activity,
        at_us: i64,
        frames: i64,
    }

    impl Stream {
        /// So many seconds with a keyframe of `key` bytes every `gop` frames and others about as large as `other`.
        fn send(&mut self, seconds: i64, gop: i64, key: usize, other: usize) -> Option<bool> {
            let mut state = None;
            for _ in 0..seconds * 25 {
                let is_key = self.frames % gop == 0;
                // As noise does it: no two frames are alike.
                let noise = (self.frames * 7919 % 21) as usize;
                let bytes = if is_key { key } else { other - other / 10 + other * noise / 100 };
                state = self.activity.see(self.at_us, is_key, bytes);
                self.at_us += FRAME_US;
                self.frames += 1;
            }
            state
        }

        fn levels(&self, from_s: i64, to_s: i64) -> Vec<u8> {
            self.activity.stored(from_s * 1_000_000, to_s * 1_000_000).unwrap_or_default()
        }
    }

    #[test]
    fn what_moves_is_active_within_a_second_and_quiet_again_after_the_hold() {
        let mut stream = Stream::default();
        assert_eq!(stream.send(WARM_UP_S.into(), 50, 40_000, 1_000), None, "nobody knows yet");
        assert_eq!(stream.send(10, 50, 40_000, 1_000), Some(false));
        assert_eq!(stream.send(1, 50, 40_000, 4_000), Some(false), "the second is not over");
        assert_eq!(stream.send(4, 50, 40_000, 4_000), Some(true));
        assert_eq!(stream.send(i64::from(HOLD_S) + 1, 50, 40_000, 1_000), Some(true), "it may come back");
        assert_eq!(stream.send(2, 50, 40_000, 1_000), Some(false));
        let levels = stream.levels(20, 43);
        assert!(levels[..10].iter().all(|level| *level < QUIET as u8), "{levels:?}");
        // Of a group of two seconds, the second after it began has one of each.
        assert!(levels[11..15].iter().all(|level| (75..=85).contains(level)), "two doublings: {levels:?}");
        assert!(levels[10] > 40 && levels[15] > 40, "{levels:?}");
        assert!(levels[16..].iter().all(|level| *level < QUIET as u8), "{levels:?}");
    }

    #[test]
    fn keyframes_do_not_count_unless_there_is_nothing_else() {
        // A keyframe every four seconds is no movement.
        let mut stream = Stream::default();
        assert_eq!(stream.send(60, 100, 200_000, 300), Some(false));
        // A picture in which much moves takes a quarter more.
        let mut stream = Stream::default();
        assert_eq!(stream.send(40, 1, 40_000, 0), Some(false));
        assert_eq!(stream.send(2, 1, 50_000, 0), Some(true));
        // One frame a second, every fourth a keyframe: its second has no other, and keeps the level.
        let mut activity = Activity::default();
        let states: Vec<_> = (0..60)
            .map(|n| activity.see(n * 1_000_000, n % 4 == 0, if n % 4 == 0 { 9_000 } else { 500 }))
            .collect();
        assert_eq!(states.last(), Some(&Some(false)));
    }

    #[test]
    fn another_size_or_bit_rate_is_learnt_and_an_empty_second_is_none() {
        let mut stream = Stream::default();
        stream.send(60, 50, 40_000, 1_000);
        assert_eq!(stream.send(20, 50, 160_000, 4_000), Some(true));
        assert_eq!(stream.send(90, 50, 160_000, 4_000), Some(false), "what is usual now is quiet");
        assert_eq!(stream.send(20, 50, 40_000, 1_000), Some(false));
        assert_eq!(stream.send(3, 50, 40_000, 4_000), Some(true), "and measured by that at once");
        // A camera that left its frames empty for a moment has not become a quieter one.
        let mut stream = Stream::default();
        stream.send(60, 50, 40_000, 1_000);
        stream.send(1, 50, 40_000, 40);
        assert_eq!(stream.send(20, 50, 40_000, 1_000), Some(false));
    }

    #[test]
    fn an_encoder_that_spends_the_same_on_everything_tells_nothing() {
        let mut stream = Stream::default();
        assert_eq!(stream.send(120, 50, 60_000, 18_000), None);
        // A still scene has frames of one size, too, but small ones.
        let mut stream = Stream::default();
        assert_eq!(stream.send(120, 50, 60_000, 1_800), Some(false));
    }

    #[test]
    fn gaps_and_a_clock_that_is_set_leave_holes_and_no_lies() {
        let mut stream = Stream::default();
        stream.send(40, 50, 40_000, 1_000);
        stream.at_us += 5_000_000;
        assert_eq!(stream.send(5, 50, 40_000, 4_000), Some(true));
        let levels = stream.levels(38, 50);
        assert!(levels[2..7].iter().all(|level| *level == UNKNOWN), "{levels:?}");
        assert!(levels[..2].iter().all(|level| *level < QUIET as u8), "{levels:?}");
        assert!(levels[7..].iter().all(|level| *level > 40), "{levels:?}");
        // Half a minute back: what was measured of that time before is gone with it.
        stream.at_us -= 30_000_000;
        stream.send(5, 50, 40_000, 1_000);
        let levels = stream.levels(19, 30);
        assert!(
            levels[..6].iter().all(|level| *level < QUIET as u8)
                && levels[6..].iter().all(|level| *level == UNKNOWN)
        );
        stream.at_us += 400_000_000_000;
        stream.send(2, 50, 40_000, 1_000);
        assert!(stream.levels(0, 60).is_empty());
    }

    #[test]
    fn a_summary_has_few_values_and_the_greatest_of_each() {
        let window = Range { from: WallUs(10_300_000), to: WallUs(19_200_000) };
        let mut summary = Summary::new(window, 5);
        assert_eq!((summary.from_s, summary.seconds_per_value, summary.values.len()), (10, 2, 5));
        summary.add(8_900_000, &[9, 9, 1, UNKNOWN, UNKNOWN, UNKNOWN, 3]);
        summary.add(14_100_000, &[2, 7, 0, 0, 5, 200, 200]);
        assert_eq!(summary.values, [Some(1), None, Some(7), Some(0), Some(200)]);
        let whole = Summary::new(Range { from: WallUs(0), to: WallUs(86_400_000_000) }, 2_000);
        assert_eq!((whole.seconds_per_value, whole.values.len()), (44, 1_964));
    }

    proptest! {
        #[test]
        fn whatever_comes_memory_is_bounded_and_levels_are_of_their_seconds(
            frames in vec((-3_000_000i64..3_000_000, any::<bool>(), 0usize..1_000_000), 0..400),
            jumps in vec((0usize..400, any::<i32>()), 0..4)) {
            let mut activity = Activity::default();
            let mut at = 1_800_000_000_000_000i64;
            for (n, (step, key, bytes)) in frames.into_iter().enumerate() {
                at += step.max(-200_000);
                at += jumps.iter().filter(|(of, _)| *of == n).map(|(_, by)| i64::from(*by) * 1_000).sum::<i64>();
                activity.see(at, key, bytes);
                let levels = activity.stored(at - 5_000_000, at + 1);
                prop_assert!(levels.is_none_or(|levels| levels.len() == 6));
                prop_assert!(activity.track.levels.capacity() <= REMEMBERED_S);
            }
        }

        #[test]
        fn a_summary_never_has_more_values_than_it_may(
            from in any::<i32>(), length in 0i64..3_000_000_000_000, most in 1usize..3_000) {
            let from = i64::from(from) * 1_000;
            let summary = Summary::new(Range { from: WallUs(from), to: WallUs(from + length) }, most);
            let covered = summary.seconds_per_value * summary.values.len() as i64;
            prop_assert!(summary.values.len() <= most && !summary.values.is_empty());
            prop_assert!((summary.from_s + covered) * 1_000_000 >= from + length);
            prop_assert!((covered - summary.seconds_per_value) * 1_000_000 <= length + 1_000_000);
        }
    }
}
