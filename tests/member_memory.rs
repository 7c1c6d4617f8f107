//! What a large cluster costs one engine in memory: a stated amount per member.

use allocation_counter::measure;
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use shoal_core::wire::native::{Header, Kind, MessageWriter};
use shoal_core::{
    Address, Config, Coordinate, Engine, Generation, Incarnation, Instant, MemberState, Role,
    Secret,
};

fn address(number: u32) -> Address {
    let [_, a, b, c] = number.to_be_bytes();
    std::net::SocketAddr::from(([10, a, b, c], 7_946)).into()
}

fn secret() -> Secret {
    Secret::new([5; 32]).unwrap()
}

/// What a member says to the engine at address 0.
fn greeting(number: u32) -> Vec<u8> {
    let header = Header {
        kind: Kind::Gossip,
        sequence: 0,
        sender: address(number),
        generation: Generation(1),
        incarnation: Incarnation(0),
        role: Role::Manager,
        health_score: 0,
        recipient: address(0),
        recipient_generation: Generation(1),
        subject: Address::UNSPECIFIED,
        parameter: 0,
        state_version: 0,
    };
    let place = Coordinate { vector: [0.001; 8], height: 0.001, adjustment: 0.0, error: 0.3 };
    let mut buffer = vec![0; DATAGRAM_SIZE_MAX];
    let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
    let size = MessageWriter::new(body, &header, &"east".parse().unwrap(), &place).finish();
    let mut random = Random::new(u64::from(number) + 99);
    let size = Envelopes::new(&[secret()], 1, 2, &mut random).seal(&mut buffer, size);
    buffer.truncate(size);
    buffer
}

fn engine_with(member_count: u32) -> Engine {
    let mut config = Config::new(address(0), secret());
    config.generation = Generation(1);
    // Room for more than there are: what counts is what is in use.
    config.member_capacity = 1 << 20;
    let now = Instant::from_millis(1);
    let mut engine = Engine::new(config, 1, now).unwrap();
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    for number in 1..=member_count {
        engine.handle_datagram(now, address(number), &mut greeting(number));
        while engine.poll_transmit(now, &mut buffer).is_some() {}
        while engine.poll_event().is_some() {}
        while engine.poll_change().is_some() {}
    }
    let alive = engine.members(now).filter(|member| member.state == MemberState::Alive);
    assert_eq!(alive.count() as u32, member_count + 1);
    engine
}

#[test]
fn a_member_takes_at_most_256_bytes() {
    // The second is where tables that double would be at their emptiest.
    for member_count in [100_000, 66_000] {
        let mut engine = None;
        let info = measure(|| engine = Some(engine_with(member_count)));
        let held = u32::try_from(info.bytes_current).unwrap();
        println!("{} bytes for each of {member_count} members", held / member_count);
        assert!(held <= 256 * member_count, "{} bytes a member", held / member_count);
        drop(engine);
    }
}
