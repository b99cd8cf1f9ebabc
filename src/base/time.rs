//! Wall-clock time: microseconds of UTC inside, RFC 3339 on the wire. Durations are measured with `Instant`.

use std::time::Duration;

use chrono::{DateTime, MappedLocalTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The IANA name of this system's time zone, or of the one that the environment variable `TZ` names, if there is one.
pub fn zone_name() -> Option<String> {
    let named = std::env::var("TZ").ok().map(|name| name.trim_start_matches(':').to_owned());
    named.filter(|name| !name.is_empty()).or_else(|| iana_time_zone::get_timezone().ok())
}

/// Microseconds of UTC since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallUs(pub i64);

impl WallUs {
    /// The host's clock, now. The only place that reads it.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now() -> Self {
        Self(Utc::now().timestamp_micros())
    }

    /// This time moved by `us` microseconds, stopping at the ends of the range.
    pub fn plus_us(self, us: i64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// This time and `duration` more.
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_us(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }

    /// This time less `duration`.
    pub fn minus(self, duration: Duration) -> Self {
        self.plus_us(i64::try_from(duration.as_micros()).map_or(i64::MIN, |us| -us))
    }

    /// As a calendar time; out-of-range values become the epoch.
    pub fn utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }

    /// `2026-11-20T10:00:00.000000Z`.
    pub fn rfc3339(self) -> String {
        self.utc().to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    /// Reads an RFC 3339 time of any offset.
    pub fn parse(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|time| Self(time.timestamp_micros()))
    }
}

/// The first moment of `day`. In some zones a day begins at one o'clock, because the hour before does not exist.
pub fn day_begins<Z: TimeZone>(day: NaiveDate, zone: &Z) -> WallUs {
    let midnight = day.and_time(NaiveTime::MIN);
    let tries = (0..=8).map(|n| midnight + TimeDelta::minutes(30 * n));
    let found = tries.map(|local| zone.from_local_datetime(&local)).find_map(|found| match found {
        MappedLocalTime::Single(time) | MappedLocalTime::Ambiguous(time, _) => Some(time.timestamp_micros()),
        MappedLocalTime::None => None,
    });
    WallUs(found.unwrap_or_else(|| midnight.and_utc().timestamp_micros()))
}

impl Serialize for WallUs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.rfc3339())
    }
}

impl<'de> Deserialize<'de> for WallUs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_keeps_microseconds() {
        let time = WallUs(1_795_168_800_123_456);
        assert_eq!(WallUs::parse(&time.rfc3339()), Some(time));
        assert_eq!(WallUs::parse("1970-01-01T01:00:00+01:00"), Some(WallUs(0)));
        assert_eq!(WallUs::parse("yesterday"), None);
    }
}
