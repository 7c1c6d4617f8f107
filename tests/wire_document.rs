//! docs/wire.md is true: a sealed datagram of the engine is opened and taken apart by what the tables
//! of that page say, with nothing of the engine's own reader.
#![allow(missing_docs)]

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use shoal_core::wire::native::{Header, Kind, MessageWriter, Update};
use shoal_core::{Address, Coordinate, Generation, Incarnation, MemberState, Role, Secret};

const DOCUMENT: &str = include_str!("../docs/wire.md");
const SECRET: &[u8] = b"a secret for the wire document";

/// The fields of the table below this heading: name, offset and size. They leave no gap.
struct Layout(Vec<(&'static str, usize, usize)>);

impl Layout {
    fn of(heading: &str) -> Layout {
        let (_, section) = DOCUMENT.split_once(&format!("\n### {heading}\n")).expect(heading);
        let section = section.split("\n#").next().unwrap_or(section);
        let (_, table) = section.split_once("| offset | size |").expect("a table of fields");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let fields = rows.map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            (cells[2], cells[0].parse().unwrap(), cells[1].parse().unwrap())
        });
        let layout = Layout(fields.collect());
        let mut end = 0;
        for (name, offset, size) in &layout.0 {
            assert_eq!(*offset, end, "{heading}: {name}");
            end += size;
        }
        layout
    }

    fn size(&self) -> usize {
        self.0.iter().map(|(.., size)| size).sum()
    }

    fn field<'a>(&self, bytes: &'a [u8], name: &str) -> &'a [u8] {
        let (_, offset, size) = self.0.iter().find(|(known, ..)| *known == name).expect(name);
        &bytes[*offset..][..*size]
    }

    fn number(&self, bytes: &[u8], name: &str) -> u64 {
        let mut wide = [0; 8];
        let field = self.field(bytes, name);
        wide[..field.len()].copy_from_slice(field);
        u64::from_le_bytes(wide)
    }

    fn float(&self, bytes: &[u8], name: &str) -> f32 {
        f32::from_le_bytes(self.field(bytes, name).try_into().unwrap())
    }
}

/// The 18 bytes of an IPv4 address.
fn address_bytes(ip: [u8; 4], port: u16) -> Vec<u8> {
    [&[0; 10][..], &[0xff; 2], &ip, &port.to_le_bytes()].concat()
}

struct Size(usize);

impl KeyType for Size {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(info: &[&[u8]], size: usize) -> Vec<u8> {
    let root = Salt::new(HKDF_SHA256, b"shoal native 1").extract(SECRET);
    let mut bytes = vec![0; size];
    root.expand(info, Size(size)).unwrap().fill(&mut bytes).unwrap();
    bytes
}

/// The message in a datagram.
fn open(datagram: &[u8]) -> Vec<u8> {
    let layout = Layout::of("Envelope");
    let (clear, sealed) = datagram.split_at(layout.size());
    assert_eq!((layout.field(clear, "magic"), layout.number(clear, "version")), (&b"SHL"[..], 1));
    assert_eq!(layout.field(clear, "key id"), derive(&[b"key id"], 4));
    assert_eq!(layout.number(clear, "counter"), 0);
    let key = derive(&[b"sender key", layout.field(clear, "session")], 32);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let nonce = [&[0; 4], layout.field(clear, "counter")].concat();
    let nonce = Nonce::try_assume_unique_for_key(&nonce).unwrap();
    let mut message = sealed.to_vec();
    key.open_in_place(nonce, Aad::from(clear), &mut message).unwrap().to_vec()
}

fn sealed() -> Vec<u8> {
    let secret = Secret::new(SECRET).unwrap();
    let mut envelopes = Envelopes::new(&[secret], 1, 2, &mut Random::new(7));
    let header = Header {
        kind: Kind::IndirectProbe,
        sequence: 0x0102_0304,
        sender: "10.0.0.1:7462".parse().unwrap(),
        generation: Generation(0x1112_1314_1516_1718),
        incarnation: Incarnation(5),
        role: Role::Gate,
        health_score: 6,
        recipient: "10.0.0.2:7463".parse().unwrap(),
        recipient_generation: Generation(0x2122_2324_2526_2728),
        subject: "10.0.0.3:7464".parse().unwrap(),
        parameter: 400,
        state_version: 8,
    };
    let coordinate = Coordinate {
        vector: [0.5, 0.25, -0.5, 0.0, 0.0, 0.0, 0.0, 1.0],
        height: 0.125,
        adjustment: -0.25,
        error: 0.75,
    };
    let mut buffer = vec![0; DATAGRAM_SIZE_MAX];
    let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
    let mut writer = MessageWriter::new(body, &header, &"east".parse().unwrap(), &coordinate);
    assert!(writer.push_update(&Update {
        address: "10.0.0.4:7465".parse::<Address>().unwrap(),
        generation: Generation(0x3132_3334_3536_3738),
        incarnation: Incarnation(9),
        state: MemberState::Suspect,
        role: Role::Worker,
        health_score: 3,
        datacenter: "west-2".parse().unwrap(),
        accuser: 0x4142_4344,
        state_version: 11,
    }));
    let size = writer.finish();
    let size = envelopes.seal(&mut buffer, size);
    buffer.truncate(size);
    buffer
}

#[test]
fn a_datagram_is_what_the_document_says() {
    let message = open(&sealed());
    let header = Layout::of("Header");
    let (head, rest) = message.split_at(header.size());
    for (name, value) in [
        ("kind", 3),
        ("flags", 1),
        ("role", 1),
        ("health", 6),
        ("sequence", 0x0102_0304),
        ("generation", 0x1112_1314_1516_1718),
        ("recipient generation", 0x2122_2324_2526_2728),
        ("incarnation", 5),
        ("parameter", 400),
        ("update count", 1),
        ("datacenter size", 4),
        ("state version", 8),
        ("payload size", 0),
    ] {
        assert_eq!(header.number(head, name), value, "{name}");
    }
    assert_eq!(header.field(head, "sender"), address_bytes([10, 0, 0, 1], 7462));
    assert_eq!(header.field(head, "recipient"), address_bytes([10, 0, 0, 2], 7463));
    assert_eq!(header.field(head, "subject"), address_bytes([10, 0, 0, 3], 7464));

    let place = Layout::of("Coordinate");
    let (coordinate, rest) = rest.split_at(place.size());
    let vector = place.field(coordinate, "vector").chunks(4);
    let vector: Vec<f32> =
        vector.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(vector, [0.5, 0.25, -0.5, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let rest_of_it = ["height", "adjustment", "error"].map(|name| place.float(coordinate, name));
    assert_eq!(rest_of_it, [0.125, -0.25, 0.75]);

    let (name, rest) = rest.split_at(4);
    assert_eq!(name, b"east");
    let news = Layout::of("Update");
    let (update, name) = rest.split_at(news.size());
    for (name, value) in [
        ("generation", 0x3132_3334_3536_3738),
        ("incarnation", 9),
        ("accuser", 0x4142_4344),
        ("state version", 11),
        ("state", 2),
        ("role", 3),
        ("health", 3),
        ("datacenter size", 6),
    ] {
        assert_eq!(news.number(update, name), value, "{name}");
    }
    assert_eq!(news.field(update, "address"), address_bytes([10, 0, 0, 4], 7465));
    assert_eq!(name, b"west-2");
}

/// Every kind of message has its row, under its number.
#[test]
fn every_kind_is_in_the_document() {
    let rows = DOCUMENT.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let number: u8 = cells.next()?.parse().ok()?;
        Some((number, cells.next()?.to_owned()))
    });
    let kinds = [
        (Kind::Probe, "probe"),
        (Kind::Ack, "ack"),
        (Kind::IndirectProbe, "indirect probe"),
        (Kind::IndirectAck, "indirect ack"),
        (Kind::Nack, "nack"),
        (Kind::SyncRequest, "sync request"),
        (Kind::SyncReply, "sync reply"),
        (Kind::Gossip, "gossip"),
        (Kind::StateRequest, "state request"),
        (Kind::StateReply, "state reply"),
        (Kind::Jobs, "jobs"),
        (Kind::Federation, "federation"),
    ];
    let rows: Vec<(u8, String)> = rows.collect();
    for (kind, name) in kinds {
        assert!(rows.contains(&(kind as u8, name.to_owned())), "{name}");
    }
}
