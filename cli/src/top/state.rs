//! What the live view knows, and what its keys have chosen.

use std::collections::VecDeque;
use std::time::Instant;

use crate::control::protocol::{MemberRow, Status};
use crate::host::Entry;

/// Events that are kept for the screen.
const EVENT_COUNT_MAX: usize = 64;

/// One look at the agent.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The agent itself.
    pub status: Status,
    /// All members.
    pub members: Vec<MemberRow>,
    /// What happened since the last look.
    pub events: Vec<Entry>,
}

/// How members are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By datacenter, role, address.
    #[default]
    Place,
    /// Nearest first.
    RoundTrip,
    /// Those in trouble first.
    State,
}

impl Order {
    /// The name on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Order::Place => "place",
            Order::RoundTrip => "round trip",
            Order::State => "state",
        }
    }
}

/// How far to move.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// By so many lines.
    Lines(isize),
    /// By so many screens.
    Pages(isize),
    /// To the top.
    First,
    /// To the end.
    Last,
}

/// Everything that is drawn.
#[derive(Debug, Default)]
pub struct State {
    sample: Option<(Status, Vec<MemberRow>)>,
    taken: Option<Instant>,
    /// Datagrams received and sent per second.
    rates: Option<[f64; 2]>,
    events: VecDeque<Entry>,
    order: Order,
    troubled_only: bool,
    is_held: bool,
    scroll: usize,
    trouble: Option<String>,
}

impl State {
    /// Takes what was just heard. A picture that is held keeps its members, but misses no event.
    pub fn take(&mut self, sample: Sample, now: Instant) {
        let Sample { status, members, events } = sample;
        self.trouble = None;
        for event in events {
            if self.events.len() == EVENT_COUNT_MAX {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
        if self.is_held {
            return;
        }
        if let (Some((before, _)), Some(taken)) = (&self.sample, self.taken) {
            let seconds = (now - taken).as_secs_f64().max(1e-3);
            // A counter that went back belongs to another run of the agent.
            let per_second =
                |now: u64, before: u64| now.checked_sub(before).map(|count| count as f64 / seconds);
            self.rates = per_second(status.datagrams_received, before.datagrams_received)
                .zip(per_second(status.datagrams_sent, before.datagrams_sent))
                .map(|(received, sent)| [received, sent]);
            if self.rates.is_none() {
                self.events.clear();
            }
        }
        self.sample = Some((status, members));
        self.taken = Some(now);
    }

    /// The agent did not answer.
    pub fn lose(&mut self, reason: &str) {
        self.trouble = Some(reason.to_owned());
    }

    /// The number of the latest event that is known.
    pub fn last_event(&self) -> u64 {
        self.events.back().map_or(0, |event| event.number)
    }

    /// The agent, once it has answered.
    pub fn status(&self) -> Option<&Status> {
        self.sample.as_ref().map(|(status, _)| status)
    }

    /// All members, in the agent's order.
    pub fn members(&self) -> &[MemberRow] {
        self.sample.as_ref().map_or(&[], |(_, members)| members)
    }

    /// Datagrams received and sent per second, once two looks have been taken.
    pub fn rates(&self) -> Option<[f64; 2]> {
        self.rates
    }

    /// The latest events, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.events.iter()
    }

    /// Why the picture is old, if it is.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// How members are ordered.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Whether only members in trouble are shown.
    pub fn is_troubled_only(&self) -> bool {
        self.troubled_only
    }

    /// Whether the picture is held still.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// The members to show, in order.
    pub fn shown(&self) -> Vec<&MemberRow> {
        let is_shown = |row: &&MemberRow| !self.troubled_only || is_troubled(row);
        let mut rows: Vec<&MemberRow> = self.members().iter().filter(is_shown).collect();
        let place =
            |row: &MemberRow| (row.datacenter.clone(), row.role.clone(), row.address.clone());
        rows.sort_by_cached_key(|row| place(row));
        match self.order {
            Order::Place => {}
            Order::RoundTrip => {
                let ms = |row: &MemberRow| row.rtt_ms.unwrap_or(f64::INFINITY);
                rows.sort_by(|a, b| ms(a).total_cmp(&ms(b)));
            }
            Order::State => rows.sort_by_key(|row| severity(row)),
        }
        rows
    }

    /// The first member on the screen.
    pub fn first(&self, page: usize) -> usize {
        self.scroll.min(self.shown().len().saturating_sub(page))
    }

    /// Orders in the next way.
    pub fn sort_next(&mut self) {
        self.order = match self.order {
            Order::Place => Order::RoundTrip,
            Order::RoundTrip => Order::State,
            Order::State => Order::Place,
        };
        self.scroll = 0;
    }

    /// Shows all members, or those in trouble.
    pub fn toggle_troubled(&mut self) {
        self.troubled_only = !self.troubled_only;
        self.scroll = 0;
    }

    /// Holds the picture still, or lets it go on.
    pub fn toggle_hold(&mut self) {
        self.is_held = !self.is_held;
    }

    /// Moves through the members, of whom `page` fit on the screen.
    pub fn scroll(&mut self, step: Step, page: usize) {
        let last = self.shown().len().saturating_sub(page);
        let here = self.scroll.min(last);
        self.scroll = match step {
            Step::Lines(count) => here.saturating_add_signed(count).min(last),
            Step::Pages(count) => {
                here.saturating_add_signed(count * page.max(1) as isize).min(last)
            }
            Step::First => 0,
            Step::Last => last,
        };
    }
}

/// Whether a member is not alive and well.
fn is_troubled(row: &MemberRow) -> bool {
    row.state != "alive" || row.health_score > 0
}

/// The worse the smaller.
fn severity(row: &MemberRow) -> (u8, u8) {
    let state = match row.state.as_str() {
        "dead" => 0,
        "suspect" => 1,
        "unconfirmed" => 2,
        "alive" => 3,
        _ => 4,
    };
    (state, u8::MAX - row.health_score)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    /// A cluster of three datacenters, one of whose members is dead and another suspect.
    pub fn invented(received: u64) -> Sample {
        let mut members = Vec::new();
        for (place, datacenter) in ["east", "west", "north"].into_iter().enumerate() {
            for (number, role) in ["gate", "manager", "worker"].into_iter().enumerate() {
                let state = match (place, number) {
                    (1, 1) => "dead",
                    (2, 2) => "suspect",
                    _ => "alive",
                };
                let ms = 0.2 + 40.0 * place as f64 + number as f64;
                members.push(MemberRow {
                    address: format!("10.0.{place}.{number}:7462"),
                    state: state.to_owned(),
                    role: role.to_owned(),
                    datacenter: datacenter.to_owned(),
                    incarnation: 0,
                    rtt_ms: (state != "dead").then_some(ms),
                    rtt_upper_ms: (state != "dead").then_some(ms * 1.2),
                    quality: (state != "dead").then_some(0.9),
                    health_score: 0,
                });
            }
        }
        let status = Status {
            address: "10.0.0.0:7462".to_owned(),
            role: "gate".to_owned(),
            datacenter: "east".to_owned(),
            leader: Some("10.0.0.1:7462".to_owned()),
            members_alive: 7,
            members_troubled: 2,
            backend: "uring".to_owned(),
            program: "0.1.0".to_owned(),
            uptime_ms: 3_723_000,
            health_score: 0,
            coordinate_error: 0.12,
            datagrams_received: received,
            datagrams_sent: received + 10,
            datagrams_dropped: 2,
        };
        let record = json!({
            "event": "member", "address": "10.0.1.1:7462", "state": "dead", "incarnation": 0,
            "role": "manager", "datacenter": "west", "at_ms": 3_723_004,
        });
        Sample { status, members, events: vec![Entry { number: 7, record }] }
    }

    fn taken() -> State {
        let (mut state, start) = (State::default(), Instant::now());
        state.take(invented(100), start);
        state.take(invented(350), start + Duration::from_secs(2));
        state
    }

    #[test]
    fn rates_come_from_two_looks_at_one_run() {
        let mut state = taken();
        assert_eq!(state.rates(), Some([125.0, 125.0]));
        state.take(invented(5), Instant::now() + Duration::from_secs(9));
        assert_eq!(state.rates(), None, "the agent was restarted");
    }

    #[test]
    fn keys_choose_and_order_members() {
        let mut state = taken();
        let first = |state: &State| state.shown()[0].address.clone();
        assert_eq!(first(&state), "10.0.0.0:7462");
        state.sort_next();
        state.sort_next();
        assert_eq!((state.order(), first(&state)), (Order::State, "10.0.1.1:7462".to_owned()));
        state.toggle_troubled();
        assert_eq!(state.shown().len(), 2);
    }

    #[test]
    fn scrolling_stops_at_both_ends() {
        let mut state = taken();
        state.scroll(Step::Lines(-1), 4);
        assert_eq!(state.first(4), 0);
        state.scroll(Step::Pages(9), 4);
        assert_eq!(state.first(4), 5);
        state.scroll(Step::Lines(1), 4);
        assert_eq!(state.first(4), 5);
        assert_eq!(state.first(20), 0, "a larger screen shows all");
    }

    #[test]
    fn a_held_picture_misses_no_event() {
        let mut state = taken();
        state.toggle_hold();
        let mut sample = invented(900);
        sample.events[0].number = 8;
        state.take(sample, Instant::now());
        assert_eq!((state.last_event(), state.status().unwrap().datagrams_received), (8, 350));
    }
}
