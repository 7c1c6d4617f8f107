//! How costs grow with the cluster: the figures by size, and the exponent fitted through them.

use shoal_benches::figures::{Figure, Results};

/// A cost by number of members.
#[derive(Clone, Debug)]
pub struct Growth {
    /// What grows.
    pub title: &'static str,
    /// Whether it is ours or a peer's.
    pub is_ours: bool,
    /// Members and figure, in order of size.
    pub points: Vec<(f64, Figure)>,
}

/// What grows, how its figures begin and end around the size, whether it is ours.
const SERIES: [(&str, &str, &str, bool); 8] = [
    ("handle 20 updates, Shoal", "criterion/updates/handle 20/shoal/", "", true),
    ("handle 20 updates, foca", "criterion/updates/handle 20/foca/", "", false),
    ("a probe round, Shoal", "criterion/engine/a probe round with its datagram/members/", "", true),
    ("move one of so many timers, Shoal", "criterion/timers/move/", "", true),
    ("memory per member, Shoal", "memory/member/", "", true),
    ("processor time per node, all on one thread", "nodes/cpu per node/", "", true),
    ("memory per node, all in one process", "nodes/memory per node/", "", true),
    ("simulator, time per datagram", "simulation/cluster/", "/datagram", true),
];

/// Every cost that was measured at two sizes or more.
pub fn growths(results: &Results) -> Vec<Growth> {
    let of_series = |(title, prefix, suffix, is_ours): (&'static str, &str, &str, bool)| {
        let point = |figure: &Figure| {
            let size = figure.name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let size: f64 = size.parse().ok()?;
            Some((size, figure.clone()))
        };
        let mut points: Vec<_> = results.figures.iter().filter_map(point).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        Growth { title, is_ours, points }
    };
    SERIES.into_iter().map(of_series).filter(|growth| growth.points.len() > 1).collect()
}

impl Growth {
    /// The b of `cost = a * size ^ b`, by least squares over the logarithms: 0 is flat, 1
    /// linear.
    pub fn exponent(&self) -> f64 {
        let logs: Vec<(f64, f64)> =
            self.points.iter().map(|(size, figure)| (size.ln(), figure.value.ln())).collect();
        let count = logs.len() as f64;
        let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
        let covariance: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let variance: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        covariance / variance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_line_is_one_and_of_a_constant_zero() {
        let mut results = Results::default();
        for size in [100.0, 1_000.0, 100_000.0] {
            results.add(format!("memory/member/{size}"), 7.0, "B");
            results.add(format!("criterion/updates/handle 20/foca/{size}"), 3.0 * size, "ns");
        }
        let growths = growths(&results);
        assert_eq!(growths.len(), 2);
        assert!((growths[0].exponent() - 1.0).abs() < 1e-9, "{}", growths[0].title);
        assert!(growths[1].exponent().abs() < 1e-9, "{}", growths[1].title);
    }
}
