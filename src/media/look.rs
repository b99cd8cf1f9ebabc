//! What a stream is like, told from what a session has seen, with advice where a camera's setting is known to hurt.

use std::time::{Duration, Instant};

use super::tap::Seen;
use crate::model::segment::Codec;

/// A look lasts until rates and the keyframe interval are known, or so long after the first frame.
pub const LOOK_FOR: Duration = Duration::from_secs(6);

/// A camera's clock that is further off than this, in seconds, makes a picture's own time stamp a lie.
const CLOCK_OFF_S: f64 = 5.0;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Codec and size.
    pub video: Option<(Codec, u32, u32)>,
    /// Frames a second, as the stream says.
    pub fps_declared: Option<f64>,
    /// Frames a second, as they come.
    pub fps_measured: Option<f64>,
    /// Between keyframes.
    pub keyframe_interval: Option<Duration>,
    /// How far the camera's clock is ahead of the host's, in microseconds.
    pub clock_ahead_us: Option<i64>,
    /// Whether pictures come out of their order of display.
    pub b_frames: bool,
    /// Bits a second.
    pub bit_rate_bps: Option<u64>,
    /// Sentences for the operator.
    pub advice: Vec<String>,
}

/// Whether a look has seen enough.
pub fn enough(seen: &Seen, now: Instant) -> bool {
    let known = seen.fps.is_some() && seen.keyframe_interval.is_some();
    seen.first.is_some_and(|first| known || now - first >= LOOK_FOR) && seen.keyframe.is_some()
}

/// Sums up what was seen.
pub fn found(seen: &Seen) -> Found {
    let mut advice = Vec::new();
    if seen.b_frames {
        advice.push(
            "The stream has B-frames; without them pictures come sooner, if the camera lets you switch them off.".to_owned(),
        );
    }
    match seen.keyframe_interval {
        Some(interval) if interval > Duration::from_secs(4) => advice.push(format!(
            "There are {:.0} s between keyframes; 1 to 2 s start playback and recovery sooner.",
            interval.as_secs_f64()
        )),
        None if seen.frames > 0 => {
            advice.push("Fewer than two keyframes came; set the keyframe interval to 1 or 2 s.".to_owned());
        }
        _ => {}
    }
    if let (Some(declared), Some(measured)) = (seen.fps_declared, seen.fps)
        && (declared - measured).abs() > declared * 0.15
    {
        advice.push(format!(
            "The camera says {declared:.0} frames a second and sends {measured:.1}; it may be short of light or of \
             network."
        ));
    }
    if let Some(seconds) = seen.clock_ahead_us.map(|us| us as f64 / 1e6).filter(|off| off.abs() > CLOCK_OFF_S)
    {
        let way = if seconds > 0.0 { "ahead" } else { "behind" };
        let text = format!("The camera's clock is {:.0} s {way}; let it ask an NTP server.", seconds.abs());
        advice.push(text);
    }
    Found {
        video: seen.video,
        fps_declared: seen.fps_declared,
        fps_measured: seen.fps,
        keyframe_interval: seen.keyframe_interval,
        clock_ahead_us: seen.clock_ahead_us,
        b_frames: seen.b_frames,
        bit_rate_bps: seen.bit_rate_bps,
        advice,
    }
}
