//! The transport without io_uring: epoll to wait, `recvmmsg` and `sendmmsg` to move datagrams in
//! batches.
//!
//! As fast as `uring` under load, because the kernel's UDP path dwarfs the system calls. Waits have
//! nanosecond resolution (`epoll_pwait2`, Linux 5.11), milliseconds on older kernels. Fairness: a
//! round reads at most one batch from each ready socket.

use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use super::buffers::{
    Addressed, RECEIVE_SIZE, Received, SEGMENTS_MAX, SegmentControl, SendSlots,
    is_about_segmentation,
};
use super::driver::Command;
use super::socket::{Ancillary, CONTROL_SIZE, Family, SocketName};
use super::wake::Mailbox;
use super::{Faults, Input, Token, Transport};
use crate::engine::Transmit;
use crate::node::Address;
use crate::time::Duration;

/// Datagrams read by one call. More gain nothing.
const BATCH: usize = 64;
/// Sockets reported ready by one wait; further ones are reported by the next.
const READY_MAX: usize = 64;
/// How long a socket that took no more is left alone.
const DEFERRED_RETRY: Duration = Duration::from_millis(1);
/// The epoll key of the command signal. Tokens are smaller.
const SIGNAL_KEY: u64 = u64::MAX;

struct Port {
    socket: UdpSocket,
    family: Family,
    faults: Faults,
}

/// The transport over epoll.
pub(super) struct Poll {
    epoll: OwnedFd,
    commands: Arc<Mailbox<Command>>,
    ports: Vec<Option<Port>>,
    /// Sockets with something to read, not read yet in this round.
    ready: Vec<Token>,
    closed: Vec<Token>,
    receive: ReceiveBatch,
    send: SendBatch,
    slots: SendSlots,
    /// The kernel knows `epoll_pwait2`, as far as is known.
    fine_waits: bool,
}

impl Poll {
    pub(super) fn new(commands: Arc<Mailbox<Command>>) -> io::Result<Poll> {
        // SAFETY: the call takes no pointers.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let poll = Poll {
            epoll,
            commands,
            ports: Vec::new(),
            ready: Vec::with_capacity(READY_MAX),
            closed: Vec::new(),
            receive: ReceiveBatch::new(),
            send: SendBatch::new(),
            slots: SendSlots::new(),
            fine_waits: true,
        };
        poll.watch(poll.commands.signal(), SIGNAL_KEY)?;
        Ok(poll)
    }

    fn watch(&self, source: &impl AsFd, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key };
        let source = source.as_fd().as_raw_fd();
        // SAFETY: both descriptors are open, and `event` outlives the call.
        let status = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, source, &mut event)
        };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for events and returns how many there are.
    fn wait_for_events(
        &mut self,
        events: &mut [libc::epoll_event],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let (epoll, capacity) = (self.epoll.as_raw_fd(), events.len() as i32);
        let count = if self.fine_waits {
            let time = timeout.map(|timeout| libc::timespec {
                tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
                tv_nsec: timeout.subsec_nanos().into(),
            });
            let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
            let mask = ptr::null::<libc::sigset_t>();
            // SAFETY: `events` has room for `capacity` entries, and `time` is null or outlives the
            // call.
            unsafe {
                let list = events.as_mut_ptr();
                libc::syscall(libc::SYS_epoll_pwait2, epoll, list, capacity, time, mask, 0) as i32
            }
        } else {
            let millis = timeout.map_or(-1, |timeout| {
                timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32
            });
            // SAFETY: `events` has room for `capacity` entries.
            unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), capacity, millis) }
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Sends what is queued. What a full socket does not take stays queued.
    fn flush(&mut self) {
        // Deferred datagrams go to the end of the queue and are not tried again in this call.
        let mut untried = self.slots.queued().len();
        while untried > 0 {
            let (token, datagrams) = self.send.prepare(&self.slots, untried);
            let Some(port) = &mut self.ports[token as usize] else {
                self.release(datagrams);
                untried -= datagrams;
                continue;
            };
            let first = self.send.datagrams_in(1);
            let done = match self.send.send(&port.socket) {
                Ok(messages) => {
                    let sent = self.send.datagrams_in(messages);
                    self.release(sent);
                    sent
                }
                Err(libc::EINTR) => 0,
                Err(libc::EAGAIN) => {
                    port.faults.sends_deferred += 1;
                    self.defer(datagrams);
                    datagrams
                }
                Err(error) if first > 1 && is_about_segmentation(error) => {
                    self.slots.segmentation = false;
                    0
                }
                Err(_) => {
                    port.faults.send_errors += first as u64;
                    self.release(first);
                    first
                }
            };
            untried -= done;
        }
    }

    fn release(&mut self, count: usize) {
        for index in 0..count {
            let slot = self.slots.queued()[index];
            self.slots.release(slot);
        }
        self.slots.unqueue(count);
    }

    fn defer(&mut self, count: usize) {
        for _ in 0..count {
            let slot = self.slots.queued()[0];
            self.slots.unqueue(1);
            self.slots.requeue(slot);
        }
    }
}

impl Transport for Poll {
    fn open(&mut self, token: Token, socket: UdpSocket) -> io::Result<()> {
        let family = Family::of(&socket)?;
        self.watch(&socket, token.into())?;
        let index = token as usize;
        if index >= self.ports.len() {
            self.ports.resize_with(index + 1, || None);
        }
        self.ports[index] = Some(Port { socket, family, faults: Faults::default() });
        Ok(())
    }

    fn close(&mut self, token: Token) {
        self.flush();
        // Closing the descriptor ends the watch on it.
        self.ports[token as usize] = None;
        self.ready.retain(|&ready| ready != token);
        self.receive.discard(token);
        self.closed.push(token);
    }

    fn wait(&mut self, timeout: Option<Duration>) {
        self.flush();
        let deferred = (!self.slots.queued().is_empty()).then_some(DEFERRED_RETRY);
        let pending = (!self.closed.is_empty() || !self.ready.is_empty()).then_some(Duration::ZERO);
        let timeout = [timeout, deferred, pending].into_iter().flatten().min();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; READY_MAX];
        match self.wait_for_events(&mut events, timeout) {
            Ok(count) => {
                for event in &events[..count] {
                    let key = event.u64;
                    if key == SIGNAL_KEY {
                        self.commands.signal().clear();
                    } else if !self.ready.contains(&(key as Token)) {
                        self.ready.push(key as Token);
                    }
                }
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::ENOSYS | libc::EPERM) if self.fine_waits => self.fine_waits = false,
                _ => panic!("waiting on an own epoll descriptor cannot fail: {error}"),
            },
        }
    }

    fn receive(&mut self) -> Option<Input<'_>> {
        if let Some(token) = self.closed.pop() {
            return Some(Input::Closed { token });
        }
        while self.receive.is_empty() {
            let token = self.ready.pop()?;
            let port = self.ports[token as usize].as_mut().expect("ready sockets are open");
            match self.receive.fill(token, &port.socket) {
                Ok(()) | Err(libc::EAGAIN | libc::EINTR) => {}
                Err(_) => port.faults.receive_errors += 1,
            }
        }
        let token = self.receive.token;
        let port = self.ports[token as usize].as_mut().expect("discarded on close");
        let datagram = self.receive.next();
        if let Some(lost) = datagram.ancillary.lost {
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
            self.flush();
        }
        if !self.slots.has_free() {
            // Full sockets hold every slot.
            let oldest = self.slots.queued()[0];
            let token = self.slots.addressed(oldest).token;
            if let Some(port) = &mut self.ports[token as usize] {
                port.faults.send_errors += 1;
            }
            self.release(1);
        }
        self.slots.next_free()
    }

    fn send(&mut self, token: Token, transmit: Transmit) {
        let port = self.ports[token as usize].as_mut().expect("only open sockets send");
        match SocketName::new(transmit.target, port.family) {
            Some(target) => self.slots.queue(Addressed { token, size: transmit.size, target }),
            None => port.faults.send_errors += 1,
        }
        if self.slots.queued().len().is_multiple_of(BATCH) {
            self.flush();
        }
    }

    fn faults(&self, token: Token) -> Faults {
        self.ports[token as usize].as_ref().map_or(Faults::default(), |port| port.faults)
    }
}

/// What one `recvmmsg` brought, and what of it was not taken yet.
struct ReceiveBatch {
    token: Token,
    next: usize,
    filled: usize,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[[u8; SocketName::CAPACITY]]>,
    controls: Box<[Control]>,
    bytes: Box<[u8]>,
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_SIZE]);

impl ReceiveBatch {
    fn new() -> ReceiveBatch {
        ReceiveBatch {
            token: 0,
            next: 0,
            filled: 0,
            headers: vec![EMPTY_HEADER; BATCH].into_boxed_slice(),
            vectors: vec![EMPTY_VECTOR; BATCH].into_boxed_slice(),
            names: vec![[0; SocketName::CAPACITY]; BATCH].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_SIZE]); BATCH].into_boxed_slice(),
            bytes: vec![0; BATCH * RECEIVE_SIZE].into_boxed_slice(),
        }
    }

    fn is_empty(&self) -> bool {
        self.next == self.filled
    }

    /// Forgets what was read from a socket that closes.
    fn discard(&mut self, token: Token) {
        if self.token == token {
            self.next = self.filled;
        }
    }

    /// Reads up to a batch of datagrams.
    fn fill(&mut self, token: Token, socket: &UdpSocket) -> Result<(), i32> {
        // The pointers are taken anew for each call, so none outlives a use of what it points to.
        let bytes = self.bytes.as_mut_ptr();
        for index in 0..BATCH {
            // SAFETY: `bytes` has room for BATCH buffers of this size.
            let buffer = unsafe { bytes.add(index * RECEIVE_SIZE) };
            self.vectors[index] = libc::iovec { iov_base: buffer.cast(), iov_len: RECEIVE_SIZE };
        }
        let (vectors, names) = (self.vectors.as_mut_ptr(), self.names.as_mut_ptr());
        let controls = self.controls.as_mut_ptr();
        for (index, entry) in self.headers.iter_mut().enumerate() {
            let header = &mut entry.msg_hdr;
            // SAFETY: each array has BATCH elements, as many as there are headers.
            unsafe {
                header.msg_iov = vectors.add(index);
                header.msg_name = names.add(index).cast();
                header.msg_control = controls.add(index).cast();
            }
            header.msg_iovlen = 1;
            header.msg_namelen = SocketName::CAPACITY as libc::socklen_t;
            header.msg_controllen = CONTROL_SIZE as _;
        }
        (self.token, self.next, self.filled) = (token, 0, 0);
        // SAFETY: the headers describe memory that lives in `self` and is not used during the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(count).map_err(|_| last_errno())?;
        Ok(())
    }

    /// The next datagram. One from a source of no known family has no bytes and no sender.
    fn next(&mut self) -> Received<'_> {
        let index = self.next;
        self.next += 1;
        let entry = &self.headers[index];
        let name_size = (entry.msg_hdr.msg_namelen as usize).min(SocketName::CAPACITY);
        // The C libraries do not agree on the type of this field.
        #[allow(clippy::unnecessary_cast)]
        let control_size = (entry.msg_hdr.msg_controllen as usize).min(CONTROL_SIZE);
        let start = index * RECEIVE_SIZE;
        Received {
            source: SocketName::parse(&self.names[index][..name_size])
                .unwrap_or(Address::UNSPECIFIED),
            ancillary: Ancillary::parse(&self.controls[index].0[..control_size]),
            bytes: &mut self.bytes[start..start + (entry.msg_len as usize).min(RECEIVE_SIZE)],
        }
    }
}

/// The messages of one `sendmmsg`, all of one socket.
struct SendBatch {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[SocketName]>,
    controls: Box<[SegmentControl]>,
    /// Datagrams up to and including each message.
    ends: Vec<usize>,
}

impl SendBatch {
    fn new() -> SendBatch {
        SendBatch {
            headers: vec![EMPTY_HEADER; BATCH].into_boxed_slice(),
            vectors: vec![EMPTY_VECTOR; BATCH * SEGMENTS_MAX].into_boxed_slice(),
            names: vec![SocketName::EMPTY; BATCH].into_boxed_slice(),
            controls: vec![SegmentControl::EMPTY; BATCH].into_boxed_slice(),
            ends: Vec::with_capacity(BATCH),
        }
    }

    /// Makes messages of the oldest queued datagrams, as far as they are of one socket and among
    /// the first `limit`. Returns the socket's token and the number of datagrams.
    fn prepare(&mut self, slots: &SendSlots, limit: usize) -> (Token, usize) {
        let token = slots.addressed(slots.queued()[0]).token;
        self.ends.clear();
        let mut taken = 0;
        while taken < limit && self.ends.len() < BATCH {
            let first = slots.addressed(slots.queued()[taken]);
            if first.token != token {
                break;
            }
            let length = slots.run_length(taken).min(limit - taken);
            let run = &slots.queued()[taken..taken + length];
            for (vector, &slot) in self.vectors[taken..].iter_mut().zip(run) {
                *vector = slots.vector(slot);
            }
            let index = self.ends.len();
            self.names[index] = first.target;
            self.controls[index] = SegmentControl::new(first.size);
            taken += length;
            self.ends.push(taken);
        }
        (token, taken)
    }

    /// Datagrams in the first `messages` messages.
    fn datagrams_in(&self, messages: usize) -> usize {
        messages.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// Sends the messages and returns how many went, or why the first did not.
    fn send(&mut self, socket: &UdpSocket) -> Result<usize, i32> {
        let (vectors, names) = (self.vectors.as_mut_ptr(), self.names.as_ptr());
        let controls = self.controls.as_ptr();
        let mut start = 0;
        for (index, &end) in self.ends.iter().enumerate() {
            let header = &mut self.headers[index].msg_hdr;
            let segmented = end - start > 1;
            // SAFETY: `prepare` filled the arrays up to these places. The kernel reads through the
            // pointers only, whatever their type says.
            unsafe {
                let name = &*names.add(index);
                header.msg_name = name.as_ptr().cast_mut().cast();
                header.msg_namelen = name.size();
                header.msg_iov = vectors.add(start);
                header.msg_control = match segmented {
                    true => (*controls.add(index)).as_ptr().cast_mut().cast(),
                    false => ptr::null_mut(),
                };
            }
            header.msg_iovlen = (end - start) as _;
            header.msg_controllen = if segmented { SegmentControl::SIZE as _ } else { 0 };
            start = end;
        }
        let count = self.ends.len() as u32;
        // SAFETY: the first `count` headers describe live memory, see above.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| last_errno())
    }
}

const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
// SAFETY: a header of zeros is a message without address, data and control messages.
const EMPTY_HEADER: libc::mmsghdr = unsafe { mem::zeroed() };

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::super::driver::COMMAND_MAILBOX_CAPACITY;
    use super::*;

    #[test]
    fn deferred_datagrams_go_behind_the_others() {
        let commands = Arc::new(Mailbox::new(COMMAND_MAILBOX_CAPACITY).unwrap());
        let mut poll = Poll::new(commands).unwrap();
        let socket = super::super::socket::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let target = Address::from(socket.local_addr().unwrap());
        poll.open(0, socket).unwrap();
        for number in 0..4 {
            poll.send_slot()[0] = number;
            poll.send(0, Transmit { target, size: 1 });
        }
        poll.defer(2);
        assert_eq!(poll.slots.queued(), [2, 3, 0, 1]);
        poll.release(1);
        poll.wait(Some(Duration::from_millis(20)));
        let arrived: Vec<u8> = std::iter::from_fn(|| match poll.receive() {
            Some(Input::Datagram { bytes, .. }) => Some(bytes[0]),
            _ => None,
        })
        .collect();
        assert_eq!(arrived, [3, 0, 1]);
        assert!(poll.slots.segmentation, "loopback cuts messages");
    }
}
