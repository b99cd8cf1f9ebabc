//! Ids that cannot be mistaken for other text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A camera's id: a slug `[a-z0-9][a-z0-9_-]{0,62}`, which is also the name of its directory. Because only a
/// checked slug becomes a `CameraId`, an id can stand in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CameraId(String);

/// Why a text is no camera id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a camera id has 1 to 63 characters of a-z, 0-9, `-` and `_`, and begins with a letter or digit")]
pub struct BadCameraId;

impl CameraId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CameraId {
    type Err = BadCameraId;

    fn from_str(text: &str) -> Result<Self, BadCameraId> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let slug = (1..=63).contains(&text.len())
            && text.bytes().next().is_some_and(plain)
            && text.bytes().all(|c| plain(c) || c == b'-' || c == b'_');
        if slug { Ok(Self(text.to_owned())) } else { Err(BadCameraId) }
    }
}

impl TryFrom<String> for CameraId {
    type Error = BadCameraId;

    fn try_from(text: String) -> Result<Self, BadCameraId> {
        text.parse()
    }
}

impl From<CameraId> for String {
    fn from(id: CameraId) -> Self {
        id.0
    }
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slugs_are_ids() {
        for good in ["a", "0", "front-door_2", &"x".repeat(63)] {
            assert_eq!(good.parse::<CameraId>().unwrap().as_str(), good);
        }
        for bad in ["", "../x", "..", "Front", "-a", "_a", "a b", "a/b", "a.b", "ä", "a\0", &"x".repeat(64)]
        {
            assert_eq!(bad.parse::<CameraId>(), Err(BadCameraId), "{bad:?}");
        }
    }
}
