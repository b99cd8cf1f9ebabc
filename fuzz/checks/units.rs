//! What is true of every picture and every frame of sound.

use std::time::Instant;

use crate::model::{
    segment::{AudioCodec, Codec},
    unit::{AccessUnit, AudioUnit, VideoFormat},
};

/// A frame of sound has no more bytes: it comes in one packet, or is AAC.
const SOUND_MAX: usize = 64 << 10;

pub(super) fn check_picture(picture: &AccessUnit, now: Instant) {
    let mut rest = &picture.data[..];
    assert!(!rest.is_empty(), "a picture without data");
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().expect("a length before each NAL unit");
        let length = u32::from_be_bytes(*length) as usize;
        assert!(length > 0 && length <= after.len(), "{length} bytes of {}", after.len());
        rest = &after[length..];
    }
    assert!(picture.rtp_time.is_some() && picture.arrived <= now);
    check_format(&picture.format);
}

fn check_format(format: &VideoFormat) {
    for side in [format.width, format.height] {
        assert!((16..=16_384).contains(&side), "{}x{}", format.width, format.height);
    }
    assert!(format.fps_declared.is_none_or(|fps| fps.is_finite() && fps > 0.0));
    let record = &format.configuration[..];
    assert_eq!(record[0], 1);
    match format.codec {
        Codec::H264 => {
            assert_eq!(record[4..6], [0xff, 0xe1]);
            let rest = sets(&record[6..], 1);
            let rest = sets(&rest[1..], usize::from(rest[0]));
            assert!(matches!(rest.len(), 0 | 4), "{rest:?} is left");
        }
        Codec::H265 => {
            assert_eq!(record[22], 3);
            let mut rest = &record[23..];
            for kind in [32, 33, 34] {
                assert_eq!(rest[0] & 0x3f, kind);
                rest = sets(&rest[3..], usize::from(u16::from_be_bytes([rest[1], rest[2]])));
            }
            assert!(rest.is_empty());
        }
    }
}

/// Passes over parameter sets, each after its length; gives what follows.
fn sets(mut record: &[u8], count: usize) -> &[u8] {
    assert!(count > 0);
    for _ in 0..count {
        let length = usize::from(u16::from_be_bytes([record[0], record[1]]));
        assert!(length > 0);
        record = &record[2 + length..];
    }
    record
}

pub(super) fn check_sound(sound: &AudioUnit, now: Instant) {
    assert!(!sound.data.is_empty() && sound.data.len() <= SOUND_MAX, "{} bytes", sound.data.len());
    assert!(sound.rtp_time.is_some() && sound.arrived <= now);
    assert!(sound.format.rate > 0 && sound.format.channels > 0);
    assert_eq!(sound.format.codec == AudioCodec::Aac, !sound.format.configuration.is_empty());
}
