//! Cameras, with sealed passwords.

use sqlx::FromRow;

use super::{
    Error, Store,
    error::{BadValue, Doing as _},
    segments::{number, size},
};
use crate::{
    base::{CameraId, WallUs, secret::Vault},
    model::{
        Camera, Profile,
        address::Vendor,
        camera::{MirrorMode, Transport},
        demand::Mode,
        refill::way::{Method, TimeFormat},
        schedule::{self, Row, Schedule, Zone},
        source::SourceChoice,
    },
};

/// A camera as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCamera {
    /// Its settings.
    pub camera: Camera,
    /// When it was added.
    pub created: WallUs,
    /// There is a password, but this key does not open it: `camera` comes without. Whoever lists cameras tells the
    /// operator to set it again, and keeps it on changes ([`Password::Keep`]): the right key may come back.
    pub password_unreadable: bool,
}

/// What a change does to the stored password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password {
    /// It stays as it is, readable or not.
    Keep,
    /// It becomes what the camera's settings say; none there means none any more.
    Set,
}

const INSERT: &str = "
    insert into camera (id, name, vendor, address, rtsp_port, channel, username, password, main_url, sub_url,
                        record_profile, transport, record_enabled, segment_seconds, record_mode, schedule,
                        time_zone, pre_roll_seconds, post_roll_seconds, event_idle_session, record_audio,
                        tls_fingerprint, allow_basic, retention_hours, quota_bytes, mirror_enabled, mirror_mode,
                        refill_enabled, refill_method, refill_url, refill_time_format, onvif_port, source,
                        connect_seconds, created_us)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
            ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)
    on conflict (id) do nothing";

const UPDATE: &str = "
    update camera
       set name = ?2, vendor = ?3, address = ?4, rtsp_port = ?5, channel = ?6, username = ?7,
           password = case when ?35 then password else ?8 end, main_url = ?9, sub_url = ?10,
           record_profile = ?11, transport = ?12, record_enabled = ?13, segment_seconds = ?14,
           record_mode = ?15, schedule = ?16, time_zone = ?17, pre_roll_seconds = ?18, post_roll_seconds = ?19,
           event_idle_session = ?20, record_audio = ?21, tls_fingerprint = ?22,
           allow_basic = ?23, retention_hours = ?24, quota_bytes = ?25, mirror_enabled = ?26, mirror_mode = ?27,
           refill_enabled = ?28, refill_method = ?29, refill_url = ?30, refill_time_format = ?31, onvif_port = ?32,
           source = ?33, connect_seconds = ?34
     where id = ?1";

const DELETE: &str = "delete from camera where id = ?1";

const LIST: &str = "
    select id, name, vendor, address, rtsp_port, channel, username, password, main_url, sub_url, record_profile,
           transport, record_enabled, segment_seconds, record_mode, schedule, time_zone, pre_roll_seconds,
           post_roll_seconds, event_idle_session, record_audio, tls_fingerprint, allow_basic, retention_hours,
           quota_bytes, mirror_enabled, mirror_mode, refill_enabled, refill_method, refill_url, refill_time_format,
           onvif_port, source, connect_seconds, created_us
      from camera order by id";

const GET: &str = "
    select id, name, vendor, address, rtsp_port, channel, username, password, main_url, sub_url, record_profile,
           transport, record_enabled, segment_seconds, record_mode, schedule, time_zone, pre_roll_seconds,
           post_roll_seconds, event_idle_session, record_audio, tls_fingerprint, allow_basic, retention_hours,
           quota_bytes, mirror_enabled, mirror_mode, refill_enabled, refill_method, refill_url, refill_time_format,
           onvif_port, source, connect_seconds, created_us
      from camera where id = ?1";

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[INSERT, UPDATE, DELETE, LIST, GET];

impl Store {
    /// Adds a camera. [`Error::Exists`] if its id is taken.
    pub async fn insert_camera(&self, vault: &Vault, camera: &Camera, created: WallUs) -> Result<(), Error> {
        let what = "add a camera";
        let added = bind(sqlx::query(INSERT), vault, camera)
            .bind(created.0)
            .execute(self.writer(what).await?)
            .await
            .doing(what)?;
        if added.rows_affected() == 1 { Ok(()) } else { Err(Error::Exists(camera.id.clone())) }
    }

    /// Changes a camera's settings. [`Error::NotFound`] if there is none of its id.
    pub async fn update_camera(
        &self,
        vault: &Vault,
        camera: &Camera,
        password: Password,
    ) -> Result<(), Error> {
        let what = "change a camera";
        let changed = bind(sqlx::query(UPDATE), vault, camera)
            .bind(password == Password::Keep)
            .execute(self.writer(what).await?)
            .await
            .doing(what)?;
        if changed.rows_affected() == 1 { Ok(()) } else { Err(none(&camera.id)) }
    }

    /// Forgets a camera; its segments and events stay. [`Error::NotFound`] if there is none of this id.
    pub async fn delete_camera(&self, id: &CameraId) -> Result<(), Error> {
        let what = "delete a camera";
        let db = self.writer(what).await?;
        let deleted = sqlx::query(DELETE).bind(id.as_str()).execute(db).await.doing(what)?;
        if deleted.rows_affected() == 1 { Ok(()) } else { Err(none(id)) }
    }

    /// Every camera, by id.
    pub async fn cameras(&self, vault: &Vault) -> Result<Vec<StoredCamera>, Error> {
        let rows: Vec<CameraRow> =
            sqlx::query_as(LIST).fetch_all(&self.readers).await.doing("list the cameras")?;
        rows.into_iter().map(|row| row.open(vault)).collect::<Result<_, BadValue>>().doing("list the cameras")
    }

    /// One camera. [`Error::NotFound`] if there is none of this id.
    pub async fn camera(&self, vault: &Vault, id: &CameraId) -> Result<StoredCamera, Error> {
        let row: Option<CameraRow> = sqlx::query_as(GET)
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .doing("read a camera")?;
        row.ok_or_else(|| none(id))?.open(vault).doing("read a camera")
    }
}

fn none(id: &CameraId) -> Error {
    Error::NotFound { what: "camera", id: id.to_string() }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Parameters 1 to 34 of [`INSERT`] and [`UPDATE`].
fn bind<'q>(query: Query<'q>, vault: &Vault, camera: &'q Camera) -> Query<'q> {
    // Without `..`: a new setting must be stored.
    let Camera {
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
    query
        .bind(id.as_str())
        .bind(name)
        .bind(vendor.word())
        .bind(address)
        .bind(rtsp_port)
        .bind(channel)
        .bind(username)
        .bind(password.as_ref().map(|password| vault.seal(id.as_str(), password)))
        .bind(main_url)
        .bind(sub_url)
        .bind(record_profile.word())
        .bind(transport.word())
        .bind(record_enabled)
        .bind(segment_seconds)
        .bind(record_mode.word())
        .bind(serde_json::json!(schedule.rows()).to_string())
        .bind(time_zone.map(Zone::name))
        .bind(pre_roll_seconds)
        .bind(post_roll_seconds)
        .bind(event_idle_session)
        .bind(record_audio)
        .bind(tls_fingerprint)
        .bind(allow_basic)
        .bind(retention_hours)
        .bind(quota_bytes.map(number))
        .bind(mirror_enabled)
        .bind(mirror_mode.word())
        .bind(refill_enabled)
        .bind(refill_method.word())
        .bind(refill_url)
        .bind(refill_time_format.word())
        .bind(onvif_port)
        .bind(source.map(SourceChoice::word))
        .bind(connect_seconds)
}

#[derive(FromRow)]
struct CameraRow {
    id: String,
    name: String,
    vendor: String,
    address: Option<String>,
    rtsp_port: u16,
    channel: u16,
    username: Option<String>,
    password: Option<Vec<u8>>,
    main_url: Option<String>,
    sub_url: Option<String>,
    record_profile: String,
    transport: String,
    record_enabled: bool,
    segment_seconds: u32,
    record_mode: String,
    schedule: String,
    time_zone: Option<String>,
    pre_roll_seconds: u32,
    post_roll_seconds: u32,
    event_idle_session: bool,
    record_audio: bool,
    tls_fingerprint: Option<String>,
    allow_basic: bool,
    retention_hours: Option<u32>,
    quota_bytes: Option<i64>,
    mirror_enabled: bool,
    mirror_mode: String,
    refill_enabled: bool,
    refill_method: String,
    refill_url: Option<String>,
    refill_time_format: String,
    onvif_port: u16,
    source: Option<String>,
    connect_seconds: u32,
    created_us: i64,
}

impl CameraRow {
    fn open(self, vault: &Vault) -> Result<StoredCamera, BadValue> {
        let bad = |column, value: &str| BadValue { column, value: value.to_owned() };
        let sealed = self.password.as_deref();
        let password = sealed.and_then(|sealed| vault.open_sealed(&self.id, sealed).ok());
        let rows: Option<Vec<Row>> = serde_json::from_str(&self.schedule).ok();
        let zone = self.time_zone.as_deref();
        let source = |word: &str| SourceChoice::from_word(word).ok_or_else(|| bad("camera.source", word));
        Ok(StoredCamera {
            created: WallUs(self.created_us),
            password_unreadable: sealed.is_some() && password.is_none(),
            camera: Camera {
                id: self.id.parse().map_err(|_| bad("camera.id", &self.id))?,
                name: self.name,
                vendor: Vendor::from_word(&self.vendor).ok_or_else(|| bad("camera.vendor", &self.vendor))?,
                address: self.address,
                rtsp_port: self.rtsp_port,
                channel: self.channel,
                username: self.username,
                password,
                main_url: self.main_url,
                sub_url: self.sub_url,
                record_profile: Profile::from_word(&self.record_profile)
                    .ok_or_else(|| bad("camera.record_profile", &self.record_profile))?,
                transport: Transport::from_word(&self.transport)
                    .ok_or_else(|| bad("camera.transport", &self.transport))?,
                source: self.source.as_deref().map(source).transpose()?,
                connect_seconds: self.connect_seconds,
                tls_fingerprint: self.tls_fingerprint,
                allow_basic: self.allow_basic,
                retention_hours: self.retention_hours,
                quota_bytes: self.quota_bytes.map(|bytes| size("camera.quota_bytes", bytes)).transpose()?,
                mirror_enabled: self.mirror_enabled,
                mirror_mode: MirrorMode::from_word(&self.mirror_mode)
                    .ok_or_else(|| bad("camera.mirror_mode", &self.mirror_mode))?,
                refill_enabled: self.refill_enabled,
                refill_method: Method::from_word(&self.refill_method)
                    .ok_or_else(|| bad("camera.refill_method", &self.refill_method))?,
                refill_url: self.refill_url,
                refill_time_format: TimeFormat::from_word(&self.refill_time_format)
                    .ok_or_else(|| bad("camera.refill_time_format", &self.refill_time_format))?,
                onvif_port: self.onvif_port,
                record_enabled: self.record_enabled,
                segment_seconds: self.segment_seconds,
                record_mode: Mode::from_word(&self.record_mode)
                    .ok_or_else(|| bad("camera.record_mode", &self.record_mode))?,
                schedule: rows
                    .and_then(|rows| Schedule::new(rows).ok())
                    .ok_or_else(|| bad("camera.schedule", &self.schedule))?,
                time_zone: zone
                    .map(|zone| schedule::zone(zone).map_err(|_| bad("camera.time_zone", zone)))
                    .transpose()?,
                pre_roll_seconds: self.pre_roll_seconds,
                post_roll_seconds: self.post_roll_seconds,
                event_idle_session: self.event_idle_session,
                record_audio: self.record_audio,
            },
        })
    }
}
