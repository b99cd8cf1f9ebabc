//! How long to wait before the next attempt.

use std::time::Duration;

/// First wait after a loss.
pub const FIRST: Duration = Duration::from_secs(1);
/// Longest wait between attempts.
pub const LONGEST: Duration = Duration::from_secs(30);
/// Between attempts whose failure only the operator can mend: another codec, URL or password is needed.
pub const OPERATOR: Duration = Duration::from_secs(60);
/// A camera that brought frames, or became reachable again, so recently may still be starting up: whatever it answers, it is asked
/// again soon.
pub const EAGER: Duration = Duration::from_secs(120);
/// Sessions that brought frames are followed by the next at once, at most so often in [`QUICK_WITHIN`].
pub const QUICK_SESSIONS: usize = 20;
/// The time in which [`QUICK_SESSIONS`] are counted.
pub const QUICK_WITHIN: Duration = Duration::from_secs(60);
/// So many refused passwords before attempts become rare.
pub const REFUSALS: u32 = 3;
/// Between attempts with a password that was refused [`REFUSALS`] times: 4 an hour, because cameras lock accounts.
pub const REFUSED: Duration = Duration::from_secs(15 * 60);

/// The wait before attempt `attempt + 1`, after `attempt` failures in a row: 1, 2, 4 … 30 s, shortened by up to a
/// quarter by `jitter` (0.0 to 1.0), so that cameras lost together do not come back together.
pub fn delay(attempt: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(5));
    doubled.min(LONGEST).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_thirty_seconds() {
        let seconds: Vec<u64> = (1..9).map(|attempt| delay(attempt, 0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(delay(u32::MAX, 1.0), Duration::from_millis(22_500));
        assert!(delay(1, 0.0) <= Duration::from_secs(1));
    }
}
