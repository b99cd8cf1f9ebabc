//! Sound of cameras whose descriptions are odd: what was sent is heard, at its pitch and as long as the pictures; a track
//! to speak into is left alone.

use crate::{
    cameras::{Case, PICTURES, Recorded, record},
    sim::{
        scripted::{
            ScriptedSpec,
            tracks::{SoundCodec, SoundTrack},
        },
        sound::heard_in,
    },
};

use SoundCodec::{Aac, Opus, Pcma, Pcmu};

const TALK: &str = "the talk track is set up, the camera's own sound is not";
const NO_RTPMAP: &str = "no sound where a static payload type has no rtpmap";
/// A file begins with a keyframe, and the encoders add edges.
const OFF_AT_MOST_S: f64 = 1.5;

fn sound(name: &str, tracks: Vec<SoundTrack>) -> Case {
    Case::exact(ScriptedSpec { sound: tracks, ..ScriptedSpec::new(name) }).checked(is_heard)
}

fn one(name: &str, codec: SoundCodec) -> Case {
    sound(name, vec![SoundTrack::new(codec)])
}

/// A tone of 1 kHz for as long as the pictures, and no talk track set up.
fn is_heard(recorded: &Recorded<'_>) -> Result<(), String> {
    let tracks = &recorded.camera.spec().sound;
    let requests = recorded.camera.requests();
    for (index, track) in tracks.iter().enumerate().filter(|(_, track)| track.talk) {
        let control = format!("trackID={}", index + 2);
        if requests.iter().any(|request| request.method == "SETUP" && request.url.ends_with(&control)) {
            return Err(format!("{track:?} is set up"));
        }
    }
    let (mut heard_s, mut pictures) = (0.0, 0.0);
    for file in recorded.files {
        let of = |wrong: anyhow::Error| format!("{wrong:#}");
        pictures += crate::sim::frames::probe(file).map_err(of)?.duration_s;
        let Some(heard) = heard_in(file).map_err(of)? else { continue };
        if (heard.hz - 1000.0).abs() > 20.0 || (heard.dbfs + 9.0).abs() > 1.5 {
            return Err(format!("{} Hz at {} dBFS", heard.hz, heard.dbfs));
        }
        heard_s += heard.loud.iter().map(|(from, to)| to - from).sum::<f64>();
    }
    let wanted = if tracks.iter().any(|track| !track.talk) { pictures } else { 0.0 };
    match (wanted - heard_s).abs() <= OFF_AT_MOST_S {
        true => Ok(()),
        false => Err(format!("{heard_s:.1} s of sound beside {pictures:.1} s of pictures")),
    }
}

/// C13, C14, C31.
#[tokio::test(flavor = "multi_thread")]
async fn sound_is_recorded_as_its_description_means_it() {
    let talk = SoundTrack::talk;
    let receive = |codec| SoundTrack { direction: Some("recvonly"), ..SoundTrack::new(codec) };
    let of_type = |codec, payload_type| SoundTrack { payload_type, ..SoundTrack::new(codec) };
    let without_map = |codec| SoundTrack { rtpmap: None, ..SoundTrack::new(codec) };
    let (aac, ulaw, alaw) = (Aac { hz: 16_000 }, Pcmu { hz: 8000 }, Pcma { hz: 8000 });
    let cases = vec![
        one("aac", aac),
        one("opus", Opus),
        one("ulaw", ulaw),
        one("alaw", alaw),
        sound("talk-first", vec![talk(), receive(aac)]).fails_with_rtspsrc(TALK),
        sound("talk-same", vec![talk(), receive(ulaw)]).fails_with_rtspsrc(TALK),
        sound("talk-last", vec![receive(ulaw), talk()]),
        sound("talk-only", vec![talk()]).fails_with_rtspsrc(TALK),
        one("ulaw-16k", Pcmu { hz: 16_000 }),
        one("alaw-16k", Pcma { hz: 16_000 }),
        sound("ulaw-16k-static", vec![of_type(Pcmu { hz: 16_000 }, 0)]),
        sound("ulaw-no-map", vec![without_map(ulaw)]).fails_with_rtspsrc(NO_RTPMAP),
        sound("alaw-no-map", vec![without_map(alaw)]).fails_with_rtspsrc(NO_RTPMAP),
        sound("pt-8-is-ulaw", vec![of_type(ulaw, 8)]).fails_with_rtspsrc(NO_RTPMAP),
        sound("pt-0-is-aac", vec![of_type(aac, 0)]).fails_with_rtspsrc(NO_RTPMAP),
    ];
    record(cases, PICTURES).await;
}
