//! The live stream: everything at first, then what changes, as server-sent events.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::State,
    http::{HeaderName, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde::Serialize;
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{self, error::RecvError},
    },
    time::{Interval, MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    App,
    error::{ApiError, Code},
    serve::Closing,
    types::{
        ErrorBody,
        cameras::Camera,
        coverage::Gap,
        system::{CameraRemoved, Snapshot, System},
    },
};
use crate::{
    base::{CameraId, WallUs},
    model::{self, event::Kind, status::Shown},
    run::{CameraNow, Change, Watchkeeper},
};

/// Streams at once. Each costs a connection and a little work for every change.
pub(super) const VIEWERS: usize = 64;
/// A camera of which only counters moved is sent this often.
const PACE: Duration = Duration::from_secs(1);
const SYSTEM_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);

/// Everything at first (`snapshot`), then what changes (`camera`, `camera_removed`, `segment`, `gap`, `event`,
/// `system`).
#[utoipa::path(get, path = "/api/v1/live", tag = "system", operation_id = "live",
    responses(
        (status = 200, content_type = "text/event-stream", body = String,
            description = "server-sent events; docs/http-api.md lists them and what their `data` is"),
        (status = 429, body = ErrorBody, description = "too_many streams at once (64)")))]
pub(super) async fn live(
    State(app): State<App>,
    closing: Option<Extension<Closing>>,
) -> Result<Response, ApiError> {
    let permit = app.viewers.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(Code::TooMany, format!("{VIEWERS} live streams are open already"))
            .hint("close a dashboard")
            .header(header::RETRY_AFTER, 10_u16)
    })?;
    let closing = closing.map(|Extension(closing)| closing).unwrap_or_default();
    let viewer = Viewer::new(app.watchkeeper, closing, permit);
    let events = stream::unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((Ok::<_, Infallible>(event), viewer))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // nginx would collect the events otherwise.
    Ok(([(HeaderName::from_static("x-accel-buffering"), "no")], sse).into_response())
}

/// One open stream.
struct Viewer {
    watchkeeper: Watchkeeper,
    changes: broadcast::Receiver<Change>,
    closing: Closing,
    pace: Pace,
    system: Interval,
    /// The client must be told everything: it is new, or it fell behind.
    afresh: bool,
    _permit: OwnedSemaphorePermit,
}

impl Viewer {
    fn new(watchkeeper: Watchkeeper, closing: Closing, permit: OwnedSemaphorePermit) -> Self {
        let mut system = interval_at(tokio::time::Instant::now() + SYSTEM_EVERY, SYSTEM_EVERY);
        system.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Listens before it looks, so that nothing falls between.
        let changes = watchkeeper.changes();
        Self { watchkeeper, changes, closing, pace: Pace::default(), system, afresh: true, _permit: permit }
    }

    /// The next event; `None` when the service stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if std::mem::take(&mut self.afresh) {
                return Some(self.snapshot());
            }
            let due = self.pace.next_due();
            let wake = async {
                match due {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.closing.0.cancelled() => return None,
                _ = self.system.tick() => {
                    return Some(event("system", &System::at(&self.watchkeeper.system(), WallUs::now())));
                }
                () = wake => {
                    let now = Instant::now();
                    if let Some(id) = self.pace.take_due(now)
                        && let Ok(camera) = self.watchkeeper.camera(&id)
                    {
                        self.pace.sent(now, &camera);
                        return Some(event("camera", &Camera::from(&camera)));
                    }
                }
                change = self.changes.recv() => match change {
                    Ok(change) => if let Some(event) = self.told(change) { return Some(event) },
                    Err(RecvError::Lagged(_)) => {
                        // Whatever is still queued is older than what the snapshot will say.
                        self.changes = self.watchkeeper.changes();
                        self.afresh = true;
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        }
    }

    fn snapshot(&mut self) -> Event {
        let now = Instant::now();
        let cameras = self.watchkeeper.cameras();
        self.pace = Pace::default();
        for camera in &cameras {
            self.pace.sent(now, camera);
        }
        let system = System::at(&self.watchkeeper.system(), WallUs::now());
        let all = Snapshot { cameras: cameras.iter().map(Into::into).collect(), system };
        event("snapshot", &all).retry(RETRY)
    }

    /// What the client is told of a change now, if anything.
    fn told(&mut self, change: Change) -> Option<Event> {
        match change {
            Change::Camera(id) => {
                // Gone in the meantime: `CameraRemoved` follows.
                let camera = self.watchkeeper.camera(&id).ok()?;
                self.pace.offer(Instant::now(), &camera).then(|| event("camera", &Camera::from(&camera)))
            }
            Change::CameraRemoved(id) => {
                self.pace.forget(&id);
                Some(event("camera_removed", &CameraRemoved { id: id.to_string() }))
            }
            Change::Segment(segment) => {
                Some(event("segment", &super::types::recordings::Segment::from(&segment)))
            }
            Change::Gap(told) => {
                Gap::told(&told, &self.watchkeeper, WallUs::now()).map(|gap| event("gap", &gap))
            }
            Change::Event(entry) => {
                if is_of_mirror(entry.event.kind) {
                    // `system` says how it is; nobody should wait for that until it is due.
                    self.system.reset_immediately();
                }
                Some(event("event", &super::types::events::Event::from(&entry)))
            }
        }
    }
}

/// Whether the mirror's state has changed.
fn is_of_mirror(kind: Kind) -> bool {
    matches!(kind, Kind::MirrorDegraded | Kind::MirrorBehind | Kind::MirrorResyncing | Kind::MirrorRestored)
}

fn event(name: &str, data: &impl Serialize) -> Event {
    Event::default().event(name).json_data(data).unwrap_or_else(|error| {
        tracing::error!(%error, "a live event could not be written");
        Event::default().comment("left out")
    })
}

/// Holds back cameras of which only counters moved.
#[derive(Debug, Default)]
struct Pace(BTreeMap<CameraId, Sent>);

#[derive(Debug)]
struct Sent {
    at: Instant,
    /// What an operator would notice at once.
    camera: model::Camera,
    shown: Shown,
    reason: Option<&'static str>,
    /// Something newer was held back.
    waiting: bool,
}

impl Pace {
    /// Whether to send `now` at once; if not, it becomes due.
    fn offer(&mut self, at: Instant, now: &CameraNow) -> bool {
        if let Some(sent) = self.0.get_mut(&now.camera.id) {
            let same = (sent.shown, sent.reason) == (now.status.shown, now.status.reason)
                && sent.camera == now.camera;
            if same && at < sent.at + PACE {
                sent.waiting = true;
                return false;
            }
        }
        self.sent(at, now);
        true
    }

    fn sent(&mut self, at: Instant, now: &CameraNow) {
        let CameraNow { camera, status, .. } = now;
        let sent =
            Sent { at, camera: camera.clone(), shown: status.shown, reason: status.reason, waiting: false };
        self.0.insert(camera.id.clone(), sent);
    }

    fn forget(&mut self, id: &CameraId) {
        self.0.remove(id);
    }

    /// When the next camera that was held back is due.
    fn next_due(&self) -> Option<Instant> {
        self.0.values().filter(|sent| sent.waiting).map(|sent| sent.at + PACE).min()
    }

    /// A camera that is due. It waits no more.
    fn take_due(&mut self, at: Instant) -> Option<CameraId> {
        let (id, sent) = self.0.iter_mut().find(|(_, sent)| sent.waiting && sent.at + PACE <= at)?;
        sent.waiting = false;
        Some(id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::camera_now;
    use proptest::prelude::*;

    #[test]
    fn counters_are_paced_and_states_are_not() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        let mut camera = camera_now("front");
        assert!(pace.offer(at(0), &camera));
        camera.status.observed.frames += 10;
        assert!(!pace.offer(at(300), &camera));
        assert_eq!(pace.next_due(), Some(at(1000)));
        assert_eq!(pace.take_due(at(999)), None);
        camera.status.shown = Shown::Stalled;
        assert!(pace.offer(at(400), &camera));
        assert_eq!(pace.next_due(), None);
        camera.status.reason = Some("silent");
        assert!(pace.offer(at(450), &camera));
        camera.camera.name = "Yard".into();
        assert!(pace.offer(at(500), &camera));
        assert!(!pace.offer(at(1400), &camera));
        assert_eq!(pace.take_due(at(1500)), Some(camera.camera.id.clone()));
        assert!(pace.offer(at(1500), &camera));
        pace.forget(&camera.camera.id);
        assert!(pace.offer(at(1501), &camera));
    }

    proptest! {
        #[test]
        fn nothing_is_sent_too_often_and_nothing_is_forgotten(steps in proptest::collection::vec(0u64..700, 1..60)) {
            let (mut pace, camera) = (Pace::default(), camera_now("front"));
            let (mut at, mut last, mut unsent) = (Instant::now(), None::<Instant>, false);
            for step in steps {
                at += Duration::from_millis(step);
                let due = pace.take_due(at).is_some();
                if due { pace.sent(at, &camera); }
                let sent = due | pace.offer(at, &camera);
                if sent {
                    prop_assert!(last.is_none_or(|last| at - last >= PACE));
                    last = Some(at);
                }
                unsent = pace.next_due().is_some();
                prop_assert!(sent || unsent);
            }
            if unsent {
                prop_assert_eq!(pace.take_due(at + PACE), Some(camera.camera.id));
            }
        }
    }
}
