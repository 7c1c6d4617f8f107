//! One job that nobody finishes, watched by its gate and by a manager in each of its datacenters
//! (AD-34).
//!
//! The trackers are those of the core. Their messages are carried here, each with the delay of its
//! path.

use shoal_core::jobs::{
    DatacenterTarget, GateJobStart, GateJobTracker, JobEvent, JobId, JobMessage, JobStart,
    JobTracker, JobsConfig,
};
use shoal_core::{Address, DatacenterName, Duration, Instant};

use crate::exit::Failure;

/// A manager that got the job.
#[derive(Debug)]
pub struct Site {
    /// Where it runs.
    pub datacenter: DatacenterName,
    /// Where it is reached.
    pub address: Address,
    /// How long a message takes from the gate to it, or back.
    pub one_way: Duration,
    /// When it ended the job.
    pub ended_at: Option<Instant>,
    tracker: JobTracker,
}

/// The job and everyone who watches it.
#[derive(Debug)]
pub struct WatchedJob {
    /// Its managers.
    pub sites: Vec<Site>,
    /// When its gate declared the global timeout.
    pub decided_at: Option<Instant>,
    gate: GateJobTracker,
    gate_address: Address,
    letters: Vec<Letter>,
}

/// A message on its way.
#[derive(Debug)]
struct Letter {
    due: Instant,
    site: usize,
    /// To the manager, or from it to the gate.
    to_site: bool,
    message: JobMessage,
}

impl WatchedJob {
    /// Sends a job from a gate to the managers at these places, each with the delay of its path.
    pub fn start(
        now: Instant,
        job: JobId,
        timeout: Duration,
        gate_address: Address,
        places: &[(DatacenterName, Address, Duration)],
    ) -> Result<WatchedJob, Failure> {
        let targets: Vec<DatacenterTarget> = places
            .iter()
            .map(|&(datacenter, address, _)| DatacenterTarget { datacenter, leader: Some(address) })
            .collect();
        let mut gate =
            GateJobTracker::new(JobsConfig::default(), 1, now).map_err(Failure::failed)?;
        let start = GateJobStart { job, timeout, datacenters: &targets };
        gate.job_started(now, &start).map_err(Failure::failed)?;
        let mut sites = Vec::with_capacity(places.len());
        for &(datacenter, address, one_way) in places {
            let arrival = now + one_way;
            let mut tracker =
                JobTracker::new(JobsConfig::default(), 2, arrival).map_err(Failure::failed)?;
            let start = JobStart { gate: Some(gate_address), ..JobStart::new(job, timeout) };
            tracker.job_started(arrival, &start).map_err(Failure::failed)?;
            sites.push(Site { datacenter, address, one_way, ended_at: None, tracker });
        }
        Ok(WatchedJob { sites, decided_at: None, gate, gate_address, letters: Vec::new() })
    }

    /// Whether the gate has decided and every manager has ended the job.
    pub fn is_over(&self) -> bool {
        self.decided_at.is_some() && self.sites.iter().all(|site| site.ended_at.is_some())
    }

    /// Delivers what is due and lets every tracker act.
    pub fn advance(&mut self, now: Instant) {
        self.deliver(now);
        self.gate.handle_timeout(now);
        while let Some(event) = self.gate.poll_event() {
            if let JobEvent::GlobalTimeout { at, .. } = event {
                self.decided_at = Some(at);
            }
        }
        for (index, site) in self.sites.iter_mut().enumerate() {
            // A manager's clock starts when the job reaches it.
            site.tracker.handle_timeout(now);
            while let Some(event) = site.tracker.poll_event() {
                if let JobEvent::TimedOut { at, .. } = event {
                    site.ended_at = Some(at);
                }
            }
            while let Some(outgoing) = site.tracker.poll_message(now) {
                let (due, message) = (now + site.one_way, outgoing.message);
                self.letters.push(Letter { due, site: index, to_site: false, message });
            }
        }
        while let Some(outgoing) = self.gate.poll_message(now) {
            let Some(site) = self.sites.iter().position(|site| site.address == outgoing.target)
            else {
                continue;
            };
            let (due, message) = (now + self.sites[site].one_way, outgoing.message);
            self.letters.push(Letter { due, site, to_site: true, message });
        }
    }

    fn deliver(&mut self, now: Instant) {
        let due = self.letters.extract_if(.., |letter| letter.due <= now);
        for Letter { site, to_site, message, .. } in due {
            let site = &mut self.sites[site];
            if to_site {
                site.tracker.handle_message(now, self.gate_address, &message);
            } else {
                self.gate.handle_message(now, site.address, &site.datacenter, &message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_ends_the_job_everywhere_and_not_early() {
        let place = |name: &str, port: u16, ms: u64| {
            let address = format!("10.0.0.1:{port}").parse().unwrap();
            (name.parse().unwrap(), address, Duration::from_millis(ms))
        };
        let start = Instant::from_millis(1_000);
        let timeout = Duration::from_secs(1);
        let places = [place("near", 1, 1), place("far", 2, 90)];
        let gate = "10.0.0.1:9".parse().unwrap();
        let mut job = WatchedJob::start(start, JobId::from(1), timeout, gate, &places).unwrap();
        let mut now = start;
        while !job.is_over() {
            assert!(now < start + 2 * timeout, "nobody ended it");
            now += Duration::from_millis(1);
            job.advance(now);
        }
        let decided = job.decided_at.unwrap() - start;
        assert!(decided >= timeout && decided <= timeout + Duration::from_millis(5), "{decided:?}");
        for site in &job.sites {
            assert!(site.ended_at.unwrap() - start >= timeout);
        }
    }
}
