//! The seam between whatever produces access units and everything that uses them. Today that is rtspsrc with
//! depayloader and parser; a lighter source can stand beside it without touching a branch.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use gstreamer::{self as gst, glib, prelude::*};

use super::{
    Error,
    sound::{Sound, Zero},
    text::{self, Texts},
};
use crate::model::{
    pipeline::{Purpose, SourceSettings},
    segment::{AudioCodec, Codec},
    status::{StreamError, StreamErrorKind},
};

/// What a session needs of a source of access units.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The pad that access units leave: H.264 as `avc`, H.265 as `hvc1`, one picture a buffer, times in PTS.
    fn units(&self) -> &gst::Pad;

    /// What comes with the access units.
    fn sourced(&self) -> Sourced;

    /// Says to the camera that somebody is still there. Call it every [`KEEP_ALIVE`].
    fn keep_alive(&self);
}

/// Which streams of a camera are wanted.
pub type Streams = (Codec, Option<AudioCodec>);

/// What comes with the access units.
#[derive(Clone, Debug, Default)]
pub struct Sourced {
    /// The camera's own times of the access units that are passing, in 90 kHz ticks of RTP.
    pub rtp_times: RtpTimes,
    /// When the timeline began.
    pub zero: Zero,
    /// The sound that is wanted with them.
    pub sound: Option<Sound>,
}

/// RTP times of the access units that are passing, by their PTS: all packets of a picture share both.
#[derive(Clone, Debug, Default)]
pub struct RtpTimes(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    by_pts: VecDeque<(gst::ClockTime, u32)>,
    last: Option<u32>,
}

/// Pictures between the depayloader and the recorder: one or two, and a few more for luck.
const RTP_TIMES: usize = 32;
/// Where the timestamp stands in an RTP header (RFC 3550, 5.1), in bytes.
const RTP_TIME_AT: usize = 4;

impl RtpTimes {
    /// The RTP time of the access unit with this PTS. Under load rtspsrc lets packets through without one; such a
    /// picture has the time of the packet that was last, because the depayloader gives a picture on with its last
    /// packet, in the same thread.
    pub fn of(&self, pts: Option<gst::ClockTime>) -> Option<u32> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match pts {
            Some(pts) => noted.by_pts.iter().rev().find(|(of, _)| *of == pts).map(|(_, rtp)| *rtp),
            None => noted.last,
        }
    }

    pub(super) fn note(&self, packet: &gst::BufferRef) {
        let Some(rtp) = rtp_time(packet) else { return };
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.last.replace(rtp) == Some(rtp) && noted.by_pts.back().map(|(pts, _)| *pts) == packet.pts() {
            return;
        }
        if let Some(pts) = packet.pts() {
            noted.by_pts.push_back((pts, rtp));
            if noted.by_pts.len() > RTP_TIMES {
                noted.by_pts.pop_front();
            }
        }
    }
}

/// The timestamp of an RTP packet.
pub(super) fn rtp_time(packet: &gst::BufferRef) -> Option<u32> {
    let mut time = [0; 4];
    packet.copy_to_slice(RTP_TIME_AT, &mut time).ok()?;
    Some(u32::from_be_bytes(time))
}

/// rtspsrc before 1.26.7 sends no RTSP keep-alive over TCP while data flows, and some cameras then end the session.
/// Session timeouts are 60 s by default and 10 s at the shortest that was seen, so this is well below half of most.
pub const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// Requests before the first frame: OPTIONS, DESCRIBE twice, SETUP of each stream, PLAY. rtspsrc follows a redirect
/// to itself a thousand times a second for ever; this ends it.
const REQUESTS_BEFORE_PLAY: u32 = 24;

/// rtspsrc, depayloader and parser of a text that has `src` and `units`.
#[derive(Debug)]
pub struct RtspSource {
    src: gst::Element,
    units: gst::Pad,
    sourced: Sourced,
}

impl RtspSource {
    /// Takes the source of `pipeline` in hand. `lost` is called from GStreamer's threads.
    pub fn new(
        pipeline: &gst::Pipeline,
        texts: &Texts,
        purpose: Purpose,
        (codec, audio): Streams,
        settings: &SourceSettings,
        lost: impl Fn(StreamError) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let src = text::named(pipeline, purpose, "src")?;
        let parser = text::named(pipeline, purpose, "units")?;
        let units = parser.static_pad("src").ok_or(Error::Refused("find the pad of the access units"))?;
        let depay = text::named(pipeline, purpose, "depay")?;
        let packets = depay.static_pad("sink").ok_or(Error::Refused("find the pad of the RTP packets"))?;
        let rtp_times = RtpTimes::default();
        let noted = rtp_times.clone();
        let types = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        packets.add_probe(types, move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(packet)) => noted.note(packet),
                Some(gst::PadProbeData::BufferList(packets)) => {
                    packets.iter().for_each(|packet| noted.note(packet))
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
        let lost = Arc::new(lost);
        let playing = Arc::new(AtomicBool::new(false));

        let seen = playing.clone();
        units.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            seen.store(true, Relaxed);
            gst::PadProbeReturn::Remove
        });
        let tell = lost.clone();
        units.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let Some(gst::PadProbeData::Event(event)) = &info.data
                && event.type_() == gst::EventType::Eos
            {
                tell(super::bus::ended());
            }
            gst::PadProbeReturn::Ok
        });

        // Only the first stream of each kind that we record is set up. A camera's other streams cost bandwidth, and ONVIF metadata
        // that never sends anything would hold `no-more-pads` back. It is asked again for the same streams when rtspsrc
        // goes from UDP to TCP.
        let (pictures, sounds) = (OnceLock::new(), OnceLock::new());
        src.connect("select-stream", false, move |values| {
            let number = values.get(1)?.get::<u32>().ok()?;
            let caps = values.get(2)?.get::<gst::Caps>().ok()?;
            let structure = caps.structure(0)?;
            let is = |field, word| {
                structure.get::<&str>(field).is_ok_and(|value| value.eq_ignore_ascii_case(word))
            };
            let picture = is("media", "video") && is("encoding-name", codec.rtp_name());
            let sound =
                audio.is_some_and(|audio| is("media", "audio") && is("encoding-name", audio.rtp_name()));
            let chosen = if picture { &pictures } else { &sounds };
            Some(((picture || sound) && *chosen.get_or_init(|| number) == number).to_value())
        });

        if let Some(pinned) = &settings.tls_fingerprint {
            let tell = lost.clone();
            super::tls::guard(&src, pinned, move |changed| tell(changed))?;
        }

        let asked = AtomicU32::new(0);
        let (wanted, control) = (settings.url.as_str().to_owned(), settings.session_control.clone());
        src.connect("before-send", false, move |values| {
            let src = values.first()?.get::<gst::Element>().ok()?;
            // Everything after the first frame is keep-alive and TEARDOWN.
            if playing.load(Relaxed) {
                return Some(true.to_value());
            }
            let location = src.property::<Option<String>>("location").unwrap_or_default();
            let stray = location != wanted && control.as_ref() != Some(&location);
            let allowed = !stray && asked.fetch_add(1, Relaxed) < REQUESTS_BEFORE_PLAY;
            if !allowed {
                let detail = if stray {
                    "the camera redirects to another address".to_owned()
                } else {
                    "the camera asks for one request after another and never plays".to_owned()
                };
                lost(StreamError { kind: StreamErrorKind::Redirected, detail });
            }
            Some(allowed.to_value())
        });
        let zero = Zero::default();
        let sound =
            audio.map(|codec| Sound::beside(pipeline, texts, codec, &src, zero.clone())).transpose()?;
        Ok(Self { src, units, sourced: Sourced { rtp_times, zero, sound } })
    }
}

impl Source for RtspSource {
    fn units(&self) -> &gst::Pad {
        &self.units
    }

    fn sourced(&self) -> Sourced {
        self.sourced.clone()
    }

    fn keep_alive(&self) {
        let promise = gst::Promise::new();
        let names = glib::StrV::from(["packets_received"]);
        self.src.emit_by_name::<bool>("get-parameters", &[&names, &None::<String>, &promise]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{address::StreamUrl, camera::Transport};

    #[test]
    fn the_first_video_stream_is_chosen_again_when_the_transport_changes() {
        gst::init().unwrap();
        let settings = SourceSettings {
            url: StreamUrl::parse("rtsp://192.0.2.7/x").unwrap(),
            transport: Transport::Auto,
            username: None,
            password: None,
            tls_fingerprint: None,
            allow_basic: false,
            session_control: None,
        };
        let (texts, purpose) = (Texts::default(), Purpose::Probe(Codec::H265));
        let pipeline = texts.pipeline(purpose, &settings.bindings()).unwrap();
        let source =
            RtspSource::new(&pipeline, &texts, purpose, (Codec::H265, None), &settings, |_| {}).unwrap();
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
                .map(|(n, caps)| source.src.emit_by_name("select-stream", &[&n, caps]))
                .collect();
            assert_eq!(chosen, [false, true, false]);
        }
    }
}
