//! What cameras put into their byte streams, and what has to come out of it.

use proptest::{collection::vec, prelude::*};

use super::*;

const SSRC: u32 = 0x1234;
const ANSWER: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 5\r\nContent-Length: 2\r\n\r\nok";

/// Bytes of an RTP packet.
fn rtp(payload_type: u8, sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 1]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// A sender report (RFC 3550, 6.4.1) without report blocks.
fn report() -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6, 0, 0];
    packet.extend_from_slice(&(SSRC as u16).to_be_bytes());
    packet.extend_from_slice(&[7; 20]);
    packet
}

fn framed(channel: u8, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![b'$', channel];
    frame.extend_from_slice(&(packet.len() as u16).to_be_bytes());
    frame.extend_from_slice(packet);
    frame
}

/// A frame of the video track, whose payload names its number.
fn video(sequence: u16) -> Vec<u8> {
    framed(0, &rtp(96, sequence, SSRC, &[sequence as u8; 100]))
}

/// One track on the channels 0 and 1.
fn one_track() -> Framer {
    let mut framer = Framer::default();
    framer.set_route(0, (0, 1), 96);
    framer
}

/// What came, as text.
fn name(piece: &Piece<'_>) -> String {
    match piece {
        Piece::Rtp { track, packet } if packet.len() >= 4 => format!("rtp {track} {}", packet[3]),
        Piece::Rtp { track, packet } => format!("rtp {track} of {}", packet.len()),
        Piece::Rtcp { track, .. } => format!("rtcp {track}"),
        Piece::Message(message) => match &message.start {
            StartLine::Answer { status, .. } => {
                format!("{status} {}", String::from_utf8_lossy(&message.body))
            }
            StartLine::Request { method, .. } => {
                format!("{method} {}", String::from_utf8_lossy(&message.body))
            }
        },
        Piece::Oversized => "oversized".to_owned(),
    }
}

/// Feeds `bytes`, which end at `cuts`, and gives what came out and what was left.
fn feed(framer: &mut Framer, bytes: &[u8], cuts: &[usize]) -> (Vec<String>, usize) {
    let mut out = Vec::new();
    let mut begin = 0;
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    for end in cuts {
        loop {
            let (used, piece) = framer.next(&bytes[begin..end]);
            begin += used;
            match piece {
                Some(piece) => out.push(name(&piece)),
                None => break,
            }
        }
    }
    (out, bytes.len() - begin)
}

fn all(framer: &mut Framer, parts: &[&[u8]]) -> Vec<String> {
    feed(framer, &parts.concat(), &[]).0
}

#[test]
fn messages_frames_and_empty_lines_come_one_after_the_other() {
    let mut framer = one_track();
    let bytes = [ANSWER, &video(1), b"\r\n\r\n", &framed(1, &report()), ANSWER, &video(2)];
    let request = b"OPTIONS * RTSP/1.0\nCSeq: 1\n\n";
    let (out, left) = feed(&mut framer, &[&bytes.concat(), &request[..]].concat(), &[]);
    assert_eq!(out, ["200 ok", "rtp 0 1", "rtcp 0", "200 ok", "rtp 0 2", "OPTIONS "]);
    assert_eq!((left, framer.resyncs()), (0, 0));
}

#[test]
fn stray_bytes_between_frames_cost_nothing() {
    let noise: Vec<u8> = (0..60).map(|n: u8| n.wrapping_mul(37) | 1).collect();
    let with_dollars = b"$\0\0\x20$$$$$$ $\x01$\0\x05\x80";
    for stray in [&noise[..], &[0; 23], b"x", with_dollars, b"RTSP", b"tail of a payload $ and more"] {
        let mut framer = one_track();
        let out = all(&mut framer, &[&video(1), stray, &video(2), &video(3), stray, ANSWER, &video(4)]);
        assert_eq!(out, ["rtp 0 1", "rtp 0 2", "rtp 0 3", "200 ok", "rtp 0 4"], "{stray:?}");
        assert_eq!(framer.resyncs(), 2, "{stray:?}");
    }
}

#[test]
fn a_frame_that_is_longer_than_it_says_leaves_a_tail_that_is_skipped() {
    let mut short = video(2);
    short[3] -= 40;
    let mut framer = one_track();
    let out = all(&mut framer, &[&video(1), &short, &video(3), &video(4)]);
    assert_eq!(out, ["rtp 0 1", "rtp 0 2", "rtp 0 3", "rtp 0 4"]);
    assert_eq!(framer.resyncs(), 1);
}

#[test]
fn a_frame_that_is_shorter_than_it_says_is_the_only_one_lost() {
    let long = |by: u16| {
        let mut frame = video(2);
        let length = u16::from_be_bytes([frame[2], frame[3]]) + by;
        frame[2..4].copy_from_slice(&length.to_be_bytes());
        frame
    };
    // Up to the middle of the next frame; beyond it; many frames.
    for by in [1, 30, 130, 700, 20_000] {
        let mut framer = one_track();
        let behind: Vec<u8> = (3..250).flat_map(video).collect();
        let out = all(&mut framer, &[&video(1), &long(by), &behind]);
        assert_eq!(out[..3], ["rtp 0 1", "rtp 0 3", "rtp 0 4"], "{by}");
        assert_eq!((out.len(), framer.resyncs()), (248, 1), "{by}");
    }
    // The wrong length ends where a read ends.
    let mut framer = one_track();
    let bytes = [video(1), long(130), video(3), video(4)].concat();
    let (out, _) = feed(&mut framer, &bytes, &[video(1).len() + long(0).len() + 130]);
    assert_eq!(out, ["rtp 0 1", "rtp 0 3", "rtp 0 4"]);
}

#[test]
fn a_frame_of_which_the_camera_sent_only_a_part_is_the_only_one_lost() {
    let mut framer = one_track();
    let out = all(&mut framer, &[&video(1), &video(2)[..70], &video(3), &video(4)]);
    assert_eq!(out, ["rtp 0 1", "rtp 0 3", "rtp 0 4"]);
    assert_eq!(framer.resyncs(), 1);
}

#[test]
fn a_message_that_was_not_finished_costs_no_frame() {
    let cut = b"RTSP/1.0 200 OK\r\nCSeq: 9\r\nServ";
    let body = b"RTSP/1.0 200 OK\r\nCSeq: 9\r\nContent-Length: 9000\r\n\r\nx: 1";
    let mut framer = one_track();
    let out = all(&mut framer, &[&video(1), cut, &video(2), &video(3), body, &video(4)]);
    assert_eq!(out, ["rtp 0 1", "rtp 0 2", "rtp 0 3", "200 x: 1", "rtp 0 4"]);
    assert_eq!(framer.resyncs(), 2);
}

#[test]
fn frames_of_other_channels_are_skipped() {
    let mut framer = one_track();
    let other = framed(6, &rtp(107, 9, 77, b"<metadata/>"));
    let empty = framed(1, b"");
    let out = all(&mut framer, &[&other, &video(1), &other, &empty, &other, &video(2)]);
    assert_eq!(out, ["rtp 0 1", "rtp 0 of 0", "rtp 0 2"]);
    assert_eq!(framer.resyncs(), 0);
}

#[test]
fn empty_lines_behind_a_frame_are_not_waited_at() {
    for lines in ["\r\n", "\r\n\r\n", "\n\n\n\n\n\n"] {
        // A frame that has to be followed by another start: of no known channel, and no RTP.
        for doubtful in [framed(9, b""), framed(9, &[1; 20]), framed(9, &rtp(107, 1, 5, b"x"))] {
            let mut framer = one_track();
            let out = all(&mut framer, &[&video(1), &doubtful, lines.as_bytes(), &video(2), &video(3)]);
            assert_eq!(out, ["rtp 0 1", "rtp 0 2", "rtp 0 3"], "{lines:?} behind {doubtful:?}");
        }
    }
}

#[test]
fn packets_of_another_payload_type_are_no_damage() {
    let mut framer = one_track();
    let stray = framed(0, &rtp(50, 1, SSRC, b"\x01\x02PTZ"));
    let out = all(&mut framer, &[&stray, &video(1), &stray, &stray, &video(2)]);
    assert_eq!(out, ["rtp 0 1", "rtp 0 1", "rtp 0 1", "rtp 0 1", "rtp 0 2"]);
    assert_eq!(framer.resyncs(), 0);
}

#[test]
fn a_camera_that_uses_channels_it_did_not_name_is_understood() {
    let mut framer = one_track();
    framer.set_route(1, (2, 3), 97);
    let video_on = |channel, n| framed(channel, &rtp(96, n, SSRC, b"v"));
    let audio_on = |channel, n| framed(channel, &rtp(97, n, 88, b"a"));
    let report = framed(3, &report());
    let out =
        all(&mut framer, &[&video_on(2, 1), &audio_on(0, 2), &report, &video_on(2, 3), &audio_on(0, 4)]);
    assert_eq!(out, ["rtp 0 1", "rtp 1 2", "rtcp 0", "rtp 0 3", "rtp 1 4"]);
    assert_eq!((framer.rtcp_channel(0), framer.rtcp_channel(1)), (Some(3), Some(1)));
    let mut framer = one_track();
    assert_eq!(all(&mut framer, &[&video_on(9, 1), &video_on(9, 2)]), ["rtp 0 1", "rtp 0 2"]);
    // Once packets came on one channel, the same payload type on another is another stream.
    assert_eq!(all(&mut framer, &[&video_on(20, 3), &video_on(9, 4)]), ["rtp 0 4"]);
    // Unless it is the channel that was negotiated: then the others were stray.
    let out = all(&mut framer, &[&video_on(0, 5), &video_on(9, 6), &video_on(0, 7)]);
    assert_eq!(out, ["rtp 0 5", "rtp 0 7"]);
    assert_eq!(framer.rtcp_channel(0), Some(1));
}

#[test]
fn a_new_ssrc_is_followed() {
    let mut framer = one_track();
    let other = |n| framed(0, &rtp(96, n, 0xffff, &[n as u8; 90]));
    let out = all(&mut framer, &[&video(1), &other(2), b"stray", &other(3), b"stray", &video(4), ANSWER]);
    assert_eq!(out, ["rtp 0 1", "rtp 0 2", "rtp 0 3", "rtp 0 4", "200 ok"]);
}

#[test]
fn a_body_ends_as_announced_or_when_it_is_given_up() {
    let mut framer = Framer::default();
    let head = b"RTSP/1.0 200 OK\r\nContent-Length: 6\r\n\r\n";
    assert_eq!(all(&mut framer, &[head, b"v=0\n"]), [""; 0]);
    assert!(framer.awaits_body());
    assert_eq!(framer.finish_body().unwrap().body, b"v=0\n");
    assert!(!framer.awaits_body() && framer.finish_body().is_none());
    // Without a length, as some cameras describe themselves.
    let head = b"RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n\r\n";
    assert_eq!(all(&mut framer, &[head, b"v=0\r\n", b"m=video"]), [""; 0]);
    assert_eq!(framer.finish_body().unwrap().body, b"v=0\r\nm=video");
}

#[test]
fn heads_and_bodies_have_a_bound() {
    let mut framer = one_track();
    let head = [b"RTSP/1.0 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(12_000)].concat();
    assert_eq!(all(&mut framer, &[&head, &video(1), ANSWER]), ["oversized", "rtp 0 1", "200 ok"]);
    let line = vec![b'a'; HEAD_MAX + 1];
    assert_eq!(all(&mut framer, &[b"RTSP/1.0 200 ", &line, b"\n", &video(2)]), ["oversized", "rtp 0 2"]);
    let announced = b"RTSP/1.0 200 OK\r\nContent-Length: 10000000\r\n\r\n";
    assert_eq!(all(&mut framer, &[announced, &video(3)]), ["oversized", "rtp 0 3"]);
    let endless = b"RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n\r\n";
    let out = all(&mut Framer::default(), &[endless, &vec![b'v'; BODY_MAX + 1], ANSWER]);
    assert_eq!(out, ["oversized", "200 ok"]);
}

#[test]
fn what_does_not_speak_rtsp_is_noticed() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n<html>"[..],
        b"SSH-2.0-OpenSSH\r\n",
        &[0; 2000],
        b"RTSP/x\r\n\r\n",
    ] {
        let mut framer = Framer::default();
        assert_eq!(feed(&mut framer, bytes, &[]).0, [""; 0]);
        assert!(framer.only_stray(), "{bytes:?}");
    }
    let mut framer = Framer::default();
    all(&mut framer, &[b"\0\0\0", ANSWER]);
    assert!(!framer.only_stray());
}

/// Parts of a byte stream, whole or damaged in ways that do not depend on how it is read.
fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<u16>().prop_map(video),
        1 => any::<u16>().prop_map(|n| framed(2, &rtp(97, n, 88, &[n as u8; 30]))),
        1 => Just(framed(1, &report())),
        1 => Just(ANSWER.to_vec()),
        1 => Just(b"SET_PARAMETER rtsp://h/ RTSP/1.0\nContent-Length: 4\n\nx: 1".to_vec()),
        1 => any::<u8>().prop_map(|n| framed(n, &rtp(107, 1, 5, &[n; 40]))),
        1 => vec(any::<u8>(), 1..60),
        1 => Just(b"\r\n".to_vec()),
    ]
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_changes_nothing(parts in vec(part(), 1..25), cuts in vec(any::<usize>(), 0..40)) {
        let framer = || {
            let mut framer = one_track();
            framer.set_route(1, (2, 3), 97);
            framer
        };
        let (mut whole, mut cut) = (framer(), framer());
        let bytes = parts.concat();
        let expected = feed(&mut whole, &bytes, &[]);
        prop_assert_eq!(&feed(&mut cut, &bytes, &cuts), &expected);
        prop_assert_eq!(whole.resyncs(), cut.resyncs());
        let each: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&feed(&mut framer(), &bytes, &each), &expected);
    }

    #[test]
    fn damage_costs_only_what_was_damaged(parts in vec((any::<u16>(), vec(any::<u8>(), 0..60)), 1..25)) {
        // A certain start is known after the first frame.
        let stream: Vec<u8> = parts.iter().flat_map(|(n, stray)| [video(*n), stray.clone()].concat()).collect();
        let mut framer = one_track();
        let (out, _) = feed(&mut framer, &[stream, video(0), ANSWER.to_vec()].concat(), &[]);
        let mut out = out.into_iter();
        for (n, _) in &parts {
            let wanted = format!("rtp 0 {}", *n as u8);
            prop_assert!(out.any(|found| found == wanted), "{wanted} is missing");
        }
    }

    #[test]
    fn no_bytes_panic_or_wait_for_more_than_a_frame(bytes in vec(any::<u8>(), 0..3000), cuts in vec(any::<usize>(), 0..6),
                                                    dollars in vec(any::<usize>(), 0..60)) {
        let mut bytes = bytes;
        for at in dollars {
            if !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] = b'$';
            }
        }
        let mut framer = one_track();
        feed(&mut framer, &bytes, &cuts);
        feed(&mut framer, &[b"RTSP/1.0 200 OK\r\n", &bytes[..]].concat(), &cuts);
        let (_, left) = feed(&mut framer, &[&bytes[..], &[0x80; 70_000]].concat(), &cuts);
        prop_assert!(left <= FRAME_HEADER + usize::from(u16::MAX) + 16, "{left} bytes are left");
    }
}
