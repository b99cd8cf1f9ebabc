//! Connections. Not `axum::serve`: that gives hyper no timer, so a client that sends its header slowly stays for
//! ever, it has no limit, and it has no deadline when stopping.

use std::{
    convert::Infallible,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// What a client may take of us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once; further ones wait in the system's queue.
    pub(super) connections: usize,
    /// Within this a request's header must be here; so long may a connection be idle, too.
    pub(super) header_within: Duration,
    /// So long a client may take nothing of an answer. Long, because a paused player does just that; after it the
    /// player asks for the rest again. Without it, a client whose host vanished would keep its place for a quarter
    /// of an hour.
    pub(super) stuck_for: Duration,
    /// So long what a client still sends after our last answer is read and thrown away.
    pub(super) linger: Duration,
    /// So long a stop waits for answers under way.
    pub(super) stop_within: Duration,
}

impl Limits {
    pub(super) const USUAL: Self = Self {
        connections: 256,
        header_within: Duration::from_secs(10),
        stuck_for: Duration::from_secs(120),
        linger: Duration::from_secs(5),
        stop_within: Duration::from_secs(2),
    };
}

/// Says that the service stops. Answers without an end of their own (the live stream) end on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing(pub(super) CancellationToken);

/// Whether nobody but this host can reach a listener at `addr`.
pub fn is_loopback(addr: &SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

/// Serves `router` on `listener` until `shutdown` is done; then takes no more connections, lets answers under way
/// end for up to 2 s, and drops what is left.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    serve_within(Limits::USUAL, listener, router, shutdown).await;
}

pub(super) async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let closing = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, slot) = next(&listener, &slots) => {
                let (router, closing) = (router.clone(), closing.clone());
                connections.spawn(async move {
                    connection(limits, stream, router, closing).await;
                    drop(slot);
                });
            }
            // Reaps, so that the set does not grow.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    closing.cancel();
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.stop_within, all).await.is_err() {
        tracing::info!(http.connections = connections.len(), "HTTP connections did not end in time; dropped");
        connections.shutdown().await;
    }
}

/// The next connection, once there is room for it. May be dropped at any time.
async fn next(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            // The client's affair.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Most likely no file descriptor is left. Accepting at once would fail at once.
                tracing::warn!(%error, "cannot accept an HTTP connection; trying again in 1 s");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn connection(limits: Limits, stream: TcpStream, router: Router, closing: CancellationToken) {
    // Answers are written whole; waiting for more would only delay the live stream.
    let _ = stream.set_nodelay(true);
    let token = Closing(closing.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(token.clone());
        // Boxed because hyper wants `Unpin`.
        let answer: Pin<Box<dyn Future<Output = Result<_, Infallible>> + Send>> =
            Box::pin(router.clone().oneshot(request.map(Body::new)));
        answer
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_within)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.stuck_for)), service)
        .with_upgrades();
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = closing.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
    // What became a WebSocket has no parts any more.
    if let Some(parts) = connection.into_parts() {
        linger(limits, parts.io.into_inner().stream, &closing).await;
    }
}

/// Closes our side and reads on until the client closes its own. Closing outright while a refused body is still
/// coming in would reset the connection, and the client's system would throw our answer away with it.
async fn linger(limits: Limits, mut stream: TcpStream, closing: &CancellationToken) {
    let drain = async {
        let _ = stream.shutdown().await;
        let mut waste = vec![0; 16 * 1024];
        while matches!(stream.read(&mut waste).await, Ok(read) if read > 0) {}
    };
    let patience = async {
        let stopping = async {
            closing.cancelled().await;
            sleep(Duration::from_millis(200)).await;
        };
        tokio::select! {
            () = stopping => {}
            () = sleep(limits.linger) => {}
        }
    };
    tokio::select! {
        () = drain => {}
        () = patience => {}
    }
}

/// A connection that fails when nothing could be written for a while.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// Runs while the client takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, stuck: None }
    }

    /// Passes `outcome` on, unless it has been `Pending` for too long.
    fn judged<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stuck = None;
            return outcome;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        stuck.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judged(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judged(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // A TCP stream has nothing to flush and shuts down at once, so neither can be stuck.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
