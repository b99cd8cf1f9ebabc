//! RTCP of a camera whose pictures come as they should.

use std::time::Duration;

use super::{
    input::Input,
    track::{Sender, video_setup},
};
use crate::{model::segment::Codec, rtsp::track::Delivery};

/// A picture of one slice.
const PICTURE: [u8; 8] = [0x65, 0x88, 0x80, 0x55, 0x55, 0x55, 0x55, 0x55];

/// RTCP packets between pictures: every picture arrives whole, and the reports that are sent can be read.
pub fn rtcp(input: &[u8]) {
    let mut input = Input::new(input);
    let flags = input.byte();
    let mut setup = video_setup(Codec::H264);
    if flags & 1 != 0 {
        setup.delivery = Delivery::Datagrams;
    }
    if flags & 2 != 0 {
        setup.clock_rate = input.u32();
    }
    let Some(mut sender) = Sender::new(setup) else { return };
    let mut pictures = 0;
    while !input.is_empty() {
        let act = input.byte();
        match act & 3 {
            0 | 1 => sender.rtcp(input.short()),
            2 => {
                sender.time = if act & 4 == 0 { sender.time.wrapping_add(3600) } else { input.u32() };
                sender.send(&PICTURE, true);
                pictures += 1;
            }
            _ => sender.pass(Duration::from_millis(u64::from(input.u16()))),
        }
        if act & 8 != 0 {
            let report = sender.track.receiver_report(sender.now);
            assert_eq!(report.is_some(), pictures > 0);
            report.iter().for_each(|report| check_report(report));
        }
    }
    sender.finish();
    assert_eq!(sender.pictures, pictures, "every picture arrives");
    assert_eq!(sender.track.damage(), Default::default());
}

/// A compound packet of a receiver report with one block and a source description (RFC 3550, 6.1).
fn check_report(mut report: &[u8]) {
    for (head, length) in [([0x81, 201], Some(7)), ([0x81, 202], None)] {
        assert_eq!(report[..2], head);
        let words = usize::from(u16::from_be_bytes([report[2], report[3]]));
        assert_eq!(words, length.unwrap_or(words));
        report = &report[4 + 4 * words..];
    }
    assert!(report.is_empty());
}
