//! What can be wrong with a stream although its camera speaks RTSP well: packets and reports that are changed on
//! their way out. Nothing is wrong unless ordered.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::nal::{Codec, Kind};

/// Of an RTP header without extensions, which is what the payloaders write.
const RTP_HEADER_BYTES: usize = 12;
/// RTCP: type of a sender report, and where its NTP time has its seconds (RFC 3550, 6.4.1).
const SENDER_REPORT: u8 = 200;
const NTP_SECONDS_AT: usize = 8;
const CORRUPTED_BYTES: usize = 8;

/// What the camera says of absolute time, in RTCP sender reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reports {
    /// The time of the machine.
    #[default]
    True,
    /// So many seconds after it, or before.
    Off {
        /// Seconds.
        seconds: i32,
    },
    /// Nothing: no report, no RTCP at all.
    Missing,
}

/// What is wrong with one stream now.
#[derive(Debug, Default)]
pub(crate) struct Harm {
    /// Added to RTP time.
    ticks: AtomicU32,
    equal_times: AtomicBool,
    corrupt_percent: AtomicU32,
    empty_units: AtomicBool,
    reports: Mutex<Reports>,
}

impl Harm {
    /// Moves RTP time for all packets from now on.
    pub(crate) fn jump(&self, by_ms: i64, ticks_per_s: u32) {
        // RTP time has 32 bits and wraps, so cutting off the rest is the arithmetic that is wanted.
        let ticks = (by_ms.wrapping_mul(i64::from(ticks_per_s)) / 1000) as u32;
        self.ticks.fetch_add(ticks, Ordering::Relaxed);
    }

    /// Gives all packets the RTP time of the next one, until `false` is given.
    pub(crate) fn set_equal_times(&self, equal: bool) {
        self.equal_times.store(equal, Ordering::Relaxed);
    }

    /// Overwrites some bytes in so many of a hundred packets, picked at random.
    pub(crate) fn corrupt(&self, percent: u32) {
        self.corrupt_percent.store(percent, Ordering::Relaxed);
    }

    /// Puts NAL units without a byte around each frame's stamp.
    pub(crate) fn set_empty_units(&self, on: bool) {
        self.empty_units.store(on, Ordering::Relaxed);
    }

    /// What sender reports say from now on.
    pub(crate) fn report(&self, reports: Reports) {
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = reports;
    }

    /// Watches over the packets that leave a payloader. `codec` is that of a video stream.
    pub(crate) fn attach(self: &Arc<Harm>, payloader: &gst::Element, codec: Option<Codec>) {
        let Some(pad) = payloader.static_pad("src") else { return };
        let harm = self.clone();
        // Each client has RTP times of its own, so the one that stays is its own too.
        let stuck = Mutex::new(None);
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
            let mut stuck = stuck.lock().unwrap_or_else(PoisonError::into_inner);
            match info.data.as_mut() {
                Some(gst::PadProbeData::Buffer(packet)) => harm.on_packet(packet, codec, &mut stuck),
                Some(gst::PadProbeData::BufferList(packets)) => {
                    packets.make_mut().foreach_mut(|mut packet, _| {
                        harm.on_packet(&mut packet, codec, &mut stuck);
                        std::ops::ControlFlow::Continue(Some(packet))
                    });
                }
                _ => (),
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn on_packet(&self, packet: &mut gst::Buffer, codec: Option<Codec>, stuck: &mut Option<u32>) {
        let ticks = self.ticks.load(Ordering::Relaxed);
        let equal = self.equal_times.load(Ordering::Relaxed);
        if !equal {
            *stuck = None;
        }
        if ticks != 0 || equal {
            set_time(packet.make_mut(), |time| {
                let time = time.wrapping_add(ticks);
                if equal { *stuck.get_or_insert(time) } else { time }
            });
        }
        if let Some(codec) = codec.filter(|_| self.empty_units.load(Ordering::Relaxed)) {
            change(packet, |bytes| among_empty_units(codec, bytes));
        }
        let percent = self.corrupt_percent.load(Ordering::Relaxed);
        if percent > 0 && rand::random_range(0..100) < percent {
            change(packet, |mut bytes| {
                for _ in 0..CORRUPTED_BYTES {
                    let at = rand::random_range(RTP_HEADER_BYTES..bytes.len().max(RTP_HEADER_BYTES + 1));
                    bytes.get_mut(at).into_iter().for_each(|byte| *byte = rand::random());
                }
                bytes
            });
        }
    }

    /// Watches over the sender reports of a stream.
    fn attach_to_reports(self: &Arc<Harm>, pad: &gst::Pad) {
        let harm = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let reports = *harm.reports.lock().unwrap_or_else(PoisonError::into_inner);
            match (reports, info.data.as_mut()) {
                (Reports::True, _) => gst::PadProbeReturn::Ok,
                (Reports::Missing, _) => gst::PadProbeReturn::Drop,
                (Reports::Off { seconds }, Some(gst::PadProbeData::Buffer(packet))) => {
                    change(packet, |mut bytes| {
                        if bytes.get(1) == Some(&SENDER_REPORT) {
                            add_at(&mut bytes, NTP_SECONDS_AT, seconds as u32);
                        }
                        bytes
                    });
                    gst::PadProbeReturn::Ok
                }
                (Reports::Off { .. }, _) => gst::PadProbeReturn::Ok,
            }
        });
    }
}

/// What happens to the streams of one media behind their payloaders, in the order of their media lines.
pub(crate) struct Exit {
    /// What is wrong with each.
    pub harms: Vec<Arc<Harm>>,
    /// Nothing at all leaves a stream, RTP or RTCP, before this says so.
    pub open: Vec<Arc<AtomicBool>>,
    /// Datagrams get lost, all of them.
    pub udp_lost: bool,
}

impl Exit {
    /// Watches over what the server will build behind the payloaders in `pipeline`.
    pub(crate) fn attach(self, pipeline: &gst::Bin) {
        pipeline.connect_deep_element_added(move |_, _, element| {
            let kind = element.factory().map(|factory| factory.name().to_string()).unwrap_or_default();
            match kind.as_str() {
                "rtpbin" => {
                    let (harms, open) = (self.harms.clone(), self.open.clone());
                    // Else reports tell the time of sending, which is later by a sink's deadline of 20 ms.
                    element.set_property("rtcp-sync-send-time", false);
                    // The server holds streams back at these very pads until a client plays, and a pad's blocks come
                    // before its other probes: what was held back passes the gate after that.
                    element.connect_pad_added(move |_, pad| {
                        let name = pad.name();
                        let Some((what, index)) = name.rsplit_once('_') else { return };
                        let Ok(index) = index.parse::<usize>() else { return };
                        let (Some(harm), Some(open)) = (harms.get(index), open.get(index)) else { return };
                        if ["send_rtp_src", "send_rtcp_src"].contains(&what) {
                            gate(pad, open);
                        }
                        if what == "send_rtcp_src" {
                            harm.attach_to_reports(pad);
                        }
                    });
                }
                "udpsink" | "multiudpsink" if self.udp_lost => {
                    if let Some(pad) = element.static_pad("sink") {
                        // `Drop` on a sink pad makes GStreamer complain before 1.26.
                        let types = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
                        pad.add_probe(types, |_, _| gst::PadProbeReturn::Handled);
                    }
                }
                _ => (),
            }
        });
    }
}

fn gate(pad: &gst::Pad, open: &Arc<AtomicBool>) {
    let open = open.clone();
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
        if open.load(Ordering::Relaxed) { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Drop }
    });
}

/// Changes the RTP time of a packet in place.
fn set_time(packet: &mut gst::BufferRef, time: impl FnOnce(u32) -> u32) {
    // The payloader puts the RTP header into a memory of its own; the time stands in its bytes 4 to 7.
    let Ok(header) = packet.peek_memory_mut(0) else { return };
    let Ok(mut bytes) = header.map_writable() else { return };
    if let Some(bytes) = bytes.get_mut(4..8).and_then(|bytes| <&mut [u8; 4]>::try_from(bytes).ok()) {
        *bytes = time(u32::from_be_bytes(*bytes)).to_be_bytes();
    }
}

/// Adds to a number of four bytes.
fn add_at(bytes: &mut [u8], at: usize, more: u32) {
    if let Some(bytes) = bytes.get_mut(at..at + 4).and_then(|bytes| <&mut [u8; 4]>::try_from(bytes).ok()) {
        *bytes = u32::from_be_bytes(*bytes).wrapping_add(more).to_be_bytes();
    }
}

/// Changes the bytes of a packet. They are copied first: the footage itself is shared by all.
fn change(packet: &mut gst::Buffer, how: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let Ok(bytes) = packet.map_readable().map(|bytes| bytes.to_vec()) else { return };
    let packet = packet.make_mut();
    packet.remove_all_memory();
    packet.append_memory(gst::Memory::from_mut_slice(how(bytes)));
}

/// A packet that holds a stamp as an aggregation of an empty unit, the stamp, and another empty unit (RFC 6184, 5.7.1;
/// RFC 7798, 4.4.2). Other packets stay as they are.
fn among_empty_units(codec: Codec, packet: Vec<u8>) -> Vec<u8> {
    let (header, unit) = packet.split_at(RTP_HEADER_BYTES.min(packet.len()));
    let Ok(length) = u16::try_from(unit.len()) else { return packet };
    if codec.kind(unit) != Kind::Sei {
        return packet;
    }
    let aggregation: &[u8] = match codec {
        Codec::H264 => &[24],
        Codec::H265 => &[48 << 1, 1],
    };
    [header, aggregation, &[0, 0], &length.to_be_bytes(), unit, &[0, 0]].concat()
}
