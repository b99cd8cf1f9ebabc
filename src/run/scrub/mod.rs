//! Reads closed segments again, on every volume that says it has them whole, and compares them with the hashes of their
//! rows: a disk that forgets is found while there is another copy. What is wrong is marked, and the resync makes it whole
//! from the other volume.
//!
//! A pass goes through the rows by their ids; where it is stands in the database, and a restart goes on there.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::io::Errno;
use tokio::{
    sync::{Notify, oneshot},
    time::{sleep, timeout},
};

use super::{Error, Watchkeeper, hub::Hub, ledger::Ledgers, resync::Pace};
use crate::{
    base::{CameraId, WallUs, error::Chain, threads::on_thread, ticks::Ticks},
    disk::{self, Health, Volume, Volumes},
    model::{
        copies::{CopyState, Place},
        event::{Kind, NewEvent, Severity},
        segment::Hash,
    },
    store::{self, ScrubPass, Scrubbed, Store},
};

/// From the end of a pass to the next.
const REST: Duration = Duration::from_secs(3600);
/// Between looks whether there is something to do.
const EVERY: Duration = Duration::from_secs(2);
/// How far it is is written so often.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// And when it is stopped, within this: nothing waits for it.
const SAVE_WITHIN: Duration = Duration::from_millis(200);
/// Rows read at once.
const PAGE: u32 = 256;
/// A volume whose writer waits longer is left to it,
const BUSY: Duration = Duration::from_secs(1);
/// and passed over if that does not end within so many looks.
const BUSY_LOOKS: u32 = 30;
/// So many damaged copies of a pass are told of one by one.
const TOLD: u64 = 20;
/// The lowest priority.
const NICE: i32 = 19;

/// How the verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubNow {
    /// It reads no faster; 0: never.
    pub bytes_per_second: u64,
    /// The pass under way, and the last one.
    pub pass: ScrubPass,
}

/// What all see of it.
#[derive(Clone, Debug)]
pub(super) struct ScrubState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes_per_second: u64,
    pass: Mutex<ScrubPass>,
    wake: Notify,
}

impl ScrubState {
    pub(super) fn new(bytes_per_second: u64, pass: ScrubPass) -> Self {
        Self(Arc::new(Shared { bytes_per_second, pass: Mutex::new(pass), wake: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, ScrubPass> {
        self.0.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self) -> ScrubPass {
        *self.lock()
    }

    fn now(&self) -> ScrubNow {
        ScrubNow { bytes_per_second: self.0.bytes_per_second, pass: self.pass() }
    }

    /// One more copy was read.
    fn checked(&self, bytes: u64) {
        let mut pass = self.lock();
        pass.checked += 1;
        pass.checked_bytes += bytes;
    }

    /// Begins a pass at once.
    fn begin(&self) -> Result<ScrubNow, Error> {
        if self.0.bytes_per_second == 0 {
            return Err(Error::ScrubOff);
        }
        let mut pass = self.lock();
        if pass.began.is_some() {
            return Err(Error::ScrubRunning);
        }
        begin(&mut pass);
        drop(pass);
        self.0.wake.notify_one();
        Ok(self.now())
    }

    /// Whether there is a pass to go on with; begins the one that is due.
    fn is_under_way(&self) -> bool {
        let mut pass = self.lock();
        let now = WallUs::now();
        // A clock that was set back makes nobody wait longer than the rest.
        let is_due = pass.next <= now || pass.next > now.plus(REST);
        if self.0.bytes_per_second > 0 && pass.began.is_none() && is_due {
            begin(&mut pass);
        }
        self.0.bytes_per_second > 0 && pass.began.is_some()
    }
}

/// What it goes up to is looked up by the pass itself.
fn begin(pass: &mut ScrubPass) {
    let ScrubPass { next, ended, ended_damaged, .. } = *pass;
    *pass = ScrubPass { began: Some(WallUs::now()), next, ended, ended_damaged, ..ScrubPass::default() };
}

impl Watchkeeper {
    /// How the verification of hashes is.
    pub fn scrub(&self) -> ScrubNow {
        self.0.scrub.now()
    }

    /// Begins a pass of it at once.
    pub fn begin_scrub(&self) -> Result<ScrubNow, Error> {
        if self.0.stopping.load(Relaxed) { Err(Error::Stopping) } else { self.0.scrub.begin() }
    }
}

/// Why it could not go on.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("cannot use the index")]
    Store(#[from] store::Error),
    #[error("a thread died, or none can be started")]
    Thread,
}

/// What a look at a copy found.
#[derive(Debug)]
enum Seen {
    /// It is what was recorded.
    Right,
    /// It is not; what is to be said of it in the row, and to people.
    Wrong(CopyState, String),
    /// It cannot be told now, because of its volume.
    Unknown,
}

pub(super) struct Scrub {
    pub(super) state: ScrubState,
    pub(super) volumes: Volumes,
    pub(super) store: Store,
    pub(super) hub: Hub,
    pub(super) ledgers: Ledgers,
    /// Damaged copies may wait to be made whole.
    pub(super) waiting: bool,
    /// Those that were made whole and are still to be told of.
    pub(super) healed: u64,
}

impl Scrub {
    /// Works until `stop` comes, or its sender is gone. A read that hangs is left to its thread.
    pub(super) async fn work(mut self, mut stop: oneshot::Receiver<()>) {
        let going = Arc::new(AtomicBool::new(true));
        tokio::select! {
            () = self.rounds(&going) => {}
            _ = &mut stop => going.store(false, Relaxed),
        }
        let pass = self.state.pass();
        if pass.began.is_some() {
            // If that fails, the next start reads a few segments again.
            let _ = timeout(SAVE_WITHIN, self.store.save_scrub_pass(&pass)).await;
        }
    }

    async fn rounds(&mut self, going: &Arc<AtomicBool>) {
        let (mut said, mut ticks) = (false, Ticks::new());
        let state = self.state.clone();
        loop {
            let done = if state.is_under_way() { self.pass(going).await } else { self.mended(false).await };
            match done {
                Ok(()) => said = false,
                // Said once; it is tried again.
                Err(error) if !std::mem::replace(&mut said, true) => {
                    tracing::warn!("closed segments are not read again now: {}", Chain(&error));
                }
                Err(_) => {}
            }
            tokio::select! {
                () = ticks.next(EVERY) => {}
                () = state.0.wake.notified() => {}
            }
        }
    }

    /// Goes on with the pass to its end.
    async fn pass(&mut self, going: &Arc<AtomicBool>) -> Result<(), Failed> {
        if self.state.pass().upto == 0 {
            self.prepare().await?;
        }
        let (upto, began) = (self.state.pass().upto, Instant::now());
        let mut saved = Instant::now();
        loop {
            let page = self.store.to_scrub(self.state.pass().after, PAGE).await?;
            let mut page = page.into_iter().take_while(|segment| segment.id <= upto).peekable();
            if page.peek().is_none() {
                break;
            }
            for segment in page {
                for place in Place::ALL {
                    if segment.copies.at(*place) == CopyState::Whole {
                        self.copy(*place, &segment, going).await?;
                    }
                }
                self.state.lock().after = segment.id;
                if saved.elapsed() >= SAVE_EVERY {
                    self.save().await?;
                    saved = Instant::now();
                }
            }
        }
        let pass = {
            let mut pass = self.state.lock();
            let now = WallUs::now();
            (pass.began, pass.next) = (None, now.plus(REST));
            (pass.ended, pass.ended_damaged) = (Some(now), pass.damaged);
            *pass
        };
        self.save().await?;
        let ScrubPass { checked, checked_bytes, skipped, damaged, .. } = pass;
        let seconds = began.elapsed().as_secs_f32();
        tracing::info!(checked, checked_bytes, skipped, damaged, seconds, "closed segments were read again");
        if damaged > TOLD {
            let detail = format!("and {} more copies in this pass of the scrub", damaged - TOLD);
            self.log(None, Kind::SegmentDamaged, Severity::Error, detail);
        }
        self.mended(true).await
    }

    /// How far the pass will go.
    async fn prepare(&self) -> Result<(), Failed> {
        let (mut copies, mut bytes) = (0, 0);
        for (place, _) in self.volumes.all() {
            for stored in self.store.stored(place).await? {
                copies += stored.segments;
                bytes += stored.bytes;
            }
        }
        let upto = self.store.last_segment().await?;
        {
            let mut pass = self.state.lock();
            (pass.upto, pass.copies, pass.bytes) = (upto, copies, bytes);
        }
        self.save().await
    }

    async fn save(&self) -> Result<(), Failed> {
        Ok(self.store.save_scrub_pass(&self.state.pass()).await?)
    }

    /// Looks at one copy.
    async fn copy(
        &mut self,
        place: Place,
        segment: &Scrubbed,
        going: &Arc<AtomicBool>,
    ) -> Result<(), Failed> {
        if self.volumes.at(place).is_none() {
            return Ok(());
        }
        let Some(volume) = self.ready(place).await else {
            self.state.lock().skipped += 1;
            return Ok(());
        };
        let mut seen = self.look(&volume, segment, going).await?;
        let mut other = segment.copies.at(place.other());
        if matches!(seen, Seen::Wrong(..)) {
            // Retention may have taken it meanwhile, and the resync may have put another in its place.
            match self.store.segment(segment.id).await {
                Ok(now) if now.copies.at(place) == CopyState::Whole => other = now.copies.at(place.other()),
                Ok(_) | Err(store::Error::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            seen = self.look(&volume, segment, going).await?;
        }
        match seen {
            Seen::Unknown => self.state.lock().skipped += 1,
            Seen::Right => self.state.checked(segment.bytes),
            Seen::Wrong(copy, what) => {
                self.state.checked(segment.bytes);
                self.damaged(place, segment, copy, &what, other).await?;
            }
        }
        Ok(())
    }

    /// The volume, if it is well and its writer has nothing that waits.
    async fn ready(&self, place: Place) -> Option<Volume> {
        let writer = self.volumes.at(place)?;
        for _ in 0..BUSY_LOOKS {
            if *writer.health().borrow() != Health::Ok || writer.volume().away().is_some() {
                return None;
            }
            if writer.lag() < BUSY {
                return Some(writer.volume().clone());
            }
            sleep(BUSY).await;
        }
        None
    }

    async fn look(
        &self,
        volume: &Volume,
        segment: &Scrubbed,
        going: &Arc<AtomicBool>,
    ) -> Result<Seen, Failed> {
        // For each file anew: what was not read while a volume was away is not made up for.
        let mut pace = Pace::new(self.state.0.bytes_per_second, going.clone());
        let (volume, path, right) = (volume.clone(), segment.path.clone(), segment.hash);
        let seen = on_thread("scrub", move || {
            // On Linux of this thread alone. Without a class of its own for I/O, a thread's priority there follows from
            // this, too: 19 is the lowest of the best-effort class. If it is refused, there is still the pace.
            let _ = rustix::process::nice(NICE);
            look(&volume, &path, right, &mut pace)
        });
        seen.map_err(|_| Failed::Thread)?.await.map_err(|_| Failed::Thread)
    }

    async fn damaged(
        &mut self,
        place: Place,
        segment: &Scrubbed,
        copy: CopyState,
        what: &str,
        other: CopyState,
    ) -> Result<(), Failed> {
        let Some(lost) = self.store.found_damaged(place, segment.id, copy).await? else { return Ok(()) };
        if let Some((camera, range)) = lost {
            self.ledgers.lost(&camera, range);
        }
        self.waiting = true;
        let number = {
            let mut pass = self.state.lock();
            pass.damaged += 1;
            pass.damaged
        };
        if number <= TOLD {
            let (at, path) = (place.word(), &segment.path);
            let then = match other {
                CopyState::Whole => format!("it is copied from the {}", place.other().word()),
                _ => "there is no whole copy, so nothing can heal it".to_owned(),
            };
            let camera = path.split('/').next().and_then(|camera| camera.parse().ok());
            let detail = format!("{path} on the {at} {what}; {then}");
            self.log(camera, Kind::SegmentDamaged, Severity::Error, detail);
        }
        // At once, so that a kill does not make it uncounted: the row is not read again.
        self.save().await
    }

    /// Looks what became of the damaged copies, and tells when all are whole that can be, or when a pass ended.
    async fn mended(&mut self, ended: bool) -> Result<(), Failed> {
        if !self.waiting && !ended {
            return Ok(());
        }
        let mended = self.store.scrub_mended().await?;
        self.healed += mended.healed;
        self.waiting = mended.waiting > 0;
        if self.healed > 0 && (ended || !self.waiting) {
            let healed = std::mem::take(&mut self.healed);
            let mut detail = format!("{healed} copies that were damaged are whole again");
            if self.waiting {
                detail += &format!("; {} are still to be copied", mended.waiting);
            }
            self.log(None, Kind::SegmentHealed, Severity::Info, detail);
        }
        Ok(())
    }

    fn log(&self, camera: Option<CameraId>, kind: Kind, severity: Severity, detail: String) {
        self.hub.log(NewEvent::new(WallUs::now(), camera, kind, severity, detail));
    }
}

/// Reads a copy; blocks as long as the file system does, and as long as the pace has it.
fn look(volume: &Volume, path: &str, right: Hash, pace: &mut Pace) -> Seen {
    let seen = match disk::hash_paced(volume, path, |bytes| pace.go_on(bytes)) {
        Ok(hash) if hash == right => return Seen::Right,
        Ok(_) => Seen::Wrong(CopyState::Suspect, "is not what was recorded".to_owned()),
        Err(disk::Error::NotFound { .. }) => Seen::Wrong(CopyState::Absent, "is gone".to_owned()),
        Err(disk::Error::Refused { .. }) => {
            Seen::Wrong(CopyState::Suspect, "is no plain file any more".to_owned())
        }
        // A bad sector; what else the system may say is about more than one file.
        Err(disk::Error::Io { source, .. }) if Errno::from_io_error(&source) == Some(Errno::IO) => {
            Seen::Wrong(CopyState::Suspect, format!("cannot be read ({source})"))
        }
        Err(_) => return Seen::Unknown,
    };
    // A volume that went away meanwhile has no damaged files.
    if volume.attach().is_ok() { seen } else { Seen::Unknown }
}

#[cfg(test)]
mod tests;
