//! Gates and managers together: who may say what, and whether a gate can route by itself.

use super::*;
use crate::routing::{
    Bucket, DatacenterHealth, Decision, JobId, Reason, Router, RouterConfig, RttSource,
};
use crate::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const START: Instant = Instant::from_millis(1_000_000);
const DATACENTERS: [&str; 3] = ["east", "west", "north"];
/// One way to each datacenter from the gate, which is in the first.
const ONE_WAY_MS: [u64; 3] = [1, 20, 40];

fn address(datacenter: usize, number: usize) -> Address {
    format!("10.{datacenter}.0.{}:7946", number + 1).parse().unwrap()
}

fn identity(datacenter: usize, number: usize, role: Role) -> Identity {
    Identity {
        address: address(datacenter, number),
        generation: Generation(1),
        role,
        datacenter: DATACENTERS[datacenter].parse().unwrap(),
    }
}

fn sender(identity: &Identity) -> Sender {
    let Identity { address, generation, role, datacenter } = *identity;
    Sender { address, generation, role, datacenter, health_score: 0 }
}

fn load(available_cores: u32) -> DatacenterLoad {
    DatacenterLoad {
        worker_count: 4,
        healthy_worker_count: 4,
        total_cores: 64,
        available_cores,
        queue_depth: 1,
        active_job_count: 2,
    }
}

/// Three datacenters of three managers, and a gate in the first that knows them all.
struct Cluster {
    now: Instant,
    identities: Vec<Identity>,
    nodes: Vec<Option<Federation>>,
    in_flight: Vec<(Instant, usize, usize, FederationMessage)>,
    /// Datacenters that nothing of the gate reaches.
    is_cut: [bool; 3],
    events: Vec<(usize, FederationEvent)>,
}

/// The gate is the last node.
const GATE: usize = 9;

impl Cluster {
    fn new() -> Cluster {
        let mut identities: Vec<Identity> =
            (0..9).map(|node| identity(node / 3, node % 3, Role::Manager)).collect();
        identities.push(identity(0, 9, Role::Gate));
        let start = |(seed, identity): (usize, &Identity)| {
            let config = FederationConfig::default();
            Some(Federation::new(&config, *identity, seed as u64, START).unwrap())
        };
        let nodes = identities.iter().enumerate().map(start).collect();
        let (in_flight, events) = (Vec::new(), Vec::new());
        let now = START;
        let mut cluster = Cluster { now, identities, nodes, in_flight, is_cut: [false; 3], events };
        for subject in 0..=GATE {
            cluster.tell_all(subject, MemberState::Alive);
        }
        for node in 0..9 {
            cluster.node(node).set_load(START, load(32));
        }
        cluster
    }

    /// One in which every datacenter has its leader and the gate knows it.
    fn settled() -> Cluster {
        let mut cluster = Cluster::new();
        cluster.run(10 * SECOND);
        cluster.events.clear();
        cluster
    }

    fn node(&mut self, node: usize) -> &mut Federation {
        self.nodes[node].as_mut().expect("the node runs")
    }

    /// Membership says everywhere what became of a node.
    fn tell_all(&mut self, subject: usize, state: MemberState) {
        let view = MemberView { identity: self.identities[subject], state, health_score: 0 };
        for node in self.nodes.iter_mut().flatten() {
            node.observe(self.now, subject as u32, Some(&view));
        }
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            (0..self.nodes.len()).for_each(|node| self.drain(node));
            let deadline = self.nodes.iter().flatten().filter_map(Federation::next_deadline).min();
            let arrival = self.in_flight.iter().map(|&(at, ..)| at).min();
            let Some(next) = [deadline, arrival].into_iter().flatten().min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            let (arrived, rest) = self.in_flight.drain(..).partition(|&(at, ..)| at <= self.now);
            self.in_flight = rest;
            let arrived: Vec<(Instant, usize, usize, FederationMessage)> = arrived;
            for (at, from, to, message) in arrived {
                let (now, sender) = (self.now, sender(&self.identities[from]));
                if let Some(node) = &mut self.nodes[to] {
                    node.handle_message(now, at, &sender, &message);
                }
            }
            let now = self.now;
            for node in self.nodes.iter_mut().flatten() {
                node.handle_timeout(now);
            }
        }
        self.now = end;
    }

    fn drain(&mut self, node: usize) {
        let now = self.now;
        while let Some(outgoing) = self.nodes[node].as_mut().and_then(|n| n.poll_message(now)) {
            let to = self.identities.iter().position(|i| i.address == outgoing.target).unwrap();
            let site = |node: usize| if node == GATE { 0 } else { node / 3 };
            let far = site(node).max(site(to));
            let is_gate = node == GATE || to == GATE;
            if !(is_gate && self.is_cut[if node == GATE { site(to) } else { site(node) }]) {
                let arrival = now + Duration::from_millis(ONE_WAY_MS[far]);
                self.in_flight.push((arrival, node, to, outgoing.message));
            }
        }
        while let Some(event) = self.nodes[node].as_mut().and_then(Federation::poll_event) {
            self.events.push((node, event));
        }
    }

    /// The manager that leads a datacenter.
    fn leader(&self, datacenter: usize) -> usize {
        let leads = |&node: &usize| {
            self.nodes[node].as_ref().is_some_and(|node| node.leadership(self.now).is_own)
        };
        (3 * datacenter..3 * datacenter + 3).find(leads).expect("somebody leads")
    }

    fn candidates(&self) -> Vec<DatacenterCandidate> {
        let mut candidates = Vec::new();
        let gate = self.nodes[GATE].as_ref().unwrap();
        gate.candidates(self.now, |_| None, &mut candidates);
        candidates.sort_by_key(|candidate| candidate.datacenter);
        candidates
    }

    fn health(&self) -> Vec<DatacenterHealth> {
        self.candidates().iter().map(|candidate| candidate.health).collect()
    }
}

#[test]
fn each_datacenter_elects_its_own_leader_and_a_gate_finds_them_all() {
    let mut cluster = Cluster::new();
    cluster.run(10 * SECOND);
    for (datacenter, name) in DATACENTERS.into_iter().enumerate() {
        let leader = cluster.leader(datacenter);
        for node in 3 * datacenter..3 * datacenter + 3 {
            let view = cluster.nodes[node].as_ref().unwrap().leadership(cluster.now);
            assert_eq!(view.leader, Some(cluster.identities[leader].address));
            assert_eq!((view.term, view.is_own), (1, node == leader));
        }
        let gate = cluster.nodes[GATE].as_ref().unwrap();
        let name: DatacenterName = name.parse().unwrap();
        let view = gate.views(cluster.now, |_| None).find(|view| view.name == name).unwrap();
        assert_eq!(view.leader, Some((cluster.identities[leader].address, 1)));
        assert_eq!(view.reachability, Reachability::Reachable);
        let elected = |(node, event): &&(usize, FederationEvent)| match event {
            FederationEvent::LeaderElected { datacenter, .. } => {
                *node == GATE && *datacenter == name
            }
            _ => false,
        };
        assert_eq!(cluster.events.iter().filter(elected).count(), 1);
    }
    let own = cluster.nodes[GATE].as_ref().unwrap().leadership(cluster.now);
    assert_eq!(own.leader, Some(cluster.identities[cluster.leader(0)].address));
    assert!(!own.is_own);
}

#[test]
fn a_gate_routes_by_itself_and_goes_elsewhere_when_a_datacenter_dies() {
    let mut cluster = Cluster::settled();
    let mut router = Router::new(RouterConfig::default(), 1).unwrap();
    router.set_rtt_source(RttSource::Measured);
    let mut decision = Decision::default();
    let job = JobId::from(1);
    router.route(cluster.now, job, &cluster.candidates(), &[], &mut decision).unwrap();
    let gate = cluster.nodes[GATE].as_ref().unwrap();
    let name = |decision: &Decision| gate.names().name(decision.selected().unwrap()).copied();
    assert_eq!(name(&decision).unwrap().as_str(), "east", "the nearest");
    assert_eq!(decision.bucket(), Some(Bucket::Healthy));
    let rtt: Vec<f64> = cluster.candidates().iter().map(|c| c.rtt.unwrap().ms).collect();
    assert!(
        rtt.iter().zip([2.0, 40.0, 80.0]).all(|(rtt, real)| (rtt - real).abs() < 1.5),
        "{rtt:?}"
    );

    // Its managers die, membership notices in two seconds.
    (0..3).for_each(|node| cluster.kill(node));
    cluster.run(2 * SECOND);
    (0..3).for_each(|node| cluster.tell_all(node, MemberState::Dead));
    assert_eq!(cluster.health()[0], DatacenterHealth::Unhealthy);
    router.route(cluster.now, job, &cluster.candidates(), &[], &mut decision).unwrap();
    assert_eq!(decision.reason(), Reason::ExclusionForced);
    let gate = cluster.nodes[GATE].as_ref().unwrap();
    let selected = gate.names().name(decision.selected().unwrap()).unwrap();
    assert_eq!(selected.as_str(), "west");
}

#[test]
fn without_membership_the_probes_alone_notice_a_dead_datacenter() {
    let mut cluster = Cluster::settled();
    (3..6).for_each(|node| cluster.kill(node));
    cluster.run(16 * SECOND);
    assert_eq!(cluster.health()[1], DatacenterHealth::Degraded, "suspected");
    cluster.run(34 * SECOND);
    assert_eq!(cluster.health()[1], DatacenterHealth::Unhealthy, "unreachable");
    assert_eq!(cluster.health()[0], DatacenterHealth::Healthy);
}

#[test]
fn a_new_leader_takes_over_and_its_term_rises_for_the_gate_too() {
    let mut cluster = Cluster::settled();
    let old = cluster.leader(1);
    cluster.kill(old);
    cluster.tell_all(old, MemberState::Dead);
    cluster.run(10 * SECOND);
    let new = cluster.leader(1);
    assert_ne!(new, old);
    let found = |(node, event): &(usize, FederationEvent)| {
        let leader = cluster.identities[new].address;
        *node == GATE
            && matches!(event, FederationEvent::LeaderElected { leader: l, term, .. }
                if *l == leader && *term > 1)
    };
    assert!(cluster.events.iter().any(found), "{:?}", cluster.events);
    assert_eq!(cluster.health()[1], DatacenterHealth::Healthy);
    assert_eq!(cluster.candidates()[1].usable_manager_count, 2);
    assert_eq!(cluster.candidates()[1].manager_count, 3);
}

#[test]
fn a_goodbye_hands_over_within_the_second() {
    let mut cluster = Cluster::settled();
    let old = cluster.leader(2);
    let now = cluster.now;
    cluster.node(old).leave(now);
    cluster.run(SECOND / 2);
    cluster.tell_all(old, MemberState::Left);
    assert_ne!(cluster.leader(2), old);
    cluster.run(4 * SECOND);
    assert_eq!(cluster.candidates()[2].manager_count, 2);
}

#[test]
fn load_decides_the_bucket_and_old_load_demotes() {
    let mut cluster = Cluster::settled();
    for node in 0..9 {
        let now = cluster.now;
        cluster.node(node).set_load(now, load(if node / 3 == 1 { 0 } else { 64 }));
    }
    cluster.run(3 * SECOND);
    use DatacenterHealth::*;
    assert_eq!(cluster.health(), [Healthy, Busy, Healthy]);
    let told = &cluster.candidates()[0];
    assert_eq!((told.available_cores, told.total_cores, told.queue_depth), (64, 64, 1));
    // The leaders go on answering, but their hosts say nothing new.
    cluster.run(40 * SECOND);
    let candidates = cluster.candidates();
    let age = cluster.now - candidates[0].updated_at;
    assert!(age >= 42 * SECOND, "{age:?}");
    let filter = crate::routing::FilterConfig::default().at(cluster.now);
    let admission = filter.admit(&candidates[0]).unwrap();
    assert_eq!((admission.bucket, admission.stale_health), (Bucket::Degraded, true));
}

#[test]
fn a_gate_that_is_cut_off_keeps_what_it_knew_as_degraded() {
    let mut cluster = Cluster::settled();
    cluster.is_cut = [true; 3];
    cluster.run(3 * SECOND);
    // The cut takes membership away as well.
    let gate = cluster.nodes[GATE].as_mut().unwrap();
    for node in 0..9 {
        let identity = cluster.identities[node];
        let view = MemberView { identity, state: MemberState::Dead, health_score: 0 };
        gate.observe(cluster.now, node as u32, Some(&view));
    }
    assert!(gate.is_network_suspected());
    cluster.run(12 * SECOND);
    assert_eq!(cluster.health(), [DatacenterHealth::Degraded; 3]);
    assert!(cluster.candidates().iter().all(|candidate| candidate.usable_manager_count == 3));
    cluster.run(80 * SECOND);
    assert_eq!(cluster.health(), [DatacenterHealth::Unhealthy; 3]);
    cluster.is_cut = [false; 3];
    for node in 0..9 {
        cluster.tell_all(node, MemberState::Alive);
    }
    cluster.run(6 * SECOND);
    assert_eq!(cluster.health(), [DatacenterHealth::Healthy; 3]);
}

#[test]
fn an_unknown_datacenter_is_degraded_until_it_is_heard() {
    let mut gate =
        Federation::new(&FederationConfig::default(), identity(0, 9, Role::Gate), 1, START)
            .unwrap();
    let manager = identity(1, 0, Role::Manager);
    let mut view = MemberView { identity: manager, state: MemberState::Alive, health_score: 0 };
    gate.observe(START, 4, Some(&view));
    let health = |gate: &Federation| gate.views(START, |_| None).next().unwrap().candidate.health;
    assert_eq!(health(&gate), DatacenterHealth::Degraded);
    view.state = MemberState::Dead;
    gate.observe(START, 4, Some(&view));
    assert_eq!(health(&gate), DatacenterHealth::Unhealthy, "nobody is there");
}

#[test]
fn messages_from_the_wrong_role_or_datacenter_are_refused_and_counted() {
    let ballot = messages::Ballot { term: 9, sequence: 1, voter_count: 1, flag: true };
    let heartbeat = FederationMessage::Heartbeat(ballot);
    let ack = LeaderProbeAck { sequence: 1, term: 1, leader: None, summary: None };
    let ack = FederationMessage::LeaderProbeAck(ack);
    let probe = FederationMessage::LeaderProbe { sequence: 1 };
    let role = |role| match role {
        Role::Manager => (identity(0, 0, role), vec![(1, Role::Manager, heartbeat)]),
        _ => (identity(0, 0, role), vec![(0, Role::Manager, heartbeat)]),
    };
    let always = [
        (0, Role::Gate, heartbeat),
        (0, Role::Worker, heartbeat),
        (0, Role::Worker, probe),
        (0, Role::Manager, probe),
        (0, Role::Gate, ack),
    ];
    for own in Role::ALL {
        let (identity_of_node, refused) = role(own);
        let config = FederationConfig::default();
        let mut node = Federation::new(&config, identity_of_node, 1, START).unwrap();
        let refused: Vec<_> = refused.into_iter().chain(always).collect();
        for (count, (datacenter, role, message)) in refused.iter().enumerate() {
            let sender = sender(&identity(*datacenter, 5, *role));
            node.handle_message(START, START, &sender, message);
            assert_eq!(node.stats().messages_refused, count as u64 + 1, "{own} {message:?}");
        }
        assert_eq!(node.poll_message(START), None);
        assert_eq!(node.leadership(START).leader, None);
    }
}

#[test]
fn members_are_counted_as_they_come_change_and_go() {
    let config = FederationConfig::default();
    let mut node = Federation::new(&config, identity(0, 0, Role::Manager), 1, START).unwrap();
    let mut random = Random::new(8);
    let mut model = std::collections::BTreeMap::new();
    for _ in 0..20_000 {
        let slot = random.below(40);
        let state = MemberState::ALL[random.below(6) as usize];
        let role = Role::ALL[random.below(3) as usize];
        // A slot may be given to another without a word in between.
        let identity = identity(random.below(3) as usize, 10 + random.below(60) as usize, role);
        let view = MemberView { identity, state, health_score: 0 };
        if state == MemberState::Removed || random.chance(0.1) {
            node.observe(START, slot, None);
            model.remove(&slot);
        } else {
            node.observe(START, slot, Some(&view));
            model.insert(slot, view);
        }
        let name = DATACENTERS[random.below(3) as usize].parse().unwrap();
        let count = |role, is_counted: fn(MemberState) -> bool| {
            let of =
                |view: &&MemberView| view.identity.datacenter == name && view.identity.role == role;
            model.values().filter(of).filter(|view| is_counted(view.state)).count() as u32
        };
        let is_registered = |state: MemberState| state.is_active() || state == MemberState::Dead;
        let is_alive = |state| state == MemberState::Alive;
        let expected = MemberCounts {
            managers: count(Role::Manager, is_registered),
            alive_managers: count(Role::Manager, is_alive),
            workers: count(Role::Worker, is_registered),
            alive_workers: count(Role::Worker, is_alive),
        };
        assert_eq!(node.member_counts(&name), expected);
    }
}

#[test]
fn payloads_of_several_messages_are_checked_whole() {
    let probe = FederationMessage::LeaderProbe { sequence: 1 };
    let mut buffer = [0; 2 * messages::MESSAGE_SIZE_MAX];
    let first = probe.write(&mut buffer);
    let size = first + probe.write(&mut buffer[first..]);
    assert_eq!(check_messages(&buffer[..size]), Ok(()));
    assert_eq!(check_messages(&buffer[..size - 1]), Err(Malformed));
    let config = FederationConfig::default();
    let mut manager = Federation::new(&config, identity(0, 0, Role::Manager), 1, START).unwrap();
    let gate = sender(&identity(0, 9, Role::Gate));
    manager.handle_payload(START, START, &gate, &buffer[..size]);
    let answers = std::iter::from_fn(|| manager.poll_message(START)).count();
    assert_eq!(answers, 2);
}
