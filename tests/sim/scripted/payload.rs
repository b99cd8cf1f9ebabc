//! NAL units into RTP payloads, as RFC 6184 and RFC 7798 say and as cameras do it instead.

use super::super::nal::{Codec, Kind};
use super::attack;
use super::quirk::{AnnexB, Quirk, StrayType};

const START_CODE: [u8; 4] = [0, 0, 0, 1];
const STRAY_TYPE: u8 = 50;
const STRAY_PAYLOAD: &[u8] = b"\x01\x02PTZ\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// A stray packet after so many of the video, on average.
const STRAY_EVERY: u64 = 3;
const FRAGMENT_H264: u8 = 28;
const FRAGMENT_H265: u8 = 49;
const START: u8 = 0x80;
const END: u8 = 0x40;
const RESERVED: u8 = 0x20;

/// Which sequence number a packet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence {
    /// The next.
    Next,
    /// That of the packet before, again.
    Previous,
    /// The next, which the packet after it has, too.
    Peeked,
}

/// An RTP packet to be.
#[derive(Debug)]
pub(super) struct Packet {
    pub marker: bool,
    pub payload: Vec<u8>,
    /// In place of that of the video.
    pub payload_type: Option<u8>,
    pub sequence: Sequence,
    /// CSRC count, extension or padding are beyond the packet.
    pub broken_header: bool,
}

impl Packet {
    pub(super) fn new(payload: Vec<u8>) -> Packet {
        let sequence = Sequence::Next;
        Packet { marker: false, payload, payload_type: None, sequence, broken_header: false }
    }
}

/// How a camera makes payloads.
pub(super) struct Payloader<'a> {
    pub codec: Codec,
    pub quirks: &'a [Quirk],
    /// Payloads are at most so long.
    pub limit_bytes: usize,
}

impl Payloader<'_> {
    fn has(&self, quirk: &Quirk) -> bool {
        self.quirks.contains(quirk)
    }

    /// The packets of a picture. `index` counts the pictures of the session.
    pub(super) fn picture(&self, units: &[&[u8]], entry: bool, index: u64) -> Vec<Packet> {
        let mut packets = if entry { attack::before_keyframe(self.codec, self.quirks) } else { Vec::new() };
        packets.extend(self.plain(units, entry));
        if let Some(last) = packets.last_mut() {
            last.marker = !self.has(&Quirk::NoMarker);
        }
        if self.has(&Quirk::MarkerEverywhere) {
            packets.iter_mut().for_each(|packet| packet.marker = true);
        }
        if self.has(&Quirk::SeiAloneAlways) || (entry && self.has(&Quirk::SeiAlone)) {
            for _ in 0..2 {
                let sei = [self.codec.sei_header(), &[5, 16], b"tapo-metadata-01", &[0x80]].concat();
                packets.push(Packet { marker: true, ..Packet::new(sei) });
            }
        }
        match self
            .quirks
            .iter()
            .find_map(|quirk| if let Quirk::StrayType(how) = quirk { Some(*how) } else { None })
        {
            Some(how) => with_stray_types(packets, how, index),
            None => packets,
        }
    }

    fn plain(&self, units: &[&[u8]], entry: bool) -> Vec<Packet> {
        let annex_b = self
            .quirks
            .iter()
            .find_map(|quirk| if let Quirk::AnnexB(how) = quirk { Some(*how) } else { None });
        let mut packets = Vec::new();
        match annex_b {
            Some(AnnexB::Fragmented) if entry => {
                let run = units.join(&START_CODE[..]);
                let limit = self.limit_bytes.min(run.len() / 2 + 4);
                return self.fragments(&run, limit).into_iter().map(Packet::new).collect();
            }
            Some(AnnexB::Single) if entry => return vec![Packet::new(units.join(&START_CODE[..]))],
            _ => (),
        }
        let mut units = units.to_vec();
        if entry && self.has(&Quirk::Aggregated) {
            let slices = units.iter().position(|unit| self.is_slice(unit)).unwrap_or(units.len());
            packets.push(Packet::new(aggregate(self.codec, &units[..slices])));
            units.drain(..slices);
        }
        for unit in units {
            let is_parameter_set = matches!(self.codec.kind(unit), Kind::Vps | Kind::Sps | Kind::Pps);
            let prefixed = match annex_b {
                Some(AnnexB::Before) => Some([&START_CODE[..], unit].concat()),
                Some(AnnexB::Behind) if is_parameter_set => Some([unit, &START_CODE[..]].concat()),
                _ => None,
            };
            packets.extend(self.unit(prefixed.as_deref().unwrap_or(unit)).into_iter().map(Packet::new));
            if self.has(&Quirk::MarkerPerSlice)
                && let Some(last) = packets.last_mut()
            {
                // As those cameras do: on whatever they sent last, parameter sets too.
                last.marker = true;
            }
        }
        packets
    }

    fn is_slice(&self, unit: &[u8]) -> bool {
        matches!(self.codec.kind(unit), Kind::Slice | Kind::Idr)
    }

    fn unit(&self, unit: &[u8]) -> Vec<Vec<u8>> {
        if unit.len() > self.limit_bytes || (self.has(&Quirk::OddFragments) && self.is_slice(unit)) {
            self.fragments(unit, self.limit_bytes)
        } else {
            vec![unit.to_vec()]
        }
    }

    fn fragments(&self, unit: &[u8], limit_bytes: usize) -> Vec<Vec<u8>> {
        let (header, kind, reserved) = match self.codec {
            Codec::H264 => (vec![unit[0] & 0xe0 | FRAGMENT_H264], unit[0] & 31, RESERVED),
            // What is reserved in H.264 is part of the type here.
            Codec::H265 => (vec![unit[0] & 0x81 | FRAGMENT_H265 << 1, unit[1]], unit[0] >> 1 & 63, 0),
        };
        let reserved = if self.has(&Quirk::OddFragments) { reserved } else { 0 };
        let parts: Vec<&[u8]> = unit[header.len()..].chunks(limit_bytes - header.len() - 1).collect();
        let last = parts.len() - 1;
        let fragment = |(index, part): (usize, &&[u8])| {
            let start = if index == 0 { START } else { 0 };
            let end = if index == last { END } else { 0 };
            [&header[..], &[start | end | reserved | kind], part].concat()
        };
        parts.iter().enumerate().map(fragment).collect()
    }
}

/// STAP-A (RFC 6184, 5.7.1) or AP (RFC 7798, 4.4.2).
pub(super) fn aggregate(codec: Codec, units: &[&[u8]]) -> Vec<u8> {
    let mut payload = match codec {
        Codec::H264 => vec![0x78],
        Codec::H265 => vec![48 << 1, 1],
    };
    for unit in units {
        payload.extend(u16::try_from(unit.len()).expect("small units").to_be_bytes());
        payload.extend(*unit);
    }
    payload
}

fn with_stray_types(packets: Vec<Packet>, how: StrayType, index: u64) -> Vec<Packet> {
    let stray =
        |sequence| Packet { payload_type: Some(STRAY_TYPE), sequence, ..Packet::new(STRAY_PAYLOAD.to_vec()) };
    let mut with = Vec::new();
    if how == StrayType::First && index == 0 {
        with.push(stray(Sequence::Next));
    }
    for (n, packet) in (0..).zip(packets) {
        let here = (index * 7 + n).is_multiple_of(STRAY_EVERY);
        with.extend((here && how == StrayType::LikeNext).then(|| stray(Sequence::Peeked)));
        with.push(packet);
        match how {
            StrayType::LikePrevious if here => with.push(stray(Sequence::Previous)),
            StrayType::Own if here => with.push(stray(Sequence::Next)),
            _ => (),
        }
    }
    with
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_join_to_the_unit_again() {
        for (codec, header) in [(Codec::H264, vec![0x65]), (Codec::H265, vec![19 << 1, 1])] {
            let unit = [header.clone(), (0..=255).cycle().take(2500).collect()].concat();
            let payloader = Payloader { codec, quirks: &[], limit_bytes: 1000 };
            let packets = payloader.picture(&[&unit], true, 0);
            assert_eq!(packets.len(), 3);
            assert!(packets.iter().all(|packet| packet.payload.len() <= 1000));
            assert_eq!(packets.iter().map(|packet| packet.marker).collect::<Vec<_>>(), [false, false, true]);
            let joined: Vec<u8> =
                packets.iter().flat_map(|packet| packet.payload[header.len() + 1..].to_vec()).collect();
            assert_eq!(joined, unit[header.len()..]);
            let edges: Vec<u8> = packets.iter().map(|packet| packet.payload[header.len()] >> 6).collect();
            assert_eq!(edges, [2, 0, 1]);
        }
    }
}
