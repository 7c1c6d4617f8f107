//! Keeps the node's own coordinate and what it knows of each peer's, by member slot.
//!
//! This is the one door to the module: a sample passes the [`guard`], enters the
//! [`table`](super::table) and the peer's [`filter`](super::filter), becomes a spring, and moves
//! the node. What is not used is counted by reason. Questions prefer what was measured to what is
//! predicted.

use super::config::{Profile, VivaldiConfig};
use super::guard::{self, Refusal};
use super::hyperscale::{self, Hyperscale};
use super::lanes::Peer;
use super::quality::{self, Prediction, Rtt};
use super::springs::{self, Springs};
use super::table::{Floor, Record, Table, Tick};
use super::vivaldi::{Sample, Vivaldi};
use super::{COMPONENT_SECONDS_MAX, Coordinate, ERROR_MAX};
use crate::error::ConfigError;
use crate::random::Random;
use crate::time::{Duration, Instant};

/// Whose arithmetic moves the own coordinate.
#[derive(Clone, Debug)]
enum Model {
    Native(Box<Vivaldi>),
    Hyperscale(Box<Hyperscale>),
}

/// Counters of the coordinate system since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Samples that moved the node.
    pub updates: u64,
    /// Coordinates heard without a round trip.
    pub heard: u64,
    /// What was not used, by reason.
    pub refused: [u64; Refusal::ALL.len()],
    /// The present relative error of predictions (profile `hyperscale`: error in seconds).
    pub prediction_error: f64,
    /// The usual mismatch between measured and predicted round trips, in seconds.
    pub mismatch_seconds: f64,
    /// How long it took from the first sample to convergence, once it has happened.
    pub convergence_time: Option<Duration>,
}

impl Metrics {
    /// How often something was refused for this reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize]
    }
}

/// What a node keeps of its place across a restart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// The published coordinate.
    pub coordinate: Coordinate,
    /// The usual mismatch in seconds; 0 to 10.
    pub mismatch_seconds: f64,
    /// The usual round trip in seconds; 0 to 10.
    pub round_trip_seconds: f64,
    /// Samples that led there.
    pub sample_count: u64,
}

/// The coordinates of this node and of its peers, by member slot.
#[derive(Clone, Debug)]
pub struct Tracker {
    config: VivaldiConfig,
    model: Model,
    springs: Springs,
    table: Table,
    metrics: Metrics,
    first_sample_at: Option<Instant>,
    /// [`VivaldiConfig::sample_interval_ms_min`] in units of the table's clock.
    sample_units_min: i32,
}

impl Tracker {
    /// A tracker for slots below `peer_capacity`, with the default constants.
    pub fn new(peer_capacity: u32, random: Random) -> Tracker {
        Tracker::with_config(VivaldiConfig::default(), peer_capacity, random)
            .expect("the defaults pass")
    }

    /// A tracker for slots below `peer_capacity`.
    ///
    /// # Errors
    /// The first constant that is out of its range.
    pub fn with_config(
        config: VivaldiConfig,
        peer_capacity: u32,
        mut random: Random,
    ) -> Result<Tracker, ConfigError> {
        config.check()?;
        let (model, floor) = match &config.profile {
            Profile::Native => {
                (Model::Native(Box::new(Vivaldi::new(&config, &mut random))), Floor::NATIVE)
            }
            Profile::Hyperscale(own) => {
                (Model::Hyperscale(Box::new(Hyperscale::new(own.clone()))), Floor::HYPERSCALE)
            }
        };
        let interval = Duration::from_millis(config.sample_interval_ms_min.into());
        Ok(Tracker {
            springs: Springs::new(config.spring_capacity),
            model,
            table: Table::new(peer_capacity, floor),
            metrics: Metrics::default(),
            first_sample_at: None,
            sample_units_min: Tick::units_of(interval),
            config,
        })
    }

    /// The constants in use.
    pub fn config(&self) -> &VivaldiConfig {
        &self.config
    }

    /// The node's own published coordinate.
    #[inline]
    pub fn coordinate(&self) -> &Coordinate {
        match &self.model {
            Model::Native(vivaldi) => vivaldi.coordinate(),
            Model::Hyperscale(hyperscale) => hyperscale.coordinate(),
        }
    }

    /// Takes note of a peer's coordinate and, after an exchange, of the round trip to it.
    ///
    /// # Errors
    /// Why it was not used; [`Refusal`] says what was taken nevertheless.
    ///
    /// # Panics
    /// When the slot is not below the capacity.
    pub fn observe(
        &mut self,
        slot: u32,
        coordinate: &Coordinate,
        round_trip: Option<Duration>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let result = self.take(slot, Some(coordinate), round_trip, now);
        result.inspect_err(|&reason| self.metrics.refused[reason as usize] += 1)
    }

    /// Takes note of a round trip to a peer that told no coordinate. It moves nothing, but it is
    /// preferred to predictions.
    ///
    /// # Errors
    /// Why it was not used; nothing has changed.
    ///
    /// # Panics
    /// When the slot is not below the capacity.
    pub fn measure(
        &mut self,
        slot: u32,
        round_trip: Duration,
        now: Instant,
    ) -> Result<(), Refusal> {
        let result = self.take(slot, None, Some(round_trip), now);
        result.inspect_err(|&reason| self.metrics.refused[reason as usize] += 1)
    }

    fn take(
        &mut self,
        slot: u32,
        coordinate: Option<&Coordinate>,
        round_trip: Option<Duration>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let error_max = match &self.model {
            Model::Native(_) => ERROR_MAX,
            Model::Hyperscale(_) => hyperscale::ERROR_SECONDS_MAX,
        };
        if coordinate.is_some_and(|peer| !guard::is_coordinate_valid(peer, error_max)) {
            return Err(Refusal::Coordinate);
        }
        let round_trip = round_trip.map(guard::round_trip_seconds).transpose()?;
        let tick = Tick::of(now);
        let record = self.table.record_mut(slot);
        if round_trip.is_some() && record.filter.count() > 0 {
            check_time(self.sample_units_min, record, tick)?;
        }

        let spring = record.spring;
        if let Some(coordinate) = coordinate {
            let peer = Peer::of(coordinate);
            self.table.place(slot, coordinate, &peer, tick);
            if spring != springs::NONE {
                self.springs.place(spring, &peer);
            }
        }
        let Some(seconds) = round_trip else {
            self.metrics.heard += 1;
            return Ok(());
        };
        let record = self.table.record_mut(slot);
        record.measured_at = tick;
        let seconds = f64::from(record.filter.push(seconds as f32));
        match coordinate {
            Some(peer) => self.update(slot, peer, seconds, now),
            None => Ok(()),
        }
    }

    /// Moves the node by one sample that has passed all checks of its form.
    fn update(
        &mut self,
        slot: u32,
        peer: &Coordinate,
        round_trip: f64,
        now: Instant,
    ) -> Result<(), Refusal> {
        let first_sample_at = *self.first_sample_at.get_or_insert(now);
        match &mut self.model {
            Model::Hyperscale(hyperscale) => hyperscale.update(peer, round_trip),
            Model::Native(vivaldi) => {
                let (config, threshold) = (&self.config, self.config.distrust_after);
                let spring = hang(&mut self.table, &mut self.springs, slot, peer);
                let distrust = &mut self.table.record_mut(slot).distrust;
                let counts = distrust.is_trusted(threshold);
                self.springs.stretch(spring, round_trip, counts);
                if !counts {
                    let mismatch = vivaldi.mismatch(peer, round_trip);
                    vivaldi.learn_scale(config, mismatch);
                    let contradicts = vivaldi.is_contradiction(config, mismatch, round_trip);
                    distrust.count(contradicts, threshold);
                    return Err(Refusal::Contradiction);
                }
                let sample = Sample { peer, round_trip, spring };
                let mismatch = vivaldi.update(config, &mut self.springs, &sample);
                let contradicts = vivaldi.is_contradiction(config, mismatch, round_trip);
                distrust.count(contradicts, threshold);
            }
        }
        self.metrics.updates += 1;
        if self.metrics.convergence_time.is_none() && self.is_converged() {
            self.metrics.convergence_time = Some(now - first_sample_at);
        }
        Ok(())
    }

    /// What is known about the round trip to the peer in this slot: the measured one while it is
    /// recent, else the prediction while the coordinate is.
    pub fn rtt(&self, slot: u32, now: Instant) -> Option<Rtt> {
        let record = self.table.record(slot)?;
        let tick = Tick::of(now);
        if let Some(median) = record.filter.median() {
            let age = tick.since(record.measured_at);
            if age <= self.config.measured_age_max() {
                let (median, filter) = (f64::from(median), &record.filter);
                let deviation = f64::from(filter.deviation());
                let count = filter.count();
                return Some(quality::measured(&self.config, median, deviation, count, age));
            }
        }
        self.prediction(slot, now)
    }

    /// What the coordinates alone say about the round trip to the peer in this slot, while its
    /// coordinate is recent.
    pub fn prediction(&self, slot: u32, now: Instant) -> Option<Rtt> {
        let record = self.table.record(slot)?;
        let age = Tick::of(now).since(record.heard_at);
        if !record.is_heard() || age > self.config.coordinate_age_max() {
            return None;
        }
        let own = self.coordinate();
        let seconds = self.table.distance(own, slot)?;
        let peer_error = f64::from(record.error);
        Some(match &self.model {
            Model::Native(vivaldi) => quality::predicted(
                &self.config,
                &Prediction {
                    seconds,
                    own_error: own.error,
                    peer_error,
                    sigma_count: vivaldi.sigma_count(),
                    sample_count: vivaldi.sample_count(),
                    age,
                    is_trusted: record.distrust.is_trusted(self.config.distrust_after),
                },
            ),
            Model::Hyperscale(hyperscale) => Rtt {
                ms: seconds * 1e3,
                upper_ms: hyperscale.upper_of(seconds * 1e3, peer_error),
                quality: self.quality_at(age),
            },
        })
    }

    /// The round trip to the peer in this slot as measured, in milliseconds, however old.
    pub fn measured_ms(&self, slot: u32) -> Option<f64> {
        self.table.record(slot)?.filter.median().map(|seconds| f64::from(seconds) * 1e3)
    }

    /// Round trips to all slots in milliseconds, measured where that is recent and predicted
    /// elsewhere; infinite where nothing is known. [`nearest`](super::table::nearest) finds the
    /// smallest.
    pub fn rtt_all(&self, now: Instant, round_trips_ms: &mut Vec<f32>) {
        self.table.estimate_all(self.coordinate(), round_trips_ms);
        let tick = Tick::of(now);
        let (measured_max, heard_max) =
            (self.config.measured_age_max(), self.config.coordinate_age_max());
        for (ms, record) in round_trips_ms.iter_mut().zip(self.table.records()) {
            match record.filter.median() {
                Some(median) if tick.since(record.measured_at) <= measured_max => {
                    *ms = median * 1e3;
                }
                _ if tick.since(record.heard_at) > heard_max => *ms = f32::INFINITY,
                _ => {}
            }
        }
    }

    /// The peer's coordinate as last heard, to the precision of `f32`.
    pub fn peer_coordinate(&self, slot: u32) -> Option<Coordinate> {
        self.table.coordinate(slot)
    }

    /// All peers' coordinates. A clone is a snapshot for bulk questions from any end.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Forgets the peer: its slot is given to another.
    pub fn forget(&mut self, slot: u32) {
        if slot >= self.table.slot_count() {
            return;
        }
        let spring = self.table.record_mut(slot).spring;
        if spring != springs::NONE
            && let Some(moved) = self.springs.remove(spring)
        {
            self.table.record_mut(moved.slot).spring = moved.index;
        }
        self.table.clear(slot);
    }

    /// Forgets every peer that was neither heard nor measured for longer than coordinates and
    /// measurements are used, and tells how many those were. Meant to be called now and then, to
    /// free springs; questions look at ages themselves.
    pub fn cleanup(&mut self, now: Instant) -> u32 {
        let tick = Tick::of(now);
        let (measured_max, heard_max) =
            (self.config.measured_age_max(), self.config.coordinate_age_max());
        let mut count = 0;
        for slot in 0..self.table.slot_count() {
            let record = self.table.record_mut(slot);
            let is_measured = record.filter.count() > 0;
            let useful = (record.is_heard() && tick.since(record.heard_at) <= heard_max)
                || (is_measured && tick.since(record.measured_at) <= measured_max);
            if !useful && (record.is_heard() || is_measured) {
                self.forget(slot);
                count += 1;
            }
        }
        count
    }

    /// Whether the own coordinate has settled (AD-35).
    pub fn is_converged(&self) -> bool {
        match &self.model {
            Model::Native(vivaldi) => vivaldi.is_settled(&self.config),
            Model::Hyperscale(hyperscale) => hyperscale.is_converged(),
        }
    }

    /// How good the own coordinate is, 0 to 1 (AD-35).
    pub fn quality(&self) -> f64 {
        self.quality_at(Duration::ZERO)
    }

    /// The same for a coordinate of this age.
    fn quality_at(&self, age: Duration) -> f64 {
        let error = self.coordinate().error;
        match &self.model {
            Model::Native(vivaldi) => {
                quality::samples_factor(&self.config, vivaldi.sample_count())
                    * quality::error_factor(&self.config, error)
                    * quality::age_factor(&self.config, age)
            }
            Model::Hyperscale(hyperscale) => {
                hyperscale.quality(hyperscale.sample_count(), error, age.as_secs_f64())
            }
        }
    }

    /// The counters.
    pub fn metrics(&self) -> Metrics {
        let mismatch_seconds = match &self.model {
            Model::Native(vivaldi) => vivaldi.scale_seconds(),
            Model::Hyperscale(hyperscale) => hyperscale.coordinate().error,
        };
        let prediction_error = self.coordinate().error;
        Metrics { prediction_error, mismatch_seconds, ..self.metrics }
    }

    /// What to keep for a restart.
    pub fn snapshot(&self) -> Snapshot {
        let coordinate = *self.coordinate();
        match &self.model {
            Model::Native(vivaldi) => Snapshot {
                coordinate,
                mismatch_seconds: vivaldi.scale_seconds(),
                round_trip_seconds: vivaldi.typical_seconds(),
                sample_count: vivaldi.sample_count(),
            },
            Model::Hyperscale(hyperscale) => Snapshot {
                coordinate,
                mismatch_seconds: coordinate.error,
                round_trip_seconds: 0.0,
                sample_count: hyperscale.sample_count(),
            },
        }
    }

    /// Takes the node back to where a snapshot saw it.
    ///
    /// # Errors
    /// [`Refusal::Coordinate`] when a field is not finite or out of its range; nothing has changed.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Refusal> {
        let seconds = 0.0..=COMPONENT_SECONDS_MAX;
        let error_max = match &self.model {
            Model::Native(_) => ERROR_MAX,
            Model::Hyperscale(_) => hyperscale::ERROR_SECONDS_MAX,
        };
        if !guard::is_coordinate_valid(&snapshot.coordinate, error_max)
            || !seconds.contains(&snapshot.mismatch_seconds)
            || !seconds.contains(&snapshot.round_trip_seconds)
        {
            return Err(Refusal::Coordinate);
        }
        match &mut self.model {
            Model::Native(vivaldi) => vivaldi.restore(&self.config, snapshot),
            Model::Hyperscale(hyperscale) => {
                hyperscale.set(snapshot.coordinate, snapshot.sample_count);
            }
        }
        Ok(())
    }
}

/// Refuses samples from before the peer's last one, and those that follow it too closely.
fn check_time(units_min: i32, record: &Record, now: Tick) -> Result<(), Refusal> {
    let units = now.units_since(record.measured_at);
    // Kernel timestamps may lie a little before the last input's: one unit back is the same time.
    if units < -1 {
        return Err(Refusal::Time);
    }
    if units < units_min {
        return Err(Refusal::Rate);
    }
    Ok(())
}

/// The index of the spring to the peer in a slot, which gets one if it has none.
fn hang(table: &mut Table, springs: &mut Springs, slot: u32, peer: &Coordinate) -> u16 {
    let index = table.record_mut(slot).spring;
    if index != springs::NONE {
        return index;
    }
    let (index, evicted) = springs.insert(slot);
    if let Some(evicted) = evicted {
        table.record_mut(evicted).spring = springs::NONE;
    }
    table.record_mut(slot).spring = index;
    springs.place(index, &Peer::of(peer));
    index
}
