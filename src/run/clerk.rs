//! The clerk writes the index and the event log: what the volume's writer reports, a few times a second, in one
//! transaction. If the database is away the clerk waits with what it has (one entry per segment) and nothing else
//! notices.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Change,
    activity::Activities,
    hub::{self, Hub},
    keeper::Keeper,
    ledger::Ledgers,
};
use crate::{
    base::{error::Chain, ticks::Ticks},
    disk::{Facts, SegmentKey},
    model::{
        copies::{Copies, Place},
        event::{Event, NewEvent},
        segment::{Segment, SegmentFacts, SegmentState, Source},
        timeline::Range,
    },
    store::Store,
};

/// After the first news, more is waited for until the next moment of this period: one commit for all cameras.
const COLLECT: Duration = Duration::from_millis(400);
/// Segments that only grew may wait a little longer: each commit is a sync of the disk.
const GROWTH_WITHIN: Duration = Duration::from_secs(1);
/// Between attempts at a database that is away.
const AGAIN: Duration = Duration::from_secs(1);
/// A growing segment is told of so often.
const GROWTH_EVERY: Duration = Duration::from_secs(5);

/// How the clerk is doing.
#[derive(Clone, Debug, Default)]
pub(super) struct Desk {
    waiting: Arc<AtomicU64>,
    error: Arc<Mutex<Option<String>>>,
}

impl Desk {
    /// Facts and events that wait for the database.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Why the database does not take them, if it does not.
    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, error: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

pub(super) struct Clerk {
    pub(super) store: Store,
    /// Of each volume.
    pub(super) facts: Vec<(Place, Facts)>,
    pub(super) events: mpsc::Receiver<NewEvent>,
    pub(super) hub: Hub,
    pub(super) ledgers: Ledgers,
    /// How much moved.
    pub(super) activities: Activities,
    /// Of each volume.
    pub(super) keepers: Vec<Keeper>,
    pub(super) desk: Desk,
}

/// A segment on a volume.
type Key = (Place, SegmentKey);

async fn any_changed(facts: &[(Place, Facts)]) {
    let changes = facts.iter().map(|(_, facts)| Box::pin(facts.changed()));
    futures_util::future::select_all(changes).await;
}

impl Clerk {
    /// Works until `stop` comes (or its sender is gone), and then once more for what is left.
    pub(super) async fn work(mut self, mut stop: oneshot::Receiver<()>) {
        // When each that is still open was last told of.
        let mut open: HashMap<Key, Instant> = HashMap::new();
        let mut facts: HashMap<Key, SegmentFacts> = HashMap::new();
        // Of segments that ended: it is not remembered for ever.
        let mut levels: HashMap<Key, Vec<u8>> = HashMap::new();
        let mut events: Vec<NewEvent> = Vec::new();
        let (mut wrote, mut ticks) = (Instant::now(), Ticks::new());
        let mut last = false;
        while !last {
            if facts.is_empty() && events.is_empty() {
                tokio::select! {
                    () = any_changed(&self.facts) => {}
                    Some(event) = self.events.recv() => events.push(event),
                    _ = &mut stop => last = true,
                }
            }
            if !last {
                let pause = if self.desk.error().is_some() { AGAIN } else { COLLECT };
                tokio::select! {
                    () = ticks.next(pause) => {}
                    _ = &mut stop => last = true,
                }
            }
            let new: Vec<_> = self.facts.iter().map(|(place, facts)| (*place, facts.take())).collect();
            // Of what one volume lost, the other may have a copy.
            let there = new.iter().flat_map(|(_, of)| of).map(|(_, facts)| facts);
            let there = there.filter(|facts| facts.state != SegmentState::Lost);
            let (mut live, refilled): (Vec<_>, Vec<_>) = there.partition(|of| of.head.source == Source::Live);
            // One volume may tell of a segment before the other tells of the end of the one before it.
            live.sort_by_key(|facts| facts.head.start);
            self.ledgers.recorded(live);
            for of in refilled {
                self.ledgers.found(&of.head.camera, Range { from: of.head.start, to: of.end() });
            }
            for (place, new) in new {
                let ended = new.iter().filter(|(_, facts)| facts.state != SegmentState::Open);
                levels.extend(
                    ended.filter_map(|(key, facts)| Some(((place, *key), self.activities.levels(facts)?))),
                );
                facts.extend(new.into_iter().map(|(key, facts)| ((place, key), facts)));
            }
            // The rest waits in its channel, which is bounded.
            while events.len() < hub::EVENTS
                && let Ok(event) = self.events.try_recv()
            {
                events.push(event);
            }
            self.desk.waiting.store((facts.len() + events.len()) as u64, Relaxed);
            let news = !events.is_empty()
                || facts.iter().any(|(key, of)| of.state != SegmentState::Open || !open.contains_key(key));
            if !news && !last && wrote.elapsed() < GROWTH_WITHIN {
                continue;
            }
            wrote = Instant::now();
            self.write_facts(&mut facts, &mut levels, &mut open).await;
            self.write_events(&mut events).await;
            self.desk.waiting.store((facts.len() + events.len()) as u64, Relaxed);
        }
        if !facts.is_empty() || !events.is_empty() {
            tracing::warn!(
                segments = facts.len(),
                events = events.len(),
                "the database did not take everything; recovery reads the rest from the files at the next start"
            );
        }
    }

    async fn write_facts(
        &self,
        facts: &mut HashMap<Key, SegmentFacts>,
        levels: &mut HashMap<Key, Vec<u8>>,
        open: &mut HashMap<Key, Instant>,
    ) {
        if facts.is_empty() {
            return;
        }
        let mut batch: Vec<(Key, SegmentFacts)> = facts.drain().collect();
        batch.sort_by_key(|((place, key), _)| (*key, *place));
        let rows: Vec<_> = batch.iter().map(|((place, _), facts)| (*place, facts.clone())).collect();
        let of = |(n, (key, _)): (usize, &(Key, SegmentFacts))| Some((n, levels.get(key)?.clone()));
        let activity: Vec<_> = batch.iter().enumerate().filter_map(of).collect();
        match self.store.record_watched(&rows, &activity).await {
            Ok(ids) => {
                self.well();
                levels.clear();
                let mut any_closed = false;
                for (id, (key, facts)) in ids.into_iter().zip(batch) {
                    let now = Instant::now();
                    let closed = facts.state != SegmentState::Open;
                    let news = open.get(&key).is_none_or(|told| now - *told >= GROWTH_EVERY);
                    if closed {
                        open.remove(&key);
                    } else if news {
                        open.insert(key, now);
                    }
                    any_closed |= closed;
                    if closed || news {
                        // With what only the index knows of it.
                        let copies = Copies::on_primary(facts.state.copy());
                        let known = self.store.segment(id).await;
                        let segment = known.unwrap_or(Segment { id, facts, copies, holds: 0 });
                        if segment.facts.state == SegmentState::Lost {
                            self.ledgers.recorded([&segment.facts]);
                        }
                        self.hub.tell(Change::Segment(segment));
                    }
                }
                self.keepers.iter().for_each(|keeper| keeper.wrote(any_closed));
            }
            Err(error) => {
                self.away(&error);
                facts.extend(batch);
            }
        }
    }

    async fn write_events(&self, events: &mut Vec<NewEvent>) {
        if events.is_empty() {
            return;
        }
        match self.store.append_events(events).await {
            Ok(ids) => {
                self.well();
                for (id, event) in ids.into_iter().zip(events.drain(..)) {
                    self.hub.tell(Change::Event(Event { id, event }));
                }
            }
            Err(error) => self.away(&error),
        }
    }

    fn well(&self) {
        if self.desk.error().is_some() {
            tracing::info!("the database takes rows again");
            self.desk.set_error(None);
        }
    }

    /// Said once for each time it goes away.
    fn away(&self, error: &crate::store::Error) {
        let text = Chain(error).to_string();
        if self.desk.error().is_none() {
            tracing::error!("the index is behind, recording goes on: {text}");
        }
        self.desk.set_error(Some(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::WallUs,
        model::event::{Kind, Severity},
    };

    #[tokio::test]
    async fn events_that_wait_for_the_database_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("x.db")).await.unwrap();
        store.close().await;
        let ((hub, events), desk) = (Hub::new(), Desk::default());
        let (stop, stopped) = oneshot::channel();
        let (facts, ledgers) = (vec![(Place::Primary, Facts::default())], Ledgers::default());
        let keepers = vec![Keeper::default()];
        let activities = Activities::default();
        let (hub_of, desk_of) = (hub.clone(), desk.clone());
        let clerk = Clerk { store, facts, events, hub: hub_of, ledgers, activities, keepers, desk: desk_of };
        let clerk = tokio::spawn(clerk.work(stopped));
        let log = |n: usize| {
            let (kind, severity, detail) = (Kind::CameraOffline, Severity::Warning, n.to_string());
            hub.log(NewEvent::new(WallUs::now(), None, kind, severity, detail));
        };
        let began = Instant::now();
        (0..hub::EVENTS).for_each(log);
        while desk.waiting() < hub::EVENTS as u64 {
            assert!(began.elapsed() < Duration::from_secs(20), "{} wait", desk.waiting());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (0..hub::EVENTS).for_each(log);
        assert!(
            tokio::time::timeout(AGAIN * 2, async {
                while desk.waiting() <= hub::EVENTS as u64 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await
            .is_err()
        );
        stop.send(()).unwrap();
        clerk.await.unwrap();
    }
}
