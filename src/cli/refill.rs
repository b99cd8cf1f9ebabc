//! `watchkeeper refill` and `watchkeeper gaps --watch`: has what is missing fetched from the cameras' own storage, and shows how
//! far that is.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread::park_timeout,
    time::Duration,
};

use clap::{Args, value_parser};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use serde_json::{Value, json};

use super::{
    Env, Output, camera,
    client::{WITHIN, with_query},
    fail::{Failure, Verdict},
    term, view,
    when::{self, When},
};
use crate::base::{CameraId, WallUs};

/// Between looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Refill {
    /// The camera
    camera: CameraId,
    /// Fetch what is missing after this, whatever was tried before: 2026-11-20T10:00:00Z, today, -2h
    #[arg(
        long,
        value_name = "T",
        allow_hyphen_values = true,
        required_unless_present = "gap",
        conflicts_with = "gap"
    )]
    from: Option<When>,
    /// Fetch what is missing before this
    #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true, conflicts_with = "gap")]
    to: When,
    /// Fetch this gap; `gaps --json` tells ids
    #[arg(long, value_name = "ID", value_parser = value_parser!(i64).range(0..))]
    gap: Option<i64>,
    /// Do not fetch the gap any more, unless somebody asks for it again
    #[arg(long, requires = "gap")]
    give_up: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn refill(env: &mut Env, wanted: &Refill) -> anyhow::Result<Verdict> {
    let Refill { camera: id, from, to, gap, give_up, output } = wanted;
    let client = env.client()?;
    let path = camera::path(id);
    if let Some(gap) = gap {
        let what = if *give_up { "give_up" } else { "retry" };
        let answer = client.post(&format!("{path}/gaps/{gap}/{what}"), &json!({}), WITHIN)?;
        let said = if *give_up { "is not fetched any more" } else { "is fetched next" };
        return env.show(*output, &answer, |_| Ok(format!("gap {gap} of `{id}` {said}")));
    }
    let from = from.ok_or_else(|| Failure::usage("neither --from nor --gap".to_owned()))?;
    let (from, to) = when::range(from, *to, &when::now())?;
    let body = json!({ "from": from.rfc3339(), "to": to.rfc3339() });
    let answer = client.post(&format!("{path}/refill"), &body, WITHIN)?;
    env.show(*output, &answer, |answer| {
        let gaps = answer["gaps"].as_array().map_or(0, Vec::len);
        let them = if gaps == 1 { "gap is" } else { "gaps are" };
        Ok(format!("{gaps} {them} fetched next; `watchkeeper gaps {id} --watch` shows how far it is"))
    })
}

/// Shows what is fetched until nothing is to be fetched any more: a bar for each gap that is being fetched, and a line for each
/// that ends.
pub(super) fn watch(env: &mut Env, path: &str, from: WallUs, json: bool) -> anyhow::Result<Verdict> {
    let client = env.client()?;
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    // One of each camera at most. While a gap is filled, what is left of it keeps its end.
    let mut shown: BTreeMap<String, (view::Gap, ProgressBar)> = BTreeMap::new();
    let (mut told, mut failed): (BTreeSet<i64>, bool) = (BTreeSet::new(), false);
    loop {
        let query = [("from", Some(from.rfc3339())), ("limit", Some("1000".to_owned()))];
        let mut answer = client.get(&with_query(path, &query))?;
        let Some(Value::Array(found)) = answer.get_mut("gaps").map(Value::take) else {
            return Ok(Verdict::Fine);
        };
        let gaps = found.iter().map(view::read).collect::<Result<Vec<view::Gap>, _>>()?;
        let waiting = gaps.iter().filter(|gap| gap.is_waiting()).count();
        let is_on = |of: &view::Gap| gaps.iter().any(|gap| gap.is_fetched() && gap.is_rest_of(of));
        let over: Vec<String> =
            shown.iter().filter(|(_, (gap, _))| !is_on(gap)).map(|(camera, _)| camera.clone()).collect();
        for camera in over {
            let Some((gap, bar)) = shown.remove(&camera) else { continue };
            bar.finish_and_clear();
            let left = gaps.iter().find(|now| now.is_rest_of(&gap) && now.refill_word().is_some());
            let state = left.and_then(view::Gap::refill_word).unwrap_or("filled");
            if state == "failed" {
                failed = true;
                told.extend(left.map(|left| left.id));
            }
            bars.suspend(|| say(env, &gap, left, state, json))?;
        }
        for gap in gaps {
            if gap.is_fetched() {
                let (begun, bar) = shown.remove(&gap.camera_id).unwrap_or_else(|| {
                    let bar = bars.add(term::progress(gap.seconds(), ""));
                    bar.set_message(term::clean(&gap.title()));
                    (gap.clone(), bar)
                });
                bar.set_position(gap.fetched_seconds_of(&begun));
                shown.insert(gap.camera_id.clone(), (begun, bar));
            } else if gap.refill_word() == Some("failed") && told.insert(gap.id) {
                failed = true;
                bars.suspend(|| say(env, &gap, Some(&gap), "failed", json))?;
            }
        }
        if waiting == 0 || env.out.closed() {
            return Ok(if failed { Verdict::Problems } else { Verdict::Fine });
        }
        park_timeout(LOOK_EVERY);
    }
}

fn say(
    env: &mut Env,
    gap: &view::Gap,
    left: Option<&view::Gap>,
    state: &str,
    json: bool,
) -> anyhow::Result<()> {
    let reason = left.and_then(view::Gap::reason);
    if json {
        return env.out.json_line(
            &json!({ "gap": gap.id, "camera_id": gap.camera_id, "state": state, "reason": reason }),
        );
    }
    let why = reason.map_or(String::new(), |reason| format!(": {reason}"));
    Ok(env.out.line(&format!("{} {state}{why}", gap.title()))?)
}
