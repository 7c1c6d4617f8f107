//! The commands of the documents, run as they stand: eight agents in three datacenters, driven only
//! by `shoal` commands (docs/operations.md), and simulations (docs/simulation.md).
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod program;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::shoal;
use rustix::process::{Pid, Signal, kill_process_group};

/// How long the whole walk may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// The commands of a document, in order. Those that take minutes stand in blocks of `console`.
fn commands(document: &str) -> String {
    let mut script = String::new();
    let mut is_command = false;
    for line in document.lines() {
        match line {
            "```sh" => is_command = true,
            "```" => is_command = false,
            _ if is_command => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

/// Runs a document's commands in a folder of their own. Panics with what they said when one fails.
/// Returns what the files with these names held in the end.
fn walk(name: &str, document: &str, kept: &[&str]) -> String {
    let script = commands(document);
    assert!(!script.is_empty(), "the document has lost its commands");
    let folder = std::env::temp_dir().join(format!("shoal-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let programs = shoal().parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = fs::File::create(folder.join("output")).unwrap();
    let mut child = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .current_dir(&folder)
        .env("PATH", path)
        .env_remove("SHOAL_SECRET")
        .env_remove("SHOAL_CONTROL")
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .process_group(0)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    // Agents of a walk that broke off are still there; after a whole one there is no such group.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _ = child.wait();
    let said = fs::read_to_string(folder.join("output")).unwrap();
    let kept = kept.iter().map(|name| fs::read_to_string(folder.join(name)).unwrap_or_default());
    let kept = kept.collect::<Vec<_>>().join("\n");
    fs::remove_dir_all(&folder).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}: {said}\n{kept}");
    kept
}

#[test]
fn the_walk_through_works_as_it_stands() {
    let document = include_str!("../docs/operations.md");
    let logs = walk("operations", document, &["east-1.log", "west-1.log"]);
    assert!(logs.contains("started ") && !logs.contains("dead "), "a member was lost: {logs}");
}

#[test]
fn the_simulations_work_as_they_stand() {
    walk("simulation", include_str!("../docs/simulation.md"), &[]);
}
