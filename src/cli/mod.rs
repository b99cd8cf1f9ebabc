//! The command line: `watchkeeper serve` runs the service; everything else asks a running one over HTTP, or looks at
//! its files.

mod camera;
mod check;
mod client;
pub mod config;
mod coverage;
mod doctor;
mod export;
mod fail;
mod pipeline;
mod places;
mod refill;
mod retention;
mod scrub;
mod serve;
mod settings;
mod show;
mod table;
mod term;
mod transfer;
mod view;
mod volume;
mod week;
mod when;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use serde_json::Value;

use client::Client;
use config::Config;
use fail::{EXIT_CODES, Verdict, told};
use term::Out;

/// Records IP cameras: one process, one connection to each camera, no footage lost.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// Configuration file. Without it: `watchkeeper.toml` in the current directory, then /etc/watchkeeper/
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WATCHKEEPER_CONFIG",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    config: Option<PathBuf>,
    /// The service to talk to, if not the one of the configuration; such as http://127.0.0.1:8080
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "WATCHKEEPER_SERVER",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    server: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: record, serve the API and the dashboard
    Serve,
    /// Add, change, list and try cameras
    #[command(subcommand)]
    Camera(Box<camera::Command>),
    /// List what was recorded of a camera, oldest first
    Segments(show::Segments),
    /// List the gaps: when wanted footage is missing, and why; newest last
    Gaps(coverage::Gaps),
    /// Have what is missing fetched from a camera's own storage now, or not any more
    Refill(refill::Refill),
    /// Show what became of a camera's day: recorded, missing with its cause, not wanted
    Coverage(coverage::Coverage),
    /// Show what is stored, how far back it will reach, and what is deleted next
    Retention(retention::Retention),
    /// Protect footage from being deleted
    #[command(subcommand)]
    Hold(retention::Hold),
    /// Show the volumes that hold the footage, and take a new disk for one of them
    #[command(subcommand)]
    Volume(volume::Command),
    /// Show how far closed segments were read again and compared with their hashes, or begin to
    Scrub(scrub::Scrub),
    /// Write a stretch of a camera's footage into one MP4 file, with a manifest beside it
    ///
    /// The pictures are the camera's own bits. What is not recorded is told in the manifest; the last picture before
    /// such a gap stands still until it is over. Prints the file's BLAKE3 as `b3sum` does.
    Export(export::Export),
    /// Show the event log, newest last
    Events(show::Events),
    /// Show the GStreamer pipelines, and check their texts
    #[command(subcommand)]
    Pipeline(pipeline::Command),
    /// Compare the recorded files, and the mirror's, with the index, and measure each file
    ///
    /// Works whether the service runs or not; exits with 0 only if all is well. While the service runs, only what was
    /// recorded before it started is looked at, and nothing is changed.
    Check(check::Check),
    /// Look whether everything is there that the service needs, and say what to do about what is not
    Doctor(doctor::Doctor),
    /// Write a completion script for a shell
    ///
    /// For instance: watchkeeper completions bash > ~/.local/share/bash-completion/completions/watchkeeper
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Args)]
struct Output {
    /// Print JSON instead of text for people
    #[arg(long)]
    json: bool,
}

/// What every command has.
#[derive(Debug)]
struct Env {
    config: Config,
    server: Option<String>,
    out: Out,
}

impl Env {
    fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.server.as_deref(), &self.config)?)
    }

    /// Prints an answer as JSON, or the sentence that `say` makes of it.
    fn show(
        &mut self,
        output: Output,
        answer: &Value,
        say: impl FnOnce(&Value) -> anyhow::Result<String>,
    ) -> anyhow::Result<Verdict> {
        if output.json {
            self.out.json(answer)?;
        } else {
            self.out.line(&say(answer)?)?;
        }
        Ok(Verdict::Fine)
    }
}

/// Runs the command line and gives the process's exit code.
pub fn run() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            let (lines, code) = told(&error);
            lines.iter().for_each(|line| term::note(line));
            ExitCode::from(code)
        }
    }
}

fn dispatch(Cli { config, server, command }: Cli) -> anyhow::Result<Verdict> {
    let mut out = Out::new();
    if let Command::Completions { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "watchkeeper", &mut script);
        out.raw(&String::from_utf8_lossy(&script))?;
        return Ok(Verdict::Fine);
    }
    let config = Config::load(config.as_deref());
    if let Command::Doctor(wanted) = command {
        return doctor::run(&mut out, config.as_ref(), server.as_deref(), wanted);
    }
    let config = config?;
    let mut env = Env { config, server, out };
    match command {
        Command::Serve => serve::serve(&env.config).map(|()| Verdict::Fine),
        Command::Camera(command) => camera::run(&mut env, *command),
        Command::Segments(wanted) => show::segments(&mut env, &wanted),
        Command::Gaps(wanted) => coverage::gaps(&mut env, &wanted),
        Command::Refill(wanted) => refill::refill(&mut env, &wanted),
        Command::Coverage(wanted) => coverage::coverage(&mut env, &wanted),
        Command::Retention(wanted) => retention::retention(&mut env, &wanted),
        Command::Scrub(wanted) => scrub::scrub(&mut env, &wanted),
        Command::Hold(command) => retention::hold(&mut env, command),
        Command::Volume(command) => volume::run(&mut env, command),
        Command::Export(wanted) => export::export(&mut env, &wanted),
        Command::Events(wanted) => show::events(&mut env, &wanted),
        Command::Pipeline(command) => pipeline::run(&mut env, command),
        Command::Check(wanted) => check::run(&mut env, wanted),
        // Done above: they need no configuration, or cope with a wrong one.
        Command::Doctor(_) | Command::Completions { .. } => Ok(Verdict::Fine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_manual_names_every_command_and_every_option() {
        let manual = include_str!("../../docs/cli.md");
        let mut waiting = vec![(String::new(), Cli::command())];
        while let Some((path, command)) = waiting.pop() {
            assert!(path.is_empty() || manual.contains(&format!("`{path}")), "{path}");
            for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(manual.contains(&format!("--{long}")), "{path} --{long}");
            }
            let below = command
                .get_subcommands()
                .map(|sub| (format!("{path} {}", sub.get_name()).trim().to_owned(), sub.clone()));
            waiting.extend(below);
        }
        for line in EXIT_CODES.lines().skip(1) {
            let code = line.trim().split(' ').next().unwrap();
            assert!(manual.contains(&format!("| {code} |")), "exit code {code}");
        }
    }
}
