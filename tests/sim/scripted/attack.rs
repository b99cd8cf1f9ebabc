//! What a broken or hostile camera sends: packets and parameter sets that lie about their sizes.

use super::super::nal::{Codec, Kind, protect, unprotect};
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

/// A parameter set as a camera with one of these quirks has it.
pub(super) fn altered(codec: Codec, fps: u32, unit: Vec<u8>, quirks: &[Quirk]) -> Vec<u8> {
    if quirks.contains(&Quirk::HugePicture) && codec == Codec::H264 && codec.kind(&unit) == Kind::Sps {
        return huge_picture();
    }
    if quirks.contains(&Quirk::NoFrameRate) {
        return without_frame_rate(codec, fps, &unit);
    }
    unit
}

/// Both parts of the frame rate are 0: `num_units_in_tick` and `time_scale`, 32 bits each. They are found by their values,
/// at whatever bit they begin. H.264 counts fields.
fn without_frame_rate(codec: Codec, fps: u32, unit: &[u8]) -> Vec<u8> {
    let header = codec.header_bytes();
    let mut bytes = unprotect(&unit[header..]);
    let scale = if codec == Codec::H264 { 2 * fps } else { fps };
    let wanted = 1 << 32 | u64::from(scale);
    let bit = |bytes: &[u8], at: usize| u64::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let bits = bytes.len() * 8;
    let found = (0..bits.saturating_sub(64))
        .find(|from| (0..64).fold(0, |value, at| value << 1 | bit(&bytes, from + at)) == wanted);
    if let Some(from) = found {
        for at in from..from + 64 {
            bytes[at / 8] &= !(0x80 >> (at % 8));
        }
    }
    let mut altered = unit[..header].to_vec();
    protect(&bytes, &mut altered);
    altered
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
fn huge_picture() -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::super::pictures::{Clip, Pictures};
    use super::*;

    #[test]
    fn a_frame_rate_can_be_taken_out_of_parameter_sets() {
        for codec in [Codec::H264, Codec::H265] {
            let pictures = Pictures::load(Clip::small(codec)).unwrap();
            let sps = pictures.parameter_set(Kind::Sps);
            let altered = without_frame_rate(codec, pictures.fps, sps);
            assert_ne!(altered, sps, "{codec:?}");
            assert_eq!(altered, without_frame_rate(codec, pictures.fps, &altered), "{codec:?}");
        }
    }
}
