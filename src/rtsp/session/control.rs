//! Request URIs of a session and its tracks (RFC 2326, C.1.1), as the camera gives them.
//!
//! URIs of the camera are sent back as they are, whatever host, port or query they name: they are names to the camera. The connection
//! always goes to the host that the operator set.

use crate::{model::address::StreamUrl, rtsp::message::Headers};

/// Longest URI of a camera that is taken, in bytes.
const URI_MAX: usize = 4096;

/// URIs that a description gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Controls {
    /// What relative controls of media are appended to.
    base: String,
    /// URIs of the session as a whole, the likeliest first; never empty.
    session: Vec<String>,
}

impl Controls {
    /// From the URL that was described, the answer's headers and the description's session-level `a=control`.
    pub(super) fn new(url: &StreamUrl, headers: &Headers, control: Option<&str>) -> Self {
        let url = request_uri(url);
        let header = |name| headers.get(name).and_then(|value| given(&value)).filter(|uri| is_absolute(uri));
        let location =
            header("content-base").or_else(|| header("content-location")).unwrap_or_else(|| url.clone());
        let control = control.and_then(given).filter(|control| control != "*");
        let base = control.clone().filter(|control| is_absolute(control));
        let own = control.map(|control| join(&location, &control));
        let mut session: Vec<String> = Vec::new();
        for uri in own.into_iter().chain([location.clone(), url]) {
            if !session.contains(&uri) {
                session.push(uri);
            }
        }
        Self { base: base.unwrap_or(location), session }
    }

    /// The URI of a medium. A medium without a control is the session itself.
    pub(super) fn media(&self, control: Option<&str>) -> String {
        match control.and_then(given).filter(|control| control != "*") {
            Some(control) => join(&self.base, &control),
            None => self.whole(),
        }
    }

    /// URIs of the session as a whole, in the order in which to try them.
    pub(super) fn session(&self) -> &[String] {
        &self.session
    }

    /// The base, as the operator wrote it if only a slash at its end differs.
    fn whole(&self) -> String {
        let same = |uri: &&String| uri.trim_end_matches('/') == self.base.trim_end_matches('/');
        self.session.iter().rev().find(same).unwrap_or(&self.base).clone()
    }
}

/// The URL of a stream as it stands in a request. `rtspt` is GStreamer's name for RTSP with RTP over TCP.
pub(super) fn request_uri(url: &StreamUrl) -> String {
    match url.as_str().strip_prefix("rtspt://") {
        Some(rest) => format!("rtsp://{rest}"),
        None => url.as_str().to_owned(),
    }
}

/// A camera's URI as it can stand in a request line: without control characters, blanks and others encoded.
fn given(uri: &str) -> Option<String> {
    let uri = uri.trim().trim_matches('"');
    if uri.is_empty() || uri.len() > URI_MAX {
        return None;
    }
    let mut out = String::with_capacity(uri.len());
    for byte in uri.bytes().filter(|byte| !byte.is_ascii_control()) {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(out)
}

fn is_absolute(uri: &str) -> bool {
    uri.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Appends a relative control with a slash between, as live555 and ffmpeg do, and cameras expect, also behind a query. A control that
/// repeats the base's path replaces it.
fn join(base: &str, control: &str) -> String {
    if is_absolute(control) {
        return control.to_owned();
    }
    let authority_end = base.find("://").and_then(|at| base[at + 3..].find('/').map(|slash| at + 3 + slash));
    if let Some((authority, path)) = authority_end.map(|at| base.split_at(at)) {
        let path = path.split('?').next().unwrap_or(path).trim_end_matches('/');
        if !path.is_empty() && control.starts_with(path) {
            return format!("{authority}{control}");
        }
    }
    format!("{}/{}", base.strip_suffix('/').unwrap_or(base), control.strip_prefix('/').unwrap_or(control))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtsp::message::parse_head;

    const URL: &str = "rtsp://cam:8554/live";

    fn controls(url: &str, headers: &str, control: Option<&str>) -> Controls {
        let head = format!("RTSP/1.0 200 OK\r\n{headers}\r\n\r\n");
        let (_, headers) = parse_head(head.as_bytes()).unwrap();
        Controls::new(&StreamUrl::parse(url).unwrap(), &headers, control)
    }

    #[test]
    fn relative_controls_are_appended_to_the_base() {
        let base = "Content-Base: rtsp://cam:8554/live/";
        let location = "Content-Location: rtsp://cam/other";
        for (headers, control, media, wanted) in [
            (base, Some("*"), "trackID=1", "rtsp://cam:8554/live/trackID=1"),
            (base, None, "/trackID=1", "rtsp://cam:8554/live/trackID=1"),
            (base, None, "/live/trackID=1", "rtsp://cam:8554/live/trackID=1"),
            ("", Some("*"), "trackID=1", "rtsp://cam:8554/live/trackID=1"),
            (location, None, "trackID=1", "rtsp://cam/other/trackID=1"),
            ("Content-Base: nonsense", None, "track 1", "rtsp://cam:8554/live/track%201"),
            (base, Some("rtsp://10.0.0.2/x"), "trackID=1", "rtsp://10.0.0.2/x/trackID=1"),
            (base, Some("*"), "RTSP://10.0.0.2:554/y?a=1", "RTSP://10.0.0.2:554/y?a=1"),
        ] {
            assert_eq!(controls(URL, headers, control).media(Some(media)), wanted);
        }
        let query = "rtsp://cam/axis-media/media.amp?videocodec=h264";
        assert_eq!(controls(query, "", None).media(Some("trackID=1")), format!("{query}/trackID=1"));
    }

    #[test]
    fn a_medium_without_a_control_is_the_stream_itself() {
        let of = |headers, control| controls(URL, headers, control).media(None);
        assert_eq!(of("Content-Base: rtsp://cam:8554/live/", None), URL);
        assert_eq!(of("Content-Base: rtsp://10.0.0.2/live/", None), "rtsp://10.0.0.2/live/");
        assert_eq!(of("", Some("*")), URL);
    }

    #[test]
    fn the_session_is_what_the_camera_calls_it_and_else_the_base_and_the_url() {
        let base = "Content-Base: rtsp://cam:8554/live/";
        let axis = "rtsp://10.0.0.2/live?Axis-Orig-Sw=true";
        assert_eq!(controls(URL, base, Some(axis)).session(), [axis, "rtsp://cam:8554/live/", URL]);
        assert_eq!(controls(URL, base, Some("*")).session(), ["rtsp://cam:8554/live/", URL]);
        assert_eq!(controls(URL, "", None).session(), [URL]);
        assert_eq!(controls("rtspt://cam/live", "", None).session(), ["rtsp://cam/live"]);
    }

    #[test]
    fn a_control_cannot_add_lines_to_a_request() {
        let uri = controls(URL, "", None).media(Some("a\u{0}b\tc\u{e9}"));
        assert_eq!(uri, "rtsp://cam:8554/live/abc%C3%A9");
        let long = "x".repeat(URI_MAX + 1);
        assert_eq!(controls(URL, "", Some(&long)).session(), [URL]);
    }
}
