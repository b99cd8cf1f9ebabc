//! Samplers: which streams are sampled for the tasks that there are, how much each may take, and their latest pictures.
//!
//! A stream that is recorded is sampled on its session; the other stream of a camera gets a session of its own, and only one,
//! for as long as a task needs it.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};

use super::{
    Entry, Error, Inner, Watchkeeper, driver::Driver, hub::Hub, latest::LatestFiles, ledger::Ledgers,
};
use crate::{
    base::{CameraId, WallUs, error::Chain, threads::on_thread, ticks::Ticks},
    media::{
        recorder::{Look, Lookers},
        sampler::{Asked, Decoders, Sample, Sampler, Sampling},
        tap::Seen,
    },
    model::{
        Camera, Profile,
        ai::{
            budget::{Ask, Budget, Grant, Mfps, Stream, grant},
            task::{NewTask, Sampled, Task, asks},
        },
        backoff,
        camera::words,
        demand::Mode,
        event::{Kind, NewEvent, Severity},
        segment::SegmentState,
        status::Shown,
        timeline::Range,
    },
    store,
};

/// Between looks at samplers and what they need.
const EVERY: Duration = Duration::from_millis(400);
/// A sampler that gave nothing for so long, and for three times of its interval, does not work.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// So many pictures of a stream that were given out are remembered: at 30 a second for longer than a worker may take.
const HANDED: usize = 4_096;
/// Of them, those that another reader may be given as well.
const HANDED_LATELY: usize = 64;
/// A picture is waited for so long at most.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// What all samplers may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AiLimits {
    /// Pictures, in thousandths a second.
    pub rate: Mfps,
    /// Pixels decoded in a second.
    pub pixels: Option<u64>,
    /// Whether hardware may decode.
    pub hardware: bool,
}

impl Default for AiLimits {
    fn default() -> Self {
        Self { rate: 40_000, pixels: None, hardware: false }
    }
}

/// How a sampler is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplerState {
    /// No frame came yet.
    Connecting,
    /// Pictures come.
    Sampling,
    /// The camera is being connected to again.
    Waiting,
    /// The camera is away.
    Offline,
    /// Frames come, and no pictures.
    Error,
    /// Nobody needs it, or its camera is disabled.
    Stopped,
    /// There is nothing left for it.
    BudgetExhausted,
}

words!(SamplerState {
    Connecting = "connecting",
    Sampling = "sampling",
    Waiting = "waiting",
    Offline = "offline",
    Error = "error",
    Stopped = "stopped",
    BudgetExhausted = "budget_exhausted",
});

/// A sampler as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerNow {
    /// Whose.
    pub camera: CameraId,
    /// Of which stream.
    pub profile: Profile,
    /// In a word.
    pub state: SamplerState,
    /// What was asked for.
    pub requested: Mfps,
    /// What it may take; 0 if nothing.
    pub granted: Mfps,
    /// How wide its pictures are at most.
    pub width: u32,
    /// How it does.
    pub sampling: Sampling,
}

/// A picture, and where the same frame is recorded.
#[derive(Clone, Debug)]
pub struct Frame {
    /// It.
    pub sample: Arc<Sample>,
    /// The segment, and how far into it; `None` if it is not recorded.
    pub recorded: Option<(i64, i64)>,
}

/// Everything that samples.
#[derive(Debug, Default)]
pub(super) struct Samplers {
    state: Mutex<State>,
    wake: Notify,
    files: Option<LatestFiles>,
}

#[derive(Debug, Default)]
struct State {
    tasks: Vec<Task>,
    running: BTreeMap<(CameraId, bool), Running>,
    shed: BTreeMap<(CameraId, bool), Ask>,
    /// The pictures that were given out lately, oldest first: detections are taken for no others.
    handed: BTreeMap<(CameraId, bool), VecDeque<(u64, WallUs)>>,
}

#[derive(Debug)]
struct Running {
    ask: Ask,
    granted: Asked,
    sampler: Arc<Sampler>,
    look: Arc<dyn Look>,
    lookers: Lookers,
    failures: u32,
    retry: Option<Instant>,
    since: Instant,
    /// Its failure was told of.
    told: bool,
}

impl Samplers {
    /// None, whose latest pictures will be files below `dir`.
    pub(super) fn new(dir: Option<&Path>) -> io::Result<Self> {
        let files = dir.map(|dir| LatestFiles::start(dir.to_owned())).transpose()?;
        Ok(Self { files, ..Self::default() })
    }

    /// A camera is gone: another of its id never gave out its pictures.
    pub(super) fn forget(&self, camera: &CameraId) {
        self.lock().handed.retain(|(of, _), _| of != camera);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key((camera, profile): &Sampled) -> (CameraId, bool) {
    (camera.clone(), *profile == Profile::Sub)
}

/// The stream that a task's profile means: the main one where the camera has no other.
pub(super) fn meant(camera: &Camera, profile: Profile) -> Profile {
    if profile == Profile::Sub && camera.url(Profile::Sub).is_err() { Profile::Main } else { profile }
}

/// A camera whose other stream is looked at and not recorded: it stays armed, with nothing kept.
fn beside(camera: &Camera, profile: Profile) -> Camera {
    Camera {
        record_profile: profile,
        record_mode: Mode::Event,
        event_idle_session: true,
        pre_roll_seconds: 0,
        record_audio: false,
        mirror_enabled: false,
        ..camera.clone()
    }
}

impl Entry {
    /// Who has, or is to have, the session of this stream.
    fn driver_of(&self, profile: Profile) -> Option<&Driver> {
        if profile == self.camera.record_profile {
            Some(&self.driver)
        } else {
            self.beside.as_ref().map(|(_, of)| of)
        }
    }
}

fn stream(seen: &Seen) -> Option<Stream> {
    let (_, width, height) = seen.video?;
    let thousandths = |per_second: f64| (per_second * 1000.0).round() as Mfps;
    let keyframes = seen.keyframe_interval.map_or(0.5, |interval| 1.0 / interval.as_secs_f64().max(0.01));
    Some(Stream {
        pixels: u64::from(width) * u64::from(height),
        rate: thousandths(seen.fps.or(seen.fps_declared).unwrap_or(25.0)),
        keyframes: thousandths(keyframes),
    })
}

impl Watchkeeper {
    /// Reads the tasks anew and looks at once.
    pub(super) async fn tasks_changed(&self) -> Result<(), Error> {
        let tasks = self.0.store.tasks().await?;
        self.0.workers.tasks_are(&tasks);
        self.0.samplers.lock().tasks = tasks;
        self.0.samplers.wake.notify_one();
        Ok(())
    }

    /// Every task, by id, with what samples for it.
    pub fn ai_tasks(&self) -> Vec<(Task, Option<SamplerNow>)> {
        let samplers = self.samplers();
        let tasks = self.0.samplers.lock().tasks.clone();
        let of = |task: &Task| {
            let profile =
                self.with(&task.task.camera, |entry| meant(&entry.camera, task.task.profile)).ok()?;
            let found = |now: &&SamplerNow| now.camera == task.task.camera && now.profile == profile;
            samplers.iter().find(found).filter(|_| task.task.enabled).cloned()
        };
        tasks.into_iter().map(|task| (task.clone(), of(&task))).collect()
    }

    /// One task.
    pub fn ai_task(&self, id: i64) -> Result<(Task, Option<SamplerNow>), Error> {
        self.ai_tasks().into_iter().find(|(task, _)| task.id == id).ok_or(Error::NoTask(id))
    }

    /// Adds a task; its stream is sampled at once.
    pub async fn add_ai_task(&self, task: NewTask) -> Result<(Task, Option<SamplerNow>), Error> {
        task.check()?;
        let _one = self.turn().await?;
        self.with(&task.camera, |_| ())?;
        let id = match self.0.store.add_task(&task).await {
            Err(store::Error::TooMany { most, .. }) => return Err(Error::TooManyTasks(most)),
            other => other?,
        };
        self.tasks_changed().await?;
        self.ai_task(id)
    }

    /// Changes a task: the rate and size of what samples for it change while it runs.
    pub async fn change_ai_task(&self, task: Task) -> Result<(Task, Option<SamplerNow>), Error> {
        task.task.check()?;
        let _one = self.turn().await?;
        self.with(&task.task.camera, |_| ())?;
        match self.0.store.change_task(&task).await {
            Err(store::Error::NotFound { .. }) => return Err(Error::NoTask(task.id)),
            other => other?,
        }
        self.tasks_changed().await?;
        self.ai_task(task.id)
    }

    /// Removes a task.
    pub async fn remove_ai_task(&self, id: i64) -> Result<(), Error> {
        let _one = self.turn().await?;
        match self.0.store.remove_task(id).await {
            Err(store::Error::NotFound { .. }) => return Err(Error::NoTask(id)),
            other => other?,
        }
        self.tasks_changed().await
    }

    /// Every sampler that a task asks for.
    pub fn samplers(&self) -> Vec<SamplerNow> {
        let state = self.0.samplers.lock();
        let running = state.running.values().map(|running| self.now(running));
        let shed = state.shed.values().map(|ask| SamplerNow {
            camera: ask.camera.clone(),
            profile: ask.profile,
            state: SamplerState::BudgetExhausted,
            requested: ask.rate,
            granted: 0,
            width: ask.width,
            sampling: Sampling::default(),
        });
        let mut all: Vec<_> = running.chain(shed).collect();
        all.sort_by_key(|now| (now.camera.clone(), now.profile == Profile::Sub));
        all
    }

    fn now(&self, running: &Running) -> SamplerNow {
        let Running { ask, granted, sampler, since, .. } = running;
        let mut sampling = sampler.sampling();
        let shown = self.with(&ask.camera, |entry| {
            entry.driver_of(ask.profile).map(|driver| driver.status.borrow().clone())
        });
        let age = sampler.pictures().borrow().as_ref().map(|sample| WallUs::now().0 - sample.at.0);
        let keyframes = sampling.keyframes.filter(|_| granted.adaptive).unwrap_or_default();
        let patience =
            SILENT_AFTER.max(Duration::from_secs(3) * 1000 / granted.rate.max(1)).max(keyframes * 3);
        let patience_us = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX);
        let state = match shown.ok().flatten().map(|status| status.shown) {
            None | Some(Shown::Disabled) => SamplerState::Stopped,
            Some(Shown::Offline) => SamplerState::Offline,
            Some(Shown::Stalled) => SamplerState::Waiting,
            _ if sampling.error.is_some() => SamplerState::Error,
            _ if age.is_some_and(|age| age <= patience_us) => SamplerState::Sampling,
            Some(Shown::Connecting) if age.is_some() => SamplerState::Waiting,
            Some(Shown::Connecting) => SamplerState::Connecting,
            _ if since.elapsed() < patience => SamplerState::Connecting,
            _ => SamplerState::Error,
        };
        if matches!(state, SamplerState::Stopped | SamplerState::Offline | SamplerState::Waiting) {
            sampling.active = None;
        }
        SamplerNow {
            camera: ask.camera.clone(),
            profile: ask.profile,
            state,
            requested: ask.rate,
            granted: granted.rate,
            width: granted.width,
            sampling,
        }
    }

    /// The latest picture of a stream that is sampled; with `after`, the first with a greater number, waited for at most
    /// `wait`. `None` if none came.
    pub async fn frame(
        &self,
        camera: &CameraId,
        profile: Profile,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<Option<Frame>, Error> {
        let profile = self.with(camera, |entry| meant(&entry.camera, profile))?;
        let pictures = {
            let state = self.0.samplers.lock();
            state.running.get(&key(&(camera.clone(), profile))).map(|running| running.sampler.pictures())
        };
        let mut pictures = pictures.ok_or_else(|| Error::NotSampled { camera: camera.clone(), profile })?;
        let newer = |sample: &Option<Arc<Sample>>| {
            sample.as_ref().is_some_and(|sample| after.is_none_or(|after| sample.number > after))
        };
        let found = match timeout(wait.min(WAIT_MAX), pictures.wait_for(newer)).await {
            Ok(Ok(found)) => found.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(sample) = found else { return Ok(None) };
        self.hand(key(&(camera.clone(), profile)), &sample);
        let recorded = self.recorded_at(camera, profile, sample.at).await;
        Ok(Some(Frame { sample, recorded }))
    }

    fn hand(&self, of: (CameraId, bool), sample: &Sample) {
        let mut state = self.0.samplers.lock();
        let handed = state.handed.entry(of).or_default();
        // Two readers may get the same, and a slow one an older one.
        let lately = handed.iter().rev().take(HANDED_LATELY);
        if !lately.copied().any(|(number, _)| number == sample.number) {
            handed.push_back((sample.number, sample.at));
            if handed.len() > HANDED {
                handed.pop_front();
            }
        }
    }

    /// When the picture of this number was taken, if it was given out lately.
    pub(super) fn handed(&self, camera: &CameraId, profile: Profile, number: u64) -> Option<WallUs> {
        let state = self.0.samplers.lock();
        let handed = state.handed.get(&key(&(camera.clone(), profile)))?;
        handed.iter().rev().find(|(of, _)| *of == number).map(|(_, at)| *at)
    }

    /// The segment that holds this moment, of this stream if it is recorded, and how far into it. The row of one that grows
    /// ends a second or two earlier than its file, but where the next may have begun nothing is claimed.
    pub(super) async fn recorded_at(
        &self,
        camera: &CameraId,
        profile: Profile,
        at: WallUs,
    ) -> Option<(i64, i64)> {
        let length = self.with(camera, |entry| entry.camera.segment_seconds).ok()?;
        let window = Range { from: at.plus_us(-4_000_000), to: at.plus_us(1) };
        let segments = self.0.store.segments_touching(camera, window, None, 16).await.ok()?;
        let holds = |segment: &crate::model::segment::Segment| {
            let facts = &segment.facts;
            facts.head.start <= at
                && match facts.state {
                    SegmentState::Open => {
                        at < facts.head.start.plus(Duration::from_secs(length.into())).max(facts.end())
                    }
                    SegmentState::Closed | SegmentState::Suspect => at < facts.end(),
                    SegmentState::Lost | SegmentState::Deleting => false,
                }
        };
        let there = || segments.iter().rev().filter(|segment| holds(segment));
        let found = there().find(|segment| segment.facts.head.profile == profile).or(there().next())?;
        Some((found.id, at.0 - found.facts.head.start.0))
    }
}

/// Keeps samplers as tasks and cameras are, until the service ends.
pub(super) async fn keep(service: Weak<Inner>) {
    let mut ticks = Ticks::new();
    loop {
        let Some(inner) = service.upgrade() else { return };
        let service_now = Watchkeeper(inner);
        if service_now.0.stopping.load(Relaxed) {
            return;
        }
        service_now.look();
        let samplers = service_now.0.clone();
        drop(service_now);
        tokio::select! {
            () = samplers.samplers.wake.notified() => {}
            () = ticks.next(EVERY) => {}
        }
    }
}

impl Watchkeeper {
    fn look(&self) {
        let asks = {
            let state = self.0.samplers.lock();
            let entries = self.entries();
            asks(&state.tasks, |camera, profile| {
                let entry = entries.get(camera).filter(|entry| entry.camera.record_enabled)?;
                let profile = meant(&entry.camera, profile);
                let session = entry.driver_of(profile).and_then(|driver| driver.session.borrow().clone());
                Some((profile, session.and_then(|session| stream(&session.seen()))))
            })
        };
        let limits = self.0.settings.ai;
        let grants = grant(&asks, Budget { rate: limits.rate, pixels: limits.pixels });
        let mut wanted = BTreeMap::new();
        let mut shed = BTreeMap::new();
        for (ask, grant) in asks.into_iter().zip(grants) {
            let key = key(&(ask.camera.clone(), ask.profile));
            match grant {
                Grant::Frames { rate, width } => drop(wanted.insert(key, (ask, rate, width))),
                Grant::Shed => drop(shed.insert(key, ask)),
            }
        }
        self.sessions(&wanted);
        let mut state = self.0.samplers.lock();
        state.shed = shed;
        let gone: Vec<_> = state.running.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(running) = state.running.remove(&key) {
                end(running);
            }
        }
        for (key, (ask, rate, width)) in wanted {
            let Ok(Some(lookers)) =
                self.with(&ask.camera, |entry| entry.driver_of(ask.profile).map(|of| of.lookers.clone()))
            else {
                continue;
            };
            let known = state.running.remove(&key);
            // A driver that was made anew has none yet.
            let known = known.filter(|running| running.lookers.is(&lookers) || end_of(running));
            let granted = Asked { rate, width, adaptive: ask.adaptive };
            let mut running = known.unwrap_or_else(|| self.begin(&ask, granted, lookers));
            if running.granted != granted {
                running.granted = granted;
                if let Err(error) = running.sampler.set(granted) {
                    tracing::warn!(camera.id = %ask.camera, "a sampler's size stays: {}", Chain(&error));
                }
            }
            running.ask = ask;
            self.mend(&mut running);
            state.running.insert(key, running);
        }
    }

    /// Sessions that only samplers need: begun, changed and ended as tasks and cameras are.
    fn sessions(&self, wanted: &BTreeMap<(CameraId, bool), (Ask, Mfps, u32)>) {
        let mut entries = self.entries();
        for (id, entry) in entries.iter_mut() {
            let wants = |profile: Profile| wanted.contains_key(&key(&(id.clone(), profile)));
            let own = entry.camera.record_profile;
            entry.driver.sampled.store(wants(own), Relaxed);
            let other = if own == Profile::Main { Profile::Sub } else { Profile::Main };
            let beside = beside(&entry.camera, other);
            match &mut entry.beside {
                Some((camera, driver)) if wants(other) => {
                    if *camera != beside {
                        driver.change(beside.clone());
                        *camera = beside;
                    }
                }
                None if wants(other) => {
                    let deps = super::Deps {
                        hub: Hub::silent(),
                        ledgers: Ledgers::default(),
                        ..self.0.deps.clone()
                    };
                    let driver = Driver::start(beside.clone(), deps, Duration::ZERO, None);
                    entry.beside = Some((beside, driver));
                }
                _ => {
                    if let Some((_, driver)) = entry.beside.take() {
                        tokio::spawn(driver.stop());
                    }
                }
            }
        }
    }

    fn begin(&self, ask: &Ask, granted: Asked, lookers: Lookers) -> Running {
        let decoders = Decoders::new(self.0.settings.ai.hardware);
        let sampler = Sampler::new(self.0.deps.texts.clone(), decoders, ask.camera.to_string(), granted);
        let look: Arc<dyn Look> = sampler.clone();
        lookers.add(look.clone());
        if let Some(files) = &self.0.samplers.files {
            files.follow(&ask.camera, ask.profile, sampler.pictures());
        }
        Running {
            ask: ask.clone(),
            granted,
            sampler,
            look,
            lookers,
            failures: 0,
            retry: None,
            since: Instant::now(),
            told: false,
        }
    }

    /// Begins the pipeline of a sampler that has none, or whose pipeline failed, no more often than makes sense.
    fn mend(&self, running: &mut Running) {
        let Sampling { error, measured, .. } = running.sampler.sampling();
        if let Some(error) = error.filter(|_| !running.told) {
            running.told = true;
            let (camera, kind, severity) =
                (Some(running.ask.camera.clone()), Kind::SamplerOffline, Severity::Warning);
            let detail = format!("the {} stream cannot be sampled: {error}", running.ask.profile.word());
            self.0.deps.hub.log(NewEvent::new(WallUs::now(), camera, kind, severity, detail));
        }
        if measured > 0 && running.retry.is_some_and(|at| at.elapsed() > SILENT_AFTER) {
            (running.failures, running.retry, running.told) = (0, None, false);
        }
        if !running.sampler.is_due() || running.retry.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let delay =
            if running.failures == 0 { Duration::ZERO } else { backoff::delay(running.failures, 0.5) };
        running.retry = Some(Instant::now() + delay.max(EVERY));
        running.failures += 1;
        let sampler = running.sampler.clone();
        let begun = on_thread("sampler", move || {
            if let Err(error) = sampler.begin() {
                tracing::warn!("a sampler cannot begin: {}", Chain(&error));
            }
        });
        drop(begun);
    }
}

fn end_of(running: &Running) -> bool {
    running.lookers.remove(&running.look);
    let sampler = running.sampler.clone();
    let _ = on_thread("sampler end", move || sampler.end());
    false
}

fn end(running: Running) {
    end_of(&running);
}
