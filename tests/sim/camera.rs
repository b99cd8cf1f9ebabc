//! A camera: one or two H.264 streams over RTSP, with its power switch, its password and its whims.
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

use super::feed::{Epoch, Feed, Journal, Sent};
use super::footage::{Encoding, Source};
use super::server::{self, Mounts, Server};

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
    /// With it the camera wants Digest authentication.
    pub login: Option<Login>,
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
            login: None,
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
        let auth = spec.login.as_ref().map(|login| server::digest_auth(&login.user, &login.password));
        let server = Server::open(spec.address, spec.port, &mounts(&main, sub.as_ref()), auth.as_ref())?;
        let (pace, stop) = mpsc::channel();
        let feeds = [Some(main.clone()), sub.clone()].into_iter().flatten().collect();
        let pacer = std::thread::Builder::new()
            .name(format!("sim-pace-{}", server.port()))
            .spawn(move || run(feeds, &stop))
            .context("cannot start the pacing thread")?;
        Ok(SimCamera {
            login: Mutex::new(spec.login.clone()),
            spec,
            main,
            sub,
            auth,
            port: server.port(),
            server: Mutex::new(Some(server)),
            pace: Some(pace),
            pacer: Some(pacer),
        })
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
        format!("rtsp://{}:{}/{path}", self.spec.address, self.port)
    }

    /// The credentials it wants now.
    pub(crate) fn login(&self) -> Option<Login> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends nothing any more, on either stream, with all connections open. RTSP requests are still answered, but a
    /// new client's DESCRIBE only after [`thaw`](Self::thaw) (or with 503 after 20 s): the server waits for a frame.
    pub(crate) fn freeze(&self) {
        self.feeds().for_each(|feed| feed.set_frozen(true));
    }

    /// Goes on, with the number that is current then.
    pub(crate) fn thaw(&self) {
        self.feeds().for_each(|feed| feed.set_frozen(false));
    }

    /// Encodes the main stream differently from the next keyframe on: new parameter sets in band.
    ///
    /// # Errors
    /// If the footage cannot be encoded, or at another frame rate than before.
    pub(crate) fn set_encoding(&self, encoding: Encoding) -> anyhow::Result<()> {
        if encoding.fps != self.spec.main.fps {
            bail!("frame numbers are times: the rate cannot change from {} per second", self.spec.main.fps);
        }
        self.main.set_footage(encoding.footage()?);
        Ok(())
    }

    /// Moves RTP time by so many milliseconds, forth or back, for all frames from now on.
    pub(crate) fn jump_timestamps(&self, by_ms: i64) {
        self.feeds().for_each(|feed| feed.jump_timestamps(by_ms));
    }

    /// Wants another password from now on. A client that plays is not thrown out until its next request.
    ///
    /// # Errors
    /// If the camera was started without a login.
    pub(crate) fn set_password(&self, password: &str) -> anyhow::Result<()> {
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(auth), Some(login)) = (&self.auth, login.as_mut()) else { bail!("an open camera") };
        server::set_password(auth, &login.user, password);
        login.password = password.to_owned();
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
            let mounts = mounts(&self.main, self.sub.as_ref());
            *server = Some(Server::open(self.spec.address, self.port, &mounts, self.auth.as_ref())?);
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

fn mounts(main: &Arc<Feed>, sub: Option<&Arc<Feed>>) -> Mounts {
    let mut mounts = vec![("/main", main.clone()), ("/cam", main.clone())];
    mounts.extend(sub.map(|sub| ("/sub", sub.clone())));
    mounts
}

/// Sends each frame when it is due, until the camera is dropped. After a pause of the whole machine it sends what
/// was missed at once: a frame is never skipped.
fn run(feeds: Vec<Arc<Feed>>, stop: &mpsc::Receiver<()>) {
    while let Some((due, feed)) = feeds.iter().map(|feed| (feed.due(), feed)).min_by_key(|(due, _)| *due) {
        match stop.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(mpsc::RecvTimeoutError::Timeout) => feed.send_next(),
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}
