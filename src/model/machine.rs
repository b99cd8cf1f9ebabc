//! A camera's life, as a function: state × event → state and actions. The driver acts; it holds no rule.
//!
//! ```text
//!              Wanted                    Frame
//!  Disabled ─────────► Connecting ─────────────► Recording
//!     ▲                 ▲  │ Lost, deadline        │ Lost, stall
//!     │ Closed,         │  ▼                       ▼
//!     │ not wanted      │  Closing ◄───────────────┘
//!     └─────────────────│──┤ Closed, after a loss
//!                       │  ▼
//!                       └─ Waiting    (until the delay is over, or the camera that was away can be reached again)
//! ```
//!
//! There is never a second pipeline for a camera: `Open` comes only out of a state without one, and `Closing` lasts
//! until the old one has ended or was handed to the reaper.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    backoff,
    status::{Shown, StreamErrorKind},
};

/// From the start of an attempt to the first frame, whatever the camera does, unless its settings say otherwise.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// No frame for so long is a stall: it is noticed at the next tick, 400 ms later at most, and a frame is read up to 160 ms after it came,
/// so that is within 5 s.
pub const STALL_AFTER: Duration = Duration::from_millis(4_400);
/// How often the driver sends [`Event::Tick`], unless [`Life::tick`] says otherwise.
pub const TICK: Duration = Duration::from_millis(200);
/// The same while frames come.
const TICK_WHILE_FRAMES_COME: Duration = Duration::from_millis(400);
/// Between checks whether a camera that was away can be reached again.
pub const KNOCK_EVERY: Duration = Duration::from_secs(1);

/// A camera's life: where it is, and what it remembers of the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Where it is.
    pub state: State,
    /// From the start of an attempt to the first frame.
    pub connect_within: Duration,
    /// Attempts in a row that brought no frame.
    failures: u32,
    /// Refused passwords in a row.
    refusals: u32,
    /// When frames stopped, and why, while that has not been made good.
    outage: Option<(Instant, StreamErrorKind)>,
    /// Whether frames fell silent, and no attempt has failed since.
    stalled: bool,
    /// Until then every failure is tried again soon.
    eager_until: Option<Instant>,
    /// When the last sessions brought their first frames.
    sessions: VecDeque<Instant>,
    /// How often it came back.
    pub reconnects: u64,
}

/// Where a camera is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// Not wanted; nothing is open.
    Disabled,
    /// An attempt is under way; no frame yet.
    Connecting {
        /// When the attempt began.
        since: Instant,
    },
    /// Frames come.
    Recording {
        /// When the first of them came.
        since: Instant,
    },
    /// The pipeline is being stopped.
    Closing {
        /// What comes after.
        then: Then,
    },
    /// Nothing is open; the next attempt is at `until`.
    Waiting {
        /// When.
        until: Instant,
        /// Whether the camera failed to answer a knock while we waited.
        away: bool,
    },
}

/// What follows a stopped pipeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then {
    /// Nothing: not wanted any more.
    Rest,
    /// A new attempt at once: the settings changed.
    Reopen,
    /// A new attempt after this delay.
    Wait(Duration),
}

/// What happens to a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// It is to be recorded.
    Wanted,
    /// It is not to be recorded.
    Unwanted,
    /// Its source was changed: address, credentials, profile, transport.
    Changed,
    /// Time passed. `last_frame` is when the session's last frame came, `interval` the time between frames.
    Tick {
        /// `None` before the first one.
        last_frame: Option<Instant>,
        /// As measured.
        interval: Duration,
    },
    /// The session is lost, or the attempt failed.
    Lost {
        /// Why.
        kind: StreamErrorKind,
        /// When the next attempt is made, if that is known; else zero.
        hold: Duration,
    },
    /// The pipeline has ended, or was given up on: a new one may be opened.
    Closed,
    /// It was checked whether the camera can be reached.
    Knocked {
        /// Whether it took the connection.
        answered: bool,
    },
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Open a session.
    Open,
    /// Stop the session; [`Event::Closed`] follows.
    Close,
    /// Tell that frames stopped, once for each outage.
    TellOffline(StreamErrorKind),
    /// Tell that frames are back after this long.
    TellOnline(Duration),
}

impl Default for Life {
    fn default() -> Self {
        Self {
            state: State::Disabled,
            connect_within: CONNECT_WITHIN,
            failures: 0,
            refusals: 0,
            outage: None,
            stalled: false,
            eager_until: None,
            sessions: VecDeque::new(),
            reconnects: 0,
        }
    }
}

impl Life {
    /// Time to the next [`Event::Tick`].
    pub fn tick(&self) -> Duration {
        if matches!(self.state, State::Recording { .. }) { TICK_WHILE_FRAMES_COME } else { TICK }
    }

    /// One step. Reads no clock, does no I/O, logs nothing; `jitter` is a random number of 0.0 to 1.0.
    #[must_use]
    pub fn step(mut self, now: Instant, jitter: f64, event: Event) -> (Self, Vec<Action>) {
        let mut actions = Vec::new();
        let (state, action) = match (self.state, event) {
            (State::Disabled, Event::Wanted) => (State::Connecting { since: now }, Some(Action::Open)),
            (State::Closing { then: Then::Rest }, Event::Wanted) => {
                (State::Closing { then: Then::Reopen }, None)
            }

            (State::Connecting { .. } | State::Recording { .. }, Event::Unwanted) => {
                (State::Closing { then: Then::Rest }, Some(Action::Close))
            }
            (State::Closing { .. }, Event::Unwanted) => (State::Closing { then: Then::Rest }, None),
            (State::Waiting { .. }, Event::Unwanted) => (State::Disabled, None),

            (State::Connecting { .. } | State::Recording { .. }, Event::Changed) => {
                self.forgive();
                (State::Closing { then: Then::Reopen }, Some(Action::Close))
            }
            (State::Closing { then: Then::Wait(_) }, Event::Changed) => {
                self.forgive();
                (State::Closing { then: Then::Reopen }, None)
            }
            (State::Waiting { .. }, Event::Changed) => {
                self.forgive();
                (State::Connecting { since: now }, Some(Action::Open))
            }

            (State::Connecting { .. }, Event::Tick { last_frame: Some(_), .. }) => {
                self.refusals = 0;
                if let Some((lost_at, _)) = self.outage.take() {
                    self.reconnects += 1;
                    actions.push(Action::TellOnline(now - lost_at));
                }
                self.stalled = false;
                self.sessions.push_back(now);
                if self.sessions.len() > backoff::QUICK_SESSIONS {
                    self.sessions.pop_front();
                }
                (State::Recording { since: now }, None)
            }
            (State::Connecting { since }, Event::Tick { .. }) if now - since >= self.connect_within => {
                let lost = self.lost(now, jitter, StreamErrorKind::Silent, Duration::ZERO, &mut actions);
                (lost, Some(Action::Close))
            }
            (State::Recording { since }, Event::Tick { last_frame, interval })
                if now.saturating_duration_since(last_frame.unwrap_or(since))
                    >= STALL_AFTER.max(interval * 3) =>
            {
                let lost = self.lost(now, jitter, StreamErrorKind::Silent, Duration::ZERO, &mut actions);
                (lost, Some(Action::Close))
            }
            (State::Connecting { .. } | State::Recording { .. }, Event::Lost { kind, hold }) => {
                (self.lost(now, jitter, kind, hold, &mut actions), Some(Action::Close))
            }

            (State::Closing { then: Then::Rest }, Event::Closed) => (State::Disabled, None),
            (State::Closing { then: Then::Reopen }, Event::Closed) => {
                (State::Connecting { since: now }, Some(Action::Open))
            }
            (State::Closing { then: Then::Wait(delay) }, Event::Closed) => {
                (State::Waiting { until: now + delay, away: false }, None)
            }

            (State::Waiting { until, .. }, Event::Tick { .. }) if now >= until => {
                (State::Connecting { since: now }, Some(Action::Open))
            }
            (State::Waiting { until, .. }, Event::Knocked { answered: false }) => {
                (State::Waiting { until, away: true }, None)
            }
            // It was away and is back, so it has earned quick attempts again: it may still be starting up.
            (State::Waiting { away: true, .. }, Event::Knocked { answered: true }) => {
                self.failures = 0;
                self.eager_until = Some(now + backoff::EAGER);
                (State::Connecting { since: now }, Some(Action::Open))
            }

            (state, _) => (state, None),
        };
        if state == State::Disabled {
            let Self { reconnects, connect_within, .. } = self;
            self = Self { reconnects, connect_within, ..Self::default() };
        }
        self.state = state;
        actions.extend(action);
        (self, actions)
    }

    /// New settings deserve a fresh start.
    fn forgive(&mut self) {
        self.failures = 0;
        self.refusals = 0;
    }

    fn lost(
        &mut self,
        now: Instant,
        jitter: f64,
        kind: StreamErrorKind,
        hold: Duration,
        actions: &mut Vec<Action>,
    ) -> State {
        let recorded = matches!(self.state, State::Recording { .. });
        let attempt_since = if let State::Connecting { since } = self.state { since } else { now };
        self.stalled = kind == StreamErrorKind::Silent && recorded;
        if recorded {
            self.failures = 0;
            self.eager_until = Some(now + backoff::EAGER);
        } else {
            self.failures += 1;
        }
        self.refusals = if kind == StreamErrorKind::Unauthorised { self.refusals + 1 } else { 0 };
        match &mut self.outage {
            Some((_, why)) => *why = kind,
            None => {
                self.outage = Some((now, kind));
                actions.push(Action::TellOffline(kind));
            }
        }
        let eager = self.eager_until.is_some_and(|until| now < until);
        let delay = if !hold.is_zero() {
            hold
        } else if recorded {
            backoff::delay(1, jitter).max(self.quick_after(now))
        } else if self.refusals >= backoff::REFUSALS {
            backoff::REFUSED
        } else if kind.needs_operator() && !eager && kind != StreamErrorKind::Unauthorised {
            backoff::OPERATOR
        } else if kind == StreamErrorKind::Silent && now - attempt_since >= self.connect_within * 3 / 4 {
            // An attempt that used up its deadline, or most of it, is already as rare as it should be; a camera that thaws is to be
            // recorded within 2 s, so it is waited for inside the attempts and not between them.
            backoff::FIRST
        } else {
            backoff::delay(self.failures, jitter)
        };
        State::Closing { then: Then::Wait(delay) }
    }

    /// When another session may follow those that brought frames.
    fn quick_after(&self, now: Instant) -> Duration {
        let oldest = self.sessions.front().filter(|_| self.sessions.len() >= backoff::QUICK_SESSIONS);
        oldest
            .map_or(Duration::ZERO, |oldest| (*oldest + backoff::QUICK_WITHIN).saturating_duration_since(now))
    }

    /// Whether it makes sense to check now whether the camera can be reached: it takes no connection, so none is taken from it.
    pub fn knocks(&self) -> bool {
        let away = |kind| matches!(kind, StreamErrorKind::Refused | StreamErrorKind::Unreachable);
        matches!(self.state, State::Waiting { .. }) && self.outage.is_some_and(|(_, kind)| away(kind))
    }

    /// When the next attempt is, if one is waited for.
    pub fn next_attempt(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The word for it and, where there is one, the cause. An outage is shown as such through all its attempts.
    pub fn shown(&self) -> (Shown, Option<StreamErrorKind>) {
        match (self.state, self.outage) {
            (State::Disabled | State::Closing { then: Then::Rest }, _) => (Shown::Disabled, None),
            (State::Recording { .. }, _) => (Shown::Recording, None),
            // Frames stopped a moment ago: not yet called offline.
            (_, Some((_, loss))) if self.stalled => (Shown::Stalled, Some(loss)),
            (_, Some((_, loss))) => (Shown::Offline, Some(loss)),
            (_, None) => (Shown::Connecting, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const QUIET: Event = Event::Tick { last_frame: None, interval: Duration::ZERO };

    fn frame(at: Instant) -> Event {
        Event::Tick { last_frame: Some(at), interval: Duration::from_millis(40) }
    }

    fn lost(kind: StreamErrorKind) -> Event {
        Event::Lost { kind, hold: Duration::ZERO }
    }

    /// Runs a script of (milliseconds from the start, event) without jitter.
    fn run(start: Instant, script: &[(u64, Event)]) -> (Life, Vec<(u64, Action)>) {
        let mut life = Life::default();
        let mut done = Vec::new();
        for (ms, event) in script {
            let (next, actions) = life.step(start + Duration::from_millis(*ms), 0.0, *event);
            life = next;
            done.extend(actions.into_iter().map(|action| (*ms, action)));
        }
        (life, done)
    }

    #[test]
    fn a_silent_camera_is_lost_within_five_seconds_and_opened_again_after_one() {
        let t = Instant::now();
        let (life, done) = run(
            t,
            &[
                (0, Event::Wanted),
                (300, frame(t)),
                (4_500, frame(t)),
                (4_700, frame(t)),
                (4_800, Event::Closed),
                (5_700, QUIET),
                (5_800, QUIET),
                (6_000, frame(t + Duration::from_millis(6_000))),
            ],
        );
        assert_eq!(
            done,
            [
                (0, Action::Open),
                (4_500, Action::TellOffline(StreamErrorKind::Silent)),
                (4_500, Action::Close),
                (5_800, Action::Open),
                (6_000, Action::TellOnline(Duration::from_millis(1_500))),
            ]
        );
        assert_eq!(life.shown(), (Shown::Recording, None));
        assert_eq!(life.reconnects, 1);
    }

    #[test]
    fn a_slow_camera_is_not_called_silent() {
        let t = Instant::now();
        let slow = Event::Tick { last_frame: Some(t), interval: Duration::from_secs(4) };
        let (life, _) = run(t, &[(0, Event::Wanted), (100, slow), (11_900, slow)]);
        assert_eq!(life.shown().0, Shown::Recording);
        let (life, _) = run(t, &[(0, Event::Wanted), (100, slow), (12_000, slow)]);
        assert_eq!(life.shown(), (Shown::Stalled, Some(StreamErrorKind::Silent)));
    }

    #[test]
    fn a_camera_that_never_sent_a_frame_is_offline_and_not_stalled() {
        let t = Instant::now();
        let (life, _) = run(t, &[(0, Event::Wanted), (12_000, lost(StreamErrorKind::Silent))]);
        assert_eq!(life.shown(), (Shown::Offline, Some(StreamErrorKind::Silent)));
        // And one that stalls soon after it came back is stalled again, whatever was before.
        let script = [(12_100, Event::Closed), (14_000, QUIET), (14_100, frame(t)), (20_000, frame(t))];
        let script = [&[(0, Event::Wanted), (12_000, lost(StreamErrorKind::Silent))], &script[..]].concat();
        assert_eq!(run(t, &script).0.shown(), (Shown::Stalled, Some(StreamErrorKind::Silent)));
    }

    #[test]
    fn a_refused_password_is_tried_four_times_an_hour() {
        let start = Instant::now();
        let mut life = Life::default().step(start, 0.0, Event::Wanted).0;
        let (mut now, mut attempts) = (start, 1);
        while now - start < Duration::from_secs(3600) {
            now += TICK;
            for event in [lost(StreamErrorKind::Unauthorised), Event::Closed, QUIET] {
                let (next, actions) = life.step(now, 0.5, event);
                life = next;
                attempts += actions.iter().filter(|action| **action == Action::Open).count();
            }
            assert!(!life.knocks());
        }
        assert!((4..=3 + 4).contains(&attempts), "{attempts} attempts in an hour");
        let (life, actions) = life.step(now, 0.0, Event::Changed);
        assert_eq!(actions, [Action::Open]);
        assert_eq!(life.shown(), (Shown::Offline, Some(StreamErrorKind::Unauthorised)));
    }

    #[test]
    fn a_camera_that_was_away_is_opened_when_it_answers() {
        let t = Instant::now();
        let mut script = vec![(0, Event::Wanted)];
        for attempt in 0..6 {
            let at = 40_000 * attempt;
            script.extend([
                (at + 1, lost(StreamErrorKind::Refused)),
                (at + 2, Event::Closed),
                (at + 39_999, QUIET),
            ]);
        }
        script.extend([(240_001, lost(StreamErrorKind::Refused)), (240_002, Event::Closed)]);
        script.push((241_000, Event::Knocked { answered: false }));
        let (waiting, _) = run(t, &script);
        assert_eq!(waiting.next_attempt(), Some(t + Duration::from_millis(270_002)));
        script.push((242_000, Event::Knocked { answered: true }));
        let (life, done) = run(t, &script);
        assert_eq!(done.last(), Some(&(242_000, Action::Open)));
        assert_eq!(life.shown(), (Shown::Offline, Some(StreamErrorKind::Refused)));
        // One that answers all the time gets no attempt for it: the delay holds.
        let always = [
            (0, Event::Wanted),
            (1, lost(StreamErrorKind::NoSuchStream)),
            (2, Event::Closed),
            (500, Event::Knocked { answered: true }),
        ];
        assert!(matches!(run(t, &always).0.state, State::Waiting { .. }));
    }

    #[test]
    fn a_session_with_frames_is_followed_by_the_next_within_a_second_twenty_times_a_minute() {
        let t = Instant::now();
        let at = |ms| t + Duration::from_millis(ms);
        let (mut life, mut ms, mut begun) = (Life::default().step(t, 0.0, Event::Wanted).0, 0, Vec::new());
        while ms < 180_000 {
            // Every session lives for 100 ms.
            begun.push(ms);
            life = life.step(at(ms), 0.0, frame(at(ms))).0;
            life = life.step(at(ms + 100), 0.0, lost(StreamErrorKind::Ended)).0;
            life = life.step(at(ms + 100), 0.0, Event::Closed).0;
            let next = life.next_attempt().unwrap();
            ms = u64::try_from((next - t).as_millis()).unwrap();
            life = life.step(next, 0.0, QUIET).0;
        }
        assert!(begun.windows(2).take(19).all(|pair| pair[1] - pair[0] <= 1_100), "{begun:?}");
        assert!(begun.windows(21).all(|pair| pair[20] - pair[0] >= 60_000), "{begun:?}");
        assert!(begun.len() >= 55, "{} in three minutes", begun.len());
    }

    #[test]
    fn what_only_the_operator_can_mend_is_asked_again_once_a_minute() {
        let t = Instant::now();
        let wait = |before: &[(u64, Event)], kind| {
            let script = [&[(0, Event::Wanted)], before, &[(1_000, lost(kind))]].concat();
            match run(t, &script).0.state {
                State::Closing { then: Then::Wait(delay) } => delay.as_secs(),
                state => panic!("{state:?}"),
            }
        };
        for kind in [
            StreamErrorKind::UnsupportedCodec,
            StreamErrorKind::NoSuchStream,
            StreamErrorKind::Redirected,
            StreamErrorKind::BasicRefused,
            StreamErrorKind::CertificateChanged,
        ] {
            assert_eq!(wait(&[], kind), 60, "{kind:?}");
            // It was recorded a moment ago, and may be starting up.
            let before =
                [(1, frame(t)), (500, lost(StreamErrorKind::Ended)), (600, Event::Closed), (900, QUIET)];
            let before = [&before[..3], &[(1_000 - 1, Event::Changed)]].concat();
            assert_eq!(wait(&before, kind), 1, "{kind:?}");
        }
        assert_eq!(wait(&[], StreamErrorKind::Protocol), 1);
        let life =
            run(t, &[(0, Event::Wanted), (1, lost(StreamErrorKind::NoSuchStream)), (2, Event::Closed)]).0;
        assert!(!life.knocks());
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Wanted),
            Just(Event::Unwanted),
            Just(Event::Changed),
            Just(QUIET),
            Just(QUIET),
            Just(frame(Instant::now())),
            proptest::sample::select(StreamErrorKind::ALL).prop_map(lost),
            Just(Event::Closed),
            any::<bool>().prop_map(|answered| Event::Knocked { answered }),
        ]
    }

    proptest! {
        #[test]
        fn never_two_pipelines_and_every_outage_told_once(script in vec((0u64..20_000, event()), 0..200)) {
            let (mut life, mut now) = (Life::default(), Instant::now());
            // A pipeline is open from `Open` until the world answers a `Close` with `Closed`.
            let (mut open, mut closing, mut offline) = (false, false, false);
            for (wait, event) in script {
                now += Duration::from_millis(wait);
                if event == Event::Closed {
                    if !closing { continue }
                    (open, closing) = (false, false);
                }
                let (next, actions) = life.step(now, 0.3, event);
                for action in actions {
                    match action {
                        Action::Open => { prop_assert!(!open); open = true }
                        Action::Close => { prop_assert!(open && !closing); closing = true }
                        Action::TellOffline(_) => { prop_assert!(!offline); offline = true }
                        Action::TellOnline(_) => { prop_assert!(offline); offline = false }
                    }
                }
                if next.state == State::Disabled { offline = false }
                prop_assert_eq!(open, matches!(next.state, State::Connecting { .. } | State::Recording { .. } | State::Closing { .. }));
                life = next;
            }
        }

        #[test]
        fn a_wanted_camera_is_never_forgotten(script in vec((0u64..20_000, event()), 0..60)) {
            let (mut life, mut now) = (Life::default(), Instant::now());
            for (wait, event) in script {
                now += Duration::from_millis(wait);
                life = life.step(now, 0.3, event).0;
            }
            life = life.step(now, 0.3, Event::Wanted).0;
            // Whatever happened before, with time and answers it comes to an attempt.
            let mut opened = matches!(life.state, State::Connecting { .. } | State::Recording { .. });
            for event in [Event::Closed, QUIET] {
                now += backoff::REFUSED;
                let (next, actions) = life.step(now, 0.3, event);
                opened |= actions.contains(&Action::Open);
                life = next;
            }
            prop_assert!(opened);
        }
    }
}
