//! What became of a stretch of time: recorded, missing, not wanted. From the index for any stretch ([`parts`]), and
//! counted as it happens for this day and the last ([`Tally`]).

use std::collections::BTreeMap;

use super::{
    ledger::{Absence, Cause, Stretch},
    timeline::{JOIN_US, Range},
};
use crate::base::WallUs;

const DAY_US: i64 = 86_400_000_000;

/// What became of a part of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is footage.
    Recorded,
    /// There is none, and it is known why.
    Absent(Absence),
    /// There is none any more, or nobody kept account then.
    Unknown,
}

/// A part of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// When.
    pub range: Range,
    /// What became of it.
    pub fate: Fate,
}

/// Cuts `window` into parts without a hole, up to where something is known. `footage` and `stretches` touch it, each in
/// order of their starts; what is open goes on until `now`. Where both claim a time, the footage is there.
pub fn parts(footage: &[Range], stretches: &[Stretch], window: Range, now: WallUs) -> Vec<Part> {
    let ends = stretches.iter().map(|stretch| stretch.to.unwrap_or(now));
    let known = footage.iter().map(|range| range.to).chain(ends).max().unwrap_or(window.from).min(window.to);
    let mut parts = Parts(Vec::new());
    let (mut at, mut next) = (window.from, 0);
    for range in footage.iter().copied().chain([Range { from: known, to: known }]) {
        let hole_to = range.from.min(known);
        while stretches.get(next).is_some_and(|stretch| stretch.to.unwrap_or(now) <= at) {
            next += 1;
        }
        for stretch in stretches[next..].iter().take_while(|stretch| stretch.from < hole_to) {
            let (from, to) = (stretch.from.max(at), stretch.to.unwrap_or(now).min(hole_to));
            if from < to {
                parts.push(at, from, Fate::Unknown);
                parts.push(from, to, Fate::Absent(stretch.absence));
                at = to;
            }
        }
        // Neighbours meet to within a frame; a longer hole would have been written down.
        let fate =
            if hole_to.0 - at.0 < JOIN_US && range.from < range.to { Fate::Recorded } else { Fate::Unknown };
        parts.push(at, hole_to, fate);
        at = at.max(hole_to);
        parts.push(at, range.to.min(known), Fate::Recorded);
        at = at.max(range.to.min(known));
    }
    parts.0
}

struct Parts(Vec<Part>);

impl Parts {
    fn push(&mut self, from: WallUs, to: WallUs, fate: Fate) {
        match self.0.last_mut() {
            _ if from >= to => {}
            Some(last) if last.fate == fate && last.range.to == from => last.range.to = to,
            _ => self.0.push(Part { range: Range { from, to }, fate }),
        }
    }
}

/// What is left of a stretch when footage turns up in it.
pub fn without(stretch: Stretch, footage: Range) -> Vec<Stretch> {
    let before = Stretch { to: Some(stretch.to.map_or(footage.from, |to| to.min(footage.from))), ..stretch };
    let after = Stretch { from: stretch.from.max(footage.to), ..stretch };
    let mut left = vec![before, after];
    left.retain(|part| part.to.is_none_or(|to| part.from < to));
    left
}

/// Microseconds by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Footage is there.
    pub recorded_us: i64,
    /// Wanted, and not there.
    pub missing_us: BTreeMap<Cause, i64>,
    /// Not wanted.
    pub not_wanted_us: i64,
    /// Nothing is known.
    pub unknown_us: i64,
}

impl Sums {
    /// Counts the parts together.
    pub fn of(parts: &[Part]) -> Self {
        let mut sums = Self::default();
        for part in parts {
            sums.add(part.fate, part.range.to.0 - part.range.from.0);
        }
        sums
    }

    fn add(&mut self, fate: Fate, us: i64) {
        *match fate {
            Fate::Recorded => &mut self.recorded_us,
            Fate::Absent(Absence::NotWanted) => &mut self.not_wanted_us,
            Fate::Absent(Absence::Missing(cause)) => self.missing_us.entry(cause).or_default(),
            Fate::Unknown => &mut self.unknown_us,
        } += us;
    }

    /// How much of the wanted time was recorded, in percent; `None` if none was wanted.
    #[expect(clippy::cast_precision_loss, reason = "exact to the microsecond for 285 years")]
    pub fn percent(&self) -> Option<f64> {
        let wanted = self.recorded_us + self.missing_us.values().sum::<i64>();
        (wanted > 0).then(|| 100.0 * self.recorded_us as f64 / wanted as f64)
    }
}

/// Whether something is counted in or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// In.
    Plus,
    /// Out again.
    Minus,
}

/// Sums of the last two UTC days, counted as it happens.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<i64, Sums>);

impl Tally {
    /// Counts recorded time.
    pub fn recorded(&mut self, range: Range, sign: Sign) {
        self.count(range, Fate::Recorded, sign);
    }

    /// Counts time without footage.
    pub fn absent(&mut self, range: Range, absence: Absence, sign: Sign) {
        self.count(range, Fate::Absent(absence), sign);
    }

    /// Where the day before `at`'s begins: earlier days are not counted.
    pub fn first(at: WallUs) -> WallUs {
        WallUs((at.0.div_euclid(DAY_US) - 1) * DAY_US)
    }

    /// The UTC day so many days before that of `now`, with what is open up to `now`.
    pub fn day(&self, ago: i64, now: WallUs, open: &[Stretch]) -> Sums {
        let mut with_open = self.clone();
        for stretch in open {
            let to = stretch.to.map_or(now, |to| to.min(now));
            with_open.absent(Range { from: stretch.from, to }, stretch.absence, Sign::Plus);
        }
        with_open.0.remove(&(now.0.div_euclid(DAY_US) - ago)).unwrap_or_default()
    }

    fn count(&mut self, Range { from, to }: Range, fate: Fate, sign: Sign) {
        if from >= to {
            return;
        }
        let last = (to.0 - 1).div_euclid(DAY_US);
        let newest = self.0.keys().next_back().map_or(last, |day| last.max(*day));
        self.0.retain(|day, _| *day >= newest - 1);
        for day in from.0.div_euclid(DAY_US).max(newest - 1)..=last {
            let us = to.0.min((day + 1) * DAY_US) - from.0.max(day * DAY_US);
            self.0.entry(day).or_default().add(fate, if sign == Sign::Plus { us } else { -us });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn range(from: i64, to: i64) -> Range {
        Range { from: WallUs(from), to: WallUs(to) }
    }

    fn stretch(from: i64, to: impl Into<Option<i64>>, absence: Absence) -> Stretch {
        Stretch { from: WallUs(from), to: to.into().map(WallUs), absence }
    }

    const OFFLINE: Absence = Absence::Missing(Cause::CameraOffline);
    const S: i64 = 1_000_000;

    #[test]
    fn footage_wins_slivers_belong_to_it_and_nothing_is_left_out() {
        let footage = [range(10 * S, 20 * S), range(20 * S + 30_000, 30 * S), range(50 * S, 60 * S)];
        let rows = [
            stretch(0, 10 * S, Absence::NotWanted),
            stretch(30 * S, 55 * S, OFFLINE),
            stretch(70 * S, None, Absence::Missing(Cause::Auth)),
        ];
        let found = parts(&footage, &rows, range(5 * S, 100 * S), WallUs(80 * S));
        let part = |from: i64, to: i64, fate| Part { range: range(from * S, to * S), fate };
        let expected = [
            part(5, 10, Fate::Absent(Absence::NotWanted)),
            part(10, 30, Fate::Recorded),
            part(30, 50, Fate::Absent(OFFLINE)),
            part(50, 60, Fate::Recorded),
            part(60, 70, Fate::Unknown),
            part(70, 80, Fate::Absent(Absence::Missing(Cause::Auth))),
        ];
        assert_eq!(found, expected);
        let sums = Sums::of(&found);
        assert_eq!((sums.recorded_us, sums.not_wanted_us, sums.unknown_us), (30 * S, 5 * S, 10 * S));
        assert_eq!(sums.percent(), Some(50.0));
        assert_eq!(Sums::of(&parts(&[], &rows[..1], range(0, 9), WallUs(99))).percent(), None);
    }

    #[test]
    fn a_day_is_counted_as_it_happens_and_the_one_before_last_forgotten() {
        let mut tally = Tally::default();
        tally.absent(range(0, 10 * DAY_US), Absence::NotWanted, Sign::Plus);
        tally.recorded(range(10 * DAY_US, 10 * DAY_US + 30 * S), Sign::Plus);
        tally.absent(range(10 * DAY_US + 30 * S, 10 * DAY_US + 40 * S), OFFLINE, Sign::Plus);
        let now = WallUs(10 * DAY_US + 40 * S);
        assert_eq!(tally.day(0, now, &[]).percent(), Some(75.0));
        assert_eq!(tally.day(0, now, &[stretch(10 * DAY_US + 30 * S, None, OFFLINE)]).percent(), Some(60.0));
        assert_eq!(tally.day(1, now, &[]).not_wanted_us, DAY_US);
        tally.recorded(range(12 * DAY_US, 12 * DAY_US + 1), Sign::Plus);
        assert_eq!(tally.day(0, now, &[]), Sums::default());
    }

    proptest! {
        #[test]
        fn parts_have_no_hole_and_no_footage_is_hidden(
            footage in vec((0i64..100, 1i64..30), 0..12), rows in vec((0i64..100, 1i64..30), 0..12),
            (from, to) in (0i64..60, 60i64..120), now in 90i64..200) {
            let ordered = |mut list: Vec<(i64, i64)>| { list.sort_unstable(); list };
            let footage: Vec<Range> =
                ordered(footage).iter().map(|(at, len)| range(at * S, (at + len) * S)).collect();
            let rows: Vec<Stretch> =
                ordered(rows).iter().map(|(at, len)| stretch(at * S, (at + len) * S, OFFLINE)).collect();
            let window = range(from * S, to * S);
            let found = parts(&footage, &rows, window, WallUs(now * S));
            let mut at = window.from;
            for part in &found {
                prop_assert_eq!(part.range.from, at);
                prop_assert!(part.range.from < part.range.to && part.range.to <= window.to);
                at = part.range.to;
            }
            for second in from..at.0 / S {
                let is = |mut list: Box<dyn Iterator<Item = (i64, i64)>>| list.any(|(a, b)| a <= second * S && second * S < b);
                let expected = if is(Box::new(footage.clone().into_iter().map(|r| (r.from.0, r.to.0)))) {
                    Fate::Recorded
                } else if is(Box::new(rows.clone().into_iter().filter_map(|r| Some((r.from.0, r.to?.0))))) {
                    Fate::Absent(OFFLINE)
                } else {
                    Fate::Unknown
                };
                let got = found.iter().find(|part| part.range.from.0 <= second * S && second * S < part.range.to.0);
                prop_assert_eq!(got.map(|part| part.fate), Some(expected), "second {}", second);
            }
        }

        #[test]
        fn what_is_left_of_a_stretch_and_the_footage_are_the_stretch(a in 0i64..50, b in 1i64..50, f in 0i64..99, g in 1i64..50,
                                                                      open in any::<bool>()) {
            let whole = stretch(a, (!open).then_some(a + b), OFFLINE);
            let footage = range(f, f + g);
            let left = without(whole, footage);
            for at in 0..150 {
                let in_it = |s: &Stretch| s.from.0 <= at && s.to.is_none_or(|to| at < to.0);
                let expected = in_it(&whole) && !(footage.from.0 <= at && at < footage.to.0);
                prop_assert_eq!(left.iter().filter(|s| in_it(s)).count(), usize::from(expected), "{} of {:?}", at, left);
            }
        }
    }
}
