//! The engine alone: bytes per member, allocations per packet, and the processor's way through a
//! packet for a profiler to look at.

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use shoal_benches::cluster::{NewsSource, Peer, SIZES, address, drain, engine_with};
use shoal_benches::figures::Results;
use shoal_benches::heap;
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::{Engine, Instant};

const EXCHANGES: u32 = 100_000;
const WARM_UP: u32 = 300_000;
/// Members of the cluster in which exchanges are counted and profiled.
const MEMBERS: u32 = 1_000;
/// Between two exchanges on the engine's clock.
const GAP: shoal_core::Duration = shoal_core::Duration::from_micros(5);

/// Bytes per member in clusters of all sizes, and allocations in 100,000 exchanges.
pub fn memory() -> Results {
    let mut results = Results::default();
    for size in SIZES {
        let before = heap::in_use();
        let (engine, _) = engine_with(size);
        let bytes = (heap::in_use() - before) as f64;
        drop(engine);
        results.add(format!("memory/member/{size}"), bytes / f64::from(size), "B");
    }
    let mut exchange = Exchange::new();
    (0..WARM_UP).for_each(|_| exchange.run());
    let counts: u32 = (0..EXCHANGES).map(|_| exchange.run_counted()).sum();
    results.add("updates/answer", exchange.updates_in_answer() as f64, "");
    results.add("allocations/exchange", f64::from(counts) / f64::from(EXCHANGES), "");
    results
}

/// A probe in and its answer out, for so long.
pub fn path(seconds: f64) -> Results {
    let mut exchange = Exchange::new();
    let end = Clock::now() + Duration::from_secs_f64(seconds);
    let mut samples = Vec::new();
    while Clock::now() < end {
        let mut spent = Duration::ZERO;
        for _ in 0..1_000 {
            spent += exchange.run_timed();
        }
        samples.push(spent.as_nanos() as f64 / 1e3);
    }
    let mut results = Results::default();
    results.add_samples("path/exchange", &samples, "ns");
    results.figures.iter_mut().for_each(|figure| figure.samples.clear());
    results
}

/// One peer that probes an engine again and again, with news now and then.
pub struct Exchange {
    pub engine: Engine,
    pub now: Instant,
    pub peer: Peer,
    news: NewsSource,
    buffer: [u8; DATAGRAM_SIZE_MAX],
    turn: u32,
}

impl Exchange {
    pub fn new() -> Exchange {
        let (engine, now) = engine_with(MEMBERS);
        let (peer, news) = (Peer::new(2), NewsSource::new(MEMBERS));
        let mut exchange =
            Exchange { engine, now, peer, news, buffer: [0; DATAGRAM_SIZE_MAX], turn: 0 };
        // Room for the queues' longest, so that what follows is the steady state.
        for _ in 0..MEMBERS {
            exchange.run();
        }
        exchange
    }

    /// The next datagram to handle, its source, and its time.
    fn next(&mut self) -> (Vec<u8>, shoal_core::Address, Instant) {
        self.turn += 1;
        self.now += GAP;
        match self.turn % 16 {
            0 => (self.news.datagram(), address(1), self.now),
            _ => (self.peer.probe(), address(2), self.now),
        }
    }

    /// Pieces of news that one answer takes along while a thousand wait.
    fn updates_in_answer(&mut self) -> usize {
        let (mut probe, now) = (self.peer.probe(), self.now);
        for _ in 0..MEMBERS {
            self.engine.handle_datagram(now, address(1), &mut self.news.datagram());
            drain(&mut self.engine, now);
        }
        self.engine.handle_datagram(now, address(2), &mut probe);
        let sent = self.engine.poll_transmit(now, &mut self.buffer);
        let size = sent.expect("a probe is answered").size;
        self.peer.updates_in(&mut self.buffer[..size])
    }

    fn run(&mut self) {
        self.run_counted();
    }

    /// Allocations of one exchange.
    fn run_counted(&mut self) -> u32 {
        let (mut datagram, source, now) = self.next();
        let before = heap::calls();
        self.take(&mut datagram, source, now);
        (heap::calls() - before) as u32
    }

    fn run_timed(&mut self) -> Duration {
        let (mut datagram, source, now) = self.next();
        let start = Clock::now();
        self.take(&mut datagram, source, now);
        start.elapsed()
    }

    /// What a node does with a datagram, without the system calls.
    #[inline(never)]
    fn take(&mut self, datagram: &mut [u8], source: shoal_core::Address, now: Instant) {
        let Exchange { engine, buffer, .. } = self;
        engine.handle_datagram(now, source, black_box(datagram));
        while engine.poll_transmit(now, black_box(buffer)).is_some() {}
        if engine.poll_timeout().is_some_and(|due| due <= now) {
            engine.handle_timeout(now);
            while engine.poll_transmit(now, black_box(buffer)).is_some() {}
        }
        while engine.poll_event().is_some() {}
        while engine.poll_change().is_some() {}
    }
}
