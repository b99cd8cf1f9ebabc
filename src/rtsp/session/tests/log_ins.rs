//! Passwords: which way they are sent, how often, and never in clear without leave (CAMERAS.md, C1 to C3; ACCESS.md, F1).

use super::*;

const NONCE: &str = "a0f8116631ca25c24d7ca559e253ad97";

fn challenge(algorithm: &str) -> String {
    let algorithm = if algorithm.is_empty() { String::new() } else { format!(", algorithm=\"{algorithm}\"") };
    format!("WWW-Authenticate: Digest realm=\"cam\", nonce=\"{NONCE}\", stale=\"FALSE\"{algorithm}")
}

/// A camera that wants a log-in for all but OPTIONS; it offers and takes these algorithms.
fn asks<'a>(password: &'a str, offers: &'a [&str], takes: &'a [&str]) -> impl FnMut(&Req) -> Reply + 'a {
    move |req| {
        let algorithm =
            if req.header("authorization").contains("algorithm=SHA-256") { "SHA-256" } else { "" };
        let right = authorised(req, password, NONCE)
            && takes.iter().any(|taken| taken.trim_start_matches("MD5") == algorithm);
        if req.method == "OPTIONS" || right {
            return usual(req).into();
        }
        let challenges: Vec<String> = offers.iter().map(|algorithm| challenge(algorithm)).collect();
        answer(req, "401 Unauthorized", &challenges.iter().map(String::as_str).collect::<Vec<_>>(), "").into()
    }
}

#[test]
fn digest_is_answered_once_and_then_with_each_request() {
    for offers in [&[""][..], &["SHA-256"], &["SHA-256", "MD5"], &["MD5", "SHA-256"]] {
        let takes = if offers.len() == 2 { &["SHA-256"] } else { offers };
        let mut rig = Rig::run(with_login("p@ss"), asks("p@ss", offers, takes));
        rig.assert_plays();
        assert!(rig.descriptions[0].log_in);
        assert_eq!(rig.asked.iter().filter(|line| !line.ends_with("log-in")).count(), 2, "{:?}", rig.asked);
        rig.session.stop(rig.now);
        rig.drive();
        assert_eq!(rig.asked.last().unwrap(), "TEARDOWN rtsp://192.0.2.7/live/ with log-in");
    }
}

#[test]
fn a_wrong_password_is_sent_once() {
    for offers in [&[""][..], &["SHA-256"], &["SHA-256", "MD5"]] {
        let rig = Rig::run(with_login("wrong"), asks("right", offers, offers));
        assert_eq!(rig.log_ins(), 1);
        let (kind, detail) = rig.error();
        assert_eq!(
            (kind, detail.as_str()),
            (StreamErrorKind::Unauthorised, "the camera refuses the user name and password")
        );
        let try_md5 = offers.len() == 2;
        assert!(matches!(rig.failure, Some(SessionError::Refused { try_md5: told, .. }) if told == try_md5));
    }
}

#[test]
fn a_camera_that_offers_sha256_and_takes_only_md5_is_found_out() {
    let rig = Rig::run(with_login("pw"), asks("pw", &["SHA-256", "MD5"], &["MD5"]));
    assert!(matches!(rig.failure, Some(SessionError::Refused { try_md5: true, .. })));
    assert_eq!(rig.log_ins(), 1);
    let settings = SessionSettings { avoid_sha256: true, ..with_login("pw") };
    Rig::run(settings, asks("pw", &["SHA-256", "MD5"], &["MD5"])).assert_plays();
}

#[test]
fn a_camera_that_closes_with_its_401_is_logged_in_to_on_the_next_connection() {
    for says_so in [false, true] {
        let mut camera = asks("pw", &[""], &[""]);
        let rig = Rig::run(with_login("pw"), |req| {
            let Reply { bytes, .. } = camera(req);
            if !bytes.starts_with(b"RTSP/1.0 401") {
                return bytes.into();
            }
            let close = [&bytes[..bytes.len() - 2], b"Connection: close\r\n\r\n"].concat();
            close_after(if says_so { close } else { bytes })
        });
        rig.assert_plays();
        assert_eq!(rig.connections, 2);
        assert!(rig.asked.contains(&"DESCRIBE rtsp://192.0.2.7/live with log-in".to_owned()));
        let rig = Rig::run(with_login("wrong"), |req| close_after(asks("pw", &[""], &[""])(req).bytes));
        assert_eq!(
            rig.error().0,
            if rig.log_ins() == 0 { StreamErrorKind::Ended } else { StreamErrorKind::Unauthorised }
        );
    }
}

#[test]
fn a_wrong_password_is_not_tried_again_on_the_next_connection() {
    let mut camera = asks("right", &[""], &[""]);
    let mut taken = 0;
    let rig = Rig::run(with_login("wrong"), |req| {
        let reply = camera(req);
        taken += usize::from(req.has("authorization") && req.connection == 2);
        if req.method == "OPTIONS" { reply } else { close_after(reply.bytes) }
    });
    assert_eq!((rig.error().0, rig.connections, taken), (StreamErrorKind::Unauthorised, 2, 1));
}

#[test]
fn the_password_goes_in_clear_only_where_that_is_allowed() {
    let asks_basic = |req: &Req| -> Reply {
        match basic(req).as_deref() {
            Some("admin:pw") => usual(req).into(),
            _ => answer(req, "401 Unauthorized", &["WWW-Authenticate: Basic realm=\"cam\""], "").into(),
        }
    };
    let rig = Rig::run(with_login("pw"), asks_basic);
    assert_eq!((rig.error().0, rig.log_ins()), (StreamErrorKind::BasicRefused, 0));
    Rig::run(SessionSettings { allow_basic: true, ..with_login("pw") }, asks_basic).assert_plays();
    let rig = Rig::run(SessionSettings { allow_basic: true, ..with_login("wrong") }, asks_basic);
    assert_eq!((rig.error().0, rig.log_ins()), (StreamErrorKind::Unauthorised, 1));
}

#[test]
fn a_camera_that_asks_for_digest_first_and_for_basic_later_does_not_get_the_password() {
    let is_basic = |req: &Req| req.header("authorization").starts_with("Basic");
    // On the next connection, and at the next request.
    for later in [true, false] {
        let rig = Rig::run(with_login("pw"), |req| {
            assert!(!is_basic(req));
            let digest = answer(req, "401 Unauthorized", &[&challenge("")], "");
            let clear = answer(req, "401 Unauthorized", &["WWW-Authenticate: Basic realm=\"cam\""], "");
            match req.method.as_str() {
                "OPTIONS" => usual(req).into(),
                "DESCRIBE" if !req.has("authorization") => Reply { bytes: digest, closes: later },
                "DESCRIBE" if !later => usual(req).into(),
                _ => clear.into(),
            }
        });
        assert_eq!(rig.error().0, StreamErrorKind::BasicRefused);
    }
}

#[test]
fn a_camera_that_asks_for_basic_in_a_keep_alive_does_not_get_the_password() {
    let mut rig = Rig::run(with_login("pw"), |req| {
        assert!(!req.header("authorization").starts_with("Basic"));
        match req.method.as_str() {
            "GET_PARAMETER" => {
                answer(req, "401 Unauthorized", &["WWW-Authenticate: Basic realm=\"cam\""], "").into()
            }
            _ => usual(req).into(),
        }
    });
    rig.advance(Duration::from_secs(200));
    rig.assert_plays();
}

#[test]
fn without_a_user_name_the_camera_is_told_nothing() {
    let rig = Rig::run(settings(), asks("pw", &[""], &[""]));
    let text = "the camera asks for a user name and password, and none is set";
    assert_eq!(rig.error(), (StreamErrorKind::Unauthorised, text.to_owned()));
    assert!(matches!(rig.failure, Some(SessionError::Stream(_))));
    let rig = Rig::run(with_login("pw"), |req| answer(req, "401 No", &["WWW-Authenticate: NTLM"], "").into());
    assert_eq!(rig.error().1, "the camera asks for a log-in we do not know: ntlm");
}

#[test]
fn a_stale_nonce_is_exchanged_for_the_new_one() {
    let mut camera = asks("pw", &[""], &[""]);
    let rig = Rig::run(with_login("pw"), |req| match req.method.as_str() {
        "DESCRIBE" if !req.has("authorization") => {
            let old = "WWW-Authenticate: Digest realm=\"cam\", nonce=\"old\"";
            answer(req, "401 Unauthorized", &[old], "").into()
        }
        "DESCRIBE" if req.header("authorization").contains("nonce=\"old\"") => {
            let stale = challenge("").replace("FALSE", "true");
            answer(req, "401 Unauthorized", &[&stale], "").into()
        }
        _ => camera(req),
    });
    rig.assert_plays();
    let mut nonce = 0;
    let rig = Rig::run(with_login("pw"), |req| {
        nonce += 1;
        let stale = format!("WWW-Authenticate: Digest realm=\"cam\", nonce=\"{nonce}\", stale=true");
        if req.method == "OPTIONS" { usual(req).into() } else { answer(req, "401 No", &[&stale], "").into() }
    });
    assert_eq!(rig.error().0, StreamErrorKind::Unauthorised);
    assert!(rig.log_ins() <= 3);
}

#[test]
fn a_challenge_with_a_wrong_head_is_understood() {
    for change in [
        |text: String| text.replace("\r\n", "\n"),
        |text: String| text.replacen("\r\n", "\r\nThu, Jun 13 2024 04:00:59 GMT\r\n", 1),
        |text: String| text.replace("WWW-Authenticate: ", "www-authenticate : "),
    ] {
        let mut camera = asks("pw", &[""], &[""]);
        let rig = Rig::run(with_login("pw"), |req| {
            let reply = camera(req);
            let refused = reply.bytes.starts_with(b"RTSP/1.0 401");
            if refused { change(String::from_utf8(reply.bytes).unwrap()).into_bytes().into() } else { reply }
        });
        rig.assert_plays();
    }
}

#[test]
fn no_text_of_an_error_holds_the_password() {
    for camera in [
        |req: &Req| answer(req, "500 admin:hunter2@cam rtsp://admin:hunter2@cam/", &[], "").into(),
        |req: &Req| answer(req, "302 Moved", &["Location: rtsp://admin:hunter2@198.51.100.1/"], "").into(),
    ] as [fn(&Req) -> Reply; 2]
    {
        let rig = Rig::run(with_login("hunter2"), camera);
        assert!(!rig.error().1.contains("rtsp://admin:hunter2"), "{}", rig.error().1);
        assert!(!format!("{:?}", rig.session).contains("hunter2\""));
    }
}
