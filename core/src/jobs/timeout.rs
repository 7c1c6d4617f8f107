//! The words and the rules of timeouts (AD-34): reasons, outcomes, fences, the deadline of a job.
//!
//! A job is over time when its timeout and all extensions of its workers have passed, and stuck
//! when it has made no progress for a while; an extension counts as progress. Both are derived from
//! the job's state whenever they are asked for, so progress or an extension takes a verdict back by
//! itself, and the timer that reminds the tracker may be late or early without harm.

use crate::node::{Address, DatacenterName};
use crate::time::{Duration, Instant};

use super::config::TIMEOUT_MAX;
use super::moment::{Moment, nanos};
use crate::id::{JobId, WorkerId};

/// Which leadership of a job in its datacenter something comes from. Every new leader has a higher
/// one, so that news from, or decisions about, an earlier leader are recognised as stale (AD-34,
/// part 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceToken(pub u64);

impl FenceToken {
    /// The fence of the next leader.
    pub const fn next(self) -> FenceToken {
        FenceToken(self.0.saturating_add(1))
    }
}

/// Why a job timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TimeoutReason {
    /// Timeout and extensions have passed in this datacenter.
    Deadline = 1,
    /// No progress and no extension for too long in this datacenter.
    Stuck = 2,
    /// One of the two, and the gate that should decide has been silent for too long.
    GateSilent = 3,
    /// A gate saw the job's timeout and the largest extension of any datacenter pass.
    GlobalDeadline = 4,
    /// A gate saw no progress in any datacenter that had not finished.
    AllStuck = 5,
    /// A gate learned of timeouts in as many datacenters as its rule asks for.
    DatacentersTimedOut = 6,
}

impl TimeoutReason {
    /// Every reason, in wire order.
    pub const ALL: [TimeoutReason; 6] = [
        TimeoutReason::Deadline,
        TimeoutReason::Stuck,
        TimeoutReason::GateSilent,
        TimeoutReason::GlobalDeadline,
        TimeoutReason::AllStuck,
        TimeoutReason::DatacentersTimedOut,
    ];

    /// The snake-case name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            TimeoutReason::Deadline => "deadline",
            TimeoutReason::Stuck => "stuck",
            TimeoutReason::GateSilent => "gate_silent",
            TimeoutReason::GlobalDeadline => "global_deadline",
            TimeoutReason::AllStuck => "all_stuck",
            TimeoutReason::DatacentersTimedOut => "datacenters_timed_out",
        }
    }

    /// Whether a gate decided so for all datacenters.
    pub const fn is_global(self) -> bool {
        matches!(
            self,
            TimeoutReason::GlobalDeadline
                | TimeoutReason::AllStuck
                | TimeoutReason::DatacentersTimedOut
        )
    }

    /// The reason with this wire number.
    pub fn from_wire(number: u8) -> Option<TimeoutReason> {
        TimeoutReason::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum JobOutcome {
    /// All its workflows did what they should.
    Completed = 1,
    /// It could not be done.
    Failed = 2,
    /// A user called it off.
    Cancelled = 3,
    /// It took too long.
    TimedOut = 4,
}

impl JobOutcome {
    /// Every outcome, in wire order.
    pub const ALL: [JobOutcome; 4] =
        [JobOutcome::Completed, JobOutcome::Failed, JobOutcome::Cancelled, JobOutcome::TimedOut];

    /// The snake-case name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            JobOutcome::Completed => "completed",
            JobOutcome::Failed => "failed",
            JobOutcome::Cancelled => "cancelled",
            JobOutcome::TimedOut => "timed_out",
        }
    }

    /// The outcome with this wire number.
    pub fn from_wire(number: u8) -> Option<JobOutcome> {
        JobOutcome::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// How many workflows a job has in one datacenter, and how many of them are done. Shown to people
/// and gates; no rule rests on it, because a job of which nothing is known yet (0 of 0) has not
/// finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkflowCounts {
    /// All of them.
    pub total: u32,
    /// Those that ended well.
    pub completed: u32,
    /// Those that ended badly.
    pub failed: u32,
}

/// Something the host should act on or may want to know.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum JobEvent {
    /// On a manager: the job timed out in this datacenter, so it is to be cancelled there. Told
    /// once per job.
    TimedOut {
        /// The job.
        job: JobId,
        /// Why.
        reason: TimeoutReason,
        /// How long it had been running.
        elapsed: Duration,
        /// The leadership under which this was found.
        fence: FenceToken,
        /// When.
        at: Instant,
    },
    /// On a manager: the job makes no progress. Without a gate [`JobEvent::TimedOut`] follows; with
    /// one the gate has been told. Told once for each time it gets stuck.
    Stuck {
        /// The job.
        job: JobId,
        /// How long it has made none.
        since_progress: Duration,
        /// The leadership under which this was found.
        fence: FenceToken,
        /// When this was found.
        at: Instant,
    },
    /// On a manager: another manager leads the job under a higher fence, so it is no longer tracked
    /// here.
    Superseded {
        /// The job.
        job: JobId,
        /// The leadership that this manager had.
        fence: FenceToken,
    },
    /// On a manager: a worker has had all its extensions and the grace after them (AD-26). It
    /// should be taken off the job.
    WorkerOverdue {
        /// The job.
        job: JobId,
        /// The worker.
        worker: WorkerId,
    },
    /// On a gate: the job timed out in all datacenters, which are being told. Told once per job.
    GlobalTimeout {
        /// The job.
        job: JobId,
        /// Why.
        reason: TimeoutReason,
        /// How long it had been running.
        elapsed: Duration,
        /// When.
        at: Instant,
    },
    /// On a gate: a datacenter refused the global timeout, because it had finished or has a new
    /// leader. In the second case the new leader is told at once.
    StatusCorrection {
        /// The job.
        job: JobId,
        /// The datacenter.
        datacenter: DatacenterName,
        /// How the job ended there; `None` when it still runs, under this fence.
        outcome: Option<JobOutcome>,
        /// The leadership that corrected.
        fence: FenceToken,
    },
}

/// A call that a tracker refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// As many jobs are tracked as may be.
    #[error("no room for another job; raise the job capacity")]
    Full,
    /// The jobs of a manager report to as many gates as may be.
    #[error("no room for another gate, jobs may report to 64 at a time")]
    GateCount,
    /// Reports cannot be sent there.
    #[error("cannot report to {address}: a gate needs a definite address with a port")]
    GateAddress {
        /// The address as given.
        address: Address,
    },
    /// A timeout nobody can mean.
    #[error("a timeout of {timeout:?}, expected 1 ms to 365 days")]
    Timeout {
        /// The timeout as given.
        timeout: Duration,
    },
    /// No datacenter, or more than a job may run in.
    #[error("{count} datacenters, expected 1 to 4096")]
    DatacenterCount {
        /// How many there were.
        count: usize,
    },
}

/// Checks a timeout that a host gave.
pub(super) fn check_timeout(timeout: Duration) -> Result<u64, JobError> {
    if timeout < Duration::from_millis(1) || timeout > TIMEOUT_MAX {
        return Err(JobError::Timeout { timeout });
    }
    Ok(nanos(timeout))
}

/// The clock of one job in one datacenter.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobClock {
    pub started_at: Moment,
    /// Last progress or extension.
    pub progressed_at: Moment,
    timeout: u64,
    extension_total: u64,
}

impl JobClock {
    pub fn new(started_at: Moment, progressed_at: Moment, timeout: u64) -> JobClock {
        JobClock { started_at, progressed_at, timeout, extension_total: 0 }
    }

    /// Grants add up: each moves the deadline further, and none is ever taken back.
    pub fn extend(&mut self, grant: Duration) {
        self.extension_total = self.extension_total.saturating_add(nanos(grant));
    }

    /// Takes over what another host knows of extensions, which may be older or newer than what is
    /// known here.
    pub fn extend_to(&mut self, total: Duration) {
        self.extension_total = self.extension_total.max(nanos(total));
    }

    pub fn progress(&mut self, now: Instant) {
        self.progressed_at = self.progressed_at.max(Moment::at(now));
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_nanos(self.timeout)
    }

    pub fn extension_total(&self) -> Duration {
        Duration::from_nanos(self.extension_total)
    }

    pub fn deadline(&self) -> Instant {
        self.started_at.after_nanos(self.timeout.saturating_add(self.extension_total))
    }

    pub fn stuck_at(&self, stuck_after: Duration) -> Instant {
        self.progressed_at.after(stuck_after)
    }

    /// Whether and why the job is over time now.
    pub fn verdict(&self, now: Instant, stuck_after: Duration) -> Option<TimeoutReason> {
        if now >= self.deadline() {
            Some(TimeoutReason::Deadline)
        } else if now >= self.stuck_at(stuck_after) {
            Some(TimeoutReason::Stuck)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_millis(1_000_000);
    const STUCK: Duration = Duration::from_secs(120);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn clock(timeout: u64) -> JobClock {
        let start = Moment::at(START);
        JobClock::new(start, start, nanos(seconds(timeout)))
    }

    #[test]
    fn the_deadline_counts_every_extension() {
        let mut clock = clock(60);
        for (grant, deadline) in [(15_000, 75_000), (7_500, 82_500), (3_750, 86_250)] {
            clock.extend(Duration::from_millis(grant));
            assert_eq!(clock.deadline(), START + Duration::from_millis(deadline));
        }
        clock.extend_to(seconds(1));
        assert_eq!(clock.extension_total(), Duration::from_millis(26_250), "never taken back");
        let deadline = clock.deadline();
        let before = Instant::from_nanos(deadline.as_nanos() - 1);
        assert_eq!(clock.verdict(before, STUCK), None);
        assert_eq!(clock.verdict(deadline, STUCK), Some(TimeoutReason::Deadline));
    }

    #[test]
    fn progress_takes_a_stuck_verdict_back() {
        let mut clock = clock(3_600);
        let stuck_at = START + STUCK;
        assert_eq!(clock.verdict(stuck_at, STUCK), Some(TimeoutReason::Stuck));
        clock.progress(stuck_at);
        assert_eq!(clock.verdict(stuck_at, STUCK), None);
        clock.progress(START);
        assert_eq!(
            clock.stuck_at(STUCK),
            stuck_at + STUCK,
            "late news of old progress changes nothing"
        );
    }

    #[test]
    fn absurd_extensions_and_timeouts_do_not_wrap() {
        let mut clock = clock(1);
        clock.extend(Duration::MAX);
        clock.extend(Duration::MAX);
        assert!(clock.deadline() > START + TIMEOUT_MAX);
        assert!(check_timeout(Duration::ZERO).is_err());
        assert!(check_timeout(TIMEOUT_MAX + seconds(1)).is_err());
        assert_eq!(check_timeout(seconds(1)), Ok(1_000_000_000));
    }

    #[test]
    fn names_and_wire_numbers_are_one_to_one() {
        for reason in TimeoutReason::ALL {
            assert_eq!(TimeoutReason::from_wire(reason as u8), Some(reason));
        }
        for outcome in JobOutcome::ALL {
            assert_eq!(JobOutcome::from_wire(outcome as u8), Some(outcome));
        }
        assert_eq!((TimeoutReason::from_wire(0), TimeoutReason::from_wire(7)), (None, None));
        assert_eq!((JobOutcome::from_wire(0), JobOutcome::from_wire(5)), (None, None));
    }
}
