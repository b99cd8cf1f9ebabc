//! Files and rows brought together, at start and for `watchkeeper check`. [`crate::model::reconcile`] decides; this
//! does, and deletes nothing.

use std::collections::{BTreeMap, HashSet};

use crate::{
    base::{CameraId, WallUs, error::Chain},
    disk::{self, Volume, measure},
    model::{
        Profile,
        ledger::Stretch,
        naming,
        reconcile::{self, FoundFile, KnownRow, Step},
        segment::{SegmentFacts, SegmentHead, SegmentState, Source},
        timeline::{self, Range},
    },
    store::{self, GapChanges, Store},
};

/// Rows read at once.
const PAGE: u32 = 10_000;

/// Why files and rows could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database does not answer.
    #[error("cannot read the index")]
    Store(#[from] store::Error),
    /// The volume does not answer.
    #[error("cannot read the recordings")]
    Disk(#[from] disk::Error),
    /// A bug.
    #[error("a thread died")]
    Thread(#[from] tokio::task::JoinError),
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Rows that were closed with what their files hold.
    pub finished: Vec<String>,
    /// Files that got a row.
    pub adopted: Vec<String>,
    /// Rows whose file is gone, or holds nothing.
    pub lost: Vec<String>,
    /// Files of ours that hold no whole fragment; left alone.
    pub empty: Vec<String>,
    /// The footage of the first two.
    pub found: Vec<(CameraId, Range)>,
    /// The footage that was in those that are lost, neighbours joined.
    pub gone: Vec<(CameraId, Range)>,
}

/// What there is to do about the rows that were open when the process died. Looks at nothing else, so it takes no
/// time however long the history is.
pub async fn unfinished(store: &Store, volume: &Volume) -> Result<Vec<Step>, Error> {
    let rows: Vec<KnownRow> = store
        .open_rows()
        .await?
        .into_iter()
        .map(|row| KnownRow {
            id: row.id,
            path: row.facts.path,
            bytes: row.facts.extent.bytes,
            state: row.facts.state,
        })
        .collect();
    let volume = volume.clone();
    let work = move || {
        let there = |row: &KnownRow| {
            let open = volume.open_segment_file(&row.path).ok()?;
            Some(FoundFile { path: row.path.clone(), bytes: open.bytes })
        };
        let files: Vec<FoundFile> = rows.iter().filter_map(there).collect();
        reconcile::plan(&files, &rows)
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// What there is to do about everything recorded before `before`. While a recorder runs, what it writes is its own.
pub async fn everything(store: &Store, volume: &Volume, before: WallUs) -> Result<Vec<Step>, Error> {
    let listed = volume.clone();
    let list = move || {
        let mut files = disk::scan(&listed)?;
        files.retain(|file| is_older(&file.path, before) || is_just_older(&listed, &file.path, before));
        Ok::<_, disk::Error>(files)
    };
    let files = tokio::task::spawn_blocking(list).await??;
    let just: HashSet<&str> =
        files.iter().map(|file| &*file.path).filter(|path| !is_older(path, before)).collect();
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let page = store.known_rows(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let old = |row: &KnownRow| is_older(&row.path, before) || just.contains(&*row.path);
        rows.extend(page.into_iter().filter(old));
    }
    // The list of files is older than the rows: a row whose file is not on it may be younger than it.
    let work = {
        let volume = volume.clone();
        move || {
            let mut steps = reconcile::plan(&files, &rows);
            steps.retain(|step| match step {
                Step::Lost { path, .. } => volume.open_segment_file(path).is_err(),
                Step::Finish { .. } | Step::Adopt { .. } => true,
            });
            steps
        }
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// Whether a segment's name alone tells that it was begun before `before`. It tells that to the second.
fn is_older(path: &str, before: WallUs) -> bool {
    start_of(path).is_some_and(|start| start.plus_us(999_999) < before)
}

/// Whether a segment that was begun in the very second of `before` was begun before it, as its file tells: of a quick
/// restart, the last one.
fn is_just_older(volume: &Volume, path: &str, before: WallUs) -> bool {
    start_of(path).is_some_and(|start| start < before && before <= start.plus_us(999_999))
        && measure(volume, path).is_ok_and(|held| held.start_us.is_some_and(|start| WallUs(start) < before))
}

fn start_of(path: &str) -> Option<WallUs> {
    path.rsplit('/').next().and_then(naming::start_of)
}

/// Does it.
pub async fn repair(store: &Store, volume: &Volume, steps: Vec<Step>) -> Result<Repaired, Error> {
    let mut done = Repaired::default();
    for step in steps {
        match step {
            Step::Finish { id, path, was_lost } => match measured(volume, &path).await? {
                Some(measured) => {
                    store.finish(id, measured.extent).await?;
                    done.found.push(footage(&store.segment(id).await?.facts));
                    done.finished.push(path);
                }
                None if was_lost => done.empty.push(path),
                None => {
                    done.gone.push(footage(&store.segment(id).await?.facts));
                    store.mark_lost(id).await?;
                    done.lost.push(path);
                }
            },
            Step::Adopt { camera, path } => match measured(volume, &path).await? {
                Some(measured) => {
                    let facts = adopted(camera, &path, &measured);
                    done.found.push(footage(&facts));
                    store.record(&[(None, facts)]).await?;
                    done.adopted.push(path);
                }
                None => done.empty.push(path),
            },
            Step::Lost { id, path } => {
                done.gone.push(footage(&store.segment(id).await?.facts));
                store.mark_lost(id).await?;
                done.lost.push(path);
            }
        }
    }
    done.gone = joined(done.gone);
    Ok(done)
}

/// Neighbours joined: a directory that was deleted is one gap and not one for each minute.
fn joined(ranges: Vec<(CameraId, Range)>) -> Vec<(CameraId, Range)> {
    let mut of: BTreeMap<CameraId, Vec<Range>> = BTreeMap::new();
    for (camera, range) in ranges {
        of.entry(camera).or_default().push(range);
    }
    let always = Range { from: WallUs(i64::MIN), to: WallUs(i64::MAX) };
    let join = |(camera, mut ranges): (CameraId, Vec<Range>)| {
        ranges.sort_unstable_by_key(|range| range.from);
        timeline::joined(ranges, always).into_iter().map(move |range| (camera.clone(), range))
    };
    of.into_iter().flat_map(join).collect()
}

/// Accounts for what was found and what is gone, where no service runs that would.
pub async fn put_into_gaps(store: &Store, done: &Repaired) -> Result<(), store::Error> {
    let found = done
        .found
        .iter()
        .map(|(camera, range)| GapChanges { footage: vec![*range], ..GapChanges::of(camera) });
    let gone = done.gone.iter().map(|(camera, range)| GapChanges {
        rows: vec![(None, Stretch::lost(*range))],
        ..GapChanges::of(camera)
    });
    let changes: Vec<GapChanges> = gone.chain(found).collect();
    if !changes.is_empty() {
        store.write_gaps(&changes, None).await?;
    }
    Ok(())
}

fn footage(facts: &SegmentFacts) -> (CameraId, Range) {
    (facts.head.camera.clone(), Range { from: facts.head.start, to: facts.end() })
}

/// `None` for a file that holds no footage; errors only where the volume itself fails.
async fn measured(volume: &Volume, path: &str) -> Result<Option<disk::Measured>, Error> {
    let (volume, path) = (volume.clone(), path.to_owned());
    match tokio::task::spawn_blocking(move || measure(&volume, &path)).await? {
        Ok(measured) => Ok(Some(measured)),
        Err(error @ disk::Error::Io { .. }) => Err(error.into()),
        Err(error) => {
            tracing::warn!("left alone: {}", Chain(&error));
            Ok(None)
        }
    }
}

/// A row from a file alone: the times from the file's own header, or to the second from its name.
fn adopted(camera: CameraId, path: &str, measured: &disk::Measured) -> SegmentFacts {
    let name = path.rsplit('/').next().unwrap_or(path);
    let start = measured.start_us.map(WallUs).or_else(|| naming::start_of(name)).unwrap_or_default();
    SegmentFacts {
        head: SegmentHead {
            camera,
            profile: Profile::Main,
            start,
            codec: measured.codec,
            width: measured.width,
            height: measured.height,
            audio: measured.audio,
            source: Source::Live,
        },
        path: path.to_owned(),
        extent: measured.extent,
        state: SegmentState::Closed,
    }
}
