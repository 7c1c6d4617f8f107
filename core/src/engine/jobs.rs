//! What a host does about jobs on its node, and how job messages travel.
//!
//! A manager leads jobs, a gate watches them; the messages between the two are delivered by the engine
//! itself, acknowledged and repeated until they arrive. What happens comes as [`Event::Job`].

use super::{Engine, Transmit};
use crate::effects::Outgoing;
use crate::error::CommandError;
use crate::events::Event;
use crate::id::{JobId, WorkerId};
use crate::jobs::desk::JobDesk;
use crate::jobs::messages::MESSAGE_SIZE_MAX;
use crate::jobs::{
    ExtensionDenial, ExtensionGrant, ExtensionRequest, GateJobSnapshot, GateJobStart,
    GateJobTracker, GateStats, JobError, JobOutcome, JobSnapshot, JobStart, JobStats, JobTracker,
    LeaderChange, WorkflowCounts,
};
use crate::node::{Address, Role};
use crate::stats::Counter;
use crate::time::Instant;
use crate::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX};
use crate::wire::native::{Kind, MessageWriter};

impl Engine {
    /// Begins to lead a job on this manager. Returns whether it is new: starting it again changes nothing.
    /// While this manager leads its datacenter, the job's fence is at least its term.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no manager, [`CommandError::Job`] when the job cannot be
    /// tracked; nothing has changed then.
    pub fn job_started(&mut self, now: Instant, start: &JobStart) -> Result<bool, CommandError> {
        let start = JobStart { fence: self.fence_at_start(start.fence), ..*start };
        self.with_manager(now, |manager, now| manager.job_started(now, &start))
    }

    /// Notes that a job made progress, and what its workflows are doing where the host says so. Returns whether the
    /// job is running here.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no manager.
    pub fn job_progress(
        &mut self,
        now: Instant,
        job: JobId,
        workflows: Option<WorkflowCounts>,
    ) -> Result<bool, CommandError> {
        self.with_manager(now, |manager, now| Ok(manager.job_progress(now, job, workflows)))
    }

    /// Ends a job: on a manager its run in this datacenter, on a gate the watch over all of them. Returns
    /// whether it was running here; ending it twice changes nothing.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is a worker.
    pub fn job_finished(
        &mut self,
        now: Instant,
        job: JobId,
        outcome: JobOutcome,
    ) -> Result<bool, CommandError> {
        if let JobDesk::Gate(_) = self.jobs {
            return self.with_gate(now, |gate, now| Ok(gate.job_finished(now, job)));
        }
        self.with_manager(now, |manager, now| Ok(manager.job_finished(now, job, outcome)))
    }

    /// Negotiates an extension with a worker of a job (AD-26).
    ///
    /// # Errors
    /// Why nothing is granted; on a node that is no manager no job is known.
    pub fn worker_extension(
        &mut self,
        now: Instant,
        job: JobId,
        worker: WorkerId,
        request: &ExtensionRequest,
    ) -> Result<ExtensionGrant, ExtensionDenial> {
        let mut answer = Err(ExtensionDenial::UnknownJob);
        let _ = self.with_manager(now, |manager, now| {
            answer = manager.worker_extension(now, job, worker, request);
            Ok(())
        });
        answer
    }

    /// Lets the extensions of a worker begin anew: it finished what it was busy with, or is well again.
    /// Returns whether it had any.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no manager.
    pub fn worker_recovered(
        &mut self,
        now: Instant,
        job: JobId,
        worker: WorkerId,
    ) -> Result<bool, CommandError> {
        self.with_manager(now, |manager, now| Ok(manager.worker_recovered(now, job, worker)))
    }

    /// Forgets the extensions of a worker that failed or was taken off the job. What it was granted stays.
    /// Returns whether it had any.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no manager.
    pub fn worker_removed(
        &mut self,
        now: Instant,
        job: JobId,
        worker: WorkerId,
    ) -> Result<bool, CommandError> {
        self.with_manager(now, |manager, now| Ok(manager.worker_removed(now, job, worker)))
    }

    /// Takes over the lead of a job on this manager, or gives it up. Returns whether anything changed. The
    /// job's fence becomes higher than those of all leaders that this manager knows of.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no manager, [`CommandError::Job`] when the job cannot be
    /// tracked; nothing has changed then.
    pub fn leader_changed(
        &mut self,
        now: Instant,
        job: JobId,
        change: &LeaderChange,
    ) -> Result<bool, CommandError> {
        let change = match *change {
            LeaderChange::Gained { snapshot, term } => {
                LeaderChange::Gained { snapshot, term: self.fence_at_takeover(term) }
            }
            LeaderChange::Lost => LeaderChange::Lost,
        };
        self.with_manager(now, |manager, now| manager.leader_changed(now, job, &change))
    }

    /// Lets all jobs that report to one gate report to another from now on, because the first one failed or
    /// gave them away. The other takes over the jobs it does not know. Returns whether any job reported to
    /// the first.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no manager, [`CommandError::Job`] when the other gate cannot
    /// be reached; nothing has changed then.
    pub fn gate_changed(
        &mut self,
        now: Instant,
        old: Address,
        new: Address,
    ) -> Result<bool, CommandError> {
        self.with_manager(now, |manager, _| manager.gate_changed(old, new))
    }

    /// Begins to watch a job on this gate. Returns whether it is new; starting a known one again adds the
    /// datacenters that are missing.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate, [`CommandError::Job`] when the job cannot be tracked.
    pub fn gate_job_started(
        &mut self,
        now: Instant,
        start: &GateJobStart<'_>,
    ) -> Result<bool, CommandError> {
        self.with_gate(now, |gate, now| gate.job_started(now, start))
    }

    /// Goes on watching a job that another gate watched, or this one before a restart. Returns whether it
    /// is new.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate, [`CommandError::Job`] when the job cannot be tracked.
    pub fn gate_job_resumed(
        &mut self,
        now: Instant,
        snapshot: &GateJobSnapshot,
    ) -> Result<bool, CommandError> {
        self.with_gate(now, |gate, now| gate.job_resumed(now, snapshot))
    }

    /// Gives up a job whose datacenters report to another gate now. Call it when all their managers know of
    /// the other gate. Returns whether it was watched here.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate.
    pub fn gate_job_released(&mut self, now: Instant, job: JobId) -> Result<bool, CommandError> {
        self.with_gate(now, |gate, now| Ok(gate.job_released(now, job)))
    }

    /// What a new leader of this job would need to go on, to be kept where it survives this manager.
    pub fn job_snapshot(&self, now: Instant, job: JobId) -> Option<JobSnapshot> {
        match &self.jobs {
            JobDesk::Manager(manager) => manager.snapshot(now, job),
            _ => None,
        }
    }

    /// What another gate would need to go on watching this job, `None` when it is not watched here or over.
    pub fn gate_job_snapshot(&self, now: Instant, job: JobId) -> Option<GateJobSnapshot> {
        match &self.jobs {
            JobDesk::Gate(gate) => gate.snapshot(now, job),
            _ => None,
        }
    }

    /// What this node has counted about the jobs it leads, `None` when it is no manager.
    pub fn job_stats(&self) -> Option<&JobStats> {
        match &self.jobs {
            JobDesk::Manager(manager) => Some(manager.stats()),
            _ => None,
        }
    }

    /// What this node has counted about the jobs it watches, `None` when it is no gate.
    pub fn gate_job_stats(&self) -> Option<&GateStats> {
        match &self.jobs {
            JobDesk::Gate(gate) => Some(gate.stats()),
            _ => None,
        }
    }

    /// How many jobs this node leads or watches.
    pub fn job_count(&self) -> usize {
        match &self.jobs {
            JobDesk::Gate(gate) => gate.len(),
            JobDesk::Manager(manager) => manager.len(),
            JobDesk::Worker => 0,
        }
    }

    fn with_manager<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut JobTracker, Instant) -> Result<T, JobError>,
    ) -> Result<T, CommandError> {
        self.begin_input(now);
        let JobDesk::Manager(manager) = &mut self.jobs else {
            return Err(CommandError::Role { needed: Role::Manager });
        };
        let result = act(manager, self.now)?;
        self.settle();
        Ok(result)
    }

    fn with_gate<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut GateJobTracker, Instant) -> Result<T, JobError>,
    ) -> Result<T, CommandError> {
        self.begin_input(now);
        let JobDesk::Gate(gate) = &mut self.jobs else {
            return Err(CommandError::Role { needed: Role::Gate });
        };
        let result = act(gate, self.now)?;
        self.settle();
        Ok(result)
    }

    /// Collects what the last input brought about: events, and the first message to send.
    pub(super) fn settle_jobs(&mut self) {
        self.settle_job_events();
        if self.held_job_message.is_none() {
            self.held_job_message = self.jobs.poll_message(self.now);
        }
        self.settle_routes();
    }

    /// Queues the events of jobs behind the others, as far as there is room.
    pub(super) fn settle_job_events(&mut self) {
        while self.effects.has_event_room()
            && let Some(event) = self.jobs.poll_event()
        {
            self.effects.emit(Event::Job(event));
        }
    }

    /// Writes a datagram of job messages: as many to one node as fit.
    pub(super) fn transmit_jobs(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        let mut first = self.held_job_message.take()?;
        while !self.speaks_native(first.target) {
            // It is repeated until acknowledged, or given up.
            self.effects.count(Counter::Untranslatable);
            first = self.jobs.poll_message(self.now)?;
        }
        let header = self.membership.header(&Outgoing::new(Kind::Jobs, first.target));
        let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
        let datacenter = self.membership.table.datacenter(0);
        let mut writer = MessageWriter::new(body, &header, datacenter, self.tracker.coordinate());
        let mut next = Some(first);
        while let Some(outgoing) = next {
            if outgoing.target != first.target || writer.room() < MESSAGE_SIZE_MAX {
                self.held_job_message = Some(outgoing);
                break;
            }
            let mut bytes = [0; MESSAGE_SIZE_MAX];
            let size = outgoing.message.write(&mut bytes).expect("the buffer fits every message");
            writer.push_payload(&[&bytes[..size]]);
            next = self.jobs.poll_message(self.now);
        }
        let size = writer.finish();
        Some(self.seal(buffer, size, first.target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::jobs::{DatacenterTarget, JobEvent};
    use crate::node::MemberState;
    use crate::testing::{Cluster, address, config};
    use crate::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    /// Gate 0, and one manager in each of two datacenters.
    fn cluster() -> Cluster {
        let mut cluster = Cluster::new();
        cluster.start(0, Config { role: Role::Gate, ..config(0) });
        for (number, name) in [(1, "east"), (2, "west")] {
            let datacenter = name.parse().unwrap();
            cluster.start(number, Config { datacenter, ..config(number) });
        }
        cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
        cluster
    }

    fn start(cluster: &mut Cluster, job: JobId, timeout: Duration, managers: &[u16]) {
        let now = cluster.now;
        let targets: Vec<DatacenterTarget> = managers
            .iter()
            .map(|&number| DatacenterTarget {
                datacenter: if number == 1 { "east" } else { "west" }.parse().unwrap(),
                leader: Some(address(number)),
            })
            .collect();
        let gate_start = GateJobStart { job, timeout, datacenters: &targets };
        cluster.engine(0).gate_job_started(now, &gate_start).unwrap();
        cluster.drain(0);
        for &number in managers {
            let start = JobStart { gate: Some(address(0)), ..JobStart::new(job, timeout) };
            cluster.engine(number).job_started(now, &start).unwrap();
            cluster.drain(number);
        }
    }

    fn timed_out(cluster: &Cluster, number: u16, job: JobId) -> usize {
        let is_it = |event: &Event| matches!(event, Event::Job(JobEvent::TimedOut { job: j, .. }) if *j == job);
        let own = cluster.events.iter().filter(|(n, _)| *n == number);
        own.filter(|(_, event)| is_it(event)).count()
    }

    #[test]
    fn a_job_over_time_ends_once_in_every_datacenter() {
        let mut cluster = cluster();
        let job = JobId::from_name(b"slow");
        start(&mut cluster, job, 10 * SECOND, &[1, 2]);
        cluster.run_for(9 * SECOND);
        assert_eq!(timed_out(&cluster, 1, job) + timed_out(&cluster, 2, job), 0, "too early");
        cluster.run_for(20 * SECOND);
        assert_eq!((timed_out(&cluster, 1, job), timed_out(&cluster, 2, job)), (1, 1));
        let decided = |event: &Event| matches!(event, Event::Job(JobEvent::GlobalTimeout { .. }));
        assert_eq!(cluster.events.iter().filter(|(n, e)| *n == 0 && decided(e)).count(), 1);
        cluster.run_for(Duration::from_secs(2_000));
        for engine in cluster.engines.values() {
            assert_eq!(engine.job_count(), 0, "something of the job stayed");
        }
    }

    /// In the Python gate a job in a single datacenter never gets a global timeout.
    #[test]
    fn defect_t1_a_job_in_one_datacenter_does_time_out() {
        let mut cluster = cluster();
        let job = JobId::from_name(b"lonely");
        start(&mut cluster, job, 5 * SECOND, &[1]);
        cluster.run_for(15 * SECOND);
        assert_eq!(timed_out(&cluster, 1, job), 1);
    }

    #[test]
    fn a_finished_job_never_times_out() {
        let mut cluster = cluster();
        let job = JobId::from_name(b"quick");
        start(&mut cluster, job, 5 * SECOND, &[1, 2]);
        cluster.run_for(2 * SECOND);
        for number in [1, 2] {
            let now = cluster.now;
            assert!(cluster.engine(number).job_finished(now, job, JobOutcome::Completed).unwrap());
            cluster.drain(number);
        }
        cluster.run_for(60 * SECOND);
        assert_eq!(timed_out(&cluster, 1, job) + timed_out(&cluster, 2, job), 0);
    }

    #[test]
    fn a_cut_off_datacenter_learns_once_it_is_connected() {
        let mut cluster = cluster();
        let job = JobId::from_name(b"cut");
        start(&mut cluster, job, 30 * SECOND, &[1, 2]);
        cluster.run_for(SECOND);
        cluster.cut = vec![(address(0), address(2)), (address(2), address(0))];
        cluster.run_for(40 * SECOND);
        assert_eq!((timed_out(&cluster, 1, job), timed_out(&cluster, 2, job)), (1, 0));
        cluster.cut.clear();
        cluster.run_for(40 * SECOND);
        assert_eq!((timed_out(&cluster, 1, job), timed_out(&cluster, 2, job)), (1, 1));
        assert_eq!(cluster.state(0, 2), Some(MemberState::Alive));
    }

    #[test]
    fn a_command_for_another_role_is_refused() {
        let mut cluster = cluster();
        let (now, job) = (cluster.now, JobId::from_name(b"x"));
        let start = JobStart::new(job, SECOND);
        let error = cluster.engine(0).job_started(now, &start).unwrap_err();
        assert_eq!(error, CommandError::Role { needed: Role::Manager });
        assert_eq!(error.to_string(), "only a manager can do this");
    }
}
