//! Which log-ins may be tried. Cameras lock accounts after wrong passwords, and one device has many streams: so a password that is not
//! known to be right is tried by one stream at a time, and rarely once it was refused.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::backoff;

/// While one stream tries a password, others wait for what becomes of it, at most so long.
const WAIT_FOR_OTHER: Duration = Duration::from_secs(3);
/// Accounts that are remembered; those that were used longest ago are forgotten.
const ACCOUNTS_MAX: usize = 1024;

/// An account on a device, with one password.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// Host name or IP address in lower case, and TCP port: behind one address there may be several devices, and what one of them
    /// refuses must not keep the others from being recorded.
    pub device: (String, u16),
    /// User name.
    pub username: String,
    /// A hash of the password, good for comparing within this process.
    pub password: u64,
}

/// Whether a log-in may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Now.
    Now,
    /// Perhaps later: ask again by then, or when the outcome of another log-in is known.
    Ask(Instant),
    /// Not before then: the password was refused too often.
    Refused(Instant),
}

/// What became of a log-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The camera answered what it was asked.
    Accepted,
    /// The camera refused the user name or the password.
    Refused,
    /// The camera could not be asked.
    Unknown,
}

/// What is known of all accounts.
#[derive(Debug, Default)]
pub struct Logins(HashMap<Account, AccountState>);

#[derive(Clone, Copy, Debug)]
struct AccountState {
    used: Instant,
    accepted: bool,
    /// Since the last acceptance.
    refusals: u32,
    refused: Option<Instant>,
    /// Since when a stream has been trying it.
    tried: Option<Instant>,
}

impl AccountState {
    /// The time before which the account is not to be used, if it was refused too often.
    fn refused_until(&self, now: Instant) -> Option<Instant> {
        let until = self.refused.filter(|_| self.refusals >= backoff::REFUSALS)? + backoff::REFUSED;
        (now < until).then_some(until)
    }
}

impl Logins {
    /// Asks whether this account may be used at `now`. [`Admission::Now`] must be followed by [`Logins::settle`].
    pub fn admit(&mut self, account: &Account, now: Instant) -> Admission {
        if self.0.len() >= ACCOUNTS_MAX
            && !self.0.contains_key(account)
            && let Some(oldest) = self.0.iter().min_by_key(|(_, known)| known.used).map(|(of, _)| of.clone())
        {
            self.0.remove(&oldest);
        }
        let blank = AccountState { used: now, accepted: false, refusals: 0, refused: None, tried: None };
        let known = self.0.entry(account.clone()).or_insert(blank);
        known.used = now;
        if known.accepted {
            return Admission::Now;
        }
        if let Some(until) = known.refused_until(now) {
            return Admission::Refused(until);
        }
        match known.tried.map(|since| since + WAIT_FOR_OTHER).filter(|until| now < *until) {
            Some(until) => Admission::Ask(until),
            None => {
                known.tried = Some(now);
                Admission::Now
            }
        }
    }

    /// Tells what became of a log-in. Gives the time before which the account is not to be used again, if it was refused too often.
    pub fn settle(&mut self, account: &Account, outcome: Outcome, now: Instant) -> Option<Instant> {
        let known = self.0.get_mut(account)?;
        let was_tried = known.tried.take().is_some();
        match outcome {
            Outcome::Accepted => (known.accepted, known.refusals) = (true, 0),
            Outcome::Refused => {
                // Streams that lost their sessions together log in together; that is one refusal.
                known.refusals = if known.accepted { 1 } else { known.refusals + u32::from(was_tried) };
                known.accepted = false;
                known.refused = Some(now);
            }
            Outcome::Unknown => {}
        }
        known.refused_until(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(password: u64) -> Account {
        Account { device: ("192.0.2.7".into(), 554), username: "admin".into(), password }
    }

    #[test]
    fn eight_channels_with_a_wrong_password_log_in_three_times_and_then_four_times_an_hour() {
        let (mut logins, start) = (Logins::default(), Instant::now());
        let mut tried = Vec::new();
        // Every channel asks each second, and is refused after 100 ms.
        for second in 0..3 * 3600 {
            let now = start + Duration::from_secs(second);
            for _ in 0..8 {
                if logins.admit(&account(1), now) == Admission::Now {
                    tried.push(second);
                    logins.settle(&account(1), Outcome::Refused, now);
                }
            }
        }
        assert_eq!(tried.iter().filter(|second| **second < 60).count(), 3, "{tried:?}");
        for hour in 1..3 {
            let within = tried.iter().filter(|second| (hour * 3600..(hour + 1) * 3600).contains(*second));
            assert!((3..=4).contains(&within.count()), "{tried:?}");
        }
        assert_eq!(logins.admit(&account(2), start), Admission::Now, "another password is another account");
    }

    #[test]
    fn one_stream_proves_the_password_for_all() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        assert_eq!(logins.admit(&account(1), now), Admission::Now);
        assert_eq!(logins.admit(&account(1), now), Admission::Ask(now + WAIT_FOR_OTHER));
        logins.settle(&account(1), Outcome::Accepted, now);
        for _ in 0..8 {
            assert_eq!(logins.admit(&account(1), now), Admission::Now);
        }
        // A camera that does not answer holds up nobody for long.
        assert_eq!(logins.admit(&account(3), now), Admission::Now);
        assert_eq!(logins.admit(&account(3), now + WAIT_FOR_OTHER), Admission::Now);
        logins.settle(&account(3), Outcome::Unknown, now);
        assert_eq!(logins.admit(&account(3), now), Admission::Now);
    }

    #[test]
    fn accounts_are_forgotten_beyond_a_bound() {
        let (mut logins, now) = (Logins::default(), Instant::now());
        for password in 0..2 * ACCOUNTS_MAX as u64 {
            logins.admit(&account(password), now);
        }
        assert_eq!(logins.0.len(), ACCOUNTS_MAX);
    }
}
