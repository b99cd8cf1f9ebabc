//! What a file of ours holds, even if a kill or a power cut ended it anywhere.

use std::os::unix::fs::FileExt as _;

use super::{
    Error,
    boxes::{self, Counter, HEADER_MAX, Header, INDEX_MAX, Track},
    failed,
    volume::{OpenFile, Volume},
};
use crate::model::segment::{AudioCodec, Codec, Extent};

/// More boxes than a segment of an hour has a hundred times over; a file of nothing but headers ends here.
pub(super) const BOXES_MAX: usize = 1_000_000;
/// What our recorder writes into the `moov`, before the microseconds.
const START_TAG: &[u8] = b"start_us=";
const REFILL_TAG: &[u8] = b" source=refill start_us=";

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Frames, bytes and time up to the end of the last whole fragment (or of the boxes after it, if they are whole).
    pub extent: Extent,
    /// Encoding of the pictures.
    pub codec: Codec,
    /// Size of the picture in pixels.
    pub width: u32,
    /// Size of the picture in pixels.
    pub height: u32,
    /// Encoding of the sound, if there is any.
    pub audio: Option<AudioCodec>,
    /// UTC microseconds of the first frame, if the file says so.
    pub start_us: Option<i64>,
    /// Whether it came from a camera's own storage.
    pub refill: bool,
    /// Bytes after what is whole.
    pub torn_bytes: u64,
}

/// Measures a file by its headers; reads no pictures, and at most 1 MiB at once.
pub fn measure(volume: &Volume, path: &str) -> Result<Measured, Error> {
    let open = volume.open_segment_file(path)?;
    let not_ours = |why: String| Error::NotOurs { path: path.into(), why };
    let mut found = Found::default();
    let mut at = 0;
    for _ in 0..BOXES_MAX {
        let Some(next) = open.header(path, at)? else { break };
        let next = match next {
            Ok(next) => next,
            // In the first box it is another kind of file; later it is damage, and ends what is whole.
            Err(bad) if at == 0 => return Err(not_ours(bad.to_string())),
            Err(_) => break,
        };
        if at == 0 && &next.kind != b"ftyp" {
            return Err(not_ours("it does not begin with `ftyp`".to_owned()));
        }
        let Some(end) = at.checked_add(next.bytes).filter(|end| *end <= open.bytes) else { break };
        match &next.kind {
            b"moov" if found.counter.is_none() => {
                let moov = open.read(path, at + next.header, next.bytes - next.header)?;
                let track = Track::video(&moov).map_err(|bad| not_ours(bad.to_string()))?;
                let codec = track.codec.ok_or_else(|| not_ours("it is in no codec we record".to_owned()))?;
                found.start_us = start_us(&moov);
                found.refill = moov.windows(REFILL_TAG.len()).any(|part| part == REFILL_TAG);
                found.counter = Some((Counter::new(track), codec));
            }
            b"moof" => {
                let moof = open.read(path, at + next.header, next.bytes - next.header)?;
                let counted = found.counter.as_ref().filter(|_| found.counted.is_none());
                let Some(mut counted) = counted.map(|(counter, _)| counter.clone()) else {
                    found.strange = true;
                    break;
                };
                if counted.add(&moof).is_err() {
                    break;
                }
                found.counted = Some(counted);
            }
            b"mdat" => {
                let (Some(counted), Some((counter, _))) = (found.counted.take(), &mut found.counter) else {
                    found.strange = true;
                    break;
                };
                *counter = counted;
                found.whole = end;
            }
            b"moov" => break,
            // Boxes after a whole fragment belong to the file.
            _ if found.whole == at && at > 0 => found.whole = end,
            _ => {}
        }
        at = end;
    }
    match found.counter {
        Some((counter, codec)) if found.whole > 0 => Ok(Measured {
            extent: counter.extent(found.whole),
            codec,
            audio: counter.track.audio,
            width: counter.track.width,
            height: counter.track.height,
            start_us: found.start_us,
            refill: found.refill,
            torn_bytes: open.bytes - found.whole,
        }),
        // Boxes in an order that no recorder writes, and not merely too few of them.
        _ if found.strange => Err(not_ours("it is not a fragmented MP4".to_owned())),
        _ => Err(Error::Empty { path: path.into() }),
    }
}

#[derive(Default)]
struct Found {
    /// Counts whole fragments only.
    counter: Option<(Counter, Codec)>,
    /// With the fragment whose `mdat` comes next.
    counted: Option<Counter>,
    start_us: Option<i64>,
    refill: bool,
    /// Where what is whole ends.
    whole: u64,
    /// A box came where none of its kind may.
    strange: bool,
}

impl OpenFile {
    /// The box header at `at`, or `None` at the end of the file or in the middle of a header.
    pub(super) fn header(
        &self,
        path: &str,
        at: u64,
    ) -> Result<Option<Result<Header, boxes::BadBoxes>>, Error> {
        let len = self.bytes.saturating_sub(at).min(HEADER_MAX as u64);
        Ok(boxes::header(&self.read(path, at, len)?).transpose())
    }

    pub(super) fn read(&self, path: &str, at: u64, len: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len.min(INDEX_MAX) as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(|source| failed("read", path, source))?;
        Ok(bytes)
    }
}

/// The number after `start_us=`.
fn start_us(moov: &[u8]) -> Option<i64> {
    let at = moov.windows(START_TAG.len()).position(|part| part == START_TAG)?;
    let number = &moov[at + START_TAG.len()..];
    let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&number[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_in_the_tag() {
        assert_eq!(
            start_us(b"\xa9cmt..watchkeeper camera=a start_us=1795168800123456 x"),
            Some(1_795_168_800_123_456)
        );
        assert_eq!(start_us(b"start_us=12"), Some(12));
        assert_eq!(start_us(b"start_us="), None);
        assert_eq!(start_us(b"start_us=99999999999999999999"), None);
        assert_eq!(start_us(b""), None);
    }
}
