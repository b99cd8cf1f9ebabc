//! What stands in the index and on disk of a camera whose gaps were fetched, read back with other tools.

use std::{fs, path::Path};

use watchkeeper::{
    base::WallUs,
    model::segment::{Segment, SegmentState, Source},
};

use crate::{
    rig::Rig,
    sim::{frames, proof, stamp::Stamp},
};

/// Frames come 25 times a second.
pub(crate) const FRAME_US: i64 = 40_000;
/// Footage is at its true times to this, if the live recording beside it is.
pub(crate) const TRUE_TO_US: i64 = 100_000;
/// And as far off as that, to this: half a frame.
const LIKE_LIVE_US: i64 = FRAME_US / 2;
/// Times in files have 90 ticks a millisecond.
const ROUNDING_US: i64 = 50;
/// Within what was fetched, intervals differ by what a camera's times are rounded to.
const JITTER_US: i64 = 1_000;

/// What is in the index of a camera, read back with other tools: no two segments overlap, every frame stands in one place, what was
/// fetched between what was live, and every file plays alone. The numbers of what was live and of what was fetched, in order.
pub(crate) struct Read {
    pub(crate) live: Vec<u64>,
    pub(crate) fetched: Vec<u64>,
    /// How far the times of fetched frames are off the true ones at most.
    pub(crate) off_us: i64,
}

pub(crate) async fn read_back(rig: &Rig, name: &str) -> Read {
    let segments = rig.segments(name).await;
    assert_eq!(rig.files(name).len(), segments.len(), "{name}: a row for each file");
    read_segments(name, &rig.settings.recordings_dir, segments, true)
}

/// `hashed`: nothing was killed, so that all are.
pub(crate) fn read_segments(name: &str, recordings: &Path, mut segments: Vec<Segment>, hashed: bool) -> Read {
    segments.sort_by_key(|segment| segment.facts.head.start);
    let at = |segment: &Segment| (segment.facts.head.start, segment.facts.end(), segment.facts.head.source);
    let all: Vec<_> = segments.iter().map(at).collect();
    for two in segments.windows(2) {
        let over_us = two[0].facts.end().0 - two[1].facts.head.start.0;
        // A live recording follows the camera's clock at each keyframe, by less than this.
        let most_us = match (two[0].facts.head.source, two[1].facts.head.source) {
            (Source::Live, Source::Live) => FRAME_US / 4,
            (Source::Refill, Source::Refill) => JITTER_US,
            _ => ROUNDING_US,
        };
        assert!(over_us <= most_us, "{name}: {over_us} µs of overlap in {all:#?}");
    }
    let (mut live, mut fetched) = (Vec::new(), Vec::new());
    // How far the times of each segment's frames are off, at least and at most.
    let mut offs = Vec::new();
    for segment in &segments {
        assert_eq!(segment.facts.state, SegmentState::Closed, "{name}: {segment:#?}");
        assert!(segment.facts.hash.is_some() || !hashed, "{name}: {segment:#?}");
        let path = recordings.join(&segment.facts.path);
        let stamps = frames::played(&path).unwrap();
        let numbers: Vec<u64> = stamps.iter().map(|stamp| stamp.number).collect();
        proof::prove_contiguous(&numbers).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
        assert_eq!(segment.facts.extent.frames, numbers.len() as u64, "{name}: {segment:#?}");
        match segment.facts.head.source {
            Source::Live => {
                let off = |at: WallUs, stamp: Option<&Stamp>| at.0 - stamp.unwrap().capture_us.cast_signed();
                let end = segment.facts.end().plus_us(-FRAME_US);
                offs.push((off(segment.facts.head.start, stamps.first()), off(end, stamps.last())));
                live.extend(numbers);
            }
            Source::Refill => {
                offs.push(times_off(segment, &path));
                fetched.extend(numbers);
            }
        }
    }
    let is_live = |n: &usize| segments[*n].facts.head.source == Source::Live;
    let mut off_us = 0;
    for (n, (least, most)) in offs.iter().enumerate().filter(|(n, _)| !is_live(n)) {
        let before = (0..n).rev().find(is_live).map(|n| offs[n].1);
        let after = (n..offs.len()).find(is_live).map(|n| offs[n].0);
        let (low, high) = (before.min(after).or(after), before.max(after));
        let fits = low.is_some_and(|low| *least >= low - LIKE_LIVE_US)
            && high.is_some_and(|high| *most <= high + LIKE_LIVE_US);
        assert!(
            fits,
            "{name}: {least} to {most} µs off, live footage {before:?} and {after:?}: {:#?}",
            segments[n]
        );
        off_us = off_us.max(least.abs()).max(most.abs());
    }
    let mut both = [&live[..], &fetched].concat();
    both.sort_unstable();
    assert!(both.windows(2).all(|two| two[0] < two[1]), "{name}: a frame stands twice: {both:?}");
    let temporary = fs::read_dir(recordings.join(name)).unwrap();
    let other: Vec<_> = temporary.map(|entry| entry.unwrap().path()).collect();
    assert!(other.iter().all(|path| path.extension().is_some_and(|end| end == "mp4")), "{other:?}");
    Read { live, fetched, off_us }
}

/// How far the times of a segment's frames are off the true ones, at least and at most.
fn times_off(segment: &Segment, path: &Path) -> (i64, i64) {
    let timed = frames::timeline_in(path).unwrap();
    let off = |frame: &frames::Timed| {
        segment.facts.head.start.0 + (frame.pts_s * 1e6) as i64 - frame.stamp.capture_us.cast_signed()
    };
    let offs = || timed.iter().map(off);
    (offs().min().unwrap(), offs().max().unwrap())
}

impl Read {
    /// The frames between the last live one before an outage and the first after it: how many, and how many came.
    pub(crate) fn missing(&self) -> (u64, u64) {
        let holes = self.live.windows(2).map(|two| two[0] + 1..two[1]);
        let numbers: Vec<u64> = holes.flatten().collect();
        (numbers.len() as u64, numbers.iter().filter(|number| self.fetched.contains(number)).count() as u64)
    }
}
