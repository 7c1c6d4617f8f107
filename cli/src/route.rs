//! `shoal route`: where a gate would send a job, and why.

use crate::control::client::Target;
use crate::control::protocol::{Request, RouteRow};
use crate::exit::Failure;
use crate::inspect::{Table, print};
use crate::output::OutputArguments;

/// Show where a gate would send a job, and why.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal route nightly-report --control /run/shoal/control
  shoal route nightly-report --prefer east --format json

The agent asked has to be a gate. The decision is the one a program would get; of a job that the
gate has not routed before, nothing is kept. SCORE is what decides, the less the better: RTT, an
upper bound of the round trip in milliseconds, made worse by load and by uncertainty. HEALTH comes
first: a worse one is taken only when no better one is left.")]
pub struct Arguments {
    /// The job: a name, or the 32 hexadecimal digits that stand for one
    job: String,
    /// A datacenter that the job prefers; repeat for more
    #[arg(long, value_name = "NAME")]
    prefer: Vec<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let request = Request::Route { job: arguments.job.clone(), prefer: arguments.prefer.clone() };
    let row: RouteRow = arguments.target.connect()?.ask(request)?;
    print(arguments.output.format, &row, || describe(&row, &arguments.prefer))
}

fn describe(row: &RouteRow, preferred: &[String]) -> String {
    let place = match (&row.datacenter, &row.manager) {
        (Some(datacenter), Some(manager)) => format!("{datacenter}, manager {manager}"),
        (Some(datacenter), None) => datacenter.clone(),
        (None, _) => "nowhere".to_owned(),
    };
    let mut lines = vec![format!("{place} ({})", row.reason.replace('_', " "))];
    if !row.fallbacks.is_empty() {
        lines.push(format!("then {}", row.fallbacks.join(", ")));
    }
    let head = ["DATACENTER", "HEALTH", "SCORE", "RTT", "LOAD", "QUALITY"];
    let mut table = Table::new(&head);
    for candidate in &row.candidates {
        table.push(vec![
            candidate.datacenter.clone(),
            candidate.bucket.clone(),
            format!("{:.2}", candidate.score),
            format!("{:.2}", candidate.latency_ms),
            format!("x{:.2}", candidate.load_factor),
            format!("x{:.2}", candidate.quality_penalty),
        ]);
    }
    if row.bootstrap && !row.candidates.is_empty() {
        lines.push(
            "by free cores, because this gate does not know round trips well enough yet".to_owned(),
        );
    }
    if !row.candidates.is_empty() {
        lines.push(table.text(2, |_, _, cell| cell.to_owned()));
    }
    for excluded in &row.excluded {
        let reason = excluded.reason.replace('_', " ");
        lines.push(format!("not {}: {reason}", excluded.datacenter));
    }
    for candidate in row.candidates.iter().filter(|candidate| candidate.cooling) {
        lines.push(format!("{} failed this job lately", candidate.datacenter));
    }
    for name in preferred {
        let is_known = row.candidates.iter().any(|candidate| candidate.datacenter == *name)
            || row.excluded.iter().any(|excluded| excluded.datacenter == *name);
        if !is_known {
            lines.push(format!("{name} counts for nothing: this gate has not heard of it"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{CandidateRow, ExcludedRow};

    #[test]
    fn a_decision_explains_itself() {
        let row = RouteRow {
            job: String::new(),
            datacenter: Some("east".to_owned()),
            manager: Some("10.0.0.2:7462".to_owned()),
            reason: "initial_selection".to_owned(),
            bucket: Some("healthy".to_owned()),
            previous: None,
            bootstrap: false,
            fallbacks: vec!["west".to_owned()],
            candidates: vec![CandidateRow {
                datacenter: "east".to_owned(),
                bucket: "healthy".to_owned(),
                score: 1.5,
                latency_ms: 1.0,
                load_factor: 1.5,
                quality_penalty: 1.0,
                preferred: false,
                cooling: false,
            }],
            excluded: vec![ExcludedRow {
                datacenter: "north".to_owned(),
                reason: "no_managers".to_owned(),
            }],
        };
        assert_eq!(
            describe(&row, &["east".to_owned(), "south".to_owned()]),
            "east, manager 10.0.0.2:7462 (initial selection)\n\
             then west\n\
             DATACENTER  HEALTH   SCORE   RTT   LOAD  QUALITY\n\
             east        healthy   1.50  1.00  x1.50    x1.00\n\
             not north: no managers\n\
             south counts for nothing: this gate has not heard of it"
        );
        let early = RouteRow { bootstrap: true, ..row };
        assert!(describe(&early, &[]).contains("\nby free cores, because"));
    }
}
