//! The latest picture of each stream that is sampled, as a file: for programs that read files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::watch;

use crate::{base::CameraId, media::sampler::Sample, model::Profile};

/// So many pictures wait for a disk that is slow; then they are left out. The next one is the latest anyway.
const QUEUE: usize = 16;
/// A removal is not left out: it is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Writes files, on a thread of its own: a disk that hangs holds up no sampler.
#[derive(Clone, Debug)]
pub(super) struct LatestFiles(SyncSender<Job>);

#[derive(Debug)]
enum Job {
    Write(PathBuf, Arc<Sample>),
    Remove(PathBuf),
}

impl LatestFiles {
    /// Files below `dir`: `<camera>/latest_<profile>.jpg`.
    pub(super) fn start(dir: PathBuf) -> io::Result<Self> {
        let (jobs, todo) = sync_channel(QUEUE);
        let mut failing = false;
        let work = move || {
            for job in todo {
                let done = match &job {
                    Job::Write(path, sample) => write(&dir.join(path), &sample.jpeg),
                    Job::Remove(path) => remove(&dir.join(path)),
                };
                if let Err(error) = &done
                    && !failing
                {
                    tracing::warn!(
                        "the latest pictures cannot be written below `{}`: {error}",
                        dir.display()
                    );
                }
                failing = done.is_err();
            }
        };
        thread::Builder::new().name("latest".into()).spawn(work)?;
        Ok(Self(jobs))
    }

    /// Writes each of these pictures until there will be no more; then the last is not the latest any more, and goes.
    pub(super) fn follow(
        &self,
        camera: &CameraId,
        profile: Profile,
        mut pictures: watch::Receiver<Option<Arc<Sample>>>,
    ) {
        let (jobs, path) = (self.0.clone(), place(camera, profile));
        tokio::spawn(async move {
            while pictures.changed().await.is_ok() {
                let latest = pictures.borrow_and_update().clone();
                if let Some(sample) = latest {
                    // Full: this one is left out.
                    let _ = jobs.try_send(Job::Write(path.clone(), sample));
                }
            }
            while let Err(TrySendError::Full(_)) = jobs.try_send(Job::Remove(path.clone())) {
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
}

fn place(camera: &CameraId, profile: Profile) -> PathBuf {
    Path::new(camera.as_str()).join(format!("latest_{}.jpg", profile.word()))
}

/// Under another name first: whoever reads gets a whole picture, the old one or the new.
fn write(path: &Path, jpeg: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = path.with_extension("jpg.new");
    fs::write(&new, jpeg)?;
    fs::rename(&new, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
