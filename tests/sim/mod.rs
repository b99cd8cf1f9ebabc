//! Simulated cameras: real H.264 and H.265 with sound over RTSP, every frame numbered, with faults to order.
//!
//! Used by the integration tests (`tests/it`) and by the example `sim` (`main.rs`). Each frame carries its number
//! and capture time in the bitstream, so a proof needs no trust in timestamps, file names or our own muxer:
//! [`frames`] reads the numbers back with ffmpeg and compares them with what [`camera`] says it sent.
#![expect(dead_code, reason = "the tests and the example each use a part of it")]

pub(crate) mod audio;
pub(crate) mod background;
pub(crate) mod camera;
pub(crate) mod feed;
pub(crate) mod footage;
pub(crate) mod frames;
pub(crate) mod harm;
pub(crate) mod link;
pub(crate) mod misbehave;
pub(crate) mod nal;
pub(crate) mod onvif;
pub(crate) mod proof;
pub(crate) mod replay;
pub(crate) mod rtp;
pub(crate) mod scripted;
pub(crate) mod server;
pub(crate) mod sound;
pub(crate) mod stamp;
pub(crate) mod storage;
pub(crate) mod talk;
pub(crate) mod tls;

#[cfg(test)]
mod selftest;
#[cfg(test)]
mod selftest_replay;
#[cfg(test)]
mod selftest_scripted;
#[cfg(test)]
mod selftest_storage;
#[cfg(test)]
mod selftest_streams;
