//! Splits an H.264 byte stream into NAL units, as it arrives from a file or a pipe.

use std::io::{self, Read};

/// A slice of a picture that is no keyframe.
pub(crate) const SLICE: u8 = 1;
/// A slice of a keyframe.
pub(crate) const IDR: u8 = 5;
/// Sequence parameters: picture size, profile.
pub(crate) const SPS: u8 = 7;
/// Picture parameters.
pub(crate) const PPS: u8 = 8;

const READ_BYTES: usize = 64 * 1024;

/// The type of a NAL unit without start code.
pub(crate) fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 31)
}

/// Whether a NAL unit is the first slice of a picture (`first_mb_in_slice` is 0, which is coded as a single 1 bit).
pub(crate) fn begins_picture(nal: &[u8]) -> bool {
    matches!(kind(nal), SLICE | IDR) && nal.get(1).is_some_and(|byte| byte & 0x80 != 0)
}

/// The NAL units of a byte stream (Annex B), in order and without their start codes.
pub(crate) struct NalUnits<R> {
    input: R,
    pending: Vec<u8>,
    /// Where the search for the next start code goes on.
    searched: usize,
    begun: bool,
    ended: bool,
}

impl<R: Read> NalUnits<R> {
    /// Reads from `input`; what stands before the first start code is skipped.
    pub(crate) fn new(input: R) -> NalUnits<R> {
        NalUnits { input, pending: Vec::new(), searched: 0, begun: false, ended: false }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let held = self.pending.len();
        self.pending.resize(held + READ_BYTES, 0);
        let read = self.input.read(&mut self.pending[held..])?;
        self.pending.truncate(held + read);
        self.ended = read == 0;
        Ok(())
    }

    fn next_unit(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match find_start_code(&self.pending, self.searched) {
                Some(at) => {
                    let after = self.pending.split_off(at + 3);
                    let mut unit = std::mem::replace(&mut self.pending, after);
                    self.searched = 0;
                    if !std::mem::replace(&mut self.begun, true) {
                        continue;
                    }
                    unit.truncate(at);
                    return Ok(Some(without_trailing_zeros(unit)));
                }
                None if self.ended => {
                    let unit = std::mem::take(&mut self.pending);
                    self.searched = 0;
                    let any = std::mem::replace(&mut self.begun, false) && !unit.is_empty();
                    return Ok(any.then(|| without_trailing_zeros(unit)));
                }
                None => {
                    self.searched = self.pending.len().saturating_sub(2);
                    self.read_more()?;
                }
            }
        }
    }
}

impl<R: Read> Iterator for NalUnits<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_unit().transpose()
    }
}

/// A unit never ends in a zero byte: such bytes belong to a four-byte start code or to padding.
fn without_trailing_zeros(mut unit: Vec<u8>) -> Vec<u8> {
    while unit.last() == Some(&0) {
        unit.pop();
    }
    unit
}

/// Position of the next 00 00 01. Looks at every third byte first: tests run this unoptimised over many megabytes.
fn find_start_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at + 2 < bytes.len() {
        match bytes[at + 2] {
            0 => at += 1,
            1 if bytes[at] == 0 && bytes[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::NalUnits;

    #[test]
    fn units_are_split_at_both_kinds_of_start_code() {
        let stream: &[u8] = &[9, 0, 0, 0, 1, 103, 1, 0, 0, 1, 104, 0, 0, 3, 1, 0, 0, 0, 1, 101];
        let units: Vec<_> = NalUnits::new(stream).map(Result::unwrap).collect();
        assert_eq!(units, [vec![103, 1], vec![104, 0, 0, 3, 1], vec![101]]);
    }
}
