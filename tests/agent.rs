//! Agents as processes, for tests that start them and read what they print.

// Each test uses its own part of this.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::shoal;

const SECRET: &str = "a secret for tests on loopback";
/// How long what a test waits for may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(15);

pub fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(shoal());
    command.arg("agent").args(arguments).env("SHOAL_SECRET", SECRET).env_remove("SHOAL_LOG");
    command
}

/// A running agent and what it has printed so far.
pub struct Agent {
    pub child: Child,
    /// The address it is known by.
    pub address: String,
    /// The backend that it chose.
    pub backend: String,
    pub lines: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts an agent and waits until it says that it has.
    pub fn start(arguments: &[&str]) -> Agent {
        Agent::spawn(agent(arguments))
    }

    /// The same with a command line of the test's own making.
    pub fn spawn(mut command: Command) -> Agent {
        command.args(["--format", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in stdout.lines() {
                let line = line.unwrap();
                let value =
                    serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                sink.lock().unwrap().push(value);
            }
        });
        let mut agent = Agent {
            child,
            address: String::new(),
            backend: String::new(),
            lines,
            reader: Some(reader),
        };
        wait_until("an agent has started", || !agent.lines.lock().unwrap().is_empty());
        let started = agent.lines.lock().unwrap()[0].clone();
        assert_eq!(started["event"], "started");
        agent.address = started["address"].as_str().unwrap().to_owned();
        agent.backend = started["backend"].as_str().unwrap().to_owned();
        agent
    }

    /// The states that it printed for a member, in order, from a line number on.
    pub fn states(&self, address: &str, from: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let about = lines[from.min(lines.len())..]
            .iter()
            .filter(|line| line["event"] == "member" && line["address"] == address);
        about.map(|line| line["state"].as_str().unwrap().to_owned()).collect()
    }

    /// Whether the last thing it printed of a member is this state.
    pub fn sees(&self, address: &str, state: &str) -> bool {
        self.states(address, 0).last().is_some_and(|last| last == state)
    }

    pub fn line_count(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end and returns how it ended and what it logged.
    pub fn join(mut self) -> (ExitStatus, Vec<Value>, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the agent does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        self.reader.take().unwrap().join().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        (status, lines, log)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until every agent but the member itself last printed this state for it.
pub fn wait_seen(agents: &[Agent], address: &str, state: &str) {
    wait_until(&format!("{address} is {state} everywhere"), || {
        let others = agents.iter().filter(|agent| agent.address != address);
        others.into_iter().all(|agent| agent.sees(address, state))
    });
}

pub fn wait_full_mesh(agents: &[Agent]) {
    for agent in agents {
        wait_seen(agents, &agent.address, "alive");
    }
}
