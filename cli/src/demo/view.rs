//! The demo as it happens: a live picture on a terminal, plain lines elsewhere.
//!
//! The picture takes a few lines below the prompt, not the whole screen, so that what was on the
//! terminal stays and the final table follows it. Without a terminal, or on one that is too small,
//! each phase and each notable moment is a line.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Sparkline, Widget};
use ratatui::{Terminal, TerminalOptions, Viewport};
use shoal_core::MemberState;

use super::record::{NodeRecord, Outcome};
use crate::output::Format;

/// Lines of the picture.
const HEIGHT: u16 = 19;
/// The narrowest terminal it fits.
const WIDTH_MIN: u16 = 76;
/// Time between two drawings.
const INTERVAL: Duration = Duration::from_millis(80);
/// The phases, to show what is still to come.
const PHASES: [&str; 6] = ["form", "converge", "route", "fail", "time out", "leave"];
/// One colour per datacenter.
const COLOURS: [Color; 3] = [Color::LightBlue, Color::LightYellow, Color::LightGreen];
/// Notes kept on the picture.
const NOTE_COUNT: usize = 4;

/// Shows a demo.
#[derive(Debug)]
pub struct View {
    mode: Mode,
    phase: usize,
    /// The latest notes: when, in milliseconds, and what.
    notes: Vec<(f64, String)>,
    drawn: Option<Instant>,
}

#[derive(Debug)]
enum Mode {
    /// A picture that changes.
    Live(Box<Terminal<CrosstermBackend<io::Stdout>>>),
    /// Lines on stdout, or on stderr where stdout is for a machine.
    Lines { to_stderr: bool },
}

impl View {
    /// The view that suits stdout and the format asked for.
    pub fn new(format: Format) -> View {
        let plain = Mode::Lines { to_stderr: format == Format::Json };
        let mode = match format {
            Format::Text if io::stdout().is_terminal() => open_terminal().unwrap_or(plain),
            _ => plain,
        };
        View { mode, phase: 0, notes: Vec::new(), drawn: None }
    }

    /// A phase begins.
    pub fn begin(&mut self, name: &str) {
        self.phase = PHASES.iter().position(|known| *known == name).unwrap_or(self.phase);
        self.drawn = None;
    }

    /// The phase is over and found this.
    pub fn end(&mut self, summary: &str, at_ms: f64) {
        self.note(summary, at_ms);
        self.phase += 1;
    }

    /// Something happened.
    pub fn note(&mut self, text: &str, at_ms: f64) {
        self.notes.push((at_ms, text.to_owned()));
        if self.notes.len() > NOTE_COUNT {
            self.notes.remove(0);
        }
        let name = PHASES.get(self.phase).copied().unwrap_or("end");
        let line = format!("[{:5.1} s] {name:<8}  {text}", at_ms / 1e3);
        // A reader that went away loses the lines, not the demo.
        let _ = match self.mode {
            Mode::Live(_) => Ok(()),
            Mode::Lines { to_stderr: true } => writeln!(io::stderr(), "{line}"),
            Mode::Lines { to_stderr: false } => writeln!(io::stdout(), "{line}"),
        };
    }

    /// Draws the picture, if there is one and it is time for it.
    pub fn draw(
        &mut self,
        outcome: &Outcome,
        nodes: &[NodeRecord],
        states: &[Vec<Option<MemberState>>],
        now_ms: f64,
    ) {
        let fresh = self.drawn.is_some_and(|drawn| drawn.elapsed() < INTERVAL);
        let Mode::Live(terminal) = &mut self.mode else { return };
        if fresh {
            return;
        }
        self.drawn = Some(Instant::now());
        let picture =
            Picture { outcome, nodes, states, now_ms, phase: self.phase, notes: &self.notes };
        // A terminal that goes away mid-way is not worth failing for: the report still comes.
        let _ = terminal.draw(|frame| frame.render_widget(picture, frame.area()));
    }

    /// Takes the picture away and gives the terminal back.
    pub fn close(&mut self) {
        if let Mode::Live(terminal) = &mut self.mode {
            // Nothing can be done about a terminal that refuses, and nothing is lost.
            let corner = terminal.get_frame().area().as_position();
            let _ = terminal.clear();
            let _ = terminal.set_cursor_position(corner);
            let _ = terminal.show_cursor();
        }
        self.mode = Mode::Lines { to_stderr: true };
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.close();
    }
}

/// A viewport below the cursor; `None` where the terminal is too small or does not say where its
/// cursor is.
fn open_terminal() -> Option<Mode> {
    let (width, height) = ratatui::crossterm::terminal::size().ok()?;
    if width < WIDTH_MIN || height < HEIGHT + 2 {
        return None;
    }
    let options = TerminalOptions { viewport: Viewport::Inline(HEIGHT) };
    let mut terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), options).ok()?;
    terminal.hide_cursor().ok()?;
    Some(Mode::Live(Box::new(terminal)))
}

/// Everything that one drawing shows.
struct Picture<'a> {
    outcome: &'a Outcome,
    nodes: &'a [NodeRecord],
    states: &'a [Vec<Option<MemberState>>],
    now_ms: f64,
    phase: usize,
    notes: &'a [(f64, String)],
}

impl Widget for Picture<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let [title, sites, charts, notes] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(7),
            Constraint::Length(5),
            Constraint::Length(5),
        ])
        .areas(area);
        Paragraph::new(self.title()).render(title, buffer);
        let thirds = [Constraint::Fill(1); 3];
        for (datacenter, area) in Layout::horizontal(thirds).split(sites).iter().enumerate() {
            self.site(datacenter).render(*area, buffer);
        }
        let [left, right] =
            Layout::horizontal([Constraint::Fill(2), Constraint::Fill(3)]).areas(charts);
        self.error_chart(left, buffer);
        self.job_chart(right, buffer);
        Paragraph::new(self.note_lines()).render(notes, buffer);
    }
}

impl Picture<'_> {
    fn title(&self) -> Vec<Line<'static>> {
        let mut phases = Vec::new();
        for (index, name) in PHASES.iter().enumerate() {
            let (mark, style) = match index.cmp(&self.phase) {
                std::cmp::Ordering::Less => ("✓ ", Style::new().green()),
                std::cmp::Ordering::Equal => ("● ", Style::new().add_modifier(Modifier::BOLD)),
                std::cmp::Ordering::Greater => ("○ ", Style::new().dark_gray()),
            };
            phases.push(Span::styled(format!("{mark}{name}   "), style));
        }
        let clock = format!("  {:.1} s", self.now_ms / 1e3);
        vec![
            Line::from(vec![
                "shoal demo".bold(),
                format!("  {} nodes, 3 datacenters, one process", self.nodes.len()).into(),
                clock.dark_gray(),
            ]),
            Line::from(phases),
        ]
    }

    /// The nodes of one datacenter, as the others see them.
    fn site(&self, datacenter: usize) -> Paragraph<'static> {
        let colour = COLOURS[datacenter % COLOURS.len()];
        let members =
            self.nodes.iter().enumerate().filter(|(_, node)| node.datacenter == datacenter);
        let lines: Vec<Line> =
            members.map(|(index, node)| self.node_line(index, node, colour)).collect();
        let name = self.outcome.datacenters[datacenter].clone();
        let block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(Style::new().dark_gray());
        Paragraph::new(lines)
            .block(block.title(Span::styled(format!(" {name} "), Style::new().fg(colour).bold())))
    }

    fn node_line(&self, index: usize, node: &NodeRecord, colour: Color) -> Line<'static> {
        let seen = |wanted: MemberState| {
            self.states.iter().filter(|row| row[index] == Some(wanted)).count()
        };
        let [alive, suspect, dead, left] =
            [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left]
                .map(seen);
        let (mark, style, text) = if node.killed {
            let text = match dead {
                0 => format!("suspect to {suspect}"),
                dead => format!("dead to {dead}"),
            };
            ("✗", Style::new().light_red(), text)
        } else if left > 0 {
            ("○", Style::new().dark_gray(), "left".to_owned())
        } else if suspect > 0 {
            ("!", Style::new().yellow(), format!("suspect to {suspect}"))
        } else if alive > 0 {
            ("●", Style::new().fg(colour), format!("alive to {alive}"))
        } else {
            ("·", Style::new().dark_gray(), "unknown".to_owned())
        };
        Line::from(vec![
            Span::styled(format!(" {mark} {:<10}", node.label), style),
            Span::styled(text, Style::new().dark_gray()),
        ])
    }

    fn error_chart(&self, area: Rect, buffer: &mut Buffer) {
        let samples = &self.outcome.coordinates.samples;
        let last =
            samples.last().map_or("-".to_owned(), |last| format!("{:.1} %", last.median * 100.0));
        let block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(Style::new().dark_gray());
        let block = block.title(format!(" prediction error {last} "));
        let width = usize::from(area.width.saturating_sub(2));
        let recent = &samples[samples.len().saturating_sub(width)..];
        let bars: Vec<u64> =
            recent.iter().map(|sample| (sample.median.min(1.0) * 1e3) as u64).collect();
        Sparkline::default()
            .block(block)
            .max(1_000)
            .data(&bars)
            .style(Style::new().light_cyan())
            .render(area, buffer);
    }

    /// Where the jobs of the last second went.
    fn job_chart(&self, area: Rect, buffer: &mut Buffer) {
        let bins = &self.outcome.routing.bins;
        let recent = &bins[bins.len().saturating_sub(5)..];
        let total: u32 = bins.iter().flat_map(|bin| &bin.jobs).sum();
        let longest = self.outcome.datacenters.iter().map(String::len).max().unwrap_or(0);
        let width = usize::from(area.width).saturating_sub(longest + 10);
        let window: u32 = recent.iter().flat_map(|bin| &bin.jobs).sum();
        let lines = self.outcome.datacenters.iter().enumerate().map(|(index, name)| {
            let jobs: u32 = recent.iter().map(|bin| bin.jobs[index]).sum();
            let filled = (jobs as usize * width).checked_div(window as usize).unwrap_or(0);
            let colour = COLOURS[index % COLOURS.len()];
            Line::from(vec![
                Span::styled(format!(" {name:<longest$} "), Style::new().fg(colour)),
                Span::styled("█".repeat(filled), Style::new().fg(colour)),
                format!(" {jobs}").dark_gray(),
            ])
        });
        let block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(Style::new().dark_gray());
        let title = format!(" {total} jobs routed; the latest by datacenter ");
        Paragraph::new(lines.collect::<Vec<_>>()).block(block.title(title)).render(area, buffer);
    }

    fn note_lines(&self) -> Vec<Line<'static>> {
        let line = |(at_ms, text): &(f64, String)| {
            Line::from(vec![format!(" {:5.1} s  ", at_ms / 1e3).dark_gray(), text.clone().into()])
        };
        self.notes.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::invented;
    use super::*;

    fn rows(buffer: &Buffer) -> Vec<String> {
        let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        (0..buffer.area.height).map(row).collect()
    }

    #[test]
    fn the_picture_shows_phase_states_error_and_jobs() {
        let outcome = invented();
        let mut states = vec![vec![Some(MemberState::Alive); 15]; 15];
        states[0][6] = Some(MemberState::Suspect);
        states[3][7] = Some(MemberState::Dead);
        let notes = [(14_000.0, "both managers were killed".to_owned())];
        let picture = Picture {
            outcome: &outcome,
            nodes: &outcome.nodes,
            states: &states,
            now_ms: 14_200.0,
            phase: 3,
            notes: &notes,
        };
        let mut buffer = Buffer::empty(Rect::new(0, 0, 100, HEIGHT));
        picture.render(buffer.area, &mut buffer);
        let rows = rows(&buffer);
        let shown = |text: &str| rows.iter().any(|row| row.contains(text));
        for text in [
            "✓ route   ● fail   ○ time out",
            "● gate      alive to 15",
            "✗ manager 1 suspect to 1",
            "✗ manager 2 dead to 1",
            "prediction error 2.",
            "both managers were killed",
        ] {
            assert!(shown(text), "{text} is missing:\n{}", rows.join("\n"));
        }
    }
}
