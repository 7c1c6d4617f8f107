//! The Python node's format: what reading, writing and sealing one datagram cost.
//!
//! `cargo bench -p shoal-benches --bench suites -- wire`

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::wire::hyperscale::draft::write_coordinate;
use shoal_core::wire::hyperscale::{
    Draft, Envelopes, Frame, FrameKind, HANDLER, MemberEntry, Message, Name, Payload,
    PeerCoordinate, Unpacker, UpdateKind,
};
use shoal_core::{Address, Coordinate, Role, Secret};

const OWN: &[u8] = b"127.0.0.1:9001";
/// An ack with all five sections, as the Python node writes it: 340 bytes.
const PAYLOAD: &str = "ack>127.0.0.1:9001#|saGVsbG8tc3RhdGU=#|mjoin:0:127.0.0.1:9005:worker|suspect:2:127.0.0.1:9007\
    #|hDC1-50-0018a3b2c4d5e-f3a2b1c9d8e7|manager|healthy|1|8|1.50|2.00|1234.50\
    #|ww1:m1:127.0.0.1:9100:9101:registered:3:8:4:55.250000:DC1#|v{\"vec\":[0.001,0.0,0.0,0.0,0.0,0.0,0.0,0.0],\
    \"height\":0.0005,\"adjustment\":-0.0001,\"error\":0.25,\"sample_count\":12}";

fn envelopes(seed: u64) -> Envelopes {
    let secret = Secret::new([5; 32]).expect("32 bytes are a secret");
    Envelopes::new(&[secret], 1, &mut Random::new(seed))
}

fn frame() -> Vec<u8> {
    let length = (PAYLOAD.len() as u32).to_be_bytes();
    [b"s<127.0.0.1:9001<receive<", &[0; 64][..], &length, PAYLOAD.as_bytes()].concat()
}

/// Reads everything there is, every entry and every number.
fn read(frame: &[u8]) -> usize {
    let frame = Frame::parse(frame).expect("a frame");
    let payload = Payload::parse(frame.payload);
    let message = Message::parse(payload.base);
    let mut state = [0; 1_024];
    let mut count = payload.decode_state(&mut state).map_or(0, <[u8]>::len);
    count += payload.members().filter(|entry| black_box(entry).is_ok()).count();
    count += payload.health().filter(|entry| black_box(entry).is_ok()).count();
    count += payload.workers().filter(|entry| black_box(entry).is_ok()).count();
    count += usize::from(black_box(payload.coordinate()).is_some_and(|read| read.is_ok()));
    count + usize::from(black_box(message.target()).is_some())
}

fn reading(criterion: &mut Criterion) {
    let frame = frame();
    assert_eq!(read(&frame), 11 + 2 + 1 + 1 + 1 + 1);
    criterion.bench_function("wire/read a frame with all five sections", |bencher| {
        bencher.iter(|| read(black_box(&frame)));
    });

    let mut packed = vec![0; 1_024];
    let size = zstd_safe::compress(&mut packed[..], &frame, 3).expect("room");
    let mut unpacker = Unpacker::new();
    criterion.bench_function("wire/unpack it, compressed by the Python node", |bencher| {
        bencher.iter(|| unpacker.unpack(black_box(&packed[..size])).expect("a frame").len());
    });

    let mut datagram = vec![0; DATAGRAM_SIZE_MAX];
    datagram[28..28 + size].copy_from_slice(&packed[..size]);
    let sealed = envelopes(1).seal(&mut datagram, size);
    datagram.truncate(sealed);
    let mut copy = datagram.clone();
    let mut receiver = envelopes(2);
    criterion.bench_function("wire/open, unpack and read it", |bencher| {
        bencher.iter(|| {
            copy.copy_from_slice(black_box(&datagram));
            let packed = receiver.open(&mut copy).expect("sealed with the secret");
            read(unpacker.unpack(packed).expect("a frame"))
        });
    });
}

fn writing(criterion: &mut Criterion) {
    let member = |number: u16| MemberEntry {
        kind: UpdateKind::Alive,
        incarnation: u32::from(number) * 7,
        address: Address::from(std::net::SocketAddr::from(([10, 20, 30, 40], 7_000 + number))),
        role: Some(Role::Worker),
    };
    let members: [MemberEntry; 5] = std::array::from_fn(|number| member(number as u16));
    let target = members[0].address;
    let place = Coordinate { vector: [0.0123; 8], height: 0.001, adjustment: 0.0, error: 0.3 };
    let peer = PeerCoordinate { coordinate: place, sample_count: 12, native: None };
    let mut text = [0; 1_024];
    let size = write_coordinate(&peer, &mut text);
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    let mut sender = envelopes(1);
    criterion.bench_function("wire/write a frame with five members", |bencher| {
        bencher.iter(|| {
            let mut draft = Draft::new(&mut buffer, FrameKind::Reply, OWN, HANDLER, black_box(5));
            draft.message(Name::Ack, &[], Some(target));
            let count = members.iter().filter(|entry| draft.push_member(black_box(entry))).count();
            black_box(draft.room()) + count
        });
    });
    criterion.bench_function("wire/write it with a coordinate, pack and seal it", |bencher| {
        bencher.iter(|| {
            let mut draft = Draft::new(&mut buffer, FrameKind::Reply, OWN, HANDLER, black_box(5));
            draft.message(Name::Ack, &[], Some(target));
            for entry in &members {
                draft.push_member(black_box(entry));
            }
            draft.push_coordinate_text(&text[..size]);
            draft.seal(&mut sender).len()
        });
    });
    criterion.bench_function("wire/write the text of a coordinate", |bencher| {
        bencher.iter(|| write_coordinate(black_box(&peer), &mut text));
    });
}

criterion_group!(benches, reading, writing);
