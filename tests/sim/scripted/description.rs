//! The description of a scripted camera, right or not, and the URLs in it.

use std::net::SocketAddr;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::super::nal::{Codec, Kind};
use super::pictures::{Clip, Pictures};
use super::quirk::{Control, Quirk};
use super::{ScriptedSpec, VIDEO_TYPE};

/// An address that a camera has behind its NAT.
const NAT: &str = "rtsp://192.168.1.10:554";
/// What must be in every URL of a camera that has a query in its controls.
pub(super) const QUERY: &str = "Axis-Orig-Sw=true";
const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=cam\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n";

/// What is said in answer to DESCRIBE.
pub(super) struct Description {
    pub content_base: Option<String>,
    pub body: Vec<u8>,
}

/// Path of the control of the video, and of the sound tracks in their order.
pub(super) fn control(track: usize) -> String {
    format!("trackID={}", track + 1)
}

impl Description {
    /// `at` is the camera's address as the client knows it.
    pub(super) fn new(spec: &ScriptedSpec, pictures: &Pictures, at: SocketAddr) -> Description {
        let url = format!("rtsp://{at}{}", spec.path);
        let has = |quirk: &Quirk| spec.quirks.contains(quirk);
        let (mut base, mut session, mut tracks) =
            (Some(format!("{url}/")), Some("*".to_owned()), String::new());
        for quirk in &spec.quirks {
            match quirk {
                Quirk::SessionControl(how) => {
                    let other = session_control(*how, spec, &url, at);
                    tracks = format!("{}/", other.trim_end_matches('/'));
                    session = Some(other);
                }
                Quirk::OtherHost => {
                    let other = format!("{NAT}{}/", spec.path);
                    (base, session, tracks) = (Some(other.clone()), Some(other.clone()), other);
                }
                Quirk::OtherHostWithoutBase => {
                    (base, session, tracks) = (None, None, format!("{NAT}{}/", spec.path));
                }
                Quirk::OtherBase => base = Some(format!("{NAT}{}/", spec.path)),
                Quirk::OtherSessionControl => {
                    (base, session) = (None, Some(format!("rtsp://192.168.1.10{}", spec.path)));
                }
                Quirk::ControlsWithoutPort => {
                    let other = format!("rtsp://{}{}/", at.ip(), spec.path);
                    (base, session, tracks) = (Some(other.clone()), Some(other.clone()), other);
                }
                Quirk::ControlsWithQuery => {
                    (session, tracks) = (Some(format!("{url}?{QUERY}")), format!("{url}/"));
                }
                Quirk::NoControl => session = None,
                _ => (),
            }
        }
        let query = if has(&Quirk::ControlsWithQuery) { format!("?{QUERY}") } else { String::new() };
        let line = |track: usize| {
            if has(&Quirk::NoControl) {
                String::new()
            } else {
                format!("a=control:{tracks}{}{query}\r\n", control(track))
            }
        };
        let mut body = String::new();
        if !has(&Quirk::BareSdp) {
            body += SESSION;
            if let Some(session) = session {
                body += &format!("a=control:{session}\r\n");
            }
            if has(&Quirk::RangeEnds) {
                body += "a=range:npt=0-5.0\r\n";
            }
        }
        body += &noise(&spec.quirks);
        if !has(&Quirk::NoVideo) {
            body += &video(spec, pictures);
            body += &line(0);
        }
        for (index, track) in spec.sound.iter().enumerate() {
            body += &track.sdp();
            body += &line(index + 1);
        }
        if has(&Quirk::NullAudio) {
            body += "m=audio 0 RTP/AVP (null)\r\nc=IN IP4 0.0.0.0\r\nb=AS:64\r\na=rtpmap\r\na=control:track=2\r\n";
        }
        if has(&Quirk::NulAtEnd) {
            body.push('\0');
        }
        Description { content_base: base, body: body.into_bytes() }
    }
}

fn session_control(how: Control, spec: &ScriptedSpec, url: &str, at: SocketAddr) -> String {
    let path = &spec.path;
    match how {
        Control::Same => url.to_owned(),
        Control::Slash => format!("{url}/"),
        Control::Query => format!("{url}?transportmode=unicast&profile=Profile_1"),
        Control::UpperCase => format!("rtsp://LOCALHOST:{}{path}", at.port()),
        Control::NoPort => format!("rtsp://{}{path}/", at.ip()),
        Control::OtherHost => format!("rtsp://192.168.1.64:554{path}/"),
    }
}

/// Lines that are of no use.
fn noise(quirks: &[Quirk]) -> String {
    let mut lines = String::new();
    for quirk in quirks {
        match quirk {
            Quirk::DescriptionBytes(bytes) => {
                lines +=
                    &"a=x-nothing:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(bytes / 64);
            }
            Quirk::MediaLines(count) => {
                for n in 0..*count {
                    lines += &format!(
                        "m=application 0 RTP/AVP 98\r\na=rtpmap:98 X-NOISE/90000\r\na=control:x{n}\r\n"
                    );
                }
            }
            _ => (),
        }
    }
    lines
}

fn video(spec: &ScriptedSpec, pictures: &Pictures) -> String {
    let has = |quirk: &Quirk| spec.quirks.contains(quirk);
    let other;
    let said = if has(&Quirk::OtherParameterSets) {
        let Clip::Plain(encoding) = Clip::small(pictures.codec) else { unreachable!("a plain clip") };
        let smaller = super::super::footage::Encoding { width: 176, height: 144, ..encoding };
        other = Pictures::load(Clip::Plain(smaller)).expect("footage as that of other sizes");
        &*other
    } else {
        pictures
    };
    let set = |kind: Kind| said.parameter_set(kind).to_vec();
    let coded = |kind: Kind| BASE64_STANDARD.encode(set(kind));
    let rate = if has(&Quirk::NoClockRate) { 0 } else { 90_000 };
    let kind = VIDEO_TYPE;
    let mut lines = format!("m=video 0 RTP/AVP {kind}\r\n");
    if has(&Quirk::NoFrameRate) {
        lines += "a=framerate:0\r\na=x-dimensions:0,0\r\n";
    }
    if has(&Quirk::BareSdp) {
        return format!("{lines}a=rtpmap:{kind} H264/{rate}\r\n");
    }
    match pictures.codec {
        Codec::H264 => {
            let profile: String = set(Kind::Sps)[1..4].iter().map(|byte| format!("{byte:02x}")).collect();
            let (sps, pps) = (coded(Kind::Sps), coded(Kind::Pps));
            lines += &format!(
                "a=rtpmap:{kind} H264/{rate}\r\na=fmtp:{kind} packetization-mode=1;profile-level-id={profile};\
                 sprop-parameter-sets={sps},{pps}\r\n"
            );
        }
        Codec::H265 => {
            let (vps, sps, pps) = (coded(Kind::Vps), coded(Kind::Sps), coded(Kind::Pps));
            lines += &format!(
                "a=rtpmap:{kind} H265/{rate}\r\na=fmtp:{kind} sprop-vps={vps};sprop-sps={sps};sprop-pps={pps}\r\n"
            );
        }
    }
    lines
}
