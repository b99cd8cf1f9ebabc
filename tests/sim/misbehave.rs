//! Peers that are no camera, or a hostile one: small scripted TCP servers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::background::{Background, free_port};

/// A request larger than this is not read on.
const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// Heads kept for the test to look at.
const HEADS_KEPT: usize = 1000;
const ENDLESS_BODY_ANNOUNCED_BYTES: u64 = 2_000_000_000;
/// Where the endless body ends after all, for the sake of the machine.
const ENDLESS_BODY_SENT_BYTES: u64 = 300_000_000;
const DRIBBLE_EVERY: Duration = Duration::from_secs(1);
const GARBAGE: &[u8] =
    b"\x16\x03\x01\x02\x00\x01\x00\x00\xff\xfe\0\0HTTP?\r\nno: colon\r\n\n\r\n\r\n$\x00\xff\xff";
/// Of a description that is too long.
const MEDIA_LINES: usize = 64;
const PUBLIC: &str = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n";

/// What is wrong with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// Accepts, reads, never answers.
    NeverAnswers,
    /// Answers the first request with a head that never ends, one byte a second.
    Dribbles,
    /// Answers every request with 302 to the very address that was asked for.
    RedirectsToItself,
    /// Answers DESCRIBE with 302 to this address.
    RedirectsTo(String),
    /// Answers DESCRIBE with 302 to `/main` on its own host and port, which is the camera at `camera_port`.
    RedirectsToItsMain {
        /// Port of a simulated camera on loopback.
        camera_port: u16,
    },
    /// 404 to DESCRIBE.
    NotFound,
    /// 401 with a Digest challenge, whatever the credentials.
    Unauthorised,
    /// 401 with only a Basic challenge: who answers it sends the password in clear (see [`Peer::heads`]).
    OnlyBasic,
    /// Offers one stream, of a codec that nobody knows.
    UnknownCodec,
    /// Announces a DESCRIBE answer of 2 GB and sends zeros, up to 300 MB or until the other side closes.
    EndlessBody,
    /// Leads to the camera at `camera_port`, path by path, and describes it with 64 media lines: all but the camera's own
    /// are of kinds that nobody knows, and cannot be set up.
    ManyStreams {
        /// Port of a simulated camera on loopback.
        camera_port: u16,
    },
    /// Closes each connection at once.
    ClosesOnAccept,
    /// Answers bytes that are no RTSP.
    Garbage,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    body_bytes: AtomicU64,
    heads: Mutex<Vec<String>>,
}

/// A misbehaving server. Dropping it closes everything.
pub(crate) struct Peer {
    at: std::net::SocketAddr,
    seen: Arc<Seen>,
    _background: Background,
}

impl Peer {
    /// Starts one on 127.0.0.1, on a free port.
    ///
    /// # Errors
    /// If there is no free port.
    pub(crate) fn start(misbehaviour: Misbehaviour) -> anyhow::Result<Peer> {
        Peer::start_on(Ipv4Addr::LOCALHOST.into(), misbehaviour)
    }

    /// Starts one on another address, 127.0.0.2 for example, as a different host.
    ///
    /// # Errors
    /// If there is no free port, or no such address here.
    pub(crate) fn start_on(address: IpAddr, misbehaviour: Misbehaviour) -> anyhow::Result<Peer> {
        let listener = free_port(address)?;
        let at = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        let work = move || async move {
            let listener = TcpListener::from_std(listener).expect("a non-blocking listener in a runtime");
            serve(listener, &Arc::new(misbehaviour), &shared).await;
        };
        let background = Background::start(&format!("sim-peer-{}", at.port()), work)?;
        Ok(Peer { at, seen, _background: background })
    }

    /// Port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.at.port()
    }

    /// An address to give to the program.
    pub(crate) fn url(&self) -> String {
        self.url_of("stream")
    }

    /// The same for the path of a camera that it leads to; without slash.
    pub(crate) fn url_of(&self, path: &str) -> String {
        format!("rtsp://{}/{path}", self.at)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Requests read so far.
    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// Bytes of an endless body that were taken from us so far.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.seen.body_bytes.load(Ordering::Relaxed)
    }

    /// The first thousand requests with their headers.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, misbehaviour: &Arc<Misbehaviour>, seen: &Arc<Seen>) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    seen.connections.fetch_add(1, Ordering::Relaxed);
                    let (misbehaviour, seen) = (misbehaviour.clone(), seen.clone());
                    // A connection that breaks is the other side's right.
                    talks.spawn(async move { drop(talk(stream, &misbehaviour, &seen).await) });
                }
            }
            Some(_) = talks.join_next() => (),
        }
    }
}

async fn talk(mut stream: TcpStream, misbehaviour: &Misbehaviour, seen: &Seen) -> std::io::Result<()> {
    if *misbehaviour == Misbehaviour::ClosesOnAccept {
        return Ok(());
    }
    while let Some(request) = Request::read(&mut stream, seen).await? {
        match misbehaviour {
            Misbehaviour::ClosesOnAccept | Misbehaviour::NeverAnswers => (),
            Misbehaviour::Dribbles => return dribble(&mut stream, &request).await,
            Misbehaviour::Garbage => stream.write_all(GARBAGE).await?,
            Misbehaviour::RedirectsToItself => {
                let location = format!("Location: {}\r\n", request.url);
                stream.write_all(request.answer("302 Found", &location, "").as_bytes()).await?;
            }
            Misbehaviour::RedirectsToItsMain { camera_port } if request.path() == "/main" => {
                let mut camera = TcpStream::connect((Ipv4Addr::LOCALHOST, *camera_port)).await?;
                camera.write_all(request.head.as_bytes()).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut camera).await?;
                return Ok(());
            }
            Misbehaviour::ManyStreams { camera_port } => {
                return among_many(&mut stream, request, *camera_port, seen).await;
            }
            Misbehaviour::EndlessBody if request.method == "DESCRIBE" => {
                return endless(&mut stream, &request, seen).await;
            }
            _ => stream.write_all(simple_answer(misbehaviour, &request).as_bytes()).await?,
        }
    }
    Ok(())
}

/// Answers that are one text. OPTIONS is answered well by all of them but the ones that ask for a password.
fn simple_answer(misbehaviour: &Misbehaviour, request: &Request) -> String {
    match misbehaviour {
        Misbehaviour::Unauthorised => {
            let challenge = "WWW-Authenticate: Digest realm=\"sim\", nonce=\"0123456789abcdef\"\r\n";
            return request.answer("401 Unauthorized", challenge, "");
        }
        Misbehaviour::OnlyBasic => {
            return request.answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"sim\"\r\n", "");
        }
        _ if request.method != "DESCRIBE" => return request.answer("200 OK", PUBLIC, ""),
        _ => (),
    }
    match misbehaviour {
        Misbehaviour::RedirectsTo(location) => {
            request.answer("302 Found", &format!("Location: {location}\r\n"), "")
        }
        Misbehaviour::RedirectsToItsMain { .. } => {
            request.answer("302 Found", &format!("Location: {}/main\r\n", request.origin()), "")
        }
        Misbehaviour::UnknownCodec => {
            let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=sim\r\nt=0 0\r\na=control:*\r\n\
                       m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 X-WEIRD/90000\r\na=control:track1\r\n";
            request.answer("200 OK", "Content-Type: application/sdp\r\n", sdp)
        }
        _ => request.answer("404 Not Found", "", ""),
    }
}

async fn dribble(stream: &mut TcpStream, request: &Request) -> std::io::Result<()> {
    let head = format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\nX-Slow: ", request.cseq);
    let mut every = tokio::time::interval(DRIBBLE_EVERY);
    for byte in head.bytes().chain(std::iter::repeat(b'a')) {
        every.tick().await;
        stream.write_all(&[byte]).await?;
    }
    Ok(())
}

async fn endless(stream: &mut TcpStream, request: &Request, seen: &Seen) -> std::io::Result<()> {
    let head = format!(
        "RTSP/1.0 200 OK\r\nCSeq: {}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
        request.cseq, ENDLESS_BODY_ANNOUNCED_BYTES
    );
    stream.write_all(head.as_bytes()).await?;
    let zeros = vec![0; 64 * 1024];
    while seen.body_bytes.load(Ordering::Relaxed) < ENDLESS_BODY_SENT_BYTES {
        let written = stream.write(&zeros).await?;
        seen.body_bytes.fetch_add(written as u64, Ordering::Relaxed);
    }
    // Still far from the announced end: what the other side does now is its affair.
    std::future::pending().await
}

/// Hands requests on to a camera, and its answers back with a longer description.
async fn among_many(
    client: &mut TcpStream,
    mut request: Request,
    camera_port: u16,
    seen: &Seen,
) -> std::io::Result<()> {
    let mut camera = TcpStream::connect((Ipv4Addr::LOCALHOST, camera_port)).await?;
    loop {
        camera.write_all(request.head.as_bytes()).await?;
        let Some(answer) = Request::read(&mut camera, &Seen::default()).await? else { return Ok(()) };
        let mut body = vec![0; answer.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0)];
        camera.read_exact(&mut body).await?;
        if request.method == "DESCRIBE" && !body.is_empty() {
            body = with_many_streams(&String::from_utf8_lossy(&body)).into_bytes();
        }
        for line in answer.head.trim_end().lines() {
            if !line.to_ascii_lowercase().starts_with("content-length:") {
                client.write_all(format!("{line}\r\n").as_bytes()).await?;
            }
        }
        client.write_all(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes()).await?;
        client.write_all(&body).await?;
        if request.method == "PLAY" {
            tokio::io::copy_bidirectional(client, &mut camera).await?;
            return Ok(());
        }
        let Some(next) = Request::read(client, seen).await? else { return Ok(()) };
        request = next;
    }
}

/// Puts unknown streams before and after those of a description, 64 in all.
fn with_many_streams(description: &str) -> String {
    let (session, ours) =
        description.split_at(description.find("\nm=").map_or(description.len(), |at| at + 1));
    let others = MEDIA_LINES.saturating_sub(ours.lines().filter(|line| line.starts_with("m=")).count());
    let other = |n: usize| {
        let (media, encoding) =
            [("video", "X-WEIRD"), ("audio", "X-NOISE"), ("application", "vnd.onvif.metadata")][n % 3];
        format!("m={media} 0 RTP/AVP 98\r\na=rtpmap:98 {encoding}/90000\r\na=control:other={n}\r\n")
    };
    let before: String = (0..others / 2).map(other).collect();
    let after: String = (others / 2..others).map(other).collect();
    format!("{session}{before}{ours}{after}")
}

struct Request {
    head: String,
    method: String,
    url: String,
    cseq: String,
}

impl Request {
    /// The next request, `None` when the other side has closed.
    async fn read(stream: &mut TcpStream, seen: &Seen) -> std::io::Result<Option<Request>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT_BYTES {
            let mut byte = [0];
            if stream.read(&mut byte).await? == 0 {
                return Ok(None);
            }
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        seen.requests.fetch_add(1, Ordering::Relaxed);
        {
            let mut heads = seen.heads.lock().unwrap_or_else(PoisonError::into_inner);
            if heads.len() < HEADS_KEPT {
                heads.push(head.clone());
            }
        }
        let mut words = head.split_whitespace().map(str::to_owned);
        let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Request { head, method, url, cseq: "0".to_owned() };
        if let Some(cseq) = request.header("cseq").map(str::to_owned) {
            request.cseq = cseq;
        }
        Ok(Some(request))
    }

    fn header(&self, wanted: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    }

    /// `rtsp://host:port` as the client wrote it, so that this cannot be taken for another host.
    fn origin(&self) -> &str {
        &self.url[..self.url.len() - self.path().len()]
    }

    fn path(&self) -> &str {
        let after_scheme = self.url.find("://").map_or(0, |at| at + 3);
        self.url[after_scheme..].find('/').map_or("", |at| &self.url[after_scheme + at..])
    }

    /// `headers` as whole lines.
    fn answer(&self, status: &str, headers: &str, body: &str) -> String {
        let Request { cseq, .. } = self;
        format!("RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
    }
}
