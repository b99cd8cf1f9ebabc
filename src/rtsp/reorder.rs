//! The order of a track's packets: loss, duplicates, reordering (datagrams), sequence numbers and sources that begin again.
//!
//! Packets in order pass without a copy. Only a packet that must wait is copied: one behind a hole, and the first of a
//! new sequence or source, which is followed when a second packet confirms it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{packet::RtpPacket, track::Delivery};

/// A packet that did not come within this time after one that follows it is lost.
const REORDER_FOR: Duration = Duration::from_millis(100);
/// Packets and bytes that wait for missing ones at most.
const HELD_PACKETS: usize = 512;
const HELD_BYTES: usize = 4 << 20;
/// A larger jump of the sequence number is a new beginning, not loss.
const MAX_LOSS: u16 = 3000;
/// A packet that is late by more than this does not belong to the sequence.
const MAX_LATE: u16 = 512;
/// Inside a connection nothing overtakes and nothing is lost on the way. A camera whose sequence numbers begin again so often, without
/// packets in order between, numbers them at random: what they say of loss is not believed.
const ERRATIC: u8 = 8;
/// Sequence numbers of foreign packets that are remembered.
const FOREIGN: usize = 256;
const RECENT: usize = 32;

/// How a packet follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// Nothing is missing between them.
    Next,
    /// So many packets between them never came.
    Lost(u16),
    /// The sequence numbers begin again, and nothing is missing.
    Restart,
    /// The sequence numbers jump: packets may be missing, how many is not known.
    Jump,
    /// The packet is the first of another source.
    NewSource,
}

impl Continuity {
    pub(super) fn lost(self) -> u16 {
        if let Self::Lost(count) = self { count } else { 0 }
    }
}

/// What tells a repeated packet from another one that has its sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fingerprint {
    sequence: u16,
    length: u16,
    time: u32,
}

impl Fingerprint {
    fn of(packet: &RtpPacket<'_>) -> Self {
        Self { sequence: packet.sequence, length: packet.payload.len() as u16, time: packet.time }
    }
}

#[derive(Debug)]
struct Held {
    ssrc: u32,
    sequence: u16,
    arrived: Instant,
    bytes: Vec<u8>,
}

impl Held {
    fn new(packet: &RtpPacket<'_>, bytes: &[u8], arrived: Instant) -> Self {
        Self { ssrc: packet.ssrc, sequence: packet.sequence, arrived, bytes: bytes.to_vec() }
    }
}

#[derive(Debug)]
struct Sequence {
    ssrc: u32,
    /// Sequence number of the packet that is to come.
    next: u16,
    /// RTP timestamp of the last packet.
    time: u32,
}

/// Puts packets in order.
#[derive(Debug)]
pub(super) struct Order {
    delivery: Delivery,
    sequence: Option<Sequence>,
    recent: [Option<Fingerprint>; RECENT],
    /// Sequence numbers, at or after the next one, that packets of other payload types have.
    foreign: VecDeque<u16>,
    /// Packets behind a hole, by sequence number.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// When the longest waiting of `held` came.
    waiting_since: Option<Instant>,
    /// A packet that may be the first of a new sequence or source.
    candidate: Option<Held>,
    /// How often sequence numbers began again lately, twice; each packet in order halves it. Numbers are believed from the first one in
    /// order on.
    erratic: u8,
}

impl Order {
    pub(super) fn new(delivery: Delivery) -> Self {
        Self {
            delivery,
            sequence: None,
            recent: [None; RECENT],
            foreign: VecDeque::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            waiting_since: None,
            candidate: None,
            erratic: ERRATIC,
        }
    }

    /// The source whose packets are taken.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.sequence.as_ref().map(|sequence| sequence.ssrc)
    }

    /// When [`Self::expire`] is wanted.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting_since.map(|since| since + REORDER_FOR)
    }

    /// A packet of another payload type: its sequence number is not missing, if it counts with those of the track.
    pub(super) fn skip(
        &mut self,
        packet: &RtpPacket<'_>,
        mut take: impl FnMut(&RtpPacket<'_>, Instant, Continuity),
    ) {
        let Some(sequence) = self.sequence.as_ref().filter(|sequence| sequence.ssrc == packet.ssrc) else {
            return;
        };
        if packet.sequence.wrapping_sub(sequence.next) >= MAX_LOSS || self.foreign.contains(&packet.sequence)
        {
            return;
        }
        if self.foreign.len() == FOREIGN {
            self.foreign.pop_front();
        }
        self.foreign.push_back(packet.sequence);
        self.drain(&mut take);
    }

    /// Takes a packet; calls `take` for each packet that is next by then.
    pub(super) fn push(
        &mut self,
        packet: &RtpPacket<'_>,
        bytes: &[u8],
        now: Instant,
        mut take: impl FnMut(&RtpPacket<'_>, Instant, Continuity),
    ) {
        let Some(sequence) = &self.sequence else {
            return self.pass(packet, now, Continuity::Next, &mut take);
        };
        let ahead = packet.sequence.wrapping_sub(sequence.next);
        if self.delivery == Delivery::Stream && packet.ssrc == sequence.ssrc {
            self.candidate = None;
        }
        if packet.ssrc == sequence.ssrc && ahead == 0 {
            self.erratic /= 2;
            self.pass(packet, now, Continuity::Next, &mut take);
            return self.drain(&mut take);
        }
        if packet.ssrc != sequence.ssrc {
            return self.unexpected(packet, bytes, now, Continuity::NewSource, &mut take);
        }
        if ahead <= MAX_LOSS {
            return match self.delivery {
                Delivery::Stream if self.erratic >= ERRATIC => {
                    self.pass(packet, now, Continuity::Next, &mut take);
                }
                Delivery::Stream => {
                    let continuity = self.gap(packet.sequence);
                    self.pass(packet, now, continuity, &mut take);
                }
                Delivery::Datagrams => {
                    self.hold(packet, bytes, now);
                    self.drain(&mut take);
                    while self.held.len() > HELD_PACKETS || self.held_bytes > HELD_BYTES {
                        self.give_up(&mut take);
                    }
                }
            };
        }
        let newer = packet.time.wrapping_sub(sequence.time).cast_signed() > 0;
        if self.recent[usize::from(packet.sequence) % RECENT] == Some(Fingerprint::of(packet)) {
            return;
        }
        match self.delivery {
            // Nothing overtakes inside a connection.
            Delivery::Stream => {
                self.erratic = self.erratic.saturating_add(2).min(2 * ERRATIC);
                let believed = self.erratic < ERRATIC;
                let continuity = if believed { Continuity::Restart } else { Continuity::Next };
                self.pass(packet, now, continuity, &mut take);
            }
            Delivery::Datagrams if ahead.wrapping_neg() <= MAX_LATE && !newer => {}
            Delivery::Datagrams => self.unexpected(packet, bytes, now, Continuity::Jump, &mut take),
        }
    }

    /// Gives up on packets that were waited for until now.
    pub(super) fn expire(&mut self, now: Instant, mut take: impl FnMut(&RtpPacket<'_>, Instant, Continuity)) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.give_up(&mut take);
        }
    }

    /// Gives up on all packets that were waited for.
    pub(super) fn finish(&mut self, mut take: impl FnMut(&RtpPacket<'_>, Instant, Continuity)) {
        while !self.held.is_empty() {
            self.give_up(&mut take);
        }
    }

    /// A packet of another source or sequence: followed with the second one in a row.
    fn unexpected(
        &mut self,
        packet: &RtpPacket<'_>,
        bytes: &[u8],
        now: Instant,
        continuity: Continuity,
        take: &mut impl FnMut(&RtpPacket<'_>, Instant, Continuity),
    ) {
        let stream = self.delivery == Delivery::Stream;
        let confirms = |first: &Held| {
            first.ssrc == packet.ssrc && (stream || packet.sequence == first.sequence.wrapping_add(1))
        };
        let Some(first) = self.candidate.take_if(|first| confirms(first)) else {
            self.candidate = Some(Held::new(packet, bytes, now));
            return;
        };
        while !self.held.is_empty() {
            self.give_up(take);
        }
        self.foreign.clear();
        if let Some(parsed) = RtpPacket::parse(&first.bytes) {
            self.pass(&parsed, first.arrived, continuity, take);
        }
        let continuity = self.gap(packet.sequence);
        self.pass(packet, now, continuity, take);
    }

    fn pass(
        &mut self,
        packet: &RtpPacket<'_>,
        arrived: Instant,
        continuity: Continuity,
        take: &mut impl FnMut(&RtpPacket<'_>, Instant, Continuity),
    ) {
        let next = packet.sequence.wrapping_add(1);
        self.sequence = Some(Sequence { ssrc: packet.ssrc, next, time: packet.time });
        self.recent[usize::from(packet.sequence) % RECENT] = Some(Fingerprint::of(packet));
        if !self.foreign.is_empty() {
            self.foreign.retain(|foreign| foreign.wrapping_sub(next) < MAX_LOSS);
        }
        take(packet, arrived, continuity);
    }

    /// What is missing before `sequence`.
    fn gap(&self, sequence: u16) -> Continuity {
        let Some(next) = self.sequence.as_ref().map(|sequence| sequence.next) else {
            return Continuity::Next;
        };
        let missing = sequence.wrapping_sub(next);
        if missing >= MAX_LOSS {
            return Continuity::Restart;
        }
        let foreign = self.foreign.iter().filter(|foreign| foreign.wrapping_sub(next) < missing).count();
        match missing.saturating_sub(u16::try_from(foreign).unwrap_or(u16::MAX)) {
            0 => Continuity::Next,
            lost => Continuity::Lost(lost),
        }
    }

    fn hold(&mut self, packet: &RtpPacket<'_>, bytes: &[u8], now: Instant) {
        let Some(next) = self.sequence.as_ref().map(|sequence| sequence.next) else { return };
        let ahead = packet.sequence.wrapping_sub(next);
        let before = self.held.iter().rev().position(|held| held.sequence.wrapping_sub(next) <= ahead);
        let at = before.map_or(0, |back| self.held.len() - back);
        if at > 0 && self.held.get(at - 1).is_some_and(|held| held.sequence == packet.sequence) {
            return;
        }
        self.held_bytes += bytes.len();
        self.held.insert(at, Held::new(packet, bytes, now));
        self.waiting_since.get_or_insert(now);
    }

    /// Passes on the held packets that are next.
    fn drain(&mut self, take: &mut impl FnMut(&RtpPacket<'_>, Instant, Continuity)) {
        if self.held.is_empty() {
            return;
        }
        let mut passed = false;
        while let Some(first) = self.held.front()
            && self.gap(first.sequence) == Continuity::Next
        {
            self.pass_first(take);
            passed = true;
        }
        if passed {
            self.waiting_since = self.held.iter().map(|held| held.arrived).min();
        }
    }

    fn give_up(&mut self, take: &mut impl FnMut(&RtpPacket<'_>, Instant, Continuity)) {
        self.pass_first(take);
        self.waiting_since = self.held.iter().map(|held| held.arrived).min();
        self.drain(take);
    }

    fn pass_first(&mut self, take: &mut impl FnMut(&RtpPacket<'_>, Instant, Continuity)) {
        let Some(first) = self.held.pop_front() else { return };
        self.held_bytes -= first.bytes.len();
        let continuity = self.gap(first.sequence);
        if let Some(packet) = RtpPacket::parse(&first.bytes) {
            self.pass(&packet, first.arrived, continuity, take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Continuity::*;

    const START: u16 = 0xfffd;

    struct Case {
        order: Order,
        start: Instant,
        taken: Vec<(u16, Continuity)>,
    }

    impl Case {
        fn new(delivery: Delivery) -> Self {
            Self { order: Order::new(delivery), start: Instant::now(), taken: Vec::new() }
        }

        fn packet(kind: u8, ssrc: u32, sequence: u16, time: u32) -> Vec<u8> {
            let mut bytes = vec![0x80, kind];
            bytes.extend(sequence.to_be_bytes());
            bytes.extend(time.to_be_bytes());
            bytes.extend(ssrc.to_be_bytes());
            bytes.push(1);
            bytes
        }

        fn push_as(&mut self, ssrc: u32, n: u16, time: u32, ms: u64) {
            let bytes = Self::packet(96, ssrc, START.wrapping_add(n), time);
            let taken = &mut self.taken;
            let now = self.start + Duration::from_millis(ms);
            let take = |packet: &RtpPacket<'_>, _, continuity| {
                taken.push((packet.sequence.wrapping_sub(START), continuity));
            };
            self.order.push(&RtpPacket::parse(&bytes).unwrap(), &bytes, now, take);
        }

        fn push(&mut self, n: u16, ms: u64) {
            self.push_as(7, n, u32::from(n), ms);
        }

        fn skip(&mut self, n: u16) {
            let bytes = Self::packet(50, 7, START.wrapping_add(n), 0);
            let taken = &mut self.taken;
            self.order.skip(&RtpPacket::parse(&bytes).unwrap(), |packet, _, continuity| {
                taken.push((packet.sequence.wrapping_sub(START), continuity));
            });
        }

        fn expire(&mut self, ms: u64) {
            let taken = &mut self.taken;
            self.order.expire(self.start + Duration::from_millis(ms), |packet, _, continuity| {
                taken.push((packet.sequence.wrapping_sub(START), continuity));
            });
        }
    }

    #[test]
    fn in_a_connection_a_gap_is_loss_at_once_and_a_repetition_is_dropped() {
        let mut case = Case::new(Delivery::Stream);
        for n in [0, 1, 1, 2, 5, 5, 6, 4006, 10, 11] {
            case.push(n, 0);
        }
        let expected =
            [(0, Next), (1, Next), (2, Next), (5, Lost(2)), (6, Next), (4006, Restart), (10, Restart)];
        assert_eq!(case.taken[..7], expected);
        assert_eq!(case.taken[7..], [(11, Next)]);
    }

    #[test]
    fn in_a_connection_random_numbers_are_no_loss() {
        let mut case = Case::new(Delivery::Stream);
        let numbers = [0, 2000, 50_000, 51_000, 3, 700, 700, 40_000];
        for (time, n) in (0..).zip(numbers) {
            case.push_as(7, n, time, 0);
        }
        assert_eq!(case.taken, numbers.map(|n| (n, Next)));
    }

    #[test]
    fn packets_of_other_types_are_not_missing() {
        for delivery in [Delivery::Stream, Delivery::Datagrams] {
            let mut case = Case::new(delivery);
            case.skip(0);
            case.push(0, 0);
            case.skip(1);
            case.push(2, 0);
            case.skip(2);
            case.push(3, 0);
            case.skip(4);
            case.push(4, 0);
            case.skip(5);
            case.skip(6);
            case.push(7, 0);
            assert_eq!(case.taken, [0, 2, 3, 4, 7].map(|n| (n, Next)), "{delivery:?}");
            case.skip(8);
            case.push(10, 0);
            case.expire(1000);
            assert_eq!(case.taken.last(), Some(&(10, Lost(1))), "{delivery:?}");
        }
    }

    #[test]
    fn datagrams_are_put_in_order() {
        let mut case = Case::new(Delivery::Datagrams);
        for n in [0, 3, 1, 1, 3, 2, 5, 4] {
            case.push(n, 0);
        }
        assert_eq!(case.taken, [0, 1, 2, 3, 4, 5].map(|n| (n, Next)));
        assert_eq!(case.order.deadline(), None);
    }

    #[test]
    fn missing_datagrams_are_given_up_after_100_ms_and_do_not_come_later() {
        let mut case = Case::new(Delivery::Datagrams);
        case.push(0, 0);
        case.push(2, 10);
        case.push(3, 60);
        case.push(6, 70);
        assert_eq!(case.order.deadline(), Some(case.start + Duration::from_millis(110)));
        case.expire(109);
        assert_eq!(case.taken.len(), 1);
        case.expire(110);
        assert_eq!(case.taken[1..], [(2, Lost(1)), (3, Next)]);
        assert_eq!(case.order.deadline(), Some(case.start + Duration::from_millis(170)));
        case.push(1, 120);
        case.push(4, 130);
        case.push(5, 130);
        assert_eq!(case.taken[3..], [(4, Next), (5, Next), (6, Next)]);
    }

    #[test]
    fn few_packets_wait() {
        let mut case = Case::new(Delivery::Datagrams);
        case.push(0, 0);
        for n in 2..=514 {
            case.push(n, 0);
        }
        assert_eq!(case.taken.len(), 514);
        assert_eq!(case.taken[1], (2, Lost(1)));
        assert!(case.order.held.is_empty() && case.order.held_bytes == 0);
    }

    #[test]
    fn a_new_beginning_is_followed_when_two_packets_confirm_it() {
        let mut case = Case::new(Delivery::Datagrams);
        for n in [9000, 9001, 0, 9002, 100, 101, 102] {
            case.push(n, 0);
        }
        let expected = [(9000, Next), (9001, Next), (9002, Next), (100, Jump), (101, Next), (102, Next)];
        assert_eq!(case.taken, expected);
        // Back by a few numbers only, but with times that go on.
        case.push_as(7, 90, 1000, 0);
        case.push_as(7, 91, 1000, 0);
        assert_eq!(case.taken[6..], [(90, Jump), (91, Next)]);
    }

    #[test]
    fn another_source_is_followed_when_two_packets_confirm_it() {
        for delivery in [Delivery::Stream, Delivery::Datagrams] {
            let mut case = Case::new(delivery);
            case.push_as(7, 0, 0, 0);
            case.push_as(8, 500, 0, 0);
            case.push_as(7, 1, 0, 0);
            case.push_as(8, 700, 0, 0);
            case.push_as(8, 701, 0, 0);
            case.push_as(8, 702, 0, 0);
            assert_eq!(case.taken, [(0, Next), (1, Next), (700, NewSource), (701, Next), (702, Next)]);
            assert_eq!(case.order.ssrc(), Some(8));
        }
    }
}
