//! `watchkeeper doctor`: is everything there that the service needs? Each finding comes with its remedy.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Output, check,
    client::{Client, ClientError},
    config::{Config, ConfigError},
    fail::Verdict,
    places,
    table::{Cell, Table},
    term::Out,
};
use crate::{
    base::{WallUs, error::Chain},
    media,
    model::copies::Place,
    source::gio_tls,
    store::{self, Store},
};

/// `timedatectl` asks another service, which may not answer.
const CLOCK_WITHIN: Duration = Duration::from_secs(3);
/// When this was written. A clock before it is wrong.
const NOT_BEFORE: WallUs = WallUs(1_767_225_600_000_000);

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    output: Output,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    /// It could not be looked at.
    Skipped,
    Warning,
    Problem,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) level: Level,
    pub(super) detail: String,
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn new(name: &'static str, level: Level, detail: impl Into<String>) -> Self {
        Self { name, level, detail: detail.into(), remedy: None }
    }

    pub(super) fn level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

pub(super) fn run(
    out: &mut Out,
    config: Result<&Config, &ConfigError>,
    server: Option<&str>,
    wanted: Doctor,
) -> anyhow::Result<Verdict> {
    let mut findings =
        vec![Finding::new("watchkeeper", Level::Ok, format!("version {}", env!("CARGO_PKG_VERSION")))];
    findings.extend(gstreamer());
    findings.push(clock());
    match config {
        Ok(config) => findings.extend(configured(config, server)?),
        Err(error) => findings.push(
            Finding::new("configuration", Level::Problem, Chain(error).to_string())
                .remedy("correct it; what depends on it was not looked at"),
        ),
    }
    let bad = findings.iter().any(|finding| finding.level == Level::Problem);
    if wanted.output.json {
        let effective = config.ok().map(effective);
        out.json(&json!({ "ok": !bad, "findings": findings, "configuration": effective }))?;
    } else {
        let mut table = Table::new(&["RESULT", "WHAT", "FOUND"]);
        for Finding { name, level, detail, remedy } in &findings {
            table.row([Cell::word(level.word()), Cell::from(name), Cell::from(detail)]);
            if let Some(remedy) = remedy {
                table.row(["".into(), "".into(), Cell::from(format!("-> {remedy}"))]);
            }
        }
        out.table(&table)?;
    }
    Ok(if bad { Verdict::Problems } else { Verdict::Fine })
}

/// What the configuration comes to.
fn effective(config: &Config) -> Value {
    let settings = config.settings();
    json!({
        "data_dir": settings.data_dir,
        "recordings_dir": settings.recordings_dir,
        "mirror_dir": settings.mirror.map(|mirror| mirror.dir),
        "pipelines_dir": settings.pipelines_dir,
        "listen": config.listen,
        "allowed_hosts": config.allowed_hosts,
        "log": config.log,
    })
}

fn configured(config: &Config, server: Option<&str>) -> anyhow::Result<Vec<Finding>> {
    let settings = config.settings();
    let effective = effective(config);
    let shown: Vec<String> = effective
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| {
            format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .collect();
    let mut all = vec![
        Finding::new("configuration", Level::Ok, shown.join(" ")),
        places::directory("data", &settings.data_dir, true),
        places::directory("recordings", &settings.recordings_dir, false),
    ];
    if let Some(mirror) = &settings.mirror {
        all.extend(places::mirror(&mirror.dir, &settings.recordings_dir));
    }
    all.extend([places::key_file(&settings.key_file()), database(&settings)?]);
    let client = Client::new(server, config)?;
    let (port, service) = (port(config.listen), service(&client));
    let running = check::is_running(&settings);
    all.push(judged_port(config.listen, port, server.is_none() && service.is_ok()));
    all.extend(judged_service(&client, service, running));
    Ok(all)
}

fn gstreamer() -> Vec<Finding> {
    if let Err(error) = media::init() {
        return vec![
            Finding::new("gstreamer", Level::Problem, Chain(&error).to_string())
                .remedy("install the packages gstreamer1.0-tools and gstreamer1.0-plugins-base"),
        ];
    }
    let mut all = vec![Finding::new("gstreamer", Level::Ok, media::version())];
    all.push(match gio_tls::available() {
        true => Finding::new("tls", Level::Ok, "rtsps cameras can be reached"),
        false => {
            Finding::new("tls", Level::Warning, "rtsps cameras cannot be reached").remedy(gio_tls::MISSING)
        }
    });
    let missing = media::missing();
    all.extend(missing.iter().map(|needed| {
        Finding::new("gstreamer", Level::Problem, format!("the element `{}` is missing", needed.element))
            .remedy(format!("apt install {}", needed.package))
    }));
    if missing.is_empty() {
        let detail = format!("all {} elements are installed", media::NEEDED.len());
        all.push(Finding::new("gstreamer elements", Level::Ok, detail));
    }
    let named = env::var_os("GST_REGISTRY").map(PathBuf::from);
    let dir = named.as_deref().and_then(|file| file.parent().map(PathBuf::from));
    all.push(places::registry(&dir.unwrap_or_else(|| glib::user_cache_dir().join("gstreamer-1.0"))));
    all
}

/// Segments are named and events are dated by the host's clock.
fn clock() -> Finding {
    const NAME: &str = "clock";
    let now = WallUs::now();
    if now < NOT_BEFORE {
        return Finding::new(NAME, Level::Problem, format!("it says {}", now.rfc3339()))
            .remedy("set the clock: timedatectl set-ntp true");
    }
    let (tell, told) = mpsc::channel();
    // A thread, because there is no other way to wait for a process with a deadline.
    thread::spawn(move || {
        let asked = Command::new("timedatectl")
            .args(["show", "--property=NTPSynchronized", "--value"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let _ = tell.send(asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    });
    judged_clock(told.recv_timeout(CLOCK_WITHIN).ok().and_then(Result::ok).as_deref())
}

fn judged_clock(synchronised: Option<&str>) -> Finding {
    match synchronised {
        Some("yes") => Finding::new("clock", Level::Ok, "is synchronised"),
        Some("no") => Finding::new("clock", Level::Warning, "is not synchronised")
            .remedy("timedatectl set-ntp true; a clock that steps makes the times of recordings wrong"),
        _ => Finding::new(
            "clock",
            Level::Skipped,
            "cannot tell whether it is synchronised: timedatectl does not say",
        ),
    }
}

fn database(settings: &crate::run::Settings) -> anyhow::Result<Finding> {
    const NAME: &str = "database";
    let path = settings.database();
    // Opening it can make files beside it, which must be the service's own.
    if path.exists() && places::other_owner(&settings.data_dir).is_some() {
        return Ok(Finding::new(NAME, Level::Skipped, "belongs to another user")
            .remedy("run this as the user of the service"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let opened = runtime.block_on(async {
        let store = Store::open_read_only(&path).await?;
        let asked = store.known_rows(Place::Primary, "", None, 1).await;
        store.close().await;
        asked
    });
    let shown = path.display();
    Ok(match opened {
        Ok(_) => Finding::new(NAME, Level::Ok, format!("`{shown}` answers")),
        Err(store::Error::Missing { .. }) => {
            Finding::new(NAME, Level::Ok, format!("`{shown}` will be made when the service starts"))
        }
        Err(error @ store::Error::Outdated { .. }) => {
            Finding::new(NAME, Level::Warning, Chain(&error).to_string())
        }
        Err(error) => Finding::new(NAME, Level::Problem, Chain(&error).to_string())
            .remedy("restore it from a backup; or move it away, and `watchkeeper check --repair` makes it from the files"),
    })
}

/// Takes the port for a moment.
fn port(listen: SocketAddr) -> io::Result<()> {
    TcpListener::bind(listen).map(|_| ())
}

/// Who is there, and whether it is ready.
fn service(client: &Client) -> Result<(String, Value), ClientError> {
    let system = client.get("/api/v1/system")?;
    let version = system.get("version").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    Ok((version, client.readiness()?))
}

fn judged_port(listen: SocketAddr, port: io::Result<()>, ours: bool) -> Finding {
    const NAME: &str = "port";
    match port {
        Ok(()) => Finding::new(NAME, Level::Ok, format!("{listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && ours => {
            Finding::new(NAME, Level::Ok, format!("{listen} is taken by the running service"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Finding::new(NAME, Level::Problem, format!("{listen} is taken by another program"))
                .remedy("stop it (`ss -ltnp` names it), or set `listen` to another port")
        }
        Err(error) => Finding::new(NAME, Level::Problem, format!("cannot listen on {listen}: {error}"))
            .remedy("set `listen` to another address or port"),
    }
}

fn judged_service(
    client: &Client,
    service: Result<(String, Value), ClientError>,
    running: anyhow::Result<bool>,
) -> Vec<Finding> {
    const NAME: &str = "service";
    let base = client.base();
    let (version, ready) = match (service, running) {
        (Ok(found), _) => found,
        (Err(error), Ok(true)) => {
            let detail = format!("runs, but does not answer: {}", Chain(&error));
            return vec![Finding::new(NAME, Level::Problem, detail).remedy("its log says why; restart it")];
        }
        (Err(ClientError::Unreachable { .. }), Ok(false)) => {
            return vec![
                Finding::new(NAME, Level::Ok, "does not run").remedy("start it with `watchkeeper serve`"),
            ];
        }
        (Err(error), _) => {
            return vec![
                Finding::new(NAME, Level::Warning, Chain(&error).to_string())
                    .remedy("start it with `watchkeeper serve`, or name another with --server"),
            ];
        }
    };
    let mut all = vec![match version == env!("CARGO_PKG_VERSION") {
        true => Finding::new(NAME, Level::Ok, format!("version {version} answers at {base}")),
        false => {
            let detail =
                format!("version {version} answers at {base}, and this is {}", env!("CARGO_PKG_VERSION"));
            Finding::new(NAME, Level::Warning, detail).remedy("restart the service after an update")
        }
    }];
    for check in ready.get("checks").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| check.get(key).and_then(Value::as_str).unwrap_or("?");
        let detail = format!("{}: {}", text("name"), text("detail"));
        all.push(if check.get("ok").and_then(Value::as_bool) == Some(true) {
            Finding::new("ready", Level::Ok, detail)
        } else {
            let remedy = match text("name") {
                "cameras" => "`watchkeeper camera list` says which are away, and why",
                "volume" => "check the disk: is it mounted, full, read-only?",
                _ => "the service's log says more",
            };
            Finding::new("ready", Level::Problem, detail).remedy(remedy)
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::tests::canned;

    #[test]
    fn a_port_is_free_ours_or_somebody_elses() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        assert_eq!(judged_port(listen, port(listen), true).level, Level::Ok);
        assert_eq!(judged_port(listen, port(listen), false).level, Level::Problem);
        drop(taken);
        assert_eq!(judged_port(listen, port(listen), false).level, Level::Ok);
    }

    #[test]
    fn what_is_not_known_of_the_clock_is_not_claimed() {
        assert_eq!(judged_clock(Some("yes")).level, Level::Ok);
        assert_eq!(judged_clock(Some("no")).level, Level::Warning);
        assert_eq!(judged_clock(Some("")).level, Level::Skipped);
        assert_eq!(judged_clock(None).level, Level::Skipped);
    }

    #[test]
    fn each_check_of_readiness_is_a_finding() {
        let (client, _served) = canned("200 OK", "{}");
        let ready = json!({"ready": false, "checks": [
            {"name": "database", "ok": true, "detail": "0 rows waiting"},
            {"name": "cameras", "ok": false, "detail": "0 of 2 cameras recording"}]});
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let levels: Vec<Level> =
            judged_service(&client, Ok((version, ready)), Ok(true)).iter().map(|found| found.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Ok, Level::Problem]);
        let gone = || ClientError::Stranger { base: "http://h".to_owned() };
        assert_eq!(judged_service(&client, Err(gone()), Ok(true))[0].level, Level::Problem);
        assert_eq!(judged_service(&client, Err(gone()), Ok(false))[0].level, Level::Warning);
    }

    #[test]
    fn every_finding_that_is_not_well_has_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: dir.path().join("data"),
            mirror_dir: Some(dir.path().join("mirror")),
            listen: "127.0.0.1:1".parse().unwrap(),
            ..Config::default()
        };
        let found = configured(&config, Some("http://127.0.0.1:1")).unwrap();
        let shared = found.iter().any(|finding| finding.detail.contains("one dead disk takes both"));
        assert!(shared && found[0].detail.contains("mirror_dir="), "{found:?}");
        for finding in found {
            let bad = matches!(finding.level, Level::Warning | Level::Problem);
            assert!(!bad || finding.remedy.is_some(), "{finding:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a check makes nothing");
    }
}
