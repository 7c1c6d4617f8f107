//! The engine in conversation with a Python node that is played by the test, and with its own kind.

use bytes::Bytes;

use super::*;
use crate::config::{DATAGRAM_SIZE_MAX, WireFormat};
use crate::engine::Member;
use crate::error::{CommandError, ForeignError};
use crate::events::{Event, ForeignHealth, ForeignWorker, MemberEvent};
use crate::testing::{Cluster, address, config};
use crate::wire::hyperscale::compression::{PACKING_OVERHEAD, pack};
use crate::wire::hyperscale::entry::{Overload, WorkerState};
use crate::wire::hyperscale::envelope::{OVERHEAD, SEALED_OFFSET};

const SECOND: Duration = Duration::from_secs(1);
const PYTHON: &str = "10.0.0.1:7050";
const OWN: &str = "10.0.0.1:7000";
const PLACE: &str = "#|v{\"vec\":[0.001,0.0,0.0,0.0,0.0,0.0,0.0,0.0],\"height\":0.0005,\"adjustment\":0.0,\
    \"error\":0.05,\"sample_count\":12}";

fn hyperscale(number: u16) -> Config {
    Config { wire_format: WireFormat::Hyperscale, ..config(number) }
}

/// What the engine sent.
#[derive(Debug)]
struct Sent {
    target: Address,
    is_request: bool,
    clock: u64,
    payload: String,
}

/// An engine, and a Python node that says what the test wants.
struct Talk {
    engine: Engine,
    now: Instant,
    envelopes: Envelopes,
    unpacker: Unpacker,
    clock: u64,
    events: Vec<Event>,
}

impl Talk {
    fn new() -> Talk {
        Talk::with(hyperscale(0))
    }

    fn with(config: Config) -> Talk {
        let now = Instant::from_millis(100_000);
        let envelopes = Envelopes::new(&config.secrets, 2, &mut Random::new(99));
        let engine = Engine::new(config, 1, now).unwrap();
        let unpacker = Unpacker::new();
        Talk { engine, now, envelopes, unpacker, clock: 100, events: Vec::new() }
    }

    /// Seals a frame's bytes.
    fn sealed(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; OVERHEAD + PACKING_OVERHEAD + frame.len()];
        datagram[SEALED_OFFSET + PACKING_OVERHEAD..][..frame.len()].copy_from_slice(frame);
        let packed = pack(&mut datagram[SEALED_OFFSET..], frame.len());
        self.envelopes.seal(&mut datagram, packed);
        datagram
    }

    fn frame(&mut self, kind: &str, payload: &[u8]) -> Vec<u8> {
        self.clock += 1;
        let mut clock = [0; 64];
        clock[56..].copy_from_slice(&self.clock.to_be_bytes());
        let head = format!("{kind}<{PYTHON}<receive<");
        [head.as_bytes(), &clock, &(payload.len() as u32).to_be_bytes(), payload].concat()
    }

    fn deliver(&mut self, mut datagram: Vec<u8>) -> Vec<Sent> {
        self.engine.handle_datagram(self.now, PYTHON.parse().unwrap(), &mut datagram);
        self.drain()
    }

    fn send(&mut self, kind: &str, payload: &[u8]) -> Vec<Sent> {
        let frame = self.frame(kind, payload);
        let datagram = self.sealed(&frame);
        self.deliver(datagram)
    }

    /// Asks, and expects one reply.
    fn ask(&mut self, payload: &str) -> String {
        let sent = self.send("c", payload.as_bytes());
        let clock = self.clock;
        let [reply] = &sent[..] else { panic!("{payload} brought {sent:?}") };
        assert!(!reply.is_request && reply.clock > clock, "{reply:?}");
        assert_eq!(reply.target, PYTHON.parse().unwrap());
        reply.payload.clone()
    }

    /// The same without the sections of the reply.
    fn ask_base(&mut self, payload: &str) -> String {
        let reply = self.ask(payload);
        reply.split("#|").next().unwrap().to_owned()
    }

    fn drain(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        while let Some(transmit) = self.engine.poll_transmit(self.now, &mut buffer) {
            let opened = self.envelopes.open(&mut buffer[..transmit.size]).expect("not native");
            let frame = Frame::parse(self.unpacker.unpack(opened).unwrap()).unwrap();
            assert_eq!((frame.sender, frame.handler), (OWN.as_bytes(), HANDLER));
            sent.push(Sent {
                target: transmit.target,
                is_request: frame.kind == FrameKind::Request,
                clock: frame.clock.unwrap(),
                payload: String::from_utf8(frame.payload.to_vec()).unwrap(),
            });
        }
        self.events.extend(std::iter::from_fn(|| self.engine.poll_event()));
        sent
    }

    /// Lets time pass; the Python node answers every question with this, if with anything.
    fn run(&mut self, duration: Duration, answer: Option<&str>) -> Vec<Sent> {
        let end = self.now + duration;
        let mut all = Vec::new();
        while let Some(due) = self.engine.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
            let mut unread = self.drain();
            while let Some(sent) = unread.pop() {
                if sent.is_request && sent.target == PYTHON.parse().unwrap() {
                    self.now += Duration::from_micros(500);
                    if let Some(answer) = answer {
                        self.clock = self.clock.max(sent.clock);
                        unread.extend(self.send("s", answer.as_bytes()));
                    }
                }
                all.push(sent);
            }
        }
        self.now = end;
        all
    }

    fn confirmed() -> Talk {
        let mut talk = Talk::new();
        talk.ask(&format!("probe>{OWN}{PLACE}"));
        talk.run(2 * SECOND, Some(&format!("ack>{PYTHON}{PLACE}")));
        assert_eq!(talk.state(), Some(MemberState::Alive));
        talk
    }

    fn member(&self) -> Option<Member> {
        self.engine.member(PYTHON.parse().unwrap(), self.now)
    }

    fn state(&self) -> Option<MemberState> {
        self.member().map(|member| member.state)
    }

    fn count(&self, counter: Counter) -> u64 {
        self.engine.stats().value(counter)
    }
}

#[test]
fn every_request_gets_its_reply() {
    let mut talk = Talk::confirmed();
    let other = "10.0.0.1:7051";
    talk.ask(&format!("join>v1.4|{other}"));
    for (request, reply) in [
        (format!("probe>{OWN}"), format!("ack>{OWN}")),
        (format!("probe>{other}"), format!("ack>{OWN}")),
        ("probe>10.9.9.9:1".to_owned(), format!("nack:unknown>{OWN}")),
        ("probe>nowhere".to_owned(), format!("nack>{OWN}")),
        ("probe".to_owned(), format!("nack>{OWN}")),
        (format!("ack>{PYTHON}"), format!("ack>{OWN}")),
        ("ack".to_owned(), format!("ack>{OWN}")),
        ("ack>10.9.9.9:1".to_owned(), format!("nack:unknown>{OWN}")),
        (format!("nack:unknown>{other}"), format!("ack>{OWN}")),
        (format!("ping-req:0>{OWN}"), format!("ping-req-ack:alive>{OWN}")),
        ("ping-req:0>10.9.9.9:1".to_owned(), format!("ping-req-ack:unknown>{OWN}")),
        ("ping-req:0".to_owned(), format!("nack:invalid>{OWN}")),
        (format!("ping-req-ack:alive>{other}"), format!("ack>{OWN}")),
        (format!("join>v1.9|{PYTHON}"), format!("ack>{OWN}")),
        (format!("join>{PYTHON}"), format!("nack:version_required>{OWN}")),
        (format!("join>v2.0|{PYTHON}"), format!("nack:version_mismatch>{OWN}")),
        ("join>v1.4|somewhere".to_owned(), format!("nack>{OWN}")),
        (format!("join>v1.4|{OWN}"), format!("ack>{OWN}")),
        (format!("leave>{OWN}"), format!("leave>{OWN}")),
        ("leave>10.9.9.9:1".to_owned(), format!("nack>{OWN}")),
        (format!("leave>{other}"), format!("ack>{OWN}")),
        (format!("suspect:0>{OWN}"), format!("alive:1>{OWN}")),
        ("suspect:x>10.9.9.9:1".to_owned(), format!("ack>{OWN}")),
        (format!("alive:0>{PYTHON}"), format!("ack>{OWN}")),
        (format!("leader-claim:3:0>{PYTHON}"), format!("ack>{OWN}")),
        (format!("pre-vote-req:3:0>{PYTHON}"), format!("ack>{OWN}")),
        (format!("leader-vote:3>{PYTHON}"), format!("ack>{OWN}")),
        (format!("leader-elected:3>{PYTHON}"), format!("ack>{OWN}")),
        (format!("leader-heartbeat:3>{PYTHON}"), format!("ack>{OWN}")),
        (format!("leader-stepdown:3>{PYTHON}"), format!("ack>{OWN}")),
        (format!("pre-vote-resp:3:1>{PYTHON}"), format!("ack>{OWN}")),
        ("xprobe>pickled".to_owned(), format!("xnack>{OWN}")),
        ("xack>pickled".to_owned(), String::new()),
        (format!("xnack>{PYTHON}"), String::new()),
        ("nobody-knows-this".to_owned(), format!("nack:unknown>{OWN}")),
    ] {
        assert_eq!(talk.ask_base(&request), reply, "{request}");
    }
    assert_eq!(talk.state(), Some(MemberState::Alive));
}

#[test]
fn a_probe_on_behalf_is_answered_when_it_has_ended() {
    let mut talk = Talk::confirmed();
    talk.ask("join>v1.4|10.0.0.1:7051");
    let sent = talk.send("c", b"ping-req:0>10.0.0.1:7051");
    assert!(sent.iter().all(|sent| sent.is_request && sent.target.port() == 7_051), "{sent:?}");
    let sent = talk.run(2 * SECOND, Some(&format!("ack>{PYTHON}")));
    let replies: Vec<_> = sent.iter().filter(|sent| !sent.is_request).collect();
    assert_eq!(replies.len(), 1, "{sent:?}");
    assert_eq!(replies[0].payload, "ping-req-ack:timeout>10.0.0.1:7051");
}

#[test]
fn a_python_node_is_confirmed_by_its_answer_and_measured() {
    let mut talk = Talk::new();
    talk.ask(&format!("probe>{OWN}"));
    assert_eq!(talk.state(), Some(MemberState::Unconfirmed));
    for _ in 0..20 {
        talk.run(SECOND, Some(&format!("alive:<coroutine object x at 0x7f>>{PYTHON}{PLACE}")));
    }
    let member = talk.member().unwrap();
    assert_eq!((member.state, member.incarnation), (MemberState::Alive, Incarnation(0)));
    let rtt = member.rtt.unwrap();
    assert!((0.1..5.0).contains(&rtt.ms), "{rtt:?}");
    assert!((member.coordinate.unwrap().height - 0.0005).abs() < 1e-9);
    assert_eq!(talk.count(Counter::UnmatchedReplies), 0);
    assert_eq!(talk.engine.members(talk.now).count(), 2, "no phantom");
}

#[test]
fn requests_are_such_that_the_present_python_node_loses_nothing() {
    let mut talk = Talk::confirmed();
    talk.ask("probe>10.0.0.1:7000#|mjoin:3:10.0.0.1:7051:gate");
    let sent = talk.run(4 * SECOND, Some(&format!("ack>{PYTHON}")));
    let mut payloads: Vec<String> = Vec::new();
    for sent in sent.into_iter().filter(|sent| sent.is_request) {
        // It cuts at the first `#|h`, at the first `#|m` before it, and hands the rest to the
        // parser.
        let (head, health) = sent.payload.split_once("#|h").expect("health in every request");
        let first = health.split(';').next().unwrap();
        assert_eq!(first.split('|').count(), 8, "{first}");
        assert!(first.rsplit('|').next().unwrap().parse::<f64>().is_ok(), "{first}");
        let (base, members) = head.split_once("#|m").unwrap_or((head, ""));
        assert!(base.split_once('>').unwrap().1.parse::<std::net::SocketAddr>().is_ok());
        for entry in members.split('|').filter(|entry| !entry.is_empty()) {
            assert_eq!(entry.split(':').count(), 5, "{entry}");
        }
        assert!(!base.starts_with("join"), "a join would lock it");
        assert!(!base.starts_with("probe"), "a probe would keep it busy");
        assert!(!payloads.contains(&sent.payload), "it would take this for a duplicate");
        payloads.push(sent.payload);
    }
    assert!(payloads.len() > 5);
}

#[test]
fn only_a_node_that_answers_as_documented_is_asked_to_let_join_once() {
    for (answer, joins) in [
        (format!("ack>{PYTHON}{PLACE}"), 1),
        (format!("alive:<coroutine object x at 0x7f>>{PYTHON}#|hn|gate|busy|1|1|1|1|1{PLACE}"), 0),
        (format!("nack>{PYTHON}"), 0),
    ] {
        let mut talk = Talk::new();
        talk.engine.join(talk.now, &[PYTHON.parse().unwrap()]).unwrap();
        let sent = talk.run(60 * SECOND, Some(&answer));
        let count = sent.iter().filter(|sent| sent.payload.starts_with("join>v1.4|")).count();
        assert_eq!(count, joins, "{answer}");
        let probes = sent.iter().filter(|sent| sent.payload.starts_with("probe>"));
        let probes: Vec<_> = probes.collect();
        assert!(!probes.is_empty(), "the seed is probed");
        for probe in probes {
            // Nothing that the present version strips, so that it refuses the probe at once.
            assert!(probe.payload.starts_with(&format!("probe>{PYTHON}#|v{{")), "{probe:?}");
        }
        assert!(talk.events.iter().any(|event| matches!(event, Event::Joined { .. })));
        assert_eq!(talk.state(), Some(MemberState::Alive));
    }
}

#[test]
fn a_silent_python_node_is_declared_dead_and_may_come_back() {
    let mut talk = Talk::confirmed();
    talk.run(60 * SECOND, None);
    assert_eq!(talk.state(), Some(MemberState::Dead));
    talk.ask(&format!("probe>{OWN}#|hn|gate|busy|1|1|1|1|2"));
    assert_eq!(talk.state(), Some(MemberState::Unconfirmed));
    talk.run(2 * SECOND, Some(&format!("ack>{PYTHON}")));
    assert_eq!(talk.state(), Some(MemberState::Alive));
    talk.ask(&format!("leave>{PYTHON}"));
    assert_eq!(talk.state(), Some(MemberState::Left));
}

#[test]
fn a_suspected_python_node_is_cleared_by_its_answer() {
    let mut talk = Talk::confirmed();
    for round in 0..5 {
        let incarnation = talk.member().unwrap().incarnation.0;
        talk.send("c", format!("suspect:{incarnation}>{PYTHON}").as_bytes());
        assert_eq!(talk.state(), Some(MemberState::Suspect));
        talk.run(3 * SECOND, Some(&format!("ack>{PYTHON}")));
        assert_eq!(talk.state(), Some(MemberState::Alive), "round {round}");
    }
    let is_dead = |event: &Event| {
        matches!(event, Event::Member(MemberEvent { state: MemberState::Dead, .. }))
    };
    assert!(!talk.events.iter().any(is_dead));
}

#[test]
fn repeated_and_too_many_requests_cost_little() {
    let mut talk = Talk::with(Config { source_request_rate: 10, ..hyperscale(0) });
    let probe = format!("probe>{OWN}");
    assert!(talk.ask(&probe).starts_with(&format!("ack>{OWN}#|")));
    assert_eq!(talk.ask(&probe), format!("ack>{OWN}"));
    assert_eq!(talk.count(Counter::RequestsRepeated), 1);
    let nacks = (0..20).filter(|n| talk.ask_base(&format!("alive:{n}>{PYTHON}")).starts_with('n'));
    assert_eq!(nacks.count(), 12);
    assert_eq!(talk.count(Counter::RequestsLimited), 12);
    talk.now += 31 * SECOND;
    assert!(talk.ask(&probe).starts_with(&format!("ack>{OWN}#|")));
}

#[test]
fn what_is_for_the_host_reaches_it_and_never_displaces_members() {
    let mut talk = Talk::with(Config { event_capacity: 16, ..hyperscale(0) });
    let reply = talk.send("c", b"xprobe>\x80\x04pickled\xff.");
    assert_eq!(reply[0].payload, format!("xnack>{OWN}"));
    talk.ask(&format!("leader-claim:7:3>{PYTHON}"));
    let told: Vec<_> = talk
        .events
        .drain(..)
        .filter_map(|event| match event {
            Event::Foreign(message) => Some((message.name, message.arguments, message.body)),
            _ => None,
        })
        .collect();
    assert_eq!(told[0], (Name::CrossProbe, [None; 2], Bytes::from_static(b"\x80\x04pickled\xff.")));
    assert_eq!(told[1], (Name::LeaderClaim, [Some(7), Some(3)], Bytes::new()));
    for term in 0..100 {
        let frame = talk.frame("c", format!("leader-heartbeat:{term}>{PYTHON}").as_bytes());
        let mut datagram = talk.sealed(&frame);
        talk.engine.handle_datagram(talk.now, PYTHON.parse().unwrap(), &mut datagram);
        while talk.engine.poll_transmit(talk.now, &mut [0; DATAGRAM_SIZE_MAX]).is_some() {}
    }
    talk.ask("join>v1.4|10.0.0.1:7051");
    let newcomer =
        |event: &Event| matches!(event, Event::Member(member) if member.address.port() == 7_051);
    assert!(talk.events.iter().any(newcomer));
}

#[test]
fn the_host_answers_other_datacenters_and_speaks_in_elections() {
    let mut talk = Talk::confirmed();
    talk.events.clear();
    let python: Address = PYTHON.parse().unwrap();
    let body = Bytes::from_static(b"\x80\x04a pickled answer.");
    talk.engine.set_cross_answer(Some(body.clone())).unwrap();
    let asked = talk.frame("c", b"xprobe>\x80\x04question.");
    let datagram = talk.sealed(&asked);
    talk.engine.handle_datagram(talk.now, python, &mut datagram.clone());
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    let transmit = talk.engine.poll_transmit(talk.now, &mut buffer).unwrap();
    let opened = talk.envelopes.open(&mut buffer[..transmit.size]).unwrap();
    let frame = Frame::parse(talk.unpacker.unpack(opened).unwrap()).unwrap();
    assert_eq!(
        (frame.kind, frame.payload),
        (FrameKind::Reply, &[b"xack>", &body[..]].concat()[..])
    );
    talk.engine.set_cross_answer(None).unwrap();
    assert_eq!(talk.ask("xprobe>anew"), format!("xnack>{OWN}"));

    let claim = ForeignRequest {
        name: Name::LeaderClaim,
        arguments: [Some(7), Some(2)],
        target: Some(OWN.parse().unwrap()),
        body: Bytes::new(),
    };
    let probe = ForeignRequest {
        name: Name::CrossProbe,
        arguments: [None; 2],
        target: None,
        body: Bytes::from_static(b"question"),
    };
    talk.engine.send_foreign(talk.now, python, claim.clone()).unwrap();
    assert!(!talk.engine.is_drained());
    let mut sent = talk.drain();
    assert!(talk.engine.is_drained());
    talk.engine.send_foreign(talk.now, python, probe.clone()).unwrap();
    sent.extend(talk.drain());
    let [claimed, probed] = &sent[..] else { panic!("{sent:?}") };
    assert!(claimed.payload.starts_with(&format!("leader-claim:7:2>{OWN}#|")), "{claimed:?}");
    assert_eq!((probed.payload.as_str(), probed.target), ("xprobe>question", python));
    talk.clock = talk.clock.max(probed.clock);
    talk.events.clear();
    talk.send("s", format!("ack>{PYTHON}").as_bytes());
    talk.send("s", b"xack>state of east");
    assert_eq!(talk.count(Counter::UnmatchedReplies), 0);
    let [Event::Foreign(answer)] = &talk.events[..] else { panic!("{:?}", talk.events) };
    assert_eq!((answer.name, &answer.body[..]), (Name::CrossAck, &b"state of east"[..]));
    assert_eq!(answer.message(), b"xack>state of east");

    let send = |talk: &mut Talk, recipient: Address, request: &ForeignRequest| {
        talk.engine.send_foreign(talk.now, recipient, request.clone()).unwrap_err()
    };
    let nowhere = Address::UNSPECIFIED;
    let wrong = ForeignRequest { name: Name::Probe, ..claim.clone() };
    let large = ForeignRequest { body: vec![0; 1_025].into(), ..probe };
    for (recipient, request, expected) in [
        (nowhere, &claim, ForeignError::RecipientAddress { address: nowhere }),
        (python, &wrong, ForeignError::EngineMessage { name: "probe" }),
        (python, &large, ForeignError::BodySize { size: 1_025 }),
    ] {
        assert_eq!(send(&mut talk, recipient, request), CommandError::Foreign(expected));
    }
    assert!(talk.drain().is_empty());
    let mut native = Talk::with(config(0));
    let refused = CommandError::Foreign(ForeignError::NativeOnly);
    assert_eq!(send(&mut native, python, &claim), refused);
}

#[test]
fn health_and_workers_are_told_when_they_change() {
    let mut talk = Talk::confirmed();
    talk.events.clear();
    let worker =
        |free: u32, time: u32| format!("w:m:10.0.0.9:1:2:registered:3:8:{free}:{time}.5:DC1");
    for (health, workers, time, expected) in [
        ("healthy", 8, 1, 2),
        ("healthy", 8, 2, 0),
        ("busy", 8, 3, 1),
        ("busy", 4, 4, 1),
        ("stressed", 2, 3, 0),
    ] {
        let sections = format!(
            "#|hDC1-7|manager|{health}|1|8|1.50|2.00|{time}.25;broken#|w{}|broken",
            worker(workers, time)
        );
        let refused = talk.count(Counter::EntriesRefused);
        talk.ask(&format!("alive:{time}{workers}>{PYTHON}{sections}"));
        assert_eq!(talk.count(Counter::EntriesRefused), refused + 2);
        let told = std::mem::take(&mut talk.events);
        let of_others =
            |event: &Event| matches!(event, Event::ForeignHealth(_) | Event::ForeignWorker(_));
        assert_eq!(told.iter().filter(|event| of_others(event)).count(), expected, "{told:?}");
        for event in told {
            match event {
                Event::ForeignHealth(told) => {
                    let ForeignHealth { node_id, node_type, overload, .. } = &*told;
                    assert_eq!((&**node_id, &**node_type), ("DC1-7", "manager"));
                    assert_eq!(overload.text(), health);
                    assert!(told.is_accepting && *overload != Overload::Stressed);
                    assert_eq!((told.capacity, told.throughput, told.expected), (8, 1.5, 2.0));
                    let text = format!("DC1-7|manager|{health}|1|8|1.50|2.00|{time}.25");
                    assert_eq!(told.to_string(), text);
                    assert_eq!((told.sender, told.at), (PYTHON.parse().unwrap(), talk.now));
                }
                Event::ForeignWorker(told) => {
                    let ForeignWorker { worker_id, owner_id, host, datacenter, .. } = &*told;
                    let texts = [worker_id, owner_id, host, datacenter].map(|text| &**text);
                    assert_eq!(texts, ["w", "m", "10.0.0.9", "DC1"]);
                    assert_eq!((told.tcp_port, told.udp_port, told.incarnation), (1, 2, 3));
                    assert_eq!((told.total_cores, told.available_cores), (8, workers));
                    assert_eq!(told.state, WorkerState::Registered);
                    let text = worker(workers, time).replace(".5:DC1", ".500000:DC1");
                    assert_eq!(told.to_string(), text);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn embedded_states_are_told_once() {
    let mut talk = Talk::confirmed();
    talk.events.clear();
    for (text, expected) in [("aGVsbG8=", 1), ("aGVsbG8=", 1), ("d29ybGQ=", 2), ("!!", 2)] {
        talk.run(3 * SECOND, Some(&format!("ack>{PYTHON}#|s{text}")));
        let states = talk.events.iter().filter(|event| matches!(event, Event::State { .. }));
        assert_eq!(states.count(), expected, "{text}");
    }
    talk.engine.set_state(talk.now, Bytes::from_static(b"hello")).unwrap();
    talk.drain();
    assert!(talk.ask(&format!("probe>{OWN}#|hx")).contains("#|saGVsbG8=#|m"));
}

#[test]
fn bad_input_is_dropped_or_answered_and_changes_nothing() {
    let mut talk = Talk::confirmed();
    let before: Vec<Member> = talk.engine.members(talk.now).collect();
    let nack = Some(format!("nack>{OWN}"));
    let good = talk.frame("c", format!("probe>{OWN}").as_bytes());
    let with = |from: &str, to: &str| {
        let text = good.iter().map(|&byte| byte as char).collect::<String>();
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        changed.chars().map(|character| character as u8).collect::<Vec<u8>>()
    };
    let long = talk.frame("c", &[b'p'; 1_401]);
    let empty = talk.frame("c", b"");
    let mut cut = talk.frame("c", b"suspect:0>10.0.0.1:7050");
    cut.pop();
    let frames = [
        (b"c<10.0.0.1:7050<receive".to_vec(), None, Counter::DroppedMalformed),
        (with("c<", "x<"), None, Counter::DroppedMalformed),
        (with("7050<", "0<"), None, Counter::DroppedMalformed),
        (with("7050<", "9000#<"), None, Counter::DroppedMalformed),
        (with("10.0", "\u{ff}0.0"), None, Counter::DroppedMalformed),
        (with("receive", "nosuch"), None, Counter::DroppedMalformed),
        (with("7050<", "7000<"), None, Counter::DroppedOwn),
        (good[..36].to_vec(), nack.clone(), Counter::RequestsRefused),
        (long, nack.clone(), Counter::RequestsRefused),
        (empty, nack.clone(), Counter::RequestsRefused),
        (cut, nack, Counter::RequestsRefused),
    ];
    for (frame, expected, counter) in frames {
        let (count, datagram) = (talk.count(counter), talk.sealed(&frame));
        let sent = talk.deliver(datagram);
        let replies: Vec<_> = sent.into_iter().map(|sent| sent.payload).collect();
        assert_eq!(replies, expected.into_iter().collect::<Vec<_>>(), "{counter:?}");
        assert_eq!(talk.count(counter), count + 1, "{counter:?}");
    }
    let mut forged = talk.sealed(&good);
    forged[50] ^= 1;
    let datagrams = [
        (vec![7; 43], Counter::DroppedTruncated),
        (vec![7; 65_508], Counter::DroppedOversized),
        (forged, Counter::DroppedForged),
        (unpacked_as(&mut talk, b"not zstd"), Counter::DroppedMalformed),
        (unpacked_as(&mut talk, &bomb(4 << 30)), Counter::DroppedUnpackedSize),
        (unpacked_as(&mut talk, &bomb(60_000)), Counter::DroppedUnpackedSize),
    ];
    for (datagram, counter) in datagrams {
        let count = talk.count(counter);
        assert!(talk.deliver(datagram).is_empty(), "{counter:?}");
        assert_eq!(talk.count(counter), count + 1, "{counter:?}");
    }
    assert_eq!(talk.engine.members(talk.now).collect::<Vec<_>>(), before);
}

/// A datagram with this in the place of a zstd frame.
fn unpacked_as(talk: &mut Talk, packed: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; OVERHEAD + packed.len()];
    datagram[SEALED_OFFSET..][..packed.len()].copy_from_slice(packed);
    talk.envelopes.seal(&mut datagram, packed.len());
    datagram
}

/// A zstd frame that declares a size and is far from it.
fn bomb(size: u64) -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd, 0b1110_0000], &size.to_le_bytes()[..], &[1, 0, 0]].concat()
}

#[test]
fn bad_entries_are_counted_and_the_others_count() {
    let mut talk = Talk::confirmed();
    let many = "alive:0:10.0.0.2:1:worker|".repeat(40);
    for (sections, refused) in [
        ("#|mjoin:0:10.0.0.1:9000#|join:0:10.0.0.1:7052:gate", 1),
        ("#|mjoin:0:>127.0.0.1:9000|join:-1:1.2.3.4:5|x", 3),
        (&format!("#|m{many}"), 1),
    ] {
        let count = talk.count(Counter::EntriesRefused);
        talk.ask(&format!("probe>{OWN}{sections}"));
        assert_eq!(talk.count(Counter::EntriesRefused) - count, refused, "{sections}");
    }
    for json in ["{\"vec\":[NaN", "{}", &"[".repeat(900)] {
        let count = talk.count(Counter::CoordinatesRefused);
        talk.ask(&format!("probe>{OWN}#|v{json}"));
        assert_eq!(talk.count(Counter::CoordinatesRefused), count + 1, "{json}");
    }
    let known: Vec<_> = talk.engine.members(talk.now).map(|member| member.address.port()).collect();
    assert_eq!(known, [7_000, 7_050, 7_052, 1]);
}

#[test]
fn a_clock_at_its_end_harms_nobody() {
    let mut talk = Talk::confirmed();
    let mut frame = talk.frame("c", format!("probe>{OWN}").as_bytes());
    let start = frame.iter().position(|&byte| byte == 0).unwrap();
    frame[start..start + 64].fill(0xff);
    let datagram = talk.sealed(&frame);
    let reply = talk.deliver(datagram);
    assert!(reply[0].clock < 1_000);
    assert_eq!(talk.count(Counter::ClocksRefused), 1);
}

#[test]
fn unasked_replies_confirm_nobody() {
    let mut talk = Talk::new();
    talk.send("s", format!("ack>{PYTHON}{PLACE}").as_bytes());
    assert_eq!(talk.count(Counter::UnmatchedReplies), 1);
    assert_eq!(talk.state(), Some(MemberState::Unconfirmed));
}

fn formed(count: u16) -> Cluster {
    let mut cluster = Cluster::new();
    for number in 0..count {
        cluster.start(number, hyperscale(number));
    }
    cluster.run_until(5 * SECOND, Cluster::is_full_mesh);
    cluster
}

fn is_native(cluster: &Cluster, observer: u16, peer: u16) -> bool {
    let session = cluster.engines[&observer].hyperscale.as_ref().unwrap();
    session.is_native(address(peer), cluster.now)
}

#[test]
fn shoal_nodes_meet_in_the_python_format_and_change_to_their_own() {
    let mut cluster = formed(4);
    cluster.run_for(20 * SECOND);
    for observer in 0..4 {
        for peer in (0..4).filter(|&peer| peer != observer) {
            assert!(is_native(&cluster, observer, peer), "{observer} to {peer}");
        }
        assert_eq!(cluster.seen(observer, MemberState::Suspect), 0);
        let stats = cluster.engines[&observer].stats();
        assert_eq!(stats.value(Counter::DroppedForged), 0);
    }
    cluster.kill(2);
    cluster.run_until(5 * SECOND, |c| c.all_see(2, MemberState::Dead));
    // Who comes next at its address may be a Python node.
    assert!([0, 1, 3].iter().all(|&observer| !is_native(&cluster, observer, 2)));
    let again = Config { generation: Generation(2), ..hyperscale(2) };
    cluster.start(2, again);
    cluster.run_until(5 * SECOND, Cluster::is_full_mesh);
    cluster.leave(1);
    cluster.run_until(2 * SECOND, |c| {
        [0, 2, 3].iter().all(|&observer| c.state(observer, 1) == Some(MemberState::Left))
    });
}

#[test]
fn trust_in_the_native_format_is_given_up_and_found_again() {
    let mut cluster = formed(2);
    cluster.run_for(5 * SECOND);
    assert!(is_native(&cluster, 0, 1));
    let at = cluster.now;
    let session = cluster.engine(0).hyperscale.as_mut().unwrap();
    session.exchange.peers.meet(address(1), at).speaks_hyperscale_only();
    assert!(!is_native(&cluster, 0, 1));
    cluster.run_until(3 * SECOND, |c| is_native(c, 0, 1) && c.is_full_mesh());
    assert_eq!(cluster.seen(1, MemberState::Suspect), 0);
}
