//! How the mirror is, as a whole, and an event for each change of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{hub::Hub, volumes::VolumeWatch};
use crate::{
    base::{WallUs, ticks::Ticks},
    disk::{Health, Volume, VolumeWriter},
    model::{
        copies::Place,
        event::{Kind, NewEvent, Severity},
        mirror::{MirrorState, mirror_state},
    },
    store::{DueSum, Store},
};

const EVERY: Duration = Duration::from_millis(400);
const SHARED: &str =
    "it lies on the same file system as the recordings: one dead disk takes both; put it on another";
/// What is due is counted so often.
const COUNT_EVERY: Duration = Duration::from_secs(2);
/// A mirror that failed a moment ago is not called well: one that is too slow fails every few seconds.
const STEADY: Duration = Duration::from_secs(6);
/// What ended later may still be on its way.
const SETTLED_US: i64 = 20_000_000;

/// How the mirror is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorNow {
    /// In a word.
    pub state: MirrorState,
    /// Since when.
    pub since: WallUs,
    /// Why, for people.
    pub detail: Option<String>,
    /// What it lacks of what the primary has.
    pub due: DueSum,
    /// What the primary lacks of what it has.
    pub primary_due: DueSum,
    /// Bytes that wait to be written to it.
    pub queued_bytes: u64,
}

#[derive(Clone, Debug)]
pub(super) struct MirrorWatch(Arc<Mutex<MirrorNow>>);

impl MirrorWatch {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(MirrorNow { since: WallUs::now(), ..MirrorNow::default() })))
    }

    pub(super) fn now(&self) -> MirrorNow {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watches until the service ends.
    pub(super) async fn watch(
        self,
        writer: VolumeWriter,
        primary: Volume,
        volume: VolumeWatch,
        store: Store,
        hub: Hub,
    ) {
        let mut counted: Option<Instant> = None;
        let (mut due, mut primary_due) = (DueSum::default(), DueSum::default());
        let mut before = MirrorState::Ok;
        let mut failed: Option<(Instant, String)> = None;
        let mut ticks = Ticks::new();
        loop {
            if counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
                counted = Some(Instant::now());
                // While the database is away, what was counted last stands.
                due = sum(&store, Place::Mirror).await.unwrap_or(due);
                primary_due = sum(&store, Place::Primary).await.unwrap_or(primary_due);
            }
            let fails = match &*writer.health().borrow() {
                Health::Failing { error, .. } => Some(error.clone()),
                // Between two looks, a short failure is not forgotten.
                Health::Ok => volume.take_short().or_else(|| volume.now().error),
            };
            failed = fails.map(|error| (Instant::now(), error)).or(failed);
            let failing =
                failed.as_ref().filter(|(at, _)| at.elapsed() < STEADY).map(|(_, error)| error.clone());
            let lag = writer.lag();
            let state = mirror_state(before, failing.is_some(), lag, due.segments);
            let detail = match state {
                MirrorState::Ok => shares_disk(&writer, &primary).then(|| SHARED.to_owned()),
                MirrorState::Behind => Some(format!("what is written now waited {:.1} s", lag.as_secs_f64())),
                MirrorState::Degraded => {
                    Some(failing.unwrap_or_else(|| format!("a write has taken {:.0} s", lag.as_secs_f64())))
                }
                MirrorState::Resyncing => {
                    let DueSum { segments, bytes } = due;
                    Some(format!("{segments} segments, {} MB, are to be copied", bytes / 1_000_000))
                }
            };
            {
                let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let since = if now.state == state { now.since } else { WallUs::now() };
                let queued_bytes = writer.queued_bytes();
                *now = MirrorNow { state, since, detail: detail.clone(), due, primary_due, queued_bytes };
            }
            if state != before {
                tell(&hub, state, detail.unwrap_or_default());
                before = state;
            }
            ticks.next(EVERY).await;
        }
    }
}

/// Both on one file system: a copy that dies with the original.
fn shares_disk(writer: &VolumeWriter, primary: &Volume) -> bool {
    primary.device().is_some_and(|device| writer.volume().device() == Some(device))
}

async fn sum(store: &Store, to: Place) -> Result<DueSum, crate::store::Error> {
    let mut all = DueSum::default();
    for (camera, _) in store.copied_cameras(to).await? {
        let of = store.due_sum(to, &camera, WallUs::now().plus_us(-SETTLED_US)).await?;
        all.segments += of.segments;
        all.bytes += of.bytes;
    }
    Ok(all)
}

fn tell(hub: &Hub, state: MirrorState, detail: String) {
    let (kind, severity, detail) = match state {
        MirrorState::Ok => {
            (Kind::MirrorRestored, Severity::Info, "the mirror has all that it should".to_owned())
        }
        MirrorState::Behind => (Kind::MirrorBehind, Severity::Warning, detail),
        MirrorState::Degraded => (Kind::MirrorDegraded, Severity::Error, detail),
        MirrorState::Resyncing => (Kind::MirrorResyncing, Severity::Info, detail),
    };
    hub.log(NewEvent::new(WallUs::now(), None, kind, severity, detail));
}
