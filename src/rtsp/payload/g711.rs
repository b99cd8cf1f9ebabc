//! G.711 in RTP (RFC 3551, 4.5.14): a byte per sample and channel.

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

#[derive(Debug)]
pub(in crate::rtsp) struct G711 {
    format: Arc<AudioFormat>,
}

impl G711 {
    pub(in crate::rtsp) fn new(codec: AudioCodec, rate: u32, channels: u8) -> Self {
        Self {
            format: Arc::new(AudioFormat {
                codec,
                rate,
                channels: channels.max(1),
                configuration: Bytes::new(),
            }),
        }
    }

    pub(in crate::rtsp) fn take(&mut self, packet: &Packet<'_>, out: &mut Vec<TrackOutput>) {
        let samples = packet.payload.len() / usize::from(self.format.channels);
        if samples == 0 {
            return;
        }
        out.push(TrackOutput::Audio(AudioUnit {
            data: Bytes::copy_from_slice(packet.payload),
            rtp_time: Some(packet.time),
            ticks: u32::try_from(samples).unwrap_or(0),
            arrived: packet.arrived,
            format: self.format.clone(),
        }));
    }
}
