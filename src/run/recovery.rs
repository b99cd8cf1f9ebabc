//! Files and rows brought together, at start and for `watchkeeper check`. [`crate::model::reconcile`] decides; this
//! does, and deletes nothing.

use std::collections::HashSet;

use crate::{
    base::{CameraId, WallUs, error::Chain},
    disk::{self, Listing, Measured, Volume, measure},
    model::{
        Profile,
        copies::{CopyState, Place},
        ledger::Stretch,
        naming,
        reconcile::{self, FoundFile, KnownRow, Step},
        segment::{Hash, Segment, SegmentFacts, SegmentHead, SegmentState, Source},
        timeline::{JOIN_US, Range},
    },
    store::{self, GapChanges, Store},
};

/// Rows read at once.
const ROWS: u32 = 2_000;

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

/// Files by name, as many as a message needs: it does not grow with the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    first: Option<String>,
    count: u64,
}

impl Named {
    /// One more.
    pub fn add(&mut self, path: String) {
        self.count += 1;
        self.first.get_or_insert(path);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// `a/x.mp4 and 3 more`; `None` if there are none.
    pub fn text(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(if self.count == 1 { first.clone() } else { format!("{first} and {} more", self.count - 1) })
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Rows that were closed with what their files hold.
    pub finished: Named,
    /// Files that got a row.
    pub adopted: Named,
    /// Rows whose file is gone, or holds nothing.
    pub lost: Named,
    /// Files of ours that hold no whole fragment; left alone.
    pub empty: Named,
    /// The footage of all this, as far as nobody took it.
    moved: Moved,
}

/// Footage that came and that went, for the account of gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// In rows that were finished, and in files that got a row.
    pub found: Vec<(CameraId, Range)>,
    /// In rows that are lost, neighbours joined: a directory that was deleted is one gap and not one for each minute.
    pub gone: Vec<(CameraId, Range)>,
}

impl Moved {
    /// Rows come in the order of their paths, so neighbours follow each other.
    fn lose(&mut self, (camera, range): (CameraId, Range)) {
        match self.gone.last_mut() {
            _ if range.to <= range.from => {}
            Some((last, before)) if *last == camera && range.from.0 - before.to.0 < JOIN_US => {
                before.from = before.from.min(range.from);
                before.to = before.to.max(range.to);
            }
            _ => self.gone.push((camera, range)),
        }
    }
}

impl Repaired {
    /// Takes what is to be accounted for, so that it does not grow with the history. The stretch that was lost last may
    /// go on with the next page; it is left until `all` is asked for.
    pub fn moved(&mut self, all: bool) -> Moved {
        let last = if all { None } else { self.moved.gone.pop() };
        let moved = std::mem::take(&mut self.moved);
        self.moved.gone.extend(last);
        moved
    }
}

/// Whether a file that is taken in is read for its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// As the service does it: reading back a long history would take hours of the disk that records.
    Never,
    /// As the operator asked for it, if the file is whole.
    Read,
}

/// What there is to do about the rows that were open when the process died, and on which volume. Looks at nothing else, so
/// it takes no time however long the history is. Of two copies the longer is taken; the resync compares the other with it,
/// or copies it. `upto` is the last row of the dead process.
pub async fn unfinished(
    store: &Store,
    volumes: &[(Place, Volume)],
    upto: i64,
) -> Result<Vec<(Place, Step)>, Error> {
    store.end_copies(upto).await?;
    let mut rows = store.open_rows().await?;
    rows.retain(|row| row.id <= upto);
    let volumes = volumes.to_vec();
    let work = move || {
        let mut steps = Vec::new();
        for Segment { id, facts, copies, .. } in rows {
            let there = |place: Place| copies.at(place).is_there();
            let mut known = volumes.iter().filter(|(place, _)| there(*place)).peekable();
            // It is the other volume's business, or one's that is not in use now.
            let Some((first, _)) = known.peek() else { continue };
            let first = *first;
            // One that is away may have it: what is not known to be gone is left as it is.
            let mut away = false;
            let held = known.filter_map(|(place, volume)| match measure(volume, &facts.path) {
                Ok(held) => Some((held.extent.bytes, *place)),
                Err(disk::Error::Away { .. } | disk::Error::Io { .. }) => {
                    away = true;
                    None
                }
                Err(_) => None,
            });
            // Of two alike the first, which is the primary.
            let longest = held.reduce(|best, next| if next.0 > best.0 { next } else { best });
            let path = facts.path;
            match longest {
                Some((_, place)) => steps.push((place, Step::Finish { id, path, was_lost: false })),
                None if away => {}
                None => steps.push((first, Step::Lost { id, path })),
            }
        }
        steps
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// Which part of the history a [`Walk`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// What was begun before this. While a recorder runs, what it writes is its own.
    pub before: WallUs,
    /// And closed and suspect rows, whenever they were begun.
    pub closed: bool,
    /// The sizes of files begun since this are looked at. A closed row is written after its file was synced, so an
    /// older file that shrank is damage, which `watchkeeper check` finds, and nothing that a kill or a power cut did.
    pub sizes_since: WallUs,
}

/// Files and rows side by side in the order of their paths, a page at a time: neither what is in memory nor what one
/// step takes grows with the history.
#[derive(Debug)]
pub struct Walk<'a> {
    store: Option<&'a Store>,
    place: Place,
    volume: Volume,
    scope: Scope,
    /// Behind it are the files of `files`; `None` while it is used on another thread, and after its end.
    listing: Option<Listing>,
    /// In order; the next page begins with the first.
    files: Vec<FoundFile>,
    /// Everything up to here was handed out.
    after: String,
    rows: u32,
    done: bool,
}

/// Some of what is there.
#[derive(Debug, Default)]
pub struct Page {
    /// The rows that were looked at.
    pub rows: Vec<KnownRow>,
    /// What is to be done about them, and about files without a row.
    pub steps: Vec<Step>,
}

impl<'a> Walk<'a> {
    /// Begins a walk; without a store, as if it had no rows.
    pub async fn new(
        store: Option<&'a Store>,
        place: Place,
        volume: &Volume,
        scope: Scope,
    ) -> Result<Self, Error> {
        let root = volume.clone();
        let list = move || Listing::new(&root, scope.sizes_since);
        let listing = Some(tokio::task::spawn_blocking(list).await??);
        let (volume, files, after) = (volume.clone(), Vec::new(), String::new());
        Ok(Self { store, place, volume, scope, listing, files, after, rows: ROWS, done: false })
    }

    /// How many files of ours there are. None at all means that the disk is not mounted, and not that all is lost.
    pub async fn files(&self) -> Result<u64, Error> {
        let (volume, before) = (self.volume.clone(), self.scope.before);
        let count = move || Listing::new(&volume, WallUs(i64::MAX))?.count(before);
        Ok(tokio::task::spawn_blocking(count).await??)
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        if self.done {
            return Ok(None);
        }
        self.list().await?;
        let reach = self.files.last().map(|file| file.path.clone());
        let mut rows = match self.store {
            Some(store) => store.known_rows(self.place, &self.after, reach.as_deref(), self.rows).await?,
            None => Vec::new(),
        };
        let more = rows.last().filter(|_| rows.len() == self.rows as usize).map(|row| row.path.clone());
        self.done = more.is_none() && reach.is_none();
        let upto = more.or(reach);
        let of_page = upto
            .as_ref()
            .map_or(self.files.len(), |upto| self.files.partition_point(|file| file.path <= *upto));
        let files: Vec<FoundFile> = self.files.drain(..of_page).collect();
        self.after = upto.unwrap_or_default();
        let (volume, scope) = (self.volume.clone(), self.scope);
        let work = move || {
            rows.retain(|row| {
                begun_before(&volume, &row.path, scope.before)
                    || (scope.closed && matches!(row.state, SegmentState::Closed | SegmentState::Suspect))
            });
            let known: HashSet<&str> = rows.iter().map(|row| &*row.path).collect();
            let files: Vec<FoundFile> = files
                .into_iter()
                .filter(|file| known.contains(&*file.path) || begun_before(&volume, &file.path, scope.before))
                .collect();
            let mut steps = reconcile::plan(&files, &rows);
            // The list of files is older than the rows: a row whose file is not on it may be younger than it.
            steps.retain(|step| match step {
                // One that went away meanwhile, or cannot be read, tells nothing.
                Step::Lost { path, .. } => matches!(
                    volume.open_segment_file(path),
                    Err(disk::Error::NotFound { .. } | disk::Error::Refused { .. })
                ),
                Step::Finish { .. } | Step::Adopt { .. } => true,
            });
            Page { rows, steps }
        };
        Ok(Some(tokio::task::spawn_blocking(work).await?))
    }

    /// Fills `files` if there are any more.
    async fn list(&mut self) -> Result<(), Error> {
        if !self.files.is_empty() {
            return Ok(());
        }
        let Some(mut listing) = self.listing.take() else { return Ok(()) };
        let read = move || listing.page().map(|page| (listing, page));
        if let (listing, Some(files)) = tokio::task::spawn_blocking(read).await?? {
            (self.listing, self.files) = (Some(listing), files);
        }
        Ok(())
    }
}

fn begun_before(volume: &Volume, path: &str, before: WallUs) -> bool {
    is_older(path, before) || is_just_older(volume, path, before)
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

/// Does it, and adds what it did to `done`.
pub async fn repair(
    store: &Store,
    place: Place,
    volume: &Volume,
    steps: Vec<Step>,
    hashing: Hashing,
    done: &mut Repaired,
) -> Result<(), Error> {
    let (mut lost, mut adopted) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Finish { id, path, was_lost } => match measured(volume, &path, Hashing::Never).await? {
                Some((measured, _)) => match finished(store, place, id, &measured).await {
                    Ok(facts) => {
                        done.moved.found.push(footage(&facts));
                        done.finished.add(path);
                    }
                    // Retention was faster.
                    Err(store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                },
                None if was_lost => done.empty.add(path),
                None => lost.push((id, path)),
            },
            Step::Adopt { camera, path } => match measured(volume, &path, hashing).await? {
                Some((measured, hash)) => adopted.push((place, as_facts(camera, &path, &measured, hash))),
                None => done.empty.add(path),
            },
            Step::Lost { id, path } => lost.push((id, path)),
        }
    }
    // One transaction each, for every one of them waits for the disk.
    store.record(&adopted).await?;
    for (_, facts) in adopted {
        done.moved.found.push(footage(&facts));
        done.adopted.add(facts.path);
    }
    let ids: Vec<i64> = lost.iter().map(|(id, _)| *id).collect();
    let mut gone = store.mark(place, &ids, CopyState::Absent).await?.into_iter().peekable();
    for (id, path) in lost {
        // Those that retention deleted meanwhile are not lost, nor are those that the other volume has.
        if let Some((_, camera, range)) = gone.next_if(|(marked, ..)| *marked == id) {
            done.moved.lose((camera, range));
            done.lost.add(path);
        }
    }
    Ok(())
}

async fn finished(
    store: &Store,
    place: Place,
    id: i64,
    measured: &Measured,
) -> Result<SegmentFacts, store::Error> {
    store.finish(place, id, measured.extent).await?;
    Ok(store.segment(id).await?.facts)
}

/// Accounts for what was found and what is gone, where no service runs that would.
pub async fn put_into_gaps(store: &Store, moved: Moved) -> Result<(), store::Error> {
    let Moved { found, gone } = moved;
    let found =
        found.iter().map(|(camera, range)| GapChanges { footage: vec![*range], ..GapChanges::of(camera) });
    let gone = gone.iter().map(|(camera, range)| GapChanges {
        rows: vec![(None, Stretch::lost(*range))],
        ..GapChanges::of(camera)
    });
    let changes: Vec<GapChanges> = gone.chain(found).collect();
    if changes.is_empty() { Ok(()) } else { store.write_gaps(&changes, None).await.map(|_| ()) }
}

fn footage(facts: &SegmentFacts) -> (CameraId, Range) {
    (facts.head.camera.clone(), Range { from: facts.head.start, to: facts.end() })
}

/// `None` for a file that holds no footage; errors only where the volume itself fails.
async fn measured(
    volume: &Volume,
    path: &str,
    hashing: Hashing,
) -> Result<Option<(Measured, Option<Hash>)>, Error> {
    let (volume, path) = (volume.clone(), path.to_owned());
    let work = move || {
        let measured = measure(&volume, &path)?;
        let whole = hashing == Hashing::Read && measured.torn_bytes == 0;
        let hash = if whole { Some(disk::hash(&volume, &path)?) } else { None };
        Ok((measured, hash))
    };
    match tokio::task::spawn_blocking(work).await? {
        Ok(found) => Ok(Some(found)),
        Err(error @ (disk::Error::Io { .. } | disk::Error::Away { .. })) => Err(error.into()),
        Err(disk::Error::NotFound { .. }) => Ok(None),
        Err(error) => {
            tracing::warn!("left alone: {}", Chain(&error));
            Ok(None)
        }
    }
}

/// A row from a file alone: the times from the file's own header, or to the second from its name.
fn as_facts(camera: CameraId, path: &str, measured: &Measured, hash: Option<Hash>) -> SegmentFacts {
    let name = path.rsplit('/').next().unwrap_or(path);
    let start = measured.start_us.map(WallUs).or_else(|| naming::start_of(name)).unwrap_or_default();
    let Measured { extent, codec, width, height, audio, refill, .. } = *measured;
    SegmentFacts {
        head: SegmentHead {
            camera,
            profile: Profile::Main,
            start,
            codec,
            width,
            height,
            audio,
            source: if refill { Source::Refill } else { Source::Live },
            only_mirror: false,
        },
        path: path.to_owned(),
        extent,
        state: SegmentState::Closed,
        hash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::segment::{Codec, Extent};
    use proptest::prelude::*;
    use std::{collections::BTreeMap, fs};

    #[test]
    fn what_is_lost_over_several_pages_is_one_stretch_of_each_camera() {
        let lost = |camera: &str, from: i64, to: i64| {
            let at = |second| WallUs(second * 1_000_000);
            (camera.parse().unwrap(), Range { from: at(from), to: at(to) })
        };
        let mut done = Repaired::default();
        let mut told = Vec::new();
        for page in [[lost("a", 0, 60), lost("a", 60, 120)], [lost("a", 120, 180), lost("b", 180, 240)]] {
            page.into_iter().for_each(|footage| done.moved.lose(footage));
            told.extend(done.moved(false).gone);
        }
        [lost("b", 240, 240), lost("b", 250, 260)].into_iter().for_each(|footage| done.moved.lose(footage));
        assert_eq!(told, [lost("a", 0, 180)]);
        assert_eq!(done.moved(true).gone, [lost("b", 180, 240), lost("b", 250, 260)]);
        assert_eq!(done.moved(true), Moved::default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn a_walk_in_pages_of_any_size_finds_what_one_look_finds(
            minutes in proptest::collection::vec((0usize..4, 0u8..60, any::<bool>(), any::<bool>()), 0..60),
            rows_at_once in 1u32..9, names_at_once in 1usize..9, cutoff in 0u8..60) {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let dir = tempfile::tempdir().unwrap();
                let store = Store::open(&dir.path().join("db")).await.unwrap();
                let volume = Volume::open(&dir.path().join("recordings")).unwrap();
                let (mut files, mut rows) = (BTreeMap::new(), BTreeMap::new());
                for (camera, minute, on_disk, known) in minutes {
                    let camera: CameraId = ["a", "a-b", "a_b", "b"][camera].parse().unwrap();
                    let start = WallUs::parse("2026-01-01T00:00:00Z").unwrap().plus_us(i64::from(minute) * 60_000_000);
                    let path = naming::relative_path(&camera, start, 0);
                    if on_disk {
                        fs::create_dir_all(volume.root().join(camera.as_str())).unwrap();
                        fs::write(volume.root().join(&path), "1").unwrap();
                        files.insert(path.clone(), FoundFile { path: path.clone(), bytes: None });
                    }
                    if known {
                        let (codec, source) = (Codec::H264, Source::Live);
                        let (profile, width, height, audio) = (Profile::Main, 1, 1, None);
                        let only_mirror = false;
                        let head =
                            SegmentHead { camera, profile, start, codec, width, height, audio, source, only_mirror };
                        let (extent, state) = (Extent::default(), SegmentState::Closed);
                        rows.insert(path.clone(), SegmentFacts { head, path, extent, state, hash: None });
                    }
                }
                let all: Vec<_> = rows.into_values().map(|facts| (Place::Primary, facts)).collect();
                store.record(&all).await.unwrap();
                let before = WallUs::parse("2026-01-01T00:00:00Z").unwrap().plus_us(i64::from(cutoff) * 60_000_000);
                let scope = Scope { before, closed: false, sizes_since: WallUs(i64::MAX) };
                let mut rows = store.known_rows(Place::Primary, "", None, 1000).await.unwrap();
                rows.retain(|row| is_older(&row.path, before));
                let files: Vec<_> = files.into_values().filter(|file| is_older(&file.path, before)).collect();
                let key = |step: &Step| match step {
                    Step::Finish { path, .. } | Step::Adopt { path, .. } | Step::Lost { path, .. } => path.clone(),
                };
                let mut expected = reconcile::plan(&files, &rows);
                expected.sort_by_key(key);

                let mut walk = Walk::new(Some(&store), Place::Primary, &volume, scope).await.unwrap();
                assert_eq!(walk.files().await.unwrap(), files.len() as u64);
                walk.listing = Some(Listing::new(&volume, scope.sizes_since).unwrap().by(names_at_once));
                walk.rows = rows_at_once;
                let (mut seen, mut steps) = (Vec::new(), Vec::new());
                while let Some(page) = walk.next().await.unwrap() {
                    assert!(page.rows.len() <= rows_at_once as usize);
                    seen.extend(page.rows);
                    steps.extend(page.steps);
                }
                steps.sort_by_key(key);
                assert_eq!((seen, steps), (rows, expected));
                store.close().await;
            });
        }
    }
}
