//! RTP and RTCP packets of one stream (RFC 3550), and interleaved frames (RFC 2326, 10.12).

use super::super::storage::ntp;
use super::payload::{Packet, Sequence};
use super::quirk::Quirk;

const VERSION: u8 = 2 << 6;
const PADDING: u8 = 1 << 5;
const EXTENSION: u8 = 1 << 4;
const MARKER: u8 = 1 << 7;
const SENDER_REPORT: u8 = 200;
const BYE: u8 = 203;
/// Stuffing of RTP packets; the last byte is their count.
const PADDING_BYTES: u8 = 4;

/// The counters of a stream.
#[derive(Debug)]
pub(super) struct RtpStream {
    pub payload_type: u8,
    pub ssrc: u32,
    /// Of the next packet.
    pub sequence: u16,
    /// RTP time of the stream's begin.
    offset: u32,
    packets: u32,
    octets: u32,
}

impl RtpStream {
    /// A stream that begins with random numbers.
    pub(super) fn new(payload_type: u8) -> RtpStream {
        let (ssrc, sequence, offset) = (rand::random(), rand::random(), rand::random());
        RtpStream { payload_type, ssrc, sequence, offset, packets: 0, octets: 0 }
    }

    /// A packet; `ticks` counts from the begin of the stream.
    pub(super) fn packet(&mut self, packet: &Packet, ticks: i64, quirks: &[Quirk]) -> Vec<u8> {
        let sequence = match packet.sequence {
            Sequence::Previous => self.sequence.wrapping_sub(1),
            Sequence::Next | Sequence::Peeked if quirks.contains(&Quirk::RandomSequence) => rand::random(),
            Sequence::Next | Sequence::Peeked => self.sequence,
        };
        if packet.sequence == Sequence::Next {
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload.len() as u32);
        let extras = quirks.contains(&Quirk::HeaderExtras);
        let first = match (packet.broken_header, extras) {
            (true, _) => VERSION | PADDING | EXTENSION | 15,
            (false, true) => VERSION | PADDING | EXTENSION | 2,
            (false, false) => VERSION,
        };
        let marker = if packet.marker { MARKER } else { 0 };
        let mut bytes = vec![first, marker | packet.payload_type.unwrap_or(self.payload_type)];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(self.time(ticks).to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        if extras {
            // Two contributing sources, and an extension of one word.
            bytes.extend([0xa1, 0xa2, 0xa3, 0xa4, 0xb1, 0xb2, 0xb3, 0xb4, 0xbe, 0xde, 0, 1, 0x10, 0, 0, 0]);
        }
        bytes.extend(&packet.payload);
        if extras {
            bytes.extend([0, 0, 0, PADDING_BYTES]);
        }
        bytes
    }

    /// A sender report: what was captured at this time (microseconds since 1970) has that RTP time.
    pub(super) fn report(&self, captured_us: u64, ticks: i64) -> Vec<u8> {
        let mut bytes = vec![VERSION, SENDER_REPORT, 0, 6];
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(ntp(captured_us).to_be_bytes());
        bytes.extend(self.time(ticks).to_be_bytes());
        bytes.extend(self.packets.to_be_bytes());
        bytes.extend(self.octets.to_be_bytes());
        bytes
    }

    /// The end of the stream, if it is meant.
    pub(super) fn bye(&self) -> Vec<u8> {
        [[VERSION | 1, BYE, 0, 1], self.ssrc.to_be_bytes()].concat()
    }

    fn time(&self, ticks: i64) -> u32 {
        // RTP time has 32 bits and wraps.
        self.offset.wrapping_add(ticks as u32)
    }
}

/// A packet as an interleaved frame that announces so many bytes.
pub(super) fn interleaved(channel: u8, packet: &[u8], announced: usize) -> Vec<u8> {
    let length = u16::try_from(announced).expect("packets are below 64 KiB");
    [&[b'$', channel], &length.to_be_bytes()[..], packet].concat()
}
