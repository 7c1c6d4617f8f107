//! `shoal._native`: the engine and its running nodes as a Python extension module.
//!
//! This crate converts and nothing else. It knows no event loop and keeps no Python object alive:
//! the asyncio side, the exceptions, the enums and the settings class are Python code in
//! `pysrc/shoal`, which imports from here and adds what is Python's own. Every class of `shoal` is
//! frozen and guards its state itself, as the coordinates of `shoal.hyperscale` do, so that the
//! module needs no global interpreter lock; the other classes there refuse a second thread instead.

mod clock;
mod config;
mod convert;
mod coordinates;
mod datagram;
mod engine;
mod errors;
mod events;
mod fork;
mod hyperscale;
mod ids;
mod jobs;
mod leaders;
mod names;
mod node;
mod program;
mod routing;
mod stats;
mod values;

/// The native part of Shoal. Import `shoal` instead.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::config::{check_config, config_defaults};
    #[pymodule_export]
    use crate::coordinates::{CoordinateSnapshot, CoordinateTracker};
    #[pymodule_export]
    use crate::datagram::{Datagram, Envelope};
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::events::{
        Broadcast, HyperscaleHealth, HyperscaleMessage, HyperscaleWorker, JobMemberDead,
        JoinDelayed, Joined, Left, MemberEvent, OtherEvent, Overflow, Refuted, Stalled,
        StateChanged,
    };
    #[pymodule_export]
    use crate::fork::after_fork_in_child;
    #[pymodule_export]
    use crate::hyperscale::candidates::{HyperscaleCandidate, HyperscaleRanking};
    #[pymodule_export]
    use crate::hyperscale::coordinates::{
        HyperscaleEngine, HyperscaleTracker, hyperscale_estimate_seconds,
    };
    #[pymodule_export]
    use crate::hyperscale::gossip::GossipQueue;
    #[pymodule_export]
    use crate::hyperscale::place::NetworkCoordinate;
    #[pymodule_export]
    use crate::ids::{JobId, WorkerId, WorkflowId};
    #[pymodule_export]
    use crate::jobs::values::{
        ExtensionDenial, ExtensionGrant, JobGlobalTimeout, JobSnapshot, JobStatusCorrection,
        JobStuck, JobSuperseded, JobTimedOut, WorkerOverdue, WorkflowCounts, WorkflowEvent,
        WorkflowTransition,
    };
    #[pymodule_export]
    use crate::jobs::{GateJobTimeouts, JobTimeouts, WorkflowStateMachine};
    #[pymodule_export]
    use crate::leaders::{
        DatacenterView, LeaderElected, LeaderLost, Leadership, ReachabilityChanged, SteppedDown,
    };
    #[pymodule_export]
    use crate::names::enum_names;
    #[pymodule_export]
    use crate::node::{Node, NodeThread};
    #[pymodule_export]
    use crate::program::run_program;
    #[pymodule_export]
    use crate::routing::values::{
        Choice, DatacenterCandidate, ExcludedDatacenter, ExcludedManager, ManagerCandidate,
        RankedDatacenter, RankedManager, RoutingDecision, RoutingScore,
    };
    #[pymodule_export]
    use crate::routing::{Candidates, Router, classify_datacenter};
    #[pymodule_export]
    use crate::values::{Coordinate, Member, Rtt};

    #[pymodule_init]
    fn start(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::clock::start(module.py())
    }

    /// The version of the package.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name is Python's")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
