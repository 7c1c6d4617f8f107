//! Accuracy on generated worlds. The bounds leave a quarter of room above what is reached today, so
//! that they notice when something breaks and not when a seed changes.

use shoal_core::coordinate::VivaldiConfig;
use shoal_simulator::accuracy::{CoordinateReport, Evaluation, Lie, Network, evaluate};
use shoal_simulator::matrix::{Matrix, World};

const SEEDS: [u64; 3] = [1, 2, 3];

fn world() -> Matrix {
    World { node_count: 60, city_count: 20, ..World::default() }.matrix()
}

/// The medians over three seeds.
fn report(matrix: &Matrix, evaluation: &Evaluation) -> CoordinateReport {
    let reports: Vec<_> = SEEDS
        .iter()
        .map(|&seed| evaluate(matrix, &Evaluation { seed, ..evaluation.clone() }).unwrap())
        .collect();
    CoordinateReport::median(&reports)
}

#[test]
fn predictions_get_good_soon_and_better_with_time() {
    let matrix = world();
    let at = |cycles| report(&matrix, &Evaluation { cycles, ..Evaluation::default() });
    let (soon, later, late) = (at(20), at(200), at(1_000));
    assert!(soon.median_rel_err < 0.24, "{soon:?}");
    assert!(later.median_rel_err < 0.08, "{later:?}");
    assert!(late.median_rel_err < 0.045 && late.p90_rel_err < 0.19, "{late:?}");
    assert!(late.nearest_stretch_median < 1.3 && late.top1_of_10 > 0.92, "{late:?}");
    assert_eq!(late.nearest_stretch_measured_median, 1.0);
    assert!(late.within_upper > 0.93 && late.upper_ratio_median < 1.5, "{late:?}");
}

#[test]
fn predictions_do_not_get_worse_in_the_long_run() {
    let matrix = world();
    let at = |cycles| report(&matrix, &Evaluation { cycles, ..Evaluation::default() });
    let (early, late) = (at(1_000), at(3_000));
    assert!(late.median_rel_err <= early.median_rel_err, "{early:?} {late:?}");
}

#[test]
fn a_tenth_of_liars_hardly_matters() {
    let matrix = world();
    let lies = [
        Lie::ConstantFar,
        Lie::SlowDrift { ms_per_cycle: 1.0 },
        Lie::SlowDrift { ms_per_cycle: 0.05 },
        Lie::JointDrift { ms_per_cycle: 1.0 },
        Lie::JointDrift { ms_per_cycle: 0.05 },
    ];
    for lie in lies {
        let evaluation = Evaluation { liar_share: 0.1, lie, cycles: 600, ..Evaluation::default() };
        let report = report(&matrix, &evaluation);
        assert!(report.median_rel_err < 0.055, "{lie:?}: {report:?}");
    }
}

#[test]
fn a_network_recovers_when_its_liars_repent() {
    // So many liars that they do harm while they last.
    let matrix = world();
    let lying = Evaluation { liar_share: 0.35, cycles: 500, ..Evaluation::default() };
    let repented = Evaluation { liars_repent_at: Some(500), cycles: 1_500, ..lying.clone() };
    let (harmed, healed) = (report(&matrix, &lying), report(&matrix, &repented));
    assert!(harmed.median_rel_err > 0.1, "{harmed:?}");
    assert!(healed.median_rel_err < 0.04, "{healed:?}");
}

#[test]
fn delayed_replies_are_filtered_out() {
    let evaluation = Evaluation { spike_share: 0.15, ..Evaluation::default() };
    let report = report(&world(), &evaluation);
    assert!(report.median_rel_err < 0.05, "{report:?}");
}

#[test]
fn distances_may_be_those_of_a_room() {
    // A thousandth of the world: round trips of a tenth of a millisecond.
    let world = world();
    let names: Vec<String> = (0..60).map(|node| format!("n{node}")).collect();
    let mut text = names.join(",");
    for from in 0..60 {
        let field = |to| world.round_trip_ms(from, to).map_or(0.0, |ms| ms * 1e-3);
        let row: Vec<String> = (0..60).map(|to| field(to).to_string()).collect();
        text.push('\n');
        text.push_str(&row.join(","));
    }
    let room = Matrix::parse(&text).unwrap();
    let report = report(&room, &Evaluation::default());
    assert!(report.median_rel_err < 0.048, "{report:?}");
}

#[test]
fn a_restarted_node_finds_its_place_among_settled_ones() {
    let matrix = world();
    let mut network = Network::new(&matrix, &Evaluation::default()).unwrap();
    for _ in 0..500 {
        network.run_cycle();
    }
    let before = network.judge();
    for node in 0..6 {
        network.restart(node);
    }
    for _ in 0..60 {
        network.run_cycle();
    }
    let after = network.judge();
    assert!(after.median_rel_err < before.median_rel_err + 0.01, "{before:?} {after:?}");
    assert!(network.tracker(0).is_converged());
}

#[test]
fn unknown_round_trips_are_neither_probed_nor_judged() {
    let matrix = Matrix::parse("a,b,c\n0,20,\n20,0,30\n,30,0\n").unwrap();
    let mut network = Network::new(&matrix, &Evaluation::default()).unwrap();
    for _ in 0..200 {
        network.run_cycle();
    }
    assert_eq!(network.tracker(0).measured_ms(2), None);
    let report = network.judge();
    assert!(report.median_rel_err < 0.02, "{report:?}");
}

#[test]
fn the_seed_decides_everything() {
    let matrix = world();
    let run = |seed| {
        let evaluation = Evaluation {
            seed,
            cycles: 100,
            liar_share: 0.1,
            jitter: 0.1,
            spike_share: 0.05,
            ..Evaluation::default()
        };
        evaluate(&matrix, &evaluation).unwrap()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn bad_constants_are_refused() {
    let mut evaluation = Evaluation::default();
    evaluation.config.gain = 2.0;
    let refused = evaluate(&world(), &evaluation).unwrap_err().to_string();
    assert_eq!(refused, "gain is 2, expected 0.01 to 1");
}

#[test]
fn the_hyperscale_profile_is_far_behind() {
    let matrix = world();
    let config = VivaldiConfig::hyperscale();
    let theirs = report(&matrix, &Evaluation { config, ..Evaluation::default() });
    let ours = report(&matrix, &Evaluation::default());
    assert!(theirs.median_rel_err > 3.0 * ours.median_rel_err, "{theirs:?} {ours:?}");
}
