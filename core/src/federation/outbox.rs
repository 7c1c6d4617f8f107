//! What the federation brings about: messages to send, events for the host, counts.

use std::collections::VecDeque;

use super::health::Reachability;
use super::messages::FederationMessage;
use crate::node::{Address, DatacenterName};
use crate::time::Instant;

/// Most messages waiting to be sent, and most events waiting for the host. When full the newest is
/// dropped and counted; messages are repeated by their protocol, and the state can be read at any
/// time.
const QUEUE_SIZE_MAX: usize = 8_192;

/// A message and where the host has to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The manager or gate it is for.
    pub target: Address,
    /// The message.
    pub message: FederationMessage,
}

/// Why a leader stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum ResignationReason {
    /// It could not renew its lease with a majority.
    LeaseLost,
    /// Others are in a later term.
    Superseded,
    /// Its local health was poor for a whole lease, and a fit manager can take over.
    Unhealthy,
    /// It leaves.
    Leaving,
    /// Its host named another.
    Replaced,
}

impl ResignationReason {
    /// The snake-case name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            ResignationReason::LeaseLost => "lease_lost",
            ResignationReason::Superseded => "superseded",
            ResignationReason::Unhealthy => "unhealthy",
            ResignationReason::Leaving => "leaving",
            ResignationReason::Replaced => "replaced",
        }
    }
}

/// Something the host may want to know about leaders and datacenters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FederationEvent {
    /// A datacenter has a leader that holds its lease; on a manager its own, which may be itself.
    LeaderElected {
        /// The datacenter.
        datacenter: DatacenterName,
        /// Its leader.
        leader: Address,
        /// The term: what fences earlier leaders.
        term: u64,
        /// When this node learned of it.
        at: Instant,
    },
    /// A leader resigned or is not heard any more. The leader itself is told
    /// [`FederationEvent::SteppedDown`] instead.
    LeaderLost {
        /// The datacenter.
        datacenter: DatacenterName,
        /// Its last leader.
        leader: Address,
        /// The term that is over.
        term: u64,
        /// When this node noticed.
        at: Instant,
    },
    /// This node leads its datacenter no longer.
    SteppedDown {
        /// The term that is over.
        term: u64,
        /// Why.
        reason: ResignationReason,
        /// When. The lease may have run out earlier if this node was not run in time.
        at: Instant,
    },
    /// A gate hears a datacenter again, or no more.
    ReachabilityChanged {
        /// The datacenter.
        datacenter: DatacenterName,
        /// What it was.
        from: Reachability,
        /// What it is.
        to: Reachability,
        /// When.
        at: Instant,
    },
    /// So many datacenters fell silent together that this gate blames its own network. Until it
    /// recovers, and for a minute at most, none of them becomes unreachable.
    NetworkSuspected {
        /// How many fell silent together.
        silent: u32,
        /// Of how many that were heard until then.
        heard: u32,
        /// When.
        at: Instant,
    },
    /// Enough datacenters answer again.
    NetworkRecovered {
        /// When.
        at: Instant,
    },
}

/// What has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FederationStats {
    /// Elections this node stood in, after a majority said it would vote.
    pub elections: u64,
    /// Elections it won, with a lease.
    pub elections_won: u64,
    /// Rounds of votes that ended without a majority.
    pub rounds_failed: u64,
    /// Leaderships of this node that ended.
    pub step_downs: u64,
    /// Messages of earlier terms that were refused.
    pub stale_terms: u64,
    /// Messages of a second leader in one term that were refused. Anything but 0 means that
    /// majorities did not meet.
    pub term_conflicts: u64,
    /// Messages from nodes whose role or datacenter does not fit them.
    pub messages_refused: u64,
    /// Managers that were not remembered as voters for lack of room.
    pub voters_refused: u64,
    /// Managers that were not remembered as contacts for lack of room.
    pub contacts_refused: u64,
    /// Members of datacenters that were not remembered for lack of room.
    pub datacenters_refused: u64,
    /// Probes of datacenters sent.
    pub probes_sent: u64,
    /// Probes answered in time.
    pub probes_acked: u64,
    /// Probes not answered in time.
    pub probes_failed: u64,
    /// Answers to no probe in flight: late, repeated or invented.
    pub acks_unmatched: u64,
    /// Times that the own network was blamed.
    pub network_suspicions: u64,
    /// Messages dropped because too many were waiting.
    pub messages_dropped: u64,
    /// Events dropped because the host did not take them.
    pub events_dropped: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    messages: VecDeque<Outgoing>,
    events: VecDeque<FederationEvent>,
    pub stats: FederationStats,
}

impl Outbox {
    pub fn send(&mut self, target: Address, message: FederationMessage) {
        if self.messages.len() < QUEUE_SIZE_MAX {
            self.messages.push_back(Outgoing { target, message });
        } else {
            self.stats.messages_dropped += 1;
        }
    }

    pub fn emit(&mut self, event: FederationEvent) {
        if self.events.len() < QUEUE_SIZE_MAX {
            self.events.push_back(event);
        } else {
            self.stats.events_dropped += 1;
        }
    }

    /// Whom the next message is for.
    pub fn next_target(&self) -> Option<Address> {
        self.messages.front().map(|outgoing| outgoing.target)
    }

    pub fn next_message(&mut self) -> Option<Outgoing> {
        self.messages.pop_front()
    }

    pub fn next_event(&mut self) -> Option<FederationEvent> {
        self.events.pop_front()
    }
}
