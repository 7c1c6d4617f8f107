//! What idle agents cost, and how long a cluster of five takes to agree that one was killed.

use std::time::{Duration, Instant};

use shoal_benches::figures::Results;
use shoal_benches::system::{process_cpu_nanos, resident_bytes};

use super::fleet::{Fleet, Sight, Stack};

const CLUSTER_SIZE: usize = 5;
const PORT: u16 = 20_000;
/// How long joining may still make work.
const SETTLING: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);

/// Memory and processor time of an agent in an idle cluster, of each stack that is there.
///
/// # Errors
/// When a cluster does not form.
pub fn idle(seconds: f64) -> Result<Results, String> {
    let mut results = Results::default();
    let mut port = PORT;
    for stack in Stack::BOTH {
        if let Some(why) = stack.missing() {
            results.skip(format!("idle agents of {}", stack.name()), why);
            continue;
        }
        let fleet = Fleet::start(stack, CLUSTER_SIZE, port)?;
        port += 1;
        std::thread::sleep(SETTLING);
        let pids: Vec<u32> = fleet.running().filter_map(|agent| fleet.pid(agent)).collect();
        let cpu = || pids.iter().map(|&pid| process_cpu_nanos(pid)).collect::<Vec<_>>();
        let (before, start) = (cpu(), Instant::now());
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let elapsed = start.elapsed().as_nanos() as f64;
        let spent = cpu().into_iter().zip(before).map(|(after, before)| after - before);
        let shares: Vec<f64> = spent.map(|nanos| nanos as f64 / elapsed * 100.0).collect();
        let memory: Vec<f64> = pids.iter().map(|&pid| resident_bytes(pid) as f64 / 1e6).collect();
        results.add_samples(format!("idle/{}/cpu", stack.name()), &shares, "%");
        results.add_samples(format!("idle/{}/memory", stack.name()), &memory, "MB");
    }
    Ok(results)
}

/// How long after a kill one, and then all of the others say so, of each stack that is there.
///
/// # Errors
/// When a cluster of Shoal's does not form or never agrees. One of Serf's is named as skipped: it costs
/// Shoal no figure.
pub fn detect(clusters: usize, kills: usize, without_serf: bool) -> Result<Results, String> {
    let mut results = Results::default();
    let mut running = Vec::new();
    for stack in Stack::BOTH {
        let left_out = without_serf && stack == Stack::Serf;
        let why = left_out.then(|| "left out of a quick run".to_owned());
        if let Some(why) = why.or_else(|| stack.missing()) {
            results.skip(format!("detection by {}", stack.name()), why);
            continue;
        }
        for _ in 0..clusters {
            let port = PORT + running.len() as u16;
            // Each starts at another point of the probe interval.
            let phase = Duration::from_millis(137 * running.len() as u64 % 1_000);
            let work = move || kill_again_and_again(stack, port, kills, phase);
            running.push((stack, std::thread::spawn(work)));
        }
    }
    let mut samples = Vec::new();
    for (stack, thread) in running {
        match thread.join().map_err(|_| "a cluster's thread panicked")? {
            Ok(found) => samples.push((stack, found)),
            Err(why) if stack == Stack::Serf => results.skip("a cluster of serf", why),
            Err(why) => return Err(why),
        }
    }
    for stack in Stack::BOTH {
        let of_stack = || samples.iter().filter(|(owner, _)| *owner == stack);
        let first: Vec<f64> = of_stack().flat_map(|(_, s)| s).map(|s| s.first_ms).collect();
        let all: Vec<f64> = of_stack().flat_map(|(_, s)| s).map(|s| s.all_ms).collect();
        results.add_samples(format!("detect/{}/first", stack.name()), &first, "ms");
        results.add_samples(format!("detect/{}/all", stack.name()), &all, "ms");
    }
    Ok(results)
}

struct Detection {
    first_ms: f64,
    all_ms: f64,
}

fn kill_again_and_again(
    stack: Stack,
    port: u16,
    kills: usize,
    phase: Duration,
) -> Result<Vec<Detection>, String> {
    let mut fleet = Fleet::start(stack, CLUSTER_SIZE, port)?;
    let mut detections = Vec::new();
    for kill in 0..kills {
        std::thread::sleep(Duration::from_secs(1) + phase);
        // Never the first, through which the others come back.
        let victim = 1 + kill % (CLUSTER_SIZE - 1);
        let from = fleet.sightings().len();
        let killed_at = Instant::now();
        fleet.kill(victim);
        let agreed = fleet.wait_dead(victim, PATIENCE);
        agreed.ok_or_else(|| format!("{} never agreed on a death", stack.name()))?;
        let sightings: Vec<_> = fleet.sightings()[from..].to_vec();
        let dead = sightings.iter().filter(|s| s.subject == victim && s.sight == Sight::Dead);
        let ms = |at: Instant| at.saturating_duration_since(killed_at).as_secs_f64() * 1e3;
        let times: Vec<f64> = dead.map(|sighting| ms(sighting.at)).collect();
        let extreme = |pick: fn(f64, f64) -> f64| times.iter().copied().reduce(pick);
        if let (Some(first_ms), Some(all_ms)) = (extreme(f64::min), extreme(f64::max)) {
            detections.push(Detection { first_ms, all_ms });
        }
        fleet.launch(victim)?;
        fleet.wait_formed(PATIENCE)?;
    }
    Ok(detections)
}
