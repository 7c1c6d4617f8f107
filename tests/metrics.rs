//! What agents measure of themselves: the table in docs/operations.md names exactly what is there,
//! and a scrape of a large cluster is quick and holds no probe back.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod agent;
mod program;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use agent::{Agent, wait_until};
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::metrics::{self, Census, Sources};
use shoal_core::random::Random;
use shoal_core::routing::{RouterStats, RoutingOverview};
use shoal_core::stats::Gauges;
use shoal_core::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use shoal_core::wire::native::{Header, Kind, MessageWriter, Update};
use shoal_core::{Address, Coordinate, Generation, Incarnation, MemberState, Role, Secret, Stats};

/// The secret that the agents of these tests have.
const SECRET: &[u8] = b"a secret for tests on loopback";
const MEMBER_COUNT: u32 = 10_000;

/// The rows of the table that this text makes: name, type and meaning of every family.
fn rows_of(text: &str) -> Vec<String> {
    let mut kind = "";
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            kind = declared.split_once(' ').unwrap().1;
        } else if let Some(described) = line.strip_prefix("# HELP ") {
            let (name, help) = described.split_once(' ').unwrap();
            rows.push(format!("| `{name}` | {kind} | {help} |"));
        }
    }
    rows
}

#[test]
fn the_documented_table_is_what_is_measured() {
    let (stats, gauges) = (Stats::default(), Gauges::default());
    let own = shoal_core::Member {
        address: "127.0.0.1:1".parse().unwrap(),
        state: MemberState::Alive,
        generation: Generation(1),
        incarnation: Incarnation(0),
        role: Role::Gate,
        datacenter: "east".parse().unwrap(),
        health_score: 0,
        rtt: None,
        coordinate: Some(Coordinate { vector: [0.0; 8], height: 0.0, adjustment: 0.0, error: 1.0 }),
    };
    let members = Census::of([own].iter());
    let backend = Some("poll");
    let mut text = String::new();
    let sources = Sources { stats: &stats, gauges: &gauges, members: &members, backend };
    metrics::write_node(&mut text, &sources);
    metrics::write_routing(&mut text, &RouterStats::default(), &RoutingOverview::default());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let document = std::fs::read_to_string(path).unwrap();
    let is_row = |line: &&str| line.starts_with("| `shoal_");
    let documented: Vec<&str> = document.lines().filter(is_row).collect();
    let measured = rows_of(&text);
    if documented != measured && std::env::var_os("SHOAL_UPDATE_TABLE").is_some() {
        let before = document.lines().take_while(|line| !is_row(line));
        let after = document.lines().skip_while(|line| !is_row(line)).skip_while(is_row);
        let rows = measured.iter().map(String::as_str);
        let lines: Vec<&str> = before.chain(rows).chain(after).collect();
        return std::fs::write(path, lines.join("\n") + "\n").unwrap();
    }
    assert!(
        documented == measured,
        "the table in docs/operations.md is old; SHOAL_UPDATE_TABLE=1 makes this test write it"
    );
}

/// Datagrams by which a member of the cluster speaks of ten thousand workers that are not there.
/// Workers are not asked to show themselves, so they stay in the table, and the agent has nothing
/// to do with them.
fn gossip(recipient: Address) -> Vec<Vec<u8>> {
    let secret = Secret::new(SECRET).unwrap();
    let mut envelopes = Envelopes::new(&[secret], 1, 2, &mut Random::new(7));
    let datacenter = "west".parse().unwrap();
    let header = Header {
        kind: Kind::Gossip,
        sequence: 0,
        sender: "127.0.0.1:9".parse().unwrap(),
        generation: Generation(1),
        incarnation: Incarnation(0),
        role: Role::Worker,
        health_score: 0,
        recipient,
        recipient_generation: Generation(0),
        subject: Address::UNSPECIFIED,
        parameter: 0,
        state_version: 0,
    };
    let coordinate = Coordinate { vector: [0.0; 8], height: 0.0, adjustment: 0.0, error: 1.0 };
    let mut datagrams = Vec::new();
    let mut number = 0;
    while number < MEMBER_COUNT {
        let mut buffer = vec![0; DATAGRAM_SIZE_MAX];
        let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
        let mut writer = MessageWriter::new(body, &header, &datacenter, &coordinate);
        while number < MEMBER_COUNT {
            let [_, _, high, low] = number.to_be_bytes();
            let mut ip = [0; 16];
            ip[10..].copy_from_slice(&[0xff, 0xff, 127, 9, high, low]);
            let update = Update {
                address: Address::from_parts(ip, 7_462),
                generation: Generation(1),
                incarnation: Incarnation(0),
                state: MemberState::Alive,
                role: Role::Worker,
                health_score: 0,
                datacenter,
                accuser: 0,
                state_version: 0,
            };
            if !writer.push_update(&update) {
                break;
            }
            number += 1;
        }
        let size = writer.finish();
        let size = envelopes.seal(&mut buffer, size);
        buffer.truncate(size);
        datagrams.push(buffer);
    }
    datagrams
}

fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: shoal\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("# EOF\n"), "{text}");
    text
}

fn value_of(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// A port that nobody has just now.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_scrape_of_ten_thousand_members_is_quick_and_delays_no_probe() {
    let metrics = free_port();
    let agent = Agent::start(&["--bind", "127.0.0.1:0", "--metrics", &metrics]);
    let peer = Agent::start(&["--bind", "127.0.0.1:0", "--join", &agent.address]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (index, datagram) in gossip(agent.address.parse().unwrap()).iter().enumerate() {
        socket.send_to(datagram, &agent.address).unwrap();
        if index % 16 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    wait_until("all are known", || {
        value_of(&scrape(&metrics), "shoal_peers_unconfirmed") >= f64::from(MEMBER_COUNT) * 0.99
    });
    let before = scrape(&metrics);
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut times = Vec::new();
    while Instant::now() < deadline {
        let started = Instant::now();
        scrape(&metrics);
        times.push(started.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    let after = scrape(&metrics);
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let more = |name: &str| value_of(&after, name) - value_of(&before, name);
    let acked = more("shoal_probes_acked_total");
    let lag_ms = 1e3 * more("shoal_loop_lag_seconds_sum") / more("shoal_loop_lag_seconds_count");
    println!(
        "{} scrapes: median {median:?}, worst {worst:?}; mean lag {lag_ms:.3} ms",
        times.len()
    );
    assert!(median <= Duration::from_millis(50), "{median:?}");
    assert!(acked >= 3.0, "{acked} probes acked");
    assert_eq!(more("shoal_probes_failed_total"), 0.0);
    assert!(lag_ms < 20.0, "deadlines were met {lag_ms} ms late");
    drop(peer);
}

/// Names that a text mentions, without what a sample adds to its family's name.
fn mentioned(text: &str) -> Vec<String> {
    let is_part = |byte: char| byte.is_ascii_lowercase() || byte == '_';
    let words = text.split(|byte| !is_part(byte)).filter(|word| word.starts_with("shoal_"));
    let family = |word: &str| {
        let suffix = ["_total", "_bucket", "_count", "_sum", "_info"].into_iter();
        let mut families = suffix.filter_map(|suffix| word.strip_suffix(suffix));
        families.next().unwrap_or(word).to_owned()
    };
    words.map(family).collect()
}

#[test]
fn the_dashboard_shows_what_there_is() {
    let dashboard = include_str!("../packaging/grafana.json");
    serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
    let document = include_str!("../docs/operations.md");
    let names = mentioned(dashboard);
    assert!(names.len() > 15, "{names:?}");
    // A pattern over all drops stands for its families.
    for name in names.iter().filter(|name| *name != "shoal_dropped_") {
        assert!(document.contains(&format!("| `{name}` |")), "{name} is not measured");
    }
    assert!(document.contains("| `shoal_dropped_forged` |"));
}
