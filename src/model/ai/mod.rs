//! What programs that look at pictures are given: what they are to look at ([`task`]), which of them works on it ([`lease`]),
//! how many frames of which camera ([`budget`]), which of the encoded frames are decoded for that ([`decoding`]), and how much
//! moves in the scene ([`activity`]). And what they find ([`detection`]) means, where it is ([`zone`]).

pub mod activity;
pub mod budget;
pub mod decoding;
pub mod detection;
pub mod lease;
pub mod task;
pub mod zone;
