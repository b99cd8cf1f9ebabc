//! What GStreamer 1.22 says when something goes wrong, and what that means. The one place that knows.

use gstreamer::{self as gst, glib, prelude::*};

use crate::{
    base::mask,
    model::status::{StreamError, StreamErrorKind},
};

/// Reads a message; `None` if it tells of no loss.
///
/// EOS is a loss: when the TCP connection is cut, rtspsrc warns and sends EOS, not an error. But it is heard where it leaves
/// the source ([`ended`]), and not here: the pipeline says it as well when its only sink, a recording, has ended.
pub fn loss(message: &gst::MessageRef) -> Option<StreamError> {
    match message.view() {
        gst::MessageView::Error(error) if is_of_a_packet(error) => None,
        gst::MessageView::Error(error) => {
            let status = error.details().and_then(|details| details.get::<u32>("rtsp-status-code").ok());
            let debug = error.debug().map(|debug| last_line(&debug)).unwrap_or_default();
            let loss = of_error(&error.error(), status);
            let text = if debug.is_empty() {
                error.error().to_string()
            } else {
                format!("{}: {debug}", error.error())
            };
            Some(StreamError { kind: loss, detail: mask::urls(&text) })
        }
        _ => None,
    }
}

/// A depayloader calls a packet of a kind that it cannot read an error and goes on: one damaged byte does that. If all
/// are so, no frame comes, and that is a loss in its own time.
fn is_of_a_packet(error: &gst::message::Error) -> bool {
    let depayloader = error.src().and_then(|src| src.downcast_ref::<gst::Element>()?.factory());
    depayloader.is_some_and(|made| made.name().starts_with("rtph26"))
        && error.error().matches(gst::StreamError::Format)
}

/// The stream ended.
pub fn ended() -> StreamError {
    StreamError { kind: StreamErrorKind::Ended, detail: "the camera closed the connection".to_owned() }
}

/// By status code where there is one (401 comes as `NOT_AUTHORIZED`, 454 of SETUP only as text), else by what was
/// being done: refused, unreachable and unknown names all look like `OPEN_READ_WRITE` here, which is why they are
/// told apart before, in `preflight`.
fn of_error(error: &glib::Error, status: Option<u32>) -> StreamErrorKind {
    match status {
        Some(401) => return StreamErrorKind::Unauthorised,
        Some(403) => return StreamErrorKind::Forbidden,
        Some(404 | 410 | 454) => return StreamErrorKind::NoSuchStream,
        Some(415) => return StreamErrorKind::UnsupportedCodec,
        Some(300..=399) => return StreamErrorKind::Redirected,
        _ => {}
    }
    match error.kind::<gst::ResourceError>() {
        Some(gst::ResourceError::NotAuthorized) => StreamErrorKind::Unauthorised,
        Some(gst::ResourceError::NotFound) => StreamErrorKind::NoSuchStream,
        Some(gst::ResourceError::OpenReadWrite | gst::ResourceError::OpenRead) => {
            StreamErrorKind::Unreachable
        }
        Some(gst::ResourceError::Read | gst::ResourceError::Write) => StreamErrorKind::Ended,
        Some(_) => StreamErrorKind::Protocol,
        None => match error.kind::<gst::StreamError>() {
            Some(gst::StreamError::CodecNotFound | gst::StreamError::WrongType) => {
                StreamErrorKind::UnsupportedCodec
            }
            _ => StreamErrorKind::Internal,
        },
    }
}

/// The debug text begins with a place in GStreamer's source and ends with what happened.
fn last_line(debug: &str) -> String {
    debug.lines().last().unwrap_or_default().trim().to_owned()
}
