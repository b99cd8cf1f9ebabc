//! What a camera's driver does for one attempt: opening a session, ending it, and checking whether the camera can be reached.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};
use tracing::Instrument as _;

use super::{GIVE_UP_AFTER, Opened, TURN_WITHIN, Task, Told};
use crate::{
    base::{error::Chain, threads::on_thread},
    media::recorder::RecordSettings,
    model::{
        pipeline::SourceSettings,
        source::SourceEvent,
        status::{StreamError, StreamErrorKind},
    },
    source::{
        is_reachable,
        session::{Session, Use},
    },
};

impl Task {
    pub(super) fn open(&mut self) {
        self.run += 1;
        self.failures_at = (None, 0);
        self.description = None;
        self.knocked = Some(Instant::now());
        let (run, tell, deps) = (self.run, self.tell.clone(), self.deps.clone());
        let (stream, targets) = (self.stream.clone(), self.targets.clone());
        let (cancel, cancelled) = oneshot::channel();
        self.cancel = Some(cancel);
        let settings = SourceSettings::of(&self.camera, self.deps.default_source);
        let record = RecordSettings {
            camera: self.camera.id.clone(),
            profile: self.camera.record_profile,
            segment_seconds: self.segment_seconds.clone(),
            want: self.want.clone(),
            memory: self.deps.memory.clone(),
            reached: self.reached.clone(),
            jumps: self.jumps.clone(),
            lookers: self.lookers.clone(),
            activity: self.deps.activities.of(&self.camera.id, self.camera.record_profile),
            placing: None,
        };
        let attempt = async move {
            let internal =
                |detail: String| (StreamError::new(StreamErrorKind::Internal, detail), Duration::ZERO);
            let settings = settings.map_err(|bad| internal(bad.to_string()))?;
            // Only the wait can be given up. A session that was opened is closed, so that it never overlaps the next one.
            let admitted = async {
                let login = deps.logins.admit(&settings).await?;
                let turn = timeout(TURN_WITHIN, deps.connects.acquire_owned()).await;
                // A probe that has it sees that the camera is wanted, and gives way.
                let held = stream.acquire_owned().await.map_err(|closed| internal(closed.to_string()))?;
                Ok::<_, (StreamError, Duration)>((turn.ok().and_then(Result::ok), held, login))
            };
            let (turn, held, login) = tokio::select! {
                admitted = admitted => admitted?,
                _ = cancelled => return Err(internal("given up".to_owned())),
            };
            let on = Use::Record(record, Arc::new(deps.volumes.sink(targets)));
            let login = Mutex::new(login);
            let events = move |event| {
                let mut login = login.lock().unwrap_or_else(PoisonError::into_inner);
                let hold = match &event {
                    SourceEvent::Described(_) => {
                        login.accepted();
                        Duration::ZERO
                    }
                    SourceEvent::Lost(lost) => login.lost(lost.kind),
                };
                let _ = tell.send((run, Told::Source(event, hold)));
            };
            let opened = Session::open(&deps.sources, settings, on, events);
            let session = opened.map_err(|error| internal(Chain(&error).to_string()))?;
            Ok(Opened { session, held, turn })
        };
        let tell = self.tell.clone();
        let attempt = async move {
            let _ = tell.send((run, Told::Opened(attempt.await)));
        };
        tokio::spawn(attempt.in_current_span());
    }

    /// Ends the session, or the attempt at one. `Told::Closed` or `Told::Opened` follows.
    pub(super) fn close(&mut self) {
        self.turn = None;
        let Some(session) = self.session.send_replace(None) else {
            if let Some(cancel) = self.cancel.take() {
                let _ = cancel.send(());
            } else {
                let _ = self.tell.send((self.run, Told::Closed));
            }
            return;
        };
        let (seen, recorded) = (session.seen(), session.recorded());
        self.before.frames += seen.frames;
        self.before.bytes += seen.bytes;
        self.before.segments += recorded.segments;
        self.before.dropped += recorded.dropped_frames;
        self.before.damage += session.damage();
        let keyframes = seen.keyframe.map_or(0, |keyframe| keyframe.number);
        self.keyframes_before.fetch_add(keyframes, Relaxed);
        let (run, tell, abandoned) = (self.run, self.tell.clone(), self.deps.abandoned.clone());
        let closing = on_thread(&format!("close {}", self.camera.id), move || session.close());
        let wait = async move {
            if let Ok(mut closed) = closing
                && timeout(GIVE_UP_AFTER, &mut closed).await.is_err()
            {
                tracing::error!("the pipeline does not stop; it is left to its thread");
                abandoned.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    let _ = closed.await;
                    abandoned.fetch_sub(1, Relaxed);
                    tracing::info!("the abandoned pipeline has stopped after all");
                });
            }
            let _ = tell.send((run, Told::Closed));
        };
        tokio::spawn(wait.in_current_span());
    }

    pub(super) fn knock(&mut self) {
        let Ok(url) = self.camera.url(self.camera.record_profile) else { return };
        // While a knock is under way the next one is far off; its answer sets the time again.
        self.knocked = Some(Instant::now() + Duration::from_secs(3600));
        let (run, tell) = (self.run, self.tell.clone());
        tokio::spawn(async move {
            let answered = is_reachable(&url).await;
            let _ = tell.send((run, Told::Knocked(answered)));
        });
    }
}
