//! Whether a camera's marker bits can be trusted to end a picture.
//!
//! Most cameras set the marker bit on the last packet of a picture (RFC 6184, 5.1), some on that of each slice, some never.
//! A picture that waits for the first packet of the next one is right with all of them, but comes a frame's time later.

/// So many pictures in a row must have had one marker each, at their end.
const TRUSTED_AFTER: u8 = 8;

/// What a track learned of its marker bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markers {
    /// No picture ended yet.
    Unknown,
    /// The last picture had none.
    Missing,
    /// So many pictures in a row had one marker, at their end.
    Learning(u8),
    Trusted,
    /// They were wrong once. Not learned again in this session.
    Distrusted,
}

impl Markers {
    /// A picture ended that had so many markers, the last one at its end if `at_end`.
    pub(super) fn learn(&mut self, markers: u32, at_end: bool) {
        *self = match (*self, markers) {
            (Self::Trusted, 0) => Self::Trusted,
            (Self::Unknown | Self::Missing | Self::Learning(_), 0) => Self::Missing,
            (Self::Unknown | Self::Missing, 1) if at_end => Self::Learning(1),
            (Self::Learning(count), 1) if at_end && count + 1 < TRUSTED_AFTER => Self::Learning(count + 1),
            (Self::Learning(_) | Self::Trusted, 1) if at_end => Self::Trusted,
            _ => Self::Distrusted,
        };
    }
}
