//! Decoder configuration records (ISO/IEC 14496-15): `avcC` (5.3.3.1) and `hvcC` (8.3.3.1).

use super::Sps;

/// NAL unit lengths have four bytes: `lengthSizeMinusOne`.
const LENGTH_SIZE: u8 = 3;
/// H.265 NAL unit types of parameter sets.
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;

/// Content of `avcC`.
pub(super) fn avc(sps: &Sps, sps_bytes: &[u8], pps: &[&[u8]]) -> Vec<u8> {
    let [profile, constraints, level, ..] = sps.profile_tier_level;
    let mut record = vec![1, profile, constraints, level, 0xfc | LENGTH_SIZE, 0xe0 | 1];
    put(&mut record, sps_bytes);
    let pps = pps.get(..255).unwrap_or(pps);
    record.push(u8::try_from(pps.len()).unwrap_or(u8::MAX));
    pps.iter().for_each(|pps| put(&mut record, pps));
    // The profiles Baseline, Main and Extended have no such fields.
    if !matches!(profile, 66 | 77 | 88) {
        record.extend(formats(sps));
        record.push(0);
    }
    record
}

/// Content of `hvcC`.
pub(super) fn hevc(sps: &Sps, vps: &[u8], sps_bytes: &[u8], pps: &[&[u8]]) -> Vec<u8> {
    let mut record = vec![1];
    record.extend(sps.profile_tier_level);
    // Neither a least segmentation (4 reserved and 12 bits) nor a kind of parallelism (6 and 2) is known.
    record.extend([0xf0, 0, 0xfc]);
    record.extend(formats(sps));
    // Nor is an average frame rate (16 bits), nor whether the frame rate is constant (2).
    let nesting = u8::from(sps.temporal_nesting);
    record.extend([0, 0, (sps.temporal_layers & 7) << 3 | nesting << 2 | LENGTH_SIZE, 3]);
    for (kind, sets) in [(VPS, &[vps][..]), (SPS, &[sps_bytes][..]), (PPS, pps)] {
        record.push(0x80 | kind);
        record.extend(u16::try_from(sets.len()).unwrap_or(u16::MAX).to_be_bytes());
        sets.iter().for_each(|set| put(&mut record, set));
    }
    record
}

/// Chroma format and bit depths, each with its reserved bits.
fn formats(sps: &Sps) -> [u8; 3] {
    let depth = |bits: u8| 0xf8 | (bits.saturating_sub(8) & 7);
    [0xfc | (sps.chroma_format & 3), depth(sps.bit_depth_luma), depth(sps.bit_depth_chroma)]
}

/// A parameter set after its length. The length fits: sets of more than 8 KiB are not taken.
fn put(record: &mut Vec<u8>, set: &[u8]) {
    record.extend(u16::try_from(set.len()).unwrap_or(u16::MAX).to_be_bytes());
    record.extend(set);
}
