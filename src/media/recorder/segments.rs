//! The segments of one muxer run: each begins with the first frame that a muxer gets and ends with the last. The sound between its
//! pictures is added here, so that splitmuxsink sees pictures alone and waits for nothing. Sound may come a little later than the pictures
//! of its time: a segment that is over waits for it while the next one grows.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Shared, lock};
use crate::{
    media::sound::{SoundReader, TimedSound},
    model::{
        segment::{Next, SegmentBytes, SegmentHead, SegmentWrite, SinkRefused, Source},
        unit::{AudioFormat, VideoFormat},
    },
    mp4::{self, AudioSample, FormatError, Fragmenter, Header, VideoSample},
};

/// A segment that is over waits for its last sound until the next one is so long, in nanoseconds.
const SOUND_LATE_NS: i64 = 1_000_000_000;
/// The first fragment of a file, with which it appears, has so much at most, in nanoseconds.
const FIRST_FRAGMENT_NS: i64 = 250_000_000;

/// A frame on its way to the muxer.
#[derive(Debug)]
pub(super) struct MuxFrame {
    pub(super) data: Bytes,
    pub(super) key: bool,
    /// Times on the run's timeline, in nanoseconds.
    pub(super) decoded_ns: i64,
    pub(super) shown_ns: i64,
    /// How long it lasts, if none follows.
    pub(super) length_ns: i64,
}

/// The frames and segments of a run that are not through yet, and a bell for when that changes.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<Counts>, Condvar);

#[derive(Debug, Default)]
struct Counts {
    /// Open segments.
    segments: usize,
    /// Frames between the run's entry and its muxer. At a cut one segment may have ended before the first frame of the next has come so
    /// far.
    frames: usize,
}

impl InFlight {
    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut lock(&self.0));
        self.1.notify_all();
    }

    /// Waits until nothing is in flight; `false` if something still was at `deadline`.
    pub(super) fn is_empty_by(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let some = |counts: &mut Counts| counts.segments + counts.frames > 0;
        let waited = self.1.wait_timeout_while(lock(&self.0), left, some);
        let (mut counts, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !some(&mut counts)
    }
}

/// What the muxers of a run have in common.
#[derive(Debug)]
pub(super) struct Segments {
    shared: Arc<Shared>,
    in_flight: Arc<InFlight>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sound: Option<SoundReader>,
    open: Option<OpenSegment>,
    /// The one before, and when it ended: it waits for its last sound.
    ended: Option<(OpenSegment, i64)>,
    /// No segment follows the open one.
    is_last: bool,
    /// Frames inside splitmuxsink, by the numbers of their buffers.
    batches: VecDeque<(u64, Vec<MuxFrame>)>,
    next_batch: u64,
}

impl Segments {
    pub(super) fn new(shared: Arc<Shared>, in_flight: Arc<InFlight>, sound: Option<SoundReader>) -> Self {
        let state = Mutex::new(State {
            sound,
            open: None,
            ended: None,
            is_last: false,
            batches: VecDeque::new(),
            next_batch: 0,
        });
        Self { shared, in_flight, state }
    }

    pub(super) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Keeps frames that go through splitmuxsink as one buffer; its number.
    pub(super) fn queue_batch(&self, frames: Vec<MuxFrame>) -> u64 {
        self.in_flight.change(|counts| counts.frames += frames.len());
        let mut state = lock(&self.state);
        let number = state.next_batch;
        state.next_batch += 1;
        state.batches.push_back((number, frames));
        number
    }

    /// The buffer of this number has come to a muxer; the first of a muxer begins a segment.
    ///
    /// # Errors
    /// If a file cannot hold the format.
    pub(super) fn mux_batch(
        &self,
        muxer: usize,
        format: &Arc<VideoFormat>,
        number: u64,
    ) -> Result<(), FormatError> {
        let mut state = lock(&self.state);
        let mut muxed = Ok(());
        // Buffers keep their order; one that splitmuxsink dropped is lost with its frames.
        while let Some((of, frames)) = state.batches.pop_front_if(|(of, _)| *of <= number) {
            let count = frames.len();
            if of == number {
                let mut frames = frames.into_iter();
                muxed = frames.try_for_each(|frame| self.mux_frame(&mut state, muxer, format, frame));
                if muxed.is_err() {
                    self.shared.dropped.fetch_add(1 + frames.len() as u64, Relaxed);
                }
            } else {
                self.shared.dropped.fetch_add(count as u64, Relaxed);
            }
            // After their segment is counted, so that there is no moment without either.
            self.in_flight.change(|counts| counts.frames = counts.frames.saturating_sub(count));
        }
        muxed
    }

    fn mux_frame(
        &self,
        state: &mut State,
        muxer: usize,
        format: &Arc<VideoFormat>,
        frame: MuxFrame,
    ) -> Result<(), FormatError> {
        if state.open.as_ref().is_none_or(|open| open.muxer != muxer) {
            state.end_open(frame.decoded_ns);
            let audio = state.sound.as_ref().and_then(SoundReader::format);
            let file = SegmentFile {
                shared: self.shared.clone(),
                in_flight: self.in_flight.clone(),
                write: None,
                is_refused: false,
            };
            state.open = Some(OpenSegment::new(muxer, file, format, audio, frame.shown_ns)?);
        }
        state.add_sound(frame.decoded_ns);
        if let Some(open) = &mut state.open {
            open.add_picture(frame);
        }
        Ok(())
    }

    /// A muxer gets no more frames. Where the segment ends tells the first frame of the next; the last one of a run ends here.
    pub(super) fn end(&self, muxer: usize) {
        let mut state = lock(&self.state);
        if state.is_last && state.open.as_ref().is_some_and(|open| open.muxer == muxer) {
            state.end_all();
        }
    }

    /// Ends what is open with what came so far; frames inside splitmuxsink are lost.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.end_all();
        let lost: usize = state.batches.drain(..).map(|(_, frames)| frames.len()).sum();
        self.shared.dropped.fetch_add(lost as u64, Relaxed);
        self.in_flight.change(|counts| counts.frames = counts.frames.saturating_sub(lost));
    }

    /// The run gets no more frames: its last segment waits for nothing.
    pub(super) fn end_with_run(&self) {
        lock(&self.state).is_last = true;
    }

    /// Writes all that came so far.
    pub(super) fn flush(&self) {
        let mut state = lock(&self.state);
        if let Some(end_ns) = state.open.as_ref().map(|open| open.end_ns) {
            state.add_sound(end_ns);
            state.ended = None;
        }
        if let Some(open) = &mut state.open {
            open.write_all();
        }
    }
}

impl State {
    fn end_open(&mut self, end_ns: i64) {
        // The sound of the last picture belongs to it.
        self.add_sound(end_ns);
        let Some(mut open) = self.open.take() else { return };
        let is_late = self.sound.as_ref().is_some_and(|sound| !sound.has_all_until(end_ns));
        // Its pictures are written before those of the next segment; only late sound may follow.
        open.write_all();
        self.ended = Some((open, end_ns)).filter(|_| is_late && !self.is_last);
    }

    fn end_all(&mut self) {
        if let Some(end_ns) = self.open.as_ref().map(|open| open.end_ns) {
            self.add_sound(end_ns);
        }
        self.ended = None;
        self.open = None;
    }

    /// Adds the sound until this time to the segments that it belongs to.
    fn add_sound(&mut self, until_ns: i64) {
        let Some(sound) = &mut self.sound else { return };
        for frame in sound.take_until(until_ns) {
            match (&mut self.ended, &mut self.open) {
                (Some((ended, end_ns)), _) if frame.at_ns < *end_ns => ended.add_sound(frame),
                (_, Some(open)) => open.add_sound(frame),
                (_, None) => {}
            }
        }
        if let Some((_, end_ns)) = &self.ended
            && (sound.has_all_until(*end_ns) || until_ns - end_ns > SOUND_LATE_NS)
        {
            self.ended = None;
        }
    }
}

/// One segment while it grows. Dropping it writes what the fragmenter holds and ends it.
#[derive(Debug)]
struct OpenSegment {
    muxer: usize,
    /// The beginning of the file, until its first fragment is written.
    header: Option<Bytes>,
    fragmenter: Fragmenter,
    has_audio: bool,
    file: SegmentFile,
    /// Decoding time of the first frame, and of the end of the last one, and how long that is.
    from_ns: Option<i64>,
    end_ns: i64,
    length_ns: i64,
}

impl OpenSegment {
    fn new(
        muxer: usize,
        mut file: SegmentFile,
        format: &VideoFormat,
        audio: Option<Arc<AudioFormat>>,
        from_ns: i64,
    ) -> Result<Self, FormatError> {
        let shared = &file.shared;
        let mut head = SegmentHead {
            camera: shared.settings.camera.clone(),
            profile: shared.settings.profile,
            start: shared.begins(from_ns),
            codec: format.codec,
            width: format.width,
            height: format.height,
            audio: audio.as_ref().map(|audio| audio.codec),
            source: if shared.settings.placing.is_some() { Source::Refill } else { Source::Live },
            only_mirror: false,
        };
        let header = |audio| Header::new(format, audio, &comment(&head), Some(head.start));
        let (header, has_audio) = match (header(audio.as_deref()), &audio) {
            (Err(error), Some(_)) => {
                tracing::warn!(camera.id = %head.camera, "sound is left out: {error}");
                (header(None)?, false)
            }
            (made, _) => (made?, audio.is_some()),
        };
        head.audio = head.audio.filter(|_| has_audio);
        file.open(head);
        Ok(Self {
            muxer,
            fragmenter: Fragmenter::new(&header),
            header: Some(header.bytes().clone()),
            has_audio,
            file,
            from_ns: None,
            end_ns: from_ns,
            length_ns: 0,
        })
    }

    fn add_picture(&mut self, frame: MuxFrame) {
        self.length_ns = frame.length_ns;
        self.end_ns = frame.decoded_ns.saturating_add(frame.length_ns);
        let pushed = self.fragmenter.push_video(VideoSample {
            data: frame.data,
            key: frame.key,
            decode_ns: frame.decoded_ns,
            presentation_ns: frame.shown_ns,
        });
        match pushed {
            Ok(fragment) => self.write(fragment),
            Err(error) => {
                self.file.shared.dropped.fetch_add(1, Relaxed);
                tracing::warn!(camera.id = %self.file.shared.settings.camera, "a frame is left out: {error}");
            }
        }
        let from_ns = *self.from_ns.get_or_insert(frame.decoded_ns);
        if self.header.is_some() && frame.decoded_ns - from_ns >= FIRST_FRAGMENT_NS {
            self.write_all();
        }
    }

    fn add_sound(&mut self, TimedSound { unit, at_ns }: TimedSound) {
        if !self.has_audio {
            return;
        }
        let sample = AudioSample { data: unit.data, time_ns: at_ns, ticks: unit.ticks };
        match self.fragmenter.push_audio(sample) {
            Ok(fragment) => self.write(fragment),
            Err(error) => {
                tracing::warn!(camera.id = %self.file.shared.settings.camera, "sound is left out: {error}")
            }
        }
    }

    fn write(&mut self, fragment: Option<mp4::Fragment>) {
        let Some(fragment) = fragment else { return };
        let chunks = self.header.take().into_iter().chain(fragment.chunks().cloned()).collect();
        self.file.write(SegmentBytes { chunks, extent: fragment.extent }, fragment.frames);
    }

    /// Writes what the fragmenter holds.
    fn write_all(&mut self) {
        let fragment = self.fragmenter.flush((self.length_ns > 0).then_some(self.length_ns));
        self.write(fragment);
    }
}

impl Drop for OpenSegment {
    fn drop(&mut self) {
        self.write_all();
    }
}

/// Says in the file's header what the file is, so that the index can be made again from the files alone: the name tells the start only
/// to the second.
fn comment(head: &SegmentHead) -> String {
    format!(
        "watchkeeper camera={} profile={} source={} start_us={}",
        head.camera,
        head.profile.word(),
        head.source.word(),
        head.start.0
    )
}

/// A segment on its way to the volumes, until it is dropped.
struct SegmentFile {
    shared: Arc<Shared>,
    in_flight: Arc<InFlight>,
    write: Option<Box<dyn SegmentWrite>>,
    is_refused: bool,
}

impl std::fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentFile").field("is_refused", &self.is_refused).finish_non_exhaustive()
    }
}

impl SegmentFile {
    fn open(&mut self, head: SegmentHead) {
        self.shared.segments.fetch_add(1, Relaxed);
        self.in_flight.change(|counts| counts.segments += 1);
        self.write = Some(self.shared.sink.open(head));
    }

    /// Writes bytes with so many pictures in them, which are lost if the volumes take nothing more.
    fn write(&mut self, bytes: SegmentBytes, frames: u32) {
        let Some(write) = &mut self.write else { return };
        let cut = match write.write(bytes) {
            Ok(next) => next == Next::Cut,
            Err(SinkRefused) => {
                self.shared.dropped.fetch_add(frames.into(), Relaxed);
                !std::mem::replace(&mut self.is_refused, true)
            }
        };
        if cut {
            self.shared.cut_now.store(true, Relaxed);
        }
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        if self.write.take().is_some() {
            self.in_flight.change(|counts| counts.segments -= 1);
        }
    }
}
