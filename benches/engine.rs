//! What the engine costs as the cluster grows: a datagram with 20 updates, a timer round, memory.
//!
//! `cargo bench -p shoal-benches --bench engine`
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use shoal_core::wire::native::{Header, Kind, MessageWriter, Update};
use shoal_core::{
    Address, Config, Coordinate, Engine, Generation, Incarnation, Instant, MemberState, Role,
    Secret,
};

const SIZES: [u32; 4] = [100, 1_000, 10_000, 100_000];
const UPDATES: usize = 20;

/// Counts the bytes in use.
struct Measuring;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system allocator, which keeps the contract.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

fn address(number: u32) -> Address {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 7_946)).into()
}

fn secret() -> Secret {
    Secret::new([5; 32]).expect("32 bytes are a secret")
}

/// A peer that tells the engine under test what the benchmark wants.
struct Peer {
    envelopes: Envelopes,
    number: u32,
}

impl Peer {
    fn new(number: u32) -> Peer {
        let mut random = Random::new(u64::from(number) + 99);
        Peer { envelopes: Envelopes::new(&[secret()], 1, 4, &mut random), number }
    }

    fn tell(&mut self, updates: impl Iterator<Item = Update>) -> Vec<u8> {
        let header = Header {
            kind: Kind::Gossip,
            sequence: 0,
            sender: address(self.number),
            generation: Generation(1),
            incarnation: Incarnation(0),
            role: Role::Manager,
            health_score: 0,
            recipient: address(0),
            recipient_generation: Generation(1),
            subject: Address::UNSPECIFIED,
            parameter: 0,
            state_version: 0,
        };
        let place = Coordinate { vector: [0.001; 8], height: 0.001, adjustment: 0.0, error: 0.3 };
        let mut buffer = vec![0; DATAGRAM_SIZE_MAX];
        let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
        let datacenter = "bench".parse().expect("a plain word is a name");
        let mut writer = MessageWriter::new(body, &header, &datacenter, &place);
        for update in updates {
            assert!(writer.push_update(&update), "the updates fit into one datagram");
        }
        let size = writer.finish();
        let size = self.envelopes.seal(&mut buffer, size);
        buffer.truncate(size);
        buffer
    }
}

fn news(number: u32, incarnation: u32) -> Update {
    Update {
        address: address(number),
        generation: Generation(1),
        incarnation: Incarnation(incarnation),
        state: MemberState::Alive,
        role: Role::Manager,
        health_score: 0,
        datacenter: "bench".parse().expect("a plain word is a name"),
        accuser: 0,
        state_version: 0,
    }
}

fn drain(engine: &mut Engine, now: Instant) {
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    while engine.poll_transmit(now, &mut buffer).is_some() {}
    while engine.poll_event().is_some() {}
    while engine.poll_change().is_some() {}
}

/// An engine to which every one of `size` members has spoken, so that all are alive.
fn engine_with(size: u32) -> (Engine, Instant) {
    let mut config = Config::new(address(0), secret());
    config.generation = Generation(1);
    config.member_capacity = size + 2;
    let now = Instant::from_millis(1);
    let mut engine = Engine::new(config, 1, now).expect("the defaults are legal");
    for number in 1..=size {
        let mut datagram = Peer::new(number).tell(std::iter::empty());
        engine.handle_datagram(now, address(number), &mut datagram);
        drain(&mut engine, now);
    }
    assert_eq!(
        engine.members(now).filter(|m| m.state == MemberState::Alive).count() as u32,
        size + 1
    );
    (engine, now)
}

fn handle_updates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handle a datagram with 20 updates");
    for size in SIZES {
        let before = IN_USE.load(Ordering::Relaxed);
        let (mut engine, now) = engine_with(size);
        let bytes = IN_USE.load(Ordering::Relaxed) - before;
        println!("{size} members: {} bytes each", bytes / size as usize);
        let mut random = Random::new(7);
        let mut peer = Peer::new(1);
        let mut incarnations = vec![0; size as usize];
        let id = BenchmarkId::new("members", size);
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let draw = |_| {
                        let number = 2 + random.below(size - 2);
                        let incarnation: &mut u32 = &mut incarnations[number as usize];
                        *incarnation += 1;
                        news(number, *incarnation)
                    };
                    let mut datagram = peer.tell((0..UPDATES).map(draw));
                    let start = std::time::Instant::now();
                    engine.handle_datagram(now, address(1), black_box(&mut datagram));
                    spent += start.elapsed();
                    drain(&mut engine, now);
                }
                spent
            });
        });
    }
    group.finish();
}

fn probe_round(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a probe round with its datagram");
    for size in SIZES {
        let (mut engine, mut now) = engine_with(size);
        group.bench_function(BenchmarkId::new("members", size), |bencher| {
            let mut buffer = [0; DATAGRAM_SIZE_MAX];
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    now = now.max(engine.poll_timeout().expect("a deadline"));
                    let start = std::time::Instant::now();
                    engine.handle_timeout(now);
                    while engine.poll_transmit(now, black_box(&mut buffer)).is_some() {}
                    spent += start.elapsed();
                    drain(&mut engine, now);
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = handle_updates, probe_round
}
criterion_main!(benches);
