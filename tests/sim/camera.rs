//! A camera: one or two streams over RTSP, with its power switch, its password and its whims.
//!
//! ```text
//! let camera = SimCamera::start(CameraSpec::new("front"))?;
//! // … record camera.url(Channel::Main) …
//! camera.kill()?;
//! camera.revive()?;
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use gstreamer_rtsp_server::RTSPAuth;
use gstreamer_rtsp_server::prelude::*;

use super::audio::{Audio, AudioFeed, Mode};
use super::background::{Background, free_port};
use super::feed::{Epoch, Feed, Journal, Paced, Sent, VIDEO_TICKS_PER_S};
use super::footage::{Encoding, Source};
use super::harm::{Harm, Reports};
use super::server::{self, Admits, Asks, Mount, Mounts, Server, Udp};
use super::storage::{Card, Storage};
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
    /// With it the camera records its main stream itself, and gives it away by ONVIF and by URLs with start and end.
    pub storage: Option<Storage>,
    /// With it the camera speaks TLS only, but for its storage.
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
            storage: None,
            certificate: None,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            journal: Journal::default(),
        }
    }
}

/// A camera's storage with its doors.
struct Depot {
    card: Arc<Card>,
    onvif: SocketAddr,
    replay: SocketAddr,
    /// None while the camera is off.
    doors: Mutex<Vec<Background>>,
}

impl Depot {
    fn open(card: Card, address: IpAddr) -> anyhow::Result<Depot> {
        let (onvif, replay) = (free_port(address)?, free_port(address)?);
        let card = Arc::new(card);
        let (onvif_at, replay_at) = (onvif.local_addr()?, replay.local_addr()?);
        let doors = Depot::serve(onvif, replay, &card)?;
        Ok(Depot { card, onvif: onvif_at, replay: replay_at, doors: Mutex::new(doors) })
    }

    fn serve(onvif: TcpListener, replay: TcpListener, card: &Arc<Card>) -> anyhow::Result<Vec<Background>> {
        let at = replay.local_addr()?;
        Ok(vec![super::onvif::open(onvif, at, card)?, super::replay::open(replay, card)?])
    }

    fn close(&self) {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn open_again(&self) -> anyhow::Result<()> {
        let again = |at| {
            let listener = TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))?;
            listener.set_nonblocking(true)?;
            anyhow::Ok(listener)
        };
        let doors = Depot::serve(again(self.onvif)?, again(self.replay)?, &self.card)?;
        *self.doors.lock().unwrap_or_else(PoisonError::into_inner) = doors;
        Ok(())
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
    login: Arc<Mutex<Option<Login>>>,
    port: u16,
    server: Arc<Mutex<Option<Server>>>,
    admits: Option<Admits>,
    storage: Option<Depot>,
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
        let login = Arc::new(Mutex::new(spec.login.clone()));
        let live: Vec<_> = [Some(main.clone()), sub.clone()].into_iter().flatten().collect();
        let server = Arc::new(Mutex::new(None::<Server>));
        let weakly = Arc::downgrade(&server);
        let close_live = Box::new(move || {
            if let Some(server) = weakly.upgrade() {
                let server = server.lock().unwrap_or_else(PoisonError::into_inner);
                server.as_ref().into_iter().for_each(Server::disconnect);
            }
        });
        let storage = spec
            .storage
            .clone()
            .map(|kept| Depot::open(Card::new(kept, live, login.clone(), close_live), spec.address))
            .transpose()?;
        let admits = storage.as_ref().map(|storage| {
            let card = storage.card.clone();
            Arc::new(move || card.admits_live()) as Admits
        });
        let opened = Server::open(spec.address, spec.port, &mounts, auth.as_ref(), admits.as_ref())?;
        let port = opened.port();
        *server.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        let (pace, stop) = mpsc::channel();
        let mut feeds: Vec<Arc<dyn Paced>> = vec![main.clone()];
        feeds.extend(sub.clone().map(|sub| sub as Arc<dyn Paced>));
        feeds.extend(sound.clone().map(|sound| sound as Arc<dyn Paced>));
        let pacer = std::thread::Builder::new()
            .name(format!("sim-pace-{port}"))
            .spawn(move || run(feeds, &stop))
            .context("cannot start the pacing thread")?;
        let camera = SimCamera {
            login,
            spec,
            main,
            sub,
            sound,
            mounts,
            auth,
            port,
            server,
            admits,
            storage,
            pace: Some(pace),
            pacer: Some(pacer),
        };
        camera.report(camera.spec.reports);
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

    /// What sender reports say from now on. They tell the time of the camera's one clock: where that is off, so is all
    /// that a storage says of times, of the past too. Without reports it goes on as it did.
    pub(crate) fn report(&self, reports: Reports) {
        self.harms().for_each(|harm| harm.report(reports));
        let card = self.storage.iter().map(|storage| &storage.card);
        match reports {
            Reports::True => card.for_each(|card| card.set_clock_off(0)),
            Reports::Off { seconds } => card.for_each(|card| card.set_clock_off(seconds.into())),
            Reports::Missing => (),
        }
    }

    /// The storage.
    ///
    /// # Panics
    /// If it was started without one.
    pub(crate) fn storage(&self) -> &Arc<Card> {
        &self.depot().card
    }

    /// Port of its ONVIF services; panics without a storage, as the following do.
    pub(crate) fn onvif_port(&self) -> u16 {
        self.depot().onvif.port()
    }

    /// Port of its replay server.
    pub(crate) fn replay_port(&self) -> u16 {
        self.depot().replay.port()
    }

    /// Address of the ONVIF replay, as `GetReplayUri` tells it.
    pub(crate) fn replay_url(&self) -> String {
        super::replay::replay_url(self.depot().replay)
    }

    /// Address of a range in a vendor's way; microseconds since 1970 in the camera's clock, cut to seconds.
    pub(crate) fn vendor_url(&self, from_us: u64, to_us: u64) -> String {
        super::replay::vendor_url(self.depot().replay, from_us, to_us)
    }

    fn depot(&self) -> &Depot {
        self.storage.as_ref().expect("a camera with storage")
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
        // First: they may want to close live sessions.
        self.storage.iter().for_each(Depot::close);
        self.server().take().map_or(Ok(()), Server::close)
    }

    /// Power on again, on the same port; frames went on being numbered meanwhile.
    ///
    /// # Errors
    /// If somebody else has taken the port.
    pub(crate) fn revive(&self) -> anyhow::Result<()> {
        let mut server = self.server();
        if server.is_none() {
            let (auth, admits) = (self.auth.as_ref(), self.admits.as_ref());
            *server = Some(Server::open(self.spec.address, self.port, &self.mounts, auth, admits)?);
            self.storage.iter().try_for_each(Depot::open_again)?;
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
        // Its clients' handlers know the storage, whose doors know the server.
        self.storage.iter().for_each(Depot::close);
        drop(self.server().take());
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
