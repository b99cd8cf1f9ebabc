//! TCP, UDP and channels (CAMERAS.md, C28; ACCESS.md, F11).

use super::*;

fn over(transport: Transport) -> SessionSettings {
    SessionSettings { transport, ..settings() }
}

fn refuses(req: &Req, kind: &str) -> Reply {
    if req.method == "SETUP" && req.header("transport").contains(kind) {
        answer(req, "461 Unsupported Transport", &[], "").into()
    } else {
        usual(req).into()
    }
}

/// A packet as it comes in a datagram.
fn packet(sequence: u16) -> Vec<u8> {
    video(0, sequence)[4..].to_vec()
}

#[test]
fn other_channels_and_none_are_understood() {
    for (transport, channel) in [
        ("RTP/AVP/TCP;unicast;interleaved=4-5", 4),
        ("RTP/AVP/TCP;unicast;interleaved=8-9;ssrc=4317f", 8),
        ("RTP/AVP/TCP;unicast", 0),
        ("RTP/AVP/TCP;unicast", 6),
        ("", 0),
    ] {
        let rig = Rig::run(settings(), |req| match req.method.as_str() {
            "SETUP" => {
                let line = format!("Transport: {transport}");
                let headers: &[&str] =
                    if transport.is_empty() { &["Session: 1"] } else { &["Session: 1", &line] };
                answer(req, "200 OK", headers, "").into()
            }
            "PLAY" => [answer(req, "200 OK", &[], ""), (0..5).flat_map(|n| video(channel, n)).collect()]
                .concat()
                .into(),
            _ => usual(req).into(),
        });
        rig.assert_plays();
    }
}

#[test]
fn frames_before_the_answer_to_play_are_taken() {
    let rig = Rig::run(settings(), |req| match req.method.as_str() {
        "PLAY" => {
            [(0..5).flat_map(|n| video(0, n)).collect(), answer(req, "200 OK", &[], "")].concat().into()
        }
        _ => usual(req).into(),
    });
    rig.assert_plays();
}

#[test]
fn datagrams_go_to_the_camera_and_nowhere_else() {
    let mut rig =
        Rig::run(SessionSettings { audio: true, ..over(Transport::Udp) }, |req| match req.method.as_str() {
            "SETUP" => {
                let transport = format!(
                    "Transport: {};server_port=6000-6001;source=198.51.100.9;destination=198.51.100.8",
                    req.header("transport")
                );
                answer(req, "200 OK", &["Session: 12345678", &transport], "").into()
            }
            "PLAY" => answer(req, "200 OK", &[], "").into(),
            _ => described(req, &format!("{VIDEO}{AUDIO}")).into(),
        });
    assert!(rig.playing);
    assert_eq!(
        rig.datagrams,
        [
            "ports 0",
            "rtp 0 to 6000, 12 bytes",
            "rtcp 0 to 6001, 8 bytes",
            "ports 1",
            "rtp 1 to 6000, 12 bytes",
            "rtcp 1 to 6001, 8 bytes"
        ]
    );
    assert!(rig.session.facts().delivery == Delivery::Datagrams && rig.connections == 1);
    rig.session.datagram(0, false, &packet(1), rig.now);
    rig.session.datagram(7, false, &packet(1), rig.now);
    assert_eq!(rig.session.facts().packets, 1);
    rig.advance(Duration::from_secs(20));
    assert!(rig.failure.is_none());
}

#[test]
fn a_camera_that_answers_with_tcp_where_udp_was_asked_for_is_understood() {
    let rig = Rig::run(over(Transport::Udp), |req| match req.method.as_str() {
        "SETUP" => {
            answer(req, "200 OK", &["Session: 1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"], "")
                .into()
        }
        _ => usual(req).into(),
    });
    rig.assert_plays();
    assert_eq!(rig.session.facts().delivery, Delivery::Stream);
}

#[test]
fn auto_takes_tcp_where_udp_is_refused() {
    let rig = Rig::run(over(Transport::Auto), |req| refuses(req, "client_port"));
    rig.assert_plays();
    assert_eq!((rig.connections, rig.descriptions.len()), (2, 1));
    let rig = Rig::run(over(Transport::Auto), |req| refuses(req, "unicast"));
    assert_eq!((rig.error().0, rig.connections), (StreamErrorKind::TransportRefused, 2));
}

#[test]
fn auto_takes_tcp_where_no_datagram_gets_through() {
    let udp_is_lost = |req: &Req| -> Reply {
        match req.method.as_str() {
            "PLAY" if req.connection == 1 => answer(req, "200 OK", &[], "").into(),
            _ => usual(req).into(),
        }
    };
    let mut rig = Rig::run(over(Transport::Auto), udp_is_lost);
    rig.advance(Duration::from_millis(4900));
    assert_eq!(rig.connections, 1);
    rig.advance(Duration::from_millis(200));
    rig.assert_plays();
    assert_eq!(rig.connections, 2);
    assert_eq!(rig.asked[4], "TEARDOWN rtsp://192.0.2.7/live/");
    let mut rig = Rig::run(over(Transport::Auto), udp_is_lost);
    rig.session.datagram(0, false, &packet(1), rig.now);
    rig.advance(Duration::from_secs(10));
    assert_eq!(rig.connections, 1);
}

#[test]
fn a_refused_transport_is_named() {
    let (kind, detail) = Rig::run(over(Transport::Tcp), |req| refuses(req, "interleaved")).error();
    assert_eq!(kind, StreamErrorKind::TransportRefused);
    assert!(detail.contains("TCP") && kind.remedy().contains("udp"), "{detail}");
    let (_, detail) = Rig::run(over(Transport::Udp), |req| refuses(req, "client_port")).error();
    assert!(detail.contains("UDP") && kind.remedy().contains("tcp"), "{detail}");
}

#[test]
fn through_tls_rtp_comes_in_the_connection() {
    for url in ["rtsps://192.0.2.7/live", "rtspt://192.0.2.7/live"] {
        let settings = SessionSettings { url: StreamUrl::parse(url).unwrap(), ..over(Transport::Auto) };
        assert_eq!(Session::new(settings, Instant::now()).facts().delivery, Delivery::Stream);
    }
}
