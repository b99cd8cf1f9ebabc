//! Which encoded frames are decoded, so that a sampler gets its rate for the least work: keyframes alone where they suffice,
//! and otherwise all that others need, without those that nobody refers to.

use std::time::Duration;

use super::budget::Mfps;

/// What is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Keyframes, and of them only those that are wanted.
    #[default]
    Keyframes,
    /// All frames that another refers to, or that are wanted themselves.
    All,
}

/// Keyframes that come a little less often than wanted suffice: a camera's interval is no exact number.
const TOLERANCE: f64 = 1.05;

/// What is to be decoded for `rate`, of a stream whose keyframes come every `keyframes`; until that is known, keyframes.
pub fn mode(rate: Mfps, keyframes: Option<Duration>) -> Mode {
    match keyframes {
        Some(interval) if f64::from(rate) / 1000.0 * interval.as_secs_f64() > TOLERANCE => Mode::All,
        _ => Mode::Keyframes,
    }
}

/// An encoded frame.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// Whether it is a keyframe.
    pub key: bool,
    /// Whether others refer to it.
    pub reference: bool,
    /// When it is to be shown, in microseconds.
    pub at_us: i64,
}

/// Chooses frames of one stream.
#[derive(Clone, Debug, Default)]
pub struct Picker {
    mode: Mode,
    /// When the next picture is due.
    next_us: Option<i64>,
    /// Frames before the next keyframe cannot be decoded.
    broken: bool,
}

impl Picker {
    /// Frames were left out that others refer to.
    pub fn broke(&mut self) {
        self.broken = true;
    }

    /// The frames of a group of pictures that were left out are decoded after all; pictures from `from_us` on are given out.
    pub fn resume(&mut self, mode: Mode, from_us: i64) {
        (self.mode, self.broken) = (mode, false);
        self.next_us = self.next_us.max(Some(from_us));
    }

    /// Whether a frame is to be decoded. `interval_us`: between two pictures; `frame_us`: between two frames.
    pub fn decodes(&mut self, unit: Unit, mode: Mode, interval_us: i64, frame_us: i64) -> bool {
        if self.mode != mode {
            self.mode = mode;
            self.broken = true;
        }
        if unit.key {
            self.broken = false;
        }
        match mode {
            Mode::Keyframes => {
                unit.key && self.is_due(unit.at_us, frame_us) && self.taken(unit.at_us, interval_us)
            }
            Mode::All => !self.broken && (unit.reference || self.is_due(unit.at_us, frame_us)),
        }
    }

    /// Whether a decoded picture is given out.
    pub fn gives(&mut self, at_us: i64, interval_us: i64, frame_us: i64) -> bool {
        match self.mode {
            Mode::Keyframes => true,
            Mode::All => self.is_due(at_us, frame_us) && self.taken(at_us, interval_us),
        }
    }

    /// Nearer to its time than the frame after it.
    fn is_due(&self, at_us: i64, frame_us: i64) -> bool {
        // A time that was set back, or a stream that begins anew.
        self.next_us.is_none_or(|next| at_us + frame_us / 2 >= next || next - at_us > 60_000_000)
    }

    fn taken(&mut self, at_us: i64, interval_us: i64) -> bool {
        let next = self.next_us.map_or(at_us, |next| next) + interval_us;
        // Late by more than a picture, or far ahead: from here on anew.
        self.next_us =
            Some(if next <= at_us || next - at_us > 2 * interval_us { at_us + interval_us } else { next });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of so many seconds at 25 frames a second, keyframes every `gop`: how many are decoded and given out.
    fn run(rate: Mfps, gop: i64, seconds: i64, non_reference: bool) -> (usize, usize) {
        let (frame_us, interval_us) = (40_000, 1_000_000_000 / i64::from(rate));
        let keyframes = Duration::from_micros(u64::try_from(gop * frame_us).unwrap());
        let mode = mode(rate, Some(keyframes));
        let mut picker = Picker::default();
        let (mut decoded, mut given) = (0, 0);
        for n in 0..seconds * 25 {
            let key = n % gop == 0;
            let unit = Unit { key, reference: key || !(non_reference && n % 2 == 1), at_us: n * frame_us };
            if picker.decodes(unit, mode, interval_us, frame_us) {
                decoded += 1;
                given += usize::from(picker.gives(unit.at_us, interval_us, frame_us));
            }
        }
        (decoded, given)
    }

    #[test]
    fn no_more_is_decoded_than_the_rate_needs() {
        assert_eq!(run(500, 50, 60, false), (30, 30), "every keyframe");
        assert_eq!(run(200, 25, 60, false), (12, 12), "every fifth keyframe");
        assert_eq!(run(2_000, 50, 60, false), (1500, 120), "all, for keyframes are too few");
        let (decoded, given) = run(2_000, 50, 60, true);
        assert!(decoded < 850 && given == 120, "{decoded} {given}: half of them nobody refers to");
        assert_eq!(run(30_000, 50, 60, false), (1500, 1500), "what the camera sends");
    }

    proptest! {
        #[test]
        fn the_rate_is_kept(rate in 100u32..25_000, gop in 10i64..100) {
            let (_, given) = run(rate, gop, 60, true);
            let wanted = f64::from(rate) / 1000.0 * 60.0;
            // With keyframes alone, a picture comes with the keyframe nearest to its time.
            prop_assert!((given as f64) <= wanted + 2.0, "{given} of {wanted}");
            if mode(rate, Some(Duration::from_millis(gop as u64 * 40))) == Mode::All {
                prop_assert!((given as f64) >= wanted * 0.95 - 2.0, "{given} of {wanted}");
            }
        }
    }
}
