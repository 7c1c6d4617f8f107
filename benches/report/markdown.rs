//! The report as Markdown: for the repository, and for a terminal.

use std::fmt::Write;

use crate::Run;
use crate::goals::{Goal, Verdict, all};
use crate::numbers::{plain, show};
use crate::scale::growths;

/// Around the short table, so that it can be found and replaced.
const BEGIN: &str = "<!-- short table of docs/benchmarks.md, written by `make bench-docs` -->\n";
const END: &str = "<!-- end of the short table -->\n";

/// The whole report.
pub fn page(run: &Run) -> String {
    let mut page = String::from("# Benchmarks\n\n");
    let kind = if run.quick {
        "a quick run (`QUICK=1`), good for orders of magnitude only"
    } else {
        "a full run"
    };
    let minutes = run.elapsed.as_secs_f64() / 60.0;
    add(
        &mut page,
        format_args!(
            "Written by `make bench`: {kind}, {minutes:.1} minutes. Everything is on one machine over loopback; compare \
         figures of one report only. A figure is a median.\n\n"
        ),
    );
    for (name, value) in &run.machine.facts {
        add(&mut page, format_args!("* {name}: {value}\n"));
    }
    add(&mut page, format_args!("\n## In short\n\n{}", short_table(run)));
    page.push_str("\n## What was wanted\n\n");
    page.push_str(
        "| what | wanted | Shoal | compared with | ratio | |\n|---|---|---|---|---:|---|\n",
    );
    for goal in all(run) {
        let Goal { what, wanted, figure, compared, ratio, .. } = &goal;
        let verdict = verdict(&goal.verdict);
        add(
            &mut page,
            format_args!(
                "| {} | {wanted} | {} | {} | {ratio} | {verdict} |\n",
                cell(what),
                cell(figure),
                cell(compared)
            ),
        );
    }
    page.push_str("\n## Growth with the cluster\n\n`b` of `cost = a * members ^ b`, fitted: 0 is flat, 1 is linear.\n\n");
    page.push_str("| what | by members | b |\n|---|---|---:|\n");
    for growth in growths(&run.results) {
        let points: Vec<String> = growth
            .points
            .iter()
            .map(|(size, figure)| format!("{size}: {}", show(figure.value, &figure.unit)))
            .collect();
        add(
            &mut page,
            format_args!(
                "| {} | {} | {} |\n",
                growth.title,
                points.join(", "),
                plain(growth.exponent())
            ),
        );
    }
    page.push_str(&missing(run));
    page.push_str("\n## Commands\n\n| what | command | took |\n|---|---|---:|\n");
    for ran in &run.steps {
        add(
            &mut page,
            format_args!(
                "| {} | `{}` | {:.0} s |\n",
                ran.title,
                ran.command,
                ran.elapsed.as_secs_f64()
            ),
        );
    }
    page.push_str(
        "\n## All figures\n\n| figure | median | lowest | highest |\n|---|---:|---:|---:|\n",
    );
    for figure in &run.results.figures {
        let [value, low, high] =
            [figure.value, figure.low, figure.high].map(|v| show(v, &figure.unit));
        add(&mut page, format_args!("| {} | {value} | {low} | {high} |\n", cell(&figure.name)));
    }
    page.push_str("\nOf Criterion's figures, lowest and highest are the ends of the median's 95 % confidence interval.\n");
    page
}

/// The rows for the README, between their marks.
pub fn short_table(run: &Run) -> String {
    let mut table = String::from(BEGIN);
    table.push_str("| one core, loopback | Shoal | compared with | ratio |\n|---|---|---|---:|\n");
    for goal in all(run).iter().filter(|goal| goal.is_short) {
        let figure = match &goal.verdict {
            Verdict::Open(why) => format!("open: {why}"),
            _ => goal.figure.clone(),
        };
        add(
            &mut table,
            format_args!(
                "| {} | {} | {} | {} |\n",
                goal.what,
                cell(&figure),
                cell(&goal.compared),
                goal.ratio
            ),
        );
    }
    table.push_str(END);
    table
}

/// What could not be measured, each with its reason.
fn missing(run: &Run) -> String {
    let mut text = String::new();
    let failed = run.steps.iter().filter_map(|ran| Some((&ran.title, ran.failure.as_ref()?)));
    let skipped = run.results.skipped.iter().map(|skipped| (&skipped.what, &skipped.why));
    for (what, why) in failed.chain(skipped) {
        add(&mut text, format_args!("* {what}: {why}\n"));
    }
    if text.is_empty() { text } else { format!("\n## Not measured\n\n{text}") }
}

/// The text with the block between the marks replaced by this one. `None` when it has no such block.
pub fn replace_block(text: &str, block: &str) -> Option<String> {
    let start = text.find(BEGIN)?;
    let end = start + text[start..].find(END)? + END.len();
    Some(format!("{}{block}{}", &text[..start], &text[end..]))
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Reached => "reached".to_owned(),
        Verdict::Missed => "**not reached**".to_owned(),
        Verdict::Open(why) => format!("open: {}", cell(why)),
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
