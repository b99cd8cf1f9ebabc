//! What reaches the terminal. Names and texts come from cameras and files: everything passes through here, where
//! secrets are masked and control characters are made visible.

use std::{
    env,
    io::{self, IsTerminal as _, Read as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde::Serialize;
use serde_json::Value;

use super::{fail::Failure, table::Table};
use crate::base::{Secret, mask};

/// Longer passwords are refused by the service anyway.
const PASSWORD_MAX: u64 = 1024;

/// Whether a terminal would obey `c`, or show what stands around it in another order.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `text` on one line: secrets masked, and nothing in it that a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    escaped(&mask::urls(text), |_| false)
}

/// The same for text of several lines.
pub(super) fn clean_block(text: &str) -> String {
    escaped(&mask::urls(text), |c| c == '\n' || c == '\t')
}

fn escaped(text: &str, fine: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) && !fine(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON whose strings are masked, and in which what a terminal would obey is written as an escape.
fn json_text(value: &impl Serialize, pretty: bool) -> serde_json::Result<String> {
    let value = masked(serde_json::to_value(value)?);
    let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }?;
    // Such a character stands inside a string, because JSON has none outside but line ends.
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if acts(c) && c != '\n' {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    Ok(out)
}

fn masked(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(mask::urls(&text)),
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, masked(value))).collect(),
        other => other,
    }
}

/// Standard output. A reader that goes away (`| head`) is no error; the rest of the output is dropped.
#[derive(Debug)]
pub(super) struct Out {
    colour: bool,
    closed: bool,
}

impl Out {
    pub(super) fn new() -> Self {
        let colour = io::stdout().is_terminal()
            && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && env::var_os("TERM").is_some_and(|term| term != "dumb");
        Self { colour, closed: false }
    }

    /// Whether the reader is gone.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Text that is clean already, or that is meant to be as it is.
    pub(super) fn raw(&mut self, text: &str) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            done => done,
        }
    }

    /// A document as it is; on a terminal with its control characters made visible.
    pub(super) fn document(&mut self, text: &str) -> io::Result<()> {
        match io::stdout().is_terminal() {
            true => self.raw(&escaped(text, |c| c == '\n' || c == '\t')),
            false => self.raw(text),
        }
    }

    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.raw(&format!("{}\n", clean(text)))
    }

    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        self.raw(&table.render(self.colour))
    }

    pub(super) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.raw(&json_text(value, true)?)?)
    }

    /// On one line, for streams of values.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.raw(&json_text(value, false)?)?)
    }
}

/// A remark beside the output. Nobody hears it if standard error is closed.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", clean(text));
}

/// Shows on a terminal that something takes time.
pub(super) fn spinner(what: impl Into<String>) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.into());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// Shows on a terminal how far something is.
pub(super) fn progress(of: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
    let bar = ProgressBar::new(of).with_message(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Shows on a terminal how many bytes have come. `of` is about how many.
pub(super) fn bytes_progress(of: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(of).with_message(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Asks on the terminal; `None` if nobody sits there.
pub(super) fn confirmed(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    write!(io::stderr(), "{} [y/N] ", clean(question))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes")))
}

/// Reads a password from standard input: its first line, typed unseen if it is a terminal.
pub(super) fn password() -> anyhow::Result<Secret> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut text = String::new();
        stdin.take(PASSWORD_MAX).read_to_string(&mut text)?;
        return one_line(&text);
    }
    let before = tcgetattr(&stdin)?;
    let mut unseen = before.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &unseen)?;
    let mut text = String::new();
    let read = write!(io::stderr(), "Password: ").and_then(|()| stdin.read_line(&mut text));
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    let _ = writeln!(io::stderr());
    read?;
    one_line(&text)
}

/// The only line of a password's file.
pub(super) fn one_line(text: &str) -> anyhow::Result<Secret> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(Failure::new("the password is empty").hint("`--clear password` removes it").into());
    }
    if line.contains(['\n', '\r']) {
        return Err(Failure::new("the password has more than one line").into());
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(clean("a\x1b[2Jb\n\u{9b}c\u{202e}d"), "a\\u{1b}[2Jb\\u{a}\\u{9b}c\\u{202e}d");
        assert_eq!(clean("Tür 門 ok"), "Tür 門 ok");
        assert_eq!(clean_block("a\n\tb\x07"), "a\n\tb\\u{7}");
        assert_eq!(clean("rtsp://u:p@h/x"), "rtsp://***@h/x");
    }

    proptest! {
        #[test]
        fn json_is_safe_for_a_terminal_and_still_the_same_json(text in any::<String>()) {
            let value = serde_json::json!({ "name": [text.replace("://", "")] });
            let shown = json_text(&value, true).unwrap();
            prop_assert!(!shown.chars().any(|c| acts(c) && c != '\n'));
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
    }

    #[test]
    fn a_password_is_one_line() {
        let read = |text: &str| one_line(text).map(|secret| secret.reveal().to_owned()).ok();
        assert_eq!(read("a b\r\n").as_deref(), Some("a b"));
        assert_eq!(read("x").as_deref(), Some("x"));
        for bad in ["", "\n", "a\nb"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
