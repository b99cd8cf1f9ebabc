//! Looks after the volumes: is each the right one, how much room is there, does it take what is written; and tells when
//! that changes. Every look is taken on a thread that may hang with its volume.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

use super::{VolumeNow, hub::Hub};
use crate::{
    base::{WallUs, error::Chain, threads::on_thread, ticks::Ticks},
    disk::{self, Health, Space, VolumeWriter, probe},
    model::{
        copies::Place,
        event::{Kind, NewEvent, Severity},
    },
};

/// Between looks at a volume that is well.
const EVERY: Duration = Duration::from_secs(5);
/// And at one that is not.
const AGAIN: Duration = Duration::from_secs(1);
/// A look that takes longer means that the volume hangs; it is waited for, and no other is begun.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);

/// A volume's state as last seen.
#[derive(Clone, Debug)]
pub(super) struct VolumeWatch {
    place: Place,
    now: Arc<Mutex<VolumeNow>>,
    /// What failed and was mended between two looks.
    short: Arc<Mutex<Option<String>>>,
    look: Arc<Notify>,
}

/// What a look finds.
type Look = Result<Space, disk::Error>;

impl VolumeWatch {
    pub(super) fn new(place: Place, path: PathBuf) -> Self {
        let now = VolumeNow { path, total_bytes: 0, free_bytes: 0, error: None };
        Self { place, now: Arc::new(Mutex::new(now)), short: Arc::default(), look: Arc::default() }
    }

    pub(super) fn now(&self) -> VolumeNow {
        self.lock().clone()
    }

    /// What failed and was mended since this was asked last, before anybody saw it.
    pub(super) fn take_short(&self) -> Option<String> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Looks at once.
    pub(super) fn look_now(&self) {
        self.look.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, VolumeNow> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches until the service ends. `came` hears when the volume is there that was not, or not yet,
    /// or when it is empty that was not.
    pub(super) async fn watch(
        self,
        writer: VolumeWriter,
        hub: Hub,
        came: mpsc::UnboundedSender<Place>,
        attached: bool,
    ) {
        let mut health = writer.health();
        let mut failed = false;
        let (mut arrivals, mut failures) = (u64::from(attached), 0);
        let mut pending: Option<oneshot::Receiver<Look>> = None;
        let mut ticks = Ticks::new();
        loop {
            let found = match pending.take().map_or_else(|| look(&writer), Ok) {
                Ok(mut looking) => match timeout(ANSWERS_WITHIN, &mut looking).await {
                    Ok(Ok(found)) => found.map_err(|error| Chain(&error).to_string()),
                    Ok(Err(_)) => Err("a look at it died".to_owned()),
                    Err(_) => {
                        pending = Some(looking);
                        Err("the volume does not answer".to_owned())
                    }
                },
                Err(error) => Err(error),
            };
            // Whoever hangs is not away: what was handed over may still be written.
            if pending.is_none() {
                writer.away(writer.volume().away());
                if std::mem::replace(&mut arrivals, writer.volume().arrivals()) != arrivals {
                    let _ = came.send(self.place);
                }
            }
            let writing = match &*health.borrow_and_update() {
                Health::Ok => None,
                Health::Failing { error, path, .. } => Some(format!("{error} ({})", path.display())),
            };
            let (begun, how) = writer.failures();
            let new = std::mem::replace(&mut failures, begun) != begun;
            if writing.is_some() != failed {
                failed = writing.is_some();
                self.tell(&hub, writing.as_deref());
            } else if new && !failed {
                self.tell(&hub, Some(&how));
                self.tell(&hub, None);
                *self.short.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
            }
            let well = found.is_ok() && !failed;
            {
                let mut now = self.lock();
                match found {
                    Ok(space) => {
                        (now.total_bytes, now.free_bytes, now.error) =
                            (space.total_bytes, space.free_bytes, writing);
                    }
                    Err(error) => now.error = Some(writing.unwrap_or(error)),
                }
            }
            tokio::select! {
                changed = health.changed() => if changed.is_err() {
                    return;
                },
                () = self.look.notified() => {}
                () = ticks.next(if well { EVERY } else { AGAIN }) => {}
            }
        }
    }

    /// Of the mirror, what it is as a whole is told elsewhere.
    fn tell(&self, hub: &Hub, error: Option<&str>) {
        if self.place == Place::Mirror {
            return;
        }
        let (kind, severity, detail) = match error {
            Some(error) => (Kind::RecorderError, Severity::Error, format!("cannot write: {error}")),
            None => (Kind::RecorderRestored, Severity::Info, "the volume takes footage again".to_owned()),
        };
        hub.log(NewEvent::new(WallUs::now(), None, kind, severity, detail));
    }
}

/// Is it there, does it take anything if it did not, and how much room is there?
fn look(writer: &VolumeWriter) -> Result<oneshot::Receiver<Look>, String> {
    let (volume, writer) = (writer.volume().clone(), writer.clone());
    let fails = matches!(&*writer.health().borrow(), Health::Failing { .. });
    let looking = move || {
        volume.attach()?;
        if fails && probe(&volume).is_ok() {
            writer.works();
        }
        volume.space()
    };
    on_thread("volume look", looking).map_err(|error| error.to_string())
}
