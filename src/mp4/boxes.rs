//! Writes boxes: nested ones, whose lengths are filled in when their content is known, and numbers in network byte order
//! (ISO/IEC 14496-12, 4.2).

/// Bytes of a box header with a length of 32 bits: length and name.
pub(super) const HEADER_BYTES: u32 = 8;

/// A buffer to which boxes are appended.
#[derive(Debug, Default)]
pub(super) struct BoxWriter {
    out: Vec<u8>,
}

impl BoxWriter {
    /// A box. `content` writes its body; the length in the header is filled in afterwards.
    pub(super) fn nested(&mut self, kind: &[u8; 4], content: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        self.u32(0);
        self.bytes(kind);
        content(self);
        self.patch_u32(start, length_u32(self.out.len() - start));
    }

    /// A box with a version and 24 bits of flags (4.2, `FullBox`).
    pub(super) fn full(&mut self, kind: &[u8; 4], version: u8, flags: u32, content: impl FnOnce(&mut Self)) {
        self.nested(kind, |out| {
            out.u32(u32::from(version) << 24 | flags & 0x00ff_ffff);
            content(out);
        });
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.out.resize(self.out.len() + count, 0);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u24(&mut self, value: u32) {
        let [_, bytes @ ..] = value.min(0x00ff_ffff).to_be_bytes();
        self.bytes(&bytes);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Number of bytes written so far: the position of the next one.
    pub(super) fn position(&self) -> usize {
        self.out.len()
    }

    /// Overwrites the four bytes at `position`, which have been written before.
    pub(super) fn patch_u32(&mut self, position: usize, value: u32) {
        if let Some(slot) = self.out.get_mut(position..).and_then(|rest| rest.first_chunk_mut::<4>()) {
            *slot = value.to_be_bytes();
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }
}

/// A length that fits 32 bits by the limits of this module; a longer one would become the greatest number.
pub(super) fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_nested_boxes_are_filled_in() {
        let mut out = BoxWriter::default();
        out.nested(b"moof", |out| {
            out.full(b"mfhd", 1, 0x0002_0001, |out| out.u32(7));
            out.nested(b"traf", |_| {});
        });
        let expected = b"\0\0\0\x20moof\0\0\0\x10mfhd\x01\x02\0\x01\0\0\0\x07\0\0\0\x08traf";
        assert_eq!(out.into_bytes(), expected);
    }

    #[test]
    fn numbers_are_big_endian() {
        let mut out = BoxWriter::default();
        out.u8(1);
        out.u16(2);
        out.u24(3);
        out.i32(-2);
        out.u64(4);
        out.patch_u32(100, 1);
        assert_eq!(out.into_bytes(), b"\x01\0\x02\0\0\x03\xff\xff\xff\xfe\0\0\0\0\0\0\0\x04");
    }
}
