//! The only place where store, media and disk meet: the use cases, one driver task per camera, and the clerk who
//! writes the index. The HTTP API and the command line call [`Watchkeeper`] and see neither rows nor elements.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::{
    base::{CameraId, WallUs},
    media::{self, look::Found},
    model::{
        Camera,
        camera::{BadField, CameraPatch},
        event::{Event, Severity},
        segment::Segment,
        status::{CameraStatus, Loss},
        timeline::Range,
    },
};

/// Where things are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of the database, the key file and the lock.
    pub data_dir: PathBuf,
    /// Directory of the recordings.
    pub recordings_dir: PathBuf,
    /// Directory whose pipeline texts replace those built in.
    pub pipelines_dir: Option<PathBuf>,
}

/// The running service. Cheap to clone; all clones are the same service.
#[derive(Clone, Debug)]
pub struct Watchkeeper(Arc<()>);

/// A camera as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraNow {
    /// Its settings.
    pub camera: Camera,
    /// When it was added.
    pub created_at: WallUs,
    /// How it is.
    pub status: CameraStatus,
}

/// A picture and the number of the keyframe that it shows.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Counts keyframes of this session.
    pub number: u64,
    /// The JPEG.
    pub jpeg: Bytes,
}

/// What a look at a stream told.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The URL looked at, without credentials.
    pub url: String,
    /// What was found, or why nothing was.
    pub outcome: Result<ProbeFound, (Loss, String)>,
}

/// What a look at a stream found.
#[derive(Clone, Debug)]
pub struct ProbeFound {
    /// The stream itself.
    pub found: Found,
    /// Encoding name of its first audio stream, as in RTP.
    pub audio: Option<String>,
    /// From the start of the attempt to the first frame, in milliseconds; `None` for a session already open.
    pub first_frame_ms: Option<u64>,
    /// A JPEG of the last keyframe.
    pub thumbnail: Option<Bytes>,
}

/// Which segments to list.
#[derive(Clone, Copy, Debug)]
pub struct SegmentQuery {
    /// They touch this range.
    pub range: Range,
    /// They come after this segment id, of the page before.
    pub after: Option<i64>,
    /// No more than so many.
    pub limit: u32,
}

/// One page of segments, oldest first.
#[derive(Clone, Debug)]
pub struct SegmentPage {
    /// The segments.
    pub segments: Vec<Segment>,
    /// `after` for the next page, if there is one.
    pub next: Option<i64>,
}

/// Which events to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Only this camera's.
    pub camera: Option<CameraId>,
    /// Only of this severity.
    pub severity: Option<Severity>,
    /// Only with a greater id.
    pub after: Option<i64>,
    /// Only with a smaller id.
    pub before: Option<i64>,
    /// No more than so many.
    pub limit: u32,
}

/// How the service is.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// When it started.
    pub started_at: WallUs,
    /// Pipelines that did not stop in time and still hang.
    pub abandoned_pipelines: u64,
    /// The volume of the recordings.
    pub volume: VolumeNow,
    /// Facts and events that wait for the database.
    pub pending_rows: u64,
    /// Why the database does not take them, if it does not.
    pub database_error: Option<String>,
}

/// How a volume is.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeNow {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub total_bytes: u64,
    /// What is left of it, in bytes.
    pub free_bytes: u64,
    /// Why it cannot be written, if it cannot.
    pub error: Option<String>,
}

/// One line of `/readyz`.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// What changed, for those who watch.
#[derive(Clone, Debug)]
pub enum Change {
    /// A camera's settings or state; at most a few times a second for each.
    Camera(CameraId),
    /// A camera is gone.
    CameraRemoved(CameraId),
    /// A segment opened, grew (every 5 s) or closed.
    Segment(Segment),
    /// Something was logged.
    Event(Event),
}

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such camera.
    #[error("there is no camera `{0}`")]
    NoCamera(CameraId),
    /// The id is taken.
    #[error("there is already a camera `{0}`")]
    Taken(CameraId),
    /// A setting that cannot be taken.
    #[error(transparent)]
    BadField(#[from] BadField),
    /// No such segment, or its file is gone.
    #[error("there is no segment {0}")]
    NoSegment(i64),
    /// No keyframe came yet.
    #[error("no picture came from `{0}` yet")]
    NoPicture(CameraId),
    /// The camera has no open session.
    #[error("the camera `{0}` has no open session")]
    NotRunning(CameraId),
    /// Too many of these at once.
    #[error("too many probes are under way; try again in a few seconds")]
    Busy,
    /// The database cannot be asked now.
    #[error("the database cannot be used now")]
    DatabaseAway(#[source] anyhow::Error),
    /// The volume cannot be read now.
    #[error("the volume cannot be read now")]
    VolumeAway(#[source] anyhow::Error),
    /// Media failed on our side.
    #[error("the picture could not be made")]
    Media(#[from] media::Error),
    /// A bug.
    #[error("{0}")]
    Internal(&'static str),
}

#[expect(clippy::todo, clippy::unused_async, reason = "bodies follow")]
#[expect(unused_variables, reason = "bodies follow")]
impl Watchkeeper {
    /// Every camera, by id.
    pub fn cameras(&self) -> Vec<CameraNow> {
        todo!()
    }

    /// One camera.
    pub fn camera(&self, id: &CameraId) -> Result<CameraNow, Error> {
        todo!()
    }

    /// Adds a camera; recording starts at once.
    pub async fn add_camera(&self, id: CameraId, given: CameraPatch) -> Result<CameraNow, Error> {
        todo!()
    }

    /// Changes a camera, and interrupts only what the change touches.
    pub async fn change_camera(&self, id: &CameraId, patch: CameraPatch) -> Result<CameraNow, Error> {
        todo!()
    }

    /// Forgets a camera; its footage stays.
    pub async fn delete_camera(&self, id: &CameraId) -> Result<(), Error> {
        todo!()
    }

    /// What a known camera sends; looks at the open session if there is one.
    pub async fn probe_camera(&self, id: &CameraId) -> Result<Probe, Error> {
        todo!()
    }

    /// What a camera that is not saved sends.
    pub async fn probe(&self, camera: Camera) -> Result<Probe, Error> {
        todo!()
    }

    /// The last keyframe as a picture, decoded now unless it was before.
    pub async fn snapshot(&self, id: &CameraId) -> Result<Picture, Error> {
        todo!()
    }

    /// A line for `gst-launch-1.0` that reproduces what runs for a camera; secrets as `***`.
    pub fn pipeline_line(&self, id: &CameraId) -> Result<String, Error> {
        todo!()
    }

    /// The live graph of a camera as Graphviz text.
    pub fn pipeline_dot(&self, id: &CameraId) -> Result<String, Error> {
        todo!()
    }

    /// A camera's segments, also of one that was deleted.
    pub async fn segments(&self, camera: &CameraId, query: SegmentQuery) -> Result<SegmentPage, Error> {
        todo!()
    }

    /// A camera's recorded time.
    pub async fn timeline(&self, camera: &CameraId, window: Range) -> Result<Vec<Range>, Error> {
        todo!()
    }

    /// One segment.
    pub async fn segment(&self, id: i64) -> Result<Segment, Error> {
        todo!()
    }

    /// One segment and its file, opened below its volume, with the length that may be read.
    pub async fn segment_file(&self, id: i64) -> Result<(Segment, std::fs::File, u64), Error> {
        todo!()
    }

    /// The log.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<Event>, Error> {
        todo!()
    }

    /// How the service is.
    pub fn system(&self) -> System {
        todo!()
    }

    /// Whether the service does what it is for.
    pub async fn ready(&self) -> Vec<Check> {
        todo!()
    }

    /// Tells of every change from now on. Whoever falls behind is told so, and should look at everything again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        todo!()
    }
}
