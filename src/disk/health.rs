//! Whether the volume takes what is written to it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::base::{WallUs, error::Chain};

/// The volume's state, one for all cameras.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last write and the last sync worked, or nothing was written yet.
    Ok,
    /// The last write or the last sync failed, or the volume is too far behind.
    Failing {
        /// Since when.
        since: WallUs,
        /// What went wrong last, for people.
        error: String,
        /// Where.
        path: PathBuf,
        /// Whether there was no room.
        full: bool,
    },
}

/// What can fail; each is mended only by its own success.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Write,
    Sync,
    /// There is room, but it is not to be used.
    Room,
    /// The volume is not where it should be.
    Place,
}

#[derive(Debug)]
pub(super) struct Monitor {
    parts: Mutex<[Option<Health>; 4]>,
    /// Microseconds from `started` to when the sync under way began, and 1 more; 0: none is.
    sync: AtomicU64,
    /// How often something began to fail, and how it did the last time.
    begun: Mutex<(u64, String)>,
    started: Instant,
    shown: watch::Sender<Health>,
}

impl Monitor {
    pub(super) fn new() -> Self {
        Self {
            parts: Mutex::default(),
            sync: AtomicU64::new(0),
            begun: Mutex::default(),
            started: Instant::now(),
            shown: watch::Sender::new(Health::Ok),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Health> {
        self.shown.subscribe()
    }

    /// How often something began to fail, and how it did the last time: also if it was mended before anybody looked.
    pub(super) fn failures(&self) -> (u64, String) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A pass of syncs begins, or is over.
    pub(super) fn sync_runs(&self, runs: bool) {
        let us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(0);
        self.sync.store(if runs { us + 1 } else { 0 }, Ordering::Relaxed);
    }

    /// How long the sync under way has taken.
    pub(super) fn syncing(&self) -> Duration {
        let began = self.sync.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros);
        began.map_or(Duration::ZERO, |began| self.started.elapsed().saturating_sub(began))
    }

    pub(super) fn failed(&self, part: Part, path: &Path, error: &(dyn std::error::Error + 'static)) {
        self.fail(part, path, Chain(error).to_string(), is_full(error));
    }

    pub(super) fn failed_text(&self, part: Part, path: &Path, error: String) {
        self.fail(part, path, error, false);
    }

    /// Nothing more is to be written, for this reason.
    pub(super) fn no_room(&self, path: &Path, error: String) {
        self.fail(Part::Room, path, error, true);
    }

    /// Logs only when a part begins to fail: a full disk would otherwise log at every keyframe of every camera.
    fn fail(&self, part: Part, path: &Path, error: String, full: bool) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut parts[part as usize];
        let since = match slot {
            Some(Health::Failing { since, .. }) => *since,
            _ => {
                tracing::error!(file.path = %path.display(), error, "the volume fails to {}", part.word());
                let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
                *begun = (begun.0 + 1, format!("{error} ({})", path.display()));
                WallUs::now()
            }
        };
        *slot = Some(Health::Failing { since, error, path: path.to_owned(), full });
        self.show(&parts);
    }

    pub(super) fn worked(&self, part: Part) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts[part as usize].take().is_some() {
            tracing::info!("the volume can {} again", part.word());
            self.show(&parts);
        }
    }

    fn show(&self, parts: &[Option<Health>; 4]) {
        let now = parts.iter().flatten().next().cloned().unwrap_or(Health::Ok);
        self.shown.send_if_modified(|shown| {
            let other = *shown != now;
            *shown = now;
            other
        });
    }
}

/// Whether the system said that there is no room, for anybody or for us.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let kinds = chain.filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Room => "keep room",
            Self::Place => "be found",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_does_not_mend_a_failed_sync() {
        let monitor = Monitor::new();
        let health = monitor.subscribe();
        let error = std::io::Error::from_raw_os_error(5);
        monitor.failed(Part::Sync, Path::new("/v/a/1.mp4"), &error);
        let Health::Failing { since, .. } = health.borrow().clone() else { panic!("still ok") };
        monitor.failed_text(Part::Write, Path::new("/v"), "full".to_owned());
        monitor.worked(Part::Write);
        assert!(matches!(&*health.borrow(), Health::Failing { error, .. } if error.contains("os error 5")));
        monitor.failed(Part::Sync, Path::new("/v/a/2.mp4"), &error);
        let still = health.borrow().clone();
        assert!(
            matches!(still, Health::Failing { since: first, .. } if first == since),
            "since the first failure"
        );
        monitor.worked(Part::Sync);
        assert_eq!(*health.borrow(), Health::Ok);
    }
}
