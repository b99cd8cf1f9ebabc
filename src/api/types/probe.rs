//! What a look at a camera's stream tells, and how to repeat it by hand.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use utoipa::ToSchema;

use super::{CodecWord, RefillMethodWord, SourceKindWord, Time, Word, rounded};
use crate::{
    base::mask,
    model::refill::way::Known,
    run::{Probe, ProbeFound},
};

/// What a look at a stream told.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ProbeReport {
    /// Whether pictures came.
    ok: bool,
    /// A word for why not; one of `StreamErrorKind`.
    #[schema(required)]
    reason: Option<super::LossWord>,
    /// Why not, and what to do next.
    #[schema(required)]
    detail: Option<String>,
    /// The URL looked at, without credentials.
    url: String,
    /// SHA-256 of the certificate that it showed; null without TLS, and if it did not answer.
    #[schema(required)]
    tls_fingerprint: Option<String>,
    /// What received the stream: `native` or `rtspsrc`; null if the camera did not describe it.
    #[schema(required)]
    source: Option<SourceKindWord>,
    /// Why rtspsrc received it although the native source was tried first; null if it did not.
    #[schema(required)]
    source_fallback: Option<String>,
    #[schema(required)]
    codec: Option<CodecWord>,
    #[schema(required)]
    width: Option<u32>,
    #[schema(required)]
    height: Option<u32>,
    /// Frames a second, as the stream says.
    #[schema(required)]
    fps_declared: Option<f64>,
    /// Frames a second, as they came.
    #[schema(required)]
    fps_measured: Option<f64>,
    #[schema(required)]
    keyframe_interval_s: Option<f64>,
    #[schema(required)]
    b_frames: Option<bool>,
    /// Encoding name of the first audio stream, as in RTP.
    #[schema(required)]
    audio_codec: Option<String>,
    #[schema(required)]
    bit_rate_bps: Option<u64>,
    /// From the start of the attempt; null for a session that was already open.
    #[schema(required)]
    time_to_first_frame_ms: Option<u64>,
    /// How far the camera's clock is ahead of the host's; null if it sent no report meanwhile.
    #[schema(required)]
    clock_offset_ms: Option<i64>,
    /// The last keyframe as a `data:` URL.
    #[schema(required)]
    thumbnail: Option<String>,
    /// Where a setting of the camera is known to hurt.
    advice: Vec<String>,
    /// How the camera gives its own recordings away, to fetch what is missing.
    #[schema(required)]
    refill: Option<RefillWay>,
}

/// What was found out about how a camera gives its own recordings away.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct RefillWay {
    /// `onvif` or `url`; null if neither works.
    #[schema(required)]
    method: Option<RefillMethodWord>,
    /// What tells so, or why not.
    detail: String,
    /// When it was found out.
    at: Time,
}

impl From<&Known> for RefillWay {
    fn from(Known { method, detail, at }: &Known) -> Self {
        Self { method: method.map(Word), detail: mask::urls(detail), at: Time(*at) }
    }
}

impl From<&Probe> for ProbeReport {
    fn from(probe: &Probe) -> Self {
        let Probe { url, certificate, outcome, refill, source, source_fallback } = probe;
        let nothing = Self {
            ok: false,
            reason: None,
            detail: None,
            url: url.clone(),
            tls_fingerprint: certificate.clone(),
            source: source.map(Word),
            source_fallback: source_fallback.as_deref().map(mask::urls),
            codec: None,
            width: None,
            height: None,
            fps_declared: None,
            fps_measured: None,
            keyframe_interval_s: None,
            b_frames: None,
            audio_codec: None,
            bit_rate_bps: None,
            time_to_first_frame_ms: None,
            clock_offset_ms: None,
            thumbnail: None,
            advice: Vec::new(),
            refill: refill.as_ref().map(RefillWay::from),
        };
        match outcome {
            Err((loss, detail)) => {
                Self { reason: Some(Word(*loss)), detail: Some(mask::urls(detail)), ..nothing }
            }
            Ok(ProbeFound { found, audio, first_frame_ms, thumbnail }) => Self {
                ok: true,
                codec: found.video.map(|(codec, _, _)| Word(codec)),
                width: found.video.map(|(_, width, _)| width),
                height: found.video.map(|(_, _, height)| height),
                fps_declared: found.fps_declared.map(rounded),
                fps_measured: found.fps_measured.map(rounded),
                clock_offset_ms: found.clock_ahead_us.map(|us| us / 1000),
                keyframe_interval_s: found.keyframe_interval.map(|interval| rounded(interval.as_secs_f64())),
                b_frames: Some(found.b_frames),
                audio_codec: audio.clone(),
                bit_rate_bps: found.bit_rate_bps,
                time_to_first_frame_ms: *first_frame_ms,
                thumbnail: thumbnail
                    .as_ref()
                    .map(|jpeg| format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(jpeg))),
                advice: found.advice.iter().map(|sentence| mask::urls(sentence)).collect(),
                ..nothing
            },
        }
    }
}

/// How to reproduce a camera's pipeline by hand.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PipelineLine {
    /// A line for `gst-launch-1.0`; secrets as `***`. It receives the camera with GStreamer's rtspsrc.
    pub(crate) launch: String,
    /// What receives the camera in the service: `native` or `rtspsrc`; null before the camera described its stream.
    #[schema(required)]
    pub(crate) source: Option<SourceKindWord>,
}
