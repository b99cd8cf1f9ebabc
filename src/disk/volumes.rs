//! Both volumes as one: a segment is muxed once, and the same bytes go to each volume that should have it, by reference.
//! Each has a writer of its own, so what one does not take costs the other nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{Health, VolumeWriter, file::SharedName};
use crate::{
    base::CameraId,
    model::{
        copies::Place,
        naming,
        segment::{Next, SegmentBytes, SegmentHead, SegmentSink, SegmentWrite, SinkRefused},
        stream::StreamId,
    },
};

const PRIMARY: u8 = 1;
const MIRROR: u8 = 2;

/// Which volumes a camera's segments go to; may change while it is recorded.
#[derive(Debug)]
pub struct Targets(AtomicU8);

impl Default for Targets {
    /// The primary.
    fn default() -> Self {
        Self(AtomicU8::new(PRIMARY))
    }
}

impl Targets {
    /// From the next keyframe on.
    pub fn set(&self, primary: bool, mirror: bool) {
        self.0.store((u8::from(primary) * PRIMARY) | (u8::from(mirror) * MIRROR), Relaxed);
    }

    fn get(&self) -> u8 {
        self.0.load(Relaxed)
    }

    /// Whether they include this volume.
    pub fn include(&self, place: Place) -> bool {
        self.get() & bit(place) != 0
    }
}

fn bit(place: Place) -> u8 {
    match place {
        Place::Primary => PRIMARY,
        Place::Mirror => MIRROR,
    }
}

/// The writers of the volumes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Volumes {
    primary: VolumeWriter,
    mirror: Option<VolumeWriter>,
    /// The last name of each camera, and its number within its second.
    names: Arc<Mutex<HashMap<CameraId, (String, u32)>>>,
}

impl Volumes {
    /// Of a primary and, if there is one, a mirror.
    pub fn new(primary: VolumeWriter, mirror: Option<VolumeWriter>) -> Self {
        Self { primary, mirror, names: Arc::default() }
    }

    /// The writer of the recordings' volume.
    pub fn primary(&self) -> &VolumeWriter {
        &self.primary
    }

    /// The mirror's.
    pub fn mirror(&self) -> Option<&VolumeWriter> {
        self.mirror.as_ref()
    }

    /// That of this volume, if it is in use.
    pub fn at(&self, place: Place) -> Option<&VolumeWriter> {
        match place {
            Place::Primary => Some(&self.primary),
            Place::Mirror => self.mirror.as_ref(),
        }
    }

    /// Each that is in use.
    pub fn all(&self) -> impl Iterator<Item = (Place, &VolumeWriter)> {
        Place::ALL.iter().filter_map(|place| Some((*place, self.at(*place)?)))
    }

    fn targets(&self, targets: &Targets) -> impl Iterator<Item = (Place, &VolumeWriter)> {
        let targets = targets.get();
        self.all().filter(move |(place, _)| targets & bit(*place) != 0)
    }

    /// When a fragment of this stream was last written anywhere.
    pub fn last_written(&self, stream: &StreamId) -> Option<Instant> {
        self.all().filter_map(|(_, writer)| writer.last_written(stream)).max()
    }

    /// Whether what is meant for these is taken: by one of them, at least. Otherwise what the first of them says.
    pub fn health(&self, targets: &Targets) -> Health {
        let mut healths = self.targets(targets).map(|(_, writer)| writer.health().borrow().clone());
        let first = healths.next().unwrap_or(Health::Ok);
        if first != Health::Ok && healths.any(|health| health == Health::Ok) { Health::Ok } else { first }
    }

    /// Of those that these are meant for, the primary fails and the mirror takes what comes.
    pub fn is_on_mirror_only(&self, targets: &Targets) -> bool {
        targets.include(Place::Primary)
            && targets.include(Place::Mirror)
            && self.primary.health().borrow().clone() != Health::Ok
            && self.health(targets) == Health::Ok
    }

    /// Waits until everything is on disk that was handed over, and ends the threads; each volume within `within`, both at
    /// once. Those that were late.
    pub fn shutdown(&self, within: Duration) -> Vec<Place> {
        let late = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for (place, writer) in self.all() {
                let late = &late;
                scope.spawn(move || {
                    if !writer.shutdown(within) {
                        late.lock().unwrap_or_else(PoisonError::into_inner).push(place);
                    }
                });
            }
        });
        late.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a camera's recorder puts its segments.
    pub fn sink(&self, targets: Arc<Targets>) -> impl SegmentSink + use<> {
        Sink { volumes: self.clone(), targets }
    }

    /// The first free name of its second, as far as this process knows.
    fn name(&self, head: &SegmentHead) -> String {
        let first = naming::relative_path(&head.camera, head.start, 0);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, copy) = names.entry(head.camera.clone()).or_default();
        if *last == first {
            *copy += 1;
            naming::relative_path(&head.camera, head.start, *copy)
        } else {
            (*last, *copy) = (first.clone(), 0);
            first
        }
    }
}

#[derive(Debug)]
struct Sink {
    volumes: Volumes,
    targets: Arc<Targets>,
}

impl SegmentSink for Sink {
    fn open(&self, head: SegmentHead) -> Box<dyn SegmentWrite> {
        let meant = self.targets.get();
        let name = Arc::new(SharedName::new(self.volumes.name(&head)));
        let head = SegmentHead { only_mirror: meant & PRIMARY == 0, ..head };
        let writes = self.volumes.targets(&self.targets);
        let writes =
            writes.map(|(place, writer)| (place, writer.begin(head.clone(), name.clone()))).collect();
        Box::new(Both {
            writes,
            meant,
            told: false,
            targets: self.targets.clone(),
            primary: self.volumes.primary.clone(),
        })
    }
}

/// A segment on its way to each volume that still takes it.
struct Both {
    writes: Vec<(Place, Box<dyn SegmentWrite>)>,
    /// Whose it was to be when it began.
    meant: u8,
    told: bool,
    targets: Arc<Targets>,
    primary: VolumeWriter,
}

impl SegmentWrite for Both {
    fn write(&mut self, fragment: SegmentBytes) -> Result<Next, SinkRefused> {
        // What a volume has by then stays, and is made whole from the other later.
        self.writes.retain_mut(|(_, write)| write.write(fragment.clone()).is_ok());
        if self.writes.is_empty() {
            return Err(SinkRefused);
        }
        let on = |place| self.writes.iter().any(|(at, _)| *at == place);
        let lacks_primary = self.meant & PRIMARY != 0 && !on(Place::Primary);
        let due = self.targets.get() != self.meant
            || (lacks_primary && *self.primary.health().borrow() == Health::Ok);
        if due && !std::mem::replace(&mut self.told, true) {
            return Ok(Next::Cut);
        }
        Ok(Next::Go)
    }
}
