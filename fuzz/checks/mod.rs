//! What holds for the RTSP receiver whatever a camera sends: one function for each fuzz target, which panics if something does not
//! hold. `cargo fuzz` searches for inputs; `tests` takes those of the corpus, and a bounded number of changes to them.
//!
//! Only what the driver of a session can call is used (`rtsp` as seen from outside).

mod dialogue;
mod framing;
mod input;
mod rtcp;
mod session;
mod text;
mod track;
mod units;

#[cfg(test)]
mod tests;

pub use self::{
    dialogue::{dialogue, session},
    framing::framing,
    rtcp::rtcp,
    text::{challenges, message, sdp},
    track::{h264, h265, parameter_sets, sound},
};

/// A function that takes a fuzz input.
pub type Check = fn(&[u8]);

/// All targets, by the names of their binaries and of their directories in the corpus.
pub const TARGETS: [(&str, Check); 11] = [
    ("challenges", challenges),
    ("dialogue", dialogue),
    ("framing", framing),
    ("h264", h264),
    ("h265", h265),
    ("message", message),
    ("parameter_sets", parameter_sets),
    ("rtcp", rtcp),
    ("sdp", sdp),
    ("session", session),
    ("sound", sound),
];
