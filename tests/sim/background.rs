//! A thread with a small runtime of its own for a scripted peer, so that it needs nothing of the test's runtime.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Where free ports are looked for: below those that the kernel lends to outgoing connections (from 32768 on), so
/// that a port which was closed for a while can be opened again.
pub(crate) const PORTS: Range<u16> = 20_000..32_000;
const PORT_TRIES: usize = 50;
const BACKLOG: u32 = 128;

/// Runs a future on a thread of its own until dropped; then all its tasks and sockets are gone.
pub(crate) struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts what `work` makes. `work` is called in the new runtime, so it may use std sockets via `from_std`.
    ///
    /// # Errors
    /// If the system gives no thread or no runtime.
    pub(crate) fn start<W, F>(name: &str, work: W) -> anyhow::Result<Background>
    where
        W: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = work() => (),
                        _ = stopped => (),
                    }
                });
            })
            .context("no thread")?;
        Ok(Background { stop: Some(stop), thread: Some(thread) })
    }
}

/// A server on a thread of its own: `talk` for each who connects.
///
/// # Errors
/// If the system gives no thread or no runtime.
pub(crate) fn serve<T, F>(name: &str, listener: std::net::TcpListener, talk: T) -> anyhow::Result<Background>
where
    T: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    Background::start(name, move || async move {
        let listener = TcpListener::from_std(listener).expect("a non-blocking listener in a runtime");
        let mut talks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        // A connection that breaks is the other side's right.
                        talks.spawn(talk(stream));
                    }
                }
                Some(_) = talks.join_next() => (),
            }
        }
    })
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            drop(thread.join());
        }
    }
}

/// Binds a free port of [`PORTS`] without listening yet, so that it can cross threads.
///
/// # Errors
/// If none was free in fifty tries.
pub(crate) fn free_port(address: IpAddr) -> anyhow::Result<std::net::TcpListener> {
    for _ in 0..PORT_TRIES {
        if let Ok(listener) = std::net::TcpListener::bind((address, rand::random_range(PORTS))) {
            listener.set_nonblocking(true)?;
            return Ok(listener);
        }
    }
    bail!("no free port in {PORT_TRIES} tries")
}

/// Listens again on a port that was closed, also while old connections of it linger.
pub(crate) fn listen_again(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}
