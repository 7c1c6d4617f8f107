//! Routing: which datacenter gets a job, and which manager inside it (AD-36, on AD-16, AD-17 and
//! AD-45).
//!
//! A job goes to the best health bucket that has an eligible datacenter; within it to the lowest
//! score, which is the upper bound of the round trip made worse by load and by doubt; and it stays
//! there until there is a reason to move. What the router cannot know it treats with caution, and
//! it says with every decision why.
//!
//! ```text
//! candidates -> filter -> bucket -> scoring | bootstrap -> hysteresis -> fallback -> decision
//!                                      ^                       ^
//!                                   observed            state (per job)
//! ```
//!
//! Each step is a module that can be used alone; [`Router`] puts them together. Nothing here does
//! I/O, reads a clock or decides by chance: the same calls give the same decisions.
//!
//! # A host with its own candidates
//!
//! ```
//! use shoal_core::routing::{
//!     Bucket, DatacenterCandidate, Datacenters, Decision, JobId, Reason, Router, RouterConfig,
//! };
//! use shoal_core::{Duration, Instant, Rtt};
//!
//! // Names become small numbers once.
//! let mut names = Datacenters::new(16);
//! let east = names.intern("east".parse()?)?;
//! let west = names.intern("west".parse()?)?;
//!
//! // What the host knows of its datacenters, by whatever means.
//! let now = Instant::from_millis(1_000);
//! let candidate = |datacenter, upper_ms: f64| DatacenterCandidate {
//!     available_cores: 60,
//!     total_cores: 64,
//!     manager_count: 3,
//!     usable_manager_count: 3,
//!     rtt: Some(Rtt { ms: upper_ms * 0.9, upper_ms, quality: 1.0 }),
//!     ..DatacenterCandidate::new(datacenter, now)
//! };
//! let mut candidates = [candidate(east, 12.0), candidate(west, 70.0)];
//!
//! let mut router = Router::new(RouterConfig::default(), 1)?;
//! let mut decision = Decision::default(); // used again for every job
//! let job = JobId::from_name(b"nightly-load-test");
//! router.route(now, job, &candidates, &[], &mut decision)?;
//! assert_eq!(decision.selected(), Some(east));
//! assert_eq!(decision.reason(), Reason::InitialSelection);
//! assert_eq!(decision.bucket(), Some(Bucket::Healthy));
//!
//! // East runs out of managers: the job moves at once, and the decision says why.
//! candidates[0].usable_manager_count = 0;
//! let later = now + Duration::from_secs(1);
//! router.route(later, job, &candidates, &[], &mut decision)?;
//! assert_eq!(decision.selected(), Some(west));
//! assert_eq!(decision.reason().name(), "exclusion_forced");
//! assert_eq!(decision.excluded()[0].reason.name(), "all_managers_circuit_open");
//! for ranked in decision.primaries() {
//!     let name = names.name(ranked.datacenter).expect("it was interned");
//!     println!("{name}: {:.1} = {:.1} ms x load {:.2}", ranked.score.value(),
//!         ranked.score.latency_ms, ranked.score.load_factor);
//! }
//!
//! // It comes back and is nearer, but only after the hold-down does the job return.
//! candidates[0].usable_manager_count = 3;
//! for (seconds, expected) in [(2, west), (30, west), (31, east)] {
//!     router.route(now + Duration::from_secs(seconds), job, &candidates, &[], &mut decision)?;
//!     assert_eq!(decision.selected(), Some(expected));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bootstrap;
pub mod bucket;
pub mod candidate;
pub mod classification;
pub mod decision;
pub mod directory;
pub mod fallback;
pub mod filter;
pub mod hysteresis;
pub mod managers;
pub mod observed;
pub mod overview;
pub mod router;
pub mod scoring;
pub mod state;

#[cfg(test)]
mod tests;

pub use crate::id::JobId;
pub use bootstrap::{BootstrapConfig, RttSource};
pub use bucket::{Bucket, BucketCounts};
pub use candidate::{CircuitState, DatacenterCandidate, DatacenterId, ManagerCandidate};
pub use classification::{DatacenterHealth, DatacenterSignals, classify};
pub use decision::{Decision, Excluded, Ranked};
pub use directory::{Datacenters, DirectoryFull};
pub use filter::{Exclusion, FilterConfig};
pub use hysteresis::{HysteresisConfig, Reason};
pub use managers::{ManagerChoice, RankedManager};
pub use observed::{Observation, Observed, ObservedConfig, Percentiles};
pub use overview::{Fallback, RoutingOverview};
pub use router::{RouteError, RouteRequest, Router, RouterConfig, RouterStats};
pub use scoring::{Score, ScoringConfig};
pub use state::JobState;

use crate::error::ConfigError;

/// The most candidates one decision ranks: as many as there can be datacenters.
pub const CANDIDATE_COUNT_MAX: usize = crate::config::DATACENTER_COUNT_MAX;

/// A setting with its value, its smallest and its largest legal value.
pub(crate) struct Range(pub &'static str, pub f64, pub f64, pub f64);

/// Refuses the first setting that is out of its range.
pub(crate) fn check_ranges(ranges: &[Range]) -> Result<(), ConfigError> {
    for &Range(setting, value, min, max) in ranges {
        // A NaN is in no range, so the comparison is written the way that refuses it.
        if !(min..=max).contains(&value) {
            return Err(ConfigError::OutOfRange { setting, value, min, max });
        }
    }
    Ok(())
}
