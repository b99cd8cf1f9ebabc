//! The copies of a segment: the same bytes under the same name on each of two volumes.
//!
//! A copy is written live (`open`), is what was recorded (`whole`), may not be (`suspect`: shorter than the other, a sync
//! failed, or its hash is wrong), is not there (`absent`), or was let go by that volume's own retention (`deleting`, then
//! `pruned`). What the row as a whole is follows from both; a trigger of the schema keeps it so.

use super::camera::words;

/// One of the two volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The volume of the recordings.
    Primary,
    /// The one that holds the same bytes again.
    Mirror,
}

words!(Place { Primary = "primary", Mirror = "mirror" });

impl Place {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Mirror,
            Self::Mirror => Self::Primary,
        }
    }
}

/// What a volume has of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// Nothing, though it should have: it is to be copied from the other volume.
    Absent,
    /// What has been written of it so far.
    Open,
    /// All of it.
    Whole,
    /// A file that may not be what was recorded.
    Suspect,
    /// A file that is being deleted, or is deleted already.
    Deleting,
    /// Nothing any more: its volume needed the room, or its time was over.
    Pruned,
    /// Nothing, and it should not have: recorded for the mirror alone.
    Unwanted,
}

words!(CopyState {
    Absent = "absent",
    Open = "open",
    Whole = "whole",
    Suspect = "suspect",
    Deleting = "deleting",
    Pruned = "pruned",
    Unwanted = "unwanted",
});

impl CopyState {
    /// Whether there is a file that may be read.
    pub fn is_there(self) -> bool {
        matches!(self, Self::Open | Self::Whole | Self::Suspect)
    }
}

/// What both volumes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// The volume of the recordings.
    pub primary: CopyState,
    /// The other.
    pub mirror: CopyState,
}

impl Copies {
    /// Without a mirror, or before it was known that there is one.
    pub fn on_primary(copy: CopyState) -> Self {
        Self { primary: copy, mirror: CopyState::Absent }
    }

    /// What is at `place`.
    pub fn at(self, place: Place) -> CopyState {
        match place {
            Place::Primary => self.primary,
            Place::Mirror => self.mirror,
        }
    }

    /// Where to read it, the best first: a whole copy before one that grows, and that before one that is doubtful; of two
    /// alike the primary.
    pub fn readable(self) -> Vec<Place> {
        let rank = |place: &Place| match self.at(*place) {
            CopyState::Whole => 0,
            CopyState::Open => 1,
            _ => 2,
        };
        let mut places: Vec<Place> =
            Place::ALL.iter().copied().filter(|place| self.at(*place).is_there()).collect();
        places.sort_by_key(rank);
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_copy_is_read_first() {
        let copies = |primary, mirror| Copies { primary, mirror }.readable();
        assert_eq!(copies(CopyState::Whole, CopyState::Whole), [Place::Primary, Place::Mirror]);
        assert_eq!(copies(CopyState::Suspect, CopyState::Whole), [Place::Mirror, Place::Primary]);
        assert_eq!(copies(CopyState::Suspect, CopyState::Open), [Place::Mirror, Place::Primary]);
        assert_eq!(copies(CopyState::Pruned, CopyState::Whole), [Place::Mirror]);
        assert_eq!(copies(CopyState::Absent, CopyState::Deleting), []);
    }
}
