//! What simulated cameras send is what they promise, and what is wrong with it is what was ordered.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;

use super::audio::{Audio, Mode};
use super::camera::{CameraSpec, Channel, Login, SimCamera};
use super::footage::{Encoding, Source};
use super::frames::{self, codec_of, decodes_clean, timeline_in};
use super::harm::Reports;
use super::misbehave::{Misbehaviour, Peer};
use super::nal::{Codec, NalUnits};
use super::proof::{prove_contiguous, prove_sent};
use super::selftest::{QUICK, Recording, let_pass, opens, opens_once, opens_over, playing, sent, until};
use super::server::{Asks, Udp};
use super::sound::{Voice, heard_in};
use super::stamp::Stamp;
use super::tls::Certificate;

/// From 1900, where NTP begins, to 1970.
pub(super) const NTP_TO_UNIX_US: i64 = 2_208_988_800 * 1_000_000;
const VOICES: [Voice; 4] = [Voice::Aac { hz: 16_000 }, Voice::Opus, Voice::Pcma, Voice::Pcmu];

fn with_audio(voice: Voice, mode: Mode) -> CameraSpec {
    CameraSpec { audio: Some(Audio { voice, mode, first: false }), ..CameraSpec::new("test") }
}

/// Ends a recording and proves that it holds what the camera sent meanwhile.
fn prove(camera: &SimCamera, recording: Recording) {
    let recorded = recording.stop();
    prove_sent(&sent(camera), &recorded).unwrap();
}

/// What ffprobe says of a stream, field by field.
fn ask_ffprobe(url: &str, select: &str, fields: &str) -> String {
    let output = Command::new("timeout")
        .args(["20", "ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-select_streams", select])
        .args(QUICK)
        .args(["-show_entries", fields, "-of", "csv=p=0", url])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn every_kind_of_video_comes_whole_and_in_time() {
    let files = tempfile::tempdir().unwrap();
    let kinds = [(Codec::H264, true), (Codec::H265, false), (Codec::H265, true)];
    for (codec, b_frames) in kinds {
        let main = Encoding { codec, b_frames, ..Encoding::small(Source::Cars) };
        let camera = SimCamera::start(CameraSpec { main, ..CameraSpec::new("test") }).unwrap();
        let record = |attempt| {
            let path = files.path().join(format!("{codec:?}-{b_frames}-{attempt}.mkv"));
            let mut recording = Recording::start(&camera.url(Channel::Main), path);
            until("a session plays", || camera.sessions(Channel::Main) > 0 || recording.ended());
            let_pass(&camera, 75);
            (!recording.ended()).then_some(recording)
        };
        let recording = (0..5).find_map(record).expect("ffmpeg records");
        let path = recording.path.clone();
        let recorded = recording.stop();
        prove_sent(&sent(&camera), &recorded).unwrap();
        assert!(recorded.len() > 50, "{codec:?}: {}", recorded.len());
        assert_eq!(recorded.is_sorted(), !b_frames, "{codec:?}: {recorded:?}");
        assert_eq!(codec_of(&path, "v:0").unwrap().as_deref(), Some(codec.word()));
        decodes_clean(&path).unwrap();
        let timeline = timeline_in(&path).unwrap();
        // The times of the first are ffmpeg's guess where it did not know them.
        for pair in timeline[3..].windows(2) {
            assert!(pair[0].stamp.number < pair[1].stamp.number, "{codec:?}: {pair:?}");
            // Matroska rounds to milliseconds.
            let captured = (pair[1].stamp.capture_us - pair[0].stamp.capture_us) as f64 / 1e6;
            assert!((pair[1].pts_s - pair[0].pts_s - captured).abs() < 0.0015, "{codec:?}: {pair:?}");
        }
    }
}

#[test]
fn another_encoding_loses_no_b_frame() {
    let files = tempfile::tempdir().unwrap();
    let small = Encoding { b_frames: true, ..Encoding::small(Source::Cars) };
    let camera = SimCamera::start(CameraSpec { main: small, ..CameraSpec::new("test") }).unwrap();
    let recording = Recording::start(&camera.url(Channel::Main), files.path().join("main.ts"));
    playing(&camera);
    let_pass(&camera, 40);
    camera.set_encoding(Encoding { width: 768, height: 432, gop_frames: 50, ..small }).unwrap();
    let_pass(&camera, 110);
    let path = recording.path.clone();
    prove(&camera, recording);
    decodes_clean(&path).unwrap();
    let mut numbers = sent(&camera);
    numbers.sort_unstable();
    // The last frames are on their way.
    prove_contiguous(&numbers[..numbers.len() - 3]).unwrap();
}

#[test]
fn a_camera_may_lie_about_its_frame_rate() {
    for codec in [Codec::H264, Codec::H265] {
        let main = Encoding { codec, claimed_fps: Some(50), ..Encoding::small(Source::Cars) };
        let camera = SimCamera::start(CameraSpec { main, ..CameraSpec::new("test") }).unwrap();
        let said = describe(camera.port(), &camera.url(Channel::Main));
        assert!(said.contains("a=framerate:50\r\n"), "{codec:?}: {said}");
        let file = main.cached().unwrap();
        assert_eq!(
            frames::ffprobe(&file, "v:0", &["-show_entries", "stream=r_frame_rate"]).unwrap()["streams"][0]["r_frame_rate"],
            "50/1"
        );
    }
}

#[test]
fn each_voice_is_heard_as_a_tone_beside_a_whole_video() {
    let files = tempfile::tempdir().unwrap();
    let running = VOICES.map(|voice| {
        let first = voice == Voice::Opus;
        let audio = Some(Audio { voice, mode: Mode::Steady, first });
        let camera = SimCamera::start(CameraSpec { audio, ..CameraSpec::new("test") }).unwrap();
        let path = files.path().join(format!("{}.mkv", camera.port()));
        let recording = Recording::start(&camera.url(Channel::Main), path);
        (voice, first, camera, recording)
    });
    for (voice, first, camera, recording) in running {
        playing(&camera);
        let_pass(&camera, 75);
        let first_stream = ask_ffprobe(&camera.url(Channel::Main), "0", "stream=codec_type");
        assert_eq!(first_stream.lines().next(), Some(if first { "audio" } else { "video" }), "{voice:?}");
        let path = recording.path.clone();
        prove(&camera, recording);
        let heard = heard_in(&path).unwrap().unwrap();
        let word = match voice {
            Voice::Aac { .. } => "aac",
            Voice::Opus => "opus",
            Voice::Pcma => "pcm_alaw",
            Voice::Pcmu => "pcm_mulaw",
        };
        assert_eq!(heard.codec, word);
        assert!((heard.hz - 1000.0).abs() < 20.0 && (heard.dbfs + 9.0).abs() < 1.5, "{heard:?}");
        let [(from, to)] = heard.loud[..] else { panic!("{voice:?}: {heard:?}") };
        assert!(to - from > 2.0, "{heard:?}");
        let steps: Vec<_> = camera.audio_sent_us().windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (hz, samples) = voice.samples();
        let packet_us = u64::from(samples) * 1_000_000 / u64::from(hz);
        assert!(steps.iter().all(|step| step.abs_diff(packet_us) <= 1), "{voice:?}: {steps:?}");
    }
}

#[test]
fn a_voice_may_never_come_or_fall_silent_and_return() {
    let files = tempfile::tempdir().unwrap();
    let never = SimCamera::start(with_audio(Voice::Pcma, Mode::Never)).unwrap();
    let camera = SimCamera::start(with_audio(Voice::Pcma, Mode::Steady)).unwrap();
    let of_never = Recording::start(&never.url(Channel::Main), files.path().join("never.mkv"));
    let recording = Recording::start(&camera.url(Channel::Main), files.path().join("main.mkv"));
    playing(&never);
    playing(&camera);
    let_pass(&camera, 60);
    camera.set_audio(Mode::Dies { after: Duration::ZERO }).unwrap();
    let_pass(&camera, 50);
    // Who comes while it is silent is told of it nevertheless.
    let streams = ask_ffprobe(&camera.url(Channel::Main), "a:0", "stream=codec_name");
    assert_eq!(streams.lines().next(), Some("pcm_alaw"));
    camera.set_audio(Mode::Steady).unwrap();
    let_pass(&camera, 50);
    let (path, of_never_path) = (recording.path.clone(), of_never.path.clone());
    prove(&camera, recording);
    prove(&never, of_never);

    assert!(never.audio_sent_us().is_empty());
    assert_eq!(heard_in(&of_never_path).unwrap().map_or(vec![], |heard| heard.loud), []);
    let heard = heard_in(&path).unwrap().unwrap();
    let [(_, dies), (returns, _)] = heard.loud[..] else { panic!("{heard:?}") };
    assert!(returns - dies > 1.5, "{heard:?}");
}

#[test]
fn sound_and_picture_are_of_one_clock() {
    let camera = SimCamera::start(with_audio(Voice::Pcma, Mode::Steady)).unwrap();
    let chains = "src. ! application/x-rtp, media=audio ! rtppcmadepay ! appsink name=heard sync=false";
    let pipeline = client(&camera, &format!("{FRAMES} {chains}"));
    let out = sink(&pipeline, "out");
    playing(&camera);
    let heard = sink(&pipeline, "heard");
    camera.set_audio(Mode::Returns { dies: Duration::from_secs(6), after: Duration::from_secs(7) }).unwrap();
    let (mut frames, mut packets) = (Vec::new(), Vec::new());
    while frames.len() < 220 {
        let sample = next(&out);
        let buffer = sample.buffer().unwrap();
        if let (Some(pts), Some(stamp)) = (buffer.pts(), stamp_in(Codec::H264, buffer)) {
            frames.push((pts, stamp.capture_us, told_us(buffer)));
        }
        while let Some(sample) = heard.try_pull_sample(gst::ClockTime::ZERO) {
            let buffer = sample.buffer().unwrap();
            packets.extend(buffer.pts().map(|pts| (pts, told_us(buffer))));
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    let gap = packets.windows(2).max_by_key(|pair| pair[1].0 - pair[0].0).unwrap();
    let sent = camera.audio_sent_us();
    let sent = sent.windows(2).max_by_key(|pair| pair[1] - pair[0]).unwrap();
    for (packet, sent_us) in gap.iter().zip(sent) {
        let frame =
            frames.iter().min_by_key(|(pts, ..)| pts.nseconds().abs_diff(packet.0.nseconds())).unwrap();
        let apart_us = (packet.0.nseconds() as i64 - frame.0.nseconds() as i64) / 1000;
        let off = frame.1 as i64 + apart_us - *sent_us as i64;
        let told = packet.1.map(|told| told - *sent_us as i64);
        println!("sound is {off} µs beside the picture, and {told:?} µs beside its capture");
        assert!(off.abs() < 5000 && told.is_some_and(|told| told.abs() < 5000));
    }
}

#[test]
fn aac_changes_its_rate_for_those_who_come_then() {
    let camera = SimCamera::start(with_audio(Voice::Aac { hz: 16_000 }, Mode::Steady)).unwrap();
    let url = camera.url(Channel::Main);
    let rate = || ask_ffprobe(&url, "a:0", "stream=sample_rate").lines().next().map(str::to_owned);
    assert_eq!(rate().as_deref(), Some("16000"));
    camera.set_audio(Mode::Changes { after: Duration::ZERO, hz: 32_000 }).unwrap();
    let_pass(&camera, 10);
    assert_eq!(rate().as_deref(), Some("32000"));
    assert!(
        SimCamera::start(with_audio(Voice::Opus, Mode::Steady))
            .unwrap()
            .set_audio(Mode::Changes { after: Duration::ZERO, hz: 32_000 })
            .is_err()
    );
}

/// What a peer answers to DESCRIBE.
fn describe(port: u16, url: &str) -> String {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    write!(client, "DESCRIBE {url} RTSP/1.0\r\nCSeq: 7\r\n\r\n").unwrap();
    let mut said = Vec::new();
    // It ends with a timeout, as the connection stays open.
    client.read_to_end(&mut said).unwrap_err();
    String::from_utf8_lossy(&said).into_owned()
}

/// The frames of an H.264 stream, each with its stamp where [`stamp_in`] finds it.
const FRAMES: &str = "src. ! rtph264depay ! video/x-h264, stream-format=byte-stream, alignment=au ! appsink name=out sync=false";

/// A client that plays; `chains` begin at `src.`.
fn client(camera: &SimCamera, chains: &str) -> gst::Pipeline {
    let text = format!(
        "rtspsrc name=src protocols=tcp latency=200 max-ts-offset=500000000 add-reference-timestamp-meta=true \
         {chains}"
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("src").unwrap().set_property("location", camera.url(Channel::Main));
    let (came, comes) = std::sync::mpsc::channel();
    let entry = sink(&pipeline, "out").static_pad("sink").unwrap();
    entry.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let _ = came.send(());
        gst::PadProbeReturn::Remove
    });
    // On a busy machine the server now and then sends a client its reports and nothing else (see `Rig::recording`).
    for _ in 0..3 {
        pipeline.set_state(gst::State::Playing).unwrap();
        if comes.recv_timeout(Duration::from_secs(8)).is_ok() {
            return pipeline;
        }
        pipeline.set_state(gst::State::Null).unwrap();
    }
    panic!("no frame came in three attempts");
}

fn sink(pipeline: &gst::Pipeline, name: &str) -> AppSink {
    pipeline.by_name(name).unwrap().downcast::<AppSink>().unwrap()
}

/// The next sample.
fn next(out: &AppSink) -> gst::Sample {
    out.try_pull_sample(gst::ClockTime::from_seconds(20)).unwrap()
}

/// The stamp in a buffer of a depayloader, with start codes.
pub(super) fn stamp_in(codec: Codec, buffer: &gst::BufferRef) -> Option<Stamp> {
    let bytes = buffer.map_readable().unwrap();
    NalUnits::new(&bytes[..]).find_map(|unit| Stamp::from_nal(codec, &unit.unwrap()))
}

/// The absolute time of a buffer as RTCP tells it, in microseconds since 1970.
pub(super) fn told_us(buffer: &gst::BufferRef) -> Option<i64> {
    let told = buffer.meta::<gst::ReferenceTimestampMeta>()?.timestamp();
    Some(i64::try_from(told.useconds()).unwrap() - NTP_TO_UNIX_US)
}

/// How far the absolute times of frames are from those in their stamps, in microseconds; `None` if none came for 150
/// frames.
fn told_off_by(camera: &SimCamera) -> Option<i64> {
    let pipeline = client(camera, FRAMES);
    let out = sink(&pipeline, "out");
    let told = (0..150).find_map(|_| {
        let sample = next(&out);
        let buffer = sample.buffer().unwrap();
        Some(told_us(buffer)? - i64::try_from(stamp_in(Codec::H264, buffer)?.capture_us).unwrap())
    });
    pipeline.set_state(gst::State::Null).unwrap();
    told
}

#[test]
fn sender_reports_tell_the_capture_time_or_what_they_are_told() {
    let camera = SimCamera::start(CameraSpec::new("test")).unwrap();
    let near = |off: Option<i64>, seconds: i64| {
        assert!(off.is_some_and(|off| (off - seconds * 1_000_000).abs() < 20_000), "{off:?}");
    };
    near(told_off_by(&camera), 0);
    camera.report(Reports::Off { seconds: -7200 });
    near(told_off_by(&camera), -7200);
    camera.report(Reports::Missing);
    assert_eq!(told_off_by(&camera), None);
}

#[test]
fn packets_go_wrong_as_ordered() {
    let files = tempfile::tempdir().unwrap();
    let frames = |camera: &SimCamera, name: &str, harm: &dyn Fn()| {
        let recording = Recording::start(&camera.url(Channel::Main), files.path().join(name));
        playing(camera);
        let_pass(camera, 40);
        harm();
        let_pass(camera, 60);
        let path = recording.path.clone();
        (recording.stop(), path)
    };
    let camera = SimCamera::start(CameraSpec::new("test")).unwrap();

    let (recorded, path) = frames(&camera, "huge.mkv", &|| camera.send_huge_frame(20_000_000));
    prove_sent(&sent(&camera), &recorded).unwrap();
    decodes_clean(&path).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 20_000_000);

    let packets = |count| -> Vec<Vec<u8>> {
        let pipeline = client(&camera, "src. ! application/x-rtp ! appsink name=out sync=false");
        let out = sink(&pipeline, "out");
        let packet = || next(&out).buffer().unwrap().map_readable().unwrap().to_vec();
        let packets = (0..count).map(|_| packet()).collect();
        pipeline.set_state(gst::State::Null).unwrap();
        packets
    };
    camera.set_empty_units(true);
    assert!(packets(60).iter().any(|packet| packet[12..15] == [24, 0, 0] && packet.ends_with(&[0, 0])));
    // ffmpeg chokes on them, GStreamer does not: what comes out are frames with their numbers.
    let pipeline = client(&camera, FRAMES);
    let out = sink(&pipeline, "out");
    let numbers: Vec<u64> =
        (0..60).map(|_| stamp_in(Codec::H264, next(&out).buffer().unwrap()).unwrap().number).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    prove_contiguous(&numbers).unwrap();
    camera.set_empty_units(false);

    camera.set_equal_timestamps(true);
    let times: HashSet<_> = packets(60).iter().map(|packet| packet[4..8].to_vec()).collect();
    assert_eq!(times.len(), 1);
    camera.set_equal_timestamps(false);

    camera.corrupt(5);
    let url = camera.url(Channel::Main);
    until("a stream with broken packets is still a stream", || opens(&url).is_ok());
}

#[test]
fn a_camera_is_found_among_64_media_lines() {
    let camera = SimCamera::start(CameraSpec::new("test")).unwrap();
    let peer = Peer::start(Misbehaviour::ManyStreams { camera_port: camera.port() }).unwrap();
    let said = describe(peer.port(), &peer.url_of("main"));
    assert_eq!((said.matches("\nm=").count(), said.matches("H264/90000").count()), (64, 1), "{said}");
}

/// Whether ffprobe can open a camera's main stream with this transport, as `user` if there is a login; else what it says.
fn opens_with(camera: &SimCamera, transport: &str, user: &str) -> Result<(), String> {
    opens_over(transport, &camera.url(Channel::Main).replace("://", &format!("://{user}")))
}

#[test]
fn datagrams_and_tls_go_as_ordered() {
    let udp = |udp| SimCamera::start(CameraSpec { udp, ..CameraSpec::new("test") }).unwrap();
    opens_with(&udp(Udp::Works), "udp", "").unwrap();
    let refusing = udp(Udp::Refused);
    assert!(opens_with(&refusing, "udp", "").unwrap_err().contains("461"));
    opens_with(&refusing, "tcp", "").unwrap();
    // Nothing comes, which takes as long as ffprobe may take.
    opens_once("udp", &udp(Udp::Lost).url(Channel::Main)).unwrap_err();

    let certificate = Some(Certificate::new().unwrap());
    let camera = SimCamera::start(CameraSpec { certificate, ..CameraSpec::new("test") }).unwrap();
    assert!(camera.url(Channel::Main).starts_with("rtsps://"));
    opens_with(&camera, "tcp", "").unwrap();
    camera.set_certificate(&Certificate::new().unwrap()).unwrap();
    opens_with(&camera, "tcp", "").unwrap();
}

#[test]
fn a_password_is_asked_for_as_ordered() {
    for (asks, digest, basic) in
        [(Asks::Digest, true, false), (Asks::Basic, false, true), (Asks::Both, true, true)]
    {
        let login = Some(Login { user: "admin".into(), password: "one".into() });
        let camera = SimCamera::start(CameraSpec { login, asks, ..CameraSpec::new("test") }).unwrap();
        let said = describe(camera.port(), &camera.url(Channel::Main));
        let offers = |word: &str| said.contains(&format!("WWW-Authenticate: {word} realm=\"sim\""));
        assert_eq!((offers("Digest"), offers("Basic")), (digest, basic), "{said}");
        opens_with(&camera, "tcp", "admin:one@").unwrap();
        camera.set_password("two").unwrap();
        opens_with(&camera, "tcp", "admin:one@").unwrap_err();
        opens_with(&camera, "tcp", "admin:two@").unwrap();
    }
}
