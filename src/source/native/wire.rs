//! The control connection to a camera, plain or through TLS. Nothing here waits but [`Wire::connect`] and [`Wire::readable`].

use std::{
    io::{self, Read, Write},
    net::IpAddr,
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use super::tls::{Failure, Tls};
use crate::{
    model::status::{StreamError, StreamErrorKind},
    source::connect::connect,
};

/// A TLS handshake takes at most so long.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(12);
/// Bytes that wait for a camera that does not read; requests are small, so more of them mean that it never will.
const OUTGOING_MAX: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    tls: Option<Box<Tls>>,
    /// Plain bytes that the socket has not taken yet.
    outgoing: Vec<u8>,
    peer: IpAddr,
}

/// A socket that never blocks.
#[derive(Debug)]
enum Socket {
    /// The runtime watches it: each packet that comes wakes the thread, which a dialogue needs.
    Watched(TcpStream),
    /// It is read by the clock.
    Polled(std::net::TcpStream),
}

impl Read for Socket {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Watched(stream) => stream.try_read(to),
            Self::Polled(stream) => stream.read(to),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Watched(stream) => stream.try_write(from),
            Self::Polled(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire {
    /// Connects, and shakes hands if `tls`; the camera must then show the certificate `pinned`, if one is.
    pub(super) async fn connect(
        host: &str,
        port: u16,
        tls: bool,
        pinned: Option<String>,
    ) -> Result<Self, Failure> {
        let stream = connect(host, port).await.map_err(Failure::Stream)?;
        let peer = stream.peer_addr().map(|address| address.ip());
        let peer = peer.map_err(|error| {
            Failure::Stream(StreamError::new(StreamErrorKind::Unreachable, error.to_string()))
        })?;
        let mut wire = Self { socket: Socket::Watched(stream), tls: None, outgoing: Vec::new(), peer };
        if tls {
            let silent = || StreamError::new(StreamErrorKind::Silent, "the camera does not answer TLS");
            let shaken = timeout(HANDSHAKE_WITHIN, wire.shake_hands(host, pinned)).await;
            shaken.map_err(|_| Failure::Stream(silent()))??;
        }
        Ok(wire)
    }

    async fn shake_hands(&mut self, host: &str, pinned: Option<String>) -> Result<(), Failure> {
        let mut tls = Box::new(Tls::new(host, pinned)?);
        let mut nothing = [0; 1];
        while tls.is_handshaking() {
            let step = match tls.write_to(&mut self.socket) {
                Ok(()) => tls.read_from(&mut self.socket, &mut nothing),
                Err(error) => Err(error),
            };
            match step {
                Ok(0) => return Err(tls.failure(&io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What was read may have to be answered before more comes.
                    if tls.is_handshaking() && !tls.wants_write() {
                        self.readable().await.map_err(|error| tls.failure(&error))?;
                    }
                }
                Err(error) => return Err(tls.failure(&error)),
            }
        }
        self.tls = Some(tls);
        Ok(())
    }

    /// The camera's address.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// SHA-256 of the camera's certificate, if the connection is encrypted.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.tls.as_ref().and_then(|tls| tls.fingerprint())
    }

    /// Waits until something may be read. Comes back at once when the connection is polled.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Watched(stream) => stream.readable().await,
            Socket::Polled(_) => Ok(()),
        }
    }

    /// Whether what is read was encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What the kernel keeps of what the camera sends, in bytes with its own overhead: at least half of it is what the camera sent.
    pub(super) fn room(&self) -> usize {
        let room = match &self.socket {
            Socket::Watched(stream) => rustix::net::sockopt::socket_recv_buffer_size(stream),
            Socket::Polled(stream) => rustix::net::sockopt::socket_recv_buffer_size(stream),
        };
        room.unwrap_or(0)
    }

    /// From now on the runtime does not watch the socket any more.
    pub(super) fn poll_from_now_on(self) -> io::Result<Self> {
        let socket = match self.socket {
            Socket::Watched(stream) => Socket::Polled(stream.into_std()?),
            polled => polled,
        };
        Ok(Self { socket, ..self })
    }

    /// Reads what is there; `Ok(0)` at the end of the connection, `WouldBlock` if there is nothing.
    pub(super) fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.read_from(&mut self.socket, to),
            None => self.socket.read(to),
        }
    }

    /// Sends bytes as soon as the socket takes them.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.outgoing.len() + bytes.len() > OUTGOING_MAX {
            return Err(io::Error::other("it does not read what it is asked"));
        }
        match &mut self.tls {
            Some(tls) => tls.send(bytes)?,
            None => self.outgoing.extend_from_slice(bytes),
        }
        self.flush()
    }

    /// Writes what waits, as far as the socket takes it now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let written = match &mut self.tls {
            Some(tls) => tls.write_to(&mut self.socket),
            None => {
                let mut written = Ok(());
                while !self.outgoing.is_empty() {
                    match self.socket.write(&self.outgoing) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(n) => drop(self.outgoing.drain(..n)),
                        Err(error) => {
                            written = Err(error);
                            break;
                        }
                    }
                }
                written
            }
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            written => written,
        }
    }

    /// Nothing more is sent: the camera reads the end after what was sent before.
    pub(super) fn shut_down(&mut self) {
        // It may be closed already.
        let _ = match &self.socket {
            Socket::Watched(stream) => rustix::net::shutdown(stream, rustix::net::Shutdown::Write),
            Socket::Polled(stream) => rustix::net::shutdown(stream, rustix::net::Shutdown::Write),
        };
    }
}
