//! Many cameras come back at once: what each missed is fetched, the newest first, a few at a time, and no live frame is lost.

use std::collections::BTreeSet;

use watchkeeper::model::{camera::CameraPatch, status::Shown};

use crate::{
    read_back::read_back,
    refill::{are_filled, by_onvif, outage, rig, storing, until_gaps, until_recording},
    rig::{Rig, id},
    sim::{
        camera::{CameraSpec, Channel},
        footage::Encoding,
        proof,
    },
};

const CAMERAS: usize = 20;
const PARALLEL: usize = 4;
/// Frames of each outage.
const OUTAGE: u64 = 150;
/// The cut breaks a GOP, of which the rest cannot be decoded.
const GOP: u32 = 25;

/// All are recorded by then, and so all have as much.
async fn frames_of_all(rig: &Rig) {
    until_recording(rig).await;
    let (first, _) = rig.scenes.first_key_value().unwrap();
    rig.frames_more(first, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_cameras_are_fetched_from_the_newest_first_a_few_at_a_time_and_lose_no_live_frame() {
    let mut rig = rig(PARALLEL).await;
    let names: Vec<String> = (0..CAMERAS).map(|n| format!("c{n:02}")).collect();
    for name in &names {
        let spec = storing(name, GOP);
        let main = Encoding { width: 320, height: 180, kbit: 200, ..spec.main };
        rig.add_with(CameraSpec { main, ..spec }, |camera, patch| {
            by_onvif(camera, patch);
            // Not yet; and few files, each of which is read back.
            (patch.refill_enabled, patch.segment_seconds) = (Some(false), Some(60));
        })
        .await;
    }
    frames_of_all(&rig).await;
    outage(&rig, OUTAGE).await;
    frames_of_all(&rig).await;
    outage(&rig, OUTAGE).await;
    until_recording(&rig).await;
    let resumed: Vec<u64> =
        names.iter().map(|name| rig.scene(name).camera.next_number(Channel::Main)).collect();
    for name in &names {
        let on = CameraPatch { refill_enabled: Some(true), ..CameraPatch::default() };
        rig.service.change_camera(&id(name), on).await.unwrap();
    }

    // As the cameras see it, until each was asked twice.
    let mut at_once = BTreeSet::new();
    let asked = |name: &String| rig.scene(name).camera.storage().asked();
    rig.until(&names[0], "all to be fetched", |_| {
        let sessions = |name: &String| rig.scene(name).camera.storage().replay_sessions();
        at_once.insert(names.iter().map(sessions).sum::<usize>());
        names.iter().all(|name| asked(name).len() >= 2)
    })
    .await;
    assert!(at_once.iter().all(|sessions| *sessions <= PARALLEL), "{at_once:?}");
    for name in &names {
        until_gaps(&rig, name, "both gaps to be filled", are_filled).await;
        rig.until(name, "recording", |status| status.shown == Shown::Recording).await;
    }
    rig.stop().await;

    for (name, resumed) in names.iter().zip(resumed) {
        let asked = asked(name);
        assert!(asked.is_sorted_by_key(|asked| std::cmp::Reverse(asked.from_us)), "{name}: {asked:?}");
        let camera = &rig.scene(name).camera;
        assert_eq!(camera.storage().max_replay_sessions(), 1, "{name}");
        assert_eq!(camera.max_sessions(Channel::Main), 1, "{name}");
        let read = read_back(&rig, name).await;
        let (missing, came) = read.missing();
        assert!(missing >= 2 * (OUTAGE - 25), "{name}: {missing}");
        assert!(came + 2 * u64::from(GOP) >= missing, "{name}: {came} of {missing}");
        let sent: Vec<u64> = camera.sent(Channel::Main).iter().map(|sent| sent.number).collect();
        let since = |numbers: &[u64]| numbers.iter().copied().filter(|n| *n >= resumed).collect::<Vec<_>>();
        proof::prove_sent(&since(&sent), &since(&read.live))
            .unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
    }
}
