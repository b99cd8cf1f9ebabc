//! The cable between the program and a camera: a TCP proxy that can be cut, silenced or slowed down.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::background::{Background, free_port, listen_again};

/// Read at once at most. Also asked for as the kernel's receive buffer: the less it holds, the sooner a sender
/// feels that the link is silent.
const CHUNK_BYTES: usize = 32 * 1024;
/// A slow link moves data so often per second, or byte by byte if it is slower.
const SLOW_STEPS_PER_S: u32 = 20;
const ORDER_DEADLINE: Duration = Duration::from_secs(10);

/// Kept of what clients say.
const SAID_BYTES: usize = 1 << 20;

type Said = Arc<Mutex<Vec<u8>>>;

/// What state the cable is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Forwards.
    Whole,
    /// All connections ended (FIN to both sides), new ones refused.
    Cut,
    /// All connections reset (RST to both sides), new ones refused.
    Reset,
    /// Connections stay open and new ones are accepted, but nothing is forwarded. What was sent is held (by the
    /// kernel, as back-pressure) and flows on when the wire is whole again; a connection accepted meanwhile reaches
    /// the camera only then.
    Silent,
    /// Forwards at most so much, per connection and direction.
    Slow {
        /// Bytes per second, not 0.
        bytes_per_s: u32,
    },
}

impl Wire {
    fn severed(self) -> bool {
        matches!(self, Wire::Cut | Wire::Reset)
    }
}

type Order = (Wire, blocking::Sender<()>);

/// A proxy on loopback. Dropping it closes everything.
pub(crate) struct Link {
    port: u16,
    orders: mpsc::UnboundedSender<Order>,
    connections: Arc<AtomicUsize>,
    said: Said,
    _background: Background,
}

impl Link {
    /// A whole wire to `target_port` on loopback.
    ///
    /// # Errors
    /// If there is no free port.
    pub(crate) fn start(target_port: u16) -> anyhow::Result<Link> {
        let listener = free_port(Ipv4Addr::LOCALHOST.into())?;
        let at = listener.local_addr()?;
        let target = (Ipv4Addr::LOCALHOST, target_port).into();
        let (orders, ordered) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let said = Said::default();
        let heard = said.clone();
        let work = move || async move {
            let listener = TcpListener::from_std(listener).expect("a non-blocking listener in a runtime");
            serve(at, target, listener, ordered, &counted, &heard).await;
        };
        let background = Background::start(&format!("sim-link-{}", at.port()), work)?;
        Ok(Link { port: at.port(), orders, connections, said, _background: background })
    }

    /// The port to connect to instead of the camera's.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Address of a camera's stream through this link; `path` without slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{path}", self.port)
    }

    /// Changes the wire and returns when it is done: after [`Wire::Cut`] nothing is connected any more.
    pub(crate) fn set(&self, wire: Wire) {
        let (done, is_done) = blocking::channel();
        self.orders.send((wire, done)).expect("the link's thread lives as long as the link");
        is_done.recv_timeout(ORDER_DEADLINE).expect("the link obeys");
    }

    /// What clients said so far, all connections one after the other as it came; the first megabyte.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(
    at: SocketAddr,
    target: SocketAddr,
    listener: TcpListener,
    mut orders: mpsc::UnboundedReceiver<Order>,
    connections: &AtomicUsize,
    said: &Said,
) {
    let (wire, _) = watch::channel(Wire::Whole);
    let mut listener = Some(listener);
    let mut pumps = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => {
                let Some((now, done)) = order else { return };
                wire.send_replace(now);
                if now.severed() {
                    listener = None;
                    while pumps.join_next().await.is_some() {}
                } else if listener.is_none() {
                    listener = Some(listen_again(at).expect("the port of a link is not lent to others"));
                }
                // Nobody waits any more only after its deadline.
                let _ = done.send(());
            }
            client = accept(listener.as_ref()) => {
                connections.fetch_add(1, Ordering::Relaxed);
                pumps.spawn(connect(client, target, wire.subscribe(), said.clone()));
            }
            Some(_) = pumps.join_next() => (),
        }
    }
}

/// The next client; never, while the wire is severed.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => loop {
            // Fails only for a client that went already, or for want of descriptors, which a test would notice.
            if let Ok((client, _)) = listener.accept().await {
                return client;
            }
            tokio::task::yield_now().await;
        },
        None => std::future::pending().await,
    }
}

/// One connection, until either side or the wire ends it. A camera that refuses shows as a connection that ends.
async fn connect(mut client: TcpStream, target: SocketAddr, mut wire: watch::Receiver<Wire>, said: Said) {
    let mut camera = None;
    tokio::select! {
        _ = pump(&mut client, &mut camera, target, wire.clone(), &said) => (),
        _ = wire.wait_for(|wire| wire.severed()) => (),
    }
    let reset = *wire.borrow() == Wire::Reset;
    for mut end in [Some(client), camera].into_iter().flatten() {
        // Errors mean that this end is closed already.
        if reset {
            drop(end.set_zero_linger());
        } else {
            drop(end.shutdown().await);
        }
    }
}

async fn pump(
    client: &mut TcpStream,
    camera: &mut Option<TcpStream>,
    target: SocketAddr,
    mut wire: watch::Receiver<Wire>,
    said: &Said,
) -> std::io::Result<()> {
    opened(&mut wire).await;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(CHUNK_BYTES as u32)?;
    let camera = camera.insert(socket.connect(target).await?);
    client.set_nodelay(true)?;
    camera.set_nodelay(true)?;
    let (client_reads, client_writes) = client.split();
    let (camera_reads, camera_writes) = camera.split();
    tokio::select! {
        ended = flow(client_reads, camera_writes, wire.clone(), Some(said)) => ended,
        ended = flow(camera_reads, client_writes, wire, None) => ended,
    }
}

async fn flow(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut wire: watch::Receiver<Wire>,
    said: Option<&Said>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let most = match opened(&mut wire).await {
            Wire::Slow { bytes_per_s } => {
                (bytes_per_s / SLOW_STEPS_PER_S).clamp(1, CHUNK_BYTES as u32) as usize
            }
            _ => CHUNK_BYTES,
        };
        let read = from.read(&mut chunk[..most]).await?;
        if read == 0 {
            return Ok(());
        }
        if let Some(said) = said {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let room = SAID_BYTES.saturating_sub(said.len());
            said.extend_from_slice(&chunk[..read.min(room)]);
        }
        // What was read while the wire fell silent is held as well.
        let now = opened(&mut wire).await;
        to.write_all(&chunk[..read]).await?;
        if let Wire::Slow { bytes_per_s } = now {
            tokio::time::sleep(
                Duration::from_secs(1) * u32::try_from(read).unwrap_or(u32::MAX) / bytes_per_s,
            )
            .await;
        }
    }
}

/// Waits while the wire is silent. A closed channel means that the link is being dropped, and its tasks with it.
async fn opened(wire: &mut watch::Receiver<Wire>) -> Wire {
    wire.wait_for(|wire| *wire != Wire::Silent).await.map_or(Wire::Whole, |wire| *wire)
}
