//! A camera that follows a script: RTSP and RTP by hand, independent of the product's receiver and of every RTSP library,
//! with the deviations of real cameras to order ([`quirk::Quirk`]).
//!
//! Like the other simulated cameras it numbers its frames inside the bitstream. A session begins with a keyframe at once;
//! numbers go on over all sessions, and none comes twice.

mod answer;
mod attack;
mod connection;
mod description;
pub(crate) mod login;
mod media;
mod payload;
mod pictures;
pub(crate) mod quirk;
mod stream;
pub(crate) mod tracks;
mod transport;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::background::{Background, free_port};
use super::feed::Journal;
use super::nal::Codec;
use login::LoginOffer;
pub(crate) use pictures::Clip;
use pictures::Pictures;
use quirk::Quirk;
use tracks::SoundTrack;

const VIDEO_TYPE: u8 = 96;
/// Small, so that even a small picture has several packets.
const PAYLOAD_BYTES: usize = 500;
/// As on Ethernet.
pub(crate) const ETHERNET_PAYLOAD_BYTES: usize = 1400;

/// What kind of camera.
#[derive(Debug, Clone)]
pub(crate) struct ScriptedSpec {
    /// Its name in the journal.
    pub name: String,
    /// With a leading slash.
    pub path: String,
    pub clip: Clip,
    /// Sound tracks, in the order of the description.
    pub sound: Vec<SoundTrack>,
    pub login: Option<LoginOffer>,
    pub quirks: Vec<Quirk>,
    /// Seconds without a request after which a session ends.
    pub session_timeout_s: u32,
    /// The packets of a picture are spread over its time, as real cameras do; else they come at once.
    pub paced: bool,
    /// Payloads of the video are at most so long.
    pub payload_bytes: usize,
    pub address: IpAddr,
    /// 0 for any free port.
    pub port: u16,
    pub journal: Journal,
}

impl ScriptedSpec {
    /// A small open H.264 camera on loopback that does nothing unusual.
    pub(crate) fn new(name: impl Into<String>) -> ScriptedSpec {
        ScriptedSpec {
            name: name.into(),
            path: "/live".to_owned(),
            clip: Clip::small(Codec::H264),
            sound: Vec::new(),
            login: None,
            quirks: Vec::new(),
            session_timeout_s: 60,
            paced: false,
            payload_bytes: PAYLOAD_BYTES,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            journal: Journal::default(),
        }
    }

    /// The same with these deviations.
    pub(crate) fn with(name: impl Into<String>, quirks: impl Into<Vec<Quirk>>) -> ScriptedSpec {
        ScriptedSpec { quirks: quirks.into(), ..ScriptedSpec::new(name) }
    }
}

/// A picture that was sent as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentPicture {
    /// Counts connections from 1.
    pub connection: usize,
    /// Frame number.
    pub number: u64,
    /// Decoding may begin here.
    pub entry: bool,
    /// Something of it was lost or altered on its way, by order.
    pub damaged: bool,
    /// As [`super::frames::pictures_in`] gives it: of all its NAL units but parameter sets.
    pub hash: String,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Counts connections from 1.
    pub connection: usize,
    pub at: Instant,
    pub method: String,
    pub url: String,
    /// Value of the header.
    pub authorization: Option<String>,
    /// Status code of the answer; empty if there was none.
    pub answered: &'static str,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    open: usize,
    most_open: usize,
    /// Connections on which PLAY was answered well.
    plays: Vec<usize>,
    requests: Vec<Request>,
    sent: Vec<SentPicture>,
    sound_seconds: f64,
    /// Of the next picture.
    next: u64,
    /// Counts requests that were let in.
    nonces: u64,
}

/// A camera as its connections see it.
struct Shared {
    spec: ScriptedSpec,
    pictures: Arc<Pictures>,
    /// Payloads of each sound track.
    payloads: Vec<Vec<Vec<u8>>>,
    at: SocketAddr,
    epoch: Instant,
    seen: Mutex<Seen>,
}

impl Shared {
    fn has(&self, quirk: &Quirk) -> bool {
        self.spec.quirks.contains(quirk)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a new session begins: at the next point of entry that was not sent yet.
    fn first_picture(&self) -> u64 {
        let due = self.epoch.elapsed().as_millis() as u64 * u64::from(self.pictures.fps) / 1000;
        let from = due.max(self.seen().next);
        (from..).find(|sent| self.pictures.at(*sent).0.entry).expect("clips have points of entry")
    }
}

/// A running camera. Dropping it closes everything.
pub(crate) struct ScriptedCamera {
    shared: Arc<Shared>,
    _background: Arc<Background>,
}

impl ScriptedCamera {
    /// Starts a camera; blocks for some seconds if the clip was never encoded on this machine.
    ///
    /// # Errors
    /// If the clip cannot be encoded or the port is taken.
    pub(crate) fn start(spec: ScriptedSpec) -> anyhow::Result<ScriptedCamera> {
        let mut started = ScriptedCamera::start_all(vec![spec])?;
        started.pop().context("one was asked for")
    }

    /// Starts cameras that share a thread.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_all(specs: Vec<ScriptedSpec>) -> anyhow::Result<Vec<ScriptedCamera>> {
        let (mut cameras, mut listeners) = (Vec::new(), Vec::new());
        for spec in specs {
            let listener = match spec.port {
                0 => free_port(spec.address)?,
                port => {
                    let listener = std::net::TcpListener::bind((spec.address, port))
                        .with_context(|| format!("cannot listen on port {port}"))?;
                    listener.set_nonblocking(true)?;
                    listener
                }
            };
            let shared = Arc::new(Shared {
                pictures: pictures(&spec)?,
                payloads: spec.sound.iter().map(SoundTrack::payloads).collect::<anyhow::Result<_>>()?,
                at: listener.local_addr()?,
                epoch: Instant::now(),
                seen: Mutex::default(),
                spec,
            });
            listeners.push((listener, shared.clone()));
            cameras.push(shared);
        }
        let name = format!("sim-scripted-{}", cameras.first().map_or(0, |camera| camera.at.port()));
        let background = Background::start(&name, move || async move {
            let mut servers = JoinSet::new();
            for (listener, shared) in listeners {
                let listener = TcpListener::from_std(listener).expect("a non-blocking listener in a runtime");
                servers.spawn(serve(listener, shared));
            }
            while servers.join_next().await.is_some() {}
        })?;
        let background = Arc::new(background);
        let running = |shared| ScriptedCamera { shared, _background: background.clone() };
        Ok(cameras.into_iter().map(running).collect())
    }

    /// The name given to it.
    pub(crate) fn name(&self) -> &str {
        &self.shared.spec.name
    }

    /// What it was started as.
    pub(crate) fn spec(&self) -> &ScriptedSpec {
        &self.shared.spec
    }

    /// Language of its pictures.
    pub(crate) fn codec(&self) -> Codec {
        self.shared.pictures.codec
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.shared.at.port()
    }

    /// Its address, without credentials.
    pub(crate) fn url(&self) -> String {
        format!("rtsp://{}{}", self.shared.at, self.shared.spec.path)
    }

    /// Pictures that were sent as a whole, in the order of sending. Empty unless the journal is [`Journal::Memory`].
    pub(crate) fn sent(&self) -> Vec<SentPicture> {
        self.shared.seen().sent.clone()
    }

    /// How many of them there are.
    pub(crate) fn sent_count(&self) -> usize {
        self.shared.seen().sent.len()
    }

    /// Seconds of sound that were sent, over all tracks.
    pub(crate) fn sound_seconds(&self) -> f64 {
        self.shared.seen().sound_seconds
    }

    /// All requests, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.seen().requests.clone()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.seen().connections
    }

    /// The most connections that were open at once.
    pub(crate) fn most_connections(&self) -> usize {
        self.shared.seen().most_open
    }

    /// Sessions that began to play.
    pub(crate) fn sessions(&self) -> usize {
        self.shared.seen().plays.len()
    }

    /// Log-ins that were refused: requests with credentials that were answered with 401.
    pub(crate) fn refused_log_ins(&self) -> usize {
        let seen = self.shared.seen();
        let refused = |request: &&Request| request.authorization.is_some() && request.answered == "401";
        seen.requests.iter().filter(refused).count()
    }
}

fn pictures(spec: &ScriptedSpec) -> anyhow::Result<Arc<Pictures>> {
    let alters = [Quirk::HugePicture, Quirk::NoFrameRate];
    if !alters.iter().any(|quirk| spec.quirks.contains(quirk)) {
        return Pictures::load(spec.clip);
    }
    Pictures::with_parameter_sets(spec.clip, |codec, fps, unit| {
        attack::altered(codec, fps, unit, &spec.quirks)
    })
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection::talk(stream, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => (),
        }
    }
}
