//! Lets streams log in to their devices one after the other until the password is known to be right (`model::login`).

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep_until};

use crate::{
    base::Secret,
    model::{
        login::{self, Account, Admission, Outcome},
        pipeline::SourceSettings,
        status::{StreamError, StreamErrorKind},
    },
};

/// What is known of the accounts on all devices. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Logins(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    accounts: Mutex<login::Logins>,
    hasher: RandomState,
    settled: Notify,
}

/// Permission to log in once. Dropped without an outcome, the outcome is unknown.
#[derive(Debug)]
pub(super) struct LoginTurn {
    logins: Logins,
    /// `None` for a stream without credentials.
    account: Option<Account>,
    settled: bool,
}

impl Logins {
    fn lock(&self) -> MutexGuard<'_, login::Logins> {
        self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the stream may log in.
    ///
    /// # Errors
    /// If its password was refused too often; with the time after which it may be tried again.
    pub(super) async fn admit(
        &self,
        settings: &SourceSettings,
    ) -> Result<LoginTurn, (StreamError, Duration)> {
        let password = settings.password.as_ref().map(Secret::reveal).unwrap_or_default();
        let account = settings.username.as_ref().map(|username| Account {
            device: (settings.url.host().to_ascii_lowercase(), settings.url.port()),
            username: username.clone(),
            password: self.0.hasher.hash_one(password),
        });
        // Nothing is to be settled for one that waits.
        let mut turn = LoginTurn { logins: self.clone(), account, settled: true };
        let Some(account) = turn.account.clone() else { return Ok(turn) };
        loop {
            // Listens before it asks, so that no outcome is missed in between.
            let settled = self.0.settled.notified();
            let admission = self.lock().admit(&account, Instant::now());
            match admission {
                Admission::Now => {
                    turn.settled = false;
                    return Ok(turn);
                }
                Admission::Ask(by) => {
                    tokio::select! {
                        () = settled => {}
                        () = sleep_until(by.into()) => {}
                    }
                }
                Admission::Refused(until) => {
                    let detail = "the camera refused the user name and password three times; it is not asked again yet";
                    let error = StreamError::new(StreamErrorKind::Unauthorised, detail);
                    return Err((error, until.saturating_duration_since(Instant::now())));
                }
            }
        }
    }
}

impl LoginTurn {
    /// Tells that the camera took the log-in, or wanted none.
    pub(super) fn accepted(&mut self) {
        self.settle(Outcome::Accepted);
    }

    /// Tells why the session ended. Gives the time for which the account is not to be used.
    pub(super) fn lost(&mut self, kind: StreamErrorKind) -> Duration {
        let until = match kind {
            StreamErrorKind::Unauthorised => self.settle(Outcome::Refused),
            _ if self.settled => None,
            _ => self.settle(Outcome::Unknown),
        };
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    fn settle(&mut self, outcome: Outcome) -> Option<Instant> {
        self.settled = true;
        let until = self.logins.lock().settle(self.account.as_ref()?, outcome, Instant::now());
        self.logins.0.settled.notify_waiters();
        until
    }
}

impl Drop for LoginTurn {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(Outcome::Unknown);
        }
    }
}
