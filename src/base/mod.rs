//! What every layer may use: ids, times, secrets, masking, the error chain and the log set-up.
//! Knows no product word.

pub mod error;
pub mod ids;
pub mod log;
pub mod mask;
pub mod secret;
pub mod threads;
pub mod ticks;
pub mod time;

pub use ids::CameraId;
pub use secret::Secret;
pub use time::WallUs;
