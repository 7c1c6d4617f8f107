//! Eight agents through what happens to real machines: one is stopped and goes on, and a partition cuts
//! them into halves and heals.
//!
//! The partition is made by packet filters in a network namespace of the test's own, so that nothing
//! outside is touched and nothing is left behind.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod agent;
mod program;

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::{Agent, agent, wait_full_mesh, wait_seen, wait_until};
use program::shoal;
use rustix::process::Signal;

const AGENT_COUNT: usize = 8;
/// How long a stopped process sleeps.
const STOP: Duration = Duration::from_secs(5);
/// How long the halves do not hear each other.
const PARTITION: Duration = Duration::from_secs(30);

fn assert_never_dead(agents: &[Agent], subjects: &[String]) {
    for agent in agents {
        for subject in subjects {
            let states = agent.states(subject, 0);
            assert!(
                !states.iter().any(|state| state == "dead"),
                "{} declared {subject} dead, which ran all the time: {states:?}",
                agent.address
            );
        }
    }
}

#[test]
fn a_process_that_was_stopped_accuses_nobody_and_is_taken_back() {
    shoal();
    let mut agents = vec![Agent::start(&["--bind", "127.0.0.1:0"])];
    let seed = agents[0].address.clone();
    let member = ["--bind", "127.0.0.1:0", "--join", &seed];
    agents.extend((1..AGENT_COUNT).map(|_| Agent::start(&member)));
    wait_full_mesh(&agents);

    agents[3].signal(Signal::STOP);
    std::thread::sleep(STOP);
    let stopped = agents[3].address.clone();
    wait_seen(&agents, &stopped, "dead");
    let resumed = Instant::now();
    agents[3].signal(Signal::CONT);
    wait_seen(&agents, &stopped, "alive");
    let back = resumed.elapsed();
    // What it was waiting for when it was stopped would have expired by now.
    std::thread::sleep(Duration::from_secs(4));
    let others: Vec<String> =
        agents.iter().map(|agent| agent.address.clone()).filter(|one| *one != stopped).collect();
    assert_never_dead(&agents, &others);
    wait_full_mesh(&agents);
    println!("alive everywhere {back:?} after it went on");
}

/// A network namespace that lives as long as this value.
struct Namespace {
    holder: Child,
}

impl Namespace {
    /// `None` where the system refuses to make one.
    fn new() -> Option<Namespace> {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c"]);
        // Ends with its standard input, whatever becomes of the test.
        command.arg("ip link set lo up && echo up && exec cat");
        let mut holder = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("it is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).ok()?;
        let namespace = Namespace { holder };
        (line == "up\n").then_some(namespace)
    }

    /// A command that runs inside.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--user", "--net", "--preserve-credentials", "--target"]);
        command.arg(self.holder.id().to_string()).arg("--");
        command
    }

    fn agent(&self, number: usize) -> Agent {
        let bind = format!("127.0.0.{number}:7462");
        let inner = agent(&["--bind", &bind, "--join", "127.0.0.1:7462"]);
        let mut command = self.enter();
        command.arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Agent::spawn(command)
    }

    /// Replaces all filters by these rules. False where the system has no packet filter.
    fn filter(&self, rules: &str) -> bool {
        let mut command = self.enter();
        command.arg("iptables-restore").stdin(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut restore) = command.spawn() else { return false };
        let table = format!("*filter\n:INPUT ACCEPT\n{rules}COMMIT\n");
        let written = restore.stdin.take().expect("it is piped").write_all(table.as_bytes());
        restore.wait().is_ok_and(|status| status.success()) && written.is_ok()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_partition_that_heals_becomes_one_cluster_again_by_itself() {
    shoal();
    let namespace = Namespace::new();
    let Some(namespace) = namespace.filter(|namespace| namespace.filter("")) else {
        println!("skipped: no network namespace with iptables to be had here");
        return;
    };
    let agents: Vec<Agent> = (1..=AGENT_COUNT).map(|number| namespace.agent(number)).collect();
    wait_full_mesh(&agents);
    let (left, right) = agents.split_at(AGENT_COUNT / 2);

    let mut rules = String::new();
    for one in 1..=left.len() {
        for other in left.len() + 1..=AGENT_COUNT {
            for (source, target) in [(one, other), (other, one)] {
                rules += &format!("-A INPUT -s 127.0.0.{source} -d 127.0.0.{target} -j DROP\n");
            }
        }
    }
    assert!(namespace.filter(&rules), "the partition was not made");
    let cut = Instant::now();
    for (observers, subjects) in [(left, right), (right, left)] {
        for subject in subjects {
            wait_until("each half has given the other up", || {
                observers.iter().all(|observer| observer.sees(&subject.address, "dead"))
            });
        }
    }
    let split = cut.elapsed();
    std::thread::sleep(PARTITION.saturating_sub(split));
    for half in [left, right] {
        let addresses: Vec<String> = half.iter().map(|agent| agent.address.clone()).collect();
        assert_never_dead(half, &addresses);
    }

    assert!(namespace.filter(""), "the partition was not healed");
    let healed = Instant::now();
    wait_full_mesh(&agents);
    let merged = healed.elapsed();
    println!("halves apart after {split:?}, one cluster again {merged:?} after the healing");
}
