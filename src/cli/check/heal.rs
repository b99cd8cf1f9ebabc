//! What one volume has wrong, or lacks, and the other has right.

use anyhow::Context as _;

use super::{
    compare::Compared,
    finding::{Finding, Kind},
};
use crate::{
    base::{WallUs, error::Chain},
    disk::{self, Volume, measure},
    model::{
        copies::{CopyState, Place},
        reconcile::KnownRow,
        retention::Room,
        segment::Hash,
    },
    run::{Settings, resync::make_whole},
    store::{Due, Store},
};

/// Rows read at once.
const PAGE: u32 = 256;

/// Both volumes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Both<'a> {
    pub(super) primary: &'a Volume,
    pub(super) mirror: &'a Volume,
}

impl Both<'_> {
    fn at(&self, place: Place) -> &Volume {
        match place {
            Place::Primary => self.primary,
            Place::Mirror => self.mirror,
        }
    }

    /// Makes the copy of `row` at `to` what the other volume has, if that is what was recorded. `None` if it is not, or if it
    /// cannot be done; otherwise the hash that the row is still to get. A file that is no copy (`there` is not set) is moved
    /// aside.
    pub(super) fn heal(&self, to: Place, row: &KnownRow, there: bool) -> Option<Option<Hash>> {
        let (from, into) = (self.at(to.other()), self.at(to));
        let mut torn = false;
        if row.hash.is_none() {
            // Then its boxes must tell.
            let held = measure(from, &row.path).ok()?;
            if (held.extent.frames, held.extent.bytes) != (row.frames, row.bytes) {
                return None;
            }
            torn = held.torn_bytes > 0;
        }
        match make_whole(from, into, &row.path, row.bytes, row.hash, there, |_| true) {
            // What ends torn is not whole: it stays without.
            Ok(hash) => Some((row.hash.is_none() && !torn).then_some(hash)),
            Err(error) => {
                let (path, to) = (&row.path, to.word());
                tracing::warn!("`{path}` cannot be made whole on the {to}: {}", Chain(&error));
                None
            }
        }
    }

    /// Copies in both directions what the index says is due.
    pub(super) async fn copy_due(
        &self,
        store: &Store,
        settings: &Settings,
        out: &mut Compared,
    ) -> anyhow::Result<()> {
        for place in Place::ALL {
            for (camera, _) in store.copied_cameras(*place).await? {
                let mut before = WallUs(i64::MAX);
                loop {
                    let page = store.due(*place, &camera, before, PAGE).await?;
                    let Some(last) = page.last() else { break };
                    before = last.start;
                    for due in page {
                        self.copy(store, settings, *place, due, out).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn copy(
        &self,
        store: &Store,
        settings: &Settings,
        to: Place,
        due: Due,
        out: &mut Compared,
    ) -> anyhow::Result<()> {
        let row = store.segment(due.id).await?;
        // What its own retention let go is no debt.
        if row.copies.at(to) == CopyState::Pruned {
            return Ok(());
        }
        let (from, into) = (self.at(to.other()), self.at(to));
        if !due.there {
            let space = into.space().context("cannot ask for free space")?;
            let room = Room::of(space.total_bytes, settings.limits(to).min_free_bytes);
            if space.free_bytes.saturating_sub(due.bytes) < room.floor {
                return Ok(());
            }
        }
        match make_whole(from, into, &due.path, due.bytes, due.hash, due.there, |_| true) {
            Ok(hash) => {
                store.copied(to, due.id, Some(hash)).await?;
                // The other copy may have turned out to be good after this one had been looked at.
                let found = out.findings.iter_mut().filter(|finding| finding.path == due.path);
                found.for_each(|finding| finding.healed |= !finding.kind.is_mended());
                out.healed.add(due.path);
            }
            // Of the source: it is worth no more than what it was to replace.
            Err(disk::Error::Altered { path }) if path.is_relative() => {
                store.found_damaged(to.other(), due.id, CopyState::Suspect).await?;
                let kind = match to {
                    Place::Primary => Kind::MirrorDiffers,
                    Place::Mirror => Kind::Altered,
                };
                out.findings.push(Finding::new(kind, due.path, "is not what was recorded"));
            }
            Err(error) => out.findings.push(Finding::new(
                Kind::Unreadable,
                due.path,
                format!("cannot be copied to the {}: {}", to.word(), Chain(&error)),
            )),
        }
        Ok(())
    }

    /// Says what is still due.
    pub(super) async fn say_due(&self, store: &Store, out: &mut Compared) -> anyhow::Result<()> {
        for place in Place::ALL {
            let mut segments = 0;
            for (camera, _) in store.copied_cameras(*place).await? {
                segments += store.due_sum(*place, &camera, WallUs(i64::MAX)).await?.segments;
            }
            if segments > 0 {
                let root = self.at(*place).root().display().to_string();
                let detail = format!("{segments} segments are to be copied to it from the other volume");
                out.findings.push(Finding::new(Kind::Due, root, detail));
            }
        }
        Ok(())
    }
}
