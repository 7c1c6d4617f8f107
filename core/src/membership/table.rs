//! The member table: records in slots, found by address in O(1), counted and drawn by group.
//!
//! Slot 0 is this node. Every other record is in one of three groups (active, unconfirmed, departed),
//! each a dense list, so that peers are drawn at random and groups are counted without a walk. A digest over
//! all active members is kept up to date, so that two nodes see at a glance whether they agree. A slot keeps its number for as long as its record lives and is given to another afterwards. When the table is full
//! the oldest of a few departed records drawn at random makes room; active ones never do.

use hashbrown::HashTable;

use super::gossip::{Link, Links};
use crate::config::DATACENTER_COUNT_MAX;
use crate::node::{Address, DatacenterName, Generation, Incarnation, MemberState, Role};
use crate::random::Random;
use crate::slots;
use crate::time::Instant;

/// The slot of this node itself.
pub(crate) const OWN_SLOT: u32 = 0;
/// No slot, no suspicion, no position.
pub(crate) const NONE: u32 = u32::MAX;
/// Most peers drawn at once.
pub(crate) const SAMPLE_COUNT_MAX: usize = 16;
/// How many departed records are compared to find an old one.
const EVICTION_DRAWS: usize = 8;

/// What is known of one member: one line of the processor's cache, because in a large table most of
/// the cost of a piece of news is the way to memory.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Record {
    pub address: Address,
    pub state: MemberState,
    pub role: Role,
    pub health_score: u8,
    /// How often an unconfirmed member has been asked to show itself.
    pub confirmation_attempts: u8,
    /// Whether one of our own probes to it is in flight.
    pub is_probed: bool,
    /// Whether it is a Python node, which may take seconds to answer.
    pub is_foreign: bool,
    datacenter: u16,
    pub generation: Generation,
    pub incarnation: Incarnation,
    /// The suspicion about it, by index, while it is suspected.
    pub suspicion: u32,
    position: u32,
    /// When it entered its state.
    pub since: Instant,
    /// Its place in the queue of news, which may outlive the record for a moment.
    link: Link,
}

const _: () = assert!(size_of::<Record>() == 64);

/// What a new record starts from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub address: Address,
    pub generation: Generation,
    pub incarnation: Incarnation,
    pub role: Role,
    pub datacenter: DatacenterName,
    pub health_score: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Active,
    Unconfirmed,
    Departed,
}

const GROUP_COUNT: usize = 3;

fn group_of(state: MemberState) -> Group {
    match state {
        MemberState::Alive | MemberState::Suspect => Group::Active,
        MemberState::Unconfirmed => Group::Unconfirmed,
        MemberState::Dead | MemberState::Left => Group::Departed,
        MemberState::Removed => unreachable!("a removed record is in no group"),
    }
}

/// Why a newcomer has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Peers drawn at random, each once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    slots: [u32; SAMPLE_COUNT_MAX],
    count: usize,
}

impl Sample {
    pub fn slots(&self) -> &[u32] {
        &self.slots[..self.count]
    }
}

#[derive(Debug)]
pub(crate) struct MemberTable {
    records: Vec<Record>,
    index: HashTable<u32>,
    free: Vec<u32>,
    groups: [Vec<u32>; GROUP_COUNT],
    datacenters: Vec<DatacenterName>,
    capacity: usize,
    hash_key: u64,
    digest: u64,
}

impl MemberTable {
    /// A table that holds this node alone.
    pub fn new(own: &Identity, capacity: u32, hash_key: u64, now: Instant) -> MemberTable {
        let mut table = MemberTable {
            records: Vec::new(),
            index: HashTable::new(),
            free: Vec::new(),
            groups: Default::default(),
            datacenters: Vec::new(),
            capacity: capacity as usize,
            hash_key,
            digest: 0,
        };
        let slot = table.insert(own, now).expect("an empty table has room");
        assert_eq!(slot, OWN_SLOT);
        table.leave_group(OWN_SLOT);
        table.records[0].state = MemberState::Alive;
        table.digest ^= table.contribution(OWN_SLOT);
        table
    }

    /// Equal, in all likelihood, for nodes that know the same runs and incarnations of the same active members.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Notes that a member is in a later incarnation.
    pub fn set_incarnation(&mut self, slot: u32, incarnation: Incarnation) {
        self.digest ^= self.contribution(slot);
        self.records[slot as usize].incarnation = incarnation;
        self.digest ^= self.contribution(slot);
    }

    /// Lets this node go on as a later run than the one its peers remember.
    pub fn succeed(&mut self, remembered: Generation) {
        self.digest ^= self.contribution(OWN_SLOT);
        self.records[OWN_SLOT as usize].generation = Generation(remembered.0.saturating_add(1));
        self.digest ^= self.contribution(OWN_SLOT);
    }

    /// What a record adds to the digest: nothing unless it is active.
    fn contribution(&self, slot: u32) -> u64 {
        let record = &self.records[slot as usize];
        if !record.state.is_active() {
            return 0;
        }
        let run = record.generation.0.rotate_left(32) ^ u64::from(record.incarnation.0);
        hash_address(run.wrapping_mul(0x9e37_79b9_7f4a_7c15), record.address)
    }

    /// The record in a slot that is in use.
    pub fn get(&self, slot: u32) -> &Record {
        let record = &self.records[slot as usize];
        debug_assert_ne!(record.state, MemberState::Removed, "slot {slot} is free");
        record
    }

    /// The same, to change anything but its state and its identity.
    pub fn get_mut(&mut self, slot: u32) -> &mut Record {
        &mut self.records[slot as usize]
    }

    /// The record in any slot, `None` when it is free or was never used.
    pub fn occupied(&self, slot: u32) -> Option<&Record> {
        let record = self.records.get(slot as usize)?;
        (record.state != MemberState::Removed).then_some(record)
    }

    /// This node.
    pub fn own(&self) -> &Record {
        &self.records[OWN_SLOT as usize]
    }

    pub fn find(&self, address: Address) -> Option<u32> {
        let matches = |&slot: &u32| self.records[slot as usize].address == address;
        self.index.find(self.hash(address), matches).copied()
    }

    /// Where the members at these addresses are, [`NONE`] for strangers. In a large table every step on the
    /// way to a record waits for memory. Here the same step is taken for all before the next, so that
    /// they wait together.
    pub fn find_all<const COUNT: usize>(
        &self,
        addresses: impl Iterator<Item = Address> + Clone,
    ) -> [u32; COUNT] {
        let mut slots = [NONE; COUNT];
        for (slot, address) in slots.iter_mut().zip(addresses.clone()) {
            // The first record whose hash looks right, which is nearly always the one.
            *slot = self.index.find(self.hash(address), |_| true).copied().unwrap_or(NONE);
        }
        for (slot, address) in slots.iter_mut().zip(addresses) {
            if *slot != NONE && !self.is_at(*slot, address) {
                *slot = self.find(address).unwrap_or(NONE);
            }
        }
        slots
    }

    /// Whether a slot holds the member at this address: quicker than to look the address up.
    pub fn is_at(&self, slot: u32, address: Address) -> bool {
        self.occupied(slot).is_some_and(|record| record.address == address)
    }

    /// Slots ever used: every record's slot is below.
    pub fn slot_count(&self) -> u32 {
        self.records.len() as u32
    }

    /// Peers that take part.
    pub fn active_count(&self) -> usize {
        self.groups[Group::Active as usize].len()
    }

    /// Peers that are known from hearsay only.
    pub fn unconfirmed_count(&self) -> usize {
        self.groups[Group::Unconfirmed as usize].len()
    }

    /// The slots of peers that take part, in no particular order.
    pub fn active(&self) -> &[u32] {
        &self.groups[Group::Active as usize]
    }

    /// All peers, whatever their state.
    pub fn peer_count(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    pub fn datacenter(&self, slot: u32) -> &DatacenterName {
        &self.datacenters[usize::from(self.get(slot).datacenter)]
    }

    /// Whether a newcomer finds no free slot.
    pub fn is_full(&self) -> bool {
        self.free.is_empty() && self.records.len() >= self.capacity
    }

    /// Adds an unconfirmed member.
    pub fn insert(&mut self, identity: &Identity, now: Instant) -> Result<u32, Full> {
        if self.is_full() {
            return Err(Full);
        }
        let datacenter = self.intern(&identity.datacenter)?;
        let slot = self.free.pop().unwrap_or(self.records.len() as u32);
        let record = Record {
            address: identity.address,
            state: MemberState::Unconfirmed,
            role: identity.role,
            health_score: identity.health_score,
            confirmation_attempts: 0,
            is_probed: false,
            is_foreign: false,
            datacenter,
            generation: identity.generation,
            incarnation: identity.incarnation,
            suspicion: NONE,
            position: NONE,
            since: now,
            link: Link::NONE,
        };
        match self.records.get_mut(slot as usize) {
            Some(free) => *free = record,
            None => slots::push(&mut self.records, record),
        }
        let hash = self.hash(identity.address);
        let MemberTable { index, records, hash_key, .. } = self;
        index.insert_unique(hash, slot, |&other| {
            hash_address(*hash_key, records[other as usize].address)
        });
        self.join_group(slot);
        Ok(slot)
    }

    /// Moves a member to another state.
    pub fn set_state(&mut self, slot: u32, state: MemberState, now: Instant) {
        self.digest ^= self.contribution(slot);
        let record = &mut self.records[slot as usize];
        record.since = now;
        if slot == OWN_SLOT || group_of(record.state) == group_of(state) {
            record.state = state;
        } else {
            self.leave_group(slot);
            self.records[slot as usize].state = state;
            self.join_group(slot);
        }
        self.digest ^= self.contribution(slot);
    }

    /// Changes who the member says it is; false when its datacenter's name cannot be remembered.
    pub fn set_identity(&mut self, slot: u32, identity: &Identity) -> bool {
        let known = self.datacenters[usize::from(self.records[slot as usize].datacenter)];
        if known != identity.datacenter {
            match self.intern(&identity.datacenter) {
                Ok(datacenter) => self.records[slot as usize].datacenter = datacenter,
                Err(Full) => return false,
            }
        }
        self.digest ^= self.contribution(slot);
        let record = &mut self.records[slot as usize];
        record.generation = identity.generation;
        record.incarnation = identity.incarnation;
        record.role = identity.role;
        record.health_score = identity.health_score;
        self.digest ^= self.contribution(slot);
        true
    }

    /// Forgets a member and frees its slot.
    pub fn remove(&mut self, slot: u32) {
        assert_ne!(slot, OWN_SLOT, "this node is always in its own table");
        self.digest ^= self.contribution(slot);
        self.leave_group(slot);
        let hash = self.hash(self.records[slot as usize].address);
        let entry = self.index.find_entry(hash, |&other| other == slot);
        entry.expect("every record is indexed").remove();
        self.records[slot as usize].state = MemberState::Removed;
        self.free.push(slot);
    }

    /// Up to `count` active peers, each once, none of them `except`.
    pub fn sample_active(&self, count: usize, except: u32, random: &mut Random) -> Sample {
        let active = self.active();
        let count = count.min(SAMPLE_COUNT_MAX);
        let mut sample = Sample { slots: [NONE; SAMPLE_COUNT_MAX], count: 0 };
        let mut take = |slot: u32| {
            if slot != except && !sample.slots[..sample.count].contains(&slot) {
                sample.slots[sample.count] = slot;
                sample.count += 1;
            }
            sample.count == count
        };
        if count == 0 || active.is_empty() {
            return sample;
        }
        if active.len() <= 2 * count {
            // A walk from a random place finds all there are; drawing might not.
            let start = random.below(active.len() as u32) as usize;
            let _ = (0..active.len()).any(|step| take(active[(start + step) % active.len()]));
        } else {
            let mut draw = || active[random.below(active.len() as u32) as usize];
            // More draws than any plausible run of repetitions, so the loop is bounded.
            let _ = (0..16 * count).any(|_| take(draw()));
        }
        sample
    }

    /// Up to `count` active peers, each once, in the order of the list from a random place on: for more of them
    /// than a sample holds.
    pub fn walk_active<'a>(
        &'a self,
        count: usize,
        random: &mut Random,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let active = self.active();
        let start = random.below(active.len().max(1) as u32) as usize;
        active[start..].iter().chain(&active[..start]).copied().take(count)
    }

    /// Any one departed member.
    pub fn draw_departed(&self, random: &mut Random) -> Option<u32> {
        let departed = &self.groups[Group::Departed as usize];
        let count = departed.len() as u32;
        (count > 0).then(|| departed[random.below(count) as usize])
    }

    /// The departed member that should make room: the oldest of a few drawn at random.
    pub fn draw_oldest_departed(&self, random: &mut Random) -> Option<u32> {
        let draws = (0..EVICTION_DRAWS).filter_map(|_| self.draw_departed(random));
        draws.min_by_key(|&slot| (self.records[slot as usize].since, slot))
    }

    fn join_group(&mut self, slot: u32) {
        let group = &mut self.groups[group_of(self.records[slot as usize].state) as usize];
        self.records[slot as usize].position = group.len() as u32;
        slots::push(group, slot);
    }

    fn leave_group(&mut self, slot: u32) {
        let Record { position, state, .. } = self.records[slot as usize];
        let group = &mut self.groups[group_of(state) as usize];
        group.swap_remove(position as usize);
        if let Some(&moved) = group.get(position as usize) {
            self.records[moved as usize].position = position;
        }
    }

    fn intern(&mut self, name: &DatacenterName) -> Result<u16, Full> {
        let known = self.datacenters.iter().position(|known| known == name);
        if let Some(number) = known {
            return Ok(number as u16);
        }
        if self.datacenters.len() >= DATACENTER_COUNT_MAX {
            return Err(Full);
        }
        self.datacenters.push(*name);
        Ok(self.datacenters.len() as u16 - 1)
    }

    fn hash(&self, address: Address) -> u64 {
        hash_address(self.hash_key, address)
    }
}

impl Links for MemberTable {
    fn link_mut(&mut self, slot: u32) -> &mut Link {
        &mut self.records[slot as usize].link
    }
}

/// A keyed multiply-and-fold hash: addresses come from peers, who must not be able to choose collisions.
fn hash_address(key: u64, address: Address) -> u64 {
    let halves = address.ip_bytes().as_chunks::<8>().0;
    let port = u64::from(address.port());
    let low = u64::from_le_bytes(halves[0]) ^ key;
    let high = u64::from_le_bytes(halves[1]) ^ port.rotate_left(16) ^ key.rotate_left(29);
    let fold = |left: u64, right: u64| {
        let product = u128::from(left) * u128::from(right);
        (product as u64) ^ (product >> 64) as u64
    };
    fold(fold(low ^ 0x9e37_79b9_7f4a_7c15, high | 1) ^ high, 0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(port: u16) -> Identity {
        Identity {
            address: format!("10.0.0.1:{port}").parse().unwrap(),
            generation: Generation(1),
            incarnation: Incarnation(0),
            role: Role::Manager,
            datacenter: "east".parse().unwrap(),
            health_score: 0,
        }
    }

    fn table(capacity: u32) -> (MemberTable, Random) {
        (MemberTable::new(&identity(1), capacity, 42, Instant::ZERO), Random::new(1))
    }

    fn insert(table: &mut MemberTable, port: u16) -> Result<u32, Full> {
        table.insert(&identity(port), Instant::from_millis(u64::from(port)))
    }

    #[test]
    fn defect_f6_own_record_is_never_drawn_or_counted() {
        let (mut table, mut random) = table(100);
        assert_eq!((table.active_count(), table.peer_count()), (0, 0));
        for port in 2..20 {
            let slot = insert(&mut table, port).unwrap();
            table.set_state(slot, MemberState::Alive, Instant::ZERO);
        }
        assert_eq!(table.active_count(), 18);
        for _ in 0..100 {
            assert!(!table.sample_active(16, 3, &mut random).slots().contains(&OWN_SLOT));
        }
    }

    #[test]
    fn samples_are_distinct_and_as_many_as_there_are() {
        let (mut table, mut random) = table(100);
        for port in 2..9 {
            let slot = insert(&mut table, port).unwrap();
            table.set_state(slot, MemberState::Alive, Instant::ZERO);
        }
        for count in 0..=SAMPLE_COUNT_MAX {
            let sample = table.sample_active(count, 2, &mut random);
            let mut slots = sample.slots().to_vec();
            slots.sort_unstable();
            slots.dedup();
            assert_eq!(slots.len(), count.min(6));
            assert!(!slots.contains(&2));
        }
    }

    #[test]
    fn slots_are_found_reused_and_bounded() {
        let (mut table, mut random) = table(4);
        for port in 2..=4 {
            let slot = insert(&mut table, port).unwrap();
            table.set_state(slot, MemberState::Alive, Instant::ZERO);
        }
        assert_eq!(insert(&mut table, 5), Err(Full));
        assert_eq!(table.draw_oldest_departed(&mut random), None);
        let slot = table.find(identity(3).address).unwrap();
        table.set_state(slot, MemberState::Dead, Instant::ZERO);
        assert_eq!(table.draw_oldest_departed(&mut random), Some(slot));
        table.remove(slot);
        assert!(table.occupied(slot).is_none());
        assert_eq!(table.find(identity(3).address), None);
        assert_eq!(insert(&mut table, 6), Ok(slot));
        assert_eq!(table.find(identity(6).address), Some(slot));
    }

    #[test]
    fn members_asked_for_together_are_found_like_one_by_one() {
        let (mut table, _) = table(2_000);
        for port in 2..1_500 {
            insert(&mut table, port).unwrap();
        }
        for port in (2..1_500).step_by(7) {
            table.remove(table.find(identity(port).address).unwrap());
        }
        for first in 1..1_600 {
            let addresses = (first..first + 20).map(|port| identity(port).address);
            let found: [u32; 32] = table.find_all(addresses.clone());
            let alone = addresses.map(|address| table.find(address).unwrap_or(NONE));
            assert!(found.into_iter().eq(alone.chain([NONE; 12])));
        }
    }

    #[test]
    fn groups_stay_consistent_under_random_use() {
        let (mut table, mut random) = table(64);
        let states =
            [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left];
        for step in 0..20_000 {
            let port = 2 + random.below(100) as u16;
            match (table.find(identity(port).address), random.below(4)) {
                (None, _) => {
                    let _ = insert(&mut table, port);
                }
                (Some(slot), 0) => table.remove(slot),
                (Some(slot), 1) => {
                    let next = table.get(slot).incarnation.next();
                    table.set_incarnation(slot, next);
                }
                (Some(slot), _) => {
                    let state = states[random.below(4) as usize];
                    table.set_state(slot, state, Instant::from_millis(step));
                }
            }
            let whole = (0..table.slot_count()).filter(|&slot| table.occupied(slot).is_some());
            let digest = whole.fold(0, |digest, slot| digest ^ table.contribution(slot));
            assert_eq!(table.digest(), digest);
            let occupied = (1..table.slot_count()).filter_map(|slot| table.occupied(slot)).count();
            assert_eq!(occupied, table.peer_count());
            for &slot in table.active() {
                let record = table.get(slot);
                assert!(record.state.is_active());
                assert_eq!(table.find(record.address), Some(slot));
            }
        }
    }
}
