//! Probe and reply exchanges in the Python node's format per second on one core, next to a bare UDP
//! echo in the same run.
//!
//! The second processor keeps 512 probes in flight, 32 from each of 16 sockets. They were sealed
//! beforehand as the Python node does it, each with a salt of its own and zstd of level 3, with
//! members, health, a worker and a coordinate. On the first processor run, in turn, a loop of
//! `recv_from` and `send_to`, and a Shoal node that opens, unpacks, reads, applies, answers and
//! seals. Printed are medians; the ratio is of processor time, which other programs on the machine
//! disturb least.
//!
//! `cargo bench -p shoal-benches --bench wire_exchange -- [ROUNDS] [SECONDS]`
#![allow(missing_docs)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shoal_benches::system::thread_cpu_nanos;
use shoal_core::io::{Node, NodeOptions};
use shoal_core::random::Random;
use shoal_core::wire::hyperscale::envelope::{OVERHEAD, SEALED_OFFSET};
use shoal_core::wire::hyperscale::{Envelopes, Frame, FrameKind, Unpacker};
use shoal_core::{Address, Config, Counter, Secret, WireFormat};

const SOCKETS: usize = 16;
const WINDOW: usize = 32;
/// Different probes of each socket, more than the node remembers to tell repeated ones.
const PROBES: usize = 2_000;
const SERVER_CPU: usize = 0;
const CLIENT_CPU: usize = 1;

fn secret() -> Secret {
    Secret::new([5; 32]).expect("32 bytes are a secret")
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn pin(cpu: usize) {
    if let Some(core) = core_affinity::get_core_ids().unwrap_or_default().get(cpu) {
        core_affinity::set_for_current(*core);
    }
}

/// A probe as a Python node at `own` sends it, its `number`-th.
fn probe(own: SocketAddr, target: SocketAddr, number: usize) -> Vec<u8> {
    let payload = format!(
        "probe>{target}#|mjoin:0:127.0.0.1:9005:worker|alive:2:127.0.0.1:9007:manager\
         #|hDC1-50-0018a3b2c4d5e-f3a2b1c9d8e7|manager|healthy|1|8|1.50|2.00|{number}.50\
         #|ww1:m1:127.0.0.1:9100:9101:registered:3:8:4:55.250000:DC1\
         #|v{{\"vec\":[0.001,0.0,0.0,0.0,0.0,0.0,0.0,0.0],\"height\":0.0005,\"adjustment\":-0.0001,\
         \"error\":0.25,\"sample_count\":12}}"
    );
    let mut clock = [0; 64];
    clock[56..].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    let head = format!("c<{own}<receive<");
    let length = (payload.len() as u32).to_be_bytes();
    let frame = [head.as_bytes(), &clock, &length, payload.as_bytes()].concat();
    let mut datagram = vec![0; OVERHEAD + zstd_safe::compress_bound(frame.len())];
    let packed = zstd_safe::compress(&mut datagram[SEALED_OFFSET..], &frame, 3).expect("room");
    // A new envelope for each, because the Python node draws a new salt for each.
    let mut random = Random::new(number as u64 ^ u64::from(own.port()) << 32);
    let size = Envelopes::new(&[secret()], 1, &mut random).seal(&mut datagram, packed);
    datagram.truncate(size);
    datagram
}

/// A socket of the load, with its probes.
struct Link {
    socket: UdpSocket,
    probes: Vec<Vec<u8>>,
    next: usize,
    outstanding: usize,
    heard_at: Instant,
}

impl Link {
    fn new(target: SocketAddr) -> Link {
        let socket = UdpSocket::bind(any_port()).expect("loopback has a free port");
        socket.connect(target).expect("loopback is reachable");
        socket.set_nonblocking(true).expect("sockets can be non-blocking");
        let own = socket.local_addr().expect("a bound socket has an address");
        let probes = (0..PROBES).map(|number| probe(own, target, number)).collect();
        Link { socket, probes, next: 0, outstanding: 0, heard_at: Instant::now() }
    }

    /// Takes the answers that are there and asks anew; returns how many there were.
    fn turn(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        while self.outstanding > 0 && self.socket.recv(buffer).is_ok() {
            self.outstanding -= 1;
            count += 1;
        }
        if count > 0 {
            self.heard_at = Instant::now();
        } else if self.outstanding > 0 && self.heard_at.elapsed() > Duration::from_millis(50) {
            // What is missing was dropped by a full socket buffer.
            self.outstanding = 0;
        }
        while self.outstanding < WINDOW {
            if self.socket.send(&self.probes[self.next % PROBES]).is_err() {
                break;
            }
            self.next += 1;
            self.outstanding += 1;
        }
        count
    }
}

/// Exchanges per second, and processor nanoseconds of the named thread per exchange.
fn measure(target: SocketAddr, thread: &str, seconds: f64) -> (f64, f64) {
    pin(CLIENT_CPU);
    let mut links: Vec<Link> = (0..SOCKETS).map(|_| Link::new(target)).collect();
    let mut buffer = [0; 2_048];
    let mut run = |seconds: f64| {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < seconds {
            count += links.iter_mut().map(|link| link.turn(&mut buffer)).sum::<usize>();
        }
        (count as f64, start.elapsed().as_secs_f64())
    };
    run(0.2);
    let before = thread_cpu_nanos(thread);
    let (count, elapsed) = run(seconds);
    (count / elapsed, (thread_cpu_nanos(thread) - before) as f64 / count.max(1.0))
}

fn measure_echo(seconds: f64) -> (f64, f64) {
    let socket = UdpSocket::bind(any_port()).expect("loopback has a free port");
    let target = socket.local_addr().expect("a bound socket has an address");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout is legal");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let builder = std::thread::Builder::new().name("echo".to_owned());
    let echo = builder.spawn(move || {
        pin(SERVER_CPU);
        let mut buffer = [0; 2_048];
        while !stopped.load(Ordering::Relaxed) {
            if let Ok((size, source)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..size], source);
            }
        }
    });
    let measured = measure(target, "echo", seconds);
    stop.store(true, Ordering::Relaxed);
    echo.expect("a thread can be started").join().expect("the echo does not panic");
    measured
}

fn measure_node(seconds: f64) -> (f64, f64) {
    let mut config = Config::new(Address::UNSPECIFIED, secret());
    config.wire_format = WireFormat::Hyperscale;
    config.source_request_rate = 10_000_000;
    let mut options = NodeOptions::new(any_port(), config);
    options.cpu = Some(SERVER_CPU);
    let node = Node::start(options).expect("a node starts on loopback");
    check_answer(node.local_address());
    let measured = measure(node.local_address(), "shoal-node", seconds);
    let stats = node.stats();
    for counter in [Counter::DroppedForged, Counter::DroppedMalformed, Counter::RequestsRefused] {
        assert_eq!(stats.value(counter), 0, "{counter:?} makes the figure worthless");
    }
    let repeated = stats.value(Counter::RequestsRepeated) as f64;
    assert!(repeated < 0.2 * stats.value(Counter::DatagramsReceived) as f64, "{repeated} repeated");
    measured
}

/// The node really answers, with sections.
fn check_answer(target: SocketAddr) {
    let socket = UdpSocket::bind(any_port()).expect("loopback has a free port");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout is legal");
    let own = socket.local_addr().expect("a bound socket has an address");
    socket.send_to(&probe(own, target, 7), target).expect("loopback is reachable");
    let mut buffer = [0; 2_048];
    let size = socket.recv(&mut buffer).expect("a probe is answered");
    let mut envelopes = Envelopes::new(&[secret()], 1, &mut Random::new(3));
    let packed = envelopes.open(&mut buffer[..size]).expect("it is sealed with the secret");
    let mut unpacker = Unpacker::new();
    let frame = Frame::parse(unpacker.unpack(packed).expect("a zstd frame")).expect("a frame");
    let text = String::from_utf8_lossy(frame.payload);
    assert_eq!(frame.kind, FrameKind::Reply);
    assert!(text.starts_with(&format!("ack>{target}#|")) && text.contains("#|v{"), "{text}");
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let rounds: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(7);
    let seconds: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0.6);
    let mut samples: [(Vec<f64>, Vec<f64>); 2] = Default::default();
    for _ in 0..rounds {
        for (index, run) in [measure_echo, measure_node].into_iter().enumerate() {
            let (rate, cpu) = run(seconds);
            samples[index].0.push(rate);
            samples[index].1.push(cpu);
        }
    }
    let [echo, node] = samples.map(|(mut rates, mut cpu)| (median(&mut rates), median(&mut cpu)));
    println!(
        "{:<24}{:>14}{:>18}{:>16}",
        "server", "exchanges/s", "CPU ns/exchange", "1e9 / CPU ns"
    );
    for (name, (rate, cpu)) in [("std echo (the limit)", echo), ("shoal node", node)] {
        println!("{name:<24}{rate:>14.0}{cpu:>18.0}{:>16.0}", 1e9 / cpu);
    }
    println!("processor time of the echo / the node's: {:.2}", echo.1 / node.1);
}
