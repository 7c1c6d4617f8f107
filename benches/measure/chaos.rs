//! Agents of Shoal and of Serf under one schedule of stops, loss and kills, at the same moments.
//!
//! Both clusters run side by side in one network namespace, so that the same packet filter loses
//! their datagrams and each stop hits the agent of the same number in both. Counted are failure
//! events about agents that ran at that moment: *false*; and those of them whose subject was
//! [`Condition::Settled`]: *false of settled* (Lifeguard's false positives: the subject is healthy).

use std::time::{Duration, Instant};

use rustix::process::Signal;
use shoal_benches::figures::Results;
use shoal_simulator::schedule::{Action, Condition, Step, condition, draw};

use super::fleet::{Fleet, Sight, Sighting, Stack};
use super::sandbox;

const PORT: u16 = 20_500;
/// After the schedule, for what is still under way.
const QUIET: Duration = Duration::from_secs(15);

/// Runs the comparison.
///
/// # Errors
/// When a cluster does not form.
pub fn run(agents: usize, seconds: f64, seed: u64) -> Result<Results, String> {
    if !(6..=200).contains(&agents) {
        return Err(format!("{agents} agents, expected 6 to 200"));
    }
    let mut results = Results::default();
    let mut fleets = Vec::new();
    for (index, stack) in Stack::BOTH.into_iter().enumerate() {
        match stack.missing() {
            Some(why) => results.skip(format!("chaos with {}", stack.name()), why),
            None => fleets.push((stack, Fleet::start(stack, agents, PORT + index as u16)?)),
        }
    }
    std::thread::sleep(Duration::from_secs(3));
    let steps = draw(agents, seconds, seed);
    let start = Instant::now();
    let mut can_lose = true;
    for step in &steps {
        std::thread::sleep((start + step.at).saturating_duration_since(Instant::now()));
        if let Action::Lose(share) = step.action {
            can_lose &= sandbox::lose(share);
        }
        for (_, fleet) in &mut fleets {
            act(fleet, step.action);
        }
    }
    if !can_lose {
        let why = "no network namespace with iptables to be had here; stops and kills only";
        results.skip("loss of datagrams in the chaos comparison", why);
    }
    std::thread::sleep(QUIET);
    let stops = steps.iter().filter(|step| matches!(step.action, Action::Stop(_))).count();
    results.add("chaos/agents", agents as f64, "");
    results.add("chaos/stops", stops as f64, "");
    for (stack, fleet) in &fleets {
        judge(stack.name(), &fleet.sightings(), &steps, start, agents, &mut results);
    }
    Ok(results)
}

fn act(fleet: &mut Fleet, action: Action) {
    match action {
        Action::Stop(agent) => fleet.signal(agent, Signal::STOP),
        Action::Continue(agent) => fleet.signal(agent, Signal::CONT),
        Action::Kill(agent) => fleet.kill(agent),
        Action::Lose(_) => {}
    }
}

fn judge(
    name: &str,
    sightings: &[Sighting],
    steps: &[Step],
    start: Instant,
    agents: usize,
    results: &mut Results,
) {
    let (mut about_running, mut about_settled) = (0, 0);
    let dead = || {
        let since_start = sightings.iter().filter(|sighting| sighting.at >= start);
        since_start.filter(|sighting| sighting.sight == Sight::Dead)
    };
    for sighting in dead() {
        match condition(steps, sighting.subject, sighting.at - start) {
            Condition::Killed | Condition::Stopped => {}
            Condition::Resumed => about_running += 1,
            Condition::Settled => {
                about_running += 1;
                about_settled += 1;
            }
        }
    }
    results.add(format!("chaos/{name}/false"), f64::from(about_running), "");
    results.add(format!("chaos/{name}/false of settled"), f64::from(about_settled), "");
    let (mut first, mut all, mut missed) = (Vec::new(), Vec::new(), 0);
    for step in steps {
        let Action::Kill(victim) = step.action else { continue };
        let heard = (0..agents)
            .filter(|&observer| condition(steps, observer, Duration::MAX) != Condition::Killed);
        let times: Vec<Option<f64>> = heard
            .map(|observer| {
                let mut said = dead().filter(|s| s.observer == observer && s.subject == victim);
                let after = said.find(|s| s.at >= start + step.at)?.at - start - step.at;
                Some(after.as_secs_f64() * 1e3)
            })
            .collect();
        let known: Vec<f64> = times.iter().flatten().copied().collect();
        missed += times.len() - known.len();
        first.extend(known.iter().copied().reduce(f64::min));
        all.extend(known.iter().copied().reduce(f64::max));
    }
    results.add_samples(format!("chaos/{name}/first"), &first, "ms");
    results.add_samples(format!("chaos/{name}/all"), &all, "ms");
    results.add(format!("chaos/{name}/missed"), missed as f64, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, action: Action) -> Step {
        Step { at: Duration::from_secs(seconds), action }
    }

    #[test]
    fn a_failure_event_is_judged_by_what_its_subject_was_at_that_moment() {
        let steps = [
            at(1, Action::Stop(2)),
            at(3, Action::Continue(2)),
            at(20, Action::Kill(5)),
            at(40, Action::Lose(0.0)),
        ];
        let start = Instant::now();
        let said = |seconds, observer, subject| Sighting {
            at: start + Duration::from_secs(seconds),
            observer,
            subject,
            sight: Sight::Dead,
        };
        // True of the stopped one, false of it later, false of one that always ran, and a kill.
        let mut sightings = vec![said(2, 0, 2), said(5, 0, 2), said(6, 1, 3)];
        sightings.extend((0..5).map(|observer| said(22 + observer as u64, observer, 5)));
        let mut results = Results::default();
        judge("x", &sightings, &steps, start, 7, &mut results);
        assert_eq!(results.value("chaos/x/false"), Some(2.0));
        assert_eq!(results.value("chaos/x/false of settled"), Some(1.0));
        assert_eq!(results.value("chaos/x/first"), Some(2_000.0));
        assert_eq!(results.value("chaos/x/all"), Some(6_000.0));
        assert_eq!(results.value("chaos/x/missed"), Some(1.0), "number 6 said nothing");
    }
}
