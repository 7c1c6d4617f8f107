//! What is done to agents and when, drawn from a seed: stops, loss, kills. Simulated nodes and real
//! processes live through the same.

use shoal_core::Duration;
use shoal_core::random::Random;

/// Between two stops, on average.
const STOP_GAP_MS: u32 = 1_200;
/// How long an agent is stopped: what a garbage collection, a live migration or a busy host takes.
const STOP_MS: [u32; 2] = [200, 4_000];
/// Share of the datagrams that are lost, by third of the time.
const LOSSES: [f64; 3] = [0.0, 0.1, 0.25];
/// An agent that has run for so long is over its last stop.
const SETTLED: Duration = Duration::from_secs(10);

/// A deed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// The agent of this number is stopped as by SIGSTOP.
    Stop(usize),
    /// It goes on.
    Continue(usize),
    /// It ends without a word.
    Kill(usize),
    /// From now on this share of all datagrams is lost, 0 to 1.
    Lose(f64),
}

/// One deed and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Since the start.
    pub at: Duration,
    /// What is done.
    pub action: Action,
}

/// What an agent was at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It had been killed.
    Killed,
    /// It was stopped.
    Stopped,
    /// It ran, but had been stopped not long ago.
    Resumed,
    /// It ran, and had not been stopped in the last ten seconds.
    Settled,
}

/// What an agent was at a moment of the schedule.
pub fn condition(steps: &[Step], agent: usize, at: Duration) -> Condition {
    let mut condition = Condition::Settled;
    for step in steps.iter().take_while(|step| step.at <= at) {
        match step.action {
            Action::Kill(victim) if victim == agent => return Condition::Killed,
            Action::Stop(stopped) if stopped == agent => condition = Condition::Stopped,
            Action::Continue(resumed) if resumed == agent => {
                let is_settled = at - step.at > SETTLED;
                condition = if is_settled { Condition::Settled } else { Condition::Resumed };
            }
            _ => {}
        }
    }
    condition
}

/// The schedule for so many agents, at least six, in order of time. Two agents are killed; at most a
/// quarter is stopped at any time, and none of those that will be killed, so that a detection is one of
/// a kill.
pub fn draw(agents: usize, seconds: f64, seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let total_ms = (seconds * 1e3) as u64;
    let step = |at_ms: u64, action| Step { at: Duration::from_millis(at_ms), action };
    let victims = [agents - 1, agents - 2];
    let mut steps = vec![step(total_ms / 6, Action::Kill(victims[0]))];
    steps.push(step(total_ms / 2, Action::Kill(victims[1])));
    for (third, share) in LOSSES.into_iter().enumerate() {
        steps.push(step(total_ms * third as u64 / 3, Action::Lose(share)));
    }
    let mut free_at = vec![0u64; agents];
    let mut at_ms = 0;
    loop {
        at_ms += u64::from(1 + random.below(2 * STOP_GAP_MS));
        if at_ms >= total_ms {
            break;
        }
        let agent = random.below(agents as u32 - 2) as usize;
        let stopped = free_at.iter().filter(|&&free| free > at_ms).count();
        let length_ms = u64::from(STOP_MS[0] + random.below(STOP_MS[1] - STOP_MS[0]));
        if free_at[agent] > at_ms || stopped >= agents / 4 {
            continue;
        }
        free_at[agent] = at_ms + length_ms;
        steps.push(step(at_ms, Action::Stop(agent)));
        steps.push(step(at_ms + length_ms, Action::Continue(agent)));
    }
    steps.push(step(free_at.into_iter().max().unwrap_or(0).max(total_ms), Action::Lose(0.0)));
    steps.sort_by_key(|step| step.at);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_repeatable_and_lets_everybody_go_on() {
        let steps = draw(12, 60.0, 7);
        assert_eq!(steps, draw(12, 60.0, 7));
        assert_ne!(steps, draw(12, 60.0, 8));
        let mut stopped = [false; 12];
        for step in &steps {
            match step.action {
                Action::Stop(agent) => {
                    assert!(!std::mem::replace(&mut stopped[agent], true));
                    assert!(stopped.iter().filter(|stopped| **stopped).count() <= 3);
                }
                Action::Continue(agent) => {
                    assert!(std::mem::replace(&mut stopped[agent], false));
                }
                Action::Kill(agent) => assert!(agent >= 10 && !stopped[agent]),
                Action::Lose(_) => {}
            }
        }
        assert_eq!(stopped, [false; 12]);
        assert!(steps.len() > 40, "{} steps", steps.len());
        assert_eq!(steps.last().unwrap().action, Action::Lose(0.0));
    }

    #[test]
    fn an_agent_is_what_was_last_done_to_it() {
        let at = |seconds, action| Step { at: Duration::from_secs(seconds), action };
        let steps = [
            at(1, Action::Stop(2)),
            at(3, Action::Continue(2)),
            at(20, Action::Kill(5)),
            at(40, Action::Lose(0.0)),
        ];
        let of = |agent, seconds| condition(&steps, agent, Duration::from_secs(seconds));
        assert_eq!(of(2, 0), Condition::Settled);
        assert_eq!(of(2, 2), Condition::Stopped);
        assert_eq!(of(2, 5), Condition::Resumed);
        assert_eq!(of(2, 30), Condition::Settled);
        assert_eq!((of(5, 19), of(5, 21)), (Condition::Settled, Condition::Killed));
    }
}
