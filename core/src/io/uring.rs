//! The transport over one io_uring: every socket, every send and the command signal of a thread
//! share it.
//!
//! Each socket has one multishot receive that takes its buffers from a ring provided to the kernel,
//! so a datagram is parsed where the kernel put it. There is never more than one receive for a
//! socket, because a datagram wakes all of them. Sends are queued and go with the next wait, so one
//! call submits everything, waits for input and ends at the next deadline.
//!
//! Sends never wait inside the kernel (`MSG_DONTWAIT`), so each has been carried out when the
//! submission queue is empty, and only a failed one leaves a completion. Once those are read, every
//! other slot is free again. What a full socket did not take is sent again a little later.
//!
//! Needs Linux 6.0; 6.1 adds the cheapest way to run completions (`DEFER_TASKRUN`). Fairness: the
//! kernel reads at most 32 datagrams from one socket before the others have their turn.

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::Arc;

use super::buffers::{
    Addressed, ReceiveRing, SEGMENTS_MAX, SEND_SLOT_COUNT, SegmentControl, SendSlots,
    is_about_segmentation,
};
use super::driver::Command;
use super::socket::{Family, SocketName};
use super::wake::Mailbox;
use super::{Faults, Input, Token, Transport};
use crate::engine::Transmit;
use crate::time::Duration;

/// Requests that fit before they must be handed to the kernel: all send slots and as much again.
const SUBMISSION_ENTRIES: u32 = 2 * SEND_SLOT_COUNT as u32;
/// Completions that fit before the kernel holds them back: all receive buffers and all sends,
/// twice.
const COMPLETION_ENTRIES: u32 = 1_024;
/// Queued datagrams that are handed to the kernel without waiting for the end of the round.
const FLUSH_THRESHOLD: usize = 64;
/// How long a socket whose receive failed is left alone.
const FAULT_PAUSE: Duration = Duration::from_millis(10);
/// How long a socket that took no more is left alone.
const DEFERRED_RETRY: Duration = Duration::from_millis(1);

/// What a completion is about, in the top byte of its user data. The rest is the subject.
const KIND_SHIFT: u32 = 56;
const KIND_SIGNAL: u64 = 1;
const KIND_CANCEL: u64 = 2;
const KIND_RECEIVE: u64 = 3;
const KIND_SEND: u64 = 4;
/// In a send's user data, above its first slot: how many it sends, and when.
const COUNT_SHIFT: u32 = 16;
const EPOCH_SHIFT: u32 = 32;
const EPOCH_MASK: u64 = (1 << (KIND_SHIFT - EPOCH_SHIFT)) - 1;

struct Port {
    socket: UdpSocket,
    family: Family,
    faults: Faults,
    /// The kernel has a receive for this socket.
    armed: bool,
    closing: bool,
}

/// The transport over io_uring.
pub(super) struct Uring {
    // Declared before the memory that requests point to: the ring goes first, and with it every
    // request.
    ring: IoUring,
    receive: ReceiveRing,
    slots: SendSlots,
    /// Headers of segmented messages, by the slot of the first segment.
    messages: Box<[Message]>,
    /// Slots whose sends were given to the kernel. Those that fail are taken out again.
    submitted: Vec<u16>,
    /// Counts how often the slots of `submitted` were freed. A failure of an earlier epoch comes
    /// too late: its slot holds another datagram.
    epoch: u64,
    /// Slots whose sockets took no more. They are queued again after the next wait.
    deferred: Vec<u16>,
    commands: Arc<Mailbox<Command>>,
    ports: Vec<Option<Port>>,
    /// Sockets to receive from again with the next wait, and with the one after.
    to_arm: Vec<Token>,
    to_arm_later: Vec<Token>,
    signal_armed: bool,
    closed: Vec<Token>,
    /// The buffer that the driver is looking at.
    lent: Option<u16>,
}

impl Uring {
    /// Sets the ring up and tries it.
    ///
    /// # Errors
    /// One line that says why this system refuses and how to change that.
    pub(super) fn new(commands: Arc<Mailbox<Command>>) -> Result<Uring, String> {
        let ring = build().map_err(|error| explain("io_uring_setup", &error))?;
        Uring::with_ring(ring, commands)
    }

    /// A ring with no more than the oldest flags, as an older kernel leaves it.
    #[cfg(test)]
    pub(super) fn new_plain(commands: Arc<Mailbox<Command>>) -> Uring {
        let ring = IoUring::new(SUBMISSION_ENTRIES).expect("a ring without flags");
        Uring::with_ring(ring, commands).expect("this kernel has everything")
    }

    fn with_ring(mut ring: IoUring, commands: Arc<Mailbox<Command>>) -> Result<Uring, String> {
        check_kernel(&ring)?;
        try_out(&mut ring).map_err(|error| explain("io_uring_enter", &error))?;
        let receive = ReceiveRing::new();
        // SAFETY: the memory has the number of entries it tells and the alignment that is asked
        // for. It is freed after the ring, which is declared first in `Uring` and given to it
        // below.
        let registered = unsafe {
            ring.submitter().register_buf_ring_with_flags(
                receive.address(),
                ReceiveRing::COUNT,
                ReceiveRing::GROUP,
                0,
            )
        };
        registered.map_err(|error| explain("io_uring_register", &error))?;
        Ok(Uring {
            ring,
            receive,
            slots: SendSlots::new(),
            messages: vec![Message::EMPTY; SEND_SLOT_COUNT].into_boxed_slice(),
            submitted: Vec::with_capacity(SEND_SLOT_COUNT),
            epoch: 0,
            deferred: Vec::with_capacity(SEND_SLOT_COUNT),
            commands,
            ports: Vec::new(),
            to_arm: Vec::new(),
            to_arm_later: Vec::new(),
            signal_armed: false,
            closed: Vec::new(),
            lent: None,
        })
    }

    /// Queues a request; hands the queue to the kernel first when it is full.
    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: everything that requests point to (slots, messages, the receive header) lives
            // in boxes of `self` until their completion, and `self` drops the ring before them.
            // Descriptors stay open until no request of theirs is left (`finish_closing`).
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.enter(Some(Duration::ZERO), 0);
        }
    }

    /// Hands the queue to the kernel and waits for `want` completions, at most `timeout`.
    fn enter(&mut self, timeout: Option<Duration>, want: usize) {
        let submitter = self.ring.submitter();
        let result = match timeout {
            Some(_) if want == 0 => submitter.submit(),
            Some(timeout) => {
                let time = Timespec::from(timeout);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&time))
            }
            None => submitter.submit_and_wait(want),
        };
        let Err(error) = result else { return };
        match error.raw_os_error() {
            // Time is up, a signal came, or completions must be read first.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY) => {}
            // The kernel is out of memory or worse. What is queued stays queued.
            _ => {
                tracing::warn!(%error, "io_uring_enter failed, trying again");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Hands the whole queue to the kernel. Every send in it has been carried out then.
    fn submit_all(&mut self) {
        while !self.ring.submission().is_empty() {
            self.enter(Some(Duration::ZERO), 0);
        }
    }

    /// Turns queued datagrams into requests.
    fn flush(&mut self) {
        let mut taken = 0;
        while taken < self.slots.queued().len() {
            let count = self.slots.run_length(taken);
            let head = self.slots.queued()[taken];
            let &Addressed { token, .. } = self.slots.addressed(head);
            let port = self.ports[token as usize].as_ref().expect("closing sends what is queued");
            let descriptor = Fd(port.socket.as_raw_fd());
            let entry = match count {
                1 => self.datagram(descriptor, head),
                _ => self.segmented_message(descriptor, taken, count),
            };
            let subject =
                self.epoch << EPOCH_SHIFT | (count as u64) << COUNT_SHIFT | u64::from(head);
            let entry = entry.user_data(KIND_SEND << KIND_SHIFT | subject);
            self.push(entry.flags(squeue::Flags::SKIP_SUCCESS));
            self.submitted.extend_from_slice(&self.slots.queued()[taken..taken + count]);
            taken += count;
        }
        self.slots.unqueue(taken);
    }

    fn datagram(&self, descriptor: Fd, slot: u16) -> squeue::Entry {
        let vector = self.slots.vector(slot);
        let target = &self.slots.addressed(slot).target;
        opcode::Send::new(descriptor, vector.iov_base.cast(), vector.iov_len as u32)
            .dest_addr(target.as_ptr().cast())
            .dest_addr_len(target.size())
            .flags(libc::MSG_DONTWAIT)
            .build()
    }

    fn segmented_message(&mut self, descriptor: Fd, start: usize, count: usize) -> squeue::Entry {
        let run = &self.slots.queued()[start..start + count];
        let message = &mut self.messages[usize::from(run[0])];
        message.fill(&self.slots, run);
        let flags = libc::MSG_DONTWAIT as u32;
        opcode::SendMsg::new(descriptor, &raw const message.header).flags(flags).build()
    }

    /// Puts the receives in place that are missing.
    fn arm(&mut self) {
        if !self.signal_armed {
            self.signal_armed = true;
            let signal = Fd(self.commands.signal().as_fd().as_raw_fd());
            let poll = opcode::PollAdd::new(signal, libc::POLLIN as u32).multi(true).build();
            self.push(poll.user_data(KIND_SIGNAL << KIND_SHIFT));
        }
        while let Some(token) = self.to_arm.pop() {
            let Some(port) = &mut self.ports[token as usize] else { continue };
            if mem::replace(&mut port.armed, true) {
                continue;
            }
            let descriptor = Fd(port.socket.as_raw_fd());
            let header = self.receive.header();
            let receive = opcode::RecvMsgMulti::new(descriptor, header, ReceiveRing::GROUP).build();
            self.push(receive.user_data(KIND_RECEIVE << KIND_SHIFT | u64::from(token)));
        }
        mem::swap(&mut self.to_arm, &mut self.to_arm_later);
    }

    /// Reads completions up to the next datagram: the socket and the buffer it is in.
    fn next_datagram(&mut self) -> Option<(Token, u16)> {
        loop {
            let Some(completion) = self.ring.completion().next() else {
                self.reclaim();
                return None;
            };
            let subject = completion.user_data() & ((1 << KIND_SHIFT) - 1);
            match completion.user_data() >> KIND_SHIFT {
                KIND_RECEIVE => {
                    let token = subject as Token;
                    if let Some(buffer) = self.received(token, &completion) {
                        return Some((token, buffer));
                    }
                }
                KIND_SEND => self.failed(subject, -completion.result()),
                KIND_SIGNAL => {
                    self.commands.signal().clear();
                    self.signal_armed = cqueue::more(completion.flags());
                }
                // The cancelled requests tell of themselves.
                _ => {}
            }
            if !self.closed.is_empty() {
                return None;
            }
        }
    }

    /// Gives the buffer that the driver has looked at back to the kernel.
    fn take_back(&mut self) {
        if let Some(buffer) = self.lent.take() {
            self.receive.give_back(buffer);
        }
    }

    /// Notes the outcome of a receive. Returns the buffer when there is a datagram to look at.
    fn received(&mut self, token: Token, completion: &cqueue::Entry) -> Option<u16> {
        let port = self.ports[token as usize].as_mut().expect("open while a receive is armed");
        let buffer = cqueue::buffer_select(completion.flags());
        if !cqueue::more(completion.flags()) {
            port.armed = false;
            match -completion.result() {
                _ if port.closing => {}
                // All buffers were in use: the datagrams wait in the socket.
                error if error <= 0 || error == libc::ENOBUFS => self.to_arm.push(token),
                _ => {
                    port.faults.receive_errors += 1;
                    self.to_arm_later.push(token);
                }
            }
        }
        if port.closing {
            buffer.into_iter().for_each(|buffer| self.receive.give_back(buffer));
            self.finish_closing(token);
            return None;
        }
        buffer
    }

    /// Deals with a send that the kernel did not carry out: its slots wait for another try or are
    /// lost.
    fn failed(&mut self, subject: u64, error: i32) {
        let head = subject as u16;
        let count = usize::from((subject >> COUNT_SHIFT) as u16);
        let in_time = subject >> EPOCH_SHIFT == self.epoch;
        let token = self.slots.addressed(head).token;
        let Some(port) = self.ports[token as usize].as_mut().filter(|port| !port.closing) else {
            return;
        };
        let message = &self.messages[usize::from(head)];
        let run = if count == 1 { &[head][..] } else { &message.slots[..count] };
        if count > 1 && is_about_segmentation(error) {
            self.slots.segmentation = false;
        }
        if !in_time {
            // The slot may even be another socket's by now; what it sent is lost either way.
            port.faults.send_errors += count as u64;
        } else if error == libc::EAGAIN {
            port.faults.sends_deferred += 1;
            self.submitted.retain(|slot| !run.contains(slot));
            self.deferred.extend_from_slice(run);
        } else if count > 1 && is_about_segmentation(error) {
            self.submitted.retain(|slot| !run.contains(slot));
            run.iter().for_each(|&slot| self.slots.requeue(slot));
        } else {
            port.faults.send_errors += count as u64;
        }
    }

    /// Frees the slots of all sends that were carried out. Call it when no completion is left to
    /// read, so that those that were not have been told.
    fn reclaim(&mut self) {
        let submission = self.ring.submission();
        if submission.is_empty() && !submission.cq_overflow() {
            drop(submission);
            self.free_submitted();
        }
    }

    fn free_submitted(&mut self) {
        if !self.submitted.is_empty() {
            self.submitted.drain(..).for_each(|slot| self.slots.release(slot));
            self.epoch = (self.epoch + 1) & EPOCH_MASK;
        }
    }

    /// Makes a slot free although failures may not have been told yet.
    fn make_room(&mut self) {
        self.flush();
        self.submit_all();
        self.free_submitted();
        if !self.slots.has_free() {
            // Full sockets hold every slot.
            let oldest = self.deferred.remove(0);
            let token = self.slots.addressed(oldest).token;
            if let Some(port) = &mut self.ports[token as usize] {
                port.faults.send_errors += 1;
            }
            self.slots.release(oldest);
        }
    }

    /// Drops a closing socket once the kernel has no request for it.
    fn finish_closing(&mut self, token: Token) {
        let port = &mut self.ports[token as usize];
        if port.as_ref().is_some_and(|port| !port.armed) {
            *port = None;
            self.closed.push(token);
        }
    }
}

impl Transport for Uring {
    fn open(&mut self, token: Token, socket: UdpSocket) -> io::Result<()> {
        let family = Family::of(&socket)?;
        let index = token as usize;
        if index >= self.ports.len() {
            self.ports.resize_with(index + 1, || None);
        }
        let faults = Faults::default();
        self.ports[index] = Some(Port { socket, family, faults, armed: false, closing: false });
        self.to_arm.push(token);
        Ok(())
    }

    fn close(&mut self, token: Token) {
        self.flush();
        let port = self.ports[token as usize].as_mut().expect("closed once");
        port.closing = true;
        let everything = CancelBuilder::fd(Fd(port.socket.as_raw_fd())).all();
        let cancel = opcode::AsyncCancel2::new(everything).build();
        self.push(cancel.user_data(KIND_CANCEL << KIND_SHIFT));
        self.to_arm.retain(|&waiting| waiting != token);
        self.to_arm_later.retain(|&waiting| waiting != token);
        for slot in mem::take(&mut self.deferred) {
            match self.slots.addressed(slot).token == token {
                true => self.slots.release(slot),
                false => self.deferred.push(slot),
            }
        }
        // What was queued is sent by the same call that cancels, and before.
        self.submit_all();
        self.finish_closing(token);
    }

    fn wait(&mut self, timeout: Option<Duration>) {
        self.take_back();
        let retry = (!self.deferred.is_empty()).then_some(DEFERRED_RETRY);
        self.flush();
        let fault_pause = (!self.to_arm_later.is_empty()).then_some(FAULT_PAUSE);
        self.arm();
        let timeout = [timeout, fault_pause, retry].into_iter().flatten().min();
        if self.closed.is_empty() && self.ring.completion().is_empty() {
            self.enter(timeout, 1);
        } else if !self.ring.submission().is_empty() {
            self.enter(Some(Duration::ZERO), 0);
        }
        self.deferred.drain(..).for_each(|slot| self.slots.requeue(slot));
    }

    fn receive(&mut self) -> Option<Input<'_>> {
        self.take_back();
        if let Some(token) = self.closed.pop() {
            return Some(Input::Closed { token });
        }
        let Some((token, buffer)) = self.next_datagram() else {
            return self.closed.pop().map(|token| Input::Closed { token });
        };
        self.lent = Some(buffer);
        let datagram = self.receive.datagram(buffer);
        if let (Some(lost), Some(port)) = (datagram.ancillary.lost, &mut self.ports[token as usize])
        {
            port.faults.socket_overflows = lost.into();
        }
        Some(Input::Datagram {
            token,
            source: datagram.source,
            stamp: datagram.ancillary.stamp,
            bytes: datagram.bytes,
        })
    }

    fn send_slot(&mut self) -> &mut [u8] {
        if !self.slots.has_free() {
            self.make_room();
        }
        self.slots.next_free()
    }

    fn send(&mut self, token: Token, transmit: Transmit) {
        let port = self.ports[token as usize].as_mut().expect("only open sockets send");
        match SocketName::new(transmit.target, port.family) {
            Some(target) => self.slots.queue(Addressed { token, size: transmit.size, target }),
            None => port.faults.send_errors += 1,
        }
        if self.slots.queued().len() >= FLUSH_THRESHOLD {
            self.flush();
            self.enter(Some(Duration::ZERO), 0);
        }
    }

    fn faults(&self, token: Token) -> Faults {
        self.ports[token as usize].as_ref().map_or(Faults::default(), |port| port.faults)
    }
}

impl Drop for Uring {
    /// A thread that ends in a panic leaves receives behind, which must not outlive their buffers.
    fn drop(&mut self) {
        let patience = Timespec::from(Duration::from_secs(1));
        let submitter = self.ring.submitter();
        let _ = submitter.register_sync_cancel(Some(patience), CancelBuilder::any());
    }
}

/// The header of a segmented message and everything that it points to but the datagrams.
#[derive(Clone)]
struct Message {
    header: libc::msghdr,
    vectors: [libc::iovec; SEGMENTS_MAX],
    target: SocketName,
    control: SegmentControl,
    slots: [u16; SEGMENTS_MAX],
}

impl Message {
    const EMPTY: Message = Message {
        // SAFETY: a header of zeros is a message without address, data and control messages.
        header: unsafe { mem::zeroed() },
        vectors: [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; SEGMENTS_MAX],
        target: SocketName::EMPTY,
        control: SegmentControl::EMPTY,
        slots: [0; SEGMENTS_MAX],
    };

    /// Describes the datagrams of a run. The message must stay where it is until they are sent.
    fn fill(&mut self, slots: &SendSlots, run: &[u16]) {
        let first = slots.addressed(run[0]);
        self.slots[..run.len()].copy_from_slice(run);
        for (vector, &slot) in self.vectors.iter_mut().zip(run) {
            *vector = slots.vector(slot);
        }
        self.target = first.target;
        self.control = SegmentControl::new(first.size);
        self.header.msg_name = self.target.as_ptr().cast_mut().cast();
        self.header.msg_namelen = self.target.size();
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = run.len() as _;
        self.header.msg_control = self.control.as_ptr().cast_mut().cast();
        self.header.msg_controllen = SegmentControl::SIZE as _;
    }
}

/// Builds the ring with the cheapest flags that this kernel knows.
fn build() -> io::Result<IoUring> {
    let mut deferred = IoUring::builder();
    deferred.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
    let mut cooperative = IoUring::builder();
    cooperative.setup_coop_taskrun().setup_submit_all();
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for mut builder in [deferred, cooperative, IoUring::builder()] {
        match builder.dontfork().setup_cqsize(COMPLETION_ENTRIES).build(SUBMISSION_ENTRIES) {
            Ok(ring) => return Ok(ring),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// Multishot `recvmsg` cannot be asked for by name. It came with Linux 6.0, as did zero-copy send,
/// which can.
fn check_kernel(ring: &IoUring) -> Result<(), String> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| explain("io_uring_register", &error))?;
    match probe.is_supported(opcode::SendZc::CODE) && ring.params().is_feature_ext_arg() {
        true => Ok(()),
        false => Err(OLD_KERNEL.to_owned()),
    }
}

/// Sends one empty request through the ring: a filter may allow to make a ring and forbid to use
/// it.
fn try_out(ring: &mut IoUring) -> io::Result<()> {
    // SAFETY: the request points to nothing.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }.expect("a new queue is empty");
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(_) => Ok(()),
        None => Err(io::Error::from_raw_os_error(libc::EIO)),
    }
}

const OLD_KERNEL: &str = "the kernel is too old for it; use Linux 6.0 or newer";

/// Why the kernel refused a call, and what an operator can do about it.
fn explain(call: &str, error: &io::Error) -> String {
    let switch = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if matches!(switch.trim(), "1" | "2") => {
            format!("{call} is not permitted; run `sysctl kernel.io_uring_disabled=0`")
        }
        Some(libc::EPERM | libc::EACCES) => format!(
            "{call} is not permitted; allow io_uring_setup, io_uring_enter and io_uring_register \
             in the seccomp profile (Docker's default one forbids them)"
        ),
        Some(libc::ENOSYS) => {
            format!("{call} does not exist here; use Linux 6.0 or newer with CONFIG_IO_URING")
        }
        Some(libc::ENOMEM) => {
            format!("{call} found too little lockable memory; raise `ulimit -l`")
        }
        Some(libc::EINVAL) => format!("{call}: {OLD_KERNEL}"),
        _ => format!("{call} failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::COMMAND_MAILBOX_CAPACITY;
    use super::*;
    use crate::node::Address;

    /// A ring with one socket, and the socket's address.
    fn uring() -> (Uring, Address) {
        let commands = Arc::new(Mailbox::new(COMMAND_MAILBOX_CAPACITY).unwrap());
        let mut uring = Uring::new(commands).unwrap();
        let socket = super::super::socket::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap().into();
        uring.open(0, socket).unwrap();
        (uring, address)
    }

    /// Queues requests for datagrams of these bytes without handing them to the kernel.
    fn submit(uring: &mut Uring, target: Address, datagrams: &[&[u8]]) -> u64 {
        for bytes in datagrams {
            uring.send_slot()[..bytes.len()].copy_from_slice(bytes);
            uring.send(0, Transmit { target, size: bytes.len() });
        }
        let head = uring.slots.queued()[0];
        uring.flush();
        uring.epoch << EPOCH_SHIFT | (datagrams.len() as u64) << COUNT_SHIFT | u64::from(head)
    }

    /// What arrives in three waits.
    fn arrivals(uring: &mut Uring) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        for _ in 0..3 {
            uring.wait(Some(Duration::from_millis(20)));
            while let Some(input) = uring.receive() {
                let Input::Datagram { bytes, .. } = input else { panic!("{input:?}") };
                seen.push(bytes.to_vec());
            }
        }
        seen
    }

    fn count_free_slots(uring: &mut Uring) -> usize {
        let mut count = 0;
        while uring.slots.has_free() {
            uring.slots.queue(Addressed { token: 0, size: 0, target: SocketName::EMPTY });
            count += 1;
        }
        count
    }

    // The kernel really carries out the sends whose failure these tests report, so what is sent
    // again arrives twice.

    #[test]
    fn what_a_full_socket_did_not_take_is_sent_again() {
        let (mut uring, address) = uring();
        let subject = submit(&mut uring, address, &[b"hello"]);
        uring.failed(subject, libc::EAGAIN);
        assert_eq!(arrivals(&mut uring), [b"hello", b"hello"]);
        assert_eq!(uring.faults(0), Faults { sends_deferred: 1, ..Faults::default() });
        assert_eq!(count_free_slots(&mut uring), SEND_SLOT_COUNT);
    }

    #[test]
    fn a_message_that_cannot_be_cut_is_sent_piece_by_piece() {
        let (mut uring, address) = uring();
        let datagrams: [&[u8]; 3] = [b"one", b"two", b"3"];
        submit(&mut uring, address, &datagrams);
        assert_eq!(arrivals(&mut uring), datagrams, "cut by the kernel");
        assert!(uring.slots.segmentation);

        let subject = submit(&mut uring, address, &datagrams);
        uring.failed(subject, libc::EIO);
        assert!(!uring.slots.segmentation);
        assert_eq!(arrivals(&mut uring).len(), 6);
        assert_eq!(uring.faults(0), Faults::default());
        assert_eq!(count_free_slots(&mut uring), SEND_SLOT_COUNT);
    }

    #[test]
    fn a_failure_that_is_told_too_late_is_a_loss() {
        let (mut uring, address) = uring();
        let subject = submit(&mut uring, address, &[b"hello"]);
        assert_eq!(arrivals(&mut uring).len(), 1);
        uring.failed(subject, libc::EAGAIN);
        assert_eq!(arrivals(&mut uring).len(), 0);
        assert_eq!(uring.faults(0), Faults { send_errors: 1, ..Faults::default() });
        assert_eq!(count_free_slots(&mut uring), SEND_SLOT_COUNT);
    }

    #[test]
    fn full_sockets_lose_the_oldest_datagram_when_all_slots_wait() {
        let (mut uring, address) = uring();
        for number in 0..SEND_SLOT_COUNT {
            // Alternating sizes make single datagrams of them.
            let bytes = vec![number as u8; 1 + number % 2 * 2];
            let subject = submit(&mut uring, address, &[&bytes]);
            uring.failed(subject, libc::EAGAIN);
        }
        assert!(!uring.slots.has_free());
        uring.send_slot();
        assert_eq!(uring.faults(0).send_errors, 1);
        assert_eq!(uring.faults(0).sends_deferred, SEND_SLOT_COUNT as u64);
        uring.close(0);
        assert_eq!(count_free_slots(&mut uring), SEND_SLOT_COUNT);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let line = |errno| explain("io_uring_setup", &io::Error::from_raw_os_error(errno));
        assert!(line(libc::EPERM).contains("seccomp") || line(libc::EPERM).contains("sysctl"));
        assert!(line(libc::ENOSYS).contains("use Linux 6.0"));
        assert!(line(libc::ENOMEM).contains("ulimit -l"));
        assert!(line(libc::EINVAL).contains("too old"));
        assert!(line(libc::EMFILE).contains("Too many open files"));
    }
}
