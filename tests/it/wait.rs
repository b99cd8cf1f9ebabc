//! Waiting for a value: with a name, a deadline and what was last seen.

use std::{
    fmt::Debug,
    panic::Location,
    time::{Duration, Instant},
};

/// Whatever is waited for comes within this, or the test fails: several times as long as it takes where the machine is slow
/// and has much else to do. What must come sooner has a bound of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Looks again and again until `is` holds, and gives the value; fails with what was last seen after `within`.
#[track_caller]
pub(crate) fn within<T: Debug>(
    within: Duration,
    what: &str,
    mut look: impl FnMut() -> T,
    mut is: impl FnMut(&T) -> bool,
) -> impl Future<Output = T> {
    let place = Location::caller();
    let deadline = Instant::now() + within;
    async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let seen = look();
            if is(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{place}: still waiting for {what}; last saw {seen:#?}");
        }
    }
}

/// [`within`] with [`PATIENCE`].
#[track_caller]
pub(crate) fn until<T: Debug>(
    what: &str,
    look: impl FnMut() -> T,
    is: impl FnMut(&T) -> bool,
) -> impl Future<Output = T> {
    within(PATIENCE, what, look, is)
}
