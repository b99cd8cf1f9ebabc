//! Splits the bytes of one RTSP connection into messages and interleaved frames (RFC 2326, 10.12), and finds the next start after
//! bytes that are neither.
//!
//! A frame is `$`, a channel, a length of 16 bits and that many bytes, mostly an RTP or RTCP packet. Nothing marks its end, so
//! starts are judged by their content: a known channel with the track's payload type and SSRC is certain, as 56 bits agree. After
//! damage the bytes up to the next such start are skipped, and counted as one resync.
//!
//! How the bytes are cut into reads changes nothing, but for one thing: whether a frame whose length is too large is recognised by
//! the bytes behind it, or by a certain start inside.

use super::message::{BODY_MAX, HEAD_MAX, Headers, Message, StartLine, parse_head};

/// Bytes of a frame before its packet.
const FRAME_HEADER: usize = 4;
/// Bytes of an RTP packet's fixed header (RFC 3550, 5.1).
const RTP_HEADER: usize = 12;
/// Bytes of an RTCP packet up to and with its sender's SSRC.
const RTCP_HEADER: usize = 8;
/// Longest frame that is taken although its content is no RTP, in bytes.
const OTHER_FRAME_MAX: usize = 2048;
/// So many bytes of empty lines are not looked through for what follows a frame.
const BLANKS_MAX: usize = 4;
/// Bytes of a body that are reserved before they came.
const BODY_RESERVED: usize = 16 * 1024;
/// How a message begins: an answer, or a request of the camera's own.
const MESSAGE_STARTS: [&[u8]; 12] = [
    b"RTSP/",
    b"OPTIONS ",
    b"ANNOUNCE ",
    b"SET_PARAMETER ",
    b"GET_PARAMETER ",
    b"REDIRECT ",
    b"TEARDOWN ",
    b"DESCRIBE ",
    b"SETUP ",
    b"PLAY ",
    b"PAUSE ",
    b"RECORD ",
];

/// Something that came whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// An RTP packet of a track.
    Rtp {
        /// Number of the track.
        track: usize,
        /// The packet.
        packet: &'a [u8],
    },
    /// An RTCP packet of a track.
    Rtcp {
        /// Number of the track.
        track: usize,
        /// The packet.
        packet: &'a [u8],
    },
    /// A request or an answer.
    Message(Message),
    /// A head or body above its bound. What follows is searched for the next start.
    Oversized,
}

/// Whether an RTP or RTCP packet is RTCP: packet types 200 to 207, which RTP could only have with the marker bit and one of the
/// payload types 72 to 79, which are reserved for that reason (RFC 5761, 4).
pub fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|kind| (200..=207).contains(kind))
}

/// Channels of a track, and what its packets look like.
#[derive(Clone, Copy, Debug)]
struct Route {
    track: usize,
    /// As negotiated.
    negotiated: (u8, u8),
    /// As in use.
    rtp: u8,
    rtcp: u8,
    payload_type: u8,
    /// Of the last packet with that payload type.
    ssrc: Option<u32>,
}

impl Route {
    fn has(&self, channel: u8) -> bool {
        self.rtp == channel || self.rtcp == channel
    }
}

/// How sure it is that a frame begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Channel, payload type and SSRC are those of a track.
    Certain,
    /// Channel and payload type are those of a track.
    Likely,
    /// The frame has to be followed by another start.
    Doubtful,
}

enum Start {
    Frame { size: usize, trust: Trust },
    Message,
    Nothing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A frame or message is expected to begin.
    #[default]
    Between,
    /// After damage: the next start is searched for.
    Searching,
    Head,
    Body,
}

#[derive(Debug)]
struct PartialMessage {
    start: StartLine,
    headers: Headers,
    body: Vec<u8>,
    /// Bytes that the body will have; [`BODY_MAX`] and one more if it ends with silence.
    length: usize,
}

/// What became of some bytes.
enum Progress<'a> {
    /// So many were used, and there may be more in the rest.
    Used(usize),
    /// So many were used for a piece.
    Piece(usize, Piece<'a>),
    /// More bytes are needed.
    Wait,
}

/// Splits one connection's bytes. It keeps parts of messages itself; parts of frames are left to the caller.
#[derive(Debug, Default)]
pub struct Framer {
    state: State,
    routes: Vec<Route>,
    head: Vec<u8>,
    /// Where the last line of `head` begins.
    line: usize,
    message: Option<PartialMessage>,
    /// How much of a frame that waits for more bytes holds no certain start.
    scanned: usize,
    resyncs: u64,
    stray: u64,
    messages: u64,
}

impl Framer {
    /// Takes the packets on these channels for those of a track. A track that is known already gets other channels.
    pub fn set_route(&mut self, track: usize, (rtp, rtcp): (u8, u8), payload_type: u8) {
        self.routes.retain(|route| route.track != track);
        let negotiated = (rtp, rtcp);
        self.routes.push(Route { track, negotiated, rtp, rtcp, payload_type, ssrc: None });
    }

    /// The RTCP channel of a track.
    pub fn rtcp_channel(&self, track: usize) -> Option<u8> {
        self.routes.iter().find(|route| route.track == track).map(|route| route.rtcp)
    }

    /// How often the next start had to be searched for.
    pub fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Whether bytes came, and none of them was a message.
    pub fn only_stray(&self) -> bool {
        self.messages == 0 && self.stray > 0
    }

    /// Bytes that belonged to no frame and no message.
    pub fn stray(&self) -> u64 {
        self.stray
    }

    /// Whether a message came but for the end of its body.
    pub fn awaits_body(&self) -> bool {
        self.state == State::Body
    }

    /// Takes the body that is awaited for complete: its length was announced wrongly, or not at all.
    pub fn finish_body(&mut self) -> Option<Message> {
        if self.state == State::Body {
            self.state = State::Between;
        }
        self.message.take().map(|PartialMessage { start, headers, body, .. }| Message {
            start,
            headers,
            body,
        })
    }

    /// Gives the next piece in `bytes`, if one is complete, and how many bytes were used up to its end. The rest has to come again,
    /// with more behind it.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> (usize, Option<Piece<'a>>) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let progress = match self.state {
                State::Between => self.take_start(rest),
                State::Searching => self.search(rest),
                State::Head => self.take_head(rest),
                State::Body => self.take_body(rest),
            };
            match progress {
                Progress::Used(used) => {
                    at += used;
                    self.scanned = 0;
                }
                Progress::Piece(used, piece) => {
                    self.scanned = 0;
                    return (at + used, Some(piece));
                }
                Progress::Wait => break,
            }
        }
        (at, None)
    }

    fn take_start<'a>(&mut self, rest: &'a [u8]) -> Progress<'a> {
        // Empty lines between messages are harmless (RFC 2326, 4.1 for those before a request).
        if matches!(rest[0], b'\r' | b'\n') {
            return Progress::Used(1);
        }
        match self.start(rest) {
            None => Progress::Wait,
            Some(Start::Message) => self.begin_head(),
            Some(Start::Nothing) => {
                self.lose_sync();
                Progress::Used(0)
            }
            Some(Start::Frame { size, trust }) => {
                let follows = rest.get(size..).map(|behind| self.follows(behind));
                match (follows, trust) {
                    (Some(Some(true)), Trust::Certain | Trust::Likely) => return self.take_frame(rest, size),
                    (Some(Some(false)), Trust::Doubtful) => {
                        self.lose_sync();
                        return Progress::Used(0);
                    }
                    _ => {}
                }
                // The end cannot be seen, or stray bytes follow. A certain start inside says that the length is wrong.
                if let Some(inside) = self.find_inside(rest, size) {
                    self.resyncs += 1;
                    self.stray += inside as u64;
                    return Progress::Used(inside);
                }
                match (follows, trust) {
                    (None, _) | (Some(None), Trust::Doubtful) => Progress::Wait,
                    _ => self.take_frame(rest, size),
                }
            }
        }
    }

    /// The first certain start inside a frame of `size` bytes, of which `rest` has a part or the whole, and which is looked at again
    /// when more bytes came.
    fn find_inside(&mut self, rest: &[u8], size: usize) -> Option<usize> {
        let found = self.find_certain(rest, self.scanned.max(FRAME_HEADER), size);
        // The last bytes are too few to judge a start.
        self.scanned = size.min(rest.len()).saturating_sub(FRAME_HEADER + RTP_HEADER - 1);
        found
    }

    /// What comes next is searched for a start.
    fn lose_sync(&mut self) {
        self.resyncs += 1;
        self.state = State::Searching;
    }

    fn search<'a>(&mut self, rest: &'a [u8]) -> Progress<'a> {
        for (at, byte) in rest.iter().enumerate() {
            if *byte != b'$' && !MESSAGE_STARTS.iter().any(|start| start[0] == *byte) {
                continue;
            }
            let begins = self.start(&rest[at..]);
            let found = match begins {
                None => None,
                Some(Start::Nothing | Start::Frame { trust: Trust::Doubtful, .. }) => Some(false),
                Some(Start::Message | Start::Frame { trust: Trust::Certain, .. }) => Some(true),
                Some(Start::Frame { size, trust: Trust::Likely }) => {
                    rest.get(at + size..).and_then(|behind| self.follows(behind))
                }
            };
            match found {
                Some(false) => continue,
                Some(true) => self.state = State::Between,
                None => {}
            }
            let mut used = at;
            if found.is_none() && at == 0 {
                // Enough bytes to judge this start will come; or a certain one comes before.
                let Some(Start::Frame { size, .. }) = begins else { return Progress::Wait };
                let Some(inside) = self.find_inside(rest, size) else { return Progress::Wait };
                used = inside;
            }
            self.stray += used as u64;
            return Progress::Used(used);
        }
        self.stray += rest.len() as u64;
        Progress::Used(rest.len())
    }

    fn take_frame<'a>(&mut self, rest: &'a [u8], size: usize) -> Progress<'a> {
        let (channel, packet) = (rest[1], &rest[FRAME_HEADER..size]);
        if is_rtcp(packet) {
            let of_channel = |route: &&Route| route.has(channel);
            let ssrc = packet.get(4..8).map(be_u32);
            let sender = self.routes.iter().filter(of_channel).find(|route| route.ssrc == ssrc);
            return match sender.or_else(|| self.routes.iter().find(of_channel)) {
                Some(route) => Progress::Piece(size, Piece::Rtcp { track: route.track, packet }),
                None => Progress::Used(size),
            };
        }
        let payload_type = packet.get(1).map_or(0, |byte| byte & 0x7f);
        let Some(index) = self.route(channel, payload_type) else { return Progress::Used(size) };
        let route = &mut self.routes[index];
        if route.payload_type == payload_type && packet.len() >= RTP_HEADER {
            route.ssrc = Some(be_u32(&packet[8..12]));
            if channel == route.negotiated.0 {
                (route.rtp, route.rtcp) = route.negotiated;
            } else if !route.has(channel) {
                (route.rtp, route.rtcp) = (channel, channel.wrapping_add(1));
            }
        }
        Progress::Piece(size, Piece::Rtp { track: route.track, packet })
    }

    /// Which track an RTP packet is of: the one that has the channel, or had it negotiated, and the payload type; else the only one
    /// with that payload type, if nothing came for it yet, because some cameras use other channels than they answered; else the one
    /// that has the channel.
    fn route(&self, channel: u8, payload_type: u8) -> Option<usize> {
        let position = |test: &dyn Fn(&Route) -> bool| self.routes.iter().position(test);
        let has = |route: &Route| route.has(channel) || route.negotiated.0 == channel;
        let exact = position(&|route| has(route) && route.payload_type == payload_type);
        let elsewhere = || {
            let mut same = self.routes.iter().filter(|route| route.payload_type == payload_type);
            let only = same.next().filter(|_| same.next().is_none())?;
            only.ssrc.is_none().then(|| position(&|route| route.track == only.track)).flatten()
        };
        exact.or_else(elsewhere).or_else(|| position(&|route| route.has(channel)))
    }

    /// What begins at the first byte; `None` if more bytes are needed to say.
    fn start(&self, bytes: &[u8]) -> Option<Start> {
        if bytes.first() != Some(&b'$') {
            return is_message_start(bytes).map(|is| if is { Start::Message } else { Start::Nothing });
        }
        let [_, channel, high, low, packet @ ..] = bytes else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let header = packet.get(..length.min(RTP_HEADER))?;
        let version_2 = header.first().is_some_and(|byte| byte >> 6 == 2);
        if !version_2 && length > OTHER_FRAME_MAX {
            return Some(Start::Nothing);
        }
        let trust = if version_2 { self.trust(*channel, length, header) } else { Trust::Doubtful };
        Some(Start::Frame { size: FRAME_HEADER + length, trust })
    }

    /// `header` is the begin of a packet of `length` bytes, of version 2 as RTP and RTCP have it.
    fn trust(&self, channel: u8, length: usize, header: &[u8]) -> Trust {
        let (route, ssrc) = if is_rtcp(header) {
            if header.len() < RTCP_HEADER
                || 4 * (usize::from(header[2]) << 8 | usize::from(header[3])) + 4 > length
            {
                return Trust::Doubtful;
            }
            let ssrc = be_u32(&header[4..8]);
            let of_channel = |route: &&Route| route.has(channel);
            let sender = self.routes.iter().filter(of_channel).find(|route| route.ssrc == Some(ssrc));
            (sender.or_else(|| self.routes.iter().find(of_channel)), ssrc)
        } else {
            if header.len() < RTP_HEADER {
                return Trust::Doubtful;
            }
            let payload_type = header[1] & 0x7f;
            let route = self.route(channel, payload_type).map(|index| &self.routes[index]);
            (route.filter(|route| route.payload_type == payload_type), be_u32(&header[8..12]))
        };
        match route {
            Some(route) if route.ssrc == Some(ssrc) => Trust::Certain,
            Some(_) => Trust::Likely,
            None => Trust::Doubtful,
        }
    }

    /// Whether another frame or message begins here, as far as a few bytes can say; `None` if there are too few.
    fn follows(&self, bytes: &[u8]) -> Option<bool> {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).take(BLANKS_MAX).count();
        if blank == BLANKS_MAX {
            return Some(false);
        }
        let bytes = &bytes[blank..];
        if *bytes.first()? != b'$' {
            return is_message_start(bytes);
        }
        match bytes {
            [_, channel, 0, 0, ..] => Some(self.routes.iter().any(|route| route.has(*channel))),
            [_, _, _, _, first, ..] => Some(first >> 6 == 2),
            _ => None,
        }
    }

    /// The first certain start of a frame in `bytes`, between `from` and `to`.
    fn find_certain(&self, bytes: &[u8], from: usize, to: usize) -> Option<usize> {
        self.routes.iter().any(|route| route.ssrc.is_some()).then_some(())?;
        let certain = |at: &usize| {
            bytes[*at] == b'$'
                && matches!(self.start(&bytes[*at..]), Some(Start::Frame { trust: Trust::Certain, .. }))
        };
        (from..to.min(bytes.len())).find(certain)
    }

    fn begin_head<'a>(&mut self) -> Progress<'a> {
        self.head.clear();
        self.line = 0;
        self.state = State::Head;
        Progress::Used(0)
    }

    /// Takes a line of a head, or as much of it as there is.
    fn take_head<'a>(&mut self, rest: &'a [u8]) -> Progress<'a> {
        let end = rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let size = end.unwrap_or(rest.len());
        if let Some(at) = self.find_certain(rest, 0, size) {
            // The camera did not finish the message.
            self.resyncs += 1;
            self.stray += (self.head.len() + at) as u64;
            self.state = State::Between;
            return Progress::Used(at);
        }
        if self.head.len() + size > HEAD_MAX {
            self.lose_sync();
            return Progress::Piece(size, Piece::Oversized);
        }
        self.head.extend_from_slice(&rest[..size]);
        if end.is_none() {
            return Progress::Used(size);
        }
        let line = &self.head[self.line..];
        if !line.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            self.line = self.head.len();
            return Progress::Used(size);
        }
        self.end_head(size)
    }

    fn end_head<'a>(&mut self, used: usize) -> Progress<'a> {
        let head = std::mem::take(&mut self.head);
        let Some((start, headers)) = parse_head(&head) else {
            self.stray += head.len() as u64;
            self.lose_sync();
            return Progress::Used(used);
        };
        self.messages += 1;
        self.state = State::Between;
        let unbounded = headers.get("content-type").is_some_and(|kind| kind.contains("sdp"));
        let length = headers.content_length().unwrap_or(if unbounded { BODY_MAX + 1 } else { 0 });
        if length == 0 {
            return Progress::Piece(used, Piece::Message(Message { start, headers, body: Vec::new() }));
        }
        if length > BODY_MAX && headers.content_length().is_some() {
            self.lose_sync();
            return Progress::Piece(used, Piece::Oversized);
        }
        let body = Vec::with_capacity(length.min(BODY_RESERVED));
        self.message = Some(PartialMessage { start, headers, body, length });
        self.state = State::Body;
        Progress::Used(used)
    }

    fn take_body<'a>(&mut self, rest: &'a [u8]) -> Progress<'a> {
        let Some(missing) = self.message.as_ref().map(|message| message.length - message.body.len()) else {
            self.state = State::Between;
            return Progress::Used(0);
        };
        let size = missing.min(rest.len());
        // A frame inside says that the announced length was too large.
        let frame = self.find_certain(rest, 0, size);
        let size = frame.unwrap_or(size);
        if let Some(message) = &mut self.message {
            message.body.extend_from_slice(&rest[..size]);
            if message.body.len() > BODY_MAX {
                self.message = None;
                self.lose_sync();
                return Progress::Piece(size, Piece::Oversized);
            }
        }
        if frame.is_some() {
            self.resyncs += 1;
        } else if size < missing {
            return Progress::Used(size);
        }
        match self.finish_body() {
            Some(message) => Progress::Piece(size, Piece::Message(message)),
            None => Progress::Used(size),
        }
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Whether a message begins at the first byte; `None` if more bytes are needed to say.
fn is_message_start(bytes: &[u8]) -> Option<bool> {
    let mut partial = false;
    for start in MESSAGE_STARTS {
        if bytes.starts_with(start) {
            return Some(true);
        }
        partial |= start.starts_with(bytes);
    }
    (!partial).then_some(false)
}

#[cfg(test)]
mod tests;
