//! A session: one connection to one stream of a camera, and what runs on it. Opening and closing block, so both
//! belong on a thread of their own, and closing has a deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gstreamer::{self as gst, prelude::*};

use super::{
    Error, bus, gstlog,
    recorder::{RecordSettings, Recorded, Recorder},
    replay,
    source::{RtspSource, Source, Streams},
    tap::{Seen, Tap},
    text::Texts,
};
use crate::model::{
    pipeline::{Purpose, SourceSettings},
    segment::SegmentSink,
    status::StreamError,
    timeline::Range,
};

/// A stop finishes the open segment within this.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// What runs on a session.
pub enum Use {
    /// Segments go to the sink.
    Record(RecordSettings, Arc<dyn SegmentSink>),
    /// Segments of what the camera recorded itself go to the sink; with a range, on the camera's clock, that is asked for by
    /// ONVIF, and without, the address says it.
    Replay(RecordSettings, Arc<dyn SegmentSink>, Option<Range>),
    /// Nothing but a look; the text is for this owner of log lines.
    Look(String),
}

/// One open session. Dropping it without [`Session::close`] leaves the open segment without its last fragment.
#[derive(Debug)]
pub struct Session {
    pipeline: gst::Pipeline,
    source: Box<dyn Source>,
    tap: Tap,
    recorder: Option<Arc<Recorder>>,
    closing: Arc<AtomicBool>,
}

impl Session {
    /// Makes the pipeline and lets it play. `lost` is called from GStreamer's threads, perhaps more than once; it
    /// must only send and return. Blocks for milliseconds: connecting goes on after it returned.
    pub fn open(
        texts: &Texts,
        settings: &SourceSettings,
        streams: Streams,
        on: Use,
        lost: impl Fn(StreamError) + Clone + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let purpose = match on {
            Use::Record(..) => Purpose::Record(streams.0),
            Use::Replay(..) => Purpose::Replay(streams.0),
            Use::Look(_) => Purpose::Probe(streams.0),
        };
        let pipeline = texts.pipeline(purpose, &settings.bindings())?;
        let seek = if let Use::Replay(_, _, Some(range)) = on { Some(range) } else { None };
        let closing = Arc::new(AtomicBool::new(false));
        let quiet = closing.clone();
        let lost = move |told: StreamError| {
            if !quiet.load(Relaxed) {
                lost(told);
            }
        };
        let source = Box::new(RtspSource::new(&pipeline, texts, purpose, streams, settings, lost.clone())?);
        let tap = Tap::on(source.units());
        let (recorder, owner) = match on {
            Use::Record(settings, sink) | Use::Replay(settings, sink, _) => {
                let owner = settings.camera.to_string();
                let recorder =
                    Recorder::new(&pipeline, purpose, streams.0, settings, sink, source.sourced())?;
                (Some(Arc::new(recorder)), owner)
            }
            Use::Look(owner) => (None, owner),
        };
        gstlog::own(&pipeline, &owner);
        let bus = pipeline.bus().ok_or(Error::Refused("find the pipeline's bus"))?;
        let (branch, sound, of) = (recorder.clone(), source.sourced().sound, owner.clone());
        bus.set_sync_handler(move |_, message| {
            let Some(told) = bus::loss(message) else { return gst::BusSyncReply::Drop };
            if let Some(branch) = branch.as_ref().filter(|branch| branch.owns(message)) {
                branch.failed(&told.detail);
            } else if sound.as_ref().is_some_and(|sound| sound.owns(message)) {
                tracing::warn!(camera.id = of, "the sound failed, the pictures go on: {}", told.detail);
            } else {
                lost(told);
            }
            gst::BusSyncReply::Drop
        });
        let session = Self { pipeline, source, tap, recorder, closing };
        if let Some(range) = seek {
            replay::seek(&session.pipeline, purpose, range)?;
        }
        session.pipeline.set_state(gst::State::Playing).map_err(|_| Error::Refused("start the pipeline"))?;
        Ok(session)
    }

    /// What came so far.
    pub fn seen(&self) -> Seen {
        self.tap.seen()
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.recorder.as_ref().map(|recorder| recorder.recorded()).unwrap_or_default()
    }

    /// Says to the camera that we are still there.
    pub fn keep_alive(&self) {
        self.source.keep_alive();
    }

    /// The live graph as Graphviz text, without parameters: those hold addresses and passwords.
    pub fn dot(&self) -> String {
        let details = gst::DebugGraphDetails::MEDIA_TYPE | gst::DebugGraphDetails::STATES;
        self.pipeline.debug_to_dot_data(details).to_string()
    }

    /// Finishes the open segment and stops the pipeline. Blocks: the segment for at most [`CLOSE_DEADLINE`], the
    /// pipeline for as long as it takes, which may be for ever if something in it hangs.
    pub fn close(&self) {
        self.closing.store(true, Relaxed);
        if let Some(recorder) = &self.recorder
            && !recorder.finish(Instant::now() + CLOSE_DEADLINE)
        {
            tracing::warn!("the open segment did not end in time; it keeps its whole fragments");
        }
        self.stop();
    }

    fn stop(&self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::error!("the pipeline did not stop");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        gstlog::disown(&self.pipeline);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.closing.store(true, Relaxed);
        self.stop();
    }
}
