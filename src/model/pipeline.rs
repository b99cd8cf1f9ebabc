//! Which pipeline text a purpose needs, and which values go onto which named element. Plain data: `media` binds it.

use std::time::Duration;

use super::{
    address::{BadAddress, StreamUrl},
    camera::{Camera, Transport},
    segment::{AudioCodec, Codec},
    source::SourceChoice,
    timeline::Range,
};
use crate::base::Secret;

/// A purpose that has its own text below `pipelines/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One stream to segments.
    Record(Codec),
    /// A look at a stream without recording it.
    Probe(Codec),
    /// One keyframe to JPEG.
    Snapshot(Codec),
    /// Some frames a second to JPEG.
    Sample(Codec),
    /// What a camera recorded itself to segments.
    Replay(Codec),
    /// The sound beside a stream that is recorded.
    Audio(AudioCodec),
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 14] = [
        Self::Record(Codec::H264),
        Self::Record(Codec::H265),
        Self::Probe(Codec::H264),
        Self::Probe(Codec::H265),
        Self::Snapshot(Codec::H264),
        Self::Snapshot(Codec::H265),
        Self::Sample(Codec::H264),
        Self::Sample(Codec::H265),
        Self::Replay(Codec::H264),
        Self::Replay(Codec::H265),
        Self::Audio(AudioCodec::Aac),
        Self::Audio(AudioCodec::Opus),
        Self::Audio(AudioCodec::Pcma),
        Self::Audio(AudioCodec::Pcmu),
    ];

    /// Name of the file below `pipelines/`.
    pub fn file(self) -> &'static str {
        match self {
            Self::Record(Codec::H264) => "record-h264.launch",
            Self::Record(Codec::H265) => "record-h265.launch",
            Self::Probe(Codec::H264) => "probe-h264.launch",
            Self::Probe(Codec::H265) => "probe-h265.launch",
            Self::Snapshot(Codec::H264) => "snapshot-h264.launch",
            Self::Snapshot(Codec::H265) => "snapshot-h265.launch",
            Self::Sample(Codec::H264) => "sample-h264.launch",
            Self::Sample(Codec::H265) => "sample-h265.launch",
            Self::Replay(Codec::H264) => "replay-h264.launch",
            Self::Replay(Codec::H265) => "replay-h265.launch",
            Self::Audio(AudioCodec::Aac) => "audio-aac.launch",
            Self::Audio(AudioCodec::Opus) => "audio-opus.launch",
            Self::Audio(AudioCodec::Pcma) => "audio-pcma.launch",
            Self::Audio(AudioCodec::Pcmu) => "audio-pcmu.launch",
        }
    }
}

/// A property to be set on a named element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The element's `name=` in the text.
    pub element: &'static str,
    /// Its property.
    pub property: &'static str,
    /// The value, in the notation of `gst_value_deserialize`.
    pub value: BoundValue,
}

/// A value that may or may not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundValue {
    /// Anyone may see it.
    Plain(String),
    /// Shown as `***` unless asked for.
    Secret(Secret),
}

/// What opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// The stream, credentials not in it.
    pub url: StreamUrl,
    /// What carries RTP.
    pub transport: Transport,
    /// Account on the camera.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// SHA-256 of the only certificate to talk to, in hexadecimal digits; any, if there is none.
    pub tls_fingerprint: Option<String>,
    /// Whether the password may be sent in clear to a camera that takes nothing else.
    pub allow_basic: bool,
    /// Whether sound is received as well.
    pub audio: bool,
    /// Which implementation receives it.
    pub source: SourceChoice,
    /// What the camera is asked to play.
    pub play: Play,
    /// From the start of an attempt to the first frame.
    pub connect_within: Duration,
}

/// What a camera is asked to play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Play {
    /// What it sees now.
    #[default]
    Live,
    /// What it recorded; the URL says which time.
    Recording,
    /// What it recorded in this range of its own clock, as fast as it can send it (ONVIF Streaming Specification, 6).
    OnvifReplay(Range),
}

impl SourceSettings {
    /// Each answer of the camera is waited for so long: not for all of the time that the attempt has, so that a camera that does not
    /// answer is told from one that does and sends nothing.
    pub fn answer_within(&self) -> Duration {
        self.connect_within * 4 / 5
    }

    /// What opens a stream without log-in, over TCP.
    pub fn new(url: StreamUrl) -> Self {
        Self {
            url,
            transport: Transport::Tcp,
            username: None,
            password: None,
            tls_fingerprint: None,
            allow_basic: false,
            audio: false,
            source: SourceChoice::Auto,
            play: Play::Live,
            connect_within: Duration::from_secs(15),
        }
    }

    /// What opens another stream of `camera`, over TCP.
    pub fn at(camera: &Camera, url: StreamUrl) -> Self {
        Self {
            source: camera.source.unwrap_or_default(),
            username: camera.username.clone(),
            password: camera.password.clone(),
            tls_fingerprint: camera.tls_fingerprint.clone(),
            allow_basic: camera.allow_basic,
            connect_within: Duration::from_secs(camera.connect_seconds.into()),
            ..Self::new(url)
        }
    }

    /// What opens the stream of `camera` that is recorded. `default` is the choice of the configuration, for cameras without
    /// one of their own.
    pub fn of(camera: &Camera, default: SourceChoice) -> Result<Self, BadAddress> {
        let url = camera.url(camera.record_profile)?;
        Ok(Self {
            transport: camera.transport,
            audio: camera.record_audio,
            source: camera.source.unwrap_or(default),
            ..Self::at(camera, url)
        })
    }

    /// The bindings of the element `src` that every text with a camera has.
    pub fn bindings(&self) -> Vec<Binding> {
        let protocols = match self.transport {
            // Datagrams would leave the encrypted connection.
            _ if self.url.tls() => "tcp",
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Auto => "tcp+udp",
        };
        let plain = |property, value: &str| Binding {
            element: "src",
            property,
            value: BoundValue::Plain(value.to_owned()),
        };
        let mut all = vec![plain("location", self.url.as_str()), plain("protocols", protocols)];
        if let Some(username) = &self.username {
            all.push(plain("user-id", username));
        }
        if let Some(password) = &self.password {
            let value = BoundValue::Secret(password.clone());
            all.push(Binding { element: "src", property: "user-pw", value });
        }
        all
    }
}

/// What a text for recording needs to do by hand what the program does for `camera`. The program itself chooses the
/// cuts and sets no limit.
pub fn by_hand(camera: &Camera) -> Result<Vec<Binding>, BadAddress> {
    let mut all = SourceSettings::of(camera, SourceChoice::Rtspsrc)?.bindings();
    let limit_ns = u64::from(camera.segment_seconds) * 1_000_000_000;
    let value = BoundValue::Plain(limit_ns.to_string());
    all.push(Binding { element: "segments", property: "max-size-time", value });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::camera::CameraPatch;

    #[test]
    fn a_camera_without_a_source_has_that_of_the_configuration() {
        let of = |source, default| {
            let given = CameraPatch {
                main_url: Some(Some("rtsp://h/x".to_owned())),
                source: Some(source),
                connect_seconds: Some(40),
                ..CameraPatch::default()
            };
            let camera = Camera::new("front".parse().unwrap(), given).unwrap();
            let settings = SourceSettings::of(&camera, default).unwrap();
            assert_eq!(settings.connect_within, Duration::from_secs(40));
            settings.source
        };
        assert_eq!(of(None, SourceChoice::Rtspsrc), SourceChoice::Rtspsrc);
        assert_eq!(of(Some(SourceChoice::Native), SourceChoice::Rtspsrc), SourceChoice::Native);
        assert_eq!(of(Some(SourceChoice::Auto), SourceChoice::Rtspsrc), SourceChoice::Auto);
    }
}
