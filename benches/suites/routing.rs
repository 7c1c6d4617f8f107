//! What a routing decision costs, over 10, 100 and 1,000 datacenters.
//!
//! Every case routes over a table of 10,000 jobs that already have a primary, except `first`, which
//! routes jobs the router has not met. The candidates change from call to call, as they do in a
//! cluster, so that the processor cannot learn the order by heart. `batch` is 1,000 jobs in one
//! call.
//!
//! `cargo bench -p shoal-benches --bench suites -- routing`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group};
use shoal_core::random::Random;
use shoal_core::routing::{
    DatacenterCandidate, DatacenterHealth, DatacenterId, Decision, JobId, RouteRequest, Router,
    RouterConfig, RttSource,
};
use shoal_core::{Duration, Instant, Rtt};

const NOW: Instant = Instant::from_millis(1_000_000);
const SIZES: [usize; 3] = [10, 100, 1_000];
const JOB_COUNT: u32 = 10_000;
const PICTURE_COUNT: usize = 16;

fn id(index: usize) -> DatacenterId {
    DatacenterId::from_index(index).expect("a small number")
}

fn candidates(count: usize, seed: u64) -> Vec<DatacenterCandidate> {
    let mut random = Random::new(seed);
    let mut candidate = |index: usize| {
        let upper_ms = 1.0 + 300.0 * random.unit();
        let health = match random.below(10) {
            0..=5 => DatacenterHealth::Healthy,
            6 | 7 => DatacenterHealth::Busy,
            8 => DatacenterHealth::Degraded,
            _ => DatacenterHealth::Unhealthy,
        };
        DatacenterCandidate {
            health,
            available_cores: random.below(512),
            total_cores: 512,
            queue_depth: random.below(50),
            manager_count: 3,
            usable_manager_count: 1 + random.below(3),
            circuit_pressure: random.unit(),
            rtt: Some(Rtt { ms: upper_ms * 0.8, upper_ms, quality: random.unit() }),
            ..DatacenterCandidate::new(id(index), NOW)
        }
    };
    (0..count).map(&mut candidate).collect()
}

struct Bench {
    router: Router,
    pictures: Vec<Vec<DatacenterCandidate>>,
    decision: Decision,
    now: Instant,
    job: u32,
}

impl Bench {
    /// A router whose jobs all have a primary.
    fn new(datacenter_count: usize) -> Bench {
        let router = Router::new(RouterConfig::default(), 1).expect("defaults are legal");
        let seeds = 0..PICTURE_COUNT as u64;
        let pictures = seeds.map(|seed| candidates(datacenter_count, seed)).collect();
        let mut bench = Bench { router, pictures, decision: Decision::default(), now: NOW, job: 0 };
        (0..JOB_COUNT).for_each(|_| bench.route(&[]));
        bench
    }

    /// Routes the next known job, a microsecond later.
    fn route(&mut self, preferred: &[DatacenterId]) {
        self.job = (self.job + 1) % JOB_COUNT;
        self.route_job(JobId::from(u128::from(self.job)), preferred);
    }

    fn route_job(&mut self, job: JobId, preferred: &[DatacenterId]) {
        self.now += Duration::from_micros(1);
        let picture = &self.pictures[self.now.as_nanos() as usize / 1_000 % PICTURE_COUNT];
        let routed = self.router.route(self.now, job, picture, preferred, &mut self.decision);
        routed.expect("the candidates are legal");
        black_box(self.decision.selected());
    }
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing/route");
    for size in SIZES {
        let mut bench = Bench::new(size);
        group.bench_function(BenchmarkId::new("sticky", size), |b| b.iter(|| bench.route(&[])));

        let preferred = [id(size / 2), id(size - 1)];
        group.bench_function(BenchmarkId::new("preferred", size), |b| {
            b.iter(|| bench.route(&preferred));
        });

        for index in 0..size {
            (0..10).for_each(|n| bench.router.record_latency(NOW, id(index), f64::from(n * 100)));
        }
        group.bench_function(BenchmarkId::new("observed", size), |b| b.iter(|| bench.route(&[])));

        let immature = RttSource::Predicted { sample_count: 0, error: 1.5 };
        bench.router.set_rtt_source(immature);
        group.bench_function(BenchmarkId::new("bootstrap", size), |b| b.iter(|| bench.route(&[])));
    }
    group.finish();
}

fn first(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing/first");
    for size in SIZES {
        let mut bench = Bench::new(size);
        let mut fresh = u128::from(JOB_COUNT);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                fresh += 1;
                bench.route_job(JobId::from(fresh), &[]);
            });
        });
    }
    group.finish();
}

fn batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing/batch");
    for size in SIZES {
        let mut bench = Bench::new(size);
        let preferred = [id(size / 2)];
        let requests: Vec<_> = (0..1_000u128)
            .map(|number| RouteRequest { job: JobId::from(number), preferred: &preferred })
            .collect();
        group.throughput(criterion::Throughput::Elements(requests.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                let Bench { router, pictures, decision, now, .. } = &mut bench;
                let visit = |decision: &Decision| {
                    black_box(decision.selected());
                };
                let routed = router.route_batch(*now, &requests, &pictures[0], decision, visit);
                routed.expect("the candidates are legal");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, route, first, batch);
