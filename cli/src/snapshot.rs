//! What an agent remembers across a restart: whom it knew and where it was.
//!
//! A restarted node asks the members it knew before, so it finds its cluster even when none of the
//! configured seeds is up, and it starts from its old place in the latency space, so its
//! predictions are good at once. Nothing else is believed: members are asked, not assumed.
//!
//! The file is one line that says how long and what checksum the rest has, then JSON. It is
//! replaced in one step, so a crash leaves the old one or the new one. A file that does not add up
//! is put aside under the name `FILE.damaged`, told in the log, and the node starts without it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shoal_core::Address;
use shoal_core::coordinate::{self, Coordinate, DIMENSIONS};

use crate::exit::Failure;
use crate::host::Host;

/// The version of the format. Another one is not read.
const VERSION: u32 = 1;
/// The largest file that is read, in bytes: some 300,000 members.
const SIZE_MAX: u64 = 1 << 26;
/// The longest first line, in bytes.
const HEAD_SIZE_MAX: usize = 128;

/// The content of a snapshot.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When it was taken, in milliseconds of Unix time.
    pub saved_at_ms: u64,
    /// Whose it is.
    pub address: String,
    /// The run that took it.
    pub generation: u64,
    /// Where the node was.
    pub place: Place,
    /// Whom it knew to be up, itself excluded.
    pub members: Vec<Remembered>,
}

/// A node's place, as the engine keeps it, in seconds.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Place {
    vector: [f64; DIMENSIONS],
    height: f64,
    adjustment: f64,
    error: f64,
    mismatch_seconds: f64,
    round_trip_seconds: f64,
    sample_count: u64,
}

/// A member that was up.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Remembered {
    /// Where it was reached.
    pub address: String,
    /// Its role's name.
    pub role: String,
    /// Where it ran.
    pub datacenter: String,
    /// Where it was in the latency space, in seconds.
    pub vector: Option<[f64; DIMENSIONS]>,
}

impl From<coordinate::Snapshot> for Place {
    fn from(snapshot: coordinate::Snapshot) -> Place {
        let Coordinate { vector, height, adjustment, error } = snapshot.coordinate;
        Place {
            vector,
            height,
            adjustment,
            error,
            mismatch_seconds: snapshot.mismatch_seconds,
            round_trip_seconds: snapshot.round_trip_seconds,
            sample_count: snapshot.sample_count,
        }
    }
}

impl From<&Place> for coordinate::Snapshot {
    fn from(place: &Place) -> coordinate::Snapshot {
        let Place { vector, height, adjustment, error, .. } = *place;
        coordinate::Snapshot {
            coordinate: Coordinate { vector, height, adjustment, error },
            mismatch_seconds: place.mismatch_seconds,
            round_trip_seconds: place.round_trip_seconds,
            sample_count: place.sample_count,
        }
    }
}

impl Snapshot {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_vec(self).expect("a snapshot is plain data");
        let checksum = crc32fast::hash(&body);
        let size = body.len();
        let head = format!("shoal snapshot {VERSION}, {size} bytes, crc32 {checksum:08x}\n");
        [head.into_bytes(), body].concat()
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, String> {
        let head_size = bytes.iter().take(HEAD_SIZE_MAX).position(|byte| *byte == b'\n');
        let head_size = head_size.ok_or("it has no first line")?;
        let head = std::str::from_utf8(&bytes[..head_size]).unwrap_or_default();
        let body = &bytes[head_size + 1..];
        let checksum = crc32fast::hash(body);
        let size = body.len();
        let wanted = format!("shoal snapshot {VERSION}, {size} bytes, crc32 {checksum:08x}");
        if head != wanted {
            return Err(format!("its first line says {head:?}, its content {wanted:?}"));
        }
        serde_json::from_slice(body).map_err(|error| format!("its content: {error}"))
    }

    /// The addresses of the members, to ask them.
    pub fn seeds(&self) -> impl Iterator<Item = Address> + '_ {
        self.members.iter().filter_map(|member| member.address.parse().ok())
    }
}

/// The present snapshot of a node, `None` when its thread has ended.
pub fn take(host: &Host) -> Option<Vec<u8>> {
    let members = host.node.members();
    let (own, peers) = members.split_first()?;
    let place = host.node.coordinate_snapshot().ok()?.into();
    let peers = peers.iter().filter(|member| member.state.is_active());
    let remember = |member: &shoal_core::Member| Remembered {
        address: member.address.to_string(),
        role: member.role.name().to_owned(),
        datacenter: member.datacenter.to_string(),
        vector: member.coordinate.map(|coordinate| coordinate.vector),
    };
    let snapshot = Snapshot {
        saved_at_ms: host.node.unix_ms(host.node.now()),
        address: own.address.to_string(),
        generation: own.generation.0,
        place,
        members: peers.map(remember).collect(),
    };
    Some(snapshot.encode())
}

/// Reads the snapshot of an earlier run, if there is one. A damaged one is put aside.
///
/// # Errors
/// When the file cannot be read at all, or its folder is missing: then it could not be written
/// either.
pub fn load(path: &Path) -> Result<Option<Snapshot>, Failure> {
    let complain =
        |error: io::Error| Failure::usage(format_args!("--snapshot {}: {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::metadata(folder).map_err(complain)?;
    }
    let damage = match read(path) {
        Ok(bytes) => match Snapshot::decode(&bytes) {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(damage) => damage,
        },
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => error.to_string(),
        Err(error) => return Err(complain(error)),
    };
    let aside = aside(path);
    std::fs::rename(path, &aside).map_err(complain)?;
    tracing::warn!(
        "snapshot {} is damaged: {damage}; it is kept as {} and the node starts without it",
        path.display(),
        aside.display()
    );
    Ok(None)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > SIZE_MAX {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is too large"));
    }
    std::fs::read(path)
}

/// Where a damaged file goes. A second one replaces it, so that a failing disk does not fill up,
/// too.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            saved_at_ms: 1,
            address: "127.0.0.1:1".to_owned(),
            generation: 7,
            place: Place {
                vector: [0.001; DIMENSIONS],
                height: 0.002,
                adjustment: 0.0,
                error: 0.1,
                mismatch_seconds: 0.001,
                round_trip_seconds: 0.05,
                sample_count: 99,
            },
            members: vec![Remembered {
                address: "127.0.0.1:2".to_owned(),
                role: "gate".to_owned(),
                datacenter: "east".to_owned(),
                vector: None,
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let read = Snapshot::decode(&snapshot().encode()).unwrap();
        assert_eq!(read, snapshot());
        assert_eq!(read.seeds().collect::<Vec<_>>(), ["127.0.0.1:2".parse().unwrap()]);
    }

    #[test]
    fn damage_of_any_byte_is_noticed() {
        let whole = snapshot().encode();
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0x20;
            assert!(Snapshot::decode(&bytes).is_err(), "byte {index}");
            assert!(Snapshot::decode(&whole[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_a_missing_one_is_none() {
        let folder = std::env::temp_dir().join(format!("shoal-snapshot-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("snapshot");
        assert_eq!(load(&path), Ok(None));
        std::fs::write(&path, snapshot().encode()).unwrap();
        assert_eq!(load(&path), Ok(Some(snapshot())));
        std::fs::write(&path, "damaged").unwrap();
        assert_eq!(load(&path), Ok(None));
        assert!(!path.exists());
        assert_eq!(std::fs::read(aside(&path)).unwrap(), b"damaged");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(load(&path), Err(Failure::Usage(_))), "its folder is missing");
    }
}
