//! How NAL units come in packets: rightly, and as some cameras send them.

use super::*;

fn sets() -> [Vec<u8>; 2] {
    [hex(SPS), hex(PPS)]
}

#[test]
fn single_aggregated_and_fragmented_units_make_pictures() {
    let mut camera = Camera::new(Codec::H264);
    let [sps, pps] = sets();
    camera.send(&aggregation(Codec::H264, &[AUD, &sps, &pps, SEI]), false);
    camera.nal(&idr(0, 5000), true);
    camera.pass_frame();
    camera.picture(&[AUD.to_vec(), predicted(0, 300)]);
    camera.picture(&[predicted(0, 1400)]);
    let expected = [
        vec![AUD.to_vec(), SEI.to_vec(), idr(0, 5000)],
        vec![AUD.to_vec(), predicted(0, 300)],
        vec![predicted(0, 1400)],
    ];
    let (pictures, damage) = camera.finish();
    assert_eq!(shape(&pictures), expected.map(|nals| (nals, false)));
    assert_eq!(damage, Damage::default());
    assert_eq!(pictures.iter().map(|picture| picture.key).collect::<Vec<_>>(), [true, false, false]);
    let format = &pictures[0].format;
    assert_eq!((format.width, format.height, format.fps_declared), (1920, 1080, Some(25.0)));
}

#[test]
fn aggregated_and_fragmented_units_of_h265_make_pictures() {
    let mut camera = Camera::new(Codec::H265);
    let (vps, sps, pps) = (hex(VPS_265), hex(SPS_265), hex(PPS_265));
    camera.send(&aggregation(Codec::H265, &[&vps, &sps, &pps]), false);
    camera.nal(&slice_265(19, 0, 5000), false);
    camera.nal(&slice_265(19, 200, 3000), true);
    camera.pass_frame();
    camera.picture(&[slice_265(1, 0, 1401), slice_265(1, 30, 50)]);
    let (pictures, damage) = camera.finish();
    let expected = [
        vec![slice_265(19, 0, 5000), slice_265(19, 200, 3000)],
        vec![slice_265(1, 0, 1401), slice_265(1, 30, 50)],
    ];
    assert_eq!(shape(&pictures), expected.map(|nals| (nals, false)));
    assert_eq!(damage, Damage::default());
    assert_eq!((pictures[0].key, pictures[1].key), (true, false));
    assert_eq!((pictures[0].format.width, pictures[0].format.height), (1920, 1080));
}

#[test]
fn a_fragment_may_be_first_and_last_and_have_the_reserved_bit() {
    let mut camera = Camera::new(Codec::H264);
    let nal = predicted(0, 100);
    camera.send(&[&[nal[0] & 0xe0 | 28, 0xc0 | 0x20 | nal[0] & 0x1f], &nal[1..]].concat(), true);
    camera.pass_frame();
    for part in fragments(Codec::H264, &idr(0, 4000), 1400) {
        camera.send(&[&part[..1], &[part[1] | 0x20], &part[2..]].concat(), part[1] & 0x40 != 0);
    }
    assert_whole(camera, &[vec![nal], vec![idr(0, 4000)]]);
}

#[test]
fn a_run_with_start_codes_is_taken_apart_wherever_packets_cut_it() {
    for codec in [Codec::H264, Codec::H265] {
        let run = match codec {
            Codec::H264 => vec![hex(SPS), hex(PPS), SEI.to_vec(), idr(0, 90), idr(500, 80)],
            Codec::H265 => {
                let sets = [VPS_265, SPS_265, PPS_265].map(hex).to_vec();
                [sets, vec![SEI_265.to_vec(), slice_265(20, 0, 90), slice_265(20, 99, 80)]].concat()
            }
        };
        let next = if codec == Codec::H264 { predicted(0, 60) } else { slice_265(1, 0, 60) };
        let expected = [run[run.len() - 3..].to_vec(), vec![next.clone()]];
        for code in [&[0, 0, 1][..], &[0, 0, 0, 1], &[0, 0, 0, 0, 0, 1]] {
            for mtu in (6..150).chain([1000]) {
                let joined = run.join(code);
                let mut camera = Camera::new(codec);
                camera.mtu = mtu;
                camera.picture(std::slice::from_ref(&joined));
                camera.picture(std::slice::from_ref(&next));
                assert_whole(camera, &expected);
                let mut camera = Camera::new(codec);
                camera.mtu = mtu;
                camera.picture(&[[code, &joined, code].concat()]);
                camera.picture(std::slice::from_ref(&next));
                assert_whole(camera, &expected);
            }
        }
    }
}

#[test]
fn units_with_a_start_code_before_or_behind_them_are_taken() {
    let code = [0, 0, 0, 1];
    for mtu in [1400, 40] {
        let mut camera = Camera::new(Codec::H264);
        camera.mtu = mtu;
        let before = |nal: Vec<u8>| [&code[..], &nal].concat();
        let behind = |nal: Vec<u8>| [&nal[..], &code].concat();
        camera.picture(&[before(hex(SPS)), before(hex(PPS)), before(idr(0, 200))]);
        camera.picture(&[behind(hex(SPS)), behind(hex(PPS)), behind(idr(0, 200))]);
        camera.picture(&[[predicted(0, 90), vec![0, 0, 0]].concat()]);
        assert_whole(camera, &[vec![idr(0, 200)], vec![idr(0, 200)], vec![predicted(0, 90)]]);
    }
}

#[test]
fn a_start_code_in_data_of_the_cameras_own_is_content() {
    let mut camera = Camera::new(Codec::H264);
    let sei = [6, 5, 12, 1, 0, 0, 1, 0xff, 0, 0, 1, 0x9c, 5, 5, 5, 0x80].to_vec();
    camera.picture(&[sei.clone(), idr(0, 50)]);
    assert_whole(camera, &[vec![sei, idr(0, 50)]]);
}

#[test]
fn a_fragment_without_its_start_is_damage_and_the_next_unit_is_whole() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 100)]);
    let parts = fragments(Codec::H264, &predicted(0, 5000), 1400);
    camera.send_all(&parts[1..], true);
    camera.pass_frame();
    camera.picture(&[predicted(0, 70)]);
    camera.picture(&[predicted(0, 80)]);
    let (pictures, damage) = camera.finish();
    let expected =
        [(vec![idr(0, 100)], false), (vec![predicted(0, 70)], true), (vec![predicted(0, 80)], false)];
    assert_eq!(shape(&pictures), expected);
    assert_eq!(damage, Damage { damaged_units: 1, ..Damage::default() });
}

#[test]
fn a_missing_end_bit_is_damage_unless_the_marker_says_the_end() {
    for marker in [false, true] {
        let mut camera = Camera::new(Codec::H264);
        camera.picture(&[idr(0, 100)]);
        for _ in 0..2 {
            let mut parts = fragments(Codec::H264, &predicted(0, 3000), 1400);
            parts[2][1] &= !0x40;
            camera.send_all(&parts, marker);
            camera.pass_frame();
        }
        camera.picture(&[predicted(0, 80)]);
        let (pictures, damage) = camera.finish();
        let cut = (vec![predicted(0, 3000)], !marker);
        let expected = [(vec![idr(0, 100)], false), cut.clone(), cut, (vec![predicted(0, 80)], false)];
        assert_eq!(shape(&pictures), expected);
        assert_eq!(damage.damaged_units, if marker { 0 } else { 2 });
    }
}

#[test]
fn a_last_picture_without_end_bit_is_delivered_when_silence_follows_its_marker() {
    let mut camera = Camera::new(Codec::H264);
    let mut parts = fragments(Codec::H264, &idr(0, 3000), 1400);
    parts[2][1] &= !0x40;
    camera.send_all(&parts, true);
    camera.silence(150);
    assert_eq!(shape(&camera.pictures()), [(vec![idr(0, 3000)], false)]);
}

#[test]
fn a_fragment_of_another_unit_ends_the_one_before() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 100)]);
    let mut parts = fragments(Codec::H264, &predicted(0, 5000), 1400);
    parts[2][1] = parts[2][1] & 0xe0 | 5;
    camera.send_all(&parts, true);
    camera.pass_frame();
    camera.picture(&[predicted(0, 80)]);
    let (pictures, damage) = camera.finish();
    assert_eq!(shape(&pictures), [(vec![idr(0, 100)], false), (vec![predicted(0, 80)], true)]);
    assert_eq!(damage.damaged_units, 2, "the one that is missing, and the one that refers to it");
}

#[test]
fn what_fits_of_an_aggregation_packet_is_taken() {
    let mut camera = Camera::new(Codec::H264);
    let mut payload = aggregation(Codec::H264, &[SEI, &idr(0, 60), &idr(300, 60)]);
    payload.truncate(payload.len() - 1);
    camera.send(&payload, true);
    camera.pass_frame();
    camera.picture(&[predicted(0, 80)]);
    camera.send(&[aggregation(Codec::H264, &[&predicted(0, 70), &[]]), vec![0, 0, 0]].concat(), true);
    camera.pass_frame();
    let (pictures, _) = camera.finish();
    let expected = [
        (vec![SEI.to_vec(), idr(0, 60)], true),
        (vec![predicted(0, 80)], false),
        (vec![predicted(0, 70)], false),
    ];
    assert_eq!(shape(&pictures), expected);
}

#[test]
fn units_that_cannot_be_are_left_out() {
    let mut camera = Camera::new(Codec::H264);
    camera.send(&[], false);
    camera.send(&[0x1e, 1, 2, 3], false);
    camera.picture(&[idr(0, 100)]);
    camera.nal(&predicted(0, 60), false);
    camera.nal(&[&[0x81][..], &predicted(300, 60)[1..]].concat(), false);
    camera.send(&[0x79, 0, 0, 0, 5, 1, 1, 1, 1, 1], true);
    camera.pass_frame();
    camera.send(&[0x7c], false);
    camera.picture(&[predicted(0, 70)]);
    camera.picture(&[predicted(0, 80)]);
    let (pictures, damage) = camera.finish();
    let damaged: Vec<bool> = pictures.iter().map(|picture| picture.damaged).collect();
    assert_eq!(damaged, [false, true, true, false]);
    assert_eq!(nals(&pictures[1]), [predicted(0, 60)]);
    assert_eq!(damage.damaged_units, 2);
}

#[test]
fn a_picture_without_end_is_dropped_and_the_next_one_is_whole() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 100)]);
    let body = vec![0xa5; 60_000];
    let begin = predicted(0, 40);
    camera.send(&[&[begin[0] & 0xe0 | 28, 0x80 | 1], &begin[1..]].concat(), false);
    for _ in 0..600 {
        camera.send(&[&[begin[0] & 0xe0 | 28, 1], &body[..]].concat(), false);
    }
    camera.send(&[&[begin[0] & 0xe0 | 28, 0x41], &body[..]].concat(), true);
    camera.nal(&predicted(300, 100), true);
    camera.pass_frame();
    camera.picture(&[predicted(0, 80)]);
    camera.picture(&[idr(0, 90)]);
    let (pictures, damage) = camera.finish();
    let expected = [(vec![idr(0, 100)], false), (vec![predicted(0, 80)], true), (vec![idr(0, 90)], false)];
    assert_eq!(shape(&pictures), expected);
    assert_eq!(damage.damaged_units, 2);
}

#[test]
fn a_keyframe_of_20_mb_is_whole() {
    let mut camera = Camera::new(Codec::H265);
    let key = slice_265(19, 0, 20 << 20);
    camera.picture(std::slice::from_ref(&key));
    camera.picture(&[slice_265(1, 0, 100)]);
    assert_whole(camera, &[vec![key], vec![slice_265(1, 0, 100)]]);
}

#[test]
fn a_session_that_begins_inside_a_picture_begins_with_the_next_one() {
    let mut camera = Camera::new(Codec::H264);
    camera.send_all(&fragments(Codec::H264, &idr(300, 5000), 1400)[2..], false);
    camera.nal(&idr(600, 100), true);
    camera.pass_frame();
    camera.picture(&[predicted(0, 80), predicted(300, 80)]);
    assert_whole(camera, &[vec![predicted(0, 80), predicted(300, 80)]]);
}
