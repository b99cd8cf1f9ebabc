//! Tells when the host's clock was set.

use std::time::{Duration, Instant};

use super::hub::Hub;
use crate::{
    base::{WallUs, ticks::Ticks},
    model::event::{Kind, NewEvent, Severity},
};

/// Less than this is steering, as NTP does it.
const STEP_US: i64 = 500_000;
/// Between looks.
const EVERY: Duration = Duration::from_millis(800);

/// The host's clock beside one that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    wall: WallUs,
    at: Instant,
}

impl Clocks {
    /// Both, now.
    pub(super) fn now() -> Self {
        Self { wall: WallUs::now(), at: Instant::now() }
    }

    /// How far the host's clock was set forward since the last call, in microseconds; 0 if it was only steered.
    pub(super) fn step_us(&mut self) -> i64 {
        let before = std::mem::replace(self, Self::now());
        let passed = i64::try_from((self.at - before.at).as_micros()).unwrap_or(i64::MAX);
        let step = (self.wall.0 - before.wall.0).saturating_sub(passed);
        if step.abs() < STEP_US { 0 } else { step }
    }
}

/// Logs each step of the host's clock, until the service ends.
pub(super) async fn watch(hub: Hub) {
    let (mut clocks, mut ticks) = (Clocks::now(), Ticks::new());
    loop {
        ticks.next(EVERY).await;
        let step = clocks.step_us();
        if step == 0 {
            continue;
        }
        let (way, seconds) = (if step > 0 { "forward" } else { "back" }, step.abs() as f64 / 1e6);
        let detail = format!("the host's clock was set {way} by {seconds:.1} s");
        let (kind, severity) = (Kind::ClockStep, Severity::Warning);
        hub.log(NewEvent::new(WallUs::now(), None, kind, severity, detail));
    }
}
