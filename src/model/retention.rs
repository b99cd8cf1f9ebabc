//! Which footage leaves, and when: by age and size for each camera, by size and free space for all together.
//!
//! The oldest goes first, and under a limit for all the camera that has most gives first, which is the one furthest above
//! its fair share (the total divided by the cameras): one below its share gives only when no other has anything to give.
//! What is held or open is never chosen. Decided on sums for each camera and the beginning of each one's queue, so the cost
//! does not depend on how much is stored.

use super::camera::words;
use crate::base::{CameraId, WallUs};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const HOUR_US: i64 = 3_600_000_000;

/// Longest `retention_hours`: a hundred years.
pub const RETENTION_HOURS_MAX: u32 = 876_000;
/// Smallest `quota_bytes` and `max_bytes`: less is a slip of the pen that would keep nothing.
pub const BYTES_LEAST: u64 = 1_000_000;
/// Largest number of bytes for any limit: what JSON numbers carry exactly.
pub const BYTES_MAX: u64 = (1 << 53) - 1;

/// What a camera may keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Nothing that ended longer ago.
    pub retention_hours: Option<u32>,
    /// No more bytes.
    pub quota_bytes: Option<u64>,
}

/// A limit, by the name of its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// A camera's by age.
    Age,
    /// A camera's by size.
    Quota,
    /// The one of all cameras by size.
    Total,
    /// The one by what others find free.
    Free,
}

words!(Limit { Age = "retention_hours", Quota = "quota_bytes", Total = "max_bytes", Free = "min_free_bytes" });

/// A segment that may go: closed, and not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its row.
    pub id: i64,
    /// Its first frame.
    pub start: WallUs,
    /// The end of its last frame.
    pub end: WallUs,
    /// Size of its file.
    pub bytes: u64,
}

/// One camera's footage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Whose; also of one that was deleted.
    pub camera: CameraId,
    /// What it may keep.
    pub limits: Limits,
    /// Everything on disk: what is open and what is held, too.
    pub bytes: u64,
    /// What of that is held.
    pub held_bytes: u64,
    /// What may go, oldest first, as far as it was looked at.
    pub head: Vec<Candidate>,
    /// Whether there is more behind it.
    pub more: bool,
}

/// What holds for all cameras together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What age is measured against; `None` where the clock is not to be trusted now.
    pub now: Option<WallUs>,
    /// No more bytes than so many.
    pub max_bytes: Option<u64>,
    /// So many bytes must become free.
    pub lack_bytes: u64,
}

/// A segment that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Whose.
    pub camera: CameraId,
    /// Which.
    pub segment: Candidate,
    /// Why.
    pub limit: Limit,
}

/// A limit that cannot be met: nothing is left that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Whose limit; `None`: of all.
    pub camera: Option<CameraId>,
    /// Which.
    pub limit: Limit,
    /// By so many bytes.
    pub bytes: u64,
    /// Whether holds alone are more than the limit (of free space: whether there are any). If not, it is met when what is
    /// open now has ended, or somebody else makes room.
    pub by_holds: bool,
}

/// What goes now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they go.
    pub victims: Vec<Victim>,
    /// A queue ended before a limit was met: delete these, look at the next, and decide again.
    pub unfinished: bool,
    /// Limits that cannot be met; complete only if the plan is not `unfinished`.
    pub shortages: Vec<Shortage>,
}

/// A queue while it is being decided on.
struct Left<'a> {
    queue: &'a Queue,
    next: usize,
    bytes: u64,
}

impl Left<'_> {
    fn first(&self) -> Option<Candidate> {
        self.queue.head.get(self.next).copied()
    }

    fn take(&mut self, segment: Candidate, limit: Limit) -> Victim {
        self.next += 1;
        self.bytes = self.bytes.saturating_sub(segment.bytes);
        Victim { camera: self.queue.camera.clone(), segment, limit }
    }
}

/// Decides what goes. Own limits come first, for what they free counts for the others.
pub fn plan(queues: &[Queue], bounds: Bounds) -> Plan {
    let mut plan = Plan::default();
    let mut all: Vec<Left<'_>> =
        queues.iter().map(|queue| Left { queue, next: 0, bytes: queue.bytes }).collect();
    for left in &mut all {
        own_limits(left, bounds.now, &mut plan);
    }
    if plan.unfinished {
        return plan;
    }
    let mut freed: u64 = plan.victims.iter().map(|victim| victim.segment.bytes).sum();
    loop {
        let total: u64 = all.iter().map(|left| left.bytes).sum();
        let over = bounds.max_bytes.map_or(0, |max| total.saturating_sub(max));
        let lack = bounds.lack_bytes.saturating_sub(freed);
        let limit = match (over, lack) {
            (0, 0) => return plan,
            (0, _) => Limit::Free,
            _ => Limit::Total,
        };
        let gives = |left: &&mut Left<'_>| left.first().is_some() || left.queue.more;
        // Shares are equal, so most is furthest above.
        let most = all.iter_mut().filter(gives).max_by_key(|left| left.bytes);
        match most.map(|left| (left.first(), left)) {
            Some((Some(segment), left)) => {
                freed += segment.bytes;
                plan.victims.push(left.take(segment, limit));
            }
            Some((None, _)) => {
                plan.unfinished = true;
                return plan;
            }
            None => {
                let held: u64 = queues.iter().map(|queue| queue.held_bytes).sum();
                let short = |limit, bytes, by_holds| Shortage { camera: None, limit, bytes, by_holds };
                let by_holds = bounds.max_bytes.is_some_and(|max| held > max);
                plan.shortages.extend((over > 0).then(|| short(Limit::Total, over, by_holds)));
                plan.shortages.extend((lack > 0).then(|| short(Limit::Free, lack, held > 0)));
                return plan;
            }
        }
    }
}

fn own_limits(left: &mut Left<'_>, now: Option<WallUs>, plan: &mut Plan) {
    let Limits { retention_hours, quota_bytes } = left.queue.limits;
    let hours = retention_hours.map(|hours| i64::from(hours) * HOUR_US);
    let too_old = now.zip(hours).map(|(now, us)| now.plus_us(-us));
    loop {
        let (first, quota) = (left.first(), quota_bytes.filter(|quota| left.bytes > *quota));
        let limit = match first {
            Some(segment) if too_old.is_some_and(|limit| segment.end <= limit) => Limit::Age,
            _ if quota.is_some() => Limit::Quota,
            // Whether what lies behind the head is too old is not known.
            None if too_old.is_some() && left.queue.more => Limit::Age,
            _ => return,
        };
        match (first, quota) {
            (Some(segment), _) => plan.victims.push(left.take(segment, limit)),
            (None, _) if left.queue.more => {
                plan.unfinished = true;
                return;
            }
            (None, quota) => {
                let quota = quota.unwrap_or_default();
                plan.shortages.push(Shortage {
                    camera: Some(left.queue.camera.clone()),
                    limit,
                    bytes: left.bytes - quota,
                    by_holds: left.queue.held_bytes > quota,
                });
                return;
            }
        }
    }
}

/// How much of a volume is to stay free. `floor` is the promise; what is written between two looks, and what is being
/// deleted meanwhile, goes into `headroom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that stay free.
    pub floor: u64,
    /// Bytes above it.
    pub headroom: u64,
}

impl Room {
    /// For a volume of `total` bytes. `min_free` is what the operator wants [5 GiB or 5 %, the smaller]; never more than
    /// half of the volume, for a slip of the pen must not delete everything.
    pub fn of(total: u64, min_free: Option<u64>) -> Self {
        let floor = min_free.unwrap_or((5 * GIB).min(total / 20)).min(total / 2);
        Self { floor, headroom: (total / 100).clamp(16 * MIB, 256 * MIB).min(total / 8) }
    }

    /// What is missing to be well again; 0 while there is enough.
    pub fn lack(self, free: u64) -> u64 {
        let wanted = self.floor + self.headroom;
        if free < self.floor + self.headroom / 2 { wanted - free } else { 0 }
    }

    /// Whether recording must stop if nothing can be deleted.
    pub fn is_used_up(self, free: u64) -> bool {
        free < self.floor + self.headroom / 4
    }
}

/// What a camera has and how fast it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// What it may keep.
    pub limits: Limits,
    /// What it has, in bytes.
    pub bytes: u64,
    /// What a day of it takes, in bytes.
    pub bytes_per_day: u64,
}

/// How many days each camera will reach back when the volume is full, if all go on as they do. `capacity`: bytes for all
/// together. `None` for a camera that records nothing now. Holds are not taken out: they count among what a camera has.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub fn forecast(paces: &[Pace], capacity: u64) -> Vec<Option<f64>> {
    let capacity = capacity as f64;
    let wants = |pace: &Pace| {
        let Pace { limits, bytes, bytes_per_day } = *pace;
        let quota = limits.quota_bytes.map_or(f64::INFINITY, |quota| quota as f64);
        if bytes_per_day == 0 {
            return quota.min(bytes as f64);
        }
        let by_age = limits.retention_hours.map_or(f64::INFINITY, |hours| f64::from(hours) / 24.0);
        quota.min(by_age * bytes_per_day as f64)
    };
    let mut wanted: Vec<f64> = paces.iter().map(wants).collect();
    wanted.sort_by(f64::total_cmp);
    // Those that want less than an equal share leave the rest to the others.
    let (mut level, mut rest) = (capacity, capacity);
    for (n, want) in wanted.iter().enumerate() {
        level = rest / (wanted.len() - n) as f64;
        if *want > level {
            break;
        }
        rest -= want;
        level = f64::INFINITY;
    }
    let days =
        |pace: &Pace| (pace.bytes_per_day > 0).then(|| wants(pace).min(level) / pace.bytes_per_day as f64);
    paces.iter().map(days).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    /// A camera of a random archive: its segments are a minute long each, the last one may be open.
    #[derive(Clone, Debug)]
    struct Archive {
        limits: Limits,
        segments: Vec<(u64, bool)>,
        open: bool,
    }

    fn archive() -> impl Strategy<Value = Archive> {
        let limits = (proptest::option::of(0u32..3), proptest::option::of(0u64..4_000))
            .prop_map(|(retention_hours, quota_bytes)| Limits { retention_hours, quota_bytes });
        (limits, vec((0u64..300, proptest::bool::weighted(0.2)), 0..40), any::<bool>())
            .prop_map(|(limits, segments, open)| Archive { limits, segments, open })
    }

    fn camera(n: usize) -> CameraId {
        format!("c{n}").parse().unwrap()
    }

    const NOW: WallUs = WallUs(2 * HOUR_US);

    /// What is left of each archive, by the number of the segment.
    type Stored = Vec<Vec<(i64, u64, bool)>>;

    fn stored(archives: &[Archive]) -> Stored {
        let one = |archive: &Archive| {
            let numbered = archive.segments.iter().enumerate();
            numbered.map(|(n, (bytes, held))| (n as i64, *bytes, *held)).collect()
        };
        archives.iter().map(one).collect()
    }

    fn is_open(archives: &[Archive], of: usize, n: i64) -> bool {
        archives[of].open && n as usize + 1 == archives[of].segments.len()
    }

    fn candidates(archives: &[Archive], stored: &Stored, of: usize) -> Vec<Candidate> {
        let free = stored[of].iter().filter(|(n, _, held)| !held && !is_open(archives, of, *n));
        let minute = |n: i64| WallUs(n * 60_000_000);
        free.map(|(n, bytes, _)| Candidate { id: *n, start: minute(*n), end: minute(n + 1), bytes: *bytes })
            .collect()
    }

    fn sum(segments: &[(i64, u64, bool)]) -> u64 {
        segments.iter().map(|(_, bytes, _)| bytes).sum()
    }

    fn queues(archives: &[Archive], stored: &Stored, page: usize) -> Vec<Queue> {
        let one = |of: usize| {
            let mut head = candidates(archives, stored, of);
            let more = head.len() > page;
            head.truncate(page);
            let held: Vec<_> = stored[of].iter().filter(|(_, _, held)| *held).copied().collect();
            let (bytes, held_bytes) = (sum(&stored[of]), sum(&held));
            Queue { camera: camera(of), limits: archives[of].limits, bytes, held_bytes, head, more }
        };
        (0..archives.len()).map(one).collect()
    }

    /// Deletes as the keeper does, page by page, and gives all that went, and what is short in the end.
    fn kept(
        archives: &[Archive],
        stored: &mut Stored,
        page: usize,
        mut bounds: Bounds,
    ) -> (Vec<Victim>, Vec<Shortage>) {
        let mut gone = Vec::new();
        loop {
            let plan = plan(&queues(archives, stored, page), bounds);
            for victim in &plan.victims {
                let of: usize = victim.camera.as_str()[1..].parse().unwrap();
                // Under a limit for all, whoever has most and can give gives.
                if matches!(victim.limit, Limit::Total | Limit::Free) {
                    let most = (0..archives.len())
                        .filter(|of| !candidates(archives, stored, *of).is_empty())
                        .map(|of| sum(&stored[of]))
                        .max();
                    assert_eq!(Some(sum(&stored[of])), most, "{victim:?} of {stored:?}");
                }
                let oldest = candidates(archives, stored, of)[0];
                assert_eq!(oldest, victim.segment, "not the oldest that may go");
                stored[of].retain(|(n, ..)| *n != victim.segment.id);
                bounds.lack_bytes = bounds.lack_bytes.saturating_sub(victim.segment.bytes);
            }
            let over = |stored: &Stored| {
                let total: u64 = stored.iter().map(|of| sum(of)).sum();
                bounds.max_bytes.is_some_and(|max| total > max) || bounds.lack_bytes > 0
            };
            gone.extend(plan.victims.iter().cloned());
            if !plan.unfinished {
                assert_eq!(
                    over(stored),
                    plan.shortages.iter().any(|short| short.camera.is_none()),
                    "what is not met is said: {plan:?}"
                );
                return (gone, plan.shortages);
            }
            assert!(!plan.victims.is_empty() || page == 0, "no step forward");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn limits_are_met_whenever_they_can_be_and_in_order(
            archives in vec(archive(), 0..6), max_bytes in proptest::option::of(0u64..20_000),
            lack_bytes in prop_oneof![Just(0u64), 0u64..5_000], page in 1usize..6) {
            let bounds = Bounds { now: Some(NOW), max_bytes, lack_bytes };
            let mut left = stored(&archives);
            let (gone, shortages) = kept(&archives, &mut left, page, bounds);
            for (of, archive) in archives.iter().enumerate() {
                let candidates = candidates(&archives, &left, of);
                // Nothing held, nothing open.
                let is_there = |n: usize| left[of].iter().any(|(kept, ..)| *kept == n as i64);
                let mut safe = archive.segments.iter().enumerate();
                let is_safe = safe.all(|(n, (_, held))| is_there(n) || !(*held || is_open(&archives, of, n as i64)));
                prop_assert!(is_safe, "what was held or open went");
                if let Some(hours) = archive.limits.retention_hours {
                    let oldest = NOW.plus_us(-i64::from(hours) * HOUR_US);
                    prop_assert!(candidates.iter().all(|candidate| candidate.end > oldest));
                }
                if let Some(quota) = archive.limits.quota_bytes {
                    let short = shortages.iter().find(|short| short.camera == Some(camera(of)));
                    prop_assert_eq!(sum(&left[of]).saturating_sub(quota), short.map_or(0, |short| short.bytes));
                    prop_assert!(short.is_none() || candidates.is_empty());
                }
            }
            if shortages.iter().any(|short| short.camera.is_none()) {
                prop_assert!((0..archives.len()).all(|of| candidates(&archives, &left, of).is_empty()));
            }
            // No more goes than must: without the last one, a limit for all is not met.
            let for_all = |victim: &&Victim| matches!(victim.limit, Limit::Total | Limit::Free);
            if let Some(last) = gone.last().filter(for_all) {
                let (total, freed): (u64, u64) =
                    (left.iter().map(|of| sum(of)).sum(), gone.iter().map(|victim| victim.segment.bytes).sum());
                let is_over = max_bytes.is_some_and(|max| total + last.segment.bytes > max);
                prop_assert!(is_over || freed - last.segment.bytes < lack_bytes, "more than needed");
            }
            // However much is looked at, the same goes.
            let mut again = stored(&archives);
            let mut whole = kept(&archives, &mut again, usize::MAX, bounds).0;
            prop_assert_eq!(&again, &left);
            let key = |victim: &Victim| (victim.camera.clone(), victim.segment.id);
            let mut gone = gone;
            gone.sort_by_key(key);
            whole.sort_by_key(key);
            prop_assert_eq!(gone.len(), whole.len());
        }

        #[test]
        fn room_is_never_more_than_there_is(total in 0u64..1 << 50, min_free in proptest::option::of(any::<u64>()),
                                            free in 0u64..1 << 50) {
            let room = Room::of(total, min_free);
            prop_assert!(room.floor + room.headroom <= total);
            let lack = room.lack(free);
            prop_assert!(lack == 0 || free + lack == room.floor + room.headroom);
            // Whoever must stop has tried to delete before.
            prop_assert!(!room.is_used_up(free) || lack > 0 || room.headroom < 4);
        }
    }

    #[test]
    fn room_by_default_is_5_percent_or_5_gib() {
        assert_eq!(Room::of(200 * MIB, None), Room { floor: 10 * MIB, headroom: 16 * MIB });
        assert_eq!(Room::of(4096 * GIB, None), Room { floor: 5 * GIB, headroom: 256 * MIB });
        assert_eq!(Room::of(100 * GIB, Some(u64::MAX)).floor, 50 * GIB);
    }

    #[test]
    fn the_forecast_divides_what_the_frugal_leave() {
        let pace = |hours, quota_bytes, bytes, bytes_per_day| Pace {
            limits: Limits { retention_hours: hours, quota_bytes },
            bytes,
            bytes_per_day,
        };
        let paces = [
            pace(None, None, 0, 100),
            pace(None, None, 0, 50),
            pace(Some(48), None, 0, 100),
            pace(None, Some(300), 0, 100),
            pace(None, None, 100, 0),
        ];
        // 200, 300 and 100 are taken by the last three.
        let days = forecast(&paces, 1_600);
        assert_eq!(days, [Some(5.0), Some(10.0), Some(2.0), Some(3.0), None]);
        assert_eq!(forecast(&paces[2..], 10_000), [Some(2.0), Some(3.0), None]);
        assert_eq!(forecast(&[], 1), []);
    }
}
