//! Tasks of programs that look at pictures, and what samples for them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Int, ProfileWord, SamplerStateWord, Word, cameras::given, rounded};
use crate::{
    base::CameraId,
    model::{
        Profile,
        ai::{
            budget::Mfps,
            task::{self, Task},
        },
        camera::BadField,
    },
    run::SamplerNow,
};

/// A task to be added. What is not given is the default in brackets.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTask {
    #[schema(value_type = String, max_length = 63)]
    camera_id: CameraId,
    /// What the program does, such as `motion` or `people`.
    #[serde(rename = "type")]
    #[schema(max_length = 256)]
    kind: String,
    /// Which stream; the main one where the camera has no other. [sub]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    profile: Option<ProfileWord>,
    /// Pictures a second, 0.1 to 30. [5]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0.1, maximum = 30)]
    fps: Option<f64>,
    /// How wide a picture is at most, in pixels. [1280]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 160, maximum = 3840)]
    width: Option<Int<160, 3840>>,
    /// Whatever the program needs. [{}]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Object, required = false)]
    config: Option<Map<String, Value>>,
    /// Whether it is to be done. [true]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    enabled: Option<bool>,
    /// Greater goes first where the budget is short, -1000 to 1000. [0]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
    /// Whether keyframes suffice while nothing moves in the scene; its other tasks decide, too. [false]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    adaptive: Option<bool>,
}

/// Changes of a task; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskPatch {
    #[serde(default, rename = "type", deserialize_with = "given")]
    #[schema(nullable = false, max_length = 256)]
    kind: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    profile: Option<ProfileWord>,
    /// Pictures a second.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0.1, maximum = 30)]
    fps: Option<f64>,
    /// How wide a picture is at most, in pixels.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 160, maximum = 3840)]
    width: Option<Int<160, 3840>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Object, required = false)]
    config: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    adaptive: Option<bool>,
}

/// Frames a second as thousandths.
fn rate(fps: f64) -> Result<Mfps, BadField> {
    let thousandths = (fps * 1000.0).round();
    if thousandths >= f64::from(*task::RATE.start()) && thousandths <= f64::from(*task::RATE.end()) {
        Ok(thousandths as Mfps)
    } else {
        Err(BadField::new("fps", "is 0.1 to 30"))
    }
}

fn fps(rate: Mfps) -> f64 {
    f64::from(rate) / 1000.0
}

impl NewTask {
    /// The task, with the defaults.
    pub(crate) fn task(self) -> Result<task::NewTask, BadField> {
        let Self { camera_id, kind, profile, fps, width, config, enabled, priority, adaptive } = self;
        Ok(task::NewTask {
            camera: camera_id,
            kind,
            profile: profile.map_or(Profile::Sub, |Word(profile)| profile),
            rate: rate(fps.unwrap_or(5.0))?,
            width: width.map_or(1280, Int::get),
            config: Value::Object(config.unwrap_or_default()).to_string(),
            enabled: enabled.unwrap_or(true),
            priority: priority.unwrap_or(0),
            adaptive: adaptive.unwrap_or(false),
        })
    }
}

impl TaskPatch {
    /// The task, changed.
    pub(crate) fn on(self, mut task: Task) -> Result<Task, BadField> {
        let Self { kind, profile, fps, width, config, enabled, priority, adaptive } = self;
        let of = &mut task.task;
        if let Some(fps) = fps {
            of.rate = rate(fps)?;
        }
        if let Some(config) = config {
            of.config = Value::Object(config).to_string();
        }
        of.kind = kind.unwrap_or(std::mem::take(&mut of.kind));
        of.profile = profile.map_or(of.profile, |Word(profile)| profile);
        of.width = width.map_or(of.width, Int::get);
        of.enabled = enabled.unwrap_or(of.enabled);
        of.priority = priority.unwrap_or(of.priority);
        of.adaptive = adaptive.unwrap_or(of.adaptive);
        Ok(task)
    }
}

/// A task, and what samples for it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AiTask {
    id: i64,
    camera_id: String,
    #[serde(rename = "type")]
    kind: String,
    profile: ProfileWord,
    fps: f64,
    width: u32,
    #[schema(value_type = Object)]
    config: Value,
    enabled: bool,
    priority: i32,
    adaptive: bool,
    /// Null while the task, or its camera, is disabled.
    #[schema(required)]
    sampler: Option<Sampler>,
}

/// What samples a stream, for all tasks that want it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Sampler {
    camera_id: String,
    /// The stream that is sampled.
    profile: ProfileWord,
    state: SamplerStateWord,
    /// The most that a task asks for.
    requested_fps: f64,
    /// What the budget leaves it.
    granted_fps: f64,
    /// What came in the last seconds.
    measured_fps: f64,
    /// How wide its pictures are at most.
    width: u32,
    /// What decoding takes for each frame that is decoded.
    decode_ms: f64,
    /// Frames decoded since it began.
    decoded: u64,
    /// Frames left out because decoding was too slow.
    dropped: u64,
    /// Whether something moves in the scene, read from the sizes of encoded frames; null while that cannot be told.
    #[schema(required)]
    active: Option<bool>,
    /// The GStreamer element that decodes; null before the first.
    #[schema(required)]
    decoder: Option<String>,
    /// Why there are no pictures, if its decoder failed.
    #[schema(required)]
    detail: Option<String>,
}

/// Tasks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AiTaskList {
    pub(crate) tasks: Vec<AiTask>,
}

/// Samplers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SamplerList {
    pub(crate) samplers: Vec<Sampler>,
}

impl From<SamplerNow> for Sampler {
    fn from(now: SamplerNow) -> Self {
        let SamplerNow { camera, profile, state, requested, granted, width, sampling } = now;
        Self {
            camera_id: camera.to_string(),
            profile: Word(profile),
            state: Word(state),
            requested_fps: fps(requested),
            granted_fps: fps(granted),
            measured_fps: fps(sampling.measured),
            width,
            decode_ms: rounded(sampling.decode.as_secs_f64() * 1000.0),
            decoded: sampling.decoded,
            dropped: sampling.dropped,
            active: sampling.active,
            decoder: sampling.decoder,
            detail: sampling.error,
        }
    }
}

impl From<(Task, Option<SamplerNow>)> for AiTask {
    fn from((Task { id, task }, sampler): (Task, Option<SamplerNow>)) -> Self {
        let task::NewTask { camera, kind, profile, rate, width, config, enabled, priority, adaptive } = task;
        Self {
            id,
            camera_id: camera.to_string(),
            kind,
            profile: Word(profile),
            fps: fps(rate),
            width,
            // It was JSON when it was stored.
            config: serde_json::from_str(&config).unwrap_or_default(),
            enabled,
            priority,
            adaptive,
            sampler: sampler.map(Sampler::from),
        }
    }
}
