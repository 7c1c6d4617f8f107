//! Routes a job: filter, bucket, score, hysteresis, chain (AD-36, part 9).
//!
//! A decision has two halves. The *survey* looks at the candidates: who is eligible, in which
//! bucket, with which score, in which order. It is the same for every job, so a batch makes it
//! once. The *verdict* adds what is the job's own: what it prefers, what failed it, where it is. It
//! touches only the datacenters concerned, so in a batch it costs the same over ten datacenters as
//! over a thousand.
//!
//! Everything is kept in memory of fixed size; a decision allocates nothing once its buffer has
//! seen the largest set of candidates.

use super::bootstrap::{BootstrapConfig, RttSource, capacity_score};
use super::bucket::Bucket;
use super::candidate::{DatacenterCandidate, DatacenterId, ManagerCandidate};
use super::decision::{Decision, Excluded, Ranked};
use super::filter::{Admission, FilterConfig};
use super::hysteresis::{Field, HysteresisConfig, Reason, Scale};
use super::managers::ManagerChoice;
use super::observed::{MeanSpeed, Observed, ObservedConfig};
use super::scoring::{Score, ScoringConfig, pessimistic_severity, utilization};
use super::state::{JobState, JobTable};
use super::{CANDIDATE_COUNT_MAX, Range, check_ranges};
use crate::error::ConfigError;
use crate::id::JobId;
use crate::node::Address;
use crate::time::{Duration, Instant};

/// Everything that decides how a router behaves. Start from the default and change fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterConfig {
    /// Which candidates are eligible.
    pub filter: FilterConfig,
    /// How they are scored.
    pub scoring: ScoringConfig,
    /// When round trips are good enough to be scored.
    pub bootstrap: BootstrapConfig,
    /// How strongly jobs stick to their primaries.
    pub hysteresis: HysteresisConfig,
    /// How observed job latencies correct round trips.
    pub observed: ObservedConfig,
    /// The most primaries a decision names; 1 to [`CANDIDATE_COUNT_MAX`].
    pub primary_count_max: usize,
    /// The most jobs remembered, at 256 bytes each; 1 to 16,777,216. When full, the job that was
    /// used longest ago is forgotten, and counted.
    pub job_capacity: u32,
    /// How long a job that is not heard of is remembered, in ms; 1,000 to 1e12.
    pub job_time_to_live_ms: u64,
}

impl Default for RouterConfig {
    fn default() -> RouterConfig {
        RouterConfig {
            filter: FilterConfig::default(),
            scoring: ScoringConfig::default(),
            bootstrap: BootstrapConfig::default(),
            hysteresis: HysteresisConfig::default(),
            observed: ObservedConfig::default(),
            primary_count_max: 2,
            job_capacity: 100_000,
            job_time_to_live_ms: 3_600_000,
        }
    }
}

impl RouterConfig {
    /// Says whether a router can run with this.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.filter.check()?;
        self.scoring.check()?;
        self.bootstrap.check()?;
        self.hysteresis.check()?;
        self.observed.check()?;
        let candidate_count_max = CANDIDATE_COUNT_MAX as f64;
        check_ranges(&[
            Range("primary_count_max", self.primary_count_max as f64, 1.0, candidate_count_max),
            Range("job_capacity", f64::from(self.job_capacity), 1.0, f64::from(1 << 24)),
            Range("job_time_to_live_ms", self.job_time_to_live_ms as f64, 1_000.0, 1e12),
        ])
    }
}

/// What was wrong with a call. Nothing was decided and no state was changed; the decision is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// More candidates than a decision can hold.
    #[error("{count} candidates, at most {max} can be ranked", max = CANDIDATE_COUNT_MAX)]
    TooManyCandidates {
        /// How many there were.
        count: usize,
    },
    /// Two eligible candidates are the same datacenter.
    #[error("datacenter {} is twice among the candidates", datacenter.index())]
    DuplicateDatacenter {
        /// Which one.
        datacenter: DatacenterId,
    },
}

/// One job of a batch.
#[derive(Clone, Copy, Debug)]
pub struct RouteRequest<'a> {
    /// The job.
    pub job: JobId,
    /// The datacenters it prefers.
    pub preferred: &'a [DatacenterId],
}

/// What a router counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterStats {
    decisions: [[u64; Reason::ALL.len()]; Bucket::ALL.len()],
    /// Decisions without an eligible datacenter.
    pub no_candidate: u64,
    /// Decisions that moved a job from one primary to another.
    pub switches: u64,
    /// Jobs forgotten early because the table was full.
    pub jobs_evicted: u64,
    /// Jobs forgotten because nothing was heard of them.
    pub jobs_expired: u64,
    /// Running cooldowns dropped because a job failed in more datacenters than are remembered.
    pub cooldowns_dropped: u64,
    /// Placements dropped because a job was sent to more datacenters than are remembered.
    pub placements_dropped: u64,
    /// Job latencies that were no number and not used.
    pub latencies_refused: u64,
}

impl RouterStats {
    /// Decisions with primaries of this bucket for this reason.
    pub fn decisions(&self, bucket: Bucket, reason: Reason) -> u64 {
        self.decisions[bucket as usize][reason as usize]
    }

    /// All decisions for this reason.
    pub fn decisions_for(&self, reason: Reason) -> u64 {
        match reason {
            Reason::NoCandidate => self.no_candidate,
            reason => Bucket::ALL.iter().map(|&bucket| self.decisions(bucket, reason)).sum(),
        }
    }
}

/// Routes jobs to datacenters, and inside them to managers.
#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    rtt_source: RttSource,
    jobs: JobTable,
    observed: Observed,
    positions: Positions,
    stats: RouterStats,
}

impl Router {
    /// A router that knows no job yet. The memory for [`RouterConfig::job_capacity`] jobs is
    /// reserved now and touched as jobs come. The seed only scatters the index of jobs; decisions
    /// do not depend on it.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn new(config: RouterConfig, seed: u64) -> Result<Router, ConfigError> {
        config.check()?;
        let time_to_live = Duration::from_millis(config.job_time_to_live_ms);
        Ok(Router {
            config,
            rtt_source: RttSource::Measured,
            jobs: JobTable::new(config.job_capacity, time_to_live, seed),
            observed: Observed::new(config.observed)?,
            positions: Positions::new(),
            stats: RouterStats::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// Says where the round trips of the candidates come from. [`RttSource::Measured`] until told
    /// otherwise.
    pub fn set_rtt_source(&mut self, source: RttSource) {
        self.rtt_source = source;
    }

    /// Routes one job over these candidates and explains it in `decision`.
    ///
    /// # Errors
    /// [`RouteError`], when the candidates cannot be ranked. No state was changed.
    pub fn route(
        &mut self,
        now: Instant,
        job: JobId,
        candidates: &[DatacenterCandidate],
        preferred: &[DatacenterId],
        decision: &mut Decision,
    ) -> Result<(), RouteError> {
        self.survey(now, candidates, decision)?;
        self.settle(now, RouteRequest { job, preferred }, decision);
        Ok(())
    }

    /// Routes many jobs over the same picture and shows each decision to `visit`. Every decision is
    /// the one that [`Router::route`] would have made; `decision` is only the buffer, and is left
    /// without a job.
    ///
    /// The picture does not change during the batch: a host that wants a burst spread by load
    /// routes in smaller batches and adds what it has sent to the candidates' queues.
    ///
    /// # Errors
    /// [`RouteError`], when the candidates cannot be ranked. No job was routed.
    pub fn route_batch(
        &mut self,
        now: Instant,
        requests: &[RouteRequest<'_>],
        candidates: &[DatacenterCandidate],
        decision: &mut Decision,
        mut visit: impl FnMut(&Decision),
    ) -> Result<(), RouteError> {
        self.survey(now, candidates, decision)?;
        for &request in requests {
            self.settle(now, request, decision);
            visit(decision);
            decision.release();
        }
        Ok(())
    }

    /// Orders the managers of a datacenter for a job; the one that already accepted it leads.
    ///
    /// # Errors
    /// [`RouteError::TooManyCandidates`]; the choice is empty then.
    pub fn choose_manager(
        &self,
        now: Instant,
        job: JobId,
        datacenter: DatacenterId,
        candidates: &[ManagerCandidate],
        choice: &mut ManagerChoice,
    ) -> Result<(), RouteError> {
        let accepted_by = self.jobs.get(&job).and_then(|record| record.manager(datacenter));
        choice.rank(now, &self.config.filter, &self.config.scoring, candidates, accepted_by)
    }

    /// Notes that a job was sent to a datacenter, so that its latency can be observed.
    pub fn record_dispatch(&mut self, now: Instant, job: JobId, datacenter: DatacenterId) {
        let dropped = self.jobs.touch(now, job).dispatch(now, datacenter);
        self.stats.placements_dropped += u64::from(dropped);
    }

    /// Notes which manager of a datacenter accepted a job.
    pub fn record_accepted(
        &mut self,
        now: Instant,
        job: JobId,
        datacenter: DatacenterId,
        manager: Address,
    ) {
        let dropped = self.jobs.touch(now, job).accept(datacenter, manager);
        self.stats.placements_dropped += u64::from(dropped);
    }

    /// Notes that a job ended in a datacenter it was sent to. A success is observed (AD-45) and its
    /// latency returned, in ms; a failure tells nothing about latency.
    pub fn record_completion(
        &mut self,
        now: Instant,
        job: JobId,
        datacenter: DatacenterId,
        success: bool,
    ) -> Option<f64> {
        let dispatched_at = self.jobs.get_mut(&job)?.complete(datacenter)?;
        if !success {
            return None;
        }
        let latency_ms = (now - dispatched_at).as_nanos() as f64 * 1e-6;
        self.record_latency(now, datacenter, latency_ms);
        Some(latency_ms)
    }

    /// Takes note of a job latency that the host measured itself, in ms.
    pub fn record_latency(&mut self, now: Instant, datacenter: DatacenterId, latency_ms: f64) {
        let used = self.observed.record(now, datacenter, latency_ms);
        self.stats.latencies_refused += u64::from(!used);
    }

    /// Notes that a datacenter failed a job: for a while that counts against it for this job.
    pub fn record_failure(&mut self, now: Instant, job: JobId, datacenter: DatacenterId) {
        let until = now + self.config.hysteresis.cooldown();
        let dropped = self.jobs.touch(now, job).cool_down(now, datacenter, until);
        self.stats.cooldowns_dropped += u64::from(dropped);
    }

    /// Forgets a job, for example because it ended. Returns whether it was known.
    pub fn forget_job(&mut self, job: JobId) -> bool {
        self.jobs.remove(&job)
    }

    /// Takes their primary away from all jobs that have one of these datacenters, for example
    /// because a partition cut them off. Shows each such job to `visit` and returns how many there
    /// were. Takes time in proportion to the number of jobs.
    pub fn reset_datacenters(
        &mut self,
        datacenters: &[DatacenterId],
        mut visit: impl FnMut(JobId),
    ) -> usize {
        let mut count = 0;
        self.jobs.for_each(|record| {
            if record.tenure().primary().is_some_and(|primary| datacenters.contains(&primary)) {
                record.tenure_mut().reset();
                visit(record.job());
                count += 1;
            }
        });
        count
    }

    /// Forgets up to `limit` jobs that were not heard of for their time to live. Returns how many.
    /// Routing does this by itself, two jobs at a time; a host calls it to give the room back
    /// early.
    pub fn expire_jobs(&mut self, now: Instant, limit: usize) -> usize {
        self.jobs.expire(now, limit)
    }

    /// What is remembered of a job.
    pub fn job(&self, job: JobId) -> Option<&JobState> {
        self.jobs.get(&job)
    }

    /// How many jobs are remembered.
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// How many jobs were forgotten before they were over.
    pub fn forgotten_count(&self) -> u64 {
        self.jobs.evicted() + self.jobs.expired()
    }

    /// The observed job latencies.
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// The observed job latencies, to forget datacenters.
    pub fn observed_mut(&mut self) -> &mut Observed {
        &mut self.observed
    }

    /// What was counted so far.
    pub fn stats(&self) -> RouterStats {
        RouterStats {
            jobs_evicted: self.jobs.evicted(),
            jobs_expired: self.jobs.expired(),
            ..self.stats.clone()
        }
    }

    /// The half of a decision that does not depend on the job.
    fn survey(
        &mut self,
        now: Instant,
        candidates: &[DatacenterCandidate],
        decision: &mut Decision,
    ) -> Result<(), RouteError> {
        decision.clear();
        if candidates.len() > CANDIDATE_COUNT_MAX {
            return Err(RouteError::TooManyCandidates { count: candidates.len() });
        }
        let admitted = self.admit(now, candidates, decision);
        let farthest_ms = admitted.inspect_err(|_| decision.clear())?;
        match farthest_ms {
            Some(farthest_ms) if self.config.bootstrap.is_mature(self.rtt_source) => {
                self.score(now, farthest_ms, &mut decision.ranked);
            }
            _ => {
                decision.scale = Scale::Capacity;
                self.rank_by_capacity(candidates, &mut decision.ranked);
            }
        }
        for (position, ranked) in decision.ranked.iter().enumerate() {
            decision.chain.push(ranked.key(position));
        }
        decision.chain.sort();
        Ok(())
    }

    /// Sorts candidates into eligible and excluded. Returns the longest round trip that is known
    /// among the eligible.
    fn admit(
        &mut self,
        now: Instant,
        candidates: &[DatacenterCandidate],
        decision: &mut Decision,
    ) -> Result<Option<f64>, RouteError> {
        let filter = self.config.filter.at(now);
        let scoring = &self.config.scoring;
        let mut farthest_ms = None;
        for (place, candidate) in candidates.iter().enumerate() {
            let datacenter = candidate.datacenter;
            let admission = match filter.admit(candidate) {
                Ok(admission) => admission,
                Err(reason) => {
                    decision.excluded.push(Excluded { datacenter, reason });
                    continue;
                }
            };
            if self.positions.get(datacenter, &decision.ranked).is_some() {
                return Err(RouteError::DuplicateDatacenter { datacenter });
            }
            self.positions.set(datacenter, decision.ranked.len());
            let ranked = rank_one(scoring, candidate, admission, place as u16);
            if ranked.rtt_known {
                farthest_ms = Some(ranked.score.latency_ms.max(farthest_ms.unwrap_or(0.0)));
            }
            decision.buckets.add(ranked.bucket);
            decision.ranked.push(ranked);
        }
        Ok(farthest_ms)
    }

    /// Scores by latency, load and quality (AD-36, part 4; AD-45).
    fn score(&self, now: Instant, farthest_ms: f64, ranked: &mut [Ranked]) {
        let unknown_ms = self.config.scoring.unknown_rtt_ms(farthest_ms);
        for one in ranked.iter_mut() {
            if !one.rtt_known {
                one.score.latency_ms = unknown_ms;
            }
        }
        if self.observed.is_useful() {
            let mut speed = MeanSpeed::default();
            for one in ranked.iter() {
                self.observed.accumulate(now, one.datacenter, &mut speed);
            }
            let jobs_per_ms = speed.jobs_per_ms();
            for one in ranked.iter_mut() {
                one.score.latency_ms *= self.observed.correction(now, one.datacenter, jobs_per_ms);
            }
        }
        for one in ranked.iter_mut() {
            one.score.base = one.score.product();
        }
    }

    /// Ranks by capacity while round trips are unknown (AD-36, part 6).
    fn rank_by_capacity(&self, candidates: &[DatacenterCandidate], ranked: &mut [Ranked]) {
        let unknown_ms = self.config.scoring.unknown_rtt_ms(0.0);
        for one in ranked {
            let candidate = &candidates[usize::from(one.candidate)];
            let capacity = capacity_score(&self.config.scoring, candidate);
            if !one.rtt_known {
                one.score.latency_ms = unknown_ms;
            }
            one.score.base = capacity.base;
            one.tie_break = capacity.tie_break;
        }
    }

    /// The half of a decision that is the job's own.
    fn settle(&mut self, now: Instant, request: RouteRequest<'_>, decision: &mut Decision) {
        let record = self.jobs.touch(now, request.job);
        let previous = record.tenure().primary();
        decision.job = Some(request.job);
        decision.previous = previous;
        let (Some(bucket), Some(_)) = (decision.bucket(), decision.chain.first()) else {
            decision.reason = Some(Reason::NoCandidate);
            self.stats.no_candidate += 1;
            return;
        };

        let scoring = &self.config.scoring;
        for &datacenter in request.preferred {
            let Some(position) = self.positions.get(datacenter, &decision.ranked) else { continue };
            let counts = scoring.prefer_in_fallback || decision.ranked[position].bucket == bucket;
            let multiplier = if counts { scoring.preference_multiplier } else { 1.0 };
            decision.prefer(position, multiplier);
        }
        for datacenter in record.cooling(now) {
            let Some(position) = self.positions.get(datacenter, &decision.ranked) else { continue };
            decision.cool(position, self.config.hysteresis.cooldown_multiplier);
        }

        let best = decision.chain.first().expect("a bucket is not empty");
        let held = previous.and_then(|primary| self.positions.get(primary, &decision.ranked));
        let field = Field {
            scale: decision.scale,
            bucket,
            best: decision.ranked[best].datacenter,
            best_value: decision.ranked[best].score.value(),
            current: held.map(|position| decision.ranked[position].standing()),
        };
        let tenure = record.tenure_mut();
        let reason = tenure.judge(&self.config.hysteresis, now, &field);
        let selected = if reason.is_retained() {
            held.expect("only a candidate is retained")
        } else {
            tenure.select(now, field.best, decision.ranked[best].score.base, decision.scale);
            best
        };
        decision.conclude(reason, selected, self.config.primary_count_max);
        self.stats.decisions[bucket as usize][reason as usize] += 1;
        self.stats.switches += u64::from(decision.switched());
    }
}

fn rank_one(
    scoring: &ScoringConfig,
    candidate: &DatacenterCandidate,
    admission: Admission,
    place: u16,
) -> Ranked {
    let rtt = candidate.usable_rtt();
    let utilization = utilization(candidate.available_cores, candidate.total_cores);
    let load_factor =
        scoring.load_factor(utilization, candidate.queue_depth, candidate.circuit_pressure);
    let score = Score {
        latency_ms: rtt.map_or(0.0, |rtt| scoring.known_rtt_ms(rtt.upper_ms)),
        load_factor,
        quality_penalty: scoring.quality_penalty(rtt.map_or(0.0, |rtt| rtt.quality)),
        severity: pessimistic_severity(candidate.severity),
        base: 0.0,
        multiplier: 1.0,
    };
    Ranked {
        datacenter: candidate.datacenter,
        bucket: admission.bucket,
        score,
        stale_health: admission.stale_health,
        rtt_known: rtt.is_some(),
        is_preferred: false,
        is_cooling: false,
        candidate: place,
        tie_break: 0,
    }
}

/// Where each datacenter stands in the decision at hand. An entry counts only while the decision
/// agrees, so the table is never cleared (Briggs and Torczon, 1993).
#[derive(Debug)]
struct Positions(Box<[u16]>);

impl Positions {
    fn new() -> Positions {
        Positions(vec![0; CANDIDATE_COUNT_MAX].into_boxed_slice())
    }

    fn set(&mut self, datacenter: DatacenterId, position: usize) {
        self.0[datacenter.index()] = position as u16;
    }

    fn get(&self, datacenter: DatacenterId, ranked: &[Ranked]) -> Option<usize> {
        let position = usize::from(self.0[datacenter.index()]);
        let agrees = ranked.get(position).is_some_and(|one| one.datacenter == datacenter);
        agrees.then_some(position)
    }
}
