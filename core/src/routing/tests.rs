//! The pipeline as a whole: the defects of the Python router with their right behaviour, and
//! properties that hold for every decision over random worlds.

use super::hysteresis::Scale;
use super::*;
use crate::coordinate::Rtt;
use crate::node::Address;
use crate::random::Random;
use crate::time::{Duration, Instant};

const START: Instant = Instant::from_millis(10_000_000);

fn id(index: usize) -> DatacenterId {
    DatacenterId::from_index(index).unwrap()
}

fn at(seconds: u64) -> Instant {
    START + Duration::from_secs(seconds)
}

fn rtt(upper_ms: f64) -> Option<Rtt> {
    Some(Rtt { ms: upper_ms, upper_ms, quality: 1.0 })
}

/// A healthy, almost idle datacenter.
fn candidate(index: usize, upper_ms: Option<f64>) -> DatacenterCandidate {
    DatacenterCandidate {
        available_cores: 100,
        total_cores: 100,
        manager_count: 3,
        usable_manager_count: 3,
        rtt: upper_ms.and_then(rtt),
        ..DatacenterCandidate::new(id(index), START)
    }
}

/// A router with one job and candidates whose health is never stale.
struct Gate {
    router: Router,
    decision: Decision,
    job: JobId,
}

impl Gate {
    fn new() -> Gate {
        Gate::with(RouterConfig::default())
    }

    fn with(config: RouterConfig) -> Gate {
        let router = Router::new(config, 1).unwrap();
        Gate { router, decision: Decision::default(), job: JobId::from(1) }
    }

    fn route(&mut self, seconds: u64, candidates: &[DatacenterCandidate]) -> (usize, Reason) {
        self.route_preferring(seconds, candidates, &[])
    }

    fn route_preferring(
        &mut self,
        seconds: u64,
        candidates: &[DatacenterCandidate],
        preferred: &[DatacenterId],
    ) -> (usize, Reason) {
        let now = at(seconds);
        let fresh: Vec<_> =
            candidates.iter().map(|c| DatacenterCandidate { updated_at: now, ..*c }).collect();
        self.router.route(now, self.job, &fresh, preferred, &mut self.decision).unwrap();
        let selected = self.decision.selected().expect("somebody is eligible");
        (selected.index(), self.decision.reason())
    }

    fn chain(&self) -> Vec<usize> {
        self.decision.chain().map(|ranked| ranked.datacenter.index()).collect()
    }

    fn ranked(&self, index: usize) -> Ranked {
        let mut all = self.decision.chain();
        *all.find(|ranked| ranked.datacenter == id(index)).expect("it is eligible")
    }
}

#[test]
fn defect_r1_a_missing_coordinate_neither_wins_nor_excludes() {
    let mut gate = Gate::new();
    // A converged near datacenter whose upper bound is twice the cautious default.
    let near = candidate(0, Some(201.0));
    let unknown = candidate(1, None);
    assert_eq!(gate.route(0, &[unknown, near]).0, 0);
    assert_eq!(gate.chain(), [0, 1], "it stays in the chain");
    assert!(!gate.ranked(1).rtt_known);
    assert!(gate.ranked(1).score.latency_ms >= 201.0);
    // Load does not change that for a datacenter that really is near.
    let loaded = DatacenterCandidate {
        available_cores: 1,
        queue_depth: 10_000,
        circuit_pressure: 1.0,
        ..candidate(0, Some(40.0))
    };
    let mut gate = Gate::new();
    assert_eq!(gate.route(0, &[unknown, loaded]).0, 0);
}

#[test]
fn defect_r2_the_hysteresis_decision_is_the_decision() {
    let mut gate = Gate::new();
    let with = |a, b| [candidate(0, Some(a)), candidate(1, Some(b))];
    assert_eq!(gate.route(0, &with(50.0, 60.0)), (0, Reason::InitialSelection));
    // Two datacenters that take turns at being slightly better: the job stays and says so.
    for second in 1..120 {
        let (a, b) = if second % 2 == 0 { (50.0, 55.0) } else { (55.0, 50.0) };
        let (selected, reason) = gate.route(second, &with(a, b));
        assert_eq!(selected, 0, "{second} s: {reason}");
        assert_eq!(gate.chain(), [0, 1], "the chain starts with the choice, not with the best");
        assert!(reason.is_retained());
    }
    // A bucket drop of the present choice is seen although the best is somebody else.
    let mut dropped = with(50.0, 60.0);
    dropped[0].health = DatacenterHealth::Busy;
    assert_eq!(gate.route(121, &dropped), (1, Reason::BucketDropForced));
    assert_eq!(gate.decision.previous(), Some(id(0)));
    assert!(gate.decision.switched());
    // The present choice degrades while the best stays as it was.
    assert_eq!(gate.route(122, &with(75.0, 91.0)), (1, Reason::HoldDownRetained));
    assert_eq!(gate.route(132, &with(75.0, 91.0)), (0, Reason::DegradationForced));
    // The best degrades while the present choice stays as it was: nothing happens.
    assert_eq!(gate.route(133, &with(75.0, 500.0)), (0, Reason::BestRetained));
}

#[test]
fn defect_r3_observations_survive_a_missing_coordinate() {
    let mut gate = Gate::new();
    for _ in 0..10 {
        gate.router.record_latency(START, id(1), 4_000.0);
        gate.router.record_latency(START, id(2), 1_000.0);
    }
    let candidates = [candidate(0, Some(30.0)), candidate(1, None), candidate(2, None)];
    gate.route(0, &candidates);
    assert_eq!(gate.chain(), [0, 2, 1], "what was seen of jobs orders the unknown ones");
    let (slow, fast) = (gate.ranked(1).score.latency_ms, gate.ranked(2).score.latency_ms);
    assert!(slow > 100.0 && fast < 100.0, "{slow} {fast}: neither is the plain stand-in");
}

#[test]
fn defect_r5_a_failure_counts_against_the_best_in_bootstrap_too() {
    let mut gate = Gate::new();
    gate.router.set_rtt_source(RttSource::Predicted { sample_count: 0, error: 1.5 });
    let with_free = |index, available_cores| DatacenterCandidate {
        available_cores,
        ..candidate(index, Some(10.0))
    };
    let candidates = [with_free(0, 100), with_free(1, 60), with_free(2, 5)];
    assert_eq!(gate.route(0, &candidates), (0, Reason::InitialSelection));
    assert!(gate.decision.is_bootstrap());
    gate.router.record_failure(at(1), gate.job, id(0));
    assert_eq!(gate.route(1, &candidates), (1, Reason::CooldownPenalty));
    assert_eq!(gate.chain(), [1, 2, 0], "the one that failed comes last");
    assert!(gate.ranked(0).is_cooling);
    assert_eq!(gate.ranked(0).score.value(), 2.0);
}

#[test]
fn defect_r6_leaving_bootstrap_moves_nobody_by_itself() {
    let mut gate = Gate::new();
    let candidates = [candidate(0, Some(80.0)), candidate(1, Some(70.0))];
    gate.router.set_rtt_source(RttSource::Predicted { sample_count: 9, error: 0.1 });
    assert_eq!(gate.route(0, &candidates).0, 0);
    gate.router.set_rtt_source(RttSource::Predicted { sample_count: 10, error: 0.1 });
    for second in [1, 11, 31, 60] {
        let (selected, reason) = gate.route(second, &candidates);
        assert_eq!(selected, 0, "{second} s: {reason}");
        assert!(!gate.decision.is_bootstrap());
    }
    // A clear improvement in milliseconds still counts.
    let clear = [candidate(0, Some(80.0)), candidate(1, Some(60.0))];
    assert_eq!(gate.route(61, &clear), (1, Reason::ImprovementThresholdMet));
}

#[test]
fn defect_r7_job_seconds_are_never_mixed_with_round_trips() {
    // Jobs take half a minute in the near datacenter, and nobody has used the far one yet.
    let mut gate = Gate::new();
    (0..20).for_each(|_| gate.router.record_latency(START, id(0), 30_000.0));
    let candidates = [candidate(0, Some(20.0)), candidate(1, Some(60.0))];
    assert_eq!(gate.route(0, &candidates).0, 0);
    assert_eq!(gate.ranked(0).score.latency_ms, 20.0);
    // The example of AD-45: the nearer datacenter takes three times as long for the same jobs.
    let mut gate = Gate::new();
    for _ in 0..20 {
        gate.router.record_latency(START, id(0), 2_500.0);
        gate.router.record_latency(START, id(1), 800.0);
    }
    assert_eq!(gate.route(0, &[candidate(0, Some(45.0)), candidate(1, Some(80.0))]).0, 1);
}

#[test]
fn defect_r8_what_is_recorded_is_observed() {
    let mut gate = Gate::new();
    let (router, job) = (&mut gate.router, gate.job);
    router.record_dispatch(at(0), job, id(3));
    router.record_dispatch(at(1), job, id(4));
    assert_eq!(router.record_completion(at(2), job, id(3), true), Some(2_000.0));
    assert_eq!(router.record_completion(at(2), job, id(3), true), None, "it ended once");
    assert_eq!(router.record_completion(at(9), job, id(4), false), None, "a failure is no sample");
    let observation = router.observed().observation(at(2), id(3)).unwrap();
    assert_eq!((observation.mean_ms, observation.sample_count), (2_000.0, 1));
    assert_eq!(router.observed().observation(at(2), id(4)), None);
    assert_eq!(router.record_completion(at(9), JobId::from(77), id(3), true), None);
}

#[test]
fn cooldown_ends_and_the_job_returns_only_for_a_clear_gain() {
    let mut gate = Gate::new();
    let candidates = [candidate(0, Some(50.0)), candidate(1, Some(60.0))];
    gate.route(0, &candidates);
    gate.router.record_failure(at(1), gate.job, id(0));
    assert_eq!(gate.route(1, &candidates), (1, Reason::CooldownPenalty));
    assert_eq!(gate.ranked(0).score.multiplier, 2.0);
    assert_eq!(gate.route(121, &candidates), (1, Reason::ThresholdRetained));
    assert_eq!(gate.ranked(0).score.multiplier, 1.0);
    // A failure far away from the alternatives is a penalty, not an exclusion.
    let mut gate = Gate::new();
    let candidates = [candidate(0, Some(10.0)), candidate(1, Some(100.0))];
    gate.route(0, &candidates);
    gate.router.record_failure(at(1), gate.job, id(0));
    assert_eq!(gate.route(1, &candidates), (0, Reason::BestRetained));
}

#[test]
fn exclusion_and_return() {
    let mut gate = Gate::new();
    let mut candidates = [candidate(0, Some(50.0)), candidate(1, Some(60.0))];
    gate.route(0, &candidates);
    candidates[0].health = DatacenterHealth::Unhealthy;
    assert_eq!(gate.route(1, &candidates), (1, Reason::ExclusionForced));
    let reason = Exclusion::UnhealthyStatus;
    assert_eq!(gate.decision.excluded(), [Excluded { datacenter: id(0), reason }]);
    // Not offered at all is no different.
    candidates[0].health = DatacenterHealth::Healthy;
    assert_eq!(gate.route(40, &candidates[..1]), (0, Reason::ExclusionForced));
}

#[test]
fn without_a_candidate_the_primary_is_remembered() {
    let mut gate = Gate::new();
    let candidates = [candidate(0, Some(50.0)), candidate(1, Some(45.0))];
    gate.route(0, &candidates[..1]);
    let Gate { router, decision, job } = &mut gate;
    router.route(at(1), *job, &[], &[], decision).unwrap();
    assert_eq!((decision.selected(), decision.bucket()), (None, None));
    assert_eq!((decision.reason(), decision.previous()), (Reason::NoCandidate, Some(id(0))));
    assert_eq!((decision.primaries().len(), decision.fallbacks().len()), (0, 0));
    assert!(!decision.switched());
    assert_eq!(gate.route(2, &candidates), (0, Reason::HoldDownRetained));
    assert_eq!(gate.router.stats().no_candidate, 1);
    assert_eq!(gate.router.stats().decisions_for(Reason::NoCandidate), 1);
    assert_eq!(gate.router.stats().decisions(Bucket::Healthy, Reason::InitialSelection), 1);
}

#[test]
fn primaries_are_of_one_bucket_and_limited() {
    let config = RouterConfig { primary_count_max: 3, ..RouterConfig::default() };
    let mut gate = Gate::with(config);
    let mut candidates: Vec<_> =
        (0..5).map(|index| candidate(index, Some(10.0 + index as f64))).collect();
    let split = |gate: &Gate| {
        let of = |ranked: &Ranked| ranked.datacenter.index();
        let primaries: Vec<_> = gate.decision.primaries().map(of).collect();
        let fallbacks: Vec<_> = gate.decision.fallbacks().map(of).collect();
        (primaries, fallbacks)
    };
    gate.route(0, &candidates);
    assert_eq!(split(&gate), (vec![0, 1, 2], vec![3, 4]));
    candidates[1].health = DatacenterHealth::Degraded;
    candidates[2].health = DatacenterHealth::Busy;
    candidates[3].health = DatacenterHealth::Busy;
    gate.route(1, &candidates);
    assert_eq!(split(&gate), (vec![0, 4], vec![2, 3, 1]));
    assert_eq!(gate.decision.bucket_counts().count(Bucket::Busy), 2);
}

#[test]
fn preference_is_bounded_and_stays_in_the_primary_bucket() {
    let mut candidates =
        [candidate(0, Some(100.0)), candidate(1, Some(109.0)), candidate(2, Some(112.0))];
    let first = |candidates: &[DatacenterCandidate], preferred: &[DatacenterId]| {
        let mut gate = Gate::new();
        (gate.route_preferring(0, candidates, preferred).0, gate)
    };
    assert_eq!(first(&candidates, &[id(1)]).0, 1);
    assert_eq!(first(&candidates, &[id(2)]).0, 0, "a tenth is all that a preference is worth");
    assert_eq!(first(&candidates, &[id(1), id(1), id(9)]).1.ranked(1).score.multiplier, 0.9);
    // What a choice is later measured against is the datacenter's own score: 140 is not 1.5 x 100.
    let mut gate = first(&[candidate(0, Some(100.0)), candidate(1, Some(130.0))], &[id(0)]).1;
    let later = [candidate(0, Some(140.0)), candidate(1, Some(125.0))];
    for seconds in [1, 12] {
        let outcome = gate.route_preferring(seconds, &later, &[id(0)]);
        assert_eq!(outcome, (0, Reason::HoldDownRetained));
    }
    candidates[1].health = DatacenterHealth::Busy;
    candidates[2].health = DatacenterHealth::Busy;
    let (selected, gate) = first(&candidates, &[id(2)]);
    assert_eq!((selected, gate.chain()), (0, vec![0, 1, 2]));
    assert!(gate.ranked(2).is_preferred);
    let scoring = ScoringConfig::hyperscale();
    let mut gate = Gate::with(RouterConfig { scoring, ..RouterConfig::default() });
    gate.route_preferring(0, &candidates, &[id(2)]);
    assert_eq!(gate.chain(), [0, 2, 1], "hyperscale lets it reorder the fallback chain");
}

#[test]
fn everything_that_is_scored_counts() {
    let plain = candidate(0, Some(100.0));
    let worse: [fn(&mut DatacenterCandidate); 6] = [
        |candidate| candidate.available_cores = 99,
        |candidate| candidate.queue_depth = 1,
        |candidate| candidate.circuit_pressure = 0.01,
        |candidate| candidate.severity = 1.01,
        |candidate| candidate.rtt = rtt(101.0),
        |candidate| candidate.rtt.as_mut().unwrap().quality = 0.99,
    ];
    for (number, worsen) in worse.into_iter().enumerate() {
        let mut other = DatacenterCandidate { datacenter: id(1), ..plain };
        worsen(&mut other);
        assert_eq!(Gate::new().route(0, &[other, plain]).0, 0, "number {number}");
    }
    let mut gate = Gate::new();
    gate.router.set_rtt_source(RttSource::Predicted { sample_count: 0, error: 1.5 });
    let with = |index, queue_depth, circuit_pressure| DatacenterCandidate {
        queue_depth,
        circuit_pressure,
        ..candidate(index, Some(1.0))
    };
    gate.route(0, &[with(0, 2, 0.0), with(1, 1, 0.9), with(2, 1, 0.1), with(3, 1, 0.1)]);
    assert_eq!(gate.chain(), [2, 3, 1, 0], "queue, then circuit pressure, then the order given");
}

#[test]
fn stale_health_demotes() {
    let mut gate = Gate::new();
    let stale = DatacenterCandidate { updated_at: START, ..candidate(0, Some(1.0)) };
    let fresh = DatacenterCandidate { updated_at: at(31), ..candidate(1, Some(90.0)) };
    let Gate { router, decision, job } = &mut gate;
    router.route(at(31), *job, &[stale, fresh], &[], decision).unwrap();
    assert_eq!(decision.selected(), Some(id(1)));
    assert!(gate.ranked(0).stale_health);
    assert_eq!(gate.ranked(0).bucket, Bucket::Degraded);
}

#[test]
fn a_partition_takes_primaries_away() {
    let mut gate = Gate::new();
    let candidates = [candidate(0, Some(50.0)), candidate(1, Some(60.0))];
    for number in 0..10 {
        gate.job = JobId::from(number);
        gate.route(0, &candidates[(number % 2) as usize..]);
    }
    let mut affected = Vec::new();
    assert_eq!(gate.router.reset_datacenters(&[id(1)], |job| affected.push(job)), 5);
    affected.sort();
    assert_eq!(affected, [1, 3, 5, 7, 9].map(JobId::from));
    gate.job = JobId::from(3);
    assert_eq!(gate.route(1, &candidates), (0, Reason::InitialSelection));
    gate.job = JobId::from(4);
    assert_eq!(gate.route(1, &candidates), (0, Reason::BestRetained));
    assert_eq!(gate.router.reset_datacenters(&[], |_| ()), 0);
}

#[test]
fn managers_stick_per_job_and_datacenter() {
    let mut gate = Gate::new();
    let address = |port: u16| -> Address { format!("10.0.0.1:{port}").parse().unwrap() };
    let manager = |port, upper_ms| ManagerCandidate {
        rtt: rtt(upper_ms),
        total_cores: 8,
        available_cores: 8,
        ..ManagerCandidate::new(address(port), START)
    };
    let managers = [manager(1, 10.0), manager(2, 20.0)];
    let mut choice = ManagerChoice::default();
    let mut choose = |gate: &Gate, job, datacenter| {
        gate.router.choose_manager(START, job, datacenter, &managers, &mut choice).unwrap();
        choice.selected().unwrap().address.port()
    };
    assert_eq!(choose(&gate, gate.job, id(0)), 1);
    gate.router.record_accepted(START, gate.job, id(0), address(2));
    assert_eq!(choose(&gate, gate.job, id(0)), 2);
    assert_eq!(choose(&gate, gate.job, id(1)), 1, "in this datacenter only");
    assert_eq!(choose(&gate, JobId::from(2), id(0)), 1, "this job only");
    assert!(gate.router.forget_job(gate.job));
    assert!(!gate.router.forget_job(gate.job));
    assert_eq!(choose(&gate, gate.job, id(0)), 1);
}

#[test]
fn impossible_calls_change_nothing() {
    let mut gate = Gate::new();
    let Gate { router, decision, job } = &mut gate;
    let twice = [candidate(3, Some(1.0)), candidate(3, Some(2.0))];
    let refusal = router.route(START, *job, &twice, &[], decision).unwrap_err();
    assert_eq!(refusal.to_string(), "datacenter 3 is twice among the candidates");
    let many = vec![candidate(0, None); CANDIDATE_COUNT_MAX + 1];
    let refusal = router.route(START, *job, &many, &[], decision).unwrap_err();
    assert_eq!(refusal.to_string(), "4097 candidates, at most 4096 can be ranked");
    assert_eq!((router.job_count(), decision.chain().len()), (0, 0));
    assert!(Router::new(RouterConfig { job_capacity: 0, ..RouterConfig::default() }, 1).is_err());
    let mut broken = RouterConfig::default();
    broken.hysteresis.degrade_ratio = 0.5;
    assert!(broken.check().unwrap_err().to_string().starts_with("degrade_ratio is 0.5"));
}

/// A random world that changes a little between decisions, with broken numbers in it.
struct World {
    random: Random,
    candidates: Vec<DatacenterCandidate>,
    now: Instant,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let count = 1 + random.below(9) as usize;
        let candidates = (0..count).map(|index| candidate(index, Some(10.0))).collect();
        let mut world = World { random, candidates, now: START };
        (0..count * 4).for_each(|_| world.change());
        world
    }

    fn change(&mut self) {
        let random = &mut self.random;
        let index = random.below(self.candidates.len() as u32) as usize;
        let candidate = &mut self.candidates[index];
        match random.below(10) {
            0 => candidate.health = DatacenterHealth::ALL[random.below(4) as usize],
            1 => candidate.available_cores = random.below(120),
            2 => candidate.queue_depth = random.below(100),
            3 => candidate.usable_manager_count = random.below(3),
            4 => candidate.circuit_pressure = [0.0, 0.5, 1.0, 9.0, f64::NAN][index % 5],
            5 => candidate.severity = [1.0, 1.5, 3.0, -2.0, f64::NAN][index % 5],
            6 => candidate.rtt = None,
            7 => {
                let upper_ms = [f64::NAN, f64::INFINITY, -1.0, 0.0][random.below(4) as usize];
                candidate.rtt = Some(Rtt { ms: 1.0, upper_ms, quality: f64::NAN });
            }
            _ => {
                let upper_ms = 200.0 * random.unit();
                candidate.rtt = Some(Rtt { ms: upper_ms, upper_ms, quality: random.unit() });
            }
        }
        self.now += Duration::from_millis(u64::from(random.below(4_000)));
        let age = Duration::from_millis(u64::from(random.below(45_000)));
        let updated_at = self.now.as_nanos().saturating_sub(age.as_nanos() as u64);
        self.candidates[index].updated_at = Instant::from_nanos(updated_at);
        let shuffled = &mut self.candidates;
        random.shuffle(shuffled);
    }

    fn datacenter(&mut self) -> DatacenterId {
        id(self.random.below(10) as usize)
    }
}

fn check_structure(world: &World, decision: &Decision) {
    let mut seen: Vec<_> = decision.chain().map(|ranked| ranked.datacenter).collect();
    seen.extend(decision.excluded().iter().map(|excluded| excluded.datacenter));
    let mut given: Vec<_> = world.candidates.iter().map(|c| c.datacenter).collect();
    seen.sort();
    given.sort();
    assert_eq!(seen, given, "everybody is ranked or excluded, once");
    assert_eq!(decision.primaries().len() + decision.fallbacks().len(), decision.chain().len());
    for ranked in decision.ranked() {
        let score = &ranked.score;
        assert!(score.value().is_finite() && score.value() > 0.0, "{ranked:?}");
        let scaled = score.base * score.multiplier;
        assert_eq!(scaled, score.value());
        if !decision.is_bootstrap() {
            assert_eq!(score.base, score.product());
        }
    }
}

fn check_buckets(world: &World, decision: &Decision) {
    let filter = FilterConfig::default().at(world.now);
    let eligible = world.candidates.iter().filter_map(|c| filter.admit(c).ok());
    let best = eligible.map(|admission| admission.bucket).min();
    assert_eq!(decision.bucket(), best);
    assert!(decision.primaries().all(|ranked| Some(ranked.bucket) == best));
    let chain: Vec<_> = decision.chain().collect();
    assert!(chain.windows(2).all(|pair| pair[0].bucket <= pair[1].bucket));
    // Behind the choice everything is in order.
    for pair in chain.windows(2).skip(1).filter(|pair| pair[0].bucket == pair[1].bucket) {
        assert!(pair[0].score.value() <= pair[1].score.value());
    }
}

fn check_stickiness(world: &World, before: Option<&JobState>, decision: &Decision) {
    let config = HysteresisConfig::default();
    let Some(selected) = decision.chain().next() else {
        assert_eq!(decision.reason(), Reason::NoCandidate);
        return;
    };
    let (reason, previous) = (decision.reason(), decision.previous());
    let in_bucket = |ranked: &&Ranked| Some(ranked.bucket) == decision.bucket();
    let values = decision.ranked().iter().filter(in_bucket).map(|ranked| ranked.score.value());
    let best = values.fold(f64::INFINITY, f64::min);
    assert_eq!(reason.is_retained(), previous == Some(selected.datacenter));
    let Some(previous) = previous else {
        assert_eq!((reason, selected.score.value()), (Reason::InitialSelection, best));
        return;
    };
    let tenure = before.expect("a job with a primary is known").tenure();
    let age = world.now - tenure.selected_at();
    let hold_down = Duration::from_millis(config.hold_down_ms);
    let held = decision.ranked().iter().find(|ranked| ranked.datacenter == previous);
    match reason {
        Reason::BestRetained => assert_eq!(selected.score.value(), best),
        Reason::HoldDownRetained => assert!(age < hold_down && selected.score.value() >= best),
        Reason::ThresholdRetained => {
            assert!(age >= hold_down && best >= selected.score.value() * config.improvement_ratio);
        }
        _ => assert_eq!(selected.score.value(), best, "a job moves to the best"),
    }
    match (reason, held) {
        (Reason::ExclusionForced, held) => assert!(held.is_none()),
        (Reason::BucketDropForced, Some(held)) => assert!(held.bucket > selected.bucket),
        (Reason::CooldownPenalty, Some(held)) => assert!(held.is_cooling),
        (Reason::DegradationForced, Some(held)) => {
            assert!(held.score.base >= tenure.reference() * config.degrade_ratio);
        }
        (Reason::ImprovementThresholdMet, Some(held)) => {
            assert!(age >= hold_down, "the hold-down protects the choice");
            assert!(best < held.score.value() * config.improvement_ratio);
        }
        (reason, held) => assert!(reason.is_retained() && held.is_some(), "{reason} {held:?}"),
    }
}

/// Only where neither severity, nor failures, nor observed jobs speak against the measured one.
fn check_unknown_behind_near(decision: &Decision) {
    if decision.is_bootstrap() {
        return;
    }
    let known = || decision.ranked().iter().filter(|ranked| ranked.rtt_known);
    let farthest = known().map(|ranked| ranked.score.latency_ms).fold(100.0, f64::max);
    for near in known().filter(|near| near.score.latency_ms <= 0.45 * farthest) {
        if near.score.severity > 1.0 || near.is_cooling {
            continue;
        }
        for unknown in decision.ranked().iter().filter(|ranked| !ranked.rtt_known) {
            if unknown.bucket == near.bucket {
                assert!(near.score.value() < unknown.score.value(), "{near:?} {unknown:?}");
            }
        }
    }
}

#[test]
fn every_decision_keeps_the_rules() {
    let mut reasons = [0u64; Reason::ALL.len()];
    for seed in 0..150 {
        let mut world = World::new(seed);
        let mut router = Router::new(RouterConfig::default(), seed).unwrap();
        let mut decision = Decision::default();
        for _ in 0..300 {
            world.change();
            let job = JobId::from(u128::from(world.random.below(3)));
            let preferred = [world.datacenter()];
            let preferred = if world.random.chance(0.3) { &preferred[..] } else { &[] };
            if world.random.chance(0.05) {
                let failed = world.datacenter();
                router.record_failure(world.now, job, failed);
            }
            if world.random.chance(0.02) {
                let sample_count = world.random.below(20);
                router.set_rtt_source(RttSource::Predicted { sample_count, error: 0.3 });
            }
            let before = router.job(job).cloned();
            router.route(world.now, job, &world.candidates, preferred, &mut decision).unwrap();
            reasons[decision.reason() as usize] += 1;
            check_structure(&world, &decision);
            check_buckets(&world, &decision);
            check_stickiness(&world, before.as_ref(), &decision);
            check_unknown_behind_near(&decision);
        }
    }
    assert!(reasons.iter().all(|&count| count > 20), "every reason is met: {reasons:?}");
}

#[test]
fn at_equal_load_a_known_round_trip_is_never_behind_an_unknown_one() {
    let mut random = Random::new(4);
    for _ in 0..2_000 {
        let count = 2 + random.below(8) as usize;
        let known: Vec<_> = (0..count).map(|_| random.chance(0.5)).collect();
        let mut world =
            |index: usize| candidate(index, known[index].then(|| 500.0 * random.unit()));
        let candidates: Vec<_> = (0..count).map(&mut world).collect();
        let mut gate = Gate::new();
        gate.route(0, &candidates);
        let flags: Vec<_> = gate.decision.chain().map(|ranked| ranked.rtt_known).collect();
        assert!(flags.is_sorted_by(|ahead, behind| ahead >= behind), "{:?}", gate.decision);
    }
}

#[test]
fn preference_changes_nothing_outside_the_primary_bucket() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        let preferred: Vec<_> = (0..3).map(|_| world.datacenter()).collect();
        let route = |preferred: &[DatacenterId]| {
            let mut router = Router::new(RouterConfig::default(), seed).unwrap();
            let mut decision = Decision::default();
            let job = JobId::from(1);
            router.route(world.now, job, &world.candidates, preferred, &mut decision).unwrap();
            decision
        };
        let (plain, preferring) = (route(&[]), route(&preferred));
        assert_eq!(plain.bucket(), preferring.bucket());
        let lower = |decision: &Decision| -> Vec<_> {
            let outside =
                decision.chain().filter(|ranked| Some(ranked.bucket) != decision.bucket());
            outside.map(|ranked| (ranked.datacenter, ranked.score.value().to_bits())).collect()
        };
        assert_eq!(lower(&plain), lower(&preferring));
        for (plain, preferring) in plain.ranked().iter().zip(preferring.ranked()) {
            let bounded = 0.9 * plain.score.value()..=plain.score.value();
            assert!(bounded.contains(&preferring.score.value()));
        }
    }
}

#[test]
fn a_batch_decides_as_single_calls_do() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        let mut single = Router::new(RouterConfig::default(), 1).unwrap();
        let mut batched = Router::new(RouterConfig::default(), 2).unwrap();
        let mut buffer = Decision::default();
        for _ in 0..20 {
            world.change();
            let job = JobId::from(u128::from(world.random.below(8)));
            let failed = world.datacenter();
            single.record_failure(world.now, job, failed);
            batched.record_failure(world.now, job, failed);
            let preferred = [world.datacenter(), world.datacenter()];
            let requests: Vec<_> = (0..8u128)
                .map(|number| RouteRequest {
                    job: JobId::from(number),
                    preferred: &preferred[..number as usize % 3],
                })
                .collect();
            let mut expected = Vec::new();
            for request in &requests {
                let candidates = &world.candidates;
                single
                    .route(world.now, request.job, candidates, request.preferred, &mut buffer)
                    .unwrap();
                expected.push(summary(&buffer));
            }
            let mut actual = Vec::new();
            let visit = |decision: &Decision| actual.push(summary(decision));
            let candidates = &world.candidates;
            batched.route_batch(world.now, &requests, candidates, &mut buffer, visit).unwrap();
            assert_eq!(actual, expected, "seed {seed}");
        }
        assert_eq!(single.stats(), batched.stats());
    }
}

type Summary = (Option<JobId>, Reason, Option<DatacenterId>, usize, Vec<Ranked>, Vec<Excluded>);

fn summary(decision: &Decision) -> Summary {
    let chain = decision.chain().copied().collect();
    let primary_count = decision.primaries().len();
    let excluded = decision.excluded().to_vec();
    let (job, reason, previous) = (decision.job(), decision.reason(), decision.previous());
    (job, reason, previous, primary_count, chain, excluded)
}

#[test]
fn the_scale_of_a_job_follows_the_decision() {
    let mut gate = Gate::new();
    gate.router.set_rtt_source(RttSource::Predicted { sample_count: 0, error: 1.0 });
    gate.route(0, &[candidate(0, Some(10.0))]);
    assert_eq!(gate.decision.scale, Scale::Capacity);
    // Trusted, but nobody has a round trip: capacity again.
    gate.router.set_rtt_source(RttSource::Measured);
    gate.route(1, &[candidate(0, None), candidate(1, None)]);
    assert!(gate.decision.is_bootstrap());
    gate.route(2, &[candidate(0, None), candidate(1, Some(500.0))]);
    assert!(!gate.decision.is_bootstrap());
    assert_eq!(gate.ranked(0).score.latency_ms, 500.0);
}
