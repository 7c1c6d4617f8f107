//! What the router is told: datacenters that could take a job, and managers inside one of them.
//!
//! The inputs of AD-36, part 1. Datacenters and jobs are small numbers here, so that a decision
//! over a thousand datacenters touches no text: [`Datacenters`](super::Datacenters) turns names
//! into [`DatacenterId`]s, [`JobId::from_name`](crate::JobId::from_name) turns a job's name into 128 bits.
//!
//! A host may hand over what it likes. A number that makes no sense (NaN, a share above one, a
//! negative round trip) is read as the worst legal value, so that nothing wins by being broken.

use std::fmt;
use std::num::NonZeroU16;

use super::classification::DatacenterHealth;
use crate::config::DATACENTER_COUNT_MAX;
use crate::coordinate::Rtt;
use crate::node::Address;
use crate::time::Instant;

/// The host's number for a datacenter, below [`DATACENTER_COUNT_MAX`]. Take it from
/// [`Datacenters`](super::Datacenters), or number them as the host already does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatacenterId(NonZeroU16);

impl DatacenterId {
    /// The datacenter with this number, or `None` from [`DATACENTER_COUNT_MAX`] on.
    pub const fn from_index(index: usize) -> Option<DatacenterId> {
        if index >= DATACENTER_COUNT_MAX {
            return None;
        }
        // Kept one higher, so that "no datacenter" costs no byte in the job table.
        match NonZeroU16::new(index as u16 + 1) {
            Some(number) => Some(DatacenterId(number)),
            None => None,
        }
    }

    /// The number, from 0.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl fmt::Debug for DatacenterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatacenterId({})", self.index())
    }
}

/// A datacenter that could take a job, as its host knows it now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DatacenterCandidate {
    /// Which datacenter.
    pub datacenter: DatacenterId,
    /// How well it is (AD-16); see [`classify`](super::classify).
    pub health: DatacenterHealth,
    /// When that was last heard, on the clock of `now`. Old news demotes.
    pub updated_at: Instant,
    /// Cores that are free on healthy workers.
    pub available_cores: u32,
    /// Cores of all registered workers.
    pub total_cores: u32,
    /// Jobs that wait there.
    pub queue_depth: u32,
    /// Managers that are registered there.
    pub manager_count: u32,
    /// Managers among them whose circuit breaker is not open.
    pub usable_manager_count: u32,
    /// The share of managers whose circuit breaker is open, 0 to 1.
    pub circuit_pressure: f64,
    /// A weight on the score, from 1, for what the health buckets do not say. Mostly 1.
    pub severity: f64,
    /// The round trip to its leader, where something is known.
    pub rtt: Option<Rtt>,
    /// How long a job is expected to take there, in ms, where the host estimates that. Only the
    /// limit [`FilterConfig::latency_max_ms`](super::FilterConfig::latency_max_ms) reads it.
    pub expected_latency_ms: Option<f64>,
    /// Requests per second it is expected to serve, where the host estimates that. Only the limit
    /// [`FilterConfig::throughput_min_per_second`](super::FilterConfig::throughput_min_per_second)
    /// reads it.
    pub expected_throughput_per_second: Option<f64>,
}

impl DatacenterCandidate {
    /// A healthy, idle datacenter without cores, managers or a known round trip; fill in what is
    /// known.
    pub fn new(datacenter: DatacenterId, now: Instant) -> DatacenterCandidate {
        DatacenterCandidate {
            datacenter,
            health: DatacenterHealth::Healthy,
            updated_at: now,
            available_cores: 0,
            total_cores: 0,
            queue_depth: 0,
            manager_count: 0,
            usable_manager_count: 0,
            circuit_pressure: 0.0,
            severity: 1.0,
            rtt: None,
            expected_latency_ms: None,
            expected_throughput_per_second: None,
        }
    }

    /// The round trip, unless it is missing or no number that a network could show.
    pub(crate) fn usable_rtt(&self) -> Option<Rtt> {
        usable(self.rtt)
    }
}

/// The state of the circuit breaker in front of a manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CircuitState {
    /// Calls pass.
    Closed,
    /// A few calls pass, to find out whether it recovered.
    HalfOpen,
    /// No call passes.
    Open,
}

/// A manager that could take a job inside its datacenter (AD-36, part 8).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ManagerCandidate {
    /// Where it is reached, which is also who it is.
    pub address: Address,
    /// When its last heartbeat arrived, on the clock of `now`.
    pub heartbeat_at: Instant,
    /// Its circuit breaker.
    pub circuit: CircuitState,
    /// Cores that are free on its workers.
    pub available_cores: u32,
    /// Cores of all its workers.
    pub total_cores: u32,
    /// Jobs that wait there.
    pub queue_depth: u32,
    /// The round trip to it, where something is known.
    pub rtt: Option<Rtt>,
}

impl ManagerCandidate {
    /// An idle manager without cores or a known round trip; fill in what is known.
    pub fn new(address: Address, now: Instant) -> ManagerCandidate {
        ManagerCandidate {
            address,
            heartbeat_at: now,
            circuit: CircuitState::Closed,
            available_cores: 0,
            total_cores: 0,
            queue_depth: 0,
            rtt: None,
        }
    }

    /// The round trip, unless it is missing or no number that a network could show.
    pub(crate) fn usable_rtt(&self) -> Option<Rtt> {
        usable(self.rtt)
    }
}

fn usable(rtt: Option<Rtt>) -> Option<Rtt> {
    rtt.filter(|rtt| rtt.upper_ms.is_finite() && rtt.upper_ms >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datacenter_numbers_have_a_bound_and_no_dearer_absence() {
        assert_eq!(DatacenterId::from_index(0).unwrap().index(), 0);
        let last = DATACENTER_COUNT_MAX - 1;
        assert_eq!(DatacenterId::from_index(last).unwrap().index(), last);
        assert_eq!(DatacenterId::from_index(DATACENTER_COUNT_MAX), None);
        assert_eq!(size_of::<Option<DatacenterId>>(), 2);
    }

    #[test]
    fn a_broken_round_trip_is_an_unknown_one() {
        let mut candidate =
            DatacenterCandidate::new(DatacenterId::from_index(0).unwrap(), Instant::ZERO);
        for upper_ms in [f64::NAN, f64::INFINITY, -1.0] {
            candidate.rtt = Some(Rtt { ms: 1.0, upper_ms, quality: 1.0 });
            assert_eq!(candidate.usable_rtt(), None, "{upper_ms}");
        }
        candidate.rtt = Some(Rtt { ms: 0.0, upper_ms: 0.0, quality: 1.0 });
        assert!(candidate.usable_rtt().is_some());
    }
}
