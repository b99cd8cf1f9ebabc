//! Orders on their way from the intake to the thread that feeds splitmuxsink. The thread is woken once for half a second of frames,
//! because each wakeup costs more than the frames; what must be on the disk at once wakes it at once. splitmuxsink may wait in this thread
//! for its own threads; the source never does. What waits is bounded.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    CAMERA_BYTES,
    muxer_run::{MuxerControl, Order},
};
use crate::media::Error;

/// At most so many bytes wait for a muxer: a camera's whole pre-roll, and what comes while its pipeline is made.
const WAITING_BYTES: usize = CAMERA_BYTES + (16 << 20);
/// So many are handed to splitmuxsink at once.
const HAND_OVER_BYTES: usize = 8 << 20;
/// Without further orders, those that wait are carried out after this time: the camera has stopped sending.
const SILENCE: Duration = Duration::from_millis(600);

/// The sending side.
#[derive(Debug)]
pub(super) struct MuxQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Rung when `is_due`, `is_closed` or `has_ended` becomes true.
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    orders: VecDeque<Order>,
    /// Of the frames in `orders`, and of those that are being muxed.
    bytes: usize,
    is_due: bool,
    /// The thread waits without limit: nothing is left to be done.
    is_idle: bool,
    is_closed: bool,
    has_ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next orders; `None` after a time of silence. The second value is true after the last ones.
    fn next(&self, is_idle: bool) -> (Option<VecDeque<Order>>, bool) {
        let mut state = self.state();
        state.is_idle = is_idle;
        let waits = |state: &mut State| !state.is_due && !state.is_closed;
        state = if is_idle {
            // Orders may have come since the last look, when the thread was not idle yet.
            let waits = |state: &mut State| waits(state) && state.orders.is_empty();
            self.bell.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner)
        } else {
            let waited = self.bell.wait_timeout_while(state, SILENCE, waits);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        state.is_due = false;
        let orders = std::mem::take(&mut state.orders);
        ((!orders.is_empty()).then_some(orders), state.is_closed)
    }
}

/// Dropped when the thread ends, however that comes about.
struct ThreadEnd(Arc<Shared>);

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        self.0.state().has_ended = true;
        self.0.bell.notify_all();
    }
}

impl MuxQueue {
    /// Starts the thread.
    pub(super) fn start(mut muxer: MuxerControl) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let end = ThreadEnd(shared.clone());
        let work = move || {
            let shared = &end.0;
            let mut is_idle = true;
            loop {
                let (orders, is_last) = shared.next(is_idle);
                is_idle = orders.is_none();
                let mut bytes = 0;
                for order in orders.into_iter().flatten() {
                    bytes += order.bytes();
                    muxer.carry_out(order);
                    if bytes >= HAND_OVER_BYTES {
                        muxer.hand_over();
                        shared.state().bytes -= std::mem::take(&mut bytes);
                    }
                }
                muxer.hand_over();
                shared.state().bytes -= bytes;
                if is_last {
                    return;
                }
                if is_idle {
                    muxer.flush();
                }
            }
        };
        let spawned = thread::Builder::new().name("record".into()).spawn(work);
        spawned.map_err(|_| Error::Refused("start a thread for the record branch"))?;
        Ok(Self(shared))
    }

    /// Hands over an order; with `at_once`, it and all before it are carried out now. `false` if too much waits; the frame is lost
    /// then, and another muxer run must begin.
    pub(super) fn push(&self, order: Order, at_once: bool) -> bool {
        let bytes = order.bytes();
        let mut state = self.0.state();
        if state.has_ended || bytes > 0 && state.bytes + bytes > WAITING_BYTES {
            return false;
        }
        state.bytes += bytes;
        state.orders.push_back(order);
        if at_once || state.is_idle {
            state.is_due = true;
            drop(state);
            self.0.bell.notify_all();
        }
        true
    }

    /// Nothing more comes. Waits until all orders are carried out, at most until `deadline`; whether they are.
    pub(super) fn finish(self, deadline: Instant) -> bool {
        let mut state = self.0.state();
        state.is_closed = true;
        self.0.bell.notify_all();
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.0.bell.wait_timeout_while(state, left, |state| !state.has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }
}

impl Drop for MuxQueue {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
        self.0.bell.notify_all();
    }
}
