//! The rules by which a manager times out its jobs (AD-34, parts 2 to 4).
//!
//! Who decides follows from the topology. A job that came without a gate is under *local
//! authority*: the manager times it out itself. A job that came through a gate is
//! *gate-coordinated*: the manager reports that it is over time and waits for the gate's decision
//! about all datacenters; only when the gate has not spoken of the job for five minutes does it
//! decide alone. Everything else is the same for both, and in one place.
//!
//! Each job has one timer, set to the next moment at which something could be due. Progress does
//! not move it: a timer that comes too early finds that out and is set again. So the cost follows
//! what expires, not what is tracked.
//!
//! Messages and events are derived from the state when they are taken. A timeout that the host has
//! not taken yet when the job finishes is therefore never told, and no queue can overflow.

use std::collections::VecDeque;

use super::config::{GATE_COUNT_MAX, JobsConfig, millis};
use super::delivery::Delivery;
use super::extension::{WorkerList, Workers};
use super::messages::{JobMessage, Outgoing, Report, ReportKind};
use super::moment::Moment;
use super::snapshot::JobSnapshot;
use super::stats::JobStats;
use super::table::{Key, Record, Table};
use super::timeout::{
    FenceToken, JobClock, JobError, JobEvent, JobOutcome, TimeoutReason, WorkflowCounts,
    check_timeout,
};
use crate::id::JobId;
use crate::node::Address;
use crate::random::Random;
use crate::time::{Duration, Instant};
use crate::timer::TimerWheel;

/// Who decides that a job has timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The manager that leads the job (AD-34, part 3).
    LocalAuthority,
    /// The gate that the job came through (AD-34, part 4).
    GateCoordinated {
        /// Where it is reached.
        gate: Address,
    },
}

impl Strategy {
    /// The strategy for a job that came through this gate, or through none.
    pub fn for_topology(gate: Option<Address>) -> Strategy {
        gate.map_or(Strategy::LocalAuthority, |gate| Strategy::GateCoordinated { gate })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Over time, and the gate is to decide.
    Overdue(TimeoutReason),
    /// Over. The event may not have been taken or the outcome not been delivered.
    Ended(JobOutcome),
}

pub(super) const NO_GATE: u16 = u16::MAX;

pub(super) const MESSAGE_QUEUED: u8 = 1;
pub(super) const EVENT_QUEUED: u8 = 1 << 1;
/// The gate is to learn who leads the job.
pub(super) const ANNOUNCE: u8 = 1 << 2;
/// The gate decided about an earlier leader and is to learn better.
pub(super) const CORRECT: u8 = 1 << 3;
pub(super) const TELL_STUCK: u8 = 1 << 4;
pub(super) const TELL_TIMED_OUT: u8 = 1 << 5;
pub(super) const TELL_SUPERSEDED: u8 = 1 << 6;
pub(super) const TELL: u8 = TELL_STUCK | TELL_TIMED_OUT | TELL_SUPERSEDED;

#[derive(Debug)]
pub(super) struct Job {
    pub id: JobId,
    pub clock: JobClock,
    /// When the gate last confirmed that it tracks the job.
    pub gate_heard_at: Moment,
    /// When the job entered its phase.
    pub changed_at: Instant,
    pub fence: FenceToken,
    pub delivery: Delivery,
    pub workflows: WorkflowCounts,
    pub extension_max_ms: u32,
    pub workers: WorkerList,
    pub gate: u16,
    pub datacenter_count: u16,
    pub phase: Phase,
    /// Why it timed out, when it did.
    pub reason: TimeoutReason,
    pub flags: u8,
}

// A million jobs have to fit into 200 MB with their index and their timers.
const _: () = assert!(size_of::<Job>() <= 120);

impl Key for JobId {
    fn words(&self) -> [u64; 2] {
        self.as_bytes().words()
    }
}

impl Record for Job {
    type Key = JobId;

    fn key(&self) -> JobId {
        self.id
    }
}

impl Job {
    pub fn has_gate(&self) -> bool {
        self.gate != NO_GATE
    }

    pub fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Ended(_))
    }

    fn report_kind(&self) -> ReportKind {
        match self.phase {
            Phase::Ended(outcome) => ReportKind::Status(Some(outcome)),
            _ if !self.delivery.is_pending => ReportKind::Progress,
            _ if self.flags & CORRECT != 0 => ReportKind::Status(None),
            Phase::Overdue(_) => ReportKind::Timeout,
            Phase::Running if self.flags & ANNOUNCE != 0 => ReportKind::LeaderTransfer,
            Phase::Running => ReportKind::Progress,
        }
    }

    pub fn report(&self, now: Instant) -> Report {
        let overdue = match self.phase {
            Phase::Overdue(reason) => Some(reason),
            Phase::Ended(JobOutcome::TimedOut) => Some(self.reason),
            _ => None,
        };
        Report {
            kind: self.report_kind(),
            job: self.id,
            fence: self.fence,
            sequence: self.delivery.sequence,
            overdue,
            datacenter_count: self.datacenter_count,
            extended_workers: self.workers.count,
            workflows: self.workflows,
            timeout: self.clock.timeout(),
            elapsed: self.clock.started_at.age(now),
            since_progress: self.clock.progressed_at.age(now),
            extension_total: self.clock.extension_total(),
            extension_max: millis(self.extension_max_ms.into()),
        }
    }
}

/// The gates that jobs report to. A job names its gate by number, so that a gate can be replaced
/// for all jobs at once.
#[derive(Debug, Default)]
pub(super) struct Gates {
    entries: Vec<(Address, u32)>,
}

impl Gates {
    pub fn acquire(&mut self, gate: Option<Address>) -> Result<u16, JobError> {
        let Some(address) = gate else { return Ok(NO_GATE) };
        if !address.is_reachable() {
            return Err(JobError::GateAddress { address });
        }
        let same = self.entries.iter().position(|&(known, jobs)| jobs > 0 && known == address);
        let number = match same.or_else(|| self.entries.iter().position(|&(_, jobs)| jobs == 0)) {
            Some(number) => number,
            None if self.entries.len() < GATE_COUNT_MAX => {
                self.entries.push((address, 0));
                self.entries.len() - 1
            }
            None => return Err(JobError::GateCount),
        };
        let entry = &mut self.entries[number];
        *entry = (address, entry.1 + 1);
        Ok(number as u16)
    }

    pub fn release(&mut self, number: u16) {
        if number != NO_GATE {
            self.entries[usize::from(number)].1 -= 1;
        }
    }

    /// Puts one gate into the place of another, for all jobs.
    pub fn replace(&mut self, old: Address, new: Address) -> Result<bool, JobError> {
        if !new.is_reachable() {
            return Err(JobError::GateAddress { address: new });
        }
        let affected = self.entries.iter_mut().filter(|(gate, jobs)| *jobs > 0 && *gate == old);
        Ok(affected.map(|(gate, _)| *gate = new).count() > 0)
    }

    pub fn address(&self, number: u16) -> Option<Address> {
        (number != NO_GATE).then(|| self.entries[usize::from(number)].0)
    }
}

/// The jobs of one manager, and what is to be done about them.
#[derive(Debug)]
pub(super) struct Jobs {
    pub config: JobsConfig,
    pub now: Instant,
    pub random: Random,
    pub table: Table<Job>,
    pub timers: TimerWheel,
    pub gates: Gates,
    pub workers: Workers,
    pub outgoing: VecDeque<u32>,
    pub events: VecDeque<u32>,
    pub stats: JobStats,
}

impl Jobs {
    pub fn new(config: JobsConfig, seed: u64, now: Instant) -> Jobs {
        let mut random = Random::new(seed);
        Jobs {
            config,
            now,
            table: Table::new(config.job_capacity, &mut random),
            timers: TimerWheel::new(now),
            gates: Gates::default(),
            workers: Workers::new(config.extension, config.worker_capacity, &mut random, now),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            stats: JobStats::default(),
            random,
        }
    }

    pub fn find_active(&self, job: JobId) -> Option<u32> {
        self.table.find(&job).filter(|&slot| self.table[slot].is_active())
    }

    pub fn insert(
        &mut self,
        id: JobId,
        clock: JobClock,
        gate: Option<Address>,
        fence: FenceToken,
    ) -> Result<u32, JobError> {
        let gate = self.gates.acquire(gate)?;
        if self.table.is_full()
            && let Some(oldest) = self.table.oldest()
        {
            self.stats.outcomes_evicted += 1;
            self.close(oldest);
        }
        let record = Job {
            id,
            clock,
            gate_heard_at: Moment::at(self.now),
            changed_at: self.now,
            fence,
            delivery: Delivery::idle(),
            workflows: WorkflowCounts::default(),
            extension_max_ms: 0,
            workers: WorkerList::default(),
            gate,
            datacenter_count: 0,
            phase: Phase::Running,
            reason: TimeoutReason::Deadline,
            flags: 0,
        };
        let Some(slot) = self.table.insert(record) else {
            self.gates.release(gate);
            return Err(JobError::Full);
        };
        Ok(slot)
    }

    /// Adds a job that was tracked elsewhere, as it would be here had it been tracked here.
    pub fn insert_snapshot(
        &mut self,
        job: JobId,
        snapshot: &JobSnapshot,
        fence: FenceToken,
    ) -> Result<u32, JobError> {
        let now = self.now;
        let started_at = Moment::ago(now, snapshot.elapsed);
        let progressed_at = Moment::ago(now, snapshot.since_progress);
        let timeout = check_timeout(snapshot.timeout)?;
        let mut clock = JobClock::new(started_at, progressed_at, timeout);
        clock.extend_to(snapshot.extension_total);
        let slot = self.insert(job, clock, snapshot.gate, fence)?;
        let record = &mut self.table[slot];
        record.gate_heard_at = Moment::ago(now, snapshot.since_gate);
        record.datacenter_count = snapshot.datacenter_count;
        record.workflows = snapshot.workflows;
        record.extension_max_ms = saturating_millis(snapshot.extension_max);
        Ok(slot)
    }

    /// This manager leads the job from now on, and says so.
    ///
    /// Whatever progress was made and whatever the gate said while nobody led the job, the new
    /// leader hears of within its grace; until then nothing is declared stuck and no gate silent.
    pub fn lead(&mut self, slot: u32) {
        let grace = millis(self.config.resume_grace_ms);
        let earliest =
            |limit_ms: u64| Moment::ago(self.now, millis(limit_ms).saturating_sub(grace));
        let progressed_at = earliest(self.config.stuck_after_ms);
        let gate_heard_at = earliest(self.config.fallback_after_ms);
        let job = &mut self.table[slot];
        job.clock.progressed_at = job.clock.progressed_at.max(progressed_at);
        job.gate_heard_at = job.gate_heard_at.max(gate_heard_at);
        job.flags |= ANNOUNCE;
        self.news(slot);
        if self.table[slot].is_active() {
            self.judge(slot);
        }
        self.rearm(slot);
    }

    pub fn snapshot(&self, now: Instant, slot: u32) -> JobSnapshot {
        let job = &self.table[slot];
        JobSnapshot {
            job: job.id,
            gate: self.gates.address(job.gate),
            datacenter_count: job.datacenter_count,
            timeout: job.clock.timeout(),
            elapsed: job.clock.started_at.age(now),
            since_progress: job.clock.progressed_at.age(now),
            since_gate: job.gate_heard_at.age(now),
            extension_total: job.clock.extension_total(),
            extension_max: millis(job.extension_max_ms.into()),
            workflows: job.workflows,
            fence: job.fence,
            outcome: match job.phase {
                Phase::Ended(outcome) => Some(outcome),
                _ => None,
            },
        }
    }

    pub fn extend(&mut self, slot: u32, grant: Duration) {
        let job = &mut self.table[slot];
        job.clock.extend(grant);
        job.clock.progress(self.now);
        job.extension_max_ms = job.extension_max_ms.max(saturating_millis(grant));
        // The gate's own deadline has to move before it passes.
        self.news(slot);
        self.judge(slot);
        self.rearm(slot);
    }

    /// Acts on whatever has become due for a job.
    pub fn review(&mut self, slot: u32) {
        if self.table[slot].is_active() {
            self.judge(slot);
        }
        let job = &self.table[slot];
        if !self.table.is_live(slot) {
            return;
        }
        if !job.is_active() && self.now >= self.abandoned_at(slot) {
            self.stats.outcomes_abandoned += 1;
            return self.close(slot);
        }
        if self.now >= self.report_at(slot) {
            self.send(slot);
        }
        self.rearm(slot);
    }

    /// Finds out whether a job that has not ended is over time, and does what its strategy asks
    /// for.
    pub fn judge(&mut self, slot: u32) {
        let stuck_after = millis(self.config.stuck_after_ms);
        let job = &mut self.table[slot];
        let verdict = job.clock.verdict(self.now, stuck_after);
        let was_running = job.phase == Phase::Running;
        match verdict {
            None if was_running => {}
            None => {
                self.stats.recovered += 1;
                self.table[slot].flags &= !TELL_STUCK;
                self.enter(slot, Phase::Running);
                self.news(slot);
            }
            Some(reason) => {
                if was_running {
                    self.enter(slot, Phase::Overdue(reason));
                    self.note_stuck(slot, reason);
                }
                if !self.table[slot].has_gate() {
                    self.time_out(slot, reason);
                } else if self.now >= self.fallback_at(slot) {
                    self.stats.fallbacks += 1;
                    self.time_out(slot, TimeoutReason::GateSilent);
                } else if was_running {
                    self.news(slot);
                }
            }
        }
    }

    fn note_stuck(&mut self, slot: u32, reason: TimeoutReason) {
        if reason == TimeoutReason::Stuck {
            self.stats.stuck += 1;
            self.table[slot].flags |= TELL_STUCK;
            self.tell(slot);
        }
    }

    pub fn fallback_at(&self, slot: u32) -> Instant {
        self.table[slot].gate_heard_at.after(millis(self.config.fallback_after_ms))
    }

    fn enter(&mut self, slot: u32, phase: Phase) {
        let job = &mut self.table[slot];
        job.phase = phase;
        job.changed_at = self.now;
    }

    pub fn time_out(&mut self, slot: u32, reason: TimeoutReason) {
        let job = &mut self.table[slot];
        job.reason = reason;
        job.flags |= TELL_TIMED_OUT;
        self.tell(slot);
        self.end(slot, JobOutcome::TimedOut);
    }

    pub fn end(&mut self, slot: u32, outcome: JobOutcome) {
        self.workers.remove_all(&mut self.table[slot].workers);
        self.enter(slot, Phase::Ended(outcome));
        self.news(slot);
        self.settle(slot);
    }

    /// Lets go of a job that has ended, unless its event has not been taken or its outcome not been
    /// delivered.
    pub fn settle(&mut self, slot: u32) {
        let job = &self.table[slot];
        if job.is_active() || job.flags & TELL != 0 {
            return;
        }
        if job.has_gate() && job.delivery.is_pending {
            self.table.list_newest(slot);
        } else {
            self.close(slot);
        }
    }

    /// Gives a job up without a word.
    pub fn forget(&mut self, slot: u32) {
        self.table[slot].flags &= !TELL;
        self.close(slot);
    }

    /// Takes a job off all books. An event that was queued is still told.
    pub fn close(&mut self, slot: u32) {
        self.workers.remove_all(&mut self.table[slot].workers);
        self.gates.release(self.table[slot].gate);
        self.timers.clear(slot);
        self.table.remove(slot);
    }

    /// There is news of a job: its gate, if it has one, is told at once and until it confirms.
    pub fn news(&mut self, slot: u32) {
        let job = &mut self.table[slot];
        if job.has_gate() {
            job.delivery.renew(self.now);
            self.send(slot);
        }
        self.rearm(slot);
    }

    fn send(&mut self, slot: u32) {
        let job = &mut self.table[slot];
        if job.flags & MESSAGE_QUEUED == 0 {
            job.flags |= MESSAGE_QUEUED;
            self.table.pin(slot);
            self.outgoing.push_back(slot);
        }
    }

    pub fn tell(&mut self, slot: u32) {
        let job = &mut self.table[slot];
        if job.flags & EVENT_QUEUED == 0 {
            job.flags |= EVENT_QUEUED;
            self.table.pin(slot);
            self.events.push_back(slot);
        }
    }

    /// The next report that waits to be taken.
    pub fn next_report(&mut self) -> Option<Outgoing> {
        while let Some(slot) = self.outgoing.pop_front() {
            let is_live = self.table.is_live(slot);
            self.table[slot].flags &= !MESSAGE_QUEUED;
            self.table.unpin(slot);
            if !is_live {
                continue;
            }
            let job = &mut self.table[slot];
            self.stats.reports_sent += 1;
            self.stats.reports_repeated += u64::from(job.delivery.is_repeated());
            job.delivery.sent(self.now, &self.config, &mut self.random);
            let message = JobMessage::Report(job.report(self.now));
            let target = self.gates.address(job.gate).expect("only jobs with a gate report");
            self.rearm(slot);
            return Some(Outgoing { target, message });
        }
        None
    }

    /// The next event that waits to be taken.
    pub fn next_event(&mut self) -> Option<JobEvent> {
        while let Some(&slot) = self.events.front() {
            let event = self.take_event(slot);
            let job = &mut self.table[slot];
            if job.flags & TELL == 0 {
                job.flags &= !EVENT_QUEUED;
                self.events.pop_front();
                if self.table.is_live(slot) {
                    self.settle(slot);
                }
                self.table.unpin(slot);
            }
            if event.is_some() {
                return event;
            }
        }
        None
    }

    fn take_event(&mut self, slot: u32) -> Option<JobEvent> {
        let record = &mut self.table[slot];
        let (job, fence, at) = (record.id, record.fence, record.changed_at);
        let mut take = |flag: u8| {
            let is_set = record.flags & flag != 0;
            record.flags &= !flag;
            is_set
        };
        if take(TELL_STUCK) {
            let since_progress = record.clock.progressed_at.age(at);
            Some(JobEvent::Stuck { job, since_progress, fence, at })
        } else if take(TELL_TIMED_OUT) {
            self.stats.timed_out += 1;
            let (reason, elapsed) = (record.reason, record.clock.started_at.age(at));
            Some(JobEvent::TimedOut { job, reason, elapsed, fence, at })
        } else if take(TELL_SUPERSEDED) {
            Some(JobEvent::Superseded { job, fence })
        } else {
            None
        }
    }

    fn abandoned_at(&self, slot: u32) -> Instant {
        self.table[slot].changed_at + millis(self.config.outcome_lifetime_ms)
    }

    /// When the gate of a job is to hear of it again. What waits to be taken needs no reminder, and
    /// an outcome that has arrived is not repeated.
    fn report_at(&self, slot: u32) -> Instant {
        let job = &self.table[slot];
        let is_wanted = job.has_gate() && (job.is_active() || job.delivery.is_pending);
        let is_queued = job.flags & MESSAGE_QUEUED != 0;
        if is_wanted && !is_queued { job.delivery.due_at } else { Instant::MAX }
    }

    /// Sets the timer of a job to the next moment at which something could be due.
    pub fn rearm(&mut self, slot: u32) {
        if !self.table.is_live(slot) {
            return;
        }
        let job = &self.table[slot];
        let own = match job.phase {
            Phase::Running => {
                let stuck_at = job.clock.stuck_at(millis(self.config.stuck_after_ms));
                job.clock.deadline().min(stuck_at)
            }
            Phase::Overdue(_) => self.fallback_at(slot),
            Phase::Ended(_) if !job.delivery.is_pending => return self.timers.clear(slot),
            Phase::Ended(_) => self.abandoned_at(slot),
        };
        self.timers.set(slot, own.min(self.report_at(slot)));
    }
}

pub(super) fn saturating_millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
