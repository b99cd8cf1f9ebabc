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

fn two() -> [CameraSpec; 2] {
    [CameraSpec::new("front"), CameraSpec::new("yard")]
}

/// Breaks `front`, waits for the state and how long it took, mends it and waits for frames on disk again; `yard`
/// noticed nothing.
async fn outage(rig: &Rig, break_it: impl FnOnce(&Rig), seen: (Shown, &str), mend: impl FnOnce(&Rig)) {
    rig.frames_more("front", 60).await;
    break_it(rig);
    let broken = WallUs::now();
    let lost = rig.until("front", "the loss to be noticed", |status| status.shown != Shown::Recording).await;
    // What was in the pipe when it broke still counts as frames: a little, and more where the machine is slow.
    let last = lost.last_frame_at.unwrap().max(broken);
    assert!(last.0 - broken.0 <= 3_000_000, "frames came for {} us more", last.0 - broken.0);
    let noticed_us = lost.since.0 - last.0;
    assert!(noticed_us <= NOTICED_WITHIN_US, "noticed after {noticed_us} us");
    assert!(lost.reason.is_some() && lost.detail.is_some(), "{lost:#?}");
    rig.until("front", "the state to tell why", |status| {
        status.shown == seen.0 && status.reason == Some(seen.1)
    })
    .await;
    rig.until_event("front", Kind::CameraOffline).await;
    mend(rig);
    let mended = Instant::now();
    rig.until("front", "recording again", |status| status.shown == Shown::Recording).await;
    let took = mended.elapsed();
    // Another second and a half: the first fragment has to be on disk, and the machines that run this are slow.
    assert!(took <= BACK_WITHIN + Duration::from_millis(1_500), "back after {took:?}");
    let events = rig.until_event("front", Kind::CameraOnline).await;
    let count = |kind| events.iter().filter(|event| event.event.kind == kind).count();
    assert_eq!((count(Kind::CameraOffline), count(Kind::CameraOnline)), (1, 1), "{events:#?}");
    rig.frames_more("front", 30).await;
    assert_eq!((rig.status("front").reconnects, rig.status("yard").reconnects), (1, 0));
    rig.stop().await;
    rig.prove("yard");
    rig.prove_parts("front");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_camera_is_recorded_again_when_it_is_back() {
    let rig = Rig::recording(two()).await;
    // Without the link: that would accept a connection for a camera that is dead.
    let main_url = Some(Some(rig.scene("front").camera.url(Channel::Main)));
    rig.service
        .change_camera(&id("front"), CameraPatch { main_url, ..CameraPatch::default() })
        .await
        .unwrap();
    rig.until("front", "the new connection", |status| status.observed.segments == 2).await;
    rig.until("front", "recording", |status| status.shown == Shown::Recording).await;
    let kill = |rig: &Rig| rig.scene("front").camera.kill().unwrap();
    let revive = |rig: &Rig| rig.scene("front").camera.revive().unwrap();
    outage(&rig, kill, (Shown::Offline, "refused"), revive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_camera_stalls_and_is_recorded_again_when_it_thaws() {
    let rig = Rig::recording(two()).await;
    let freeze = |rig: &Rig| rig.scene("front").camera.freeze();
    let thaw = |rig: &Rig| rig.scene("front").camera.thaw();
    outage(&rig, freeze, (Shown::Stalled, "silent"), thaw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_cable_is_told_and_mended() {
    let rig = Rig::recording(two()).await;
    let cut = |rig: &Rig| rig.scene("front").link.set(Wire::Cut);
    let whole = |rig: &Rig| rig.scene("front").link.set(Wire::Whole);
    outage(&rig, cut, (Shown::Offline, "refused"), whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_cable_with_its_socket_open_is_a_stall() {
    let rig = Rig::recording(two()).await;
    let silent = |rig: &Rig| rig.scene("front").link.set(Wire::Silent);
    let whole = |rig: &Rig| rig.scene("front").link.set(Wire::Whole);
    outage(&rig, silent, (Shown::Stalled, "silent"), whole).await;
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
