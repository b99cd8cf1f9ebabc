//! Recording a healthy camera: every frame, in order, in files that play alone, and in the index as they are.

use watchkeeper::{
    base::CameraId,
    model::{
        camera::{Camera, CameraPatch},
        segment::SegmentState,
        status::{CameraStatus, Shown},
    },
};

use crate::{
    rig::{Rig, Scene, id},
    sim::{
        camera::{CameraSpec, Channel, Login},
        footage::{Encoding, Source},
        frames,
        harm::Reports,
    },
    wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_is_in_the_files_once_and_in_order() {
    let people = CameraSpec { main: Encoding::small(Source::People), ..CameraSpec::new("yard") };
    let rig = Rig::recording([CameraSpec::new("front"), people]).await;
    for name in ["front", "yard"] {
        rig.frames_more(name, 250).await;
        assert_eq!(rig.scene(name).camera.max_sessions(Channel::Main), 1);
    }
    rig.stop().await;
    for name in ["front", "yard"] {
        let proof = rig.prove(name);
        assert!(proof.last - proof.first >= 250);
        // A stop in order keeps everything that had arrived; what was under way then is a few frames.
        assert!(proof.tail <= 10, "{proof:?}");
        let segments = rig.segments(name).await;
        let files = rig.files(name);
        assert_eq!(segments.len(), files.len());
        for (segment, file) in segments.iter().zip(&files) {
            assert_eq!(segment.facts.state, SegmentState::Closed);
            assert!(file.ends_with(&segment.facts.path));
            let probe = frames::probe(file).unwrap();
            assert_eq!(segment.facts.extent.frames, probe.frames);
            assert_eq!(segment.facts.extent.bytes, file.metadata().unwrap().len());
            assert_eq!((segment.facts.head.width, segment.facts.head.height), (probe.width, probe.height));
            // The first frame's capture time is in its SEI; the recorder only knows when it arrived.
            let first = frames::frames_in(file).unwrap()[0];
            let behind = segment.facts.head.start.0 - i64::try_from(first.capture_us).unwrap();
            assert!((0..500_000).contains(&behind), "{behind} us");
        }
        for pair in segments.windows(2) {
            let hole = pair[1].facts.head.start.0 - pair[0].facts.end().0;
            assert!(hole.abs() <= 40_000, "{hole} us between segments");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_gop_reaches_the_disk_every_second() {
    let main = Encoding { gop_frames: 250, ..Encoding::small(Source::Cars) };
    let rig = Rig::recording([CameraSpec { main, ..CameraSpec::new("front") }]).await;
    // The keyframe comes every 10 s, but half a second later there is something to read.
    rig.frames_more("front", 50).await;
    let newest = rig.scene("front").camera.last_sent(Channel::Main).unwrap().number;
    let on_disk = frames::frames_in(rig.files("front").last().unwrap()).unwrap();
    // The file goes on while it is read.
    let behind = newest.saturating_sub(on_disk.last().unwrap().number);
    assert!(behind <= 25, "the file is {behind} frames behind");
    let listed = rig.segments("front").await;
    assert_eq!(listed.last().unwrap().facts.state, SegmentState::Open);
    rig.stop().await;
    rig.prove("front");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_or_segment_length_interrupts_nothing() {
    let rig = Rig::recording([CameraSpec::new("front")]).await;
    for (n, segment_seconds) in [2, 3, 5].into_iter().enumerate() {
        rig.frames_more("front", 30).await;
        let patch = CameraPatch {
            name: Some(format!("Front door {n}")),
            segment_seconds: Some(segment_seconds),
            ..CameraPatch::default()
        };
        let now = rig.service.change_camera(&id("front"), patch).await.unwrap();
        assert_eq!(now.camera.name, format!("Front door {n}"));
    }
    rig.frames_more("front", 30).await;
    let status = rig.status("front");
    assert_eq!((status.shown, status.reconnects), (Shown::Recording, 0));
    assert_eq!(rig.scene("front").camera.max_sessions(Channel::Main), 1);
    rig.stop().await;
    rig.prove("front");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_picture_size_begins_a_segment_and_loses_nothing() {
    let rig = Rig::recording([CameraSpec::new("front")]).await;
    let small = Encoding { width: 320, height: 180, ..Encoding::small(Source::Cars) };
    for encoding in [small, Encoding::small(Source::Cars), small] {
        rig.frames_more("front", 40).await;
        rig.scene("front").camera.set_encoding(encoding).unwrap();
    }
    rig.frames_more("front", 60).await;
    rig.stop().await;
    rig.prove("front");
    let sizes: Vec<u32> = rig.segments("front").await.iter().map(|s| s.facts.head.width).collect();
    assert!(sizes.contains(&320) && sizes.contains(&640), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_deleted_and_enabled_cameras_keep_their_footage() {
    let rig = Rig::recording([CameraSpec::new("front"), CameraSpec::new("yard")]).await;
    rig.frames_more("front", 30).await;
    let enabled =
        |record_enabled| CameraPatch { record_enabled: Some(record_enabled), ..CameraPatch::default() };
    rig.service.change_camera(&id("front"), enabled(false)).await.unwrap();
    rig.until("front", "disabled", |status| status.shown == Shown::Disabled).await;
    let sessions = || rig.scene("front").camera.sessions(Channel::Main);
    wait::until("the session's end", sessions, |open| *open == 0).await;
    rig.service.change_camera(&id("front"), enabled(true)).await.unwrap();
    rig.until("front", "recording", |status| status.shown == Shown::Recording).await;
    rig.frames_more("front", 30).await;
    rig.service.delete_camera(&id("front")).await.unwrap();
    assert!(rig.service.camera(&id("front")).is_err());
    rig.stop().await;
    let kept = rig.segments("front").await;
    assert!(kept.iter().all(|segment| segment.facts.state == SegmentState::Closed) && kept.len() >= 2);
    // Between disabling and enabling nothing was wanted, and a recording begins with a keyframe.
    rig.prove_parts("front");
    rig.prove("yard");
}

#[tokio::test(flavor = "multi_thread")]
async fn jumping_timestamps_lose_nothing() {
    let rig = Rig::recording([CameraSpec::new("front")]).await;
    for jump_ms in [100_000, -3_000, 700, -90_000] {
        rig.frames_more("front", 60).await;
        rig.scene("front").camera.jump_timestamps(jump_ms);
    }
    rig.frames_more("front", 60).await;
    assert_eq!(rig.status("front").reconnects, 0);
    rig.stop().await;
    rig.prove("front");
    for pair in rig.segments("front").await.windows(2) {
        let hole = pair[1].facts.head.start.0 - pair[0].facts.end().0;
        assert!(hole.abs() <= 500_000, "{hole} us between segments");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_password_is_tried_only_where_it_belongs() {
    let login = Login { user: "admin".to_owned(), password: "s3cret".to_owned() };
    let rig = Rig::recording([CameraSpec { login: Some(login), ..CameraSpec::new("front") }]).await;
    let Scene { camera, link } = rig.scene("front");
    let front = id("front");
    let outcome = async |port: u16, of: Option<&CameraId>| {
        let given = CameraPatch {
            main_url: Some(Some(format!("rtsp://127.0.0.1:{port}/cam"))),
            username: Some(Some("admin".to_owned())),
            ..CameraPatch::default()
        };
        let asked = Camera::new(id("other"), given).unwrap();
        rig.service.probe(asked, of).await.unwrap().outcome.map(|_| ()).map_err(|(loss, _)| loss.word())
    };
    assert_eq!(outcome(link.port(), Some(&front)).await, Ok(()));
    assert_eq!(outcome(link.port(), None).await, Err("unauthorised"));
    assert_eq!(outcome(camera.port(), Some(&front)).await, Err("unauthorised"));
    assert_eq!(outcome(link.port(), Some(&id("unknown"))).await, Err("unauthorised"));
    rig.stop().await;
    rig.prove("front");
}

/// The camera's reports are an hour off; its footage is not, and the difference is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_cameras_wrong_clock_is_measured_and_moves_no_footage() {
    let reports = Reports::Off { seconds: 3600 };
    let rig = Rig::recording([CameraSpec { reports, ..CameraSpec::new("front") }]).await;
    let told = |status: &CameraStatus| status.observed.clock_ahead_us.is_some();
    let status = rig.until("front", "sender reports", told).await;
    let off = status.observed.clock_ahead_us.unwrap() - 3_600_000_000;
    assert!((-1_000_000..100_000).contains(&off), "{off} us beside an hour");
    rig.frames_more("front", 50).await;
    rig.stop().await;
    rig.prove("front");
    for segment in rig.segments("front").await {
        let ago = watchkeeper::base::WallUs::now().0 - segment.facts.head.start.0;
        assert!((0..120_000_000).contains(&ago), "{ago} us ago");
    }
}
