//! Compares the frame numbers that were recorded with those that were sent. Pure.

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
    /// Lowest recorded number.
    pub first: u64,
    /// Highest recorded number.
    pub last: u64,
    /// Recorded frames, doubled ones counted twice.
    pub count: usize,
    /// Expected and not recorded.
    pub missing: Runs,
    /// Recorded more than once.
    pub doubled: Runs,
    /// Recorded, but never expected.
    pub unknown: Runs,
    /// Recorded directly after a higher number.
    pub disordered: Runs,
}

impl Tally {
    /// Compares `recorded`, in file order, with `expected`, of which only those in between count. `None` if
    /// nothing was recorded.
    fn new(recorded: &[u64], expected: impl Iterator<Item = u64>) -> Option<Tally> {
        let mut sorted = recorded.to_vec();
        sorted.sort_unstable();
        let (first, last) = (*sorted.first()?, *sorted.last()?);
        let mut doubled: Vec<_> =
            sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        doubled.dedup();
        sorted.dedup();
        let mut expected: Vec<_> = expected.filter(|number| (first..=last).contains(number)).collect();
        expected.sort_unstable();
        let without = |numbers: &[u64], others: &[u64]| {
            Runs::of(numbers.iter().copied().filter(|number| others.binary_search(number).is_err()))
        };
        let mut disordered: Vec<_> =
            recorded.windows(2).filter(|pair| pair[0] > pair[1]).map(|pair| pair[1]).collect();
        disordered.sort_unstable();
        disordered.dedup();
        Some(Tally {
            first,
            last,
            count: recorded.len(),
            missing: without(&expected, &sorted),
            doubled: Runs::of(doubled),
            unknown: without(&sorted, &expected),
            disordered: Runs::of(disordered),
        })
    }

    /// Compares with all numbers from the first to the last recorded. `None` if nothing was recorded.
    pub(crate) fn contiguous(recorded: &[u64]) -> Option<Tally> {
        let (first, last) = (*recorded.iter().min()?, *recorded.iter().max()?);
        Tally::new(recorded, first..=last)
    }

    /// Nothing missing, nothing twice, nothing unknown, all in order.
    pub(crate) fn is_exact(&self) -> bool {
        let Tally { missing, doubled, unknown, disordered, .. } = self;
        [missing, doubled, unknown, disordered].into_iter().all(Runs::is_empty)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { first, last, count, missing, doubled, unknown, disordered } = self;
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

/// Proves that `recorded`, all files in order, is one range of numbers without a gap, each once and in order.
///
/// # Errors
/// What is missing or doubled, in words.
pub(crate) fn prove_contiguous(recorded: &[u64]) -> Result<Proof, String> {
    judge(Tally::contiguous(recorded), &[])
}

/// Proves that `recorded`, all files in order, holds each number of `sent` from its first to its last exactly once,
/// in order, and nothing else. Numbers that the camera never sent (frozen, switched off) need not be there.
///
/// # Errors
/// What is missing or doubled, in words.
pub(crate) fn prove_sent(sent: &[u64], recorded: &[u64]) -> Result<Proof, String> {
    judge(Tally::new(recorded, sent.iter().copied()), sent)
}

fn judge(tally: Option<Tally>, sent: &[u64]) -> Result<Proof, String> {
    let tally = tally.ok_or("nothing was recorded")?;
    if !tally.is_exact() {
        return Err(tally.to_string());
    }
    let Tally { first, last, .. } = tally;
    let head = sent.iter().filter(|number| **number < first).count();
    let tail = sent.iter().filter(|number| **number > last).count();
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
}
