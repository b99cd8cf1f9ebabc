//! What is not decoded while keyframes suffice, so that it can be when something moves.

use gstreamer as gst;

/// So much is held at most: what a long group of pictures at a usual rate has.
const HELD_BYTES: usize = 8 << 20;
const HELD_FRAMES: usize = 600;

/// Frames of the group of pictures that goes on, ready for the decoder.
#[derive(Debug, Default)]
pub(super) struct Held {
    frames: Vec<gst::Buffer>,
    bytes: usize,
    /// From its keyframe on.
    whole: bool,
}

impl Held {
    /// Takes in what comes next.
    pub(super) fn add(&mut self, key: bool, unit: gst::Buffer) {
        if key {
            self.clear();
            self.whole = true;
        }
        if !self.whole || self.bytes + unit.size() > HELD_BYTES || self.frames.len() >= HELD_FRAMES {
            return self.clear();
        }
        self.bytes += unit.size();
        self.frames.push(unit);
    }

    /// Whether there is nothing to be decoded.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Gives them out.
    pub(super) fn take(&mut self) -> Vec<gst::Buffer> {
        let frames = std::mem::take(&mut self.frames);
        self.clear();
        frames
    }

    /// Forgets them, and what follows until the next keyframe.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        (self.bytes, self.whole) = (0, false);
    }
}
