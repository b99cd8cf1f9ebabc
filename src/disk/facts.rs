//! What is on disk, for whoever keeps the index.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::model::segment::SegmentFacts;

/// Names a segment as long as the process runs; they grow in the order in which segments begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey(pub u64);

/// The latest facts of every segment that changed since somebody last asked. A consumer that is away for hours costs
/// one entry per segment, not one per fragment. Cheap to clone; needs no particular async runtime.
#[derive(Clone, Debug, Default)]
pub struct Facts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    changed: Mutex<BTreeMap<SegmentKey, SegmentFacts>>,
    wake: Notify,
}

impl Facts {
    /// What changed since the last call, in the order in which the segments began; all of it is synced. A segment whose
    /// state is neither `Open` nor `Suspect` does not come again.
    pub fn take(&self) -> Vec<(SegmentKey, SegmentFacts)> {
        std::mem::take(&mut *self.lock()).into_iter().collect()
    }

    /// How many segments wait to be taken.
    pub fn pending(&self) -> usize {
        self.lock().len()
    }

    /// Waits until there is something to take.
    pub async fn changed(&self) {
        loop {
            // Made before looking: what is published after the look wakes it.
            let woken = self.0.wake.notified();
            if self.pending() > 0 {
                return;
            }
            woken.await;
        }
    }

    pub(super) fn publish(&self, key: SegmentKey, facts: SegmentFacts) {
        self.lock().insert(key, facts);
        self.0.wake.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SegmentKey, SegmentFacts>> {
        self.0.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
