//! How a camera is.

use serde::Serialize;
use utoipa::ToSchema;

use super::{CodecWord, SourceKindWord, StateWord, Time, Word, rounded};
use crate::{
    base::mask,
    model::{self, status::Observed, unit::Damage},
};

/// How a camera is. Counters run since the service started; rates are observed over the last seconds.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct CameraStatus {
    state: StateWord,
    /// A word for why: of a camera that is offline or stalled one of `StreamErrorKind`, of an error `disk`, `no_keyframe` or
    /// `bad_config`, of an idle one `armed`, `outside_schedule` or `waits_for_trigger`.
    #[schema(required)]
    reason: Option<String>,
    /// One sentence that says what to do next.
    #[schema(required)]
    detail: Option<String>,
    /// Since when it is in this state.
    since: Time,
    #[schema(required)]
    last_frame_at: Option<Time>,
    /// Of a camera that is `outside_schedule`: when its next window opens; null if none ever does.
    #[schema(required)]
    until: Option<Time>,
    /// When the window of the last trigger ends, while it runs.
    #[schema(required)]
    window_end: Option<Time>,
    /// When it is tried again.
    #[schema(required)]
    next_attempt_at: Option<Time>,
    /// How often it came back.
    reconnects: u64,
    /// The last thing that went wrong.
    #[schema(required)]
    last_error: Option<String>,
    /// What receives its stream: `native` or `rtspsrc`; null before the camera described it for the first time.
    #[schema(required)]
    source: Option<SourceKindWord>,
    /// Why rtspsrc receives it although the native source was tried first; null if it does not.
    #[schema(required)]
    source_fallback: Option<String>,
    #[schema(required)]
    codec: Option<CodecWord>,
    #[schema(required)]
    width: Option<u32>,
    #[schema(required)]
    height: Option<u32>,
    #[schema(required)]
    fps: Option<f64>,
    #[schema(required)]
    bit_rate_bps: Option<u64>,
    #[schema(required)]
    keyframe_interval_s: Option<f64>,
    /// How far the camera's clock is ahead of the host's; null before its first sender report.
    #[schema(required)]
    clock_offset_ms: Option<i64>,
    frames: u64,
    bytes: u64,
    segments: u64,
    dropped_frames: u64,
    /// Frames that arrived with a missing or unreadable part.
    damaged_units: u64,
    /// How often the start of the next RTSP message had to be searched for, because bytes on the connection were wrong.
    resyncs: u64,
    /// RTP packets that never arrived, by their sequence numbers.
    lost_packets: u64,
    /// Of an armed camera, how far back what it keeps in memory reaches, in seconds.
    #[schema(required)]
    pre_roll_s: Option<f64>,
    /// Number of the last keyframe; changes when snapshot.jpg would.
    #[schema(required)]
    picture: Option<u64>,
}

impl From<&model::status::CameraStatus> for CameraStatus {
    fn from(status: &model::status::CameraStatus) -> Self {
        let model::status::CameraStatus {
            shown,
            reason,
            detail,
            since,
            last_frame_at,
            until,
            window_end,
            next_attempt_at,
            reconnects,
            last_error,
            source,
            source_fallback,
            observed,
        } = status;
        let Observed {
            video,
            fps,
            bit_rate_bps,
            keyframe_interval,
            clock_ahead_us,
            frames,
            bytes,
            segments,
            dropped_frames,
            pre_roll,
            picture,
            damage: Damage { damaged_units, resyncs, lost_packets },
        } = observed;
        Self {
            state: Word(*shown),
            reason: reason.map(str::to_owned),
            detail: detail.as_deref().map(mask::urls),
            since: Time(*since),
            last_frame_at: last_frame_at.map(Time),
            until: until.map(Time),
            window_end: window_end.map(Time),
            next_attempt_at: next_attempt_at.map(Time),
            reconnects: *reconnects,
            last_error: last_error.as_deref().map(mask::urls),
            source: source.map(Word),
            source_fallback: source_fallback.as_deref().map(mask::urls),
            codec: video.map(|(codec, _, _)| Word(codec)),
            width: video.map(|(_, width, _)| width),
            height: video.map(|(_, _, height)| height),
            fps: fps.map(rounded),
            bit_rate_bps: *bit_rate_bps,
            keyframe_interval_s: keyframe_interval.map(|interval| rounded(interval.as_secs_f64())),
            clock_offset_ms: clock_ahead_us.map(|us| us / 1000),
            frames: *frames,
            bytes: *bytes,
            segments: *segments,
            dropped_frames: *dropped_frames,
            damaged_units: *damaged_units,
            resyncs: *resyncs,
            lost_packets: *lost_packets,
            pre_roll_s: pre_roll.map(|reach| rounded(reach.as_secs_f64())),
            picture: *picture,
        }
    }
}
