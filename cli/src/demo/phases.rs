//! The demo's story: form, converge, route, fail, time out, leave.
//!
//! Each phase states what it expects and fails with one line when that does not happen in time, so
//! the demo is also an end-to-end check.

use std::time::Duration;

use shoal_core::MemberState;

use super::jobs::time_out;
use super::record::{Coordinates, Departure, Detection, Formation, Observation, quantile};
use super::routing::{Era, JOB_COUNT, JobStream, is_ready};
use super::stage::{Sight, Stage};
use crate::exit::Failure;

/// How long the cluster may take to form.
const FORM_PATIENCE: Duration = Duration::from_secs(20);
/// How long coordinates are watched at least and at most, in milliseconds.
const CONVERGE_MS: (f64, f64) = (8_000.0, 12_000.0);
/// The median prediction error that ends the phase early, and the one that fails it.
const CONVERGE_ERROR: (f64, f64) = (0.02, 0.20);
/// How long leaders may take to be elected, and gates to hear of them.
const LEADER_PATIENCE: Duration = Duration::from_secs(10);
/// The datacenter that loses its managers.
const FAILING: usize = 1;
/// How long detection and re-routing may take.
const FAIL_PATIENCE: Duration = Duration::from_secs(12);
/// How long jobs are routed after everyone knows.
const AFTERMATH: Duration = Duration::from_secs(2);
/// How long goodbyes may take.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// Runs every phase.
pub fn run(stage: &mut Stage) -> Result<(), Failure> {
    let mut jobs = JobStream::new(stage)?;
    stage.phase("form", form)?;
    stage.phase("converge", converge)?;
    stage.phase("route", |stage| route(stage, &mut jobs))?;
    stage.phase("fail", |stage| fail(stage, &mut jobs))?;
    stage.phase("time out", |stage| time_out(stage, jobs.next))?;
    stage.phase("leave", leave)
}

/// Everyone joins through one gate and soon sees everyone.
fn form(stage: &mut Stage) -> Result<String, Failure> {
    let size = stage.cluster.size();
    let views = size * (size - 1);
    let start_ms = stage.now_ms();
    let seed = stage.cluster.gate(0);
    let seeds = [stage.cluster.address(seed)];
    for (_, node) in stage.cluster.running().filter(|(index, _)| *index != seed) {
        node.join(&seeds).map_err(Failure::failed)?;
    }
    stage.sampling = true;
    if !stage.wait(FORM_PATIENCE, |stage| stage.views_alive() == views)? {
        let seen = stage.views_alive();
        return Err(Failure::failed(format_args!(
            "the cluster did not form: {seen} of {views} views say alive after {FORM_PATIENCE:?}"
        )));
    }
    for observer in 0..size {
        let sights = stage.sights.iter().filter(|sight| sight.observer == observer);
        let last = sights.map(|sight| sight.at_ms).fold(start_ms, f64::max);
        stage.cluster.records[observer].complete_ms = last - start_ms;
    }
    let complete = stage.cluster.records.iter().map(|record| record.complete_ms);
    let mesh_ms = complete.fold(0.0, f64::max);
    stage.outcome.formation = Formation { mesh_ms, views };
    Ok(format!(
        "{size} nodes joined through one gate; all {views} views say alive after {:.2} s",
        mesh_ms / 1e3
    ))
}

/// Probes place every node until distances match round trips.
fn converge(stage: &mut Stage) -> Result<String, Failure> {
    let start_ms = stage.now_ms();
    let (least, most) = CONVERGE_MS;
    let (good, bad) = CONVERGE_ERROR;
    let error = |stage: &Stage| {
        stage.outcome.coordinates.samples.last().map_or(1.0, |sample| sample.median)
    };
    stage.wait(Duration::from_secs_f64(most / 1e3), |stage| {
        stage.now_ms() - start_ms >= least && error(stage) <= good
    })?;
    stage.sampling = false;
    let pairs = stage.pairs();
    let place = |node: usize| stage.cluster.records[node].datacenter;
    let remote = pairs.iter().filter(|pair| place(pair.from) != place(pair.to));
    let mut relative: Vec<f64> =
        remote.map(|pair| (pair.predicted_ms - pair.actual_ms).abs() / pair.actual_ms).collect();
    let mut absolute: Vec<f64> =
        pairs.iter().map(|pair| (pair.predicted_ms - pair.actual_ms).abs()).collect();
    let within = pairs.iter().filter(|pair| pair.actual_ms <= pair.upper_ms).count();
    let samples = std::mem::take(&mut stage.outcome.coordinates.samples);
    let first = samples.first().map_or(1.0, |sample| sample.median);
    let median = quantile(&mut relative, 0.5);
    stage.outcome.coordinates = Coordinates {
        samples,
        median_relative_error: median,
        p90_relative_error: quantile(&mut relative, 0.9),
        median_absolute_error_ms: quantile(&mut absolute, 0.5),
        within_bound: within as f64 / pairs.len().max(1) as f64,
        pairs,
    };
    if median > bad {
        return Err(Failure::failed(format_args!(
            "coordinates did not converge: the median prediction error is {:.0} %, expected at \
             most {:.0} %",
            median * 100.0,
            bad * 100.0
        )));
    }
    Ok(format!(
        "the median prediction error fell from {:.0} % to {:.1} %",
        first * 100.0,
        median * 100.0
    ))
}

/// A thousand jobs with everything in order.
fn route(stage: &mut Stage, jobs: &mut JobStream) -> Result<String, Failure> {
    if !stage.wait(LEADER_PATIENCE, |stage| is_ready(stage))? {
        return Err(Failure::failed(format_args!(
            "the gates do not know a leader of every datacenter after {LEADER_PATIENCE:?}"
        )));
    }
    while jobs.next <= JOB_COUNT {
        jobs.advance(stage, Era::Before)?;
        stage.tick()?;
    }
    jobs.explain(stage);
    let (median_rtt_ms, random_median_rtt_ms) = jobs.medians();
    let routing = &mut stage.outcome.routing;
    routing.median_rtt_ms = median_rtt_ms;
    routing.random_median_rtt_ms = random_median_rtt_ms;
    let total: u32 = routing.before.iter().flatten().sum();
    let home: u32 = (0..routing.before.len()).map(|gate| routing.before[gate][gate]).sum();
    if median_rtt_ms >= random_median_rtt_ms {
        return Err(Failure::failed(format_args!(
            "routing chose datacenters {median_rtt_ms:.1} ms away, no better than chance"
        )));
    }
    Ok(format!(
        "{total} jobs routed, {home} of them at home; median round trip {median_rtt_ms:.1} ms, \
         {random_median_rtt_ms:.0} ms at random"
    ))
}

/// A datacenter's managers stop without a word while jobs keep coming.
fn fail(stage: &mut Stage, jobs: &mut JobStream) -> Result<String, Failure> {
    let victims = stage.cluster.managers(FAILING);
    let first_sight = stage.sights.len();
    let at_ms = stage.now_ms();
    for victim in victims {
        stage.cluster.kill(victim);
    }
    stage.note(&format!("both managers of {} were killed", stage.outcome.datacenters[FAILING]));
    let survivors = stage.cluster.size() - victims.len();
    let deadline_ms = at_ms + FAIL_PATIENCE.as_secs_f64() * 1e3;
    let knows = |stage: &Stage, observer: usize| {
        victims.iter().all(|victim| stage.states[observer][*victim] == Some(MemberState::Dead))
    };
    let mut told = 0;
    while told < survivors || !jobs.is_settled() {
        jobs.advance(stage, Era::During)?;
        stage.tick()?;
        let knowing = stage.cluster.running().filter(|(index, _)| knows(stage, *index)).count();
        if told == 0 && knowing > 0 {
            stage.note("the first survivor declared them dead");
        }
        told = knowing;
        if stage.now_ms() > deadline_ms {
            return Err(Failure::failed(format_args!(
                "{told} of {survivors} survivors knew of the failure after {FAIL_PATIENCE:?}"
            )));
        }
    }
    stage.note("every survivor knows; jobs go elsewhere");
    jobs.medians();
    let end_ms = stage.now_ms() + AFTERMATH.as_secs_f64() * 1e3;
    while stage.now_ms() < end_ms {
        jobs.advance(stage, Era::After)?;
        stage.tick()?;
    }
    stage.outcome.routing.median_rtt_after_ms = jobs.medians().0;
    stage.outcome.routing.failover_ms = (jobs.last_misdirected_ms() - at_ms).max(0.0);
    stage.outcome.detection = detection(&stage.sights[first_sight..], victims, at_ms);
    let routing = &stage.outcome.routing;
    let detection = &stage.outcome.detection;
    Ok(format!(
        "known to one survivor after {:.2} s, to all {survivors} after {:.2} s; {} jobs routed \
         again",
        detection.first_dead_ms / 1e3,
        detection.all_dead_ms / 1e3,
        routing.rerouted
    ))
}

/// Puts together when each survivor suspected and gave up each victim.
fn detection(sights: &[Sight], victims: [usize; 2], at_ms: f64) -> Detection {
    let mut observations = Vec::new();
    let mut suspicions = Vec::new();
    for dead in sights.iter().filter(|sight| sight.state == MemberState::Dead) {
        if !victims.contains(&dead.subject) {
            continue;
        }
        let same = |sight: &&Sight| {
            (sight.observer, sight.subject) == (dead.observer, dead.subject)
                && sight.state == MemberState::Suspect
        };
        let suspect = sights.iter().find(same).map(|sight| sight.at_ms - at_ms);
        suspicions.extend(suspect);
        observations.push(Observation {
            observer: dead.observer,
            subject: dead.subject,
            suspect_ms: suspect,
            dead_ms: dead.at_ms - at_ms,
        });
    }
    let deaths = || observations.iter().map(|seen| seen.dead_ms);
    let first_dead_ms = deaths().fold(f64::INFINITY, f64::min);
    Detection {
        datacenter: FAILING,
        at_ms,
        first_suspect_ms: suspicions.into_iter().fold(first_dead_ms, f64::min),
        first_dead_ms,
        all_dead_ms: deaths().fold(0.0, f64::max),
        observations,
        false_deaths: 0,
    }
}

/// Everyone says goodbye; one node leaves last and watches.
fn leave(stage: &mut Stage) -> Result<String, Failure> {
    let watcher = stage.cluster.gate(0);
    let first_sight = stage.sights.len();
    let start_ms = stage.now_ms();
    let leaving: Vec<usize> =
        stage.cluster.running().map(|(index, _)| index).filter(|index| *index != watcher).collect();
    for (_, node) in stage.cluster.running().filter(|(index, _)| *index != watcher) {
        node.leave().map_err(Failure::failed)?;
    }
    let seen = |stage: &Stage| {
        let left = |index: &&usize| stage.states[watcher][**index] == Some(MemberState::Left);
        leaving.iter().filter(left).count()
    };
    let gone = |stage: &Stage| leaving.iter().all(|index| stage.departed[*index]);
    let complete =
        stage.wait(LEAVE_PATIENCE, |stage| gone(stage) && seen(stage) == leaving.len())?;
    if let Some(node) = stage.cluster.node(watcher) {
        node.leave().map_err(Failure::failed)?;
    }
    let last = stage.wait(LEAVE_PATIENCE, |stage| stage.departed[watcher])?;
    let seen_left = seen(stage);
    let is_death = |sight: &&Sight| sight.state == MemberState::Dead;
    let healthy = |sight: &&Sight| !stage.cluster.records[sight.subject].killed;
    let seen_dead = stage.sights[first_sight..].iter().filter(is_death).filter(healthy).count();
    let false_deaths = stage.sights.iter().filter(is_death).filter(healthy).count();
    stage.outcome.detection.false_deaths = false_deaths as u32;
    let left = leaving.len() + 1;
    let took_ms = stage.now_ms() - start_ms;
    stage.outcome.departure = Departure { left, seen_left, seen_dead, took_ms };
    if !complete || !last || seen_dead > 0 {
        return Err(Failure::failed(format_args!(
            "{seen_left} of {} departures were seen as such, {seen_dead} as deaths",
            leaving.len()
        )));
    }
    Ok(format!("{left} nodes said goodbye; all seen to leave, none taken for dead"))
}
