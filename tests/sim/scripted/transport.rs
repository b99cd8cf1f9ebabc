//! Where a track's packets go: into the RTSP connection, or as datagrams.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use tokio::net::UdpSocket;

use super::super::background::PORTS;
use super::quirk::Quirk;

const PORT_TRIES: usize = 100;

/// A transport that was agreed on.
pub(super) enum Transport {
    /// RTP has this channel, RTCP the next.
    Interleaved {
        channel: u8,
    },
    Datagrams(Datagrams),
}

/// Two sockets.
pub(super) struct Datagrams {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    rtp_to: SocketAddr,
    rtcp_to: SocketAddr,
}

impl Datagrams {
    /// Binds a pair of ports for a client that gave its own.
    pub(super) fn bind(address: IpAddr, client: IpAddr, ports: (u16, u16)) -> anyhow::Result<Datagrams> {
        for _ in 0..PORT_TRIES {
            let port = rand::random_range(PORTS) & !1;
            let bind = |port| {
                let socket = std::net::UdpSocket::bind((address, port))?;
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket)
            };
            if let (Ok(rtp), Ok(rtcp)) = (bind(port), bind(port + 1)) {
                let (rtp_to, rtcp_to) = ((client, ports.0).into(), (client, ports.1).into());
                return Ok(Datagrams { rtp, rtcp, rtp_to, rtcp_to });
            }
        }
        None.context("no pair of free ports")
    }

    /// Port of RTP.
    pub(super) fn port(&self) -> std::io::Result<u16> {
        Ok(self.rtp.local_addr()?.port())
    }

    /// A datagram that nobody receives is no error.
    pub(super) async fn send(&self, bytes: &[u8], is_rtcp: bool) {
        let (socket, to) = if is_rtcp { (&self.rtcp, self.rtcp_to) } else { (&self.rtp, self.rtp_to) };
        drop(socket.send_to(bytes, to).await);
    }
}

/// What a client asks for in SETUP.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Interleaved(u8),
    Ports(u16, u16),
}

impl Asked {
    /// The first alternative of a `Transport` header that this camera can do.
    pub(super) fn parse(header: &str, quirks: &[Quirk]) -> Option<Asked> {
        header.split(',').find_map(|alternative| {
            let mut fields = alternative.trim().split(';');
            let protocol = fields.next()?.trim();
            let pair = |name: &str| {
                let value = fields.clone().find_map(|field| field.trim().strip_prefix(name))?;
                let (first, second) = value.split_once('-').unwrap_or((value, value));
                Some((first.parse::<u16>().ok()?, second.parse::<u16>().ok()?))
            };
            if protocol.eq_ignore_ascii_case("RTP/AVP/TCP") {
                let channel = pair("interleaved=")?.0;
                (!quirks.contains(&Quirk::RefusesTcp)).then_some(Asked::Interleaved(channel as u8))
            } else {
                let (rtp, rtcp) = pair("client_port=")?;
                (!quirks.contains(&Quirk::RefusesUdp)).then_some(Asked::Ports(rtp, rtcp))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_transport_that_fits_is_taken() {
        let header = "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=2-3";
        assert_eq!(Asked::parse(header, &[]), Some(Asked::Ports(5000, 5001)));
        assert_eq!(Asked::parse(header, &[Quirk::RefusesUdp]), Some(Asked::Interleaved(2)));
        assert_eq!(Asked::parse(header, &[Quirk::RefusesUdp, Quirk::RefusesTcp]), None);
        assert_eq!(Asked::parse("nonsense", &[]), None);
    }
}
