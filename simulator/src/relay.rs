//! A UDP relay that gives unmodified nodes a wide-area network, on one machine and without root.
//!
//! The relay owns the addresses that nodes advertise; each node is bound to another, local one. A
//! datagram that A sends to B's advertised address reaches the relay's socket for B, waits out the
//! link from A to B, and leaves from the relay's socket for A. So B sees A's advertised address as
//! its source, as across a NAT, and neither end knows of the relay:
//!
//! ```text
//! A (local) --> [B advertised] relay: delay, jitter, loss, ... [A advertised] --> B (local)
//! ```
//!
//! Each direction of each pair is a [`Link`] of its own, so paths may be asymmetric. All faults can
//! be changed while traffic flows. Each link draws its faults from a generator of its own: what
//! happens to the n-th datagram of a link depends on the seed and the link alone, however the links
//! interleave.
//!
//! Limits: one thread; at most [`ENDPOINT_COUNT_MAX`] endpoints; datagrams wait in a queue of
//! [`RelayOptions::queue_capacity`], and newcomers are dropped and counted when it is full. A
//! change of links or partitions applies to datagrams that arrive after it. A datagram leaves when
//! it is due, as precisely as the machine wakes a thread up; [`RelayCounts::lateness_max`] tells
//! how well that went.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use shoal_core::random::Random;

/// The most endpoints of one relay. Links are kept per pair, so memory grows with its square.
pub const ENDPOINT_COUNT_MAX: usize = 512;
/// The largest datagram that is relayed, in bytes: the largest that UDP over IPv4 carries.
const DATAGRAM_SIZE_MAX: usize = 65_507;
/// Datagrams read from one socket before the others, and those that are due, get their turn.
const BATCH_SIZE: usize = 64;
/// A delay that jitter makes longer than this many times its mean is cut: the tail has an end.
const JITTER_FACTOR_MAX: f64 = 10.0;
/// The event number that stands for the relay's own wake-up, beyond every endpoint's.
const WAKE: u64 = u64::MAX;

/// What happens to the datagrams in one direction between two endpoints. The default is a perfect
/// link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// The time every datagram takes.
    pub delay: Duration,
    /// The mean of a random addition to it, exponentially distributed and cut at ten times the
    /// mean. It never lets datagrams overtake each other: that is what `reordering` is for.
    pub jitter: Duration,
    /// The share of datagrams that vanish; 0 to 1.
    pub loss: f64,
    /// The share of datagrams that arrive twice; 0 to 1.
    pub duplication: f64,
    /// The share of datagrams that are held back so that later ones overtake them; 0 to 1.
    pub reordering: f64,
}

/// How to start a relay.
#[derive(Clone, Copy, Debug)]
pub struct RelayOptions {
    /// Decides every random fault.
    pub seed: u64,
    /// The most datagrams under way at a time. When full, newcomers are dropped and counted.
    pub queue_capacity: usize,
}

impl Default for RelayOptions {
    fn default() -> RelayOptions {
        RelayOptions { seed: 1, queue_capacity: 65_536 }
    }
}

/// One node's place at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(usize);

/// What the relay did with the datagrams it received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Datagrams that came in from attached nodes.
    pub received: u64,
    /// Datagrams handed to their target, copies included.
    pub delivered: u64,
    /// Datagrams lost by [`Link::loss`].
    pub lost: u64,
    /// Copies made by [`Link::duplication`].
    pub duplicated: u64,
    /// Datagrams held back by [`Link::reordering`].
    pub reordered: u64,
    /// Datagrams that met a partition.
    pub blocked: u64,
    /// Datagrams dropped because the queue was full.
    pub overflowed: u64,
    /// Datagrams from a local address that no endpoint is attached to.
    pub strangers: u64,
    /// Datagrams due for an endpoint that no node is attached to.
    pub unattached: u64,
    /// Datagrams that the system did not take when they were due.
    pub refused: u64,
    /// The longest time a datagram left after it was due.
    pub lateness_max: Duration,
}

/// A running relay, and the handle that changes its links. It stops when it is dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the thread have in common.
#[derive(Debug)]
struct Shared {
    network: Mutex<Network>,
    poller: OwnedFd,
    wake: OwnedFd,
}

/// Endpoints, links and partitions. The thread holds the lock for one batch at a time.
#[derive(Debug)]
struct Network {
    seed: u64,
    stopped: bool,
    endpoints: Vec<EndpointState>,
    /// Which endpoint sends from a local address.
    senders: HashMap<SocketAddr, usize>,
    /// By sender, then by target.
    paths: Vec<Vec<Path>>,
    counts: RelayCounts,
}

#[derive(Debug)]
struct EndpointState {
    advertised: SocketAddr,
    local: Option<SocketAddr>,
    socket: Arc<UdpSocket>,
}

/// One direction between two endpoints, with what it remembers.
#[derive(Debug)]
struct Path {
    link: Link,
    blocked: bool,
    random: Random,
    /// When the last datagram that keeps the order is due.
    last_due: Option<Instant>,
}

/// When the copies of one datagram are due; `None` for those that never arrive.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    first: Option<Instant>,
    copy: Option<Instant>,
}

impl Relay {
    /// Starts a relay without endpoints, on a thread of its own.
    ///
    /// # Errors
    /// When the system has no file descriptors or threads left.
    pub fn start(options: RelayOptions) -> io::Result<Relay> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let data = epoll::EventData::new_u64(WAKE);
        epoll::add(&poller, &wake, data, epoll::EventFlags::IN)?;
        let network = Network {
            seed: options.seed,
            stopped: false,
            endpoints: Vec::new(),
            senders: HashMap::new(),
            paths: Vec::new(),
            counts: RelayCounts::default(),
        };
        let shared = Arc::new(Shared { network: Mutex::new(network), poller, wake });
        let carrier = Carrier::new(Arc::clone(&shared), options.queue_capacity);
        let builder = std::thread::Builder::new().name("shoal-relay".to_owned());
        let thread = builder.spawn(move || carrier.run())?;
        Ok(Relay { shared, thread: Some(thread) })
    }

    /// Takes an address into the relay's ownership; port 0 lets the system choose one. Datagrams to
    /// it are dropped until a node is attached. Its links are perfect until they are set.
    ///
    /// # Errors
    /// When the address cannot be bound, or [`ENDPOINT_COUNT_MAX`] is reached. Nothing was added.
    pub fn add_endpoint(&self, advertised: SocketAddr) -> io::Result<Endpoint> {
        let socket = UdpSocket::bind(advertised)?;
        socket.set_nonblocking(true)?;
        let advertised = socket.local_addr()?;
        let mut network = self.shared.network();
        let index = network.endpoints.len();
        if index == ENDPOINT_COUNT_MAX {
            return Err(io::Error::other(format!("a relay has {ENDPOINT_COUNT_MAX} endpoints")));
        }
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.shared.poller, &socket, data, epoll::EventFlags::IN)?;
        network.add(EndpointState { advertised, local: None, socket: Arc::new(socket) });
        Ok(Endpoint(index))
    }

    /// The address that peers send to.
    pub fn advertised(&self, endpoint: Endpoint) -> SocketAddr {
        self.shared.network().endpoints[endpoint.0].advertised
    }

    /// Says where the node behind an endpoint is bound: datagrams from there are its own, and those
    /// for the endpoint go there. Replaces an earlier attachment.
    pub fn attach(&self, endpoint: Endpoint, local: SocketAddr) {
        let mut network = self.shared.network();
        network.detach(endpoint.0);
        network.endpoints[endpoint.0].local = Some(local);
        network.senders.insert(local, endpoint.0);
    }

    /// Forgets the node behind an endpoint. Call it when the node stops, before another program can
    /// be given its local port.
    pub fn detach(&self, endpoint: Endpoint) {
        self.shared.network().detach(endpoint.0);
    }

    /// Sets one direction between two endpoints.
    pub fn set_link(&self, from: Endpoint, to: Endpoint, link: Link) {
        self.shared.network().paths[from.0][to.0].link = link;
    }

    /// One direction between two endpoints, as set.
    pub fn link(&self, from: Endpoint, to: Endpoint) -> Link {
        self.shared.network().paths[from.0][to.0].link
    }

    /// Sets every direction between every two endpoints, from a function of sender and target.
    pub fn set_links(&self, mut link: impl FnMut(Endpoint, Endpoint) -> Link) {
        for (from, row) in self.shared.network().paths.iter_mut().enumerate() {
            for (to, path) in row.iter_mut().enumerate() {
                path.link = link(Endpoint(from), Endpoint(to));
            }
        }
    }

    /// Stops everything that these senders send to these targets; the way back stays open.
    pub fn block(&self, from: &[Endpoint], to: &[Endpoint]) {
        let mut network = self.shared.network();
        for from in from {
            for to in to {
                network.paths[from.0][to.0].blocked = true;
            }
        }
    }

    /// Stops everything between two groups, both ways.
    pub fn partition(&self, left: &[Endpoint], right: &[Endpoint]) {
        self.block(left, right);
        self.block(right, left);
    }

    /// Ends every partition. Links stay as they were set.
    pub fn heal(&self) {
        for row in &mut self.shared.network().paths {
            for path in row {
                path.blocked = false;
            }
        }
    }

    /// What has happened so far.
    pub fn counts(&self) -> RelayCounts {
        self.shared.network().counts
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.network().stopped = true;
        // An eventfd takes a write unless its counter is full, and then it is readable already.
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic of the relay's thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn network(&self) -> MutexGuard<'_, Network> {
        // Every change under the lock is complete in itself, so a panic elsewhere breaks nothing.
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network {
    fn add(&mut self, endpoint: EndpointState) {
        self.endpoints.push(endpoint);
        let count = self.endpoints.len();
        self.paths.resize_with(count, Vec::new);
        for (from, row) in self.paths.iter_mut().enumerate() {
            for to in row.len()..count {
                let number = (from * ENDPOINT_COUNT_MAX + to) as u64;
                let random = Random::new(Random::new(self.seed ^ number).next_u64());
                row.push(Path { link: Link::default(), blocked: false, random, last_due: None });
            }
        }
    }

    fn detach(&mut self, index: usize) {
        if let Some(local) = self.endpoints[index].local.take() {
            self.senders.remove(&local);
        }
    }

    /// Decides what becomes of a datagram for `to` that came from a local address, and counts it.
    fn decide(&mut self, source: SocketAddr, to: usize, now: Instant) -> Option<(usize, Fate)> {
        let Some(&from) = self.senders.get(&source) else {
            self.counts.strangers += 1;
            return None;
        };
        self.counts.received += 1;
        let path = &mut self.paths[from][to];
        if path.blocked {
            self.counts.blocked += 1;
            return None;
        }
        Some((from, path.decide(now, &mut self.counts)))
    }
}

impl Path {
    /// Takes the same number of draws for every datagram, so that switching one fault on or off
    /// leaves the others as they were.
    fn decide(&mut self, now: Instant, counts: &mut RelayCounts) -> Fate {
        let link = self.link;
        let [lost, copied, held, jitter, copy_jitter, extra] =
            std::array::from_fn(|_| self.random.unit());
        if lost < link.loss {
            counts.lost += 1;
            return Fate::default();
        }
        let due = now + link.delay + exponential(link.jitter, jitter);
        let first = if held < link.reordering {
            counts.reordered += 1;
            // Long enough that a steady stream passes it, and in proportion to the path.
            let hold = (link.delay / 2 + link.jitter).max(Duration::from_millis(1));
            due + hold.mul_f64(0.5 + extra)
        } else {
            let ordered = self.last_due.map_or(due, |last| due.max(last));
            self.last_due = Some(ordered);
            ordered
        };
        let copy = (copied < link.duplication).then(|| {
            counts.duplicated += 1;
            first + exponential(link.jitter, copy_jitter)
        });
        Fate { first: Some(first), copy }
    }
}

/// An exponentially distributed duration with this mean, from a uniform draw in `[0, 1)`.
fn exponential(mean: Duration, draw: f64) -> Duration {
    mean.mul_f64((-(1.0 - draw).ln()).min(JITTER_FACTOR_MAX))
}

/// A datagram on its way.
#[derive(Debug)]
struct Pending {
    due: Instant,
    /// Breaks ties in order of arrival.
    sequence: u64,
    from: usize,
    to: usize,
    datagram: Vec<u8>,
}

impl Pending {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.sequence)
    }
}

impl PartialEq for Pending {
    fn eq(&self, other: &Pending) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Pending) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Pending) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The relay's thread: receives, keeps what is under way, delivers.
struct Carrier {
    shared: Arc<Shared>,
    queue: BinaryHeap<Reverse<Pending>>,
    queue_capacity: usize,
    sequence: u64,
    /// Buffers of delivered datagrams, for reuse.
    spare: Vec<Vec<u8>>,
    received: Vec<u8>,
}

impl Carrier {
    fn new(shared: Arc<Shared>, queue_capacity: usize) -> Carrier {
        Carrier {
            shared,
            queue: BinaryHeap::new(),
            queue_capacity,
            sequence: 0,
            spare: Vec::new(),
            received: vec![0; DATAGRAM_SIZE_MAX],
        }
    }

    fn run(mut self) {
        // The kernel may wake a thread 50 us late to save power unless it is told not to. Where it
        // cannot be told, deliveries are that much less precise.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut ready = Vec::with_capacity(ENDPOINT_COUNT_MAX + 1);
        while !self.shared.network().stopped {
            self.wait(&mut ready);
            self.deliver();
            for event in ready.drain(..) {
                let number = event.data.u64();
                if number != WAKE {
                    self.receive(number as usize);
                }
            }
        }
    }

    /// Sleeps until a socket is readable, the next datagram is due or the relay is stopped.
    fn wait(&self, ready: &mut Vec<epoll::Event>) {
        let timeout = self.queue.peek().map(|Reverse(next)| {
            let remaining = next.due.saturating_duration_since(Instant::now());
            Timespec::try_from(remaining).expect("a delay fits a timespec")
        });
        let buffer = rustix::buffer::spare_capacity(ready);
        match epoll::wait(&self.shared.poller, buffer, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the relay cannot wait for datagrams: {error}"),
        }
    }

    /// Sends what is due.
    fn deliver(&mut self) {
        let now = Instant::now();
        if self.queue.peek().is_none_or(|Reverse(next)| next.due > now) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let mut network = shared.network();
        while self.queue.peek().is_some_and(|Reverse(next)| next.due <= now) {
            let Reverse(pending) = self.queue.pop().expect("peeked");
            let late = now - pending.due;
            network.counts.lateness_max = network.counts.lateness_max.max(late);
            match network.endpoints[pending.to].local {
                None => network.counts.unattached += 1,
                Some(local) => {
                    let socket = &network.endpoints[pending.from].socket;
                    match socket.send_to(&pending.datagram, local) {
                        Ok(_) => network.counts.delivered += 1,
                        Err(_) => network.counts.refused += 1,
                    }
                }
            }
            self.spare.push(pending.datagram);
        }
    }

    /// Reads a batch from one endpoint's socket and queues what is to arrive.
    fn receive(&mut self, to: usize) {
        let shared = Arc::clone(&self.shared);
        let mut network = shared.network();
        let socket = Arc::clone(&network.endpoints[to].socket);
        for _ in 0..BATCH_SIZE {
            // An error other than "nothing more" belongs to one datagram; the next pass goes on.
            let Ok((size, source)) = socket.recv_from(&mut self.received) else { break };
            let Some((from, fate)) = network.decide(source, to, Instant::now()) else { continue };
            for due in [fate.first, fate.copy].into_iter().flatten() {
                if self.queue.len() == self.queue_capacity {
                    network.counts.overflowed += 1;
                    continue;
                }
                let mut datagram = self.spare.pop().unwrap_or_default();
                datagram.clear();
                datagram.extend_from_slice(&self.received[..size]);
                self.sequence += 1;
                let sequence = self.sequence;
                self.queue.push(Reverse(Pending { due, sequence, from, to, datagram }));
            }
        }
    }
}

#[cfg(test)]
mod tests;
