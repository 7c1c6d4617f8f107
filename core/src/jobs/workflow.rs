//! The life of workflows, the parts of a job (AD-33, with the progress callbacks of AD-34).
//!
//! ```text
//! pending -> dispatched -> running -> completed | aggregated
//!    |           |            |
//!    +-----------+------------+--> failed -> cancelling dependents -> ready for retry -> pending
//!    |           |            |      |
//!    +-----------+------------+--> cancelling -> cancelled <--+ (from failed)
//! ```
//!
//! Only these steps are legal, so a late answer of a worker cannot revive what was cancelled. Every
//! step is told as a [`WorkflowEvent`], which the host hands to
//! [`JobTracker::workflow_moved`](super::JobTracker::workflow_moved): that is how a job that works
//! is known to progress. Workflows that have not ended stand in a list in the order of their last
//! progress, so finding the stuck ones costs as much as there are of them.

use std::collections::VecDeque;

use super::config::JobsConfig;
use super::table::{Key, NONE, Record, Table};
use super::timeout::WorkflowCounts;
use crate::error::ConfigError;
use crate::id::{JobId, WorkflowId};
use crate::random::Random;
use crate::time::{Duration, Instant};

/// The longest reason that is remembered with a transition, in bytes; a longer one is cut.
pub const REASON_SIZE_MAX: usize = 120;

/// Where a workflow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum WorkflowState {
    /// Waits for a worker.
    Pending = 0,
    /// Sent to a worker that has not confirmed.
    Dispatched = 1,
    /// A worker runs it.
    Running = 2,
    /// Ended well.
    Completed = 3,
    /// The worker died, or the work failed or took too long.
    Failed = 4,
    /// Failed; what depends on it is being cancelled.
    FailedCancelingDependents = 5,
    /// Failed; nothing depends on it any more, it may be tried again.
    FailedReadyForRetry = 6,
    /// Called off; the worker has not confirmed.
    Cancelling = 7,
    /// Called off.
    Cancelled = 8,
    /// Ended well, its results are merged with those of other cores.
    Aggregated = 9,
}

impl WorkflowState {
    /// Every state, in the order of their numbers.
    pub const ALL: [WorkflowState; 10] = [
        WorkflowState::Pending,
        WorkflowState::Dispatched,
        WorkflowState::Running,
        WorkflowState::Completed,
        WorkflowState::Failed,
        WorkflowState::FailedCancelingDependents,
        WorkflowState::FailedReadyForRetry,
        WorkflowState::Cancelling,
        WorkflowState::Cancelled,
        WorkflowState::Aggregated,
    ];

    /// The name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            WorkflowState::Pending => "pending",
            WorkflowState::Dispatched => "dispatched",
            WorkflowState::Running => "running",
            WorkflowState::Completed => "completed",
            WorkflowState::Failed => "failed",
            WorkflowState::FailedCancelingDependents => "failed_canceling_deps",
            WorkflowState::FailedReadyForRetry => "failed_ready",
            WorkflowState::Cancelling => "cancelling",
            WorkflowState::Cancelled => "cancelled",
            WorkflowState::Aggregated => "aggregated",
        }
    }

    /// The states it may go to.
    pub const fn successors(self) -> &'static [WorkflowState] {
        use WorkflowState::*;
        match self {
            Pending => &[Dispatched, Cancelling, Failed],
            Dispatched => &[Running, Cancelling, Failed],
            Running => &[Completed, Failed, Cancelling, Aggregated],
            Failed => &[FailedCancelingDependents, Cancelled],
            FailedCancelingDependents => &[FailedReadyForRetry],
            FailedReadyForRetry => &[Pending],
            Cancelling => &[Cancelled],
            Completed | Cancelled | Aggregated => &[],
        }
    }

    /// Whether nothing follows.
    pub const fn is_terminal(self) -> bool {
        self.successors().is_empty()
    }

    fn has_completed(self) -> bool {
        matches!(self, WorkflowState::Completed | WorkflowState::Aggregated)
    }

    fn has_failed(self) -> bool {
        use WorkflowState::*;
        matches!(self, Failed | FailedCancelingDependents | FailedReadyForRetry | Cancelled)
    }
}

/// One step in the life of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where it came from.
    pub from: WorkflowState,
    /// Where it went.
    pub to: WorkflowState,
    /// When.
    pub at: Instant,
    /// Why, in the host's words, up to [`REASON_SIZE_MAX`] bytes.
    pub reason: Box<str>,
}

/// A workflow made progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowEvent {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The job it is part of.
    pub job: JobId,
    /// Where it came from.
    pub from: WorkflowState,
    /// Where it is now; the same where it progressed within its state.
    pub to: WorkflowState,
    /// The state of all workflows of the job.
    pub counts: WorkflowCounts,
    /// When.
    pub at: Instant,
}

/// A call that the state machine refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowError {
    /// As many workflows are known as may be.
    #[error("no room for another workflow; raise workflow_capacity")]
    Full,
    /// The workflow is not known.
    #[error("unknown workflow {0}")]
    Unknown(WorkflowId),
    /// The workflow is known, as a part of another job.
    #[error("the workflow belongs to job {0}")]
    OtherJob(JobId),
    /// The step is not in the diagram.
    #[error("a workflow that is {} cannot become {}", .from.name(), .to.name())]
    Illegal {
        /// Where the workflow is.
        from: WorkflowState,
        /// Where it was to go.
        to: WorkflowState,
    },
}

#[derive(Debug)]
struct Workflow {
    id: WorkflowId,
    /// The slot of its job.
    job: u32,
    state: WorkflowState,
    progressed_at: Instant,
    history: VecDeque<Transition>,
    // Neighbours among the workflows of the job.
    previous: u32,
    next: u32,
}

#[derive(Debug)]
struct WorkflowJob {
    id: JobId,
    first: u32,
    counts: WorkflowCounts,
}

impl Key for WorkflowId {
    fn words(&self) -> [u64; 2] {
        self.as_bytes().words()
    }
}

impl Record for Workflow {
    type Key = WorkflowId;

    fn key(&self) -> WorkflowId {
        self.id
    }
}

impl Record for WorkflowJob {
    type Key = JobId;

    fn key(&self) -> JobId {
        self.id
    }
}

/// The workflows of all jobs of one manager.
#[derive(Debug)]
pub struct WorkflowStateMachine {
    workflows: Table<Workflow>,
    jobs: Table<WorkflowJob>,
    totals: [u32; WorkflowState::ALL.len()],
    history_max: usize,
    events: VecDeque<WorkflowEvent>,
    event_capacity: usize,
    dropped_events: u64,
}

impl WorkflowStateMachine {
    /// A machine without workflows. `seed` decides the order of its tables.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn new(config: &JobsConfig, seed: u64) -> Result<WorkflowStateMachine, ConfigError> {
        config.check()?;
        let mut random = Random::new(seed);
        Ok(WorkflowStateMachine {
            workflows: Table::new(config.workflow_capacity, &mut random),
            jobs: Table::new(config.workflow_capacity, &mut random),
            totals: [0; WorkflowState::ALL.len()],
            history_max: usize::from(config.workflow_history),
            events: VecDeque::new(),
            event_capacity: config.workflow_event_capacity as usize,
            dropped_events: 0,
        })
    }

    /// Adds a workflow that is pending. Returns whether it is new.
    ///
    /// # Errors
    /// [`WorkflowError::Full`] or [`WorkflowError::OtherJob`]; nothing has changed then.
    pub fn add(
        &mut self,
        now: Instant,
        workflow: WorkflowId,
        job: JobId,
    ) -> Result<bool, WorkflowError> {
        if let Some(slot) = self.workflows.find(&workflow) {
            let owner = self.jobs[self.workflows[slot].job].id;
            return if owner == job { Ok(false) } else { Err(WorkflowError::OtherJob(owner)) };
        }
        if self.workflows.is_full() {
            return Err(WorkflowError::Full);
        }
        let job_slot = self.jobs.find(&job).unwrap_or_else(|| {
            let record = WorkflowJob { id: job, first: NONE, counts: WorkflowCounts::default() };
            self.jobs.insert(record).expect("no more jobs than workflows")
        });
        let owner = &mut self.jobs[job_slot];
        let record = Workflow {
            id: workflow,
            job: job_slot,
            state: WorkflowState::Pending,
            progressed_at: now,
            history: VecDeque::new(),
            previous: NONE,
            next: owner.first,
        };
        let slot = self.workflows.insert(record).expect("there was room");
        owner.counts.total += 1;
        if owner.first != NONE {
            self.workflows[owner.first].previous = slot;
        }
        owner.first = slot;
        self.totals[WorkflowState::Pending as usize] += 1;
        self.workflows.list_newest(slot);
        Ok(true)
    }

    /// Moves a workflow to another state, which is progress.
    ///
    /// # Errors
    /// [`WorkflowError::Unknown`] or [`WorkflowError::Illegal`]; nothing has changed then.
    pub fn transition(
        &mut self,
        now: Instant,
        workflow: WorkflowId,
        to: WorkflowState,
        reason: &str,
    ) -> Result<(), WorkflowError> {
        let slot = self.workflows.find(&workflow).ok_or(WorkflowError::Unknown(workflow))?;
        let record = &mut self.workflows[slot];
        let from = record.state;
        if !from.successors().contains(&to) {
            return Err(WorkflowError::Illegal { from, to });
        }
        record.state = to;
        if self.history_max > 0 {
            if record.history.len() == self.history_max {
                record.history.pop_front();
            }
            let reason = shortened(reason).into();
            record.history.push_back(Transition { from, to, at: now, reason });
        }
        self.totals[from as usize] -= 1;
        self.totals[to as usize] += 1;
        let job = record.job;
        let counts = &mut self.jobs[job].counts;
        counts.completed += u32::from(to.has_completed());
        counts.failed = counts.failed + u32::from(to.has_failed()) - u32::from(from.has_failed());
        self.note_progress(now, slot, from);
        Ok(())
    }

    /// Notes that a workflow progressed within its state. Returns whether it is known and has not
    /// ended.
    pub fn progress(&mut self, now: Instant, workflow: WorkflowId) -> bool {
        let slot = self.workflows.find(&workflow);
        let Some(slot) = slot.filter(|&slot| !self.workflows[slot].state.is_terminal()) else {
            return false;
        };
        self.note_progress(now, slot, self.workflows[slot].state);
        true
    }

    fn note_progress(&mut self, now: Instant, slot: u32, from: WorkflowState) {
        let record = &mut self.workflows[slot];
        record.progressed_at = record.progressed_at.max(now);
        let (workflow, to, job) = (record.id, record.state, &self.jobs[record.job]);
        if self.events.len() < self.event_capacity {
            let (job, counts) = (job.id, job.counts);
            self.events.push_back(WorkflowEvent { workflow, job, from, to, counts, at: now });
        } else {
            self.dropped_events += 1;
        }
        if to.is_terminal() {
            self.workflows.unlist(slot);
        } else {
            self.workflows.list_newest(slot);
        }
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<WorkflowEvent> {
        self.events.pop_front()
    }

    /// Events dropped because the host did not take them.
    pub fn dropped_events(&self) -> u64 {
        self.dropped_events
    }

    /// Where a workflow stands.
    pub fn state(&self, workflow: WorkflowId) -> Option<WorkflowState> {
        Some(self.workflows[self.workflows.find(&workflow)?].state)
    }

    /// The job a workflow is part of.
    pub fn job(&self, workflow: WorkflowId) -> Option<JobId> {
        let slot = self.workflows.find(&workflow)?;
        Some(self.jobs[self.workflows[slot].job].id)
    }

    /// The last steps of a workflow, oldest first, as many as are remembered.
    pub fn history(&self, workflow: WorkflowId) -> impl Iterator<Item = &Transition> + '_ {
        let slot = self.workflows.find(&workflow);
        slot.into_iter().flat_map(|slot| &self.workflows[slot].history)
    }

    /// How long a workflow has made no progress, `None` when it is not known.
    pub fn time_since_progress(&self, now: Instant, workflow: WorkflowId) -> Option<Duration> {
        Some(now - self.workflows[self.workflows.find(&workflow)?].progressed_at)
    }

    /// The workflows that have not ended and have made no progress for `threshold` or longer, the
    /// longest first. Costs as much as there are of them.
    pub fn stuck_workflows(
        &self,
        now: Instant,
        threshold: Duration,
    ) -> impl Iterator<Item = (WorkflowId, WorkflowState, Duration)> + '_ {
        let listed = self.workflows.listed().map(move |slot| {
            let record = &self.workflows[slot];
            (record.id, record.state, now - record.progressed_at)
        });
        listed.take_while(move |&(_, _, since)| since >= threshold)
    }

    /// How many workflows are in a state.
    pub fn count(&self, state: WorkflowState) -> u32 {
        self.totals[state as usize]
    }

    /// The workflows that are in any of these states, in no particular order. Walks them all.
    pub fn workflows_in<'a>(
        &'a self,
        states: &'a [WorkflowState],
    ) -> impl Iterator<Item = WorkflowId> + 'a {
        let records = self.workflows.live().map(|slot| &self.workflows[slot]);
        records.filter(|record| states.contains(&record.state)).map(|record| record.id)
    }

    /// The state of the workflows of a job, all zero when none is known.
    pub fn job_counts(&self, job: JobId) -> WorkflowCounts {
        self.jobs.find(&job).map(|slot| self.jobs[slot].counts).unwrap_or_default()
    }

    /// The workflows of a job, the newest first.
    pub fn workflows_of(&self, job: JobId) -> impl Iterator<Item = WorkflowId> + '_ {
        let mut next = self.jobs.find(&job).map_or(NONE, |slot| self.jobs[slot].first);
        std::iter::from_fn(move || {
            (next != NONE).then(|| {
                let record = &self.workflows[next];
                next = record.next;
                record.id
            })
        })
    }

    /// Forgets a workflow. Returns whether it was known.
    pub fn remove(&mut self, workflow: WorkflowId) -> bool {
        let Some(slot) = self.workflows.find(&workflow) else { return false };
        let Workflow { job, state, previous, next, .. } = self.workflows[slot];
        match previous {
            NONE => self.jobs[job].first = next,
            previous => self.workflows[previous].next = next,
        }
        if next != NONE {
            self.workflows[next].previous = previous;
        }
        self.totals[state as usize] -= 1;
        let counts = &mut self.jobs[job].counts;
        counts.total -= 1;
        counts.completed -= u32::from(state.has_completed());
        counts.failed -= u32::from(state.has_failed());
        if counts.total == 0 {
            self.jobs.remove(job);
        }
        self.workflows[slot].history = VecDeque::new();
        self.workflows.remove(slot);
        true
    }

    /// Forgets all workflows of a job, when the job is over. Returns how many there were.
    pub fn remove_job(&mut self, job: JobId) -> usize {
        let mut count = 0;
        while let Some(slot) = self.jobs.find(&job) {
            let first = self.workflows[self.jobs[slot].first].id;
            count += usize::from(self.remove(first));
        }
        count
    }

    /// Workflows known.
    pub fn len(&self) -> usize {
        self.workflows.len()
    }

    /// Whether no workflow is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// As much of a text as is remembered, cut between two characters.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(REASON_SIZE_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use WorkflowState::*;

    const NOW: Instant = Instant::from_millis(500_000);
    const JOB: JobId = JobId::from_bytes([1; 16]);

    fn machine() -> WorkflowStateMachine {
        let config =
            JobsConfig { workflow_history: 4, workflow_capacity: 64, ..Default::default() };
        WorkflowStateMachine::new(&config, 1).unwrap()
    }

    fn id(number: u128) -> WorkflowId {
        WorkflowId::from(number)
    }

    fn walk(machine: &mut WorkflowStateMachine, workflow: u128, states: &[WorkflowState]) {
        machine.add(NOW, id(workflow), JOB).unwrap();
        for &state in states {
            machine.transition(NOW, id(workflow), state, "").unwrap();
        }
    }

    /// The table of AD-33, spelled out a second time.
    #[test]
    fn only_the_steps_of_the_diagram_are_legal() {
        let legal = [
            (Pending, Dispatched),
            (Pending, Cancelling),
            (Pending, Failed),
            (Dispatched, Running),
            (Dispatched, Cancelling),
            (Dispatched, Failed),
            (Running, Completed),
            (Running, Failed),
            (Running, Cancelling),
            (Running, Aggregated),
            (Failed, FailedCancelingDependents),
            (Failed, Cancelled),
            (FailedCancelingDependents, FailedReadyForRetry),
            (FailedReadyForRetry, Pending),
            (Cancelling, Cancelled),
        ];
        for from in WorkflowState::ALL {
            for to in WorkflowState::ALL {
                let is_legal = from.successors().contains(&to);
                assert_eq!(is_legal, legal.contains(&(from, to)), "{from:?} -> {to:?}");
            }
        }
        let terminal = WorkflowState::ALL.into_iter().filter(|state| state.is_terminal());
        assert!(terminal.eq([Completed, Cancelled, Aggregated]));
    }

    #[test]
    fn an_illegal_step_changes_nothing_and_says_why() {
        let mut machine = machine();
        walk(&mut machine, 1, &[Dispatched, Running, Cancelling]);
        while machine.poll_event().is_some() {}
        let error = machine.transition(NOW, id(1), Completed, "late answer").unwrap_err();
        assert_eq!(error.to_string(), "a workflow that is cancelling cannot become completed");
        assert_eq!(machine.state(id(1)), Some(Cancelling));
        assert_eq!(machine.history(id(1)).count(), 3);
        assert_eq!(machine.poll_event(), None);
        assert_eq!(machine.transition(NOW, id(2), Running, ""), Err(WorkflowError::Unknown(id(2))));
    }

    #[test]
    fn history_keeps_the_last_steps_and_cuts_long_reasons() {
        let mut machine = machine();
        walk(&mut machine, 1, &[Dispatched, Failed, FailedCancelingDependents]);
        let long = "ü".repeat(REASON_SIZE_MAX);
        machine.transition(NOW, id(1), FailedReadyForRetry, &long).unwrap();
        machine.transition(NOW, id(1), Pending, "retry").unwrap();
        let steps: Vec<_> = machine.history(id(1)).collect();
        assert_eq!(steps.len(), 4);
        assert_eq!((steps[0].from, steps[0].to), (Dispatched, Failed));
        assert_eq!(steps[2].reason.len(), REASON_SIZE_MAX);
        assert_eq!(&*steps[3].reason, "retry");
    }

    #[test]
    fn progress_is_told_with_the_counts_of_the_job() {
        let mut machine = machine();
        walk(&mut machine, 1, &[Dispatched, Running, Completed]);
        walk(&mut machine, 2, &[Dispatched, Failed]);
        walk(&mut machine, 3, &[]);
        let events: Vec<_> = std::iter::from_fn(|| machine.poll_event()).collect();
        assert_eq!(events.len(), 5);
        assert_eq!((events[2].from, events[2].to), (Running, Completed));
        assert_eq!(events[2].counts, WorkflowCounts { total: 1, completed: 1, failed: 0 });
        assert_eq!(machine.job_counts(JOB), WorkflowCounts { total: 3, completed: 1, failed: 1 });
        machine.transition(NOW, id(2), FailedCancelingDependents, "").unwrap();
        machine.transition(NOW, id(2), FailedReadyForRetry, "").unwrap();
        machine.transition(NOW, id(2), Pending, "").unwrap();
        assert_eq!(machine.job_counts(JOB).failed, 0, "it is tried again");
        assert!(machine.progress(NOW, id(3)) && !machine.progress(NOW, id(1)));
    }

    #[test]
    fn stuck_workflows_come_longest_first_and_never_include_ended_ones() {
        let mut machine = machine();
        for number in 0..6 {
            machine.add(NOW + Duration::from_secs(number), id(number.into()), JOB).unwrap();
        }
        let later = NOW + Duration::from_secs(120);
        machine.progress(later, id(1));
        machine.transition(later, id(2), Cancelling, "").unwrap();
        machine.transition(later, id(2), Cancelled, "").unwrap();
        let end = NOW + Duration::from_secs(124);
        let stuck: Vec<_> = machine.stuck_workflows(end, Duration::from_secs(120)).collect();
        let expected = [(0, 124), (3, 121), (4, 120)];
        let expected =
            expected.map(|(number, seconds)| (id(number), Pending, Duration::from_secs(seconds)));
        assert_eq!(stuck, expected);
        assert_eq!(machine.time_since_progress(end, id(1)), Some(Duration::from_secs(4)));
        assert_eq!(machine.time_since_progress(end, id(99)), None);
    }

    #[test]
    fn counts_by_state_survive_removal_and_nothing_is_left() {
        let mut machine = machine();
        walk(&mut machine, 1, &[Dispatched, Running]);
        walk(&mut machine, 2, &[Dispatched, Running, Aggregated]);
        walk(&mut machine, 3, &[Failed]);
        let other = JobId::from(2);
        assert_eq!(machine.add(NOW, id(1), other), Err(WorkflowError::OtherJob(JOB)));
        machine.add(NOW, id(4), other).unwrap();
        assert_eq!([Pending, Running, Failed].map(|state| machine.count(state)), [1, 1, 1]);
        assert!(machine.workflows_in(&[Running, Failed]).eq([id(1), id(3)]));
        assert!(machine.workflows_of(JOB).eq([id(3), id(2), id(1)]));
        assert!(machine.remove(id(2)) && !machine.remove(id(2)));
        assert_eq!(machine.job_counts(JOB), WorkflowCounts { total: 2, completed: 0, failed: 1 });
        assert_eq!((machine.remove_job(JOB), machine.remove_job(JOB)), (2, 0));
        assert_eq!(machine.remove_job(other), 1);
        assert!(WorkflowState::ALL.iter().all(|&state| machine.count(state) == 0));
        assert!(machine.workflows.is_empty() && machine.jobs.is_empty());
    }

    #[test]
    fn a_full_machine_refuses_and_a_full_queue_counts() {
        let config =
            JobsConfig { workflow_capacity: 1, workflow_event_capacity: 1, ..Default::default() };
        let mut machine = WorkflowStateMachine::new(&config, 1).unwrap();
        walk(&mut machine, 1, &[Dispatched, Running]);
        assert_eq!(machine.dropped_events(), 1);
        assert_eq!(machine.add(NOW, id(2), JOB), Err(WorkflowError::Full));
        assert!(!machine.add(NOW, id(1), JOB).unwrap(), "adding twice changes nothing");
    }
}
