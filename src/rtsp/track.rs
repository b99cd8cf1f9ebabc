//! One media stream of a session: RTP and RTCP packets in, access units or frames of sound out.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    packet::RtpPacket,
    payload::{Aac, G711, Opus, Outlet, Packet, PictureBuilder},
    reorder::{Continuity, Order},
    rtcp::{self, Reception, RtcpMessage, SenderClock},
};
use crate::model::{
    segment::{AudioCodec, Codec},
    unit::{AccessUnit, AudioUnit, Damage},
};

/// After RTCP BYE the stream has ended if nothing comes for this time. Some cameras say BYE and go on.
const BYE_SILENCE: Duration = Duration::from_secs(1);
/// Packet types of RTCP, which may come with the RTP packets (RFC 5761, 4).
const RTCP_TYPES: RangeInclusive<u8> = 200..=207;
/// Some cameras pad their base64 wrongly.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackCodec {
    /// Pictures.
    Video(Codec),
    /// Sound.
    Audio(AudioCodec),
}

/// How packets of a track arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In order, inside the RTSP connection: a missing sequence number is a lost packet at once.
    Stream,
    /// As datagrams, which may overtake each other by up to 100 ms.
    Datagrams,
}

/// A track as its session description declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackSetup {
    /// What it carries.
    pub codec: TrackCodec,
    /// RTP payload type; packets of other types are ignored.
    pub payload_type: u8,
    /// Ticks per second of the RTP timestamps.
    pub clock_rate: u32,
    /// Channels of sound, as `a=rtpmap` says; 1 where it says nothing.
    pub channels: u8,
    /// Parameters of `a=fmtp` in order, names in lower case, values as sent.
    pub fmtp: Vec<(String, String)>,
    /// How packets arrive.
    pub delivery: Delivery,
    /// Whether each picture's time is that of the ONVIF replay header extension (ONVIF Streaming Specification, 6.3).
    pub replay: bool,
}

/// What a track makes of packets.
#[derive(Debug)]
pub enum TrackOutput {
    /// A picture.
    Video(AccessUnit),
    /// Sound.
    Audio(AudioUnit),
    /// The camera said that nothing more follows (RTCP BYE, or the end bit of a replay).
    End,
}

/// The receiving side of one media stream.
#[derive(Debug)]
pub struct Track {
    payload_type: u8,
    order: Order,
    media: Media,
    /// When the last packet came.
    heard: Option<Instant>,
    /// When RTCP BYE came, if no packet came since.
    bye: Option<Instant>,
}

/// A track that cannot be received, in one sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnusableTrack(pub String);

/// What the packets of a track carry, once they are in order.
#[derive(Debug)]
enum Payload {
    Video(Box<PictureBuilder>),
    Aac(Aac),
    Opus(Opus),
    G711(G711),
}

/// What becomes of packets in order.
#[derive(Debug)]
struct Media {
    payload: Payload,
    clock: SenderClock,
    reception: Reception,
    replay: bool,
}

impl Track {
    /// A track that has received nothing yet.
    ///
    /// # Errors
    /// If its parameters make no stream: a clock rate of 0.
    pub fn new(setup: TrackSetup) -> Result<Self, UnusableTrack> {
        if setup.clock_rate == 0 {
            return Err(UnusableTrack("the camera's session description has a clock rate of 0".to_owned()));
        }
        let (rate, channels) = (setup.clock_rate, setup.channels);
        let payload = match setup.codec {
            TrackCodec::Video(codec) => {
                Payload::Video(Box::new(PictureBuilder::new(codec, &described_sets(codec, &setup))))
            }
            TrackCodec::Audio(AudioCodec::Aac) => {
                Payload::Aac(Aac::new(rate, channels, |name| setup.parameter(name)))
            }
            TrackCodec::Audio(AudioCodec::Opus) => Payload::Opus(Opus::new(channels)),
            TrackCodec::Audio(codec @ (AudioCodec::Pcma | AudioCodec::Pcmu)) => {
                Payload::G711(G711::new(codec, rate, channels))
            }
        };
        Ok(Self {
            payload_type: setup.payload_type,
            order: Order::new(setup.delivery),
            media: Media {
                payload,
                clock: SenderClock::new(rate),
                reception: Reception::new(rate, setup.receiver_ssrc()),
                replay: setup.replay,
            },
            heard: None,
            bye: None,
        })
    }

    /// Takes one RTP packet that arrived at `now`. One that cannot be read, or is of another payload type, is ignored. RTCP is
    /// understood here, too.
    pub fn rtp(&mut self, packet: &[u8], now: Instant, out: &mut Vec<TrackOutput>) {
        if packet.get(1).is_some_and(|kind| RTCP_TYPES.contains(kind) && kind & 0x7f != self.payload_type) {
            return self.rtcp(packet, now);
        }
        let Some(parsed) = RtpPacket::parse(packet) else { return };
        let Self { payload_type, order, media, heard, bye } = self;
        let take = |packet: &RtpPacket<'_>, arrived, continuity| media.take(packet, arrived, continuity, out);
        if parsed.payload_type == *payload_type {
            *heard = Some(now);
            *bye = None;
            order.push(&parsed, packet, now, take);
        } else {
            order.skip(&parsed, take);
        }
    }

    /// Takes one RTCP packet, compound or not.
    pub fn rtcp(&mut self, packet: &[u8], now: Instant) {
        let Self { order, media, bye, .. } = self;
        rtcp::parse(packet, |message| match message {
            RtcpMessage::SenderReport(report) => media.clock.take(report, now),
            RtcpMessage::Bye(ssrc) => {
                if ssrc.is_none() || order.ssrc().is_none() || ssrc == order.ssrc() {
                    *bye = Some(now);
                }
            }
        });
    }

    /// All packets of one read were taken: delivers a picture that is complete.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<TrackOutput>) {
        let Self { order, media, .. } = self;
        order.expire(now, |packet, arrived, continuity| media.take(packet, arrived, continuity, out));
        let is_due = self.picture_deadline().is_some_and(|deadline| deadline <= now);
        let Self { media, bye, .. } = self;
        if let Payload::Video(pictures) = &mut media.payload
            && is_due
        {
            let clock = (!media.replay).then_some(&media.clock);
            pictures.flush(&mut Outlet { clock, out });
        }
        if bye.take_if(|bye| now >= *bye + BYE_SILENCE).is_some() {
            self.finish(out);
            out.push(TrackOutput::End);
        }
    }

    /// When [`Self::flush`] is wanted although no packet came: a packet that was waited for is lost by then, a picture is
    /// taken for complete, or the stream has ended.
    pub fn next_flush(&self) -> Option<Instant> {
        [self.order.deadline(), self.picture_deadline(), self.bye.map(|bye| bye + BYE_SILENCE)]
            .into_iter()
            .flatten()
            .min()
    }

    fn picture_deadline(&self) -> Option<Instant> {
        match &self.media.payload {
            Payload::Video(pictures) => pictures.deadline(self.heard?),
            _ => None,
        }
    }

    /// Nothing more follows: delivers what is complete.
    pub fn finish(&mut self, out: &mut Vec<TrackOutput>) {
        let Self { order, media, .. } = self;
        order.finish(|packet, arrived, continuity| media.take(packet, arrived, continuity, out));
        if let Payload::Video(pictures) = &mut media.payload {
            let clock = (!media.replay).then_some(&media.clock);
            pictures.finish(&mut Outlet { clock, out });
        }
    }

    /// A receiver report (RFC 3550, 6.4.2) to be sent now; `None` before the first packet.
    pub fn receiver_report(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.media.reception.report(&self.media.clock, now)
    }

    /// When the last sender report came.
    pub fn last_report(&self) -> Option<Instant> {
        self.media.clock.received()
    }

    /// What arrived broken so far; `resyncs` is always 0 here.
    pub fn damage(&self) -> Damage {
        let damaged_units = match &self.media.payload {
            Payload::Video(pictures) => pictures.damaged_units(),
            Payload::Aac(aac) => aac.damaged_units(),
            Payload::Opus(_) | Payload::G711(_) => 0,
        };
        Damage { damaged_units, lost_packets: self.media.reception.lost(), ..Damage::default() }
    }
}

impl Media {
    fn take(
        &mut self,
        packet: &RtpPacket<'_>,
        arrived: Instant,
        continuity: Continuity,
        out: &mut Vec<TrackOutput>,
    ) {
        self.reception.count(packet.ssrc, packet.sequence, packet.time, arrived, continuity);
        if continuity == Continuity::NewSource
            && let Payload::Video(pictures) = &mut self.payload
        {
            let clock = (!self.replay).then_some(&self.clock);
            pictures.end_source(&mut Outlet { clock, out });
        }
        self.clock.set_source(packet.ssrc);
        let replay = if self.replay { packet.replay_header() } else { None };
        let RtpPacket { time, marker, payload, .. } = *packet;
        let packet = Packet { time, marker, arrived, continuity, replay, payload };
        match &mut self.payload {
            Payload::Video(pictures) => {
                let clock = (!self.replay).then_some(&self.clock);
                return pictures.take(&packet, &mut Outlet { clock, out });
            }
            Payload::Aac(aac) => aac.take(&packet, out),
            Payload::Opus(opus) => opus.take(&packet, out),
            Payload::G711(g711) => g711.take(&packet, out),
        }
        if replay.is_some_and(|replay| replay.terminal) {
            out.push(TrackOutput::End);
        }
    }
}

impl TrackSetup {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.fmtp.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.trim().trim_matches('"'))
    }

    /// SSRC of our receiver reports: any number, different for different tracks (FNV-1a of the track's parameters).
    fn receiver_ssrc(&self) -> u32 {
        let values = self.fmtp.iter().flat_map(|(_, value)| value.bytes());
        let bytes = [self.payload_type].into_iter().chain(self.clock_rate.to_be_bytes()).chain(values);
        bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// The parameter sets of a session description (RFC 6184, 8.1; RFC 7798, 7.1). Those that are no base64 are left out.
fn described_sets(codec: Codec, setup: &TrackSetup) -> Vec<Vec<u8>> {
    let names: &[&str] = match codec {
        Codec::H264 => &["sprop-parameter-sets"],
        Codec::H265 => &["sprop-vps", "sprop-sps", "sprop-pps"],
    };
    let lists = names.iter().filter_map(|name| setup.parameter(name));
    lists.flat_map(|list| list.split(',')).filter_map(|set| LENIENT_BASE64.decode(set.trim()).ok()).collect()
}
