//! The loop of a node thread: it carries inputs to engines and their outputs to sockets and hosts.
//!
//! A round has five steps: wait, take a bounded number of inputs, take commands, fire due timers, settle.
//! Settling a node means to publish its mirror and to hand its events over. A node that cannot be settled
//! at once (a host that reads, a full mailbox) is settled in a later round. Its engine's own
//! bounded queue holds the rest, and counts what it loses.
//!
//! An event is handed over only after the mirror shows its effect, so a host that sees an event and
//! then asks for the member gets an answer at least as new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::SyncSender;

use super::clock::{self, ReceiveClock};
use super::view::View;
use super::wake::Mailbox;
use super::{Input, Token, Transport};
use crate::engine::Engine;
use crate::events::Event;
use crate::time::{Duration, Instant};

/// Inputs taken in one round before timers and commands have their turn.
const ROUND_INPUTS_MAX: usize = 256;
/// The mirror of a busy node is brought up to date this often, and before every event.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(10);
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
    Start { node: Box<Hosted>, socket: std::net::UdpSocket, reply: SyncSender<std::io::Result<()>> },
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
    pub(super) events: Mailbox<Event>,
    /// The thread has more events than fit; a host that made room wakes it.
    pub(super) stalled: AtomicBool,
    pub(super) view: View,
}

/// A node as its thread sees it.
pub(super) struct Hosted {
    id: u64,
    engine: Engine,
    outlet: Arc<Outlet>,
    /// An event taken from the engine that was not handed over yet.
    held: Option<Event>,
    /// The mirror is older than the engine.
    unpublished: bool,
    published_at: Instant,
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
            unpublished: true,
            published_at: Instant::ZERO,
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
        let deliverable = self.held.is_some() && !self.outlet.events.is_full();
        if deliverable || (self.unpublished && now >= self.published_at + PUBLISH_INTERVAL) {
            let faults = transport.faults(token);
            let published = self.outlet.view.try_publish(&mut self.engine, &faults, now);
            self.unpublished = !published;
            if published {
                self.published_at = now;
            }
        }
        if self.held.is_some() && !self.unpublished {
            self.hand_over_events();
        }
        !self.unpublished && self.held.is_none()
    }

    /// Moves events to the host until there are no more or its mailbox is full.
    fn hand_over_events(&mut self) {
        while let Some(event) = self.held.take().or_else(|| self.engine.poll_event()) {
            let Err(event) = self.outlet.events.push(event) else { continue };
            self.held = Some(event);
            self.outlet.stalled.store(true, Ordering::Relaxed);
            // The host that made room before it could see the flag will not wake this thread.
            fence(Ordering::SeqCst);
            if self.outlet.events.is_full() {
                return;
            }
        }
    }

    /// When the node needs a round even if nothing comes in.
    fn deadline(&self, now: Instant) -> Instant {
        let timeout = self.engine.poll_timeout().unwrap_or(Instant::MAX);
        if !self.unpublished {
            return timeout;
        }
        // Never before the next millisecond: this round has tried already.
        timeout.min((self.published_at + PUBLISH_INTERVAL).max(now + PUBLISH_RETRY))
    }
}

/// One node thread: its transport, its nodes and the commands of their hosts.
pub(super) struct Driver<T: Transport> {
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
    pub(super) fn new(transport: T, commands: Arc<Mailbox<Command>>) -> Driver<T> {
        Driver {
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
            self.take_inputs();
            self.take_commands();
            self.fire_timers();
            self.settle();
        }
    }

    fn wait(&mut self) {
        let may_sleep = self.commands.declare_asleep();
        let deadline = self.deadlines.iter().copied().min().unwrap_or(Instant::MAX);
        let timeout = match may_sleep {
            true => clock::time_until(deadline, clock::now()),
            false => Some(Duration::ZERO),
        };
        self.transport.wait(timeout);
        self.commands.declare_awake();
        self.receive_clock.begin_round(clock::now());
    }

    fn take_inputs(&mut self) {
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
                None => break,
            }
        }
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

    fn start(&mut self, mut node: Box<Hosted>, socket: std::net::UdpSocket) -> std::io::Result<()> {
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
        let node = self.nodes[token as usize].take().expect("closed once");
        self.deadlines[token as usize] = Instant::MAX;
        if let Some(reply) = node.closing {
            let _ = reply.send(());
        }
    }

    fn fire_timers(&mut self) {
        let now = clock::now();
        for index in 0..self.deadlines.len() {
            if self.deadlines[index] > now {
                continue;
            }
            let node = self.nodes[index].as_mut().expect("only nodes have deadlines");
            if node.engine.poll_timeout().is_some_and(|timeout| timeout <= now) {
                node.engine.handle_timeout(now);
                node.transmit(&mut self.transport, index as Token, now);
                node.unpublished = true;
            }
            self.list(index as Token);
        }
    }

    /// Notes that a node's engine had an input.
    fn touch(&mut self, token: Token) {
        if let Some(node) = &mut self.nodes[token as usize] {
            node.unpublished = true;
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
