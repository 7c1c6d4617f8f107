//! The form in which a measurement hands its figures to the report: one line of JSON.
//!
//! A figure is a median with the lowest and highest sample, so that a reader sees the spread;
//! whoever measured also says what it could not measure and why.

use serde::{Deserialize, Serialize};

/// One measured quantity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, as a path: `detect/shoal/all`.
    pub name: String,
    /// The median of the samples, or the one value there is.
    pub value: f64,
    /// `ns`, `ms`, `s`, `1/s`, `B`, `MB`, `%` or `` for a count.
    pub unit: String,
    /// The lowest sample.
    pub low: f64,
    /// The highest sample.
    pub high: f64,
    /// The samples in the order in which they were taken, where a plot or a percentile needs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
}

/// Something that was to be measured and was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// What.
    pub what: String,
    /// Why, in words that say how to change it.
    pub why: String,
}

/// All that one command found out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What was not.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
}

impl Results {
    /// Adds a value that was read once.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        let name = name.into();
        let unit = unit.to_owned();
        self.figures.push(Figure { name, value, unit, low: value, high: value, samples: vec![] });
    }

    /// Adds the median of these samples; nothing when there are none.
    pub fn add_samples(&mut self, name: impl Into<String>, samples: &[f64], unit: &str) {
        let Some(value) = percentile(samples, 50.0) else { return };
        let extreme = |pick: fn(f64, f64) -> f64| samples.iter().copied().reduce(pick);
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit: unit.to_owned(),
            low: extreme(f64::min).unwrap_or(value),
            high: extreme(f64::max).unwrap_or(value),
            samples: samples.to_vec(),
        });
    }

    /// Notes something that is missing.
    pub fn skip(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.skipped.push(Skipped { what: what.into(), why: why.into() });
    }

    /// The figure of this name.
    pub fn get(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// The value of the figure of this name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.get(name).map(|figure| figure.value)
    }

    /// Takes over what another command found out.
    pub fn append(&mut self, other: Results) {
        self.figures.extend(other.figures);
        self.skipped.extend(other.skipped);
    }

    /// Prints the line that [`Results::from_output`] finds.
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("figures are plain data"));
    }

    /// The results in what a command printed: its last line that is one.
    pub fn from_output(output: &str) -> Option<Results> {
        output.lines().rev().find_map(|line| serde_json::from_str(line).ok())
    }
}

impl Figure {
    /// The nearest-rank percentile of the samples; `share` in percent.
    pub fn percentile(&self, share: f64) -> f64 {
        percentile(&self.samples, share).unwrap_or(self.value)
    }
}

/// The nearest-rank percentile of values in any order; `share` in percent. `None` of none.
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_the_way_through_a_pipe_between_other_lines() {
        let mut results = Results::default();
        results.add_samples("detect/all", &[3.0, 1.0, 2.0, 9.0], "ms");
        results.add_samples("nothing", &[], "ms");
        results.skip("serf", "not installed");
        let line = serde_json::to_string(&results).unwrap();
        let output = format!("some words\n{line}\nmore words\n");
        assert_eq!(Results::from_output(&output).unwrap(), results);
        let figure = results.get("detect/all").unwrap();
        assert_eq!((figure.value, figure.low, figure.high), (2.0, 1.0, 9.0));
        assert_eq!(figure.percentile(99.0), 9.0);
        assert_eq!(Results::from_output("no results"), None);
    }
}
