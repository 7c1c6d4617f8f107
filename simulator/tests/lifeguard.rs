//! The Lifeguard experiment in small: what plain SWIM makes of slow agents, and what Shoal does.

use shoal_simulator::lifeguard::{LifeguardOptions, LifeguardReport, run};

fn small(seed: u64) -> LifeguardOptions {
    let mut options = LifeguardOptions::sample(seed);
    options.configurations.retain(|column| ["SWIM", "Shoal"].contains(&column.name));
    options.counts = vec![8];
    options.durations_ms = vec![16_384];
    options.intervals_ms = vec![64];
    options
}

fn column<T>(rows: &[T]) -> (&T, &T) {
    let [swim, shoal] = rows else { panic!("two configurations give two rows") };
    (swim, shoal)
}

/// The paper's whole grid is a matter of hours; one cell of each part shows the same.
#[test]
fn shoal_is_right_a_hundred_times_as_often_and_twice_as_quick_as_plain_swim() {
    let report: LifeguardReport = run(&small(1), |_, _| ());
    let (swim, shoal) = column(&report.accuracy);
    assert!(swim.false_positives >= 20, "{swim:?}");
    // As published: what slow agents believe of others hardly reaches those that are well.
    assert!(swim.healthy_false_positives * 20 <= swim.false_positives, "{swim:?}");
    assert!(shoal.false_positives * 100 <= swim.false_positives, "{shoal:?}");
    assert_eq!(shoal.healthy_false_positives, 0);
    let (swim, shoal) = column(&report.latency);
    // Plain SWIM notices some so late that they have woken before it is sure.
    assert!(swim.detected >= 7 && shoal.detected == 8, "{swim:?}, {shoal:?}");
    let median = swim.first_seconds[0].expect("all were detected");
    assert!((10.5..15.0).contains(&median), "the paper has 12.44 s: {swim:?}");
    assert!(shoal.median_first_percent.expect("all were detected") <= 50.0, "{shoal:?}");
    let (_, shoal) = column(&report.load);
    assert!(shoal.message_percent <= 120.0, "{shoal:?}");
}

#[test]
fn results_depend_on_the_seed_and_not_on_the_number_of_threads() {
    let with = |seed, threads| {
        let intervals_ms = Vec::new();
        let durations_ms = vec![512, 2_048];
        run(&LifeguardOptions { threads, intervals_ms, durations_ms, ..small(seed) }, |_, _| ())
    };
    assert_eq!(with(1, 1), with(1, 3));
    let part = with(1, 1).part;
    assert!(
        part.starts_with("a sample of the grid, once each: C in 8; D in 512 2048 ms"),
        "{part}"
    );
}
