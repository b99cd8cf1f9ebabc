//! Sound: AAC, Opus and G.711.

use super::*;
use crate::model::{segment::AudioCodec, unit::AudioUnit};

fn sound(codec: AudioCodec, clock_rate: u32, channels: u8, fmtp: &[(&str, &str)]) -> Camera {
    let fmtp = fmtp.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let setup = TrackSetup { clock_rate, channels, fmtp, ..setup(TrackCodec::Audio(codec)) };
    let mut camera = Camera::with(setup, Codec::H264);
    camera.time = 1000;
    camera
}

const HBR: [(&str, &str); 4] =
    [("mode", "AAC-hbr"), ("sizelength", "13"), ("indexlength", "3"), ("indexdeltalength", "3")];

fn aac(config: &str, clock_rate: u32) -> Camera {
    sound(AudioCodec::Aac, clock_rate, 1, &[&HBR[..], &[("config", config)]].concat())
}

fn units(camera: &mut Camera) -> Vec<AudioUnit> {
    let unit = |output| match output {
        TrackOutput::Audio(unit) => Some(unit),
        _ => None,
    };
    std::mem::take(&mut camera.out).into_iter().filter_map(unit).collect()
}

fn frames(sizes: &[u16], data: &[&[u8]]) -> Vec<u8> {
    let mut payload = u16::try_from(16 * sizes.len()).unwrap().to_be_bytes().to_vec();
    sizes.iter().for_each(|size| payload.extend((size << 3).to_be_bytes()));
    payload.extend(data.concat());
    payload
}

#[test]
fn several_frames_of_a_packet_have_their_own_times() {
    let mut camera = aac("1190", 48_000);
    camera.send(&frames(&[3, 2, 4], &[b"abc", b"de", b"fghi"]), true);
    let units = units(&mut camera);
    let found: Vec<_> = units.iter().map(|unit| (&unit.data[..], unit.rtp_time, unit.ticks)).collect();
    let expected: [(&[u8], _, _); 3] =
        [(b"abc", Some(1000), 1024), (b"de", Some(2024), 1024), (b"fghi", Some(3048), 1024)];
    assert_eq!(found, expected);
    let format = &units[0].format;
    assert_eq!((format.rate, format.channels, &format.configuration[..]), (48_000, 2, &[0x11, 0x90][..]));
}

#[test]
fn a_frame_may_come_in_several_packets() {
    let mut camera = aac("1408", 16_000);
    let frame: Vec<u8> = (0..3000u32).map(|n| n as u8 | 1).collect();
    for part in [&frame[..1400], &frame[1400..2800], &frame[2800..]] {
        camera.send(&frames(&[3000], &[part]), part.len() == 200);
    }
    camera.time += 1024;
    camera.send(&frames(&[3], &[b"abc"]), true);
    let found = units(&mut camera);
    assert_eq!(found.iter().map(|unit| unit.data.len()).collect::<Vec<_>>(), [3000, 3]);
    assert_eq!(found[0].data, frame);
    assert_eq!(camera.track.damage(), Damage::default());
    // With a part missing nothing of it is delivered.
    camera.send(&frames(&[3000], &[&frame[..1400]]), false);
    camera.lose();
    camera.send(&frames(&[3000], &[&frame[2800..]]), true);
    camera.time += 1024;
    camera.send(&frames(&[3], &[b"abc"]), true);
    assert_eq!(units(&mut camera).len(), 1);
    let damage = camera.track.damage();
    assert_eq!((damage.lost_packets, damage.damaged_units > 0), (1, true));
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let mut camera = aac("1190", 48_000);
    for payload in [&[][..], &[0], &[0, 16], &[0xff, 0xff, 1, 2], &[0, 8, 1, 2], &[0, 16, 0, 0]] {
        camera.send(payload, true);
    }
    camera.send(&frames(&[3, 90], &[b"abc", b"de"]), true);
    assert_eq!(units(&mut camera).iter().map(|unit| unit.data.to_vec()).collect::<Vec<_>>(), [b"abc"]);
    assert_eq!(camera.track.damage().damaged_units, 7);
}

#[test]
fn configurations_give_rate_channels_and_length() {
    // AAC-LC at 8 kHz; an explicit rate; HE-AAC at 24/48 kHz; 960 samples; none, or one that cannot be read.
    for (config, clock, channels, ticks, kept) in [
        ("1588", 8000, 1, 1024, "1588"),
        ("\"1210\"", 44_100, 2, 1024, "1210"),
        ("17800 5dc08", 24_000, 1, 1024, "1308"),
        ("17802ee008", 24_000, 1, 1024, "17802ee008"),
        ("2b118800", 48_000, 2, 2048, "2b118800"),
        ("118c", 48_000, 1, 960, "118c"),
        ("", 16_000, 1, 1024, "1408"),
        ("xyz", 44_100, 1, 1024, "1208"),
        ("ffff", 5000, 1, 1024, "1780 09c408"),
    ] {
        let mut camera = aac(config, clock);
        camera.send(&frames(&[3], &[b"abc"]), true);
        let unit = &units(&mut camera)[0];
        let format = &unit.format;
        assert_eq!((format.rate, format.channels, unit.ticks), (clock, channels, ticks), "{config}");
        assert_eq!(format.configuration, hex(&kept.replace(' ', "")), "{config}");
    }
}

#[test]
fn low_bit_rate_mode_and_missing_lengths_are_understood() {
    let lbr = [("mode", "AAC-lbr"), ("sizelength", "6"), ("indexlength", "2"), ("indexdeltalength", "2")];
    let mut camera = sound(AudioCodec::Aac, 8000, 1, &lbr);
    camera.send(&[0, 16, 3 << 2, 2 << 2, b'a', b'b', b'c', b'd', b'e'], true);
    assert_eq!(units(&mut camera).iter().map(|unit| unit.data.len()).collect::<Vec<_>>(), [3, 2]);
    let mut camera = sound(AudioCodec::Aac, 8000, 1, &[]);
    camera.send(&frames(&[3], &[b"abc"]), true);
    assert_eq!(units(&mut camera).len(), 1);
}

#[test]
fn adts_headers_are_taken_off() {
    let mut camera = aac("1190", 48_000);
    camera.send(&frames(&[10], &[&[0xff, 0xf1, 0x4c, 0x80, 0x01, 0x5f, 0xfc], b"abc"]), true);
    assert_eq!(units(&mut camera)[0].data, &b"abc"[..]);
}

#[test]
fn opus_and_g711_pass_as_they_are() {
    let mut camera = sound(AudioCodec::Opus, 48_000, 2, &[]);
    camera.send(&[0x78, 1, 2], false);
    let unit = &units(&mut camera)[0];
    assert_eq!((&unit.data[..], unit.ticks, unit.format.channels), (&[0x78, 1, 2][..], 960, 2));
    for (codec, rate) in [(AudioCodec::Pcma, 8000), (AudioCodec::Pcmu, 16_000)] {
        let mut camera = sound(codec, rate, 1, &[]);
        camera.send(&[0xd5; 320], false);
        camera.send(&[], false);
        let units = units(&mut camera);
        assert_eq!((units.len(), units[0].ticks, units[0].rtp_time), (1, 320, Some(1000)));
        assert_eq!((units[0].format.codec, units[0].format.rate), (codec, rate));
    }
}
