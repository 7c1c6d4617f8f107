//! Probe and ack exchanges per second on one core, next to a bare UDP echo in the same run.
//!
//! A load generator on the second processor keeps sealed probes in flight. On the first processor
//! runs, in turn, round by round: a loop of `recv_from` and `send_to` that returns the very same
//! bytes, and a real Shoal node that opens, parses, applies, answers and seals.
//!
//! So that the Python node's ground is in sight, an asyncio protocol that returns the very same
//! bytes is a third, where there is a Python.
//!
//! Two patterns: *bursts*, 32 probes at a time from each of 16 sockets, where a node may answer
//! several datagrams to one peer with one call; and *singles*, one probe at a time from each of 256
//! sockets, where it may not. The generator is the slower side for singles, so the figure to
//! compare there is the processor time per exchange. Printed are medians, and the ratio of
//! processor time to the echo's.
//!
//! `cargo bench -p shoal-benches --bench exchange -- [ROUNDS] [SECONDS] [--json]`
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use shoal_benches::figures::Results;
use shoal_benches::system::{Guarded, process_cpu_nanos, thread_cpu_nanos};
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::io::{BackendChoice, Node, NodeOptions};
use shoal_core::random::Random;
use shoal_core::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use shoal_core::wire::native::{Header, Kind, Message, MessageWriter};
use shoal_core::{Address, Config, Coordinate, Counter, Generation, Incarnation, Role, Secret};

/// How probes arrive: from how many sockets, and how many at a time from each.
#[derive(Clone, Copy)]
struct Pattern {
    name: &'static str,
    sockets: usize,
    window: usize,
}

const PATTERNS: [Pattern; 2] = [
    Pattern { name: "bursts", sockets: 16, window: 32 },
    Pattern { name: "singles", sockets: 256, window: 1 },
];
const SERVER_CPU: usize = 0;
const CLIENT_CPU: usize = 1;

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

    fn node(backend: BackendChoice) -> Result<Server, shoal_core::io::StartError> {
        let mut config = Config::new(Address::UNSPECIFIED, secret());
        config.sync_interval_ms = 0;
        let mut options = NodeOptions::new(any_port(), config);
        (options.backend, options.cpu) = (backend, Some(SERVER_CPU));
        Ok(Server::Node(Box::new(Node::start(options)?)))
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
                let stats = node.stats();
                let refused: u64 = [Counter::DroppedForged, Counter::DroppedMisdirected]
                    .map(|counter| stats.value(counter))
                    .iter()
                    .sum();
                assert_eq!(refused, 0, "the node refused probes, so the figure is worthless");
                node.stop();
            }
            Server::Asyncio { process, .. } => drop(process),
        }
    }
}

/// Makes sealed probes as a peer would.
struct Prober {
    envelopes: Envelopes,
    header: Header,
    coordinate: Coordinate,
}

impl Prober {
    fn new(own: SocketAddr, target: SocketAddr, seed: u64) -> Prober {
        let envelopes = Envelopes::new(&[secret()], 1, 16, &mut Random::new(seed));
        let header = Header {
            kind: Kind::Probe,
            sequence: 0,
            sender: own.into(),
            generation: Generation(seed),
            incarnation: Incarnation(0),
            role: Role::Worker,
            health_score: 0,
            recipient: target.into(),
            recipient_generation: Generation(0),
            subject: Address::UNSPECIFIED,
            parameter: 0,
            state_version: 0,
        };
        let coordinate =
            Coordinate { vector: [0.001; 8], height: 0.001, adjustment: 0.0, error: 0.3 };
        Prober { envelopes, header, coordinate }
    }

    fn write(&mut self, buffer: &mut [u8]) -> usize {
        self.header.sequence = self.header.sequence.wrapping_add(1);
        let datacenter = "bench".parse().expect("a plain word is a name");
        let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
        let size = MessageWriter::new(body, &self.header, &datacenter, &self.coordinate).finish();
        self.envelopes.seal(buffer, size)
    }

    /// Whether these bytes are the answer of a node (or of the echo, which this side's session
    /// gives away).
    fn is_answer(&mut self, bytes: &mut [u8]) -> bool {
        match self.envelopes.open(bytes) {
            Ok(opened) => Message::parse(opened.body).is_ok_and(|m| m.header.kind == Kind::Ack),
            Err(reason) => reason == Counter::DroppedOwn,
        }
    }
}

struct Link {
    socket: UdpSocket,
    state: UdpSocketState,
    outstanding: usize,
    heard_at: Instant,
}

/// Keeps the server busy until told to stop; counts answers.
fn generate(
    target: SocketAddr,
    pattern: Pattern,
    answers: &AtomicU64,
    stop: &AtomicBool,
    seed: u64,
) {
    pin(CLIENT_CPU);
    let Pattern { sockets, window, .. } = pattern;
    let mut links: Vec<Link> = (0..sockets)
        .map(|_| {
            let socket = UdpSocket::bind(any_port()).expect("loopback has a free port");
            let state = UdpSocketState::new((&socket).into()).expect("a UDP socket");
            Link { socket, state, outstanding: 0, heard_at: Instant::now() }
        })
        .collect();
    let own = links[0].socket.local_addr().expect("a bound socket has an address");
    let mut prober = Prober::new(own, target, seed);
    let mut scratch = vec![0u8; DATAGRAM_SIZE_MAX];
    let probe_size = prober.write(&mut scratch);
    let mut batch = vec![0u8; window * DATAGRAM_SIZE_MAX];
    let mut storage = vec![vec![0u8; 65_536]; 8];
    let mut checked = false;
    while !stop.load(Ordering::Relaxed) {
        for link in &mut links {
            let mut metas = [RecvMeta::default(); 8];
            let mut slices: Vec<IoSliceMut> =
                storage.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let received = link.state.recv((&link.socket).into(), &mut slices, &mut metas);
            let mut count = 0;
            for meta in metas.iter().take(received.unwrap_or(0)) {
                count += meta.len.div_ceil(meta.stride.max(1));
            }
            if count > 0 {
                link.heard_at = Instant::now();
                if !checked {
                    let size = metas[0].stride.min(metas[0].len);
                    checked = prober.is_answer(&mut storage[0][..size]);
                }
            } else if link.outstanding > 0 && link.heard_at.elapsed() > Duration::from_millis(20) {
                // What is missing was dropped by a full socket buffer.
                link.outstanding = 0;
            }
            link.outstanding = link.outstanding.saturating_sub(count);
            answers.fetch_add(count as u64, Ordering::Relaxed);
            let room = window - link.outstanding;
            if room < window.div_ceil(2) {
                continue;
            }
            for index in 0..room {
                let size = prober.write(&mut scratch);
                assert_eq!(size, probe_size, "segments of one batch have one size");
                batch[index * size..][..size].copy_from_slice(&scratch[..size]);
            }
            let transmit = Transmit {
                destination: target,
                ecn: None,
                contents: &batch[..room * probe_size],
                segment_size: (room > 1).then_some(probe_size),
                src_ip: None,
            };
            if link.state.try_send((&link.socket).into(), &transmit).is_ok() {
                link.outstanding += room;
                link.heard_at = Instant::now();
            }
        }
    }
    assert!(checked, "no valid answer was seen");
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
    let client = std::thread::spawn(move || {
        let _done = done;
        generate(target, pattern, &counted, &stopped, seed);
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

fn start(server: &str) -> Result<Server, String> {
    match server {
        "echo" => Ok(Server::echo()),
        "asyncio" => Server::asyncio(),
        "uring" => Server::node(BackendChoice::Uring).map_err(|error| error.to_string()),
        _ => Server::node(BackendChoice::Poll).map_err(|error| error.to_string()),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = arguments.iter().filter(|argument| !argument.starts_with("--"));
    let rounds: usize = numbers.next().and_then(|text| text.parse().ok()).unwrap_or(7);
    let seconds: f64 = numbers.next().and_then(|text| text.parse().ok()).unwrap_or(0.6);
    let mut results = Results::default();
    for pattern in PATTERNS {
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
            match start(server) {
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
    for Pattern { name: pattern, sockets, window } in PATTERNS {
        println!("\n{pattern}: {sockets} sockets x {window} in flight");
        println!(
            "{:<24}{:>14}{:>18}{:>14}",
            "server", "exchanges/s", "CPU ns/exchange", "echo CPU / its"
        );
        let figure =
            |server: &str, what| results.value(&format!("exchange/{pattern}/{server}/{what}"));
        let limit = figure("echo", "cpu").unwrap_or(f64::NAN);
        for (server, title) in SERVERS {
            if let (Some(rate), Some(cpu)) = (figure(server, "rate"), figure(server, "cpu")) {
                println!("{title:<24}{rate:>14.0}{cpu:>18.0}{:>14.2}", limit / cpu);
            }
        }
    }
    for skipped in &results.skipped {
        println!("{} skipped: {}", skipped.what, skipped.why);
    }
}
