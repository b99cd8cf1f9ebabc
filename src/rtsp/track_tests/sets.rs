//! Parameter sets: from the session description or in band, repeated, changed, contradicting, unusable; and what is a keyframe.

use std::sync::Arc;

use super::*;

fn bare() -> Camera {
    Camera::with(setup(TrackCodec::Video(Codec::H264)), Codec::H264)
}

#[test]
fn nothing_is_delivered_or_counted_before_a_format_is_known() {
    let mut camera = bare();
    camera.picture(&[idr(0, 100)]);
    camera.picture(&[predicted(0, 100)]);
    camera.lose();
    camera.picture(&[predicted(0, 100)]);
    camera.picture(&[hex(SPS), idr(0, 100)]);
    camera.picture(&[hex(PPS), idr(0, 120)]);
    let (pictures, damage) = camera.finish();
    assert_eq!(shape(&pictures), [(vec![idr(0, 120)], false)]);
    assert_eq!(damage, Damage { lost_packets: 1, ..Damage::default() });
}

#[test]
fn repetitions_keep_the_format() {
    let mut camera = Camera::new(Codec::H264);
    for n in 0..6 {
        camera.picture(&[hex(SPS), [hex(PPS), vec![0, 0]].concat(), idr(0, 100 + n)]);
    }
    let (pictures, _) = camera.finish();
    assert!(pictures.iter().all(|picture| Arc::ptr_eq(&picture.format, &pictures[0].format)));
    assert_eq!(nals(&pictures[5]), [idr(0, 105)]);
}

#[test]
fn sets_in_band_win_from_the_picture_that_follows_them() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[predicted(0, 90)]);
    camera.picture(&[hex(OTHER_SPS), hex(OTHER_PPS), idr(0, 100)]);
    camera.picture(&[predicted(0, 100)]);
    camera.picture(&[hex(SPS), hex(PPS), idr(0, 110)]);
    let (pictures, damage) = camera.finish();
    let widths: Vec<u32> = pictures.iter().map(|picture| picture.format.width).collect();
    assert_eq!(widths, [1920, 1280, 1280, 1920]);
    assert_eq!(nals(&pictures[1]), [idr(0, 100)], "a keyframe's sets are in its format");
    assert_eq!(damage, Damage::default());
}

#[test]
fn new_sets_before_another_picture_than_a_keyframe_stay_in_it() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 100)]);
    camera.picture(&[AUD.to_vec(), hex(SPS), hex(OTHER_PPS), SEI.to_vec(), predicted(0, 100)]);
    camera.picture(&[hex(SPS), hex(OTHER_PPS), predicted(0, 100)]);
    let (pictures, _) = camera.finish();
    assert_eq!(nals(&pictures[1]), [AUD.to_vec(), hex(OTHER_PPS), SEI.to_vec(), predicted(0, 100)]);
    assert_eq!(nals(&pictures[2]), [predicted(0, 100)]);
    assert!(!Arc::ptr_eq(&pictures[0].format, &pictures[1].format));
    assert!(Arc::ptr_eq(&pictures[1].format, &pictures[2].format));
}

#[test]
fn sets_that_change_and_change_back_before_a_picture_change_nothing() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 100)]);
    camera.picture(&[hex(OTHER_PPS), hex(PPS), idr(0, 100)]);
    let (pictures, _) = camera.finish();
    assert!(Arc::ptr_eq(&pictures[0].format, &pictures[1].format));
}

#[test]
fn an_unusable_set_is_counted_and_leaves_the_format() {
    let mut camera = Camera::new(Codec::H264);
    let mut long = hex(SPS);
    long.resize(9000, 0x55);
    camera.picture(&[hex(SPS)[..6].to_vec(), long, idr(0, 100)]);
    let (pictures, damage) = camera.finish();
    assert_eq!(shape(&pictures), [(vec![idr(0, 100)], false)]);
    assert_eq!((pictures[0].format.width, damage.damaged_units), (1920, 2));
}

#[test]
fn session_descriptions_may_be_damaged() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
    let (sps, pps) = (hex(SPS), hex(PPS));
    let run = [&[0, 0, 0, 1][..], &sps, &[0, 0, 0, 1], &pps].concat();
    for (value, width) in [
        (
            format!("{},{}", base64(&sps).trim_end_matches('='), base64(&pps).trim_end_matches('=')),
            Some(1920),
        ),
        (format!("\"{} , {}\"", base64(&sps), base64(&pps)), Some(1920)),
        (format!("{},{},!!!", base64(&[&sps[..], &[0, 0, 0, 1]].concat()), base64(&pps)), Some(1920)),
        (base64(&run), Some(1920)),
        (base64(&sps), None),
        (format!("{},", base64(&pps)), None),
        (",,=,".to_owned(), None),
        (String::new(), None),
    ] {
        let mut setup = setup(TrackCodec::Video(Codec::H264));
        setup.fmtp = vec![
            ("packetization-mode".to_owned(), "1".to_owned()),
            ("sprop-parameter-sets".to_owned(), value),
        ];
        let mut camera = Camera::with(setup, Codec::H264);
        camera.picture(&[idr(0, 100)]);
        let (pictures, damage) = camera.finish();
        assert_eq!(pictures.first().map(|picture| picture.format.width), width);
        assert_eq!(damage, Damage::default());
    }
}

#[test]
fn a_clock_rate_of_0_is_refused() {
    let setup = TrackSetup { clock_rate: 0, ..setup(TrackCodec::Video(Codec::H264)) };
    assert!(Track::new(setup).unwrap_err().0.contains("clock rate"));
}

#[test]
fn recovery_points_and_intra_pictures_with_sets_are_keyframes() {
    const RECOVERY_POINT: &[u8] = &[6, 5, 1, 0xaa, 6, 1, 0xc4, 0x80];
    let sets = || vec![hex(SPS), hex(PPS)];
    let intra = |first_mb| slice(0x41, first_mb, 7, 80);
    for (nals, key) in [
        ([sets(), vec![intra(0), intra(300)]].concat(), true),
        ([sets(), vec![intra(0), predicted(300, 80)]].concat(), false),
        ([sets(), vec![predicted(0, 80)]].concat(), false),
        (vec![intra(0)], false),
        (vec![hex(SPS), intra(0)], false),
        (vec![RECOVERY_POINT.to_vec(), intra(0)], true),
        (vec![RECOVERY_POINT.to_vec(), predicted(0, 80)], true),
        (vec![SEI.to_vec(), predicted(0, 80)], false),
    ] {
        let mut camera = Camera::new(Codec::H264);
        camera.picture(&[predicted(0, 90)]);
        camera.picture(&nals);
        camera.picture(&[predicted(0, 90)]);
        let (pictures, _) = camera.finish();
        let keys: Vec<bool> = pictures.iter().map(|picture| picture.key).collect();
        assert_eq!(keys, [false, key, false], "{nals:02x?}");
    }
}

#[test]
fn intra_pictures_are_keyframes_of_a_stream_that_marks_none() {
    let intra = || slice(0x41, 0, 7, 80);
    let keys = |nals: &[Vec<u8>]| {
        let mut camera = Camera::new(Codec::H264);
        nals.iter().for_each(|nal| camera.picture(std::slice::from_ref(nal)));
        let (pictures, _) = camera.finish();
        pictures.iter().map(|picture| picture.key).collect::<Vec<bool>>()
    };
    let (p, i) = (|| predicted(0, 90), intra);
    assert_eq!(keys(&[p(), i(), p(), i(), p(), i()]), [false, false, false, true, false, true]);
    assert_eq!(keys(&[idr(0, 100), i(), p(), i(), p(), i()]), [true, false, false, false, false, false]);
}

#[test]
fn all_kinds_of_random_access_pictures_of_h265_are_keyframes() {
    for kind in [0, 1, 8, 9, 16, 17, 18, 19, 20, 21] {
        let mut camera = Camera::new(Codec::H265);
        camera.picture(&[slice_265(kind, 0, 80)]);
        let (pictures, _) = camera.finish();
        assert_eq!(pictures[0].key, kind >= 16, "{kind}");
    }
}
