//! Everything that reads a peer's bytes, fed with bytes that no peer should send.
//!
//! Each target is a test. `cargo test` runs the files of its corpus (`__fuzz__/<target>/corpus`)
//! and a few thousand random inputs; `SHOAL_FUZZ_ITERATIONS=10000000` makes that as many as wanted,
//! and `cargo bolero test <target>` hands the target to libFuzzer. An input either is the bytes
//! themselves (its first byte is 255) or says how to damage a well-formed sample, so that random
//! inputs get past the first check.
#![allow(missing_docs)]

use std::sync::OnceLock;

use shoal_core::config::{DATAGRAM_SIZE_MAX, Secret};
use shoal_core::node::{Generation, Incarnation, MemberState, Role};
use shoal_core::random::Random;
use shoal_core::wire::hyperscale::compression::{PACKING_OVERHEAD, pack};
use shoal_core::wire::hyperscale::draft::Argument;
use shoal_core::wire::hyperscale::envelope::{OVERHEAD, SEALED_OFFSET};
use shoal_core::wire::hyperscale::{
    Clock, Draft, ENTRY_COUNT_MAX, Envelopes, FRAME_SIZE_MAX, Frame, FrameKind, HANDLER, Message,
    Name, Payload, UNPACKING_RATIO_MAX, Unpacker,
};
use shoal_core::wire::{envelope, native, payload};
use shoal_core::{Address, Config, Coordinate, Engine, Instant, WireFormat};

/// An input with this first byte is taken as it is.
const RAW: u8 = 255;

const PAYLOADS: [&str; 8] = [
    "ack>127.0.0.1:9001#|saGVsbG8tc3RhdGU=#|mjoin:0:127.0.0.1:9005:worker|suspect:2:127.0.0.1:9007\
     #|hDC1-50-0018a3b2c4d5e-f3a2b1c9d8e7|manager|healthy|1|8|1.50|2.00|1234.50\
     #|ww1:m1:127.0.0.1:9100:9101:registered:3:8:4:55.250000:DC1#|v{\"vec\":[0.001,0.0,0.0,0.0,0.0,0.0,\
     0.0,0.0],\"height\":0.0005,\"adjustment\":-0.0001,\"error\":0.25,\"sample_count\":12,\"shoal\":1,\"generation\":9}",
    "probe>[2001:db8::1]:9001#|malive:7:[::1]:9005:gate|dead:2147483647:1.2.3.4:1",
    "join>v1.4|127.0.0.1:9003",
    "alive:<coroutine object HealthAwareServer.increment_incarnation at 0x7f7fa073be00>>127.0.0.1:19201",
    "pre-vote-resp:9:1>10.0.0.1:7#|hn|client|overloaded|0|-3|0.00|1e-07|0.00;m|gate|busy|1|1|1|1|1",
    "ping-req-ack:timeout>10.0.0.1:7#|v{\"x\":[[1,{\"y\":null}]],\"vec\":[1,2,3,4,5,6,7,8],\"height\":0,\"error\":1}",
    "xprobe>\u{80}\u{4}pickled.#|mleave:3:10.9.8.7:6",
    "nack:zombie_rejected>10.0.0.1:7",
];

/// Hands every input to `target`, as often as is wanted.
macro_rules! fuzz {
    ($samples:expr, $target:expr) => {{
        let samples: Vec<Vec<u8>> = $samples;
        let target = $target;
        bolero::check!()
            .with_iterations(iterations())
            .with_max_len(2_048)
            .for_each(|input: &[u8]| target(&damaged(&samples, input)));
    }};
}

fn iterations() -> usize {
    let wanted = std::env::var("SHOAL_FUZZ_ITERATIONS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

/// The bytes that an input stands for.
fn damaged(samples: &[Vec<u8>], input: &[u8]) -> Vec<u8> {
    let Some((&selector, edits)) = input.split_first() else { return Vec::new() };
    if selector == RAW {
        return edits.to_vec();
    }
    let mut bytes = samples[usize::from(selector) % samples.len()].clone();
    let end = edits.len().min(4 * (1 + usize::from(selector) / 32));
    for edit in edits[..end].chunks_exact(4) {
        let &[kind, high, low, value] = edit else { unreachable!("chunks of four") };
        let at = usize::from(u16::from_be_bytes([high, low])) % (bytes.len() + 1);
        match kind % 6 {
            0 => bytes.insert(at, value),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..(at + usize::from(value)).min(bytes.len()))),
            3 => {
                // A piece of another sample.
                let other = &samples[usize::from(value) % samples.len()];
                let from = at.min(other.len());
                let until = (from + usize::from(low)).min(other.len());
                bytes.extend_from_slice(&other[from..until]);
            }
            _ if at < bytes.len() => bytes[at] = value,
            _ => bytes.push(value),
        }
    }
    bytes
}

fn secret() -> Secret {
    Secret::new([7; 32]).expect("32 bytes are a secret")
}

fn sender() -> Address {
    "10.0.0.1:7946".parse().expect("an address")
}

fn payloads() -> Vec<Vec<u8>> {
    PAYLOADS.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let framed = |(number, text): (usize, &&str)| {
        let head: &[u8] = if number % 2 == 0 { b"c" } else { b"s" };
        let mut clock = [0; 64];
        clock[56 + number % 8] = number as u8;
        let length = (text.len() as u32).to_be_bytes();
        [head, b"<127.0.0.1:9001<receive<", &clock, &length, text.as_bytes()].concat()
    };
    PAYLOADS.iter().enumerate().map(framed).collect()
}

fn compressed() -> Vec<Vec<u8>> {
    let compress = |frame: Vec<u8>| {
        let mut packed = vec![0; zstd_safe::compress_bound(frame.len())];
        let size =
            zstd_safe::compress(&mut packed[..], &frame, 3).expect("room for the worst case");
        packed.truncate(size);
        packed
    };
    let bombs = [vec![0; 5_000_000], vec![0; 60_000]];
    frames().into_iter().chain(bombs).map(compress).collect()
}

#[test]
fn hyperscale_envelope() {
    thread_local! {
        static OPENER: std::cell::RefCell<Envelopes> =
            std::cell::RefCell::new(Envelopes::new(&[secret()], 1, &mut Random::new(1)));
    }
    let datagrams = frames().into_iter().enumerate().map(|(seed, content)| {
        let mut datagram = vec![0; OVERHEAD + content.len()];
        datagram[SEALED_OFFSET..][..content.len()].copy_from_slice(&content);
        Envelopes::new(&[secret()], 1, &mut Random::new(10 + seed as u64))
            .seal(&mut datagram, content.len());
        datagram
    });
    let datagrams: Vec<Vec<u8>> = datagrams.collect();
    let originals = datagrams.clone();
    fuzz!(datagrams, |bytes: &[u8]| OPENER.with_borrow_mut(|opener| {
        let mut datagram = bytes.to_vec();
        if let Ok(content) = opener.open(&mut datagram) {
            assert_eq!(content.len() + OVERHEAD, bytes.len());
            assert!(originals.iter().any(|original| original == bytes), "a forgery was opened");
        }
    }));
}

#[test]
fn hyperscale_compression() {
    thread_local! {
        static UNPACKER: std::cell::RefCell<Unpacker> = std::cell::RefCell::new(Unpacker::new());
    }
    fuzz!(compressed(), |bytes: &[u8]| UNPACKER.with_borrow_mut(|unpacker| {
        if let Ok(frame) = unpacker.unpack(bytes) {
            assert!(frame.len() <= FRAME_SIZE_MAX);
            assert!(frame.len() <= bytes.len() * UNPACKING_RATIO_MAX);
        }
    }));
}

#[test]
fn hyperscale_frame() {
    fuzz!(frames(), |bytes: &[u8]| {
        let Ok(frame) = Frame::parse(bytes) else { return };
        assert!(frame.clock.is_none_or(|clock| clock <= Clock::MAX));
        assert!(frame.payload.len() <= bytes.len());
        assert!(frame.sender_address().is_none_or(|address| address.is_reachable()));
        let mut clock = Clock::default();
        clock.reply_received(Some(Clock::MAX));
        assert!(clock.request_received(frame.clock) <= Clock::MAX + 1);
    });
}

/// What is written from a message is read as the same message.
#[test]
fn hyperscale_text() {
    fuzz!(payloads(), |bytes: &[u8]| {
        let message = Message::parse(Payload::parse(bytes).base);
        let Some(name) = message.name else { return };
        let (target, number) = (message.target(), message.number(0).unwrap_or(0));
        let _ = (message.version(), message.incarnation(), message.number(1));
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        let mut draft = Draft::new(&mut buffer, FrameKind::Request, b"10.0.0.1:1", HANDLER, 1);
        let is_written = match name.has_body() {
            true => draft.message_with_body(name, message.body),
            false => draft.message(name, &[Argument::Number(number)], target),
        };
        if is_written {
            reread(draft, |payload| {
                let again = Message::parse(Payload::parse(payload).base);
                assert_eq!(again.name, Some(name));
                match name.has_body() {
                    true => assert_eq!(again.body, message.body),
                    false => assert_eq!((again.target(), again.number(0)), (target, Some(number))),
                }
            });
        }
    });
}

/// What is written from the entries of a payload is read as the same entries.
#[test]
fn hyperscale_sections() {
    fuzz!(payloads(), |bytes: &[u8]| {
        let payload = Payload::parse(bytes);
        let mut state = [0; 1_024];
        let state = payload.decode_state(&mut state).map(<[u8]>::to_vec);
        let members: Vec<_> = payload.members().flatten().collect();
        let health: Vec<_> = payload.health().flatten().collect();
        let workers: Vec<_> = payload.workers().flatten().collect();
        assert!(payload.members().count() <= ENTRY_COUNT_MAX);
        assert!(payload.health().count() + payload.workers().count() <= 2 * ENTRY_COUNT_MAX);
        let coordinate = payload.coordinate().and_then(Result::ok);
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        let mut draft = Draft::new(&mut buffer, FrameKind::Reply, b"10.0.0.1:1", HANDLER, 1);
        assert!(draft.message(Name::Ack, &[], Some(sender())));
        let has_state = state.as_ref().is_some_and(|state| draft.push_state(state));
        let told: Vec<_> = members.into_iter().filter(|entry| draft.push_member(entry)).collect();
        let health = health.into_iter().filter(|entry| draft.push_health(entry)).count();
        let workers = workers.into_iter().filter(|entry| draft.push_worker(entry)).count();
        let coordinate = coordinate.filter(|peer| draft.push_coordinate(peer));
        reread(draft, |payload| {
            let again = Payload::parse(payload);
            let mut buffer = [0; 1_024];
            let decoded = again.decode_state(&mut buffer).map(<[u8]>::to_vec);
            assert_eq!(decoded, state.filter(|_| has_state));
            assert_eq!(again.members().map(Result::unwrap).collect::<Vec<_>>(), told);
            assert_eq!(again.health().filter(Result::is_ok).count(), health);
            assert_eq!(again.workers().filter(Result::is_ok).count(), workers);
            assert_eq!(again.coordinate().map(Result::unwrap), coordinate);
        });
    });
}

/// A node answers a request once, to where it came from, and nothing else; nothing is left of what is no
/// frame, or only half of one.
#[test]
fn hyperscale_engine() {
    thread_local! {
        static PEER: std::cell::RefCell<(Envelopes, Unpacker)> = std::cell::RefCell::new(
            (Envelopes::new(&[secret()], 1, &mut Random::new(1)), Unpacker::new()));
    }
    let source: Address = "10.0.0.9:7000".parse().expect("an address");
    let config = {
        let mut config = Config::new("127.0.0.1:9001".parse().expect("an address"), secret());
        config.wire_format = WireFormat::Hyperscale;
        config.session_capacity = 64;
        config
    };
    fuzz!(frames(), |bytes: &[u8]| PEER.with_borrow_mut(|(envelopes, unpacker)| {
        if bytes.len() > FRAME_SIZE_MAX {
            return;
        }
        let mut now = Instant::from_millis(1_000);
        let mut engine = Engine::new(config.clone(), 1, now).expect("the settings are legal");
        let mut datagram = vec![0; OVERHEAD + PACKING_OVERHEAD + bytes.len()];
        datagram[SEALED_OFFSET + PACKING_OVERHEAD..][..bytes.len()].copy_from_slice(bytes);
        let packed = pack(&mut datagram[SEALED_OFFSET..], bytes.len());
        envelopes.seal(&mut datagram, packed);
        engine.handle_datagram(now, source, &mut datagram);
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        let mut replies = 0;
        while let Some(transmit) = engine.poll_transmit(now, &mut buffer) {
            let opened = envelopes.open(&mut buffer[..transmit.size]).expect("it was sealed");
            let frame = unpacker.unpack(opened).expect("it was packed");
            if Frame::parse(frame).expect("it was framed").kind == FrameKind::Reply {
                assert_eq!(transmit.target, source);
                replies += 1;
            }
        }
        let frame = Frame::parse(bytes).ok();
        let is_request = frame.is_some_and(|frame| frame.kind == FrameKind::Request);
        assert!(replies <= usize::from(is_request));
        if frame.is_none_or(|frame| frame.is_cut_short) {
            assert_eq!(engine.members(now).count(), 1, "something is left of a broken message");
        }
        while engine.poll_event().is_some() {}
        while let Some(due) = engine.poll_timeout().filter(|due| due.as_nanos() < 1_500_000_000) {
            now = now.max(due);
            engine.handle_timeout(now);
            while engine.poll_transmit(now, &mut buffer).is_some() {}
        }
    }));
}

/// Sends a draft to oneself.
fn reread(draft: Draft, check: impl FnOnce(&[u8])) {
    thread_local! {
        static ENDS: std::cell::RefCell<(Envelopes, Envelopes, Unpacker, Vec<u8>)> = {
            let ends = [1, 2].map(|seed| Envelopes::new(&[secret()], 1, &mut Random::new(seed)));
            let [near, far] = ends;
            std::cell::RefCell::new((near, far, Unpacker::new(), Vec::new()))
        };
    }
    ENDS.with_borrow_mut(|(near, far, unpacker, copy)| {
        let datagram = draft.seal(near);
        copy.clear();
        copy.extend_from_slice(datagram);
        let frame = unpacker.unpack(far.open(copy).expect("it was sealed")).expect("it was packed");
        let frame = Frame::parse(frame).expect("it was framed");
        assert!(!frame.is_cut_short);
        check(frame.payload);
    });
}

fn native_messages() -> Vec<Vec<u8>> {
    static MESSAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let kinds = [
        native::Kind::Probe,
        native::Kind::Ack,
        native::Kind::SyncReply,
        native::Kind::Gossip,
        native::Kind::StateReply,
        native::Kind::Jobs,
    ];
    let message = |kind| {
        let header = native::Header {
            kind,
            sequence: 77,
            sender: sender(),
            generation: Generation(5),
            incarnation: Incarnation(6),
            role: Role::Gate,
            health_score: 3,
            recipient: "[::1]:9".parse().expect("an address"),
            recipient_generation: Generation(8),
            subject: sender(),
            parameter: 12,
            state_version: 4,
        };
        let name = "us-east".parse().expect("a name");
        let place = Coordinate { vector: [0.5; 8], height: 0.25, adjustment: -0.125, error: 1.0 };
        let mut buffer = vec![0; envelope::BODY_SIZE_MAX];
        let mut writer = native::MessageWriter::new(&mut buffer, &header, &name, &place);
        for port in 1..5 {
            let update = native::Update {
                address: Address::from_parts([9; 16], port),
                generation: Generation(1),
                incarnation: Incarnation(1),
                state: MemberState::Suspect,
                role: Role::Worker,
                health_score: 1,
                datacenter: name,
                accuser: 99,
                state_version: 17,
            };
            assert!(writer.push_update(&update));
        }
        match kind {
            native::Kind::StateReply => {
                payload::push_state_part(&mut writer, Generation(1), 3, &[1; 60], 10);
            }
            native::Kind::Probe | native::Kind::Ack | native::Kind::Gossip => {
                let (origin, generation) = (sender(), Generation(5));
                let broadcast =
                    payload::Broadcast { origin, generation, sequence: 1, bytes: b"bytes" };
                assert!(payload::push_broadcast(&mut writer, &broadcast));
            }
            _ => {}
        }
        let size = writer.finish();
        buffer.truncate(size);
        buffer
    };
    MESSAGES.get_or_init(|| kinds.into_iter().map(message).collect()).clone()
}

#[test]
fn native_message() {
    fuzz!(native_messages(), |bytes: &[u8]| {
        let Ok(message) = native::Message::parse(bytes) else { return };
        assert!(message.header.sender.is_reachable());
        for update in message.updates() {
            assert_ne!(update.state, MemberState::Removed);
        }
        match message.header.kind {
            native::Kind::StateReply => assert!(payload::state_part(message.payload).is_some()),
            native::Kind::SyncRequest => drop(payload::digest(message.payload)),
            native::Kind::Probe | native::Kind::Ack | native::Kind::Gossip => {
                let sizes = payload::broadcasts(message.payload).map(|b| b.bytes.len());
                assert!(sizes.sum::<usize>() <= message.payload.len());
            }
            _ => {}
        }
    });
}

#[test]
fn native_envelope() {
    thread_local! {
        static OPENER: std::cell::RefCell<envelope::Envelopes> = std::cell::RefCell::new(
            envelope::Envelopes::new(&[secret()], 1, 16, &mut Random::new(1)));
    }
    let datagrams = native_messages().into_iter().enumerate().map(|(seed, content)| {
        let mut datagram = vec![0; envelope::OVERHEAD + content.len()];
        datagram[envelope::BODY_OFFSET..][..content.len()].copy_from_slice(&content);
        let mut random = Random::new(10 + seed as u64);
        envelope::Envelopes::new(&[secret()], 1, 2, &mut random).seal(&mut datagram, content.len());
        datagram
    });
    let datagrams: Vec<Vec<u8>> = datagrams.collect();
    let originals = datagrams.clone();
    fuzz!(datagrams, |bytes: &[u8]| OPENER.with_borrow_mut(|opener| {
        let mut datagram = bytes.to_vec();
        if opener.open(&mut datagram).is_ok() {
            assert!(originals.iter().any(|original| original == bytes), "a forgery was opened");
        }
    }));
}
