//! The jobs that one manager leads in its datacenter: calls of the host, messages of gates,
//! queries.
//!
//! [`JobTracker`] is state without I/O and without a clock, driven like the engine: one input, then
//! drain [`JobTracker::poll_message`] and [`JobTracker::poll_event`] until `None`, then wait until
//! [`JobTracker::poll_timeout`]. The rules are in `strategy`.

use std::collections::VecDeque;

use super::config::{JobsConfig, REPLY_COUNT_MAX};
use super::extension::{ExtensionDenial, ExtensionGrant, ExtensionRequest};
use super::messages::{GlobalTimeout, JobMessage, Outgoing, Receipt, ReceiptOutcome};
use super::moment::Moment;
use super::snapshot::JobSnapshot;
use super::stats::JobStats;
use super::strategy::{
    ANNOUNCE, CORRECT, Jobs, Phase, Strategy, TELL, TELL_SUPERSEDED, TELL_TIMED_OUT,
};
use super::timeout::{
    FenceToken, JobClock, JobError, JobEvent, JobOutcome, WorkflowCounts, check_timeout,
};
use super::workflow::WorkflowEvent;
use crate::error::ConfigError;
use crate::id::{JobId, WorkerId};
use crate::node::Address;
use crate::time::{Duration, Instant};

/// A job that a manager begins to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobStart {
    /// The job. Every submission needs an id of its own.
    pub job: JobId,
    /// How long it may take, extensions aside; 1 ms to 365 days.
    pub timeout: Duration,
    /// The gate it came through, if any.
    pub gate: Option<Address>,
    /// In how many datacenters it runs, 0 when unknown. A gate that replaces another one learns it
    /// from here.
    pub datacenter_count: u16,
    /// The leadership this manager has of it, for example the term of its election; 1 where there
    /// is no such thing.
    pub fence: FenceToken,
}

impl JobStart {
    /// A job under local authority; set the gate for one that came through a gate.
    pub fn new(job: JobId, timeout: Duration) -> JobStart {
        JobStart { job, timeout, gate: None, datacenter_count: 0, fence: FenceToken(1) }
    }
}

/// What happened to the leadership of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderChange {
    /// This manager leads it from now on, starting from what was replicated to it. Also for going
    /// on after a restart.
    Gained {
        /// The last state known, [aged](JobSnapshot::aged) by how long it has been kept.
        snapshot: JobSnapshot,
        /// The term of the election, where there was one. The fence becomes this or one more than
        /// the snapshot's, whichever is higher.
        term: FenceToken,
    },
    /// Another manager leads it: it is forgotten without a word.
    Lost,
}

/// All jobs that one manager leads.
#[derive(Debug)]
pub struct JobTracker {
    jobs: Jobs,
    replies: VecDeque<Outgoing>,
}

impl JobTracker {
    /// A tracker without jobs. `seed` decides the order of its tables and the spread of its
    /// reports.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn new(config: JobsConfig, seed: u64, now: Instant) -> Result<JobTracker, ConfigError> {
        config.check()?;
        Ok(JobTracker { jobs: Jobs::new(config, seed, now), replies: VecDeque::new() })
    }

    /// Begins to track a job. Returns whether it is new: starting it again changes nothing.
    ///
    /// # Errors
    /// When the job cannot be tracked; nothing has changed then.
    pub fn job_started(&mut self, now: Instant, start: &JobStart) -> Result<bool, JobError> {
        let jobs = self.jobs_at(now);
        if jobs.table.find(&start.job).is_some() {
            return Ok(false);
        }
        let now = Moment::at(jobs.now);
        let clock = JobClock::new(now, now, check_timeout(start.timeout)?);
        let slot = jobs.insert(start.job, clock, start.gate, start.fence)?;
        jobs.table[slot].datacenter_count = start.datacenter_count;
        jobs.stats.started += 1;
        jobs.news(slot);
        Ok(true)
    }

    /// Notes that a job made progress, and what its workflows are doing where the host says so.
    /// Returns whether the job is running here.
    pub fn job_progress(
        &mut self,
        now: Instant,
        job: JobId,
        workflows: Option<WorkflowCounts>,
    ) -> bool {
        let jobs = self.jobs_at(now);
        let Some(slot) = jobs.find_active(job) else { return false };
        let record = &mut jobs.table[slot];
        record.clock.progress(jobs.now);
        record.workflows = workflows.unwrap_or(record.workflows);
        if record.phase != Phase::Running {
            jobs.judge(slot);
            jobs.rearm(slot);
        }
        true
    }

    /// Notes that a workflow moved: progress of its job. The host passes on what the
    /// [workflow state machine](super::WorkflowStateMachine) tells.
    pub fn workflow_moved(&mut self, now: Instant, event: &WorkflowEvent) -> bool {
        self.job_progress(now, event.job, Some(event.counts))
    }

    /// Ends a job. Returns whether it was running here: a job that has timed out stays timed out
    /// once the host has been told, and ending a job twice changes nothing.
    pub fn job_finished(&mut self, now: Instant, job: JobId, outcome: JobOutcome) -> bool {
        let jobs = self.jobs_at(now);
        let Some(slot) = jobs.table.find(&job) else { return false };
        let record = &mut jobs.table[slot];
        // A timeout that nobody has been told of yet loses against the end of the job.
        if !record.is_active() && record.flags & TELL_TIMED_OUT == 0 {
            return false;
        }
        record.flags &= !TELL;
        jobs.stats.finished += 1;
        jobs.end(slot, outcome);
        true
    }

    /// Negotiates an extension with a worker (AD-26). What is granted moves the job's deadline and
    /// counts as progress.
    ///
    /// # Errors
    /// Why nothing is granted. The first request after the last grant starts the worker's grace.
    pub fn worker_extension(
        &mut self,
        now: Instant,
        job: JobId,
        worker: WorkerId,
        request: &ExtensionRequest,
    ) -> Result<ExtensionGrant, ExtensionDenial> {
        let jobs = self.jobs_at(now);
        let slot = jobs.find_active(job).ok_or(ExtensionDenial::UnknownJob)?;
        let list = &mut jobs.table[slot].workers;
        let grant = jobs.workers.request(jobs.now, list, (job, worker), request)?;
        jobs.extend(slot, grant.duration);
        Ok(grant)
    }

    /// Notes an extension that the host negotiated itself. Returns whether the job is running here.
    pub fn extension_granted(&mut self, now: Instant, job: JobId, grant: Duration) -> bool {
        let jobs = self.jobs_at(now);
        let Some(slot) = jobs.find_active(job) else { return false };
        jobs.extend(slot, grant);
        true
    }

    /// Lets the extensions of a worker begin anew: it finished what it was busy with, or is well
    /// again. What it was granted before stays. Returns whether it had any.
    pub fn worker_recovered(&mut self, now: Instant, job: JobId, worker: WorkerId) -> bool {
        self.jobs_at(now).workers.reset((job, worker))
    }

    /// Forgets the extensions of a worker that failed or left the job. What it was granted stays.
    /// Returns whether it had any.
    pub fn worker_removed(&mut self, now: Instant, job: JobId, worker: WorkerId) -> bool {
        let jobs = self.jobs_at(now);
        let Some(slot) = jobs.find_active(job) else { return false };
        jobs.workers.remove(&mut jobs.table[slot].workers, (job, worker))
    }

    /// Takes over a job or gives it up (AD-34, part 7). Returns whether anything changed.
    ///
    /// A new leader goes on from the snapshot, under a higher fence, and tells the gate at once.
    /// For [`JobsConfig::resume_grace_ms`] it declares nothing stuck and no gate silent. A snapshot
    /// that is no newer than what is tracked here changes at most the fence. A manager that led
    /// before and wins again gives up ([`LeaderChange::Lost`]) what the agreed state does not have.
    ///
    /// # Errors
    /// When the job cannot be tracked.
    pub fn leader_changed(
        &mut self,
        now: Instant,
        job: JobId,
        change: &LeaderChange,
    ) -> Result<bool, JobError> {
        let jobs = self.jobs_at(now);
        let known = jobs.table.find(&job);
        match (change, known) {
            (LeaderChange::Lost, None) => Ok(false),
            (LeaderChange::Lost, Some(slot)) => {
                jobs.forget(slot);
                Ok(true)
            }
            (LeaderChange::Gained { snapshot, term }, None) => self.resume(job, snapshot, *term),
            (LeaderChange::Gained { snapshot, term }, Some(slot)) => {
                let record = &mut jobs.table[slot];
                let is_newer = *term > record.fence;
                // What another leader did since counts, and so does what the datacenter agreed on:
                // a former leader may have ended the job on the word of a gate that did not know.
                let is_outdated = snapshot.fence > record.fence
                    || is_newer && !record.is_active() && snapshot.outcome.is_none();
                if is_outdated {
                    check_timeout(snapshot.timeout)?;
                    jobs.forget(slot);
                    return self.resume(job, snapshot, *term);
                }
                if is_newer {
                    record.fence = *term;
                    jobs.lead(slot);
                }
                Ok(is_newer)
            }
        }
    }

    /// This manager was elected, or named, to lead its datacenter: it leads its jobs under that term
    /// from now on, and says so to their gates. A job that has a later fence keeps it. Returns how many
    /// jobs changed.
    ///
    /// There is no counterpart for the end of a term: until the next leader has taken a job over, nobody
    /// else would time it. When that leader has, its higher fence ends the job here
    /// ([`JobEvent::Superseded`]).
    pub fn elected(&mut self, now: Instant, term: FenceToken) -> usize {
        let jobs = self.jobs_at(now);
        let is_earlier = |&slot: &u32| jobs.table[slot].fence < term;
        let slots: Vec<u32> = jobs.table.live().filter(is_earlier).collect();
        for &slot in &slots {
            jobs.table[slot].fence = term;
            jobs.lead(slot);
        }
        slots.len()
    }

    fn resume(
        &mut self,
        job: JobId,
        snapshot: &JobSnapshot,
        term: FenceToken,
    ) -> Result<bool, JobError> {
        if snapshot.outcome.is_some() && snapshot.gate.is_none() {
            return Ok(false);
        }
        let fence = snapshot.fence.next().max(term);
        let slot = self.jobs.insert_snapshot(job, snapshot, fence)?;
        self.jobs.stats.resumed += 1;
        match snapshot.outcome {
            Some(outcome) => self.jobs.end(slot, outcome),
            None => self.jobs.lead(slot),
        }
        Ok(true)
    }

    /// Lets all jobs that report to one gate report to another. The new one knows of each within
    /// one report interval. Returns whether any job reported to the old one.
    ///
    /// # Errors
    /// [`JobError::GateAddress`] when the new one cannot be reached; nothing has changed then.
    pub fn gate_changed(&mut self, old: Address, new: Address) -> Result<bool, JobError> {
        self.jobs.gates.replace(old, new)
    }

    /// Takes a message that came from `source`.
    pub fn handle_message(&mut self, now: Instant, source: Address, message: &JobMessage) {
        self.jobs_at(now);
        match message {
            JobMessage::ReportReceipt(receipt) => self.handle_receipt(source, receipt),
            JobMessage::GlobalTimeout(timeout) => self.handle_global_timeout(source, timeout),
            JobMessage::Report(_) | JobMessage::TimeoutReceipt(_) => {
                self.jobs.stats.misdirected += 1;
            }
        }
    }

    fn handle_receipt(&mut self, source: Address, receipt: &Receipt) {
        let jobs = &mut self.jobs;
        let is_tracked = receipt.outcome == ReceiptOutcome::Tracked;
        let Some(slot) = jobs.table.find(&receipt.job) else {
            // A report that was long under way has made a gate believe in a job that is over.
            if is_tracked {
                self.answer(source, receipt.job, receipt.fence, ReceiptOutcome::Unknown);
            }
            return;
        };
        let job = &mut jobs.table[slot];
        if jobs.gates.address(job.gate) != Some(source) {
            let fence = job.fence;
            if is_tracked {
                self.answer(source, receipt.job, fence, ReceiptOutcome::OtherGate);
            }
            return;
        }
        match receipt.outcome {
            ReceiptOutcome::Superseded if receipt.fence > job.fence => {
                jobs.stats.superseded += 1;
                job.flags = job.flags & !TELL | TELL_SUPERSEDED;
                jobs.tell(slot);
                jobs.close(slot);
            }
            ReceiptOutcome::Tracked | ReceiptOutcome::Over if receipt.fence == job.fence => {
                if receipt.outcome == ReceiptOutcome::Tracked {
                    job.gate_heard_at = Moment::at(jobs.now);
                }
                let (config, random) = (&jobs.config, &mut jobs.random);
                if job.delivery.acknowledge(receipt.sequence, jobs.now, config, random) {
                    job.flags &= !(ANNOUNCE | CORRECT);
                    jobs.settle(slot);
                }
            }
            ReceiptOutcome::Refused => jobs.stats.reports_refused += 1,
            _ => {}
        }
    }

    fn handle_global_timeout(&mut self, source: Address, timeout: &GlobalTimeout) {
        let jobs = &mut self.jobs;
        let slot = jobs.table.find(&timeout.job).filter(|&slot| jobs.table[slot].has_gate());
        let Some(slot) = slot else {
            jobs.stats.timeouts_unknown += 1;
            return self.answer(source, timeout.job, timeout.fence, ReceiptOutcome::Unknown);
        };
        let job = &jobs.table[slot];
        let (fence, is_active) = (job.fence, job.is_active());
        // Only the gate that the job reports to knows enough to decide; another one was replaced.
        if jobs.gates.address(job.gate) != Some(source) {
            jobs.stats.timeouts_refused += 1;
            return self.answer(source, timeout.job, fence, ReceiptOutcome::OtherGate);
        }
        if is_active && timeout.fence >= fence {
            return jobs.time_out(slot, timeout.reason);
        }
        if is_active {
            jobs.stats.timeouts_refused += 1;
            jobs.table[slot].flags |= CORRECT;
        }
        jobs.news(slot);
    }

    fn answer(&mut self, target: Address, job: JobId, fence: FenceToken, outcome: ReceiptOutcome) {
        if self.replies.len() >= REPLY_COUNT_MAX {
            self.jobs.stats.replies_dropped += 1;
            return;
        }
        let receipt = Receipt { job, fence, sequence: 0, outcome };
        self.replies.push_back(Outgoing { target, message: JobMessage::TimeoutReceipt(receipt) });
    }

    /// Acts on every deadline that has passed. Call it when [`JobTracker::poll_timeout`] says so;
    /// calling it earlier does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let jobs = self.jobs_at(now);
        while let Some(slot) = jobs.timers.expire(jobs.now) {
            jobs.review(slot);
        }
        jobs.workers.handle_timeout(jobs.now);
    }

    /// When [`JobTracker::handle_timeout`] should be called next, `None` while nothing is tracked.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [self.jobs.timers.next_deadline(), self.jobs.workers.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// The next message to send, written from the state of this moment. `now` should be the time
    /// of sending.
    pub fn poll_message(&mut self, now: Instant) -> Option<Outgoing> {
        self.jobs_at(now);
        self.replies.pop_front().or_else(|| self.jobs.next_report())
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<JobEvent> {
        if let Some(event) = self.jobs.next_event() {
            return Some(event);
        }
        let (job, worker) = self.jobs.workers.poll_overdue()?;
        Some(JobEvent::WorkerOverdue { job, worker })
    }

    /// What another host would need to go on tracking a job; `None` when it is not tracked here.
    pub fn snapshot(&self, now: Instant, job: JobId) -> Option<JobSnapshot> {
        self.jobs.table.find(&job).map(|slot| self.jobs.snapshot(now, slot))
    }

    /// The same for all jobs, for a restart of this host.
    pub fn snapshots(&self, now: Instant) -> impl Iterator<Item = JobSnapshot> + '_ {
        self.jobs.table.live().map(move |slot| self.jobs.snapshot(now, slot))
    }

    /// Who decides about a job; `None` when it is not running here.
    pub fn strategy(&self, job: JobId) -> Option<Strategy> {
        let slot = self.jobs.find_active(job)?;
        let gate = self.jobs.gates.address(self.jobs.table[slot].gate);
        Some(Strategy::for_topology(gate))
    }

    /// When the job will be over time, extensions included; `None` when it is not running here.
    pub fn deadline(&self, job: JobId) -> Option<Instant> {
        self.jobs.find_active(job).map(|slot| self.jobs.table[slot].clock.deadline())
    }

    /// The leadership this manager has of a job.
    pub fn fence(&self, job: JobId) -> Option<FenceToken> {
        self.jobs.table.find(&job).map(|slot| self.jobs.table[slot].fence)
    }

    /// Jobs tracked, those included whose outcome is still being delivered.
    pub fn len(&self) -> usize {
        self.jobs.table.len()
    }

    /// Whether no job is tracked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pairs of job and worker with extensions.
    pub fn worker_count(&self) -> usize {
        self.jobs.workers.len()
    }

    /// The counters.
    pub fn stats(&self) -> &JobStats {
        &self.jobs.stats
    }

    /// The settings.
    pub fn config(&self) -> &JobsConfig {
        &self.jobs.config
    }

    /// The jobs, at the latest time that any input told.
    fn jobs_at(&mut self, now: Instant) -> &mut Jobs {
        self.jobs.now = self.jobs.now.max(now);
        &mut self.jobs
    }
}
