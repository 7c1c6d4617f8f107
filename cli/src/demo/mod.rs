//! `shoal demo`: a three-datacenter cluster at work, in one process and half a minute.
//!
//! Fifteen real nodes speak real, encrypted UDP through a relay that gives them wide-area delays.
//! The demo forms the cluster, lets coordinates converge, routes jobs, kills a datacenter's
//! managers, runs a job into its timeout and leaves. It shows this as it happens, prints a table
//! and writes a report page. It doubles as an end-to-end check: a phase that does not go as
//! expected ends it with status 1.

mod cluster;
mod jobs;
mod phases;
pub mod projection;
mod record;
mod report;
mod routing;
mod stage;
mod table;
mod view;

use std::path::{Path, PathBuf};
use std::time::Instant;

use shoal_core::io::BackendChoice;

use crate::exit::Failure;
use crate::output::{self, Format};
use cluster::{BACKBONE_MS, Cluster, DATACENTERS};
use record::Outcome;
use stage::Stage;
use view::View;

/// Show a whole cluster at work: three datacenters, fifteen nodes, half a minute.
///
/// Forms the cluster, lets network coordinates converge, routes 1,000 jobs, kills the managers of a
/// datacenter, shows detection and re-routing, runs one job into its timeout and leaves. All
/// traffic stays on this machine.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal demo                                  # then open target/demo/report.html
  shoal demo --output report.html --seed 7
  shoal demo --format json | jq .detection.all_dead_ms")]
pub struct Arguments {
    /// Write the report page to this file
    #[arg(long, short, value_name = "FILE", default_value = "target/demo/report.html")]
    output: PathBuf,
    /// Decides the network's delays and every random choice of the nodes
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// How the nodes do I/O
    #[arg(long, value_name = "auto|uring|poll", default_value = "auto")]
    backend: BackendChoice,
    /// How to print the result: text is a live view and a table, json one object
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Half a minute is long to wait for the news that the page has nowhere to go.
    prepare(&arguments.output)?;
    let started = Instant::now();
    let cluster = Cluster::start(arguments.seed, arguments.backend)?;
    let outcome = Outcome {
        version: env!("CARGO_PKG_VERSION"),
        seed: arguments.seed,
        backend: cluster.backend,
        datacenters: DATACENTERS.map(str::to_owned).to_vec(),
        backbone_ms: BACKBONE_MS.map(|row| row.to_vec()).to_vec(),
        ..Outcome::default()
    };
    let mut stage = Stage::new(cluster, outcome, View::new(arguments.format), started);
    phases::run(&mut stage)?;
    let outcome = stage.finish();
    write_page(&arguments.output, &report::page(&outcome))?;
    match arguments.format {
        Format::Text => output::print_line(&table::summary(&outcome, &arguments.output)),
        Format::Json => {
            let object = serde_json::to_string(&outcome).map_err(Failure::failed)?;
            output::print_line(&object)
        }
    }
}

/// Makes the folder for the page.
fn prepare(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::usage(format_args!("{} is a folder; name a file", path.display())));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), std::fs::create_dir_all);
    made.map_err(|error| {
        Failure::usage(format_args!("cannot make the folder of {}: {error}", path.display()))
    })
}

fn write_page(path: &Path, page: &str) -> Result<(), Failure> {
    std::fs::write(path, page)
        .map_err(|error| Failure::failed(format_args!("cannot write {}: {error}", path.display())))
}
