//! The job layer below the machine layer (AD-30): a member may fail one job and be well otherwise.
//!
//! The machine layer answers whether a member runs; it is slow to convict, because everybody acts on it. A
//! job asks whether a member still serves *it*, wants to know sooner, and errs alone. So the host
//! reports accusations per job, from whoever makes them, and they run on Lifeguard's rule with shorter
//! times; a machine that is dead is dead for every job, and one that comes back as a new run owes
//! nothing to the past.
//!
//! Bounds: [`JOB_SUSPICIONS_MAX`] in all and [`JOB_SUSPICIONS_PER_JOB_MAX`] for one job. Beyond them an accusation
//! is refused, so that one job in trouble cannot use up what others need.

use std::collections::BTreeMap;

use super::suspicion::{Suspicion, Terms};
use super::table::OWN_SLOT;
use super::{Context, Membership};
use crate::config::{JOB_SUSPICIONS_MAX, JOB_SUSPICIONS_PER_JOB_MAX};
use crate::error::CommandError;
use crate::events::Event;
use crate::id::JobId;
use crate::node::{Address, Generation, MemberState};
use crate::time::{Duration, Instant};
use crate::timer::TimerWheel;
use crate::wire::native::fingerprint;

/// What a member is to one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStanding {
    /// Nothing is held against it.
    Alive,
    /// Accused in this job; may still be vouched for.
    SuspectForJob,
    /// Nobody vouched for it in time: this job should do without it.
    DeadForJob,
    /// The machine is suspected.
    Suspect,
    /// The machine is dead, has left, or is not known.
    Dead,
}

/// One member accused in one job.
#[derive(Clone, Debug)]
struct Accusation {
    job: JobId,
    slot: u32,
    generation: Generation,
    /// Its verdict is final when this is `None`.
    suspicion: Option<Suspicion>,
}

/// All accusations, found by job and member, with their deadlines in a wheel of their own.
#[derive(Debug)]
pub(crate) struct JobLayer {
    places: Vec<Option<Accusation>>,
    free: Vec<u32>,
    index: BTreeMap<(JobId, u32), u32>,
    timers: TimerWheel,
}

impl JobLayer {
    pub fn new(now: Instant) -> JobLayer {
        JobLayer {
            places: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            timers: TimerWheel::new(now),
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    fn find(&self, job: JobId, slot: u32) -> Option<&Accusation> {
        let place = *self.index.get(&(job, slot))?;
        self.places[place as usize].as_ref()
    }

    fn insert(&mut self, accusation: Accusation, deadline: Instant) -> bool {
        let job = accusation.job;
        let of_job = self.index.range((job, 0)..=(job, u32::MAX)).count();
        if of_job >= JOB_SUSPICIONS_PER_JOB_MAX || self.index.len() >= JOB_SUSPICIONS_MAX {
            return false;
        }
        let key = (job, accusation.slot);
        let place = self.free.pop().unwrap_or(self.places.len() as u32);
        match self.places.get_mut(place as usize) {
            Some(free) => *free = Some(accusation),
            None => self.places.push(Some(accusation)),
        }
        self.index.insert(key, place);
        self.timers.set(place, deadline);
        true
    }

    fn remove(&mut self, key: (JobId, u32)) -> bool {
        let Some(place) = self.index.remove(&key) else { return false };
        self.timers.clear(place);
        self.places[place as usize] = None;
        self.free.push(place);
        true
    }

    fn forget_job(&mut self, job: JobId) {
        while let Some((&key, _)) = self.index.range((job, 0)..=(job, u32::MAX)).next() {
            self.remove(key);
        }
    }

    /// Forgets everything about a member whose machine died or changed. Walks all accusations, which are
    /// bounded and, on a good day, none.
    pub fn forget_member(&mut self, slot: u32) {
        if self.index.is_empty() {
            return;
        }
        let keys: Vec<_> = self.index.keys().filter(|key| key.1 == slot).copied().collect();
        for key in keys {
            self.remove(key);
        }
    }
}

impl Membership {
    /// Somebody says that a member does not serve a job.
    pub(crate) fn accuse_for_job(
        &mut self,
        context: &mut Context,
        job: JobId,
        member: Address,
        accuser: Address,
    ) -> Result<bool, CommandError> {
        let Some(slot) = self.table.find(member).filter(|&slot| slot != OWN_SLOT) else {
            return Ok(false);
        };
        let record = *self.table.get(slot);
        if !record.state.is_active() {
            return Ok(false);
        }
        let accuser = fingerprint(accuser, Generation(0));
        let layer = &mut self.job_layer;
        if let Some(&place) = layer.index.get(&(job, slot)) {
            let accusation =
                layer.places[place as usize].as_mut().expect("indexed places are full");
            let Some(suspicion) = &mut accusation.suspicion else { return Ok(false) };
            let is_news = suspicion.confirm(accuser);
            if is_news {
                let deadline = suspicion.deadline();
                layer.timers.set(place, deadline);
            }
            return Ok(is_news);
        }
        let config = context.config;
        let confirmations = config.indirect_probe_count.min(self.table.active_count());
        let terms = Terms {
            min: Duration::from_millis(config.job_suspicion_min_ms),
            max: Duration::from_millis(config.job_suspicion_max_ms),
            confirmations,
        };
        // A sick observer doubts others less, here as in the machine layer, but not without end.
        let terms = terms.stretched(f64::from(self.health.multiplier().min(3)));
        let suspicion = Suspicion::new(context.now, accuser, terms);
        let deadline = suspicion.deadline();
        let generation = record.generation;
        let accusation = Accusation { job, slot, generation, suspicion: Some(suspicion) };
        if self.job_layer.insert(accusation, deadline) {
            Ok(true)
        } else {
            Err(CommandError::JobSuspicionsFull)
        }
    }

    /// Somebody says that a member serves a job after all.
    pub(crate) fn vouch_for_job(&mut self, job: JobId, member: Address) -> bool {
        self.table.find(member).is_some_and(|slot| self.job_layer.remove((job, slot)))
    }

    pub(crate) fn forget_job(&mut self, job: JobId) {
        self.job_layer.forget_job(job);
    }

    pub(crate) fn job_standing(&self, job: JobId, member: Address) -> JobStanding {
        let Some(slot) = self.table.find(member) else { return JobStanding::Dead };
        let record = self.table.get(slot);
        match record.state {
            MemberState::Dead | MemberState::Left | MemberState::Removed => JobStanding::Dead,
            MemberState::Suspect => JobStanding::Suspect,
            MemberState::Alive | MemberState::Unconfirmed => match self.job_layer.find(job, slot) {
                Some(accusation) if accusation.generation != record.generation => {
                    JobStanding::Alive
                }
                Some(Accusation { suspicion: Some(_), .. }) => JobStanding::SuspectForJob,
                Some(Accusation { suspicion: None, .. }) => JobStanding::DeadForJob,
                None => JobStanding::Alive,
            },
        }
    }

    /// Passes the verdicts that are due.
    pub(crate) fn expire_job_layer(&mut self, context: &mut Context) {
        while let Some(place) = self.job_layer.timers.expire(context.now) {
            let accusation = self.job_layer.places[place as usize].as_mut();
            let accusation = accusation.expect("only full places have deadlines");
            accusation.suspicion = None;
            let (job, slot) = (accusation.job, accusation.slot);
            let address = self.table.get(slot).address;
            context.effects.emit(Event::JobMemberDead { job, address, at: context.now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Role;
    use crate::testing::{Cluster, address, config};

    const SECOND: Duration = Duration::from_secs(1);

    fn accuse(cluster: &mut Cluster, job: u128, member: u16, accuser: u16) -> bool {
        let now = cluster.now;
        let job = JobId::from(job);
        cluster.engine(0).accuse_for_job(now, job, address(member), address(accuser)).unwrap()
    }

    fn standing(cluster: &Cluster, job: u128, member: u16) -> JobStanding {
        cluster.engines[&0].job_standing(JobId::from(job), address(member))
    }

    #[test]
    fn one_job_condemns_and_others_and_the_machine_do_not() {
        let mut cluster = Cluster::formed(5, Role::Manager);
        assert!(accuse(&mut cluster, 1, 3, 2));
        assert_eq!(standing(&cluster, 1, 3), JobStanding::SuspectForJob);
        assert_eq!(standing(&cluster, 2, 3), JobStanding::Alive);
        cluster.run_for(11 * SECOND);
        assert_eq!(standing(&cluster, 1, 3), JobStanding::DeadForJob);
        assert_eq!(standing(&cluster, 2, 3), JobStanding::Alive);
        assert_eq!(cluster.state(0, 3), Some(MemberState::Alive));
        let told = cluster.events.iter().filter(|(_, event)| {
            matches!(event, Event::JobMemberDead { address: a, .. } if *a == address(3))
        });
        assert_eq!(told.count(), 1);
    }

    #[test]
    fn confirmations_hurry_and_a_voucher_ends_it() {
        let mut cluster = Cluster::formed(6, Role::Manager);
        let news = [1, 2, 2, 4, 5].map(|accuser| accuse(&mut cluster, 1, 3, accuser));
        assert_eq!(news, [true, true, false, true, true]);
        cluster.run_for(Duration::from_millis(1_200));
        assert_eq!(standing(&cluster, 1, 3), JobStanding::DeadForJob);
        assert!(accuse(&mut cluster, 2, 3, 1));
        assert!(cluster.engine(0).vouch_for_job(JobId::from(2), address(3)));
        cluster.run_for(20 * SECOND);
        assert_eq!(standing(&cluster, 2, 3), JobStanding::Alive);
    }

    #[test]
    fn a_dead_machine_is_dead_for_every_job_and_its_next_run_is_innocent() {
        let mut cluster = Cluster::formed(5, Role::Manager);
        accuse(&mut cluster, 1, 3, 2);
        cluster.kill(3);
        cluster.run_until(5 * SECOND, |c| c.all_see(3, MemberState::Dead));
        assert_eq!(standing(&cluster, 1, 3), JobStanding::Dead);
        cluster.start(3, crate::Config { generation: Generation(2), ..config(3) });
        cluster.run_until(5 * SECOND, Cluster::is_full_mesh);
        assert_eq!(standing(&cluster, 1, 3), JobStanding::Alive);
    }

    #[test]
    fn one_job_cannot_use_up_the_room_of_others() {
        let mut layer = JobLayer::new(Instant::ZERO);
        let terms = Terms { min: SECOND, max: SECOND, confirmations: 0 };
        let mut insert = |job: u128, slot: u32| {
            let suspicion = Some(Suspicion::new(Instant::ZERO, 1, terms));
            let (job, generation) = (JobId::from(job), Generation(1));
            layer.insert(Accusation { job, slot, generation, suspicion }, Instant::from_millis(1))
        };
        let accepted = (0..2_000).filter(|&slot| insert(1, slot)).count();
        assert_eq!(accepted, JOB_SUSPICIONS_PER_JOB_MAX);
        assert!(insert(2, 1));
        layer.forget_job(JobId::from(1));
        assert_eq!(layer.index.len(), 1);
        layer.forget_member(1);
        assert_eq!((layer.index.len(), layer.next_deadline()), (0, None));
    }
}
