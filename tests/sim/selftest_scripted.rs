//! The scripted camera is right where it is not told to be wrong, as seen by ffmpeg.

use super::footage::{Encoding, Source};
use super::frames::{codec_of, decodes_clean, numbers_in_damaged};
use super::nal::Codec;
use super::proof::prove_sent;
use super::scripted::login::{Algorithm, LoginOffer};
use super::scripted::quirk::{self, Quirk};
use super::scripted::tracks::{SoundCodec, SoundTrack};
use super::scripted::{Clip, ScriptedCamera, ScriptedSpec};
use super::selftest::{Recording, until};
use super::sound::heard_in;

const PICTURES: usize = 75;

fn b_frames(codec: Codec) -> Clip {
    Clip::Plain(Encoding { codec, b_frames: true, ..Encoding::small(Source::Cars) })
}

fn specs() -> Vec<(&'static str, ScriptedSpec)> {
    let new = |name: &str| ScriptedSpec::new(name);
    let clip = |name: &str, clip| ScriptedSpec { clip, ..new(name) };
    let sound = |name: &str, codec| ScriptedSpec { sound: vec![SoundTrack::new(codec)], ..new(name) };
    let login = LoginOffer { qop: true, ..LoginOffer::md5("admin", "p ss\"word") };
    let with = |name: &str, quirk| ScriptedSpec::with(name, [quirk]);
    vec![
        ("tcp", new("h264")),
        ("tcp", clip("h265", Clip::small(Codec::H265))),
        ("tcp", clip("b-frames", b_frames(Codec::H264))),
        ("tcp", clip("b-frames-h265", b_frames(Codec::H265))),
        ("tcp", clip("slices", Clip::Sliced(Codec::H264))),
        ("tcp", clip("slices-h265", Clip::Sliced(Codec::H265))),
        ("tcp", ScriptedSpec { paced: true, ..new("paced") }),
        ("tcp", ScriptedSpec { login: Some(login), ..new("login") }),
        ("tcp", with("aggregated", Quirk::Aggregated)),
        ("tcp", with("odd-fragments", Quirk::OddFragments)),
        ("tcp", with("header-extras", Quirk::HeaderExtras)),
        ("udp", new("udp")),
        ("tcp", sound("aac", SoundCodec::Aac { hz: 16_000 })),
        ("tcp", sound("opus", SoundCodec::Opus)),
        ("tcp", sound("pcma", SoundCodec::Pcma { hz: 8000 })),
        ("tcp", sound("pcmu-16k", SoundCodec::Pcmu { hz: 16_000 })),
    ]
}

#[test]
fn a_camera_without_a_quirk_is_recorded_whole() {
    let files = tempfile::tempdir().unwrap();
    let running: Vec<_> = specs()
        .into_iter()
        .map(|(transport, spec)| {
            let camera = ScriptedCamera::start(spec).unwrap();
            let url = match &camera.spec().login {
                Some(_) => camera.url().replace("rtsp://", "rtsp://admin:p%20ss%22word@"),
                None => camera.url(),
            };
            // A byte stream where there are only pictures: containers take no packet of which ffmpeg does not know the time,
            // as with B-frames at first.
            let end = match (camera.spec().sound.is_empty(), camera.codec()) {
                (false, _) => "mkv",
                (true, codec) => codec.word(),
            };
            let path = files.path().join(format!("{}.{end}", camera.name()));
            (camera, Recording::start_over(transport, &url, path))
        })
        .collect();
    for (camera, recording) in running {
        let name = camera.name().to_owned();
        until(&format!("{name} sends"), || camera.sent_count() >= PICTURES);
        let path = recording.path.clone();
        let recorded = recording.stop();
        let sent: Vec<u64> = camera.sent().iter().map(|sent| sent.number).collect();
        let proof = prove_sent(&sent, &recorded).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        assert!(proof.last - proof.first > PICTURES as u64 / 2, "{name}: {proof:?}");
        decodes_clean(&path).unwrap();
        if let Some(track) = camera.spec().sound.first() {
            let heard = heard_in(&path).unwrap().unwrap_or_else(|| panic!("{name}: no sound"));
            assert!((heard.hz - 1000.0).abs() < 20.0 && (heard.dbfs + 9.0).abs() < 1.5, "{name}: {heard:?}");
            let word = match track.codec {
                SoundCodec::Aac { .. } => "aac",
                SoundCodec::Opus => "opus",
                SoundCodec::Pcma { .. } => "pcm_alaw",
                SoundCodec::Pcmu { .. } => "pcm_mulaw",
            };
            assert_eq!(codec_of(&path, "a:0").unwrap().as_deref(), Some(word));
            // What is recorded, to the packets that ffmpeg looked at before it began.
            let heard_s: f64 = heard.loud.iter().map(|(from, to)| to - from).sum();
            assert!(heard_s > 2.0 && heard_s <= camera.sound_seconds() + 0.5, "{name}: {heard:?}");
        }
        if camera.spec().login.is_some() {
            assert!(camera.requests().iter().any(|request| request.authorization.is_some()));
        }
        assert_eq!((camera.sessions(), camera.refused_log_ins()), (1, 0), "{name}");
    }
}

#[test]
fn a_wrong_password_is_refused_and_counted() {
    for offers in [&[Algorithm::Md5][..], &[Algorithm::Md5Session]] {
        let login = Some(LoginOffer::with("admin", "right", offers));
        let camera = ScriptedCamera::start(ScriptedSpec { login, ..ScriptedSpec::new("test") }).unwrap();
        let url = camera.url().replace("rtsp://", "rtsp://admin:wrong@");
        super::selftest::opens_once("tcp", &url).unwrap_err();
        assert_eq!((camera.sessions(), camera.refused_log_ins()), (0, 1), "{offers:?}");
        assert!(camera.connections() >= 1 && camera.most_connections() == 1);
    }
}

/// Deviations that ffmpeg copes with: whoever does not may blame itself.
fn quirks() -> Vec<ScriptedSpec> {
    use Quirk::*;
    let control = |how| SessionControl(how);
    let h264 = [
        NoReason,
        HeaderWithoutColon,
        HeaderInGb2312,
        DateWithoutName,
        BlankLineInPlay,
        BlankLineInAll,
        BareLf,
        SessionIdChanges,
        BareSdp,
        NoControl,
        OtherParameterSets,
        NulAtEnd,
        control(quirk::Control::Slash),
        control(quirk::Control::Query),
        control(quirk::Control::UpperCase),
        control(quirk::Control::NoPort),
        control(quirk::Control::OtherHost),
        OtherHost,
        OtherBase,
        OtherSessionControl,
        ControlsWithoutPort,
        ControlsWithQuery,
        Channels(4),
        NoChannels,
        OddSsrc,
        StrayType(quirk::StrayType::LikePrevious),
        StrayType(quirk::StrayType::LikeNext),
        StrayType(quirk::StrayType::Own),
        StrayType(quirk::StrayType::First),
        AnnexB(quirk::AnnexB::Fragmented),
        AnnexB(quirk::AnnexB::Single),
        AnnexB(quirk::AnnexB::Before),
        AnnexB(quirk::AnnexB::Behind),
        StrayTime { by: -9800, every: 51, at: 7 },
        RandomSequence,
        SeiAlone,
        StrayBytes(quirk::StrayBytes::Crlf),
        StrayBytes(quirk::StrayBytes::Answer),
        FragmentsWithoutStart,
        AggregateBeyondPacket,
        HeaderBeyondPacket,
        HugeParameterSets,
        NoFrameRate,
    ];
    let h265 = [SeiAlone, Aggregated, FragmentsWithoutStart, AggregateBeyondPacket];
    let small = |codec| move |other: &Quirk| (Clip::small(codec), other.clone());
    let sliced = [Codec::H264, Codec::H265].into_iter().flat_map(|codec| {
        let quirks = [MarkerPerSlice, NoMarker, MarkerEverywhere].into_iter();
        quirks.map(move |quirk| (Clip::Sliced(codec), quirk))
    });
    let all = h264.iter().map(small(Codec::H264)).chain(h265.iter().map(small(Codec::H265))).chain(sliced);
    all.enumerate()
        .map(|(n, (clip, quirk))| ScriptedSpec { clip, ..ScriptedSpec::with(format!("{n}"), [quirk]) })
        .collect()
}

#[test]
fn what_a_tolerant_client_makes_of_deviations_is_whole() {
    let files = tempfile::tempdir().unwrap();
    for some in quirks().chunks(26) {
        let running: Vec<_> = ScriptedCamera::start_all(some.to_vec())
            .unwrap()
            .into_iter()
            .map(|camera| {
                let path = files.path().join(format!("{}.{}", camera.name(), camera.codec().word()));
                let recording = Recording::start(&camera.url(), path);
                (camera, recording)
            })
            .collect();
        for (camera, mut recording) in running {
            let what = format!("{:?} in {:?}", camera.spec().quirks, camera.codec());
            until(&what, || camera.sent_count() >= PICTURES);
            until(&format!("{what}: ffmpeg has seen enough"), || {
                recording.path.metadata().is_ok_and(|found| found.len() > 0) || recording.ended()
            });
            recording.quit();
            let sent: Vec<u64> = camera.sent().iter().map(|sent| sent.number).collect();
            let recorded = numbers_in_damaged(&recording.path).unwrap();
            let proof = prove_sent(&sent, &recorded).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            assert!(proof.head == 0 && proof.tail < 10, "{what}: {proof:?}");
        }
    }
}
