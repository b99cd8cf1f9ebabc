//! H.265 in RTP (RFC 7798): single NAL unit packets, AP and FU, without DONL fields.

use super::{Outlet, picture::PictureBuilder};

const AP: u8 = 48;
const FU: u8 = 49;
const PACI: u8 = 50;
const START: u8 = 0x80;
const END: u8 = 0x40;

/// Hands the NAL units of a payload to `pictures`.
pub(super) fn unpack(payload: &[u8], pictures: &mut PictureBuilder, to: &mut Outlet<'_>) {
    if payload.is_empty() {
        return;
    }
    let Some((&[first, second], rest)) = payload.split_first_chunk::<2>() else { return pictures.broken() };
    match (first >> 1) & 0x3f {
        AP => pictures.aggregate(rest, to),
        FU => {
            let Some((&fragment, body)) = rest.split_first() else { return pictures.broken() };
            let kind = fragment & 0x3f;
            let header = [(first & 0x81) | kind << 1, second];
            pictures.fragment(&header, kind, fragment & START != 0, fragment & END != 0, body, to);
        }
        PACI => pictures.broken(),
        _ => pictures.nal(payload, to),
    }
}
