//! Which candidates may take a job at all (AD-36, part 2).
//!
//! Hard reasons exclude; soft ones only demote: a datacenter whose health is old news is treated as
//! degraded, one without a known round trip is kept and given a cautious one by
//! [`scoring`](super::scoring). Ages are judged against one `now` per decision.

use std::fmt;

use super::bucket::Bucket;
use super::candidate::{CircuitState, DatacenterCandidate, ManagerCandidate};
use super::classification::DatacenterHealth;
use super::{Range, check_ranges};
use crate::error::ConfigError;
use crate::time::Instant;

/// When a candidate is too old or too weak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterConfig {
    /// Health of a datacenter that is older than this counts as degraded, in ms; 1 to 86,400,000.
    pub health_stale_after_ms: u64,
    /// A manager whose last heartbeat is older than this is excluded, in ms; 1 to 86,400,000.
    pub heartbeat_stale_after_ms: u64,
    /// Datacenters expected to take longer than this are excluded, in ms; above 0. `None` sets no
    /// limit, and a datacenter without an expectation is never excluded by it.
    pub latency_max_ms: Option<f64>,
    /// Datacenters expected to serve less than this are excluded, in requests per second; above 0.
    /// `None` sets no limit, and a datacenter without an expectation is never excluded by it.
    pub throughput_min_per_second: Option<f64>,
}

impl Default for FilterConfig {
    fn default() -> FilterConfig {
        FilterConfig {
            health_stale_after_ms: 30_000,
            heartbeat_stale_after_ms: 60_000,
            latency_max_ms: None,
            throughput_min_per_second: None,
        }
    }
}

impl FilterConfig {
    /// Says whether the filter can run with this.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let day_ms = 86_400_000.0;
        let tiny = f64::MIN_POSITIVE;
        check_ranges(&[
            Range("health_stale_after_ms", self.health_stale_after_ms as f64, 1.0, day_ms),
            Range("heartbeat_stale_after_ms", self.heartbeat_stale_after_ms as f64, 1.0, day_ms),
            Range("latency_max_ms", self.latency_max_ms.unwrap_or(1.0), tiny, f64::MAX),
            Range(
                "throughput_min_per_second",
                self.throughput_min_per_second.unwrap_or(1.0),
                tiny,
                f64::MAX,
            ),
        ])
    }

    /// The filter as it stands at `now`.
    pub fn at(&self, now: Instant) -> Filter {
        let oldest = |age_ms: u64| {
            let age_nanos = age_ms.saturating_mul(1_000_000);
            Instant::from_nanos(now.as_nanos().saturating_sub(age_nanos))
        };
        Filter {
            oldest_health: oldest(self.health_stale_after_ms),
            oldest_heartbeat: oldest(self.heartbeat_stale_after_ms),
            latency_max_ms: self.latency_max_ms.unwrap_or(f64::INFINITY),
            throughput_min_per_second: self.throughput_min_per_second.unwrap_or(0.0),
        }
    }
}

/// Why a candidate may not take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Exclusion {
    /// The datacenter is UNHEALTHY (AD-16).
    UnhealthyStatus,
    /// No manager is registered in the datacenter.
    NoRegisteredManagers,
    /// Every manager of the datacenter is behind an open circuit breaker.
    AllManagersCircuitOpen,
    /// This manager is behind an open circuit breaker.
    CircuitBreakerOpen,
    /// This manager has not been heard from for too long.
    HeartbeatStale,
    /// The job is expected to take longer than its limit allows.
    SloLatencyExceeded,
    /// The datacenter is expected to serve less than the limit asks for.
    SloCapacityInsufficient,
}

impl Exclusion {
    /// The snake-case name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Exclusion::UnhealthyStatus => "unhealthy_status",
            Exclusion::NoRegisteredManagers => "no_registered_managers",
            Exclusion::AllManagersCircuitOpen => "all_managers_circuit_open",
            Exclusion::CircuitBreakerOpen => "circuit_breaker_open",
            Exclusion::HeartbeatStale => "heartbeat_stale",
            Exclusion::SloLatencyExceeded => "slo_latency_exceeded",
            Exclusion::SloCapacityInsufficient => "slo_capacity_insufficient",
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How an eligible datacenter takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The bucket it is routed in.
    pub bucket: Bucket,
    /// Whether it was demoted to that bucket because its health is old news.
    pub stale_health: bool,
}

/// A [`FilterConfig`] at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    oldest_health: Instant,
    oldest_heartbeat: Instant,
    latency_max_ms: f64,
    throughput_min_per_second: f64,
}

impl Filter {
    /// Whether this datacenter may take a job, and in which bucket.
    ///
    /// # Errors
    /// The reason why not. The first in the order of AD-36 wins.
    pub fn admit(&self, candidate: &DatacenterCandidate) -> Result<Admission, Exclusion> {
        let bucket = match candidate.health {
            DatacenterHealth::Healthy => Bucket::Healthy,
            DatacenterHealth::Busy => Bucket::Busy,
            DatacenterHealth::Degraded => Bucket::Degraded,
            DatacenterHealth::Unhealthy => return Err(Exclusion::UnhealthyStatus),
        };
        if candidate.manager_count == 0 {
            return Err(Exclusion::NoRegisteredManagers);
        }
        if candidate.usable_manager_count == 0 {
            return Err(Exclusion::AllManagersCircuitOpen);
        }
        if candidate.expected_latency_ms.is_some_and(|latency| latency > self.latency_max_ms) {
            return Err(Exclusion::SloLatencyExceeded);
        }
        let short = |throughput| throughput < self.throughput_min_per_second;
        if candidate.expected_throughput_per_second.is_some_and(short) {
            return Err(Exclusion::SloCapacityInsufficient);
        }
        if candidate.updated_at < self.oldest_health {
            return Ok(Admission { bucket: Bucket::Degraded, stale_health: true });
        }
        Ok(Admission { bucket, stale_health: false })
    }

    /// Whether this manager may take a job.
    ///
    /// # Errors
    /// The reason why not.
    pub fn admit_manager(&self, candidate: &ManagerCandidate) -> Result<(), Exclusion> {
        if candidate.circuit == CircuitState::Open {
            return Err(Exclusion::CircuitBreakerOpen);
        }
        if candidate.heartbeat_at < self.oldest_heartbeat {
            return Err(Exclusion::HeartbeatStale);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::DatacenterId;
    use crate::time::Duration;

    const NOW: Instant = Instant::from_millis(1_000_000);

    fn candidate() -> DatacenterCandidate {
        let datacenter = DatacenterId::from_index(0).unwrap();
        let candidate = DatacenterCandidate::new(datacenter, NOW);
        DatacenterCandidate { manager_count: 3, usable_manager_count: 3, ..candidate }
    }

    fn admit(change: impl Fn(&mut DatacenterCandidate)) -> Result<Admission, Exclusion> {
        let mut candidate = candidate();
        change(&mut candidate);
        FilterConfig::default().at(NOW).admit(&candidate)
    }

    #[test]
    fn hard_reasons_exclude_in_order() {
        assert_eq!(
            admit(|c| {
                c.health = DatacenterHealth::Unhealthy;
                c.manager_count = 0;
            }),
            Err(Exclusion::UnhealthyStatus)
        );
        assert_eq!(
            admit(|c| {
                c.manager_count = 0;
                c.usable_manager_count = 0;
            }),
            Err(Exclusion::NoRegisteredManagers)
        );
        assert_eq!(admit(|c| c.usable_manager_count = 0), Err(Exclusion::AllManagersCircuitOpen));
        let healthy = Admission { bucket: Bucket::Healthy, stale_health: false };
        assert_eq!(admit(|_| ()), Ok(healthy));
    }

    #[test]
    fn a_missing_coordinate_excludes_nothing() {
        assert!(admit(|c| c.rtt = None).is_ok());
    }

    #[test]
    fn old_health_demotes_and_never_excludes() {
        let limit = Duration::from_millis(FilterConfig::default().health_stale_after_ms);
        let age = |age: Duration| Instant::from_nanos(NOW.as_nanos() - age.as_nanos() as u64);
        let fresh = admit(|c| c.updated_at = age(limit)).unwrap();
        assert_eq!(fresh, Admission { bucket: Bucket::Healthy, stale_health: false });
        let stale = admit(|c| c.updated_at = age(limit + Duration::from_nanos(1))).unwrap();
        assert_eq!(stale, Admission { bucket: Bucket::Degraded, stale_health: true });
    }

    #[test]
    fn limits_exclude_only_on_an_expectation() {
        let config = FilterConfig {
            latency_max_ms: Some(200.0),
            throughput_min_per_second: Some(50.0),
            ..FilterConfig::default()
        };
        let filter = config.at(NOW);
        assert!(filter.admit(&candidate()).is_ok());
        let slow = DatacenterCandidate { expected_latency_ms: Some(201.0), ..candidate() };
        assert_eq!(filter.admit(&slow), Err(Exclusion::SloLatencyExceeded));
        let weak =
            DatacenterCandidate { expected_throughput_per_second: Some(49.0), ..candidate() };
        assert_eq!(filter.admit(&weak), Err(Exclusion::SloCapacityInsufficient));
        assert!(FilterConfig::default().at(NOW).admit(&slow).is_ok());
    }

    #[test]
    fn managers_need_a_circuit_and_a_heartbeat() {
        let filter = FilterConfig::default().at(NOW);
        let manager = ManagerCandidate::new("10.0.0.1:9000".parse().unwrap(), NOW);
        let with = |circuit, heartbeat_ms| {
            let heartbeat_at = Instant::from_millis(heartbeat_ms);
            filter.admit_manager(&ManagerCandidate { circuit, heartbeat_at, ..manager })
        };
        let now = NOW.as_millis();
        assert_eq!(with(CircuitState::Closed, now), Ok(()));
        assert_eq!(with(CircuitState::HalfOpen, now - 60_000), Ok(()));
        assert_eq!(with(CircuitState::Open, now), Err(Exclusion::CircuitBreakerOpen));
        assert_eq!(with(CircuitState::Closed, now - 60_001), Err(Exclusion::HeartbeatStale));
    }

    #[test]
    fn a_clock_near_its_origin_makes_nothing_stale() {
        let filter = FilterConfig::default().at(Instant::from_millis(5));
        let candidate = DatacenterCandidate { updated_at: Instant::ZERO, ..candidate() };
        assert!(!filter.admit(&candidate).unwrap().stale_health);
    }

    #[test]
    fn check_names_what_is_wrong() {
        FilterConfig::default().check().unwrap();
        let broken = FilterConfig { health_stale_after_ms: 0, ..FilterConfig::default() };
        assert_eq!(
            broken.check().unwrap_err().to_string(),
            "health_stale_after_ms is 0, expected 1 to 86400000"
        );
        let broken = FilterConfig { latency_max_ms: Some(f64::NAN), ..FilterConfig::default() };
        assert!(broken.check().is_err());
    }
}
