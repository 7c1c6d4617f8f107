//! `shoal status`, `members`, `rtt`, `metrics`, `reload` and `leave`: one question to a running
//! agent each.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::control::client::Target;
use crate::control::protocol::{MemberRow, Reloaded, Request, RttRow, Status};
use crate::exit::Failure;
use crate::output::{self, Format, OutputArguments, paint, state_colour};

/// How often a command that waits asks again.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

/// Show how a running agent fares.
#[derive(clap::Args, Debug)]
pub struct StatusArguments {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArguments,
}

/// Show the members of the cluster as a running agent sees them.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal members --control /run/shoal/control
  shoal members --state dead --state left
  shoal members --state alive --wait 8      # until eight are alive
  shoal members --format json | jq -r '.[] | select(.rtt_ms > 50) | .address'

RTT is the best estimate of the round trip in milliseconds, UPPER a bound that it rarely exceeds,
QUALITY how far to trust both, from 0 (a guess) to 1 (measured just now).")]
pub struct MembersArguments {
    #[command(flatten)]
    target: Target,
    /// Only members in this state; repeat for more
    #[arg(long, value_name = "STATE",
          value_parser = ["unconfirmed", "alive", "suspect", "dead", "left"])]
    state: Vec<String>,
    /// Only members of this role; repeat for more
    #[arg(long, value_name = "ROLE", value_parser = ["gate", "manager", "worker"])]
    role: Vec<String>,
    /// Only members of this datacenter; repeat for more
    #[arg(long, value_name = "NAME")]
    datacenter: Vec<String>,
    /// Wait until at least so many members match, and for the agent to be there
    #[arg(long, value_name = "COUNT")]
    wait: Option<usize>,
    /// With --wait: give up after this many seconds
    #[arg(long, value_name = "S", default_value_t = 30, requires = "wait")]
    timeout: u64,
    #[command(flatten)]
    output: OutputArguments,
}

/// Show the round trip from an agent to a member, or between two members.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal rtt 10.0.0.2:7462                   # from the agent that is asked
  shoal rtt 10.0.0.2:7462 10.0.1.3:7462     # between two others, from their coordinates")]
pub struct RttArguments {
    /// A member, IP:PORT as `shoal members` shows it
    a: String,
    /// Another: then the round trip between the two
    b: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArguments,
}

/// Show everything that a running agent measures, as OpenMetrics text.
#[derive(clap::Args, Debug)]
pub struct MetricsArguments {
    #[command(flatten)]
    target: Target,
    /// How to print the result: `text` is OpenMetrics, `json` a list of name, labels and value
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "text|json",
        hide_possible_values = true
    )]
    format: Format,
}

/// Make a running agent read its key ring and its seeds again, as SIGHUP does.
#[derive(clap::Args, Debug)]
pub struct ReloadArguments {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArguments,
}

/// Make a running agent say goodbye to the cluster and end.
#[derive(clap::Args, Debug)]
pub struct LeaveArguments {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArguments,
}

/// Runs `shoal status`.
pub fn status(arguments: &StatusArguments) -> Result<(), Failure> {
    let status: Status = arguments.target.connect()?.ask(Request::Status)?;
    print(arguments.output.format, &status, || {
        let seconds = status.uptime_ms / 1_000;
        [
            format!("address           {}", status.address),
            format!("role              {}", status.role),
            format!("datacenter        {}", status.datacenter),
            format!("leader there      {}", status.leader.as_deref().unwrap_or("none known")),
            format!(
                "members           {} alive, {} suspect, dead or unconfirmed",
                status.members_alive, status.members_troubled
            ),
            format!("backend           {}", status.backend),
            format!("version           {}", status.program),
            format!("up                {}", duration(seconds)),
            format!("health            {} of 8 (0 is well)", status.health_score),
            format!("coordinate error  {:.3}", status.coordinate_error),
            format!(
                "datagrams         {} received, {} of them dropped, {} sent",
                status.datagrams_received, status.datagrams_dropped, status.datagrams_sent
            ),
        ]
        .join("\n")
    })
}

/// Runs `shoal members`.
pub fn members(arguments: &MembersArguments) -> Result<(), Failure> {
    let mut rows = wait_for_members(arguments)?;
    match arguments.output.format {
        Format::Json => {
            let fixed: Vec<FixedFields<'_>> = rows.iter().map(FixedFields::from).collect();
            print(Format::Json, &fixed, String::new)
        }
        Format::Text => output::print_line(&member_table(&mut rows, output::wants_colours())),
    }
}

/// The members that match, as soon as there are as many as wanted.
fn wait_for_members(arguments: &MembersArguments) -> Result<Vec<MemberRow>, Failure> {
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    loop {
        let found = matching_members(arguments);
        let Some(count) = arguments.wait else { return found };
        let is_over = Instant::now() >= deadline;
        match found {
            Ok(rows) if rows.len() >= count => return Ok(rows),
            Ok(rows) if is_over => {
                let (seconds, found) = (arguments.timeout, rows.len());
                return Err(Failure::failed(format_args!(
                    "{found} members match after {seconds} s, {count} were waited for"
                )));
            }
            // A mistake in the request does not go away by waiting.
            Err(failure) if is_over || matches!(failure, Failure::Usage(_)) => return Err(failure),
            _ => std::thread::sleep(WAIT_INTERVAL),
        }
    }
}

fn matching_members(arguments: &MembersArguments) -> Result<Vec<MemberRow>, Failure> {
    let mut rows: Vec<MemberRow> = arguments.target.connect()?.ask(Request::Members)?;
    let wanted =
        |wanted: &[String], value: &str| wanted.is_empty() || wanted.iter().any(|one| one == value);
    rows.retain(|row| {
        wanted(&arguments.state, &row.state)
            && wanted(&arguments.role, &row.role)
            && wanted(&arguments.datacenter, &row.datacenter)
    });
    Ok(rows)
}

/// The fields that programs may rely on, in their order.
#[derive(Serialize)]
struct FixedFields<'a> {
    address: &'a str,
    state: &'a str,
    role: &'a str,
    datacenter: &'a str,
    incarnation: u32,
    rtt_ms: Option<f64>,
    rtt_upper_ms: Option<f64>,
    quality: Option<f64>,
}

impl<'a> From<&'a MemberRow> for FixedFields<'a> {
    fn from(row: &'a MemberRow) -> FixedFields<'a> {
        FixedFields {
            address: &row.address,
            state: &row.state,
            role: &row.role,
            datacenter: &row.datacenter,
            incarnation: row.incarnation,
            rtt_ms: row.rtt_ms,
            rtt_upper_ms: row.rtt_upper_ms,
            quality: row.quality,
        }
    }
}

fn member_table(rows: &mut [MemberRow], colours: bool) -> String {
    let key = |row: &MemberRow| (row.datacenter.clone(), row.role.clone(), row.address.clone());
    rows.sort_by_cached_key(key);
    let head = [
        "ADDRESS",
        "STATE",
        "ROLE",
        "DATACENTER",
        "RTT",
        "UPPER",
        "QUALITY",
        "HEALTH",
        "INCARNATION",
    ];
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
    let cells = rows.iter().map(|row| {
        vec![
            row.address.clone(),
            row.state.clone(),
            row.role.clone(),
            row.datacenter.clone(),
            ms(row.rtt_ms),
            ms(row.rtt_upper_ms),
            row.quality.map_or("-".to_owned(), |quality| format!("{quality:.2}")),
            row.health_score.to_string(),
            row.incarnation.to_string(),
        ]
    });
    let mut table = Table::new(&head);
    cells.for_each(|row| table.push(row));
    table.text(4, |row, column, text| match column {
        1 => paint(text, state_colour(&rows[row].state), colours),
        _ => text.to_owned(),
    })
}

/// Runs `shoal rtt`.
pub fn rtt(arguments: &RttArguments) -> Result<(), Failure> {
    let RttArguments { a, b, target, output } = arguments;
    let request = match b {
        None => Request::Rtt { to: a.clone(), from: None },
        Some(b) => Request::Rtt { to: b.clone(), from: Some(a.clone()) },
    };
    let row: RttRow = target.connect()?.ask(request)?;
    print(output.format, &row, || {
        format!(
            "{} to {}: {:.2} ms, rarely more than {:.2} ms, quality {:.2}",
            row.from, row.to, row.ms, row.upper_ms, row.quality
        )
    })
}

/// Runs `shoal metrics`.
pub fn metrics(arguments: &MetricsArguments) -> Result<(), Failure> {
    let text: String = arguments.target.connect()?.ask(Request::Metrics)?;
    let samples: Vec<Value> = text.lines().filter_map(sample).collect();
    print(arguments.format, &samples, || text.trim_end().to_owned())
}

/// One line of OpenMetrics text as JSON, `None` for a comment.
fn sample(line: &str) -> Option<Value> {
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.rsplit_once(' ')?;
    let value: f64 = value.parse().ok()?;
    let (name, inside) =
        name.strip_suffix('}').and_then(|name| name.split_once('{')).unwrap_or((name, ""));
    let pairs = inside.split(',').filter_map(|pair| pair.split_once('='));
    let labels: Map<String, Value> =
        pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').into())).collect();
    Some(json!({"name": name, "labels": labels, "value": value}))
}

/// Runs `shoal reload`.
pub fn reload(arguments: &ReloadArguments) -> Result<(), Failure> {
    let reloaded: Reloaded = arguments.target.connect()?.ask(Request::Reload)?;
    print(arguments.output.format, &reloaded, || {
        let ring = if reloaded.secrets_changed { "a new key ring" } else { "the same key ring" };
        let mut text =
            format!("reloaded: {ring} of {}, {} new seeds", reloaded.secrets, reloaded.new_seeds);
        if !reloaded.needs_restart.is_empty() {
            text.push_str("; needs a restart: ");
            text.push_str(&reloaded.needs_restart.join(", "));
        }
        text
    })
}

/// Runs `shoal leave`.
pub fn leave(arguments: &LeaveArguments) -> Result<(), Failure> {
    let mut client = arguments.target.connect()?;
    let _: Value = client.ask(Request::Leave)?;
    client.wait_for_end()?;
    print(arguments.output.format, &json!({"left": true}), || "left".to_owned())
}

/// Prints a result in the format that is wanted.
pub fn print<T: Serialize>(
    format: Format,
    result: &T,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    output::print_line(&match format {
        Format::Json => serde_json::to_string(result).expect("a result is plain data"),
        Format::Text => text(),
    })
}

/// Seconds as people say them.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Columns that are as wide as their widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|text| (*text).to_owned()).collect()] }
    }

    /// Adds a row, as long as the head.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The table's lines. Columns from `numbers` on are flush right; `dress` may put colour on a
    /// cell, given its row, its column and its padded text.
    pub fn text(&self, numbers: usize, dress: impl Fn(usize, usize, &str) -> String) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let line = |(index, row): (usize, &Vec<String>)| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                let padded = match column >= numbers {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                };
                if index == 0 { padded } else { dress(index - 1, column, &padded) }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(address: &str, datacenter: &str, rtt_ms: Option<f64>) -> MemberRow {
        MemberRow {
            address: address.to_owned(),
            state: "alive".to_owned(),
            role: "gate".to_owned(),
            datacenter: datacenter.to_owned(),
            incarnation: 3,
            rtt_ms,
            rtt_upper_ms: rtt_ms.map(|ms| ms * 2.0),
            quality: rtt_ms.map(|_| 1.0),
            health_score: 0,
        }
    }

    #[test]
    fn members_are_a_table_by_datacenter() {
        let mut rows = [row("10.0.0.2:1", "west", None), row("10.0.0.1:1", "east", Some(1.234))];
        assert_eq!(
            member_table(&mut rows, false),
            "ADDRESS     STATE  ROLE  DATACENTER   RTT  UPPER  QUALITY  HEALTH  INCARNATION\n\
             10.0.0.1:1  alive  gate  east        1.23   2.47     1.00       0            3\n\
             10.0.0.2:1  alive  gate  west           -      -        -       0            3"
        );
        assert!(member_table(&mut rows, true).contains("\x1b[32malive\x1b[0m"));
    }

    #[test]
    fn the_fixed_fields_are_those_promised() {
        let row = row("a:1", "east", None);
        let json = serde_json::to_string(&FixedFields::from(&row)).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"address":"a:1","state":"alive","role":"gate","datacenter":"east","#,
                r#""incarnation":3,"rtt_ms":null,"rtt_upper_ms":null,"quality":null}"#
            )
        );
    }

    #[test]
    fn samples_are_read() {
        assert_eq!(sample("# TYPE a gauge"), None);
        assert_eq!(
            sample("a_total 5"),
            Some(json!({"name": "a_total", "labels": {}, "value": 5.0}))
        );
        assert_eq!(
            sample("b{c=\"d\",le=\"+Inf\"} 0.5"),
            Some(json!({"name": "b", "labels": {"c": "d", "le": "+Inf"}, "value": 0.5}))
        );
    }
}
