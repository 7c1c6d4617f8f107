//! The transport for systems without epoll and io_uring: plain non-blocking calls of the standard
//! library.
//!
//! It looks at every socket in turn and sleeps a millisecond when there was nothing, so it is
//! neither fast nor frugal. It is there so that programs can be developed on such systems.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use super::driver::Command;
use super::wake::Mailbox;
use super::{Faults, Input, Token, Transport, socket};
use crate::config::DATAGRAM_SIZE_MAX;
use crate::engine::Transmit;
use crate::time::Duration;

/// The longest sleep between two looks at the sockets.
const NAP: Duration = Duration::from_millis(1);

struct Port {
    socket: UdpSocket,
    faults: Faults,
}

/// The transport over non-blocking sockets.
pub(super) struct Portable {
    commands: Arc<Mailbox<Command>>,
    ports: Vec<Option<Port>>,
    closed: Vec<Token>,
    /// The next socket to look at, and how many are left to look at in this round.
    next: usize,
    left: usize,
    received: Box<[u8]>,
    outgoing: Box<[u8]>,
}

impl Portable {
    pub(super) fn new(commands: Arc<Mailbox<Command>>) -> io::Result<Portable> {
        Ok(Portable {
            commands,
            ports: Vec::new(),
            closed: Vec::new(),
            next: 0,
            left: 0,
            received: vec![0; DATAGRAM_SIZE_MAX + 1].into_boxed_slice(),
            outgoing: vec![0; DATAGRAM_SIZE_MAX].into_boxed_slice(),
        })
    }

    /// Looks at one socket. `None` when it has nothing.
    fn look(&mut self, index: usize) -> Option<(std::net::SocketAddr, usize)> {
        let port = self.ports[index].as_mut()?;
        match port.socket.recv_from(&mut self.received) {
            Ok((size, source)) => Some((source, size)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => {
                port.faults.receive_errors += 1;
                None
            }
        }
    }
}

impl Transport for Portable {
    fn open(&mut self, token: Token, socket: UdpSocket) -> io::Result<()> {
        let index = token as usize;
        if index >= self.ports.len() {
            self.ports.resize_with(index + 1, || None);
        }
        self.ports[index] = Some(Port { socket, faults: Faults::default() });
        Ok(())
    }

    fn close(&mut self, token: Token) {
        self.ports[token as usize] = None;
        self.closed.push(token);
    }

    fn wait(&mut self, timeout: Option<Duration>) {
        if self.left == 0 && self.closed.is_empty() {
            self.commands.signal().wait(timeout.map_or(NAP, |timeout| timeout.min(NAP)));
        }
        self.commands.signal().clear();
        self.left = self.ports.len();
    }

    fn receive(&mut self) -> Option<Input<'_>> {
        if let Some(token) = self.closed.pop() {
            return Some(Input::Closed { token });
        }
        while self.left > 0 {
            self.left -= 1;
            self.next = (self.next + 1) % self.ports.len();
            let token = self.next as Token;
            if let Some((source, size)) = self.look(self.next) {
                let bytes = &mut self.received[..size];
                return Some(Input::Datagram { token, source: source.into(), stamp: None, bytes });
            }
        }
        None
    }

    fn send_slot(&mut self) -> &mut [u8] {
        &mut self.outgoing
    }

    fn send(&mut self, token: Token, transmit: Transmit) {
        let port = self.ports[token as usize].as_mut().expect("only open sockets send");
        let target = socket::target_for(transmit.target, &port.socket);
        let datagram = &self.outgoing[..transmit.size];
        if target.and_then(|target| port.socket.send_to(datagram, target)).is_err() {
            port.faults.send_errors += 1;
        }
    }

    fn faults(&self, token: Token) -> Faults {
        self.ports[token as usize].as_ref().map_or(Faults::default(), |port| port.faults)
    }
}
