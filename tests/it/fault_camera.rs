//! Cameras that go and come back: states, reasons, events, and nothing lost that came.

use std::time::{Duration, Instant};

use watchkeeper::{
    base::{Secret, WallUs},
    model::{camera::CameraPatch, event::Kind, status::Shown},
};

use crate::{
    rig::{Rig, id},
    sim::{
        camera::{CameraSpec, Channel, Login},
        link::Wire,
    },
};

/// Back within 2 s and one GOP (1 s here) of its return.
const BACK_WITHIN: Duration = Duration::from_secs(3);

/// From the last frame on: 5 s, and what a look now and then adds.
const NOTICED_WITHIN_US: i64 = 5_500_000;

/// Breaks a camera, waits for the state and how long it took, mends it and waits for frames on disk again.
async fn outage(rig: &Rig, name: &str, break_it: impl FnOnce(), seen: (Shown, &str), mend: impl FnOnce()) {
    rig.frames_more(name, 60).await;
    break_it();
    let broken = WallUs::now();
    let lost = rig.until(name, "the loss to be noticed", |status| status.shown != Shown::Recording).await;
    // What was in the pipe when it broke still counts as frames: a little, and more where the machine is slow.
    let last = lost.last_frame_at.unwrap().max(broken);
    assert!(last.0 - broken.0 <= 3_000_000, "{name}: frames came for {} us more", last.0 - broken.0);
    let noticed_us = lost.since.0 - last.0;
    assert!(noticed_us <= NOTICED_WITHIN_US, "{name}: noticed after {noticed_us} us");
    assert!(lost.reason.is_some() && lost.detail.is_some(), "{lost:#?}");
    rig.until(name, "the state to tell why", |status| {
        status.shown == seen.0 && status.reason == Some(seen.1)
    })
    .await;
    rig.until_event(name, Kind::CameraOffline).await;
    mend();
    let mended = Instant::now();
    rig.until(name, "recording again", |status| status.shown == Shown::Recording).await;
    let took = mended.elapsed();
    // Another second and a half: the first fragment has to be on disk, and the machines that run this are slow.
    assert!(took <= BACK_WITHIN + Duration::from_millis(1_500), "{name}: back after {took:?}");
    let events = rig.until_event(name, Kind::CameraOnline).await;
    let count = |kind| events.iter().filter(|event| event.event.kind == kind).count();
    assert_eq!((count(Kind::CameraOffline), count(Kind::CameraOnline)), (1, 1), "{events:#?}");
    rig.frames_more(name, 30).await;
    assert_eq!(rig.status(name).reconnects, 1, "{name}");
}

/// One camera is killed, one freezes, one has its cable cut, and the cable of one falls silent with its socket open: side by
/// side, and the one beside them notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_going_is_told_and_recorded_again_when_it_is_over() {
    let rig = Rig::recording(["killed", "frozen", "cut", "silent", "yard"].map(CameraSpec::new)).await;
    // Without the link: that would accept a connection for a camera that is dead.
    let main_url = Some(Some(rig.scene("killed").camera.url(Channel::Main)));
    rig.service
        .change_camera(&id("killed"), CameraPatch { main_url, ..CameraPatch::default() })
        .await
        .unwrap();
    rig.until("killed", "the new connection", |status| status.observed.segments == 2).await;
    rig.until("killed", "recording", |status| status.shown == Shown::Recording).await;
    let (camera, link) = (|name| &rig.scene(name).camera, |name| &rig.scene(name).link);
    tokio::join!(
        outage(
            &rig,
            "killed",
            || camera("killed").kill().unwrap(),
            (Shown::Offline, "refused"),
            || camera("killed").revive().unwrap(),
        ),
        outage(
            &rig,
            "frozen",
            || camera("frozen").freeze(),
            (Shown::Stalled, "silent"),
            || camera("frozen").thaw(),
        ),
        outage(
            &rig,
            "cut",
            || link("cut").set(Wire::Cut),
            (Shown::Offline, "refused"),
            || link("cut").set(Wire::Whole),
        ),
        outage(
            &rig,
            "silent",
            || link("silent").set(Wire::Silent),
            (Shown::Stalled, "silent"),
            || link("silent").set(Wire::Whole),
        ),
    );
    assert_eq!(rig.status("yard").reconnects, 0);
    rig.stop().await;
    rig.prove("yard");
    for name in ["killed", "frozen", "cut", "silent"] {
        rig.prove_parts(name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_and_not_hammered() {
    let login = Login { user: "admin".into(), password: "right-one".into() };
    let locked = CameraSpec { login: Some(login), ..CameraSpec::new("front") };
    let rig = Rig::recording([locked, CameraSpec::new("yard")]).await;
    let password =
        |word: &str| CameraPatch { password: Some(Some(Secret::new(word))), ..CameraPatch::default() };
    rig.service.change_camera(&id("front"), password("wrong-one")).await.unwrap();
    let refused = rig
        .until("front", "the refusal", |status| {
            status.reason == Some("unauthorised")
                && status
                    .next_attempt_at
                    .is_some_and(|at| at > watchkeeper::base::WallUs::now().plus_us(600_000_000))
        })
        .await;
    assert_eq!(refused.shown, Shown::Offline);
    let connections = rig.scene("front").link.connections();
    let text = format!("{refused:?} {:?}", rig.events().await);
    assert!(!text.contains("wrong-one") && !text.contains("right-one"), "{text}");
    rig.frames_more("yard", 75).await;
    assert_eq!(rig.scene("front").link.connections(), connections, "it went on trying");
    rig.service.change_camera(&id("front"), password("right-one")).await.unwrap();
    rig.until("front", "recording", |status| status.shown == Shown::Recording).await;
    rig.stop().await;
    rig.prove("yard");
    rig.prove_parts("front");
    assert_eq!(rig.scene("front").camera.max_sessions(Channel::Main), 1);
}
