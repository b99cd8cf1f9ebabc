//! Changes faster than cameras follow, cameras that cannot be recorded at once, and stops in the middle of it all.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use watchkeeper::{
    model::{
        camera::CameraPatch,
        event::{Kind, Severity},
        status::{CameraStatus, Shown},
    },
    run::Watchkeeper,
    store::{EventPage, Store},
};

use crate::{
    process::Process,
    rig::{Rig, id},
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        footage::{Encoding, Source},
        link::{Link, Wire},
        misbehave::{Misbehaviour, Peer},
    },
    wait,
};

fn enabled(record_enabled: bool) -> CameraPatch {
    CameraPatch { record_enabled: Some(record_enabled), ..CameraPatch::default() }
}

fn url(url: String) -> CameraPatch {
    CameraPatch { main_url: Some(Some(url)), ..CameraPatch::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_without_a_keyframe_is_not_called_a_bad_disk() {
    let main = Encoding { gop_frames: 250, ..Encoding::small(Source::Cars) };
    let mut rig = Rig::new().await;
    rig.add(CameraSpec { main, ..CameraSpec::new("front") }).await;
    let mut seen: Vec<CameraStatus> = Vec::new();
    rig.until("front", "recording", |status| {
        seen.push(status.clone());
        status.shown == Shown::Recording
    })
    .await;
    assert!(seen.iter().all(|status| status.reason != Some("disk")), "{seen:#?}");
    let said = |status: &CameraStatus| status.detail.as_ref().is_some_and(|text| text.contains("keyframe"));
    assert!(seen.iter().any(said), "{seen:#?}");
    rig.stop().await;
    rig.prove("front");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_of_the_last_outage_is_not_said_of_the_next() {
    let rig = Rig::recording([CameraSpec::new("front")]).await;
    let link = &rig.scene("front").link;
    link.set(Wire::Cut);
    rig.until("front", "refused", |status| status.reason == Some("refused")).await;
    rig.service.change_camera(&id("front"), enabled(false)).await.unwrap();
    rig.until("front", "disabled", |status| status.shown == Shown::Disabled).await;
    link.set(Wire::Whole);
    rig.service.change_camera(&id("front"), enabled(true)).await.unwrap();
    rig.until("front", "recording", |status| status.shown == Shown::Recording).await;
    link.set(Wire::Silent);
    let stalled = rig.until("front", "stalled", |status| status.shown == Shown::Stalled).await;
    assert!(stalled.detail.as_ref().unwrap().contains("no frame came for 5 s"), "{stalled:#?}");
    rig.stop().await;
    let store = Store::open_read_only(&rig.settings.database()).await.unwrap();
    let front = id("front");
    let events = store.events(EventPage {
        camera: Some(&front),
        severity: Severity::Info,
        before: None,
        after: None,
        limit: 9,
    });
    let last = events.await.unwrap().into_iter().find(|event| event.event.kind == Kind::CameraOffline);
    assert_eq!(last.unwrap().event.detail, "silent: no frame came for 5 s");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_and_a_recording_never_share_a_camera() {
    let rig = Rig::recording([CameraSpec::new("front")]).await;
    for _ in 0..3 {
        rig.service.change_camera(&id("front"), enabled(false)).await.unwrap();
        // At once, while the recording is being closed.
        let (service, sessions) = (rig.service.clone(), || rig.scene("front").camera.sessions(Channel::Main));
        let probe = tokio::spawn(async move { service.probe_camera(&id("front")).await });
        rig.until("front", "disabled", |status| status.shown == Shown::Disabled).await;
        // Now the probe is in the way, unless it was quick.
        let begun = || sessions() == 1 || probe.is_finished();
        wait::until("the probe's session", begun, |begun| *begun).await;
        rig.service.change_camera(&id("front"), enabled(true)).await.unwrap();
        rig.until("front", "recording", |status| status.shown == Shown::Recording).await;
        let found = probe.await.unwrap().unwrap().outcome.unwrap();
        assert!(found.found.video.is_some());
    }
    assert_eq!(rig.scene("front").camera.max_sessions(Channel::Main), 1);
    rig.stop().await;
    rig.prove_parts("front");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_faster_than_a_camera_follows_end_with_the_last() {
    let rig = Rig::recording([CameraSpec::new("front"), CameraSpec::new("yard")]).await;
    let camera = &rig.scene("front").camera;
    let other = camera.url(Channel::Main).replace("/main", "/cam");
    for n in 0..100_u32 {
        let front = id("front");
        rig.service.change_camera(&front, enabled(n % 2 == 1)).await.unwrap();
        let to = if n % 4 < 2 { other.clone() } else { camera.url(Channel::Main) };
        rig.service.change_camera(&front, url(to)).await.unwrap();
        if n % 10 == 9 {
            // Every phase of opening and closing is met by a change some time.
            tokio::time::sleep(Duration::from_millis(u64::from(n) * 6)).await;
        }
    }
    rig.until("front", "recording", |status| status.shown == Shown::Recording).await;
    rig.frames_more("front", 50).await;
    assert_eq!(camera.max_sessions(Channel::Main), 1);
    assert_eq!(rig.status("yard").reconnects, 0);
    rig.stop().await;
    assert_eq!((camera.sessions(Channel::Main), camera.connections()), (0, 0));
    rig.prove_parts("front");
    rig.prove("yard");
    // Whoever changes settings knows of it.
    assert!(rig.service.cameras().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_cameras_come_and_go_side_by_side() {
    let rig = Rig::recording([CameraSpec::new("yard")]).await;
    let crowd = SimCamera::start(CameraSpec::new("crowd")).unwrap();
    let (silent, nobody) = (Peer::start(Misbehaviour::NeverAnswers).unwrap(), "rtsp://127.0.0.1:9/x");
    let began = Instant::now();
    let lives = (0..30).map(|n: u32| {
        let (service, name) = (rig.service.clone(), id(&format!("c{n}")));
        let at = match n % 5 {
            0 => silent.url(),
            1 => nobody.to_owned(),
            _ => crowd.url(Channel::Main),
        };
        async move {
            for round in 0..2 {
                service.add_camera(name.clone(), url(at.clone())).await.unwrap();
                tokio::time::sleep(Duration::from_millis(u64::from(n * 37 % 11) * 100 * round)).await;
                service.delete_camera(&name).await.unwrap();
            }
        }
    });
    join_all(lives).await;
    assert!(began.elapsed() < wait::PATIENCE, "{:?}", began.elapsed());
    assert_eq!(rig.service.cameras().len(), 1);
    wait::until("the last session's end", || crowd.sessions(Channel::Main), |open| *open == 0).await;
    assert_eq!((rig.status("yard").shown, rig.status("yard").reconnects), (Shown::Recording, 0));
    rig.stop().await;
    rig.prove("yard");
}

/// The database is locked by somebody else while changes wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_changes_that_wait() {
    use sqlx::{Connection as _, Executor as _, SqliteConnection};
    let rig = Rig::recording([CameraSpec::new("front")]).await;
    let database = format!("sqlite://{}", rig.settings.database().display());
    let mut holder = SqliteConnection::connect(&database).await.unwrap();
    holder.execute("begin immediate").await.unwrap();
    let change = |n: u32| {
        let service: Watchkeeper = rig.service.clone();
        let patch = CameraPatch { name: Some(format!("name {n}")), ..CameraPatch::default() };
        tokio::spawn(async move { service.change_camera(&id("front"), patch).await.map(drop) })
    };
    let changes: Vec<_> = (0..8).map(change).collect();
    // The first of them waits for the database by then, and the others for the first.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    rig.service.stop().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    for change in changes {
        assert!(change.await.unwrap().is_err());
    }
    holder.execute("rollback").await.unwrap();
    rig.prove("front");
}

#[test]
fn a_stop_in_the_middle_of_everything_ends_within_eight_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = SimCamera::start(CameraSpec::new("front")).unwrap();
    let link = Link::start(camera.port()).unwrap();
    let bad = [Misbehaviour::NeverAnswers, Misbehaviour::Dribbles, Misbehaviour::RedirectsToItself];
    let peers: Vec<Peer> = bad.into_iter().map(|bad| Peer::start(bad).unwrap()).collect();
    let add =
        |name: &str, url: String| process.post("/api/v1/cameras", &json!({ "id": name, "main_url": url }));
    add("front", camera.url(Channel::Main));
    add("silent", link.url("main"));
    process.until_recording();
    for (n, peer) in peers.iter().enumerate() {
        add(&format!("bad{n}"), peer.url());
    }
    link.set(Wire::Silent);
    let probe_url = format!("{}/api/v1/probe", process.url);
    let asked = peers[0].connections();
    let body = json!({ "main_url": peers[0].url() });
    let probe = std::thread::spawn(move || drop(ureq::post(probe_url).send_json(body)));
    let deadline = Instant::now() + wait::PATIENCE;
    while peers[0].connections() == asked {
        assert!(Instant::now() < deadline, "no probe comes");
        crate::process::pause(20);
    }
    process.stop(Duration::from_secs(8));
    probe.join().unwrap();
    let files = crate::rig::files(&dir.path().join("recordings/front"));
    crate::rig::plays_alone(&files);
}
