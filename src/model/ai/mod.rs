//! What programs that look at pictures are given: what they are to look at ([`task`]), how many frames of which camera
//! ([`budget`]), which of the encoded frames are decoded for that ([`decoding`]), and how much moves in the scene ([`activity`]).

pub mod activity;
pub mod budget;
pub mod decoding;
pub mod task;
