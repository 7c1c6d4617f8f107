//! The mirror of a node's state that its hosts read.
//!
//! The engine belongs to its thread alone. The thread copies what changed into this mirror, but
//! only when it gets the lock at once: a host that reads never makes the engine wait, the copy is
//! made a little later instead. The engine itself keeps the list of changed slots until then, so
//! nothing is missed. Costs one [`Member`] and one index entry for each member.

use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::{Backend, Faults};
use crate::coordinate::{Coordinate, Rtt};
use crate::engine::{Engine, Member};
use crate::membership::table::OWN_SLOT;
use crate::metrics::{self, Census, Sources};
use crate::node::Address;
use crate::routing::{Router, RouterStats, RoutingOverview};
use crate::slots;
use crate::stats::{Gauges, Stats};
use crate::time::{Duration, Instant};

/// How long a reader lets an overdue update go first, and in how many steps. The node thread comes
/// by every millisecond while an update is due.
const COURTESY_STEP: Duration = Duration::from_micros(200);
const COURTESY_STEPS: usize = 10;

/// The mirror of one node.
#[derive(Debug)]
pub(super) struct View {
    mirror: RwLock<Mirror>,
    /// The node thread found readers inside. New readers wait for it a moment, so that readers that
    /// take turns cannot keep it out for good.
    overdue: AtomicBool,
}

// Members are looked up by address only, never iterated through the map: its random order cannot
// show.
#[allow(clippy::disallowed_types)]
type SlotIndex = std::collections::HashMap<Address, u32>;

#[derive(Debug)]
struct Mirror {
    members: Vec<Option<Member>>,
    /// States by slot, as far as any member has one.
    states: Vec<Option<Bytes>>,
    slots: SlotIndex,
    coordinate: Coordinate,
    stats: Stats,
    gauges: Gauges,
    /// What the router decided, on a gate.
    routing: Option<RouterStats>,
    /// The same by datacenter.
    overview: RoutingOverview,
}

impl View {
    /// A mirror of an engine that has just been made.
    pub(super) fn new(engine: &mut Engine, now: Instant) -> View {
        let mirror = Mirror {
            members: Vec::new(),
            states: Vec::new(),
            slots: SlotIndex::new(),
            coordinate: *engine.coordinate(),
            stats: engine.stats().clone(),
            gauges: engine.gauges(),
            routing: engine.router().map(Router::stats),
            overview: RoutingOverview::default(),
        };
        let view = View { mirror: RwLock::new(mirror), overdue: AtomicBool::new(false) };
        view.try_publish(engine, &Faults::default(), now);
        view
    }

    /// Copies what changed since the last time. `false` when a host reads just now: try again
    /// within a millisecond.
    pub(super) fn try_publish(&self, engine: &mut Engine, faults: &Faults, now: Instant) -> bool {
        let Ok(mut mirror) = self.mirror.try_write() else {
            self.overdue.store(true, Ordering::Relaxed);
            return false;
        };
        while let Some(slot) = engine.poll_change() {
            mirror.set(slot, engine.member_at(slot, now));
            mirror.set_state(slot, engine.state_at(slot));
        }
        // The node's own record shows its coordinate and health, which change without notice.
        mirror.set(OWN_SLOT, engine.member_at(OWN_SLOT, now));
        mirror.coordinate = *engine.coordinate();
        mirror.stats.clone_from(engine.stats());
        mirror.gauges = engine.gauges();
        mirror.routing = engine.router().map(Router::stats);
        if let Some(overview) = engine.routing_overview()
            && overview.revision() != mirror.overview.revision()
        {
            mirror.overview.clone_from(overview);
        }
        faults.add_to(&mut mirror.stats);
        self.overdue.store(false, Ordering::Relaxed);
        true
    }

    /// All members, this node first.
    pub(super) fn members(&self) -> Vec<Member> {
        self.read().members.iter().flatten().copied().collect()
    }

    pub(super) fn member(&self, address: Address) -> Option<Member> {
        self.read().member(address).copied()
    }

    pub(super) fn rtt(&self, address: Address) -> Option<Rtt> {
        self.read().member(address)?.rtt
    }

    pub(super) fn state(&self, address: Address) -> Option<Bytes> {
        let mirror = self.read();
        let slot = *mirror.slots.get(&address)?;
        mirror.states.get(slot as usize)?.clone()
    }

    pub(super) fn coordinate(&self) -> Coordinate {
        self.read().coordinate
    }

    pub(super) fn stats(&self) -> Stats {
        self.read().stats.clone()
    }

    pub(super) fn gauges(&self) -> Gauges {
        self.read().gauges
    }

    /// OpenMetrics text. The mirror is held only while members are counted, not while text is written.
    pub(super) fn write_metrics(&self, backend: Backend, text: &mut String) {
        let (members, stats, gauges, routing) = {
            let mirror = self.read();
            let members = Census::of(mirror.members.iter().flatten());
            let routing = mirror.routing.clone().map(|stats| (stats, mirror.overview.clone()));
            (members, mirror.stats.clone(), mirror.gauges, routing)
        };
        let backend = Some(backend.name());
        let sources = Sources { stats: &stats, gauges: &gauges, members: &members, backend };
        metrics::write_node(text, &sources);
        if let Some((stats, overview)) = &routing {
            metrics::write_routing(text, stats, overview);
        }
        metrics::finish(text);
    }

    fn read(&self) -> RwLockReadGuard<'_, Mirror> {
        for _ in 0..COURTESY_STEPS {
            if !self.overdue.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(COURTESY_STEP);
        }
        // A mirror is written field by field without a way to panic half way, so it is always
        // whole.
        self.mirror.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mirror {
    fn member(&self, address: Address) -> Option<&Member> {
        let slot = *self.slots.get(&address)?;
        self.members[slot as usize].as_ref()
    }

    fn set_state(&mut self, slot: u32, state: Option<&Bytes>) {
        let index = slot as usize;
        if index >= self.states.len() {
            if state.is_none() {
                return;
            }
            self.states.resize(index + 1, None);
        }
        self.states[index] = state.cloned();
    }

    fn set(&mut self, slot: u32, member: Option<Member>) {
        let index = slot as usize;
        slots::reach(&mut self.members, slot, None);
        let known = self.members[index].map(|known| known.address);
        let address = member.map(|member| member.address);
        if known != address {
            // The address may live in another slot already: then the index is not this slot's to
            // clear.
            if let Some(known) = known.filter(|known| self.slots.get(known) == Some(&slot)) {
                self.slots.remove(&known);
            }
            if let Some(address) = address {
                self.slots.insert(address, slot);
            }
        }
        self.members[index] = member;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{DatacenterName, Generation, Incarnation, MemberState, Role};

    fn member(port: u16) -> Member {
        Member {
            address: Address::from_parts([1; 16], port),
            state: MemberState::Alive,
            generation: Generation(1),
            incarnation: Incarnation(0),
            role: Role::Worker,
            datacenter: DatacenterName::from_bytes(b"east").unwrap(),
            health_score: 0,
            rtt: None,
            coordinate: None,
        }
    }

    #[test]
    fn the_index_follows_reused_slots() {
        let coordinate = Coordinate { vector: [0.0; 8], height: 0.0, adjustment: 0.0, error: 1.0 };
        let mut mirror = Mirror {
            members: Vec::new(),
            states: Vec::new(),
            slots: SlotIndex::new(),
            coordinate,
            stats: Stats::default(),
            gauges: Gauges::default(),
            routing: None,
            overview: RoutingOverview::default(),
        };
        mirror.set(2, Some(member(1)));
        assert_eq!(mirror.member(member(1).address), Some(&member(1)));
        // The member moves to slot 0 before slot 2 is given to another.
        mirror.set(0, Some(member(1)));
        mirror.set(2, Some(member(2)));
        assert_eq!(mirror.slots[&member(1).address], 0);
        assert_eq!(mirror.slots[&member(2).address], 2);
        mirror.set(2, None);
        assert_eq!(mirror.member(member(2).address), None);
        assert_eq!(mirror.slots.len(), 1);
    }
}
