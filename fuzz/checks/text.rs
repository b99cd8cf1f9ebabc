//! What cameras write: heads of messages, session descriptions, log-in challenges.

use super::input::Input;
use crate::{
    base::Secret,
    rtsp::{
        auth::{Authenticator, Challenge, Credentials, NoScheme, Scheme, choose, parse_challenges},
        message::{Headers, StartLine, parse_head, write_answer, write_request},
        sdp,
    },
};

/// Names that a session looks up, and some more.
const NAMES: [&str; 12] = [
    "cseq",
    "session",
    "content-length",
    "content-type",
    "content-base",
    "content-location",
    "connection",
    "location",
    "public",
    "server",
    "transport",
    "www-authenticate",
];
const PASSWORD: &str = "correct horse battery staple";

/// The headers with a known name, in the order of `NAMES`.
fn known(headers: &Headers) -> Vec<(&str, &[u8])> {
    NAMES.iter().flat_map(|name| headers.all(name).map(move |value| (*name, value))).collect()
}

/// Reads a head; what is written with its values can be read again, and has no line more.
pub fn message(head: &[u8]) {
    let Some((start, headers)) = parse_head(head) else { return };
    let known = known(&headers);
    let size: usize = known.iter().map(|(_, value)| value.len()).sum();
    assert!(size <= head.len(), "{size} bytes of values in {} bytes", head.len());
    for (name, value) in &known {
        assert!(!value.contains(&b'\n'), "{name}");
        assert!(headers.get(name).is_some());
    }
    let uri = match &start {
        StartLine::Request { method, uri } => {
            assert!(method.len() + uri.len() <= 3 * head.len() && !method.contains('\n'));
            uri
        }
        StartLine::Answer { status, reason } => {
            assert!(*status <= 999 && reason.len() <= 3 * head.len());
            reason
        }
    };
    let digits =
        headers.get("content-length").is_some_and(|value| value.starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(headers.content_length().is_some(), digits);
    let printable =
        |value: &[u8]| -> Vec<u8> { value.iter().copied().filter(|byte| !byte.is_ascii_control()).collect() };
    for written in [write_request("SETUP", uri, &known), write_answer(200, "OK", &known)] {
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, known.len() + 2);
        let (_, again) = parse_head(&written).expect("what we write can be read");
        let again = self::known(&again);
        assert_eq!(again.len(), known.len().min(256));
        for ((name, value), (same, read)) in known.iter().zip(again) {
            assert_eq!(*name, same);
            assert_eq!(printable(value).trim_ascii(), read);
        }
    }
}

/// Reads a session description, whose parts have bounds.
pub fn sdp(text: &[u8]) {
    let found = sdp::parse(text);
    assert!(found.media.len() <= 64);
    let mut size = found.control.as_ref().map_or(0, String::len);
    for media in &found.media {
        assert!(media.formats.len() <= 32);
        assert!(media.protocol.chars().count() <= 32);
        size += media.protocol.len() + media.control.as_ref().map_or(0, String::len);
        for format in &media.formats {
            assert!(format.payload_type < 128 && format.channels > 0);
            assert!(format.encoding.chars().count() <= 32 && format.fmtp.len() <= 64);
            assert!(!format.encoding.chars().any(|c| c.is_ascii_lowercase()));
            size += format.fmtp.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            // The names of static payload types are not in the text.
            size += format.encoding.len().saturating_sub(5);
        }
    }
    // A byte that is no UTF-8 becomes three.
    assert!(size <= 3 * text.len(), "{size} bytes of {}", text.len());
}

/// Reads challenges, one or more in each line, and answers the one that is chosen.
pub fn challenges(input: &[u8]) {
    let mut input = Input::new(input);
    let flags = input.byte();
    let text = input.rest();
    let found = parse_challenges(text.split(|byte| *byte == b'\n'));
    assert!(found.len() <= 16);
    for challenge in &found {
        match challenge {
            Challenge::Digest(digest) => assert!(digest.nonce.len() <= text.len()),
            Challenge::Basic => {}
            Challenge::Other(name) => assert!(name.len() <= 3 * text.len() + 32),
        }
    }
    let clear_text = flags & 1 != 0;
    let scheme = match choose(&found, clear_text, flags & 2 != 0) {
        Ok(scheme) => scheme,
        Err(NoScheme::ClearText) => {
            assert!(!clear_text && found.contains(&Challenge::Basic));
            return;
        }
        Err(NoScheme::Unknown(names)) => {
            assert!(names.len() <= 3 * text.len() + 16 * 32);
            return;
        }
    };
    let is_basic = scheme == Scheme::Basic;
    assert!(clear_text || !is_basic, "a password in clear that nobody allowed");
    assert!(!is_basic || found.iter().all(|challenge| *challenge == Challenge::Basic), "the weakest of them");
    let password = Secret::new(PASSWORD);
    let mut log_in = Authenticator::new(scheme, "0a4f113b".to_owned());
    let mut before = Vec::new();
    for method in ["DESCRIBE", "DESCRIBE", "GET_PARAMETER"] {
        let credentials = Credentials { username: "admin", password: &password };
        let header = log_in.authorization(credentials, method, "rtsp://192.0.2.7/live");
        assert!(header.len() <= 2 * text.len() + 1024);
        let shows = |bytes: &[u8]| bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
        assert!(!shows(&header) || shows(text));
        assert_eq!(header.starts_with(b"Basic "), is_basic);
        if header.windows(3).any(|part| part == b"nc=") && !text.windows(3).any(|part| part == b"nc=") {
            assert_ne!(header, before, "each request has its own count");
        }
        before = header;
    }
}
