//! RTP packets (RFC 3550, 5.1) and the ONVIF replay header extension (ONVIF Streaming Specification, 6.3).

use crate::base::WallUs;

/// Header extension of ONVIF replay, by its profile.
const REPLAY_PROFILE: u16 = 0xabac;
/// Seconds from 1900, where NTP time begins, to 1970.
const NTP_UNIX_S: i64 = 2_208_988_800;
/// Seconds of one NTP era. A time whose highest bit is 0 belongs to the era that begins in 2036 (RFC 4330, 3).
const NTP_ERA_S: i64 = 1 << 32;

/// One RTP packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct RtpPacket<'a> {
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    pub(super) sequence: u16,
    /// RTP timestamp, in ticks of the track's clock.
    pub(super) time: u32,
    pub(super) ssrc: u32,
    extension: Option<Extension<'a>>,
    pub(super) payload: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Extension<'a> {
    profile: u16,
    data: &'a [u8],
}

/// What the ONVIF replay header extension says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplayHeader {
    /// Time of the packet's picture or sound; `None` for NTP time 0.
    pub(super) time: Option<WallUs>,
    /// Nothing follows this picture (bit T).
    pub(super) terminal: bool,
}

impl<'a> RtpPacket<'a> {
    /// Reads a packet. `None` if its version is not 2, or if its header is longer than the packet.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_first_chunk::<12>()?;
        let [flags, kind, seq_high, seq_low, t0, t1, t2, t3, s0, s1, s2, s3] = *header;
        if flags >> 6 != 2 {
            return None;
        }
        rest = rest.get(4 * usize::from(flags & 0x0f)..)?;
        let mut extension = None;
        if flags & 0x10 != 0 {
            let (head, after) = rest.split_first_chunk::<4>()?;
            let words = u16::from_be_bytes([head[2], head[3]]);
            let (data, after) = after.split_at_checked(4 * usize::from(words))?;
            extension = Some(Extension { profile: u16::from_be_bytes([head[0], head[1]]), data });
            rest = after;
        }
        if flags & 0x20 != 0 {
            // A count that cannot be is a padding bit set by mistake: the payload is taken as it is.
            let count = usize::from(rest.last().copied().unwrap_or(0));
            rest =
                rest.get(..rest.len().saturating_sub(count)).filter(|_| count <= rest.len()).unwrap_or(rest);
        }
        Some(Self {
            payload_type: kind & 0x7f,
            marker: kind & 0x80 != 0,
            sequence: u16::from_be_bytes([seq_high, seq_low]),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
            extension,
            payload: rest,
        })
    }

    /// The ONVIF replay header extension, if the packet has one. Its bits C, E and D are of no use here: keyframes are
    /// recognised by their content, and an interruption of the recording is not damage.
    pub(super) fn replay_header(&self) -> Option<ReplayHeader> {
        let extension = self.extension.filter(|extension| extension.profile == REPLAY_PROFILE)?;
        let (ntp, rest) = extension.data.split_first_chunk::<8>()?;
        let terminal = rest.first().is_some_and(|flags| flags & 0x10 != 0);
        Some(ReplayHeader { time: ntp_time(u64::from_be_bytes(*ntp)), terminal })
    }
}

/// An NTP timestamp (32 bits of seconds since 1900, 32 bits of fraction) as UTC. `None` for 0, which means "not known".
pub(super) fn ntp_time(ntp: u64) -> Option<WallUs> {
    if ntp == 0 {
        return None;
    }
    let seconds = i64::from((ntp >> 32) as u32);
    let era = if seconds & 0x8000_0000 == 0 { NTP_ERA_S } else { 0 };
    let fraction_us = ((ntp & 0xffff_ffff) * 1_000_000 + (1 << 31)) >> 32;
    Some(WallUs((seconds + era - NTP_UNIX_S) * 1_000_000).plus_us(i64::try_from(fraction_us).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8) -> Vec<u8> {
        let mut bytes = vec![flags, 0xe0, 0x12, 0x34, 0, 0, 0x10, 0, 1, 2, 3, 4];
        bytes.extend(std::iter::repeat_n(0xcc, 4 * usize::from(flags & 15)));
        bytes
    }

    #[test]
    fn csrc_extension_and_padding_are_no_payload() {
        let mut bytes = header(0xb2);
        bytes.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9, b'a', b'b', 0, 0, 3]);
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert_eq!((packet.payload, packet.marker, packet.payload_type), (&b"ab"[..], true, 96));
        assert_eq!((packet.sequence, packet.time, packet.ssrc), (0x1234, 0x1000, 0x0102_0304));
        assert_eq!(packet.replay_header(), None);
    }

    #[test]
    fn headers_longer_than_the_packet_are_refused() {
        for bytes in [header(0x80)[..11].to_vec(), header(0x8f)[..40].to_vec(), header(0x40), {
            let mut bytes = header(0x90);
            bytes.extend([0, 0, 0, 2, 1, 1, 1, 1]);
            bytes
        }] {
            assert!(RtpPacket::parse(&bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn a_padding_count_that_cannot_be_is_ignored() {
        let mut bytes = header(0xa0);
        bytes.extend([1, 2, 200]);
        assert_eq!(RtpPacket::parse(&bytes).unwrap().payload, [1, 2, 200]);
        assert_eq!(RtpPacket::parse(&header(0xa0)).unwrap().payload, [0u8; 0]);
    }

    #[test]
    fn the_replay_header_gives_time_and_end() {
        let mut bytes = header(0x90);
        let ntp = ((1_795_168_800u64 + 2_208_988_800) << 32) | (1 << 31);
        bytes.extend([0xab, 0xac, 0, 3]);
        bytes.extend(ntp.to_be_bytes());
        bytes.extend([0x10, 7, 0, 0]);
        let replay = RtpPacket::parse(&bytes).unwrap().replay_header().unwrap();
        assert_eq!(replay, ReplayHeader { time: Some(WallUs(1_795_168_800_500_000)), terminal: true });
    }

    #[test]
    fn ntp_time_goes_on_after_2036() {
        assert_eq!(ntp_time(0), None);
        assert_eq!(ntp_time(0x83aa_7e80 << 32), Some(WallUs(0)));
        let last = ntp_time(0xffff_ffff << 32).unwrap();
        assert_eq!(ntp_time(1 << 32), Some(last.plus_us(2_000_000)));
    }
}
