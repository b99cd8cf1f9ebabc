//! `watchkeeper volume`: the two volumes that hold the footage, how they are, and a new disk for one of them.

use clap::{Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Env, Output,
    client::WITHIN,
    fail::Verdict,
    table::{Cell, Table, bytes},
    term, view,
};

/// One of the volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Place {
    /// That of the recordings (`recordings_dir`)
    Primary,
    /// That of the second copy (`mirror_dir`)
    Mirror,
}

impl Place {
    /// In the API.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Mirror => "mirror",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the volumes: how they are, how much room there is, and what is still to be copied to each
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Take what lies at a volume's path for that volume: a new disk, or one of another installation
    ///
    /// Only for a volume that is left alone because of its identity. It is marked, written to from then on, and what it
    /// lacks is copied from the other one. What is on it is not deleted.
    Accept {
        /// Which
        volume: Place,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Deserialize)]
struct Volume {
    path: String,
    state: String,
    total_bytes: u64,
    free_bytes: u64,
    due_segments: u64,
    due_bytes: u64,
    detail: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    path: String,
}

pub(super) fn run(env: &mut Env, command: Command) -> anyhow::Result<Verdict> {
    match command {
        Command::List { output } => {
            let mut system = env.client()?.get("/api/v1/system")?;
            let (primary, mirror) = (system["volume"].take(), system["mirror"].take());
            if output.json {
                env.out.json(&json!({ "primary": primary, "mirror": mirror }))?;
                return Ok(Verdict::Fine);
            }
            let alone = mirror.is_null();
            env.out.table(&volume_table(&primary, &mirror)?)?;
            if alone {
                term::note("there is no mirror; `mirror_dir` in the configuration makes one");
            }
            Ok(Verdict::Fine)
        }
        Command::Accept { volume, output } => {
            let word = volume.word();
            let done = env.client()?.post(&format!("/api/v1/volumes/{word}/accept"), &Value::Null, WITHIN)?;
            env.show(output, &done, |done| {
                let Accepted { path } = view::read(done)?;
                Ok(format!(
                    "{path} is the {word} now; what it lacks is copied to it, `watchkeeper volume list` tells how far that \
                     is"
                ))
            })
        }
    }
}

fn volume_table(primary: &Value, mirror: &Value) -> anyhow::Result<Table> {
    let mut table = Table::new(&["VOLUME", "STATE", ">FREE", ">OF", "TO BE COPIED TO IT", "PATH", "DETAIL"]);
    for (name, volume) in [("primary", primary), ("mirror", mirror)] {
        if volume.is_null() {
            continue;
        }
        let volume: Volume = view::read(volume)?;
        let due = match volume.due_segments {
            0 => "-".to_owned(),
            due => format!("{due} segments, {}", bytes(volume.due_bytes)),
        };
        table.row([
            name.into(),
            Cell::word(&volume.state),
            bytes(volume.free_bytes).into(),
            bytes(volume.total_bytes).into(),
            due.into(),
            (&volume.path).into(),
            said(name, &volume).into(),
        ]);
    }
    Ok(table)
}

/// What is wrong, and what to do about it.
fn said(name: &str, volume: &Volume) -> String {
    let Volume { state, detail, path, .. } = volume;
    let detail = detail.as_deref().unwrap_or_default();
    let remedy = match &**state {
        // The words about its identity say by themselves what to do.
        "away" | "degraded" if !detail.contains("volume accept") => {
            format!(
                "look after the disk of {path}; `watchkeeper doctor` tries it, and the {name} goes on by itself"
            )
        }
        "behind" => "if it stays so, its disk is too slow for what is recorded".to_owned(),
        _ => return detail.to_owned(),
    };
    if detail.is_empty() { remedy } else { format!("{detail}; {remedy}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(state: &str, due: u64, detail: Option<&str>) -> Value {
        json!({ "path": "/srv/m", "state": state, "total_bytes": 4_u64 << 30, "free_bytes": 1_u64 << 30,
            "due_segments": due, "due_bytes": due << 20, "detail": detail, "field_of_tomorrow": 1 })
    }

    #[test]
    fn a_volume_says_how_it_is_and_what_to_do() {
        let shown = |mirror: Value| volume_table(&volume("ok", 0, None), &mirror).unwrap().render(false);
        let alone = shown(Value::Null);
        assert!(
            alone.contains("primary") && alone.contains("1.0 GiB") && !alone.contains("mirror"),
            "{alone}"
        );
        let copying = shown(volume("resyncing", 3, Some("3 segments are to be copied")));
        assert!(copying.contains("resyncing") && copying.contains("3 segments, 3.0 MiB"), "{copying}");
        let broken = shown(volume("degraded", 0, Some("input/output error")));
        assert!(broken.contains("input/output error; look after the disk of /srv/m"), "{broken}");
        let slow = shown(volume("behind", 0, Some("what is written now waited 4.0 s")));
        assert!(slow.contains("waited 4.0 s; if it stays so"), "{slow}");
        let other = shown(volume("degraded", 0, Some("not it; `watchkeeper volume accept mirror`")));
        assert!(!other.contains("look after"), "{other}");
    }
}
