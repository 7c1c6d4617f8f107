//! The state of jobs as plain values, for another host or for this one after a restart.
//!
//! Only durations occur in them, never a point on one host's clock. How a host replicates or stores
//! them is its own affair; [`JobSnapshot::to_bytes`] makes it easy, for example as the state that
//! a node attaches to itself.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::moment::nanos;
use super::ruling::DatacenterStatus;
use super::timeout::{FenceToken, JobOutcome, TimeoutReason, WorkflowCounts, check_timeout};
use crate::id::JobId;
use crate::node::{Address, DatacenterName};
use crate::time::Duration;

/// All that another host needs to go on tracking a job: a plain value in which only durations
/// occur.
///
/// A manager takes it with [`JobTracker::snapshot`](super::JobTracker::snapshot) whenever it
/// replicates the job's state; the next leader, or the same manager after a restart, hands it to
/// [`JobTracker::leader_changed`](super::JobTracker::leader_changed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSnapshot {
    /// The job.
    pub job: JobId,
    /// The gate it reports to, `None` under local authority.
    pub gate: Option<Address>,
    /// In how many datacenters the job runs, as far as was known.
    pub datacenter_count: u16,
    /// Its timeout.
    pub timeout: Duration,
    /// How long it had been running.
    pub elapsed: Duration,
    /// How long it had made no progress.
    pub since_progress: Duration,
    /// How long the gate had not spoken of the job.
    pub since_gate: Duration,
    /// All extensions granted.
    pub extension_total: Duration,
    /// The longest single one.
    pub extension_max: Duration,
    /// The state of its workflows.
    pub workflows: WorkflowCounts,
    /// The leadership it was taken under.
    pub fence: FenceToken,
    /// How the job ended, when only the delivery of that to the gate was left to do.
    pub outcome: Option<JobOutcome>,
}

impl JobSnapshot {
    /// The snapshot as it would be `age` later, had nothing happened: for a host that has kept it
    /// for that long on its own clock. The gate does not count as silent for a time in which
    /// nobody spoke to it.
    pub fn aged(self, age: Duration) -> JobSnapshot {
        JobSnapshot {
            elapsed: self.elapsed.saturating_add(age),
            since_progress: self.since_progress.saturating_add(age),
            ..self
        }
    }

    /// The snapshot as bytes, the same on every machine.
    pub fn to_bytes(&self) -> [u8; SNAPSHOT_SIZE] {
        let gate = self.gate.unwrap_or(Address::UNSPECIFIED);
        let wide = |duration: Duration| U64::new(nanos(duration));
        let wire = WireSnapshot {
            job: *self.job.as_bytes(),
            gate_ip: *gate.ip_bytes(),
            gate_port: U16::new(gate.port()),
            datacenter_count: U16::new(self.datacenter_count),
            timeout_ns: wide(self.timeout),
            elapsed_ns: wide(self.elapsed),
            since_progress_ns: wide(self.since_progress),
            since_gate_ns: wide(self.since_gate),
            extension_total_ns: wide(self.extension_total),
            extension_max_ns: wide(self.extension_max),
            workflows_total: U32::new(self.workflows.total),
            workflows_completed: U32::new(self.workflows.completed),
            workflows_failed: U32::new(self.workflows.failed),
            fence: U64::new(self.fence.0),
            outcome: self.outcome.map_or(0, |outcome| outcome as u8),
        };
        zerocopy::transmute!(wire)
    }

    /// The snapshot in these bytes; `None` when they are none that could be gone on from.
    pub fn from_bytes(bytes: &[u8]) -> Option<JobSnapshot> {
        let wire = WireSnapshot::ref_from_bytes(bytes).ok()?;
        let gate = Address::from_parts(wire.gate_ip, wire.gate_port.get());
        let narrow = |nanos: U64| Duration::from_nanos(nanos.get());
        let timeout = narrow(wire.timeout_ns);
        check_timeout(timeout).ok()?;
        Some(JobSnapshot {
            job: JobId::from_bytes(wire.job),
            gate: gate.is_reachable().then_some(gate),
            datacenter_count: wire.datacenter_count.get(),
            timeout,
            elapsed: narrow(wire.elapsed_ns),
            since_progress: narrow(wire.since_progress_ns),
            since_gate: narrow(wire.since_gate_ns),
            extension_total: narrow(wire.extension_total_ns),
            extension_max: narrow(wire.extension_max_ns),
            workflows: WorkflowCounts {
                total: wire.workflows_total.get(),
                completed: wire.workflows_completed.get(),
                failed: wire.workflows_failed.get(),
            },
            fence: FenceToken(wire.fence.get()),
            outcome: match wire.outcome {
                0 => None,
                number => Some(JobOutcome::from_wire(number)?),
            },
        })
    }
}

/// The size of a [`JobSnapshot`] as bytes.
pub const SNAPSHOT_SIZE: usize = size_of::<WireSnapshot>();

/// Little-endian, no padding.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireSnapshot {
    job: [u8; 16],
    gate_ip: [u8; 16],
    gate_port: U16,
    datacenter_count: U16,
    timeout_ns: U64,
    elapsed_ns: U64,
    since_progress_ns: U64,
    since_gate_ns: U64,
    extension_total_ns: U64,
    extension_max_ns: U64,
    workflows_total: U32,
    workflows_completed: U32,
    workflows_failed: U32,
    fence: U64,
    /// 0 while the job runs.
    outcome: u8,
}

/// How a job stands in one datacenter: a plain value in which only durations occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatacenterSnapshot {
    /// The datacenter.
    pub datacenter: DatacenterName,
    /// The manager that leads the job there, if one is known.
    pub leader: Option<Address>,
    /// How it stands.
    pub status: DatacenterStatus,
    /// The leadership that reported last.
    pub fence: FenceToken,
    /// How long the job has made no progress there.
    pub since_progress: Duration,
    /// All extensions granted there.
    pub extension_total: Duration,
}

/// All that another gate needs to go on tracking a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateJobSnapshot {
    /// The job.
    pub job: JobId,
    /// Its timeout.
    pub timeout: Duration,
    /// How long it has been running.
    pub elapsed: Duration,
    /// Datacenters it is said to run in.
    pub datacenter_count: u16,
    /// Why it was timed out, when it was.
    pub decision: Option<TimeoutReason>,
    /// The datacenters that are known.
    pub datacenters: Vec<DatacenterSnapshot>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(gate: Option<Address>, outcome: Option<JobOutcome>) -> JobSnapshot {
        JobSnapshot {
            job: JobId::from_name(b"nightly"),
            gate,
            datacenter_count: 3,
            timeout: Duration::from_secs(60),
            elapsed: Duration::from_millis(1_500),
            since_progress: Duration::from_nanos(7),
            since_gate: Duration::from_secs(2),
            extension_total: Duration::from_secs(22),
            extension_max: Duration::from_secs(15),
            workflows: WorkflowCounts { total: 9, completed: 4, failed: 1 },
            fence: FenceToken(1 << 40),
            outcome,
        }
    }

    #[test]
    fn bytes_hold_everything() {
        let gate = Some("10.0.0.1:7946".parse().unwrap());
        for snapshot in
            [snapshot(None, None), snapshot(gate, None), snapshot(gate, Some(JobOutcome::TimedOut))]
        {
            let bytes = snapshot.to_bytes();
            assert_eq!(bytes.len(), 105);
            assert_eq!(JobSnapshot::from_bytes(&bytes), Some(snapshot));
        }
    }

    #[test]
    fn bytes_that_make_no_sense_are_no_snapshot() {
        let bytes = snapshot(None, None).to_bytes();
        assert_eq!(JobSnapshot::from_bytes(&bytes[1..]), None);
        let mut unknown_outcome = bytes;
        unknown_outcome[SNAPSHOT_SIZE - 1] = 9;
        assert_eq!(JobSnapshot::from_bytes(&unknown_outcome), None);
        assert_eq!(JobSnapshot::from_bytes(&[0; SNAPSHOT_SIZE]), None, "without a timeout");
    }
}
