//! What stands around every handler: who may ask at all, headers on every answer, and panics as a plain 500.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;

use super::error::{ApiError, Code};

/// Host names, in lower case and without ports, by which the service may be called besides the loopback ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect())
    }

    /// Whether `host` (a name, an IPv4 literal, or an IPv6 literal in brackets) is one of ours.
    fn has(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost"
            || literal.is_ok_and(|ip| ip.to_canonical().is_loopback())
            || self.listed(host.trim_end_matches('.'))
    }

    fn listed(&self, host: &str) -> bool {
        self.0.iter().any(|name| name == host)
    }

    /// Against DNS rebinding: a page of another site, whose name was made to lead here, still sends that name.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let asked = authority(uri, headers).filter(|asked| self.has(asked.host())).ok_or_else(|| {
            ApiError::new(Code::BadHost, "the `Host` header names none of this service's names")
                .hint("use localhost or 127.0.0.1, or add the name to `allowed_hosts` in watchkeeper.toml")
        })?;
        // A WebSocket begins as a GET, and a browser shows what comes over it to the page, wherever that is from.
        let safe = method.is_safe() && !headers.contains_key(header::UPGRADE);
        if safe || !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        // Browsers send `Origin` with every request that may change something; other clients send none.
        let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.is_ours(origin, &asked) {
            return Ok(());
        }
        Err(ApiError::new(Code::BadOrigin, "a page of another site may not change anything here")
            .hint("use the dashboard, or a client that sends no `Origin` header"))
    }

    /// The same host and port as asked; or, behind a proxy that rewrites `Host`, a name that is listed.
    fn is_ours(&self, origin: &str, asked: &Authority) -> bool {
        let (default_port, rest) = match origin.split_once("://") {
            Some(("http", rest)) => (80, rest),
            Some(("https", rest)) => (443, rest),
            _ => return false,
        };
        let Ok(origin) = rest.parse::<Authority>() else { return false };
        let port = |of: &Authority| of.port_u16().unwrap_or(default_port);
        origin.host().eq_ignore_ascii_case(asked.host()) && port(&origin) == port(asked)
            || self.listed(&origin.host().trim_end_matches('.').to_ascii_lowercase())
    }
}

/// The one host that a request is for.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, None) = (hosts.next()?, hosts.next()) else { return None };
    first.to_str().ok()?.parse().ok().filter(|authority: &Authority| !authority.as_str().contains('@'))
}

/// The outermost layer.
pub(super) async fn guard(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let below_api = request.uri().path().starts_with("/api/");
    let mut response = match hosts.check(request.method(), request.uri(), request.headers()) {
        Err(error) => error.into_response(),
        Ok(()) => {
            let route = format!("{} {}", request.method(), request.uri().path());
            AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
                // The panic hook has said what and where.
                tracing::error!(http.request = route, "a request panicked");
                ApiError::internal().into_response()
            })
        }
    };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    // Until there are accounts, this alone keeps a page of another site from showing our pictures as its own.
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if below_api {
        set(header::CACHE_CONTROL, "no-store");
        // Nothing below /api is a document but /api/docs, which says so itself.
        set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, headers: &[(&'static str, &str)]) -> Result<(), Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let hosts = Hosts::new(&["Cams.Example".to_owned()]);
        hosts.check(&method, &Uri::from_static("/api/v1/cameras"), &map).map_err(|error| error.code)
    }

    #[test]
    fn only_our_own_names_are_served() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "cams.example:443",
            "cams.example.",
        ] {
            assert_eq!(check(Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.7",
            "0.0.0.0",
            "u@localhost",
            "",
            "a b",
            "sub.cams.example",
        ] {
            assert_eq!(check(Method::GET, &[("host", host)]), Err(Code::BadHost), "{host}");
        }
        assert_eq!(check(Method::GET, &[]), Err(Code::BadHost));
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check(Method::GET, &two), Err(Code::BadHost));
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        let with = |method, host, origin| check(method, &[("host", host), ("origin", origin)]);
        assert_eq!(with(Method::POST, "localhost:8080", "http://localhost:8080"), Ok(()));
        assert_eq!(with(Method::POST, "localhost", "http://localhost:80"), Ok(()));
        assert_eq!(with(Method::DELETE, "127.0.0.1:8080", "https://cams.example"), Ok(()));
        assert_eq!(with(Method::GET, "localhost:8080", "https://evil.example"), Ok(()));
        let upgrade = [("host", "localhost"), ("upgrade", "websocket"), ("origin", "http://localhost")];
        assert_eq!(check(Method::GET, &upgrade), Ok(()));
        let upgrade = [("host", "localhost"), ("upgrade", "websocket"), ("origin", "https://evil.example")];
        assert_eq!(check(Method::GET, &upgrade), Err(Code::BadOrigin));
        for origin in [
            "https://evil.example",
            "http://localhost:3000",
            "null",
            "",
            "file://",
            "http://localhost:8080.evil.example",
        ] {
            assert_eq!(with(Method::POST, "localhost:8080", origin), Err(Code::BadOrigin), "{origin}");
        }
    }
}
