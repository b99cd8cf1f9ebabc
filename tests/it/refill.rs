//! A cut cable leaves no hole when the camera kept recording: what is missing comes from its own storage, at its true times,
//! and whatever else the camera does instead ends in a clear state and leaves nothing wrong behind.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use watchkeeper::{
    base::WallUs,
    model::{
        camera::CameraPatch,
        coverage::{self, Sums},
        event::Kind,
        ledger::Gap,
        refill::{queue::RefillState, way::Method},
        segment::{Segment, Source},
        status::Shown,
        timeline::Range,
    },
    run::{GapQuery, RefillLimits},
    store::Store,
};

use crate::{
    outside::{STOPS_WITHIN, cli, frames_more, path_of},
    process::{Process, command, pause},
    read_back::{FRAME_US, TRUE_TO_US, read_back, read_segments},
    rig::{Rig, id},
    sim::{
        camera::{CameraSpec, Channel, Login, SimCamera},
        footage::{self, Encoding},
        frames,
        harm::Reports,
        link::{Link, Wire},
        proof,
        storage::{Modes, Rtsp, Sends, Sessions, Soap, Storage},
    },
    volumes::until_equal,
    wait,
};

/// How long the cable is cut unless `REFILL_SECS` says it: `scripts/refill-trial`.
const SHORT_S: u64 = 20;

/// A service that looks for gaps all the time.
pub(crate) async fn rig(parallel: usize) -> Rig {
    Rig::with(|settings| {
        settings.refill =
            RefillLimits { interval: Duration::from_secs(1), parallel, ..RefillLimits::default() };
    })
    .await
}

/// A camera that records itself, with a keyframe every so many frames.
pub(crate) fn storing(name: &str, gop_frames: u32) -> CameraSpec {
    let main = Encoding { gop_frames, ..Encoding::small(footage::Source::Cars) };
    CameraSpec { main, storage: Some(Storage::Everything), ..CameraSpec::new(name) }
}

fn by_url(camera: &SimCamera, patch: &mut CameraPatch) {
    let port = camera.replay_port();
    let template =
        format!("rtsp://127.0.0.1:{port}/Streaming/tracks/101?starttime={{start}}&endtime={{end}}");
    patch.refill_enabled = Some(true);
    patch.refill_url = Some(Some(template));
}

pub(crate) fn by_onvif(camera: &SimCamera, patch: &mut CameraPatch) {
    patch.refill_enabled = Some(true);
    patch.refill_method = Some(Method::Onvif);
    patch.onvif_port = Some(camera.onvif_port());
}

/// Cuts all cables until the cameras have captured so many frames more.
pub(crate) async fn outage(rig: &Rig, frames: u64) {
    for scene in rig.scenes.values() {
        scene.link.set(Wire::Cut);
    }
    let (_, scene) = rig.scenes.first_key_value().unwrap();
    let after = scene.camera.next_number(Channel::Main) + frames;
    while scene.camera.next_number(Channel::Main) < after {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for scene in rig.scenes.values() {
        scene.link.set(Wire::Whole);
    }
}

/// A camera's gaps that may be fetched, the newest first.
async fn gaps(rig: &Rig, name: &str) -> Vec<Gap> {
    let query = GapQuery {
        camera: Some(id(name)),
        range: Range { from: WallUs(0), to: WallUs(i64::MAX) },
        least_us: 0,
        after: None,
        limit: 100,
    };
    rig.service.gaps(query).await.unwrap().gaps
}

/// Waits until what is said of a camera's gaps holds.
pub(crate) async fn until_gaps(
    rig: &Rig,
    name: &str,
    what: &str,
    is: impl Fn(&[(Gap, Option<RefillState>)]) -> bool,
) {
    let deadline = Instant::now() + wait::PATIENCE;
    loop {
        let seen: Vec<_> = gaps(rig, name)
            .await
            .into_iter()
            .map(|gap| (gap.clone(), rig.service.refill_state(&gap)))
            .collect();
        if is(&seen) {
            return;
        }
        assert!(Instant::now() < deadline, "{name}: still waiting for {what}; last saw {seen:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Nothing of it is to be fetched any more, and nothing has failed.
pub(crate) fn are_filled(seen: &[(Gap, Option<RefillState>)]) -> bool {
    seen.iter().all(|(gap, state)| state.is_none() && gap.stretch.to.is_some())
}

/// What the index says is missing of a camera up to the end of its footage, in microseconds.
async fn missing_us(rig: &Rig, name: &str) -> i64 {
    let store = Store::open_read_only(&rig.settings.database()).await.unwrap();
    let all = Range { from: WallUs(0), to: WallUs(i64::MAX) };
    let footage = store.ranges(&id(name), all).await.unwrap();
    let stretches: Vec<_> =
        store.stretches(&id(name), all).await.unwrap().into_iter().map(|gap| gap.stretch).collect();
    store.close().await;
    let window = Range { from: footage[0].from, to: footage.iter().map(|range| range.to).max().unwrap() };
    Sums::of(&coverage::parts(&footage, &stretches, window, window.to)).missing_us.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_cable_leaves_no_hole_when_the_camera_kept_recording() {
    let seconds = std::env::var("REFILL_SECS").map_or(SHORT_S, |text| text.parse().unwrap());
    // A GOP that the cut broke cannot be decoded before its next keyframe: 3 frames of 500 at the most.
    let (gop, frames) = (if seconds > SHORT_S { 50 } else { 4 }, seconds * 25);
    let mut rig = rig(2).await;
    let login = Login { user: "admin".into(), password: "s3cret".into() };
    let off = |seconds| Reports::Off { seconds };
    rig.add_with(CameraSpec { reports: off(37), ..storing("url", gop) }, by_url).await;
    rig.add_with(CameraSpec { reports: off(-37), login: Some(login), ..storing("onvif", gop) }, by_onvif)
        .await;
    rig.scene("url").camera.storage().set(|modes| modes.vendor_is_fast = true);
    for name in ["url", "onvif"] {
        rig.until(name, "recording", |status| status.shown == Shown::Recording).await;
        rig.frames_more(name, 75).await;
    }
    outage(&rig, frames).await;
    let mut took = Vec::new();
    for name in ["url", "onvif"] {
        rig.until(name, "recording", |status| status.shown == Shown::Recording).await;
    }
    let resumed = ["url", "onvif"].map(|name| rig.scene(name).camera.next_number(Channel::Main));
    until_gaps(&rig, "onvif", "the gap", |seen| {
        seen.iter().any(|(_, state)| matches!(state, Some(RefillState::Pending | RefillState::Filling)))
    })
    .await;
    for name in ["onvif", "url"] {
        let began = Instant::now();
        rig.until_event(name, Kind::RefillDone).await;
        took.push(began.elapsed());
        until_gaps(&rig, name, "the gap to be filled", are_filled).await;
        rig.frames_more(name, 50).await;
    }
    println!("from the return of the camera, or one after the other: {took:?}");
    rig.stop().await;

    for (name, resumed) in ["url", "onvif"].into_iter().zip(resumed) {
        let read = read_back(&rig, name).await;
        // A live recording that begins on a busy machine is late itself, and what is fetched fits between: so that both are true is
        // looked at where nothing else runs, by `scripts/refill-trial`.
        println!("{name}: {} µs off at most", read.off_us);
        assert!(read.off_us <= TRUE_TO_US || seconds == SHORT_S, "{name}: {} µs off", read.off_us);
        let (missing, came) = read.missing();
        println!("{name}: {came} of {missing} missing frames");
        assert!(missing * 10 >= frames * 9 && came * 100 >= missing * 99, "{name}: {came} of {missing}");
        assert!(missing_us(&rig, name).await <= (i64::from(gop) + 2) * FRAME_US, "{name}");
        let camera = &rig.scene(name).camera;
        let sent: Vec<u64> = camera
            .sent(Channel::Main)
            .iter()
            .map(|sent| sent.number)
            .filter(|number| *number >= resumed)
            .collect();
        let live: Vec<u64> = read.live.iter().copied().filter(|number| *number >= resumed).collect();
        let proof = proof::prove_sent(&sent, &live).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        assert_eq!(proof.head, 0, "{name}");
        assert_eq!(camera.max_sessions(Channel::Main), 1);
        assert_eq!(camera.storage().max_replay_sessions(), 1);
    }
    let asked = rig.scene("onvif").camera.storage().asked();
    assert!(asked.iter().all(|asked| asked.fast), "{asked:?}");
}

/// How a camera behaves, and how it must end.
struct Bad {
    name: &'static str,
    way: fn(&SimCamera, &mut CameraPatch),
    modes: fn(&mut Modes),
    /// How it stands with what is left of the gap in the end, and why: `None` if nothing is left.
    ends: Option<&'static str>,
    /// At least so many of a hundred missing frames came; a GOP that the cut broke has 25.
    came: u64,
}

const BAD: [Bad; 14] = [
    Bad { name: "nothing", way: by_onvif, modes: |_| {}, ends: Some("457"), came: 0 },
    Bad {
        name: "error",
        way: by_url,
        modes: |modes| modes.rtsp = Rtsp::Status(500),
        ends: Some("500"),
        came: 0,
    },
    Bad {
        name: "fault",
        way: by_onvif,
        modes: |modes| modes.soap = Soap::Fault,
        ends: Some("ActionNotSupported"),
        came: 0,
    },
    Bad {
        name: "huge",
        way: by_onvif,
        modes: |modes| modes.soap = Soap::Huge,
        ends: Some("more than"),
        came: 0,
    },
    Bad {
        name: "bombs",
        way: by_onvif,
        modes: |modes| modes.soap = Soap::Bombs,
        ends: Some("no answer"),
        came: 0,
    },
    Bad {
        name: "earlier",
        way: by_onvif,
        modes: |modes| modes.sends = Sends::Earlier { seconds: 3600 },
        ends: Some("another time"),
        came: 0,
    },
    Bad {
        name: "now",
        way: by_url,
        modes: |modes| modes.sends = Sends::Now,
        ends: Some("another time"),
        came: 0,
    },
    Bad {
        name: "dies",
        way: by_onvif,
        // In its own time, because the end takes along what was not read yet.
        modes: |modes| {
            modes.dies_after = Some(40);
            modes.real_time_only = true;
        },
        ends: Some("its replay"),
        came: 10,
    },
    Bad { name: "endless", way: by_onvif, modes: |modes| modes.sends = Sends::Endless, ends: None, came: 80 },
    Bad {
        name: "twice",
        way: by_onvif,
        modes: |modes| modes.sends = Sends::Overlapping,
        ends: None,
        came: 80,
    },
    Bad {
        name: "disordered",
        way: by_onvif,
        modes: |modes| modes.sends = Sends::Disordered,
        ends: None,
        came: 30,
    },
    Bad { name: "slow", way: by_url, modes: |_| {}, ends: None, came: 80 },
    Bad {
        name: "one",
        way: by_onvif,
        modes: |modes| modes.sessions = Sessions::One,
        ends: Some("453"),
        came: 0,
    },
    Bad {
        name: "newest",
        way: by_onvif,
        modes: |modes| {
            modes.sessions = Sessions::Newest;
            modes.real_time_only = true;
        },
        ends: Some("live recording was lost"),
        came: 0,
    },
];

pub(crate) async fn until_recording(rig: &Rig) {
    for name in rig.scenes.keys() {
        rig.until(name, "recording", |status| status.shown == Shown::Recording).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_a_camera_does_ends_in_a_clear_state_and_leaves_nothing_wrong() {
    let mut rig = rig(20).await;
    for bad in &BAD {
        rig.add_with(storing(bad.name, 25), bad.way).await;
        rig.scene(bad.name).camera.storage().set(bad.modes);
    }
    rig.scene("nothing").camera.storage().hold(Storage::Nothing);
    rig.add_with(storing("part", 5), by_onvif).await;
    rig.add_with(storing("silent", 25), by_url).await;
    rig.scene("silent").camera.storage().set(|modes| modes.rtsp = Rtsp::Never);
    until_recording(&rig).await;
    for name in rig.scenes.keys() {
        rig.frames_more(name, 60).await;
    }
    let part = rig.scene("part").camera.storage();
    let cut = rig.scene("part").camera.next_number(Channel::Main);
    // Two seconds in the middle of the outage.
    part.hold(Storage::Only(vec![0..cut + 75, cut + 125..u64::MAX]));
    outage(&rig, 150).await;
    until_recording(&rig).await;

    let failed = |seen: &[(Gap, Option<RefillState>)]| {
        let states: Vec<_> = seen.iter().filter_map(|(_, state)| *state).collect();
        !states.is_empty() && states.iter().all(|state| *state == RefillState::Failed)
    };
    until_gaps(&rig, "silent", "the reason", |seen| {
        seen.iter().any(|(gap, _)| gap.tried.reason.as_ref().is_some_and(|why| why.contains("not answer")))
    })
    .await;
    let silent = gaps(&rig, "silent").await.into_iter().find(|gap| gap.tried.attempts > 0).unwrap();
    rig.service.give_up_gap(&id("silent"), silent.id).await.unwrap();
    until_gaps(&rig, "silent", "the end of all attempts", failed).await;

    // The rest of a partial answer stays, until the camera has it and somebody asks.
    until_gaps(&rig, "part", "the end of all attempts", failed).await;
    let failed_one = |gap: &Gap| rig.service.refill_state(gap) == Some(RefillState::Failed);
    let rest = gaps(&rig, "part").await.into_iter().find(failed_one).unwrap();
    assert_eq!(rest.tried.attempts, 3);
    assert!(rest.tried.reason.as_ref().unwrap().contains("no more of it"), "{rest:?}");
    let long_us = rest.stretch.to.unwrap().0 - rest.stretch.from.0;
    assert!((1_900_000..2_500_000).contains(&long_us), "{rest:?}");
    assert_eq!(
        rig.until_event("part", Kind::RefillFailed).await.len(),
        rig.until_event("part", Kind::RefillDone).await.len()
    );
    part.hold(Storage::Everything);
    let again = rig.service.retry_gap(&id("part"), rest.id).await.unwrap();
    assert_eq!(again.tried.attempts, 0);
    until_gaps(&rig, "part", "the rest", are_filled).await;

    for bad in &BAD {
        match bad.ends {
            None => until_gaps(&rig, bad.name, "the gap to be filled", are_filled).await,
            Some(why) => {
                until_gaps(&rig, bad.name, "the end of all attempts", failed).await;
                let left = gaps(&rig, bad.name).await;
                let reasons: Vec<_> = left.iter().filter_map(|gap| gap.tried.reason.clone()).collect();
                println!("{}: {reasons:?}", bad.name);
                assert!(reasons.iter().any(|reason| reason.contains(why)), "{}: {left:#?}", bad.name);
            }
        }
    }
    let events = rig.events().await;
    let lost = |name: &str| {
        let of = events.iter().filter(|event| event.event.camera == Some(id(name)));
        of.filter(|event| event.event.kind == Kind::CameraOffline).count()
    };
    for bad in &BAD {
        let most = if bad.name == "newest" { 4 } else { 1 };
        assert!(lost(bad.name) <= most, "{}: {} losses", bad.name, lost(bad.name));
    }
    rig.stop().await;

    let came = BAD.iter().map(|bad| (bad.name, bad.came)).chain([("part", 97), ("silent", 0)]);
    for (name, expected) in came {
        // A replay that costs the live recording is ended when that is noticed, and what came until then is right.
        if expected == 0 && name != "newest" {
            let segments = rig.segments(name).await;
            let fetched = segments.iter().filter(|segment| segment.facts.head.source == Source::Refill);
            assert_eq!(fetched.count(), 0, "{name}: {segments:#?}");
            continue;
        }
        let (missing, came) = read_back(&rig, name).await.missing();
        println!("{name}: {came} of {missing} missing frames");
        assert!(missing > 100 && came * 100 >= missing * expected, "{name}: {came} of {missing}");
    }
}

#[test]
fn a_service_killed_while_it_fetches_leaves_nothing_wrong_and_goes_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let camera = SimCamera::start(storing("front", 25)).unwrap();
    let link = Link::start(camera.port()).unwrap();
    camera.storage().set(|modes| modes.real_time_only = true);
    let mirror = dir.path().join("mirror");
    fs::create_dir(&mirror).unwrap();
    let settings =
        [("WATCHKEEPER_REFILL_INTERVAL_SECONDS", Path::new("10")), ("WATCHKEEPER_MIRROR_DIR", &mirror)];
    let start = || Process::start_with(dir.path(), &settings);
    let process = start();
    let given = json!({
        "id": "front", "main_url": link.url("main"), "segment_seconds": 4, "refill_enabled": true,
        "onvif_port": camera.onvif_port(),
    });
    process.post("/api/v1/cameras", &given);
    process.until_recording();
    frames_more(&process, "front", 60);
    link.set(Wire::Cut);
    process.until("the outage", &path_of("front"), |seen| seen["status"]["state"] == "offline");
    let cut = camera.next_number(Channel::Main);
    while camera.next_number(Channel::Main) < cut + 200 {
        pause(50);
    }
    link.set(Wire::Whole);
    let gaps = format!("{}/gaps", path_of("front"));
    let filling = |seen: &Value| {
        seen["gaps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|gap| gap["refill"]["state"] == "filling" && !gap["refill"]["upto"].is_null())
    };
    process.until("a part of the gap", &gaps, filling);
    let found = process.get(&path_of("front"))["refill_found"].clone();
    assert_eq!(found["method"], "onvif", "{found:#}");
    process.kill();
    let killed = camera.next_number(Channel::Main);
    let process = start();
    assert_eq!(process.get(&path_of("front"))["refill_found"], found, "it is remembered");
    let probed = process.post(&format!("{}/probe", path_of("front")), &json!({}));
    assert_eq!(probed["refill"]["method"], "onvif", "{probed:#}");
    process.until_recording();
    let cli = |args: &[&str]| {
        let done = cli(dir.path(), &process.url, "", args);
        let (out, said) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{args:?}: {out}{said}");
        out.into_owned()
    };
    let watched = cli(&["gaps", "front", "--watch", "--json"]);
    println!("{watched}");
    assert!(watched.lines().any(|line| line.contains("\"filled\"")), "{watched}");
    assert!(cli(&["refill", "front", "--from", "-1h"]).contains("fetched next"));
    // What the kill cost is fetched as well.
    let filled = |seen: &Value| {
        seen["gaps"].as_array().unwrap().iter().all(|gap| gap["refill"].is_null() && gap["state"] == "closed")
    };
    process.until("both gaps to be filled", &gaps, filled);
    frames_more(&process, "front", 60);
    let covered = process.get(&format!("{}/coverage", path_of("front")));
    let is_filled = |range: &&Value| range["refill"] == "filled" && range["state"] == "recorded";
    assert!(covered["ranges"].as_array().unwrap().iter().filter(is_filled).count() >= 1, "{covered:#}");
    cli(&["export", "front", "--from", "-1h", "-o", "clip.mp4"]);
    until_equal(&process, dir.path(), &["front"], wait::PATIENCE);
    process.stop(STOPS_WITHIN);
    let checked = command(dir.path(), "127.0.0.1:1").arg("check").arg("--deep").output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let segments = runtime.block_on(async {
        let store = Store::open_read_only(&dir.path().join("data/watchkeeper.db")).await.unwrap();
        let all = Range { from: WallUs(0), to: WallUs(i64::MAX) };
        let segments = store.segments_touching(&id("front"), all, None, 1000).await.unwrap();
        store.close().await;
        segments
    });
    let recordings = dir.path().join("recordings");
    let copied = |segment: &Segment| {
        let read = |dir: &Path| fs::read(dir.join(&segment.facts.path)).unwrap();
        read(&recordings) == read(&mirror)
    };
    let fetched = |segment: &&Segment| segment.facts.head.source == Source::Refill;
    assert!(segments.iter().filter(fetched).all(copied), "what was fetched is mirrored: {segments:#?}");
    let read = read_segments("front", &recordings, segments, false);
    // A clip over all borders plays from its first frame to its last.
    let clip = frames::played(&dir.path().join("clip.mp4")).unwrap();
    let clip: Vec<u64> = clip.iter().map(|stamp| stamp.number).collect();
    let mut both = [&read.live[..], &read.fetched].concat();
    both.sort_unstable();
    assert!(both.starts_with(&clip) && clip.last() > read.fetched.last(), "{clip:?} of {both:?}");
    let missing: Vec<u64> = read.live.windows(2).flat_map(|two| two[0] + 1..two[1]).collect();
    let came = missing.iter().filter(|number| read.fetched.contains(number)).count();
    println!("{came} of {} missing frames, killed at {killed}", missing.len());
    // Each gap begins with up to a GOP that cannot be decoded, and so does what the kill left.
    assert!(missing.len() > 200 && came + 4 * 25 >= missing.len(), "{came} of {missing:?}");
}
