//! Datagrams recorded from the Python node: opened and read to the values they were made from, and
//! what is written from those values is read back to them by another reader, in Python.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::wire::hyperscale::draft::Argument;
use shoal_core::wire::hyperscale::entry::Overload;
use shoal_core::wire::hyperscale::{
    Draft, Envelopes, Frame, FrameKind, HealthEntry, MemberEntry, Message, Payload, PeerCoordinate,
    Unpacker, UpdateKind,
};
use shoal_core::{Coordinate, Secret};

#[derive(Deserialize)]
struct Recorded {
    secret: String,
    datagram_hex: String,
    frame_hex: String,
    kind: String,
    sender: String,
    handler: String,
    clock: u64,
    payload_hex: String,
    want: Want,
}

#[derive(Deserialize)]
struct Want {
    base: String,
    state_hex: Option<String>,
    #[serde(default)]
    members: Vec<Member>,
    #[serde(default)]
    health: Vec<Health>,
    coordinate: Option<Place>,
}

#[derive(Deserialize)]
struct Member {
    #[serde(rename = "type")]
    kind: String,
    incarnation: u32,
    address: String,
    role: Option<String>,
}

#[derive(Deserialize)]
struct Health {
    node_id: String,
    node_type: String,
    overload: String,
    accepting: bool,
    capacity: i64,
    throughput: f64,
    expected: f64,
    timestamp: f64,
}

#[derive(Deserialize)]
struct Place {
    vec: [f64; 8],
    height: f64,
    adjustment: f64,
    error: f64,
    sample_count: u64,
}

impl Recorded {
    fn envelopes(&self, seed: u64) -> Envelopes {
        let secret = Secret::new(self.secret.as_bytes()).expect("the recorded secrets are legal");
        Envelopes::new(&[secret], 1, &mut Random::new(seed))
    }
}

impl Member {
    fn entry(&self) -> MemberEntry {
        let kinds = UpdateKind::ALL.iter();
        let kind = kinds.copied().find(|kind| kind.text() == self.kind);
        MemberEntry {
            kind: kind.expect("only known kinds were recorded"),
            incarnation: self.incarnation,
            address: self.address.parse().expect("addresses are numeric"),
            role: self.role.as_ref().map(|role| role.parse().expect("a role")),
        }
    }
}

impl Health {
    fn entry(&self) -> HealthEntry<'_> {
        let overloads = Overload::ALL.iter();
        let overload = overloads.copied().find(|overload| overload.text() == self.overload);
        HealthEntry {
            node_id: &self.node_id,
            node_type: &self.node_type,
            overload: overload.expect("only known ones were recorded"),
            is_accepting: self.accepting,
            capacity: self.capacity,
            throughput: self.throughput,
            expected: self.expected,
            timestamp: self.timestamp,
        }
    }
}

impl Place {
    fn peer(&self) -> PeerCoordinate {
        let Place { vec: vector, height, adjustment, error, sample_count } = *self;
        let coordinate = Coordinate { vector, height, adjustment, error };
        PeerCoordinate { coordinate, sample_count, native: None }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn recorded() -> Vec<Recorded> {
    let recorded: Vec<Recorded> =
        serde_json::from_str(include_str!("vectors/datagrams.json")).expect("the recorded form");
    assert_eq!(recorded.len(), 60);
    recorded
}

#[test]
fn every_recorded_datagram_is_read_to_the_values_it_was_made_from() {
    let mut unpacker = Unpacker::new();
    for given in recorded() {
        let mut datagram = bytes(&given.datagram_hex);
        let mut envelopes = given.envelopes(1);
        let unpacked = unpacker.unpack(envelopes.open(&mut datagram).unwrap()).unwrap();
        assert_eq!(hex(unpacked), given.frame_hex);
        let frame = Frame::parse(unpacked).unwrap();
        assert_eq!(frame.kind == FrameKind::Request, given.kind == "request");
        assert_eq!(frame.sender, given.sender.as_bytes());
        assert_eq!(frame.sender_address().unwrap().to_string(), given.sender);
        assert_eq!(frame.handler, given.handler.as_bytes());
        assert_eq!(frame.clock, Some(given.clock));
        assert_eq!(hex(frame.payload), given.payload_hex);

        let payload = Payload::parse(frame.payload);
        let want = &given.want;
        assert_eq!(payload.base, want.base.as_bytes());
        let mut state = [0; 1_024];
        assert_eq!(payload.decode_state(&mut state).map(hex), want.state_hex);
        let members: Vec<_> = payload.members().map(Result::unwrap).collect();
        assert_eq!(members, want.members.iter().map(Member::entry).collect::<Vec<_>>());
        let health: Vec<_> = payload.health().map(Result::unwrap).collect();
        assert_eq!(health, want.health.iter().map(Health::entry).collect::<Vec<_>>());
        assert_eq!(
            payload.coordinate().map(Result::unwrap),
            want.coordinate.as_ref().map(Place::peer)
        );
        assert_eq!(payload.workers().count(), 0);
        assert!(Message::parse(payload.base).name.is_some(), "{}", want.base);
    }
}

/// Writes what was recorded anew, from its values.
fn rewritten(given: &Recorded, seed: u64) -> Vec<u8> {
    let mut buffer = vec![0; DATAGRAM_SIZE_MAX];
    let kind = if given.kind == "request" { FrameKind::Request } else { FrameKind::Reply };
    let (sender, handler) = (given.sender.as_bytes(), given.handler.as_bytes());
    let mut draft = Draft::new(&mut buffer, kind, sender, handler, given.clock);
    let want = &given.want;
    let message = Message::parse(want.base.as_bytes());
    let name = message.name.expect("only known messages were recorded");
    let text = |argument: &[u8]| String::from_utf8(argument.to_vec()).expect("text was recorded");
    let arguments: Vec<String> =
        (0..).map_while(|index| message.argument(index).map(text)).collect();
    let arguments: Vec<Argument> = arguments.iter().map(|text| Argument::Text(text)).collect();
    assert!(!name.has_body() && draft.message(name, &arguments, message.target()));
    if let Some(state) = &want.state_hex {
        assert!(draft.push_state(&bytes(state)));
    }
    assert!(want.members.iter().all(|member| draft.push_member(&member.entry())));
    assert!(want.health.iter().all(|health| draft.push_health(&health.entry())));
    assert!(want.coordinate.iter().all(|place| draft.push_coordinate(&place.peer())));
    draft.seal(&mut given.envelopes(seed)).to_vec()
}

#[test]
fn what_is_written_has_the_recorded_payload() {
    let mut unpacker = Unpacker::new();
    for given in recorded() {
        let mut datagram = rewritten(&given, 2);
        let mut envelopes = given.envelopes(3);
        let unpacked = unpacker.unpack(envelopes.open(&mut datagram).unwrap()).unwrap();
        let frame = Frame::parse(unpacked).unwrap();
        let text = String::from_utf8_lossy(frame.payload);
        let expected = bytes(&given.payload_hex);
        assert_eq!(text, String::from_utf8_lossy(&expected), "byte for byte, floats included");
    }
}

/// An interpreter that has the packages which `reader.py` needs.
fn python() -> Option<PathBuf> {
    let in_venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    let named = std::env::var_os("SHOAL_PYTHON").map(PathBuf::from);
    [named, Some(in_venv), Some("python3".into())].into_iter().flatten().find(|python| {
        let mut command = Command::new(python);
        command.args(["-c", "import cryptography, zstandard"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// Whether two values are equal, numbers within a tolerance.
fn is_close(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
            (left - right).abs() <= 1e-12 * left.abs().max(right.abs())
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| is_close(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(key, value)| right.get(key).is_some_and(|other| is_close(value, other));
            left.len() == right.len() && left.iter().all(same)
        }
        _ => left == right,
    }
}

#[test]
fn another_reader_reads_what_is_written_to_the_recorded_values() {
    let Some(python) = python() else {
        println!("skipped: no Python with cryptography and zstandard; `make venv` installs them");
        return;
    };
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/reader.py");
    let mut command = Command::new(python);
    command.arg(reader).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("an interpreter that was found starts");
    let mut input = child.stdin.take().expect("a pipe was asked for");
    let given = recorded();
    let writer = std::thread::spawn(move || {
        for (seed, given) in recorded().iter().enumerate() {
            let datagram_hex = hex(&rewritten(given, seed as u64));
            let line = json!({ "secret": given.secret, "datagram_hex": datagram_hex });
            writeln!(input, "{line}").expect("the reader reads to the end");
        }
    });
    let output = child.wait_with_output().expect("the reader ends");
    writer.join().expect("the writer does not panic");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    let expected: Vec<Value> =
        serde_json::from_str(include_str!("vectors/datagrams.json")).expect("the recorded form");
    assert_eq!(text.lines().count(), given.len());
    for (line, expected) in text.lines().zip(&expected) {
        let read: Value = serde_json::from_str(line).expect("one object a line");
        for key in ["kind", "sender", "handler", "clock", "want"] {
            assert!(is_close(&read[key], &expected[key]), "{key}: {read} is not {expected}");
        }
    }
}
