//! How good predictions are: every node of a matrix runs a [`Tracker`], probes one random node per
//! cycle, and in the end every pair is judged.
//!
//! A probe carries the prober's coordinate, its ack the peer's, as in the engine, and only the
//! prober learns the round trip. Predictions are judged from the two published coordinates alone,
//! never from what a pair measured itself, except for the one figure that says so. Some nodes may
//! lie about where they are; then only honest pairs are judged.

use crate::matrix::Matrix;
use serde::Serialize;
use shoal_core::coordinate::{COMPONENT_SECONDS_MAX, Coordinate, Rtt, Tracker, VivaldiConfig};
use shoal_core::random::Random;
use shoal_core::{ConfigError, Duration, Instant};

/// How lying nodes lie. They never lie about round trips: an ack can be delayed, not hurried.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Lie {
    /// Each tells a fixed coordinate one second away in a direction of its own, with the best error
    /// that is believed.
    #[default]
    ConstantFar,
    /// Each tells a coordinate that moves away from its honest one in a direction of its own,
    /// beginning after a fifth of the cycles.
    SlowDrift {
        /// Milliseconds per cycle.
        ms_per_cycle: f64,
    },
    /// The same, but all in one direction.
    JointDrift {
        /// Milliseconds per cycle.
        ms_per_cycle: f64,
    },
}

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Probes that each node sends.
    pub cycles: u32,
    /// Decides who probes whom, who lies, and where nodes start.
    pub seed: u64,
    /// Share of the nodes that lie, 0 to 0.9.
    pub liar_share: f64,
    /// How they lie.
    pub lie: Lie,
    /// The cycle from which on they are honest, if any.
    pub liars_repent_at: Option<u32>,
    /// Each round trip is longer by a random share of itself, up to this.
    pub jitter: f64,
    /// This share of round trips is up to ten times as long.
    pub spike_share: f64,
    /// The constants of all nodes.
    pub config: VivaldiConfig,
    /// Simulated time between two probes of a node.
    pub probe_interval: Duration,
}

impl Default for Evaluation {
    fn default() -> Evaluation {
        Evaluation {
            cycles: 1_000,
            seed: 1,
            liar_share: 0.0,
            lie: Lie::ConstantFar,
            liars_repent_at: None,
            jitter: 0.0,
            spike_share: 0.0,
            config: VivaldiConfig::default(),
            probe_interval: Duration::from_millis(500),
        }
    }
}

/// How good predictions were, over all pairs of honest nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CoordinateReport {
    /// Median of |predicted - true| / true.
    pub median_rel_err: f64,
    /// 90th percentile of the same.
    pub p90_rel_err: f64,
    /// Median of |predicted - true|, in milliseconds.
    pub median_abs_err_ms: f64,
    /// How many times farther than its truly nearest node the one is that a node thinks nearest,
    /// from coordinates alone; median over the nodes.
    pub nearest_stretch_median: f64,
    /// The same when a node may use the round trips that it measured itself.
    pub nearest_stretch_measured_median: f64,
    /// How often a node picks the truly nearest of ten random candidates, from coordinates alone.
    pub top1_of_10: f64,
    /// How often a round trip is within the upper bound that a node predicts from what it last
    /// heard of its peer.
    pub within_upper: f64,
    /// How many times the true round trip that bound is; median.
    pub upper_ratio_median: f64,
}

impl CoordinateReport {
    /// The report whose figures are the medians of those of several runs.
    ///
    /// # Panics
    /// When there is none.
    pub fn median(reports: &[CoordinateReport]) -> CoordinateReport {
        let median = |figure: fn(&CoordinateReport) -> f64| {
            let mut figures: Vec<f64> = reports.iter().map(figure).collect();
            percentile(&mut figures, 0.5)
        };
        CoordinateReport {
            median_rel_err: median(|report| report.median_rel_err),
            p90_rel_err: median(|report| report.p90_rel_err),
            median_abs_err_ms: median(|report| report.median_abs_err_ms),
            nearest_stretch_median: median(|report| report.nearest_stretch_median),
            nearest_stretch_measured_median: median(|r| r.nearest_stretch_measured_median),
            top1_of_10: median(|report| report.top1_of_10),
            within_upper: median(|report| report.within_upper),
            upper_ratio_median: median(|report| report.upper_ratio_median),
        }
    }
}

/// Runs one evaluation and judges it at its end.
///
/// # Errors
/// The first constant of the configuration that is out of its range.
pub fn evaluate(matrix: &Matrix, evaluation: &Evaluation) -> Result<CoordinateReport, ConfigError> {
    let mut network = Network::new(matrix, evaluation)?;
    for _ in 0..evaluation.cycles {
        network.run_cycle();
    }
    Ok(network.judge())
}

/// All nodes of a matrix, for evaluations that want to look in between.
#[derive(Clone, Debug)]
pub struct Network<'a> {
    matrix: &'a Matrix,
    evaluation: Evaluation,
    trackers: Vec<Tracker>,
    /// The direction of each node's lies, of length one; `None` for honest nodes.
    lies: Vec<Option<[f64; 8]>>,
    random: Random,
    cycle: u32,
}

impl<'a> Network<'a> {
    /// Nodes that know nothing yet.
    ///
    /// # Errors
    /// The first constant of the configuration that is out of its range.
    pub fn new(matrix: &'a Matrix, evaluation: &Evaluation) -> Result<Network<'a>, ConfigError> {
        let count = matrix.node_count();
        let mut random = Random::new(evaluation.seed);
        let trackers = (0..count)
            .map(|_| Tracker::with_config(evaluation.config.clone(), count as u32, random.fork()))
            .collect::<Result<Vec<_>, _>>()?;
        let liar_count = (evaluation.liar_share.clamp(0.0, 0.9) * count as f64).round() as usize;
        let mut order: Vec<usize> = (0..count).collect();
        random.shuffle(&mut order);
        let mut lies = vec![None; count];
        for &liar in &order[..liar_count] {
            lies[liar] = Some(direction(&mut random));
        }
        let evaluation = evaluation.clone();
        Ok(Network { matrix, evaluation, trackers, lies, random, cycle: 0 })
    }

    /// Every node probes one random other node whose round trip is known.
    pub fn run_cycle(&mut self) {
        let count = self.trackers.len();
        self.cycle += 1;
        let now = self.now();
        for prober in 0..count {
            let target = self.random.below(count as u32 - 1) as usize;
            let target = target + usize::from(target >= prober);
            let Some(ms) = self.matrix.round_trip_ms(prober, target) else { continue };
            let round_trip = Duration::from_nanos((self.noisy(ms) * 1e6) as u64);
            let (asked, answered) = (self.told_by(prober), self.told_by(target));
            // A refusal is part of what is evaluated: the trackers count them.
            let _ = self.trackers[target].observe(prober as u32, &asked, None, now);
            let _ = self.trackers[prober].observe(target as u32, &answered, Some(round_trip), now);
        }
    }

    /// The tracker of a node.
    pub fn tracker(&self, node: usize) -> &Tracker {
        &self.trackers[node]
    }

    /// Puts a node that knows nothing in the place of another, which all the others forget.
    pub fn restart(&mut self, node: usize) {
        let count = self.trackers.len() as u32;
        let config = self.evaluation.config.clone();
        let fresh = Tracker::with_config(config, count, self.random.fork());
        self.trackers[node] = fresh.expect("the same constants passed before");
        for tracker in &mut self.trackers {
            tracker.forget(node as u32);
        }
    }

    /// Cycles run so far.
    pub fn cycle(&self) -> u32 {
        self.cycle
    }

    /// The simulated time.
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.evaluation.probe_interval * self.cycle
    }

    /// Judges all pairs of honest nodes as things stand.
    pub fn judge(&self) -> CoordinateReport {
        let mut pairs = Pairs::default();
        let (mut stretches, mut stretches_measured) = (Vec::new(), Vec::new());
        let mut sweep = Vec::new();
        for node in self.honest() {
            let (tracker, own) = (&self.trackers[node], self.trackers[node].coordinate());
            tracker.rtt_all(self.now(), &mut sweep);
            let (mut nearest, mut predicted, mut measured) = (Pick::NONE, Pick::NONE, Pick::NONE);
            for peer in self.honest().filter(|&peer| peer != node) {
                let Some(ms) = self.matrix.round_trip_ms(node, peer) else { continue };
                let coordinate = self.trackers[peer].coordinate();
                let estimate_ms = self.predict_ms(own, coordinate);
                pairs.add(ms, estimate_ms, tracker.prediction(peer as u32, self.now()));
                nearest.offer(ms, ms);
                predicted.offer(estimate_ms, ms);
                let own_measured = tracker.measured_ms(peer as u32).is_some();
                let known = f64::from(sweep.get(peer).copied().unwrap_or(f32::INFINITY));
                measured.offer(if own_measured { known } else { estimate_ms }, ms);
            }
            if nearest.value.is_finite() {
                stretches.push(predicted.truth / nearest.truth);
                stretches_measured.push(measured.truth / nearest.truth);
            }
        }
        CoordinateReport {
            median_rel_err: percentile(&mut pairs.relative, 0.5),
            p90_rel_err: percentile(&mut pairs.relative, 0.9),
            median_abs_err_ms: percentile(&mut pairs.absolute_ms, 0.5),
            nearest_stretch_median: percentile(&mut stretches, 0.5),
            nearest_stretch_measured_median: percentile(&mut stretches_measured, 0.5),
            top1_of_10: self.top1_of_10(),
            within_upper: pairs.within_upper as f64 / pairs.heard.max(1) as f64,
            upper_ratio_median: percentile(&mut pairs.upper_ratios, 0.5),
        }
    }

    fn honest(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.trackers.len()).filter(|&node| self.lies[node].is_none())
    }

    fn predict_ms(&self, own: &Coordinate, peer: &Coordinate) -> f64 {
        own.distance(peer) * 1e3
    }

    /// Each honest node chooses among ten random candidates, twenty times.
    fn top1_of_10(&self) -> f64 {
        let honest: Vec<usize> = self.honest().collect();
        let mut random = Random::new(self.evaluation.seed ^ 0x70_70_31);
        let (mut right, mut total) = (0u32, 0u32);
        if honest.len() < 2 {
            return 0.0;
        }
        for &node in &honest {
            let own = self.trackers[node].coordinate();
            for _ in 0..20 {
                let (mut nearest, mut predicted) = (Pick::NONE, Pick::NONE);
                for _ in 0..10 {
                    let peer = honest[random.below(honest.len() as u32) as usize];
                    let Some(ms) = self.matrix.round_trip_ms(node, peer) else { continue };
                    nearest.offer(ms, ms);
                    let estimate_ms = self.predict_ms(own, self.trackers[peer].coordinate());
                    predicted.offer(estimate_ms, ms);
                }
                if nearest.value.is_finite() {
                    total += 1;
                    right += u32::from(predicted.truth <= nearest.truth);
                }
            }
        }
        f64::from(right) / f64::from(total.max(1))
    }

    fn noisy(&mut self, ms: f64) -> f64 {
        let mut ms = ms;
        if self.evaluation.jitter > 0.0 {
            ms *= 1.0 + self.evaluation.jitter * self.random.unit();
        }
        if self.random.chance(self.evaluation.spike_share) {
            ms *= 1.0 + 9.0 * self.random.unit();
        }
        ms.min(crate::matrix::ROUND_TRIP_MS_MAX)
    }

    /// What a node tells of itself.
    fn told_by(&self, node: usize) -> Coordinate {
        let honest = *self.trackers[node].coordinate();
        let repented = self.evaluation.liars_repent_at.is_some_and(|at| self.cycle >= at);
        let Some(own_direction) = self.lies[node].filter(|_| !repented) else { return honest };
        let drift_after = self.evaluation.cycles / 5;
        let drifted = f64::from(self.cycle.saturating_sub(drift_after));
        let (direction, seconds) = match self.evaluation.lie {
            Lie::ConstantFar => (own_direction, 1.0),
            Lie::SlowDrift { ms_per_cycle } => (own_direction, drifted * ms_per_cycle * 1e-3),
            Lie::JointDrift { ms_per_cycle } => {
                let joint = self.lies.iter().flatten().next().expect("this node lies");
                (*joint, drifted * ms_per_cycle * 1e-3)
            }
        };
        if self.evaluation.lie == Lie::ConstantFar {
            let vector = direction;
            return Coordinate { vector, height: 1e-3, adjustment: 0.0, error: 0.01 };
        }
        if seconds == 0.0 {
            return honest;
        }
        let mut vector = honest.vector;
        for (component, direction) in vector.iter_mut().zip(direction) {
            *component += seconds * direction;
            *component = component.clamp(-COMPONENT_SECONDS_MAX, COMPONENT_SECONDS_MAX);
        }
        Coordinate { vector, error: 0.01, ..honest }
    }
}

/// The smallest value offered so far, and the truth that came with it.
#[derive(Clone, Copy)]
struct Pick {
    value: f64,
    truth: f64,
}

impl Pick {
    const NONE: Pick = Pick { value: f64::INFINITY, truth: f64::INFINITY };

    fn offer(&mut self, value: f64, truth: f64) {
        if value < self.value {
            *self = Pick { value, truth };
        }
    }
}

/// Errors of all pairs judged.
#[derive(Default)]
struct Pairs {
    relative: Vec<f64>,
    absolute_ms: Vec<f64>,
    within_upper: usize,
    heard: usize,
    upper_ratios: Vec<f64>,
}

impl Pairs {
    fn add(&mut self, ms: f64, estimate_ms: f64, told: Option<Rtt>) {
        let wrong_ms = (estimate_ms - ms).abs();
        self.relative.push(wrong_ms / ms);
        self.absolute_ms.push(wrong_ms);
        if let Some(told) = told {
            self.heard += 1;
            self.within_upper += usize::from(ms <= told.upper_ms);
            self.upper_ratios.push(told.upper_ms / ms);
        }
    }
}

/// The value below which this share of the others lies; NaN when there are none.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let index = ((values.len() - 1) as f64 * share).round() as usize;
    *values.select_nth_unstable_by(index, f64::total_cmp).1
}

/// A direction of length one.
fn direction(random: &mut Random) -> [f64; 8] {
    loop {
        let vector: [f64; 8] = std::array::from_fn(|_| 2.0 * random.unit() - 1.0);
        let length = vector.iter().map(|component| component * component).sum::<f64>().sqrt();
        if (0.1..=1.0).contains(&length) {
            return vector.map(|component| component / length);
        }
    }
}
