//! What a broken or hostile camera sends: packets and parameter sets that lie about their sizes.

use super::super::nal::{Codec, protect};
use super::payload::{Packet, aggregate};
use super::quirk::Quirk;

const HUGE_UNIT_BYTES: usize = 64 * 1024;
/// Macroblocks of 16384 pixels, less one, as H.264 codes it.
const HUGE_MACROBLOCKS: u32 = 16_384 / 16 - 1;

/// Packets that a keyframe comes after.
pub(super) fn before_keyframe(codec: Codec, quirks: &[Quirk]) -> Vec<Packet> {
    let mut packets = Vec::new();
    for quirk in quirks {
        match quirk {
            Quirk::FragmentsWithoutStart => {
                let payload = match codec {
                    Codec::H264 => vec![0x7c, 5, 1, 2, 3, 4],
                    Codec::H265 => vec![49 << 1, 1, 19, 1, 2, 3, 4],
                };
                packets.push(Packet::new(payload.clone()));
                packets.push(Packet::new(payload));
            }
            Quirk::AggregateBeyondPacket => {
                let mut payload = aggregate(codec, &[&[codec.sei_header(), &[5, 1, 0, 0x80]].concat()]);
                payload.extend([0xff, 0xff, 6, 5]);
                packets.push(Packet::new(payload));
                // Not even a whole length.
                packets.push(Packet::new([&aggregate(codec, &[])[..], &[0xff]].concat()));
            }
            Quirk::HeaderBeyondPacket => {
                for _ in 0..3 {
                    packets.push(Packet { broken_header: true, ..Packet::new(vec![0xff; 8]) });
                }
            }
            _ => (),
        }
    }
    packets
}

/// A picture parameter set of 64 KiB with an id that no picture uses: `pps_id` 63 and then ones.
pub(super) fn huge_parameter_set(codec: Codec) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.exp_golomb(63);
    bits.exp_golomb(0);
    let mut unit = match codec {
        Codec::H264 => vec![0x68],
        Codec::H265 => vec![34 << 1, 1],
    };
    unit.extend(bits.finish());
    unit.resize(HUGE_UNIT_BYTES, 0xff);
    unit
}

/// H.264 sequence parameters of 16384 by 16384 pixels (H.264, 7.3.2.1.1), Main profile, level 6.2.
pub(super) fn huge_picture() -> Vec<u8> {
    let mut bits = Bits::default();
    // seq_parameter_set_id, log2_max_frame_num_minus4, pic_order_cnt_type, max_num_ref_frames
    [0, 0, 2, 1].into_iter().for_each(|value| bits.exp_golomb(value));
    // gaps_in_frame_num_value_allowed_flag
    bits.push(0, 1);
    bits.exp_golomb(HUGE_MACROBLOCKS);
    bits.exp_golomb(HUGE_MACROBLOCKS);
    // frame_mbs_only_flag, direct_8x8_inference_flag, frame_cropping_flag, vui_parameters_present_flag
    bits.push(0b1100, 4);
    let mut unit = vec![0x67];
    protect(&[&[77, 0, 62][..], &bits.finish()].concat(), &mut unit);
    unit
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn push(&mut self, value: u32, count: usize) {
        for place in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = (value >> place & 1) as u8;
            *self.bytes.last_mut().expect("just pushed") |= bit << (7 - self.used % 8);
            self.used += 1;
        }
    }

    /// `ue(v)` (H.264, 9.1).
    fn exp_golomb(&mut self, value: u32) {
        let bits = (value + 1).ilog2() as usize;
        self.push(0, bits);
        self.push(value + 1, bits + 1);
    }

    /// With the stop bit.
    fn finish(mut self) -> Vec<u8> {
        self.push(1, 1);
        self.bytes
    }
}
