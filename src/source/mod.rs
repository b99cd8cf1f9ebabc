//! What receives cameras, behind one seam (`model::source`): the native receiver, and GStreamer's rtspsrc.
//!
//! A [`session::Session`] is one connection to one stream of a camera, and what its units are used for. It hands segments to a
//! [`crate::model::segment::SegmentSink`] and events to the driver that opened it; it decides nothing.

mod connect;
pub mod gstreamer;
pub mod native;
pub mod session;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    media::text::Texts,
    model::{
        pipeline::SourceSettings,
        source::{SourceChoice, UnitSink},
        status::{StreamError, StreamErrorKind},
        unit::Damage,
    },
};
pub use connect::is_reachable;
pub use gstreamer::{preflight, tls as gio_tls};

use gstreamer::RtspsrcSource;
use native::{NativeSource, Receiver};

/// One open stream of a camera. Everything that comes of it goes to its [`UnitSink`].
pub trait Source: Send + Sync + std::fmt::Debug {
    /// What arrived broken so far.
    fn damage(&self) -> Damage;

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
    receiver: Receiver,
}

impl Sources {
    /// Sources whose pipelines are made of `texts`. The dialogues of rtspsrc's sources run on the present runtime, native sources on a
    /// thread of their own that all of them share.
    ///
    /// # Errors
    /// If that thread cannot be started.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(texts: Texts) -> io::Result<Self> {
        Ok(Self { texts, runtime: tokio::runtime::Handle::current(), receiver: Receiver::start()? })
    }

    /// Begins to open a stream and returns at once. `owner` stands in log lines.
    pub fn open(&self, settings: SourceSettings, owner: String, sink: Arc<dyn UnitSink>) -> Box<dyn Source> {
        match settings.source {
            SourceChoice::Rtspsrc => Box::new(RtspsrcSource::open(self, settings, owner, None, sink)),
            SourceChoice::Native => Box::new(NativeSource::open(&self.receiver, settings, sink, None)),
            SourceChoice::Auto => Box::new(AutoSource::open(self, settings, owner, sink)),
        }
    }
}

/// A native source, in whose place rtspsrc comes if the native one declares that it cannot receive the camera.
#[derive(Debug)]
struct AutoSource {
    native: NativeSource,
    fallback: Arc<Mutex<Fallback>>,
}

#[derive(Debug, Default)]
struct Fallback {
    closed: bool,
    source: Option<RtspsrcSource>,
}

impl AutoSource {
    fn open(sources: &Sources, settings: SourceSettings, owner: String, sink: Arc<dyn UnitSink>) -> Self {
        let fallback = Arc::new(Mutex::new(Fallback::default()));
        let (slot, of, for_rtspsrc, units) =
            (fallback.clone(), sources.clone(), settings.clone(), sink.clone());
        let take_over = move |why: String| {
            tracing::info!(camera.id = owner, "rtspsrc takes over from the native source: {why}");
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if !slot.closed {
                slot.source = Some(RtspsrcSource::open(&of, for_rtspsrc, owner, Some(why), units));
            }
        };
        let native = NativeSource::open(&sources.receiver, settings, sink, Some(Box::new(take_over)));
        Self { native, fallback }
    }

    /// Asks the source that receives now.
    fn with<T>(&self, ask: impl FnOnce(&dyn Source) -> T) -> T {
        let fallback = self.fallback.lock().unwrap_or_else(PoisonError::into_inner);
        ask(fallback.source.as_ref().map_or(&self.native as &dyn Source, |source| source))
    }
}

impl Source for AutoSource {
    fn damage(&self) -> Damage {
        self.with(|source| source.damage())
    }

    fn dot(&self) -> Option<String> {
        self.with(|source| source.dot())
    }

    fn close(&self) {
        self.native.close();
        let source = {
            let mut fallback = self.fallback.lock().unwrap_or_else(PoisonError::into_inner);
            fallback.closed = true;
            fallback.source.take()
        };
        if let Some(source) = source {
            source.close();
        }
    }
}

/// The camera's certificate is another one than the one that is pinned.
fn certificate_changed(pinned: &str, shown: &str) -> StreamError {
    let detail = format!(
        "the camera shows the certificate with the fingerprint {shown}, and {pinned} is pinned; nothing was sent to it"
    );
    StreamError::new(StreamErrorKind::CertificateChanged, detail)
}
