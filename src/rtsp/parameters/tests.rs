//! Parameter sets of real encoders: sizes, frame rates and records are those that ffprobe and ffmpeg's muxer give.

use proptest::prelude::*;

use super::*;
use crate::rtsp::track_tests::BitWriter;

struct Case {
    name: &'static str,
    codec: Codec,
    /// In hexadecimal digits, with their NAL unit headers.
    sets: &'static [&'static str],
    size: (u32, u32),
    fps: f64,
    record: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "Baseline, coded 1088 high",
        codec: Codec::H264,
        sets: &["6742c028da01e0089f97011000000300100000030320f1832a", "68ce0fc8"],
        size: (1920, 1080),
        fps: 25.0,
        record: "0142c028ffe100196742c028da01e0089f97011000000300100000030320f1832a01000468ce0fc8",
    },
    Case {
        name: "Baseline",
        codec: Codec::H264,
        sets: &["6742c01fd9005005bb0110000003001000000303c0f1832480", "68cb83cb20"],
        size: (1280, 720),
        fps: 30.0,
        record: "0142c01fffe100196742c01fd9005005bb0110000003001000000303c0f183248001000568cb83cb20",
    },
    Case {
        name: "High, interlaced",
        codec: Codec::H264,
        sets: &["67640028acd94078044fde0220000003002000000643e2c5b2c0", "68fba3cb22c0"],
        size: (1920, 1080),
        fps: 25.0,
        record: "01640028ffe1001a67640028acd94078044fde0220000003002000000643e2c5b2c001000668fba3cb22c0fdf8f800",
    },
    Case {
        name: "High 10",
        codec: Codec::H264,
        sets: &["676e0016a6cd940a02ff970110000003001000000301e0f162d960", "68ebe3cb22c0"],
        size: (640, 360),
        fps: 15.0,
        record: "016e0016ffe1001b676e0016a6cd940a02ff970110000003001000000301e0f162d96001000668ebe3cb22c0fdfafa00",
    },
    Case {
        name: "High 4:2:2, odd size",
        codec: Codec::H264,
        sets: &["677a0016bcd940a42fe227c044000003000800000300c83c58b658", "68ebe3cb22c0"],
        size: (642, 362),
        fps: 12.5,
        record: "017a0016ffe1001b677a0016bcd940a42fe227c044000003000800000300c83c58b65801000668ebe3cb22c0fef8f800",
    },
    Case {
        name: "High, scaling lists, aspect ratio",
        codec: Codec::H264,
        sets: &["6764001eacd940b0126c0522000003000200000300641e2c5b2c", "68ebe3cb3002c0"],
        size: (704, 576),
        fps: 25.0,
        record: "0164001effe1001a6764001eacd940b0126c0522000003000200000300641e2c5b2c01000768ebe3cb3002c0fdf8f800",
    },
    Case {
        name: "High, monochrome",
        codec: Codec::H264,
        sets: &["6764000cf36505825b016c80000003008000000a078a14cb", "68ebe3cb22c0"],
        size: (352, 288),
        fps: 10.0,
        record: "0164000cffe100186764000cf36505825b016c80000003008000000a078a14cb01000668ebe3cb22c0fcf8f800",
    },
    Case {
        name: "High 4:4:4",
        codec: Codec::H264,
        sets: &["67f4000c919b282a10f1f1f80880000003008000000a078a14cb", "68ebe3c44844"],
        size: (322, 242),
        fps: 10.0,
        record: "01f4000cffe1001a67f4000c919b282a10f1f1f80880000003008000000a078a14cb01000668ebe3c44844fff8f800",
    },
    Case {
        name: "Main",
        codec: Codec::H265,
        sets: &[
            "40010c01ffff016000000300900000030000030078959809",
            "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84",
            "4401c172b46240",
        ],
        size: (1920, 1080),
        fps: 25.0,
        record: "01016000000090000000000078f000fcfdf8f800000f03a00001001840010c01ffff016000000300900000030000030078959809a10001002a420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84a2000100074401c172b46240",
    },
    Case {
        name: "Main 10",
        codec: Codec::H265,
        sets: &[
            "40010c01ffff022000000300900000030000030078959809",
            "420101022000000300900000030000030078a00280802d1365959a4932bc05a020000003002000000641",
            "4401c172b46240",
        ],
        size: (1280, 720),
        fps: 50.0,
        record: "01022000000090000000000078f000fcfdfafa00000f03a00001001840010c01ffff022000000300900000030000030078959809a10001002a420101022000000300900000030000030078a00280802d1365959a4932bc05a020000003002000000641a2000100074401c172b46240",
    },
    Case {
        name: "4:2:2, odd size",
        codec: Codec::H265,
        sets: &[
            "40010c01ffff0408000003009d0800000300003f959809",
            "4201010408000003009d0800000300003fb005120171c93e5959a49395e02d010000030001000003001408",
            "4401c172b46240",
        ],
        size: (642, 362),
        fps: 20.0,
        record: "0104080000009d08000000003ff000fcfef8f800000f03a00001001740010c01ffff0408000003009d0800000300003f959809a10001002b4201010408000003009d0800000300003fb005120171c93e5959a49395e02d010000030001000003001408a2000100074401c172b46240",
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn kind(codec: Codec, nal: &[u8]) -> SetKind {
    match (codec, nal[0]) {
        (Codec::H265, 0x40) => SetKind::Video,
        (Codec::H264, 0x67) | (Codec::H265, 0x42) => SetKind::Sequence,
        _ => SetKind::Picture,
    }
}

fn insert(sets: &mut ParameterSets, nal: &[u8]) {
    sets.insert(sets.read(kind(sets.codec, nal), nal).unwrap());
}

fn sets_of(case: &Case) -> ParameterSets {
    let mut sets = ParameterSets::new(case.codec);
    case.sets.iter().for_each(|set| insert(&mut sets, &bytes(set)));
    sets
}

#[test]
fn formats_are_those_that_other_readers_see() {
    for case in CASES {
        let format = sets_of(case).format(Some(0)).unwrap();
        assert_eq!((format.width, format.height), case.size, "{}", case.name);
        assert_eq!(format.fps_declared, Some(case.fps), "{}", case.name);
        let record: String = format.configuration.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(record, case.record, "{}", case.name);
    }
}

#[test]
fn a_hikvision_without_vui_has_a_size() {
    let mut sets = ParameterSets::new(Codec::H264);
    insert(&mut sets, &bytes("674d001f95a814016e40"));
    assert_eq!(sets.format(None), None, "no picture parameter set yet");
    insert(&mut sets, &bytes("68ee3c80"));
    let format = sets.format(None).unwrap();
    assert_eq!((format.width, format.height, format.fps_declared), (1280, 720, None));
}

#[test]
fn a_vui_that_breaks_off_keeps_the_size() {
    for case in CASES {
        let (sequence, cut) = (case.sets[case.sets.len() - 2], bytes(case.sets[case.sets.len() - 2]));
        let sets = ParameterSets::new(case.codec);
        let set = sets.read(SetKind::Sequence, &cut[..cut.len() - 8]).unwrap_or_else(|| panic!("{sequence}"));
        let Content::Sequence(sps) = set.content else { panic!() };
        assert_eq!(((sps.width, sps.height), sps.fps), (case.size, None), "{}", case.name);
    }
}

#[test]
fn the_same_sets_keep_the_format_and_others_change_it() {
    let case = &CASES[0];
    let mut sets = sets_of(case);
    let first = sets.format(Some(0)).unwrap();
    insert(&mut sets, &bytes(case.sets[1]));
    assert!(Arc::ptr_eq(&first, &sets.format(Some(0)).unwrap()));
    insert(&mut sets, &bytes(CASES[1].sets[0]));
    let second = sets.format(Some(0)).unwrap();
    assert_eq!((second.width, second.height), CASES[1].size);
    assert_eq!(sets.format(Some(77)), Some(second), "an unknown picture parameter set changes nothing");
}

/// A sequence parameter set of Baseline, without cropping and VUI.
fn sps(columns: u32, rows: u32) -> Vec<u8> {
    let bits = BitWriter::default().u(66, 8).u(0, 8).u(30, 8).ue(0).ue(0).ue(0).ue(4).ue(1).u(0, 1);
    bits.ue(columns - 1).ue(rows - 1).u(1, 1).u(1, 1).u(0, 2).nal(&[0x67], 0, 0)
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let sets = ParameterSets::new(Codec::H264);
    for (columns, rows, usable) in
        [(1, 1, true), (1024, 1024, true), (1025, 1, false), (1, 1025, false), (65_000, 65_000, false)]
    {
        let set = sets.read(SetKind::Sequence, &sps(columns, rows));
        assert_eq!(set.is_some(), usable, "{columns} {rows}");
    }
    assert!(sets.read(SetKind::Sequence, &[0x67]).is_none());
    let mut long = bytes(CASES[0].sets[0]);
    long.resize(MAX_SET_BYTES + 1, 1);
    assert!(sets.read(SetKind::Sequence, &long).is_none());
}

#[test]
fn frame_rates_of_nothing_are_unknown() {
    assert_eq!(frame_rate(0, 0), None);
    assert_eq!(frame_rate(0, 2), None);
    assert_eq!(frame_rate(50, 0), None);
    assert_eq!(frame_rate(90_000, 2), None);
    assert_eq!(frame_rate(60_000, 2002), Some(30_000.0 / 1001.0));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        h265: bool,
        base in 0..CASES.len(),
        cut in 0usize..60,
        noise in proptest::collection::vec((0usize..60, any::<u8>()), 0..6),
    ) {
        let codec = if h265 { Codec::H265 } else { Codec::H264 };
        let sets = ParameterSets::new(codec);
        for nal in CASES[base].sets {
            let mut nal = bytes(nal);
            for (at, byte) in &noise {
                let at = at % nal.len();
                nal[at] ^= byte;
            }
            nal.truncate(cut.max(1));
            for kind in [SetKind::Video, SetKind::Sequence, SetKind::Picture] {
                if let Some(set) = sets.read(kind, &nal) {
                    let mut sets = sets_of(&CASES[if h265 { 8 } else { 0 }]);
                    sets.insert(set);
                    sets.format(Some(0));
                }
            }
        }
    }
}
