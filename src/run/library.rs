//! What was recorded: segments, recorded time and the event log.

use std::{fs::File, time::Duration};

use tokio::time::timeout;

use super::{CameraNow, Check, Error, EventQuery, SegmentPage, SegmentQuery, Watchkeeper};
use crate::{
    base::{CameraId, threads::on_thread},
    disk::{self, OpenFile},
    model::{
        camera::BadField,
        copies::Place,
        event::{Event, NewEvent},
        mirror::MirrorState,
        segment::{Segment, SegmentState},
        status::Shown,
        timeline::{self, Range},
    },
    store::{self, EventPage},
};

const OPENS_WITHIN: Duration = Duration::from_secs(2);

impl Watchkeeper {
    /// A camera's segments, also of one that was deleted.
    pub async fn segments(&self, camera: &CameraId, query: SegmentQuery) -> Result<SegmentPage, Error> {
        let SegmentQuery { range, after, limit } = query;
        let limit = limit.clamp(1, 1000);
        let mut segments = match self.0.store.segments_touching(camera, range, after, limit + 1).await {
            Err(store::Error::NotFound { .. }) => {
                let message = "is the id of no segment; take `next` of the page before";
                return Err(BadField::new("after", message).into());
            }
            other => other?,
        };
        let more = segments.len() > limit as usize;
        segments.truncate(limit as usize);
        let next = segments.last().filter(|_| more).map(|last| last.id);
        Ok(SegmentPage { segments, next })
    }

    /// A camera's recorded time.
    pub async fn timeline(&self, camera: &CameraId, window: Range) -> Result<Vec<Range>, Error> {
        Ok(timeline::joined(self.0.store.ranges(camera, window).await?, window))
    }

    /// One segment.
    pub async fn segment(&self, id: i64) -> Result<Segment, Error> {
        match self.0.store.segment(id).await {
            Err(store::Error::NotFound { .. }) => Err(Error::NoSegment(id)),
            other => Ok(other?),
        }
    }

    /// One segment and its file, opened below its volume, with the length that may be read: of a segment that is
    /// still open, as much as the index knows to be whole.
    pub async fn segment_file(&self, id: i64) -> Result<(Segment, File, u64), Error> {
        let segment = self.segment(id).await?;
        let mut why = Error::NoSegment(id);
        for place in segment.copies.readable() {
            match self.open_copy(place, &segment.facts.path).await {
                Ok(open) if segment.facts.state == SegmentState::Open => {
                    let whole = segment.facts.extent.bytes.min(open.bytes);
                    return Ok((segment, open.file, whole));
                }
                Ok(open) => return Ok((segment, open.file, open.bytes)),
                Err(disk::Error::NotFound { .. } | disk::Error::Refused { .. }) => {}
                Err(error) => why = Error::VolumeAway(error.into()),
            }
        }
        Err(why)
    }

    /// A volume that hangs costs a reader two seconds, and then the other is asked.
    async fn open_copy(&self, place: Place, path: &str) -> Result<OpenFile, disk::Error> {
        let away = |why: &str| disk::Error::Away { path: path.into(), why: why.to_owned() };
        let Some(writer) = self.0.deps.volumes.at(place) else { return Err(away("it is not in use")) };
        let (volume, path) = (writer.volume().clone(), path.to_owned());
        let open = on_thread("open segment", move || volume.open_segment_file(&path));
        match timeout(OPENS_WITHIN, open.map_err(|_| away("no thread can be started"))?).await {
            Ok(Ok(opened)) => opened,
            _ => Err(away("it does not answer")),
        }
    }

    /// The log, newest first.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<Event>, Error> {
        let EventQuery { camera, severity, after, before, limit } = query;
        let limit = limit.clamp(1, 1000);
        let page = EventPage { camera: camera.as_ref(), severity, before, after, limit };
        let mut events = self.0.store.events(page).await?;
        for NewEvent { at, camera, sight, .. } in events.iter_mut().map(|event| &mut event.event) {
            // The footage that it triggered came after it, also what was before it.
            if let (Some(camera), Some(sight)) = (camera, sight)
                && sight.recorded.is_none()
            {
                sight.recorded = self.recorded_at(camera, sight.profile, *at).await;
            }
        }
        Ok(events)
    }

    /// Whether the service does what it is for.
    pub async fn ready(&self) -> Vec<Check> {
        let asked = self.events(EventQuery { limit: 1, ..EventQuery::default() });
        let answered = matches!(timeout(Duration::from_secs(1), asked).await, Ok(Ok(_)));
        let system = self.system();
        let database = match system.database_error {
            Some(error) => Err(error),
            None if !answered => Err("does not answer".to_owned()),
            None => Ok(format!("{} rows waiting", system.pending_rows)),
        };
        // While the mirror takes what comes, nothing is lost.
        let carried = system.mirror.is_some_and(|(_, mirror)| mirror.state != MirrorState::Degraded);
        let volume = match system.volume.error {
            None => Ok(format!("{} bytes free", system.volume.free_bytes)),
            Some(error) if carried => Ok(format!("recorded on the mirror alone: {error}")),
            Some(error) => Err(error),
        };
        let cameras = self.cameras();
        let wanted = |now: &&CameraNow| !matches!(now.status.shown, Shown::Disabled | Shown::Idle);
        let wanted = cameras.iter().filter(wanted).count();
        let recording = cameras.iter().filter(|now| now.status.shown == Shown::Recording).count();
        let share = format!("{recording} of {wanted} cameras recording");
        // Half of them away is more than a camera's own trouble.
        let enough = if recording * 2 >= wanted { Ok(share) } else { Err(share) };
        [("database", database), ("volume", volume), ("cameras", enough)]
            .into_iter()
            .map(|(name, found)| Check { name, ok: found.is_ok(), detail: found.unwrap_or_else(|bad| bad) })
            .collect()
    }
}
