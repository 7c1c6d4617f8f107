//! What happens to a datagram between two nodes: delay, loss, repetition, damage, and broken paths.
//!
//! Every decision is drawn from the simulation's seed. A fault that is switched off draws nothing
//! and costs nothing. Delays are computed with integers and with `+ - * /` on floats only, so that
//! a run is the same on every machine.

use std::sync::Arc;

use shoal_core::random::Random;
use shoal_core::{Duration, Instant};

/// How long a datagram is under way, one way.
#[derive(Clone, Debug)]
pub enum Delay {
    /// Always the same.
    Constant(Duration),
    /// Anything between two bounds.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A fixed part and a part with a long tail, close to a lognormal distribution.
    LongTail {
        /// The fixed part.
        min: Duration,
        /// The median of the other part.
        median: Duration,
        /// The base-2 logarithm of how much one standard deviation multiplies the median; 0 to 3.
        spread: f64,
    },
    /// A table by pair of nodes: what measured networks look like.
    Pairs {
        /// One-way delays, row by row of senders. Node `n` takes row and column `n % count`.
        table: Arc<[Duration]>,
        /// Nodes in the table.
        count: u32,
        /// The median of an additional part with a long tail, as a share of the delay; 0 for none.
        jitter: f64,
    },
    /// The same table; every datagram takes a random share more or less.
    UnsteadyPairs {
        /// One-way delays, row by row of senders. Node `n` takes row and column `n % count`.
        table: Arc<[Duration]>,
        /// Nodes in the table.
        count: u32,
        /// The largest share, 0 to 1.
        share: f64,
    },
}

/// The base-2 logarithm of a standard deviation of the jitter of [`Delay::Pairs`].
const JITTER_SPREAD: f64 = 1.0;

impl Delay {
    fn draw(&self, from: u32, to: u32, random: &mut Random) -> Duration {
        match *self {
            Delay::Constant(delay) => delay,
            Delay::Uniform { min, max } => min + (max - min).mul_f64(random.unit()),
            Delay::LongTail { min, median, spread } => min + long_tail(median, spread, random),
            Delay::UnsteadyPairs { ref table, count, share } => {
                let delay = pair_delay(table, count, from, to);
                delay.mul_f64(1.0 + share * (2.0 * random.unit() - 1.0))
            }
            Delay::Pairs { ref table, count, jitter } => {
                let delay = pair_delay(table, count, from, to);
                match jitter {
                    0.0 => delay,
                    _ => delay + long_tail(delay.mul_f64(jitter), JITTER_SPREAD, random),
                }
            }
        }
    }
}

fn pair_delay(table: &[Duration], count: u32, from: u32, to: u32) -> Duration {
    table[((from % count) * count + to % count) as usize]
}

/// `median x 2^(spread x normal)`, with the sum of four uniform numbers as the normal one and a
/// straight line between powers of two as the exponential.
fn long_tail(median: Duration, spread: f64, random: &mut Random) -> Duration {
    let bits = random.next_u64();
    let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
    // Four uniform numbers have mean 2 and variance 1/3.
    let normal = (sum as f64 / 65_536.0 - 2.0) * 1.732;
    let exponent = spread * normal;
    let whole = exponent.floor();
    let power = if whole < 0.0 {
        1.0 / (1u64 << (-whole) as u32) as f64
    } else {
        (1u64 << whole as u32) as f64
    };
    median.mul_f64(power * (1.0 + exponent - whole))
}

/// How good or bad the network is. All probabilities are from 0 to 1.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// How long a datagram is under way.
    pub delay: Delay,
    /// That a datagram is lost.
    pub loss: f64,
    /// That a datagram arrives twice.
    pub duplication: f64,
    /// That a datagram is held back by up to [`NetworkOptions::holdback`], so that later ones
    /// overtake it.
    pub reordering: f64,
    /// The longest time that a reordered datagram is held back.
    pub holdback: Duration,
    /// That a datagram arrives with some bits changed.
    pub corruption: f64,
    /// That a datagram arrives cut short or with bytes added.
    pub truncation: f64,
    /// That a datagram brings with it a repetition of one sent long before.
    pub replay: f64,
}

impl NetworkOptions {
    /// A network without faults.
    pub fn perfect(delay: Delay) -> NetworkOptions {
        NetworkOptions {
            delay,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            holdback: Duration::ZERO,
            corruption: 0.0,
            truncation: 0.0,
            replay: 0.0,
        }
    }

    /// A local network: 0.1 to 0.4 ms one way, mostly close to 0.15 ms.
    pub fn local() -> NetworkOptions {
        let min = Duration::from_micros(100);
        NetworkOptions::perfect(Delay::LongTail {
            min,
            median: Duration::from_micros(50),
            spread: 0.6,
        })
    }
}

/// What the network did, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounts {
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the path was cut.
    pub cut: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Held back behind later ones.
    pub reordered: u64,
    /// Arrived with changed bits.
    pub corrupted: u64,
    /// Arrived with another size.
    pub truncated: u64,
    /// Repetitions of old ones.
    pub replayed: u64,
}

/// Some nodes, by number.
pub type NodeSet = Vec<bool>;

/// Paths on which nothing arrives, in this direction.
#[derive(Clone, Debug)]
struct Cut {
    from: NodeSet,
    to: NodeSet,
}

/// A path on which nothing arrives before its time.
#[derive(Clone, Copy, Debug)]
struct Clog {
    from: u32,
    to: u32,
    until: Instant,
}

/// When copies of a datagram arrive; none when it is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals {
    pub first: Option<Instant>,
    pub second: Option<Instant>,
}

/// The network between all nodes.
#[derive(Debug)]
pub struct Network {
    options: NetworkOptions,
    random: Random,
    cuts: Vec<Cut>,
    clogs: Vec<Clog>,
    counts: NetworkCounts,
}

impl Network {
    pub(crate) fn new(options: NetworkOptions, random: Random) -> Network {
        let counts = NetworkCounts::default();
        Network { options, random, cuts: Vec::new(), clogs: Vec::new(), counts }
    }

    /// What the network did so far.
    pub fn counts(&self) -> &NetworkCounts {
        &self.counts
    }

    /// Makes the network better or worse for what is sent from now on. Cuts and clogs stay.
    pub fn set_options(&mut self, options: NetworkOptions) {
        self.options = options;
    }

    /// How good or bad the network is.
    pub fn options(&self) -> &NetworkOptions {
        &self.options
    }

    /// Loses everything sent by one of `from` to one of `to`, until [`Network::mend`].
    pub fn cut(&mut self, from: NodeSet, to: NodeSet) {
        self.cuts.push(Cut { from, to });
    }

    /// Holds everything sent on one path until then.
    pub fn clog(&mut self, from: u32, to: u32, until: Instant) {
        self.clogs.push(Clog { from, to, until });
    }

    /// Opens all paths.
    pub fn mend(&mut self) {
        self.cuts.clear();
        self.clogs.clear();
    }

    /// Decides when a datagram arrives.
    pub(crate) fn carry(&mut self, now: Instant, from: u32, to: u32) -> Arrivals {
        let has = |set: &NodeSet, node: u32| set.get(node as usize).copied().unwrap_or(false);
        if self.cuts.iter().any(|cut| has(&cut.from, from) && has(&cut.to, to)) {
            self.counts.cut += 1;
            return Arrivals::default();
        }
        if self.happens(self.options.loss) {
            self.counts.lost += 1;
            return Arrivals::default();
        }
        let first = Some(self.arrival(now, from, to));
        let mut second = None;
        if self.happens(self.options.duplication) {
            self.counts.duplicated += 1;
            second = Some(self.arrival(now, from, to));
        }
        Arrivals { first, second }
    }

    fn arrival(&mut self, now: Instant, from: u32, to: u32) -> Instant {
        let mut at = now + self.options.delay.draw(from, to, &mut self.random);
        if self.happens(self.options.reordering) {
            self.counts.reordered += 1;
            at += self.options.holdback.mul_f64(self.random.unit());
        }
        if !self.clogs.is_empty() {
            self.clogs.retain(|clog| clog.until > now);
            let clogs = self.clogs.iter().filter(|clog| clog.from == from && clog.to == to);
            at = clogs.map(|clog| clog.until).fold(at, Instant::max);
        }
        at
    }

    /// Damages a datagram, perhaps.
    pub(crate) fn damage(&mut self, bytes: &mut Vec<u8>) {
        if self.happens(self.options.corruption) && !bytes.is_empty() {
            self.counts.corrupted += 1;
            for _ in 0..=self.random.below(3) {
                let index = self.random.below(bytes.len() as u32) as usize;
                bytes[index] ^= 1 << self.random.below(8);
            }
        }
        if self.happens(self.options.truncation) {
            self.counts.truncated += 1;
            let size = self.random.below(2 * bytes.len() as u32 + 1) as usize;
            bytes.resize(size, 0xa5);
        }
    }

    /// Whether a repetition of an old datagram arrives, too.
    pub(crate) fn replays(&mut self) -> bool {
        let replays = self.happens(self.options.replay);
        self.counts.replayed += u64::from(replays);
        replays
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.chance(probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(options: NetworkOptions) -> Network {
        Network::new(options, Random::new(1))
    }

    fn constant() -> NetworkOptions {
        NetworkOptions::perfect(Delay::Constant(Duration::from_millis(1)))
    }

    #[test]
    fn a_perfect_network_delivers_everything_once_and_unchanged() {
        let mut network = network(constant());
        for _ in 0..1_000 {
            let arrivals = network.carry(Instant::from_millis(5), 0, 1);
            assert_eq!(arrivals.first, Some(Instant::from_millis(6)));
            assert_eq!(arrivals.second, None);
            let mut bytes = vec![1, 2, 3];
            network.damage(&mut bytes);
            assert_eq!(bytes, [1, 2, 3]);
        }
        assert_eq!(*network.counts(), NetworkCounts::default());
    }

    #[test]
    fn faults_happen_as_often_as_asked() {
        let options = NetworkOptions { loss: 0.1, duplication: 0.2, corruption: 0.3, ..constant() };
        let mut network = network(options);
        for _ in 0..10_000 {
            network.carry(Instant::ZERO, 0, 1);
            network.damage(&mut vec![0; 100]);
        }
        let counts = network.counts();
        assert!((900..1_100).contains(&counts.lost), "{counts:?}");
        assert!((1_650..1_950).contains(&counts.duplicated), "{counts:?}");
        assert!((2_800..3_200).contains(&counts.corrupted), "{counts:?}");
    }

    #[test]
    fn the_long_tail_has_its_median_and_its_spread() {
        let median = Duration::from_millis(10);
        let mut random = Random::new(3);
        let mut drawn: Vec<f64> =
            (0..20_001).map(|_| long_tail(median, 1.0, &mut random).as_secs_f64() * 1e3).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((drawn[10_000] - 10.0).abs() < 0.5, "{}", drawn[10_000]);
        // One standard deviation up is a factor of two.
        assert!((drawn[16_827] - 20.0).abs() < 1.0, "{}", drawn[16_827]);
        assert!((drawn[3_173] - 5.0).abs() < 0.3, "{}", drawn[3_173]);
    }

    #[test]
    fn a_cut_has_a_direction_and_ends() {
        let mut network = network(constant());
        network.cut(vec![true, false], vec![false, true]);
        assert_eq!(network.carry(Instant::ZERO, 0, 1).first, None);
        assert!(network.carry(Instant::ZERO, 1, 0).first.is_some());
        assert!(network.carry(Instant::ZERO, 0, 9).first.is_some());
        network.mend();
        assert!(network.carry(Instant::ZERO, 0, 1).first.is_some());
    }

    #[test]
    fn a_clog_holds_one_path_for_its_time() {
        let mut network = network(constant());
        network.clog(0, 1, Instant::from_millis(50));
        let first = |network: &mut Network, millis, from, to| {
            network.carry(Instant::from_millis(millis), from, to).first
        };
        assert_eq!(first(&mut network, 3, 0, 1), Some(Instant::from_millis(50)));
        assert_eq!(first(&mut network, 3, 1, 0), Some(Instant::from_millis(4)));
        assert_eq!(first(&mut network, 60, 0, 1), Some(Instant::from_millis(61)));
    }

    #[test]
    fn a_table_gives_each_pair_its_delay() {
        let table = [0, 7, 9, 0].map(Duration::from_millis);
        let delay = Delay::Pairs { table: Arc::new(table), count: 2, jitter: 0.0 };
        let mut network = network(NetworkOptions::perfect(delay));
        let mut first = |from, to| network.carry(Instant::ZERO, from, to).first;
        assert_eq!(first(0, 1), Some(Instant::from_millis(7)));
        assert_eq!(first(1, 0), Some(Instant::from_millis(9)));
        assert_eq!(first(2, 3), Some(Instant::from_millis(7)));
    }
}
