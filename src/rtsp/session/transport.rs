//! The `Transport` header (RFC 2326, 12.39).

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// RTP in the RTSP connection, on this channel and the next.
    Interleaved(u8),
    /// Datagrams to this port and the next.
    Ports(u16),
}

impl Offer {
    /// The header's value.
    pub(super) fn header(self) -> String {
        match self {
            Self::Interleaved(channel) => {
                format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel.wrapping_add(1))
            }
            Self::Ports(port) => format!("RTP/AVP;unicast;client_port={port}-{}", port.wrapping_add(1)),
        }
    }
}

/// What the camera answers. `source` and `destination` are not read: datagrams go to nobody but the host of the connection, and are
/// taken from nobody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// Whether RTP comes in the RTSP connection.
    pub(super) over_tcp: bool,
    /// Channels of RTP and RTCP.
    pub(super) channels: Option<(u8, u8)>,
    /// The camera's ports of RTP and RTCP.
    pub(super) ports: Option<(u16, u16)>,
}

/// Reads the answer's header as far as it makes sense.
pub(super) fn parse(value: &str) -> Reply {
    let value = value.split(',').next().unwrap_or_default();
    let mut reply = Reply::default();
    for part in value.split(';').map(str::trim) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "interleaved" => reply.channels = pair(value, |first: u8| first.wrapping_add(1)),
            "server_port" => {
                let ports = pair(value, |first: u16| first.wrapping_add(1));
                reply.ports = ports.filter(|(rtp, rtcp)| *rtp != 0 && *rtcp != 0);
            }
            name => reply.over_tcp |= name.starts_with("rtp/") && name.ends_with("/tcp"),
        }
    }
    reply.over_tcp |= reply.channels.is_some();
    reply
}

/// `4-5`, or `4` alone.
fn pair<T: std::str::FromStr + Copy>(value: &str, next: impl Fn(T) -> T) -> Option<(T, T)> {
    let (first, second) = value.split_once('-').unwrap_or((value, ""));
    let first = first.trim().parse().ok()?;
    Some((first, second.trim().parse().unwrap_or_else(|_| next(first))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_cameras_write_them() {
        let tcp = |channels| Reply { over_tcp: true, channels, ports: None };
        let udp = |ports| Reply { over_tcp: false, channels: None, ports };
        for (value, wanted) in [
            ("RTP/AVP/TCP;unicast;interleaved=4-5;ssrc=4317f", tcp(Some((4, 5)))),
            ("RTP/AVP/TCP;unicast", tcp(None)),
            ("rtp/avp/tcp; unicast; interleaved = 8 ;mode=\"PLAY\"", tcp(Some((8, 9)))),
            ("RTP/AVP;unicast;interleaved=0-1", tcp(Some((0, 1)))),
            ("RTP/AVP/TCP;interleaved=300-301", tcp(None)),
            (
                "RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001;source=10.0.0.9",
                udp(Some((6000, 6001))),
            ),
            ("RTP/AVP/UDP;unicast;server_port=6000", udp(Some((6000, 6001)))),
            ("RTP/AVP;unicast;server_port=0-0", udp(None)),
            ("", udp(None)),
        ] {
            assert_eq!(parse(value), wanted, "{value}");
        }
    }
}
