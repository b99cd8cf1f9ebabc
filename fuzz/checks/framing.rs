//! The byte stream of a connection, in any cuts.

use super::input::{Cuts, Input};
use crate::rtsp::{
    framing::{Framer, Piece},
    message::{BODY_MAX, HEAD_MAX},
};

/// Longest frame, and the bytes behind it by which it is judged.
pub(super) const HELD_BACK_MAX: usize = 4 + u16::MAX as usize + 20;

/// What came of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    pieces: Vec<String>,
    resyncs: u64,
    stray: u64,
    /// Bytes that were not used.
    left: usize,
}

/// Splits a stream into pieces: whole, byte by byte, and in other cuts. Its first byte says which channels are known, its second how
/// it is cut.
pub fn framing(input: &[u8]) {
    let mut input = Input::new(input);
    let (routes, cuts) = (input.byte(), input.byte());
    let bytes = input.rest();
    let whole = split(bytes, routes, Cuts::new(0));
    let each = split(bytes, routes, Cuts::new(1));
    let cut = split(bytes, routes, Cuts::new(cuts.max(2)));
    // After damage the cuts may decide where the next start is seen.
    if [&whole, &each, &cut].iter().all(|outcome| outcome.resyncs == 0) {
        assert_eq!(whole, each);
        assert_eq!(whole, cut);
    }
}

fn framer(routes: u8) -> Framer {
    let mut framer = Framer::default();
    if routes & 1 == 0 {
        framer.set_route(0, (0, 1), 96);
    }
    if routes & 2 == 0 {
        let channels = if routes & 4 == 0 { (2, 3) } else { (u8::MAX, 0) };
        framer.set_route(1, channels, if routes & 8 == 0 { 97 } else { 96 });
    }
    framer
}

/// As many bytes may wait as a frame announces, and those behind it by which it is judged: empty lines and a method.
fn longest_wait(waits: &[u8]) -> usize {
    match waits {
        [b'$', _, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])) + 20,
        _ => 20,
    }
}

fn split(bytes: &[u8], routes: u8, mut cuts: Cuts) -> Outcome {
    let mut framer = framer(routes);
    let mut pieces = Vec::new();
    let (mut from, mut to, mut calls, mut size) = (0, 0, 0, 0);
    while to < bytes.len() {
        to += cuts.next(bytes.len() - to);
        loop {
            let stray = framer.stray();
            let (used, piece) = framer.next(&bytes[from..to]);
            calls += 1;
            assert!(used <= to - from && framer.stray() >= stray);
            from += used;
            match piece {
                Some(Piece::Rtp { track, packet }) => {
                    assert!(framer.rtcp_channel(track).is_some() && packet.len() <= used);
                    size += packet.len();
                    pieces.push(format!("rtp {track} {packet:?}"));
                }
                Some(Piece::Rtcp { track, packet }) => {
                    assert!(framer.rtcp_channel(track).is_some() && packet.len() <= used);
                    size += packet.len();
                    pieces.push(format!("rtcp {track} {packet:?}"));
                }
                Some(Piece::Message(message)) => {
                    assert!(message.body.len() <= BODY_MAX);
                    size += message.body.len();
                    pieces.push(format!("{message:?}"));
                }
                Some(Piece::Oversized) => {
                    assert!(
                        bytes.len() > HEAD_MAX
                            || bytes.windows(6).any(|digits| digits.iter().all(u8::is_ascii_digit))
                    );
                    pieces.push("oversized".to_owned());
                }
                None => break,
            }
        }
        let waits = &bytes[from..to];
        assert!(waits.len() <= longest_wait(waits), "{waits:?} wait");
    }
    // Each call uses a byte at least, but for the last one of each read.
    assert!(calls <= 2 * bytes.len() + 1, "{calls} calls for {} bytes", bytes.len());
    assert!(size + framer.stray() as usize <= from, "{size} and {} bytes of {from}", framer.stray());
    if framer.awaits_body()
        && let Some(message) = framer.finish_body()
    {
        pieces.push(format!("{message:?}"));
    }
    assert!(!framer.awaits_body() && framer.finish_body().is_none());
    Outcome { pieces, resyncs: framer.resyncs(), stray: framer.stray(), left: to - from }
}
