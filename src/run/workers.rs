//! Programs that look at pictures: who works on what, what they found, and what that means in the cameras' zones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{Error, Inner, Watchkeeper, sampling::meant};
use crate::{
    base::{CameraId, WallUs, error::Chain},
    model::{
        Profile,
        ai::{
            detection::{self, Detection, FrameFound},
            lease::{self, Asked, Lease, Leases, Refused},
            task::Task,
            zone::{NewZone, Sight, Watch, Zone},
        },
        camera::BadField,
        demand::Trigger,
        event::{NewEvent, Severity},
        timeline::Range,
    },
    store::{self, Store},
};

/// So many frames wait for the database; who posts more is told to come again.
const POSTS: usize = 512;
/// After the first, so long is waited for more: one commit for all workers.
const COLLECT: Duration = Duration::from_millis(20);
/// So many in one commit.
const BATCH: usize = 128;
/// After so many frames, old ones are forgotten.
const PRUNE_EVERY: usize = 500;

/// What is known of workers and zones.
#[derive(Debug)]
pub(super) struct Workers {
    leases: Mutex<Leases>,
    zones: Mutex<Vec<Zone>>,
    posts: mpsc::Sender<Post>,
}

/// A frame that waits for the database.
#[derive(Debug)]
pub(super) struct Post {
    frame: FrameFound,
    answer: oneshot::Sender<Result<bool, Error>>,
}

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct LeaseAsked {
    /// Its name.
    pub worker: String,
    /// Of the lease that it has, if it has one.
    pub token: Option<String>,
    /// For how long.
    pub ttl: Duration,
    /// No more tasks than so many.
    pub most: usize,
    /// Only tasks of these types; empty: of all.
    pub kinds: Vec<String>,
}

/// What a worker found in a frame.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The worker's lease.
    pub token: String,
    /// On whose picture.
    pub camera: CameraId,
    /// For which task.
    pub task: i64,
    /// The number of the frame.
    pub frame: u64,
    /// It.
    pub found: Vec<Detection>,
}

impl Workers {
    /// Nobody, in the zones that there are; and what [`keep`] takes.
    pub(super) async fn load(store: &Store) -> Result<(Self, mpsc::Receiver<Post>), store::Error> {
        let (posts, to_store) = mpsc::channel(POSTS);
        let zones = Mutex::new(store.zones().await?);
        Ok((Self { leases: Mutex::default(), zones, posts }, to_store))
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn zones(&self) -> MutexGuard<'_, Vec<Zone>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks that there are to work on.
    pub(super) fn tasks_are(&self, tasks: &[Task]) {
        let enabled = tasks.iter().filter(|task| task.task.enabled).map(|task| task.id).collect();
        self.leases().only(&enabled);
    }
}

impl Watchkeeper {
    /// Leases tasks to a worker, or renews its lease. Its tasks come with the lease.
    pub fn lease(&self, asked: &LeaseAsked) -> Result<(Lease, WallUs), Error> {
        let LeaseAsked { worker, token, ttl, most, kinds } = asked;
        lease::check_name(worker)?;
        let mut tasks: Vec<Task> = self.ai_tasks().into_iter().map(|(task, _)| task).collect();
        tasks.retain(|task| task.task.enabled && (kinds.is_empty() || kinds.contains(&task.task.kind)));
        tasks.sort_by_key(|task| (std::cmp::Reverse(task.task.priority), task.id));
        let candidates: Vec<i64> = tasks.iter().map(|task| task.id).collect();
        let asked = Asked { worker, token: token.as_deref(), ttl: *ttl, most: *most };
        let fresh = format!("{:032x}", rand::random::<u128>());
        let lease = self.0.workers.leases().ask(asked, &candidates, fresh, Instant::now());
        let lease = lease.map_err(|refused| match refused {
            Refused::NameTaken => Error::WorkerExists(worker.clone()),
            Refused::TooMany => Error::TooManyWorkers,
        })?;
        Ok((lease, WallUs::now().plus(*ttl)))
    }

    /// Every worker that has a lease, with the time at which that ends.
    pub fn leases(&self) -> Vec<(String, Lease, WallUs)> {
        let now = Instant::now();
        let all = self.0.workers.leases().all(now);
        let ends = |lease: &Lease| WallUs::now().plus(lease.until.saturating_duration_since(now));
        all.into_iter().map(|(worker, lease)| (worker, lease.clone(), ends(&lease))).collect()
    }

    /// Gives a lease back, before it ends.
    pub fn give_back_lease(&self, token: &str) -> Result<(), Error> {
        let was_there = self.0.workers.leases().give_back(token, Instant::now());
        if was_there { Ok(()) } else { Err(Error::NoLease) }
    }

    /// Takes what a worker found in a frame that it was given. `false` if it was there already: nothing is kept twice.
    pub async fn post_detections(&self, finding: Finding) -> Result<bool, Error> {
        let Finding { token, camera, task, frame, found } = finding;
        detection::check(&found)?;
        let profile = self.profile_of(&camera, task)?;
        if !self.0.workers.leases().has(&token, task, Instant::now()) {
            return Err(Error::NotLeased(task));
        }
        let at = self.handed(&camera, profile, frame);
        let at = at.ok_or_else(|| Error::NoFrame { camera: camera.clone(), profile, frame })?;
        if found.is_empty() {
            return Ok(true);
        }
        let recorded = self.recorded_at(&camera, profile, at).await;
        let frame = FrameFound { camera, task, frame, profile, at, recorded, found };
        let (answer, answered) = oneshot::channel();
        self.0.workers.posts.try_send(Post { frame, answer }).map_err(|_| Error::TooManyPosts)?;
        answered.await.map_err(|_| Error::Stopping)?
    }

    /// The stream that a task of this camera looks at.
    pub fn profile_of(&self, camera: &CameraId, id: i64) -> Result<Profile, Error> {
        let (task, _) = self.ai_task(id)?;
        if task.task.camera != *camera {
            let message = format!("is not the camera of task {id}, which is `{}`", task.task.camera);
            return Err(BadField::new("camera_id", message).into());
        }
        self.with(camera, |entry| meant(&entry.camera, task.task.profile))
    }

    /// What was found on a camera's picture in this range, newest first.
    pub async fn detections(
        &self,
        camera: &CameraId,
        range: Range,
        limit: u32,
    ) -> Result<Vec<FrameFound>, Error> {
        self.with(camera, |_| ())?;
        let mut frames = self.0.store.detections(camera, range, limit).await?;
        for frame in frames.iter_mut().filter(|frame| frame.recorded.is_none()) {
            frame.recorded = self.recorded_at(camera, frame.profile, frame.at).await;
        }
        Ok(frames)
    }

    /// In how many frames something was found in each `step` of a range.
    pub async fn detection_counts(
        &self,
        camera: &CameraId,
        range: Range,
        step: Duration,
    ) -> Result<Vec<u64>, Error> {
        self.with(camera, |_| ())?;
        let step_us = i64::try_from(step.as_micros()).unwrap_or(i64::MAX).max(1);
        let steps = (range.to.0 - range.from.0 + step_us - 1).max(0) / step_us;
        let mut counts = vec![0; usize::try_from(steps).unwrap_or_default()];
        for (step, count) in self.0.store.detection_counts(camera, range, step_us).await? {
            if let Some(place) = usize::try_from(step).ok().and_then(|step| counts.get_mut(step)) {
                *place = count.unsigned_abs();
            }
        }
        Ok(counts)
    }

    /// The zones of a camera, by id.
    pub fn zones(&self, camera: &CameraId) -> Result<Vec<Zone>, Error> {
        self.with(camera, |_| ())?;
        Ok(self.0.workers.zones().iter().filter(|zone| zone.zone.camera == *camera).cloned().collect())
    }

    /// One of them.
    pub fn zone(&self, camera: &CameraId, id: i64) -> Result<Zone, Error> {
        let found = self.zones(camera)?.into_iter().find(|zone| zone.id == id);
        found.ok_or_else(|| Error::NoZone { camera: camera.clone(), id })
    }

    /// Adds a zone.
    pub async fn add_zone(&self, zone: NewZone) -> Result<Zone, Error> {
        zone.check()?;
        let _one = self.turn().await?;
        self.with(&zone.camera, |_| ())?;
        let id = match self.0.store.add_zone(&zone).await {
            Err(store::Error::TooMany { most, .. }) => {
                return Err(Error::TooManyZones { camera: zone.camera, most });
            }
            other => other?,
        };
        self.zones_changed().await?;
        Ok(Zone { id, zone })
    }

    /// Changes a zone: whoever is in it comes anew.
    pub async fn change_zone(&self, zone: Zone) -> Result<Zone, Error> {
        zone.zone.check()?;
        let _one = self.turn().await?;
        self.with(&zone.zone.camera, |_| ())?;
        no_zone(self.0.store.change_zone(&zone).await, &zone.zone.camera, zone.id)?;
        self.zones_changed().await?;
        Ok(zone)
    }

    /// Removes a zone.
    pub async fn remove_zone(&self, camera: &CameraId, id: i64) -> Result<(), Error> {
        let _one = self.turn().await?;
        self.with(camera, |_| ())?;
        no_zone(self.0.store.remove_zone(camera, id).await, camera, id)?;
        self.zones_changed().await
    }

    /// Reads the zones anew.
    pub(super) async fn zones_changed(&self) -> Result<(), Error> {
        let zones = self.0.store.zones().await?;
        *self.0.workers.zones() = zones;
        Ok(())
    }
}

fn no_zone(done: Result<(), store::Error>, camera: &CameraId, id: i64) -> Result<(), Error> {
    match done {
        Err(store::Error::NotFound { .. }) => Err(Error::NoZone { camera: camera.clone(), id }),
        other => Ok(other?),
    }
}

/// Those who are in the zones, as far as detections tell. A zone that was changed is another.
#[derive(Clone, Debug, Default)]
struct Watches(BTreeMap<i64, (Zone, Watch)>);

impl Watches {
    fn follow(&mut self, zones: Vec<Zone>) {
        let ids: BTreeSet<i64> = zones.iter().map(|zone| zone.id).collect();
        self.0.retain(|id, _| ids.contains(id));
        for zone in zones {
            if self.0.get(&zone.id).is_none_or(|(known, _)| *known != zone) {
                self.0.insert(zone.id, (zone, Watch::default()));
            }
        }
    }

    /// What a frame means.
    fn see(&mut self, frame: &FrameFound) -> Vec<NewEvent> {
        let mut events = Vec::new();
        for (Zone { id, zone }, watch) in self.0.values_mut().filter(|(of, _)| of.zone.camera == frame.camera)
        {
            for detection in frame.found.iter().filter(|of| zone.counts(&of.label, of.confidence)) {
                let Some(track) = &detection.track_id else { continue };
                // Two programs may give the same name to what they follow.
                let name = format!("{}/{track}", frame.task);
                for kind in watch.seen(zone, &name, detection.area().ground(), frame.at) {
                    let (kind, direction) = kind.event();
                    let way = direction.map_or(String::new(), |direction| format!(", {}", direction.word()));
                    let detail = format!("{}: {} {track}{way}", zone.name, detection.label);
                    let sight = Sight {
                        zone: *id,
                        name: zone.name.clone(),
                        task: frame.task,
                        track: track.clone(),
                        label: detection.label.clone(),
                        confidence: detection.confidence,
                        direction,
                        frame: frame.frame,
                        profile: frame.profile,
                        recorded: frame.recorded,
                    };
                    let camera = Some(frame.camera.clone());
                    let event = NewEvent::new(frame.at, camera, kind, Severity::Info, detail);
                    events.push(NewEvent { sight: Some(Box::new(sight)), ..event });
                }
            }
        }
        events
    }
}

/// Stores what is posted and tells what it means, until the service ends.
pub(super) async fn keep(service: Weak<Inner>, mut posts: mpsc::Receiver<Post>) {
    let (mut batch, mut watches, mut stored) = (Vec::new(), Watches::default(), 0);
    while posts.recv_many(&mut batch, BATCH).await > 0 {
        tokio::time::sleep(COLLECT).await;
        while batch.len() < BATCH
            && let Ok(post) = posts.try_recv()
        {
            batch.push(post);
        }
        let Some(inner) = service.upgrade() else { return };
        let service = Watchkeeper(inner);
        let cameras: BTreeSet<CameraId> = batch.iter().map(|post| post.frame.camera.clone()).collect();
        stored += service.store_posts(std::mem::take(&mut batch), &mut watches).await;
        if stored >= PRUNE_EVERY {
            stored = 0;
            for camera in cameras {
                if let Err(error) = service.0.store.prune_detections(&camera).await {
                    tracing::warn!(camera.id = %camera, "old detections stay: {}", Chain(&error));
                }
            }
        }
    }
}

impl Watchkeeper {
    /// Stores frames in one commit and answers those who posted them. How many were new.
    async fn store_posts(&self, posts: Vec<Post>, watches: &mut Watches) -> usize {
        let (frames, answers): (Vec<_>, Vec<_>) =
            posts.into_iter().map(|Post { frame, answer }| (frame, answer)).unzip();
        watches.follow(self.0.workers.zones().clone());
        // What is not stored is posted again, and must then mean the same.
        let before = watches.clone();
        let stored = self.0.store.add_detections(&frames, |frame| watches.see(frame)).await;
        let (new, logged) = match stored {
            Ok(stored) => stored,
            Err(error) => {
                *watches = before;
                let why = Chain(&error).to_string();
                for answer in answers {
                    let _ = answer.send(Err(Error::DatabaseAway(anyhow::anyhow!(why.clone()))));
                }
                return 0;
            }
        };
        // One of each camera: what follows in the same moment would prolong nothing.
        let mut reasons: BTreeMap<CameraId, String> = BTreeMap::new();
        for (id, event) in logged {
            if let Some(camera) = event.camera.clone() {
                reasons.entry(camera).or_insert_with(|| format!("{} {}", event.kind.word(), event.detail));
            }
            self.0.deps.hub.logged(id, event);
        }
        for (camera, reason) in reasons {
            let (service, trigger) = (self.clone(), Trigger { reason, post_roll_seconds: None });
            // Most cameras take no triggers, which is no error here.
            tokio::spawn(async move { service.trigger(&camera, trigger).await.is_ok() });
        }
        for (answer, new) in answers.into_iter().zip(&new) {
            let _ = answer.send(Ok(*new));
        }
        new.into_iter().filter(|new| *new).count()
    }
}
