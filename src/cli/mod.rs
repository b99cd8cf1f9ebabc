//! The command line: `watchkeeper serve` runs the service; everything else asks a running one over HTTP, or looks at
//! its files.

pub mod config;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::base::error::Chain;
use config::Config;

/// Records IP cameras: one process, one connection to each camera, no footage lost.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// Configuration file. Without it: `watchkeeper.toml` in the current directory, then /etc/watchkeeper/.
    #[arg(long, global = true, env = "WATCHKEEPER_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: record, serve the API and the dashboard.
    Serve,
}

/// Runs the command line and gives the process's exit code.
pub fn run() -> ExitCode {
    let Cli { config, command } = Cli::parse();
    let outcome =
        Config::load(config.as_deref()).map_err(anyhow::Error::from).and_then(|config| match command {
            Command::Serve => serve::serve(&config),
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watchkeeper: {}", crate::base::mask::urls(&Chain(error.as_ref()).to_string()));
            ExitCode::FAILURE
        }
    }
}
