//! Nodes that are stopped, killed and cut off by loss, as `measure chaos` does it to processes.

use shoal_simulator::chaos::{ChaosOptions, run};

/// Before a word of a death waited for what stands behind it in the socket, these runs had 326 false
/// deaths. Those that are left are declared within moments after the subject goes on.
#[test]
fn hardly_anybody_is_declared_dead_who_runs() {
    let report = run(&ChaosOptions::new(1, 20)).unwrap();
    assert!(report.stops > 1_000 && report.deaths_of_stopped > 1_000, "{report}");
    assert!(report.false_deaths <= 10, "{report}");
    assert_eq!((report.false_of_settled, report.missed), (0, 0), "{report}");
    assert!(report.detect_first_ms.p50.unwrap() < 2_500.0, "{report}");
}

#[test]
fn the_seed_decides_everything() {
    let trace = |seed| run(&ChaosOptions::new(seed, 1)).unwrap().trace_hash;
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}
