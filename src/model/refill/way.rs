//! How a camera is asked for what it recorded: by ONVIF Profile G, or by an address that names start and end.

use crate::{
    base::{Secret, WallUs},
    model::{
        address::{self, BadAddress, StreamUrl, Vendor},
        camera::{BadField, Camera, words},
        timeline::Range,
    },
};

/// How a camera is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Whatever works: an address if there is one for this camera, else ONVIF.
    #[default]
    Auto,
    /// ONVIF Profile G: its recording is looked up, and played by its absolute times.
    Onvif,
    /// An address that names start and end.
    Url,
}

words!(Method { Auto = "auto", Onvif = "onvif", Url = "url" });

/// How `{start}` and `{end}` are written; always UTC, on the camera's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `20261127T100000Z`.
    #[default]
    Basic,
    /// `2026-11-27T10:00:00Z`.
    Extended,
    /// `2026_11_27_10_00_00`, as Dahua has it.
    Underscores,
    /// Seconds since 1970.
    Unix,
}

words!(TimeFormat {
    Basic = "basic",
    Extended = "extended",
    Underscores = "underscores",
    Unix = "unix",
});

/// What was found out about how a camera gives its recordings away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// By ONVIF or by an address with times; `None` if neither works.
    pub method: Option<Method>,
    /// What tells so, or why not.
    pub detail: String,
    /// When it was found out.
    pub at: WallUs,
}

/// The ways that a camera may be asked in, the better first: an address that somebody typed is meant, ONVIF tells exact times and
/// need not go in real time, and a vendor's address is left.
pub fn methods(camera: &Camera) -> Vec<Method> {
    match camera.refill_method {
        Method::Auto if camera.refill_url.is_some() => vec![Method::Url],
        Method::Auto if template(camera).is_some() => vec![Method::Onvif, Method::Url],
        Method::Auto => vec![Method::Onvif],
        set => vec![set],
    }
}

/// Whether what was found out about the one holds of the other: all that leads to its recordings is the same.
pub fn is_same(one: &Camera, other: &Camera) -> bool {
    let key = |of: &Camera| {
        (
            (of.vendor, of.address.clone(), of.rtsp_port, of.channel, of.onvif_port),
            (of.username.clone(), of.password.clone(), of.main_url.clone(), of.sub_url.clone()),
            (of.record_profile, of.refill_method, of.refill_url.clone(), of.refill_time_format),
        )
    };
    key(one) == key(other)
}

impl TimeFormat {
    fn text(self, at: WallUs) -> String {
        match self {
            Self::Basic => at.utc().format("%Y%m%dT%H%M%SZ").to_string(),
            Self::Extended => at.utc().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            Self::Underscores => at.utc().format("%Y_%m_%d_%H_%M_%S").to_string(),
            Self::Unix => at.0.div_euclid(1_000_000).to_string(),
        }
    }
}

/// Whether it can be an address with times: `{start}` once, `{end}` at most once, and no other braces; and a stream's address
/// with times in their places.
pub fn check_template(template: &str) -> Result<(), BadField> {
    let bad = |message: String| Err(BadField::new("refill_url", message));
    let mut rest = template;
    let (mut starts, mut ends) = (0, 0);
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return bad("has a `{` without its `}`".to_owned());
        };
        match name {
            "start" => starts += 1,
            "end" => ends += 1,
            other => return bad(format!("has `{{{other}}}`; there are `{{start}}` and `{{end}}`")),
        }
        rest = after;
    }
    if rest.contains('}') {
        return bad("has a `}` without its `{`".to_owned());
    }
    if (starts, ends) != (1, 1) {
        return bad("needs `{start}` and `{end}`, each once".to_owned());
    }
    match address(template, TimeFormat::default(), Range { from: WallUs(0), to: WallUs(0) }) {
        Ok(_) => Ok(()),
        Err(error) => bad(error.to_string()),
    }
}

/// Credentials of an address: user name and password.
pub type Login = (String, Option<Secret>);

/// A template as an operator types it, and the credentials that it brings along.
pub fn explicit(template: &str) -> Result<(String, Option<Login>), BadField> {
    check_template(template)?;
    let found = address::explicit(template).map_err(|bad| BadField::new("refill_url", bad))?;
    // In a path, braces are written so.
    let url = found.url.replace("%7B", "{").replace("%7D", "}");
    Ok((url, found.username.map(|user| (user, found.password))))
}

/// Whether a template is of the host of this stream: the password is for no other.
pub fn is_host(template: &str, of: Option<&StreamUrl>) -> bool {
    let range = Range { from: WallUs(0), to: WallUs(0) };
    let host = address(template, TimeFormat::default(), range).map(|url| url.host().to_ascii_lowercase());
    host.is_ok_and(|host| of.is_some_and(|of| of.host().eq_ignore_ascii_case(&host)))
}

/// The address that asks for this range, which is on the camera's clock. Times are whole seconds, so it begins up to a second
/// earlier and ends up to a second later.
pub fn address(template: &str, format: TimeFormat, range: Range) -> Result<StreamUrl, BadAddress> {
    let second = 1_000_000;
    let to = WallUs((range.to.0 + second - 1).div_euclid(second) * second);
    let text = template.replace("{start}", &format.text(range.from)).replace("{end}", &format.text(to));
    StreamUrl::parse(&text)
}

/// The address with times of a camera of a vendor that is known to have one; its own goes first.
pub fn template(camera: &Camera) -> Option<String> {
    if camera.refill_url.is_some() {
        return camera.refill_url.clone();
    }
    let host = camera.address.as_deref()?;
    let (host, port, channel) = (address::bracketed(host), camera.rtsp_port, camera.channel);
    match camera.vendor {
        Vendor::Hikvision => Some(format!(
            "rtsp://{host}:{port}/Streaming/tracks/{channel}01?starttime={{start}}&endtime={{end}}"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_in_the_address_in_the_cameras_way() {
        let range = Range {
            from: WallUs::parse("2026-11-27T10:00:00.9Z").unwrap(),
            to: WallUs::parse("2026-11-27T10:05:00.1Z").unwrap(),
        };
        let asked = |format| {
            let url = address("rtsp://192.0.2.7/x?a={start}&b={end}", format, range).unwrap();
            url.as_str().rsplit_once('?').unwrap().1.to_owned()
        };
        assert_eq!(asked(TimeFormat::Basic), "a=20261127T100000Z&b=20261127T100501Z");
        assert_eq!(asked(TimeFormat::Extended), "a=2026-11-27T10:00:00Z&b=2026-11-27T10:05:01Z");
        assert_eq!(asked(TimeFormat::Underscores), "a=2026_11_27_10_00_00&b=2026_11_27_10_05_01");
        assert_eq!(asked(TimeFormat::Unix), "a=1795773600&b=1795773901");
    }

    #[test]
    fn a_template_has_both_times_and_nothing_unknown() {
        check_template("rtsp://192.0.2.7:554/tracks/101?starttime={start}&endtime={end}").unwrap();
        for (bad, says) in [
            ("rtsp://192.0.2.7/x", "needs `{start}`"),
            ("rtsp://192.0.2.7/x?a={start}", "needs `{start}`"),
            ("rtsp://192.0.2.7/x?a={start}&b={end}&c={end}", "each once"),
            ("rtsp://192.0.2.7/x?a={start}&b={end}&c={channel}", "`{channel}`"),
            ("rtsp://192.0.2.7/x?a={start}&b={end", "without its"),
            ("rtsp://192.0.2.7/x?a={start}&b={end}}", "without its"),
            ("http://192.0.2.7/x?a={start}&b={end}", "rtsp"),
        ] {
            let error = check_template(bad).unwrap_err();
            assert_eq!(error.field, "refill_url");
            assert!(error.message.contains(says), "{bad}: {}", error.message);
        }
    }
}
