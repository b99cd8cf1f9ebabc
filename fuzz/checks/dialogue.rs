//! Sessions with a camera that says anything: from the first request on, and once they play.

use std::time::Duration;

use super::{
    framing::HELD_BACK_MAX,
    input::{Cuts, Input},
    session::{HOST, Rig, settings},
};
use crate::rtsp::{
    message::{BODY_MAX, HEAD_MAX},
    track::Delivery,
};

const VIDEO: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=cam\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n\
    a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;\
    sprop-parameter-sets=Z0LAKNoB4AiflwEQAAADABAAAAMDIPGDKg==,aM4PyA==\r\na=control:trackID=1\r\n";
const AUDIO: &str = "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/16000/1\r\n\
    a=fmtp:97 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408\r\na=control:trackID=2\r\n";
/// The parameter sets of that description.
const SPS: [u8; 25] = [
    0x67, 0x42, 0xc0, 0x28, 0xda, 0x01, 0xe0, 0x08, 0x9f, 0x97, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3,
    0x20, 0xf1, 0x83, 0x2a,
];
const PPS: [u8; 4] = [0x68, 0xce, 0x0f, 0xc8];
/// Most bytes that are taken for something else because of what came before them, and the length of a picture among them.
const SWALLOWED_MAX: usize = HEAD_MAX + BODY_MAX + 2 * HELD_BACK_MAX;
const PICTURE_BYTES: usize = 6000;
/// What an answer may say, with and without a meaning to the request.
const STATUS: [&str; 16] = [
    "200 OK",
    "100 Continue",
    "301 Moved Permanently",
    "302 Found",
    "400 Bad Request",
    "401 Unauthorized",
    "403 Forbidden",
    "404 Not Found",
    "405 Method Not Allowed",
    "451 Parameter Not Understood",
    "454 Session Not Found",
    "455 Method Not Valid in This State",
    "459 Aggregate Operation Not Allowed",
    "461 Unsupported Transport",
    "500",
    "503 Service Unavailable",
];

/// A whole session, whose camera says what the input says.
pub fn dialogue(input: &[u8]) {
    let mut input = Input::new(input);
    let mut camera = Camera::new(input.byte());
    while !input.is_empty() {
        camera.act(&mut input);
    }
    camera.rig.finish();
}

/// A session that plays; then its camera says what the input says.
pub fn session(input: &[u8]) {
    let mut input = Input::new(input);
    let mut camera = Camera::new(input.byte());
    while !camera.rig.playing {
        camera.answer_as_usual();
    }
    camera.usual_connection = Some(camera.rig.connections);
    while !input.is_empty() {
        camera.act(&mut input);
    }
    camera.rig.finish();
}

struct Camera {
    rig: Rig,
    /// Number of the connection whose channels are those that were asked for.
    usual_connection: Option<usize>,
    /// Of the tracks of pictures and sound.
    sequence: [u16; 2],
    time: u32,
}

impl Camera {
    fn new(flags: u8) -> Self {
        Self {
            rig: Rig::new(settings(flags)),
            usual_connection: None,
            sequence: [65_530, 7],
            time: 0xffff_0000,
        }
    }

    /// Answers the last request as a camera does that makes no mistakes.
    fn answer_as_usual(&mut self) {
        let Some((method, cseq)) = self.rig.requests.pop() else { return };
        let (headers, body) = match method.as_str() {
            "OPTIONS" => ("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER", String::new()),
            "DESCRIBE" => ("Content-Base: rtsp://192.0.2.7/live/", format!("{VIDEO}{AUDIO}")),
            "SETUP" => ("Session: 12345678;timeout=20", String::new()),
            _ => ("Session: 12345678", String::new()),
        };
        self.answer(0, &cseq, headers.as_bytes(), body.as_bytes(), Cuts::new(0));
    }

    fn answer(&mut self, status: usize, cseq: &str, headers: &[u8], body: &[u8], cuts: Cuts) {
        let head =
            format!("RTSP/1.0 {}\r\nCSeq: {cseq}\r\nContent-Length: {}\r\n", STATUS[status], body.len());
        self.rig.feed(&[head.as_bytes(), headers, b"\r\n\r\n", body].concat(), cuts);
    }

    /// Sends an RTP packet that is next on a track of pictures (0) or sound (1).
    fn send(&mut self, track: usize, marker: bool, payload: &[u8], cuts: Cuts) {
        let mut packet = vec![0x80, u8::from(marker) << 7 | [96, 97][track]];
        packet.extend(self.sequence[track].to_be_bytes());
        packet.extend(self.time.to_be_bytes());
        packet.extend([0, 0, 0, [7, 8][track]]);
        packet.extend(payload);
        self.sequence[track] = self.sequence[track].wrapping_add(1);
        self.frame([0, 2][track], &packet, cuts);
    }

    /// Sends a packet in the connection; those that are too long, cut.
    fn frame(&mut self, channel: u8, packet: &[u8], cuts: Cuts) {
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        let packet = &packet[..usize::from(length)];
        self.rig.feed(&[&[b'$', channel][..], &length.to_be_bytes(), packet].concat(), cuts);
    }

    /// Does one thing that the input says.
    fn act(&mut self, input: &mut Input<'_>) {
        let act = input.byte();
        let cuts = Cuts::new([0, 1, 5, 80][usize::from(act >> 6)]);
        let (first, second) = (act & 16 != 0, act & 32 != 0);
        match act & 15 {
            0 => self.rig.feed(input.short(), cuts),
            1 => self.rig.feed(input.long(), cuts),
            2 => {
                self.time = self.time.wrapping_add(if first { 3600 } else { 0 });
                self.send(0, second, input.short(), cuts);
            }
            3 => self.send(usize::from(first), second, input.long(), cuts),
            4 => self.frame(u8::from(first), input.short(), cuts),
            5 => self.rig.datagram(usize::from(first), second, input.short()),
            6 => self.answer_as_usual(),
            7 => {
                // Headers and, if it has one, a body of the input's, under the number of the last request or none.
                let status = usize::from(input.byte() & 15);
                let cseq = self
                    .rig
                    .requests
                    .last()
                    .filter(|_| !first)
                    .map(|(_, cseq)| cseq.clone())
                    .unwrap_or_default();
                let (headers, body) = (input.short(), if second { input.long() } else { &[] });
                self.answer(status, &cseq, headers, body, cuts);
            }
            8 => {
                let method =
                    ["OPTIONS", "SET_PARAMETER", "ANNOUNCE", "TEARDOWN"][usize::from(input.byte() & 3)];
                let head = format!("{method} rtsp://{HOST}/live RTSP/1.0\r\nCSeq: 1\r\n");
                self.rig.feed(&[head.as_bytes(), input.short(), b"\r\n\r\n"].concat(), cuts);
            }
            9 => self.rig.pass(Duration::from_millis(u64::from(input.u16()))),
            10 => self.rig.pass(Duration::from_secs(u64::from(input.byte()))),
            11 => self.rig.disconnect(first.then_some("reset by peer")),
            12 => self.rig.is_closed = first,
            13 => self.rig.stop(),
            14 => {
                // Pictures of one slice each, the time between them passes.
                for _ in 0..input.byte() % 32 {
                    self.time = self.time.wrapping_add(3600);
                    self.send(0, !first, &[0x65, 0x88, 0x80, 0x55, 0x55], Cuts::new(0));
                    self.rig.pass(Duration::from_millis(40));
                }
            }
            _ if second => self.recover(),
            _ => drop(self.rig.requests.pop()),
        }
    }

    /// Whatever came before, pictures arrive as long as the session plays.
    fn recover(&mut self) {
        let is_stream = self.rig.session.facts().delivery == Delivery::Stream;
        if !is_stream || self.usual_connection != Some(self.rig.connections) {
            return;
        }
        let mut slice = vec![0x65, 0x88, 0x80];
        slice.resize(PICTURE_BYTES, 0x55);
        self.rig.last = None;
        for _ in 0..=SWALLOWED_MAX / PICTURE_BYTES {
            for nal in [&SPS[..], &PPS, &slice] {
                self.send(0, nal == slice, nal, Cuts::new(0));
            }
            self.time = self.time.wrapping_add(3600);
            self.rig.pass(Duration::from_millis(40));
            if self.rig.over || self.rig.last == Some((4 + PICTURE_BYTES, false)) {
                return;
            }
        }
        panic!("no picture arrives");
    }
}
