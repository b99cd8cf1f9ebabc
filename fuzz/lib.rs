//! The modules of the product that need no GStreamer, and what has to hold for them whatever comes.

#![forbid(unsafe_code)]

#[path = "../src/base/mod.rs"]
pub mod base;
#[path = "checks/mod.rs"]
pub mod fuzz_checks;
#[path = "../src/model/mod.rs"]
pub mod model;
#[path = "../src/rtsp/mod.rs"]
pub mod rtsp;
