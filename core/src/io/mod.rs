//! Running nodes: an [`Engine`](crate::Engine) and a UDP socket on a thread.
//!
//! One thread runs any number of nodes over one transport, in rounds: wait for datagrams, a
//! deadline or a command; hand every input to its engine; write what the engines answer into send
//! slots; publish what hosts read. Two transports do the same work: `uring` (one io_uring with a
//! multishot receive per socket) and `poll` (epoll with batched receive and send calls). `poll` is
//! also what remains where io_uring is forbidden, as under Docker's default seccomp profile. Other
//! systems than Linux get a plain one.
//!
//! Everything else in the crate is a pure function of its inputs. Clocks, system randomness,
//! threads and unsafe code are here.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
mod buffers;
mod clock;
#[cfg(test)]
mod conformance;
mod driver;
mod error;
mod node;
#[cfg(target_os = "linux")]
mod poll;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;
mod routes;
mod socket;
#[cfg(target_os = "linux")]
mod uring;
mod view;
mod wake;

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::str::FromStr;

use crate::engine::Transmit;
use crate::node::Address;
use crate::stats::{Counter, Stats};
use crate::time::Duration;

pub use error::{NodeError, StartError};
pub use node::{Node, NodeOptions, NodeThread};

/// What a host asks for. [`BackendChoice::Auto`] takes [`Backend::Uring`] where the system allows
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// The best that works here.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// Plain system calls, even where io_uring would work.
    Poll,
}

impl FromStr for BackendChoice {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<BackendChoice, UnknownBackend> {
        match text {
            "auto" => Ok(BackendChoice::Auto),
            "uring" => Ok(BackendChoice::Uring),
            "poll" => Ok(BackendChoice::Poll),
            _ => Err(UnknownBackend(text.to_owned())),
        }
    }
}

/// The text names no backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown backend {0:?}, expected auto, uring or poll")]
pub struct UnknownBackend(String);

/// How a running node reads and writes its datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Linux io_uring.
    Uring,
    /// epoll with `recvmmsg` and `sendmmsg`; plain calls on other systems.
    Poll,
}

impl Backend {
    /// The name used in events, logs and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Uring => "uring",
            Backend::Poll => "poll",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The number of a socket within its transport. Given out again after [`Input::Closed`].
type Token = u32;

/// Something that a transport has for the driver.
#[derive(Debug)]
enum Input<'a> {
    /// A datagram, where the kernel put it.
    Datagram {
        token: Token,
        source: Address,
        /// When it arrived by the wall clock, in nanoseconds since 1970, if the kernel said.
        stamp: Option<u64>,
        /// Its bytes. More than [`DATAGRAM_SIZE_MAX`](crate::config::DATAGRAM_SIZE_MAX) of them
        /// mean that it was too large, and that the rest is cut off.
        bytes: &'a mut [u8],
    },
    /// The last trace of a socket is gone: its address is free again.
    Closed { token: Token },
}

/// Moves datagrams between sockets and the driver. All calls come from one thread.
trait Transport {
    /// Takes over a bound socket and begins to receive from it.
    fn open(&mut self, token: Token, socket: UdpSocket) -> io::Result<()>;

    /// Sends what is queued and gives the socket up. [`Input::Closed`] follows.
    fn close(&mut self, token: Token);

    /// Sends what is queued, then waits for input or for a command, at most `timeout`.
    fn wait(&mut self, timeout: Option<Duration>);

    /// The next input, `None` when another wait is due. Takes back the buffer of the one before.
    fn receive(&mut self) -> Option<Input<'_>>;

    /// Room for one datagram of [`DATAGRAM_SIZE_MAX`](crate::config::DATAGRAM_SIZE_MAX) bytes. When
    /// all is taken, what is queued is sent at once, and what no socket takes then is lost and
    /// counted, oldest first: an engine can always be drained.
    fn send_slot(&mut self) -> &mut [u8];

    /// Queues the datagram that was written into the last [`Transport::send_slot`].
    fn send(&mut self, token: Token, transmit: Transmit);

    /// What went wrong on a socket so far.
    fn faults(&self, token: Token) -> Faults;
}

/// What went wrong on one socket. None of it ends the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Faults {
    send_errors: u64,
    sends_deferred: u64,
    receive_errors: u64,
    socket_overflows: u64,
}

impl Faults {
    fn add_to(&self, stats: &mut Stats) {
        stats.add(Counter::SendErrors, self.send_errors);
        stats.add(Counter::SendsDeferred, self.sends_deferred);
        stats.add(Counter::ReceiveErrors, self.receive_errors);
        stats.add(Counter::SocketOverflows, self.socket_overflows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_named() {
        assert_eq!("auto".parse(), Ok(BackendChoice::Auto));
        assert_eq!(Backend::Uring.to_string().parse(), Ok(BackendChoice::Uring));
        assert_eq!(Backend::Poll.to_string().parse(), Ok(BackendChoice::Poll));
        let error = "epoll".parse::<BackendChoice>().unwrap_err();
        assert_eq!(error.to_string(), "unknown backend \"epoll\", expected auto, uring or poll");
    }
}
