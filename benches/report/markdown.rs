//! The report as Markdown: for the repository, and for a terminal.

use std::fmt::Write;

use crate::Run;
use crate::goals::{Goal, Verdict, all};
use crate::numbers::{plain, show};
use crate::scale::growths;

/// Around the short table, so that it can be found and replaced.
const BEGIN: &str = "<!-- short table of docs/benchmarks.md, written by `make bench-docs` -->\n";
const END: &str = "<!-- end of the short table -->\n";

/// How to get figures of one's own.
const REPEAT: &str = "
## Repeat it

* `make bench` measures everything, `QUICK=1 make bench` the same in a hurry; both write
  `target/bench/report.md` and `report.html`, and name what they could not measure.
* `make deps` installs the peers that are Debian packages; foca comes from crates.io.
* `HYPERSCALE_PATH=CHECKOUT HYPERSCALE_PYTHON=PYTHON make bench` compares with hyperscale's own
  classes, run by an interpreter that has its requirements; otherwise with a plain-Python model of
  the same documents (`benches/baseline/model.py`). Both sides must compute the same before
  anything is timed.
* `SHOAL_MATRICES=FOLDER make bench` judges coordinates on `FOLDER/planetlab490_ms.csv`.
* `make bench-check` counts the instructions of the hot paths with callgrind and fails when a path
  has become longer than `benches/instructions.json` allows; `INSTRUCTIONS=write` writes it anew.
* `make bench-profile` writes where the time of a packet goes, in the engine alone and in a node.
* `make bench-docs` makes the last report this page, and its first table the README's.
";

/// The whole report.
pub fn page(run: &Run) -> String {
    let kind = match run.quick {
        true => {
            "a quick run (`QUICK=1`), built without link-time optimisation, good for orders of magnitude \
             only"
        }
        false => "a full run",
    };
    let mut page = format!(
        "# Benchmarks\n\nWritten by `make bench`: {kind}, {:.1} minutes. Everything is on one \
         machine, over loopback;\ncompare figures of one report only. A figure is a median.\n\n",
        run.elapsed.as_secs_f64() / 60.0
    );
    for (name, value) in &run.machine.facts {
        add(&mut page, format_args!("* {name}: {value}\n"));
    }
    add(&mut page, format_args!("\n## In short\n\n{}", short_table(run)));
    page.push_str("\n## What was wanted\n\n");
    page.push_str(&table(
        &["what", "wanted", "Shoal", "compared with", "ratio", ""],
        all(run).iter().map(|goal| {
            let Goal { what, wanted, figure, compared, ratio, .. } = goal;
            let [what, wanted] = [what, wanted].map(|text| (*text).to_owned());
            let verdict = verdict(&goal.verdict);
            vec![what, wanted, figure.clone(), compared.clone(), ratio.clone(), verdict]
        }),
    ));
    page.push_str("\n## Growth with size\n\n");
    page.push_str("`b` of `cost = a * size ^ b`, fitted: 0 is flat, 1 is linear.\n\n");
    page.push_str(&growth(run));
    page.push_str(&missing(run));
    page.push_str(REPEAT);
    page.push_str("\n## Commands\n\n");
    page.push_str(&table(
        &["what", "command", "took"],
        run.steps.iter().map(|ran| {
            let took = format!("{:.0} s", ran.elapsed.as_secs_f64());
            vec![ran.title.clone(), format!("`{}`", ran.command), took]
        }),
    ));
    page.push_str("\n## All figures\n\nOf Criterion's, lowest and highest are the ends of the ");
    page.push_str("median's 95 % confidence interval.\n\n");
    page.push_str(&table(
        &["figure", "median", "lowest", "highest"],
        run.results.figures.iter().map(|figure| {
            let values = [figure.value, figure.low, figure.high];
            let [value, low, high] = values.map(|value| show(value, &figure.unit));
            vec![figure.name.clone(), value, low, high]
        }),
    ));
    page
}

fn growth(run: &Run) -> String {
    let rows = growths(&run.results).into_iter().map(|growth| {
        let points = growth.points.iter();
        let points: Vec<String> = points
            .map(|(size, figure)| format!("{size}: {}", show(figure.value, &figure.unit)))
            .collect();
        vec![growth.title.to_owned(), points.join(", "), plain(growth.exponent())]
    });
    table(&["what", "by size", "b"], rows)
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        add(&mut text, format_args!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// The rows for the README, between their marks.
pub fn short_table(run: &Run) -> String {
    let goals = all(run);
    let rows = goals.iter().filter(|goal| goal.is_short).map(|goal| {
        let figure = match &goal.verdict {
            Verdict::Open(why) => format!("open: {why}"),
            _ => goal.figure.clone(),
        };
        vec![goal.what.to_owned(), figure, goal.compared.clone(), goal.ratio.clone()]
    });
    let table = table(&["one core, loopback", "Shoal", "compared with", "ratio"], rows);
    format!("{BEGIN}{table}\n{}\n{END}", circumstances(run))
}

/// What a reader must know of a run before comparing: how long it was and how busy the machine.
fn circumstances(run: &Run) -> String {
    let fact = |wanted: &str| {
        let found = run.machine.facts.iter().find(|(name, _)| name == wanted);
        found.map_or("unknown", |(_, value)| value.as_str())
    };
    let kind = if run.quick { "A quick run" } else { "A full run" };
    let [commit, before, after] = ["commit", "load before", "load after"].map(fact);
    format!("{kind} of {commit}; load of the machine {before} before and {after} after.")
}

/// What could not be measured, each with its reason.
fn missing(run: &Run) -> String {
    let mut text = String::new();
    for (what, why) in run.missing() {
        add(&mut text, format_args!("* {what}: {why}\n"));
    }
    if text.is_empty() { text } else { format!("\n## Not measured\n\n{text}") }
}

/// The text with the block between the marks replaced by this one. `None` when it has no such
/// block.
pub fn replace_block(text: &str, block: &str) -> Option<String> {
    let start = text.find(BEGIN)?;
    let end = start + text[start..].find(END)? + END.len();
    Some(format!("{}{block}{}", &text[..start], &text[end..]))
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Reached => "reached".to_owned(),
        Verdict::Missed => "**not reached**".to_owned(),
        Verdict::Open(why) => format!("open: {why}"),
    }
}

/// Text that stays inside its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn add(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals::tests::run;

    fn block(text: &str) -> Option<&str> {
        let start = text.find(BEGIN)?;
        let end = start + text[start..].find(END)?;
        Some(&text[start..end])
    }

    #[test]
    fn the_readme_shows_the_short_table_of_the_committed_report() {
        let root = crate::root();
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let (readme, report) = (read("README.md"), read("docs/benchmarks.md"));
        assert!(block(&readme).is_some(), "README.md has the marks of the short table");
        assert_eq!(block(&readme), block(&report), "write both anew with `make bench-docs`");
    }

    #[test]
    fn every_row_and_everything_missing_is_in_the_report() {
        let page = page(&run());
        for goal in all(&run()) {
            assert!(page.contains(goal.what), "{}", goal.what);
        }
        assert!(page.contains("0.90 x") && page.contains("**not reached**"));
        assert!(page.contains("* detection by <nobody>: it is | missing"));
        let rows = page.lines().filter(|line| line.starts_with('|'));
        for row in rows {
            assert!(row.ends_with('|'), "{row}");
        }
    }

    #[test]
    fn a_block_is_replaced_and_nothing_else() {
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        let table = short_table(&run());
        let replaced = replace_block(&text, &table).unwrap();
        assert_eq!(replaced, format!("before\n{table}after\n"));
        assert_eq!(replace_block("no marks", &table), None);
    }
}
