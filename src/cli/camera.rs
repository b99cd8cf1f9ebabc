//! `watchkeeper camera`: everything about cameras, through the API of the running service.

use std::path::PathBuf;

use clap::{Args, Subcommand, value_parser};
use serde_json::{Value, json};

use super::{
    Env, Output,
    client::{ClientError, PROBE_WITHIN, WITHIN},
    fail::{Failure, Verdict},
    settings::{self, Settings, change, clearable, option},
    term, transfer,
    view::{self, camera_pairs, camera_table, probe_pairs},
    when,
};
use crate::{
    base::{CameraId, WallUs},
    model::camera::POST_ROLL_MAX,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a camera; recording starts at once
    ///
    /// Either --url, or --vendor and --address are needed. Example:
    ///
    ///   watchkeeper camera add front --vendor hikvision --address 192.0.2.7 --username admin --password-stdin
    Add {
        /// Its id: a-z, 0-9, - and _; also the name of its directory, so it never changes
        id: CameraId,
        #[command(flatten)]
        settings: Settings,
        /// Do not record it yet
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        output: Output,
    },
    /// List all cameras and how they are
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show everything about one camera
    Show {
        /// The camera
        id: CameraId,
        #[command(flatten)]
        output: Output,
    },
    /// Change a camera; only what the change touches is interrupted
    Set(Set),
    /// Forget a camera; its recordings stay
    Remove {
        /// The camera
        id: CameraId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Look at what a camera sends, whether it is added already or not
    ///
    /// Connects, waits for a picture, and tells codec, size, rates, and what could be set better on the camera.
    /// Exits with 1 if no picture came. Example:
    ///
    ///   watchkeeper camera probe --url rtsp://192.0.2.7/stream1 --username admin --password-stdin
    Probe {
        /// A camera that is added
        #[arg(conflicts_with = "settings", required_unless_present_any = ["url", "address"])]
        id: Option<CameraId>,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        output: Output,
    },
    /// Have an event camera record for a while; a trigger while it records only prolongs that
    Trigger {
        /// The camera
        id: CameraId,
        /// What it is, for the event log
        #[arg(long, default_value = "command line")]
        reason: String,
        /// Footage after it, in seconds [as the camera's settings say]
        #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(..=i64::from(POST_ROLL_MAX)))]
        post_roll: Option<u32>,
        #[command(flatten)]
        output: Output,
    },
    /// Write all cameras' settings as TOML, without passwords
    Export {
        /// File to write; `-` or none for standard output
        file: Option<PathBuf>,
    },
    /// Add and change cameras as a TOML file says
    ///
    /// The file is what `camera export` writes. A setting that the file does not name stays as it is; an empty text
    /// clears one. A key `password` sets a password. Cameras that the file does not name are left alone. The whole
    /// file is checked before anything is changed.
    Import {
        /// File to read; `-` for standard input
        file: PathBuf,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The camera
    id: CameraId,
    #[command(flatten)]
    settings: Settings,
    /// Empty this setting; may be given several times
    #[arg(long, value_name = "FIELD", value_parser = clearable())]
    clear: Vec<&'static str>,
    /// Record it
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Do not record it
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    output: Output,
}

/// The API's path for a camera. An id is a slug, so it can stand in one.
pub(super) fn path(id: &CameraId) -> String {
    format!("/api/v1/cameras/{id}")
}

/// Fields of the API as options.
fn as_options(error: ClientError) -> ClientError {
    error.with_names(option)
}

pub(super) fn run(env: &mut Env, command: Command) -> anyhow::Result<Verdict> {
    match command {
        Command::Add { id, settings, disabled, output } => {
            let client = env.client()?;
            let mut fields = settings.fields(settings.password()?.as_ref());
            fields.insert("id".to_owned(), json!(id));
            if disabled {
                fields.insert("record_enabled".to_owned(), json!(false));
            }
            let added = client.post("/api/v1/cameras", &fields.into(), PROBE_WITHIN).map_err(as_options)?;
            env.show(output, &added, |added| {
                let camera: view::Camera = view::read(added)?;
                let what =
                    if camera.record_enabled { "recording starts now" } else { "it is not recorded yet" };
                Ok(format!(
                    "added `{}`: {what}; `watchkeeper camera show {}` tells how it is",
                    camera.id, camera.id
                ))
            })
        }
        Command::List { output } => {
            let answer = env.client()?.get("/api/v1/cameras")?;
            if output.json {
                env.out.json(&answer)?;
                return Ok(Verdict::Fine);
            }
            let cameras: view::Cameras = view::read(&answer)?;
            if cameras.cameras.is_empty() {
                term::note("there are no cameras yet; `watchkeeper camera add --help` tells how to add one");
            } else {
                env.out.table(&camera_table(&cameras.cameras, WallUs::now()))?;
            }
            Ok(Verdict::Fine)
        }
        Command::Show { id, output } => {
            let answer = env.client()?.get(&path(&id))?;
            if output.json {
                env.out.json(&answer)?;
            } else {
                env.out.table(&camera_pairs(&view::read(&answer)?, WallUs::now()))?;
            }
            Ok(Verdict::Fine)
        }
        Command::Set(given) => set(env, given),
        Command::Remove { id, yes, output } => remove(env, &id, yes, output),
        Command::Probe { id, settings, output } => probe(env, id.as_ref(), &settings, output),
        Command::Trigger { id, reason, post_roll, output } => {
            let mut body = json!({ "reason": reason });
            if let Some(seconds) = post_roll {
                body["post_roll_seconds"] = json!(seconds);
            }
            let name =
                |field: &str| if field == "reason" { Some("--reason".to_owned()) } else { option(field) };
            let answer = env.client()?.post(&format!("{}/trigger", path(&id)), &body, WITHIN);
            let answer = answer.map_err(|error| error.with_names(name))?;
            env.show(output, &answer, |answer| {
                let window: view::Window = view::read(answer)?;
                Ok(format!("`{id}` is to be recorded until {}", when::shown(window.window_end)))
            })
        }
        Command::Export { file } => transfer::export(env, file.as_deref()),
        Command::Import { file, dry_run, output } => transfer::import(env, &file, dry_run, output),
    }
}

fn set(env: &mut Env, given: Set) -> anyhow::Result<Verdict> {
    let Set { id, settings, clear, enable, disable, output } = given;
    let client = env.client()?;
    let record = (enable || disable).then_some(enable);
    let fields = change(settings.fields(settings.password()?.as_ref()), &clear, record)?;
    let names: Vec<String> =
        fields.keys().map(|field| option(field).unwrap_or_else(|| field.clone())).collect();
    let changed = client.patch(&path(&id), &fields.into()).map_err(as_options)?;
    env.show(output, &changed, |_| Ok(format!("changed `{id}`: {}", names.join(", "))))
}

fn remove(env: &mut Env, id: &CameraId, yes: bool, output: Output) -> anyhow::Result<Verdict> {
    let client = env.client()?;
    if !yes {
        // Asked only about a camera that is there.
        client.get(&path(id))?;
        match term::confirmed(&format!("Forget the camera `{id}`? Its recordings stay."))? {
            Some(true) => {}
            Some(false) => return Err(Failure::new("nothing was removed").into()),
            None => {
                return Err(Failure::usage(format!("nobody to ask whether to remove `{id}`"))
                    .hint("give --yes to remove it without a question")
                    .into());
            }
        }
    }
    client.delete(&path(id))?;
    env.show(output, &json!({ "removed": id }), |_| Ok(format!("removed `{id}`; its recordings stay")))
}

fn probe(
    env: &mut Env,
    id: Option<&CameraId>,
    settings: &settings::Settings,
    output: Output,
) -> anyhow::Result<Verdict> {
    let client = env.client()?;
    let (path, body) = match id {
        Some(id) => (format!("{}/probe", path(id)), json!({})),
        None => ("/api/v1/probe".to_owned(), Value::from(settings.fields(settings.password()?.as_ref()))),
    };
    let spinner = term::spinner("connecting to the camera, and waiting for pictures");
    let answer = client.post(&path, &body, PROBE_WITHIN).map_err(as_options);
    spinner.finish_and_clear();
    let answer = answer?;
    let report: view::ProbeReport = view::read(&answer)?;
    if output.json {
        env.out.json(&answer)?;
    } else {
        env.out.table(&probe_pairs(&report))?;
    }
    Ok(if report.ok { Verdict::Fine } else { Verdict::Problems })
}
