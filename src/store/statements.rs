//! Every statement, checked on a real database: it prepares, and it never reads a growing table from end to end.

use sqlx::{AssertSqlSafe, SqlitePool};

use super::{
    PerPlace, ai, cameras, copies, detections, events, gaps, holds, refill, retention, scrub, segments,
    tests::Rig, zones,
};

const SOURCES: &[(&str, &[&str])] = &[
    (include_str!("ai.rs"), ai::STATEMENTS),
    (include_str!("cameras.rs"), cameras::STATEMENTS),
    (include_str!("copies.rs"), copies::STATEMENTS),
    (include_str!("detections.rs"), detections::STATEMENTS),
    (include_str!("segments.rs"), segments::STATEMENTS),
    (include_str!("events.rs"), events::STATEMENTS),
    (include_str!("gaps.rs"), gaps::STATEMENTS),
    (include_str!("holds.rs"), holds::STATEMENTS),
    (include_str!("refill.rs"), refill::STATEMENTS),
    (include_str!("retention.rs"), retention::STATEMENTS),
    (include_str!("scrub.rs"), scrub::STATEMENTS),
    (include_str!("zones.rs"), zones::STATEMENTS),
    (include_str!("mod.rs"), &[super::VERSION]),
];

const PER_PLACE: &[(&str, &[PerPlace])] = &[
    (include_str!("segments.rs"), segments::PER_PLACE),
    (include_str!("retention.rs"), retention::PER_PLACE),
    (include_str!("copies.rs"), copies::PER_PLACE),
];

pub(super) async fn plan(db: &SqlitePool, statement: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("explain query plan {statement}"));
    let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(db).await.unwrap();
    plan.into_iter().map(|(_, _, _, step)| step).collect()
}

#[test]
fn no_statement_is_forgotten_here() {
    for (source, statements) in SOURCES {
        let written =
            source.lines().filter(|line| line.starts_with("const ") && line.contains(": &str =")).count();
        assert_eq!(written, statements.len(), "{statements:#?}");
    }
    for (source, pairs) in PER_PLACE {
        let of = |line: &&str| line.starts_with("const ") && line.contains(": PerPlace =");
        assert_eq!(source.lines().filter(of).count(), pairs.len());
    }
}

#[tokio::test]
async fn no_statement_scans_what_grows() {
    let rig = Rig::new().await;
    let pairs = PER_PLACE.iter().flat_map(|(_, pairs)| *pairs).flat_map(|pair| [pair.primary, pair.mirror]);
    for statement in SOURCES.iter().flat_map(|(_, statements)| *statements).copied().chain(pairs) {
        let plan = plan(&rig.store.readers, statement).await;
        let grows = ["SCAN segment", "SCAN event", "SCAN gap", "SCAN detection"];
        let scans = plan.iter().any(|step| grows.iter().any(|scan| step.starts_with(scan)));
        assert!(!scans, "{statement}\n{plan:#?}");
    }
}
