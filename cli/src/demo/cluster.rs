//! The demo's cluster: fifteen real nodes in three datacenters, and the network between them.
//!
//! Every node is bound to a free port of 127.0.0.1 and advertises an address that the relay owns,
//! so that all it sends and receives takes the emulated time. The delays are those between three
//! real places (public ping averages of cloud regions), plus an access link per node and jitter.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_core::io::{BackendChoice, Node, NodeOptions, NodeThread};
use shoal_core::random::Random;
use shoal_core::{Address, Config, Counter, Role, Secret};
use shoal_simulator::relay::{Endpoint, Link, Relay, RelayCounts, RelayOptions};

use super::record::NodeRecord;
use crate::exit::Failure;
use crate::keygen;

/// The datacenters' names.
pub const DATACENTERS: [&str; 3] = ["us-west", "eu-west", "ap-southeast"];
/// Round trips between and inside them, in milliseconds.
pub const BACKBONE_MS: [[f64; 3]; 3] =
    [[0.5, 141.1, 181.3], [141.1, 0.5, 186.6], [181.3, 186.6, 0.5]];
/// What each datacenter consists of.
const MEMBERS: [(&str, Role); 5] = [
    ("gate", Role::Gate),
    ("manager 1", Role::Manager),
    ("manager 2", Role::Manager),
    ("worker 1", Role::Worker),
    ("worker 2", Role::Worker),
];
/// Managers per datacenter.
const MANAGERS: u32 = 2;
/// Nodes per datacenter.
const SITE_SIZE: usize = MEMBERS.len();
/// The range of a node's access link, one way, in milliseconds.
const ACCESS_MS: (f64, f64) = (0.05, 0.35);
/// The mean of the jitter, as a share of the delay.
const JITTER_SHARE: f64 = 0.004;
/// The first port that is tried for the advertised addresses, and how many after it.
const PORTS: std::ops::Range<u16> = 7462..7512;
/// Nodes probe each other and compare tables, and gates ask leaders, five times as often as by
/// default, so that half a minute shows everything.
const HASTE: u64 = 5;

/// Workers of jobs are granted half of this at first, so that a demo can wait for the end of it.
const EXTENSION_BASE_MS: u64 = 2_000;

/// The running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What is known of each node, by index.
    pub records: Vec<NodeRecord>,
    /// Which backend the nodes use.
    pub backend: &'static str,
    nodes: Vec<Option<Node>>,
    addresses: Vec<Address>,
    endpoints: Vec<Endpoint>,
    access_ms: Vec<f64>,
    relay: Relay,
    /// Datagrams and bytes that stopped nodes had sent.
    spent: [u64; 2],
}

impl Cluster {
    /// Starts the relay and every node. Nobody has joined anybody yet.
    pub fn start(seed: u64, backend: BackendChoice) -> Result<Cluster, Failure> {
        let (relay, endpoints) = start_relay(seed)?;
        let mut random = Random::new(seed);
        let (low, high) = ACCESS_MS;
        let access_ms: Vec<f64> =
            endpoints.iter().map(|_| low + (high - low) * random.unit()).collect();
        let place = |endpoint: Endpoint| {
            endpoints.iter().position(|known| *known == endpoint).expect("an endpoint of ours")
        };
        relay.set_links(|from, to| link(place(from), place(to), &access_ms));
        let mut cluster = Cluster {
            records: endpoints
                .iter()
                .enumerate()
                .map(|(index, at)| record(index, relay.advertised(*at)))
                .collect(),
            backend: "",
            nodes: Vec::new(),
            addresses: endpoints.iter().map(|at| Address::from(relay.advertised(*at))).collect(),
            endpoints,
            access_ms,
            relay,
            spent: [0; 2],
        };
        cluster.start_nodes(seed, backend)?;
        Ok(cluster)
    }

    /// One thread per datacenter runs its five nodes.
    fn start_nodes(&mut self, seed: u64, backend: BackendChoice) -> Result<(), Failure> {
        let secret = Secret::new(keygen::generate()?).map_err(Failure::failed)?;
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        for (datacenter, name) in DATACENTERS.iter().enumerate() {
            let thread = NodeThread::start(backend, None).map_err(Failure::failed)?;
            self.backend = thread.backend().name();
            for (member, (_, role)) in MEMBERS.iter().enumerate() {
                let index = datacenter * SITE_SIZE + member;
                let mut config = Config::new(self.addresses[index], secret.clone());
                config.role = *role;
                config.datacenter = name.parse().expect("a plain word is a name");
                config.probe_interval_ms /= HASTE;
                config.sync_interval_ms /= HASTE;
                config.federation.probe_interval_ms /= HASTE;
                config.federation.probe_timeout_ms /= HASTE;
                // Whoever starts first does not elect itself before it has met the other.
                config.federation.manager_count_min = MANAGERS;
                config.jobs.extension.base_ms = EXTENSION_BASE_MS;
                let mut options = NodeOptions::new(bind, config);
                options.seed = Some(seed.wrapping_add(index as u64));
                let node = thread.start_node(options).map_err(Failure::failed)?;
                self.relay.attach(self.endpoints[index], node.local_address());
                self.nodes.push(Some(node));
            }
        }
        Ok(())
    }

    /// How many nodes there were at the start.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The node, unless it was stopped.
    pub fn node(&self, index: usize) -> Option<&Node> {
        self.nodes[index].as_ref()
    }

    /// Every running node with its index.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| Some((index, node.as_ref()?)))
    }

    /// The index of the node that advertises this address.
    pub fn index(&self, address: Address) -> Option<usize> {
        self.addresses.iter().position(|known| *known == address)
    }

    /// The address that a node advertises.
    pub fn address(&self, index: usize) -> Address {
        self.addresses[index]
    }

    /// The gate of a datacenter.
    pub fn gate(&self, datacenter: usize) -> usize {
        datacenter * SITE_SIZE
    }

    /// The managers of a datacenter.
    pub fn managers(&self, datacenter: usize) -> [usize; 2] {
        [1, 2].map(|member| datacenter * SITE_SIZE + member)
    }

    /// The round trip that the relay emulates between two nodes, typical jitter included.
    pub fn round_trip_ms(&self, a: usize, b: usize) -> f64 {
        // The median of an exponential is its mean times the logarithm of two.
        let way = |link: Link| link.delay + link.jitter.mul_f64(std::f64::consts::LN_2);
        let both = way(link(a, b, &self.access_ms)) + way(link(b, a, &self.access_ms));
        both.as_secs_f64() * 1e3
    }

    /// Stops a node without a goodbye, as a crash would. Its address stays the relay's.
    pub fn kill(&mut self, index: usize) {
        self.records[index].killed = true;
        self.stop(index);
    }

    /// Stops a node.
    pub fn stop(&mut self, index: usize) {
        if let Some(node) = self.nodes[index].take() {
            let stats = node.stats();
            self.spent[0] += stats.value(Counter::DatagramsSent);
            self.spent[1] += stats.value(Counter::BytesSent);
            node.stop();
            self.relay.detach(self.endpoints[index]);
        }
    }

    /// Datagrams and bytes that all nodes have sent.
    pub fn sent(&self) -> [u64; 2] {
        let stats = self.running().map(|(_, node)| node.stats());
        stats.fold(self.spent, |[datagrams, bytes], stats| {
            [
                datagrams + stats.value(Counter::DatagramsSent),
                bytes + stats.value(Counter::BytesSent),
            ]
        })
    }

    /// What the relay did.
    pub fn relayed(&self) -> RelayCounts {
        self.relay.counts()
    }
}

/// Starts a relay that owns 127.1.0.1 to 127.3.0.5, all at the first port that is free on all of
/// them.
fn start_relay(seed: u64) -> Result<(Relay, Vec<Endpoint>), Failure> {
    let mut last = String::new();
    for port in PORTS {
        let options = RelayOptions { seed, ..RelayOptions::default() };
        let relay = Relay::start(options)
            .map_err(|error| Failure::failed(format_args!("cannot start the relay: {error}")))?;
        let addresses = (0..DATACENTERS.len() * SITE_SIZE).map(|index| {
            let (datacenter, member) = (index / SITE_SIZE, index % SITE_SIZE);
            SocketAddr::from(([127, 1 + datacenter as u8, 0, 1 + member as u8], port))
        });
        let endpoints: std::io::Result<Vec<_>> =
            addresses.map(|address| relay.add_endpoint(address)).collect();
        match endpoints {
            Ok(endpoints) => return Ok((relay, endpoints)),
            Err(error) => last = error.to_string(),
        }
    }
    Err(Failure::failed(format_args!(
        "no UDP port from {} to {} is free on 127.1.0.1 to 127.3.0.5: {last}",
        PORTS.start,
        PORTS.end - 1
    )))
}

/// The path from one node to another.
fn link(from: usize, to: usize, access_ms: &[f64]) -> Link {
    let backbone = BACKBONE_MS[from / SITE_SIZE][to / SITE_SIZE] / 2.0;
    let delay = Duration::from_secs_f64((backbone + access_ms[from] + access_ms[to]) / 1e3);
    Link { delay, jitter: delay.mul_f64(JITTER_SHARE), ..Link::default() }
}

fn record(index: usize, address: SocketAddr) -> NodeRecord {
    let datacenter = index / SITE_SIZE;
    let (label, role) = MEMBERS[index % SITE_SIZE];
    NodeRecord {
        name: format!("{} {label}", DATACENTERS[datacenter]),
        label: label.to_owned(),
        role: role.name(),
        datacenter,
        address: address.to_string(),
        ..NodeRecord::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_symmetric_and_near_is_near() {
        let access_ms = [0.2; 15];
        assert_eq!(link(0, 5, &access_ms), link(5, 0, &access_ms));
        assert!(link(0, 4, &access_ms).delay < Duration::from_millis(1));
        assert!(link(0, 14, &access_ms).delay > Duration::from_millis(90));
    }
}
