//! What a caller can do wrong. A peer's bad bytes are never an error here: they are counted in
//! [`stats`](crate::stats) and dropped.

use crate::federation::NameLeaderError;
use crate::jobs::JobError;
use crate::node::{Address, Role};
use crate::routing::RouteError;

/// A setting that the engine cannot run with. Nothing was started.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number outside its range.
    #[error("{setting} is {value}, expected {min} to {max}")]
    OutOfRange {
        /// The field's name.
        setting: &'static str,
        /// What it was set to.
        value: f64,
        /// The smallest legal value.
        min: f64,
        /// The largest legal value.
        max: f64,
    },
    /// Peers could not send to the advertised address.
    #[error("cannot advertise {address}: peers need a definite address with a port")]
    Advertise {
        /// The address as configured.
        address: Address,
    },
    /// A secret that is too short to be safe or too long to be meant.
    #[error("the secret has {size} bytes, expected 16 to 256; `shoal keygen` makes one")]
    SecretSize {
        /// Its size in bytes.
        size: usize,
    },
    /// No secret, or more than the key ring holds.
    #[error("{count} secrets, expected 1 to 4")]
    SecretCount {
        /// How many there were.
        count: usize,
    },
}

/// A command that the engine refused. Its state is unchanged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The node has left or is leaving; only a new node can join again.
    #[error("the node is leaving")]
    Leaving,
    /// Nobody can be reached at this address.
    #[error("cannot join through {address}: it needs a definite address with a port")]
    SeedAddress {
        /// The seed as given.
        address: Address,
    },
    /// More seeds than the engine keeps.
    #[error("too many seeds, at most 64 are kept")]
    SeedCount,
    /// The state is larger than the cluster accepts.
    #[error("the state has {size} bytes, at most {size_max} are allowed (state_size_max)")]
    StateSize {
        /// Its size in bytes.
        size: usize,
        /// The configured limit in bytes.
        size_max: usize,
    },
    /// The broadcast does not fit into a datagram.
    #[error("the broadcast has {size} bytes, at most 1024 are allowed")]
    BroadcastSize {
        /// Its size in bytes.
        size: usize,
    },
    /// Too many broadcasts are under way; try again when some have spread.
    #[error("256 broadcasts are under way, try again later")]
    BroadcastQueueFull,
    /// Too many members are accused, in this job or in all; end jobs that are over with `forget_job`.
    #[error("too many members are accused in jobs, at most 1000 in one and 50000 in all")]
    JobSuspicionsFull,
    /// The node has another role than this is for.
    #[error("only a {needed} can do this")]
    Role {
        /// The role it takes.
        needed: Role,
    },
    /// The job cannot be tracked.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The leader cannot be named.
    #[error(transparent)]
    NameLeader(#[from] NameLeaderError),
    /// The candidates cannot be ranked.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The new key ring is not usable.
    #[error("the key ring is not usable: {0}")]
    KeyRing(#[from] ConfigError),
    /// The message to a node of the Python system cannot be sent.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
}

/// Why a message to a node of the Python system is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// The node does not speak the Python node's format.
    #[error("the node speaks the native format only; set wire_format to hyperscale")]
    NativeOnly,
    /// What the engine says by itself is not the host's to say.
    #[error(
        "{name} is sent by the engine itself; a host sends messages of elections and between datacenters"
    )]
    EngineMessage {
        /// The message as given.
        name: &'static str,
    },
    /// Nobody can be reached at this address.
    #[error("cannot send to {address}: it needs a definite address with a port")]
    RecipientAddress {
        /// The recipient as given.
        address: Address,
    },
    /// The pickled body does not fit into a datagram.
    #[error("the body has {size} bytes, at most 1024 are allowed")]
    BodySize {
        /// Its size in bytes.
        size: usize,
    },
    /// Too many messages wait to be sent.
    #[error("64 messages wait to be sent, try again later")]
    QueueFull,
}
