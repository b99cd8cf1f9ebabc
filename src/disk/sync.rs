//! The second thread: what was written reaches the medium about once a second, without the writer waiting for it.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{
    Error,
    facts::SegmentKey,
    failed,
    health::{Monitor, Part},
    volume::Volume,
};

/// Between two passes. With a second of footage in a fragment, power loss costs at most 2 s.
const EVERY: Duration = Duration::from_secs(1);

/// Collects what is to be synced.
#[derive(Clone, Debug)]
pub(super) struct Syncer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    due: Mutex<Due>,
    wake: Condvar,
    health: Arc<Monitor>,
}

#[derive(Debug, Default)]
struct Due {
    /// Files written since the last pass. A file that a pass syncs for ever holds one entry, not one per write.
    files: BTreeMap<SegmentKey, (Arc<File>, PathBuf)>,
    /// Directories with new entries.
    dirs: Vec<(OwnedFd, PathBuf)>,
    /// The root has a new entry.
    root: Option<Volume>,
    /// To be told when everything so far is synced.
    acks: Vec<mpsc::Sender<()>>,
    stop: bool,
}

impl Syncer {
    pub(super) fn start(health: Arc<Monitor>) -> io::Result<Self> {
        let shared = Arc::new(Shared { due: Mutex::default(), wake: Condvar::new(), health });
        let syncer = Self(Arc::clone(&shared));
        thread::Builder::new().name("volume-sync".to_owned()).spawn(move || shared.run())?;
        Ok(syncer)
    }

    /// `file` was written to.
    pub(super) fn written(&self, key: SegmentKey, file: &Arc<File>, path: PathBuf) {
        self.0.lock().files.entry(key).or_insert_with(|| (Arc::clone(file), path));
        self.0.wake.notify_one();
    }

    /// `dir` has a new entry.
    pub(super) fn entered(&self, dir: OwnedFd, path: PathBuf) {
        self.0.lock().dirs.push((dir, path));
    }

    /// The root has a new entry.
    pub(super) fn entered_root(&self, volume: &Volume) {
        self.0.lock().root = Some(volume.clone());
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
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut last = Instant::now();
        loop {
            let due = self.wait(last);
            last = Instant::now();
            self.pass(&due);
            for ack in &due.acks {
                // Whoever asked may have stopped waiting.
                let _ = ack.send(());
            }
            if due.stop {
                return;
            }
        }
    }

    /// Waits until something is due and the last pass is [`EVERY`] ago, or somebody asks for it now.
    fn wait(&self, last: Instant) -> Due {
        let mut due = self.lock();
        loop {
            let wait = EVERY.saturating_sub(last.elapsed());
            if due.stop || !due.acks.is_empty() || (wait.is_zero() && !due.files.is_empty()) {
                return std::mem::take(&mut *due);
            }
            due = if due.files.is_empty() {
                self.wake.wait(due).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.wake.wait_timeout(due, wait).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// The kernel marks pages clean after a failed sync, so trying the same file again would lie: it is reported once,
    /// and only another success of the volume counts as mended.
    fn pass(&self, due: &Due) {
        let mut fine = true;
        let mut check = |what, path: &Path, result: rustix::io::Result<()>| {
            if let Err(source) = result {
                fine = false;
                let error: Error = failed(what, path, source);
                tracing::error!(file.path = %path.display(), error = %source, "a sync failed; the file may be damaged");
                self.health.failed(Part::Sync, path, &error);
            }
        };
        for (file, path) in due.files.values() {
            check("sync", path, rustix::fs::fdatasync(&**file));
        }
        for (dir, path) in &due.dirs {
            check("sync the directory", path, rustix::fs::fsync(dir));
        }
        if let Some(volume) = &due.root {
            check("sync the directory", volume.root(), rustix::fs::fsync(volume.fd()));
        }
        if fine && !due.files.is_empty() {
            self.health.worked(Part::Sync);
        }
    }
}
