//! Holds: stretches of a camera's time of which nothing may be deleted.

use std::time::Duration;

use super::{
    camera::{BadField, TEXT_MAX, text},
    timeline::Range,
};
use crate::base::{CameraId, WallUs};

/// Longest hold: a year and a day.
pub const HOLD_MAX: Duration = Duration::from_secs(366 * 86_400);
/// So many holds a camera may have.
pub const HOLDS_MAX: u32 = 1_000;

/// A hold before it has an id. It protects each segment that it touches, open ones and those to come, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHold {
    /// Whose footage.
    pub camera: CameraId,
    /// Of which time.
    pub range: Range,
    /// What for, for people.
    pub reason: String,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id, never used twice.
    pub id: i64,
    /// What it says.
    pub hold: NewHold,
    /// When it was made.
    pub created: WallUs,
}

/// A hold with what it keeps on disk now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldKeeps {
    /// Which.
    pub hold: Hold,
    /// So many segments.
    pub segments: u64,
    /// Their bytes; those that several holds touch count for each.
    pub bytes: u64,
}

impl NewHold {
    /// Whether it can be taken.
    pub fn check(&self) -> Result<(), BadField> {
        let Range { from, to } = self.range;
        if to <= from {
            return Err(BadField::new("to", "is not after `from`"));
        }
        if from.plus(HOLD_MAX) < to {
            let days = HOLD_MAX.as_secs() / 86_400;
            return Err(BadField::new("to", format!("is more than {days} days after `from`; make several")));
        }
        if self.reason.trim().is_empty() {
            return Err(BadField::new(
                "reason",
                format!("is empty; say what for, in up to {TEXT_MAX} bytes"),
            ));
        }
        text("reason", &self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        let day = |n: i64| WallUs(n * 86_400_000_000);
        let hold = |from, to, reason: &str| NewHold {
            camera: "front".parse().unwrap(),
            range: Range { from, to },
            reason: reason.to_owned(),
        };
        assert_eq!(hold(day(0), day(366), "theft").check(), Ok(()));
        for (bad, field) in [
            (hold(day(2), day(1), "x"), "to"),
            (hold(day(1), day(1), "x"), "to"),
            (hold(day(0), day(367), "x"), "to"),
            (hold(WallUs(i64::MIN), WallUs(i64::MAX), "x"), "to"),
            (hold(day(0), day(1), " "), "reason"),
            (hold(day(0), day(1), "a\nb"), "reason"),
            (hold(day(0), day(1), &"x".repeat(257)), "reason"),
        ] {
            assert_eq!(bad.check().unwrap_err().field, field, "{bad:?}");
        }
    }
}
