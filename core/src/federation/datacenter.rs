//! What a gate knows of its datacenters, put together so that it can route by itself.
//!
//! Three sources say how a datacenter is, none of them alone enough. A census counts members
//! as the gate's own membership sees them: within seconds, but without load. The leader's summary
//! tells the load, at the pace of the probes. And whether the leader is heard at all says how far
//! either can be trusted:
//!
//! | the leader is | the datacenter is at best |
//! |---|---|
//! | reachable | what AD-16 says of the counts; an old summary demotes in the router's filter |
//! | not heard yet | degraded |
//! | suspected | degraded; while the own network is blamed, by its last summary alone |
//! | unreachable | unhealthy, which is not routed to |

use super::health::{Reachability, Site};
use crate::coordinate::Rtt;
use crate::node::{Address, DatacenterName, MemberState, Role};
use crate::routing::{
    DatacenterCandidate, DatacenterHealth, DatacenterId, DatacenterSignals, classify,
};
use crate::slots;
use crate::time::Instant;

/// Members of one datacenter by role and state, as this node's membership sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberCounts {
    /// Managers that are known and have not left.
    pub managers: u32,
    /// Managers among them that answer.
    pub alive_managers: u32,
    /// Workers that are known and have not left.
    pub workers: u32,
    /// Workers among them that answer.
    pub alive_workers: u32,
}

/// What is remembered of a member, to take it out of the counts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resident {
    pub address: Address,
    pub datacenter: DatacenterId,
    pub role: Role,
    pub state: MemberState,
}

/// Counts members by datacenter. A change costs the same however many there are.
#[derive(Debug, Default)]
pub(crate) struct Census {
    residents: Vec<Option<Resident>>,
    counts: Vec<MemberCounts>,
}

impl Census {
    /// Puts a member into its slot of the member table, `None` when the slot is free; returns who
    /// was there.
    pub fn set(&mut self, slot: u32, resident: Option<Resident>) -> Option<Resident> {
        let index = slot as usize;
        if index >= self.residents.len() {
            // A slot that was never used is free already.
            resident?;
            slots::reach(&mut self.residents, slot, None);
        }
        let previous = std::mem::replace(&mut self.residents[index], resident);
        if previous != resident {
            previous.iter().for_each(|previous| self.count(previous, u32::wrapping_sub));
            resident.iter().for_each(|resident| self.count(resident, u32::wrapping_add));
        }
        previous
    }

    /// The counts of one datacenter.
    pub fn counts(&self, datacenter: DatacenterId) -> MemberCounts {
        self.counts.get(datacenter.index()).copied().unwrap_or_default()
    }

    fn count(&mut self, resident: &Resident, apply: fn(u32, u32) -> u32) {
        let index = resident.datacenter.index();
        if index >= self.counts.len() {
            self.counts.resize(index + 1, MemberCounts::default());
        }
        // Hearsay registers nobody, and a goodbye or the end of a record takes the member out.
        let is_registered = resident.state.is_active() || resident.state == MemberState::Dead;
        let is_alive = resident.state == MemberState::Alive;
        let counts = &mut self.counts[index];
        let (all, alive) = match resident.role {
            Role::Manager => (&mut counts.managers, &mut counts.alive_managers),
            Role::Worker => (&mut counts.workers, &mut counts.alive_workers),
            Role::Gate => return,
        };
        *all = apply(*all, u32::from(is_registered));
        *alive = apply(*alive, u32::from(is_alive));
    }
}

/// What a gate knows of one datacenter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DatacenterView {
    /// Its name.
    pub name: DatacenterName,
    /// Whether its leader is heard.
    pub reachability: Reachability,
    /// Its leader and the term, where one has been heard of.
    pub leader: Option<(Address, u64)>,
    /// What routing is told of it.
    pub candidate: DatacenterCandidate,
}

/// Puts together what is known of a datacenter. `membership_rtt` is the round trip to its leader as
/// membership knows it, which is better informed than the probes where it exists.
fn candidate(
    site: &Site,
    counts: &MemberCounts,
    is_network_blamed: bool,
    membership_rtt: Option<Rtt>,
    now: Instant,
) -> DatacenterCandidate {
    let summary = site.summary();
    let told = summary.map(|(summary, _)| *summary).unwrap_or_default();
    // What cuts off the probes cuts off membership too: its dead are no better known than the
    // silent.
    let unseen = MemberCounts::default();
    let counts = if is_network_blamed && site.is_silent() { &unseen } else { counts };
    // A gate whose membership does not reach into the datacenter has only the leader's word.
    let (manager_count, alive_manager_count) = match counts.managers {
        0 => (told.manager_count, told.healthy_manager_count),
        managers => (managers, counts.alive_managers),
    };
    let (worker_count, healthy_worker_count) = match told.worker_count {
        0 => (counts.workers, counts.alive_workers),
        workers => (workers, told.healthy_worker_count),
    };
    let own_health = classify(&DatacenterSignals {
        manager_count,
        alive_manager_count,
        worker_count,
        healthy_worker_count,
        // A leader whose host tells no cores at all tells nothing about load: only one that has some
        // can run out of them.
        available_cores: if told.total_cores == 0 { 1 } else { told.available_cores },
    });
    let own_health = match summary {
        Some(_) => own_health,
        // No load has been told, so a lack of it means nothing; a lack of managers does.
        None if alive_manager_count == 0 => DatacenterHealth::Unhealthy,
        None => DatacenterHealth::Degraded,
    };
    let health_at_best = match site.reachability() {
        Reachability::Reachable => DatacenterHealth::Healthy,
        Reachability::Unknown | Reachability::Suspected => DatacenterHealth::Degraded,
        // Nothing becomes unreachable while the own network is blamed.
        Reachability::Unreachable => DatacenterHealth::Unhealthy,
    };
    let lost = f64::from(manager_count.saturating_sub(alive_manager_count));
    DatacenterCandidate {
        health: own_health.max(health_at_best),
        updated_at: summary.map_or(Instant::ZERO, |(_, told_at)| told_at),
        available_cores: told.available_cores,
        total_cores: told.total_cores,
        queue_depth: told.queue_depth,
        manager_count,
        usable_manager_count: alive_manager_count,
        circuit_pressure: lost / f64::from(manager_count.max(1)),
        rtt: membership_rtt.or(site.rtt()),
        ..DatacenterCandidate::new(site.id(), now)
    }
}

/// The same with what else is known, for hosts.
pub(crate) fn view(
    site: &Site,
    counts: &MemberCounts,
    is_network_blamed: bool,
    membership_rtt: Option<Rtt>,
    now: Instant,
) -> DatacenterView {
    DatacenterView {
        name: site.name(),
        reachability: site.reachability(),
        leader: site.leader(),
        candidate: candidate(site, counts, is_network_blamed, membership_rtt, now),
    }
}
