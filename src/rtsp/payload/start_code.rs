//! Start codes inside a NAL unit (ITU-T H.264, Annex B), which some cameras leave in their packets.

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Where the first `00 00 01` is.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(block) = bytes.get(at..at + BLOCK + 1) {
        // Two zeros in a row are rare: the compiler makes vector instructions of this.
        let (left, right) = (&block[..BLOCK], &block[1..]);
        let least = left.iter().zip(right).fold(u8::MAX, |least, (left, right)| least.min(left | right));
        if least == 0
            && let Some(found) = find_slowly(bytes.get(at..at + BLOCK + 2).unwrap_or(&bytes[at..]))
        {
            return Some(at + found);
        }
        at += BLOCK;
    }
    find_slowly(&bytes[at..]).map(|found| at + found)
}

fn find_slowly(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|three| three == [0, 0, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_code_is_found_wherever_it_is() {
        for length in 0..200 {
            let mut bytes = vec![0xaa; length];
            assert_eq!(find(&bytes), None);
            for at in 0..length.saturating_sub(2) {
                bytes[at..at + 3].copy_from_slice(&[0, 0, 1]);
                assert_eq!(find(&bytes), Some(at), "{length}");
                bytes[at..at + 3].copy_from_slice(&[0xaa; 3]);
            }
            assert_eq!(find(&vec![0; length]), None);
        }
    }
}
