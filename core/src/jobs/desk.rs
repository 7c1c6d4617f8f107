//! The jobs of one node, by its role: a manager leads them, a gate watches them, a worker has none.

use super::config::JobsConfig;
use super::gate::GateJobTracker;
use super::messages::{JobMessage, Outgoing};
use super::timeout::JobEvent;
use super::tracker::JobTracker;
use crate::error::ConfigError;
use crate::node::{Address, DatacenterName, Role};
use crate::time::Instant;
use crate::wire::native::Malformed;

/// What a node keeps about jobs.
#[derive(Debug)]
pub(crate) enum JobDesk {
    Gate(Box<GateJobTracker>),
    Manager(Box<JobTracker>),
    Worker,
}

impl JobDesk {
    pub fn new(
        role: Role,
        config: &JobsConfig,
        seed: u64,
        now: Instant,
    ) -> Result<JobDesk, ConfigError> {
        let config = *config;
        Ok(match role {
            Role::Gate => JobDesk::Gate(Box::new(GateJobTracker::new(config, seed, now)?)),
            Role::Manager => JobDesk::Manager(Box::new(JobTracker::new(config, seed, now)?)),
            Role::Worker => JobDesk::Worker,
        })
    }

    /// Takes the job messages in a checked payload. Those for another role are left alone.
    pub fn handle_messages(
        &mut self,
        now: Instant,
        source: Address,
        datacenter: &DatacenterName,
        payload: &[u8],
    ) {
        for message in messages(payload) {
            match self {
                JobDesk::Gate(gate) if message.is_for_gate() => {
                    gate.handle_message(now, source, datacenter, &message);
                }
                JobDesk::Manager(manager) if !message.is_for_gate() => {
                    manager.handle_message(now, source, &message);
                }
                _ => {}
            }
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match self {
            JobDesk::Gate(gate) => gate.handle_timeout(now),
            JobDesk::Manager(manager) => manager.handle_timeout(now),
            JobDesk::Worker => {}
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            JobDesk::Gate(gate) => gate.poll_timeout(),
            JobDesk::Manager(manager) => manager.poll_timeout(),
            JobDesk::Worker => None,
        }
    }

    pub fn poll_message(&mut self, now: Instant) -> Option<Outgoing> {
        match self {
            JobDesk::Gate(gate) => gate.poll_message(now),
            JobDesk::Manager(manager) => manager.poll_message(now),
            JobDesk::Worker => None,
        }
    }

    pub fn poll_event(&mut self) -> Option<JobEvent> {
        match self {
            JobDesk::Gate(gate) => gate.poll_event(),
            JobDesk::Manager(manager) => manager.poll_event(),
            JobDesk::Worker => None,
        }
    }
}

/// Checks the payload of a datagram that carries job messages.
pub(crate) fn check_messages(payload: &[u8]) -> Result<(), Malformed> {
    let mut unread = payload;
    while !unread.is_empty() {
        (_, unread) = JobMessage::parse(unread)?;
    }
    Ok(())
}

fn messages(payload: &[u8]) -> impl Iterator<Item = JobMessage> + '_ {
    let mut unread = payload;
    std::iter::from_fn(move || {
        let (message, rest) = JobMessage::parse(unread).ok()?;
        unread = rest;
        Some(message)
    })
}
