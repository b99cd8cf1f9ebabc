//! Gaps and coverage, as the index knows them.

use super::{CoverageNow, Error, GapPage, GapQuery, Watchkeeper};
use crate::{
    base::{CameraId, WallUs},
    model::{
        camera::BadField,
        coverage::{self, Part},
        refill::queue::RefillState,
        timeline::Range,
    },
    store,
};

impl Watchkeeper {
    /// Gaps, newest first.
    pub async fn gaps(&self, query: GapQuery) -> Result<GapPage, Error> {
        let GapQuery { camera, range, least_us, after, limit } = query;
        let limit = limit.clamp(1, 1000);
        let page = store::GapPage {
            camera: camera.as_ref(),
            range,
            least_us,
            now: WallUs::now(),
            after,
            limit: limit + 1,
        };
        let mut gaps = match self.0.store.gaps(page).await {
            Err(store::Error::NotFound { .. }) => {
                let message = "is the id of no gap; take `next` of the page before".to_owned();
                return Err(BadField { field: "after".into(), message }.into());
            }
            other => other?,
        };
        let more = gaps.len() > limit as usize;
        gaps.truncate(limit as usize);
        let next = gaps.last().filter(|_| more).map(|last| last.id);
        Ok(GapPage { gaps, next })
    }

    /// What became of a stretch of time, up to where something is known. Reads two indexes, and of them only what lies
    /// in `window`.
    pub async fn coverage(&self, camera: &CameraId, window: Range) -> Result<Vec<Part>, Error> {
        // Footage first: a gap that it ends is written after it.
        let footage = self.0.store.ranges(camera, window).await?;
        let gaps = self.0.store.stretches(camera, window).await?;
        let stretches: Vec<_> = gaps.into_iter().map(|gap| gap.stretch).collect();
        Ok(coverage::parts(&footage, &stretches, window, WallUs::now()))
    }

    /// What of `window` came from the camera's own storage, and how it stands with fetching the rest: of the newest gaps, if
    /// there are thousands.
    pub async fn refill_states(
        &self,
        camera: &CameraId,
        window: Range,
    ) -> Result<Vec<(Range, RefillState)>, Error> {
        let filled = self.0.store.refilled(camera, window).await?;
        let mut states: Vec<_> = filled.into_iter().map(|range| (range, RefillState::Filled)).collect();
        let query =
            GapQuery { camera: Some(camera.clone()), range: window, least_us: 0, after: None, limit: 1000 };
        for gap in self.gaps(query).await?.gaps {
            let range = Range { from: gap.stretch.from, to: gap.stretch.to.unwrap_or(window.to) };
            states.extend(self.refill_state(&gap).map(|state| (range, state)));
        }
        Ok(states)
    }

    /// How much of each camera's wanted time was recorded today and yesterday, and what is missing now.
    pub fn coverage_now(&self) -> Vec<CoverageNow> {
        self.0.ledgers.now(WallUs::now())
    }
}
