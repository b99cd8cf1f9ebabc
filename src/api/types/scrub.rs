//! The verification of hashes in the background.

use serde::Serialize;
use utoipa::ToSchema;

use super::Time;
use crate::run::{self, ScrubPass};

/// How far closed segments were read again, and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Scrub {
    /// Whether a pass is under way.
    running: bool,
    /// Since when; null unless one is.
    #[schema(required)]
    since: Option<Time>,
    /// No faster than so; 0: never.
    bytes_per_second: u64,
    /// Copies of segments that this pass, or else the last one, has read.
    checked_copies: u64,
    /// Their bytes.
    checked_bytes: u64,
    /// Copies that there were when it began, with those that have no hash and are not read.
    copies: u64,
    /// Their bytes.
    bytes: u64,
    /// Copies that were passed over, because their volume was away or failing.
    skipped_copies: u64,
    /// Copies that are not what was recorded.
    damaged_copies: u64,
    /// When a pass begins by itself; null while one is under way, and if there never is one.
    #[schema(required)]
    next_at: Option<Time>,
    /// When the last pass ended.
    #[schema(required)]
    last_ended_at: Option<Time>,
    /// How many damaged copies that one found.
    last_damaged_copies: u64,
}

impl From<&run::ScrubNow> for Scrub {
    fn from(now: &run::ScrubNow) -> Self {
        let run::ScrubNow { bytes_per_second, pass } = *now;
        // How far it is in rows is nobody's business.
        let ScrubPass {
            began,
            after: _,
            upto: _,
            checked,
            checked_bytes,
            skipped,
            damaged,
            copies,
            bytes,
            next,
            ended,
            ended_damaged,
        } = pass;
        // What was begun before it was turned off stands still.
        let began = began.filter(|_| bytes_per_second > 0);
        let waits = began.is_none() && bytes_per_second > 0;
        Self {
            running: began.is_some(),
            since: began.map(Time),
            bytes_per_second,
            checked_copies: checked,
            checked_bytes,
            copies,
            bytes,
            skipped_copies: skipped,
            damaged_copies: damaged,
            next_at: waits.then_some(Time(next)),
            last_ended_at: ended.map(Time),
            last_damaged_copies: ended_damaged,
        }
    }
}
