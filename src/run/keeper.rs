//! Deletes footage as [`crate::model::retention`] decides. It looks when the clerk has written rows, when a limit or a
//! hold changed, when the volume is full, and now and then, because others write to the volume too.
//!
//! A deletion is: the rows say `deleting`, the files are unlinked, their directories synced, the rows removed. A kill
//! between any two leaves rows that say what was begun, and whoever looks next ends it, at start before anything else.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use super::{clock::Clocks, hub::Hub, ledger::Ledgers};
use crate::{
    base::{CameraId, WallUs, error::Chain, threads::on_thread},
    disk::{self, Gone, Health, Space, Volume, VolumeWriter, remove},
    model::{
        copies::Place,
        event::{Kind, NewEvent, Severity},
        retention::{Bounds, Limit, Plan, Queue, Room, Shortage, Victim, plan},
    },
    store::{self, Doomed, Store},
};

/// Others write to the volume, too: its free space is looked at this often even if nothing is recorded.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// And so often while nothing can be written.
const LOOK_WHILE_FULL: Duration = Duration::from_secs(1);
/// Footage grows old also while nothing is recorded.
const AGE_EVERY: Duration = Duration::from_secs(60);
/// So many of each camera's oldest segments are looked at.
const HEAD: u32 = 32;
/// So many files are deleted with one pair of transactions.
const BATCH: u32 = 64;
/// Some file systems give room back only a while after a deletion, and none does while a player still reads the file.
/// So long what was deleted counts as free, unless a write fails.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(30);
/// After the host's clock was set forward by so much, age is not believed for so long: somebody may put it right again.
const JUMP_US: i64 = 3_600_000_000;
const DISTRUST: Duration = Duration::from_secs(3_600);

/// Limits for all cameras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageLimits {
    /// No more than so many bytes of footage.
    pub max_bytes: Option<u64>,
    /// So many bytes of the volume stay free [5 GiB or 5 %, the smaller].
    pub min_free_bytes: Option<u64>,
}

/// Why nothing could be deleted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot use the index")]
    Store(#[from] store::Error),
    #[error("cannot use the volume")]
    Disk(#[from] disk::Error),
    #[error("a thread died, or none can be started")]
    Thread,
}

/// Tells the keeper that there may be something to do. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeper(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wake: Notify,
    /// A segment was closed, or a limit or a hold changed.
    due: AtomicBool,
    now: Mutex<KeeperNow>,
}

/// How retention is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeeperNow {
    /// Segments deleted since the service started.
    pub deleted_segments: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Limits that cannot be met.
    pub shortages: Vec<Shortage>,
    /// Why recording stands still, if it does for lack of room.
    pub stopped: Option<String>,
}

impl Keeper {
    /// Rows were written; some segment may have been closed.
    pub(super) fn wrote(&self, closed: bool) {
        if closed {
            self.0.due.store(true, Relaxed);
        }
        self.0.wake.notify_one();
    }

    /// A limit or a hold changed.
    pub(super) fn changed(&self) {
        self.wrote(true);
    }

    pub(super) fn now(&self) -> KeeperNow {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, KeeperNow> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A volume whose footage is kept within limits.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) place: Place,
    pub(super) volume: Volume,
    /// There is no other in use.
    pub(super) alone: bool,
}

/// Ends every deletion that was begun. An error if some cannot be: their rows stay as they are.
pub(super) async fn finish(store: &Store, shelf: &Shelf) -> Result<(), Error> {
    loop {
        let doomed = store.doomed(shelf.place, BATCH).await?;
        if doomed.is_empty() {
            return Ok(());
        }
        let Ended { rows, failed, .. } = end(store, shelf, doomed, Begun::Before).await?;
        if let Some(error) = failed.filter(|_| rows == 0) {
            return Err(error.into());
        }
    }
}

/// When the rows were marked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// Now: the files should be there.
    Now,
    /// Some time ago: they may be gone.
    Before,
}

/// What the end of a deletion came to.
#[derive(Default)]
struct Ended {
    /// Rows that are gone.
    rows: usize,
    /// Files deleted.
    segments: u64,
    /// Their bytes.
    bytes: u64,
    /// Rows whose files were not there when their deletion was begun: they are lost, and not deleted.
    missing: Vec<i64>,
    /// Why some could not be deleted.
    failed: Option<disk::Error>,
}

/// Unlinks, syncs, and removes the rows. What fails stays as it is, for the next time.
async fn end(store: &Store, shelf: &Shelf, doomed: Vec<Doomed>, begun: Begun) -> Result<Ended, Error> {
    let volume = shelf.volume.clone();
    let outcomes = on_volume(move || {
        let paths: Vec<&str> = doomed.iter().map(|row| &*row.path).collect();
        let outcomes = remove(&volume, &paths);
        doomed.into_iter().zip(outcomes).collect::<Vec<_>>()
    });
    let (mut ended, mut gone) = (Ended::default(), Vec::new());
    for (Doomed { id, path, bytes }, outcome) in outcomes.await? {
        match outcome {
            Ok(Gone::Before) if begun == Begun::Now => ended.missing.push(id),
            Ok(_) => {
                ended.segments += 1;
                ended.bytes += bytes;
                gone.push(id);
            }
            // What is there now is no file of ours.
            Err(disk::Error::Refused { .. }) => {
                tracing::warn!(
                    segment.path = path,
                    "something else lies in place of a segment that was to be deleted"
                );
                gone.push(id);
            }
            Err(error) => ended.failed = Some(error),
        }
    }
    ended.rows = gone.len();
    store.remove_doomed(shelf.place, &gone, shelf.alone).await?;
    Ok(ended)
}

/// Work that may hang with the volume does so on a thread of its own, for as long as it likes: a stop does not wait for it.
async fn on_volume<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let done = on_thread("retention", work).map_err(|_| Error::Thread)?;
    done.await.map_err(|_| Error::Thread)
}

/// Keeps one volume.
pub(super) struct Work {
    pub(super) shelf: Shelf,
    pub(super) keeper: Keeper,
    pub(super) store: Store,
    pub(super) writer: VolumeWriter,
    pub(super) hub: Hub,
    pub(super) ledgers: Ledgers,
    pub(super) limits: StorageLimits,
    pub(super) state: State,
}

/// What it remembers between two looks.
pub(super) struct State {
    clocks: Clocks,
    /// Until then age is not believed.
    distrust: Option<Instant>,
    age_at: Option<Instant>,
    /// Bytes that were deleted and not given back yet, and when.
    pending: Option<(u64, Instant)>,
    /// The volume was full though there seemed to be room, and something was deleted for it.
    forced: bool,
    under_pressure: bool,
    failed: bool,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            clocks: Clocks::now(),
            distrust: None,
            age_at: None,
            pending: None,
            forced: false,
            under_pressure: false,
            failed: false,
        }
    }
}

impl Work {
    /// Works until `stop` comes, or its sender is gone. What it is at then is ended at the next start.
    pub(super) async fn work(mut self, mut stop: oneshot::Receiver<()>) {
        let keeper = self.keeper.clone();
        let mut health = self.writer.health();
        loop {
            let look = async {
                // That it is we who let nothing be written says nothing of the volume.
                let stopped = keeper.lock().stopped.is_some();
                let full = is_full(&health.borrow());
                self.look(full && !stopped).await;
                let within = if full { LOOK_WHILE_FULL } else { LOOK_EVERY };
                tokio::select! {
                    () = keeper.0.wake.notified() => {}
                    _ = timeout(within, health.changed()) => {}
                }
            };
            tokio::select! {
                () = look => {}
                _ = &mut stop => return,
            }
        }
    }

    async fn look(&mut self, full: bool) {
        match self.try_look(full).await {
            Ok(()) => self.state.failed = false,
            Err(error) => {
                // Said once; it is tried again with the next look.
                if !std::mem::replace(&mut self.state.failed, true) {
                    tracing::error!("retention cannot delete: {}", Chain(&error));
                }
            }
        }
    }

    async fn try_look(&mut self, full: bool) -> Result<(), Error> {
        // Its rows say nothing of what is there, and nothing can be deleted.
        if self.writer.volume().away().is_some() {
            return Ok(());
        }
        let space = self.space().await?;
        let room = Room::of(space.total_bytes, self.limits.min_free_bytes);
        let lack = self.lack(room, space, full);
        self.tell_pressure(room, space.free_bytes);
        let age_due = self.state.age_at.is_none_or(|at| at.elapsed() >= AGE_EVERY);
        let short = self.keeper.lock().stopped.is_some();
        if !self.keeper.0.due.swap(false, Relaxed) && lack == 0 && !age_due && !short {
            return Ok(());
        }
        self.state.age_at = Some(Instant::now());
        let done = self.delete(room, lack).await;
        if done.is_err() {
            // What was due still is.
            self.keeper.0.due.store(true, Relaxed);
        }
        done
    }

    async fn space(&self) -> Result<Space, Error> {
        let volume = self.writer.volume().clone();
        Ok(on_volume(move || volume.space()).await??)
    }

    /// What must become free.
    fn lack(&mut self, room: Room, space: Space, full: bool) -> u64 {
        self.state.forced &= full;
        self.state.pending = self.state.pending.filter(|(_, at)| at.elapsed() < GIVEN_BACK_WITHIN && !full);
        let pending = self.state.pending.map_or(0, |(bytes, _)| bytes);
        match room.lack(space.free_bytes.saturating_add(pending)) {
            // There is room, and yet there is none: a quota of the system, or no more inodes. Once, for if that does not
            // help, more of it will not.
            0 if full && !std::mem::replace(&mut self.state.forced, true) => room.headroom,
            lack => lack,
        }
    }

    fn tell_pressure(&mut self, room: Room, free: u64) {
        if free < room.floor && !self.state.under_pressure {
            self.state.under_pressure = true;
            let detail = format!(
                "{} of the {} are free, less than the {} that are to stay free ({}): old footage goes for it",
                size(free),
                self.shelf.place.word(),
                size(room.floor),
                self.setting(Limit::Free)
            );
            self.log(None, Kind::DiskPressure, Severity::Warning, detail);
        } else if free >= room.floor + room.headroom / 2 {
            self.state.under_pressure = false;
        }
    }

    /// Deletes until the limits are met or nothing is left that may go.
    async fn delete(&mut self, room: Room, mut lack: u64) -> Result<(), Error> {
        loop {
            if let Err(error) = finish(&self.store, &self.shelf).await {
                // A file that cannot be deleted must not keep the others; but where nothing can be, no more is begun.
                if self.store.doomed(self.shelf.place, BATCH).await?.len() >= BATCH as usize {
                    return Err(error);
                }
                tracing::debug!("some files cannot be deleted: {}", Chain(&error));
            }
            let began = Instant::now();
            let plan = self.plan(lack).await?;
            for batch in plan.victims.chunks(BATCH as usize) {
                let freed = self.delete_batch(batch).await?;
                lack = lack.saturating_sub(freed);
            }
            if !plan.unfinished {
                self.tell_shortages(room, plan.shortages).await?;
                return Ok(());
            }
            // The disk is for the cameras, unless they wait for room.
            if lack == 0 {
                tokio::time::sleep(began.elapsed()).await;
            }
        }
    }

    async fn plan(&mut self, lack_bytes: u64) -> Result<Plan, Error> {
        if self.state.clocks.step_us() >= JUMP_US {
            self.state.distrust = Some(Instant::now() + DISTRUST);
        }
        self.state.distrust = self.state.distrust.filter(|until| Instant::now() < *until);
        let now = self.state.distrust.is_none().then(WallUs::now);
        let bounds = Bounds { now, max_bytes: self.limits.max_bytes, lack_bytes };
        Ok(plan(&queues(&self.store, self.shelf.place, bounds, HEAD).await?, bounds))
    }

    /// Deletes these, and gives how many bytes that freed.
    async fn delete_batch(&mut self, victims: &[Victim]) -> Result<u64, Error> {
        let ids: Vec<i64> = victims.iter().map(|victim| victim.segment.id).collect();
        let before = self.space().await?;
        let doomed = self.store.doom(self.shelf.place, &ids).await?;
        let Ended { rows, segments, bytes, missing, failed } =
            end(&self.store, &self.shelf, doomed, Begun::Now).await?;
        for (camera, range) in self.store.lose_doomed(self.shelf.place, &missing).await? {
            tracing::warn!(camera.id = %camera, from = range.from.rfc3339(), "a segment is not on disk any more");
            self.ledgers.lost(&camera, range);
        }
        if let Some(error) = failed.filter(|_| rows == 0) {
            return Err(error.into());
        }
        let given_back = self.space().await?.free_bytes.saturating_sub(before.free_bytes);
        if given_back < bytes / 2 {
            let pending = self.state.pending.map_or(0, |(bytes, _)| bytes);
            self.state.pending = Some((pending + bytes - given_back, Instant::now()));
        }
        tracing::debug!(segments, bytes, "deleted by retention");
        let mut now = self.keeper.lock();
        now.deleted_segments += segments;
        now.deleted_bytes += bytes;
        Ok(bytes)
    }

    /// Says which limits cannot be met, and stops or resumes recording.
    async fn tell_shortages(&mut self, room: Room, mut shortages: Vec<Shortage>) -> Result<(), Error> {
        let free = self.space().await?.free_bytes;
        shortages.retain(|short| match short.limit {
            Limit::Free => self.keeper.lock().stopped.is_some() || room.is_used_up(free),
            // What is open now goes when it has ended.
            _ => short.by_holds,
        });
        let stop = shortages.iter().find(|short| short.camera.is_none()).map(|short| {
            let what = match short.limit {
                Limit::Free => {
                    format!(
                        "only {} are free ({}: {})",
                        size(free),
                        self.setting(Limit::Free),
                        size(room.floor)
                    )
                }
                limit => format!("held footage has {} more than {}", size(short.bytes), self.setting(limit)),
            };
            format!("{what}, and nothing is left that may be deleted; remove holds, or make room")
        });
        let known: BTreeSet<_> = self.keeper.lock().shortages.iter().map(key).collect();
        for short in shortages.iter().filter(|short| !known.contains(&key(short))) {
            let (severity, detail) = match (&short.camera, &stop) {
                (None, Some(stop)) if self.shelf.place == Place::Mirror => {
                    (Severity::Error, format!("the mirror takes nothing more: {stop}"))
                }
                (None, Some(stop)) => (Severity::Error, format!("recording stops: {stop}")),
                _ => (
                    Severity::Warning,
                    format!("held footage alone is {} over {}", size(short.bytes), self.setting(short.limit)),
                ),
            };
            self.log(short.camera.clone(), Kind::RetentionShortage, severity, detail);
        }
        let mut now = self.keeper.lock();
        if now.stopped.is_some() != stop.is_some() {
            self.writer.stop_for_room(stop.clone());
        }
        (now.shortages, now.stopped) = (shortages, stop);
        Ok(())
    }

    /// What a limit is called in the configuration.
    fn setting(&self, limit: Limit) -> String {
        match (self.shelf.place, limit) {
            (Place::Mirror, Limit::Total | Limit::Free) => format!("mirror_{}", limit.word()),
            _ => limit.word().to_owned(),
        }
    }

    fn log(&self, camera: Option<CameraId>, kind: Kind, severity: Severity, detail: String) {
        self.hub.log(NewEvent::new(WallUs::now(), camera, kind, severity, detail));
    }
}

fn key(short: &Shortage) -> (Option<CameraId>, Limit) {
    (short.camera.clone(), short.limit)
}

fn is_full(health: &Health) -> bool {
    matches!(health, Health::Failing { full: true, .. })
}

/// What is stored, with the beginning of the queues that may have to give.
pub(super) async fn queues(
    store: &Store,
    place: Place,
    bounds: Bounds,
    head: u32,
) -> Result<Vec<Queue>, store::Error> {
    let stored = store.stored(place).await?;
    let total: u64 = stored.iter().map(|stored| stored.bytes).sum();
    let all = bounds.lack_bytes > 0 || bounds.max_bytes.is_some_and(|max| total > max);
    let mut queues = Vec::with_capacity(stored.len());
    for store::Stored { camera, limits, bytes, held_bytes, .. } in stored {
        let gives =
            all || limits.retention_hours.is_some() || limits.quota_bytes.is_some_and(|quota| bytes > quota);
        let head_of = if gives { store.leaving(place, &camera, head).await? } else { Vec::new() };
        let more = head_of.len() == head as usize;
        queues.push(Queue { camera, limits, bytes, held_bytes, head: head_of, more });
    }
    Ok(queues)
}

/// `1.5 GB`, for people.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn size(bytes: u64) -> String {
    let (value, unit) = match bytes {
        0..1_000_000 => return format!("{} kB", bytes / 1000),
        1_000_000..1_000_000_000 => (bytes as f64 / 1e6, "MB"),
        _ => (bytes as f64 / 1e9, "GB"),
    };
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::Listing,
        model::{
            Profile,
            hold::NewHold,
            naming,
            reconcile::FoundFile,
            segment::{Codec, Extent, SegmentFacts, SegmentHead, SegmentState, Source},
            timeline::Range,
        },
        run::recovery::{self, Hashing, Repaired, Scope, Walk},
    };
    use std::fs;

    struct Desk {
        dir: tempfile::TempDir,
        store: Store,
        volume: Volume,
        ids: Vec<i64>,
    }

    fn front() -> CameraId {
        "front".parse().unwrap()
    }

    impl Desk {
        /// A minute of footage in each of so many segments, of 1000 bytes each.
        async fn new(segments: i64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("db")).await.unwrap();
            let volume = Volume::open(&dir.path().join("recordings")).unwrap();
            fs::create_dir(volume.root().join("front")).unwrap();
            let mut rows = Vec::new();
            for n in 0..segments {
                let start = WallUs(1_700_000_000_000_000 + n * 60_000_000);
                let path = naming::relative_path(&front(), start, 0);
                fs::write(volume.root().join(&path), [0; 1_000]).unwrap();
                let (camera, profile, codec, source) = (front(), Profile::Main, Codec::H264, Source::Live);
                let (width, height, audio) = (1, 1, None);
                let only_mirror = false;
                let head =
                    SegmentHead { camera, profile, start, codec, width, height, audio, source, only_mirror };
                let extent = Extent { frames: 1, bytes: 1_000, duration_us: 60_000_000 };
                rows.push((
                    Place::Primary,
                    SegmentFacts { head, path, extent, state: SegmentState::Closed, hash: None },
                ));
            }
            let ids = store.record(&rows).await.unwrap();
            Self { dir, store, volume, ids }
        }

        fn shelf(&self) -> Shelf {
            Shelf { place: Place::Primary, volume: self.volume.clone(), alone: true }
        }

        fn work(&self, limits: StorageLimits) -> Work {
            Work {
                shelf: self.shelf(),
                keeper: Keeper::default(),
                store: self.store.clone(),
                writer: VolumeWriter::start(self.volume.clone(), disk::Limits::default()).unwrap(),
                hub: Hub::new().0,
                ledgers: Ledgers::default(),
                limits,
                state: State::new(),
            }
        }

        fn files(&self) -> Vec<FoundFile> {
            let mut all = Vec::new();
            let mut listing = Listing::new(&self.volume, WallUs(i64::MAX)).unwrap();
            while let Some(page) = listing.page().unwrap() {
                all.extend(page);
            }
            all
        }

        async fn rows(&self) -> Vec<i64> {
            self.store
                .known_rows(Place::Primary, "", None, 99)
                .await
                .unwrap()
                .iter()
                .map(|row| row.id)
                .collect()
        }
    }

    #[tokio::test]
    async fn a_deletion_that_stops_after_any_step_is_ended_by_the_next_start_and_taken_back_by_nobody() {
        for steps in 0..=3 {
            let desk = Desk::new(4).await;
            let doomed = desk.store.doom(Place::Primary, &desk.ids[..2]).await.unwrap();
            // The second file stays where a kill comes between the two.
            let unlinked: Vec<&str> = doomed.iter().take(steps.min(2)).map(|row| &*row.path).collect();
            assert!(remove(&desk.volume, &unlinked).iter().all(Result::is_ok));
            if steps == 3 {
                desk.store.remove_doomed(Place::Primary, &desk.ids[..1], true).await.unwrap();
            }

            // What the comparison of files and rows makes of it, if it looks before anybody ends it.
            let scope = Scope { before: WallUs::now(), closed: true, sizes_since: WallUs(0) };
            let mut walk = Walk::new(Some(&desk.store), Place::Primary, &desk.volume, scope).await.unwrap();
            let mut done = Repaired::default();
            while let Some(page) = walk.next().await.unwrap() {
                assert_eq!(page.steps, [], "after {steps} steps");
                recovery::repair(
                    &desk.store,
                    Place::Primary,
                    &desk.volume,
                    page.steps,
                    Hashing::Never,
                    &mut done,
                )
                .await
                .unwrap();
            }
            finish(&desk.store, &desk.shelf()).await.unwrap();
            assert_eq!(desk.rows().await, desk.ids[2..], "after {steps} steps");
            assert_eq!(desk.files().len(), 2, "after {steps} steps");
        }
    }

    #[tokio::test]
    async fn the_oldest_go_for_a_limit_of_all_and_a_hold_protects() {
        let desk = Desk::new(200).await;
        let limits = StorageLimits { max_bytes: Some(20_000), min_free_bytes: Some(0) };
        let hold = NewHold {
            camera: front(),
            range: Range { from: WallUs(1_700_000_000_000_000), to: WallUs(1_700_000_000_000_001) },
            reason: "x".into(),
        };
        desk.store.add_hold(&hold, WallUs(1)).await.unwrap();
        let mut work = desk.work(limits);
        work.look(false).await;
        let kept: Vec<i64> = desk.ids[..1].iter().chain(&desk.ids[181..]).copied().collect();
        assert_eq!(desk.rows().await, kept);
        assert_eq!(desk.files().len(), 20);
        let now = work.keeper.now();
        assert_eq!((now.deleted_segments, now.deleted_bytes, now.shortages), (180, 180_000, vec![]));
    }

    #[tokio::test]
    async fn what_is_not_there_to_be_deleted_is_lost_and_not_forgotten() {
        let desk = Desk::new(4).await;
        fs::rename(desk.volume.root().join("front"), desk.dir.path().join("away")).unwrap();
        let mut work = desk.work(StorageLimits { max_bytes: Some(1_000), min_free_bytes: Some(0) });
        work.look(false).await;
        let states = async || -> Vec<SegmentState> {
            let rows = desk.store.known_rows(Place::Primary, "", None, 99).await.unwrap();
            rows.into_iter().map(|row| row.state).collect()
        };
        assert_eq!(states().await, [vec![SegmentState::Lost; 3], vec![SegmentState::Closed]].concat());
    }

    #[tokio::test]
    async fn what_lies_in_place_of_a_segment_stays_and_the_row_goes() {
        let desk = Desk::new(2).await;
        let doomed = desk.store.doom(Place::Primary, &desk.ids[..1]).await.unwrap();
        let place = desk.volume.root().join(&doomed[0].path);
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        finish(&desk.store, &desk.shelf()).await.unwrap();
        assert_eq!(desk.rows().await, desk.ids[1..]);
        assert!(place.is_dir());
    }
}
