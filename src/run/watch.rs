//! Looks after the volume: free space, and events when it fails and when it is well again.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use super::{VolumeNow, hub::Hub, threads::on_thread};
use crate::{
    base::{WallUs, error::Chain},
    disk::{Health, VolumeWriter},
    model::event::{Kind, NewEvent, Severity},
};

/// Between looks at the free space.
const EVERY: Duration = Duration::from_secs(5);

/// The volume's state as last seen.
#[derive(Clone, Debug)]
pub(super) struct VolumeWatch(Arc<Mutex<VolumeNow>>);

impl VolumeWatch {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Mutex::new(VolumeNow { path, total_bytes: 0, free_bytes: 0, error: None })))
    }

    pub(super) fn now(&self) -> VolumeNow {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watches until the service ends.
    pub(super) async fn watch(self, writer: VolumeWriter, hub: Hub) {
        let mut health = writer.health();
        let mut failed = false;
        loop {
            let writing = match &*health.borrow_and_update() {
                Health::Ok => None,
                Health::Failing { error, path, .. } => Some(format!("{error} ({})", path.display())),
            };
            if writing.is_some() != failed {
                failed = writing.is_some();
                let (kind, severity, detail) = match &writing {
                    Some(error) => (Kind::RecorderError, Severity::Error, format!("cannot write: {error}")),
                    None => {
                        (Kind::RecorderRestored, Severity::Info, "the volume takes footage again".to_owned())
                    }
                };
                hub.log(NewEvent { at: WallUs::now(), camera: None, kind, severity, detail });
            }
            let space = space(&writer).await;
            {
                let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                match space {
                    Ok(space) => {
                        (now.total_bytes, now.free_bytes, now.error) =
                            (space.total_bytes, space.free_bytes, writing);
                    }
                    Err(error) => now.error = Some(writing.unwrap_or(error)),
                }
            }
            if let Ok(Err(_)) = timeout(EVERY, health.changed()).await {
                return;
            }
        }
    }
}

/// A volume over a network may hang, so it is asked from a thread that may hang with it.
async fn space(writer: &VolumeWriter) -> Result<crate::disk::Space, String> {
    let volume = writer.volume().clone();
    let asked = on_thread("space", move || volume.space()).map_err(|error| error.to_string())?;
    match timeout(EVERY, asked).await {
        Ok(Ok(space)) => space.map_err(|error| Chain(&error).to_string()),
        Ok(Err(_)) | Err(_) => Err("the volume does not answer".to_owned()),
    }
}
