//! Jobs by themselves: what a node does about jobs, for programs that send messages of their own.

mod gate;
mod timeouts;
pub(crate) mod values;
mod workflow;

pub(crate) use gate::GateJobTimeouts;
pub(crate) use timeouts::JobTimeouts;
pub(crate) use workflow::WorkflowStateMachine;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shoal_core::jobs::messages::MESSAGE_SIZE_MAX;
use shoal_core::jobs::{JobMessage, Outgoing};

/// A message and where to send it: the arguments of `socket.sendto`.
type Sendto<'py> = (Bound<'py, PyBytes>, (String, u16));

/// Writes a message for Python.
fn sendto(py: Python<'_>, outgoing: Outgoing) -> Sendto<'_> {
    let mut buffer = [0; MESSAGE_SIZE_MAX];
    let size = outgoing.message.write(&mut buffer).expect("the buffer fits every message");
    let target = (outgoing.target.ip().to_string(), outgoing.target.port());
    (PyBytes::new(py, &buffer[..size]), target)
}

/// Reads a message that fills all of these bytes; `None` when they are none.
fn message(bytes: &[u8]) -> Option<JobMessage> {
    JobMessage::parse(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(message, _)| message)
}
