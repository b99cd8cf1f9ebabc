//! The index of a clip: tables that grow as samples are written, and become the `moov` at the end. Pure.

use mp4_atom::{
    Atom, Co64, Ctts, CttsEntry, Elst, ElstEntry, Encode as _, FixedPoint, FourCC, Hdlr, Mdhd, Mvhd, Smhd,
    Stsc, StscEntry, Stss, Stsz, StszSamples, Stts, SttsEntry, Tkhd, Vmhd,
};

use super::index::Kind;
use crate::base::WallUs;

/// From 1904, where the times of MP4 begin, to 1970.
const EPOCH_S: i64 = 2_082_844_800;

/// One track of a clip. About 12 bytes for each sample, and 16 for each fragment.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) kind: Kind,
    /// Ticks in a second.
    pub(super) timescale: u32,
    /// Sample entries, each once.
    entries: Vec<Vec<u8>>,
    durations: Vec<SttsEntry>,
    offsets: Vec<CttsEntry>,
    sizes: Vec<u32>,
    keys: Vec<u32>,
    chunks: Vec<u64>,
    chunk_sizes: Vec<StscEntry>,
    /// Sample entry and samples of the chunk that is being written.
    chunk: (u32, u32),
    /// Decoding times of the first sample and of the last, and how long that one lasts.
    span: Option<(i64, i64, u32)>,
}

/// What a table is told of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// When it is decoded, in ticks from where the clip begins to be shown.
    pub(super) dts: i64,
    /// So much later it is shown, in ticks.
    pub(super) offset: i32,
    pub(super) duration: u32,
    pub(super) bytes: u32,
    pub(super) key: bool,
}

impl Table {
    pub(super) fn new(kind: Kind, timescale: u32) -> Self {
        Self {
            kind,
            timescale,
            entries: Vec::new(),
            durations: Vec::new(),
            offsets: Vec::new(),
            sizes: Vec::new(),
            keys: Vec::new(),
            chunks: Vec::new(),
            chunk_sizes: Vec::new(),
            chunk: (0, 0),
            span: None,
        }
    }

    /// Whether samples of `entry` may stand in this track: players take one codec in a track.
    pub(super) fn takes(&self, entry: &[u8], timescale: u32) -> bool {
        let codec = |entry: &[u8]| entry.get(4..8).map(<[u8]>::to_vec);
        self.entries.first().is_none_or(|first| codec(first) == codec(entry)) && self.timescale == timescale
    }

    /// Where the next sample must not be before: times of decoding grow.
    pub(super) fn earliest(&self) -> i64 {
        self.span.map_or(i64::MIN, |(_, last, _)| last.saturating_add(1))
    }

    /// When the last sample is decoded, if there is one.
    pub(super) fn last(&self) -> Option<i64> {
        self.span.map(|(_, last, _)| last)
    }

    pub(super) fn samples(&self) -> usize {
        self.sizes.len()
    }

    /// Begins a run of samples that stand together at `at` of the clip's file.
    pub(super) fn chunk(&mut self, at: u64, entry: &[u8]) {
        self.end_chunk();
        let index = self.entries.iter().position(|known| known == entry).unwrap_or_else(|| {
            self.entries.push(entry.to_vec());
            self.entries.len() - 1
        });
        self.chunk = (count(index) + 1, 0);
        self.chunks.push(at);
    }

    fn end_chunk(&mut self) {
        let (sample_description_index, samples_per_chunk) = self.chunk;
        let same = self.chunk_sizes.last().is_some_and(|last| {
            (last.sample_description_index, last.samples_per_chunk)
                == (sample_description_index, samples_per_chunk)
        });
        if samples_per_chunk > 0 && !same {
            let first_chunk = count(self.chunks.len());
            self.chunk_sizes.push(StscEntry { first_chunk, samples_per_chunk, sample_description_index });
        }
    }

    /// Adds a sample to the chunk. It is decoded at [`Self::earliest`] or later; the one before lasts until then, and
    /// so stands still over a gap.
    pub(super) fn push(&mut self, Entry { dts, offset, duration, bytes, key }: Entry) {
        if let Some((_, last, _)) = self.span {
            self.lasts(u32::try_from(dts.saturating_sub(last)).unwrap_or(u32::MAX));
        }
        self.span = Some((self.span.map_or(dts, |(first, ..)| first), dts, duration));
        match self.offsets.last_mut() {
            Some(run) if run.sample_offset == offset => run.sample_count += 1,
            _ => self.offsets.push(CttsEntry { sample_count: 1, sample_offset: offset }),
        }
        self.sizes.push(bytes);
        if key {
            self.keys.push(count(self.sizes.len()));
        }
        self.chunk.1 += 1;
    }

    fn lasts(&mut self, duration: u32) {
        match self.durations.last_mut() {
            Some(run) if run.sample_delta == duration => run.sample_count += 1,
            _ => self.durations.push(SttsEntry { sample_count: 1, sample_delta: duration }),
        }
    }

    /// The `trak`; `None` without samples. The clip is shown for `shown` ticks of `movie` in a second.
    fn trak(mut self, id: u32, movie: u32, shown: u64) -> Option<Vec<u8>> {
        let (first, last, duration) = self.span?;
        self.end_chunk();
        self.lasts(duration);
        // The times of `ctts` have no sign in its first version, which is the one that everybody reads.
        let shift = self.offsets.iter().map(|run| run.sample_offset).min().unwrap_or(0).min(0);
        self.offsets.iter_mut().for_each(|run| run.sample_offset -= shift);
        let (is_video, creation_time) = (self.kind == Kind::Video, 0);
        let (width, height) = self.entries.first().filter(|_| is_video).map_or((0, 0), |entry| size(entry));
        let media = u64::try_from(last.saturating_sub(first)).unwrap_or(0) + u64::from(duration);
        let tkhd = Tkhd {
            creation_time,
            modification_time: creation_time,
            track_id: id,
            duration: shown,
            layer: 0,
            alternate_group: 0,
            enabled: true,
            volume: FixedPoint::new(u8::from(!is_video), 0),
            matrix: Default::default(),
            width: FixedPoint::new(width, 0),
            height: FixedPoint::new(height, 0),
        };
        let edit = |ticks: u64, media_time: u64| ElstEntry {
            segment_duration: ticks,
            media_time,
            media_rate: 1,
            media_rate_fraction: 0,
        };
        // What comes before the clip's begin is decoded and not shown; a track that begins later waits.
        let wait = scaled(first.max(0), self.timescale, movie).min(shown);
        let skip = u64::try_from(-first.min(0)).unwrap_or(0) + u64::from(shift.unsigned_abs());
        let ends = skip + scaled(i64::try_from(shown - wait).unwrap_or(i64::MAX), movie, self.timescale);
        // The last picture is shown later than it is decoded, by the shift.
        let last_shown = media + u64::from(shift.unsigned_abs());
        let rest = i64::try_from(ends.min(last_shown).saturating_sub(skip)).unwrap_or(0);
        let rest = scaled(rest, self.timescale, movie);
        let mut entries = vec![edit(rest.min(shown - wait), skip)];
        if wait > 0 {
            // The time -1 means nothing.
            entries.insert(0, edit(wait, u64::MAX));
        }
        let mdhd = Mdhd {
            creation_time,
            modification_time: creation_time,
            timescale: self.timescale,
            duration: media,
            language: "und".to_owned(),
        };
        let (handler, name) = if is_video { (b"vide", "VideoHandler") } else { (b"soun", "SoundHandler") };
        let hdlr = Hdlr { handler: FourCC::new(handler), name: name.to_owned() };
        let mut stsd = [0u32.to_be_bytes(), count(self.entries.len()).to_be_bytes()].concat();
        self.entries.iter().for_each(|entry| stsd.extend_from_slice(entry));
        let mut stbl = vec![boxed(b"stsd", &[&stsd]), atom(&Stts { entries: self.durations })];
        if self.offsets.iter().any(|run| run.sample_offset != 0) {
            stbl.push(atom(&Ctts { entries: self.offsets }));
        }
        if is_video {
            stbl.push(atom(&Stss { entries: self.keys }));
        }
        stbl.push(atom(&Stsc { entries: self.chunk_sizes }));
        stbl.push(atom(&Stsz { samples: StszSamples::Different { sizes: self.sizes } }));
        stbl.push(atom(&Co64 { entries: self.chunks }));
        let about = if is_video { atom(&Vmhd::default()) } else { atom(&Smhd::default()) };
        // A data reference to this very file (8.7.2).
        let dref = boxed(b"dref", &[&[0, 0, 0, 0, 0, 0, 0, 1], &boxed(b"url ", &[&[0, 0, 0, 1]])]);
        let stbl = boxed(b"stbl", &slices(&stbl));
        let minf = boxed(b"minf", &[&about, &boxed(b"dinf", &[&dref]), &stbl]);
        let mdia = boxed(b"mdia", &[&atom(&mdhd), &atom(&hdlr), &minf]);
        let edts = boxed(b"edts", &[&atom(&Elst { entries })]);
        Some(boxed(b"trak", &[&atom(&tkhd), &edts, &mdia]))
    }
}

/// The `moov` of a clip that begins at `start`, and how long it is shown, in microseconds. The first table is of the
/// pictures; it says how long.
pub(super) fn moov(tables: Vec<Table>, start: WallUs, longest_us: i64) -> (Vec<u8>, i64) {
    let movie = tables.first().map_or(1, |video| video.timescale);
    let end = tables
        .first()
        .and_then(|video| video.span)
        .map_or(0, |(_, last, length)| last.saturating_add(length.into()));
    let shown_us = longest_us.min(us(end, movie)).max(0);
    let shown = ticks(shown_us, movie);
    let created = u64::try_from(start.0.div_euclid(1_000_000) + EPOCH_S).unwrap_or(0);
    let mvhd = Mvhd {
        creation_time: created,
        modification_time: created,
        timescale: movie,
        duration: u64::try_from(shown).unwrap_or(0),
        rate: FixedPoint::new(1, 0),
        volume: FixedPoint::new(1, 0),
        matrix: Default::default(),
        next_track_id: count(tables.len()) + 1,
    };
    let mut parts = vec![atom(&mvhd)];
    for (id, table) in (1..).zip(tables) {
        parts.extend(table.trak(id, movie, u64::try_from(shown).unwrap_or(0)));
    }
    (boxed(b"moov", &slices(&parts)), shown_us)
}

/// Microseconds as ticks, rounded.
pub(super) fn ticks(us: i64, timescale: u32) -> i64 {
    let scaled = (i128::from(us) * i128::from(timescale) + 500_000).div_euclid(1_000_000);
    i64::try_from(scaled).unwrap_or(if us < 0 { i64::MIN } else { i64::MAX })
}

/// Ticks as microseconds.
pub(super) fn us(ticks: i64, timescale: u32) -> i64 {
    i64::try_from(i128::from(ticks) * 1_000_000 / i128::from(timescale)).unwrap_or(i64::MAX)
}

fn scaled(ticks: i64, from: u32, to: u32) -> u64 {
    u64::try_from(i128::from(ticks) * i128::from(to) / i128::from(from)).unwrap_or(0)
}

/// Width and height in a video sample entry (12.1.3).
fn size(entry: &[u8]) -> (u16, u16) {
    let at = |at: usize| entry.get(at..at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]));
    (at(32), at(34))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&count(length).to_be_bytes());
    out.extend_from_slice(kind);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn atom(atom: &impl Atom) -> Vec<u8> {
    let mut out = Vec::new();
    // Fails only for boxes of more than 4 GiB; a day's tables have some 30 MiB.
    let _ = atom.encode(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::boxes::{child, children, read};
    use proptest::{collection::vec, prelude::*};

    const HZ: u32 = 90_000;

    fn path<'a>(mut body: &'a [u8], names: &[&'static str]) -> &'a [u8] {
        for name in names {
            body = child(body, name).unwrap();
        }
        body
    }

    fn stbl(moov: &[u8]) -> &[u8] {
        path(&moov[8..], &["trak", "mdia", "minf", "stbl"])
    }

    fn edits(moov: &[u8]) -> Vec<(u64, i64)> {
        let elst: Elst = read(path(&moov[8..], &["trak", "edts", "elst"])).unwrap();
        elst.entries.iter().map(|edit| (edit.segment_duration, edit.media_time.cast_signed())).collect()
    }

    fn entry(dts: i64, offset: i32, key: bool) -> Entry {
        Entry { dts, offset, duration: 3600, bytes: 100, key }
    }

    #[test]
    fn the_cut_is_exact_and_a_gap_is_a_long_sample() {
        let mut table = Table::new(Kind::Video, HZ);
        table.chunk(1000, b"\0\0\0\x0cavc1....");
        [-7200, -3600, 0, 3600].iter().for_each(|dts| table.push(entry(*dts, 0, *dts == -7200)));
        // Ten seconds of nothing, and other parameters.
        table.chunk(5000, b"\0\0\0\x0cavc1,,,,");
        [903_600, 907_200].iter().for_each(|dts| table.push(entry(*dts, 0, *dts == 903_600)));
        let (moov, shown_us) = moov(vec![table], WallUs(0), 10_100_000);
        assert_eq!(shown_us, 10_100_000);
        assert_eq!(edits(&moov), [(909_000, 7200)]);
        let stts: Stts = read(child(stbl(&moov), "stts").unwrap()).unwrap();
        let runs: Vec<_> = stts.entries.iter().map(|run| (run.sample_count, run.sample_delta)).collect();
        assert_eq!(runs, [(3, 3600), (1, 900_000), (2, 3600)]);
        let stsc: Stsc = read(child(stbl(&moov), "stsc").unwrap()).unwrap();
        let chunks: Vec<_> = stsc
            .entries
            .iter()
            .map(|run| (run.first_chunk, run.samples_per_chunk, run.sample_description_index))
            .collect();
        assert_eq!(chunks, [(1, 4, 1), (2, 2, 2)]);
        let stss: Stss = read(child(stbl(&moov), "stss").unwrap()).unwrap();
        assert_eq!(stss.entries, [1, 5]);
        assert_eq!(children(&child(stbl(&moov), "stsd").unwrap()[8..]).count(), 2);
    }

    #[test]
    fn reordered_pictures_are_shown_to_the_end_and_late_sound_waits() {
        let mut video = Table::new(Kind::Video, HZ);
        video.chunk(0, b"\0\0\0\x0cavc1....");
        // Shown at 0, 7200, 3600: the last is decoded last and shown before.
        [(0, 0), (3600, 3600), (7200, -3600)]
            .iter()
            .for_each(|(dts, offset)| video.push(entry(*dts, *offset, *dts == 0)));
        let mut sound = Table::new(Kind::Sound, 16_000);
        sound.chunk(300, b"\0\0\0\x0cmp4a....");
        sound.push(Entry { dts: 160, offset: 0, duration: 1024, bytes: 10, key: true });
        assert!(sound.takes(b"\0\0\0\x0cmp4a,,,,", 16_000) && !sound.takes(b"\0\0\0\x0cOpus....", 16_000));
        let (moov, shown_us) = moov(vec![video, sound], WallUs(0), 1_000_000);
        assert_eq!(shown_us, 120_000);
        let all: Vec<_> =
            children(&moov[8..]).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body).collect();
        let of = |trak: &[u8]| -> Vec<(u64, i64)> {
            let elst: Elst = read(path(trak, &["edts", "elst"])).unwrap();
            elst.entries.iter().map(|edit| (edit.segment_duration, edit.media_time.cast_signed())).collect()
        };
        assert_eq!(of(all[0]), [(10_800, 3600)]);
        assert_eq!(of(all[1]), [(900, -1), (5760, 0)]);
    }

    proptest! {
        #[test]
        fn every_sample_and_every_tick_is_accounted_for(steps in vec((1i64..10_000_000, 1u32..500, any::<bool>()), 1..60)) {
            let mut table = Table::new(Kind::Video, HZ);
            let (mut at, mut bytes) = (0, 0u64);
            for (step, size, begins) in &steps {
                if *begins || bytes == 0 {
                    table.chunk(bytes, b"\0\0\0\x0cavc1....");
                }
                at = (at + step).max(table.earliest());
                table.push(Entry { dts: at, offset: 0, duration: 3600, bytes: *size, key: true });
                bytes += u64::from(*size);
            }
            let (moov, _) = moov(vec![table], WallUs(0), i64::MAX);
            let stts: Stts = read(child(stbl(&moov), "stts").unwrap()).unwrap();
            let (count, ticks) = stts.entries.iter().fold((0u64, 0u64), |(count, ticks), run| {
                (count + u64::from(run.sample_count), ticks + u64::from(run.sample_count) * u64::from(run.sample_delta))
            });
            prop_assert_eq!(count, steps.len() as u64);
            prop_assert_eq!(ticks, u64::try_from(at - steps[0].0).unwrap() + 3600);
            let mdhd: Mdhd = read(path(&moov[8..], &["trak", "mdia", "mdhd"])).unwrap();
            prop_assert_eq!(mdhd.duration, ticks);
            let stsz: Stsz = read(child(stbl(&moov), "stsz").unwrap()).unwrap();
            let StszSamples::Different { sizes } = stsz.samples else { panic!() };
            prop_assert_eq!(sizes.iter().map(|size| u64::from(*size)).sum::<u64>(), bytes);
            let co64: Co64 = read(child(stbl(&moov), "co64").unwrap()).unwrap();
            prop_assert_eq!(co64.entries.len(), 1 + steps.iter().skip(1).filter(|step| step.2).count());
        }
    }
}
