//! Measurements that are no Criterion benchmark: whole processes, many nodes, memory, instruction
//! counts.
//!
//! Every command prints one line of JSON for the report and for nothing else;
//! `cargo run --release -p shoal-benches --bin measure -- help` lists them.

mod chaos;
mod detect;
mod engine;
mod fleet;
mod instructions;
mod nodes;
mod sandbox;

use std::process::ExitCode;

use clap::Parser;
use shoal_benches::figures::Results;

#[global_allocator]
static ALLOCATOR: shoal_benches::heap::Measuring = shoal_benches::heap::Measuring;

/// Measure something and print its figures as one line of JSON.
#[derive(Parser)]
enum Command {
    /// Memory and processor time of an agent in an idle cluster of five, Shoal's and Serf's.
    Idle {
        /// Seconds to watch.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
    },
    /// Kill one agent of five and wait until all others say so, Shoal's and Serf's.
    Detect {
        /// Clusters of either kind, side by side.
        #[arg(long, default_value_t = 8)]
        clusters: usize,
        /// Kills in each cluster.
        #[arg(long, default_value_t = 4)]
        kills: usize,
        /// Only Shoal's clusters, because Serf's take their time.
        #[arg(long)]
        without_serf: bool,
    },
    /// Agents of Shoal and of Serf under one schedule of stops, loss and kills.
    Chaos {
        /// Agents of either kind.
        #[arg(long, default_value_t = 12)]
        agents: usize,
        /// How long the schedule lasts; a quiet time follows.
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// Decides the schedule.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Many nodes with real sockets on one thread.
    Nodes {
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        count: usize,
        /// Seconds to watch once all know all.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
    },
    /// Memory per member, and allocations in 100,000 exchanges.
    Memory,
    /// The engine's part of a packet's way, again and again, for a profiler.
    Path {
        /// How long.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Instructions of the hot paths by callgrind, against the committed counts.
    Instructions {
        /// Only run this case; for use under callgrind.
        #[arg(long)]
        case: Option<String>,
        /// Write the counts as the ones to compare with.
        #[arg(long)]
        write: bool,
    },
}

fn main() -> ExitCode {
    let measured = match Command::parse() {
        Command::Idle { seconds } => sandbox::inside(|| detect::idle(seconds)),
        Command::Detect { clusters, kills, without_serf } => {
            sandbox::inside(|| detect::detect(clusters, kills, without_serf))
        }
        Command::Chaos { agents, seconds, seed } => {
            sandbox::inside(|| chaos::run(agents, seconds, seed))
        }
        Command::Nodes { count, seconds } => nodes::run(count, seconds),
        Command::Memory => Ok(engine::memory()),
        Command::Path { seconds } => Ok(engine::path(seconds)),
        Command::Instructions { case: Some(case), .. } => instructions::run_case(&case),
        Command::Instructions { case: None, write } => instructions::check(write),
    };
    match measured {
        Ok(results) => {
            if results != Results::default() {
                results.print();
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
