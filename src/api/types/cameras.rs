//! Cameras: what is said of them, and what is shown of their settings.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::ToSchema;

use super::{
    Int, MirrorModeWord, ProfileWord, RecordModeWord, RefillMethodWord, SourceChoiceWord, Time,
    TimeFormatWord, TransportWord, VendorWord, Word, probe::RefillWay, status::CameraStatus,
};
use crate::{
    base::{CameraId, Secret},
    model::{
        self,
        camera::{
            BadField, CONNECT_SECONDS_MAX, CONNECT_SECONDS_MIN, CameraPatch, POST_ROLL_MAX, PRE_ROLL_MAX,
        },
        demand::{Trigger, Window, WindowChange},
        retention::RETENTION_HOURS_MAX,
        schedule::{Row, Zone},
    },
    run::CameraNow,
};

/// Every camera.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CameraList {
    /// By id.
    pub(crate) cameras: Vec<Camera>,
}

/// A camera as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Camera {
    /// Its id, and the name of its directory.
    id: String,
    /// What people call it.
    name: String,
    vendor: VendorWord,
    /// Host name or IP address.
    #[schema(required)]
    address: Option<String>,
    /// TCP port of its RTSP server.
    rtsp_port: u16,
    /// Channel of a device with several, from 1.
    channel: u16,
    /// Account on the camera.
    #[schema(required)]
    username: Option<String>,
    /// Whether a password is set. The password itself is write-only.
    has_password: bool,
    /// Explicit URL of the main stream, without credentials; null: from the vendor's template.
    #[schema(required)]
    main_url: Option<String>,
    /// Explicit URL of the sub stream, without credentials; null: from the vendor's template.
    #[schema(required)]
    sub_url: Option<String>,
    record_profile: ProfileWord,
    transport: TransportWord,
    /// Which implementation receives the camera: `native` (Watchkeeper's own), `rtspsrc` (GStreamer's), or `auto`: native, and
    /// rtspsrc where native cannot; null: as `source` in the service's configuration says.
    #[schema(required)]
    source: Option<SourceChoiceWord>,
    /// Seconds from the start of a connection attempt to the first frame.
    connect_seconds: u32,
    /// SHA-256 of the only certificate that is talked to through rtsps; the first that is seen is kept here.
    #[schema(required)]
    tls_fingerprint: Option<String>,
    /// Whether the password may go in clear over plain rtsp to a camera that takes nothing else.
    allow_basic: bool,
    /// Whether it is recorded at all.
    record_enabled: bool,
    /// Length of a segment in seconds; it ends at the first keyframe at or after it.
    segment_seconds: u32,
    record_mode: RecordModeWord,
    /// The windows of the modes `scheduled` and `scheduled_event`; their union counts.
    schedule: Vec<ScheduleRow>,
    /// IANA name of the schedule's time zone; null: the service's, which `GET /api/v1/system` tells.
    #[schema(required)]
    time_zone: Option<String>,
    /// Footage from before a trigger, in seconds.
    pre_roll_seconds: u32,
    /// Footage after a trigger that asks for nothing else, in seconds.
    post_roll_seconds: u32,
    /// Whether the session stays open while the camera waits for a trigger; without, there is no pre-roll.
    event_idle_session: bool,
    /// Whether its sound is recorded, too.
    record_audio: bool,
    /// Footage that ended so many hours ago is deleted; null: no limit by age.
    #[schema(required)]
    retention_hours: Option<u32>,
    /// The oldest footage is deleted beyond so many bytes; null: no limit of its own.
    #[schema(required)]
    quota_bytes: Option<u64>,
    /// Whether it has a second copy on the mirror, where one is configured.
    mirror_enabled: bool,
    mirror_mode: MirrorModeWord,
    /// Whether what is missing is fetched from its own storage.
    refill_enabled: bool,
    refill_method: RefillMethodWord,
    /// An address of its recordings, with `{start}` and `{end}`; null: the vendor's, if it is known to have one.
    #[schema(required)]
    refill_url: Option<String>,
    refill_time_format: TimeFormatWord,
    /// TCP port of its ONVIF services.
    onvif_port: u16,
    /// How it gives its own recordings away, as it was found out; null before anybody asked, and after its settings changed.
    #[schema(required)]
    refill_found: Option<RefillWay>,
    /// When it was added.
    created_at: Time,
    status: CameraStatus,
}

impl From<&CameraNow> for Camera {
    fn from(now: &CameraNow) -> Self {
        let CameraNow { camera, created_at, found, status } = now;
        let model::Camera {
            id,
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
        } = camera;
        Self {
            id: id.to_string(),
            name: name.clone(),
            vendor: Word(*vendor),
            address: address.clone(),
            rtsp_port: *rtsp_port,
            channel: *channel,
            username: username.clone(),
            has_password: password.is_some(),
            main_url: main_url.clone(),
            sub_url: sub_url.clone(),
            record_profile: Word(*record_profile),
            transport: Word(*transport),
            source: source.map(Word),
            connect_seconds: *connect_seconds,
            tls_fingerprint: tls_fingerprint.clone(),
            allow_basic: *allow_basic,
            record_enabled: *record_enabled,
            segment_seconds: *segment_seconds,
            record_mode: Word(*record_mode),
            schedule: schedule.rows().iter().map(Into::into).collect(),
            time_zone: time_zone.map(|zone| Zone::name(zone).to_owned()),
            pre_roll_seconds: *pre_roll_seconds,
            post_roll_seconds: *post_roll_seconds,
            event_idle_session: *event_idle_session,
            record_audio: *record_audio,
            retention_hours: *retention_hours,
            quota_bytes: *quota_bytes,
            mirror_enabled: *mirror_enabled,
            mirror_mode: Word(*mirror_mode),
            refill_enabled: *refill_enabled,
            refill_method: Word(*refill_method),
            refill_url: refill_url.clone(),
            refill_time_format: Word(*refill_time_format),
            onvif_port: *onvif_port,
            refill_found: found.as_ref().map(RefillWay::from),
            created_at: Time(*created_at),
            status: status.into(),
        }
    }
}

/// A window of a schedule, on each of its weekdays. `start` after `end` goes on into the next day; `start` equal to `end`
/// is the whole day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleRow {
    /// 0 = Monday to 6 = Sunday, each once.
    #[schema(value_type = Vec<u8>, min_items = 1, max_items = 7)]
    weekdays: Vec<Int<0, 6>>,
    /// `HH:MM`, 00:00 to 23:59.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    start: String,
    /// `HH:MM`, 00:00 to 23:59; not included.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    end: String,
    /// Whether it counts.
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

impl From<&Row> for ScheduleRow {
    fn from(row: &Row) -> Self {
        let Row { weekdays, start, end, enabled } = row;
        Self {
            weekdays: weekdays.iter().map(|day| Int(u32::from(*day))).collect(),
            start: start.clone(),
            end: end.clone(),
            enabled: *enabled,
        }
    }
}

impl From<ScheduleRow> for Row {
    fn from(row: ScheduleRow) -> Self {
        let ScheduleRow { weekdays, start, end, enabled } = row;
        let weekdays = weekdays.iter().map(|day| u8::try_from(day.get()).unwrap_or(u8::MAX)).collect();
        Self { weekdays, start, end, enabled }
    }
}

type Port = Int<1, 65_535>;
type Channel = Int<1, 256>;
type ConnectSeconds = Int<CONNECT_SECONDS_MIN, CONNECT_SECONDS_MAX>;
type PreRoll = Int<0, PRE_ROLL_MAX>;
type PostRoll = Int<0, POST_ROLL_MAX>;
type RetentionHours = Int<1, RETENTION_HOURS_MAX>;

/// A password on its way in. It is not shown, and no error quotes it.
pub(crate) struct Password(Secret);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // serde's own message for a wrong type would quote the value.
        match serde_json::Value::deserialize(from)? {
            serde_json::Value::String(text) => Ok(Self(Secret::new(text))),
            _ => Err(D::Error::custom("is not a string")),
        }
    }
}

/// A field that may be absent, and if not has a value: null is refused, for it would say nothing.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A field that may be absent (stays as it is), null (is cleared) or a value.
fn clearable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// The three bodies that hold a camera's settings differ in their id only. serde cannot flatten a struct into one
/// that refuses unknown fields, so the common fields are written once here.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($id:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($id)*
            /// What people call it; by default its id.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false, max_length = 256)]
            name: Option<String>,
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            vendor: Option<VendorWord>,
            /// Host name or IP address; needed by vendors with a URL template.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<String>, max_length = 253)]
            address: Option<Option<String>>,
            /// TCP port of its RTSP server. A new camera has 554.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = u16, required = false, minimum = 1, maximum = 65535)]
            rtsp_port: Option<Port>,
            /// Channel of a device with several. A new camera has 1.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = u16, required = false, minimum = 1, maximum = 256)]
            channel: Option<Channel>,
            /// Account on the camera.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<String>, max_length = 256)]
            username: Option<Option<String>>,
            /// Its password. Write-only.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<String>, max_length = 256, format = Password, write_only)]
            password: Option<Option<Password>>,
            /// Explicit URL of the main stream: rtsp, rtsps or rtspt. Credentials in it become the camera's.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<String>, max_length = 2048)]
            main_url: Option<Option<String>>,
            /// Explicit URL of the sub stream.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<String>, max_length = 2048)]
            sub_url: Option<Option<String>>,
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            record_profile: Option<ProfileWord>,
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            transport: Option<TransportWord>,
            /// Which implementation receives the camera: native (Watchkeeper's own), rtspsrc (GStreamer's), or auto: native,
            /// and rtspsrc where native cannot. null: as `source` in the service's configuration says.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<SourceChoiceWord>)]
            source: Option<Option<SourceChoiceWord>>,
            /// Seconds from the start of a connection attempt to the first frame. A new camera has 15.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = u32, required = false, minimum = 5, maximum = 60)]
            connect_seconds: Option<ConnectSeconds>,
            /// SHA-256 of the camera's certificate: 64 hexadecimal digits, with colons or without. null: the next that is
            /// seen is kept.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<String>, max_length = 95)]
            tls_fingerprint: Option<Option<String>>,
            /// Whether the password may go in clear over plain rtsp to a camera that takes nothing else.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            allow_basic: Option<bool>,
            /// Whether it is recorded at all. A new camera is.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            record_enabled: Option<bool>,
            /// Length of a segment in seconds; what is outside 2 to 3600 is brought to the nearer end. A new
            /// camera has 60.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = u32, required = false, minimum = 2, maximum = 3600)]
            segment_seconds: Option<Int<0, { u32::MAX }>>,
            /// A new camera is recorded continuously.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            record_mode: Option<RecordModeWord>,
            /// The whole schedule: rows that are not given are gone. A new camera has none.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false, max_items = 200)]
            schedule: Option<Vec<ScheduleRow>>,
            /// IANA name of the schedule's time zone, such as Europe/Berlin; null: the service's.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<String>, max_length = 40)]
            time_zone: Option<Option<String>>,
            /// Footage from before a trigger, in seconds. A new camera has 10.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = u32, required = false, minimum = 0, maximum = 60)]
            pre_roll_seconds: Option<PreRoll>,
            /// Footage after a trigger that asks for nothing else, in seconds. A new camera has 30.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = u32, required = false, minimum = 0, maximum = 3600)]
            post_roll_seconds: Option<PostRoll>,
            /// Whether the session stays open while the camera waits for a trigger. A new camera's does.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            event_idle_session: Option<bool>,
            /// Whether its sound is recorded, too. Of a new camera it is not.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            record_audio: Option<bool>,
            /// Footage that ended so many hours ago is deleted; null: no limit by age.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<u32>, minimum = 1, maximum = 876000)]
            retention_hours: Option<Option<RetentionHours>>,
            /// The oldest footage is deleted beyond so many bytes; null: no limit of its own.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<u64>, minimum = 1000000, maximum = 9007199254740991i64)]
            quota_bytes: Option<Option<u64>>,
            /// Whether it has a second copy on the mirror, where one is configured. A new camera has.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            mirror_enabled: Option<bool>,
            /// recorded: the mirror holds a copy of what the primary records; continuous: it also keeps recording
            /// outside schedule and triggers. A new camera has recorded.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            mirror_mode: Option<MirrorModeWord>,
            /// Whether what is missing is fetched from its own storage. Of a new camera it is not.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            refill_enabled: Option<bool>,
            /// auto: by the address, if there is one for this camera, else by ONVIF. A new camera has auto.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            refill_method: Option<RefillMethodWord>,
            /// An address of its recordings, with `{start}` and `{end}`, UTC on the camera's clock; on the host of its
            /// streams. null: the vendor's, if it is known to have one.
            #[serde(default, deserialize_with = "clearable")]
            #[schema(value_type = Option<String>, max_length = 2048)]
            refill_url: Option<Option<String>>,
            /// How the times stand in it: basic (20261127T100000Z), extended (2026-11-27T10:00:00Z), underscores
            /// (2026_11_27_10_00_00) or unix. A new camera has basic.
            #[serde(default, deserialize_with = "given")]
            #[schema(nullable = false)]
            refill_time_format: Option<TimeFormatWord>,
            /// TCP port of its ONVIF services. A new camera has 80.
            #[serde(default, deserialize_with = "given")]
            #[schema(value_type = u16, required = false, minimum = 1, maximum = 65535)]
            onvif_port: Option<Port>,
        }
    };
}

/// `given` fields as the model takes them. A macro for the same reason as `settings`.
macro_rules! patch {
    ($body:expr, $name:ident { $($id:ident)? }) => {{
        let $name {
            $($id: _,)?
            name, vendor, address, rtsp_port, channel, username, password, main_url, sub_url, record_profile,
            transport, source, connect_seconds, tls_fingerprint, allow_basic, record_enabled, segment_seconds, record_mode, schedule, time_zone, pre_roll_seconds,
            post_roll_seconds, event_idle_session, record_audio, retention_hours, quota_bytes,
            mirror_enabled, mirror_mode, refill_enabled, refill_method, refill_url, refill_time_format, onvif_port,
        } = $body;
        let small = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        CameraPatch {
            name,
            vendor: vendor.map(|word| word.0),
            address,
            rtsp_port: rtsp_port.map(|port| small(port.get())),
            channel: channel.map(|channel| small(channel.get())),
            username,
            password: password.map(|given| given.map(|password| password.0)),
            main_url,
            sub_url,
            record_profile: record_profile.map(|word| word.0),
            transport: transport.map(|word| word.0),
            source: source.map(|given| given.map(|word| word.0)),
            connect_seconds: connect_seconds.map(Int::get),
            tls_fingerprint,
            allow_basic,
            record_enabled,
            segment_seconds: segment_seconds.map(Int::get),
            record_mode: record_mode.map(|word| word.0),
            schedule: schedule.map(|rows| rows.into_iter().map(Into::into).collect()),
            time_zone,
            pre_roll_seconds: pre_roll_seconds.map(Int::get),
            post_roll_seconds: post_roll_seconds.map(Int::get),
            event_idle_session,
            record_audio,
            retention_hours: retention_hours.map(|given| given.map(Int::get)),
            quota_bytes,
            mirror_enabled,
            mirror_mode: mirror_mode.map(|word| word.0),
            refill_enabled,
            refill_method: refill_method.map(|word| word.0),
            refill_url,
            refill_time_format: refill_time_format.map(|word| word.0),
            onvif_port: onvif_port.map(|port| small(port.get())),
        }
    }};
}

settings! {
    /// A camera to add. Only `id` and one of `address` and `main_url` are needed.
    NewCamera {
        /// Its id: a slug that is also the name of its directory. It never changes.
        #[schema(value_type = String, max_length = 63, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
        id: CameraId,
    }
}

settings! {
    /// What is to change. Fields that are absent stay as they are; null clears one that may be null.
    CameraChange {}
}

settings! {
    /// A camera to look at without saving it.
    ProbeRequest {
        /// Not needed. Of a known camera, its stored password is used where that belongs and none is given.
        #[serde(default, deserialize_with = "given")]
        #[schema(value_type = String, required = false, max_length = 63, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
        id: Option<CameraId>,
    }
}

impl From<NewCamera> for (CameraId, CameraPatch) {
    fn from(body: NewCamera) -> Self {
        (body.id.clone(), patch!(body, NewCamera { id }))
    }
}

impl From<CameraChange> for CameraPatch {
    fn from(body: CameraChange) -> Self {
        patch!(body, CameraChange {})
    }
}

impl ProbeRequest {
    /// The camera whose stored password may be used: a password of `null` is one that is given.
    pub(crate) fn stored_password_of(&self) -> Option<CameraId> {
        self.id.clone().filter(|_| self.password.is_none())
    }
}

impl TryFrom<ProbeRequest> for model::Camera {
    type Error = BadField;

    fn try_from(body: ProbeRequest) -> Result<Self, BadField> {
        let id = body.id.clone().unwrap_or_else(|| "probe".parse().expect("is a slug"));
        Self::new(id, patch!(body, ProbeRequest { id }))
    }
}

/// Something that asks an event camera to record.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TriggerRequest {
    /// What it was, for people; the event log shows that of the trigger that began a window.
    #[schema(min_length = 1, max_length = 256)]
    reason: String,
    /// Footage after it, in seconds; by default as the camera's settings say.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 0, maximum = 3600)]
    post_roll_seconds: Option<PostRoll>,
}

impl From<TriggerRequest> for Trigger {
    fn from(body: TriggerRequest) -> Self {
        let TriggerRequest { reason, post_roll_seconds } = body;
        Self { reason, post_roll_seconds: post_roll_seconds.map(Int::get) }
    }
}

/// What a trigger did.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TriggerAnswer {
    /// When the window ends now; at least a second after the trigger.
    window_end: Time,
    /// Whether it began a window.
    opened: bool,
    /// Whether a window that was running ends later for it.
    extended: bool,
}

impl From<Window> for TriggerAnswer {
    fn from(Window { end, change }: Window) -> Self {
        Self {
            window_end: Time(end),
            opened: change == WindowChange::Opened,
            extended: change == WindowChange::Extended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> Result<CameraPatch, String> {
        serde_json::from_str::<CameraChange>(json).map(Into::into).map_err(|error| error.to_string())
    }

    #[test]
    fn absent_null_and_a_value_are_three_things() {
        assert_eq!(change("{}").unwrap(), CameraPatch::default());
        let cleared = change(r#"{"password": null, "main_url": null}"#).unwrap();
        assert_eq!((cleared.password, cleared.main_url, cleared.sub_url), (Some(None), Some(None), None));
        let set = change(r#"{"password": "p", "vendor": "hikvision", "rtsp_port": 65535}"#).unwrap();
        assert_eq!(set.password, Some(Some(Secret::new("p"))));
        assert_eq!(set.vendor, Some(model::address::Vendor::Hikvision));
        assert_eq!(set.rtsp_port, Some(65_535));
        assert!(change(r#"{"name": null}"#).is_err());
        assert!(change(r#"{"id": "other"}"#).unwrap_err().contains("unknown field `id`"));
    }

    #[test]
    fn a_wrong_value_names_what_would_be_right() {
        for (json, words) in [
            (r#"{"rtsp_port": 65536}"#, "a whole number from 1 to 65535"),
            (r#"{"rtsp_port": -1}"#, "a whole number from 1 to 65535"),
            (r#"{"rtsp_port": 1.5}"#, "a whole number from 1 to 65535"),
            (r#"{"channel": 0}"#, "a whole number from 1 to 256"),
            (r#"{"vendor": "sony"}"#, "`sony` is none of generic, onvif"),
            (r#"{"transport": "TCP"}"#, "`TCP` is none of tcp, udp, auto"),
        ] {
            let message = change(json).unwrap_err();
            assert!(message.contains(words), "{json}: {message}");
        }
        assert!(!change(r#"{"password": 123456}"#).unwrap_err().contains("123456"));
    }

    #[test]
    fn no_body_shows_its_password() {
        let body: NewCamera =
            serde_json::from_str(r#"{"id": "a", "password": "hunter2", "main_url": "rtsp://h/x"}"#).unwrap();
        assert!(!format!("{body:?}").contains("hunter2"));
    }
}
