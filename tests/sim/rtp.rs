//! Frames as RTP packets within an RTSP connection, with the ONVIF replay header extension, and RTCP between them.
//!
//! RFC 6184 and RFC 7798 (payload), RFC 3550 (RTCP), ONVIF Streaming Specification 6.3 (extension).

use gstreamer as gst;

use super::feed::{Past, VIDEO_TICKS_PER_S};
use super::nal::Codec;
use super::storage::{Headers, ntp};

/// Payload of one packet at most, as over Ethernet.
const PAYLOAD_BYTES: usize = 1400;
const PAYLOAD_TYPE: u8 = 96;
const VERSION: u8 = 2 << 6;
const HAS_EXTENSION: u8 = 1 << 4;
const MARKER: u8 = 1 << 7;
/// ONVIF Streaming Specification 6.3: profile, and length in words.
const REPLAY: [u8; 4] = [0xab, 0xac, 0, 3];
const SENDER_REPORT: u8 = 200;
const BYE: u8 = 203;
const FRAGMENT_H264: u8 = 28;
const FRAGMENT_H265: u8 = 49;

/// What the extension says of a frame beside its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags {
    /// D: it does not follow the one before.
    pub discontinuity: bool,
    /// E: the next does not follow.
    pub end: bool,
    /// T: no frame comes any more.
    pub terminal: bool,
}

impl Flags {
    fn byte(self, key: bool) -> u8 {
        u8::from(key) << 7
            | u8::from(self.end) << 6
            | u8::from(self.discontinuity) << 5
            | u8::from(self.terminal) << 4
    }
}

/// How a stream bears the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extension {
    /// On which packets.
    pub headers: Headers,
    /// Low byte of the PLAY request's `CSeq`.
    pub cseq: u8,
}

/// One RTP stream with its counters.
pub(super) struct Stream {
    codec: Codec,
    /// Channel of RTP; RTCP has the next.
    channel: u8,
    extension: Option<Extension>,
    ssrc: u32,
    /// Of the next packet.
    pub(super) sequence: u16,
    offset: u32,
    packets: u32,
    octets: u32,
}

impl Stream {
    /// A stream that begins with random numbers, as it should.
    pub(super) fn new(codec: Codec, channel: u8, extension: Option<Extension>) -> Stream {
        let (ssrc, sequence, offset) = (rand::random(), rand::random(), rand::random());
        Stream { codec, channel, extension, ssrc, sequence, offset, packets: 0, octets: 0 }
    }

    /// Goes on for another PLAY request, with the low byte of its `CSeq`.
    pub(super) fn play(&mut self, cseq: u8) {
        self.extension.iter_mut().for_each(|extension| extension.cseq = cseq);
    }

    /// RTP time of what was captured then.
    pub(super) fn rtp_time(&self, us: u64) -> u32 {
        // RTP time has 32 bits and wraps.
        let ticks = u128::from(us) * u128::from(VIDEO_TICKS_PER_S) / 1_000_000;
        self.offset.wrapping_add(ticks as u32)
    }

    /// A frame under a capture time in the camera's clock, microseconds since 1970.
    pub(super) fn frame(&mut self, frame: &Past, said_us: u64, flags: Flags) -> Vec<u8> {
        let payloads = payloads(self.codec, &frame.buffer);
        let (last, mut bytes) = (payloads.len().saturating_sub(1), Vec::new());
        for (index, payload) in payloads.iter().enumerate() {
            let here = Flags {
                discontinuity: flags.discontinuity && index == 0,
                end: flags.end && index == last,
                terminal: flags.terminal && index == last,
            };
            let extension = self.extension.filter(|extension| {
                extension.headers == Headers::EveryPacket || index == 0 || here != Flags::default()
            });
            let has_extension = if extension.is_some() { HAS_EXTENSION } else { 0 };
            let marker = if index == last { MARKER } else { 0 };
            let mut packet = vec![VERSION | has_extension, marker | PAYLOAD_TYPE];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(self.rtp_time(said_us).to_be_bytes());
            packet.extend(self.ssrc.to_be_bytes());
            if let Some(extension) = extension {
                packet.extend(REPLAY);
                packet.extend(ntp(said_us).to_be_bytes());
                packet.extend([here.byte(frame.key), extension.cseq, 0, 0]);
            }
            packet.extend(payload);
            self.sequence = self.sequence.wrapping_add(1);
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(payload.len() as u32);
            interleave(self.channel, &packet, &mut bytes);
        }
        bytes
    }

    /// A sender report: what was captured at this time of the camera's clock has that RTP time.
    pub(super) fn report(&self, said_us: u64) -> Vec<u8> {
        let mut packet = vec![VERSION, SENDER_REPORT, 0, 6];
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(ntp(said_us).to_be_bytes());
        packet.extend(self.rtp_time(said_us).to_be_bytes());
        packet.extend(self.packets.to_be_bytes());
        packet.extend(self.octets.to_be_bytes());
        self.control(&packet)
    }

    /// The end of the stream.
    pub(super) fn bye(&self) -> Vec<u8> {
        self.control(&[[VERSION | 1, BYE, 0, 1], self.ssrc.to_be_bytes()].concat())
    }

    fn control(&self, packet: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        interleave(self.channel + 1, packet, &mut bytes);
        bytes
    }
}

/// RFC 2326, 10.12.
fn interleave(channel: u8, packet: &[u8], into: &mut Vec<u8>) {
    let length = u16::try_from(packet.len()).expect("packets are far below 64 KiB");
    into.extend([b'$', channel]);
    into.extend(length.to_be_bytes());
    into.extend(packet);
}

/// The NAL units of a buffer in which each stands behind its length in four bytes.
pub(super) fn units(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (unit, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        units.push(unit);
        bytes = rest;
    }
    units
}

fn payloads(codec: Codec, buffer: &gst::Buffer) -> Vec<Vec<u8>> {
    let bytes = buffer.map_readable().expect("memory of our own");
    let mut payloads = Vec::new();
    for unit in units(&bytes) {
        if unit.len() <= PAYLOAD_BYTES {
            payloads.push(unit.to_vec());
            continue;
        }
        let (header, kind) = match codec {
            Codec::H264 => (vec![unit[0] & 0xe0 | FRAGMENT_H264], unit[0] & 31),
            Codec::H265 => (vec![unit[0] & 0x81 | FRAGMENT_H265 << 1, unit[1]], unit[0] >> 1 & 63),
        };
        let parts: Vec<_> = unit[codec.header_bytes()..].chunks(PAYLOAD_BYTES - 3).collect();
        for (index, part) in parts.iter().enumerate() {
            let edges = u8::from(index == 0) << 7 | u8::from(index + 1 == parts.len()) << 6;
            payloads.push([&header[..], &[edges | kind], part].concat());
        }
    }
    payloads
}
