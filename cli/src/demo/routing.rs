//! Where a gate sends a job: the router of the core, fed with what the gate's node knows.
//!
//! A gate knows its members: which managers and workers of each datacenter answer, and how far away
//! they are. That gives the head counts from which a datacenter's health follows (AD-16) and the
//! candidates that the router ranks (AD-36). How busy a datacenter is, the gate knows only of its
//! own jobs: each occupies one core for [`JOB_DURATION`].

use std::collections::VecDeque;

use shoal_core::jobs::JobId;
use shoal_core::routing::classification::{DatacenterSignals, classify};
use shoal_core::routing::{
    DatacenterCandidate, DatacenterId, Datacenters, Decision, ManagerCandidate, ManagerChoice,
    Reason, Router, RouterConfig,
};
use shoal_core::{
    Address, ConfigError, DatacenterName, Duration, Instant, Member, MemberState, Role,
};

/// How long a job occupies its core.
const JOB_DURATION: Duration = Duration::from_millis(100);
/// Cores of one worker.
const WORKER_CORES: u32 = 16;
/// Jobs that a gate's router remembers.
const JOB_CAPACITY: u32 = 4_096;
/// Datacenters that a gate can tell apart.
const DATACENTER_CAPACITY: usize = 16;

/// A gate's answer for one job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The manager that gets the job.
    pub manager: Address,
    /// Why its datacenter was chosen.
    pub reason: Reason,
}

/// Routes the jobs of one gate.
#[derive(Debug)]
pub struct GateRouter {
    names: Datacenters,
    router: Router,
    decision: Decision,
    choice: ManagerChoice,
    /// Jobs under way, first to end first: when each ends, and where it runs.
    running: VecDeque<(Instant, DatacenterId, Address)>,
}

impl GateRouter {
    /// A router that knows no job yet.
    ///
    /// # Errors
    /// Never with the settings used here; the router checks them all the same.
    pub fn new() -> Result<GateRouter, ConfigError> {
        let config = RouterConfig { job_capacity: JOB_CAPACITY, ..RouterConfig::default() };
        Ok(GateRouter {
            names: Datacenters::new(DATACENTER_CAPACITY),
            router: Router::new(config, 1)?,
            decision: Decision::default(),
            choice: ManagerChoice::default(),
            running: VecDeque::new(),
        })
    }

    /// Chooses for one job among the members that the gate knows; `None` when no datacenter can
    /// take it.
    pub fn choose(&mut self, now: Instant, job: JobId, members: &[Member]) -> Option<Choice> {
        while self.running.front().is_some_and(|(end, ..)| *end <= now) {
            self.running.pop_front();
        }
        let mut candidates = Vec::with_capacity(DATACENTER_CAPACITY);
        for member in members.iter().filter(|member| member.role == Role::Manager) {
            let Ok(id) = self.names.intern(member.datacenter) else { continue };
            if candidates.iter().all(|known: &DatacenterCandidate| known.datacenter != id) {
                candidates.push(self.candidate(now, id, member.datacenter, members));
            }
        }
        self.router.route(now, job, &candidates, &[], &mut self.decision).ok()?;
        let (datacenter, reason) = (self.decision.selected()?, self.decision.reason());
        let managers = self.managers(now, datacenter, members);
        self.router.choose_manager(now, job, datacenter, &managers, &mut self.choice).ok()?;
        let manager = self.choice.selected()?.address;
        self.router.record_dispatch(now, job, datacenter);
        self.running.push_back((now + JOB_DURATION, datacenter, manager));
        Some(Choice { manager, reason })
    }

    /// Notes that a datacenter failed a job.
    pub fn failed(&mut self, now: Instant, job: JobId, datacenter: DatacenterName) {
        if let Some(id) = self.names.id(&datacenter) {
            self.router.record_failure(now, job, id);
        }
    }

    /// What the members tell of one datacenter.
    fn candidate(
        &self,
        now: Instant,
        id: DatacenterId,
        name: DatacenterName,
        members: &[Member],
    ) -> DatacenterCandidate {
        let count = |role: Role, alive: bool| {
            let counted = |member: &&Member| {
                let present = !matches!(member.state, MemberState::Left | MemberState::Removed);
                let fit = if alive { member.state == MemberState::Alive } else { present };
                member.datacenter == name && member.role == role && fit
            };
            members.iter().filter(counted).count() as u32
        };
        let total_cores = count(Role::Worker, true) * WORKER_CORES;
        let busy = self.running.iter().filter(|(_, place, _)| *place == id).count() as u32;
        let signals = DatacenterSignals {
            manager_count: count(Role::Manager, false),
            alive_manager_count: count(Role::Manager, true),
            worker_count: count(Role::Worker, false),
            healthy_worker_count: count(Role::Worker, true),
            available_cores: total_cores.saturating_sub(busy),
        };
        let rtts = live_managers(name, members).filter_map(|member| member.rtt);
        DatacenterCandidate {
            health: classify(&signals),
            available_cores: signals.available_cores,
            total_cores,
            manager_count: signals.manager_count,
            usable_manager_count: signals.alive_manager_count,
            rtt: rtts.min_by(|a, b| a.upper_ms.total_cmp(&b.upper_ms)),
            ..DatacenterCandidate::new(id, now)
        }
    }

    /// The managers that could take a job inside one datacenter. Each has half of its cores.
    fn managers(
        &self,
        now: Instant,
        datacenter: DatacenterId,
        members: &[Member],
    ) -> Vec<ManagerCandidate> {
        let Some(&name) = self.names.name(datacenter) else { return Vec::new() };
        let candidate = |member: &Member| {
            let busy = self.running.iter().filter(|(.., manager)| *manager == member.address);
            ManagerCandidate {
                available_cores: WORKER_CORES.saturating_sub(busy.count() as u32),
                total_cores: WORKER_CORES,
                rtt: member.rtt,
                ..ManagerCandidate::new(member.address, now)
            }
        };
        live_managers(name, members).map(candidate).collect()
    }
}

fn live_managers(name: DatacenterName, members: &[Member]) -> impl Iterator<Item = &Member> {
    members.iter().filter(move |member| {
        member.datacenter == name
            && member.role == Role::Manager
            && member.state == MemberState::Alive
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::{Generation, Incarnation, Rtt};

    fn member(port: u16, role: Role, datacenter: &str, upper_ms: f64) -> Member {
        Member {
            address: format!("10.0.0.1:{port}").parse().unwrap(),
            state: MemberState::Alive,
            generation: Generation(1),
            incarnation: Incarnation(0),
            role,
            datacenter: datacenter.parse().unwrap(),
            health_score: 0,
            rtt: Some(Rtt { ms: upper_ms * 0.9, upper_ms, quality: 1.0 }),
            coordinate: None,
        }
    }

    fn members() -> [Member; 8] {
        [
            member(1, Role::Manager, "far", 90.0),
            member(2, Role::Manager, "far", 91.0),
            member(3, Role::Worker, "far", 90.0),
            member(4, Role::Worker, "far", 90.0),
            member(5, Role::Manager, "near", 2.0),
            member(6, Role::Manager, "near", 2.1),
            member(7, Role::Worker, "near", 2.0),
            member(8, Role::Worker, "near", 2.0),
        ]
    }

    fn port(choice: Option<Choice>) -> u16 {
        choice.unwrap().manager.port()
    }

    #[test]
    fn jobs_go_near_and_its_managers_share_them() {
        let mut router = GateRouter::new().unwrap();
        let now = Instant::from_millis(1_000);
        let ports = (0..8).map(|job| port(router.choose(now, JobId::from(job), &members())));
        let ports: Vec<u16> = ports.collect();
        assert!(ports.iter().all(|port| [5, 6].contains(port)), "{ports:?}");
        assert!(ports.contains(&5) && ports.contains(&6), "{ports:?}");
    }

    #[test]
    fn a_job_leaves_a_datacenter_that_lost_its_managers() {
        let mut router = GateRouter::new().unwrap();
        let now = Instant::from_millis(1_000);
        let (job, mut members) = (JobId::from(1), members());
        assert!(port(router.choose(now, job, &members)) >= 5);
        members[4].state = MemberState::Dead;
        members[5].state = MemberState::Suspect;
        router.failed(now, job, members[4].datacenter);
        let choice = router.choose(now, job, &members);
        assert_eq!(port(choice), 1);
        assert_eq!(choice.unwrap().reason, Reason::ExclusionForced);
        members[0].state = MemberState::Left;
        members[1].state = MemberState::Dead;
        assert_eq!(router.choose(now, job, &members), None);
    }
}
