//! Names of segment files: `<camera>/YYYYMMDD_HHMMSS[_N].mp4`, the UTC time of the first frame.

use chrono::NaiveDateTime;

use crate::base::{CameraId, WallUs};

const FORMAT: &str = "%Y%m%d_%H%M%S";

/// The file's name. `copy` 0 has no suffix; 1, 2 … are for further files that began in the same second.
pub fn file_name(start: WallUs, copy: u32) -> String {
    let stem = start.utc().format(FORMAT);
    if copy == 0 { format!("{stem}.mp4") } else { format!("{stem}_{copy}.mp4") }
}

/// The path below the volume's root.
pub fn relative_path(camera: &CameraId, start: WallUs, copy: u32) -> String {
    format!("{camera}/{}", file_name(start, copy))
}

/// The second that a segment's file name says, or `None` for a file that is not ours.
pub fn start_of(file_name: &str) -> Option<WallUs> {
    let stem = file_name.strip_suffix(".mp4")?;
    let (time, suffix) = stem.split_at_checked(15)?;
    let ours = suffix.is_empty()
        || suffix.strip_prefix('_').is_some_and(|n| {
            !n.is_empty() && n.len() < 10 && n.bytes().all(|c| c.is_ascii_digit()) && !n.starts_with('0')
        });
    let time = NaiveDateTime::parse_from_str(time, FORMAT).ok().filter(|_| ours)?;
    Some(WallUs(time.and_utc().timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn foreign_names_are_not_ours() {
        for name in [
            "a.mp4",
            "20261120_100000.mkv",
            "20261120_100000_.mp4",
            "20261120_100000_0.mp4",
            "20261320_100000.mp4",
            "20261120-100000.mp4",
            "20261120_100000x.mp4",
            "",
            "ä.mp4",
        ] {
            assert_eq!(start_of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_tells_its_second(us in 0i64..4_102_444_800_000_000, copy in 0u32..100) {
            let name = file_name(WallUs(us), copy);
            prop_assert_eq!(start_of(&name), Some(WallUs(us - us % 1_000_000)));
        }
    }
}
