//! Copies what one volume lacks of what the other has: after an outage of the mirror, after one of the primary, and what
//! the scrub found damaged. The newest first, no faster than it may, and only while both volumes are well: footage that is
//! being recorded comes before.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    hub::Hub,
    keeper::{Keeper, StorageLimits},
    ledger::Ledgers,
};
use crate::{
    base::{CameraId, WallUs, error::Chain, threads::on_thread, ticks::Ticks},
    disk::{self, Health, Volume, VolumeWriter, Volumes, copy},
    model::{
        copies::{CopyState, Place},
        event::{Kind, NewEvent, Severity},
        mirror::{Having, Offer, is_admitted},
        retention::Room,
        segment::Hash,
    },
    store::{self, Due, Store},
};

/// Between looks for what is due.
const EVERY: Duration = Duration::from_secs(2);
/// What ended later may still be on its way to the volume.
const SETTLED_US: i64 = 10_000_000;
/// A volume whose writer waits longer is left to it.
const BUSY: Duration = Duration::from_secs(1);
/// So many of each camera's are looked at together.
const HEAD: u32 = 16;
/// A segment that could not be copied is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// Why nothing could be copied now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot use the index")]
    Store(#[from] store::Error),
    #[error("cannot use the volume")]
    Disk(#[from] disk::Error),
    #[error("a thread died, or none can be started")]
    Thread,
}

pub(super) struct Resync {
    /// What is copied to.
    pub(super) to: Place,
    pub(super) volumes: Volumes,
    pub(super) store: Store,
    pub(super) hub: Hub,
    pub(super) limits: StorageLimits,
    /// Makes room on the volume that is copied to.
    pub(super) keeper: Keeper,
    pub(super) ledgers: Ledgers,
    pub(super) bytes_per_second: u64,
    pub(super) failed: HashMap<i64, Instant>,
}

impl Resync {
    /// Works until `stop` comes, or its sender is gone. A copy that hangs is left to its thread.
    pub(super) async fn work(mut self, mut stop: oneshot::Receiver<()>) {
        let going = Arc::new(AtomicBool::new(true));
        let (mut said, mut ticks) = (false, Ticks::new());
        loop {
            let round = async {
                match self.round(&going).await {
                    Ok(true) => said = false,
                    Ok(false) => ticks.next(EVERY).await,
                    Err(error) => {
                        // Said once; it is tried again.
                        if !std::mem::replace(&mut said, true) {
                            tracing::warn!("cannot copy to the {}: {}", self.to.word(), Chain(&error));
                        }
                        ticks.next(EVERY).await;
                    }
                }
            };
            tokio::select! {
                () = round => {}
                _ = &mut stop => {
                    going.store(false, Relaxed);
                    return;
                }
            }
        }
    }

    /// Copies the newest segment that is due; whether there was one.
    pub(super) async fn round(&mut self, going: &Arc<AtomicBool>) -> Result<bool, Error> {
        if !self.both_well() {
            return Ok(false);
        }
        self.failed.retain(|_, at| at.elapsed() < AGAIN);
        let Some(due) = self.next().await? else { return Ok(false) };
        let id = due.id;
        let done = self.copy(due, going).await;
        if !matches!(done, Ok(true)) {
            self.failed.insert(id, Instant::now());
        }
        done
    }

    fn both_well(&self) -> bool {
        self.volumes.all().count() == 2
            && self.volumes.all().all(|(_, writer)| {
                *writer.health().borrow() == Health::Ok
                    && writer.volume().away().is_none()
                    && writer.lag() < BUSY
            })
    }

    fn volume(&self, place: Place) -> Result<Volume, Error> {
        self.volumes.at(place).map(|writer| writer.volume().clone()).ok_or(Error::Thread)
    }

    /// The newest segment of all cameras that is due and that would stay.
    async fn next(&self) -> Result<Option<Due>, Error> {
        let now = WallUs::now();
        let settled = now.plus_us(-SETTLED_US);
        let stored = self.store.stored(self.to).await?;
        let volume = self.volume(self.to)?;
        let space = on_thread("resync", move || volume.space()).map_err(|_| Error::Thread)?;
        let space = space.await.map_err(|_| Error::Thread)??;
        let room = Room::of(space.total_bytes, self.limits.min_free_bytes);
        let all_bytes = stored.iter().map(|stored| stored.bytes).sum();
        let mut newest: Option<Due> = None;
        for (camera, limits) in self.store.copied_cameras(self.to).await? {
            let camera_bytes = stored.iter().find(|of| of.camera == camera).map_or(0, |of| of.bytes);
            let having = Having {
                room,
                free_bytes: space.free_bytes,
                max_bytes: self.limits.max_bytes,
                all_bytes,
                camera_bytes,
                limits,
                now,
            };
            if let Some(due) = self.next_of(&camera, having, settled).await?
                && newest.as_ref().is_none_or(|newest| due.start > newest.start)
            {
                newest = Some(due);
            }
        }
        Ok(newest)
    }

    async fn next_of(
        &self,
        camera: &CameraId,
        having: Having,
        settled: WallUs,
    ) -> Result<Option<Due>, Error> {
        let oldest = self.store.leaving(self.to, camera, 1).await?.first().map(|oldest| oldest.start);
        let mut before = settled;
        loop {
            let page = self.store.due(self.to, camera, before, HEAD).await?;
            let Some(last) = page.last() else { return Ok(None) };
            before = last.start;
            for due in page {
                // A volume that hung may write now what ended long ago.
                let in_hand = |writer: &VolumeWriter| writer.has_in_hand(&due.path);
                if due.end > settled
                    || self.failed.contains_key(&due.id)
                    || self.volumes.at(self.to).is_some_and(in_hand)
                {
                    continue;
                }
                let newer = oldest.is_none_or(|oldest| due.start > oldest);
                let offer = Offer { bytes: due.bytes, end: due.end, newer };
                // What is there takes no more room when it is whole.
                if due.there || is_admitted(offer, having) {
                    return Ok(Some(due));
                }
                if !newer {
                    return Ok(None);
                }
            }
        }
    }

    /// Makes one copy whole. `false` if it could not be; what is behind that is noted.
    async fn copy(&self, due: Due, going: &Arc<AtomicBool>) -> Result<bool, Error> {
        let (from, to) = (self.volume(self.to.other())?, self.volume(self.to)?);
        let mut pace = Pace::new(self.bytes_per_second, going.clone());
        let (path, right, there, bytes) = (due.path.clone(), due.hash, due.there, due.bytes);
        let made = on_thread("resync", move || {
            make_whole(&from, &to, &path, bytes, right, there, |bytes| pace.go_on(bytes))
        });
        let made = made.map_err(|_| Error::Thread)?.await.map_err(|_| Error::Thread)?;
        let Due { id, camera, path, .. } = due;
        match made {
            Ok(hash) => {
                if self.store.copied(self.to, id, Some(hash)).await? {
                    tracing::debug!(segment.path = path, "made whole on the {}", self.to.word());
                } else if !self.has_a_copy(id).await? {
                    // Retention took the row, or the other copy, meanwhile: the file is nobody's.
                    self.forget(path).await?;
                }
                self.keeper.wrote(true);
                Ok(true)
            }
            Err(disk::Error::Altered { path: at }) if at.is_relative() => {
                self.damaged(id, camera, &path, CopyState::Suspect, "is not what was recorded").await?;
                Ok(false)
            }
            Err(disk::Error::NotFound { .. }) => {
                self.damaged(id, camera, &path, CopyState::Absent, "is gone").await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the row says that there is a file where it was copied to.
    async fn has_a_copy(&self, id: i64) -> Result<bool, Error> {
        match self.store.segment(id).await {
            Ok(segment) => Ok(segment.copies.at(self.to).is_there()),
            Err(store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What was to be copied is damaged itself. Footage that is lost by it is a gap.
    async fn damaged(
        &self,
        id: i64,
        camera: CameraId,
        path: &str,
        copy: CopyState,
        what: &str,
    ) -> Result<(), Error> {
        let from = self.to.other();
        if let Some(lost) = self.store.found_damaged(from, id, copy).await? {
            lost.iter().for_each(|(camera, range)| self.ledgers.lost(camera, *range));
            let detail = format!("{path} on the {} {what}", from.word());
            self.log(camera, Kind::SegmentDamaged, Severity::Error, detail);
        }
        Ok(())
    }

    async fn forget(&self, path: String) -> Result<(), Error> {
        let volume = self.volume(self.to)?;
        let removed =
            on_thread("resync", move || disk::remove(&volume, &[&path])).map_err(|_| Error::Thread)?;
        removed.await.map_err(|_| Error::Thread)?.into_iter().try_for_each(|gone| gone.map(|_| ()))?;
        Ok(())
    }

    fn log(&self, camera: CameraId, kind: Kind, severity: Severity, detail: String) {
        self.hub.log(NewEvent::new(WallUs::now(), Some(camera), kind, severity, detail));
    }
}

/// Compares what is there, and copies if it is not the same. The hash of both afterwards. Also for `check --repair`.
pub fn make_whole(
    from: &Volume,
    to: &Volume,
    path: &str,
    bytes: u64,
    right: Option<Hash>,
    there: bool,
    go_on: impl FnMut(u64) -> bool,
) -> Result<Hash, disk::Error> {
    // Also where the index knows of none: a kill may have come between the copy and its note.
    if to.open_segment_file(path).is_ok_and(|open| open.bytes >= bytes) {
        let right = match right {
            Some(right) => right,
            None => disk::hash(from, path)?,
        };
        if disk::hash(to, path).is_ok_and(|hash| hash == right) {
            return Ok(right);
        }
    }
    copy(from, to, path, right, there, go_on)
}

/// Lets so many bytes a second through, and none when it is to stop.
pub(super) struct Pace {
    bytes_per_second: u64,
    began: Instant,
    bytes: u64,
    going: Arc<AtomicBool>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64, going: Arc<AtomicBool>) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), began: Instant::now(), bytes: 0, going }
    }

    /// Waits as long as `bytes` more are too early; whether to go on.
    pub(super) fn go_on(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        let us = u128::from(self.bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        let due = self.began + Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX));
        while self.going.load(Relaxed) {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::park_timeout(left.min(Duration::from_millis(200)));
        }
        false
    }
}
