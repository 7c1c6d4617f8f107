//! Names of datacenters, and the small numbers that stand for them inside the router.
//!
//! Numbers are given in the order in which names are first seen and are never taken back, so a
//! number kept anywhere stays true for the life of the directory.

use hashbrown::HashTable;

use super::candidate::DatacenterId;
use crate::node::DatacenterName;

/// The names that a host has met, each with its number.
#[derive(Debug)]
pub struct Datacenters {
    names: Vec<DatacenterName>,
    numbers: HashTable<DatacenterId>,
    capacity: usize,
}

/// The directory knows as many names as it was made for. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for datacenter {name}: {capacity} names are known")]
pub struct DirectoryFull {
    /// The name without a number.
    pub name: DatacenterName,
    /// How many names there is room for.
    pub capacity: usize,
}

impl Datacenters {
    /// A directory for `capacity` names, at most
    /// [`DATACENTER_COUNT_MAX`](crate::config::DATACENTER_COUNT_MAX).
    pub fn new(capacity: usize) -> Datacenters {
        let capacity = capacity.min(crate::config::DATACENTER_COUNT_MAX);
        let names = Vec::with_capacity(capacity);
        Datacenters { names, numbers: HashTable::with_capacity(capacity), capacity }
    }

    /// The number of this name, a new one if it has none yet.
    ///
    /// # Errors
    /// [`DirectoryFull`] for a new name when there is no room.
    pub fn intern(&mut self, name: DatacenterName) -> Result<DatacenterId, DirectoryFull> {
        if let Some(known) = self.id(&name) {
            return Ok(known);
        }
        let full = DirectoryFull { name, capacity: self.capacity };
        if self.names.len() >= self.capacity {
            return Err(full);
        }
        let id = DatacenterId::from_index(self.names.len()).ok_or(full)?;
        self.names.push(name);
        let names = &self.names;
        self.numbers.insert_unique(hash(&name), id, |&other| hash(&names[other.index()]));
        Ok(id)
    }

    /// The number of this name, if it has one.
    pub fn id(&self, name: &DatacenterName) -> Option<DatacenterId> {
        let same = |id: &DatacenterId| self.names[id.index()] == *name;
        self.numbers.find(hash(name), same).copied()
    }

    /// The name behind a number, if this directory gave it.
    pub fn name(&self, id: DatacenterId) -> Option<&DatacenterName> {
        self.names.get(id.index())
    }

    /// How many names have a number.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name has a number.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// FNV-1a with a final mix. The names are those of a company's own datacenters, so nobody chooses
/// them to collide, and the table is bounded if somebody did.
fn hash(name: &DatacenterName) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in name.as_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DatacenterName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_keeps_its_number() {
        let mut directory = Datacenters::new(1_000);
        assert!(directory.is_empty());
        let ids: Vec<_> =
            (0..1_000).map(|n| directory.intern(name(&format!("dc-{n}"))).unwrap()).collect();
        for (n, &id) in ids.iter().enumerate() {
            let name = name(&format!("dc-{n}"));
            assert_eq!(directory.intern(name).unwrap(), id);
            assert_eq!(directory.id(&name), Some(id));
            assert_eq!(directory.name(id), Some(&name));
        }
        assert_eq!(directory.len(), 1_000);
        assert_eq!(directory.id(&name("elsewhere")), None);
    }

    #[test]
    fn a_full_directory_refuses_only_new_names() {
        let mut directory = Datacenters::new(1);
        let east = directory.intern(name("east")).unwrap();
        let refusal = directory.intern(name("west")).unwrap_err();
        assert_eq!(refusal.to_string(), "no room for datacenter west: 1 names are known");
        assert_eq!(directory.intern(name("east")), Ok(east));
        assert_eq!(directory.len(), 1);
    }
}
