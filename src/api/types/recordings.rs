//! Segments and recorded time.

use serde::Serialize;
use utoipa::ToSchema;

use super::{AudioWord, CodecWord, CopyWord, ProfileWord, SegmentStateWord, SourceWord, Time, Word};
use crate::{
    model::{self, segment::SegmentHead, timeline::Range},
    run,
};

/// One recorded MP4 file.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Segment {
    id: i64,
    camera_id: String,
    profile: ProfileWord,
    state: SegmentStateWord,
    /// Time of its first frame.
    start: Time,
    /// When its last frame ends.
    end: Time,
    duration_s: f64,
    frames: u64,
    /// Size of the file; of an open segment, of its whole fragments.
    bytes: u64,
    codec: CodecWord,
    width: u32,
    height: u32,
    /// Encoding of the sound in the file; null without.
    audio: Option<AudioWord>,
    source: SourceWord,
    /// BLAKE3 of the file, computed while it was written; null while it grows, and if a kill ended it.
    #[schema(min_length = 64, max_length = 64)]
    hash: Option<String>,
    /// What each volume has of it.
    copies: Copies,
    /// So many holds protect it from being deleted.
    holds: u32,
    /// Path below the directory of recordings.
    file: String,
    /// Where the file is served.
    url: String,
}

impl From<&model::segment::Segment> for Segment {
    fn from(segment: &model::segment::Segment) -> Self {
        let model::segment::Segment { id, facts, copies, holds } = segment;
        let end = facts.end();
        let model::segment::SegmentFacts { head, path, extent, state, hash } = facts;
        // That it is for the mirror alone, its copies tell.
        let SegmentHead { camera, profile, start, codec, width, height, audio, source, only_mirror: _ } =
            head;
        let model::segment::Extent { frames, bytes, duration_us } = extent;
        Self {
            id: *id,
            camera_id: camera.to_string(),
            profile: Word(*profile),
            state: Word(*state),
            start: Time(*start),
            end: Time(end),
            duration_s: std::time::Duration::from_micros(u64::try_from(*duration_us).unwrap_or(0))
                .as_secs_f64(),
            frames: *frames,
            bytes: *bytes,
            codec: Word(*codec),
            width: *width,
            height: *height,
            audio: audio.map(Word),
            source: Word(*source),
            hash: hash.map(|hash| hash.to_string()),
            copies: Copies { primary: Word(copies.primary), mirror: Word(copies.mirror) },
            holds: *holds,
            file: path.clone(),
            url: format!("/api/v1/segments/{id}.mp4"),
        }
    }
}

/// What each volume has of a segment: `whole` is the same bytes as were recorded, `absent` and `suspect` are copied from the
/// other volume, `pruned` was let go by its own retention, `unwanted` was recorded for the mirror alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
struct Copies {
    primary: CopyWord,
    /// `absent` too where there is no mirror.
    mirror: CopyWord,
}

/// One page of segments, oldest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SegmentList {
    segments: Vec<Segment>,
    /// `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<i64>,
}

impl From<&run::SegmentPage> for SegmentList {
    fn from(page: &run::SegmentPage) -> Self {
        let run::SegmentPage { segments, next } = page;
        Self { segments: segments.iter().map(Into::into).collect(), next: *next }
    }
}

/// A stretch of recorded time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TimeRange {
    /// Where it begins.
    from: Time,
    /// Where it ends.
    to: Time,
}

/// Recorded time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Timeline {
    /// In order, without touching each other.
    ranges: Vec<TimeRange>,
}

impl From<Vec<Range>> for Timeline {
    fn from(ranges: Vec<Range>) -> Self {
        let shown = |Range { from, to }| TimeRange { from: Time(from), to: Time(to) };
        Self { ranges: ranges.into_iter().map(shown).collect() }
    }
}
