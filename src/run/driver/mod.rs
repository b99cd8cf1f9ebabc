//! One task per camera: it waits, asks the machine, acts, and publishes the state. It holds no rule; a rule belongs
//! into [`crate::model::machine`]. Nobody else touches the camera's pipeline.

mod attempt;
mod look;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::Instrument as _;

use look::resting;

use super::{Change, activity::Activities, clock::Clocks, hub::Hub, ledger::Ledgers, logins::Logins};
use crate::{
    base::{CameraId, Secret, WallUs, mask, threads::on_thread, ticks::Ticks},
    disk::{Health, Targets, VolumeWriter, Volumes},
    media::{
        recorder::{Lookers, Memory, Reached, Want as Wanting, Wanted},
        text::Texts,
    },
    model::{
        Camera,
        anchor::Jump,
        camera::MirrorMode,
        demand::{self, Demand, Idle, Refusal, Trigger, Want, Why, Window, WindowChange},
        event::{Kind, NewEvent, Severity},
        ledger::Standing,
        machine::{self, Action, Event, Life, State},
        schedule::Zone,
        source::{Description, SourceChoice, SourceEvent},
        status::{CameraStatus, Observed, StreamError, StreamErrorKind},
        stream::StreamId,
        unit::Damage,
    },
    source::{
        Sources,
        session::{CLOSE_DEADLINE, Session},
    },
};

/// After this a pipeline that does not stop is given up on: the segment's deadline, and a second for the rest.
const GIVE_UP_AFTER: Duration = CLOSE_DEADLINE.saturating_add(Duration::from_secs(1));

/// An attempt waits so long for its turn, and then goes on: dead cameras must not hold up living ones.
const TURN_WITHIN: Duration = Duration::from_secs(2);

/// So long after a failure of the record branch something must have been written; else the session is opened anew, because
/// its parser may have learned something from damaged packets that no muxer takes.
const HOPELESS_AFTER: Duration = Duration::from_secs(8);

/// Ticks that are further apart than this mean that the process did not run: it was stopped, or its machine slept.
const PAUSED_AFTER: Duration = Duration::from_secs(1);
/// After that, what waits in the sockets is read before a camera is judged silent.
const JUDGED_AFTER_PAUSE: Duration = Duration::from_secs(2);

/// While a write to the mirror hangs for so long, pre-roll is kept in memory again.
const MIRROR_HANGS: Duration = Duration::from_secs(5);

/// What every driver needs.
#[derive(Clone, Debug)]
pub(super) struct Deps {
    pub(super) texts: Texts,
    pub(super) sources: Sources,
    /// Which of them receives cameras that name none.
    pub(super) default_source: SourceChoice,
    pub(super) volumes: Volumes,
    /// Cameras whose footage from then on, which was recorded for the mirror alone, is wanted on the primary, too.
    pub(super) wants: mpsc::UnboundedSender<(CameraId, WallUs)>,
    pub(super) hub: Hub,
    /// Who may log in where.
    pub(super) logins: Logins,
    pub(super) ledgers: Ledgers,
    /// How much moves in each stream.
    pub(super) activities: Activities,
    /// Bounds how many cameras are being connected at one moment.
    pub(super) connects: Arc<Semaphore>,
    /// What all cameras keep in memory before their triggers.
    pub(super) memory: Memory,
    /// Pipelines that did not stop and still hang.
    pub(super) abandoned: Arc<AtomicU64>,
    /// The zone of cameras that name none.
    pub(super) zone: Zone,
    /// Certificates to be kept, with their cameras: a few in the life of a camera.
    pub(super) pins: mpsc::UnboundedSender<(CameraId, String)>,
}

/// A driver, seen from outside.
#[derive(Debug)]
pub(super) struct Driver {
    commands: mpsc::UnboundedSender<Command>,
    /// The published state.
    pub(super) status: watch::Receiver<CameraStatus>,
    /// Whoever has a session with the camera holds this: the driver, or a probe of a camera that is not recorded.
    pub(super) stream: Arc<Semaphore>,
    /// The open session, if there is one, for a look at it.
    pub(super) session: watch::Receiver<Option<Arc<Session>>>,
    /// Whether there is a session, or is to be one.
    pub(super) in_use: Arc<AtomicBool>,
    /// Who else looks at its frames.
    pub(super) lookers: Lookers,
    /// Whether somebody looks, so that there is to be a session also while nothing is recorded.
    pub(super) sampled: Arc<AtomicBool>,
    /// Keyframes of the sessions before this one, so that pictures are numbered through.
    pub(super) keyframes_before: Arc<AtomicU64>,
    /// Where its footage ends, and how its clock stood to it.
    pub(super) reached: Arc<Reached>,
    task: JoinHandle<()>,
}

enum Command {
    Change(Box<Camera>),
    Trigger(Trigger, oneshot::Sender<Result<Window, Refusal>>),
}

/// What comes back from work that runs elsewhere. Each carries the number of its run: what an old run has to say does
/// not concern the new one.
enum Told {
    /// With the time that the next attempt is to be put off by.
    Source(SourceEvent, Duration),
    /// With the time that the next attempt is to be put off by, if it failed.
    Opened(Result<Opened, (StreamError, Duration)>),
    Closed,
    Knocked(bool),
}

/// A session that was opened, with what it holds.
struct Opened {
    session: Session,
    /// The camera's stream.
    held: OwnedSemaphorePermit,
    /// Its turn among the cameras that are being connected.
    turn: Option<OwnedSemaphorePermit>,
}

impl Driver {
    /// Starts the driver; the first attempt is made after `delay`. `reached` is where its footage ends.
    pub(super) fn start(camera: Camera, deps: Deps, delay: Duration, reached: Option<WallUs>) -> Self {
        let (commands, orders) = mpsc::unbounded_channel();
        let now = WallUs::now();
        let demand = demand::demand(&camera.when(deps.zone), None, now);
        let (shown, reason) = resting(demand.want);
        let blank = CameraStatus {
            shown,
            reason,
            detail: None,
            since: now,
            last_frame_at: None,
            until: demand.want.opens(),
            window_end: None,
            next_attempt_at: None,
            reconnects: 0,
            last_error: None,
            source: None,
            source_fallback: None,
            observed: Observed::default(),
        };
        let (status, seen_status) = watch::channel(blank);
        let (session, seen_session) = watch::channel(None);
        let (tell, told) = mpsc::unbounded_channel();
        let (jumps, jumped) = mpsc::unbounded_channel();
        let span = tracing::info_span!("camera", camera.id = %camera.id);
        let keyframes_before = Arc::new(AtomicU64::new(0));
        let (lookers, sampled) = (Lookers::default(), Arc::new(AtomicBool::new(false)));
        let stream = Arc::new(Semaphore::new(1));
        let in_use = Arc::new(AtomicBool::new(!matches!(demand.want, Want::Nothing(_))));
        let reached = Arc::new(reached.map(Reached::new).unwrap_or_default());
        let task = Task {
            lookers: lookers.clone(),
            sampled: sampled.clone(),
            stream: stream.clone(),
            held: None,
            keyframes_before: keyframes_before.clone(),
            demand,
            window_end: None,
            want: Arc::default(),
            targets: Arc::default(),
            for_mirror: false,
            record_since: None,
            in_use: in_use.clone(),
            reached: reached.clone(),
            jumps,
            clocks: Clocks::now(),
            life: Life::default(),
            run: 0,
            started: delay.is_zero(),
            cancel: None,
            detail: None,
            last_error: None,
            before: Totals::default(),
            outage_from: None,
            knocked: None,
            figures_at: Instant::now(),
            failures_at: (None, 0),
            noted: None,
            segment_seconds: Arc::new(AtomicU32::new(camera.segment_seconds)),
            description: None,
            turn: None,
            ticked_at: Instant::now(),
            judged_from: Instant::now(),
            camera,
            deps,
            status,
            session,
            tell,
        };
        let task = tokio::spawn(task.live(orders, told, jumped, delay).instrument(span));
        Self {
            commands,
            status: seen_status,
            stream,
            session: seen_session,
            in_use,
            lookers,
            sampled,
            keyframes_before,
            reached,
            task,
        }
    }

    /// Gives it new settings.
    pub(super) fn change(&self, camera: Camera) {
        let _ = self.commands.send(Command::Change(Box::new(camera)));
    }

    /// Asks it to record for a while. `None` if it has just been stopped.
    pub(super) fn trigger(
        &self,
        trigger: Trigger,
    ) -> impl Future<Output = Option<Result<Window, Refusal>>> + use<> {
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Trigger(trigger, answer));
        async { answered.await.ok() }
    }

    /// Stops recording and ends the task. The open segment is finished first.
    pub(super) async fn stop(self) {
        drop(self.commands);
        if let Err(error) = self.task.await {
            tracing::error!("a camera's task ended badly: {error}");
        }
    }
}

/// Counters of the sessions before the present one.
#[derive(Clone, Copy, Default)]
struct Totals {
    frames: u64,
    bytes: u64,
    segments: u64,
    dropped: u64,
    damage: Damage,
}

struct Task {
    camera: Camera,
    deps: Deps,
    /// What the camera is wanted for now.
    demand: Demand,
    /// When the window of the last trigger ends.
    window_end: Option<WallUs>,
    /// What the session records of that.
    want: Arc<Wanting>,
    /// Which volumes that goes to.
    targets: Arc<Targets>,
    /// Whether it is recorded for the mirror alone.
    for_mirror: bool,
    /// Since when it is to be recorded.
    record_since: Option<Instant>,
    in_use: Arc<AtomicBool>,
    lookers: Lookers,
    sampled: Arc<AtomicBool>,
    /// Where the footage ends.
    reached: Arc<Reached>,
    jumps: mpsc::UnboundedSender<Jump>,
    clocks: Clocks,
    life: Life,
    run: u64,
    /// False while the spread of the start-up holds this camera back.
    started: bool,
    stream: Arc<Semaphore>,
    /// The camera's stream, from before a session is opened until it is closed.
    held: Option<OwnedSemaphorePermit>,
    /// Ends an attempt that has no session yet.
    cancel: Option<oneshot::Sender<()>>,
    /// What was said with the loss that is being dealt with.
    detail: Option<String>,
    last_error: Option<String>,
    before: Totals,
    keyframes_before: Arc<AtomicU64>,
    /// When the last frame before the outage came.
    outage_from: Option<Instant>,
    /// When we last knocked; `None` while a knock is under way.
    knocked: Option<Instant>,
    figures_at: Instant,
    /// When something was last written, and how often the record branch of this session had failed then.
    failures_at: (Option<Instant>, u32),
    /// What the ledger was told last.
    noted: Option<(bool, Standing)>,
    segment_seconds: Arc<AtomicU32>,
    /// What the camera said of the stream of the present session.
    description: Option<Box<Description>>,
    /// When the last tick was.
    ticked_at: Instant,
    /// Until then a silent camera is not judged, because the process itself was stopped.
    judged_from: Instant,
    /// Held from the begin of an attempt until the camera has described the stream.
    turn: Option<OwnedSemaphorePermit>,
    status: watch::Sender<CameraStatus>,
    session: watch::Sender<Option<Arc<Session>>>,
    tell: mpsc::UnboundedSender<(u64, Told)>,
}

impl Task {
    async fn live(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Command>,
        mut told: mpsc::UnboundedReceiver<(u64, Told)>,
        mut jumped: mpsc::UnboundedReceiver<Jump>,
        delay: Duration,
    ) {
        let start = tokio::time::sleep(delay);
        tokio::pin!(start);
        let mut ticks = Ticks::new();
        let mut leaving = false;
        self.wish();
        loop {
            tokio::select! {
                order = orders.recv(), if !leaving => match order {
                    Some(Command::Change(camera)) => self.change(*camera),
                    Some(Command::Trigger(trigger, answer)) => {
                        let _ = answer.send(self.trigger(&trigger));
                    }
                    None => {
                        leaving = true;
                        self.step(Event::Unwanted);
                    }
                },
                Some((run, told)) = told.recv() => self.hear(run, told),
                Some(jump) = jumped.recv() => self.deps.ledgers.jumped(&self.camera.id, jump),
                () = &mut start, if !self.started => {
                    self.started = true;
                    self.wish();
                }
                () = ticks.next(self.life.tick()) => {
                    if !leaving {
                        self.wish();
                    }
                    self.tick();
                }
            }
            if leaving && self.life.state == State::Disabled {
                return;
            }
            self.publish(leaving);
        }
    }

    /// Says whether this camera is wanted now.
    fn wish(&mut self) {
        self.life.connect_within = Duration::from_secs(self.camera.connect_seconds.into());
        // A window lasts as long as it was asked for, whatever becomes of the host's clock.
        let step = self.clocks.step_us();
        self.window_end = self.window_end.map(|end| end.plus_us(step));
        let (now, settings) = (WallUs::now(), self.camera.when(self.deps.zone));
        let runs = |end: &WallUs| settings.enabled && settings.mode.has_triggers() && now < *end;
        self.window_end = self.window_end.filter(runs);
        self.demand = demand::demand(&settings, self.window_end, now);
        let pre_roll = Duration::from_secs(self.camera.pre_roll_seconds.into());
        let mirrored = self.camera.mirror_enabled && self.deps.volumes.mirror().is_some();
        let for_mirror = self.is_for_mirror(mirrored);
        let was_for_mirror = std::mem::replace(&mut self.for_mirror, for_mirror);
        self.targets.set(!self.for_mirror, mirrored);
        match self.demand.want {
            // Where it begins is settled when it begins.
            Want::Record(_) if self.record_since.is_some() => {}
            Want::Record(why) => {
                self.record_since = Some(Instant::now());
                if was_for_mirror {
                    let from = if why == Why::Trigger { now.minus(pre_roll) } else { now };
                    let _ = self.deps.wants.send((self.camera.id.clone(), from));
                }
                self.want.set(match why {
                    Why::Always => Wanted::All,
                    Why::Schedule => Wanted::From(now),
                    Why::Trigger => Wanted::From(now.minus(pre_roll)),
                });
            }
            Want::Armed(_) | Want::Nothing(_) if self.for_mirror => {
                self.record_since = None;
                self.want.set(Wanted::All);
            }
            Want::Armed(_) | Want::Nothing(_) => {
                self.record_since = None;
                let kept = if settings.mode.has_triggers() { pre_roll } else { Duration::ZERO };
                self.want.set(Wanted::Keep(kept));
            }
        }
        if self.started {
            let looked_at = self.sampled.load(Relaxed) && settings.enabled;
            let open = self.for_mirror || looked_at || !matches!(self.demand.want, Want::Nothing(_));
            self.in_use.store(open, Relaxed);
            self.step(if open { Event::Wanted } else { Event::Unwanted });
        }
    }

    /// Whether it is recorded for the mirror alone now: outside its schedule and triggers, as long as the mirror takes it.
    fn is_for_mirror(&self, mirrored: bool) -> bool {
        let idle = match self.demand.want {
            Want::Record(_) | Want::Nothing(Idle::Disabled) | Want::Armed(Idle::Disabled) => false,
            Want::Armed(_) | Want::Nothing(_) => true,
        };
        let takes =
            |writer: &VolumeWriter| *writer.health().borrow() == Health::Ok && writer.lag() < MIRROR_HANGS;
        idle && mirrored
            && self.camera.mirror_mode == MirrorMode::Continuous
            && self.deps.volumes.mirror().is_some_and(takes)
    }

    fn trigger(&mut self, trigger: &Trigger) -> Result<Window, Refusal> {
        let now = WallUs::now();
        demand::takes_triggers(&self.camera.when(self.deps.zone), now)?;
        let post_roll = trigger.post_roll_seconds.unwrap_or(self.camera.post_roll_seconds);
        let window = demand::triggered(self.window_end, now, Duration::from_secs(post_roll.into()));
        self.window_end = Some(window.end);
        if window.change == WindowChange::Opened {
            self.log(Kind::Trigger, Severity::Info, mask::urls(&trigger.reason));
        }
        self.wish();
        Ok(window)
    }

    fn change(&mut self, camera: Camera) {
        let new_session = self.camera.needs_new_session(&camera);
        self.segment_seconds.store(camera.segment_seconds, Relaxed);
        self.camera = camera;
        if new_session {
            self.step(Event::Changed);
        }
        self.wish();
        self.deps.hub.tell(Change::Camera(self.camera.id.clone()));
    }

    fn hear(&mut self, run: u64, told: Told) {
        match told {
            _ if run != self.run => {
                // An attempt that was given up may still bring a session: it ends when it is dropped, elsewhere.
                if let Told::Opened(Ok(opened)) = told {
                    let _ = on_thread("late session", move || drop(opened));
                }
            }
            Told::Source(SourceEvent::Described(description), _) => {
                self.turn = None;
                self.description = Some(description);
            }
            Told::Source(SourceEvent::Lost(lost), hold) => self.lost(lost, hold),
            Told::Opened(outcome) => {
                self.cancel = None;
                let closing = matches!(self.life.state, State::Closing { .. });
                match outcome {
                    Ok(Opened { session, held, turn }) => {
                        self.held = Some(held);
                        self.turn = turn.filter(|_| self.description.is_none());
                        self.session.send_replace(Some(Arc::new(session)));
                        if closing {
                            self.close();
                        }
                    }
                    Err(_) if closing => self.step(Event::Closed),
                    Err((lost, hold)) => self.lost(lost, hold),
                }
            }
            Told::Closed => {
                self.held = None;
                self.step(Event::Closed);
            }
            Told::Knocked(answered) => {
                self.knocked = Some(Instant::now());
                self.step(Event::Knocked { answered });
            }
        }
    }

    fn lost(&mut self, lost: StreamError, hold: Duration) {
        if !matches!(self.life.state, State::Connecting { .. } | State::Recording { .. }) {
            return;
        }
        let password = self.camera.password.as_ref().map(Secret::reveal).unwrap_or_default();
        let detail = mask::secret(&lost.detail, password);
        self.last_error = Some(format!("{}: {detail}", lost.kind.word()));
        self.detail = Some(detail);
        self.step(Event::Lost { kind: lost.kind, hold });
    }

    fn tick(&mut self) {
        let session = self.session.borrow().clone();
        let seen = session.as_ref().map(|session| session.seen());
        let event = Event::Tick {
            last_frame: seen.as_ref().and_then(|seen| seen.last),
            interval: seen.as_ref().map(|seen| seen.interval()).unwrap_or_default(),
        };
        let now = Instant::now();
        if now - self.ticked_at > PAUSED_AFTER {
            self.judged_from = now + JUDGED_AFTER_PAUSE;
        }
        self.ticked_at = now;
        if now < self.judged_from {
            return;
        }
        if let (Some(session), State::Recording { .. }) = (&session, self.life.state) {
            let (written, failures) =
                (self.deps.volumes.last_written(&self.stream_id()), session.recorded().failures);
            if written != self.failures_at.0 {
                self.failures_at = (written, failures);
            } else if failures != self.failures_at.1
                && written.is_some_and(|at| now - at >= HOPELESS_AFTER)
                && matches!(self.life.state, State::Recording { since } if now - since >= HOPELESS_AFTER)
            {
                let detail = "the stream cannot be put into a file; it may be damaged on its way";
                self.lost(StreamError::new(StreamErrorKind::Internal, detail), Duration::ZERO);
            }
        }
        if self.camera.tls_fingerprint.is_none() && matches!(self.life.state, State::Recording { .. }) {
            self.pin();
        }
        if self.life.knocks() && self.knocked.is_none_or(|at| now - at >= machine::KNOCK_EVERY) {
            self.knock();
        }
        self.step(event);
    }

    /// Frames came through TLS for the first time: from now on only this certificate counts.
    fn pin(&mut self) {
        let Some(seen) = self.description.as_ref().and_then(|of| of.fingerprint.clone()) else { return };
        self.camera.tls_fingerprint = Some(seen.clone());
        let _ = self.deps.pins.send((self.camera.id.clone(), seen));
    }

    fn step(&mut self, event: Event) {
        let jitter = rand::random::<f64>();
        let (life, actions) = std::mem::take(&mut self.life).step(Instant::now(), jitter, event);
        self.life = life;
        if let Event::Tick { last_frame, .. } = event
            && actions.contains(&Action::Close)
        {
            self.silent(last_frame.is_some());
        }
        for action in actions {
            match action {
                Action::Open => self.open(),
                Action::Close => self.close(),
                Action::TellOffline(loss) => self.tell_offline(loss),
                Action::TellOnline(outage) => self.tell_online(outage),
            }
        }
    }

    /// Nobody told of this loss: it is time that passed.
    fn silent(&mut self, after_frames: bool) {
        let text = if after_frames {
            "no frame came for 5 s".to_owned()
        } else {
            format!("no frame came within {} s", self.life.connect_within.as_secs())
        };
        self.detail = Some(text.clone());
        self.last_error = Some(format!("{}: {text}", StreamErrorKind::Silent.word()));
    }

    fn tell_offline(&mut self, loss: StreamErrorKind) {
        let last = self.session.borrow().as_ref().and_then(|session| session.seen().last);
        self.outage_from = Some(last.unwrap_or_else(Instant::now));
        let said = self.detail.clone().unwrap_or_default();
        self.log(Kind::CameraOffline, Severity::Warning, format!("{}: {said}", loss.word()));
    }

    fn tell_online(&mut self, outage: Duration) {
        let outage = self.outage_from.take().map_or(outage, |from| from.elapsed());
        self.detail = None;
        self.log(
            Kind::CameraOnline,
            Severity::Info,
            format!("frames are back after {:.1} s", outage.as_secs_f64()),
        );
    }

    /// The stream that this driver opens.
    fn stream_id(&self) -> StreamId {
        StreamId::live(self.camera.id.clone(), self.camera.record_profile)
    }

    fn log(&self, kind: Kind, severity: Severity, detail: String) {
        let camera = Some(self.camera.id.clone());
        self.deps.hub.log(NewEvent::new(WallUs::now(), camera, kind, severity, detail));
    }
}
