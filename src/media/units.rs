//! Access units and sound as GStreamer's buffers and caps, and back. Bytes are shared, never copied.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use gstreamer::{self as gst};

use super::sound::TimedSound;
use crate::{
    base::WallUs,
    model::{
        segment::{AudioCodec, Codec},
        unit::{AccessUnit, AudioFormat, AudioUnit, VideoFormat},
    },
};

/// Caps with a smaller side, in pixels, describe no picture of a camera.
const SIZE_LEAST: u32 = 16;

/// The caps of a video format: H.264 as `avc`, H.265 as `hvc1`, one picture per buffer.
pub fn video_caps(format: &VideoFormat) -> gst::Caps {
    let (name, stream_format) = match format.codec {
        Codec::H264 => ("video/x-h264", "avc"),
        Codec::H265 => ("video/x-h265", "hvc1"),
    };
    let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    gst::Caps::builder(name)
        .field("stream-format", stream_format)
        .field("alignment", "au")
        .field("codec_data", gst::Buffer::from_slice(format.configuration.clone()))
        .field("width", side(format.width))
        .field("height", side(format.height))
        .field_if_some("framerate", format.fps_declared.and_then(gst::Fraction::approximate_f64))
        .build()
}

/// The video format that caps declare; `None` while they lack the decoder configuration, as after damaged parameter sets, or name
/// a size that no muxer takes.
pub fn video_format(caps: &gst::CapsRef) -> Option<VideoFormat> {
    let structure = caps.structure(0)?;
    let side = |field| structure.get::<i32>(field).ok().and_then(|n| u32::try_from(n).ok());
    let rate = structure.get::<gst::Fraction>("framerate").ok().filter(|rate| rate.numer() > 0);
    let (width, height) = (side("width")?, side("height")?);
    if width.min(height) < SIZE_LEAST {
        return None;
    }
    Some(VideoFormat {
        codec: if structure.name() == "video/x-h265" { Codec::H265 } else { Codec::H264 },
        configuration: codec_data(structure)?,
        width,
        height,
        fps_declared: rate.map(|rate| f64::from(rate.numer()) / f64::from(rate.denom())),
    })
}

/// The decoder configuration in caps.
pub fn codec_data(structure: &gst::StructureRef) -> Option<Bytes> {
    let buffer = structure.get::<gst::Buffer>("codec_data").ok()?;
    Some(Bytes::copy_from_slice(&buffer.map_readable().ok()?))
}

/// A buffer that shares the picture's bytes. It has no times.
pub fn video_buffer(unit: &AccessUnit) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(unit.data.clone());
    if !unit.key {
        buffer.make_mut().set_flags(gst::BufferFlags::DELTA_UNIT);
    }
    buffer
}

/// The picture in a buffer that a parser made; `None` if its memory cannot be read.
pub fn access_unit(
    buffer: gst::Buffer,
    format: &Arc<VideoFormat>,
    rtp_time: Option<u32>,
    camera_time: Option<WallUs>,
    arrived: Instant,
) -> Option<AccessUnit> {
    let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
    let data = Bytes::from_owner(buffer.into_mapped_buffer_readable().ok()?);
    Some(AccessUnit { data, key, rtp_time, camera_time, arrived, format: format.clone(), damaged: false })
}

/// The caps of a sound format, as a muxer or a decoder takes it.
pub fn audio_caps(format: &AudioFormat) -> gst::Caps {
    let channels = i32::from(format.channels.max(1));
    let rate = i32::try_from(format.rate).unwrap_or(i32::MAX);
    match format.codec {
        AudioCodec::Aac => {
            let caps = gst::Caps::builder("audio/mpeg")
                .field("mpegversion", 4i32)
                .field("stream-format", "raw")
                .field("framed", true)
                .field("codec_data", gst::Buffer::from_slice(format.configuration.clone()));
            caps.field("rate", rate).field("channels", channels).build()
        }
        AudioCodec::Opus => gst::Caps::builder("audio/x-opus")
            .field("channel-mapping-family", 0i32)
            .field("rate", rate)
            .field("channels", channels)
            .build(),
        AudioCodec::Pcma | AudioCodec::Pcmu => {
            let name = if format.codec == AudioCodec::Pcma { "audio/x-alaw" } else { "audio/x-mulaw" };
            gst::Caps::builder(name).field("rate", rate).field("channels", channels).build()
        }
    }
}

/// A buffer that shares the bytes of a frame of sound, at this time.
pub(super) fn audio_buffer(unit: &AudioUnit, at_ns: i64) -> gst::Buffer {
    let ns = |ns: i64| gst::ClockTime::from_nseconds(ns.try_into().unwrap_or_default());
    let mut buffer = gst::Buffer::from_slice(unit.data.clone());
    let length_ns = i64::from(unit.ticks) * 1_000_000_000 / i64::from(unit.format.rate.max(1));
    let fields = buffer.make_mut();
    fields.set_pts(ns(at_ns));
    fields.set_duration((length_ns > 0).then(|| ns(length_ns)));
    buffer
}

/// The format of AAC that an encoder made; `None` while its caps lack the configuration.
pub(super) fn aac_format(caps: &gst::CapsRef) -> Option<AudioFormat> {
    let structure = caps.structure(0)?;
    let number = |field| structure.get::<i32>(field).ok().filter(|number| *number > 0);
    Some(AudioFormat {
        codec: AudioCodec::Aac,
        rate: number("rate")?.try_into().ok()?,
        channels: number("channels")?.try_into().ok()?,
        configuration: codec_data(structure)?,
    })
}

/// The frame of sound in a buffer that an encoder made; `None` if it has no time, or its memory cannot be read.
pub(super) fn timed_sound(buffer: gst::Buffer, format: &Arc<AudioFormat>) -> Option<TimedSound> {
    let at_ns = i64::try_from(buffer.pts()?.nseconds()).ok()?;
    let length_ns = buffer.duration().map_or(0, gst::ClockTime::nseconds);
    let ticks = (u128::from(length_ns) * u128::from(format.rate) + 500_000_000) / 1_000_000_000;
    let data = Bytes::from_owner(buffer.into_mapped_buffer_readable().ok()?);
    let unit = AudioUnit {
        data,
        rtp_time: None,
        ticks: ticks.try_into().ok()?,
        arrived: Instant::now(),
        format: format.clone(),
    };
    Some(TimedSound { unit, at_ns })
}
