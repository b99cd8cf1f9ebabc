//! The only place where store, media and disk meet: the use cases, one driver task per camera, and the clerk who
//! writes the index. The HTTP API and the command line call [`Watchkeeper`] and see neither rows nor elements.

mod activity;
mod clerk;
mod clock;
mod coverage;
mod driver;
mod error;
mod exports;
mod hub;
mod keeper;
mod latest;
mod ledger;
mod library;
mod logins;
mod looks;
mod mirror;
pub mod recovery;
mod refill;
pub mod resync;
mod retention;
mod sampling;
mod scrub;
mod startup;
mod volumes;
mod workers;

use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{Semaphore, broadcast, oneshot};

use self::{
    clerk::Desk,
    driver::{Deps, Driver},
    keeper::Keeper,
    ledger::Ledgers,
};

pub use crate::media::look::Found;
pub use crate::store::{DueSum, ScrubPass};
use crate::{
    base::{CameraId, WallUs, secret::Vault, threads},
    model::{
        Camera,
        camera::CameraPatch,
        copies::Place,
        demand::{Trigger, Window},
        event::{Event, Severity},
        ledger::Gap,
        refill::way::{self, Known},
        schedule::Zone,
        segment::Segment,
        source::{SourceChoice, SourceKind},
        status::{CameraStatus, StreamErrorKind},
        timeline::Range,
    },
    store::{self, Store},
};
pub use error::Error;
pub use exports::{ExportFile, ExportJob, ExportState};
pub use keeper::{KeeperNow, StorageLimits};
pub use ledger::CoverageNow;
pub use mirror::MirrorNow;
pub use refill::{FillingNow, RefillLimits};
pub use retention::{CameraStored, Next, RetentionNow};
pub use sampling::{AiLimits, Frame, SamplerNow, SamplerState, WAIT_MAX};
pub use scrub::ScrubNow;
pub use startup::StartError;
pub use workers::{Finding, LeaseAsked};

/// Where things are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of the database, the key file and the lock.
    pub data_dir: PathBuf,
    /// Directory of the recordings.
    pub recordings_dir: PathBuf,
    /// Directory whose pipeline texts replace those built in.
    pub pipelines_dir: Option<PathBuf>,
    /// Which implementation receives cameras that name none.
    pub source: SourceChoice,
    /// What all cameras together may keep.
    pub storage: StorageLimits,
    /// What all samplers together may take.
    pub ai: AiLimits,
    /// How missing footage is fetched from the cameras.
    pub refill: RefillLimits,
    /// Where the latest picture of each sampled stream is kept as a file; `None`: nowhere.
    pub frames_dir: Option<PathBuf>,
    /// Where the second copy is; `None` without one.
    pub mirror: Option<MirrorSettings>,
    /// What is missing on one volume is copied from the other no faster than so.
    pub resync_bytes_per_second: u64,
    /// Closed segments are read again and compared with their hashes no faster than so; 0 is never.
    pub scrub_bytes_per_second: u64,
}

/// Where the second copy of what is recorded is.
#[derive(Clone, Debug)]
pub struct MirrorSettings {
    /// Its directory; apart from that of the recordings, neither inside it nor around it.
    pub dir: PathBuf,
    /// What all cameras together may keep there.
    pub storage: StorageLimits,
}

impl Settings {
    /// What all cameras together may keep on a volume.
    pub fn limits(&self, place: Place) -> StorageLimits {
        match (place, &self.mirror) {
            (Place::Mirror, Some(mirror)) => mirror.storage,
            _ => self.storage,
        }
    }
}

/// A volume that is to be accepted answers within this.
const ACCEPT_WITHIN: Duration = Duration::from_secs(5);

/// The running service. Cheap to clone; all clones are the same service.
#[derive(Clone, Debug)]
pub struct Watchkeeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    vault: Vault,
    deps: Deps,
    desk: Desk,
    ledgers: Ledgers,
    /// Of the primary, and the mirror if there is one.
    keepers: Vec<Keeper>,
    settings: Settings,
    /// In the same order.
    watches: Vec<volumes::VolumeWatch>,
    mirror: Option<mirror::MirrorWatch>,
    samplers: sampling::Samplers,
    workers: workers::Workers,
    refills: Arc<refill::Refills>,
    scrub: scrub::ScrubState,
    started_at: WallUs,
    cameras: Mutex<BTreeMap<CameraId, Entry>>,
    /// One change of the list or of a camera at a time, so that store and drivers agree.
    changing: tokio::sync::Mutex<()>,
    /// Changes that wait for their turn are refused, so that a stop waits for one at most.
    stopping: AtomicBool,
    /// Bounds probes.
    probes: Semaphore,
    /// Bounds decoders.
    decoders: Semaphore,
    pictures: Mutex<BTreeMap<CameraId, Picture>>,
    exports: exports::Exports,
    /// Retention and resync of each volume, the scrub, then the clerk, then the ledgers: they end in this order.
    tasks: Mutex<Vec<Ending>>,
    /// Held until the service has stopped: one for each data directory.
    lock: File,
}

/// A task that writes rows, and what ends it.
type Ending = (oneshot::Sender<()>, tokio::task::JoinHandle<()>);

#[derive(Debug)]
struct Entry {
    camera: Camera,
    created_at: WallUs,
    driver: Driver,
    /// Of the stream that is not recorded, while it is sampled, with the settings that it has.
    beside: Option<(Camera, Driver)>,
    /// How it gives its recordings away, if that was found out.
    found: Option<Known>,
}

impl Entry {
    /// Stops all sessions of the camera; the open segment is finished first.
    async fn stop(self) {
        let beside = async {
            if let Some((_, driver)) = self.beside {
                driver.stop().await;
            }
        };
        tokio::join!(self.driver.stop(), beside);
    }

    fn now(&self) -> CameraNow {
        CameraNow {
            camera: self.camera.clone(),
            created_at: self.created_at,
            found: self.found.clone(),
            status: self.driver.status.borrow().clone(),
        }
    }
}

/// A camera as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraNow {
    /// Its settings.
    pub camera: Camera,
    /// When it was added.
    pub created_at: WallUs,
    /// How it gives its recordings away, if that was found out.
    pub found: Option<Known>,
    /// How it is.
    pub status: CameraStatus,
}

/// A picture and the number of the keyframe that it shows.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Counts keyframes of this session.
    pub number: u64,
    /// The JPEG.
    pub jpeg: Bytes,
}

/// What a look at a stream told.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The URL looked at, without credentials.
    pub url: String,
    /// SHA-256 of the camera's certificate, if it answered over TLS.
    pub certificate: Option<String>,
    /// What was found, or why nothing was.
    pub outcome: Result<ProbeFound, (StreamErrorKind, String)>,
    /// How the camera gives its own recordings away.
    pub refill: Option<Known>,
    /// What received the stream; `None` if the camera did not describe it.
    pub source: Option<SourceKind>,
    /// Why that was not the native source although it was tried.
    pub source_fallback: Option<String>,
}

/// What a look at a stream found.
#[derive(Clone, Debug)]
pub struct ProbeFound {
    /// The stream itself.
    pub found: Found,
    /// Encoding name of its first audio stream, as in RTP.
    pub audio: Option<String>,
    /// From the start of the attempt to the first frame, in milliseconds; `None` for a session already open.
    pub first_frame_ms: Option<u64>,
    /// A JPEG of the last keyframe.
    pub thumbnail: Option<Bytes>,
}

/// Which segments to list.
#[derive(Clone, Copy, Debug)]
pub struct SegmentQuery {
    /// They touch this range.
    pub range: Range,
    /// They come after this segment id, of the page before.
    pub after: Option<i64>,
    /// No more than so many.
    pub limit: u32,
}

/// One page of segments, oldest first.
#[derive(Clone, Debug)]
pub struct SegmentPage {
    /// The segments.
    pub segments: Vec<Segment>,
    /// `after` for the next page, if there is one.
    pub next: Option<i64>,
}

/// Which gaps to list; newest first.
#[derive(Clone, Debug)]
pub struct GapQuery {
    /// Only this camera's; `None`: of all that are there.
    pub camera: Option<CameraId>,
    /// They touch this range.
    pub range: Range,
    /// They last so long or more, in microseconds.
    pub least_us: i64,
    /// They come after the gap of this id, of the page before.
    pub after: Option<i64>,
    /// No more than so many.
    pub limit: u32,
}

/// One page of gaps, newest first.
#[derive(Clone, Debug)]
pub struct GapPage {
    /// The gaps.
    pub gaps: Vec<Gap>,
    /// `after` for the next page, if there is one.
    pub next: Option<i64>,
}

/// Which events to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Only this camera's.
    pub camera: Option<CameraId>,
    /// Only those that matter so much or more.
    pub severity: Severity,
    /// Only with a greater id.
    pub after: Option<i64>,
    /// Only with a smaller id.
    pub before: Option<i64>,
    /// No more than so many.
    pub limit: u32,
}

/// How the service is.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// When it started.
    pub started_at: WallUs,
    /// The time zone of schedules that name none.
    pub zone: Zone,
    /// Pipelines that did not stop in time and still hang.
    pub abandoned_pipelines: u64,
    /// The volume of the recordings.
    pub volume: VolumeNow,
    /// The mirror, if there is one.
    pub mirror: Option<(VolumeNow, MirrorNow)>,
    /// Facts and events that wait for the database.
    pub pending_rows: u64,
    /// Why the database does not take them, if it does not.
    pub database_error: Option<String>,
}

/// How a volume is.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeNow {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub total_bytes: u64,
    /// What is left of it, in bytes.
    pub free_bytes: u64,
    /// Why it cannot be written, if it cannot.
    pub error: Option<String>,
}

/// One line of `/readyz`.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// What changed, for those who watch.
#[derive(Clone, Debug)]
pub enum Change {
    /// A camera's settings or state; at most a few times a second for each.
    Camera(CameraId),
    /// A camera is gone.
    CameraRemoved(CameraId),
    /// A segment opened, grew (every 5 s) or closed.
    Segment(Segment),
    /// Something was logged.
    Event(Event),
    /// A gap opened, changed or closed, or turned out to be none.
    Gap(GapTold),
}

/// What there is to tell of a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapTold {
    /// It is so now.
    Now(Gap),
    /// It was so, and there is footage after all.
    Covered(Gap),
}

impl GapTold {
    /// Which gap.
    pub fn gap(&self) -> &Gap {
        match self {
            Self::Now(gap) | Self::Covered(gap) => gap,
        }
    }
}

impl Watchkeeper {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<CameraId, Entry>> {
        self.0.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the entry of one camera.
    fn with<T>(&self, id: &CameraId, ask: impl FnOnce(&Entry) -> T) -> Result<T, Error> {
        self.entries().get(id).map(ask).ok_or_else(|| Error::NoCamera(id.clone()))
    }

    /// The turn to change something.
    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        let turn = self.0.changing.lock().await;
        if self.0.stopping.load(Relaxed) { Err(Error::Stopping) } else { Ok(turn) }
    }

    /// Every camera, by id.
    pub fn cameras(&self) -> Vec<CameraNow> {
        self.entries().values().map(Entry::now).collect()
    }

    /// One camera.
    pub fn camera(&self, id: &CameraId) -> Result<CameraNow, Error> {
        self.with(id, Entry::now)
    }

    /// Adds a camera; recording starts at once.
    pub async fn add_camera(&self, id: CameraId, given: CameraPatch) -> Result<CameraNow, Error> {
        let camera = Camera::new(id.clone(), given)?;
        let _one = self.turn().await?;
        let created_at = WallUs::now();
        match self.0.store.insert_camera(&self.0.vault, &camera, created_at).await {
            Err(store::Error::Exists { .. }) => return Err(Error::Taken(id)),
            other => other?,
        }
        self.0.ledgers.added(&self.0.store, &id, created_at, camera.record_enabled).await;
        let driver = Driver::start(camera.clone(), self.0.deps.clone(), Duration::ZERO, None);
        let entry = Entry { camera, created_at, driver, beside: None, found: None };
        let now = entry.now();
        self.entries().insert(id.clone(), entry);
        self.0.deps.hub.tell(Change::Camera(id));
        Ok(now)
    }

    /// Changes a camera, and interrupts only what the change touches.
    pub async fn change_camera(&self, id: &CameraId, patch: CameraPatch) -> Result<CameraNow, Error> {
        let _one = self.turn().await?;
        let password = if patch.password.is_some() || patch.takes_credentials_from_url() {
            store::Password::Set
        } else {
            store::Password::Keep
        };
        let before = self.with(id, |entry| entry.camera.clone())?;
        let camera = before.clone().patched(patch)?;
        let same_way = way::is_same(&before, &camera);
        if !same_way {
            // First: what was found out can be found out again.
            self.0.store.save_refill_way(id, None).await?;
        }
        self.0.store.update_camera(&self.0.vault, &camera, password).await?;
        let mut entries = self.entries();
        let entry = entries.get_mut(id).ok_or_else(|| Error::NoCamera(id.clone()))?;
        entry.driver.change(camera.clone());
        entry.camera = camera;
        if !same_way {
            entry.found = None;
        }
        self.0.keepers.iter().for_each(Keeper::changed);
        Ok(entry.now())
    }

    /// Has an event camera record for a while, and tells when that ends.
    pub async fn trigger(&self, id: &CameraId, trigger: Trigger) -> Result<Window, Error> {
        trigger.check()?;
        if self.0.stopping.load(Relaxed) {
            return Err(Error::Stopping);
        }
        let answer = self.with(id, |entry| entry.driver.trigger(trigger))?;
        let answer = answer.await.ok_or_else(|| Error::NoCamera(id.clone()))?;
        answer.map_err(|why| Error::TriggerRefused { camera: id.clone(), why })
    }

    /// Forgets a camera; its footage stays, and one with holds stays, too. Comes back when its last segment is finished.
    pub async fn delete_camera(&self, id: &CameraId) -> Result<(), Error> {
        let _one = self.turn().await?;
        self.with(id, |_| ())?;
        let holds = self.0.store.count_holds(id).await?;
        if holds > 0 {
            return Err(Error::Held { camera: id.clone(), holds });
        }
        self.0.store.delete_camera(id).await?;
        self.tasks_changed().await?;
        self.zones_changed().await?;
        self.0.samplers.forget(id);
        let entry = self.entries().remove(id);
        if let Some(entry) = entry {
            let at = WallUs::now();
            entry.stop().await;
            self.0.ledgers.removed(id, at);
        }
        self.0.deps.activities.forget(id.clone());
        self.pictures().remove(id);
        self.0.deps.hub.tell(Change::CameraRemoved(id.clone()));
        Ok(())
    }

    fn watch(&self, place: Place) -> Option<&volumes::VolumeWatch> {
        self.0.watches.get(usize::from(place == Place::Mirror))
    }

    /// A volume, as it was seen last; a blank for a mirror that is not in use.
    fn volume_now(&self, place: Place) -> VolumeNow {
        let blank = VolumeNow { path: PathBuf::new(), total_bytes: 0, free_bytes: 0, error: None };
        self.watch(place).map_or(blank, volumes::VolumeWatch::now)
    }

    /// Takes what lies at a volume's path for that volume, whatever it was: a new disk, or one of another installation.
    pub async fn accept_volume(&self, place: Place) -> Result<VolumeNow, Error> {
        let (Some(writer), Some(watch)) = (self.0.deps.volumes.at(place), self.watch(place)) else {
            return Err(Error::NoMirror);
        };
        let volume = writer.volume().clone();
        if volume.away().is_none() {
            return Err(Error::VolumeThere(place));
        }
        let accepted = threads::on_thread("accept", move || volume.accept());
        let accepted = accepted.map_err(|_| Error::Internal("cannot start a thread"))?;
        match tokio::time::timeout(ACCEPT_WITHIN, accepted).await {
            Ok(Ok(done)) => done.map_err(|error| Error::VolumeAway(error.into()))?,
            _ => return Err(Error::VolumeAway(anyhow::anyhow!("the volume does not answer"))),
        }
        watch.look_now();
        Ok(watch.now())
    }

    /// How the service is.
    pub fn system(&self) -> System {
        System {
            started_at: self.0.started_at,
            zone: self.0.deps.zone,
            abandoned_pipelines: self.0.deps.abandoned.load(Relaxed),
            volume: self.volume_now(Place::Primary),
            mirror: self.0.mirror.as_ref().map(|mirror| (self.volume_now(Place::Mirror), mirror.now())),
            pending_rows: self.0.desk.waiting(),
            database_error: self.0.desk.error(),
        }
    }

    /// Tells of every change from now on. Whoever falls behind is told so, and should look at everything again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.deps.hub.watch()
    }
}
