//! Memory that datagrams lie in: the kernel's on the way in, the engine's on the way out.
//!
//! [`SendSlots`] are fixed in number and place. A slot is free, or queued in the order of sending,
//! or (io_uring only) in flight. A datagram is written into its slot once and stays there until the
//! kernel has it. Consecutive datagrams of one size to one peer go as one message that the kernel
//! cuts into segments (`UDP_SEGMENT`), which costs a fraction of sending each.
//!
//! [`ReceiveRing`] is the memory of io_uring's multishot receives: buffers that the kernel takes
//! from a ring in turn and fills with address, control messages and datagram.

use io_uring::types::BufRingEntry;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use super::Token;
use super::socket::{Ancillary, CONTROL_SIZE, SocketName};
use crate::config::DATAGRAM_SIZE_MAX;
use crate::node::Address;

/// Bytes offered for a received datagram: more than the largest legal one, so that a larger one
/// shows.
pub(super) const RECEIVE_SIZE: usize = DATAGRAM_SIZE_MAX + 8;
/// Datagrams that can be queued or in flight on one thread.
pub(super) const SEND_SLOT_COUNT: usize = 256;
/// The most datagrams that go as one message. Linux takes 64; the gain is had long before.
pub(super) const SEGMENTS_MAX: usize = 16;
/// The most bytes of one message: what fits one IPv4 packet.
const MESSAGE_SIZE_MAX: usize = 65_000;
/// Room for the control message that gives the segment size: `CMSG_SPACE(2)`, in words.
const SEGMENT_CONTROL_WORDS: usize = 3;

/// Where a queued datagram goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressed {
    pub(super) token: Token,
    pub(super) size: usize,
    pub(super) target: SocketName,
}

/// The send slots of one thread.
#[derive(Debug)]
pub(super) struct SendSlots {
    bytes: Box<[u8]>,
    addressed: Box<[Addressed]>,
    /// Free slots; the last one freed is used first, because its memory is warm.
    free: Vec<u16>,
    /// Slots to be sent, oldest first.
    queued: Vec<u16>,
    /// Segmentation works on this machine, as far as is known.
    pub(super) segmentation: bool,
}

impl SendSlots {
    pub(super) fn new() -> SendSlots {
        let nowhere = Addressed { token: 0, size: 0, target: SocketName::EMPTY };
        SendSlots {
            bytes: vec![0; SEND_SLOT_COUNT * DATAGRAM_SIZE_MAX].into_boxed_slice(),
            addressed: vec![nowhere; SEND_SLOT_COUNT].into_boxed_slice(),
            free: (0..SEND_SLOT_COUNT as u16).rev().collect(),
            queued: Vec::with_capacity(SEND_SLOT_COUNT),
            segmentation: true,
        }
    }

    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// The slot that [`SendSlots::queue`] will take next, to write into.
    pub(super) fn next_free(&mut self) -> &mut [u8] {
        let slot = *self.free.last().expect("the transport has made room");
        let start = usize::from(slot) * DATAGRAM_SIZE_MAX;
        &mut self.bytes[start..start + DATAGRAM_SIZE_MAX]
    }

    /// Queues the slot that was written last.
    pub(super) fn queue(&mut self, addressed: Addressed) {
        assert!(addressed.size <= DATAGRAM_SIZE_MAX, "a datagram fits its slot");
        let slot = self.free.pop().expect("a slot was written into");
        self.addressed[usize::from(slot)] = addressed;
        self.queued.push(slot);
    }

    /// Takes a slot back.
    pub(super) fn release(&mut self, slot: u16) {
        debug_assert!(!self.free.contains(&slot), "a slot is released once");
        self.free.push(slot);
    }

    /// Slots to be sent, oldest first.
    pub(super) fn queued(&self) -> &[u16] {
        &self.queued
    }

    /// Takes the oldest `count` slots from the queue. They are in flight now, or released next.
    pub(super) fn unqueue(&mut self, count: usize) {
        self.queued.drain(..count);
    }

    /// Puts a slot that could not be sent back into the queue.
    pub(super) fn requeue(&mut self, slot: u16) {
        self.queued.push(slot);
    }

    pub(super) fn addressed(&self, slot: u16) -> &Addressed {
        &self.addressed[usize::from(slot)]
    }

    /// The datagram in a slot, as the kernel wants it.
    pub(super) fn vector(&self, slot: u16) -> libc::iovec {
        let start = usize::from(slot) * DATAGRAM_SIZE_MAX;
        let size = self.addressed(slot).size;
        let bytes = &self.bytes[start..start + size];
        // Sending reads only; the kernel's type does not say so.
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: size }
    }

    /// How many queued datagrams, from `start` on, can go as one message: they follow each other to
    /// one peer, and all but the last have one size, which the last does not exceed.
    pub(super) fn run_length(&self, start: usize) -> usize {
        let first = self.addressed(self.queued[start]);
        if !self.segmentation || first.size == 0 {
            return 1;
        }
        let limit = SEGMENTS_MAX.min(MESSAGE_SIZE_MAX / first.size);
        let mut length = 1;
        for &slot in self.queued[start + 1..].iter().take(limit - 1) {
            let next = self.addressed(slot);
            let fits = next.size <= first.size && next.size > 0;
            if !fits || next.token != first.token || next.target != first.target {
                break;
            }
            length += 1;
            if next.size < first.size {
                break;
            }
        }
        length
    }
}

/// The control message that tells the kernel where to cut.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct SegmentControl([u64; SEGMENT_CONTROL_WORDS]);

impl SegmentControl {
    pub(super) const SIZE: usize = SEGMENT_CONTROL_WORDS * 8;
    pub(super) const EMPTY: SegmentControl = SegmentControl([0; SEGMENT_CONTROL_WORDS]);

    pub(super) fn new(segment_size: usize) -> SegmentControl {
        const HEADER: usize = size_of::<libc::cmsghdr>();
        let mut bytes = [0; SegmentControl::SIZE];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &(HEADER + 2).to_ne_bytes());
        put(HEADER - 8, &libc::SOL_UDP.to_ne_bytes());
        put(HEADER - 4, &libc::UDP_SEGMENT.to_ne_bytes());
        put(HEADER, &(segment_size as u16).to_ne_bytes());
        let word = |at: usize| u64::from_ne_bytes(bytes[at * 8..][..8].try_into().unwrap());
        SegmentControl([word(0), word(1), word(2)])
    }

    pub(super) fn as_ptr(&self) -> *const u64 {
        self.0.as_ptr()
    }
}

/// Whether an error of a segmented message may be about segmentation itself: no checksum offload on
/// the way, or a path narrower than one segment. Such a message is sent again piece by piece.
pub(super) fn is_about_segmentation(error: i32) -> bool {
    matches!(
        error,
        libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP | libc::ENOPROTOOPT
    )
}

/// A received datagram where the kernel put it.
pub(super) struct Received<'a> {
    pub(super) source: Address,
    pub(super) ancillary: Ancillary,
    pub(super) bytes: &'a mut [u8],
}

/// Buffers that the kernel fills with received datagrams, and the ring in which they are offered to
/// it.
///
/// The kernel writes to the buffers that it has; this side touches a buffer only between the
/// completion that names it and [`ReceiveRing::give_back`].
#[derive(Debug)]
pub(super) struct ReceiveRing {
    /// `COUNT` ring entries, a page, and behind them as many buffers.
    memory: NonNull<u8>,
    /// Buffers offered so far. The ring is full when it has been given all of them.
    tail: u16,
    /// Tells the kernel how much room each buffer has for addresses and control messages.
    header: Box<libc::msghdr>,
}

impl ReceiveRing {
    /// Buffers, shared by all sockets of the thread. A power of two.
    pub(super) const COUNT: u16 = 256;
    /// The name under which the ring is registered.
    pub(super) const GROUP: u16 = 0;
    const ENTRIES_SIZE: usize = Self::COUNT as usize * size_of::<BufRingEntry>();
    const BUFFER_SIZE: usize = 1_536;
    /// Four numbers that the kernel writes in front: the sizes of name, control and datagram, and
    /// flags.
    const PREFIX_SIZE: usize = 16;
    const NAME_AT: usize = Self::PREFIX_SIZE;
    const CONTROL_AT: usize = Self::NAME_AT + SocketName::CAPACITY;
    const BYTES_AT: usize = Self::CONTROL_AT + CONTROL_SIZE;
    const LAYOUT: Layout = match Layout::from_size_align(
        Self::ENTRIES_SIZE + Self::COUNT as usize * Self::BUFFER_SIZE,
        4_096,
    ) {
        Ok(layout) => layout,
        Err(_) => panic!("the size is a small constant and the alignment a power of two"),
    };

    /// Buffers that are all offered to the kernel, once it knows of the ring.
    pub(super) fn new() -> ReceiveRing {
        const { assert!(Self::BUFFER_SIZE - Self::BYTES_AT >= RECEIVE_SIZE) };
        const { assert!(Self::COUNT.is_power_of_two(), "the kernel masks ring positions") };
        // SAFETY: the layout is not empty.
        let memory = unsafe { std::alloc::alloc_zeroed(Self::LAYOUT) };
        let Some(memory) = NonNull::new(memory) else {
            std::alloc::handle_alloc_error(Self::LAYOUT);
        };
        // SAFETY: a header of zeros is valid; receiving into provided buffers uses its sizes only.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = SocketName::CAPACITY as libc::socklen_t;
        header.msg_controllen = CONTROL_SIZE as _;
        let mut ring = ReceiveRing { memory, tail: 0, header };
        (0..Self::COUNT).for_each(|buffer| ring.give_back(buffer));
        ring
    }

    /// Where the ring is, for the kernel.
    pub(super) fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    /// The header of every receive. It stays where it is as long as the ring.
    pub(super) fn header(&self) -> *const libc::msghdr {
        &raw const *self.header
    }

    fn buffer(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < Self::COUNT, "the kernel names buffers that it was given");
        let offset = Self::ENTRIES_SIZE + usize::from(buffer) * Self::BUFFER_SIZE;
        // SAFETY: the offset is inside the allocation, see LAYOUT.
        unsafe { self.memory.as_ptr().add(offset) }
    }

    /// Offers a buffer to the kernel.
    pub(super) fn give_back(&mut self, buffer: u16) {
        let address = self.buffer(buffer) as u64;
        let entries = self.memory.as_ptr().cast::<BufRingEntry>();
        let index = usize::from(self.tail % Self::COUNT);
        // SAFETY: the index is inside the ring, and the kernel does not read an entry before the
        // tail has passed it. Only the fields are written: the tail itself lies in the rest of the
        // first entry.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(address);
            entry.set_len(Self::BUFFER_SIZE as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is an aligned number in the first entry, which the kernel only reads.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        // Releases the entry, and every read of the buffer before it.
        tail.store(self.tail, Ordering::Release);
    }

    /// What the kernel put into a buffer that it named in a completion and that was not given back
    /// yet.
    pub(super) fn datagram(&mut self, buffer: u16) -> Received<'_> {
        let start = self.buffer(buffer);
        // SAFETY: the buffer has this size and is this side's until it is given back, which needs
        // `self`.
        let whole = unsafe { std::slice::from_raw_parts_mut(start, Self::BUFFER_SIZE) };
        let (ahead, bytes) = whole.split_at_mut(Self::BYTES_AT);
        let size = |at: usize| u32::from_ne_bytes(ahead[at..at + 4].try_into().unwrap()) as usize;
        let name_end = Self::NAME_AT + size(0).min(SocketName::CAPACITY);
        let control_end = Self::CONTROL_AT + size(4).min(CONTROL_SIZE);
        let bytes_end = size(8).min(bytes.len());
        Received {
            source: SocketName::parse(&ahead[Self::NAME_AT..name_end])
                .unwrap_or(Address::UNSPECIFIED),
            ancillary: Ancillary::parse(&ahead[Self::CONTROL_AT..control_end]),
            bytes: &mut bytes[..bytes_end],
        }
    }
}

impl Drop for ReceiveRing {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`, and freed once.
        unsafe { std::alloc::dealloc(self.memory.as_ptr(), Self::LAYOUT) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::Family;
    use super::*;

    fn queue(slots: &mut SendSlots, port: u16, size: usize) {
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let target = SocketName::new(address, Family::V4).unwrap();
        slots.next_free()[0] = size as u8;
        slots.queue(Addressed { token: 0, size, target });
    }

    #[test]
    fn runs_are_one_peer_one_size_and_a_shorter_end() {
        let mut slots = SendSlots::new();
        for (port, size) in [(1, 100), (1, 100), (1, 40), (1, 40), (2, 40), (2, 41), (2, 0)] {
            queue(&mut slots, port, size);
        }
        let mut lengths = Vec::new();
        let mut start = 0;
        while start < slots.queued().len() {
            lengths.push(slots.run_length(start));
            start += lengths.last().unwrap();
        }
        assert_eq!(lengths, [3, 1, 1, 1, 1]);
        slots.segmentation = false;
        assert_eq!(slots.run_length(0), 1);
    }

    #[test]
    fn runs_are_bounded() {
        let mut slots = SendSlots::new();
        while slots.has_free() {
            queue(&mut slots, 1, 1_400);
        }
        assert_eq!(slots.queued().len(), SEND_SLOT_COUNT);
        assert_eq!(slots.run_length(0), SEGMENTS_MAX);
        assert_eq!(slots.run_length(SEND_SLOT_COUNT - 1), 1);
        slots.unqueue(1);
        slots.release(0);
        assert!(slots.has_free());
    }
}
