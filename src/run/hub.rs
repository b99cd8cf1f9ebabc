//! Tells those who watch of what changed, and takes what is to be logged.

use tokio::sync::{broadcast, mpsc};

use super::Change;
use crate::model::event::{Event, NewEvent, Severity};

/// So many changes may wait for a slow watcher before it is told to look again.
const CHANGES: usize = 1024;
/// So many log entries may wait for a database that is away. Cameras log when they go and come, so this lasts long.
pub(super) const EVENTS: usize = 4096;

/// The sending side of both. Nothing here waits.
#[derive(Clone, Debug)]
pub(super) struct Hub {
    changes: broadcast::Sender<Change>,
    events: mpsc::Sender<NewEvent>,
    /// Nobody is to hear anything.
    silent: bool,
}

impl Hub {
    /// The hub, and the log entries for the clerk.
    pub(super) fn new() -> (Self, mpsc::Receiver<NewEvent>) {
        let (events, to_write) = mpsc::channel(EVENTS);
        (Self { changes: broadcast::Sender::new(CHANGES), events, silent: false }, to_write)
    }

    /// One that tells nobody anything: for what runs beside a camera's recording.
    pub(super) fn silent() -> Self {
        Self { silent: true, ..Self::new().0 }
    }

    /// Tells of a change; nobody watching is fine.
    pub(super) fn tell(&self, change: Change) {
        let _ = self.changes.send(change);
    }

    /// From now on.
    pub(super) fn watch(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Logs an event, in the database and in the log.
    pub(super) fn log(&self, event: NewEvent) {
        if self.silent {
            return;
        }
        say(&event);
        if let Err(error) = self.events.try_send(event) {
            tracing::error!("an event is lost, the database has been away too long: {error}");
        }
    }

    /// Tells of an event that is in the database already.
    pub(super) fn logged(&self, id: i64, event: NewEvent) {
        say(&event);
        self.tell(Change::Event(Event { id, event }));
    }
}

fn say(event: &NewEvent) {
    let camera = event.camera.as_ref().map_or("", |id| id.as_str());
    let (kind, detail) = (event.kind.word(), &event.detail);
    match event.severity {
        Severity::Info => tracing::info!(camera.id = camera, "{kind}: {detail}"),
        Severity::Warning => tracing::warn!(camera.id = camera, "{kind}: {detail}"),
        Severity::Error => tracing::error!(camera.id = camera, "{kind}: {detail}"),
    }
}
