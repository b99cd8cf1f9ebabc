//! Session descriptions (RFC 8866), as far as a receiver needs them and as cameras write them.
//!
//! Only `m=` lines and five attributes are read, so that a description without its head, with `(null)` in places or with lines that
//! are wrong still tells its streams; `sdp-types` refuses such ones. Bytes that are no UTF-8 are replaced.

/// Media that are looked at.
const MEDIA_MAX: usize = 64;
/// Formats of one medium that are looked at.
const FORMATS_MAX: usize = 32;
/// Parameters of one format that are kept.
const PARAMETERS_MAX: usize = 64;
/// Longest encoding name that is kept, in bytes.
const NAME_MAX: usize = 32;

/// What a medium carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Anything else, metadata for example.
    Other,
}

/// One format of a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// RTP payload type.
    pub payload_type: u8,
    /// Encoding name in capitals; empty if nothing names it.
    pub encoding: String,
    /// Ticks per second of the RTP timestamps; 0 if nothing tells them.
    pub clock_rate: u32,
    /// Channels of sound; 1 where nothing is said.
    pub channels: u8,
    /// Parameters of `a=fmtp` in order, names in lower case, values as sent.
    pub fmtp: Vec<(String, String)>,
}

/// One stream of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// What it carries.
    pub kind: Kind,
    /// Transport protocol, `RTP/AVP` mostly.
    pub protocol: String,
    /// Formats in the order of `m=`, then those that only `a=rtpmap` names.
    pub formats: Vec<Format>,
    /// `a=control`.
    pub control: Option<String>,
    /// `a=sendonly`: of sound, the camera's loudspeaker (ONVIF Streaming Specification, 5.3).
    pub send_only: bool,
    /// `a=inactive`.
    pub inactive: bool,
}

/// A session description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// `a=control` before the first `m=`.
    pub control: Option<String>,
    /// Streams in order.
    pub media: Vec<Media>,
}

/// Reads a description. No text is refused; the worst gives no media.
pub fn parse(text: &[u8]) -> Description {
    let mut description = Description::default();
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        if let Some(value) = line.strip_prefix("m=") {
            if description.media.len() == MEDIA_MAX {
                break;
            }
            description.media.push(parse_media(value));
        } else if let Some(attribute) = line.strip_prefix("a=") {
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            let (name, value) = (name.trim(), value.trim());
            match description.media.last_mut() {
                Some(media) => media.take_attribute(name, value),
                None if name.eq_ignore_ascii_case("control") => take_first(&mut description.control, value),
                None => {}
            }
        }
    }
    for media in &mut description.media {
        media.formats.iter_mut().for_each(|format| format.complete(media.kind));
    }
    description
}

fn parse_media(value: &str) -> Media {
    let mut words = value.split_whitespace();
    let kind = match words.next() {
        Some(word) if word.eq_ignore_ascii_case("video") => Kind::Video,
        Some(word) if word.eq_ignore_ascii_case("audio") => Kind::Audio,
        _ => Kind::Other,
    };
    let mut words = words.skip(1);
    let protocol = words.next().unwrap_or_default().chars().take(NAME_MAX).collect();
    let mut media =
        Media { kind, protocol, formats: Vec::new(), control: None, send_only: false, inactive: false };
    for payload_type in words.filter_map(payload_type).take(FORMATS_MAX) {
        media.format(payload_type);
    }
    media
}

fn payload_type(word: &str) -> Option<u8> {
    word.parse().ok().filter(|number| *number < 128)
}

fn take_first(place: &mut Option<String>, value: &str) {
    if place.is_none() && !value.is_empty() {
        *place = Some(value.to_owned());
    }
}

impl Media {
    /// The format of a payload type, which is added if it is new and there is room.
    fn format(&mut self, payload_type: u8) -> Option<&mut Format> {
        let known = self.formats.iter().position(|format| format.payload_type == payload_type);
        let index = match known {
            Some(index) => index,
            None if self.formats.len() == FORMATS_MAX => return None,
            None => {
                let (encoding, clock_rate, channels, fmtp) = (String::new(), 0, 1, Vec::new());
                self.formats.push(Format { payload_type, encoding, clock_rate, channels, fmtp });
                self.formats.len() - 1
            }
        };
        self.formats.get_mut(index)
    }

    fn take_attribute(&mut self, name: &str, value: &str) {
        match name.to_ascii_lowercase().as_str() {
            "control" => take_first(&mut self.control, value),
            "sendonly" => self.send_only = true,
            "inactive" => self.inactive = true,
            "rtpmap" | "fmtp" => {
                let (number, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
                let Some(format) = payload_type(number).and_then(|number| self.format(number)) else {
                    return;
                };
                if name.eq_ignore_ascii_case("fmtp") {
                    format.take_parameters(rest);
                } else if format.encoding.is_empty() {
                    format.take_mapping(rest);
                }
            }
            _ => {}
        }
    }
}

impl Format {
    /// `H264/90000` or `PCMU/8000/1`.
    fn take_mapping(&mut self, value: &str) {
        let mut parts = value.split('/').map(str::trim);
        let encoding = parts.next().unwrap_or_default();
        self.encoding = encoding.chars().take(NAME_MAX).collect::<String>().to_ascii_uppercase();
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        self.clock_rate = parts.next().and_then(|rate| digits(rate).parse().ok()).unwrap_or(0);
        let channels = parts.next().and_then(|channels| digits(channels).parse().ok());
        self.channels = channels.filter(|channels| *channels > 0).unwrap_or(1);
    }

    fn take_parameters(&mut self, value: &str) {
        let room = PARAMETERS_MAX.saturating_sub(self.fmtp.len());
        let parameters = value.split(';').map(str::trim).filter(|parameter| !parameter.is_empty());
        self.fmtp.extend(parameters.take(room).map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (name.trim().to_ascii_lowercase(), value.trim().to_owned())
        }));
    }

    /// Fills in what `a=rtpmap` did not say: static payload types (RFC 3551, 6), and what the parameters of a dynamic one show.
    fn complete(&mut self, kind: Kind) {
        if self.encoding.is_empty() {
            let has = |name: &str| self.fmtp.iter().any(|(key, _)| key == name);
            let (encoding, clock_rate) = match self.payload_type {
                0 => ("PCMU", 8000),
                3 => ("GSM", 8000),
                4 => ("G723", 8000),
                8 => ("PCMA", 8000),
                9 => ("G722", 8000),
                14 => ("MPA", 90_000),
                18 => ("G729", 8000),
                26 => ("JPEG", 90_000),
                32 => ("MPV", 90_000),
                33 => ("MP2T", 90_000),
                34 => ("H263", 90_000),
                _ if kind != Kind::Video => return,
                _ if has("sprop-parameter-sets") || has("packetization-mode") => ("H264", 90_000),
                _ if has("sprop-sps") || has("sprop-vps") => ("H265", 90_000),
                _ => return,
            };
            (self.encoding, self.clock_rate) = (encoding.to_owned(), clock_rate);
        } else if self.clock_rate == 0 {
            self.clock_rate = match (kind, self.encoding.as_str()) {
                (Kind::Video, _) => 90_000,
                (_, "PCMU" | "PCMA") => 8000,
                (_, "OPUS") => 48_000,
                _ => 0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn formats(media: &Media) -> Vec<(u8, &str, u32, u8)> {
        let of = |format: &'_ Format| (format.payload_type, format.clock_rate, format.channels);
        media
            .formats
            .iter()
            .map(|format| (of(format), format.encoding.as_str()))
            .map(|((a, b, c), d)| (a, d, b, c))
            .collect()
    }

    #[test]
    fn a_usual_description_tells_its_streams() {
        let text = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=cam\r\nt=0 0\r\na=control:rtsp://192.0.2.7/live/\r\na=recvonly\r\n\
            m=video 0 RTP/AVP 96\r\nb=AS:5000\r\na=control:trackID=1\r\na=rtpmap:96 H264/90000\r\n\
            a=fmtp:96 Packetization-Mode=1; profile-level-id=4D0028;sprop-parameter-sets=Z00=,aO4=\r\n\
            m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/16000/2\r\na=control:trackID=2\r\n\
            m=audio 0 RTP/AVP 0\r\na=sendonly\r\na=control:talk\r\n\
            m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n";
        let found = parse(text.as_bytes());
        assert_eq!(found.control.as_deref(), Some("rtsp://192.0.2.7/live/"));
        let [video, audio, talk, metadata] = &found.media[..] else { panic!("{found:?}") };
        assert_eq!((video.kind, video.protocol.as_str()), (Kind::Video, "RTP/AVP"));
        assert_eq!(formats(video), [(96, "H264", 90_000, 1)]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let fmtp = [
            pair("packetization-mode", "1"),
            pair("profile-level-id", "4D0028"),
            pair("sprop-parameter-sets", "Z00=,aO4="),
        ];
        assert_eq!(video.formats[0].fmtp, fmtp);
        assert_eq!(formats(audio), [(97, "MPEG4-GENERIC", 16_000, 2)]);
        assert_eq!(audio.control.as_deref(), Some("trackID=2"));
        assert!(!audio.send_only && talk.send_only);
        assert_eq!(metadata.kind, Kind::Other);
    }

    #[test]
    fn a_mapping_counts_more_than_the_static_table() {
        let of = |lines: &str| {
            formats(&parse(lines.as_bytes()).media[0]).first().map(|f| (f.0, f.1.to_owned(), f.2))
        };
        let pcmu = |payload_type, rate| Some((payload_type, "PCMU".to_owned(), rate));
        assert_eq!(of("m=audio 0 RTP/AVP 0\r\na=control:t"), pcmu(0, 8000));
        assert_eq!(of("m=audio 0 RTP/AVP 0\na=rtpmap:0 PCMU/16000\n"), pcmu(0, 16_000));
        assert_eq!(of("m=audio 0 RTP/AVP 8\na=rtpmap:8 PCMU/8000/1\n"), pcmu(8, 8000));
        assert_eq!(of("m=audio 0 RTP/AVP 97\na=rtpmap:97 pcmu\n"), pcmu(97, 8000));
        assert_eq!(of("m=audio 0 RTP/AVP 8\n"), Some((8, "PCMA".to_owned(), 8000)));
        let aac = of("m=audio 0 RTP/AVP 0\na=rtpmap:0 MPEG4-GENERIC/16000/1\n");
        assert_eq!(aac, Some((0, "MPEG4-GENERIC".to_owned(), 16_000)));
        assert_eq!(of("m=video 0 RTP/AVP 26\n"), Some((26, "JPEG".to_owned(), 90_000)));
    }

    #[test]
    fn odd_descriptions_are_read_as_far_as_they_go() {
        let null = parse(b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\nm=audio 0 RTP/AVP (null)\r\na=rtpmap\r\na=control:t\r\n");
        assert_eq!(formats(&null.media[0]), [(96, "H265", 90_000, 1)]);
        assert_eq!(null.media[1].formats, []);
        let bare = parse(b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n\0");
        assert_eq!((bare.control.as_deref(), bare.media[0].control.as_deref()), (None, Some("trackID=0")));
        let lone = parse(b"m=video 0 RTP/AVP\na=rtpmap:99 h264/90000\n");
        assert_eq!(formats(&lone.media[0]), [(99, "H264", 90_000, 1)]);
        let unmapped = parse(b"m=video 0 RTP/AVP 96\na=fmtp:96 packetization-mode=1\n");
        assert_eq!(formats(&unmapped.media[0]), [(96, "H264", 90_000, 1)]);
        let latin =
            parse(b"s=\xba\xa3\nm=video 0 RTP/AVP 96 97\na=rtpmap: 96  H264 / 90000 \na=control: t=1 \n");
        assert_eq!(formats(&latin.media[0])[0], (96, "H264", 90_000, 1));
        assert_eq!(latin.media[0].control.as_deref(), Some("t=1"));
        for text in ["", "\0\0\0", "m=", "a=", "m=video", "a=control"] {
            assert!(parse(text.as_bytes()).media.iter().all(|media| media.formats.is_empty()), "{text}");
        }
    }

    #[test]
    fn endless_descriptions_have_a_bound() {
        let medium = format!(
            "m=video 0 RTP/AVP {}\r\n",
            (0..1000).map(|n| format!("{} ", n % 300)).collect::<String>()
        );
        let attributes = "a=rtpmap:96 H264/90000\r\na=fmtp:96 a=1;b=2;c=3\r\n".repeat(100);
        let found = parse((medium + &attributes).repeat(10_000 / 100).as_bytes());
        assert_eq!(found.media.len(), MEDIA_MAX);
        assert!(found.media.iter().all(|media| media.formats.len() <= FORMATS_MAX));
        assert!(
            found
                .media
                .iter()
                .flat_map(|media| &media.formats)
                .all(|format| format.fmtp.len() <= PARAMETERS_MAX)
        );
    }

    proptest! {
        #[test]
        fn no_description_panics(text in "((m=(video|audio) 0 RTP/AVP|a=(rtpmap|fmtp|control|sendonly):?|[ -~]{0,8}| 96|\r|\n|\0|/|;|=)){0,60}",
                                 bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(text.as_bytes());
            parse(&bytes);
        }
    }
}
