//! Cameras that send what must not be believed: a clear state each, bounded memory, and no other camera loses a picture.

use serde_json::{Value, json};

use crate::{
    bad_streams::{forget_peak, peak_kib},
    cameras::{Rtspsrc, Via},
    outside::{STOPS_WITHIN, frames_more, path_of, prove, record, recordings},
    process::Process,
    sim::{
        camera::CameraSpec,
        frames,
        nal::Codec,
        proof::prove_sent,
        scripted::{Clip, ScriptedCamera, ScriptedSpec, quirk::Quirk},
    },
};

/// What all of them together may cost in memory.
const MEMORY_KIB: u64 = 96 * 1024;

/// What must come of a camera.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// Every picture is recorded.
    Recorded,
    /// A reason and a sentence.
    Refused,
    /// Either.
    Either,
}

/// A camera, what must come of it, and what rtspsrc makes of it.
fn cases() -> Vec<(ScriptedSpec, Comes, Rtspsrc)> {
    use Comes::{Either, Recorded, Refused};
    use Rtspsrc::Passes;
    let h264 = |name: &str, quirk| ScriptedSpec::with(name, [quirk]);
    let h265 = |name: &str, quirk| ScriptedSpec { clip: Clip::small(Codec::H265), ..h264(name, quirk) };
    vec![
        (h264("description-10-mb", Quirk::DescriptionBytes(10_000_000)), Refused, Passes),
        (h264("media-lines", Quirk::MediaLines(10_000)), Either, Passes),
        (h264("endless-head", Quirk::EndlessHead), Refused, Passes),
        (h264("no-video", Quirk::NoVideo), Refused, Passes),
        (h264("no-clock-rate", Quirk::NoClockRate), Either, Rtspsrc::Fails("GStreamer divides by it")),
        (h264("no-frame-rate", Quirk::NoFrameRate), Recorded, Passes),
        (h264("fragments", Quirk::FragmentsWithoutStart), Recorded, Passes),
        (h265("fragments-h265", Quirk::FragmentsWithoutStart), Recorded, Passes),
        (h264("stap", Quirk::AggregateBeyondPacket), Recorded, Rtspsrc::Fails("finds no keyframe behind it")),
        (h265("ap", Quirk::AggregateBeyondPacket), Recorded, Passes),
        (h264("headers", Quirk::HeaderBeyondPacket), Recorded, Passes),
        (h264("parameter-sets", Quirk::HugeParameterSets), Either, Passes),
        (h265("parameter-sets-h265", Quirk::HugeParameterSets), Either, Passes),
        (h264("picture-16384", Quirk::HugePicture), Either, Passes),
        (h264("long-length", Quirk::LongContentLength), Either, Passes),
        (h264("session-ids", Quirk::SessionIdChanges), Recorded, Passes),
    ]
}

fn state(process: &Process, name: &str) -> Value {
    process.get(&path_of(name))["status"].clone()
}

#[test]
fn lies_about_sizes_cost_a_clear_state_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let front = record(&process, CameraSpec::new("front"), 4);
    forget_peak(&process);
    let before = peak_kib(&process);
    let mut running = Vec::new();
    for (spec, comes, rtspsrc) in cases() {
        for via in Via::tested(rtspsrc) {
            let name = format!("{}-{}", spec.name, via.name());
            let camera = ScriptedCamera::start(ScriptedSpec { name, ..spec.clone() }).unwrap();
            let mut given = json!({ "id": camera.name(), "main_url": camera.url(), "segment_seconds": 10 });
            via.apply_json(&mut given);
            process.post("/api/v1/cameras", &given);
            running.push((camera, comes));
        }
    }
    frames_more(&process, "front", 150);
    let mut wrong = Vec::new();
    for (camera, comes) in &running {
        let name = camera.name();
        let status = process.until(&format!("{name} to be told"), &path_of(name), |seen| {
            let status = &seen["status"];
            status["state"] == "recording" || !status["reason"].is_null()
        })["status"]
            .clone();
        let is_recorded = status["state"] == "recording";
        let is_clear = status["detail"].as_str().is_some_and(|detail| detail.len() > 20);
        let right = match comes {
            Comes::Recorded => is_recorded,
            Comes::Refused => !is_recorded && is_clear,
            Comes::Either => is_recorded || is_clear,
        };
        println!("{name}: {} {} {}", status["state"], status["reason"], status["detail"]);
        if !right {
            wrong.push(format!("{name}: {status:#}"));
        }
        if *comes == Comes::Recorded && is_recorded {
            frames_more(&process, name, 50);
        }
    }
    let cost = peak_kib(&process) - before;
    let status = state(&process, "front");
    process.stop(STOPS_WITHIN);
    for (camera, _) in running.iter().filter(|(_, comes)| *comes == Comes::Recorded) {
        let sent: Vec<u64> = camera.sent().iter().map(|sent| sent.number).collect();
        let files = recordings(dir.path(), camera.name());
        let recorded: anyhow::Result<Vec<_>> =
            files.iter().map(|file| frames::numbers_in_damaged(file)).collect();
        let judged =
            recorded.map_err(|wrong| format!("{wrong:#}")).and_then(|all| prove_sent(&sent, &all.concat()));
        wrong.extend(judged.err().map(|wrong| format!("{}: {wrong}", camera.name())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cost <= MEMORY_KIB, "all of them cost {cost} KiB");
    assert_eq!((&status["state"], &status["reconnects"]), (&json!("recording"), &json!(0)), "{status:#}");
    prove(dir.path(), &front);
}
