//! Programs that look at pictures: their leases, and what they found.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Int, ProfileWord, Time, Word, ai::AiTask, cameras::given, rounded};
use crate::{
    base::{CameraId, WallUs},
    model::ai::{
        detection::{self, FrameFound},
        lease,
    },
    run,
};

/// What a worker asks for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaseRequest {
    /// The program's name; no other that runs may have it.
    #[schema(max_length = 256)]
    worker: String,
    /// `lease` of the answer before, to renew it.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    lease: Option<String>,
    /// The tasks are the worker's for so long. [60]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 15, maximum = 300)]
    ttl_seconds: Option<Int<15, 300>>,
    /// No more tasks than so many. [1000]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 0, maximum = 1000)]
    max_tasks: Option<Int<0, 1000>>,
    /// Only tasks of these types. [all]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_items = 64)]
    types: Option<Vec<String>>,
}

impl From<LeaseRequest> for run::LeaseAsked {
    fn from(body: LeaseRequest) -> Self {
        let LeaseRequest { worker, lease, ttl_seconds, max_tasks, types } = body;
        let ttl = ttl_seconds.map_or(lease::TTL_USUAL, Int::get);
        Self {
            worker,
            token: lease,
            ttl: std::time::Duration::from_secs(ttl.into()),
            most: max_tasks.map_or(1000, Int::get) as usize,
            kinds: types.unwrap_or_default(),
        }
    }
}

/// A lease, and the tasks that the worker has by it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Lease {
    pub(crate) worker: String,
    /// To be shown with each post and each renewal; whoever knows it is this worker.
    pub(crate) lease: String,
    /// From then on the tasks are others', unless it is renewed.
    pub(crate) expires_at: Time,
    pub(crate) tasks: Vec<AiTask>,
}

/// A worker.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    worker: String,
    expires_at: Time,
    task_ids: Vec<i64>,
}

impl From<(String, lease::Lease, WallUs)> for Worker {
    fn from((worker, lease, ends): (String, lease::Lease, WallUs)) -> Self {
        Self { worker, expires_at: Time(ends), task_ids: lease.tasks.into_iter().collect() }
    }
}

/// Workers that have a lease, by name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WorkerList {
    pub(crate) workers: Vec<Worker>,
}

/// Something in a frame.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Detection {
    /// What it is, such as `person`.
    #[schema(max_length = 256)]
    label: String,
    #[schema(minimum = 0, maximum = 1)]
    confidence: f64,
    /// Left, top, width and height in parts of the picture, 0 to 1.
    #[serde(rename = "box")]
    area: [f64; 4],
    /// The program's name for what it follows from frame to frame; without one, zones do not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    track_id: Option<String>,
    /// Whatever else the program knows; 2 KiB as JSON at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    attributes: Option<Map<String, Value>>,
}

impl From<Detection> for detection::Detection {
    fn from(body: Detection) -> Self {
        let Detection { label, confidence, area, track_id, attributes } = body;
        Self { label, confidence, area, track_id, attributes }
    }
}

impl From<detection::Detection> for Detection {
    fn from(found: detection::Detection) -> Self {
        let detection::Detection { label, confidence, area, track_id, attributes } = found;
        Self { label, confidence: rounded(confidence), area, track_id, attributes }
    }
}

/// What a worker found in a frame that it was given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DetectionsPost {
    /// The worker's lease.
    lease: String,
    #[schema(value_type = String, max_length = 63)]
    camera_id: CameraId,
    task_id: i64,
    /// The number that came with the picture.
    frame: u64,
    /// What was found; empty, if nothing was.
    #[schema(max_items = 1000)]
    detections: Vec<Detection>,
}

impl From<DetectionsPost> for run::Finding {
    fn from(body: DetectionsPost) -> Self {
        let DetectionsPost { lease, camera_id, task_id, frame, detections } = body;
        Self {
            token: lease,
            camera: camera_id,
            task: task_id,
            frame,
            found: detections.into_iter().map(Into::into).collect(),
        }
    }
}

/// What became of a post.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct DetectionsTaken {
    /// False if what this task found in this frame was there already: nothing was changed.
    pub(crate) new: bool,
}

/// What was found in a frame.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FrameDetections {
    task_id: i64,
    /// The number of the frame, and of which stream.
    frame: u64,
    profile: ProfileWord,
    /// When it was taken.
    at: Time,
    /// The segment that holds the same frame, or the same moment if the other stream is recorded, and how far into it; null
    /// if nothing is.
    #[schema(required)]
    segment_id: Option<i64>,
    #[schema(required)]
    offset_us: Option<i64>,
    detections: Vec<Detection>,
}

impl From<FrameFound> for FrameDetections {
    fn from(frame: FrameFound) -> Self {
        let FrameFound { camera: _, task, frame, profile, at, recorded, found } = frame;
        Self {
            task_id: task,
            frame,
            profile: Word(profile),
            at: Time(at),
            segment_id: recorded.map(|(segment, _)| segment),
            offset_us: recorded.map(|(_, offset)| offset),
            detections: found.into_iter().map(Into::into).collect(),
        }
    }
}

/// Frames in which something was found, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DetectionList {
    pub(crate) frames: Vec<FrameDetections>,
}

/// In how many frames something was found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DetectionCounts {
    pub(crate) from: Time,
    pub(crate) to: Time,
    /// Each count is of so many seconds, from `from` on.
    pub(crate) step_seconds: u32,
    pub(crate) counts: Vec<u64>,
}
