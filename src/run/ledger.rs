//! Keeps every camera's [`Ledger`]. Drivers, the clerk and recovery tell it what happens, which costs them a short lock
//! and no I/O; one task writes what changed, a moment later and in one transaction for all cameras. While the database
//! is away the ledgers go on, and what they say then follows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, oneshot},
    time::sleep_until,
};

use super::{Change, GapTold, hub::Hub};
use crate::{
    base::{CameraId, WallUs, error::Chain},
    model::{
        anchor::Jump,
        coverage::{self, Fate, Sign, Tally},
        demand,
        event::{Kind, NewEvent, Severity},
        ledger::{Absence, Cause, Gap, Ledger, Standing, Stretch},
        refill::queue::Tried,
        segment::{SegmentFacts, SegmentState},
        timeline::Range,
    },
    store::{self, Account, GapChanges, GapsWritten, Store},
};

/// A change is written so long after it is known: the last fragments of a run are told of a moment after its loss, and
/// a gap that they close is never seen.
const HOLD: Duration = Duration::from_millis(1_500);
/// Between attempts at a database that is away.
const AGAIN: Duration = Duration::from_secs(1);
/// Without footage and gaps to tell of it, this is how exactly is known when the service was last alive. One row, one
/// sync of the disk, and only while nothing at all is recorded.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// Shorter gaps are counted, but neither listed nor told of.
pub(super) const LEAST_US: i64 = 1_000_000;

/// All ledgers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledgers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    books: Mutex<Books>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Books {
    of: BTreeMap<CameraId, Book>,
    /// When something was last written that tells that the service is alive.
    told_alive: Option<Instant>,
}

/// One camera's ledger, and what of it is in the index.
#[derive(Debug)]
struct Book {
    ledger: Ledger,
    /// Rows of the stretches that are done but not forgotten, then of the open ones, in their order.
    rows: Vec<(i64, Stretch)>,
    /// Where the ledger was taken up.
    begun: WallUs,
    /// Stretches beside the ledger's.
    apart: Vec<Stretch>,
    /// Footage that turned up in what the index has.
    footage: Vec<Range>,
    /// When it is to be written.
    due: Option<Instant>,
    removed: bool,
}

/// What is being written of one book.
struct Plan {
    changes: GapChanges,
    /// The ledger's stretches, of which the first `done` are over, and which of them are written.
    stretches: Vec<Stretch>,
    done: usize,
    written: Vec<usize>,
    /// Numbers of `apart` and of `footage`.
    apart: usize,
    footage: usize,
}

/// How much of a camera's wanted time was recorded, and what is missing right now.
#[derive(Clone, Debug, PartialEq)]
pub struct CoverageNow {
    /// Which camera.
    pub camera: CameraId,
    /// Of this UTC day, in percent; `None` if none was wanted.
    pub today: Option<f64>,
    /// Of the UTC day before.
    pub yesterday: Option<f64>,
    /// Why footage is missing now, and since when it is so.
    pub open: Option<(Cause, WallUs)>,
}

impl Book {
    fn new(ledger: Ledger) -> Self {
        let due = Some(Instant::now());
        let begun = ledger.settled();
        Self { ledger, rows: vec![], begun, apart: vec![], footage: vec![], due, removed: false }
    }

    /// The book of a camera as the index knows it. `since` is when the index began to keep account; `wanted` says from
    /// when on footage was wanted, or not, after a time at which nobody looked any more.
    fn open(
        account: Account,
        created: WallUs,
        since: WallUs,
        wanted: impl FnOnce(WallUs) -> Vec<(WallUs, bool)>,
        alive: WallUs,
        now: WallUs,
    ) -> Self {
        let Account { footage_to, absent_to, open } = account;
        let known = footage_to.max(absent_to);
        let first = open.is_none() && absent_to.is_none();
        let stretch = open.as_ref().map(|open| open.stretch);
        let from = known.unwrap_or(created).min(now);
        let alive = alive.min(now);
        let changes = wanted(stretch.map_or(from, |open| alive.max(open.from)));
        let wanted = changes.last().is_some_and(|(_, wanted)| *wanted);
        if first && footage_to.is_none() && created >= now {
            return Self::new(Ledger::new(created, wanted));
        }
        if first && created < since {
            // Recorded before there was any account: nothing can be said of that time.
            return Self::new(Ledger::from(now, wanted));
        }
        let mut book = Self::new(Ledger::resumed(from, stretch, wanted, alive, now));
        changes.into_iter().for_each(|(at, wanted)| book.ledger.want(at, wanted));
        if first && known.is_none_or(|known| created < known) {
            book.apart.push(Stretch { from: WallUs(0), to: Some(created), absence: Absence::NotWanted });
        }
        if let (Some(open), Some(to)) = (&open, footage_to) {
            // Recovery found more at the end of the last segment than the index had when the gap was opened.
            book.ledger.found(Range { from: open.stretch.from, to });
        }
        book.rows.extend(open.map(|open| (open.id, open.stretch)));
        book
    }

    /// Is to be written before long.
    fn changed(&mut self, hold: Duration) {
        let due = Instant::now() + hold;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// What is to be written; `None` if the index has it all.
    fn plan(&self, camera: &CameraId, now: WallUs) -> Option<Plan> {
        let done = self.ledger.done().len();
        let stretches = [self.ledger.done(), &self.ledger.open(now)].concat();
        let mut changes = GapChanges::of(camera);
        let mut written = Vec::new();
        for (n, stretch) in stretches.iter().enumerate() {
            let row = self.rows.get(n);
            if stretch.to.is_some() && row.is_none_or(|(_, old)| old.to.is_none()) {
                changes.events.extend(event(camera, stretch, now));
            }
            if row.is_none_or(|(_, old)| old != stretch) {
                changes.rows.push((row.map(|(id, _)| *id), *stretch));
                written.push(n);
            }
        }
        changes.rows.extend(self.apart.iter().map(|stretch| (None, *stretch)));
        changes.gone.extend(self.rows.iter().skip(stretches.len()).map(|(id, _)| *id));
        changes.footage.clone_from(&self.footage);
        let plan =
            Plan { changes, stretches, done, written, apart: self.apart.len(), footage: self.footage.len() };
        let GapChanges { rows, gone, footage, .. } = &plan.changes;
        (done > 0 || !rows.is_empty() || !gone.is_empty() || !footage.is_empty()).then_some(plan)
    }

    /// Notes what was written, and gives what there is to tell.
    fn written(&mut self, plan: &Plan, written: GapsWritten) -> Vec<GapTold> {
        let camera = &plan.changes.camera;
        let mut told = Vec::new();
        let old = std::mem::take(&mut self.rows);
        let mut ids = written.ids.into_iter();
        for (n, stretch) in plan.stretches.iter().enumerate() {
            let was = old.get(n);
            let id = if plan.written.contains(&n) { ids.next() } else { was.map(|(id, _)| *id) };
            let Some(id) = id else { continue };
            if plan.written.contains(&n) && (was.is_some() || matters(stretch)) {
                told.push(GapTold::Now(Gap {
                    id,
                    camera: camera.clone(),
                    stretch: *stretch,
                    tried: Tried::default(),
                }));
            }
            if n >= plan.done {
                self.rows.push((id, *stretch));
            }
        }
        for (id, stretch) in old.into_iter().skip(plan.stretches.len()) {
            told.push(GapTold::Covered(Gap { id, camera: camera.clone(), stretch, tried: Tried::default() }));
        }
        for (gap, range, left) in written.covered {
            self.ledger.tally_mut().absent(range, gap.stretch.absence, Sign::Minus);
            self.ledger.tally_mut().recorded(range, Sign::Plus);
            if left.first().is_none_or(|first| first.id != gap.id) {
                told.push(GapTold::Covered(gap));
            }
            told.extend(left.into_iter().map(GapTold::Now));
        }
        self.ledger.forget(plan.done);
        self.apart.drain(..plan.apart);
        self.footage.drain(..plan.footage);
        told.retain(|told| told.gap().stretch.absence != Absence::NotWanted);
        told
    }
}

fn matters(stretch: &Stretch) -> bool {
    stretch.to.is_none_or(|to| to.0 - stretch.from.0 >= LEAST_US)
}

impl Ledgers {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the accounts of these cameras (with when each was added, and when it is recorded) where the last process
    /// left them. Gives where each one's footage ends.
    pub(super) async fn load(
        &self,
        store: &Store,
        cameras: impl Iterator<Item = (CameraId, WallUs, demand::Settings<'_>)>,
        now: WallUs,
    ) -> Result<BTreeMap<CameraId, WallUs>, store::Error> {
        let mut accounts = Vec::new();
        for (camera, created, when) in cameras {
            accounts.push((store.account(&camera).await?, camera, created, when));
        }
        let reached =
            accounts.iter().filter_map(|(account, camera, ..)| Some((camera.clone(), account.footage_to?)));
        let reached = reached.collect();
        let life = store.life().await?;
        let ends = accounts.iter().filter_map(|(account, ..)| {
            account.footage_to.max(account.absent_to).max(account.open.as_ref().map(|open| open.stretch.from))
        });
        let alive = ends.chain(life.map(|life| life.at)).max().unwrap_or(now);
        let since = life.map_or(now, |life| life.since);
        let mut books = self.lock();
        for (account, camera, created, when) in accounts {
            let wanted = |from| demand::changes(&when, from, now);
            books.of.insert(camera, Book::open(account, created, since, wanted, alive, now));
        }
        Ok(reached)
    }

    /// Counts what the index knows of this and the last UTC day, for the metrics. Once, after [`Self::load`].
    pub(super) async fn count(&self, store: &Store, now: WallUs) -> Result<(), store::Error> {
        let cameras: Vec<(CameraId, WallUs)> =
            self.lock().of.iter().map(|(id, book)| (id.clone(), book.begun)).collect();
        for (camera, to) in cameras {
            let window = Range { from: Tally::first(now), to };
            if window.from >= window.to {
                continue;
            }
            let footage = store.ranges(&camera, window).await?;
            let gaps = store.stretches(&camera, window).await?;
            let stretches: Vec<Stretch> = gaps.into_iter().map(|gap| gap.stretch).collect();
            let parts = coverage::parts(&footage, &stretches, window, to);
            let mut books = self.lock();
            let Some(book) = books.of.get_mut(&camera) else { continue };
            for part in parts {
                match part.fate {
                    Fate::Recorded => book.ledger.tally_mut().recorded(part.range, Sign::Plus),
                    Fate::Absent(absence) => book.ledger.tally_mut().absent(part.range, absence, Sign::Plus),
                    Fate::Unknown => {}
                }
            }
        }
        Ok(())
    }

    /// A camera was added.
    pub(super) async fn added(&self, store: &Store, camera: &CameraId, at: WallUs, wanted: bool) {
        let known = self.lock().of.contains_key(camera);
        let book = if known {
            None
        } else {
            // It may be one that was removed, and that nobody wanted since.
            let account = store.account(camera).await.unwrap_or_else(|error| {
                tracing::warn!(camera.id = %camera, "its gaps of earlier days are not known: {}", Chain(&error));
                Account::default()
            });
            Some(Book::open(account, at, at, |_| Vec::new(), at, at))
        };
        let mut books = self.lock();
        let book = books
            .of
            .entry(camera.clone())
            .or_insert_with(|| book.unwrap_or_else(|| Book::new(Ledger::new(at, wanted))));
        book.removed = false;
        book.ledger.want(at, wanted);
        book.changed(Duration::ZERO);
        self.0.wake.notify_one();
    }

    /// A camera was removed: nobody wants footage of it any more.
    pub(super) fn removed(&self, camera: &CameraId, at: WallUs) {
        self.change(camera, HOLD, |book| {
            book.removed = true;
            book.ledger.want(at, false);
        });
    }

    /// The host's clock jumped, and this camera's recording with it.
    pub(super) fn jumped(&self, camera: &CameraId, jump: Jump) {
        self.change(camera, HOLD, |book| book.ledger.jumped(jump.from, jump.to));
    }

    /// What a camera's driver sees from `at` on.
    pub(super) fn stand(&self, camera: &CameraId, at: WallUs, wanted: bool, standing: Standing) {
        let mut books = self.lock();
        let Some(book) = books.of.get_mut(camera) else { return };
        // That it is wanted is what a kill must not take away. Where it ends to be, the last footage is still on its way.
        let hold = if wanted && !book.ledger.wanted() { Duration::ZERO } else { HOLD };
        book.ledger.want(at, wanted);
        book.ledger.stand(at, standing);
        book.changed(hold);
        self.0.wake.notify_one();
    }

    /// What is on disk now of segments that are recorded.
    pub(super) fn recorded<'a>(&self, facts: impl IntoIterator<Item = &'a SegmentFacts>) {
        let mut books = self.lock();
        for facts in facts {
            books.told_alive = Some(Instant::now());
            let Some(book) = books.of.get_mut(&facts.head.camera) else { continue };
            let footage = Range { from: facts.head.start, to: facts.end() };
            if facts.state == SegmentState::Lost {
                book.lost(footage);
            } else {
                book.ledger.recorded(footage, facts.extent.frames);
            }
            let quiet = book.ledger.done().is_empty() && book.rows.is_empty() && book.apart.is_empty();
            if !quiet {
                book.changed(HOLD);
                self.0.wake.notify_one();
            }
        }
    }

    /// Footage turned up that nobody had told of.
    pub(super) fn found(&self, camera: &CameraId, footage: Range) {
        self.change(camera, HOLD, |book| book.footage.extend(book.ledger.found(footage)));
    }

    /// Footage is gone that had been told of.
    pub(super) fn lost(&self, camera: &CameraId, footage: Range) {
        self.change(camera, HOLD, |book| book.lost(footage));
    }

    fn change(&self, camera: &CameraId, hold: Duration, change: impl FnOnce(&mut Book)) {
        if let Some(book) = self.lock().of.get_mut(camera) {
            change(book);
            book.changed(hold);
            self.0.wake.notify_one();
        }
    }

    /// How much was recorded of each camera that is there. Costs nothing: it was counted as it happened.
    pub(super) fn now(&self, now: WallUs) -> Vec<CoverageNow> {
        let books = self.lock();
        let there = books.of.iter().filter(|(_, book)| !book.removed);
        let coverage = there.map(|(camera, book)| {
            let open = book.ledger.open(now);
            let gap = open.last().and_then(|last| match last.absence {
                Absence::Missing(cause) if last.to.is_none() => Some((cause, last.from)),
                Absence::Missing(_) | Absence::NotWanted => None,
            });
            let tally = book.ledger.tally();
            CoverageNow {
                camera: camera.clone(),
                today: tally.day(0, now, &open).percent(),
                yesterday: tally.day(1, now, &open).percent(),
                open: gap,
            }
        });
        coverage.collect()
    }

    /// Writes what changes, until `stop` comes (or its sender is gone), and then once more.
    pub(super) async fn keep(self, store: Store, hub: Hub, mut stop: oneshot::Receiver<()>) {
        let (mut last, mut not_before) = (false, Instant::now());
        while !last {
            let wake_at = {
                let books = self.lock();
                let due = books.of.values().filter_map(|book| book.due).min();
                let alive = books.told_alive.map_or_else(Instant::now, |at| at + ALIVE_EVERY);
                due.map_or(alive, |due| due.min(alive)).max(not_before)
            };
            tokio::select! {
                () = sleep_until(wake_at.into()) => {}
                () = self.0.wake.notified() => continue,
                _ = &mut stop => last = true,
            }
            if let Err(error) = self.write(&store, &hub, last).await {
                // The clerk has said that the database is away.
                tracing::debug!("gaps wait: {}", Chain(&error));
                not_before = Instant::now() + AGAIN;
            }
        }
    }

    /// Writes what is due, or everything.
    async fn write(&self, store: &Store, hub: &Hub, all: bool) -> Result<(), store::Error> {
        let (at, now) = (Instant::now(), WallUs::now());
        let (mut plans, silent) = {
            let mut books = self.lock();
            let silent = books.told_alive.is_none_or(|told| at >= told + ALIVE_EVERY);
            let mut plans = Vec::new();
            for (camera, book) in &mut books.of {
                if all || book.due.is_some_and(|due| due <= at) {
                    book.due = None;
                    plans.extend(book.plan(camera, now));
                }
            }
            (plans, silent)
        };
        if plans.is_empty() && !silent && !all {
            return Ok(());
        }
        let changes: Vec<GapChanges> = plans.iter().map(|plan| plan.changes.clone()).collect();
        let written = store.write_gaps(&changes, Some(now)).await;
        let mut books = self.lock();
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                for plan in &plans {
                    if let Some(book) = books.of.get_mut(&plan.changes.camera) {
                        book.changed(Duration::ZERO);
                    }
                }
                return Err(error);
            }
        };
        books.told_alive = Some(Instant::now());
        for (plan, written) in plans.drain(..).zip(written) {
            let Some(book) = books.of.get_mut(&plan.changes.camera) else { continue };
            for (id, event) in written.events.iter().zip(&plan.changes.events) {
                hub.logged(*id, event.clone());
            }
            book.written(&plan, written).into_iter().for_each(|told| hub.tell(Change::Gap(told)));
        }
        // Their last stretch is in the index, for when they come back.
        books.of.retain(|_, book| !book.removed || book.due.is_some());
        Ok(())
    }
}

impl Book {
    fn lost(&mut self, footage: Range) {
        let to = footage.to.min(self.ledger.settled());
        if footage.from < to {
            let range = Range { from: footage.from, to };
            let lost = Stretch::lost(range);
            self.ledger.tally_mut().recorded(range, Sign::Minus);
            self.ledger.tally_mut().absent(range, lost.absence, Sign::Plus);
            self.apart.push(lost);
        }
    }
}

/// The event of a gap that is over, for only now is known how long it was.
fn event(camera: &CameraId, stretch: &Stretch, now: WallUs) -> Option<NewEvent> {
    let Stretch { from, to: Some(to), absence: Absence::Missing(cause) } = *stretch else { return None };
    let tenths = (to.0 - from.0) / 100_000;
    // Whoever changes something knows that it takes a second.
    let severity = if cause == Cause::Operator { Severity::Info } else { Severity::Warning };
    matters(stretch).then(|| {
        let detail = format!(
            "{}: nothing was recorded for {}.{} s, from {}",
            cause.word(),
            tenths / 10,
            tenths % 10,
            from.rfc3339()
        );
        let camera = Some(camera.clone());
        NewEvent::new(now, camera, Kind::RecordingGap, severity, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Profile,
        demand::Mode,
        schedule::{Row, Schedule, Zone},
        segment::{Codec, Extent, SegmentHead, Source},
    };

    struct Desk {
        _dir: tempfile::TempDir,
        store: Store,
        hub: Hub,
        ledgers: Ledgers,
    }

    impl Desk {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("x.db")).await.unwrap();
            Self { _dir: dir, store, hub: Hub::new().0, ledgers: Ledgers::default() }
        }

        async fn write(&self) {
            self.ledgers.write(&self.store, &self.hub, true).await.unwrap();
        }

        /// What the index has, in seconds.
        async fn known(&self) -> Vec<(i64, Option<i64>, &'static str)> {
            let all = Range { from: at(0), to: at(1_000) };
            let gaps = self.store.stretches(&front(), all).await.unwrap();
            let second = |at: WallUs| at.0 / 1_000_000;
            gaps.iter()
                .map(|gap| gap.stretch)
                .map(|Stretch { from, to, absence }| (second(from), to.map(second), absence.word()))
                .collect()
        }
    }

    fn front() -> CameraId {
        "front".parse().unwrap()
    }

    fn at(second: i64) -> WallUs {
        WallUs(second * 1_000_000)
    }

    fn footage(from: i64, to: i64) -> SegmentFacts {
        let head = SegmentHead {
            camera: front(),
            profile: Profile::Main,
            start: at(from),
            codec: Codec::H264,
            width: 1,
            height: 1,
            audio: None,
            source: Source::Live,
            only_mirror: false,
        };
        let extent = Extent { frames: 25, bytes: 1, duration_us: (to - from) * 1_000_000 };
        let path = format!("front/{from}.mp4");
        SegmentFacts { head, path, extent, state: SegmentState::Closed, hash: None }
    }

    #[tokio::test]
    async fn a_camera_that_is_removed_and_added_again_was_not_wanted_in_between() {
        let desk = Desk::new().await;
        desk.ledgers.added(&desk.store, &front(), at(1), true).await;
        desk.ledgers.recorded(&[footage(2, 5)]);
        desk.ledgers.removed(&front(), at(5));
        desk.write().await;
        assert!(desk.ledgers.lock().of.is_empty());
        desk.ledgers.added(&desk.store, &front(), at(60), true).await;
        desk.ledgers.recorded(&[footage(61, 70)]);
        desk.write().await;
        let expected = [
            (0, Some(1), "not_wanted"),
            (1, Some(2), "operator"),
            (5, Some(60), "not_wanted"),
            (60, Some(61), "operator"),
        ];
        assert_eq!(desk.known().await, expected);
    }

    #[test]
    fn while_the_service_was_down_the_schedule_went_on() {
        let row = Row { weekdays: vec![3], start: "00:01".into(), end: "00:02".into(), enabled: true };
        let schedule = &Schedule::new(vec![row]).unwrap();
        let missing = Absence::Missing(Cause::ServiceDown);
        let stretch = |from, to: Option<i64>, absence| Stretch { from: at(from), to: to.map(at), absence };
        let modes = [
            (Mode::Continuous, vec![stretch(90, None, missing)]),
            (Mode::Scheduled, vec![stretch(90, Some(120), missing), stretch(120, None, Absence::NotWanted)]),
            (Mode::Event, vec![stretch(90, None, Absence::NotWanted)]),
        ];
        for (mode, expected) in modes {
            let when =
                demand::Settings { enabled: true, mode, schedule, zone: Zone::UTC, idle_session: true };
            let account = Account { footage_to: Some(at(90)), absent_to: Some(at(60)), open: None };
            let wanted = |from| demand::changes(&when, from, at(300));
            let book = Book::open(account, at(60), at(0), wanted, at(90), at(300));
            assert_eq!(book.ledger.open(at(300)), expected, "{mode:?}");
        }
    }

    #[tokio::test]
    async fn what_could_not_be_written_follows_as_it_is_then() {
        let desk = Desk::new().await;
        let mut changes = desk.hub.watch();
        desk.ledgers.added(&desk.store, &front(), at(0), true).await;
        desk.ledgers.recorded(&[footage(0, 5)]);
        desk.write().await;
        let away = Store::open(&desk._dir.path().join("y.db")).await.unwrap();
        away.close().await;
        let offline = Standing::Missing(Cause::CameraOffline);
        desk.ledgers.stand(&front(), at(6), true, offline);
        assert!(desk.ledgers.write(&away, &desk.hub, true).await.is_err());
        // It is back before the database is, goes again, and some footage turns up later.
        desk.ledgers.recorded(&[footage(8, 10)]);
        desk.ledgers.stand(&front(), at(12), true, offline);
        assert!(desk.ledgers.write(&away, &desk.hub, true).await.is_err());
        desk.write().await;
        assert_eq!(desk.known().await, [(5, Some(8), "camera_offline"), (10, None, "camera_offline")]);
        desk.ledgers.found(&front(), Range { from: at(6), to: at(7) });
        desk.ledgers.lost(&front(), Range { from: at(2), to: at(3) });
        desk.write().await;
        let expected = [
            (2, Some(3), "disk_error"),
            (5, Some(6), "camera_offline"),
            (7, Some(8), "camera_offline"),
            (10, None, "camera_offline"),
        ];
        assert_eq!(desk.known().await, expected);
        // Told as it went: one event for the gap that was over, and the open one.
        let mut events = 0;
        while let Ok(change) = changes.try_recv() {
            events += usize::from(matches!(change, Change::Event(_)));
        }
        assert_eq!(events, 1);
        let now = desk.ledgers.now(at(20)).remove(0);
        assert_eq!(now.open, Some((Cause::CameraOffline, at(10))));
        // 20 s: 5 + 2 recorded, one more found, one lost.
        assert_eq!(now.today, Some(35.0));
    }
}
