//! Answers of a scripted camera as bytes, with whatever its makers did to their heads.

use super::quirk::Quirk;

/// What is answered to a request.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Code and reason.
    pub status: &'static str,
    /// Lines without CR LF.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    /// The connection is closed after it.
    pub closes: bool,
}

impl Answer {
    pub(super) fn new(status: &'static str) -> Answer {
        Answer { status, ..Answer::default() }
    }

    pub(super) fn with(mut self, header: impl Into<String>) -> Answer {
        self.headers.push(header.into());
        self
    }

    pub(super) fn code(&self) -> &'static str {
        self.status.split(' ').next().unwrap_or_default()
    }

    /// The bytes that answer a request with this method and number.
    pub(super) fn bytes(&self, method: &str, cseq: &str, quirks: &[Quirk]) -> Vec<u8> {
        let has = |quirk: Quirk| quirks.contains(&quirk);
        let mut status = format!("RTSP/1.0 {}", self.status);
        if has(Quirk::NoReason) {
            status = format!("RTSP/1.0 {}", self.code());
        }
        let mut lines: Vec<Vec<u8>> = vec![format!("CSeq: {cseq}").into_bytes()];
        lines.extend(has(Quirk::HeaderWithoutColon).then(|| b"Server".to_vec()));
        if has(Quirk::HeaderInGb2312) {
            lines.push(b"Server: \xba\xa3\xbf\xb5 \xcd\xfe\xca\xd3/1.0".to_vec());
        }
        lines.extend(has(Quirk::DateWithoutName).then(|| b"Thu, Jun 13 2024 04:00:59 GMT".to_vec()));
        for (index, header) in self.headers.iter().enumerate() {
            if index == 1 && method == "PLAY" && has(Quirk::BlankLineInPlay) {
                lines.push(b" ".to_vec());
            }
            lines.push(header.clone().into_bytes());
        }
        if has(Quirk::BlankLineInAll) {
            lines.extend([b"Server: Customer RTSP Server/1.0.0".to_vec(), b" ".to_vec()]);
        }
        if !self.body.is_empty() {
            let name = if has(Quirk::LowerCaseContentLength) { "Content-length" } else { "Content-Length" };
            let more = if has(Quirk::LongContentLength) { 2 } else { 0 };
            lines.push(format!("{name}: {}", self.body.len() + more).into_bytes());
        }
        let bare = has(Quirk::BareLf) || (has(Quirk::BareLfIn401) && self.code() == "401");
        let end: &[u8] = if bare { b"\n" } else { b"\r\n" };
        let mut bytes = [status.as_bytes(), end].concat();
        for line in lines {
            bytes.extend(reformatted(line, quirks));
            bytes.extend(end);
        }
        bytes.extend(end);
        bytes.extend(&self.body);
        bytes
    }
}

/// A header line as this camera writes it.
fn reformatted(line: Vec<u8>, quirks: &[Quirk]) -> Vec<u8> {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return line };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    for quirk in quirks {
        match quirk {
            Quirk::LowerCaseHeaders => {
                return [&name.to_ascii_lowercase(), &b" :  "[..], value, b"  "].concat();
            }
            Quirk::BlanksAfterValues => return [&line[..], b" "].concat(),
            Quirk::BlankBeforeColon => return [name, b" : ", value].concat(),
            _ => (),
        }
    }
    line
}
