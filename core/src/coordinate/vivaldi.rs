//! One node's place in the latency space, and how samples move it.
//!
//! Vivaldi with height vectors (SIGCOMM 2004, sections 3.4 and 5.4): every measured round trip is a
//! spring between two nodes whose rest length it is, and a node moves to where its springs pull it.
//! Four things differ from the paper, each because it made predictions better on every measured
//! matrix:
//!
//! * A node relaxes against remembered springs too, not only against the newest
//!   ([`springs`](super::springs)).
//! * A spring pulls no harder than a fraction of the node's usual mismatch, and far beyond that it
//!   gives way. The node comes to rest at a median, which slow paths, detours and liars hardly
//!   shift.
//! * A settled node's height may go below zero, where its paths are shorter than the space can
//!   show. The negative part is told as the adjustment (Serf has such a term; here it is part of
//!   the relaxation, and bounded).
//! * The step shrinks as the node settles and grows again when it finds itself misplaced; peers
//!   are told a running average.
//!
//! Nothing depends on the size of the network: limits follow the usual mismatch, weights the
//! typical round trip, both of which the node measures itself.

use super::config::VivaldiConfig;
use super::guard;
use super::lanes::{Lanes, Place, Pull, Width};
use super::quality;
use super::springs::Springs;
use super::tracker::Snapshot;
use super::{
    COMPONENT_SECONDS_MAX, Coordinate, DIMENSIONS, ERROR_MAX, EUCLIDEAN_SHARE_MIN,
    PREDICTION_SECONDS_MIN, greater, length, smaller,
};
use crate::random::Random;

/// How far from the origin a node starts, in seconds. Any direction will do, but all nodes must not
/// take the same.
const START_SECONDS: f64 = 1e-5;
/// A sample counts for at most this many times the running average that it enters.
const SURPRISE_MAX: f64 = 3.0;
/// Samples until that applies: before, there is no average worth the name.
const FIRST_SAMPLES: u64 = 20;
/// The most samples that a snapshot may claim: more cannot be taken in a lifetime.
const SAMPLE_COUNT_MAX: u64 = 1 << 40;
/// How much wider a new node's limit is: everything is far from rest, and nothing is an outlier
/// yet.
const LIMIT_HEAT: f64 = 2.0;
/// The least limit, in seconds: no clock is finer.
const LIMIT_SECONDS_MIN: f64 = 1e-6;
/// The least usual mismatch, in seconds. Numbers next to zero are slow to compute with.
const SCALE_SECONDS_MIN: f64 = 1e-9;
/// A contradiction is wrong by at least this share of the round trip.
const CONTRADICTION_SHARE_MIN: f64 = 0.5;
/// How the number of sigmas grows with a sample above the upper bound and shrinks with one below:
/// in balance when three samples in a hundred are above.
const SIGMA_GROWTH: f64 = 1.1;
const SIGMA_SHRINKAGE: f64 = 0.997;
/// Between which numbers it stays.
const SIGMA_COUNT_MIN: f64 = 0.5;
const SIGMA_COUNT_MAX: f64 = 10.0;
/// Share of one sample in the running error of a new node. (Vivaldi: `c_e`.)
const ERROR_GAIN_START: f64 = 0.25;
/// A relative error beyond this means the node is misplaced, and heats it up again.
const ERROR_MISPLACED: f64 = 0.5;
/// Above this heat a node takes a second step with every sample, along springs whose turn it is.
const HEAT_TWO_STEPS: f64 = 0.01;
/// Heat below this is none, for the same reason.
const HEAT_MIN: f64 = 1e-4;

/// One measured round trip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'a> {
    pub peer: &'a Coordinate,
    /// In seconds.
    pub round_trip: f64,
    /// Where its spring hangs.
    pub spring: u16,
}

/// The node's own coordinate and how it moves.
#[derive(Clone, Debug)]
pub(super) struct Vivaldi {
    place: Place,
    published: Coordinate,
    /// From 1, new or misplaced, to 0, settled.
    heat: f64,
    /// The usual mismatch in seconds.
    scale: f64,
    /// The usual round trip in seconds.
    typical: f64,
    sample_count: u64,
    /// How many sigmas the upper bound of a prediction lies above it.
    sigma_count: f64,
    /// [`VivaldiConfig::gravity_radius_seconds`] as a share of the distance per second of distance.
    gravity: f32,
    width: Width,
}

impl Vivaldi {
    /// A node that knows nothing yet: next to the origin, in a random direction, so that all
    /// dimensions come into use.
    pub(super) fn new(config: &VivaldiConfig, random: &mut Random) -> Vivaldi {
        let vector = random_direction(random).map(|component| component * START_SECONDS);
        let (height, radius) = (config.height_seconds_min, config.gravity_radius_seconds);
        let published = Coordinate { vector, height, adjustment: 0.0, error: ERROR_MAX };
        Vivaldi {
            place: place_of(&published),
            published,
            heat: 1.0,
            scale: 0.0,
            typical: 0.0,
            sample_count: 0,
            sigma_count: config.sigma_count,
            gravity: (1.0 / (radius * radius)) as f32,
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

    /// How many sigmas the upper bound of a prediction lies above it.
    pub(super) fn sigma_count(&self) -> f64 {
        self.sigma_count
    }

    /// The usual round trip, in seconds.
    pub(super) fn typical_seconds(&self) -> f64 {
        self.typical
    }

    pub(super) fn is_settled(&self, config: &VivaldiConfig) -> bool {
        quality::is_converged(config, self.published.error, self.sample_count)
    }

    /// Puts the node where it was before a restart. The larger its error was, the readier it is to
    /// move again.
    pub(super) fn restore(&mut self, config: &VivaldiConfig, snapshot: &Snapshot) {
        let mut coordinate = snapshot.coordinate;
        if coordinate.adjustment > 0.0 {
            // This profile has none above zero: it belongs to the height.
            let offset = smaller(coordinate.offset(), COMPONENT_SECONDS_MAX);
            coordinate.height = greater(offset, config.height_seconds_min);
            coordinate.adjustment = 0.0;
        }
        self.published = coordinate;
        self.place = place_of(&coordinate);
        self.scale = snapshot.mismatch_seconds;
        self.typical = snapshot.round_trip_seconds;
        // Without the usual round trip, its average has to begin anew.
        let is_usual = self.typical > 0.0;
        self.sample_count = if is_usual { snapshot.sample_count.min(SAMPLE_COUNT_MAX) } else { 0 };
        self.heat = smaller(coordinate.error / ERROR_MISPLACED, 1.0);
    }

    /// How far a measured round trip lies above the prediction from the inner place, in seconds.
    pub(super) fn mismatch(&self, peer: &Coordinate, round_trip: f64) -> f64 {
        let inner = &self.place.inner.0;
        let euclidean = length(&std::array::from_fn(|d| f64::from(inner[d]) - peer.vector[d]));
        let adjusted = euclidean + (f64::from(self.place.offset) + peer.offset());
        let least = greater(EUCLIDEAN_SHARE_MIN * euclidean, PREDICTION_SECONDS_MIN);
        round_trip - greater(adjusted, least)
    }

    /// Whether a mismatch is one that no spring of a settled node has.
    pub(super) fn is_contradiction(
        &self,
        config: &VivaldiConfig,
        mismatch: f64,
        round_trip: f64,
    ) -> bool {
        let cutoff = config.cutoff_factor * config.limit_factor * self.limit_scale();
        let mismatch = mismatch.abs();
        mismatch > 2.0 * cutoff
            && mismatch > CONTRADICTION_SHARE_MIN * round_trip
            && self.is_settled(config)
    }

    /// The usual mismatch as limits see it, in seconds.
    fn limit_scale(&self) -> f64 {
        guard::limit_scale(self.scale, self.typical)
    }

    /// Moves the node by one sample whose spring hangs already, and gives its mismatch in seconds.
    pub(super) fn update(
        &mut self,
        config: &VivaldiConfig,
        springs: &mut Springs,
        sample: &Sample,
    ) -> f64 {
        if self.sample_count == 0 {
            // Nothing is expected yet, so all of it is mismatch.
            self.scale = sample.round_trip;
            self.typical = sample.round_trip;
        }
        let pull = self.pull(config);
        let mismatch = self.mismatch(sample.peer, sample.round_trip);
        if self.heat > HEAT_TWO_STEPS {
            self.width.relax(&mut self.place, springs.block_of(sample.spring), &pull);
            self.settle(config);
        }
        self.width.relax(&mut self.place, springs.next_block(), &pull);
        self.settle(config);
        self.learn(config, sample, mismatch);
        self.publish(config, f64::from(pull.publish_share));
        mismatch
    }

    /// How springs pull at the present heat.
    fn pull(&self, config: &VivaldiConfig) -> Pull {
        let towards = |cold: f64, hot: f64| cold + self.heat * (hot - cold);
        let limit = towards(1.0, 1.0 + LIMIT_HEAT) * config.limit_factor * self.limit_scale();
        let limit = greater(limit, LIMIT_SECONDS_MIN);
        Pull {
            gain: towards(config.gain, config.gain_start) as f32,
            error: self.published.error as f32,
            stiffness_scale: self.typical.sqrt() as f32,
            evenness: self.heat as f32,
            limit: smaller(limit, config.limit_seconds_max) as f32,
            cutoff: (config.cutoff_factor * limit) as f32,
            gravity: self.gravity,
            publish_share: towards(config.publish_share, 1.0) as f32,
        }
    }

    /// Learns how large mismatches are. From peers that are not listened to as well: when they are
    /// the many, it is this node that is wrong, and it must find out.
    pub(super) fn learn_scale(&mut self, config: &VivaldiConfig, mismatch: f64) {
        let mismatch = mismatch.abs();
        let bounded = smaller(mismatch, SURPRISE_MAX * self.limit_scale());
        let scale = self.scale + config.error_gain * (bounded - self.scale);
        self.scale = greater(scale, SCALE_SECONDS_MIN);
    }

    /// Learns from one sample how wrong predictions are.
    fn learn(&mut self, config: &VivaldiConfig, sample: &Sample, mismatch: f64) {
        self.learn_sigma(sample, mismatch);
        let mismatch = mismatch.abs();
        let heat = self.heat;
        let gain = config.error_gain + heat * greater(ERROR_GAIN_START - config.error_gain, 0.0);

        let error = self.published.error;
        // As with springs, no peer counts as surer than this node.
        let confidence = smaller(2.0 * error / (error + sample.peer.error), 1.0);
        let surprise = mismatch / sample.round_trip;
        let surprise = smaller(smaller(surprise, SURPRISE_MAX * error + 0.05), ERROR_MAX);
        let error = error + gain * confidence * (surprise - error);
        self.published.error = smaller(greater(error, config.error_min), ERROR_MAX);

        self.sample_count += 1;
        if self.sample_count <= FIRST_SAMPLES {
            let share = 1.0 / self.sample_count as f64;
            self.scale += share * (mismatch - self.scale);
            self.typical += share * (sample.round_trip - self.typical);
        } else {
            self.learn_scale(config, mismatch);
            let round_trip = smaller(sample.round_trip, SURPRISE_MAX * self.typical);
            self.typical += config.error_gain * (round_trip - self.typical);
        }
        let misplaced = smaller(greater(self.published.error - ERROR_MISPLACED, 0.0), 1.0);
        let cooled = heat - config.cooling * heat;
        self.heat = greater(if cooled < HEAT_MIN { 0.0 } else { cooled }, misplaced);
    }

    /// Adapts the number of sigmas to how often samples lie above their upper bound.
    fn learn_sigma(&mut self, sample: &Sample, mismatch: f64) {
        let predicted = sample.round_trip - mismatch;
        let sigma = predicted * (self.published.error + sample.peer.error);
        let is_above = mismatch > self.sigma_count * sigma;
        let factor = if is_above { SIGMA_GROWTH } else { SIGMA_SHRINKAGE };
        self.sigma_count =
            smaller(greater(self.sigma_count * factor, SIGMA_COUNT_MIN), SIGMA_COUNT_MAX);
    }

    /// Keeps height and adjustment together within their range. Adjustments wait until the vector
    /// has found its place: taken too early they keep it from ever spreading out.
    fn settle(&mut self, config: &VivaldiConfig) {
        let after = u64::from(config.adjustment_after);
        let least = if self.sample_count >= 5 * after {
            config.height_seconds_min - config.adjustment_share_max * self.typical
        } else {
            let share = self.sample_count.saturating_sub(after) as f64 / (4 * after) as f64;
            config.height_seconds_min - config.adjustment_share_max * self.typical * share
        };
        let offset = greater(f64::from(self.place.offset), least);
        self.place.offset = smaller(offset, COMPONENT_SECONDS_MAX) as f32;
    }

    /// Moves what peers are told towards where the node is.
    fn publish(&mut self, config: &VivaldiConfig, share: f64) {
        let published = &mut self.published;
        published.vector = self.place.told.0.map(f64::from);
        let offset = published.height + published.adjustment;
        let offset = offset + share * (f64::from(self.place.offset) - offset);
        published.height = greater(offset, config.height_seconds_min);
        published.adjustment = offset - published.height;
        debug_assert!(published.is_valid(), "{published:?}");
    }
}

fn place_of(coordinate: &Coordinate) -> Place {
    let inner = Lanes(coordinate.vector.map(|component| component as f32));
    Place { inner, told: inner, offset: coordinate.offset() as f32 }
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
