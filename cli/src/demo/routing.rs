//! Where a gate sends a job: the datacenter whose managers it reaches soonest, in the worst case.
//!
//! The narrow place where the demo meets routing. A gate judges a datacenter by the lowest upper bound of
//! the round trip to one of its live managers, and spreads the jobs of a datacenter over its managers.

use shoal_core::{Address, Member, MemberState, Role};

/// A gate's answer for one job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The manager that gets the job. Its member record says in which datacenter.
    pub manager: Address,
}

/// What a gate remembers between jobs.
#[derive(Clone, Debug, Default)]
pub struct Router;

impl Router {
    /// Chooses for one job among the members the gate knows; `None` when no manager is alive.
    pub fn choose(&mut self, job: u64, members: &[Member]) -> Option<Choice> {
        let alive =
            |member: &&Member| member.role == Role::Manager && member.state == MemberState::Alive;
        let upper = |member: &Member| member.rtt.map_or(f64::INFINITY, |rtt| rtt.upper_ms);
        let managers = || members.iter().filter(alive);
        let nearest = managers().min_by(|a, b| upper(a).total_cmp(&upper(b)))?;
        let peers = || managers().filter(|member| member.datacenter == nearest.datacenter);
        let turn = job as usize % peers().count();
        peers().nth(turn).map(|member| Choice { manager: member.address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::{Generation, Incarnation, Rtt};

    fn manager(port: u16, datacenter: &str, upper_ms: f64, state: MemberState) -> Member {
        Member {
            address: format!("10.0.0.1:{port}").parse().unwrap(),
            state,
            generation: Generation(1),
            incarnation: Incarnation(0),
            role: Role::Manager,
            datacenter: datacenter.parse().unwrap(),
            health_score: 0,
            rtt: Some(Rtt { ms: upper_ms / 2.0, upper_ms, quality: 1.0 }),
            coordinate: None,
        }
    }

    #[test]
    fn the_lowest_upper_bound_wins_and_its_managers_share() {
        let members = [
            manager(1, "far", 90.0, MemberState::Alive),
            manager(2, "near", 3.0, MemberState::Alive),
            manager(3, "near", 2.0, MemberState::Alive),
        ];
        let ports = (0..4).map(|job| Router.choose(job, &members).unwrap().manager.port());
        assert_eq!(ports.collect::<Vec<_>>(), [2, 3, 2, 3]);
    }

    #[test]
    fn only_live_managers_get_jobs() {
        let mut members = [
            manager(1, "far", 90.0, MemberState::Alive),
            manager(2, "near", 3.0, MemberState::Suspect),
            manager(3, "near", 2.0, MemberState::Dead),
        ];
        assert_eq!(Router.choose(0, &members).unwrap().manager.port(), 1);
        members[0].state = MemberState::Left;
        assert_eq!(Router.choose(0, &members), None);
    }
}
