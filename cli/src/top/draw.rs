//! The live view on the screen: the agent, the members, the latest events, the keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::state::{Order, State};
use crate::control::protocol::MemberRow;
use crate::host::Entry;
use crate::inspect::duration;
use crate::output::clock;

/// Lines of events, where there is room.
const EVENT_LINES: u16 = 6;
/// The least lines of members that events leave.
const MEMBER_LINES_MIN: u16 = 6;
/// One colour per datacenter, in turn.
const COLOURS: [Color; 6] = [
    Color::LightBlue,
    Color::LightYellow,
    Color::LightGreen,
    Color::LightMagenta,
    Color::LightCyan,
    Color::LightRed,
];

/// Draws everything, and returns how many members fit.
pub fn draw(state: &State, frame: &mut Frame<'_>) -> usize {
    let area = frame.area();
    let fixed = 5;
    let events = area.height.saturating_sub(fixed + MEMBER_LINES_MIN).min(EVENT_LINES);
    let [head, census, titles, members, rule, log, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(events),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(headline(state)), head);
    frame.render_widget(Paragraph::new(counts(state)), census);
    frame.render_widget(Paragraph::new(title()).dim(), titles);
    let page = usize::from(members.height);
    frame.render_widget(Paragraph::new(rows(state, page)), members);
    frame.render_widget(Paragraph::new(divider(state, page, rule)).dim(), rule);
    frame.render_widget(Paragraph::new(latest(state, log)), log);
    frame.render_widget(Paragraph::new(help()), keys);
    page
}

fn headline(state: &State) -> Line<'static> {
    let Some(status) = state.status() else {
        return Line::from("waiting for the agent ...".dim());
    };
    let health = format!("health {}/8", status.health_score);
    let mut spans = vec![
        format!("{} ", status.address).bold(),
        format!(
            "{} in {}  {}  up {}  ",
            status.role,
            status.datacenter,
            status.backend,
            duration(status.uptime_ms / 1_000)
        )
        .into(),
        if status.health_score == 0 { health.green() } else { health.yellow() },
    ];
    if let Some(trouble) = state.trouble() {
        spans = vec![format!("{trouble}; trying on").red().bold()];
    } else if state.is_held() {
        spans.push("  HELD".yellow().bold());
    }
    Line::from(spans)
}

fn counts(state: &State) -> Line<'static> {
    let members = state.members();
    let count = |name: &str| members.iter().filter(|row| row.state == name).count();
    let mut spans = vec![Span::from(format!("{} members:", members.len()))];
    for name in ["alive", "suspect", "dead", "left", "unconfirmed"] {
        let count = count(name);
        if count > 0 || name == "alive" {
            spans.push(Span::styled(format!(" {count} {name}"), style_of(name)));
        }
    }
    if let Some([received, sent]) = state.rates() {
        spans.push(format!("   {received:.0} in/s {sent:.0} out/s").into());
    }
    if let Some(status) = state.status() {
        spans.push(format!("   dropped {}", status.datagrams_dropped).into());
    }
    Line::from(spans)
}

fn title() -> String {
    format!(
        "{:<14} {:<7} {:<24} {:<11} {:>8} {:>7}  H",
        "DATACENTER", "ROLE", "ADDRESS", "STATE", "RTT ms", "QUALITY"
    )
}

fn rows(state: &State, page: usize) -> Vec<Line<'static>> {
    let shown = state.shown();
    if shown.is_empty() && state.status().is_some() {
        return vec![Line::from("nobody is in trouble".green())];
    }
    let mut datacenters: Vec<&str> =
        state.members().iter().map(|row| row.datacenter.as_str()).collect();
    datacenters.sort_unstable();
    datacenters.dedup();
    let first = state.first(page);
    let mut above = None;
    let mut lines = Vec::new();
    for row in shown.iter().skip(first).take(page) {
        let number = datacenters.binary_search(&row.datacenter.as_str()).unwrap_or(0);
        let colour = COLOURS[number % COLOURS.len()];
        // A datacenter is named once where its members stand together.
        let is_named = state.order() != Order::Place || above != Some(&row.datacenter);
        above = Some(&row.datacenter);
        lines.push(row_line(row, colour, is_named));
    }
    lines
}

fn row_line(row: &MemberRow, colour: Color, is_named: bool) -> Line<'static> {
    let name = if is_named { shortened(&row.datacenter, 14) } else { String::new() };
    let rtt = row.rtt_ms.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
    let quality = row.quality.map_or("-".to_owned(), |quality| format!("{quality:.2}"));
    let health = match row.health_score {
        0 => "0".dim(),
        score => score.to_string().yellow(),
    };
    Line::from(vec![
        Span::styled(format!("{name:<14} "), Style::new().fg(colour)),
        format!("{:<7} {:<24} ", row.role, shortened(&row.address, 24)).into(),
        Span::styled(format!("{:<11} ", row.state), style_of(&row.state)),
        format!("{rtt:>8} {quality:>7}  ").into(),
        health,
    ])
}

/// Text that does not reach into the next column.
fn shortened(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width - 1).chain(['~']).collect(),
    }
}

fn divider(state: &State, page: usize, area: Rect) -> String {
    let (first, count) = (state.first(page), state.shown().len());
    let filter = if state.is_troubled_only() { ", troubled only" } else { "" };
    let last = (first + page).min(count);
    let place = format!(
        " {}-{last} of {count} by {}{filter} ",
        (first + 1).min(count),
        state.order().name()
    );
    format!("{place:─^width$}", width = usize::from(area.width))
}

fn latest(state: &State, area: Rect) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> =
        state.events().rev().take(usize::from(area.height)).map(event_line).collect();
    lines.reverse();
    lines
}

fn event_line(entry: &Entry) -> Line<'static> {
    let text = |key: &str| entry.record[key].as_str().unwrap_or_default().to_owned();
    let at = entry.record["at_ms"].as_u64().map(clock).unwrap_or_default();
    let kind = text("event");
    let at = format!("{at:<14}").dim();
    match kind.as_str() {
        "member" => {
            let state = text("state");
            let style = style_of(&state);
            let place = format!("{} {} in {}", text("address"), text("role"), text("datacenter"));
            Line::from(vec![at, Span::styled(format!("{state:<12}"), style), place.into()])
        }
        "started" => Line::from(vec![at, "started".into()]),
        "joined" => Line::from(vec![at, format!("joined through {}", text("seed")).into()]),
        "join_delayed" => Line::from(vec![at, "no seed answers so far".yellow()]),
        "refuted" => Line::from(vec![at, "this node was thought to have failed".yellow()]),
        "leader" => {
            let leader = entry.record["leader"].as_str().unwrap_or("this node").to_owned();
            let place = text("datacenter");
            let what = match text("state").as_str() {
                "elected" => format!("{leader} leads {place}").into(),
                "lost" => format!("{leader} leads {place} no more").yellow(),
                _ => format!("{leader} stepped down: {}", text("reason")).yellow(),
            };
            Line::from(vec![at, format!("{:<12}", "leader").into(), what])
        }
        "datacenter" => {
            let state = text("state");
            let style = match state.as_str() {
                "reachable" => Style::new().green(),
                _ => Style::new().yellow(),
            };
            let what = Span::styled(format!("{state:<12}"), style);
            Line::from(vec![at, what, format!("datacenter {}", text("datacenter")).into()])
        }
        "network" => {
            Line::from(vec![at, format!("network of this gate {}", text("state")).yellow()])
        }
        "stalled" => {
            let lasted = entry.record["lasted_ms"].as_u64().unwrap_or_default();
            Line::from(vec![at, format!("this node was not run for {lasted} ms").yellow()])
        }
        "error" => Line::from(vec![at, text("message").red()]),
        "left" => Line::from(vec![at, "this node has left".into()]),
        _ => Line::from(vec![at, kind.into()]),
    }
}

fn help() -> Line<'static> {
    let keys = [
        ("q", "quit"),
        ("arrows", "move"),
        ("s", "sort"),
        ("t", "troubled only"),
        ("space", "hold"),
    ];
    let spans = keys
        .into_iter()
        .flat_map(|(key, what)| [format!(" {key} ").reversed(), format!(" {what}  ").into()]);
    Line::from(spans.collect::<Vec<_>>())
}

fn style_of(state: &str) -> Style {
    match state {
        "alive" => Style::new().green(),
        "suspect" => Style::new().yellow().bold(),
        "dead" => Style::new().red().bold(),
        _ => Style::new().dim(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::invented;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;
    use std::time::{Duration, Instant};

    fn screen(state: &State, width: u16, height: u16) -> (String, usize) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut page = 0;
        terminal.draw(|frame| page = draw(state, frame)).unwrap();
        let lines: Vec<String> = terminal
            .backend()
            .buffer()
            .content
            .chunks(usize::from(width))
            .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>())
            .collect();
        (lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"), page)
    }

    fn state() -> State {
        let (mut state, start) = (State::default(), Instant::now());
        state.take(invented(100), start);
        state.take(invented(350), start + Duration::from_secs(2));
        state
    }

    #[test]
    fn everything_is_on_a_screen_of_80_by_24() {
        let (text, page) = screen(&state(), 80, 24);
        assert!(page >= 9, "{page} members fit");
        for wanted in [
            "10.0.0.0:7462 gate in east  uring  up 1 h 2 min  health 0/8",
            "9 members: 7 alive 1 suspect 1 dead   125 in/s 125 out/s   dropped 2",
            "DATACENTER     ROLE    ADDRESS                  STATE         RTT ms QUALITY  H",
            "west           gate    10.0.1.0:7462            alive          40.20    0.90  0",
            "               manager 10.0.1.1:7462            dead               -       -  0",
            " 1-9 of 9 by place ",
            "01:02:03.004Z dead        10.0.1.1:7462 manager in west",
            " q  quit   arrows  move   s  sort   t  troubled only   space  hold",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is missing in\n{text}");
        }
    }

    #[test]
    fn every_kind_of_event_says_what_it_is_about() {
        let record = |record: serde_json::Value| Entry { number: 1, record };
        for (event, wanted) in [
            (
                json!({"event": "leader", "state": "elected", "leader": "a:1", "datacenter": "east"}),
                "a:1 leads east",
            ),
            (
                json!({"event": "leader", "state": "stepped_down", "reason": "leaving"}),
                "this node stepped down: leaving",
            ),
            (
                json!({"event": "datacenter", "state": "suspected", "datacenter": "east"}),
                "suspected   datacenter east",
            ),
            (json!({"event": "network", "state": "suspected"}), "network of this gate suspected"),
            (json!({"event": "stalled", "lasted_ms": 900}), "not run for 900 ms"),
            (json!({"event": "error", "message": "no"}), "no"),
        ] {
            let line = event_line(&record(event)).to_string();
            assert!(line.trim_end().ends_with(wanted), "{line:?}");
        }
    }

    #[test]
    fn a_small_screen_keeps_the_members() {
        let mut state = state();
        let (text, page) = screen(&state, 80, 11);
        assert_eq!(page, 6, "{text}");
        state.toggle_troubled();
        let (text, _) = screen(&state, 60, 8);
        assert!(text.contains("1-2 of 2 by place, troubled only"), "{text}");
        screen(&state, 10, 3);
        screen(&state, 1, 1);
    }

    #[test]
    fn an_agent_that_is_gone_is_told() {
        let mut state = state();
        state.lose("no agent listens at /run/shoal/control");
        let (text, _) = screen(&state, 80, 24);
        assert!(text.starts_with("no agent listens at /run/shoal/control; trying on"), "{text}");
    }
}
