//! What Shoal set out to reach, row by row, and whether it did in this run.
//!
//! Every row names what it is compared with; the comparison is from the same run unless the row
//! says otherwise. A row that could not be measured is open and says why.

use shoal_benches::figures::{Figure, Results};

use crate::Run;
use crate::numbers::{plain, show, times};
use crate::scale::growths;
use crate::steps;

/// How a row came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The figure is at least as good as wanted.
    Reached,
    /// It is not.
    Missed,
    /// It was not measured, because of this.
    Open(String),
}

/// One row.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What is measured.
    pub what: &'static str,
    /// What was wanted.
    pub wanted: &'static str,
    /// What it is.
    pub figure: String,
    /// What something else needs for the same.
    pub compared: String,
    /// How the two stand to each other.
    pub ratio: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What to type to see it.
    pub command: String,
    /// Whether it stands in the short table.
    pub is_short: bool,
}

/// A row as it is measured: its figure, the comparison, the ratio, whether it is as wanted.
struct Measured {
    figure: String,
    compared: String,
    ratio: String,
    is_reached: bool,
}

impl Measured {
    fn new(figure: String, is_reached: bool) -> Measured {
        Measured { figure, compared: String::new(), ratio: String::new(), is_reached }
    }

    fn against(mut self, compared: Option<String>, ratio: Option<f64>) -> Measured {
        self.compared = compared.unwrap_or_else(|| "not measured here".to_owned());
        self.ratio = ratio.map(times).unwrap_or_default();
        self
    }
}

type Row = (&'static str, &'static str, &'static str, bool, fn(&Results) -> Option<Measured>);

/// What, wanted, the step that measures it, whether it is in the short table, how to read it.
const ROWS: [Row; 20] = [
    (
        "probe and ack in hyperscale's format, sealed, one core",
        ">= 120 k/s and >= 0.45 of a bare echo",
        "exchanges",
        true,
        hyperscale_exchange,
    ),
    (
        "probe and ack, native, sealed: one at a time from 256 peers",
        ">= 0.80 of a bare echo's throughput per CPU",
        "exchanges",
        true,
        native_singles,
    ),
    (
        "probe and ack, native, sealed: 32 at a time from 16 peers",
        ">= 0.80 of a bare echo's throughput per CPU",
        "exchanges",
        true,
        native_bursts,
    ),
    ("allocations per packet after warm-up", "0", "memory and allocations", true, allocations),
    ("coordinate update, from Rust", "<= 60 ns", "Criterion, coordinate", true, coordinate_update),
    ("round trip with upper bound, from Rust", "<= 25 ns", "Criterion, coordinate", false, upper),
    (
        "coordinate update and upper bound, from Python by the drop-in class",
        ">= 40 x the Python class",
        "Python",
        false,
        python_coordinate,
    ),
    ("route a job among 100 datacenters, from Rust", "<= 3 us", "Criterion, routing", true, route),
    ("the same from Python", ">= 100 x the Python class", "Python", true, python_route),
    ("the same through the drop-in classes", ">= 20 x", "Python", false, drop_in_route),
    ("write 5 of 1,000 pending updates", "<= 400 ns", "Criterion, engine", false, encode),
    (
        "handle 20 updates among 100,000 members",
        "<= 6 us, flat from 100 on (exponent <= 0.15)",
        "Criterion, updates",
        true,
        handle_updates,
    ),
    ("memory of an idle agent", "<= 8 MB", "idle agents", true, agent_memory),
    ("processor time of an idle agent", "less than Serf's", "idle agents", false, agent_cpu),
    ("memory per member among 100,000", "<= 256 B", "memory and allocations", true, member_memory),
    ("kill one of 5: all others say so", "<= 2.5 s at p99", "detection", true, detection),
    (
        "failure events about agents that ran, under stops, kills and loss",
        "no more than Serf",
        "chaos",
        true,
        chaos,
    ),
    (
        "Lifeguard experiment: FP, FP-, median first detection",
        "<= 1 %, <= 1 %, <= 50 % of SWIM",
        "Lifeguard experiment",
        false,
        lifeguard,
    ),
    (
        "coordinates on PlanetLab 490: median and p90 error, nearest stretch; 10 % liars",
        "<= .058, <= .27, <= 6 x, own measurements 2 x; <= .15",
        "coordinates",
        false,
        planetlab,
    ),
    (
        "routing on real matrices",
        "median <= 0.5 of random, <= 1.1 of the oracle; switches < 1 %, load variation < 0.3, \
         failover < 10 s",
        "coordinates",
        false,
        routing_quality,
    ),
];

const NO_PACKAGE: &str = "Shoal's Python package is missing: `make python-develop` builds it";

/// Why a row is open whose step ran and yet found nothing for it.
const OPEN: [(&str, &str); 6] = [
    (ROWS[6].0, NO_PACKAGE),
    (ROWS[8].0, NO_PACKAGE),
    (ROWS[9].0, NO_PACKAGE),
    (ROWS[10].0, "an answer with news did not take longer than one without"),
    (ROWS[18].0, "give SHOAL_MATRICES=FOLDER with planetlab490_ms.csv"),
    (ROWS[19].0, "give SHOAL_MATRICES=FOLDER with planetlab490_ms.csv"),
];

/// Every row with this run's figures.
pub fn all(run: &Run) -> Vec<Goal> {
    ROWS.into_iter().map(|row| judge(row, run)).collect()
}

fn judge((what, wanted, step, is_short, read): Row, run: &Run) -> Goal {
    let ran = run.steps.iter().find(|ran| ran.title == step);
    let command = ran.map(|ran| ran.command.clone()).unwrap_or_default();
    let empty = String::new;
    match read(&run.results) {
        Some(Measured { figure, compared, ratio, is_reached }) => {
            let verdict = if is_reached { Verdict::Reached } else { Verdict::Missed };
            Goal { what, wanted, figure, compared, ratio, verdict, command, is_short }
        }
        None => {
            let known = OPEN.iter().find(|(row, _)| *row == what).map(|(_, why)| (*why).to_owned());
            let why = match ran {
                Some(ran) => ran.failure.clone().or(known),
                None => known.or_else(|| {
                    let mut quick = steps::all(true).into_iter();
                    let is_long = run.quick && !quick.any(|quick| quick.title == step);
                    is_long.then(|| "not in the quick run".to_owned())
                }),
            };
            let verdict =
                Verdict::Open(why.unwrap_or_else(|| "not measured in this run".to_owned()));
            let (figure, compared, ratio) = (empty(), empty(), empty());
            Goal { what, wanted, figure, compared, ratio, verdict, command, is_short }
        }
    }
}

fn shown(figure: &Figure) -> String {
    show(figure.value, &figure.unit)
}

/// Another figure in words, with whose it is, and how many times ours it is.
fn peer(results: &Results, name: &str, whose: &str, ours: f64) -> (Option<String>, Option<f64>) {
    let found = results.get(name);
    let words = found.map(|figure| format!("{whose} {}", shown(figure)));
    (words, found.map(|figure| figure.value / ours))
}

/// An exchange's rate and its share of the echo's throughput per processor time.
fn exchange(results: &Results, pattern: &str, server: &str) -> Option<(f64, f64, Measured)> {
    let figure =
        |server: &str, what: &str| results.value(&format!("exchange/{pattern}/{server}/{what}"));
    let (rate, cpu) = (figure(server, "rate")?, figure(server, "cpu")?);
    let (echo_rate, echo_cpu) = (figure("echo", "rate")?, figure("echo", "cpu")?);
    let words = |rate, cpu| format!("{}, {} CPU each", show(rate, "1/s"), show(cpu, "ns"));
    let share = echo_cpu / cpu;
    let mut measured = Measured::new(words(rate, cpu), share >= 0.8);
    measured.compared = format!("bare echo {}", words(echo_rate, echo_cpu));
    if let (Some(rate), Some(cpu)) = (figure("asyncio", "rate"), figure("asyncio", "cpu")) {
        measured.compared += &format!("; asyncio echo {}", words(rate, cpu));
    }
    measured.ratio = times(share);
    Some((rate, share, measured))
}

fn native_singles(results: &Results) -> Option<Measured> {
    exchange(results, "singles", "uring").map(|(_, _, measured)| measured)
}

fn native_bursts(results: &Results) -> Option<Measured> {
    exchange(results, "bursts", "uring").map(|(_, _, measured)| measured)
}

fn hyperscale_exchange(results: &Results) -> Option<Measured> {
    let (rate, share, mut measured) = exchange(results, "hyperscale", "uring")?;
    // A second of the node's core, which other programs on the machine may have taken a part of.
    let per_core = 1e9 / results.value("exchange/hyperscale/uring/cpu")?;
    measured.is_reached = per_core >= 120_000.0 && share >= 0.45;
    measured.figure += &format!(" = {} of a core alone", show(per_core, "1/s"));
    let (python, _) = peer(results, "python/reference/exchange", "Python's part alone", rate);
    measured.compared += &python.map(|words| format!("; {words}")).unwrap_or_default();
    Some(measured)
}

fn allocations(results: &Results) -> Option<Measured> {
    let count = results.value("allocations/exchange")?;
    Some(Measured::new(plain(count), count == 0.0))
}

fn at_most(results: &Results, name: &str, limit: f64) -> Option<(f64, Measured)> {
    let figure = results.get(name)?;
    Some((figure.value, Measured::new(shown(figure), figure.value <= limit)))
}

fn coordinate_update(results: &Results) -> Option<Measured> {
    let (ours, measured) = at_most(results, "criterion/coordinate/update/native", 60.0)?;
    let (words, ratio) = peer(results, "python/reference/coordinate update", "Python", ours);
    Some(measured.against(words, ratio))
}

fn upper(results: &Results) -> Option<Measured> {
    let (ours, mut measured) = at_most(results, "criterion/coordinate/estimate/predicted", 25.0)?;
    if let Some(own) = results.get("criterion/coordinate/estimate/measured") {
        measured.figure += &format!(" predicted, {} measured", shown(own));
        measured.is_reached &= own.value <= 25.0;
    }
    let (words, ratio) = peer(results, "python/reference/upper bound", "Python", ours);
    Some(measured.against(words, ratio))
}

fn python_coordinate(results: &Results) -> Option<Measured> {
    let value = |side: &str, what: &str| results.value(&format!("python/{side}/{what}"));
    let mut figures = Vec::new();
    let mut compared = Vec::new();
    let mut ratios = Vec::new();
    for what in ["coordinate update", "upper bound"] {
        let (ours, theirs) = (value("drop-in", what)?, value("reference", what)?);
        figures.push(show(ours, "ns"));
        compared.push(show(theirs, "ns"));
        ratios.push(theirs / ours);
    }
    let is_reached = ratios.iter().all(|&ratio| ratio >= 40.0);
    let mut measured = Measured::new(figures.join(", "), is_reached);
    measured.compared = compared.join(", ");
    measured.ratio = ratios.into_iter().map(times).collect::<Vec<_>>().join(", ");
    Some(measured)
}

fn route(results: &Results) -> Option<Measured> {
    let (ours, measured) = at_most(results, "criterion/routing/route/sticky/100", 3_000.0)?;
    let (words, ratio) = peer(results, "python/reference/route 100", "Python", ours);
    Some(measured.against(words, ratio))
}

fn python_ratio(results: &Results, side: &str, limit: f64) -> Option<Measured> {
    let figure = results.get(&format!("python/{side}/route 100"))?;
    let theirs = results.get("python/reference/route 100")?;
    let ratio = theirs.value / figure.value;
    let measured = Measured::new(shown(figure), ratio >= limit);
    Some(measured.against(Some(format!("Python {}", shown(theirs))), Some(ratio)))
}

fn python_route(results: &Results) -> Option<Measured> {
    python_ratio(results, "shoal", 100.0)
}

fn drop_in_route(results: &Results) -> Option<Measured> {
    python_ratio(results, "drop-in", 20.0)
}

fn encode(results: &Results) -> Option<Measured> {
    let answer =
        |pending: u32| results.value(&format!("criterion/engine/answer a probe/pending/{pending}"));
    let spent = answer(1_000)? - answer(0)?;
    let count = results.value("updates/answer").filter(|&count| count > 0.0)?;
    let nanos = 5.0 * spent / count;
    if nanos <= 0.0 {
        return None;
    }
    let figure = format!("{}, sealing included", show(nanos, "ns"));
    let (words, ratio) = peer(results, "python/reference/encode 5 of 1000", "Python", nanos);
    Some(Measured::new(figure, nanos <= 400.0).against(words, ratio))
}

fn handle_updates(results: &Results) -> Option<Measured> {
    let (ours, mut measured) =
        at_most(results, "criterion/updates/handle 20/shoal/100000", 6_000.0)?;
    let growth = growths(results).into_iter().find(|growth| growth.title.contains("updates"))?;
    let exponent = growth.exponent();
    measured.figure += &format!(", exponent {}", plain(exponent));
    measured.is_reached &= exponent <= 0.15;
    let foca = "criterion/updates/handle 20/foca/50000";
    let (words, ratio) = peer(results, foca, "foca at 50,000", ours);
    Some(measured.against(words, ratio))
}

fn agent_memory(results: &Results) -> Option<Measured> {
    let (ours, measured) = at_most(results, "idle/shoal/memory", 8.0)?;
    let (words, ratio) = peer(results, "idle/serf/memory", "Serf", ours);
    Some(measured.against(words, ratio))
}

fn agent_cpu(results: &Results) -> Option<Measured> {
    let serf = results.value("idle/serf/cpu").unwrap_or(f64::INFINITY);
    let (ours, mut measured) = at_most(results, "idle/shoal/cpu", serf)?;
    measured.figure += " of a core";
    let (words, ratio) = peer(results, "idle/serf/cpu", "Serf", ours);
    Some(measured.against(words, ratio))
}

fn member_memory(results: &Results) -> Option<Measured> {
    at_most(results, "memory/member/100000", 256.0).map(|(_, measured)| measured)
}

fn detection(results: &Results) -> Option<Measured> {
    let ours = results.get("detect/shoal/all")?;
    let words = |figure: &Figure| {
        let far = show(figure.percentile(99.0), &figure.unit);
        format!("{} median, {far} p99 of {}", shown(figure), figure.samples.len())
    };
    let measured = Measured::new(words(ours), ours.percentile(99.0) <= 2_500.0);
    let serf = results.get("detect/serf/all");
    let ratio = serf.map(|serf| serf.value / ours.value);
    Some(measured.against(serf.map(|serf| format!("Serf {}", words(serf))), ratio))
}

fn chaos(results: &Results) -> Option<Measured> {
    let count = |stack: &str, what: &str| results.value(&format!("chaos/{stack}/{what}"));
    let words = |stack: &str| {
        let [all, settled] = ["false", "false of settled"].map(|what| count(stack, what));
        let kills = results.get(&format!("chaos/{stack}/all"));
        let kills = kills.map(|kills| format!("; kills known after {}", shown(kills)));
        let [all, settled] = [all?, settled?];
        Some(format!("{all} ({settled} not stopped lately){}", kills.unwrap_or_default()))
    };
    let ours = count("shoal", "false")?;
    let is_reached = count("serf", "false").is_some_and(|serf| ours <= serf);
    let mut measured = Measured::new(words("shoal")?, is_reached);
    measured.compared = words("serf")
        .map_or_else(|| "Serf not measured".to_owned(), |words| format!("Serf {words}"));
    Some(measured)
}

fn lifeguard(results: &Results) -> Option<Measured> {
    let value = |what: &str| results.value(&format!("simulation/lifeguard/{what}"));
    let (all, healthy, first) = (value("FP")?, value("FP-")?, value("median first")?);
    let figure = format!("{} %, {} %, {} %", plain(all), plain(healthy), plain(first));
    let mut measured = Measured::new(figure, all <= 1.0 && healthy <= 1.0 && first <= 50.0);
    measured.compared = "Lifeguard as published 1.53 %, 1.89 %, 100 %".to_owned();
    Some(measured)
}

fn planetlab(results: &Results) -> Option<Measured> {
    let value = |what: &str| results.value(&format!("simulation/planetlab/{what}"));
    let (median, p90) = (value("median_rel_err")?, value("p90_rel_err")?);
    let stretch = value("nearest_stretch_median")?;
    let own = value("nearest_stretch_measured_median")?;
    let liars = results.value("simulation/planetlab-liars/median_rel_err")?;
    let figure = format!("{median:.3}, {p90:.2}, {}, {}; {liars:.3}", times(stretch), times(own));
    let is_reached = median <= 0.058 && p90 <= 0.27 && stretch <= 6.0 && own <= 2.0;
    let mut measured = Measured::new(figure, is_reached && liars <= 0.15);
    measured.compared = "Serf's code, measured earlier: .068, .29, 28 x; liars .75".to_owned();
    Some(measured)
}

fn routing_quality(results: &Results) -> Option<Measured> {
    let value = |what: &str| results.value(&format!("simulation/planetlab/{what}"));
    let chosen = value("median_rtt_ms")?;
    let (random, oracle) = (value("random_median_rtt_ms")?, value("oracle_median_rtt_ms")?);
    let (switches, load) = (value("switch_rate")?, value("load_cv")?);
    let failover_ms = value("failover_ms_p99")?;
    let is_near = chosen <= 0.5 * random && chosen <= 1.1 * oracle;
    let is_steady = switches < 0.01 && load < 0.3 && failover_ms < 10_000.0;
    let figure = format!(
        "{}; {} %, {}, {}",
        show(chosen, "ms"),
        plain(switches * 100.0),
        plain(load),
        show(failover_ms, "ms")
    );
    let mut measured = Measured::new(figure, is_near && is_steady);
    measured.compared = format!("random {}, oracle {}", show(random, "ms"), show(oracle, "ms"));
    Some(measured)
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::*;
    use crate::machine::Machine;
    use crate::steps::Ran;

    /// A run with a few figures, for whoever writes pages.
    pub fn run() -> Run {
        let mut results = Results::default();
        for (server, rate, cpu) in [("echo", 2e5, 4_000.0), ("uring", 1.9e5, 4_444.0)] {
            results.add(format!("exchange/singles/{server}/rate"), rate, "1/s");
            results.add(format!("exchange/singles/{server}/cpu"), cpu, "ns");
        }
        for (server, rate, cpu) in [("echo", 2e5, 4_000.0), ("uring", 1.25e5, 8_000.0)] {
            results.add(format!("exchange/hyperscale/{server}/rate"), rate, "1/s");
            results.add(format!("exchange/hyperscale/{server}/cpu"), cpu, "ns");
        }
        results.add("allocations/exchange", 0.00003, "");
        results.add_samples("detect/shoal/all", &[1_300.0, 1_200.0, 1_900.0], "ms");
        results.add_samples("detect/serf/all", &[5_000.0, 5_200.0], "ms");
        for size in [100, 100_000] {
            results.add(format!("criterion/updates/handle 20/shoal/{size}"), 3_000.0, "ns");
        }
        results.add("criterion/coordinate/estimate/predicted", 20.0, "ns");
        results.add("criterion/coordinate/estimate/measured", 40.0, "ns");
        results.skip("detection by <nobody>", "it is | missing");
        let ran = Ran {
            title: "exchanges".to_owned(),
            command: "cargo bench --bench exchange".to_owned(),
            elapsed: Duration::from_secs(30),
            results: Results::default(),
            failure: None,
        };
        let machine = Machine { facts: vec![("kernel".to_owned(), "6.1".to_owned())] };
        Run { machine, quick: true, elapsed: Duration::from_secs(99), steps: vec![ran], results }
    }

    #[test]
    fn rows_are_reached_missed_or_open_and_open_ones_say_why() {
        let goals = all(&run());
        let goal = |what: &str| goals.iter().find(|goal| goal.what.contains(what)).unwrap();
        let native = goal("native, sealed: one");
        assert_eq!((native.verdict.clone(), native.ratio.as_str()), (Verdict::Reached, "0.90 x"));
        assert_eq!(native.command, "cargo bench --bench exchange");
        assert_eq!(goal("allocations").verdict, Verdict::Missed);
        assert_eq!(
            goal("round trip with upper").verdict,
            Verdict::Missed,
            "one of two is too slow"
        );
        assert_eq!(goal("kill one of 5").verdict, Verdict::Reached);
        assert!(goal("kill one of 5").compared.starts_with("Serf 5 s"), "{goals:?}");
        assert_eq!(goal("hyperscale's").verdict, Verdict::Reached);
        assert_eq!(goal("hyperscale's").ratio, "0.50 x");
        let Verdict::Open(why) = &goal("Lifeguard").verdict else { panic!("it is open") };
        assert_eq!(why, "not in the quick run");
    }

    #[test]
    fn what_is_said_of_open_rows_belongs_to_rows() {
        let words = ["from Python", "from Python", "drop-in", "pending", "PlanetLab", "routing"];
        assert_eq!(OPEN.len(), words.len());
        for ((row, why), word) in OPEN.iter().zip(words) {
            assert!(row.contains(word), "{row}: {why}");
        }
    }
}
