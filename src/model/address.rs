//! Where a camera's streams are: vendors' URL templates, and what is taken for a URL.

use percent_encoding::percent_decode_str;
use url::Url;

use super::camera::{Profile, words};
use crate::base::Secret;

/// Longest URL that is taken, in bytes.
pub const URL_MAX: usize = 2048;

/// Who made the camera, as far as its URLs tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is a maker's name")]
pub enum Vendor {
    Generic,
    Onvif,
    Hikvision,
    Dahua,
    Amcrest,
    Axis,
    Reolink,
    Uniview,
    Hanwha,
    Tplink,
    Foscam,
    Vivotek,
}

words!(Vendor {
    Generic = "generic",
    Onvif = "onvif",
    Hikvision = "hikvision",
    Dahua = "dahua",
    Amcrest = "amcrest",
    Axis = "axis",
    Reolink = "reolink",
    Uniview = "uniview",
    Hanwha = "hanwha",
    Tplink = "tplink",
    Foscam = "foscam",
    Vivotek = "vivotek",
});

impl Vendor {
    /// Path and query of a stream on this vendor's devices, as the vendors document them; `None` where an explicit
    /// URL is needed.
    pub fn path(self, channel: u16, profile: Profile) -> Option<String> {
        let main = profile == Profile::Main;
        let pick = |of_main: &str, of_sub: &str| (if main { of_main } else { of_sub }).to_owned();
        Some(match self {
            Self::Generic | Self::Onvif => return None,
            Self::Hikvision => format!("/Streaming/Channels/{channel}{}", pick("01", "02")),
            Self::Dahua | Self::Amcrest => {
                format!("/cam/realmonitor?channel={channel}&subtype={}", pick("0", "1"))
            }
            Self::Axis => {
                format!(
                    "/axis-media/media.amp?videocodec=h264&camera={channel}{}",
                    pick("", "&resolution=640x360")
                )
            }
            Self::Reolink => format!("/h264Preview_{channel:02}_{}", pick("main", "sub")),
            Self::Uniview => format!("/unicast/c{channel}/s{}/live", pick("0", "1")),
            Self::Hanwha => format!("/{}/{}/media.smp", channel - 1, pick("profile2", "profile3")),
            Self::Tplink => pick("/stream1", "/stream2"),
            Self::Foscam => pick("/videoMain", "/videoSub"),
            Self::Vivotek => pick("/live.sdp", "/live2.sdp"),
        })
    }
}

/// Why a text is no camera address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Not one of ours.
    #[error("the scheme `{0}` is not rtsp, rtsps or rtspt")]
    Scheme(String),
    /// No scheme, or not a URL at all.
    #[error("is not a URL such as rtsp://192.0.2.7/stream1 ({0})")]
    NotUrl(String),
    /// A character that no URL has.
    #[error("has white space, a quote or a control character at byte {0}; write it percent-encoded")]
    Character(usize),
    /// No host.
    #[error("has no host")]
    NoHost,
    /// Not a host name or address.
    #[error("is not a host name or an IP address")]
    NotHost,
    /// Too long.
    #[error("has more than 2048 bytes")]
    TooLong,
    /// A part after `#`, which means nothing to a camera.
    #[error("has a part after `#`; write the `#` as %23")]
    Fragment,
    /// User name and password with characters that end them early.
    #[error(
        "has a `/`, `?` or `#` before an `@`; if they belong to the user name or password, write them percent-encoded (%2F, %3F, \
         %23), or give user name and password in their own fields; if not, write the `@` as %40"
    )]
    UserInfo,
    /// The vendor has no template.
    #[error("is needed: this vendor has no URL template")]
    NoTemplate,
    /// The template needs the camera's address.
    #[error("the camera's address is needed")]
    NoAddress,
}

/// A stream's URL, checked, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamUrl(Url);

impl StreamUrl {
    /// Takes a URL that holds no credentials.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        checked(text).map(Self)
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Host name or address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// TCP port: the URL's own, or 554 (322 for rtsps), as RFC 7826 registers them.
    pub fn port(&self) -> u16 {
        self.0.port().unwrap_or(if self.tls() { 322 } else { 554 })
    }

    /// Whether the connection is encrypted.
    pub fn tls(&self) -> bool {
        self.0.scheme() == "rtsps"
    }

    /// Where a redirect leads: a `Location` of the same host and the same encryption, else `None`.
    pub fn redirected(&self, location: &str) -> Option<Self> {
        let to = match self.0.join(location) {
            Ok(url) => explicit(url.as_str()).ok().and_then(|found| Self::parse(&found.url).ok())?,
            Err(_) => return None,
        };
        (to.host() == self.host() && to.tls() == self.tls() && to != *self).then_some(to)
    }
}

/// An explicit URL, its credentials taken out.
#[derive(Debug)]
pub struct Explicit {
    /// The URL without credentials.
    pub url: String,
    /// User, percent-decoded.
    pub username: Option<String>,
    /// Password, percent-decoded.
    pub password: Option<Secret>,
}

/// Reads a URL as an operator types it.
pub fn explicit(text: &str) -> Result<Explicit, BadAddress> {
    let mut url = checked(text)?;
    let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let username = (!url.username().is_empty()).then(|| decoded(url.username()));
    let password = url.password().map(|password| Secret::new(decoded(password)));
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| BadAddress::NoHost)?;
    Ok(Explicit { url: url.into(), username, password })
}

/// Whether a user name and password seem to stand in a URL whose authority (RFC 3986, 3.2) ends inside of them: the user name would
/// be taken for the host, and the rest of the password be shown as the path.
fn splits_user_info(text: &str) -> bool {
    let Some((_, after)) = text.split_once("://") else { return false };
    let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
    let named = |host: &str| !host.starts_with('[') && host.parse::<std::net::IpAddr>().is_err();
    rest.contains('@')
        && !authority.contains('@')
        && authority.split_once(':').is_some_and(|(host, _)| named(host))
}

fn checked(text: &str) -> Result<Url, BadAddress> {
    if text.len() > URL_MAX {
        return Err(BadAddress::TooLong);
    }
    if splits_user_info(text) {
        return Err(BadAddress::UserInfo);
    }
    let odd =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '\\' | '`');
    if let Some(at) = text.find(odd) {
        return Err(BadAddress::Character(at));
    }
    let url = Url::parse(text).map_err(|error| BadAddress::NotUrl(error.to_string()))?;
    if !matches!(url.scheme(), "rtsp" | "rtsps" | "rtspt") {
        return Err(BadAddress::Scheme(url.scheme().to_owned()));
    }
    let named = url.host_str().filter(|host| !host.is_empty()).ok_or(BadAddress::NoHost)?;
    host(named.trim_matches(['[', ']']))?;
    if url.fragment().is_some() {
        return Err(BadAddress::Fragment);
    }
    Ok(url)
}

/// Checks a host name or IP address that stands alone.
pub fn host(text: &str) -> Result<(), BadAddress> {
    let name = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    let known = text.parse::<std::net::IpAddr>().is_ok()
        || (text.len() <= 253 && text.trim_end_matches('.').split('.').all(name));
    if known { Ok(()) } else { Err(BadAddress::NotHost) }
}

/// A host as it stands in a URL: IPv6 addresses in brackets.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vendors_have_their_templates() {
        let of = |vendor: Vendor, profile| vendor.path(2, profile);
        assert_eq!(of(Vendor::Hikvision, Profile::Main).as_deref(), Some("/Streaming/Channels/201"));
        assert_eq!(of(Vendor::Hikvision, Profile::Sub).as_deref(), Some("/Streaming/Channels/202"));
        assert_eq!(of(Vendor::Dahua, Profile::Sub).as_deref(), Some("/cam/realmonitor?channel=2&subtype=1"));
        assert_eq!(of(Vendor::Reolink, Profile::Main).as_deref(), Some("/h264Preview_02_main"));
        assert_eq!(of(Vendor::Hanwha, Profile::Main).as_deref(), Some("/1/profile2/media.smp"));
        assert_eq!(of(Vendor::Generic, Profile::Main), None);
        for vendor in Vendor::ALL {
            for profile in Profile::ALL {
                if let Some(path) = vendor.path(1, *profile) {
                    StreamUrl::parse(&format!("rtsp://h{path}")).unwrap();
                }
            }
        }
    }

    #[test]
    fn ports_and_hosts() {
        let url = StreamUrl::parse("rtsp://[2001:db8::1]/x").unwrap();
        assert_eq!((url.host(), url.port(), url.tls()), ("2001:db8::1", 554, false));
        assert_eq!(StreamUrl::parse("rtsps://h/x").unwrap().port(), 322);
        assert_eq!(StreamUrl::parse("rtspt://h:99/x").unwrap().port(), 99);
        assert_eq!(bracketed("::1"), "[::1]");
    }

    #[test]
    fn quotes_and_pipeline_syntax_are_no_host() {
        for bad in ["rtsp://h\"/x", "rtsp://h!x/ ", "rtsp://a b/", "rtsp://h'/", "rtsp://!/", "rtsp://h/x#y"]
        {
            assert!(explicit(bad).is_err(), "{bad}");
        }
        // An exclamation mark in a path is legal, and harmless: a URL is a property, never text of a pipeline.
        assert!(explicit("rtsp://h/a!b").is_ok());
    }

    #[test]
    fn a_password_that_ends_the_authority_early_is_refused_and_not_shown() {
        for password in ["12/34", "/start", "8080/x", "?start", "1#2", "pa/ss", "pa?ss", "pa#ss"] {
            let refused = explicit(&format!("rtsp://admin:{password}@192.0.2.7:554/live")).unwrap_err();
            assert_eq!(refused, BadAddress::UserInfo);
            assert!(!refused.to_string().contains(password), "{refused}");
        }
        let encoded = explicit("rtsp://admin:12%2F34@192.0.2.7/live").unwrap();
        assert_eq!(
            (encoded.url.as_str(), encoded.password),
            ("rtsp://192.0.2.7/live", Some(Secret::new("12/34")))
        );
        for fine in
            ["rtsp://192.0.2.7:554/live?user=me@x.de", "rtsp://cam/a@b", "rtsp://[2001:db8::1]:554/a@b"]
        {
            assert!(explicit(fine).is_ok(), "{fine}");
        }
        assert_eq!(explicit("rtsp://cam:554/a@b").unwrap_err(), BadAddress::UserInfo);
    }

    #[test]
    fn a_redirect_stays_on_its_host() {
        let from = StreamUrl::parse("rtsp://h/a").unwrap();
        assert_eq!(from.redirected("rtsp://h:8554/b").unwrap().as_str(), "rtsp://h:8554/b");
        assert_eq!(from.redirected("/b").unwrap().as_str(), "rtsp://h/b");
        assert_eq!(from.redirected("rtsp://other/b"), None);
        assert_eq!(from.redirected("http://h/b"), None);
        assert_eq!(from.redirected("rtsp://h/a"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_typed_gives_an_answer_and_no_secret_in_the_url(text in "\\PC{0,40}", user in "[a-z]{1,5}",
                                                                      password in "[a-zA-Z0-9%!]{1,12}") {
            let _ = explicit(&text);
            if let Ok(found) = explicit(&format!("rtsp://{user}:{password}@h/x")) {
                prop_assert_eq!(found.url, "rtsp://h/x");
            }
        }
    }
}
