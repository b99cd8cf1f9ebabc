//! What an operator is told of a camera.

use std::time::{Duration, Instant};

use super::camera::words;
use super::{segment::Codec, source::SourceKind, unit::Damage};
use crate::base::WallUs;

/// Why there are no frames. The right reaction differs, so it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamErrorKind {
    /// Nothing listens at the address.
    Refused,
    /// The camera did not accept the user name and password.
    Unauthorised,
    /// The camera knows the user, who may not see this stream.
    Forbidden,
    /// The camera wants the password in clear, and nobody allowed that.
    BasicRefused,
    /// The camera shows another certificate than the one that is pinned.
    CertificateChanged,
    /// The camera has no stream at this URL.
    NoSuchStream,
    /// No route, no such name, or no answer to a connection.
    Unreachable,
    /// The connection is open, but nothing (more) comes.
    Silent,
    /// The camera ended the stream.
    Ended,
    /// The stream is in no codec we record.
    UnsupportedCodec,
    /// The camera sent us elsewhere more than once, or to another host.
    Redirected,
    /// The camera does not send over the transport that is set.
    TransportRefused,
    /// What the camera says is no RTSP we understand.
    Protocol,
    /// GStreamer failed on our side.
    Internal,
}

words!(StreamErrorKind {
    Refused = "refused",
    Unauthorised = "unauthorised",
    Forbidden = "forbidden",
    BasicRefused = "basic_refused",
    CertificateChanged = "certificate_changed",
    NoSuchStream = "no_such_stream",
    Unreachable = "unreachable",
    Silent = "silent",
    Ended = "ended",
    UnsupportedCodec = "unsupported_codec",
    Redirected = "redirected",
    TransportRefused = "transport_refused",
    Protocol = "protocol",
    Internal = "internal",
});

impl StreamErrorKind {
    /// Whether only another setting can help.
    pub fn needs_operator(self) -> bool {
        matches!(
            self,
            Self::Unauthorised
                | Self::Forbidden
                | Self::BasicRefused
                | Self::CertificateChanged
                | Self::NoSuchStream
                | Self::UnsupportedCodec
                | Self::Redirected
                | Self::TransportRefused
        )
    }

    /// What the operator can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Refused => "is the camera's RTSP service on, and is the port right?",
            Self::Unauthorised => {
                "set the right user name and password; until then only 4 attempts an hour are made, so that the \
                 camera does not lock the account"
            }
            Self::Forbidden => {
                "give the user the right to see this stream on the camera, or set another user"
            }
            Self::BasicRefused => {
                "switch the camera to Digest or use rtsps, or set allow_basic if you trust the network in between"
            }
            Self::CertificateChanged => {
                "if you changed the camera or its certificate, clear tls_fingerprint; otherwise somebody is in between"
            }
            Self::NoSuchStream => "check the stream's URL, channel and profile",
            Self::Unreachable => "check the camera's power, its cable and its address",
            Self::Silent => "the connection is open but no video comes; restart the camera if this stays",
            Self::Ended => "it may be restarting",
            Self::UnsupportedCodec => "set the camera to H.264",
            Self::Redirected => "set the URL that the camera points to",
            Self::TransportRefused => "set transport to `udp`, `tcp` or `auto`, whichever it is not set to",
            Self::Protocol => "is this address really an RTSP camera?",
            Self::Internal => "the log has the details; `watchkeeper doctor` checks the installation",
        }
    }
}

/// Why a stream ended or could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    /// The kind, which decides when the next attempt is made.
    pub kind: StreamErrorKind,
    /// One sentence for the operator, without secrets.
    pub detail: String,
}

impl StreamError {
    /// An error of this kind.
    pub fn new(kind: StreamErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// The word for a camera's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Not to be recorded at all.
    Disabled,
    /// Not to be recorded now: its schedule or its triggers say when.
    Idle,
    /// The first attempt, or frames not yet on disk.
    Connecting,
    /// Frames are being written.
    Recording,
    /// Frames stopped coming a moment ago; being connected again.
    Stalled,
    /// No stream; tried again and again.
    Offline,
    /// The operator must act.
    Error,
}

words!(Shown {
    Disabled = "disabled",
    Idle = "idle",
    Connecting = "connecting",
    Recording = "recording",
    Stalled = "stalled",
    Offline = "offline",
    Error = "error",
});

/// Frames come, but none was written for so long: that is an error of ours, not of the camera.
const UNWRITTEN_AFTER: Duration = Duration::from_secs(5);
/// Frames come, but no keyframe for so long: no camera is set like this on purpose.
const NO_KEYFRAME_AFTER: Duration = Duration::from_secs(30);

/// What becomes of the frames that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// They are written.
    Yes,
    /// The first of them are on their way to the disk.
    Soon,
    /// A recording begins with a keyframe, and none came yet.
    AwaitsKeyframe,
    /// None came for so long that somebody should look at the camera.
    NoKeyframe,
    /// The disk does not take them.
    Late,
}

/// Tells what becomes of frames that have been coming since `since`. `keyframe` is when the first keyframe came, `written`
/// when something was last written since then, `interval` the time between frames.
pub fn written(
    now: Instant,
    since: Instant,
    keyframe: Option<Instant>,
    written: Option<Instant>,
    interval: Duration,
) -> Written {
    let Some(keyframe) = keyframe else {
        let long = now.saturating_duration_since(since) > NO_KEYFRAME_AFTER;
        return if long { Written::NoKeyframe } else { Written::AwaitsKeyframe };
    };
    let written = written.filter(|at| *at >= keyframe);
    // A frame is written when the next has come and has ended its fragment.
    if now.saturating_duration_since(written.unwrap_or(keyframe)) > UNWRITTEN_AFTER.max(interval * 3) {
        Written::Late
    } else if written.is_some() {
        Written::Yes
    } else {
        Written::Soon
    }
}

/// What the session has seen, at one moment. Counters run since the service started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Codec and size, once known.
    pub video: Option<(Codec, u32, u32)>,
    /// Frames a second, over the last seconds.
    pub fps: Option<f64>,
    /// Bits a second, over the last seconds.
    pub bit_rate_bps: Option<u64>,
    /// Between the last keyframes.
    pub keyframe_interval: Option<Duration>,
    /// How far the camera's clock is ahead of the host's, in microseconds.
    pub clock_ahead_us: Option<i64>,
    /// Frames received.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments begun.
    pub segments: u64,
    /// Frames that came and could not be recorded.
    pub dropped_frames: u64,
    /// Of an armed camera, how far back the frames in memory reach.
    pub pre_roll: Option<Duration>,
    /// Number of the last keyframe.
    pub picture: Option<u64>,
    /// What arrived broken.
    pub damage: Damage,
}

/// Everything that is shown of a camera's state.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraStatus {
    /// The word.
    pub shown: Shown,
    /// A word for why.
    pub reason: Option<&'static str>,
    /// A sentence for people, secrets masked.
    pub detail: Option<String>,
    /// Since when it is so.
    pub since: WallUs,
    /// When the last frame came.
    pub last_frame_at: Option<WallUs>,
    /// Until when it is idle: when its schedule's next window opens.
    pub until: Option<WallUs>,
    /// When the window of its last trigger ends, while it runs.
    pub window_end: Option<WallUs>,
    /// When it is tried again.
    pub next_attempt_at: Option<WallUs>,
    /// How often it came back.
    pub reconnects: u64,
    /// The last thing that went wrong, secrets masked.
    pub last_error: Option<String>,
    /// What receives its stream; `None` before its first description.
    pub source: Option<SourceKind>,
    /// Why that is not the native source although it was tried.
    pub source_fallback: Option<String>,
    /// Figures.
    pub observed: Observed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_frames_that_could_be_written_are_the_disks_fault() {
        let t = Instant::now();
        let at = |s: u64| t + Duration::from_secs(s);
        let usual = Duration::from_millis(40);
        assert_eq!(written(at(29), t, None, None, usual), Written::AwaitsKeyframe);
        assert_eq!(written(at(31), t, None, None, usual), Written::NoKeyframe);
        assert_eq!(written(at(34), t, Some(at(30)), Some(t), usual), Written::Soon);
        assert_eq!(written(at(36), t, Some(at(30)), Some(t), usual), Written::Late);
        assert_eq!(written(at(36), t, Some(at(30)), Some(at(31)), usual), Written::Yes);
        assert_eq!(written(at(37), t, Some(at(30)), Some(at(31)), usual), Written::Late);
        let slow = Duration::from_secs(4);
        assert_eq!(written(at(42), t, Some(at(30)), Some(at(31)), slow), Written::Yes);
        assert_eq!(written(at(44), t, Some(at(30)), Some(at(31)), slow), Written::Late);
    }
}
