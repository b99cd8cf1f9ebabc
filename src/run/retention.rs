//! Holds, what retention would delete next, and how far back the footage will reach.

use super::{
    Error, Watchkeeper,
    keeper::{self, Keeper, KeeperNow},
};
use crate::{
    base::{CameraId, WallUs},
    model::{
        copies::Place,
        hold::{HoldKeeps, NewHold},
        retention::{Bounds, Limits, Pace, Room, Victim, forecast, plan},
    },
    store,
};

const DAY_US: i64 = 86_400_000_000;
/// A camera that is recorded for less than this says little about its pace.
const LEAST_US: i64 = 60_000_000;
/// No more segments are named as next.
const NEXT_MAX: u32 = 1_000;

/// How retention stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RetentionNow {
    /// Limit of all footage in bytes.
    pub max_bytes: Option<u64>,
    /// What stays free of the volume, in bytes.
    pub min_free_bytes: u64,
    /// What is free of it.
    pub free_bytes: u64,
    /// Bytes of all footage.
    pub stored_bytes: u64,
    /// Each camera that has footage, by id.
    pub cameras: Vec<CameraStored>,
    /// What goes next, in order.
    pub next: Vec<Next>,
    /// What was done, and what cannot be.
    pub keeper: KeeperNow,
}

/// What a camera has.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraStored {
    /// Whose; also of one that was deleted.
    pub camera: CameraId,
    /// What it may keep.
    pub limits: Limits,
    /// So many segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of those that are held.
    pub held_bytes: u64,
    /// Where its oldest footage begins.
    pub oldest: Option<WallUs>,
    /// What a day of it takes, from the last day.
    pub bytes_per_day: u64,
    /// How many days it will reach back when the volume is full and all goes on as it does.
    pub forecast_days: Option<f64>,
}

/// A segment that goes before others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Which, and by which limit.
    pub victim: Victim,
    /// Whether it goes now. If not, it does when room is needed.
    pub due: bool,
}

impl Watchkeeper {
    /// How retention of a volume stands, and the `limit` segments that go next from it. Reads the rows of the last day.
    pub async fn retention(&self, place: Place, limit: u32) -> Result<RetentionNow, Error> {
        let (store, now) = (&self.0.store, WallUs::now());
        let keeper = self.0.keepers.get(usize::from(place == Place::Mirror)).ok_or(Error::NoMirror)?;
        let (volume, limits) = (self.volume_now(place), self.0.settings.limits(place));
        let room = Room::of(volume.total_bytes, limits.min_free_bytes);
        let max_bytes = limits.max_bytes;
        let mut paces = Vec::new();
        let mut cameras = Vec::new();
        for store::Stored { camera, limits, segments, bytes, held_bytes } in store.stored(place).await? {
            let store::Lately { bytes: lately, since, oldest } =
                store.lately(&camera, now.plus_us(-DAY_US)).await?;
            let span = since.map_or(DAY_US, |since| (now.0 - since.0).clamp(LEAST_US, DAY_US));
            let bytes_per_day =
                u128::from(lately) * u128::from(DAY_US.unsigned_abs()) / u128::from(span.unsigned_abs());
            let bytes_per_day = u64::try_from(bytes_per_day).unwrap_or(u64::MAX);
            paces.push(Pace { limits, bytes, bytes_per_day });
            let forecast_days = None;
            cameras.push(CameraStored {
                camera,
                limits,
                segments,
                bytes,
                held_bytes,
                oldest,
                bytes_per_day,
                forecast_days,
            });
        }
        let stored_bytes = paces.iter().map(|pace| pace.bytes).sum::<u64>();
        let capacity =
            stored_bytes.saturating_add(volume.free_bytes).saturating_sub(room.floor + room.headroom);
        let days = forecast(&paces, max_bytes.map_or(capacity, |max| max.min(capacity)));
        for (camera, days) in cameras.iter_mut().zip(days) {
            camera.forecast_days = days;
        }
        let limit = limit.clamp(1, NEXT_MAX);
        let bounds = Bounds { now: Some(now), max_bytes, lack_bytes: room.lack(volume.free_bytes) };
        // As if everything had to go.
        let all = Bounds { lack_bytes: u64::MAX, ..bounds };
        let queues = keeper::queues(store, place, all, limit).await?;
        let due = plan(&queues, bounds).victims;
        let mut order = plan(&queues, all).victims;
        order.truncate(limit as usize);
        let next = order.into_iter().map(|victim| Next { due: due.contains(&victim), victim }).collect();
        Ok(RetentionNow {
            max_bytes,
            min_free_bytes: room.floor,
            free_bytes: volume.free_bytes,
            stored_bytes,
            cameras,
            next,
            keeper: keeper.now(),
        })
    }

    /// Holds of a camera, or of all, with what each keeps.
    pub async fn holds(&self, camera: Option<&CameraId>) -> Result<Vec<HoldKeeps>, Error> {
        Ok(self.0.store.holds(camera).await?)
    }

    /// Protects the footage of a time range, also what is still to come of it; of a camera that is there, or of which
    /// there is footage.
    pub async fn add_hold(&self, hold: NewHold) -> Result<HoldKeeps, Error> {
        hold.check()?;
        let _one = self.turn().await?;
        if self.with(&hold.camera, |_| ()).is_err() {
            let mut known = false;
            for place in Place::ALL {
                let stored = self.0.store.stored(*place).await?;
                known |= stored.iter().any(|stored| stored.camera == hold.camera);
            }
            if !known {
                return Err(Error::NoCamera(hold.camera));
            }
        }
        match self.0.store.add_hold(&hold, WallUs::now()).await {
            Err(store::Error::TooMany { most, .. }) => Err(Error::TooManyHolds { camera: hold.camera, most }),
            added => Ok(self.0.store.keeps(added?).await?),
        }
    }

    /// Ends a hold. What it alone protected may be deleted from now on.
    pub async fn remove_hold(&self, camera: &CameraId, id: i64) -> Result<(), Error> {
        let _one = self.turn().await?;
        match self.0.store.remove_hold(camera, id).await {
            Err(store::Error::NotFound { .. }) => return Err(Error::NoHold { camera: camera.clone(), id }),
            removed => removed?,
        }
        self.0.keepers.iter().for_each(Keeper::changed);
        Ok(())
    }
}
