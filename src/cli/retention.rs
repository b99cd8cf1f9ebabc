//! `watchkeeper retention` and `watchkeeper hold`: what is kept, how long, and what is protected.

use clap::{Args, Subcommand, value_parser};
use serde::Deserialize;
use serde_json::json;

use super::{
    Env, Output, camera,
    client::{WITHIN, with_query},
    fail::Verdict,
    table::{Cell, Table, bytes},
    term, view,
    volume::Place,
    when::{self, When},
};
use crate::base::{CameraId, WallUs};

#[derive(Debug, Args)]
pub(super) struct Retention {
    /// Show which segments are deleted next, too; nothing is deleted
    #[arg(long)]
    dry_run: bool,
    /// So many of them
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Of this volume: each has limits of its own, and deletes by itself
    #[arg(long, value_enum, default_value_t = Place::Primary)]
    volume: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
pub(super) enum Hold {
    /// Protect the footage of a time range from every deletion, also what is still to come of it
    Add {
        /// The camera; also one that was removed
        camera: CameraId,
        /// Where the range begins: 2026-11-20T10:00:00Z, 2026-11-20, today, yesterday, -2h, -30m
        #[arg(long, value_name = "T", allow_hyphen_values = true)]
        from: When,
        /// Where it ends; may lie in the future
        #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true)]
        to: When,
        /// What for
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        output: Output,
    },
    /// List the holds, with what each keeps
    List {
        /// Only of this camera
        camera: Option<CameraId>,
        #[command(flatten)]
        output: Output,
    },
    /// End a hold: what it alone protected may be deleted
    Remove {
        /// The camera
        camera: CameraId,
        /// The hold's number, as `hold list` shows it
        hold: u32,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Deserialize)]
struct Answer {
    max_bytes: Option<u64>,
    min_free_bytes: u64,
    free_bytes: u64,
    stored_bytes: u64,
    stopped: Option<String>,
    shortages: Vec<Shortage>,
    cameras: Vec<Stored>,
    next: Vec<Next>,
}

#[derive(Debug, Deserialize)]
struct Shortage {
    camera_id: Option<String>,
    limit: String,
    bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Stored {
    camera_id: String,
    retention_hours: Option<u32>,
    quota_bytes: Option<u64>,
    segments: u64,
    bytes: u64,
    held_bytes: u64,
    oldest: Option<WallUs>,
    bytes_per_day: u64,
    forecast_days: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Next {
    camera_id: String,
    start: WallUs,
    end: WallUs,
    bytes: u64,
    limit: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Holds {
    holds: Vec<Held>,
}

#[derive(Debug, Deserialize)]
struct Held {
    id: i64,
    camera_id: String,
    from: WallUs,
    to: WallUs,
    reason: String,
    segments: u64,
    bytes: u64,
}

pub(super) fn retention(env: &mut Env, wanted: &Retention) -> anyhow::Result<Verdict> {
    let Retention { dry_run, limit, volume, output } = wanted;
    let query = [("limit", Some(limit.to_string())), ("volume", Some(volume.word().to_owned()))];
    let answer = env.client()?.get(&with_query("/api/v1/retention", &query))?;
    if output.json {
        env.out.json(&answer)?;
        return Ok(Verdict::Fine);
    }
    let Answer { max_bytes, min_free_bytes, free_bytes, stored_bytes, stopped, shortages, cameras, next } =
        view::read(&answer)?;
    let mut all = Table::pairs();
    all.pair("stored", bytes(stored_bytes));
    all.pair("at most", max_bytes.map_or_else(|| "no limit".to_owned(), bytes));
    all.pair("free", format!("{}, of which {} stay free", bytes(free_bytes), bytes(min_free_bytes)));
    if let Some(why) = stopped {
        let stands = match volume {
            Place::Primary => "recording stands still",
            Place::Mirror => "the mirror stands still",
        };
        all.pair(stands, Cell::from(why).toned_as("error"));
    }
    for Shortage { camera_id, limit, bytes: over } in shortages {
        let whose = camera_id.map(|camera| format!(" of {camera}")).unwrap_or_default();
        let said = format!("{limit}{whose}: {} over, and nothing may be deleted", bytes(over));
        all.pair("cannot be met", Cell::from(said).toned_as("warning"));
    }
    env.out.table(&all)?;
    env.out.table(&stored_table(&cameras))?;
    if *dry_run {
        env.out.table(&next_table(&next))?;
    }
    Ok(Verdict::Fine)
}

fn stored_table(cameras: &[Stored]) -> Table {
    let mut table =
        Table::new(&["CAMERA", ">SEGMENTS", ">STORED", ">HELD", "OLDEST", ">A DAY", ">WILL REACH", "LIMITS"]);
    for stored in cameras {
        table.row([
            (&stored.camera_id).into(),
            stored.segments.to_string().into(),
            bytes(stored.bytes).into(),
            bytes(stored.held_bytes).into(),
            stored.oldest.map_or_else(|| "-".to_owned(), when::shown).into(),
            bytes(stored.bytes_per_day).into(),
            stored.forecast_days.map_or_else(|| "-".to_owned(), |days| format!("{days:.1} days")).into(),
            view::kept(stored.retention_hours, stored.quota_bytes).into(),
        ]);
    }
    table
}

fn next_table(next: &[Next]) -> Table {
    let mut table = Table::new(&["GOES NEXT", "FROM", "TO", ">SIZE", "BECAUSE OF"]);
    for Next { camera_id, start, end, bytes: size, limit } in next {
        table.row([
            camera_id.into(),
            when::shown(*start).into(),
            when::shown(*end).into(),
            bytes(*size).into(),
            limit.as_deref().unwrap_or("nothing yet").into(),
        ]);
    }
    table
}

pub(super) fn hold(env: &mut Env, command: Hold) -> anyhow::Result<Verdict> {
    let path = |camera: &CameraId| format!("{}/holds", camera::path(camera));
    match command {
        Hold::Add { camera, from, to, reason, output } => {
            let (from, to) = when::range(from, to, &when::now())?;
            let body = json!({ "from": from, "to": to, "reason": reason });
            let name = |field: &str| Some(format!("--{field}"));
            let added = env.client()?.post(&path(&camera), &body, WITHIN);
            let added = added.map_err(|error| error.with_names(name))?;
            env.show(output, &added, |added| {
                let held: Held = view::read(added)?;
                let (id, keeps) = (held.id, bytes(held.bytes));
                Ok(format!("hold {id} of `{camera}` keeps {} segments with {keeps}", held.segments))
            })
        }
        Hold::List { camera, output } => {
            let path = camera.as_ref().map_or("/api/v1/holds".to_owned(), path);
            let answer = env.client()?.get(&path)?;
            if output.json {
                env.out.json(&answer)?;
                return Ok(Verdict::Fine);
            }
            let Holds { holds } = view::read(&answer)?;
            if holds.is_empty() {
                term::note("no holds");
            } else {
                env.out.table(&hold_table(&holds))?;
            }
            Ok(Verdict::Fine)
        }
        Hold::Remove { camera, hold, output } => {
            env.client()?.delete(&format!("{}/{hold}", path(&camera)))?;
            env.show(output, &json!({ "removed": hold }), |_| {
                Ok(format!("removed hold {hold} of `{camera}`; what it alone protected may be deleted"))
            })
        }
    }
}

fn hold_table(holds: &[Held]) -> Table {
    let mut table = Table::new(&[">HOLD", "CAMERA", "FROM", "TO", ">SEGMENTS", ">KEEPS", "REASON"]);
    for Held { id, camera_id, from, to, reason, segments, bytes: keeps } in holds {
        table.row([
            id.to_string().into(),
            camera_id.into(),
            when::shown(*from).into(),
            when::shown(*to).into(),
            segments.to_string().into(),
            bytes(*keeps).into(),
            reason.into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_what_stays_is_shown() {
        let answer = json!({
            "max_bytes": null, "min_free_bytes": 1 << 30, "free_bytes": 2_u64 << 30, "stored_bytes": 3 << 20,
            "deleted_segments": 0, "deleted_bytes": 0, "stopped": null,
            "shortages": [{"camera_id": "front", "limit": "quota_bytes", "bytes": 5, "by_holds": true}],
            "cameras": [{"camera_id": "front", "retention_hours": 72, "quota_bytes": null, "segments": 7,
                "bytes": 3 << 20, "held_bytes": 0, "oldest": "2026-11-20T10:00:00.000000Z", "bytes_per_day": 1 << 20,
                "forecast_days": 12.34}],
            "next": [{"segment_id": 1, "camera_id": "front", "start": "2026-11-20T10:00:00.000000Z",
                "end": "2026-11-20T10:01:00.000000Z", "bytes": 1 << 20, "limit": null}],
        });
        let answer: Answer = view::read(&answer).unwrap();
        let stored = stored_table(&answer.cameras).render(false);
        assert!(stored.contains("12.3 days") && stored.contains("72 h"), "{stored}");
        let next = next_table(&answer.next).render(false);
        assert!(next.contains("nothing yet") && next.contains("1.0 MiB"), "{next}");
    }
}
