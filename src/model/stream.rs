//! Which stream of which camera, as the key of queues, budgets and counters.

use super::{camera::Profile, segment::Source};
use crate::base::CameraId;

/// One stream of a camera. A live stream and a refill of the same camera are two streams: neither fills the other's queue, and footage of
/// one is no sign that the other is being recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamId {
    /// Its camera.
    pub camera: CameraId,
    /// Which of the camera's encoded streams.
    pub profile: Profile,
    /// Live, or from the camera's own storage.
    pub source: Source,
}

impl StreamId {
    /// The live stream of a profile.
    pub fn live(camera: CameraId, profile: Profile) -> Self {
        Self { camera, profile, source: Source::Live }
    }
}
