//! The rules by which a gate times out a job in all its datacenters (AD-34, part 5).
//!
//! A gate knows of each datacenter what its manager reports. It declares the global timeout when
//!
//! 1. as many datacenters have timed out as the rule asks for: any one, or the majority. Whatever
//!    the rule, it is enough when no datacenter is left that works; or
//! 2. the timeout and the largest extension of any datacenter have passed, with a grace in which
//!    the managers may say so themselves; or
//! 3. every datacenter that has not finished makes no progress.
//!
//! A gate that knows a job from reports alone believes less: a report may have been under way for
//! long, and the job may be over. It goes by the job's deadline only when a datacenter has reported
//! more than once, and takes a silent datacenter for one that the job has left; managers that it does
//! not hear decide by themselves in that time, and introduce the job again when they are back. So
//! does one that is told of another gate by any manager: that gate may know of more progress and of
//! more extensions, and leaves the others no reason to report here. What a gate is still told it acts
//! on, a little later.
//!
//! Whether a datacenter progresses is what it says of itself. A report is a sign of life, not of
//! progress; and silence, which a broken link explains as well, counts as no progress only after
//! longer.

use super::config::{JobsConfig, TimeoutRule, millis};
use super::moment::Moment;
use super::table::{NONE, Pool, Record};
use super::timeout::{FenceToken, JobOutcome, TimeoutReason};
use crate::id::JobId;
use crate::node::Address;
use crate::time::Instant;

/// How a job stands in one datacenter, as a gate knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatacenterStatus {
    /// It runs.
    Running,
    /// Its manager says that it is over time, and waits for the gate.
    Overdue(TimeoutReason),
    /// It is over.
    Ended(JobOutcome),
    /// The manager that led it does not know it any more, and no other has come forward.
    Lost,
}

impl DatacenterStatus {
    /// Whether nothing is left to time out there.
    pub const fn is_finished(self) -> bool {
        matches!(self, DatacenterStatus::Ended(_) | DatacenterStatus::Lost)
    }

    fn has_timed_out(self) -> bool {
        use DatacenterStatus::*;
        matches!(self, Overdue(_) | Ended(JobOutcome::TimedOut))
    }
}

/// A global timeout waits in the queue of messages.
pub(super) const SITE_QUEUED: u8 = 1;
/// The host is to learn that this datacenter refused the global timeout.
pub(super) const SITE_CORRECTED: u8 = 1 << 1;
/// More than one report has come from there.
pub(super) const SITE_CONFIRMED: u8 = 1 << 2;
/// The manager there reports to another gate.
pub(super) const SITE_MOVED: u8 = 1 << 3;

/// A job in one datacenter.
#[derive(Debug)]
pub(super) struct Site {
    /// The leadership that reported last.
    pub fence: FenceToken,
    pub progressed_at: Moment,
    pub heard_at: Instant,
    /// When to repeat the global timeout.
    pub due_at: Instant,
    pub extension_total: u64,
    /// The manager that leads the job there, unspecified when none is known.
    pub leader: Address,
    /// The number of the last report under that leadership.
    pub sequence: u32,
    /// The slot of the job.
    pub job: u32,
    /// The next datacenter of the same job.
    pub next: u32,
    pub datacenter: u16,
    pub status: DatacenterStatus,
    /// How often the global timeout was sent, 255 standing for any number above.
    pub attempts: u8,
    pub flags: u8,
}

const _: () = assert!(size_of::<Site>() <= 80);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GatePhase {
    /// Nothing is decided.
    Tracking,
    /// Timed out; datacenters are being told.
    Decided,
    /// Nothing is left to do but to recognise late reports.
    Over,
}

pub(super) const EVENT_QUEUED: u8 = 1;
pub(super) const TELL_GLOBAL_TIMEOUT: u8 = 1 << 1;
/// The gate learned of the job from a report, so there may be datacenters it has not heard from.
pub(super) const ADOPTED: u8 = 1 << 2;
/// The global timeout was declared, even if the job is over by now.
pub(super) const DECIDED: u8 = 1 << 3;
/// The host wants to hear no more of the job.
pub(super) const STOPPED: u8 = 1 << 4;

/// A job in all its datacenters.
#[derive(Debug)]
pub(super) struct GateJob {
    pub id: JobId,
    pub started_at: Moment,
    pub timeout: u64,
    /// When the job entered its phase.
    pub changed_at: Instant,
    pub first_site: u32,
    pub site_count: u16,
    /// Datacenters that the job is said to run in, those included that have not been heard from.
    pub expected_count: u16,
    pub phase: GatePhase,
    /// Why it was timed out, when it was.
    pub reason: TimeoutReason,
    pub flags: u8,
}

const _: () = assert!(size_of::<GateJob>() <= 56);

impl Record for GateJob {
    type Key = JobId;

    fn key(&self) -> JobId {
        self.id
    }
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    total: u32,
    pub unfinished: u32,
    timed_out: u32,
    /// Unfinished, and over time by their own account.
    overdue: u32,
    /// Unfinished, and over time, stuck or silent.
    inert: u32,
    /// Gone to another gate lately.
    moved: u32,
    extension_max: u64,
    /// When the last of the others will count as silent, unless it is heard from.
    silent_at: Instant,
    /// Whether the job is known by more than a single report.
    is_certain: bool,
}

impl Tally {
    pub fn of(job: &GateJob, sites: &Pool<Site>, config: &JobsConfig, now: Instant) -> Tally {
        let silent_after = millis(config.gate_silent_after_ms);
        let mut tally = Tally {
            total: u32::from(job.site_count.max(job.expected_count)),
            unfinished: 0,
            timed_out: 0,
            overdue: 0,
            inert: 0,
            moved: 0,
            extension_max: 0,
            silent_at: Instant::ZERO,
            is_certain: job.flags & ADOPTED == 0,
        };
        // Datacenters that have not introduced themselves to a new gate within that time have no
        // manager left, or finished before.
        let unheard = u32::from(job.expected_count.saturating_sub(job.site_count));
        let introduced_by = job.changed_at + silent_after;
        if unheard > 0 && now < introduced_by {
            tally.unfinished = unheard;
            tally.silent_at = introduced_by;
        }
        for (_, site) in walk(job, sites) {
            tally.extension_max = tally.extension_max.max(site.extension_total);
            tally.timed_out += u32::from(site.status.has_timed_out());
            let silent_at = site.heard_at + silent_after;
            if site.status.is_finished() {
                // It works, as far as can be known, and the other gate knows more.
                if site.flags & SITE_MOVED != 0 && now < silent_at {
                    tally.moved += 1;
                    tally.unfinished += 1;
                    tally.silent_at = tally.silent_at.max(silent_at);
                }
                continue;
            }
            if job.flags & ADOPTED != 0 && now >= silent_at {
                continue;
            }
            tally.unfinished += 1;
            tally.is_certain |= site.flags & SITE_CONFIRMED != 0;
            let is_overdue = site.status.has_timed_out();
            tally.overdue += u32::from(is_overdue);
            let stuck_at = site.progressed_at.after(millis(config.gate_stuck_after_ms));
            if is_overdue || site.heard_at >= stuck_at || now >= silent_at {
                tally.inert += 1;
            } else {
                tally.silent_at = tally.silent_at.max(silent_at);
            }
        }
        tally
    }

    /// When the gate declares the timeout on its own account. A gate that has just taken the job
    /// over leaves the datacenters the same grace to tell it of their extensions.
    pub fn deadline(&self, job: &GateJob, config: &JobsConfig) -> Instant {
        if !self.is_certain || self.moved > 0 {
            return Instant::MAX;
        }
        let allowed = job.timeout.saturating_add(self.extension_max);
        let passed_at = job.started_at.after_nanos(allowed).max(job.changed_at);
        passed_at + millis(config.gate_deadline_grace_ms)
    }

    /// When the rules should be looked at again, should nothing be heard until then.
    pub fn review_at(&self, job: &GateJob, config: &JobsConfig) -> Instant {
        self.deadline(job, config).min(self.silent_at)
    }

    /// Whether and why the job is to be timed out now.
    pub fn ruling(
        &self,
        job: &GateJob,
        config: &JobsConfig,
        now: Instant,
    ) -> Option<TimeoutReason> {
        let is_agreed = match config.gate_rule {
            TimeoutRule::Any => true,
            TimeoutRule::Majority => {
                let none_left = self.unfinished > 0 && self.overdue == self.unfinished;
                2 * self.timed_out > self.total || none_left
            }
        };
        if self.timed_out > 0 && is_agreed {
            Some(TimeoutReason::DatacentersTimedOut)
        } else if self.unfinished == 0 {
            None
        } else if now >= self.deadline(job, config) {
            Some(TimeoutReason::GlobalDeadline)
        } else if self.inert == self.unfinished {
            Some(TimeoutReason::AllStuck)
        } else {
            None
        }
    }
}

/// The datacenters of a job, with their slots.
pub(super) fn walk<'a>(
    job: &GateJob,
    sites: &'a Pool<Site>,
) -> impl Iterator<Item = (u32, &'a Site)> + use<'a> {
    let mut next = job.first_site;
    std::iter::from_fn(move || {
        let slot = next;
        (slot != NONE).then(|| {
            let site = &sites[slot];
            next = site.next;
            (slot, site)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const START: Instant = Instant::from_millis(1_000_000);

    struct Case {
        config: JobsConfig,
        job: GateJob,
        sites: Pool<Site>,
    }

    fn after(seconds: u64) -> Instant {
        START + Duration::from_secs(seconds)
    }

    fn case(rule: TimeoutRule, statuses: &[DatacenterStatus]) -> Case {
        let config = JobsConfig { gate_rule: rule, ..JobsConfig::default() };
        let mut sites = Pool::new(100);
        let mut first_site = NONE;
        for (number, &status) in statuses.iter().enumerate() {
            let site = Site {
                fence: FenceToken(1),
                progressed_at: Moment::at(START),
                heard_at: START,
                due_at: START,
                extension_total: 0,
                leader: Address::UNSPECIFIED,
                sequence: 0,
                job: 0,
                next: first_site,
                datacenter: number as u16,
                status,
                attempts: 0,
                flags: 0,
            };
            first_site = sites.insert(site).unwrap();
        }
        let job = GateJob {
            id: JobId::from(1),
            started_at: Moment::at(START),
            timeout: 3_600_000_000_000,
            changed_at: START,
            first_site,
            site_count: statuses.len() as u16,
            expected_count: statuses.len() as u16,
            phase: GatePhase::Tracking,
            reason: TimeoutReason::GlobalDeadline,
            flags: 0,
        };
        Case { config, job, sites }
    }

    impl Case {
        fn ruling(&self, seconds: u64) -> Option<TimeoutReason> {
            let now = after(seconds);
            let tally = Tally::of(&self.job, &self.sites, &self.config, now);
            tally.ruling(&self.job, &self.config, now)
        }
    }

    const RUNNING: DatacenterStatus = DatacenterStatus::Running;
    const OVERDUE: DatacenterStatus = DatacenterStatus::Overdue(TimeoutReason::Stuck);
    const COMPLETED: DatacenterStatus = DatacenterStatus::Ended(JobOutcome::Completed);
    const TIMED_OUT: DatacenterStatus = DatacenterStatus::Ended(JobOutcome::TimedOut);
    const AGREED: Option<TimeoutReason> = Some(TimeoutReason::DatacentersTimedOut);

    #[test]
    fn any_datacenter_is_enough_under_the_rule_any() {
        assert_eq!(case(TimeoutRule::Any, &[RUNNING, RUNNING, OVERDUE]).ruling(1), AGREED);
        assert_eq!(case(TimeoutRule::Any, &[RUNNING, TIMED_OUT]).ruling(1), AGREED);
        assert_eq!(case(TimeoutRule::Any, &[RUNNING, COMPLETED]).ruling(1), None);
    }

    #[test]
    fn a_majority_is_more_than_half_or_all_that_are_left() {
        let ruling =
            |statuses: &[DatacenterStatus]| case(TimeoutRule::Majority, statuses).ruling(1);
        assert_eq!(ruling(&[OVERDUE, RUNNING, RUNNING]), None);
        assert_eq!(ruling(&[OVERDUE, RUNNING]), None, "half is no majority");
        assert_eq!(ruling(&[OVERDUE, OVERDUE, RUNNING]), AGREED);
        assert_eq!(ruling(&[OVERDUE, COMPLETED, COMPLETED]), AGREED, "no other is left");
        assert_eq!(ruling(&[OVERDUE]), AGREED, "a job in one datacenter");
        assert_eq!(ruling(&[TIMED_OUT, COMPLETED, COMPLETED]), None, "it is over anyway");
    }

    #[test]
    fn the_deadline_counts_the_largest_extension_and_the_grace() {
        let mut case = case(TimeoutRule::Any, &[RUNNING, COMPLETED]);
        // Heard from and progressing all the time, so only the deadline counts.
        let slots: Vec<u32> = walk(&case.job, &case.sites).map(|(slot, _)| slot).collect();
        for (&slot, extension) in slots.iter().zip([20, 50]) {
            case.sites[slot].heard_at = after(10_000);
            case.sites[slot].progressed_at = Moment::at(after(10_000));
            case.sites[slot].extension_total = extension * 1_000_000_000;
        }
        assert_eq!(case.ruling(3_600 + 50 + 14), None);
        assert_eq!(case.ruling(3_600 + 50 + 15), Some(TimeoutReason::GlobalDeadline));
    }

    #[test]
    fn reported_standstill_counts_sooner_than_silence() {
        let mut case = case(TimeoutRule::Any, &[RUNNING, RUNNING]);
        assert_eq!(case.ruling(299), None, "silent, but not for long enough");
        assert_eq!(case.ruling(300), Some(TimeoutReason::AllStuck));
        let slots: Vec<u32> = walk(&case.job, &case.sites).map(|(slot, _)| slot).collect();
        case.sites[slots[0]].heard_at = after(180);
        case.sites[slots[1]].heard_at = after(180);
        assert_eq!(case.ruling(181), Some(TimeoutReason::AllStuck), "both say so themselves");
        case.sites[slots[1]].progressed_at = Moment::at(after(1));
        assert_eq!(case.ruling(181), None, "one of them still worked");
    }

    #[test]
    fn unheard_datacenters_count_as_working_until_they_are_silent() {
        let mut case = case(TimeoutRule::Majority, &[OVERDUE]);
        case.job.expected_count = 3;
        assert_eq!(case.ruling(1), None, "two more may work");
        assert_eq!(case.ruling(300), AGREED, "they have not come forward");
        let mut finished = self::case(TimeoutRule::Any, &[COMPLETED]);
        finished.job.expected_count = 2;
        let unfinished = |case: &Case, seconds| {
            Tally::of(&case.job, &case.sites, &case.config, after(seconds)).unfinished
        };
        assert_eq!((unfinished(&finished, 299), unfinished(&finished, 300)), (1, 0));
    }
}
