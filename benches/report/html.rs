//! The report as one self-contained HTML page in the look of the demo's report: same style sheet, no
//! scripts, nothing to download.

use std::fmt::Write;

use crate::Run;
use crate::goals::{Goal, Verdict, all};
use crate::numbers::{plain, show};
use crate::plots;
use crate::scale::growths;

/// The demo's, so that the two pages are of one kind, and what only this page needs.
const STYLES: [&str; 2] =
    [include_str!("../../cli/src/demo/report/style.css"), include_str!("style.css")];

/// The whole page.
pub fn page(run: &Run) -> String {
    let mut page =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n<title>Shoal benchmarks</title>\n<style>\n");
    STYLES.iter().for_each(|style| page.push_str(style));
    page.push_str("</style>\n</head>\n<body>\n<main>\n");
    let goals = all(run);
    for part in [
        headline(run, &goals),
        table(&goals),
        drawings(run),
        growth(run),
        missing(run),
        commands(run),
        figures(run),
    ] {
        page.push_str(&part);
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn headline(run: &Run, goals: &[Goal]) -> String {
    let count =
        |wanted: fn(&Verdict) -> bool| goals.iter().filter(|goal| wanted(&goal.verdict)).count();
    let reached = count(|verdict| *verdict == Verdict::Reached);
    let missed = count(|verdict| *verdict == Verdict::Missed);
    let open = goals.len() - reached - missed;
    let kind =
        if run.quick { "A quick run, good for orders of magnitude only" } else { "A full run" };
    let mut text = format!(
        "<header>\n<h1>Shoal benchmarks</h1>\n<p>{kind}: {:.1} minutes on one machine, over loopback. A figure is a \
         median; what it is compared with ran minutes before or after it.</p>\n</header>\n<ul class=\"figures\">\n",
        run.elapsed.as_secs_f64() / 60.0
    );
    for (number, what, more) in [
        (reached, "reached", "of what was wanted"),
        (missed, "not reached", "and shown as such"),
        (open, "open", "not measured here, with the reason"),
    ] {
        add(
            &mut text,
            format_args!(
                "<li><strong>{number}</strong><span>{what}</span><small>{more}</small></li>\n"
            ),
        );
    }
    text.push_str("</ul>\n<p class=\"note\">");
    let facts: Vec<String> = run
        .machine
        .facts
        .iter()
        .map(|(name, value)| format!("{}: {}", escape(name), escape(value)))
        .collect();
    text + &facts.join(" &middot; ") + "</p>\n"
}

fn table(goals: &[Goal]) -> String {
    let mut text =
        String::from("<section>\n<h2>What was wanted, and what is</h2>\n<div class=\"goals\">\n");
    for goal in goals {
        let (class, words) = match &goal.verdict {
            Verdict::Reached => ("reached", "reached".to_owned()),
            Verdict::Missed => ("missed", "not reached".to_owned()),
            Verdict::Open(why) => ("open", format!("open: {}", escape(why))),
        };
        add(
            &mut text,
            format_args!(
                "<article class=\"card {class}\"><h3>{}</h3><p class=\"verdict\">{words}</p><p class=\"wanted\">wanted {}</p>",
                escape(goal.what),
                escape(goal.wanted)
            ),
        );
        if !goal.figure.is_empty() {
            add(&mut text, format_args!("<p class=\"figure\">{}", escape(&goal.figure)));
            if !goal.ratio.is_empty() {
                add(&mut text, format_args!(" <b>{}</b>", escape(&goal.ratio)));
            }
            text.push_str("</p>");
        }
        if !goal.compared.is_empty() {
            add(&mut text, format_args!("<p class=\"compared\">{}</p>", escape(&goal.compared)));
        }
        if !goal.command.is_empty() {
            add(&mut text, format_args!("<code>{}</code>", escape(&goal.command)));
        }
        text.push_str("</article>\n");
    }
    text + "</div>\n</section>\n"
}

fn drawings(run: &Run) -> String {
    let mut text = String::from("<section>\n<h2>Side by side</h2>\n<div class=\"columns\">\n");
    for plot in plots::all(&run.results) {
        add(
            &mut text,
            format_args!(
                "<figure class=\"card\"><figcaption>{}</figcaption>\n{}<p class=\"note\">{}</p></figure>\n",
                plot.title,
                plot.svg,
                escape(&plot.note)
            ),
        );
    }
    text + "</div>\n</section>\n"
}

fn growth(run: &Run) -> String {
    let mut text = String::from(
        "<section>\n<h2>Growth with the cluster</h2>\n<p class=\"introduction\">The exponent of members that fits best: 0 is \
         flat, 1 is linear.</p>\n<div class=\"card scroll\"><table><tr><th>what</th><th>members: cost</th><th>exponent</th></tr>\n",
    );
    for growth in growths(&run.results) {
        let points: Vec<String> = growth
            .points
            .iter()
            .map(|(size, figure)| format!("{size}: {}", show(figure.value, &figure.unit)))
            .collect();
        add(
            &mut text,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                growth.title,
                points.join("<br>"),
                plain(growth.exponent())
            ),
        );
    }
    text + "</table></div>\n</section>\n"
}

fn missing(run: &Run) -> String {
    let failed = run.steps.iter().filter_map(|ran| Some((&ran.title, ran.failure.as_ref()?)));
    let skipped = run.results.skipped.iter().map(|skipped| (&skipped.what, &skipped.why));
    let mut items = String::new();
    for (what, why) in failed.chain(skipped) {
        add(&mut items, format_args!("<li><b>{}</b>: {}</li>\n", escape(what), escape(why)));
    }
    if items.is_empty() {
        return items;
    }
    format!(
        "<section>\n<h2>Not measured</h2>\n<div class=\"card\"><ul class=\"plain\">\n{items}</ul></div>\n</section>\n"
    )
}

fn commands(run: &Run) -> String {
    let mut text = String::from(
        "<section>\n<h2>Commands</h2>\n<div class=\"card scroll\"><table><tr><th>what</th><th>command</th><th>took</th></tr>\n",
    );
    for ran in &run.steps {
        add(
            &mut text,
            format_args!(
                "<tr><td>{}</td><td><code>{}</code></td><td>{:.0} s</td></tr>\n",
                escape(&ran.title),
                escape(&ran.command),
                ran.elapsed.as_secs_f64()
            ),
        );
    }
    text + "</table></div>\n</section>\n"
}

fn figures(run: &Run) -> String {
    let mut text = String::from(
        "<section>\n<details><summary>All figures</summary>\n<p class=\"introduction\">Of Criterion's, lowest and highest are the \
         ends of the median's 95 % confidence interval.</p>\n<div class=\"card scroll\"><table>\
         <tr><th>figure</th><th>median</th><th>lowest</th><th>highest</th></tr>\n",
    );
    for figure in &run.results.figures {
        let [value, low, high] =
            [figure.value, figure.low, figure.high].map(|v| show(v, &figure.unit));
        add(
            &mut text,
            format_args!(
                "<tr><td>{}</td><td>{value}</td><td>{low}</td><td>{high}</td></tr>\n",
                escape(&figure.name)
            ),
        );
    }
    text + "</table></div>\n</details>\n</section>\n"
}

/// The text with what HTML would read as markup made harmless.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn add(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals::tests::run;

    #[test]
    fn the_page_stands_alone_and_takes_nothing_for_markup() {
        let page = page(&run());
        for outside in ["<script", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("detection by &lt;nobody&gt;"));
        for tag in ["section", "article", "div", "table", "svg", "p", "ul", "figure"] {
            let count = |text: &str| page.matches(text).count();
            let opened = count(&format!("<{tag}>")) + count(&format!("<{tag} "));
            assert_eq!(opened, count(&format!("</{tag}>")), "{tag}");
        }
    }
}
