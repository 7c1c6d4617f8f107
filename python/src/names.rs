//! Names out of a fixed list: roles, states, reasons. In Rust an enum, in Python an enum whose
//! members are strings, so that a plain name does wherever one is expected.
//!
//! The Python classes are in `shoal._enums`. A member is looked up once and handed out ever after.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use pyo3::{Borrowed, IntoPyObject};
use shoal_core::coordinate::Refusal;
use shoal_core::engine::JobStanding;
use shoal_core::jobs::{JobOutcome, TimeoutReason, TimeoutRule, WorkflowState};
use shoal_core::routing::{Bucket, CircuitState, DatacenterHealth, Exclusion, Reason};
use shoal_core::{MemberState, Role, WireFormat};

use crate::errors::Failure;

/// Members of a Python enum, in the order of the Rust one.
pub(crate) type Members = PyOnceLock<Vec<Py<PyAny>>>;

/// A Rust enum that is an enum of strings in Python.
pub(crate) trait Named: Copy + PartialEq + 'static {
    /// The Python class.
    const CLASS: &'static str;
    /// What it is, in a sentence about a wrong one.
    const WHAT: &'static str;
    const ALL: &'static [Self];
    fn text(self) -> &'static str;
    fn members() -> &'static Members;
}

macro_rules! named {
    ($($type:ty, $class:literal, $what:literal, $all:expr, $text:expr;)*) => {
        $(impl Named for $type {
            const CLASS: &'static str = $class;
            const WHAT: &'static str = $what;
            const ALL: &'static [$type] = &$all;

            fn text(self) -> &'static str {
                let text: fn($type) -> &'static str = $text;
                text(self)
            }

            fn members() -> &'static Members {
                static MEMBERS: Members = PyOnceLock::new();
                &MEMBERS
            }
        })*

        /// The names of every enum by its class.
        #[pyfunction]
        pub(crate) fn enum_names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
            let names = PyDict::new(py);
            $(
                let all: Vec<_> = <$type as Named>::ALL.iter().map(|one| one.text()).collect();
                names.set_item($class, all)?;
            )*
            Ok(names)
        }
    };
}

named! {
    Role, "Role", "role", Role::ALL, Role::name;
    MemberState, "MemberState", "member state", MemberState::ALL, MemberState::name;
    Refusal, "Refusal", "refusal", Refusal::ALL, Refusal::name;
    TimeoutReason, "TimeoutReason", "timeout reason", TimeoutReason::ALL, TimeoutReason::name;
    TimeoutRule, "TimeoutRule", "timeout rule", [TimeoutRule::Any, TimeoutRule::Majority],
        TimeoutRule::name;
    WireFormat, "WireFormat", "wire format", WireFormat::ALL, WireFormat::name;
    JobOutcome, "JobOutcome", "job outcome", JobOutcome::ALL, JobOutcome::name;
    DenialReason, "DenialReason", "denial reason", DenialReason::ALL, DenialReason::name;
    JobStanding, "JobStanding", "job standing",
        [
            JobStanding::Alive,
            JobStanding::SuspectForJob,
            JobStanding::DeadForJob,
            JobStanding::Suspect,
            JobStanding::Dead,
        ], standing_name;
    WorkflowState, "WorkflowState", "workflow state", WorkflowState::ALL, WorkflowState::name;
    Bucket, "Bucket", "bucket", Bucket::ALL, Bucket::name;
    DatacenterHealth, "DatacenterHealth", "datacenter health", DatacenterHealth::ALL,
        DatacenterHealth::name;
    CircuitState, "CircuitState", "circuit state",
        [CircuitState::Closed, CircuitState::HalfOpen, CircuitState::Open], circuit_name;
    Reason, "RoutingReason", "routing reason", Reason::ALL, Reason::name;
    Exclusion, "Exclusion", "exclusion",
        [
            Exclusion::UnhealthyStatus,
            Exclusion::NoRegisteredManagers,
            Exclusion::AllManagersCircuitOpen,
            Exclusion::CircuitBreakerOpen,
            Exclusion::HeartbeatStale,
            Exclusion::SloLatencyExceeded,
            Exclusion::SloCapacityInsufficient,
        ], Exclusion::name;
}

const fn circuit_name(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::HalfOpen => "half_open",
        CircuitState::Open => "open",
    }
}

const fn standing_name(standing: JobStanding) -> &'static str {
    match standing {
        JobStanding::Alive => "alive",
        JobStanding::SuspectForJob => "suspect_for_job",
        JobStanding::DeadForJob => "dead_for_job",
        JobStanding::Suspect => "suspect",
        JobStanding::Dead => "dead",
    }
}

/// Why no extension was granted, without the figures that belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenialReason {
    Exhausted,
    NoProgress,
    Suspect,
    NotANumber,
    UnknownJob,
    Full,
}

impl DenialReason {
    const ALL: [DenialReason; 6] = [
        DenialReason::Exhausted,
        DenialReason::NoProgress,
        DenialReason::Suspect,
        DenialReason::NotANumber,
        DenialReason::UnknownJob,
        DenialReason::Full,
    ];

    const fn name(self) -> &'static str {
        match self {
            DenialReason::Exhausted => "exhausted",
            DenialReason::NoProgress => "no_progress",
            DenialReason::Suspect => "suspect",
            DenialReason::NotANumber => "not_a_number",
            DenialReason::UnknownJob => "unknown_job",
            DenialReason::Full => "full",
        }
    }
}

/// A name on its way to Python or from there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Name<T>(pub T);

impl<'py, T: Named> IntoPyObject<'py> for Name<T> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let members = T::members().get_or_try_init(py, || {
            let class = py.import("shoal._enums")?.getattr(T::CLASS)?;
            T::ALL
                .iter()
                .map(|one| Ok(class.call1((one.text(),))?.unbind()))
                .collect::<PyResult<_>>()
        })?;
        let position = T::ALL.iter().position(|one| *one == self.0);
        Ok(members[position.expect("every member is listed")].bind(py).clone())
    }
}

impl<T: Named> FromPyObject<'_, '_> for Name<T> {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Name<T>> {
        let what = T::WHAT;
        let Ok(text) = value.cast::<PyString>() else {
            let class = value.get_type().name()?.to_string();
            return Err(PyTypeError::new_err(format!("a {what} is a str, not {class}")));
        };
        let text = text.to_cow()?;
        let found = T::ALL.iter().find(|one| one.text() == text);
        let unknown = || {
            let names: Vec<_> = T::ALL.iter().map(|one| one.text()).collect();
            let (last, others) = names.split_last().expect("an enum has members");
            let expected = format!("{} or {last}", others.join(", "));
            Failure::Config(format!("unknown {what} {text:?}, expected {expected}"))
        };
        Ok(Name(*found.ok_or_else(unknown)?))
    }
}
