//! The state of jobs as plain values, for another host or for this one after a restart.
//!
//! Only durations occur in them, never a point on one host's clock. How a host replicates or stores
//! them is its own affair.

use super::ruling::DatacenterStatus;
use super::timeout::{FenceToken, JobOutcome, TimeoutReason, WorkflowCounts};
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
