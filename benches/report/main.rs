//! Runs every measurement, one after the other, and writes what they found into one report.
//!
//! `make bench`, or `cargo run --release -p shoal-benches --bin report`; `QUICK=1` for a short
//! look. Written are `target/bench/report.md`, `target/bench/report.html` and, for whoever wants to
//! compute with them, `target/bench/results.json`. With `--docs` nothing is measured: the last
//! report becomes the committed one (`docs/benchmarks.md`) and its short table the README's.

mod criterion;
mod goals;
mod html;
mod machine;
mod markdown;
mod numbers;
mod plots;
mod scale;
mod simulations;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use serde::{Deserialize, Serialize};
use shoal_benches::figures::Results;

use machine::Machine;
use steps::Ran;

/// Measure everything and write the report.
#[derive(Parser)]
struct Arguments {
    /// Write the page anew from the last results, without measuring.
    #[arg(long)]
    render: bool,
    /// Make the last report the committed one.
    #[arg(long)]
    docs: bool,
    /// Only the steps whose title contains this; what the others found last time is kept.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// When the whole run began, in seconds of Unix time: what was built since counts, too.
    #[arg(long, value_name = "SECONDS")]
    started: Option<u64>,
}

/// All that a run found out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// Where and with what.
    pub machine: Machine,
    /// Whether it was the short run.
    pub quick: bool,
    /// How long it took.
    pub elapsed: Duration,
    /// What was run.
    pub steps: Vec<Ran>,
    /// What it found.
    pub results: Results,
}

impl Run {
    /// What could not be measured, and why.
    pub fn missing(&self) -> impl Iterator<Item = (&String, &String)> {
        let failed = self.steps.iter();
        let failed = failed.filter_map(|ran| Some((&ran.title, ran.failure.as_ref()?)));
        let skipped = self.results.skipped.iter();
        failed.chain(skipped.map(|skipped| (&skipped.what, &skipped.why)))
    }
}

/// The root of the repository, where every command is run.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("this package is a folder of the repository").to_owned()
}

/// Where results and reports go.
pub fn output_folder() -> PathBuf {
    root().join("target/bench")
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (arguments.docs, arguments.render) {
        (true, _) => read_results().and_then(|run| commit(&run)),
        (_, true) => read_results().and_then(|run| write(&run)),
        _ => measure(&arguments).and_then(|run| write(&run)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What has passed since then.
fn since(started: u64) -> Duration {
    let started = SystemTime::UNIX_EPOCH + Duration::from_secs(started);
    started.elapsed().unwrap_or_default()
}

fn measure(arguments: &Arguments) -> Result<Run, String> {
    let only = arguments.only.as_deref();
    let before = arguments.started.map_or(Duration::ZERO, since);
    let quick = std::env::var_os("QUICK").is_some_and(|value| !value.is_empty() && value != "0");
    let start = Instant::now();
    let steps = steps::all(quick);
    let mut run = Run {
        machine: Machine::read(),
        quick,
        elapsed: Duration::ZERO,
        steps: Vec::new(),
        results: Results::default(),
    };
    let last = only.and_then(|_| read_results().ok());
    let stop = steps::stop_wanted().map_err(|error| format!("signals: {error}"))?;
    let mut end = start + steps::budget(quick, before);
    let is_wanted = |title: &str| only.is_none_or(|word| title.contains(word));
    for step in steps {
        let kept = last.as_ref().and_then(|last| last.steps.iter().find(|r| r.title == step.title));
        let is_build = step.is_build();
        let left = end.saturating_duration_since(Instant::now());
        let ran = match (is_wanted(&step.title), kept) {
            (true, _) => step.run(if is_build { Duration::MAX } else { left }, &stop),
            (false, Some(kept)) => kept.clone(),
            (false, None) => continue,
        };
        if is_build {
            end = Instant::now() + steps::budget(quick, before + start.elapsed());
        }
        if stop.load(Ordering::Relaxed) {
            return Err("stopped; nothing was written".to_owned());
        }
        run.results.append(ran.results.clone());
        run.steps.push(ran);
    }
    run.machine.note_load_after();
    run.elapsed = start.elapsed();
    let json = serde_json::to_string(&run).expect("a run is plain data");
    write_file(&output_folder().join("results.json"), &json)?;
    Ok(run)
}

fn read_results() -> Result<Run, String> {
    let path = output_folder().join("results.json");
    let complain = |error: &dyn std::fmt::Display| {
        format!("{}: {error}; run `make bench` first", path.display())
    };
    let text = std::fs::read_to_string(&path).map_err(|error| complain(&error))?;
    serde_json::from_str(&text).map_err(|error| complain(&error))
}

fn write(run: &Run) -> Result<(), String> {
    let folder = output_folder();
    write_file(&folder.join("report.md"), &markdown::page(run))?;
    write_file(&folder.join("report.html"), &html::page(run))?;
    print!("\n{}", markdown::short_table(run));
    println!("\n{}", folder.join("report.html").display());
    Ok(())
}

/// Puts the report into the repository and its short table into the README.
fn commit(run: &Run) -> Result<(), String> {
    let readme = root().join("README.md");
    let text = std::fs::read_to_string(&readme).map_err(|e| format!("README.md: {e}"))?;
    let text = markdown::replace_block(&text, &markdown::short_table(run))
        .ok_or("README.md has no block between the marks of the short table")?;
    write_file(&readme, &text)?;
    write_file(&root().join("docs/benchmarks.md"), &markdown::page(run))
}

fn write_file(path: &Path, text: &str) -> Result<(), String> {
    let complain = |error| format!("{}: {error}", path.display());
    let folder = path.parent().expect("a file is in a folder");
    std::fs::create_dir_all(folder).map_err(complain)?;
    std::fs::write(path, text).map_err(complain)
}
