//! A whole Watchkeeper in a directory of its own, with simulated cameras behind links.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use watchkeeper::{
    base::{CameraId, WallUs},
    media,
    model::{
        camera::CameraPatch,
        event::{Event, Kind},
        segment::Segment,
        status::{CameraStatus, Shown},
        timeline::Range,
    },
    run::{EventQuery, Settings, StorageLimits, Watchkeeper},
    store::Store,
};

use crate::{
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        frames,
        link::Link,
        proof::{self, Proof},
    },
    wait,
};

/// A simulated camera and the cable to it.
pub(crate) struct Scene {
    pub(crate) camera: SimCamera,
    pub(crate) link: Link,
}

pub(crate) struct Rig {
    pub(crate) service: Watchkeeper,
    pub(crate) settings: Settings,
    pub(crate) scenes: BTreeMap<String, Scene>,
    _dir: TempDir,
}

impl Rig {
    /// A service without cameras.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// [`Self::new`] with other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        media::init().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            data_dir: dir.path().join("data"),
            recordings_dir: dir.path().join("recordings"),
            pipelines_dir: None,
            source: Default::default(),
            storage: StorageLimits::default(),
            mirror: None,
            resync_bytes_per_second: 32 << 20,
            scrub_bytes_per_second: 8 << 20,
            ai: Default::default(),
            frames_dir: None,
            refill: Default::default(),
        };
        change(&mut settings);
        let service = Watchkeeper::start(&settings).await.unwrap();
        Self { service, settings, scenes: BTreeMap::new(), _dir: dir }
    }

    /// A service that records these cameras, each behind its link; comes back when all of them are recording.
    pub(crate) async fn recording(specs: impl IntoIterator<Item = CameraSpec>) -> Self {
        let mut rig = Self::new().await;
        for spec in specs {
            rig.add(spec).await;
        }
        for name in rig.scenes.keys() {
            rig.until(name, "recording", |status| status.shown == Shown::Recording).await;
        }
        rig
    }

    /// Starts a camera and adds it to the service.
    pub(crate) async fn add(&mut self, spec: CameraSpec) {
        self.add_with(spec, |_, _| {}).await;
    }

    /// [`Self::add`] with other settings of the camera.
    pub(crate) async fn add_with(
        &mut self,
        spec: CameraSpec,
        change: impl FnOnce(&SimCamera, &mut CameraPatch),
    ) {
        let name = spec.name.clone();
        let camera = SimCamera::start(spec).unwrap();
        let link = Link::start(camera.port()).unwrap();
        let login = camera.login();
        let mut given = CameraPatch {
            main_url: Some(Some(link.url("main"))),
            username: login.as_ref().map(|login| Some(login.user.clone())),
            password: login.map(|login| Some(watchkeeper::base::Secret::new(login.password))),
            segment_seconds: Some(4),
            ..CameraPatch::default()
        };
        change(&camera, &mut given);
        self.service.add_camera(id(&name), given).await.unwrap();
        self.scenes.insert(name, Scene { camera, link });
    }

    pub(crate) fn scene(&self, name: &str) -> &Scene {
        &self.scenes[name]
    }

    pub(crate) fn status(&self, name: &str) -> CameraStatus {
        self.service.camera(&id(name)).unwrap().status
    }

    /// Waits for a camera's state.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        is: impl FnMut(&CameraStatus) -> bool,
    ) -> CameraStatus {
        wait::until(&format!("{name}: {what}"), || self.status(name), is).await
    }

    /// Waits until `count` more frames of this camera have come.
    pub(crate) async fn frames_more(&self, name: &str, count: u64) {
        let before = self.status(name).observed.frames;
        self.until(name, "more frames", |status| status.observed.frames >= before + count).await;
    }

    /// A camera's segments, oldest first, as the index has them; also when the service is stopped.
    pub(crate) async fn segments(&self, name: &str) -> Vec<Segment> {
        let range = Range { from: WallUs(0), to: WallUs(i64::MAX) };
        let store = Store::open_read_only(&self.settings.database()).await.unwrap();
        let segments = store.segments_touching(&id(name), range, None, 1000).await.unwrap();
        store.close().await;
        segments
    }

    /// The log, oldest first.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let mut events =
            self.service.events(EventQuery { limit: 1000, ..EventQuery::default() }).await.unwrap();
        events.reverse();
        events
    }

    /// Waits for an event of this kind of this camera, and gives all of them.
    pub(crate) async fn until_event(&self, name: &str, kind: Kind) -> Vec<Event> {
        let deadline = Instant::now() + wait::PATIENCE;
        loop {
            let mut events = self.events().await;
            if events.iter().any(|event| of(event, name) && event.event.kind == kind) {
                events.retain(|event| of(event, name));
                return events;
            }
            assert!(Instant::now() < deadline, "no {kind:?} of {name} in {events:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn files(&self, name: &str) -> Vec<PathBuf> {
        files(&self.settings.recordings_dir.join(name))
    }

    /// Stops the service in order. Its directory stays until the rig is dropped.
    pub(crate) async fn stop(&self) {
        self.service.stop().await;
        let system = self.service.system();
        assert_eq!((system.abandoned_pipelines, system.pending_rows), (0, 0));
    }

    /// After a stop: [`prove`] for this camera.
    pub(crate) fn prove(&self, name: &str) -> Proof {
        prove(&self.scene(name).camera, &self.files(name))
    }

    /// After a stop: [`prove_parts`] for this camera.
    pub(crate) fn prove_parts(&self, name: &str) {
        prove_parts(&self.files(name));
    }
}

/// Every frame that the camera sent since the first recorded one is in the files exactly once, in order, up to the last
/// recorded one; and every file plays alone.
pub(crate) fn prove(camera: &SimCamera, files: &[PathBuf]) -> Proof {
    let recorded = plays_alone(files).concat();
    let sent: Vec<u64> = camera.sent(Channel::Main).iter().map(|sent| sent.number).collect();
    proof::prove_sent(&sent, &recorded).unwrap_or_else(|wrong| panic!("{}: {wrong}", camera.name()))
}

/// For a camera that was lost in between: each file's numbers are without a hole and go on from the file before.
pub(crate) fn prove_parts(files: &[PathBuf]) {
    let mut last = 0;
    for (file, numbers) in files.iter().zip(plays_alone(files)) {
        proof::prove_contiguous(&numbers).unwrap_or_else(|wrong| panic!("{}: {wrong}", file.display()));
        assert!(last < numbers[0], "{} goes back", file.display());
        last = numbers[numbers.len() - 1];
    }
}

/// Each file decodes without a message and begins with a keyframe. The numbers of the frames of each.
pub(crate) fn plays_alone(files: &[PathBuf]) -> Vec<Vec<u64>> {
    assert!(!files.is_empty());
    let numbers = |file: &PathBuf| {
        let played = frames::played(file).unwrap_or_else(|wrong| panic!("{}: {wrong:#}", file.display()));
        played.into_iter().map(|frame| frame.number).collect()
    };
    files.iter().map(numbers).collect()
}

/// The MP4 files of a directory, in order of their names, which is the order of time but for suffixes.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|end| end == "mp4"));
    files.sort_by_key(|path| {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let copy: u32 = stem.get(16..).and_then(|n| n.parse().ok()).unwrap_or(0);
        (stem[..15].to_owned(), copy)
    });
    files
}

pub(crate) fn id(name: &str) -> CameraId {
    name.parse().unwrap()
}

fn of(event: &Event, name: &str) -> bool {
    event.event.camera.as_ref().is_some_and(|camera| camera.as_str() == name)
}
