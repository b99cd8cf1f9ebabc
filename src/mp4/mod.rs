//! Writes fragmented MP4 (ISO/IEC 14496-12): a header for one video track and at most one audio track, then fragments of about
//! half a second. A recording, a live view (Media Source) and a clip are made of the same two parts.
//!
//! - [`Header`] is `ftyp` and `moov`; it is made once, from the formats of the streams.
//! - [`Fragmenter`] takes samples in the order of decoding and returns a [`Fragment`] (`moof` and `mdat`) as soon as one is complete.
//!
//! No clock, no I/O: the caller decides when to flush and where the bytes go. Sample data is passed on by reference and never copied.
//! All times that come in are nanoseconds on one timeline of the caller; times in the file are ticks that begin at 0 with the first
//! video sample. The file never has to be rewritten: each fragment is complete in itself, and the file has no index at its end.

mod boxes;
mod fragment;
mod fragmenter;
mod header;
#[cfg(test)]
mod tests;

pub use self::{
    fragment::Fragment,
    fragmenter::{
        AudioSample, FRAGMENT_BYTES, FRAGMENT_NS, Fragmenter, SAMPLE_BYTES_MAX, SampleError, VideoSample,
    },
    header::{FormatError, Header, VIDEO_TIMESCALE},
};
