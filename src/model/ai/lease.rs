//! Who works on which task. A worker has its tasks for a while and asks again before that ends; one that dies loses them. No
//! task is ever two workers'.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::model::camera::{BadField, text};

/// For how long tasks are leased.
pub const TTL: std::ops::RangeInclusive<u32> = 15..=300;
/// Unless the worker says otherwise, in seconds.
pub const TTL_USUAL: u32 = 60;
/// So many workers at once.
pub const WORKERS_MAX: usize = 1_000;

/// Whether a worker can have this name.
pub fn check_name(worker: &str) -> Result<(), BadField> {
    text("worker", worker)?;
    if worker.trim().is_empty() {
        return Err(BadField::new("worker", "is empty; give the program a name of its own"));
    }
    Ok(())
}

/// A worker, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What the worker shows to prove who it is.
    pub token: String,
    /// Until then.
    pub until: Instant,
    /// Its tasks.
    pub tasks: BTreeSet<i64>,
}

/// What a worker asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its name.
    pub worker: &'a str,
    /// Of the lease that it has, if it has one.
    pub token: Option<&'a str>,
    /// For how long.
    pub ttl: Duration,
    /// No more tasks than so many.
    pub most: usize,
}

/// Why a worker gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another worker of this name has a lease.
    NameTaken,
    /// There are as many as there may be.
    TooMany,
}

/// All leases, by the workers' names.
#[derive(Clone, Debug, Default)]
pub struct Leases(BTreeMap<String, Lease>);

impl Leases {
    /// Leases tasks, or renews a lease. `candidates`: tasks that the worker can do, those first that matter most; what it has
    /// of them it keeps, then it gets those that nobody has. `fresh` is the token of a lease that begins.
    pub fn ask(
        &mut self,
        asked: Asked<'_>,
        candidates: &[i64],
        fresh: String,
        now: Instant,
    ) -> Result<Lease, Refused> {
        self.expire(now);
        let Asked { worker, token, ttl, most } = asked;
        let had = self.0.get(worker);
        if had.is_some_and(|had| token != Some(&*had.token)) {
            return Err(Refused::NameTaken);
        }
        if had.is_none() && self.0.len() >= WORKERS_MAX {
            return Err(Refused::TooMany);
        }
        let had = self.0.remove(worker);
        let others: BTreeSet<i64> = self.0.values().flat_map(|lease| lease.tasks.iter().copied()).collect();
        let kept = |task: &i64| had.as_ref().is_some_and(|had| had.tasks.contains(task));
        let (own, rest): (Vec<i64>, Vec<i64>) = candidates.iter().partition(|task| kept(task));
        let free = rest.into_iter().filter(|task| !others.contains(task));
        let tasks = own.into_iter().chain(free).take(most).collect();
        let lease = Lease { token: had.map_or(fresh, |had| had.token), until: now + ttl, tasks };
        self.0.insert(worker.to_owned(), lease.clone());
        Ok(lease)
    }

    /// Gives a lease back. Whether there was one.
    pub fn give_back(&mut self, token: &str, now: Instant) -> bool {
        self.expire(now);
        let before = self.0.len();
        self.0.retain(|_, lease| lease.token != token);
        self.0.len() < before
    }

    /// Whether whoever shows `token` has this task.
    pub fn has(&mut self, token: &str, task: i64, now: Instant) -> bool {
        self.expire(now);
        self.0.values().any(|lease| lease.token == token && lease.tasks.contains(&task))
    }

    /// Every worker that has a lease, by name.
    pub fn all(&mut self, now: Instant) -> Vec<(String, Lease)> {
        self.expire(now);
        self.0.iter().map(|(worker, lease)| (worker.clone(), lease.clone())).collect()
    }

    /// The tasks that there are: others are nobody's any more.
    pub fn only(&mut self, tasks: &BTreeSet<i64>) {
        self.0.values_mut().for_each(|lease| lease.tasks.retain(|task| tasks.contains(task)));
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|_, lease| now < lease.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const TTL: Duration = Duration::from_secs(15);

    fn ask<'a>(worker: &'a str, token: Option<&'a str>, most: usize) -> Asked<'a> {
        Asked { worker, token, ttl: TTL, most }
    }

    fn tasks(of: impl IntoIterator<Item = i64>) -> BTreeSet<i64> {
        of.into_iter().collect()
    }

    #[test]
    fn tasks_go_to_one_worker_and_move_when_it_dies() {
        let (mut leases, t0) = (Leases::default(), Instant::now());
        let all: Vec<i64> = (0..20).collect();
        let second = Duration::from_secs(1);
        let mut at = |worker, token, most, now: Instant| {
            leases.ask(ask(worker, token, most), &all, format!("{worker}1"), now).map(|lease| lease.tasks)
        };
        assert_eq!(at("a", None, 12, t0), Ok(tasks(0..12)));
        assert_eq!(at("b", None, 20, t0), Ok(tasks(12..20)));
        assert_eq!(at("b", None, 20, t0), Err(Refused::NameTaken), "another one of its name");
        assert_eq!(at("a", Some("b1"), 20, t0), Err(Refused::NameTaken));
        assert_eq!(at("b", Some("b1"), 20, t0 + 14 * second), Ok(tasks(12..20)), "a is still there");
        assert_eq!(at("b", Some("b1"), 20, t0 + 15 * second), Ok(tasks(0..20)), "a is not");
        assert_eq!(at("a", Some("a1"), 20, t0 + 16 * second), Ok(tasks([])), "what it had is another's");
        assert_eq!(at("b", Some("b1"), 5, t0 + 16 * second), Ok(tasks(0..5)), "it wants less");
        assert_eq!(at("a", Some("a1"), 20, t0 + 16 * second), Ok(tasks(5..20)));
        assert!(leases.has("a1", 5, t0 + 16 * second) && !leases.has("b1", 5, t0 + 16 * second));
        leases.only(&tasks(0..10));
        assert!(!leases.has("a1", 15, t0 + 16 * second));
        assert!(leases.give_back("b1", t0 + 16 * second) && !leases.give_back("b1", t0 + 16 * second));
        assert!(!leases.has("a1", 5, t0 + 31 * second), "it has expired");
    }

    proptest! {
        #[test]
        fn no_task_is_ever_two_workers(steps in vec((0usize..4, 0usize..12, 0u64..20, any::<bool>()), 0..100)) {
            let (mut leases, mut now) = (Leases::default(), Instant::now());
            let mut tokens: [Option<String>; 4] = Default::default();
            let all: Vec<i64> = (0..10).collect();
            for (n, (worker, most, later, dies)) in steps.into_iter().enumerate() {
                now += Duration::from_secs(later);
                let name = format!("w{worker}");
                if dies {
                    tokens[worker] = None;
                }
                let asked = ask(&name, tokens[worker].as_deref(), most);
                if let Ok(lease) = leases.ask(asked, &all, format!("t{n}"), now) {
                    prop_assert!(lease.tasks.len() <= most);
                    tokens[worker] = Some(lease.token);
                }
                let held: Vec<i64> = leases.all(now).into_iter().flat_map(|(_, lease)| lease.tasks).collect();
                let once: BTreeSet<i64> = held.iter().copied().collect();
                prop_assert_eq!(held.len(), once.len());
            }
        }
    }
}
