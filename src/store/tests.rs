//! The index on real database files.

use std::time::Instant;

use proptest::prelude::*;
use sqlx::AssertSqlSafe;

use super::*;
use crate::{
    base::{CameraId, Secret, WallUs, error::Chain, secret::Vault},
    model::{
        Camera, Profile,
        address::Vendor,
        ai::zone::{Direction, Sight},
        camera::{CameraPatch, MirrorMode, Transport},
        copies::CopyState,
        demand::Mode,
        event::{Kind, NewEvent, Severity},
        naming,
        refill::way::{Method, TimeFormat},
        schedule::{Row, Schedule, Zone},
        segment::{Codec, Extent, Hash, SegmentFacts, SegmentHead, SegmentState, Source},
        source::SourceChoice,
        timeline::Range,
    },
};

pub(super) struct Rig {
    dir: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) vault: Vault,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let vault = Vault::open(&dir.path().join("key")).unwrap();
        Self { dir, store, vault }
    }

    pub(super) async fn insert(&self, camera: &Camera) {
        self.store.insert_camera(&self.vault, camera, WallUs(5)).await.unwrap();
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("db")
    }

    /// Another process's connection.
    async fn other(&self) -> sqlx::SqliteConnection {
        use sqlx::Connection as _;
        sqlx::SqliteConnection::connect_with(&options(&self.path())).await.unwrap()
    }
}

pub(super) fn id(text: &str) -> CameraId {
    text.parse().unwrap()
}

pub(super) fn camera(name: &str) -> Camera {
    let given = CameraPatch {
        main_url: Some(Some("rtsp://admin:hunter2@192.0.2.7/x".into())),
        ..CameraPatch::default()
    };
    Camera::new(id(name), given).unwrap()
}

/// A closed segment of `camera` from `start` to `end`, in seconds.
pub(super) fn facts(camera: &str, start: i64, end: i64) -> SegmentFacts {
    let start = WallUs(start * 1_000_000);
    let head = SegmentHead {
        camera: id(camera),
        profile: Profile::Main,
        start,
        codec: Codec::H264,
        width: 1280,
        height: 720,
        audio: None,
        source: Source::Live,
        only_mirror: false,
    };
    let extent = Extent { frames: 25, bytes: 1_000, duration_us: end * 1_000_000 - start.0 };
    SegmentFacts {
        head,
        path: naming::relative_path(&id(camera), start, 0),
        extent,
        state: SegmentState::Closed,
        hash: Some(Hash([7; 32])),
    }
}

pub(super) fn seconds(from: i64, to: i64) -> Range {
    Range { from: WallUs(from * 1_000_000), to: WallUs(to * 1_000_000) }
}

#[tokio::test]
async fn a_camera_comes_back_as_it_went() {
    let rig = Rig::new().await;
    let full = Camera {
        id: id("full"),
        name: "Tor ä".into(),
        vendor: Vendor::Hikvision,
        address: Some("192.0.2.9".into()),
        rtsp_port: 8554,
        channel: 3,
        username: Some("u".into()),
        password: Some(Secret::new("p@ss")),
        main_url: Some("rtsp://h/m".into()),
        sub_url: Some("rtsp://h/s".into()),
        record_profile: Profile::Sub,
        transport: Transport::Auto,
        source: Some(SourceChoice::Rtspsrc),
        connect_seconds: 60,
        tls_fingerprint: Some("ab".repeat(32)),
        allow_basic: true,
        record_enabled: false,
        segment_seconds: 7,
        record_mode: Mode::ScheduledEvent,
        schedule: Schedule::new(vec![Row {
            weekdays: vec![6, 0],
            start: "22:10".into(),
            end: "06:00".into(),
            enabled: false,
        }])
        .unwrap(),
        time_zone: Some(Zone::America__New_York),
        pre_roll_seconds: 60,
        post_roll_seconds: 0,
        event_idle_session: false,
        record_audio: true,
        retention_hours: Some(72),
        quota_bytes: Some(5_000_000_000),
        mirror_enabled: false,
        mirror_mode: MirrorMode::Continuous,
        refill_enabled: true,
        refill_method: Method::Url,
        refill_url: Some("rtsp://h/r?a={start}&b={end}".into()),
        refill_time_format: TimeFormat::Unix,
        onvif_port: 8000,
    };
    let bare = Camera { username: None, password: None, ..camera("bare") };
    for camera in [&full, &bare] {
        rig.store.insert_camera(&rig.vault, camera, WallUs(5)).await.unwrap();
    }
    assert!(matches!(rig.store.insert_camera(&rig.vault, &bare, WallUs(6)).await, Err(Error::Exists(_))));
    let stored = |camera: &Camera| StoredCamera {
        camera: camera.clone(),
        created: WallUs(5),
        password_unreadable: false,
    };
    assert_eq!(rig.store.cameras(&rig.vault).await.unwrap(), [stored(&bare), stored(&full)]);
    assert_eq!(rig.store.camera(&rig.vault, &full.id).await.unwrap(), stored(&full));

    // Another process, after a restart; every field changed.
    rig.store.close().await;
    let store = Store::open(&rig.path()).await.unwrap();
    let changed = Camera { id: bare.id.clone(), ..full.clone() };
    store.update_camera(&rig.vault, &changed, Password::Set).await.unwrap();
    assert_eq!(store.cameras(&rig.vault).await.unwrap(), [stored(&changed), stored(&full)]);
    let cleared = Camera { id: full.id.clone(), ..bare.clone() };
    store.update_camera(&rig.vault, &cleared, Password::Set).await.unwrap();
    assert_eq!(store.camera(&rig.vault, &full.id).await.unwrap(), stored(&cleared));

    store.delete_camera(&full.id).await.unwrap();
    let gone = |result| matches!(result, Err(Error::NotFound { what: "camera", .. }));
    assert!(gone(store.delete_camera(&full.id).await));
    assert!(gone(store.update_camera(&rig.vault, &full, Password::Keep).await));
    assert!(gone(store.camera(&rig.vault, &full.id).await.map(|_| ())));
}

#[tokio::test]
async fn a_password_of_another_key_hides_no_camera_and_is_kept() {
    let rig = Rig::new().await;
    let front = camera("front");
    rig.store.insert_camera(&rig.vault, &front, WallUs(5)).await.unwrap();
    let other = Vault::open(&rig.dir.path().join("other")).unwrap();
    let [found] = rig.store.cameras(&other).await.unwrap().try_into().unwrap();
    assert!(found.password_unreadable && found.camera.password.is_none());
    let renamed = Camera { name: "New".into(), ..found.camera };
    rig.store.update_camera(&other, &renamed, Password::Keep).await.unwrap();
    let back = rig.store.camera(&rig.vault, &front.id).await.unwrap();
    assert_eq!(back.camera, Camera { name: "New".into(), ..front });

    rig.store.close().await;
    for file in std::fs::read_dir(rig.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"hunter2"), "the password is in a file");
    }
}

#[tokio::test]
async fn a_segment_grows_in_its_row() {
    let rig = Rig::new().await;
    let store = &rig.store;
    let open = SegmentFacts { state: SegmentState::Open, hash: None, ..facts("front", 10, 11) };
    let ids = store
        .record(&[(Place::Primary, facts("front", 0, 10)), (Place::Primary, open.clone())])
        .await
        .unwrap();
    assert_eq!(store.open_rows().await.unwrap().len(), 1);
    let grown = SegmentFacts { extent: facts("front", 10, 12).extent, ..open };
    assert_eq!(store.record(&[(Place::Primary, grown.clone())]).await.unwrap(), [ids[1]]);
    assert_eq!(store.segment(ids[1]).await.unwrap().facts, grown);
    assert_eq!(store.segment(ids[0]).await.unwrap().facts, facts("front", 0, 10));

    let extent = Extent { frames: 7, bytes: 70, duration_us: 700 };
    store.finish(Place::Primary, ids[1], extent).await.unwrap();
    let finished = SegmentFacts { extent, state: SegmentState::Closed, ..grown };
    assert_eq!(store.segment(ids[1]).await.unwrap().facts, finished);
    // A hash is given once and never replaced, and a file that contradicts it is not what was recorded.
    store.set_hashes(&[(ids[1], Hash([1; 32]))]).await.unwrap();
    store.set_hashes(&[(ids[1], Hash([2; 32]))]).await.unwrap();
    let hashed = SegmentFacts { hash: Some(Hash([1; 32])), ..finished };
    assert_eq!(store.segment(ids[1]).await.unwrap().facts, hashed);
    store.finish(Place::Primary, ids[1], extent).await.unwrap();
    assert_eq!(store.segment(ids[1]).await.unwrap().facts, hashed);
    let shorter = Extent { frames: 6, bytes: 60, duration_us: 600 };
    store.finish(Place::Primary, ids[1], shorter).await.unwrap();
    let suspect = SegmentFacts { extent: shorter, state: SegmentState::Suspect, ..hashed };
    assert_eq!(store.segment(ids[1]).await.unwrap().facts, suspect);
    assert_eq!(store.open_rows().await.unwrap(), []);
    assert_eq!(store.record(&[]).await.unwrap(), [0; 0]);

    let marked = store.mark(Place::Primary, &ids[..1], CopyState::Absent).await.unwrap();
    assert_eq!(marked, [(ids[0], id("front"), seconds(0, 10))]);
    assert_eq!(store.ranges(&id("front"), seconds(0, 10)).await.unwrap(), []);
    let listed = store.segments_touching(&id("front"), seconds(0, 10), None, 10).await.unwrap();
    assert_eq!(listed[0].facts.state, SegmentState::Lost);
    let gone = |result| matches!(result, Err(Error::NotFound { what: "segment", .. }));
    assert!(gone(store.finish(Place::Primary, 99, extent).await));
    assert_eq!(store.mark(Place::Primary, &[99], CopyState::Absent).await.unwrap(), []);
    assert_eq!(store.segment(ids[1]).await.unwrap().facts, suspect);
    assert!(gone(store.segment(99).await.map(|_| ())));
}

#[tokio::test]
async fn what_moved_is_kept_with_the_file_it_was_measured_of() {
    let rig = Rig::new().await;
    let store = &rig.store;
    let read = async |from, to| {
        let mut found = Vec::new();
        store.activity(&id("front"), seconds(from, to), |of| found.push(of)).await.unwrap();
        found
    };
    let of = |from, to, open, levels: Option<&[u8]>| Watched {
        range: seconds(from, to),
        profile: Profile::Main,
        open,
        levels: levels.map(<[u8]>::to_vec),
    };
    let open = SegmentFacts { state: SegmentState::Open, hash: None, ..facts("front", 20, 22) };
    let rows = [facts("front", 0, 10), facts("front", 10, 12), open].map(|facts| (Place::Primary, facts));
    store.record_watched(&rows, &[(1, vec![3, 254])]).await.unwrap();
    let known = of(10, 12, false, Some(&[3, 254]));
    assert_eq!(read(0, 30).await, [of(0, 10, false, None), known.clone(), of(20, 22, true, None)]);
    assert_eq!(read(11, 13).await, std::slice::from_ref(&known));
    // The other volume tells of the same.
    store.record_watched(&[(Place::Mirror, facts("front", 10, 12))], &[(0, vec![9, 9])]).await.unwrap();
    assert_eq!(read(11, 13).await, [known]);
    // Another file of that name was not measured.
    let mut other = facts("front", 11, 12);
    other.path = facts("front", 10, 12).path;
    store.record(&[(Place::Primary, other)]).await.unwrap();
    assert_eq!(read(11, 13).await, [of(11, 12, false, None)]);
}

#[tokio::test]
async fn rows_are_known_page_by_page_and_outlive_their_camera() {
    let rig = Rig::new().await;
    rig.store.insert_camera(&rig.vault, &camera("front"), WallUs(0)).await.unwrap();
    let all: Vec<_> = (0..25).map(|n| (Place::Primary, facts("front", n, n + 1))).collect();
    let ids = rig.store.record(&all).await.unwrap();
    rig.store.delete_camera(&id("front")).await.unwrap();
    let (mut after, mut known) = (String::new(), Vec::new());
    loop {
        let page = rig.store.known_rows(Place::Primary, &after, None, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after.clone_from(&last.path);
        known.extend(page);
    }
    let upto = rig.store.known_rows(Place::Primary, &known[2].path, Some(&known[5].path), 10).await.unwrap();
    assert_eq!(upto, known[3..6]);
    assert_eq!(known.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
    assert!(known.iter().all(|row| row.bytes == 1_000 && row.state == SegmentState::Closed));
    assert_eq!(known[3].path, all[3].1.path);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_range_finds_what_touches_it(lengths in proptest::collection::vec((0i64..20, 1i64..50), 1..40),
                                     from in 0i64..800, len in 1i64..400, limit in 1u32..7) {
        runtime().block_on(async {
            let rig = Rig::new().await;
            let (mut at, mut all) = (0, Vec::new());
            for (hole, length) in &lengths {
                all.push((Place::Primary, facts("front", at + hole, at + hole + length)));
                all.push((Place::Primary, facts("yard", at + hole, at + hole + 1)));
                at += hole + length;
            }
            rig.store.record(&all).await.unwrap();
            let window = seconds(from, from + len);
            let expected: Vec<_> = all.iter().map(|(_, facts)| facts.clone())
                .filter(|facts| facts.head.camera == id("front"))
                .filter(|facts| facts.head.start < window.to && facts.end() > window.from)
                .collect();
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = rig.store.segments_touching(&id("front"), window, after, limit).await.unwrap();
                assert!(page.len() <= limit as usize);
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                found.extend(page.into_iter().map(|segment| segment.facts));
            }
            assert_eq!(found, expected);
            let ranges = rig.store.ranges(&id("front"), window).await.unwrap();
            let expected: Vec<_> = expected.iter().map(|facts| Range { from: facts.head.start, to: facts.end() }).collect();
            assert_eq!(ranges, expected);
        });
    }
}

#[tokio::test]
async fn segments_that_overlap_are_all_found() {
    let rig = Rig::new().await;
    // A clock set back: a long segment that began before shorter ones, two of them in the same microsecond.
    let twin = SegmentFacts { path: "front/19700101_000030_1.mp4".into(), ..facts("front", 30, 31) };
    let all = [facts("front", 0, 100), facts("front", 20, 22), facts("front", 30, 32), twin];
    rig.store.record(&all.clone().map(|facts| (Place::Primary, facts))).await.unwrap();
    let found = rig.store.segments_touching(&id("front"), seconds(50, 60), None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    let (mut paths, mut after) = (Vec::new(), None);
    while let Some(one) =
        rig.store.segments_touching(&id("front"), seconds(0, 99), after, 1).await.unwrap().pop()
    {
        after = Some(one.id);
        paths.push(one.facts.path);
    }
    assert_eq!(paths, all.map(|facts| facts.path));
}

#[tokio::test]
async fn a_day_of_a_long_history_is_read_from_the_index_alone() {
    let rig = Rig::new().await;
    // 100,000 minutes of two cameras.
    let fill = "
        with recursive n (i) as (select 0 union all select i + 1 from n where i < 99999)
        insert into segment (camera_id, profile, path, start_us, end_us, frames, bytes, codec, width, height, source, state)
        select iif(i % 2, 'front', 'yard'), 'main', i || '.mp4', i / 2 * 60000000, i / 2 * 60000000 + 60000000, 1500,
               1, 'h264', 1, 1, 'live', 'closed'
          from n";
    sqlx::query(fill).execute(&rig.store.writer).await.unwrap();
    sqlx::query("analyze").execute(&rig.store.writer).await.unwrap();
    let day = |n: i64| seconds(n * 86_400, (n + 1) * 86_400);
    for n in [0, 17, 33] {
        let ranges = rig.store.ranges(&id("front"), day(n)).await.unwrap();
        assert_eq!(ranges.len(), 1_440);
        let joined = crate::model::timeline::joined(ranges, day(n));
        assert_eq!(joined, [day(n)]);
    }
    for statement in segments::STATEMENTS {
        let plan = statements::plan(&rig.store.readers, statement).await;
        assert!(!plan.iter().any(|step| step.starts_with("SCAN segment")), "{statement}\n{plan:#?}");
        if statement.contains("order by path") {
            assert!(plan.len() == 1 && plan[0].contains("path>? AND path<?"), "{plan:#?}");
        }
        if statement.contains("select start_us, end_us") {
            let covered = plan.iter().filter(|step| step.starts_with("SEARCH segment"));
            assert!(
                covered.clone().count() == 2 && covered.clone().all(|step| step.contains("COVERING")),
                "{plan:#?}"
            );
            assert!(plan.iter().any(|step| step.contains("start_us>? AND start_us<?")), "{plan:#?}");
        }
    }
}

/// What was seen in a zone.
fn sight(n: i64) -> Sight {
    Sight {
        zone: n,
        name: "gate".into(),
        task: 1,
        track: "7".into(),
        label: "person".into(),
        confidence: 0.5,
        direction: (n % 2 == 0).then_some(Direction::Backward),
        frame: 9,
        profile: Profile::Sub,
        recorded: (n % 3 == 0).then_some((n, 5)),
    }
}

#[tokio::test]
async fn the_log_is_read_newest_first() {
    let rig = Rig::new().await;
    let new = |n: i64| NewEvent {
        at: WallUs(n),
        camera: (n % 3 > 0).then(|| id(if n % 3 == 1 { "front" } else { "yard" })),
        kind: Kind::ALL[n as usize % Kind::ALL.len()],
        severity: Severity::ALL[n as usize % 3],
        detail: format!("number {n}"),
        sight: (n % 5 == 0).then(|| Box::new(sight(n))),
    };
    let all: Vec<_> = (0..30).map(new).collect();
    let ids = rig.store.append_events(&all).await.unwrap();
    let page = EventPage { camera: None, severity: Severity::Info, before: None, after: None, limit: 10 };
    let numbers = async |page: EventPage<'_>| -> Vec<i64> {
        rig.store.events(page).await.unwrap().iter().map(|event| event.event.at.0).collect()
    };
    assert_eq!(rig.store.events(EventPage { limit: 1, ..page }).await.unwrap()[0].event, all[29]);
    assert_eq!(numbers(page).await, (20..30).rev().collect::<Vec<_>>());
    assert_eq!(numbers(EventPage { before: Some(ids[3]), ..page }).await, [2, 1, 0]);
    assert_eq!(numbers(EventPage { after: Some(ids[27]), ..page }).await, [29, 28]);
    let front = id("front");
    let of_front = EventPage { camera: Some(&front), limit: 3, ..page };
    assert_eq!(numbers(of_front).await, [28, 25, 22]);
    assert_eq!(numbers(EventPage { before: Some(ids[7]), after: Some(ids[0]), ..of_front }).await, [4, 1]);

    let warnings = EventPage { severity: Severity::Warning, before: Some(ids[12]), limit: 5, ..page };
    assert_eq!(numbers(warnings).await, [11, 10, 8, 7, 5]);
    let errors = EventPage { severity: Severity::Error, ..warnings };
    assert_eq!(numbers(errors).await, [11, 8, 5, 2]);
    assert_eq!(numbers(EventPage { camera: Some(&front), ..warnings }).await, [10, 7, 4, 1]);
    assert_eq!(numbers(EventPage { camera: Some(&front), ..errors }).await, [0; 0]);
    for statement in &events::STATEMENTS[3..] {
        let plan = statements::plan(&rig.store.readers, statement).await;
        assert!(
            plan.len() == 1 && plan[0].contains("event_grave") && plan[0].contains("id>? AND id<?"),
            "{plan:#?}"
        );
    }
}

#[tokio::test]
async fn a_locked_database_is_away_and_comes_back() {
    let rig = Rig::new().await;
    rig.store.record(&[(Place::Primary, facts("front", 0, 10))]).await.unwrap();
    let mut other = rig.other().await;
    sqlx::query("begin exclusive").execute(&mut other).await.unwrap();
    let began = Instant::now();
    let error = rig.store.record(&[(Place::Primary, facts("front", 10, 20))]).await.unwrap_err();
    assert!(matches!(&error, Error::Away { .. }), "{error:?}");
    assert!(began.elapsed() < BUSY + BUSY / 2, "{:?}", began.elapsed());
    assert_eq!(
        Chain(&error).to_string(),
        "the database is away: cannot record segments: (code: 5) database is locked"
    );
    // What is there can still be read, and the service can even start.
    Store::open(&rig.path()).await.unwrap().close().await;
    assert_eq!(rig.store.ranges(&id("front"), seconds(0, 99)).await.unwrap(), [seconds(0, 10)]);
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    rig.store.record(&[(Place::Primary, facts("front", 10, 20))]).await.unwrap();
    assert_eq!(rig.store.ranges(&id("front"), seconds(0, 99)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_power_cut() {
    let rig = Rig::new().await;
    for pool in [&rig.store.writer, &rig.store.readers] {
        let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(pool).await.unwrap();
        let full: i64 = sqlx::query_scalar("pragma synchronous").fetch_one(pool).await.unwrap();
        let keys: i64 = sqlx::query_scalar("pragma foreign_keys").fetch_one(pool).await.unwrap();
        assert_eq!((mode.as_str(), full, keys), ("wal", 2, 1));
    }
    let refused = sqlx::query("delete from segment").execute(&rig.store.readers).await;
    assert!(refused.is_err(), "readers only read");
}

#[tokio::test]
async fn a_full_disk_is_away_and_leaves_no_half_of_a_batch() {
    let rig = Rig::new().await;
    let pages: i64 = sqlx::query_scalar("pragma page_count").fetch_one(&rig.store.writer).await.unwrap();
    let limit = async |pages: i64| {
        let pragma = AssertSqlSafe(format!("pragma max_page_count = {pages}"));
        sqlx::query(pragma).execute(&rig.store.writer).await.unwrap();
    };
    limit(pages + 3).await;
    let many: Vec<_> = (0..500).map(|n| (Place::Primary, facts("front", n, n + 1))).collect();
    let error = rig.store.record(&many).await.unwrap_err();
    assert!(matches!(&error, Error::Away { source, .. } if source.to_string().contains("full")), "{error:?}");
    assert_eq!(rig.store.known_rows(Place::Primary, "", None, 10).await.unwrap(), []);
    limit(1_000_000).await;
    assert_eq!(rig.store.record(&many).await.unwrap().len(), 500);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_leaves_the_store_usable() {
    let rig = Rig::new().await;
    let mut other = rig.other().await;
    sqlx::query("begin exclusive").execute(&mut other).await.unwrap();
    let store = rig.store.clone();
    let writing = tokio::spawn(async move { store.record(&[(Place::Primary, facts("front", 0, 10))]).await });
    tokio::task::yield_now().await;
    writing.abort();
    let _ = writing.await;
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    rig.store.record(&[(Place::Primary, facts("front", 10, 20))]).await.unwrap();
    assert_eq!(rig.store.ranges(&id("front"), seconds(0, 99)).await.unwrap(), [seconds(10, 20)]);
}

#[tokio::test]
async fn a_camera_from_before_schedules_is_recorded_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (path, vault) = (dir.path().join("db"), Vault::open(&dir.path().join("key")).unwrap());
    let old = pool(1, options(&path).create_if_missing(true)).await.unwrap();
    MIGRATIONS.run_to(2, &old).await.unwrap();
    sqlx::query(
        "insert into camera (id, name, vendor, rtsp_port, channel, main_url, record_profile, transport,
                             record_enabled, segment_seconds, created_us)
         values ('front', 'Front', 'generic', 554, 1, 'rtsp://h/x', 'main', 'tcp', 1, 60, 5)",
    )
    .execute(&old)
    .await
    .unwrap();
    old.close().await;
    let store = Store::open(&path).await.unwrap();
    let given = CameraPatch {
        name: Some("Front".into()),
        main_url: Some(Some("rtsp://h/x".into())),
        ..CameraPatch::default()
    };
    assert_eq!(
        store.camera(&vault, &id("front")).await.unwrap().camera,
        Camera::new(id("front"), given).unwrap()
    );
}

#[tokio::test]
async fn footage_from_before_retention_is_counted_and_may_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let old = pool(1, options(&path).create_if_missing(true)).await.unwrap();
    MIGRATIONS.run_to(7, &old).await.unwrap();
    sqlx::query(
        "insert into segment (camera_id, profile, path, start_us, end_us, frames, bytes, codec, width, height, source,
                              state)
         values ('front', 'main', 'front/1', 1, 2, 1, 10, 'h264', 1, 1, 'live', 'closed'),
                ('front', 'main', 'front/2', 2, 3, 1, 20, 'h264', 1, 1, 'live', 'open'),
                ('front', 'main', 'front/3', 3, 4, 1, 40, 'h264', 1, 1, 'live', 'lost')",
    )
    .execute(&old)
    .await
    .unwrap();
    old.close().await;
    let store = Store::open(&path).await.unwrap();
    let [stored] = store.stored(Place::Primary).await.unwrap().try_into().unwrap();
    assert_eq!((stored.segments, stored.bytes, stored.held_bytes), (2, 30, 0));
    assert_eq!(store.leaving(Place::Primary, &id("front"), 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_database_of_another_version_is_refused_with_a_remedy() {
    let rig = Rig::new().await;
    let path = rig.path();
    let reader = Store::open_read_only(&path).await.unwrap();
    rig.store.record(&[(Place::Primary, facts("front", 0, 10))]).await.unwrap();
    assert_eq!(
        reader.known_rows(Place::Primary, "", None, 9).await.unwrap().len(),
        1,
        "reads beside the writer"
    );
    assert!(reader.mark(Place::Primary, &[1], CopyState::Absent).await.is_err());
    reader.close().await;

    let future = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                  values (9999, 'later', 1, x'00', 0)";
    sqlx::query(future).execute(&rig.store.writer).await.unwrap();
    rig.store.close().await;
    for error in [Store::open(&path).await.unwrap_err(), Store::open_read_only(&path).await.unwrap_err()] {
        assert!(matches!(error, Error::Newer { found: 9999, .. }), "{error:?}");
        assert!(error.to_string().contains("start the newer program"));
    }

    let missing = rig.dir.path().join("none");
    assert!(matches!(Store::open_read_only(&missing).await, Err(Error::Missing { .. })));
    assert!(!missing.exists());
    let empty = rig.dir.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(Store::open_read_only(&empty).await, Err(Error::Outdated { found: 0, .. })));
    let text = rig.dir.path().join("text");
    std::fs::write(&text, "no database at all, but longer than its header of 100 bytes.".repeat(9)).unwrap();
    assert!(matches!(Store::open(&text).await, Err(Error::Away { .. })));
    assert!(matches!(Store::open(&rig.dir.path().join("no/dir")).await, Err(Error::Away { .. })));
}
