//! Files against rows, one by one: what `watchkeeper check` finds. [`recovery`] plans; this measures each file besides,
//! and says what is meant.

use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context as _;
use serde::Serialize;

use crate::{
    base::{WallUs, error::Chain},
    disk::{self, Volume, measure},
    model::{
        event::{Kind as EventKind, Severity},
        naming,
        reconcile::{self, KnownRow, Step},
        segment::SegmentState,
    },
    run::recovery,
    store::{EventPage, Store},
};

/// Rows and events read at once.
const PAGE: u32 = 1000;
/// A file that was written within this is being written, whatever its name says of its beginning: the recorder writes
/// at least once a second, and the host's clock may have been set back meanwhile.
const BEING_WRITTEN: Duration = Duration::from_secs(10);

/// What is wrong with a file or a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The row is still open, and nobody writes the file any more.
    Unfinished,
    /// The file has fewer bytes than its row says.
    Shrunk,
    /// The row was marked lost, and the file is there.
    Returned,
    /// A file of ours without a row.
    Unindexed,
    /// A row without a file.
    Lost,
    /// The row says other frames or bytes than the file has.
    Differs,
    /// The file is no segment any more.
    Damaged,
    /// The file cannot be read.
    Unreadable,
    /// A file of ours without footage. Nothing is lost by it.
    Empty,
}

impl Kind {
    /// Whether something is wrong with it.
    pub(super) fn is_problem(self) -> bool {
        self != Self::Empty
    }

    /// Whether a repair mends it.
    pub(super) fn is_mended(self) -> bool {
        !matches!(self, Self::Empty | Self::Unreadable)
    }

    /// What a repair does about it, or what a person can.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Unfinished | Self::Shrunk | Self::Returned | Self::Differs => {
                "a repair writes into the index what the file holds"
            }
            Self::Unindexed => "a repair adds it to the index",
            Self::Lost => "put the file back if you have it; a repair marks it as lost",
            Self::Damaged => "put a good copy in its place if you have one; a repair marks it as lost",
            Self::Unreadable => "check the disk, and the rights of the file",
            Self::Empty => "it is left alone, and may be deleted",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// The file, below the recordings.
    pub(super) path: String,
    /// In words.
    pub(super) detail: String,
}

/// What was found, and what a repair would do.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) findings: Vec<Finding>,
    pub(super) steps: Vec<Step>,
    /// Rows that were looked at.
    pub(super) rows: u64,
    /// Files that were measured.
    pub(super) measured: u64,
    /// Bytes in the files that are well.
    pub(super) bytes: u64,
    /// Rows that were marked lost before; nothing is to be done about them.
    pub(super) lost_before: u64,
    /// Every row's file is gone.
    pub(super) all_gone: bool,
}

impl Compared {
    fn found(&mut self, kind: Kind, path: &str, detail: impl Into<String>) {
        self.findings.push(Finding { kind, path: path.to_owned(), detail: detail.into() });
    }
}

/// Which part is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Only what was begun before this.
    pub(super) before: WallUs,
    /// A service is writing.
    pub(super) running: bool,
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

/// Compares every file with every row, and measures every file. `tick` hears how many of how many are done.
pub(super) async fn compare(
    store: Option<&Store>,
    volume: &Volume,
    scope: Scope,
    tick: impl Fn(u64, u64),
) -> anyhow::Result<Compared> {
    let (rows, steps) = match store {
        Some(store) => (
            known_rows(store, scope.before).await?,
            recovery::everything(store, volume, scope.before)
                .await
                .context("cannot compare files and rows")?,
        ),
        None => {
            let mut files = disk::scan(volume)?;
            files.retain(|file| begun_before(&file.path, scope.before));
            (Vec::new(), reconcile::plan(&files, &[]))
        }
    };
    let mut out = Compared { rows: rows.len() as u64, ..Compared::default() };
    let mut planned: HashMap<i64, Step> = HashMap::new();
    let mut adopt = Vec::new();
    for step in steps {
        match step {
            Step::Finish { id, .. } | Step::Lost { id, .. } => {
                planned.insert(id, step);
            }
            Step::Adopt { .. } => adopt.push(step),
        }
    }
    let all = (rows.len() + adopt.len()) as u64;
    for (n, row) in rows.iter().enumerate() {
        tick(n as u64, all);
        match planned.remove(&row.id) {
            Some(step @ Step::Lost { .. }) => {
                out.found(Kind::Lost, &row.path, "is in the index, but not on disk");
                out.steps.push(step);
            }
            Some(step) => unsettled(&mut out, volume, row, step, scope),
            None if row.state == SegmentState::Closed => settled(&mut out, store, volume, row).await?,
            None if row.state == SegmentState::Lost => out.lost_before += 1,
            None => {}
        }
    }
    for (n, step) in adopt.into_iter().enumerate() {
        tick((rows.len() + n) as u64, all);
        unknown(&mut out, volume, step, scope);
    }
    tick(all, all);
    let gone = out.findings.iter().filter(|finding| finding.kind == Kind::Lost).count() as u64;
    out.all_gone = gone > 0 && gone + out.lost_before == out.rows && out.measured == 0;
    Ok(out)
}

/// A row that the plan wants to close with what its file holds.
fn unsettled(out: &mut Compared, volume: &Volume, row: &KnownRow, step: Step, scope: Scope) {
    if scope.running && is_being_written(volume, &row.path) {
        return;
    }
    let was_lost = row.state == SegmentState::Lost;
    match measure(volume, &row.path) {
        Ok(held) => {
            out.measured += 1;
            let (kind, said) = match row.state {
                SegmentState::Open => (Kind::Unfinished, "was not finished".to_owned()),
                SegmentState::Closed => (Kind::Shrunk, format!("should have {} bytes", row.bytes)),
                SegmentState::Lost => (Kind::Returned, "was marked as lost, and is there".to_owned()),
            };
            out.found(kind, &row.path, format!("{said}; holds {}", holds(&held)));
            out.steps.push(step);
        }
        Err(error @ disk::Error::Io { .. }) => out.found(Kind::Unreadable, &row.path, said(&error)),
        // It is known already that this footage is lost.
        Err(_) if was_lost => {
            out.lost_before += 1;
            out.found(Kind::Empty, &row.path, "is marked as lost; the file holds no footage");
        }
        Err(error) => {
            out.found(Kind::Damaged, &row.path, said(&error));
            out.steps.push(step);
        }
    }
}

/// A closed row whose file seems to be there.
async fn settled(
    out: &mut Compared,
    store: Option<&Store>,
    volume: &Volume,
    row: &KnownRow,
) -> anyhow::Result<()> {
    let finish = || Step::Finish { id: row.id, path: row.path.clone(), was_lost: false };
    let held = match measure(volume, &row.path) {
        Ok(held) => held,
        Err(error @ disk::Error::Io { .. }) => {
            out.found(Kind::Unreadable, &row.path, said(&error));
            return Ok(());
        }
        Err(error) => {
            out.found(Kind::Damaged, &row.path, said(&error));
            out.steps.push(finish());
            return Ok(());
        }
    };
    out.measured += 1;
    let Some(store) = store else { return Ok(()) };
    let says = store.segment(row.id).await?.facts.extent;
    if (says.frames, says.bytes) == (held.extent.frames, held.extent.bytes) {
        out.bytes += says.bytes;
    } else {
        let detail = format!(
            "the index says {} frames in {} bytes; the file holds {}",
            says.frames,
            says.bytes,
            holds(&held)
        );
        out.found(Kind::Differs, &row.path, detail);
        out.steps.push(finish());
    }
    Ok(())
}

/// A file that no row speaks of.
fn unknown(out: &mut Compared, volume: &Volume, step: Step, scope: Scope) {
    let Step::Adopt { path, .. } = &step else { return };
    let path = path.clone();
    if scope.running && is_being_written(volume, &path) {
        return;
    }
    match measure(volume, &path) {
        Ok(held) => {
            out.measured += 1;
            out.found(Kind::Unindexed, &path, format!("is not in the index; holds {}", holds(&held)));
            out.steps.push(step);
        }
        Err(error @ disk::Error::Io { .. }) => out.found(Kind::Unreadable, &path, said(&error)),
        Err(disk::Error::NotFound { .. }) => {}
        Err(error) => out.found(Kind::Empty, &path, said(&error)),
    }
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
fn said(error: &disk::Error) -> String {
    match error {
        disk::Error::Empty { .. } => "holds no whole fragment".to_owned(),
        disk::Error::NotOurs { why, .. } => format!("is no segment: {why}"),
        disk::Error::Refused { .. } => "is no plain file".to_owned(),
        other => Chain(other).to_string(),
    }
}

async fn known_rows(store: &Store, before: WallUs) -> anyhow::Result<Vec<KnownRow>> {
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let page = store.known_rows(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(rows) };
        after = last.id;
        rows.extend(page.into_iter().filter(|row| begun_before(&row.path, before)));
    }
}

/// As [`recovery::everything`] decides it: the whole second of the name is past.
fn begun_before(path: &str, before: WallUs) -> bool {
    let start = path.rsplit('/').next().and_then(naming::start_of);
    start.is_some_and(|start| start.plus_us(999_999) < before)
}

fn is_being_written(volume: &Volume, path: &str) -> bool {
    let modified = || {
        let file = volume.open_segment_file(path).ok()?.file;
        let modified = file.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(modified.as_micros()).ok()
    };
    modified().is_some_and(|modified| WallUs(modified).plus(BEING_WRITTEN) > WallUs::now())
}
