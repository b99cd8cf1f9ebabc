//! RTCP (RFC 3550, 6): what cameras send (sender reports, BYE), and the receiver report sent to them.

use std::time::{Duration, Instant};

use super::{packet::ntp_time, reorder::Continuity};
use crate::base::WallUs;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
/// SDES item type of the canonical name.
const CNAME: u8 = 1;
const CNAME_TEXT: &[u8] = b"receiver";

/// What a part of an RTCP packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RtcpMessage {
    SenderReport(SenderReport),
    /// One of the packet's sources leaves; `None` if the packet names none.
    Bye(Option<u32>),
}

/// The pair of times in a sender report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SenderReport {
    pub(super) ssrc: u32,
    /// NTP timestamp as sent.
    pub(super) ntp: u64,
    /// The same moment as RTP timestamp.
    pub(super) rtp_time: u32,
}

/// Calls `take` for each sender report and each source that leaves. Reading stops at the first part that is malformed.
pub(super) fn parse(mut packet: &[u8], mut take: impl FnMut(RtcpMessage)) {
    while let Some((&[flags, kind, high, low], rest)) = packet.split_first_chunk::<4>() {
        let length = 4 * usize::from(u16::from_be_bytes([high, low]));
        // The length of the last part is wrong in packets of some cameras; its fixed fields may be there all the same.
        let (body, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        if flags >> 6 != 2 {
            return;
        }
        let word =
            |at: usize| body.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
        if kind == SENDER_REPORT
            && let (Some(ssrc), Some(high), Some(low), Some(rtp_time)) = (word(0), word(4), word(8), word(12))
        {
            let ntp = u64::from(high) << 32 | u64::from(low);
            take(RtcpMessage::SenderReport(SenderReport { ssrc, ntp, rtp_time }));
        }
        if kind == BYE {
            let count = usize::from(flags & 0x1f);
            if count == 0 {
                take(RtcpMessage::Bye(None));
            }
            (0..count).map_while(|n| word(4 * n)).for_each(|ssrc| take(RtcpMessage::Bye(Some(ssrc))));
        }
        packet = after;
    }
}

/// The camera's wall clock by its last sender report.
#[derive(Debug)]
pub(super) struct SenderClock {
    ticks_per_s: i64,
    ssrc: Option<u32>,
    report: Option<SenderReport>,
    received: Option<Instant>,
}

impl SenderClock {
    /// Further from the report than this, an RTP timestamp is one that jumped.
    const REACH_S: i64 = 3600;

    pub(super) fn new(clock_rate: u32) -> Self {
        Self { ticks_per_s: i64::from(clock_rate.max(1)), ssrc: None, report: None, received: None }
    }

    /// Packets of this source follow; reports of others do not apply to them.
    pub(super) fn set_source(&mut self, ssrc: u32) {
        self.ssrc = Some(ssrc);
    }

    pub(super) fn take(&mut self, report: SenderReport, now: Instant) {
        self.received = Some(now);
        if report.ntp != 0 && self.ssrc.is_none_or(|ssrc| ssrc == report.ssrc) {
            self.report = Some(report);
        }
    }

    /// When the last sender report came.
    pub(super) fn received(&self) -> Option<Instant> {
        self.received
    }

    /// The camera's time at an RTP timestamp.
    pub(super) fn time(&self, rtp_time: u32) -> Option<WallUs> {
        let report = self.report.filter(|report| Some(report.ssrc) == self.ssrc)?;
        let ticks = i64::from(rtp_time.wrapping_sub(report.rtp_time).cast_signed());
        if ticks.abs() > Self::REACH_S * self.ticks_per_s {
            return None;
        }
        Some(ntp_time(report.ntp)?.plus_us(ticks * 1_000_000 / self.ticks_per_s))
    }

    /// Fields LSR and DLSR of a receiver report.
    fn last_report(&self, now: Instant) -> (u32, u32) {
        let Some((report, received)) = self.report.zip(self.received) else { return (0, 0) };
        let delay = now.saturating_duration_since(received).as_micros() * 65_536 / 1_000_000;
        ((report.ntp >> 16) as u32, u32::try_from(delay).unwrap_or(u32::MAX))
    }
}

/// What a receiver report says of the packets that came (RFC 3550, A.3 and A.8).
#[derive(Debug)]
pub(super) struct Reception {
    clock_rate: u32,
    own_ssrc: u32,
    ssrc: Option<u32>,
    epoch: Option<Instant>,
    highest: u16,
    cycles: u16,
    lost: u64,
    expected_since_report: u64,
    lost_since_report: u64,
    last_transit: Option<u32>,
    /// Interarrival jitter in ticks, times 16.
    jitter: u32,
}

impl Reception {
    pub(super) fn new(clock_rate: u32, own_ssrc: u32) -> Self {
        Self {
            clock_rate,
            own_ssrc,
            ssrc: None,
            epoch: None,
            highest: 0,
            cycles: 0,
            lost: 0,
            expected_since_report: 0,
            lost_since_report: 0,
            last_transit: None,
            jitter: 0,
        }
    }

    /// Counts a packet in sequence.
    pub(super) fn count(
        &mut self,
        ssrc: u32,
        sequence: u16,
        time: u32,
        now: Instant,
        continuity: Continuity,
    ) {
        let missing = u64::from(continuity.lost());
        if !matches!(continuity, Continuity::Next | Continuity::Lost(_)) || self.ssrc != Some(ssrc) {
            self.cycles = 0;
            self.last_transit = None;
        } else if sequence < self.highest {
            self.cycles = self.cycles.wrapping_add(1);
        }
        self.ssrc = Some(ssrc);
        self.highest = sequence;
        self.lost += missing;
        self.lost_since_report += missing;
        self.expected_since_report += 1 + missing;
        let passed = now.saturating_duration_since(*self.epoch.get_or_insert(now));
        let transit = self.ticks(passed).wrapping_sub(time);
        if let Some(last) = self.last_transit.replace(transit) {
            let change = transit.wrapping_sub(last).cast_signed().unsigned_abs().min(1 << 26);
            self.jitter = self.jitter + change - ((self.jitter + 8) >> 4);
        }
    }

    fn ticks(&self, passed: Duration) -> u32 {
        (passed.as_secs() * u64::from(self.clock_rate)
            + u64::from(passed.subsec_micros()) * u64::from(self.clock_rate) / 1_000_000) as u32
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// A compound packet: receiver report and canonical name (RFC 3550, 6.1). `None` before the first packet.
    pub(super) fn report(&mut self, clock: &SenderClock, now: Instant) -> Option<Vec<u8>> {
        let source = self.ssrc?;
        let fraction =
            (256 * self.lost_since_report).checked_div(self.expected_since_report).unwrap_or(0).min(255);
        self.lost_since_report = 0;
        self.expected_since_report = 0;
        let (last_report, delay) = clock.last_report(now);
        let lost = u32::try_from(self.lost).unwrap_or(u32::MAX).min(0x7f_ffff);
        let highest = u32::from(self.cycles) << 16 | u32::from(self.highest);
        let mut packet = vec![0x81, RECEIVER_REPORT, 0, 7];
        let fraction = u32::try_from(fraction).unwrap_or(255) << 24;
        for word in [self.own_ssrc, source, fraction | lost, highest, self.jitter >> 4, last_report, delay] {
            packet.extend(word.to_be_bytes());
        }
        // The item's text is followed by at least one zero and ends at a multiple of four bytes.
        let words = (4 + 2 + CNAME_TEXT.len()) / 4 + 1;
        let end = packet.len() + 4 + 4 * words;
        packet.extend([0x81, SOURCE_DESCRIPTION, 0, u8::try_from(words).unwrap_or(0)]);
        packet.extend(self.own_ssrc.to_be_bytes());
        packet.extend([CNAME, u8::try_from(CNAME_TEXT.len()).unwrap_or(0)]);
        packet.extend(CNAME_TEXT);
        packet.resize(end, 0);
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NTP_2026: u64 = (1_795_168_800 + 2_208_988_800) << 32;

    fn sender_report(ssrc: u32, ntp: u64, rtp_time: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(ssrc.to_be_bytes());
        packet.extend(ntp.to_be_bytes());
        packet.extend(rtp_time.to_be_bytes());
        packet.extend([0; 8]);
        packet
    }

    fn messages(packet: &[u8]) -> Vec<RtcpMessage> {
        let mut found = Vec::new();
        parse(packet, |message| found.push(message));
        found
    }

    #[test]
    fn compound_packets_are_read_to_their_end() {
        let mut packet = sender_report(7, NTP_2026, 90_000);
        packet.extend([0x81, 202, 0, 2, 0, 0, 0, 7, 1, 1, b'x', 0]);
        packet.extend([0x82, 203, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8]);
        let report = SenderReport { ssrc: 7, ntp: NTP_2026, rtp_time: 90_000 };
        let expected =
            [RtcpMessage::SenderReport(report), RtcpMessage::Bye(Some(7)), RtcpMessage::Bye(Some(8))];
        assert_eq!(messages(&packet), expected);
        assert_eq!(messages(&packet[..20]), expected[..1], "cut short");
        assert_eq!(messages(&[0x80, 203, 0, 0]), [RtcpMessage::Bye(None)]);
        assert_eq!(messages(&[0x9f, 203, 0xff, 0xff, 1]), []);
        assert_eq!(messages(&[0x00, 203, 0, 0]), []);
    }

    #[test]
    fn the_cameras_clock_is_extrapolated_in_both_directions() {
        let now = Instant::now();
        let mut clock = SenderClock::new(90_000);
        clock.take(SenderReport { ssrc: 7, ntp: NTP_2026, rtp_time: 0xffff_ff00 }, now);
        assert_eq!(clock.time(0), None, "no packet of that source came");
        clock.set_source(7);
        assert_eq!(clock.time(0xffff_ff00u32.wrapping_add(90_000)), Some(WallUs(1_795_168_801_000_000)));
        assert_eq!(clock.time(0xffff_ff00 - 45_000), Some(WallUs(1_795_168_799_500_000)));
        assert_eq!(clock.time(0x4000_0000), None, "a time that jumped");
        clock.take(SenderReport { ssrc: 7, ntp: 0, rtp_time: 0 }, now);
        clock.take(SenderReport { ssrc: 8, ntp: NTP_2026, rtp_time: 0 }, now);
        assert_eq!(clock.time(0xffff_ff00), Some(WallUs(1_795_168_800_000_000)));
        clock.set_source(8);
        assert_eq!(clock.time(0), None, "another source has another clock");
    }

    #[test]
    fn a_receiver_report_has_loss_jitter_and_the_last_sender_report() {
        let start = Instant::now();
        let mut clock = SenderClock::new(90_000);
        let mut reception = Reception::new(90_000, 0xaabb_ccdd);
        assert_eq!(reception.report(&clock, start), None);
        clock.set_source(7);
        clock.take(SenderReport { ssrc: 7, ntp: 0x1122_3344_5566_7788, rtp_time: 0 }, start);
        reception.count(7, 0xfffe, 0, start, Continuity::Next);
        reception.count(7, 1, 3600, start + Duration::from_millis(50), Continuity::Lost(2));
        let report = reception.report(&clock, start + Duration::from_millis(500)).unwrap();
        let word = |n: usize| u32::from_be_bytes(report[4 * n..4 * n + 4].try_into().unwrap());
        assert_eq!(report.len(), 32 + 20);
        assert_eq!((word(0), word(1), word(2)), (0x81c9_0007, 0xaabb_ccdd, 7));
        assert_eq!((word(3) >> 24, word(3) & 0xff_ffff), (128, 2));
        assert_eq!(word(4), 0x1_0001, "one cycle of sequence numbers");
        assert_eq!(word(5), 900 / 16, "10 ms late, a sixteenth of it");
        assert_eq!((word(6), word(7)), (0x3344_5566, 32_768));
        assert_eq!(word(8), 0x81ca_0004);
        let next = reception.report(&clock, start).unwrap();
        assert_eq!(next[12], 0, "the fraction is that since the last report");
    }
}
