//! Why a use case failed.

use crate::{
    base::CameraId,
    media,
    model::{Profile, camera::BadField, clip, copies::Place, demand::Refusal},
    store,
};

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such camera.
    #[error("there is no camera `{0}`")]
    NoCamera(CameraId),
    /// The id is taken.
    #[error("there is already a camera `{0}`")]
    Taken(CameraId),
    /// A setting that cannot be taken.
    #[error(transparent)]
    BadField(#[from] BadField),
    /// No such segment, or its file is gone.
    #[error("there is no segment {0}")]
    NoSegment(i64),
    /// No keyframe came yet.
    #[error("no picture came from `{0}` yet")]
    NoPicture(CameraId),
    /// The camera has no open session.
    #[error("the camera `{0}` has no open session")]
    NotRunning(CameraId),
    /// The camera takes no trigger now.
    #[error("the camera `{camera}` takes no trigger: {why}")]
    TriggerRefused {
        /// Which.
        camera: CameraId,
        /// Why.
        why: Refusal,
    },
    /// A camera that has holds is not deleted: its footage would outlive what is known of it.
    #[error("the camera `{camera}` has {holds} holds; remove them first")]
    Held {
        /// Which.
        camera: CameraId,
        /// So many.
        holds: u64,
    },
    /// It has as many as it may.
    #[error("the camera `{camera}` has {most} holds, which is the most")]
    TooManyHolds {
        /// Which.
        camera: CameraId,
        /// So many there may be.
        most: u32,
    },
    /// There is no such hold.
    #[error("the camera `{camera}` has no hold {id}")]
    NoHold {
        /// Which camera.
        camera: CameraId,
        /// The hold's id.
        id: i64,
    },
    /// No clip can be made of that range.
    #[error(transparent)]
    NoClip(#[from] clip::Refused),
    /// No such export, or it was forgotten.
    #[error("there is no export {0}")]
    NoExport(u32),
    /// Its file is being taken.
    #[error("the file of export {0} is being taken already")]
    ExportRunning(u32),
    /// Too many of these at once: which.
    #[error("too many exports {0} at this moment")]
    TooManyExports(&'static str),
    /// No such task.
    #[error("there is no task {0}")]
    NoTask(i64),
    /// As many as there may be.
    #[error("there are {0} tasks, which is the most")]
    TooManyTasks(u32),
    /// No such gap.
    #[error("the camera `{camera}` has no gap {id}")]
    NoGap {
        /// Which camera.
        camera: CameraId,
        /// The gap's id.
        id: i64,
    },
    /// It goes on, is too short or too old, or the camera is not to be asked.
    #[error("gap {0} is not to be fetched from the camera")]
    NotFetchable(i64),
    /// Nothing is fetched from it.
    #[error("nothing is fetched from the storage of `{0}`")]
    RefillOff(CameraId),
    /// No such zone.
    #[error("the camera `{camera}` has no zone {id}")]
    NoZone {
        /// Which camera.
        camera: CameraId,
        /// The zone's id.
        id: i64,
    },
    /// It has as many as it may.
    #[error("the camera `{camera}` has {most} zones, which is the most")]
    TooManyZones {
        /// Which.
        camera: CameraId,
        /// So many there may be.
        most: u32,
    },
    /// Another worker of this name has a lease.
    #[error("there is a worker `{0}` with a lease already")]
    WorkerExists(String),
    /// As many as there may be.
    #[error("there are too many workers")]
    TooManyWorkers,
    /// It never was, or it has ended.
    #[error("there is no such lease; it may have ended")]
    NoLease,
    /// The lease has ended, or the task is another's.
    #[error("task {0} is not leased by this lease; it may have ended")]
    NotLeased(i64),
    /// The picture was never given out, or too long ago.
    #[error("frame {frame} of the {} stream of `{camera}` was not given out lately", .profile.word())]
    NoFrame {
        /// Whose.
        camera: CameraId,
        /// Of which stream.
        profile: Profile,
        /// Its number.
        frame: u64,
    },
    /// Detections come faster than they can be stored.
    #[error("detections come faster than they can be stored")]
    TooManyPosts,
    /// No task asks for it, or there is nothing left for it.
    #[error("the {} stream of `{camera}` is not sampled", .profile.word())]
    NotSampled {
        /// Whose.
        camera: CameraId,
        /// Of which stream.
        profile: Profile,
    },
    /// None is configured.
    #[error("there is no mirror; set mirror_dir in the configuration")]
    NoMirror,
    /// It is there and is the right one, so there is nothing to accept.
    #[error("the {} is there and is the right volume", .0.word())]
    VolumeThere(Place),
    /// A pass is under way.
    #[error("closed segments are being read again already")]
    ScrubRunning,
    /// It is configured not to run.
    #[error("closed segments are never read again: scrub_bytes_per_second is 0")]
    ScrubOff,
    /// Too many of these at once.
    #[error("too many probes are under way; try again in a few seconds")]
    Busy,
    /// The database cannot be asked now.
    #[error("the database cannot be used now")]
    DatabaseAway(#[source] anyhow::Error),
    /// The volume cannot be read now.
    #[error("the volume cannot be read now")]
    VolumeAway(#[source] anyhow::Error),
    /// Media failed on our side.
    #[error("the picture could not be made")]
    Media(#[from] media::Error),
    /// It is too late for changes.
    #[error("the service is stopping")]
    Stopping,
    /// A bug.
    #[error("{0}")]
    Internal(&'static str),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::DatabaseAway(error.into())
    }
}
