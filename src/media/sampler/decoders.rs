//! Decoders of the machine's hardware, in place of the one that stands in a text.

use std::sync::Arc;

use gstreamer::{self as gst, prelude::*};

use crate::{
    media::{Error, text},
    model::{pipeline::Purpose, segment::Codec},
};

/// Those that GStreamer may have, best first: of VA-API, of the kernel, of NVIDIA.
const HARDWARE: [(Codec, &str); 6] = [
    (Codec::H264, "vah264dec"),
    (Codec::H264, "v4l2slh264dec"),
    (Codec::H264, "nvh264dec"),
    (Codec::H265, "vah265dec"),
    (Codec::H265, "v4l2slh265dec"),
    (Codec::H265, "nvh265dec"),
];

/// Decoders that may be used beside that of the text. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Decoders(Arc<[(Codec, &'static str)]>);

impl Decoders {
    /// Those of the hardware, if they are allowed: elements that GStreamer registers only where their device is.
    pub fn new(hardware: bool) -> Self {
        if hardware { Self(HARDWARE.into()) } else { Self::default() }
    }

    /// Those of these names.
    #[cfg(test)]
    pub(super) fn named(names: &[(Codec, &'static str)]) -> Self {
        Self(names.into())
    }

    /// Names of those that GStreamer has for `codec`, best first.
    pub(super) fn of(&self, codec: Codec) -> impl Iterator<Item = &'static str> {
        let has = |name: &&str| gst::ElementFactory::find(name).is_some();
        self.0.iter().filter(move |(of, _)| *of == codec).map(|(_, name)| *name).filter(has)
    }
}

/// Puts the element `name` where `decoder` stands in a pipeline that does not run yet.
pub(super) fn put(pipeline: &gst::Pipeline, purpose: Purpose, name: &'static str) -> Result<(), Error> {
    let refused = || Error::Refused("put another decoder into the pipeline");
    let old = text::named(pipeline, purpose, "decoder")?;
    let peer = |pad| old.static_pad(pad).and_then(|pad| pad.peer()).ok_or_else(refused);
    let (before, after) = (peer("sink")?, peer("src")?);
    pipeline.remove(&old).map_err(|_| refused())?;
    let new = gst::ElementFactory::make(name).name("decoder").build().map_err(|_| refused())?;
    pipeline.add(&new).map_err(|_| refused())?;
    let pad = |pad| new.static_pad(pad).ok_or_else(refused);
    before.link(&pad("sink")?).map_err(|_| refused())?;
    pad("src")?.link(&after).map_err(|_| refused())?;
    Ok(())
}
