//! Jobs routed by real engines over a generated world keep what routing promises: near the best that
//! could be had, steady under jitter, quickly away from a datacenter that died, never past a better bucket.
//!
//! `SHOAL_SEEDS=50 cargo test --release -p shoal-tests --test routing_simulation` for more worlds. For matrices of
//! real networks there is `shoal simulate --matrix FILE`.
#![allow(missing_docs)]

use shoal_core::Duration;
use shoal_simulator::matrix::World;
use shoal_simulator::routing::{RoutingOptions, run};

fn seed_count() -> u64 {
    let asked = std::env::var("SHOAL_SEEDS").ok();
    asked.map_or(1, |text| text.parse().expect("SHOAL_SEEDS is a number"))
}

#[test]
fn jobs_go_near_stay_and_fail_over() {
    for seed in 1..=seed_count() {
        let world = World { node_count: 14, city_count: 14, seed, ..World::default() };
        let short = RoutingOptions {
            steady: Duration::from_secs(40),
            failures: 1,
            ..RoutingOptions::new(seed)
        };
        // Every broken rule of buckets is an error here.
        let report = run(&world.matrix(), &short).unwrap();
        // In some worlds even the best choice is far away.
        let best = report.oracle_median_rtt_ms;
        let half = (report.random_median_rtt_ms / 2.0).max(best * 1.001);
        assert!(report.median_rtt_ms <= half.min(best * 1.1), "{seed}: {report:?}");
        assert!(report.switch_rate < 0.01, "{seed}: {report:?}");
        assert!(report.load_cv < 0.3, "{seed}: {report:?}");
        assert!(report.failover_ms_p99 < 10_000.0, "{seed}: {report:?}");
        assert!(report.decisions > 10_000 && report.bootstrap_rate < 0.01, "{seed}: {report:?}");
    }
}
