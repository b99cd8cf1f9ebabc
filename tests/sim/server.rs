//! The RTSP server of one camera, from listening to gone.
//!
//! A server object lives from power on to power off; the camera's streams ([`Feed`]) outlive it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::gio;
use gstreamer_rtsp_server::prelude::*;

use super::audio::{Audio, AudioFeed};
use super::background::PORTS;
use super::feed::Feed;
use super::harm::Exit;
use super::nal::Codec;

/// Ports tried before giving up. A taken one is rare.
const PORT_TRIES: usize = 50;
/// So many complaints of GLib are printed.
const COMPLAINTS_MAX: usize = 200;
/// The server needs milliseconds to close; the rest is for a busy machine.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
const CLOSE_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The role that an authenticated client has.
const ROLE: &str = "viewer";

/// A listening server with its thread. Dropping it closes the port and all connections.
pub(crate) struct Server {
    at: SocketAddr,
    server: rtsp::RTSPServer,
    source: glib::Source,
    main_loop: glib::MainLoop,
    thread: Option<JoinHandle<()>>,
    clients: Arc<Clients>,
    mounts: Mounts,
}

/// Which clients of the server are connected, by the address of their object, and where each is served once it has
/// asked for something.
#[derive(Default)]
struct Clients {
    connected: Mutex<HashMap<usize, Option<glib::MainContext>>>,
    changed: Condvar,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Option<glib::MainContext>>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_here(&self, client: usize) -> rtsp::gst_rtsp::RTSPStatusCode {
        if let Some(place) = self.lock().get_mut(&client) {
            *place = glib::MainContext::thread_default();
        }
        rtsp::gst_rtsp::RTSPStatusCode::Ok
    }

    fn gone(&self, client: usize) {
        self.lock().remove(&client);
        self.changed.notify_all();
    }

    /// The server reads a client that another thread closes meanwhile for ever, complaining as fast as it can.
    fn close(&self, client: rtsp::RTSPClient) {
        let place = self.lock().get(&(client.as_ptr() as usize)).cloned().flatten();
        match place {
            Some(place) => place.invoke(move || client.close()),
            None => client.close(),
        }
    }

    /// False if some client is still there after `deadline`.
    fn wait_until_gone(&self, deadline: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), deadline, |left| !left.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }
}

/// What a path shows.
#[derive(Clone)]
pub(crate) struct Mount {
    /// With its slash.
    pub path: &'static str,
    /// The picture.
    pub feed: Arc<Feed>,
    /// The sound.
    pub sound: Option<Arc<AudioFeed>>,
    /// Description of the streams, to be built for each client.
    pub launch: String,
    /// What becomes of datagrams.
    pub udp: Udp,
}

impl Mount {
    /// A path with its streams in the order of their media lines.
    pub(crate) fn new(
        path: &'static str,
        feed: &Arc<Feed>,
        codec: Codec,
        sound: Option<(&Arc<AudioFeed>, Audio)>,
        udp: Udp,
    ) -> Mount {
        let payloader = match codec {
            Codec::H264 => "rtph264pay",
            Codec::H265 => "rtph265pay",
        };
        let (video_at, sound_at) = if sound.is_some_and(|(_, audio)| audio.first) { (1, 0) } else { (0, 1) };
        // The payloader sends what the frames hold: parameter sets stand before each keyframe already.
        let mut launch =
            format!("( appsrc name=feed ! {payloader} name=pay{video_at} pt=96 config-interval=0");
        if let Some((_, audio)) = sound {
            // RTP time is capture time: a silence is seen in it.
            let payloader = audio.voice.payloader();
            launch += &format!(" appsrc name=sound ! {payloader} name=pay{sound_at} perfect-rtptime=false");
        }
        launch += " )";
        Mount { path, feed: feed.clone(), sound: sound.map(|(sound, _)| sound.clone()), launch, udp }
    }
}

/// Everything that a server shows.
pub(crate) type Mounts = Vec<Mount>;

/// Whether one more session may be set up now.
pub(crate) type Admits = Arc<dyn Fn() -> bool + Send + Sync>;

impl Server {
    /// Listens on `address`. Port 0 means any free one. `admits` is asked before each session.
    ///
    /// # Errors
    /// If the port is taken.
    pub(crate) fn open(
        address: IpAddr,
        port: u16,
        mounts: &Mounts,
        auth: Option<&rtsp::RTSPAuth>,
        admits: Option<&Admits>,
    ) -> anyhow::Result<Server> {
        bound_complaints();
        let server = rtsp::RTSPServer::new();
        server.set_address(&address.to_string());
        server.set_auth(auth);
        let threads = rtsp::RTSPThreadPool::new();
        // A thread per client: one that waits for a frozen camera must not block the others.
        threads.set_max_threads(-1);
        server.set_thread_pool(Some(&threads));
        let points = rtsp::RTSPMountPoints::new();
        for mount in mounts {
            points.add_factory(mount.path, factory(mount.clone()));
        }
        server.set_mount_points(Some(&points));
        let clients = Arc::new(Clients::default());
        watch_clients(&server, mounts, &clients, admits);

        let (source, port) = listen(&server, port)?;
        let context = glib::MainContext::new();
        source.attach(Some(&context));
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let running = main_loop.clone();
        let thread = std::thread::Builder::new()
            .name(format!("sim-rtsp-{port}"))
            .spawn(move || {
                let looped = context.with_thread_default(|| running.run());
                looped.expect("a new context belongs to nobody else");
            })
            .context("cannot start the server's thread")?;
        let (at, thread, mounts) = ((address, port).into(), Some(thread), mounts.clone());
        Ok(Server { at, server, source, main_loop, thread, clients, mounts })
    }

    /// Port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.at.port()
    }

    /// TCP connections now.
    pub(crate) fn connections(&self) -> usize {
        self.clients.lock().len()
    }

    /// Closes the port and all connections, and returns when they are closed.
    ///
    /// # Errors
    /// If something is still open after ten seconds.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        let at = self.at;
        let gone = self.shut_down();
        drop(self);
        ensure!(gone, "a client of the simulated camera did not go");
        // The socket closes with the last reference to it, which a client's thread may hold for a moment.
        let deadline = Instant::now() + CLOSE_DEADLINE;
        while TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok() {
            ensure!(Instant::now() < deadline, "port {} of the simulated camera is still open", at.port());
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Closes all connections, and goes on listening.
    pub(crate) fn disconnect(&self) {
        for client in self.server.client_filter(Some(&mut |_, _| rtsp::RTSPFilterResult::Ref)) {
            self.clients.close(client);
        }
    }

    fn shut_down(&mut self) -> bool {
        let Some(thread) = self.thread.take() else { return true };
        self.source.destroy();
        let deadline = Instant::now() + CLOSE_DEADLINE;
        let gone = loop {
            self.disconnect();
            // A DESCRIBE may wait for the first frame of a frozen camera, in a thread that sees no close till then;
            // and another may only just have begun, hence the loop.
            self.mounts.iter().for_each(|mount| mount.feed.fail_waiting());
            if self.clients.wait_until_gone(CLOSE_AGAIN_AFTER) {
                break true;
            }
            if Instant::now() > deadline {
                break false;
            }
        };
        // From inside the loop: a quit before the thread runs it would be lost.
        let main_loop = self.main_loop.clone();
        let quit = glib::idle_source_new(None, glib::Priority::DEFAULT, move || {
            main_loop.quit();
            glib::ControlFlow::Break
        });
        quit.attach(Some(&self.main_loop.context()));
        // A panic there was printed already.
        drop(thread.join());
        gone
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// GStreamer's RTSP server, when a client is closed in the moment in which it is read from, complains as fast as it can
/// for as long as it lives: gigabytes in a minute.
fn bound_complaints() {
    static BOUNDED: Once = Once::new();
    static COMPLAINTS: AtomicUsize = AtomicUsize::new(0);
    BOUNDED.call_once(|| {
        glib::log_set_default_handler(|domain, level, text| {
            if COMPLAINTS.fetch_add(1, Relaxed) < COMPLAINTS_MAX {
                glib::log_default_handler(domain, level, Some(text));
            }
        });
    });
}

/// Binds the wanted port, or a free one below those the kernel gives to outgoing connections: one of those could
/// be lent to somebody else while the camera is dead, and could then not be opened again.
fn listen(server: &rtsp::RTSPServer, port: u16) -> anyhow::Result<(glib::Source, u16)> {
    for _ in 0..PORT_TRIES {
        let wanted = if port == 0 { rand::random_range(PORTS) } else { port };
        server.set_service(&wanted.to_string());
        match server.create_source(None::<&gio::Cancellable>) {
            Ok(source) => return Ok((source, wanted)),
            Err(_) if port == 0 => (),
            Err(error) => return Err(error).with_context(|| format!("cannot listen on port {port}")),
        }
    }
    bail!("no free port in {PORT_TRIES} tries")
}

/// How a camera asks for a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Asks {
    /// Digest only.
    #[default]
    Digest,
    /// Basic only.
    Basic,
    /// The client has the choice.
    Both,
}

/// What becomes of a client that wants datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Udp {
    /// They come.
    #[default]
    Works,
    /// It is told so: 461 to SETUP.
    Refused,
    /// They are promised, and none arrives.
    Lost,
}

/// A server's door: who may come in, and through TLS or not.
pub(crate) fn auth(asks: Option<Asks>) -> rtsp::RTSPAuth {
    use rtsp::gst_rtsp::RTSPAuthMethod;
    let auth = rtsp::RTSPAuth::new();
    auth.set_realm(Some("sim"));
    match asks {
        Some(Asks::Digest) => auth.set_supported_methods(RTSPAuthMethod::Digest),
        Some(Asks::Basic) => auth.set_supported_methods(RTSPAuthMethod::Basic),
        // A set of bits in C, for which the binding has no word.
        Some(Asks::Both) => auth.set_supported_methods(RTSPAuthMethod::__Unknown(3)),
        None => auth.set_default_token(Some(&mut token())),
    }
    auth
}

/// The password of `user` from now on. Who is playing goes on until the next request.
pub(crate) fn set_password(auth: &rtsp::RTSPAuth, user: &str, old: &str, password: &str) {
    auth.remove_digest(user);
    auth.add_digest(user, password, &token());
    auth.remove_basic(&rtsp::RTSPAuth::make_basic(user, old));
    auth.add_basic(&rtsp::RTSPAuth::make_basic(user, password), &token());
}

fn token() -> rtsp::RTSPToken {
    rtsp::RTSPToken::builder().field(rtsp::RTSP_TOKEN_MEDIA_FACTORY_ROLE, ROLE).build()
}

fn factory(mount: Mount) -> rtsp::RTSPMediaFactory {
    let factory = rtsp::RTSPMediaFactory::new();
    factory.set_launch(&mount.launch);
    // A media per client, all fed with the same memory: each gets every frame from its DESCRIBE on, and what a
    // client is owed that does not read waits in a source of its own, where it is bounded.
    factory.set_shared(false);
    if mount.udp == Udp::Refused {
        factory.set_protocols(rtsp::gst_rtsp::RTSPLowerTrans::TCP);
    }
    let role = gstreamer::Structure::builder(ROLE)
        .field(rtsp::RTSP_PERM_MEDIA_FACTORY_ACCESS, true)
        .field(rtsp::RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, true)
        .build();
    factory.add_role_from_structure(&role);
    factory.connect_media_configure(move |_, media| {
        connect(&mount, &media.element()).expect("what the factory built from our own text");
    });
    factory
}

/// Feeds a media that was just built. `None` if it is not what the text says.
fn connect(mount: &Mount, media: &gstreamer::Element) -> Option<()> {
    let bin = media.downcast_ref::<gstreamer::Bin>()?;
    let pipeline = media.parent()?.downcast::<gstreamer::Bin>().ok()?;
    let source = |name| bin.by_name(name)?.downcast::<AppSrc>().ok();
    let payloader = |source: &AppSrc| source.static_pad("src")?.peer()?.parent_element();
    let (origin, video) = (Arc::default(), source("feed")?);
    let mut harms = vec![mount.feed.harm.clone()];
    let mut open = vec![Arc::new(AtomicBool::new(true))];
    let video_payloader = payloader(&video)?;
    if let Some(sound) = &mount.sound {
        let audio = source("sound")?;
        let gate = Arc::new(AtomicBool::new(false));
        let at = usize::from(video_payloader.name() == "pay0");
        harms.insert(at, sound.harm.clone());
        open.insert(at, gate.clone());
        sound.add_outlet(&audio, &payloader(&audio)?, Arc::clone(&origin), gate);
    }
    Exit { harms, open, udp_lost: mount.udp == Udp::Lost }.attach(&pipeline);
    mount.feed.add_outlet(&video, &video_payloader, origin);
    Some(())
}

/// Keeps the count of connections, and of sessions per stream.
fn watch_clients(
    server: &rtsp::RTSPServer,
    mounts: &Mounts,
    clients: &Arc<Clients>,
    admits: Option<&Admits>,
) {
    let (mounts, clients, admits) = (mounts.clone(), clients.clone(), admits.cloned());
    server.connect_client_connected(move |_, client| {
        let id = client.as_ptr() as usize;
        clients.lock().insert(id, None);
        // One of these comes first.
        let served = clients.clone();
        client.connect_pre_options_request(move |_, _| served.is_here(id));
        let served = clients.clone();
        client.connect_pre_describe_request(move |_, _| served.is_here(id));
        if let Some(admits) = admits.clone() {
            client.connect_pre_setup_request(move |_, _| match admits() {
                true => rtsp::gst_rtsp::RTSPStatusCode::Ok,
                false => rtsp::gst_rtsp::RTSPStatusCode::NotEnoughBandwidth,
            });
        }
        let playing = mounts.clone();
        client.connect_play_request(move |_, request| {
            if let (Some(feed), Some(session)) = (wanted(&playing, request), session_id(request)) {
                feed.viewer_came(id, session);
            }
        });
        let pausing = mounts.clone();
        client.connect_pause_request(move |_, request| went(&pausing, id, request));
        let leaving = mounts.clone();
        client.connect_teardown_request(move |_, request| went(&leaving, id, request));
        let (mounts, clients) = (mounts.clone(), clients.clone());
        client.connect_closed(move |_| {
            for mount in &mounts {
                mount.feed.viewer_went(id, None);
            }
            clients.gone(id);
        });
    });
}

fn went(mounts: &Mounts, client: usize, request: &rtsp::RTSPContext) {
    if let Some(session) = session_id(request) {
        for mount in mounts {
            mount.feed.viewer_went(client, Some(&session));
        }
    }
}

fn session_id(request: &rtsp::RTSPContext) -> Option<String> {
    Some(request.session()?.sessionid()?.to_string())
}

/// The stream that a request is about: its first path component names it.
fn wanted<'a>(mounts: &'a Mounts, request: &rtsp::RTSPContext) -> Option<&'a Arc<Feed>> {
    let components = request.uri()?.decode_path_components();
    let name = components.iter().find(|component| !component.is_empty())?;
    mounts.iter().find(|mount| mount.path.trim_start_matches('/') == name.as_str()).map(|mount| &mount.feed)
}
