//! Takes figures out of what `shoal simulate --format json` prints.

use std::time::Duration;

use serde_json::Value;
use shoal_benches::figures::Results;

/// The figures of one simulation, named after it. `None` when the output is no such object.
pub fn read(name: &str, output: &str, elapsed: Duration) -> Option<Results> {
    let json: Value = output.lines().rev().find_map(|line| serde_json::from_str(line).ok())?;
    let mut results = Results::default();
    let mut add = |path: &str, value: &Value, unit: &str| {
        if let Some(value) = value.as_f64() {
            results.add(format!("simulation/{name}/{path}"), value, unit);
        }
    };
    add("nodes", &json["nodes"], "");
    add("virtual seconds", &json["virtual_seconds"], "s");
    if let Some(datagrams) = json["datagrams"].as_f64().filter(|&count| count > 0.0) {
        add("datagrams", &json["datagrams"], "");
        let rate = match json["datagrams_per_second"].as_f64() {
            Some(rate) => rate,
            None => datagrams / elapsed.as_secs_f64(),
        };
        add("rate", &Value::from(rate), "1/s");
        add("datagram", &Value::from(1e9 / rate), "ns");
    }
    for what in ["median_rel_err", "p90_rel_err", "nearest_stretch_median"] {
        add(what, &json["coordinate"][what], "");
    }
    let measured = "nearest_stretch_measured_median";
    add(measured, &json["coordinate"][measured], "");
    for what in ["median_rtt_ms", "random_median_rtt_ms", "oracle_median_rtt_ms"] {
        add(what, &json["routing"][what], "ms");
    }
    for what in ["switch_rate", "load_cv", "failover_ms_p99"] {
        add(what, &json["routing"][what], "");
    }
    if let Some(row) = shoal_row(&json["accuracy"]) {
        add("FP", &row["false_positive_percent"], "%");
        add("FP-", &row["healthy_false_positive_percent"], "%");
    }
    if let Some(row) = shoal_row(&json["latency"]) {
        add("median first", &row["median_first_percent"], "%");
    }
    Some(results)
}

/// The row of a table of the Lifeguard experiment that is about Shoal as it ships.
fn shoal_row(table: &Value) -> Option<&Value> {
    let is_shoal = |row: &&Value| {
        row["configuration"].as_str().is_some_and(|name| name.to_lowercase().contains("shoal"))
    };
    table.as_array()?.iter().find(is_shoal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_all_kinds_of_simulations_are_found() {
        let cluster = r#"{"nodes":100,"datagrams":5000,"virtual_seconds":60.0,"coordinate":null}"#;
        let results = read("cluster", cluster, Duration::from_secs(2)).unwrap();
        assert_eq!(results.value("simulation/cluster/rate"), Some(2_500.0));
        let matrix = r#"{"datagrams":0,"coordinate":{"median_rel_err":0.05}}"#;
        let results = read("planetlab", matrix, Duration::from_secs(2)).unwrap();
        assert_eq!(results.value("simulation/planetlab/median_rel_err"), Some(0.05));
        assert_eq!(results.value("simulation/planetlab/rate"), None);
        let lifeguard = r#"{"accuracy":[{"configuration":"SWIM","false_positive_percent":100.0},
            {"configuration":"Shoal","false_positive_percent":0.5}]}"#
            .replace('\n', "");
        let results = read("lifeguard", &lifeguard, Duration::from_secs(2)).unwrap();
        assert_eq!(results.value("simulation/lifeguard/FP"), Some(0.5));
        assert!(read("cluster", "no object", Duration::ZERO).is_none());
    }
}
