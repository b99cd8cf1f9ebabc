//! What `check` finds, and what is to be done about it.

use serde::Serialize;

/// What is wrong with a file or a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The row is still open, and nobody writes the file any more.
    Unfinished,
    /// The file has fewer bytes than its row says.
    Shrunk,
    /// The row was marked lost, and the file is there.
    Returned,
    /// A file of ours without a row.
    Unindexed,
    /// A row without a file.
    Lost,
    /// The row says other frames or bytes than the file has.
    Differs,
    /// The file is not what was recorded: it contradicts the hash in its row.
    Altered,
    /// A sync failed while it was recorded, or it was altered when it was last read.
    Suspect,
    /// The row is suspect, and the file is what was recorded after all.
    Cleared,
    /// The file is no segment any more.
    Damaged,
    /// The file cannot be read.
    Unreadable,
    /// A file of ours without footage. Nothing is lost by it.
    Empty,
    /// A row whose deletion was begun.
    Leaving,
    /// The row says that the mirror has a copy, and there is no such file.
    MirrorMissing,
    /// The mirror's copy is not what was recorded.
    MirrorDiffers,
    /// A file of ours on the mirror of which the index does not know.
    MirrorUnindexed,
    /// A volume is not there, or is not the right one.
    Away,
    /// What one volume has and the other lacks, as the index says.
    Due,
}

impl Kind {
    /// Whether something is wrong with it.
    pub(super) fn is_problem(self) -> bool {
        !matches!(self, Self::Empty | Self::Leaving | Self::Due)
    }

    /// Whether a repair mends it without another copy.
    pub(super) fn is_mended(self) -> bool {
        match self {
            Self::Unfinished | Self::Shrunk | Self::Returned | Self::Unindexed | Self::Lost => true,
            Self::Differs | Self::Cleared | Self::Damaged | Self::MirrorMissing => true,
            Self::Altered | Self::Suspect | Self::Unreadable | Self::Empty | Self::Leaving => false,
            Self::MirrorDiffers | Self::MirrorUnindexed | Self::Away | Self::Due => false,
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Unfinished | Self::Shrunk | Self::Returned | Self::Differs => {
                "a repair writes into the index what the file holds"
            }
            Self::Unindexed => "a repair adds it to the index",
            Self::Altered => "put a good copy in its place if you have one; a repair marks it as suspect",
            Self::Suspect => "`check --deep` reads it and compares its hash, if it has one",
            Self::Cleared => "a repair takes it back",
            Self::Lost => "put the file back if you have it; a repair marks it as lost",
            Self::Damaged => "put a good copy in its place if you have one; a repair marks it as lost",
            Self::Unreadable => "check the disk, and the rights of the file",
            Self::Empty => "it is left alone, and may be deleted",
            Self::Leaving => "the service ends it when it starts",
            Self::MirrorMissing => "a repair marks it as missing: the recordings have no whole copy either",
            Self::MirrorDiffers => "a repair marks it as suspect: the recordings have no whole copy either",
            Self::MirrorUnindexed => "a repair adds it to the index, and copies it to where it is missing",
            Self::Away => "mount the right disk; what lies there was left alone",
            Self::Due => "the service does it, or a repair",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// The file, below the root of its volume; or that root.
    pub(super) path: String,
    /// In words.
    pub(super) detail: String,
    /// The other volume has a copy that is said to be whole.
    pub(super) elsewhere: bool,
    /// The repair made it what the other volume has.
    pub(super) healed: bool,
}

impl Finding {
    /// Of which nothing is known elsewhere.
    pub(super) fn new(kind: Kind, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, path: path.into(), detail: detail.into(), elsewhere: false, healed: false }
    }

    /// Whether a repair mends it, or did.
    pub(super) fn is_mended(&self) -> bool {
        self.healed || self.kind.is_mended()
    }

    /// What a repair does about it, or what a person can.
    pub(super) fn remedy(&self) -> &'static str {
        if self.elsewhere { "a repair makes it what the other volume has" } else { self.kind.remedy() }
    }
}
