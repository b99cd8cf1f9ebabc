//! Collects samples into fragments: when a fragment is closed, and which times its samples get.
//!
//! # When a fragment is closed
//!
//! The duration of a video sample is known when the next one comes, so the newest one is held back. A fragment ends before a video
//! sample that
//!
//! - is decoded [`FRAGMENT_NS`] or more after the first one of the fragment;
//! - is a keyframe, unless the next keyframe, if it comes as long after this one as this one after the keyframe before, still lies
//!   within the time of the fragment. So each GOP begins a fragment, and GOPs much shorter than the fragment are put together: there
//!   are never more than about four fragments per second, and two if each frame is a keyframe;
//! - would make it longer than [`FRAGMENT_BYTES`], or is the 257th of it;
//! - is decoded more than a minute after the sample before, which is then taken for a jump of the timeline.
//!
//! Audio goes into the fragment that is open when it is pushed. It closes one by itself only if video stays away: with one second of
//! audio, at the limit of bytes, with 1,024 samples, or before a gap of more than a minute. The newest video sample is held back even
//! then, unless no fragment has been made yet.
//!
//! [`Fragmenter::flush`] gives out everything, with an assumed duration of the newest video sample. The caller does so when a frame
//! is due to be in the file and no other came, above all for the first frame of a segment.
//!
//! # Times in the file
//!
//! The decode time in a fragment (`tfdt`, ISO/IEC 14496-12, 8.8.12) is authoritative, durations are not: after a flush the next video
//! sample has its true decode time, whatever was assumed. If that leaves a gap, 8.8.12 prolongs the sample before it. If the assumed
//! duration was too long, the end of that sample overlaps with the next one; decode times of samples increase all the same, which is
//! what players go by. Its decode time is not moved to the end of the assumed duration, because its presentation offset would become
//! negative, for which some demuxers move the whole track.
//!
//! Video decode times increase strictly: one that does not is put one tick after the one before. Presentation times stay what they
//! are; their difference has a sign.
//!
//! Audio is continuous: a sample begins where the one before ends, by its own length, as long as its time agrees to 50 ms (three
//! frames of Opus, and far more than the rounding of clocks). If its time is later than that, it is put there, and the sample before
//! lasts until then, as far as it is still in an open fragment; otherwise `tfdt` carries the gap. Audio never goes back: if its time
//! is earlier, it stays continuous. What ends before the first video sample is left out; a sample that begins before it and ends after
//! it begins at 0 and ends in time.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    fragment::{Fragment, TimedAudio, TimedVideo, write_header},
    header::{AudioTiming, Header, VIDEO_TIMESCALE},
};
use crate::model::segment::Extent;

/// Time between the first samples of two fragments at least, in nanoseconds, if neither a keyframe nor a limit ends one earlier.
pub const FRAGMENT_NS: i64 = 500_000_000;
/// Sample data in a fragment at most, in bytes. A single larger sample has a fragment of its own, and audio may come on top of the
/// newest video sample, whatever its size.
pub const FRAGMENT_BYTES: u64 = 8 << 20;
/// Longest sample in bytes: a bound for the memory that a fragment takes, and for the 32-bit lengths in it.
pub const SAMPLE_BYTES_MAX: usize = 256 << 20;

const FRAGMENT_TICKS: u64 = VIDEO_TIMESCALE as u64 / 2;
/// Samples of each track in a fragment at most, so that a `moof` stays short even if the timeline stands still.
const VIDEO_SAMPLES_MAX: usize = 256;
const AUDIO_SAMPLES_MAX: usize = 1024;
/// Audio in a fragment at most, in seconds, while no video ends it.
const AUDIO_SECONDS_MAX: u64 = 1;
/// Distance to the next sample in seconds that is still taken for the duration of a sample. Fits 32 bits in ticks of both tracks.
const DURATION_SECONDS_MAX: u32 = 60;
/// An assumed duration in ticks is no longer than this: 2 s.
const ASSUMED_TICKS_MAX: u32 = 2 * VIDEO_TIMESCALE;
/// Assumed duration in ticks if neither an earlier sample nor the stream tells one: 40 ms.
const ASSUMED_TICKS: u32 = VIDEO_TIMESCALE / 25;
/// Deviation of an audio sample's time from the continuous count that is passed over: a 20th of a second.
const AUDIO_TOLERANCE_PARTS: u32 = 20;
/// Audio that waits for the first video sample: samples and bytes at most.
const EARLY_SAMPLES_MAX: usize = 256;
const EARLY_BYTES_MAX: usize = 1 << 20;

/// A coded picture.
#[derive(Clone, Debug)]
pub struct VideoSample {
    /// NAL units, each after its length, as the decoder configuration says.
    pub data: Bytes,
    /// Whether decoding can begin here.
    pub key: bool,
    /// Decode time in nanoseconds on the caller's timeline.
    pub decode_ns: i64,
    /// Presentation time in nanoseconds on the same timeline.
    pub presentation_ns: i64,
}

/// A frame of AAC or a packet of Opus.
#[derive(Clone, Debug)]
pub struct AudioSample {
    /// The encoded bytes.
    pub data: Bytes,
    /// Time of its first audio sample in nanoseconds on the timeline of the video.
    pub time_ns: i64,
    /// Length in ticks of the audio track (its sample rate); 0 if not known, then as the one before.
    pub ticks: u32,
}

/// A sample that no fragment can hold. It is left out; the fragmenter is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// It has no bytes.
    #[error("a sample is empty")]
    Empty,
    /// It has more than [`SAMPLE_BYTES_MAX`] bytes.
    #[error("a sample of {bytes} bytes is too large for a fragment")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The header that the fragmenter was made for has no audio track.
    #[error("audio was pushed for a file without an audio track")]
    NoAudioTrack,
}

/// What happens to the newest video sample, whose duration is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NewestSample {
    Keep,
    Emit,
}

/// Makes the fragments of one file. Holds by reference at most [`FRAGMENT_BYTES`] of data and two samples more.
#[derive(Debug)]
pub struct Fragmenter {
    audio_timing: Option<AudioTiming>,
    /// Time of the first video sample's decoding, which is 0 in the file.
    origin_ns: Option<i64>,
    video: Vec<TimedVideo>,
    audio: Vec<TimedAudio>,
    early_audio: VecDeque<AudioSample>,
    early_bytes: usize,
    /// Bytes in `video` and `audio`.
    pending_bytes: u64,
    newest_decode: Option<u64>,
    newest_key: Option<u64>,
    /// Duration of a video sample as last seen, or as the stream declares it.
    usual_ticks: Option<u32>,
    audio_end: Option<u64>,
    audio_usual_ticks: u32,
    fragments: u32,
    /// End of the video in the fragments that were given out, in ticks.
    end: u64,
    extent: Extent,
}

impl Fragmenter {
    /// A fragmenter for the file that begins with `header`.
    pub fn new(header: &Header) -> Self {
        Self {
            audio_timing: header.audio(),
            origin_ns: None,
            video: Vec::new(),
            audio: Vec::new(),
            early_audio: VecDeque::new(),
            early_bytes: 0,
            pending_bytes: 0,
            newest_decode: None,
            newest_key: None,
            usual_ticks: header.declared_ticks(),
            audio_end: None,
            audio_usual_ticks: header.audio().map_or(0, |timing| timing.usual_ticks),
            fragments: 0,
            end: 0,
            extent: Extent { bytes: u64::try_from(header.bytes().len()).unwrap_or(0), ..Extent::default() },
        }
    }

    /// Adds the next picture in the order of decoding. Returns the fragment that ends before it, if one does. The first picture
    /// should be a keyframe.
    ///
    /// # Errors
    ///
    /// [`SampleError::Empty`], [`SampleError::TooLarge`]
    pub fn push_video(&mut self, sample: VideoSample) -> Result<Option<Fragment>, SampleError> {
        let VideoSample { data, key, decode_ns, presentation_ns } = sample;
        let bytes = sample_bytes(&data)?;
        let origin_ns = *self.origin_ns.get_or_insert(decode_ns);
        let earliest = self.newest_decode.map_or(0, |newest| newest.saturating_add(1));
        let decode = u64::try_from(ticks(decode_ns, origin_ns, VIDEO_TIMESCALE)).unwrap_or(0).max(earliest);
        let presentation = ticks(presentation_ns, origin_ns, VIDEO_TIMESCALE);
        let is_jump = self.end_newest(decode);
        let is_complete = is_jump || self.closes_before(decode, key, bytes);
        let fragment = if is_complete { self.close(NewestSample::Emit) } else { None };
        // Replaced when the next one comes, or by a flush.
        let duration = self.assumed_ticks(None);
        self.video.push(TimedVideo { data, key, decode, offset: offset(presentation, decode), duration });
        self.pending_bytes = self.pending_bytes.saturating_add(bytes);
        self.newest_decode = Some(decode);
        if key {
            self.newest_key = Some(decode);
        }
        self.early_bytes = 0;
        if let Some(timing) = self.audio_timing {
            for sample in std::mem::take(&mut self.early_audio) {
                self.place_audio(sample, timing, origin_ns);
            }
        }
        Ok(fragment)
    }

    /// Adds the next piece of audio. Returns the fragment that ends before it, if one does. Audio that comes before the first
    /// picture waits for it.
    ///
    /// # Errors
    ///
    /// [`SampleError::Empty`], [`SampleError::TooLarge`], [`SampleError::NoAudioTrack`]
    pub fn push_audio(&mut self, sample: AudioSample) -> Result<Option<Fragment>, SampleError> {
        let timing = self.audio_timing.ok_or(SampleError::NoAudioTrack)?;
        let bytes = sample_bytes(&sample.data)?;
        let Some(origin_ns) = self.origin_ns else {
            self.hold_early(sample);
            return Ok(None);
        };
        let fragment = if self.closes_before_audio(&sample, bytes, timing, origin_ns) {
            // A file appears with its first fragment, which is to have a picture.
            let is_first = self.fragments == 0 && self.video.len() < 2;
            self.close(if is_first { NewestSample::Emit } else { NewestSample::Keep })
        } else {
            None
        };
        self.place_audio(sample, timing, origin_ns);
        Ok(fragment)
    }

    /// Gives out everything that is held, `None` if that is nothing. The newest video sample lasts `last_duration_ns`, as far as
    /// that is from one tick to a minute; without it as long as the one before, as the declared frame rate says, or 40 ms, and no
    /// longer than 2 s. Pushing goes on afterwards as before.
    pub fn flush(&mut self, last_duration_ns: Option<i64>) -> Option<Fragment> {
        let duration = self.assumed_ticks(last_duration_ns);
        if let Some(newest) = self.video.last_mut() {
            newest.duration = duration;
        }
        self.close(NewestSample::Emit)
    }

    /// The newest video sample ends at `decode`. Whether that is so far away that it is a jump of the timeline.
    fn end_newest(&mut self, decode: u64) -> bool {
        let Some(newest) = self.newest_decode else { return false };
        let distance = u32::try_from(decode.saturating_sub(newest)).unwrap_or(u32::MAX);
        if distance > DURATION_SECONDS_MAX * VIDEO_TIMESCALE {
            return true;
        }
        if let Some(held) = self.video.last_mut() {
            held.duration = distance;
        }
        self.usual_ticks = Some(distance);
        false
    }

    fn closes_before(&self, decode: u64, key: bool, bytes: u64) -> bool {
        let Some(first) = self.video.first() else { return false };
        let elapsed = decode.saturating_sub(first.decode);
        let starts_gop = key
            && self.newest_key.is_none_or(|newest| {
                let interval = decode.saturating_sub(newest);
                elapsed.saturating_add(interval) > FRAGMENT_TICKS
            });
        starts_gop
            || elapsed >= FRAGMENT_TICKS
            || self.video.len() >= VIDEO_SAMPLES_MAX
            || self.pending_bytes.saturating_add(bytes) > FRAGMENT_BYTES
    }

    fn closes_before_audio(
        &self,
        sample: &AudioSample,
        bytes: u64,
        timing: AudioTiming,
        origin_ns: i64,
    ) -> bool {
        let held = self.video.last().and_then(|held| u64::try_from(held.data.len()).ok()).unwrap_or(0);
        let complete_bytes = self.pending_bytes.saturating_sub(held);
        let is_full =
            self.audio.len() >= AUDIO_SAMPLES_MAX || complete_bytes.saturating_add(bytes) > FRAGMENT_BYTES;
        let scale = u64::from(timing.timescale);
        is_full
            || self.audio.first().zip(self.audio_end).is_some_and(|(first, end)| {
                let given = u64::try_from(ticks(sample.time_ns, origin_ns, timing.timescale)).unwrap_or(0);
                end.saturating_sub(first.start) >= AUDIO_SECONDS_MAX.saturating_mul(scale)
                    || given.saturating_sub(end) > scale.saturating_mul(DURATION_SECONDS_MAX.into())
            })
    }

    /// Puts a piece of audio into the open fragment, at its time in the file.
    fn place_audio(&mut self, sample: AudioSample, timing: AudioTiming, origin_ns: i64) {
        let AudioSample { data, time_ns, ticks: own_ticks } = sample;
        let given = ticks(time_ns, origin_ns, timing.timescale);
        let mut duration = if own_ticks > 0 { own_ticks } else { self.audio_usual_ticks };
        let start = match self.audio_end {
            None => {
                let end = given.saturating_add(duration.into());
                if end <= 0 {
                    return;
                }
                duration = duration.min(u32::try_from(end).unwrap_or(u32::MAX));
                u64::try_from(given).unwrap_or(0)
            }
            Some(end) => {
                let tolerance = u64::from(timing.timescale / AUDIO_TOLERANCE_PARTS);
                let given = u64::try_from(given).unwrap_or(0);
                let gap = given.saturating_sub(end);
                if gap <= tolerance {
                    end
                } else {
                    if let Some(last) = self.audio.last_mut() {
                        last.duration = last.duration.saturating_add(u32::try_from(gap).unwrap_or(u32::MAX));
                    }
                    given
                }
            }
        };
        if own_ticks > 0 {
            self.audio_usual_ticks = own_ticks;
        }
        self.pending_bytes = self.pending_bytes.saturating_add(u64::try_from(data.len()).unwrap_or(0));
        self.audio_end = Some(start.saturating_add(duration.into()));
        self.audio.push(TimedAudio { data, start, duration });
    }

    /// Keeps audio until the first picture tells where the file begins.
    fn hold_early(&mut self, sample: AudioSample) {
        self.early_bytes = self.early_bytes.saturating_add(sample.data.len());
        self.early_audio.push_back(sample);
        while self.early_audio.len() > EARLY_SAMPLES_MAX || self.early_bytes > EARLY_BYTES_MAX {
            let Some(oldest) = self.early_audio.pop_front() else { break };
            self.early_bytes = self.early_bytes.saturating_sub(oldest.data.len());
        }
    }

    /// Duration of a video sample that no other follows yet.
    fn assumed_ticks(&self, duration_ns: Option<i64>) -> u32 {
        let usual = self.usual_ticks.unwrap_or(ASSUMED_TICKS).clamp(1, ASSUMED_TICKS_MAX);
        duration_ns.map_or(usual, |ns| {
            let longest = DURATION_SECONDS_MAX * VIDEO_TIMESCALE;
            let given = ticks(ns, 0, VIDEO_TIMESCALE).clamp(1, longest.into());
            u32::try_from(given).unwrap_or(longest)
        })
    }

    /// Makes a fragment of what is held.
    fn close(&mut self, newest: NewestSample) -> Option<Fragment> {
        let held = if newest == NewestSample::Keep { self.video.pop() } else { None };
        let (video, audio) = (std::mem::take(&mut self.video), std::mem::take(&mut self.audio));
        let held_bytes = held.as_ref().map_or(0, |held| u64::try_from(held.data.len()).unwrap_or(0));
        let data_bytes = self.pending_bytes.saturating_sub(held_bytes);
        self.pending_bytes = held_bytes;
        self.video.extend(held);
        if video.is_empty() && audio.is_empty() {
            return None;
        }
        self.fragments = self.fragments.wrapping_add(1);
        let header = write_header(self.fragments, &video, &audio);
        let bytes = u64::try_from(header.len()).unwrap_or(0).saturating_add(data_bytes);
        let decode_start = video.first().map_or(self.end, |first| first.decode);
        let duration: u64 = video.iter().map(|sample| u64::from(sample.duration)).sum();
        let decode_end = decode_start.saturating_add(duration);
        let count = |key: bool| video.iter().filter(|sample| sample.key || !key).count();
        let frames = u32::try_from(count(false)).unwrap_or(u32::MAX);
        let keyframes = u32::try_from(count(true)).unwrap_or(u32::MAX);
        let starts_with_keyframe = video.first().is_some_and(|first| first.key);
        let offset = self.extent.bytes;
        self.end = self.end.max(decode_end);
        self.extent = Extent {
            frames: self.extent.frames.saturating_add(frames.into()),
            bytes: offset.saturating_add(bytes),
            duration_us: ticks_us(self.end),
        };
        let samples = video.into_iter().map(|sample| sample.data);
        let samples = samples.chain(audio.into_iter().map(|sample| sample.data)).collect();
        Some(Fragment {
            header,
            samples,
            offset,
            bytes,
            frames,
            keyframes,
            starts_with_keyframe,
            decode_start,
            decode_end,
            extent: self.extent,
        })
    }
}

/// The length of a sample, if a fragment can hold it.
fn sample_bytes(data: &Bytes) -> Result<u64, SampleError> {
    let bytes = data.len();
    if bytes == 0 {
        return Err(SampleError::Empty);
    }
    u64::try_from(bytes).ok().filter(|_| bytes <= SAMPLE_BYTES_MAX).ok_or(SampleError::TooLarge { bytes })
}

/// The time `ns` in ticks since `origin_ns`, to the nearest.
fn ticks(ns: i64, origin_ns: i64, timescale: u32) -> i64 {
    let since = i128::from(ns) - i128::from(origin_ns);
    let ticks = (since * i128::from(timescale) + 500_000_000).div_euclid(1_000_000_000);
    i64::try_from(ticks).unwrap_or(if since < 0 { i64::MIN } else { i64::MAX })
}

/// Ticks of the video in microseconds, rounded down.
fn ticks_us(ticks: u64) -> i64 {
    i64::try_from(u128::from(ticks) * 1_000_000 / u128::from(VIDEO_TIMESCALE)).unwrap_or(i64::MAX)
}

/// Composition offset of a sample (ISO/IEC 14496-12, 8.8.8): what its presentation is later than its decoding.
fn offset(presentation: i64, decode: u64) -> i32 {
    let offset = i128::from(presentation) - i128::from(decode);
    i32::try_from(offset).unwrap_or(if offset < 0 { i32::MIN } else { i32::MAX })
}
