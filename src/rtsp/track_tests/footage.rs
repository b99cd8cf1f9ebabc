//! Real encoders: the pictures of a file are those that ffprobe counts in it, however they are packetised.

use super::*;

/// Name, codec, bytes, pictures and keyframes as ffprobe sees them, width and height.
type Footage = (&'static str, Codec, &'static [u8], usize, &'static [usize], (u32, u32));

const FOOTAGE: &[Footage] = &[
    ("slices", Codec::H264, include_bytes!("../../../tests/media/slices.h264"), 30, &[0, 12, 24], (192, 144)),
    (
        "open GOP",
        Codec::H264,
        include_bytes!("../../../tests/media/open-gop.h264"),
        40,
        &[0, 10, 20, 30],
        (192, 144),
    ),
    (
        "rolling",
        Codec::H264,
        include_bytes!("../../../tests/media/intra-refresh.h264"),
        30,
        &[0, 25],
        (192, 144),
    ),
    ("slices", Codec::H265, include_bytes!("../../../tests/media/slices.h265"), 30, &[0, 11, 23], (192, 144)),
];

/// NAL units of an Annex B stream.
fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<usize> = (0..bytes.len() - 2).filter(|at| bytes[*at..*at + 3] == [0, 0, 1]).collect();
    let ends = starts[1..].iter().copied().chain([bytes.len()]);
    let unit = |(start, end): (&usize, usize)| {
        let unit = &bytes[start + 3..end];
        unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)].to_vec()
    };
    starts.iter().zip(ends).map(unit).collect()
}

fn is_slice(codec: Codec, nal: &[u8]) -> bool {
    match codec {
        Codec::H264 => matches!(nal[0] & 0x1f, 1 | 5),
        Codec::H265 => nal[0] >> 1 < 32,
    }
}

fn is_first_slice(codec: Codec, nal: &[u8]) -> bool {
    is_slice(codec, nal) && nal[if codec == Codec::H264 { 1 } else { 2 }] & 0x80 != 0
}

fn is_set(codec: Codec, nal: &[u8]) -> bool {
    match codec {
        Codec::H264 => matches!(nal[0] & 0x1f, 7 | 8),
        Codec::H265 => matches!(nal[0] >> 1, 32..=34),
    }
}

/// The NAL units of each picture. A picture begins with what is before its first slice, and behind the last slice before.
fn split_pictures(codec: Codec, bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let nals = split(bytes);
    let mut begins: Vec<usize> = Vec::new();
    for first in (0..nals.len()).filter(|n| is_first_slice(codec, &nals[*n])) {
        let suffix = |nal: &[u8]| codec == Codec::H265 && nal[0] >> 1 == 40;
        let before = nals[..first].iter().rposition(|nal| is_slice(codec, nal) || suffix(nal));
        begins.push(before.map_or(0, |before| before + 1));
    }
    let ends = begins[1..].iter().copied().chain([nals.len()]);
    begins.iter().zip(ends).map(|(begin, end)| nals[*begin..end].to_vec()).collect()
}

#[test]
fn pictures_of_real_encoders_are_whole() {
    for (name, codec, bytes, count, keys, size) in FOOTAGE {
        let sent = split_pictures(*codec, bytes);
        assert_eq!(sent.len(), *count, "{name}");
        for (mtu, every_slice) in [(1400, false), (1400, true), (90, false)] {
            let mut camera = Camera::with(setup(TrackCodec::Video(*codec)), *codec);
            camera.mtu = mtu;
            for nals in &sent {
                for (n, nal) in nals.iter().enumerate() {
                    camera.nal(nal, n + 1 == nals.len() || (every_slice && is_slice(*codec, nal)));
                }
                camera.pass_frame();
            }
            let (pictures, damage) = camera.finish();
            let without_sets = |nals: &Vec<Vec<u8>>| -> Vec<Vec<u8>> {
                nals.iter().filter(|nal| !is_set(*codec, nal)).cloned().collect()
            };
            let expected: Vec<_> = sent.iter().map(|nals| (without_sets(nals), false)).collect();
            assert_eq!(shape(&pictures), expected, "{name} {mtu}");
            assert_eq!(damage, Damage::default(), "{name} {mtu}");
            let found: Vec<usize> = (0..pictures.len()).filter(|n| pictures[*n].key).collect();
            assert_eq!(found, *keys, "{name} {mtu}");
            let format = &pictures[0].format;
            assert_eq!(((format.width, format.height), format.fps_declared), (*size, Some(25.0)), "{name}");
        }
    }
}
