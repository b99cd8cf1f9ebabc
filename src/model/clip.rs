//! A clip: a stretch of one camera's footage as one file. What is read for it, decided from the index.

use super::{
    camera::{BadField, words},
    segment::{Codec, Segment, SegmentState},
    timeline::{JOIN_US, Range},
};
use crate::base::{CameraId, WallUs};

/// Longest range of a clip.
pub const CLIP_MAX_US: i64 = 24 * 3_600_000_000;

/// What a clip is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One MP4 file, with the camera's own bits.
    Mp4,
}

words!(Format { Mp4 = "mp4" });

/// Why there can be no clip of a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing is recorded there.
    #[error("there is no footage of `{camera}` from {} to {}", .asked.from.rfc3339(), .asked.to.rfc3339())]
    NoFootage {
        /// Whose.
        camera: CameraId,
        /// What was asked for.
        asked: Range,
    },
    /// One track of a file holds one codec.
    #[error("the pictures change from {} to {} at {}", .before.word(), .after.word(), .at.rfc3339())]
    CodecChanges {
        /// When.
        at: WallUs,
        /// Codec before.
        before: Codec,
        /// Codec after.
        after: Codec,
    },
}

/// A segment that a clip is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// As the index knew it; what grows later is not in the clip.
    pub segment: Segment,
    /// Frames that are shown at this time or later are left out.
    pub until: WallUs,
}

/// What a clip is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What was asked for.
    pub asked: Range,
    /// From the first picture to the end of the last one.
    pub footage: Range,
    /// In order of time.
    pub pieces: Vec<Piece>,
    /// Bytes that are about to be read.
    pub bytes_expected: u64,
    /// The longest time without footage between two pieces, in microseconds.
    pub longest_hole_us: i64,
}

/// A name for the file of a clip: `front_20261120_101500_20261120_111500.mp4`, in UTC.
pub fn file_name(camera: &CameraId, footage: Range) -> String {
    let time = |at: WallUs| at.utc().format("%Y%m%d_%H%M%S").to_string();
    format!("{camera}_{}_{}.mp4", time(footage.from), time(footage.to))
}

/// The range from `from` to `to`, if there may be a clip of it.
pub fn asked(from: WallUs, to: WallUs) -> Result<Range, BadField> {
    if from >= to {
        return Err(BadField::new("to", "must be later than `from`"));
    }
    if to.0.saturating_sub(from.0) > CLIP_MAX_US {
        return Err(BadField::new("to", "must be at most 24 hours after `from`"));
    }
    Ok(Range { from, to })
}

/// Plans a clip of `asked` from the segments that touch it, which are in order of their start.
pub fn plan(camera: &CameraId, asked: Range, segments: Vec<Segment>) -> Result<Plan, Refused> {
    let mut pieces: Vec<Piece> = Vec::new();
    for segment in segments {
        let facts = &segment.facts;
        let (start, end) = (facts.head.start, facts.end());
        if facts.state == SegmentState::Lost || end <= asked.from || start >= asked.to || end <= start {
            continue;
        }
        if let Some(last) = pieces.last_mut() {
            // Neighbours may overlap by what the timeline was pulled; more than that was recorded twice.
            if last.segment.facts.end().0 - start.0 > JOIN_US {
                last.until = last.until.min(start);
            }
            let (before, after) = (last.segment.facts.head.codec, facts.head.codec);
            if before != after {
                return Err(Refused::CodecChanges { at: start, before, after });
            }
        }
        pieces.push(Piece { segment, until: asked.to });
    }
    pieces.retain(|piece| piece.segment.facts.head.start < piece.until && piece.until > asked.from);
    let (Some(first), Some(end)) = (pieces.first(), pieces.iter().map(end_of).max()) else {
        return Err(Refused::NoFootage { camera: camera.clone(), asked });
    };
    let footage = Range { from: asked.from.max(first.segment.facts.head.start), to: end };
    let bytes_expected = pieces.iter().map(|piece| bytes_of(piece, asked)).sum();
    let hole = |pair: &[Piece]| pair[1].segment.facts.head.start.0 - end_of(&pair[0]).0;
    let longest_hole_us = pieces.windows(2).map(hole).max().unwrap_or(0).max(0);
    Ok(Plan { asked, footage, pieces, bytes_expected, longest_hole_us })
}

fn end_of(piece: &Piece) -> WallUs {
    piece.segment.facts.end().min(piece.until)
}

/// Its share of the segment's bytes, by time.
fn bytes_of(piece: &Piece, asked: Range) -> u64 {
    let facts = &piece.segment.facts;
    let wanted = end_of(piece).0 - facts.head.start.max(asked.from).0;
    let share = |us: i64| u128::try_from(us).unwrap_or(0);
    let bytes = u128::from(facts.extent.bytes) * share(wanted) / share(facts.extent.duration_us).max(1);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Profile,
        copies::Copies,
        segment::{Extent, SegmentFacts, SegmentHead, Source},
    };
    use proptest::{collection::vec, prelude::*};

    const S: i64 = 1_000_000;

    fn segment(id: i64, start: i64, seconds: i64, codec: Codec) -> Segment {
        let head = SegmentHead {
            camera: "a".parse().unwrap(),
            profile: Profile::Main,
            start: WallUs(start * S),
            codec,
            width: 640,
            height: 360,
            audio: None,
            source: Source::Live,
            only_mirror: false,
        };
        let extent = Extent { frames: 25, bytes: 1000, duration_us: seconds * S };
        let (path, state) = (format!("a/{id}.mp4"), SegmentState::Closed);
        let copies = Copies::on_primary(state.copy());
        Segment { id, facts: SegmentFacts { head, path, extent, state, hash: None }, copies, holds: 0 }
    }

    fn planned(from: i64, to: i64, segments: Vec<Segment>) -> Result<Plan, Refused> {
        let asked = asked(WallUs(from * S), WallUs(to * S)).unwrap();
        plan(&"a".parse().unwrap(), asked, segments)
    }

    #[test]
    fn ranges_have_an_order_and_a_bound() {
        let day = CLIP_MAX_US;
        assert!(asked(WallUs(0), WallUs(day)).is_ok());
        for (from, to) in [(1, 1), (2, 1), (0, day + 1), (i64::MIN, i64::MAX)] {
            assert_eq!(asked(WallUs(from), WallUs(to)).unwrap_err().field, "to", "{from} {to}");
        }
    }

    #[test]
    fn a_clip_is_of_what_is_there() {
        let mut lost = segment(3, 30, 10, Codec::H264);
        lost.facts.state = SegmentState::Lost;
        let all = vec![segment(1, 0, 10, Codec::H264), segment(2, 10, 10, Codec::H264), lost];
        let plan = planned(5, 100, all.clone()).unwrap();
        assert_eq!(plan.footage, Range { from: WallUs(5 * S), to: WallUs(20 * S) });
        assert_eq!(plan.pieces.iter().map(|piece| piece.segment.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((plan.bytes_expected, plan.longest_hole_us), (1500, 0));
        assert!(matches!(planned(20, 100, all), Err(Refused::NoFootage { .. })));
    }

    #[test]
    fn another_codec_is_refused_and_says_where() {
        let all = vec![segment(1, 0, 10, Codec::H264), segment(2, 10, 10, Codec::H265)];
        let refused = planned(0, 20, all).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the pictures change from h264 to h265 at 1970-01-01T00:00:10.000000Z"
        );
    }

    #[test]
    fn what_was_recorded_twice_is_taken_once() {
        let all = vec![segment(1, 0, 60, Codec::H264), segment(2, 30, 60, Codec::H264)];
        let plan = planned(0, 100, all).unwrap();
        assert_eq!(plan.pieces[0].until, WallUs(30 * S));
        let beside = vec![segment(1, 0, 60, Codec::H264), segment(2, 0, 60, Codec::H264)];
        assert_eq!(planned(0, 100, beside).unwrap().pieces.len(), 1);
    }

    proptest! {
        #[test]
        fn pieces_are_in_order_and_inside(parts in vec((0i64..200, 0i64..40), 0..20), from in 0i64..100, len in 1i64..200) {
            let mut parts = parts;
            parts.sort_unstable();
            let segments: Vec<Segment> = (1..).zip(&parts).map(|(id, (at, len))| segment(id, *at, *len, Codec::H264)).collect();
            let touched = segments.iter().any(|one| one.facts.end().0 > from * S && one.facts.head.start.0 < (from + len) * S
                && one.facts.extent.duration_us > 0);
            match planned(from, from + len, segments) {
                Ok(plan) => {
                    prop_assert!(plan.asked.from <= plan.footage.from && plan.footage.from < plan.footage.to && plan.footage.to <= plan.asked.to);
                    for pair in plan.pieces.windows(2) {
                        let [a, b] = pair else { unreachable!() };
                        prop_assert!(a.segment.facts.head.start <= b.segment.facts.head.start);
                        prop_assert!(end_of(a).0 - b.segment.facts.head.start.0 <= JOIN_US);
                    }
                }
                Err(refused) => prop_assert!(!touched, "{}", refused),
            }
        }
    }
}
