//! Two volumes in directories, and a real index of what they have.

use std::{collections::HashMap, fs};

use tokio::sync::mpsc;

use super::*;
use crate::{
    base::secret::Vault,
    disk::{Limits, VolumeWriter},
    model::{
        Camera, Profile,
        camera::CameraPatch,
        segment::{Codec, Extent, SegmentFacts, SegmentHead, SegmentState, Source},
    },
    run::{StorageLimits, keeper::Keeper, resync::Resync},
};

struct Rig {
    dir: tempfile::TempDir,
    scrub: Scrub,
    events: mpsc::Receiver<NewEvent>,
    going: Arc<AtomicBool>,
    ids: Vec<i64>,
}

fn path(n: usize) -> String {
    format!("front/20260101_0000{n:02}.mp4")
}

fn bytes(n: usize) -> Vec<u8> {
    (0..50_000 + n).map(|at| (at * 7 + n) as u8).collect()
}

impl Rig {
    /// With `count` segments that both volumes have.
    async fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let writer = |name: &str| {
            let volume = Volume::open(&dir.path().join(name)).unwrap();
            fs::create_dir(volume.root().join("front")).unwrap();
            VolumeWriter::start(volume, Limits::default()).unwrap()
        };
        let volumes = Volumes::new(writer("primary"), Some(writer("mirror")));
        let mut facts = Vec::new();
        for n in 0..count {
            let head = SegmentHead {
                camera: "front".parse().unwrap(),
                profile: Profile::Main,
                start: WallUs(1_767_225_600_000_000).plus_us(n as i64 * 1_000_000),
                codec: Codec::H264,
                width: 160,
                height: 120,
                audio: None,
                source: Source::Live,
                only_mirror: false,
            };
            let bytes = bytes(n);
            let extent = Extent { frames: 25, bytes: bytes.len() as u64, duration_us: 1_000_000 };
            let hash = Some(Hash(*blake3::hash(&bytes).as_bytes()));
            let state = SegmentState::Closed;
            for (place, writer) in volumes.all() {
                fs::write(writer.volume().root().join(path(n)), &bytes).unwrap();
                let head = head.clone();
                facts.push((place, SegmentFacts { head, path: path(n), extent, state, hash }));
            }
        }
        let mut ids = store.record(&facts).await.unwrap();
        ids.dedup();
        let (hub, events) = Hub::new();
        let state = ScrubState::new(1 << 30, store.scrub_pass().await.unwrap());
        let (ledgers, waiting, healed) = (Ledgers::default(), false, 0);
        let scrub = Scrub { state, volumes, store, hub, ledgers, waiting, healed };
        Self { dir, scrub, events, going: Arc::new(AtomicBool::new(true)), ids }
    }

    fn file(&self, place: Place, n: usize) -> std::path::PathBuf {
        self.volume(place).root().join(path(n))
    }

    fn volume(&self, place: Place) -> Volume {
        self.scrub.volumes.at(place).unwrap().volume().clone()
    }

    fn flip(&self, place: Place, n: usize) {
        let mut file = fs::read(self.file(place, n)).unwrap();
        file[30_000] ^= 4;
        fs::write(self.file(place, n), file).unwrap();
    }

    async fn pass(&mut self) -> ScrubPass {
        self.scrub.state.begin().unwrap();
        self.scrub.pass(&self.going).await.unwrap();
        self.scrub.state.pass()
    }

    async fn copies(&self, n: usize) -> (CopyState, CopyState) {
        let copies = self.scrub.store.segment(self.ids[n]).await.unwrap().copies;
        (copies.primary, copies.mirror)
    }

    fn vault(&self) -> Vault {
        Vault::open(&self.dir.path().join("key")).unwrap()
    }

    fn camera(&self) -> Camera {
        let main_url = Some(Some("rtsp://192.0.2.7/x".to_owned()));
        Camera::new("front".parse().unwrap(), CameraPatch { main_url, ..CameraPatch::default() }).unwrap()
    }

    /// What copies to `to`.
    fn resync(&self, to: Place) -> Resync {
        Resync {
            to,
            volumes: self.scrub.volumes.clone(),
            store: self.scrub.store.clone(),
            hub: self.scrub.hub.clone(),
            limits: StorageLimits::default(),
            keeper: Keeper::default(),
            ledgers: self.scrub.ledgers.clone(),
            bytes_per_second: 1 << 30,
            failed: HashMap::new(),
        }
    }

    /// Kind and text of what was logged.
    fn told(&mut self) -> Vec<(Kind, String)> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|event| (event.kind, event.detail)).collect()
    }
}

#[tokio::test]
async fn damage_on_either_volume_is_found_told_marked_and_counted_as_healed() {
    use CopyState::{Absent, Suspect, Whole};
    let mut rig = Rig::new(5).await;
    rig.flip(Place::Primary, 0);
    rig.flip(Place::Mirror, 1);
    let cut = bytes(2);
    fs::write(rig.file(Place::Mirror, 2), &cut[..cut.len() - 1]).unwrap();
    fs::remove_file(rig.file(Place::Primary, 3)).unwrap();

    let pass = rig.pass().await;
    assert_eq!((pass.checked, pass.copies, pass.skipped, pass.damaged), (10, 10, 0, 4));
    assert!(pass.began.is_none() && pass.ended.is_some());
    let mut found = Vec::new();
    for n in 0..5 {
        found.push(rig.copies(n).await);
    }
    let right = [(Suspect, Whole), (Whole, Suspect), (Whole, Suspect), (Absent, Whole), (Whole, Whole)];
    assert_eq!(found, right);
    let told = rig.told();
    assert_eq!(told.len(), 4);
    let texts = [
        (0, "primary is not what was recorded; it is copied from the mirror"),
        (1, "mirror is not what was recorded; it is copied from the primary"),
        (3, "primary is gone; it is copied from the mirror"),
    ];
    for (n, text) in texts {
        assert_eq!(told[n], (Kind::SegmentDamaged, format!("{} on the {text}", path(n))));
    }

    let again = rig.pass().await;
    assert_eq!((again.checked, again.damaged), (6, 0), "what is marked is not told of again");
    rig.scrub.store.insert_camera(&rig.vault(), &rig.camera(), WallUs(0)).await.unwrap();
    for to in [Place::Primary, Place::Primary, Place::Mirror, Place::Mirror] {
        assert_eq!(rig.told(), [], "not all are whole yet");
        assert!(rig.resync(to).round(&rig.going).await.unwrap());
        rig.scrub.mended(false).await.unwrap();
    }
    let [(kind, text)] = &rig.told()[..] else { panic!("told once") };
    assert_eq!((*kind, &**text), (Kind::SegmentHealed, "4 copies that were damaged are whole again"));
    let well = rig.pass().await;
    assert_eq!((well.checked, well.damaged), (10, 0));
    assert_eq!(rig.told(), []);
}

#[tokio::test]
async fn a_lone_copy_stays_and_what_is_away_or_let_go_is_no_damage() {
    let mut rig = Rig::new(4).await;
    let store = rig.scrub.store.clone();
    // Without another copy.
    store.mark(Place::Mirror, &rig.ids[..1], CopyState::Pruned).await.unwrap();
    fs::remove_file(rig.file(Place::Mirror, 0)).unwrap();
    rig.flip(Place::Primary, 0);
    // Let go between the page of rows and the look.
    let page = store.to_scrub(0, 10).await.unwrap();
    store.mark(Place::Mirror, &rig.ids[1..2], CopyState::Pruned).await.unwrap();
    fs::remove_file(rig.file(Place::Mirror, 1)).unwrap();
    rig.scrub.copy(Place::Mirror, &page[1], &rig.going).await.unwrap();
    assert_eq!(rig.told(), []);
    assert_eq!(rig.copies(1).await.1, CopyState::Pruned);
    // Away.
    rig.scrub.volumes.mirror().unwrap().away(Some("no such disk".into()));
    fs::remove_dir_all(rig.volume(Place::Mirror).root()).unwrap();

    let pass = rig.pass().await;
    assert_eq!((pass.checked, pass.skipped, pass.damaged), (4, 2, 1));
    assert_eq!(rig.copies(0).await, (CopyState::Suspect, CopyState::Pruned));
    assert_eq!(rig.copies(3).await, (CopyState::Whole, CopyState::Whole));
    let [(Kind::SegmentDamaged, text)] = &rig.told()[..] else { panic!("told once") };
    assert!(text.ends_with("there is no whole copy, so nothing can heal it"), "{text}");
}

#[tokio::test]
async fn what_turns_out_to_be_damaged_when_it_is_to_be_copied_is_marked_and_told() {
    let mut rig = Rig::new(2).await;
    let store = rig.scrub.store.clone();
    store.mark(Place::Primary, &rig.ids, CopyState::Absent).await.unwrap();
    for n in 0..2 {
        fs::remove_file(rig.file(Place::Primary, n)).unwrap();
    }
    rig.flip(Place::Mirror, 0);
    fs::remove_file(rig.file(Place::Mirror, 1)).unwrap();
    let mut resync = rig.resync(Place::Primary);
    for _ in 0..2 {
        assert!(!resync.round(&rig.going).await.unwrap());
    }
    assert_eq!(rig.copies(0).await, (CopyState::Absent, CopyState::Suspect));
    assert_eq!(rig.copies(1).await, (CopyState::Absent, CopyState::Absent));
    let expected = [(1, "is gone"), (0, "is not what was recorded")];
    let expected =
        expected.map(|(n, what)| (Kind::SegmentDamaged, format!("{} on the mirror {what}", path(n))));
    assert_eq!(rig.told(), expected, "the newest first");
    assert!(!rig.file(Place::Primary, 0).exists(), "what is damaged is not copied");
}

#[tokio::test]
async fn hundreds_of_damaged_files_are_not_hundreds_of_events() {
    let mut rig = Rig::new(25).await;
    (0..25).for_each(|n| rig.flip(Place::Mirror, n));
    assert_eq!(rig.pass().await.damaged, 25);
    let told = rig.told();
    assert_eq!(told.len(), 21);
    assert_eq!(told[20].1, "and 5 more copies in this pass of the scrub");
}

#[tokio::test]
async fn a_pass_goes_on_where_it_was_and_one_is_due_an_hour_after_the_last() {
    let mut rig = Rig::new(3).await;
    let fresh = rig.scrub.state.pass();
    assert!(!rig.scrub.state.is_under_way(), "nothing is old enough yet");
    rig.scrub.state.begin().unwrap();
    assert!(matches!(rig.scrub.state.begin(), Err(Error::ScrubRunning)));
    rig.scrub.prepare().await.unwrap();
    {
        let mut pass = rig.scrub.state.lock();
        (pass.after, pass.checked, pass.damaged) = (rig.ids[1], 4, 1);
    }
    rig.scrub.save().await.unwrap();

    let stored = rig.scrub.store.scrub_pass().await.unwrap();
    assert_eq!(stored, rig.scrub.state.pass());
    rig.scrub.state = ScrubState::new(1 << 30, stored);
    assert!(rig.scrub.state.is_under_way());
    rig.scrub.pass(&rig.going).await.unwrap();
    let ended = rig.scrub.store.scrub_pass().await.unwrap();
    assert_eq!((ended.checked, ended.damaged, ended.ended_damaged), (6, 1, 1));
    assert!(ended.next > fresh.next && !rig.scrub.state.is_under_way());

    let due = ScrubPass { next: WallUs::now(), ..ended };
    assert!(!ScrubState::new(0, due).is_under_way());
    assert!(matches!(ScrubState::new(0, due).begin(), Err(Error::ScrubOff)));
    assert!(ScrubState::new(1, due).is_under_way());
    let set_back = ScrubPass { next: WallUs::now().plus(REST * 2), ..ended };
    assert!(ScrubState::new(1, set_back).is_under_way());
}
