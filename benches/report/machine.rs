//! What the figures were taken on: processor, system, tools, load.

use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine and the tools, in words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Name and value, in the order to show.
    pub facts: Vec<(String, String)>,
}

impl Machine {
    /// Looks around.
    pub fn read() -> Machine {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = meminfo.split_whitespace().nth(1).and_then(|text| text.parse::<f64>().ok());
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let commit = first_line("git", &["describe", "--always", "--dirty"]);
        let facts = [
            ("date", first_line("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
            ("commit", commit),
            ("processor", format!("{model}, {cores} of it")),
            ("memory", memory.map_or_else(String::new, |kb| format!("{:.0} GB", kb / 1e6))),
            ("kernel", kernel.trim().to_owned()),
            ("rustc", first_line("rustc", &["--version"])),
            ("Python", first_line("python3", &["--version"])),
            ("Serf", first_line("serf", &["version"])),
            ("load before", load()),
        ];
        let facts = facts.map(|(name, value)| (name.to_owned(), value));
        Machine { facts: facts.into_iter().filter(|(_, value)| !value.is_empty()).collect() }
    }

    /// Notes how busy the machine was at the end: other work makes figures worse.
    pub fn note_load_after(&mut self) {
        self.facts.push(("load after".to_owned(), load()));
    }
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(1).collect()
}

/// What a command says first; nothing when it is not there.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(crate::root()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
