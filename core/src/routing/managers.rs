//! Which manager inside the chosen datacenter gets the job (AD-36, part 8).
//!
//! Managers behind an open circuit breaker or without a recent heartbeat are excluded. The others
//! rank by upper round trip, load and quality, as datacenters do, with a half-open breaker as half
//! a circuit's pressure. The manager that already accepted the job in this datacenter comes first
//! while it is eligible.

use super::candidate::{CircuitState, ManagerCandidate};
use super::fallback::{Chain, SortKey};
use super::filter::{Exclusion, FilterConfig};
use super::scoring::{Score, ScoringConfig, utilization};
use super::{Bucket, CANDIDATE_COUNT_MAX, RouteError};
use crate::node::Address;
use crate::time::Instant;

/// One eligible manager.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedManager {
    /// Which manager.
    pub address: Address,
    /// Its score and what that is made of.
    pub score: Score,
    /// Whether its round trip is known; otherwise a cautious stand-in was scored.
    pub rtt_known: bool,
}

/// A manager that may not take the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExcludedManager {
    /// Which manager.
    pub address: Address,
    /// Why not.
    pub reason: Exclusion,
}

/// Managers in the order in which to try them, in a buffer that its owner uses again.
#[derive(Clone, Debug, Default)]
pub struct ManagerChoice {
    ranked: Vec<RankedManager>,
    excluded: Vec<ExcludedManager>,
    chain: Chain,
    is_sticky: bool,
}

impl ManagerChoice {
    /// The manager to send the job to.
    pub fn selected(&self) -> Option<&RankedManager> {
        self.chain().next()
    }

    /// Every eligible manager, first to try first.
    pub fn chain(&self) -> impl ExactSizeIterator<Item = &RankedManager> {
        self.chain.positions().map(|position| &self.ranked[position])
    }

    /// Every eligible manager in the order in which the candidates were given.
    pub fn ranked(&self) -> &[RankedManager] {
        &self.ranked
    }

    /// The managers that may not take the job.
    pub fn excluded(&self) -> &[ExcludedManager] {
        &self.excluded
    }

    /// Whether the first one leads because it already has the job.
    pub fn is_sticky(&self) -> bool {
        self.is_sticky
    }

    /// Orders these managers for a job that `accepted_by` took before, if anybody did.
    ///
    /// # Errors
    /// [`RouteError::TooManyCandidates`]; the choice is empty then.
    pub fn rank(
        &mut self,
        now: Instant,
        filter: &FilterConfig,
        scoring: &ScoringConfig,
        candidates: &[ManagerCandidate],
        accepted_by: Option<Address>,
    ) -> Result<(), RouteError> {
        self.ranked.clear();
        self.excluded.clear();
        self.chain.clear();
        self.is_sticky = false;
        if candidates.len() > CANDIDATE_COUNT_MAX {
            return Err(RouteError::TooManyCandidates { count: candidates.len() });
        }
        let filter = filter.at(now);
        let mut farthest_ms = 0.0_f64;
        for candidate in candidates {
            let address = candidate.address;
            match filter.admit_manager(candidate) {
                Ok(()) => {
                    let ranked = rank_one(scoring, candidate);
                    farthest_ms = farthest_ms.max(ranked.score.latency_ms);
                    self.ranked.push(ranked);
                }
                Err(reason) => self.excluded.push(ExcludedManager { address, reason }),
            }
        }
        let unknown_ms = scoring.unknown_rtt_ms(farthest_ms);
        let mut sticky = None;
        for (position, ranked) in self.ranked.iter_mut().enumerate() {
            if !ranked.rtt_known {
                ranked.score.latency_ms = unknown_ms;
            }
            ranked.score.base = ranked.score.product();
            let key = SortKey::new(Bucket::Healthy, ranked.score.value(), 0, position);
            if Some(ranked.address) == accepted_by {
                sticky = Some(key);
            }
            self.chain.push(key);
        }
        self.chain.sort();
        if let Some(key) = sticky {
            self.chain.promote(key);
            self.is_sticky = true;
        }
        Ok(())
    }
}

fn rank_one(scoring: &ScoringConfig, candidate: &ManagerCandidate) -> RankedManager {
    let rtt = candidate.usable_rtt();
    let circuit_pressure = match candidate.circuit {
        CircuitState::Closed => 0.0,
        CircuitState::HalfOpen => 0.5,
        CircuitState::Open => 1.0,
    };
    let utilization = utilization(candidate.available_cores, candidate.total_cores);
    let score = Score {
        latency_ms: rtt.map_or(0.0, |rtt| scoring.known_rtt_ms(rtt.upper_ms)),
        load_factor: scoring.load_factor(utilization, candidate.queue_depth, circuit_pressure),
        quality_penalty: scoring.quality_penalty(rtt.map_or(0.0, |rtt| rtt.quality)),
        severity: 1.0,
        base: 0.0,
        multiplier: 1.0,
    };
    RankedManager { address: candidate.address, score, rtt_known: rtt.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinate::Rtt;

    const NOW: Instant = Instant::from_millis(10_000_000);

    fn address(number: u16) -> Address {
        format!("10.0.0.1:{number}").parse().unwrap()
    }

    fn manager(number: u16, upper_ms: Option<f64>) -> ManagerCandidate {
        let rtt = upper_ms.map(|upper_ms| Rtt { ms: upper_ms, upper_ms, quality: 1.0 });
        let candidate = ManagerCandidate::new(address(number), NOW);
        ManagerCandidate { available_cores: 10, total_cores: 10, rtt, ..candidate }
    }

    fn rank(candidates: &[ManagerCandidate], accepted_by: Option<Address>) -> ManagerChoice {
        let mut choice = ManagerChoice::default();
        let (filter, scoring) = (FilterConfig::default(), ScoringConfig::default());
        choice.rank(NOW, &filter, &scoring, candidates, accepted_by).unwrap();
        choice
    }

    fn ports(choice: &ManagerChoice) -> Vec<u16> {
        choice.chain().map(|ranked| ranked.address.port()).collect()
    }

    #[test]
    fn near_and_idle_first_unknown_last() {
        let busy = ManagerCandidate { available_cores: 0, ..manager(2, Some(10.0)) };
        let managers = [manager(1, Some(50.0)), busy, manager(3, Some(12.0)), manager(4, None)];
        let choice = rank(&managers, None);
        assert_eq!(ports(&choice), [3, 2, 1, 4]);
        assert_eq!(choice.selected().unwrap().address, address(3));
        assert!(!choice.is_sticky());
    }

    #[test]
    fn the_manager_that_has_the_job_leads_while_it_is_eligible() {
        let mut managers = [manager(1, Some(10.0)), manager(2, Some(90.0))];
        let choice = rank(&managers, Some(address(2)));
        assert_eq!((ports(&choice), choice.is_sticky()), (vec![2, 1], true));
        managers[1].circuit = CircuitState::Open;
        let choice = rank(&managers, Some(address(2)));
        assert_eq!((ports(&choice), choice.is_sticky()), (vec![1], false));
        assert_eq!(choice.excluded()[0].reason, Exclusion::CircuitBreakerOpen);
    }

    #[test]
    fn a_half_open_circuit_costs_something() {
        let half = ManagerCandidate { circuit: CircuitState::HalfOpen, ..manager(1, Some(10.0)) };
        let choice = rank(&[half, manager(2, Some(10.5))], None);
        assert_eq!(ports(&choice), [2, 1]);
        assert!((choice.ranked()[0].score.load_factor - 1.1).abs() < 1e-12);
    }

    #[test]
    fn nobody_is_a_choice_too() {
        let stale = ManagerCandidate { heartbeat_at: Instant::ZERO, ..manager(1, Some(1.0)) };
        let choice = rank(&[stale], Some(address(1)));
        assert!(choice.selected().is_none());
        assert_eq!(choice.excluded()[0].reason, Exclusion::HeartbeatStale);
        let mut choice = choice;
        let (filter, scoring) = (FilterConfig::default(), ScoringConfig::default());
        let many = vec![stale; CANDIDATE_COUNT_MAX + 1];
        let refusal = choice.rank(NOW, &filter, &scoring, &many, None);
        assert_eq!(refusal, Err(RouteError::TooManyCandidates { count: 4_097 }));
        assert!(choice.excluded().is_empty());
    }
}
