//! When credentials are sent: decided where a request is answered with 401, on each connection anew.

use crate::rtsp::auth::{Authenticator, Challenge, Credentials, Hash, NoScheme, Scheme, choose};

/// New nonces that are answered for one request.
const NONCES_MAX: u8 = 2;

/// What to do about a 401.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send the request again, with credentials.
    Again,
    /// The credentials are wrong.
    Refused {
        /// Whether the camera may have failed at SHA-256 and offers MD5 as well.
        try_md5: bool,
    },
    /// The password would have to go in clear, which is not allowed.
    ClearText,
    /// The camera asks for something unknown, by its name.
    Unknown(String),
}

/// The log-in of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct LogIn {
    authenticator: Option<Authenticator>,
    /// Whether the camera took the credentials once.
    accepted: bool,
    md5_offered: bool,
    /// New nonces since the last request that was accepted.
    nonces: u8,
}

impl LogIn {
    /// Whether the camera took the credentials.
    pub(super) fn accepted(&self) -> bool {
        self.accepted
    }

    /// Whether requests carry credentials.
    pub(super) fn active(&self) -> bool {
        self.authenticator.is_some()
    }

    /// The value of `Authorization` for the next request, once the camera asked for it.
    pub(super) fn authorization(
        &mut self,
        credentials: Credentials<'_>,
        method: &str,
        uri: &str,
    ) -> Option<Vec<u8>> {
        Some(self.authenticator.as_mut()?.authorization(credentials, method, uri))
    }

    /// A request with credentials got another answer than 401.
    pub(super) fn accept(&mut self) {
        self.accepted = true;
        self.nonces = 0;
    }

    /// A request was answered with 401; `sent` says whether it had credentials. They are sent once: again only with a new nonce, and
    /// if the camera says that the old one was stale or took them before.
    pub(super) fn challenged(
        &mut self,
        challenges: &[Challenge],
        sent: bool,
        clear_text: bool,
        avoid_sha256: bool,
        cnonce: String,
    ) -> Verdict {
        let is_md5 = |challenge: &Challenge| matches!(challenge, Challenge::Digest(digest) if digest.hash == Hash::Md5);
        self.md5_offered |= challenges.iter().any(is_md5);
        let scheme = match choose(challenges, clear_text, avoid_sha256) {
            Ok(scheme) => scheme,
            Err(no_scheme) => {
                self.authenticator = None;
                return match no_scheme {
                    NoScheme::ClearText => Verdict::ClearText,
                    NoScheme::Unknown(name) => Verdict::Unknown(name),
                };
            }
        };
        if let Some(used) = self.authenticator.as_ref().filter(|_| sent).map(Authenticator::scheme) {
            let is_new = nonce(&scheme) != nonce(used);
            let is_stale = matches!(&scheme, Scheme::Digest(digest) if digest.stale);
            if !is_new || !(is_stale || self.accepted) || self.nonces == NONCES_MAX {
                let sha256 = matches!(used, Scheme::Digest(digest) if digest.hash == Hash::Sha256);
                return Verdict::Refused { try_md5: sha256 && self.md5_offered };
            }
            self.nonces += 1;
        }
        self.authenticator = Some(Authenticator::new(scheme, cnonce));
        Verdict::Again
    }
}

fn nonce(scheme: &Scheme) -> Option<&[u8]> {
    match scheme {
        Scheme::Digest(digest) => Some(&digest.nonce),
        Scheme::Basic => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtsp::auth::parse_challenges;

    fn challenged(log_in: &mut LogIn, challenge: &str, sent: bool) -> Verdict {
        let challenges = parse_challenges(challenge.split('|').map(str::as_bytes));
        log_in.challenged(&challenges, sent, false, false, "c".to_owned())
    }

    #[test]
    fn a_wrong_password_is_sent_once() {
        let mut log_in = LogIn::default();
        assert_eq!(challenged(&mut log_in, "Digest realm=r, nonce=1", false), Verdict::Again);
        let again = "Digest realm=r, nonce=2";
        assert_eq!(challenged(&mut log_in, again, true), Verdict::Refused { try_md5: false });
    }

    #[test]
    fn a_new_nonce_is_taken_when_the_old_one_is_stale_or_was_accepted() {
        let mut log_in = LogIn::default();
        challenged(&mut log_in, "Digest realm=r, nonce=1", false);
        assert_eq!(challenged(&mut log_in, "Digest realm=r, nonce=2, stale=true", true), Verdict::Again);
        log_in.accept();
        assert_eq!(challenged(&mut log_in, "Digest realm=r, nonce=3", true), Verdict::Again);
        // The same again, and for ever new ones.
        assert!(matches!(challenged(&mut log_in, "Digest realm=r, nonce=3", true), Verdict::Refused { .. }));
        let stale = |n| format!("Digest realm=r, nonce={n}, stale=true");
        let refused = (4..9).find(|n| challenged(&mut log_in, &stale(*n), true) != Verdict::Again);
        assert!(refused.is_some());
    }

    #[test]
    fn md5_is_suggested_where_sha256_was_refused_and_md5_is_offered() {
        for (second, try_md5) in [("Digest realm=r, nonce=1", true), ("Basic", false)] {
            let mut log_in = LogIn::default();
            let both = format!("Digest realm=r, nonce=1, algorithm=SHA-256|{second}");
            assert_eq!(challenged(&mut log_in, &both, false), Verdict::Again);
            assert_eq!(challenged(&mut log_in, &both, true), Verdict::Refused { try_md5 });
        }
    }

    #[test]
    fn a_challenge_that_turns_to_a_clear_password_ends_the_log_in() {
        let mut log_in = LogIn::default();
        challenged(&mut log_in, "Digest realm=r, nonce=1", false);
        log_in.accept();
        assert_eq!(challenged(&mut log_in, "Basic realm=r", true), Verdict::ClearText);
        assert!(!log_in.active());
        assert_eq!(challenged(&mut log_in, "NTLM", false), Verdict::Unknown("ntlm".to_owned()));
    }
}
