//! The append-only log for the operator.

use super::{ai::zone::Sight, camera::words};
use crate::base::{CameraId, WallUs};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A camera's stream was lost, or never came.
    CameraOffline,
    /// It is recorded again.
    CameraOnline,
    /// Frames come but cannot be written.
    RecorderError,
    /// They can be written again.
    RecorderRestored,
    /// A trigger began a window of recording; those that prolong it are not told.
    Trigger,
    /// Wanted footage is missing; said when it is over and its length is known.
    RecordingGap,
    /// Recovery at start found an unfinished segment and adopted it.
    SegmentAdopted,
    /// The index knows a segment whose file is gone.
    SegmentLost,
    /// The mirror does not take what is recorded.
    MirrorDegraded,
    /// It takes it later than it should.
    MirrorBehind,
    /// It takes it again, and what it lacks is being copied.
    MirrorResyncing,
    /// It has all that it should.
    MirrorRestored,
    /// A stream cannot be sampled for programs that look at pictures.
    SamplerOffline,
    /// Somebody came into a region of a camera's picture.
    ZoneEnter,
    /// And went.
    ZoneExit,
    /// And has stayed there for a while.
    ZoneDwell,
    /// Somebody crossed a line of a camera's picture.
    LineCross,
    /// Missing footage came from the camera's own storage.
    RefillDone,
    /// Missing footage does not come from the camera's own storage: it was tried as often as it may be.
    RefillFailed,
    /// A copy of a segment is not what was recorded.
    SegmentDamaged,
    /// A copy was made whole from the other volume.
    SegmentHealed,
    /// A limit of retention cannot be met: only held footage is left. Where it is one of the volume, recording stops.
    RetentionShortage,
    /// Less of the volume is free than should be.
    DiskPressure,
    /// The host's clock was set.
    ClockStep,
    /// The service started.
    ServiceStarted,
    /// The service stopped in order.
    ServiceStopped,
}

words!(Kind {
    CameraOffline = "camera_offline",
    CameraOnline = "camera_online",
    RecorderError = "recorder_error",
    RecorderRestored = "recorder_restored",
    Trigger = "trigger",
    RecordingGap = "recording_gap",
    SegmentAdopted = "segment_adopted",
    SegmentLost = "segment_lost",
    MirrorDegraded = "mirror_degraded",
    MirrorBehind = "mirror_behind",
    MirrorResyncing = "mirror_resyncing",
    MirrorRestored = "mirror_restored",
    SamplerOffline = "sampler_offline",
    ZoneEnter = "zone_enter",
    ZoneExit = "zone_exit",
    ZoneDwell = "zone_dwell",
    LineCross = "line_cross",
    RefillDone = "refill_done",
    RefillFailed = "refill_failed",
    SegmentDamaged = "segment_damaged",
    SegmentHealed = "segment_healed",
    RetentionShortage = "retention_shortage",
    DiskPressure = "disk_pressure",
    ClockStep = "clock_step",
    ServiceStarted = "service_started",
    ServiceStopped = "service_stopped",
});

/// How much it matters, least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    #[default]
    Info,
    /// Footage is missing, or soon may be; the service copes.
    Warning,
    /// Somebody must act.
    Error,
}

words!(Severity { Info = "info", Warning = "warning", Error = "error" });

/// One entry before it has an id.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// When it happened.
    pub at: WallUs,
    /// Whose it is, if it is a camera's.
    pub camera: Option<CameraId>,
    /// What happened.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// For people; secrets masked by whoever makes it.
    pub detail: String,
    /// What was seen, if it happened in a zone.
    pub sight: Option<Box<Sight>>,
}

impl NewEvent {
    /// What happened outside of zones.
    pub fn new(
        at: WallUs,
        camera: Option<CameraId>,
        kind: Kind,
        severity: Severity,
        detail: impl Into<String>,
    ) -> Self {
        Self { at, camera, kind, severity, detail: detail.into(), sight: None }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place in the log; grows.
    pub id: i64,
    /// What it says.
    pub event: NewEvent,
}
