//! Log-in with Digest (RFC 7616, RFC 2617) and Basic (RFC 7617), as cameras ask for it.
//!
//! `http-auth` is not used: it takes UTF-8 only, and refuses parameters without commas between them, an unquoted nonce, an empty
//! algorithm and a missing realm.

use base64::Engine as _;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::message::{is_token, trim};
use crate::base::Secret;

/// Challenges that are looked at in one answer.
const CHALLENGES_MAX: usize = 16;
/// Parameters that are looked at in one challenge.
const PARAMETERS_MAX: usize = 32;

/// Hash of a Digest log-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// MD5.
    Md5,
    /// SHA-256.
    Sha256,
}

/// Quality of protection that is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qop {
    Auth,
    /// With a hash of the body, which is always empty here.
    AuthInt,
}

/// A Digest challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Its hash.
    pub hash: Hash,
    /// Value that the camera wants to see again.
    pub nonce: Vec<u8>,
    /// Whether only the nonce of the refused log-in was too old.
    pub stale: bool,
    realm: Vec<u8>,
    opaque: Option<Vec<u8>>,
    /// Algorithm as the camera calls it, if it names one.
    algorithm: Option<Vec<u8>>,
    /// Whether the hash of the password covers the nonces of its first use (`-sess`).
    session: bool,
    qop: Option<Qop>,
}

/// One challenge of an answer with status 401.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A Digest challenge with a known hash.
    Digest(Digest),
    /// The password is wanted in clear.
    Basic,
    /// A scheme or an algorithm that is not known, by its name.
    Other(String),
}

/// Reads the values of all `WWW-Authenticate` headers, each of which may hold several challenges.
pub fn parse_challenges<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<Parameter>)> = Vec::new();
    for value in values {
        let mut rest = value;
        // A parameter without a scheme before it belongs to no challenge.
        let mut in_challenge = false;
        while let Some((name, parameter, behind)) = next_word(rest) {
            rest = behind;
            match parameter {
                None if found.len() < CHALLENGES_MAX => {
                    found.push((name, Vec::new()));
                    in_challenge = true;
                }
                None => in_challenge = false,
                Some(value) => {
                    if let Some((_, parameters)) = found.last_mut().filter(|_| in_challenge)
                        && parameters.len() < PARAMETERS_MAX
                    {
                        parameters.push((name, value));
                    }
                }
            }
        }
    }
    found.into_iter().map(|(scheme, parameters)| challenge(scheme, parameters)).collect()
}

type Parameter = (String, Vec<u8>);
/// A name in lower case, its value if it is a parameter's, and what follows.
type Word<'a> = (String, Option<Vec<u8>>, &'a [u8]);

/// The next scheme or parameter.
fn next_word(bytes: &[u8]) -> Option<Word<'_>> {
    let start = bytes.iter().position(|byte| is_token(*byte))?;
    let bytes = &bytes[start..];
    let end = bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len());
    let name = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let rest = &bytes[end..];
    let value = rest.iter().position(|byte| !byte.is_ascii_whitespace()).filter(|at| rest[*at] == b'=');
    let Some(equals) = value else { return Some((name, None, rest)) };
    let rest = rest[equals + 1..].trim_ascii_start();
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted),
        None => {
            let end = rest.iter().position(|byte| *byte == b',' || byte.is_ascii_whitespace());
            let (value, rest) = rest.split_at(end.unwrap_or(rest.len()));
            (trim(value).to_vec(), rest)
        }
    };
    Some((name, Some(value), rest))
}

/// Takes a quoted string up to its end (RFC 2616, 2.2). A backslash counts only before a quote or another backslash, because some
/// cameras put them into realms without meaning an escape.
fn unquote(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', _) => return (value, &bytes[at + 1..]),
            (b'\\', Some(escaped @ (b'"' | b'\\'))) => {
                value.push(*escaped);
                at += 2;
            }
            (byte, _) => {
                value.push(byte);
                at += 1;
            }
        }
    }
    (value, &[])
}

fn challenge(scheme: String, parameters: Vec<Parameter>) -> Challenge {
    let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match scheme.as_str() {
        "basic" => return Challenge::Basic,
        "digest" => {}
        _ => return Challenge::Other(scheme),
    }
    let algorithm = get("algorithm").filter(|name| !name.is_empty());
    let (hash, session) = match algorithm.as_deref().map(<[u8]>::to_ascii_uppercase).as_deref() {
        None | Some(b"MD5") => (Hash::Md5, false),
        Some(b"MD5-SESS") => (Hash::Md5, true),
        Some(b"SHA-256" | b"SHA256") => (Hash::Sha256, false),
        Some(b"SHA-256-SESS" | b"SHA256-SESS") => (Hash::Sha256, true),
        Some(other) => return Challenge::Other(format!("digest {}", String::from_utf8_lossy(other))),
    };
    let Some(nonce) = get("nonce") else { return Challenge::Other("digest without a nonce".to_owned()) };
    let offered = get("qop").unwrap_or_default().to_ascii_lowercase();
    let offers = |name: &[u8]| offered.split(|byte| *byte == b',').any(|one| trim(one) == name);
    let qop = match () {
        () if offers(b"auth") => Some(Qop::Auth),
        () if offers(b"auth-int") => Some(Qop::AuthInt),
        () => None,
    };
    Challenge::Digest(Digest {
        hash,
        nonce,
        stale: get("stale").is_some_and(|value| value.eq_ignore_ascii_case(b"true")),
        realm: get("realm").unwrap_or_default(),
        opaque: get("opaque"),
        algorithm,
        session,
        qop,
    })
}

/// How a log-in is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Digest.
    Digest(Digest),
    /// Basic: the password in clear.
    Basic,
}

/// Why no challenge is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoScheme {
    /// The password would go in clear, which is not allowed.
    ClearText,
    /// Only schemes or algorithms that are not known, by their names; nothing if there was no challenge.
    Unknown(String),
}

/// Chooses the strongest challenge: Digest with SHA-256, or with MD5 before it if `avoid_sha256`; Basic if there is nothing else and
/// `clear_text` allows it.
///
/// # Errors
/// If none can be answered.
pub fn choose(challenges: &[Challenge], clear_text: bool, avoid_sha256: bool) -> Result<Scheme, NoScheme> {
    let digest = |hash: Hash| {
        challenges.iter().find_map(|challenge| match challenge {
            Challenge::Digest(digest) if digest.hash == hash => Some(Scheme::Digest(digest.clone())),
            _ => None,
        })
    };
    let order = if avoid_sha256 { [Hash::Md5, Hash::Sha256] } else { [Hash::Sha256, Hash::Md5] };
    if let Some(scheme) = order.into_iter().find_map(digest) {
        return Ok(scheme);
    }
    let names = challenges.iter().filter_map(|challenge| match challenge {
        Challenge::Other(name) => Some(name.as_str()),
        _ => None,
    });
    let names: Vec<&str> = names.collect();
    match () {
        // Something else was offered as well, so the camera does not insist on a clear password.
        () if !names.is_empty() || challenges.is_empty() => Err(NoScheme::Unknown(names.join(", "))),
        () if clear_text => Ok(Scheme::Basic),
        () => Err(NoScheme::ClearText),
    }
}

/// User name and password.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// User name.
    pub username: &'a str,
    /// Password.
    pub password: &'a Secret,
}

/// Writes the value of `Authorization` for one request after the other.
#[derive(Clone, Debug)]
pub struct Authenticator {
    scheme: Scheme,
    cnonce: String,
    /// Requests that were answered with this nonce.
    count: u32,
}

impl Authenticator {
    /// Answers a challenge from now on. `cnonce` should be random.
    pub fn new(scheme: Scheme, cnonce: String) -> Self {
        Self { scheme, cnonce, count: 0 }
    }

    /// The challenge that is answered.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The value for the next request, which has no body.
    pub fn authorization(&mut self, credentials: Credentials<'_>, method: &str, uri: &str) -> Vec<u8> {
        self.count = self.count.wrapping_add(1);
        match &self.scheme {
            Scheme::Basic => {
                let pair = format!("{}:{}", credentials.username, credentials.password.reveal());
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)).into_bytes()
            }
            Scheme::Digest(digest) => digest.answer(credentials, method, uri, self.count, &self.cnonce),
        }
    }
}

impl Digest {
    fn answer(
        &self,
        credentials: Credentials<'_>,
        method: &str,
        uri: &str,
        count: u32,
        cnonce: &str,
    ) -> Vec<u8> {
        let count = format!("{count:08x}");
        let qop = self.qop.map(|qop| if qop == Qop::Auth { "auth" } else { "auth-int" });
        let username = credentials.username.as_bytes();
        let mut ha1 = self.hex(&[username, &self.realm, credentials.password.reveal().as_bytes()]);
        if self.session {
            ha1 = self.hex(&[ha1.as_bytes(), &self.nonce, cnonce.as_bytes()]);
        }
        let ha2 = match self.qop {
            Some(Qop::AuthInt) => self.hex(&[method.as_bytes(), uri.as_bytes(), self.hex(&[b""]).as_bytes()]),
            _ => self.hex(&[method.as_bytes(), uri.as_bytes()]),
        };
        let response = match qop {
            Some(qop) => self.hex(&[
                ha1.as_bytes(),
                &self.nonce,
                count.as_bytes(),
                cnonce.as_bytes(),
                qop.as_bytes(),
                ha2.as_bytes(),
            ]),
            None => self.hex(&[ha1.as_bytes(), &self.nonce, ha2.as_bytes()]),
        };
        let mut out = b"Digest ".to_vec();
        push_quoted(&mut out, "username", username);
        push_quoted(&mut out, ", realm", &self.realm);
        push_quoted(&mut out, ", nonce", &self.nonce);
        push_quoted(&mut out, ", uri", uri.as_bytes());
        push_quoted(&mut out, ", response", response.as_bytes());
        if let Some(algorithm) = &self.algorithm {
            out.extend_from_slice(b", algorithm=");
            out.extend_from_slice(algorithm);
        }
        if let Some(opaque) = &self.opaque {
            push_quoted(&mut out, ", opaque", opaque);
        }
        if let Some(qop) = qop {
            out.extend_from_slice(format!(", qop={qop}, nc={count}").as_bytes());
        }
        if qop.is_some() || self.session {
            push_quoted(&mut out, ", cnonce", cnonce.as_bytes());
        }
        out
    }

    /// Hash of the parts with colons between them, in lower-case hexadecimal digits.
    fn hex(&self, parts: &[&[u8]]) -> String {
        let joined = parts.join(&b':');
        match self.hash {
            Hash::Md5 => lower_hex(&Md5::digest(&joined)),
            Hash::Sha256 => lower_hex(&Sha256::digest(&joined)),
        }
    }
}

fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn push_quoted(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(values: &[&str]) -> Vec<Challenge> {
        parse_challenges(values.iter().map(|value| value.as_bytes()))
    }

    fn answer(
        challenge: &str,
        username: &str,
        password: &str,
        method: &str,
        uri: &str,
        cnonce: &str,
    ) -> String {
        let scheme = choose(&parse(&[challenge]), true, false).unwrap();
        let password = Secret::new(password);
        let credentials = Credentials { username, password: &password };
        let mut log_in = Authenticator::new(scheme, cnonce.to_owned());
        String::from_utf8(log_in.authorization(credentials, method, uri)).unwrap()
    }

    fn response(header: &str) -> &str {
        header.split("response=\"").nth(1).unwrap().split('"').next().unwrap()
    }

    #[test]
    fn rfc_2069_and_2617_give_these_responses() {
        let realm = r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093","#;
        let (user, password, uri) = ("Mufasa", "Circle Of Life", "/dir/index.html");
        let opaque = r#"opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let with_qop = answer(
            &format!(r#"{realm} qop="auth,auth-int", {opaque}"#),
            user,
            password,
            "GET",
            uri,
            "0a4f113b",
        );
        assert_eq!(response(&with_qop), "6629fae49393a05397450978507c4ef1");
        assert!(with_qop.contains(r#"qop=auth, nc=00000001, cnonce="0a4f113b""#), "{with_qop}");
        assert!(with_qop.contains(opaque) && !with_qop.contains("algorithm"), "{with_qop}");
        let without = answer(&format!("{realm} {opaque}"), user, password, "GET", uri, "0a4f113b");
        assert_eq!(response(&without), "670fd8c2df070c60b045671b8b24ff02");
        assert!(!without.contains("cnonce"), "{without}");
    }

    #[test]
    fn rfc_7616_gives_these_responses() {
        let challenges = [
            r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
            r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
        ];
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let of = |challenge| answer(challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce);
        assert_eq!(
            response(&of(challenges[0])),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
        assert_eq!(response(&of(challenges[1])), "8ca523f5e9506fed4657c9700eebdbec");
        assert!(of(challenges[0]).contains("algorithm=SHA-256,"));
    }

    #[test]
    fn session_algorithms_hash_the_nonces_of_their_first_use() {
        let md5 = |text: &str| lower_hex(&Md5::digest(text));
        let sha256 = |text: &str| lower_hex(&Sha256::digest(text));
        for (name, hash) in [("MD5-sess", &md5 as &dyn Fn(&str) -> String), ("SHA-256-sess", &sha256)] {
            let header = answer(
                &format!(r#"Digest realm="r", nonce="n", algorithm={name}"#),
                "u",
                "p",
                "PLAY",
                "rtsp://h/",
                "c",
            );
            let ha1 = hash(&format!("{}:n:c", hash("u:r:p")));
            assert_eq!(response(&header), hash(&format!("{ha1}:n:{}", hash("PLAY:rtsp://h/"))), "{name}");
            assert!(header.contains(r#"cnonce="c""#), "the camera needs it as well: {header}");
        }
        let header = answer(r#"Digest realm="r", nonce="n", qop="auth-int""#, "u", "p", "PLAY", "x", "c");
        let ha2 = md5(&format!("PLAY:x:{}", md5("")));
        assert_eq!(response(&header), md5(&format!("{}:n:00000001:c:auth-int:{ha2}", md5("u:r:p"))));
    }

    #[test]
    fn requests_with_one_nonce_are_counted() {
        let scheme = choose(&parse(&[r#"Digest realm="r", nonce="n", qop="auth""#]), false, false).unwrap();
        let password = Secret::new("p");
        let mut log_in = Authenticator::new(scheme, "c".to_owned());
        let mut next = || {
            let credentials = Credentials { username: "u", password: &password };
            String::from_utf8(log_in.authorization(credentials, "OPTIONS", "*")).unwrap()
        };
        assert!(next().contains("nc=00000001"));
        let second = next();
        assert!(second.contains("nc=00000002") && second.contains("cnonce=\"c\""), "{second}");
    }

    #[test]
    fn odd_names_and_passwords_are_sent_as_they_are() {
        let challenge = r#"Digest realm="a\"b\\c\d", nonce="n""#;
        let header = answer(challenge, "DOMAIN\\\"üser", "pä€ss:\"", "PLAY", "x", "c");
        assert!(header.contains(r#"username="DOMAIN\\\"üser", realm="a\"b\\c\\d""#), "{header}");
        let md5 = |text: &str| lower_hex(&Md5::digest(text));
        let ha1 = md5("DOMAIN\\\"üser:a\"b\\c\\d:pä€ss:\"");
        assert_eq!(response(&header), md5(&format!("{ha1}:n:{}", md5("PLAY:x"))));
        assert_eq!(answer("Basic realm=\"x\"", "me@x.de", "p:w", "PLAY", "x", ""), "Basic bWVAeC5kZTpwOnc=");
    }

    #[test]
    fn a_realm_in_another_encoding_is_hashed_as_it_was_sent() {
        let found = parse_challenges([&b"Digest realm=\"\xba\xa3\xbf\xb5\", nonce=\"n\""[..]]);
        let Challenge::Digest(digest) = &found[0] else { panic!("{found:?}") };
        let password = Secret::new("p");
        let header = digest.answer(Credentials { username: "u", password: &password }, "PLAY", "x", 1, "c");
        assert!(header.windows(4).any(|bytes| bytes == b"\xba\xa3\xbf\xb5"));
        let ha1 = lower_hex(&Md5::digest(b"u:\xba\xa3\xbf\xb5:p"));
        let ha2 = lower_hex(&Md5::digest(b"PLAY:x"));
        let wanted = lower_hex(&Md5::digest(format!("{ha1}:n:{ha2}")));
        assert!(String::from_utf8_lossy(&header).contains(&wanted));
    }

    #[test]
    fn several_challenges_are_found_in_one_header_and_in_several() {
        let one = parse(&[
            r#"Basic realm="a, b", Digest realm="r",nonce = "1" , stale="TRUE",,algorithm="SHA-256", NTLM"#,
        ]);
        assert_eq!(one[0], Challenge::Basic);
        assert!(matches!(&one[1], Challenge::Digest(digest)
            if digest.hash == Hash::Sha256 && digest.stale && digest.nonce == b"1" && digest.realm == b"r"));
        assert_eq!(one[2], Challenge::Other("ntlm".to_owned()));
        let several = parse(&[r#"Digest realm="r" nonce="2" algorithm=md5"#, "Basic"]);
        assert!(
            matches!(&several[0], Challenge::Digest(digest) if digest.hash == Hash::Md5 && digest.nonce == b"2")
        );
        assert_eq!(several[1], Challenge::Basic);
    }

    #[test]
    fn the_strongest_scheme_is_chosen_and_a_clear_password_only_if_there_is_no_other() {
        let sha = r#"Digest realm="r", nonce="1", algorithm=SHA-256"#;
        let md5 = r#"Digest realm="r", nonce="1""#;
        let hash = |values: &[&str], avoid| match choose(&parse(values), false, avoid) {
            Ok(Scheme::Digest(digest)) => Some(digest.hash),
            _ => None,
        };
        assert_eq!(hash(&[md5, sha], false), Some(Hash::Sha256));
        assert_eq!(hash(&["Basic", sha, md5], true), Some(Hash::Md5));
        assert_eq!(hash(&[sha], true), Some(Hash::Sha256));
        assert_eq!(choose(&parse(&["Basic realm=x"]), false, false), Err(NoScheme::ClearText));
        assert_eq!(choose(&parse(&["Basic realm=x"]), true, false), Ok(Scheme::Basic));
        let unknown = choose(&parse(&["Basic", r#"Digest nonce="1", algorithm=SHA-512-256"#]), true, false);
        assert_eq!(unknown, Err(NoScheme::Unknown("digest SHA-512-256".to_owned())));
        assert_eq!(choose(&[], true, false), Err(NoScheme::Unknown(String::new())));
    }

    proptest! {
        #[test]
        fn no_challenge_panics_or_grows(values in proptest::collection::vec("[ -~]{0,120}|(Digest |, |realm=|\"|\\\\|nonce=){0,40}", 0..8)) {
            let found = parse(&values.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert!(found.len() <= CHALLENGES_MAX);
        }
    }
}
