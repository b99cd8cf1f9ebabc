//! The seam between whatever receives a camera and everything behind it: a source hands units and events to a [`UnitSink`].
//! Attempts, deadlines and back-off belong to the camera's driver; RTSP, RTP, log-in and TLS belong to the source.

use std::time::Duration;

use super::{
    address::StreamUrl,
    camera::words,
    segment::{AudioCodec, Codec},
    status::StreamError,
    unit::{AccessUnit, AudioUnit},
};

/// Which implementation receives a camera's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// The native one, and GStreamer's where the native one declares that it cannot receive the camera.
    #[default]
    Auto,
    /// Watchkeeper's own receiver.
    Native,
    /// GStreamer's `rtspsrc`.
    Rtspsrc,
}

words!(SourceChoice { Auto = "auto", Native = "native", Rtspsrc = "rtspsrc" });

/// The implementation that receives a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Watchkeeper's own receiver.
    Native,
    /// GStreamer's `rtspsrc`.
    Rtspsrc,
}

words!(SourceKind { Native = "native", Rtspsrc = "rtspsrc" });

/// What a camera says of a stream before it plays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Where the stream is: the camera may have redirected once.
    pub url: StreamUrl,
    /// Encoding of the video track that is received.
    pub codec: Codec,
    /// Encoding of the audio track that is received, if one was asked for and is offered.
    pub audio: Option<AudioCodec>,
    /// Encoding names of all audio tracks that the camera offers to send, as in RTP, in capitals.
    pub audio_offered: Vec<String>,
    /// SHA-256 of the camera's certificate in hexadecimal digits, if it is reached through TLS.
    pub fingerprint: Option<String>,
    /// What receives it.
    pub source: SourceKind,
    /// Why that is not the native source although it was tried: one sentence for the operator.
    pub fallback: Option<String>,
}

/// What a source reports beside units.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// The camera described the stream. Comes before the first unit, and again if another implementation takes over.
    Described(Box<Description>),
    /// The stream is over: nothing more comes. Later reports of the same source repeat it in other words.
    Lost(StreamError),
}

/// Takes what a source receives. Called from the source's threads, which serve other cameras as well: every call must return
/// without waiting.
pub trait UnitSink: Send + Sync {
    /// Takes a picture. The source should read on after the returned time, which is zero for live streams.
    fn video(&self, unit: AccessUnit) -> Duration;

    /// Takes sound.
    fn audio(&self, unit: AudioUnit);

    /// Whether somebody looks at the pictures as they come. If not, a source may let some of them wait and read them at once.
    fn is_watched(&self) -> bool;

    /// Takes an event.
    fn event(&self, event: SourceEvent);
}
