//! Clips as files. An export is a job in memory: what is to be read, and how far it is. Its file is made while somebody
//! takes it, and stands on no disk of ours.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Error, Watchkeeper};
use crate::{
    base::{CameraId, WallUs, error::Chain, threads::on_thread},
    disk::{self, ClipError, Source, Stopped, Volumes, Written, write_clip},
    model::{
        clip::{self, Plan, Refused},
        copies::Place,
        coverage::{Fate, Part},
    },
};

/// So many files are made at once: more would only keep the disk from reading in order.
const AT_ONCE: usize = 4;
/// So many exports are known at once.
const KEPT: usize = 32;
/// So long an export is known after it was made, or its file was last taken.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// Blocks of half a megabyte that wait for a client.
const BLOCKS: usize = 2;
/// Within this a client takes a block, or loses its turn.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// More than the segments of a day, of two seconds each.
const SEGMENTS_MAX: u32 = 100_000;

/// What is exported; it does not change.
#[derive(Debug)]
pub struct ExportJob {
    /// Its name in the API.
    pub id: u32,
    /// Whose footage.
    pub camera: CameraId,
    /// When it was asked for.
    pub created_at: WallUs,
    /// What is read.
    pub plan: Plan,
    /// What of the range asked for is not recorded, and why.
    pub gaps: Vec<Part>,
    /// How far the camera's clock was ahead of the host's when the export was made, if that was known.
    pub clock_ahead_us: Option<i64>,
    /// Which volume's copy of each file was read, the last time.
    read_from: Mutex<BTreeMap<String, Place>>,
    cancelled: CancellationToken,
    sent: AtomicU64,
    progress: Mutex<(ExportState, Instant)>,
}

/// How far an export is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportState {
    /// Its file can be taken.
    Ready,
    /// Its file is being taken.
    Running,
    /// Its file was taken to the end; it can be taken again.
    Done(Written),
    /// Its file broke off; it can be taken again.
    Failed(String),
}

impl ExportJob {
    fn progress(&self) -> MutexGuard<'_, (ExportState, Instant)> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is.
    pub fn state(&self) -> ExportState {
        self.progress().0.clone()
    }

    /// The volume whose copy of this file was read, once it was.
    pub fn read_from(&self, path: &str) -> Option<Place> {
        self.read_from.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied()
    }

    /// Bytes of the file that were made so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Until when it is known, unless its file is taken.
    pub fn known_until(&self) -> WallUs {
        WallUs::now().plus(KEPT_FOR.saturating_sub(self.progress().1.elapsed()))
    }

    fn set(&self, state: ExportState) {
        *self.progress() = (state, Instant::now());
    }

    fn is_over(&self) -> bool {
        let (state, since) = &*self.progress();
        *state != ExportState::Running && since.elapsed() >= KEPT_FOR
    }
}

/// The file of an export while it is made.
#[derive(Debug)]
pub struct ExportFile {
    blocks: mpsc::Receiver<Bytes>,
    /// Whether it was made to its end, or why not.
    outcome: Option<oneshot::Receiver<Result<(), String>>>,
}

impl ExportFile {
    /// The next block; `None` at the end of a whole file. One that is not whole ends with an error.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(block) = self.blocks.recv().await {
            return Some(Ok(block));
        }
        match self.outcome.take()?.await {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(Err(io::Error::other(why))),
            Err(_) => Some(Err(io::Error::other("the service broke off"))),
        }
    }
}

/// All exports that are known.
#[derive(Debug)]
pub(super) struct Exports {
    jobs: Mutex<BTreeMap<u32, Arc<ExportJob>>>,
    turns: Arc<Semaphore>,
}

impl Default for Exports {
    fn default() -> Self {
        Self { jobs: Mutex::default(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Exports {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<ExportJob>>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, job| !job.is_over());
        jobs
    }
}

/// A place among those whose file is made. However it ends, the export does not stay `Running`.
struct Turn {
    job: Arc<ExportJob>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.job.state() == ExportState::Running {
            self.job.set(ExportState::Failed("the service broke off".to_owned()));
        }
    }
}

impl Watchkeeper {
    /// Plans an export of what `camera` recorded from `from` to `to`; also of a camera that was deleted.
    pub async fn add_export(
        &self,
        camera: &CameraId,
        from: WallUs,
        to: WallUs,
    ) -> Result<Arc<ExportJob>, Error> {
        let asked = clip::asked(from, to)?;
        let known = self.camera(camera).ok();
        let segments = self.0.store.segments_touching(camera, asked, None, SEGMENTS_MAX).await?;
        let plan = match clip::plan(camera, asked, segments) {
            Err(Refused::NoFootage { .. }) if known.is_none() => return Err(Error::NoCamera(camera.clone())),
            other => other?,
        };
        let mut gaps = self.coverage(camera, asked).await?;
        gaps.retain(|part| part.fate != Fate::Recorded);
        let mut jobs = self.0.exports.jobs();
        if jobs.len() >= KEPT {
            return Err(Error::TooManyExports("are known"));
        }
        let id = std::iter::repeat_with(rand::random).find(|id| !jobs.contains_key(id));
        let job = Arc::new(ExportJob {
            id: id.unwrap_or_default(),
            camera: camera.clone(),
            created_at: WallUs::now(),
            plan,
            gaps,
            clock_ahead_us: known.and_then(|now| now.status.observed.clock_ahead_us),
            read_from: Mutex::default(),
            cancelled: CancellationToken::new(),
            sent: AtomicU64::new(0),
            progress: Mutex::new((ExportState::Ready, Instant::now())),
        });
        jobs.insert(job.id, job.clone());
        Ok(job)
    }

    /// All exports that are known, newest first.
    pub fn exports(&self) -> Vec<Arc<ExportJob>> {
        let mut jobs: Vec<_> = self.0.exports.jobs().values().cloned().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.created_at));
        jobs
    }

    /// One export.
    pub fn export(&self, id: u32) -> Result<Arc<ExportJob>, Error> {
        self.0.exports.jobs().get(&id).cloned().ok_or(Error::NoExport(id))
    }

    /// Forgets an export; if its file is being made, that breaks off.
    pub fn cancel_export(&self, id: u32) -> Result<(), Error> {
        let job = self.0.exports.jobs().remove(&id).ok_or(Error::NoExport(id))?;
        job.cancelled.cancel();
        Ok(())
    }

    /// Makes the file of an export. Whoever takes it and stops is let go after a minute; dropping it ends the work.
    pub fn export_file(&self, id: u32) -> Result<ExportFile, Error> {
        let job = self.export(id)?;
        let place = self.0.exports.turns.clone().try_acquire_owned();
        let place = place.map_err(|_| Error::TooManyExports("are being taken"))?;
        {
            let mut progress = job.progress();
            if progress.0 == ExportState::Running {
                return Err(Error::ExportRunning(id));
            }
            *progress = (ExportState::Running, Instant::now());
        }
        job.sent.store(0, Relaxed);
        let turn = Turn { job: job.clone(), _place: place };
        let (volumes, runtime) = (self.0.deps.volumes.clone(), Handle::current());
        let (give, blocks) = mpsc::channel(BLOCKS);
        let outcome = on_thread("export", move || make(&turn.job, &volumes, &runtime, give))
            .map_err(|_| Error::Internal("cannot start a thread"))?;
        Ok(ExportFile { blocks, outcome: Some(outcome) })
    }
}

fn make(
    job: &ExportJob,
    volumes: &Volumes,
    runtime: &Handle,
    give: mpsc::Sender<Bytes>,
) -> Result<(), String> {
    let sources: Vec<Source> = job
        .plan
        .pieces
        .iter()
        .map(|piece| Source {
            path: piece.segment.facts.path.clone(),
            start: piece.segment.facts.head.start,
            until: piece.until,
            bytes: piece.segment.facts.extent.bytes,
        })
        .collect();
    let mut why = "the client went away";
    let put = |block: Bytes| {
        let bytes = block.len() as u64;
        let given = async {
            tokio::select! {
                given = timeout(TAKEN_WITHIN, give.send(block)) => match given {
                    Ok(given) => given.map_err(|_| "the client went away"),
                    Err(_) => Err("the client took nothing for a minute"),
                },
                () = job.cancelled.cancelled() => Err("it was cancelled"),
            }
        };
        runtime.block_on(given).map_err(|stopped| {
            why = stopped;
            Stopped
        })?;
        job.sent.fetch_add(bytes, Relaxed);
        Ok(())
    };
    job.read_from.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let open = |path: &str| {
        let of = |piece: &&clip::Piece| piece.segment.facts.path == path;
        let places = job.plan.pieces.iter().find(of).map(|piece| piece.segment.copies.readable());
        let mut failed = disk::Error::NotFound { path: path.into() };
        for place in places.unwrap_or_default() {
            let Some(writer) = volumes.at(place) else { continue };
            match writer.volume().open_segment_file(path) {
                Ok(open) => {
                    let mut read = job.read_from.lock().unwrap_or_else(PoisonError::into_inner);
                    read.insert(path.to_owned(), place);
                    return Ok(open);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    };
    let written = write_clip(job.plan.footage, job.plan.longest_hole_us, &sources, open, put);
    let failure = match written {
        Ok(written) => {
            tracing::info!(camera.id = %job.camera, size_bytes = written.bytes, "exported a clip of {}", job.camera);
            job.set(ExportState::Done(written));
            return Ok(());
        }
        Err(ClipError::Stopped(_)) => {
            tracing::info!(camera.id = %job.camera, "an export of {} ended early: {why}", job.camera);
            why.to_owned()
        }
        Err(error) => {
            tracing::warn!(camera.id = %job.camera, error = %Chain(&error), "an export of {} failed", job.camera);
            Chain(&error).to_string()
        }
    };
    job.set(ExportState::Failed(failure.clone()));
    Err(failure)
}
