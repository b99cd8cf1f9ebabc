//! The thread of the record branch, which carries out what the gate decides. splitmuxsink may wait in it, for the sound of the time of a
//! picture or for its own threads; the source never does. What waits is bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::stretch::{Branch, Order};
use crate::media::Error;

/// At most so many bytes wait for a branch; sound that falls silent holds pictures up for less than two seconds.
const WAITING_BYTES: usize = 48 << 20;

/// The last pictures wait so long for the sound of their time when a session ends.
const SOUND_WITHIN: Duration = Duration::from_millis(200);

/// The sending side of the thread's orders.
#[derive(Debug)]
pub(super) struct Pump {
    orders: Sender<Order>,
    bytes: Arc<AtomicUsize>,
    /// Disconnected when the thread has ended.
    done: Receiver<()>,
}

impl Pump {
    /// Starts the thread.
    pub(super) fn start(mut branch: Branch) -> Result<Self, Error> {
        let (orders, to_do) = channel::<Order>();
        let (ended, done) = channel();
        let bytes = Arc::new(AtomicUsize::new(0));
        let taken = bytes.clone();
        let work = move || {
            let _ended: Sender<()> = ended;
            for order in to_do {
                taken.fetch_sub(order.bytes(), Relaxed);
                branch.order(order);
            }
        };
        let spawned = thread::Builder::new().name("record".into()).spawn(work);
        spawned.map_err(|_| Error::Refused("start a thread for the record branch"))?;
        Ok(Self { orders, bytes, done })
    }

    /// Sees to an order. `false` if too much waits; the frame is lost then, and another muxer run must begin.
    pub(super) fn order(&mut self, order: Order) -> bool {
        let bytes = order.bytes();
        if bytes > 0 && self.bytes.load(Relaxed) + bytes > WAITING_BYTES {
            return false;
        }
        self.bytes.fetch_add(bytes, Relaxed);
        self.orders.send(order).is_ok()
    }

    /// Nothing more comes. Waits until all orders are carried out, at most until `deadline`. `release` lets go the pictures that wait for
    /// sound of their time: none comes any more.
    pub(super) fn finish(self, deadline: Instant, release: impl FnOnce()) -> bool {
        drop(self.orders);
        let ended_by = |deadline: Instant| {
            let left = deadline.saturating_duration_since(Instant::now());
            self.done.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
        };
        if ended_by(deadline.min(Instant::now() + SOUND_WITHIN)) {
            return true;
        }
        release();
        ended_by(deadline)
    }
}
