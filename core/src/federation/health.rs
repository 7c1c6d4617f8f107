//! How a gate watches datacenters: it asks their leaders (AD-33).
//!
//! ```text
//! unknown ---- ack ----> reachable <---- ack ---- suspected <- ack - unreachable
//!    |                       |                      ^   |                 ^
//!    +--- 5 failures in a row, or 25 s silence -----+   +----- 30 s ------+
//! ```
//!
//! No gossip crosses datacenters here. Each datacenter is probed once per interval, all of them
//! spread over it. While its leader answers, the leader is asked; when an answer is overdue the
//! other managers are asked in turn, and whoever answers names the leader it follows, so that a new
//! leader is found without being announced. Answers of an earlier term than the last are ignored. A
//! datacenter that was unreachable may begin anew: what is known of its terms is forgotten then.
//!
//! Deadlines of probes are met exactly; the steps that silence and suspicion lead to are taken with
//! the next probe of the datacenter, at most one interval late. Whether it is the datacenter or the
//! own network that is silent is judged by [`correlation`](super::correlation).

use std::collections::VecDeque;
use std::fmt;

use super::config::FederationConfig;
use super::correlation::{Network, NetworkChange, Silence};
use super::messages::{DatacenterSummary, FederationMessage, LeaderProbeAck};
use super::{FederationEvent, Outbox};
use crate::coordinate::Rtt;
use crate::node::{Address, DatacenterName};
use crate::random::Random;
use crate::routing::DatacenterId;
use crate::time::{Duration, Instant};

/// Most managers remembered per datacenter to ask for its leader. Further ones are refused and
/// counted: any one that answers is enough.
pub const CONTACT_COUNT_MAX: usize = 16;
/// Most probes of one datacenter that wait for an ack. While so many wait no further one is sent.
const PENDING_COUNT_MAX: usize = 4;
/// A sequence number names its datacenter in these low bits.
const PLACE_BITS: u32 = 12;
/// Failures in a row after which a datacenter counts as silent with others.
const SILENT_FAILURES: u32 = 2;

const _: () = assert!(crate::config::DATACENTER_COUNT_MAX <= 1 << PLACE_BITS);

/// Whether a gate hears a datacenter (AD-33: DCReachability).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Reachability {
    /// Never heard so far.
    Unknown,
    /// Its managers answer.
    Reachable,
    /// It has not answered for some time.
    Suspected,
    /// It has not answered for so long that it is not counted on.
    Unreachable,
}

impl Reachability {
    /// The lower-case name used in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Reachability::Unknown => "unknown",
            Reachability::Reachable => "reachable",
            Reachability::Suspected => "suspected",
            Reachability::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for Reachability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A probe that waits for its ack.
#[derive(Clone, Copy, Debug)]
struct Pending {
    sequence: u32,
    /// The same without an end, to tell which summary is newer.
    number: u64,
    target: Address,
    asked_at: Instant,
    sent_at: Option<Instant>,
}

/// The smoothed round trip and its deviation, in milliseconds (RFC 6298, section 2).
#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    smoothed: f64,
    deviation: f64,
    sample_count: u32,
}

impl Latency {
    fn record(&mut self, sample: f64) {
        if self.sample_count == 0 {
            (self.smoothed, self.deviation) = (sample, sample / 2.0);
        } else {
            let error = sample - self.smoothed;
            self.deviation += (error.abs() - self.deviation) / 4.0;
            self.smoothed += error / 8.0;
        }
        self.sample_count = self.sample_count.saturating_add(1);
    }

    fn rtt(&self) -> Option<Rtt> {
        (self.sample_count > 0).then(|| Rtt {
            ms: self.smoothed,
            upper_ms: self.smoothed + 4.0 * self.deviation,
            quality: f64::from(self.sample_count.min(8)) / 8.0,
        })
    }
}

/// What a gate knows of one datacenter from asking it.
#[derive(Debug)]
pub(crate) struct Site {
    id: DatacenterId,
    name: DatacenterName,
    reachability: Reachability,
    since: Instant,
    contacts: Vec<Address>,
    cursor: usize,
    /// The highest term heard, and who leads in it.
    term: u64,
    leader: Option<Address>,
    /// Whom the host was told about last, and the term.
    announced: Option<(Address, u64)>,
    pending: [Option<Pending>; PENDING_COUNT_MAX],
    failures: u32,
    first_probe_at: Option<Instant>,
    last_ack_at: Option<Instant>,
    /// Since when membership has seen no manager alive.
    lost_since: Option<Instant>,
    is_silent: bool,
    summary: Option<(DatacenterSummary, Instant)>,
    summary_number: u64,
    latency: Latency,
}

impl Site {
    fn new(id: DatacenterId, name: DatacenterName, now: Instant) -> Site {
        Site {
            id,
            name,
            reachability: Reachability::Unknown,
            since: now,
            contacts: Vec::new(),
            cursor: 0,
            term: 0,
            leader: None,
            announced: None,
            pending: [None; PENDING_COUNT_MAX],
            failures: 0,
            first_probe_at: None,
            last_ack_at: None,
            lost_since: None,
            is_silent: false,
            summary: None,
            summary_number: 0,
            latency: Latency::default(),
        }
    }

    pub fn id(&self) -> DatacenterId {
        self.id
    }

    pub fn name(&self) -> DatacenterName {
        self.name
    }

    pub fn reachability(&self) -> Reachability {
        self.reachability
    }

    /// The managers to turn to.
    pub fn contacts(&self) -> &[Address] {
        &self.contacts
    }

    /// Its leader and the term.
    pub fn leader(&self) -> Option<(Address, u64)> {
        Some((self.leader?, self.term))
    }

    /// The latest summary, and when it was true.
    pub fn summary(&self) -> Option<(&DatacenterSummary, Instant)> {
        self.summary.as_ref().map(|(summary, told_at)| (summary, *told_at))
    }

    /// The round trip to its leader as the probes measure it.
    pub fn rtt(&self) -> Option<Rtt> {
        self.latency.rtt()
    }

    /// Whether it is silent now, though it was heard before.
    pub fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Whom to ask next: the leader while it answers, otherwise everybody in turn.
    fn choose_target(&mut self, interval: Duration, now: Instant) -> Option<Address> {
        let mut waiting = self.pending.iter().flatten();
        let is_overdue = waiting.any(|pending| now >= pending.asked_at + interval);
        // A leader that membership holds for dead is no contact any more.
        let leader = self.leader.filter(|leader| self.contacts.contains(leader));
        if leader.is_some() && !is_overdue {
            return leader;
        }
        if self.contacts.is_empty() {
            return self.leader;
        }
        self.cursor = (self.cursor + 1) % self.contacts.len();
        Some(self.contacts[self.cursor])
    }

    /// Makes sure that the leader is among those that are asked.
    fn add_leader(&mut self) {
        let Some(leader) = self.leader.filter(|leader| !self.contacts.contains(leader)) else {
            return;
        };
        if self.contacts.len() < CONTACT_COUNT_MAX {
            self.contacts.push(leader);
        } else {
            self.contacts[self.cursor] = leader;
        }
    }

    fn silence(&self) -> Silence {
        match self.last_ack_at {
            None => Silence::NeverHeard,
            Some(last_ack_at) if self.is_silent => Silence::Since(last_ack_at),
            Some(_) => Silence::Heard,
        }
    }

    /// Takes note of whether it is silent; true when that changed.
    fn refresh_silence(&mut self) -> bool {
        let is_lost =
            self.lost_since.is_some_and(|lost| self.last_ack_at.is_some_and(|ack| ack <= lost));
        let is_failing = self.failures >= SILENT_FAILURES
            || matches!(self.reachability, Reachability::Suspected | Reachability::Unreachable);
        let is_silent = self.last_ack_at.is_some() && (is_lost || is_failing);
        std::mem::replace(&mut self.is_silent, is_silent) != is_silent
    }
}

/// Watches every datacenter that a gate knows.
#[derive(Debug)]
pub(crate) struct Monitor {
    config: FederationConfig,
    /// By the number of the datacenter.
    sites: Vec<Option<Site>>,
    /// The datacenters that are watched, in the order in which they are probed.
    order: Vec<DatacenterId>,
    turn: usize,
    turn_at: Instant,
    /// Deadlines of probes, oldest first, those that were acked included until they come to the
    /// front.
    timeouts: VecDeque<(Instant, u32)>,
    number: u64,
    network: Network,
}

impl Monitor {
    pub fn new(config: &FederationConfig, mut random: Random, now: Instant) -> Monitor {
        // Gates that start together should not probe together.
        let offset = Duration::from_millis(config.probe_interval_ms).mul_f64(random.unit());
        Monitor {
            config: *config,
            sites: Vec::new(),
            order: Vec::new(),
            turn: 0,
            turn_at: now + offset,
            timeouts: VecDeque::new(),
            number: random.next_u64() >> 32,
            network: Network::new(config),
        }
    }

    /// The datacenters that are watched.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.order.iter().filter_map(|&id| self.site(id))
    }

    /// One datacenter, if it is watched.
    pub fn site(&self, id: DatacenterId) -> Option<&Site> {
        self.sites.get(id.index())?.as_ref()
    }

    /// Whether silence is blamed on the own network.
    pub fn is_network_blamed(&self) -> bool {
        self.network.is_blamed()
    }

    /// A manager that can be asked for its datacenter's leader. False when there is no room for it.
    pub fn add_contact(
        &mut self,
        now: Instant,
        id: DatacenterId,
        name: DatacenterName,
        address: Address,
    ) -> bool {
        if id.index() >= self.sites.len() {
            self.sites.resize_with(id.index() + 1, || None);
        }
        if self.sites[id.index()].is_none() {
            self.order.push(id);
        }
        let site = self.sites[id.index()].get_or_insert_with(|| Site::new(id, name, now));
        let is_known = site.contacts.contains(&address);
        let has_room = site.contacts.len() < CONTACT_COUNT_MAX;
        if !is_known && has_room {
            site.contacts.push(address);
        }
        is_known || has_room
    }

    /// A manager that there is no point in asking any more.
    pub fn remove_contact(&mut self, id: DatacenterId, address: Address) {
        if let Some(Some(site)) = self.sites.get_mut(id.index()) {
            site.contacts.retain(|&contact| contact != address);
        }
    }

    /// Stops watching a datacenter.
    pub fn forget(&mut self, now: Instant, id: DatacenterId, outbox: &mut Outbox) {
        if let Some(place) = self.order.iter().position(|&other| other == id) {
            self.order.remove(place);
            self.sites[id.index()] = None;
            self.review_network(now, outbox);
        }
    }

    /// Membership sees no manager of the datacenter alive any more, or one again.
    pub fn note_lost(
        &mut self,
        now: Instant,
        id: DatacenterId,
        is_lost: bool,
        outbox: &mut Outbox,
    ) {
        let Some(Some(site)) = self.sites.get_mut(id.index()) else { return };
        site.lost_since = is_lost.then(|| site.lost_since.unwrap_or(now));
        if site.refresh_silence() {
            self.review_network(now, outbox);
        }
    }

    /// Acts on the deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant, outbox: &mut Outbox) {
        while let Some(&(deadline, sequence)) = self.timeouts.front() {
            let is_pending = self.pending(sequence).is_some();
            if is_pending && deadline > now {
                break;
            }
            self.timeouts.pop_front();
            if is_pending {
                self.probe_failed(now, sequence, outbox);
            }
        }
        let period = self.period();
        // After a long sleep every datacenter is probed once, not once for every interval slept
        // through.
        let mut turns_left = self.order.len();
        while self.turn_at <= now && turns_left > 0 {
            self.take_turn(now, outbox);
            self.turn_at += period;
            turns_left -= 1;
        }
        if self.turn_at <= now {
            self.turn_at = now + period;
        }
        self.network.expire(now);
    }

    /// When [`Monitor::handle_timeout`] should be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let turn_at = (!self.order.is_empty()).then_some(self.turn_at);
        let timeout = self.timeouts.front().map(|&(deadline, _)| deadline);
        [turn_at, timeout, self.network.expires_at()].into_iter().flatten().min()
    }

    /// A probe leaves now: its round trip begins.
    pub fn note_sent(&mut self, sequence: u32, now: Instant) {
        if let Some(pending) = self.pending(sequence) {
            pending.sent_at = Some(now);
        }
    }

    /// A manager answered.
    pub fn handle_ack(
        &mut self,
        now: Instant,
        received_at: Instant,
        id: DatacenterId,
        sender: Address,
        ack: &LeaderProbeAck,
        outbox: &mut Outbox,
    ) {
        let is_own = ack.sequence & ((1 << PLACE_BITS) - 1) == id.index() as u32;
        let pending = self.pending(ack.sequence).filter(|pending| pending.target == sender);
        let Some(pending) = pending.copied().filter(|_| is_own) else {
            outbox.stats.acks_unmatched += 1;
            return;
        };
        let site = self.sites[id.index()].as_mut().expect("a pending probe has a site");
        // An earlier leader, or a second one of the same term: its probe will count as failed.
        if ack.term < site.term {
            outbox.stats.stale_terms += 1;
            return;
        }
        let is_other = site.leader.is_some() && ack.leader.is_some() && site.leader != ack.leader;
        if ack.term == site.term && is_other {
            outbox.stats.term_conflicts += 1;
            return;
        }
        outbox.stats.probes_acked += 1;
        site.take_pending(ack.sequence);
        site.acked(now, received_at, &pending, ack, outbox);
        let is_moved = site.leader.is_some_and(|leader| leader != sender)
            && !site.pending.iter().flatten().any(|other| Some(other.target) == site.leader);
        if site.refresh_silence() {
            self.review_network(now, outbox);
        }
        if is_moved {
            self.ask(now, id, None, outbox);
        }
        // Deadlines of acked probes at the front are no longer waited for.
        while let Some(&(_, sequence)) = self.timeouts.front() {
            if self.pending(sequence).is_some() {
                break;
            }
            self.timeouts.pop_front();
        }
    }

    fn take_turn(&mut self, now: Instant, outbox: &mut Outbox) {
        self.turn = (self.turn + 1) % self.order.len();
        let id = self.order[self.turn];
        let interval = Duration::from_millis(self.config.probe_interval_ms);
        let site = self.sites[id.index()].as_mut().expect("watched datacenters have a site");
        let target = site.choose_target(interval, now);
        self.advance(now, id, outbox);
        self.ask(now, id, target, outbox);
    }

    /// Probes a datacenter: this manager, or the leader.
    fn ask(
        &mut self,
        now: Instant,
        id: DatacenterId,
        target: Option<Address>,
        outbox: &mut Outbox,
    ) {
        let site = self.sites[id.index()].as_mut().expect("watched datacenters have a site");
        let Some(target) = target.or(site.leader) else { return };
        let Some(place) = site.pending.iter().position(Option::is_none) else { return };
        self.number += 1;
        let sequence = (self.number as u32) << PLACE_BITS | id.index() as u32;
        let pending =
            Pending { sequence, number: self.number, target, asked_at: now, sent_at: None };
        site.pending[place] = Some(pending);
        site.first_probe_at.get_or_insert(now);
        let deadline = now + Duration::from_millis(self.config.probe_timeout_ms);
        self.timeouts.push_back((deadline, sequence));
        outbox.stats.probes_sent += 1;
        outbox.send(target, FederationMessage::LeaderProbe { sequence });
    }

    fn probe_failed(&mut self, now: Instant, sequence: u32, outbox: &mut Outbox) {
        let id = id_of(sequence);
        let site = self.sites[id.index()].as_mut().expect("a pending probe has a site");
        site.take_pending(sequence);
        site.failures += 1;
        outbox.stats.probes_failed += 1;
        self.advance(now, id, outbox);
    }

    /// Takes the step that failures, silence or suspicion lead to.
    fn advance(&mut self, now: Instant, id: DatacenterId, outbox: &mut Outbox) {
        let silence = Duration::from_millis(self.config.silence_ms);
        let suspicion = Duration::from_millis(self.config.suspicion_ms);
        let is_blamed = self.network.is_blamed();
        let site = self.sites[id.index()].as_mut().expect("watched datacenters have a site");
        match site.reachability {
            Reachability::Unknown | Reachability::Reachable => {
                let heard_at = site.last_ack_at.or(site.first_probe_at).unwrap_or(now);
                let has_failed = site.failures >= self.config.probe_failure_count;
                if has_failed || now >= heard_at + silence {
                    site.enter(now, Reachability::Suspected, outbox);
                }
            }
            Reachability::Suspected if now >= site.since + suspicion && !is_blamed => {
                site.enter(now, Reachability::Unreachable, outbox);
                site.give_up(now, outbox);
            }
            Reachability::Suspected | Reachability::Unreachable => {}
        }
        if site.refresh_silence() {
            self.review_network(now, outbox);
        }
    }

    fn review_network(&mut self, now: Instant, outbox: &mut Outbox) {
        let Monitor { network, order, sites, .. } = self;
        let silences = order.iter().filter_map(|id| Some(sites[id.index()].as_ref()?.silence()));
        match network.review(now, silences) {
            Some(NetworkChange::Blamed { silent, heard }) => {
                outbox.stats.network_suspicions += 1;
                outbox.emit(FederationEvent::NetworkSuspected { silent, heard, at: now });
            }
            Some(NetworkChange::Cleared) => {
                outbox.emit(FederationEvent::NetworkRecovered { at: now });
            }
            None => {}
        }
    }

    /// Time between two turns: all datacenters share an interval.
    fn period(&self) -> Duration {
        let count = self.order.len().max(1) as u32;
        Duration::from_millis(self.config.probe_interval_ms) / count
    }

    fn pending(&mut self, sequence: u32) -> Option<&mut Pending> {
        let site = self.sites.get_mut(id_of(sequence).index())?.as_mut()?;
        site.pending.iter_mut().flatten().find(|pending| pending.sequence == sequence)
    }
}

impl Site {
    fn acked(
        &mut self,
        now: Instant,
        received_at: Instant,
        pending: &Pending,
        ack: &LeaderProbeAck,
        outbox: &mut Outbox,
    ) {
        self.failures = 0;
        self.last_ack_at = Some(now);
        if self.reachability != Reachability::Reachable {
            self.enter(now, Reachability::Reachable, outbox);
        }
        if ack.term > self.term {
            (self.term, self.leader) = (ack.term, ack.leader);
        }
        self.leader = self.leader.or(ack.leader);
        self.add_leader();
        if ack.leader != Some(pending.target) {
            return;
        }
        if let Some(sent_at) = pending.sent_at {
            self.latency.record(received_at.saturating_since(sent_at).as_secs_f64() * 1e3);
        }
        if let Some(summary) = ack.summary
            && pending.number >= self.summary_number
        {
            let told_at = now.as_nanos().saturating_sub(summary.age.as_nanos() as u64);
            self.summary = Some((summary, Instant::from_nanos(told_at)));
            self.summary_number = pending.number;
        }
        if self.announced != self.leader() {
            self.announced = self.leader();
            let (datacenter, term) = (self.name, self.term);
            let leader = pending.target;
            outbox.emit(FederationEvent::LeaderElected { datacenter, leader, term, at: now });
        }
    }

    fn enter(&mut self, now: Instant, to: Reachability, outbox: &mut Outbox) {
        let (datacenter, from) = (self.name, self.reachability);
        (self.reachability, self.since) = (to, now);
        outbox.emit(FederationEvent::ReachabilityChanged { datacenter, from, to, at: now });
    }

    /// Forgets which term it was in: whoever answers next is believed.
    fn give_up(&mut self, now: Instant, outbox: &mut Outbox) {
        self.term = 0;
        if let Some((leader, term)) = self.announced.take() {
            let datacenter = self.name;
            outbox.emit(FederationEvent::LeaderLost { datacenter, leader, term, at: now });
        }
        if !self.contacts.is_empty() {
            self.leader = None;
        }
    }

    fn take_pending(&mut self, sequence: u32) {
        let is_it = |pending: &&mut Option<Pending>| {
            pending.is_some_and(|pending| pending.sequence == sequence)
        };
        if let Some(pending) = self.pending.iter_mut().find(is_it) {
            *pending = None;
        }
    }
}

/// The datacenter that a probe is about.
fn id_of(sequence: u32) -> DatacenterId {
    let place = sequence & ((1 << PLACE_BITS) - 1);
    DatacenterId::from_index(place as usize).expect("there is a datacenter for every place")
}

#[cfg(test)]
mod tests;
