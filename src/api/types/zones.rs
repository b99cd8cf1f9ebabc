//! Zones of a camera's picture.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Int, Word, ZoneKindWord, cameras::given};
use crate::{
    base::CameraId,
    model::{
        ai::zone::{self, NewZone, Point, Shape},
        camera::BadField,
    },
};

/// What a zone is to be. What is not given is the default in brackets.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZoneRequest {
    /// For people.
    #[schema(max_length = 256)]
    name: String,
    kind: ZoneKindWord,
    /// Corners of a region, 3 to 64, or the two ends of a line: each x and y in parts of the picture, 0 to 1.
    #[schema(min_items = 2, max_items = 64)]
    points: Vec<[f64; 2]>,
    /// What counts; empty: everything. []
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_items = 64)]
    labels: Option<Vec<String>>,
    /// What is less sure does not count. [0.5]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 1)]
    min_confidence: Option<f64>,
    /// Seen so many times in a row. [2]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 100)]
    confirm_frames: Option<Int<1, 100>>,
    /// Who stays so long in a region is told of. [nobody is]
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 86400)]
    dwell_seconds: Option<Int<1, 86_400>>,
}

impl ZoneRequest {
    /// The zone of this camera.
    pub(crate) fn of(self, camera: CameraId) -> Result<NewZone, BadField> {
        let Self { name, kind, points, labels, min_confidence, confirm_frames, dwell_seconds } = self;
        let points = points.into_iter().map(|[x, y]| Point { x, y }).collect();
        Ok(NewZone {
            camera,
            name,
            shape: Shape::new(kind.0, points)?,
            labels: labels.unwrap_or_default(),
            least_confidence: min_confidence.unwrap_or(0.5),
            confirm: confirm_frames.map_or(2, Int::get),
            dwell_seconds: dwell_seconds.map(Int::get),
        })
    }
}

/// A zone.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Zone {
    id: i64,
    camera_id: String,
    name: String,
    kind: ZoneKindWord,
    points: Vec<[f64; 2]>,
    labels: Vec<String>,
    min_confidence: f64,
    confirm_frames: u32,
    #[schema(required)]
    dwell_seconds: Option<u32>,
}

impl From<zone::Zone> for Zone {
    fn from(zone::Zone { id, zone }: zone::Zone) -> Self {
        let NewZone { camera, name, shape, labels, least_confidence, confirm, dwell_seconds } = zone;
        Self {
            id,
            camera_id: camera.to_string(),
            name,
            kind: Word(shape.kind()),
            points: shape.points().into_iter().map(|Point { x, y }| [x, y]).collect(),
            labels,
            min_confidence: least_confidence,
            confirm_frames: confirm,
            dwell_seconds,
        }
    }
}

/// Zones of a camera, by id.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ZoneList {
    pub(crate) zones: Vec<Zone>,
}
