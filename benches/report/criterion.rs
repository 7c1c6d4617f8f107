//! Reads what Criterion left behind: the median of every benchmark with its confidence interval.

use std::path::Path;
use std::time::{Instant, SystemTime};

use serde_json::Value;
use shoal_benches::figures::{Figure, Results};

/// The benchmarks below this folder that were run since `start`, named `criterion/<full id>`, in
/// nanoseconds.
pub fn read(folder: &Path, start: Instant) -> Results {
    let since = SystemTime::now().checked_sub(start.elapsed());
    let mut results = Results::default();
    collect(folder, since.unwrap_or(SystemTime::UNIX_EPOCH), &mut results);
    results.figures.sort_by(|one, other| one.name.cmp(&other.name));
    results
}

fn collect(folder: &Path, since: SystemTime, results: &mut Results) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        let path = entry.path();
        match path.file_name().is_some_and(|name| name == "new") {
            true => results.figures.extend(read_one(&path, since)),
            false => collect(&path, since, results),
        }
    }
}

fn read_one(folder: &Path, since: SystemTime) -> Option<Figure> {
    let written = folder.join("estimates.json").metadata().ok()?.modified().ok()?;
    if written < since {
        return None;
    }
    let json = |name: &str| -> Option<Value> {
        serde_json::from_str(&std::fs::read_to_string(folder.join(name)).ok()?).ok()
    };
    let (estimates, benchmark) = (json("estimates.json")?, json("benchmark.json")?);
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    Some(Figure {
        name: format!("criterion/{}", benchmark["full_id"].as_str()?),
        value: median["point_estimate"].as_f64()?,
        unit: "ns".to_owned(),
        low: interval["lower_bound"].as_f64()?,
        high: interval["upper_bound"].as_f64()?,
        samples: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_is_found_wherever_it_lies_unless_it_is_old() {
        let root = std::env::temp_dir().join(format!("shoal-criterion-{}", std::process::id()));
        let folder = root.join("routing/route/sticky/100/new");
        std::fs::create_dir_all(&folder).unwrap();
        let estimates = r#"{"median":{"point_estimate":12.5,
            "confidence_interval":{"lower_bound":12.0,"upper_bound":13.0}}}"#;
        std::fs::write(folder.join("benchmark.json"), r#"{"full_id":"routing/route/sticky/100"}"#)
            .unwrap();
        std::fs::write(folder.join("estimates.json"), estimates).unwrap();
        let mut results = Results::default();
        collect(&root, SystemTime::UNIX_EPOCH, &mut results);
        let figure = results.get("criterion/routing/route/sticky/100").unwrap();
        assert_eq!((figure.value, figure.low, figure.high), (12.5, 12.0, 13.0));
        let mut later = Results::default();
        collect(&root, SystemTime::now() + std::time::Duration::from_secs(9), &mut later);
        assert_eq!(later, Results::default());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
