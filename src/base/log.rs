//! The log: `tracing` to standard error, filtered by `WATCHKEEPER_LOG`, with URL secrets masked in every line.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::mask;

/// Starts the log. `filter` is in `tracing_subscriber`'s syntax, for instance `info,watchkeeper=debug`.
/// A wrong filter is reported as text that names it.
pub fn start(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter `{filter}`: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(Masked)
        .try_init()
        .map_err(|error| error.to_string())
}

struct Masked;

/// The fmt layer hands over a whole line in one write, so no URL is ever split between two.
struct MaskedLine;

impl<'a> MakeWriter<'a> for Masked {
    type Writer = MaskedLine;

    fn make_writer(&'a self) -> MaskedLine {
        MaskedLine
    }
}

impl Write for MaskedLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(mask::urls(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
