//! The `watchkeeper` program: see `watchkeeper --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    watchkeeper::cli::run()
}
