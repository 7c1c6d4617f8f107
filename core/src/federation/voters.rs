//! The managers whose votes count, and what a majority of them is.
//!
//! A manager counts from when it is heard of until it is forgotten by the member table, dead or
//! alive, because a silent manager may be leading on the other side of a partition. One that left
//! counts for one more promise, since what it acknowledged last may still carry a lease. The number
//! is the largest of what this node counts, what the managers that answer it count, and the
//! configured minimum: a node that has forgotten somebody counts right again with the first answer
//! from one that has not.
//!
//! At most [`VOTER_COUNT_MAX`] managers are remembered; further ones are refused and counted in the
//! statistics, and from there on only the configured minimum keeps majorities apart.

use crate::node::{Address, Generation};
use crate::time::{Duration, Instant};

/// Most managers of one datacenter that can vote, this node not counted.
pub const VOTER_COUNT_MAX: usize = 255;

/// Another manager of this datacenter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voter {
    pub address: Address,
    pub generation: Generation,
    /// Its local health score as it last told.
    pub health_score: u8,
    counts_from: Instant,
    counts_until: Instant,
    /// How many managers it counts itself, and when it said so.
    told: (u32, Instant),
    /// When the latest heartbeat that it promised on was sent.
    promised: Option<Instant>,
    has_granted: bool,
}

impl Voter {
    fn counts(&self, now: Instant) -> bool {
        self.counts_from <= now && now < self.counts_until
    }

    /// Whether there is a point in sending it anything.
    pub fn is_present(&self, now: Instant) -> bool {
        now < self.counts_until
    }

    /// When the latest heartbeat that it promised on was sent.
    pub fn promised(&self) -> Option<Instant> {
        self.promised
    }
}

/// The other managers of this datacenter, by address.
#[derive(Debug)]
pub(crate) struct Voters {
    voters: Vec<Voter>,
    count_min: u32,
    /// For how long the count of another manager is believed.
    memory: Duration,
    scratch: Vec<Instant>,
}

impl Voters {
    pub fn new(count_min: u32, memory: Duration) -> Voters {
        Voters { voters: Vec::new(), count_min, memory, scratch: Vec::new() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.voters.iter()
    }

    /// Remembers a manager; a new one counts from `counts_from` on. False when there is no room for
    /// it.
    pub fn note(
        &mut self,
        address: Address,
        generation: Generation,
        health_score: u8,
        counts_from: Instant,
    ) -> bool {
        match self.place(address) {
            Ok(place) => {
                let voter = &mut self.voters[place];
                voter.health_score = health_score;
                if generation > voter.generation {
                    // What its last run promised may still stand, so it counts all the while.
                    voter.generation = generation;
                    voter.counts_until = Instant::MAX;
                }
                true
            }
            Err(place) if self.voters.len() < VOTER_COUNT_MAX => {
                let voter = Voter {
                    address,
                    generation,
                    health_score,
                    counts_from,
                    counts_until: Instant::MAX,
                    told: (0, Instant::ZERO),
                    promised: None,
                    has_granted: false,
                };
                self.voters.insert(place, voter);
                true
            }
            Err(_) => false,
        }
    }

    /// A manager said goodbye: it counts until then.
    pub fn leave(&mut self, address: Address, counts_until: Instant) {
        if let Some(voter) = self.find(address) {
            voter.counts_until = voter.counts_until.min(counts_until);
        }
    }

    /// Forgets a manager.
    pub fn remove(&mut self, address: Address) {
        if let Ok(place) = self.place(address) {
            self.voters.remove(place);
        }
    }

    /// A manager that answers says how many it counts.
    pub fn tell(&mut self, address: Address, count: u32, now: Instant) {
        if let Some(voter) = self.find(address) {
            voter.told = (count, now);
        }
    }

    /// Begins a new round of votes.
    pub fn clear_grants(&mut self) {
        self.voters.iter_mut().for_each(|voter| voter.has_granted = false);
    }

    /// A manager granted its vote. It is no newcomer then.
    pub fn grant(&mut self, address: Address) {
        if let Some(voter) = self.find(address) {
            voter.has_granted = true;
            voter.counts_from = Instant::ZERO;
        }
    }

    /// Managers that have not granted their vote in this round.
    pub fn ungranted(&self, now: Instant) -> impl Iterator<Item = Address> + '_ {
        let missing = move |voter: &&Voter| !voter.has_granted && voter.is_present(now);
        self.voters.iter().filter(missing).map(|voter| voter.address)
    }

    /// Whether this node and those that granted their vote are a majority.
    pub fn is_elected(&self, now: Instant) -> bool {
        let granted = self.voters.iter().filter(|voter| voter.has_granted && voter.counts(now));
        granted.count() + 1 >= self.quorum(now)
    }

    /// Begins a new leadership.
    pub fn clear_promises(&mut self) {
        self.voters.iter_mut().for_each(|voter| voter.promised = None);
    }

    /// A manager promised on the heartbeat that was sent then. It is no newcomer then.
    pub fn promise(&mut self, address: Address, sent: Instant) {
        if let Some(voter) = self.find(address) {
            voter.promised = voter.promised.max(Some(sent));
            voter.counts_from = Instant::ZERO;
        }
    }

    /// The latest instant since which a majority, this node included, has promised.
    pub fn supported_since(&mut self, now: Instant) -> Option<Instant> {
        let others = self.quorum(now) - 1;
        if others == 0 {
            return Some(now);
        }
        self.scratch.clear();
        let counted = self.voters.iter().filter(|voter| voter.counts(now));
        self.scratch.extend(counted.filter_map(|voter| voter.promised));
        if self.scratch.len() < others {
            return None;
        }
        let (_, nth, _) = self.scratch.select_nth_unstable_by(others - 1, |a, b| b.cmp(a));
        Some(*nth)
    }

    /// How many managers this node counts, itself included.
    pub fn own_count(&self, now: Instant) -> u32 {
        let counted = self.voters.iter().filter(|voter| voter.counts(now)).count() as u32 + 1;
        counted.max(self.count_min)
    }

    fn quorum(&self, now: Instant) -> usize {
        let recent = |told: &(u32, Instant)| now < told.1 + self.memory;
        let told = self.voters.iter().map(|voter| voter.told).filter(recent);
        let count = told.map(|(count, _)| count).fold(self.own_count(now), u32::max);
        count as usize / 2 + 1
    }

    fn place(&self, address: Address) -> Result<usize, usize> {
        self.voters.binary_search_by_key(&address, |voter| voter.address)
    }

    fn find(&mut self, address: Address) -> Option<&mut Voter> {
        let place = self.place(address).ok()?;
        Some(&mut self.voters[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Instant = Instant::from_millis(100_000);

    fn address(number: u16) -> Address {
        Address::from_parts([1; 16], number)
    }

    /// This node and `others` more.
    fn voters(others: u16) -> Voters {
        let mut voters = Voters::new(1, 3 * SECOND);
        for number in 1..=others {
            assert!(voters.note(address(number), Generation(1), 0, Instant::ZERO));
        }
        voters
    }

    #[test]
    fn a_quorum_is_more_than_half_of_all_that_count() {
        for (others, quorum) in [(0, 1), (1, 2), (2, 2), (3, 3), (4, 3), (6, 4)] {
            assert_eq!(voters(others).quorum(NOW), quorum, "{others} others");
        }
        let mut expected = voters(1);
        expected.count_min = 5;
        assert_eq!(expected.quorum(NOW), 3);
        assert_eq!(expected.own_count(NOW), 5);
    }

    #[test]
    fn the_largest_count_of_those_that_answer_rules_for_a_while() {
        let mut voters = voters(1);
        voters.tell(address(1), 5, NOW);
        assert_eq!(voters.quorum(NOW), 3);
        assert_eq!(voters.own_count(NOW), 2, "what others count is not passed on");
        assert_eq!(voters.quorum(NOW + 3 * SECOND), 2);
        voters.tell(address(9), 99, NOW);
        assert_eq!(voters.quorum(NOW), 3, "a stranger counts for nothing");
    }

    #[test]
    fn the_departed_count_a_little_longer_and_newcomers_a_little_later() {
        let mut voters = voters(2);
        voters.leave(address(1), NOW + SECOND);
        assert_eq!((voters.own_count(NOW), voters.own_count(NOW + SECOND)), (3, 2));
        // The same run does not come back, the next one does.
        voters.note(address(1), Generation(1), 0, Instant::ZERO);
        assert_eq!(voters.own_count(NOW + SECOND), 2);
        voters.note(address(1), Generation(2), 0, Instant::ZERO);
        assert_eq!(voters.own_count(NOW + SECOND), 3);
        voters.note(address(3), Generation(1), 0, NOW + SECOND);
        assert_eq!((voters.own_count(NOW), voters.own_count(NOW + SECOND)), (3, 4));
        voters.promise(address(3), NOW);
        assert_eq!(voters.own_count(NOW), 4);
        voters.remove(address(3));
        assert_eq!(voters.own_count(NOW), 3);
    }

    #[test]
    fn support_is_as_old_as_the_oldest_promise_that_is_needed() {
        let mut voters = voters(4);
        assert_eq!(voters.supported_since(NOW), None);
        for (number, age) in [(1, 3), (2, 1), (3, 2)] {
            voters.promise(address(number), Instant::from_millis(100_000 - 1_000 * age));
        }
        assert_eq!(voters.supported_since(NOW), Some(Instant::from_millis(98_000)));
        // A late answer does not take a newer one back.
        voters.promise(address(3), Instant::from_millis(90_000));
        assert_eq!(voters.supported_since(NOW), Some(Instant::from_millis(98_000)));
        voters.clear_promises();
        assert_eq!(voters.supported_since(NOW), None);
        let mut alone = self::voters(0);
        assert_eq!(alone.supported_since(NOW), Some(NOW));
    }

    #[test]
    fn grants_count_once_and_only_in_their_round() {
        let mut voters = voters(4);
        voters.grant(address(1));
        voters.grant(address(1));
        voters.grant(address(77));
        assert!(!voters.is_elected(NOW));
        assert_eq!(voters.ungranted(NOW).count(), 3);
        voters.grant(address(2));
        assert!(voters.is_elected(NOW));
        voters.clear_grants();
        assert!(!voters.is_elected(NOW));
    }

    #[test]
    fn there_is_a_limit() {
        let mut voters = voters(VOTER_COUNT_MAX as u16);
        assert!(!voters.note(address(999), Generation(1), 0, NOW));
        assert!(voters.note(address(1), Generation(2), 0, NOW));
        assert_eq!(voters.own_count(NOW), 256);
    }
}
