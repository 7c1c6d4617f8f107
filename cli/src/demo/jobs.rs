//! One job that nobody finishes: its workers get more time at the last moment, and when that is over too its
//! gate ends it everywhere (AD-34, AD-26).
//!
//! The program says when the job starts and that workers ask for more time. All else is the nodes' doing:
//! managers report, the gate decides, and their messages take the time of their paths.

use std::time::Duration;

use shoal_core::MemberState;
use shoal_core::io::Node;
use shoal_core::jobs::{
    DatacenterTarget, ExtensionRequest, JobEvent, JobId, JobStart, TimeoutReason, WorkerId,
};

use super::cluster::DATACENTERS;
use super::record::{JobSite, JobTimeout};
use super::stage::Stage;
use crate::exit::Failure;

/// What the job is given.
const TIMEOUT: Duration = Duration::from_secs(3);
/// When its workers ask for more.
const EXTENDED_AFTER: Duration = Duration::from_millis(2_700);
/// How long after its time it may take until it has ended everywhere.
const PATIENCE: Duration = Duration::from_secs(3);

/// Lets a job run out of its time and out of its extension.
pub fn time_out(stage: &mut Stage, number: u64) -> Result<String, Failure> {
    let (gate, job) = (stage.cluster.gate(0), JobId::from(u128::from(number)));
    let managers = leaders(stage, gate)?;
    let start_ms = start(stage, job, gate, &managers)?;
    let places = managers.len();
    stage.note(&format!("job {number} starts in {places} datacenters; nobody will finish it"));

    stage.wait(EXTENDED_AFTER, |_| false)?;
    let extended_ms = stage.now_ms() - start_ms;
    let extension = extend(stage, job, &managers)?;
    stage.note(&format!("its workers ask for more time and get {:.2} s", extension.as_secs_f64()));

    let allowed = TIMEOUT + extension;
    let is_over = |stage: &mut Stage| {
        let ends = managers.iter().all(|&manager| ended(stage, manager, job).is_some());
        ends && decided(stage, gate, job).is_some()
    };
    let patience = allowed.saturating_sub(EXTENDED_AFTER) + PATIENCE;
    let is_over = stage.wait(patience, is_over)?;
    let since_start = |at_ms: f64| at_ms - start_ms;
    let Some((decided_ms, reason)) = decided(stage, gate, job).filter(|_| is_over) else {
        return Err(Failure::failed(format_args!("job {number} was not ended by its timeout")));
    };
    let sites: Vec<JobSite> = managers
        .iter()
        .filter_map(|&manager| {
            let ended_ms = since_start(ended(stage, manager, job)?);
            Some(JobSite { manager, extended_ms, ended_ms })
        })
        .collect();
    let decided_ms = since_start(decided_ms);
    let allowed_ms = allowed.as_secs_f64() * 1e3;
    if decided_ms < allowed_ms {
        return Err(Failure::failed(format_args!(
            "job {number} was given up after {decided_ms:.0} ms, {allowed_ms:.0} ms were granted"
        )));
    }
    stage.note_at(&format!("its gate gives it up: {}", reason.name()), start_ms + decided_ms);
    for site in &sites {
        let name = &stage.cluster.records[site.manager].name;
        let text = format!("{name} ends it");
        stage.note_at(&text, start_ms + site.ended_ms);
    }
    let ended_ms = sites.iter().map(|site| site.ended_ms).fold(0.0, f64::max);
    stage.outcome.timeout = JobTimeout {
        job: number,
        gate,
        at_ms: start_ms,
        limit_ms: TIMEOUT.as_secs_f64() * 1e3,
        extension_ms: extension.as_secs_f64() * 1e3,
        decided_ms,
        ended_ms,
        sites,
    };
    Ok(format!(
        "job {number} had {:.0} s and got {:.0} s more; its gate gave it up after {:.2} s, the last \
         manager after {:.2} s",
        TIMEOUT.as_secs_f64(),
        extension.as_secs_f64(),
        decided_ms / 1e3,
        ended_ms / 1e3
    ))
}

fn node(stage: &Stage, index: usize) -> Result<&Node, Failure> {
    let name = &stage.cluster.records[index].name;
    let node = stage.cluster.node(index);
    node.ok_or_else(|| Failure::failed(format_args!("{name} does not run")))
}

/// The leaders that the gate knows and that are there.
fn leaders(stage: &Stage, gate: usize) -> Result<Vec<usize>, Failure> {
    let views = node(stage, gate)?.datacenters().map_err(Failure::failed)?;
    let leaders = views.iter().filter_map(|view| stage.cluster.index(view.leader?.0));
    let alive = |leader: &usize| stage.states[gate][*leader] == Some(MemberState::Alive);
    let leaders: Vec<usize> = leaders.filter(alive).collect();
    if leaders.is_empty() {
        return Err(Failure::failed("no datacenter has a leader for the last job"));
    }
    Ok(leaders)
}

/// Starts the job on its gate and its managers, and says when that was.
fn start(stage: &Stage, job: JobId, gate: usize, managers: &[usize]) -> Result<f64, Failure> {
    let target = |&manager: &usize| DatacenterTarget {
        datacenter: DATACENTERS[stage.cluster.records[manager].datacenter]
            .parse()
            .expect("a plain word is a name"),
        leader: Some(stage.cluster.address(manager)),
    };
    let targets = managers.iter().map(target).collect();
    let start_ms = stage.now_ms();
    node(stage, gate)?.gate_job_started(job, TIMEOUT, targets).map_err(Failure::failed)?;
    let start = JobStart {
        gate: Some(stage.cluster.address(gate)),
        datacenter_count: managers.len() as u16,
        ..JobStart::new(job, TIMEOUT)
    };
    for &manager in managers {
        node(stage, manager)?.job_started(start).map_err(Failure::failed)?;
    }
    Ok(start_ms)
}

/// A worker in every datacenter asks for more time, and says how much they got.
fn extend(stage: &Stage, job: JobId, managers: &[usize]) -> Result<Duration, Failure> {
    let mut extension = Duration::MAX;
    for &manager in managers {
        let (worker, request) = (WorkerId::from_name(b"worker 1"), ExtensionRequest::new(0.9));
        let answer = node(stage, manager)?.worker_extension(job, worker, request);
        let grant = answer.map_err(Failure::failed)?.map_err(Failure::failed)?;
        extension = extension.min(grant.duration);
    }
    Ok(extension)
}

/// When this manager ended the job, in milliseconds since the demo began.
fn ended(stage: &Stage, manager: usize, job: JobId) -> Option<f64> {
    stage.told.iter().find_map(|told| match told.event {
        JobEvent::TimedOut { job: ended, .. } if ended == job && told.observer == manager => {
            Some(told.at_ms)
        }
        _ => None,
    })
}

/// When and why its gate declared the global timeout.
fn decided(stage: &Stage, gate: usize, job: JobId) -> Option<(f64, TimeoutReason)> {
    stage.told.iter().find_map(|told| match told.event {
        JobEvent::GlobalTimeout { job: ended, reason, .. }
            if ended == job && told.observer == gate =>
        {
            Some((told.at_ms, reason))
        }
        _ => None,
    })
}
