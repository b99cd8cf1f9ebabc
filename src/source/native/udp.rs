//! The datagram sockets of one track: a pair of ports for RTP and RTCP (RFC 3550, 11), to and from the camera alone.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::UdpSocket;

/// Pairs of ports that are tried before it is given up.
const TRIES: u32 = 64;
/// A keyframe comes in one burst; the kernel's usual 208 KiB would not hold it.
const BUFFER_BYTES: usize = 2 << 20;

/// The sockets of one track.
#[derive(Debug)]
pub(super) struct Pair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    peer: IpAddr,
}

impl Pair {
    /// Binds an even port and the odd one after it, on all addresses of the camera's family.
    pub(super) async fn bind(peer: IpAddr) -> io::Result<Self> {
        let any: IpAddr =
            if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES {
            let first = UdpSocket::bind((any, 0)).await?;
            let port = first.local_addr()?.port();
            let even = port % 2 == 0;
            match UdpSocket::bind((any, if even { port.saturating_add(1) } else { port - 1 })).await {
                Ok(second) => {
                    let (rtp, rtcp) = if even { (first, second) } else { (second, first) };
                    // As much as the system allows.
                    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&rtp, BUFFER_BYTES);
                    return Ok(Self { rtp, rtcp, peer });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The port of RTP.
    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.rtp.local_addr()?.port())
    }

    /// Sends to this port of the camera.
    pub(super) fn send(&self, is_rtcp: bool, port: u16, bytes: &[u8]) {
        let socket = if is_rtcp { &self.rtcp } else { &self.rtp };
        // A datagram that is lost here is one of those that may get lost.
        let _ = socket.try_send_to(bytes, SocketAddr::new(self.peer, port));
    }

    /// Waits until a datagram may be there.
    pub(super) async fn readable(&self) {
        tokio::select! {
            _ = self.rtp.readable() => {}
            _ = self.rtcp.readable() => {}
        }
    }

    /// Reads one datagram; `None` if there is none, and nothing of it if it is not the camera's.
    pub(super) fn read(&self, is_rtcp: bool, to: &mut [u8]) -> Option<usize> {
        let socket = if is_rtcp { &self.rtcp } else { &self.rtp };
        let (length, from) = socket.try_recv_from(to).ok()?;
        Some(if from.ip() == self.peer { length } else { 0 })
    }
}
