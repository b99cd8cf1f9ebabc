//! `watchkeeper segments` and `watchkeeper events`: what was recorded, and what happened.

use std::{sync::mpsc, time::Duration};

use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::{
    Env, Output, camera,
    client::{Client, ClientError, with_query},
    fail::Verdict,
    term, view,
    when::{self, When},
};
use crate::base::CameraId;

/// The API gives no more at once.
const PAGE: usize = 1000;
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Segments {
    /// The camera; also one that was removed
    camera: CameraId,
    /// Only what was recorded after this: 2026-11-20T10:00:00Z, 2026-11-20, today, yesterday, -2h, -30m
    #[arg(long, value_name = "T", default_value = "-1h", allow_hyphen_values = true)]
    from: When,
    /// Only what was recorded before this
    #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true)]
    to: When,
    /// No more than so many, the oldest
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    output: Output,
}

pub(super) fn segments(env: &mut Env, wanted: &Segments) -> anyhow::Result<Verdict> {
    let Segments { camera: id, from, to, limit, output } = wanted;
    let (client, now, limit) = (env.client()?, when::now(), *limit as usize);
    let (from, to) = when::range(*from, *to, &now)?;
    let (mut found, mut after): (Vec<Value>, Option<i64>) = (Vec::new(), None);
    let more = loop {
        let query = [
            ("from", Some(from.rfc3339())),
            ("to", Some(to.rfc3339())),
            ("after", after.map(|id| id.to_string())),
            ("limit", Some((limit - found.len()).min(PAGE).to_string())),
        ];
        let mut page = client.get(&with_query(&format!("{}/segments", camera::path(id)), &query))?;
        if let Some(Value::Array(segments)) = page.get_mut("segments").map(Value::take) {
            found.extend(segments);
        }
        let next = page.get("next").and_then(Value::as_i64);
        // A page that does not lead on would be asked for again and again.
        if next.is_none() || next == after || found.len() >= limit {
            break next.is_some();
        }
        after = next;
    };
    if output.json {
        env.out.json(&json!({ "segments": found, "more": more }))?;
        return Ok(Verdict::Fine);
    }
    let segments = found.iter().map(view::read).collect::<Result<Vec<view::Segment>, _>>()?;
    if segments.is_empty() {
        term::note(&format!(
            "nothing of `{id}` from {} to {}; --from -7d looks further back",
            when::shown(from),
            when::shown(to)
        ));
    } else {
        // A service of an older version has no mirror.
        let mirrored = !client.get("/api/v1/system")?["mirror"].is_null();
        env.out.table(&view::segment_table(&segments, mirrored))?;
    }
    if more {
        term::note(&format!("there are more; a greater --limit than {limit}, or a later --from, shows them"));
    }
    Ok(Verdict::Fine)
}

#[derive(Debug, Args)]
pub(super) struct Events {
    /// Only this camera's
    #[arg(long, value_name = "ID")]
    camera: Option<CameraId>,
    /// No more than so many, the newest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on and show events as they come, until Ctrl-C; with --json one object on each line
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    output: Output,
}

/// Events as the service gives them, and their ids.
fn page(
    client: &Client,
    camera: Option<&CameraId>,
    after: Option<i64>,
    before: Option<i64>,
    limit: usize,
) -> anyhow::Result<Vec<(i64, Value)>> {
    let query = [
        ("camera", camera.map(CameraId::to_string)),
        ("after", after.map(|id| id.to_string())),
        ("before", before.map(|id| id.to_string())),
        ("limit", Some(limit.to_string())),
    ];
    let mut answer = client.get(&with_query("/api/v1/events", &query))?;
    let Some(Value::Array(events)) = answer.get_mut("events").map(Value::take) else { return Ok(Vec::new()) };
    events.into_iter().map(|event| Ok((view::read::<view::Event>(&event)?.id, event))).collect()
}

/// Every event after `after`, oldest first, however many came meanwhile.
fn news(client: &Client, camera: Option<&CameraId>, after: i64) -> anyhow::Result<Vec<(i64, Value)>> {
    let mut all = Vec::new();
    let mut before = None;
    loop {
        let some = page(client, camera, Some(after), before, PAGE)?;
        let full = some.len() == PAGE;
        before = some.iter().map(|(id, _)| *id).min().or(before);
        all.extend(some);
        if !full {
            break;
        }
    }
    all.reverse();
    Ok(all)
}

pub(super) fn events(env: &mut Env, wanted: &Events) -> anyhow::Result<Verdict> {
    let Events { camera, limit, follow, output } = wanted;
    let client = env.client()?;
    let mut events = page(&client, camera.as_ref(), None, None, *limit as usize)?;
    events.reverse();
    if !follow {
        if output.json {
            let events: Vec<Value> = events.into_iter().map(|(_, event)| event).collect();
            env.out.json(&json!({ "events": events }))?;
        } else if events.is_empty() {
            term::note("there are no events");
        } else {
            print(env, &events, true)?;
        }
        return Ok(Verdict::Fine);
    }
    let mut last = events.last().map_or(0, |(id, _)| *id);
    let mut away = false;
    tell(env, *output, &events)?;
    // Nobody sends: a pause that is no sleep.
    let (_keep, pause) = mpsc::channel::<()>();
    while !env.out.closed() {
        let _ = pause.recv_timeout(FOLLOW_EVERY);
        match news(&client, camera.as_ref(), last) {
            Ok(events) => {
                if std::mem::take(&mut away) {
                    term::note("the service is back");
                }
                last = events.last().map_or(last, |(id, _)| *id);
                tell(env, *output, &events)?;
            }
            // It may be restarting; whoever follows wants to see it come back.
            Err(error) if error.downcast_ref::<ClientError>().is_some_and(ClientError::is_unreachable) => {
                if !std::mem::replace(&mut away, true) {
                    term::note("the service does not answer; waiting for it");
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Verdict::Fine)
}

fn tell(env: &mut Env, output: Output, events: &[(i64, Value)]) -> anyhow::Result<()> {
    if output.json {
        return events.iter().try_for_each(|(_, event)| env.out.json_line(event));
    }
    print(env, events, false)
}

fn print(env: &mut Env, events: &[(i64, Value)], head: bool) -> anyhow::Result<()> {
    let events =
        events.iter().map(|(_, event)| view::read(event)).collect::<Result<Vec<view::Event>, _>>()?;
    Ok(env.out.table(&view::event_table(&events, head))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::tests::canned;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        segments: Segments,
    }

    #[test]
    fn a_time_may_begin_with_a_hyphen_and_must_make_sense() {
        let line = Line::try_parse_from(["x", "front", "--from", "-2h", "--to", "-30m"]).unwrap().segments;
        assert_eq!((line.from, line.to), (When::Ago(7200), When::Ago(1800)));
        for bad in [["front", "--from", "noon"], ["../x", "--limit", "1"], ["front", "--limit", "0"]] {
            assert!(Line::try_parse_from([&["x"], &bad[..]].concat()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn events_come_oldest_first() {
        let body = r#"{"events":[
            {"id":9,"at":"2026-11-20T10:00:01Z","camera_id":null,"kind":"k","severity":"info","detail":"b"},
            {"id":7,"at":"2026-11-20T10:00:00Z","camera_id":"front","kind":"k","severity":"info","detail":"a"}]}"#;
        let (client, served) = canned("200 OK", body);
        let news = news(&client, Some(&"front".parse().unwrap()), 3).unwrap();
        assert_eq!(news.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [7, 9]);
        let asked = served.join().unwrap();
        assert!(asked.starts_with("GET /api/v1/events?camera=front&after=3&limit=1000 "), "{asked}");
    }
}
