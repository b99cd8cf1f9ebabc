//! Which streams of a description are received.

use crate::{
    model::{
        segment::{AudioCodec, Codec},
        status::{StreamError, StreamErrorKind},
    },
    rtsp::{
        sdp::{self, Format, Kind, Media},
        track::{Delivery, Track, TrackCodec, TrackSetup},
    },
};

use super::{SessionError, quote};

/// Encoding names that are shown, of all that a camera offers.
const NAMES_MAX: usize = 16;

/// A stream that can be received, and its control.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) setup: TrackSetup,
    pub(super) control: Option<String>,
}

/// What a description offers.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) codec: Codec,
    pub(super) video: Stream,
    pub(super) audio: Option<(AudioCodec, Stream)>,
    /// Encoding names of all audio streams but back channels.
    pub(super) audio_offered: Vec<String>,
}

/// Chooses the first video and the first audio stream that can be recorded.
///
/// # Errors
/// If there is no such video stream.
pub(super) fn select(
    description: &sdp::Description,
    delivery: Delivery,
    replay: bool,
) -> Result<Selection, SessionError> {
    let of_kind = |kind| description.media.iter().filter(move |media| media.kind == kind && !media.inactive);
    let stream = |media: &Media, format: &Format, codec: TrackCodec| Stream {
        setup: TrackSetup {
            codec,
            payload_type: format.payload_type,
            clock_rate: format.clock_rate,
            channels: format.channels,
            fmtp: format.fmtp.clone(),
            delivery,
            replay,
        },
        control: media.control.clone(),
    };
    let (mut video, mut unusable) = (None, None);
    for (media, format) in
        of_kind(Kind::Video).flat_map(|media| media.formats.iter().map(move |format| (media, format)))
    {
        let Some(codec) = Codec::ALL.iter().copied().find(|codec| codec.rtp_name() == format.encoding) else {
            continue;
        };
        let found = stream(media, format, TrackCodec::Video(codec));
        if is_encrypted(media) {
            unusable = Some(format!("the video is encrypted ({})", quote(&media.protocol)));
        } else if let Err(reason) = Track::new(found.setup.clone()) {
            unusable = Some(reason.to_string());
        } else {
            video = Some((codec, found));
            break;
        }
    }
    let Some((codec, video)) = video else {
        return Err(match unusable {
            Some(reason) => SessionError::Unsupported(reason),
            None => unrecordable(&names(of_kind(Kind::Video))),
        });
    };
    let sound = |media: &&Media| !media.send_only;
    let audio = of_kind(Kind::Audio).filter(sound).filter(|media| !is_encrypted(media)).find_map(|media| {
        media.formats.iter().find_map(|format| {
            let codec = AudioCodec::ALL.iter().copied().find(|codec| codec.rtp_name() == format.encoding)?;
            let found = stream(media, format, TrackCodec::Audio(codec));
            Track::new(found.setup.clone()).is_ok().then_some((codec, found))
        })
    });
    Ok(Selection { codec, video, audio, audio_offered: names(of_kind(Kind::Audio).filter(sound)) })
}

/// Secure RTP (RFC 3711).
fn is_encrypted(media: &Media) -> bool {
    media.protocol.to_ascii_uppercase().contains("SAVP")
}

fn unrecordable(offered: &[String]) -> SessionError {
    let offers = if offered.is_empty() { "no video".to_owned() } else { quote(&offered.join(", ")) };
    let detail = format!("the stream offers {offers}; only H.264 and H.265 can be recorded");
    StreamError::new(StreamErrorKind::UnsupportedCodec, detail).into()
}

fn names<'a>(media: impl Iterator<Item = &'a Media>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in media.flat_map(|media| &media.formats).map(|format| &format.encoding) {
        if !name.is_empty() && !names.contains(name) && names.len() < NAMES_MAX {
            names.push(name.clone());
        }
    }
    names
}
