//! The report as one self-contained HTML page in the look of the demo's report: same style sheet,
//! no scripts, nothing to download.

use std::fmt::Write;

use crate::Run;
use crate::goals::{Goal, Verdict, all};
use crate::numbers::{plain, show};
use crate::plots;
use crate::scale::growths;

/// The demo's, so that the two pages are of one kind, and what only this page needs.
const STYLES: [&str; 2] =
    [include_str!("../../cli/src/demo/report/style.css"), include_str!("style.css")];

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<title>Shoal benchmarks</title>
<style>
";

/// The whole page.
pub fn page(run: &Run) -> String {
    let mut page = String::from(HEAD);
    STYLES.iter().for_each(|style| page.push_str(style));
    page.push_str("</style>\n</head>\n<body>\n<main>\n");
    let goals = all(run);
    page.push_str(&headline(run, &goals));
    let cards: String = goals.iter().map(card).collect();
    let cards = format!("<div class=\"goals\">\n{cards}</div>\n");
    page.push_str(&section("What was wanted, and what is", "", &cards));
    page.push_str(&section("Side by side", "", &drawings(run)));
    page.push_str(&section(
        "Growth with size",
        "The exponent of the size that fits best: 0 is flat, 1 is linear.",
        &growth(run),
    ));
    page.push_str(&missing(run));
    page.push_str(&section("Commands", "", &commands(run)));
    page.push_str(&figures(run));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn section(title: &str, introduction: &str, content: &str) -> String {
    let introduction = match introduction {
        "" => String::new(),
        text => format!("<p class=\"introduction\">{text}</p>\n"),
    };
    format!("<section>\n<h2>{title}</h2>\n{introduction}{content}</section>\n")
}

/// A table in a card that scrolls by itself where the page is narrow. Cells are markup.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let row = |tag: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let body: String = rows.map(|cells| row("td", &cells)).collect();
    format!("<div class=\"card scroll\"><table>\n{}{body}</table></div>\n", row("th", &head))
}

fn headline(run: &Run, goals: &[Goal]) -> String {
    let count = |is_wanted: fn(&Verdict) -> bool| {
        goals.iter().filter(|goal| is_wanted(&goal.verdict)).count()
    };
    let reached = count(|verdict| *verdict == Verdict::Reached);
    let missed = count(|verdict| *verdict == Verdict::Missed);
    let open = goals.len() - reached - missed;
    let kind = match run.quick {
        true => {
            "A quick run, built without link-time optimisation, good for orders of magnitude only"
        }
        false => "A full run",
    };
    let minutes = run.elapsed.as_secs_f64() / 60.0;
    let mut text = format!(
        "<header>\n<h1>Shoal benchmarks</h1>\n<p>{kind}: {minutes:.1} minutes on one machine, over \
         loopback. A figure is a median; what it is compared with ran in the same minutes.</p>\n\
         </header>\n<ul class=\"figures\">\n"
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
    let fact = |(name, value): &(String, String)| format!("{}: {}", escape(name), escape(value));
    let facts: Vec<String> = run.machine.facts.iter().map(fact).collect();
    text + "</ul>\n<p class=\"note\">" + &facts.join(" &middot; ") + "</p>\n"
}

/// One row of what was wanted.
fn card(goal: &Goal) -> String {
    let (class, verdict) = match &goal.verdict {
        Verdict::Reached => ("reached", "reached".to_owned()),
        Verdict::Missed => ("missed", "not reached".to_owned()),
        Verdict::Open(why) => ("open", format!("open: {}", escape(why))),
    };
    let mut figure = escape(&goal.figure);
    if !goal.ratio.is_empty() {
        add(&mut figure, format_args!(" <b>{}</b>", escape(&goal.ratio)));
    }
    let mut text = format!("<article class=\"card {class}\"><h3>{}</h3>", escape(goal.what));
    let wanted = format!("wanted {}", escape(goal.wanted));
    for (class, words) in [
        ("verdict", verdict),
        ("wanted", wanted),
        ("figure", figure),
        ("compared", escape(&goal.compared)),
    ] {
        if !words.is_empty() {
            add(&mut text, format_args!("<p class=\"{class}\">{words}</p>"));
        }
    }
    if !goal.command.is_empty() {
        add(&mut text, format_args!("<code>{}</code>", escape(&goal.command)));
    }
    text + "</article>\n"
}

fn drawings(run: &Run) -> String {
    let mut text = String::from("<div class=\"columns\">\n");
    for plot in plots::all(&run.results) {
        add(
            &mut text,
            format_args!(
                "<figure class=\"card\"><figcaption>{}</figcaption>\n{}\
                 <p class=\"note\">{}</p></figure>\n",
                plot.title,
                plot.svg,
                escape(&plot.note)
            ),
        );
    }
    text + "</div>\n"
}

fn growth(run: &Run) -> String {
    let rows = growths(&run.results).into_iter().map(|growth| {
        let points = growth.points.iter();
        let points: Vec<String> = points
            .map(|(size, figure)| format!("{size}: {}", show(figure.value, &figure.unit)))
            .collect();
        vec![growth.title.to_owned(), points.join("<br>"), plain(growth.exponent())]
    });
    table(&["what", "size: cost", "exponent"], rows)
}

fn missing(run: &Run) -> String {
    let item = |(what, why): (&String, &String)| {
        format!("<li><b>{}</b>: {}</li>\n", escape(what), escape(why))
    };
    let items: String = run.missing().map(item).collect();
    if items.is_empty() {
        return items;
    }
    let list = format!("<div class=\"card\"><ul class=\"plain\">\n{items}</ul></div>\n");
    section("Not measured", "", &list)
}

fn commands(run: &Run) -> String {
    let rows = run.steps.iter().map(|ran| {
        let command = format!("<code>{}</code>", escape(&ran.command));
        vec![escape(&ran.title), command, format!("{:.0} s", ran.elapsed.as_secs_f64())]
    });
    table(&["what", "command", "took"], rows)
}

fn figures(run: &Run) -> String {
    let rows = run.results.figures.iter().map(|figure| {
        let values = [figure.value, figure.low, figure.high];
        let [value, low, high] = values.map(|value| show(value, &figure.unit));
        vec![escape(&figure.name), value, low, high]
    });
    format!(
        "<section>\n<details><summary>All figures</summary>\n<p class=\"introduction\">Of \
         Criterion's, lowest and highest are the ends of the median's 95 % confidence interval.\
         </p>\n{}</details>\n</section>\n",
        table(&["figure", "median", "lowest", "highest"], rows)
    )
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
        for tag in ["section", "article", "div", "table", "tr", "svg", "p", "ul", "figure"] {
            let count = |text: &str| page.matches(text).count();
            let opened = count(&format!("<{tag}>")) + count(&format!("<{tag} "));
            assert_eq!(opened, count(&format!("</{tag}>")), "{tag}");
        }
    }
}
