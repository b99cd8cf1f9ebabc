//! How commands end: the exit codes, and failures that say what to do next.

use std::process::ExitCode;

use super::client::ClientError;
use crate::base::error::Chain;

/// The end of `watchkeeper --help`. `docs/cli.md` says the same at length.
pub(super) const EXIT_CODES: &str = "Exit codes:
  0  it is done, or all is well
  1  it failed, or a check found problems
  2  the command line is wrong
  3  the service cannot be reached";

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done, and what was looked at is well.
    Fine,
    /// It is done, and found problems.
    Problems,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Fine => Self::SUCCESS,
            Verdict::Problems => Self::from(FAILED),
        }
    }
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

/// A failure of the command line's own, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// It did not work.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: FAILED, source: None }
    }

    /// It was asked for in a wrong way that clap cannot see.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(message) }
    }

    /// What to do next.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What it came from.
    pub(super) fn because(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

/// The lines that a person reads about `error`, and the exit code.
pub(super) fn told(error: &anyhow::Error) -> (Vec<String>, u8) {
    let mut lines = vec![format!("watchkeeper: {}", Chain(error.as_ref()))];
    let ours = error.downcast_ref::<Failure>();
    let client = error.downcast_ref::<ClientError>();
    let hint = ours.and_then(|failure| failure.hint.clone()).or_else(|| client.and_then(ClientError::hint));
    lines.extend(hint.map(|hint| format!("hint: {hint}")));
    let code = match (ours, client) {
        (Some(failure), _) => failure.code,
        (_, Some(client)) if client.is_unreachable() => UNREACHABLE,
        _ => FAILED,
    };
    (lines, code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_failure_has_its_hint_and_code_below_any_context() {
        let error = anyhow::Error::from(Failure::usage("nothing to change").hint("name an option"));
        assert_eq!(told(&error).1, 2);
        let error = Err::<(), _>(error).context("camera set").unwrap_err();
        let (lines, code) = told(&error);
        assert_eq!(lines, ["watchkeeper: camera set: nothing to change", "hint: name an option"]);
        assert_eq!(code, 2);
        let failure = Failure::new("cannot read `x`").because(std::io::Error::other("gone"));
        assert_eq!(told(&failure.into()), (vec!["watchkeeper: cannot read `x`: gone".to_owned()], 1));
    }
}
