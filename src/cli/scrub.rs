//! `watchkeeper scrub`: how far closed segments were read again and compared with their hashes.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{
    Env, Output,
    client::WITHIN,
    fail::Verdict,
    table::{Cell, Table, bytes},
    view, when,
};
use crate::base::WallUs;

#[derive(Debug, Args)]
pub(super) struct Scrub {
    /// Begin at once, and do not wait for the hour after the last one
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Deserialize)]
struct Answer {
    since: Option<WallUs>,
    bytes_per_second: u64,
    checked_copies: u64,
    checked_bytes: u64,
    copies: u64,
    bytes: u64,
    skipped_copies: u64,
    damaged_copies: u64,
    next_at: Option<WallUs>,
    last_ended_at: Option<WallUs>,
    last_damaged_copies: u64,
}

pub(super) fn scrub(env: &mut Env, wanted: &Scrub) -> anyhow::Result<Verdict> {
    let client = env.client()?;
    let path = "/api/v1/scrub";
    let answer = if wanted.now { client.post(path, &json!({}), WITHIN)? } else { client.get(path)? };
    if wanted.output.json {
        env.out.json(&answer)?;
    } else {
        env.out.table(&table(view::read(&answer)?))?;
    }
    Ok(Verdict::Fine)
}

fn table(answer: Answer) -> Table {
    let Answer {
        since,
        bytes_per_second,
        checked_copies,
        checked_bytes,
        copies,
        bytes: all,
        skipped_copies,
        damaged_copies,
        next_at,
        last_ended_at,
        last_damaged_copies,
    } = answer;
    let damaged = |copies: u64| match copies {
        0 => "none".into(),
        some => Cell::from(some.to_string()).toned_as("error"),
    };
    let mut table = Table::pairs();
    if let Some(since) = since {
        table.pair("running since", when::shown(since));
        let (read, all) = (bytes(checked_bytes), bytes(all));
        table.pair("read", format!("{checked_copies} of {copies} copies, {read} of {all}"));
        table.pair("damaged copies", damaged(damaged_copies));
    } else {
        table.pair("next", next_at.map_or_else(|| "never".to_owned(), when::shown));
        if let Some(ended) = last_ended_at {
            table.pair("last", when::shown(ended));
            table.pair("read", format!("{checked_copies} copies, {}", bytes(checked_bytes)));
            table.pair("damaged copies", damaged(last_damaged_copies));
        }
    }
    if skipped_copies > 0 {
        let said = format!("{skipped_copies} copies: their volume was away or failing");
        table.pair("passed over", Cell::from(said).toned_as("warning"));
    }
    let pace = match bytes_per_second {
        0 => "off; scrub_bytes_per_second turns it on".to_owned(),
        pace => format!("{} a second", bytes(pace)),
    };
    table.pair("no faster than", pace);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_under_way_and_one_that_ended_are_shown() {
        let mut answer = json!({
            "running": true, "since": "2026-11-20T10:00:00.000000Z", "bytes_per_second": 8 << 20,
            "checked_copies": 3, "checked_bytes": 3 << 20, "copies": 7, "bytes": 7 << 20, "skipped_copies": 2,
            "damaged_copies": 1, "next_at": null, "last_ended_at": null, "last_damaged_copies": 0,
        });
        let shown = table(view::read(&answer).unwrap()).render(false);
        assert!(shown.contains("3 of 7 copies, 3.0 MiB of 7.0 MiB"), "{shown}");
        assert!(shown.contains("passed over") && shown.contains("8.0 MiB a second"), "{shown}");
        answer["since"] = json!(null);
        answer["last_ended_at"] = json!("2026-11-20T10:00:00.000000Z");
        let shown = table(view::read(&answer).unwrap()).render(false);
        assert!(shown.contains("never") && shown.contains("none"), "{shown}");
    }
}
