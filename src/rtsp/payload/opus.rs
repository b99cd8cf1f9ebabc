//! Opus in RTP (RFC 7587): one Opus packet each.

use std::sync::Arc;

use bytes::Bytes;

use super::Packet;
use crate::{
    model::{
        segment::AudioCodec,
        unit::{AudioFormat, AudioUnit},
    },
    rtsp::track::TrackOutput,
};

/// RTP timestamps of Opus always count at this rate (RFC 7587, 4.1).
const RATE: u32 = 48_000;
/// A packet holds 120 ms at most (RFC 6716, 3.2.5).
const MAX_TICKS: u32 = 120 * RATE / 1000;

#[derive(Debug)]
pub(in crate::rtsp) struct Opus {
    format: Arc<AudioFormat>,
}

impl Opus {
    pub(in crate::rtsp) fn new(channels: u8) -> Self {
        let (codec, channels) = (AudioCodec::Opus, channels.max(1));
        Self { format: Arc::new(AudioFormat { codec, rate: RATE, channels, configuration: Bytes::new() }) }
    }

    pub(in crate::rtsp) fn take(&mut self, packet: &Packet<'_>, out: &mut Vec<TrackOutput>) {
        if packet.payload.is_empty() {
            return;
        }
        out.push(TrackOutput::Audio(AudioUnit {
            data: Bytes::copy_from_slice(packet.payload),
            rtp_time: Some(packet.time),
            ticks: duration(packet.payload),
            arrived: packet.arrived,
            format: self.format.clone(),
        }));
    }
}

/// Duration of an Opus packet in samples at 48 kHz (RFC 6716, 3.1); 0 if it cannot be.
fn duration(packet: &[u8]) -> u32 {
    let Some(&head) = packet.first() else { return 0 };
    let configuration = head >> 3;
    let tenths_of_ms = match (configuration, configuration & 3) {
        (0..=11, size) => [100, 200, 400, 600][usize::from(size)],
        (12..=15, size) => [100, 200][usize::from(size & 1)],
        (_, size) => [25, 50, 100, 200][usize::from(size)],
    };
    let frames = match head & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |count| u32::from(count & 0x3f)),
    };
    let ticks = frames * tenths_of_ms * RATE / 10_000;
    if ticks > MAX_TICKS { 0 } else { ticks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_table() {
        let cases: [(&[u8], u32); 8] = [
            (&[0x78], 960),
            (&[0x18], 2880),
            (&[0xe0], 120),
            (&[0xf9], 1920),
            (&[0xfb, 3], 2880),
            (&[0x1b, 63], 0),
            (&[0xfb], 0),
            (&[], 0),
        ];
        for (packet, ticks) in cases {
            assert_eq!(duration(packet), ticks, "{packet:?}");
        }
    }
}
