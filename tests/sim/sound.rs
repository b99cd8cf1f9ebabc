//! A tone as a microphone would send it, and what is heard of it in a file.
//!
//! The tone has 1000 Hz: a whole number of periods in a packet of each codec, so that packets can be repeated for ever
//! without a click, and whoever decodes them finds its frequency and loudness again.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;

/// Of the tone, per second.
pub(crate) const TONE_HZ: f64 = 1000.0;
/// Packets after which an encoder no longer shows that it has only just begun.
const SETTLED_AFTER: usize = 20;
const PACKETS: usize = 50;
const DECODED_HZ: usize = 8000;
/// Of what is looked at as one moment.
const WINDOW: usize = DECODED_HZ / 100;
/// The tone has -9 dBFS; what is below this is silence, or the edge of a codec's frame.
const LOUD_DBFS: f64 = -30.0;

/// How a microphone is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Voice {
    /// AAC-LC as MPEG4-GENERIC, one channel.
    Aac {
        /// Samples per second: 16000 or 32000 for example.
        hz: u32,
    },
    /// Opus, two channels as its RTP format says, 48 kHz.
    Opus,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// G.711 µ-law, 8 kHz.
    Pcmu,
}

impl Voice {
    /// Samples per second, and per packet.
    pub(crate) fn samples(self) -> (u32, u32) {
        match self {
            Voice::Aac { hz } => (hz, 1024),
            Voice::Opus => (48_000, 960),
            Voice::Pcma | Voice::Pcmu => (8000, 160),
        }
    }

    /// The payloader, with its payload type: the static ones where there are such.
    pub(crate) fn payloader(self) -> &'static str {
        match self {
            Voice::Aac { .. } => "rtpmp4gpay pt=97",
            Voice::Opus => "rtpopuspay pt=97",
            Voice::Pcma => "rtppcmapay pt=8",
            Voice::Pcmu => "rtppcmupay pt=0",
        }
    }

    /// The tone, encoded on first use (some milliseconds).
    ///
    /// # Errors
    /// If an encoder is missing.
    pub(crate) fn tone(self) -> anyhow::Result<Arc<Tone>> {
        static MADE: Mutex<Option<HashMap<Voice, Arc<Tone>>>> = Mutex::new(None);
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let made = made.get_or_insert_default();
        if let Some(tone) = made.get(&self) {
            return Ok(tone.clone());
        }
        let tone = Arc::new(Tone::make(self).with_context(|| format!("a tone as {self:?}"))?);
        made.insert(self, tone.clone());
        Ok(tone)
    }
}

/// An encoded tone.
#[derive(Debug)]
pub(crate) struct Tone {
    /// What the packets are.
    pub caps: gst::Caps,
    packets: Vec<gst::Buffer>,
}

impl Tone {
    /// A packet of it, the same memory each time; it has no time.
    pub(crate) fn packet(&self, index: u64) -> gst::Buffer {
        let index = usize::try_from(index % self.packets.len() as u64).expect("an index into a Vec");
        self.packets[index].clone()
    }

    /// How many packets there are before they repeat.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    fn make(voice: Voice) -> anyhow::Result<Tone> {
        gst::init().context("GStreamer does not start")?;
        let (hz, samples) = voice.samples();
        let encoder = match voice {
            Voice::Aac { .. } => "avenc_aac bitrate=48000",
            Voice::Opus => "opusenc bitrate=48000 frame-size=20",
            Voice::Pcma => "alawenc",
            Voice::Pcmu => "mulawenc",
        };
        let text = format!(
            "audiotestsrc freq={TONE_HZ} volume=0.5 samplesperbuffer={samples} num-buffers={} \
             ! audio/x-raw, rate={hz}, channels=1 ! audioconvert ! {encoder} ! appsink name=out sync=false",
            SETTLED_AFTER + PACKETS + 5
        );
        let pipeline = gst::parse::launch(&text).context("no such encoder")?;
        let out = pipeline.downcast_ref::<gst::Bin>().and_then(|bin| bin.by_name("out"));
        let out = out.and_then(|out| out.downcast::<AppSink>().ok()).context("no sink")?;
        pipeline.set_state(gst::State::Playing)?;
        let (mut packets, mut caps) = (Vec::new(), None);
        for index in 0..SETTLED_AFTER + PACKETS {
            let sample = out.pull_sample().context("the encoder stopped")?;
            if index >= SETTLED_AFTER {
                caps = sample.caps_owned();
                let mut packet = sample.buffer().context("an empty packet")?.copy_deep()?;
                let times = packet.make_mut();
                times.set_pts(None);
                times.set_dts(None);
                packets.push(packet);
            }
        }
        pipeline.set_state(gst::State::Null)?;
        Ok(Tone { caps: caps.context("no caps")?, packets })
    }
}

/// What is heard in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    /// ffmpeg's name of the codec.
    pub codec: String,
    /// Spans in which there is sound, in seconds of the file's own time, to 10 ms.
    pub loud: Vec<(f64, f64)>,
    /// Loudness where there is sound, in decibels below full scale.
    pub dbfs: f64,
    /// Frequency where there is sound.
    pub hz: f64,
}

/// Decodes the first audio stream of a file with ffmpeg. `None` if the file has none.
///
/// # Errors
/// If ffmpeg cannot read the file or complains.
pub(crate) fn heard_in(path: &Path) -> anyhow::Result<Option<Heard>> {
    let Some(codec) = super::frames::codec_of(path, "a:0")? else { return Ok(None) };
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        // What is missing becomes silence, so that a sample's place is its time.
        .args(["-map", "0:a:0", "-af", "aresample=async=1:first_pts=0", "-ac", "1"])
        .args(["-ar", &DECODED_HZ.to_string(), "-f", "s16le", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run ffmpeg")?;
    let mut bytes = Vec::new();
    ffmpeg.stdout.take().context("no pipe from ffmpeg")?.read_to_end(&mut bytes)?;
    let status = ffmpeg.wait()?;
    ensure!(status.success(), "ffmpeg on `{}`: {status}", path.display());
    let samples: Vec<f64> = bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|sample| f64::from(i16::from_le_bytes(*sample)) / f64::from(i16::MAX))
        .collect();
    Ok(Some(judge(codec, &samples)))
}

fn judge(codec: String, samples: &[f64]) -> Heard {
    let power = |window: &[f64]| window.iter().map(|sample| sample * sample).sum::<f64>() / WINDOW as f64;
    let decibels = |power: f64| 10.0 * power.max(1e-12).log10();
    let (mut loud, mut total, mut windows, mut periods) = (Vec::<(f64, f64)>::new(), 0.0, 0.0, 0.0);
    for (index, window) in samples.chunks_exact(WINDOW).enumerate() {
        let with_last = &samples[(index * WINDOW).saturating_sub(1)..(index + 1) * WINDOW];
        let power = power(window);
        if decibels(power) < LOUD_DBFS {
            continue;
        }
        total += power;
        windows += 1.0;
        periods += with_last.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count() as f64;
        let seconds = |index: usize| (index * WINDOW) as f64 / DECODED_HZ as f64;
        match loud.last_mut() {
            Some((_, to)) if *to == seconds(index) => *to = seconds(index + 1),
            _ => loud.push((seconds(index), seconds(index + 1))),
        }
    }
    let hz = periods * DECODED_HZ as f64 / (windows * WINDOW as f64);
    Heard { codec, loud, dbfs: decibels(total / windows), hz }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_told_from_silence() {
        let tone = |hz: f64| {
            (0..DECODED_HZ).map(move |n| (std::f64::consts::TAU * hz * (n as f64 + 0.5) / 8000.0).sin() / 2.0)
        };
        let silence = || std::iter::repeat_n(0.0, DECODED_HZ);
        let samples: Vec<f64> = tone(1000.0).chain(silence()).chain(tone(1000.0)).collect();
        let heard = judge("pcm".into(), &samples);
        assert_eq!(heard.loud, [(0.0, 1.0), (2.0, 3.0)]);
        assert!((heard.hz - 1000.0).abs() < 20.0 && (heard.dbfs + 9.0).abs() < 0.1, "{heard:?}");
        assert!((judge("pcm".into(), &tone(700.0).collect::<Vec<_>>()).hz - 700.0).abs() < 20.0);
        assert!(judge("pcm".into(), &silence().collect::<Vec<_>>()).loud.is_empty());
    }
}
