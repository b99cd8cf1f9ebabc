//! One attempt at one gap: the way to the camera's recording is found, the camera replays it, and what comes is recorded, until
//! it is over, goes wrong, or the live recording suffers.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::timeout};

use super::{TICK, finding};
use crate::{
    base::{CameraId, WallUs, error::Chain, threads::on_thread},
    disk::Targets,
    media::{
        bus,
        recorder::{Reached, RecordSettings},
        replay::{Ahead, Replayed, Replaying, Times},
    },
    model::{
        Camera,
        ledger::Gap,
        pipeline::{Play, SourceSettings},
        refill::way::{self, Method},
        source::SourceEvent,
        status::{StreamError, StreamErrorKind},
        timeline::Range,
    },
    run::Watchkeeper,
    source::session::{Session, Use},
};

/// Beyond the length of the gap an attempt takes so long at most.
const GRACE: Duration = Duration::from_secs(60);
/// And never longer than this.
const ATTEMPT_MAX: Duration = Duration::from_secs(4 * 3600);
/// A replay that sends nothing for so long is over.
const SILENT_AFTER: Duration = Duration::from_secs(15);
/// A session that does not end within this is given up on.
const CLOSE_WITHIN: Duration = Duration::from_secs(7);
/// A clock that differs by more than this from what it was before, in microseconds, was set.
const STEADY_US: i64 = 1_000_000;
/// Those who watch are told so often how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How an attempt ended.
pub(super) enum Ended {
    /// All that the camera sends of it has come.
    Over,
    /// The service stops, or the camera is not wanted any more: it does not count.
    GivenWay,
    /// The live recording was lost meanwhile.
    Suffered,
    /// It did not work.
    Failed(String),
}

impl Watchkeeper {
    /// Has the camera replay a range, and records what it sends.
    pub(super) async fn fetch(&self, id: &CameraId, gap: &Gap, range: Range) -> Ended {
        let Ok((camera, reached)) =
            self.with(id, |entry| (entry.camera.clone(), entry.driver.reached.clone()))
        else {
            return Ended::GivenWay;
        };
        let (settings, times, ahead) = match self.way(&camera, range, &reached).await {
            Ok(way) => way,
            Err(why) => return Ended::Failed(why),
        };
        let (tell, mut told) = mpsc::unbounded_channel();
        let done = tell.clone();
        let limit = self.0.settings.refill.bytes_per_second;
        let replaying = Arc::new(Replaying::new(range, times, ahead, limit, move || {
            let _ = done.send(None);
        }));
        let targets = Arc::new(Targets::default());
        targets.set(true, camera.mirror_enabled && self.0.mirror.is_some());
        let record = RecordSettings {
            camera: id.clone(),
            profile: camera.record_profile,
            segment_seconds: Arc::new(camera.segment_seconds.into()),
            want: Arc::default(),
            memory: self.0.deps.memory.clone(),
            reached: Arc::<Reached>::default(),
            jumps: mpsc::unbounded_channel().0,
            lookers: Default::default(),
            activity: Default::default(),
            placing: Some(replaying.clone()),
        };
        let on = Use::Record(record, Arc::new(self.0.deps.volumes.sink(targets)));
        let login = match self.0.deps.logins.admit(&settings).await {
            Ok(login) => Mutex::new(login),
            Err((error, _)) => return Ended::Failed(refusal(&error)),
        };
        let events = move |event| {
            let mut login = login.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                SourceEvent::Described(_) => login.accepted(),
                SourceEvent::Lost(lost) => {
                    login.lost(lost.kind);
                    let _ = tell.send(Some(lost));
                }
            }
        };
        let session = match Session::open(&self.0.deps.sources, settings, on, events) {
            Ok(session) => Arc::new(session),
            Err(error) => return Ended::Failed(Chain(&error).to_string()),
        };
        let ended = self.until_over(gap, range, &replaying, &mut told).await;
        let closing = session.clone();
        let closed = on_thread("replay end", move || closing.close());
        if let Ok(closed) = closed
            && timeout(CLOSE_WITHIN, closed).await.is_err()
        {
            self.0.deps.abandoned.fetch_add(1, Relaxed);
        }
        let Replayed { placed, bytes, .. } = replaying.replayed();
        self.progress(id, placed.upto, bytes);
        ended
    }

    fn progress(&self, id: &CameraId, upto: Option<WallUs>, bytes: u64) {
        if let Some(filling) = self.0.refills.lock().filling.get_mut(id) {
            (filling.upto, filling.bytes) = (upto, bytes);
        }
    }

    /// Waits for the end of a replay, and ends it where it must not go on.
    async fn until_over(
        &self,
        gap: &Gap,
        range: Range,
        replaying: &Replaying,
        told: &mut mpsc::UnboundedReceiver<Option<StreamError>>,
    ) -> Ended {
        let (id, began) = (&gap.camera, Instant::now());
        let length = Duration::from_micros((range.to.0 - range.from.0).unsigned_abs());
        let most = (length + GRACE).min(ATTEMPT_MAX);
        let (mut heard, mut bytes, mut shown) = (began, 0, began);
        loop {
            let heard_now = timeout(TICK, told.recv()).await;
            let replayed = replaying.replayed();
            let placed = replayed.placed;
            self.progress(id, placed.upto, replayed.bytes);
            if replayed.bytes != bytes {
                (heard, bytes) = (Instant::now(), replayed.bytes);
            }
            if let Some(at) = replayed.elsewhere {
                return Ended::Failed(format!("it sends another time than was asked for: {}", at.rfc3339()));
            }
            match heard_now {
                // Everything, or nothing that is wanted.
                Ok(Some(None)) | Ok(None) => return verdict(&replayed, range, None),
                Ok(Some(Some(lost))) => {
                    let lost = reason(lost, told).await;
                    return verdict(&replaying.replayed(), range, Some(&lost));
                }
                Err(_) => {}
            }
            if self.0.stopping.load(Relaxed) {
                return Ended::GivenWay;
            }
            match self.with(id, |entry| entry.camera.refill_enabled && entry.camera.record_enabled) {
                Ok(true) if self.is_well(id) => {}
                Ok(true) => return Ended::Suffered,
                _ => return Ended::GivenWay,
            }
            if shown.elapsed() > TOLD_EVERY {
                shown = Instant::now();
                self.tell(gap);
            }
            if heard.elapsed() > SILENT_AFTER {
                return Ended::Failed("its replay sends nothing any more".to_owned());
            }
            if began.elapsed() > most {
                return Ended::Failed(format!("it took longer than {} s", most.as_secs()));
            }
        }
    }

    /// How this camera is asked for a range, and how far its clock is ahead of the footage on both sides of it.
    async fn way(
        &self,
        camera: &Camera,
        range: Range,
        reached: &Reached,
    ) -> Result<(SourceSettings, Times, Ahead), String> {
        let (before, after) = (reached.ahead_before_us(range.from), reached.ahead_after_us(range.to));
        let after = after.or_else(|| reached.ahead_us());
        let ahead = |otherwise_us: i64| {
            let after_us = after.unwrap_or(otherwise_us);
            // A clock that was set meanwhile has nothing to do with what it was before.
            let before_us = before.filter(|us| (us - after_us).abs() <= STEADY_US).unwrap_or(after_us);
            Ahead { before_us, after_us }
        };
        if self.method_of(camera).await? == Method::Onvif {
            let offer = finding::offer(camera).await?;
            let ahead = ahead(offer.ahead_us);
            let play = Play::OnvifReplay(ahead.asked(range));
            let settings = SourceSettings { play, ..SourceSettings::at(camera, offer.url) };
            return Ok((settings, Times::Packets, ahead));
        }
        let template = way::template(camera).ok_or("no address with times is known of it")?;
        let ahead = ahead(0);
        let asked = ahead.asked(range);
        let url =
            way::address(&template, camera.refill_time_format, asked).map_err(|error| error.to_string())?;
        let settings = SourceSettings { play: Play::Recording, ..SourceSettings::at(camera, url) };
        Ok((settings, Times::Reports(asked.from), ahead))
    }
}

fn refusal(lost: &StreamError) -> String {
    match lost.kind {
        StreamErrorKind::Unauthorised => "its replay does not accept the user name or password".to_owned(),
        // Invalid Range (RFC 2326, 11.3.8): rtspsrc tells statuses that it does not know in words only.
        _ if lost.detail.contains("(457)") || lost.detail.contains(" 457 ") => {
            "the camera has no more of it (457)".to_owned()
        }
        _ => format!("its replay: {}", lost.detail),
    }
}

/// Why a replay ended: an error may come after the end that it makes.
async fn reason(
    mut lost: StreamError,
    told: &mut mpsc::UnboundedReceiver<Option<StreamError>>,
) -> StreamError {
    while lost == bus::ended() {
        match timeout(TICK, told.recv()).await {
            Ok(Some(Some(more))) => lost = more,
            Ok(Some(None)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    lost
}

/// What became of a replay of a range that has ended, by the camera (`lost`), or because nothing more of it is wanted.
fn verdict(Replayed { placed, bytes, .. }: &Replayed, range: Range, lost: Option<&StreamError>) -> Ended {
    let lost = lost.filter(|lost| **lost != bus::ended());
    match (placed.elsewhere(range), lost) {
        _ if placed.taken > 0 => lost.map_or(Ended::Over, |lost| Ended::Failed(refusal(lost))),
        (Some(first), _) => {
            Ended::Failed(format!("it sends another time than was asked for: {}", first.rfc3339()))
        }
        (None, Some(lost)) => Ended::Failed(refusal(lost)),
        (None, None) if *bytes > 0 && placed.first.is_none() => {
            Ended::Failed("what came cannot be placed in time".to_owned())
        }
        (None, None) => Ended::Failed("the camera has no more of it".to_owned()),
    }
}
