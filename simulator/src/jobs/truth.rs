//! What is true of every job, and the rules by which all that nodes tell of jobs is judged.
//!
//! * In each datacenter a job ends once: it finishes, or it is timed out, and then it was over time, stuck,
//!   or its gate had decided.
//! * A job that makes progress is never called stuck.
//! * A gate decides only what its rules allow.
//!
//! What counts is what the present leader of a job says. A former one that has not heard of its
//! replacement may err in good faith; its fence tells the host.

use std::collections::BTreeMap;

use shoal_core::jobs::{FenceToken, JobEvent, JobId, JobsConfig, TimeoutReason, TimeoutRule};
use shoal_core::{Duration, Instant};

use super::plan::{JobPlan, SitePlan};

/// By how much clocks may come to disagree in one run.
const CLOCK_SLACK: Duration = Duration::from_millis(50);

/// How far a job has come in one datacenter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has not been started.
    Waiting,
    /// It runs.
    Running,
    /// It has ended of its own.
    Finished,
    /// It was timed out.
    TimedOut,
}

/// The truth about a job in one datacenter.
#[derive(Clone, Debug)]
pub struct SiteTruth {
    /// What was planned for it.
    pub plan: SitePlan,
    /// How far it has come.
    pub fate: Fate,
    started_at: Instant,
    progressed_at: Instant,
    hangs_at: Instant,
    extension: Duration,
    /// Whether it was over time at any moment so far, in the eyes of anybody who led it.
    was_overdue: bool,
    /// The leadership whose word counts.
    pub fence: FenceToken,
    /// Whether there was a leader that did not know it had been replaced.
    pub had_former_leader: bool,
}

impl SiteTruth {
    /// The job is started here.
    pub fn start(&mut self, now: Instant, fence: FenceToken) {
        (self.fate, self.fence) = (Fate::Running, fence);
        (self.started_at, self.progressed_at) = (now, now);
    }

    /// Whether it still works at this time, if it has not ended.
    pub fn is_working(&self, now: Instant) -> bool {
        self.fate == Fate::Running && now < self.hangs_at
    }

    fn since_progress(&self, now: Instant) -> Duration {
        now.saturating_since(self.progressed_at) + CLOCK_SLACK
    }

    fn is_over_time(&self, now: Instant, timeout: Duration, extension: Duration) -> bool {
        now + CLOCK_SLACK >= self.started_at + timeout + extension
    }

    /// Notes whether it is over time. A former leader knows neither of later extensions nor of its end.
    fn note_overdue(&mut self, now: Instant, timeout: Duration, config: &JobsConfig) -> bool {
        let extension = if self.had_former_leader { Duration::ZERO } else { self.extension };
        let is_running = self.fate == Fate::Running || self.had_former_leader;
        let is_stuck = self.since_progress(now) >= millis(config.stuck_after_ms);
        let is_over = self.is_over_time(now, timeout, extension);
        self.was_overdue |= is_running && (is_over || is_stuck);
        self.was_overdue || self.fate == Fate::TimedOut
    }
}

/// The truth about a job.
#[derive(Clone, Debug)]
pub struct JobTruth {
    /// Its name.
    pub id: JobId,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether it comes through a gate.
    pub has_gate: bool,
    /// When it was submitted.
    pub submitted_at: Instant,
    /// Whether a gate has decided.
    pub is_decided: bool,
    /// Where it runs.
    pub sites: Vec<SiteTruth>,
}

/// All jobs of a run.
#[derive(Debug)]
pub struct Truth {
    config: JobsConfig,
    /// The jobs.
    pub jobs: Vec<JobTruth>,
    /// How often each thing happened.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Truth {
    /// Before anything has happened. Plans count from `origin`.
    pub fn new(plans: &[JobPlan], config: &JobsConfig, origin: Instant) -> Truth {
        let job = |(number, plan): (usize, &JobPlan)| JobTruth {
            id: JobId::from(number as u128 + 1),
            timeout: plan.timeout,
            has_gate: plan.has_gate,
            submitted_at: origin + plan.submitted_at,
            is_decided: false,
            sites: plan.sites.iter().map(|site| site_truth(site, origin)).collect(),
        };
        let jobs = plans.iter().enumerate().map(job).collect();
        Truth { config: *config, jobs, counts: BTreeMap::new() }
    }

    /// Counts something.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Which job this is.
    pub fn find(&self, job: JobId) -> Option<usize> {
        self.jobs.iter().position(|known| known.id == job)
    }

    /// The job made progress.
    pub fn progress(&mut self, now: Instant, job: usize, site: usize) {
        let JobTruth { timeout, sites, .. } = &mut self.jobs[job];
        sites[site].note_overdue(now, *timeout, &self.config);
        sites[site].progressed_at = now;
    }

    /// A worker of the job was granted more time, which counts as progress.
    pub fn extend(&mut self, now: Instant, job: usize, site: usize, grant: Duration) {
        self.progress(now, job, site);
        self.jobs[job].sites[site].extension += grant;
        self.count("extensions");
    }

    /// The job ended of its own.
    pub fn finish(&mut self, now: Instant, job: usize, site: usize) {
        let JobTruth { timeout, sites, .. } = &mut self.jobs[job];
        sites[site].note_overdue(now, *timeout, &self.config);
        sites[site].fate = Fate::Finished;
        self.count("finished");
    }

    /// Judges what a manager said of a job in its datacenter. Returns whether the job was timed out by that.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn judge_manager(
        &mut self,
        now: Instant,
        index: usize,
        site: usize,
        event: &JobEvent,
    ) -> Result<bool, String> {
        let JobTruth { id, timeout, is_decided, .. } = self.jobs[index];
        let truth = &mut self.jobs[index].sites[site];
        match *event {
            JobEvent::TimedOut { fence, .. } | JobEvent::Stuck { fence, .. }
                if fence > truth.fence =>
            {
                Err(format!("job {id} is led from the future: {event:?}, {truth:?}"))
            }
            JobEvent::TimedOut { fence, .. } if fence < truth.fence => Ok(false),
            JobEvent::TimedOut { reason, .. } => {
                truth.require_timeout(now, timeout, reason, is_decided, &self.config)?;
                truth.fate = Fate::TimedOut;
                // A fallback is known to the gate as a timeout of this datacenter.
                truth.was_overdue |= !reason.is_global();
                self.count(reason.name());
                Ok(true)
            }
            JobEvent::Stuck { fence, .. } if fence < truth.fence => {
                // It hears of no progress any more, and the gate may hear only of it.
                truth.was_overdue = true;
                Ok(false)
            }
            JobEvent::Stuck { .. } => {
                let is_stuck = truth.since_progress(now) >= millis(self.config.stuck_after_ms);
                let may_be = is_stuck && now >= truth.hangs_at;
                self.count("stuck");
                require(may_be, || format!("job {id} works but is called stuck"))?;
                Ok(false)
            }
            JobEvent::Superseded { fence, .. } => {
                let is_former = fence < truth.fence;
                self.count("superseded");
                require(is_former, || format!("the leader of job {id} is told that it is none"))?;
                Ok(false)
            }
            JobEvent::WorkerOverdue { .. } => Ok(false),
            ref other => Err(format!("a manager said {other:?}")),
        }
    }

    /// Judges what a gate said of a job. `is_silence_excused`: something was wrong during the time
    /// after which silence counts as standstill, so that datacenters may have been silent for it.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn judge_gate(
        &mut self,
        now: Instant,
        index: usize,
        event: &JobEvent,
        is_silence_excused: bool,
    ) -> Result<(), String> {
        match *event {
            JobEvent::GlobalTimeout { reason, .. } => {
                self.count("decisions");
                self.judge_decision(now, index, reason, is_silence_excused)
            }
            JobEvent::StatusCorrection { job, .. } => {
                self.count("corrections");
                require(self.jobs[index].is_decided, || {
                    format!("a correction of what was not said about job {job}")
                })
            }
            ref other => Err(format!("a gate said {other:?}")),
        }
    }

    fn judge_decision(
        &mut self,
        now: Instant,
        index: usize,
        reason: TimeoutReason,
        is_silence_excused: bool,
    ) -> Result<(), String> {
        let JobTruth { timeout, sites, .. } = &mut self.jobs[index];
        let late: Vec<bool> =
            sites.iter_mut().map(|site| site.note_overdue(now, *timeout, &self.config)).collect();
        let job = &self.jobs[index];
        let late_count = late.iter().filter(|is_late| **is_late).count();
        let mut working = job
            .sites
            .iter()
            .zip(&late)
            .filter(|(site, is_late)| site.fate == Fate::Running && !**is_late)
            .map(|(site, _)| site);
        let stuck_after = millis(self.config.gate_stuck_after_ms);
        let is_just = match reason {
            TimeoutReason::GlobalDeadline => {
                let starts = job.sites.iter().map(|site| site.started_at);
                let first = starts.min().unwrap_or(Instant::ZERO).min(job.submitted_at);
                now + CLOCK_SLACK >= first + job.timeout
            }
            TimeoutReason::DatacentersTimedOut if self.config.gate_rule == TimeoutRule::Any => {
                late_count > 0
            }
            TimeoutReason::DatacentersTimedOut => {
                let is_majority = 2 * late_count > job.sites.len();
                late_count > 0 && (is_majority || is_silence_excused || working.next().is_none())
            }
            TimeoutReason::AllStuck => {
                is_silence_excused || working.all(|site| site.since_progress(now) >= stuck_after)
            }
            other => return Err(format!("{other:?} is no reason of a gate")),
        };
        // A second gate may hear first from datacenters that the decision of the first has ended.
        let is_first = !job.is_decided;
        let is_allowed = is_just || !is_first;
        require(is_allowed, || format!("a gate decided {reason:?}, but {job:?}"))?;
        self.jobs[index].is_decided = true;
        Ok(())
    }
}

impl SiteTruth {
    fn require_timeout(
        &self,
        now: Instant,
        timeout: Duration,
        reason: TimeoutReason,
        is_decided: bool,
        config: &JobsConfig,
    ) -> Result<(), String> {
        require(self.fate == Fate::Running, || format!("timed out after its end: {self:?}"))?;
        let is_over = self.is_over_time(now, timeout, self.extension);
        let is_stuck = self.since_progress(now) >= millis(config.stuck_after_ms);
        let is_just = match reason {
            TimeoutReason::Deadline => is_over,
            TimeoutReason::Stuck => is_stuck,
            TimeoutReason::GateSilent => is_over || is_stuck,
            _ => is_decided,
        };
        require(is_just, || format!("timed out by {reason:?} too early: {self:?}"))
    }
}

fn site_truth(plan: &SitePlan, origin: Instant) -> SiteTruth {
    SiteTruth {
        plan: plan.clone(),
        fate: Fate::Waiting,
        started_at: Instant::MAX,
        progressed_at: Instant::MAX,
        hangs_at: plan.hangs_at.map_or(Instant::MAX, |at| origin + at),
        extension: Duration::ZERO,
        was_overdue: false,
        fence: FenceToken(0),
        had_former_leader: false,
    }
}

fn require(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
