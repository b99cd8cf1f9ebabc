//! A stretch of footage as one MP4 file, made as it is read: the samples of one segment after the other, as they are,
//! then the index of all of them. Needs no room on any disk, and keeps about 12 bytes for each sample in memory.
//!
//! Not fragmented, because players take several sets of parameters in one track only from a plain index: ffmpeg 5.1
//! passes over the sample description of a fragment. Parameter sets are repeated before each keyframe all the same:
//! Chromium and ffmpeg's own parser do not look at the second sample description either. No NAL unit is changed.
//!
//! Times are those of the host's clock. The last frame before a gap is shown until it is over; a gap in the sound is
//! filled with silence, because Chromium plays sound without a pause, and what follows would come too early. What is
//! decoded before the first picture that was asked for is there and not shown (edit list).

mod index;
mod tables;

use std::{ops::Range as Span, os::unix::fs::FileExt as _};

use bytes::{Bytes, BytesMut};
use rustix::fs::{Advice, fadvise};

use self::{
    index::{Kind, Sample, Track},
    tables::{Entry, Table, ticks, us},
};
use super::{Error, boxes::HEADER_MAX, failed, measure::BOXES_MAX, volume::OpenFile};
use crate::{
    base::WallUs,
    model::{segment::Hash, timeline::Range},
};

/// Bytes that are handed on at once.
const BLOCK_BYTES: usize = 512 * 1024;
/// RTP's clock, and the muxer's.
const VIDEO_HZ: u32 = 90_000;
/// For clips with a gap that is too long for RTP's clock: a sample's length has 32 bits, of which one may be a sign.
const COARSE_HZ: u32 = 10_000;
const COARSE_FROM_US: i64 = 6 * 3_600_000_000;
/// An hour at 240 frames a second, with sound, twice over.
const SAMPLES_MAX: usize = 2_000_000;
/// More packets of silence than a day has, of 20 ms each; a damaged time asks for more.
const SILENCE_MAX: i64 = 4_500_000;
/// `ftyp`: a plain MP4.
const FTYP: &[u8] = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41";

/// A segment that a clip is made of.
#[derive(Clone, Debug)]
pub struct Source {
    /// Path below the volume's root.
    pub path: String,
    /// Time of its first frame.
    pub start: WallUs,
    /// Frames that are shown at this time or later are left out.
    pub until: WallUs,
    /// So much of the file is whole.
    pub bytes: u64,
}

/// Nobody wants more of the clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes the clip any more")]
pub struct Stopped;

/// Why a clip was not written to its end.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Nobody wants more of it.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A segment could not be read.
    #[error(transparent)]
    Disk(#[from] Error),
    /// None of the segments holds a picture of the range.
    #[error("none of the segments could be read: {0}")]
    Nothing(String),
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Length of the file.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub hash: Hash,
    /// Pictures in the file, those before the begin too.
    pub frames: u64,
    /// How long it is shown, in microseconds.
    pub duration_us: i64,
    /// Time of the keyframe that the file begins with.
    pub data_from: WallUs,
    /// Sources of which nothing, or not all, is in the file, and why.
    pub left_out: Vec<(usize, String)>,
    /// Sources whose sound is not in the file, because it is of another kind than the first.
    pub silent: Vec<usize>,
}

/// Writes what `sources` hold of `footage`, which are in order of time, block by block to `put`. `longest_hole_us` is
/// the longest time between two of them. A source that is gone or damaged is left out, and said so.
pub fn write_clip(
    footage: Range,
    longest_hole_us: i64,
    sources: &[Source],
    open: impl Fn(&str) -> Result<OpenFile, Error>,
    put: impl FnMut(Bytes) -> Result<(), Stopped>,
) -> Result<Written, ClipError> {
    let timescale = if longest_hole_us < COARSE_FROM_US { VIDEO_HZ } else { COARSE_HZ };
    let out = Out { put, hasher: blake3::Hasher::new(), block: BytesMut::new(), at: 0 };
    let mut clip = Clip { footage, video: Table::new(Kind::Video, timescale), sound: None, out };
    let (mut data_from, mut left_out, mut silent) = (None, Vec::new(), Vec::new());
    clip.out.bytes(FTYP)?;
    clip.out.flush()?;
    for (number, source) in sources.iter().enumerate() {
        let found = open(&source.path).and_then(|file| Ok((tracks(&file, source)?, file)));
        let (tracks, file) = match found {
            Ok(((tracks, torn), file)) => {
                left_out.extend(torn.map(|why| (number, why)));
                (tracks, file)
            }
            Err(error @ Error::Io { .. }) => return Err(error.into()),
            Err(error) => {
                left_out.push((number, error.to_string()));
                continue;
            }
        };
        let Some(part) = clip.part(source, &tracks, data_from.is_none()) else {
            left_out.push((number, "it holds no picture of the range, or another codec".to_owned()));
            continue;
        };
        if part.is_silenced {
            silent.push(number);
        }
        data_from.get_or_insert(part.begins);
        clip.copy(&source.path, &file, &part)?;
        // What is exported once is seldom read again, and is not to displace what is.
        let _ = fadvise(&file.file, 0, None, Advice::DontNeed);
    }
    let Some(data_from) = data_from else {
        let why = left_out.into_iter().next().map(|(_, why)| why);
        return Err(ClipError::Nothing(why.unwrap_or_else(|| "there is none".to_owned())));
    };
    let Clip { video, sound, mut out, .. } = clip;
    let frames = video.samples() as u64;
    let tables = std::iter::once(video).chain(sound).collect();
    let (moov, duration_us) = tables::moov(tables, footage.from, footage.to.0 - footage.from.0);
    out.bytes(&moov)?;
    out.flush()?;
    let hash = Hash(*out.hasher.finalize().as_bytes());
    Ok(Written { bytes: out.at, hash, frames, duration_us, data_from, left_out, silent })
}

/// The tracks of a segment with their samples, as far as it is whole; and why not all of it is.
fn tracks(open: &OpenFile, source: &Source) -> Result<(Vec<Track>, Option<String>), Error> {
    let path = source.path.as_str();
    let limit = open.bytes.min(source.bytes);
    let (mut tracks, mut fragment, mut at) = (Vec::new(), None, 0);
    let mut torn = (limit < source.bytes).then(|| format!("it has {limit} of {} bytes", source.bytes));
    for _ in 0..BOXES_MAX {
        let next = match open.header(path, at)? {
            Some(Ok(next)) => next,
            Some(Err(bad)) => {
                torn = Some(format!("from byte {at} on it cannot be read: {bad}"));
                break;
            }
            None => break,
        };
        let Some(end) = at.checked_add(next.bytes).filter(|end| *end <= limit) else { break };
        let known = match &next.kind {
            b"moov" | b"moof" => {
                let body = open.read(path, at + next.header, next.bytes - next.header)?;
                if &next.kind == b"moov" && tracks.is_empty() {
                    index::tracks(&body).map(|found| tracks = found)
                } else {
                    fragment = Some((body, at));
                    Ok(())
                }
            }
            b"mdat" => match fragment.take() {
                Some((moof, moof_at)) => index::add(&mut tracks, &moof, moof_at),
                None => Ok(()),
            },
            _ => Ok(()),
        };
        let samples: usize = tracks.iter().map(|track: &Track| track.samples.len()).sum();
        if let Err(bad) = known {
            torn = Some(format!("from byte {at} on it cannot be read: {bad}"));
            break;
        } else if samples > SAMPLES_MAX {
            torn = Some(format!("from byte {at} on it has more samples than an hour can have"));
            break;
        }
        at = end;
    }
    // Whatever a damaged index says, nothing beyond the file is read.
    for track in &mut tracks {
        track.samples.retain(|sample| sample.at.saturating_add(sample.bytes.into()) <= limit);
    }
    if tracks.iter().all(|track| track.samples.is_empty()) {
        let why = torn.unwrap_or_else(|| "it holds no whole fragment".to_owned());
        return Err(Error::NotOurs { path: path.into(), why });
    }
    Ok((tracks, torn))
}

/// What of a segment goes into the clip.
struct Part<'a> {
    /// In the order in which they stand in the segment.
    samples: Vec<Chosen<'a>>,
    begins: WallUs,
    /// It has sound, and that is left out.
    is_silenced: bool,
}

struct Chosen<'a> {
    track: &'a Track,
    sample: &'a Sample,
    /// Its place in the clip.
    entry: Entry,
    /// So many packets of silence come before it.
    silent: u32,
}

struct Clip<P> {
    footage: Range,
    video: Table,
    sound: Option<Table>,
    out: Out<P>,
}

impl<P: FnMut(Bytes) -> Result<(), Stopped>> Clip<P> {
    /// Chooses samples: from the last keyframe that is shown at the begin of the footage, if this is the first part; up
    /// to the last picture that is shown before the end.
    fn part<'a>(&mut self, source: &Source, tracks: &'a [Track], is_first: bool) -> Option<Part<'a>> {
        let video = tracks.iter().find(|track| track.kind == Kind::Video)?;
        let zero = video.samples.first()?;
        // The file says the time of its first picture; all else stands in relation to that.
        let shown = |sample: &Sample| {
            source.start.plus_us(us(sample.pts().saturating_sub(zero.pts()), video.timescale))
        };
        let from = if is_first { self.footage.from } else { source.start };
        let is_begin = |sample: &Sample| sample.key && shown(sample) <= from;
        let first = video
            .samples
            .iter()
            .rposition(is_begin)
            .or_else(|| video.samples.iter().position(|sample| sample.key))?;
        let end =
            video.samples.iter().rposition(|sample| shown(sample) < source.until.min(self.footage.to))? + 1;
        let chosen = video.samples.get(first..end).filter(|chosen| !chosen.is_empty())?;
        if !self.video.takes(&video.entry, self.video.timescale) {
            return None;
        }
        let begins = shown(&chosen[0]);
        let start_us = source.start.0 - self.footage.from.0;
        let entries = timed(&self.video, video, chosen, start_us, (video.timescale, zero));
        let picture = |(sample, entry)| Chosen { track: video, sample, entry, silent: 0 };
        let mut samples: Vec<_> = chosen.iter().zip(entries).map(picture).collect();
        let sound = tracks.iter().find(|track| track.kind == Kind::Sound && !track.samples.is_empty());
        let mut is_silenced = false;
        if let Some(track) = sound {
            let table = self.sound.get_or_insert_with(|| Table::new(Kind::Sound, track.timescale));
            is_silenced = !table.takes(&track.entry, track.timescale);
            let from_us = from.0.max(self.footage.from.0) - source.start.0;
            let to_us = source.until.min(self.footage.to).0 - source.start.0;
            let zero_us = us(i64::try_from(zero.dts).unwrap_or(0), video.timescale);
            let heard = heard(track, from_us + zero_us..to_us + zero_us);
            if !is_silenced {
                let entries = timed(table, track, heard, start_us, (video.timescale, zero));
                let mut last = table.last();
                samples.extend(heard.iter().zip(entries).map(|(sample, entry)| {
                    let silent = last.map_or(0, |last| packets(track, last, entry.dts));
                    last = Some(entry.dts);
                    Chosen { track, sample, entry, silent }
                }));
                samples.sort_by_key(|chosen| chosen.sample.at);
            }
        }
        Some(Part { samples, begins, is_silenced })
    }

    /// Copies the samples into an `mdat` of their own.
    fn copy(&mut self, path: &str, file: &OpenFile, part: &Part<'_>) -> Result<(), ClipError> {
        let _ = fadvise(&file.file, 0, None, Advice::Sequential);
        let length = |chosen: &Chosen<'_>| {
            let silence = chosen.track.silence.map_or(0, |silence| silence.packet.len() as u64);
            u64::from(chosen.entry.bytes) + u64::from(chosen.silent) * silence
        };
        let length: u64 = part.samples.iter().map(length).sum();
        self.out.bytes(
            &[&1u32.to_be_bytes()[..], b"mdat", &(length + HEADER_MAX as u64).to_be_bytes()].concat(),
        )?;
        let mut ended: Option<(Kind, u64)> = None;
        for Chosen { track, sample, entry, silent } in &part.samples {
            let table = match track.kind {
                Kind::Video => &mut self.video,
                Kind::Sound => self.sound.get_or_insert_with(|| Table::new(Kind::Sound, track.timescale)),
            };
            if let Some(silence) = track.silence.filter(|_| *silent > 0) {
                table.chunk(self.out.at, &track.entry);
                let duration = silence.duration;
                let bytes = silence.packet.len().try_into().unwrap_or(0);
                for left in (1..=*silent).rev() {
                    let dts =
                        entry.dts.saturating_sub(i64::from(left) * i64::from(duration)).max(table.earliest());
                    table.push(Entry { dts, offset: 0, duration, bytes, key: true });
                    self.out.bytes(silence.packet)?;
                }
                ended = None;
            }
            if ended != Some((track.kind, sample.at)) {
                table.chunk(self.out.at, &track.entry);
            }
            table.push(*entry);
            ended = Some((track.kind, sample.at + u64::from(sample.bytes)));
            let (mut at, end) = (sample.at, sample.at + u64::from(sample.bytes));
            if sample.key && !track.parameters.is_empty() {
                let delimiter = delimiter(path, file, sample)?;
                self.out.copy(path, file, at..at + delimiter)?;
                self.out.bytes(&track.parameters)?;
                at += delimiter;
            }
            self.out.copy(path, file, at..end)?;
        }
        Ok(())
    }
}

/// Bytes of the access unit delimiter that a frame begins with: parameter sets come after it.
fn delimiter(path: &str, file: &OpenFile, sample: &Sample) -> Result<u64, Error> {
    let mut head = [0; 5];
    if sample.bytes as usize <= head.len() {
        return Ok(0);
    }
    file.file.read_exact_at(&mut head, sample.at).map_err(|source| failed("read", path, source))?;
    let [a, b, c, d, unit] = head;
    let length = u32::from_be_bytes([a, b, c, d]).saturating_add(4);
    // Type 9 of H.264, and 35 of H.265, of which H.264 has none of this length.
    let is_delimiter = unit & 0x1f == 9 && length == 6 || unit >> 1 & 0x3f == 35 && length == 7;
    Ok(if is_delimiter && length < sample.bytes { length.into() } else { 0 })
}

/// How many packets of silence make up the time from the end of the piece of sound at `last` to `next`, to the nearest.
fn packets(track: &Track, last: i64, next: i64) -> u32 {
    let Some(silence) = track.silence else { return 0 };
    let duration = i64::from(silence.duration).max(1);
    let count = next.saturating_sub(last).saturating_sub(duration / 2) / duration;
    u32::try_from(count.min(SILENCE_MAX)).unwrap_or(0)
}

/// The sound of these microseconds of a file's time, and the piece before, which decoders need.
fn heard(track: &Track, span: Span<i64>) -> &[Sample] {
    let at = |ticks: u64| us(i64::try_from(ticks).unwrap_or(i64::MAX), track.timescale);
    let first = track
        .samples
        .partition_point(|sample| at(sample.dts.saturating_add(sample.duration.into())) <= span.start);
    let end = track.samples.partition_point(|sample| at(sample.dts) < span.end);
    track.samples.get(first.saturating_sub(1)..end).unwrap_or_default()
}

/// Times of samples in the clip, of a file that begins `start_us` after the clip. `zero` is the file's first picture,
/// with the clock that its time is of. Distances are those of the file; all of them come later if the file begins
/// before the one before it ends.
fn timed(
    table: &Table,
    track: &Track,
    samples: &[Sample],
    start_us: i64,
    zero: (u32, &Sample),
) -> Vec<Entry> {
    let (hz, first) = zero;
    let of = |ticks: i128, from: u32| -> i64 {
        let scaled =
            (ticks * i128::from(table.timescale) * 2 + i128::from(from)).div_euclid(2 * i128::from(from));
        i64::try_from(scaled).unwrap_or(i64::MAX)
    };
    let base = ticks(start_us, table.timescale).saturating_sub(of(first.dts.into(), hz));
    // A picture that is reordered comes later than it is decoded; the first one is at the file's time.
    let reordered = if track.kind == Kind::Video { i64::from(first.offset) } else { 0 };
    let mut earliest = table.earliest();
    let mut late = 0;
    let mut entries = Vec::with_capacity(samples.len());
    for sample in samples {
        let dts = base.saturating_add(of(sample.dts.into(), track.timescale));
        late = late.max(earliest.saturating_sub(dts));
        let offset = of((i64::from(sample.offset) - reordered).into(), track.timescale);
        let added = if sample.key { track.parameters.len() } else { 0 };
        let entry = Entry {
            dts: dts.saturating_add(late),
            offset: i32::try_from(offset).unwrap_or(0),
            duration: u32::try_from(of(sample.duration.into(), track.timescale)).unwrap_or(0),
            bytes: sample.bytes.saturating_add(u32::try_from(added).unwrap_or(0)),
            key: sample.key,
        };
        earliest = entry.dts.saturating_add(1);
        entries.push(entry);
    }
    entries
}

/// The clip's file.
struct Out<P> {
    put: P,
    hasher: blake3::Hasher,
    block: BytesMut,
    /// Length so far.
    at: u64,
}

impl<P: FnMut(Bytes) -> Result<(), Stopped>> Out<P> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        for part in bytes.chunks(BLOCK_BYTES) {
            self.room(part.len())?;
            self.block.extend_from_slice(part);
            self.at += part.len() as u64;
        }
        Ok(())
    }

    fn copy(&mut self, path: &str, from: &OpenFile, span: Span<u64>) -> Result<(), ClipError> {
        let mut at = span.start;
        while at < span.end {
            self.room(1)?;
            let (begin, room) = (self.block.len(), BLOCK_BYTES.saturating_sub(self.block.len()));
            let count = room.min(usize::try_from(span.end - at).unwrap_or(room));
            self.block.resize(begin + count, 0);
            let read = from.file.read_exact_at(&mut self.block[begin..], at);
            read.map_err(|source| failed("read", path, source))?;
            at += count as u64;
            self.at += count as u64;
        }
        Ok(())
    }

    fn room(&mut self, bytes: usize) -> Result<(), Stopped> {
        if self.block.len() + bytes > BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        let block = std::mem::replace(&mut self.block, BytesMut::with_capacity(BLOCK_BYTES)).freeze();
        self.hasher.update(&block);
        (self.put)(block)
    }
}
