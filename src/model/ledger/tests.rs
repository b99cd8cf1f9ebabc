//! Days in the life of a camera, in milliseconds.

use super::*;
use crate::model::coverage::{Sums, without};
use proptest::{collection::vec, prelude::*};

const MS: i64 = 1_000;

fn at(ms: i64) -> WallUs {
    WallUs(ms * MS)
}

fn range(from: i64, to: i64) -> Range {
    Range { from: at(from), to: at(to) }
}

/// Stretches as (from, to, word) in milliseconds, without the time before the camera was known; -1: goes on.
fn words(stretches: &[Stretch]) -> Vec<(i64, i64, &'static str)> {
    let to = |stretch: &Stretch| stretch.to.map_or(-1, |to| to.0 / MS);
    stretches.iter().filter(|s| s.from.0 > 0).map(|s| (s.from.0 / MS, to(s), s.absence.word())).collect()
}

fn all(ledger: &Ledger, now: i64) -> Vec<(i64, i64, &'static str)> {
    words(&[ledger.done(), &ledger.open(at(now))].concat())
}

/// A camera that is recorded at 25 frames a second from 10 s to 20 s.
fn recording() -> Ledger {
    let mut ledger = Ledger::new(at(10_000), true);
    ledger.stand(at(10_500), Standing::Writing);
    ledger.recorded(range(10_000, 19_000), 225);
    ledger.recorded(range(10_000, 20_000), 250);
    ledger
}

const OFFLINE: Standing = Standing::Missing(Cause::CameraOffline);
const STALLED: Standing = Standing::Missing(Cause::Stalled);

#[test]
fn a_gap_opens_with_its_cause_moves_with_the_tail_and_ends_where_footage_begins() {
    let mut ledger = recording();
    assert_eq!(all(&ledger, 24_000), []);
    ledger.stand(at(24_600), STALLED);
    assert_eq!(all(&ledger, 24_700), [(20_000, -1, "stalled")]);
    ledger.recorded(range(10_000, 20_480), 262);
    assert_eq!(all(&ledger, 24_700), [(20_480, -1, "stalled")]);
    ledger.stand(at(27_000), OFFLINE);
    let both = [(20_480, 27_000, "stalled"), (27_000, -1, "camera_offline")];
    assert_eq!(all(&ledger, 27_100), both);
    // A new session, and its first frames on disk; the facts come a moment later.
    ledger.stand(at(40_000), Standing::Pending);
    ledger.stand(at(41_600), Standing::Writing);
    assert_eq!(all(&ledger, 41_700), both);
    ledger.recorded(range(40_900, 41_500), 15);
    assert_eq!(all(&ledger, 42_000), [(20_480, 27_000, "stalled"), (27_000, 40_900, "camera_offline")]);
    let day = ledger.tally().day(0, at(41_500), &[]);
    assert_eq!((day.recorded_us, day.not_wanted_us), ((10_480 + 600) * MS, 10_000 * MS));
}

#[test]
fn neighbouring_segments_meet_and_frames_that_were_refused_do_not() {
    let mut ledger = recording();
    ledger.recorded(range(20_045, 30_000), 249);
    assert_eq!(all(&ledger, 30_000), []);
    ledger.recorded(range(30_100, 40_000), 248);
    assert_eq!(all(&ledger, 40_000), [(30_000, 30_100, "disk_error")]);
}

#[test]
fn footage_answers_what_was_said_before_it_and_not_after() {
    // The camera comes for a moment and goes again before anybody was told of what it brought.
    let mut ledger = recording();
    ledger.stand(at(21_000), OFFLINE);
    ledger.stand(at(30_500), Standing::Pending);
    ledger.stand(at(31_000), STALLED);
    ledger.recorded(range(30_200, 30_800), 15);
    assert_eq!(all(&ledger, 40_000), [(20_000, 30_200, "camera_offline"), (30_800, -1, "stalled")]);
    // A slow disk catches up with the segment that it was late with.
    let mut ledger = recording();
    ledger.stand(at(25_000), Standing::Missing(Cause::DiskError));
    ledger.recorded(range(10_000, 26_000), 400);
    assert_eq!(all(&ledger, 26_500), [(26_000, -1, "disk_error")]);
    ledger.stand(at(26_500), Standing::Writing);
    ledger.recorded(range(10_000, 27_000), 425);
    assert_eq!(all(&ledger, 27_500), []);
}

#[test]
fn what_is_not_wanted_is_no_gap_and_a_new_session_is_the_operators() {
    let mut ledger = recording();
    ledger.want(at(20_030), false);
    ledger.stand(at(20_030), Standing::Pending);
    assert_eq!(all(&ledger, 21_000), [(20_000, -1, "not_wanted")]);
    ledger.want(at(50_000), true);
    ledger.recorded(range(51_000, 60_000), 225);
    ledger.stand(at(60_000), Standing::Pending);
    ledger.recorded(range(61_000, 62_000), 25);
    let first = [(20_000, 50_000, "not_wanted"), (50_000, 51_000, "operator"), (60_000, 61_000, "operator")];
    assert_eq!(all(&ledger, 62_000), first);
    // Other settings that do not work, either: then it is what is wrong with them.
    ledger.stand(at(62_020), Standing::Pending);
    ledger.stand(at(62_500), Standing::Missing(Cause::Auth));
    assert_eq!(all(&ledger, 63_000).last(), Some(&(62_000, -1, "auth")));
}

#[test]
fn a_restart_is_the_services_until_it_stood_and_an_open_gap_goes_on() {
    let mut ledger = Ledger::resumed(at(20_000), None, true, at(20_500), at(30_000));
    assert_eq!(all(&ledger, 30_100), [(20_000, -1, "service_down")]);
    let mut back = ledger.clone();
    back.stand(at(32_000), Standing::Writing);
    back.recorded(range(31_000, 32_000), 25);
    assert_eq!(all(&back, 32_000), [(20_000, 31_000, "service_down")]);
    // Away at the start: from when the service stood.
    ledger.stand(at(45_000), OFFLINE);
    assert_eq!(all(&ledger, 46_000), [(20_000, 30_000, "service_down"), (30_000, -1, "camera_offline")]);

    let open = |absence| Some(Stretch { from: at(5_000), to: None, absence });
    let auth = open(Absence::Missing(Cause::Auth));
    let ledger = Ledger::resumed(at(5_000), auth, true, at(20_000), at(30_000));
    assert_eq!(all(&ledger, 31_000), [(5_000, 20_000, "auth"), (20_000, -1, "service_down")]);
    let off = open(Absence::NotWanted);
    let mut ledger = Ledger::resumed(at(5_000), off, true, at(20_000), at(30_000));
    assert_eq!(all(&ledger, 31_000), [(5_000, -1, "not_wanted")]);
    // A window that opened meanwhile was missed.
    ledger.want(at(25_000), true);
    ledger.recorded(range(31_000, 32_000), 25);
    assert_eq!(all(&ledger, 32_000), [(5_000, 25_000, "not_wanted"), (25_000, 31_000, "service_down")]);
}

#[test]
fn footage_that_turns_up_splits_a_hole_and_leaves_its_cause() {
    let mut ledger = Ledger::resumed(at(20_000), None, true, at(20_000), at(30_000));
    assert_eq!(ledger.found(range(15_000, 24_000)), Some(range(15_000, 20_000)));
    assert_eq!(ledger.found(range(25_000, 26_000)), None);
    let split = [(24_000, 25_000, "service_down"), (26_000, -1, "service_down")];
    assert_eq!(all(&ledger, 31_000), split);
    assert_eq!(ledger.found(range(24_000, 25_000)), Some(range(24_000, 25_000)));
}

#[test]
fn a_jump_of_the_clock_is_nobodys_outage() {
    let mut ledger = recording();
    ledger.jumped(at(20_010), at(80_000));
    ledger.recorded(range(80_020, 81_000), 25);
    assert_eq!(all(&ledger, 81_000), [(20_000, 80_020, "clock")]);
    // Back: what is recorded a second time is nothing new, and an outage then is none of this time.
    ledger.recorded(range(10_000, 12_000), 50);
    ledger.stand(at(12_500), OFFLINE);
    assert_eq!(all(&ledger, 13_000), [(20_000, 80_020, "clock")]);
    ledger.stand(at(14_000), Standing::Writing);
    ledger.recorded(range(13_000, 90_000), 1_900);
    assert_eq!(all(&ledger, 90_000), [(20_000, 80_020, "clock")]);
}

#[test]
fn each_cause_has_its_reason() {
    use Standing::{Missing, Pending, Writing};
    let frames = |written, disk| Standing::of(Shown::Recording, None, Some(written), disk);
    assert_eq!(frames(Written::Yes, Disk::Ok), Writing);
    assert_eq!(frames(Written::AwaitsKeyframe, Disk::Ok), Pending);
    assert_eq!(frames(Written::NoKeyframe, Disk::Ok), Missing(Cause::NoKeyframe));
    assert_eq!(frames(Written::Late, Disk::Ok), Missing(Cause::DiskError));
    assert_eq!(frames(Written::Yes, Disk::Full), Missing(Cause::DiskFull));
    let lost = |loss| Standing::of(Shown::Offline, Some(loss), None, Disk::Full);
    assert_eq!(lost(StreamErrorKind::Refused), OFFLINE);
    assert_eq!(lost(StreamErrorKind::Silent), STALLED);
    assert_eq!(lost(StreamErrorKind::Unauthorised), Missing(Cause::Auth));
    assert_eq!(Standing::of(Shown::Disabled, None, None, Disk::Ok), Pending);
    for absence in Cause::ALL.iter().map(|cause| Absence::Missing(*cause)).chain([Absence::NotWanted]) {
        assert_eq!(Absence::from_word(absence.word()), Some(absence));
    }
}

#[test]
fn a_camera_that_flaps_for_months_costs_no_more_than_one_that_does_not() {
    let mut ledger = recording();
    for n in 0..3_000 {
        ledger.stand(at(21_000 + n * 2_000), if n % 2 == 0 { OFFLINE } else { STALLED });
    }
    let now = at(21_000 + 3_000 * 2_000);
    assert!(ledger.notes.len() <= NOTES_MAX + 1);
    let stretches = [ledger.done(), &ledger.open(now)].concat();
    assert_eq!(words(&stretches).len(), 3_000);
    assert!(stretches[1..].windows(2).all(|pair| pair[0].to == Some(pair[1].from)));
    // Nor if the database is away all the time.
    (3_000..20_000).for_each(|n| ledger.stand(at(21_000 + n * 2_000), [OFFLINE, STALLED][n as usize % 2]));
    assert_eq!(ledger.done().len(), DONE_MAX);
    assert_eq!(ledger.done().last().unwrap().to, Some(ledger.settled()));
}

#[derive(Clone, Debug)]
enum Told {
    Want(bool),
    Stand(Standing),
    /// Live footage that ends now, so long.
    Recorded(i64),
    /// Footage from so long ago, so long.
    Found(i64, i64),
}

fn told() -> impl Strategy<Value = Told> {
    let standing = prop_oneof![
        Just(Standing::Writing),
        Just(Standing::Pending),
        (0..Cause::ALL.len()).prop_map(|n| Standing::Missing(Cause::ALL[n])),
    ];
    prop_oneof![
        any::<bool>().prop_map(Told::Want),
        standing.prop_map(Told::Stand),
        (1i64..40).prop_map(Told::Recorded),
        (0i64..90, 1i64..20).prop_map(|(ago, long)| Told::Found(ago, long)),
    ]
}

proptest! {
    /// Microseconds, so that no slack hides anything.
    #[test]
    fn every_moment_is_recorded_or_in_one_stretch(script in vec((0i64..30, told()), 0..60)) {
        let start = 1_000;
        let mut ledger = Ledger::new(WallUs(start), true);
        let (mut now, mut footage, mut rows) = (start, Vec::new(), Vec::<Stretch>::new());
        for (wait, told) in script {
            now += wait;
            match told {
                Told::Want(wanted) => ledger.want(WallUs(now), wanted),
                Told::Stand(standing) => ledger.stand(WallUs(now), standing),
                Told::Recorded(long) => {
                    let from = (now - long).max(ledger.settled().0);
                    let range = Range { from: WallUs(from), to: WallUs(now) };
                    footage.push(range);
                    ledger.recorded(range, u64::MAX);
                }
                Told::Found(ago, long) => {
                    let range = Range { from: WallUs((now - ago).max(start)), to: WallUs(now.min(now - ago + long)) };
                    footage.push(range);
                    let old = ledger.found(range);
                    rows.extend_from_slice(ledger.done());
                    ledger.forget(usize::MAX);
                    if let Some(range) = old {
                        for row in std::mem::take(&mut rows) {
                            let left = without(row, range);
                            let tally = ledger.tally_mut();
                            let gone = Range { from: row.from.max(range.from), to: row.to.unwrap().min(range.to) };
                            tally.absent(gone, row.absence, Sign::Minus);
                            tally.recorded(gone, Sign::Plus);
                            rows.extend(left);
                        }
                    }
                }
            }
        }
        let open = ledger.open(WallUs(now));
        let stretches = [&rows[..], ledger.done(), &open].concat();
        let upto = if open.is_empty() { ledger.settled().0 } else { now };
        let mut sums = Sums::default();
        for us in start..upto.max(ledger.settled().0) {
            let recorded = footage.iter().any(|range| range.from.0 <= us && us < range.to.0);
            let in_it: Vec<_> = stretches.iter()
                .filter(|stretch| stretch.from.0 <= us && stretch.to.is_none_or(|to| us < to.0)).collect();
            prop_assert_eq!(usize::from(recorded) + in_it.len(), 1, "at {}: {:?} of {:?}", us, in_it, stretches);
            match in_it.first().map(|stretch| stretch.absence) {
                None => sums.recorded_us += 1,
                Some(Absence::NotWanted) => sums.not_wanted_us += 1,
                Some(Absence::Missing(cause)) => *sums.missing_us.entry(cause).or_default() += 1,
            }
        }
        let mut counted = ledger.tally().day(0, WallUs(now), &open);
        counted.not_wanted_us -= start;
        counted.missing_us.retain(|_, us| *us != 0);
        prop_assert_eq!(counted, sums);
        prop_assert!(open.iter().rev().skip(1).all(|stretch| stretch.to.is_some()));
    }
}
