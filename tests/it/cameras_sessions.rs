//! Cameras with rules of their own for how long a session lives.

use std::time::Duration;

use serde_json::json;

use crate::{
    cameras::{Case, Expect, Rtspsrc, Via, record},
    outside::STOPS_WITHIN,
    process::Process,
    sim::scripted::{
        ScriptedCamera, ScriptedSpec,
        login::LoginOffer,
        quirk::{KeepAlive, Quirk},
    },
};

/// Seconds after which a session ends without a request that counts.
const TIMEOUT_S: u32 = 6;
/// Three timeouts, and a second.
const PICTURES: usize = 3 * 6 * 25 + 25;
const UNANSWERED: &str = "a keep-alive that is not answered well is the last that is sent";
const UNLISTED: &str = "no keep-alive where GET_PARAMETER is not announced";

/// C11, C12.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_kept_alive_in_whichever_way_the_camera_counts() {
    let keeps = |name: &str, kind| {
        let spec = ScriptedSpec::with(name, [Quirk::KeepAlive(kind)]);
        Case::exact(ScriptedSpec { session_timeout_s: TIMEOUT_S, ..spec })
    };
    let nonce = [Quirk::KeepAlive(KeepAlive::OnlyAuthorised), Quirk::NewNonceEvery(Duration::from_secs(4))];
    let nonce = ScriptedSpec {
        login: Some(LoginOffer::md5("admin", "secret")),
        session_timeout_s: TIMEOUT_S,
        ..ScriptedSpec::with("new-nonce", nonce)
    };
    let plain = ScriptedSpec { session_timeout_s: TIMEOUT_S, ..ScriptedSpec::new("plain") };
    let cases = vec![
        Case::exact(plain).fails_with_rtspsrc("its second keep-alive comes after more than 6 s"),
        keeps("never-answered", KeepAlive::NeverAnswered).fails_with_rtspsrc(UNANSWERED),
        keeps("options-only", KeepAlive::OptionsOnly).fails_with_rtspsrc(UNLISTED),
        keeps("not-found", KeepAlive::NotFound).fails_with_rtspsrc(UNANSWERED),
        keeps("not-implemented", KeepAlive::NotImplemented).fails_with_rtspsrc(UNANSWERED),
        keeps("unlisted", KeepAlive::Unlisted).fails_with_rtspsrc(UNLISTED),
        keeps("set-parameter", KeepAlive::SetParameterOnly).fails_with_rtspsrc(UNLISTED),
        keeps("closes-for-body", KeepAlive::ClosesForBody).fails_with_rtspsrc(UNANSWERED),
        keeps("body", KeepAlive::BodyNotUnderstood).fails_with_rtspsrc(UNANSWERED),
        Case::exact(nonce).fails_with_rtspsrc(UNANSWERED),
    ];
    record(cases, PICTURES).await;
}

/// C42, and a camera that ends each session of good frames: nothing of any session is lost.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_session_the_next_is_recorded() {
    let ends = |name: &str, quirk| Case::exact(ScriptedSpec::with(name, [quirk])).expecting(Expect::Sessions);
    let cases = vec![
        ends("bye-silent", Quirk::ByeThenSilence(60)),
        ends("ends-in-turn", Quirk::SessionsEnd { odd: 75, even: 100_000 }),
    ];
    record(cases, 200).await;
}

/// C37: the camera is to blame for the gap, not the disk.
#[test]
fn a_session_of_a_moment_is_a_gap_of_the_camera() {
    for via in Via::tested(Rtspsrc::Fails("the gap is blamed on the disk")) {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(dir.path());
        let quirk = Quirk::SessionsEnd { odd: 150, even: 6 };
        let camera = ScriptedCamera::start(ScriptedSpec::with("dies", [quirk])).unwrap();
        let mut given = json!({ "id": "dies", "main_url": camera.url() });
        via.apply_json(&mut given);
        process.post("/api/v1/cameras", &given);
        let gaps = process.until("two gaps", "/api/v1/cameras/dies/gaps?min_seconds=0", |seen| {
            let gaps = seen["gaps"].as_array().unwrap();
            camera.sessions() >= 3 && gaps.iter().filter(|gap| gap["state"] == "closed").count() >= 2
        });
        process.stop(STOPS_WITHIN);
        for gap in gaps["gaps"].as_array().unwrap() {
            assert!(["camera_offline", "operator"].contains(&gap["cause"].as_str().unwrap()), "{gap:#}");
        }
    }
}
