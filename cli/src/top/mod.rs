//! `shoal top`: a live view of the cluster as a running agent sees it.
//!
//! It asks the agent once in a while, as any client does, and draws what it hears. [`State`] holds
//! what is known and what the keys have chosen, [`draw`](draw::draw) puts it on the screen; neither
//! does I/O, so both are tested without a terminal.

mod draw;
mod state;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::json;

use crate::control::client::{Client, Target};
use crate::control::protocol::{MemberRow, Request, Status};
use crate::exit::Failure;
use crate::host::Entry;
use crate::output::{self, Format, Written};
use state::{Sample, State, Step};

/// Watch the cluster live, as a running agent sees it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Keys:
  q, Esc, Ctrl-C      quit
  Up, Down, PgUp, PgDn, Home, End
                      move through the members
  s                   sort by place, by round trip, or by state
  t                   show troubled members only: all that are not alive and well
  space               hold the picture still

Fits a terminal of 80x24. With --format json it prints one object per interval instead.")]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Time between two looks, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval_ms: u64,
    /// How to show it
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "text|json",
        hide_possible_values = true
    )]
    format: Format,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut client = arguments.target.connect()?;
    let interval = Duration::from_millis(arguments.interval_ms);
    if arguments.format == Format::Json {
        return print_samples(&mut client, interval);
    }
    if !std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "shoal top needs a terminal; use shoal members, or --format json",
        ));
    }
    let terminal_failure =
        |error: std::io::Error| Failure::failed(format_args!("the terminal refuses: {error}"));
    let mut terminal = ratatui::try_init().map_err(terminal_failure)?;
    let outcome = watch(arguments, client, interval, &mut terminal);
    ratatui::restore();
    outcome.map_err(terminal_failure)
}

/// Draws until a key ends it.
fn watch(
    arguments: &Arguments,
    client: Client,
    interval: Duration,
    terminal: &mut ratatui::DefaultTerminal,
) -> std::io::Result<()> {
    let mut state = State::default();
    let mut client = Some(client);
    let mut due = Instant::now();
    loop {
        if Instant::now() >= due {
            // An agent that restarts is found again.
            let connected = client.take().map_or_else(|| arguments.target.connect(), Ok);
            match connected
                .and_then(|mut client| Ok((ask(&mut client, state.last_event())?, client)))
            {
                Ok((sample, connected)) => {
                    state.take(sample, Instant::now());
                    client = Some(connected);
                }
                Err(failure) => state.lose(failure.message()),
            }
            due = Instant::now() + interval;
        }
        let mut page = 1;
        terminal.draw(|frame| page = draw::draw(&state, frame))?;
        if !event::poll(due.saturating_duration_since(Instant::now()))? {
            continue;
        }
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let is_interrupt =
                key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                _ if is_interrupt => return Ok(()),
                KeyCode::Char('s') => state.sort_next(),
                KeyCode::Char('t') => state.toggle_troubled(),
                KeyCode::Char(' ') => state.toggle_hold(),
                KeyCode::Up => state.scroll(Step::Lines(-1), page),
                KeyCode::Down => state.scroll(Step::Lines(1), page),
                KeyCode::PageUp => state.scroll(Step::Pages(-1), page),
                KeyCode::PageDown => state.scroll(Step::Pages(1), page),
                KeyCode::Home => state.scroll(Step::First, page),
                KeyCode::End => state.scroll(Step::Last, page),
                _ => {}
            }
        }
    }
}

fn ask(client: &mut Client, after: u64) -> Result<Sample, Failure> {
    let status: Status = client.ask(Request::Status)?;
    let members: Vec<MemberRow> = client.ask(Request::Members)?;
    let events: Vec<Entry> = client.ask(Request::Events { after })?;
    Ok(Sample { status, members, events })
}

fn print_samples(client: &mut Client, interval: Duration) -> Result<(), Failure> {
    let mut last_event = 0;
    loop {
        let Sample { status, members, events } = ask(client, last_event)?;
        last_event = events.last().map_or(last_event, |event| event.number);
        let line = json!({"status": status, "members": members, "events": events}).to_string();
        let written = output::write_line(&line);
        match written.map_err(|error| Failure::failed(format_args!("cannot write: {error}")))? {
            Written::Heard => std::thread::sleep(interval),
            Written::Unheard => return Ok(()),
        }
    }
}
