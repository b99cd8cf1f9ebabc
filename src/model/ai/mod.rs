//! What programs that look at pictures are given: what they are to look at ([`task`]), how many frames of which camera
//! ([`budget`]), and which of the encoded frames are decoded for that ([`decoding`]).

pub mod budget;
pub mod decoding;
pub mod task;
