//! Fetches from the cameras' own storage what is missing: what somebody asked for first, then the newest gaps; one at a time of
//! each camera, a few of all, and never at the cost of a live recording.
//!
//! Which gaps are to be fetched and when is decided here; `finding` finds out how a camera is asked, and `attempt` fetches one.

mod attempt;
mod finding;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, broadcast::error::RecvError},
    time::{sleep, sleep_until},
};

use super::{Change, Entry, Error, GapTold, Inner, Watchkeeper};
use crate::{
    base::{CameraId, WallUs, error::Chain},
    model::{
        event::{Kind, NewEvent, Severity},
        ledger::Gap,
        refill::queue::{self, RefillState, Tried},
        status::Shown,
        timeline::Range,
    },
    store,
};
use attempt::Ended;

/// A camera must have been recorded for so long before it is asked for the past.
const HEALTHY_FOR: Duration = Duration::from_secs(5);
/// Between looks at an attempt.
const TICK: Duration = Duration::from_millis(500);
/// The rows of what was written are in the index within this.
const INDEXED_WITHIN: Duration = Duration::from_secs(10);
/// Attempts that are under way when the service stops end within this.
const END_WITHIN: Duration = Duration::from_secs(6);
/// Gaps of a camera that are looked at.
const LOOKED_AT: u32 = 200;
/// Beyond a keyframe interval a gap must have this length, in microseconds: a frame.
const FRAME_US: i64 = 40_000;
/// A camera whose live recording was lost during an attempt is left alone for the interval, then for twice as long; after so many
/// times it is not asked any more, unless somebody wants it.
const SUFFERED_MOST: u32 = 3;

const SUFFERED: &str =
    "the live recording was lost while it was fetched; the camera may allow one session only";

/// How refill works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefillLimits {
    /// How often gaps are looked for, and how long a gap waits after an attempt.
    pub interval: Duration,
    /// Gaps that began longer ago are left.
    pub max_gap: Duration,
    /// So many attempts at one gap.
    pub max_attempts: u32,
    /// A replay takes no more than so many bytes a second.
    pub bytes_per_second: u64,
    /// So many attempts at one moment, of all cameras together.
    pub parallel: usize,
}

impl Default for RefillLimits {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(300),
            max_gap: Duration::from_secs(24 * 3600),
            max_attempts: 3,
            bytes_per_second: 4 << 20,
            parallel: 2,
        }
    }
}

/// An attempt under way.
#[derive(Clone, Debug, PartialEq)]
pub struct FillingNow {
    /// The gap.
    pub gap: i64,
    /// Its time.
    pub range: Range,
    /// Up to here it was fetched.
    pub upto: Option<WallUs>,
    /// Bytes that came.
    pub bytes: u64,
}

/// Everything that is being fetched.
#[derive(Debug, Default)]
pub(super) struct Refills {
    state: Mutex<State>,
    wake: Notify,
    /// An attempt has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    filling: BTreeMap<CameraId, FillingNow>,
    /// Gaps that somebody asked for: they go first, however old they are.
    asked: BTreeSet<i64>,
    /// Cameras that are left alone, after how many attempts that their live recording suffered from, and until when.
    held: BTreeMap<CameraId, (u32, Instant)>,
}

impl State {
    /// Whether the live recording of a camera was lost as often as may be.
    fn suffers(&self, camera: &CameraId) -> bool {
        self.held.get(camera).is_some_and(|(times, _)| *times >= SUFFERED_MOST)
    }
}

impl Refills {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is being fetched any more: what came is written by then.
    pub(super) async fn over(&self) {
        let deadline = tokio::time::Instant::now() + END_WITHIN;
        loop {
            let ended = self.ended.notified();
            if self.lock().filling.is_empty() {
                return;
            }
            tokio::select! {
                () = ended => {}
                () = sleep_until(deadline) => return,
            }
        }
    }
}

impl Watchkeeper {
    /// What is being fetched of a camera now.
    pub fn filling(&self, camera: &CameraId) -> Option<FillingNow> {
        self.0.refills.lock().filling.get(camera).cloned()
    }

    /// What is being fetched of a gap now. While one is filled it is cut into what is left of it, all of which is meant.
    pub fn filling_of(&self, gap: &Gap) -> Option<FillingNow> {
        let within =
            |range: Range| gap.stretch.from >= range.from && gap.stretch.to.is_some_and(|to| to <= range.to);
        self.filling(&gap.camera).filter(|filling| within(filling.range))
    }

    /// How it stands with a gap: `None` if it is not to be fetched.
    pub fn refill_state(&self, gap: &Gap) -> Option<RefillState> {
        let camera = self.with(&gap.camera, |entry| entry.camera.clone()).ok()?;
        if !camera.refill_enabled {
            return None;
        }
        let filling = self.filling_of(gap).is_some();
        let (asked, suffers) = {
            let state = self.0.refills.lock();
            (state.asked.contains(&gap.id), state.suffers(&gap.camera))
        };
        let oldest = if asked { WallUs(0) } else { self.oldest_gap() };
        let most = self.0.settings.refill.max_attempts;
        let state = queue::state(gap, oldest, self.least_us(&gap.camera), most)?;
        Some(match state {
            _ if filling => RefillState::Filling,
            _ if suffers => RefillState::Failed,
            state => state,
        })
    }

    /// Why the last attempt at a gap did not bring all of it, or why there will be none.
    pub fn refill_reason(&self, gap: &Gap) -> Option<String> {
        let suffers = self.0.refills.lock().suffers(&gap.camera);
        gap.tried.reason.clone().or_else(|| suffers.then(|| SUFFERED.to_owned()))
    }

    /// Has a gap fetched as soon as its camera is well, before all others, whatever was tried before and however old it is.
    pub async fn retry_gap(&self, camera: &CameraId, id: i64) -> Result<Gap, Error> {
        let gap = self.gap_of(camera, id).await?;
        let mut gaps = self.ask_for(vec![gap]).await?;
        gaps.pop().ok_or(Error::NotFetchable(id))
    }

    /// [`Self::retry_gap`] for all gaps that touch a range, the newest first: those that are to be fetched now.
    pub async fn refill_range(&self, camera: &CameraId, range: Range) -> Result<Vec<Gap>, Error> {
        if !self.with(camera, |entry| entry.camera.refill_enabled)? {
            return Err(Error::RefillOff(camera.clone()));
        }
        let page = store::GapPage {
            camera: Some(camera),
            range,
            least_us: queue::LEAST_US,
            now: WallUs::now(),
            after: None,
            limit: LOOKED_AT,
        };
        self.ask_for(self.0.store.gaps(page).await?).await
    }

    /// Has a gap not fetched any more, unless somebody asks for it again. One that is being fetched is, to its end.
    pub async fn give_up_gap(&self, camera: &CameraId, id: i64) -> Result<Gap, Error> {
        let gap = self.gap_of(camera, id).await?;
        if self.refill_state(&gap).is_none() {
            return Err(Error::NotFetchable(id));
        }
        let tried = Tried {
            attempts: gap.tried.attempts.max(self.0.settings.refill.max_attempts),
            reason: Some("somebody gave it up".to_owned()),
            next: WallUs(0),
        };
        self.0.refills.lock().asked.remove(&id);
        self.0.store.tried(&[id], &tried).await?;
        let gap = Gap { tried, ..gap };
        self.tell(&gap);
        Ok(gap)
    }

    async fn gap_of(&self, camera: &CameraId, id: i64) -> Result<Gap, Error> {
        self.with(camera, |_| ())?;
        let gap = self.0.store.gap(id).await?.filter(|gap| gap.camera == *camera);
        gap.ok_or_else(|| Error::NoGap { camera: camera.clone(), id })
    }

    async fn ask_for(&self, gaps: Vec<Gap>) -> Result<Vec<Gap>, Error> {
        let mut asked = Vec::new();
        for gap in gaps {
            let gap = Gap { tried: Tried::default(), ..gap };
            let new = self.0.refills.lock().asked.insert(gap.id);
            self.0.refills.lock().held.remove(&gap.camera);
            if self.refill_state(&gap).is_some() {
                asked.push(gap);
            } else if new {
                self.0.refills.lock().asked.remove(&gap.id);
            }
        }
        let ids: Vec<i64> = asked.iter().map(|gap| gap.id).collect();
        self.0.store.tried(&ids, &Tried::default()).await?;
        for gap in &asked {
            self.tell(gap);
        }
        self.0.refills.wake.notify_one();
        Ok(asked)
    }

    fn tell(&self, gap: &Gap) {
        self.0.deps.hub.tell(Change::Gap(GapTold::Now(gap.clone())));
    }

    fn oldest_gap(&self) -> WallUs {
        WallUs::now().plus_us(-micros(self.0.settings.refill.max_gap))
    }

    /// What a camera cannot answer with: less than one of its GOPs.
    fn least_us(&self, camera: &CameraId) -> i64 {
        let seen = self.with(camera, |entry| {
            entry.driver.session.borrow().as_ref().and_then(|session| session.seen().keyframe_interval)
        });
        micros(seen.ok().flatten().unwrap_or_default()) + FRAME_US
    }

    /// The next gap of a camera that is to be fetched.
    async fn next_gap(&self, camera: &CameraId) -> Result<Option<(bool, Gap)>, Error> {
        let now = WallUs::now();
        let asked: Vec<i64> = self.0.refills.lock().asked.iter().copied().collect();
        for id in asked {
            match self.0.store.gap(id).await? {
                Some(gap) if gap.camera != *camera => {}
                Some(gap) if self.refill_state(&gap) == Some(RefillState::Pending) => {
                    if gap.tried.next <= now {
                        return Ok(Some((true, gap)));
                    }
                }
                _ => drop(self.0.refills.lock().asked.remove(&id)),
            }
        }
        let page = store::GapPage {
            camera: Some(camera),
            range: Range { from: self.oldest_gap(), to: now },
            least_us: queue::LEAST_US,
            now,
            after: None,
            limit: LOOKED_AT,
        };
        let due = |gap: &Gap| self.refill_state(gap) == Some(RefillState::Pending) && gap.tried.next <= now;
        Ok(self.0.store.gaps(page).await?.into_iter().find(due).map(|gap| (false, gap)))
    }

    /// Whether the live recording of a camera is well, or it has none to suffer.
    fn is_well(&self, camera: &CameraId) -> bool {
        let status = self.with(camera, |entry| entry.driver.status.borrow().clone());
        status.is_ok_and(|status| {
            let long = WallUs::now().0 - status.since.0 >= micros(HEALTHY_FOR);
            let armed = status.shown == Shown::Idle && status.reason == Some("armed");
            long && (status.shown == Shown::Recording || armed)
        })
    }

    fn is_held(&self, camera: &CameraId) -> bool {
        let state = self.0.refills.lock();
        state.suffers(camera) || state.held.get(camera).is_some_and(|(_, until)| *until > Instant::now())
    }

    /// Begins attempts while there is room for them.
    async fn look_for_gaps(&self) -> Result<(), Error> {
        let enabled = |entry: &Entry| entry.camera.refill_enabled && entry.camera.record_enabled;
        let cameras: Vec<CameraId> =
            self.entries().iter().filter(|(_, entry)| enabled(entry)).map(|(id, _)| id.clone()).collect();
        let mut ready = Vec::new();
        for camera in cameras {
            if self.filling(&camera).is_none() && self.is_well(&camera) && !self.is_held(&camera) {
                ready.extend(self.next_gap(&camera).await?);
            }
        }
        ready.sort_by_key(|(asked, gap)| std::cmp::Reverse((*asked, gap.stretch.from)));
        for (_, gap) in ready {
            let Some(range) = gap.stretch.to.map(|to| Range { from: gap.stretch.from, to }) else { continue };
            let camera = gap.camera.clone();
            // A kill may have come between the rows of what was fetched and the gap's.
            let footage = self.0.store.ranges(&camera, range).await?;
            if !footage.is_empty() {
                footage.into_iter().for_each(|footage| self.0.deps.ledgers.found(&camera, footage));
                continue;
            }
            {
                let mut state = self.0.refills.lock();
                if state.filling.len() >= self.0.settings.refill.parallel || self.0.stopping.load(Relaxed) {
                    return Ok(());
                }
                let filling = FillingNow { gap: gap.id, range, upto: None, bytes: 0 };
                state.filling.insert(camera.clone(), filling);
            }
            self.tell(&gap);
            let service = self.clone();
            tokio::spawn(async move {
                let ended = service.fetch(&camera, &gap, range).await;
                let noted = service.note(&camera, &gap, range, ended).await;
                service.0.refills.lock().filling.remove(&camera);
                match noted {
                    Ok(left) => left.iter().for_each(|gap| service.tell(gap)),
                    Err(error) => {
                        tracing::warn!(camera.id = %camera, "an attempt at a gap is not noted: {}", Chain(&error));
                    }
                }
                service.0.refills.ended.notify_waiters();
                service.0.refills.wake.notify_one();
            });
        }
        Ok(())
    }

    /// Notes how an attempt ended. What is left of the gap.
    async fn note(
        &self,
        camera: &CameraId,
        gap: &Gap,
        range: Range,
        ended: Ended,
    ) -> Result<Vec<Gap>, Error> {
        let left = self.left_of(camera, range, &ended).await?;
        let length = |gap: &Gap| {
            let to = gap.stretch.to.unwrap_or(range.to).min(range.to);
            (to.0 - gap.stretch.from.max(range.from).0).max(0)
        };
        let least_us = self.least_us(camera).max(queue::LEAST_US);
        let filled_us = (range.to.0 - range.from.0 - left.iter().map(length).sum::<i64>()).max(0);
        let left: Vec<Gap> = left.into_iter().filter(|gap| length(gap) >= least_us).collect();
        let missing: i64 = left.iter().map(length).sum();
        let mut wait = self.0.settings.refill.interval;
        {
            let mut state = self.0.refills.lock();
            if matches!(ended, Ended::Suffered) {
                let (times, until) = state.held.entry(camera.clone()).or_insert((0, Instant::now()));
                wait *= 1 << *times;
                (*times, *until) = (*times + 1, Instant::now() + wait);
            } else if filled_us > 0 {
                state.held.remove(camera);
            }
        }
        let next = WallUs::now().plus_us(micros(wait));
        let again = gap.tried.attempts + 1;
        let tried = match ended {
            Ended::GivenWay => Tried { next, ..gap.tried.clone() },
            Ended::Suffered => Tried { attempts: again, reason: Some(SUFFERED.to_owned()), next },
            Ended::Failed(why) => Tried { attempts: again, reason: Some(why), next },
            Ended::Over => {
                let why = (missing > 0).then(|| "the camera has no more of it".to_owned());
                Tried { attempts: again, reason: why, next }
            }
        };
        let ids: Vec<i64> = left.iter().map(|gap| gap.id).collect();
        self.0.store.tried(&ids, &tried).await?;
        let seconds = |us: i64| format!("{}.{} s", us / 1_000_000, us / 100_000 % 10);
        let log = |kind, severity, detail: String| {
            self.0.deps.hub.log(NewEvent::new(WallUs::now(), Some(camera.clone()), kind, severity, detail));
        };
        if filled_us >= queue::LEAST_US {
            let detail =
                format!("{} from {} came from its storage", seconds(filled_us), range.from.rfc3339());
            log(Kind::RefillDone, Severity::Info, detail);
        }
        let why = tried.reason.clone().unwrap_or_default();
        if missing > 0 && tried.attempts >= self.0.settings.refill.max_attempts {
            let detail = format!("{} from {} stay missing: {why}", seconds(missing), range.from.rfc3339());
            log(Kind::RefillFailed, Severity::Warning, detail);
        } else if missing > 0 {
            tracing::info!(camera.id = %camera, "attempt {} at gap {}: {why}", tried.attempts, gap.id);
        }
        Ok(left.into_iter().map(|gap| Gap { tried: tried.clone(), ..gap }).collect())
    }

    /// What is still missing of a range once all that was fetched is in the index.
    async fn left_of(&self, camera: &CameraId, range: Range, ended: &Ended) -> Result<Vec<Gap>, Error> {
        let deadline = Instant::now() + INDEXED_WITHIN;
        let upto = self.filling(camera).and_then(|filling| filling.upto);
        loop {
            let gaps = self.0.store.stretches(camera, range).await?;
            // The last of what came is covered, or nothing came.
            let covered = upto.is_none_or(|upto| {
                let at = upto.plus_us(-2 * FRAME_US);
                !gaps.iter().any(|gap| gap.stretch.from <= at && gap.stretch.to.is_none_or(|to| to > at))
            });
            let stopping = matches!(ended, Ended::GivenWay) && self.0.stopping.load(Relaxed);
            if covered || stopping || Instant::now() > deadline {
                return Ok(gaps);
            }
            sleep(TICK / 2).await;
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Looks for gaps every now and then, and when one has ended, until the service ends.
pub(super) async fn keep(service: Weak<Inner>) {
    let Some((mut changes, refills)) =
        service.upgrade().map(|inner| (inner.deps.hub.watch(), inner.refills.clone()))
    else {
        return;
    };
    let mut due = Instant::now() + HEALTHY_FOR;
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        let woken = tokio::select! {
            () = sleep(wait) => true,
            () = refills.wake.notified() => true,
            change = changes.recv() => match change {
                Ok(Change::Gap(GapTold::Now(gap))) if gap.stretch.to.is_some() => {
                    due = due.min(Instant::now() + HEALTHY_FOR + TICK);
                    false
                }
                Err(RecvError::Closed) => return,
                _ => false,
            },
        };
        if woken {
            let Some(inner) = service.upgrade().filter(|inner| !inner.stopping.load(Relaxed)) else { return };
            let interval = inner.settings.refill.interval;
            let service = Watchkeeper(inner);
            if let Err(error) = service.look_for_gaps().await {
                tracing::warn!("gaps are looked for later: {}", Chain(&error));
            }
            due = Instant::now() + interval;
        }
    }
}
