//! Exports, and the manifest that goes with a file.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FormatWord, PlaceWord, SegmentStateWord, SourceWord, Time, Word, coverage::CoverageRange};
use crate::{
    base::WallUs,
    model::{
        clip::{self, Format, Piece},
        segment::{SegmentFacts, SegmentHead},
    },
    run::{ExportJob, ExportState},
};

/// What is to be exported.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewExport {
    /// Where the clip begins.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: WallUs,
    /// Where it ends: later than `from`, and at most 24 hours.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: WallUs,
    /// What the file is to be. [mp4]
    #[serde(default = "mp4")]
    #[schema(value_type = Option<FormatWord>)]
    #[expect(dead_code, reason = "one format is the only one that is taken")]
    format: FormatWord,
}

fn mp4() -> FormatWord {
    Word(Format::Mp4)
}

/// How far an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExportStateWord {
    /// Its file can be taken.
    Ready,
    /// Its file is being taken.
    Running,
    /// Its file was taken to the end. It can be taken again.
    Done,
    /// Its file broke off; `detail` says why. It can be taken again.
    Failed,
}

/// A clip that can be taken as a file.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Export {
    id: u32,
    camera_id: String,
    state: ExportStateWord,
    /// Why it failed.
    #[schema(required)]
    detail: Option<String>,
    /// What was asked for.
    from: Time,
    /// What was asked for.
    to: Time,
    /// Time of the first picture that is shown.
    start: Time,
    /// Where the last one ends.
    end: Time,
    segments: usize,
    /// What of the range asked for is not recorded, and why.
    gaps: Vec<CoverageRange>,
    /// About so long the file will be.
    bytes_expected: u64,
    /// So much of it was made so far.
    bytes_sent: u64,
    created_at: Time,
    /// It is forgotten then, unless its file is taken.
    known_until: Time,
    file_name: String,
    /// Where the file is served.
    file_url: String,
    manifest_url: String,
}

impl From<&ExportJob> for Export {
    fn from(job: &ExportJob) -> Self {
        let (state, detail) = match job.state() {
            ExportState::Ready => (ExportStateWord::Ready, None),
            ExportState::Running => (ExportStateWord::Running, None),
            ExportState::Done(_) => (ExportStateWord::Done, None),
            ExportState::Failed(why) => (ExportStateWord::Failed, Some(why)),
        };
        let (id, plan) = (job.id, &job.plan);
        Self {
            id,
            camera_id: job.camera.to_string(),
            state,
            detail,
            from: Time(plan.asked.from),
            to: Time(plan.asked.to),
            start: Time(plan.footage.from),
            end: Time(plan.footage.to),
            segments: plan.pieces.len(),
            gaps: job.gaps.iter().flat_map(|part| CoverageRange::of(part, &[])).collect(),
            bytes_expected: plan.bytes_expected,
            bytes_sent: job.sent(),
            created_at: Time(job.created_at),
            known_until: Time(job.known_until()),
            file_name: clip::file_name(&job.camera, plan.footage),
            file_url: format!("/api/v1/exports/{id}/file"),
            manifest_url: format!("/api/v1/exports/{id}/manifest"),
        }
    }
}

/// Exports, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ExportList {
    pub(crate) exports: Vec<Export>,
}

/// What is in an exported file, and how to prove it. `b3sum` computes the hashes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Manifest {
    /// The program that made it, with its version.
    made_by: String,
    camera_id: String,
    created_at: Time,
    /// What was asked for.
    from: Time,
    /// What was asked for.
    to: Time,
    /// Time of the first picture that is shown.
    start: Time,
    /// Where the last one ends.
    end: Time,
    /// How far the camera's clock was ahead of ours when the export was asked for; null if it was not known. All times
    /// here are ours.
    #[schema(required)]
    clock_offset_ms: Option<i64>,
    /// Null until the file was taken to its end.
    #[schema(required)]
    file: Option<ManifestFile>,
    /// What of the range asked for is not recorded, and why. In the file the last picture before a gap is shown until
    /// it is over.
    gaps: Vec<CoverageRange>,
    /// What was read, in order of time.
    segments: Vec<ManifestSegment>,
}

/// The file.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ManifestFile {
    name: String,
    bytes: u64,
    /// BLAKE3 of the file.
    blake3: String,
    duration_s: f64,
    /// Pictures in it, those before `start` too.
    frames: u64,
    /// Time of the keyframe that its data begins with. What comes before `start` is decoded and not shown.
    data_from: Time,
}

/// A segment that was read.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ManifestSegment {
    id: i64,
    /// Path below the directory of recordings.
    path: String,
    start: Time,
    end: Time,
    state: SegmentStateWord,
    source: SourceWord,
    /// The volume whose copy was read; before that, the one that will be.
    #[schema(required)]
    copy: Option<PlaceWord>,
    /// Bytes of the segment when the export was asked for.
    bytes: u64,
    /// BLAKE3 of the segment, computed while it was recorded; null if it was still growing, or a kill ended it.
    #[schema(required)]
    blake3: Option<String>,
    /// Why nothing of it, or not all, is in the file: it is gone or damaged. Null if all is well.
    #[schema(required)]
    left_out: Option<String>,
    /// Its sound is of another kind than that before, and is not in the file.
    silent: bool,
}

impl From<&ExportJob> for Manifest {
    fn from(job: &ExportJob) -> Self {
        let plan = &job.plan;
        let written = match job.state() {
            ExportState::Done(written) => Some(written),
            _ => None,
        };
        let segment = |(number, piece): (usize, &Piece)| {
            let Piece { segment, until: _ } = piece;
            let end = segment.facts.end();
            let SegmentFacts { head, path, extent, state, hash } = &segment.facts;
            let SegmentHead {
                camera: _,
                profile: _,
                start,
                codec: _,
                width: _,
                height: _,
                audio: _,
                source,
                only_mirror: _,
            } = head;
            let left_out = written.iter().flat_map(|written| &written.left_out);
            ManifestSegment {
                id: segment.id,
                path: path.clone(),
                start: Time(*start),
                end: Time(end),
                state: Word(*state),
                source: Word(*source),
                copy: job.read_from(path).or(segment.copies.readable().first().copied()).map(Word),
                bytes: extent.bytes,
                blake3: hash.map(|hash| hash.to_string()),
                left_out: left_out.filter(|(of, _)| *of == number).map(|(_, why)| why.clone()).next(),
                silent: written.as_ref().is_some_and(|written| written.silent.contains(&number)),
            }
        };
        Self {
            made_by: concat!("watchkeeper ", env!("CARGO_PKG_VERSION")).to_owned(),
            camera_id: job.camera.to_string(),
            created_at: Time(job.created_at),
            from: Time(plan.asked.from),
            to: Time(plan.asked.to),
            start: Time(plan.footage.from),
            end: Time(plan.footage.to),
            clock_offset_ms: job.clock_ahead_us.map(|us| us / 1000),
            gaps: job.gaps.iter().flat_map(|part| CoverageRange::of(part, &[])).collect(),
            segments: plan.pieces.iter().enumerate().map(segment).collect(),
            file: written.map(|written| ManifestFile {
                name: clip::file_name(&job.camera, plan.footage),
                bytes: written.bytes,
                blake3: written.hash.to_string(),
                duration_s: std::time::Duration::from_micros(u64::try_from(written.duration_us).unwrap_or(0))
                    .as_secs_f64(),
                frames: written.frames,
                data_from: Time(written.data_from),
            }),
        }
    }
}
