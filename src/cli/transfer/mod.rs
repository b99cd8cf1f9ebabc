//! `camera export` and `camera import`: all cameras as TOML, without passwords, and back.
//!
//! What an import does is worked out first, from the file and from what the service has, by the same rules as the
//! service's own; so a dry run can show it, and a mistake in one camera stops the whole before anything is sent.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read as _},
    path::Path,
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value, json};

use super::{
    Env, Output, camera,
    client::PROBE_WITHIN,
    fail::{Failure, Verdict},
    table::{Cell, Table},
    view, week,
};
use crate::{
    base::{CameraId, Secret},
    model::{
        Camera, Profile,
        address::{self, Vendor},
        camera::{BadField, CameraPatch, MirrorMode, Transport},
        demand::Mode,
        refill::way::{Method, TimeFormat},
        schedule::{Row, Zone},
        source::SourceChoice,
    },
};

const HEAD: &str = "\
# The cameras of watchkeeper. `watchkeeper camera import FILE` adds and changes cameras as this says.
# Passwords are not in here; to set one, add a line  password = \"...\"  and keep the file to yourself.
# A key that is left out stays as it is, and an empty text, or a limit of 0, clears it.
";

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cameras {
    #[serde(default)]
    cameras: BTreeMap<CameraId, Entry>,
}

/// A camera in the file. An empty text clears a field that may be cleared.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    vendor: Option<String>,
    address: Option<String>,
    rtsp_port: Option<u16>,
    channel: Option<u16>,
    username: Option<String>,
    #[serde(skip_serializing)]
    password: Option<Password>,
    main_url: Option<String>,
    sub_url: Option<String>,
    record_profile: Option<String>,
    transport: Option<String>,
    source: Option<String>,
    connect_seconds: Option<u32>,
    tls_fingerprint: Option<String>,
    allow_basic: Option<bool>,
    record_enabled: Option<bool>,
    segment_seconds: Option<u32>,
    record_mode: Option<String>,
    schedule: Option<Vec<String>>,
    time_zone: Option<String>,
    pre_roll_seconds: Option<u32>,
    post_roll_seconds: Option<u32>,
    event_idle_session: Option<bool>,
    record_audio: Option<bool>,
    retention_hours: Option<u32>,
    quota_bytes: Option<u64>,
    mirror_enabled: Option<bool>,
    mirror_mode: Option<String>,
    refill_enabled: Option<bool>,
    refill_method: Option<String>,
    refill_url: Option<String>,
    refill_time_format: Option<String>,
    onvif_port: Option<u16>,
}

/// No error about it quotes it.
#[derive(Debug, PartialEq)]
struct Password(Secret);

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::String(text) => Ok(Self(Secret::new(text))),
            _ => Err(D::Error::custom("a password is a text in quotes")),
        }
    }
}

fn clearable(text: &Option<String>) -> Option<Option<String>> {
    text.as_ref().map(|text| (!text.is_empty()).then(|| text.clone()))
}

fn word<T>(
    field: &'static str,
    given: &Option<String>,
    known: fn(&str) -> Option<T>,
) -> Result<Option<T>, BadField> {
    let Some(given) = given else { return Ok(None) };
    let unknown = || BadField::new(field, format!("`{given}` is not one of its values"));
    known(given).map(Some).ok_or_else(unknown)
}

fn rows(lines: &[String]) -> Result<Vec<Row>, BadField> {
    let row = |(n, line): (usize, &String)| {
        week::row(line).map_err(|bad| BadField::new(format!("schedule[{n}]"), bad))
    };
    lines.iter().enumerate().map(row).collect()
}

impl Entry {
    fn patch(&self) -> Result<CameraPatch, BadField> {
        let Self {
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
        } = self;
        let secret = |Password(secret): &Password| (!secret.reveal().is_empty()).then(|| secret.clone());
        Ok(CameraPatch {
            name: name.clone(),
            vendor: word("vendor", vendor, Vendor::from_word)?,
            address: clearable(address),
            rtsp_port: *rtsp_port,
            channel: *channel,
            username: clearable(username),
            password: password.as_ref().map(secret),
            main_url: clearable(main_url),
            sub_url: clearable(sub_url),
            record_profile: word("record_profile", record_profile, Profile::from_word)?,
            transport: word("transport", transport, Transport::from_word)?,
            source: clearable(source)
                .map(|given| word("source", &given, SourceChoice::from_word))
                .transpose()?,
            connect_seconds: *connect_seconds,
            tls_fingerprint: clearable(tls_fingerprint),
            allow_basic: *allow_basic,
            record_enabled: *record_enabled,
            segment_seconds: *segment_seconds,
            record_mode: word("record_mode", record_mode, Mode::from_word)?,
            schedule: schedule.as_deref().map(rows).transpose()?,
            time_zone: clearable(time_zone),
            pre_roll_seconds: *pre_roll_seconds,
            post_roll_seconds: *post_roll_seconds,
            event_idle_session: *event_idle_session,
            record_audio: *record_audio,
            // As an empty text does elsewhere, 0 clears it.
            retention_hours: retention_hours.map(|hours| (hours > 0).then_some(hours)),
            quota_bytes: quota_bytes.map(|bytes| (bytes > 0).then_some(bytes)),
            mirror_enabled: *mirror_enabled,
            mirror_mode: word("mirror_mode", mirror_mode, MirrorMode::from_word)?,
            refill_enabled: *refill_enabled,
            refill_method: word("refill_method", refill_method, Method::from_word)?,
            refill_url: clearable(refill_url),
            refill_time_format: word("refill_time_format", refill_time_format, TimeFormat::from_word)?,
            onvif_port: *onvif_port,
        })
    }

    /// What the service has, with every key, so that an import of it brings exactly this back.
    fn of(camera: &view::Camera) -> Self {
        // The service takes credentials out of URLs; should it ever not, they still do not leave here.
        let url = |url: &Option<String>| {
            let plain = |url: &str| address::explicit(url).map_or_else(|_| String::new(), |found| found.url);
            Some(url.as_deref().map(plain).unwrap_or_default())
        };
        Self {
            name: Some(camera.name.clone()),
            vendor: Some(camera.vendor.clone()),
            address: Some(camera.address.clone().unwrap_or_default()),
            rtsp_port: Some(camera.rtsp_port),
            channel: Some(camera.channel),
            username: Some(camera.username.clone().unwrap_or_default()),
            password: None,
            main_url: url(&camera.main_url),
            sub_url: url(&camera.sub_url),
            record_profile: Some(camera.record_profile.clone()),
            transport: Some(camera.transport.clone()),
            source: Some(camera.source.clone().unwrap_or_default()),
            connect_seconds: Some(camera.connect_seconds),
            tls_fingerprint: Some(camera.tls_fingerprint.clone().unwrap_or_default()),
            allow_basic: Some(camera.allow_basic),
            record_enabled: Some(camera.record_enabled),
            segment_seconds: Some(camera.segment_seconds),
            record_mode: Some(camera.record_mode.clone()),
            schedule: Some(camera.schedule.iter().map(week::text).collect()),
            time_zone: Some(camera.time_zone.clone().unwrap_or_default()),
            pre_roll_seconds: Some(camera.pre_roll_seconds),
            post_roll_seconds: Some(camera.post_roll_seconds),
            event_idle_session: Some(camera.event_idle_session),
            record_audio: Some(camera.record_audio),
            retention_hours: Some(camera.retention_hours.unwrap_or(0)),
            quota_bytes: Some(camera.quota_bytes.unwrap_or(0)),
            mirror_enabled: Some(camera.mirror_enabled),
            mirror_mode: Some(camera.mirror_mode.clone()),
            refill_enabled: Some(camera.refill_enabled),
            refill_method: Some(camera.refill_method.clone()),
            refill_url: Some(camera.refill_url.clone().unwrap_or_default()),
            refill_time_format: Some(camera.refill_time_format.clone()),
            onvif_port: Some(camera.onvif_port),
        }
    }
}

fn to_toml(cameras: &[view::Camera]) -> Result<String, toml::ser::Error> {
    let mut out = HEAD.to_owned();
    for camera in cameras {
        out.push_str(&format!("\n[cameras.{}]\n{}", camera.id, toml::to_string(&Entry::of(camera))?));
        if camera.has_password {
            out.push_str("# It has a password, which is not written here.\n");
        }
    }
    Ok(out)
}

fn from_toml(text: &str) -> Result<Cameras, Failure> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        // Its `Display` shows the line, and that may hold a password.
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1);
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        Failure::new(format!("{line}{}", error.message()))
    })
}

/// What an import does to one camera.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Add(Map<String, Value>),
    Change(Map<String, Value>),
    Nothing,
}

impl Step {
    fn word(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::Change(_) => "change",
            Self::Nothing => "unchanged",
        }
    }

    fn fields(&self) -> Vec<&str> {
        match self {
            Self::Add(fields) | Self::Change(fields) => fields.keys().map(String::as_str).collect(),
            Self::Nothing => Vec::new(),
        }
    }
}

/// Stands for the password that only the service knows.
const KEPT: &str = "\u{0}kept";

/// What has to be sent so that `now` becomes what `entry` says.
fn step(id: &CameraId, entry: &Entry, now: Option<&view::Camera>) -> Result<Step, BadField> {
    let Some(now) = now else {
        let camera = Camera::new(id.clone(), entry.patch()?)?;
        let mut all = fields(&camera);
        all.retain(|_, value| !value.is_null());
        return Ok(Step::Add(all));
    };
    let before = Camera::new(id.clone(), CameraPatch { password: None, ..Entry::of(now).patch()? })?;
    // Put in after the checks: it is no password that could be set.
    let kept = Camera { password: now.has_password.then(|| Secret::new(KEPT)), ..before };
    let mut after = Camera { password: None, ..kept.clone() }.patched(entry.patch()?)?;
    let cleared = entry.password.as_ref().is_some_and(|password| password.0.reveal().is_empty());
    let replaced = after.password.is_some();
    if !cleared && !replaced {
        after.password = kept.password.clone();
    }
    if after.password.is_some() && after.username.is_none() {
        return Err(BadField::new("username", "is needed with a password"));
    }
    let (old, mut changed) = (fields(&kept), fields(&after));
    changed.retain(|field, value| old.get(field) != Some(value));
    Ok(if changed.is_empty() { Step::Nothing } else { Step::Change(changed) })
}

/// A camera's settings as the API takes them.
fn fields(camera: &Camera) -> Map<String, Value> {
    let Camera {
        id: _,
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
    let all = json!({
        "name": name,
        "vendor": vendor.word(),
        "address": address,
        "rtsp_port": rtsp_port,
        "channel": channel,
        "username": username,
        "password": password.as_ref().map(Secret::reveal),
        "main_url": main_url,
        "sub_url": sub_url,
        "record_profile": record_profile.word(),
        "transport": transport.word(),
        "source": source.map(SourceChoice::word),
        "connect_seconds": connect_seconds,
        "tls_fingerprint": tls_fingerprint,
        "allow_basic": allow_basic,
        "record_enabled": record_enabled,
        "segment_seconds": segment_seconds,
        "record_mode": record_mode.word(),
        "schedule": schedule.rows(),
        "time_zone": time_zone.map(Zone::name),
        "pre_roll_seconds": pre_roll_seconds,
        "post_roll_seconds": post_roll_seconds,
        "event_idle_session": event_idle_session,
        "record_audio": record_audio,
        "retention_hours": retention_hours,
        "quota_bytes": quota_bytes,
        "mirror_enabled": mirror_enabled,
        "mirror_mode": mirror_mode.word(),
        "refill_enabled": refill_enabled,
        "refill_method": refill_method.word(),
        "refill_url": refill_url,
        "refill_time_format": refill_time_format.word(),
        "onvif_port": onvif_port,
    });
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}

pub(super) fn export(env: &mut Env, file: Option<&Path>) -> anyhow::Result<Verdict> {
    let cameras: view::Cameras = view::read(&env.client()?.get("/api/v1/cameras")?)?;
    let text = to_toml(&cameras.cameras)?;
    match file.filter(|file| *file != Path::new("-")) {
        None => env.out.document(&text)?,
        Some(file) => fs::write(file, text)
            .map_err(|source| Failure::new(format!("cannot write `{}`", file.display())).because(source))?,
    }
    Ok(Verdict::Fine)
}

pub(super) fn import(env: &mut Env, file: &Path, dry_run: bool, output: Output) -> anyhow::Result<Verdict> {
    let unreadable =
        |source: io::Error| Failure::new(format!("cannot read `{}`", file.display())).because(source);
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(unreadable)?;
        text
    } else {
        fs::read_to_string(file).map_err(unreadable)?
    };
    let wrong = |what: &dyn fmt::Display| {
        Failure::new(format!("`{}`: {what}", file.display()))
            .hint("nothing was changed; `camera export` shows the form")
    };
    let cameras = from_toml(&text).map_err(|failure| wrong(&failure))?.cameras;
    let client = env.client()?;
    let there: view::Cameras = view::read(&client.get("/api/v1/cameras")?)?;
    let mut plan = Vec::new();
    for (id, entry) in &cameras {
        let now = there.cameras.iter().find(|camera| camera.id == id.as_str());
        plan.push((id, step(id, entry, now).map_err(|bad| wrong(&format!("cameras.{id}: {bad}")))?));
    }
    if !dry_run {
        for (n, (id, step)) in plan.iter().enumerate() {
            let sent = match step {
                Step::Nothing => continue,
                Step::Change(fields) => client.patch(&camera::path(id), &fields.clone().into()),
                Step::Add(fields) => {
                    let mut fields = fields.clone();
                    fields.insert("id".to_owned(), json!(id));
                    client.post("/api/v1/cameras", &fields.into(), PROBE_WITHIN)
                }
            };
            if let Err(error) = sent {
                let done = plan[..n].iter().filter(|(_, step)| *step != Step::Nothing).count();
                let context = format!("cameras.{id} (after {done} that were added or changed)");
                return Err(anyhow::Error::from(error).context(context));
            }
        }
    }
    if output.json {
        let steps: Vec<Value> = plan
            .iter()
            .map(|(id, step)| json!({ "id": id, "action": step.word(), "fields": step.fields() }))
            .collect();
        env.out.json(&json!({ "dry_run": dry_run, "cameras": steps }))?;
        return Ok(Verdict::Fine);
    }
    let mut table = Table::new(&["ID", if dry_run { "WOULD BE" } else { "DONE" }, "FIELDS"]);
    for (id, step) in &plan {
        table.row([Cell::from(id.as_str()), step.word().into(), step.fields().join(", ").into()]);
    }
    env.out.table(&table)?;
    Ok(Verdict::Fine)
}

#[cfg(test)]
mod tests;
