//! Extensions: a worker that is busy but makes progress gets more time, each time less (AD-26).
//!
//! The n-th grant is `max(shortest, base / 2^n)`: 15, 7.5, 3.75, 1.875 and 1 s for a base of 30 s,
//! 29.125 s in all. From the second on, progress must have risen since the last grant. Grants add
//! up. When all are used the worker is warned beforehand and has a grace from its first refused
//! request on; after that it should be evicted.
//!
//! [`ExtensionNegotiation`] is the negotiation with one worker, usable alone. The tracker of jobs
//! keeps one for every pair of job and worker, so that a worker that is slow in one job is not
//! denied time in another.

use std::collections::VecDeque;

use super::config::{ExtensionConfig, millis};
use super::table::{Key, NONE, Record, Table};
use crate::id::{JobId, WorkerId};
use crate::random::Random;
use crate::time::{Duration, Instant};
use crate::timer::TimerWheel;

/// What a worker says about itself when it asks for more time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExtensionRequest {
    /// How much of its work is done, in any unit that rises; AD-26 uses 0 to 1.
    pub progress: f64,
    /// How many items are done, where the worker counts them. Two counts are compared in preference
    /// to two shares, which round near 1.
    pub completed_items: Option<u64>,
    /// Whether failure detection suspects the worker at the moment: then nothing is granted.
    pub is_suspect: bool,
}

impl ExtensionRequest {
    /// A request by a worker in good standing that counts no items.
    pub fn new(progress: f64) -> ExtensionRequest {
        ExtensionRequest { progress, completed_items: None, is_suspect: false }
    }
}

/// More time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionGrant {
    /// How much longer.
    pub duration: Duration,
    /// All grants of this negotiation together.
    pub total: Duration,
    /// Grants that remain.
    pub remaining: u8,
    /// Whether the worker should be warned, once, that time is running out: it should save its
    /// work.
    pub is_warning: bool,
}

/// No more time. Nothing was granted.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionDenial {
    /// All grants are used. The grace runs from the first such request.
    #[error("all extensions are used, the grace ends in {grace:?}")]
    Exhausted {
        /// What is left of the grace.
        grace: Duration,
    },
    /// No progress since the last grant.
    #[error("no progress since the last extension")]
    NoProgress,
    /// The worker is suspected to have failed.
    #[error("the worker is suspected to have failed")]
    Suspect,
    /// The progress is not a finite number.
    #[error("the progress is not a finite number")]
    NotANumber,
    /// The job is not tracked, or is over.
    #[error("the job is not tracked here")]
    UnknownJob,
    /// Extensions of as many workers are tracked as may be.
    #[error("no room for the extensions of another worker")]
    Full,
}

/// The negotiation with one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExtensionNegotiation {
    count: u8,
    is_warned: bool,
    progress: f64,
    completed_items: Option<u64>,
    total: Duration,
    exhausted_at: Option<Instant>,
}

impl ExtensionNegotiation {
    /// Decides about a request.
    ///
    /// # Errors
    /// Why nothing is granted.
    pub fn request(
        &mut self,
        now: Instant,
        request: &ExtensionRequest,
        config: &ExtensionConfig,
    ) -> Result<ExtensionGrant, ExtensionDenial> {
        if !request.progress.is_finite() {
            return Err(ExtensionDenial::NotANumber);
        }
        if request.is_suspect {
            return Err(ExtensionDenial::Suspect);
        }
        if self.count >= config.count_max {
            self.exhausted_at.get_or_insert(now);
            return Err(ExtensionDenial::Exhausted { grace: self.grace_remaining(now, config) });
        }
        if self.count > 0 && !self.has_progressed(request) {
            return Err(ExtensionDenial::NoProgress);
        }
        self.count += 1;
        self.progress = request.progress;
        self.completed_items = request.completed_items.or(self.completed_items);
        let shortest = millis(config.grant_min_ms);
        let duration = (millis(config.base_ms) / (1u32 << self.count.min(31))).max(shortest);
        self.total = self.total.saturating_add(duration);
        let remaining = config.count_max - self.count;
        let is_warning = remaining <= config.warning_count && !self.is_warned;
        self.is_warned |= is_warning;
        Ok(ExtensionGrant { duration, total: self.total, remaining, is_warning })
    }

    fn has_progressed(&self, request: &ExtensionRequest) -> bool {
        match (request.completed_items, self.completed_items) {
            (Some(items), Some(before)) => items > before,
            _ => request.progress > self.progress,
        }
    }

    /// Grants so far.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// All grants so far together: how much later the worker's deadline is than it was.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Whether the grace has begun: all grants are used and one more was asked for.
    pub fn is_in_grace(&self) -> bool {
        self.exhausted_at.is_some()
    }

    /// What is left of the grace; zero before it began and after it ended.
    pub fn grace_remaining(&self, now: Instant, config: &ExtensionConfig) -> Duration {
        self.evict_at(config).map_or(Duration::ZERO, |end| end - now)
    }

    /// When the grace ends, if it has begun.
    pub fn evict_at(&self, config: &ExtensionConfig) -> Option<Instant> {
        Some(self.exhausted_at? + millis(config.grace_ms))
    }

    /// Whether the worker has used its grants and its grace.
    pub fn should_evict(&self, now: Instant, config: &ExtensionConfig) -> bool {
        self.evict_at(config).is_some_and(|end| now >= end)
    }

    /// Begins anew, when the worker has finished what it was busy with or is well again.
    pub fn reset(&mut self) {
        *self = ExtensionNegotiation::default();
    }
}

#[derive(Debug)]
struct WorkerRecord {
    job: JobId,
    worker: WorkerId,
    negotiation: ExtensionNegotiation,
    /// The next worker of the same job.
    next: u32,
    is_queued: bool,
}

impl Key for (JobId, WorkerId) {
    fn words(&self) -> [u64; 2] {
        let ([job_low, job_high], [low, high]) =
            (self.0.as_bytes().words(), self.1.as_bytes().words());
        [job_low ^ low.rotate_left(32), job_high ^ high.rotate_left(32)]
    }
}

impl Record for WorkerRecord {
    type Key = (JobId, WorkerId);

    fn key(&self) -> (JobId, WorkerId) {
        (self.job, self.worker)
    }
}

/// The negotiations of all jobs. The job keeps the head of the list of its workers, and how many
/// there are.
#[derive(Debug)]
pub(super) struct Workers {
    config: ExtensionConfig,
    table: Table<WorkerRecord>,
    timers: TimerWheel,
    overdue: VecDeque<u32>,
}

/// The workers of one job.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerList {
    head: u32,
    pub count: u16,
}

impl Default for WorkerList {
    fn default() -> WorkerList {
        WorkerList { head: NONE, count: 0 }
    }
}

impl Workers {
    pub fn new(
        config: ExtensionConfig,
        capacity: u32,
        random: &mut Random,
        now: Instant,
    ) -> Workers {
        Workers {
            config,
            table: Table::new(capacity, random),
            timers: TimerWheel::new(now),
            overdue: VecDeque::new(),
        }
    }

    pub fn request(
        &mut self,
        now: Instant,
        list: &mut WorkerList,
        key: (JobId, WorkerId),
        request: &ExtensionRequest,
    ) -> Result<ExtensionGrant, ExtensionDenial> {
        let Some(slot) = self.table.find(&key) else {
            let mut negotiation = ExtensionNegotiation::default();
            let grant = negotiation.request(now, request, &self.config)?;
            self.insert(list, key, negotiation)?;
            return Ok(grant);
        };
        let record = &mut self.table[slot];
        let was_in_grace = record.negotiation.is_in_grace();
        let answer = record.negotiation.request(now, request, &self.config);
        if let Some(end) = record.negotiation.evict_at(&self.config)
            && !was_in_grace
        {
            self.timers.set(slot, end);
        }
        answer
    }

    fn insert(
        &mut self,
        list: &mut WorkerList,
        (job, worker): (JobId, WorkerId),
        negotiation: ExtensionNegotiation,
    ) -> Result<(), ExtensionDenial> {
        if list.count == u16::MAX {
            return Err(ExtensionDenial::Full);
        }
        let record = WorkerRecord { job, worker, negotiation, next: list.head, is_queued: false };
        list.head = self.table.insert(record).ok_or(ExtensionDenial::Full)?;
        list.count += 1;
        Ok(())
    }

    /// Lets the negotiation with a worker begin anew. Returns whether there was one.
    pub fn reset(&mut self, key: (JobId, WorkerId)) -> bool {
        let Some(slot) = self.table.find(&key) else { return false };
        self.timers.clear(slot);
        self.table[slot].negotiation.reset();
        true
    }

    /// Forgets a worker of a job. Returns whether it was known.
    pub fn remove(&mut self, list: &mut WorkerList, key: (JobId, WorkerId)) -> bool {
        let Some(slot) = self.table.find(&key) else { return false };
        let next = self.table[slot].next;
        if list.head == slot {
            list.head = next;
        } else {
            let mut before = list.head;
            while self.table[before].next != slot {
                before = self.table[before].next;
            }
            self.table[before].next = next;
        }
        list.count -= 1;
        self.forget(slot);
        true
    }

    /// Forgets all workers of a job.
    pub fn remove_all(&mut self, list: &mut WorkerList) {
        let mut slot = list.head;
        while slot != NONE {
            let next = self.table[slot].next;
            self.forget(slot);
            slot = next;
        }
        *list = WorkerList::default();
    }

    fn forget(&mut self, slot: u32) {
        self.timers.clear(slot);
        self.table.remove(slot);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(slot) = self.timers.expire(now) {
            let record = &mut self.table[slot];
            if !record.is_queued {
                record.is_queued = true;
                self.table.pin(slot);
                self.overdue.push_back(slot);
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// The next worker whose grace has ended and that is still in its job.
    pub fn poll_overdue(&mut self) -> Option<(JobId, WorkerId)> {
        while let Some(slot) = self.overdue.pop_front() {
            let record = &mut self.table[slot];
            record.is_queued = false;
            let key = (record.job, record.worker);
            // A worker that was reset in the meantime has time again.
            let is_overdue = record.negotiation.is_in_grace() && self.table.is_live(slot);
            self.table.unpin(slot);
            if is_overdue {
                return Some(key);
            }
        }
        None
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(50_000);
    const CONFIG: ExtensionConfig = ExtensionConfig {
        base_ms: 30_000,
        grant_min_ms: 1_000,
        count_max: 5,
        warning_count: 1,
        grace_ms: 10_000,
    };

    fn ask(negotiation: &mut ExtensionNegotiation, progress: f64) -> Option<f64> {
        let answer = negotiation.request(NOW, &ExtensionRequest::new(progress), &CONFIG);
        answer.ok().map(|grant| grant.duration.as_secs_f64())
    }

    #[test]
    fn grants_halve_down_to_the_shortest_and_end_after_five() {
        let mut negotiation = ExtensionNegotiation::default();
        let grants = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0].map(|progress| ask(&mut negotiation, progress));
        assert_eq!(grants, [Some(15.0), Some(7.5), Some(3.75), Some(1.875), Some(1.0), None]);
    }

    /// The Python detector gave the deadline the last grant only: 22.8, 37.8, 30.3, 26.5, 18.6 s.
    #[test]
    fn defect_f1_grants_add_up() {
        let mut negotiation = ExtensionNegotiation::default();
        let mut total = Duration::ZERO;
        for progress in [0.1, 0.2, 0.3, 0.4, 0.5] {
            let request = ExtensionRequest::new(progress);
            let grant = negotiation.request(NOW, &request, &CONFIG).unwrap();
            total += grant.duration;
            assert_eq!((grant.total, negotiation.total()), (total, total));
        }
        assert_eq!(total, Duration::from_millis(29_125));
        assert_eq!(ask(&mut negotiation, 0.9), None);
        assert_eq!(negotiation.total(), total, "a refusal takes nothing back");
    }

    #[test]
    fn progress_must_rise_and_counted_items_decide() {
        let mut negotiation = ExtensionNegotiation::default();
        let mut with_items = |progress, items| {
            let completed_items = Some(items);
            let request = ExtensionRequest { progress, completed_items, is_suspect: false };
            negotiation.request(NOW, &request, &CONFIG).map(|grant| grant.remaining)
        };
        assert_eq!(with_items(0.5, 10), Ok(4));
        assert_eq!(with_items(0.9, 10), Err(ExtensionDenial::NoProgress));
        assert_eq!(with_items(0.5, 11), Ok(3));
        assert_eq!(ask(&mut negotiation, 0.5), None);
        assert_eq!(ask(&mut negotiation, f64::NAN), None);
        let suspect = ExtensionRequest { is_suspect: true, ..ExtensionRequest::new(0.9) };
        let answer = negotiation.request(NOW, &suspect, &CONFIG);
        assert_eq!(answer, Err(ExtensionDenial::Suspect));
    }

    #[test]
    fn a_warning_a_grace_and_then_eviction() {
        let mut negotiation = ExtensionNegotiation::default();
        let warnings = [0.1, 0.2, 0.3, 0.4, 0.5].map(|progress| {
            let request = ExtensionRequest::new(progress);
            negotiation.request(NOW, &request, &CONFIG).unwrap().is_warning
        });
        assert_eq!(warnings, [false, false, false, true, false]);
        assert!(!negotiation.is_in_grace());
        assert_eq!(ask(&mut negotiation, 0.6), None);
        let end = NOW + Duration::from_secs(10);
        let before = Instant::from_nanos(end.as_nanos() - 1);
        assert!(!negotiation.should_evict(before, &CONFIG));
        assert!(negotiation.should_evict(end, &CONFIG));
        assert_eq!(negotiation.grace_remaining(end, &CONFIG), Duration::ZERO);
        negotiation.reset();
        assert!(!negotiation.should_evict(end, &CONFIG));
        assert_eq!(ask(&mut negotiation, 0.0), Some(15.0));
    }

    fn exhaust(workers: &mut Workers, list: &mut WorkerList, key: (JobId, WorkerId)) {
        for step in 0..6 {
            let request = ExtensionRequest::new(f64::from(step));
            let _ = workers.request(NOW, list, key, &request);
        }
    }

    #[test]
    fn overdue_workers_are_told_once_unless_they_recover_or_leave() {
        let mut workers = Workers::new(CONFIG, 8, &mut Random::new(1), NOW);
        let mut list = WorkerList::default();
        let keys = [1, 2, 3].map(|number| (JobId::from(9), WorkerId::from(number)));
        keys.into_iter().for_each(|key| exhaust(&mut workers, &mut list, key));
        assert_eq!((list.count, workers.len()), (3, 3));
        assert!(workers.reset(keys[1]));
        let end = NOW + Duration::from_secs(10);
        workers.handle_timeout(Instant::from_nanos(end.as_nanos() - 1));
        assert_eq!(workers.poll_overdue(), None);
        workers.handle_timeout(end);
        assert!(workers.remove(&mut list, keys[2]));
        assert_eq!(workers.poll_overdue(), Some(keys[0]));
        assert_eq!(workers.poll_overdue(), None);
        workers.remove_all(&mut list);
        assert!(workers.table.is_empty());
        assert_eq!(workers.next_deadline(), None);
    }

    #[test]
    fn a_full_table_denies_newcomers_only() {
        let mut workers = Workers::new(CONFIG, 1, &mut Random::new(1), NOW);
        let mut list = WorkerList::default();
        let request = ExtensionRequest::new(0.5);
        let first = (JobId::from(1), WorkerId::from(1));
        assert!(workers.request(NOW, &mut list, first, &request).is_ok());
        let other = (JobId::from(1), WorkerId::from(2));
        let answer = workers.request(NOW, &mut list, other, &request);
        assert_eq!(answer, Err(ExtensionDenial::Full));
        let again = ExtensionRequest::new(0.6);
        assert!(workers.request(NOW, &mut list, first, &again).is_ok());
    }
}
