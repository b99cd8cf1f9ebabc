//! With files as Debian's muxer writes them, and rows that agree with them or do not.

use std::{fs, path::Path, sync::OnceLock};

use gstreamer::prelude::*;

use super::*;
use crate::{
    disk::{self, measure},
    model::{
        Profile,
        copies::Place,
        segment::{Codec, SegmentFacts, SegmentHead, SegmentState, Source},
    },
};
use compare::Kind;

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
            storage: Default::default(),
            mirror: None,
            resync_bytes_per_second: 32 << 20,
            scrub_bytes_per_second: 8 << 20,
        };
        let volume = Volume::open(&settings.recordings_dir).unwrap();
        fs::create_dir(volume.root().join("a")).unwrap();
        Self { _dir: dir, settings, volume }
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

    let started = NewEvent {
        at: WallUs::parse("2026-01-01T12:00:00Z").unwrap(),
        camera: None,
        kind: EventKind::ServiceStarted,
        severity: Severity::Info,
        detail: String::new(),
    };
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
