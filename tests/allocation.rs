//! After warm-up the packet path allocates nothing: counted, not promised.
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;

use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::{Address, Config, Counter, Duration, Engine, Generation, Instant, Secret};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn address(number: u16) -> Address {
    SocketAddr::from(([10, 0, 0, 1], 7_000 + number)).into()
}

/// A datagram under way.
struct Carried {
    target: usize,
    size: usize,
    bytes: [u8; DATAGRAM_SIZE_MAX],
}

/// Boxed, so that passing it on does not copy the datagram.
type Place = Box<Carried>;

/// Two engines whose datagrams arrive at once, through places made beforehand, so that every allocation
/// counted is theirs.
struct Pair {
    now: Instant,
    engines: [Engine; 2],
    under_way: VecDeque<Place>,
    spare: Vec<Place>,
}

impl Pair {
    fn new() -> Pair {
        let now = Instant::from_millis(1);
        let engines = [0, 1].map(|number| {
            let mut config = Config::new(address(number), Secret::new([3; 32]).unwrap());
            config.generation = Generation(1);
            Engine::new(config, u64::from(number), now).unwrap()
        });
        let place = || Box::new(Carried { target: 0, size: 0, bytes: [0; DATAGRAM_SIZE_MAX] });
        let spare = std::iter::repeat_with(place).take(64).collect();
        let mut pair = Pair { now, engines, under_way: VecDeque::with_capacity(64), spare };
        pair.engines[1].join(now, &[address(0)]).unwrap();
        pair.drain(1);
        pair
    }

    fn drain(&mut self, sender: usize) {
        loop {
            let mut place = self.spare.pop().expect("few datagrams are under way at a time");
            match self.engines[sender].poll_transmit(self.now, &mut place.bytes) {
                Some(transmit) => {
                    (place.target, place.size) = (1 - sender, transmit.size);
                    self.under_way.push_back(place);
                }
                None => {
                    self.spare.push(place);
                    break;
                }
            }
        }
        while self.engines[sender].poll_event().is_some() {}
        while self.engines[sender].poll_change().is_some() {}
    }

    /// Carries datagrams to and fro until both are silent.
    fn exchange(&mut self) {
        while let Some(mut carried) = self.under_way.pop_front() {
            self.now += Duration::from_micros(50);
            let (target, size) = (carried.target, carried.size);
            let source = address(1 - target as u16);
            self.engines[target].handle_datagram(self.now, source, &mut carried.bytes[..size]);
            self.spare.push(carried);
            self.drain(target);
        }
    }

    /// Lets time pass until `count` more probes have been answered.
    fn run_exchanges(&mut self, count: u64) {
        let goal = self.acked() + count;
        while self.acked() < goal {
            let due = self.engines.iter().filter_map(Engine::poll_timeout).min();
            self.now = self.now.max(due.expect("a running engine has a deadline"));
            for index in [0, 1] {
                self.engines[index].handle_timeout(self.now);
                self.drain(index);
                self.exchange();
            }
        }
    }

    fn acked(&self) -> u64 {
        self.engines.iter().map(|engine| engine.stats().value(Counter::ProbesAcked)).sum()
    }
}

#[test]
fn a_hundred_thousand_exchanges_allocate_nothing() {
    let mut pair = Pair::new();
    pair.run_exchanges(2_000);
    let before = ALLOCATIONS.with(Cell::get);
    pair.run_exchanges(100_000);
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    assert_eq!(allocations, 0, "allocations in 100,000 probe and ack exchanges");
    for engine in &pair.engines {
        let dropped = |counter: Counter| counter.name().starts_with("dropped");
        let drops: u64 =
            engine.stats().iter().filter(|(c, _)| dropped(*c)).map(|(_, value)| value).sum();
        assert_eq!(drops, 0);
        assert_eq!(engine.stats().value(Counter::ProbesFailed), 0);
    }
}

#[test]
fn refusing_bad_datagrams_allocates_nothing() {
    let mut pair = Pair::new();
    pair.run_exchanges(10);
    let [engine, _] = &mut pair.engines;
    let before = ALLOCATIONS.with(Cell::get);
    for size in 0..DATAGRAM_SIZE_MAX {
        let mut bytes = [size as u8; DATAGRAM_SIZE_MAX + 1];
        bytes[..4].copy_from_slice(b"SHL\x01");
        engine.handle_datagram(pair.now, address(9), &mut bytes[..size]);
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}
