//! Whatever comes: no panic, no picture whose lengths do not add up, bounded work; and what is sent whole arrives whole.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

/// A picture of slices and other NAL units, as a script.
#[derive(Clone, Debug)]
struct Picture {
    key: bool,
    prefix: bool,
    slices: Vec<usize>,
    sets: bool,
    /// Aggregates small units.
    aggregates: bool,
    /// Joins all units with start codes.
    joins: bool,
}

fn picture() -> impl Strategy<Value = Picture> {
    (
        any::<bool>(),
        any::<bool>(),
        vec(20usize..3000, 1..5),
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(key, prefix, slices, sets, aggregates, joins)| Picture {
            key,
            prefix,
            slices,
            sets,
            aggregates,
            joins,
        })
}

#[derive(Clone, Copy, Debug)]
enum MarkerMode {
    Right,
    EverySlice,
    Never,
    EveryPacket,
}

fn marker_mode() -> impl Strategy<Value = MarkerMode> {
    use MarkerMode::*;
    prop_oneof![Just(Right), Just(EverySlice), Just(Never), Just(EveryPacket)]
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::H264), Just(Codec::H265)]
}

impl Picture {
    /// Its NAL units with and without parameter sets.
    fn nals(&self, codec: Codec) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let mut nals = Vec::new();
        if self.prefix {
            nals.push(if codec == Codec::H264 { SEI.to_vec() } else { SEI_265.to_vec() });
        }
        for (n, length) in self.slices.iter().enumerate() {
            let at = 50 * u32::try_from(n).unwrap();
            nals.push(match (codec, self.key) {
                (Codec::H264, true) => idr(at, *length),
                (Codec::H264, false) => predicted(at, *length),
                (Codec::H265, key) => slice_265(if key { 19 } else { 1 }, at, *length),
            });
        }
        let sets: &[&str] = match codec {
            _ if !self.sets => &[],
            Codec::H264 => &[SPS, PPS],
            Codec::H265 => &[VPS_265, SPS_265, PPS_265],
        };
        (sets.iter().map(|set| hex(set)).chain(nals.clone()).collect(), nals)
    }

    /// Its payloads, and which of them end a slice.
    fn payloads(&self, codec: Codec, mtu: usize) -> Vec<(Vec<u8>, bool)> {
        let (nals, _) = self.nals(codec);
        if self.joins {
            let parts = fragments(codec, &nals.join(&[0, 0, 0, 1][..]), mtu);
            return parts.into_iter().map(|part| (part, false)).collect();
        }
        let mut payloads: Vec<(Vec<u8>, bool)> = Vec::new();
        let mut small: Vec<&[u8]> = Vec::new();
        for (n, nal) in nals.iter().enumerate() {
            small.push(nal);
            let next = nals.get(n + 1).map_or(usize::MAX, |next| next.len() + 2);
            let size = 2 + small.iter().map(|nal| nal.len() + 2).sum::<usize>();
            if self.aggregates && size.saturating_add(next) <= mtu {
                continue;
            }
            if small.len() > 1 {
                payloads.push((aggregation(codec, &small), true));
            } else {
                let parts = fragments(codec, nal, mtu);
                let count = parts.len();
                payloads.extend(parts.into_iter().enumerate().map(|(at, part)| (part, at + 1 == count)));
            }
            small.clear();
        }
        payloads
    }
}

fn send(camera: &mut Camera, pictures: &[Picture], mtu: usize, mode: MarkerMode) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for picture in pictures {
        let payloads = picture.payloads(camera.codec, mtu);
        let count = payloads.len();
        for (n, (payload, ends_unit)) in payloads.into_iter().enumerate() {
            let marker = match mode {
                MarkerMode::Right => n + 1 == count,
                MarkerMode::EverySlice => n + 1 == count || ends_unit,
                MarkerMode::Never => false,
                MarkerMode::EveryPacket => true,
            };
            packets.push(camera.packet(&payload, marker));
        }
        camera.time = camera.time.wrapping_add(3600);
    }
    packets
}

/// What is done to a packet on its way.
#[derive(Clone, Debug)]
enum Harm {
    Lose,
    Repeat,
    Cut(Index),
    Change(Index, u8),
    Swap,
    Wait(u16),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        Just(Harm::Lose),
        Just(Harm::Repeat),
        any::<Index>().prop_map(Harm::Cut),
        (any::<Index>(), any::<u8>()).prop_map(|(at, with)| Harm::Change(at, with)),
        Just(Harm::Swap),
        any::<u16>().prop_map(Harm::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_sent_arrives_bit_for_bit(
        codec in codec(),
        pictures in vec(picture(), 1..30),
        mtu in 40usize..1600,
        mode in marker_mode(),
    ) {
        let mut camera = Camera::new(codec);
        for packet in send(&mut camera, &pictures, mtu, mode) {
            camera.track.rtp(&packet, camera.now, &mut camera.out);
        }
        let (found, damage) = camera.finish();
        let found: Vec<_> = found.iter().map(|picture| (nals(picture), picture.key, picture.damaged)).collect();
        let sent: Vec<_> = pictures.iter().map(|picture| (picture.nals(codec).1, picture.key, false)).collect();
        // A marker on every slice may come after markers were trusted: that happens once in a session.
        let broken = found.iter().filter(|(_, _, damaged)| *damaged).count();
        if broken == 0 {
            prop_assert_eq!(found, sent);
            prop_assert_eq!(damage, Damage::default());
        } else {
            prop_assert!(broken == 1 && !matches!(mode, MarkerMode::Right | MarkerMode::Never));
            let units = |pictures: &[(Vec<Vec<u8>>, bool, bool)]| -> Vec<Vec<u8>> {
                pictures.iter().flat_map(|(nals, ..)| nals.clone()).collect()
            };
            prop_assert_eq!(units(&found), units(&sent));
        }
    }

    #[test]
    fn reordered_datagrams_are_as_good_as_ordered_ones(
        codec in codec(),
        pictures in vec(picture(), 1..12),
        mtu in 100usize..1600,
        shifts in vec(0usize..40, 64),
    ) {
        let mut setup = setup(TrackCodec::Video(codec));
        setup.delivery = Delivery::Datagrams;
        let mut camera = Camera::new(codec);
        let mut sorted = send(&mut camera, &pictures, mtu, MarkerMode::Right);
        // The first packet begins the session.
        let first = sorted.remove(0);
        let mut order: Vec<usize> = (0..sorted.len()).collect();
        order.sort_by_key(|n| n + shifts[n % shifts.len()]);
        let run = |order: &[usize]| {
            let mut camera = Camera::with(setup.clone(), codec);
            camera.track.rtp(&first, camera.now, &mut camera.out);
            for n in order {
                camera.track.rtp(&sorted[*n], camera.now, &mut camera.out);
            }
            let (pictures, damage) = camera.finish();
            (shape(&pictures), damage)
        };
        let straight: Vec<usize> = (0..sorted.len()).collect();
        prop_assert_eq!(run(&order), run(&straight));
    }

    #[test]
    fn harm_never_panics_and_lengths_add_up(
        codec in codec(),
        datagrams: bool,
        replay: bool,
        pictures in vec(picture(), 1..12),
        mtu in 30usize..1600,
        mode in marker_mode(),
        harms in vec((any::<Index>(), harm()), 0..12),
    ) {
        let mut camera = Camera::new(codec);
        let mut setup = setup(TrackCodec::Video(codec));
        setup.delivery = if datagrams { Delivery::Datagrams } else { Delivery::Stream };
        setup.replay = replay;
        let mut packets = send(&mut camera, &pictures, mtu, mode);
        let mut waits = Vec::new();
        for (at, harm) in harms {
            if packets.is_empty() {
                break;
            }
            let at = at.index(packets.len());
            match harm {
                Harm::Lose => drop(packets.remove(at)),
                Harm::Repeat => packets.insert(at, packets[at].clone()),
                Harm::Cut(to) => {
                    let to = to.index(packets[at].len() + 1);
                    packets[at].truncate(to);
                }
                Harm::Change(which, with) if !packets[at].is_empty() => {
                    let which = which.index(packets[at].len());
                    packets[at][which] ^= with;
                }
                Harm::Change(..) => {}
                Harm::Swap => {
                    let other = (at + 1) % packets.len();
                    packets.swap(at, other);
                }
                Harm::Wait(ms) => waits.push((at, ms)),
            }
        }
        if !datagrams {
            camera.track = Track::new(setup).unwrap();
        }
        for (n, packet) in packets.iter().enumerate() {
            camera.track.rtp(packet, camera.now, &mut camera.out);
            for (_, ms) in waits.iter().filter(|(at, _)| *at == n) {
                camera.silence(u64::from(*ms));
            }
        }
        camera.silence(3000);
        prop_assert_eq!(camera.track.next_flush(), None, "after long silence nothing waits");
        let (found, _) = camera.finish();
        for picture in &found {
            prop_assert!(!nals(picture).is_empty());
        }
    }

    #[test]
    fn any_bytes_are_taken_by_any_track(
        which in 0usize..6,
        packets in vec((vec(any::<u8>(), 0..80), any::<bool>(), any::<u8>()), 1..60),
    ) {
        use crate::model::segment::AudioCodec::*;
        let codecs = [TrackCodec::Video(Codec::H264), TrackCodec::Video(Codec::H265), TrackCodec::Audio(Aac),
            TrackCodec::Audio(Opus), TrackCodec::Audio(Pcma), TrackCodec::Audio(Pcmu)];
        let mut setup = setup(codecs[which]);
        setup.delivery = if packets.len() % 2 == 0 { Delivery::Stream } else { Delivery::Datagrams };
        setup.fmtp = vec![
            ("config".to_owned(), format!("{:02x}{:02x}", packets[0].2, packets.len())),
            ("sizelength".to_owned(), (packets[0].2 % 40).to_string()),
        ];
        let mut camera = Camera::with(setup, Codec::H264);
        for (bytes, marker, head) in &packets {
            camera.track.rtp(bytes, camera.now, &mut camera.out);
            camera.track.rtcp(bytes, camera.now);
            let heads = [28, 24, 49 << 1, 48 << 1, 7, 0x42, *head, *head];
            let payload = [&[heads[usize::from(head % 8)], *head][..], bytes].concat();
            camera.send(&payload, *marker);
            camera.now += Duration::from_millis(u64::from(*head));
            camera.track.receiver_report(camera.now);
        }
        camera.silence(3000);
        camera.finish();
    }
}

#[test]
fn work_is_linear_in_what_comes() {
    let body: Vec<Vec<u8>> = vec![
        vec![0; 60_000],
        [0, 0, 1].repeat(20_000),
        [0, 0, 1, 0x67].repeat(15_000),
        [0, 0, 1, 0x65, 0x88].repeat(12_000),
        [0, 0, 1, 6, 0xff].repeat(12_000),
    ];
    for bytes in &body {
        let mut camera = Camera::new(Codec::H264);
        let begun = Instant::now();
        for n in 0..40 {
            camera.send(&[&[0x7c, if n == 0 { 0x85 } else { 0x05 }], &bytes[..]].concat(), false);
        }
        for n in 0..40 {
            camera.sequence = camera.sequence.wrapping_add(n % 3);
            camera.send(bytes, n % 2 == 0);
        }
        // 5 MB: some seconds if nothing is optimised, minutes if it were quadratic.
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        camera.finish();
    }
}
