//! One keyframe to one JPEG, on demand. A decoder lives only as long as a picture needs.

use gstreamer::{self as gst, prelude::*};
use gstreamer_app::{AppSink, AppSrc};

use super::{
    Error,
    tap::Keyframe,
    text::{self, Texts},
    units,
};
use crate::model::pipeline::Purpose;

/// A picture takes some 30 ms; a decoder that takes so long is stuck.
const WITHIN: gst::ClockTime = gst::ClockTime::from_seconds(5);

/// Decodes a keyframe to a JPEG no wider than `width` pixels. Blocks for as long as decoding takes, at most 5 s.
pub fn jpeg(texts: &Texts, keyframe: &Keyframe, width: u32) -> Result<Vec<u8>, Error> {
    let purpose = Purpose::Snapshot(keyframe.unit.format.codec);
    let pipeline = texts.pipeline(purpose, &[])?;
    let parser = text::named(&pipeline, purpose, "units")?;
    let encoder = text::named(&pipeline, purpose, "jpeg")?;
    // The text takes its stream from a camera and writes a file, so that it runs by hand. Here both ends are memory.
    for end in ["camera", "depay", "out"] {
        let end = text::named(&pipeline, purpose, end)?;
        pipeline.remove(&end).map_err(refused("take an end off the snapshot pipeline"))?;
    }
    let scaled = text::named(&pipeline, purpose, "scaled")?;
    let caps = format!("video/x-raw, format=I420, width=[1,{width}], pixel-aspect-ratio=1/1");
    text::set(&scaled, "caps", &caps)?;
    let input =
        AppSrc::builder().caps(&units::video_caps(&keyframe.unit.format)).format(gst::Format::Time).build();
    let output = AppSink::builder().sync(false).max_buffers(1).build();
    pipeline
        .add_many([input.upcast_ref::<gst::Element>(), output.upcast_ref()])
        .map_err(refused("put memory at the ends of the snapshot pipeline"))?;
    input
        .link(&parser)
        .and_then(|()| encoder.link(&output))
        .map_err(refused("link the snapshot pipeline"))?;
    let stop = Stop(pipeline);
    stop.0.set_state(gst::State::Playing).map_err(refused("start the snapshot pipeline"))?;
    let mut picture = units::video_buffer(&keyframe.unit);
    picture.make_mut().set_pts(gst::ClockTime::ZERO);
    input.push_buffer(picture).map_err(refused("feed the snapshot pipeline"))?;
    input.end_of_stream().map_err(refused("feed the snapshot pipeline"))?;
    let sample = output.try_pull_sample(WITHIN).ok_or(Error::Refused("decode the keyframe"))?;
    let buffer = sample.buffer().ok_or(Error::Refused("decode the keyframe"))?;
    let bytes = buffer.map_readable().map_err(refused("read the picture"))?;
    Ok(bytes.to_vec())
}

fn refused<E>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |_| Error::Refused(what)
}

/// Stops a pipeline whatever happens.
struct Stop(gst::Pipeline);

impl Drop for Stop {
    fn drop(&mut self) {
        if self.0.set_state(gst::State::Null).is_err() {
            tracing::error!("a snapshot pipeline did not stop");
        }
    }
}
