//! Tests of a track from its packets to its pictures, and the camera that sends them.

mod audio;
mod footage;
mod markers;
mod order;
mod packets;
mod property;
mod sets;
mod times;

use std::time::{Duration, Instant};

use super::track::{Delivery, Track, TrackCodec, TrackOutput, TrackSetup};
use crate::model::{
    segment::Codec,
    unit::{AccessUnit, Damage},
};

/// Parameter sets of real encoders, 1920x1080 at 25 fps.
const SPS: &str = "6742c028da01e0089f97011000000300100000030320f1832a";
const PPS: &str = "68ce0fc8";
/// Another size: 1280x720.
const OTHER_SPS: &str = "6742c01fd9005005bb0110000003001000000303c0f1832480";
const OTHER_PPS: &str = "68cb83cb20";
/// 1920x1080, fields allowed; frame numbers have four bits.
const INTERLACED_SPS: &str = "67640028acd94078044fde0220000003002000000643e2c5b2c0";
const INTERLACED_PPS: &str = "68fba3cb22c0";
const VPS_265: &str = "40010c01ffff016000000300900000030000030078959809";
/// 1920x1080 at 25 fps in blocks of 64: addresses of slices have nine bits.
const SPS_265: &str = "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84";
const PPS_265: &str = "4401c172b46240";

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Writes bits, big-endian.
#[derive(Default)]
pub(super) struct BitWriter(Vec<bool>);

impl BitWriter {
    pub(super) fn u(mut self, value: u32, count: u32) -> Self {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    pub(super) fn ue(self, value: u32) -> Self {
        let length = 32 - (value + 1).leading_zeros();
        self.u(0, length - 1).u(value + 1, length)
    }

    /// The bits and a stop bit, then bytes up to `length` in all.
    pub(super) fn nal(mut self, header: &[u8], length: usize, fill: u8) -> Vec<u8> {
        self.0.push(true);
        let mut bytes = header.to_vec();
        bytes.extend(self.0.chunks(8).map(|bits| {
            bits.iter().enumerate().fold(0u8, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
        }));
        while bytes.len() < length {
            bytes.push(0x40 | (fill.wrapping_add(u8::try_from(bytes.len() & 0x3f).unwrap()) & 0x3f));
        }
        bytes
    }
}

const P: u32 = 0;
const I: u32 = 2;

/// A slice of H.264. `header` is its NAL unit header, `kind` its slice type.
fn slice(header: u8, first_mb: u32, kind: u32, length: usize) -> Vec<u8> {
    BitWriter::default().ue(first_mb).ue(kind).ue(0).nal(&[header], length, first_mb as u8)
}

/// A slice of an IDR picture.
fn idr(first_mb: u32, length: usize) -> Vec<u8> {
    slice(0x65, first_mb, I, length)
}

/// A slice of a predicted picture.
fn predicted(first_mb: u32, length: usize) -> Vec<u8> {
    slice(0x41, first_mb, P, length)
}

/// A slice of H.265 of the given NAL unit type; `address` 0 is the first.
fn slice_265(kind: u8, address: u32, length: usize) -> Vec<u8> {
    let mut bits = BitWriter::default().u(u32::from(address == 0), 1);
    if (16..=23).contains(&kind) {
        bits = bits.u(0, 1);
    }
    bits = bits.ue(0);
    if address > 0 {
        bits = bits.u(address, 9);
    }
    bits.nal(&[kind << 1, 1], length, address as u8)
}

const SEI: &[u8] = &[6, 5, 3, b'a', b'b', b'c', 0x80];
const AUD: &[u8] = &[9, 0xf0];
const SEI_265: &[u8] = &[39 << 1, 1, 5, 3, b'a', b'b', b'c', 0x80];

/// A NAL unit as payloads of `mtu` bytes at most.
fn fragments(codec: Codec, nal: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    if nal.len() <= mtu {
        return vec![nal.to_vec()];
    }
    let (indicator, kind, skip) = match codec {
        Codec::H264 => (vec![nal[0] & 0xe0 | 28], nal[0] & 0x1f, 1),
        Codec::H265 => (vec![nal[0] & 0x81 | 49 << 1, nal[1]], nal[0] >> 1 & 0x3f, 2),
    };
    let body = &nal[skip..];
    let size = mtu.saturating_sub(indicator.len() + 1).max(1);
    let count = body.len().div_ceil(size);
    let part = |(n, part): (usize, &[u8])| {
        let flags = if n == 0 { 0x80 } else { 0 } | if n + 1 == count { 0x40 } else { 0 };
        [&indicator[..], &[flags | kind], part].concat()
    };
    body.chunks(size).enumerate().map(part).collect()
}

/// An aggregation packet of NAL units.
fn aggregation(codec: Codec, nals: &[&[u8]]) -> Vec<u8> {
    let mut payload = match codec {
        Codec::H264 => vec![0x78],
        Codec::H265 => vec![48 << 1, 1],
    };
    for nal in nals {
        payload.extend(u16::try_from(nal.len()).unwrap().to_be_bytes());
        payload.extend(*nal);
    }
    payload
}

fn setup(codec: TrackCodec) -> TrackSetup {
    TrackSetup {
        codec,
        payload_type: 96,
        clock_rate: 90_000,
        channels: 1,
        fmtp: Vec::new(),
        delivery: Delivery::Stream,
        replay: false,
    }
}

/// A camera and the track that receives it. Its clock goes on by 40 ms with each picture.
struct Camera {
    track: Track,
    out: Vec<TrackOutput>,
    now: Instant,
    payload_type: u8,
    sequence: u16,
    time: u32,
    ssrc: u32,
    /// Header extension: profile and content.
    extension: Option<(u16, Vec<u8>)>,
    codec: Codec,
    mtu: usize,
}

impl Camera {
    /// A camera whose parameter sets are in its session description.
    fn new(codec: Codec) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let base64 = |digits| STANDARD.encode(hex(digits));
        let mut setup = setup(TrackCodec::Video(codec));
        setup.fmtp = match codec {
            Codec::H264 => {
                vec![("sprop-parameter-sets".to_owned(), format!("{},{}", base64(SPS), base64(PPS)))]
            }
            Codec::H265 => [("sprop-vps", VPS_265), ("sprop-sps", SPS_265), ("sprop-pps", PPS_265)]
                .map(|(name, set)| (name.to_owned(), base64(set)))
                .to_vec(),
        };
        Self::with(setup, codec)
    }

    fn with(setup: TrackSetup, codec: Codec) -> Self {
        Self {
            track: Track::new(setup).unwrap(),
            out: Vec::new(),
            now: Instant::now(),
            payload_type: 96,
            sequence: 65_530,
            time: 0xffff_0000,
            ssrc: 7,
            extension: None,
            codec,
            mtu: 1400,
        }
    }

    /// The next packet, as bytes.
    fn packet(&mut self, payload: &[u8], marker: bool) -> Vec<u8> {
        let extended = if self.extension.is_some() { 0x10 } else { 0 };
        let mut packet = vec![0x80 | extended, u8::from(marker) << 7 | self.payload_type];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.time.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        if let Some((profile, content)) = &self.extension {
            packet.extend(profile.to_be_bytes());
            packet.extend(u16::try_from(content.len() / 4).unwrap().to_be_bytes());
            packet.extend(content);
        }
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }

    fn send(&mut self, payload: &[u8], marker: bool) {
        let packet = self.packet(payload, marker);
        self.track.rtp(&packet, self.now, &mut self.out);
    }

    fn send_all(&mut self, payloads: &[Vec<u8>], marker: bool) {
        for (n, payload) in payloads.iter().enumerate() {
            self.send(payload, marker && n + 1 == payloads.len());
        }
    }

    /// Sends a NAL unit in one packet or several, the last one with the marker bit or not.
    fn nal(&mut self, nal: &[u8], marker: bool) {
        self.send_all(&fragments(self.codec, nal, self.mtu), marker);
    }

    /// Sends a picture as most cameras do, and moves the clocks on.
    fn picture(&mut self, nals: &[Vec<u8>]) {
        for (n, nal) in nals.iter().enumerate() {
            self.nal(nal, n + 1 == nals.len());
        }
        self.pass_frame();
    }

    /// The time of one picture passes.
    fn pass_frame(&mut self) {
        self.time = self.time.wrapping_add(3600);
        self.now += Duration::from_millis(40);
        self.flush();
    }

    fn flush(&mut self) {
        self.track.flush(self.now, &mut self.out);
    }

    /// Lets time pass without packets, and calls for what is due.
    fn silence(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(next) = self.track.next_flush().filter(|next| *next <= end) {
            self.now = next;
            self.flush();
            assert!(
                self.track.next_flush().is_none_or(|after| after > next),
                "nothing is left to do at its time"
            );
        }
        self.now = end;
    }

    fn lose(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn sender_report(&mut self, ssrc: u32, ntp: u64, rtp_time: u32) {
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(ssrc.to_be_bytes());
        packet.extend(ntp.to_be_bytes());
        packet.extend(rtp_time.to_be_bytes());
        packet.extend([0; 8]);
        self.track.rtcp(&packet, self.now);
    }

    fn bye(&mut self) {
        let mut packet = vec![0x81, 203, 0, 1];
        packet.extend(self.ssrc.to_be_bytes());
        self.track.rtcp(&packet, self.now);
    }

    /// The pictures so far, the last one included.
    fn finish(mut self) -> (Vec<AccessUnit>, Damage) {
        self.track.finish(&mut self.out);
        let damage = self.track.damage();
        let pictures = self.pictures();
        let damaged = pictures.iter().filter(|picture| picture.damaged).count();
        assert!(damage.damaged_units >= damaged as u64);
        (pictures, damage)
    }

    /// The pictures since the last call.
    fn pictures(&mut self) -> Vec<AccessUnit> {
        let picture = |output| match output {
            TrackOutput::Video(picture) => Some(picture),
            _ => None,
        };
        std::mem::take(&mut self.out).into_iter().filter_map(picture).collect()
    }
}

/// The NAL units of a picture; panics if their lengths do not add up.
fn nals(picture: &AccessUnit) -> Vec<Vec<u8>> {
    let (mut rest, mut found) = (&picture.data[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (nal, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        assert!(!nal.is_empty());
        found.push(nal.to_vec());
        rest = after;
    }
    assert!(rest.is_empty());
    found
}

/// What came, and what of it is damaged.
fn shape(pictures: &[AccessUnit]) -> Vec<(Vec<Vec<u8>>, bool)> {
    pictures.iter().map(|picture| (nals(picture), picture.damaged)).collect()
}

/// That pictures are whole and nothing was lost.
fn assert_whole(camera: Camera, expected: &[Vec<Vec<u8>>]) {
    let (pictures, damage) = camera.finish();
    let expected: Vec<_> = expected.iter().map(|nals| (nals.clone(), false)).collect();
    assert_eq!(shape(&pictures), expected);
    assert_eq!(damage, Damage::default());
}
