//! Moments for periodic work. Each wakeup of the process costs more than most of what is done in it, so all periodic work is due at
//! multiples of its period on one clock, and waits for them with timers of the kernel, which ring together. The runtime's own timers
//! do not: it sorts them into slots of 64 ms, and wakes at the beginning of a slot as well as in it.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    fs::Timespec,
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime, timerfd_create,
        timerfd_settime,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::sleep,
};

/// The time of the monotonic clock.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// The next multiple of `period` after this time.
pub fn next_moment(after: Duration, period: Duration) -> Duration {
    let into_ns = after.as_nanos() % period.as_nanos().max(1);
    after + period.saturating_sub(Duration::from_nanos(u64::try_from(into_ns).unwrap_or_default()))
}

/// The moments of one task. Belongs to the runtime that it is made in.
#[derive(Debug)]
pub struct Ticks {
    timer: Timer,
    due: Option<Duration>,
}

impl Ticks {
    /// Of a task that begins.
    #[expect(clippy::new_without_default, reason = "it takes a timer from the kernel")]
    pub fn new() -> Self {
        Self { timer: Timer::new(), due: None }
    }

    /// Waits for the next multiple of `period`. If the waiting is given up, the next one ends at the same moment, at once if that has
    /// passed.
    pub async fn next(&mut self, period: Duration) {
        let next = next_moment(now(), period);
        let due = self.due.map_or(next, |due| due.min(next));
        self.due = Some(due);
        self.timer.until(due).await;
        self.due = None;
    }
}

/// A timer of the kernel; without one, that of the runtime.
#[derive(Debug)]
pub struct Timer {
    timer: Option<AsyncFd<OwnedFd>>,
    set_to: Option<Duration>,
}

impl Timer {
    /// One that is not set. Belongs to the runtime that it is made in.
    #[expect(clippy::new_without_default, reason = "it takes a timer from the kernel")]
    pub fn new() -> Self {
        Self { timer: make().ok(), set_to: None }
    }

    /// Waits until this time of the monotonic clock.
    pub async fn until(&mut self, at: Duration) {
        if let Some(timer) = &self.timer {
            let is_set = self.set_to == Some(at) || set(timer, at).is_ok();
            self.set_to = is_set.then_some(at);
            if is_set && rung(timer).await.is_ok() {
                self.set_to = None;
                return;
            }
        }
        sleep(at.saturating_sub(now())).await;
    }
}

fn make() -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    #[expect(
        deprecated,
        reason = "its follower is unsafe; an `OwnedFd` has one owner and cannot be exchanged"
    )]
    AsyncFd::with_interest(timer, Interest::READABLE)
}

fn set(timer: &AsyncFd<OwnedFd>, at: Duration) -> io::Result<()> {
    let seconds = at.as_secs().try_into().map_err(io::Error::other)?;
    let once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let at = Timespec { tv_sec: seconds, tv_nsec: at.subsec_nanos().into() };
    let times = Itimerspec { it_interval: once, it_value: at };
    timerfd_settime(timer.get_ref(), TimerfdTimerFlags::ABSTIME, &times)?;
    Ok(())
}

async fn rung(timer: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0; 8])?));
        if let Ok(read) = read {
            // It rings once, so there is nothing more to be read.
            ready.clear_ready();
            return read.map(drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_millis(100);

    #[test]
    fn moments_of_different_periods_meet() {
        let mut at = now();
        let next_long = next_moment(at, LONG);
        let mut met = 0;
        for _ in 0..6 {
            let next = next_moment(at, SHORT);
            assert!(next > at && next - at <= SHORT);
            met += u32::from(next == next_long);
            at = next;
        }
        assert_eq!(met, 1);
    }

    #[tokio::test]
    async fn a_moment_is_not_missed_when_the_waiting_was_given_up() {
        let mut ticks = Ticks::new();
        let due = next_moment(now(), LONG);
        while now() < due {
            let _ = timeout(Duration::from_millis(3), ticks.next(LONG)).await;
        }
        // A shorter period is not held up by the longer one before it.
        let next = next_moment(now(), SHORT);
        ticks.next(SHORT).await;
        assert!(now() >= due && next_moment(now(), SHORT) >= next);
        let mut without = Ticks { timer: Timer { timer: None, set_to: None }, due: None };
        let next = next_moment(now(), SHORT);
        without.next(SHORT).await;
        assert!(now() >= next);
    }
}
