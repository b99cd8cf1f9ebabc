//! A session: one connection to one stream of a camera, and what its units are used for. Closing blocks, so it belongs on a thread of
//! its own with a deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gstreamer::{self as gst, prelude::*};

use super::{Source, Sources};
use crate::{
    media::{
        Error,
        recorder::{RecordSettings, Recorded, Recorder},
        tap::{Seen, Tap},
    },
    model::{
        pipeline::SourceSettings,
        segment::SegmentSink,
        source::{SourceEvent, UnitSink},
        unit::{AccessUnit, AudioUnit, Damage},
    },
};

/// A stop finishes the open segment within this.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// What a session's units are used for.
pub enum Use {
    /// Segments go to the sink.
    Record(RecordSettings, Arc<dyn SegmentSink>),
    /// Nothing is recorded; the text is for log lines.
    Look(String),
}

/// One open session. Dropping it without [`Session::close`] loses what the open segment was not given yet.
#[derive(Debug)]
pub struct Session {
    source: Box<dyn Source>,
    intake: Arc<Intake>,
}

/// Takes what the source receives.
struct Intake {
    tap: Tap,
    recorder: Option<Recorder>,
    closing: AtomicBool,
    events: Box<dyn Fn(SourceEvent) + Send + Sync>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("recorder", &self.recorder).finish_non_exhaustive()
    }
}

impl UnitSink for Intake {
    fn video(&self, unit: AccessUnit) -> Duration {
        self.tap.video(&unit);
        self.recorder.as_ref().map_or(Duration::ZERO, |recorder| recorder.video(unit))
    }

    fn audio(&self, unit: AudioUnit) {
        if let Some(recorder) = &self.recorder {
            recorder.audio(unit);
        }
    }

    fn is_watched(&self) -> bool {
        self.recorder.as_ref().is_some_and(Recorder::is_watched)
    }

    fn event(&self, event: SourceEvent) {
        if let (SourceEvent::Described(description), Some(recorder)) = (&event, &self.recorder)
            && let Some(codec) = description.audio
        {
            recorder.expect_sound(codec);
        }
        if !self.closing.load(Relaxed) {
            (self.events)(event);
        }
    }
}

impl Session {
    /// Begins to open a session and returns at once. `events` is called from the source's threads, and must only send and
    /// return.
    ///
    /// # Errors
    /// If the thread of the record branch cannot be started.
    pub fn open(
        sources: &Sources,
        settings: SourceSettings,
        on: Use,
        events: impl Fn(SourceEvent) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let (recorder, owner) = match on {
            Use::Record(settings, sink) => {
                let owner = settings.camera.to_string();
                (Some(Recorder::new(sources.texts.clone(), settings, sink)?), owner)
            }
            Use::Look(owner) => (None, owner),
        };
        let intake = Arc::new(Intake {
            tap: Tap::default(),
            recorder,
            closing: AtomicBool::new(false),
            events: Box::new(events),
        });
        let source = sources.open(settings, owner, intake.clone());
        Ok(Self { source, intake })
    }

    /// What came so far.
    pub fn seen(&self) -> Seen {
        self.intake.tap.seen()
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.intake.recorder.as_ref().map(Recorder::recorded).unwrap_or_default()
    }

    /// What arrived broken so far.
    pub fn damage(&self) -> Damage {
        self.source.damage()
    }

    /// The live graphs as Graphviz text, that of the source first, without parameters: those hold addresses and passwords.
    pub fn dot(&self) -> String {
        let details = gst::DebugGraphDetails::MEDIA_TYPE | gst::DebugGraphDetails::STATES;
        let recording = self.intake.recorder.iter().flat_map(Recorder::pipelines);
        let recording = recording.map(|pipeline| pipeline.debug_to_dot_data(details).to_string());
        self.source.dot().into_iter().chain(recording).collect::<Vec<_>>().join("\n")
    }

    /// Finishes the open segment and ends the session with the camera. Blocks: the segment for at most [`CLOSE_DEADLINE`], a
    /// source for as long as it takes, which may be for ever if something in rtspsrc hangs.
    pub fn close(&self) {
        self.intake.closing.store(true, Relaxed);
        if let Some(recorder) = &self.intake.recorder
            && !recorder.finish(Instant::now() + CLOSE_DEADLINE)
        {
            tracing::warn!("the open segment did not end in time; it keeps what was muxed");
        }
        self.stop();
    }

    fn stop(&self) {
        self.source.close();
        if let Some(recorder) = &self.intake.recorder {
            recorder.stop();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.intake.closing.store(true, Relaxed);
        self.stop();
    }
}
