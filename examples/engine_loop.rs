//! The smallest host of the sans-I/O engine: one standard socket, one buffer, one loop.
//!
//! Two engines run on two threads, find each other and say goodbye. Everything the engine needs is
//! here: datagrams in, the time, datagrams out, and the next deadline as the socket's timeout.

use std::net::UdpSocket;

use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::{Config, Duration, Engine, Event, Generation, Instant, MemberState, Secret};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs a node until it has seen one peer alive for a while, then leaves.
fn run(socket: UdpSocket, seed: Option<std::net::SocketAddr>) -> Result<(), Failure> {
    let start = std::time::Instant::now();
    let now = || Instant::from_nanos(start.elapsed().as_nanos() as u64);

    let own = socket.local_addr()?;
    let mut config = Config::new(own.into(), Secret::new(*b"a secret for the example only")?);
    config.generation = Generation(1);
    let mut engine = Engine::new(config, u64::from(own.port()), now())?;
    if let Some(seed) = seed {
        engine.join(now(), &[seed.into()])?;
    }

    let mut buffer = [0; DATAGRAM_SIZE_MAX + 1];
    let mut is_leaving = false;
    loop {
        // One input has been handled: drain what it brought about.
        while let Some(transmit) = engine.poll_transmit(now(), &mut buffer) {
            socket.send_to(&buffer[..transmit.size], transmit.target.socket_address())?;
        }
        while let Some(event) = engine.poll_event() {
            match event {
                Event::Member(member) => println!("{own}: {} is {}", member.address, member.state),
                Event::Left { .. } => return Ok(()),
                _ => {}
            }
        }
        let has_peer = engine.members(now()).skip(1).any(|m| m.state == MemberState::Alive);
        if !is_leaving && has_peer && start.elapsed() > Duration::from_secs(2) {
            is_leaving = true;
            engine.leave(now())?;
            continue;
        }
        // Nothing is left to do before the next datagram or the next deadline.
        let deadline = engine.poll_timeout().unwrap_or(Instant::MAX);
        let wait = (deadline - now()).clamp(Duration::from_micros(1), Duration::from_secs(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv_from(&mut buffer) {
            Ok((size, source)) => engine.handle_datagram(now(), source.into(), &mut buffer[..size]),
            Err(_) => engine.handle_timeout(now()),
        }
    }
}

fn main() -> Result<(), Failure> {
    let first = UdpSocket::bind("127.0.0.1:0")?;
    let second = UdpSocket::bind("127.0.0.1:0")?;
    let seed = first.local_addr()?;
    let other = std::thread::spawn(move || run(second, Some(seed)));
    run(first, None)?;
    other.join().expect("the other node does not panic")
}
