//! Where a segment's samples are: what its `moov` and its `moof` boxes say. Pure.

use mp4_atom::{Mdhd, Tfdt, Tfhd, Tkhd, Trex, Trun};

use crate::disk::boxes::{BadBoxes, child, children, header, read};

/// `sample_is_non_sync_sample` (ISO/IEC 14496-12, 8.8.3.1).
const NOT_SYNC: u32 = 1 << 16;
/// Bytes of a video sample entry before the boxes in it (12.1.3).
const VIDEO_ENTRY: usize = 78;

/// What a track is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Video,
    Sound,
}

/// One track of a segment.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) kind: Kind,
    id: u32,
    /// Ticks in a second.
    pub(super) timescale: u32,
    defaults: Trex,
    /// The sample entry, a whole box: what a decoder must know.
    pub(super) entry: Vec<u8>,
    /// The parameter sets in it, each with a length of four bytes, as they would stand before a keyframe.
    pub(super) parameters: Vec<u8>,
    /// A piece of sound in which nothing is heard, if one is known.
    pub(super) silence: Option<Silence>,
    /// In order of decoding.
    pub(super) samples: Vec<Sample>,
    /// Decoding time of the next sample, if its fragment does not say.
    next: u64,
}

/// A packet in which nothing is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    pub(super) packet: &'static [u8],
    /// In ticks. What the last sample of a file says of itself may be anything.
    pub(super) duration: u32,
}

/// AAC of low complexity: one channel, and a pair of them, without a single spectral line (ISO/IEC 14496-3, 4.4.2).
const MONO: &[u8] = &[0, 0, 0, 7];
const STEREO: &[u8] = &[0x20, 0, 0, 0, 0, 0, 0x0e];
/// Samples in a second, by their number (1.6.3.4).
const AAC_HZ: [u64; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// Opus: 20 ms in which nothing is coded (RFC 6716, 3.1).
const OPUS: &[u8] = &[0xf8, 0xff, 0xfe];
/// Bytes of a sound sample entry before the boxes in it (12.2.3).
const SOUND_ENTRY: usize = 28;

/// The silence that goes with a sound sample entry.
fn silence(entry: &[u8], timescale: u32) -> Option<Silence> {
    if entry.get(4..8)? == b"Opus" {
        return Some(Silence { packet: OPUS, duration: timescale / 50 });
    }
    let esds = child(entry.get(8 + SOUND_ENTRY..)?, "esds").ok()?;
    // Descriptors in one another (ISO/IEC 14496-1, 7.2.6): of the stream, of its decoder, of what that is told first.
    let mut rest = Reader(esds.get(4..)?);
    for (tag, fields) in [(3, 3), (4, 13), (5, 0)] {
        if rest.take(1)?[0] != tag {
            return None;
        }
        while rest.take(1)?[0] & 0x80 != 0 {}
        rest.take(fields)?;
    }
    let config = u16::from_be_bytes(rest.take(2)?.try_into().ok()?);
    let (object, rate, channels) = (config >> 11, config >> 7 & 15, config >> 3 & 15);
    let rate = AAC_HZ.get(usize::from(rate))?;
    let duration = u32::try_from(1024 * u64::from(timescale) / rate).ok()?;
    match (object, channels) {
        (2, 1) => Some(Silence { packet: MONO, duration }),
        (2, 2) => Some(Silence { packet: STEREO, duration }),
        _ => None,
    }
}

/// One frame, or a piece of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// When it is decoded, in ticks.
    pub(super) dts: u64,
    /// So much later it is shown, in ticks.
    pub(super) offset: i32,
    /// In ticks.
    pub(super) duration: u32,
    /// Decoding can begin here.
    pub(super) key: bool,
    /// Place in the file.
    pub(super) at: u64,
    /// Length in bytes.
    pub(super) bytes: u32,
}

impl Sample {
    /// When it is shown, in ticks.
    pub(super) fn pts(&self) -> i64 {
        i64::try_from(self.dts).unwrap_or(i64::MAX).saturating_add(self.offset.into())
    }
}

/// The first track of each kind in a `moov` (without its header).
pub(super) fn tracks(moov: &[u8]) -> Result<Vec<Track>, BadBoxes> {
    let mvex = child(moov, "mvex")?;
    let trex: Vec<Trex> =
        children(mvex).filter(|(kind, _)| kind == b"trex").filter_map(|(_, body)| read(body).ok()).collect();
    let mut found: Vec<Track> = Vec::new();
    for (_, trak) in children(moov).filter(|(kind, _)| kind == b"trak") {
        let mdia = child(trak, "mdia")?;
        let kind = match child(mdia, "hdlr")?.get(8..12) {
            Some(b"vide") => Kind::Video,
            Some(b"soun") => Kind::Sound,
            _ => continue,
        };
        if found.iter().any(|track| track.kind == kind) {
            continue;
        }
        let id = read::<Tkhd>(child(trak, "tkhd")?)?.track_id;
        let timescale = read::<Mdhd>(child(mdia, "mdhd")?)?.timescale;
        if timescale == 0 {
            return Err(BadBoxes::Missing("mdhd (timescale)"));
        }
        let stsd = child(child(child(mdia, "minf")?, "stbl")?, "stsd")?;
        let entry = first_entry(stsd).ok_or(BadBoxes::Missing("stsd (sample entry)"))?.to_vec();
        let parameters =
            if kind == Kind::Video { parameters(&entry).unwrap_or_default() } else { Vec::new() };
        let silence = if kind == Kind::Sound { silence(&entry, timescale) } else { None };
        let defaults = trex.iter().find(|trex| trex.track_id == id).cloned().unwrap_or_default();
        found.push(Track {
            kind,
            id,
            timescale,
            defaults,
            entry,
            parameters,
            silence,
            samples: Vec::new(),
            next: 0,
        });
    }
    match found.iter().any(|track| track.kind == Kind::Video) {
        true => Ok(found),
        false => Err(BadBoxes::Missing("trak (video)")),
    }
}

fn first_entry(stsd: &[u8]) -> Option<&[u8]> {
    let entries = stsd.get(8..)?;
    entries.get(..usize::try_from(header(entries).ok()??.bytes).ok()?)
}

/// The parameter sets of a video sample entry; none if it is of a kind that is not known.
fn parameters(entry: &[u8]) -> Option<Vec<u8>> {
    let boxes = entry.get(8 + VIDEO_ENTRY..)?;
    let (kind, record) = children(boxes).find(|(kind, _)| kind == b"avcC" || kind == b"hvcC")?;
    // ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1: the length of lengths, then lists of parameter sets.
    let mut rest = Reader(record);
    let mut out = Vec::new();
    if &kind == b"avcC" {
        let lengths = rest.take(5)?[4] & 3;
        for mask in [0x1f, 0xff] {
            let sets = rest.take(1)?[0] & mask;
            (0..sets).try_for_each(|_| rest.set(&mut out))?;
        }
        return (lengths == 3).then_some(out);
    }
    let lengths = rest.take(22)?[21] & 3;
    for _ in 0..rest.take(1)?[0] {
        rest.take(1)?;
        let sets = u16::from_be_bytes(rest.take(2)?.try_into().ok()?);
        (0..sets).try_for_each(|_| rest.set(&mut out))?;
    }
    (lengths == 3).then_some(out)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A parameter set with its length in two bytes, to `out` with its length in four.
    fn set(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let length = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        let set = self.take(length.into())?;
        out.extend_from_slice(&u32::from(length).to_be_bytes());
        out.extend_from_slice(set);
        Some(())
    }
}

/// Adds the samples of a fragment: of its `moof` (without its header), which begins at `moof_at`.
pub(super) fn add(tracks: &mut [Track], moof: &[u8], moof_at: u64) -> Result<(), BadBoxes> {
    let mut data_at = moof_at;
    for (_, traf) in children(moof).filter(|(kind, _)| kind == b"traf") {
        let tfhd: Tfhd = read(child(traf, "tfhd")?)?;
        let Some(track) = tracks.iter_mut().find(|track| track.id == tfhd.track_id) else { continue };
        if let Ok(tfdt) = child(traf, "tfdt") {
            track.next = read::<Tfdt>(tfdt)?.base_media_decode_time;
        }
        // 8.8.7.1: without a base the data of a further track follows that of the one before.
        let base = match tfhd.base_data_offset {
            Some(base) => base,
            None if tfhd.default_base_is_moof => moof_at,
            None => data_at,
        };
        let duration = tfhd.default_sample_duration.unwrap_or(track.defaults.default_sample_duration);
        let bytes = tfhd.default_sample_size.unwrap_or(track.defaults.default_sample_size);
        let flags = tfhd.default_sample_flags.unwrap_or(track.defaults.default_sample_flags);
        let mut at = base;
        for (_, trun) in children(traf).filter(|(kind, _)| kind == b"trun") {
            let trun: Trun = read(trun)?;
            if let Some(offset) = trun.data_offset {
                at = base.saturating_add_signed(offset.into());
            }
            for entry in trun.entries {
                let sample = Sample {
                    dts: track.next,
                    offset: entry.cts.unwrap_or(0),
                    duration: entry.duration.unwrap_or(duration),
                    key: entry.flags.unwrap_or(flags) & NOT_SYNC == 0,
                    at,
                    bytes: entry.size.unwrap_or(bytes),
                };
                at = at.saturating_add(sample.bytes.into());
                track.next = track.next.saturating_add(sample.duration.into());
                track.samples.push(sample);
            }
        }
        data_at = at;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 8).unwrap();
        [&length.to_be_bytes(), &kind[..], body].concat()
    }

    fn entry(kind: &[u8; 4], record: &[u8]) -> Vec<u8> {
        boxed(kind, &[&[0; VIDEO_ENTRY], record].concat())
    }

    #[test]
    fn parameter_sets_are_found_in_both_codecs() {
        let avcc = boxed(b"avcC", &[1, 77, 0, 31, 0xff, 0xe1, 0, 2, 0x67, 7, 1, 0, 1, 0x68]);
        assert_eq!(parameters(&entry(b"avc1", &avcc)).unwrap(), [0, 0, 0, 2, 0x67, 7, 0, 0, 0, 1, 0x68]);
        let mut hvcc = vec![0; 23];
        (hvcc[21], hvcc[22]) = (0xff, 2);
        hvcc.extend([32, 0, 1, 0, 1, 0x40, 33, 0, 1, 0, 2, 0x42, 1]);
        let hvcc = boxed(b"hvcC", &hvcc);
        assert_eq!(parameters(&entry(b"hvc1", &hvcc)).unwrap(), [0, 0, 0, 1, 0x40, 0, 0, 0, 2, 0x42, 1]);
        assert_eq!(parameters(&entry(b"mp4v", &boxed(b"esds", &[]))), None);
    }

    #[test]
    fn silence_is_known_for_what_we_record() {
        let sound = |config: [u8; 2]| {
            let descriptors =
                [&[3, 0x19, 0, 2, 0, 4, 0x80, 0x11][..], &[0x40; 13], &[5, 2], &config].concat();
            boxed(
                b"mp4a",
                &[&[0; SOUND_ENTRY][..], &boxed(b"esds", &[&[0; 4], &descriptors[..]].concat())].concat(),
            )
        };
        assert_eq!(silence(&sound([0x14, 0x08]), 90_000), Some(Silence { packet: MONO, duration: 5760 }));
        assert_eq!(silence(&sound([0x11, 0x90]), 48_000).unwrap().packet, STEREO);
        // High efficiency, and six channels.
        assert_eq!(silence(&sound([0x29, 0x88]), 48_000), None);
        assert_eq!(silence(&sound([0x11, 0xb0]), 48_000), None);
        let opus = silence(&boxed(b"Opus", &[0; SOUND_ENTRY]), 48_000).unwrap();
        assert_eq!((opus.packet, opus.duration), (OPUS, 960));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = tracks(&bytes);
            let _ = (parameters(&bytes), silence(&bytes, 1));
            let _ = first_entry(&bytes);
            let mut tracks = [Track {
                kind: Kind::Video, id: 1, timescale: 1, defaults: Trex::default(), entry: Vec::new(),
                parameters: Vec::new(), silence: None, samples: Vec::new(), next: 0,
            }];
            let _ = add(&mut tracks, &boxed(b"traf", &bytes), 7);
        }
    }
}
