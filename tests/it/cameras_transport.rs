//! Cameras over datagrams, cameras that refuse a transport, and cameras that point at other hosts.

use std::net::{Ipv4Addr, UdpSocket};

use watchkeeper::model::camera::Transport;

use crate::{
    cameras::{Case, Expect, PICTURES, Rtspsrc, Via, patch, record},
    rig::{Rig, id},
    sim::{
        misbehave::{Misbehaviour, Peer},
        scripted::{ScriptedCamera, ScriptedSpec, quirk::Quirk},
    },
    wait,
};

/// Another host than the cameras.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn udp(name: &str, quirks: &[Quirk]) -> Case {
    Case::exact(ScriptedSpec::with(name, quirks)).given(|patch| patch.transport = Some(Transport::Udp))
}

fn auto(name: &str, quirk: Quirk) -> Case {
    Case::exact(ScriptedSpec::with(name, [quirk])).given(|patch| patch.transport = Some(Transport::Auto))
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_put_in_order_and_only_what_was_lost_is_missing() {
    let paced = ScriptedSpec { paced: true, ..ScriptedSpec::new("udp-paced") };
    let cases = vec![
        udp("udp", &[]),
        Case::exact(paced).given(|patch| patch.transport = Some(Transport::Udp)),
        udp("udp-reorders", &[Quirk::ReordersDatagrams]),
        udp("udp-doubles", &[Quirk::DoublesDatagrams]),
        udp("udp-loses", &[Quirk::LosesDatagrams(10)]).expecting(Expect::UndamagedGroups),
        auto("auto-refuses-udp", Quirk::RefusesUdp),
        auto("auto-refuses-tcp", Quirk::RefusesTcp),
    ];
    record(cases, 2 * PICTURES).await;
}

/// As VLC's server does.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_refuses_tcp_is_said_to_want_udp() {
    for via in Via::tested(Rtspsrc::Fails("\"unsupported codec\"")) {
        let rig = Rig::new().await;
        let camera = ScriptedCamera::start(ScriptedSpec::with("front", [Quirk::RefusesTcp])).unwrap();
        let mut given = patch(camera.spec(), camera.url(), via);
        given.transport = Some(Transport::Tcp);
        rig.service.add_camera(id("front"), given).await.unwrap();
        let said = |text: &Option<String>| {
            text.as_ref().is_some_and(|text| text.contains("TCP") && text.to_lowercase().contains("udp"))
        };
        rig.until("front", "the refusal", |status| said(&status.detail)).await;
        rig.stop().await;
    }
}

/// ACCESS.md F11.
#[tokio::test(flavor = "multi_thread")]
async fn no_packet_goes_to_another_host_that_a_camera_names() {
    for via in Via::tested(Rtspsrc::Fails("sends four datagrams to any host")) {
        let traps = [(); 2].map(|()| UdpSocket::bind((ELSEWHERE, 0)).unwrap());
        let rig = Rig::new().await;
        let mut cameras = Vec::new();
        for (name, transport) in [("udp", Transport::Udp), ("auto", Transport::Auto)] {
            let quirk = Quirk::SourceElsewhere(traps[0].local_addr().unwrap());
            let camera = ScriptedCamera::start(ScriptedSpec::with(name, [quirk])).unwrap();
            let mut given = patch(camera.spec(), camera.url(), via);
            given.transport = Some(transport);
            rig.service.add_camera(id(name), given).await.unwrap();
            cameras.push(camera);
        }
        for camera in &cameras {
            let set_up = || camera.requests().iter().filter(|request| request.method == "SETUP").count();
            wait::until("SETUP", set_up, |count| *count > 0).await;
            rig.until(camera.name(), "what comes of it", |status| {
                status.reason.is_some() || status.observed.frames > 50
            })
            .await;
        }
        rig.stop().await;
        for trap in traps {
            trap.set_nonblocking(true).unwrap();
            assert!(trap.recv_from(&mut [0; 2000]).is_err(), "another host got a packet");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_host_is_said_and_not_followed() {
    for via in Via::tested(Rtspsrc::Passes) {
        let rig = Rig::new().await;
        let trap = Peer::start_on(ELSEWHERE.into(), Misbehaviour::NotFound).unwrap();
        let camera =
            ScriptedCamera::start(ScriptedSpec::with("front", [Quirk::RedirectsTo(trap.url())])).unwrap();
        rig.service.add_camera(id("front"), patch(camera.spec(), camera.url(), via)).await.unwrap();
        rig.until("front", "the redirect", |status| status.reason == Some("redirected")).await;
        rig.stop().await;
        assert_eq!(trap.connections(), 0);
    }
}
