//! Receives a stream with GStreamer's `rtspsrc`. What rtspsrc cannot be trusted with is done around it: a bounded question before
//! (`preflight`), the redirect rule, the pinned certificate (`tls`) and keep-alives.

mod audio;
pub mod preflight;
mod replay;
mod rtp_times;
pub mod tls;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gstreamer::{self as gst, glib, prelude::*};
use tokio::task::JoinHandle;

use super::{Source, Sources};
use crate::{
    base::{WallUs, error::Chain, threads::on_thread},
    media::{
        Error, bus, gstlog,
        text::{self, Texts},
        units,
    },
    model::{
        pipeline::{Play, Purpose, SourceSettings},
        segment::{AudioCodec, Codec},
        source::{SourceEvent, UnitSink},
        status::{StreamError, StreamErrorKind},
        unit::{Damage, VideoFormat},
    },
};
use audio::Sound;
use preflight::Described;

/// rtspsrc before 1.26.7 sends no RTSP keep-alive over TCP while data flows, and some cameras then end the session.
/// Session timeouts are 60 s by default and 10 s at the shortest that was seen, so this is well below half of most.
const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// Requests before the first frame: OPTIONS, DESCRIBE twice, SETUP of each stream, PLAY. rtspsrc follows a redirect
/// to itself a thousand times a second for ever; this ends it.
const REQUESTS_BEFORE_PLAY: u32 = 24;

/// From 1900, where NTP begins, to 1970, in microseconds (RFC 3550, 4).
const NTP_EPOCH_US: i64 = 2_208_988_800_000_000;

/// One session by rtspsrc.
#[derive(Debug)]
pub(super) struct RtspsrcSource {
    shared: Arc<Shared>,
    /// Asks, opens the pipeline, and keeps the session alive.
    task: JoinHandle<()>,
}

struct Shared {
    texts: Texts,
    owner: String,
    sink: Arc<dyn UnitSink>,
    closing: AtomicBool,
    /// Held while the pipeline is being made, so that a stop never overtakes it.
    pipeline: Mutex<Option<gst::Pipeline>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl RtspsrcSource {
    /// Begins to open a stream; what comes of it goes to `sink`. `fallback` says why the native source was left.
    pub(super) fn open(
        sources: &Sources,
        settings: SourceSettings,
        owner: String,
        fallback: Option<String>,
        sink: Arc<dyn UnitSink>,
    ) -> Self {
        let shared = Arc::new(Shared {
            texts: sources.texts.clone(),
            owner,
            sink,
            closing: AtomicBool::new(false),
            pipeline: Mutex::new(None),
        });
        let task = sources.runtime.spawn(shared.clone().run(settings, fallback));
        Self { shared, task }
    }
}

impl Source for RtspsrcSource {
    fn damage(&self) -> Damage {
        Damage::default()
    }

    fn dot(&self) -> Option<String> {
        // Without parameters: those hold addresses and passwords.
        let details = gst::DebugGraphDetails::MEDIA_TYPE | gst::DebugGraphDetails::STATES;
        Some(self.shared.lock().as_ref()?.debug_to_dot_data(details).to_string())
    }

    fn close(&self) {
        self.shared.closing.store(true, Relaxed);
        self.task.abort();
        let Some(pipeline) = self.shared.lock().take() else { return };
        if pipeline.set_state(gst::State::Null).is_err() {
            tracing::error!("the pipeline did not stop");
        }
        if let Some(bus) = pipeline.bus() {
            bus.unset_sync_handler();
        }
        gstlog::disown(&pipeline);
    }
}

impl Drop for RtspsrcSource {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<gst::Pipeline>> {
        self.pipeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, error: StreamError) {
        self.sink.event(SourceEvent::Lost(error));
    }

    async fn run(self: Arc<Self>, mut settings: SourceSettings, fallback: Option<String>) {
        let mut described = match preflight::describe(&settings).await {
            Ok(described) => described,
            Err(error) => return self.lost(error),
        };
        described.description.fallback = fallback;
        described.settle(&mut settings);
        self.sink.event(SourceEvent::Described(Box::new(described.description.clone())));
        let shared = self.clone();
        let opened = on_thread(&format!("open {}", self.owner), move || shared.play(&settings, &described));
        let internal = |detail: String| StreamError::new(StreamErrorKind::Internal, detail);
        let src = match opened {
            Ok(opened) => match opened.await {
                Ok(Ok(Some(src))) => src,
                // Closed meanwhile.
                Ok(Ok(None)) => return,
                Ok(Err(error)) => return self.lost(internal(Chain(&error).to_string())),
                Err(_) => return self.lost(internal("the opening thread died".to_owned())),
            },
            Err(error) => return self.lost(internal(format!("cannot start a thread: {error}"))),
        };
        let mut ticks = tokio::time::interval(KEEP_ALIVE);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let Some(src) = src.upgrade() else { return };
            let names = glib::StrV::from(["packets_received"]);
            src.emit_by_name::<bool>("get-parameters", &[&names, &None::<String>, &gst::Promise::new()]);
        }
    }

    /// Makes the pipeline and lets it play; gives its rtspsrc, or `None` if the source was closed meanwhile. Blocks for
    /// milliseconds: connecting goes on after it returned.
    fn play(
        self: Arc<Self>,
        settings: &SourceSettings,
        described: &Described,
    ) -> Result<Option<glib::WeakRef<gst::Element>>, Error> {
        let mut slot = self.lock();
        if self.closing.load(Relaxed) {
            return Ok(None);
        }
        let codec = described.description.codec;
        let purpose =
            if settings.play == Play::Live { Purpose::Record(codec) } else { Purpose::Replay(codec) };
        let pipeline = self.texts.pipeline(purpose, &settings.bindings())?;
        for branch in ["split", "segments"] {
            let element = text::named(&pipeline, purpose, branch)?;
            pipeline
                .remove(&element)
                .map_err(|_| Error::Refused("take the record branch out of its text"))?;
        }
        let src = text::named(&pipeline, purpose, "src")?;
        let playing = Arc::new(AtomicBool::new(false));
        self.take_units(&pipeline, purpose, settings, playing.clone())?;
        let audio = described.description.audio;
        select_streams(&src, codec, audio);
        let of = self.clone();
        guard_requests(&src, settings, described.session_control.clone(), playing, move |error| {
            of.lost(error)
        });
        if let Some(pinned) = &settings.tls_fingerprint {
            let of = self.clone();
            tls::guard(&src, pinned, move |changed| of.lost(changed))?;
        }
        let sound = audio
            .map(|codec| Sound::beside(&pipeline, &self.texts, codec, &src, self.sink.clone()))
            .transpose()?;
        gstlog::own(&pipeline, &self.owner);
        let bus = pipeline.bus().ok_or(Error::Refused("find the pipeline's bus"))?;
        let of = self.clone();
        bus.set_sync_handler(move |_, message| {
            let Some(error) = bus::loss(message) else { return gst::BusSyncReply::Drop };
            if sound.as_ref().is_some_and(|sound| sound.owns(message)) {
                let detail = &error.detail;
                tracing::warn!(camera.id = of.owner, "the sound failed, the pictures go on: {detail}");
            } else {
                of.lost(error);
            }
            gst::BusSyncReply::Drop
        });
        if let Play::OnvifReplay(range) = settings.play {
            replay::seek(&pipeline, purpose, range)?;
        }
        // Kept even if it does not start, so that a stop takes it down.
        let pipeline = slot.insert(pipeline);
        pipeline.set_state(gst::State::Playing).map_err(|_| Error::Refused("start the pipeline"))?;
        Ok(Some(src.downgrade()))
    }

    /// Takes every access unit where it leaves the parser; nothing goes on from there.
    fn take_units(
        self: &Arc<Self>,
        pipeline: &gst::Pipeline,
        purpose: Purpose,
        settings: &SourceSettings,
        playing: Arc<AtomicBool>,
    ) -> Result<(), Error> {
        let pad = |name, pad| {
            let found = text::named(pipeline, purpose, name)?.static_pad(pad);
            found.ok_or(Error::Refused("find the pads of depayloader and parser"))
        };
        let rtp_times = rtp_times::watch(&pad("depay", "sink")?);
        let absolute = matches!(settings.play, Play::OnvifReplay(_));
        let of = self.clone();
        let mut format: Option<Arc<VideoFormat>> = None;
        let take = Mutex::new(move |info: &mut gst::PadProbeInfo| match info.data.take() {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                playing.store(true, Relaxed);
                let Some(format) = &format else { return gst::PadProbeReturn::Drop };
                let rtp = rtp_times.of(buffer.pts());
                // In a replay by ONVIF the time of each packet stands in its header extension, and becomes its PTS.
                let camera = if absolute { absolute_time(&buffer) } else { reported_time(&buffer) };
                if let Some(unit) = units::access_unit(buffer, format, rtp, camera, Instant::now()) {
                    let pause = of.sink.video(unit);
                    if !pause.is_zero() {
                        std::thread::park_timeout(pause);
                    }
                }
                gst::PadProbeReturn::Drop
            }
            Some(gst::PadProbeData::Event(event)) => {
                match event.view() {
                    gst::EventView::Caps(caps) => {
                        // Damaged parameter sets leave the parser without; the next good ones change it.
                        if let Some(new) = units::video_format(caps.caps())
                            && format.as_deref() != Some(&new)
                        {
                            format = Some(Arc::new(new));
                        }
                    }
                    gst::EventView::Eos(_) => of.lost(bus::ended()),
                    _ => {}
                }
                info.data = Some(gst::PadProbeData::Event(event));
                gst::PadProbeReturn::Ok
            }
            data => {
                info.data = data;
                gst::PadProbeReturn::Ok
            }
        });
        let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad("units", "src")?
            .add_probe(types, move |_, info| (*take.lock().unwrap_or_else(PoisonError::into_inner))(info));
        Ok(())
    }
}

/// The camera's own time of a frame: rtspsrc attaches it once sender reports have come, in nanoseconds of NTP
/// (RFC 3550, 6.4.1), to all frames but those that a parser put together.
fn reported_time(buffer: &gst::BufferRef) -> Option<WallUs> {
    let metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    let ntp = metas
        .into_iter()
        .find(|meta| meta.reference().structure(0).is_some_and(|of| of.name() == "timestamp/x-ntp"))?;
    let us = i64::try_from(ntp.timestamp().useconds()).ok()?;
    Some(WallUs(us - NTP_EPOCH_US))
}

fn absolute_time(buffer: &gst::BufferRef) -> Option<WallUs> {
    let us = i64::try_from(buffer.pts()?.useconds()).ok()?;
    Some(WallUs(us - NTP_EPOCH_US))
}

/// Only the first stream of each kind that is recorded is set up. A camera's other streams cost bandwidth, and ONVIF metadata
/// that never sends anything would hold `no-more-pads` back. rtspsrc asks again for the same streams when it goes from UDP to
/// TCP.
fn select_streams(src: &gst::Element, codec: Codec, audio: Option<AudioCodec>) {
    let (pictures, sounds) = (OnceLock::new(), OnceLock::new());
    src.connect("select-stream", false, move |values| {
        let number = values.get(1)?.get::<u32>().ok()?;
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        let structure = caps.structure(0)?;
        let is =
            |field, word| structure.get::<&str>(field).is_ok_and(|value| value.eq_ignore_ascii_case(word));
        let picture = is("media", "video") && is("encoding-name", codec.rtp_name());
        let sound = audio.is_some_and(|audio| is("media", "audio") && is("encoding-name", audio.rtp_name()));
        let chosen = if picture { &pictures } else { &sounds };
        // A track that the camera wants to receive is no sound of its own.
        let back = structure.has_field("a-sendonly");
        Some(((picture || sound) && !back && *chosen.get_or_init(|| number) == number).to_value())
    });
}

/// Stops rtspsrc from sending a request anywhere else than to the address that was asked before, and from asking for ever.
fn guard_requests(
    src: &gst::Element,
    settings: &SourceSettings,
    session_control: Option<String>,
    playing: Arc<AtomicBool>,
    lost: impl Fn(StreamError) + Send + Sync + 'static,
) {
    let asked = AtomicU32::new(0);
    let wanted = settings.url.as_str().to_owned();
    src.connect("before-send", false, move |values| {
        let src = values.first()?.get::<gst::Element>().ok()?;
        // Everything after the first frame is keep-alive and TEARDOWN.
        if playing.load(Relaxed) {
            return Some(true.to_value());
        }
        let location = src.property::<Option<String>>("location").unwrap_or_default();
        let stray = location != wanted && session_control.as_ref() != Some(&location);
        let allowed = !stray && asked.fetch_add(1, Relaxed) < REQUESTS_BEFORE_PLAY;
        if !allowed {
            let detail = if stray {
                "the camera redirects to another address"
            } else {
                "the camera asks for one request after another and never plays"
            };
            lost(StreamError::new(StreamErrorKind::Redirected, detail));
        }
        Some(allowed.to_value())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{address::StreamUrl, camera::Transport};

    #[test]
    fn the_first_video_stream_is_chosen_again_when_the_transport_changes() {
        gst::init().unwrap();
        let url = StreamUrl::parse("rtsp://192.0.2.7/x").unwrap();
        let settings = SourceSettings { transport: Transport::Auto, ..SourceSettings::new(url) };
        let purpose = Purpose::Record(Codec::H265);
        let pipeline = Texts::default().pipeline(purpose, &settings.bindings()).unwrap();
        let src = text::named(&pipeline, purpose, "src").unwrap();
        select_streams(&src, Codec::H265, None);
        let caps = |media, encoding| {
            gst::Caps::builder("application/x-rtp")
                .field("media", media)
                .field("encoding-name", encoding)
                .build()
        };
        let streams = [caps("video", "H264"), caps("video", "H265"), caps("video", "H265")];
        for _ in 0..2 {
            let chosen: Vec<bool> = (0u32..)
                .zip(&streams)
                .map(|(n, caps)| src.emit_by_name("select-stream", &[&n, caps]))
                .collect();
            assert_eq!(chosen, [false, true, false]);
        }
    }
}
