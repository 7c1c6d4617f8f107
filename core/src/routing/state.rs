//! What the router remembers of each job, in a table of fixed size.
//!
//! A job's record holds its tenure (the primary and how it does), the datacenters that failed it
//! lately, and where it was sent. Records are 256 bytes in one flat array with an index by job; a
//! list threaded through them keeps the order of last use. When the table is full the job that was
//! used longest ago makes room; a job unused for its time to live is forgotten. Forgetting costs
//! stickiness, never correctness: the next decision for that job is a first one.

use hashbrown::HashTable;

use super::candidate::DatacenterId;
use super::hysteresis::Tenure;
use crate::id::JobId;
use crate::node::Address;
use crate::random::Random;
use crate::time::{Duration, Instant};

/// Failed datacenters remembered per job. When one more fails, the cooldown that ends first is
/// dropped.
pub const COOLDOWN_COUNT_MAX: usize = 5;
/// Datacenters remembered per job as having received it. When it is sent to one more, the longest
/// ago makes room.
pub const PLACEMENT_COUNT_MAX: usize = 4;

const NO_SLOT: u32 = u32::MAX;

/// Where a job was sent.
#[derive(Clone, Copy, Debug)]
struct Placement {
    // `Instant::MAX` when no completion is awaited, `Address::UNSPECIFIED` when no manager accepted
    // yet: options would cost a quarter more per job.
    dispatched_at: Instant,
    manager: Address,
    datacenter: Option<DatacenterId>,
}

const NO_PLACEMENT: Placement =
    Placement { dispatched_at: Instant::MAX, manager: Address::UNSPECIFIED, datacenter: None };

/// What the router remembers of one job.
#[derive(Clone, Debug)]
pub struct JobState {
    job: JobId,
    tenure: Tenure,
    used_at: Instant,
    cooldown_until: [Instant; COOLDOWN_COUNT_MAX],
    cooldown_of: [Option<DatacenterId>; COOLDOWN_COUNT_MAX],
    placements: [Placement; PLACEMENT_COUNT_MAX],
    // Neighbours in the order of last use. A free record uses `older` for the list of free ones.
    newer: u32,
    older: u32,
}

// A hundred thousand jobs have to fit into 32 MB with their index.
const _: () = assert!(size_of::<JobState>() <= 256);

impl JobState {
    fn new(job: JobId, now: Instant) -> JobState {
        JobState {
            job,
            tenure: Tenure::default(),
            used_at: now,
            cooldown_until: [Instant::ZERO; COOLDOWN_COUNT_MAX],
            cooldown_of: [None; COOLDOWN_COUNT_MAX],
            placements: [NO_PLACEMENT; PLACEMENT_COUNT_MAX],
            newer: NO_SLOT,
            older: NO_SLOT,
        }
    }

    /// The job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Its hold on its primary.
    pub fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    pub(super) fn tenure_mut(&mut self) -> &mut Tenure {
        &mut self.tenure
    }

    /// When it was last routed, or anything was recorded of it.
    pub fn used_at(&self) -> Instant {
        self.used_at
    }

    /// The datacenters that count as having failed it at `now`.
    pub fn cooling(&self, now: Instant) -> impl Iterator<Item = DatacenterId> + '_ {
        let pairs = self.cooldown_of.iter().zip(&self.cooldown_until);
        pairs.filter(move |(_, until)| now < **until).filter_map(|(datacenter, _)| *datacenter)
    }

    /// The manager that accepted the job in this datacenter.
    pub fn manager(&self, datacenter: DatacenterId) -> Option<Address> {
        let placement = self.placements.iter().find(|p| p.datacenter == Some(datacenter))?;
        (placement.manager != Address::UNSPECIFIED).then_some(placement.manager)
    }

    /// Notes a failure. Returns whether another cooldown that still ran was dropped for it.
    pub(super) fn cool_down(
        &mut self,
        now: Instant,
        datacenter: DatacenterId,
        until: Instant,
    ) -> bool {
        let same = self.cooldown_of.iter().position(|of| *of == Some(datacenter));
        let place = same.unwrap_or_else(|| first_to_end(&self.cooldown_until));
        let dropped = same.is_none() && now < self.cooldown_until[place];
        self.cooldown_of[place] = Some(datacenter);
        self.cooldown_until[place] = until;
        // It failed there, so nothing is awaited and nobody accepted.
        if let Some(placement) = self.placement_mut(datacenter) {
            *placement = NO_PLACEMENT;
        }
        dropped
    }

    /// Notes that the job was sent. Returns whether an older placement was dropped for it.
    pub(super) fn dispatch(&mut self, now: Instant, datacenter: DatacenterId) -> bool {
        let (placement, dropped) = self.place(datacenter);
        placement.dispatched_at = now;
        dropped
    }

    /// Notes which manager has it. Returns whether an older placement was dropped for it.
    pub(super) fn accept(&mut self, datacenter: DatacenterId, manager: Address) -> bool {
        let (placement, dropped) = self.place(datacenter);
        placement.manager = manager;
        dropped
    }

    /// Ends the wait for a completion and tells when it began.
    pub(super) fn complete(&mut self, datacenter: DatacenterId) -> Option<Instant> {
        let placement = self.placement_mut(datacenter)?;
        let dispatched_at = placement.dispatched_at;
        placement.dispatched_at = Instant::MAX;
        (dispatched_at != Instant::MAX).then_some(dispatched_at)
    }

    fn placement_mut(&mut self, datacenter: DatacenterId) -> Option<&mut Placement> {
        self.placements.iter_mut().find(|p| p.datacenter == Some(datacenter))
    }

    /// The placement in this datacenter, the newest one first in the list.
    fn place(&mut self, datacenter: DatacenterId) -> (&mut Placement, bool) {
        let known = self.placements.iter().position(|p| p.datacenter == Some(datacenter));
        let free = || self.placements.iter().position(|p| p.datacenter.is_none());
        let place = known.or_else(free).unwrap_or(PLACEMENT_COUNT_MAX - 1);
        let dropped = self.placements[place].datacenter.is_some_and(|other| other != datacenter);
        if known.is_none() {
            self.placements[place] = Placement { datacenter: Some(datacenter), ..NO_PLACEMENT };
        }
        self.placements[..=place].rotate_right(1);
        (&mut self.placements[0], dropped)
    }
}

fn first_to_end(until: &[Instant; COOLDOWN_COUNT_MAX]) -> usize {
    let soonest = until.iter().enumerate().min_by_key(|(_, until)| **until);
    soonest.map_or(0, |(place, _)| place)
}

/// The records of all jobs.
#[derive(Debug)]
pub struct JobTable {
    records: Vec<JobState>,
    index: HashTable<u32>,
    scatter: [u64; 2],
    capacity: usize,
    time_to_live: Duration,
    newest: u32,
    oldest: u32,
    free: u32,
    evicted: u64,
    expired: u64,
}

impl JobTable {
    /// A table for this many jobs. Its memory is reserved now and touched as jobs come. The seed
    /// only scatters the index, so that nobody who chooses job ids can crowd them into one place.
    pub fn new(capacity: u32, time_to_live: Duration, seed: u64) -> JobTable {
        assert!(capacity > 0 && capacity < NO_SLOT);
        let mut random = Random::new(seed);
        JobTable {
            records: Vec::with_capacity(capacity as usize),
            index: HashTable::with_capacity(capacity as usize),
            scatter: [random.next_u64(), random.next_u64()],
            capacity: capacity as usize,
            time_to_live,
            newest: NO_SLOT,
            oldest: NO_SLOT,
            free: NO_SLOT,
            evicted: 0,
            expired: 0,
        }
    }

    /// How many jobs are remembered.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no job is remembered.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Jobs forgotten to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Jobs forgotten because nothing was heard of them.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// The record of a job.
    pub fn get(&self, job: &JobId) -> Option<&JobState> {
        let slot = self.find(job)?;
        Some(&self.records[slot as usize])
    }

    /// The record of a job, without counting as a use.
    pub(super) fn get_mut(&mut self, job: &JobId) -> Option<&mut JobState> {
        let slot = self.find(job)?;
        Some(&mut self.records[slot as usize])
    }

    /// The record of a job, a new one where there is none, as the most recently used.
    pub(super) fn touch(&mut self, now: Instant, job: JobId) -> &mut JobState {
        // Two at a time, so that expired jobs leave at least as fast as new ones can come.
        self.expire(now, 2);
        let slot = match self.find(&job) {
            Some(slot) => {
                self.unlink(slot);
                self.renew_if_expired(now, slot);
                slot
            }
            None => self.insert(JobState::new(job, now)),
        };
        self.link_newest(slot);
        let record = &mut self.records[slot as usize];
        record.used_at = now;
        record
    }

    /// Forgets a job. Returns whether it was known.
    pub fn remove(&mut self, job: &JobId) -> bool {
        let Some(slot) = self.find(job) else { return false };
        self.release(slot);
        true
    }

    /// Forgets up to `limit` jobs whose time to live has passed. Returns how many.
    pub fn expire(&mut self, now: Instant, limit: usize) -> usize {
        let mut count = 0;
        while count < limit && self.oldest != NO_SLOT {
            let slot = self.oldest;
            if now - self.records[slot as usize].used_at <= self.time_to_live {
                break;
            }
            self.release(slot);
            count += 1;
        }
        self.expired += count as u64;
        count
    }

    /// Calls `visit` with every record, the most recently used first.
    pub(super) fn for_each(&mut self, mut visit: impl FnMut(&mut JobState)) {
        let mut slot = self.newest;
        while slot != NO_SLOT {
            let record = &mut self.records[slot as usize];
            visit(record);
            slot = record.older;
        }
    }

    /// Makes an unlinked record whose time to live has passed a new one.
    fn renew_if_expired(&mut self, now: Instant, slot: u32) {
        let record = &mut self.records[slot as usize];
        if now - record.used_at > self.time_to_live {
            *record = JobState::new(record.job, now);
            self.expired += 1;
        }
    }

    fn insert(&mut self, record: JobState) -> u32 {
        if self.index.len() == self.capacity {
            self.release(self.oldest);
            self.evicted += 1;
        }
        let hash = hash(&self.scatter, &record.job);
        let slot = if self.free == NO_SLOT {
            self.records.push(record);
            self.records.len() as u32 - 1
        } else {
            let slot = self.free;
            let place = &mut self.records[slot as usize];
            self.free = place.older;
            *place = record;
            slot
        };
        let (records, scatter) = (&self.records, &self.scatter);
        self.index.insert_unique(hash, slot, |&slot| hash_of(scatter, records, slot));
        slot
    }

    fn release(&mut self, slot: u32) {
        self.unlink(slot);
        let record = &mut self.records[slot as usize];
        let hash = hash(&self.scatter, &record.job);
        record.older = self.free;
        self.free = slot;
        let entry = self.index.find_entry(hash, |&other| other == slot);
        entry.expect("every record is indexed").remove();
    }

    fn find(&self, job: &JobId) -> Option<u32> {
        let same = |&slot: &u32| self.records[slot as usize].job == *job;
        self.index.find(hash(&self.scatter, job), same).copied()
    }

    fn unlink(&mut self, slot: u32) {
        let JobState { newer, older, .. } = self.records[slot as usize];
        match newer {
            NO_SLOT => self.newest = older,
            newer => self.records[newer as usize].older = older,
        }
        match older {
            NO_SLOT => self.oldest = newer,
            older => self.records[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, slot: u32) {
        let newest = self.newest;
        let record = &mut self.records[slot as usize];
        record.newer = NO_SLOT;
        record.older = newest;
        match newest {
            NO_SLOT => self.oldest = slot,
            newest => self.records[newest as usize].newer = slot,
        }
        self.newest = slot;
    }
}

fn hash_of(scatter: &[u64; 2], records: &[JobState], slot: u32) -> u64 {
    hash(scatter, &records[slot as usize].job)
}

/// Both halves of the id, each hidden by a secret, multiplied into 128 bits and folded.
fn hash(scatter: &[u64; 2], job: &JobId) -> u64 {
    let number = u128::from_be_bytes(*job.as_bytes());
    let low = number as u64 ^ scatter[0];
    let high = (number >> 64) as u64 ^ scatter[1];
    let product = u128::from(low) * u128::from(high);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(10_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn id(index: usize) -> DatacenterId {
        DatacenterId::from_index(index).unwrap()
    }

    fn jobs(table: &mut JobTable) -> Vec<JobId> {
        let mut jobs = Vec::new();
        table.for_each(|record| jobs.push(record.job));
        jobs
    }

    #[test]
    fn a_full_table_drops_the_longest_unused() {
        let mut table = JobTable::new(3, HOUR, 1);
        for number in [1, 2, 3, 1, 4] {
            table.touch(NOW, JobId::from(number));
        }
        assert_eq!(jobs(&mut table), [4, 1, 3].map(JobId::from));
        assert!(table.get(&JobId::from(2)).is_none());
        assert_eq!((table.len(), table.evicted(), table.records.len()), (3, 1, 3));
    }

    #[test]
    fn unused_jobs_expire() {
        let mut table = JobTable::new(100, HOUR, 1);
        for number in 0..10 {
            table.touch(NOW + Duration::from_secs(number), JobId::from(u128::from(number)));
        }
        let later = NOW + HOUR + Duration::from_secs(5);
        assert_eq!(table.expire(later, 3), 3);
        assert_eq!(table.expire(later, 100), 2);
        assert_eq!((table.len(), table.expired()), (5, 5));
        // A use expires others by itself, and a use of an expired job makes it a new one.
        table.touch(later, JobId::from(7)).tenure_mut().select(
            later,
            id(0),
            1.0,
            Default::default(),
        );
        assert!(table.get(&JobId::from(7)).unwrap().tenure().primary().is_some());
        let much_later = later + HOUR + HOUR;
        assert!(table.touch(much_later, JobId::from(7)).tenure().primary().is_none());
        assert_eq!((table.len(), table.expired()), (3, 8), "two others went with it");
    }

    #[test]
    fn behaves_like_a_plain_list() {
        let mut random = Random::new(9);
        let mut table = JobTable::new(20, HOUR, 5);
        let mut model: Vec<JobId> = Vec::new();
        for _ in 0..20_000 {
            let job = JobId::from(u128::from(random.below(40)));
            if random.chance(0.3) {
                let known = model.iter().position(|&other| other == job);
                assert_eq!(table.remove(&job), known.is_some());
                known.map(|place| model.remove(place));
            } else {
                table.touch(NOW, job);
                model.retain(|&other| other != job);
                model.insert(0, job);
                model.truncate(20);
            }
            assert_eq!(jobs(&mut table), model);
            assert_eq!(table.len(), model.len());
        }
        assert!(table.records.len() <= 20);
    }

    #[test]
    fn cooldowns_end_and_are_bounded() {
        let mut job = JobState::new(JobId::from(1), NOW);
        let until = |seconds| NOW + Duration::from_secs(seconds);
        for number in 0..COOLDOWN_COUNT_MAX {
            assert!(!job.cool_down(NOW, id(number), until(100 + number as u64)));
        }
        assert!(!job.cool_down(NOW, id(0), until(200)), "a second failure only prolongs");
        assert!(job.cool_down(NOW, id(77), until(300)));
        let cooling: Vec<_> = job.cooling(NOW).collect();
        assert!(cooling.contains(&id(0)) && !cooling.contains(&id(1)) && cooling.contains(&id(77)));
        assert_eq!(job.cooling(until(200)).collect::<Vec<_>>(), [id(77)]);
        assert!(!job.cool_down(until(200), id(78), until(400)), "an ended one is no loss");
    }

    #[test]
    fn placements_time_jobs_and_remember_managers() {
        let manager: Address = "10.0.0.1:9000".parse().unwrap();
        let mut job = JobState::new(JobId::from(1), NOW);
        assert_eq!(job.complete(id(0)), None);
        assert!(!job.dispatch(NOW, id(0)));
        assert!(!job.accept(id(0), manager));
        assert_eq!(job.manager(id(0)), Some(manager));
        assert_eq!(job.manager(id(1)), None);
        assert_eq!(job.complete(id(0)), Some(NOW));
        assert_eq!(job.complete(id(0)), None, "it completes once");
        assert_eq!(job.manager(id(0)), Some(manager), "completion leaves the manager known");
        job.cool_down(NOW, id(0), NOW + HOUR);
        assert_eq!(job.manager(id(0)), None, "whoever failed is not returned to");
        for number in 0..PLACEMENT_COUNT_MAX {
            assert!(!job.accept(id(number), manager));
        }
        assert!(job.accept(id(50), manager), "the longest ago makes room");
        assert_eq!(job.manager(id(0)), None);
        assert_eq!(job.manager(id(50)), Some(manager));
    }

    #[test]
    fn ids_of_one_pattern_spread() {
        let table = JobTable::new(1, HOUR, 3);
        let mut buckets = [0u32; 64];
        for number in 0..64_000u128 {
            buckets[(hash(&table.scatter, &JobId::from(number << 64)) % 64) as usize] += 1;
        }
        assert!(buckets.iter().all(|&count| (700..1_300).contains(&count)), "{buckets:?}");
    }
}
