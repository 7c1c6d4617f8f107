//! Leaders and datacenters as Python values.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use shoal_core::federation::{DatacenterView as View, FederationEvent, LeadershipView};
use shoal_core::routing::DatacenterHealth;

use crate::convert::{AddressText, DatacenterText};
use crate::events::OtherEvent;
use crate::names::Name;
use crate::values::{Rtt, value_class};

value_class! {
    /// A datacenter has a leader that holds its lease; on a manager its own, which may be itself.
    LeaderElected {
        /// The datacenter.
        datacenter: DatacenterText,
        /// Its leader, `"ip:port"`.
        leader: AddressText,
        /// The term, which fences earlier leaders.
        term: u64,
        /// When this node learned of it, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// A leader resigned or is not heard any more.
    LeaderLost {
        /// The datacenter.
        datacenter: DatacenterText,
        /// Its last leader, `"ip:port"`.
        leader: AddressText,
        /// The term that is over.
        term: u64,
        /// When this node noticed, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// This node leads its datacenter no longer.
    SteppedDown {
        /// The term that is over.
        term: u64,
        /// Why: "lease_lost", "superseded", "unhealthy", "leaving" or "replaced".
        reason: String,
        /// When, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// A gate hears a datacenter again, or no more.
    ReachabilityChanged {
        /// The datacenter.
        datacenter: DatacenterText,
        /// What it is: "unknown", "reachable", "suspected" or "unreachable".
        state: String,
        /// What it was.
        before: String,
        /// When, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// Who leads a node's own datacenter.
    Leadership {
        /// The leader, `"ip:port"`; `None` when none is known.
        leader: Option<AddressText>,
        /// The highest term known. While there is a leader, the one it leads in: the fence of its jobs.
        term: u64,
        /// Whether it is this node, and its lease holds.
        is_own: bool,
    }
}

value_class! {
    /// A datacenter as a gate sees it.
    DatacenterView {
        /// Its name.
        datacenter: DatacenterText,
        /// Whether its leader is heard: "unknown", "reachable", "suspected" or "unreachable".
        reachability: String,
        /// How well it is.
        health: Name<DatacenterHealth>,
        /// Its leader, `"ip:port"`, where one has been heard of.
        leader: Option<AddressText>,
        /// The term that it leads in, 0 without a leader.
        term: u64,
        /// Managers that are registered there.
        manager_count: u32,
        /// Managers among them that answer.
        usable_manager_count: u32,
        /// Cores that are free on healthy workers.
        available_cores: u32,
        /// Cores of all registered workers.
        total_cores: u32,
        /// Jobs that wait there.
        queue_depth: u32,
        /// The round trip to its leader.
        rtt: Option<Rtt>,
    }
}

impl From<LeadershipView> for Leadership {
    fn from(view: LeadershipView) -> Leadership {
        let LeadershipView { leader, term, is_own } = view;
        Leadership { leader: leader.map(AddressText), term, is_own }
    }
}

impl From<&View> for DatacenterView {
    fn from(view: &View) -> DatacenterView {
        let candidate = &view.candidate;
        let (leader, term) = view.leader.unzip();
        DatacenterView {
            datacenter: DatacenterText(view.name),
            reachability: view.reachability.name().to_owned(),
            health: Name(candidate.health),
            leader: leader.map(AddressText),
            term: term.unwrap_or(0),
            manager_count: candidate.manager_count,
            usable_manager_count: candidate.usable_manager_count,
            available_cores: candidate.available_cores,
            total_cores: candidate.total_cores,
            queue_depth: candidate.queue_depth,
            rtt: candidate.rtt.map(Rtt::from),
        }
    }
}

/// The Python object for news of leaders and datacenters.
pub(crate) fn federation_event_object(
    py: Python<'_>,
    event: FederationEvent,
) -> PyResult<Bound<'_, PyAny>> {
    match event {
        FederationEvent::LeaderElected { datacenter, leader, term, at } => {
            let (datacenter, leader) = (DatacenterText(datacenter), AddressText(leader));
            LeaderElected { datacenter, leader, term, at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        FederationEvent::LeaderLost { datacenter, leader, term, at } => {
            let (datacenter, leader) = (DatacenterText(datacenter), AddressText(leader));
            LeaderLost { datacenter, leader, term, at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        FederationEvent::SteppedDown { term, reason, at } => {
            let reason = reason.name().to_owned();
            SteppedDown { term, reason, at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        FederationEvent::ReachabilityChanged { datacenter, from, to, at } => ReachabilityChanged {
            datacenter: DatacenterText(datacenter),
            state: to.name().to_owned(),
            before: from.name().to_owned(),
            at_ns: at.as_nanos(),
        }
        .into_bound_py_any(py),
        other => OtherEvent { text: format!("{other:?}") }.into_bound_py_any(py),
    }
}
