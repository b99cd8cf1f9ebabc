//! Watchkeeper records IP cameras: one process, one GStreamer pipeline per camera stream, no footage lost.
//!
//! The modules stand in layers; a test keeps the arrows between them (`tests/it/tidy.rs`).

pub mod api;
pub mod base;
pub mod cli;
pub mod disk;
#[cfg(test)]
#[path = "../fuzz/checks/mod.rs"]
pub mod fuzz_checks;
pub mod media;
pub mod model;
pub mod mp4;
pub mod rtsp;
pub mod run;
pub mod source;
pub mod store;
