//! Jobs as a gate sees them: over all datacenters (AD-34, part 5).
//!
//! The gate learns from the reports of managers, decides by the rules of `ruling`, and tells
//! every datacenter that has not finished until it has confirmed or finished. It addresses the
//! leadership it knows of; a later leader refuses, says that it is the leader, and is told at once.
//! A gate that hears of a job it does not know takes it over: that is how a gate replaces one that
//! failed.
//!
//! A job is remembered until it is over in all datacenters, and for a while after, so that a late
//! report does not bring it back. Each job has one timer; a report does not move it.

use std::collections::{BTreeMap, VecDeque};

use super::config::{JOB_DATACENTERS_MAX, JobsConfig, REPLY_COUNT_MAX, TIMEOUT_MAX, millis};
use super::delivery::{Freshness, backoff, freshness, jittered};
use super::messages::{
    GlobalTimeout, JobMessage, Outgoing, Receipt, ReceiptOutcome, Report, ReportKind,
};
use super::moment::{Moment, nanos};
use super::ruling::{
    ADOPTED, DECIDED, DatacenterStatus, EVENT_QUEUED, GateJob, GatePhase, SITE_CONFIRMED,
    SITE_CORRECTED, SITE_MOVED, SITE_QUEUED, STOPPED, Site, TELL_GLOBAL_TIMEOUT, Tally, walk,
};
use super::snapshot::{DatacenterSnapshot, GateJobSnapshot};
use super::stats::GateStats;
use super::table::{NONE, Pool, Table};
use super::timeout::{FenceToken, JobError, JobEvent, JobOutcome, TimeoutReason, check_timeout};
use crate::config::DATACENTER_COUNT_MAX;
use crate::error::ConfigError;
use crate::id::JobId;
use crate::node::{Address, DatacenterName};
use crate::random::Random;
use crate::time::{Duration, Instant};
use crate::timer::TimerWheel;

/// Jobs that are over and wait to be taken note of. When full the longest waiting one is dropped.
const OVER_COUNT_MAX: usize = 4_096;

/// A datacenter that a job was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatacenterTarget {
    /// Its name.
    pub datacenter: DatacenterName,
    /// The manager that accepted the job, when it is known already. Reports tell it anyway.
    pub leader: Option<Address>,
}

/// A job that a gate has sent to datacenters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateJobStart<'a> {
    /// The job. Every submission needs an id of its own.
    pub job: JobId,
    /// How long it may take, extensions aside; 1 ms to 365 days.
    pub timeout: Duration,
    /// Where it was sent.
    pub datacenters: &'a [DatacenterTarget],
}

/// Names as small numbers. They are few and do not change, so none is ever forgotten.
#[derive(Debug, Default)]
struct Names {
    names: Vec<DatacenterName>,
    numbers: BTreeMap<DatacenterName, u16>,
}

impl Names {
    fn intern(&mut self, name: &DatacenterName) -> Option<u16> {
        if let Some(&number) = self.numbers.get(name) {
            return Some(number);
        }
        let number = self.names.len();
        if number >= DATACENTER_COUNT_MAX {
            return None;
        }
        self.names.push(*name);
        self.numbers.insert(*name, number as u16);
        Some(number as u16)
    }
}

/// All jobs that one gate coordinates.
#[derive(Debug)]
pub struct GateJobTracker {
    config: JobsConfig,
    now: Instant,
    random: Random,
    jobs: Table<GateJob>,
    sites: Pool<Site>,
    names: Names,
    timers: TimerWheel,
    outgoing: VecDeque<u32>,
    replies: VecDeque<Outgoing>,
    events: VecDeque<u32>,
    over: VecDeque<JobId>,
    stats: GateStats,
}

impl GateJobTracker {
    /// A tracker without jobs. `seed` decides the order of its tables and the spread of its
    /// messages.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn new(config: JobsConfig, seed: u64, now: Instant) -> Result<GateJobTracker, ConfigError> {
        config.check()?;
        let mut random = Random::new(seed);
        Ok(GateJobTracker {
            config,
            now,
            jobs: Table::new(config.gate_job_capacity, &mut random),
            sites: Pool::new(config.gate_site_capacity),
            names: Names::default(),
            timers: TimerWheel::new(now),
            outgoing: VecDeque::new(),
            replies: VecDeque::new(),
            events: VecDeque::new(),
            over: VecDeque::new(),
            stats: GateStats::default(),
            random,
        })
    }

    /// Begins to track a job, from the moment of its submission. Returns whether it is new;
    /// starting a known one again adds the datacenters that are missing, unless it is over.
    ///
    /// # Errors
    /// When the job cannot be tracked; nothing has changed then, except that a known job may have
    /// got some of the datacenters.
    pub fn job_started(
        &mut self,
        now: Instant,
        start: &GateJobStart<'_>,
    ) -> Result<bool, JobError> {
        self.advance(now);
        let timeout = check_timeout(start.timeout)?;
        let count = start.datacenters.len();
        if count == 0 || count > usize::from(JOB_DATACENTERS_MAX) {
            return Err(JobError::DatacenterCount { count });
        }
        let known = self.jobs.find(&start.job);
        if known.is_some_and(|slot| self.jobs[slot].phase == GatePhase::Over) {
            return Ok(false);
        }
        let slot = match known {
            Some(slot) => slot,
            None => self.insert(start.job, Moment::at(self.now), timeout).ok_or(JobError::Full)?,
        };
        for target in start.datacenters {
            let site = self.site(slot, &target.datacenter);
            match (site, target.leader) {
                (None, _) => {
                    if known.is_none() {
                        self.remove(slot);
                    }
                    return Err(JobError::Full);
                }
                (Some(site), Some(leader)) if !self.sites[site].leader.is_reachable() => {
                    self.sites[site].leader = leader;
                }
                _ => {}
            }
        }
        // From here on it is known where the job runs.
        let job = &mut self.jobs[slot];
        job.flags &= !ADOPTED;
        job.expected_count = job.site_count;
        self.stats.started += u64::from(known.is_none());
        self.rearm(slot);
        Ok(known.is_none())
    }

    /// Stops tracking a job, whatever its datacenters do: its submission was called off or is dealt
    /// with otherwise. Returns whether it was tracked.
    pub fn job_finished(&mut self, now: Instant, job: JobId) -> bool {
        self.advance(now);
        let Some(slot) = self.jobs.find(&job) else { return false };
        let is_news = self.jobs[slot].phase != GatePhase::Over;
        self.jobs[slot].flags |= STOPPED;
        self.jobs[slot].flags &= !TELL_GLOBAL_TIMEOUT;
        if is_news {
            self.finish(slot);
        }
        is_news
    }

    /// Gives a job up without a word, because its datacenters report to another gate now: this one
    /// would take their silence for a standstill. Call it when all managers know of the other gate;
    /// a report that comes later brings the job back. Returns whether it was tracked.
    pub fn job_released(&mut self, now: Instant, job: JobId) -> bool {
        self.advance(now);
        let Some(slot) = self.jobs.find(&job) else { return false };
        self.jobs[slot].flags &= !TELL_GLOBAL_TIMEOUT;
        self.remove(slot);
        true
    }

    /// Goes on tracking a job that was tracked by another gate, or by this one before a restart.
    /// Returns whether it is new. A decision that had been made stands, and is told to the
    /// datacenters again.
    ///
    /// # Errors
    /// When the job cannot be tracked; nothing has changed then.
    pub fn job_resumed(
        &mut self,
        now: Instant,
        snapshot: &GateJobSnapshot,
    ) -> Result<bool, JobError> {
        self.advance(now);
        let timeout = check_timeout(snapshot.timeout)?;
        let count = snapshot.datacenters.len();
        if count > usize::from(JOB_DATACENTERS_MAX) {
            return Err(JobError::DatacenterCount { count });
        }
        if self.jobs.find(&snapshot.job).is_some() {
            return Ok(false);
        }
        let started_at = Moment::ago(self.now, snapshot.elapsed);
        let slot = self.insert(snapshot.job, started_at, timeout).ok_or(JobError::Full)?;
        let standstill_max = millis(self.config.gate_stuck_after_ms - 1);
        for known in &snapshot.datacenters {
            let Some(site) = self.site(slot, &known.datacenter) else {
                self.remove(slot);
                return Err(JobError::Full);
            };
            let site = &mut self.sites[site];
            site.leader = known.leader.unwrap_or(Address::UNSPECIFIED);
            site.status = known.status;
            site.fence = known.fence;
            // Whether it stands still now, its manager has to tell this gate: the other one may not have
            // heard of progress, and nothing in a snapshot is a report.
            let since_progress = known.since_progress.min(standstill_max);
            site.progressed_at = Moment::ago(self.now, since_progress);
            site.extension_total = nanos(known.extension_total);
        }
        self.stats.started += 1;
        let job = &mut self.jobs[slot];
        job.expected_count = snapshot.datacenter_count.max(job.site_count);
        if let Some(reason) = snapshot.decision {
            self.decide(slot, reason);
            self.jobs[slot].flags &= !TELL_GLOBAL_TIMEOUT;
        }
        self.review(slot);
        self.rearm(slot);
        Ok(true)
    }

    /// Takes a message that a manager sent from `source`, in this datacenter.
    pub fn handle_message(
        &mut self,
        now: Instant,
        source: Address,
        datacenter: &DatacenterName,
        message: &JobMessage,
    ) {
        self.advance(now);
        match message {
            JobMessage::Report(report) => self.handle_report(source, datacenter, report),
            JobMessage::TimeoutReceipt(receipt) => self.handle_receipt(source, receipt),
            JobMessage::GlobalTimeout(_) | JobMessage::ReportReceipt(_) => {
                self.stats.misdirected += 1;
            }
        }
    }

    fn handle_report(&mut self, source: Address, datacenter: &DatacenterName, report: &Report) {
        self.stats.reports_received += 1;
        let slot = match self.jobs.find(&report.job) {
            Some(slot) => slot,
            // The end of a job that is not known here needs nobody's attention.
            None if matches!(report.kind, ReportKind::Status(Some(_))) => {
                return self.acknowledge(source, report, report.fence, ReceiptOutcome::Over);
            }
            None => match self.adopt(report) {
                Some(slot) => slot,
                None => return self.refuse(source, report),
            },
        };
        let Some(site) = self.site(slot, datacenter) else {
            if self.jobs[slot].site_count == 0 {
                self.remove(slot);
            }
            return self.refuse(source, report);
        };
        let seen = (self.sites[site].fence, self.sites[site].sequence);
        match freshness(seen, report.fence, report.sequence) {
            Freshness::Superseded => {
                self.stats.reports_superseded += 1;
                return self.acknowledge(source, report, seen.0, ReceiptOutcome::Superseded);
            }
            Freshness::Repeated => self.stats.reports_repeated += 1,
            Freshness::New => self.note(slot, site, source, report),
        }
        let outcome = match self.jobs[slot].phase {
            GatePhase::Over => ReceiptOutcome::Over,
            _ => ReceiptOutcome::Tracked,
        };
        self.acknowledge(source, report, report.fence, outcome);
    }

    /// Takes over a job that another gate tracked before.
    fn adopt(&mut self, report: &Report) -> Option<u32> {
        let timeout = check_timeout(report.timeout).ok()?;
        let slot = self.insert(report.job, Moment::ago(self.now, report.elapsed), timeout)?;
        self.stats.adopted += 1;
        self.jobs[slot].flags |= ADOPTED;
        Some(slot)
    }

    /// Notes what is new in a report, and does what follows from it.
    fn note(&mut self, slot: u32, site_slot: u32, source: Address, report: &Report) {
        let site = &mut self.sites[site_slot];
        if site.fence > FenceToken(0) {
            site.flags |= SITE_CONFIRMED;
        }
        site.flags &= !SITE_MOVED;
        site.leader = source;
        site.fence = report.fence;
        site.sequence = report.sequence;
        site.heard_at = self.now;
        site.progressed_at = site.progressed_at.max(Moment::ago(self.now, report.since_progress));
        let extension = nanos(report.extension_total.min(TIMEOUT_MAX));
        site.extension_total = site.extension_total.max(extension);
        site.status = match (report.kind, report.overdue) {
            (ReportKind::Status(Some(outcome)), _) => DatacenterStatus::Ended(outcome),
            (_, Some(reason)) => DatacenterStatus::Overdue(reason),
            (_, None) => DatacenterStatus::Running,
        };
        let is_finished = site.status.is_finished();
        let is_correction = match report.kind {
            ReportKind::Status(outcome) => outcome != Some(JobOutcome::TimedOut),
            _ => false,
        };
        let job = &mut self.jobs[slot];
        if job.flags & ADOPTED != 0 {
            let count = report.datacenter_count.min(JOB_DATACENTERS_MAX);
            job.expected_count = job.expected_count.max(count);
            job.started_at = job.started_at.min(Moment::ago(self.now, report.elapsed));
        }
        if job.flags & DECIDED != 0 && is_correction {
            self.stats.corrections += 1;
            self.sites[site_slot].flags |= SITE_CORRECTED;
            self.tell(slot);
        }
        self.revive(slot, is_finished);
        if self.jobs[slot].phase == GatePhase::Decided && !is_finished {
            self.send(site_slot);
        }
        self.review(slot);
        if self.jobs.is_live(slot) && self.jobs[slot].flags & ADOPTED != 0 {
            self.rearm(slot);
        }
    }

    /// A job that seemed to be over is not, when a new leader says that it runs.
    fn revive(&mut self, slot: u32, is_finished: bool) {
        let job = &self.jobs[slot];
        if job.phase != GatePhase::Over || is_finished || job.flags & STOPPED != 0 {
            return;
        }
        let is_decided = job.flags & DECIDED != 0;
        self.enter(slot, if is_decided { GatePhase::Decided } else { GatePhase::Tracking });
        self.jobs.unlist(slot);
        self.rearm(slot);
    }

    fn handle_receipt(&mut self, source: Address, receipt: &Receipt) {
        let Some(slot) = self.jobs.find(&receipt.job) else { return };
        // Only the leader can say that the job is gone. What it says of a job that this gate knows
        // from a report alone, or that went to another gate, ends the watch; a decision stands, because
        // the job may come back.
        let job = &self.jobs[slot];
        let is_open = job.phase == GatePhase::Tracking;
        let is_believed = match receipt.outcome {
            ReceiptOutcome::Unknown => !is_open || job.flags & ADOPTED != 0,
            ReceiptOutcome::OtherGate => is_open,
            _ => false,
        };
        let is_leader = |site: &Site| site.leader == source && site.fence <= receipt.fence;
        let Some(site) = self.find_site(slot, is_leader).filter(|_| is_believed) else { return };
        if receipt.outcome == ReceiptOutcome::OtherGate {
            // The others may have gone there, too: from here on this gate knows of the job what it is told.
            self.jobs[slot].flags |= ADOPTED;
            self.sites[site].flags |= SITE_MOVED;
            self.sites[site].heard_at = self.now;
        }
        if !self.sites[site].status.is_finished() {
            self.sites[site].status = DatacenterStatus::Lost;
            self.review(slot);
        }
        if self.jobs.is_live(slot) {
            self.rearm(slot);
        }
    }

    fn refuse(&mut self, target: Address, report: &Report) {
        self.stats.reports_refused += 1;
        self.acknowledge(target, report, report.fence, ReceiptOutcome::Refused);
    }

    fn acknowledge(
        &mut self,
        target: Address,
        report: &Report,
        fence: FenceToken,
        outcome: ReceiptOutcome,
    ) {
        if self.replies.len() >= REPLY_COUNT_MAX {
            self.stats.replies_dropped += 1;
            return;
        }
        let receipt = Receipt { job: report.job, fence, sequence: report.sequence, outcome };
        self.replies.push_back(Outgoing { target, message: JobMessage::ReportReceipt(receipt) });
    }

    /// Acts on every deadline that has passed. Call it when [`GateJobTracker::poll_timeout`] says
    /// so; calling it earlier does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        while let Some(slot) = self.timers.expire(self.now) {
            self.review(slot);
            if self.jobs.is_live(slot) {
                self.send_due(slot);
                self.rearm(slot);
            }
        }
    }

    /// When [`GateJobTracker::handle_timeout`] should be called next, `None` while nothing is
    /// tracked.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// The next message to send. `now` should be the time of sending.
    pub fn poll_message(&mut self, now: Instant) -> Option<Outgoing> {
        self.advance(now);
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        while let Some(slot) = self.outgoing.pop_front() {
            let is_live = self.sites.is_live(slot);
            self.sites[slot].flags &= !SITE_QUEUED;
            self.sites.unpin(slot);
            let site = &mut self.sites[slot];
            let job = &self.jobs[site.job];
            let is_wanted = is_live && job.phase == GatePhase::Decided;
            if !is_wanted || site.status.is_finished() {
                continue;
            }
            self.stats.timeouts_sent += 1;
            self.stats.timeouts_repeated += u64::from(site.attempts > 0);
            site.attempts = site.attempts.saturating_add(1);
            let pause = backoff(&self.config, site.attempts);
            site.due_at = self.now + jittered(pause, &mut self.random);
            let timeout = GlobalTimeout { job: job.id, fence: site.fence, reason: job.reason };
            let message = JobMessage::GlobalTimeout(timeout);
            return Some(Outgoing { target: site.leader, message });
        }
        None
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<JobEvent> {
        while let Some(&slot) = self.events.front() {
            if let Some(event) = self.take_event(slot) {
                return Some(event);
            }
            self.jobs[slot].flags &= !EVENT_QUEUED;
            self.events.pop_front();
            self.jobs.unpin(slot);
        }
        None
    }

    fn take_event(&mut self, slot: u32) -> Option<JobEvent> {
        let record = &mut self.jobs[slot];
        let (job, reason) = (record.id, record.reason);
        if record.flags & TELL_GLOBAL_TIMEOUT != 0 {
            record.flags &= !TELL_GLOBAL_TIMEOUT;
            let at = record.changed_at;
            let elapsed = record.started_at.age(at);
            return Some(JobEvent::GlobalTimeout { job, reason, elapsed, at });
        }
        if !self.jobs.is_live(slot) {
            return None;
        }
        let site = self.find_site(slot, |site| site.flags & SITE_CORRECTED != 0)?;
        let site = &mut self.sites[site];
        site.flags &= !SITE_CORRECTED;
        let datacenter = self.names.names[usize::from(site.datacenter)];
        let outcome = match site.status {
            DatacenterStatus::Ended(outcome) => Some(outcome),
            _ => None,
        };
        Some(JobEvent::StatusCorrection { job, datacenter, outcome, fence: site.fence })
    }

    /// What another gate would need to go on tracking a job; `None` when it is not tracked, or
    /// over.
    pub fn snapshot(&self, now: Instant, job: JobId) -> Option<GateJobSnapshot> {
        let slot = self.jobs.find(&job)?;
        self.snapshot_at(now, slot)
    }

    /// The same for all jobs, for a restart of this host.
    pub fn snapshots(&self, now: Instant) -> impl Iterator<Item = GateJobSnapshot> + '_ {
        self.jobs.live().filter_map(move |slot| self.snapshot_at(now, slot))
    }

    /// A job that is over since this was last asked, in all its datacenters or because its host said
    /// so. For who keeps something of his own about jobs; of many only the last 4,096 are told.
    pub fn poll_over(&mut self) -> Option<JobId> {
        self.over.pop_front()
    }

    fn snapshot_at(&self, now: Instant, slot: u32) -> Option<GateJobSnapshot> {
        let job = &self.jobs[slot];
        if job.phase == GatePhase::Over {
            return None;
        }
        let datacenters = walk(job, &self.sites).map(|(_, site)| DatacenterSnapshot {
            datacenter: self.names.names[usize::from(site.datacenter)],
            leader: site.leader.is_reachable().then_some(site.leader),
            status: site.status,
            fence: site.fence,
            since_progress: site.progressed_at.age(now),
            extension_total: Duration::from_nanos(site.extension_total),
        });
        Some(GateJobSnapshot {
            job: job.id,
            timeout: Duration::from_nanos(job.timeout),
            elapsed: job.started_at.age(now),
            datacenter_count: job.expected_count.max(job.site_count),
            decision: (job.flags & DECIDED != 0).then_some(job.reason),
            datacenters: datacenters.collect(),
        })
    }

    /// How a job stands in a datacenter; `None` when it is not known to run there.
    pub fn status(&self, job: JobId, datacenter: &DatacenterName) -> Option<DatacenterStatus> {
        let slot = self.jobs.find(&job)?;
        let number = *self.names.numbers.get(datacenter)?;
        let site = self.find_site(slot, |site| site.datacenter == number)?;
        Some(self.sites[site].status)
    }

    /// Jobs remembered, those included that are over.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no job is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pairs of job and datacenter remembered.
    pub fn site_count(&self) -> usize {
        self.sites.used() as usize
    }

    /// The counters.
    pub fn stats(&self) -> &GateStats {
        &self.stats
    }

    /// The settings.
    pub fn config(&self) -> &JobsConfig {
        &self.config
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn insert(&mut self, id: JobId, started_at: Moment, timeout: u64) -> Option<u32> {
        if self.jobs.is_full()
            && let Some(oldest) = self.jobs.oldest()
        {
            self.stats.evicted += 1;
            self.remove(oldest);
        }
        self.jobs.insert(GateJob {
            id,
            started_at,
            timeout,
            changed_at: self.now,
            first_site: NONE,
            site_count: 0,
            expected_count: 0,
            phase: GatePhase::Tracking,
            reason: TimeoutReason::GlobalDeadline,
            flags: 0,
        })
    }

    /// The record of a job in a datacenter, a new one where there is none; `None` when there is no
    /// room.
    fn site(&mut self, slot: u32, datacenter: &DatacenterName) -> Option<u32> {
        let datacenter = self.names.intern(datacenter)?;
        if let Some(site) = self.find_site(slot, |site| site.datacenter == datacenter) {
            return Some(site);
        }
        let job = &mut self.jobs[slot];
        if job.site_count == JOB_DATACENTERS_MAX {
            return None;
        }
        let site = Site {
            fence: FenceToken(0),
            progressed_at: Moment::at(self.now),
            heard_at: self.now,
            due_at: Instant::MAX,
            extension_total: 0,
            leader: Address::UNSPECIFIED,
            sequence: 0,
            job: slot,
            next: job.first_site,
            datacenter,
            status: DatacenterStatus::Running,
            attempts: 0,
            flags: 0,
        };
        job.first_site = self.sites.insert(site)?;
        job.site_count += 1;
        Some(job.first_site)
    }

    fn find_site(&self, slot: u32, matches: impl Fn(&Site) -> bool) -> Option<u32> {
        walk(&self.jobs[slot], &self.sites).find(|(_, site)| matches(site)).map(|(slot, _)| slot)
    }

    /// Applies the rules to what is known of a job.
    fn review(&mut self, slot: u32) {
        let job = &self.jobs[slot];
        if job.phase == GatePhase::Tracking {
            let tally = Tally::of(job, &self.sites, &self.config, self.now);
            if let Some(reason) = tally.ruling(job, &self.config, self.now) {
                self.decide(slot, reason);
            } else if tally.unfinished == 0 {
                return self.finish(slot);
            }
        }
        let job = &self.jobs[slot];
        let unfinished = walk(job, &self.sites).filter(|(_, site)| !site.status.is_finished());
        let unfinished = unfinished.count() as u64;
        match job.phase {
            GatePhase::Tracking => {}
            GatePhase::Decided => {
                let lifetime = millis(self.config.gate_decision_lifetime_ms);
                if unfinished == 0 {
                    self.finish(slot);
                } else if self.now >= job.changed_at + lifetime {
                    self.stats.timeouts_undelivered += unfinished;
                    self.finish(slot);
                }
            }
            GatePhase::Over => {
                if self.now >= job.changed_at + millis(self.config.gate_retention_ms) {
                    self.remove(slot);
                }
            }
        }
    }

    fn decide(&mut self, slot: u32, reason: TimeoutReason) {
        self.stats.timed_out += 1;
        self.enter(slot, GatePhase::Decided);
        let job = &mut self.jobs[slot];
        job.reason = reason;
        job.flags |= DECIDED | TELL_GLOBAL_TIMEOUT;
        self.tell(slot);
        let mut next = self.jobs[slot].first_site;
        while next != NONE {
            self.send(next);
            next = self.sites[next].next;
        }
        self.rearm(slot);
    }

    /// From here on the job is only remembered.
    fn finish(&mut self, slot: u32) {
        self.enter(slot, GatePhase::Over);
        if self.over.len() == OVER_COUNT_MAX {
            self.over.pop_front();
        }
        self.over.push_back(self.jobs[slot].id);
        self.jobs.list_newest(slot);
        self.rearm(slot);
    }

    fn enter(&mut self, slot: u32, phase: GatePhase) {
        let job = &mut self.jobs[slot];
        job.phase = phase;
        job.changed_at = self.now;
    }

    fn remove(&mut self, slot: u32) {
        let mut next = self.jobs[slot].first_site;
        while next != NONE {
            let site = next;
            next = self.sites[site].next;
            self.sites.remove(site);
        }
        self.timers.clear(slot);
        self.jobs.remove(slot);
    }

    /// Puts a global timeout into the queue, if somebody is known to receive it.
    fn send(&mut self, site_slot: u32) {
        let site = &mut self.sites[site_slot];
        let is_wanted = site.leader.is_reachable() && !site.status.is_finished();
        if is_wanted && site.flags & SITE_QUEUED == 0 {
            site.flags |= SITE_QUEUED;
            self.sites.pin(site_slot);
            self.outgoing.push_back(site_slot);
        }
    }

    fn send_due(&mut self, slot: u32) {
        if self.jobs[slot].phase != GatePhase::Decided {
            return;
        }
        let mut next = self.jobs[slot].first_site;
        while next != NONE {
            if self.now >= self.sites[next].due_at {
                self.send(next);
            }
            next = self.sites[next].next;
        }
    }

    fn tell(&mut self, slot: u32) {
        let job = &mut self.jobs[slot];
        if job.flags & EVENT_QUEUED == 0 {
            job.flags |= EVENT_QUEUED;
            self.jobs.pin(slot);
            self.events.push_back(slot);
        }
    }

    /// Sets the timer of a job to the next moment at which something could be due.
    fn rearm(&mut self, slot: u32) {
        let job = &self.jobs[slot];
        let review_at = match job.phase {
            GatePhase::Tracking => {
                let tally = Tally::of(job, &self.sites, &self.config, self.now);
                tally.review_at(job, &self.config)
            }
            GatePhase::Decided => {
                // What waits to be taken will be due no sooner than after the first pause.
                let queued_due_at = self.now + millis(self.config.retry_min_ms) / 2;
                let wanted = walk(job, &self.sites).filter(|(_, site)| !site.status.is_finished());
                let due = wanted.map(|(_, site)| match site.flags & SITE_QUEUED {
                    0 => site.due_at,
                    _ => queued_due_at,
                });
                let ends_at = job.changed_at + millis(self.config.gate_decision_lifetime_ms);
                due.min().unwrap_or(ends_at).min(ends_at)
            }
            GatePhase::Over => job.changed_at + millis(self.config.gate_retention_ms),
        };
        self.timers.set(slot, review_at);
    }
}
