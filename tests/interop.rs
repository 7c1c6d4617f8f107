//! Shoal nodes among unchanged Python nodes of hyperscale, as processes on loopback: two among three, and
//! one that takes the place of a Python node and gives it back.
//!
//! Runs when `HYPERSCALE_PATH` names a checkout of hyperscale, with `SHOAL_PYTHON` (otherwise
//! `.venv/bin/python`) an interpreter that has its requirements; skipped with one line otherwise.
//! `SHOAL_INTEROP_SECONDS` says how long the cluster is watched before nodes are killed, 20 s
//! unless told.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shoal_core::io::{Node, NodeOptions};
use shoal_core::{Address, Config, Event, MemberState, Secret, WireFormat};

const SECRET: &[u8] = b"interoperation-secret-0123456789";

/// What a Python node thinks of each address: its state and incarnation.
type Opinions = HashMap<String, (String, i64)>;

/// A Python node, killed when dropped.
struct Python {
    child: Child,
    address: Address,
    opinions: Arc<Mutex<Opinions>>,
}

impl Python {
    fn start(checkout: &Path, seeds: &[u16]) -> Python {
        Python::start_at(free_port(), checkout, seeds)
    }

    fn start_at(port: u16, checkout: &Path, seeds: &[u16]) -> Python {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let in_venv = directory.join("../.venv/bin/python");
        let python = std::env::var_os("SHOAL_PYTHON").map_or(in_venv, PathBuf::from);
        let mut command = Command::new(python);
        command.arg(directory.join("interop/node.py")).arg(port.to_string());
        command.args(seeds.iter().map(u16::to_string)).env("PYTHONPATH", checkout);
        command.current_dir(std::env::temp_dir());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("SHOAL_PYTHON names an interpreter");
        let opinions = Arc::new(Mutex::new(Opinions::new()));
        let (told, output) = (Arc::clone(&opinions), child.stdout.take().expect("a pipe"));
        let mut lines = BufReader::new(output).lines();
        let first = lines.next().expect("the checkout's requirements are installed");
        first.expect("output is text");
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(view) = serde_json::from_str(&line) {
                    *told.lock().unwrap() = view;
                }
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port)).into();
        Python { child, address, opinions }
    }

    fn opinion(&self, of: Address) -> Option<String> {
        let opinions = self.opinions.lock().unwrap();
        opinions.get(&of.to_string()).map(|(state, _)| state.clone())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free for datagrams, and its neighbour a thousand above for the node's stream
/// socket.
fn free_port() -> u16 {
    loop {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let socket = UdpSocket::bind(any).expect("loopback has a free port");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        let beside = SocketAddr::from(([127, 0, 0, 1], port.wrapping_add(1_000)));
        if port < 60_000 && std::net::TcpListener::bind(beside).is_ok() {
            return port;
        }
    }
}

fn shoal(join: &[Address]) -> Node {
    shoal_at(0, join)
}

fn shoal_at(port: u16, join: &[Address]) -> Node {
    let mut config = Config::new(Address::UNSPECIFIED, Secret::new(SECRET).expect("long enough"));
    config.wire_format = WireFormat::Hyperscale;
    let mut options = NodeOptions::new(([127, 0, 0, 1], port).into(), config);
    options.join = join.to_vec();
    Node::start(options).expect("a node starts on loopback")
}

fn state(node: &Node, of: Address) -> Option<MemberState> {
    node.member(of).map(|member| member.state)
}

fn wait(what: &str, seconds: u64, condition: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    start.elapsed()
}

/// How often these nodes have declared Shoal nodes dead since the last call, and Python nodes.
fn deaths(nodes: [&Node; 2], natives: &[Address]) -> (usize, usize) {
    let mut counts = (0, 0);
    for event in nodes.into_iter().flat_map(|node| std::iter::from_fn(|| node.poll_event())) {
        match event {
            Event::Member(member) if member.state != MemberState::Dead => {}
            Event::Member(member) if natives.contains(&member.address) => counts.0 += 1,
            Event::Member(member) => {
                println!("{} was given up", member.address);
                counts.1 += 1;
            }
            _ => {}
        }
    }
    counts
}

/// The checkout of hyperscale to test with.
fn checkout() -> Option<PathBuf> {
    let named = std::env::var_os("HYPERSCALE_PATH").map(PathBuf::from);
    if named.is_none() {
        println!("skipped: HYPERSCALE_PATH names no checkout of hyperscale");
    }
    named
}

/// Whether bytes that only the native format carries come from one node to the other.
fn speaks_native(from: &Node, to: &Node) -> bool {
    from.broadcast(Bytes::from_static(b"native only")).expect("a node takes a broadcast");
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let event = to.wait_event(shoal_core::Duration::from_millis(100));
        if matches!(event, Some(Event::Broadcast { source, .. }) if source == from.address()) {
            return true;
        }
    }
    false
}

#[test]
fn an_address_goes_from_python_to_shoal_and_back() {
    let Some(checkout) = checkout() else { return };
    let first = Python::start(&checkout, &[]);
    let near = shoal(&[first.address]);
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port)).into();
    let seeds = [first.address, near.address()];
    for round in 0..2 {
        let python = Python::start_at(port, &checkout, &[first.address.port()]);
        // It tells nobody but its seed of itself, and the seed keeps it to itself.
        near.join(&[address]).expect("a node takes a seed");
        wait("a Python node is alive at the address", 30, || {
            state(&near, address) == Some(MemberState::Alive)
        });
        wait("it takes the Shoal node for OK", 20, || {
            python.opinion(near.address()).as_deref() == Some("OK")
        });
        if round == 1 {
            // Long enough to give up somebody who does not answer.
            let _ = deaths([&near, &near], &[address]);
            std::thread::sleep(Duration::from_secs(10));
            assert_eq!(deaths([&near, &near], &[address]), (0, 0), "it is spoken to in its format");
            assert_eq!(state(&near, address), Some(MemberState::Alive));
            break;
        }
        drop(python);
        let shoal = shoal_at(port, &seeds);
        wait("a Shoal node is alive in its place", 30, || {
            state(&near, address) == Some(MemberState::Alive)
                && state(&shoal, near.address()) == Some(MemberState::Alive)
        });
        wait("both speak the native format", 30, || {
            speaks_native(&near, &shoal) && speaks_native(&shoal, &near)
        });
        assert_eq!(first.opinion(near.address()).as_deref(), Some("OK"));
        wait("the other Python node takes it for OK", 20, || {
            first.opinion(address).as_deref() == Some("OK")
        });
        drop(shoal);
    }
    assert_eq!(state(&near, first.address), Some(MemberState::Alive));
}

#[test]
fn shoal_nodes_live_among_unchanged_python_nodes() {
    let Some(checkout) = checkout() else { return };
    let watched = std::env::var("SHOAL_INTEROP_SECONDS").ok();
    let watched = watched.map_or(20, |text| text.parse().expect("a number of seconds"));

    let first = Python::start(&checkout, &[]);
    let seed = first.address.port();
    let second = Python::start(&checkout, &[seed]);
    let third = Python::start(&checkout, &[seed]);
    let python = [first.address, second.address, third.address];
    let near = shoal(&python);
    let far = shoal(&[python.as_slice(), &[near.address()]].concat());
    let natives = [near.address(), far.address()];

    let sees_all = |node: &Node| {
        let everybody = python.iter().chain(&natives);
        everybody.into_iter().all(|&address| state(node, address) == Some(MemberState::Alive))
    };
    // The present Python node answers nobody while it waits for another, so it is doubted now and
    // then.
    let has_all = |node: &Node| {
        let everybody = python.iter().chain(&natives);
        everybody.into_iter().all(|&a| state(node, a).is_some_and(MemberState::is_active))
    };
    wait("both Shoal nodes see all five alive", 20, || sees_all(&near) && sees_all(&far));
    let is_ok = |observer: &Python| {
        natives.iter().all(|&native| observer.opinion(native).as_deref() == Some("OK"))
    };
    wait("all Python nodes take both for OK", 20, || {
        [&first, &second, &third].into_iter().all(is_ok)
    });
    wait("both have measured the way to all Python nodes", 20, || {
        let is_measured = |node: &Node, address| {
            node.member(address)
                .is_some_and(|member| member.rtt.is_some() && member.coordinate.is_some())
        };
        python.iter().all(|&address| is_measured(&near, address) && is_measured(&far, address))
    });

    let end = Instant::now() + Duration::from_secs(watched);
    let mut given_up = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        let (of_natives, of_python) = deaths([&near, &far], &natives);
        given_up += of_python;
        assert!(
            [&first, &second, &third].into_iter().all(is_ok),
            "a Python node doubts a Shoal node"
        );
        assert_eq!(of_natives, 0, "a Shoal node was declared dead by mistake");
    }
    println!("watched for {watched} s; Python nodes were given up {given_up} times");
    wait("all five take part", 60, || has_all(&near) && has_all(&far));

    let victim = third.address;
    drop(third);
    wait("a killed Python node is dead to both", 60, || {
        [&near, &far].iter().all(|node| state(node, victim) == Some(MemberState::Dead))
    });
    drop(far);
    wait("a killed Shoal node is dead to the other", 30, || {
        state(&near, natives[1]) == Some(MemberState::Dead)
    });
    drop(first);
    wait("a killed seed is dead, too", 60, || state(&near, python[0]) == Some(MemberState::Dead));
    assert!(state(&near, second.address).is_some_and(MemberState::is_active));
}
