//! AAC in RTP (RFC 3640, modes AAC-hbr and AAC-lbr): several frames in a packet, or one in several.

use std::sync::Arc;

use bytes::Bytes;

use super::Packet;
use crate::{
    model::{
        segment::AudioCodec,
        unit::{AudioFormat, AudioUnit},
    },
    rtsp::{parameters::Bits, reorder::Continuity, track::TrackOutput},
};

/// A larger frame cannot be.
const MAX_FRAME_BYTES: usize = 64 << 10;
/// Sampling rates by their index (ISO/IEC 14496-3, 1.6.3.4).
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];
/// Index that is followed by the rate itself.
const EXPLICIT_RATE: u32 = 15;
const AAC_LC: u32 = 2;
/// Object types whose configuration has a second rate, that of the bandwidth extension.
const SBR: u32 = 5;
const PS: u32 = 29;

/// What an AudioSpecificConfig says (ISO/IEC 14496-3, 1.6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Config {
    /// Samples per second without bandwidth extension.
    rate: u32,
    /// 0 if they are described elsewhere.
    channels: u8,
    /// Samples of a frame.
    samples: u32,
}

impl Config {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(bytes);
        let mut kind = object_type(&mut bits)?;
        let rate = sampling_rate(&mut bits)?;
        let channels = match bits.u(4)? {
            7 => 8,
            channels => u8::try_from(channels).ok().filter(|channels| *channels < 7)?,
        };
        if matches!(kind, SBR | PS) {
            sampling_rate(&mut bits)?;
            kind = object_type(&mut bits)?;
        }
        // Only the object types of GASpecificConfig begin with a flag for 960 samples.
        let short = matches!(kind, 1..=4 | 6 | 7 | 17 | 19..=23) && bits.flag().unwrap_or(false);
        Some(Self { rate, channels, samples: if short { 960 } else { 1024 } })
    }

    /// The configuration of AAC-LC.
    fn make(rate: u32, channels: u8) -> Vec<u8> {
        let channels = if channels == 8 { 7 } else { u32::from(channels) & 7 };
        let (value, bits) = match RATES.iter().position(|known| *known == rate) {
            Some(index) => (u64::from(AAC_LC) << 11 | (index as u64) << 7 | u64::from(channels) << 3, 16),
            None => {
                let explicit = u64::from(EXPLICIT_RATE) << 31 | u64::from(rate & 0xff_ffff) << 7;
                (u64::from(AAC_LC) << 35 | explicit | u64::from(channels) << 3, 40)
            }
        };
        value.to_be_bytes()[8 - bits / 8..].to_vec()
    }
}

fn object_type(bits: &mut Bits<'_>) -> Option<u32> {
    let kind = bits.u(5)?;
    if kind == 31 { Some(32 + bits.u(6)?) } else { Some(kind) }
}

fn sampling_rate(bits: &mut Bits<'_>) -> Option<u32> {
    let index = bits.u(4)?;
    let rate = if index == EXPLICIT_RATE { bits.u(24)? } else { *RATES.get(index as usize)? };
    (rate > 0).then_some(rate)
}

/// The first part of a frame that comes in several packets.
#[derive(Debug)]
struct Partial {
    time: u32,
    size: usize,
    data: Vec<u8>,
}

#[derive(Debug)]
pub(in crate::rtsp) struct Aac {
    format: Arc<AudioFormat>,
    /// Ticks of a frame.
    ticks: u32,
    size_bits: u32,
    index_bits: u32,
    delta_bits: u32,
    partial: Option<Partial>,
    damaged_units: u64,
}

impl Aac {
    /// For a stream with the parameters that `parameter` finds in its session description.
    pub(in crate::rtsp) fn new<'a>(
        clock_rate: u32,
        channels: u8,
        parameter: impl Fn(&str) -> Option<&'a str>,
    ) -> Self {
        let number = |name, default| {
            let value = parameter(name).and_then(|value| value.trim().parse::<u32>().ok());
            value.filter(|bits| *bits <= 32).unwrap_or(default)
        };
        let channels = channels.max(1);
        let described = parameter("config").and_then(hex);
        let known = described.and_then(|bytes| Config::parse(&bytes).map(|config| (bytes, config)));
        let (configuration, config) = known.unwrap_or_else(|| {
            (Config::make(clock_rate, channels), Config { rate: clock_rate, channels, samples: 1024 })
        });
        let ticks = u64::from(config.samples) * u64::from(clock_rate) / u64::from(config.rate.max(1));
        let format = AudioFormat {
            codec: AudioCodec::Aac,
            rate: clock_rate,
            channels: if config.channels == 0 { channels } else { config.channels },
            configuration: configuration.into(),
        };
        Self {
            format: Arc::new(format),
            ticks: u32::try_from(ticks).unwrap_or(0),
            size_bits: number("sizelength", 13),
            index_bits: number("indexlength", 3),
            delta_bits: number("indexdeltalength", 3),
            partial: None,
            damaged_units: 0,
        }
    }

    /// Frames that were damaged, and therefore left out, so far.
    pub(in crate::rtsp) fn damaged_units(&self) -> u64 {
        self.damaged_units
    }

    pub(in crate::rtsp) fn take(&mut self, packet: &Packet<'_>, out: &mut Vec<TrackOutput>) {
        if packet.continuity != Continuity::Next && self.partial.take().is_some() {
            self.damaged_units += 1;
        }
        if self.unpack(packet, out).is_none() {
            self.damaged_units += 1;
        }
    }

    /// `None` if part of the packet cannot be read.
    fn unpack(&mut self, packet: &Packet<'_>, out: &mut Vec<TrackOutput>) -> Option<()> {
        let (header_bits, rest) = packet.payload.split_first_chunk::<2>()?;
        let header_bits = u32::from(u16::from_be_bytes(*header_bits));
        let (headers, mut data) = rest.split_at_checked(usize::try_from(header_bits.div_ceil(8)).ok()?)?;
        let mut bits = Bits::new(headers);
        let (mut left, mut index, mut first) = (header_bits, 0u32, true);
        // Without headers the payload is one frame.
        if header_bits == 0 {
            return self.whole(data, packet.time, packet, out);
        }
        loop {
            let index_bits = if first { self.index_bits } else { self.delta_bits };
            if left < self.size_bits + index_bits || self.size_bits == 0 {
                return (!first).then_some(());
            }
            left -= self.size_bits + index_bits;
            let size = usize::try_from(bits.u(self.size_bits)?).ok()?;
            let skipped = bits.u(index_bits)?;
            index = if first { 0 } else { index.wrapping_add(1).wrapping_add(skipped) };
            let time = packet.time.wrapping_add(index.wrapping_mul(self.ticks));
            if first && (self.partial.is_some() || size > data.len()) {
                return self.part(data, size, packet, out);
            }
            let (frame, after) = data.split_at_checked(size)?;
            self.whole(frame, time, packet, out)?;
            data = after;
            first = false;
        }
    }

    /// Takes a fragment of a frame of `size` bytes.
    fn part(
        &mut self,
        data: &[u8],
        size: usize,
        packet: &Packet<'_>,
        out: &mut Vec<TrackOutput>,
    ) -> Option<()> {
        let continues =
            self.partial.as_ref().is_some_and(|partial| partial.time == packet.time && partial.size == size);
        let broken = !continues && self.partial.take().is_some();
        if size > MAX_FRAME_BYTES {
            return None;
        }
        if !continues && size <= data.len() {
            self.whole(data.get(..size)?, packet.time, packet, out)?;
            return (!broken).then_some(());
        }
        let empty = || Partial { time: packet.time, size, data: Vec::with_capacity(size) };
        let partial = self.partial.get_or_insert_with(empty);
        partial.data.extend_from_slice(data.get(..size - partial.data.len()).unwrap_or(data));
        if partial.data.len() < size && !packet.marker {
            return (!broken).then_some(());
        }
        let partial = self.partial.take()?;
        if partial.data.len() < size {
            return None;
        }
        self.whole(&partial.data, partial.time, packet, out)?;
        (!broken).then_some(())
    }

    fn whole(&self, frame: &[u8], time: u32, packet: &Packet<'_>, out: &mut Vec<TrackOutput>) -> Option<()> {
        let frame = without_adts(frame);
        if frame.is_empty() {
            return None;
        }
        out.push(TrackOutput::Audio(AudioUnit {
            data: Bytes::copy_from_slice(frame),
            rtp_time: Some(time),
            ticks: self.ticks,
            arrived: packet.arrived,
            format: self.format.clone(),
        }));
        Some(())
    }
}

/// Some cameras leave the ADTS header (ISO/IEC 13818-7, 6.2) before each frame.
fn without_adts(frame: &[u8]) -> &[u8] {
    let Some(&[0xff, kind, _, high, middle, low, _]) = frame.first_chunk::<7>() else { return frame };
    let length = usize::from(high & 3) << 11 | usize::from(middle) << 3 | usize::from(low >> 5);
    let header = if kind & 1 == 1 { 7 } else { 9 };
    if kind & 0xf6 != 0xf0 || length != frame.len() {
        return frame;
    }
    frame.get(header..).unwrap_or(frame)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.trim().chars().map(|digit| digit.to_digit(16)).map(|digit| digit.map(|d| d as u8)).collect();
    let digits = digits.filter(|digits| digits.len() >= 4)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect())
}
