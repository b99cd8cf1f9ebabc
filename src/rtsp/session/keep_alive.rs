//! Which requests keep a session alive, and when they are sent.
//!
//! Cameras differ in which methods count, and their answers do not tell: some count GET_PARAMETER alone without announcing it, some
//! answer OPTIONS and do not count it. So two methods take turns where the announced one is not GET_PARAMETER, each within two thirds
//! of the timeout. What is refused or not answered changes the method, and never ends a session.

use std::time::{Duration, Instant};

/// Longest time between two keep-alives.
const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Wait after a refusal, before the next method is tried.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// A method that may keep a session alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAliveMethod {
    /// GET_PARAMETER without a body.
    GetParameter,
    /// SET_PARAMETER without a body.
    SetParameter,
    /// OPTIONS.
    Options,
}

use KeepAliveMethod::{GetParameter, Options, SetParameter};

impl KeepAliveMethod {
    /// The method in a request line.
    pub fn name(self) -> &'static str {
        match self {
            GetParameter => "GET_PARAMETER",
            SetParameter => "SET_PARAMETER",
            Options => "OPTIONS",
        }
    }
}

/// How a method was answered last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    None,
    Success,
    Silence,
    Refusal,
}

/// The keep-alives of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct KeepAlive {
    /// Whether GET_PARAMETER and SET_PARAMETER are in `Public`, once there was one.
    public: Option<(bool, bool)>,
    /// By method, in the order of [`KeepAliveMethod`].
    answers: [Answer; 3],
    /// Methods that end the connection.
    avoided: [bool; 3],
    interval: Duration,
    due: Option<Instant>,
    /// Whether it is the second method's turn.
    second_turn: bool,
    last: Option<KeepAliveMethod>,
}

impl KeepAlive {
    /// Learns from a `Public` header (RFC 2326, 12.28).
    pub(super) fn learn(&mut self, public: &str) {
        let names = |method: KeepAliveMethod| {
            public
                .split(|c: char| c == ',' || c.is_whitespace())
                .any(|name| name.eq_ignore_ascii_case(method.name()))
        };
        self.public = Some((names(GetParameter), names(SetParameter)));
    }

    /// Never sends this method: the camera closes the connection on it.
    pub(super) fn avoid(&mut self, method: KeepAliveMethod) {
        self.avoided[method as usize] = true;
    }

    /// The session plays from now on, and ends after `timeout` without a request.
    pub(super) fn start(&mut self, timeout: Duration, now: Instant) {
        self.interval = (timeout / 3).min(INTERVAL_MAX);
        self.due = Some(now + self.interval);
    }

    /// The session is over; another may be started.
    pub(super) fn stop(&mut self) {
        self.due = None;
    }

    /// When the next is to be sent.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// How long its answer is waited for.
    pub(super) fn answer_within(&self) -> Duration {
        self.interval.min(ANSWER_WITHIN)
    }

    /// The method that was sent last.
    pub(super) fn last(&self) -> Option<KeepAliveMethod> {
        self.last
    }

    /// Takes the method that is sent now.
    pub(super) fn next(&mut self, now: Instant) -> KeepAliveMethod {
        let first = self.first();
        let method = if self.second_turn { self.second(first).unwrap_or(first) } else { first };
        self.second_turn = !self.second_turn;
        self.due = Some(now + self.interval);
        self.last = Some(method);
        method
    }

    /// The camera answered with success.
    pub(super) fn accept(&mut self, method: KeepAliveMethod) {
        self.set(method, Answer::Success);
    }

    /// The camera answered with an error.
    pub(super) fn refuse(&mut self, method: KeepAliveMethod, now: Instant) {
        self.set(method, Answer::Refusal);
        self.second_turn = false;
        if [GetParameter, SetParameter, Options].iter().all(|method| self.answer(*method) == Answer::Refusal)
        {
            // Nothing better is known than to go on in turns.
            self.answers = [Answer::None; 3];
        } else {
            self.due = self.due.map(|due| due.min(now + AFTER_REFUSAL));
        }
    }

    /// The camera did not answer.
    pub(super) fn give_up(&mut self, method: KeepAliveMethod, now: Instant) {
        self.set(method, Answer::Silence);
        self.second_turn = false;
        self.due = self.due.map(|due| due.min(now));
    }

    fn set(&mut self, method: KeepAliveMethod, answer: Answer) {
        self.answers[method as usize] = answer;
    }

    fn answer(&self, method: KeepAliveMethod) -> Answer {
        if self.avoided[method as usize] { Answer::Refusal } else { self.answers[method as usize] }
    }

    fn first(&self) -> KeepAliveMethod {
        let order = match self.public {
            None | Some((true, false)) => [GetParameter, Options, SetParameter],
            Some((true, true)) => [GetParameter, SetParameter, Options],
            Some((false, true)) => [SetParameter, Options, GetParameter],
            Some((false, false)) => [Options, GetParameter, SetParameter],
        };
        let first =
            |unwanted: &[Answer]| order.into_iter().find(|method| !unwanted.contains(&self.answer(*method)));
        first(&[Answer::Refusal, Answer::Silence])
            .or_else(|| first(&[Answer::Refusal]))
            .unwrap_or(GetParameter)
    }

    /// The method that takes turns with `first`, because it may be the only one that counts.
    fn second(&self, first: KeepAliveMethod) -> Option<KeepAliveMethod> {
        let announced = self.public.is_some_and(|(get_parameter, _)| get_parameter);
        if announced && self.answer(GetParameter) != Answer::Silence {
            return None;
        }
        let counts = |method: &KeepAliveMethod| *method != first && self.answer(*method) != Answer::Refusal;
        [GetParameter, Options].into_iter().find(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs sessions of 100 s against a camera with a timeout of 20 s. `answer` gives a status or nothing, `counts` what the camera counts.
    fn longest_pause(
        public: Option<&str>,
        answer: impl Fn(KeepAliveMethod) -> Option<bool>,
        counts: &[KeepAliveMethod],
    ) -> f64 {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::default();
        if let Some(public) = public {
            keep_alive.learn(public);
        }
        keep_alive.start(Duration::from_secs(20), start);
        let (mut counted, mut longest, mut sent) = (start, Duration::ZERO, 0);
        let mut now = start;
        while now < start + Duration::from_secs(100) {
            now = keep_alive.due().unwrap();
            let method = keep_alive.next(now);
            sent += 1;
            if counts.contains(&method) {
                longest = longest.max(now - counted);
                counted = now;
            }
            match answer(method) {
                Some(true) => keep_alive.accept(method),
                Some(false) => keep_alive.refuse(method, now),
                None => keep_alive.give_up(method, now + keep_alive.answer_within()),
            }
        }
        assert!(sent < 40, "{sent} requests in 100 s");
        longest.max(now - counted).as_secs_f64()
    }

    #[test]
    fn whatever_a_camera_counts_comes_within_its_timeout() {
        let usual = Some("OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER");
        let unlisted = Some("DESCRIBE, OPTIONS, PAUSE, PLAY, SETUP, TEARDOWN");
        let set_only = Some("OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, SET_PARAMETER");
        let all = [GetParameter, SetParameter, Options];
        let yes = |_: KeepAliveMethod| Some(true);
        let only = |method: KeepAliveMethod| move |asked: KeepAliveMethod| Some(asked == method);
        // Never answers GET_PARAMETER; refuses it; refuses everything; answers nothing.
        assert!(longest_pause(usual, |m| (m != GetParameter).then_some(true), &all) < 15.0);
        assert!(longest_pause(usual, |m| (m != GetParameter).then_some(true), &[GetParameter]) < 20.0);
        assert!(longest_pause(usual, |m| Some(m != GetParameter), &all) < 15.0);
        assert!(longest_pause(usual, |_| Some(false), &all) < 15.0);
        assert!(longest_pause(usual, |_| None, &all) < 15.0);
        // Does not announce it.
        assert!(longest_pause(unlisted, only(Options), &[Options]) < 15.0);
        assert!(longest_pause(unlisted, yes, &[GetParameter]) < 15.0);
        assert!(longest_pause(set_only, yes, &[SetParameter]) < 15.0);
        assert!(longest_pause(set_only, yes, &[GetParameter]) < 15.0);
        // Announces nothing.
        for method in [GetParameter, Options] {
            assert!(longest_pause(None, yes, &[method]) < 15.0, "{method:?}");
        }
        for method in all {
            assert!(longest_pause(None, only(method), &[method]) < 20.0, "{method:?}");
        }
    }

    #[test]
    fn an_announced_method_that_works_is_the_only_one() {
        let now = Instant::now();
        let mut keep_alive = KeepAlive::default();
        keep_alive.learn("OPTIONS, get_parameter,SET_PARAMETER");
        keep_alive.start(Duration::from_secs(3600), now);
        assert_eq!(keep_alive.due(), Some(now + Duration::from_secs(30)));
        for _ in 0..4 {
            assert_eq!(keep_alive.next(now), GetParameter);
            keep_alive.accept(GetParameter);
        }
    }
}
