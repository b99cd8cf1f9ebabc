//! Compares the frame numbers that were recorded with those that were sent. Pure.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// Ranges that a message lists before it only counts.
const LISTED: usize = 10;

/// Frame numbers as first and last of runs without a hole, for messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Runs(Vec<(u64, u64)>);

impl Runs {
    /// Sorted numbers, each once, as runs.
    fn of(numbers: impl IntoIterator<Item = u64>) -> Runs {
        let mut runs = Runs::default();
        for number in numbers {
            match runs.0.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => runs.0.push((number, number)),
            }
        }
        runs
    }

    /// How many numbers.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count())?;
        for (index, (first, last)) in self.0.iter().take(LISTED).enumerate() {
            let before = if index == 0 { " (" } else { ", " };
            if first == last { write!(f, "{before}{first}")? } else { write!(f, "{before}{first}-{last}")? }
        }
        match self.0.len() {
            0 => Ok(()),
            runs if runs > LISTED => write!(f, ", …)"),
            _ => write!(f, ")"),
        }
    }
}

/// How recorded numbers differ from the expected ones between the first and the last recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The recorded number that was expected first.
    pub first: u64,
    /// The recorded number that was expected last.
    pub last: u64,
    /// Recorded frames, doubled ones counted twice.
    pub count: usize,
    /// Expected and not recorded.
    pub missing: Runs,
    /// Recorded more than once.
    pub doubled: Runs,
    /// Recorded, but never expected.
    pub unknown: Runs,
    /// Recorded directly after one that should come later.
    pub disordered: Runs,
    /// Expected before the first.
    head: usize,
    /// Expected after the last.
    tail: usize,
}

impl Tally {
    /// Compares `recorded`, in file order, with `expected`, in the order in which they should come, of which only those
    /// in between count. `None` if nothing was recorded that was expected.
    fn new(recorded: &[u64], expected: &[u64]) -> Option<Tally> {
        let places: HashMap<u64, usize> = expected.iter().copied().zip(0..).collect();
        let found: Vec<usize> = recorded.iter().filter_map(|number| places.get(number).copied()).collect();
        let (first, last) = (*found.iter().min()?, *found.iter().max()?);
        let sorted: BTreeSet<u64> = recorded.iter().copied().collect();
        let mut seen = BTreeSet::new();
        let doubled: BTreeSet<u64> =
            recorded.iter().copied().filter(|number| !seen.insert(*number)).collect();
        let missing: BTreeSet<u64> =
            expected[first..=last].iter().copied().filter(|number| !sorted.contains(number)).collect();
        let disordered: BTreeSet<u64> =
            found.windows(2).filter(|pair| pair[0] > pair[1]).map(|pair| expected[pair[1]]).collect();
        Some(Tally {
            first: expected[first],
            last: expected[last],
            count: recorded.len(),
            missing: Runs::of(missing),
            doubled: Runs::of(doubled),
            unknown: Runs::of(sorted.into_iter().filter(|number| !places.contains_key(number))),
            disordered: Runs::of(disordered),
            head: first,
            tail: expected.len() - 1 - last,
        })
    }

    /// Compares with all numbers from the lowest to the highest recorded, in order. `None` if nothing was recorded.
    pub(crate) fn contiguous(recorded: &[u64]) -> Option<Tally> {
        let (first, last) = (*recorded.iter().min()?, *recorded.iter().max()?);
        Tally::new(recorded, &(first..=last).collect::<Vec<_>>())
    }

    /// Nothing missing, nothing twice, nothing unknown, all in order.
    pub(crate) fn is_exact(&self) -> bool {
        let Tally { missing, doubled, unknown, disordered, .. } = self;
        [missing, doubled, unknown, disordered].into_iter().all(Runs::is_empty)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { first, last, count, missing, doubled, unknown, disordered, .. } = self;
        write!(f, "first {first}, last {last}, frames {count}, missing {missing}, doubled {doubled}")?;
        if !unknown.is_empty() {
            write!(f, ", never sent {unknown}")?;
        }
        if !disordered.is_empty() {
            write!(f, ", out of order {disordered}")?;
        }
        Ok(())
    }
}

/// What was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// First recorded number.
    pub first: u64,
    /// Last recorded number.
    pub last: u64,
    /// Frames sent before the first recorded one.
    pub head: usize,
    /// Frames sent after the last recorded one.
    pub tail: usize,
}

/// Proves that `recorded`, all files in order, is one range of numbers without a gap, each once and in order. Of files
/// with B-frames give the order of display.
///
/// # Errors
/// What is missing or doubled, in words.
pub(crate) fn prove_contiguous(recorded: &[u64]) -> Result<Proof, String> {
    judge(Tally::contiguous(recorded))
}

/// Proves that `recorded`, all files in order, holds each number of `sent` from its first to its last exactly once,
/// in the order of sending, and nothing else. Numbers that the camera never sent (frozen, switched off) need not be there.
///
/// # Errors
/// What is missing or doubled, in words.
pub(crate) fn prove_sent(sent: &[u64], recorded: &[u64]) -> Result<Proof, String> {
    judge(Tally::new(recorded, sent))
}

fn judge(tally: Option<Tally>) -> Result<Proof, String> {
    let tally = tally.ok_or("nothing was recorded that was to be")?;
    if !tally.is_exact() {
        return Err(tally.to_string());
    }
    let Tally { first, last, head, tail, .. } = tally;
    Ok(Proof { first, last, head, tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contiguous_range_is_proved() {
        assert_eq!(prove_contiguous(&[5, 6, 7]), Ok(Proof { first: 5, last: 7, head: 0, tail: 0 }));
    }

    #[test]
    fn missing_doubled_and_disordered_frames_are_named() {
        let error = prove_contiguous(&[1, 2, 2, 4, 9, 8]).unwrap_err();
        assert_eq!(error, "first 1, last 9, frames 6, missing 4 (3, 5-7), doubled 1 (2), out of order 1 (8)");
        assert!(prove_contiguous(&[]).is_err());
    }

    #[test]
    fn only_what_was_sent_must_be_there() {
        let sent = [1, 2, 3, 10, 11, 12, 13];
        assert_eq!(prove_sent(&sent, &[2, 3, 10, 11]), Ok(Proof { first: 2, last: 11, head: 1, tail: 2 }));
        assert!(prove_sent(&sent, &[2, 3, 11]).unwrap_err().contains("missing 1 (10)"));
        assert!(prove_sent(&sent, &[2, 3, 4, 10]).unwrap_err().contains("never sent 1 (4)"));
    }
    #[test]
    fn b_frames_count_in_the_order_of_sending() {
        let sent = [0, 3, 1, 2, 6, 4, 5];
        assert_eq!(prove_sent(&sent, &[3, 1, 2, 6]), Ok(Proof { first: 3, last: 6, head: 1, tail: 2 }));
        assert!(prove_sent(&sent, &[0, 1, 2, 3, 6]).unwrap_err().contains("out of order 1 (3)"));
        assert!(prove_sent(&sent, &[0, 3, 2, 6]).unwrap_err().contains("missing 1 (1)"));
    }
}
