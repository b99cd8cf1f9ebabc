//! What a camera's driver shows of it, and tells the ledger.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::Task;
use crate::{
    base::WallUs,
    disk::Health,
    model::{
        demand::{Idle, Want},
        ledger::{Disk, Standing},
        machine::State,
        status::{self, CameraStatus, Observed, Shown, StreamErrorKind, Written},
    },
    run::Change,
};

/// Figures that only count are published so often.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// What is shown of a camera without a session. One that is wanted has its turn in the start-up in a moment.
pub(super) fn resting(want: Want) -> (Shown, Option<&'static str>) {
    match want {
        Want::Record(_) => (Shown::Connecting, None),
        Want::Nothing(Idle::Disabled) => (Shown::Disabled, None),
        Want::Nothing(_) | Want::Armed(_) => (Shown::Idle, want.idle()),
    }
}

impl Task {
    /// Tells the ledger what stands between the camera and the disk, when that changes.
    fn note(&mut self, written: Option<Written>) {
        let (shown, loss) = self.life.shown();
        let disk = match &self.deps.volumes.health(&self.targets) {
            Health::Ok => Disk::Ok,
            Health::Failing { full: true, .. } => Disk::Full,
            Health::Failing { .. } => Disk::Failing,
        };
        let note = (self.record_since.is_some(), Standing::of(shown, loss, written, disk));
        if self.noted.replace(note) != Some(note) {
            self.deps.ledgers.stand(&self.camera.id, WallUs::now(), note.0, note.1);
        }
    }

    pub(super) fn publish(&mut self, leaving: bool) {
        let now = Instant::now();
        let (new, written) = self.look(now);
        // What happens while the service stops is no standing of the camera.
        if !leaving {
            self.note(written);
        }
        let figures_due = now - self.figures_at >= FIGURES_EVERY;
        let changed = self.status.send_if_modified(|old| {
            let state = |status: &CameraStatus| {
                (
                    status.shown,
                    status.reason,
                    status.detail.clone(),
                    status.reconnects,
                    status.observed.picture,
                )
            };
            let moved = state(old) != state(&new) || (figures_due && *old != new);
            if moved {
                *old = new;
            }
            moved
        });
        if changed {
            self.figures_at = now;
            self.deps.hub.tell(Change::Camera(self.camera.id.clone()));
        }
    }

    /// Puts together what is shown, and what becomes of frames while they come.
    fn look(&self, now: Instant) -> (CameraStatus, Option<Written>) {
        let wall = |at: Instant| {
            let wall = WallUs::now();
            if at >= now {
                wall.plus(at - now)
            } else {
                wall.plus_us(-i64::try_from((now - at).as_micros()).unwrap_or(0))
            }
        };
        let (mut shown, loss) = self.life.shown();
        let mut reason = loss.map(StreamErrorKind::word);
        let mut detail = loss.map(|loss| {
            let said = self.detail.clone().unwrap_or_else(|| loss.word().to_owned());
            format!("{said}; {}", loss.remedy())
        });
        let session = self.session.borrow().clone();
        let seen = session.as_ref().map(|session| session.seen()).unwrap_or_default();
        let recorded = session.as_ref().map(|session| session.recorded()).unwrap_or_default();
        let mut written = None;
        if let (Shown::Recording, State::Recording { since }, Some(wanted)) =
            (shown, self.life.state, self.record_since)
        {
            let last = self.deps.volumes.last_written(&self.stream_id());
            let keyframe = seen.first_keyframe.map(|first| first.max(wanted));
            let becomes = status::written(now, since.max(wanted), keyframe, last, seen.interval());
            written = Some(becomes);
            let word = match becomes {
                // Whatever else there is to say, this comes first.
                _ if let Health::Failing { error, .. } = &self.deps.volumes.health(&self.targets) => {
                    detail =
                        Some(format!("frames come but cannot be written: {error}; free or replace the disk"));
                    Some((Shown::Error, Some("disk")))
                }
                Written::Yes => {
                    if self.deps.volumes.is_on_mirror_only(&self.targets) {
                        detail = Some("recorded on the mirror alone: the primary takes nothing".to_owned());
                    }
                    None
                }
                Written::Soon => Some((Shown::Connecting, None)),
                Written::AwaitsKeyframe => {
                    detail = Some("frames come; recording begins with the next keyframe".to_owned());
                    Some((Shown::Connecting, None))
                }
                Written::NoKeyframe => {
                    let text = "frames come but no keyframe; set the camera's keyframe interval to 1 or 2 s";
                    detail = Some(text.to_owned());
                    Some((Shown::Error, Some("no_keyframe")))
                }
                Written::Late => {
                    let text = "frames come but none was written for 5 s; the disk is too slow or hangs";
                    detail = Some(text.to_owned());
                    Some((Shown::Error, Some("disk")))
                }
            };
            if let Some(word) = word {
                (shown, reason) = word;
            }
        }
        // Getting ready for a window is nothing to look at yet; a camera that waits for a trigger and has no frames is.
        let early = matches!(self.demand.want, Want::Armed(Idle::OutsideSchedule(_)));
        let idle = self.record_since.is_none()
            && (shown == Shown::Recording || (early && shown == Shown::Connecting));
        if idle || shown == Shown::Disabled {
            (shown, reason) = resting(self.demand.want);
            detail = self.demand.want.advice().map(str::to_owned);
            if self.for_mirror {
                detail = Some("recorded on the mirror alone (mirror_mode: continuous)".to_owned());
            }
        }
        if idle && recorded.pre_roll_short {
            let seconds = recorded.pre_roll.as_secs_f64();
            detail =
                Some(format!("the pre-roll is cut short to {seconds:.1} s: it would take too much memory"));
        }
        let mut damage = self.before.damage;
        damage += session.as_ref().map(|session| session.damage()).unwrap_or_default();
        let description = self.description.as_ref();
        let old = self.status.borrow();
        let since = if old.shown == shown && old.reason == reason { old.since } else { WallUs::now() };
        let status = CameraStatus {
            shown,
            reason,
            detail,
            since,
            last_frame_at: seen.last.map(wall).or(old.last_frame_at),
            until: self.demand.want.opens().filter(|_| shown == Shown::Idle),
            window_end: self.window_end,
            next_attempt_at: self.life.next_attempt().map(wall),
            reconnects: self.life.reconnects,
            last_error: self.last_error.clone(),
            source: description.map(|of| of.source).or(old.source),
            source_fallback: description
                .map_or_else(|| old.source_fallback.clone(), |of| of.fallback.clone()),
            observed: Observed {
                video: seen.video.or(old.observed.video),
                fps: seen.fps,
                bit_rate_bps: seen.bit_rate_bps,
                keyframe_interval: seen.keyframe_interval,
                clock_ahead_us: seen.clock_ahead_us,
                frames: self.before.frames + seen.frames,
                bytes: self.before.bytes + seen.bytes,
                segments: self.before.segments + recorded.segments,
                dropped_frames: self.before.dropped + recorded.dropped_frames,
                pre_roll: idle.then_some(recorded.pre_roll),
                picture: seen
                    .keyframe
                    .map(|keyframe| self.keyframes_before.load(Relaxed) + keyframe.number)
                    .or(old.observed.picture),
                damage,
            },
        };
        (status, written)
    }
}
