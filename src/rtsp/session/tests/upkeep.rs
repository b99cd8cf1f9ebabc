//! A session that plays: keep-alives, requests of the camera, its end (CAMERAS.md, C11, C12, C42, C43).

use std::{cell::Cell, rc::Rc};

use super::*;

/// Answers a camera gives in a session of 20 s, by request and number of seconds since the begin.
type Answers<'a> = &'a dyn Fn(&Req, f64) -> Option<Vec<u8>>;

/// Watches a camera whose sessions end 20 s after the last request that it counts. Gives the longest pause between those.
fn longest_pause(
    settings: SessionSettings,
    public: Option<&str>,
    answers: Answers<'_>,
    counts: &dyn Fn(&Req) -> bool,
) -> f64 {
    let clock = Rc::new(Cell::new(0.0));
    let (counted, longest) = (Cell::new(0.0), Cell::new(0.0_f64));
    let mut rig = Rig::run(settings, |req| {
        let now = clock.get();
        if counts(req) {
            longest.set(longest.get().max(now - counted.get()));
            counted.set(now);
        }
        if let Some(out) = answers(req, now) {
            return out.into();
        }
        match req.method.as_str() {
            "OPTIONS" => match public {
                Some(public) => answer(req, "200 OK", &[&format!("Public: {public}")], "").into(),
                None => answer(req, "501 Not Implemented", &[], "").into(),
            },
            "SETUP" => {
                let transport = format!("Transport: {}", req.header("transport"));
                answer(req, "200 OK", &["Session: 1;timeout=20", &transport], "").into()
            }
            _ => usual(req).into(),
        }
    });
    for tenth in 1..=700 {
        clock.set(f64::from(tenth) / 10.0);
        rig.advance(Duration::from_millis(100));
    }
    assert!(rig.failure.is_none() && rig.connections == 1);
    longest.get().max(70.0 - counted.get())
}

#[test]
fn sessions_are_kept_alive_whatever_the_camera_answers() {
    let usual = Some(PUBLIC);
    let unlisted = Some("DESCRIBE, OPTIONS, PAUSE, PLAY, SETUP, TEARDOWN");
    let set_only = Some("OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, SET_PARAMETER");
    let get = |req: &Req| req.method == "GET_PARAMETER";
    let any = |_: &Req| true;
    let refuses =
        |status: &'static str| move |req: &Req, _: f64| get(req).then(|| answer(req, status, &[], ""));
    let pause = |public, answers: Answers<'_>, counts: &dyn Fn(&Req) -> bool| {
        longest_pause(settings(), public, answers, counts)
    };
    assert!(pause(usual, &|req, _| get(req).then(Vec::new), &any) < 15.0, "never answers");
    assert!(pause(usual, &refuses("454 Session Not Found"), &any) < 15.0);
    assert!(pause(usual, &refuses("501 Not Implemented"), &any) < 15.0);
    assert!(pause(usual, &refuses("451 Parameter Not Understood"), &any) < 15.0);
    let listed = |names: &'static [&str]| move |req: &Req| names.contains(&req.method.as_str());
    let without_get = listed(&["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]);
    assert!(pause(unlisted, &refuses("405 Method Not Allowed"), &without_get) < 15.0, "OPTIONS alone");
    assert!(pause(unlisted, &|_, _| None, &listed(&["GET_PARAMETER", "SETUP", "PLAY"])) < 15.0, "unlisted");
    assert!(
        pause(set_only, &|_, _| None, &listed(&["OPTIONS", "SET_PARAMETER", "SETUP", "PLAY"])) < 15.0,
        "SET_PARAMETER"
    );
    assert!(pause(None, &|_, _| None, &listed(&["GET_PARAMETER", "SETUP", "PLAY"])) < 15.0, "no Public");
}

#[test]
fn a_keep_alive_with_an_old_nonce_is_sent_again_with_the_new_one() {
    let nonce = |now: f64| format!("{:032x}", (now / 15.0) as u64);
    let wants = |req: &Req, now: f64| {
        let challenge = format!("WWW-Authenticate: Digest realm=\"cam\", nonce=\"{}\"", nonce(now));
        let refused = req.method != "OPTIONS" || req.has("authorization");
        (refused && !authorised(req, "pw", &nonce(now)))
            .then(|| answer(req, "401 Unauthorized", &[&challenge], ""))
    };
    let at = Cell::new(0.0);
    let answers = |req: &Req, now: f64| {
        at.set(now);
        wants(req, now)
    };
    let counts = |req: &Req| req.has("authorization") && authorised(req, "pw", &nonce(at.get()));
    assert!(longest_pause(with_login("pw"), Some(PUBLIC), &answers, &counts) < 15.0);
}

#[test]
fn keep_alives_have_no_body_and_name_the_session() {
    let mut rig = Rig::run(settings(), |req| {
        if req.method == "GET_PARAMETER" {
            assert_eq!(req.header("session"), "12345678");
            assert!(!req.has("content-length") && !req.has("content-type"));
        }
        usual(req).into()
    });
    rig.advance(Duration::from_secs(70));
    let sent = rig.asked.iter().filter(|line| *line == "GET_PARAMETER rtsp://192.0.2.7/live/").count();
    assert_eq!((sent, rig.session.facts().keep_alive), (3, Some(KeepAliveMethod::GetParameter)));
}

#[test]
fn an_answered_keep_alive_is_a_sign_of_life_and_an_error_is_none() {
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    assert_eq!(rig.session.last_sign_of_life(), None);
    rig.advance(Duration::from_secs(20));
    assert_eq!(rig.session.last_sign_of_life(), Some(rig.now));
    let mut rig = Rig::run(settings(), |req| match req.method.as_str() {
        "GET_PARAMETER" | "SET_PARAMETER" => answer(req, "454 Session Not Found", &[], "").into(),
        "OPTIONS" if req.has("session") => Vec::new().into(),
        _ => usual(req).into(),
    });
    rig.advance(Duration::from_secs(100));
    assert_eq!((rig.session.last_sign_of_life(), rig.failure), (None, None));
}

#[test]
fn timeouts_of_sessions_have_bounds() {
    let timeout = |session: &'static str| {
        let rig = Rig::run(settings(), move |req| match req.method.as_str() {
            "SETUP" => answer(req, "200 OK", &[&format!("Session: {session}")], "").into(),
            _ => usual(req).into(),
        });
        rig.assert_plays();
        rig.session.facts().timeout.as_secs()
    };
    assert_eq!(timeout("1"), 60);
    assert_eq!(timeout("1 ; timeout = 20s"), 20);
    assert_eq!(timeout("1;timeout=0"), 5);
    assert_eq!(timeout("1;timeout=99999999"), 3600);
    assert_eq!(timeout("1;timeout=x"), 60);
}

#[test]
fn requests_of_the_camera_are_answered_between_frames() {
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    for (n, (request, body)) in [
        ("ANNOUNCE rtsp://h/ RTSP/1.0", "v=0\r\nm=video 0 RTP/AVP 96\r\n"),
        ("OPTIONS * RTSP/1.0", ""),
        ("SET_PARAMETER rtsp://h/ RTSP/1.0", "x-param: 1\r\n"),
        ("GET_PARAMETER rtsp://h/ RTSP/1.0", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!("{request}\r\nCSeq: {n}\r\nSession: 12345678\r\n{length}\r\n{body}");
        rig.feed(&[request.as_bytes(), &video(0, 5 + n as u16)].concat());
    }
    rig.drive();
    assert_eq!(rig.asked[4..], ["501 to 0", "200 to 1", "200 to 2", "200 to 3"]);
    assert_eq!((rig.session.facts().packets, rig.session.damage().resyncs), (9, 0));
}

#[test]
fn a_camera_that_tears_down_ends_the_stream() {
    for request in ["TEARDOWN rtsp://h/ RTSP/1.0", "REDIRECT rtsp://h/ RTSP/1.0"] {
        let mut rig = Rig::run(settings(), |req| usual(req).into());
        rig.feed(format!("{request}\r\nCSeq: 1\r\nLocation: rtsp://198.51.100.1/\r\n\r\n").as_bytes());
        rig.drive();
        assert_eq!(rig.asked.last().unwrap(), "200 to 1");
        assert!(rig.ended && rig.connections == 1);
    }
}

#[test]
fn a_connection_that_ends_says_how() {
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    rig.session.disconnected(rig.now, None);
    rig.drive();
    assert_eq!(rig.error(), (StreamErrorKind::Ended, "the camera closed the connection".to_owned()));
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    rig.session.disconnected(rig.now, Some("connection reset"));
    rig.drive();
    assert_eq!(rig.error().1, "the camera broke the connection: connection reset");
    let range = Range { from: crate::base::WallUs(0), to: crate::base::WallUs(1) };
    let mut rig = Rig::run(SessionSettings { replay: Some(range), ..settings() }, |req| usual(req).into());
    rig.session.disconnected(rig.now, None);
    rig.drive();
    assert!(rig.ended, "a recording ends with its connection");
}

#[test]
fn a_request_that_is_cut_by_the_end_is_not_answered() {
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    rig.feed(b"ANNOUNCE rtsp://192.0.2.7/live RTSP/1.0\r\nCSeq: 9\r\nContent-Length: 400\r\n\r\nv=0\r\n");
    rig.session.stop(rig.now);
    rig.drive();
    rig.session.disconnected(rig.now, None);
    rig.drive();
    assert_eq!(rig.methods().last(), Some(&"TEARDOWN"));
}

#[test]
fn a_late_answer_to_a_keep_alive_is_dropped() {
    let mut rig = Rig::run(settings(), |req| match req.method.as_str() {
        "GET_PARAMETER" => Vec::new().into(),
        _ => usual(req).into(),
    });
    rig.advance(Duration::from_secs(31));
    assert_eq!(rig.methods()[4..], ["GET_PARAMETER", "OPTIONS"]);
    rig.feed(b"RTSP/1.0 454 Session Not Found\r\nCSeq: 5\r\n\r\n");
    rig.advance(Duration::from_secs(60));
    rig.assert_plays();
}

#[test]
fn stray_bytes_do_not_end_a_session() {
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    for n in 5..50 {
        rig.feed(&[&[0x17; 23][..], &video(0, n), b"\r\n", &video(0, n + 100)].concat());
    }
    let facts = rig.session.facts();
    assert_eq!((facts.packets, rig.session.damage().resyncs), (95, 45));
}

/// A sender report of the video track, and a goodbye if it says so (RFC 3550, 6.4.1 and 6.6).
fn rtcp(channel: u8, bye: bool) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6, 0, 0, 0x12, 0x34];
    packet.extend_from_slice(&[0xe9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    if bye {
        packet.extend_from_slice(&[0x81, 203, 0, 1, 0, 0, 0x12, 0x34]);
    }
    [&[b'$', channel, 0, packet.len() as u8], &packet[..]].concat()
}

#[test]
fn a_goodbye_ends_the_stream_unless_it_goes_on() {
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    rig.feed(&rtcp(1, true));
    rig.advance(Duration::from_secs(5));
    assert!(rig.ended && rig.pictures == 5);
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    rig.feed(&rtcp(1, true));
    for n in 5..100 {
        rig.feed(&video(0, n));
        rig.advance(Duration::from_millis(40));
    }
    assert!(!rig.ended && rig.pictures == 100);
}

#[test]
fn a_sender_report_is_a_sign_of_life() {
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    rig.feed(&rtcp(1, false));
    assert_eq!(rig.session.last_sign_of_life(), Some(rig.now));
}

#[test]
fn receiver_reports_go_where_the_sender_reports_come_from() {
    let mut rig = Rig::run(settings(), |req| usual(req).into());
    rig.advance(Duration::from_secs(25));
    assert_eq!(rig.asked.iter().filter(|line| *line == "frame 1").count(), 2);
    let settings = SessionSettings { transport: Transport::Udp, ..settings() };
    let mut rig = Rig::run(settings, |req| match req.method.as_str() {
        "PLAY" => answer(req, "200 OK", &[], "").into(),
        _ => usual(req).into(),
    });
    rig.advance(Duration::from_secs(11));
    assert_eq!(rig.datagrams.len(), 3, "no report before the first packet");
    rig.session.datagram(0, false, &video(0, 1)[4..], rig.now);
    rig.advance(Duration::from_secs(10));
    assert!(rig.datagrams[3].starts_with("rtcp 0 to 6001"), "{:?}", rig.datagrams);
}

#[test]
fn damage_is_counted_over_all_connections() {
    let settings = SessionSettings { transport: Transport::Auto, ..settings() };
    let mut rig = Rig::run(settings, |req| match req.method.as_str() {
        "PLAY" if req.connection == 1 => [answer(req, "200 OK", &[], ""), b"stray".to_vec()].concat().into(),
        _ => usual(req).into(),
    });
    rig.advance(Duration::from_secs(6));
    rig.assert_plays();
    rig.feed(&[b"stray".to_vec(), video(0, 9), video(0, 10)].concat());
    rig.drive();
    let damage = rig.session.damage();
    assert_eq!((damage.resyncs, damage.lost_packets), (2, 4));
}

#[test]
fn a_keep_alive_on_which_the_camera_closes_is_not_sent_to_it_again() {
    // A camera that takes OPTIONS neither at the begin nor later.
    let closes = |method: &'static str| {
        move |req: &Req| if req.method == method { close_after(Vec::new()) } else { usual(req).into() }
    };
    let mut rig = Rig::run(settings(), closes("OPTIONS"));
    rig.advance(Duration::from_secs(200));
    assert!(rig.failure.is_none() && rig.connections == 2);
    // One that does not know GET_PARAMETER, and does not announce it.
    let public = |req: &Req| answer(req, "200 OK", &["Public: DESCRIBE, SETUP, PLAY"], "");
    let camera =
        |req: &Req| if req.method == "OPTIONS" { public(req).into() } else { closes("GET_PARAMETER")(req) };
    let mut rig = Rig::run(settings(), camera);
    rig.advance(Duration::from_secs(70));
    assert_eq!(rig.error().0, StreamErrorKind::Ended);
    let avoid_keep_alives: Vec<KeepAliveMethod> = rig.session.facts().fatal_keep_alive.into_iter().collect();
    assert_eq!(avoid_keep_alives, [KeepAliveMethod::GetParameter]);
    let mut rig = Rig::run(SessionSettings { avoid_keep_alives, ..settings() }, camera);
    rig.advance(Duration::from_secs(200));
    assert!(rig.failure.is_none() && rig.connections == 1);
}
