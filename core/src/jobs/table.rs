//! Bounded tables: records in slots of one flat array, an index by key, and a list in the order of
//! age.
//!
//! A slot keeps its number for as long as its record lives, so timers and queues can name records
//! by slot. A queue pins the slot it holds; a record that is removed while pinned gives its slot
//! back when the last queue has let go of it, so no queue ever meets a stranger in a slot it
//! remembers.

use std::ops::{Index, IndexMut};

use hashbrown::HashTable;

use crate::random::Random;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// What a record is found by.
pub(super) trait Key: Copy + Eq {
    /// The key as two words that together tell keys apart.
    fn words(&self) -> [u64; 2];
}

/// A record that knows its key.
pub(super) trait Record {
    type Key: Key;

    fn key(&self) -> Self::Key;
}

impl Key for [u8; 16] {
    fn words(&self) -> [u64; 2] {
        let halves = self.as_chunks::<8>().0;
        [u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])]
    }
}

#[derive(Debug)]
struct Slot<R> {
    record: R,
    /// The next free slot, of a slot that is free.
    next_free: u32,
    pins: u8,
    is_live: bool,
}

/// Records in numbered slots.
#[derive(Debug)]
pub(super) struct Pool<R> {
    slots: Vec<Slot<R>>,
    free: u32,
    used: u32,
    capacity: u32,
}

impl<R> Pool<R> {
    pub fn new(capacity: u32) -> Pool<R> {
        Pool { slots: Vec::new(), free: NONE, used: 0, capacity }
    }

    /// Slots that hold a record, or whose record is gone but which a queue still names.
    pub fn used(&self) -> u32 {
        self.used
    }

    pub fn is_full(&self) -> bool {
        self.used == self.capacity
    }

    /// Puts a record into a free slot; `None` when the pool is full.
    pub fn insert(&mut self, record: R) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        self.used += 1;
        let slot = Slot { record, next_free: NONE, pins: 0, is_live: true };
        if self.free == NONE {
            self.make_room();
            self.slots.push(slot);
            return Some(self.slots.len() as u32 - 1);
        }
        let number = self.free;
        let place = &mut self.slots[number as usize];
        self.free = place.next_free;
        *place = slot;
        Some(number)
    }

    /// Growing by an eighth keeps large tables small; the system moves large blocks without
    /// copying.
    fn make_room(&mut self) {
        let count = self.slots.len();
        if count == self.slots.capacity() {
            self.slots.reserve_exact((count / 8).max(64));
        }
    }

    pub fn is_live(&self, slot: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(|slot| slot.is_live)
    }

    /// Ends a record. Its content stays readable for queues that hold the slot.
    pub fn remove(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        assert!(place.is_live, "slot {slot} is removed once");
        place.is_live = false;
        self.give_back(slot);
    }

    pub fn pin(&mut self, slot: u32) {
        self.slots[slot as usize].pins += 1;
    }

    pub fn unpin(&mut self, slot: u32) {
        self.slots[slot as usize].pins -= 1;
        self.give_back(slot);
    }

    fn give_back(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        if !place.is_live && place.pins == 0 {
            place.next_free = self.free;
            self.free = slot;
            self.used -= 1;
        }
    }

    /// The slots with a record, in the order of their numbers.
    pub fn live(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.slots.len() as u32).filter(|&slot| self.is_live(slot))
    }
}

impl<R> Index<u32> for Pool<R> {
    type Output = R;

    fn index(&self, slot: u32) -> &R {
        &self.slots[slot as usize].record
    }
}

impl<R> IndexMut<u32> for Pool<R> {
    fn index_mut(&mut self, slot: u32) -> &mut R {
        &mut self.slots[slot as usize].record
    }
}

#[derive(Debug)]
struct Entry<R> {
    record: R,
    // Neighbours in the list; a slot that is not listed is its own neighbour.
    older: u32,
    newer: u32,
}

/// A pool whose records are found by key, with one list through any of them.
#[derive(Debug)]
pub(super) struct Table<R: Record> {
    pool: Pool<Entry<R>>,
    index: HashTable<u32>,
    secret: [u64; 2],
    oldest: u32,
    newest: u32,
}

impl<R: Record> Table<R> {
    pub fn new(capacity: u32, random: &mut Random) -> Table<R> {
        Table {
            pool: Pool::new(capacity),
            index: HashTable::new(),
            secret: [random.next_u64(), random.next_u64()],
            oldest: NONE,
            newest: NONE,
        }
    }

    /// Records that can be found.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether a record more would be refused.
    pub fn is_full(&self) -> bool {
        self.pool.is_full()
    }

    pub fn find(&self, key: &R::Key) -> Option<u32> {
        let same = |&slot: &u32| self.pool[slot].record.key() == *key;
        self.index.find(hash(&self.secret, key), same).copied()
    }

    /// Adds a record whose key is not in the table; `None` when it is full.
    pub fn insert(&mut self, record: R) -> Option<u32> {
        let hash_of_key = hash(&self.secret, &record.key());
        let slot = self.pool.insert(Entry { record, older: NONE, newer: NONE })?;
        let entry = &mut self.pool[slot];
        (entry.older, entry.newer) = (slot, slot);
        let (pool, secret) = (&self.pool, &self.secret);
        self.index.insert_unique(hash_of_key, slot, |&slot| hash(secret, &pool[slot].record.key()));
        Some(slot)
    }

    /// Ends a record: it is found no more, and its slot is free as soon as no queue holds it.
    pub fn remove(&mut self, slot: u32) {
        self.unlist(slot);
        let hash_of_key = hash(&self.secret, &self.pool[slot].record.key());
        let entry = self.index.find_entry(hash_of_key, |&other| other == slot);
        entry.expect("every live record is indexed").remove();
        self.pool.remove(slot);
    }

    pub fn is_live(&self, slot: u32) -> bool {
        self.pool.is_live(slot)
    }

    pub fn pin(&mut self, slot: u32) {
        self.pool.pin(slot);
    }

    pub fn unpin(&mut self, slot: u32) {
        self.pool.unpin(slot);
    }

    /// Puts a record at the new end of the list, wherever it was before.
    pub fn list_newest(&mut self, slot: u32) {
        self.unlist(slot);
        let older = self.newest;
        self.newest = slot;
        match older {
            NONE => self.oldest = slot,
            older => self.pool[older].newer = slot,
        }
        let entry = &mut self.pool[slot];
        (entry.older, entry.newer) = (older, NONE);
    }

    /// Takes a record off the list; nothing happens when it is not on it.
    pub fn unlist(&mut self, slot: u32) {
        let Entry { older, newer, .. } = self.pool[slot];
        if older == slot {
            return;
        }
        match older {
            NONE => self.oldest = newer,
            older => self.pool[older].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.pool[newer].older = older,
        }
        let entry = &mut self.pool[slot];
        (entry.older, entry.newer) = (slot, slot);
    }

    /// The oldest of the listed records.
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The listed records, oldest first.
    pub fn listed(&self) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.oldest;
        std::iter::from_fn(move || {
            let slot = next;
            (slot != NONE).then(|| {
                next = self.pool[slot].newer;
                slot
            })
        })
    }

    /// The slots with a record, in the order of their numbers.
    pub fn live(&self) -> impl Iterator<Item = u32> + '_ {
        self.pool.live()
    }

    /// Whether nothing is held, not even a slot that a queue remembers.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.pool.used() == 0 && self.index.is_empty() && self.oldest == NONE
    }
}

impl<R: Record> Index<u32> for Table<R> {
    type Output = R;

    fn index(&self, slot: u32) -> &R {
        &self.pool[slot].record
    }
}

impl<R: Record> IndexMut<u32> for Table<R> {
    fn index_mut(&mut self, slot: u32) -> &mut R {
        &mut self.pool[slot].record
    }
}

/// Both words of a key, each hidden by a secret, multiplied into 128 bits and folded: names come
/// from users, who must not be able to choose collisions.
fn hash<K: Key>(secret: &[u64; 2], key: &K) -> u64 {
    let [low, high] = key.words();
    let product = u128::from(low ^ secret[0]) * u128::from(high ^ secret[1]);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, VecDeque};

    #[derive(Debug)]
    struct Number([u8; 16]);

    impl Record for Number {
        type Key = [u8; 16];

        fn key(&self) -> [u8; 16] {
            self.0
        }
    }

    fn key(number: u32) -> [u8; 16] {
        u128::from(number).to_le_bytes()
    }

    /// A sorted map and a queue are the model.
    #[test]
    fn agrees_with_a_map_and_a_queue_under_random_use() {
        let mut random = Random::new(5);
        let mut table: Table<Number> = Table::new(40, &mut random);
        let mut model: BTreeMap<u32, u32> = BTreeMap::new();
        let mut list: VecDeque<u32> = VecDeque::new();
        let mut pinned: Vec<u32> = Vec::new();
        for _ in 0..50_000 {
            let number = random.below(60);
            match (random.below(6), table.find(&key(number))) {
                (0 | 1, None) => match table.insert(Number(key(number))) {
                    Some(slot) => assert_eq!(model.insert(number, slot), None),
                    None => assert!(model.len() + pinned.len() >= 40),
                },
                (2, Some(slot)) => {
                    table.remove(slot);
                    model.remove(&number);
                    list.retain(|&other| other != slot);
                }
                (3, Some(slot)) => {
                    table.list_newest(slot);
                    list.retain(|&other| other != slot);
                    list.push_back(slot);
                }
                (4, Some(slot)) if pinned.len() < 8 => {
                    table.pin(slot);
                    pinned.push(slot);
                }
                (5, _) if !pinned.is_empty() => table.unpin(pinned.swap_remove(0)),
                _ => {}
            }
            assert_eq!(table.len(), model.len());
            assert_eq!(table.find(&key(number)), model.get(&number).copied());
            assert!(table.listed().eq(list.iter().copied()));
        }
        pinned.into_iter().for_each(|slot| table.unpin(slot));
        table.live().collect::<Vec<_>>().into_iter().for_each(|slot| table.remove(slot));
        assert!(table.is_empty());
    }

    #[test]
    fn a_slot_that_a_queue_holds_is_given_to_nobody() {
        let mut table: Table<Number> = Table::new(2, &mut Random::new(1));
        let slot = table.insert(Number(key(1))).unwrap();
        table.pin(slot);
        table.remove(slot);
        assert_eq!(table.find(&key(1)), None);
        assert!(!table.is_live(slot));
        assert_ne!(table.insert(Number(key(1))).unwrap(), slot);
        assert!(table.is_full());
        table.unpin(slot);
        assert_eq!(table.insert(Number(key(2))), Some(slot));
    }
}
