//! Times as people type and read them. Inside and on the wire all times are UTC; only here they have a zone.

use std::str::FromStr;

use chrono::{DateTime, Days, Local, NaiveDate, TimeZone};

use super::fail::Failure;
use crate::base::{WallUs, time::day_begins};

/// What is told to those who write a time in another way.
const FORMS: &str =
    "write it like 2026-11-20T10:00:00Z, 2026-11-20, today, yesterday, now, -2h, -30m, -1h30m or -7d";

/// A time as it was typed; what it means depends on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(WallUs),
    /// So many seconds ago.
    Ago(i64),
    /// The beginning of the day, so many days ago.
    DayBefore(u64),
    /// The beginning of that day.
    Day(NaiveDate),
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "now" => return Ok(Self::Ago(0)),
            "today" => return Ok(Self::DayBefore(0)),
            "yesterday" => return Ok(Self::DayBefore(1)),
            _ => {}
        }
        if let Some(ago) = text.strip_prefix('-') {
            return seconds(ago).map(Self::Ago).ok_or(FORMS);
        }
        let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(Self::Day);
        WallUs::parse(text).map(Self::At).or_else(day).ok_or(FORMS)
    }
}

/// `1h30m` in seconds.
fn seconds(text: &str) -> Option<i64> {
    let mut sum: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = rest.split_at(digits);
        let unit_seconds = match unit.as_bytes().first()? {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(unit_seconds)?)?;
        rest = &unit[1..];
    }
    // A thousand years; more is a slip, and would leave the calendar.
    (!text.is_empty() && sum <= 31_557_600_000).then_some(sum)
}

impl When {
    /// The time that is meant, if it is `now`. Days begin in `now`'s zone.
    pub(super) fn at<Z: TimeZone>(self, now: &DateTime<Z>) -> WallUs {
        let us = |time: &DateTime<Z>| WallUs(time.timestamp_micros());
        match self {
            Self::At(time) => time,
            Self::Ago(seconds) => us(now).plus_us(-seconds.saturating_mul(1_000_000)),
            Self::DayBefore(_) | Self::Day(_) => day_begins(self.date(now), &now.timezone()),
        }
    }

    /// The whole day that is meant, which may have 23 or 25 hours.
    pub(super) fn whole_day<Z: TimeZone>(self, now: &DateTime<Z>) -> (WallUs, WallUs) {
        let day = self.date(now);
        let next = day.checked_add_days(Days::new(1)).unwrap_or(day);
        (day_begins(day, &now.timezone()), day_begins(next, &now.timezone()))
    }

    fn date<Z: TimeZone>(self, now: &DateTime<Z>) -> NaiveDate {
        match self {
            Self::Day(day) => day,
            Self::DayBefore(days) => {
                let today = now.date_naive();
                today.checked_sub_days(Days::new(days)).unwrap_or(today)
            }
            Self::At(_) | Self::Ago(_) => self.at(now).utc().with_timezone(&now.timezone()).date_naive(),
        }
    }
}

/// The range between two times.
pub(super) fn range<Z: TimeZone>(
    from: When,
    to: When,
    now: &DateTime<Z>,
) -> Result<(WallUs, WallUs), Failure> {
    let (from, to) = (from.at(now), to.at(now));
    if from < to {
        return Ok((from, to));
    }
    let range = format!("{} to {}", from.rfc3339(), to.rfc3339());
    Err(Failure::usage(format!("--from is not before --to: {range}")))
}

/// Reads a day.
pub(super) fn day(text: &str) -> Result<When, &'static str> {
    match text.parse() {
        Ok(day @ (When::DayBefore(_) | When::Day(_))) => Ok(day),
        _ => Err("write it like today, yesterday or 2026-11-20"),
    }
}

/// Now, where the user is.
pub(super) fn now() -> DateTime<Local> {
    WallUs::now().utc().with_timezone(&Local)
}

/// A time for tables, in the user's zone.
pub(super) fn shown(time: WallUs) -> String {
    shown_in(time, &Local)
}

fn shown_in<Z: TimeZone>(time: WallUs, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    time.utc().with_timezone(zone).format("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// How long it is since `time`, in two units at most.
pub(super) fn since(time: WallUs, now: WallUs) -> String {
    let seconds = now.0.saturating_sub(time.0).max(0) / 1_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::FixedOffset;
    use proptest::prelude::*;

    fn at(text: &str) -> Option<String> {
        let zone = FixedOffset::east_opt(2 * 3600).unwrap();
        // 01:30 in that zone, still the day before in UTC.
        let now = DateTime::parse_from_rfc3339("2026-11-20T01:30:00+02:00").unwrap().with_timezone(&zone);
        text.parse::<When>().ok().map(|when| when.at(&now).rfc3339().replace(".000000Z", "Z"))
    }

    #[test]
    fn times_are_relative_to_now_and_days_to_the_zone() {
        for (typed, meant) in [
            ("now", "2026-11-19T23:30:00Z"),
            ("-2h", "2026-11-19T21:30:00Z"),
            ("-30m", "2026-11-19T23:00:00Z"),
            ("-90s", "2026-11-19T23:28:30Z"),
            ("-1h30m", "2026-11-19T22:00:00Z"),
            ("-7d", "2026-11-12T23:30:00Z"),
            ("-1w", "2026-11-12T23:30:00Z"),
            ("today", "2026-11-19T22:00:00Z"),
            ("yesterday", "2026-11-18T22:00:00Z"),
            ("2026-11-01", "2026-10-31T22:00:00Z"),
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00Z"),
        ] {
            assert_eq!(at(typed).as_deref(), Some(meant), "{typed}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in
            ["", "-", "2h", "-h", "-2", "-2y", "-2h ", "-2hh", "tomorrow", "12:00", "-99999999999d", "-1h-2m"]
        {
            assert_eq!(at(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_are_shown_with_their_zone_and_spans_in_two_units() {
        let zone = FixedOffset::east_opt(2 * 3600).unwrap();
        let time = WallUs::parse("2026-11-20T10:00:00Z").unwrap();
        assert_eq!(shown_in(time, &zone), "2026-11-20 12:00:00 +02:00");
        let spans = [-5, 5, 65, 3700, 90_000].map(|s| since(WallUs(0), WallUs(s * 1_000_000)));
        assert_eq!(spans, ["0 s", "5 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    }

    proptest! {
        #[test]
        fn whatever_is_typed_gives_an_answer(text in "-?[0-9a-z:T+-]{0,24}") {
            let _ = at(&text);
        }
    }
}
