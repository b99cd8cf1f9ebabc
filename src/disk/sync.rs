//! The second thread: what was written reaches the medium about once a second, without the writer waiting for it, and
//! only then does anybody hear of it: a row of the index never speaks of bytes that a power cut could still take.
//!
//! One pass for all cameras, with one `fdatasync` for each file that was written to, a few side by side: a file system
//! with a journal then commits once for several, and a pass takes a fifth of the time. `syncfs` would be one call and no
//! faster, but it waits for whatever else is being written on that file system, and does not say which file failed. A
//! new file does not wait for the pass: it is synced at once, with its entry in the directory, and again as it grows in
//! its first second, for then come all the frames from before a trigger; and so is one that ended.
//!
//! The facts of a camera's segments are published in their order, on each volume: the ledger would count a segment that comes late as
//! a gap. When a camera's next file is new, the one before it is synced in the same pass, by the same thread.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Error,
    facts::{Facts, SegmentKey},
    failed,
    health::{Health, Monitor, Part},
    volume::Volume,
};
use crate::{
    base::CameraId,
    model::segment::{SegmentFacts, SegmentState, Source},
};

/// Between two passes. With a second of footage in a fragment, power loss costs at most 2 s.
const EVERY: Duration = Duration::from_secs(1);

/// The same for a second copy while the first is well: what power loss takes of it is copied again from there.
const EVERY_SECOND_COPY: Duration = Duration::from_secs(5);

/// So many files are synced side by side.
const SIDE_BY_SIDE: usize = 4;

/// Collects what is to be synced.
#[derive(Clone, Debug)]
pub(super) struct Syncer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    due: Mutex<Due>,
    wake: Condvar,
    facts: Facts,
    health: Arc<Monitor>,
    /// Of the volume with the first copies, if this one has the second.
    first: Option<watch::Receiver<Health>>,
    /// Segments that are not over and of which a sync failed.
    suspect: Mutex<HashSet<SegmentKey>>,
    /// Help with a pass of several files; started when there first are.
    helpers: Mutex<Vec<mpsc::Sender<Share>>>,
    /// A pass waits for it.
    #[cfg(test)]
    gate: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Due {
    /// Files written since the last pass. A file that a pass syncs for ever holds one entry, not one per write.
    files: BTreeMap<SegmentKey, Written>,
    /// To be told when everything so far is synced.
    acks: Vec<mpsc::Sender<()>>,
    stop: bool,
    /// The thread waits without limit.
    is_idle: bool,
}

/// When files were synced last that were not urgent.
struct Passes {
    any: Instant,
    second_copies: Instant,
}

/// A file that was written to.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    /// When it began.
    pub(super) created: Instant,
    /// What is true once it is synced.
    pub(super) facts: SegmentFacts,
    /// If it is new.
    pub(super) entry: Option<Entry>,
}

impl Written {
    /// Whose footage it is; live and fetched footage are kept apart.
    fn camera(&self) -> (CameraId, Source) {
        (self.facts.head.camera.clone(), self.facts.head.source)
    }

    fn is_urgent(&self) -> bool {
        self.entry.is_some() || self.facts.state != SegmentState::Open || self.created.elapsed() < EVERY
    }
}

/// A new file's entry in its directory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) dir: OwnedFd,
    pub(super) path: PathBuf,
    /// If the directory is new, too.
    pub(super) root: Option<Volume>,
}

/// The files of one camera in a pass, in their order.
type Files = Vec<(SegmentKey, Written)>;

/// The files of one pass, and what came of it.
#[derive(Debug, Default)]
struct Pass {
    cameras: Mutex<Vec<Files>>,
    /// Helpers that have not finished.
    at_work: Mutex<usize>,
    bell: Condvar,
    mended: AtomicBool,
    failed: AtomicBool,
}

impl Pass {
    fn at_work(&self) -> MutexGuard<'_, usize> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs files until none is left.
    fn work(&self, shared: &Shared) {
        // In a statement of its own, so that the others need not wait.
        while let Some(files) = { self.cameras.lock().unwrap_or_else(PoisonError::into_inner).pop() } {
            for (key, written) in files {
                let (synced, sound) = shared.sync(key, written);
                self.failed.fetch_or(!synced, Relaxed);
                self.mended.fetch_or(sound, Relaxed);
            }
        }
    }
}

/// A helper's share in a pass. Dropping it counts as finished: also if the helper dies before it takes it.
#[derive(Debug)]
struct Share(Arc<Pass>);

impl Share {
    fn of(pass: &Arc<Pass>) -> Self {
        *pass.at_work() += 1;
        Self(pass.clone())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.0.at_work() -= 1;
        self.0.bell.notify_all();
    }
}

impl Syncer {
    /// `first` is the health of the volume with the first copies, if this one has the second.
    pub(super) fn start(
        facts: Facts,
        health: Arc<Monitor>,
        first: Option<watch::Receiver<Health>>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            due: Mutex::default(),
            wake: Condvar::new(),
            facts,
            health,
            first,
            suspect: Mutex::default(),
            helpers: Mutex::default(),
            #[cfg(test)]
            gate: Arc::default(),
        });
        let syncer = Self(Arc::clone(&shared));
        thread::Builder::new().name("volume-sync".to_owned()).spawn(move || shared.run())?;
        Ok(syncer)
    }

    /// A file was written to, or its segment ended.
    pub(super) fn written(&self, key: SegmentKey, mut written: Written) {
        let mut due = self.0.lock();
        // The thread wakes by itself as long as it had files to sync lately.
        let wakes = due.is_idle || written.is_urgent();
        if let Some(before) = due.files.remove(&key) {
            written.entry = written.entry.or(before.entry);
        }
        due.files.insert(key, written);
        if wakes {
            self.0.wake.notify_one();
        }
    }

    /// Syncs now, and then tells `ack`.
    pub(super) fn flush(&self, ack: mpsc::Sender<()>) {
        self.0.lock().acks.push(ack);
        self.0.wake.notify_one();
    }

    /// Ends the thread after one more pass.
    pub(super) fn stop(&self) {
        self.0.lock().stop = true;
        self.0.wake.notify_one();
    }

    /// Lets the next pass wait until this is unlocked.
    #[cfg(test)]
    pub(super) fn gate(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.0.gate)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(self: Arc<Self>) {
        let mut last = Passes { any: Instant::now(), second_copies: Instant::now() };
        loop {
            let due = self.wait(&mut last);
            #[cfg(test)]
            drop(self.gate.lock());
            self.health.sync_runs(true);
            self.pass(due.files);
            self.health.sync_runs(false);
            for ack in &due.acks {
                // Whoever asked may have stopped waiting.
                let _ = ack.send(());
            }
            if due.stop {
                return;
            }
        }
    }

    /// Waits until a file began, is young or ended, or one has waited for its time, or somebody asks for all now.
    fn wait(&self, last: &mut Passes) -> Due {
        let mut due = self.lock();
        loop {
            if due.stop || !due.acks.is_empty() {
                *last = Passes { any: Instant::now(), second_copies: Instant::now() };
                return std::mem::take(&mut *due);
            }
            let left = EVERY.saturating_sub(last.any.elapsed());
            let with_second_copies =
                last.second_copies.elapsed() >= EVERY_SECOND_COPY || !self.is_second_of_a_healthy_first();
            let new_files = due.files.values().filter(|written| written.entry.is_some());
            let with_new_files: Vec<_> = new_files.map(Written::camera).collect();
            let is_due = |written: &Written| {
                let its_turn = written.facts.head.only_mirror || with_second_copies;
                written.is_urgent()
                    || (left.is_zero() && its_turn)
                    || (!with_new_files.is_empty() && with_new_files.contains(&written.camera()))
            };
            let now: BTreeMap<_, _> = due.files.extract_if(.., |_, written| is_due(written)).collect();
            if !now.is_empty() {
                if left.is_zero() {
                    last.any = Instant::now();
                    if with_second_copies {
                        last.second_copies = last.any;
                    }
                }
                return Due { files: now, ..Due::default() };
            }
            due = if due.files.is_empty() && left.is_zero() {
                due.is_idle = true;
                self.wake.wait(due).unwrap_or_else(PoisonError::into_inner)
            } else {
                // The first volume may fail meanwhile, hence not for longer.
                let sleep = if left.is_zero() { EVERY } else { left };
                self.wake.wait_timeout(due, sleep).unwrap_or_else(PoisonError::into_inner).0
            };
            due.is_idle = false;
        }
    }

    fn is_second_of_a_healthy_first(&self) -> bool {
        self.first.as_ref().is_some_and(|first| *first.borrow() == Health::Ok)
    }

    fn pass(self: &Arc<Self>, files: BTreeMap<SegmentKey, Written>) {
        let mut cameras: HashMap<_, Files> = HashMap::new();
        for (key, written) in files {
            cameras.entry(written.camera()).or_default().push((key, written));
        }
        let wanted = cameras.len().min(SIDE_BY_SIDE).saturating_sub(1);
        let cameras = Mutex::new(cameras.into_values().collect());
        let pass = Arc::new(Pass { cameras, ..Pass::default() });
        let mut left = wanted;
        // One that has died is not asked again.
        self.helpers(wanted).retain(|helper| {
            let is_wanted = left > 0;
            left -= usize::from(is_wanted);
            !is_wanted || helper.send(Share::of(&pass)).is_ok()
        });
        pass.work(self);
        let at_work = pass.at_work();
        drop(pass.bell.wait_while(at_work, |at_work| *at_work > 0).unwrap_or_else(PoisonError::into_inner));
        if pass.mended.load(Relaxed) && !pass.failed.load(Relaxed) {
            self.health.worked(Part::Sync);
        }
    }

    /// The helpers, so many of them as can be started. They end with the last handle.
    fn helpers(self: &Arc<Self>, wanted: usize) -> MutexGuard<'_, Vec<mpsc::Sender<Share>>> {
        let mut helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        while helpers.len() < wanted {
            let (helper, shares) = mpsc::channel::<Share>();
            let of = Arc::downgrade(self);
            let work = move || {
                for share in shares {
                    let Some(shared) = of.upgrade() else { return };
                    share.0.work(&shared);
                }
            };
            if thread::Builder::new().name("volume-sync".to_owned()).spawn(work).is_err() {
                // Without it, the others do it all.
                break;
            }
            helpers.push(helper);
        }
        helpers
    }

    /// Syncs a file and tells what is true of it then; whether it worked, and whether that means anything. The kernel
    /// marks pages clean after a failed sync, so trying the same file again would lie: its segment is suspect from then
    /// on, and only the success of others counts as mended.
    fn sync(&self, key: SegmentKey, Written { file, path, mut facts, entry, .. }: Written) -> (bool, bool) {
        // Through the C library, where a test can let it fail.
        let mut synced = self.check("sync", &path, file.sync_data());
        if let Some(Entry { dir, path, root }) = entry {
            synced &= self.check("sync the directory", &path, rustix::fs::fsync(dir).map_err(Into::into));
            if let Some(root) = root {
                // One that is away is not synced, and will not be.
                let done = root.fd().map_or(Err(rustix::io::Errno::NOENT), rustix::fs::fsync);
                synced &= self.check("sync the directory", root.root(), done.map_err(Into::into));
            }
        }
        let is_suspect = {
            let mut suspect = self.suspect.lock().unwrap_or_else(PoisonError::into_inner);
            let is_suspect = !synced || suspect.contains(&key);
            if is_suspect && facts.state == SegmentState::Open {
                suspect.insert(key);
            } else {
                suspect.remove(&key);
            }
            is_suspect
        };
        if is_suspect && facts.state != SegmentState::Lost {
            facts.state = SegmentState::Suspect;
        }
        self.facts.publish(key, facts);
        (synced, !is_suspect)
    }

    fn check(&self, what: &'static str, path: &Path, result: io::Result<()>) -> bool {
        let Err(source) = result else { return true };
        tracing::error!(file.path = %path.display(), error = %source, "a sync failed; the segment is suspect");
        let error: Error = failed(what, path, source);
        self.health.failed(Part::Sync, path, &error);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::WallUs, disk::tests::head, model::segment::Extent};

    #[test]
    fn facts_of_a_camera_are_published_in_order_however_long_a_sync_takes() {
        let facts = Facts::default();
        let syncer = Syncer::start(facts.clone(), Arc::new(Monitor::new()), None).unwrap();
        let of = |start, file: File| Written {
            file: Arc::new(file),
            path: PathBuf::new(),
            created: Instant::now(),
            facts: SegmentFacts {
                head: head("front", WallUs(start)),
                path: start.to_string(),
                extent: Extent::default(),
                state: SegmentState::Closed,
                hash: None,
            },
            entry: None,
        };
        // One takes long to sync, and the one after it is refused at once.
        let mut large = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut large, &vec![1; 64 << 20]).unwrap();
        let refused = File::open("/dev/null").unwrap();
        let files = BTreeMap::from([(SegmentKey(1), of(1, large)), (SegmentKey(2), of(2, refused))]);
        let published = thread::spawn(move || {
            let (mut states, began) = (Vec::new(), Instant::now());
            while states.len() < 2 {
                assert!(began.elapsed() < Duration::from_secs(20), "{states:?}");
                states.extend(facts.take().iter().map(|(_, facts)| facts.state));
                thread::yield_now();
            }
            states
        });
        syncer.0.pass(files);
        assert_eq!(published.join().unwrap(), [SegmentState::Closed, SegmentState::Suspect]);
        syncer.stop();
    }
}
