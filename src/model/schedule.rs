//! When a camera is to be recorded by the week: rows of weekdays and times of day in a time zone.
//!
//! A row's window begins the first time that the clock on the wall shows its start, and ends the last time that it
//! shows its end. On the two odd days of a year this means:
//!
//! - an hour that is left out: a time inside it is the moment of the jump. A window that lies in it whole falls away;
//! - an hour that comes twice: a window that touches it is one stretch through both passes. So the camera is recorded
//!   longer than its row says, and never shorter.
//!
//! `start` after `end` goes on into the next day, and the part after midnight belongs to the day before. `start` equal
//! to `end` is the whole day, midnight to midnight. Rows may overlap: what is recorded is their union.

use std::iter;

use chrono::{Datelike as _, Days, MappedLocalTime, NaiveDateTime, TimeDelta, TimeZone as _};
pub use chrono_tz::Tz as Zone;
use chrono_tz::{GapInfo, TZ_VARIANTS};
use serde::{Deserialize, Serialize};

use super::{camera::BadField, timeline::Range};
use crate::base::WallUs;

/// Rows of one schedule: more than a week painted in half hours can have.
pub const ROWS_MAX: usize = 200;

const DAY: u16 = 24 * 60;
const WEEK: u16 = 7 * DAY;
/// The end of the year 9999. Calendars of later times are nobody's concern.
const LAST: WallUs = WallUs(253_402_300_799_000_000);

/// One row as somebody gives it, and as it is shown and stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// 0 = Monday to 6 = Sunday, each once.
    pub weekdays: Vec<u8>,
    /// `HH:MM`, 00:00 to 23:59.
    pub start: String,
    /// `HH:MM`, 00:00 to 23:59; midnight at the day's end is 00:00.
    pub end: String,
    /// Whether it counts.
    pub enabled: bool,
}

impl Row {
    /// The minutes of the week that it covers, the week beginning with Monday; or which field is wrong, and why.
    fn minutes(&self) -> Result<Vec<(u16, u16)>, (String, String)> {
        let bad = |field: &str, message: &str| (field.to_owned(), message.to_owned());
        if self.weekdays.is_empty() {
            return Err(bad("weekdays", "is empty; 0 is Monday and 6 is Sunday"));
        }
        for (n, day) in self.weekdays.iter().enumerate() {
            if *day > 6 {
                return Err(bad(&format!("weekdays[{n}]"), "is 0 (Monday) to 6 (Sunday)"));
            }
            if self.weekdays[..n].contains(day) {
                return Err(bad(&format!("weekdays[{n}]"), &format!("{day} is there twice")));
            }
        }
        let minute = |field, text| minute_of_day(text).map_err(|message| bad(field, message));
        let (start, end) = (minute("start", &self.start)?, minute("end", &self.end)?);
        let (start, end) = match start.cmp(&end) {
            std::cmp::Ordering::Less => (start, end),
            std::cmp::Ordering::Equal => (0, DAY),
            std::cmp::Ordering::Greater => (start, end + DAY),
        };
        let mut found = Vec::new();
        for day in self.weekdays.iter().filter(|_| self.enabled) {
            let midnight = u16::from(*day) * DAY;
            let (start, end) = (midnight + start, midnight + end);
            found.push((start, end.min(WEEK)));
            // Sunday's night is Monday's morning.
            found.extend((end > WEEK).then(|| (0, end - WEEK)));
        }
        Ok(found)
    }
}

fn minute_of_day(text: &str) -> Result<u16, &'static str> {
    let two = |digits: &[u8]| match digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
        }
        _ => None,
    };
    let parts = text.as_bytes().split_at_checked(2).and_then(|(hours, rest)| {
        let minutes = rest.strip_prefix(b":")?;
        Some((two(hours)?, two(minutes)?))
    });
    match parts {
        Some((hours @ 0..24, minutes @ 0..60)) => Ok(hours * 60 + minutes),
        Some((24, 0)) => Err("write the midnight at the end of a day as 00:00"),
        _ => Err("must be a time of day as HH:MM, 00:00 to 23:59"),
    }
}

/// Rows, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    rows: Vec<Row>,
    /// Their union in minutes of the week: in order, apart from each other, each a part of one week.
    week: Vec<(u16, u16)>,
}

impl Schedule {
    /// The schedule that these rows are; none at all covers nothing.
    pub fn new(rows: Vec<Row>) -> Result<Self, BadField> {
        if rows.len() > ROWS_MAX {
            return Err(BadField::new("schedule", format!("has more than {ROWS_MAX} rows")));
        }
        let mut parts = Vec::new();
        for (n, row) in rows.iter().enumerate() {
            let minutes = row.minutes();
            parts.extend(
                minutes
                    .map_err(|(field, message)| BadField::new(format!("schedule[{n}].{field}"), message))?,
            );
        }
        parts.sort_unstable();
        let mut week: Vec<(u16, u16)> = Vec::new();
        for (start, end) in parts {
            match week.last_mut() {
                Some((_, last)) if start <= *last => *last = end.max(*last),
                _ => week.push((start, end)),
            }
        }
        Ok(Self { rows, week })
    }

    /// Its rows, as they were given.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether it covers nothing or everything.
    fn is_constant(&self) -> bool {
        matches!(*self.week, [] | [(0, WEEK)])
    }

    /// Its windows in order of time, beginning with those around `at`. Neighbours may touch or overlap. They
    /// end with the calendar, so stop before.
    fn windows_from(&self, zone: Zone, at: WallUs) -> impl Iterator<Item = Range> {
        let local = WallUs(at.0.clamp(0, LAST.0)).utc().with_timezone(&zone).naive_local();
        // Clocks are not set by more than a day.
        let before = local - TimeDelta::days(2);
        let monday = before.date() - Days::new(before.weekday().num_days_from_monday().into());
        let monday = monday.and_hms_opt(0, 0, 0).filter(|_| !self.week.is_empty());
        let weeks = iter::successors(monday, |week| week.checked_add_days(Days::new(7)));
        let weeks = weeks.take_while(|week| week.year() <= LAST.utc().year());
        weeks
            .flat_map(|week| self.week.iter().map(move |part| (week, part)))
            .map(|(week, (start, end))| {
                let local = |minute: &u16| week + TimeDelta::minutes(i64::from(*minute));
                (local(start), local(end))
            })
            .skip_while(move |(_, end)| *end < before)
            .map(move |(start, end)| Range {
                from: instant(zone, start, i64::min),
                to: instant(zone, end, i64::max),
            })
            .filter(|range| range.from < range.to)
    }
}

/// When the clocks of `zone` show `local`; `pick` chooses when they do so twice. Where they never do, it is the moment at
/// which they jump over it.
fn instant(zone: Zone, local: NaiveDateTime, pick: fn(i64, i64) -> i64) -> WallUs {
    WallUs(match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(at) => at.timestamp_micros(),
        MappedLocalTime::Ambiguous(a, b) => pick(a.timestamp_micros(), b.timestamp_micros()),
        MappedLocalTime::None => {
            let jump = GapInfo::new(&local, &zone).and_then(|gap| gap.end);
            jump.map_or_else(|| local.and_utc().timestamp_micros(), |at| at.timestamp_micros())
        }
    })
}

/// Whether `at` is inside a window.
pub fn covers(schedule: &Schedule, zone: Zone, at: WallUs) -> bool {
    let mut begun = schedule.windows_from(zone, at).take_while(|window| window.from <= at);
    begun.any(|window| at < window.to)
}

/// The next instant after `after` at which recording begins or ends; `None` if none ever does.
pub fn next_edge(schedule: &Schedule, zone: Zone, after: WallUs) -> Option<WallUs> {
    if schedule.is_constant() {
        return None;
    }
    let mut open_until: Option<WallUs> = None;
    for window in schedule.windows_from(zone, after).filter(|window| window.to > after) {
        match open_until {
            Some(end) if window.from > end => break,
            None if window.from > after => return Some(window.from),
            _ => open_until = open_until.max(Some(window.to)),
        }
    }
    open_until
}

/// The windows within `from..to`, in order, apart from each other and cut to the range. The caller bounds the range: each
/// week costs a few microseconds.
pub fn windows(schedule: &Schedule, zone: Zone, from: WallUs, to: WallUs) -> Vec<Range> {
    let mut found: Vec<Range> = Vec::new();
    let touching = schedule.windows_from(zone, from).take_while(|window| window.from < to);
    for window in touching.filter(|window| window.to > from) {
        match found.last_mut() {
            Some(last) if window.from <= last.to => last.to = last.to.max(window.to),
            _ => found.push(window),
        }
    }
    for window in &mut found {
        *window = Range { from: window.from.max(from), to: window.to.min(to) };
    }
    found
}

/// The zone that an IANA name says, such as `Europe/Berlin`.
pub fn zone(name: &str) -> Result<Zone, BadField> {
    name.parse().map_err(|_| {
        let meant = TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
        let meant = meant.map_or("Europe/Berlin", |zone| zone.name());
        let named: String = name.chars().take(40).collect();
        BadField::new("time_zone", format!("`{named}` is no IANA name of a time zone, such as `{meant}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::subsequence};

    const BERLIN: Zone = Zone::Europe__Berlin;
    const NEW_YORK: Zone = Zone::America__New_York;
    const MINUTE_US: i64 = 60_000_000;

    fn row(weekdays: &[u8], start: &str, end: &str) -> Row {
        Row { weekdays: weekdays.to_vec(), start: start.into(), end: end.into(), enabled: true }
    }

    fn of(rows: &[(&[u8], &str, &str)]) -> Schedule {
        Schedule::new(rows.iter().map(|(days, start, end)| row(days, start, end)).collect()).unwrap()
    }

    fn at(text: &str) -> WallUs {
        WallUs::parse(text).unwrap()
    }

    /// The windows of a week as its clocks show them: `Sun 22:00+02:00` to `Mon 06:00+02:00`.
    fn week(schedule: &Schedule, zone: Zone, from: &str) -> Vec<String> {
        let shown = |at: WallUs| at.utc().with_timezone(&zone).format("%a %H:%M%:z").to_string();
        let from = at(from);
        let found = windows(schedule, zone, from, from.plus_us(7 * 24 * 60 * MINUTE_US));
        found.iter().map(|range| format!("{} to {}", shown(range.from), shown(range.to))).collect()
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_began() {
        let schedule = of(&[(&[4], "22:00", "06:00"), (&[6], "20:00", "04:00"), (&[2], "09:30", "09:30")]);
        assert_eq!(
            week(&schedule, BERLIN, "2026-06-01T00:00:00+02:00"),
            [
                "Mon 00:00+02:00 to Mon 04:00+02:00",
                "Wed 00:00+02:00 to Thu 00:00+02:00",
                "Fri 22:00+02:00 to Sat 06:00+02:00",
                "Sun 20:00+02:00 to Mon 00:00+02:00",
            ]
        );
        let inside = |text| covers(&schedule, BERLIN, at(text));
        assert!(inside("2026-06-05T22:00:00+02:00") && !inside("2026-06-05T21:59:59.999999+02:00"));
        assert!(inside("2026-06-06T05:59:59.999999+02:00") && !inside("2026-06-06T06:00:00+02:00"));
        assert!(!inside("2026-06-05T03:00:00+02:00"), "the morning of its own day");
    }

    #[test]
    fn overlapping_rows_are_one_window_and_disabled_ones_none() {
        let mut rows = vec![
            row(&[0], "08:00", "12:00"),
            row(&[0], "11:00", "13:00"),
            row(&[0], "13:00", "14:00"),
            row(&[1], "08:00", "12:00"),
        ];
        rows[3].enabled = false;
        let schedule = Schedule::new(rows.clone()).unwrap();
        assert_eq!(
            week(&schedule, Zone::UTC, "2026-06-01T00:00:00Z"),
            ["Mon 08:00+00:00 to Mon 14:00+00:00"]
        );
        assert_eq!(
            next_edge(&schedule, Zone::UTC, at("2026-06-01T10:00:00Z")),
            Some(at("2026-06-01T14:00:00Z"))
        );
        assert_eq!(
            next_edge(&schedule, Zone::UTC, at("2026-06-01T14:00:00Z")),
            Some(at("2026-06-08T08:00:00Z"))
        );
        assert_eq!(schedule.rows(), rows);
    }

    #[test]
    fn what_never_changes_has_no_edge() {
        let always = of(&[
            (&[0, 1, 2, 3, 4, 5], "00:00", "00:00"),
            (&[6], "00:00", "12:00"),
            (&[6], "12:00", "00:00"),
        ]);
        for now in ["2026-03-29T01:30:00Z", "2026-10-25T00:30:00Z"] {
            assert_eq!(next_edge(&always, BERLIN, at(now)), None);
            assert!(covers(&always, BERLIN, at(now)));
            assert_eq!(next_edge(&Schedule::default(), BERLIN, at(now)), None);
            assert!(!covers(&Schedule::default(), BERLIN, at(now)));
        }
        for far in [WallUs(i64::MIN), WallUs(-1), WallUs(i64::MAX)] {
            let some = of(&[(&[0], "08:00", "09:00")]);
            let _ = (covers(&some, BERLIN, far), next_edge(&some, BERLIN, far));
        }
    }

    #[test]
    fn the_hour_that_is_left_out() {
        let rows: &[(&[u8], &str, &str)] = &[
            (&[5, 6], "22:00", "02:30"),
            (&[6], "02:10", "02:50"),
            (&[6], "02:45", "04:00"),
            (&[6, 0], "05:00", "06:00"),
        ];
        assert_eq!(
            week(&of(rows), BERLIN, "2026-03-24T00:00:00+01:00"),
            [
                "Sat 22:00+01:00 to Sun 04:00+02:00",
                "Sun 05:00+02:00 to Sun 06:00+02:00",
                "Sun 22:00+02:00 to Mon 02:30+02:00",
                "Mon 05:00+02:00 to Mon 06:00+02:00",
            ]
        );
        let lost = of(&[(&[6], "02:10", "02:50")]);
        assert_eq!(
            week(&lost, NEW_YORK, "2026-03-02T00:00:00-05:00"),
            [""; 0],
            "lies in the hour from 2 to 3 that is not there"
        );
        assert_eq!(
            next_edge(&lost, NEW_YORK, at("2026-03-07T00:00:00Z")),
            Some(at("2026-03-15T02:10:00-04:00"))
        );
        let work = of(&[(&[5, 6, 0], "08:00", "18:00")]);
        assert_eq!(
            week(&work, NEW_YORK, "2026-03-05T00:00:00-05:00"),
            [
                "Sat 08:00-05:00 to Sat 18:00-05:00",
                "Sun 08:00-04:00 to Sun 18:00-04:00",
                "Mon 08:00-04:00 to Mon 18:00-04:00",
            ]
        );
    }

    #[test]
    fn the_hour_that_comes_twice() {
        let rows: &[(&[u8], &str, &str)] =
            &[(&[5, 6], "22:00", "02:30"), (&[6], "05:00", "06:00"), (&[0], "05:00", "06:00")];
        assert_eq!(
            week(&of(rows), BERLIN, "2026-10-20T00:00:00+02:00"),
            [
                "Sat 22:00+02:00 to Sun 02:30+01:00",
                "Sun 05:00+01:00 to Sun 06:00+01:00",
                "Sun 22:00+01:00 to Mon 02:30+01:00",
                "Mon 05:00+01:00 to Mon 06:00+01:00",
            ]
        );
        assert_eq!(
            week(&of(&[(&[6], "01:10", "01:20")]), NEW_YORK, "2026-10-29T00:00:00-04:00"),
            ["Sun 01:10-04:00 to Sun 01:20-05:00"]
        );
        // Without a whole day in between, a day of 25 hours is one window.
        assert_eq!(
            week(&of(&[(&[6], "00:00", "00:00")]), BERLIN, "2026-10-20T00:00:00+02:00"),
            ["Sun 00:00+02:00 to Mon 00:00+01:00"]
        );
    }

    #[test]
    fn days_that_begin_at_one_and_days_that_are_not_there() {
        let whole = of(&[(&[4, 5], "00:00", "00:00")]);
        // Clocks in Cairo go from midnight to 1 o'clock on the last Friday of April.
        assert_eq!(
            week(&whole, Zone::Africa__Cairo, "2026-04-20T00:00:00+02:00"),
            ["Fri 01:00+03:00 to Sun 00:00+03:00"]
        );
        // Samoa went over the date line, and had no Friday.
        assert_eq!(
            week(&whole, Zone::Pacific__Apia, "2011-12-26T00:00:00-10:00"),
            ["Sat 00:00+14:00 to Sun 00:00+14:00"]
        );
    }

    #[test]
    fn a_malformed_row_is_named() {
        let refused = |row: Row| Schedule::new(vec![self::row(&[0], "08:00", "09:00"), row]).unwrap_err();
        for (bad, field, words) in [
            (row(&[], "08:00", "09:00"), "schedule[1].weekdays", "is empty"),
            (row(&[0, 7], "08:00", "09:00"), "schedule[1].weekdays[1]", "0 (Monday) to 6"),
            (row(&[3, 3], "08:00", "09:00"), "schedule[1].weekdays[1]", "3 is there twice"),
            (row(&[0], "8:00", "09:00"), "schedule[1].start", "HH:MM"),
            (row(&[0], "08:60", "09:00"), "schedule[1].start", "HH:MM"),
            (row(&[0], "+8:00", "09:00"), "schedule[1].start", "HH:MM"),
            (row(&[0], "", "09:00"), "schedule[1].start", "HH:MM"),
            (row(&[0], "08:00", "09:00:00"), "schedule[1].end", "HH:MM"),
            (row(&[0], "08:00", "24:00"), "schedule[1].end", "as 00:00"),
            (row(&[0], "08:00", "ä9:00"), "schedule[1].end", "HH:MM"),
            (Row { enabled: false, ..row(&[0], "x", "09:00") }, "schedule[1].start", "HH:MM"),
        ] {
            let error = refused(bad);
            assert_eq!(error.field, field);
            assert!(error.message.contains(words), "{error}");
        }
        let many = vec![row(&[0], "08:00", "09:00"); ROWS_MAX + 1];
        assert_eq!(Schedule::new(many).unwrap_err().field, "schedule");
    }

    #[test]
    fn a_zone_is_known_by_its_name() {
        assert_eq!(zone("Europe/Berlin"), Ok(BERLIN));
        assert!(zone("europe/berlin").unwrap_err().message.ends_with("such as `Europe/Berlin`"));
        for bad in ["", "CEST+2", "/etc/passwd", &"x".repeat(9999)] {
            let error = zone(bad).unwrap_err();
            assert!(error.field == "time_zone" && error.message.len() < 200, "{error}");
        }
    }

    fn any_row() -> impl Strategy<Value = Row> {
        let times = (0u16..24, prop_oneof![Just(0u16), Just(30), 0u16..60]);
        (subsequence((0..7).collect::<Vec<u8>>(), 1..=7), times.clone(), times, prop::bool::weighted(0.9))
            .prop_map(|(weekdays, start, end, enabled)| {
                let text = |(hours, minutes): (u16, u16)| format!("{hours:02}:{minutes:02}");
                Row { weekdays, start: text(start), end: text(end), enabled }
            })
    }

    /// Whether a clock on the wall that shows `local` is inside a row: the rule as it stands in the contract.
    fn shown_inside(row: &Row, local: NaiveDateTime) -> bool {
        let day = u8::try_from(local.weekday().num_days_from_monday()).unwrap();
        let on = |day: u8| row.enabled && row.weekdays.contains(&day);
        let now = local.format("%H:%M").to_string();
        if row.start == row.end {
            on(day)
        } else if row.start < row.end {
            on(day) && row.start <= now && now < row.end
        } else {
            (on(day) && row.start <= now) || (on((day + 6) % 7) && now < row.end)
        }
    }

    proptest! {
        /// Against the contract's rule, minute for minute. Where an hour comes twice it may be longer.
        #[test]
        fn a_clock_on_the_wall_decides(rows in vec(any_row(), 0..5), minutes in 0i64..366 * 24 * 60,
                                       zone in prop::sample::select(vec![BERLIN, NEW_YORK, Zone::UTC, Zone::Asia__Kathmandu,
                                           Zone::Australia__Lord_Howe, Zone::Africa__Cairo])) {
            let now = at("2026-01-01T00:00:00Z").plus_us(minutes * MINUTE_US);
            let schedule = Schedule::new(rows.clone()).unwrap();
            let local = |at: WallUs| at.utc().with_timezone(&zone).naive_local();
            let shown = rows.iter().any(|row| shown_inside(row, local(now)));
            let found = covers(&schedule, zone, now);
            let day = 24 * 60 * MINUTE_US;
            let even = local(now.plus_us(day)) - local(now.plus_us(-day)) == TimeDelta::days(2);
            prop_assert!(found >= shown);
            prop_assert!(found == shown || !even);
        }

        #[test]
        fn nothing_changes_before_the_next_edge(rows in vec(any_row(), 0..5), us in 0i64..366 * 24 * 60 * MINUTE_US,
                                                part in 0.0f64..1.0,
                                                zone in prop::sample::select(vec![BERLIN, NEW_YORK, Zone::Africa__Cairo])) {
            let now = at("2026-01-01T00:00:00Z").plus_us(us);
            let schedule = Schedule::new(rows).unwrap();
            let inside = covers(&schedule, zone, now);
            let week = Range { from: now, to: now.plus_us(8 * 24 * 60 * MINUTE_US) };
            let listed = windows(&schedule, zone, week.from, week.to);
            prop_assert!(listed.iter().all(|w| w.from < w.to && w.from >= week.from && w.to <= week.to));
            prop_assert!(listed.windows(2).all(|pair| pair[0].to < pair[1].from));
            match next_edge(&schedule, zone, now) {
                Some(edge) => {
                    prop_assert!(edge > now);
                    prop_assert_eq!(covers(&schedule, zone, edge), !inside);
                    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "anywhere in between")]
                    let between = now.plus_us(((edge.0 - now.0) as f64 * part) as i64).min(edge.plus_us(-1));
                    prop_assert_eq!(covers(&schedule, zone, between), inside);
                    if edge < week.to {
                        let expected = if inside { listed[0].to } else { listed[0].from };
                        prop_assert_eq!(edge, expected);
                    }
                }
                None => prop_assert_eq!(listed, if inside { vec![week] } else { vec![] }),
            }
        }
    }
}
