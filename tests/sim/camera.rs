//! A camera: one or two streams over RTSP, with its power switch, its password and its whims.
//!
//! ```text
//! let camera = SimCamera::start(CameraSpec::new("front"))?;
//! // … record camera.url(Channel::Main) …
//! camera.kill()?;
//! camera.revive()?;
//! ```

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use gstreamer_rtsp_server::RTSPAuth;
use gstreamer_rtsp_server::prelude::*;

use super::audio::{Audio, AudioFeed, Mode};
use super::feed::{Epoch, Feed, Journal, Paced, Sent, VIDEO_TICKS_PER_S};
use super::footage::{Encoding, Source};
use super::harm::{Harm, Reports};
use super::server::{self, Asks, Mount, Mounts, Server, Udp};
use super::tls::Certificate;

/// Which of a camera's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// `/main`, also `/cam`.
    Main,
    /// `/sub`.
    Sub,
}

/// Who may look.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// User name.
    pub user: String,
    /// Password in clear.
    pub password: String,
}

/// What kind of camera.
#[derive(Debug, Clone)]
pub(crate) struct CameraSpec {
    /// Its name in the journal.
    pub name: String,
    /// The stream at `/main` and `/cam`.
    pub main: Encoding,
    /// The stream at `/sub`; without one that path is 404.
    pub sub: Option<Encoding>,
    /// A microphone, heard with the main stream.
    pub audio: Option<Audio>,
    /// What its sender reports say.
    pub reports: Reports,
    /// With it the camera wants a password.
    pub login: Option<Login>,
    /// How it asks for it.
    pub asks: Asks,
    /// What becomes of clients that want datagrams.
    pub udp: Udp,
    /// With it the camera speaks TLS only.
    pub certificate: Option<Certificate>,
    /// Where it listens.
    pub address: IpAddr,
    /// 0 for any free port.
    pub port: u16,
    /// Where it notes what it sent.
    pub journal: Journal,
}

impl CameraSpec {
    /// A small open camera on loopback, without a second stream.
    pub(crate) fn new(name: impl Into<String>) -> CameraSpec {
        CameraSpec {
            name: name.into(),
            main: Encoding::small(Source::Cars),
            sub: None,
            audio: None,
            reports: Reports::True,
            login: None,
            asks: Asks::Digest,
            udp: Udp::Works,
            certificate: None,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            journal: Journal::default(),
        }
    }
}

/// A running camera. Dropping it closes everything and joins its threads.
pub(crate) struct SimCamera {
    spec: CameraSpec,
    main: Arc<Feed>,
    sub: Option<Arc<Feed>>,
    sound: Option<Arc<AudioFeed>>,
    mounts: Mounts,
    auth: Option<RTSPAuth>,
    login: Mutex<Option<Login>>,
    port: u16,
    server: Mutex<Option<Server>>,
    /// Dropping it stops the pacing thread.
    pace: Option<mpsc::Sender<()>>,
    pacer: Option<JoinHandle<()>>,
}

impl SimCamera {
    /// Starts a camera; frame 0 is captured now.
    ///
    /// Blocks for some seconds if the footage was never encoded this way on this machine.
    ///
    /// # Errors
    /// If the footage cannot be encoded or the port is taken.
    pub(crate) fn start(spec: CameraSpec) -> anyhow::Result<SimCamera> {
        let main = spec.main.footage()?;
        let sub = spec.sub.map(Encoding::footage).transpose()?;
        #[expect(clippy::disallowed_methods, reason = "the camera has a clock of its own")]
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
        let epoch = Epoch { start: Instant::now(), start_us: u64::try_from(since_1970.as_micros())? };
        let feed = |name, footage| Arc::new(Feed::new(name, epoch, footage, spec.journal.clone()));
        let main = feed(spec.name.clone(), main);
        let sub = sub.map(|footage| feed(format!("{}/sub", spec.name), footage));
        let auth = (spec.login.is_some() || spec.certificate.is_some())
            .then(|| server::auth(spec.login.as_ref().map(|_| spec.asks)));
        if let (Some(auth), Some(login)) = (&auth, &spec.login) {
            server::set_password(auth, &login.user, "", &login.password);
        }
        if let (Some(auth), Some(certificate)) = (&auth, &spec.certificate) {
            auth.set_tls_certificate(Some(&certificate.to_gio()?));
        }
        let sound = spec.audio.map(|audio| AudioFeed::new(epoch, audio, &spec.journal)).transpose()?;
        let sound = sound.map(Arc::new);
        let mut mounts = Mounts::new();
        for path in ["/main", "/cam"] {
            mounts.push(Mount::new(path, &main, spec.main.codec, sound.as_ref().zip(spec.audio), spec.udp));
        }
        if let Some((feed, encoding)) = sub.as_ref().zip(spec.sub) {
            mounts.push(Mount::new("/sub", feed, encoding.codec, None, spec.udp));
        }
        let server = Server::open(spec.address, spec.port, &mounts, auth.as_ref())?;
        let (pace, stop) = mpsc::channel();
        let mut feeds: Vec<Arc<dyn Paced>> = vec![main.clone()];
        feeds.extend(sub.clone().map(|sub| sub as Arc<dyn Paced>));
        feeds.extend(sound.clone().map(|sound| sound as Arc<dyn Paced>));
        let pacer = std::thread::Builder::new()
            .name(format!("sim-pace-{}", server.port()))
            .spawn(move || run(feeds, &stop))
            .context("cannot start the pacing thread")?;
        let camera = SimCamera {
            login: Mutex::new(spec.login.clone()),
            spec,
            main,
            sub,
            sound,
            mounts,
            auth,
            port: server.port(),
            server: Mutex::new(Some(server)),
            pace: Some(pace),
            pacer: Some(pacer),
        };
        camera.harms().for_each(|harm| harm.report(camera.spec.reports));
        Ok(camera)
    }

    /// The name given to it.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The port it listens on, or will again when revived.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Address of a stream, without credentials.
    pub(crate) fn url(&self, channel: Channel) -> String {
        let path = match channel {
            Channel::Main => "main",
            Channel::Sub => "sub",
        };
        let scheme = if self.spec.certificate.is_some() { "rtsps" } else { "rtsp" };
        format!("{scheme}://{}:{}/{path}", self.spec.address, self.port)
    }

    /// The credentials it wants now.
    pub(crate) fn login(&self) -> Option<Login> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends nothing any more, on either stream, with all connections open. RTSP requests are still answered, but a
    /// new client's DESCRIBE only after [`thaw`](Self::thaw) (or with 503 after 20 s): the server waits for a frame.
    pub(crate) fn freeze(&self) {
        self.set_frozen(true);
    }

    /// Goes on, with the number that is current then.
    pub(crate) fn thaw(&self) {
        self.set_frozen(false);
    }

    fn set_frozen(&self, frozen: bool) {
        self.feeds().for_each(|feed| feed.set_frozen(frozen));
        self.sound.iter().for_each(|sound| sound.set_frozen(frozen));
    }

    /// Encodes the main stream differently from the next keyframe on: new parameter sets in band.
    ///
    /// # Errors
    /// If the footage cannot be encoded, or with another frame rate or codec than before.
    pub(crate) fn set_encoding(&self, encoding: Encoding) -> anyhow::Result<()> {
        if encoding.fps != self.spec.main.fps {
            bail!("frame numbers are times: the rate cannot change from {} per second", self.spec.main.fps);
        }
        if encoding.codec != self.spec.main.codec {
            bail!("the description promised {:?}", self.spec.main.codec);
        }
        self.main.set_footage(encoding.footage()?);
        Ok(())
    }

    /// Moves RTP time by so many milliseconds, forth or back, for all packets from now on.
    pub(crate) fn jump_timestamps(&self, by_ms: i64) {
        self.feeds().for_each(|feed| feed.harm.jump(by_ms, VIDEO_TICKS_PER_S));
        self.sound.iter().for_each(|sound| sound.harm.jump(by_ms, sound.ticks_per_s()));
    }

    /// Gives all packets the same RTP time, until `false` is given.
    pub(crate) fn set_equal_timestamps(&self, equal: bool) {
        self.harms().for_each(|harm| harm.set_equal_times(equal));
    }

    /// Overwrites some bytes in so many of a hundred packets, picked at random. Numbers in them are not to be trusted.
    pub(crate) fn corrupt(&self, percent: u32) {
        self.harms().for_each(|harm| harm.corrupt(percent));
    }

    /// Sends NAL units of no length around each frame's stamp.
    pub(crate) fn set_empty_units(&self, on: bool) {
        self.feeds().for_each(|feed| feed.harm.set_empty_units(on));
    }

    /// Makes the next frame of the main stream so many bytes longer, with filler that says nothing.
    pub(crate) fn send_huge_frame(&self, bytes: usize) {
        self.main.fill_next(bytes);
    }

    /// What sender reports say from now on.
    pub(crate) fn report(&self, reports: Reports) {
        self.harms().for_each(|harm| harm.report(reports));
    }

    /// Another mode of the microphone; its times count from now on.
    ///
    /// # Errors
    /// If it has no microphone, or that codec cannot do this.
    pub(crate) fn set_audio(&self, mode: Mode) -> anyhow::Result<()> {
        self.sound.as_ref().context("no microphone")?.set_mode(mode)
    }

    /// Capture times of the beginnings of the sound's packets that were sent, in microseconds since 1970 UTC. Empty
    /// unless the journal is [`Journal::Memory`].
    pub(crate) fn audio_sent_us(&self) -> Vec<u64> {
        self.sound.as_ref().map_or(Vec::new(), |sound| sound.sent_us())
    }

    /// Wants another password from now on. A client that plays is not thrown out until its next request.
    ///
    /// # Errors
    /// If the camera was started without a login.
    pub(crate) fn set_password(&self, password: &str) -> anyhow::Result<()> {
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(auth), Some(login)) = (&self.auth, login.as_mut()) else { bail!("an open camera") };
        server::set_password(auth, &login.user, &login.password, password);
        login.password = password.to_owned();
        Ok(())
    }

    /// Shows another certificate to all who connect from now on.
    ///
    /// # Errors
    /// If the camera was started without one.
    pub(crate) fn set_certificate(&self, certificate: &Certificate) -> anyhow::Result<()> {
        let auth = self.auth.as_ref().filter(|_| self.spec.certificate.is_some());
        auth.context("a camera without TLS")?.set_tls_certificate(Some(&certificate.to_gio()?));
        Ok(())
    }

    /// Power off: all connections closed, the port refused. Nothing happens if it is off already.
    ///
    /// # Errors
    /// If the server does not close within ten seconds.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        self.server().take().map_or(Ok(()), Server::close)
    }

    /// Power on again, on the same port; frames went on being numbered meanwhile.
    ///
    /// # Errors
    /// If somebody else has taken the port.
    pub(crate) fn revive(&self) -> anyhow::Result<()> {
        let mut server = self.server();
        if server.is_none() {
            *server = Some(Server::open(self.spec.address, self.port, &self.mounts, self.auth.as_ref())?);
        }
        Ok(())
    }

    /// Sessions that play a stream now.
    pub(crate) fn sessions(&self, channel: Channel) -> usize {
        self.feed(channel).map_or(0, Feed::sessions)
    }

    /// The most sessions that ever played a stream at once.
    pub(crate) fn max_sessions(&self, channel: Channel) -> usize {
        self.feed(channel).map_or(0, Feed::max_sessions)
    }

    /// TCP connections now.
    pub(crate) fn connections(&self) -> usize {
        self.server().as_ref().map_or(0, Server::connections)
    }

    /// The number that the next frame of a stream will have.
    pub(crate) fn next_number(&self, channel: Channel) -> u64 {
        self.feed(channel).map_or(0, Feed::next_number)
    }

    /// What was sent so far, in order. Empty unless the journal is [`Journal::Memory`].
    pub(crate) fn sent(&self, channel: Channel) -> Vec<Sent> {
        self.feed(channel).map_or(Vec::new(), Feed::sent)
    }

    /// The last frame sent, if any.
    pub(crate) fn last_sent(&self, channel: Channel) -> Option<Sent> {
        self.sent(channel).last().copied()
    }

    fn feed(&self, channel: Channel) -> Option<&Feed> {
        match channel {
            Channel::Main => Some(&self.main),
            Channel::Sub => self.sub.as_deref(),
        }
    }

    fn feeds(&self) -> impl Iterator<Item = &Feed> {
        [self.feed(Channel::Main), self.feed(Channel::Sub)].into_iter().flatten()
    }

    fn harms(&self) -> impl Iterator<Item = &Arc<Harm>> {
        let video = [Some(&self.main), self.sub.as_ref()].into_iter().flatten().map(|feed| &feed.harm);
        video.chain(self.sound.as_ref().map(|sound| &sound.harm))
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SimCamera {
    fn drop(&mut self) {
        drop(self.pace.take());
        if let Some(pacer) = self.pacer.take() {
            // A panic there was printed already.
            drop(pacer.join());
        }
    }
}

/// Sends each frame and each packet of sound when it is due, until the camera is dropped. After a pause of the whole machine it sends what
/// was missed at once: a frame is never skipped.
fn run(feeds: Vec<Arc<dyn Paced>>, stop: &mpsc::Receiver<()>) {
    while let Some((due, feed)) = feeds.iter().map(|feed| (feed.due(), feed)).min_by_key(|(due, _)| *due) {
        match stop.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(mpsc::RecvTimeoutError::Timeout) => feed.send_next(),
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}
