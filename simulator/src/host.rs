//! One simulated machine: an engine, its clock, its socket's receive buffer, and what is wrong with
//! it.
//!
//! A healthy host acts on a datagram the moment it arrives. One that is stopped (SIGSTOP, a long
//! garbage collection) acts on nothing; datagrams pile up in its socket, and when it continues it
//! reads them with their times of arrival, up to 256 before its timers get their turn, as the
//! driver of a running node does. One that is blocked does not send or read, but its timers run:
//! that is Lifeguard's anomaly. A slow one needs time for every input.

use std::collections::VecDeque;

use shoal_core::{Address, Config, ConfigError, Duration, Engine, Instant};

use crate::clock::Clock;

/// Bytes that a socket holds for a process that does not read: what Linux grants by default for
/// what a node asks for (twice `net.core.rmem_max`).
pub const SOCKET_BUFFER_SIZE: usize = 425_984;
/// What the kernel accounts for a datagram besides its bytes.
const DATAGRAM_BOOKKEEPING: usize = 576;
/// Datagrams read in a row before timers get their turn.
pub(crate) const ROUND_INPUTS_MAX: usize = 256;
const PORT: u16 = 7_946;

/// Where host `number` is reached: 10.0.0.0/8, one address each.
pub fn address_of(number: u32) -> Address {
    let [_, b, c, d] = number.to_be_bytes();
    let mut ip = [0; 16];
    ip[10..].copy_from_slice(&[0xff, 0xff, 10, b, c, d]);
    Address::from_parts(ip, PORT)
}

/// Which host is reached there; a number no host has when none could be.
pub fn host_at(address: Address) -> u32 {
    let ip = address.ip_bytes();
    match ip[12] == 10 && address.port() == PORT {
        true => u32::from_be_bytes([0, ip[13], ip[14], ip[15]]),
        false => u32::MAX,
    }
}

/// A datagram in the socket buffer, with its time of arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub datagram: u32,
    pub at: Instant,
}

/// A machine that runs one node, or none at the moment.
#[derive(Debug)]
pub(crate) struct Host {
    pub engine: Option<Engine>,
    pub clock: Clock,
    /// The latest time that the engine was told.
    pub engine_time: Instant,
    /// What that was after the first input of the present step.
    pub step_time: Option<Instant>,
    /// Nothing runs.
    pub is_stopped: bool,
    /// Nothing is sent or read, but timers run.
    pub is_blocked: bool,
    /// How long every input takes; zero for a healthy machine.
    pub service: Duration,
    pub busy_until: Instant,
    /// The wake-up in the queue that counts; earlier ones have been replaced.
    pub wake_at: Instant,
    /// What waits in the socket.
    pub inbox: VecDeque<Received>,
    inbox_size: usize,
    /// What a blocked host is about to send: datagrams and where they go.
    pub outbox: Vec<(u32, u32)>,
}

impl Host {
    pub fn new(clock: Clock) -> Host {
        Host {
            engine: None,
            clock,
            engine_time: Instant::ZERO,
            step_time: None,
            is_stopped: false,
            is_blocked: false,
            service: Duration::ZERO,
            busy_until: Instant::ZERO,
            wake_at: Instant::MAX,
            inbox: VecDeque::new(),
            inbox_size: 0,
            outbox: Vec::new(),
        }
    }

    /// Starts a node, in place of the one that ran before.
    pub fn start(&mut self, config: Config, seed: u64, now: Instant) -> Result<(), ConfigError> {
        self.engine_time = self.clock.local(now);
        self.engine = Some(Engine::new(config, seed, self.engine_time)?);
        (self.is_stopped, self.is_blocked) = (false, false);
        Ok(())
    }

    /// Notes an input. Its time may lie before that of an earlier one, which then counts.
    pub fn note_input(&mut self, local: Instant) {
        self.engine_time = self.engine_time.max(local);
        self.step_time.get_or_insert(self.engine_time);
    }

    /// Whether a datagram can be acted on at once.
    pub fn is_idle(&self) -> bool {
        let is_healthy = !self.is_stopped && !self.is_blocked && self.service.is_zero();
        is_healthy && self.inbox.is_empty()
    }

    /// Whether it reads its socket now.
    pub fn is_reading(&self, now: Instant) -> bool {
        !self.is_stopped && !self.is_blocked && self.busy_until <= now
    }

    /// Puts a datagram into the socket; false when there is no room.
    pub fn enqueue(&mut self, received: Received, size: usize) -> bool {
        let needed = size + DATAGRAM_BOOKKEEPING;
        if self.inbox_size + needed > SOCKET_BUFFER_SIZE {
            return false;
        }
        self.inbox_size += needed;
        self.inbox.push_back(received);
        true
    }

    /// Notes that a datagram of this size has been read.
    pub fn note_read(&mut self, size: usize) {
        self.inbox_size -= size + DATAGRAM_BOOKKEEPING;
    }

    /// When it has something to do next.
    pub fn next_wake(&self, now: Instant) -> Instant {
        let Some(engine) = self.engine.as_ref().filter(|_| !self.is_stopped) else {
            return Instant::MAX;
        };
        let deadline = engine.poll_timeout().unwrap_or(Instant::MAX);
        let has_input = !self.inbox.is_empty() && !self.is_blocked;
        let due = if has_input { now } else { self.clock.true_time(deadline).max(now) };
        due.max(self.busy_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers_belong_together() {
        for number in [0, 1, 255, 256, 70_000, 0xff_ffff] {
            let address = address_of(number);
            assert!(address.is_reachable());
            assert_eq!(host_at(address), number);
        }
        assert_eq!(address_of(258).to_string(), "10.0.1.2:7946");
        assert_eq!(host_at("192.168.0.1:7946".parse().unwrap()), u32::MAX);
        assert_eq!(host_at("10.0.0.1:1".parse().unwrap()), u32::MAX);
    }

    #[test]
    fn a_socket_holds_so_much_and_no_more() {
        let mut host = Host::new(Clock::TRUE);
        let received = Received { datagram: 0, at: Instant::ZERO };
        let held = (0..10_000).filter(|_| host.enqueue(received, 200)).count();
        assert_eq!(held, SOCKET_BUFFER_SIZE / (200 + DATAGRAM_BOOKKEEPING));
        host.note_read(200);
        assert!(host.enqueue(received, 200));
        assert!(!host.enqueue(received, 200));
    }
}
