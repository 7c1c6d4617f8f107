//! Running nodes on real sockets, on both backends: they find each other, notice who goes, and part
//! in peace.
#![allow(missing_docs)]

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shoal_core::io::{
    Backend, BackendChoice, Node, NodeError, NodeOptions, NodeThread, StartError,
};
use shoal_core::{
    Address, CommandError, Config, ConfigError, Counter, Event, Instant, MemberState, Secret,
};

const BACKENDS: [BackendChoice; 2] = [BackendChoice::Uring, BackendChoice::Poll];
const PATIENCE: Duration = Duration::from_secs(15);

fn options(bind: &str) -> NodeOptions {
    let secret = Secret::new(*b"a secret for tests on loopback").unwrap();
    let mut config = Config::new(Address::UNSPECIFIED, secret);
    (config.probe_interval_ms, config.gossip_interval_ms) = (100, 20);
    config.join_interval_ms = 50;
    NodeOptions::new(bind.parse().unwrap(), config)
}

fn start(backend: BackendChoice, bind: &str, join: &[Address]) -> Node {
    let mut options = options(bind);
    (options.backend, options.join) = (backend, join.to_vec());
    Node::start(options).unwrap()
}

/// Nodes with threads of their own that have joined through the first.
fn start_cluster(backend: BackendChoice, count: usize) -> Vec<Node> {
    let mut nodes = vec![start(backend, "127.0.0.1:0", &[])];
    for _ in 1..count {
        nodes.push(start(backend, "127.0.0.1:0", &[nodes[0].address()]));
    }
    nodes
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    while !holds() {
        assert!(now() < deadline, "still waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[allow(clippy::disallowed_methods)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Whether the node knows exactly `count` members in this state, itself included.
fn sees(node: &Node, state: MemberState, count: usize) -> bool {
    node.members().iter().filter(|member| member.state == state).count() == count
}

fn wait_for_full_mesh(nodes: &[Node]) {
    wait_until("all are alive to all", || {
        nodes.iter().all(|node| sees(node, MemberState::Alive, nodes.len()))
    });
}

/// Takes events until this one has come.
fn wait_for_event(node: &Node, what: &str, matches: impl Fn(&Event) -> bool) -> Event {
    let deadline = now() + PATIENCE;
    while now() < deadline {
        match node.wait_event(Duration::from_secs(1)) {
            Some(event) if matches(&event) => return event,
            _ => {}
        }
    }
    panic!("no event: {what}");
}

fn is_state(event: &Event, address: Address, state: MemberState) -> bool {
    matches!(event, Event::Member(member) if member.address == address && member.state == state)
}

#[test]
fn a_cluster_forms_and_notices_a_death_and_a_farewell() {
    for backend in BACKENDS {
        let mut nodes = start_cluster(backend, 5);
        wait_for_full_mesh(&nodes);
        wait_for_event(&nodes[1], "joined", |event| matches!(event, Event::Joined { .. }));
        let own: Vec<Address> = nodes.iter().map(|node| node.members()[0].address).collect();
        assert_eq!(own, nodes.iter().map(Node::address).collect::<Vec<_>>(), "itself first");

        let killed = nodes.pop().unwrap();
        let dead = killed.address();
        killed.stop();
        for node in &nodes {
            wait_for_event(node, "dead", |event| is_state(event, dead, MemberState::Dead));
            let member = node.member(dead).expect("the mirror is as new as the event");
            assert_eq!(member.state, MemberState::Dead);
        }

        let leaver = nodes.pop().unwrap();
        leaver.leave().unwrap();
        wait_for_event(&leaver, "own farewell", |event| matches!(event, Event::Left { .. }));
        assert_eq!(leaver.leave(), Err(NodeError::Refused(CommandError::Leaving)));
        let left = leaver.address();
        leaver.stop();
        for node in &nodes {
            wait_for_event(node, "left", |event| {
                assert!(!is_state(event, left, MemberState::Dead));
                is_state(event, left, MemberState::Left)
            });
        }
    }
}

#[test]
fn states_and_broadcasts_reach_every_node() {
    for backend in BACKENDS {
        let nodes = start_cluster(backend, 4);
        wait_for_full_mesh(&nodes);
        let state = Bytes::from(vec![7; 10_000]);
        nodes[0].set_state(state.clone()).unwrap();
        let address = nodes[0].address();
        wait_until("the state is held by all", || {
            nodes.iter().all(|node| node.state(address).as_ref() == Some(&state))
        });
        nodes[3].broadcast(Bytes::from_static(b"hello")).unwrap();
        for node in &nodes[..3] {
            wait_for_event(node, "a broadcast", |event| {
                matches!(event, Event::Broadcast { source, payload, .. }
                    if *source == nodes[3].address() && payload.as_ref() == b"hello")
            });
        }
    }
}

#[test]
fn a_restarted_node_is_alive_again_on_its_old_address() {
    for backend in BACKENDS {
        let mut nodes = start_cluster(backend, 3);
        wait_for_full_mesh(&nodes);
        let stopped = nodes.pop().unwrap();
        let (address, old) = (stopped.address(), stopped.members()[0].generation);
        stopped.stop();
        nodes.push(start(backend, &address.to_string(), &[nodes[0].address()]));
        wait_until("everybody knows the new generation", || {
            nodes.iter().all(|node| {
                let member = node.member(address);
                member.is_some_and(|m| m.generation > old && m.state == MemberState::Alive)
            })
        });
    }
}

/// Round trips carry no scheduling delay beyond the kernel's, and every answer of the mirror fits.
#[test]
fn hosts_read_members_round_trips_and_counters() {
    for backend in BACKENDS {
        let nodes = start_cluster(backend, 2);
        wait_for_full_mesh(&nodes);
        let peer = nodes[1].address();
        wait_until("a round trip is known", || nodes[0].rtt(peer).is_some());
        let rtt = nodes[0].rtt(peer).unwrap();
        assert!(rtt.ms > 0.0 && rtt.ms < 50.0 && rtt.upper_ms >= rtt.ms, "{rtt:?}");
        assert_eq!(nodes[0].member(peer).unwrap().address, peer);
        assert_eq!(nodes[0].member("192.0.2.1:1".parse().unwrap()), None);
        assert!(nodes[0].coordinate().vector.iter().all(|part| part.is_finite()));
        // A round trip is predicted as soon as the peer has told where it is; a probe comes later.
        wait_until("a probe is answered", || nodes[0].stats().value(Counter::ProbesAcked) > 0);

        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = nodes[0].local_address();
        stranger.send_to(&[9; 200], target).unwrap();
        stranger.send_to(&[9; 1_401], target).unwrap();
        stranger.send_to(&[9; 9_000], target).unwrap();
        stranger.send_to(&[], target).unwrap();
        wait_until("bad datagrams are counted by kind", || {
            let stats = nodes[0].stats();
            stats.value(Counter::DroppedOversized) == 2
                && stats.value(Counter::DroppedTruncated) == 1
        });
        stranger.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(stranger.recv_from(&mut [0; 64]).is_err(), "a stranger gets no answer");
    }
}

#[test]
fn readers_never_stop_the_engine() {
    for backend in BACKENDS {
        let nodes = start_cluster(backend, 3);
        wait_for_full_mesh(&nodes);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(nodes[0].members()[0].address, nodes[0].address());
                        assert!(nodes[0].rtt(nodes[0].address()).is_some());
                    }
                });
            }
            let acked = |node: &Node| node.stats().value(Counter::ProbesAcked);
            let before = acked(&nodes[0]);
            wait_until("probes go on and the mirror follows", || acked(&nodes[0]) > before + 5);
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(nodes[1].stats().value(Counter::SuspicionsExpired), 0);
    }
}

#[test]
fn many_nodes_share_a_thread() {
    const COUNT: usize = 50;
    for backend in BACKENDS {
        let thread = NodeThread::start(backend, Some(0)).unwrap();
        let mut nodes: Vec<Node> = Vec::new();
        for _ in 0..COUNT {
            let mut options = options("127.0.0.1:0");
            options.config.probe_interval_ms = 300;
            options.join = nodes.first().map(Node::address).into_iter().collect();
            nodes.push(thread.start_node(options).unwrap());
        }
        wait_for_full_mesh(&nodes);
        // Nodes come and go while the others run.
        let gone: Vec<Address> = nodes.drain(COUNT / 2..).map(|node| node.address()).collect();
        for address in &gone[..5] {
            let mut options = options(&address.to_string());
            options.join = vec![nodes[0].address()];
            nodes.push(thread.start_node(options).unwrap());
        }
        let revived = |address| nodes[0].member(address).map(|member| member.state);
        wait_until("those that came back are alive", || {
            gone[..5].iter().all(|&address| revived(address) == Some(MemberState::Alive))
        });
        // The thread outlives its handle as long as it has nodes.
        drop(thread);
        assert_eq!(nodes[0].join(&[nodes[1].address()]), Ok(()));
    }
}

#[test]
fn nodes_on_the_wildcard_are_reached_over_both_families() {
    for backend in BACKENDS {
        for family in ["127.0.0.1:0", "[::1]:0"] {
            let mut wildcard = options("[::]:0");
            (wildcard.backend, wildcard.config.advertise) = (backend, family.parse().unwrap());
            let wildcard = Node::start(wildcard).unwrap();
            assert_eq!(wildcard.address().port(), wildcard.local_address().port());
            let peer = start(backend, family, &[wildcard.address()]);
            wait_for_full_mesh(&[wildcard, peer]);
        }
    }
}

#[test]
fn bad_starts_are_one_clear_line_and_leave_nothing() {
    for backend in BACKENDS {
        let node = start(backend, "127.0.0.1:0", &[]);
        let taken = node.local_address();
        let refused = |change: &dyn Fn(&mut NodeOptions)| {
            let mut options = options("127.0.0.1:0");
            options.backend = backend;
            change(&mut options);
            let error = Node::start(options).expect_err("this cannot start");
            assert!(!error.to_string().contains('\n'));
            error
        };
        let error = refused(&|options| options.bind = taken);
        assert!(matches!(error, StartError::AddressInUse { address } if address == taken));
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
        let error = refused(&|options| options.bind = "192.0.2.1:0".parse().unwrap());
        assert!(matches!(error, StartError::AddressNotAvailable { .. }));
        let error = refused(&|options| options.bind = "0.0.0.0:0".parse().unwrap());
        assert!(matches!(error, StartError::AdvertiseUnknown { .. }));
        let error = refused(&|options| options.config.probe_interval_ms = 1);
        assert!(matches!(error, StartError::Config(ConfigError::OutOfRange { .. })));
        let error = refused(&|options| options.join = vec![Address::UNSPECIFIED]);
        assert!(matches!(error, StartError::Join(CommandError::SeedAddress { .. })));
        let error = refused(&|options| options.cpu = Some(100_000));
        assert!(matches!(error, StartError::Pin { cpu: 100_000, .. }));
        node.stop();
        start(backend, &taken.to_string(), &[]);
    }
}

#[test]
fn the_event_descriptor_tells_when_to_look() {
    fn is_readable(node: &Node, timeout_ms: i32) -> bool {
        let fd = node.event_fd().as_raw_fd();
        let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry is passed, for the length of the call.
        unsafe { libc::poll(&mut entry, 1, timeout_ms) == 1 }
    }
    for backend in BACKENDS {
        let node = start(backend, "127.0.0.1:0", &[]);
        while node.poll_event().is_some() {}
        assert!(!is_readable(&node, 0));
        assert_eq!(node.wait_event(Duration::from_millis(20)), None);
        let peer = start(backend, "127.0.0.1:0", &[node.address()]);
        assert!(is_readable(&node, PATIENCE.as_millis() as i32));
        wait_until("the peer is alive", || {
            std::iter::from_fn(|| node.poll_event())
                .any(|event| is_state(&event, peer.address(), MemberState::Alive))
        });
        while node.poll_event().is_some() {}
        assert!(!is_readable(&node, 0));
    }
}

/// A host that takes no events loses none before the engine's queue is full, and then learns how
/// many.
#[test]
fn events_that_nobody_takes_are_kept_then_counted() {
    for backend in BACKENDS {
        let thread = NodeThread::start(backend, None).unwrap();
        let mut lazy = options("127.0.0.1:0");
        lazy.config.event_capacity = 16;
        let lazy = thread.start_node(lazy).unwrap();
        let addresses: Vec<SocketAddr> = (0..20)
            .map(|_| {
                let mut options = options("127.0.0.1:0");
                options.join = vec![lazy.address()];
                thread.start_node(options).unwrap().local_address()
            })
            .collect();
        // Every generation of every address is an event or two; the mailbox holds 256.
        let dropped = || lazy.stats().value(Counter::DroppedEvents);
        let deadline = now() + PATIENCE;
        while dropped() < 20 {
            assert!(now() < deadline, "only {} events were dropped", dropped());
            for address in &addresses {
                let mut options = options(&address.to_string());
                options.join = vec![lazy.address()];
                let node = thread.start_node(options).unwrap();
                wait_for_event(&node, "joined", |event| matches!(event, Event::Joined { .. }));
            }
        }
        let mut taken = 0;
        let lost = loop {
            match lazy.wait_event(PATIENCE).expect("the loss is told") {
                Event::Overflow { lost } => break lost,
                _ => taken += 1,
            }
        };
        assert!(taken >= 256 + 16, "only {taken} events were kept");
        assert!(lost >= 20, "{lost}");
    }
}

#[test]
fn instants_convert_to_the_wall_clock() {
    let node = start(BackendChoice::Auto, "127.0.0.1:0", &[]);
    #[allow(clippy::disallowed_methods)]
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let (now, unix_ms) = (node.now(), node.unix_ms(node.now()));
    assert!(unix_ms.abs_diff(wall.as_millis() as u64) < 1_000);
    let earlier = Instant::from_nanos(now.as_nanos() - 5_000_000_000);
    assert!((4_999..=5_001).contains(&(node.unix_ms(now) - node.unix_ms(earlier))));
}

#[test]
fn the_backend_is_the_one_asked_for() {
    for (choice, backend) in
        [(BackendChoice::Uring, Backend::Uring), (BackendChoice::Poll, Backend::Poll)]
    {
        let node = start(choice, "127.0.0.1:0", &[]);
        assert_eq!((node.backend(), node.backend_refusal()), (backend, None));
    }
}
