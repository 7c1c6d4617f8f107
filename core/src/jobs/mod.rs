//! Jobs that end in time, whoever fails (AD-34, with the extensions of AD-26 and the workflows of
//! AD-33).
//!
//! ```text
//! workflow ── progress ──▶ tracker ── reports ──▶ gate
//! extension ── grants ──▶ (strategy) ◀── global timeout ── (ruling)
//! ```
//!
//! A [`JobTracker`] watches the jobs that one manager leads; a [`GateJobTracker`] watches jobs over
//! all their datacenters; a [`WorkflowStateMachine`] watches the parts of a job. All three are pure
//! state: time is an argument, messages and events are taken out with `poll_*`, everything is
//! bounded by [`JobsConfig`], and equal inputs give equal outputs.
//!
//! # What holds
//! * A job is timed out once per datacenter, never before its timeout and the extensions that were
//!   granted to it have passed or it has made no progress for as long as configured, and never
//!   after the host finished it.
//! * A new leader goes on from the last [`JobSnapshot`], under a higher [`FenceToken`]; what an
//!   earlier leader said or was told is recognised as stale.
//! * Every datacenter of a job that timed out globally learns of it as soon as it can be reached.
//! * A manager that its gate has left alone for five minutes decides by itself.
//! * Between hosts only durations travel. What is lost is repeated, what comes twice is recognised.
//! * When a job is over nothing of it stays, on any path.
//!
//! # A job through its gate
//!
//! ```
//! use shoal_core::jobs::{
//!     DatacenterTarget, GateJobStart, GateJobTracker, JobEvent, JobId, JobStart, JobTracker,
//!     JobsConfig, TimeoutReason,
//! };
//! use shoal_core::{Address, DatacenterName, Duration, Instant};
//!
//! let now = Instant::from_millis(1_000);
//! let (gate_address, manager_address) = ("10.0.0.1:7946".parse()?, "10.0.0.2:7946".parse()?);
//! let east: DatacenterName = "east".parse()?;
//! let mut gate = GateJobTracker::new(JobsConfig::default(), 1, now)?;
//! let mut manager = JobTracker::new(JobsConfig::default(), 2, now)?;
//!
//! // The gate sends a job to a datacenter, the manager there starts it.
//! let (job, timeout) = (JobId::from_name(b"nightly"), Duration::from_secs(60));
//! let target = DatacenterTarget { datacenter: east, leader: Some(manager_address) };
//! gate.job_started(now, &GateJobStart { job, timeout, datacenters: &[target] })?;
//! let start = JobStart { gate: Some(gate_address), ..JobStart::new(job, timeout) };
//! manager.job_started(now, &start)?;
//!
//! // Nothing happens for a minute: the manager reports, the gate decides.
//! let later = now + timeout;
//! manager.handle_timeout(later);
//! while let Some(outgoing) = manager.poll_message(later) {
//!     gate.handle_message(later, manager_address, &east, &outgoing.message);
//! }
//! let decision = gate.poll_event();
//! assert!(matches!(
//!     decision,
//!     Some(JobEvent::GlobalTimeout { reason: TimeoutReason::DatacentersTimedOut, .. })
//! ));
//! while let Some(outgoing) = gate.poll_message(later) {
//!     manager.handle_message(later, gate_address, &outgoing.message);
//! }
//! assert!(matches!(manager.poll_event(), Some(JobEvent::TimedOut { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod config;
mod delivery;
pub(crate) mod desk;
pub mod extension;
pub mod gate;
pub mod messages;
mod moment;
mod ruling;
pub mod snapshot;
pub mod stats;
mod strategy;
mod table;
pub mod timeout;
pub mod tracker;
pub mod workflow;

pub use crate::id::{JobId, WorkerId, WorkflowId};
pub use config::{ExtensionConfig, JobsConfig, TimeoutRule};
pub use extension::{ExtensionDenial, ExtensionGrant, ExtensionNegotiation, ExtensionRequest};
pub use gate::{DatacenterTarget, GateJobStart, GateJobTracker};
pub use messages::{JobMessage, Outgoing};
pub use ruling::DatacenterStatus;
pub use snapshot::{DatacenterSnapshot, GateJobSnapshot, JobSnapshot, SNAPSHOT_SIZE};
pub use stats::{GateStats, JobStats};
pub use strategy::Strategy;
pub use timeout::{FenceToken, JobError, JobEvent, JobOutcome, TimeoutReason, WorkflowCounts};
pub use tracker::{JobStart, JobTracker, LeaderChange};
pub use workflow::{Transition, WorkflowError, WorkflowEvent, WorkflowState, WorkflowStateMachine};
