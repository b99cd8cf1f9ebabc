//! Number and capture time of a frame, carried inside the frame itself as an SEI message.
//!
//! Pure: no clock, no I/O. SEI "user data unregistered" (payload type 5) survives every repackaging of the stream
//! and is ignored by decoders.
//!
//! The number counts captures, which is the order of display. With B-frames pictures travel in the order of decoding, so
//! in a stream or a file the numbers run 0, 3, 1, 2, 6, 4, 5 …; sorted by presentation time they run 0, 1, 2, 3.

use super::nal::{Codec, Kind, protect, unprotect};

/// Names our message among other SEI user data, x264's for example.
const UUID: [u8; 16] = *b"watchkeeper-sim\0";
/// UUID, number, capture time.
const PAYLOAD_BYTES: usize = 16 + 8 + 8;
const USER_DATA_UNREGISTERED: usize = 5;

/// What a simulated camera writes into each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counts from 0 over the life of the camera, also while nobody is connected.
    pub number: u64,
    /// Microseconds since 1970, UTC.
    pub capture_us: u64,
}

impl Stamp {
    /// The SEI NAL unit that carries this stamp, without start code or length.
    pub(crate) fn to_nal(self, codec: Codec) -> Vec<u8> {
        let mut rbsp = Vec::with_capacity(PAYLOAD_BYTES + 3);
        rbsp.extend([USER_DATA_UNREGISTERED as u8, PAYLOAD_BYTES as u8]);
        rbsp.extend(UUID);
        rbsp.extend(self.number.to_be_bytes());
        rbsp.extend(self.capture_us.to_be_bytes());
        rbsp.push(0x80);
        let mut nal = codec.sei_header().to_vec();
        protect(&rbsp, &mut nal);
        nal
    }

    /// The stamp in a NAL unit, if it is an SEI unit that holds one.
    pub(crate) fn from_nal(codec: Codec, nal: &[u8]) -> Option<Stamp> {
        if codec.kind(nal) != Kind::Sei {
            return None;
        }
        let rbsp = unprotect(nal.get(codec.header_bytes()..)?);
        let mut rest = rbsp.as_slice();
        // The last byte is the stop bit of the whole unit.
        while rest.len() > 1 {
            let kind = long_number(&mut rest)?;
            let bytes = long_number(&mut rest)?;
            let payload = rest.split_off(..bytes)?;
            if kind == USER_DATA_UNREGISTERED && bytes == PAYLOAD_BYTES && payload.starts_with(&UUID) {
                let number = u64::from_be_bytes(payload[16..24].try_into().ok()?);
                let capture_us = u64::from_be_bytes(payload[24..32].try_into().ok()?);
                return Some(Stamp { number, capture_us });
            }
        }
        None
    }
}

/// SEI's own number format: a run of 255s, then the rest.
fn long_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    loop {
        let &byte = rest.split_off_first()?;
        number += usize::from(byte);
        if byte != 255 {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Codec, Stamp};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stamp_reads_back_and_never_looks_like_a_start_code(
            // Small numbers are full of zero bytes, which is what has to be protected.
            number in prop_oneof![0u64..1000, any::<u64>(), (0u64..256).prop_map(|n| n << 24)],
            capture_us in prop_oneof![0u64..4, any::<u64>()],
        ) {
            let stamp = Stamp { number, capture_us };
            for codec in [Codec::H264, Codec::H265] {
                let nal = stamp.to_nal(codec);
                prop_assert!(!nal.windows(3).any(|three| three[..2] == [0, 0] && three[2] <= 2));
                prop_assert_eq!(Stamp::from_nal(codec, &nal), Some(stamp));
            }
        }
    }
}
