//! The control plane of real agents: every command answers, limits hold, snapshots survive `kill
//! -9`, and the key ring changes under a running cluster.
//!
//! `SHOAL_KILLS=100` kills that many agents while they write snapshots, instead of a few.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod agent;
mod filter;
mod program;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use agent::{Agent, agent, wait_full_mesh, wait_until};
use program::shoal;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A folder of a test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("shoal-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command that talks to an agent.
fn ask(control: &str, arguments: &[&str]) -> Output {
    Command::new(shoal()).args(arguments).args(["--control", control]).output().unwrap()
}

/// Runs one that succeeds, for machines.
fn json_of(control: &str, arguments: &[&str]) -> Value {
    let output = ask(control, &[arguments, &["--format", "json"]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs one that fails, and returns its exit code and line.
fn failure_of(control: &str, arguments: &[&str]) -> (i32, String) {
    let output = ask(control, arguments);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line:?}");
    (output.status.code().unwrap(), line)
}

fn states_of(control: &str) -> Vec<String> {
    let members = json_of(control, &["members"]);
    let states = members.as_array().unwrap().iter();
    states.map(|member| member["state"].as_str().unwrap().to_owned()).collect()
}

/// The life of a controlled pair, with these arguments for both.
fn converse(folder: &Folder, arguments: &[&str]) -> Vec<String> {
    let (one, two) = (folder.file("one"), folder.file("two"));
    let common = [&["--bind", "127.0.0.1:0"], arguments].concat();
    let first = Agent::start(&[&common[..], &["--control", &one, "--role", "gate"]].concat());
    let seed = first.address.clone();
    let second = Agent::start(&[&common[..], &["--control", &two, "--join", &seed]].concat());
    let agents = [first, second];
    wait_full_mesh(&agents);
    let peer = agents[1].address.clone();
    wait_until("a round trip is known", || json_of(&one, &["members"])[1]["rtt_ms"].is_number());

    let members = json_of(&one, &["members"]);
    assert_eq!(members.as_array().unwrap().len(), 2);
    let wanted = "address state role datacenter incarnation rtt_ms rtt_upper_ms quality";
    for field in wanted.split(' ') {
        assert!(!members[1][field].is_null(), "{field} in {members}");
    }
    assert_eq!((&members[0]["role"], &members[1]["state"]), (&json!("gate"), &json!("alive")));
    let gates = json_of(&two, &["members", "--role", "gate"]);
    assert_eq!(gates.as_array().unwrap().len(), 1);
    let rtt = json_of(&one, &["rtt", &peer]);
    assert_eq!((&rtt["from"], &rtt["to"]), (&json!(seed), &json!(peer)));
    assert!(rtt["ms"].as_f64().unwrap() <= rtt["upper_ms"].as_f64().unwrap());
    assert!(json_of(&two, &["rtt", &seed, &peer])["ms"].as_f64().unwrap() < 1_000.0);
    let places = json_of(&one, &["coordinates"]);
    assert_eq!(places[0]["vector_ms"].as_array().unwrap().len(), 8);
    let status = json_of(&one, &["status"]);
    assert_eq!(status["backend"].as_str().unwrap(), agents[0].backend);
    let samples = json_of(&one, &["metrics"]);
    let alive = |sample: &Value| sample["name"] == "shoal_peers_alive" && sample["value"] == 2.0;
    assert!(samples.as_array().unwrap().iter().any(alive));
    wait_until("the gate has a place for jobs", || {
        json_of(&one, &["route", "nightly"])["datacenter"] == "default"
    });
    let (code, line) = failure_of(&two, &["route", "nightly"]);
    assert!(code == 1 && line.contains("only a gate can do this"), "{line}");
    let (code, line) = failure_of(&one, &["rtt", "192.0.2.1:1"]);
    assert!(code == 1 && line.contains("no member"), "{line}");

    let left = json_of(&two, &["leave"]);
    assert_eq!(left, json!({"left": true}));
    let [first, second] = agents;
    let (status, lines, log) = second.join();
    assert!(status.success() && lines.last().unwrap()["event"] == "left");
    assert!(!Path::new(&two).exists(), "the socket goes with its agent");
    wait_until("the other has seen it leave", || states_of(&one) == ["alive", "left"]);
    let backend = first.backend.clone();
    vec![backend, log]
}

#[test]
fn every_command_answers() {
    let folder = Folder::new("control");
    converse(&folder, &[]);
    converse(&folder, &["--backend", "poll"]);
    let gone = folder.file("nobody");
    let (code, line) = failure_of(&gone, &["members"]);
    assert!(code == 1 && line.contains("is one running with --control"), "{line}");
    let unnamed = Command::new(shoal()).arg("leave").env_remove("SHOAL_CONTROL").output().unwrap();
    assert_eq!(unnamed.status.code(), Some(2));
}

#[test]
fn every_command_answers_where_io_uring_is_forbidden() {
    let folder = Folder::new("forbidden");
    let outcome =
        filter::without_call(libc::SYS_io_uring_setup, libc::EPERM, || converse(&folder, &[]));
    assert_eq!(outcome[0], "poll");
}

/// Sends bytes and returns what comes back until the end.
fn exchange(control: &str, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(control).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // The agent may have closed it half way, which is what some of this is about.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn clients_that_misbehave_are_told_and_let_go() {
    let folder = Folder::new("limits");
    let control = folder.file("control");
    let agent = Agent::start(&["--bind", "127.0.0.1:0", "--control", &control]);
    let error = |bytes: &[u8]| -> String {
        let answer: Value = serde_json::from_str(exchange(&control, bytes).trim_end()).unwrap();
        answer["error"].as_str().unwrap().to_owned()
    };
    assert!(error(b"hello\n").starts_with("no question"));
    assert!(error(b"{\"version\":9,\"request\":\"members\"}\n").contains("only 1"));
    assert!(error(b"{\"version\":1,\"request\":\"explode\"}\n").contains("unknown variant"));
    assert!(error(&[b'x'; 10_000]).contains("at most 4096 bytes"));
    assert_eq!(exchange(&control, b"{\"version\":1,\"request\":\"memb"), "", "half a question");
    let two = "{\"version\":1,\"request\":\"status\"}\n".repeat(2);
    assert_eq!(exchange(&control, two.as_bytes()).lines().count(), 2, "questions may queue");

    let open = || UnixStream::connect(&control).unwrap();
    let full: Vec<UnixStream> = (0..16).map(|_| open()).collect();
    let mut line = String::new();
    BufReader::new(open()).read_line(&mut line).unwrap();
    assert!(line.contains("16 clients are served already"), "{line}");
    // Idle clients do not keep the agent from ending either.
    let started = Instant::now();
    agent.signal(Signal::TERM);
    let (status, ..) = agent.join();
    assert!(status.success() && started.elapsed() < Duration::from_secs(2));
    drop(full);
}

#[test]
fn a_second_agent_does_not_take_the_socket() {
    let folder = Folder::new("taken");
    let control = folder.file("control");
    let first = Agent::start(&["--bind", "127.0.0.1:0", "--control", &control]);
    let second = agent(&["--bind", "127.0.0.1:0", "--control", &control]).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another agent listens"));
    // One that was killed leaves its socket behind, and the next one takes the place.
    first.signal(Signal::KILL);
    first.join();
    assert!(Path::new(&control).exists());
    let _next = Agent::start(&["--bind", "127.0.0.1:0", "--control", &control]);
    assert_eq!(states_of(&control), ["alive"]);
}

#[test]
fn a_restarted_agent_finds_its_cluster_without_a_seed() {
    let folder = Folder::new("restart");
    let snapshot = folder.file("snapshot");
    let kept = ["--snapshot", &snapshot, "--snapshot-interval-ms", "50"];
    let seed = Agent::start(&["--bind", "127.0.0.1:0"]);
    let join = ["--bind", "127.0.0.1:0", "--join", &seed.address];
    let agent = Agent::start(&[&join[..], &kept].concat());
    let agents = [seed, agent];
    wait_full_mesh(&agents);
    let known = agents[0].address.clone();
    let content = || fs::read_to_string(&snapshot).unwrap_or_default();
    wait_until("the snapshot names the seed", || content().contains(&known));
    let [seed, agent] = agents;
    let address = agent.address.clone();
    agent.signal(Signal::KILL);
    agent.join();
    let again = Agent::start(&[&["--bind", &address][..], &kept].concat());
    wait_until("it has joined again", || again.sees(&known, "alive"));
    again.signal(Signal::TERM);
    again.join();

    fs::write(&snapshot, "shoal snapshot 1, 3 bytes, crc32 00000000\nno!").unwrap();
    let clean = Agent::start(&[&["--bind", &address][..], &kept].concat());
    clean.signal(Signal::TERM);
    let (status, _, log) = clean.join();
    assert!(status.success() && log.contains("damaged"), "{log}");
    assert!(Path::new(&format!("{snapshot}.damaged")).exists());
    drop(seed);
}

#[test]
fn a_snapshot_survives_kill_9_at_any_moment() {
    let kills: u32 = std::env::var("SHOAL_KILLS").map_or(12, |text| text.parse().unwrap());
    let folder = Folder::new("kills");
    let snapshot = folder.file("snapshot");
    // What is being written, before it takes the place of the snapshot.
    let fresh = PathBuf::from(format!("{snapshot}.new"));
    let kept = ["--bind", "127.0.0.1:0", "--snapshot", &snapshot, "--snapshot-interval-ms", "10"];
    let mut hits = 0;
    for backend in ["uring", "poll"] {
        let arguments = [&kept[..], &["--backend", backend]].concat();
        for kill in 0..kills.div_ceil(2) {
            let agent = Agent::start(&arguments);
            // Once there is a snapshot to lose, the next write is met at any of its steps.
            let started = Instant::now();
            while !(fresh.exists() && Path::new(&snapshot).exists()) {
                assert!(started.elapsed() < Duration::from_secs(15), "no snapshot is written");
                std::hint::spin_loop();
            }
            let (begun, delay) = (Instant::now(), u64::from(kill) * 37 % 400);
            while begun.elapsed() < Duration::from_micros(delay) {
                std::hint::spin_loop();
            }
            agent.signal(Signal::KILL);
            let (_, _, log) = agent.join();
            assert!(!log.contains("damaged"), "after {kill} kills: {log}");
            assert!(!log.contains("could not be written"), "{log}");
            // Also read what is there now: the next agent may be killed before it says so.
            let bytes = fs::read(&snapshot).unwrap();
            let head = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let said = String::from_utf8_lossy(&bytes[..head]).into_owned();
            let size = bytes.len() - head - 1;
            assert!(said.contains(&format!(" {size} bytes")), "{said}: {size} bytes");
            hits += u32::from(fresh.exists());
            let _ = fs::remove_file(&fresh);
        }
    }
    println!("{hits} of {kills} kills interrupted a write");
    assert!(hits > 0, "no kill interrupted a write");
    let last = Agent::start(&kept);
    last.signal(Signal::TERM);
    let (status, _, log) = last.join();
    assert!(status.success() && !log.contains("damaged"), "{log}");
    assert!(fs::read_to_string(&snapshot).unwrap().starts_with("shoal snapshot 1, "));
}

#[test]
fn a_hangup_changes_the_key_ring_and_nothing_else() {
    let folder = Folder::new("hangup");
    let (key, config) = (folder.file("secret.key"), folder.file("shoal.toml"));
    let control = folder.file("control");
    let (old, new) = ("the old secret of this test", "the new secret of this test");
    fs::write(&key, format!("{old}\n")).unwrap();
    let settings = format!("bind = \"127.0.0.1:0\"\nsecret_file = {key:?}\n");
    fs::write(&config, &settings).unwrap();
    let mut command = agent(&["--config", &config, "--control", &control]);
    command.env_remove("SHOAL_SECRET");
    let node = Agent::spawn(command);
    fs::write(&key, format!("{new}\n{old}\n")).unwrap();
    fs::write(&config, format!("{settings}role = \"gate\"\njoin = [\"127.0.0.1:9\"]\n")).unwrap();
    node.signal(Signal::HUP);
    // With the new secret, a stranger is let in.
    let mut command = agent(&["--bind", "127.0.0.1:0", "--join", &node.address]);
    command.env("SHOAL_SECRET", new);
    let stranger = Agent::spawn(command);
    wait_until("they know each other", || stranger.sees(&node.address, "alive"));
    let again = json_of(&control, &["reload"]);
    let wanted = json!({
        "secrets": 2, "secrets_changed": false, "new_seeds": 0, "needs_restart": ["role"],
    });
    assert_eq!(again, wanted);
    fs::write(&key, "short\n").unwrap();
    let (code, line) = failure_of(&control, &["reload"]);
    assert!(code == 1 && line.contains("expected 16 to 256"), "{line}");
    assert_eq!(states_of(&control), ["alive", "alive"]);
}
