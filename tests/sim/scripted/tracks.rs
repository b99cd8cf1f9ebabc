//! Sound tracks: a tone of 1 kHz in each codec as RTP payloads, and their lines of the description.

use std::f64::consts::TAU;

use super::super::sound::{TONE_HZ, Voice};

/// How a track is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SoundCodec {
    /// mpeg4-generic, RFC 3640, AAC-hbr.
    Aac { hz: u32 },
    /// RFC 7587.
    Opus,
    /// G.711 A-law.
    Pcma { hz: u32 },
    /// G.711 µ-law.
    Pcmu { hz: u32 },
}

/// A media line with sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SoundTrack {
    /// Of what is sent.
    pub codec: SoundCodec,
    pub payload_type: u8,
    /// `None`: no `a=rtpmap`, which only static payload types may do without.
    pub rtpmap: Option<String>,
    /// `a=recvonly` or `a=sendonly`.
    pub direction: Option<&'static str>,
    /// For the other side to speak into: nothing is sent.
    pub talk: bool,
}

impl SoundTrack {
    /// A track with the usual payload type and encoding name.
    pub(crate) fn new(codec: SoundCodec) -> SoundTrack {
        let (payload_type, rtpmap) = match codec {
            SoundCodec::Aac { hz } => (97, format!("MPEG4-GENERIC/{hz}/1")),
            SoundCodec::Opus => (97, "opus/48000/2".to_owned()),
            SoundCodec::Pcma { hz } => (if hz == 8000 { 8 } else { 97 }, format!("PCMA/{hz}")),
            SoundCodec::Pcmu { hz } => (if hz == 8000 { 0 } else { 97 }, format!("PCMU/{hz}")),
        };
        SoundTrack { codec, payload_type, rtpmap: Some(rtpmap), direction: None, talk: false }
    }

    /// A track to speak into, as door stations have.
    pub(crate) fn talk() -> SoundTrack {
        let track = SoundTrack::new(SoundCodec::Pcmu { hz: 8000 });
        SoundTrack { direction: Some("sendonly"), talk: true, ..track }
    }

    /// The lines of the description but `a=control`.
    pub(super) fn sdp(&self) -> String {
        let kind = self.payload_type;
        let mut lines = format!("m=audio 0 RTP/AVP {kind}\r\n");
        if let Some(rtpmap) = &self.rtpmap {
            lines += &format!("a=rtpmap:{kind} {rtpmap}\r\n");
        }
        if let SoundCodec::Aac { hz } = self.codec {
            lines += &format!(
                "a=fmtp:{kind} streamtype=5;profile-level-id=15;mode=AAC-hbr;sizelength=13;indexlength=3;\
                 indexdeltalength=3;config={}\r\n",
                aac_config(hz)
            );
        }
        if let Some(direction) = self.direction {
            lines += &format!("a={direction}\r\n");
        }
        lines
    }

    /// RTP ticks per second; RTP ticks of a packet.
    pub(super) fn ticks(&self) -> (u32, u32) {
        match self.codec {
            SoundCodec::Aac { hz } => (hz, 1024),
            SoundCodec::Opus => (48_000, 960),
            SoundCodec::Pcma { hz } | SoundCodec::Pcmu { hz } => (hz, hz / 50),
        }
    }

    /// Payloads of the tone, to be repeated for ever.
    ///
    /// # Errors
    /// If an encoder is missing.
    pub(super) fn payloads(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let voice = match self.codec {
            SoundCodec::Aac { hz } => Voice::Aac { hz },
            SoundCodec::Opus => Voice::Opus,
            SoundCodec::Pcma { hz } => return Ok(vec![g711(hz, a_law)]),
            SoundCodec::Pcmu { hz } => return Ok(vec![g711(hz, u_law)]),
        };
        let tone = voice.tone()?;
        let packets = (0..tone.len() as u64).map(|index| {
            let packet = tone.packet(index);
            let bytes = packet.map_readable()?.to_vec();
            Ok(match self.codec {
                // RFC 3640, 3.3.6: one header of 16 bits; the size of the unit stands in its upper 13.
                SoundCodec::Aac { .. } => {
                    [&[0, 16][..], &u16::try_from(bytes.len() << 3)?.to_be_bytes(), &bytes].concat()
                }
                _ => bytes,
            })
        });
        packets.collect()
    }
}

/// `AudioSpecificConfig` of AAC-LC with one channel (ISO/IEC 14496-3, 1.6.2.1).
fn aac_config(hz: u32) -> String {
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];
    let index = RATES.iter().position(|rate| *rate == hz).expect("a rate of AAC");
    format!("{:04x}", 2 << 11 | index << 7 | 1 << 3)
}

/// 20 ms of the tone: a whole number of periods.
fn g711(hz: u32, encode: fn(i16) -> u8) -> Vec<u8> {
    (0..hz / 50)
        .map(|n| {
            let phase = TAU * TONE_HZ * f64::from(n) / f64::from(hz);
            encode((phase.sin() * 0.5 * f64::from(i16::MAX)) as i16)
        })
        .collect()
}

/// ITU-T G.711, table 2a.
fn u_law(sample: i16) -> u8 {
    const BIAS: u32 = 0x84;
    let magnitude = u32::from(sample.unsigned_abs()).min(32_635) + BIAS;
    let exponent = magnitude.ilog2() - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 15;
    !(if sample < 0 { 0x80 } else { 0 } | (exponent << 4 | mantissa) as u8)
}

/// ITU-T G.711, table 1a.
fn a_law(sample: i16) -> u8 {
    let magnitude = u32::from(if sample < 0 { !sample as u16 } else { sample as u16 });
    let exponent = magnitude.max(1).ilog2().saturating_sub(7);
    let mantissa = (magnitude >> (exponent.max(1) + 3)) & 15;
    (if sample < 0 { 0 } else { 0x80 } | (exponent << 4 | mantissa) as u8) ^ 0x55
}
