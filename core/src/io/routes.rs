//! What a running node's host asks about leaders and datacenters, and how it routes.
//!
//! Each call travels to the node's thread and comes back with the engine's answer, because a decision changes
//! what the router remembers of the job. Hosts that route tens of thousands of jobs per second run the engine in
//! their own thread, or hand in many jobs at a time with [`Node::route_all`].

use super::error::NodeError;
use super::node::Node;
use crate::engine::{Engine, Route};
use crate::error::CommandError;
use crate::federation::{DatacenterLoad, DatacenterView, LeadershipView};
use crate::id::JobId;
use crate::node::{Address, DatacenterName};
use crate::routing::DatacenterId;

impl Node {
    /// Routes a job over the datacenters that this gate knows; see [`Engine::route_by_name`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing was decided.
    pub fn route(&self, job: JobId, preferred: &[DatacenterName]) -> Result<Route, NodeError> {
        let preferred = preferred.to_vec();
        self.command(move |engine, now| engine.route_by_name(now, job, &preferred))
    }

    /// Routes many jobs in one go, in their order.
    ///
    /// # Errors
    /// [`NodeError`]; nothing was decided.
    pub fn route_all(
        &self,
        jobs: Vec<JobId>,
        preferred: &[DatacenterName],
    ) -> Result<Vec<Route>, NodeError> {
        let preferred = preferred.to_vec();
        self.command(move |engine, now| {
            jobs.into_iter().map(|job| engine.route_by_name(now, job, &preferred)).collect()
        })
    }

    /// Notes that a job was sent to a datacenter; see [`Engine::job_sent`]. Returns whether this gate knows
    /// that datacenter.
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn job_sent(
        &self,
        job: JobId,
        datacenter: DatacenterName,
        manager: Option<Address>,
    ) -> Result<bool, NodeError> {
        self.command(move |engine, now| {
            with_datacenter(engine, &datacenter, |engine, id| {
                engine.job_sent(now, job, id, manager)
            })
        })
    }

    /// Notes that a datacenter failed a job; see [`Engine::job_failed`]. Returns whether this gate knows that
    /// datacenter.
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn job_failed(&self, job: JobId, datacenter: DatacenterName) -> Result<bool, NodeError> {
        self.command(move |engine, now| {
            with_datacenter(engine, &datacenter, |engine, id| engine.job_failed(now, job, id))
        })
    }

    /// Notes that a job ended in a datacenter; see [`Engine::job_ended`]. Returns its latency in ms, where it
    /// was a success and had been sent there.
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn job_ended(
        &self,
        job: JobId,
        datacenter: DatacenterName,
        success: bool,
    ) -> Result<Option<f64>, NodeError> {
        self.command(move |engine, now| match engine.datacenter_id(&datacenter) {
            Some(id) => engine.job_ended(now, job, id, success),
            None => Ok(None),
        })
    }

    /// Forgets what routing keeps of a job; see [`Engine::forget_route`].
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub fn forget_route(&self, job: JobId) -> Result<bool, NodeError> {
        self.command(move |engine, _| Ok(engine.forget_route(job)))
    }

    /// What this gate knows of each datacenter that it watches; nothing on other nodes.
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub fn datacenters(&self) -> Result<Vec<DatacenterView>, NodeError> {
        self.command(|engine, now| Ok(engine.datacenters(now).collect()))
    }

    /// Who leads this node's own datacenter; see [`Engine::leader`].
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub fn leader(&self) -> Result<LeadershipView, NodeError> {
        self.command(|engine, now| Ok(engine.leader(now)))
    }

    /// Names the leader of this manager's datacenter; see [`Engine::name_leader`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn name_leader(&self, leader: Option<Address>, term: u64) -> Result<(), NodeError> {
        self.command(move |engine, now| engine.name_leader(now, leader, term))
    }

    /// Tells how busy this manager's datacenter is; see [`Engine::set_load`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn set_load(&self, load: DatacenterLoad) -> Result<(), NodeError> {
        self.command(move |engine, now| engine.set_load(now, load))
    }

    /// Gives this gate a manager to ask; see [`Engine::watch_datacenter`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn watch_datacenter(
        &self,
        datacenter: DatacenterName,
        manager: Address,
    ) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.watch_datacenter(now, datacenter, manager))
    }
}

fn with_datacenter(
    engine: &mut Engine,
    name: &DatacenterName,
    act: impl FnOnce(&mut Engine, DatacenterId) -> Result<(), CommandError>,
) -> Result<bool, CommandError> {
    match engine.datacenter_id(name) {
        Some(id) => act(engine, id).map(|()| true),
        None => Ok(false),
    }
}
