//! After warm-up a conversation in the Python node's format allocates nothing, and neither does
//! refusing bad datagrams: counted, not promised.

use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::coordinate::Coordinate;
use shoal_core::random::Random;
use shoal_core::wire::hyperscale::entry::Overload;
use shoal_core::wire::hyperscale::{
    Draft, Envelopes, FrameKind, HANDLER, HealthEntry, MemberEntry, Name, PeerCoordinate,
    UpdateKind,
};
use shoal_core::{
    Address, Config, Counter, Duration, Engine, Generation, Instant, Secret, WireFormat,
};

/// Twenty virtual seconds, in which the node has done everything that it does the first time.
const WARM_UP: u32 = 20_000;
const COUNTED: u32 = 20_000;

fn address(number: u16) -> Address {
    std::net::SocketAddr::from(([10, 0, 0, 1], 7_000 + number)).into()
}

fn secret() -> Secret {
    Secret::new([3; 32]).unwrap()
}

fn engine(now: Instant) -> Engine {
    let mut config = Config::new(address(0), secret());
    config.generation = Generation(1);
    config.wire_format = WireFormat::Hyperscale;
    config.source_request_rate = 10_000_000;
    Engine::new(config, 1, now).unwrap()
}

/// The `number`-th probe of a Python node, with members, health and a coordinate.
fn probe<'a>(buffer: &'a mut [u8], number: u32, envelopes: &mut Envelopes) -> &'a mut [u8] {
    let mut draft =
        Draft::new(buffer, FrameKind::Request, b"10.0.0.1:7001", HANDLER, number.into());
    draft.message(Name::Probe, &[], Some(address(0)));
    for port in 2..5 {
        let kind = UpdateKind::Alive;
        draft.push_member(&MemberEntry {
            kind,
            incarnation: 0,
            address: address(port),
            role: None,
        });
    }
    draft.push_health(&HealthEntry {
        node_id: "DC1-50-0018a3b2c4d5e",
        node_type: "manager",
        overload: Overload::Healthy,
        is_accepting: true,
        capacity: 8,
        throughput: 1.5,
        expected: 2.0,
        timestamp: f64::from(number),
    });
    let vector = [f64::from(number % 100) * 1e-5; 8];
    let coordinate = Coordinate { vector, height: 0.001, adjustment: 0.0, error: 0.3 };
    draft.push_coordinate(&PeerCoordinate { coordinate, sample_count: 3, native: None });
    draft.seal(envelopes)
}

#[test]
fn exchanges_with_a_python_node_allocate_nothing() {
    let mut now = Instant::from_millis(1_000);
    let mut engine = engine(now);
    let mut envelopes = Envelopes::new(&[secret()], 1, &mut Random::new(9));
    let (mut buffer, mut slot) = ([0; DATAGRAM_SIZE_MAX], [0; DATAGRAM_SIZE_MAX]);
    let mut exchange = |count: u32, first: u32| {
        let mut sent = 0;
        for number in first..first + count {
            now += Duration::from_millis(1);
            let datagram = probe(&mut buffer, number, &mut envelopes);
            engine.handle_datagram(now, address(1), datagram);
            while engine.poll_transmit(now, &mut slot).is_some() {
                sent += 1;
            }
            engine.handle_timeout(now);
            while engine.poll_transmit(now, &mut slot).is_some() {}
            while engine.poll_event().is_some() {}
            while engine.poll_change().is_some() {}
        }
        sent
    };
    assert!(exchange(WARM_UP, 0) >= WARM_UP);
    let mut answered = 0;
    let info = allocation_counter::measure(|| answered = exchange(COUNTED, WARM_UP));
    assert!(answered >= COUNTED, "every probe is answered");
    assert_eq!(info.count_total, 0, "allocations in {COUNTED} exchanges");
    assert_eq!(engine.stats().value(Counter::RequestsRepeated), 0);
    assert_eq!(engine.stats().value(Counter::EntriesRefused), 0);
}

#[test]
fn refusing_bad_datagrams_allocates_nothing() {
    let now = Instant::from_millis(1_000);
    let mut engine = engine(now);
    let mut envelopes = Envelopes::new(&[secret()], 1, &mut Random::new(9));
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    let good = probe(&mut buffer, 1, &mut envelopes).to_vec();
    let mut bad = good.clone();
    let info = allocation_counter::measure(|| {
        for size in 0..good.len() {
            bad[..size].copy_from_slice(&good[..size]);
            engine.handle_datagram(now, address(1), &mut bad[..size]);
            bad.copy_from_slice(&good);
            bad[size] ^= 1;
            engine.handle_datagram(now, address(1), &mut bad);
        }
    });
    assert_eq!(info.count_total, 0);
    assert_eq!(engine.stats().value(Counter::DatagramsSent), 0);
}
