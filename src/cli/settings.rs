//! A camera's settings as options, and the JSON that says the same to the API.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser as _},
    value_parser,
};
use serde_json::{Map, Value, json};

use super::{fail::Failure, term, week};
use crate::{
    base::Secret,
    model::{
        Profile,
        address::Vendor,
        camera::{
            CONNECT_SECONDS_MAX, CONNECT_SECONDS_MIN, MirrorMode, POST_ROLL_MAX, PRE_ROLL_MAX, TEXT_MAX,
            Transport,
        },
        demand::Mode,
        refill::way::{Method, TimeFormat},
        retention::{BYTES_LEAST, BYTES_MAX, RETENTION_HOURS_MAX},
        schedule::Row,
        source::SourceChoice,
    },
};

/// Settings by their names in the API, and the options that set them.
const OPTIONS: [(&str, &str); 34] = [
    ("id", "ID"),
    ("name", "--name"),
    ("vendor", "--vendor"),
    ("address", "--address"),
    ("rtsp_port", "--rtsp-port"),
    ("channel", "--channel"),
    ("username", "--username"),
    ("password", "--password-stdin"),
    ("main_url", "--url"),
    ("sub_url", "--sub-url"),
    ("record_profile", "--record-profile"),
    ("transport", "--transport"),
    ("source", "--source"),
    ("connect_seconds", "--connect-seconds"),
    ("tls_fingerprint", "--tls-fingerprint"),
    ("allow_basic", "--allow-basic"),
    ("record_enabled", "--enable"),
    ("segment_seconds", "--segment-seconds"),
    ("record_mode", "--record-mode"),
    ("schedule", "--schedule"),
    ("time_zone", "--time-zone"),
    ("pre_roll_seconds", "--pre-roll"),
    ("post_roll_seconds", "--post-roll"),
    ("event_idle_session", "--event-idle-session"),
    ("record_audio", "--record-audio"),
    ("retention_hours", "--retention-hours"),
    ("quota_bytes", "--quota-bytes"),
    ("mirror_enabled", "--mirror-enabled"),
    ("mirror_mode", "--mirror-mode"),
    ("refill_enabled", "--refill"),
    ("refill_method", "--refill-method"),
    ("refill_url", "--refill-url"),
    ("refill_time_format", "--refill-time-format"),
    ("onvif_port", "--onvif-port"),
];

/// The option for a field of the API.
pub(super) fn option(field: &str) -> Option<String> {
    OPTIONS.iter().find(|(known, _)| *known == field).map(|(_, option)| (*option).to_owned())
}

/// Fields that may be empty, by the names of their options.
const CLEARABLE: [(&str, &str); 12] = [
    ("refill-url", "refill_url"),
    ("url", "main_url"),
    ("sub-url", "sub_url"),
    ("address", "address"),
    ("username", "username"),
    ("password", "password"),
    ("schedule", "schedule"),
    ("time-zone", "time_zone"),
    ("source", "source"),
    ("tls-fingerprint", "tls_fingerprint"),
    ("retention-hours", "retention_hours"),
    ("quota-bytes", "quota_bytes"),
];

/// What can be said of a camera on the command line. Its password is never an argument: arguments are seen by every
/// user of the machine.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "settings", multiple = true)]
pub(super) struct Settings {
    /// Address of the main stream, such as rtsp://192.0.2.7/stream1. A user name and a password in it are taken out
    /// and stored sealed
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Address of the sub stream, if the camera has a smaller one
    #[arg(long, value_name = "URL")]
    sub_url: Option<String>,
    /// Who made it; with --address this is enough to know the streams' URLs. `generic` and `onvif` need --url
    #[arg(long, value_parser = words(Vendor::ALL.iter().map(|vendor| vendor.word())), hide_possible_values = false)]
    vendor: Option<String>,
    /// Host name or IP address of the camera
    #[arg(long, value_name = "HOST")]
    address: Option<String>,
    /// TCP port of its RTSP server [554]
    #[arg(long, value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    rtsp_port: Option<u16>,
    /// Channel of a device with several, from 1 [1]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=256))]
    channel: Option<u16>,
    /// Account on the camera
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from standard input; asks for it, unseen, on a terminal
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from a file of one line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// What people call it [its id]
    #[arg(long)]
    name: Option<String>,
    /// What carries the video: tcp gets through everywhere [tcp]
    #[arg(long, value_parser = words(Transport::ALL.iter().map(|transport| transport.word())))]
    transport: Option<String>,
    /// Which implementation receives the camera: native (Watchkeeper's own), rtspsrc (GStreamer's), or auto: native,
    /// and rtspsrc where native cannot [the configuration's]
    #[arg(long, value_parser = words(SourceChoice::ALL.iter().map(|source| source.word())))]
    source: Option<String>,
    /// Seconds from the start of a connection attempt to the first frame [15]
    #[arg(long, value_name = "N",
          value_parser = value_parser!(u32).range(i64::from(CONNECT_SECONDS_MIN)..=i64::from(CONNECT_SECONDS_MAX)))]
    connect_seconds: Option<u32>,
    /// SHA-256 of its certificate, for rtsps; the first that is seen is kept, --clear tls-fingerprint forgets it
    #[arg(long, value_name = "SHA256")]
    tls_fingerprint: Option<String>,
    /// Whether the password may go in clear over plain rtsp to a camera that takes nothing else [false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    allow_basic: Option<bool>,
    /// Length of a recorded file in seconds [60]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(2..=3600))]
    segment_seconds: Option<u32>,
    /// Which of the camera's streams is recorded [main]
    #[arg(long, value_parser = words(Profile::ALL.iter().map(|profile| profile.word())))]
    record_profile: Option<String>,
    /// When it is recorded: always, in its schedule, after triggers, or after triggers in its schedule [continuous]
    #[arg(long, value_parser = words(Mode::ALL.iter().map(|mode| mode.word())))]
    record_mode: Option<String>,
    /// A window of the schedule, such as `mon-fri 08:00-18:00` or `sat,sun 22:00-06:00`; given several times, all of
    /// them, and they replace what was there
    #[arg(long, value_name = "ROW", value_parser = week::row)]
    schedule: Vec<Row>,
    /// IANA name of the schedule's time zone, such as Europe/Berlin [the service's]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Footage from before a trigger, in seconds [10]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(..=i64::from(PRE_ROLL_MAX)))]
    pre_roll: Option<u32>,
    /// Footage after a trigger that asks for nothing else, in seconds [30]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(..=i64::from(POST_ROLL_MAX)))]
    post_roll: Option<u32>,
    /// Whether its session stays open while it waits for a trigger; without, there is no pre-roll [true]
    #[arg(long, value_name = "BOOL")]
    event_idle_session: Option<bool>,
    /// Whether its sound is recorded, too [false]
    #[arg(long, value_name = "BOOL")]
    record_audio: Option<bool>,
    /// Delete footage that ended so many hours ago [never for its age alone]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(RETENTION_HOURS_MAX)))]
    retention_hours: Option<u32>,
    /// Delete its oldest footage beyond so many bytes [no limit of its own]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(BYTES_LEAST..=BYTES_MAX))]
    quota_bytes: Option<u64>,
    /// Whether it has a second copy on the mirror, where one is configured (mirror_dir) [true]
    #[arg(long, value_name = "BOOL")]
    mirror_enabled: Option<bool>,
    /// What the mirror holds: a copy of what is recorded, or also what comes outside schedule and triggers [recorded]
    #[arg(long, value_parser = words(MirrorMode::ALL.iter().map(|mode| mode.word())))]
    mirror_mode: Option<String>,
    /// Whether what is missing is fetched from its own storage [false]
    #[arg(long, value_name = "BOOL")]
    refill: Option<bool>,
    /// How it is asked for that [auto: by an address if there is one, else by ONVIF]
    #[arg(long, value_parser = words(Method::ALL.iter().map(|method| method.word())))]
    refill_method: Option<String>,
    /// An address of its recordings, with {start} and {end} [the vendor's]
    #[arg(long, value_name = "URL")]
    refill_url: Option<String>,
    /// How the times stand in it [basic]
    #[arg(long, value_parser = words(TimeFormat::ALL.iter().map(|format| format.word())))]
    refill_time_format: Option<String>,
    /// Port of its ONVIF services [80]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    onvif_port: Option<u16>,
}

fn words(words: impl Iterator<Item = &'static str>) -> PossibleValuesParser {
    PossibleValuesParser::new(words)
}

/// A field for `--clear`, by its name in the API.
pub(super) fn clearable() -> impl clap::builder::TypedValueParser<Value = &'static str> {
    PossibleValuesParser::new(CLEARABLE.map(|(option, _)| option)).try_map(|named| {
        let found = CLEARABLE.iter().find(|(option, _)| *option == named);
        found.map(|(_, field)| *field).ok_or("is always set")
    })
}

impl Settings {
    /// The password, from where it was said to be.
    pub(super) fn password(&self) -> anyhow::Result<Option<Secret>> {
        if self.password_stdin {
            return term::password().map(Some).context("--password-stdin");
        }
        let Some(path) = &self.password_file else { return Ok(None) };
        let too_long = fs::metadata(path).is_ok_and(|found| found.len() > 4 * TEXT_MAX as u64);
        if too_long {
            return Err(
                Failure::new(format!("--password-file: `{}` holds no password", path.display())).into()
            );
        }
        let text = fs::read_to_string(path)
            .map_err(|source| Failure::new(format!("cannot read `{}`", path.display())).because(source))?;
        term::one_line(&text).context("--password-file").map(Some)
    }

    /// The fields that were given, and no others.
    pub(super) fn fields(&self, password: Option<&Secret>) -> Map<String, Value> {
        let Self {
            url,
            sub_url,
            vendor,
            address,
            rtsp_port,
            channel,
            username,
            password_stdin: _,
            password_file: _,
            name,
            transport,
            source,
            connect_seconds,
            tls_fingerprint,
            allow_basic,
            segment_seconds,
            record_profile,
            record_mode,
            schedule,
            time_zone,
            pre_roll,
            post_roll,
            event_idle_session,
            record_audio,
            retention_hours,
            quota_bytes,
            mirror_enabled,
            mirror_mode,
            refill,
            refill_method,
            refill_url,
            refill_time_format,
            onvif_port,
        } = self;
        let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
        [
            ("main_url", text(url)),
            ("sub_url", text(sub_url)),
            ("vendor", text(vendor)),
            ("address", text(address)),
            ("rtsp_port", rtsp_port.map(Value::from)),
            ("channel", channel.map(Value::from)),
            ("username", text(username)),
            ("password", password.map(|password| json!(password.reveal()))),
            ("name", text(name)),
            ("transport", text(transport)),
            ("source", text(source)),
            ("connect_seconds", connect_seconds.map(Value::from)),
            ("tls_fingerprint", text(tls_fingerprint)),
            ("allow_basic", allow_basic.map(Value::from)),
            ("segment_seconds", segment_seconds.map(Value::from)),
            ("record_profile", text(record_profile)),
            ("record_mode", text(record_mode)),
            ("schedule", (!schedule.is_empty()).then(|| json!(schedule))),
            ("time_zone", text(time_zone)),
            ("pre_roll_seconds", pre_roll.map(Value::from)),
            ("post_roll_seconds", post_roll.map(Value::from)),
            ("event_idle_session", event_idle_session.map(Value::from)),
            ("record_audio", record_audio.map(Value::from)),
            ("retention_hours", retention_hours.map(Value::from)),
            ("quota_bytes", quota_bytes.map(Value::from)),
            ("mirror_enabled", mirror_enabled.map(Value::from)),
            ("mirror_mode", text(mirror_mode)),
            ("refill_enabled", refill.map(Value::from)),
            ("refill_method", text(refill_method)),
            ("refill_url", text(refill_url)),
            ("refill_time_format", text(refill_time_format)),
            ("onvif_port", onvif_port.map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(field, value)| Some((field.to_owned(), value?)))
        .collect()
    }
}

/// A change: the fields given, those to clear as null, and whether to record.
pub(super) fn change(
    mut fields: Map<String, Value>,
    clear: &[&'static str],
    record: Option<bool>,
) -> Result<Map<String, Value>, Failure> {
    for field in clear {
        let nothing = if *field == "schedule" { json!([]) } else { Value::Null };
        if fields.insert((*field).to_owned(), nothing.clone()).is_some_and(|before| before != nothing) {
            let option = option(field).unwrap_or_default();
            return Err(Failure::usage(format!("{option}: is given and cleared at once")));
        }
    }
    fields.extend(record.map(|record| ("record_enabled".to_owned(), json!(record))));
    if fields.is_empty() {
        return Err(Failure::usage("nothing to change")
            .hint("name at least one option; `watchkeeper camera set --help` lists them"));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, fail::told};
    use clap::{CommandFactory as _, Parser};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
        #[arg(long, value_parser = clearable())]
        clear: Vec<&'static str>,
    }

    fn line(args: &[&str]) -> Line {
        Line::try_parse_from([&["x"], args].concat()).unwrap()
    }

    #[test]
    fn only_what_is_given_is_sent() {
        assert_eq!(Value::from(line(&[]).settings.fields(None)), json!({}));
        let given = line(&[
            "--url",
            "rtsp://h/x",
            "--vendor",
            "axis",
            "--rtsp-port",
            "8554",
            "--segment-seconds",
            "10",
            "--mirror-enabled",
            "false",
            "--mirror-mode",
            "continuous",
            "--source",
            "native",
            "--connect-seconds",
            "5",
        ]);
        let fields = given.settings.fields(Some(&Secret::new("p")));
        let expected = json!({"main_url": "rtsp://h/x", "vendor": "axis", "rtsp_port": 8554, "segment_seconds": 10, "password": "p",
            "mirror_enabled": false, "mirror_mode": "continuous", "source": "native", "connect_seconds": 5});
        assert_eq!(Value::from(fields), expected);
    }

    #[test]
    fn a_schedule_is_given_row_by_row_and_cleared_whole() {
        let given = line(&["--schedule", "mon-fri 08:00-18:00", "--schedule", "sun 22:00-06:00 off"]);
        let rows = json!([
            {"weekdays": [0, 1, 2, 3, 4], "start": "08:00", "end": "18:00", "enabled": true},
            {"weekdays": [6], "start": "22:00", "end": "06:00", "enabled": false},
        ]);
        assert_eq!(Value::from(given.settings.fields(None)), json!({ "schedule": rows }));
        let none = change(Map::new(), &["schedule", "time_zone"], None).unwrap();
        assert_eq!(Value::from(none), json!({"schedule": [], "time_zone": null}));
        assert!(change(given.settings.fields(None), &["schedule"], None).is_err());
    }

    #[test]
    fn clearing_is_null_and_contradictions_are_refused() {
        let given = line(&["--name", "x", "--clear", "sub-url", "--clear", "password", "--clear", "sub-url"]);
        let fields = change(given.settings.fields(None), &given.clear, Some(false)).unwrap();
        let expected = json!({"name": "x", "sub_url": null, "password": null, "record_enabled": false});
        assert_eq!(Value::from(fields), expected);
        let both = line(&["--url", "rtsp://h/x", "--clear", "url"]);
        let error = change(both.settings.fields(None), &both.clear, None).unwrap_err();
        assert_eq!(told(&error.into()).0, ["watchkeeper: --url: is given and cleared at once"]);
        assert_eq!(told(&change(Map::new(), &[], None).unwrap_err().into()).1, 2);
        assert!(Line::try_parse_from(["x", "--clear", "name"]).is_err());
    }

    #[test]
    fn wrong_values_are_refused_before_anything_is_sent() {
        for bad in [
            ["--rtsp-port", "0"],
            ["--rtsp-port", "65536"],
            ["--channel", "257"],
            ["--segment-seconds", "1"],
            ["--vendor", "acme"],
            ["--transport", "TCP"],
            ["--source", "gstreamer"],
            ["--connect-seconds", "4"],
            ["--connect-seconds", "61"],
            ["--record-profile", "both"],
            ["--record-mode", "always"],
            ["--schedule", "08:00-18:00"],
            ["--pre-roll", "61"],
            ["--post-roll", "3601"],
            ["--record-audio", "loud"],
            ["--mirror-enabled", "twice"],
            ["--mirror-mode", "always"],
        ] {
            assert!(Line::try_parse_from(["x", bad[0], bad[1]]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_field_has_an_option_that_exists() {
        let cli = Cli::command();
        let set = cli.find_subcommand("camera").and_then(|camera| camera.find_subcommand("set")).unwrap();
        for (field, option) in OPTIONS {
            let Some(long) = option.strip_prefix("--") else { continue };
            assert!(set.get_arguments().any(|arg| arg.get_long() == Some(long)), "{field}");
        }
    }

    #[test]
    fn a_password_file_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let read = || line(&["--password-file", path.to_str().unwrap()]).settings.password();
        fs::write(&path, "p@ss w\n").unwrap();
        assert_eq!(read().unwrap().unwrap().reveal(), "p@ss w");
        fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(read().is_err());
        fs::remove_file(&path).unwrap();
        assert!(read().is_err());
    }
}
