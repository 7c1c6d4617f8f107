//! The measurements: each a command with a time limit whose output is kept.
//!
//! A step that fails, hangs or is missing something costs its own figures and is named in the
//! report; the others go on. Every process of a step is in one group and is ended with it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use shoal_benches::figures::Results;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{criterion, output_folder, root, simulations};

/// How figures come out of a command.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// The last line of its output.
    Line,
    /// The files of the Criterion groups whose folders begin so.
    Criterion,
    /// What `shoal simulate --format json` prints; the name under which it is kept.
    Simulation(&'static str),
    /// None: it builds something.
    Build,
}

/// One measurement to be run.
#[derive(Debug)]
pub struct Step {
    pub title: String,
    command: Vec<String>,
    limit: Duration,
    reading: Reading,
}

/// One measurement that was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ran {
    /// What it measures.
    pub title: String,
    /// What to type to repeat it.
    pub command: String,
    /// How long it took.
    pub elapsed: Duration,
    /// What it found.
    pub results: Results,
    /// Why it found nothing, if so.
    pub failure: Option<String>,
}

/// What is left for all measurements together when so much has passed since the run began, most of it for
/// building. Where that took too long, the run does.
pub fn budget(quick: bool, passed: Duration) -> Duration {
    let (whole, least) = if quick { (235, 60) } else { (1_180, 600) };
    Duration::from_secs(whole).saturating_sub(passed).max(Duration::from_secs(least))
}

/// Set when somebody wants to stop; then the running step is ended, too.
pub fn stop_wanted() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Which profile of Cargo everything is built with.
fn profile(quick: bool) -> &'static str {
    if quick { "quick" } else { "release" }
}

/// A command of Cargo about all that is measured, because what packages share has the features that all
/// those want that are named: fewer of them would have it built again.
fn cargo(subcommand: &str, quick: bool) -> String {
    let packages = "-p shoal-benches -p shoal-cli -p shoal-python";
    format!("cargo {subcommand} --locked --profile {} {packages}", profile(quick))
}

/// All steps, in the order in which they are run: where time runs out, no row of what was wanted goes
/// without a figure for the sake of an extra one.
pub fn all(quick: bool) -> Vec<Step> {
    let programs = format!("{} --lib --bins --benches", cargo("build", quick));
    let mut steps = vec![build("programs", &programs)];
    steps.extend(wanted(quick));
    if !quick {
        steps.extend(wanted_and_long());
        steps.extend(extra());
    }
    steps
}

fn line(title: &str, command: &str, limit: u64) -> Step {
    step(title, command, limit, Reading::Line)
}

fn measure(quick: bool, arguments: &str) -> String {
    format!("target/{}/measure {arguments}", profile(quick))
}

fn simulation(title: &str, quick: bool, arguments: &str, limit: u64, name: &'static str) -> Step {
    let command = format!("target/{}/shoal simulate --format json {arguments}", profile(quick));
    step(title, &command, limit, Reading::Simulation(name))
}

/// Rows of what was wanted that take seconds.
fn wanted(quick: bool) -> Vec<Step> {
    let (rounds, seconds) = if quick { (1, 0.4) } else { (7, 0.5) };
    let exchange = format!("{} --bench exchange", cargo("bench", quick));
    let python = format!("{} benches/baseline/compare.py", python_program());
    let python = if quick { format!("{python} --quick") } else { python };
    let clusters =
        if quick { "--clusters 4 --kills 1 --without-serf" } else { "--clusters 12 --kills 4" };
    let mut steps = vec![
        line("exchanges", &format!("{exchange} -- {rounds} {seconds} --json"), 300),
        line("memory and allocations", &measure(quick, "memory"), 60),
        line("path of a packet", &measure(quick, "path"), 30),
        line("Python", &python, 240),
        line("detection", &measure(quick, &format!("detect {clusters}")), 300),
    ];
    let suites = ["coordinate", "routing", "updates", "engine"];
    steps.extend(suites.map(|suite| suite_step(suite, quick)));
    // Matrices of real round trips are not ours to pass on; who has them says where.
    if let Some(folder) = std::env::var_os("SHOAL_MATRICES") {
        let file = PathBuf::from(folder).join("planetlab490_ms.csv").display().to_string();
        let cycles = if quick { 200 } else { 1_000 };
        let arguments = format!("--matrix {file} --cycles {cycles}");
        steps.push(simulation("coordinates", quick, &arguments, 120, "planetlab"));
        let arguments = format!("{arguments} --liars 0.1");
        let title = "coordinates with liars";
        steps.push(simulation(title, quick, &arguments, 120, "planetlab-liars"));
    }
    steps
}

/// Rows that take minutes, or compare with a release build.
fn wanted_and_long() -> Vec<Step> {
    let (idle, chaos) = ("idle --seconds 20", "chaos --agents 16 --seconds 90");
    let lifeguard = "--experiment lifeguard";
    vec![
        line("idle agents", &measure(false, idle), 200),
        line("chaos", &measure(false, chaos), 300),
        simulation("Lifeguard experiment", false, lifeguard, 420, "lifeguard"),
    ]
}

/// How parts cost and how whole nodes and simulations grow, which no row needs.
fn extra() -> Vec<Step> {
    let nodes = |count: u32| {
        let nodes = format!("nodes --count {count} --seconds 8");
        line(&format!("{count} nodes on one thread"), &measure(false, &nodes), 240)
    };
    let sizes = [(100, 60, "cluster/100"), (300, 60, "cluster/300"), (1_000, 40, "cluster/1000")];
    let clusters = sizes.map(|(nodes, seconds, name)| {
        let arguments = format!("--nodes {nodes} --seconds {seconds}");
        simulation(&format!("simulator, {nodes} nodes"), false, &arguments, 150, name)
    });
    let suites = ["wire", "timers", "handoff", "jobs"].map(|suite| suite_step(suite, false));
    let instructions = line("instructions", &measure(false, "instructions"), 240);
    let mut steps = vec![nodes(100), nodes(300)];
    steps.extend(clusters);
    steps.push(instructions);
    steps.extend(suites);
    // The last, because a slow machine takes minutes to have them all acquainted.
    steps.push(nodes(1_000));
    steps
}

/// The Python of the virtual environment into which Shoal's package was built.
fn python_program() -> String {
    let own = ".venv/bin/python";
    if root().join(own).exists() { own.to_owned() } else { "python3".to_owned() }
}

fn suite_step(suite: &str, quick: bool) -> Step {
    let times = match (suite, quick) {
        // These set their own.
        ("jobs" | "engine" | "updates" | "timers" | "handoff", false) => "",
        (_, false) => " --warm-up-time 0.3 --measurement-time 1",
        (_, true) => {
            " --warm-up-time 0.1 --measurement-time 0.2 --sample-size 10 --nresamples 1000"
        }
    };
    // Of the longer suites a quick run takes what a row of what was wanted needs.
    let part = match (suite, quick) {
        ("coordinate", true) => "coordinate/(update|estimate)",
        ("routing", true) => "routing/route",
        _ => suite,
    };
    let suites = format!("{} --bench suites", cargo("bench", quick));
    let command = format!("{suites} -- {part} --noplot{times}");
    step(&format!("Criterion, {suite}"), &command, 300, Reading::Criterion)
}

fn build(title: &str, command: &str) -> Step {
    step(title, command, 900, Reading::Build)
}

fn step(title: &str, command: &str, limit: u64, reading: Reading) -> Step {
    Step {
        title: title.to_owned(),
        command: command.split_whitespace().map(str::to_owned).collect(),
        limit: Duration::from_secs(limit),
        reading,
    }
}

impl Step {
    /// What to type: with the variable in place of a folder that only this machine has.
    fn shown_command(&self) -> String {
        let command = self.command.join(" ");
        match std::env::var("SHOAL_MATRICES") {
            Ok(folder) if !folder.is_empty() => command.replace(&folder, "$SHOAL_MATRICES"),
            _ => command,
        }
    }

    /// Whether it only builds what others need, for which it may take its time.
    pub fn is_build(&self) -> bool {
        matches!(self.reading, Reading::Build)
    }

    /// Runs the command to its end, its limit, the end of what time is left, or until somebody
    /// wants to stop.
    pub fn run(self, left: Duration, stop: &AtomicBool) -> Ran {
        let command = self.shown_command();
        eprintln!("{:<24} {command}", self.title);
        let start = Instant::now();
        let found = self.execute(start, self.limit.min(left), stop);
        let elapsed = start.elapsed();
        let (results, failure) = match found {
            Ok(results) => (results, None),
            Err(why) => {
                eprintln!("    {why}");
                (Results::default(), Some(why))
            }
        };
        Ran { title: self.title, command, elapsed, results, failure }
    }

    fn execute(
        &self,
        start: Instant,
        limit: Duration,
        stop: &AtomicBool,
    ) -> Result<Results, String> {
        if limit.is_zero() {
            return Err("no time was left for it".to_owned());
        }
        let folder = output_folder().join("logs");
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let name = self.title.replace([' ', ','], "-");
        let [out, err] = ["out", "err"].map(|end| folder.join(format!("{name}.{end}")));
        let create = |path: &PathBuf| {
            File::create(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).current_dir(root()).process_group(0);
        command.stdin(Stdio::null()).stdout(create(&out)?).stderr(create(&err)?);
        let child = command.spawn().map_err(|error| format!("{}: {error}", self.command[0]))?;
        let status = wait(child, limit, stop)?;
        if !status.success() {
            let log = std::fs::read_to_string(&err).unwrap_or_default();
            let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no word");
            return Err(format!("it ended with {status}: {last}"));
        }
        let output = std::fs::read_to_string(&out).unwrap_or_default();
        let nothing = || "it printed no figures".to_owned();
        match self.reading {
            Reading::Build => Ok(Results::default()),
            Reading::Line => Results::from_output(&output).ok_or_else(nothing),
            Reading::Criterion => Ok(criterion::read(&root().join("target/criterion"), start)),
            Reading::Simulation(name) => {
                simulations::read(name, &output, start.elapsed()).ok_or_else(nothing)
            }
        }
    }
}

/// Waits for the end of a step, and ends all its processes when it takes too long.
fn wait(mut child: Child, limit: Duration, stop: &AtomicBool) -> Result<ExitStatus, String> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if start.elapsed() < limit && !stop.load(Ordering::Relaxed) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => {
                // The group may have ended this very moment, which is as good.
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                let _ = child.wait();
                let seconds = limit.as_secs();
                return Err(match outcome {
                    Err(error) => error.to_string(),
                    Ok(_) if stop.load(Ordering::Relaxed) => "it was stopped".to_owned(),
                    Ok(_) => format!("it took more than {seconds} s and was ended"),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_hangs_is_ended_with_all_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 61 & wait"]).process_group(0);
        let start = Instant::now();
        let stop = AtomicBool::new(false);
        let ended = wait(command.spawn().unwrap(), Duration::from_millis(100), &stop);
        assert!(ended.unwrap_err().contains("was ended"));
        let stop = AtomicBool::new(true);
        let ended = wait(command.spawn().unwrap(), Duration::from_secs(60), &stop);
        assert_eq!(ended.unwrap_err(), "it was stopped");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_quick_run_measures_the_same_but_for_what_is_long() {
        let titles = |quick| all(quick).into_iter().map(|s| s.title).collect::<Vec<_>>();
        let (quick, full) = (titles(true), titles(false));
        assert!(quick.iter().all(|title| full.contains(title)));
        let mut longer: Vec<&String> = full.iter().filter(|title| !quick.contains(title)).collect();
        longer.sort();
        let expected = [
            "100 nodes on one thread",
            "1000 nodes on one thread",
            "300 nodes on one thread",
            "Criterion, handoff",
            "Criterion, jobs",
            "Criterion, timers",
            "Criterion, wire",
            "Lifeguard experiment",
            "chaos",
            "idle agents",
            "instructions",
            "simulator, 100 nodes",
            "simulator, 1000 nodes",
            "simulator, 300 nodes",
        ];
        assert_eq!(longer, expected);
    }
}
