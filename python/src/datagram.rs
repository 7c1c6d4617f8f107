//! Datagrams of the Python node: sealed, opened, and taken apart.
//!
//! For programs that have a socket of their own. A datagram that cannot be opened or read is a
//! `DatagramError` that says why; entries of a section that break its form are left out, as the
//! engine does.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use shoal_core::random::Random;
use shoal_core::stats::Counter;
use shoal_core::wire::hyperscale::compression::{PACKING_OVERHEAD, pack};
use shoal_core::wire::hyperscale::envelope::{OVERHEAD, SEALED_OFFSET};
use shoal_core::wire::hyperscale::{
    Envelopes, FRAME_SIZE_MAX, Frame, FrameKind, Message, Payload, Unpacker,
};

use crate::convert::{AddressText, Secrets};
use crate::errors::Failure;
use crate::hyperscale::coordinates::NetworkCoordinate;

/// Seals and opens datagrams with one ring of secrets: the first seals, all open.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct Envelope {
    state: Mutex<State>,
}

struct State {
    envelopes: Envelopes,
    unpacker: Unpacker,
    buffer: Vec<u8>,
}

impl State {
    /// The frame of a datagram.
    fn open(&mut self, datagram: &[u8]) -> Result<&[u8], Counter> {
        let State { envelopes, unpacker, buffer } = self;
        buffer.clear();
        buffer.extend_from_slice(datagram);
        unpacker.unpack(envelopes.open(buffer)?)
    }

    fn seal_at_offset(&mut self, size: usize) -> &[u8] {
        let sealed = self.envelopes.seal(&mut self.buffer, size);
        &self.buffer[..sealed]
    }
}

fn refused(reason: Counter) -> PyErr {
    Failure::Datagram(format!("the datagram was refused: {}", reason.name())).into()
}

#[pymethods]
impl Envelope {
    /// `seed` makes salts differ between senders; every sender needs another.
    #[new]
    fn new(secret: Secrets, seed: u64) -> Envelope {
        let envelopes = Envelopes::new(&secret.0, 0, &mut Random::new(seed));
        let state = State { envelopes, unpacker: Unpacker::new(), buffer: Vec::new() };
        Envelope { state: Mutex::new(state) }
    }

    /// Packs and seals a frame.
    fn seal<'py>(&self, py: Python<'py>, frame: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        if frame.len() > FRAME_SIZE_MAX {
            let message =
                format!("a frame has at most {FRAME_SIZE_MAX} bytes, not {}", frame.len());
            return Err(Failure::Config(message).into());
        }
        let mut state = self.state()?;
        state.buffer.clear();
        state.buffer.resize(OVERHEAD + PACKING_OVERHEAD + frame.len(), 0);
        state.buffer[SEALED_OFFSET + PACKING_OVERHEAD..][..frame.len()].copy_from_slice(frame);
        let packed = pack(&mut state.buffer[SEALED_OFFSET..], frame.len());
        Ok(PyBytes::new(py, state.seal_at_offset(packed)))
    }

    /// Opens a datagram and unpacks its frame.
    fn open<'py>(&self, py: Python<'py>, datagram: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let mut state = self.state()?;
        Ok(PyBytes::new(py, state.open(datagram).map_err(refused)?))
    }

    /// Seals bytes as they are.
    fn encrypt<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let mut state = self.state()?;
        state.buffer.clear();
        state.buffer.resize(OVERHEAD + data.len(), 0);
        state.buffer[SEALED_OFFSET..][..data.len()].copy_from_slice(data);
        Ok(PyBytes::new(py, state.seal_at_offset(data.len())))
    }

    /// Opens what `encrypt` made, on this node or another.
    fn decrypt<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let mut state = self.state()?;
        let State { envelopes, buffer, .. } = &mut *state;
        buffer.clear();
        buffer.extend_from_slice(data);
        Ok(PyBytes::new(py, envelopes.open(buffer).map_err(refused)?))
    }

    /// Opens a datagram and takes it apart.
    fn parse(&self, py: Python<'_>, datagram: &[u8]) -> PyResult<Datagram> {
        let mut state = self.state()?;
        let frame = state.open(datagram).map_err(refused)?;
        let frame = Frame::parse(frame)
            .map_err(|_| Failure::Datagram("the datagram holds no frame".to_owned()))?;
        Datagram::read(py, &frame)
    }
}

impl Envelope {
    fn state(&self) -> PyResult<std::sync::MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| Failure::broken().into())
    }
}

/// A datagram of the Python node.
#[pyclass(frozen, get_all, module = "shoal")]
pub(crate) struct Datagram {
    /// "request" or "reply".
    kind: Py<PyString>,
    /// Where the sender says that it is reached.
    sender: String,
    /// Whom the message is for at the receiver; "receive" for all membership messages.
    handler: String,
    /// The sender's Lamport clock, or `None` when the frame ends before it or it is not believable.
    clock: Option<u64>,
    /// What is asked, answered or told; `None` when the protocol knows no such name.
    name: Option<Py<PyString>>,
    /// What stands between the name and the target.
    args: Vec<String>,
    /// The node that the message is about.
    target: Option<AddressText>,
    /// What stands in the target's place in the messages between clusters.
    body: Py<PyBytes>,
    /// The state that the sender attached.
    state: Option<Py<PyBytes>>,
    /// Where the sender is in the latency space.
    coordinate: Option<Py<NetworkCoordinate>>,
    payload: Py<PyBytes>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Datagram {
    fn read(py: Python<'_>, frame: &Frame<'_>) -> PyResult<Datagram> {
        let payload = Payload::parse(frame.payload);
        let message = Message::parse(payload.base);
        let kind = match frame.kind {
            FrameKind::Request => pyo3::intern!(py, "request"),
            FrameKind::Reply => pyo3::intern!(py, "reply"),
        };
        let state = payload.state.and_then(|encoded| {
            let mut decoded = vec![0; encoded.len()];
            payload.decode_state(&mut decoded).map(|state| PyBytes::new(py, state).unbind())
        });
        let coordinate = payload.coordinate().and_then(Result::ok);
        let coordinate =
            coordinate.map(|peer| NetworkCoordinate::of_peer(py, &peer)).transpose()?;
        let arguments = message.arguments;
        let args = if arguments.is_empty() { None } else { Some(arguments.split(|&b| b == b':')) };
        Ok(Datagram {
            kind: kind.clone().unbind(),
            sender: text(frame.sender),
            handler: text(frame.handler),
            clock: frame.clock,
            name: message.name.map(|name| PyString::intern(py, name.text()).unbind()),
            args: args.into_iter().flatten().map(text).collect(),
            target: message.target().map(AddressText),
            body: PyBytes::new(py, message.body).unbind(),
            state,
            coordinate,
            payload: PyBytes::new(py, frame.payload).unbind(),
        })
    }
}

#[pymethods]
impl Datagram {
    /// The news of members, as `MemberNews`.
    #[getter]
    fn members<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let class = class(py, "MemberNews")?;
        let entries = Payload::parse(self.payload.as_bytes(py)).members().flatten();
        let news = entries.map(|entry| {
            let role = entry.role.map(|role| role.name());
            class.call1((entry.kind.text(), entry.incarnation, AddressText(entry.address), role))
        });
        news.collect()
    }

    /// The news of health, as `HealthNews`.
    #[getter]
    fn health<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let class = class(py, "HealthNews")?;
        let entries = Payload::parse(self.payload.as_bytes(py)).health().flatten();
        let news = entries.map(|entry| {
            class.call1((
                entry.node_id,
                entry.node_type,
                entry.overload.text(),
                entry.is_accepting,
                entry.capacity,
                entry.throughput,
                entry.expected,
                entry.timestamp,
            ))
        });
        news.collect()
    }

    /// The news of workers, as `WorkerNews`.
    #[getter]
    fn workers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let class = class(py, "WorkerNews")?;
        let entries = Payload::parse(self.payload.as_bytes(py)).workers().flatten();
        let news = entries.map(|entry| {
            class.call1((
                entry.worker_id,
                entry.owner_id,
                entry.host,
                entry.tcp_port,
                entry.udp_port,
                entry.state.text(),
                entry.incarnation,
                entry.total_cores,
                entry.available_cores,
                entry.timestamp,
                entry.datacenter,
            ))
        });
        news.collect()
    }
}

/// A class of `shoal._datagram`.
fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(pyo3::intern!(py, "shoal._datagram"))?.getattr(name)
}
