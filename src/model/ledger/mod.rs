//! The coverage ledger of one camera: every second is recorded, not wanted, or missing with one cause.
//!
//! It is told what stands between the camera and the disk ([`Ledger::stand`]), whether footage is wanted
//! ([`Ledger::want`]) and which footage is on disk ([`Ledger::recorded`]); it answers with [`Stretch`]es without
//! footage. All before `settled` is accounted for. What comes after is a hole as soon as something is known to stand in
//! the way; it ends where footage begins, to the microsecond, and is cut where the cause changed:
//!
//! ```text
//!   footage ──┐settled      noted: stalled   noted: camera_offline       ┌── footage
//!             └───────────────────┴────────────────┴─────────────────────┘
//!              a stall is noticed late: all of it    camera_offline
//!              up to the next cause is stalled
//! ```

use super::{
    camera::words,
    coverage::{Sign, Tally},
    pace,
    refill::queue::Tried,
    status::{Shown, StreamErrorKind, Written},
    timeline::Range,
};
use crate::base::WallUs;

/// Why wanted footage is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The camera could not be reached, or had no such stream.
    CameraOffline,
    /// The connection was open, and nothing came.
    Stalled,
    /// The camera did not accept the password.
    Auth,
    /// Frames came, but no keyframe to begin with.
    NoKeyframe,
    /// There was no room on the volume.
    DiskFull,
    /// The volume did not take what came, or what was recorded is gone.
    DiskError,
    /// The service did not run, or failed itself.
    ServiceDown,
    /// The host's clock jumped over this time.
    Clock,
    /// The operator changed something that needs a new session.
    Operator,
}

words!(Cause {
    CameraOffline = "camera_offline",
    Stalled = "stalled",
    Auth = "auth",
    NoKeyframe = "no_keyframe",
    DiskFull = "disk_full",
    DiskError = "disk_error",
    ServiceDown = "service_down",
    Clock = "clock",
    Operator = "operator",
});

/// Why there is no footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// Nobody wanted any.
    NotWanted,
    /// It should be there.
    Missing(Cause),
}

impl Absence {
    /// The word for it, in the database.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotWanted => "not_wanted",
            Self::Missing(cause) => cause.word(),
        }
    }

    /// The value that `word` names.
    pub fn from_word(word: &str) -> Option<Self> {
        if word == "not_wanted" { Some(Self::NotWanted) } else { Cause::from_word(word).map(Self::Missing) }
    }
}

/// A stretch of time without footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where the footage before it ends, or the cause began.
    pub from: WallUs,
    /// Where the footage after it begins, or another cause; `None` while it goes on.
    pub to: Option<WallUs>,
    /// Why.
    pub absence: Absence,
}

impl Stretch {
    /// What footage leaves that was recorded and is gone.
    pub fn lost(footage: Range) -> Self {
        Self { from: footage.from, to: Some(footage.to), absence: Absence::Missing(Cause::DiskError) }
    }
}

/// A stretch that the index knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its id; grows.
    pub id: i64,
    /// Whose footage is not there.
    pub camera: crate::base::CameraId,
    /// When, and why.
    pub stretch: Stretch,
    /// What was tried to close it.
    pub tried: Tried,
}

/// What stands between a camera and the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: frames are written.
    Writing,
    /// A session is being opened, or its first frames are on their way; nobody is to blame yet.
    Pending,
    /// This.
    Missing(Cause),
}

/// What becomes of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// It takes what comes.
    Ok,
    /// It has no room.
    Full,
    /// It fails otherwise.
    Failing,
}

impl Standing {
    /// What a camera's driver sees. `written` is what becomes of frames while they come.
    pub fn of(shown: Shown, loss: Option<StreamErrorKind>, written: Option<Written>, disk: Disk) -> Self {
        let late = match disk {
            Disk::Full => Cause::DiskFull,
            Disk::Ok | Disk::Failing => Cause::DiskError,
        };
        match (written, loss) {
            (Some(_), _) if disk != Disk::Ok => Self::Missing(late),
            (Some(Written::Yes), _) => Self::Writing,
            (Some(Written::Soon | Written::AwaitsKeyframe), _) => Self::Pending,
            (Some(Written::NoKeyframe), _) => Self::Missing(Cause::NoKeyframe),
            (Some(Written::Late), _) => Self::Missing(late),
            (None, _) if shown == Shown::Disabled => Self::Pending,
            (None, None) => Self::Pending,
            (None, Some(StreamErrorKind::Silent)) => Self::Missing(Cause::Stalled),
            (None, Some(StreamErrorKind::Unauthorised)) => Self::Missing(Cause::Auth),
            (None, Some(StreamErrorKind::Internal)) => Self::Missing(Cause::ServiceDown),
            (None, Some(_)) => Self::Missing(Cause::CameraOffline),
        }
    }
}

/// What holds from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    at: WallUs,
    wanted: bool,
    standing: Standing,
}

/// So many notes of one hole are kept apart; the older part of it is then settled.
const NOTES_MAX: usize = 128;
/// So many stretches wait to be taken; after that the last one grows, over footage too, which wins against it.
const DONE_MAX: usize = 4096;

/// One camera's account. Times may come in any order; what was settled is not opened again.
#[derive(Clone, Debug)]
pub struct Ledger {
    settled: WallUs,
    /// Footage that begins so soon after `settled` follows on it.
    slack_us: i64,
    /// In order; the first holds at `settled`.
    notes: Vec<Note>,
    /// Stretches that are over, before `settled`, until somebody takes them.
    done: Vec<Stretch>,
    tally: Tally,
}

impl Ledger {
    /// The account of a camera that is new at `at`; before, nobody wanted footage of it.
    pub fn new(at: WallUs, wanted: bool) -> Self {
        let mut ledger = Self::from(at, wanted);
        ledger.finish(Stretch { from: WallUs(0), to: Some(at), absence: Absence::NotWanted });
        ledger
    }

    /// The account of a camera of which nothing is known before `at`.
    pub fn from(at: WallUs, wanted: bool) -> Self {
        Self {
            settled: at,
            slack_us: 0,
            notes: vec![Note { at, wanted, standing: Standing::Pending }],
            done: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The account after a restart at `stood`. `settled` is where everything known ends and `open` the stretch that
    /// went on then; the service was alive until `alive` at least.
    pub fn resumed(
        settled: WallUs,
        open: Option<Stretch>,
        wanted: bool,
        alive: WallUs,
        stood: WallUs,
    ) -> Self {
        let settled = open.map_or(settled, |open| open.from);
        let down = if open.is_some() { alive.max(settled) } else { settled };
        let was_wanted = open.map_or(wanted, |open| open.absence != Absence::NotWanted);
        let mut ledger = Self::from(settled, was_wanted);
        if let Some(Stretch { absence: Absence::Missing(cause), .. }) = open {
            ledger.stand(settled, Standing::Missing(cause));
        }
        ledger.stand(down, Standing::Missing(Cause::ServiceDown));
        ledger.stand(stood, Standing::Pending);
        ledger
    }

    /// From `at` on footage is wanted, or not. `at` may lie before what was noted already.
    pub fn want(&mut self, at: WallUs, wanted: bool) {
        let first = self.notes.iter().position(|note| note.at >= at).unwrap_or(self.notes.len());
        if let Some(before) = first.checked_sub(1).and_then(|n| self.notes.get(n)).copied() {
            self.notes.insert(first, Note { at, ..before });
        }
        for note in &mut self.notes[first..] {
            note.wanted = wanted;
        }
        self.simplify();
    }

    /// From `at` on this stands between the camera and the disk.
    pub fn stand(&mut self, at: WallUs, standing: Standing) {
        let last = self.last();
        if last.standing != standing {
            self.notes.push(Note { at: at.max(last.at), wanted: last.wanted, standing });
            self.simplify();
        }
    }

    /// The host's clock jumped on, from one time to a later one: what lies between never was. After a jump back time
    /// passes twice, and nothing is missing.
    pub fn jumped(&mut self, from: WallUs, to: WallUs) {
        let last = self.last();
        if to > from {
            self.stand(from, Standing::Missing(Cause::Clock));
            self.stand(to, last.standing);
        }
    }

    /// Live footage is on disk: `frames` frames, or more of what was told before.
    pub fn recorded(&mut self, footage: Range, frames: u64) {
        let Range { from, to } = footage;
        let before = self.settled;
        if !self.advance(footage) {
            return;
        }
        // Whatever was said before it began is answered by it.
        if from > before {
            let at = self.notes.partition_point(|note| note.at <= from);
            let wanted = self.notes[at - 1].wanted;
            self.notes.insert(at, Note { at: from, wanted, standing: Standing::Writing });
        }
        self.simplify();
        // The last frame is given the length of the one before it, and a timeline may be pulled where segments meet.
        let length = to.0 - from.0;
        let frame = length / i64::try_from(frames.max(1)).unwrap_or(i64::MAX);
        self.slack_us = frame + pace::slew(length);
    }

    /// Footage turned up that nobody had told of. What of it lies before all that is open is for the index to put in:
    /// that part is given back.
    pub fn found(&mut self, footage: Range) -> Option<Range> {
        let settled = self.settled;
        if self.advance(footage) {
            self.simplify();
        }
        let old = Range { from: footage.from, to: footage.to.min(settled) };
        (old.from < old.to).then_some(old)
    }

    /// To count in what only the index knows: what was before this account began, and what was put in later.
    pub fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// What is accounted for, today and yesterday; without what is open.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Everything before this is accounted for.
    pub fn settled(&self) -> WallUs {
        self.settled
    }

    /// Whether footage is wanted now.
    pub fn wanted(&self) -> bool {
        self.last().wanted
    }

    /// Stretches that are over, oldest first.
    pub fn done(&self) -> &[Stretch] {
        &self.done
    }

    /// Forgets the first `count` of those: the index has them.
    pub fn forget(&mut self, count: usize) {
        self.done.drain(..count.min(self.done.len()));
    }

    /// The hole that goes on, oldest part first, if there is one that began before `now`.
    pub fn open(&self, now: WallUs) -> Vec<Stretch> {
        let mut open = self.pieces(None);
        open.retain(|piece| piece.from < now);
        open
    }

    fn last(&self) -> Note {
        // There is always one; `from` makes it and `simplify` keeps the last.
        self.notes.last().copied().unwrap_or(Note {
            at: self.settled,
            wanted: true,
            standing: Standing::Pending,
        })
    }

    /// Settles everything up to the end of this footage; `false` if it was already.
    fn advance(&mut self, Range { from, to }: Range) -> bool {
        if to <= self.settled {
            return false;
        }
        if from.0 - self.settled.0 > self.slack_us {
            self.close(from);
        }
        self.tally.recorded(Range { from: self.settled, to }, Sign::Plus);
        self.settled = to;
        true
    }

    /// Ends the hole at `at`.
    fn close(&mut self, at: WallUs) {
        for piece in self.pieces(Some(at)) {
            self.finish(piece);
        }
        self.settled = at;
    }

    fn finish(&mut self, stretch: Stretch) {
        if let Some(to) = stretch.to {
            self.tally.absent(Range { from: stretch.from, to }, stretch.absence, Sign::Plus);
        }
        let full = self.done.len() >= DONE_MAX;
        match self.done.last_mut() {
            Some(last) if full => last.to = stretch.to,
            _ => self.done.push(stretch),
        }
    }

    /// Drops notes that say nothing: those that held only before `settled`, or not at all, and repetitions.
    fn simplify(&mut self) {
        let holding = self.notes.iter().rposition(|note| note.at <= self.settled).unwrap_or(0);
        self.notes.drain(..holding);
        let mut kept: Vec<Note> = Vec::with_capacity(self.notes.len());
        for note in self.notes.drain(..) {
            kept.pop_if(|last| last.at == note.at);
            if kept.last().is_none_or(|last| (last.wanted, last.standing) != (note.wanted, note.standing)) {
                kept.push(note);
            }
        }
        self.notes = kept;
        if self.notes.len() > NOTES_MAX {
            self.close(self.notes[NOTES_MAX / 2].at);
            self.simplify();
        }
    }

    /// The hole from `settled` to `end`, cut where the cause changes.
    fn pieces(&self, end: Option<WallUs>) -> Vec<Stretch> {
        let mut pieces: Vec<Stretch> = Vec::new();
        for (n, note) in self.notes.iter().enumerate() {
            let from = note.at.max(self.settled);
            let next = self.notes.get(n + 1).map(|next| next.at);
            let to = next.into_iter().chain(end).min();
            if to.is_some_and(|to| to <= from) {
                continue;
            }
            match (self.absence(n, end), pieces.last_mut()) {
                // Frames are written, so they will be told of, and end the hole where they began.
                (None, Some(last)) => last.to = to,
                (None, None) => {}
                (Some(absence), Some(last)) if last.absence == absence => last.to = to,
                (Some(absence), _) => pieces.push(Stretch { from, to, absence }),
            }
        }
        // Where footage ends and begins is known to a frame only.
        if let [first, second, ..] = &mut pieces[..]
            && second.from.0 - first.from.0 <= self.slack_us
        {
            second.from = first.from;
            pieces.remove(0);
        }
        if let [.., before, Stretch { from, to: Some(to), .. }] = &mut pieces[..]
            && to.0 - from.0 <= self.slack_us
        {
            before.to = Some(*to);
            pieces.pop();
        }
        pieces
    }

    /// Why there is no footage while the `n`th note holds, in a hole up to `end`; `None` if there seems to be.
    fn absence(&self, n: usize, end: Option<WallUs>) -> Option<Absence> {
        let note = self.notes[n];
        if !note.wanted {
            return Some(Absence::NotWanted);
        }
        let cause = |note: &Note| match note.standing {
            Standing::Missing(cause) => Some(cause),
            Standing::Writing | Standing::Pending => None,
        };
        let mut later =
            self.notes[n + 1..].iter().take_while(|note| end.is_none_or(|end| note.at < end)).peekable();
        let alone = later.peek().is_none();
        // What is noticed later began before; a session that is being opened belongs to what it is opened after.
        let next = later.take_while(|note| note.wanted).find_map(cause);
        let before = self.notes[..n]
            .iter()
            .rev()
            .take_while(|note| note.wanted && note.standing != Standing::Writing)
            .find_map(cause);
        let missing = match note.standing {
            Standing::Missing(cause) => cause,
            Standing::Pending => next.or(before).unwrap_or(Cause::Operator),
            Standing::Writing if alone && end.is_none() => return None,
            // Frames came, and not all of them were kept.
            Standing::Writing if alone => Cause::DiskError,
            Standing::Writing => next.unwrap_or(Cause::Operator),
        };
        Some(Absence::Missing(missing))
    }
}

#[cfg(test)]
mod tests;
