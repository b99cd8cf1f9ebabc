//! The boxes of a fragmented MP4, as far as the disk needs them: where they end, how many frames a fragment holds
//! and how long they last.
//!
//! Boxes without children are read by `mp4-atom`. Those with children are walked here: its readers of those recurse as
//! deep as the file says, which a hostile file would use to exhaust the stack, and it logs a warning for every box it
//! does not know (such as the tag our recorder writes). For the same reason `stsd` is read by hand.

use mp4_atom::{Atom, Mdhd, Tfdt, Tfhd, Tkhd, Trex, Trun};

use crate::model::segment::{AudioCodec, Codec, Extent};

/// Longest box header in bytes.
pub(super) const HEADER_MAX: usize = 16;
/// Longest `moov` or `moof` that is read, in bytes. Ours have about 1 KiB and 250 bytes.
pub(super) const INDEX_MAX: u64 = 1 << 20;

/// A box's name.
pub(super) type Kind = [u8; 4];

/// Why boxes cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum BadBoxes {
    /// A size that cannot be: shorter than the header, open-ended, or too much for an index box.
    #[error("the box `{kind}` says it has {bytes} bytes")]
    Size {
        /// Its name.
        kind: String,
        /// What its header says.
        bytes: u64,
    },
    /// A box that must be there is not.
    #[error("there is no usable `{0}` box")]
    Missing(&'static str),
    /// A box whose content makes no sense.
    #[error("the box `{kind}` cannot be read")]
    Content {
        /// Its name.
        kind: String,
        /// What is wrong with it.
        source: mp4_atom::Error,
    },
    /// Following the boxes failed in a way that should not be possible.
    #[error("following the boxes failed unexpectedly")]
    Panicked,
}

fn text(kind: Kind) -> String {
    kind.escape_ascii().to_string()
}

/// Where a box ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Length of the header itself.
    pub(super) header: u64,
    /// Length of the box with its header.
    pub(super) bytes: u64,
}

/// Reads a box header; `None` if it needs more bytes.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, BadBoxes> {
    let Some((short, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let Some((kind, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let found = match u32::from_be_bytes(*short) {
        1 => match rest.first_chunk::<8>() {
            Some(long) => Header { kind: *kind, header: 16, bytes: u64::from_be_bytes(*long) },
            None => return Ok(None),
        },
        bytes => Header { kind: *kind, header: 8, bytes: bytes.into() },
    };
    // 0 means "up to the end of the file". Our muxer never writes it, and what ends nowhere is never whole.
    let fits = found.bytes >= found.header && (found.bytes <= INDEX_MAX || !is_index(found.kind));
    if fits { Ok(Some(found)) } else { Err(BadBoxes::Size { kind: text(*kind), bytes: found.bytes }) }
}

/// Whether a box is read as a whole.
pub(super) fn is_index(kind: Kind) -> bool {
    matches!(&kind, b"moov" | b"moof")
}

/// The boxes inside a body, up to the first that does not fit.
pub(super) fn children(mut body: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    std::iter::from_fn(move || {
        let found = header(body).ok()??;
        let (whole, rest) = body.split_at_checked(usize::try_from(found.bytes).ok()?)?;
        body = rest;
        Some((found.kind, whole.get(usize::try_from(found.header).ok()?..)?))
    })
}

pub(super) fn child<'a>(body: &'a [u8], name: &'static str) -> Result<&'a [u8], BadBoxes> {
    let mut found = children(body).filter(|(kind, _)| kind == name.as_bytes());
    found.next().map(|(_, body)| body).ok_or(BadBoxes::Missing(name))
}

pub(super) fn read<T: Atom>(mut body: &[u8]) -> Result<T, BadBoxes> {
    T::decode_body(&mut body).map_err(|source| BadBoxes::Content { kind: text(*T::KIND.as_ref()), source })
}

/// The video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Track {
    id: u32,
    /// Ticks in a second.
    timescale: u32,
    /// What a sample lasts if nothing nearer says so.
    default_duration: u32,
    /// `None`: one that we do not record yet.
    pub(super) codec: Option<Codec>,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Encoding of the sound beside it.
    pub(super) audio: Option<AudioCodec>,
}

impl Track {
    /// The first video track of a `moov` (without its header).
    pub(super) fn video(moov: &[u8]) -> Result<Self, BadBoxes> {
        let is = |trak: &[u8], handler: &[u8]| {
            let found = child(trak, "mdia").and_then(|mdia| child(mdia, "hdlr"));
            found.is_ok_and(|hdlr| hdlr.get(8..12) == Some(handler))
        };
        let of = |handler: &[u8]| {
            let mut traks = children(moov).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body);
            traks.find(|trak| is(trak, handler))
        };
        let audio = of(b"soun").and_then(sound_entry);
        let trak = of(b"vide").ok_or(BadBoxes::Missing("trak (video)"))?;
        let mdia = child(trak, "mdia")?;
        let id = read::<Tkhd>(child(trak, "tkhd")?)?.track_id;
        let timescale = read::<Mdhd>(child(mdia, "mdhd")?)?.timescale;
        if timescale == 0 {
            return Err(BadBoxes::Missing("mdhd (timescale)"));
        }
        let stsd = child(child(child(mdia, "minf")?, "stbl")?, "stsd")?;
        let (codec, width, height) = sample_entry(stsd).ok_or(BadBoxes::Missing("stsd (video)"))?;
        let mvex = child(moov, "mvex").map_err(|_| BadBoxes::Missing("mvex"))?;
        let trex = children(mvex)
            .filter(|(kind, _)| kind == b"trex")
            .filter_map(|(_, body)| read::<Trex>(body).ok())
            .find(|trex| trex.track_id == id);
        let default_duration = trex.map_or(0, |trex| trex.default_sample_duration);
        Ok(Self { id, timescale, default_duration, codec, width, height, audio })
    }
}

fn sound_entry(trak: &[u8]) -> Option<AudioCodec> {
    let stbl = child(child(child(trak, "mdia").ok()?, "minf").ok()?, "stbl").ok()?;
    match &children(child(stbl, "stsd").ok()?.get(8..)?).next()?.0 {
        b"mp4a" => Some(AudioCodec::Aac),
        b"Opus" => Some(AudioCodec::Opus),
        _ => None,
    }
}

/// Codec and size from an `stsd`: version and flags, a count, then sample entries, which for video begin with 24
/// bytes that we do not need, width and height (ISO/IEC 14496-12, 12.1.3).
fn sample_entry(stsd: &[u8]) -> Option<(Option<Codec>, u32, u32)> {
    let (kind, entry) = children(stsd.get(8..)?).next()?;
    let codec = match &kind {
        b"avc1" | b"avc3" => Some(Codec::H264),
        b"hvc1" | b"hev1" => Some(Codec::H265),
        _ => None,
    };
    let size = |at: usize| Some(u32::from(u16::from_be_bytes(entry.get(at..at + 2)?.try_into().ok()?)));
    Some((codec, size(24)?, size(26)?))
}

/// Counts the frames and the time of the fragments of one file.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) track: Track,
    frames: u64,
    /// Decoding time of the first frame and of the end of the last one, in ticks.
    span: Option<(u64, u64)>,
}

impl Counter {
    pub(super) fn new(track: Track) -> Self {
        Self { track, frames: 0, span: None }
    }

    /// Adds a fragment, by its `moof` (without its header). A fragment of another track adds nothing.
    pub(super) fn add(&mut self, moof: &[u8]) -> Result<(), BadBoxes> {
        for (_, traf) in children(moof).filter(|(kind, _)| kind == b"traf") {
            let tfhd: Tfhd = read(child(traf, "tfhd")?)?;
            if tfhd.track_id != self.track.id {
                continue;
            }
            let default = tfhd.default_sample_duration.unwrap_or(self.track.default_duration);
            let (mut frames, mut ticks) = (0u64, 0u64);
            for (_, trun) in children(traf).filter(|(kind, _)| kind == b"trun") {
                for sample in read::<Trun>(trun)?.entries {
                    frames += 1;
                    ticks = ticks.saturating_add(sample.duration.unwrap_or(default).into());
                }
            }
            if frames == 0 {
                continue;
            }
            let end_so_far = self.span.map_or(0, |(_, end)| end);
            let start = match child(traf, "tfdt") {
                Ok(body) => read::<Tfdt>(body)?.base_media_decode_time,
                Err(_) => end_so_far,
            };
            let first = self.span.map_or(start, |(first, _)| first);
            self.frames += frames;
            self.span = Some((first, end_so_far.max(start.saturating_add(ticks))));
        }
        Ok(())
    }

    /// What was counted, for a file of which `bytes` are whole.
    pub(super) fn extent(&self, bytes: u64) -> Extent {
        let (first, end) = self.span.unwrap_or_default();
        let us = u128::from(end.saturating_sub(first)) * 1_000_000 / u128::from(self.track.timescale);
        Extent { frames: self.frames, bytes, duration_us: i64::try_from(us).unwrap_or(i64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert!(matches!(header(b"\0\0\0\0mdat"), Err(BadBoxes::Size { bytes: 0, .. })));
        assert!(matches!(header(b"\0\0\0\x07mdat"), Err(BadBoxes::Size { bytes: 7, .. })));
        assert!(matches!(header(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f"), Err(BadBoxes::Size { bytes: 15, .. })));
        assert!(matches!(header(b"\x7f\0\0\0moof"), Err(BadBoxes::Size { .. })));
        assert!(header(b"\x7f\0\0\0mdat").unwrap().is_some());
        assert!(header(b"\0\0\0\x01mdat\0\0\0").unwrap().is_none());
        assert!(header(b"\0\0\0\x08mda").unwrap().is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Track::video(&bytes);
            let _ = children(&bytes).count();
            let _ = sample_entry(&bytes);
            let (id, timescale, default_duration) = (1, 1, 1);
            let track = Track { id, timescale, default_duration, codec: None, width: 1, height: 1, audio: None };
            let _ = Counter::new(track).add(&bytes);
        }
    }
}
