//! The `shoal` program: runs a node, makes secrets, shows a whole cluster at work. It is a library
//! with one function, because the Python package has the same commands.
//!
//! Each command is a module with its arguments and a `run` function. Exit codes: 0 done, 1 failed,
//! 2 usage; every failure is one line on stderr that says what to do. Logs go to stderr too,
//! results to stdout.
#![deny(unsafe_code)]

mod agent;
mod config;
mod control;
mod coordinates;
mod demo;
mod exit;
mod host;
mod inspect;
mod keygen;
mod manual;
mod markup;
mod output;
mod route;
mod settings;
mod simulate;
mod snapshot;
mod top;
mod tuning;

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use tracing_subscriber::filter::LevelFilter;

use exit::Failure;

/// Cluster membership, failure detection, network coordinates and job routing across datacenters.
#[derive(Parser, Debug)]
#[command(name = "shoal", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Start here:
  shoal demo                           # three datacenters in one process, half a minute
  shoal keygen --output secret.key     # then, on each machine:
  shoal agent --bind 10.0.0.1:7462 --secret-file secret.key --join 10.0.0.2:7462 --control ./control
  shoal members --control ./control    # and: status, rtt, route, top, coordinates, metrics, leave

SHOAL_LOG sets how much is logged to stderr: off, error, warn, info, debug, trace
(default: info; the demo: warn). SHOAL_LOG_FORMAT=json makes it one JSON object per line.
Exit codes: 0 done, 1 failed, 2 usage.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Agent(agent::Arguments),
    Status(inspect::StatusArguments),
    Members(inspect::MembersArguments),
    Rtt(inspect::RttArguments),
    Route(route::Arguments),
    Top(top::Arguments),
    Coordinates(coordinates::Arguments),
    Metrics(inspect::MetricsArguments),
    Reload(inspect::ReloadArguments),
    Leave(inspect::LeaveArguments),
    Config(config::Arguments),
    Keygen(keygen::Arguments),
    Demo(demo::Arguments),
    Simulate(simulate::Arguments),
    Completions(manual::CompletionsArguments),
    Man(manual::ManArguments),
}

/// Runs the program with a command line, whose first word is its name, and gives its exit code.
/// Where help is asked for it is printed, and the process ends.
pub fn run_program(command_line: impl IntoIterator<Item = OsString>) -> u8 {
    let result = match Arguments::try_parse_from(command_line) {
        Ok(arguments) => start_log(&arguments.command).and_then(|()| run(&arguments.command)),
        Err(error) => match error.kind() {
            // Help was asked for, or is the answer to an empty command line. Clap knows where it
            // goes.
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => Err(Failure::from_clap(&error)),
        },
    };
    match result {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Agent(arguments) => agent::run(arguments),
        Command::Status(arguments) => inspect::status(arguments),
        Command::Members(arguments) => inspect::members(arguments),
        Command::Rtt(arguments) => inspect::rtt(arguments),
        Command::Route(arguments) => route::run(arguments),
        Command::Top(arguments) => top::run(arguments),
        Command::Coordinates(arguments) => coordinates::run(arguments),
        Command::Metrics(arguments) => inspect::metrics(arguments),
        Command::Reload(arguments) => inspect::reload(arguments),
        Command::Leave(arguments) => inspect::leave(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Keygen(arguments) => keygen::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Simulate(arguments) => simulate::run(arguments),
        Command::Completions(arguments) => manual::completions(arguments, Arguments::command()),
        Command::Man(arguments) => manual::man(arguments, Arguments::command()),
    }
}

fn start_log(command: &Command) -> Result<(), Failure> {
    let level = match (std::env::var("SHOAL_LOG"), command) {
        // Log lines would run through the demo's picture, which tells the same things itself.
        (Err(_), Command::Demo(_)) => LevelFilter::WARN,
        (Err(_), _) => LevelFilter::INFO,
        (Ok(text), _) => text.parse().map_err(|_| {
            Failure::usage(format_args!(
                "SHOAL_LOG is {text:?}, expected off, error, warn, info, debug or trace"
            ))
        })?,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    match std::env::var("SHOAL_LOG_FORMAT").as_deref() {
        Err(_) | Ok("text") => log.with_ansi(std::io::stderr().is_terminal()).init(),
        Ok("json") => log.json().flatten_event(true).init(),
        Ok(text) => {
            return Err(Failure::usage(format_args!(
                "SHOAL_LOG_FORMAT is {text:?}, expected text or json"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_wrong_command_line_is_one_helpful_line() {
        let line = |words: &[&str]| match Failure::from_clap(
            &Arguments::try_parse_from(words).unwrap_err(),
        ) {
            Failure::Usage(line) => line,
            Failure::Failed(line) => panic!("{line} is a usage error"),
        };
        let role = line(&["shoal", "agent", "--role", "client"]);
        assert!(role.contains("expected gate, manager or worker"), "{role}");
        let typo = line(&["shoal", "agent", "--bnid", "127.0.0.1:1"]);
        assert_eq!(
            typo,
            "unexpected argument '--bnid' found; did you mean '--bind'? (see shoal agent --help)"
        );
        let state = line(&["shoal", "members", "--state", "alvie"]);
        assert!(state.ends_with("dead, left; did you mean 'alive'? (see --help)"), "{state}");
        let count = line(&["shoal", "members", "--wait", "x"]);
        assert!(count.contains("expected a whole number"), "{count}");
        let port = line(&["shoal", "agent", "--bind", "127.0.0.1"]);
        assert!(port.contains("expected IP:PORT, as in 10.0.0.1:7462"), "{port}");
    }
}
