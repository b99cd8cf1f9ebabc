//! The one writer thread of a volume, for all cameras.
//!
//! A streaming thread only puts references into a queue that is bounded in bytes. The writer writes a fragment in one go;
//! when it has fallen behind, all that waits for a file goes in one, so that a disk that is slow by the call keeps up. A
//! second thread syncs (`sync.rs`). A disk that hangs therefore holds up neither
//! a camera nor the end of the program.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Error,
    boxes::BadBoxes,
    facts::{Facts, SegmentKey},
    failed,
    file::{SegmentFile, SharedName},
    health::{Health, Monitor, Part},
    sync::{Entry, Syncer, Written},
    volume::Volume,
};
use crate::model::{
    naming,
    segment::{
        Extent, Next, SegmentBytes, SegmentFacts, SegmentHead, SegmentSink, SegmentState, SegmentWrite,
        SinkRefused,
    },
    stream::StreamId,
};

/// What an entry of the queue costs beyond its bytes, so that a flood of tiny buffers is bounded too.
const ENTRY_BYTES: u64 = 128;

/// What the writer ended may be on its way to the index for so long.
const SETTLES: Duration = Duration::from_secs(5);

/// The name of a segment, and when it ended, if it has.
type InHand = HashMap<SegmentKey, (Arc<SharedName>, Option<Instant>)>;

/// So many commands are looked at together when the writer has fallen behind.
const AT_ONCE: usize = 512;

/// How far the volume may fall behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may wait for one camera, in all its segments. Must hold a pre-roll, which comes at once: 48 MiB.
    pub camera_bytes: u64,
    /// Bytes that may wait in total.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { camera_bytes: 64 << 20, total_bytes: 256 << 20 }
    }
}

/// Writes the segments of all cameras to one volume. Cheap to clone; the threads end with the last clone and the last
/// segment, or at [`VolumeWriter::shutdown`].
#[derive(Clone, Debug)]
pub struct VolumeWriter {
    queue: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// What streaming threads, the writer and everybody who asks have in common.
#[derive(Debug)]
struct Shared {
    volume: Volume,
    limits: Limits,
    queued: AtomicU64,
    next_key: AtomicU64,
    /// Nothing is taken, though there may be room.
    shut: AtomicBool,
    /// When what is being written was handed over: microseconds from the start, and 1 more; 0: nothing is.
    at_work: AtomicU64,
    streams: Mutex<HashMap<StreamId, Arc<Slot>>>,
    /// Names of segments that are being written or wait for it, and when each ended that did.
    in_hand: Mutex<InHand>,
    facts: Facts,
    health: Arc<Monitor>,
    started: Instant,
}

/// One stream.
#[derive(Debug, Default)]
struct Slot {
    queued: AtomicU64,
    /// Microseconds from the writer's start to the last fragment written, and 1 more; 0: none yet.
    written: AtomicU64,
}

enum Command {
    /// What follows in a segment; its first fragment says what it is.
    Data {
        key: SegmentKey,
        begin: Option<Box<Begin>>,
        at_us: u64,
        fragment: SegmentBytes,
        reserved: Reserved,
    },
    /// A segment ends.
    Close(SegmentKey),
    /// Tell when everything before this is written and synced.
    Flush(mpsc::Sender<()>),
    /// End all segments, then the threads.
    Stop(mpsc::Sender<()>),
    /// A disk that hangs until the other end is dropped.
    #[cfg(test)]
    Hang(mpsc::Receiver<()>),
    /// What no bytes are known to cause.
    #[cfg(test)]
    Panic(SegmentKey),
    /// Give what holds up the syncs while it is locked.
    #[cfg(test)]
    Gate(mpsc::Sender<Arc<Mutex<()>>>),
}

struct Begin {
    head: SegmentHead,
    name: Arc<SharedName>,
    slot: Arc<Slot>,
    refused: Arc<AtomicBool>,
}

impl Shared {
    fn in_hand(&self) -> MutexGuard<'_, InHand> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, key: SegmentKey) {
        if let Some((_, ended)) = self.in_hand().get_mut(&key) {
            *ended = Some(Instant::now());
        }
    }

    fn since_start_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX - 1)
    }
}

impl VolumeWriter {
    /// Starts the two threads of a volume.
    pub fn start(volume: Volume, limits: Limits) -> Result<Self, Error> {
        Self::start_beside(None, volume, limits)
    }

    /// The same for the second copies of what `first` writes: they are synced less often while that is well.
    pub fn start_second(first: &Self, volume: Volume, limits: Limits) -> Result<Self, Error> {
        Self::start_beside(Some(first.health()), volume, limits)
    }

    fn start_beside(
        first: Option<watch::Receiver<Health>>,
        volume: Volume,
        limits: Limits,
    ) -> Result<Self, Error> {
        let no_thread = |source| failed("start a thread for", volume.root(), source);
        let health = Arc::new(Monitor::new());
        let shared = Arc::new(Shared {
            limits,
            queued: AtomicU64::new(0),
            next_key: AtomicU64::new(1),
            shut: AtomicBool::new(false),
            at_work: AtomicU64::new(0),
            streams: Mutex::default(),
            in_hand: Mutex::default(),
            facts: Facts::default(),
            health: Arc::clone(&health),
            started: Instant::now(),
            volume: volume.clone(),
        });
        let (queue, commands) = mpsc::channel();
        let syncer = Syncer::start(shared.facts.clone(), health, first).map_err(no_thread)?;
        let writer = Writer { shared: Arc::clone(&shared), syncer, segments: HashMap::new() };
        thread::Builder::new()
            .name("volume-write".to_owned())
            .spawn(move || writer.run(&commands))
            .map_err(no_thread)?;
        Ok(Self { queue, shared })
    }

    /// The volume that is written to.
    pub fn volume(&self) -> &Volume {
        &self.shared.volume
    }

    /// What is on disk and synced, as it comes to be so.
    pub fn facts(&self) -> Facts {
        self.shared.facts.clone()
    }

    /// Whether the volume takes what is written. Do not hold a `borrow` of it for long: it makes the writer wait.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// How often it began to fail, and how it did the last time: also if that was over before anybody looked.
    pub fn failures(&self) -> (u64, String) {
        self.shared.health.failures()
    }

    /// When a fragment of this stream was last written.
    pub fn last_written(&self, stream: &StreamId) -> Option<Instant> {
        let us = self.streams().get(stream)?.written.load(Ordering::Relaxed);
        us.checked_sub(1).map(|us| self.shared.started + Duration::from_micros(us))
    }

    /// Takes nothing more as long as there is a reason: the volume counts as full until it is called with `None`. Open
    /// segments end with what they have.
    pub fn stop_for_room(&self, why: Option<String>) {
        self.shared.shut.store(why.is_some(), Ordering::Relaxed);
        match why {
            Some(why) => self.shared.health.no_room(self.shared.volume.root(), why),
            None => self.shared.health.worked(Part::Room),
        }
    }

    /// The volume is away, for this reason; or it is back.
    pub fn away(&self, why: Option<String>) {
        match why {
            Some(why) => self.shared.health.failed_text(Part::Place, self.shared.volume.root(), why),
            None => self.shared.health.worked(Part::Place),
        }
    }

    /// A try from outside showed that it takes what is written again.
    pub fn works(&self) {
        self.shared.health.worked(Part::Write);
    }

    /// For how long what is being written or synced now has waited.
    pub fn lag(&self) -> Duration {
        let us = self.shared.at_work.load(Ordering::Relaxed);
        let write = us.checked_sub(1).map_or(0, |us| self.shared.since_start_us().saturating_sub(us));
        Duration::from_micros(write).max(self.shared.health.syncing())
    }

    /// Whether the file of this name is its own business: it writes to it, is going to, or did a moment ago, however long ago
    /// the segment ended.
    pub fn has_in_hand(&self, path: &str) -> bool {
        let mut in_hand = self.shared.in_hand();
        in_hand.retain(|_, (_, ended)| ended.is_none_or(|ended| ended.elapsed() < SETTLES));
        in_hand.values().any(|(name, _)| name.is(path))
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> u64 {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over so far is written and synced, at most `within`; whether it is. Fragments
    /// that are not whole yet do not count. Blocks the thread.
    pub fn flush(&self, within: Duration) -> bool {
        self.ask(Command::Flush, within)
    }

    /// Ends all segments after their last whole fragment, syncs them and ends the threads; waits at most `within`.
    /// Whether it was done: if not, the disk hangs, and the threads are left to it. Nothing is taken afterwards.
    /// Blocks the thread.
    pub fn shutdown(&self, within: Duration) -> bool {
        self.ask(Command::Stop, within)
    }

    fn ask(&self, command: fn(mpsc::Sender<()>) -> Command, within: Duration) -> bool {
        let (ack, done) = mpsc::channel();
        self.queue.send(command(ack)).is_ok() && done.recv_timeout(within).is_ok()
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, Arc<Slot>>> {
        self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the writer hang until the answer is dropped.
    #[cfg(test)]
    pub(super) fn hang(&self) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel();
        self.queue.send(Command::Hang(held)).unwrap();
        release
    }

    #[cfg(test)]
    pub(super) fn sync_gate(&self) -> Arc<Mutex<()>> {
        let (tell, told) = mpsc::channel();
        self.queue.send(Command::Gate(tell)).unwrap();
        told.recv().unwrap()
    }

    #[cfg(test)]
    pub(super) fn panic_at(&self, key: SegmentKey) {
        self.queue.send(Command::Panic(key)).unwrap();
    }
}

impl VolumeWriter {
    /// A segment begins, to be called `name`. Costs nothing on disk until the first fragment is whole.
    pub(super) fn begin(&self, head: SegmentHead, name: Arc<SharedName>) -> Box<dyn SegmentWrite> {
        let slot = Arc::clone(self.streams().entry(head.stream()).or_default());
        let refused = Arc::new(AtomicBool::new(false));
        let (of, told) = (Arc::clone(&slot), Arc::clone(&refused));
        let key = SegmentKey(self.shared.next_key.fetch_add(1, Ordering::Relaxed));
        {
            let mut in_hand = self.shared.in_hand();
            in_hand.retain(|_, (_, ended)| ended.is_none_or(|ended| ended.elapsed() < SETTLES));
            in_hand.insert(key, (Arc::clone(&name), None));
        }
        Box::new(Handle {
            key,
            begin: Some(Box::new(Begin { head, name, slot: of, refused: told })),
            slot,
            refused,
            writer: self.clone(),
        })
    }
}

/// One volume alone.
impl SegmentSink for VolumeWriter {
    fn open(&self, head: SegmentHead) -> Box<dyn SegmentWrite> {
        let name = SharedName::new(naming::relative_path(&head.camera, head.start, 0));
        self.begin(head, Arc::new(name))
    }
}

/// A recorder's end of a segment.
struct Handle {
    key: SegmentKey,
    /// Until the first bytes: a segment that never got any is unknown to the writer.
    begin: Option<Box<Begin>>,
    slot: Arc<Slot>,
    refused: Arc<AtomicBool>,
    writer: VolumeWriter,
}

impl SegmentWrite for Handle {
    fn write(&mut self, fragment: SegmentBytes) -> Result<Next, SinkRefused> {
        if self.refused.load(Ordering::Acquire) || self.writer.shared.shut.load(Ordering::Relaxed) {
            self.refused.store(true, Ordering::Release);
            return Err(SinkRefused);
        }
        let cost = fragment.bytes() + ENTRY_BYTES;
        if let Some(reserved) = Reserved::take(&self.writer.shared, &self.slot, cost) {
            let (begin, at_us) = (self.begin.take(), self.writer.shared.since_start_us());
            let data = Command::Data { key: self.key, begin, at_us, fragment, reserved };
            if self.writer.queue.send(data).is_ok() {
                return Ok(Next::Go);
            }
        }
        self.refused.store(true, Ordering::Release);
        Err(SinkRefused)
    }
}

impl Drop for Handle {
    /// In order or not: what is whole stays, and so do whole boxes after it.
    fn drop(&mut self) {
        if self.begin.is_none() {
            // Fails only if the writer has ended, and then it has ended its segments.
            let _ = self.writer.queue.send(Command::Close(self.key));
        } else {
            self.writer.shared.in_hand().remove(&self.key);
        }
    }
}

/// A part of what may wait, given back when it is dropped, however that comes about.
struct Reserved {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    bytes: u64,
}

impl Reserved {
    /// Counts `bytes` in, unless that is too much.
    fn take(shared: &Arc<Shared>, slot: &Arc<Slot>, bytes: u64) -> Option<Self> {
        let camera = slot.queued.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = shared.queued.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let reserved = Self { shared: Arc::clone(shared), slot: Arc::clone(slot), bytes };
        if camera <= shared.limits.camera_bytes && total <= shared.limits.total_bytes {
            return Some(reserved);
        }
        drop(reserved);
        let behind = format!("the volume is too far behind: {} bytes wait to be written", total - bytes);
        shared.health.failed_text(Part::Write, shared.volume.root(), behind);
        None
    }

    fn release_all(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.slot.queued.fetch_sub(bytes, Ordering::Relaxed);
        self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.release_all();
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Command(..)")
    }
}

/// The writer thread.
struct Writer {
    shared: Arc<Shared>,
    syncer: Syncer,
    segments: HashMap<SegmentKey, Segment>,
}

/// A segment that is being written.
struct Segment {
    begin: Begin,
    /// For what is not written yet.
    reserved: Reserved,
    file: Option<SegmentFile>,
    /// What is on disk.
    extent: Extent,
}

/// Takes what waits for this segment, in its order, up to its end.
fn take_of(key: SegmentKey, waiting: &mut VecDeque<Command>, data: &mut Vec<(SegmentBytes, Reserved)>) {
    let mut ended = false;
    let (mut rest, mut all) = (VecDeque::with_capacity(waiting.len()), std::mem::take(waiting));
    while let Some(command) = all.pop_front() {
        match command {
            Command::Data { key: of, begin: None, fragment, reserved, .. } if of == key && !ended => {
                data.push((fragment, reserved));
            }
            other => {
                // What is asked for between two writes is about what came before it.
                ended |= !matches!(other, Command::Data { .. });
                rest.push_back(other);
            }
        }
    }
    *waiting = rest;
}

impl Writer {
    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        let mut stopped = None;
        let mut waiting = VecDeque::new();
        while let Some(command) = waiting.pop_front().or_else(|| commands.recv().ok()) {
            match command {
                Command::Data { key, begin, at_us, fragment, reserved } => {
                    self.shared.at_work.store(at_us + 1, Ordering::Relaxed);
                    let mut data = vec![(fragment, reserved)];
                    // What has come meanwhile for the same segment goes with it, up to its end.
                    waiting.extend(commands.try_iter().take(AT_ONCE.saturating_sub(waiting.len())));
                    take_of(key, &mut waiting, &mut data);
                    self.guarded(key, |writer| writer.data(key, begin, data));
                }
                Command::Close(key) => self.guarded(key, |writer| writer.close(key)),
                Command::Flush(ack) => self.syncer.flush(ack),
                Command::Stop(ack) => {
                    stopped = Some(ack);
                    break;
                }
                #[cfg(test)]
                Command::Hang(held) => assert!(held.recv().is_err()),
                #[cfg(test)]
                Command::Gate(tell) => tell.send(self.syncer.gate()).unwrap(),
                #[cfg(test)]
                Command::Panic(key) => self.guarded(key, |_| panic!("a test asked for it")),
            }
            // Also after an end that came together with data: nothing may come for hours then.
            if waiting.is_empty() {
                self.shared.at_work.store(0, Ordering::Relaxed);
            }
        }
        for key in self.segments.keys().copied().collect::<Vec<_>>() {
            self.guarded(key, |writer| writer.close(key));
        }
        if let Some(ack) = stopped {
            self.syncer.flush(ack);
        }
        self.syncer.stop();
    }

    /// All cameras share this thread: a bug that one camera's bytes bring out must not end the others' recording.
    fn guarded(&mut self, key: SegmentKey, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            let path = self.shared.volume.root().to_owned();
            self.fail(key, &Error::Boxes { path, source: BadBoxes::Panicked });
        }
    }

    fn data(&mut self, key: SegmentKey, begin: Option<Box<Begin>>, data: Vec<(SegmentBytes, Reserved)>) {
        let joined = data.into_iter().reduce(|(mut all, mut all_reserved), (next, reserved)| {
            all.chunks.extend(next.chunks);
            all_reserved.join(reserved);
            (SegmentBytes { extent: next.extent, ..all }, all_reserved)
        });
        let Some((fragment, reserved)) = joined else { return };
        if let Some(begin) = begin {
            self.segments
                .insert(key, Segment { begin: *begin, reserved, file: None, extent: Extent::default() });
        } else if let Some(segment) = self.segments.get_mut(&key) {
            segment.reserved.join(reserved);
        }
        // A segment that failed is unknown; its bytes are dropped.
        if let Err(error) = self.write(key, &fragment) {
            self.fail(key, &error);
        }
    }

    /// Writes a fragment and reports what is on disk then.
    fn write(&mut self, key: SegmentKey, fragment: &SegmentBytes) -> Result<(), Error> {
        let Self { shared, segments, .. } = self;
        let Some(segment) = segments.get_mut(&key) else { return Ok(()) };
        let (head, slot) = (&segment.begin.head, &segment.begin.slot);
        let done = match &mut segment.file {
            Some(file) => file.append(&shared.volume, &fragment.chunks).map(|()| None),
            None => {
                let name = Arc::clone(&segment.begin.name);
                SegmentFile::create(&shared.volume, &head.camera, head.start, &fragment.chunks, name).map(
                    |made| {
                        segment.file = Some(made.file);
                        let path = shared.volume.root().join(head.camera.as_str());
                        let root = made.dir_is_new.then(|| shared.volume.clone());
                        Some(Entry { dir: made.dir, path, root })
                    },
                )
            }
        };
        segment.reserved.release_all();
        let entry = done?;
        segment.extent = fragment.extent;
        slot.written.store(shared.since_start_us() + 1, Ordering::Relaxed);
        shared.health.worked(Part::Write);
        self.report(key, SegmentState::Open, entry);
        Ok(())
    }

    fn close(&mut self, key: SegmentKey) {
        self.report(key, SegmentState::Closed, None);
        self.segments.remove(&key);
        self.shared.ended(key);
    }

    /// Ends a segment with what is really there, and lets its recorder know.
    fn fail(&mut self, key: SegmentKey, error: &Error) {
        let Some(segment) = self.segments.get(&key) else { return };
        segment.begin.refused.store(true, Ordering::Release);
        let path = match error {
            Error::Io { path, .. }
            | Error::Away { path, .. }
            | Error::Removed { path }
            | Error::Boxes { path, .. } => path.clone(),
            _ => self.path(key),
        };
        // Boxes that cannot be followed are no fault of the disk.
        if matches!(error, Error::Boxes { .. }) {
            let error = crate::base::error::Chain(error);
            tracing::error!(file.path = %path.display(), %error, "a segment ends early");
        } else {
            self.shared.health.failed(Part::Write, &path, error);
        }
        let gone = matches!(error, Error::Removed { .. });
        if gone {
            self.shared.volume.lost_files();
        }
        self.report(key, if gone { SegmentState::Lost } else { SegmentState::Closed }, None);
        self.segments.remove(&key);
        self.shared.ended(key);
    }

    /// What will be true once it is synced.
    fn report(&self, key: SegmentKey, state: SegmentState, entry: Option<Entry>) {
        let Some(segment) = self.segments.get(&key) else { return };
        // Without a file there is nothing to say.
        let Some(file) = &segment.file else { return };
        let (head, path) = (segment.begin.head.clone(), file.path.clone());
        let hash = if state == SegmentState::Closed { file.hash() } else { None };
        let facts = SegmentFacts { head, path, extent: segment.extent, state, hash };
        let path = self.shared.volume.root().join(&facts.path);
        let (file, created) = (Arc::clone(&file.file), file.created);
        self.syncer.written(key, Written { file, path, created, facts, entry });
    }

    fn path(&self, key: SegmentKey) -> PathBuf {
        let segment = self.segments.get(&key);
        let name = segment.map(|segment| match &segment.file {
            Some(file) => file.path.clone(),
            None => segment.begin.head.camera.to_string(),
        });
        self.shared.volume.root().join(name.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_end_with_the_last_handle() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let writer = VolumeWriter::start(volume, Limits::default()).unwrap();
        // Both threads hold the health.
        let held = Arc::downgrade(&writer.shared.health);
        drop(writer.clone());
        assert!(writer.flush(Duration::from_secs(20)));
        drop(writer);
        let began = Instant::now();
        while held.upgrade().is_some() {
            assert!(began.elapsed() < Duration::from_secs(20), "a thread stays");
            thread::yield_now();
        }
    }
}
