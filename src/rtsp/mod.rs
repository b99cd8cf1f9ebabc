//! RTSP, SDP, RTP and RTCP as cameras speak them, without I/O, clocks or GStreamer: bytes and times go in, bytes to send, access
//! units and events come out. Whoever drives it owns the sockets (`source::native`).
//!
//! Every buffer here has a bound, no input panics, and the work done is linear in the bytes that came.

pub mod auth;
pub mod framing;
pub mod message;
mod packet;
mod parameters;
mod payload;
mod reorder;
mod rtcp;
pub mod sdp;
pub mod session;
pub mod track;
#[cfg(test)]
mod track_tests;
