//! A camera's settings: what the operator says of it, checked.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::{
    address::{self, BadAddress, StreamUrl, Vendor},
    demand::{self, Mode},
    refill::way::{self, Method, TimeFormat},
    retention::{BYTES_LEAST, BYTES_MAX, RETENTION_HOURS_MAX},
    schedule::{self, Row, Schedule, Zone},
    source::SourceChoice,
};
use crate::base::{CameraId, Secret};

/// A setting that cannot be taken: which field, why, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadField {
    /// The field, as it is called in the API.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub message: String,
}

impl BadField {
    /// What is wrong with this field.
    pub fn new(field: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }
}

/// Which of the camera's encoded streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The full picture.
    #[default]
    Main,
    /// The small one.
    Sub,
}

/// What carries RTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Interleaved in the RTSP connection.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
    /// Datagrams, and TCP where they do not get through.
    Auto,
}

/// What the mirror holds of a camera, where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirrorMode {
    /// A copy of what the primary records.
    #[default]
    Recorded,
    /// That, and what comes outside schedule and triggers, too, which the primary does not keep.
    Continuous,
}

/// Names for enums that the database, the API and the command line share; the same words everywhere.
macro_rules! words {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it, in the API, the database and the command line.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value that `word` names.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word() == word)
            }
        }
    };
}
pub(crate) use words;

words!(Profile { Main = "main", Sub = "sub" });
words!(MirrorMode { Recorded = "recorded", Continuous = "continuous" });
words!(Transport { Tcp = "tcp", Udp = "udp", Auto = "auto" });

/// One camera, checked: whoever holds a `Camera` need not ask again whether its fields make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camera {
    /// Its id, and the name of its directory.
    pub id: CameraId,
    /// What people call it.
    pub name: String,
    /// Whose URL template to use when there is no explicit URL.
    pub vendor: Vendor,
    /// Host name or IP address.
    pub address: Option<String>,
    /// TCP port of its RTSP server.
    pub rtsp_port: u16,
    /// Channel of a device with several, from 1.
    pub channel: u16,
    /// Account on the camera.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Explicit URL of the main stream, without credentials.
    pub main_url: Option<String>,
    /// Explicit URL of the sub stream, without credentials.
    pub sub_url: Option<String>,
    /// Which stream is recorded.
    pub record_profile: Profile,
    /// What carries RTP.
    pub transport: Transport,
    /// Which implementation receives the camera; `None`: the one that the configuration names.
    pub source: Option<SourceChoice>,
    /// Seconds from the start of a connection attempt to the first frame, 5 to 60.
    pub connect_seconds: u32,
    /// SHA-256 of the only certificate that is talked to through `rtsps`, in 64 hexadecimal digits. The first that is seen
    /// is kept here.
    pub tls_fingerprint: Option<String>,
    /// Whether the password may go in clear, over plain `rtsp`, to a camera that takes nothing else.
    pub allow_basic: bool,
    /// Whether it is recorded at all.
    pub record_enabled: bool,
    /// Length of a segment in seconds; it ends at the first keyframe at or after it.
    pub segment_seconds: u32,
    /// When it is recorded.
    pub record_mode: Mode,
    /// Its schedule, for the modes that have one.
    pub schedule: Schedule,
    /// Where the schedule's clock hangs; `None`: where the service does.
    pub time_zone: Option<Zone>,
    /// Footage from before a trigger, in seconds.
    pub pre_roll_seconds: u32,
    /// Footage after a trigger that asks for nothing else, in seconds.
    pub post_roll_seconds: u32,
    /// Whether its session stays open while it waits for a trigger; without, there is no pre-roll.
    pub event_idle_session: bool,
    /// Whether its sound is recorded, too.
    pub record_audio: bool,
    /// Footage that ended so many hours ago is deleted.
    pub retention_hours: Option<u32>,
    /// The oldest is deleted beyond so many bytes.
    pub quota_bytes: Option<u64>,
    /// Whether it has a second copy on the mirror, where one is configured.
    pub mirror_enabled: bool,
    /// What of it the mirror holds.
    pub mirror_mode: MirrorMode,
    /// Whether what is missing is fetched from its own storage.
    pub refill_enabled: bool,
    /// How it is asked for that.
    pub refill_method: Method,
    /// An address of its recordings, with `{start}` and `{end}`, without credentials.
    pub refill_url: Option<String>,
    /// How the times stand in it.
    pub refill_time_format: TimeFormat,
    /// TCP port of its ONVIF services.
    pub onvif_port: u16,
}

/// The settings as somebody gives them, unchecked. As a patch, a `None` leaves a field as it is; the inner `None`
/// of a clearable field clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of `Camera` of the same name")]
pub struct CameraPatch {
    pub name: Option<String>,
    pub vendor: Option<Vendor>,
    pub address: Option<Option<String>>,
    pub rtsp_port: Option<u16>,
    pub channel: Option<u16>,
    pub username: Option<Option<String>>,
    pub password: Option<Option<Secret>>,
    pub main_url: Option<Option<String>>,
    pub sub_url: Option<Option<String>>,
    pub record_profile: Option<Profile>,
    pub transport: Option<Transport>,
    pub source: Option<Option<SourceChoice>>,
    pub connect_seconds: Option<u32>,
    pub tls_fingerprint: Option<Option<String>>,
    pub allow_basic: Option<bool>,
    pub record_enabled: Option<bool>,
    pub segment_seconds: Option<u32>,
    pub record_mode: Option<Mode>,
    pub schedule: Option<Vec<Row>>,
    pub time_zone: Option<Option<String>>,
    pub pre_roll_seconds: Option<u32>,
    pub post_roll_seconds: Option<u32>,
    pub event_idle_session: Option<bool>,
    pub record_audio: Option<bool>,
    pub retention_hours: Option<Option<u32>>,
    pub quota_bytes: Option<Option<u64>>,
    pub mirror_enabled: Option<bool>,
    pub mirror_mode: Option<MirrorMode>,
    pub refill_enabled: Option<bool>,
    pub refill_method: Option<Method>,
    pub refill_url: Option<Option<String>>,
    pub refill_time_format: Option<TimeFormat>,
    pub onvif_port: Option<u16>,
}

impl CameraPatch {
    /// Whether a URL among the fields brings credentials along.
    pub fn takes_credentials_from_url(&self) -> bool {
        [&self.main_url, &self.sub_url, &self.refill_url]
            .into_iter()
            .flatten()
            .flatten()
            .any(|url| address::explicit(url).is_ok_and(|found| found.username.is_some()))
    }
}

/// Longest text that is taken for a name, user name or password, in bytes.
pub const TEXT_MAX: usize = 256;
/// Longest pre-roll in seconds: it is kept in memory.
pub const PRE_ROLL_MAX: u32 = 60;
/// Longest post-roll in seconds.
pub const POST_ROLL_MAX: u32 = 3600;
/// Shortest `connect_seconds`.
pub const CONNECT_SECONDS_MIN: u32 = 5;
/// Longest `connect_seconds`.
pub const CONNECT_SECONDS_MAX: u32 = 60;

impl Camera {
    /// A new camera from what somebody gives for it.
    pub fn new(id: CameraId, given: CameraPatch) -> Result<Self, BadField> {
        let blank = Self {
            name: id.to_string(),
            id,
            vendor: Vendor::Generic,
            address: None,
            rtsp_port: 554,
            channel: 1,
            username: None,
            password: None,
            main_url: None,
            sub_url: None,
            record_profile: Profile::Main,
            transport: Transport::Tcp,
            source: None,
            connect_seconds: 15,
            tls_fingerprint: None,
            allow_basic: false,
            record_enabled: true,
            segment_seconds: 60,
            record_mode: Mode::Continuous,
            schedule: Schedule::default(),
            time_zone: None,
            pre_roll_seconds: 10,
            post_roll_seconds: 30,
            event_idle_session: true,
            record_audio: false,
            retention_hours: None,
            quota_bytes: None,
            mirror_enabled: true,
            mirror_mode: MirrorMode::Recorded,
            refill_enabled: false,
            refill_method: Method::Auto,
            refill_url: None,
            refill_time_format: TimeFormat::Basic,
            onvif_port: 80,
        };
        blank.patched(given)
    }

    /// This camera with the given fields changed, if the whole still makes sense. Credentials inside an explicit
    /// URL are taken out of it and become the camera's credentials.
    pub fn patched(&self, patch: CameraPatch) -> Result<Self, BadField> {
        let mut camera = self.clone();
        let CameraPatch {
            name,
            vendor,
            address,
            rtsp_port,
            channel,
            username,
            password,
            main_url,
            sub_url,
            record_profile,
            transport,
            source,
            connect_seconds,
            tls_fingerprint,
            allow_basic,
            record_enabled,
            segment_seconds,
            record_mode,
            schedule,
            time_zone,
            pre_roll_seconds,
            post_roll_seconds,
            event_idle_session,
            record_audio,
            retention_hours,
            quota_bytes,
            mirror_enabled,
            mirror_mode,
            refill_enabled,
            refill_method,
            refill_url,
            refill_time_format,
            onvif_port,
        } = patch;
        set(&mut camera.name, name);
        set(&mut camera.vendor, vendor);
        set(&mut camera.address, address);
        set(&mut camera.rtsp_port, rtsp_port);
        set(&mut camera.channel, channel);
        set(&mut camera.username, username);
        set(&mut camera.password, password);
        set(&mut camera.record_profile, record_profile);
        set(&mut camera.transport, transport);
        set(&mut camera.source, source);
        set(&mut camera.connect_seconds, connect_seconds);
        set(&mut camera.allow_basic, allow_basic);
        set(&mut camera.record_enabled, record_enabled);
        set(&mut camera.segment_seconds, segment_seconds.map(|seconds| seconds.clamp(2, 3600)));
        set(&mut camera.record_mode, record_mode);
        set(&mut camera.schedule, schedule.map(Schedule::new).transpose()?);
        let zone = |name: Option<String>| name.as_deref().map(schedule::zone).transpose();
        set(&mut camera.time_zone, time_zone.map(zone).transpose()?);
        set(&mut camera.pre_roll_seconds, pre_roll_seconds);
        set(&mut camera.post_roll_seconds, post_roll_seconds);
        set(&mut camera.event_idle_session, event_idle_session);
        set(&mut camera.record_audio, record_audio);
        set(&mut camera.retention_hours, retention_hours);
        set(&mut camera.quota_bytes, quota_bytes);
        set(&mut camera.mirror_enabled, mirror_enabled);
        set(&mut camera.mirror_mode, mirror_mode);
        set(&mut camera.refill_enabled, refill_enabled);
        set(&mut camera.refill_method, refill_method);
        set(&mut camera.refill_time_format, refill_time_format);
        set(&mut camera.onvif_port, onvif_port);
        if let Some(given) = refill_url {
            // Its credentials are those of the streams.
            let found = given.as_deref().map(way::explicit).transpose()?;
            if let Some((user, password)) = found.as_ref().and_then(|(_, login)| login.clone()) {
                camera.username = Some(user);
                camera.password = password;
            }
            camera.refill_url = found.map(|(url, _)| url);
        }
        for (field, given, slot) in
            [("main_url", main_url, &mut camera.main_url), ("sub_url", sub_url, &mut camera.sub_url)]
        {
            let Some(given) = given else { continue };
            *slot = None;
            let Some(text) = given else { continue };
            let found = address::explicit(&text).map_err(|bad| BadField::new(field, bad))?;
            *slot = Some(found.url);
            if let Some(user) = found.username {
                camera.username = Some(user);
                camera.password = found.password;
            }
        }
        match tls_fingerprint {
            Some(given) => camera.tls_fingerprint = given.as_deref().map(fingerprint).transpose()?,
            // It was the certificate of another device.
            None if self.place() != camera.place() => camera.tls_fingerprint = None,
            None => {}
        }
        camera.check()?;
        Ok(camera)
    }

    fn check(&self) -> Result<(), BadField> {
        text("name", &self.name)?;
        if self.name.trim().is_empty() {
            return Err(BadField::new("name", "is empty"));
        }
        if let Some(address) = &self.address {
            address::host(address).map_err(|bad| BadField::new("address", bad))?;
        }
        text("username", self.username.as_deref().unwrap_or_default())?;
        text("password", self.password.as_ref().map(Secret::reveal).unwrap_or_default())?;
        if self.password.is_some() && self.username.is_none() {
            return Err(BadField::new("username", "is needed with a password"));
        }
        if self.rtsp_port == 0 {
            return Err(BadField::new("rtsp_port", "is 1 to 65535"));
        }
        if !(1..=256).contains(&self.channel) {
            return Err(BadField::new("channel", "is 1 to 256"));
        }
        if !(CONNECT_SECONDS_MIN..=CONNECT_SECONDS_MAX).contains(&self.connect_seconds) {
            let message = format!("is {CONNECT_SECONDS_MIN} to {CONNECT_SECONDS_MAX}");
            return Err(BadField::new("connect_seconds", message));
        }
        if self.pre_roll_seconds > PRE_ROLL_MAX {
            return Err(BadField::new("pre_roll_seconds", format!("is 0 to {PRE_ROLL_MAX}")));
        }
        if self.post_roll_seconds > POST_ROLL_MAX {
            return Err(BadField::new("post_roll_seconds", format!("is 0 to {POST_ROLL_MAX}")));
        }
        if self.retention_hours.is_some_and(|hours| !(1..=RETENTION_HOURS_MAX).contains(&hours)) {
            return Err(BadField::new("retention_hours", format!("is 1 to {RETENTION_HOURS_MAX}")));
        }
        if self.quota_bytes.is_some_and(|bytes| !(BYTES_LEAST..=BYTES_MAX).contains(&bytes)) {
            return Err(BadField::new("quota_bytes", format!("is {BYTES_LEAST} to {BYTES_MAX}")));
        }
        if self.onvif_port == 0 {
            return Err(BadField::new("onvif_port", "is 1 to 65535"));
        }
        if let Some(url) = &self.refill_url
            && !way::is_host(url, self.url(self.record_profile).ok().as_ref())
        {
            return Err(BadField::new("refill_url", "names another host than the stream that is recorded"));
        }
        if self.refill_method == Method::Url && way::template(self).is_none() {
            return Err(BadField::new("refill_url", "is needed for the refill_method `url`"));
        }
        match self.url(self.record_profile) {
            Ok(_) => Ok(()),
            Err(BadAddress::NoAddress) => {
                Err(BadField::new("address", format!("is needed for the vendor `{}`", self.vendor.word())))
            }
            Err(bad) => Err(BadField::new(
                if self.record_profile == Profile::Main { "main_url" } else { "sub_url" },
                bad,
            )),
        }
    }

    /// Where a stream is: the explicit URL if there is one, else the vendor's template.
    pub fn url(&self, profile: Profile) -> Result<StreamUrl, BadAddress> {
        let explicit = match profile {
            Profile::Main => &self.main_url,
            Profile::Sub => &self.sub_url,
        };
        match (explicit, &self.address) {
            (Some(url), _) => StreamUrl::parse(url),
            (None, address) => {
                let path = self.vendor.path(self.channel, profile).ok_or(BadAddress::NoTemplate)?;
                let host = address.as_deref().ok_or(BadAddress::NoAddress)?;
                StreamUrl::parse(&format!("rtsp://{}:{}{path}", address::bracketed(host), self.rtsp_port))
            }
        }
    }

    /// Where its recorded stream is: host, port and encryption.
    fn place(&self) -> Option<(String, u16, bool)> {
        let url = self.url(self.record_profile).ok()?;
        Some((url.host().to_ascii_lowercase(), url.port(), url.tls()))
    }

    /// The password, if `other` would give it only to where it belongs: the host, port and encryption that one of the
    /// streams of `self` has.
    pub fn password_for(&self, other: &Self) -> Option<Secret> {
        let place = |url: StreamUrl| (url.host().to_ascii_lowercase(), url.port(), url.tls());
        let wanted = other.url(other.record_profile).ok().map(place)?;
        let mut known = Profile::ALL.iter().filter_map(|profile| self.url(*profile).ok());
        known.any(|url| place(url) == wanted).then(|| self.password.clone()).flatten()
    }

    /// Whether going from `self` to `new` needs another session. Everything else is applied to the running one.
    pub fn needs_new_session(&self, new: &Self) -> bool {
        let source = |camera: &Self| {
            (
                camera.url(camera.record_profile).ok(),
                camera.record_profile,
                camera.transport,
                camera.source,
                camera.tls_fingerprint.clone(),
                camera.allow_basic,
                camera.username.clone(),
                camera.password.clone(),
                camera.record_audio,
            )
        };
        source(self) != source(new)
    }

    /// What decides when it is recorded. `system` is the zone of the service.
    pub fn when(&self, system: Zone) -> demand::Settings<'_> {
        demand::Settings {
            enabled: self.record_enabled,
            mode: self.record_mode,
            schedule: &self.schedule,
            zone: self.time_zone.unwrap_or(system),
            idle_session: self.event_idle_session,
        }
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// A SHA-256 as tools write it, with or without colons between its bytes.
fn fingerprint(text: &str) -> Result<String, BadField> {
    let digits: String = text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
    if digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    Err(BadField::new("tls_fingerprint", "is a SHA-256: 64 hexadecimal digits, colons between them allowed"))
}

/// Whether a text is neither too long nor has control characters.
pub(super) fn text(field: &'static str, text: &str) -> Result<(), BadField> {
    if text.len() > TEXT_MAX {
        return Err(BadField::new(field, format!("has more than {TEXT_MAX} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(BadField::new(field, "has a control character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
