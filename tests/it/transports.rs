//! Each way of reaching a camera records every frame, and no password goes where it should not.

use std::{
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use watchkeeper::{
    base::Secret,
    media::{self, text::Texts},
    model::{
        address::StreamUrl,
        camera::{CameraPatch, Transport},
        pipeline::SourceSettings,
        source::SourceEvent,
        status::{Shown, StreamErrorKind},
    },
    source::{
        Sources, preflight,
        session::{Session, Use},
    },
};

use crate::{
    cameras::Via,
    rig::{Rig, Scene, id, prove},
    sim::{
        camera::{CameraSpec, Channel, Login, SimCamera},
        link::Link,
        misbehave::{Misbehaviour, Peer},
        server::{Asks, Udp},
        tls::Certificate,
    },
};

/// From an attempt to the first frame.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(15);
const SECRET: &str = "correct-horse";

fn login() -> Option<Login> {
    Some(Login { user: "admin".into(), password: SECRET.into() })
}

/// Adds a camera with this transport, reached directly: datagrams do not go through a link.
async fn add(rig: &mut Rig, spec: CameraSpec, transport: Transport, via: Via) {
    let name = spec.name.clone();
    let camera = SimCamera::start(spec).unwrap();
    let link = Link::start(camera.port()).unwrap();
    let mut given = CameraPatch {
        main_url: Some(Some(camera.url(Channel::Main))),
        transport: Some(transport),
        username: camera.login().map(|login| Some(login.user)),
        password: camera.login().map(|login| Some(Secret::new(login.password))),
        segment_seconds: Some(4),
        ..CameraPatch::default()
    };
    via.apply(&mut given);
    rig.service.add_camera(id(&name), given).await.unwrap();
    rig.scenes.insert(name, Scene { camera, link });
}

async fn recording(rig: &Rig, name: &str) {
    rig.until(name, "recording", |status| status.shown == Shown::Recording).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_transport_records_every_frame() {
    let mut rig = Rig::new().await;
    let began = Instant::now();
    let cases = [
        ("tcp", Transport::Tcp, Udp::Works),
        ("udp", Transport::Udp, Udp::Works),
        ("auto", Transport::Auto, Udp::Works),
        ("auto-refused", Transport::Auto, Udp::Refused),
        ("auto-lost", Transport::Auto, Udp::Lost),
    ];
    let certificate = Some(Certificate::new().unwrap());
    for via in [Via::Native, Via::Rtspsrc] {
        let new =
            |name: &str| CameraSpec { login: login(), ..CameraSpec::new(format!("{name}-{}", via.name())) };
        for (name, transport, udp) in cases {
            add(&mut rig, CameraSpec { udp, ..new(name) }, transport, via).await;
        }
        for (name, transport) in [("tls", Transport::Tcp), ("tls-auto", Transport::Auto)] {
            let certificate = certificate.clone();
            add(&mut rig, CameraSpec { certificate, ..new(name) }, transport, via).await;
        }
    }
    let names: Vec<String> = rig.scenes.keys().cloned().collect();
    for name in &names {
        recording(&rig, name).await;
        // So each had its first frame within the deadline of its only attempt.
        println!("{name} records after {:?}", began.elapsed());
        assert_eq!(rig.status(name).reconnects, 0, "{name}");
    }
    for name in &names {
        rig.frames_more(name, 75).await;
    }
    rig.stop().await;
    for name in &names {
        let scene = rig.scene(name);
        prove(&scene.camera, &rig.files(name));
        assert_eq!(scene.camera.max_sessions(Channel::Main), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_pinned_and_another_one_gets_nothing() {
    tokio::join!(pinned(Via::Native), pinned(Via::Rtspsrc));
}

async fn pinned(via: Via) {
    let mut rig = Rig::new().await;
    let certificate = Some(Certificate::new().unwrap());
    add(
        &mut rig,
        CameraSpec { certificate, login: login(), ..CameraSpec::new("front") },
        Transport::Tcp,
        via,
    )
    .await;
    recording(&rig, "front").await;
    let pin = || rig.service.camera(&id("front")).unwrap().camera.tls_fingerprint;
    let first = crate::wait::until("the certificate to be pinned", pin, Option::is_some).await.unwrap();
    let frames = rig.status("front").observed.frames;
    rig.until("front", "more frames", |status| status.observed.frames > frames + 50).await;
    assert_eq!(rig.status("front").reconnects, 0, "pinning interrupts nothing");

    let camera = &rig.scene("front").camera;
    camera.kill().unwrap();
    camera.set_certificate(&Certificate::new().unwrap()).unwrap();
    camera.revive().unwrap();
    let status = rig
        .until("front", "the changed certificate", |status| status.reason == Some("certificate_changed"))
        .await;
    assert_eq!(status.shown, Shown::Offline);
    let detail = status.detail.unwrap();
    assert!(detail.contains(&first) && detail.contains("tls_fingerprint"), "{detail}");
    let digits = detail.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64);
    let shown: Vec<&str> = digits.filter(|digits| *digits != first).collect();
    assert_eq!(pin().as_deref(), Some(&*first), "only the operator changes it");

    let patch = CameraPatch { tls_fingerprint: Some(None), ..CameraPatch::default() };
    rig.service.change_camera(&id("front"), patch).await.unwrap();
    recording(&rig, "front").await;
    let second = crate::wait::until("the new certificate to be pinned", pin, Option::is_some).await.unwrap();
    assert_eq!([&*second], shown[..]);
    let off = CameraPatch { record_enabled: Some(false), ..CameraPatch::default() };
    rig.service.change_camera(&id("front"), off).await.unwrap();
    let probe = rig.service.probe_camera(&id("front")).await.unwrap();
    assert_eq!(probe.certificate.as_ref(), Some(&second));
    assert!(probe.outcome.unwrap().found.video.is_some());
    rig.stop().await;
    rig.prove_parts("front");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_goes_in_clear_only_if_the_operator_says_so() {
    let mut rig = Rig::new().await;
    let basic = |name: &str| CameraSpec { login: login(), asks: Asks::Basic, ..CameraSpec::new(name) };
    rig.add(basic("basic")).await;
    rig.add(CameraSpec { asks: Asks::Both, ..basic("both") }).await;
    let certificate = Some(Certificate::new().unwrap());
    add(&mut rig, CameraSpec { certificate, ..basic("tls") }, Transport::Tcp, Via::Native).await;
    recording(&rig, "both").await;
    recording(&rig, "tls").await;
    let status = rig.until("basic", "the refusal", |status| status.reason == Some("basic_refused")).await;
    assert_eq!(status.shown, Shown::Offline);
    assert!(status.detail.as_ref().unwrap().contains("allow_basic"), "{status:?}");
    rig.frames_more("both", 50).await;
    // The proof is what the cables carried.
    let said = |name: &str| rig.scene(name).link.said();
    assert!(
        said("basic").contains("DESCRIBE") && !said("basic").contains("Authorization"),
        "{}",
        said("basic")
    );
    assert!(
        said("both").contains("PLAY") && said("both").contains("Authorization: Digest"),
        "{}",
        said("both")
    );
    assert!(!said("both").contains("Basic"), "{}", said("both"));

    let patch = CameraPatch { allow_basic: Some(true), ..CameraPatch::default() };
    rig.service.change_camera(&id("basic"), patch).await.unwrap();
    recording(&rig, "basic").await;
    assert!(said("basic").contains("Authorization: Basic"));
    rig.stop().await;
    for name in ["basic", "both", "tls"] {
        rig.prove(name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_talks_to_no_other_certificate() {
    media::init().unwrap();
    let certificate = Some(Certificate::new().unwrap());
    let spec = CameraSpec { certificate, login: login(), ..CameraSpec::new("front") };
    let camera = SimCamera::start(spec).unwrap();
    let settings = SourceSettings {
        username: Some("admin".into()),
        password: Some(Secret::new(SECRET)),
        tls_fingerprint: Some("00".repeat(32)),
        ..SourceSettings::new(StreamUrl::parse(&camera.url(Channel::Main)).unwrap())
    };
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let events = move |event| {
        if let SourceEvent::Lost(lost) = event {
            tell.lock().unwrap().send(lost).unwrap();
        }
    };
    let sources = Sources::new(Texts::default()).unwrap();
    let session = Session::open(&sources, settings, Use::Look("test".into()), events).unwrap();
    let lost = told.recv_timeout(FIRST_FRAME_WITHIN).unwrap();
    session.close();
    assert_eq!(lost.kind, StreamErrorKind::CertificateChanged, "{lost:?}");
    assert_eq!(camera.max_sessions(Channel::Main), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rtspsrc_has_no_password_for_a_camera_that_asks_for_none() {
    let mut rig = Rig::new().await;
    rig.add(CameraSpec::new("open")).await;
    let patch = CameraPatch {
        username: Some(Some("admin".into())),
        password: Some(Some(Secret::new(SECRET))),
        ..CameraPatch::default()
    };
    rig.service.change_camera(&id("open"), patch).await.unwrap();
    recording(&rig, "open").await;
    rig.stop().await;
    assert!(!rig.scene("open").link.said().contains("Authorization"));
    rig.prove_parts("open");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_tls_is_told_apart_and_keeps_no_thread() {
    media::init().unwrap();
    let cases = [
        (Misbehaviour::NeverAnswers, StreamErrorKind::Silent),
        (Misbehaviour::ClosesOnAccept, StreamErrorKind::Protocol),
    ];
    for (misbehaviour, loss) in cases {
        let peer = Peer::start(misbehaviour).unwrap();
        let url = StreamUrl::parse(&peer.url().replace("rtsp://", "rtsps://")).unwrap();
        let settings = SourceSettings::new(url);
        let began = Instant::now();
        assert_eq!(preflight::describe(&settings).await.unwrap_err().kind, loss);
        assert!(began.elapsed() < FIRST_FRAME_WITHIN, "{:?}", began.elapsed());
    }
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "tls").count()
    };
    crate::wait::until("the threads to end", threads, |left| *left == 0).await;
}
