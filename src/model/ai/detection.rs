//! What a program found in a frame.

use serde::{Deserialize, Serialize};

use super::zone::{Area, Point};
use crate::{
    base::{CameraId, WallUs},
    model::{
        Profile,
        camera::{BadField, text},
    },
};

/// Most detections in one frame.
pub const FOUND_MAX: usize = 1_000;
/// Longest `attributes` of a detection, as JSON.
pub const ATTRIBUTES_MAX: usize = 2 * 1024;

/// Something in a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// What it is: `person`, `car` …
    pub label: String,
    /// How sure the program is, 0 to 1.
    pub confidence: f64,
    /// Left, top, width and height of its box, in parts of the picture: 0 to 1.
    #[serde(rename = "box")]
    pub area: [f64; 4],
    /// The program's name for what it follows from frame to frame; without one, zones do not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track_id: Option<String>,
    /// Whatever else the program knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Detection {
    /// Its box.
    pub fn area(&self) -> Area {
        let [x, y, width, height] = self.area;
        Area { at: Point { x, y }, width, height }
    }

    fn check(&self) -> Result<(), BadField> {
        text("label", &self.label)?;
        if self.label.trim().is_empty() {
            return Err(BadField::new("label", "is empty; say what it is, such as `person`"));
        }
        if !(0.0..=1.0).contains(&self.confidence) {
            return Err(BadField::new("confidence", "is 0 to 1"));
        }
        if !self.area().is_inside() {
            return Err(BadField::new(
                "box",
                "is x, y, width and height of a box within the picture, in 0..1",
            ));
        }
        if let Some(track) = &self.track_id {
            text("track_id", track)?;
        }
        let length = self.attributes.as_ref().map_or(0, |of| serde_json::json!(of).to_string().len());
        if length > ATTRIBUTES_MAX {
            return Err(BadField::new("attributes", format!("has more than {ATTRIBUTES_MAX} bytes as JSON")));
        }
        Ok(())
    }
}

/// Whether all of a frame can be taken; the field that cannot is named with its place.
pub fn check(found: &[Detection]) -> Result<(), BadField> {
    if found.len() > FOUND_MAX {
        return Err(BadField::new("detections", format!("are more than {FOUND_MAX} in one frame")));
    }
    found.iter().enumerate().try_for_each(|(n, detection)| {
        let placed = |BadField { field, message }| BadField {
            field: format!("detections[{n}].{field}").into(),
            message,
        };
        detection.check().map_err(placed)
    })
}

/// What was found in a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameFound {
    /// On whose picture.
    pub camera: CameraId,
    /// For which task.
    pub task: i64,
    /// The number of the frame.
    pub frame: u64,
    /// Of which stream.
    pub profile: Profile,
    /// When it was taken.
    pub at: WallUs,
    /// The segment that holds it, and how far into it, in microseconds; `None` if it is not recorded, as far as is known.
    pub recorded: Option<(i64, i64)>,
    /// It.
    pub found: Vec<Detection>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let good = Detection {
            label: "person".into(),
            confidence: 0.9,
            area: [0.1, 0.2, 0.3, 0.8],
            track_id: Some("7".into()),
            attributes: None,
        };
        check(&[good.clone(), good.clone()]).unwrap();
        let big = serde_json::json!({ "a": "x".repeat(ATTRIBUTES_MAX) }).as_object().cloned();
        for (bad, field) in [
            (Detection { label: " ".into(), ..good.clone() }, "label"),
            (Detection { label: "x\ny".into(), ..good.clone() }, "label"),
            (Detection { confidence: 1.1, ..good.clone() }, "confidence"),
            (Detection { confidence: f64::NAN, ..good.clone() }, "confidence"),
            (Detection { area: [0.1, 0.2, 0.95, 0.1], ..good.clone() }, "box"),
            (Detection { area: [-0.1, 0.2, 0.5, 0.1], ..good.clone() }, "box"),
            (Detection { area: [0.1, 0.2, 0.0, 0.1], ..good.clone() }, "box"),
            (Detection { area: [f64::NAN; 4], ..good.clone() }, "box"),
            (Detection { track_id: Some("\0".into()), ..good.clone() }, "track_id"),
            (Detection { attributes: big, ..good.clone() }, "attributes"),
        ] {
            assert_eq!(check(&[good.clone(), bad]).unwrap_err().field, format!("detections[1].{field}"));
        }
        let many = vec![good; FOUND_MAX + 1];
        assert_eq!(check(&many).unwrap_err().field, "detections");
    }
}
