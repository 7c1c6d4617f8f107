//! The loop of a node thread: it carries inputs to engines and their outputs to sockets and hosts.
//!
//! A round has five steps: wait, take a bounded number of inputs, take commands, fire due timers,
//! settle. While more inputs wait, timers do, too, for a moment: the answer that a timer misses may
//! be among them, and a thread that is behind must not ask more than it can listen to. Settling a node means to publish its mirror and to hand its events over. A node that
//! cannot be settled at once (a host that reads, a full mailbox) is settled in a later round. Its
//! engine's own bounded queue holds the rest, and counts what it loses.
//!
//! An event is handed over only after the mirror shows its effect, so a host that sees an event and
//! then asks for the member gets an answer at least as new.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::SyncSender;

use super::clock::{self, ReceiveClock};
use super::view::View;
use super::wake::{Mailbox, Signal};
use super::{Input, Token, Transport};
use crate::engine::Engine;
use crate::events::Event;
use crate::time::{Duration, Instant};

/// Inputs taken in one round before timers and commands have their turn.
const ROUND_INPUTS_MAX: usize = 256;
/// How long timers wait while inputs do.
const TIMER_PATIENCE: Duration = Duration::from_millis(50);
/// The mirror of a busy node is brought up to date this often, and before every event.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(10);
/// What a timer changed without an event (a counter or two) may wait for the next datagram, which
/// often follows soon, and saves a wake-up then.
const TIMER_PUBLISH_DELAY: Duration = Duration::from_millis(250);
/// How soon the driver comes back to a mirror that a host is reading.
const PUBLISH_RETRY: Duration = Duration::from_millis(1);
/// Events that wait for the host in its mailbox. Further ones wait in the engine.
pub(super) const EVENT_MAILBOX_CAPACITY: usize = 256;
/// Commands that wait for the thread. A host that finds no room waits.
pub(super) const COMMAND_MAILBOX_CAPACITY: usize = 256;

/// Work for an engine, done on its thread.
pub(super) type Task = Box<dyn FnOnce(&mut Engine, Instant) + Send>;

/// What a host tells the thread. A reply sender that is dropped unused means that the node is gone.
pub(super) enum Command {
    /// Take over a node.
    Start { node: Box<Hosted>, socket: UdpSocket, reply: SyncSender<io::Result<()>> },
    /// Do something with a node's engine.
    Run { id: u64, task: Task },
    /// Give a node up, and say so once its address is free.
    Stop { id: u64, reply: SyncSender<()> },
    /// End when all nodes are gone. Nothing follows this.
    Finish,
}

/// What a node's hosts and its thread share.
#[derive(Debug)]
pub(super) struct Outlet {
    events: Mailbox<Event>,
    /// The thread has more events than fit; the host that makes room wakes it.
    stalled: AtomicBool,
    pub(super) view: View,
}

impl Outlet {
    pub(super) fn new(view: View, event_capacity: usize) -> io::Result<Outlet> {
        let events = Mailbox::new(event_capacity)?;
        Ok(Outlet { events, stalled: AtomicBool::new(false), view })
    }

    /// Readable while events may wait.
    pub(super) fn signal(&self) -> &Signal {
        self.events.signal()
    }

    /// The thread's side: whether an event fits. When none does, the host will wake the thread.
    fn has_room(&self) -> bool {
        if !self.events.is_full() {
            return true;
        }
        self.stalled.store(true, Ordering::Relaxed);
        // A host that made room before it could see the flag does not wake anybody.
        fence(Ordering::SeqCst);
        !self.events.is_full()
    }

    /// The host's side: the next event, and whether the thread waits for room and is to be woken.
    pub(super) fn take(&self) -> (Option<Event>, bool) {
        let event = self.events.pop_or_sleep();
        if event.is_none() || !self.events.is_half_empty() {
            return (event, false);
        }
        // Pairs with the fence in `has_room`: either side sees what the other did before.
        fence(Ordering::SeqCst);
        let is_stalled = self.stalled.load(Ordering::Relaxed);
        (event, is_stalled && self.stalled.swap(false, Ordering::SeqCst))
    }
}

/// Tells hosts that the thread has ended, however it ended.
pub(super) struct RunningGuard(pub(super) Arc<AtomicBool>);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A node as its thread sees it.
pub(super) struct Hosted {
    id: u64,
    engine: Engine,
    outlet: Arc<Outlet>,
    /// An event taken from the engine that was not handed over yet.
    held: Option<Event>,
    published_at: Instant,
    /// When the mirror is to be brought up to date; never while it is.
    publish_due: Instant,
    /// Listed for settling.
    listed: bool,
    closing: Option<SyncSender<()>>,
}

impl Hosted {
    pub(super) fn new(id: u64, engine: Engine, outlet: Arc<Outlet>) -> Hosted {
        Hosted {
            id,
            engine,
            outlet,
            held: None,
            published_at: Instant::ZERO,
            publish_due: Instant::ZERO,
            listed: false,
            closing: None,
        }
    }

    /// Lets the engine write every datagram that it has.
    fn transmit(&mut self, transport: &mut impl Transport, token: Token, now: Instant) {
        while let Some(transmit) = self.engine.poll_transmit(now, transport.send_slot()) {
            transport.send(token, transmit);
        }
    }

    /// Brings the node to rest as far as it goes now. `true` when nothing is left to do.
    fn settle(&mut self, transport: &mut impl Transport, token: Token, now: Instant) -> bool {
        self.held = self.held.take().or_else(|| self.engine.poll_event());
        let deliverable = self.held.is_some() && self.outlet.has_room();
        if deliverable || now >= self.publish_due {
            let faults = transport.faults(token);
            if self.outlet.view.try_publish(&mut self.engine, &faults, now) {
                (self.published_at, self.publish_due) = (now, Instant::MAX);
            } else {
                self.publish_due = now;
            }
        }
        if deliverable && self.publish_due == Instant::MAX {
            self.hand_over_events();
        }
        self.publish_due == Instant::MAX && self.held.is_none()
    }

    /// Moves events to the host until there are no more or its mailbox is full.
    fn hand_over_events(&mut self) {
        while let Some(event) = self.held.take().or_else(|| self.engine.poll_event()) {
            self.held = self.outlet.events.push(event).err();
            if self.held.is_some() && !self.outlet.has_room() {
                return;
            }
        }
    }

    /// When the node needs a round even if nothing comes in.
    fn deadline(&self, now: Instant) -> Instant {
        let timeout = self.engine.poll_timeout().unwrap_or(Instant::MAX);
        // What is due now was tried in this round already.
        timeout.min(self.publish_due.max(now + PUBLISH_RETRY))
    }
}

impl Drop for Hosted {
    /// Wakes a host that waits for events: there will be none.
    fn drop(&mut self) {
        self.outlet.signal().raise();
    }
}

/// One node thread: its transport, its nodes and the commands of their hosts.
pub(super) struct Driver<T: Transport> {
    // First, so that a host that is woken by the end of its node finds the thread ended.
    _running: RunningGuard,
    transport: T,
    commands: Arc<Mailbox<Command>>,
    /// Nodes by token, with their next deadlines beside them so that a round scans few cache lines.
    nodes: Vec<Option<Box<Hosted>>>,
    deadlines: Vec<Instant>,
    /// Nodes that had an input or are not at rest.
    unsettled: Vec<Token>,
    receive_clock: ReceiveClock,
    finishing: bool,
}

impl<T: Transport> Driver<T> {
    pub(super) fn new(
        transport: T,
        commands: Arc<Mailbox<Command>>,
        running: RunningGuard,
    ) -> Driver<T> {
        Driver {
            _running: running,
            transport,
            commands,
            nodes: Vec::new(),
            deadlines: Vec::new(),
            unsettled: Vec::new(),
            receive_clock: ReceiveClock::new(),
            finishing: false,
        }
    }

    /// Runs until told to finish and the last node is gone.
    pub(super) fn run(mut self) {
        while !self.finishing || self.nodes.iter().any(Option::is_some) {
            self.wait();
            let is_behind = self.take_inputs();
            self.take_commands();
            self.fire_timers(is_behind);
            self.settle();
        }
    }

    fn wait(&mut self) {
        let may_sleep = self.commands.declare_asleep();
        let timeout = match may_sleep {
            true => clock::time_until(self.first_deadline(), clock::now()),
            false => Some(Duration::ZERO),
        };
        self.transport.wait(timeout);
        self.commands.declare_awake();
        self.receive_clock.begin_round(clock::now());
    }

    fn first_deadline(&self) -> Instant {
        self.deadlines.iter().copied().min().unwrap_or(Instant::MAX)
    }

    /// Returns whether more inputs may wait.
    fn take_inputs(&mut self) -> bool {
        for _ in 0..ROUND_INPUTS_MAX {
            match self.transport.receive() {
                Some(Input::Datagram { token, source, stamp, bytes }) => {
                    let node = self.nodes[token as usize].as_mut().expect("its socket is open");
                    let now = clock::now();
                    let received_at = self.receive_clock.received_at(stamp, now);
                    node.engine.handle_datagram(received_at, source, bytes);
                    node.transmit(&mut self.transport, token, now);
                    self.touch(token);
                }
                Some(Input::Closed { token }) => self.forget(token),
                None => return false,
            }
        }
        true
    }

    fn take_commands(&mut self) {
        for _ in 0..COMMAND_MAILBOX_CAPACITY {
            match self.commands.pop() {
                Some(Command::Start { node, socket, reply }) => {
                    // A host that did not wait for the answer has no node: nobody would stop it.
                    let _ = reply.send(self.start(node, socket));
                }
                Some(Command::Run { id, task }) => self.with_node(id, |driver, token| {
                    let node = driver.nodes[token as usize].as_mut().expect("found by its id");
                    let now = clock::now();
                    task(&mut node.engine, now);
                    node.transmit(&mut driver.transport, token, now);
                    driver.touch(token);
                }),
                Some(Command::Stop { id, reply }) => self.with_node(id, |driver, token| {
                    let node = driver.nodes[token as usize].as_mut().expect("found by its id");
                    node.closing = Some(reply);
                    driver.deadlines[token as usize] = Instant::MAX;
                    driver.transport.close(token);
                }),
                Some(Command::Finish) => self.finishing = true,
                None => break,
            }
        }
    }

    fn start(&mut self, mut node: Box<Hosted>, socket: UdpSocket) -> io::Result<()> {
        let free = self.nodes.iter().position(Option::is_none);
        let index = free.unwrap_or(self.nodes.len());
        self.transport.open(index as Token, socket)?;
        if index == self.nodes.len() {
            self.nodes.push(None);
            self.deadlines.push(Instant::MAX);
        }
        // Joining has given it something to say already.
        node.transmit(&mut self.transport, index as Token, clock::now());
        self.nodes[index] = Some(node);
        self.touch(index as Token);
        Ok(())
    }

    /// Calls `action` with the token of a node, unless it has gone or is about to go.
    fn with_node(&mut self, id: u64, action: impl FnOnce(&mut Driver<T>, Token)) {
        let is_open = |node: &Hosted| node.id == id && node.closing.is_none();
        let index = self.nodes.iter().position(|node| node.as_deref().is_some_and(is_open));
        if let Some(index) = index {
            action(self, index as Token);
        }
    }

    /// Drops a node whose socket is closed.
    fn forget(&mut self, token: Token) {
        let mut node = self.nodes[token as usize].take().expect("closed once");
        self.deadlines[token as usize] = Instant::MAX;
        let reply = node.closing.take();
        // The host that waits for the answer finds everything given back.
        drop(node);
        let _ = reply.map(|reply| reply.send(()));
    }

    fn fire_timers(&mut self, is_behind: bool) {
        let now = clock::now();
        if is_behind && now.saturating_since(self.first_deadline()) < TIMER_PATIENCE {
            return;
        }
        for index in 0..self.deadlines.len() {
            if self.deadlines[index] > now {
                continue;
            }
            let node = self.nodes[index].as_mut().expect("only nodes have deadlines");
            if node.engine.poll_timeout().is_some_and(|timeout| timeout <= now) {
                node.engine.handle_timeout(now);
                node.transmit(&mut self.transport, index as Token, now);
                node.publish_due = node.publish_due.min(now + TIMER_PUBLISH_DELAY);
            }
            self.list(index as Token);
        }
    }

    /// Notes that a node's engine had an input.
    fn touch(&mut self, token: Token) {
        if let Some(node) = &mut self.nodes[token as usize] {
            node.publish_due = node.publish_due.min(node.published_at + PUBLISH_INTERVAL);
        }
        self.list(token);
    }

    fn list(&mut self, token: Token) {
        if let Some(node) = &mut self.nodes[token as usize]
            && !node.listed
        {
            node.listed = true;
            self.unsettled.push(token);
        }
    }

    fn settle(&mut self) {
        let now = clock::now();
        let Driver { transport, nodes, deadlines, unsettled, .. } = self;
        unsettled.retain(|&token| {
            let index = token as usize;
            let Some(node) = nodes[index].as_mut().filter(|node| node.closing.is_none()) else {
                return false;
            };
            node.listed = !node.settle(transport, token, now);
            deadlines[index] = node.deadline(now);
            node.listed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Transmit;
    use crate::io::Faults;
    use crate::testing::{address, config};
    use std::sync::mpsc::sync_channel;

    const PATIENCE: Duration = Duration::from_secs(20);
    /// As many as an engine keeps.
    const EVENTS: usize = 4_096;

    /// A network on which nothing ever arrives, so that only hosts wake the thread.
    struct Silence {
        commands: Arc<Mailbox<Command>>,
        closed: Vec<Token>,
        slot: [u8; crate::config::DATAGRAM_SIZE_MAX],
    }

    impl Transport for Silence {
        fn open(&mut self, _: Token, _: UdpSocket) -> io::Result<()> {
            Ok(())
        }

        fn close(&mut self, token: Token) {
            self.closed.push(token);
        }

        fn wait(&mut self, timeout: Option<Duration>) {
            if self.closed.is_empty() {
                self.commands.signal().wait(timeout.unwrap_or(PATIENCE));
                self.commands.signal().clear();
            }
        }

        fn receive(&mut self) -> Option<Input<'_>> {
            self.closed.pop().map(|token| Input::Closed { token })
        }

        fn send_slot(&mut self) -> &mut [u8] {
            &mut self.slot
        }

        fn send(&mut self, _: Token, _: Transmit) {}

        fn faults(&self, _: Token) -> Faults {
            Faults::default()
        }
    }

    /// Makes an engine try to join in vain until it has complained `count` times at least, and
    /// leaves it with no deadline within the next minutes.
    fn complain(engine: &mut Engine, mut now: Instant, count: usize) {
        let drain = |engine: &mut Engine, now| {
            let mut slot = [0; crate::config::DATAGRAM_SIZE_MAX];
            while engine.poll_transmit(now, &mut slot).is_some() {}
        };
        for _ in 0..count {
            engine.join(now, &[address(1)]).unwrap();
            drain(engine, now);
            for _ in 0..8 {
                now += Duration::from_secs(60);
                engine.handle_timeout(now);
                drain(engine, now);
            }
        }
    }

    /// A host that takes events one by one, far more of them than its mailbox holds, while nothing
    /// but the host itself wakes the thread: a wake-up that is lost shows as a wait without end.
    #[test]
    fn a_slow_host_gets_every_event_without_delay() {
        let commands = Arc::new(Mailbox::new(COMMAND_MAILBOX_CAPACITY).unwrap());
        let running = RunningGuard(Arc::new(AtomicBool::new(true)));
        let mailbox = Arc::clone(&commands);
        let thread = std::thread::spawn(move || {
            let slot = [0; crate::config::DATAGRAM_SIZE_MAX];
            let transport = Silence { commands: Arc::clone(&mailbox), closed: Vec::new(), slot };
            Driver::new(transport, mailbox, running).run();
        });
        let tell = |command| assert!(commands.push(command).is_ok());

        let now = clock::now();
        let mut engine = Engine::new(config(0), 1, now).unwrap();
        let outlet = Arc::new(Outlet::new(View::new(&mut engine, now), 2).unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (reply, answer) = sync_channel(1);
        let node = Box::new(Hosted::new(7, engine, Arc::clone(&outlet)));
        tell(Command::Start { node, socket, reply });
        answer.recv_timeout(PATIENCE).unwrap().unwrap();

        let (told, answer) = sync_channel(1);
        let task = Box::new(move |engine: &mut Engine, now| {
            complain(engine, now, EVENTS);
            told.send(()).unwrap();
        });
        tell(Command::Run { id: 7, task });
        answer.recv_timeout(PATIENCE).unwrap();

        let mut taken = 0;
        while taken < EVENTS {
            let (event, made_room) = outlet.take();
            if made_room {
                commands.prod();
            }
            if event.is_some() {
                taken += 1;
                continue;
            }
            let start = clock::now();
            outlet.signal().wait(PATIENCE / 2);
            assert!(clock::now() - start < PATIENCE / 4, "no more events after {taken}");
        }

        let (reply, answer) = sync_channel(1);
        tell(Command::Stop { id: 7, reply });
        answer.recv_timeout(PATIENCE).unwrap();
        tell(Command::Finish);
        thread.join().unwrap();
    }
}
