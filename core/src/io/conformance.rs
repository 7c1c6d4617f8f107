//! What every transport must do, run against each of them over loopback. `poll` is the oracle of
//! `uring`.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::driver::{COMMAND_MAILBOX_CAPACITY, Command};
use super::portable::Portable;
use super::wake::Mailbox;
use super::{Input, Token, Transport, clock, socket};
use crate::config::DATAGRAM_SIZE_MAX;
use crate::engine::Transmit;
use crate::node::Address;
use crate::time::Duration;

type Commands = Arc<Mailbox<Command>>;

const PATIENCE: Duration = Duration::from_secs(5);

/// A datagram or the end of a socket, copied out of the transport.
#[derive(Debug, PartialEq)]
enum Seen {
    Datagram { token: Token, source: Address, bytes: Vec<u8> },
    Closed(Token),
}

fn commands() -> Commands {
    Arc::new(Mailbox::new(COMMAND_MAILBOX_CAPACITY).unwrap())
}

fn bound(address: &str) -> (UdpSocket, Address) {
    let socket = socket::open(address.parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().into();
    (socket, address)
}

fn open(transport: &mut impl Transport, token: Token, address: &str) -> Address {
    let (socket, address) = bound(address);
    transport.open(token, socket).unwrap();
    address
}

/// Runs the transport until it has shown `count` inputs.
fn collect(transport: &mut impl Transport, count: usize) -> Vec<Seen> {
    let deadline = clock::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < count {
        assert!(clock::now() < deadline, "only {} of {count} inputs: {seen:?}", seen.len());
        transport.wait(Some(Duration::from_millis(10)));
        while let Some(input) = transport.receive() {
            seen.push(match input {
                Input::Datagram { token, source, bytes, .. } => {
                    Seen::Datagram { token, source, bytes: bytes.to_vec() }
                }
                Input::Closed { token } => Seen::Closed(token),
            });
        }
    }
    seen
}

fn send(transport: &mut impl Transport, token: Token, target: Address, bytes: &[u8]) {
    transport.send_slot()[..bytes.len()].copy_from_slice(bytes);
    transport.send(token, Transmit { target, size: bytes.len() });
}

fn exchanges_datagrams_of_every_size(transport: &mut impl Transport) {
    let first = open(transport, 0, "127.0.0.1:0");
    let second = open(transport, 1, "127.0.0.1:0");
    for size in [0, 1, 17, DATAGRAM_SIZE_MAX] {
        let bytes: Vec<u8> = (0..size).map(|index| index as u8).collect();
        send(transport, 0, second, &bytes);
        let expected = Seen::Datagram { token: 1, source: first, bytes: bytes.clone() };
        assert_eq!(collect(transport, 1), [expected]);
        send(transport, 1, first, &bytes);
        let expected = Seen::Datagram { token: 0, source: second, bytes };
        assert_eq!(collect(transport, 1), [expected]);
    }
    assert_eq!(transport.faults(0), Default::default());
}

fn shows_that_a_datagram_is_too_large(transport: &mut impl Transport) {
    let target = open(transport, 0, "127.0.0.1:0");
    let (stranger, _) = bound("127.0.0.1:0");
    for (size, oversized) in
        [(DATAGRAM_SIZE_MAX, false), (DATAGRAM_SIZE_MAX + 1, true), (9_000, true), (60_000, true)]
    {
        stranger.send_to(&vec![7; size], target.socket_address()).unwrap();
        let seen = collect(transport, 1).pop().unwrap();
        let Seen::Datagram { bytes, .. } = seen else { panic!("{seen:?}") };
        assert_eq!(bytes.len() > DATAGRAM_SIZE_MAX, oversized, "{size}");
        assert!(bytes.iter().all(|&byte| byte == 7));
    }
}

/// More datagrams than there are slots, in runs of equal and unequal sizes to two peers: all
/// arrive, whole and in order.
fn carries_bursts(transport: &mut impl Transport) {
    const COUNT: u32 = 2_000;
    let source = open(transport, 0, "127.0.0.1:0");
    let targets = [open(transport, 1, "127.0.0.1:0"), open(transport, 2, "127.0.0.1:0")];
    let mut next = [0u32; 2];
    let mut last = [None; 2];
    let mut sent = 0u32;
    let deadline = clock::now() + PATIENCE;
    while next.iter().sum::<u32>() < COUNT {
        assert!(clock::now() < deadline, "{next:?} of {sent} arrived");
        // Half the count ahead at most, so that the sockets' buffers hold everything.
        while sent < COUNT && sent - next.iter().sum::<u32>() < 500 {
            let slot = transport.send_slot();
            let which = (sent / 7 % 2) as usize;
            let size = if sent.is_multiple_of(11) { 40 } else { 120 };
            slot[..4].copy_from_slice(&sent.to_le_bytes());
            slot[4..size].fill(sent as u8);
            transport.send(0, Transmit { target: targets[which], size });
            sent += 1;
        }
        transport.wait(Some(Duration::from_millis(10)));
        while let Some(input) = transport.receive() {
            let Input::Datagram { token, source: from, bytes, .. } = input else { panic!() };
            let which = token as usize - 1;
            let number = u32::from_le_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(from, source);
            assert_eq!(bytes.len(), if number.is_multiple_of(11) { 40 } else { 120 });
            assert!(bytes[4..].iter().all(|&byte| byte == number as u8));
            assert!(last[which].is_none_or(|last| last < number), "order within a peer");
            last[which] = Some(number);
            next[which] += 1;
        }
    }
    assert_eq!(transport.faults(0).send_errors, 0);
}

fn frees_the_address_of_a_closed_socket(transport: &mut impl Transport) {
    let address = open(transport, 0, "127.0.0.1:0");
    let other = open(transport, 1, "127.0.0.1:0");
    for round in 0..50 {
        let bytes = [round];
        send(transport, 0, other, &bytes);
        transport.close(0);
        // What was queued is sent before the socket goes.
        let mut seen = collect(transport, 2);
        seen.sort_by_key(|seen| matches!(seen, Seen::Closed(_)));
        let said = Seen::Datagram { token: 1, source: address, bytes: bytes.to_vec() };
        assert_eq!(seen, [said, Seen::Closed(0)]);
        assert_eq!(open(transport, 0, &address.to_string()), address);
    }
}

fn waits_no_longer_and_no_shorter_than_asked(transport: &mut impl Transport, exact: bool) {
    for millis in [0, 3, 20] {
        let asked = Duration::from_millis(millis);
        let limit = asked + Duration::from_millis(2);
        let mut wait = || {
            let start = clock::now();
            transport.wait(Some(asked));
            while transport.receive().is_some() {}
            let waited = clock::now() - start;
            assert!(!exact || waited + Duration::from_micros(1) >= asked, "{waited:?}");
            waited
        };
        // A busy machine makes single waits longer, but hardly fifty in a row.
        let is_in_time = (0..50).any(|_| wait() < limit);
        assert!(is_in_time, "every wait of {asked:?} took {limit:?} or more");
    }
}

fn ends_a_wait_for_a_command(transport: &mut impl Transport, commands: &Commands) {
    for _ in 0..100 {
        while !commands.declare_asleep() {}
        let (waker, woken) = (Arc::clone(commands), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&woken);
        let thread = std::thread::spawn(move || {
            flag.store(true, Ordering::SeqCst);
            waker.prod();
        });
        let start = clock::now();
        while !woken.load(Ordering::SeqCst) {
            transport.wait(Some(PATIENCE));
            while transport.receive().is_some() {}
        }
        assert!(clock::now() - start < PATIENCE);
        thread.join().unwrap();
    }
}

fn counts_what_cannot_be_sent(transport: &mut impl Transport) {
    let address = open(transport, 0, "127.0.0.1:0");
    send(transport, 0, "[::1]:9".parse().unwrap(), b"an IPv4 socket cannot");
    send(transport, 0, "255.255.255.255:9".parse().unwrap(), b"not without permission");
    send(transport, 0, address, b"this one can");
    assert_eq!(collect(transport, 1).len(), 1);
    assert_eq!(transport.faults(0).send_errors, 2);
}

fn reaches_both_families_from_the_wildcard(transport: &mut impl Transport) {
    let wildcard = open(transport, 0, "[::]:0");
    for (token, local) in [(1, "127.0.0.1:0"), (2, "[::1]:0")] {
        let peer = open(transport, token, local);
        let target = Address::from_parts(*peer.ip_bytes(), wildcard.port());
        send(transport, token, target, b"hello");
        let said = Seen::Datagram { token: 0, source: peer, bytes: b"hello".to_vec() };
        assert_eq!(collect(transport, 1), [said]);
        send(transport, 0, peer, b"reply");
        let said = Seen::Datagram { token, source: target, bytes: b"reply".to_vec() };
        assert_eq!(collect(transport, 1), [said]);
    }
}

/// The kernel's stamp is the arrival, not the moment somebody looked.
fn stamps_arrivals(transport: &mut impl Transport) {
    let target = open(transport, 0, "127.0.0.1:0");
    let (stranger, _) = bound("127.0.0.1:0");
    let mut waits = Vec::new();
    // The kernel switches stamping on a moment after the first socket has asked for it.
    for _ in 0..20 {
        stranger.send_to(b"hello", target.socket_address()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        transport.wait(Some(PATIENCE));
        let Some(Input::Datagram { stamp, .. }) = transport.receive() else { panic!() };
        let stamp = stamp.expect("a stamp was asked for");
        waits.push(clock::wall_nanos().saturating_sub(stamp) / 1_000_000);
    }
    let late = waits.iter().filter(|&&millis| (4..1_000).contains(&millis)).count();
    assert!(late >= 15, "milliseconds between arrival and look: {waits:?}");
}

/// Every behaviour as a test of its own, for one transport.
macro_rules! conformance {
    ($name:ident, $make:expr, linux: $linux:literal) => {
        mod $name {
            use super::*;

            #[test]
            fn exchanges_datagrams_of_every_size() {
                super::exchanges_datagrams_of_every_size(&mut $make(commands()));
            }

            #[test]
            fn shows_that_a_datagram_is_too_large() {
                super::shows_that_a_datagram_is_too_large(&mut $make(commands()));
            }

            #[test]
            fn carries_bursts() {
                super::carries_bursts(&mut $make(commands()));
            }

            #[test]
            fn frees_the_address_of_a_closed_socket() {
                super::frees_the_address_of_a_closed_socket(&mut $make(commands()));
            }

            #[test]
            fn waits_no_longer_and_no_shorter_than_asked() {
                super::waits_no_longer_and_no_shorter_than_asked(&mut $make(commands()), $linux);
            }

            #[test]
            fn ends_a_wait_for_a_command() {
                let commands = commands();
                super::ends_a_wait_for_a_command(&mut $make(Arc::clone(&commands)), &commands);
            }

            #[test]
            fn counts_what_cannot_be_sent() {
                super::counts_what_cannot_be_sent(&mut $make(commands()));
            }

            #[test]
            fn reaches_both_families_from_the_wildcard() {
                super::reaches_both_families_from_the_wildcard(&mut $make(commands()));
            }

            #[test]
            fn stamps_arrivals() {
                if $linux {
                    super::stamps_arrivals(&mut $make(commands()));
                }
            }
        }
    };
}

#[cfg(target_os = "linux")]
conformance!(poll, |commands| super::super::poll::Poll::new(commands).unwrap(), linux: true);
#[cfg(target_os = "linux")]
conformance!(uring, |commands| super::super::uring::Uring::new(commands).unwrap(), linux: true);
#[cfg(target_os = "linux")]
conformance!(uring_plain, super::super::uring::Uring::new_plain, linux: true);
conformance!(portable, |commands| Portable::new(commands).unwrap(), linux: false);
