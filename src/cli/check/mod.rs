//! `watchkeeper check`: do the files and the index agree, and is every file whole?
//!
//! It opens the database and the recordings itself, whether the service runs or not. While it runs, what it records is
//! its own and grows; only what is older or closed is looked at, and nothing is changed: the service repairs when it
//! starts. With a mirror, either volume is healed from the other.

mod compare;
mod finding;
mod heal;
mod mirror;

#[cfg(test)]
mod tests;

use std::{fs::File, path::Path, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::{
    Env, Output,
    fail::{Failure, Verdict},
    places,
    table::{self, Cell, Table},
    term,
};
use crate::{
    base::{WallUs, error::Chain},
    disk::{self, Installation, Volume},
    model::event::{Kind as EventKind, NewEvent, Severity},
    run::{
        Settings,
        recovery::{Named, Repaired},
    },
    store::{self, Store},
};
use compare::{Compared, Scope, compare, last_start};
use finding::{Finding, Kind};
use heal::Both;
use mirror::compare_mirror;

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Check {
    /// Read every file, and compare it with the hash that was computed while it was recorded
    #[arg(long)]
    deep: bool,
    /// Make whole on one volume what the other has whole, and the index say what is on disk; deletes nothing. The service must be stopped, and does much of it when it
    /// starts. Files that get into the index are read for their hash; with --deep, so are those that have none there
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    output: Output,
}

/// Whether a service has the data directory. The lock's file is never made here: made by another user, it would keep
/// the service out.
pub(super) fn is_running(settings: &Settings) -> anyhow::Result<bool> {
    if !settings.data_dir.join("lock").exists() {
        return Ok(false);
    }
    Ok(settings.lock().context(RIGHTS)?.is_none())
}

const RIGHTS: &str = "cannot tell whether the service runs; run this as the user of the service";

pub(super) fn run(env: &mut Env, wanted: Check) -> anyhow::Result<Verdict> {
    let settings = env.config.settings();
    let directory = |path: &std::path::Path, what: &str| match path.is_dir() {
        true => Ok(()),
        false => Err(Failure::new(format!("there is no directory `{}` for {what}", path.display()))
            .hint("is the disk mounted, and is it the right configuration? `watchkeeper doctor` shows it")),
    };
    directory(&settings.data_dir, "the data")?;
    directory(&settings.recordings_dir, "the recordings")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Held until the end.
    let lock = if wanted.repair { Some(lock_for_repair(&settings)?) } else { None };
    let running = lock.is_none() && is_running(&settings)?;
    let how = How { running, deep: wanted.deep, repair: wanted.repair };
    let checked = runtime.block_on(checked(&settings, how))?;
    print(env, &settings, &checked, wanted)?;
    Ok(if checked.is_well() { Verdict::Fine } else { Verdict::Problems })
}

/// The data directory, for as long as the repair takes.
fn lock_for_repair(settings: &Settings) -> anyhow::Result<File> {
    if let Some(owner) = places::other_owner(&settings.data_dir) {
        let why = format!("`{}` belongs to the user {owner}", settings.data_dir.display());
        let hint = format!("run it as that user: sudo -u '#{owner}' watchkeeper check --repair");
        return Err(Failure::new(why).hint(hint).into());
    }
    settings.lock()?.ok_or_else(|| {
        Failure::new("the service is running, and only it may write its index")
            .hint("it repairs by itself when it starts: restart it, or stop it and run this again")
            .into()
    })
}

/// Everything that is printed.
#[derive(Debug)]
struct Checked {
    compared: Compared,
    running: bool,
    before: WallUs,
    /// There is an index.
    indexed: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct How {
    /// A service has the data directory.
    running: bool,
    deep: bool,
    repair: bool,
}

impl Checked {
    fn is_mended(&self, finding: &Finding) -> bool {
        self.compared.repaired.is_some() && finding.is_mended()
    }

    fn is_well(&self) -> bool {
        let bad = |finding: &Finding| finding.kind.is_problem() && !self.is_mended(finding);
        self.indexed && !self.compared.findings.iter().any(bad)
    }
}

async fn checked(settings: &Settings, how: How) -> anyhow::Result<Checked> {
    let How { running, deep, repair } = how;
    let (recordings, mirror) =
        (&settings.recordings_dir, settings.mirror.as_ref().map(|mirror| &*mirror.dir));
    let known = Installation::known(&settings.data_dir)?.map(Arc::new);
    let volume = there(recordings, mirror, known.as_ref());
    let mirror = mirror.map(|dir| (dir, there(dir, Some(recordings), known.as_ref())));
    if let (true, Err(why)) = (repair, &volume) {
        let why = format!("`{}` is not the volume of the recordings: {}", recordings.display(), said(why));
        return Err(Failure::new(why).hint("is the right disk mounted? Nothing was changed").into());
    }
    let store = if repair {
        Some(Store::open(&settings.database()).await?)
    } else {
        match Store::open_read_only(&settings.database()).await {
            Err(store::Error::Missing { .. }) => None,
            opened => Some(opened?),
        }
    };
    let before = match &store {
        Some(store) if running => last_start(store)
            .await?
            .ok_or_else(|| Failure::new("the service is just starting").hint("try again in a few seconds"))?,
        _ => WallUs::now(),
    };
    let scope = Scope { before, running, deep, repair, known: known.is_some() };
    let aways = [Some((&**recordings, &volume)), mirror.as_ref().map(|(dir, volume)| (*dir, volume))];
    let aways: Vec<Finding> = aways
        .into_iter()
        .flatten()
        .filter_map(|(dir, volume)| {
            let why = said(volume.as_ref().err()?);
            Some(Finding::new(Kind::Away, dir.display().to_string(), why))
        })
        .collect();
    let mirror = mirror.and_then(|(_, volume)| volume.ok());
    let mut compared = Compared::default();
    if let Ok(volume) = &volume {
        let bar = term::progress(0, if deep { "reading" } else { "measuring" });
        let tick = |done: u64, all: u64| {
            bar.set_length(all);
            bar.set_position(done);
        };
        compared = compare(store.as_ref(), volume, mirror.as_ref(), scope, tick).await?;
        if let (Some(store), Some(mirror)) = (&store, &mirror) {
            let both = Both { primary: volume, mirror };
            compare_mirror(store, both, scope, &mut compared, tick).await?;
            if repair {
                both.copy_due(store, settings, &mut compared).await?;
            }
            both.say_due(store, &mut compared).await?;
        }
        bar.finish_and_clear();
    }
    compared.findings.splice(0..0, aways);
    if let Some(store) = &store {
        if let Some(done) = &compared.repaired {
            store.append_events(&events(done, &compared.healed)).await?;
        }
        store.close().await;
    }
    Ok(Checked { compared, running, before, indexed: store.is_some() })
}

/// The volume at `dir`, if it is there and is the one that `known` remembers. Neither marked nor made.
fn there(dir: &Path, other: Option<&Path>, known: Option<&Arc<Installation>>) -> Result<Volume, disk::Error> {
    if let Some(known) = known {
        Volume::guarded(dir, other, known.clone()).examine()?;
    }
    Volume::open_existing(dir)
}

/// The path stands beside it.
fn said(error: &disk::Error) -> String {
    match error {
        disk::Error::Away { why, .. } => why.clone(),
        other => Chain(other).to_string(),
    }
}

/// What the log says of a repair.
fn events(done: &Repaired, healed: &Named) -> Vec<NewEvent> {
    let Repaired { finished, adopted, lost, .. } = done;
    [
        (finished, EventKind::SegmentAdopted, Severity::Info, "taken from their files"),
        (adopted, EventKind::SegmentAdopted, Severity::Info, "files that the index did not know"),
        (lost, EventKind::SegmentLost, Severity::Warning, "in the index, but not on disk"),
        (healed, EventKind::SegmentHealed, Severity::Info, "made what the other volume has"),
    ]
    .into_iter()
    .filter_map(|(paths, kind, severity, what)| {
        let detail = format!("check --repair: {what}: {}", paths.text()?);
        Some(NewEvent::new(WallUs::now(), None, kind, severity, detail))
    })
    .collect()
}

fn print(env: &mut Env, settings: &Settings, checked: &Checked, wanted: Check) -> anyhow::Result<()> {
    let Checked { compared, running, before, indexed } = checked;
    let repaired = &compared.repaired;
    if wanted.output.json {
        let findings: Vec<Value> = compared
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "kind": finding.kind, "path": finding.path, "detail": finding.detail,
                    "problem": finding.kind.is_problem(), "remedy": finding.remedy(),
                    "repaired": checked.is_mended(finding), "healed": finding.healed,
                })
            })
            .collect();
        return env.out.json(&json!({
            "ok": checked.is_well(),
            "running": running,
            "before": before,
            "database": indexed,
            "rows": compared.rows,
            "measured_files": compared.measured,
            "sound_bytes": compared.bytes,
            "lost_before": compared.lost_before,
            "deep": wanted.deep,
            "without_hash": compared.without_hash - compared.hashed,
            "hashed": compared.hashed,
            "mirror_copies": compared.mirrored,
            "healed": compared.healed.count(),
            "repaired": repaired.is_some(),
            "findings": findings,
        }));
    }
    let mut table = Table::pairs();
    if !indexed {
        let detail = format!(
            "there is no database at `{}`; restore it from a backup, or `watchkeeper check --repair` makes the index \
             from the files, and the cameras must be added again",
            settings.database().display()
        );
        table.row([Cell::word("problem"), detail.into()]);
    }
    for finding in &compared.findings {
        let (word, remedy) = match finding.kind {
            _ if finding.healed => ("repaired", "; made what the other volume has".to_owned()),
            _ if checked.is_mended(finding) => ("repaired", String::new()),
            kind if kind.is_problem() => ("problem", format!("; {}", finding.remedy())),
            _ => ("note", format!("; {}", finding.remedy())),
        };
        table.row([Cell::word(word), format!("{}: {}{remedy}", finding.path, finding.detail).into()]);
    }
    env.out.table(&table)?;
    let problems = compared.findings.iter().filter(|finding| finding.kind.is_problem()).count();
    let mended = compared.findings.iter().filter(|finding| checked.is_mended(finding)).count();
    let rows = compared.rows + repaired.as_ref().map_or(0, |done| done.adopted.count());
    let lost = match compared.lost_before {
        0 => String::new(),
        lost => format!(", {lost} lost before"),
    };
    let sound = table::bytes(compared.bytes);
    let read = if wanted.deep { "read" } else { "measured" };
    let hashes = match (compared.hashed, compared.without_hash - compared.hashed) {
        (0, 0) => String::new(),
        (0, without) => format!("{without} without a hash; "),
        (hashed, 0) => format!("{hashed} hashes added; "),
        (hashed, without) => format!("{hashed} hashes added, {without} still without; "),
    };
    let mirrored = match (settings.mirror.is_some(), compared.healed.count()) {
        (false, _) => String::new(),
        (true, 0) => format!("{} copies on the mirror; ", compared.mirrored),
        (true, healed) => format!("{} copies on the mirror, {healed} made whole; ", compared.mirrored),
    };
    env.out.line(&format!(
        "{rows} segments in the index{lost}; {} files {read}, {sound} sound; {mirrored}{hashes}{}",
        compared.measured,
        match (problems, repaired) {
            (0, _) => "all is well".to_owned(),
            (n, Some(_)) => format!("{mended} of {n} problems repaired"),
            (1, None) => "1 problem".to_owned(),
            (n, None) => format!("{n} problems"),
        }
    ))?;
    if *running {
        term::note("the service is running: what it is recording now was left out");
        if problems > 0 {
            term::note("hint: it repairs by itself when it starts: restart it");
        }
    } else if problems > 0 && repaired.is_none() {
        term::note(
            "hint: `watchkeeper check --repair`, or a start of the service, does it; nothing is deleted",
        );
    }
    Ok(())
}
