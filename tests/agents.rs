//! Real `shoal agent` processes: they form a cluster, notice a kill, take a restarted node back,
//! tell a goodbye from a failure, and refuse a bad configuration in one line.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod agent;
mod filter;
mod program;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use agent::{Agent, agent, wait_full_mesh, wait_seen, wait_until};
use filter::without_call;
use program::shoal;
use rustix::process::Signal;
use serde_json::Value;

const CLUSTER_SIZE: usize = 5;

fn start_cluster(arguments: &[&str]) -> Vec<Agent> {
    let common = [&["--bind", "127.0.0.1:0"], arguments].concat();
    let gate = [&common[..], &["--role", "gate", "--datacenter", "east"]].concat();
    let mut agents = vec![Agent::start(&gate)];
    let seed = agents[0].address.clone();
    let member = [&common[..], &["--join", &seed]].concat();
    agents.extend((1..CLUSTER_SIZE).map(|_| Agent::start(&member)));
    agents
}

/// The life of a cluster, with these arguments for every agent. Returns the backend and one agent's
/// log.
fn live(arguments: &[&str]) -> (String, String) {
    shoal();
    let started = Instant::now();
    let mut agents = start_cluster(arguments);
    wait_full_mesh(&agents);
    let mesh = started.elapsed();
    assert!(mesh < Duration::from_secs(3), "the full mesh took {mesh:?}");

    let gate = agents[0].address.clone();
    let lines = agents[1].lines.lock().unwrap().clone();
    let about = lines.iter().find(|line| line["address"] == gate.as_str()).unwrap();
    assert_eq!((&about["role"], &about["datacenter"]), (&"gate".into(), &"east".into()));

    let victim = agents.remove(2);
    let address = victim.address.clone();
    victim.signal(Signal::KILL);
    let killed = Instant::now();
    victim.join();
    wait_seen(&agents, &address, "dead");
    let dead = killed.elapsed();

    let restart = [&["--bind", &address, "--join", &gate], arguments].concat();
    agents.push(Agent::start(&restart));
    wait_full_mesh(&agents);

    let leaver = agents.remove(1);
    let before: Vec<usize> = agents.iter().map(Agent::line_count).collect();
    let address = leaver.address.clone();
    leaver.signal(Signal::TERM);
    let (status, lines, _) = leaver.join();
    assert!(status.success(), "{status}");
    assert_eq!(lines.last().unwrap()["event"], "left");
    wait_seen(&agents, &address, "left");
    // Longer than a failure takes to be declared.
    std::thread::sleep(dead.max(Duration::from_secs(2)));
    for (agent, from) in agents.iter().zip(before) {
        assert_eq!(agent.states(&address, from), ["left"]);
    }
    let last = agents.pop().unwrap();
    last.signal(Signal::INT);
    let backend = last.backend.clone();
    let (status, _, log) = last.join();
    assert!(status.success(), "{status}");
    println!("{backend}: mesh {mesh:?}, dead everywhere {dead:?}");
    (backend, log)
}

#[test]
fn a_cluster_lives_and_says_so() {
    let (backend, log) = live(&[]);
    match backend.as_str() {
        "uring" => assert_eq!(log, ""),
        _ => assert!(log.contains("io_uring"), "the fall back is not explained: {log:?}"),
    }
}

#[test]
fn a_cluster_lives_on_the_poll_backend() {
    let (backend, log) = live(&["--backend", "poll"]);
    assert_eq!((backend.as_str(), log.as_str()), ("poll", ""));
}

#[test]
fn a_cluster_lives_where_io_uring_is_forbidden() {
    let (backend, log) = without_call(libc::SYS_io_uring_setup, libc::EPERM, || live(&[]));
    assert_eq!(backend, "poll");
    assert!(log.contains("io_uring") && log.lines().count() == 1, "{log:?}");
}

/// Runs an agent that is expected to refuse its configuration.
fn refused(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{text}");
    assert!(stdout.is_empty(), "nothing was started, so nothing is said");
    assert_eq!(text.lines().count(), 1, "{text:?} is one line");
    text
}

#[test]
fn a_bad_configuration_is_one_line_that_says_what_to_do() {
    let holder = Agent::start(&["--bind", "127.0.0.1:0"]);
    for (arguments, wanted) in [
        (&["--bind", &holder.address][..], "it is in use"),
        (&["--bind", "192.0.2.1:7462"], "this machine has no such address"),
        (&["--bind", "localhost"], "--bind"),
        (&["--bind", "0.0.0.0:0"], "--advertise"),
        (&["--role", "client"], "expected gate, manager or worker"),
        (&["--backend", "epoll"], "expected auto, uring or poll"),
        (&["--datacenter", "two words"], "invalid datacenter name"),
        (&["--codec", "python"], "expected native or hyperscale"),
        (&["--join", "nowhere"], "--join nowhere"),
        (&["--secret-file", "/nowhere/secret"], "/nowhere/secret"),
        (&["--config", "/nowhere/shoal.toml"], "/nowhere/shoal.toml"),
        (&["--advertize", "127.0.0.1:1"], "'--advertise'"),
    ] {
        let line = refused(&mut agent(arguments));
        assert!(line.contains(wanted), "{arguments:?}: {line}");
    }
    let line = refused(agent(&[]).env("SHOAL_SECRET", "short"));
    assert!(line.contains("expected 16 to 256") && line.contains("shoal keygen"), "{line}");
    let line = refused(agent(&[]).env_remove("SHOAL_SECRET"));
    assert!(line.contains("--secret-file"), "{line}");
}

#[test]
fn a_file_of_settings_is_read_and_a_wrong_one_refused() {
    let folder = std::env::temp_dir().join(format!("shoal-agents-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("shoal.toml");
    let file = path.to_str().unwrap();
    let secret = folder.join("secret.key");
    let keygen = Command::new(shoal()).args(["keygen", "--output"]).arg(&secret).status().unwrap();
    assert!(keygen.success());
    let text = format!("bind = \"127.0.0.1:0\"\nbackend = \"poll\"\nsecret_file = {secret:?}\n");
    std::fs::write(&path, &text).unwrap();
    let running = Agent::start(&["--config", file]);
    assert_eq!(running.backend, "poll");
    std::fs::write(&path, format!("{text}[engine]\nprobe_interval = 100\n")).unwrap();
    let line = refused(&mut agent(&["--config", file]));
    assert!(line.contains("probe_interval_ms"), "{line}");
    std::fs::write(&path, format!("{text}[engine]\nprobe_interval_ms = 1\n")).unwrap();
    let line = refused(&mut agent(&["--config", file]));
    assert!(line.contains("probe_interval_ms is 1, expected 10 to 60000"), "{line}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_agent_whose_reader_went_away_leaves_in_peace() {
    let watcher = Agent::start(&["--bind", "127.0.0.1:0"]);
    let mut command = agent(&["--bind", "127.0.0.1:0", "--join", &watcher.address]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("started"), "{first}");
    // The pipe is closed here; a newcomer makes an event that nobody reads.
    let _newcomer = Agent::start(&["--bind", "127.0.0.1:0", "--join", &watcher.address]);
    let mut status = None;
    wait_until("the agent has ended", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
    let gone = |line: &Value| line["state"] == "left";
    wait_until("it is seen to leave", || watcher.lines.lock().unwrap().iter().any(gone));
}
