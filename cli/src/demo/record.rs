//! What a demo found out: one record that the final table, the JSON object and the report page all
//! read.
//!
//! Instants are milliseconds since the demo began unless a field says otherwise; nodes and
//! datacenters are referred to by their index.

use std::collections::BTreeMap;

use serde::Serialize;

/// Everything a demo found out.
#[derive(Serialize, Clone, Debug, Default)]
pub struct Outcome {
    /// The program's version.
    pub version: &'static str,
    /// What decides delays and jitter.
    pub seed: u64,
    /// How the nodes did I/O: `uring` or `poll`.
    pub backend: &'static str,
    /// How long the demo ran.
    pub duration_ms: f64,
    /// Names of the datacenters.
    pub datacenters: Vec<String>,
    /// The round trips between datacenters that the relay emulates, without access links.
    pub backbone_ms: Vec<Vec<f64>>,
    /// Every node.
    pub nodes: Vec<NodeRecord>,
    /// The phases in order.
    pub phases: Vec<PhaseRecord>,
    /// How the cluster formed.
    pub formation: Formation,
    /// How coordinates converged.
    pub coordinates: Coordinates,
    /// Where jobs went.
    pub routing: Routing,
    /// How the failure was noticed.
    pub detection: Detection,
    /// The job that ran into its timeout.
    pub timeout: JobTimeout,
    /// How the cluster dissolved.
    pub departure: Departure,
    /// What it cost on the wire.
    pub traffic: Traffic,
}

/// One node.
#[derive(Serialize, Clone, Debug, Default)]
pub struct NodeRecord {
    /// Unique, for people: "eu-west manager 1".
    pub name: String,
    /// The same within its datacenter: "manager 1".
    pub label: String,
    /// Its role's name.
    pub role: &'static str,
    /// Its datacenter.
    pub datacenter: usize,
    /// Where peers reach it.
    pub address: String,
    /// Whether the demo killed it.
    pub killed: bool,
    /// When it saw every other node alive.
    pub complete_ms: f64,
    /// Its coordinate at the end of convergence, in milliseconds.
    pub vector_ms: Vec<f64>,
    /// The height of that coordinate, in milliseconds.
    pub height_ms: f64,
    /// Earlier vectors, for the map.
    #[serde(skip)]
    pub trail: Vec<Vec<f64>>,
}

/// One phase.
#[derive(Serialize, Clone, Debug)]
pub struct PhaseRecord {
    /// One word.
    pub name: &'static str,
    /// When it began.
    pub start_ms: f64,
    /// When it ended.
    pub end_ms: f64,
    /// One sentence about what it found.
    pub summary: String,
    /// What was notable on the way.
    pub moments: Vec<Moment>,
}

/// Something notable.
#[derive(Serialize, Clone, Debug)]
pub struct Moment {
    /// When.
    pub at_ms: f64,
    /// What.
    pub text: String,
}

/// How the cluster formed.
#[derive(Serialize, Clone, Debug, Default)]
pub struct Formation {
    /// From the first join until every node saw every other alive.
    pub mesh_ms: f64,
    /// How many views that is: nodes times other nodes.
    pub views: usize,
}

/// How coordinates converged. Errors are relative: 0.05 is five per cent.
#[derive(Serialize, Clone, Debug, Default)]
pub struct Coordinates {
    /// The error over time, of all pairs in different datacenters.
    pub samples: Vec<ErrorSample>,
    /// Every ordered pair at the end.
    pub pairs: Vec<PairRecord>,
    /// Median relative error of predictions between datacenters, from coordinates alone.
    pub median_relative_error: f64,
    /// 90th percentile of it.
    pub p90_relative_error: f64,
    /// Median absolute error of all pairs, in milliseconds.
    pub median_absolute_error_ms: f64,
    /// The share of pairs whose round trip stays within the upper bound that routing uses.
    pub within_bound: f64,
}

/// The prediction error at one time.
#[derive(Serialize, Clone, Copy, Debug)]
pub struct ErrorSample {
    /// When.
    pub at_ms: f64,
    /// Median relative error.
    pub median: f64,
    /// 90th percentile of it.
    pub p90: f64,
}

/// What one node knows about the round trip to another.
#[derive(Serialize, Clone, Copy, Debug)]
pub struct PairRecord {
    /// Who.
    pub from: usize,
    /// About whom.
    pub to: usize,
    /// What the relay emulates, in milliseconds.
    pub actual_ms: f64,
    /// What the two coordinates say, in milliseconds.
    pub predicted_ms: f64,
    /// What the node itself estimates, own measurements included, in milliseconds.
    pub estimate_ms: f64,
    /// The bound that routing uses, in milliseconds.
    pub upper_ms: f64,
}

/// Where jobs went. Tables are by the gate's datacenter, then by the chosen datacenter.
#[derive(Serialize, Clone, Debug, Default)]
pub struct Routing {
    /// Jobs routed before the failure.
    pub before: Vec<Vec<u32>>,
    /// Jobs routed after every gate knew of the failure.
    pub after: Vec<Vec<u32>>,
    /// Jobs over time.
    pub bins: Vec<RoutingBin>,
    /// Median round trip from the gate to the chosen datacenter, before.
    pub median_rtt_ms: f64,
    /// The same for a random choice.
    pub random_median_rtt_ms: f64,
    /// Median round trip after the failure.
    pub median_rtt_after_ms: f64,
    /// Why: the last decision of each gate before the failure, and the first about a job that met a
    /// dead manager.
    pub decisions: Vec<Explained>,
    /// Decisions by the router's reason.
    pub reasons: BTreeMap<&'static str, u32>,
    /// Jobs that were sent to a manager that was dead already.
    pub misdirected: u32,
    /// Of those, the jobs that were routed again to a live manager.
    pub rerouted: u32,
    /// From the failure until the last of them, in milliseconds.
    pub failover_ms: f64,
}

/// A decision of a gate with what it was made of.
#[derive(Serialize, Clone, Debug)]
pub struct Explained {
    /// The job's number.
    pub job: u64,
    /// The datacenter of the gate.
    pub gate: usize,
    /// When it was made.
    pub at_ms: f64,
    /// The router's reason.
    pub reason: &'static str,
    /// Whether round trips were not known well enough, so that capacity decided.
    pub is_bootstrap: bool,
    /// Where the job was before.
    pub previous: Option<usize>,
    /// The manager that got it, a node.
    pub manager: usize,
    /// The datacenters that could take it, in the order in which to try them; the first got it.
    pub weighed: Vec<Weighed>,
    /// Those that could not.
    pub refused: Vec<Refused>,
}

/// A datacenter in a decision. The score is the product of latency, load, doubt and multiplier, and
/// lower is better.
#[derive(Serialize, Clone, Copy, Debug)]
pub struct Weighed {
    /// Which one.
    pub datacenter: usize,
    /// The health bucket it was routed in, which goes before any score.
    pub bucket: &'static str,
    /// The upper bound of the round trip to its leader, in milliseconds.
    pub latency_ms: f64,
    /// How much worse its load made it.
    pub load_factor: f64,
    /// How much worse it made it that the round trip was not surely known.
    pub quality_penalty: f64,
    /// What the job itself made of it: preference, and a failure there.
    pub multiplier: f64,
    /// What ranked it.
    pub score: f64,
    /// Whether it was one of the primaries.
    pub is_primary: bool,
}

/// A datacenter that could not take the job.
#[derive(Serialize, Clone, Copy, Debug)]
pub struct Refused {
    /// Which one.
    pub datacenter: usize,
    /// Why not.
    pub reason: &'static str,
}

/// Jobs routed in a short time.
#[derive(Serialize, Clone, Debug)]
pub struct RoutingBin {
    /// When it began.
    pub at_ms: f64,
    /// Jobs by chosen datacenter.
    pub jobs: Vec<u32>,
}

/// How the failure was noticed. Instants are milliseconds since the failure.
#[derive(Serialize, Clone, Debug, Default)]
pub struct Detection {
    /// Where managers were killed.
    pub datacenter: usize,
    /// When, since the demo began.
    pub at_ms: f64,
    /// What each survivor saw of each victim.
    pub observations: Vec<Observation>,
    /// The first suspicion anywhere.
    pub first_suspect_ms: f64,
    /// The first declaration of death anywhere.
    pub first_dead_ms: f64,
    /// When every survivor had declared every victim dead.
    pub all_dead_ms: f64,
    /// Declarations of death about nodes that were well, in the whole demo.
    pub false_deaths: u32,
}

/// What one survivor saw of one victim. Instants are milliseconds since the failure.
#[derive(Serialize, Clone, Copy, Debug)]
pub struct Observation {
    /// The survivor.
    pub observer: usize,
    /// The victim.
    pub subject: usize,
    /// When it began to suspect; `None` when it learned of the death at once.
    pub suspect_ms: Option<f64>,
    /// When it declared the death or learned of it.
    pub dead_ms: f64,
}

/// The job that ran into its timeout. Instants are milliseconds since its start, but for the start.
#[derive(Serialize, Clone, Debug, Default)]
pub struct JobTimeout {
    /// Its number.
    pub job: u64,
    /// The gate that watched it.
    pub gate: usize,
    /// When it started, since the demo began.
    pub at_ms: f64,
    /// What it was given.
    pub limit_ms: f64,
    /// What its workers were granted on top of that.
    pub extension_ms: f64,
    /// When its gate declared the global timeout.
    pub decided_ms: f64,
    /// When the last manager ended it.
    pub ended_ms: f64,
    /// What became of it in each datacenter.
    pub sites: Vec<JobSite>,
}

/// The job in one datacenter. Instants are milliseconds since its start.
#[derive(Serialize, Clone, Debug)]
pub struct JobSite {
    /// Who led it.
    pub manager: usize,
    /// When workers there were granted more time.
    pub extended_ms: f64,
    /// When it ended.
    pub ended_ms: f64,
}

/// How the cluster dissolved.
#[derive(Serialize, Clone, Debug, Default)]
pub struct Departure {
    /// Nodes that said goodbye.
    pub left: usize,
    /// Departures the last node saw as such.
    pub seen_left: usize,
    /// Departures that anybody took for deaths.
    pub seen_dead: usize,
    /// How long it took.
    pub took_ms: f64,
}

/// What it cost on the wire.
#[derive(Serialize, Clone, Debug, Default)]
pub struct Traffic {
    /// Datagrams that all nodes sent.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The mean rate of one node, in datagrams per second.
    pub datagrams_per_node_second: f64,
    /// Datagrams the relay delivered.
    pub relayed: u64,
    /// The latest that the relay delivered one, in milliseconds.
    pub relay_lateness_max_ms: f64,
}

/// The value below which this share of the values lies; 0 when there are none.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_and_of_no_values() {
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 0.9), 3.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
