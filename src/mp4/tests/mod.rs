//! The structure of the files, and each rule about times and fragments.

mod random;
mod reader;
mod structure;

use bytes::Bytes;

use super::{AudioSample, Fragment, Fragmenter, Header, SampleError, VideoSample};
use crate::model::{
    segment::{AudioCodec, Codec, Extent},
    unit::{AudioFormat, VideoFormat},
};

const MS: i64 = 1_000_000;
/// Ticks of the video per millisecond.
const TICKS: u64 = 90;

fn video_format(codec: Codec) -> VideoFormat {
    VideoFormat {
        codec,
        configuration: Bytes::from_static(b"\x01configuration"),
        width: 1920,
        height: 1080,
        fps_declared: None,
    }
}

fn audio_format(codec: AudioCodec, rate: u32) -> AudioFormat {
    AudioFormat { codec, rate, channels: 1, configuration: Bytes::from_static(&[0x14, 0x08]) }
}

fn header(audio: bool) -> Header {
    let format = audio_format(AudioCodec::Aac, 16_000);
    Header::new(&video_format(Codec::H264), audio.then_some(&format), "a comment", None).unwrap()
}

fn fragmenter(audio: bool) -> Fragmenter {
    Fragmenter::new(&header(audio))
}

/// A picture that is presented when it is decoded.
fn picture(at_ms: i64, key: bool) -> VideoSample {
    let at_ns = at_ms * MS;
    VideoSample { data: Bytes::from_static(b"picture"), key, decode_ns: at_ns, presentation_ns: at_ns }
}

/// 1,024 samples at 16 kHz: 64 ms.
fn sound(at_ms: i64) -> AudioSample {
    AudioSample { data: Bytes::from_static(b"sound"), time_ns: at_ms * MS, ticks: 1024 }
}

/// Pushes pictures `interval_ms` apart of which each `gop`th is a keyframe.
fn push_pictures(into: &mut Fragmenter, count: i64, interval_ms: i64, gop: i64) -> Vec<Fragment> {
    let pictures = (0..count).map(|n| picture(n * interval_ms, n % gop == 0));
    pictures.filter_map(|picture| into.push_video(picture).unwrap()).collect()
}

/// The samples of one track in a fragment.
fn samples(fragment: &Fragment, track: u32) -> Vec<reader::Sample> {
    let bytes = fragment.concat();
    assert_eq!(bytes.len() as u64, fragment.bytes);
    let sequence = u32::from_be_bytes(bytes[20..24].try_into().unwrap());
    let runs = reader::fragment(&bytes, sequence);
    runs.into_iter().find(|run| run.track == track).map(|run| run.samples).unwrap_or_default()
}

fn starts_and_durations(fragment: &Fragment, track: u32) -> Vec<(u64, u32)> {
    samples(fragment, track).iter().map(|sample| (sample.decode, sample.duration)).collect()
}

/// Each fragment's first decode time in milliseconds, number of frames, and whether it begins with a keyframe.
fn shape(fragments: &[Fragment]) -> Vec<(u64, u32, bool)> {
    let of = |one: &Fragment| (one.decode_start / TICKS, one.frames, one.starts_with_keyframe);
    fragments.iter().map(of).collect()
}

#[test]
fn fragments_are_half_a_second_long_and_each_gop_begins_one() {
    // One keyframe per 1.2 s at 25 fps.
    let mut of_25 = fragmenter(false);
    let fragments = push_pictures(&mut of_25, 61, 40, 30);
    let expected = [
        (0, 13, true),
        (520, 13, false),
        (1040, 4, false),
        (1200, 13, true),
        (1720, 13, false),
        (2240, 4, false),
    ];
    assert_eq!(shape(&fragments), expected);
    assert_eq!(shape(&[of_25.flush(None).unwrap()]), [(2400, 1, true)]);
}

#[test]
fn short_gops_share_a_fragment() {
    // Keyframes alone at 25 fps, GOPs of 240 ms and of 480 ms.
    for (gop, frames) in [(1, 12), (6, 12), (12, 12), (2, 12), (7, 7)] {
        let fragments = push_pictures(&mut fragmenter(false), 500, 40, gop);
        for (n, fragment) in (0u32..).zip(&fragments) {
            let expected = (u64::from(n * frames) * 40, frames, true);
            assert_eq!(shape(std::slice::from_ref(fragment)), [expected], "GOP of {gop}");
        }
        assert!(fragments.len() as u32 >= 480 / frames);
    }
}

#[test]
fn a_slow_stream_has_a_fragment_per_picture() {
    let mut slow = fragmenter(false);
    let fragments = push_pictures(&mut slow, 5, 1000, 5);
    assert_eq!(shape(&fragments), [(0, 1, true), (1000, 1, false), (2000, 1, false), (3000, 1, false)]);
    assert_eq!(fragments[3].extent, Extent { duration_us: 4_000_000, ..fragments[3].extent });
}

#[test]
fn a_flush_gives_out_the_first_picture_and_the_next_has_its_true_time() {
    let mut one = fragmenter(false);
    assert!(one.flush(None).is_none());
    one.push_video(picture(5000, true)).unwrap();
    let first = one.flush(None).unwrap();
    assert_eq!(starts_and_durations(&first, 1), [(0, 3600)]);
    assert_eq!(first.offset, header(false).bytes().len() as u64);
    assert!(one.flush(None).is_none());
    // A gap after what was assumed.
    one.push_video(picture(6000, false)).unwrap();
    let second = one.flush(Some(3000 * MS)).unwrap();
    assert_eq!(starts_and_durations(&second, 1), [(1000 * TICKS, 270_000)]);
    assert_eq!(second.extent.duration_us, 4_000_000);
    // An overlap: decode times go on, and the end does not go back.
    one.push_video(picture(6500, false)).unwrap();
    let third = one.flush(Some(100 * MS)).unwrap();
    assert_eq!(starts_and_durations(&third, 1), [(1500 * TICKS, 9000)]);
    assert_eq!((third.decode_end, third.extent.duration_us), (144_000, 4_000_000));
    assert_eq!(third.offset, second.offset + second.bytes);
    assert_eq!(third.extent.frames, 3);
}

#[test]
fn an_assumed_duration_is_that_of_the_frame_before_or_the_declared_one() {
    let mut one = fragmenter(false);
    one.push_video(picture(0, true)).unwrap();
    one.push_video(picture(50, false)).unwrap();
    assert_eq!(starts_and_durations(&one.flush(None).unwrap(), 1), [(0, 4500), (4500, 4500)]);
    one.push_video(picture(30_050, false)).unwrap();
    // The frame before lasted 30 s.
    assert_eq!(starts_and_durations(&one.flush(None).unwrap(), 1), [(2_704_500, 180_000)]);

    for (fps, duration) in [(Some(10.0), 9000), (Some(0.0), 3600), (Some(f64::NAN), 3600), (None, 3600)] {
        let format = VideoFormat { fps_declared: fps, ..video_format(Codec::H265) };
        let mut one = Fragmenter::new(&Header::new(&format, None, "", None).unwrap());
        one.push_video(picture(0, true)).unwrap();
        assert_eq!(starts_and_durations(&one.flush(None).unwrap(), 1), [(0, duration)], "{fps:?}");
        for (said, duration) in [(i64::MAX, 5_400_000), (0, 1), (-7, 1)] {
            one.push_video(picture(1000, true)).unwrap();
            assert_eq!(starts_and_durations(&one.flush(Some(said)).unwrap(), 1)[0].1, duration);
        }
    }
}

#[test]
fn decode_times_that_stand_still_or_go_back_increase_by_a_tick_and_presentation_stays() {
    let mut one = fragmenter(false);
    for at_ms in [1000, 1040, 1040, 900, 1080] {
        assert!(one.push_video(picture(at_ms, at_ms == 1000)).unwrap().is_none());
    }
    let found = samples(&one.flush(None).unwrap(), 1);
    let decode: Vec<u64> = found.iter().map(|sample| sample.decode).collect();
    assert_eq!(decode, [0, 3600, 3601, 3602, 7200]);
    let shown: Vec<i64> =
        found.iter().map(|sample| sample.decode as i64 + i64::from(sample.offset)).collect();
    assert_eq!(shown, [0, 3600, 3600, -9000, 7200]);
}

#[test]
fn a_jump_of_hours_ends_the_fragment_and_a_minute_does_not() {
    let mut one = fragmenter(false);
    one.push_video(picture(0, true)).unwrap();
    let first = one.push_video(picture(60_000, false)).unwrap().unwrap();
    assert_eq!(starts_and_durations(&first, 1), [(0, 5_400_000)]);
    // 200 years.
    let jump_ms = 200 * 365 * 86_400_000;
    let second = one.push_video(picture(jump_ms, true)).unwrap().unwrap();
    assert_eq!(starts_and_durations(&second, 1), [(5_400_000, 180_000)]);
    assert_eq!(starts_and_durations(&one.flush(None).unwrap(), 1), [(jump_ms as u64 * TICKS, 180_000)]);
}

#[test]
fn extreme_times_are_bounded() {
    let mut one = fragmenter(true);
    for decode_ns in [i64::MIN, i64::MAX, i64::MIN] {
        let sample = VideoSample { decode_ns, presentation_ns: i64::MAX, ..picture(0, true) };
        let _ = one.push_video(sample).unwrap();
        let _ = one.push_audio(AudioSample { time_ns: decode_ns, ticks: u32::MAX, ..sound(0) }).unwrap();
    }
    assert!(one.flush(Some(i64::MIN)).is_some());
}

#[test]
fn reordered_pictures_keep_both_times() {
    let mut one = fragmenter(false);
    let order = [(0, 80), (40, 200), (80, 120), (120, 160)];
    for (decode_ms, shown_ms) in order {
        let sample = VideoSample { presentation_ns: shown_ms * MS, ..picture(decode_ms, decode_ms == 0) };
        one.push_video(sample).unwrap();
    }
    let fragment = one.flush(None).unwrap();
    let offsets: Vec<i32> = samples(&fragment, 1).iter().map(|sample| sample.offset / 90).collect();
    assert_eq!(offsets, [80, 160, 40, 40]);
    let without = fragment.header.len() - 16;
    let mut plain = fragmenter(false);
    push_pictures(&mut plain, 4, 40, 4);
    assert_eq!(
        plain.flush(None).unwrap().header.len(),
        without,
        "no composition offsets unless one is needed"
    );
}

#[test]
fn empty_samples_are_refused_and_large_ones_have_a_fragment_of_their_own() {
    let mut one = fragmenter(true);
    let sized =
        |bytes: usize, at_ms| VideoSample { data: vec![7; bytes].into(), ..picture(at_ms, at_ms == 0) };
    assert_eq!(one.push_video(sized(0, 0)).unwrap_err(), SampleError::Empty);
    let silence = one.push_audio(AudioSample { data: Bytes::new(), ..sound(0) });
    assert_eq!(silence.unwrap_err(), SampleError::Empty);
    assert!(one.push_video(sized(100, 1000)).unwrap().is_none());
    let small = one.push_video(sized(20_000_000, 1040)).unwrap().unwrap();
    assert_eq!((small.frames, small.decode_start), (1, 0));
    let large = one.push_video(sized(5_000_000, 1080)).unwrap().unwrap();
    assert_eq!((large.frames, samples(&large, 1)[0].data.len()), (1, 20_000_000));
    assert_eq!(one.push_video(sized(5_000_000, 1120)).unwrap().unwrap().frames, 1);
    let too_large = super::SAMPLE_BYTES_MAX + 1;
    let refused = one.push_video(sized(too_large, 1160)).unwrap_err();
    assert_eq!(refused, SampleError::TooLarge { bytes: too_large });
    assert_eq!(one.flush(None).unwrap().extent.frames, 4);
}

#[test]
fn audio_begins_with_the_first_picture_and_is_continuous() {
    let mut one = fragmenter(true);
    // Before the first picture at 1 s: one that ends before it, and one that ends 14 ms after it.
    one.push_audio(sound(886)).unwrap();
    one.push_audio(sound(950)).unwrap();
    one.push_video(picture(1000, true)).unwrap();
    // Jitter of less than 50 ms is passed over, in both directions.
    for at_ms in [1014, 1100, 1110] {
        assert!(one.push_audio(sound(at_ms)).unwrap().is_none());
    }
    let fragment = one.flush(None).unwrap();
    assert_eq!(starts_and_durations(&fragment, 2), [(0, 224), (224, 1024), (1248, 1024), (2272, 1024)]);
    // The end so far is 1,206 ms. A gap between fragments, then within one, then a time that goes back.
    for at_ms in [1506, 1700, 1000] {
        one.push_audio(sound(at_ms)).unwrap();
    }
    let fragment = one.flush(None).unwrap();
    assert_eq!((fragment.frames, fragment.decode_start), (0, 3600));
    assert_eq!(starts_and_durations(&fragment, 2), [(8096, 3104), (11_200, 1024), (12_224, 1024)]);
}

#[test]
fn audio_of_unknown_length_lasts_as_the_one_before() {
    let mut one = fragmenter(true);
    one.push_video(picture(0, true)).unwrap();
    for (at_ms, ticks) in [(0, 0), (64, 960), (124, 0)] {
        one.push_audio(AudioSample { ticks, ..sound(at_ms) }).unwrap();
    }
    assert_eq!(starts_and_durations(&one.flush(None).unwrap(), 2), [(0, 1024), (1024, 960), (1984, 960)]);
}

#[test]
fn audio_without_pictures_makes_fragments_and_keeps_the_newest_picture() {
    let mut one = fragmenter(true);
    one.push_video(picture(0, true)).unwrap();
    let mut fragments = Vec::new();
    fragments.extend((0..40).filter_map(|n| one.push_audio(sound(n * 64)).unwrap()));
    // The first one has the picture, though nothing follows it.
    assert_eq!(shape(&fragments), [(0, 1, true), (40, 0, false)]);
    one.push_video(picture(2600, false)).unwrap();
    one.push_video(picture(2640, false)).unwrap();
    fragments.clear();
    fragments.extend((40..60).filter_map(|n| one.push_audio(sound(n * 64)).unwrap()));
    assert_eq!(shape(&fragments), [(2600, 1, false)]);
    assert_eq!(shape(&[one.flush(None).unwrap()]), [(2640, 1, false)]);
    assert_eq!(fragmenter(false).push_audio(sound(0)).unwrap_err(), SampleError::NoAudioTrack);
}

#[test]
fn audio_that_waits_for_a_picture_is_bounded() {
    let mut one = fragmenter(true);
    for n in 0..10_000 {
        assert!(one.push_audio(sound(n * 64)).unwrap().is_none());
    }
    assert!(one.flush(None).is_none());
    one.push_video(picture(9_900 * 64, true)).unwrap();
    let fragment = one.flush(None).unwrap();
    assert_eq!(samples(&fragment, 2).len(), 100);
}

#[test]
fn a_timeline_that_stands_still_costs_no_more_memory() {
    let mut one = fragmenter(true);
    let (mut frames, mut largest) = (0, 0);
    for _ in 0..10_000 {
        let pushed = one.push_video(picture(0, false)).unwrap();
        for fragment in
            pushed.into_iter().chain(one.push_audio(AudioSample { ticks: 1, ..sound(0) }).unwrap())
        {
            frames += fragment.frames;
            largest = largest.max(fragment.samples.len());
        }
    }
    frames += one.flush(None).unwrap().frames;
    assert_eq!(frames, 10_000);
    assert!(largest <= 513, "{largest}");
}
