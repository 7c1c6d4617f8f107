//! Routers: which datacenter gets a job, and which manager inside it. A job goes to the best
//! health bucket that has a candidate, there to the lowest score, which is the upper bound of
//! the round trip made worse by load and by doubt, and it stays until there is a reason to
//! move. Every decision says why.

use crate::address::shoal_address;
use crate::call::{Failure, Health, Outcome, array, guarded_with_detail, required};
use crate::candidate::{
    SHOAL_DATACENTER_COUNT_MAX, SHOAL_DATACENTER_NONE, read_datacenter, shoal_candidate,
    shoal_manager_candidate,
};
use crate::engine::give;
use crate::growth;
use crate::jobs::shoal_job_id;
use crate::member::{name_of, shoal_counter, write_list};
use crate::router_config::shoal_router_config;
use crate::status::{
    SHOAL_NONE, SHOAL_NULL_POINTER, SHOAL_OK, SHOAL_TOO_MANY_CANDIDATES, of_config_error,
    of_route_error, shoal_status,
};
use shoal_core::Instant;
use shoal_core::routing::{
    Bucket, DatacenterCandidate, DatacenterId, Decision, Exclusion, JobId, ManagerCandidate,
    ManagerChoice, Ranked, Reason, RouteError, Router, RttSource,
};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// Datacenters with free cores, structurally well.
pub const SHOAL_BUCKET_HEALTHY: u8 = 0;
/// Datacenters without a free core at the moment.
pub const SHOAL_BUCKET_BUSY: u8 = 1;
/// Datacenters that work with less than a majority, or were not heard from lately.
pub const SHOAL_BUCKET_DEGRADED: u8 = 2;

/// The job had no primary: the best one is taken.
pub const SHOAL_REASON_INITIAL_SELECTION: u8 = 0;
/// The present choice is still the best.
pub const SHOAL_REASON_BEST_RETAINED: u8 = 1;
/// There is a better one, but the choice is too young to be reconsidered.
pub const SHOAL_REASON_HOLD_DOWN_RETAINED: u8 = 2;
/// There is a better one, but not better enough.
pub const SHOAL_REASON_THRESHOLD_RETAINED: u8 = 3;
/// A rival is better enough: the job moves.
pub const SHOAL_REASON_IMPROVEMENT_THRESHOLD_MET: u8 = 4;
/// The present choice stands in a worse bucket than the best there is: the job moves.
pub const SHOAL_REASON_BUCKET_DROP_FORCED: u8 = 5;
/// The present choice may not take jobs any more or is not offered: the job moves.
pub const SHOAL_REASON_EXCLUSION_FORCED: u8 = 6;
/// The present choice has been degraded for long enough: the job moves.
pub const SHOAL_REASON_DEGRADATION_FORCED: u8 = 7;
/// The present choice failed this job and another one is now better: the job moves.
pub const SHOAL_REASON_COOLDOWN_PENALTY: u8 = 8;
/// No datacenter may take the job.
pub const SHOAL_REASON_NO_CANDIDATE: u8 = 9;

/// The datacenter is unhealthy.
pub const SHOAL_EXCLUSION_UNHEALTHY_STATUS: u8 = 0;
/// No manager is registered in the datacenter.
pub const SHOAL_EXCLUSION_NO_REGISTERED_MANAGERS: u8 = 1;
/// Every manager of the datacenter is behind an open circuit breaker.
pub const SHOAL_EXCLUSION_ALL_MANAGERS_CIRCUIT_OPEN: u8 = 2;
/// The manager is behind an open circuit breaker.
pub const SHOAL_EXCLUSION_CIRCUIT_BREAKER_OPEN: u8 = 3;
/// The manager has not been heard from for too long.
pub const SHOAL_EXCLUSION_HEARTBEAT_STALE: u8 = 4;
/// The job is expected to take longer than its limit allows.
pub const SHOAL_EXCLUSION_SLO_LATENCY_EXCEEDED: u8 = 5;
/// The datacenter is expected to serve less than the limit asks for.
pub const SHOAL_EXCLUSION_SLO_CAPACITY_INSUFFICIENT: u8 = 6;

/// Where a job goes, and why.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_decision {
    /// The datacenter that was decided for.
    pub selected: u32,
    /// The primary that the job had before, or `SHOAL_DATACENTER_NONE`.
    pub previous: u32,
    /// How many datacenters lead the chain as primaries, all of one bucket; the others are
    /// fallbacks.
    pub primary_count: u32,
    /// How many datacenters the chain has: see `shoal_router_chain`.
    pub chain_count: u32,
    /// How many candidates may not take the job: see `shoal_router_excluded`.
    pub excluded_count: u32,
    /// Why it came out like this: a `SHOAL_REASON_` number.
    pub reason: u8,
    /// The bucket of the primaries, which is the worst health the job has to accept: a
    /// `SHOAL_BUCKET_` number.
    pub bucket: u8,
    /// 1 when datacenters were ranked by capacity, because round trips are not known yet.
    pub is_bootstrap: u8,
    /// 1 when the job moved from one primary to another. A first choice is no move.
    pub has_switched: u8,
    /// Zero.
    pub reserved: [u8; 40],
}

/// One datacenter of a decision's chain.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_ranked {
    /// Its number.
    pub datacenter: u32,
    /// The bucket it was routed in: a `SHOAL_BUCKET_` number.
    pub bucket: u8,
    /// 1 when it was demoted to its bucket because its health is old news.
    pub has_stale_health: u8,
    /// 1 when its round trip is known; otherwise a cautious stand-in was scored.
    pub has_rtt: u8,
    /// 1 when the job prefers it.
    pub is_preferred: u8,
    /// 1 when it failed the job lately.
    pub is_cooling: u8,
    /// Zero.
    pub reserved_flags: [u8; 7],
    /// What ranks: lower is better. Outside a bootstrap decision the product of all below.
    pub score: f64,
    /// The latency that was scored, in ms.
    pub latency_ms: f64,
    /// How much worse load makes it, from 1.
    pub load_factor: f64,
    /// How much worse it makes it that the round trip is not well known, from 1.
    pub quality_penalty: f64,
    /// The candidate's own weight, from 1.
    pub severity: f64,
    /// What this job makes of it: below 1 where preferred, above 1 where it failed lately.
    pub multiplier: f64,
}

/// A candidate that may not take the job.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_excluded {
    /// Its number.
    pub datacenter: u32,
    /// Why not: a `SHOAL_EXCLUSION_` number.
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Routes jobs, and remembers where each of them is.
#[derive(Debug)]
pub struct shoal_router {
    health: Health,
    router: Router,
    decision: Decision,
    choice: ManagerChoice,
    // Reused by every call, so that routing allocates nothing once it has seen the largest set.
    candidates: Vec<DatacenterCandidate>,
    managers: Vec<ManagerCandidate>,
    preferred: Vec<DatacenterId>,
}

/// Makes a router that knows no job yet. Memory for all jobs of the settings is reserved now
/// and touched as they come. `seed` only scatters its tables; decisions do not depend on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_router_new(
    config: *const shoal_router_config,
    seed: u64,
    router: Option<&mut MaybeUninit<*mut shoal_router>>,
    detail: *mut c_char,
    detail_size: usize,
) -> shoal_status {
    let work = || {
        let target = required(router, "router")?;
        // SAFETY: `config` is as its first field says.
        let config = unsafe { growth::read(config)?.read()? };
        let router = Router::new(config, seed)
            .map_err(|error| Failure::new(of_config_error(&error), error.to_string()))?;
        let handle = shoal_router {
            health: Health::default(),
            router,
            decision: Decision::default(),
            choice: ManagerChoice::default(),
            candidates: Vec::new(),
            managers: Vec::new(),
            preferred: Vec::new(),
        };
        target.write(Box::into_raw(Box::new(handle)));
        Ok(SHOAL_OK)
    };
    // SAFETY: `detail` has `detail_size` bytes.
    unsafe { guarded_with_detail(detail, detail_size, work) }
}

/// Ends a router.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_router_free(router: Option<Box<shoal_router>>) {
    crate::call::release(router);
}

/// Copies one sentence about the latest failure of this router, cut to `size` bytes; empty
/// before the first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_router_error(
    router: Option<&shoal_router>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    let Some(shoal_router { health, .. }) = router else { return SHOAL_NULL_POINTER };
    // SAFETY: `buffer` has `size` bytes.
    unsafe { health.copy_detail(buffer, size) }
}

/// Says that the round trips of candidates are measured, as a new router takes them to be.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_router_use_measured_rtts(
    router: Option<&mut shoal_router>,
) -> shoal_status {
    let Some(shoal_router { health, router, .. }) = router else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        router.set_rtt_source(RttSource::Measured);
        Ok(SHOAL_OK)
    })
}

/// Says that the round trips of candidates are predicted from a coordinate with this many
/// samples and this relative error. While that is not good enough for the settings, candidates
/// are ranked by capacity.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_router_use_predicted_rtts(
    router: Option<&mut shoal_router>,
    sample_count: u32,
    error: f64,
) -> shoal_status {
    let Some(shoal_router { health, router, .. }) = router else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        router.set_rtt_source(RttSource::Predicted { sample_count, error });
        Ok(SHOAL_OK)
    })
}

/// Routes a job over these candidates. `SHOAL_NONE` when none of them may take it; the router
/// then says why in `shoal_router_excluded`. `preferred` are the numbers of datacenters that
/// the job prefers, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_router_route(
    router: Option<&mut shoal_router>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    candidates: *const shoal_candidate,
    candidate_count: usize,
    preferred: *const u32,
    preferred_count: usize,
    decision: Option<&mut MaybeUninit<shoal_decision>>,
) -> shoal_status {
    let Some(handle) = router else { return SHOAL_NULL_POINTER };
    let shoal_router {
        health, router, decision: made, candidates: offered, preferred: wished, ..
    } = handle;
    health.guard(|| {
        let job = required(job, "job")?;
        let target = required(decision, "decision")?;
        check_count(candidate_count)?;
        check_count(preferred_count)?;
        // SAFETY: the arrays have as many items as is said.
        let (given, preferred) = unsafe {
            let given = array(candidates, candidate_count, "candidates")?;
            (given, array(preferred, preferred_count, "preferred")?)
        };
        offered.clear();
        wished.clear();
        for candidate in given {
            offered.push(candidate.read()?);
        }
        for &number in preferred {
            wished.push(read_datacenter(number)?);
        }
        let now = Instant::from_nanos(now_ns);
        router.route(now, job.into(), offered, wished, made).map_err(route_failure)?;
        Ok(give(target, summary(made)))
    })
}

/// Writes as many datacenters of the last decision's chain as there is room for, the one to try
/// first in front, and how many there are to `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_router_chain(
    router: Option<&shoal_router>,
    chain: *mut MaybeUninit<shoal_ranked>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_router { health, decision, .. }) = router else { return SHOAL_NULL_POINTER };
    let ranked = || decision.chain().map(shoal_ranked::from);
    // SAFETY: `chain` has room for `capacity` items.
    health.guard(|| unsafe { write_list(ranked(), chain, capacity, count) })
}

/// Writes as many datacenters that may not take the last job as there is room for, and how many
/// there are to `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_router_excluded(
    router: Option<&shoal_router>,
    excluded: *mut MaybeUninit<shoal_excluded>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_router { health, decision, .. }) = router else { return SHOAL_NULL_POINTER };
    let all = || {
        decision.excluded().iter().map(|one| shoal_excluded {
            datacenter: one.datacenter.index() as u32,
            reason: exclusion_number(one.reason),
            reserved: [0; 3],
        })
    };
    // SAFETY: `excluded` has room for `capacity` items.
    health.guard(|| unsafe { write_list(all(), excluded, capacity, count) })
}

/// Orders the managers of a datacenter for a job: writes the addresses of as many as there is
/// room for, the one to try first in front, and how many may take it to `count`. A manager that
/// accepted the job leads.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_router_choose_manager(
    router: Option<&mut shoal_router>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    datacenter: u32,
    candidates: *const shoal_manager_candidate,
    candidate_count: usize,
    addresses: *mut MaybeUninit<shoal_address>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(handle) = router else { return SHOAL_NULL_POINTER };
    let shoal_router { health, router, choice, managers, .. } = handle;
    health.guard(|| {
        let job = required(job, "job")?;
        let datacenter = read_datacenter(datacenter)?;
        check_count(candidate_count)?;
        // SAFETY: `candidates` has `candidate_count` items.
        let given = unsafe { array(candidates, candidate_count, "candidates")? };
        managers.clear();
        for candidate in given {
            managers.push(candidate.read()?);
        }
        let now = Instant::from_nanos(now_ns);
        router
            .choose_manager(now, job.into(), datacenter, managers, choice)
            .map_err(route_failure)?;
        let chain = choice.chain().map(|ranked| shoal_address::from(ranked.address));
        // SAFETY: `addresses` has room for `capacity` items.
        unsafe { write_list(chain, addresses, capacity, count) }
    })
}

/// Notes that a job was sent to a datacenter, so that its latency can be observed.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_router_record_dispatch(
    router: Option<&mut shoal_router>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    datacenter: u32,
) -> shoal_status {
    record(router, job, datacenter, |router, job, datacenter| {
        router.record_dispatch(Instant::from_nanos(now_ns), job, datacenter);
        Ok(SHOAL_OK)
    })
}

/// Notes which manager of a datacenter accepted a job.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_router_record_accepted(
    router: Option<&mut shoal_router>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    datacenter: u32,
    manager: Option<&shoal_address>,
) -> shoal_status {
    record(router, job, datacenter, |router, job, datacenter| {
        let manager = required(manager, "manager")?.read()?;
        router.record_accepted(Instant::from_nanos(now_ns), job, datacenter, manager);
        Ok(SHOAL_OK)
    })
}

/// Notes that a job ended in a datacenter it was sent to. A success (1) is observed and its
/// latency written, in ms. `SHOAL_NONE` when it was no success (0), or was not sent there.
/// `latency_ms` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_router_record_completion(
    router: Option<&mut shoal_router>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    datacenter: u32,
    success: u8,
    latency_ms: Option<&mut MaybeUninit<f64>>,
) -> shoal_status {
    record(router, job, datacenter, |router, job, datacenter| {
        let now = Instant::from_nanos(now_ns);
        let observed = router.record_completion(now, job, datacenter, success != 0);
        let mut ignored = MaybeUninit::uninit();
        Ok(give(latency_ms.unwrap_or(&mut ignored), observed))
    })
}

/// Notes that a datacenter failed a job: for a while that counts against it for this job.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_router_record_failure(
    router: Option<&mut shoal_router>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    datacenter: u32,
) -> shoal_status {
    record(router, job, datacenter, |router, job, datacenter| {
        router.record_failure(Instant::from_nanos(now_ns), job, datacenter);
        Ok(SHOAL_OK)
    })
}

/// Forgets a job, for example because it ended. `SHOAL_NONE` when it was not known.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_router_forget_job(
    router: Option<&mut shoal_router>,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    let Some(shoal_router { health, router, .. }) = router else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let was_known = router.forget_job(required(job, "job")?.into());
        Ok(if was_known { SHOAL_OK } else { SHOAL_NONE })
    })
}

/// Writes as many counters as there is room for, and how many there are to `count`: decisions
/// for each reason, switches, and what was forgotten or dropped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_router_stats(
    router: Option<&shoal_router>,
    stats: *mut MaybeUninit<shoal_counter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_router { health, router, .. }) = router else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let counted = router.stats();
        let decisions = Reason::ALL
            .iter()
            .map(|&reason| (format!("decisions_{}", reason.name()), counted.decisions_for(reason)));
        let others = [
            ("switches", counted.switches),
            ("jobs_evicted", counted.jobs_evicted),
            ("jobs_expired", counted.jobs_expired),
            ("cooldowns_dropped", counted.cooldowns_dropped),
            ("placements_dropped", counted.placements_dropped),
            ("latencies_refused", counted.latencies_refused),
        ];
        let others = others.into_iter().map(|(name, value)| (name.to_owned(), value));
        let all = decisions.chain(others).map(|(name, value)| shoal_counter::new(&name, value));
        // SAFETY: `stats` has room for `capacity` items.
        unsafe { write_list(all, stats, capacity, count) }
    })
}

/// The name of a `SHOAL_REASON_` number, for example "hold_down_retained", or "unknown".
#[unsafe(no_mangle)]
pub extern "C" fn shoal_reason_name(reason: u8) -> *const c_char {
    name_of(
        reason,
        &[
            c"initial_selection",
            c"best_retained",
            c"hold_down_retained",
            c"threshold_retained",
            c"improvement_threshold_met",
            c"bucket_drop_forced",
            c"exclusion_forced",
            c"degradation_forced",
            c"cooldown_penalty",
            c"no_candidate",
        ],
    )
}

/// The name of a `SHOAL_BUCKET_` number: "healthy", "busy", "degraded", or "unknown".
#[unsafe(no_mangle)]
pub extern "C" fn shoal_bucket_name(bucket: u8) -> *const c_char {
    name_of(bucket, &[c"healthy", c"busy", c"degraded"])
}

/// The name of a `SHOAL_EXCLUSION_` number, for example "unhealthy_status", or "unknown".
#[unsafe(no_mangle)]
pub extern "C" fn shoal_exclusion_name(exclusion: u8) -> *const c_char {
    name_of(
        exclusion,
        &[
            c"unhealthy_status",
            c"no_registered_managers",
            c"all_managers_circuit_open",
            c"circuit_breaker_open",
            c"heartbeat_stale",
            c"slo_latency_exceeded",
            c"slo_capacity_insufficient",
        ],
    )
}

/// Does the work of a function about a job in a datacenter.
fn record(
    router: Option<&mut shoal_router>,
    job: Option<&shoal_job_id>,
    datacenter: u32,
    work: impl FnOnce(&mut Router, JobId, DatacenterId) -> Outcome,
) -> shoal_status {
    let Some(shoal_router { health, router, .. }) = router else { return SHOAL_NULL_POINTER };
    health.guard(|| work(router, required(job, "job")?.into(), read_datacenter(datacenter)?))
}

/// Refuses a list before it is read.
fn check_count(count: usize) -> Result<(), Failure> {
    if count <= SHOAL_DATACENTER_COUNT_MAX {
        return Ok(());
    }
    let detail = RouteError::TooManyCandidates { count }.to_string();
    Err(Failure::new(SHOAL_TOO_MANY_CANDIDATES, detail))
}

fn route_failure(error: RouteError) -> Failure {
    Failure::new(of_route_error(error), error.to_string())
}

/// The decision without its lists; `None` when no datacenter may take the job.
pub(crate) fn summary(decision: &Decision) -> Option<shoal_decision> {
    let selected = decision.selected()?;
    let bucket = decision.bucket()?;
    let number = |datacenter: DatacenterId| datacenter.index() as u32;
    Some(shoal_decision {
        selected: number(selected),
        previous: decision.previous().map_or(SHOAL_DATACENTER_NONE, number),
        primary_count: decision.primaries().len() as u32,
        chain_count: decision.chain().len() as u32,
        excluded_count: decision.excluded().len() as u32,
        reason: reason_number(decision.reason()),
        bucket: bucket_number(bucket),
        is_bootstrap: u8::from(decision.is_bootstrap()),
        has_switched: u8::from(decision.switched()),
        reserved: [0; 40],
    })
}

impl From<&Ranked> for shoal_ranked {
    fn from(ranked: &Ranked) -> shoal_ranked {
        shoal_ranked {
            datacenter: ranked.datacenter.index() as u32,
            bucket: bucket_number(ranked.bucket),
            has_stale_health: u8::from(ranked.stale_health),
            has_rtt: u8::from(ranked.rtt_known),
            is_preferred: u8::from(ranked.is_preferred),
            is_cooling: u8::from(ranked.is_cooling),
            reserved_flags: [0; 7],
            score: ranked.score.value(),
            latency_ms: ranked.score.latency_ms,
            load_factor: ranked.score.load_factor,
            quality_penalty: ranked.score.quality_penalty,
            severity: ranked.score.severity,
            multiplier: ranked.score.multiplier,
        }
    }
}

fn bucket_number(bucket: Bucket) -> u8 {
    match bucket {
        Bucket::Healthy => SHOAL_BUCKET_HEALTHY,
        Bucket::Busy => SHOAL_BUCKET_BUSY,
        Bucket::Degraded => SHOAL_BUCKET_DEGRADED,
    }
}

fn reason_number(reason: Reason) -> u8 {
    match reason {
        Reason::InitialSelection => SHOAL_REASON_INITIAL_SELECTION,
        Reason::BestRetained => SHOAL_REASON_BEST_RETAINED,
        Reason::HoldDownRetained => SHOAL_REASON_HOLD_DOWN_RETAINED,
        Reason::ThresholdRetained => SHOAL_REASON_THRESHOLD_RETAINED,
        Reason::ImprovementThresholdMet => SHOAL_REASON_IMPROVEMENT_THRESHOLD_MET,
        Reason::BucketDropForced => SHOAL_REASON_BUCKET_DROP_FORCED,
        Reason::ExclusionForced => SHOAL_REASON_EXCLUSION_FORCED,
        Reason::DegradationForced => SHOAL_REASON_DEGRADATION_FORCED,
        Reason::CooldownPenalty => SHOAL_REASON_COOLDOWN_PENALTY,
        Reason::NoCandidate => SHOAL_REASON_NO_CANDIDATE,
    }
}

fn exclusion_number(exclusion: Exclusion) -> u8 {
    match exclusion {
        Exclusion::UnhealthyStatus => SHOAL_EXCLUSION_UNHEALTHY_STATUS,
        Exclusion::NoRegisteredManagers => SHOAL_EXCLUSION_NO_REGISTERED_MANAGERS,
        Exclusion::AllManagersCircuitOpen => SHOAL_EXCLUSION_ALL_MANAGERS_CIRCUIT_OPEN,
        Exclusion::CircuitBreakerOpen => SHOAL_EXCLUSION_CIRCUIT_BREAKER_OPEN,
        Exclusion::HeartbeatStale => SHOAL_EXCLUSION_HEARTBEAT_STALE,
        Exclusion::SloLatencyExceeded => SHOAL_EXCLUSION_SLO_LATENCY_EXCEEDED,
        Exclusion::SloCapacityInsufficient => SHOAL_EXCLUSION_SLO_CAPACITY_INSUFFICIENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn text(pointer: *const c_char) -> &'static str {
        // SAFETY: names are static C strings.
        unsafe { CStr::from_ptr(pointer) }.to_str().unwrap()
    }

    #[test]
    fn numbers_and_names_are_the_router_s() {
        for reason in Reason::ALL {
            assert_eq!(text(shoal_reason_name(reason_number(reason))), reason.name());
        }
        for bucket in Bucket::ALL {
            assert_eq!(text(shoal_bucket_name(bucket_number(bucket))), bucket.name());
        }
        for number in 0..=SHOAL_EXCLUSION_SLO_CAPACITY_INSUFFICIENT {
            let exclusions = [
                Exclusion::UnhealthyStatus,
                Exclusion::NoRegisteredManagers,
                Exclusion::AllManagersCircuitOpen,
                Exclusion::CircuitBreakerOpen,
                Exclusion::HeartbeatStale,
                Exclusion::SloLatencyExceeded,
                Exclusion::SloCapacityInsufficient,
            ];
            let exclusion = exclusions[usize::from(number)];
            assert_eq!(exclusion_number(exclusion), number);
            assert_eq!(text(shoal_exclusion_name(number)), exclusion.name());
        }
        assert_eq!(text(shoal_reason_name(10)), "unknown");
        assert_eq!(text(shoal_exclusion_name(255)), "unknown");
    }
}
