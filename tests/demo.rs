//! `shoal demo` as a user runs it: it ends by itself, reports what it promises and writes its page.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod browser;
mod program;

use std::process::Command;
use std::time::{Duration, Instant};

use program::shoal;
use serde_json::Value;

#[test]
fn the_demo_tells_its_whole_story_within_a_minute() {
    let program = shoal();
    let folder = std::env::temp_dir().join(format!("shoal-demo-{}", std::process::id()));
    let page = folder.join("report.html");
    let started = Instant::now();
    let mut demo = Command::new(program);
    demo.args(["demo", "--format", "json", "--output"]).arg(&page);
    let output = demo.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());

    let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let number = |path: &str| result.pointer(path).and_then(Value::as_f64).expect(path);
    assert_eq!(result["nodes"].as_array().unwrap().len(), 15);
    assert_eq!(number("/formation/views"), 210.0);
    let jobs = result["routing"]["before"].as_array().unwrap();
    let jobs = jobs.iter().flat_map(|row| row.as_array().unwrap());
    assert_eq!(jobs.filter_map(Value::as_u64).sum::<u64>(), 1_000);
    assert!(number("/routing/median_rtt_ms") < number("/routing/random_median_rtt_ms") / 10.0);
    assert_eq!(number("/routing/misdirected"), number("/routing/rerouted"));
    assert_eq!(result["detection"]["observations"].as_array().unwrap().len(), 2 * 13);
    check_decisions(&result);
    let granted = number("/timeout/limit_ms") + number("/timeout/extension_ms");
    assert_eq!(granted, 4_000.0, "three seconds, and one that was granted late");
    assert!((granted..granted + 1_000.0).contains(&number("/timeout/decided_ms")));
    let sites = result.pointer("/timeout/sites").and_then(Value::as_array).unwrap();
    let ended = sites.iter().map(|site| site["ended_ms"].as_f64().unwrap());
    assert_eq!(ended.filter(|ended_ms| *ended_ms >= granted).count(), 2, "{sites:?}");
    assert_eq!(number("/departure/seen_left"), 12.0);
    assert_eq!(number("/departure/seen_dead"), 0.0);

    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
    browser::look_at(&page);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Every gate explains one of its decisions, and the one that lost a datacenter how it left it.
fn check_decisions(result: &Value) {
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let decisions = list(&result["routing"]["decisions"]);
    assert_eq!(decisions.len(), 4);
    for decision in &decisions {
        let weighed = list(&decision["weighed"]);
        for one in &weighed {
            let factor = |name: &str| one[name].as_f64().expect("a number");
            let factors =
                ["latency_ms", "load_factor", "quality_penalty", "multiplier"].map(factor);
            let product: f64 = factors.iter().product();
            assert!((product - factor("score")).abs() < 1e-6 * product, "{one}");
            assert_eq!(one["bucket"], "healthy");
        }
        assert_eq!(weighed.len() + list(&decision["refused"]).len(), 3);
        assert_eq!(decision["is_bootstrap"], false);
    }
    for (gate, decision) in decisions[..3].iter().enumerate() {
        assert_eq!(decision["reason"], "initial_selection");
        assert_eq!(decision["weighed"][0]["datacenter"], gate, "home is nearest");
    }
    let (left, lost) = (&decisions[3], &result["detection"]["datacenter"]);
    assert_eq!(left["reason"], "exclusion_forced");
    assert_eq!((&left["previous"], &left["refused"][0]["datacenter"]), (lost, lost));
    let moments =
        result["phases"].as_array().unwrap().iter().flat_map(|phase| list(&phase["moments"]));
    let told: Vec<String> = moments.map(|moment| moment["text"].to_string()).collect();
    let has = |text: &str| told.iter().filter(|one| one.contains(text)).count();
    assert!(has("is elected to lead") >= 3, "{told:?}");
    assert_eq!(
        (has("its workers ask for more time"), has("its gate gives it up")),
        (1, 1),
        "{told:?}"
    );
}
