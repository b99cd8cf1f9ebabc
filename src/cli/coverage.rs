//! `watchkeeper gaps` and `watchkeeper coverage`: what is missing, and why.

use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::{
    Env, Output, camera,
    client::with_query,
    fail::{Failure, Verdict},
    refill, term, view,
    when::{self, When},
};
use crate::base::{CameraId, WallUs};

/// The API gives no more at once.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
pub(super) struct Gaps {
    /// Only of this camera; also one that was removed. Without it: of all that are there
    camera: Option<CameraId>,
    /// Only gaps that end after this: 2026-11-20T10:00:00Z, 2026-11-20, today, yesterday, -2h, -30m
    #[arg(long, value_name = "T", default_value = "-1d", allow_hyphen_values = true)]
    from: When,
    /// Only gaps that begin before this
    #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true)]
    to: When,
    /// Only gaps of so many seconds or more; 0 lists those of a few frames, too
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = value_parser!(u32).range(0..=86_400))]
    min: u32,
    /// No more than so many, the newest
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u32).range(1..))]
    limit: u32,
    /// Show what is fetched from cameras' own storage, until nothing is to be fetched any more; with --json one object on each
    /// line for each gap that ends. Exits with 1 if something stays missing
    #[arg(long, conflicts_with_all = ["to", "min", "limit"])]
    watch: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn gaps(env: &mut Env, wanted: &Gaps) -> anyhow::Result<Verdict> {
    let Gaps { camera: id, from, to, min, limit, watch, output } = wanted;
    let (client, now, limit) = (env.client()?, when::now(), *limit as usize);
    let (from, to) = when::range(*from, *to, &now)?;
    let path = id.as_ref().map_or("/api/v1/gaps".to_owned(), |id| format!("{}/gaps", camera::path(id)));
    if *watch {
        return refill::watch(env, &path, from, output.json);
    }
    let (mut found, mut after): (Vec<Value>, Option<i64>) = (Vec::new(), None);
    let more = loop {
        let query = [
            ("from", Some(from.rfc3339())),
            ("to", Some(to.rfc3339())),
            ("min_seconds", Some(min.to_string())),
            ("after", after.map(|id| id.to_string())),
            ("limit", Some((limit - found.len()).min(PAGE).to_string())),
        ];
        let mut page = client.get(&with_query(&path, &query))?;
        if let Some(Value::Array(gaps)) = page.get_mut("gaps").map(Value::take) {
            found.extend(gaps);
        }
        let next = page.get("next").and_then(Value::as_i64);
        if next.is_none() || next == after || found.len() >= limit {
            break next.is_some();
        }
        after = next;
    };
    // For people and for pipes alike: what comes last on the screen is what happened last.
    found.reverse();
    if output.json {
        env.out.json(&json!({ "gaps": found, "more": more }))?;
        return Ok(Verdict::Fine);
    }
    let gaps = found.iter().map(view::read).collect::<Result<Vec<view::Gap>, _>>()?;
    if gaps.is_empty() {
        term::note(&format!("no gap from {} to {}", when::shown(from), when::shown(to)));
    } else {
        env.out.table(&view::gap_table(&gaps))?;
    }
    if more {
        term::note(&format!("there are older ones; a greater --limit than {limit} shows them"));
    }
    Ok(Verdict::Fine)
}

#[derive(Debug, Args)]
pub(super) struct Coverage {
    /// The camera; also one that was removed
    camera: CameraId,
    /// The day: today, yesterday or 2026-11-20. Days begin where you are
    #[arg(long, value_name = "D", default_value = "today", value_parser = when::day)]
    day: When,
    #[command(flatten)]
    output: Output,
}

pub(super) fn coverage(env: &mut Env, wanted: &Coverage) -> anyhow::Result<Verdict> {
    let Coverage { camera: id, day, output } = wanted;
    let (client, now) = (env.client()?, when::now());
    let (from, to) = day.whole_day(&now);
    if from >= WallUs::now() {
        return Err(Failure::usage(format!("the day has not begun: {}", when::shown(from))).into());
    }
    let query = [("from", Some(from.rfc3339())), ("to", Some(to.rfc3339()))];
    let answer = client.get(&with_query(&format!("{}/coverage", camera::path(id)), &query))?;
    if output.json {
        env.out.json(&answer)?;
        return Ok(Verdict::Fine);
    }
    let coverage: view::Coverage = view::read(&answer)?;
    env.out.table(&view::coverage_pairs(&coverage))?;
    env.out.table(&view::range_table(&coverage.ranges))?;
    Ok(Verdict::Fine)
}
