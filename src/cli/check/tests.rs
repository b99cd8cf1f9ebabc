//! With files as Debian's muxer writes them, and rows that agree with them or do not.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use gstreamer::prelude::*;

use super::*;
use crate::{
    disk::{self, IDENTITY_FILE, measure},
    model::{
        Profile,
        copies::{CopyState, Place},
        segment::{Codec, SegmentFacts, SegmentHead, SegmentState, Source},
    },
    run::MirrorSettings,
};

/// Two seconds of a small picture.
fn footage() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        gstreamer::init().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.mp4");
        let text = format!(
            "videotestsrc num-buffers=50 ! video/x-raw,width=160,height=120,framerate=25/1 ! x264enc bframes=0 \
             key-int-max=25 ! h264parse ! mp4mux fragment-duration=500 ! filesink location={}",
            file.display()
        );
        let pipeline = gstreamer::parse::launch(&text).unwrap();
        pipeline.set_state(gstreamer::State::Playing).unwrap();
        let bus = pipeline.bus().unwrap();
        let end = [gstreamer::MessageType::Eos, gstreamer::MessageType::Error];
        let message = bus.timed_pop_filtered(gstreamer::ClockTime::from_seconds(20), &end).unwrap();
        assert_eq!(message.type_(), gstreamer::MessageType::Eos, "{message:?}");
        pipeline.set_state(gstreamer::State::Null).unwrap();
        fs::read(file).unwrap()
    })
}

const REPAIR: How = How { running: false, deep: false, repair: true };

struct Rig {
    _dir: tempfile::TempDir,
    settings: Settings,
    volume: Volume,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_dir: dir.path().to_owned(),
            recordings_dir: dir.path().join("recordings"),
            pipelines_dir: None,
            source: Default::default(),
            storage: Default::default(),
            mirror: None,
            resync_bytes_per_second: 32 << 20,
            scrub_bytes_per_second: 8 << 20,
            ai: Default::default(),
            frames_dir: None,
            refill: Default::default(),
        };
        let volume = Volume::open(&settings.recordings_dir).unwrap();
        fs::create_dir(volume.root().join("a")).unwrap();
        Self { _dir: dir, settings, volume }
    }

    /// With a second volume.
    fn with_mirror() -> Self {
        let mut rig = Self::new();
        let dir = rig.settings.data_dir.join("mirror");
        fs::create_dir_all(dir.join("a")).unwrap();
        rig.settings.mirror = Some(MirrorSettings { dir, storage: Default::default() });
        rig
    }

    /// A file on either volume.
    fn at(&self, place: Place, path: &str) -> PathBuf {
        match place {
            Place::Primary => self.volume.root().join(path),
            Place::Mirror => self.settings.data_dir.join("mirror").join(path),
        }
    }

    /// So many segments that both volumes have; the last without a hash.
    async fn mirrored(&self, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|minute| format!("a/20260101_000{minute}00.mp4")).collect();
        let mut rows = Vec::new();
        for (n, name) in names.iter().enumerate() {
            Place::ALL.iter().for_each(|place| fs::write(self.at(*place, name), footage()).unwrap());
            let hash = (n + 1 < count).then(|| disk::hash(&self.volume, name).unwrap());
            let facts = SegmentFacts { hash, ..self.facts(name, SegmentState::Closed, 0) };
            rows.extend(Place::ALL.iter().map(|place| (*place, facts.clone())));
        }
        let store = Store::open(&self.settings.database()).await.unwrap();
        store.record(&rows).await.unwrap();
        store.close().await;
        names
    }

    async fn copies(&self, path: &str) -> (CopyState, CopyState) {
        let store = Store::open_read_only(&self.settings.database()).await.unwrap();
        let before = path.replace(".mp4", "");
        let rows = store.known_rows(Place::Primary, &before, Some(path), 9).await.unwrap();
        let copies = store.segment(rows[0].id).await.unwrap().copies;
        store.close().await;
        (copies.primary, copies.mirror)
    }

    fn file(&self, path: &str, bytes: &[u8]) {
        fs::write(self.volume.root().join(path), bytes).unwrap();
    }

    /// A row that says what the file holds, with `more` frames.
    fn facts(&self, path: &str, state: SegmentState, more: u64) -> SegmentFacts {
        let mut extent = measure(&self.volume, path).unwrap().extent;
        extent.frames += more;
        let head = SegmentHead {
            camera: "a".parse().unwrap(),
            profile: Profile::Main,
            start: WallUs(1_767_225_600_000_000),
            codec: Codec::H264,
            width: 160,
            height: 120,
            audio: None,
            source: Source::Live,
            only_mirror: false,
        };
        SegmentFacts { head, path: path.to_owned(), extent, state, hash: None }
    }

    async fn row(&self, path: &str) -> SegmentFacts {
        let store = Store::open_read_only(&self.settings.database()).await.unwrap();
        let before = path.replace(".mp4", "");
        let [row] =
            store.known_rows(Place::Primary, &before, Some(path), 9).await.unwrap().try_into().unwrap();
        let facts = store.segment(row.id).await.unwrap().facts;
        store.close().await;
        facts
    }

    async fn record(&self, facts: Vec<SegmentFacts>) {
        let store = Store::open(&self.settings.database()).await.unwrap();
        let facts: Vec<_> = facts.into_iter().map(|facts| (Place::Primary, facts)).collect();
        store.record(&facts).await.unwrap();
        store.close().await;
    }
}

fn kinds(checked: &Checked) -> Vec<(Kind, &str)> {
    let mut found: Vec<(Kind, &str)> = checked
        .compared
        .findings
        .iter()
        .map(|finding| (finding.kind, Path::new(&finding.path).file_stem().unwrap().to_str().unwrap()))
        .collect();
    found.sort_by_key(|(_, path)| path.to_owned());
    found
}

#[tokio::test]
async fn each_disagreement_is_found_mended_and_gone() {
    let rig = Rig::new();
    let whole = footage();
    let names: Vec<String> = (0..8).map(|minute| format!("a/20260101_000{minute}00.mp4")).collect();
    for name in &names {
        rig.file(name, whole);
    }
    use SegmentState::{Closed, Lost, Open};
    rig.record(vec![
        rig.facts(&names[0], Closed, 0),
        rig.facts(&names[1], Open, 0),
        rig.facts(&names[2], Closed, 1),
        rig.facts(&names[3], Closed, 0),
        rig.facts(&names[4], Closed, 0),
        rig.facts(&names[5], Lost, 0),
        rig.facts(&names[6], Closed, 0),
    ])
    .await;
    rig.file(&names[3], &whole[..whole.len() - 10]);
    fs::remove_file(rig.volume.root().join(&names[4])).unwrap();
    rig.file(&names[6], &[0; 100_000]);
    rig.file("a/20260101_000800.mp4", &whole[..700]);
    rig.file("a/notes.txt", b"x");

    let checked_now = checked(&rig.settings, How::default()).await.unwrap();
    assert_eq!(
        kinds(&checked_now),
        [
            (Kind::Unfinished, "20260101_000100"),
            (Kind::Differs, "20260101_000200"),
            (Kind::Shrunk, "20260101_000300"),
            (Kind::Lost, "20260101_000400"),
            (Kind::Returned, "20260101_000500"),
            (Kind::Damaged, "20260101_000600"),
            (Kind::Unindexed, "20260101_000700"),
            (Kind::Empty, "20260101_000800"),
        ]
    );
    assert!(!checked_now.is_well());

    let mended = checked(&rig.settings, REPAIR).await.unwrap();
    assert!(mended.is_well());
    let repaired = mended.compared.repaired.unwrap();
    assert_eq!((repaired.finished.count(), repaired.adopted.count(), repaired.lost.count()), (4, 1, 2));

    let after = checked(&rig.settings, How::default()).await.unwrap();
    assert!(after.is_well(), "{:?}", after.compared.findings);
    // What holds no footage stays, and is said, but is nothing to be done about.
    assert_eq!(kinds(&after), [(Kind::Empty, "20260101_000600"), (Kind::Empty, "20260101_000800")]);
    assert_eq!(after.compared.lost_before, 2);
}

#[tokio::test]
async fn what_a_running_service_writes_is_its_own_and_what_an_older_one_left_is_not() {
    let rig = Rig::new();
    let (old, new) = ("a/20260101_000000.mp4", "a/20260102_000000.mp4");
    // A clock that was set back can give a growing file a name from before the start.
    let growing = "a/20260101_000100.mp4";
    for name in [old, new, growing] {
        rig.file(name, footage());
    }
    let open = |name| rig.facts(name, SegmentState::Open, 0);
    rig.record(vec![open(old), open(new), open(growing)]).await;
    let long_ago = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    File::options().write(true).open(rig.volume.root().join(old)).unwrap().set_times(long_ago).unwrap();
    assert!(
        checked(&rig.settings, How { running: true, ..How::default() }).await.is_err(),
        "no start is known yet"
    );

    let started = WallUs::parse("2026-01-01T12:00:00Z").unwrap();
    let started = NewEvent::new(started, None, EventKind::ServiceStarted, Severity::Info, "");
    let store = Store::open(&rig.settings.database()).await.unwrap();
    store.append_events(&[started]).await.unwrap();
    store.close().await;
    let checked = checked(&rig.settings, How { running: true, ..How::default() }).await.unwrap();
    assert_eq!(kinds(&checked), [(Kind::Unfinished, "20260101_000000")]);
}

#[tokio::test]
async fn without_a_database_the_files_make_one() {
    let rig = Rig::new();
    rig.file("a/20260101_000000.mp4", footage());
    let before = checked(&rig.settings, How::default()).await.unwrap();
    assert!(!before.indexed && !before.is_well());
    assert!(!rig.settings.database().exists(), "a look makes nothing");
    assert!(checked(&rig.settings, REPAIR).await.unwrap().is_well());
    let after = checked(&rig.settings, How::default()).await.unwrap();
    assert!(after.is_well() && after.compared.rows == 1);
}

#[tokio::test]
async fn an_unmounted_disk_is_no_reason_to_mark_everything_as_lost() {
    let rig = Rig::new();
    let name = "a/20260101_000000.mp4";
    rig.file(name, footage());
    rig.record(vec![rig.facts(name, SegmentState::Closed, 0)]).await;
    fs::remove_file(rig.volume.root().join(name)).unwrap();
    let error = checked(&rig.settings, REPAIR).await.unwrap_err();
    assert!(error.to_string().contains("not one is in"), "{error}");
    let found = checked(&rig.settings, How::default()).await.unwrap();
    assert_eq!(kinds(&found), [(Kind::Lost, "20260101_000000")]);
}

#[test]
fn the_lock_says_whether_a_service_runs() {
    let rig = Rig::new();
    assert!(!is_running(&rig.settings).unwrap());
    assert!(!rig.settings.data_dir.join("lock").exists(), "a look makes nothing");
    let held = rig.settings.lock().unwrap().unwrap();
    assert!(rig.settings.data_dir.join("lock").exists(), "is_running looks for this name");
    assert!(is_running(&rig.settings).unwrap());
    assert!(lock_for_repair(&rig.settings).is_err());
    drop(held);
    assert!(!is_running(&rig.settings).unwrap());
    assert!(lock_for_repair(&rig.settings).is_ok());
}

#[tokio::test]
async fn one_flipped_byte_is_found_named_and_never_blessed() {
    let rig = Rig::new();
    let names: Vec<String> = (0..4).map(|minute| format!("a/20260101_000{minute}00.mp4")).collect();
    let mut rows = Vec::new();
    for name in &names {
        rig.file(name, footage());
        let hash = Some(disk::hash(&rig.volume, name).unwrap());
        rows.push(SegmentFacts { hash, ..rig.facts(name, SegmentState::Closed, 0) });
    }
    // As after a recovery: it gets its hash when it is asked for.
    rows[3].hash = None;
    rig.record(rows).await;
    let mut altered = footage().to_vec();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    rig.file(&names[1], &altered);

    let deep = How { deep: true, ..How::default() };
    assert!(checked(&rig.settings, How::default()).await.unwrap().is_well(), "its boxes are whole");
    for how in [deep, How { repair: true, ..deep }, deep] {
        let found = checked(&rig.settings, how).await.unwrap();
        assert_eq!(kinds(&found), [(Kind::Altered, "20260101_000100")]);
        assert!(!found.is_well());
        assert_eq!(
            (found.compared.hashed, found.compared.bytes),
            (u64::from(how.repair), 3 * footage().len() as u64)
        );
    }
    assert_eq!(rig.row(&names[1]).await.state, SegmentState::Suspect);
    assert_eq!(rig.row(&names[3]).await.hash, Some(disk::hash(&rig.volume, &names[0]).unwrap()));
    assert_eq!(kinds(&checked(&rig.settings, REPAIR).await.unwrap()), [(Kind::Suspect, "20260101_000100")]);

    // Cut, too: the index says what is there, and that it is not what was recorded.
    rig.file(&names[0], &footage()[..footage().len() - 10]);
    let cut = checked(&rig.settings, REPAIR).await.unwrap();
    let (one, two) = ((Kind::Altered, "20260101_000000"), (Kind::Suspect, "20260101_000100"));
    assert_eq!(kinds(&cut), [one, two]);
    assert_eq!(kinds(&checked(&rig.settings, REPAIR).await.unwrap()), [(Kind::Suspect, one.1), two]);

    // Good copies put in their places are taken back.
    names[..2].iter().for_each(|name| rig.file(name, footage()));
    let mended = checked(&rig.settings, How { repair: true, ..deep }).await.unwrap();
    assert_eq!(
        kinds(&mended),
        [one, (Kind::Cleared, two.1)],
        "the row of the cut one has yet to follow its file"
    );
    checked(&rig.settings, How { repair: true, ..deep }).await.unwrap();
    let well = checked(&rig.settings, deep).await.unwrap();
    assert!(well.is_well() && well.compared.without_hash == 0, "{:?}", well.compared.findings);
    assert_eq!(rig.row(&names[0]).await.state, SegmentState::Closed);
}

const DEEP: How = How { running: false, deep: true, repair: false };
const DEEP_REPAIR: How = How { running: false, deep: true, repair: true };

fn flipped() -> Vec<u8> {
    let mut altered = footage().to_vec();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    altered
}

#[tokio::test]
async fn what_one_volume_has_wrong_is_healed_from_the_other_in_either_direction() {
    let rig = Rig::with_mirror();
    let names = rig.mirrored(8).await;
    assert!(checked(&rig.settings, DEEP).await.unwrap().is_well());
    let cut = &footage()[..footage().len() - 10];
    use Place::{Mirror, Primary};
    fs::write(rig.at(Primary, &names[0]), flipped()).unwrap();
    fs::remove_file(rig.at(Primary, &names[1])).unwrap();
    fs::write(rig.at(Primary, &names[2]), cut).unwrap();
    fs::write(rig.at(Primary, &names[3]), [0; 100_000]).unwrap();
    fs::write(rig.at(Mirror, &names[4]), flipped()).unwrap();
    fs::remove_file(rig.at(Mirror, &names[5])).unwrap();
    fs::write(rig.at(Mirror, &names[6]), cut).unwrap();
    // Without a hash, the other copy tells what it should be.
    fs::write(rig.at(Mirror, &names[7]), flipped()).unwrap();

    let seen = [
        (Kind::Lost, "20260101_000100"),
        (Kind::Altered, "20260101_000200"),
        (Kind::Damaged, "20260101_000300"),
        (Kind::MirrorMissing, "20260101_000500"),
        (Kind::MirrorDiffers, "20260101_000600"),
    ];
    assert_eq!(kinds(&checked(&rig.settings, How::default()).await.unwrap()), seen);
    let found = checked(&rig.settings, DEEP).await.unwrap();
    let bytes_tell = [
        (Kind::Altered, "20260101_000000"),
        (Kind::MirrorDiffers, "20260101_000400"),
        (Kind::MirrorDiffers, "20260101_000700"),
    ];
    let mut all: Vec<_> = seen.into_iter().chain(bytes_tell).collect();
    all.sort_by_key(|(_, path)| *path);
    assert_eq!(kinds(&found), all);
    assert!(!found.is_well());

    let mended = checked(&rig.settings, DEEP_REPAIR).await.unwrap();
    assert!(mended.is_well(), "{:?}", mended.compared.findings);
    assert_eq!(mended.compared.healed.count(), 8);
    assert_eq!(
        mended.compared.repaired.unwrap(),
        Repaired::default(),
        "nothing is given up, or taken for less"
    );
    for name in &names {
        assert_eq!(rig.copies(name).await, (CopyState::Whole, CopyState::Whole));
        for place in Place::ALL {
            assert!(fs::read(rig.at(*place, name)).unwrap() == footage(), "{name} on the {}", place.word());
        }
    }
    let well = checked(&rig.settings, DEEP).await.unwrap();
    assert!(well.is_well() && well.compared.findings.is_empty(), "{:?}", well.compared.findings);
    assert_eq!((well.compared.mirrored, well.compared.without_hash), (8, 0));
}

#[tokio::test]
async fn without_a_good_copy_nothing_is_overwritten_and_all_is_said() {
    let rig = Rig::with_mirror();
    let names = rig.mirrored(2).await;
    for place in Place::ALL {
        fs::write(rig.at(*place, &names[0]), flipped()).unwrap();
    }
    for _ in 0..2 {
        let left = checked(&rig.settings, DEEP_REPAIR).await.unwrap();
        let name = "20260101_000000";
        assert_eq!(kinds(&left), [(Kind::Altered, name), (Kind::MirrorDiffers, name)]);
        assert!(!left.is_well() && left.compared.healed.count() == 0);
        assert_eq!(rig.copies(&names[0]).await, (CopyState::Suspect, CopyState::Suspect));
        for place in Place::ALL {
            assert!(fs::read(rig.at(*place, &names[0])).unwrap() == flipped());
        }
    }
    // One good copy put back is enough for both.
    fs::write(rig.at(Place::Mirror, &names[0]), footage()).unwrap();
    let mended = checked(&rig.settings, DEEP_REPAIR).await.unwrap();
    assert_eq!(mended.compared.healed.count(), 1);
    assert!(mended.is_well(), "{:?}", mended.compared.findings);
    assert!(checked(&rig.settings, DEEP).await.unwrap().is_well());
    assert!(fs::read(rig.at(Place::Primary, &names[0])).unwrap() == footage());
}

#[tokio::test]
async fn what_only_the_mirror_has_is_taken_in_and_copied_back_and_what_was_let_go_is_not() {
    let rig = Rig::with_mirror();
    let names = rig.mirrored(6).await;
    let store = Store::open(&rig.settings.database()).await.unwrap();
    let ids: Vec<i64> =
        store.known_rows(Place::Primary, "", None, 9).await.unwrap().iter().map(|row| row.id).collect();
    // No row; a row that does not speak of the mirror's file; one that was lost.
    store.mark(Place::Mirror, &ids[1..3], CopyState::Absent).await.unwrap();
    store.mark(Place::Primary, &ids[2..3], CopyState::Absent).await.unwrap();
    store.mark(Place::Primary, &ids[3..4], CopyState::Pruned).await.unwrap();
    store.mark(Place::Primary, &ids[4..5], CopyState::Unwanted).await.unwrap();
    store.close().await;
    for n in [2, 3, 4] {
        fs::remove_file(rig.at(Place::Primary, &names[n])).unwrap();
    }
    let stray = "a/20260101_001000.mp4";
    fs::write(rig.at(Place::Mirror, stray), footage()).unwrap();

    let expected = ["20260101_000100", "20260101_000200", "20260101_001000"];
    let expected = expected.map(|name| (Kind::MirrorUnindexed, name));
    let found = checked(&rig.settings, How::default()).await.unwrap();
    assert_eq!((kinds(&found), found.is_well()), (expected.to_vec(), false));
    let mended = checked(&rig.settings, REPAIR).await.unwrap();
    assert_eq!((kinds(&mended), mended.is_well()), (expected.to_vec(), true));
    let after = checked(&rig.settings, DEEP).await.unwrap();
    assert!(after.is_well() && after.compared.findings.is_empty(), "{:?}", after.compared.findings);
    for path in [&*names[2], stray] {
        assert!(fs::read(rig.at(Place::Primary, path)).unwrap() == footage());
        assert_eq!(rig.copies(path).await, (CopyState::Whole, CopyState::Whole));
    }
    assert_eq!(rig.copies(&names[3]).await, (CopyState::Pruned, CopyState::Whole));
    assert_eq!(rig.copies(&names[4]).await, (CopyState::Unwanted, CopyState::Whole));
}

#[tokio::test]
async fn of_what_both_were_recording_when_the_process_died_the_longer_copy_is_kept() {
    let rig = Rig::with_mirror();
    let names = rig.mirrored(3).await;
    let store = Store::open(&rig.settings.database()).await.unwrap();
    let mut rows = Vec::new();
    for (name, shorter) in names.iter().zip(Place::ALL) {
        let facts = rig.facts(name, SegmentState::Open, 0);
        let start = facts.head.start.plus_us(1);
        let head = SegmentHead { start, ..facts.head.clone() };
        rows.extend(
            Place::ALL.iter().map(|place| {
                (*place, SegmentFacts { head: head.clone(), path: name.clone(), ..facts.clone() })
            }),
        );
        fs::write(rig.at(*shorter, name), &footage()[..footage().len() * 3 / 4]).unwrap();
    }
    store.record(&rows).await.unwrap();
    store.close().await;
    assert_eq!(rig.copies(&names[0]).await, (CopyState::Open, CopyState::Open));

    let both = ["20260101_000000", "20260101_000100"].map(|name| (Kind::Unfinished, name));
    assert_eq!(kinds(&checked(&rig.settings, How::default()).await.unwrap()), both);
    assert!(checked(&rig.settings, REPAIR).await.unwrap().is_well());
    let after = checked(&rig.settings, DEEP).await.unwrap();
    assert!(after.is_well() && after.compared.findings.is_empty(), "{:?}", after.compared.findings);
    for name in &names {
        assert_eq!(rig.copies(name).await, (CopyState::Whole, CopyState::Whole));
        for place in Place::ALL {
            assert!(fs::read(rig.at(*place, name)).unwrap() == footage(), "{name} on the {}", place.word());
        }
    }
}

#[tokio::test]
async fn a_volume_that_is_not_the_right_one_is_said_and_left_alone() {
    let rig = Rig::with_mirror();
    let names = rig.mirrored(3).await;
    let mirror = rig.settings.mirror.clone().unwrap().dir;
    let known = Arc::new(Installation::load(&rig.settings.data_dir).unwrap());
    Volume::guarded(rig.volume.root(), Some(&mirror), known.clone()).attach().unwrap();
    Volume::guarded(&mirror, Some(rig.volume.root()), known).attach().unwrap();
    assert!(checked(&rig.settings, DEEP).await.unwrap().is_well());

    // Only the mount point is left of the mirror.
    fs::rename(&mirror, rig.settings.data_dir.join("unmounted")).unwrap();
    fs::create_dir(&mirror).unwrap();
    fs::write(rig.at(Place::Primary, &names[0]), flipped()).unwrap();
    for how in [DEEP, DEEP_REPAIR] {
        let left = checked(&rig.settings, how).await.unwrap();
        assert_eq!(kinds(&left), [(Kind::Altered, "20260101_000000"), (Kind::Away, "mirror")]);
        assert!(!left.is_well());
        assert_eq!(fs::read_dir(&mirror).unwrap().count(), 0, "nothing is written there");
    }
    assert_eq!(rig.copies(&names[0]).await, (CopyState::Suspect, CopyState::Whole));
    assert_eq!(rig.copies(&names[1]).await, (CopyState::Whole, CopyState::Whole));
    fs::remove_dir(&mirror).unwrap();
    assert!(!checked(&rig.settings, How::default()).await.unwrap().is_well() && !mirror.exists());
    fs::rename(rig.settings.data_dir.join("unmounted"), &mirror).unwrap();

    let identity = rig.at(Place::Primary, IDENTITY_FILE);
    fs::rename(&identity, rig.settings.data_dir.join("identity")).unwrap();
    let away = checked(&rig.settings, DEEP).await.unwrap();
    assert_eq!((kinds(&away), away.is_well()), (vec![(Kind::Away, "recordings")], false));
    let error = checked(&rig.settings, DEEP_REPAIR).await.unwrap_err();
    assert!(error.to_string().contains("identity file is missing"), "{error}");
    fs::rename(rig.settings.data_dir.join("identity"), &identity).unwrap();
    assert!(checked(&rig.settings, DEEP_REPAIR).await.unwrap().is_well());
    assert!(checked(&rig.settings, DEEP).await.unwrap().is_well());

    // The right disk, and nothing on it any more.
    fs::remove_dir_all(rig.at(Place::Primary, "a")).unwrap();
    let mended = checked(&rig.settings, REPAIR).await.unwrap();
    assert_eq!((mended.is_well(), mended.compared.healed.count()), (true, 3));
    assert!(checked(&rig.settings, DEEP).await.unwrap().is_well());
}
