//! A reader of bits, big-endian, with Exp-Golomb codes and emulation prevention (ITU-T H.264, 7.4.1.1 and 9.1).

/// Reads bits from the front of a slice; every read is `None` past the end.
#[derive(Clone, Debug)]
pub(crate) struct Bits<'a> {
    rest: &'a [u8],
    emulation_prevention: bool,
    /// Zero bytes in a row before `rest`.
    zeros: u8,
    byte: u8,
    /// Bits of `byte` that were not read yet.
    left: u32,
}

impl<'a> Bits<'a> {
    /// Bits of plain bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, emulation_prevention: false, zeros: 0, byte: 0, left: 0 }
    }

    /// Bits of a NAL unit's content, without its emulation prevention bytes.
    pub(crate) fn of_nal(bytes: &'a [u8]) -> Self {
        Self { emulation_prevention: true, ..Self::new(bytes) }
    }

    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            if self.emulation_prevention {
                if self.zeros >= 2 && byte == 3 {
                    self.zeros = 0;
                    continue;
                }
                self.zeros = if byte == 0 { (self.zeros + 1).min(2) } else { 0 };
            }
            return Some(byte);
        }
    }

    /// The next `count` bits, 32 at most.
    pub(crate) fn u(&mut self, count: u32) -> Option<u32> {
        let (mut value, mut wanted) = (0u64, count);
        while wanted > 0 {
            if self.left == 0 {
                self.byte = self.next_byte()?;
                self.left = 8;
            }
            let some = wanted.min(self.left);
            let bits = (u32::from(self.byte) >> (self.left - some)) & ((1 << some) - 1);
            value = value << some | u64::from(bits);
            self.left -= some;
            wanted -= some;
        }
        u32::try_from(value).ok()
    }

    /// The next 8 bits.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.u(8).and_then(|byte| u8::try_from(byte).ok())
    }

    /// The next bit.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        self.u(1).map(|bit| bit == 1)
    }

    /// Passes over bits.
    pub(crate) fn skip(&mut self, count: u32) -> Option<()> {
        for _ in 0..count / 32 {
            self.u(32)?;
        }
        self.u(count % 32).map(|_| ())
    }

    /// An unsigned Exp-Golomb code, `ue(v)`.
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.u(zeros)?)
    }

    /// An unsigned Exp-Golomb code that may be `max` at most.
    pub(crate) fn ue_max(&mut self, max: u32) -> Option<u32> {
        self.ue().filter(|value| *value <= max)
    }

    /// A signed Exp-Golomb code, `se(v)`.
    pub(crate) fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code & 1 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_emulation_prevention() {
        let mut bits = Bits::of_nal(&[0xa6, 0x42, 0x98, 0xe2, 0x04, 0x8a]);
        let codes: Vec<u32> = std::iter::from_fn(|| bits.ue()).take(9).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut bits = Bits::of_nal(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 3]);
        assert_eq!((bits.u(32), bits.u(32), bits.u(8)), (Some(0x0000_0100), Some(0x0000_0003), None));
        let mut bits = Bits::new(&[0, 0, 3]);
        assert_eq!(bits.u(24), Some(3));
        let mut bits = Bits::new(&[0b0100_1100, 0b1000_0101, 0]);
        assert_eq!([bits.se(), bits.se(), bits.se(), bits.se()], [Some(1), Some(-1), Some(2), Some(-2)]);
        assert_eq!(Bits::new(&[0; 40]).ue(), None);
        assert_eq!(Bits::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).ue(), Some(u32::MAX - 1));
    }
}
