//! The begin of a file: `ftyp` and `moov` with the tracks and without samples.

use bytes::Bytes;

use super::boxes::BoxWriter;
use crate::{
    base::WallUs,
    model::{
        segment::{AudioCodec, Codec},
        unit::{AudioFormat, VideoFormat},
    },
};

/// Ticks per second of the video track and of the movie. RTP uses the same clock for video (RFC 3551, 5).
pub const VIDEO_TIMESCALE: u32 = 90_000;
/// Ticks per second of an Opus track, whatever was encoded (Opus in ISOBMFF, 4.3.1).
const OPUS_RATE: u32 = 48_000;
/// Channels of Opus with the channel mapping family 0 (Opus in ISOBMFF, 4.5).
const OPUS_CHANNELS_MAX: u8 = 2;
pub(super) const VIDEO_TRACK: u32 = 1;
pub(super) const AUDIO_TRACK: u32 = 2;

/// Seconds from 1904-01-01, where the times of MP4 begin, to 1970-01-01.
const EPOCH_S: i64 = 2_082_844_800;
/// The unity matrix of `mvhd` and `tkhd` (ISO/IEC 14496-12, 8.2.2.2).
const MATRIX: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];
/// The language `und` in `mdhd`: three letters of five bits (8.4.2.3).
const LANGUAGE_UNDETERMINED: u16 = 0x55c4;
/// Bits in a frame of AAC at most, per channel (ISO/IEC 14496-3, 4.5.3.1: minimum decoder input buffer).
const AAC_FRAME_BITS: u32 = 6144;
/// Audio samples per frame of AAC.
const AAC_FRAME_SAMPLES: u32 = 1024;

/// A format that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file would not play in a browser; such audio is transcoded to AAC before it gets here.
    #[error("{} audio cannot be stored in a segment: transcode it to AAC", .0.rtp_name())]
    AudioCodec(AudioCodec),
    /// The decoder configuration record of the video is empty.
    #[error("the video has no decoder configuration")]
    VideoConfiguration,
    /// The AudioSpecificConfig of AAC is empty, or longer than the 64 KiB which the descriptor is limited to here.
    #[error("the AAC audio has no usable AudioSpecificConfig")]
    AudioConfiguration,
    /// A side of the picture is 0, or more than 65,535 pixels.
    #[error("a picture of {width} x {height} pixels cannot be stored")]
    PictureSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// AAC with 0 samples per second, Opus with other than 48,000 or more than 2 channels, or 0 channels.
    #[error("audio with {channels} channels at {rate} Hz cannot be stored")]
    AudioRate {
        /// Samples per second.
        rate: u32,
        /// Channels.
        channels: u8,
    },
}

/// `ftyp` and `moov` of a file with one video track and at most one audio track.
#[derive(Clone, Debug)]
pub struct Header {
    bytes: Bytes,
    /// Ticks per second of the audio track, and a usual length of its samples in ticks.
    audio: Option<AudioTiming>,
    /// Length of a video sample in ticks, by the frame rate that the stream declares.
    declared_ticks: Option<u32>,
}

/// How an audio track counts time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AudioTiming {
    /// Ticks per second.
    pub(super) timescale: u32,
    /// Length of a sample in ticks, for one that does not say its own.
    pub(super) usual_ticks: u32,
}

impl Header {
    /// Describes the tracks. `comment` becomes the tag `©cmt` (left out if it is empty), `created` the creation time.
    ///
    /// # Errors
    ///
    /// A [`FormatError`] for a format that no file can hold.
    pub fn new(
        video: &VideoFormat,
        audio: Option<&AudioFormat>,
        comment: &str,
        created: Option<WallUs>,
    ) -> Result<Self, FormatError> {
        let video_entry = VideoEntry::new(video)?;
        let audio_entry = audio.map(AudioEntry::new).transpose()?;
        let created = created.map_or(0, creation_time);
        let mut out = BoxWriter::default();
        file_type(&mut out, video.codec);
        out.nested(b"moov", |out| {
            movie_header(out, created, if audio.is_some() { AUDIO_TRACK } else { VIDEO_TRACK } + 1);
            track(out, created, &Media::Video(video_entry));
            if let Some(entry) = audio_entry {
                track(out, created, &Media::Audio(entry));
            }
            out.nested(b"mvex", |out| {
                track_extends(out, VIDEO_TRACK);
                if audio.is_some() {
                    track_extends(out, AUDIO_TRACK);
                }
            });
            if !comment.is_empty() {
                user_data(out, comment);
            }
        });
        Ok(Self {
            bytes: out.into_bytes().into(),
            audio: audio.map(|format| AudioTiming {
                timescale: format.rate,
                // 20 ms is what encoders of Opus make unless told otherwise (RFC 7587, the default of `ptime`).
                usual_ticks: if format.codec == AudioCodec::Opus {
                    OPUS_RATE / 50
                } else {
                    AAC_FRAME_SAMPLES
                },
            }),
            declared_ticks: video.fps_declared.and_then(declared_ticks),
        })
    }

    /// The boxes: the first bytes of the file, or the initialization segment of a Media Source.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn audio(&self) -> Option<AudioTiming> {
        self.audio
    }

    pub(super) fn declared_ticks(&self) -> Option<u32> {
        self.declared_ticks
    }
}

/// Ticks of the video track per frame, for a frame rate from 0.5 to 1000 per second.
fn declared_ticks(fps: f64) -> Option<u32> {
    let duration = (0.5..=1000.0).contains(&fps).then(|| std::time::Duration::from_secs_f64(1.0 / fps))?;
    u32::try_from(duration.as_nanos() * u128::from(VIDEO_TIMESCALE) / 1_000_000_000).ok()
}

/// Seconds since 1904, or 0 (unknown) for a time that 32 bits cannot hold.
fn creation_time(time: WallUs) -> u32 {
    u32::try_from(time.0.div_euclid(1_000_000).saturating_add(EPOCH_S)).unwrap_or(0)
}

/// Brands (ISO/IEC 14496-12, 4.3 and annex E). The major one is that of ISO/IEC 14496-14, which file managers know. `iso5` allows
/// `default-base-is-moof`, `iso6` the signed composition offsets in fragments. Older brands of the base format (`isom`, `iso2`) are
/// left out: their readers need not know `default-base-is-moof`. `avc1` belongs to files with H.264 (14496-15).
fn file_type(out: &mut BoxWriter, codec: Codec) {
    out.nested(b"ftyp", |out| {
        out.bytes(b"mp42");
        out.u32(0);
        out.bytes(b"mp42mp41iso5iso6");
        if codec == Codec::H264 {
            out.bytes(b"avc1");
        }
    });
}

/// `mvhd` (8.2.2). The duration is 0 because it is that of the fragments.
fn movie_header(out: &mut BoxWriter, created: u32, next_track: u32) {
    out.full(b"mvhd", 0, 0, |out| {
        out.u32(created);
        out.u32(created);
        out.u32(VIDEO_TIMESCALE);
        out.u32(0);
        // Normal rate (16.16), full volume (8.8).
        out.u32(0x0001_0000);
        out.u16(0x0100);
        out.zeros(10);
        MATRIX.iter().for_each(|value| out.u32(*value));
        out.zeros(24);
        out.u32(next_track);
    });
}

/// `trex` (8.8.3): the first sample entry, no other defaults.
fn track_extends(out: &mut BoxWriter, track: u32) {
    out.full(b"trex", 0, 0, |out| {
        out.u32(track);
        out.u32(1);
        out.zeros(12);
    });
}

/// The comment as a tag in the form of iTunes, below `udta` of the movie.
fn user_data(out: &mut BoxWriter, comment: &str) {
    out.nested(b"udta", |out| {
        out.full(b"meta", 0, 0, |out| {
            out.full(b"hdlr", 0, 0, |out| {
                out.u32(0);
                out.bytes(b"mdirappl");
                // Reserved, and an empty name.
                out.zeros(9);
            });
            out.nested(b"ilst", |out| {
                out.nested(b"\xa9cmt", |out| {
                    // The flags say that the value is UTF-8.
                    out.full(b"data", 0, 1, |out| {
                        out.u32(0);
                        out.bytes(comment.as_bytes());
                    });
                });
            });
        });
    });
}

enum Media<'a> {
    Video(VideoEntry<'a>),
    Audio(AudioEntry<'a>),
}

/// `trak` (8.3.1) with empty sample tables. There is no edit list: the times in the fragments are the times of the movie.
fn track(out: &mut BoxWriter, created: u32, media: &Media<'_>) {
    let (id, timescale, volume, width, height) = match media {
        Media::Video(entry) => (VIDEO_TRACK, VIDEO_TIMESCALE, 0, entry.width, entry.height),
        Media::Audio(entry) => (AUDIO_TRACK, entry.format.rate, 0x0100, 0, 0),
    };
    out.nested(b"trak", |out| {
        // Flags: enabled, part of the movie, part of its preview (8.3.2.3).
        out.full(b"tkhd", 0, 7, |out| {
            out.u32(created);
            out.u32(created);
            out.u32(id);
            // Reserved, duration, reserved, layer, alternate group.
            out.zeros(4 + 4 + 8 + 2 + 2);
            out.u16(volume);
            out.u16(0);
            MATRIX.iter().for_each(|value| out.u32(*value));
            // 16.16
            out.u32(u32::from(width) << 16);
            out.u32(u32::from(height) << 16);
        });
        out.nested(b"mdia", |out| {
            out.full(b"mdhd", 0, 0, |out| {
                out.u32(created);
                out.u32(created);
                out.u32(timescale);
                out.u32(0);
                out.u16(LANGUAGE_UNDETERMINED);
                out.u16(0);
            });
            out.full(b"hdlr", 0, 0, |out| {
                out.u32(0);
                out.bytes(if matches!(media, Media::Video(_)) { b"vide" } else { b"soun" });
                out.zeros(12);
                out.bytes(if matches!(media, Media::Video(_)) {
                    b"VideoHandler\0"
                } else {
                    b"SoundHandler\0"
                });
            });
            out.nested(b"minf", |out| {
                match media {
                    // The flag must be 1 (12.1.2).
                    Media::Video(_) => out.full(b"vmhd", 0, 1, |out| out.zeros(8)),
                    Media::Audio(_) => out.full(b"smhd", 0, 0, |out| out.zeros(4)),
                }
                out.nested(b"dinf", |out| {
                    out.full(b"dref", 0, 0, |out| {
                        out.u32(1);
                        // The flag says that the data is in this file (8.7.2).
                        out.full(b"url ", 0, 1, |_| {});
                    });
                });
                out.nested(b"stbl", |out| {
                    out.full(b"stsd", 0, 0, |out| {
                        out.u32(1);
                        match media {
                            Media::Video(entry) => entry.write(out),
                            Media::Audio(entry) => entry.write(out),
                        }
                    });
                    out.full(b"stts", 0, 0, |out| out.u32(0));
                    out.full(b"stsc", 0, 0, |out| out.u32(0));
                    out.full(b"stsz", 0, 0, |out| out.zeros(8));
                    out.full(b"stco", 0, 0, |out| out.u32(0));
                });
            });
        });
    });
}

/// The sample entry `avc1` or `hvc1` (ISO/IEC 14496-12, 12.1.3; 14496-15, 5.4.2 and 8.4.1).
struct VideoEntry<'a> {
    format: &'a VideoFormat,
    width: u16,
    height: u16,
}

impl<'a> VideoEntry<'a> {
    fn new(format: &'a VideoFormat) -> Result<Self, FormatError> {
        if format.configuration.is_empty() {
            return Err(FormatError::VideoConfiguration);
        }
        let side = |side: u32| u16::try_from(side).ok().filter(|side| *side > 0);
        match (side(format.width), side(format.height)) {
            (Some(width), Some(height)) => Ok(Self { format, width, height }),
            _ => Err(FormatError::PictureSize { width: format.width, height: format.height }),
        }
    }

    fn write(&self, out: &mut BoxWriter) {
        let (entry, record) = match self.format.codec {
            Codec::H264 => (b"avc1", b"avcC"),
            Codec::H265 => (b"hvc1", b"hvcC"),
        };
        out.nested(entry, |out| {
            // Reserved, index of the data reference.
            out.zeros(6);
            out.u16(1);
            out.zeros(16);
            out.u16(self.width);
            out.u16(self.height);
            // 72 dpi (16.16) both ways.
            out.u32(0x0048_0000);
            out.u32(0x0048_0000);
            out.u32(0);
            // Frames per sample.
            out.u16(1);
            // No compressor name.
            out.zeros(32);
            // Depth: color without alpha. The last field is always -1.
            out.u16(0x0018);
            out.u16(0xffff);
            out.nested(record, |out| out.bytes(&self.format.configuration));
        });
    }
}

/// The sample entry `mp4a` or `Opus` (ISO/IEC 14496-12, 12.2.3; 14496-14, 6.7; Opus in ISOBMFF, 4.3.1).
struct AudioEntry<'a> {
    format: &'a AudioFormat,
}

impl<'a> AudioEntry<'a> {
    fn new(format: &'a AudioFormat) -> Result<Self, FormatError> {
        let &AudioFormat { codec, rate, channels, .. } = format;
        let is_rate_right = match codec {
            AudioCodec::Aac => rate > 0,
            AudioCodec::Opus => rate == OPUS_RATE,
            AudioCodec::Pcma | AudioCodec::Pcmu => return Err(FormatError::AudioCodec(codec)),
        };
        let channels_max = if codec == AudioCodec::Opus { OPUS_CHANNELS_MAX } else { u8::MAX };
        if !is_rate_right || !(1..=channels_max).contains(&channels) {
            return Err(FormatError::AudioRate { rate, channels });
        }
        let config = format.configuration.len();
        if codec == AudioCodec::Aac && !(1..=usize::from(u16::MAX)).contains(&config) {
            return Err(FormatError::AudioConfiguration);
        }
        Ok(Self { format })
    }

    fn write(&self, out: &mut BoxWriter) {
        let is_opus = self.format.codec == AudioCodec::Opus;
        out.nested(if is_opus { b"Opus" } else { b"mp4a" }, |out| {
            // Reserved, index of the data reference.
            out.zeros(6);
            out.u16(1);
            out.zeros(8);
            out.u16(self.format.channels.into());
            // Bits per sample.
            out.u16(16);
            out.u32(0);
            // 16.16; a higher rate stands in the AudioSpecificConfig alone, and 0 here.
            out.u32(u16::try_from(self.format.rate).map_or(0, u32::from) << 16);
            if is_opus { self.opus(out) } else { self.elementary_stream(out) }
        });
    }

    /// `dOps` (Opus in ISOBMFF, 4.3.2).
    fn opus(&self, out: &mut BoxWriter) {
        out.nested(b"dOps", |out| {
            // Version.
            out.u8(0);
            out.u8(self.format.channels);
            // Pre-skip: the stream is joined in its middle, and the times of its packets are those at which they sound. A player
            // that drops samples here would play all others earlier.
            out.u16(0);
            out.u32(OPUS_RATE);
            // Gain, and the channel mapping family 0: mono or stereo.
            out.u16(0);
            out.u8(0);
        });
    }

    /// `esds` (14496-14, 6.7.2) with the descriptors of 14496-1, 7.2.6.
    fn elementary_stream(&self, out: &mut BoxWriter) {
        let &AudioFormat { rate, channels, ref configuration, .. } = self.format;
        let frame_bits = AAC_FRAME_BITS.saturating_mul(channels.into());
        let bits_per_second = u64::from(frame_bits) * u64::from(rate) / u64::from(AAC_FRAME_SAMPLES);
        let specific = descriptor(5, configuration);
        let mut decoder = BoxWriter::default();
        // Object type: audio of 14496-3. Stream type: audio (5), upstream no, reserved bit 1.
        decoder.u8(0x40);
        decoder.u8(5 << 2 | 1);
        decoder.u24(frame_bits / 8);
        decoder.u32(u32::try_from(bits_per_second).unwrap_or(u32::MAX));
        // The average bit rate is not known.
        decoder.u32(0);
        decoder.bytes(&specific);
        let mut stream = BoxWriter::default();
        // ES_ID is 0 in a file (14496-14, 3.1.2); no flags.
        stream.zeros(3);
        stream.bytes(&descriptor(4, &decoder.into_bytes()));
        // Synchronization as predefined for MP4 files.
        stream.bytes(&descriptor(6, &[2]));
        out.full(b"esds", 0, 0, |out| out.bytes(&descriptor(3, &stream.into_bytes())));
    }
}

/// A descriptor: its tag, its length in groups of 7 bits, its content (ISO/IEC 14496-1, 8.3.3).
fn descriptor(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut groups = Vec::new();
    let mut rest = content.len();
    loop {
        let last = if groups.is_empty() { 0 } else { 0x80 };
        groups.push(u8::try_from(rest & 0x7f).unwrap_or(0) | last);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    groups.reverse();
    [&[tag][..], &groups, content].concat()
}
