//! Activity from the sizes of encoded frames: the right seconds of the track, and adaptive sampling that decodes keyframes
//! alone while nothing moves, at no cost to the recording.

use std::time::Instant;

use serde_json::{Value, json};
use watchkeeper::base::WallUs;

use crate::{
    outside::{Answer, STOPS_WITHIN, closed_segments, frames_more, get, path_of, prove, record, send},
    process::Process,
    sampling::{change, next, number, rate, task},
    sim::{
        camera::{CameraSpec, Channel, SimCamera},
        footage::{Encoding, Source},
    },
    wait::PATIENCE,
};

/// Keyframes are two seconds apart.
const GOP: u32 = 50;
/// So many a second.
const KEYFRAMES: f64 = 0.5;
const SECOND_US: i64 = 1_000_000;
/// As docs/http-api.md says.
const ACTIVE: u64 = 12;

fn encoding(source: Source) -> Encoding {
    Encoding { gop_frames: GOP, ..Encoding::small(source) }
}

/// What samples a stream.
fn sampler(seen: &Value, profile: &str) -> Value {
    let all = seen["samplers"].as_array().unwrap();
    all.iter().find(|of| of["profile"] == profile).cloned().unwrap_or_default()
}

fn until_active(process: &Process, profile: &str, active: bool) -> Value {
    let what = format!("{profile} to be active: {active}");
    process.until(&what, "/api/v1/ai/samplers", |seen| sampler(seen, profile)["active"] == active)
}

/// Waits until pictures come so often, as they do when what was under way has come, and sees that it stays so.
fn comes_at(process: &Process, profile: &str, fps: f64, seconds: f64) {
    let at = |answer: &Answer| WallUs::parse(answer.header("x-frame-captured-at")).unwrap().0 as f64;
    let deadline = Instant::now() + PATIENCE;
    let mut last = next(process, "front", profile, 0);
    loop {
        let answer = next(process, "front", profile, number(&last));
        let apart = (at(&answer) - at(&last)) / 1e6 * fps;
        if number(&answer) == number(&last) + 1 && (0.7..1.4).contains(&apart) {
            break;
        }
        assert!(Instant::now() < deadline, "{profile}: pictures do not come at {fps} a second");
        last = answer;
    }
    let measured = rate(process, "front", profile, fps, seconds);
    assert!((measured - fps).abs() < fps * 0.2, "{profile}: {measured} in place of {fps}");
}

/// Levels of whole seconds.
fn levels(process: &Process, from_s: i64, to_s: i64) -> Vec<Option<u64>> {
    let time = |second: i64| WallUs(second * SECOND_US).rfc3339();
    let path = format!("{}/activity?from={}&to={}", path_of("front"), time(from_s), time(to_s));
    let answer = process.get(&path);
    assert_eq!(
        (&answer["seconds_per_value"], &answer["from"]),
        (&json!(1), &json!(time(from_s))),
        "{answer}"
    );
    answer["values"].as_array().unwrap().iter().map(Value::as_u64).collect()
}

/// Shows something else from the next keyframe on: between which times that comes.
fn show(camera: &SimCamera, source: Source) -> (i64, i64) {
    let gop = u64::from(GOP);
    let keyframe = |number: u64| number.div_ceil(gop) * gop;
    let first = keyframe(camera.next_number(Channel::Main));
    camera.set_encoding(encoding(source)).unwrap();
    let last = keyframe(camera.next_number(Channel::Main)) + 1;
    let sent = camera.sent(Channel::Main)[0];
    let at = |number: u64| (sent.capture_us + number * 40_000 - sent.number * 40_000) as i64;
    (at(first), at(last))
}

#[test]
fn what_moves_is_seen_in_its_seconds_and_sampled_in_full_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let sub = Some(Encoding { width: 160, height: 90, ..encoding(Source::Still) });
    let spec = CameraSpec { main: encoding(Source::Still), sub, ..CameraSpec::new("front") };
    let camera = record(&process, spec, 4);
    let patch = json!({ "sub_url": camera.url(Channel::Sub) }).to_string();
    assert_eq!(send(&process, "PATCH", &path_of("front"), &patch).status, 200);
    let asked = |profile: &str| json!({ "camera_id": "front", "type": "people", "profile": profile, "fps": 5, "width": 160, "adaptive": true });
    let first = task(&process, &asked("main"));
    assert_eq!(first["adaptive"], true);
    task(&process, &asked("sub"));

    // Until it is known how quiet it is, everything is decoded; then keyframes alone, on either session.
    for profile in ["main", "sub"] {
        let seen = until_active(&process, profile, false);
        assert_eq!(sampler(&seen, profile)["decoder"], "avdec_h264");
        assert_eq!(sampler(&seen, profile)["granted_fps"], 5.0, "the budget does not count on it");
        comes_at(&process, profile, KEYFRAMES, 7.0);
    }
    let quiet_from = WallUs::now().0;

    let (begins, begun) = show(&camera, Source::People);
    let seen = until_active(&process, "main", true);
    assert_eq!(sampler(&seen, "sub")["active"], false, "nothing moves in the other stream");
    comes_at(&process, "main", 5.0, 6.0);
    let (ends, ended) = show(&camera, Source::Still);
    until_active(&process, "main", false);
    comes_at(&process, "main", KEYFRAMES, 7.0);

    // One task that wants all of it has all tasks of the stream get it.
    let more = json!({ "camera_id": "front", "type": "cars", "profile": "main", "fps": 5, "width": 160 });
    let second = task(&process, &more);
    comes_at(&process, "main", 5.0, 4.0);
    change(&process, &second, json!({ "adaptive": true }));
    comes_at(&process, "main", KEYFRAMES, 7.0);

    // The track, while the last segment grows and when it has ended. A camera's clock is not quite ours, so the seconds
    // in which it changes are not asked for.
    let second = |us: i64| us.div_euclid(SECOND_US);
    let (moves, still) =
        ((second(begun) + 1, second(ends) - 1), (second(ended) + 2, second(WallUs::now().0) - 3));
    let tracks = |process: &Process| {
        let before = levels(process, second(quiet_from) - 3, second(begins) - 1);
        (before, levels(process, moves.0, moves.1), levels(process, still.0, still.1))
    };
    frames_more(&process, "front", 125);
    let live = tracks(&process);
    let calm = |levels: &[Option<u64>]| levels.iter().all(|level| level.is_some_and(|level| level < ACTIVE));
    assert!(calm(&live.0) && calm(&live.2), "{live:?}");
    assert!(live.1.len() > 3 && live.1.iter().all(|level| *level >= Some(ACTIVE)), "{live:?}");
    let closed = closed_segments(&process, "front", 10);
    let began = WallUs::parse(closed[0]["start"].as_str().unwrap()).unwrap().0;
    assert_eq!(levels(&process, second(began) - 10, second(began)), [None; 10], "before it was recorded");

    // A restart forgets nothing of segments that have ended.
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &camera);
    let process = Process::start(dir.path());
    assert_eq!(tracks(&process), live);
    let day_before = WallUs(began).plus_us(-86_400 * SECOND_US).rfc3339();
    let days = process.get(&format!("{}/activity?from={day_before}", path_of("front")));
    let values = days["values"].as_array().unwrap();
    assert!(values.len() <= 2000 && values.iter().any(|value| value.as_u64() >= Some(ACTIVE)), "{days}");
    for (query, status, code) in [
        ("from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z", 400, "bad_query"),
        ("from=yesterday", 400, "bad_query"),
        ("step=1", 400, "bad_query"),
    ] {
        let answer = get(&process, &format!("{}/activity?{query}", path_of("front")));
        assert_eq!((answer.status, answer.error().0.as_str()), (status, code), "{query}");
    }
    process.stop(STOPS_WITHIN);
}
