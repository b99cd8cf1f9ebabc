//! RTSP messages (RFC 2326, sections 4 to 7 and 12): writing requests and answers, and reading heads as cameras write them.
//!
//! Heads are read leniently, because of cameras in use: bare LF, folded values, blanks around colons and at line ends, header lines
//! without a colon, lines of blanks between headers, bytes that are no UTF-8. `rtsp-types` and others refuse most of these.

use std::borrow::Cow;

/// Longest head that is taken, in bytes.
pub const HEAD_MAX: usize = 64 * 1024;
/// Longest body that is taken, in bytes. Session descriptions of cameras have one or two kilobytes.
pub const BODY_MAX: usize = 256 * 1024;
/// Header lines that are kept of one head.
const HEADERS_MAX: usize = 256;

/// First line of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartLine {
    /// A request.
    Request {
        /// Method as sent.
        method: String,
        /// Request URI as sent.
        uri: String,
    },
    /// An answer.
    Answer {
        /// Status code, three digits.
        status: u16,
        /// Reason phrase as sent; may be empty.
        reason: String,
    },
}

/// Header lines in order; names in lower case, values without blanks at their ends, as bytes: a Digest realm has to be hashed as it
/// was sent, whatever its encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// The first value under `name`, which is in lower case; bytes that are no UTF-8 are replaced.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value))
    }

    /// All values under `name`, which is in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// Announced length of the body. Digits count up to the first other character; a number beyond `usize` is its maximum.
    pub fn content_length(&self) -> Option<usize> {
        let value = self.get("content-length")?;
        let digits = value.bytes().take_while(u8::is_ascii_digit);
        digits.map(|digit| usize::from(digit - b'0')).fold(None, |length: Option<usize>, digit| {
            Some(length.unwrap_or(0).saturating_mul(10).saturating_add(digit))
        })
    }
}

/// A request or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// First line.
    pub start: StartLine,
    /// Header lines.
    pub headers: Headers,
    /// Body, at most [`BODY_MAX`] bytes.
    pub body: Vec<u8>,
}

/// Reads a head: everything up to and with the empty line. `None` if its first line is neither a request's nor an answer's.
pub fn parse_head(head: &[u8]) -> Option<(StartLine, Headers)> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start = parse_start(&String::from_utf8_lossy(lines.next()?))?;
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    for line in lines {
        let trimmed = trim(line);
        if trimmed.is_empty() {
            continue;
        }
        // RFC 2326, 15.1 (RFC 2616, 4.2): a line that begins with a blank continues the value before.
        if line[0].is_ascii_whitespace()
            && let Some((_, value)) = headers.last_mut()
        {
            value.push(b' ');
            value.extend_from_slice(trimmed);
            continue;
        }
        let Some(colon) = trimmed.iter().position(|byte| *byte == b':') else { continue };
        let name = trim(&trimmed[..colon]);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            continue;
        }
        if headers.len() == HEADERS_MAX {
            break;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        headers.push((name, trim(&trimmed[colon + 1..]).to_vec()));
    }
    Some((start, Headers(headers)))
}

fn parse_start(line: &str) -> Option<StartLine> {
    let line = line.trim();
    let (first, rest) = line.split_once([' ', '\t'])?;
    let rest = rest.trim_start();
    if first.starts_with("RTSP/") {
        let (code, reason) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let status = (code.len() == 3).then(|| code.parse().ok()).flatten()?;
        return Some(StartLine::Answer { status, reason: reason.trim().to_owned() });
    }
    let uri = rest.split([' ', '\t']).next().unwrap_or_default();
    Some(StartLine::Request { method: first.to_owned(), uri: uri.to_owned() })
}

/// A character of a token (RFC 2616, 2.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `bytes` without white space and NULs at their ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let from = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let to = bytes.iter().rposition(|byte| !blank(byte)).map_or(from, |last| last + 1);
    &bytes[from..to]
}

/// Writes a request without a body. Control characters are left out of URI and values, so that no value begins a line of its own.
pub fn write_request(method: &str, uri: &str, headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    push_printable(&mut out, uri.as_bytes());
    out.extend_from_slice(b" RTSP/1.0\r\n");
    push_headers(&mut out, headers);
    out
}

/// Writes an answer without a body.
pub fn write_answer(status: u16, reason: &str, headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(format!("RTSP/1.0 {status} {reason}\r\n").as_bytes());
    push_headers(&mut out, headers);
    out
}

fn push_headers(out: &mut Vec<u8>, headers: &[(&str, &[u8])]) {
    for (name, value) in headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        push_printable(out, value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn push_printable(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(value.iter().copied().filter(|byte| !byte.is_ascii_control()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(head: &[u8]) -> (u16, Headers) {
        match parse_head(head).unwrap() {
            (StartLine::Answer { status, .. }, headers) => (status, headers),
            (StartLine::Request { .. }, _) => panic!("an answer"),
        }
    }

    #[test]
    fn heads_are_read_as_cameras_write_them() {
        for head in [
            "RTSP/1.0 200 OK\r\nCSeq: 7\r\nSession: 12;timeout=60\r\n\r\n",
            "RTSP/1.0 200 OK\nCSeq: 7\nSession: 12;timeout=60\n\n",
            "RTSP/1.0 200 OK\r\ncseq :  7  \r\nSESSION : 12;timeout=60 \r\n\r\n",
            "RTSP/1.0  200\r\nThu, Jun 13 2024 04:00:59 GMT\r\nServer\r\nCSeq:7\r\nSession:12;timeout=60\r\n\r\n",
            "RTSP/1.0 200 OK\r\nServer: x\r\n \r\nCSeq: 7\r\n\t\r\nSession: 12;timeout=60\r\n\r\n",
            "RTSP/1.0 200 OK\r\nCSeq:\r\n 7\r\nSession: 12;timeout=60\r\n\r\n",
            "RTSP/2.0 200 OK\r\n CSeq: 7\r\nSession: 12;timeout=60\r\nSession: 13\r\n\r\n",
        ] {
            let (status, headers) = read(head.as_bytes());
            assert_eq!(status, 200, "{head}");
            assert_eq!(headers.get("cseq").unwrap().trim(), "7", "{head}");
            assert_eq!(headers.get("session").unwrap(), "12;timeout=60", "{head}");
        }
    }

    #[test]
    fn bytes_of_another_encoding_are_kept() {
        let (_, headers) = read(b"RTSP/1.0 401 No\r\nServer: \xba\xa3\xbf\xb5/1.0\r\nCSeq: 2\r\n\r\n");
        assert_eq!(headers.all("server").next(), Some(&b"\xba\xa3\xbf\xb5/1.0"[..]));
        assert_eq!(headers.get("cseq").unwrap(), "2");
    }

    #[test]
    fn a_first_line_that_is_no_message_is_refused() {
        for head in
            ["\r\n\r\n", "RTSP/1.0\r\n\r\n", "RTSP/1.0 OK\r\n\r\n", "RTSP/1.0 2000 OK\r\n\r\n", "x\r\n\r\n"]
        {
            assert_eq!(parse_head(head.as_bytes()), None, "{head}");
        }
    }

    #[test]
    fn the_length_of_a_body_is_read_as_far_as_it_is_a_number() {
        let length = |value: &str| {
            read(format!("RTSP/1.0 200 OK\r\nContent-length: {value}\r\n\r\n").as_bytes()).1.content_length()
        };
        assert_eq!(length("460"), Some(460));
        assert_eq!(length("460 bytes"), Some(460));
        assert_eq!(length("-1"), None);
        assert_eq!(length("99999999999999999999999"), Some(usize::MAX));
    }

    #[test]
    fn no_value_begins_a_line_of_its_own() {
        let written =
            write_request("SETUP", "rtsp://h/x\r\nEvil: 1", &[("CSeq", b"1"), ("Session", b"a\r\nb\0")]);
        assert_eq!(written, b"SETUP rtsp://h/xEvil: 1 RTSP/1.0\r\nCSeq: 1\r\nSession: ab\r\n\r\n");
        assert_eq!(write_answer(200, "OK", &[("CSeq", b"3")]), b"RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n");
    }

    proptest! {
        #[test]
        fn no_head_panics(head in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse_head(&head);
            parse_head(&[b"RTSP/1.0 200 OK\r\n", &head[..]].concat());
        }
    }
}
