//! What routing costs in memory: nothing per decision, and a stated amount per job.

use allocation_counter::measure;
use shoal_core::routing::{
    DatacenterCandidate, DatacenterHealth, DatacenterId, Decision, JobId, JobState,
    ManagerCandidate, ManagerChoice, RouteRequest, Router, RouterConfig, RttSource,
};
use shoal_core::{Duration, Instant, Rtt};

const NOW: Instant = Instant::from_millis(1_000_000);

fn id(index: usize) -> DatacenterId {
    DatacenterId::from_index(index).unwrap()
}

fn candidates(count: usize) -> Vec<DatacenterCandidate> {
    let candidate = |index: usize| {
        let upper_ms = 1.0 + (index * 37 % 300) as f64;
        DatacenterCandidate {
            health: DatacenterHealth::ALL[index % 4],
            available_cores: (index * 13 % 64) as u32,
            total_cores: 64,
            manager_count: 3,
            usable_manager_count: 3,
            rtt: (!index.is_multiple_of(5)).then_some(Rtt { ms: upper_ms, upper_ms, quality: 0.8 }),
            ..DatacenterCandidate::new(id(index), NOW)
        }
    };
    (0..count).map(candidate).collect()
}

#[test]
fn a_hundred_thousand_jobs_fit_into_32_megabytes() {
    const JOB_COUNT: u32 = 100_000;
    assert!(size_of::<JobState>() <= 256);
    let config = RouterConfig { job_capacity: JOB_COUNT, ..RouterConfig::default() };
    let candidates = candidates(10);
    let mut router = None;
    let info = measure(|| {
        let mut made = Router::new(config, 1).unwrap();
        let mut decision = Decision::default();
        for number in 0..JOB_COUNT {
            let job = JobId::from(u128::from(number));
            made.route(NOW, job, &candidates, &[], &mut decision).unwrap();
            made.record_dispatch(NOW, job, decision.selected().unwrap());
            made.record_failure(NOW, job, id(number as usize % 10));
        }
        router = Some(made);
    });
    let router = router.unwrap();
    assert_eq!(router.job_count(), JOB_COUNT as usize);
    assert_eq!(router.stats().jobs_evicted, 0);
    println!("{JOB_COUNT} jobs: {} bytes", info.bytes_max);
    assert!(info.bytes_max <= 32_000_000, "{} bytes", info.bytes_max);
}

#[test]
fn a_decision_allocates_nothing_once_its_buffer_is_warm() {
    for count in [10, 100, 1_000] {
        let candidates = candidates(count);
        let config = RouterConfig { job_capacity: 1_000, ..RouterConfig::default() };
        let mut router = Router::new(config, 1).unwrap();
        let mut decision = Decision::default();
        let preferred = [id(4), id(8)];
        // The first pass warms the buffers; the table of jobs fills and overflows in the second.
        let mut pass = |jobs: std::ops::Range<u128>| {
            for number in jobs {
                let now = NOW + Duration::from_millis(number as u64);
                let job = JobId::from(number);
                if number.is_multiple_of(7) {
                    let sample_count = (number % 20) as u32;
                    router.set_rtt_source(RttSource::Predicted { sample_count, error: 0.1 });
                }
                router.route(now, job, &candidates, &preferred, &mut decision).unwrap();
                let selected = decision.selected().unwrap();
                router.record_dispatch(now, job, selected);
                router.record_completion(now, job, selected, number % 3 > 0);
                router.record_failure(now, job, selected);
                router.route(now, job, &candidates, &preferred, &mut decision).unwrap();
                router.forget_job(JobId::from(number / 2));
            }
            let requests = [RouteRequest { job: JobId::from(7), preferred: &preferred }; 3];
            router.route_batch(NOW, &requests, &candidates, &mut decision, |_| ()).unwrap();
        };
        pass(0..100);
        let info = measure(|| pass(0..2_000));
        assert_eq!(info.count_total, 0, "{count} datacenters: {} bytes", info.bytes_total);
        assert!(router.stats().jobs_evicted > 0);
    }
}

#[test]
fn choosing_a_manager_allocates_nothing_once_its_buffer_is_warm() {
    let router = Router::new(RouterConfig::default(), 1).unwrap();
    let manager = |port: u16| {
        let candidate = ManagerCandidate::new(format!("10.0.0.1:{port}").parse().unwrap(), NOW);
        ManagerCandidate { queue_depth: u32::from(port % 7), ..candidate }
    };
    let managers: Vec<_> = (1..100).map(manager).collect();
    let mut choice = ManagerChoice::default();
    let mut choose = || router.choose_manager(NOW, JobId::from(1), id(0), &managers, &mut choice);
    choose().unwrap();
    let info = measure(|| choose().unwrap());
    assert_eq!(info.count_total, 0);
}
