//! Candidates: the datacenters that could take a job, and the managers inside one of them. The
//! program numbers its datacenters from 0 and hands in what it knows of them with every call. A
//! number that makes no sense is read as the worst legal value.

use crate::address::shoal_address;
use crate::call::{Failure, check_reserved, guarded, required};
use crate::engine::give;
use crate::member::shoal_rtt;
use crate::status::{SHOAL_INVALID_ARGUMENT, shoal_status};
use shoal_core::config::DATACENTER_COUNT_MAX;
use shoal_core::routing::{
    CircuitState, DatacenterCandidate, DatacenterHealth, DatacenterId, ManagerCandidate,
};
use shoal_core::{Instant, Rtt};
use std::mem::MaybeUninit;

/// Datacenters are numbered from 0 to one less than this.
pub const SHOAL_DATACENTER_COUNT_MAX: usize = 4096;
/// No datacenter.
pub const SHOAL_DATACENTER_NONE: u32 = 4294967295;

const _: () = assert!(SHOAL_DATACENTER_COUNT_MAX == DATACENTER_COUNT_MAX);

/// Structurally well, with free cores.
pub const SHOAL_HEALTH_HEALTHY: u8 = 0;
/// Structurally well, without a free core. Passes as jobs finish.
pub const SHOAL_HEALTH_BUSY: u8 = 1;
/// The majority of its workers or of its managers is lost: it works, with less.
pub const SHOAL_HEALTH_DEGRADED: u8 = 2;
/// No manager answers or no worker is registered: it cannot work.
pub const SHOAL_HEALTH_UNHEALTHY: u8 = 3;

/// Calls to the manager pass.
pub const SHOAL_CIRCUIT_CLOSED: u8 = 0;
/// A few calls pass, to find out whether it recovered.
pub const SHOAL_CIRCUIT_HALF_OPEN: u8 = 1;
/// No call passes.
pub const SHOAL_CIRCUIT_OPEN: u8 = 2;

/// A datacenter that could take a job, as the program knows it now. Start from
/// `shoal_candidate_init`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_candidate {
    /// Its number.
    pub datacenter: u32,
    /// How well it is: a `SHOAL_HEALTH_` number.
    pub health: u8,
    /// 1 when `rtt` is known, else 0.
    pub has_rtt: u8,
    /// Zero.
    pub reserved_flags: [u8; 2],
    /// When its health was last heard, on the clock of `now_ns`. Old news demotes.
    pub updated_at_ns: u64,
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
    /// Zero.
    pub reserved_count: u32,
    /// The share of managers whose circuit breaker is open, 0 to 1.
    pub circuit_pressure: f64,
    /// A weight on the score, from 1, for what health does not say. Mostly 1.
    pub severity: f64,
    /// The round trip to its leader.
    pub rtt: shoal_rtt,
    /// How long a job is expected to take there, in ms; 0 when that is not estimated.
    pub expected_latency_ms: f64,
    /// Requests per second it is expected to serve; 0 when that is not estimated.
    pub expected_throughput_per_second: f64,
    /// Zero.
    pub reserved: [u8; 32],
}

/// A manager that could take a job inside its datacenter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_manager_candidate {
    /// Where it is reached, which is also who it is.
    pub address: shoal_address,
    /// When its last heartbeat arrived, on the clock of `now_ns`.
    pub heartbeat_at_ns: u64,
    /// Cores that are free on its workers.
    pub available_cores: u32,
    /// Cores of all its workers.
    pub total_cores: u32,
    /// Jobs that wait there.
    pub queue_depth: u32,
    /// Its circuit breaker: a `SHOAL_CIRCUIT_` number.
    pub circuit: u8,
    /// 1 when `rtt` is known, else 0.
    pub has_rtt: u8,
    /// Zero.
    pub reserved_flags: [u8; 2],
    /// The round trip to it.
    pub rtt: shoal_rtt,
    /// Zero.
    pub reserved: [u8; 24],
}

/// Fills in a healthy, idle datacenter without cores, managers or a known round trip.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_candidate_init(
    candidate: Option<&mut MaybeUninit<shoal_candidate>>,
    datacenter: u32,
    now_ns: u64,
) -> shoal_status {
    guarded(|| {
        let target = required(candidate, "candidate")?;
        let new =
            DatacenterCandidate::new(read_datacenter(datacenter)?, Instant::from_nanos(now_ns));
        Ok(give(
            target,
            Some(shoal_candidate {
                datacenter,
                health: health_number(new.health),
                has_rtt: 0,
                reserved_flags: [0; 2],
                updated_at_ns: now_ns,
                available_cores: new.available_cores,
                total_cores: new.total_cores,
                queue_depth: new.queue_depth,
                manager_count: new.manager_count,
                usable_manager_count: new.usable_manager_count,
                reserved_count: 0,
                circuit_pressure: new.circuit_pressure,
                severity: new.severity,
                rtt: shoal_rtt::default(),
                expected_latency_ms: 0.0,
                expected_throughput_per_second: 0.0,
                reserved: [0; 32],
            }),
        ))
    })
}

pub(crate) fn read_datacenter(number: u32) -> Result<DatacenterId, Failure> {
    DatacenterId::from_index(number as usize).ok_or_else(|| {
        let detail =
            format!("datacenter {number}, expected 0 to {}", SHOAL_DATACENTER_COUNT_MAX - 1);
        Failure::new(SHOAL_INVALID_ARGUMENT, detail)
    })
}

fn read_rtt(has_rtt: u8, rtt: shoal_rtt) -> Option<Rtt> {
    let shoal_rtt { ms, upper_ms, quality } = rtt;
    (has_rtt != 0).then_some(Rtt { ms, upper_ms, quality })
}

pub(crate) fn health_number(health: DatacenterHealth) -> u8 {
    match health {
        DatacenterHealth::Healthy => SHOAL_HEALTH_HEALTHY,
        DatacenterHealth::Busy => SHOAL_HEALTH_BUSY,
        DatacenterHealth::Degraded => SHOAL_HEALTH_DEGRADED,
        DatacenterHealth::Unhealthy => SHOAL_HEALTH_UNHEALTHY,
    }
}

impl shoal_candidate {
    pub(crate) fn read(&self) -> Result<DatacenterCandidate, Failure> {
        check_reserved(&self.reserved, "a candidate")?;
        let health = match self.health {
            SHOAL_HEALTH_HEALTHY => DatacenterHealth::Healthy,
            SHOAL_HEALTH_BUSY => DatacenterHealth::Busy,
            SHOAL_HEALTH_DEGRADED => DatacenterHealth::Degraded,
            SHOAL_HEALTH_UNHEALTHY => DatacenterHealth::Unhealthy,
            other => return Err(unknown_number("health", other)),
        };
        let estimate = |value: f64| (value != 0.0).then_some(value);
        Ok(DatacenterCandidate {
            datacenter: read_datacenter(self.datacenter)?,
            health,
            updated_at: Instant::from_nanos(self.updated_at_ns),
            available_cores: self.available_cores,
            total_cores: self.total_cores,
            queue_depth: self.queue_depth,
            manager_count: self.manager_count,
            usable_manager_count: self.usable_manager_count,
            circuit_pressure: self.circuit_pressure,
            severity: self.severity,
            rtt: read_rtt(self.has_rtt, self.rtt),
            expected_latency_ms: estimate(self.expected_latency_ms),
            expected_throughput_per_second: estimate(self.expected_throughput_per_second),
        })
    }
}

impl shoal_manager_candidate {
    pub(crate) fn read(&self) -> Result<ManagerCandidate, Failure> {
        check_reserved(&self.reserved, "a candidate")?;
        let circuit = match self.circuit {
            SHOAL_CIRCUIT_CLOSED => CircuitState::Closed,
            SHOAL_CIRCUIT_HALF_OPEN => CircuitState::HalfOpen,
            SHOAL_CIRCUIT_OPEN => CircuitState::Open,
            other => return Err(unknown_number("circuit", other)),
        };
        Ok(ManagerCandidate {
            address: self.address.read()?,
            heartbeat_at: Instant::from_nanos(self.heartbeat_at_ns),
            circuit,
            available_cores: self.available_cores,
            total_cores: self.total_cores,
            queue_depth: self.queue_depth,
            rtt: read_rtt(self.has_rtt, self.rtt),
        })
    }
}

fn unknown_number(field: &str, number: u8) -> Failure {
    Failure::new(SHOAL_INVALID_ARGUMENT, format!("{field} of a candidate cannot be {number}"))
}
