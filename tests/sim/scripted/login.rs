//! Digest (RFC 2617, RFC 7616) as the camera's side of it, with hashes that are not the product's.

use std::collections::HashMap;

use gstreamer::glib::{self, ChecksumType};

use super::super::talk::Message;

/// A hash of Digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// As in RFC 2069, which is what is meant where no algorithm is named.
    Md5,
    /// `MD5-sess`.
    Md5Session,
    /// RFC 7616.
    Sha256,
    /// `SHA-256-sess`.
    Sha256Session,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Md5Session => "MD5-sess",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha256Session => "SHA-256-sess",
        }
    }

    fn hash(self, text: &str) -> String {
        let kind = match self {
            Algorithm::Md5 | Algorithm::Md5Session => ChecksumType::Md5,
            Algorithm::Sha256 | Algorithm::Sha256Session => ChecksumType::Sha256,
        };
        glib::compute_checksum_for_data(kind, text.as_bytes()).expect("a known hash").into()
    }

    fn is_session(self) -> bool {
        matches!(self, Algorithm::Md5Session | Algorithm::Sha256Session)
    }
}

/// Who is let in, and how the camera asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginOffer {
    pub user: String,
    pub password: String,
    /// A challenge for each, in this order.
    pub offers: Vec<Algorithm>,
    /// Whether the challenge names MD5 where MD5 is meant.
    pub names_md5: bool,
    /// Whether the challenge has `qop="auth"`.
    pub qop: bool,
    /// Algorithms that are implemented, whatever is offered.
    pub takes: Vec<Algorithm>,
}

impl LoginOffer {
    /// Plain Digest as most cameras ask for it.
    pub(crate) fn md5(user: &str, password: &str) -> LoginOffer {
        LoginOffer::with(user, password, &[Algorithm::Md5])
    }

    /// These algorithms offered and implemented.
    pub(crate) fn with(user: &str, password: &str, offers: &[Algorithm]) -> LoginOffer {
        LoginOffer {
            user: user.to_owned(),
            password: password.to_owned(),
            offers: offers.to_vec(),
            names_md5: offers.len() > 1,
            qop: false,
            takes: offers.to_vec(),
        }
    }

    /// The challenges as header lines.
    pub(super) fn challenges(&self, realm: &str, nonce: &str, stale: bool) -> Vec<String> {
        let stale = if stale { "TRUE" } else { "FALSE" };
        let challenge = |algorithm: &Algorithm| {
            let named = match algorithm {
                Algorithm::Md5 if !self.names_md5 => String::new(),
                _ => format!(", algorithm={}", algorithm.name()),
            };
            let qop = if self.qop { ", qop=\"auth\", opaque=\"\"" } else { "" };
            format!(
                "WWW-Authenticate: Digest realm=\"{realm}\"{qop}, nonce=\"{nonce}\", stale=\"{stale}\"{named}"
            )
        };
        self.offers.iter().map(challenge).collect()
    }

    /// Whether a request proves that it comes from who knows the password. `nonce` is the one that is good now.
    pub(super) fn admits(&self, message: &Message, realm: &str, nonce: &str) -> bool {
        let Some(fields) = message.header("authorization").and_then(fields) else { return false };
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let named = if field("algorithm").is_empty() { "MD5" } else { field("algorithm") };
        let Some(algorithm) = self.takes.iter().find(|takes| takes.name().eq_ignore_ascii_case(named)) else {
            return false;
        };
        // RFC 7616, 3.4: the URI is that of the request line.
        if field("username") != self.user || field("nonce") != nonce || field("uri") != message.url {
            return false;
        }
        let mut secret = algorithm.hash(&format!("{}:{realm}:{}", self.user, self.password));
        if algorithm.is_session() {
            secret = algorithm.hash(&format!("{secret}:{nonce}:{}", field("cnonce")));
        }
        let request = algorithm.hash(&format!("{}:{}", message.method, message.url));
        let wanted = match field("qop") {
            "" => format!("{secret}:{nonce}:{request}"),
            qop => {
                let (count, client) = (field("nc"), field("cnonce"));
                if count.len() != 8 || client.is_empty() || qop != "auth" || !self.qop {
                    return false;
                }
                format!("{secret}:{nonce}:{count}:{client}:{qop}:{request}")
            }
        };
        field("response").eq_ignore_ascii_case(&algorithm.hash(&wanted))
    }
}

/// The parameters of a Digest header, names in lower case, quotes and escapes taken away.
fn fields(header: &str) -> Option<HashMap<String, String>> {
    let rest = header.trim().strip_prefix("Digest")?;
    let (mut fields, mut rest) = (HashMap::new(), rest.trim_start().chars().peekable());
    while rest.peek().is_some() {
        let name: String = std::iter::from_fn(|| rest.next_if(|c| *c != '=')).collect();
        rest.next();
        let mut value = String::new();
        if rest.next_if_eq(&'"').is_some() {
            while let Some(c) = rest.next().filter(|c| *c != '"') {
                value.extend(if c == '\\' { rest.next() } else { Some(c) });
            }
        }
        value.extend(std::iter::from_fn(|| rest.next_if(|c| *c != ',')));
        rest.next();
        let _ = fields.insert(name.trim().to_ascii_lowercase(), value.trim_end().to_owned());
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7616_are_let_in() {
        let offer = LoginOffer {
            qop: true,
            ..LoginOffer::with("Mufasa", "Circle of Life", &[Algorithm::Sha256, Algorithm::Md5])
        };
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let head = format!(
                "GET /dir/index.html HTTP/1.1\r\nAuthorization: Digest username=\"Mufasa\", \
                 realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={algorithm}, nonce=\"{nonce}\", \
                 nc=00000001, cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\"\r\n"
            );
            let message =
                Message { head, method: "GET".into(), url: "/dir/index.html".into(), body: Vec::new() };
            assert!(offer.admits(&message, "http-auth@example.org", nonce), "{algorithm}");
            assert!(!offer.admits(&message, "http-auth@example.org", "another"), "{algorithm}");
        }
    }
}
