//! Times: RTP, sender reports, ONVIF replay, and when a stream has ended.

use super::*;
use crate::base::WallUs;

const NTP_2026: u64 = (1_795_168_800 + 2_208_988_800) << 32;
const START: WallUs = WallUs(1_795_168_800_000_000);

#[test]
fn pictures_after_a_sender_report_have_the_cameras_time() {
    let mut camera = Camera::new(Codec::H264);
    let start = camera.time;
    camera.picture(&[idr(0, 100)]);
    camera.picture(&[predicted(0, 100)]);
    assert_eq!(camera.track.last_report(), None);
    camera.sender_report(7, NTP_2026, start.wrapping_add(7200));
    let reported = camera.now;
    camera.picture(&[predicted(0, 100)]);
    camera.sender_report(7, 0, 0);
    camera.sender_report(99, NTP_2026 >> 1, 5);
    camera.picture(&[predicted(0, 100)]);
    assert_eq!(camera.track.last_report(), Some(reported + Duration::from_millis(40)));
    let (pictures, _) = camera.finish();
    let times: Vec<_> = pictures.iter().map(|picture| picture.camera_time).collect();
    // The second picture was complete when the third began.
    assert_eq!(times, [None, Some(START.plus_us(-40_000)), Some(START), Some(START.plus_us(40_000))]);
    let rtp: Vec<_> = pictures.iter().map(|picture| picture.rtp_time.unwrap().wrapping_sub(start)).collect();
    assert_eq!(rtp, [0, 3600, 7200, 10_800]);
}

#[test]
fn another_source_has_no_time_before_its_own_report() {
    let mut camera = Camera::new(Codec::H264);
    camera.sender_report(7, NTP_2026, camera.time);
    camera.picture(&[idr(0, 100)]);
    camera.ssrc = 8;
    camera.picture(&[idr(0, 100)]);
    camera.picture(&[idr(0, 100)]);
    let (pictures, _) = camera.finish();
    let times: Vec<_> = pictures.iter().map(|picture| picture.camera_time).collect();
    assert_eq!(times, [Some(START), None, None]);
}

#[test]
fn a_picture_arrives_with_its_last_byte() {
    let mut camera = Camera::new(Codec::H264);
    camera.nal(&idr(0, 100), false);
    camera.now += Duration::from_millis(7);
    camera.nal(&idr(300, 100), true);
    let last = camera.now;
    camera.now += Duration::from_millis(7);
    camera.send(SEI, false);
    camera.pass_frame();
    camera.picture(&[predicted(0, 100)]);
    let (pictures, _) = camera.finish();
    assert_eq!(pictures[0].arrived, last);
}

#[test]
fn times_hours_off_are_passed_on_and_cost_no_picture() {
    let mut camera = Camera::new(Codec::H264);
    let mut sent = Vec::new();
    for n in 0..40 {
        let off = if n % 10 == 7 { 9800u32.wrapping_mul(90_000) } else { 0 };
        camera.time = camera.time.wrapping_sub(off);
        sent.push(camera.time);
        camera.picture(&[if n % 20 == 0 { idr(0, 3000) } else { predicted(0, 1500) }]);
        camera.time = camera.time.wrapping_add(off);
    }
    let (pictures, damage) = camera.finish();
    assert_eq!(pictures.iter().filter_map(|picture| picture.rtp_time).collect::<Vec<_>>(), sent);
    assert_eq!(damage, Damage::default());
}

fn replay_extension(us: i64, flags: u8) -> (u16, Vec<u8>) {
    let seconds = NTP_2026 + (u64::try_from(us).unwrap() << 32) / 1_000_000;
    (0xabac, [&seconds.to_be_bytes()[..], &[flags, 0, 0, 0]].concat())
}

fn replaying(codec: Codec) -> Camera {
    let mut camera = Camera::new(codec);
    let mut replay = setup(TrackCodec::Video(codec));
    replay.replay = true;
    camera.track = Track::new(replay).unwrap();
    camera
}

#[test]
fn a_replay_has_the_times_of_its_header_extension_and_ends_with_its_last_picture() {
    for marked in [true, false] {
        let mut camera = replaying(Codec::H264);
        camera.sender_report(7, NTP_2026 << 1, 0);
        for n in 0..4u8 {
            // Only the first packet of a picture has the extension. The third follows an interruption (bit D).
            let flags = [0x80, 0x00, 0x20, 0x10][usize::from(n)];
            camera.extension = Some(replay_extension(i64::from(n) * 500_000, flags));
            camera.nal(&hex(SPS), false);
            camera.extension = None;
            camera.nal(&hex(PPS), false);
            camera.nal(&idr(0, 5000), marked);
            camera.time = camera.time.wrapping_add(45_000);
        }
        camera.silence(2000);
        assert!(matches!(camera.out.pop(), Some(TrackOutput::End)));
        let pictures = camera.pictures();
        let times: Vec<_> = pictures.iter().map(|picture| picture.camera_time.unwrap()).collect();
        assert_eq!(times, [0, 500_000, 1_000_000, 1_500_000].map(|us| START.plus_us(us)));
        assert_eq!(camera.track.damage(), Damage::default());
        camera.silence(2000);
        assert!(camera.out.is_empty());
    }
}

#[test]
fn a_replay_ends_although_its_last_picture_is_lost() {
    let mut camera = replaying(Codec::H264);
    camera.picture(&[hex(SPS), hex(PPS), idr(0, 100)]);
    camera.extension = Some(replay_extension(0, 0x10));
    camera.send(&[0x7c, 0x05, 1, 2, 3], true);
    camera.silence(3000);
    assert!(matches!(camera.out[..], [TrackOutput::Video(_), TrackOutput::End]));
}

#[test]
fn without_the_extension_a_replay_has_no_times() {
    let mut camera = replaying(Codec::H264);
    camera.sender_report(7, NTP_2026, camera.time);
    camera.picture(&[hex(SPS), hex(PPS), idr(0, 100)]);
    assert_eq!(camera.finish().0[0].camera_time, None);
}

#[test]
fn bye_ends_the_stream_after_silence_only() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 100)]);
    camera.bye();
    camera.silence(900);
    camera.picture(&[predicted(0, 100)]);
    camera.silence(5000);
    assert!(camera.out.iter().all(|output| matches!(output, TrackOutput::Video(_))), "it went on");
    camera.picture(&[predicted(0, 100)]);
    camera.bye();
    camera.silence(999);
    assert!(camera.out.iter().all(|output| matches!(output, TrackOutput::Video(_))));
    camera.silence(1);
    assert!(matches!(camera.out.pop(), Some(TrackOutput::End)));
    assert_eq!(camera.out.len(), 3);
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 100)]);
    camera.ssrc = 8;
    camera.bye();
    camera.silence(3000);
    assert!(matches!(camera.out[..], [TrackOutput::Video(_)]), "another source left");
}

#[test]
fn reports_among_the_packets_are_understood() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 100)]);
    let mut report = vec![0x80, 200, 0, 6, 0, 0, 0, 7];
    report.extend(NTP_2026.to_be_bytes());
    report.extend(camera.time.to_be_bytes());
    report.extend([0; 8]);
    camera.track.rtp(&report, camera.now, &mut camera.out);
    camera.picture(&[predicted(0, 100)]);
    let (pictures, damage) = camera.finish();
    assert_eq!((pictures[1].camera_time, damage), (Some(START), Damage::default()));
}

#[test]
fn receiver_reports_name_the_source() {
    let mut camera = Camera::new(Codec::H264);
    assert_eq!(camera.track.receiver_report(camera.now), None);
    camera.picture(&[idr(0, 100)]);
    let report = camera.track.receiver_report(camera.now).unwrap();
    assert_eq!(report[..4], [0x81, 201, 0, 7]);
    assert_eq!(report[8..12], [0, 0, 0, 7]);
}
