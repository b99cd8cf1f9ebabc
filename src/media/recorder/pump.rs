//! Who carries out the orders. Without sound, the streaming thread does: the branch never makes it wait. With sound,
//! splitmuxsink lets pictures wait for the sound of their time, so there a thread does, and what waits is bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Instant,
};

use super::stretch::{Branch, Order};
use crate::media::Error;

/// So many bytes wait for a branch at most; sound that falls silent holds pictures up for less than two seconds.
const WAITING_BYTES: usize = 48 << 20;

#[derive(Debug)]
pub(super) enum Pump {
    /// In the streaming thread.
    Here(Branch),
    /// In a thread of its own.
    There(Queue),
}

/// The sending side of the thread's orders.
#[derive(Debug)]
pub(super) struct Queue {
    orders: Sender<Order>,
    bytes: Arc<AtomicUsize>,
    /// Gives up when the thread has ended.
    done: Receiver<()>,
}

impl Pump {
    /// With a thread of its own.
    pub(super) fn there(mut branch: Branch) -> Result<Self, Error> {
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
        Ok(Self::There(Queue { orders, bytes, done }))
    }

    /// Carries out an order, or sees to it. `false` if too much waits; the frame is lost then, and another stretch must
    /// begin.
    pub(super) fn order(&mut self, order: Order) -> bool {
        match self {
            Self::Here(branch) => {
                branch.order(order);
                true
            }
            Self::There(queue) => {
                let bytes = order.bytes();
                if bytes > 0 && queue.bytes.load(Relaxed) + bytes > WAITING_BYTES {
                    return false;
                }
                queue.bytes.fetch_add(bytes, Relaxed);
                queue.orders.send(order).is_ok()
            }
        }
    }

    /// Nothing more comes. Waits until all orders are carried out, at most until `deadline`.
    pub(super) fn finish(self, deadline: Instant) -> bool {
        match self {
            Self::Here(_) => true,
            Self::There(Queue { orders, done, .. }) => {
                drop(orders);
                let left = deadline.saturating_duration_since(Instant::now());
                done.recv_timeout(left) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
            }
        }
    }
}
