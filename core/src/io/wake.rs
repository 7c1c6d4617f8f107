//! How the node thread and its hosts wake each other.
//!
//! A [`Mailbox`] is a bounded queue with a [`Signal`], a file descriptor that a loop can wait on.
//! Raising a signal costs its writer several microseconds when a thread sleeps on it, so a producer
//! raises it only when the consumer has declared itself asleep. The handshake is Dekker's: the
//! consumer declares, then looks into the queue once more; the producer fills the queue, then looks
//! at the declaration; with a sequentially consistent fence between the two steps on each side, at
//! least one of them sees the other.

use crossbeam_queue::ArrayQueue;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::time::Duration;

#[cfg(target_os = "linux")]
type Channel = std::fs::File;
#[cfg(not(target_os = "linux"))]
type Channel = std::os::unix::net::UnixStream;

/// A flag with a file descriptor: readable from [`Signal::raise`] until [`Signal::clear`].
#[derive(Debug)]
pub(super) struct Signal {
    reader: Channel,
    /// An eventfd is written through its own descriptor, a socket pair through the other end.
    #[cfg(not(target_os = "linux"))]
    writer: Channel,
}

impl Signal {
    #[cfg(target_os = "linux")]
    pub(super) fn new() -> io::Result<Signal> {
        use std::os::fd::{FromRawFd, OwnedFd};
        // SAFETY: the call takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Signal { reader: Channel::from(owned) })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new() -> io::Result<Signal> {
        let (reader, writer) = Channel::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Signal { reader, writer })
    }

    /// Makes the descriptor readable. A signal that cannot take more is raised already.
    pub(super) fn raise(&self) {
        #[cfg(target_os = "linux")]
        let mut writer = &self.reader;
        #[cfg(not(target_os = "linux"))]
        let mut writer = &self.writer;
        let _ = writer.write(&1u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable.
    pub(super) fn clear(&self) {
        let mut count = [0; 8];
        while let Ok(8) = (&self.reader).read(&mut count) {
            // An eventfd gives its whole count at once; only a socket pair may hold more.
            if cfg!(target_os = "linux") {
                break;
            }
        }
    }

    /// Waits until the signal is raised, at most `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        let mut entry =
            libc::pollfd { fd: self.reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // Rounded up, so that a caller that waits for the rest of a millisecond does not spin.
        let millis = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        // SAFETY: one valid entry is passed, for the length of the call.
        unsafe { libc::poll(&mut entry, 1, millis) };
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// A bounded queue from many producers to one sleeping or working consumer.
pub(super) struct Mailbox<T> {
    queue: ArrayQueue<T>,
    signal: Signal,
    /// The consumer sleeps or is about to: the next producer raises the signal.
    asleep: AtomicBool,
    /// The consumer is to look around once more before it sleeps, although no item came.
    prodded: AtomicBool,
}

impl<T> Mailbox<T> {
    /// An empty mailbox whose consumer is taken to sleep.
    pub(super) fn new(capacity: usize) -> io::Result<Mailbox<T>> {
        let (queue, signal) = (ArrayQueue::new(capacity), Signal::new()?);
        let (asleep, prodded) = (AtomicBool::new(true), AtomicBool::new(false));
        Ok(Mailbox { queue, signal, asleep, prodded })
    }

    /// The descriptor on which the consumer sleeps.
    pub(super) fn signal(&self) -> &Signal {
        &self.signal
    }

    /// Puts an item in and wakes the consumer if it sleeps; gives the item back when there is no
    /// room.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        self.queue.push(item)?;
        self.wake();
        Ok(())
    }

    /// Makes the consumer look around, whether it sleeps, works or is about to sleep.
    pub(super) fn prod(&self) {
        self.prodded.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            self.signal.raise();
        }
    }

    /// Takes an item without changing whether the consumer sleeps.
    pub(super) fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether no item fits.
    pub(super) fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Whether at most half the room is taken.
    pub(super) fn is_half_empty(&self) -> bool {
        self.queue.len() <= self.queue.capacity() / 2
    }

    /// Declares that the consumer is about to sleep on the signal. `false` when an item waits or
    /// when it was prodded: then it must not sleep.
    pub(super) fn declare_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_prodded =
            self.prodded.load(Ordering::Relaxed) && self.prodded.swap(false, Ordering::SeqCst);
        self.queue.is_empty() && !is_prodded
    }

    /// Declares that the consumer looks into the queue by itself: producers save the signal.
    pub(super) fn declare_awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Takes an item. When there is none, clears the signal and declares the consumer asleep, so
    /// that the descriptor becomes readable with the next item.
    pub(super) fn pop_or_sleep(&self) -> Option<T> {
        if let Some(item) = self.queue.pop() {
            return Some(item);
        }
        self.signal.clear();
        // An item that came between the first look and the declaration is found by the second look.
        // Its producer may raise the signal as well, which costs one needless wake-up.
        self.declare_asleep();
        self.queue.pop()
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Mailbox({} of {} items)", self.queue.len(), self.queue.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn is_raised(signal: &Signal) -> bool {
        let mut entry =
            libc::pollfd { fd: signal.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry is passed, for the length of the call.
        unsafe { libc::poll(&mut entry, 1, 0) == 1 }
    }

    #[test]
    fn only_a_sleeping_consumer_is_signalled() {
        let mailbox = Mailbox::new(4).unwrap();
        mailbox.declare_awake();
        mailbox.push(1).unwrap();
        assert!(!is_raised(mailbox.signal()));
        assert!(!mailbox.declare_asleep(), "an item waits");
        assert_eq!(mailbox.pop_or_sleep(), Some(1));
        assert_eq!(mailbox.pop_or_sleep(), None);
        mailbox.push(2).unwrap();
        assert!(is_raised(mailbox.signal()));
        assert_eq!(mailbox.pop_or_sleep(), Some(2));
        assert_eq!(mailbox.pop_or_sleep(), None);
        assert!(!is_raised(mailbox.signal()));
    }

    #[test]
    fn a_prod_reaches_a_consumer_that_is_about_to_sleep() {
        let mailbox = Mailbox::<u8>::new(4).unwrap();
        mailbox.declare_awake();
        mailbox.prod();
        assert!(!mailbox.declare_asleep());
        assert!(mailbox.declare_asleep(), "once is enough");
        mailbox.prod();
        assert!(is_raised(mailbox.signal()), "it slept");
    }

    #[test]
    fn a_full_mailbox_gives_the_item_back() {
        let mailbox = Mailbox::new(2).unwrap();
        mailbox.push(1).unwrap();
        mailbox.push(2).unwrap();
        assert_eq!(mailbox.push(3), Err(3));
        assert!(mailbox.is_full() && !mailbox.is_half_empty());
    }

    /// Every item must arrive although the consumer sleeps without a limit of its own: one lost
    /// wake-up leaves the consumer waiting until the assertion on the time it waited fails.
    #[test]
    fn no_wake_up_is_lost() {
        const ITEMS: u64 = 200_000;
        let mailbox = Arc::new(Mailbox::new(64).unwrap());
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let mailbox = Arc::clone(&mailbox);
                std::thread::spawn(move || {
                    for item in 0..ITEMS / 2 {
                        while mailbox.push(item).is_err() {
                            std::thread::yield_now();
                        }
                        if item % 64 == 0 {
                            // Lets the consumer run dry, so that it goes to sleep often.
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut taken = 0;
        while taken < ITEMS {
            if mailbox.pop_or_sleep().is_some() {
                taken += 1;
                continue;
            }
            let before = super::super::clock::now();
            mailbox.signal().wait(Duration::from_secs(10));
            let waited = super::super::clock::now() - before;
            assert!(waited < Duration::from_secs(10), "a wake-up was lost after {taken} items");
        }
        for producer in producers {
            producer.join().unwrap();
        }
    }
}
