//! Describing, setting up and playing, as cameras do it (CAMERAS.md, C27 to C36).

use proptest::{collection::vec, prelude::*};

use super::*;

fn replaced(bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

/// Changes the head of an answer line by line.
fn lines(bytes: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let lines: Vec<String> = head
        .split("\r\n")
        .enumerate()
        .map(|(n, line)| if n == 0 { line.to_owned() } else { change(line) })
        .collect();
    [lines.join("\r\n").as_bytes(), &bytes[end..]].concat()
}

#[test]
fn a_usual_camera_is_described_set_up_and_played() {
    let mut rig = Rig::run(SessionSettings { audio: true, ..settings() }, |req| {
        described(req, &format!("{VIDEO}{AUDIO}")).into()
    });
    rig.assert_plays();
    assert_eq!(
        rig.asked,
        [
            "OPTIONS rtsp://192.0.2.7/live",
            "DESCRIBE rtsp://192.0.2.7/live",
            "SETUP rtsp://192.0.2.7/live/trackID=1",
            "SETUP rtsp://192.0.2.7/live/trackID=2",
            "PLAY rtsp://192.0.2.7/live/",
        ]
    );
    let description = &rig.descriptions[..];
    let expected = Description {
        url: StreamUrl::parse(URL).unwrap(),
        codec: Codec::H264,
        audio: Some(AudioCodec::Pcmu),
        audio_offered: vec!["PCMU".to_owned()],
        log_in: false,
    };
    assert_eq!(description, [expected]);
    rig.session.stop(rig.now);
    rig.drive();
    assert_eq!(rig.asked.last().unwrap(), "TEARDOWN rtsp://192.0.2.7/live/");
    assert_eq!((rig.session.next_timeout(), rig.ended, rig.failure), (None, false, None));
}

#[test]
fn requests_carry_what_cameras_need() {
    let rig = Rig::run(SessionSettings { audio: true, ..settings() }, |req| {
        assert_eq!(req.header("user-agent"), "Test/1");
        assert!(!req.has("content-length") && !req.has("require"));
        match req.method.as_str() {
            "DESCRIBE" => assert_eq!(req.header("accept"), "application/sdp"),
            "SETUP" if req.uri.ends_with('1') => {
                assert_eq!(req.header("transport"), "RTP/AVP/TCP;unicast;interleaved=0-1");
                assert!(!req.has("session"));
            }
            "SETUP" => {
                assert_eq!(req.header("transport"), "RTP/AVP/TCP;unicast;interleaved=2-3");
                assert_eq!(req.header("session"), "12345678");
            }
            "PLAY" => {
                assert_eq!(
                    (req.header("session"), req.header("range")),
                    ("12345678".into(), "npt=0.000-".into())
                );
            }
            _ => {}
        }
        described(req, &format!("{VIDEO}{AUDIO}")).into()
    });
    rig.assert_plays();
}

#[test]
fn heads_that_are_not_quite_right_are_understood() {
    type Change = fn(&Req, Vec<u8>) -> Vec<u8>;
    let cases: [(&str, Change); 12] = [
        ("a line without a name", |_, out| {
            replaced(out, b"\r\nCSeq", b"\r\nThu, Jun 13 2024 04:00:59 GMT\r\nCSeq")
        }),
        ("a line of one blank", |_, out| replaced(out, b"\r\nCSeq", b"\r\nServer: x\r\n \r\nCSeq")),
        ("bare LF", |_, out| {
            let end = out.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            [replaced(out[..end].to_vec(), b"\r\n", b"\n"), out[end..].to_vec()].concat()
        }),
        ("another encoding", |_, out| {
            replaced(out, b"\r\nCSeq", b"\r\nServer: \xba\xa3\xbf\xb5/1.0\r\nCSeq")
        }),
        ("blanks after values", |_, out| lines(&out, |line| format!("{line} "))),
        ("blanks before colons", |_, out| lines(&out, |line| line.replacen(": ", " : ", 1))),
        ("lower case", |_, out| {
            lines(&out, |line| {
                let (name, value) = line.split_once(':').unwrap();
                format!("{} :  {value}  ", name.to_lowercase())
            })
        }),
        ("Content-length", |_, out| replaced(out, b"Content-Length", b"Content-length")),
        ("no reason", |_, out| replaced(out, b"200 OK", b"200")),
        ("a name alone", |_, out| replaced(out, b"\r\nCSeq", b"\r\nServer\r\nCSeq")),
        ("no CSeq", |req, out| replaced(out, format!("\r\nCSeq: {}", req.header("cseq")).as_bytes(), b"")),
        ("always the same CSeq", |req, out| {
            replaced(out, format!("\r\nCSeq: {}", req.header("cseq")).as_bytes(), b"\r\nCSeq: 1")
        }),
    ];
    for (name, change) in cases {
        let rig = Rig::run(settings(), |req| change(req, usual(req)).into());
        assert!(rig.playing, "{name}: {:?} {:?}", rig.failure, rig.asked);
        rig.assert_plays();
    }
}

#[test]
fn options_may_be_refused_ignored_or_end_the_connection() {
    let options = |status: &'static str| {
        move |req: &Req| -> Reply {
            match (req.method.as_str(), status) {
                ("OPTIONS", "") => Vec::new().into(),
                ("OPTIONS", "closed") => close_after(Vec::new()),
                ("OPTIONS", status) => answer(req, status, &[], "").into(),
                _ => usual(req).into(),
            }
        }
    };
    for status in ["501 Not Implemented", "405 Method Not Allowed", "401 Unauthorized", "closed"] {
        Rig::run(settings(), options(status)).assert_plays();
    }
    let mut rig = Rig::run(settings(), options(""));
    rig.advance(Duration::from_secs(4));
    rig.assert_plays();
}

#[test]
fn a_late_answer_to_options_is_not_taken_for_that_to_describe() {
    for named in [true, false] {
        let mut rig = Rig::run(settings(), |req| match req.method.as_str() {
            "OPTIONS" => Vec::new().into(),
            "DESCRIBE" => {
                let late = format!(
                    "RTSP/1.0 200 OK\r\n{}Public: {PUBLIC}\r\n\r\n",
                    if named { "CSeq: 1\r\n" } else { "" }
                );
                [late.into_bytes(), usual(req)].concat().into()
            }
            _ => usual(req).into(),
        });
        rig.advance(Duration::from_secs(4));
        rig.assert_plays();
    }
}

#[test]
fn controls_are_asked_for_as_the_camera_writes_them() {
    let changed = |base: &'static str, session: &'static str, media: &'static str| {
        let rig = Rig::run(settings(), move |req| {
            let out = String::from_utf8_lossy(&usual(req)).into_owned();
            if req.method != "DESCRIBE" {
                return usual(req).into();
            }
            let body = out
                .split_once("\r\n\r\n")
                .unwrap()
                .1
                .replace("a=control:*\r\n", session)
                .replace("a=control:trackID=1\r\n", media);
            answer(req, "200 OK", &[base, "Content-Type: application/sdp"], &body).into()
        });
        rig.assert_plays();
        assert_eq!((rig.connections, rig.methods().len()), (1, 4), "{:?}", rig.asked);
        rig.asked[2..].iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let own = "rtsp://192.0.2.7/live";
    assert_eq!(changed("X: 1", "", "a=control:trackID=0\r\n"), [format!("{own}/trackID=0"), own.to_owned()]);
    assert_eq!(changed("X: 1", "", ""), [own, own]);
    assert_eq!(changed("Content-Base: rtsp://192.0.2.7/live/", "", ""), [own, "rtsp://192.0.2.7/live/"]);
    // Hikvision: with a slash; Axis: another host, without the port, with a query; NAT: the address behind it.
    for base in ["rtsp://192.0.2.7/live/", "rtsp://LOCALHOST/live", "rtsp://192.168.1.64:554/live/"] {
        let session = format!("a=control:{base}\r\n").leak();
        let media = format!("a=control:{}/trackID=1\r\n", base.trim_end_matches('/')).leak();
        assert_eq!(
            changed("X: 1", session, media),
            [format!("{}/trackID=1", base.trim_end_matches('/')), base.to_owned()]
        );
        assert_eq!(changed("X: 1", session, "a=control:trackID=1\r\n")[1], base);
    }
    let axis = "rtsp://127.0.0.1:8554/axis-media/media.amp";
    let query = changed(
        "Content-Base: rtsp://127.0.0.1:8554/axis-media/media.amp/",
        "a=control:rtsp://127.0.0.1:8554/axis-media/media.amp?Axis-Orig-Sw=true\r\n",
        "a=control:rtsp://127.0.0.1:8554/axis-media/media.amp/trackID=1?Axis-Orig-Sw=true\r\n",
    );
    assert_eq!(query, [format!("{axis}/trackID=1?Axis-Orig-Sw=true"), format!("{axis}?Axis-Orig-Sw=true")]);
}

#[test]
fn a_camera_that_plays_only_under_its_url_is_asked_again() {
    let rig = Rig::run(settings(), |req| match req.method.as_str() {
        "PLAY" if req.uri.ends_with('/') => answer(req, "404 Not Found", &[], "").into(),
        _ => usual(req).into(),
    });
    rig.assert_plays();
    let rig = Rig::run(settings(), |req| match req.method.as_str() {
        "PLAY" => answer(req, "454 Session Not Found", &[], "").into(),
        _ => usual(req).into(),
    });
    assert_eq!(rig.error().0, StreamErrorKind::NoSuchStream);
    assert_eq!(rig.methods().iter().filter(|method| **method == "PLAY").count(), 2);
}

#[test]
fn a_description_is_used_although_its_length_is_wrong() {
    let with_length = |change: fn(usize) -> String| {
        move |req: &Req| -> Reply {
            let out = usual(req);
            if req.method != "DESCRIBE" {
                return out.into();
            }
            let body = out.len() - out.windows(4).position(|four| four == b"\r\n\r\n").unwrap() - 4;
            replaced(out, format!("\r\nContent-Length: {body}").as_bytes(), change(body).as_bytes()).into()
        }
    };
    for change in
        [(|length| format!("\r\nContent-Length: {}", length + 2)) as fn(usize) -> String, |_| String::new()]
    {
        let mut rig = Rig::run(settings(), with_length(change));
        assert!(!rig.playing);
        rig.advance(Duration::from_millis(1100));
        rig.assert_plays();
    }
    // Closed behind it.
    let rig = Rig::run(settings(), |req| match req.method.as_str() {
        "DESCRIBE" => {
            close_after(answer(req, "200 OK", &["Content-Length: 9000"], "m=video 0 RTP/AVP 26\r\n"))
        }
        _ => usual(req).into(),
    });
    assert_eq!(rig.error().0, StreamErrorKind::UnsupportedCodec);
}

#[test]
fn answers_without_bounds_are_refused() {
    let huge = |req: &Req| -> Reply {
        match req.method.as_str() {
            "DESCRIBE" => answer(req, "200 OK", &["Content-Length: 10000000"], "").into(),
            _ => usual(req).into(),
        }
    };
    let absurd = (StreamErrorKind::Protocol, "the camera announces an answer of absurd size".to_owned());
    assert_eq!(Rig::run(settings(), huge).error(), absurd);
    let endless = |req: &Req| -> Reply {
        match req.method.as_str() {
            "DESCRIBE" => [&b"RTSP/1.0 200 OK\r\n"[..], &b"X: y\r\n".repeat(20_000)].concat().into(),
            _ => usual(req).into(),
        }
    };
    assert_eq!(Rig::run(settings(), endless).error(), absurd);
    let many = |req: &Req| -> Reply {
        match req.method.as_str() {
            "DESCRIBE" => answer(req, "200 OK", &[], &"m=audio 0 RTP/AVP 0\r\n".repeat(10_000)).into(),
            _ => usual(req).into(),
        }
    };
    assert_eq!(Rig::run(settings(), many).error().0, StreamErrorKind::UnsupportedCodec);
}

#[test]
fn what_cannot_be_recorded_is_named() {
    let offered = |media: &'static str| Rig::run(settings(), move |req| described(req, media).into()).error();
    let (kind, detail) = offered("m=video 0 RTP/AVP 26\r\na=control:t\r\n");
    assert_eq!(kind, StreamErrorKind::UnsupportedCodec);
    assert_eq!(detail, "the stream offers JPEG; only H.264 and H.265 can be recorded");
    assert_eq!(offered(AUDIO).1, "the stream offers no video; only H.264 and H.265 can be recorded");
    let rig = Rig::run(settings(), |req| described(req, &VIDEO.replace("RTP/AVP", "RTP/SAVP")).into());
    assert!(matches!(rig.failure, Some(SessionError::Unsupported(_))), "{:?}", rig.failure);
    let rig = Rig::run(settings(), |req| match req.method.as_str() {
        "DESCRIBE" => answer(req, "200 OK", &[], "").into(),
        _ => usual(req).into(),
    });
    assert_eq!(rig.error().1, "the camera answers DESCRIBE without a description of the stream");
}

#[test]
fn refusals_have_their_kinds() {
    for (status, kind) in [
        ("404 Not Found", StreamErrorKind::NoSuchStream),
        ("410 Gone", StreamErrorKind::NoSuchStream),
        ("403 Forbidden", StreamErrorKind::Forbidden),
        ("453 Not Enough Bandwidth", StreamErrorKind::Protocol),
        ("503 Service Unavailable", StreamErrorKind::Protocol),
    ] {
        for method in ["DESCRIBE", "SETUP", "PLAY"] {
            let rig = Rig::run(settings(), |req| {
                if req.method == method { answer(req, status, &[], "").into() } else { usual(req).into() }
            });
            assert_eq!(rig.error().0, kind, "{method} {status}");
        }
    }
    let rig = Rig::run(settings(), |req| match req.method.as_str() {
        "DESCRIBE" => answer(req, "500 at rtsp://admin:secret@192.0.2.7/x", &[], "").into(),
        _ => usual(req).into(),
    });
    assert_eq!(rig.error().1, "the camera answers DESCRIBE with 500 at rtsp://***@192.0.2.7/x");
}

#[test]
fn one_redirect_on_the_same_host_is_followed() {
    let to = |location: &'static str| {
        Rig::run(settings(), move |req| match req.method.as_str() {
            "DESCRIBE" if !req.uri.ends_with("/moved") => {
                answer(req, "302 Moved", &[&format!("Location: {location}")], "").into()
            }
            _ => usual(req).into(),
        })
    };
    let rig = to("rtsp://192.0.2.7:8554/moved");
    rig.assert_plays();
    assert_eq!((rig.connections, rig.descriptions[0].url.as_str()), (2, "rtsp://192.0.2.7:8554/moved"));
    for location in ["rtsp://198.51.100.1/moved", "rtsps://192.0.2.7/moved", "", "rtsp://192.0.2.7/live"] {
        assert_eq!(to(location).error().0, StreamErrorKind::Redirected, "{location}");
    }
    let rig = to("rtsp://192.0.2.7/other");
    assert_eq!((rig.error().0, rig.connections), (StreamErrorKind::Redirected, 2));
}

#[test]
fn back_channels_are_never_set_up() {
    let talk = "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:talk\r\na=sendonly\r\n";
    let with_audio = |media: String| {
        Rig::run(SessionSettings { audio: true, ..settings() }, move |req| described(req, &media).into())
    };
    for media in
        [format!("{VIDEO}{talk}{AUDIO}"), format!("{VIDEO}{AUDIO}{talk}"), format!("{talk}{VIDEO}{AUDIO}")]
    {
        let rig = with_audio(media);
        assert_eq!(rig.asked.iter().filter(|line| line.contains("trackID=2")).count(), 1);
        assert!(!rig.asked.iter().any(|line| line.contains("talk")));
        rig.assert_plays();
    }
    let rig = with_audio(format!("{VIDEO}{talk}"));
    assert_eq!((rig.descriptions[0].audio, rig.descriptions[0].audio_offered.len()), (None, 0));
    rig.assert_plays();
}

#[test]
fn sound_that_is_refused_costs_no_picture() {
    let settings = SessionSettings { audio: true, ..settings() };
    let rig = Rig::run(settings, |req| match req.method.as_str() {
        "SETUP" if req.uri.ends_with("trackID=2") => answer(req, "500 Internal Error", &[], "").into(),
        _ => described(req, &format!("{VIDEO}{AUDIO}")).into(),
    });
    rig.assert_plays();
}

#[test]
fn odd_media_do_not_keep_the_video_from_being_set_up() {
    for media in [
        format!("{VIDEO}m=audio 0 RTP/AVP (null)\r\na=rtpmap\r\na=control:track=2\r\n"),
        format!("{VIDEO}\0"),
        format!("m=application 0 RTP/AVP 107\r\na=control:meta\r\n{}", VIDEO.replace("96\r\n", "26 96\r\n")),
    ] {
        let rig =
            Rig::run(SessionSettings { audio: true, ..settings() }, |req| described(req, &media).into());
        rig.assert_plays();
    }
}

#[test]
fn a_recording_is_asked_for_by_its_times() {
    let range = Range {
        from: crate::base::WallUs(1_767_323_045_678_900),
        to: crate::base::WallUs(1_767_323_105_000_001),
    };
    let rig = Rig::run(SessionSettings { replay: Some(range), ..settings() }, |req| {
        let required = matches!(req.method.as_str(), "DESCRIBE" | "SETUP" | "PLAY");
        assert_eq!(req.header("require"), if required { "onvif-replay" } else { "" }, "{}", req.method);
        if req.method == "PLAY" {
            assert_eq!(req.header("range"), "clock=20260102T030405.678Z-20260102T030505.001Z");
            assert_eq!(req.header("rate-control"), "no");
        }
        usual(req).into()
    });
    rig.assert_plays();
}

#[test]
fn a_silent_camera_and_another_server_are_told_apart() {
    let mut rig =
        Rig::run(
            settings(),
            |req| if req.method == "DESCRIBE" { Vec::new().into() } else { usual(req).into() },
        );
    rig.advance(Duration::from_secs(11));
    let silent = "the camera accepts the connection but does not answer DESCRIBE";
    assert_eq!(rig.error(), (StreamErrorKind::Silent, silent.to_owned()));
    let rig = Rig::run(settings(), |_| close_after(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    assert_eq!(rig.error(), (StreamErrorKind::Protocol, "what answers there does not speak RTSP".to_owned()));
    let rig = Rig::run(settings(), |_| vec![7; 5000].into());
    assert_eq!(rig.error().0, StreamErrorKind::Protocol);
    let rig =
        Rig::run(
            settings(),
            |req| if req.method == "SETUP" { close_after(Vec::new()) } else { usual(req).into() },
        );
    assert_eq!(
        rig.error(),
        (StreamErrorKind::Ended, "the camera closed the connection instead of answering".to_owned())
    );
}

/// All bytes that a camera sends to one session, whose requests have known numbers.
fn transcript() -> Vec<u8> {
    let mut all = Vec::new();
    Rig::run(settings(), |req| {
        let bytes = usual(req);
        all.extend_from_slice(&bytes);
        bytes.into()
    });
    let noise = b"\r\nSET_PARAMETER rtsp://h/ RTSP/1.0\r\nCSeq: 4\r\n\r\n stray $ bytes".to_vec();
    [all, noise, video(0, 5), video(0, 6), b"OPTIONS * RTSP/1.0\nCSeq: 9\n\n".to_vec()].concat()
}

/// Feeds bytes that are cut at these places; gives what came out.
fn outputs(bytes: &[u8], cuts: &[usize]) -> (Vec<String>, SessionFacts) {
    let now = Instant::now();
    let mut session = Session::new(settings(), now);
    session.connected(now);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut begin = 0;
    let mut out = Vec::new();
    for end in cuts {
        begin += session.input(&bytes[begin..end], now);
        let control =
            std::iter::from_fn(|| session.poll()).filter(|output| !matches!(output, Output::Video(_)));
        out.extend(control.map(|output| match output {
            Output::Send(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => format!("{other:?}"),
        }));
    }
    (out, session.facts())
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_changes_nothing(cuts in vec(any::<usize>(), 0..50)) {
        let bytes = transcript();
        let whole = outputs(&bytes, &[]);
        prop_assert!(whole.0.contains(&"Playing".to_owned()) && whole.1.packets == 7);
        prop_assert_eq!(outputs(&bytes, &cuts), whole);
    }

    #[test]
    fn no_bytes_panic_or_make_a_session_spin(bytes in vec(any::<u8>(), 0..400), cuts in vec(any::<usize>(), 0..5),
                                             changes in vec((any::<usize>(), any::<u8>()), 0..40), seconds in 0u64..200) {
        outputs(&bytes, &cuts);
        let mut changed = transcript();
        for (at, byte) in changes {
            let at = at % changed.len();
            changed[at] = byte;
        }
        let now = Instant::now();
        let mut session = Session::new(SessionSettings { audio: true, ..with_login("pw") }, now);
        session.connected(now);
        session.input(&changed, now);
        session.disconnected(now, None);
        session.connected(now);
        session.input(&[&changed[..], &bytes].concat(), now);
        for second in 0..seconds {
            session.timeout(now + Duration::from_secs(second));
            session.flush(now + Duration::from_secs(second));
        }
        session.stop(now);
        prop_assert!(std::iter::from_fn(|| session.poll()).count() < 1000);
    }
}
