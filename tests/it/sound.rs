//! Sound beside the pictures: whatever it does, no picture is missing; and where it was sent, it is in the file and can be
//! heard.

use std::{path::Path, process::Command, time::Duration};

use serde_json::json;

use crate::{
    outside::{self, prove},
    process::{Process, pause},
    sim::{
        audio::{Audio, Mode},
        camera::{CameraSpec, Channel, SimCamera},
        frames,
        sound::Voice,
    },
};

/// Long enough for sound that dies and comes back to be noticed both times.
const WATCHED_MS: u64 = 16_000;

#[test]
fn sound_of_every_kind_and_mood_costs_no_picture() {
    let voices =
        [None, Some(Voice::Aac { hz: 16_000 }), Some(Voice::Opus), Some(Voice::Pcma), Some(Voice::Pcmu)];
    let seconds = Duration::from_secs;
    let modes = [
        ("steady", Mode::Steady),
        ("never", Mode::Never),
        ("dies", Mode::Dies { after: seconds(5) }),
        ("returns", Mode::Returns { dies: seconds(5), after: seconds(9) }),
    ];
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let mut cameras: Vec<(SimCamera, Option<Audio>)> = Vec::new();
    for voice in voices {
        for (mood, mode) in modes {
            let audio = voice.map(|voice| Audio { voice, mode, first: false });
            let name = format!("{}-{mood}", voice.map_or("none", word));
            let camera = SimCamera::start(CameraSpec { audio, ..CameraSpec::new(name.clone()) }).unwrap();
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
    pause(WATCHED_MS);
    process.stop(Duration::from_secs(8));
    for (camera, audio) in &cameras {
        let proof = prove(dir.path(), camera);
        assert!(proof.last - proof.first >= 250, "{}: {proof:?}", camera.name());
        let files = outside::recordings(dir.path(), camera.name());
        let heard: f64 = files.iter().filter_map(|file| seconds_heard(file)).sum();
        let (least, most) = match audio.map(|audio| audio.mode) {
            None | Some(Mode::Never) => (0.0, 0.0),
            Some(Mode::Steady) => (12.0, 60.0),
            Some(Mode::Dies { .. }) => (1.0, 8.0),
            Some(_) => (6.0, 14.0),
        };
        assert!((least..=most).contains(&heard), "{}: {heard} s of sound in {files:?}", camera.name());
        files.iter().for_each(|file| frames::decodes_clean(file).unwrap());
    }
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
