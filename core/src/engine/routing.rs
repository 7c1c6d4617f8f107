//! Routing inside a gate's engine: the candidates come by themselves (AD-36).
//!
//! What the router ranks is put together from three sources: the leaders' summaries and whether they
//! are heard (federation), head counts (membership), and distances (coordinates and probes). It is put together anew
//! when one of the first two tells something new, and at least every [`PICTURE_AGE_MAX`]; in between jobs are routed
//! over the same picture, so that routing costs what the router costs.
//!
//! Leaders tell their load every few seconds. A burst routed in between would all go to whoever was best
//! before it, so the jobs that the host has sent to a datacenter since its leader last told count as waiting
//! there.
//!
//! What is kept of a job goes when the job is over in all datacenters or its host says so. When a
//! datacenter is cut off or has a new leader, its jobs choose afresh.

use super::Engine;
use crate::coordinate::Tracker;
use crate::error::CommandError;
use crate::error::ConfigError;
use crate::federation::{Federation, FederationEvent, Reachability};
use crate::id::JobId;
use crate::jobs::desk::JobDesk;
use crate::membership::Membership;
use crate::node::{Address, DatacenterName, MemberState, Role};
use crate::random::Random;
use crate::routing::{
    CircuitState, DatacenterCandidate, DatacenterId, Datacenters, Decision, ManagerCandidate,
    ManagerChoice, RouteRequest, Router, RouterConfig, RoutingOverview, RttSource,
};
use crate::stats::{Counter, Stats};
use crate::time::{Duration, Instant};

/// A decision with the names of its datacenters and the manager to send the job to, for hosts outside the
/// engine's thread.
#[derive(Clone, Debug, Default)]
pub struct Route {
    decision: Decision,
    names: Vec<DatacenterName>,
    manager: Option<Address>,
}

impl Route {
    /// The decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The name of a datacenter that the decision speaks of.
    pub fn name(&self, datacenter: DatacenterId) -> &DatacenterName {
        &self.names[datacenter.index()]
    }

    /// The datacenter to send the job to, `None` when no datacenter may take it.
    pub fn datacenter(&self) -> Option<&DatacenterName> {
        self.decision.selected().map(|selected| self.name(selected))
    }

    /// The decision, the names of datacenters by their numbers, and the manager.
    pub fn into_parts(self) -> (Decision, Vec<DatacenterName>, Option<Address>) {
        (self.decision, self.names, self.manager)
    }

    /// The manager there to send the job to.
    pub fn manager(&self) -> Option<Address> {
        self.manager
    }
}

/// How old the picture that jobs are routed over may be: distances move a little with every probe.
const PICTURE_AGE_MAX: Duration = Duration::from_millis(100);

/// The same load told twice seems this much newer at most, by how long its messages were under way.
const SAME_NEWS: Duration = Duration::from_millis(100);

/// What was sent to a datacenter since its leader last told its load.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    count: u32,
    told_at: Instant,
}

/// What a gate needs for routing.
#[derive(Debug)]
pub(super) struct RoutingDesk {
    router: Router,
    candidates: Vec<DatacenterCandidate>,
    /// When they were put together, `None` when something has changed since.
    pictured_at: Option<Instant>,
    /// By the number of the datacenter.
    sent: Vec<Sent>,
    leaders: Vec<Option<Address>>,
    managers: Vec<ManagerCandidate>,
    overview: RoutingOverview,
    /// Whether the overview has the scores of the present picture.
    is_shown: bool,
}

/// What candidates are put together from.
struct Sources<'a> {
    federation: &'a Federation,
    membership: &'a Membership,
    tracker: &'a Tracker,
}

impl RoutingDesk {
    /// The desk of a node with this role; only gates route.
    pub fn new(
        role: Role,
        config: &RouterConfig,
        random: &mut Random,
    ) -> Result<Option<Box<RoutingDesk>>, ConfigError> {
        if role != Role::Gate {
            return Ok(None);
        }
        Ok(Some(Box::new(RoutingDesk {
            router: Router::new(*config, random.next_u64())?,
            candidates: Vec::new(),
            pictured_at: None,
            sent: Vec::new(),
            leaders: Vec::new(),
            managers: Vec::new(),
            overview: RoutingOverview::default(),
            is_shown: false,
        })))
    }

    /// Notes that the picture has changed.
    pub fn mark_stale(&mut self) {
        self.pictured_at = None;
    }

    /// Lets jobs choose afresh whose datacenter was cut off or has a new leader. Returns how many did.
    pub fn follow(&mut self, names: &Datacenters, event: &FederationEvent) -> usize {
        let datacenter = match event {
            FederationEvent::LeaderElected { datacenter, .. } => datacenter,
            FederationEvent::ReachabilityChanged {
                datacenter,
                to: Reachability::Unreachable,
                ..
            } => datacenter,
            _ => return 0,
        };
        let Some(id) = names.id(datacenter) else { return 0 };
        if let FederationEvent::LeaderElected { leader, .. } = *event {
            if id.index() >= self.leaders.len() {
                self.leaders.resize(id.index() + 1, None);
            }
            let previous = self.leaders[id.index()].replace(leader);
            if previous.is_none() || previous == Some(leader) {
                return 0;
            }
        }
        self.router.reset_datacenters(&[id], |_| {})
    }

    fn note_sent(&mut self, datacenter: DatacenterId) {
        let index = datacenter.index();
        if index >= self.sent.len() {
            self.sent.resize(index + 1, Sent::default());
        }
        self.sent[index].count = self.sent[index].count.saturating_add(1);
        let same = |candidate: &&mut DatacenterCandidate| candidate.datacenter == datacenter;
        if let Some(candidate) = self.candidates.iter_mut().find(same) {
            candidate.queue_depth = candidate.queue_depth.saturating_add(1);
        }
    }

    /// Keeps the scores of the first decision over a picture, for whoever looks from outside.
    fn show(&mut self, names: &Datacenters, decision: &Decision) {
        if !self.is_shown {
            self.is_shown = true;
            self.overview.show_scores(names, decision);
        }
    }

    /// Whether a job is sent elsewhere because its primary failed it; then the primary.
    fn failed_primary(&self, now: Instant, job: JobId, to: DatacenterId) -> Option<DatacenterId> {
        let state = self.router.job(job)?;
        let primary = state.tenure().primary().filter(|primary| *primary != to)?;
        state.cooling(now).any(|failed| failed == primary).then_some(primary)
    }

    /// Puts the candidates together, unless they are as good as new.
    fn picture(&mut self, now: Instant, sources: &Sources<'_>) {
        if self.pictured_at.is_some_and(|at| now < at + PICTURE_AGE_MAX) {
            return;
        }
        self.pictured_at = Some(now);
        self.is_shown = false;
        let rtt = |address| sources.tracker.rtt(sources.membership.table.find(address)?, now);
        sources.federation.candidates(now, rtt, &mut self.candidates);
        for candidate in &mut self.candidates {
            let Some(sent) = self.sent.get_mut(candidate.datacenter.index()) else { continue };
            if candidate.updated_at > sent.told_at + SAME_NEWS {
                *sent = Sent { count: 0, told_at: candidate.updated_at };
            }
            candidate.queue_depth = candidate.queue_depth.saturating_add(sent.count);
        }
        let metrics = sources.tracker.metrics();
        self.router.set_rtt_source(RttSource::Predicted {
            sample_count: metrics.updates.min(u64::from(u32::MAX)) as u32,
            error: metrics.prediction_error,
        });
    }
}

impl Engine {
    /// Routes a job over the datacenters that this gate knows and explains it in `decision`, whose buffers
    /// are used again. Preferred datacenters are named by the numbers that
    /// [`Engine::datacenter_names`] gives. Nothing is sent: the host sends the job and says so with
    /// [`Engine::job_sent`].
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate. Nothing has changed then.
    pub fn route(
        &mut self,
        now: Instant,
        job: JobId,
        preferred: &[DatacenterId],
        decision: &mut Decision,
    ) -> Result<(), CommandError> {
        let (desk, now) = self.routing_desk(now)?;
        desk.router.route(now, job, &desk.candidates, preferred, decision)?;
        let forgotten = desk.router.forgotten_count();
        self.show_routing(decision);
        count(decision, &mut self.effects.stats);
        self.effects.stats.set(Counter::JobRoutesForgotten, forgotten);
        Ok(())
    }

    /// The same for hosts that have only names, with the manager to send the job to. Preferred names that
    /// this gate has not heard of count for nothing.
    ///
    /// # Errors
    /// As [`Engine::route`].
    pub fn route_by_name(
        &mut self,
        now: Instant,
        job: JobId,
        preferred: &[DatacenterName],
    ) -> Result<Route, CommandError> {
        let ids: Vec<DatacenterId> =
            preferred.iter().filter_map(|name| self.datacenter_id(name)).collect();
        let mut route = Route::default();
        self.route(now, job, &ids, &mut route.decision)?;
        if let Some(selected) = route.decision.selected() {
            let mut choice = ManagerChoice::default();
            self.choose_manager(now, job, selected, &mut choice)?;
            route.manager = choice.selected().map(|manager| manager.address);
        }
        let names = self.datacenter_names();
        let ids = (0..names.len()).filter_map(DatacenterId::from_index);
        route.names = ids.filter_map(|id| names.name(id)).copied().collect();
        Ok(route)
    }

    /// Routes many jobs over one picture and shows each decision to `visit`. Of a burst that should spread by
    /// load, route a part at a time and tell what was sent in between.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate; no job was routed then.
    pub fn route_batch(
        &mut self,
        now: Instant,
        requests: &[RouteRequest<'_>],
        decision: &mut Decision,
        mut visit: impl FnMut(&Decision),
    ) -> Result<(), CommandError> {
        self.routing_desk(now)?;
        let Engine { routing, effects, now, federation, .. } = self;
        let RoutingDesk { router, candidates, overview, is_shown, .. } =
            &mut **routing.as_mut().expect("it was there a moment ago");
        let stats = &mut effects.stats;
        router.route_batch(*now, requests, candidates, decision, |decision| {
            if !std::mem::replace(is_shown, true) {
                overview.show_scores(federation.names(), decision);
            }
            count(decision, stats);
            visit(decision);
        })?;
        let desk = routing.as_mut().expect("it was there a moment ago");
        stats.set(Counter::JobRoutesForgotten, desk.router.forgotten_count());
        Ok(())
    }

    /// Orders the managers of a datacenter for a job: the one that already accepted it leads, then the
    /// others by distance, those that are suspected last.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate.
    pub fn choose_manager(
        &mut self,
        now: Instant,
        job: JobId,
        datacenter: DatacenterId,
        choice: &mut ManagerChoice,
    ) -> Result<(), CommandError> {
        let (desk, now) = self.routing_desk(now)?;
        let mut managers = std::mem::take(&mut desk.managers);
        managers.clear();
        for &address in self.federation.managers(datacenter) {
            let slot = self.membership.table.find(address);
            let state = slot.map(|slot| self.membership.table.get(slot).state);
            let circuit = match state {
                Some(MemberState::Suspect) => CircuitState::HalfOpen,
                Some(MemberState::Dead | MemberState::Left) => continue,
                _ => CircuitState::Closed,
            };
            let rtt = slot.and_then(|slot| self.tracker.rtt(slot, now));
            managers.push(ManagerCandidate { circuit, rtt, ..ManagerCandidate::new(address, now) });
        }
        let desk = self.routing.as_mut().expect("it was there a moment ago");
        let chosen = desk.router.choose_manager(now, job, datacenter, &managers, choice);
        desk.managers = managers;
        Ok(chosen?)
    }

    /// Notes that a job was sent to a datacenter, and to which manager where that is known. It counts as
    /// waiting there until the leader tells its load again.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate.
    pub fn job_sent(
        &mut self,
        now: Instant,
        job: JobId,
        datacenter: DatacenterId,
        manager: Option<Address>,
    ) -> Result<(), CommandError> {
        let (desk, now) = self.routing_desk(now)?;
        let failed = desk.failed_primary(now, job, datacenter);
        desk.router.record_dispatch(now, job, datacenter);
        desk.note_sent(datacenter);
        if let Some(manager) = manager {
            desk.router.record_accepted(now, job, datacenter, manager);
        }
        let name = |id| self.federation.names().name(id).copied();
        if let Some((from, to)) = failed.and_then(name).zip(name(datacenter)) {
            let desk = self.routing.as_mut().expect("it was there a moment ago");
            desk.overview.count_fallback(from, to);
        }
        Ok(())
    }

    /// Notes that a datacenter failed a job, which counts against it for that job for a while
    /// ([`cooldown_ms`](crate::routing::HysteresisConfig::cooldown_ms)).
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate.
    pub fn job_failed(
        &mut self,
        now: Instant,
        job: JobId,
        datacenter: DatacenterId,
    ) -> Result<(), CommandError> {
        let (desk, now) = self.routing_desk(now)?;
        desk.router.record_failure(now, job, datacenter);
        Ok(())
    }

    /// Notes that a job ended in a datacenter it was sent to. A success corrects what distance lets expect
    /// (AD-45); its latency is returned, in ms.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate.
    pub fn job_ended(
        &mut self,
        now: Instant,
        job: JobId,
        datacenter: DatacenterId,
        success: bool,
    ) -> Result<Option<f64>, CommandError> {
        let (desk, now) = self.routing_desk(now)?;
        Ok(desk.router.record_completion(now, job, datacenter, success))
    }

    /// Forgets what routing keeps of a job. Jobs that this gate watches
    /// ([`Engine::gate_job_started`]) are forgotten by themselves when they are over. Returns whether it was
    /// known.
    pub fn forget_route(&mut self, job: JobId) -> bool {
        self.routing.as_mut().is_some_and(|desk| desk.router.forget_job(job))
    }

    /// The router of this gate, `None` on other nodes.
    pub fn router(&self) -> Option<&Router> {
        self.routing.as_ref().map(|desk| &desk.router)
    }

    /// What this gate's routing looks like by datacenter, `None` on other nodes.
    pub fn routing_overview(&self) -> Option<&RoutingOverview> {
        self.routing.as_ref().map(|desk| &desk.overview)
    }

    fn show_routing(&mut self, decision: &Decision) {
        let names = self.federation.names();
        self.routing.as_mut().expect("it has just routed").show(names, decision);
    }

    /// The numbers that stand for datacenters in decisions.
    pub fn datacenter_names(&self) -> &Datacenters {
        self.federation.names()
    }

    /// The number of a datacenter, `None` when this node has not heard of it.
    pub fn datacenter_id(&self, name: &DatacenterName) -> Option<DatacenterId> {
        self.federation.names().id(name)
    }

    /// The desk with a present picture. Routing sends nothing, so it is no input of the drive loop.
    fn routing_desk(&mut self, now: Instant) -> Result<(&mut RoutingDesk, Instant), CommandError> {
        self.now = self.now.max(now);
        let Engine { routing, federation, membership, tracker, now, .. } = self;
        let desk = routing.as_mut().ok_or(CommandError::Role { needed: Role::Gate })?;
        desk.picture(*now, &Sources { federation, membership, tracker });
        Ok((desk, *now))
    }

    /// Forgets the routes of jobs that are over.
    pub(super) fn settle_routes(&mut self) {
        let (Some(desk), JobDesk::Gate(gate)) = (&mut self.routing, &mut self.jobs) else { return };
        while let Some(job) = gate.poll_over() {
            desk.router.forget_job(job);
        }
    }
}

fn count(decision: &Decision, stats: &mut Stats) {
    stats.count(Counter::JobsRouted);
    stats.add(Counter::JobsUnroutable, u64::from(decision.selected().is_none()));
    stats.add(Counter::JobSwitches, u64::from(decision.switched()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::federation::DatacenterLoad;
    use crate::jobs::{DatacenterTarget, GateJobStart, JobOutcome, JobStart};
    use crate::routing::{Bucket, Reason};
    use crate::testing::{Cluster, address, config};

    const SECOND: Duration = Duration::from_secs(1);

    /// Gate 0; managers 1 and 2 and worker 5 in east; managers 3 and 4 and worker 6 in west.
    fn cluster() -> Cluster {
        let mut cluster = Cluster::new();
        for number in 0..7 {
            let role = match number {
                0 => Role::Gate,
                1..=4 => Role::Manager,
                _ => Role::Worker,
            };
            let is_east = matches!(number, 0..=2 | 5);
            let datacenter = if is_east { "east" } else { "west" }.parse().unwrap();
            cluster.start(number, Config { role, datacenter, ..config(number) });
        }
        cluster.run_for(8 * SECOND);
        tell(&mut cluster, [[100, 100]; 2]);
        cluster
    }

    /// Lets every manager tell the free and all cores of its datacenter, and gates hear it.
    fn tell(cluster: &mut Cluster, cores: [[u32; 2]; 2]) {
        for number in 1..=4 {
            let [available_cores, total_cores] = cores[usize::from(number > 2)];
            let load = DatacenterLoad { available_cores, total_cores, ..DatacenterLoad::default() };
            let now = cluster.now;
            let manager = cluster.engines.get_mut(&number);
            manager.into_iter().for_each(|engine| engine.set_load(now, load).unwrap());
        }
        cluster.run_for(3 * SECOND);
    }

    fn id(cluster: &Cluster, name: &str) -> DatacenterId {
        cluster.engines[&0].datacenter_id(&name.parse().unwrap()).unwrap()
    }

    fn route(cluster: &mut Cluster, job: u128) -> Decision {
        let (now, mut decision) = (cluster.now, Decision::default());
        cluster.engine(0).route(now, JobId::from(job), &[], &mut decision).unwrap();
        decision
    }

    #[test]
    fn candidates_come_by_themselves_and_load_decides_between_equals() {
        let mut cluster = cluster();
        let (east, west) = (id(&cluster, "east"), id(&cluster, "west"));
        tell(&mut cluster, [[10, 100], [90, 100]]);
        let decision = route(&mut cluster, 1);
        assert_eq!(
            (decision.selected(), decision.reason()),
            (Some(west), Reason::InitialSelection)
        );
        assert_eq!(decision.bucket(), Some(Bucket::Healthy));
        assert!(!decision.is_bootstrap());
        assert!(decision.chain().all(|ranked| ranked.rtt_known && ranked.score.latency_ms < 5.0));
        // No free core is busy, and no healthy datacenter is passed over for a busy one.
        tell(&mut cluster, [[10, 100], [0, 100]]);
        let decision = route(&mut cluster, 1);
        assert_eq!(
            (decision.selected(), decision.reason()),
            (Some(east), Reason::BucketDropForced)
        );
        let stats = cluster.engines[&0].stats();
        assert_eq!(stats.value(Counter::JobsRouted), 2);
        assert_eq!(stats.value(Counter::JobSwitches), 1);
    }

    #[test]
    fn scores_and_used_fallbacks_can_be_seen_from_outside() {
        let mut cluster = cluster();
        let (east, west) = (id(&cluster, "east"), id(&cluster, "west"));
        tell(&mut cluster, [[10, 100], [90, 100]]);
        let decision = route(&mut cluster, 1);
        let best = decision.chain().next().unwrap().score;
        let (now, job) = (cluster.now, JobId::from(1));
        let gate = cluster.engine(0);
        let names = |gate: &Engine| {
            let scores = gate.routing_overview().unwrap().scores().to_vec();
            scores.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(gate), ["west", "east"]);
        assert_eq!(gate.routing_overview().unwrap().scores()[0].1, best);
        // Sent to the primary, or elsewhere without a failure: no fallback was needed.
        gate.job_sent(now, job, west, None).unwrap();
        gate.job_sent(now, job, east, None).unwrap();
        assert_eq!(gate.routing_overview().unwrap().fallbacks(), []);
        gate.job_failed(now, job, west).unwrap();
        gate.job_sent(now, job, east, None).unwrap();
        let [fallback] = gate.routing_overview().unwrap().fallbacks() else { panic!("one pair") };
        assert_eq!(
            (fallback.from.to_string(), fallback.to.to_string()),
            ("west".into(), "east".into())
        );
        assert_eq!(fallback.count, 1);
        let mut text = String::new();
        let (router, overview) = (gate.router().unwrap(), gate.routing_overview().unwrap());
        crate::metrics::write_routing(&mut text, &router.stats(), overview);
        for line in [
            "shoal_routing_fallback_used_total{from_dc=\"west\",to_dc=\"east\"} 1",
            "shoal_routing_score_component{dc_id=\"west\",component=\"quality\"} ",
        ] {
            assert!(text.contains(&format!("\n{line}")), "{line} is not in {text}");
        }
        assert!(cluster.engine(1).routing_overview().is_none(), "only gates route");
    }

    #[test]
    fn a_datacenter_without_managers_is_left_within_seconds() {
        let mut cluster = cluster();
        let (east, west) = (id(&cluster, "east"), id(&cluster, "west"));
        tell(&mut cluster, [[10, 100], [90, 100]]);
        assert_eq!(route(&mut cluster, 1).selected(), Some(west));
        cluster.kill(3);
        cluster.kill(4);
        cluster.run_for(5 * SECOND);
        let decision = route(&mut cluster, 1);
        assert_eq!((decision.selected(), decision.reason()), (Some(east), Reason::ExclusionForced));
        assert_eq!(decision.excluded()[0].datacenter, west);
    }

    #[test]
    fn a_burst_between_two_news_of_load_spreads() {
        let mut cluster = cluster();
        let datacenters = [id(&cluster, "east"), id(&cluster, "west")];
        let mut counts = [0; 2];
        for job in 0..100 {
            let now = cluster.now;
            let selected = route(&mut cluster, job).selected().unwrap();
            cluster.engine(0).job_sent(now, JobId::from(job), selected, None).unwrap();
            counts[usize::from(selected == datacenters[1])] += 1;
        }
        assert!(counts.iter().all(|count| (35..=65).contains(count)), "{counts:?}");
        cluster.run_for(3 * SECOND);
        let fresh = route(&mut cluster, 1_000);
        assert!(
            fresh.chain().all(|ranked| ranked.score.load_factor < 1.01),
            "news replaces guesses"
        );
    }

    #[test]
    fn a_route_goes_with_its_job() {
        let mut cluster = cluster();
        let (now, job) = (cluster.now, JobId::from(1));
        let selected = route(&mut cluster, 1).selected().unwrap();
        let (name, manager) = match selected == id(&cluster, "east") {
            true => ("east", 1),
            false => ("west", 3),
        };
        let target =
            DatacenterTarget { datacenter: name.parse().unwrap(), leader: Some(address(manager)) };
        let start = GateJobStart { job, timeout: 60 * SECOND, datacenters: &[target] };
        cluster.engine(0).gate_job_started(now, &start).unwrap();
        cluster.drain(0);
        let start = JobStart { gate: Some(address(0)), ..JobStart::new(job, 60 * SECOND) };
        cluster.engine(manager).job_started(now, &start).unwrap();
        cluster.drain(manager);
        cluster.run_for(2 * SECOND);
        let known = |cluster: &Cluster| cluster.engines[&0].router().unwrap().job_count();
        assert_eq!(known(&cluster), 1);
        let now = cluster.now;
        cluster.engine(manager).job_finished(now, job, JobOutcome::Completed).unwrap();
        cluster.drain(manager);
        cluster.run_for(2 * SECOND);
        assert_eq!(known(&cluster), 0);
        route(&mut cluster, 2);
        assert!(cluster.engine(0).forget_route(JobId::from(2)));
        assert!(!cluster.engine(0).forget_route(JobId::from(2)));
    }

    #[test]
    fn a_new_leader_lets_the_jobs_of_its_datacenter_choose_afresh() {
        let mut cluster = cluster();
        tell(&mut cluster, [[10, 100], [90, 100]]);
        assert_eq!(route(&mut cluster, 1).selected(), Some(id(&cluster, "west")));
        let leads = |c: &Cluster, n: u16| c.engines[&n].leader(c.now).is_own;
        let leader = if leads(&cluster, 3) { 3 } else { 4 };
        cluster.leave(leader);
        cluster.run_for(5 * SECOND);
        let decision = route(&mut cluster, 1);
        assert_eq!(decision.reason(), Reason::InitialSelection);
        assert_eq!(decision.previous(), None);
        assert_eq!(cluster.engines[&0].stats().value(Counter::JobRoutesReset), 1);
    }

    #[test]
    fn managers_are_chosen_by_who_accepted_and_never_dead() {
        let mut cluster = cluster();
        let (east, job) = (id(&cluster, "east"), JobId::from(1));
        let mut choice = ManagerChoice::default();
        let now = cluster.now;
        cluster.engine(0).choose_manager(now, job, east, &mut choice).unwrap();
        let second = choice.chain().nth(1).unwrap().address;
        cluster.engine(0).job_sent(now, job, east, Some(second)).unwrap();
        cluster.engine(0).choose_manager(now, job, east, &mut choice).unwrap();
        assert_eq!(choice.selected().unwrap().address, second);
        cluster.kill(second.port() - 7_000);
        cluster.run_for(5 * SECOND);
        let now = cluster.now;
        cluster.engine(0).choose_manager(now, job, east, &mut choice).unwrap();
        assert_ne!(choice.selected().unwrap().address, second);
        let error = cluster.engine(1).choose_manager(now, job, east, &mut choice).unwrap_err();
        assert_eq!(error, CommandError::Role { needed: Role::Gate });
    }
}
