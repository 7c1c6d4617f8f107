//! Probe and ack exchanges per second on one core, next to a bare UDP echo in the same run.
//!
//! A load generator on the second processor keeps sealed probes in flight. On the first processor
//! runs, in turn, round by round: a loop of `recv_from` and `send_to` that returns the very same
//! bytes, and a real Shoal node that opens, parses, applies, answers and seals.
//!
//! So that the Python node's ground is in sight, an asyncio protocol that returns the very same
//! bytes is a third, where there is a Python.
//!
//! Three patterns: *bursts*, 32 probes at a time from each of 16 sockets, where a node may answer
//! several datagrams to one peer with one call; *singles*, one probe at a time from each of 256
//! sockets, where it may not; and *hyperscale*, bursts in the Python node's format with all of its
//! sections, sealed beforehand as the Python node does it. The generator is the slower side for
//! singles, so the figure to compare there is the processor time per exchange. Printed are medians,
//! and the ratio of processor time to the echo's.
//!
//! `cargo bench -p shoal-benches --bench exchange -- [ROUNDS] [SECONDS] [PATTERN] [--json]`
#![allow(missing_docs)]

mod hyperscale;
mod load;
mod native;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shoal_benches::figures::Results;
use shoal_benches::system::{Guarded, process_cpu_nanos, thread_cpu_nanos};
use shoal_core::io::{BackendChoice, Node, NodeError, NodeOptions, StartError};
use shoal_core::{Address, Config, Counter, Secret, WireFormat};

use load::Load;

/// How probes arrive: from how many sockets, how many at a time from each, and in which format.
#[derive(Clone, Copy)]
struct Pattern {
    name: &'static str,
    sockets: usize,
    window: usize,
    format: WireFormat,
}

const PATTERNS: [Pattern; 3] = [
    Pattern { name: "bursts", sockets: 16, window: 32, format: WireFormat::Native },
    Pattern { name: "singles", sockets: 256, window: 1, format: WireFormat::Native },
    Pattern { name: "hyperscale", sockets: 16, window: 32, format: WireFormat::Hyperscale },
];
const SERVER_CPU: usize = 0;
const CLIENT_CPU: usize = 1;
/// Which probes may be repeated, because the node has forgotten them: of a hundred, so many.
const REPEATED_PERCENT_MAX: u64 = 20;

fn secret() -> Secret {
    Secret::new([5; 32]).expect("32 bytes are a secret")
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn pin(cpu: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(core) = cores.get(cpu) {
        core_affinity::set_for_current(*core);
    }
}

/// One of the things that answer.
enum Server {
    Echo { stop: Arc<AtomicBool>, thread: std::thread::JoinHandle<()>, address: SocketAddr },
    Node(Box<Node>),
    Asyncio { process: Guarded, address: SocketAddr },
}

/// Returns every datagram, and tells its port on the first line.
const ASYNCIO_ECHO: &str = r#"
import asyncio, os, sys

class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)

async def main():
    os.sched_setaffinity(0, {int(sys.argv[1]) % os.cpu_count()})
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"#;

impl Server {
    fn echo() -> Server {
        let socket = UdpSocket::bind(any_port()).expect("loopback has a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        let wait = Some(Duration::from_millis(50));
        socket.set_read_timeout(wait).expect("a timeout is legal");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let builder = std::thread::Builder::new().name("server".to_owned());
        let thread = builder
            .spawn(move || {
                pin(SERVER_CPU);
                let mut buffer = [0; 2_048];
                while !stopped.load(Ordering::Relaxed) {
                    if let Ok((size, source)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(&buffer[..size], source);
                    }
                }
            })
            .expect("a thread can be started");
        Server::Echo { stop, thread, address }
    }

    fn asyncio() -> Result<Server, String> {
        let mut command = Command::new("python3");
        command.args(["-c", ASYNCIO_ECHO, &SERVER_CPU.to_string()]).stdout(Stdio::piped());
        let mut process =
            Guarded::spawn(&mut command).map_err(|error| format!("python3: {error}"))?;
        let mut line = String::new();
        let stdout = process.0.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        let port = read.ok().and_then(|_| line.trim().parse::<u16>().ok());
        let port = port.ok_or("python3 did not tell its port")?;
        Ok(Server::Asyncio { process, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    fn node(backend: BackendChoice, format: WireFormat) -> Result<Server, StartError> {
        let mut config = Config::new(Address::UNSPECIFIED, secret());
        config.sync_interval_ms = 0;
        config.wire_format = format;
        // A hundred thousand requests a second from sixteen sources are meant here.
        config.source_request_rate = 10_000_000;
        let mut options = NodeOptions::new(any_port(), config);
        (options.backend, options.cpu) = (backend, Some(SERVER_CPU));
        let node = Node::start(options)?;
        if format == WireFormat::Hyperscale {
            // Its replies carry the section of the host's state, too.
            let given: Result<(), NodeError> = node.set_state(Bytes::from_static(b"hello-state"));
            given.expect("a small state is taken");
        }
        Ok(Server::Node(Box::new(node)))
    }

    fn address(&self) -> SocketAddr {
        match self {
            Server::Echo { address, .. } | Server::Asyncio { address, .. } => *address,
            Server::Node(node) => node.local_address(),
        }
    }

    /// Processor time of what answers so far, in nanoseconds.
    fn cpu_nanos(&self) -> u64 {
        match self {
            Server::Echo { .. } => thread_cpu_nanos("server"),
            Server::Node(_) => thread_cpu_nanos("shoal-node"),
            Server::Asyncio { process, .. } => process_cpu_nanos(process.0.id()),
        }
    }

    fn stop(self) {
        match self {
            Server::Echo { stop, thread, .. } => {
                stop.store(true, Ordering::Relaxed);
                thread.join().expect("the echo does not panic");
            }
            Server::Node(node) => {
                check(&node);
                node.stop();
            }
            Server::Asyncio { process, .. } => drop(process),
        }
    }
}

/// A figure is worthless when the node did less than answer what it was asked.
fn check(node: &Node) {
    let stats = node.stats();
    for counter in [
        Counter::DroppedForged,
        Counter::DroppedMisdirected,
        Counter::DroppedMalformed,
        Counter::RequestsRefused,
        Counter::RequestsLimited,
        Counter::EntriesRefused,
        Counter::CoordinatesRefused,
    ] {
        assert_eq!(stats.value(counter), 0, "{counter:?} makes the figure worthless");
    }
    let repeated = stats.value(Counter::RequestsRepeated) * 100;
    let received = stats.value(Counter::DatagramsReceived);
    assert!(repeated <= REPEATED_PERCENT_MAX * received, "{repeated} % of {received} repeated");
}

#[derive(Default)]
struct Samples {
    rates: Vec<f64>,
    cpu_nanos: Vec<f64>,
}

fn measure(server: Server, pattern: Pattern, seconds: f64, seed: u64, samples: &mut Samples) {
    let target = server.address();
    let answers = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (done, finished) = mpsc::channel::<()>();
    let (counted, stopped) = (Arc::clone(&answers), Arc::clone(&stop));
    let load = Load::new(target, pattern, seed);
    let client = std::thread::spawn(move || {
        let _done = done;
        pin(CLIENT_CPU);
        load.run(&counted, &stopped);
    });
    let _ = finished.recv_timeout(Duration::from_millis(150));
    let (first, cpu, start) = (answers.load(Ordering::Relaxed), server.cpu_nanos(), Instant::now());
    let _ = finished.recv_timeout(Duration::from_secs_f64(seconds));
    let exchanges = (answers.load(Ordering::Relaxed) - first) as f64;
    samples.rates.push(exchanges / start.elapsed().as_secs_f64());
    samples.cpu_nanos.push((server.cpu_nanos() - cpu) as f64 / exchanges.max(1.0));
    stop.store(true, Ordering::Relaxed);
    client.join().expect("the generator does not panic");
    server.stop();
}

/// What answers, by the name that figures carry and the name that people read.
const SERVERS: [(&str, &str); 4] = [
    ("echo", "std echo (the limit)"),
    ("uring", "shoal node, uring"),
    ("poll", "shoal node, poll"),
    ("asyncio", "asyncio echo"),
];

fn start(server: &str, format: WireFormat) -> Result<Server, String> {
    match server {
        "echo" => Ok(Server::echo()),
        "asyncio" => Server::asyncio(),
        "uring" => Server::node(BackendChoice::Uring, format).map_err(|error| error.to_string()),
        _ => Server::node(BackendChoice::Poll, format).map_err(|error| error.to_string()),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let mut numbers = words.iter().filter_map(|word| word.parse::<f64>().ok());
    let rounds = numbers.next().unwrap_or(7.0) as usize;
    let seconds = numbers.next().unwrap_or(0.6);
    let is_named = |pattern: &Pattern| words.contains(&pattern.name);
    let is_any_named = PATTERNS.iter().any(is_named);
    let mut results = Results::default();
    for pattern in PATTERNS.into_iter().filter(|pattern| !is_any_named || is_named(pattern)) {
        compare(pattern, rounds, seconds, &mut results);
    }
    if arguments.iter().any(|argument| argument == "--json") {
        results.print();
    } else {
        print_table(&results);
    }
}

fn compare(pattern: Pattern, rounds: usize, seconds: f64, results: &mut Results) {
    let mut samples: [Samples; SERVERS.len()] = Default::default();
    for round in 0..rounds {
        for (index, (server, title)) in SERVERS.into_iter().enumerate() {
            let seed = (10 * round + index) as u64 + 1;
            match start(server, pattern.format) {
                Ok(server) => measure(server, pattern, seconds, seed, &mut samples[index]),
                Err(why) if round == 0 => results.skip(format!("{title}, {}", pattern.name), why),
                Err(_) => {}
            }
        }
    }
    for ((server, _), samples) in SERVERS.into_iter().zip(&samples) {
        let path = format!("exchange/{}/{server}", pattern.name);
        results.add_samples(format!("{path}/rate"), &samples.rates, "1/s");
        results.add_samples(format!("{path}/cpu"), &samples.cpu_nanos, "ns");
    }
}

fn print_table(results: &Results) {
    for Pattern { name: pattern, sockets, window, .. } in PATTERNS {
        if results.get(&format!("exchange/{pattern}/echo/rate")).is_none() {
            continue;
        }
        println!("\n{pattern}: {sockets} sockets x {window} in flight");
        println!(
            "{:<24}{:>14}{:>18}{:>16}{:>16}",
            "server", "exchanges/s", "CPU ns/exchange", "1e9 / CPU ns", "echo CPU / its"
        );
        let figure =
            |server: &str, what| results.value(&format!("exchange/{pattern}/{server}/{what}"));
        let limit = figure("echo", "cpu").unwrap_or(f64::NAN);
        for (server, title) in SERVERS {
            if let (Some(rate), Some(cpu)) = (figure(server, "rate"), figure(server, "cpu")) {
                let (per_core, share) = (1e9 / cpu, limit / cpu);
                println!("{title:<24}{rate:>14.0}{cpu:>18.0}{per_core:>16.0}{share:>16.2}");
            }
        }
    }
    for skipped in &results.skipped {
        println!("{} skipped: {}", skipped.what, skipped.why);
    }
}
