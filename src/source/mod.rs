//! What receives cameras, behind one seam (`model::source`): today GStreamer's rtspsrc.
//!
//! A [`session::Session`] is one connection to one stream of a camera, and what its units are used for. It hands segments to a
//! [`crate::model::segment::SegmentSink`] and events to the driver that opened it; it decides nothing.

pub mod gstreamer;
pub mod session;

use std::{sync::Arc, time::Instant};

use crate::{
    media::text::Texts,
    model::{
        pipeline::SourceSettings,
        source::{SourceKind, UnitSink},
        status::{StreamError, StreamErrorKind},
        unit::Damage,
    },
};
pub use gstreamer::{preflight, tls as gio_tls};

use gstreamer::RtspsrcSource;

/// One open stream of a camera. Everything that comes of it goes to its [`UnitSink`].
pub trait Source: Send + Sync + std::fmt::Debug {
    /// What receives it.
    fn kind(&self) -> SourceKind;

    /// What arrived broken so far.
    fn damage(&self) -> Damage;

    /// When the camera last showed that it lives, other than by units: by a sender report or by answering a keep-alive.
    fn last_sign_of_life(&self) -> Option<Instant>;

    /// Its live graph as Graphviz text, without secrets; `None` where there is no pipeline.
    fn dot(&self) -> Option<String>;

    /// Ends the session with the camera. Blocks for milliseconds; rtspsrc may block for ever if something in it hangs.
    fn close(&self);
}

/// What opens sources. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sources {
    texts: Texts,
    runtime: tokio::runtime::Handle,
}

impl Sources {
    /// Sources whose pipelines are made of `texts`, and whose dialogues run on the present runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(texts: Texts) -> Self {
        Self { texts, runtime: tokio::runtime::Handle::current() }
    }

    /// Begins to open a stream and returns at once. `owner` stands in log lines.
    pub fn open(&self, settings: SourceSettings, owner: String, sink: Arc<dyn UnitSink>) -> Box<dyn Source> {
        Box::new(RtspsrcSource::open(self, settings, owner, None, sink))
    }
}

/// The camera's certificate is another one than the one that is pinned.
fn certificate_changed(pinned: &str, shown: &str) -> StreamError {
    let detail = format!(
        "the camera shows the certificate with the fingerprint {shown}, and {pinned} is pinned; nothing was sent to it"
    );
    StreamError::new(StreamErrorKind::CertificateChanged, detail)
}
