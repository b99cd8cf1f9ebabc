//! How much moved, and when: what is measured of each stream while its frames pass by, kept with its segments and read again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Error, Watchkeeper};
use crate::{
    base::CameraId,
    model::{
        Profile,
        ai::activity::{Activity, Summary},
        segment::SegmentFacts,
        timeline::Range,
    },
};

/// The last segment of a camera that was deleted reaches the index within this.
const LAST_SEGMENT_WITHIN: Duration = Duration::from_secs(30);
/// Most values of an answer: more than a screen has columns.
const VALUES_MAX: usize = 2_000;

type OfStream = Arc<Mutex<Activity>>;

/// What is measured of each stream, over all its sessions. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Activities(Arc<Mutex<HashMap<(CameraId, bool), OfStream>>>);

impl Activities {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<(CameraId, bool), OfStream>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Of one stream.
    pub(super) fn of(&self, camera: &CameraId, profile: Profile) -> OfStream {
        self.with(|all| all.entry((camera.clone(), profile == Profile::Sub)).or_default().clone())
    }

    /// What is to be kept with a segment that has ended. `None` if nothing is known of it.
    pub(super) fn levels(&self, facts: &SegmentFacts) -> Option<Vec<u8>> {
        let of = self.known(&facts.head.camera, facts.head.profile)?;
        let of = of.lock().unwrap_or_else(PoisonError::into_inner);
        of.stored(facts.head.start.0, facts.end().0)
    }

    fn known(&self, camera: &CameraId, profile: Profile) -> Option<OfStream> {
        self.with(|all| all.get(&(camera.clone(), profile == Profile::Sub)).cloned())
    }

    /// Forgets a camera that was deleted, when its last segment is in the index and no session uses it any more.
    pub(super) fn forget(&self, camera: CameraId) {
        let all = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LAST_SEGMENT_WITHIN).await;
            all.with(|all| all.retain(|(of, _), used| *of != camera || Arc::strong_count(used) > 1));
        });
    }
}

impl Watchkeeper {
    /// How much moved in the recorded time of a camera, also of one that was deleted, up to now.
    pub async fn activity(&self, camera: &CameraId, window: Range) -> Result<Summary, Error> {
        let mut summary = Summary::new(window, VALUES_MAX);
        let mut growing = Vec::new();
        let each = |of: crate::store::Watched| match of.levels {
            Some(levels) => summary.add(of.range.from.0, &levels),
            None if of.open => growing.push((of.profile, of.range)),
            None => {}
        };
        self.0.store.activity(camera, window, each).await?;
        for (profile, range) in growing {
            if let Some(of) = self.0.deps.activities.known(camera, profile) {
                let of = of.lock().unwrap_or_else(PoisonError::into_inner);
                summary.add(range.from.0, &of.stored(range.from.0, range.to.0).unwrap_or_default());
            }
        }
        Ok(summary)
    }
}
