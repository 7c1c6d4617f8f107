//! Real nodes on loopback: managers elect their leaders, a gate hears of them, routes by itself and leaves a
//! datacenter that died.
#![allow(missing_docs)]

use std::time::{Duration as Patience, Instant as Moment};

use shoal_core::config::{Config, Secret};
use shoal_core::federation::{DatacenterLoad, FederationEvent, Reachability};
use shoal_core::id::JobId;
use shoal_core::io::{Backend, BackendChoice, Node, NodeError, NodeOptions, NodeThread};
use shoal_core::routing::Reason;
use shoal_core::{Address, CommandError, Event, Role};

const PATIENCE: Patience = Patience::from_secs(15);

/// Everything that takes seconds in a real datacenter takes tenths here.
fn start(thread: &NodeThread, role: Role, datacenter: &str, seeds: &[Address]) -> Node {
    let secret = Secret::new(*b"sixteen bytes ok").unwrap();
    let mut config = Config::new("0.0.0.0:0".parse().unwrap(), secret);
    (config.role, config.datacenter) = (role, datacenter.parse().unwrap());
    config.probe_interval_ms = 100;
    let federation = &mut config.federation;
    (federation.heartbeat_interval_ms, federation.lease_ms) = (100, 600);
    (federation.vote_timeout_ms, federation.election_spread_ms) = (150, 150);
    (federation.probe_interval_ms, federation.probe_timeout_ms) = (200, 500);
    if role == Role::Manager {
        federation.manager_count_min = 3;
    }
    let mut options = NodeOptions::new("127.0.0.1:0".parse().unwrap(), config);
    options.join = seeds.to_vec();
    thread.start_node(options).unwrap()
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Moment::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Patience::from_millis(20));
    }
}

struct Cluster {
    gate: Node,
    east: Vec<Node>,
    west: Vec<Node>,
    _workers: Vec<Node>,
}

impl Cluster {
    fn start() -> Cluster {
        let thread = NodeThread::start(BackendChoice::Auto, None).unwrap();
        assert!(matches!(thread.backend(), Backend::Uring | Backend::Poll));
        let gate = start(&thread, Role::Gate, "east", &[]);
        let seeds = [gate.address()];
        let managers = |name| (0..3).map(|_| start(&thread, Role::Manager, name, &seeds)).collect();
        let (east, west) = (managers("east"), managers("west"));
        let workers = ["east", "west"].map(|name| start(&thread, Role::Worker, name, &seeds));
        Cluster { gate, east, west, _workers: workers.into() }
    }

    fn leader(nodes: &[Node]) -> Option<usize> {
        let leads = nodes.iter().map(|node| node.leader().unwrap().is_own);
        let leaders: Vec<usize> =
            leads.enumerate().filter(|(_, leads)| *leads).map(|(n, _)| n).collect();
        assert!(leaders.len() <= 1, "{leaders:?} lead at once");
        leaders.first().copied()
    }

    fn tell(nodes: &[Node], available_cores: u32) {
        let load =
            DatacenterLoad { available_cores, total_cores: 100, ..DatacenterLoad::default() };
        nodes.iter().for_each(|node| node.set_load(load).unwrap());
    }

    fn knows(&self, nodes: &[Node]) -> bool {
        let leaders: Vec<Address> = nodes.iter().map(Node::address).collect();
        let views = self.gate.datacenters().unwrap();
        views.iter().any(|view| {
            let leads = view.leader.is_some_and(|(leader, _)| leaders.contains(&leader));
            leads
                && view.reachability == Reachability::Reachable
                && view.candidate.total_cores == 100
        })
    }
}

#[test]
fn leaders_are_elected_followed_and_routed_to() {
    let mut cluster = Cluster::start();
    Cluster::tell(&cluster.east, 10);
    Cluster::tell(&cluster.west, 90);
    wait("an election in both datacenters", || {
        Cluster::leader(&cluster.east).is_some() && Cluster::leader(&cluster.west).is_some()
    });
    wait("news of both at the gate", || {
        cluster.knows(&cluster.east) && cluster.knows(&cluster.west)
    });

    // A distance that is known decides less than load here: all nodes are on one machine.
    let job = JobId::from(1);
    wait("enough samples to route by distance", || {
        !cluster.gate.route(JobId::from(99), &[]).unwrap().decision().is_bootstrap()
    });
    let route = cluster.gate.route(job, &[]).unwrap();
    assert_eq!(route.decision().reason(), Reason::InitialSelection);
    assert_eq!(route.datacenter().unwrap().as_str(), "west");
    let manager = route.manager().unwrap();
    assert!(cluster.west.iter().any(|node| node.address() == manager));
    let best = route.decision().chain().next().unwrap();
    assert!(best.rtt_known && best.score.load_factor < 1.2, "{best:?}");
    assert!(cluster.gate.job_sent(job, *route.datacenter().unwrap(), Some(manager)).unwrap());
    assert!(!cluster.gate.job_failed(job, "nowhere".parse().unwrap()).unwrap());
    assert_eq!(cluster.gate.route_all(vec![job, JobId::from(2)], &[]).unwrap().len(), 2);

    // The leader dies: another one follows, under a later term.
    let first = Cluster::leader(&cluster.west).unwrap();
    let term = cluster.west[first].leader().unwrap().term;
    let dead = cluster.west.remove(first);
    let address = dead.address();
    dead.stop();
    wait("a successor", || Cluster::leader(&cluster.west).is_some());
    let second = &cluster.west[Cluster::leader(&cluster.west).unwrap()];
    let view = second.leader().unwrap();
    assert!(view.term > term && view.leader != Some(address));
    let is_it = |event: &Event| {
        matches!(event, Event::Federation(FederationEvent::LeaderElected { term, .. })
            if *term == view.term)
    };
    let mut told = false;
    wait("the event", || {
        while let Some(event) = second.poll_event() {
            told |= is_it(&event);
        }
        told
    });

    // The whole datacenter dies: jobs go elsewhere, and the decision says why. A majority that is lost makes it
    // degraded, before nobody is left and it is excluded.
    cluster.west.drain(..).for_each(Node::stop);
    // A datacenter that only seems slow is passed over at first; it is excluded once nobody is left.
    wait("routing around the dead", || {
        let route = cluster.gate.route(job, &[]).unwrap();
        let is_east = route.datacenter().is_some_and(|name| name.as_str() == "east");
        is_east && route.decision().excluded().len() == 1
    });
    assert!(cluster.gate.forget_route(job).unwrap());
}

#[test]
fn only_gates_route_and_only_managers_tell_load() {
    let thread = NodeThread::start(BackendChoice::Auto, None).unwrap();
    let gate = start(&thread, Role::Gate, "east", &[]);
    let worker = start(&thread, Role::Worker, "east", &[]);
    let needed = |role| NodeError::Refused(CommandError::Role { needed: role });
    assert_eq!(worker.route(JobId::from(1), &[]).unwrap_err(), needed(Role::Gate));
    let load = DatacenterLoad::default();
    assert_eq!(gate.set_load(load).unwrap_err(), needed(Role::Manager));
    assert_eq!(gate.name_leader(None, 1).unwrap_err(), needed(Role::Manager));
    // Nothing to choose from is an answer, not an error.
    let route = gate.route(JobId::from(1), &[]).unwrap();
    assert_eq!((route.datacenter(), route.manager()), (None, None));
    assert_eq!(route.decision().reason(), Reason::NoCandidate);
    assert!(
        gate.watch_datacenter("west".parse().unwrap(), "127.0.0.1:9".parse().unwrap()).unwrap()
    );
    assert_eq!(gate.datacenters().unwrap()[0].reachability, Reachability::Unknown);
    assert_eq!(gate.leader().unwrap().leader, None);
}
