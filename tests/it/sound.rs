//! Sound beside the pictures: whatever it does, no picture is missing; and where it was sent, it is in the file and can be
//! heard.

use std::{path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{
    outside::{self, STOPS_WITHIN, events, prove},
    process::Process,
    sim::{
        audio::{Audio, Mode},
        camera::{CameraSpec, Channel, SimCamera},
        footage::{Encoding, Source},
        frames,
        proof::Proof,
        sound::Voice,
    },
};

/// When a voice dies, and when it comes back, both counted from when all cameras are recorded: each long enough to be
/// noticed.
const DIES: Duration = Duration::from_secs(5);
const RETURNS: Duration = Duration::from_secs(9);
/// Frames of each camera from then on: 16 s.
const WATCHED_FRAMES: u64 = 400;
/// So much sound is missing at most where a voice begins, until the next keyframe with which a file may have sound.
const LATE_AT_MOST_S: f64 = 4.0;
/// Edges of what is heard, in tenths of a second, and what an encoder adds.
const MORE_AT_MOST_S: f64 = 1.5;

/// Each comes in a thread of its own, and about one connection in twenty-five once ended up without pictures for fifteen seconds
/// when both came at the same moment.
#[test]
fn pictures_and_sound_that_come_at_once_are_both_there_at_every_connection() {
    let dir = tempfile::tempdir().unwrap();
    let audio = Some(Audio { voice: Voice::Pcmu, mode: Mode::Steady, first: false });
    let start = |n| {
        let main = Encoding::small(Source::Cars);
        SimCamera::start(CameraSpec { main, audio, ..CameraSpec::new(format!("c{n}")) }).unwrap()
    };
    let cameras: Vec<SimCamera> = (0..10).map(start).collect();
    for round in 0..5 {
        let process = Process::start(dir.path());
        if round == 0 {
            for camera in &cameras {
                let given = json!({ "id": camera.name(), "main_url": camera.url(Channel::Main), "record_audio": true });
                process.post("/api/v1/cameras", &given);
            }
        }
        process.until_recording();
        let lost: Vec<Value> =
            events(&process).into_iter().filter(|event| event["kind"] == "camera_offline").collect();
        assert!(lost.is_empty(), "round {round}: {lost:#?}");
        process.stop(STOPS_WITHIN);
    }
}

#[test]
fn sound_of_every_kind_and_mood_costs_no_picture() {
    let voices =
        [None, Some(Voice::Aac { hz: 16_000 }), Some(Voice::Opus), Some(Voice::Pcma), Some(Voice::Pcmu)];
    let modes = [
        ("steady", Mode::Steady),
        ("never", Mode::Never),
        ("dies", Mode::Dies { after: DIES }),
        ("returns", Mode::Returns { dies: DIES, after: RETURNS }),
    ];
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let mut cameras: Vec<(SimCamera, Option<Audio>)> = Vec::new();
    for voice in voices {
        for (mood, mode) in modes {
            let audio = voice.map(|voice| Audio { voice, mode, first: false });
            // Until all are recorded, however long that takes, it is heard.
            let begins = audio.map(|audio| match mode {
                Mode::Never => audio,
                _ => Audio { mode: Mode::Steady, ..audio },
            });
            let name = format!("{}-{mood}", voice.map_or("none", word));
            let camera =
                SimCamera::start(CameraSpec { audio: begins, ..CameraSpec::new(name.clone()) }).unwrap();
            let url = camera.url(Channel::Main);
            process.post(
                "/api/v1/cameras",
                &json!({ "id": name, "main_url": url, "segment_seconds": 60, "record_audio": true }),
            );
            cameras.push((camera, audio));
            if voice.is_none() {
                break;
            }
        }
    }
    process.until_recording();
    for (camera, audio) in &cameras {
        if let Some(Audio { mode, .. }) = audio {
            camera.set_audio(*mode).unwrap();
        }
    }
    frames_more_of_all(&process, WATCHED_FRAMES);
    process.stop(STOPS_WITHIN);
    for (camera, audio) in &cameras {
        let proof = prove(dir.path(), camera);
        assert!(proof.last - proof.first >= WATCHED_FRAMES, "{}: {proof:?}", camera.name());
        let files = outside::recordings(dir.path(), camera.name());
        let heard: f64 = files.iter().filter_map(|file| seconds_heard(file)).sum();
        let sent = audio.map_or(0.0, |audio| seconds_sent(camera, audio, &proof));
        let least = match audio.map(|audio| audio.mode) {
            None | Some(Mode::Never) => 0.0,
            Some(Mode::Returns { .. }) => sent - 2.0 * LATE_AT_MOST_S,
            Some(_) => sent - LATE_AT_MOST_S,
        };
        // Else it would not have been asked whether any is kept.
        let is_heard = audio.is_some_and(|audio| audio.mode != Mode::Never);
        assert!(!is_heard || sent >= DIES.as_secs_f64() - 0.5, "{}: {sent} s were sent", camera.name());
        let most = if sent > 0.0 { sent + MORE_AT_MOST_S } else { 0.0 };
        println!("{}: {heard:.1} s of sound are heard of {sent:.1} s", camera.name());
        assert!((least..=most).contains(&heard), "{}: {heard} s of {sent} s in {files:?}", camera.name());
    }
}

/// Waits until so many more frames of each camera have come.
fn frames_more_of_all(process: &Process, count: u64) {
    let frames = |seen: &Value| -> Vec<u64> {
        let cameras = seen["cameras"].as_array().unwrap();
        cameras.iter().map(|camera| camera["status"]["frames"].as_u64().unwrap()).collect()
    };
    let before = frames(&process.get("/api/v1/cameras"));
    process.until("more frames of each", "/api/v1/cameras", |seen| {
        frames(seen).iter().zip(&before).all(|(now, before)| *now >= before + count)
    });
}

/// So much sound the camera sent while its recorded frames were taken.
fn seconds_sent(camera: &SimCamera, audio: Audio, proof: &Proof) -> f64 {
    let frames = camera.sent(Channel::Main);
    let taken = |number| frames.iter().find(|frame| frame.number == number).unwrap().capture_us;
    let recorded = taken(proof.first)..=taken(proof.last);
    let packets = camera.audio_sent_us().into_iter().filter(|at| recorded.contains(at)).count();
    let (hz, samples) = audio.voice.samples();
    packets as f64 * f64::from(samples) / f64::from(hz)
}

fn word(voice: Voice) -> &'static str {
    match voice {
        Voice::Aac { .. } => "aac",
        Voice::Opus => "opus",
        Voice::Pcma => "pcma",
        Voice::Pcmu => "pcmu",
    }
}

/// So much of a file's sound is as loud as the tone is, by ffmpeg; `None` without sound.
fn seconds_heard(file: &Path) -> Option<f64> {
    let codec = frames::codec_of(file, "a:0").unwrap()?;
    assert!(["aac", "opus"].contains(&codec.as_str()), "{codec}");
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(file)
        .args(["-map", "0:a", "-f", "s16le", "-ac", "1", "-ar", "8000", "-"])
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let samples: Vec<f64> =
        output.stdout.chunks_exact(2).map(|two| f64::from(i16::from_le_bytes([two[0], two[1]]))).collect();
    // In tenths of a second.
    let loud = samples.chunks(800).filter(|part| {
        let power = part.iter().map(|sample| sample * sample).sum::<f64>() / part.len() as f64;
        power.sqrt() > 1000.0
    });
    Some(loud.count() as f64 / 10.0)
}
