//! Shoal's engine: SWIM membership with Lifeguard, Vivaldi coordinates, datacenter routing and job
//! timeouts, as pure state that reads datagrams and writes datagrams.
#![deny(unsafe_code)]

pub mod config;
pub mod coordinate;
mod effects;
pub mod engine;
pub mod error;
pub mod events;
pub mod federation;
pub mod id;
#[cfg(unix)]
pub mod io;
pub mod jobs;
mod membership;
pub mod metrics;
pub mod node;
#[cfg(feature = "planted-faults")]
pub mod planted;
#[cfg(not(feature = "planted-faults"))]
mod planted;
pub mod random;
pub mod routing;
mod slots;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod time;
pub mod timer;
pub mod wire;

pub use config::{Config, Secret, WireFormat};
pub use coordinate::{Coordinate, Rtt};
pub use engine::{Engine, ForeignRequest, JobStanding, Member, Route, Transmit};
pub use error::{CommandError, ConfigError, ForeignError};
pub use events::{Event, ForeignHealth, ForeignMessage, ForeignWorker, MemberEvent};
pub use id::{JobId, WorkerId, WorkflowId};
pub use node::{Address, DatacenterName, Generation, Incarnation, MemberState, Role};
pub use stats::{Counter, Stats};
pub use time::{Duration, Instant};
