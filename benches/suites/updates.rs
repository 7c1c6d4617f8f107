//! What a datagram with 20 pieces of news costs to handle as the cluster grows: Shoal and foca.
//!
//! The same thing in both: every update is fresh word from a member drawn at random. Shoal's figure
//! includes opening the encrypted datagram; foca has no encryption, its datagram is postcard as its
//! manual suggests. Both are drained outside the timed part.
//!
//! `cargo bench -p shoal-benches --bench suites -- updates`

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group};
use foca::{AccumulatingRuntime, Codec, Foca, Header, Member, Message, PostcardCodec, State};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use shoal_benches::cluster::{NewsSource, SIZES, UPDATES, address, drain, engine_with};
use shoal_core::random::Random;

/// foca looks members up one by one, so that the largest size would only cost patience.
const FOCA_SIZES: [u32; 4] = [100, 1_000, 10_000, 50_000];

fn shoal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("updates/handle 20");
    for size in SIZES {
        let (mut engine, now) = engine_with(size);
        let mut source = NewsSource::new(size);
        group.bench_function(BenchmarkId::new("shoal", size), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let mut datagram = source.datagram();
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

fn identity(number: u32) -> SocketAddr {
    address(number).to_string().parse().expect("an address reads as it is written")
}

/// foca's datagrams, as one member would send them.
struct FocaSource {
    random: Random,
    incarnations: Vec<u16>,
}

impl FocaSource {
    fn datagram(&mut self) -> Vec<u8> {
        let header = Header {
            src: identity(1),
            src_incarnation: 0,
            dst: identity(0),
            message: Message::Gossip,
        };
        let mut bytes = Vec::with_capacity(1_400);
        PostcardCodec.encode_header(&header, &mut bytes).expect("it fits");
        bytes.extend_from_slice(&(UPDATES as u16).to_be_bytes());
        for _ in 0..UPDATES {
            let number = 2 + self.random.below(self.incarnations.len() as u32 - 2);
            let incarnation = &mut self.incarnations[number as usize];
            // Fresh until it wraps; then the oldest news is known, which costs no more.
            *incarnation = incarnation.wrapping_add(1);
            let member = Member::new(identity(number), *incarnation, State::Alive);
            PostcardCodec.encode_member(&member, &mut bytes).expect("it fits");
        }
        bytes
    }
}

fn discard(runtime: &mut AccumulatingRuntime<SocketAddr>) {
    while runtime.to_send().is_some() {}
    while runtime.to_schedule().is_some() {}
    while runtime.to_notify().is_some() {}
}

fn foca(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("updates/handle 20");
    for size in FOCA_SIZES {
        let members = size.try_into().expect("not zero");
        let config = foca::Config::new_lan(members);
        let random = SmallRng::seed_from_u64(1);
        let mut foca = Foca::new(identity(0), config, random, PostcardCodec);
        let mut runtime = AccumulatingRuntime::new();
        let everybody = (1..=size).map(|number| Member::alive(identity(number)));
        foca.apply_many(everybody, false, &mut runtime).expect("members are taken in");
        assert_eq!(foca.num_members(), size as usize);
        discard(&mut runtime);
        let mut source =
            FocaSource { random: Random::new(7), incarnations: vec![0; size as usize] };
        group.bench_function(BenchmarkId::new("foca", size), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let datagram = source.datagram();
                    let start = std::time::Instant::now();
                    let handled = foca.handle_data(black_box(&datagram), &mut runtime);
                    spent += start.elapsed();
                    handled.expect("the datagram is legal");
                    // The kindest case: all that it heard has been spread before more comes.
                    while foca.updates_backlog() > 0 {
                        foca.gossip(&mut runtime).expect("a tick is legal");
                        discard(&mut runtime);
                    }
                    discard(&mut runtime);
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = crate::brief();
    targets = shoal, foca
}
