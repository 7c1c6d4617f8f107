//! Prints how accurate coordinates are on a matrix, at several moments, as the median over seeds.
//!
//! ```text
//! cargo run --release -p shoal-simulator --example accuracy -- [--matrix FILE]
//!     [--cycles 20,100,1000] [--seeds 5] [--liars 0.1] [--lie far|drift|joint] [--speed MS]
//!     [--repent CYCLE] [--jitter J] [--spikes P] [--set NAME=VALUE]...
//! ```

use shoal_core::coordinate::VivaldiConfig;
use shoal_simulator::accuracy::{CoordinateReport, Evaluation, Lie, Network};
use shoal_simulator::matrix::{Matrix, World};

fn main() {
    let mut evaluation = Evaluation::default();
    let (mut path, mut lie, mut speed, mut seeds) = (None, "far".to_owned(), 1.0, 5u64);
    let mut moments: Vec<u32> = vec![20, 100, 1_000];
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().expect("every option has a value");
        let number = || value.parse::<f64>().expect("a number");
        match option.as_str() {
            "--matrix" => path = Some(value),
            "--cycles" => moments = value.split(',').map(|n| n.parse().expect("a count")).collect(),
            "--seeds" => seeds = number() as u64,
            "--liars" => evaluation.liar_share = number(),
            "--lie" => lie = value,
            "--speed" => speed = number(),
            "--repent" => evaluation.liars_repent_at = Some(number() as u32),
            "--jitter" => evaluation.jitter = number(),
            "--spikes" => evaluation.spike_share = number(),
            "--set" => set(&mut evaluation.config, &value),
            _ => panic!("unknown option {option}"),
        }
    }
    evaluation.lie = match lie.as_str() {
        "drift" => Lie::SlowDrift { ms_per_cycle: speed },
        "joint" => Lie::JointDrift { ms_per_cycle: speed },
        _ => Lie::ConstantFar,
    };
    evaluation.cycles = *moments.iter().max().expect("at least one moment");
    let matrix = match &path {
        Some(path) => Matrix::read(path).unwrap_or_else(|error| panic!("{error}")),
        None => World::default().matrix(),
    };
    let mut reports = vec![Vec::new(); moments.len()];
    for seed in 1..=seeds {
        evaluation.seed = seed;
        let mut network = Network::new(&matrix, &evaluation).expect("the constants pass");
        while network.cycle() < evaluation.cycles {
            network.run_cycle();
            if let Some(index) = moments.iter().position(|&moment| moment == network.cycle()) {
                reports[index].push(network.judge());
            }
        }
    }
    println!("cycles  median   p90    ms     nearest  measured  top1   within upper");
    for (moment, reports) in moments.iter().zip(&reports) {
        let report = CoordinateReport::median(reports);
        println!(
            "{moment:6}  {:.4}   {:.3}  {:5.2}  {:6.2}x  {:6.2}x  {:.3}  {:.3} {:.2}",
            report.median_rel_err,
            report.p90_rel_err,
            report.median_abs_err_ms,
            report.nearest_stretch_median,
            report.nearest_stretch_measured_median,
            report.top1_of_10,
            report.within_upper,
            report.upper_ratio_median,
        );
    }
}

fn set(config: &mut VivaldiConfig, assignment: &str) {
    let (name, value) = assignment.split_once('=').expect("NAME=VALUE");
    let number: f64 = value.parse().expect("a number");
    match name {
        "gain_start" => config.gain_start = number,
        "gain" => config.gain = number,
        "cooling" => config.cooling = number,
        "error_gain" => config.error_gain = number,
        "limit_factor" => config.limit_factor = number,
        "limit_seconds_max" => config.limit_seconds_max = number,
        "cutoff_factor" => config.cutoff_factor = number,
        "spring_capacity" => config.spring_capacity = number as u32,
        "adjustment_share_max" => config.adjustment_share_max = number,
        "adjustment_after" => config.adjustment_after = number as u32,
        "gravity_radius_seconds" => config.gravity_radius_seconds = number,
        "publish_share" => config.publish_share = number,
        "distrust_after" => config.distrust_after = number as u8,
        "sigma_count" => config.sigma_count = number,
        _ => panic!("unknown constant {name}"),
    }
}
