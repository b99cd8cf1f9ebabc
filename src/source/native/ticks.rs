//! The moments at which streams that play are read: one timer for all of them. A wakeup costs more than what is read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::base::ticks::{Timer, next_moment, now};

/// How often a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// At each picture, if there are 25 in a second.
    Often,
    /// At each fourth one.
    Seldom,
}

impl Reading {
    const fn period(self) -> Duration {
        Duration::from_millis(if matches!(self, Self::Often) { 40 } else { 160 })
    }
}

/// Streams that wait for their next moment.
#[derive(Debug, Default)]
pub(super) struct ReadClock {
    often: Waiting,
    seldom: Waiting,
    /// Rung by a stream that waits when none did that waits for as short a time.
    wanted: Notify,
}

/// Streams that wait for moments of one kind.
#[derive(Debug, Default)]
struct Waiting {
    count: AtomicUsize,
    now: Notify,
}

impl Waiting {
    fn are_any(&self) -> bool {
        self.count.load(Relaxed) > 0
    }
}

/// Counts one stream as waiting, until it is dropped.
struct WaitCount<'a>(&'a AtomicUsize);

impl Drop for WaitCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl ReadClock {
    /// Wakes the streams that wait, for ever. A timer is set for one moment at a time: nobody may wait for the one after it.
    pub(super) async fn run(self: Arc<Self>) {
        let mut timer = Timer::new();
        let mut seldom_due = Duration::ZERO;
        loop {
            let reading = match () {
                () if self.often.are_any() => Reading::Often,
                () if self.seldom.are_any() => Reading::Seldom,
                () => {
                    self.wanted.notified().await;
                    continue;
                }
            };
            let at = next_moment(now(), reading.period());
            tokio::select! {
                biased;
                () = timer.until(at) => {}
                () = self.wanted.notified() => continue,
            }
            self.often.now.notify_waiters();
            // Or later, if reading took so long that the moment was missed.
            if at >= seldom_due {
                self.seldom.now.notify_waiters();
                seldom_due = next_moment(at, Reading::Seldom.period());
            }
        }
    }

    /// Waits for the next moment of this kind.
    pub(super) async fn next(&self, reading: Reading) {
        let waiting = if reading == Reading::Often { &self.often } else { &self.seldom };
        let now = waiting.now.notified();
        if waiting.count.fetch_add(1, Relaxed) == 0 {
            self.wanted.notify_one();
        }
        let _count = WaitCount(&waiting.count);
        now.await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn streams_that_are_read_seldom_are_woken_with_the_others_and_all_of_them_are() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ticks = Arc::new(ReadClock::default());
            tokio::spawn(ticks.clone().run());
            let wait = |reading: Reading, times: u32| {
                let ticks = ticks.clone();
                tokio::spawn(async move {
                    let mut at = Vec::new();
                    for _ in 0..times {
                        ticks.next(reading).await;
                        at.push(Instant::now());
                    }
                    at
                })
            };
            // One that is read seldom waits already when one comes that is read often.
            let seldom = wait(Reading::Seldom, 10);
            tokio::task::yield_now().await;
            let (often, second) = (wait(Reading::Often, 20), wait(Reading::Seldom, 10));
            let (seldom, often, second) =
                (seldom.await.unwrap(), often.await.unwrap(), second.await.unwrap());
            let lasts = |at: &[Instant]| at[at.len() - 1] - at[0];
            assert!(lasts(&seldom) >= Reading::Seldom.period() * 8, "{:?}", lasts(&seldom));
            assert!(lasts(&often) >= Reading::Often.period() * 18, "{:?}", lasts(&often));
            assert_eq!((seldom.len(), often.len(), second.len()), (10, 20, 10));
        });
    }
}
