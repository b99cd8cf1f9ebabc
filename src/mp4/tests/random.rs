//! Whatever comes in, it comes out again: random streams.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{
    super::{AudioSample, Fragment, Fragmenter, Header, SampleError, VideoSample},
    audio_format, reader, video_format,
};
use crate::model::segment::{AudioCodec, Codec, Extent};

/// What happens to the fragmenter.
#[derive(Clone, Debug)]
enum Step {
    /// A picture so many nanoseconds after the one before, presented so much later.
    Video {
        after_ns: i64,
        delay_ns: i64,
        bytes: usize,
        key: bool,
    },
    /// A piece of audio that begins so many nanoseconds after the end of the one before.
    Audio {
        late_ns: i64,
        ticks: u32,
        bytes: usize,
    },
    Flush(Option<i64>),
}

fn step() -> impl Strategy<Value = Step> {
    let interval = prop_oneof![
        20 => 1_000_000i64..120_000_000,
        4 => Just(40_000_000i64),
        2 => -2_000_000_000i64..=0,
        2 => 500_000_000i64..20_000_000_000,
        1 => 3_600_000_000_000i64..360_000_000_000_000,
    ];
    let delay = prop_oneof![3 => Just(0i64), 2 => 0i64..500_000_000, 1 => -100_000_000i64..0];
    let bytes = prop_oneof![60 => 1usize..2000, 2 => Just(0usize), 1 => 1_000_000usize..5_000_000];
    let late =
        prop_oneof![8 => -40_000_000i64..40_000_000, 1 => 0i64..3_000_000_000, 1 => -3_000_000_000i64..0];
    prop_oneof![
        8 => (interval, delay, bytes.clone(), prop::bool::weighted(0.15))
            .prop_map(|(after_ns, delay_ns, bytes, key)| Step::Video { after_ns, delay_ns, bytes, key }),
        8 => (late, 0u32..2048, bytes).prop_map(|(late_ns, ticks, bytes)| Step::Audio { late_ns, ticks, bytes }),
        1 => prop::option::of(0i64..3_000_000_000).prop_map(Step::Flush),
    ]
}

/// Data that tells samples apart.
fn data(number: usize, bytes: usize) -> Bytes {
    let mut data = vec![number as u8; bytes];
    data.iter_mut().zip(number.to_be_bytes()).for_each(|(byte, of)| *byte ^= of.wrapping_add(bytes as u8));
    data.into()
}

fn to_ticks(ns: i64) -> i64 {
    (i128::from(ns) * 90_000).div_euclid(1_000_000_000) as i64
}

/// Reads everything back and compares it with what was pushed.
fn check(
    header: &Header,
    fragments: &[Fragment],
    video: &[VideoSample],
    audio: &[AudioSample],
) -> Result<(), TestCaseError> {
    let (mut offset, mut frames, mut end) = (header.bytes().len() as u64, 0u64, 0u64);
    let (mut found_video, mut found_audio) = (Vec::new(), Vec::new());
    for (sequence, fragment) in (1u32..).zip(fragments) {
        let bytes = fragment.concat();
        prop_assert_eq!((fragment.offset, fragment.bytes), (offset, bytes.len() as u64));
        offset += fragment.bytes;
        let mut first = None;
        for run in reader::fragment(&bytes, sequence) {
            if run.track != 1 {
                found_audio.extend(run.samples);
                continue;
            }
            let keys = run.samples.iter().filter(|sample| sample.key).count();
            prop_assert_eq!(
                (fragment.frames as usize, fragment.keyframes as usize),
                (run.samples.len(), keys)
            );
            prop_assert_eq!(fragment.starts_with_keyframe, run.samples[0].key);
            let (start, last) = (run.samples[0].decode, &run.samples[run.samples.len() - 1]);
            first = Some(start);
            prop_assert_eq!(fragment.decode_end, last.decode + u64::from(last.duration));
            prop_assert!(last.decode - start < 45_000 || run.samples.len() == 1);
            frames += run.samples.len() as u64;
            end = end.max(fragment.decode_end);
            found_video.extend(run.samples);
        }
        prop_assert_eq!(fragment.decode_start, first.unwrap_or(fragment.decode_start));
        prop_assert_eq!(fragment.frames > 0, first.is_some());
        let duration_us = (u128::from(end) * 1_000_000 / 90_000) as i64;
        prop_assert_eq!(fragment.extent, Extent { frames, bytes: offset, duration_us });
        // The newest picture may come on top.
        let data: usize = fragment.samples.iter().map(Bytes::len).sum();
        prop_assert!(data <= (8 << 20) + 5_000_000, "{} bytes", data);
    }
    prop_assert_eq!(found_video.len(), video.len());
    let origin_ns = video.first().map_or(0, |first| first.decode_ns);
    for (found, pushed) in found_video.iter().zip(video) {
        prop_assert_eq!((&found.data[..], found.key), (&pushed.data[..], pushed.key));
        let shown = found.decode as i64 + i64::from(found.offset);
        if found.offset > i32::MIN && found.offset < i32::MAX {
            prop_assert!((shown - to_ticks(pushed.presentation_ns - origin_ns)).abs() <= 1);
        }
        prop_assert!(found.decode as i64 >= to_ticks(pushed.decode_ns - origin_ns));
    }
    prop_assert!(found_video.windows(2).all(|pair| pair[0].decode < pair[1].decode));
    prop_assert_eq!(found_video.first().map_or(0, |first| first.decode), 0);
    // All audio but the first pieces: those that end before the first picture, and what is too much to wait for it.
    let (early, placed) = audio.split_at(audio.len().saturating_sub(found_audio.len()));
    let ends =
        early.iter().map(|early| early.time_ns + i64::from(early.ticks.max(960)) * 1_000_000_000 / 48_000);
    let bytes: usize = audio.iter().map(|early| early.data.len()).sum();
    prop_assert!(bytes > 1 << 20 || ends.max().is_none_or(|end| end <= origin_ns + 20_000_000));
    prop_assert_eq!(found_audio.len(), placed.len());
    for (found, pushed) in found_audio.iter().zip(placed) {
        prop_assert_eq!(&found.data[..], &pushed.data[..]);
        let late_ns =
            i128::from(found.decode) * 1_000_000_000 / 48_000 - i128::from(pushed.time_ns - origin_ns);
        prop_assert!(late_ns >= -50_050_000, "{} ns early", -late_ns);
    }
    let ends = |pair: &[reader::Sample]| pair[0].decode + u64::from(pair[0].duration) <= pair[1].decode;
    prop_assert!(found_audio.windows(2).all(ends), "audio goes back");
    Ok(())
}

proptest! {
    #[test]
    fn what_is_pushed_is_in_the_file(steps in vec(step(), 1..120), start_ns in -1_000_000_000_000i64..1_000_000_000_000) {
        let format = audio_format(AudioCodec::Opus, 48_000);
        let header = Header::new(&video_format(Codec::H265), Some(&format), "", None).unwrap();
        let mut writer = Fragmenter::new(&header);
        let (mut fragments, mut video, mut audio) = (Vec::new(), Vec::new(), Vec::new());
        let (mut decode_ns, mut audio_ns) = (start_ns, start_ns);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Video { after_ns, delay_ns, bytes, key } => {
                    decode_ns += after_ns;
                    let presentation_ns = decode_ns + delay_ns;
                    let sample = VideoSample { data: data(number, bytes), key, decode_ns, presentation_ns };
                    match writer.push_video(sample.clone()) {
                        Ok(made) => {
                            fragments.extend(made);
                            video.push(sample);
                        }
                        Err(error) => prop_assert_eq!((error, bytes), (SampleError::Empty, 0)),
                    }
                    // The audio stays near the pictures.
                    audio_ns = audio_ns.max(decode_ns - 1_000_000_000);
                }
                Step::Audio { late_ns, ticks, bytes } => {
                    let sample = AudioSample { data: data(number, bytes), time_ns: audio_ns + late_ns, ticks };
                    audio_ns += late_ns.max(0) + i64::from(ticks) * 1_000_000_000 / 48_000;
                    match writer.push_audio(sample.clone()) {
                        Ok(made) => {
                            fragments.extend(made);
                            audio.push(sample);
                        }
                        Err(error) => prop_assert_eq!((error, bytes), (SampleError::Empty, 0)),
                    }
                }
                Step::Flush(duration) => fragments.extend(writer.flush(duration)),
            }
        }
        fragments.extend(writer.flush(None));
        if video.is_empty() {
            prop_assert!(fragments.is_empty());
        } else {
            check(&header, &fragments, &video, &audio)?;
        }
    }
}
