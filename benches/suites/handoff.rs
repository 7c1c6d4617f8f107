//! What passing things between a node's thread and its host costs.
//!
//! `question` is a call that the node's thread answers: the host wakes the thread, the thread wakes the
//! host. `event` is a command and the wait for the event that follows from it; `event in a batch` is
//! one of 64 that already lie in the queue, without a wake-up. `member` and `round trip` are read
//! from the mirror beside the engine, which goes on meanwhile.
//!
//! `cargo bench -p shoal-benches --bench suites -- handoff`

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use shoal_core::federation::LeadershipMode;
use shoal_core::io::{Node, NodeOptions};
use shoal_core::{Address, Config, MemberState, Role, Secret};

const BATCH: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(10);

fn start(join: Vec<Address>) -> Node {
    let secret = Secret::new([5; 32]).expect("32 bytes are a secret");
    let mut config = Config::new(Address::UNSPECIFIED, secret);
    config.role = Role::Manager;
    // Naming a leader is the command whose event follows at once.
    config.federation.leadership = LeadershipMode::External;
    let mut options = NodeOptions::new((Ipv4Addr::LOCALHOST, 0).into(), config);
    options.join = join;
    Node::start(options).expect("a node on loopback starts")
}

/// Two nodes that know each other, and no event that still waits.
fn pair() -> [Node; 2] {
    let one = start(Vec::new());
    let other = start(vec![one.address()]);
    let is_alive = || one.member(other.address()).is_some_and(|m| m.state == MemberState::Alive);
    let begin = std::time::Instant::now();
    while !is_alive() {
        assert!(begin.elapsed() < PATIENCE, "two nodes on loopback find each other");
        std::thread::sleep(Duration::from_millis(1));
    }
    while one.wait_event(Duration::from_millis(50)).is_some() {}
    [one, other]
}

fn queues(criterion: &mut Criterion) {
    let [node, _other] = pair();
    let leader = Some(node.address());
    let mut term = 0;
    let mut name_leader = || {
        term += 1;
        node.name_leader(leader, term).expect("a later term is taken");
    };
    let mut group = criterion.benchmark_group("handoff");
    group.bench_function("question", |bencher| {
        bencher.iter(|| black_box(node.leader().expect("the node runs")));
    });
    group.bench_function("event", |bencher| {
        bencher.iter(|| {
            name_leader();
            black_box(node.wait_event(PATIENCE).expect("naming a leader is an event"))
        });
    });
    group.bench_function("event in a batch", |bencher| {
        bencher.iter_custom(|rounds| {
            let (mut spent, mut left) = (Duration::ZERO, rounds);
            while left > 0 {
                let count = left.min(BATCH);
                (0..count).for_each(|_| name_leader());
                // The answer to a question comes after the events of what was said before it.
                node.leader().expect("the node runs");
                let start = std::time::Instant::now();
                for _ in 0..count {
                    black_box(node.poll_event().expect("naming a leader is an event"));
                }
                spent += start.elapsed();
                left -= count;
            }
            spent
        });
    });
    group.finish();
}

fn mirror(criterion: &mut Criterion) {
    let [node, other] = pair();
    let peer = other.address();
    let mut group = criterion.benchmark_group("handoff/read");
    group.bench_function("member", |bencher| {
        bencher.iter(|| black_box(node.member(black_box(peer)).expect("it is known")));
    });
    group.bench_function("round trip", |bencher| {
        bencher.iter(|| black_box(node.rtt(black_box(peer))));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = crate::brief();
    targets = queues, mirror
}
