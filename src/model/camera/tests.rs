//! What is taken for a camera's settings, and what a change of them costs.

use super::*;

fn camera(given: CameraPatch) -> Result<Camera, BadField> {
    Camera::new("front".parse().unwrap(), given)
}

fn with_url(url: &str) -> CameraPatch {
    CameraPatch { main_url: Some(Some(url.to_owned())), ..CameraPatch::default() }
}

#[test]
fn credentials_leave_the_url() {
    let camera = camera(with_url("rtsp://admin:p%40ss%2Fw@192.0.2.7:8554/live?x=1")).unwrap();
    assert_eq!(camera.main_url.as_deref(), Some("rtsp://192.0.2.7:8554/live?x=1"));
    assert_eq!(camera.username.as_deref(), Some("admin"));
    assert_eq!(camera.password.unwrap().reveal(), "p@ss/w");
}

#[test]
fn a_password_goes_nowhere_else() {
    let known = camera(CameraPatch {
        sub_url: Some(Some("rtsp://192.0.2.8/sub".to_owned())),
        ..with_url("rtsp://admin:secret@Cam.local:8554/main")
    });
    let known = known.unwrap();
    let goes = |given| known.password_for(&camera(given).unwrap()).is_some();
    for same in ["rtsp://cam.local:8554/other", "rtspt://CAM.local:8554/main?x=1", "rtsp://192.0.2.8:554/a"] {
        assert!(goes(with_url(same)), "{same}");
    }
    let evil = ["rtsp://cam.local/main", "rtsp://cam.local:8555/main", "rtsps://cam.local:8554/main"];
    for other in evil.into_iter().chain(["rtsp://192.0.2.8:8554/x", "rtsp://cam.local.evil:8554/main"]) {
        assert!(!goes(with_url(other)), "{other}");
    }
    // What is looked at counts, and not what else is said.
    let sub = CameraPatch {
        sub_url: Some(Some("rtsp://192.0.2.9/sub".to_owned())),
        record_profile: Some(Profile::Sub),
        ..with_url("rtsp://cam.local:8554/main")
    };
    assert!(!goes(sub));
}

#[test]
fn a_bad_field_is_named() {
    let field = |given| camera(given).unwrap_err().field;
    for url in ["http://x/", "rtsp:// x/", "rtsp://", "x", "rtsp://h/\u{7}", "rtsp://h/a b", "rtsp://h/\n"] {
        assert_eq!(field(with_url(url)), "main_url", "{url:?}");
    }
    assert_eq!(field(CameraPatch::default()), "main_url");
    assert_eq!(field(CameraPatch { vendor: Some(Vendor::Hikvision), ..CameraPatch::default() }), "address");
    let named = |name: &str| CameraPatch { name: Some(name.to_owned()), ..with_url("rtsp://h/x") };
    assert_eq!(field(named(" ")), "name");
    assert_eq!(field(named("a\u{0}b")), "name");
    assert_eq!(field(CameraPatch { rtsp_port: Some(0), ..with_url("rtsp://h/x") }), "rtsp_port");
    assert_eq!(field(CameraPatch { channel: Some(0), ..with_url("rtsp://h/x") }), "channel");
    assert_eq!(
        field(CameraPatch { address: Some(Some("h/x ! y".into())), ..with_url("rtsp://h/x") }),
        "address"
    );
}

#[test]
fn only_the_source_needs_a_new_session() {
    let old = camera(with_url("rtsp://h/x")).unwrap();
    let changed = |patch| old.needs_new_session(&old.patched(patch).unwrap());
    assert!(!changed(CameraPatch { name: Some("Yard".into()), ..CameraPatch::default() }));
    assert!(!changed(CameraPatch { segment_seconds: Some(10), ..CameraPatch::default() }));
    assert!(!changed(CameraPatch { sub_url: Some(Some("rtsp://h/y".into())), ..CameraPatch::default() }));
    assert!(!changed(CameraPatch { rtsp_port: Some(8554), ..CameraPatch::default() }));
    assert!(changed(with_url("rtsp://h/y")));
    assert!(changed(CameraPatch { transport: Some(Transport::Udp), ..CameraPatch::default() }));
    assert!(changed(CameraPatch { username: Some(Some("u".into())), ..CameraPatch::default() }));
    assert!(changed(CameraPatch { record_audio: Some(true), ..CameraPatch::default() }));
    assert!(!changed(CameraPatch {
        record_mode: Some(Mode::ScheduledEvent),
        schedule: Some(vec![office()]),
        time_zone: Some(Some("America/New_York".into())),
        pre_roll_seconds: Some(60),
        post_roll_seconds: Some(3600),
        event_idle_session: Some(false),
        mirror_enabled: Some(false),
        mirror_mode: Some(MirrorMode::Continuous),
        refill_enabled: Some(true),
        ..CameraPatch::default()
    }));
}

fn office() -> Row {
    Row { weekdays: vec![0, 1, 2, 3, 4], start: "08:00".into(), end: "18:00".into(), enabled: true }
}

#[test]
fn a_bad_time_is_named_and_changes_nothing() {
    let old = camera(CameraPatch { schedule: Some(vec![office()]), ..with_url("rtsp://h/x") }).unwrap();
    assert_eq!(old.when(Zone::UTC).zone, Zone::UTC);
    let field = |patch| old.patched(patch).unwrap_err().field;
    let rows = vec![office(), Row { end: "25:00".into(), ..office() }];
    assert_eq!(field(CameraPatch { schedule: Some(rows), ..CameraPatch::default() }), "schedule[1].end");
    let zone = Some(Some("Mars/Base".to_owned()));
    assert_eq!(field(CameraPatch { time_zone: zone, ..CameraPatch::default() }), "time_zone");
    let roll = CameraPatch { pre_roll_seconds: Some(61), ..CameraPatch::default() };
    assert_eq!(field(roll), "pre_roll_seconds");
    let roll = CameraPatch { post_roll_seconds: Some(3601), ..CameraPatch::default() };
    assert_eq!(field(roll), "post_roll_seconds");
    let there = CameraPatch { time_zone: Some(Some("Europe/Berlin".into())), ..CameraPatch::default() };
    let there = old.patched(there).unwrap();
    assert_eq!(there.when(Zone::UTC).zone, Zone::Europe__Berlin);
    let back = there.patched(CameraPatch { time_zone: Some(None), ..CameraPatch::default() }).unwrap();
    assert_eq!(back, old);
}

#[test]
fn a_certificate_is_that_of_a_place() {
    let digits = "0a".repeat(32);
    let colons = "0A:".repeat(32);
    let pinned =
        |text: &str| CameraPatch { tls_fingerprint: Some(Some(text.to_owned())), ..with_url("rtsps://h/x") };
    let known = camera(pinned(colons.trim_end_matches(':'))).unwrap();
    assert_eq!(known.tls_fingerprint.as_ref(), Some(&digits));
    let kept = |patch| known.patched(patch).unwrap().tls_fingerprint.is_some();
    assert!(kept(with_url("rtsps://H/y")));
    assert!(!kept(with_url("rtsps://other/x")) && !kept(with_url("rtsps://h:8322/x")));
    for wrong in ["", "0a", &digits[1..], &"0g".repeat(32)] {
        assert_eq!(camera(pinned(wrong)).unwrap_err().field, "tls_fingerprint", "{wrong:?}");
    }
}

#[test]
fn segment_length_is_clamped() {
    let of = |seconds| {
        let given = CameraPatch { segment_seconds: Some(seconds), ..with_url("rtsp://h/x") };
        camera(given).unwrap().segment_seconds
    };
    assert_eq!([of(0), of(2), of(90), of(9999)], [2, 2, 90, 3600]);
}

#[test]
fn another_source_needs_a_new_session_and_another_deadline_does_not() {
    let old = camera(with_url("rtsp://h/x")).unwrap();
    assert_eq!((old.source, old.connect_seconds), (None, 15));
    let with = |source| CameraPatch { source: Some(source), ..CameraPatch::default() };
    let native = old.patched(with(Some(SourceChoice::Native))).unwrap();
    assert_eq!(native.source, Some(SourceChoice::Native));
    assert!(old.needs_new_session(&native));
    assert_eq!(native.patched(with(None)).unwrap(), old);
    assert_eq!(native.patched(CameraPatch::default()).unwrap(), native, "what is not given stays");
    let patient = CameraPatch { connect_seconds: Some(60), ..CameraPatch::default() };
    let patient = old.patched(patient).unwrap();
    assert_eq!(patient.connect_seconds, 60);
    assert!(!old.needs_new_session(&patient));
}

#[test]
fn the_first_frame_is_waited_for_5_to_60_seconds() {
    let of = |seconds| {
        camera(CameraPatch { connect_seconds: Some(seconds), ..with_url("rtsp://h/x") })
            .map(|camera| camera.connect_seconds)
            .map_err(|bad| bad.to_string())
    };
    assert_eq!([of(5), of(60)], [Ok(5), Ok(60)]);
    for wrong in [0, 4, 61, u32::MAX] {
        assert_eq!(of(wrong), Err("connect_seconds: is 5 to 60".to_owned()));
    }
}
