//! How much moved.

use serde::Serialize;
use utoipa::ToSchema;

use super::Time;
use crate::{base::WallUs, model::ai::activity::Summary};

/// How much moved in a stretch of time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Activity {
    camera_id: String,
    /// Where the first value begins: a whole second.
    from: Time,
    /// Where the last one ends.
    to: Time,
    /// Seconds that each value stands for.
    seconds_per_value: i64,
    /// At most 2000, without a hole between them: the greatest level of any of its seconds, 0 (nothing moves) to 254, where 40
    /// more is twice the size of the encoded frames; null where nothing is known.
    values: Vec<Option<u8>>,
}

impl Activity {
    pub(crate) fn new(camera: String, summary: Summary) -> Self {
        let Summary { from_s, seconds_per_value, values } = summary;
        let count = i64::try_from(values.len()).unwrap_or(i64::MAX);
        let time = |second: i64| Time(WallUs(second.saturating_mul(1_000_000)));
        Self {
            camera_id: camera,
            from: time(from_s),
            to: time(from_s.saturating_add(count.saturating_mul(seconds_per_value))),
            seconds_per_value,
            values,
        }
    }
}
