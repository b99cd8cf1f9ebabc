//! Requests with a text head, as RTSP and HTTP have them, read from a connection.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Larger requests end the connection.
const MESSAGE_LIMIT_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 16 * 1024;

/// A request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// First line and headers.
    pub head: String,
    /// First word.
    pub method: String,
    /// Second word.
    pub url: String,
    /// What follows the head.
    pub body: Vec<u8>,
}

impl Message {
    fn new(head: &[u8]) -> Message {
        let head = String::from_utf8_lossy(head).into_owned();
        let mut words = head.split_whitespace().map(str::to_owned);
        let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Message { head, method, url, body: Vec::new() }
    }

    /// The value of a header.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    }

    /// The address without its scheme, host and port.
    pub(crate) fn path(&self) -> &str {
        let after_scheme = self.url.find("://").map_or(0, |at| at + 3);
        self.url[after_scheme..].find('/').map_or("/", |at| &self.url[after_scheme + at..])
    }
}

/// The requests of one connection.
pub(crate) struct Incoming<R> {
    from: R,
    pending: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Reads from one half of a connection.
    pub(crate) fn new(from: R) -> Incoming<R> {
        Incoming { from, pending: Vec::new() }
    }

    /// The next request, `None` when the other side has closed. RTCP of the other side in between is skipped. May be
    /// dropped and called again: nothing is lost.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            if self.pending.len() > MESSAGE_LIMIT_BYTES {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            self.pending.reserve(READ_BYTES);
            if self.from.read_buf(&mut self.pending).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Option<Message> {
        while self.pending.first() == Some(&b'$') {
            let length = u16::from_be_bytes(self.pending.get(2..4)?.try_into().ok()?);
            let end = 4 + usize::from(length);
            (self.pending.len() >= end).then(|| self.pending.drain(..end))?;
        }
        let head = self.pending.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let mut message = Message::new(&self.pending[..head]);
        let body = message.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let end = head.checked_add(body)?;
        message.body = self.pending.get(head..end)?.to_vec();
        self.pending.drain(..end);
        Some(message)
    }
}
