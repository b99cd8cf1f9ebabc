//! Tracks that are fed packets: pictures, sound, parameter sets.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    input::{Input, debug_length},
    units::{check_picture, check_sound},
};
use crate::{
    model::{
        segment::{AudioCodec, Codec},
        unit::{AccessUnit, Damage},
    },
    rtsp::track::{Delivery, Track, TrackCodec, TrackOutput, TrackSetup},
};

/// Parameter sets of real encoders, 1920x1080 at 25 fps.
const SETS_264: [&str; 2] = ["Z0LAKNoB4AiflwEQAAADABAAAAMDIPGDKg==", "aM4PyA=="];
const SETS_265: [&str; 3] = [
    "QAEMAf//AWAAAAMAkAAAAwAAAwB4lZgJ",
    "QgEBAWAAAAMAkAAAAwAAAwB4oAPAgBDllmkkyvAWgIAAAAMACAAAAwDIQA==",
    "RAHBcrRiQA==",
];
/// Bytes that repetitions make of one input at most.
const REPEATED_MAX: usize = 128 << 10;
/// Most packets that one hole in the sequence numbers stands for.
const LOSS_MAX: u64 = 3000;

/// A camera's side of one track.
pub(super) struct Sender {
    pub(super) track: Track,
    out: Vec<TrackOutput>,
    pub(super) now: Instant,
    pub(super) payload_type: u8,
    sequence: u16,
    pub(super) time: u32,
    ssrc: u32,
    /// What went in: packets of RTP and RTCP, and their bytes.
    packets: usize,
    bytes: usize,
    repeated: usize,
    flushes: usize,
    /// What came out.
    pub(super) pictures: usize,
    recent: Vec<AccessUnit>,
    damaged: u64,
    sound: usize,
    ends: usize,
    size: usize,
    damage: Damage,
}

impl Sender {
    /// `None` if the track cannot be received.
    pub(super) fn new(setup: TrackSetup) -> Option<Self> {
        let (payload_type, bytes) = (setup.payload_type, debug_length(&setup.fmtp));
        Some(Self {
            track: Track::new(setup).ok()?,
            out: Vec::new(),
            now: Instant::now(),
            payload_type,
            sequence: 65_530,
            time: 0xffff_0000,
            ssrc: 7,
            packets: 0,
            bytes,
            repeated: 0,
            flushes: 0,
            pictures: 0,
            recent: Vec::new(),
            damaged: 0,
            sound: 0,
            ends: 0,
            size: 0,
            damage: Damage::default(),
        })
    }

    /// Sends the next packet.
    pub(super) fn send(&mut self, payload: &[u8], marker: bool) {
        self.send_with(0x80, u8::from(marker) << 7 | self.payload_type, &[], payload);
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Sends a packet with any first two bytes, and bytes between its fixed header and its payload.
    fn send_with(&mut self, flags: u8, kind: u8, extension: &[u8], payload: &[u8]) {
        let mut packet = vec![flags, kind];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.time.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(extension);
        packet.extend(payload);
        self.rtp(&packet);
    }

    fn rtp(&mut self, packet: &[u8]) {
        self.packets += 1;
        self.bytes += packet.len();
        self.track.rtp(packet, self.now, &mut self.out);
        self.take();
    }

    pub(super) fn rtcp(&mut self, packet: &[u8]) {
        self.packets += 1;
        self.bytes += packet.len();
        self.track.rtcp(packet, self.now);
        self.take();
    }

    fn flush(&mut self) {
        self.track.flush(self.now, &mut self.out);
        self.take();
    }

    /// Lets time pass, and calls for what is due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.track.next_flush().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.flushes += 1;
            self.flush();
            let next = self.track.next_flush();
            assert!(next.is_none_or(|next| next > self.now), "what is due is done");
        }
        self.now = end;
    }

    /// Nothing follows, and nothing is held for ever.
    pub(super) fn finish(&mut self) {
        let held = debug_length(&self.track);
        assert!(held <= 24 * self.bytes + (64 << 10), "{held} for {} bytes", self.bytes);
        self.pass(Duration::from_secs(5));
        assert_eq!(self.track.next_flush(), None, "after silence nothing waits");
        self.track.finish(&mut self.out);
        self.take();
        assert!(self.flushes <= 3 * self.packets + 64, "{} for {} packets", self.flushes, self.packets);
    }

    /// Whatever came before, the pictures of another source arrive as they are sent, and those of the same source from the second
    /// keyframe on.
    fn recover(&mut self, codec: Codec, same_source: bool) {
        let sets: &[&str] = if codec == Codec::H264 { &SETS_264 } else { &SETS_265 };
        let (key, other): (&[u8], &[u8]) = match codec {
            Codec::H264 => (&[0x65, 0x88, 0x80, 0x55, 0x55], &[0x41, 0x9a, 0x80, 0x55, 0x55]),
            Codec::H265 => (&[0x26, 1, 0xa0, 0x55, 0x55], &[2, 1, 0xd0, 0x55, 0x55]),
        };
        if !same_source {
            self.ssrc = 0x7777_7777;
        }
        self.recent.clear();
        let sent: Vec<(Vec<u8>, bool)> = (0..6)
            .map(|n| {
                let is_key = n % 3 == 0;
                for set in sets.iter().filter(|_| is_key) {
                    self.send(&STANDARD.decode(set).expect("base64"), false);
                }
                let slice = if is_key { key } else { other };
                self.send(slice, true);
                self.time = self.time.wrapping_add(3600);
                self.pass(Duration::from_millis(40));
                ([&[0, 0, 0, 5], slice].concat(), is_key)
            })
            .collect();
        self.pass(Duration::from_secs(2));
        let sent = &sent[if same_source { 3 } else { 0 }..];
        let found = &self.recent[self.recent.len().saturating_sub(sent.len())..];
        assert!(
            found.iter().map(|picture| (picture.data.to_vec(), picture.key)).eq(sent.iter().cloned()),
            "{found:?}"
        );
        assert!(found.iter().all(|picture| !picture.damaged));
    }

    fn take(&mut self) {
        for output in self.out.drain(..) {
            match output {
                TrackOutput::Video(picture) => {
                    check_picture(&picture, self.now);
                    self.pictures += 1;
                    self.damaged += u64::from(picture.damaged);
                    self.size += picture.data.len();
                    self.recent.push(picture);
                }
                TrackOutput::Audio(sound) => {
                    check_sound(&sound, self.now);
                    self.sound += 1;
                    self.size += sound.data.len();
                }
                TrackOutput::End => self.ends += 1,
            }
        }
        // A NAL unit of one byte behind a start code of three gets a length of four.
        assert!(self.size <= 2 * self.bytes, "{} bytes of {}", self.size, self.bytes);
        assert!(self.pictures + self.sound <= self.bytes && self.ends <= self.packets);
        let damage = self.track.damage();
        assert!(damage.damaged_units >= self.damaged.max(self.damage.damaged_units));
        assert!(damage.damaged_units <= self.bytes as u64);
        assert!(damage.lost_packets >= self.damage.lost_packets);
        assert!(damage.lost_packets <= LOSS_MAX * self.packets as u64 && damage.resyncs == 0);
        self.damage = damage;
    }

    /// Does one thing that the input says.
    fn act(&mut self, input: &mut Input<'_>, clock_rate: u32) {
        let act = input.byte();
        let marker = act & 8 != 0;
        if act & 16 != 0 {
            self.time = self.time.wrapping_add(clock_rate / 25);
            self.pass(Duration::from_millis(40));
        }
        match act & 7 {
            0..=2 => {
                let payload = if act & 32 == 0 { input.short() } else { input.long() };
                self.send(payload, marker);
            }
            3 => {
                // The same again and again, as one picture or as one each.
                let (count, payload) = (input.byte(), input.short());
                for _ in 0..count {
                    self.repeated += payload.len() + 12;
                    if self.repeated > REPEATED_MAX {
                        break;
                    }
                    self.time = self.time.wrapping_add(if act & 64 != 0 { clock_rate / 25 } else { 0 });
                    self.sequence = self.sequence.wrapping_add(u16::from(act & 128 != 0));
                    self.send(payload, marker);
                }
            }
            4 => {
                let changed = input.byte();
                if changed & 1 != 0 {
                    self.sequence = self.sequence.wrapping_add(input.u16());
                }
                if changed & 2 != 0 {
                    self.sequence = self.sequence.wrapping_add_signed(i16::from(input.byte().cast_signed()));
                }
                if changed & 4 != 0 {
                    self.time = self.time.wrapping_add(input.u32());
                }
                if changed & 8 != 0 {
                    self.ssrc = u32::from(input.byte());
                }
                let flags = if changed & 16 != 0 { input.byte() } else { 0x80 };
                let kind =
                    if changed & 32 != 0 { input.byte() } else { u8::from(marker) << 7 | self.payload_type };
                let mut extension = Vec::new();
                if changed & 64 != 0 {
                    // ONVIF replay header extension: NTP time and flags.
                    extension.extend([0xab, 0xac, 0, 3]);
                    extension.extend(input.u32().to_be_bytes());
                    extension.extend([0x80, 0, 0, 0, input.byte(), 0, 0, 0]);
                }
                let flags = flags | if extension.is_empty() { 0 } else { 0x10 };
                self.send_with(flags, kind, &extension, input.short());
                self.sequence = self.sequence.wrapping_add(1);
            }
            5 => self.rtp(input.short()),
            6 if act & 32 == 0 => self.pass(Duration::from_millis(u64::from(input.byte()))),
            6 => self.pass(Duration::from_millis(u64::from(input.u16()))),
            _ if act & 32 == 0 => self.rtcp(input.short()),
            _ => {
                let report = self.track.receiver_report(self.now);
                assert_eq!(report.map_or(0, |report| report.len()) % 4, 0);
                self.flush();
            }
        }
    }
}

fn described(codec: Codec) -> Vec<(String, String)> {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    match codec {
        Codec::H264 => vec![pair("sprop-parameter-sets", SETS_264.join(","))],
        Codec::H265 => {
            let names = ["sprop-vps", "sprop-sps", "sprop-pps"];
            names.iter().zip(SETS_265).map(|(name, set)| pair(name, set.to_owned())).collect()
        }
    }
}

/// A track of pictures with the usual parameter sets.
pub(super) fn video_setup(codec: Codec) -> TrackSetup {
    TrackSetup {
        codec: TrackCodec::Video(codec),
        payload_type: 96,
        clock_rate: 90_000,
        channels: 1,
        fmtp: described(codec),
        delivery: Delivery::Stream,
        replay: false,
    }
}

fn video(codec: Codec, input: &[u8]) {
    let mut input = Input::new(input);
    let flags = input.byte();
    let mut setup = video_setup(codec);
    if flags & 1 != 0 {
        setup.delivery = Delivery::Datagrams;
    }
    setup.replay = flags & 2 != 0;
    if flags & 4 != 0 {
        setup.fmtp.clear();
    }
    // Datagrams that go back a little are late, and dropped.
    run(setup, flags & 9 == 8, input);
}

fn run(setup: TrackSetup, same_source: bool, mut input: Input<'_>) {
    let (codec, clock_rate, replay) = (setup.codec, setup.clock_rate, setup.replay);
    let Some(mut sender) = Sender::new(setup) else { return };
    while !input.is_empty() {
        sender.act(&mut input, clock_rate);
    }
    if let (TrackCodec::Video(codec), false) = (codec, replay) {
        sender.recover(codec, same_source);
    }
    sender.finish();
}

/// Packets of a track of H.264, and RTCP.
pub fn h264(input: &[u8]) {
    video(Codec::H264, input);
}

/// Packets of a track of H.265, and RTCP.
pub fn h265(input: &[u8]) {
    video(Codec::H265, input);
}

/// Packets of a track of sound, with any parameters.
pub fn sound(input: &[u8]) {
    let mut input = Input::new(input);
    let flags = input.byte();
    let rate = match input.byte() {
        0 => input.u32(),
        rate => [8000, 16_000, 44_100, 48_000][usize::from(rate % 4)],
    };
    let channels = input.byte();
    let parameters = String::from_utf8_lossy(input.short()).into_owned();
    let pairs = parameters.split(';').filter_map(|pair| pair.split_once('='));
    let codecs = [AudioCodec::Aac, AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Pcma];
    let setup = TrackSetup {
        codec: TrackCodec::Audio(codecs[usize::from(flags >> 2 & 3)]),
        payload_type: 97,
        clock_rate: rate,
        channels,
        fmtp: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        delivery: if flags & 1 != 0 { Delivery::Datagrams } else { Delivery::Stream },
        replay: flags & 2 != 0,
    };
    run(setup, false, input);
}

/// Parameter sets, in the session description or between pictures that refer to them.
pub fn parameter_sets(input: &[u8]) {
    let mut input = Input::new(input);
    let flags = input.byte();
    let codec = if flags & 1 == 0 { Codec::H264 } else { Codec::H265 };
    let mut setup = video_setup(codec);
    if flags & 2 != 0 {
        let list = |input: &mut Input<'_>| {
            (0..3).map(|_| STANDARD.encode(input.short())).collect::<Vec<_>>().join(",")
        };
        setup.fmtp.iter_mut().for_each(|(_, value)| *value = list(&mut input));
    } else if flags & 4 != 0 {
        setup.fmtp.clear();
    }
    let Some(mut sender) = Sender::new(setup) else { return };
    while !input.is_empty() {
        let set = input.short();
        if !set.is_empty() {
            sender.send(set, false);
        }
        // A keyframe of one slice, which names a picture parameter set by the bits of a byte.
        let pps = input.byte();
        let slice = match codec {
            Codec::H264 => vec![0x65, 0x88, pps, 0x55, 0x55],
            Codec::H265 => vec![0x26, 0x01, 0x80 | pps >> 1, 0x55, 0x55],
        };
        sender.send(&slice, true);
        sender.time = sender.time.wrapping_add(3600);
        sender.pass(Duration::from_millis(40));
    }
    sender.recover(codec, flags & 8 != 0);
    sender.finish();
}
