//! The page, from an invented outcome.

use super::super::record::*;
use super::*;

/// A cluster of fifteen nodes in a triangle, as a demo would record it.
pub fn invented() -> Outcome {
    let names = ["us-east", "eu-west", "ap-south"];
    let places = [[0.0, 0.0], [38.0, 60.0], [180.0, 4.0]];
    let labels = [
        ("gate", "gate"),
        ("manager 1", "manager"),
        ("manager 2", "manager"),
        ("worker 1", "worker"),
        ("worker 2", "worker"),
    ];
    let mut nodes = Vec::new();
    for (datacenter, name) in names.iter().enumerate() {
        for (index, (label, role)) in labels.iter().enumerate() {
            let wobble = |d: usize| ((datacenter * 7 + index * 3 + d * 5) % 11) as f64 / 11.0 - 0.5;
            let vector: Vec<f64> = (0..8)
                .map(|d| if d < 2 { places[datacenter][d] } else { 0.0 } + wobble(d))
                .collect();
            let grow = |step: usize| {
                let share = 1.0 - (-(step as f64) / 8.0).exp();
                let bend = (step as f64 / 3.0 + index as f64).sin() * 6.0 * (1.0 - share);
                vector.iter().enumerate().map(|(d, v)| v * share + bend * wobble(d)).collect()
            };
            nodes.push(NodeRecord {
                name: format!("{name} {label}"),
                label: (*label).to_owned(),
                role,
                datacenter,
                address: format!("127.{}.0.{}:7462", datacenter + 1, index + 1),
                killed: datacenter == 1 && *role == "manager",
                complete_ms: 900.0 + 37.0 * index as f64,
                trail: (0..40).map(grow).collect(),
                vector_ms: vector,
                height_ms: 0.3,
            });
        }
    }
    let mut outcome = Outcome {
        version: "0.1.0",
        seed: 1,
        backend: "uring",
        duration_ms: 27_300.0,
        datacenters: names.map(str::to_owned).to_vec(),
        backbone_ms: vec![vec![0.5, 70.5, 181.8], vec![70.5, 0.5, 118.2], vec![181.8, 118.2, 0.5]],
        nodes,
        ..Outcome::default()
    };
    fill(&mut outcome);
    outcome
}

/// A decision of the gate of a datacenter, over these datacenters with their latencies.
fn decided(
    job: u64,
    gate: usize,
    reason: &'static str,
    previous: Option<usize>,
    latencies: &[(usize, f64)],
) -> Explained {
    let weighed = latencies.iter().map(|&(datacenter, latency_ms)| Weighed {
        datacenter,
        bucket: "healthy",
        latency_ms,
        load_factor: 1.1,
        quality_penalty: 1.02,
        multiplier: 1.0,
        score: latency_ms * 1.1 * 1.02,
        is_primary: datacenter < 2,
    });
    let weighed: Vec<Weighed> = weighed.collect();
    let is_offered = |datacenter| weighed.iter().any(|one| one.datacenter == datacenter);
    let refused = (0..3).filter(|&datacenter| !is_offered(datacenter));
    let refused = refused.map(|datacenter| Refused { datacenter, reason: "unhealthy_status" });
    let (at_ms, manager) = (job as f64 * 14.0, 5 * weighed[0].datacenter + 1);
    let refused = refused.collect();
    Explained { job, gate, at_ms, reason, is_bootstrap: false, previous, manager, weighed, refused }
}

fn fill(outcome: &mut Outcome) {
    let pair = |from: usize, to: usize| {
        let (a, b) = (&outcome.nodes[from], &outcome.nodes[to]);
        let actual_ms = outcome.backbone_ms[a.datacenter][b.datacenter] + 0.4;
        let flat = a.vector_ms.iter().zip(&b.vector_ms).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let predicted_ms = flat.sqrt() + 0.6;
        PairRecord {
            from,
            to,
            actual_ms,
            predicted_ms,
            estimate_ms: actual_ms,
            upper_ms: predicted_ms * 1.1,
        }
    };
    let pairs = (0..15).flat_map(|a| (0..15).filter(move |b| *b != a).map(move |b| (a, b)));
    let pairs: Vec<PairRecord> = pairs.map(|(a, b)| pair(a, b)).collect();
    let samples = (0..60).map(|step| ErrorSample {
        at_ms: 1_300.0 + 100.0 * f64::from(step),
        median: 0.9 * (-f64::from(step) / 9.0).exp() + 0.02,
        p90: 1.3 * (-f64::from(step) / 14.0).exp() + 0.05,
    });
    outcome.coordinates = Coordinates {
        samples: samples.collect(),
        pairs,
        median_relative_error: 0.021,
        p90_relative_error: 0.058,
        median_absolute_error_ms: 1.4,
        within_bound: 0.97,
    };
    outcome.formation = Formation { mesh_ms: 1_310.0, views: 210 };
    let survivors = (0..15).filter(|n| ![6, 7].contains(n));
    let observation = |observer: usize, subject: usize| Observation {
        observer,
        subject,
        suspect_ms: (!observer.is_multiple_of(4)).then_some(500.0 + 41.0 * observer as f64),
        dead_ms: 1_900.0 + 13.0 * (observer * subject % 17) as f64,
    };
    outcome.detection = Detection {
        datacenter: 1,
        at_ms: 14_000.0,
        observations: survivors.flat_map(|o| [6, 7].map(|s| observation(o, s))).collect(),
        first_suspect_ms: 500.0,
        first_dead_ms: 1_900.0,
        all_dead_ms: 2_110.0,
        false_deaths: 0,
    };
    let bins = (0..36).map(|bin| {
        let at_ms = 10_000.0 + 250.0 * f64::from(bin);
        let jobs = match bin {
            16..25 => vec![12, 12, 12],
            25.. => vec![24, 0, 12],
            _ => vec![21, 21, 20],
        };
        RoutingBin { at_ms, jobs }
    });
    outcome.routing = Routing {
        before: vec![vec![334, 0, 0], vec![0, 333, 0], vec![0, 0, 333]],
        after: vec![vec![167, 0, 0], vec![160, 0, 7], vec![0, 0, 166]],
        bins: bins.collect(),
        median_rtt_ms: 0.9,
        random_median_rtt_ms: 118.6,
        median_rtt_after_ms: 0.9,
        decisions: vec![
            decided(998, 1, "initial_selection", None, &[(1, 2.9), (0, 81.0), (2, 141.0)]),
            decided(1_003, 1, "exclusion_forced", Some(1), &[(0, 81.0), (2, 141.0)]),
        ],
        reasons: [("initial_selection", 1_500), ("exclusion_forced", 71)].into(),
        misdirected: 71,
        rerouted: 71,
        failover_ms: 2_090.0,
    };
    let phase = |name, start_ms, end_ms, summary: &str| PhaseRecord {
        name,
        start_ms,
        end_ms,
        summary: summary.to_owned(),
        moments: vec![Moment { at_ms: start_ms + 1.0, text: format!("{name} <begins>") }],
    };
    outcome.phases = vec![
        phase(
            "form",
            0.0,
            1_310.0,
            "15 nodes joined through one seed; 210 of 210 views say alive.",
        ),
        phase("converge", 1_310.0, 10_000.0, "Median prediction error fell from 98 % to 2.1 %."),
        phase("route", 10_000.0, 14_000.0, "1,000 jobs, all to the nearest datacenter."),
        phase("fail", 14_000.0, 19_000.0, "Two managers killed & known dead; 71 jobs <rerouted>."),
        phase("time out", 19_000.0, 21_000.0, "Job 1501 was ended after 2.00 s."),
        phase("leave", 21_000.0, 22_400.0, "13 nodes left, none was taken for dead."),
    ];
    outcome.timeout = JobTimeout {
        job: 1_501,
        gate: 0,
        at_ms: 19_000.0,
        limit_ms: 3_000.0,
        extension_ms: 1_000.0,
        decided_ms: 4_003.0,
        ended_ms: 4_094.0,
        sites: vec![
            JobSite { manager: 1, extended_ms: 2_700.0, ended_ms: 4_003.5 },
            JobSite { manager: 11, extended_ms: 2_701.0, ended_ms: 4_094.0 },
        ],
    };
    outcome.traffic = Traffic {
        datagrams: 12_345,
        bytes: 2_345_678,
        datagrams_per_node_second: 31.0,
        relayed: 12_001,
        relay_lateness_max_ms: 0.4,
    };
}

#[test]
fn the_page_stands_alone() {
    let page = page(&invented());
    for outside in ["http://", "https://", "<script", "@import", "url("] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(outside), "{outside}");
    }
    for wanted in ["prefers-color-scheme: dark", "name=\"viewport\"", "us-east", "1.31 s", "2.1 %"]
    {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert!(page.contains("killed &amp; known dead; 71 jobs &lt;rerouted&gt;"));
    assert!(page.contains("<time>19.00 s</time> time out &lt;begins&gt;"));
    assert!(page.contains("global timeout after 4.00 s") && page.contains("granted 1.00 s"));
    for wanted in ["excluded: no manager answers", "exclusion forced", "<td>×1.02</td>"] {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert!(page.contains("now us-east manager 1 has it"));
    assert!(!page.contains("NaN") && !page.contains("inf"), "a figure is not a number");
    if let Some(path) = std::env::var_os("SHOAL_REPORT_PREVIEW") {
        std::fs::write(path, page).unwrap();
    }
}

#[test]
fn every_opened_element_is_closed() {
    let page = page(&invented());
    for element in
        ["svg", "g", "text", "figure", "table", "tr", "td", "ul", "ol", "li", "div", "section"]
    {
        let opened = page.matches(&format!("<{element}>")).count()
            + page.matches(&format!("<{element} ")).count();
        let closed = page.matches(&format!("</{element}>")).count();
        assert_eq!(opened, closed, "{element}");
    }
}

#[test]
fn a_demo_that_recorded_nothing_still_gives_a_page() {
    let mut empty = Outcome { datacenters: vec!["only".to_owned()], ..Outcome::default() };
    empty.nodes.push(NodeRecord::default());
    assert!(page(&empty).ends_with("</html>\n"));
}

#[test]
fn numbers_read_well() {
    assert_eq!(
        [0.94, 70.5, 1_310.0, 27_300.0].map(duration),
        ["0.9 ms", "70 ms", "1.31 s", "27.3 s"]
    );
    assert_eq!([0.021, 0.25].map(percent), ["2.1 %", "25 %"]);
    assert_eq!([7, 1_000, 1_234_567].map(count), ["7", "1,000", "1,234,567"]);
}
