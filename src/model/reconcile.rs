//! Files against rows: what recovery and `check` have to do. Nothing is ever deleted.

use std::collections::BTreeMap;

use super::{
    copies::CopyState,
    naming,
    segment::{Hash, SegmentState},
};
use crate::base::CameraId;

/// A file below the volume's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Path below the root, `/` between its parts.
    pub path: String,
    /// Its length, if it was looked at.
    pub bytes: Option<u64>,
}

/// A row, as far as this needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRow {
    /// Its id.
    pub id: i64,
    /// Path below the root.
    pub path: String,
    /// Frames that the row claims to be on disk.
    pub frames: u64,
    /// Bytes that the row claims to be on disk.
    pub bytes: u64,
    /// How far the row says its copy on this volume is.
    pub state: SegmentState,
    /// What the other volume has of it.
    pub other: CopyState,
    /// What its file must be, if that is known.
    pub hash: Option<Hash>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A row that was open when the process died, or that claims more than its file holds: measure the file up to
    /// its last whole fragment and close the row with that.
    Finish {
        /// The row.
        id: i64,
        /// Its file.
        path: String,
        /// Whether the row had been given up as lost.
        was_lost: bool,
    },
    /// A file of ours without a row: measure it and add a row.
    Adopt {
        /// Whose it is.
        camera: CameraId,
        /// The file.
        path: String,
    },
    /// A row without a file: mark it lost and say so.
    Lost {
        /// The row.
        id: i64,
        /// The file it had.
        path: String,
    },
}

/// What to do so that the rows say what is on disk. Lost rows whose file came back are finished again.
pub fn plan(files: &[FoundFile], rows: &[KnownRow]) -> Vec<Step> {
    let mut unknown: BTreeMap<&str, Option<u64>> =
        files.iter().map(|file| (file.path.as_str(), file.bytes)).collect();
    let mut steps = Vec::new();
    for KnownRow { id, path, bytes, state, .. } in rows {
        let on_disk = unknown.remove(path.as_str());
        let (id, path) = (*id, path.clone());
        match (on_disk, state) {
            // Whoever began to delete it ends it; nothing to take in, and nothing lost.
            (_, SegmentState::Deleting) => {}
            (None, SegmentState::Lost) => {}
            (None, _) => steps.push(Step::Lost { id, path }),
            (Some(held), SegmentState::Closed) if held.is_none_or(|held| held >= *bytes) => {}
            // Only its bytes could tell more.
            (Some(_), SegmentState::Suspect) => {}
            (Some(_), _) => {
                steps.push(Step::Finish { id, path, was_lost: *state == SegmentState::Lost });
            }
        }
    }
    steps.extend(unknown.keys().filter_map(|path| {
        let (camera, name) = path.split_once('/')?;
        naming::start_of(name)?;
        Some(Step::Adopt { camera: camera.parse().ok()?, path: (*path).to_owned() })
    }));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(path: &str, bytes: u64) -> FoundFile {
        FoundFile { path: path.to_owned(), bytes: Some(bytes) }
    }

    fn row(id: i64, path: &str, bytes: u64, state: SegmentState) -> KnownRow {
        KnownRow { id, path: path.to_owned(), frames: 0, bytes, state, other: CopyState::Absent, hash: None }
    }

    #[test]
    fn each_case_has_its_step() {
        use SegmentState::{Closed, Lost, Open, Suspect};
        let files = [
            file("a/20260101_000000.mp4", 10),
            file("a/20260101_000100.mp4", 10),
            file("a/20260101_000200.mp4", 5),
            file("a/20260101_000300.mp4", 7),
            file("a/20260101_000600.mp4", 7),
            FoundFile { path: "a/20260101_000700.mp4".into(), bytes: None },
            file("a/notes.txt", 1),
            file("NoSlug/20260101_000000.mp4", 1),
            file("a/b/20260101_000000.mp4", 1),
        ];
        let rows = [
            row(1, "a/20260101_000000.mp4", 10, Closed),
            row(2, "a/20260101_000100.mp4", 4, Open),
            row(3, "a/20260101_000200.mp4", 6, Closed),
            row(4, "a/20260101_000400.mp4", 6, Closed),
            row(5, "a/20260101_000500.mp4", 6, Lost),
            row(6, "a/20260101_000600.mp4", 8, Suspect),
            row(7, "a/20260101_000700.mp4", 8, Closed),
            row(8, "a/20260101_000800.mp4", 8, Suspect),
        ];
        let steps = plan(&files, &rows);
        assert_eq!(
            steps,
            [
                Step::Finish { id: 2, path: "a/20260101_000100.mp4".into(), was_lost: false },
                Step::Finish { id: 3, path: "a/20260101_000200.mp4".into(), was_lost: false },
                Step::Lost { id: 4, path: "a/20260101_000400.mp4".into() },
                Step::Lost { id: 8, path: "a/20260101_000800.mp4".into() },
                Step::Adopt { camera: "a".parse().unwrap(), path: "a/20260101_000300.mp4".into() },
            ]
        );
    }

    proptest! {
        #[test]
        fn what_agrees_needs_nothing_and_what_does_not_has_one_step(minutes in proptest::collection::vec(
            (0u8..60, any::<bool>(), any::<bool>()), 0..40)) {
            let mut files = BTreeMap::new();
            let mut rows = BTreeMap::new();
            for (minute, on_disk, known) in minutes {
                let path = format!("a/20260101_00{minute:02}00.mp4");
                if on_disk { files.insert(path.clone(), file(&path, 1)); }
                if known { rows.insert(path.clone(), row(minute.into(), &path, 1, SegmentState::Closed)); }
            }
            let differ = files.keys().filter(|path| !rows.contains_key(*path)).count()
                + rows.keys().filter(|path| !files.contains_key(*path)).count();
            let files: Vec<_> = files.into_values().collect();
            let rows: Vec<_> = rows.into_values().collect();
            prop_assert_eq!(plan(&files, &rows).len(), differ);
        }
    }
}
