//! H.264 in RTP (RFC 6184): single NAL unit packets, STAP-A and FU-A. The packets of interleaved mode are broken here.

use super::{Outlet, picture::PictureBuilder};

const STAP_A: u8 = 24;
const STAP_B: u8 = 25;
const MTAP24: u8 = 27;
const FU_A: u8 = 28;
const FU_B: u8 = 29;
const START: u8 = 0x80;
const END: u8 = 0x40;

/// Hands the NAL units of a payload to `pictures`.
pub(super) fn unpack(payload: &[u8], pictures: &mut PictureBuilder, to: &mut Outlet<'_>) {
    let Some((&first, rest)) = payload.split_first() else { return };
    match first & 0x1f {
        STAP_A => pictures.aggregate(rest, to),
        FU_A => {
            let Some((&fragment, body)) = rest.split_first() else { return pictures.broken() };
            let kind = fragment & 0x1f;
            let header = [(first & 0xe0) | kind];
            pictures.fragment(&header, kind, fragment & START != 0, fragment & END != 0, body, to);
        }
        STAP_B..=MTAP24 | FU_B => pictures.broken(),
        _ => pictures.nal(payload, to),
    }
}
