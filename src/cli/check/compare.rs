//! Files against rows, one by one: what `watchkeeper check` finds. [`recovery`] plans; this measures each file besides,
//! and says what is meant.

use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context as _;

use super::{
    super::fail::Failure,
    finding::{Finding, Kind},
    heal::Both,
};
use crate::{
    base::{WallUs, error::Chain},
    disk::{self, Volume, measure},
    model::{
        copies::{CopyState, Place},
        event::{Kind as EventKind, Severity},
        reconcile::{KnownRow, Step},
        segment::{Hash, SegmentState},
    },
    run::recovery::{self, Hashing, Named, Repaired, Walk},
    store::{self, EventPage, Store},
};

/// Events read at once.
const PAGE: u32 = 1000;
/// A file that was written within this is being written, whatever its name says of its beginning: the recorder writes
/// at least once a second, and the host's clock may have been set back meanwhile.
const BEING_WRITTEN: Duration = Duration::from_secs(10);

/// What was found, and what was done about it.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) findings: Vec<Finding>,
    /// Rows that were looked at.
    pub(super) rows: u64,
    /// Files that were measured.
    pub(super) measured: u64,
    /// Bytes in the files that are well.
    pub(super) bytes: u64,
    /// Rows that were marked lost before; nothing is to be done about them.
    pub(super) lost_before: u64,
    /// Closed rows without a hash, before a repair.
    pub(super) without_hash: u64,
    /// Hashes that the repair added to rows.
    pub(super) hashed: u64,
    /// Copies on the mirror that were looked at.
    pub(super) mirrored: u64,
    /// Files that were made what the other volume has.
    pub(super) healed: Named,
    pub(super) repaired: Option<Repaired>,
}

/// What a repair does about a file that cannot be made what the mirror has.
enum Otherwise {
    Step(Step),
    Suspect,
    Nothing,
}

/// What a repair changes.
#[derive(Debug, Default)]
struct Mend {
    steps: Vec<Step>,
    suspect: Vec<i64>,
    cleared: Vec<i64>,
    hashes: Vec<(i64, Hash)>,
    /// Of rows whose file was made what the mirror has.
    healed: Vec<(i64, Hash)>,
    /// Of files that the mirror has more of.
    on_mirror: Vec<Step>,
}

/// Which part is looked at, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Only what was begun before this, and of what came later what is closed.
    pub(super) before: WallUs,
    /// A service is writing.
    pub(super) running: bool,
    /// Every file is read, and its hash compared.
    pub(super) deep: bool,
    pub(super) repair: bool,
    /// The volumes carry the identities that are remembered: an empty one is empty, and not unmounted.
    pub(super) known: bool,
}

/// When the running service started, as its log says: everything older is not its own. Its first event stands before
/// its first segment, and an older answer than the right one only leaves more out.
pub(super) async fn last_start(store: &Store) -> anyhow::Result<Option<WallUs>> {
    let mut before = None;
    loop {
        let page = store
            .events(EventPage { camera: None, severity: Severity::Info, before, after: None, limit: PAGE })
            .await?;
        let start = page.iter().find(|event| event.event.kind == EventKind::ServiceStarted);
        if let Some(start) = start {
            return Ok(Some(start.event.at));
        }
        let Some(last) = page.last() else { return Ok(None) };
        before = Some(last.id);
    }
}

/// Compares every file with every row, measures or reads every file, and repairs if that is wanted, all a page at a
/// time; what is wrong is made what the mirror has, if it has it right. `tick` hears how many of how many are done.
pub(super) async fn compare(
    store: Option<&Store>,
    volume: &Volume,
    mirror: Option<&Volume>,
    scope: Scope,
    tick: impl Fn(u64, u64),
) -> anyhow::Result<Compared> {
    let Scope { before, running, repair, .. } = scope;
    let wanted = recovery::Scope { before, closed: running, sizes_since: WallUs(0) };
    let mut walk = Walk::new(store, Place::Primary, volume, wanted).await?;
    let files = walk.files().await?;
    let mut look = Look { store, volume, mirror, scope, out: Compared::default(), mend: Mend::default() };
    look.out.repaired = repair.then(Repaired::default);
    let mut done = 0;
    while let Some(page) = walk.next().await.context("cannot compare files and rows")? {
        let lost = |step: &Step| matches!(step, Step::Lost { .. });
        let may_be_unmounted = !(mirror.is_some() && scope.known);
        if repair && files == 0 && may_be_unmounted && page.steps.iter().any(lost) {
            let root = volume.root().display();
            let why = format!("the index knows recordings, and not one is in `{root}`");
            return Err(Failure::new(why).hint("is the disk mounted? Nothing was changed").into());
        }
        let mut planned = HashMap::new();
        let mut adopt = Vec::new();
        for step in page.steps {
            match step {
                Step::Finish { id, .. } | Step::Lost { id, .. } => {
                    planned.insert(id, step);
                }
                Step::Adopt { .. } => adopt.push(step),
            }
        }
        look.out.rows += page.rows.len() as u64;
        for row in &page.rows {
            look.row(row, planned.remove(&row.id)).await?;
            done += 1;
            tick(done, files.max(done));
        }
        for step in adopt {
            look.unknown(step);
            done += 1;
            tick(done, files.max(done));
        }
        look.repair().await?;
    }
    if let (Some(store), Some(done)) = (store, &mut look.out.repaired) {
        recovery::put_into_gaps(store, done.moved(true)).await?;
    }
    Ok(look.out)
}

/// A walk, and what it found so far.
struct Look<'a> {
    store: Option<&'a Store>,
    volume: &'a Volume,
    mirror: Option<&'a Volume>,
    scope: Scope,
    out: Compared,
    /// Of the page.
    mend: Mend,
}

impl Look<'_> {
    fn found(&mut self, kind: Kind, path: &str, detail: impl Into<String>) {
        self.out.findings.push(Finding::new(kind, path, detail));
    }

    /// A file that is not as it should be: made what the mirror has, or else what `otherwise` says.
    fn bad(&mut self, row: &KnownRow, kind: Kind, detail: impl Into<String>, otherwise: Otherwise) {
        let mirror = self.mirror.filter(|_| row.other == CopyState::Whole);
        let hash = mirror
            .filter(|_| self.scope.repair)
            .and_then(|mirror| Both { primary: self.volume, mirror }.heal(Place::Primary, row, true));
        let healed = hash.is_some();
        if let Some(hash) = hash {
            self.mend.cleared.push(row.id);
            self.mend.healed.extend(hash.map(|hash| (row.id, hash)));
            self.out.healed.add(row.path.clone());
            self.out.bytes += row.bytes;
        } else {
            match otherwise {
                Otherwise::Step(step) => self.mend.steps.push(step),
                Otherwise::Suspect => self.mend.suspect.push(row.id),
                Otherwise::Nothing => {}
            }
        }
        let finding = Finding::new(kind, &*row.path, detail);
        self.out.findings.push(Finding { elsewhere: mirror.is_some(), healed, ..finding });
    }

    async fn repair(&mut self) -> anyhow::Result<()> {
        let Mend { steps, suspect, cleared, hashes, healed, on_mirror } = std::mem::take(&mut self.mend);
        if let (Some(store), Some(done)) = (self.store, &mut self.out.repaired) {
            recovery::repair(store, Place::Primary, self.volume, steps, Hashing::Read, done).await?;
            if let Some(mirror) = self.mirror {
                recovery::repair(store, Place::Mirror, mirror, on_mirror, Hashing::Never, done).await?;
            }
            recovery::put_into_gaps(store, done.moved(false)).await?;
            store.mark(Place::Primary, &suspect, CopyState::Suspect).await?;
            store.mark(Place::Primary, &cleared, CopyState::Whole).await?;
            store.set_hashes(&healed).await?;
            store.set_hashes(&hashes).await?;
            self.out.hashed += hashes.len() as u64;
        }
        Ok(())
    }

    async fn row(&mut self, row: &KnownRow, step: Option<Step>) -> anyhow::Result<()> {
        match (step, row.state) {
            (Some(step @ Step::Lost { .. }), _) => {
                if !self.is_gone_meanwhile(row).await? {
                    let detail = "is in the index, but not on disk";
                    self.bad(row, Kind::Lost, detail, Otherwise::Step(step));
                }
            }
            (Some(step), _) => self.unsettled(row, step),
            (None, SegmentState::Closed | SegmentState::Suspect) => self.settled(row).await?,
            (None, SegmentState::Lost) => self.out.lost_before += u64::from(!row.other.is_there()),
            (None, SegmentState::Open) => {}
            (None, SegmentState::Deleting) if self.scope.running => {}
            (None, SegmentState::Deleting) => {
                self.found(Kind::Leaving, &row.path, "retention began to delete it");
            }
        }
        Ok(())
    }

    /// Whether the running service took a closed row away, or gave it up, since it was read.
    async fn is_gone_meanwhile(&self, row: &KnownRow) -> anyhow::Result<bool> {
        let Some(store) = self.store.filter(|_| self.scope.running) else { return Ok(false) };
        match store.segment(row.id).await {
            Ok(now) => Ok(row.state != now.facts.state
                && matches!(now.facts.state, SegmentState::Lost | SegmentState::Deleting)),
            Err(store::Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// A row that the plan wants to close with what its file holds.
    fn unsettled(&mut self, row: &KnownRow, step: Step) {
        if self.scope.running && is_being_written(self.volume, &row.path) {
            return;
        }
        let was_lost = row.state == SegmentState::Lost;
        match measure(self.volume, &row.path) {
            Ok(held) => {
                self.out.measured += 1;
                let (kind, said) = match row.state {
                    SegmentState::Open => (Kind::Unfinished, "was not finished".to_owned()),
                    SegmentState::Lost => (Kind::Returned, "was marked as lost, and is there".to_owned()),
                    SegmentState::Closed | SegmentState::Suspect | SegmentState::Deleting => {
                        (differs(row, Kind::Shrunk), format!("should have {} bytes", row.bytes))
                    }
                };
                let detail = format!("{said}; holds {}", holds(&held));
                if self.mirror_has_more(row, held.extent.bytes) {
                    self.found(kind, &row.path, format!("{detail}; the mirror has more of it"));
                    self.mend.on_mirror.push(step);
                } else {
                    self.bad(row, kind, detail, Otherwise::Step(step));
                }
            }
            Err(error @ (disk::Error::Io { .. } | disk::Error::Away { .. })) => {
                self.bad(row, Kind::Unreadable, said(&error), Otherwise::Nothing);
            }
            // It is known already that this footage is lost.
            Err(_) if was_lost => {
                self.out.lost_before += 1;
                self.found(Kind::Empty, &row.path, "is marked as lost; the file holds no footage");
            }
            Err(error) if self.mirror_has_more(row, 0) => {
                self.found(Kind::Unfinished, &row.path, format!("{}; the mirror has it", said(&error)));
                self.mend.on_mirror.push(step);
            }
            Err(error) => self.bad(row, Kind::Damaged, said(&error), Otherwise::Step(step)),
        }
    }

    /// Of what both were recording when the process died, the longer copy is the one to keep.
    fn mirror_has_more(&self, row: &KnownRow, bytes: u64) -> bool {
        row.state == SegmentState::Open
            && row.other == CopyState::Open
            && self
                .mirror
                .is_some_and(|mirror| measure(mirror, &row.path).is_ok_and(|held| held.extent.bytes > bytes))
    }

    /// A closed or suspect row whose file seems to be there.
    async fn settled(&mut self, row: &KnownRow) -> anyhow::Result<()> {
        let suspect = row.state == SegmentState::Suspect;
        if suspect && self.scope.running && is_being_written(self.volume, &row.path) {
            self.found(Kind::Suspect, &row.path, "may not be what was recorded, and still grows");
            return Ok(());
        }
        let finish = || Step::Finish { id: row.id, path: row.path.clone(), was_lost: false };
        let held = match measure(self.volume, &row.path) {
            Ok(held) => held,
            Err(disk::Error::NotFound { .. }) if self.is_gone_meanwhile(row).await? => return Ok(()),
            Err(error @ (disk::Error::Io { .. } | disk::Error::Away { .. })) => {
                self.bad(row, Kind::Unreadable, said(&error), Otherwise::Nothing);
                return Ok(());
            }
            Err(error) => {
                self.bad(row, Kind::Damaged, said(&error), Otherwise::Step(finish()));
                return Ok(());
            }
        };
        self.out.measured += 1;
        if (row.frames, row.bytes) != (held.extent.frames, held.extent.bytes) {
            let (frames, bytes) = (row.frames, row.bytes);
            let says =
                format!("the index says {frames} frames in {bytes} bytes; the file holds {}", holds(&held));
            self.bad(row, differs(row, Kind::Differs), says, Otherwise::Step(finish()));
            return Ok(());
        }
        self.out.without_hash += u64::from(row.hash.is_none());
        if !self.scope.deep {
            if suspect {
                self.bad(row, Kind::Suspect, "may not be what was recorded", Otherwise::Nothing);
            } else {
                self.out.bytes += row.bytes;
            }
            return Ok(());
        }
        match (disk::hash(self.volume, &row.path), row.hash) {
            (Err(error), _) => self.bad(row, Kind::Unreadable, said(&error), Otherwise::Nothing),
            (Ok(hash), Some(right)) if hash != right => {
                let detail = format!("its hash is {hash} and not {right}");
                self.bad(row, Kind::Altered, detail, Otherwise::Suspect);
            }
            (Ok(_), Some(_)) if suspect => {
                self.found(Kind::Cleared, &row.path, "is marked as suspect, and its hash is right");
                self.mend.cleared.push(row.id);
            }
            (Ok(_), None) if suspect => {
                let detail = "has no hash that would tell whether it is whole";
                self.bad(row, Kind::Suspect, detail, Otherwise::Nothing);
            }
            (Ok(hash), known) => {
                self.out.bytes += row.bytes;
                // What ends torn is not whole: it stays without.
                if known.is_none() && held.torn_bytes == 0 {
                    self.mend.hashes.push((row.id, hash));
                }
            }
        }
        Ok(())
    }

    /// A file that no row speaks of.
    fn unknown(&mut self, step: Step) {
        let Step::Adopt { path, .. } = &step else { return };
        let path = path.clone();
        if self.scope.running && is_being_written(self.volume, &path) {
            return;
        }
        match measure(self.volume, &path) {
            Ok(held) => {
                self.out.measured += 1;
                self.found(Kind::Unindexed, &path, format!("is not in the index; holds {}", holds(&held)));
                self.mend.steps.push(step);
            }
            Err(error @ (disk::Error::Io { .. } | disk::Error::Away { .. })) => {
                self.found(Kind::Unreadable, &path, said(&error))
            }
            Err(disk::Error::NotFound { .. }) => {}
            Err(error) => self.found(Kind::Empty, &path, said(&error)),
        }
    }
}

/// What it is when file and row differ: with a hash it is certain that the row is right.
fn differs(row: &KnownRow, without_hash: Kind) -> Kind {
    if row.hash.is_some() { Kind::Altered } else { without_hash }
}

fn holds(held: &disk::Measured) -> String {
    let seconds = held.extent.duration_us as f64 / 1e6;
    let torn = match held.torn_bytes {
        0 => String::new(),
        torn => format!(" and {torn} torn"),
    };
    format!("{} frames, {seconds:.1} s, in {} bytes{torn}", held.extent.frames, held.extent.bytes)
}

/// The path stands beside it.
pub(super) fn said(error: &disk::Error) -> String {
    match error {
        disk::Error::Empty { .. } => "holds no whole fragment".to_owned(),
        disk::Error::NotOurs { why, .. } => format!("is no segment: {why}"),
        disk::Error::Refused { .. } => "is no plain file".to_owned(),
        other => Chain(other).to_string(),
    }
}

pub(super) fn is_being_written(volume: &Volume, path: &str) -> bool {
    let modified = || {
        let file = volume.open_segment_file(path).ok()?.file;
        let modified = file.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(modified.as_micros()).ok()
    };
    modified().is_some_and(|modified| WallUs(modified).plus(BEING_WRITTEN) > WallUs::now())
}
