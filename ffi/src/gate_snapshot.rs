//! What a gate hands to another when it gives a job away or ends: plain structures in which
//! only durations occur, to be kept wherever they survive the gate.

use crate::address::shoal_address;
use crate::call::fixed_text;
use crate::call::{Failure, Outcome, array, check_reserved, required};
use crate::config::read_datacenter_name;
use crate::gate_timeouts::shoal_job_status;
use crate::jobs::{nanos, optional_address, read_reason, reason_number, shoal_job_id};
use crate::member::{SHOAL_DATACENTER_SIZE, write_list};
use crate::status::{SHOAL_INVALID_DATACENTER_COUNT, SHOAL_NONE, SHOAL_OK};
use shoal_core::Duration;
use shoal_core::jobs::config::JOB_DATACENTERS_MAX;
use shoal_core::jobs::{DatacenterSnapshot, FenceToken, GateJobSnapshot, JobError};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// What another gate needs to go on watching a job, with one `shoal_datacenter_snapshot` for
/// each datacenter that is known.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_gate_job_snapshot {
    /// The job.
    pub job: shoal_job_id,
    /// Its timeout, in ns.
    pub timeout_ns: u64,
    /// How long it had been running, in ns.
    pub elapsed_ns: u64,
    /// In how many datacenters it is said to run.
    pub datacenter_count: u16,
    /// Why it was timed out, a `SHOAL_TIMEOUT_` number; 0 when it was not.
    pub decision: u8,
    /// Zero.
    pub reserved: [u8; 29],
}

/// How a job stood in one datacenter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_datacenter_snapshot {
    /// The datacenter's name, NUL terminated.
    pub datacenter: [c_char; SHOAL_DATACENTER_SIZE],
    /// The manager that led the job there; all zero when none was known.
    pub leader: shoal_address,
    /// How the job stood.
    pub status: shoal_job_status,
    /// The leadership that reported last.
    pub fence: u64,
    /// How long the job had made no progress there, in ns.
    pub since_progress_ns: u64,
    /// All extensions granted there, in ns.
    pub extension_total_ns: u64,
    /// Zero.
    pub reserved: [u8; 16],
}

/// Where a snapshot goes: the job, and as many datacenters as there is room for.
pub(crate) struct SnapshotTarget<'a> {
    pub snapshot: Option<&'a mut MaybeUninit<shoal_gate_job_snapshot>>,
    pub datacenters: *mut MaybeUninit<shoal_datacenter_snapshot>,
    pub capacity: usize,
    pub count: Option<&'a mut MaybeUninit<usize>>,
}

impl SnapshotTarget<'_> {
    /// Writes a snapshot, if there is one.
    ///
    /// # Safety
    /// `datacenters` is NULL or has room for `capacity` items.
    pub(crate) unsafe fn give(self, kept: Option<GateJobSnapshot>) -> Outcome {
        let target = required(self.snapshot, "snapshot")?;
        let count = required(self.count, "count")?;
        if self.capacity > 0 && self.datacenters.is_null() {
            required(None::<()>, "datacenters")?;
        }
        let Some(kept) = kept else { return Ok(SHOAL_NONE) };
        let sites = kept.datacenters.iter().map(shoal_datacenter_snapshot::from);
        // SAFETY: by the contract of this function.
        unsafe { write_list(sites, self.datacenters, self.capacity, Some(count))? };
        target.write(shoal_gate_job_snapshot {
            job: kept.job.into(),
            timeout_ns: nanos(kept.timeout),
            elapsed_ns: nanos(kept.elapsed),
            datacenter_count: kept.datacenter_count,
            decision: kept.decision.map_or(0, reason_number),
            reserved: [0; 29],
        });
        Ok(SHOAL_OK)
    }
}

impl From<&DatacenterSnapshot> for shoal_datacenter_snapshot {
    fn from(kept: &DatacenterSnapshot) -> shoal_datacenter_snapshot {
        shoal_datacenter_snapshot {
            datacenter: fixed_text(kept.datacenter.as_bytes()),
            leader: kept.leader.map(shoal_address::from).unwrap_or_default(),
            status: kept.status.into(),
            fence: kept.fence.0,
            since_progress_ns: nanos(kept.since_progress),
            extension_total_ns: nanos(kept.extension_total),
            reserved: [0; 16],
        }
    }
}

impl shoal_datacenter_snapshot {
    fn read(&self, kept: Duration) -> Result<DatacenterSnapshot, Failure> {
        check_reserved(&self.reserved, "a datacenter's snapshot")?;
        Ok(DatacenterSnapshot {
            datacenter: read_datacenter_name(&self.datacenter)?,
            leader: optional_address(&self.leader)?,
            status: self.status.read()?,
            fence: FenceToken(self.fence),
            since_progress: Duration::from_nanos(self.since_progress_ns).saturating_add(kept),
            extension_total: Duration::from_nanos(self.extension_total_ns),
        })
    }
}

/// The snapshot of a program, as old as it has become.
///
/// # Safety
/// `datacenters` is NULL or points to `count` items.
pub(crate) unsafe fn read_snapshot(
    snapshot: Option<&shoal_gate_job_snapshot>,
    datacenters: *const shoal_datacenter_snapshot,
    count: usize,
    kept_ns: u64,
) -> Result<GateJobSnapshot, Failure> {
    let snapshot = required(snapshot, "snapshot")?;
    check_reserved(&snapshot.reserved, "a snapshot")?;
    if count > usize::from(JOB_DATACENTERS_MAX) {
        let detail = JobError::DatacenterCount { count }.to_string();
        return Err(Failure::new(SHOAL_INVALID_DATACENTER_COUNT, detail));
    }
    let kept = Duration::from_nanos(kept_ns);
    // SAFETY: by the contract of this function.
    let sites = unsafe { array(datacenters, count, "datacenters")? };
    Ok(GateJobSnapshot {
        job: (&snapshot.job).into(),
        timeout: Duration::from_nanos(snapshot.timeout_ns),
        elapsed: Duration::from_nanos(snapshot.elapsed_ns).saturating_add(kept),
        datacenter_count: snapshot.datacenter_count,
        decision: if snapshot.decision == 0 { None } else { Some(read_reason(snapshot.decision)?) },
        datacenters: sites.iter().map(|site| site.read(kept)).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::jobs::{DatacenterStatus, JobId, JobOutcome, TimeoutReason};

    #[test]
    fn snapshots_survive_the_way_through_c_and_grow_older() {
        let statuses = [
            DatacenterStatus::Running,
            DatacenterStatus::Overdue(TimeoutReason::Stuck),
            DatacenterStatus::Ended(JobOutcome::Failed),
            DatacenterStatus::Lost,
        ];
        let site = |status| DatacenterSnapshot {
            datacenter: "east".parse().unwrap(),
            leader: Some("10.0.0.1:7946".parse().unwrap()),
            status,
            fence: FenceToken(7),
            since_progress: Duration::from_secs(4),
            extension_total: Duration::from_secs(2),
        };
        let kept = GateJobSnapshot {
            job: JobId::from_name(b"nightly"),
            timeout: Duration::from_secs(60),
            elapsed: Duration::from_secs(50),
            datacenter_count: 9,
            decision: Some(TimeoutReason::AllStuck),
            datacenters: statuses.map(site).to_vec(),
        };
        let mut snapshot = MaybeUninit::uninit();
        let mut count = MaybeUninit::uninit();
        let mut sites = [const { MaybeUninit::uninit() }; 4];
        let target = SnapshotTarget {
            snapshot: Some(&mut snapshot),
            datacenters: sites.as_mut_ptr(),
            capacity: sites.len(),
            count: Some(&mut count),
        };
        // SAFETY: there is room for as many as is said, and all of it is written.
        let read = unsafe {
            assert_eq!(target.give(Some(kept.clone())).unwrap(), SHOAL_OK);
            assert_eq!(count.assume_init(), 4);
            let snapshot = snapshot.assume_init_ref();
            read_snapshot(Some(snapshot), sites.as_ptr().cast(), 4, 1_000_000_000).unwrap()
        };
        let mut older = kept;
        older.elapsed = Duration::from_secs(51);
        older.datacenters.iter_mut().for_each(|site| site.since_progress = Duration::from_secs(5));
        assert_eq!(read, older);
    }
}
