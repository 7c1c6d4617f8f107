//! Two gates and six managers as processes of their own, `examples/jobs.rs`: a job is stuck in one datacenter,
//! the manager that leads it there is killed and then the gate that watches it, and it ends all the same:
//! in every datacenter, once, and in time.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod program;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECRET: &str = "a secret for tests on loopback";
/// All times of the documents are divided by this.
const SPEED: u64 = 40;
/// A job without progress for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(120 / SPEED);
/// A new leader declares nothing stuck for this long.
const RESUME_GRACE: Duration = Duration::from_millis(30_000 / SPEED);
/// What has not been acknowledged is repeated this often at the least.
const RETRY_MAX: Duration = Duration::from_millis(10_000 / SPEED);
/// A death among eight nodes that probe each other every 200 ms is known to all after this long: a second on
/// a machine that has nothing else to do.
const DETECTION_MAX: Duration = Duration::from_secs(6);
/// So long after the last death the job has ended everywhere: that death is noticed, a new leader takes its
/// time, its report reaches the new gate, and the decision reaches every datacenter.
const BOUND: Duration =
    DETECTION_MAX.saturating_add(RESUME_GRACE).saturating_add(RETRY_MAX.saturating_mul(2));
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program and what it has printed so far.
struct Process {
    child: Child,
    stdin: ChildStdin,
    address: String,
    datacenter: &'static str,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Process {
    fn start(role: &str, datacenter: &'static str, seed: Option<&str>) -> Process {
        let mut command = Command::new(program::jobs_example());
        command.args([role, datacenter, &SPEED.to_string(), "127.0.0.1:0"]).args(seed);
        command.env("SHOAL_SECRET", SECRET).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                sink.lock().unwrap().push((Instant::now(), line));
            }
        });
        let mut process = Process { child, stdin, address: String::new(), datacenter, lines };
        wait_until("a program has started", || process.has("started "));
        let first = process.lines.lock().unwrap()[0].1.clone();
        process.address = first.strip_prefix("started ").unwrap().to_owned();
        process
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// When it printed lines that begin so.
    fn times(&self, start: &str) -> Vec<Instant> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|(_, line)| line.starts_with(start)).map(|&(at, _)| at).collect()
    }

    fn has(&self, start: &str) -> bool {
        !self.times(start).is_empty()
    }

    /// SIGKILL: without a word.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start_cluster() -> (Vec<Process>, Vec<Process>) {
    let first = Process::start("gate", "east", None);
    let seed = first.address.clone();
    let gates = vec![first, Process::start("gate", "west", Some(&seed))];
    let datacenters = ["east", "east", "west", "west", "north", "north"];
    let managers: Vec<Process> =
        datacenters.map(|name| Process::start("manager", name, Some(&seed))).into();
    wait_until("everybody sees everybody", || {
        gates.iter().chain(&managers).all(|process| process.has("sees 8"))
    });
    (gates, managers)
}

#[test]
fn a_stuck_job_ends_once_although_its_manager_and_its_gate_are_killed() {
    let (mut gates, mut managers) = start_cluster();
    for manager in managers.iter_mut().filter(|manager| manager.datacenter == "west") {
        manager.say("hang nightly");
    }
    gates[0].say("submit nightly 600 east west north");
    let submitted_at = Instant::now();
    let leads = |manager: &Process| manager.has("leads nightly");
    wait_until("somebody leads the job in every datacenter", || {
        managers.iter().filter(|manager| leads(manager)).count() == 3
    });

    let leader = managers.iter().position(|m| leads(m) && m.datacenter == "west").unwrap();
    // What it published has to reach the other manager.
    std::thread::sleep(Duration::from_millis(500));
    managers[leader].kill();
    std::thread::sleep(Duration::from_millis(300));
    gates[0].kill();
    let killed_at = Instant::now();

    let endings = |managers: &[Process]| -> Vec<(Instant, &'static str)> {
        let times = managers.iter().map(|m| (m.times("timed out nightly"), m.datacenter));
        times.flat_map(|(times, name)| times.into_iter().map(move |at| (at, name))).collect()
    };
    wait_until("the job has ended everywhere", || endings(&managers).len() >= 3);
    let ended = endings(&managers);
    let (first, last) =
        (ended.iter().map(|e| e.0).min().unwrap(), ended.iter().map(|e| e.0).max().unwrap());
    println!("{:?} to {:?} after the last death", first - killed_at, last - killed_at);
    assert!(first - submitted_at >= STUCK_AFTER, "too early: {:?}", first - submitted_at);
    assert!(last - killed_at <= BOUND, "{:?} after the last death", last - killed_at);
    wait_until("nobody remembers the job", || {
        let others = managers.iter().filter(|manager| manager.has("timed out nightly"));
        others.chain(&gates[1..]).all(|process| process.has("remembers no job"))
    });

    let mut datacenters: Vec<&str> = endings(&managers).iter().map(|&(_, name)| name).collect();
    datacenters.sort_unstable();
    assert_eq!(datacenters, ["east", "north", "west"], "once in every datacenter");
    let decision = "global timeout nightly datacenters_timed_out";
    assert_eq!(gates[1].times("global timeout").len(), 1);
    assert!(gates[1].has(decision), "the gate has decided, not each manager alone");
    let heir = managers.iter().filter(|m| m.datacenter == "west" && m.has("took over nightly"));
    assert_eq!(heir.count(), 1);
}
