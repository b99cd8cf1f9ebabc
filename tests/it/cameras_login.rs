//! Cameras that ask for a password in their own ways: logged in to at once, with few tries, and never in clear.

use std::time::{Duration, Instant};

use crate::{
    cameras::{Case, Expect, PICTURES, Recorded, Rtspsrc, Via, patch, record},
    rig::{Rig, id},
    sim::scripted::{
        ScriptedCamera, ScriptedSpec,
        login::{Algorithm, LoginOffer},
        quirk::Quirk,
    },
    wait,
};

use Algorithm::{Md5, Md5Session, Sha256, Sha256Session};

const CLOSES: &str = "never logs in where the 401 closes the connection";
const SHA256: &str = "answers SHA-256 with MD5";
const NAMES: &str = "user names with quotes, backslashes or other letters than ASCII";

fn offer(offers: &[Algorithm]) -> LoginOffer {
    LoginOffer::with("admin", "p ss:w/rd", offers)
}

fn asks(name: &str, login: LoginOffer) -> ScriptedSpec {
    ScriptedSpec { login: Some(login), ..ScriptedSpec::new(name) }
}

fn asks_with(name: &str, quirk: Quirk) -> ScriptedSpec {
    ScriptedSpec { quirks: vec![quirk], ..asks(name, offer(&[Md5])) }
}

/// At most one log-in by the wrong hash.
fn few_log_ins(recorded: &Recorded<'_>) -> Result<(), String> {
    match recorded.camera.refused_log_ins() {
        0 | 1 => Ok(()),
        refused => Err(format!("{refused} log-ins were refused")),
    }
}

fn no_refused_log_in(recorded: &Recorded<'_>) -> Result<(), String> {
    match recorded.camera.refused_log_ins() {
        0 => Ok(()),
        refused => Err(format!("{refused} log-ins were refused")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_asking_for_a_password_is_answered() {
    let both_takes_md5 = LoginOffer { takes: vec![Md5], ..offer(&[Sha256, Md5]) };
    let with_qop = |offers: &[Algorithm]| LoginOffer { qop: true, ..offer(offers) };
    let mut cases = vec![
        // C1
        Case::exact(asks_with("closes", Quirk::ClosesWith401)).fails_with_rtspsrc(CLOSES),
        Case::exact(asks_with("closes-says", Quirk::SaysConnectionClose)).fails_with_rtspsrc(CLOSES),
        // C2
        Case::exact(asks("sha", offer(&[Sha256]))).fails_with_rtspsrc(SHA256),
        Case::exact(asks("sha-qop", with_qop(&[Sha256]))).fails_with_rtspsrc(SHA256),
        // C3
        Case::exact(asks("sha-md5", offer(&[Sha256, Md5]))).fails_with_rtspsrc(SHA256),
        Case::exact(asks("md5-sha", offer(&[Md5, Sha256]))),
        Case::exact(asks("sha-md5-qop", with_qop(&[Sha256, Md5]))),
        Case::exact(asks("md5", offer(&[Md5]))),
        Case::exact(asks("md5-qop", with_qop(&[Md5]))),
        Case::exact(asks("md5-sess-qop", with_qop(&[Md5Session]))).fails_with_rtspsrc("knows no MD5-sess"),
        Case::exact(asks("sha-sess-qop", with_qop(&[Sha256Session]))).fails_with_rtspsrc(SHA256),
        Case::exact(asks_with("lf-in-401", Quirk::BareLfIn401)).fails_with_rtspsrc("\"does not answer\""),
    ];
    cases = cases.into_iter().map(|case| case.checked(no_refused_log_in)).collect();
    cases.push(
        Case::exact(asks("both-takes-md5", both_takes_md5))
            .expecting(Expect::Sessions)
            .checked(few_log_ins)
            .fails_with_rtspsrc(SHA256),
    );
    // Each of its requests is refused once.
    cases.push(Case::exact(asks_with("nonce-for-one", Quirk::NonceForOneRequest)));
    record(cases, PICTURES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_names_and_passwords_are_taken_as_they_are() {
    let cases = [
        ("quote", "ad\"min", "pa\"ss", true),
        ("backslash", "DOMAIN\\user", "pa\\ss", true),
        ("colon", "admin", "pa:ss", false),
        ("blank", "a b", " lead", false),
        ("umlaut", "üser", "pä€ss", true),
        ("url", "me@x.de", "p@ss:w/o#r%d?", false),
        ("comma", "a,b=c", "x, y=\"z\"", false),
    ];
    let case = |(name, user, password, fails): (&str, &str, &str, bool)| {
        let case = Case::exact(asks(name, LoginOffer::md5(user, password))).checked(no_refused_log_in);
        if fails { case.fails_with_rtspsrc(NAMES) } else { case }
    };
    record(cases.map(case).into(), PICTURES).await;
}

/// C25: the channels of one box share the count, so that it does not lock the user out.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_costs_a_host_few_log_ins() {
    for via in Via::tested(Rtspsrc::Fails("48 log-ins in 5 s of 8 channels")) {
        let rig = Rig::new().await;
        let camera = ScriptedCamera::start(asks("box", offer(&[Md5]))).unwrap();
        let channels: Vec<String> = (1..=8).map(|n| format!("channel-{n}")).collect();
        let began = Instant::now();
        for channel in &channels {
            let url = camera.url().replace("/live", &format!("/live/{channel}"));
            let mut given = patch(camera.spec(), url, via);
            given.password = Some(Some(watchkeeper::base::Secret::new("wrong".to_owned())));
            rig.service.add_camera(id(channel), given).await.unwrap();
        }
        for channel in &channels {
            rig.until(channel, "the refusal", |status| status.reason == Some("unauthorised")).await;
        }
        // Long enough for several attempts.
        wait::until("attempts", || began.elapsed(), |passed| *passed > Duration::from_secs(20)).await;
        let refused = camera.refused_log_ins();
        assert!((1..=3).contains(&refused), "{refused} log-ins in {:?}", began.elapsed());
        rig.stop().await;
    }
}

/// ACCESS.md F1: what was decided on one connection holds on all.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_never_sent_in_clear_whatever_a_camera_asks_for_next() {
    for via in Via::tested(Rtspsrc::Fails("answers the Basic challenge of its second connection")) {
        let rig = Rig::new().await;
        for (name, quirks) in [
            ("digest-then-basic", vec![Quirk::BasicOnEvenConnections]),
            ("closes-then-basic", vec![Quirk::BasicOnEvenConnections, Quirk::ClosesWith401]),
            (
                "basic-when-it-comes-back",
                vec![Quirk::BasicOnEvenConnections, Quirk::SessionsEnd { odd: 25, even: 25 }],
            ),
        ] {
            let spec = ScriptedSpec { quirks, ..asks(name, offer(&[Md5])) };
            let camera = ScriptedCamera::start(spec).unwrap();
            let given = patch(camera.spec(), camera.url(), via);
            rig.service.add_camera(id(name), given).await.unwrap();
            if name == "digest-then-basic" {
                wait::until("a session", || camera.sent_count(), |sent| *sent > 25).await;
            } else {
                wait::until("the second connection", || camera.connections(), |count| *count >= 2).await;
                rig.until(name, "a refusal", |status| status.last_error.is_some()).await;
            }
            let requests = camera.requests();
            let basic = requests.iter().find(|request| {
                request.authorization.as_ref().is_some_and(|value| !value.trim().starts_with("Digest"))
            });
            assert!(basic.is_none(), "{name}: {basic:?}");
        }
        rig.stop().await;
    }
}
