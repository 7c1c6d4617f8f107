//! Managers on a bad network, with bad clocks: what holds about leaders is checked after every
//! step.
//!
//! Real time is the model's; every node has a clock of its own that runs at its own rate from its
//! own origin, and a wall clock that is off. Messages are lost, delayed, doubled and overtaken; the
//! network is cut in halves and in single directions; nodes crash, restart without memory, leave,
//! stall and fall ill. Every message goes through its wire form.

use std::collections::BTreeMap;

use super::messages::MESSAGE_SIZE_MAX;
use super::*;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
/// The wall clock at the beginning.
const WALL_START: u64 = 1_790_000_000 * SECOND;
/// A leader has to be there this long after a majority is connected.
const ELECTION_LIMIT: u64 = 10 * SECOND;

/// How many seeds a test runs over: fewer by default, `SHOAL_SEEDS` for a long run.
fn seed_count(default: u64) -> u64 {
    std::env::var("SHOAL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn address(number: usize) -> Address {
    format!("10.0.0.{}:7946", number + 1).parse().unwrap()
}

fn number_of(address: Address) -> usize {
    usize::from(address.ip_bytes()[15]) - 1
}

fn datacenter() -> DatacenterName {
    "east".parse().unwrap()
}

/// What can happen to the network and the nodes.
#[derive(Clone, Copy)]
enum Happening {
    Deliver { to: usize, sender: Sender, message: FederationMessage },
    Wake { number: usize, version: u64 },
    Learn { number: usize, other: usize, generation: Generation, state: MemberState },
    Gone { number: usize },
    Fault,
}

struct Node {
    /// `None` while it is down.
    federation: Option<Federation>,
    generation: Generation,
    /// The node's clock reads `origin + rate x real`.
    origin: u64,
    rate: f64,
    wall_error_ms: i64,
    health_score: u8,
    /// The latest run of each other node that it has heard of.
    known: Vec<Generation>,
    term: u64,
    stalled_until: u64,
    version: u64,
    latest: Instant,
}

/// Which faults a run has.
#[derive(Clone, Copy)]
struct Faults {
    restarts: bool,
    cuts: bool,
    loss_max: f64,
    delay_max_ms: u32,
}

struct World {
    seed: u64,
    random: Random,
    config: FederationConfig,
    faults: Faults,
    now: u64,
    nodes: Vec<Node>,
    happenings: BTreeMap<(u64, u64), Happening>,
    count: u64,
    loss: f64,
    delay_max_ms: u32,
    is_cut: Vec<Vec<bool>>,
    /// Who sent heartbeats in a term, and which run of it.
    holders: BTreeMap<u64, (Address, Generation)>,
    /// Whom a voter voted for in a term, whichever run of it.
    votes: BTreeMap<(Address, u64), Address>,
    /// The highest term in which anybody has held a lease, and who.
    leading: Option<(u64, Address)>,
    elections: u64,
    trace: u64,
}

impl World {
    fn new(seed: u64, count: usize, config: FederationConfig, faults: Faults) -> World {
        let mut random = Random::new(seed);
        let drift = config.clock_drift_max;
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(Node {
                federation: None,
                generation: Generation(0),
                origin: random.next_u64() >> 12,
                rate: 1.0 + drift * (2.0 * random.unit() - 1.0),
                wall_error_ms: i64::from(random.below(2_000)) - 1_000,
                health_score: 0,
                known: vec![Generation(0); count],
                term: 0,
                stalled_until: 0,
                version: 0,
                latest: Instant::ZERO,
            });
        }
        World {
            seed,
            random,
            config,
            faults,
            now: 0,
            nodes,
            happenings: BTreeMap::new(),
            count: 0,
            loss: 0.0,
            delay_max_ms: 5,
            is_cut: vec![vec![false; count]; count],
            holders: BTreeMap::new(),
            votes: BTreeMap::new(),
            leading: None,
            elections: 0,
            trace: 0,
        }
    }

    /// A world in which every node has started and knows every other.
    fn started(seed: u64, count: usize, config: FederationConfig, faults: Faults) -> World {
        let mut world = World::new(seed, count, config, faults);
        (0..count).for_each(|number| world.start(number));
        world
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.count += 1;
        self.happenings.insert((time, self.count), happening);
    }

    /// What the node's clock reads.
    fn local(&self, number: usize) -> Instant {
        let node = &self.nodes[number];
        let read = node.origin + (self.now as f64 * node.rate) as u64;
        Instant::from_nanos(read).max(node.latest)
    }

    fn start(&mut self, number: usize) {
        let now = self.local(number);
        let seed = self.random.next_u64();
        let node = &mut self.nodes[number];
        let wall = (WALL_START + self.now) as i64 + node.wall_error_ms * MILLISECOND as i64;
        node.generation = Generation((wall as u64).max(node.generation.0 + 1));
        let identity = Identity {
            address: address(number),
            generation: node.generation,
            role: Role::Manager,
            datacenter: datacenter(),
        };
        let mut federation = Federation::new(&self.config, identity, seed, now).unwrap();
        federation.set_health_score(node.health_score);
        node.federation = Some(federation);
        node.known = vec![Generation(0); self.is_cut.len()];
        node.term = 0;
        node.stalled_until = 0;
        for other in (0..self.nodes.len()).filter(|&other| other != number) {
            for (hearer, subject) in [(number, other), (other, number)] {
                let time = self.now + u64::from(self.random.below(1_500)) * MILLISECOND;
                self.spread(time, hearer, subject, MemberState::Alive);
            }
        }
        self.settle(number);
    }

    /// Lets news of a node's present run reach another node.
    fn spread(&mut self, time: u64, number: usize, other: usize, state: MemberState) {
        let generation = self.nodes[other].generation;
        self.at(time, Happening::Learn { number, other, generation, state });
    }

    fn crash(&mut self, number: usize) {
        self.nodes[number].federation = None;
        for other in 0..self.nodes.len() {
            for state in [MemberState::Suspect, MemberState::Dead] {
                let time = self.now + SECOND + u64::from(self.random.below(5_000)) * MILLISECOND;
                self.spread(time, other, number, state);
            }
        }
    }

    fn leave(&mut self, number: usize) {
        let now = self.local(number);
        let Some(federation) = &mut self.nodes[number].federation else { return };
        federation.leave(now);
        self.settle(number);
        for other in 0..self.nodes.len() {
            let time = self.now + u64::from(self.random.below(1_000)) * MILLISECOND;
            self.spread(time, other, number, MemberState::Left);
        }
        self.at(self.now + SECOND / 2, Happening::Gone { number });
    }

    fn run_until(&mut self, end: u64) {
        while let Some((&(time, _), _)) = self.happenings.first_key_value() {
            if time > end {
                break;
            }
            let ((time, _), happening) = self.happenings.pop_first().unwrap();
            self.now = self.now.max(time);
            self.happen(happening);
        }
        self.now = end;
    }

    /// Runs until the condition holds; how long that took.
    fn run_until_met(&mut self, limit: u64, condition: impl Fn(&World) -> bool) -> Option<u64> {
        let start = self.now;
        while !condition(self) {
            if self.now - start >= limit {
                return None;
            }
            self.run_until(self.now + 10 * MILLISECOND);
        }
        Some(self.now - start)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { to, sender, message } => {
                if self.put_off(to, happening) || self.nodes[to].federation.is_none() {
                    return;
                }
                // What membership does: a run that is known to be over is not listened to.
                let known = &mut self.nodes[to].known[number_of(sender.address)];
                if sender.generation < *known {
                    return;
                }
                *known = sender.generation;
                let now = self.local(to);
                let federation = self.nodes[to].federation.as_mut().unwrap();
                federation.handle_message(now, now, &sender, &message);
                self.settle(to);
            }
            Happening::Wake { number, version } => {
                if self.nodes[number].version != version || self.put_off(number, happening) {
                    return;
                }
                let now = self.local(number);
                let Some(federation) = &mut self.nodes[number].federation else { return };
                federation.handle_timeout(now);
                let next = federation.next_deadline().unwrap_or(Instant::MAX);
                assert!(next > now, "node {number} would spin");
                self.settle(number);
            }
            Happening::Learn { number, other, generation, state } => {
                self.learn(number, other, generation, state);
            }
            Happening::Gone { number } => self.nodes[number].federation = None,
            Happening::Fault => self.fault(),
        }
    }

    /// A stalled node takes nothing now.
    fn put_off(&mut self, number: usize, happening: Happening) -> bool {
        let until = self.nodes[number].stalled_until;
        if until > self.now {
            self.at(until, happening);
        }
        until > self.now
    }

    /// Membership tells a node about another, if the news finds a way and is news.
    fn learn(&mut self, number: usize, other: usize, generation: Generation, state: MemberState) {
        let is_old = generation < self.nodes[number].known[other];
        if number == other || is_old || self.nodes[number].federation.is_none() {
            return;
        }
        if self.is_cut[other][number] && state != MemberState::Dead {
            let again = Happening::Learn { number, other, generation, state };
            return self.at(self.now + SECOND, again);
        }
        let now = self.local(number);
        let identity = Identity {
            address: address(other),
            generation,
            role: Role::Manager,
            datacenter: datacenter(),
        };
        let health_score = self.nodes[other].health_score;
        let view = MemberView { identity, state, health_score };
        let node = &mut self.nodes[number];
        node.known[other] = generation;
        node.federation.as_mut().unwrap().observe(now, other as u32 + 1, Some(&view));
        self.settle(number);
    }

    /// Sends what the node has to send, sets its alarm, and checks everything.
    fn settle(&mut self, number: usize) {
        let now = self.local(number);
        self.nodes[number].latest = now;
        while let Some(outgoing) =
            self.nodes[number].federation.as_mut().and_then(|f| f.poll_message(now))
        {
            self.send(number, outgoing);
        }
        let node = &mut self.nodes[number];
        let federation = node.federation.as_mut().expect("only running nodes settle");
        while federation.poll_event().is_some() {}
        if let Some(deadline) = federation.next_deadline() {
            let wait = (deadline - now).as_nanos() as f64 / node.rate;
            node.version += 1;
            let version = node.version;
            let lateness = u64::from(self.random.below(20_000)) * 1_000;
            self.at(self.now + wait as u64 + 1 + lateness, Happening::Wake { number, version });
        }
        self.check(number);
    }

    fn send(&mut self, from: usize, outgoing: Outgoing) {
        let node = &self.nodes[from];
        let sender = Sender {
            address: address(from),
            generation: node.generation,
            role: Role::Manager,
            datacenter: datacenter(),
            health_score: node.health_score,
        };
        self.check_message(&sender, &outgoing);
        let mut bytes = [0; MESSAGE_SIZE_MAX];
        let size = outgoing.message.write(&mut bytes);
        let (message, _) = FederationMessage::parse(&bytes[..size]).unwrap();
        assert_eq!(message, outgoing.message);
        for &byte in &bytes[..size] {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        let to = number_of(outgoing.target);
        let copies = 1 + u64::from(self.random.chance(0.02));
        for _ in 0..copies {
            if self.is_cut[from][to] || self.random.chance(self.loss) {
                continue;
            }
            // Most are quick, some take long enough to be overtaken by much later ones.
            let slowness = self.random.unit() * self.random.unit();
            let delay = 100_000 + (slowness * f64::from(self.delay_max_ms) * 1e6) as u64;
            self.at(self.now + delay, Happening::Deliver { to, sender, message });
        }
    }

    /// A voter votes once in a term, and a term has one leader, whatever anybody remembers.
    fn check_message(&mut self, sender: &Sender, outgoing: &Outgoing) {
        match outgoing.message {
            FederationMessage::Heartbeat(ballot) => {
                let run = (sender.address, sender.generation);
                let holder = *self.holders.entry(ballot.term).or_insert(run);
                assert_eq!(holder, run, "two leaders in term {}", ballot.term);
            }
            FederationMessage::VoteReply(ballot) if ballot.flag => {
                let vote = self.votes.entry((sender.address, ballot.term));
                let candidate = *vote.or_insert(outgoing.target);
                assert_eq!(candidate, outgoing.target, "{} voted twice", sender.address);
            }
            FederationMessage::VoteRequest(ballot) => {
                let vote = self.votes.entry((sender.address, ballot.term));
                let candidate = *vote.or_insert(sender.address);
                assert_eq!(candidate, sender.address, "{} voted twice", sender.address);
            }
            _ => {}
        }
    }

    fn check(&mut self, number: usize) {
        let leaders: Vec<usize> = self.leaders().collect();
        assert!(leaders.len() <= 1, "{leaders:?} lead at {}", self.now);
        for leader in leaders {
            let term = self.view(leader).unwrap().term;
            let run = (address(leader), self.nodes[leader].generation);
            assert_eq!(*self.holders.entry(term).or_insert(run), run, "two leaders in {term}");
            let (highest, last) = self.leading.unwrap_or((0, run.0));
            let is_later = term > highest || (term == highest && last == run.0);
            assert!(is_later, "a stale term leads: {term} after {highest}");
            self.elections += u64::from(term > highest);
            self.leading = Some((term, run.0));
        }
        let view = self.view(number).expect("it is running");
        assert!(view.term >= self.nodes[number].term, "node {number} went back in terms");
        self.nodes[number].term = view.term;
        if let Some(leader) = view.leader {
            assert_eq!(self.holders[&view.term].0, leader, "followed an impostor");
        }
    }

    fn view(&self, number: usize) -> Option<LeadershipView> {
        Some(self.nodes[number].federation.as_ref()?.leadership(self.local(number)))
    }

    /// Who believes to lead now, by its own clock.
    fn leaders(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|&number| self.view(number).is_some_and(|view| view.is_own))
    }

    /// Whether every running node follows the same leader.
    fn is_agreed(&self) -> bool {
        let mut views = (0..self.nodes.len()).filter_map(|number| self.view(number));
        let Some(first) = views.next() else { return false };
        first.leader.is_some()
            && views.all(|view| (view.leader, view.term) == (first.leader, first.term))
            && self.leaders().next().is_some()
    }

    fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&n| self.nodes[n].federation.is_some()).collect()
    }

    fn pick(&mut self) -> usize {
        self.random.below(self.nodes.len() as u32) as usize
    }

    /// Something goes wrong, or is repaired.
    fn fault(&mut self) {
        let number = self.pick();
        match self.random.below(12) {
            0..=2 if self.faults.cuts => {
                let side: Vec<bool> = self.nodes.iter().map(|_| self.random.chance(0.5)).collect();
                for (from, row) in self.is_cut.iter_mut().enumerate() {
                    row.iter_mut().enumerate().for_each(|(to, cut)| *cut = side[from] != side[to]);
                }
            }
            3 if self.faults.cuts => {
                let other = self.pick();
                self.is_cut[number][other] = true;
            }
            4..=5 => self.heal(),
            6 if self.faults.restarts => self.crash(number),
            7 if self.faults.restarts => {
                self.crash(number);
                self.now += u64::from(self.random.below(2_000)) * MILLISECOND / 10;
                self.start(number);
            }
            8 if self.faults.restarts => {
                let is_down = |&number: &usize| self.nodes[number].federation.is_none();
                let down: Vec<usize> = (0..self.nodes.len()).filter(is_down).collect();
                down.into_iter().for_each(|number| self.start(number));
            }
            9 if self.faults.restarts => self.leave(number),
            10 => {
                self.nodes[number].stalled_until =
                    self.now + u64::from(self.random.below(8_000)) * MILLISECOND;
            }
            11 => {
                let score = self.random.below(9) as u8;
                self.nodes[number].health_score = score;
                if let Some(federation) = &mut self.nodes[number].federation {
                    federation.set_health_score(score);
                }
            }
            _ => {
                self.loss = self.faults.loss_max * self.random.unit();
                self.delay_max_ms = 1 + self.random.below(self.faults.delay_max_ms);
            }
        }
    }

    fn heal(&mut self) {
        self.is_cut.iter_mut().for_each(|row| row.fill(false));
    }

    /// Ends all trouble and restarts who is down, but for a minority.
    fn calm(&mut self) {
        self.heal();
        (self.loss, self.delay_max_ms) = (0.05, 20);
        for number in 0..self.nodes.len() {
            self.nodes[number].stalled_until = 0;
            let is_gone = |happening: &Happening| match happening {
                Happening::Gone { number: gone } => *gone == number,
                _ => false,
            };
            if self.happenings.values().any(is_gone) {
                self.nodes[number].federation = None;
            }
        }
        // What is still under way of the trouble is lost.
        let now = self.now;
        self.happenings.retain(|&(time, _), happening| match happening {
            Happening::Gone { .. } | Happening::Fault => false,
            Happening::Deliver { .. } => time <= now + 100 * MILLISECOND,
            _ => true,
        });
        for number in 0..self.nodes.len() {
            let minority = (self.nodes.len() - 1) / 2;
            let down = self.nodes.len() - self.running().len();
            let is_down = self.nodes[number].federation.is_none();
            if is_down && (down > minority || self.random.chance(0.7)) {
                self.start(number);
            }
        }
    }

    fn describe(&self) -> String {
        let state = |number: usize| {
            let node = &self.nodes[number];
            format!("{number}: health {} {:?}", node.health_score, self.view(number))
        };
        let states: Vec<String> = (0..self.nodes.len()).map(state).collect();
        format!("seed {} at {} ns: {}", self.seed, self.now, states.join(", "))
    }
}

fn strict(count: usize) -> FederationConfig {
    FederationConfig { manager_count_min: count as u32, ..FederationConfig::default() }
}

const EVERYTHING: Faults =
    Faults { restarts: true, cuts: true, loss_max: 0.4, delay_max_ms: 2_500 };

/// Runs through forty seconds of trouble, then a calm, then the crash of the leader.
fn live_through(world: &mut World) -> [u64; 2] {
    let end = world.now + 40 * SECOND;
    let mut time = world.now;
    while time < end {
        time += u64::from(world.random.below(3_000)) * MILLISECOND;
        world.at(time, Happening::Fault);
    }
    world.run_until(end);
    world.calm();
    let agreed = |world: &World| world.is_agreed();
    let first = world.run_until_met(ELECTION_LIMIT, agreed);
    let first = first.unwrap_or_else(|| panic!("no leader after the calm: {}", world.describe()));
    let leader = world.leaders().next().unwrap();
    if world.running().len() <= world.nodes.len() / 2 + 1 {
        return [first, 0];
    }
    world.crash(leader);
    let second = world.run_until_met(ELECTION_LIMIT, agreed);
    let second = second.unwrap_or_else(|| panic!("no leader after a crash: {}", world.describe()));
    [first, second]
}

#[test]
fn one_leader_at_a_time_and_per_term_under_every_fault() {
    let mut longest = [0, 0];
    let mut elections = 0;
    for seed in 0..seed_count(100) {
        let count = [1, 2, 3, 3, 4, 5, 5, 7][seed as usize % 8];
        let mut world = World::started(seed, count, strict(count), EVERYTHING);
        let times = live_through(&mut world);
        longest = [longest[0].max(times[0]), longest[1].max(times[1])];
        elections += world.elections;
    }
    println!("longest elections {longest:?} ns, {elections} leaderships");
    assert!(elections > seed_count(100), "the trouble hardly moved anybody");
}

#[test]
fn one_leader_without_a_configured_count_while_nobody_forgets() {
    let faults = Faults { restarts: false, ..EVERYTHING };
    for seed in 0..seed_count(60) {
        let count = 2 + seed as usize % 5;
        let mut world = World::started(seed, count, FederationConfig::default(), faults);
        // Until everybody has heard of everybody.
        world.run_until(2 * SECOND);
        live_through(&mut world);
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = |seed| {
        let mut world = World::started(seed, 5, strict(5), EVERYTHING);
        live_through(&mut world);
        (world.trace, world.elections)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

/// A calm world in which a leader has been elected.
fn elected(seed: u64, count: usize, config: FederationConfig) -> World {
    let mut world = World::started(seed, count, config, EVERYTHING);
    world.run_until_met(ELECTION_LIMIT, World::is_agreed).expect("they elect");
    world
}

#[test]
fn a_crash_is_followed_by_a_new_leader_within_ten_seconds_even_on_a_lossy_network() {
    let mut times = Vec::new();
    for seed in 0..seed_count(100) {
        let count = [3, 4, 5, 7][seed as usize % 4];
        let mut world = elected(seed, count, strict(count));
        world.loss = 0.1;
        world.delay_max_ms = 50;
        let crashed = world.leaders().next().unwrap();
        world.crash(crashed);
        let time = world.run_until_met(ELECTION_LIMIT, World::is_agreed);
        times.push(time.unwrap_or_else(|| panic!("no new leader: {}", world.describe())));
    }
    times.sort_unstable();
    let at = |share: f64| times[(share * (times.len() - 1) as f64) as usize] / MILLISECOND;
    println!("new leader after {} ms, 99th {} ms, longest {} ms", at(0.5), at(0.99), at(1.0));
    assert!(at(0.5) < 4_500);
}

#[test]
fn the_healthiest_tends_to_win_and_the_ill_do_not() {
    let mut wins = [0; 5];
    for seed in 0..200 {
        let mut world = World::new(seed, 5, strict(5), EVERYTHING);
        for (number, score) in [0, 2, 1, 4, 8].into_iter().enumerate() {
            world.nodes[number].health_score = score;
            world.start(number);
        }
        world.run_until_met(ELECTION_LIMIT, World::is_agreed).expect("they elect");
        wins[world.leaders().next().unwrap()] += 1;
    }
    assert!(wins[0] > 100 && wins[0] > wins[2] && wins[2] >= wins[1], "{wins:?}");
    assert_eq!(wins[3] + wins[4], 0, "{wins:?}");
}

#[test]
fn a_goodbye_costs_less_than_a_second_and_a_restart_of_a_follower_nothing() {
    for seed in 0..50 {
        let mut world = elected(seed, 5, strict(5));
        let leader = world.leaders().next().unwrap();
        world.leave(leader);
        world.run_until_met(SECOND, |world| world.leaders().next().is_some()).expect("hand-over");
        world.run_until(world.now + 3 * SECOND);
        let (leader, term) = (world.leaders().next().unwrap(), world.leading.unwrap().0);
        let follower = (0..5).find(|&n| n != leader && world.view(n).is_some()).unwrap();
        world.crash(follower);
        world.start(follower);
        for _ in 0..100 {
            world.run_until(world.now + SECOND / 10);
            assert_eq!(world.leaders().next(), Some(leader), "seed {seed}");
        }
        assert_eq!(world.leading.unwrap().0, term);
        assert!(world.is_agreed());
    }
}
