//! Decisions and scores recorded from hyperscale's own routing classes, reproduced by the router.
//!
//! The vectors hold a set of candidates and what the classes made of it for a job they had not
//! seen: exclusions, primary bucket, scores, primaries, fallbacks. `ScoringConfig::hyperscale()` is
//! used because those classes apply a preference in every bucket, where the default keeps it within
//! the primary one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use shoal_core::routing::{
    CircuitState, DatacenterCandidate, DatacenterHealth, DatacenterId, Datacenters, Decision,
    FilterConfig, JobId, ManagerCandidate, ManagerChoice, Ranked, Reason, Router, RouterConfig,
    ScoringConfig,
};
use shoal_core::{Address, Instant, Rtt};

const NOW: Instant = Instant::from_millis(1_000_000);
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct RoutingVector {
    candidates: Vec<RecordedDatacenter>,
    preferred: Vec<String>,
    excluded: BTreeMap<String, String>,
    primary_bucket: Option<String>,
    scores: BTreeMap<String, f64>,
    primary: Vec<String>,
    fallback: Vec<String>,
}

#[derive(Deserialize)]
struct RecordedDatacenter {
    datacenter_id: String,
    health_bucket: String,
    available_cores: u32,
    total_cores: u32,
    queue_depth: u32,
    circuit_breaker_pressure: f64,
    rtt_ucb_ms: f64,
    coordinate_quality: f64,
    total_managers: u32,
    healthy_managers: u32,
    health_severity_weight: f64,
}

impl RecordedDatacenter {
    fn candidate(&self, datacenter: DatacenterId) -> DatacenterCandidate {
        let matches =
            |health: &DatacenterHealth| self.health_bucket.eq_ignore_ascii_case(health.name());
        DatacenterCandidate {
            health: DatacenterHealth::ALL.into_iter().find(matches).expect("a known bucket"),
            available_cores: self.available_cores,
            total_cores: self.total_cores,
            queue_depth: self.queue_depth,
            manager_count: self.total_managers,
            usable_manager_count: self.healthy_managers,
            circuit_pressure: self.circuit_breaker_pressure,
            severity: self.health_severity_weight,
            rtt: Some(rtt(self.rtt_ucb_ms, self.coordinate_quality)),
            ..DatacenterCandidate::new(datacenter, NOW)
        }
    }
}

#[derive(Deserialize)]
struct ManagerVector {
    manager: RecordedManager,
    score: f64,
}

#[derive(Deserialize)]
struct RecordedManager {
    available_cores: u32,
    total_cores: u32,
    queue_depth: u32,
    circuit_state: String,
    rtt_ucb_ms: f64,
    coordinate_quality: f64,
}

fn rtt(upper_ms: f64, quality: f64) -> Rtt {
    Rtt { ms: upper_ms, upper_ms, quality }
}

fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the vectors are in the repository");
    serde_json::from_str(&text).expect("the vectors have the form described here")
}

fn assert_close(actual: f64, expected: f64, what: &str) {
    let error = (actual - expected).abs() / expected.abs();
    assert!(error <= TOLERANCE, "{what}: {actual} is not {expected}");
}

#[test]
fn decisions_as_recorded() {
    let vectors: Vec<RoutingVector> = read("routing.json");
    assert_eq!(vectors.len(), 80);
    let config = RouterConfig { scoring: ScoringConfig::hyperscale(), ..RouterConfig::default() };
    let mut router = Router::new(config, 1).unwrap();
    let mut names = Datacenters::new(64);
    let mut decision = Decision::default();
    for (number, vector) in vectors.iter().enumerate() {
        let mut intern = |name: &str| names.intern(name.parse().unwrap()).unwrap();
        let recorded = vector.candidates.iter();
        let candidates: Vec<_> =
            recorded.map(|one| one.candidate(intern(&one.datacenter_id))).collect();
        let preferred: Vec<_> = vector.preferred.iter().map(|name| intern(name)).collect();
        let job = JobId::from(number as u128);
        router.route(NOW, job, &candidates, &preferred, &mut decision).unwrap();

        let name = |id: DatacenterId| names.name(id).unwrap().to_string();
        let list = |ranked: &Ranked| name(ranked.datacenter);
        assert_eq!(decision.primaries().map(list).collect::<Vec<_>>(), vector.primary, "{number}");
        assert_eq!(decision.fallbacks().map(list).collect::<Vec<_>>(), vector.fallback, "{number}");
        let bucket = decision.bucket().map(|bucket| bucket.name().to_uppercase());
        assert_eq!(bucket, vector.primary_bucket, "{number}");
        let excluded = decision.excluded().iter();
        let excluded: BTreeMap<_, _> =
            excluded.map(|one| (name(one.datacenter), one.reason.name().to_owned())).collect();
        assert_eq!(excluded, vector.excluded, "{number}");
        assert_eq!(decision.ranked().len(), vector.scores.len(), "{number}");
        for ranked in decision.ranked() {
            let name = name(ranked.datacenter);
            assert_close(ranked.score.value(), vector.scores[&name], &format!("{number} {name}"));
        }
        let first = if bucket.is_some() { Reason::InitialSelection } else { Reason::NoCandidate };
        assert_eq!(decision.reason(), first);
    }
}

#[test]
fn the_default_differs_only_by_preference_in_the_fallback_chain() {
    let vectors: Vec<RoutingVector> = read("routing.json");
    let mut router = Router::new(RouterConfig::default(), 1).unwrap();
    let mut names = Datacenters::new(64);
    let mut decision = Decision::default();
    let mut different = 0;
    for (number, vector) in vectors.iter().enumerate() {
        let mut intern = |name: &str| names.intern(name.parse().unwrap()).unwrap();
        let recorded = vector.candidates.iter();
        let candidates: Vec<_> =
            recorded.map(|one| one.candidate(intern(&one.datacenter_id))).collect();
        let preferred: Vec<_> = vector.preferred.iter().map(|name| intern(name)).collect();
        let job = JobId::from(number as u128);
        router.route(NOW, job, &candidates, &preferred, &mut decision).unwrap();
        for ranked in decision.ranked() {
            let name = names.name(ranked.datacenter).unwrap().to_string();
            let outside = Some(ranked.bucket) != decision.bucket();
            let factor = if ranked.is_preferred && outside { 0.9 } else { 1.0 };
            different += usize::from(factor < 1.0);
            assert_close(ranked.score.value() * factor, vector.scores[&name], &name);
        }
    }
    assert!(different > 0, "the vectors show the difference");
}

#[test]
fn manager_scores_as_recorded() {
    let vectors: Vec<ManagerVector> = read("manager_scores.json");
    assert_eq!(vectors.len(), 60);
    let port = |index: usize| -> Address { format!("10.0.0.1:{}", 9_000 + index).parse().unwrap() };
    let managers: Vec<_> = vectors
        .iter()
        .enumerate()
        .map(|(index, ManagerVector { manager, .. })| ManagerCandidate {
            circuit: match manager.circuit_state.as_str() {
                "CLOSED" => CircuitState::Closed,
                "HALF_OPEN" => CircuitState::HalfOpen,
                other => panic!("{other} is scored although it is excluded"),
            },
            available_cores: manager.available_cores,
            total_cores: manager.total_cores,
            queue_depth: manager.queue_depth,
            rtt: Some(rtt(manager.rtt_ucb_ms, manager.coordinate_quality)),
            ..ManagerCandidate::new(port(index), NOW)
        })
        .collect();
    let mut choice = ManagerChoice::default();
    let (filter, scoring) = (FilterConfig::default(), ScoringConfig::default());
    choice.rank(NOW, &filter, &scoring, &managers, None).unwrap();
    assert_eq!(choice.ranked().len(), vectors.len());
    for (index, (ranked, vector)) in choice.ranked().iter().zip(&vectors).enumerate() {
        assert_eq!(ranked.address, port(index));
        assert_close(ranked.score.value(), vector.score, &format!("manager {index}"));
    }
    let chain: Vec<_> = choice.chain().map(|ranked| ranked.score.value()).collect();
    assert!(chain.is_sorted());
}
