//! `shoal simulate`: real engines on a virtual clock and network.
//!
//! The same seed gives the same run, so a result is a fact that anyone can repeat. With a matrix of round
//! trips it judges the coordinates and the routing of jobs instead; with `--swarm` the seed decides the whole situation, faults
//! included, and the rules that must hold are checked after every step; with `--experiment` it repeats
//! a published experiment and prints its tables.

mod page;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use shoal_simulator::accuracy::{self, Evaluation};
use shoal_simulator::chaos::{self, ChaosOptions};
use shoal_simulator::lifeguard::{self, LifeguardOptions};
use shoal_simulator::matrix::Matrix;
use shoal_simulator::report::RoutingReport;
use shoal_simulator::routing::{self, RoutingOptions};
use shoal_simulator::{Report, SimulationOptions, elections, jobs, report, swarm};

use crate::exit::Failure;
use crate::output::{self, Format, OutputArguments};

/// Run a cluster on a virtual network.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal simulate --nodes 1000 --loss 0.05      # a crash among a thousand nodes at 5 % loss
  shoal simulate --matrix rtt.csv --cycles 1000 --page report.html
  shoal simulate --swarm --seed 17             # everything drawn from the seed, every rule checked
  shoal simulate --experiment routing          # gates and datacenters of a generated world
  shoal simulate --experiment elections --seed 17
  shoal simulate --experiment chaos --repetitions 20    # who is declared dead, and is not
  shoal simulate --experiment lifeguard        # slow agents against six configurations, a sample
  shoal simulate --experiment lifeguard --whole-grid --repetitions 10    # as published; hours
  shoal simulate --jobs --seed 17              # the same for jobs, told as a story

A matrix file has the names of the nodes in its first row and then a row of milliseconds per node;
an empty field is an unknown round trip.")]
pub struct Arguments {
    /// Nodes of the cluster, 2 to 65,536.
    #[arg(long, default_value_t = 5, value_name = "N")]
    nodes: u32,
    /// Virtual seconds to run.
    #[arg(long, default_value_t = 60, value_name = "S")]
    seconds: u64,
    /// Decides everything that is random.
    #[arg(long, default_value_t = 1, value_name = "K")]
    seed: u64,
    /// Share of the datagrams that are lost, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    loss: f64,
    /// Nodes that crash, at random times after the cluster has formed.
    #[arg(long, default_value_t = 1, value_name = "K")]
    crashes: u32,
    /// Judge coordinates and routing on this matrix of round trips.
    #[arg(long, value_name = "FILE.csv")]
    matrix: Option<PathBuf>,
    /// With a matrix: probes that each node sends to a random node.
    #[arg(long, default_value_t = 1_000, value_name = "N", requires = "matrix")]
    cycles: u32,
    /// With a matrix: share of the nodes that claim to be somewhere far away, 0 to 0.9.
    #[arg(long, default_value_t = 0.0, value_name = "P", requires = "matrix")]
    liars: f64,
    /// Draw nodes, network and faults from the seed and check every rule.
    #[arg(long, conflicts_with_all = ["matrix", "nodes", "loss", "crashes", "seconds"])]
    swarm: bool,
    /// Repeat an experiment: `lifeguard`, what slow agents do to failure detection (Dadgar, Phillips and
    /// Currey 2017, section V); `routing`, what gates do in a generated world, as --matrix has it on a
    /// file; `elections`, managers under crashes and partitions, one run of the seed; `chaos`, 16 nodes that
    /// are stopped and killed while datagrams are lost.
    #[arg(long, value_enum, value_name = "lifeguard|routing|elections|chaos", hide_possible_values = true,
        conflicts_with_all = ["swarm", "matrix", "nodes", "loss", "crashes", "seconds"])]
    experiment: Option<Experiment>,
    /// With an experiment: every combination instead of a sample.
    #[arg(long, requires = "experiment")]
    whole_grid: bool,
    /// With an experiment: how often each combination is run.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "experiment",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    repetitions: u32,
    /// Draw jobs, leaders, gates and faults from the seed, check every rule, and tell what happens.
    #[arg(long, conflicts_with_all = ["swarm", "matrix", "nodes", "loss", "crashes", "seconds"])]
    jobs: bool,
    /// Also write the result as a page. Not with --swarm, --jobs and the other experiments, which have
    /// a story and tables instead of figures.
    #[arg(long, value_name = "FILE.html", conflicts_with_all = ["swarm", "jobs"])]
    page: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

/// What can be repeated.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Experiment {
    Lifeguard,
    Routing,
    Elections,
    Chaos,
}

/// A report and how fast the simulator was.
#[derive(serde::Serialize)]
struct TimedReport {
    #[serde(flatten)]
    report: Report,
    elapsed_seconds: f64,
    datagrams_per_second: f64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.swarm {
        return run_swarm(arguments);
    }
    if arguments.page.is_some()
        && let Some(
            experiment @ (Experiment::Lifeguard | Experiment::Elections | Experiment::Chaos),
        ) = arguments.experiment
    {
        return Err(Failure::usage(format_args!("--page: {experiment:?} has none; leave it out")));
    }
    match arguments.experiment {
        Some(Experiment::Lifeguard) => return run_lifeguard(arguments),
        Some(Experiment::Elections) => return run_elections(arguments),
        Some(Experiment::Chaos) => return run_chaos(arguments),
        Some(Experiment::Routing) | None => {}
    }
    let start = Instant::now();
    if arguments.jobs {
        return run_jobs(arguments);
    }
    let report = match &arguments.matrix {
        Some(path) => judge(arguments, &Matrix::read(path).map_err(Failure::usage)?)?,
        None if arguments.experiment.is_some() => {
            judge(arguments, &routing::generated_world(arguments.seed))?
        }
        None => simulate(arguments)?,
    };
    let elapsed_seconds = start.elapsed().as_secs_f64();
    if let Some(path) = &arguments.page {
        std::fs::write(path, page::page(&report, &command_line())).map_err(|error| {
            Failure::failed(format_args!("cannot write {}: {error}", path.display()))
        })?;
    }
    let datagrams_per_second = report.datagrams as f64 / elapsed_seconds;
    let timed = TimedReport { report, elapsed_seconds, datagrams_per_second };
    match arguments.output.format {
        Format::Json => {
            let json = serde_json::to_string(&timed).expect("a report is plain data");
            output::print_line(&json)
        }
        Format::Text => output::print_line(&describe(&timed)),
    }
}

/// What was typed, as far as a shell needs it again.
fn command_line() -> String {
    let quoted = std::env::args().skip(1).map(|word| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:".contains(c);
        if word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    std::iter::once("shoal".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

fn run_lifeguard(arguments: &Arguments) -> Result<(), Failure> {
    let (seed, repetitions) = (arguments.seed, arguments.repetitions);
    let options = match arguments.whole_grid {
        true => LifeguardOptions::full(seed, repetitions),
        false => LifeguardOptions { repetitions, ..LifeguardOptions::sample(seed) },
    };
    let report = lifeguard::run(&options, show_progress);
    match arguments.output.format {
        Format::Json => {
            let json = serde_json::to_string(&report).expect("a report is plain data");
            output::print_line(&json)
        }
        Format::Text => output::print_line(report.to_string().trim_end()),
    }
}

/// Says on standard error how far it is: always anew on a terminal, every tenth otherwise.
fn show_progress(done: usize, total: usize) {
    let mut stderr = std::io::stderr().lock();
    // Progress that cannot be shown is not worth failing for.
    let _ = if stderr.is_terminal() {
        let end = if done == total { "\n" } else { "" };
        write!(stderr, "\r{done} of {total} runs{end}").and_then(|()| stderr.flush())
    } else if done * 10 / total > (done - 1) * 10 / total {
        writeln!(stderr, "{done} of {total} runs")
    } else {
        Ok(())
    };
}

fn simulate(arguments: &Arguments) -> Result<Report, Failure> {
    let mut options = SimulationOptions::new(arguments.nodes, arguments.seed);
    options.seconds = arguments.seconds;
    options.loss = arguments.loss;
    options.crashes = arguments.crashes;
    shoal_simulator::run(&options).map_err(Failure::usage)
}

/// What coordinates and routing make of these round trips.
fn judge(arguments: &Arguments, matrix: &Matrix) -> Result<Report, Failure> {
    if !(0.0..=0.9).contains(&arguments.liars) {
        return Err(Failure::usage(format_args!("--liars {}, expected 0 to 0.9", arguments.liars)));
    }
    let evaluation = Evaluation {
        cycles: arguments.cycles,
        seed: arguments.seed,
        liar_share: arguments.liars,
        ..Evaluation::default()
    };
    let coordinate = accuracy::evaluate(matrix, &evaluation).map_err(Failure::usage)?;
    let seconds = evaluation.probe_interval.as_secs_f64() * f64::from(arguments.cycles);
    let nodes = matrix.node_count() as u32;
    let report = Report::of_coordinates(arguments.seed, nodes, seconds, coordinate);
    // Fewer sites would be a gate with nothing to choose from.
    if nodes < 4 {
        return Ok(report);
    }
    let routed = routing::run(matrix, &RoutingOptions::new(arguments.seed));
    Ok(Report { routing: Some(routed.map_err(Failure::failed)?), ..report })
}

fn run_elections(arguments: &Arguments) -> Result<(), Failure> {
    let outcome = elections::run(arguments.seed).map_err(Failure::failed)?;
    let hash = report::hash_text(outcome.trace_hash);
    let ms = |duration: shoal_core::Duration| duration.as_secs_f64() * 1e3;
    match arguments.output.format {
        Format::Json => {
            let json = serde_json::json!({
                "seed": outcome.seed,
                "managers": outcome.managers,
                "virtual_seconds": outcome.virtual_time.as_secs_f64(),
                "leaderships": outcome.terms,
                "faults": outcome.faults,
                "first_election_ms": ms(outcome.first_election),
                "succession_ms": ms(outcome.succession),
                "recovery_ms": ms(outcome.recovery),
                "stale_terms": outcome.stale_terms,
                "trace_hash": hash,
            });
            output::print_line(&json.to_string())
        }
        Format::Text => output::print_line(&format!(
            "seed {}: {} managers, {:.0} s, {} faults, {} leaderships, every rule held; a leader {:.1} s after \
             the start and {:.1} s after the last one crashed; trace {hash}",
            outcome.seed,
            outcome.managers,
            outcome.virtual_time.as_secs_f64(),
            outcome.faults,
            outcome.terms,
            outcome.first_election.as_secs_f64(),
            outcome.succession.as_secs_f64(),
        )),
    }
}

fn run_chaos(arguments: &Arguments) -> Result<(), Failure> {
    let options = ChaosOptions::new(arguments.seed, arguments.repetitions);
    let report = chaos::run(&options).map_err(Failure::usage)?;
    match arguments.output.format {
        Format::Json => {
            let json = serde_json::to_string(&report).expect("a report is plain data");
            output::print_line(&json)
        }
        Format::Text => output::print_line(report.to_string().trim_end()),
    }
}

fn run_swarm(arguments: &Arguments) -> Result<(), Failure> {
    let outcome = swarm::run(arguments.seed).map_err(Failure::failed)?;
    let hash = report::hash_text(outcome.trace_hash);
    match arguments.output.format {
        Format::Json => {
            let json = serde_json::json!({
                "seed": outcome.seed,
                "nodes": outcome.nodes,
                "virtual_seconds": outcome.virtual_time.as_secs_f64(),
                "datagrams": outcome.datagrams,
                "recovery_ms": outcome.recovery.as_secs_f64() * 1e3,
                "suspicions": outcome.suspicions,
                "deaths": outcome.deaths,
                "false_positives": outcome.false_deaths,
                "trace_hash": hash,
            });
            output::print_line(&json.to_string())
        }
        Format::Text => output::print_line(&format!(
            "seed {}: {} nodes, {:.0} s, {} datagrams, {} deaths of which {} false; every rule held; \
             one cluster again {:.1} s after healing; trace {hash}",
            outcome.seed,
            outcome.nodes,
            outcome.virtual_time.as_secs_f64(),
            outcome.datagrams,
            outcome.deaths,
            outcome.false_deaths,
            outcome.recovery.as_secs_f64(),
        )),
    }
}

/// Whoever replays a run wants to see how it came to its end, so as text every line of it is told.
fn run_jobs(arguments: &Arguments) -> Result<(), Failure> {
    let is_text = arguments.output.format == Format::Text;
    let mut narrator = |line: &str| {
        if is_text {
            // A reader that went away loses the rest of the story, not the result.
            let _ = output::print_line(line);
        }
    };
    let outcome = jobs::replay(arguments.seed, &mut narrator).map_err(Failure::failed)?;
    let hash = report::hash_text(outcome.trace_hash);
    match arguments.output.format {
        Format::Json => {
            let json = serde_json::json!({
                "seed": outcome.seed,
                "nodes": outcome.nodes,
                "jobs": outcome.jobs,
                "virtual_seconds": outcome.virtual_time.as_secs_f64(),
                "datagrams": outcome.datagrams,
                "counts": outcome.counts,
                "trace_hash": hash,
            });
            output::print_line(&json.to_string())
        }
        Format::Text => output::print_line(&format!(
            "seed {}: {} nodes, {} jobs, {:.0} s, {} datagrams; every rule held: {:?}; trace {hash}",
            outcome.seed,
            outcome.nodes,
            outcome.jobs,
            outcome.virtual_time.as_secs_f64(),
            outcome.datagrams,
            outcome.counts,
        )),
    }
}

/// The report in words.
fn describe(timed: &TimedReport) -> String {
    let report = &timed.report;
    let mut lines = vec![format!(
        "{} nodes, {:.0} virtual seconds, {} datagrams, seed {}, trace {}",
        report.nodes, report.virtual_seconds, report.datagrams, report.seed, report.trace_hash
    )];
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
    match &report.coordinate {
        Some(coordinate) => {
            lines.push(format!(
                "prediction error    median {:.4}, 90th percentile {:.3}, median {:.2} ms",
                coordinate.median_rel_err, coordinate.p90_rel_err, coordinate.median_abs_err_ms
            ));
            lines.push(format!(
                "nearest node        {:.2}x as far as the truly nearest, {:.2}x with own measurements",
                coordinate.nearest_stretch_median, coordinate.nearest_stretch_measured_median
            ));
            lines.push(format!("best of ten         {:.3}", coordinate.top1_of_10));
            if let Some(routing) = &report.routing {
                lines.extend(describe_routing(routing));
            }
        }
        None => {
            lines.push(format!("formed after        {}", shown(report.formed_ms)));
            lines.push(format!(
                "crash first noticed {} at the median, {} at the 99th percentile",
                shown(report.detect_first_ms.p50),
                shown(report.detect_first_ms.p99)
            ));
            lines.push(format!(
                "known to all        {} at the median, {} at the 99th percentile",
                shown(report.detect_all_ms.p50),
                shown(report.detect_all_ms.p99)
            ));
            lines.push(format!(
                "false positives     {}, undetected {}",
                report.false_positives, report.undetected
            ));
            lines.push(format!(
                "throughput          {:.0} datagrams per second, {:.1} s",
                timed.datagrams_per_second, timed.elapsed_seconds
            ));
        }
    }
    lines.join("\n")
}

fn describe_routing(routing: &RoutingReport) -> [String; 4] {
    [
        format!(
            "jobs routed         {:.1} ms at the median, {:.1} ms at random, {:.1} ms at best; {} gates, {} \
             datacenters",
            routing.median_rtt_ms,
            routing.random_median_rtt_ms,
            routing.oracle_median_rtt_ms,
            routing.gates,
            routing.datacenters
        ),
        format!(
            "jobs moved          in {:.2} % of the decisions for a known job",
            routing.switch_rate * 100.0
        ),
        format!("load over time      coefficient of variation {:.3}", routing.load_cv),
        format!(
            "failover            {:.1} s at the 99th percentile; no better bucket passed over in {} decisions",
            routing.failover_ms_p99 / 1e3,
            routing.decisions
        ),
    ]
}
