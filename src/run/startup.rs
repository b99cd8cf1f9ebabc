//! Start and stop of the service: the order of things, and who waits for whom.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{
    Entry, Error, Inner, Settings, Watchkeeper,
    activity::Activities,
    clerk::{Clerk, Desk},
    clock,
    driver::{Deps, Driver},
    hub::Hub,
    keeper::{self, Keeper, Shelf},
    ledger::Ledgers,
    mirror::MirrorWatch,
    recovery::{self, Hashing, Moved, Page, Repaired, Scope, Walk},
    refill,
    resync::Resync,
    sampling::{self, Samplers},
    scrub::{Scrub, ScrubState},
    volumes::VolumeWatch,
    workers::{self, Workers},
};
use crate::{
    base::{
        self, CameraId, WallUs,
        error::Chain,
        secret::{Vault, VaultError},
        threads::on_thread,
    },
    disk::{self, Installation, Limits, Volume, VolumeWriter, Volumes},
    media::{recorder::Memory, text::Texts},
    model::{
        Camera,
        camera::CameraPatch,
        copies::{CopyState, Place},
        event::{Kind, NewEvent, Severity},
        reconcile::Step,
        refill::way::Known,
        schedule::{self, Zone},
    },
    source::Sources,
    store::{self, Store},
};

/// Start-up opens the cameras one after the other, so far apart at most.
const SPREAD: Duration = Duration::from_millis(100);
/// The last camera is opened so long after the first at most.
const SPREAD_MAX: Duration = Duration::from_secs(3);
/// So many cameras are connected to at one moment.
const CONNECTS: usize = 16;
/// So many probes run at one moment.
const PROBES: usize = 4;
/// So many pictures are decoded at one moment.
const DECODERS: usize = 2;
/// All cameras stop side by side within this; each gives up on its pipeline after 6 s.
const STOP_CAMERAS_WITHIN: Duration = Duration::from_millis(6_250);
/// A stop as a whole takes no longer. What a part leaves of its time, the parts after it may have.
const STOP_WITHIN: Duration = Duration::from_millis(7_800);
/// A certificate that could not be stored is tried again after this.
const PIN_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// What is queued for the volume has this time at least: what is lost of it nobody can read again.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);
/// Then retention ends, and the last rows of segments and events are written, and then those of gaps. This time is kept back for each of
/// them; a flush that has only its least time may use it up, because rows can be read again from the files.
const LAST_ROWS_WITHIN: Duration = Duration::from_millis(250);
/// And this for closing the database.
const CLOSE_WITHIN: Duration = Duration::from_millis(250);
/// After each page of the comparison of all files with all rows it rests so many times as long as the page took: the
/// disk and the processor are for the cameras.
const REST: u32 = 4;
/// That comparison looks at the sizes of the files of the last day.
const SIZES_US: i64 = 86_400_000_000;

/// A volume that does not answer within this when the service starts is away until it does.
const ATTACH_WITHIN: Duration = Duration::from_secs(2);
/// What was open when the process died is looked at within this; what is left of it, with everything else.
const UNFINISHED_WITHIN: Duration = Duration::from_secs(2);
/// The mirror falls behind by so much at most: it is a copy, and memory is better spent on the primary.
const MIRROR_LIMITS: Limits = Limits { camera_bytes: 16 << 20, total_bytes: 128 << 20 };
/// That older footage is wanted on the primary is said again after this: the row of what was open may be on its way.
const WANT_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory cannot be made.
    #[error("cannot use the directory `{path}`")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another service has the data directory.
    #[error("another watchkeeper uses `{path}`; stop it, or give this one another data directory")]
    Running {
        /// The data directory.
        path: PathBuf,
    },
    /// The key file cannot be used.
    #[error("cannot open the vault of the passwords")]
    Vault(#[from] VaultError),
    /// The database cannot be used.
    #[error("cannot open the database")]
    Store(#[from] store::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// What is remembered of the volumes cannot be used, or a thread cannot be started.
    #[error("cannot look after the volumes")]
    Volume(#[from] disk::Error),
}

impl Settings {
    /// The database.
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("watchkeeper.db")
    }

    /// The key that seals passwords.
    pub fn key_file(&self) -> PathBuf {
        self.data_dir.join("secret.key")
    }

    /// Takes the data directory for this process; `None` if another has it.
    pub fn lock(&self) -> Result<Option<File>, StartError> {
        let path = self.data_dir.join("lock");
        let failed = |source| StartError::Directory { path: self.data_dir.clone(), source };
        let file = File::create(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

impl Watchkeeper {
    /// Starts the service: the unfinished segments of the last run are adopted first, because that takes no time;
    /// then the cameras are opened; everything else is compared in the background.
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        private_dir(&settings.data_dir)?;
        let lock = settings.lock()?.ok_or_else(|| StartError::Running { path: settings.data_dir.clone() })?;
        let started_at = WallUs::now();
        let vault = Vault::open(&settings.key_file())?;
        let database = settings.database();
        store::stock::release(&database);
        let store = Store::open(&database).await?;
        let installation = Arc::new(Installation::load(&settings.data_dir)?);
        let mirror_dir = settings.mirror.as_ref().map(|mirror| mirror.dir.as_path());
        let volume = Volume::guarded(&settings.recordings_dir, mirror_dir, installation.clone());
        let mirror = mirror_dir.map(|dir| Volume::guarded(dir, Some(&settings.recordings_dir), installation));
        let attached = attach([Some(&volume), mirror.as_ref()]).await;
        let primary = VolumeWriter::start(volume.clone(), Limits::default())?;
        let mirror = mirror.map(|mirror| VolumeWriter::start_second(&primary, mirror, MIRROR_LIMITS));
        let volumes = Volumes::new(primary, mirror.transpose()?);
        let (hub, events) = Hub::new();
        let shelf = |place| {
            let volume = volumes.at(place).map_or_else(|| volume.clone(), |writer| writer.volume().clone());
            Shelf { place, volume, alone: volumes.mirror().is_none() }
        };

        // First, so that nobody takes for footage what was about to go.
        if attached[0]
            && let Err(error) = keeper::finish(&store, &shelf(Place::Primary)).await
        {
            tracing::error!("a deletion that was begun cannot be ended yet: {}", Chain(&error));
        }
        let upto = store.last_segment().await?;
        let mut adopted = Repaired::default();
        let ended = match timeout(UNFINISHED_WITHIN, finish_open(&store, &volumes, upto, &mut adopted)).await
        {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!("a volume is slow; what was open is looked at while cameras are recorded");
                Ok(())
            }
        };
        report(&hub, adopted, ended);
        let stored = store.cameras(&vault).await?;

        let ledgers = Ledgers::default();
        let activities = Activities::default();
        let zone = system_zone();
        let known =
            stored.iter().map(|stored| (stored.camera.id.clone(), stored.created, stored.camera.when(zone)));
        let reached = ledgers.load(&store, known, started_at).await?;

        let desk = Desk::default();
        let keepers: Vec<Keeper> = volumes.all().map(|_| Keeper::default()).collect();
        let (stop, stopped) = oneshot::channel();
        let clerk = Clerk {
            store: store.clone(),
            facts: volumes.all().map(|(place, writer)| (place, writer.facts())).collect(),
            events,
            hub: hub.clone(),
            ledgers: ledgers.clone(),
            activities: activities.clone(),
            keepers: keepers.clone(),
            desk: desk.clone(),
        };
        let clerk = (stop, tokio::spawn(clerk.work(stopped)));
        let (stop, stopped) = oneshot::channel();
        let accountant = (stop, tokio::spawn(ledgers.clone().keep(store.clone(), hub.clone(), stopped)));
        let mut keeping = Vec::new();
        let (came, coming) = mpsc::unbounded_channel();
        let mut watches = Vec::new();
        for (((place, writer), keeper), attached) in volumes.all().zip(&keepers).zip(attached) {
            let limits = settings.limits(place);
            let (stop, stopped) = oneshot::channel();
            let work = keeper::Work {
                shelf: shelf(place),
                keeper: keeper.clone(),
                store: store.clone(),
                writer: writer.clone(),
                hub: hub.clone(),
                ledgers: ledgers.clone(),
                limits,
                state: keeper::State::new(),
            };
            keeping.push((stop, tokio::spawn(work.work(stopped))));
            let watch = VolumeWatch::new(place, writer.volume().root().to_owned());
            tokio::spawn(watch.clone().watch(writer.clone(), hub.clone(), came.clone(), attached));
            watches.push(watch);
            if volumes.mirror().is_some() {
                let (stop, stopped) = oneshot::channel();
                let resync = Resync {
                    to: place,
                    volumes: volumes.clone(),
                    store: store.clone(),
                    hub: hub.clone(),
                    limits,
                    keeper: keeper.clone(),
                    ledgers: ledgers.clone(),
                    bytes_per_second: settings.resync_bytes_per_second,
                    failed: HashMap::new(),
                };
                keeping.push((stop, tokio::spawn(resync.work(stopped))));
            }
        }
        let scrub = ScrubState::new(settings.scrub_bytes_per_second, store.scrub_pass().await?);
        let scrubbing = Scrub {
            state: scrub.clone(),
            volumes: volumes.clone(),
            store: store.clone(),
            hub: hub.clone(),
            ledgers: ledgers.clone(),
            waiting: true,
            healed: 0,
        };
        let (stop, stopped) = oneshot::channel();
        keeping.push((stop, tokio::spawn(scrubbing.work(stopped))));
        let mirror = volumes.mirror().zip(watches.get(1)).map(|(writer, watch)| {
            let mirror = MirrorWatch::new();
            let watching = mirror.clone();
            let primary = volume.clone();
            tokio::spawn(watching.watch(writer.clone(), primary, watch.clone(), store.clone(), hub.clone()));
            mirror
        });
        tokio::spawn(clock::watch(hub.clone()));
        let (pins, to_pin) = mpsc::unbounded_channel();
        let (wants, wanted) = mpsc::unbounded_channel();
        tokio::spawn(want_on_primary(store.clone(), wanted));
        let deps = Deps {
            pins,
            wants,
            logins: Default::default(),
            sources: Sources::new(Texts::new(settings.pipelines_dir.clone())).map_err(StartError::Thread)?,
            default_source: settings.source,
            texts: Texts::new(settings.pipelines_dir.clone()),
            volumes: volumes.clone(),
            hub: hub.clone(),
            ledgers: ledgers.clone(),
            activities: activities.clone(),
            connects: Arc::new(Semaphore::new(CONNECTS)),
            memory: Memory::default(),
            abandoned: Arc::new(AtomicU64::new(0)),
            zone,
        };

        log(&hub, Kind::ServiceStarted, format!("version {}", env!("CARGO_PKG_VERSION")));
        let apart = SPREAD.min(SPREAD_MAX / u32::try_from(stored.len().max(1)).unwrap_or(u32::MAX));
        let mut ways: BTreeMap<CameraId, Known> = store.refill_ways().await?.into_iter().collect();
        let mut cameras = BTreeMap::new();
        for (n, stored) in stored.into_iter().enumerate() {
            if stored.password_unreadable {
                tracing::error!(camera.id = %stored.camera.id, "its password cannot be opened; set it again");
            }
            let delay = apart * u32::try_from(n).unwrap_or(u32::MAX);
            let camera: Camera = stored.camera;
            let driver = Driver::start(camera.clone(), deps.clone(), delay, reached.get(&camera.id).copied());
            cameras.insert(
                camera.id.clone(),
                Entry {
                    found: ways.remove(&camera.id),
                    camera,
                    created_at: stored.created,
                    driver,
                    beside: None,
                },
            );
        }
        let compare =
            Compare { store: store.clone(), volumes, hub, ledgers: ledgers.clone(), started_at, upto };
        tokio::spawn(compare.work(attached, coming));
        keeping.extend([clerk, accountant]);
        let (workers, posts) = Workers::load(&store).await?;
        let samplers = Samplers::new(settings.frames_dir.as_deref()).map_err(StartError::Thread)?;
        let service = Self(Arc::new(Inner {
            store,
            vault,
            deps,
            desk,
            ledgers,
            keepers,
            settings: settings.clone(),
            watches,
            mirror,
            samplers,
            workers,
            refills: Arc::default(),
            scrub,
            started_at,
            cameras: Mutex::new(cameras),
            changing: tokio::sync::Mutex::default(),
            stopping: AtomicBool::new(false),
            probes: Semaphore::new(PROBES),
            decoders: Semaphore::new(DECODERS),
            exports: Default::default(),
            pictures: Mutex::default(),
            tasks: Mutex::new(keeping),
            lock,
        }));
        tokio::spawn(keep_pins(Arc::downgrade(&service.0), to_pin));
        if let Err(error) = service.tasks_changed().await {
            tracing::error!("nothing is sampled until a task changes: {}", Chain(&error));
        }
        tokio::spawn(sampling::keep(Arc::downgrade(&service.0)));
        tokio::spawn(refill::keep(Arc::downgrade(&service.0)));
        tokio::spawn(workers::keep(Arc::downgrade(&service.0), posts));
        Ok(service)
    }

    /// Stops the service in order, within `STOP_WITHIN`: open segments are finished side by side, then what is queued is
    /// written, then the last rows. Whatever is late is said and left.
    pub async fn stop(&self) {
        self.0.stopping.store(true, Relaxed);
        let began = Instant::now();
        let late = Mutex::default();
        let change_under_way = async {
            let _one = self.0.changing.lock().await;
            // It may have brought a camera.
            self.stop_cameras(&late).await;
        };
        let all = async { tokio::join!(self.stop_cameras(&late), change_under_way, self.0.refills.over()) };
        if timeout(STOP_CAMERAS_WITHIN, all).await.is_err() {
            let late = late.lock().unwrap_or_else(PoisonError::into_inner);
            tracing::error!("cameras that did not stop in time: {late:?}");
        }
        log(
            &self.0.deps.hub,
            Kind::ServiceStopped,
            format!("in order, in {} ms", began.elapsed().as_millis()),
        );
        let tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let mut kept = CLOSE_WITHIN + LAST_ROWS_WITHIN * u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        let left = |kept: Duration| STOP_WITHIN.saturating_sub(began.elapsed() + kept);
        let (volumes, flush_within) = (self.0.deps.volumes.clone(), left(kept).max(FLUSH_WITHIN));
        let flushed = tokio::task::spawn_blocking(move || volumes.shutdown(flush_within)).await;
        for place in flushed.unwrap_or_default() {
            tracing::error!("the {} did not take everything in time", place.word());
        }
        for (stop, task) in tasks {
            let _ = stop.send(());
            kept -= LAST_ROWS_WITHIN;
            if timeout(left(kept), task).await.is_err() {
                tracing::warn!(
                    "the last rows did not reach the database; the next start reads them from the files"
                );
            }
        }
        let _ = timeout(left(Duration::ZERO), self.0.store.close()).await;
        // A thread that hangs in a dead disk keeps the process, and with it the lock, from going; the next start must not
        // wait for it.
        if let Err(error) = self.0.lock.unlock() {
            tracing::warn!("the data directory stays locked: {error}");
        }
    }
}

/// Stores the certificates that cameras showed first; a database that is away is asked again.
async fn keep_pins(service: Weak<Inner>, mut pins: mpsc::UnboundedReceiver<(CameraId, String)>) {
    while let Some((id, fingerprint)) = pins.recv().await {
        loop {
            let Some(inner) = service.upgrade() else { return };
            let patch =
                CameraPatch { tls_fingerprint: Some(Some(fingerprint.clone())), ..CameraPatch::default() };
            match Watchkeeper(inner).change_camera(&id, patch).await {
                Ok(_) => tracing::info!(camera.id = %id, "its certificate is pinned: {fingerprint}"),
                Err(Error::DatabaseAway(_)) => {
                    tokio::time::sleep(PIN_AGAIN_AFTER).await;
                    continue;
                }
                Err(error) => tracing::warn!(camera.id = %id, "its certificate is not pinned: {error}"),
            }
            break;
        }
    }
}

impl Watchkeeper {
    /// Stops all cameras side by side; those still to come stand in `late`.
    async fn stop_cameras(&self, late: &Mutex<BTreeSet<CameraId>>) {
        let late = || late.lock().unwrap_or_else(PoisonError::into_inner);
        let drivers = std::mem::take(&mut *self.entries());
        late().extend(drivers.keys().cloned());
        let stopping = drivers.into_iter().map(async |(id, entry)| {
            entry.stop().await;
            late().remove(&id);
        });
        join_all(stopping).await;
    }
}

/// The zone of schedules that name none.
fn system_zone() -> Zone {
    let name = base::time::zone_name();
    name.as_deref().and_then(|name| schedule::zone(name).ok()).unwrap_or_else(|| {
        tracing::warn!(
            "the system's time zone {name:?} is no IANA name; schedules are in UTC where no other is set"
        );
        Zone::UTC
    })
}

/// Looks whether the volumes are there, both at once; which are. One that hangs is looked at again later.
async fn attach(volumes: [Option<&Volume>; 2]) -> [bool; 2] {
    let attach = async |volume: Option<&Volume>| {
        let Some(volume) = volume.cloned() else { return false };
        let root = volume.root().to_owned();
        let Ok(attached) = on_thread("volume look", move || volume.attach()) else { return false };
        match timeout(ATTACH_WITHIN, attached).await {
            Ok(Ok(Ok(()))) => true,
            Ok(Ok(Err(error))) => {
                tracing::error!("nothing is written to `{}`: {}", root.display(), Chain(&error));
                false
            }
            _ => {
                tracing::error!("`{}` does not answer", root.display());
                false
            }
        }
    };
    let [primary, mirror] = volumes;
    tokio::join!(attach(primary), attach(mirror)).into()
}

/// Closes the rows that were open when the process died with what the volumes have of them.
async fn finish_open(
    store: &Store,
    volumes: &Volumes,
    upto: i64,
    done: &mut Repaired,
) -> Result<(), recovery::Error> {
    let there: Vec<(Place, Volume)> = volumes.all().map(|(place, of)| (place, of.volume().clone())).collect();
    let mut steps = recovery::unfinished(store, &there, upto).await?;
    for (place, volume) in &there {
        let of_place = steps.extract_if(.., |(at, _)| at == place).map(|(_, step)| step).collect();
        recovery::repair(store, *place, volume, of_place, Hashing::Never, done).await?;
    }
    Ok(())
}

/// Older footage that was recorded for the mirror alone is wanted on the primary, too, because a trigger came.
async fn want_on_primary(store: Store, mut wanted: mpsc::UnboundedReceiver<(CameraId, WallUs)>) {
    while let Some((camera, from)) = wanted.recv().await {
        for pause in [Duration::ZERO, WANT_AGAIN_AFTER] {
            tokio::time::sleep(pause).await;
            if let Err(error) = store.want_on_primary(&camera, from).await {
                tracing::warn!(camera.id = %camera, "pre-roll stays on the mirror alone: {}", Chain(&error));
            }
        }
    }
}

/// What a start leaves for when cameras are already being recorded, and what is done when a volume comes later: every file
/// is compared with every row.
struct Compare {
    store: Store,
    volumes: Volumes,
    hub: Hub,
    ledgers: Ledgers,
    started_at: WallUs,
    /// The last row of the process before.
    upto: i64,
}

impl Compare {
    async fn work(self, attached: [bool; 2], mut coming: mpsc::UnboundedReceiver<Place>) {
        // It writes some megabytes, which cameras do not wait for.
        if let Err(error) = self.store.stock_up().await {
            tracing::warn!("the database has no room in stock: {}", Chain(&error));
        }
        // Before the comparison, so that what is adopted is not counted twice.
        if let Err(error) = self.ledgers.count(&self.store, self.started_at).await {
            tracing::warn!("the coverage of this day and the last is not known: {}", Chain(&error));
        }
        for (place, attached) in Place::ALL.iter().zip(attached) {
            if attached {
                self.place(*place, false).await;
            }
        }
        while let Some(place) = coming.recv().await {
            tracing::info!("the {} is there", place.word());
            self.place(place, true).await;
        }
    }

    /// `closed`: also what was recorded since the start.
    async fn place(&self, place: Place, closed: bool) {
        let Some(writer) = self.volumes.at(place) else { return };
        let mut done = Repaired::default();
        let ended = async {
            finish_open(&self.store, &self.volumes, self.upto, &mut done).await?;
            self.all(place, writer.volume(), closed, &mut done).await
        };
        let ended = ended.await;
        account(&self.ledgers, done.moved(true));
        report(&self.hub, done, ended);
    }

    async fn all(
        &self,
        place: Place,
        volume: &Volume,
        closed: bool,
        done: &mut Repaired,
    ) -> Result<(), recovery::Error> {
        let Self { store, ledgers, started_at, .. } = self;
        let sizes_since = started_at.plus_us(-SIZES_US);
        let scope = Scope { before: *started_at, closed, sizes_since };
        let mut walk = Walk::new(Some(store), place, volume, scope).await?;
        let (files, start) = (walk.files().await?, Instant::now());
        let (mut rows, mut said) = (0, false);
        loop {
            let began = Instant::now();
            let Some(mut page) = walk.next().await? else {
                let seconds = start.elapsed().as_secs_f32();
                tracing::info!(rows, files, seconds, "files of the {} and index agree", place.word());
                return Ok(());
            };
            rows += page.rows.len();
            if files == 0 && without_a_copy(&mut page) && !std::mem::replace(&mut said, true) {
                let root = volume.root().display();
                tracing::error!(
                    "the index knows segments, but none is below `{root}`; is the disk mounted? nothing is changed"
                );
            }
            recovery::repair(store, place, volume, page.steps, Hashing::Never, done).await?;
            account(ledgers, done.moved(false));
            tokio::time::sleep(began.elapsed() * REST).await;
        }
    }
}

/// Where there is not one file, nothing is called lost: whatever happened, an operator should look at it first. What the other
/// volume has is copied from there. Whether there was anything else.
fn without_a_copy(page: &mut Page) -> bool {
    let others = page.rows.iter().filter(|row| row.other != CopyState::Whole);
    let lost: BTreeSet<i64> = others.map(|row| row.id).collect();
    let before = page.steps.len();
    page.steps.retain(|step| !matches!(step, Step::Lost { id, .. } if lost.contains(id)));
    page.steps.len() < before
}

fn account(ledgers: &Ledgers, Moved { found, gone }: Moved) {
    found.iter().for_each(|(camera, range)| ledgers.found(camera, *range));
    gone.iter().for_each(|(camera, range)| ledgers.lost(camera, *range));
}

fn report(hub: &Hub, done: Repaired, ended: Result<(), recovery::Error>) {
    if let Err(error) = ended {
        tracing::error!("recovery could not finish: {}", Chain(&error));
    }
    let Repaired { finished, adopted, lost, empty, .. } = done;
    if let Some(some) = finished.text() {
        let detail = format!("unfinished, kept up to the last fragment, without a hash: {some}");
        log(hub, Kind::SegmentAdopted, detail);
    }
    if let Some(some) = adopted.text() {
        let detail = format!("files that the index did not know, without a hash: {some}");
        log(hub, Kind::SegmentAdopted, detail);
    }
    if let Some(some) = lost.text() {
        log(hub, Kind::SegmentLost, format!("in the index, but not on disk: {some}"));
    }
    if let Some(some) = empty.text() {
        tracing::info!("files without footage, left alone: {some}");
    }
}

fn log(hub: &Hub, kind: Kind, detail: String) {
    let severity = if kind == Kind::SegmentLost { Severity::Warning } else { Severity::Info };
    hub.log(NewEvent::new(WallUs::now(), None, kind, severity, detail));
}

/// Makes a directory that only its owner reads: it holds the key and the database.
fn private_dir(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::Directory { path: path.to_owned(), source };
    if fs::metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)
}
