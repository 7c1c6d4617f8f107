//! Whose fault is it? When many datacenters fall silent together it is the own network.
//!
//! Datacenters fail one at a time; a gate's uplink takes all of them at once. To believe such
//! silence would leave every job without a place and throw away where jobs were, just when nothing
//! could be sent anyway. So when at least two datacenters, and at least half of those that were
//! heard, had their last ack within ten seconds of each other, the own network is blamed: none of
//! them becomes unreachable, and what was last known of them stays as degraded. A gate of three
//! datacenters that loses two blames itself, one that loses one does not; of twenty it takes ten.
//! (AD-33, part 6, delays evictions from three correlated failures on, which a gate of two or three
//! datacenters never sees, and of twenty is a provider's bad day.)
//!
//! Blame is bounded: after a minute without recovery the silence is taken for what it is. It ends
//! early when enough answer again. Until then it is not laid a second time.

use super::config::FederationConfig;
use crate::time::{Duration, Instant};

/// What is to be heard of one datacenter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing yet, so its silence is no news.
    NeverHeard,
    /// It answers.
    Heard,
    /// Nothing since its last ack.
    Since(Instant),
}

/// What a review led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkChange {
    /// So many fell silent together, of so many that were heard until then.
    Blamed {
        silent: u32,
        heard: u32,
    },
    Cleared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Clear,
    Blamed {
        until: Instant,
    },
    /// It was blamed for long enough.
    GivenUp,
}

/// The judgement about the own network.
#[derive(Debug)]
pub(crate) struct Network {
    window: Duration,
    count_min: usize,
    share_min: f64,
    hold: Duration,
    state: State,
    scratch: Vec<Instant>,
}

impl Network {
    pub fn new(config: &FederationConfig) -> Network {
        Network {
            window: Duration::from_millis(config.correlation_window_ms),
            count_min: config.correlation_count_min as usize,
            share_min: config.correlation_share_min,
            hold: Duration::from_millis(config.correlation_hold_ms),
            state: State::Clear,
            scratch: Vec::new(),
        }
    }

    pub fn is_blamed(&self) -> bool {
        matches!(self.state, State::Blamed { .. })
    }

    /// When the blame ends at the latest.
    pub fn expires_at(&self) -> Option<Instant> {
        match self.state {
            State::Blamed { until } => Some(until),
            State::Clear | State::GivenUp => None,
        }
    }

    /// Ends the blame when its time is over.
    pub fn expire(&mut self, now: Instant) {
        if self.expires_at().is_some_and(|until| until <= now) {
            self.state = State::GivenUp;
        }
    }

    /// Judges anew after a datacenter fell silent or answered again.
    pub fn review(
        &mut self,
        now: Instant,
        silences: impl Iterator<Item = Silence>,
    ) -> Option<NetworkChange> {
        let mut answering = 0;
        self.scratch.clear();
        for silence in silences {
            match silence {
                Silence::NeverHeard => {}
                Silence::Heard => answering += 1,
                Silence::Since(last_ack_at) => self.scratch.push(last_ack_at),
            }
        }
        let silent = self.largest_group();
        let heard = answering + silent;
        let is_correlated =
            silent >= self.count_min && silent as f64 >= self.share_min * heard as f64;
        match self.state {
            State::Clear if is_correlated => {
                self.state = State::Blamed { until: now + self.hold };
                Some(NetworkChange::Blamed { silent: silent as u32, heard: heard as u32 })
            }
            State::Blamed { .. } if !is_correlated => {
                self.state = State::Clear;
                Some(NetworkChange::Cleared)
            }
            State::GivenUp if !is_correlated => {
                self.state = State::Clear;
                None
            }
            _ => None,
        }
    }

    /// The most that fell silent within one window.
    fn largest_group(&mut self) -> usize {
        self.scratch.sort_unstable();
        let mut first = 0;
        let mut largest = 0;
        for last in 0..self.scratch.len() {
            while self.scratch[last] > self.scratch[first] + self.window {
                first += 1;
            }
            largest = largest.max(last - first + 1);
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(100_000);

    fn since(seconds: u64) -> Silence {
        Silence::Since(Instant::from_millis(seconds * 1_000))
    }

    fn review(network: &mut Network, silences: &[Silence]) -> Option<NetworkChange> {
        network.review(NOW, silences.iter().copied())
    }

    fn network() -> Network {
        Network::new(&FederationConfig::default())
    }

    #[test]
    fn two_of_three_together_are_the_own_network_and_one_is_not() {
        let mut network = network();
        assert_eq!(review(&mut network, &[since(80), Silence::Heard, Silence::Heard]), None);
        assert!(!network.is_blamed());
        let blamed = NetworkChange::Blamed { silent: 2, heard: 3 };
        assert_eq!(review(&mut network, &[since(80), since(84), Silence::Heard]), Some(blamed));
        assert_eq!(review(&mut network, &[since(80), since(84), since(86)]), None);
        assert!(network.is_blamed());
        let cleared = Some(NetworkChange::Cleared);
        assert_eq!(review(&mut network, &[since(80), Silence::Heard, Silence::Heard]), cleared);
        assert!(!network.is_blamed());
    }

    #[test]
    fn one_after_the_other_is_no_coincidence_of_causes() {
        let mut network = network();
        assert_eq!(review(&mut network, &[since(40), since(60), since(80)]), None);
        // The dead of an hour ago do not hide that all the living fell silent.
        let blamed = NetworkChange::Blamed { silent: 2, heard: 2 };
        let silences = [since(10), since(30), since(50), since(81), since(82)];
        assert_eq!(review(&mut network, &silences), Some(blamed));
    }

    #[test]
    fn the_share_counts_those_that_were_heard() {
        let mut network = network();
        let mut silences = vec![Silence::Heard; 11];
        silences.extend([since(80); 9]);
        assert_eq!(review(&mut network, &silences), None, "9 of 20");
        silences[0] = since(81);
        assert!(matches!(
            review(&mut network, &silences),
            Some(NetworkChange::Blamed { silent: 10, heard: 20 })
        ));
        let mut network = self::network();
        let silences = [Silence::NeverHeard, Silence::NeverHeard, since(80)];
        assert_eq!(review(&mut network, &silences), None, "a lone datacenter");
    }

    #[test]
    fn blame_ends_and_is_not_laid_twice() {
        let mut network = network();
        let together = [since(80), since(81)];
        assert!(review(&mut network, &together).is_some());
        let until = network.expires_at().unwrap();
        assert_eq!(until, NOW + Duration::from_secs(60));
        network.expire(NOW);
        assert!(network.is_blamed());
        network.expire(until);
        assert!(!network.is_blamed());
        assert_eq!(review(&mut network, &together), None);
        assert_eq!(review(&mut network, &[since(80), Silence::Heard]), None);
        assert!(review(&mut network, &together).is_some(), "a new case");
    }
}
