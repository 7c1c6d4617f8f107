//! Every setting and every limit of the engine, with its meaning, unit and range.
//!
//! [`Config`] holds what a host may choose; [`Config::check`] says in one line what is wrong with a
//! choice. The constants at the top are fixed by the wire format or by the design, and are the only other
//! place where a bound is written.

use crate::error::ConfigError;
use crate::federation::FederationConfig;
use crate::jobs::JobsConfig;
use crate::node::{Address, DatacenterName, Generation, Role};
use crate::routing::RouterConfig;
use crate::time::Duration;

/// The largest datagram that the native format sends or accepts, in bytes. Fits the IPv6 minimum of
/// 1,280 plus what every Ethernet path carries, and leaves room for tunnels below 1,500.
pub const DATAGRAM_SIZE_MAX: usize = 1_400;
/// The shortest secret that is accepted, in bytes.
pub const SECRET_SIZE_MIN: usize = 16;
/// The longest secret that is accepted, in bytes.
pub const SECRET_SIZE_MAX: usize = 256;
/// How many secrets a node accepts at a time: the one it seals with and those it still opens.
pub const SECRET_COUNT_MAX: usize = 4;
/// How many seeds a node can be told to join through.
pub const SEED_COUNT_MAX: usize = 64;
/// How many distinct datacenter names a node remembers. Members of further ones are refused and counted.
pub const DATACENTER_COUNT_MAX: usize = 4_096;
/// The most helpers asked for an indirect probe (SWIM, section 4.1: `k`).
pub const INDIRECT_PROBE_COUNT_MAX: usize = 8;
/// The largest user broadcast, in bytes: it must fit into one datagram.
pub const BROADCAST_SIZE_MAX: usize = 1_024;
/// How many broadcasts are passed on at a time.
pub const BROADCAST_COUNT_MAX: usize = 256;
/// The largest state a host may attach to its node, in bytes, whatever the configuration.
pub const STATE_SIZE_MAX: u32 = 1 << 20;
/// How many members' states are read at a time.
pub const FETCH_COUNT_MAX: u32 = 64;
/// How many peers' tables are read at a time. Of a further one only the first page is taken, and that is
/// counted.
pub const READING_COUNT_MAX: u32 = 4;
/// How many members may be accused in all jobs together (AD-30).
pub const JOB_SUSPICIONS_MAX: usize = 50_000;
/// How many members may be accused in one job (AD-30).
pub const JOB_SUSPICIONS_PER_JOB_MAX: usize = 1_000;
/// How many members are told at once that a node runs again which was not run for a while.
pub const WAKING_COUNT_MAX: usize = 64;
/// The highest local health score (Lifeguard, section IV-A: `S`).
pub const HEALTH_SCORE_MAX: u8 = 8;
/// The most members a table may be configured for.
pub const MEMBER_CAPACITY_MAX: u32 = 1 << 20;

/// The format in which a node speaks to peers that it knows nothing of yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireFormat {
    /// Shoal's own.
    #[default]
    Native,
    /// That of the Python node, so that both kinds form one cluster. Shoal nodes tell each other
    /// that they also speak the native one, and change to it.
    Hyperscale,
}

impl WireFormat {
    /// Both of them.
    pub const ALL: [WireFormat; 2] = [WireFormat::Native, WireFormat::Hyperscale];

    /// The lower-case name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            WireFormat::Native => "native",
            WireFormat::Hyperscale => "hyperscale",
        }
    }
}

impl std::str::FromStr for WireFormat {
    type Err = UnknownWireFormat;

    fn from_str(text: &str) -> Result<WireFormat, UnknownWireFormat> {
        let matching = WireFormat::ALL.into_iter().find(|format| format.name() == text);
        matching.ok_or_else(|| UnknownWireFormat(text.to_owned()))
    }
}

/// The text names no wire format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown wire format {0:?}, expected native or hyperscale")]
pub struct UnknownWireFormat(String);

/// A shared secret of 16 to 256 bytes, from which the datagram keys are derived. Debug output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes a secret.
    ///
    /// # Errors
    /// [`ConfigError::SecretSize`] when it is shorter than 16 or longer than 256 bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Secret, ConfigError> {
        let bytes = bytes.into();
        if !(SECRET_SIZE_MIN..=SECRET_SIZE_MAX).contains(&bytes.len()) {
            return Err(ConfigError::SecretSize { size: bytes.len() });
        }
        Ok(Secret(bytes))
    }

    /// The secret itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Secret({} bytes)", self.0.len())
    }
}

/// The mechanisms beyond plain SWIM, each of which can be switched off to learn what it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    /// A node that seems unwell to itself probes more slowly and waits longer (Lifeguard, section IV-A:
    /// LHA-Probe).
    pub local_health: bool,
    /// A suspicion begins long and shrinks as others confirm it (Lifeguard, section IV-B: LHA-Suspicion).
    pub confirmed_suspicion: bool,
    /// Whoever is suspected hears of it from everyone who writes to it (Lifeguard, section IV-C: buddy
    /// system).
    pub buddy: bool,
    /// Probes and suspicions wait as long as the distance to the member suggests (AD-35).
    pub distance: bool,
    /// Some of those who hear of a suspicion look for themselves at once, and the others before they
    /// declare a death.
    pub recheck: bool,
    /// A node that was not run, or has heard nobody, does not hold that against others.
    pub stall: bool,
}

impl Mechanisms {
    /// Everything, as it should be.
    pub const ALL: Mechanisms = Mechanisms {
        local_health: true,
        confirmed_suspicion: true,
        buddy: true,
        distance: true,
        recheck: true,
        stall: true,
    };
    /// Plain SWIM.
    pub const NONE: Mechanisms = Mechanisms {
        local_health: false,
        confirmed_suspicion: false,
        buddy: false,
        distance: false,
        recheck: false,
        stall: false,
    };
}

/// Everything that decides how one node behaves. Start from [`Config::new`] and change fields.
///
/// Durations are whole milliseconds, as their names say.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address that peers send to. It may differ from the address the socket is bound to, for
    /// example behind NAT or in a container.
    pub advertise: Address,
    /// Which run of the program this is; must be larger at every restart. A running node fills in the
    /// wall clock where this is 0.
    pub generation: Generation,
    /// What this node does in the job system.
    pub role: Role,
    /// Where this node runs.
    pub datacenter: DatacenterName,
    /// The secrets. Datagrams are sealed with the first and opened with any, at most
    /// [`SECRET_COUNT_MAX`]: add the new one behind, then in front, then drop the old one.
    pub secrets: Vec<Secret>,

    /// The format to begin with. All nodes of a cluster need the same.
    pub wire_format: WireFormat,
    /// Requests per second that one source may send in the Python node's format, and how many at
    /// once; 10 to 10,000,000. What is beyond is answered with `nack`, and counted. (The Python
    /// node grants 10, and 100 at once, which its own gossip can exceed.)
    pub source_request_rate: u32,

    /// Which mechanisms are at work; all of them, but in experiments.
    pub mechanisms: Mechanisms,
    /// Time between two probes of this node, in ms; 10 to 60,000. (SWIM: protocol period.)
    pub probe_interval_ms: u64,
    /// The shortest time a probe waits for its ack before helpers are asked, in ms; 1 to 60,000.
    pub probe_timeout_min_ms: u64,
    /// The time a probe waits while nothing is known of the round trip, in ms; at least the shortest.
    pub probe_timeout_unknown_ms: u64,
    /// Helpers asked when a direct probe failed; 0 to [`INDIRECT_PROBE_COUNT_MAX`]. (SWIM: `k`.)
    pub indirect_probe_count: usize,
    /// Smallest suspicion time as a multiple of `log10(members) x probe_interval_ms`, at least one
    /// interval; 0.1 to 100. (Lifeguard: alpha.)
    pub suspicion_min_factor: f64,
    /// Largest suspicion time as a multiple of the smallest; 1 to 100. (Lifeguard: beta.)
    pub suspicion_max_factor: f64,
    /// How long a member accused in one job has with enough accusers, in ms; 1 to 3,600,000. (AD-30.)
    pub job_suspicion_min_ms: u64,
    /// How long it has with a single accuser, in ms; at least the former. (AD-30.)
    pub job_suspicion_max_ms: u64,
    /// How often one update is sent, as a multiple of `log10(members + 1)` rounded up; 1 to 20. (SWIM:
    /// lambda.)
    pub gossip_factor: u32,
    /// Time between two gossip rounds while updates wait, in ms; 10 to 60,000.
    pub gossip_interval_ms: u64,
    /// Peers that one gossip round reaches; 1 to 16.
    pub gossip_fanout: usize,
    /// Time between two table exchanges with a random peer, in ms; 0 switches them off.
    pub sync_interval_ms: u64,
    /// First pause between two attempts to join through the seeds, in ms; doubles up to 32 times as
    /// much while nobody answers. 10 to 60,000.
    pub join_interval_ms: u64,
    /// How long the record of a dead or departed member is kept, in ms, so that late news of it is
    /// recognised as old; at least 1,000.
    pub dead_retention_ms: u64,
    /// How long a gate, a manager, a worker may stay unconfirmed before it is removed, in ms (AD-35).
    pub confirmation_timeout_ms: [u64; 3],
    /// Time between two attempts to confirm a gate or manager, in ms (AD-35); and the longest between two
    /// introductions of a worker.
    pub confirmation_interval_ms: u64,
    /// How many attempts are made to confirm a gate, a manager, a worker (AD-35: workers none).
    pub confirmation_attempts: [u8; 3],

    /// The largest state of a host that is sent or accepted, in bytes; at most [`STATE_SIZE_MAX`].
    pub state_size_max: u32,
    /// How jobs are timed, on gates and managers (AD-34).
    pub jobs: JobsConfig,
    /// How managers elect their leader, and how gates watch datacenters (AD-33).
    pub federation: FederationConfig,
    /// How a gate routes jobs to datacenters (AD-36).
    pub routing: RouterConfig,
    /// Most members remembered, dead ones and this node included; 2 to [`MEMBER_CAPACITY_MAX`]. When full,
    /// the longest departed or dead record makes room; when all are active a newcomer is refused and counted.
    pub member_capacity: u32,
    /// Most senders whose keys are remembered; 2 to 1,048,576. When full the longest silent one makes room.
    pub session_capacity: u32,
    /// Most datagrams waiting to be sent; 16 to 1,048,576. When full the newest is dropped and counted.
    pub transmit_capacity: u32,
    /// Most events waiting for the host; 16 to 1,048,576. When full the newest is dropped and counted, and
    /// the host is told with [`Event::Overflow`](crate::Event::Overflow).
    pub event_capacity: u32,
    /// Most probes in flight, this node's own and those it makes for others; 16 to 65,536.
    pub probe_capacity: u32,
}

impl Config {
    /// The defaults for a node at this address, with one secret. They suit a local network and up to a
    /// few thousand nodes; a wide-area cluster works with them too, because probe timeouts follow
    /// the measured round trips.
    pub fn new(advertise: Address, secret: Secret) -> Config {
        Config {
            advertise,
            generation: Generation(0),
            role: Role::Manager,
            datacenter: DatacenterName::from_bytes(b"default").expect("a plain word is a name"),
            secrets: vec![secret],
            wire_format: WireFormat::Native,
            source_request_rate: 2_000,
            mechanisms: Mechanisms::ALL,
            probe_interval_ms: 400,
            probe_timeout_min_ms: 100,
            probe_timeout_unknown_ms: 400,
            indirect_probe_count: 3,
            suspicion_min_factor: 1.5,
            suspicion_max_factor: 6.0,
            job_suspicion_min_ms: 1_000,
            job_suspicion_max_ms: 10_000,
            gossip_factor: 4,
            gossip_interval_ms: 100,
            gossip_fanout: 3,
            sync_interval_ms: 10_000,
            join_interval_ms: 250,
            dead_retention_ms: 600_000,
            confirmation_timeout_ms: [120_000, 90_000, 180_000],
            confirmation_interval_ms: 5_000,
            confirmation_attempts: [5, 3, 0],
            state_size_max: 16_384,
            jobs: JobsConfig::default(),
            federation: FederationConfig::default(),
            routing: RouterConfig::default(),
            member_capacity: 16_384,
            session_capacity: 4_096,
            transmit_capacity: 1_024,
            event_capacity: 4_096,
            probe_capacity: 256,
        }
    }

    /// Says whether the engine can run with this.
    ///
    /// # Errors
    /// The first setting that is out of its range, with its name, value and range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.advertise.is_reachable() {
            return Err(ConfigError::Advertise { address: self.advertise });
        }
        if self.secrets.is_empty() || self.secrets.len() > SECRET_COUNT_MAX {
            return Err(ConfigError::SecretCount { count: self.secrets.len() });
        }
        let millis = |duration: u64| duration as f64;
        let [gate, manager, worker] = self.confirmation_timeout_ms;
        let ranges = [
            ("probe_interval_ms", millis(self.probe_interval_ms), 10.0, 60_000.0),
            ("probe_timeout_min_ms", millis(self.probe_timeout_min_ms), 1.0, 60_000.0),
            (
                "probe_timeout_unknown_ms",
                millis(self.probe_timeout_unknown_ms),
                millis(self.probe_timeout_min_ms),
                60_000.0,
            ),
            (
                "indirect_probe_count",
                self.indirect_probe_count as f64,
                0.0,
                INDIRECT_PROBE_COUNT_MAX as f64,
            ),
            ("suspicion_min_factor", self.suspicion_min_factor, 0.1, 100.0),
            ("suspicion_max_factor", self.suspicion_max_factor, 1.0, 100.0),
            ("job_suspicion_min_ms", millis(self.job_suspicion_min_ms), 1.0, 3_600_000.0),
            (
                "job_suspicion_max_ms",
                millis(self.job_suspicion_max_ms),
                millis(self.job_suspicion_min_ms),
                3_600_000.0,
            ),
            ("gossip_factor", f64::from(self.gossip_factor), 1.0, 20.0),
            ("gossip_interval_ms", millis(self.gossip_interval_ms), 10.0, 60_000.0),
            ("gossip_fanout", self.gossip_fanout as f64, 1.0, 16.0),
            ("sync_interval_ms", millis(self.sync_interval_ms), 0.0, 3_600_000.0),
            ("join_interval_ms", millis(self.join_interval_ms), 10.0, 60_000.0),
            ("dead_retention_ms", millis(self.dead_retention_ms), 1_000.0, 1e12),
            ("confirmation_timeout_ms of gates", millis(gate), 100.0, 1e12),
            ("confirmation_timeout_ms of managers", millis(manager), 100.0, 1e12),
            ("confirmation_timeout_ms of workers", millis(worker), 100.0, 1e12),
            ("confirmation_interval_ms", millis(self.confirmation_interval_ms), 10.0, 3_600_000.0),
            ("state_size_max", f64::from(self.state_size_max), 0.0, f64::from(STATE_SIZE_MAX)),
            (
                "member_capacity",
                f64::from(self.member_capacity),
                2.0,
                f64::from(MEMBER_CAPACITY_MAX),
            ),
            ("session_capacity", f64::from(self.session_capacity), 2.0, 1_048_576.0),
            ("transmit_capacity", f64::from(self.transmit_capacity), 16.0, 1_048_576.0),
            ("event_capacity", f64::from(self.event_capacity), 16.0, 1_048_576.0),
            ("source_request_rate", f64::from(self.source_request_rate), 10.0, 1e7),
            ("probe_capacity", f64::from(self.probe_capacity), 16.0, 65_536.0),
        ];
        for (setting, value, min, max) in ranges {
            // A NaN is in no range, so the comparison is written the way that refuses it.
            if !(min..=max).contains(&value) {
                return Err(ConfigError::OutOfRange { setting, value, min, max });
            }
        }
        self.jobs.check()?;
        self.federation.check()?;
        self.routing.check()
    }

    /// [`Config::probe_interval_ms`] as a duration.
    pub fn probe_interval(&self) -> Duration {
        Duration::from_millis(self.probe_interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let secret = Secret::new(*b"sixteen bytes ok").unwrap();
        Config::new("127.0.0.1:9000".parse().unwrap(), secret)
    }

    #[test]
    fn defaults_pass() {
        config().check().unwrap();
    }

    #[test]
    fn refuses_with_name_value_and_range() {
        let mut broken = config();
        broken.probe_interval_ms = 5;
        assert_eq!(
            broken.check().unwrap_err().to_string(),
            "probe_interval_ms is 5, expected 10 to 60000"
        );
        let mut broken = config();
        broken.suspicion_min_factor = f64::NAN;
        assert!(broken.check().is_err());
        let mut broken = config();
        broken.advertise = "0.0.0.0:9000".parse().unwrap();
        assert!(matches!(broken.check(), Err(ConfigError::Advertise { .. })));
        let mut broken = config();
        broken.secrets.clear();
        assert!(matches!(broken.check(), Err(ConfigError::SecretCount { count: 0 })));
    }

    #[test]
    fn secrets_have_a_size_and_do_not_print() {
        assert!(Secret::new(*b"too short").is_err());
        assert!(Secret::new(vec![1; 257]).is_err());
        let secret = Secret::new(*b"sixteen bytes ok").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(16 bytes)");
    }
}
