//! One node's place in the latency space, and how samples move it.
//!
//! Vivaldi with height vectors (SIGCOMM 2004, sections 3 and 5.4): every measured round trip is a
//! spring between two nodes whose rest length it is, and a node moves to where its springs pull it.
//! Four things differ from the paper, each because it made predictions better on every measured matrix:
//!
//! * A node relaxes against remembered springs too, not only against the newest ([`springs`](super::springs)).
//! * A spring pulls no harder than a fraction of the node's usual mismatch, and far beyond that it gives way. The
//!   node comes to rest at a median, which slow paths, detours and liars hardly shift.
//! * A settled node's height may go below zero, where its paths are shorter than the space can show. The
//!   negative part is told as the adjustment (Serf has such a term; here it is part of the relaxation and bounded).
//! * The step shrinks as the node settles and grows again when it finds itself misplaced; peers
//!   are told a running average.
//!
//! Nothing depends on the size of the network: limits follow the usual mismatch, weights the typical
//! round trip, both of which the node measures itself.

use super::config::VivaldiConfig;
use super::lanes::{Force, Origin, Pull, Width};
use super::quality;
use super::springs::Springs;
use super::tracker::Snapshot;
use super::{
    COMPONENT_SECONDS_MAX, Coordinate, DIMENSIONS, ERROR_MAX, EUCLIDEAN_SHARE_MIN,
    PREDICTION_SECONDS_MIN, length,
};
use crate::random::Random;

/// How far from the origin a node starts, in seconds. Any direction will do, but all nodes must not take the same.
const START_SECONDS: f64 = 1e-4;
/// A sample counts for at most this many times the running average that it enters.
const SURPRISE_MAX: f64 = 3.0;
/// Samples until limits apply to the running averages: before, there is no average worth the name.
const FIRST_SAMPLES: u64 = 20;
/// How much wider a new node's limit is: everything is far from rest, and nothing is an outlier yet.
const LIMIT_HEAT: f64 = 2.0;
/// The least limit, in seconds: no clock is finer.
const LIMIT_SECONDS_MIN: f64 = 1e-6;
/// Share of one sample in the running error of a new node. (Vivaldi: `c_e`.)
const ERROR_GAIN_START: f64 = 0.25;
/// Heat below this is none.
const HEAT_MIN: f64 = 1e-4;
/// A relative error beyond this means the node is misplaced, and heats it up again.
const ERROR_MISPLACED: f64 = 0.5;

/// One measured round trip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// In seconds.
    pub round_trip: f64,
    /// How far it lies above the prediction, in seconds.
    pub mismatch: f64,
    /// The error that the peer admits to.
    pub peer_error: f64,
}

/// The node's own coordinate and how it moves.
#[derive(Clone, Debug)]
pub(super) struct Vivaldi {
    vector: [f64; DIMENSIONS],
    /// Height plus adjustment: a height that may be negative.
    offset: f64,
    published: Coordinate,
    /// From 1, new or misplaced, to 0, settled.
    heat: f64,
    /// The usual mismatch in seconds.
    scale: f64,
    /// The usual round trip in seconds.
    typical: f64,
    sample_count: u64,
    width: Width,
}

impl Vivaldi {
    /// A node that knows nothing yet: next to the origin, in a random direction, so that all
    /// dimensions come into use.
    pub(super) fn new(config: &VivaldiConfig, random: &mut Random) -> Vivaldi {
        let vector = random_direction(random).map(|component| component * START_SECONDS);
        let offset = config.height_seconds_min;
        Vivaldi {
            vector,
            offset,
            published: Coordinate { vector, height: offset, adjustment: 0.0, error: ERROR_MAX },
            heat: 1.0,
            scale: 0.0,
            typical: 0.0,
            sample_count: 0,
            width: Width::detect(),
        }
    }

    /// The coordinate that peers are told.
    pub(super) fn coordinate(&self) -> &Coordinate {
        &self.published
    }

    pub(super) fn sample_count(&self) -> u64 {
        self.sample_count
    }

    /// The usual mismatch between measured and predicted round trips, in seconds.
    pub(super) fn scale_seconds(&self) -> f64 {
        self.scale
    }

    /// The usual round trip, in seconds.
    pub(super) fn typical_seconds(&self) -> f64 {
        self.typical
    }

    /// Puts the node where it was before a restart. It is not quite as sure of it as it was.
    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
        let coordinate = snapshot.coordinate;
        self.vector = coordinate.vector;
        self.offset = coordinate.offset();
        self.published = coordinate;
        self.scale = snapshot.mismatch_seconds;
        self.typical = snapshot.round_trip_seconds;
        self.sample_count = snapshot.sample_count;
        self.heat = (coordinate.error / ERROR_MISPLACED).min(1.0);
    }

    /// How far a measured round trip lies above the prediction, in seconds.
    pub(super) fn mismatch(&self, peer: &Coordinate, round_trip: f64) -> f64 {
        let euclidean = length(&std::array::from_fn(|d| self.vector[d] - peer.vector[d]));
        let adjusted = euclidean + (self.offset + peer.offset());
        round_trip - adjusted.max(EUCLIDEAN_SHARE_MIN * euclidean).max(PREDICTION_SECONDS_MIN)
    }

    /// Whether a mismatch is one that no spring of a settled node has.
    pub(super) fn is_contradiction(&self, config: &VivaldiConfig, mismatch: f64) -> bool {
        let cutoff = config.cutoff_factor * config.limit_factor * self.scale;
        self.is_settled(config) && mismatch.abs() > 2.0 * cutoff
    }

    pub(super) fn is_settled(&self, config: &VivaldiConfig) -> bool {
        quality::is_converged(config, self.published.error, self.sample_count)
    }

    /// Moves the node by one sample: along the springs of the block that holds it and of the block whose
    /// turn it is. Both are judged from where the node was, so that neither waits for the other.
    pub(super) fn update(
        &mut self,
        config: &VivaldiConfig,
        springs: &mut Springs,
        newest: u16,
        sample: &Sample,
    ) {
        if self.sample_count == 0 {
            self.scale = sample.mismatch.abs();
            self.typical = sample.round_trip;
        }
        let factor = config.limit_factor * (1.0 + LIMIT_HEAT * self.heat);
        let limit = (factor * self.scale).clamp(LIMIT_SECONDS_MIN, config.limit_seconds_max);
        let pull = Pull {
            error: self.published.error as f32,
            stiffness_scale: self.typical.sqrt() as f32,
            evenness: self.heat as f32,
            limit: limit as f32,
            cutoff: (config.cutoff_factor * limit) as f32,
        };
        let gain = config.gain + self.heat * (config.gain_start - config.gain);
        let origin = self.origin();
        let (block, next) = springs.pair(newest);
        let mut force = self.width.relax(&origin, block, &pull);
        if let Some(block) = next {
            force = force + self.width.relax(&origin, block, &pull);
        }
        self.learn(config, sample);
        self.step(gain, &force);
        self.offset = self.offset.max(self.offset_min(config));
        self.fall(config);
        self.publish(config);
    }

    /// Learns from one sample how wrong predictions are.
    fn learn(&mut self, config: &VivaldiConfig, sample: &Sample) {
        let mismatch = sample.mismatch.abs();
        let heat = self.heat;
        let gain = config.error_gain + heat * (ERROR_GAIN_START - config.error_gain).max(0.0);

        let error = self.published.error;
        let confidence = error / (error + sample.peer_error);
        let surprise = mismatch / sample.round_trip;
        let surprise = surprise.min(SURPRISE_MAX * error + 0.05).min(ERROR_MAX);
        let error = error + 2.0 * gain * confidence * (surprise - error);
        self.published.error = error.clamp(config.error_min, ERROR_MAX);

        self.sample_count += 1;
        let (share, surprise_max) = if self.sample_count <= FIRST_SAMPLES {
            (1.0 / self.sample_count as f64, f64::INFINITY)
        } else {
            (config.error_gain, SURPRISE_MAX)
        };
        self.scale += share * (mismatch.min(surprise_max * self.scale) - self.scale);
        let round_trip = sample.round_trip.min(surprise_max * self.typical);
        self.typical += share * (round_trip - self.typical);

        let misplaced = (self.published.error - ERROR_MISPLACED).clamp(0.0, 1.0);
        let cooled = heat - config.cooling * heat;
        // Cold enough is cold: numbers next to zero are slow to compute with.
        self.heat = if cooled < HEAT_MIN { misplaced } else { cooled.max(misplaced) };
    }

    /// The end of predictions and relaxations, as the wide arithmetic wants it.
    fn origin(&self) -> Origin {
        Origin {
            vector: self.vector.map(|component| component as f32),
            offset: self.offset as f32,
            euclidean_share: EUCLIDEAN_SHARE_MIN as f32,
            minimum: PREDICTION_SECONDS_MIN as f32,
        }
    }

    /// Goes a share of the way that the springs pull on average, so that the way is never longer than
    /// that share of the limit.
    fn step(&mut self, gain: f64, force: &Force) {
        if force.weight <= 0.0 {
            return;
        }
        let gain = gain / f64::from(force.weight);
        for (component, force) in self.vector.iter_mut().zip(force.vector) {
            *component += gain * f64::from(force);
        }
        self.offset += gain * f64::from(force.offset);
    }

    /// The lowest that height and adjustment together may be. Adjustments wait until the vector has found
    /// its place: taken too early they keep it from ever spreading out.
    fn offset_min(&self, config: &VivaldiConfig) -> f64 {
        let after = u64::from(config.adjustment_after);
        let beyond = self.sample_count.saturating_sub(after) as f64;
        let share = (beyond / (4.0 * after.max(1) as f64)).min(1.0);
        config.height_seconds_min - config.adjustment_share_max * self.typical * share
    }

    /// Gravity: a pull to the origin that grows with the square of the distance, nothing within a continent's
    /// distances and strong enough to stop a drift of all nodes together.
    fn fall(&mut self, config: &VivaldiConfig) {
        let radius = config.gravity_radius_seconds;
        let share = (length(&self.vector) / (radius * radius)).min(1.0);
        for component in &mut self.vector {
            *component -= share * *component;
            *component = component.clamp(-COMPONENT_SECONDS_MAX, COMPONENT_SECONDS_MAX);
        }
        self.offset = self.offset.min(COMPONENT_SECONDS_MAX);
    }

    /// Moves what peers are told towards where the node is.
    fn publish(&mut self, config: &VivaldiConfig) {
        let share = config.publish_share + self.heat * (1.0 - config.publish_share);
        let published = &mut self.published;
        for (told, inner) in published.vector.iter_mut().zip(self.vector) {
            *told += share * (inner - *told);
        }
        let offset = published.offset() + share * (self.offset - published.offset());
        published.height = offset.max(config.height_seconds_min);
        published.adjustment = offset - published.height;
        debug_assert!(published.is_valid(), "{published:?}");
    }
}

/// A direction of length one, drawn evenly: corners of the cube are not favoured.
fn random_direction(random: &mut Random) -> [f64; DIMENSIONS] {
    loop {
        let vector: [f64; DIMENSIONS] = std::array::from_fn(|_| 2.0 * random.unit() - 1.0);
        let length = length(&vector);
        if (0.1..=1.0).contains(&length) {
            return vector.map(|component| component / length);
        }
    }
}
