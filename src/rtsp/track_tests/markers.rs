//! Where pictures end: markers too many, too few or right, SEI behind pictures, fields, clocks that stand still.

use super::*;

/// A picture of four slices.
fn sliced(n: u32) -> Vec<Vec<u8>> {
    let length = 200 + n as usize;
    (0..4).map(|part| if n == 0 { idr(part * 300, length) } else { predicted(part * 300, length) }).collect()
}

fn sliced_265(n: u32) -> Vec<Vec<u8>> {
    (0..4).map(|part| slice_265(if n == 0 { 19 } else { 1 }, part * 100, 200 + n as usize)).collect()
}

#[test]
fn markers_on_every_slice_make_one_picture() {
    for sliced in [sliced, sliced_265] {
        let codec = if sliced(0)[0][0] == 0x65 { Codec::H264 } else { Codec::H265 };
        let mut camera = Camera::new(codec);
        for n in 0..20 {
            sliced(n).iter().for_each(|nal| camera.nal(nal, true));
            camera.pass_frame();
        }
        assert_whole(camera, &(0..20).map(sliced).collect::<Vec<_>>());
    }
}

#[test]
fn times_of_their_own_on_every_slice_make_one_picture() {
    for sliced in [sliced, sliced_265] {
        let codec = if sliced(0)[0][0] == 0x65 { Codec::H264 } else { Codec::H265 };
        let mut camera = Camera::new(codec);
        for n in 0..20 {
            for nal in sliced(n) {
                camera.nal(&nal, true);
                camera.time = camera.time.wrapping_add(900);
            }
        }
        assert_whole(camera, &(0..20).map(sliced).collect::<Vec<_>>());
    }
}

#[test]
fn pictures_without_markers_end_where_the_next_begins_or_after_silence() {
    let mut camera = Camera::new(Codec::H264);
    for n in 0..5 {
        sliced(n).iter().for_each(|nal| camera.nal(nal, false));
        camera.time += 3600;
        camera.now += Duration::from_millis(40);
    }
    assert_eq!(camera.pictures().len(), 4);
    camera.silence(59);
    assert_eq!(camera.pictures().len(), 0);
    camera.silence(2);
    assert_eq!(shape(&camera.pictures()), [(sliced(4), false)]);
}

#[test]
fn pictures_come_at_their_markers_once_these_proved_right() {
    let mut camera = Camera::new(Codec::H264);
    let mut at_marker = Vec::new();
    for n in 0..12 {
        sliced(n).iter().enumerate().for_each(|(at, nal)| camera.nal(nal, at == 3));
        at_marker.push(camera.pictures().len());
        camera.pass_frame();
    }
    assert_eq!(at_marker, [0, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]);
    assert_eq!(camera.track.next_flush(), None);
}

#[test]
fn a_picture_that_goes_on_after_its_marker_ends_the_trust() {
    let mut camera = Camera::new(Codec::H264);
    for n in 0..10 {
        camera.picture(&sliced(n));
    }
    for n in 10..20 {
        sliced(n).iter().for_each(|nal| camera.nal(nal, true));
        camera.pass_frame();
    }
    let (pictures, damage) = camera.finish();
    let mut expected: Vec<_> = (0..20).map(|n| (sliced(n), false)).collect();
    let rest = expected[10].0.split_off(1);
    expected.insert(11, (rest, true));
    assert_eq!(shape(&pictures), expected);
    assert_eq!(damage.damaged_units, 1);
}

#[test]
fn a_last_picture_whose_marker_did_not_come_is_damaged() {
    let mut camera = Camera::new(Codec::H264);
    (0..3).for_each(|n| camera.picture(&sliced(n)));
    sliced(3)[..2].iter().for_each(|nal| camera.nal(nal, false));
    let (pictures, _) = camera.finish();
    assert_eq!(shape(&pictures)[2..], [(sliced(2), false), (sliced(3)[..2].to_vec(), true)]);
}

#[test]
fn silence_inside_a_picture_does_not_end_it_if_its_marker_is_to_come() {
    let mut camera = Camera::new(Codec::H264);
    for n in 0..3 {
        for nal in sliced(n) {
            camera.nal(&nal, nal == sliced(n)[3]);
            camera.silence(300);
        }
        camera.time += 3600;
    }
    assert_whole(camera, &[sliced(0), sliced(1), sliced(2)]);
}

#[test]
fn silence_that_proved_to_be_no_end_is_trusted_no_more() {
    let mut camera = Camera::new(Codec::H264);
    for n in 0..4 {
        for (at, nal) in sliced(n).iter().enumerate() {
            camera.nal(nal, false);
            camera.silence(if n == 1 || (n == 2 && at == 1) { 150 } else { 10 });
        }
        camera.time += 3600;
    }
    let (pictures, _) = camera.finish();
    let shape = shape(&pictures);
    assert_eq!(shape[0], (sliced(0), false));
    assert_eq!(shape[shape.len() - 2..], [(sliced(2), false), (sliced(3), false)]);
}

#[test]
fn sei_behind_a_picture_goes_to_the_next_one_which_has_its_own_time() {
    // Tapo C260: after each keyframe two packets of SEI alone, with marker and the keyframe's time.
    for (codec, sei, key, other) in [
        (Codec::H264, SEI, idr(0, 2000), predicted(0, 100)),
        (Codec::H265, SEI_265, slice_265(20, 0, 2000), slice_265(1, 0, 100)),
    ] {
        let mut camera = Camera::new(codec);
        let start = camera.time;
        let mut expected = Vec::new();
        for n in 0..24 {
            let nal = if n % 6 == 0 { &key } else { &other };
            let before = if n % 6 == 1 { vec![sei.to_vec(), sei.to_vec()] } else { vec![] };
            expected.push((start.wrapping_add(3600 * n), [before, vec![nal.clone()]].concat(), false));
            camera.nal(nal, true);
            if n % 6 == 0 {
                camera.send(sei, true);
                camera.send(sei, true);
            }
            camera.pass_frame();
        }
        let (pictures, damage) = camera.finish();
        let found: Vec<_> = pictures
            .iter()
            .map(|picture| (picture.rtp_time.unwrap(), nals(picture), picture.damaged))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(damage, Damage::default());
    }
}

#[test]
fn a_clock_that_stands_still_separates_nothing() {
    let mut camera = Camera::new(Codec::H264);
    for n in 0..20 {
        sliced(n).iter().enumerate().for_each(|(at, nal)| camera.nal(nal, at == 3));
    }
    for n in 20..30 {
        sliced(n).iter().enumerate().for_each(|(at, nal)| camera.nal(nal, n == 29 && at == 3));
    }
    assert_whole(camera, &(0..30).map(sliced).collect::<Vec<_>>());
}

#[test]
fn two_fields_are_one_picture() {
    let field = |frame: u32, bottom: bool, key: bool| {
        let bits = BitWriter::default().ue(0).ue(if key { I } else { P }).ue(0);
        let bits = bits.u(frame % 16, 4).u(1, 1).u(u32::from(bottom), 1);
        bits.nal(&[if key { 0x65 } else { 0x41 }], 60, frame as u8)
    };
    // A marker on each field, on the second alone, or none; times of their own or one for both.
    for (first_marker, second_marker, apart) in
        [(true, true, 0), (false, true, 0), (false, false, 0), (true, true, 1800), (false, true, 1800)]
    {
        let mut camera = Camera::new(Codec::H264);
        camera.nal(&hex(INTERLACED_SPS), false);
        camera.nal(&hex(INTERLACED_PPS), false);
        for frame in 0..20 {
            camera.nal(&field(frame, false, frame == 0), first_marker);
            camera.time = camera.time.wrapping_add(apart);
            camera.nal(&field(frame, true, false), second_marker);
            camera.time = camera.time.wrapping_sub(apart);
            camera.pass_frame();
        }
        let expected: Vec<_> =
            (0..20).map(|frame| vec![field(frame, false, frame == 0), field(frame, true, false)]).collect();
        assert_whole(camera, &expected);
    }
}

#[test]
fn delimiters_parameter_sets_and_suffixes_belong_where_they_belong() {
    let mut camera = Camera::new(Codec::H265);
    let suffix = [40 << 1, 1, 132, 1, 9, 0x80].to_vec();
    let delimiter = [35 << 1, 1, 0x50].to_vec();
    for n in 0..12 {
        camera.picture(&[vec![delimiter.clone()], sliced_265(n), vec![suffix.clone()]].concat());
    }
    let expected: Vec<_> =
        (0..12).map(|n| [vec![delimiter.clone()], sliced_265(n), vec![suffix.clone()]].concat()).collect();
    assert_whole(camera, &expected);
}
