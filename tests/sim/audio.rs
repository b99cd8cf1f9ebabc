//! The sound of a camera: a tone on the same clock as its pictures, which may stay away, die, return or change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::feed::{Epoch, Journal, NS_PER_S, Origin, Paced, prepare};
use super::harm::Harm;
use super::sound::{Tone, Voice};

/// A client that does not read makes its camera hold so much.
const HELD_AT_MOST_BYTES: u64 = 1 << 20;

/// A camera's audio track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Audio {
    /// How it is encoded.
    pub voice: Voice,
    /// Whether and when it is heard.
    pub mode: Mode,
    /// Whether its media line comes before that of the video.
    pub first: bool,
}

/// Whether and when a track is heard. Times count from the start of the camera, or from when the mode was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Always.
    Steady,
    /// Announced and set up, but no packet ever comes, and no RTCP either.
    Never,
    /// No more after so long.
    Dies {
        /// From then on.
        after: Duration,
    },
    /// Not between these two.
    Returns {
        /// From when on it is silent.
        dies: Duration,
        /// From when on it is heard again.
        after: Duration,
    },
    /// AAC goes on with other parameters. Who is connected is not told, as by cameras that do so; who comes then is.
    Changes {
        /// From then on.
        after: Duration,
        /// The new sample rate.
        hz: u32,
    },
}

impl Mode {
    fn is_heard(self, since: Duration) -> bool {
        match self {
            Mode::Steady | Mode::Changes { .. } => true,
            Mode::Never => false,
            Mode::Dies { after } => since < after,
            Mode::Returns { dies, after } => since < dies || since >= after,
        }
    }
}

/// One audio track; like the pictures, it goes on while nobody listens.
pub(crate) struct AudioFeed {
    epoch: Epoch,
    /// What is wrong with it.
    pub(crate) harm: Arc<Harm>,
    state: Mutex<State>,
}

struct State {
    voice: Voice,
    tone: Arc<Tone>,
    /// What it becomes when its mode says so.
    next_tone: Option<(Voice, Arc<Tone>)>,
    mode: Mode,
    mode_since: Duration,
    /// When this tone began, after the epoch, and its packets since then.
    began: Duration,
    packets: u64,
    frozen: bool,
    outlets: Vec<Outlet>,
    /// `None` if it is not to be noted.
    sent_us: Option<Vec<u64>>,
}

struct Outlet {
    source: glib::WeakRef<AppSrc>,
    origin: Arc<Origin>,
    /// What its caps say; none before its first packet.
    shown: Option<Arc<Tone>>,
    /// Whether packets leave the server. The very first, which it wants before it describes the stream, may not.
    open: Arc<AtomicBool>,
}

impl AudioFeed {
    /// A track whose first packet begins at `epoch`.
    ///
    /// # Errors
    /// If an encoder is missing.
    pub(crate) fn new(epoch: Epoch, audio: Audio, journal: &Journal) -> anyhow::Result<AudioFeed> {
        let feed = AudioFeed {
            epoch,
            harm: Arc::default(),
            state: Mutex::new(State {
                voice: audio.voice,
                tone: audio.voice.tone()?,
                next_tone: None,
                mode: audio.mode,
                mode_since: Duration::ZERO,
                began: Duration::ZERO,
                packets: 0,
                frozen: false,
                outlets: Vec::new(),
                sent_us: matches!(journal, Journal::Memory).then(Vec::new),
            }),
        };
        feed.set_mode(audio.mode)?;
        feed.state().mode_since = Duration::ZERO;
        Ok(feed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another mode, its times counted from now on.
    ///
    /// # Errors
    /// If an encoder is missing, or another codec than AAC is to change.
    pub(crate) fn set_mode(&self, mode: Mode) -> anyhow::Result<()> {
        let mut state = self.state();
        state.next_tone = match (mode, state.voice) {
            (Mode::Changes { hz, .. }, Voice::Aac { .. }) => {
                let voice = Voice::Aac { hz };
                Some((voice, voice.tone()?))
            }
            (Mode::Changes { .. }, voice) => anyhow::bail!("{voice:?} has no parameters to change"),
            _ => None,
        };
        state.mode = mode;
        state.mode_since = self.epoch.start.elapsed();
        Ok(())
    }

    /// Sends nothing until `false` is given.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.state().frozen = frozen;
    }

    /// Samples per second now, which is what RTP time counts.
    pub(crate) fn ticks_per_s(&self) -> u32 {
        self.state().voice.samples().0
    }

    /// Capture times of the beginnings of the packets that were sent to somebody, in microseconds since 1970 UTC. Empty
    /// unless the journal is [`Journal::Memory`].
    pub(crate) fn sent_us(&self) -> Vec<u64> {
        self.state().sent_us.clone().unwrap_or_default()
    }

    /// Connects a media that was just built. Nothing leaves the server before `open` says so.
    pub(crate) fn add_outlet(
        &self,
        source: &AppSrc,
        payloader: &gst::Element,
        origin: Arc<Origin>,
        open: Arc<AtomicBool>,
    ) {
        prepare(source);
        self.harm.attach(payloader, None);
        self.state().outlets.push(Outlet { source: source.downgrade(), origin, shown: None, open });
    }
}

impl State {
    /// When a packet of the present tone begins, after the epoch.
    fn begins(&self, packet: u64) -> Duration {
        let (hz, samples) = self.voice.samples();
        self.began + Duration::from_nanos(packet * u64::from(samples) * NS_PER_S / u64::from(hz))
    }
}

impl Paced for AudioFeed {
    /// A packet can be sent when its last sample was heard.
    fn due(&self) -> Instant {
        let state = self.state();
        self.epoch.start + state.begins(state.packets + 1)
    }

    fn send_next(&self) {
        let mut state = self.state();
        let begins = state.begins(state.packets);
        let since = begins.saturating_sub(state.mode_since);
        if let Mode::Changes { after, .. } = state.mode
            && since >= after
            && let Some((voice, tone)) = state.next_tone.take()
        {
            (state.voice, state.tone, state.began, state.packets) = (voice, tone, begins, 0);
        }
        let (packet, duration) = (state.tone.packet(state.packets), state.begins(state.packets + 1) - begins);
        state.packets += 1;
        if state.frozen {
            return;
        }
        let heard = state.mode.is_heard(since);
        state.outlets.retain(|outlet| outlet.source.upgrade().is_some());
        let tone = state.tone.clone();
        let mut taken = false;
        for outlet in &mut state.outlets {
            if heard {
                outlet.open.store(true, Ordering::Relaxed);
            }
            // A server describes a stream when it has seen its first packet, so it gets one also of a silent track.
            if heard || outlet.shown.is_none() {
                let mut packet = packet.clone();
                packet.make_mut().set_duration(gst::ClockTime::try_from(duration).ok());
                taken |= outlet.push(&tone, &self.epoch, begins, packet);
            }
        }
        if taken && heard {
            let capture_us = self.epoch.capture_us(begins);
            state.sent_us.iter_mut().for_each(|sent| sent.push(capture_us));
        }
    }
}

impl Outlet {
    fn push(&mut self, tone: &Arc<Tone>, epoch: &Epoch, begins: Duration, mut packet: gst::Buffer) -> bool {
        let Some(source) = self.source.upgrade() else { return false };
        let Some(pts) = self.origin.pts(&source, epoch, begins) else { return false };
        if source.current_level_bytes() > HELD_AT_MOST_BYTES {
            return false;
        }
        if !self.shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, tone)) {
            source.set_caps(Some(&tone.caps));
            self.shown = Some(tone.clone());
        }
        packet.make_mut().set_pts(pts);
        source.push_buffer(packet).is_ok()
    }
}
