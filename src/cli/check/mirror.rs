//! The mirror against the index, after the recordings were compared with it: is each copy there that a row speaks of, and
//! is it what was recorded?

use std::collections::HashMap;

use anyhow::Context as _;

use super::{
    compare::{Compared, Scope, is_being_written, said},
    finding::{Finding, Kind},
    heal::Both,
};
use crate::{
    base::WallUs,
    disk::{self, measure},
    model::{
        copies::{CopyState, Place},
        reconcile::{KnownRow, Step},
        segment::{Hash, SegmentState},
    },
    run::recovery::{self, Hashing, Walk},
    store::{self, Store},
};

/// What a repair does about a copy that cannot be made whole.
enum Otherwise {
    Step(Step),
    Suspect,
    Nothing,
}

/// What a repair changes.
#[derive(Default)]
struct Mend {
    steps: Vec<Step>,
    suspect: Vec<i64>,
    whole: Vec<i64>,
    hashes: Vec<(i64, Hash)>,
}

struct Look<'a> {
    store: &'a Store,
    volumes: Both<'a>,
    scope: Scope,
    out: &'a mut Compared,
    /// Of the page.
    mend: Mend,
}

/// Compares every copy that the index says the mirror has, and every file there, and repairs if that is wanted. `tick`
/// hears how many of how many are done.
pub(super) async fn compare_mirror(
    store: &Store,
    volumes: Both<'_>,
    scope: Scope,
    out: &mut Compared,
    tick: impl Fn(u64, u64),
) -> anyhow::Result<()> {
    let wanted =
        recovery::Scope { before: scope.before, closed: scope.running, sizes_since: WallUs(i64::MAX) };
    let mut walk = Walk::new(Some(store), Place::Mirror, volumes.mirror, wanted).await?;
    let (files, mut done) = (walk.files().await?, 0);
    let mut look = Look { store, volumes, scope, out, mend: Mend::default() };
    while let Some(page) = walk.next().await.context("cannot compare the mirror and the index")? {
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
    if let Some(done) = &mut look.out.repaired {
        recovery::put_into_gaps(store, done.moved(true)).await?;
    }
    Ok(())
}

impl Look<'_> {
    async fn repair(&mut self) -> anyhow::Result<()> {
        let Mend { steps, suspect, whole, hashes } = std::mem::take(&mut self.mend);
        if let Some(done) = &mut self.out.repaired {
            let (store, mirror) = (self.store, self.volumes.mirror);
            recovery::repair(store, Place::Mirror, mirror, steps, Hashing::Read, done).await?;
            recovery::put_into_gaps(store, done.moved(false)).await?;
            store.mark(Place::Mirror, &suspect, CopyState::Suspect).await?;
            store.mark(Place::Mirror, &whole, CopyState::Whole).await?;
            store.set_hashes(&hashes).await?;
        }
        Ok(())
    }

    /// A copy that is not as it should be: made whole if the recordings have it, or else what `otherwise` says.
    fn bad(&mut self, row: &KnownRow, kind: Kind, detail: impl Into<String>, otherwise: Otherwise) {
        let elsewhere = row.other == CopyState::Whole;
        // What the index does not speak of is no copy.
        let there = kind != Kind::MirrorUnindexed;
        let hash =
            (elsewhere && self.scope.repair).then(|| self.volumes.heal(Place::Mirror, row, there)).flatten();
        let healed = hash.is_some();
        if let Some(hash) = hash {
            self.mend.whole.push(row.id);
            self.mend.hashes.extend(hash.map(|hash| (row.id, hash)));
            self.out.healed.add(row.path.clone());
        } else {
            match otherwise {
                Otherwise::Step(step) => self.mend.steps.push(step),
                Otherwise::Suspect => self.mend.suspect.push(row.id),
                Otherwise::Nothing => {}
            }
        }
        let finding = Finding::new(kind, &*row.path, detail);
        self.out.findings.push(Finding { elsewhere, healed, ..finding });
    }

    async fn row(&mut self, row: &KnownRow, step: Option<Step>) -> anyhow::Result<()> {
        match row.state {
            SegmentState::Closed => self.whole(row).await?,
            SegmentState::Suspect => self.suspect(row),
            SegmentState::Open => self.open(row, step),
            SegmentState::Lost => self.unsaid(row, step),
            SegmentState::Deleting => {}
        }
        Ok(())
    }

    async fn whole(&mut self, row: &KnownRow) -> anyhow::Result<()> {
        let lost = || Otherwise::Step(Step::Lost { id: row.id, path: row.path.clone() });
        let held = match self.volumes.mirror.open_segment_file(&row.path) {
            Ok(open) => open.bytes,
            Err(disk::Error::NotFound { .. }) => {
                if !self.is_gone_meanwhile(row).await? {
                    self.bad(row, Kind::MirrorMissing, "is in the index, but not on the mirror", lost());
                }
                return Ok(());
            }
            Err(error @ (disk::Error::Io { .. } | disk::Error::Away { .. })) => {
                self.bad(row, Kind::Unreadable, on_mirror(&said(&error)), Otherwise::Nothing);
                return Ok(());
            }
            Err(error) => {
                self.bad(row, Kind::MirrorDiffers, on_mirror(&said(&error)), Otherwise::Suspect);
                return Ok(());
            }
        };
        self.out.mirrored += 1;
        // What a kill ended may be torn behind what counts, on both alike.
        let as_primary =
            || self.volumes.primary.open_segment_file(&row.path).is_ok_and(|open| open.bytes == held);
        if held != row.bytes && !(held > row.bytes && row.other == CopyState::Whole && as_primary()) {
            let detail = on_mirror(&format!("has {held} bytes and not {}", row.bytes));
            self.bad(row, Kind::MirrorDiffers, detail, Otherwise::Suspect);
            return Ok(());
        }
        if !self.scope.deep {
            return Ok(());
        }
        let right = match row.hash {
            Some(right) => Some(right),
            None if row.other == CopyState::Whole => disk::hash(self.volumes.primary, &row.path).ok(),
            None => None,
        };
        match (disk::hash(self.volumes.mirror, &row.path), right) {
            (Err(error), _) => {
                self.bad(row, Kind::Unreadable, on_mirror(&said(&error)), Otherwise::Nothing);
            }
            (Ok(hash), Some(right)) if hash != right => {
                let detail = on_mirror(&format!("its hash is {hash} and not {right}"));
                self.bad(row, Kind::MirrorDiffers, detail, Otherwise::Suspect);
            }
            (Ok(_), _) => {}
        }
        Ok(())
    }

    /// Whether the running service took the copy away, or gave it up, since the row was read.
    async fn is_gone_meanwhile(&self, row: &KnownRow) -> anyhow::Result<bool> {
        if !self.scope.running {
            return Ok(false);
        }
        match self.store.segment(row.id).await {
            Ok(now) => Ok(now.copies.mirror != CopyState::Whole),
            Err(store::Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn suspect(&mut self, row: &KnownRow) {
        let right = || disk::hash(self.volumes.mirror, &row.path).ok() == row.hash;
        if self.scope.deep && row.hash.is_some() && right() {
            self.mend.whole.push(row.id);
            let detail = "is marked as suspect on the mirror, and its hash is right";
            self.out.findings.push(Finding::new(Kind::Cleared, &*row.path, detail));
            return;
        }
        let detail = "may not be what was recorded, on the mirror";
        self.bad(row, Kind::MirrorDiffers, detail, Otherwise::Nothing);
    }

    /// A copy that is not said to be finished.
    fn open(&mut self, row: &KnownRow, step: Option<Step>) {
        // What both were recording was a finding of the recordings.
        if row.other == CopyState::Open
            || (self.scope.running && is_being_written(self.volumes.mirror, &row.path))
        {
            return;
        }
        if row.other == CopyState::Whole {
            self.bad(row, Kind::MirrorDiffers, "was not finished on the mirror", Otherwise::Suspect);
        } else if let Some(step) = step {
            self.bad(
                row,
                Kind::Unfinished,
                "was not finished, and is on the mirror only",
                Otherwise::Step(step),
            );
        }
    }

    /// A row that does not speak of a copy here; a step if there is a file.
    fn unsaid(&mut self, row: &KnownRow, step: Option<Step>) {
        let Some(step) = step.filter(|_| row.other != CopyState::Open) else { return };
        if self.scope.running && is_being_written(self.volumes.mirror, &row.path) {
            return;
        }
        let detail = "is on the mirror, and the index does not say so";
        let adopted = row.other != CopyState::Whole && measure(self.volumes.mirror, &row.path).is_ok();
        if adopted || row.other == CopyState::Whole {
            self.bad(row, Kind::MirrorUnindexed, detail, Otherwise::Nothing);
        }
        if adopted {
            self.taken_in(step);
        }
    }

    /// A file that no row speaks of.
    fn unknown(&mut self, step: Step) {
        let Step::Adopt { path, .. } = &step else { return };
        let path = path.clone();
        let mirror = self.volumes.mirror;
        // One that both have was a finding of the recordings.
        if self.volumes.primary.open_segment_file(&path).is_ok()
            || (self.scope.running && is_being_written(mirror, &path))
        {
            return;
        }
        match measure(mirror, &path) {
            Ok(_) => {
                let detail = "is on the mirror only, and not in the index";
                self.out.findings.push(Finding::new(Kind::MirrorUnindexed, path, detail));
                self.taken_in(step);
            }
            Err(error @ (disk::Error::Io { .. } | disk::Error::Away { .. })) => {
                self.out.findings.push(Finding::new(Kind::Unreadable, path, on_mirror(&said(&error))));
            }
            Err(disk::Error::NotFound { .. }) => {}
            Err(error) => {
                self.out.findings.push(Finding::new(Kind::Empty, path, on_mirror(&said(&error))));
            }
        }
    }

    /// The file of the last finding gets into the index with this step.
    fn taken_in(&mut self, step: Step) {
        if let Some(last) = self.out.findings.last_mut() {
            last.healed = self.scope.repair;
        }
        self.mend.steps.push(step);
    }
}

fn on_mirror(what: &str) -> String {
    format!("on the mirror: {what}")
}
