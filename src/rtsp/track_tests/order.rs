//! Loss, duplicates, reordering, foreign packets, and sequences and sources that begin again.

use super::*;

fn pictures(count: u32) -> Vec<Vec<Vec<u8>>> {
    (0..count)
        .map(|n| vec![if n % 8 == 0 { idr(0, 3000 + n as usize) } else { predicted(0, 1500 + n as usize) }])
        .collect()
}

#[test]
fn a_connection_whose_sequence_numbers_are_random_loses_nothing() {
    for mut random in (0_u32..100).map(|seed| seed.wrapping_mul(0x9e37_79b9)) {
        let mut camera = Camera::new(Codec::H264);
        let pictures: Vec<_> =
            [idr(0, 9000), predicted(0, 4000)].into_iter().cycle().take(10).map(|nal| vec![nal]).collect();
        for nals in &pictures {
            let payloads = fragments(camera.codec, &nals[0], 1000);
            for (n, payload) in payloads.iter().enumerate() {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                camera.sequence = (random >> 16) as u16;
                camera.send(payload, n + 1 == payloads.len());
            }
            camera.pass_frame();
        }
        assert_whole(camera, &pictures);
    }
}

#[test]
fn sequence_numbers_that_begin_again_inside_a_picture_lose_nothing() {
    let mut camera = Camera::new(Codec::H264);
    let pictures = pictures(20);
    for nals in &pictures {
        let payloads = fragments(camera.codec, &nals[0], 400);
        for (n, payload) in payloads.iter().enumerate() {
            if n == 2 {
                camera.sequence = camera.sequence.wrapping_add(30_000);
            }
            camera.send(payload, n + 1 == payloads.len());
        }
        camera.pass_frame();
    }
    assert_whole(camera, &pictures);
}

#[test]
fn packets_of_other_payload_types_disturb_nothing() {
    for delivery in [Delivery::Stream, Delivery::Datagrams] {
        for own_number in [true, false] {
            let mut camera = Camera::new(Codec::H264);
            camera.track = Track::new(TrackSetup { delivery, ..described() }).unwrap();
            let pictures = pictures(20);
            let mut count = 0;
            for nals in &pictures {
                for part in fragments(Codec::H264, &nals[0], 1400) {
                    count += 1;
                    if count % 3 == 0 {
                        camera.payload_type = 50;
                        camera.send(b"\x01\x02PTZ", false);
                        camera.payload_type = 96;
                        camera.sequence = camera.sequence.wrapping_sub(u16::from(!own_number));
                    }
                    let last = part[1] & 0x40 != 0;
                    camera.send(&part, last);
                }
                camera.pass_frame();
            }
            assert_whole(camera, &pictures);
        }
    }
}

fn described() -> TrackSetup {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let sets = [SPS, PPS].map(|set| STANDARD.encode(hex(set))).join(",");
    TrackSetup {
        fmtp: vec![("sprop-parameter-sets".to_owned(), sets)],
        ..setup(TrackCodec::Video(Codec::H264))
    }
}

#[test]
fn sequence_numbers_that_begin_again_lose_nothing() {
    for (every, to) in [(125, 0), (25, 0), (7, 0), (40, 40_000), (40, 1)] {
        let mut camera = Camera::new(Codec::H264);
        let pictures = pictures(200);
        for (n, nals) in pictures.iter().enumerate() {
            if n % every == every - 1 {
                camera.sequence = to;
            }
            camera.picture(nals);
        }
        assert_whole(camera, &pictures);
    }
}

#[test]
fn another_source_loses_nothing() {
    for delivery in [Delivery::Stream, Delivery::Datagrams] {
        let mut camera = Camera::new(Codec::H264);
        camera.track = Track::new(TrackSetup { delivery, ..described() }).unwrap();
        let pictures = pictures(30);
        for (n, nals) in pictures.iter().enumerate() {
            if n % 10 == 9 {
                camera.ssrc += 1;
                camera.sequence = camera.sequence.wrapping_mul(31);
                camera.time = camera.time.wrapping_mul(7);
            }
            camera.picture(nals);
        }
        assert_whole(camera, &pictures);
    }
}

#[test]
fn repeated_packets_are_dropped() {
    for delivery in [Delivery::Stream, Delivery::Datagrams] {
        let mut camera = Camera::new(Codec::H264);
        camera.track = Track::new(TrackSetup { delivery, ..described() }).unwrap();
        let pictures = pictures(20);
        for nals in &pictures {
            for part in fragments(Codec::H264, &nals[0], 1400) {
                let packet = camera.packet(&part, part[1] & 0x40 != 0);
                camera.track.rtp(&packet, camera.now, &mut camera.out);
                camera.track.rtp(&packet, camera.now, &mut camera.out);
            }
            camera.pass_frame();
        }
        assert_whole(camera, &pictures);
    }
}

#[test]
fn a_packet_lost_inside_a_picture_damages_that_picture() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 3000)]);
    camera.nal(&predicted(0, 100), false);
    let parts = fragments(Codec::H264, &predicted(300, 5000), 1400);
    camera.send(&parts[0], false);
    camera.lose();
    camera.send_all(&parts[2..], false);
    camera.nal(&predicted(600, 100), true);
    camera.pass_frame();
    camera.picture(&[predicted(0, 110)]);
    let (pictures, damage) = camera.finish();
    let expected = [
        (vec![idr(0, 3000)], false),
        (vec![predicted(0, 100), predicted(600, 100)], true),
        (vec![predicted(0, 110)], false),
    ];
    assert_eq!(shape(&pictures), expected);
    assert_eq!(damage, Damage { damaged_units: 1, lost_packets: 1, ..Damage::default() });
}

#[test]
fn what_came_for_a_picture_of_another_source_is_not_part_of_the_next_one() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 300)]);
    // A recovery point: the picture that follows it is a keyframe.
    camera.nal(&[6, 6, 1, 0xc4, 0x80], false);
    camera.ssrc += 1;
    camera.picture(&[predicted(0, 100)]);
    camera.picture(&[idr(0, 300)]);
    let (pictures, _) = camera.finish();
    assert_eq!(pictures.iter().map(|picture| picture.key).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(nals(&pictures[1]), [predicted(0, 100)]);
}

#[test]
fn whole_pictures_lost_damage_the_next_one_unless_it_is_a_keyframe() {
    for trusted in [0, 12] {
        for key in [false, true] {
            let mut camera = Camera::new(Codec::H264);
            camera.picture(&[idr(0, 3000)]);
            (0..trusted).for_each(|_| camera.picture(&[predicted(0, 100)]));
            camera.sequence = camera.sequence.wrapping_add(5);
            camera.time += 3 * 3600;
            let next = if key { idr(0, 200) } else { predicted(0, 200) };
            camera.picture(&[next]);
            camera.picture(&[predicted(0, 110)]);
            let (pictures, damage) = camera.finish();
            let damaged: Vec<bool> = pictures[trusted + 1..].iter().map(|picture| picture.damaged).collect();
            assert_eq!(damaged, [!key, false]);
            assert_eq!(
                damage,
                Damage { damaged_units: u64::from(!key), lost_packets: 5, ..Damage::default() }
            );
        }
    }
}

#[test]
fn a_long_outage_of_datagrams_damages_the_next_picture_unless_it_is_a_keyframe() {
    for key in [false, true] {
        let mut camera = Camera::new(Codec::H264);
        camera.track = Track::new(TrackSetup { delivery: Delivery::Datagrams, ..described() }).unwrap();
        camera.picture(&[idr(0, 3000)]);
        camera.sequence = camera.sequence.wrapping_add(20_000);
        camera.picture(&[if key { idr(0, 3000) } else { predicted(0, 3000) }]);
        camera.picture(&[predicted(0, 110)]);
        let (pictures, damage) = camera.finish();
        let damaged: Vec<bool> = pictures.iter().map(|picture| picture.damaged).collect();
        assert_eq!(damaged, [false, !key, false]);
        assert_eq!(damage.lost_packets, 0);
    }
}

#[test]
fn a_loss_over_the_end_of_a_picture_damages_both() {
    let mut camera = Camera::new(Codec::H264);
    camera.picture(&[idr(0, 3000)]);
    camera.nal(&predicted(0, 100), false);
    camera.sequence = camera.sequence.wrapping_add(2);
    camera.pass_frame();
    camera.nal(&predicted(300, 120), true);
    camera.pass_frame();
    camera.picture(&[predicted(0, 110)]);
    let (pictures, damage) = camera.finish();
    let expected = [
        (vec![idr(0, 3000)], false),
        (vec![predicted(0, 100)], true),
        (vec![predicted(300, 120)], true),
        (vec![predicted(0, 110)], false),
    ];
    assert_eq!(shape(&pictures), expected);
    assert_eq!(damage, Damage { damaged_units: 2, lost_packets: 2, ..Damage::default() });
}

#[test]
fn datagrams_out_of_order_are_put_in_order_and_missing_ones_given_up() {
    let mut camera = Camera::new(Codec::H264);
    camera.track = Track::new(TrackSetup { delivery: Delivery::Datagrams, ..described() }).unwrap();
    let pictures = pictures(16);
    let mut packets = Vec::new();
    for nals in &pictures {
        for part in fragments(Codec::H264, &nals[0], 1400) {
            packets.push(camera.packet(&part, part[1] & 0x40 != 0));
        }
        camera.time = camera.time.wrapping_add(3600);
    }
    // The first packet is the session's first; the others overtake each other in groups of six.
    packets[1..].chunks_mut(6).for_each(<[Vec<u8>]>::reverse);
    for packet in &packets {
        camera.track.rtp(packet, camera.now, &mut camera.out);
    }
    camera.lose();
    let next = camera.packet(&idr(0, 100), true);
    camera.track.rtp(&next, camera.now, &mut camera.out);
    camera.silence(99);
    let whole = camera.pictures();
    assert_eq!(whole.len(), 16);
    assert!(whole.iter().zip(&pictures).all(|(picture, sent)| nals(picture) == *sent && !picture.damaged));
    camera.silence(2);
    assert_eq!(
        camera.pictures().len(),
        1,
        "one packet was given up, and the keyframe is trusted to be whole"
    );
    assert_eq!(camera.track.damage(), Damage { lost_packets: 1, ..Damage::default() });
}
