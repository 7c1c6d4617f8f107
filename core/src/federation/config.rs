//! What a host may choose about leaders and about watching other datacenters.

use crate::error::ConfigError;
use crate::routing::{Range, check_ranges};
use crate::time::Duration;

/// Who decides which manager leads a datacenter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadershipMode {
    /// The managers elect.
    Elected,
    /// The host names it, for example because it runs a consensus protocol of its own. Nobody
    /// stands or votes, and there is no lease; the named leader still tells the other managers.
    External,
}

/// Everything that decides how leaders are elected and how datacenters are watched. Start from the
/// default and change fields; all managers of a datacenter need the same leadership settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FederationConfig {
    /// Who decides which manager leads.
    pub leadership: LeadershipMode,
    /// How many managers this datacenter is meant to have; 1 to 1,000,000. No majority is counted
    /// out of fewer, so with the right number here two halves of a datacenter never both elect,
    /// whatever their members have forgotten. 1 leaves it to the members that are known.
    pub manager_count_min: u32,
    /// Time between two heartbeats of a leader, in ms; 10 to 60,000.
    pub heartbeat_interval_ms: u64,
    /// How long a leader leads on the last heartbeat that a majority acknowledged, in ms; twice the
    /// heartbeat interval to 600,000.
    pub lease_ms: u64,
    /// How wrong the rate of any manager's clock may be, as a share; 0 to 0.1.
    pub clock_drift_max: f64,
    /// How long one round of votes lasts, in ms; 10 to 60,000.
    pub vote_timeout_ms: u64,
    /// Managers that miss their leader stand at moments drawn from this much time, in ms; 1 to
    /// 60,000.
    pub election_spread_ms: u64,
    /// How much later a manager stands for each point of its local health score, in ms; 0 to
    /// 10,000.
    pub health_delay_ms: u64,
    /// The worst local health score of a fit leader; 0 to 8.
    pub leader_health_score_max: u8,
    /// How long after the end of a leadership nobody but a fit manager is elected, in ms; 0 to
    /// 600,000.
    pub health_patience_ms: u64,

    /// Time between two probes of one datacenter, in ms; 10 to 3,600,000. (AD-33:
    /// `FEDERATED_PROBE_INTERVAL`.)
    pub probe_interval_ms: u64,
    /// How long a probe waits for its ack, in ms; 10 to a hundred intervals. (AD-33:
    /// `FEDERATED_PROBE_TIMEOUT`.)
    pub probe_timeout_ms: u64,
    /// Failed probes in a row that make a datacenter suspected; 1 to 100. (AD-33:
    /// `FEDERATED_MAX_CONSECUTIVE_FAILURES`.)
    pub probe_failure_count: u32,
    /// Time without an ack that makes a datacenter suspected, in ms; 10 to 3,600,000. (AD-33: the
    /// timeout of a probe times the failures.)
    pub silence_ms: u64,
    /// How long a datacenter is suspected before it is unreachable, in ms; 0 to 3,600,000. (AD-33:
    /// `FEDERATED_SUSPICION_TIMEOUT`.)
    pub suspicion_ms: u64,

    /// Datacenters whose last acks lie this close together went silent together, in ms; 1 to
    /// 3,600,000.
    pub correlation_window_ms: u64,
    /// How many of them it takes to blame the own network; 2 to 4,096.
    pub correlation_count_min: u32,
    /// Which share of the datacenters that were heard before it takes; above 0, at most 1.
    pub correlation_share_min: f64,
    /// How long the own network is blamed at most, in ms; 0 to 3,600,000.
    pub correlation_hold_ms: u64,
}

impl Default for FederationConfig {
    fn default() -> FederationConfig {
        FederationConfig {
            leadership: LeadershipMode::Elected,
            manager_count_min: 1,
            heartbeat_interval_ms: 500,
            lease_ms: 3_000,
            clock_drift_max: 0.01,
            vote_timeout_ms: 600,
            election_spread_ms: 600,
            health_delay_ms: 200,
            leader_health_score_max: 2,
            health_patience_ms: 2_000,
            probe_interval_ms: 2_000,
            probe_timeout_ms: 5_000,
            probe_failure_count: 5,
            silence_ms: 25_000,
            suspicion_ms: 30_000,
            correlation_window_ms: 10_000,
            correlation_count_min: 2,
            correlation_share_min: 0.5,
            correlation_hold_ms: 60_000,
        }
    }
}

impl FederationConfig {
    /// Says whether a node can run with this.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (ms, hour) = (|duration: u64| duration as f64, 3_600_000.0);
        let heartbeat = ms(self.heartbeat_interval_ms);
        let score_max = f64::from(crate::config::HEALTH_SCORE_MAX);
        check_ranges(&[
            Range("manager_count_min", f64::from(self.manager_count_min), 1.0, 1e6),
            Range("heartbeat_interval_ms", heartbeat, 10.0, 60_000.0),
            Range("lease_ms", ms(self.lease_ms), 2.0 * heartbeat, 600_000.0),
            Range("clock_drift_max", self.clock_drift_max, 0.0, 0.1),
            Range("vote_timeout_ms", ms(self.vote_timeout_ms), 10.0, 60_000.0),
            Range("election_spread_ms", ms(self.election_spread_ms), 1.0, 60_000.0),
            Range("health_delay_ms", ms(self.health_delay_ms), 0.0, 10_000.0),
            Range(
                "leader_health_score_max",
                f64::from(self.leader_health_score_max),
                0.0,
                score_max,
            ),
            Range("health_patience_ms", ms(self.health_patience_ms), 0.0, 600_000.0),
            Range("probe_interval_ms", ms(self.probe_interval_ms), 10.0, hour),
            Range(
                "probe_timeout_ms",
                ms(self.probe_timeout_ms),
                10.0,
                100.0 * ms(self.probe_interval_ms),
            ),
            Range("probe_failure_count", f64::from(self.probe_failure_count), 1.0, 100.0),
            Range("silence_ms", ms(self.silence_ms), 10.0, hour),
            Range("suspicion_ms", ms(self.suspicion_ms), 0.0, hour),
            Range("correlation_window_ms", ms(self.correlation_window_ms), 1.0, hour),
            Range("correlation_count_min", f64::from(self.correlation_count_min), 2.0, 4_096.0),
            Range("correlation_share_min", self.correlation_share_min, f64::MIN_POSITIVE, 1.0),
            Range("correlation_hold_ms", ms(self.correlation_hold_ms), 0.0, hour),
        ])
    }
}

/// The durations of the leadership protocol, with the allowances for clocks that run at different
/// rates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub heartbeat_interval: Duration,
    /// How long a leader relies on an acknowledged heartbeat, counted from when it was sent.
    pub lease: Duration,
    /// How long a follower keeps its promise, counted from when it heard the heartbeat.
    pub promise: Duration,
    /// How long a node that has just started neither votes nor promises.
    pub abstention: Duration,
    pub vote_round: Duration,
    pub election_spread: Duration,
    pub health_delay: Duration,
    pub health_patience: Duration,
}

impl Timing {
    pub fn new(config: &FederationConfig) -> Timing {
        let ms = Duration::from_millis;
        let (lease, vote_round) = (ms(config.lease_ms), ms(config.vote_timeout_ms));
        // A clock that is fast by a share d measures a span that takes 1 / (1 + d) of it, one that
        // is slow 1 / (1 - d). To outlast the slowest with the fastest takes (1 + d) / (1 - d), and
        // that is less than 1 + 3 d below a third.
        let allowance = 1.0 + 3.0 * config.clock_drift_max;
        Timing {
            heartbeat_interval: ms(config.heartbeat_interval_ms),
            lease,
            promise: lease.mul_f64(allowance),
            abstention: (lease + vote_round).mul_f64(allowance),
            vote_round,
            election_spread: ms(config.election_spread_ms),
            health_delay: ms(config.health_delay_ms),
            health_patience: ms(config.health_patience_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_follow_ad_33() {
        let config = FederationConfig::default();
        config.check().unwrap();
        assert_eq!(
            config.silence_ms,
            config.probe_timeout_ms * u64::from(config.probe_failure_count)
        );
        assert_eq!((config.probe_interval_ms, config.suspicion_ms), (2_000, 30_000));
    }

    #[test]
    fn check_names_what_is_wrong() {
        let broken = FederationConfig { lease_ms: 999, ..FederationConfig::default() };
        assert_eq!(
            broken.check().unwrap_err().to_string(),
            "lease_ms is 999, expected 1000 to 600000"
        );
        let broken = FederationConfig { clock_drift_max: f64::NAN, ..FederationConfig::default() };
        assert!(broken.check().is_err());
        let broken = FederationConfig { correlation_share_min: 0.0, ..FederationConfig::default() };
        assert!(broken.check().is_err());
        let broken = FederationConfig { manager_count_min: 0, ..FederationConfig::default() };
        assert!(broken.check().is_err());
    }

    #[test]
    fn the_fastest_clock_outlasts_the_slowest() {
        for drift in [0.0, 0.001, 0.01, 0.1] {
            let config = FederationConfig { clock_drift_max: drift, ..FederationConfig::default() };
            let timing = Timing::new(&config);
            let longest_lease = timing.lease.as_secs_f64() / (1.0 - drift);
            let longest_round = timing.vote_round.as_secs_f64() / (1.0 - drift);
            let real = |span: Duration| span.as_secs_f64() / (1.0 + drift);
            assert!(real(timing.promise) >= longest_lease - 1e-9);
            assert!(real(timing.abstention) >= longest_lease + longest_round - 1e-9);
        }
    }
}
