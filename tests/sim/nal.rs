//! Splits an H.264 or H.265 byte stream into NAL units, as it arrives from a file or a pipe, and names them.

use std::io::{self, Read};

const READ_BYTES: usize = 64 * 1024;

/// Which of the two languages NAL units speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Codec {
    /// H.264, AVC.
    H264,
    /// H.265, HEVC.
    H265,
}

/// What a NAL unit holds, as far as a camera and a proof must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A slice of a picture that is no keyframe.
    Slice,
    /// A slice of a keyframe.
    Idr,
    /// Video parameters; H.265 only.
    Vps,
    /// Sequence parameters: picture size, profile.
    Sps,
    /// Picture parameters.
    Pps,
    /// Supplemental information, before the picture it is about.
    Sei,
    /// Anything else.
    Other,
}

impl Codec {
    /// What ffmpeg calls it, as a codec and as a raw format.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Codec::H264 => "h264",
            Codec::H265 => "hevc",
        }
    }

    /// The kind of a NAL unit without start code (H.264 table 7-1, H.265 table 7-1).
    pub(crate) fn kind(self, nal: &[u8]) -> Kind {
        let Some(&header) = nal.first() else { return Kind::Other };
        match (self, if self == Codec::H264 { header & 31 } else { header >> 1 & 63 }) {
            (Codec::H264, 5) | (Codec::H265, 16..=21) => Kind::Idr,
            (Codec::H264, 1) | (Codec::H265, 0..=9) => Kind::Slice,
            (Codec::H265, 32) => Kind::Vps,
            (Codec::H264, 7) | (Codec::H265, 33) => Kind::Sps,
            (Codec::H264, 8) | (Codec::H265, 34) => Kind::Pps,
            (Codec::H264, 6) | (Codec::H265, 39) => Kind::Sei,
            _ => Kind::Other,
        }
    }

    /// Bytes of a NAL unit's header.
    pub(crate) fn header_bytes(self) -> usize {
        match self {
            Codec::H264 => 1,
            Codec::H265 => 2,
        }
    }

    /// The header of a unit with supplemental information.
    pub(crate) fn sei_header(self) -> &'static [u8] {
        match self {
            Codec::H264 => &[6],
            Codec::H265 => &[39 << 1, 1],
        }
    }

    /// A unit of so many bytes that says nothing: filler data, which may stand behind any picture.
    pub(crate) fn filler(self, bytes: usize) -> Vec<u8> {
        let mut nal = match self {
            Codec::H264 => vec![12],
            Codec::H265 => vec![38 << 1, 1],
        };
        nal.resize(bytes.max(4), 0xff);
        nal.push(0x80);
        nal
    }

    /// Whether a NAL unit is the first slice of a picture: in H.264 `first_mb_in_slice` is 0, which is coded as a single
    /// 1 bit; in H.265 that bit is `first_slice_segment_in_pic_flag`.
    pub(crate) fn begins_picture(self, nal: &[u8]) -> bool {
        matches!(self.kind(nal), Kind::Slice | Kind::Idr)
            && nal.get(self.header_bytes()).is_some_and(|byte| byte & 0x80 != 0)
    }
}

/// Emulation prevention: no 00 00 00…03 inside a NAL unit, else it would look like a start code.
pub(crate) fn protect(rbsp: &[u8], nal: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in rbsp {
        if zeros == 2 && byte <= 3 {
            nal.push(3);
            zeros = 0;
        }
        nal.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
}

/// Undoes [`protect`].
pub(crate) fn unprotect(nal: &[u8]) -> Vec<u8> {
    let mut rbsp = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros == 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        rbsp.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    rbsp
}

/// A NAL unit behind its length in four bytes.
pub(crate) fn with_length(nal: &[u8]) -> Vec<u8> {
    let length = u32::try_from(nal.len()).expect("a NAL unit is far below 4 GiB");
    [&length.to_be_bytes(), nal].concat()
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
