//! What goes on while a phase waits: events are read, coordinates sampled, the view drawn.
//!
//! The demo runs on one thread. A phase changes something and then lets time pass with
//! [`Stage::tick`] until it sees what it expects or its patience ends. All instants are
//! milliseconds since the demo began; those of events come from the nodes' own clock, so that a
//! slow tick makes no figure worse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shoal_core::coordinate::Coordinate;
use shoal_core::federation::FederationEvent;
use shoal_core::jobs::JobEvent;
use shoal_core::{Event, MemberEvent, MemberState};

use super::cluster::Cluster;
use super::record::{ErrorSample, Moment, NodeRecord, Outcome, PairRecord, PhaseRecord, quantile};
use super::view::View;
use crate::exit::Failure;

/// How long a tick sleeps.
const TICK: Duration = Duration::from_millis(5);
/// Time between two samples of the coordinates, in milliseconds.
const SAMPLE_INTERVAL_MS: f64 = 100.0;

/// What one node saw happen to another.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Who saw it.
    pub observer: usize,
    /// Whom it is about.
    pub subject: usize,
    /// What the subject became.
    pub state: MemberState,
    /// When.
    pub at_ms: f64,
}

/// What one node said of a job.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Who said it.
    pub observer: usize,
    /// What it said.
    pub event: JobEvent,
    /// When that happened.
    pub at_ms: f64,
}

/// The demo under way.
#[derive(Debug)]
pub struct Stage {
    /// The nodes and the network.
    pub cluster: Cluster,
    /// What has been found out so far.
    pub outcome: Outcome,
    /// Everything that nodes saw of each other, in the order it was read.
    pub sights: Vec<Sight>,
    /// Everything that nodes said of jobs.
    pub told: Vec<Told>,
    /// What each node (first index) last saw of each other.
    pub states: Vec<Vec<Option<MemberState>>>,
    /// Which nodes have said goodbye.
    pub departed: Vec<bool>,
    /// Whether coordinates are sampled.
    pub sampling: bool,
    /// What the present phase found notable.
    moments: Vec<Moment>,
    view: View,
    started: Instant,
    /// The nodes' clock at the start, in nanoseconds.
    origin_nanos: u64,
    interrupted: Arc<AtomicBool>,
}

impl Stage {
    /// A stage for a cluster that was started at `started`.
    pub fn new(cluster: Cluster, outcome: Outcome, view: View, started: Instant) -> Stage {
        let size = cluster.size();
        let (_, node) = cluster.running().next().expect("every node runs at the start");
        let origin_nanos =
            node.now().as_nanos().saturating_sub(started.elapsed().as_nanos() as u64);
        let interrupted = Arc::new(AtomicBool::new(false));
        // Without the handler a signal ends the demo at once, which is no harm either.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted));
        let _ = signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&interrupted));
        Stage {
            cluster,
            outcome,
            sights: Vec::new(),
            told: Vec::new(),
            moments: Vec::new(),
            states: vec![vec![None; size]; size],
            departed: vec![false; size],
            sampling: false,
            view,
            started,
            origin_nanos,
            interrupted,
        }
    }

    /// The present instant.
    pub fn now_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
    }

    /// Runs one phase and records what it says about itself.
    pub fn phase(
        &mut self,
        name: &'static str,
        run: impl FnOnce(&mut Stage) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let start_ms = self.now_ms();
        self.view.begin(name);
        let summary = run(self)?;
        let end_ms = self.now_ms();
        self.view.end(&summary, end_ms);
        let moments = std::mem::take(&mut self.moments);
        self.outcome.phases.push(PhaseRecord { name, start_ms, end_ms, summary, moments });
        Ok(())
    }

    /// Tells the viewer something that a phase noticed.
    pub fn note(&mut self, text: &str) {
        self.note_at(text, self.now_ms());
    }

    /// Tells the viewer something that happened then.
    pub fn note_at(&mut self, text: &str, at_ms: f64) {
        self.view.note(text, at_ms);
        self.moments.push(Moment { at_ms, text: text.to_owned() });
    }

    /// Lets a little time pass.
    ///
    /// # Errors
    /// When the user interrupted the demo.
    pub fn tick(&mut self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::failed("the demo was interrupted"));
        }
        self.read_events();
        let last = self.outcome.coordinates.samples.last().map_or(0.0, |sample| sample.at_ms);
        if self.sampling && self.now_ms() - last >= SAMPLE_INTERVAL_MS {
            self.sample();
        }
        self.view.draw(&self.outcome, &self.cluster.records, &self.states, self.now_ms());
        std::thread::sleep(TICK);
        Ok(())
    }

    /// Ticks until `done` or until `patience` has passed; says which.
    pub fn wait(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&mut Stage) -> bool,
    ) -> Result<bool, Failure> {
        let deadline = Instant::now() + patience;
        while !done(self) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.tick()?;
        }
        Ok(true)
    }

    fn read_events(&mut self) {
        for observer in 0..self.cluster.size() {
            while let Some(event) = self.cluster.node(observer).and_then(|node| node.poll_event()) {
                match event {
                    Event::Member(member) => self.see(observer, &member),
                    Event::Left { .. } => self.departed[observer] = true,
                    Event::Job(event) => self.hear(observer, event),
                    Event::Federation(event) => self.follow(observer, &event),
                    _ => {}
                }
            }
        }
    }

    /// A manager that has won an election says so.
    fn follow(&mut self, observer: usize, event: &FederationEvent) {
        let FederationEvent::LeaderElected { leader, at, .. } = *event else { return };
        if self.cluster.index(leader) == Some(observer) {
            let NodeRecord { name, datacenter, .. } = &self.cluster.records[observer];
            let text =
                format!("{name} is elected to lead {}", self.outcome.datacenters[*datacenter]);
            self.note_at(&text, self.ms_of(at));
        }
    }

    fn hear(&mut self, observer: usize, event: JobEvent) {
        let at_ms = match event {
            JobEvent::TimedOut { at, .. } | JobEvent::GlobalTimeout { at, .. } => self.ms_of(at),
            _ => self.now_ms(),
        };
        self.told.push(Told { observer, event, at_ms });
    }

    /// An instant of the nodes' clock.
    fn ms_of(&self, at: shoal_core::Instant) -> f64 {
        at.as_nanos().saturating_sub(self.origin_nanos) as f64 / 1e6
    }

    fn see(&mut self, observer: usize, member: &MemberEvent) {
        let Some(subject) = self.cluster.index(member.address) else { return };
        if observer == subject {
            return;
        }
        let at_ms = self.ms_of(member.at);
        self.states[observer][subject] = Some(member.state);
        self.sights.push(Sight { observer, subject, state: member.state, at_ms });
    }

    /// Whether every running node sees every other running node alive.
    pub fn views_alive(&self) -> usize {
        let states = self.states.iter().flatten();
        states.filter(|state| **state == Some(MemberState::Alive)).count()
    }

    /// Records where everyone is and how well coordinates predict the round trips between
    /// datacenters.
    fn sample(&mut self) {
        let coordinates: Vec<Coordinate> =
            self.cluster.running().map(|(_, node)| node.coordinate()).collect();
        for (record, coordinate) in self.cluster.records.iter_mut().zip(&coordinates) {
            record.vector_ms = coordinate.vector.map(|seconds| seconds * 1e3).to_vec();
            record.height_ms = coordinate.height * 1e3;
            record.trail.push(record.vector_ms.clone());
        }
        let mut errors = Vec::with_capacity(coordinates.len() * coordinates.len());
        for (a, from) in coordinates.iter().enumerate() {
            for (b, to) in coordinates.iter().enumerate().skip(a + 1) {
                if self.cluster.records[a].datacenter != self.cluster.records[b].datacenter {
                    let actual_ms = self.cluster.round_trip_ms(a, b);
                    errors.push((from.distance(to) * 1e3 - actual_ms).abs() / actual_ms);
                }
            }
        }
        let (at_ms, median) = (self.now_ms(), quantile(&mut errors, 0.5));
        let p90 = quantile(&mut errors, 0.9);
        self.outcome.coordinates.samples.push(ErrorSample { at_ms, median, p90 });
    }

    /// What every node knows about the round trip to every other, now.
    pub fn pairs(&self) -> Vec<PairRecord> {
        let running: Vec<_> = self.cluster.running().collect();
        let coordinates: Vec<Coordinate> =
            running.iter().map(|(_, node)| node.coordinate()).collect();
        let mut pairs = Vec::new();
        for (&(from, node), own) in running.iter().zip(&coordinates) {
            for (&(to, _), peer) in running.iter().zip(&coordinates) {
                let Some(rtt) = node.rtt(self.cluster.address(to)).filter(|_| from != to) else {
                    continue;
                };
                pairs.push(PairRecord {
                    from,
                    to,
                    actual_ms: self.cluster.round_trip_ms(from, to),
                    predicted_ms: own.distance(peer) * 1e3,
                    estimate_ms: rtt.ms,
                    upper_ms: rtt.upper_ms,
                });
            }
        }
        pairs
    }

    /// Ends the demo: stops what still runs, restores the terminal, completes the outcome.
    pub fn finish(mut self) -> Outcome {
        self.view.close();
        let duration_ms = self.now_ms();
        let [datagrams, bytes] = self.cluster.sent();
        let relay = self.cluster.relayed();
        let traffic = &mut self.outcome.traffic;
        traffic.datagrams = datagrams;
        traffic.bytes = bytes;
        traffic.datagrams_per_node_second =
            datagrams as f64 / self.cluster.size() as f64 / (duration_ms / 1e3);
        traffic.relayed = relay.delivered;
        traffic.relay_lateness_max_ms = relay.lateness_max.as_secs_f64() * 1e3;
        self.outcome.duration_ms = duration_ms;
        self.outcome.nodes = std::mem::take(&mut self.cluster.records);
        self.outcome
    }
}
