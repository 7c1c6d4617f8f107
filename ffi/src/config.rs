//! How a node or an engine behaves. Call `shoal_config_init`, change fields, pass it to
//! `shoal_node_start` or `shoal_engine_new`. Every default suits a local network and a few
//! thousand nodes, and wide-area clusters too, because timeouts follow the measured round
//! trips; only the secret must be set.

use crate::address::shoal_address;
use crate::call::{Failure, array, check_reserved, fixed_text, guarded, read_text};
use crate::growth::{self, Growing};
use crate::member::{SHOAL_DATACENTER_SIZE, SHOAL_ROLE_MANAGER};
use crate::status::{
    SHOAL_INVALID_SECRET_COUNT, SHOAL_INVALID_SETTING, SHOAL_NULL_POINTER, of_config_error,
    shoal_status,
};
use crate::timeouts_config::shoal_timeouts_config;
use shoal_core::config::{self, SECRET_COUNT_MAX};
use shoal_core::federation::{FederationConfig, LeadershipMode};
use shoal_core::io::BackendChoice;
use shoal_core::jobs::JobsConfig;
use shoal_core::{
    Address, Config, ConfigError, DatacenterName, Generation, Role, Secret, WireFormat,
};
use std::ffi::c_char;
use std::mem::offset_of;

/// The best backend that works here.
pub const SHOAL_BACKEND_AUTO: u32 = 0;
/// io_uring or an error.
pub const SHOAL_BACKEND_URING: u32 = 1;
/// epoll with batched receive and send calls, even where io_uring would work.
pub const SHOAL_BACKEND_POLL: u32 = 2;
/// Shoal's own datagrams.
pub const SHOAL_WIRE_NATIVE: u32 = 0;
/// The datagrams of hyperscale's Python node, so that both kinds form one cluster. Shoal nodes
/// tell each other that they also speak the native ones, and change to them.
pub const SHOAL_WIRE_HYPERSCALE: u32 = 1;
/// Any processor.
pub const SHOAL_CPU_ANY: i32 = -1;
/// How many secrets a node accepts at a time.
pub const SHOAL_SECRET_COUNT_MAX: usize = 4;
/// How many seeds a node can be told to join through.
pub const SHOAL_SEED_COUNT_MAX: usize = 64;
/// The largest datagram that Shoal sends, in bytes.
pub const SHOAL_DATAGRAM_SIZE_MAX: usize = 1400;

const _: () = assert!(SHOAL_WIRE_NATIVE == WireFormat::Native as u32);
const _: () = assert!(SHOAL_WIRE_HYPERSCALE == WireFormat::Hyperscale as u32);
const _: () = assert!(SHOAL_SECRET_COUNT_MAX == SECRET_COUNT_MAX);
const _: () = assert!(SHOAL_SEED_COUNT_MAX == config::SEED_COUNT_MAX);
const _: () = assert!(SHOAL_DATAGRAM_SIZE_MAX == config::DATAGRAM_SIZE_MAX);

/// A shared secret, from which the datagram keys are derived. All nodes of a cluster need a
/// common one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_secret {
    /// The secret.
    pub bytes: *const u8,
    /// Its size in bytes; 16 to 256.
    pub size: usize,
}

/// All settings. What a field means for an engine without socket is the same but where it is
/// said.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_config {
    /// The size of this structure in the program's header, written by `shoal_config_init`.
    pub struct_size: usize,
    /// The secrets, read during the call only. Datagrams are sealed with the first and opened
    /// with any.
    pub secrets: *const shoal_secret,
    /// How many secrets; 1 to `SHOAL_SECRET_COUNT_MAX`.
    pub secret_count: usize,
    /// The address of a node's socket: port 0 takes a free one, "[::]" is reached over IPv6 and
    /// IPv4. Engines ignore it.
    pub bind: shoal_address,
    /// The address that peers send to. A node fills in what is zero from its socket; an engine
    /// needs all of it.
    pub advertise: shoal_address,
    /// Which run of the program this is, larger at every restart. A node puts the wall clock
    /// for 0.
    pub generation: u64,
    /// Where this node runs, NUL terminated: 1 to 31 of the characters A-Z a-z 0-9 - _ .
    pub datacenter: [c_char; SHOAL_DATACENTER_SIZE],
    /// What this node does: a `SHOAL_ROLE_` number.
    pub role: u32,
    /// How a node reads and writes its datagrams: a `SHOAL_BACKEND_` number. Engines ignore it.
    pub backend: u32,
    /// The processor a node's thread stays on, or `SHOAL_CPU_ANY`. Engines ignore it.
    pub cpu: i32,
    /// Helpers asked when a direct probe failed; 0 to 8. (SWIM: k.)
    pub indirect_probe_count: u32,
    /// Time between two probes, in ms; 10 to 60,000. (SWIM: protocol period.)
    pub probe_interval_ms: u64,
    /// The shortest time a probe waits for its ack before helpers are asked, in ms; 1 to
    /// 60,000.
    pub probe_timeout_min_ms: u64,
    /// The time a probe waits while nothing is known of the round trip, in ms.
    pub probe_timeout_unknown_ms: u64,
    /// Smallest suspicion time as a multiple of log10(members) x probe_interval_ms; 0.1 to 100.
    /// (Lifeguard: alpha.)
    pub suspicion_min_factor: f64,
    /// Largest suspicion time as a multiple of the smallest; 1 to 100. (Lifeguard: beta.)
    pub suspicion_max_factor: f64,
    /// How often one update is sent, as a multiple of log10(members + 1); 1 to 20. (SWIM:
    /// lambda.)
    pub gossip_factor: u32,
    /// Peers that one gossip round reaches; 1 to 16.
    pub gossip_fanout: u32,
    /// Time between two gossip rounds while updates wait, in ms; 10 to 60,000.
    pub gossip_interval_ms: u64,
    /// Time between two table exchanges with a random peer, in ms; 0 switches them off.
    pub sync_interval_ms: u64,
    /// First pause between two attempts to join, in ms; doubles up to 32 times as much. 10 to
    /// 60,000.
    pub join_interval_ms: u64,
    /// How long the record of a dead or departed member is kept, in ms; at least 1,000.
    pub dead_retention_ms: u64,
    /// How long a gate, a manager, a worker may stay unconfirmed before it is removed, in ms.
    pub confirmation_timeout_ms: [u64; 3],
    /// Time between two attempts to confirm a gate or manager, in ms.
    pub confirmation_interval_ms: u64,
    /// How many attempts are made to confirm a gate, a manager, a worker; 0 to 255.
    pub confirmation_attempts: [u32; 3],
    /// Most members remembered, dead ones and this node included; 2 to 1,048,576.
    pub member_capacity: u32,
    /// Most senders whose keys are remembered; 2 to 1,048,576.
    pub session_capacity: u32,
    /// Most datagrams waiting to be sent; 16 to 1,048,576.
    pub transmit_capacity: u32,
    /// Most events waiting to be taken; 16 to 1,048,576.
    pub event_capacity: u32,
    /// Most probes in flight; 16 to 65,536.
    pub probe_capacity: u32,
    /// How long a member accused in one job has with enough accusers, in ms; 1 to 3,600,000.
    pub job_suspicion_min_ms: u64,
    /// How long it has with a single accuser, in ms; at least the former.
    pub job_suspicion_max_ms: u64,
    /// How jobs are timed; NULL means the defaults. Read during the call only.
    pub jobs: *const shoal_timeouts_config,
    /// The largest state that is sent or accepted, in bytes; at most 1,048,576.
    pub state_size_max: u32,
    /// The datagrams to begin with, for all nodes of a cluster the same: a `SHOAL_WIRE_` number.
    pub wire_format: u32,
    /// Requests per second that one source may send in hyperscale's format, and how many at
    /// once; 10 to 10,000,000.
    pub source_request_rate: u32,
    /// Zero.
    pub reserved: u32,
    /// How many managers this datacenter is meant to have; 1 to 1,000,000. No majority is counted
    /// out of fewer, so with the right number here two halves of it never both elect a leader.
    pub manager_count_min: u32,
    /// 1 when the program names the leader with `shoal_node_name_leader`, 0 when the managers elect
    /// it. The same for all managers of a datacenter.
    pub has_external_leader: u32,
}

/// Fills in every default. `struct_size` is `sizeof(shoal_config)`: the macro
/// `shoal_config_init(&config)` passes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_config_init_sized(
    config: *mut shoal_config,
    struct_size: usize,
) -> shoal_status {
    // SAFETY: `config` has `struct_size` bytes.
    guarded(|| unsafe { growth::init(config, struct_size) })
}

/// Fills in every default of the first published `shoal_config`. For callers without a
/// preprocessor; C and C++ get the macro of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_config_init(config: *mut shoal_config) -> shoal_status {
    // SAFETY: no published structure is smaller.
    guarded(|| unsafe { growth::init(config, shoal_config::SIZE_FIRST) })
}

// SAFETY: it begins with its size; pointers, integers and floats have no forbidden pattern.
unsafe impl Growing for shoal_config {
    const SIZE_FIRST: usize = offset_of!(shoal_config, wire_format) + size_of::<u32>();

    fn defaults() -> shoal_config {
        defaults()
    }
}

/// The engine's own defaults, so that they are written down once.
fn defaults() -> shoal_config {
    let secret = Secret::new([0; 16]).expect("16 bytes are enough");
    let config = Config::new(Address::UNSPECIFIED, secret);
    shoal_config {
        struct_size: size_of::<shoal_config>(),
        secrets: std::ptr::null(),
        secret_count: 0,
        bind: shoal_address::default(),
        advertise: config.advertise.into(),
        generation: config.generation.0,
        datacenter: fixed_text(config.datacenter.as_bytes()),
        role: config.role as u32,
        backend: SHOAL_BACKEND_AUTO,
        cpu: SHOAL_CPU_ANY,
        indirect_probe_count: config.indirect_probe_count as u32,
        probe_interval_ms: config.probe_interval_ms,
        probe_timeout_min_ms: config.probe_timeout_min_ms,
        probe_timeout_unknown_ms: config.probe_timeout_unknown_ms,
        suspicion_min_factor: config.suspicion_min_factor,
        suspicion_max_factor: config.suspicion_max_factor,
        gossip_factor: config.gossip_factor,
        gossip_fanout: config.gossip_fanout as u32,
        gossip_interval_ms: config.gossip_interval_ms,
        sync_interval_ms: config.sync_interval_ms,
        join_interval_ms: config.join_interval_ms,
        dead_retention_ms: config.dead_retention_ms,
        confirmation_timeout_ms: config.confirmation_timeout_ms,
        confirmation_interval_ms: config.confirmation_interval_ms,
        confirmation_attempts: config.confirmation_attempts.map(u32::from),
        member_capacity: config.member_capacity,
        session_capacity: config.session_capacity,
        transmit_capacity: config.transmit_capacity,
        event_capacity: config.event_capacity,
        probe_capacity: config.probe_capacity,
        job_suspicion_min_ms: config.job_suspicion_min_ms,
        job_suspicion_max_ms: config.job_suspicion_max_ms,
        jobs: std::ptr::null(),
        state_size_max: config.state_size_max,
        wire_format: config.wire_format as u32,
        source_request_rate: config.source_request_rate,
        reserved: 0,
        manager_count_min: config.federation.manager_count_min,
        has_external_leader: 0,
    }
}

impl shoal_config {
    /// The settings as the engine takes them; the engine checks their ranges.
    ///
    /// # Safety
    /// The secrets and the settings of jobs are readable.
    pub(crate) unsafe fn engine_config(&self) -> Result<Config, Failure> {
        check_reserved(&self.reserved.to_ne_bytes(), "shoal_config")?;
        // SAFETY: by the contract of this function.
        let secrets = unsafe { read_secrets(self.secrets, self.secret_count)? };
        let role = u8::try_from(self.role).ok().and_then(Role::from_wire);
        let role = role.ok_or_else(|| out_of_range("role", self.role, SHOAL_ROLE_MANAGER))?;
        let wire_format = read_wire_format(self.wire_format)?;
        let mut confirmation_attempts = [0; 3];
        for (target, &attempts) in confirmation_attempts.iter_mut().zip(&self.confirmation_attempts)
        {
            *target = u8::try_from(attempts)
                .map_err(|_| out_of_range("confirmation_attempts", attempts, 5))?;
        }
        let jobs = if self.jobs.is_null() {
            JobsConfig::default()
        } else {
            // SAFETY: by the contract of this function.
            unsafe { growth::read(self.jobs)?.read()? }
        };
        let mut federation = FederationConfig {
            manager_count_min: self.manager_count_min,
            ..FederationConfig::default()
        };
        federation.leadership = match self.has_external_leader {
            0 => LeadershipMode::Elected,
            1 => LeadershipMode::External,
            other => return Err(out_of_range("has_external_leader", other, 1)),
        };
        let first = secrets.first().expect("an empty list was refused").clone();
        let defaults = Config::new(self.advertise.read()?, first);
        Ok(Config {
            generation: Generation(self.generation),
            role,
            federation,
            datacenter: read_datacenter_name(&self.datacenter)?,
            secrets,
            wire_format,
            source_request_rate: self.source_request_rate,
            probe_interval_ms: self.probe_interval_ms,
            probe_timeout_min_ms: self.probe_timeout_min_ms,
            probe_timeout_unknown_ms: self.probe_timeout_unknown_ms,
            indirect_probe_count: self.indirect_probe_count as usize,
            suspicion_min_factor: self.suspicion_min_factor,
            suspicion_max_factor: self.suspicion_max_factor,
            gossip_factor: self.gossip_factor,
            gossip_interval_ms: self.gossip_interval_ms,
            gossip_fanout: self.gossip_fanout as usize,
            sync_interval_ms: self.sync_interval_ms,
            join_interval_ms: self.join_interval_ms,
            dead_retention_ms: self.dead_retention_ms,
            confirmation_timeout_ms: self.confirmation_timeout_ms,
            confirmation_interval_ms: self.confirmation_interval_ms,
            confirmation_attempts,
            member_capacity: self.member_capacity,
            session_capacity: self.session_capacity,
            transmit_capacity: self.transmit_capacity,
            event_capacity: self.event_capacity,
            probe_capacity: self.probe_capacity,
            state_size_max: self.state_size_max,
            job_suspicion_min_ms: self.job_suspicion_min_ms,
            job_suspicion_max_ms: self.job_suspicion_max_ms,
            jobs,
            ..defaults
        })
    }

    /// The backend of a node.
    pub(crate) fn backend_choice(&self) -> Result<BackendChoice, Failure> {
        read_backend(self.backend)
    }

    /// The processor of a node.
    pub(crate) fn processor(&self) -> Result<Option<usize>, Failure> {
        read_processor(self.cpu)
    }
}

pub(crate) fn read_backend(backend: u32) -> Result<BackendChoice, Failure> {
    match backend {
        SHOAL_BACKEND_AUTO => Ok(BackendChoice::Auto),
        SHOAL_BACKEND_URING => Ok(BackendChoice::Uring),
        SHOAL_BACKEND_POLL => Ok(BackendChoice::Poll),
        _ => Err(out_of_range("backend", backend, SHOAL_BACKEND_AUTO)),
    }
}

fn read_wire_format(format: u32) -> Result<WireFormat, Failure> {
    match format {
        SHOAL_WIRE_NATIVE => Ok(WireFormat::Native),
        SHOAL_WIRE_HYPERSCALE => Ok(WireFormat::Hyperscale),
        _ => Err(out_of_range("wire_format", format, SHOAL_WIRE_HYPERSCALE)),
    }
}

pub(crate) fn read_processor(cpu: i32) -> Result<Option<usize>, Failure> {
    match cpu {
        SHOAL_CPU_ANY => Ok(None),
        _ => usize::try_from(cpu).map(Some).map_err(|_| out_of_range("cpu", cpu, SHOAL_CPU_ANY)),
    }
}

/// The secrets of a program.
///
/// # Safety
/// `secrets` is NULL or points to `count` secrets, and each of them to its bytes.
pub(crate) unsafe fn read_secrets(
    secrets: *const shoal_secret,
    count: usize,
) -> Result<Vec<Secret>, Failure> {
    if count == 0 || count > SHOAL_SECRET_COUNT_MAX {
        let detail = ConfigError::SecretCount { count }.to_string();
        return Err(Failure::new(SHOAL_INVALID_SECRET_COUNT, detail));
    }
    // SAFETY: by the contract of this function.
    let secrets = unsafe { array(secrets, count, "secrets")? };
    let read = |secret: &shoal_secret| {
        let refused = |error: ConfigError| Failure::new(of_config_error(&error), error.to_string());
        if secret.size > config::SECRET_SIZE_MAX {
            return Err(refused(ConfigError::SecretSize { size: secret.size }));
        }
        // SAFETY: by the contract of this function.
        let bytes = unsafe { array(secret.bytes, secret.size, "the bytes of a secret")? };
        Secret::new(bytes).map_err(refused)
    };
    secrets.iter().map(read).collect()
}

/// The name in a fixed array.
pub(crate) fn read_datacenter_name(
    name: &[c_char; SHOAL_DATACENTER_SIZE],
) -> Result<DatacenterName, Failure> {
    let bytes = name.map(|character| character as u8);
    let size = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    DatacenterName::from_bytes(&bytes[..size]).ok_or_else(invalid_datacenter)
}

/// The name in a C string.
///
/// # Safety
/// `name` is NULL or a C string.
pub(crate) unsafe fn read_datacenter_text(name: *const c_char) -> Result<DatacenterName, Failure> {
    if name.is_null() {
        return Err(Failure::new(SHOAL_NULL_POINTER, "datacenter is NULL"));
    }
    // SAFETY: by the contract of this function.
    let bytes = unsafe { read_text(name, SHOAL_DATACENTER_SIZE) };
    bytes.and_then(DatacenterName::from_bytes).ok_or_else(invalid_datacenter)
}

fn invalid_datacenter() -> Failure {
    let detail = "datacenter needs 1 to 31 of the characters A-Z a-z 0-9 - _ .";
    Failure::new(SHOAL_INVALID_SETTING, detail)
}

fn out_of_range(
    setting: &str,
    value: impl std::fmt::Display,
    usual: impl std::fmt::Display,
) -> Failure {
    Failure::new(SHOAL_INVALID_SETTING, format!("{setting} cannot be {value}, usual is {usual}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 16] = *b"sixteen bytes ok";

    fn with_secret(secret: &shoal_secret) -> shoal_config {
        let advertise = "127.0.0.1:9000".parse::<Address>().unwrap().into();
        shoal_config { secrets: secret, secret_count: 1, advertise, ..defaults() }
    }

    #[test]
    fn defaults_are_the_engine_s() {
        let secret = shoal_secret { bytes: SECRET.as_ptr(), size: SECRET.len() };
        // SAFETY: the secret is readable.
        let read = unsafe { with_secret(&secret).engine_config() }.unwrap();
        let own = Config::new("127.0.0.1:9000".parse().unwrap(), Secret::new(SECRET).unwrap());
        assert_eq!(format!("{read:?}"), format!("{own:?}"));
        read.check().unwrap();
    }

    #[test]
    fn what_the_engine_cannot_be_told_is_refused() {
        let secret = shoal_secret { bytes: SECRET.as_ptr(), size: SECRET.len() };
        let good = with_secret(&secret);
        let short = shoal_secret { size: 15, ..secret };
        let huge = shoal_secret { size: usize::MAX, ..secret };
        let null = shoal_secret { bytes: std::ptr::null(), size: 16 };
        let mut address = good.advertise;
        address.reserved[0] = 1;
        let broken = [
            shoal_config { secret_count: 0, ..good },
            shoal_config { secret_count: usize::MAX, ..good },
            shoal_config { secrets: std::ptr::null(), ..good },
            shoal_config { secrets: &short, ..good },
            shoal_config { secrets: &huge, ..good },
            shoal_config { secrets: &null, ..good },
            shoal_config { reserved: 1, ..good },
            shoal_config { role: 0, ..good },
            shoal_config { role: 257, ..good },
            shoal_config { datacenter: [0; SHOAL_DATACENTER_SIZE], ..good },
            shoal_config { datacenter: [b'x' as c_char; SHOAL_DATACENTER_SIZE], ..good },
            shoal_config { confirmation_attempts: [0, 0, 256], ..good },
            shoal_config { advertise: address, ..good },
        ];
        for config in broken {
            // SAFETY: the secrets are readable where the engine would read them.
            unsafe { config.engine_config() }.unwrap_err();
        }
        shoal_config { backend: 3, ..good }.backend_choice().unwrap_err();
        shoal_config { cpu: -2, ..good }.processor().unwrap_err();
        assert_eq!(shoal_config { cpu: 1, ..good }.processor().unwrap(), Some(1));
    }
}
