//! What a gate's routing looks like from outside, by datacenter, for its metrics (AD-36, part 11).
//!
//! Scores are taken from one decision per picture of the cluster, so that routing many jobs costs
//! nothing more. Both lists are bounded, because each entry is a line of text in every scrape.

use super::decision::Decision;
use super::directory::Datacenters;
use super::scoring::Score;
use crate::node::DatacenterName;

/// The most datacenters whose scores are shown: the best of the decision.
pub const SCORE_COUNT_MAX: usize = 32;
/// The most pairs of datacenters between which jobs that went astray are counted one by one.
pub const FALLBACK_COUNT_MAX: usize = 32;

/// The latest scores, and how often a fallback was used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoutingOverview {
    revision: u64,
    scores: Vec<(DatacenterName, Score)>,
    fallbacks: Vec<Fallback>,
    other_fallbacks: u64,
}

/// Jobs that were sent to one datacenter because another one had failed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The primary that failed them.
    pub from: DatacenterName,
    /// Where they were sent.
    pub to: DatacenterName,
    /// How often.
    pub count: u64,
}

impl RoutingOverview {
    /// Changes whenever anything here does.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The best datacenters of the latest decision by score, best first, without what the job of
    /// that decision made of them.
    pub fn scores(&self) -> &[(DatacenterName, Score)] {
        &self.scores
    }

    /// How often a fallback was used, by pair.
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }

    /// The same of pairs for which there is no room.
    pub fn other_fallbacks(&self) -> u64 {
        self.other_fallbacks
    }

    /// Takes the scores of a decision. One that ranked by capacity has none in milliseconds.
    pub(crate) fn show_scores(&mut self, names: &Datacenters, decision: &Decision) {
        self.revision += 1;
        self.scores.clear();
        if decision.is_bootstrap() {
            return;
        }
        let shown = decision.chain().take(SCORE_COUNT_MAX);
        let named =
            shown.filter_map(|one| names.name(one.datacenter).map(|name| (*name, one.score)));
        self.scores.extend(named);
    }

    /// Counts a job that was sent elsewhere than to the primary that had failed it.
    pub(crate) fn count_fallback(&mut self, from: DatacenterName, to: DatacenterName) {
        self.revision += 1;
        let has_room = self.fallbacks.len() < FALLBACK_COUNT_MAX;
        match self.fallbacks.iter_mut().find(|one| (one.from, one.to) == (from, to)) {
            Some(known) => known.count += 1,
            None if has_room => {
                self.fallbacks.push(Fallback { from, to, count: 1 });
            }
            None => self.other_fallbacks += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_beyond_the_limit_are_counted_together() {
        let mut overview = RoutingOverview::default();
        let name = |number: usize| format!("dc-{number}").parse::<DatacenterName>().unwrap();
        for number in 0..FALLBACK_COUNT_MAX + 5 {
            overview.count_fallback(name(1_000), name(number));
        }
        overview.count_fallback(name(1_000), name(3));
        assert_eq!(overview.fallbacks().len(), FALLBACK_COUNT_MAX);
        assert_eq!((overview.fallbacks()[3].count, overview.other_fallbacks()), (2, 5));
        assert_eq!(overview.revision(), FALLBACK_COUNT_MAX as u64 + 6);
    }
}
