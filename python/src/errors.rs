//! The one place where a failure becomes a Python exception.
//!
//! The exception classes are Python classes (`shoal._errors`), so that they can derive from a
//! class of Shoal and from the built-in one that fits. Nothing here keeps a reference to
//! them: a failure is rare, and looking its class up takes a microsecond.

use pyo3::prelude::*;
use pyo3::types::PyType;
use shoal_core::io::{NodeError, StartError};
use shoal_core::{CommandError, ConfigError};

/// Everything that can go wrong in a call from Python, but for arguments of a wrong type, which
/// are a `TypeError` as everywhere in Python.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A setting or an argument has a value that Shoal cannot work with.
    Config(String),
    /// A text or tuple is no address.
    Address(String),
    /// The system did not let a node or its thread start; with its error number where there is one.
    Start { message: String, errno: Option<i32> },
    /// A running engine refused a command.
    Command(String),
    /// Bytes are no datagram of the Python node, or not one for these secrets.
    Datagram(String),
    /// The call does not fit the state of the object.
    Lifecycle(&'static str),
    /// The node is closed, or its thread has ended.
    Closed(&'static str),
    /// The object was made before a fork, by the parent process.
    Forked,
}

/// A node that is not started, in words.
pub(crate) const NODE_NOT_STARTED: &str =
    "the node is not started; use `async with`, `with` or start()";
/// A node whose thread ended by a defect, in words.
pub(crate) const NODE_STOPPED: &str =
    "the node's thread has ended; standard error says why, please report it; make a new node";
/// A closed node, in words.
pub(crate) const NODE_CLOSED: &str = "the node is closed; make a new one";

impl Failure {
    /// An object that failed a check of its own in an earlier call.
    pub(crate) fn broken() -> Failure {
        Failure::Lifecycle("an earlier call failed a check of its own; please report it")
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::Config(error.to_string())
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Failure {
        Failure::Command(error.to_string())
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Failure {
        match error {
            NodeError::Refused(refusal) => refusal.into(),
            _ => Failure::Closed(NODE_STOPPED),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        let message = error.to_string();
        let system = |source: &std::io::Error| source.raw_os_error();
        let errno = match &error {
            StartError::Config(_) | StartError::AdvertiseUnknown { .. } | StartError::Join(_) => {
                return Failure::Config(message);
            }
            StartError::AddressInUse { .. } => Some(libc::EADDRINUSE),
            StartError::AddressNotAvailable { .. } => Some(libc::EADDRNOTAVAIL),
            StartError::Bind { source, .. } | StartError::Pin { source, .. } => system(source),
            StartError::Resources(source) => system(source),
            _ => None,
        };
        Failure::Start { message, errno }
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> PyErr {
        Python::attach(|py| match failure {
            Failure::Config(message) => exception(py, "ConfigError", (message,)),
            Failure::Address(message) => exception(py, "AddressError", (message,)),
            Failure::Start { message, errno: Some(errno) } => {
                exception(py, "StartError", (errno, message))
            }
            Failure::Start { message, errno: None } => exception(py, "StartError", (message,)),
            Failure::Command(message) => exception(py, "CommandError", (message,)),
            Failure::Datagram(message) => exception(py, "DatagramError", (message,)),
            Failure::Lifecycle(message) => exception(py, "LifecycleError", (message,)),
            Failure::Closed(message) => exception(py, "ClosedError", (message,)),
            Failure::Forked => {
                let message = "this object belongs to the parent process; make a new one after \
                               the fork, or start the child with the \"spawn\" method";
                exception(py, "ForkedError", (message,))
            }
        })
    }
}

fn exception<A>(py: Python<'_>, name: &str, arguments: A) -> PyErr
where
    A: pyo3::PyErrArguments + Send + Sync + 'static,
{
    let class = py.import("shoal._errors").and_then(|module| module.getattr(name));
    match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
        Ok(class) => PyErr::from_type(class, arguments),
        Err(error) => error,
    }
}
