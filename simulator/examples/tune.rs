//! Scratch.
use shoal_simulator::lifeguard::*;
fn main() {
    let mut options = LifeguardOptions::sample(1);
    let mut only: Vec<String> = vec![];
    for a in std::env::args().skip(1) {
        let (k, v) = a.split_once('=').unwrap();
        let list = || v.split(',').map(|x| x.parse::<u64>().unwrap()).collect::<Vec<_>>();
        if k == "only" {
            only = v.split(',').map(String::from).collect();
            continue;
        }
        let f = || v.parse::<f64>().unwrap();
        let c = &mut options.configurations.last_mut().unwrap().config;
        match k {
            "seed" => options.seed = f() as u64,
            "rep" => options.repetitions = f() as u32,
            "C" => options.counts = list().iter().map(|&x| x as u32).collect(),
            "D" => options.durations_ms = list(),
            "I" => options.intervals_ms = list(),
            "all" => {
                options = LifeguardOptions {
                    configurations: options.configurations.clone(),
                    ..LifeguardOptions::full(1, 1)
                }
            }
            "t" => options.threads = f() as usize,
            "min" => c.suspicion_min_factor = f(),
            "max" => c.suspicion_max_factor = f(),
            "pi" => c.probe_interval_ms = f() as u64,
            "ptmin" => c.probe_timeout_min_ms = f() as u64,
            "ptunk" => c.probe_timeout_unknown_ms = f() as u64,
            "k" => c.indirect_probe_count = f() as usize,
            "gf" => c.gossip_factor = f() as u32,
            "gi" => c.gossip_interval_ms = f() as u64,
            "fan" => c.gossip_fanout = f() as usize,
            "sync" => c.sync_interval_ms = f() as u64,
            "recheck" => c.mechanisms.recheck = v == "1",
            "lh" => c.mechanisms.local_health = v == "1",
            "dist" => c.mechanisms.distance = v == "1",
            "stall" => c.mechanisms.stall = v == "1",
            "buddy" => c.mechanisms.buddy = v == "1",
            _ => panic!("{k}"),
        }
    }
    if !only.is_empty() {
        options.configurations.retain(|c| only.iter().any(|o| o == c.name));
    }
    let t = std::time::Instant::now();
    let r = run(&options, |_, _| ());
    println!("{r}");
    println!("{:?}", t.elapsed());
}
