//! Masking: no text that leaves the process holds a password.

/// Replaces the userinfo of every URL in `text` with `***`. Everything between `://` and the *last* `@` before the
/// next white space goes, because a password may itself hold `/` or `@`; rather too much is hidden than too little.
pub fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let token = &tail[..tail.find(char::is_whitespace).unwrap_or(tail.len())];
        let plain = match token.rfind('@') {
            Some(last) => {
                out.push_str("***");
                &token[last..]
            }
            None => token,
        };
        // Without another `@` it is copied as it is, up to the end of the token: looking at it once keeps this linear.
        out.push_str(plain);
        rest = &tail[token.len()..];
    }
    out.push_str(rest);
    out
}

/// [`urls`], and every occurrence of `secret` too (a log of another library may print it bare).
pub fn secret(text: &str, secret: &str) -> String {
    let masked = urls(text);
    if secret.is_empty() { masked } else { masked.replace(secret, "***") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn userinfo_goes_up_to_the_last_at() {
        assert_eq!(urls("open rtsp://u:p@h/x failed"), "open rtsp://***@h/x failed");
        assert_eq!(urls("rtsp://u:p@ss/w@h:554/x"), "rtsp://***@h:554/x");
        assert_eq!(urls("rtsp://h/x and http://a:b@c"), "rtsp://h/x and http://***@c");
        assert_eq!(urls("no url, a@b"), "no url, a@b");
        assert_eq!(secret("user-pw=hunter2", "hunter2"), "user-pw=***");
    }

    #[test]
    fn a_long_text_of_urls_is_masked_in_one_pass() {
        // Minutes if each URL were a pass.
        let text = "://".repeat(1 << 20);
        assert_eq!(urls(&text), text);
        assert_eq!(urls(&(text + "@h")), "://***@h");
    }

    proptest! {
        #[test]
        fn no_password_survives(password in "[!-~]{4,20}", host in "[a-z]{1,8}") {
            let shown = urls(&format!("could not open \"rtsp://user:{password}@{host}/live\" (5)"));
            let kept = format!(":{password}@");
            prop_assert!(!shown.contains(&kept));
        }
    }
}
