//! Datagrams of the Python node: sealed, opened, and taken apart.
//!
//! For programs that have a socket of their own. A datagram that cannot be opened or read is a
//! `DatagramError` that says why; entries of a section that break its form are left out, as the
//! engine does.

use std::ops::Range;
use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shoal_core::Address;
use shoal_core::random::Random;
use shoal_core::stats::Counter;
use shoal_core::wire::hyperscale::compression::{PACKING_OVERHEAD, pack};
use shoal_core::wire::hyperscale::envelope::{OVERHEAD, SEALED_OFFSET};
use shoal_core::wire::hyperscale::{
    Envelopes, FRAME_SIZE_MAX, Frame, FrameKind, Message, Name as MessageName, Payload, Unpacker,
};

use crate::convert::{AddressText, Secrets};
use crate::errors::Failure;
use crate::hyperscale::place::NetworkCoordinate;

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
    fn parse(&self, datagram: &[u8]) -> PyResult<Datagram> {
        let mut state = self.state()?;
        let frame = state.open(datagram).map_err(refused)?;
        let no_frame = || Failure::Datagram("the datagram holds no frame".to_owned());
        Ok(Datagram::read(frame).ok_or_else(no_frame)?)
    }
}

impl Envelope {
    fn state(&self) -> PyResult<std::sync::MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| Failure::broken().into())
    }
}

/// A datagram of the Python node. What most programs look at was read when it was opened, the rest
/// is when it is asked for.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct Datagram {
    frame: Box<[u8]>,
    kind: FrameKind,
    clock: Option<u64>,
    sender: Range<usize>,
    handler: Range<usize>,
    payload: Range<usize>,
    /// The payload without its sections.
    base: Range<usize>,
    name: Option<MessageName>,
    target: Option<Address>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where a part of these bytes lies in them.
fn range(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

impl Datagram {
    fn read(frame: &[u8]) -> Option<Datagram> {
        let Frame { kind, sender, handler, clock, payload, .. } = Frame::parse(frame).ok()?;
        let base = Payload::parse(payload).base;
        let message = Message::parse(base);
        Some(Datagram {
            frame: frame.into(),
            kind,
            clock,
            sender: range(frame, sender),
            handler: range(frame, handler),
            payload: range(frame, payload),
            base: range(frame, base),
            name: message.name,
            target: message.target(),
        })
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        &self.frame[range.clone()]
    }

    fn payload(&self) -> Payload<'_> {
        Payload::parse(self.part(&self.payload))
    }

    fn message(&self) -> Message<'_> {
        Message::parse(self.part(&self.base))
    }
}

#[pymethods]
impl Datagram {
    /// "request" or "reply".
    #[getter]
    fn kind(&self) -> &'static str {
        match self.kind {
            FrameKind::Request => "request",
            FrameKind::Reply => "reply",
        }
    }

    /// Where the sender says that it is reached.
    #[getter]
    fn sender(&self) -> String {
        text(self.part(&self.sender))
    }

    /// Whom the message is for at the receiver; "receive" for all membership messages.
    #[getter]
    fn handler(&self) -> String {
        text(self.part(&self.handler))
    }

    /// The sender's Lamport clock, or `None` when it is not there or not believable.
    #[getter]
    fn clock(&self) -> Option<u64> {
        self.clock
    }

    /// What is asked, answered or told; `None` when the protocol knows no such name.
    #[getter]
    fn name(&self) -> Option<&'static str> {
        self.name.map(|name| name.text())
    }

    /// What stands between the name and the target.
    #[getter]
    fn args(&self) -> Vec<String> {
        let arguments = self.message().arguments;
        let args = (!arguments.is_empty()).then(|| arguments.split(|&byte| byte == b':'));
        args.into_iter().flatten().map(text).collect()
    }

    /// The node that the message is about.
    #[getter]
    fn target(&self) -> Option<AddressText> {
        self.target.map(AddressText)
    }

    /// What stands in the target's place, as it came.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.message().body)
    }

    /// The message with all its sections.
    #[getter(payload)]
    fn payload_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.part(&self.payload))
    }

    /// The state that the sender attached.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let payload = self.payload();
        let mut decoded = vec![0; payload.state?.len()];
        payload.decode_state(&mut decoded).map(|state| PyBytes::new(py, state))
    }

    /// Where the sender is in the latency space.
    #[getter]
    fn coordinate(&self, py: Python<'_>) -> PyResult<Option<Py<NetworkCoordinate>>> {
        let told = self.payload().coordinate().and_then(Result::ok);
        told.map(|peer| NetworkCoordinate::of_peer(py, &peer)).transpose()
    }

    /// The news of members, as `MemberNews`.
    #[getter]
    fn members<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let class = class(py, "MemberNews")?;
        let entries = self.payload().members().flatten();
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
        let entries = self.payload().health().flatten();
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
        let entries = self.payload().workers().flatten();
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
