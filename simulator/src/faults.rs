//! What goes wrong and when: an agenda of faults and of their ends, drawn from the seed.
//!
//! Each kind of fault that a run has happens again and again, at random intervals around its mean.
//! Most end by themselves after a random time. [`Faults::heal`] ends everything, so that the
//! cluster can show that it recovers.

use std::collections::BTreeMap;

use shoal_core::config::BROADCAST_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::{Duration, Instant};

use crate::insider::Insider;
use crate::network::{NetworkOptions, NodeSet};
use crate::simulation::Simulation;

/// The largest state that a host sets, but for its number, in bytes: two or three datagrams.
const CHATTER_SIZE_MAX: u32 = 3_000;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A node ends without a word, and perhaps starts again.
    Crash,
    /// A node says goodbye, and perhaps starts again.
    Leave,
    /// A node is stopped as by SIGSTOP.
    Stop,
    /// A node neither sends nor reads, but its timers run.
    Block,
    /// A node needs milliseconds for every input.
    Slow,
    /// Nothing passes between two groups, in one direction or both.
    Partition,
    /// One path holds everything back for a while.
    Clog,
    /// The network is far worse for a while.
    Storm,
    /// An insider forges datagrams.
    Forgery,
    /// A host changes its node's state or sends a broadcast: no fault, but something to lose.
    Chatter,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [FaultKind; 10] = [
        FaultKind::Crash,
        FaultKind::Leave,
        FaultKind::Stop,
        FaultKind::Block,
        FaultKind::Slow,
        FaultKind::Partition,
        FaultKind::Clog,
        FaultKind::Storm,
        FaultKind::Forgery,
        FaultKind::Chatter,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            FaultKind::Crash => "crash",
            FaultKind::Leave => "leave",
            FaultKind::Stop => "stop",
            FaultKind::Block => "block",
            FaultKind::Slow => "slow",
            FaultKind::Partition => "partition",
            FaultKind::Clog => "clog",
            FaultKind::Storm => "storm",
            FaultKind::Forgery => "forgery",
            FaultKind::Chatter => "chatter",
        }
    }
}

/// What a restarted node remembers of its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Its clock went on: the new run has a larger one.
    Later,
    /// It had none: the new run has the same.
    Same,
    /// Its clock was set back: the new run has a smaller one.
    Earlier,
}

/// How often each kind of fault happens and how long it lasts.
#[derive(Clone, Debug, Default)]
pub struct FaultRates {
    /// Mean time between two faults of a kind, for the kinds that happen.
    pub means: BTreeMap<FaultKind, Duration>,
    /// The longest time that one lasts.
    pub duration_max: Duration,
    /// That a crashed or departed node starts again, 0 to 1.
    pub restart: f64,
    /// Whether restarted nodes may have the same or an earlier generation.
    pub amnesia: bool,
}

/// What the cluster has to do about a fault, because nodes are started there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start a node again.
    Restart(u32, Memory),
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Begin(FaultKind),
    Restart(u32, Memory),
    Resume(u32),
    Unblock(u32),
    SpeedUp(u32),
    Mend,
    Calm,
}

/// The agenda.
#[derive(Debug)]
pub struct Faults {
    rates: FaultRates,
    random: Random,
    agenda: BTreeMap<(Instant, u64), Action>,
    entered: u64,
    insider: Insider,
    counts: BTreeMap<FaultKind, u64>,
    calm: NetworkOptions,
    /// Nodes that are never taken out for good, because others join through them.
    seed_count: u32,
}

impl Faults {
    pub(crate) fn new(
        rates: FaultRates,
        insider: Insider,
        calm: NetworkOptions,
        seed_count: u32,
        random: Random,
    ) -> Faults {
        let mut faults = Faults {
            rates,
            random,
            agenda: BTreeMap::new(),
            entered: 0,
            insider,
            counts: BTreeMap::new(),
            calm,
            seed_count,
        };
        for kind in FaultKind::ALL {
            faults.schedule_next(Instant::ZERO, kind);
        }
        faults
    }

    /// When the next entry of the agenda is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.agenda.first_key_value().map(|(&(at, _), _)| at)
    }

    /// What the next entry of the agenda is.
    pub(crate) fn next_text(&self) -> String {
        self.agenda.first_key_value().map_or_else(String::new, |(_, action)| format!("{action:?}"))
    }

    /// How often each kind of fault happened.
    pub fn counts(&self) -> &BTreeMap<FaultKind, u64> {
        &self.counts
    }

    /// Does what is due first. What it returns is for the cluster to do.
    pub fn act(&mut self, simulation: &mut Simulation) -> Option<Order> {
        let (_, action) = self.agenda.pop_first()?;
        match action {
            Action::Begin(kind) => {
                self.schedule_next(simulation.now(), kind);
                *self.counts.entry(kind).or_default() += 1;
                self.begin(simulation, kind);
            }
            Action::Restart(node, memory) => return Some(Order::Restart(node, memory)),
            Action::Resume(node) => simulation.resume(node),
            Action::Unblock(node) => simulation.unblock(node),
            Action::SpeedUp(node) => simulation.slow_down(node, Duration::ZERO),
            Action::Mend => simulation.network().mend(),
            Action::Calm => simulation.network().set_options(self.calm.clone()),
        }
        None
    }

    /// Ends all faults but the absence of nodes, and makes the network a perfect local one.
    pub fn heal(&mut self, simulation: &mut Simulation) {
        self.agenda.clear();
        simulation.network().mend();
        simulation.network().set_options(NetworkOptions::local());
        for node in 0..simulation.host_count() {
            simulation.slow_down(node, Duration::ZERO);
            simulation.resume(node);
            simulation.unblock(node);
        }
    }

    fn enter(&mut self, at: Instant, action: Action) {
        self.entered += 1;
        self.agenda.insert((at, self.entered), action);
    }

    fn schedule_next(&mut self, now: Instant, kind: FaultKind) {
        if let Some(mean) = self.rates.means.get(&kind) {
            let wait = mean.mul_f64(0.1 + 1.8 * self.random.unit());
            self.enter(now + wait, Action::Begin(kind));
        }
    }

    /// When a fault that begins now will end. Short ones are as likely as long ones.
    fn end(&mut self, now: Instant) -> Instant {
        let share = self.random.unit();
        now + self.rates.duration_max.mul_f64(share * share)
    }

    fn any_node(&mut self, simulation: &Simulation) -> u32 {
        self.random.below(simulation.host_count())
    }

    fn begin(&mut self, simulation: &mut Simulation, kind: FaultKind) {
        let node = self.any_node(simulation);
        let now = simulation.now();
        let end = self.end(now);
        match kind {
            FaultKind::Crash => {
                simulation.crash(node);
                self.plan_restart(node, end);
            }
            FaultKind::Leave => {
                // Refused when it is leaving already, which is as good.
                simulation.command(node, |engine, now| drop(engine.leave(now)));
                self.plan_restart(node, end + Duration::from_secs(1));
            }
            FaultKind::Stop => {
                simulation.stop(node);
                self.enter(end, Action::Resume(node));
            }
            FaultKind::Block => {
                simulation.block(node);
                self.enter(end, Action::Unblock(node));
            }
            FaultKind::Slow => {
                let service = Duration::from_micros(u64::from(100 + self.random.below(50_000)));
                simulation.slow_down(node, service);
                self.enter(end, Action::SpeedUp(node));
            }
            FaultKind::Partition => {
                self.partition(simulation);
                self.enter(end, Action::Mend);
            }
            FaultKind::Clog => {
                let other = self.any_node(simulation);
                simulation.network().clog(node, other, end);
            }
            FaultKind::Storm => {
                self.storm(simulation);
                self.enter(end, Action::Calm);
            }
            FaultKind::Forgery => self.insider.strike(simulation, node),
            FaultKind::Chatter => self.chatter(simulation, node),
        }
    }

    /// Refusals by a leaving node or a full queue are as good as silence.
    fn chatter(&mut self, simulation: &mut Simulation, node: u32) {
        let number = self.entered.to_le_bytes();
        let size = number.len() + self.random.below(CHATTER_SIZE_MAX) as usize;
        let is_broadcast = self.random.chance(0.5);
        simulation.command(node, |engine, now| {
            let limit = if is_broadcast { BROADCAST_SIZE_MAX } else { size };
            let mut bytes = number.to_vec();
            bytes.resize(size.min(limit), node as u8);
            let _ = match is_broadcast {
                true => engine.broadcast(now, bytes.into()),
                false => engine.set_state(now, bytes.into()),
            };
        });
    }

    fn plan_restart(&mut self, node: u32, at: Instant) {
        if node < self.seed_count || self.random.chance(self.rates.restart) {
            let memory = match self.random.below(4) {
                0 if self.rates.amnesia => Memory::Same,
                1 if self.rates.amnesia => Memory::Earlier,
                _ => Memory::Later,
            };
            self.enter(at, Action::Restart(node, memory));
        }
    }

    fn partition(&mut self, simulation: &mut Simulation) {
        let count = simulation.host_count();
        let mut draw = || -> NodeSet { (0..count).map(|_| self.random.chance(0.5)).collect() };
        let from = draw();
        let others: NodeSet = from.iter().map(|is_in| !is_in).collect();
        let to = if self.random.chance(0.7) { others } else { draw_set(&mut self.random, count) };
        if self.random.chance(0.7) {
            simulation.network().cut(to.clone(), from.clone());
        }
        simulation.network().cut(from, to);
    }

    fn storm(&mut self, simulation: &mut Simulation) {
        let mut options = self.calm.clone();
        options.loss = (options.loss + 0.8 * self.random.unit()).min(1.0);
        options.duplication = 0.3 * self.random.unit();
        options.reordering = 0.5 * self.random.unit();
        options.holdback = Duration::from_millis(u64::from(self.random.below(2_000)));
        simulation.network().set_options(options);
    }
}

fn draw_set(random: &mut Random, count: u32) -> NodeSet {
    (0..count).map(|_| random.chance(0.5)).collect()
}
