//! Jobs that end in time, whoever fails: real engines, real membership, and everything wrong at once.
//!
//! Each run draws a [`Plan`]: datacenters with their managers, two gates, jobs that work, hang, ask for more
//! time or finish, and a minute of lost datagrams, cut networks, crashed leaders and gates, leaders and gates
//! replaced without knowing it. Beside the engines stands the [truth] about every job, against which all
//! that nodes tell is judged the moment they tell it. Then everything heals: every decision has to
//! arrive, every job has to end, and nothing may be remembered. (AD-34, part 7.)

pub mod plan;
pub mod truth;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shoal_core::Duration;
use shoal_core::jobs::JobEvent;
use shoal_core::random::Random;

pub use crate::swarm::Narrator;
pub use plan::Plan;

use world::World;

/// What a run without a broken rule has to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What decided everything.
    pub seed: u64,
    /// How many gates and managers.
    pub nodes: u32,
    /// How many jobs.
    pub jobs: usize,
    /// How long it took on the clock of the cluster.
    pub virtual_time: Duration,
    /// Datagrams that engines have been given.
    pub datagrams: u64,
    /// How often each thing happened: timeouts by reason, decisions, elections and so on.
    pub counts: BTreeMap<&'static str, u64>,
    /// Everything that nodes told of jobs, in order.
    pub told: Vec<Telling>,
    /// A digest of all that was sent and told.
    pub trace_hash: u64,
}

/// Something that a node told its host about a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Telling {
    /// When, from the moment the plan begins.
    pub at: Duration,
    /// Which node.
    pub node: u32,
    /// What it said.
    pub event: JobEvent,
}

/// A run that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What decided everything.
    pub seed: u64,
    /// What happened.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, reason } = self;
        write!(formatter, "{reason}\nreplay with: shoal simulate --jobs --seed {seed}")
    }
}

impl std::error::Error for Failure {}

/// Runs the plan that this seed decides.
///
/// # Errors
/// What went wrong and the command that shows it again. A panic of an engine is one, too.
pub fn run(seed: u64) -> Result<Outcome, Failure> {
    run_guarded(seed, Plan::draw(&mut Random::new(seed)), None)
}

/// The same, with a line for everything that happens to a job.
///
/// # Errors
/// As [`run`].
pub fn replay(seed: u64, narrator: Narrator) -> Result<Outcome, Failure> {
    run_guarded(seed, Plan::draw(&mut Random::new(seed)), Some(narrator))
}

/// Runs a plan made by hand.
///
/// # Errors
/// As [`run`].
pub fn run_plan(plan: Plan) -> Result<Outcome, Failure> {
    run_guarded(0, plan, None)
}

fn run_guarded(seed: u64, plan: Plan, narrator: Option<Narrator>) -> Result<Outcome, Failure> {
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(plan, seed, narrator).run(seed)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("an engine panicked: {}", text.unwrap_or("without a message")))
    });
    outcome.map_err(|reason| Failure { seed, reason })
}
