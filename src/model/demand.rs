//! What a camera is wanted for at a moment: nothing, readiness, or footage. And when a trigger is taken, and for how long.
//!
//! ```text
//!  mode             nothing running                          a trigger's window runs
//!  continuous       Record                                   –
//!  scheduled        Record in the schedule, else Nothing     –
//!  event            Armed                                    Record
//!  scheduled_event  Armed in the schedule, else Nothing      Record, also beyond the schedule's end
//! ```
//!
//! From [`LEAD`] before a schedule's window on, Nothing becomes Armed. Without `event_idle_session`, the Armed of a camera
//! that waits for a trigger is Nothing.

use std::time::Duration;

use super::{
    camera::{self, BadField, POST_ROLL_MAX, words},
    schedule::{self, Schedule, Zone},
};
use crate::base::WallUs;

/// A session is opened so long before a schedule's window, so that recording begins with it.
pub const LEAD: Duration = Duration::from_secs(5);
/// A trigger records for so long at least, also with a `post_roll_seconds` of 0: what it tells of must be in the footage.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// Years of a schedule with ten windows a day.
const CHANGES_MAX: usize = 20_000;

/// When a camera is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Always.
    #[default]
    Continuous,
    /// In its schedule.
    Scheduled,
    /// After triggers.
    Event,
    /// After triggers that come in its schedule.
    ScheduledEvent,
}

words!(Mode {
    Continuous = "continuous",
    Scheduled = "scheduled",
    Event = "event",
    ScheduledEvent = "scheduled_event",
});

impl Mode {
    /// Whether its schedule counts.
    pub fn has_schedule(self) -> bool {
        matches!(self, Self::Scheduled | Self::ScheduledEvent)
    }

    /// Whether it is recorded after triggers.
    pub fn has_triggers(self) -> bool {
        matches!(self, Self::Event | Self::ScheduledEvent)
    }
}

/// What decides, of a camera's settings.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Whether it is recorded at all.
    pub enabled: bool,
    /// When.
    pub mode: Mode,
    /// Its schedule.
    pub schedule: &'a Schedule,
    /// Where the schedule's clock hangs.
    pub zone: Zone,
    /// Whether it keeps its session open while it waits for a trigger.
    pub idle_session: bool,
}

/// What a camera is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// It.
    pub want: Want,
    /// When this can change by itself; `None` if it needs a trigger or other settings.
    pub until: Option<WallUs>,
}

/// See the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// No session.
    Nothing(Idle),
    /// A session that keeps the pre-roll in memory; nothing is written.
    Armed(Idle),
    /// Footage on disk.
    Record(Why),
}

/// Why nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It is not to be recorded at all.
    Disabled,
    /// Its schedule says not now; the next window opens then, if one ever does.
    OutsideSchedule(Option<WallUs>),
    /// No trigger's window runs.
    NoTrigger,
}

/// Why it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It always is.
    Always,
    /// Its schedule says now.
    Schedule,
    /// A trigger's window runs.
    Trigger,
}

impl Want {
    /// The word for why nothing is written.
    pub fn idle(self) -> Option<&'static str> {
        match self {
            Self::Record(_) | Self::Nothing(Idle::Disabled) | Self::Armed(Idle::Disabled) => None,
            Self::Nothing(Idle::OutsideSchedule(_)) | Self::Armed(Idle::OutsideSchedule(_)) => {
                Some("outside_schedule")
            }
            Self::Nothing(Idle::NoTrigger) => Some("waits_for_trigger"),
            Self::Armed(Idle::NoTrigger) => Some("armed"),
        }
    }

    /// What the operator should know of it.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Nothing(Idle::OutsideSchedule(None)) => Some(
                "its schedule has no window, so it is never recorded; add a row, or choose another record_mode",
            ),
            Self::Nothing(Idle::NoTrigger) => Some(
                "no session is open while it waits, so footage begins after the trigger, without pre-roll",
            ),
            _ => None,
        }
    }

    /// When its schedule's next window opens, if it is idle until then.
    pub fn opens(self) -> Option<WallUs> {
        match self {
            Self::Nothing(Idle::OutsideSchedule(opens)) | Self::Armed(Idle::OutsideSchedule(opens)) => opens,
            _ => None,
        }
    }
}

/// What the camera is wanted for at `now`. `window_end` is the end of the last trigger's window.
pub fn demand(settings: &Settings<'_>, window_end: Option<WallUs>, now: WallUs) -> Demand {
    let Settings { enabled, mode, schedule, zone, idle_session } = *settings;
    if !enabled {
        return Demand { want: Want::Nothing(Idle::Disabled), until: None };
    }
    if mode == Mode::Continuous {
        return Demand { want: Want::Record(Why::Always), until: None };
    }
    if let Some(end) = window_end.filter(|end| mode.has_triggers() && now < *end) {
        return Demand { want: Want::Record(Why::Trigger), until: Some(end) };
    }
    let edge = if mode.has_schedule() { schedule::next_edge(schedule, zone, now) } else { None };
    if mode.has_schedule() && !schedule::covers(schedule, zone, now) {
        let idle = Idle::OutsideSchedule(edge);
        let lead = edge.map(|edge| edge.plus_us(-i64::try_from(LEAD.as_micros()).unwrap_or(0)));
        return match lead {
            _ if mode.has_triggers() && !idle_session => Demand { want: Want::Nothing(idle), until: edge },
            Some(lead) if lead <= now => Demand { want: Want::Armed(idle), until: edge },
            lead => Demand { want: Want::Nothing(idle), until: lead },
        };
    }
    let want = match mode {
        Mode::Continuous | Mode::Scheduled => Want::Record(Why::Schedule),
        Mode::Event | Mode::ScheduledEvent if idle_session => Want::Armed(Idle::NoTrigger),
        Mode::Event | Mode::ScheduledEvent => Want::Nothing(Idle::NoTrigger),
    };
    Demand { want, until: edge }
}

/// When footage was wanted between `from` and `to` without any trigger: first whether it was at `from`, then each
/// moment at which that changed.
pub fn changes(settings: &Settings<'_>, from: WallUs, to: WallUs) -> Vec<(WallUs, bool)> {
    let mut changes: Vec<(WallUs, bool)> = Vec::new();
    let mut next = Some(from);
    while let Some(at) = next.filter(|at| *at < to || changes.is_empty()) {
        let demand = demand(settings, None, at);
        let wanted = matches!(demand.want, Want::Record(_));
        if changes.last().is_none_or(|(_, before)| *before != wanted) {
            changes.push((at, wanted));
        }
        next = demand.until.filter(|until| *until > at && changes.len() < CHANGES_MAX);
    }
    changes
}

/// Why a camera takes no trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Triggers are not for its mode.
    #[error("its record_mode is `{}`, which takes no triggers", .0.word())]
    NotEventCapable(Mode),
    /// It is not to be recorded at all.
    #[error("it is not to be recorded: record_enabled is false")]
    Disabled,
    /// Its schedule says not now; the next window opens then.
    #[error("its schedule takes no triggers now{}", .0.map(|at| format!(", and will from {}", at.rfc3339())).unwrap_or_default())]
    OutsideSchedule(Option<WallUs>),
}

/// Whether the camera takes a trigger at `now`.
pub fn takes_triggers(settings: &Settings<'_>, now: WallUs) -> Result<(), Refusal> {
    let Settings { enabled, mode, schedule, zone, idle_session: _ } = *settings;
    if !mode.has_triggers() {
        Err(Refusal::NotEventCapable(mode))
    } else if !enabled {
        Err(Refusal::Disabled)
    } else if mode.has_schedule() && !schedule::covers(schedule, zone, now) {
        Err(Refusal::OutsideSchedule(schedule::next_edge(schedule, zone, now)))
    } else {
        Ok(())
    }
}

/// Something that asks an event camera to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// What it was, for people.
    pub reason: String,
    /// Footage after it, in seconds; `None`: as the camera's settings say.
    pub post_roll_seconds: Option<u32>,
}

impl Trigger {
    /// Whether its fields make sense.
    pub fn check(&self) -> Result<(), BadField> {
        camera::text("reason", &self.reason)?;
        if self.reason.trim().is_empty() {
            return Err(BadField::new("reason", "is empty; say what happened"));
        }
        if self.post_roll_seconds.is_some_and(|seconds| seconds > POST_ROLL_MAX) {
            return Err(BadField::new("post_roll_seconds", format!("is 0 to {POST_ROLL_MAX}")));
        }
        Ok(())
    }
}

/// What a trigger did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the window ends now.
    pub end: WallUs,
    /// What it did to it.
    pub change: WindowChange,
}

/// What a trigger did to a camera's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowChange {
    /// None ran: it began one.
    Opened,
    /// It ends later.
    Extended,
    /// It would have ended sooner, and so changed nothing.
    Kept,
}

/// The window after a trigger at `now` that asks for `post_roll`. A trigger only extends.
pub fn triggered(window_end: Option<WallUs>, now: WallUs, post_roll: Duration) -> Window {
    let asked = now.plus(post_roll.max(SHORTEST));
    match window_end.filter(|end| now < *end) {
        None => Window { end: asked, change: WindowChange::Opened },
        Some(end) if end < asked => Window { end: asked, change: WindowChange::Extended },
        Some(end) => Window { end, change: WindowChange::Kept },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schedule::{Row, covers};
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;

    /// Mondays to Fridays from 8 to 18 o'clock.
    fn office() -> Schedule {
        let row =
            Row { weekdays: vec![0, 1, 2, 3, 4], start: "08:00".into(), end: "18:00".into(), enabled: true };
        Schedule::new(vec![row]).unwrap()
    }

    fn settings(mode: Mode, schedule: &Schedule) -> Settings<'_> {
        Settings { enabled: true, mode, schedule, zone: Zone::UTC, idle_session: true }
    }

    /// A time of a Monday.
    fn at(time: &str) -> WallUs {
        WallUs::parse(&format!("2026-06-01T{time}Z")).unwrap()
    }

    #[test]
    fn a_scheduled_camera_is_ready_before_its_window_and_done_at_its_end() {
        let office = office();
        let asked = |time| demand(&settings(Mode::Scheduled, &office), None, at(time));
        let opens = Some(at("08:00:00"));
        let outside =
            |until| Demand { want: Want::Nothing(Idle::OutsideSchedule(opens)), until: Some(at(until)) };
        assert_eq!(asked("07:00:00"), outside("07:59:55"));
        assert_eq!(asked("07:59:54.999999"), outside("07:59:55"));
        assert_eq!(
            asked("07:59:55"),
            Demand { want: Want::Armed(Idle::OutsideSchedule(opens)), until: opens }
        );
        let record = Demand { want: Want::Record(Why::Schedule), until: Some(at("18:00:00")) };
        assert_eq!(asked("08:00:00"), record);
        assert_eq!(asked("17:59:59.999999"), record);
        let tomorrow = Some(at("08:00:00").plus_us(24 * 3600 * SECOND));
        assert_eq!(asked("18:00:00").want, Want::Nothing(Idle::OutsideSchedule(tomorrow)));
        let never = Schedule::default();
        let asked = demand(&settings(Mode::Scheduled, &never), None, at("08:00:00"));
        assert_eq!(asked, Demand { want: Want::Nothing(Idle::OutsideSchedule(None)), until: None });
    }

    #[test]
    fn what_was_wanted_while_nobody_looked_follows_from_the_settings() {
        let office = office();
        let asked = |mode| changes(&settings(mode, &office), at("07:00:00"), at("18:00:01"));
        let day = vec![(at("07:00:00"), false), (at("08:00:00"), true), (at("18:00:00"), false)];
        assert_eq!(asked(Mode::Scheduled), day);
        assert_eq!(asked(Mode::Continuous), [(at("07:00:00"), true)]);
        assert_eq!(asked(Mode::ScheduledEvent), [(at("07:00:00"), false)]);
        let none = changes(&settings(Mode::Scheduled, &office), at("09:00:00"), at("09:00:00"));
        assert_eq!(none, [(at("09:00:00"), true)]);
    }

    #[test]
    fn an_event_camera_waits_and_records_until_its_window_ends() {
        let office = office();
        let end = Some(at("18:00:20"));
        let event = settings(Mode::Event, &office);
        let armed = Demand { want: Want::Armed(Idle::NoTrigger), until: None };
        assert_eq!(demand(&event, None, at("03:00:00")), armed);
        let record = Demand { want: Want::Record(Why::Trigger), until: end };
        assert_eq!(demand(&event, end, at("18:00:19.999999")), record);
        assert_eq!(demand(&event, end, at("18:00:20")), armed);
        let closed = Settings { idle_session: false, ..event };
        assert_eq!(demand(&closed, None, at("03:00:00")).want.idle(), Some("waits_for_trigger"));
        assert_eq!(demand(&closed, end, at("03:00:00")), record);

        let both = settings(Mode::ScheduledEvent, &office);
        assert_eq!(demand(&both, None, at("09:00:00")), Demand { until: Some(at("18:00:00")), ..armed });
        assert_eq!(demand(&both, end, at("18:00:10")), record, "a window that runs goes on to its end");
        assert_eq!(demand(&both, end, at("18:00:20")).want.idle(), Some("outside_schedule"));
        assert!(matches!(demand(&both, None, at("07:59:57")).want, Want::Armed(Idle::OutsideSchedule(_))));
        let closed = Settings { idle_session: false, ..both };
        let early = demand(&closed, None, at("07:59:57"));
        assert!(matches!(early.want, Want::Nothing(Idle::OutsideSchedule(_))));
        assert_eq!(early.until, Some(at("08:00:00")));
    }

    #[test]
    fn what_is_off_stays_off_and_the_default_is_on() {
        let office = office();
        for mode in Mode::ALL {
            let off = Settings { enabled: false, ..settings(*mode, &office) };
            let asked = demand(&off, Some(at("10:00:00")), at("09:00:00"));
            assert_eq!(asked, Demand { want: Want::Nothing(Idle::Disabled), until: None });
        }
        let always = demand(&settings(Mode::default(), &office), None, at("03:00:00"));
        assert_eq!(always, Demand { want: Want::Record(Why::Always), until: None });
        let scheduled = demand(&settings(Mode::Scheduled, &office), Some(at("04:00:00")), at("03:00:00"));
        assert_eq!(
            scheduled.want.idle(),
            Some("outside_schedule"),
            "a window of another mode does not count"
        );
    }

    #[test]
    fn a_refused_trigger_says_why() {
        let office = office();
        let why = |settings: Settings<'_>, time| {
            takes_triggers(&settings, at(time)).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(why(settings(Mode::Event, &office), "03:00:00"), Ok(()));
        assert_eq!(why(settings(Mode::ScheduledEvent, &office), "09:00:00"), Ok(()));
        for (settings, words) in [
            (settings(Mode::Continuous, &office), "record_mode is `continuous`"),
            (settings(Mode::Scheduled, &office), "record_mode is `scheduled`"),
            (Settings { enabled: false, ..settings(Mode::Event, &office) }, "record_enabled is false"),
            (settings(Mode::ScheduledEvent, &office), "will from 2026-06-01T08:00:00.000000Z"),
        ] {
            let said = why(settings, "03:00:00").unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_trigger_only_extends() {
        let (now, s) = (at("09:00:00"), Duration::from_secs);
        let opened = |end| Window { end, change: WindowChange::Opened };
        assert_eq!(triggered(None, now, s(30)), opened(now.plus(s(30))));
        assert_eq!(triggered(Some(now), now, s(30)), opened(now.plus(s(30))), "it ended just now");
        assert_eq!(triggered(None, now, s(0)), opened(now.plus(SHORTEST)));
        let running = Some(now.plus(s(20)));
        assert_eq!(
            triggered(running, now, s(30)),
            Window { end: now.plus(s(30)), change: WindowChange::Extended }
        );
        assert_eq!(
            triggered(running, now, s(10)),
            Window { end: now.plus(s(20)), change: WindowChange::Kept }
        );
    }

    proptest! {
        /// Nobody has to ask again before `until`: whatever the settings, the answer holds up to it, and changes at it.
        #[test]
        fn the_answer_holds_until_it_says(mode in prop::sample::select(Mode::ALL), enabled in any::<bool>(),
                                          idle_session in any::<bool>(), second in 0i64..8 * 24 * 3600,
                                          window in prop::option::of(-100i64..100_000), part in 0i64..1000) {
            let office = office();
            let settings = Settings { enabled, idle_session, ..settings(mode, &office) };
            let now = at("00:00:00").plus_us(second * SECOND);
            let window_end = window.map(|seconds| now.plus_us(seconds * SECOND));
            let asked = demand(&settings, window_end, now);
            if let Some(until) = asked.until {
                prop_assert!(until > now);
                let between = now.plus_us((until.0 - now.0 - 1) / 1000 * part);
                prop_assert_eq!(demand(&settings, window_end, between), asked);
                prop_assert_ne!(demand(&settings, window_end, until), asked);
            }
            let recorded = matches!(asked.want, Want::Record(_));
            let running = mode.has_triggers() && window_end.is_some_and(|end| end > now);
            let inside = !mode.has_schedule() || covers(&office, Zone::UTC, now);
            prop_assert_eq!(recorded, enabled && (running || inside && !mode.has_triggers()));
        }
    }
}
