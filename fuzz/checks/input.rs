//! Fuzz inputs: numbers and bytes from their front, and how long what is held is.

use std::fmt::{self, Write as _};

/// Reads a fuzz input from its front. Past its end numbers are 0 and byte strings are empty.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *byte
    }

    /// Big-endian.
    pub(super) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Big-endian.
    pub(super) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// The next bytes, at most `count`.
    pub(super) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        bytes
    }

    /// Bytes after their length, which has one byte.
    pub(super) fn short(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.bytes(usize::from(length))
    }

    /// Bytes after their length, which has two bytes.
    pub(super) fn long(&mut self) -> &'a [u8] {
        let length = self.u16();
        self.bytes(usize::from(length))
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Sizes of the reads in which a byte stream arrives.
pub(super) struct Cuts {
    mode: u8,
    state: u32,
}

impl Cuts {
    /// 0: all at once; 1: byte by byte; else of any size up to three times `mode`.
    pub(super) fn new(mode: u8) -> Self {
        Self { mode, state: u32::from(mode) }
    }

    /// Bytes of the next read, of `left` that are to come.
    pub(super) fn next(&mut self, left: usize) -> usize {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match self.mode {
            0 => left,
            1 => left.min(1),
            mode => left.min(1 + (self.state >> 8) as usize % (3 * usize::from(mode))),
        }
    }
}

/// Length of a value's `Debug` text: at most some bytes for each byte that the value holds, and more if there is more of it.
pub(super) fn debug_length(value: &impl fmt::Debug) -> usize {
    struct Length(usize);
    impl fmt::Write for Length {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut length = Length(0);
    write!(length, "{value:?}").expect("counting does not fail");
    length.0
}
