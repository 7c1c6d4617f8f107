//! What the program says on stdout: one line per event, as JSON for machines or as text for people.
//!
//! Every line is flushed when it is complete, so that a reader at the other end of a pipe sees it
//! at once. A reader that has gone away is not an error of ours: it surfaces as
//! [`Written::Unheard`].

use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;
use shoal_core::federation::FederationEvent;
use shoal_core::{Address, DatacenterName, Event, MemberState};

use crate::exit::Failure;

/// How results and events are written: for people, or for programs as one line of JSON per event or
/// result.
//
// The variants have no documentation of their own, because clap would make a page of each list of
// options out of it.
#[derive(clap::ValueEnum, serde::Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// How a command that ends prints what it found out.
#[derive(clap::Args, Debug)]
pub struct OutputArguments {
    /// How to print the result
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "text|json",
        hide_possible_values = true
    )]
    pub format: Format,
}

/// Whether somebody reads what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// The line is on its way.
    Heard,
    /// The reader closed the pipe.
    Unheard,
}

/// One line of the agent's output. The field names are a contract with programs that read them.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Record {
    /// The node is bound and running.
    Started {
        /// Where peers reach it.
        address: String,
        /// `uring` or `poll`.
        backend: &'static str,
    },
    /// A member is new or changed its state.
    Member {
        /// Where it is reached.
        address: String,
        /// Its state's name.
        state: &'static str,
        /// Its count of refutations.
        incarnation: u32,
        /// Its role's name.
        role: &'static str,
        /// Where it runs.
        datacenter: String,
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// A seed answered.
    Joined {
        /// Which.
        seed: String,
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// No seed has answered so far; the node keeps trying.
    JoinDelayed {
        /// Attempts made.
        attempts: u32,
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// Peers thought that this node failed, and it told them otherwise.
    Refuted {
        /// The incarnation that refutes.
        incarnation: u32,
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// A datacenter has a leader, or has none any more.
    Leader {
        /// The datacenter; of one's own leadership that ended it is not said.
        #[serde(skip_serializing_if = "Option::is_none")]
        datacenter: Option<String>,
        /// The leader that this is about; not said when it is this node that stepped down.
        #[serde(skip_serializing_if = "Option::is_none")]
        leader: Option<String>,
        /// The term, which fences earlier ones.
        term: u64,
        /// `elected`, `lost` or `stepped_down`.
        state: &'static str,
        /// Why this node stepped down.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// A gate hears a datacenter again, or no more.
    Datacenter {
        /// Which.
        datacenter: String,
        /// `unknown`, `reachable`, `suspected` or `unreachable`.
        state: &'static str,
        /// What it was before.
        from: &'static str,
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// A gate blames its own network for the silence of datacenters, or no longer.
    Network {
        /// `suspected` or `recovered`.
        state: &'static str,
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// The node was not run for a while, and begins its observations anew.
    Stalled {
        /// By how much it missed its deadline, in milliseconds.
        lasted_ms: u64,
        /// When it noticed, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// Something failed: a reload, or the agent, which ends then with this as its last line.
    Error {
        /// What, in one line that says what to do.
        message: String,
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// The goodbye has been sent.
    Left {
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// Events were lost because they were not read in time.
    Overflow {
        /// How many.
        lost: u64,
    },
}

impl Record {
    /// The line for an engine event, `None` for a kind this version has no line for.
    pub fn from_event(
        event: &Event,
        unix_ms: impl Fn(shoal_core::Instant) -> u64,
    ) -> Option<Record> {
        Some(match *event {
            Event::Member(member) => Record::Member {
                address: member.address.to_string(),
                state: member.state.name(),
                incarnation: member.incarnation.0,
                role: member.role.name(),
                datacenter: member.datacenter.to_string(),
                at_ms: unix_ms(member.at),
            },
            Event::Joined { seed, at } => {
                Record::Joined { seed: seed.to_string(), at_ms: unix_ms(at) }
            }
            Event::JoinDelayed { attempts, at } => {
                Record::JoinDelayed { attempts, at_ms: unix_ms(at) }
            }
            Event::Refuted { incarnation, at } => {
                Record::Refuted { incarnation: incarnation.0, at_ms: unix_ms(at) }
            }
            Event::Federation(event) => return federation_record(&event, unix_ms),
            Event::Stalled { lasted, at } => {
                Record::Stalled { lasted_ms: lasted.as_millis() as u64, at_ms: unix_ms(at) }
            }
            Event::Left { at } => Record::Left { at_ms: unix_ms(at) },
            Event::Overflow { lost } => Record::Overflow { lost },
            _ => return None,
        })
    }

    /// The line for people.
    fn text(&self, colours: bool) -> String {
        match self {
            Record::Started { address, backend } => format!(
                "{} {address} is up (backend {backend}); interrupt it to leave the cluster",
                paint("started    ", "1", colours)
            ),
            Record::Member { address, state, incarnation, role, datacenter, at_ms } => format!(
                "{} {address:<21} {role:<7} {datacenter}  incarnation {incarnation}  {}",
                paint(&format!("{state:<11}"), state_colour(state), colours),
                clock(*at_ms)
            ),
            Record::Joined { seed, at_ms } => {
                format!("joined      through {seed}  {}", clock(*at_ms))
            }
            Record::JoinDelayed { attempts, at_ms } => format!(
                "waiting     no seed answered {attempts} times, trying on; are address and secret \
                 right?  {}",
                clock(*at_ms)
            ),
            Record::Refuted { incarnation, at_ms } => format!(
                "refuted     peers thought this node failed; now incarnation {incarnation}  {}",
                clock(*at_ms)
            ),
            Record::Leader { datacenter, leader, term, state, reason, at_ms } => {
                let subject = leader.as_deref().unwrap_or("this node");
                let place = datacenter.as_deref().unwrap_or("");
                let what = match *state {
                    "elected" => format!("leads {place}"),
                    "lost" => format!("leads {place} no more"),
                    _ => format!("stepped down ({})", reason.unwrap_or("no reason told")),
                };
                format!("leader      {subject:<21} {what}, term {term}  {}", clock(*at_ms))
            }
            Record::Datacenter { datacenter, state, from, at_ms } => {
                format!("datacenter  {datacenter} is {state}, was {from}  {}", clock(*at_ms))
            }
            Record::Network { state, at_ms } => format!(
                "network     of this gate is {state}: it went by many datacenters at once  {}",
                clock(*at_ms)
            ),
            Record::Stalled { lasted_ms, at_ms } => format!(
                "stalled     this node was not run for {lasted_ms} ms and begins to observe anew  {}",
                clock(*at_ms)
            ),
            Record::Error { message, at_ms } => format!("error       {message}  {}", clock(*at_ms)),
            Record::Left { at_ms } => format!("left        goodbye is sent  {}", clock(*at_ms)),
            Record::Overflow { lost } => {
                format!(
                    "overflow    {lost} events were lost: the reader of this output is too slow"
                )
            }
        }
    }
}

fn federation_record(
    event: &FederationEvent,
    unix_ms: impl Fn(shoal_core::Instant) -> u64,
) -> Option<Record> {
    let about = |state, datacenter: DatacenterName, leader: Address, term, at| Record::Leader {
        datacenter: Some(datacenter.to_string()),
        leader: Some(leader.to_string()),
        term,
        state,
        reason: None,
        at_ms: unix_ms(at),
    };
    Some(match *event {
        FederationEvent::LeaderElected { datacenter, leader, term, at } => {
            about("elected", datacenter, leader, term, at)
        }
        FederationEvent::LeaderLost { datacenter, leader, term, at } => {
            about("lost", datacenter, leader, term, at)
        }
        FederationEvent::SteppedDown { term, reason, at } => Record::Leader {
            datacenter: None,
            leader: None,
            term,
            state: "stepped_down",
            reason: Some(reason.name()),
            at_ms: unix_ms(at),
        },
        FederationEvent::ReachabilityChanged { datacenter, from, to, at } => Record::Datacenter {
            datacenter: datacenter.to_string(),
            state: to.name(),
            from: from.name(),
            at_ms: unix_ms(at),
        },
        FederationEvent::NetworkSuspected { at, .. } => {
            Record::Network { state: "suspected", at_ms: unix_ms(at) }
        }
        FederationEvent::NetworkRecovered { at } => {
            Record::Network { state: "recovered", at_ms: unix_ms(at) }
        }
        _ => return None,
    })
}

/// Writes records to stdout.
#[derive(Debug)]
pub struct Output {
    format: Format,
    colours: bool,
}

impl Output {
    /// An output of this format.
    pub fn new(format: Format) -> Output {
        Output { format, colours: wants_colours() }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// When stdout fails in another way than by its reader going away.
    pub fn write(&self, record: &Record) -> io::Result<Written> {
        write_line(&match self.format {
            Format::Json => serde_json::to_string(record)?,
            Format::Text => record.text(self.colours),
        })
    }
}

/// Writes one complete line and flushes it.
pub fn write_line(line: &str) -> io::Result<Written> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Written::Heard),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::Unheard),
        Err(error) => Err(error),
    }
}

/// Prints the one result of a command. A reader that went away wanted no more, which is success.
pub fn print_line(line: &str) -> Result<(), Failure> {
    let written = write_line(line);
    written.map(|_| ()).map_err(|error| Failure::failed(format_args!("cannot write: {error}")))
}

/// Whether stdout is a terminal, and its user does not refuse colours.
pub fn wants_colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text in a colour, by its number in the terminal's language.
pub fn paint(text: &str, code: &str, colours: bool) -> String {
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The number of a state's colour.
pub fn state_colour(state: &str) -> &'static str {
    let state = MemberState::ALL.into_iter().find(|known| known.name() == state);
    match state {
        Some(MemberState::Alive) => "32",
        Some(MemberState::Suspect) => "33",
        Some(MemberState::Dead) => "31",
        _ => "2",
    }
}

/// The time of day in UTC.
pub fn clock(unix_ms: u64) -> String {
    let (seconds, millis) = (unix_ms / 1000, unix_ms % 1000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}Z", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::federation::Reachability;
    use shoal_core::{Generation, Incarnation, Instant, MemberEvent, MemberState, Role};

    fn member() -> Event {
        Event::Member(MemberEvent {
            address: "127.0.0.1:9000".parse().unwrap(),
            state: MemberState::Suspect,
            generation: Generation(1),
            incarnation: Incarnation(2),
            role: Role::Gate,
            datacenter: "east".parse::<DatacenterName>().unwrap(),
            at: Instant::from_millis(5),
        })
    }

    #[test]
    fn json_lines_have_the_promised_names_in_the_promised_order() {
        let unix_ms = |at: Instant| 1_000 + at.as_millis();
        let json =
            |event| serde_json::to_string(&Record::from_event(&event, unix_ms).unwrap()).unwrap();
        assert_eq!(
            json(member()),
            concat!(
                r#"{"event":"member","address":"127.0.0.1:9000","state":"suspect","#,
                r#""incarnation":2,"role":"gate","datacenter":"east","at_ms":1005}"#
            )
        );
        let left = Event::Left { at: Instant::ZERO };
        assert_eq!(json(left), r#"{"event":"left","at_ms":1000}"#);
        let started = Record::Started { address: "[::1]:7".to_owned(), backend: "poll" };
        assert_eq!(
            serde_json::to_string(&started).unwrap(),
            r#"{"event":"started","address":"[::1]:7","backend":"poll"}"#
        );
    }

    #[test]
    fn leaders_and_datacenters_have_lines() {
        let unix_ms = |at: Instant| 1_000 + at.as_millis();
        let json = |event| {
            let record = Record::from_event(&Event::Federation(event), unix_ms).unwrap();
            serde_json::to_string(&record).unwrap()
        };
        let (datacenter, at) = ("east".parse().unwrap(), Instant::from_millis(5));
        let leader = "127.0.0.1:9000".parse().unwrap();
        assert_eq!(
            json(FederationEvent::LeaderElected { datacenter, leader, term: 7, at }),
            concat!(
                r#"{"event":"leader","datacenter":"east","leader":"127.0.0.1:9000","#,
                r#""term":7,"state":"elected","at_ms":1005}"#
            )
        );
        let reason = shoal_core::federation::ResignationReason::LeaseLost;
        assert_eq!(
            json(FederationEvent::SteppedDown { term: 7, reason, at }),
            r#"{"event":"leader","term":7,"state":"stepped_down","reason":"lease_lost","at_ms":1005}"#
        );
        let (from, to) = (Reachability::Reachable, Reachability::Suspected);
        assert_eq!(
            json(FederationEvent::ReachabilityChanged { datacenter, from, to, at }),
            concat!(
                r#"{"event":"datacenter","datacenter":"east","state":"suspected","#,
                r#""from":"reachable","at_ms":1005}"#
            )
        );
    }

    #[test]
    fn text_shows_state_place_and_time() {
        let unix_ms = |at: Instant| 3_723_004 + at.as_millis();
        let text = Record::from_event(&member(), unix_ms).unwrap().text(false);
        assert_eq!(
            text,
            "suspect     127.0.0.1:9000        gate    east  incarnation 2  01:02:03.009Z"
        );
    }
}
